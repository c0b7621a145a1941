//! Every key of the configuration, once: name, kind of value, default, text.
//!
//! The reader, `conf/impart.toml`, the list in `man/impart.toml.5` and the nearest-name help all come from here.

mod accounts;
mod bridge;
mod metrics;
mod presence;
mod smime;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

pub(super) use self::accounts::*;
pub(super) use self::bridge::*;
pub(super) use self::metrics::*;
pub(super) use self::presence::*;
pub(super) use self::smime::*;
use super::value::{self, Choice, Kind, choice};
use super::{Address, Level, MinVersion, Pattern, PeerIdentity, Roots, Senders, Service, TlsStart, Upstreams};
use crate::address::Domain;
use crate::dns::Validation;
use crate::envelope::Class;
use crate::policy::identity::mail::Examination;
use crate::policy::refused::Party;
use crate::route::{Target, TlsPolicy};

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It must be there.
    Required,
    /// This value, as TOML.
    Value(&'static str),
    /// What these words say.
    Derived(&'static str),
}

/// What people are told about a key.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Its name in its section.
    pub name: &'static str,
    /// What is expected.
    pub expected: &'static str,
    /// What holds when it is absent.
    pub default: Default,
    /// A value for the sample, as TOML.
    pub example: &'static str,
    /// What it is for; sentences.
    pub text: &'static str,
}

/// A key and how its value is read.
pub(super) struct Key<T: 'static> {
    pub info: Info,
    pub kind: Kind<T>,
}

/// A section of the file.
pub struct Section {
    /// `domain`; empty for the keys before the first section.
    pub name: &'static str,
    /// Whether it may stand more than once, as `[[domain]]`.
    pub repeated: bool,
    /// Whether the sample has it commented out.
    pub commented: bool,
    /// What it is for; sentences.
    pub text: &'static str,
    /// Its keys.
    pub keys: &'static [&'static Info],
}

const fn key<T>(
    name: &'static str,
    kind: Kind<T>,
    default: Default,
    example: &'static str,
    text: &'static str,
) -> Key<T> {
    Key { info: Info { name, expected: kind.name, default, example, text }, kind }
}

/// A key whose example is its default.
const fn standard<T>(name: &'static str, kind: Kind<T>, default: &'static str, text: &'static str) -> Key<T> {
    key(name, kind, Default::Value(default), default, text)
}

pub(super) static HOST: Key<Domain> = key(
    "host",
    value::DOMAIN,
    Default::Required,
    "\"mx.a.example\"",
    "The name of this server: in its greeting, in EHLO, in trace fields, and the authserv-id of \
     Authentication-Results. \
     SRV records should point at it, and the certificate should name it.",
);
pub(super) static SPOOL: Key<PathBuf> = standard(
    "spool",
    value::PATH,
    "\"./spool\"",
    "The directory of the messages on their way, made if it is not there. \
     A relative path starts in the working directory of the daemon; an installed daemon wants an absolute one, such as \
     /var/lib/impart/spool.",
);
pub(super) static CONTROL: Key<PathBuf> = key(
    "control",
    value::SOCKET_FILE,
    Default::Derived("control.sock in the spool"),
    "\"/run/impart/control.sock\"",
    "The socket over which impartctl administers the running daemon. \
     Whoever may write to it may do everything that impartctl can.",
);

pub(super) static DOMAIN_NAME: Key<Domain> =
    key("name", value::DOMAIN, Default::Required, "\"a.example\"", "The domain.");
pub(super) static DOMAIN_IM: Key<bool> = standard(
    "im",
    value::BOOLEAN,
    "true",
    "Whether the domain has instant inboxes; without, everything that is sent to it is refused.",
);
pub(super) static DOMAIN_INBOXES: Key<Vec<Spanned<String>>> = key(
    "inboxes",
    value::LOCAL_PARTS,
    Default::Value("[]"),
    "[\"alice\", \"bob\"]",
    "The local parts that exist, in any letter case. \
     postmaster always exists.",
);

