//! What is to be thought of a message's protection: one value with its reason.
//!
//! In: a finding. Out: words for people, the result for Authentication-Results, what a server must refuse. Invariant:
//! only [`Finding::ValidUser`] and [`Finding::ValidDomain`] say that somebody is who From names; every other finding
//! says why not. RFC 8601 §2.2; the method `smime`, its results and `body.smime-identifier` are RFC 7281's.

use std::fmt;
use std::time::Duration;

use super::protect::{Contradiction, Scheme};
use super::trust::{Basis, Distrust};
use crate::address::{Domain, Mailbox};
use crate::timestamp::Timestamp;

/// How long after its signed Date a message is accepted.
pub const WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// How far ahead of the clock a signed Date may be.
pub const AHEAD: Duration = Duration::from_secs(600);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Signed by the author whom From names.
    ValidUser(Mailbox),
    /// Signed by the domain of the author whom From names, as it does notifications and receipts.
    ValidDomain(Domain),
    /// The signature holds, but nobody who is trusted says whose it is.
    Untrusted(Distrust),
    /// Signed, and not what was signed.
    Altered(Alteration),
    /// Signed with a certificate outside its time.
    Expired(Expiry),
    /// Signed by somebody else than From names.
    WrongSender(Mismatch),
    /// Sent before, or meant for another time or recipient.
    Replayed(Replay),
    /// Nobody signed the message as a whole.
    Unsigned(Absence),
    /// Encrypted, and not readable here.
    Undecryptable(String),
}

/// How a message differs from what was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alteration {
    /// The signature does not fit the content, or cannot be read; in the words of the fault.
    #[error("{0}")]
    Content(String),
    /// A field outside contradicts the signed one.
    #[error("{0}")]
    Field(Contradiction),
    /// The signed header can be read in more than one way.
    #[error("the signed header is not well-formed: {0}")]
    Header(String),
}

/// How a certificate misses its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It, or one above it, had expired when the message was signed.
    Over(Timestamp),
    /// It, or one above it, was not valid yet when the message was signed.
    NotYet(Timestamp),
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expiry::Over(at) => write!(f, "the certificate expired on {}", day(*at)),
            Expiry::NotYet(at) => write!(f, "the certificate is not valid before {}", day(*at)),
        }
    }
}

fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

/// How the signer misses From.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The certificate names no address at all.
    #[error("the certificate names no address")]
    NoName,
    /// The certificate names others.
    #[error("the certificate is for {named}, the message from {from}")]
    Other {
        /// The first of the certificate's names.
        named: String,
        /// The author.
        from: Mailbox,
    },
    /// From names several, of whom one signed.
    #[error("the message has several authors, and one signature")]
    SeveralAuthors,
    /// No author that is protected, or that can be read.
    #[error("no author is named in what was signed")]
    NoAuthor,
    /// From outside contradicts the signed one.
    #[error("{0}")]
    Contradiction(Contradiction),
}

/// How a message is out of place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Replay {
    /// Its signed Date, or the time of its signature, is more than [`WINDOW`] ago.
    #[error("it was signed more than 7 days ago")]
    TooOld,
    /// Its signed Date, or the time of its signature, is more than [`AHEAD`] ahead.
    #[error("its date is ahead of time; set the sender's clock")]
    Ahead,
    /// Its signed To and Cc do not name the recipient.
    #[error("it was written to others, not to {0}")]
    NotForRecipient(Mailbox),
}

/// Why there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// Not signed.
    #[error("nobody signed it")]
    Plain,
    /// A part of it is signed or encrypted; what stands around that part is anybody's (RFC 9787 §4.5).
    #[error("only a part of it is protected, and is not shown as protected")]
    PartOnly,
    /// It is encrypted, and nobody signed what was encrypted.
    #[error("it is encrypted, but nobody signed it")]
    EncryptedOnly,
}

/// The finding with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was found.
    pub finding: Finding,
    /// How the header fields are protected.
    pub scheme: Scheme,
    /// Whether it came encrypted, and was decrypted here.
    pub encrypted: bool,
    /// Who vouches for the signer, where somebody does.
    pub basis: Option<Basis>,
    /// Whether a signed Message-ID and Date let a replay be told: without them there is no claim.
    pub replay_protected: bool,
    /// Whether a signed time, Date or that of the signature, was found to be in the window.
    pub timed: bool,
}

impl Verdict {
    /// All that [`Verdict::word`] says.
    pub const WORDS: [&str; 9] =
        ["user", "domain", "untrusted", "altered", "expired", "wrong-sender", "replayed", "unsigned", "undecryptable"];

