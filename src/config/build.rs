//! From the tables of the file to [`Config`]: each section by its reader, then what sections mean together.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::keys::{self, SECTIONS, Section};
use super::people::{self, Aliases};
use super::problem::{Problem, position};
use super::read::Table;
use super::smime;
use super::value::bare;
use super::*;
use crate::limits::LONGEST_STAY;
use crate::route::Host;

pub(super) type Problems = Vec<Problem>;

/// Reads the text; on failure at least one problem.
pub(super) fn config(text: &str, path: &Path) -> Result<Config, Vec<Problem>> {
    let (document, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        // What could be recovered of a broken file would only give mistakes that follow from the first.
        return Err(faults.into_iter().map(syntax).collect());
    }
    let mut problems = Vec::new();
    let config = sections(text, path, document.get_ref(), &mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn syntax(fault: toml::de::Error) -> Problem {
    let message = fault.message();
    let (what, expected) = match message.split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (message, None),
    };
    let problem = Problem::new(fault.span().unwrap_or(0..0), format!("not TOML: {what}"));
    match expected {
        Some(expected) => problem.expected(expected),
        None => problem,
    }
}

fn sections(text: &str, path: &Path, document: &DeTable<'_>, problems: &mut Problems) -> Option<Config> {
    let top = Table::top(document, problems);
    let single = |section: &'static Section, problems: &mut Problems| Table::single(document, section, problems);
    let host = top.value(&keys::HOST, problems);
    let spool = top.value(&keys::SPOOL, problems);
    let control = top.value(&keys::CONTROL, problems);
    let queue = queue(&single(section("queue"), problems), problems);
    let domains = domains(text, document, problems);
    let certificates = certificates(document, problems);
    let listeners = listeners(text, document, problems);
    let proxy = queue.as_ref().and_then(|queue| queue.socks5);
    let routes = routes(text, document, &domains, proxy, problems);
    let bridge = bridge::bridge(&single(section("bridge"), problems), document, problems);
    let tls = tls(&single(section("tls"), problems), problems);
    let dns = dns(&single(section("dns"), problems), problems);
    let smime = smime::smime(&single(section("smime"), problems), &domains, problems);
    let signers = smime::signers(text, document, &domains, problems);
    let issuers = smime::issuers(text, document, &domains, problems);
    let limits = limits(&single(section("limits"), problems), problems);
    let presence = presence(&single(section("presence"), problems), problems);
    let policy = policy(&single(section("policy"), problems), problems);
    let level = single(section("log"), problems).value(&keys::LOG_LEVEL, problems);
    let metrics = single(section("metrics"), problems).value(&keys::METRICS_LISTEN, problems);
    if document.iter().all(|(key, _)| !matches!(key.get_ref().as_ref(), "domain" | "route")) {
        let problem = Problem::new(0..0, "there is neither a domain to serve nor a route");
        problems.push(problem.expected("at least one section [[domain]] or [[route]]"));
    }
    let (spool, queue) = (spool?, queue?);
    let accounts = people::accounts(document, &spool, &domains, problems);
    let control = match control {
        Some(control) => control,
        None => derived_control(&spool, problems)?,
    };
    Some(Config {
        file: path.to_owned(),
        host: host?,
        spool,
        control,
        domains,
        listeners,
        certificates,
        tls: tls?,
        dns: dns?,
        routes,
        bridge: bridge?,
        accounts: accounts?,
        smime: smime?,
        signers,
        issuers,
        limits: limits?,
        queue,
        presence: presence?,
        policy: policy?,
        log: Log { level: level? },
        metrics,
    })
}

/// The section of this name; the table has all that are asked for.
pub(super) fn section(name: &str) -> &'static Section {
    SECTIONS.iter().find(|section| section.name == name).unwrap_or(&keys::TOP)
}

