//! The configuration: one TOML file in, plain data of valid values out.
//!
//! Each key is defined once, in [`keys`]; the sample, the manual and the errors come from there. All mistakes are
//! reported at once, each with line, column, what was expected and the nearest name. No other module reads this data
//! as a whole: the daemon hands each module its own `Options`.

pub mod arguments;
mod bridge;
mod build;
pub mod document;
pub mod keys;
mod people;
mod problem;
mod read;
mod smime;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::accounts::{ldap, token};
use crate::address::{Domain, Mailbox};
use crate::bridge::intake::SpamField;
use crate::dns;
use crate::envelope::Class;
use crate::net::Address;
pub use crate::policy::Senders;
use crate::policy::Service;
use crate::policy::identity::Policy as PeerIdentity;
use crate::policy::identity::mail::Believed;
use crate::policy::refused::Refused;
use crate::presence;
use crate::receive::Upstream;
use crate::route::{MailServer, Pattern, Target, TlsPolicy};
use crate::rules::Handling;
use crate::rules::edit::Who;
use crate::tls::{CertificateFiles, MinVersion};

pub use problem::{ConfigErrors, Mistake};
pub use value::parse_duration;

/// Octets of a configuration file that are read.
const FILE_OCTETS: u64 = 4 * 1024 * 1024;

/// Where the daemon and `impartctl` look without `--config`.
pub const DEFAULT_FILE: &str = "/etc/impart/impart.toml";

/// The configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that it was read from; read again on reload.
    pub file: PathBuf,
    /// The name of this server: greeting, EHLO, trace fields, authserv-id.
    pub host: Domain,
    /// The directory of the spool.
    pub spool: PathBuf,
    /// The administration socket.
    pub control: PathBuf,
    /// The domains served here; no two with one name.
    pub domains: Vec<LocalDomain>,
    /// At least one; a relay only if there is a certificate, mail only on loopback or a Unix socket.
    pub listeners: Vec<Listener>,
    /// Certificate files.
    pub certificates: Vec<CertificateFiles>,
    /// TLS.
    pub tls: Tls,
    /// DNS.
    pub dns: dns::Options,
    /// Configured routes; no pattern twice for one class, none for a domain served here.
    pub routes: Vec<Route>,
    /// People who have only mail.
    pub bridge: Bridge,
    /// Who may log in.
    pub accounts: Accounts,
    /// Signatures of messages.
    pub smime: Smime,
    /// What domains sign with; each domain once.
    pub signers: Vec<Signer>,
    /// Domains for whose users the daemon issues certificates; each once.
    pub issuers: Vec<Issuer>,
    /// What others may use up.
    pub limits: Limits,
    /// How messages leave.
    pub queue: Queue,
    /// Who watches whom.
    pub presence: Presence,
    /// What is demanded of others.
    pub policy: Policy,
    /// Logging.
    pub log: Log,
    /// Where programs that watch are answered.
    pub metrics: Option<SocketAddr>,
}

/// People who have only mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Where messages for domains without instant messages go as mails.
    pub via: Option<Via>,
    /// Where mail for people here goes.
    pub store: Option<MailRoute>,
    /// Who is believed about the authors of mail.
    pub believed: Believed,
    /// Whose seals are believed.
    pub sealers: Vec<Domain>,
    /// By which fields the mail system says that a mail is spam.
    pub spam: Vec<SpamField>,
    /// In whose name reports about TLS at mail exchangers are made; `None`: there are none.
    pub tls_reports: Option<Mailbox>,
    /// The URL at which what is told of presence by mail can be ended by one click.
    pub unsubscribe_url: Option<String>,
    /// Where that is answered.
    pub unsubscribe_listen: Option<SocketAddr>,
}

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through the mail system.
    Route(MailRoute),
    /// Straight to the mail exchangers of each domain.
    Exchangers,
}

/// Where the mail system takes mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRoute {
    /// LMTP, else SMTP.
    pub lmtp: bool,
    /// Where.
    pub server: MailServer,
    /// How the server proves itself.
    pub tls: TlsPolicy,
}

