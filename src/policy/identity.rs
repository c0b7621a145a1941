//! Whether a peer is the domain for which it sends: the judgement. Pure.
//!
//! In: a domain that a peer claims to be (of MAIL FROM, or of EHLO for the null sender) and [`Facts`] about the peer
//! and the domain's servers. Out: a [`Finding`]. Invariant: without a fact that proves it nothing is proven, and a
//! question that nobody could answer never becomes "no": it becomes [`Finding::Unknown`], which is a temporary refusal.
//!
//! What proves a peer to be `a.example`, in this order:
//! 1. a certificate below our trust anchors that names `a.example` (DNS-ID, or SRV-ID of one of its services);
//! 2. a host of `a.example`'s SRV records (`_im` or `_pres`) whose TLSA records are about the peer's certificate, or,
//!    where there are no usable ones, that the certificate names below our trust anchors. The SRV answer must be
//!    secure: only then does the host's name stand in for the domain's (RFC 7673 §4.1);
//! 3. unless the policy is [`Policy::Certificate`]: such a host of an SRV answer that is not secure, by the same
//!    certificate, or by an address of it that is the peer's. This is worth what plain DNS and TCP are worth.
//!
//! For the null sender the identity is that of EHLO, as RFC 7208 §2.4 does it. The name in EHLO is that of a host (RFC
//! 5321 §4.1.1.1), so the host itself counts as if it were its own SRV target. Exception to RFC 5321 §4.1.4, which
//! forbids to refuse a message because the EHLO name does not fit the address: here only domains that prove themselves
//! are heard, and the name alone is never held against a peer that proves it otherwise.

pub mod authorship;
pub mod mail;
mod results;

#[cfg(test)]
mod tests;

use crate::address::Domain;
use crate::envelope::Class;
use crate::reply::{EnhancedCode, Reply};
use crate::tls::Names;

pub use results::{AuthenticationResults, MethodResult, authentication_results, signature_results, upstream};

/// The port of relays (protocol: 2779), where the TLSA records of a host that only EHLO names are looked for.
pub const RELAY_PORT: u16 = 2779;

/// What counts as proof (`peer_identity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A certificate, else the address of a host of the domain's SRV.
    #[default]
    Address,
    /// A certificate alone.
    Certificate,
}

/// Where the domain was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// In MAIL FROM.
    Sender,
    /// In EHLO, where MAIL FROM is null.
    Ehlo,
}

/// What proved a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// A certificate that names the domain, or a host for which DNSSEC vouches.
    Certificate,
    /// TLSA records of such a host.
    Dane,
    /// A certificate that names a host of the domain's SRV, for which only plain DNS vouches.
    Host,
    /// The address of a host of the domain's SRV.
    Address,
    /// A relay that the administrator trusts has seen the proof.
    Upstream,
    /// An aligned pass of DMARC (RFC 9989), examined here.
    Dmarc,
    /// A sealer that the administrator trusts has seen one (ARC).
    Sealer,
}

impl By {
    /// The word in Authentication-Results and in logs.
    pub fn word(self) -> &'static str {
        match self {
            By::Certificate => "certificate",
            By::Dane => "dane",
            By::Host => "host",
            By::Address => "address",
            By::Upstream => "upstream",
            By::Dmarc => "dmarc",
            By::Sealer => "arc",
        }
    }
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The peer is the domain.
    Proven {
        /// By what.
        by: By,
    },
    /// Nothing proves it.
    Unproven {
        /// Why, and what would.
        reason: String,
    },
    /// DNS could not say.
    Unknown {
        /// What failed.
        reason: String,
    },
}

impl Finding {
    /// Whether the peer is the domain.
    pub fn is_proven(&self) -> bool {
        matches!(self, Finding::Proven { .. })
    }

    /// The refusal: `550 5.7.1`, or `451 4.7.24` when DNS could not say (RFC 7372 §3.2 has the code for a validation of
    /// the sender's domain that met a temporary error); `None` when it is proven.
    pub fn refusal(&self, domain: &Domain) -> Option<Reply> {
        match self {
            Finding::Proven { .. } => None,
            Finding::Unproven { reason } => Some(Reply::new(
                550,
                EnhancedCode::new(5, 7, 1),
                format!("this connection has not proven to be {domain}: {reason}"),
            )),
            Finding::Unknown { reason } => Some(Reply::new(
                451,
                EnhancedCode::new(4, 7, 24),
                format!("cannot tell whether this connection is {domain}: {reason}"),
            )),
        }
    }
}

/// The certificate that the peer showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None.
    Nothing,
    /// One that our trust anchors do not vouch for; why not. TLSA records may.
    Untrusted(String),
    /// One that they vouch for, with these names.
    Trusted(Names),
}

/// The answer to one question about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Not asked yet, or it does not matter.
    NotAsked,
    /// Yes.
    Yes,
    /// No.
    No,
    /// Nobody could say; why.
    Unknown(String),
}