fn derived_control(spool: &Path, problems: &mut Problems) -> Option<PathBuf> {
    let control = spool.join("control.sock");
    if control.as_os_str().len() <= 107 {
        return Some(control);
    }
    let problem = Problem::new(0..0, "the path of the spool is too long for a socket in it");
    problems.push(problem.hint("set `control` to a shorter path, such as \"/run/impart/control.sock\""));
    None
}

/// Remembers where something stood first, to say so when it comes again.
pub(super) struct Seen<'a> {
    text: &'a str,
    /// Offsets in the text: to count lines for each of many domains would take too long.
    places: HashMap<String, usize>,
}

impl<'a> Seen<'a> {
    pub fn new(text: &'a str) -> Self {
        Seen { text, places: HashMap::new() }
    }

    pub fn enter(&mut self, key: String, what: &str, span: Range<usize>, problems: &mut Problems) {
        if let Some(first) = self.places.get(&key).map(|place| position(self.text, *place).0) {
            problems.push(Problem::new(span, format!("{what} stands twice")).hint(format!("first in line {first}")));
        } else {
            self.places.insert(key, span.start);
        }
    }
}

fn domains(text: &str, document: &DeTable<'_>, problems: &mut Problems) -> Vec<LocalDomain> {
    let mut seen = Seen::new(text);
    let tables = Table::repeated(document, section("domain"), problems);
    let mut aliases = Aliases::default();
    let mut domains: Vec<LocalDomain> =
        tables.iter().filter_map(|table| domain(table, &mut aliases, &mut seen, problems)).collect();
    aliases.resolve(&mut domains, problems);
    domains
}

fn domain(
    table: &Table<'_>,
    aliases: &mut Aliases,
    seen: &mut Seen<'_>,
    problems: &mut Problems,
) -> Option<LocalDomain> {
    let name = table.get(&keys::DOMAIN_NAME, problems);
    let im = table.value(&keys::DOMAIN_IM, problems);
    let inboxes = table.value(&keys::DOMAIN_INBOXES, problems);
    if let Some(name) = &name {
        let what = format!("the domain {}", name.get_ref());
        seen.enter(name.get_ref().to_string(), &what, name.span(), problems);
    }
    let presence = table.value(&keys::DOMAIN_PRESENCE, problems);
    let presentities = table.value(&keys::DOMAIN_PRESENTITIES, problems).map(bare);
    let entries = people::aliases(table, problems);
    let (bridge, fallback) =
        (table.value(&keys::DOMAIN_BRIDGE, problems), table.value(&keys::DOMAIN_FALLBACK, problems));
    let name = name?.into_inner();
    let inboxes = inboxes_of(&name, inboxes?, seen, problems);
    aliases.enter(&name, entries, seen, problems);
    Some(LocalDomain {
        name,
        im: im?,
        inboxes,
        presence: presence?,
        presentities,
        aliases: Vec::new(),
        bridge,
        fallback,
    })
}

fn inboxes_of(
    domain: &Domain,
    given: Vec<Spanned<String>>,
    seen: &mut Seen<'_>,
    problems: &mut Problems,
) -> Vec<String> {
    let mut inboxes = Vec::with_capacity(given.len() + 1);
    for local in given {
        let (span, local) = (local.span(), local.into_inner());
        if let Some((local, after)) = local.rsplit_once('@') {
            let known = after.eq_ignore_ascii_case(domain.as_str());
            let message = if known { "a domain stands after the local part" } else { "the inbox is in another domain" };
            let problem = Problem::new(span, format!("`inboxes`: {message}"));
            let section = if known { String::new() } else { format!(" in the section of {after}") };
            problems.push(problem.expected(format!("\"{}\"{section}", local.escape_debug())));
            continue;
        }
        if let Ok(mailbox) = Mailbox::new(&local, domain.clone()) {
            if mailbox.is_kept_for_domain() {
                let problem = Problem::new(span, format!("`inboxes`: {mailbox} signs for the whole domain"));
                problems.push(problem.expected("another name for an inbox"));
                continue;
            }
            seen.enter(mailbox.key(), &format!("the inbox {mailbox}"), span, problems);
        }
        inboxes.push(local);
    }
    if !inboxes.iter().any(|local| local.eq_ignore_ascii_case("postmaster")) {
        inboxes.push("postmaster".to_owned());
    }
    inboxes
}