pub(super) static LISTEN_SERVICE: Key<Service> = key(
    "service",
    choice::<Service>(),
    Default::Required,
    "\"mail\"",
    "relay is for the servers of other domains: TLS at once, and the peer must prove its domain. \
     mail is for the mail system and the programs of this host, in the clear, therefore on a loopback address or a \
     Unix socket only. \
     client is for people's programs: TLS at once, and they log in; they submit messages, and attach to receive. \
     odmr is for mail relay on demand (RFC 2645), such as fetchmail does: programs log in, and get what waits.",
);
pub(super) static LISTEN_ADDRESS: Key<Address> = key(
    "address",
    value::ADDRESS,
    Default::Required,
    "\"127.0.0.1:2525\"",
    "Where to listen. \
     The port of a relay is 2779, that of clients 2780, that of mail relay on demand 366. \
     [::] is IPv6 only; IPv4 wants a section of its own with 0.0.0.0.",
);
pub(super) static LISTEN_MODE: Key<u32> = standard("mode", value::MODE, "\"0660\"", "Permissions of a Unix socket.");
pub(super) static LISTEN_SENDERS: Key<Senders> = standard(
    "senders",
    choice::<Senders>(),
    "\"own\"",
    "Whose messages a mail listener takes: own admits senders in the domains of this file and the null sender, any \
     admits all, for a mail system that passes on what it has itself examined; world is for the mail of everybody to \
     people here: it becomes messages for them, and nothing else is taken.",
);

pub(super) static LISTEN_TLS: Key<TlsStart> = standard(
    "tls",
    choice::<TlsStart>(),
    "\"starttls\"",
    "How TLS begins on an odmr listener: starttls after that command, at-once before the first octet.",
);
pub(super) static LISTEN_CLEAR_AUTH: Key<bool> = standard(
    "clear_auth",
    value::BOOLEAN,
    "false",
    "Whether clients may log in on an odmr listener without TLS, by mechanisms that do not show the password; \
     what they then fetch can be read by everybody on the way.",
);

pub(super) static CERTIFICATE_CHAIN: Key<PathBuf> = key(
    "chain",
    value::PATH,
    Default::Required,
    "\"/etc/impart/tls/chain.pem\"",
    "PEM file of the certificate and its intermediate certificates, the server's own first.",
);
pub(super) static CERTIFICATE_KEY: Key<PathBuf> = key(
    "key",
    value::PATH,
    Default::Required,
    "\"/etc/impart/tls/key.pem\"",
    "PEM file of its private key; no one else should be able to read it.",
);

pub(super) static TLS_ROOTS: Key<Roots> = standard(
    "roots",
    value::ROOTS,
    "\"system\"",
    "The certificate authorities that are believed where DANE does not decide.",
);
pub(super) static TLS_MIN_VERSION: Key<MinVersion> =
    standard("min_version", choice::<MinVersion>(), "\"1.2\"", "The oldest version of TLS that is spoken.");

pub(super) static DNS_SERVERS: Key<Vec<Spanned<SocketAddr>>> = key(
    "servers",
    value::DNS_SERVERS,
    Default::Derived("those of /etc/resolv.conf"),
    "[\"127.0.0.1\"]",
    "The resolvers to ask.",
);
pub(super) static DNS_VALIDATION: Key<Validation> = standard(
    "validation",
    choice::<Validation>(),
    "\"trusted\"",
    "Who validates DNSSEC. \
     trusted believes the AD bit of a resolver on a loopback address, and of no other; in-process validates here, from \
     the root; off does without, and so without DANE.",
);
pub(super) static DNS_TRUST_ANCHOR: Key<PathBuf> = key(
    "trust_anchor",
    value::PATH,
    Default::Derived("the keys of the root zone"),
    "\"/etc/impart/root.key\"",
    "File of DNSKEY or DS records from which validation in-process starts.",
);
pub(super) static DNS_TIMEOUT: Key<Duration> =
    standard("timeout", value::DURATION, "\"5s\"", "How long an answer may take before it counts as failed.");

pub(super) static ROUTE_DOMAINS: Key<Vec<Spanned<Pattern>>> = key(
    "domains",
    value::PATTERNS,
    Default::Value("[]"),
    "[\"b.example\", \".b.example\"]",
    "The recipients' domains that go this way: a domain, all below one (with a leading dot), or * for whatever has no \
     better match. \
     Messages of other servers for the domains that are named here are relayed; * names none.",
);
pub(super) static ROUTE_CLASS: Key<Class> =
    key("class", choice::<Class>(), Default::Derived("both"), "\"IM\"", "The service class that goes this way.");