/// What TLSA records say about the peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsaFact {
    /// Not asked, as for hosts that are not secure.
    NotAsked,
    /// There are none that are secure and usable.
    None,
    /// One is about it.
    Match,
    /// None of them is about it.
    Mismatch,
    /// Nobody could say; why.
    Unknown(String),
}

/// A server of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: Domain,
    /// Whether DNSSEC proves it to be the domain's.
    pub secure: bool,
    /// What its TLSA records say.
    pub tlsa: TlsaFact,
    /// Whether the peer's address is one of its own.
    pub address: Fact,
}

/// What is known about a peer and a domain; more may be asked as long as nothing is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The certificate that the peer showed.
    pub shown: Shown,
    /// The targets of the domain's SRV records, at most [`HOSTS`]; for EHLO the host itself too.
    pub hosts: Vec<Host>,
    /// Why an SRV answer is missing, if nobody could give it.
    pub fault: Option<String>,
}

/// Hosts of a domain that are looked at.
pub const HOSTS: usize = 8;

/// A claim and what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The domain that the peer claims to be.
    pub domain: &'a Domain,
    /// What counts.
    pub policy: Policy,
    /// What is known.
    pub facts: &'a Facts,
}

/// Judges a claim.
pub fn judge(claim: &Claim<'_>) -> Finding {
    let Claim { domain, policy, facts } = *claim;
    if shown_names_domain(&facts.shown, domain) {
        return Finding::Proven { by: By::Certificate };
    }
    let proofs = facts.hosts.iter().filter_map(|host| host_proof(host, &facts.shown, policy));
    if let Some(by) = proofs.min_by_key(|by| strength(*by)) {
        return Finding::Proven { by };
    }
    if let Some(reason) = missing(facts, policy) {
        return Finding::Unknown { reason };
    }
    Finding::Unproven { reason: reason(claim) }
}

/// RFC 9525 §6, RFC 4985: the names of the domain itself. Either service will do: the one certificate is of the
/// domain's relay, which sends for both.
fn shown_names_domain(shown: &Shown, domain: &Domain) -> bool {
    match shown {
        Shown::Trusted(names) => {
            names.names_host(domain) || [Class::Im, Class::Pres].iter().any(|class| names.names_service(*class, domain))
        }
        _ => false,
    }
}

fn host_proof(host: &Host, shown: &Shown, policy: Policy) -> Option<By> {
    // Where there are usable TLSA records only they decide about a certificate (RFC 7672 §3.2).
    let by_records_alone = !matches!(host.tlsa, TlsaFact::NotAsked | TlsaFact::None);
    let named = matches!(shown, Shown::Trusted(names) if names.names_host(&host.name)) && !by_records_alone;
    let lax = policy == Policy::Address;
    match host {
        Host { secure: true, tlsa: TlsaFact::Match, .. } => Some(By::Dane),
        // Not before the records have been asked for.
        Host { secure: true, tlsa: TlsaFact::None, .. } if named => Some(By::Certificate),
        Host { secure: false, .. } if named && lax => Some(By::Host),
        Host { address: Fact::Yes, .. } if lax => Some(By::Address),
        _ => None,
    }
}

fn strength(by: By) -> u8 {
    match by {
        By::Certificate | By::Dane => 0,
        By::Host => 1,
        By::Address | By::Upstream | By::Dmarc | By::Sealer => 2,
    }
}

/// Why the facts do not suffice for a "no".
fn missing(facts: &Facts, policy: Policy) -> Option<String> {
    let shows = facts.shown != Shown::Nothing;
    if policy == Policy::Certificate && !shows {
        // Whatever DNS might say, there is no certificate that it could be about.
        return None;
    }
    if let Some(fault) = &facts.fault {
        return Some(fault.clone());
    }
    facts.hosts.iter().find_map(|host| match host {
        Host { tlsa: TlsaFact::Unknown(reason), secure: true, .. } if shows => Some(reason.clone()),
        Host { address: Fact::Unknown(reason), .. } if policy == Policy::Address => Some(reason.clone()),
        _ => None,
    })
}

/// What was looked at, and what would have done.
fn reason(claim: &Claim<'_>) -> String {
    let Claim { domain, policy, facts } = claim;
    let certificate = match &facts.shown {
        Shown::Nothing => "it showed no client certificate".to_owned(),
        Shown::Untrusted(why) => format!("its client certificate is not trusted ({why})"),
        Shown::Trusted(names) if names.is_empty() => "its client certificate names nobody".to_owned(),
        Shown::Trusted(names) => format!("its client certificate is for {}", names.shown().join(", ")),
    };
    if facts.hosts.is_empty() {
        return format!("{certificate}, and {domain} has no SRV records _im._impp or _pres._impp that name its hosts");
    }
    let hosts: Vec<&str> = facts.hosts.iter().map(|host| host.name.as_str()).collect();
    match policy {
        Policy::Address => format!("{certificate}, and its address is none of {}", hosts.join(", ")),
        Policy::Certificate => {
            format!(
                "{certificate}, and one that names {domain} or proves to be one of {} is asked for",
                hosts.join(", ")
            )
        }
    }
}