fn certificates(document: &DeTable<'_>, problems: &mut Problems) -> Vec<CertificateFiles> {
    let tables = Table::repeated(document, section("certificate"), problems);
    let read = |table: &Table<'_>| {
        let chain = table.value(&keys::CERTIFICATE_CHAIN, problems);
        let key = table.value(&keys::CERTIFICATE_KEY, problems);
        Some(CertificateFiles { names: Vec::new(), chain: chain?, key: key? })
    };
    tables.iter().filter_map(read).collect()
}

fn listeners(text: &str, document: &DeTable<'_>, problems: &mut Problems) -> Vec<Listener> {
    let mut seen = Seen::new(text);
    let tables = Table::repeated(document, section("listen"), problems);
    if tables.is_empty() && !document.iter().any(|(key, _)| key.get_ref() == "listen") {
        let problem = Problem::new(0..0, "there is no socket to listen on");
        problems.push(problem.expected("at least one section [[listen]]"));
    }
    let certified = document.iter().any(|(key, _)| key.get_ref() == "certificate");
    tables.iter().filter_map(|table| listener(table, certified, &mut seen, problems)).collect()
}

fn listener(table: &Table<'_>, certified: bool, seen: &mut Seen<'_>, problems: &mut Problems) -> Option<Listener> {
    let service = table.get(&keys::LISTEN_SERVICE, problems);
    let address = table.get(&keys::LISTEN_ADDRESS, problems);
    let mode = table.value(&keys::LISTEN_MODE, problems);
    let senders = table.value(&keys::LISTEN_SENDERS, problems);
    if let Some(address) = address.as_ref().filter(|a| !matches!(a.get_ref(), Address::Tcp(tcp) if tcp.port() == 0)) {
        let what = format!("the address {}", address.get_ref());
        seen.enter(address.get_ref().to_string(), &what, address.span(), problems);
    }
    let tls = table.value(&keys::LISTEN_TLS, problems);
    let clear_auth = table.value(&keys::LISTEN_CLEAR_AUTH, problems);
    let (service, address) = (service?, address?);
    let kind = *service.get_ref();
    check_place(kind, &address, problems);
    let open = kind == Service::Odmr && clear_auth == Some(true) && tls == Some(TlsStart::StartTls);
    if kind != Service::Mail && !certified && !open {
        let who = purpose(kind);
        let problem =
            Problem::new(service.span(), format!("a listener for {who} needs a certificate, and there is none"));
        problems.push(problem.expected("a section [[certificate]] with `chain` and `key`"));
    }
    if let (Address::Tcp(_), Some(span)) = (address.get_ref(), table.has(&keys::LISTEN_MODE)) {
        problems.push(Problem::new(span, "`mode` means nothing for an IP address").hint("leave it out"));
    }
    if let (true, Some(span)) = (kind != Service::Mail, table.has(&keys::LISTEN_SENDERS)) {
        let problem =
            Problem::new(span, format!("`senders` means nothing for {}, who prove who they are", purpose(kind)));
        problems.push(problem.hint("leave it out"));
    }
    for (name, span) in [("tls", table.has(&keys::LISTEN_TLS)), ("clear_auth", table.has(&keys::LISTEN_CLEAR_AUTH))] {
        if let (true, Some(span)) = (kind != Service::Odmr, span) {
            let problem = Problem::new(span, format!("`{name}` means something only where service is \"odmr\""));
            problems.push(problem.hint("leave it out"));
        }
    }
    let (mode, mut address) = (mode?, address.into_inner());
    if let Address::Unix(_, bits) = &mut address {
        *bits = mode;
    }
    Some(Listener { service: kind, address, senders: senders?, tls: tls?, clear_auth: clear_auth? })
}

