//! Where a domain's messages go: configuration first, then SRV (RFC 3861, RFC 2782), and where there is none its mail
//! exchangers ([`exchange`], RFC 5321 §5.1), held to what the domain says of them ([`sts`], [`policies`]).
//!
//! Pure: facts in, value out. [`Table`] knows local domains and configured routes; for the rest somebody asks DNS for
//! [`service_name`], [`decide`] turns what came into a [`Decision`], and [`Memory`] keeps a domain that is known to
//! speak IMPP from being taken for one that does not. *Exception* to RFC 3861 §4: no implicit SRV from A or AAAA,
//! since every host with a web site would be asked.

mod decide;
pub mod exchange;
mod memory;
pub mod policies;
pub mod sts;
mod table;
pub mod tlsrpt;

pub use decide::{Decision, TARGETS, decide, order, service_name};
pub use memory::Memory;
pub use table::{MailWay, Pattern, Rule, Table, Way};

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::address::Domain;
use crate::envelope::Class;
pub use crate::net::Host;

/// One server of a hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its host name, as SRV or the route names it.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Whether the name was found by a DNSSEC-secure answer (or configured), so that it may stand in for the domain.
    pub secure: bool,
}

/// How a hop must prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// TLS at once; TLSA if there is one, else PKIX for the domain or (secure SRV) the target.
    Required,
    /// STARTTLS, then as `Required`, the reference name being the route's host.
    StartTls,
    /// Encrypted if the hop can, without proof.
    Opportunistic,
    /// In the clear: loopback and tests of old equipment.
    None,
}

/// A hop that the administrator named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configured {
    /// Its name in logs and in `impartctl queue`.
    pub name: String,
    /// Its servers, tried in order.
    pub targets: Vec<Target>,
    /// How it proves itself.
    pub tls: TlsPolicy,
    /// A SOCKS5 proxy to go through (RFC 1928).
    pub socks5: Option<SocketAddr>,
}

/// Where a message goes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// A domain's own servers, found by SRV, in the order in which they are to be tried.
    Peer {
        /// The domain; SNI and certificate are about it.
        domain: Domain,
        /// The service.
        class: Class,
        /// At least one.
        targets: Vec<Target>,
        /// A SOCKS5 proxy for all that leaves this host.
        socks5: Option<SocketAddr>,
        /// Whether only servers count that keep REQUIRETLS (RFC 8689 §4.2.1).
        keeps_tls: bool,
    },
    /// A configured route.
    Configured(Arc<Configured>),
    /// The mail system: what goes there becomes a mail.
    Mail(Arc<MailHop>),
}

/// Where the mail system takes mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MailServer {
    /// A Unix socket on this host, with LMTP behind it.
    Socket(PathBuf),
    /// Servers, tried in order.
    Hosts(Vec<Target>),
    /// The mail exchangers of a domain.
    Exchangers(Exchangers),
}

/// The mail exchangers of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exchangers {
    /// The domain.
    pub domain: Domain,
    /// At least one, in the order in which they are to be tried.
    pub targets: Vec<Target>,
    /// The domain's policy about them, where it has one.
    pub policy: Option<Arc<sts::Policy>>,
    /// A SOCKS5 proxy for all that leaves this host.
    pub socks5: Option<SocketAddr>,
    /// Whether only those count that keep REQUIRETLS (RFC 8689 §4.2.1).
    pub keeps_tls: bool,
}

/// A way into the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailHop {
    /// Where.
    pub server: MailServer,
    /// A mail store that speaks LMTP (RFC 2033): what it accepts is delivered. Else SMTP.
    pub lmtp: bool,
    /// How it proves itself; a socket has nothing to prove, and what mail exchangers have is theirs to say.
    pub tls: TlsPolicy,
    /// The domains of bridge addresses, by the domain served here that they belong to.
    pub bridges: Arc<HashMap<Domain, Domain>>,
}

impl std::hash::Hash for MailHop {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.server, self.lmtp, self.tls).hash(state);
    }
}

impl MailHop {
    /// The domain of bridge addresses of a domain served here: its own name unless it is told otherwise.
    pub fn bridge_of(&self, domain: &Domain) -> Option<&Domain> {
        self.bridges.get(domain)
    }
}