pub(super) static ROUTE_VIA: Key<Vec<Target>> = key(
    "via",
    value::TARGETS,
    Default::Derived("no next hop; then the route only names upstream relays"),
    "[\"mx.b.example:2779\"]",
    "The next hop; of several servers, the next is tried when one cannot be reached.",
);
pub(super) static ROUTE_TLS: Key<TlsPolicy> = standard(
    "tls",
    choice::<TlsPolicy>(),
    "\"required\"",
    "required: TLS at once, and the hop proves the recipient's domain or the name in via. \
     starttls: the same after STARTTLS. \
     opportunistic: encrypted if the hop can, without proof. \
     none: in the clear.",
);
pub(super) static ROUTE_SOCKS5: Key<SocketAddr> = key(
    "socks5",
    value::PROXY,
    Default::Derived("socks5 of the section queue"),
    "\"127.0.0.1:1080\"",
    "A SOCKS5 proxy on the way to the hop; it resolves the name in via.",
);
pub(super) static ROUTE_UPSTREAM: Key<Upstreams> = standard(
    "upstream",
    value::UPSTREAM,
    "false",
    "Relays whose Authentication-Results are believed when they hand messages in: true for the servers in via, or \
     their addresses, networks and certificate names.",
);

pub(super) static LIMIT_MESSAGE_SIZE: Key<u64> =
    standard("message_size", value::SIZE, "\"10 MiB\"", "The largest entity that is taken.");
pub(super) static LIMIT_RECIPIENTS: Key<usize> =
    standard("recipients", value::COUNT, "1000", "Recipients of one transaction.");
pub(super) static LIMIT_CONNECTIONS: Key<usize> =
    standard("connections", value::COUNT, "10000", "Connections from outside, in all.");
pub(super) static LIMIT_PER_ADDRESS: Key<usize> = standard(
    "connections_per_address",
    value::COUNT,
    "100",
    "Connections from one IPv4 address or one IPv6 network of 64 bits; loopback is exempt.",
);
pub(super) static LIMIT_IN_FLIGHT: Key<usize> =
    standard("in_flight", value::COUNT, "256", "Transactions of one connection that may wait for the disk.");

pub(super) static LIMIT_MESSAGES_PER_MINUTE: Key<usize> = standard(
    "messages_per_minute",
    value::COUNT,
    "600",
    "Messages that one account may submit in a minute; what is more is told to come later.",
);
pub(super) static LIMIT_DOMAIN_MESSAGES: Key<usize> = key(
    "domain_messages_per_minute",
    value::COUNT,
    Default::Derived("no limit"),
    "6000",
    "Messages that the servers of one other domain may hand in in a minute; what is more is told to come later.",
);
pub(super) static LIMIT_ATTACHED: Key<usize> =
    standard("attached", value::COUNT, "32", "Clients of one account that may be attached at one time.");
pub(super) static LIMIT_INBOX_MESSAGES: Key<usize> = standard(
    "inbox_messages",
    value::COUNT,
    "10000",
    "Messages that may wait in one inbox; further ones are told to come later. \
     What one device has had and is kept for others gives way first, the oldest first.",
);
pub(super) static LIMIT_INBOX_OCTETS: Key<u64> =
    standard("inbox_octets", value::SIZE, "\"1 GiB\"", "The size in all of what may wait in one inbox.");

pub(super) static QUEUE_RETENTION: Key<Duration> = standard(
    "retention",
    value::DURATION,
    "\"24h\"",
    "How long delivery is tried, or a message waits in an inbox, before it fails, at most 7 days; a deliver-by time of \
     the message comes first.",
);
pub(super) static QUEUE_DELAY_NOTICE: Key<Duration> =
    standard("delay_notice", value::DURATION, "\"1h\"", "When the sender is told that a message is late.");
pub(super) static QUEUE_RETRY: Key<Vec<Spanned<Duration>>> = standard(
    "retry",
    value::DURATIONS,
    "[\"5s\", \"15s\", \"1m\", \"5m\", \"15m\", \"1h\"]",
    "The waits between attempts; the last one repeats. \
     Each is varied a little, and a destination that shows life is tried at once.",
);
pub(super) static QUEUE_CONNECTIONS: Key<usize> =
    standard("connections", value::COUNT, "1000", "Connections to other servers, in all.");