/// Who comes, in words.
fn purpose(service: Service) -> &'static str {
    match service {
        Service::Relay => "servers of other domains",
        Service::Client | Service::Device => "clients",
        Service::Odmr => "clients of mail relay on demand",
        Service::Mail => "the mail system",
    }
}

/// The mail system is on this host, all others are not.
fn check_place(kind: Service, address: &Spanned<Address>, problems: &mut Problems) {
    let place = address.get_ref();
    if kind == Service::Mail && matches!(place, Address::Tcp(tcp) if !tcp.ip().to_canonical().is_loopback()) {
        let message =
            format!("`address`: {place} can be reached from other hosts, and a mail listener asks nobody who it is");
        let problem = Problem::new(address.span(), message);
        problems.push(problem.expected("a loopback address, such as \"127.0.0.1:2525\", or \"unix:/path\""));
    }
    if kind != Service::Mail && matches!(place, Address::Unix(..)) {
        let problem =
            Problem::new(address.span(), format!("`address`: {} cannot come by a Unix socket", purpose(kind)));
        problems.push(problem.expected("an IP address and port, such as \"[::]:2779\""));
    }
}

fn tls(table: &Table<'_>, problems: &mut Problems) -> Option<Tls> {
    let roots = table.value(&keys::TLS_ROOTS, problems);
    let min_version = table.value(&keys::TLS_MIN_VERSION, problems);
    Some(Tls { roots: roots?, min_version: min_version? })
}

fn dns(table: &Table<'_>, problems: &mut Problems) -> Option<dns::Options> {
    let servers = table.value(&keys::DNS_SERVERS, problems).map(bare).unwrap_or_default();
    let validation = table.value(&keys::DNS_VALIDATION, problems);
    let trust_anchor = table.get(&keys::DNS_TRUST_ANCHOR, problems);
    let timeout = table.value(&keys::DNS_TIMEOUT, problems);
    if let (Some(anchor), Some(dns::Validation::Trusted | dns::Validation::Off)) = (&trust_anchor, validation) {
        let problem = Problem::new(anchor.span(), "`trust_anchor` is used only where validation is \"in-process\"");
        problems.push(problem.hint("set validation = \"in-process\", or leave `trust_anchor` out"));
    }
    let trust_anchor = trust_anchor.map(Spanned::into_inner);
    let (validation, timeout) = (validation?, timeout?);
    Some(dns::Options { servers, validation, trust_anchor, timeout, ..dns::Options::default() })
}

fn routes(
    text: &str,
    document: &DeTable<'_>,
    local: &[LocalDomain],
    proxy: Option<SocketAddr>,
    problems: &mut Problems,
) -> Vec<Route> {
    let mut seen = Seen::new(text);
    let tables = Table::repeated(document, section("route"), problems);
    tables.iter().filter_map(|table| route(table, local, proxy, &mut seen, problems)).collect()
}

