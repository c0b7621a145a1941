//! Whether a signer's certificate is to be believed, and for whom it speaks.
//!
//! In: roots, intermediate authorities and revocation lists, once; then a signer's certificate, what came with it, the
//! time of signing and the time now; what the author's domain publishes; pins. Out: a [`Basis`] or a [`Refusal`].
//! Invariants: a [`Trust`] never changes: new roots or lists make a new one, and its cache of validated chains goes with
//! the old one. Every signature is checked by aws-lc-rs. All work has bounds: lengths of chains, chains tried, names.
//! Fails closed: an authority whose revocation list is out of date vouches for nobody.
//!
//! Chains are validated by certval (RFC 5280 §6) at the time of signing; revocation is judged now, because whoever stole
//! a key can sign with any date. RFC 8550, RFC 9734, RFC 9598.

mod cache;
mod chain;
mod lists;
mod names;
mod smimea;

pub use lists::{FoundList, ListPlace, read_list};
pub use names::{Names, SMTP_UTF8_MAILBOX};
pub use smimea::{Published, Record, Usage, owner, wildcard};

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cache::{Cache, Entry};

use super::verdict::Expiry;
use super::{Certificate, Fault};
use crate::address::{Domain, Mailbox};
use crate::timestamp::Timestamp;

/// The local part of the mailbox that stands for a domain: notifications and receipts are signed by `presence@D`.
pub const DOMAIN_LOCAL_PART: &str = "presence";

/// The mailbox that stands for a domain.
pub fn domain_mailbox(domain: &Domain) -> Option<Mailbox> {
    Mailbox::new(DOMAIN_LOCAL_PART, domain.clone()).ok()
}

/// Who vouches for a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A configured root; its name.
    Root(String),
    /// The author's own domain, by SMIMEA.
    Published(Domain),
    /// Nobody but the memory of an earlier message: the certificate that was kept for this author.
    Pinned,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Basis::Root(name) => write!(f, "certified by {name}"),
            Basis::Published(domain) => write!(f, "certified by {domain}"),
            Basis::Pinned => f.write_str("with the certificate known for this sender"),
        }
    }
}

/// Why nobody vouches for a signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// No chain leads to a root.
    #[error(
        "no authority that is trusted here certifies the signer; add its root to smime.roots, or ask for the record SMIMEA"
    )]
    NoChain,
    /// A chain leads to a root and does not hold.
    #[error("the chain to {root} does not hold: {why}")]
    Chain {
        /// The root's name.
        root: String,
        /// What is wrong.
        why: String,
    },
    /// The certificate is for another purpose than mail or instant messages.
    #[error("the certificate is not for e-mail (emailProtection) or instant messages (id-kp-imUri)")]
    Purpose,
    /// Its key may not sign messages.
    #[error("the certificate's key usage does not allow signatures")]
    KeyUsage,
    /// An authority speaks for addresses beyond its constraints.
    #[error("an authority certified an address for which it may not speak")]
    Constrained,
    /// It, or an authority above it, was revoked.
    #[error("the certificate was revoked")]
    Revoked,
    /// Whether it was revoked cannot be told.
    #[error("the revocation list of {0} is out of date or cannot be used; fetch a new one")]
    Revocation(String),
    /// The author's domain publishes which certificates may be used, and this is none of them.
    #[error("the sender's domain publishes other certificates than this one")]
    NotPublished,
    /// Another certificate is kept for this author.
    #[error("the signer's certificate is not the one known for this sender; ask the sender, then forget the old one")]
    NotPinned,
    /// The certificate cannot be read.
    #[error("the signer's certificate cannot be read: {0}")]
    Unreadable(String),
}

/// Why a signer is not believed: in time or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody vouches.
    Distrust(Distrust),
    /// Somebody does, at another time.
    Expiry(Expiry),
}

/// A certificate that is kept for an author since it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pin {
    /// The author.
    pub author: Mailbox,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// Why roots or lists cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A root or intermediate certificate cannot be read.
    #[error("an authority's certificate cannot be read: {0}")]
    Certificate(String),
    /// A revocation list cannot be read.
    #[error("a revocation list cannot be read; it must be a CRL in DER or PEM")]
    Crl,
    /// More than [`limits::TRUSTED_CERTIFICATES`](crate::limits::TRUSTED_CERTIFICATES), or of lists.
    #[error("too many {0}")]
    TooMany(&'static str),
}

/// What to trust.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    /// Roots.
    pub roots: Vec<Certificate>,
    /// Authorities below roots that may be missing in messages.
    pub intermediates: Vec<Certificate>,
    /// Revocation lists, DER. An issuer for which there is one must have one that is in date; others are not asked.
    pub crls: Vec<Vec<u8>>,
    /// Whether every issuer must have a list.
    pub require_crls: bool,
}

/// Roots, lists, and the chains that were validated with them.
pub struct Trust {
    chains: chain::Chains,
    cache: Mutex<Cache>,
}

/// A signer's certificate and what the question is.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The signer's certificate.
    pub certificate: &'a Certificate,
    /// What came with it, in any order.
    pub offered: &'a [Certificate],
    /// Revocation lists that came with it. They only take belief away: that an old list does not name a certificate which a
    /// later one names is no reason to believe it.
    pub lists: &'a [Vec<u8>],
    /// When the message says that it was signed.
    pub signed_at: Timestamp,
    /// The time now.
    pub now: Timestamp,
}

impl Trust {
    /// From what to trust.
    pub fn new(anchors: &Anchors) -> Result<Trust, TrustError> {
        Ok(Trust { chains: chain::Chains::new(anchors)?, cache: Mutex::default() })
    }