pub(super) static QUEUE_PER_DESTINATION: Key<usize> =
    standard("connections_per_destination", value::COUNT, "8", "Connections to one destination.");
pub(super) static QUEUE_IN_FLIGHT: Key<usize> = standard(
    "in_flight",
    value::COUNT,
    "10000",
    "Messages that are being delivered at one time, in all; the others stay on disk.",
);
pub(super) static QUEUE_SOCKS5: Key<SocketAddr> = key(
    "socks5",
    value::PROXY,
    Default::Derived("none"),
    "\"127.0.0.1:1080\"",
    "A SOCKS5 proxy for every connection to other servers.",
);

pub(super) static POLICY_PEER_IDENTITY: Key<PeerIdentity> = standard(
    "peer_identity",
    choice::<PeerIdentity>(),
    "\"address\"",
    "How the server of another domain proves that it may send for it. \
     certificate: by a client certificate only. \
     address: by that, or by an address of a host to which the domain's SRV records point.",
);

pub(super) static POLICY_REFUSE: Key<Vec<Party>> = standard(
    "refuse",
    value::PARTIES,
    "[]",
    "Who is kept out: addresses and networks, whose connections are refused; domains, with all below them, and addresses of \
     mail, whose messages are. \
     A client that has logged in sends whatever is said here of its domain.",
);
pub(super) static POLICY_EXCEPT: Key<Vec<Party>> =
    standard("except", value::PARTIES, "[]", "Who is let in although refuse names it.");

pub(super) static LOG_LEVEL: Key<Level> =
    standard("level", choice::<Level>(), "\"info\"", "What is logged; info has a line per delivery.");

impl Choice for Service {
    const EXPECTED: &'static str = "\"relay\", \"mail\", \"client\" or \"odmr\"";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("relay", Service::Relay), ("mail", Service::Mail), ("client", Service::Client), ("odmr", Service::Odmr)];
}

impl Choice for TlsStart {
    const EXPECTED: &'static str = "\"starttls\" or \"at-once\"";
    const CHOICES: &'static [(&'static str, Self)] = &[("starttls", TlsStart::StartTls), ("at-once", TlsStart::AtOnce)];
}

impl Choice for Senders {
    const EXPECTED: &'static str = "\"own\", \"any\" or \"world\"";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("own", Senders::Own), ("any", Senders::Any), ("world", Senders::World)];
}

impl Choice for Examination {
    const EXPECTED: &'static str = "\"upstream\", \"either\" or \"own\"";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("upstream", Examination::Upstream), ("either", Examination::Either), ("own", Examination::Own)];
}

impl Choice for MinVersion {
    const EXPECTED: &'static str = "\"1.2\" or \"1.3\"";
    const CHOICES: &'static [(&'static str, Self)] = &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
}

impl Choice for Validation {
    const EXPECTED: &'static str = "\"trusted\", \"in-process\" or \"off\"";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("trusted", Validation::Trusted), ("in-process", Validation::InProcess), ("off", Validation::Off)];
}

impl Choice for Class {
    const EXPECTED: &'static str = "\"IM\" or \"PRES\"";
    const CHOICES: &'static [(&'static str, Self)] = &[("IM", Class::Im), ("PRES", Class::Pres)];
}

impl Choice for TlsPolicy {
    const EXPECTED: &'static str = "\"required\", \"starttls\", \"opportunistic\" or \"none\"";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("required", TlsPolicy::Required),
        ("starttls", TlsPolicy::StartTls),
        ("opportunistic", TlsPolicy::Opportunistic),
        ("none", TlsPolicy::None),
    ];
}

impl Choice for PeerIdentity {
    const EXPECTED: &'static str = "\"address\" or \"certificate\"";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("address", PeerIdentity::Address), ("certificate", PeerIdentity::Certificate)];
}

impl Choice for Level {
    const EXPECTED: &'static str = "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
}

/// The sections, in the order of the sample and the manual.
pub static SECTIONS: &[Section] = &[
    TOP,
    DOMAIN,
    LISTEN,
    CERTIFICATE,
    TLS,
    DNS,
    ROUTE,
    BRIDGE,
    ACCOUNTS,
    LDAP,
    OAUTH,
    SMIME,
    SIGNER,
    AUTHORITY,
    LIMITS,
    QUEUE,
    PRESENCE,
    POLICY,
    LOG,
    METRICS,
];

