//! Presence documents, and the lists about them.
//!
//! In: the text of a document that somebody published, or that is to be told. Out: a [`Document`], which is the text octet for
//! octet and the facts in it; what several publications make together ([`compose`]); what of it a watcher sees ([`view()`]);
//! lists of watchers ([`watcherinfo`]) and of one's own subscriptions ([`rlmi`]). Invariants: elements of other namespaces
//! survive octet for octet; what is written is valid by the schemas of the RFCs; one function makes every view. Pure. It fails
//! with the line, the element and what would be right.
//!
//! RFC 3863, RFC 4479, RFC 4480, RFC 4481, RFC 4482, RFC 5025 §3.3.

pub mod compose;
mod read;
pub mod rlmi;
mod view;
pub mod watcherinfo;
mod write;

pub use read::Unreadable;
pub use view::{shown, view};

use crate::address::{Mailbox, uri};
use crate::timestamp::Timestamp;
use crate::xml::Bounds;

/// The media type of a presence document.
pub const MEDIA: &str = "application/pidf+xml";
/// The namespace of RFC 3863.
pub const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// The namespace of RFC 4479: persons and devices.
pub const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
/// The namespace of RFC 4480.
pub const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// The namespace of RFC 4481.
pub const TIMED: &str = "urn:ietf:params:xml:ns:pidf:timed-status";
/// The namespace of RFC 4482.
pub const CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";

const BOUNDS: Bounds = Bounds {
    what: "a presence document",
    octets: crate::limits::PIDF_OCTETS,
    nodes: crate::limits::PIDF_OCTETS / 8,
    depth: crate::limits::PIDF_DEPTH,
};

/// Whether messages are taken (RFC 3863 §4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basic {
    /// They are not.
    Closed,
    /// They are.
    Open,
}

impl Basic {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Basic::Open => "open",
            Basic::Closed => "closed",
        }
    }
}

/// A text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub text: String,
    /// In which language: a tag of RFC 5646.
    pub language: Option<String>,
}

impl From<&str> for Note {
    fn from(text: &str) -> Note {
        Note { text: text.to_owned(), language: None }
    }
}

/// A status of another time (RFC 4481 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Since when.
    pub from: Timestamp,
    /// Up to when; `None`: it is open.
    pub until: Option<Timestamp>,
    /// Whether messages will be taken.
    pub basic: Option<Basic>,
    /// What is to be said of it.
    pub note: Option<Note>,
}

/// A service (RFC 3863 §4.1.2, RFC 4479 §3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Its occurrence identifier.
    pub id: String,
    /// Whether it takes what is sent to it.
    pub basic: Option<Basic>,
    /// Its URI.
    pub contact: Option<String>,
    /// Thousandths: 0 is least, as is none.
    pub priority: Option<u16>,
    /// RFC 4480 §3.3.
    pub class: Option<String>,
    /// The devices that provide it (RFC 4480 §3.4).
    pub devices: Vec<String>,
    /// `active` or `idle` (RFC 4480 §3.14).
    pub user_input: Option<String>,
    /// At other times.
    pub timed: Vec<Timed>,
    /// What is said of it.
    pub notes: Vec<Note>,
    /// When its status changed.
    pub timestamp: Option<Timestamp>,
}

/// What holds for a while (RFC 4480 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct During<T> {
    /// What.
    pub value: T,
    /// Since when.
    pub from: Option<Timestamp>,
    /// Up to when.
    pub until: Option<Timestamp>,
}

impl<T> During<T> {
    /// Whether it holds now.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// What somebody does, or how they feel: words of RFC 4480, or others as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `away`, `busy`, …; what is none of the words of RFC 4480 is the text of an `<other>`.
    pub words: Vec<String>,
    /// What is said of it.
    pub notes: Vec<Note>,
}

/// A person (RFC 4479 §3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Its occurrence identifier.
    pub id: String,
    /// RFC 4480 §3.3.
    pub class: Option<String>,
    /// RFC 4480 §3.2.
    pub activities: Vec<During<Words>>,
    /// RFC 4480 §3.5.
    pub mood: Vec<During<Words>>,
    /// RFC 4480 §3.11.
    pub sphere: Vec<During<String>>,
    /// RFC 4482 §3: the elements' names with what they say.
    pub card: Vec<(String, String)>,
    /// What is said of them.
    pub notes: Vec<Note>,
    /// When it changed.
    pub timestamp: Option<Timestamp>,
}

/// A device (RFC 4479 §3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its occurrence identifier.
    pub id: String,
    /// RFC 4480 §3.3.
    pub class: Option<String>,
    /// Its URN.
    pub device_id: String,
    /// `active` or `idle` (RFC 4480 §3.14).
    pub user_input: Option<String>,
    /// What is said of it.
    pub notes: Vec<Note>,
    /// When it changed.
    pub timestamp: Option<Timestamp>,
}

/// A presence document: the text, octet for octet, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    text: String,
    entity: String,
    /// The services.
    pub tuples: Vec<Tuple>,
    /// The persons; more than one where nobody knows which is true.
    pub persons: Vec<Person>,
    /// The devices.
    pub devices: Vec<Device>,
    /// What is said of the presentity; it holds for persons without notes of their own.
    pub notes: Vec<Note>,
}

impl Document {
    /// The document as it was given, or composed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its text, and nothing else of it.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The URI of whom it is about, as written.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Whether it is about that presentity: the entity is its `pres:` or `im:` URI.
    pub fn is_about(&self, presentity: &Mailbox) -> bool {
        uri::read(&self.entity, &["pres", "im"]).is_some_and(|found| found.key() == presentity.key())
    }

    /// Whether anything is open; `None` where no tuple says.
    pub fn basic(&self) -> Option<Basic> {
        self.tuples.iter().filter_map(|tuple| tuple.basic).max()
    }

    /// What is said of the person: the notes of the first person that has some, else of the presentity (RFC 4479 §5).
    pub fn person_notes(&self) -> &[Note] {
        self.persons.iter().map(|person| &person.notes).find(|notes| !notes.is_empty()).unwrap_or(&self.notes)
    }

    /// What is done now, in the words of RFC 4480.
    pub fn activities(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        let current = self.persons.iter().flat_map(|person| &person.activities).filter(move |one| one.holds(now));
        current.flat_map(|one| &one.value.words).map(String::as_str)
    }
}

/// The sphere of a presentity: what all of its publications that tell one agree upon (RFC 5025 §3.1.2).
pub fn sphere<'a>(published: impl IntoIterator<Item = &'a Document>, now: Timestamp) -> Option<&'a str> {
    let persons = published.into_iter().flat_map(|document| &document.persons);
    let mut told = persons.flat_map(|person| &person.sphere).filter(|sphere| sphere.holds(now));
    let first = told.next()?.value.as_str();
    told.all(|sphere| sphere.value == first).then_some(first)
}

#[cfg(test)]
mod tests;
