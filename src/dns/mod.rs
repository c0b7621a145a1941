//! DNS: questions that routing and authentication ask, and answers that say how far they can be trusted.
//!
//! In: a name. Out: [`Answer`] with its records, security and time to live, or a [`Failure`] that keeps apart what
//! must not be confused: "there is none" ([`Failure::NxDomain`], [`Failure::NoData`]) and "nobody could say"
//! (everything else). Invariant: a bogus answer is never shown as data.
//! RFC 2782, RFC 3861, RFC 4035 §4.3, RFC 6698, RFC 7673.
//!
//! [`from_options`] gives the resolver: a cache before either our own stub, which asks a resolver nearby and believes
//! its AD bit only where that is safe, or before validation in this process. [`library`] gives one of the same servers to
//! a library that asks for itself. [`authority`] answers questions about zones that it is given.

pub mod authority;
mod cache;
mod library;
pub mod meters;
mod options;
mod published;
mod resolv_conf;
mod resolver;
mod stub;
mod validate;
mod wire;

pub use library::library;
pub use options::{Options, SetupError, Validation, from_options, resolvers};
pub use published::published;

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use crate::address::Domain;

/// Whether DNSSEC proved an answer (RFC 4035 §4.3). Bogus is a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Every record and every CNAME on the way to it was proven.
    Secure,
    /// Not signed, or nobody validated it.
    Insecure,
}

/// Records, what they are worth and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<R> {
    /// At least one.
    pub records: Vec<R>,
    /// Whether DNSSEC proved them.
    pub security: Security,
    /// What is left of the shortest time to live.
    pub ttl: Duration,
}

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The name does not exist.
    #[error("the name {name} does not exist (NXDOMAIN)")]
    NxDomain {
        /// The name that was asked for.
        name: String,
        /// Whether the absence is proven.
        security: Security,
    },
    /// The name exists, without records of this type.
    #[error("{name} has no {kind} record (NODATA)")]
    NoData {
        /// The name that was asked for.
        name: String,
        /// The record type.
        kind: &'static str,
        /// Whether the absence is proven.
        security: Security,
    },
    /// DNSSEC proved the answer to be forged or broken, or the resolver said so by SERVFAIL with an extended error.
    #[error("the answer for {0} fails DNSSEC validation (bogus)")]
    Bogus(String),
    /// SERVFAIL, REFUSED, FORMERR, …
    #[error("the resolver answered {code} for {name}")]
    Server {
        /// The name that was asked for.
        name: String,
        /// The response code as it is written in RFC 1035 and the registry.
        code: String,
    },
    /// No answer in time.
    #[error("no answer for {0} in time")]
    Timeout(String),
    /// The resolver could not be reached.
    #[error("the resolver cannot be reached: {0}")]
    Unreachable(String),
}

impl Failure {
    /// Whether it says that there is none (as opposed to: nobody could say).
    pub fn is_absence(&self) -> bool {
        matches!(self, Failure::NxDomain { .. } | Failure::NoData { .. })
    }

    /// Whether an absence is proven by DNSSEC.
    pub fn is_secure_absence(&self) -> bool {
        matches!(
            self,
            Failure::NxDomain { security: Security::Secure, .. } | Failure::NoData { security: Security::Secure, .. }
        )
    }
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among those of equal priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The target; `None` is the root `.`: the service is decidedly not offered.
    pub target: Option<Domain>,
}

/// An MX record (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host; `None` is the root `.`: no mail is taken (RFC 7505 §3).
    pub exchange: Option<Domain>,
}

/// A TLSA record (RFC 6698 §2.1), or an SMIMEA record, which has the same form (RFC 8162 §2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Selector.
    pub selector: u8,
    /// Matching type.
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

/// A future of a look-up.
pub type Lookup<'a, R> = Pin<Box<dyn Future<Output = Result<Answer<R>, Failure>> + Send + 'a>>;

/// Whoever answers. Implementations cache within bounds and follow CNAME.
pub trait Resolve: Send + Sync {
    /// What was asked so far; nothing where nobody counts.
    fn meters(&self) -> Option<&meters::Meters> {
        None
    }
    /// SRV at `name` (with its underscore labels), in no particular order.
    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv>;
    /// AAAA and A of `host`, IPv6 first. A failure of one type beside success of the other is success; the security
    /// is that of the weaker of the answers given.
    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, IpAddr>;
    /// TLSA at `_port._tcp.host`.
    fn tlsa<'a>(&'a self, host: &'a Domain, port: u16) -> Lookup<'a, Tlsa>;
    /// MX at `domain`, in no particular order; none where nobody can say.
    fn mx<'a>(&'a self, domain: &'a Domain) -> Lookup<'a, Mx> {
        Box::pin(
            async move { Err(Failure::NoData { name: domain.to_string(), kind: "MX", security: Security::Insecure }) },
        )
    }
    /// TXT at `name`, the strings of each record put together; none where nobody can say.
    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<u8>> {
        Box::pin(
            async move { Err(Failure::NoData { name: name.to_owned(), kind: "TXT", security: Security::Insecure }) },
        )
    }
    /// SMIMEA at `name`, which [`crate::smime::trust::owner`] makes of an address; none where nobody can say.
    fn smimea<'a>(&'a self, name: &'a str) -> Lookup<'a, Tlsa> {
        Box::pin(
            async move { Err(Failure::NoData { name: name.to_owned(), kind: "SMIMEA", security: Security::Insecure }) },
        )
    }
}