pub(super) const TOP: Section = Section {
    name: "",
    repeated: false,
    commented: false,
    text: "The server.",
    keys: &[&HOST.info, &SPOOL.info, &CONTROL.info],
};
pub(super) const DOMAIN: Section = Section {
    name: "domain",
    repeated: true,
    commented: false,
    text: "A domain that this server serves.",
    keys: &[
        &DOMAIN_NAME.info,
        &DOMAIN_IM.info,
        &DOMAIN_INBOXES.info,
        &DOMAIN_PRESENCE.info,
        &DOMAIN_PRESENTITIES.info,
        &DOMAIN_ALIASES.info,
        &DOMAIN_BRIDGE.info,
        &DOMAIN_FALLBACK.info,
    ],
};
pub(super) const LISTEN: Section = Section {
    name: "listen",
    repeated: true,
    commented: false,
    text: "A socket to listen on.",
    keys: &[
        &LISTEN_SERVICE.info,
        &LISTEN_ADDRESS.info,
        &LISTEN_MODE.info,
        &LISTEN_SENDERS.info,
        &LISTEN_TLS.info,
        &LISTEN_CLEAR_AUTH.info,
    ],
};
pub(super) const CERTIFICATE: Section = Section {
    name: "certificate",
    repeated: true,
    commented: true,
    text: "A certificate of this server; of several, the one that names what the peer asks for is shown. \
           Files that change are read again.",
    keys: &[&CERTIFICATE_CHAIN.info, &CERTIFICATE_KEY.info],
};
pub(super) const TLS: Section = Section {
    name: "tls",
    repeated: false,
    commented: false,
    text: "Whom to believe, and how to speak.",
    keys: &[&TLS_ROOTS.info, &TLS_MIN_VERSION.info],
};
pub(super) const DNS: Section = Section {
    name: "dns",
    repeated: false,
    commented: false,
    text: "How names are looked up.",
    keys: &[&DNS_SERVERS.info, &DNS_VALIDATION.info, &DNS_TRUST_ANCHOR.info, &DNS_TIMEOUT.info],
};
pub(super) const ROUTE: Section = Section {
    name: "route",
    repeated: true,
    commented: true,
    text: "A way that SRV records do not tell: a smart host, a proxy, a partner's server. \
           The most precise of the matching domains decides.",
    keys: &[
        &ROUTE_DOMAINS.info,
        &ROUTE_CLASS.info,
        &ROUTE_VIA.info,
        &ROUTE_TLS.info,
        &ROUTE_SOCKS5.info,
        &ROUTE_UPSTREAM.info,
    ],
};
pub(super) const LIMITS: Section = Section {
    name: "limits",
    repeated: false,
    commented: false,
    text: "What others may use up.",
    keys: &[
        &LIMIT_MESSAGE_SIZE.info,
        &LIMIT_RECIPIENTS.info,
        &LIMIT_CONNECTIONS.info,
        &LIMIT_PER_ADDRESS.info,
        &LIMIT_IN_FLIGHT.info,
        &LIMIT_MESSAGES_PER_MINUTE.info,
        &LIMIT_DOMAIN_MESSAGES.info,
        &LIMIT_ATTACHED.info,
        &LIMIT_INBOX_MESSAGES.info,
        &LIMIT_INBOX_OCTETS.info,
    ],
};
pub(super) const QUEUE: Section = Section {
    name: "queue",
    repeated: false,
    commented: false,
    text: "How messages leave.",
    keys: &[
        &QUEUE_RETENTION.info,
        &QUEUE_DELAY_NOTICE.info,
        &QUEUE_RETRY.info,
        &QUEUE_CONNECTIONS.info,
        &QUEUE_PER_DESTINATION.info,
        &QUEUE_IN_FLIGHT.info,
        &QUEUE_SOCKS5.info,
    ],
};
pub(super) const POLICY: Section = Section {
    name: "policy",
    repeated: false,
    commented: false,
    text: "What is demanded of others.",
    keys: &[&POLICY_PEER_IDENTITY.info, &POLICY_REFUSE.info, &POLICY_EXCEPT.info],
};
pub(super) const LOG: Section = Section {
    name: "log",
    repeated: false,
    commented: false,
    text: "What is written to the journal or to standard error.",
    keys: &[&LOG_LEVEL.info],
};