impl Config {
    /// The directory of authorities.
    pub fn authorities(&self) -> PathBuf {
        self.smime.authorities.clone().unwrap_or_else(|| self.accounts.file.with_file_name("ca"))
    }

    /// The directory of certificates of other authorities that people let be told.
    pub fn brought(&self) -> PathBuf {
        self.accounts.file.with_file_name("certificates")
    }
}

/// A domain served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDomain {
    /// Its name.
    pub name: Domain,
    /// Whether it has instant inboxes; without, everything that is sent to it is refused.
    pub im: bool,
    /// Local parts that exist, `postmaster` among them; compare by [`Mailbox::key`].
    pub inboxes: Vec<String>,
    /// Whether it has presentities; without, everything of the class PRES that is sent to it is refused.
    pub presence: bool,
    /// Local parts that have presence; `None`: those with an inbox or an account.
    pub presentities: Option<Vec<String>>,
    /// Aliases and groups, each with its members, which are none.
    pub aliases: Vec<(Mailbox, Vec<Mailbox>)>,
    /// The mail domain of its bridge addresses; `None`: its own name.
    pub bridge: Option<Domain>,
    /// How long a message waits for clients before it becomes a mail; `None`: for ever.
    pub fallback: Option<Duration>,
}

impl LocalDomain {
    /// The mailboxes that are presentities, where they are named.
    pub fn presentities(&self) -> Option<impl Iterator<Item = Mailbox> + '_> {
        let named = self.presentities.as_ref()?;
        Some(named.iter().filter_map(|local| Mailbox::new(local, self.name.clone()).ok()))
    }

    /// The mailboxes of its inboxes.
    pub fn mailboxes(&self) -> impl Iterator<Item = Mailbox> + '_ {
        self.inboxes.iter().filter_map(|local| Mailbox::new(local, self.name.clone()).ok())
    }
}

/// How TLS begins where clients choose when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStart {
    /// After STARTTLS.
    StartTls,
    /// Before the first octet.
    AtOnce,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What it is for.
    pub service: Service,
    /// Where.
    pub address: Address,
    /// Whose messages it takes; means nothing but for the mail system.
    pub senders: Senders,
    /// How TLS begins; means nothing but for mail relay on demand.
    pub tls: TlsStart,
    /// Whether clients may log in without TLS; means nothing but for mail relay on demand.
    pub clear_auth: bool,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The system's authorities.
    System,
    /// Those of these PEM files; none at all if the list is empty.
    Files(Vec<PathBuf>),
}

/// TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whom to believe.
    pub roots: Roots,
    /// The oldest version.
    pub min_version: MinVersion,
}

/// What the key `upstream` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upstreams {
    None,
    Via,
    From(Vec<Upstream>),
}

/// A configured route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in logs: its first domain, or its first upstream relay.
    pub name: String,
    /// The domains that go by it; empty if it only names upstream relays.
    pub domains: Vec<Pattern>,
    /// The class that goes by it; `None`: both.
    pub class: Option<Class>,
    /// The servers, tried in order; empty exactly if `domains` is.
    pub via: Vec<Target>,
    /// How they prove themselves.
    pub tls: TlsPolicy,
    /// A proxy on the way; that of the section queue where the route has none.
    pub socks5: Option<SocketAddr>,
    /// Relays whose Authentication-Results are believed.
    pub upstream: Vec<Upstream>,
}

/// Who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// The file of accounts; it may be missing.
    pub file: PathBuf,
    /// The directory of rules; it may be missing.
    pub rules: PathBuf,
    /// The domain of names without one.
    pub domain: Option<Domain>,
    /// A passwd-file.
    pub passwd_file: Option<PathBuf>,
    /// Dovecot's socket for authentication; none beside a directory.
    pub dovecot_auth: Option<PathBuf>,
    /// Dovecot's socket for users.
    pub dovecot_users: Option<PathBuf>,
    /// Authorities for client certificates.
    pub client_authorities: Vec<PathBuf>,
    /// Lists of revoked client certificates.
    pub client_revocations: Vec<PathBuf>,
    /// A directory.
    pub ldap: Option<ldap::Options>,
    /// Tokens.
    pub oauth: Option<token::Options>,
}