    /// A finding of a message whose fields are not protected.
    pub fn bare(finding: Finding) -> Verdict {
        Verdict {
            finding,
            scheme: Scheme::Unprotected,
            encrypted: false,
            basis: None,
            replay_protected: false,
            timed: false,
        }
    }

    /// Whether the author is proven, by the author's certificate or by the domain's.
    pub fn is_valid(&self) -> bool {
        matches!(self.finding, Finding::ValidUser(_) | Finding::ValidDomain(_))
    }

    /// The author whose own certificate proves the message.
    pub fn user(&self) -> Option<&Mailbox> {
        if let Finding::ValidUser(user) = &self.finding { Some(user) } else { None }
    }

    /// The domain whose certificate proves the message.
    pub fn domain(&self) -> Option<&Domain> {
        if let Finding::ValidDomain(domain) = &self.finding { Some(domain) } else { None }
    }

    /// Whether no policy may accept it: it contradicts itself, is out of its time, or is meant for somebody else. The
    /// reply is `554 5.7.7`.
    pub fn must_be_refused(&self) -> bool {
        match &self.finding {
            Finding::Replayed(_) | Finding::Altered(Alteration::Field(_)) => true,
            Finding::WrongSender(mismatch) => matches!(mismatch, Mismatch::Contradiction(_)),
            _ => false,
        }
    }

    /// The finding in one word, for rules, logs and metrics.
    pub fn word(&self) -> &'static str {
        match self.finding {
            Finding::ValidUser(_) => "user",
            Finding::ValidDomain(_) => "domain",
            Finding::Untrusted(_) => "untrusted",
            Finding::Altered(_) => "altered",
            Finding::Expired(_) => "expired",
            Finding::WrongSender(_) => "wrong-sender",
            Finding::Replayed(_) => "replayed",
            Finding::Unsigned(_) => "unsigned",
            Finding::Undecryptable(_) => "undecryptable",
        }
    }

    /// Why, in words; empty for a valid one.
    pub fn reason(&self) -> String {
        match &self.finding {
            Finding::ValidUser(_) | Finding::ValidDomain(_) => String::new(),
            Finding::Untrusted(why) => why.to_string(),
            Finding::Altered(why) => why.to_string(),
            Finding::Expired(why) => why.to_string(),
            Finding::WrongSender(why) => why.to_string(),
            Finding::Replayed(why) => why.to_string(),
            Finding::Unsigned(why) => why.to_string(),
            Finding::Undecryptable(why) => why.clone(),
        }
    }

    /// The result of the method `smime`.
    pub fn result(&self) -> &'static str {
        match &self.finding {
            Finding::ValidUser(_) | Finding::ValidDomain(_) => "pass",
            Finding::Altered(_) | Finding::WrongSender(_) => "fail",
            Finding::Untrusted(_) | Finding::Expired(_) | Finding::Replayed(_) => "policy",
            Finding::Unsigned(_) => "none",
            Finding::Undecryptable(_) => "neutral",
        }
    }

    /// Who is proven, as `body.smime-identifier` names it (RFC 7281).
    pub fn identifier(&self) -> Option<String> {
        match &self.finding {
            Finding::ValidUser(user) => Some(user.to_string()),
            Finding::ValidDomain(domain) => Some(format!("{}@{domain}", super::trust::DOMAIN_LOCAL_PART)),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    /// In words for people, one line: `signed by alice@a.example (certified by Example CA), encrypted`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::ValidUser(user) => write!(f, "signed by {user}")?,
            Finding::ValidDomain(domain) => write!(f, "signed by the domain {domain}")?,
            Finding::Untrusted(why) => write!(f, "signed, but not to be trusted: {why}")?,
            Finding::Altered(why) => write!(f, "ALTERED: {why}")?,
            Finding::Expired(why) => write!(f, "signed, but not in time: {why}")?,
            Finding::WrongSender(why) => write!(f, "NOT FROM ITS SENDER: {why}")?,
            Finding::Replayed(why) => write!(f, "REPEATED: {why}")?,
            Finding::Unsigned(Absence::Plain) => f.write_str("not signed")?,
            Finding::Unsigned(why) => write!(f, "not signed: {why}")?,
            Finding::Undecryptable(why) => write!(f, "cannot be read: {why}")?,
        }
        if let (true, Some(basis)) = (self.is_valid(), &self.basis) {
            write!(f, " ({basis})")?;
        }
        if self.encrypted {
            f.write_str(", encrypted")?;
        }
        if self.is_valid() {
            match (self.scheme, self.replay_protected) {
                (Scheme::Unprotected, _) => f.write_str("; the text only, not subject, date and recipients")?,
                (_, false) => f.write_str("; it could be a repetition of an older message")?,
                (Scheme::Wrapped, true) => f.write_str(", in the older form")?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
