//! Rules: who may send to an inbox, and who else reads it; documents of common policy with actions of our own.
//!
//! In: a document, who asks, the time. Out: a [`Decision`]. Pure. Invariants: rules only permit, their order is of no
//! account, and of what several permit the most counts; a condition that is not understood is not met. The document itself is
//! kept octet for octet: what others put into it survives, also what [`edit`] changes. It fails with the line, the
//! element and what would be right. RFC 4745, RFC 5025.

pub mod edit;
mod read;

use std::ops::Range;

pub use read::{RulesError, read};

use crate::address::{Domain, Mailbox};
use crate::timestamp::Timestamp;

/// The namespace of RFC 4745 §13.
pub const COMMON: &str = "urn:ietf:params:xml:ns:common-policy";
/// The namespace of RFC 5025 §7.
pub const PRESENCE: &str = "urn:ietf:params:xml:ns:pres-rules";
/// The namespace of our own actions, and of the condition `anonymous`.
pub const IMPART: &str = "urn:impart:rules";

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// It is refused.
    #[default]
    Block,
    /// It is taken.
    Allow,
}

/// How somebody else reads an inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// Not at all.
    #[default]
    No,
    /// Copies, which deliver nothing.
    Copy,
    /// What it acknowledges is delivered.
    Take,
}

/// What the rules permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To send.
    pub message: Message,
    /// To read.
    pub read: Read,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watcher<'a> {
    /// As whom it has authenticated; `None`: anonymous.
    pub identity: Option<&'a Mailbox>,
}

/// A document, as it is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    rules: Vec<Rule>,
}

impl Ruleset {
    /// Reads a document.
    pub fn parse(text: &str) -> Result<Ruleset, RulesError> {
        read(text).map(|(ruleset, _)| ruleset)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none: everything is blocked.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What is permitted to whoever asks, now. Without a document everybody may send, and nobody else reads; with one, only
/// what its rules permit (RFC 4745 §10.2).
pub fn decide(document: Option<&Ruleset>, who: Watcher<'_>, now: Timestamp) -> Decision {
    let Some(document) = document else {
        return Decision { message: Message::Allow, read: Read::No };
    };
    let who = who.identity.map(Name::of);
    let matching = document.rules.iter().filter(|rule| rule.conditions.iter().all(|one| one.holds(who.as_ref(), now)));
    matching.fold(Decision::default(), |sum, rule| Decision {
        message: sum.message.max(rule.message),
        read: sum.read.max(rule.read),
    })
}

/// An identity as it is compared.
struct Name<'a> {
    key: String,
    domain: &'a Domain,
}

impl Name<'_> {
    fn of(mailbox: &Mailbox) -> Name<'_> {
        Name { key: mailbox.key(), domain: mailbox.domain() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    id: String,
    /// Where it stands in the document.
    place: Range<usize>,
    conditions: Vec<Condition>,
    message: Message,
    read: Read,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// One of them is who asks (RFC 4745 §7.1).
    Identity(Vec<Party>),
    /// From, inclusive, and until, exclusive (RFC 4745 §7.4).
    Validity(Vec<(Timestamp, Timestamp)>),
    /// Who asks has not authenticated; in our namespace.
    Anonymous,
    /// A sphere, which is not known here, or what is not understood: not met (RFC 4745 §7).
    Never,
}

impl Condition {
    fn holds(&self, who: Option<&Name<'_>>, now: Timestamp) -> bool {
        match self {
            // Only who has authenticated has an identity (RFC 4745 §7.1.1).
            Condition::Identity(parties) => who.is_some_and(|who| parties.iter().any(|party| party.is(who))),
            Condition::Validity(times) => times.iter().any(|(from, until)| *from <= now && now < *until),
            Condition::Anonymous => who.is_none(),
            Condition::Never => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Party {
    place: Range<usize>,
    kind: Kind,
}

/// A name in a document; `None`: one that nobody here has.
type Named<T> = Option<T>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The key of a mailbox (RFC 4745 §7.1.2).
    One(Named<String>),
    /// Everybody, or everybody of a domain, with exceptions (RFC 4745 §7.1.3).
    Many { domain: Option<Named<Domain>>, except: Vec<Except> },
    /// Not understood.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Except {
    place: Range<usize>,
    who: Excluded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Excluded {
    One(Named<String>),
    Domain(Named<Domain>),
}

impl Party {
    fn is(&self, who: &Name<'_>) -> bool {
        match &self.kind {
            Kind::One(key) => key.as_ref() == Some(&who.key),
            Kind::Many { domain, except } => {
                let inside = domain.as_ref().is_none_or(|domain| domain.as_ref() == Some(who.domain));
                inside && !except.iter().any(|one| one.is(who))
            }
            Kind::Nobody => false,
        }
    }
}

impl Except {
    fn is(&self, who: &Name<'_>) -> bool {
        match &self.who {
            Excluded::One(key) => key.as_ref() == Some(&who.key),
            Excluded::Domain(domain) => domain.as_ref() == Some(who.domain),
        }
    }
}

#[cfg(test)]
mod tests;