/// Signatures of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smime {
    /// Who is believed when it names a signer.
    pub roots: Roots,
    /// Lists of revoked certificates.
    pub revocations: Vec<PathBuf>,
    /// Inboxes and domains here that insist on signatures.
    pub require: Vec<Who>,
    /// Whether lists of revoked certificates are fetched from where certificates name them.
    pub fetch_crls: FetchLists,
    /// The directory of authorities, where it is not beside the file of accounts.
    pub authorities: Option<PathBuf>,
}

/// From where lists of revoked certificates are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchLists {
    /// Nowhere.
    No,
    /// From public addresses.
    Public,
    /// From addresses of this host and of networks behind it too.
    Any,
}

/// What a domain signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The domain.
    pub domain: Domain,
    /// The certificate and its intermediates.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A domain for whose users the daemon issues certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The domain.
    pub domain: Domain,
    /// The file with the pass phrase of the authority's key.
    pub passphrase_file: Option<PathBuf>,
    /// The credential of systemd with it, where there is no file.
    pub credential: String,
    /// How many days a certificate is valid.
    pub days: u32,
}

/// What others may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of an entity.
    pub message_size: u64,
    /// Recipients of a transaction.
    pub recipients: usize,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
    /// Transactions of one connection that wait for the disk.
    pub in_flight: usize,
    /// Messages that an account submits in a minute.
    pub messages_per_minute: usize,
    /// Messages that another domain may hand in in a minute; `None`: as many as it will.
    pub domain_messages_per_minute: Option<usize>,
    /// Attachments of an account.
    pub attached: usize,
    /// Messages that wait in an inbox.
    pub inbox_messages: usize,
    /// Octets that wait in an inbox.
    pub inbox_octets: u64,
}

/// How messages leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How long delivery is tried, and a message waits in an inbox; at most 7 days.
    pub retention: Duration,
    /// When the sender is told of a delay.
    pub delay_notice: Duration,
    /// Waits between attempts, at least one; the last repeats.
    pub retry: Vec<Duration>,
    /// Connections in all.
    pub connections: usize,
    /// Connections to one destination; at most `connections`.
    pub connections_per_destination: usize,
    /// Messages in delivery.
    pub in_flight: usize,
    /// A proxy for all connections.
    pub socks5: Option<SocketAddr>,
}

/// Who watches whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// What becomes of a subscription to somebody without rules.
    pub default: Handling,
    /// The rest; `longest` is not less than `shortest`.
    pub options: presence::Options,
}

/// What is demanded of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of servers of other domains.
    pub peer_identity: PeerIdentity,
    /// Who is kept out.
    pub refused: Refused,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Faults of this host.
    Error,
    /// And what needs attention.
    Warn,
    /// And a line per delivery.
    Info,
    /// And what happened on the way.
    Debug,
    /// And every step.
    Trace,
}

impl Level {
    /// As a filter of the log.
    pub fn keyword(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: Level,
}

impl Config {
    /// The mailbox of `RCPT TO:<Postmaster>` (RFC 5321 §4.5.1): that of the first domain with instant inboxes.
    pub fn postmaster(&self) -> Option<Mailbox> {
        let domain = self.domains.iter().find(|domain| domain.im)?;
        Mailbox::new("postmaster", domain.name.clone()).ok()
    }

    /// The domain served here under this name.
    pub fn domain(&self, name: &Domain) -> Option<&LocalDomain> {
        self.domains.iter().find(|domain| domain.name == *name)
    }
}

/// Reads the file.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let text = read_text(path).map_err(|error| ConfigErrors::Unreadable { path: path.to_owned(), error })?;
    parse(&text, path)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_OCTETS + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_OCTETS {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "the file is longer than 4 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        std::io::Error::new(std::io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

/// Reads the text of a file; `path` is its name in errors and in [`Config::file`].
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
    build::config(text, path)
        .map_err(|problems| ConfigErrors::Mistakes { path: path.to_owned(), mistakes: problem::locate(text, problems) })
}