fn route(
    table: &Table<'_>,
    local: &[LocalDomain],
    proxy: Option<SocketAddr>,
    seen: &mut Seen<'_>,
    problems: &mut Problems,
) -> Option<Route> {
    let domains = table.value(&keys::ROUTE_DOMAINS, problems);
    let class = table.value(&keys::ROUTE_CLASS, problems);
    let via = table.get(&keys::ROUTE_VIA, problems);
    let tls = table.value(&keys::ROUTE_TLS, problems);
    let socks5 = table.value(&keys::ROUTE_SOCKS5, problems).or(proxy);
    let upstream = table.get(&keys::ROUTE_UPSTREAM, problems);
    for pattern in domains.iter().flatten() {
        check_pattern(pattern, class, local, seen, problems);
    }
    let (domains, upstream) = (domains?, upstream?);
    let faulty_via = table.has(&keys::ROUTE_VIA).is_some() && via.is_none();
    let targets = via.as_ref().map_or(&[][..], |via| via.get_ref());
    check_route(table, domains.is_empty(), targets.is_empty() && !faulty_via, upstream.get_ref(), problems);
    let domains = bare(domains);
    let upstream = match upstream.into_inner() {
        Upstreams::None => Vec::new(),
        Upstreams::Via => targets.iter().map(|target| upstream_at(&target.host)).collect(),
        Upstreams::From(relays) => relays,
    };
    let name = domains.first().map(Pattern::to_string).or_else(|| upstream.first().map(upstream_name));
    Some(Route {
        name: name.unwrap_or_default(),
        domains,
        class,
        via: via.map(Spanned::into_inner).unwrap_or_default(),
        tls: tls?,
        socks5,
        upstream,
    })
}

/// A route leads somewhere, or names upstream relays, or both.
fn check_route(table: &Table<'_>, no_domains: bool, no_via: bool, upstream: &Upstreams, problems: &mut Problems) {
    if !no_domains && no_via {
        let problem = Problem::new(table.span(), "the route has domains but no next hop");
        problems.push(problem.expected("`via`, such as via = \"mx.b.example:2779\""));
    }
    if no_domains && !no_via {
        let problem = Problem::new(table.span(), "the route has a next hop but no domains");
        problems.push(problem.expected("`domains`, such as domains = [\"b.example\"] or [\"*\"]"));
    }
    if no_domains && no_via && matches!(upstream, Upstreams::None | Upstreams::Via) {
        let problem = Problem::new(table.span(), "the route says nothing");
        problems.push(problem.expected("`domains` and `via`, or a list of upstream relays"));
    }
}

fn check_pattern(
    pattern: &Spanned<Pattern>,
    class: Option<Class>,
    local: &[LocalDomain],
    seen: &mut Seen<'_>,
    problems: &mut Problems,
) {
    let (span, pattern) = (pattern.span(), pattern.get_ref());
    if let Pattern::Exact(domain) = pattern
        && local.iter().any(|own| own.name == *domain)
    {
        let problem = Problem::new(span, format!("`domains`: {domain} is served here"));
        problems.push(problem.hint("take it out of the route, or leave out its section [[domain]]"));
        return;
    }
    // A route for both classes and one for a single class stand side by side: the more precise one decides.
    let key = format!("{pattern} {}", class.map_or("both", Class::keyword));
    seen.enter(key, &format!("a route for {pattern}"), span, problems);
}

fn upstream_at(host: &Host) -> Upstream {
    match host {
        Host::Name(name) => Upstream::Name(name.clone()),
        Host::Address(address) => Upstream::Network((*address).into()),
    }
}

fn upstream_name(upstream: &Upstream) -> String {
    match upstream {
        Upstream::Name(name) => name.to_string(),
        Upstream::Network(network) => network.to_string(),
    }
}

fn limits(table: &Table<'_>, problems: &mut Problems) -> Option<Limits> {
    let message_size = table.value(&keys::LIMIT_MESSAGE_SIZE, problems);
    let recipients = table.value(&keys::LIMIT_RECIPIENTS, problems);
    let connections = table.value(&keys::LIMIT_CONNECTIONS, problems);
    let connections_per_address = table.value(&keys::LIMIT_PER_ADDRESS, problems);
    let in_flight = table.value(&keys::LIMIT_IN_FLIGHT, problems);
    let messages_per_minute = table.value(&keys::LIMIT_MESSAGES_PER_MINUTE, problems);
    let domain_messages_per_minute = table.value(&keys::LIMIT_DOMAIN_MESSAGES, problems);
    let attached = table.value(&keys::LIMIT_ATTACHED, problems);
    let inbox_messages = table.value(&keys::LIMIT_INBOX_MESSAGES, problems);
    let inbox_octets = table.value(&keys::LIMIT_INBOX_OCTETS, problems);
    Some(Limits {
        message_size: message_size?,
        recipients: recipients?,
        connections: connections?,
        connections_per_address: connections_per_address?,
        in_flight: in_flight?,
        messages_per_minute: messages_per_minute?,
        domain_messages_per_minute,
        attached: attached?,
        inbox_messages: inbox_messages?,
        inbox_octets: inbox_octets?,
    })
}

