//! Rules: who may send to an inbox and who else reads it, who watches a presentity and what of it they see; documents of
//! common policy with the conditions, actions and transformations of RFC 5025, and actions of our own.
//!
//! In: a document, who asks, the time. Out: a [`Decision`]. Pure. Invariants: rules only permit, their order is of no
//! account, and of what several permit the most counts; a condition that is not understood is not met. The document itself is
//! kept octet for octet: what others put into it survives, also what [`edit`] changes. It fails with the line, the
//! element and what would be right. RFC 4745, RFC 5025.

pub mod edit;
mod provide;
mod read;
mod transform;

use std::ops::Range;

pub use provide::{Provide, Selection, UserInput};
pub use read::{RulesError, read};

use crate::address::{Domain, Mailbox};
use crate::timestamp::Timestamp;

/// The namespace of RFC 4745 §13.
pub const COMMON: &str = "urn:ietf:params:xml:ns:common-policy";
/// The namespace of RFC 5025 §7.
pub const PRESENCE: &str = "urn:ietf:params:xml:ns:pres-rules";
/// The namespace of our own actions, and of the conditions `anonymous` and `signed`.
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

/// What becomes of a subscription, in the order of what it permits (RFC 5025 §3.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handling {
    /// It is refused: `terminated`, `rejected`.
    #[default]
    Block,
    /// It waits for the presentity's word: `pending`.
    Confirm,
    /// It is `active`, and shows a presentity that is out of contact.
    PoliteBlock,
    /// It is `active`, and shows what is provided.
    Allow,
}

impl Handling {
    /// All of them, the least first.
    pub const ALL: [Handling; 4] = [Handling::Block, Handling::Confirm, Handling::PoliteBlock, Handling::Allow];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Handling::Block => "block",
            Handling::Confirm => "confirm",
            Handling::PoliteBlock => "polite-block",
            Handling::Allow => "allow",
        }
    }
}

/// What the rules permit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To send.
    pub message: Message,
    /// To read.
    pub read: Read,
    /// To publish for the presentity.
    pub publish: bool,
    /// To subscribe.
    pub subscription: Handling,
    /// To look once, whatever becomes of a subscription.
    pub fetch_only: bool,
    /// To see; it is for those whose subscription, or fetch, is allowed.
    pub provide: Provide,
}

impl Decision {
    /// What becomes of a fetch: of `<sub-handling>` and `<fetch-only>` the one that permits more (RFC 5025 §3.2.1).
    pub fn fetch(&self) -> Handling {
        if self.fetch_only { Handling::Allow } else { self.subscription }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watcher<'a> {
    /// As whom it has authenticated; `None`: anonymous.
    pub identity: Option<&'a Mailbox>,
}

/// What is known of the signature of what comes, in the order of what it proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signed {
    /// Nobody has signed it who is its author, or speaks for the author.
    #[default]
    No,
    /// Its author's domain has.
    Domain,
    /// Its author has; or it is encrypted, so that only its reader can tell.
    Author,
    /// It has not come yet: it may be signed.
    Unseen,
}

/// When, and in what circumstances of the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// Now.
    pub now: Timestamp,
    /// The sphere of all that the presentity has published, [`crate::pidf::sphere`]; `None`: it is not defined, and no
    /// condition on it is met (RFC 5025 §3.1.2).
    pub sphere: Option<&'a str>,
    /// Of a message: who has signed it.
    pub signed: Signed,
}

impl From<Timestamp> for Circumstances<'_> {
    fn from(now: Timestamp) -> Self {
        Circumstances { now, ..Circumstances::default() }
    }
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

    /// Whether what it permits may change by the clock alone.
    pub fn depends_on_time(&self) -> bool {
        let timed = |one: &Condition| matches!(one, Condition::Validity(_));
        self.rules.iter().any(|rule| rule.conditions.iter().any(timed))
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

/// What is permitted to whoever asks, now. Without a document everybody may send, nobody else reads, and who watches is
/// asked about; with one, only what its rules permit (RFC 4745 §10.2).
pub fn decide<'a>(
    document: Option<&Ruleset>,
    who: Watcher<'_>,
    circumstances: impl Into<Circumstances<'a>>,
) -> Decision {
    let Some(document) = document else {
        return Decision { message: Message::Allow, subscription: Handling::Confirm, ..Decision::default() };
    };
    let circumstances = circumstances.into();
    let who = who.identity.map(Name::of);
    let matches = |rule: &&Rule| rule.conditions.iter().all(|one| one.holds(who.as_ref(), circumstances));
    let mut sum = Decision::default();
    for permitted in document.rules.iter().filter(matches).map(|rule| &rule.permitted) {
        sum.message = sum.message.max(permitted.message);
        sum.read = sum.read.max(permitted.read);
        sum.publish |= permitted.publish;
        sum.subscription = sum.subscription.max(permitted.subscription);
        sum.fetch_only |= permitted.fetch_only;
        sum.provide.add(&permitted.provide);
    }
    sum
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
    /// What it permits to whom it matches.
    permitted: Decision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// One of them is who asks (RFC 4745 §7.1).
    Identity(Vec<Party>),
    /// From, inclusive, and until, exclusive (RFC 4745 §7.4).
    Validity(Vec<(Timestamp, Timestamp)>),
    /// The sphere is one of these, in lower case (RFC 4745 §7.3).
    Sphere(Vec<String>),
    /// Who asks has not authenticated; in our namespace.
    Anonymous,
    /// What comes is signed, by no less than this; in our namespace.
    Signed(Signed),
    /// What is not understood: not met (RFC 4745 §7).
    Never,
}

impl Condition {
    fn holds(&self, who: Option<&Name<'_>>, circumstances: Circumstances<'_>) -> bool {
        let Circumstances { now, sphere, signed } = circumstances;
        match self {
            // Only who has authenticated has an identity (RFC 4745 §7.1.1).
            Condition::Identity(parties) => who.is_some_and(|who| parties.iter().any(|party| party.is(who))),
            Condition::Validity(times) => times.iter().any(|(from, until)| *from <= now && now < *until),
            Condition::Sphere(any) => sphere.is_some_and(|sphere| any.contains(&sphere.to_lowercase())),
            Condition::Anonymous => who.is_none(),
            Condition::Signed(least) => signed >= *least,
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