    /// Who vouches for the signer, speaking as `author`. `published` is what the author's domain publishes, proven by
    /// DNSSEC; `pins` are the certificates kept for authors, empty where none are.
    pub fn judge(
        &self,
        signer: &Presented<'_>,
        author: &Mailbox,
        published: Option<&Published>,
        pins: &[Pin],
    ) -> Result<Basis, Refusal> {
        if !signer.certificate.may_sign() {
            return Err(Refusal::Distrust(Distrust::KeyUsage));
        }
        let records = published.map(|published| published.for_author(author)).unwrap_or_default();
        let by_domain = match self.published(signer, &records) {
            Some(Ok(chain)) => {
                self.chains.revoked_by(signer, &chain.authorities)?;
                return Ok(Basis::Published(author.domain().clone()));
            }
            Some(Err(refusal)) => Some(refusal),
            None => None,
        };
        let by_root = match self.by_roots(signer) {
            Ok(entry) if constrained_away(&records, signer.certificate, &entry) => {
                return Err(Refusal::Distrust(Distrust::NotPublished));
            }
            Ok(entry) => {
                self.chains.revoked_by(signer, &entry.authorities)?;
                return Ok(Basis::Root(entry.root.clone()));
            }
            Err(refusal) => refusal,
        };
        if by_root == Refusal::Distrust(Distrust::NoChain) && by_domain.is_none() {
            return pinned(signer, author, pins);
        }
        Err(by_domain.unwrap_or(by_root))
    }

    /// A chain to a configured root, from the cache or validated now.
    fn by_roots(&self, signer: &Presented<'_>) -> Result<Arc<Entry>, Refusal> {
        let key = Cache::key(signer.certificate, None);
        self.cached(key, signer, || self.chains.to_roots(signer))
    }

    /// A chain to what the domain publishes, without any authority where it publishes the signer: `None` where it publishes
    /// nothing that this could be.
    fn published(&self, signer: &Presented<'_>, records: &[(Usage, &Record)]) -> Option<Result<Arc<Entry>, Refusal>> {
        let of = |wanted: Usage| records.iter().filter(move |(usage, _)| *usage == wanted).map(|(_, record)| *record);
        if of(Usage::Signer).any(|record| record.matches(signer.certificate)) {
            return Some(self.chains.alone(signer).map(|()| Arc::default()));
        }
        let mut refusal = None;
        for record in of(Usage::Authority) {
            let whole = record.certificate();
            let shown = signer.offered.iter().find(|offered| record.matches(offered));
            let Some(anchor) = whole.as_ref().or(shown) else { continue };
            let key = Cache::key(signer.certificate, Some(anchor));
            match self.cached(key, signer, || self.chains.to_anchor(signer, anchor)) {
                Ok(entry) => return Some(Ok(entry)),
                Err(Refusal::Distrust(Distrust::NoChain)) => {}
                Err(other) => refusal = Some(other),
            }
        }
        refusal.map(Err)
    }

    fn cached(
        &self,
        key: [u8; 32],
        signer: &Presented<'_>,
        validate: impl FnOnce() -> Result<Entry, Refusal>,
    ) -> Result<Arc<Entry>, Refusal> {
        let hit = self.cache().get(&key, signer.signed_at, signer.now);
        if let Some(entry) = hit {
            return Ok(entry);
        }
        let entry = Arc::new(validate()?);
        self.cache().put(key, Arc::clone(&entry));
        Ok(entry)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // What a panic elsewhere left is whole entries: the map is never changed half.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the lists are that tell whether a signer who was believed, or an authority above, was revoked meanwhile.
    pub fn lists_of(&self, signer: &Certificate) -> Vec<ListPlace> {
        let chain = self.cache().chain(&Cache::key(signer, None));
        chain.map_or_else(Vec::new, |chain| lists::places(signer, &chain.authorities))
    }

    /// Chains in the cache, for metrics.
    pub fn cached_chains(&self) -> usize {
        self.cache().len()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("cached_chains", &self.cached_chains()).finish_non_exhaustive()
    }
}

/// Whether records of usages 0 and 1 leave this chain out: they restrict what roots may vouch for.
fn constrained_away(records: &[(Usage, &Record)], signer: &Certificate, chain: &Entry) -> bool {
    let mut constrains = false;
    for (usage, record) in records {
        let fits = match usage {
            Usage::AuthorityConstraint => chain.authorities.iter().any(|authority| record.matches(authority)),
            Usage::SignerConstraint => record.matches(signer),
            Usage::Authority | Usage::Signer => continue,
        };
        if fits {
            return false;
        }
        constrains = true;
    }
    constrains
}

/// The word of an earlier message. The certificate's own time still counts.
fn pinned(signer: &Presented<'_>, author: &Mailbox, pins: &[Pin]) -> Result<Basis, Refusal> {
    let mut known = pins.iter().filter(|pin| pin.author.key() == author.key()).peekable();
    if known.peek().is_none() {
        return Err(Refusal::Distrust(Distrust::NoChain));
    }
    let own = signer.certificate.fingerprint();
    if !known.any(|pin| pin.fingerprint == own) {
        return Err(Refusal::Distrust(Distrust::NotPinned));
    }
    chain::in_time(signer.certificate, signer.signed_at).map_err(Refusal::Expiry)?;
    Ok(Basis::Pinned)
}

/// The names of a certificate, or why it cannot be read.
pub fn names_of(certificate: &Certificate) -> Result<&Names, Fault> {
    certificate.addresses()
}

#[cfg(test)]
pub(super) mod tests;