fn policy(table: &Table<'_>, problems: &mut Problems) -> Option<Policy> {
    let peer_identity = table.value(&keys::POLICY_PEER_IDENTITY, problems);
    let parties = table.value(&keys::POLICY_REFUSE, problems);
    let except = table.value(&keys::POLICY_EXCEPT, problems);
    Some(Policy { peer_identity: peer_identity?, refused: Refused { parties: parties?, except: except? } })
}

fn presence(table: &Table<'_>, problems: &mut Problems) -> Option<Presence> {
    let default = table.value(&keys::PRESENCE_DEFAULT, problems);
    let longest = table.get(&keys::PRESENCE_LONGEST, problems);
    let shortest = table.value(&keys::PRESENCE_SHORTEST, problems);
    let interval = table.value(&keys::PRESENCE_INTERVAL, problems);
    let mail_pause = table.value(&keys::PRESENCE_MAIL_PAUSE, problems);
    let watchers = table.value(&keys::PRESENCE_WATCHERS, problems);
    let undecided = table.value(&keys::PRESENCE_UNDECIDED, problems);
    let contacts = table.value(&keys::PRESENCE_CONTACTS, problems);
    let (longest, shortest) = (longest?, shortest?);
    if *longest.get_ref() < shortest {
        let problem = Problem::new(longest.span(), "`longest`: less than `shortest`");
        problems.push(problem.expected("a duration that is not shorter"));
    }
    let options = presence::Options {
        longest: longest.into_inner(),
        shortest,
        interval: interval?,
        mail_pause: mail_pause?,
        watchers: watchers?,
        undecided: undecided?,
        contacts: contacts?,
        ..presence::Options::default()
    };
    Some(Presence { default: default?, options })
}

fn queue(table: &Table<'_>, problems: &mut Problems) -> Option<Queue> {
    let retention = table.get(&keys::QUEUE_RETENTION, problems);
    let delay_notice = table.value(&keys::QUEUE_DELAY_NOTICE, problems);
    let retry = table.value(&keys::QUEUE_RETRY, problems).map(bare);
    let connections = table.value(&keys::QUEUE_CONNECTIONS, problems);
    let per_destination = table.get(&keys::QUEUE_PER_DESTINATION, problems);
    let in_flight = table.value(&keys::QUEUE_IN_FLIGHT, problems);
    let socks5 = table.value(&keys::QUEUE_SOCKS5, problems);
    if let Some(retention) = retention.as_ref().filter(|retention| *retention.get_ref() > LONGEST_STAY) {
        let message = "`retention`: longer than 7 days, for which second copies are recognised";
        problems.push(Problem::new(retention.span(), message).expected("a duration up to \"7d\""));
    }
    let given = table.has(&keys::QUEUE_PER_DESTINATION).is_some();
    if let (Some(all), Some(one)) =
        (connections, per_destination.as_ref().filter(|one| given && Some(*one.get_ref()) > connections))
    {
        let message = format!("`connections_per_destination`: more than `connections`, which is {all}");
        problems.push(Problem::new(one.span(), message).expected(format!("a whole number from 1 to {all}")));
    }
    let connections = connections?;
    Some(Queue {
        retention: retention?.into_inner(),
        delay_notice: delay_notice?,
        retry: retry?,
        connections,
        connections_per_destination: per_destination?.into_inner().min(connections),
        in_flight: in_flight?,
        socks5,
    })
}
