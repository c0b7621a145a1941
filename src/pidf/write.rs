//! A presence document, written: from facts, and from pieces of other documents.
//!
//! In: who it is about, and facts or octets. Out: a [`Document`] that is valid by the schemas of RFC 3863, RFC 4479, RFC 4480 and
//! RFC 4481. Invariants: lines end with CRLF, and what is ours is US-ASCII, so that a body needs no encoding; equal facts
//! make equal octets, from whichever way they come. Fails: more than a document's bounds.

use std::fmt::Write as _;

use super::{Basic, DATA_MODEL, Document, During, Note, PIDF, Person, RPID, TIMED, Tuple, Unreadable, Words};
use crate::address::{Mailbox, uri};
use crate::timestamp::Timestamp;
use crate::xml::{self, escaped};

/// The occurrence identifier of the tuple that the server makes of attached devices.
pub(super) const SESSION: &str = "im";

/// The words of `<activities>` (RFC 4480 §5, whose schema leaves out lunch).
const ACTIVITIES: &str = "appointment away breakfast busy dinner holiday in-transit looking-for-work meal meeting \
on-the-phone performance permanent-absence playing presentation shopping sleeping spectator steering travel tv vacation \
working worship";

/// The words of `<mood>` (RFC 4480 §5).
const MOODS: &str = "afraid amazed angry annoyed anxious ashamed bored brave calm cold confused contented cranky curious \
depressed disappointed disgusted distracted embarrassed excited flirtatious frustrated grumpy guilty happy hot humbled \
humiliated hungry hurt impressed in_awe in_love indignant interested invincible jealous lonely mean moody nervous neutral \
offended playful proud relieved remorseful restless sad sarcastic serious shocked shy sick sleepy stressed surprised \
thirsty worried";

/// The elements of RFC 4482 §5.
const CARD: [&str; 6] = ["card", "display-name", "homepage", "icon", "map", "sound"];

/// Where words for spheres live that RFC 4480 does not know.
const SPHERES: &str = "urn:impart:sphere";

impl Document {
    /// What a person, or a program for one, publishes.
    pub fn compose(
        presentity: &Mailbox,
        tuples: &[Tuple],
        notes: &[Note],
        persons: &[Person],
    ) -> Result<Document, Unreadable> {
        let mut sheet = Sheet::new(&uri::write("pres", presentity));
        for one in tuples {
            sheet.piece(&tuple(one));
        }
        for one in notes {
            sheet.piece(&note("note", one));
        }
        for one in persons {
            sheet.piece(&person(one));
        }
        Document::parse(&sheet.finish())
    }

    /// Somebody who takes no messages and reads mail.
    pub fn mail_only(presentity: &Mailbox) -> Document {
        let of = |id: &str, scheme, basic| Tuple {
            id: id.to_owned(),
            basic: Some(basic),
            contact: Some(uri::write(scheme, presentity)),
            ..Tuple::default()
        };
        let tuples = [of("im", "im", Basic::Closed), of("mailto", "mailto", Basic::Open)];
        let entity = uri::write("pres", presentity);
        let mut sheet = Sheet::new(&entity);
        tuples.iter().for_each(|one| sheet.piece(&tuple(one)));
        Document {
            text: sheet.finish(),
            entity,
            tuples: tuples.into(),
            persons: Vec::new(),
            devices: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One im tuple that is closed, and nothing else: nobody attached, or nothing that one may see.
    pub fn closed(presentity: &Mailbox, since: Timestamp) -> Document {
        of_session(presentity, Basic::Closed, since)
    }
}

/// The tuple that the server makes of attached devices.
pub(super) fn session(presentity: &Mailbox, basic: Basic, since: Timestamp) -> Tuple {
    Tuple {
        id: SESSION.to_owned(),
        basic: Some(basic),
        contact: Some(uri::write("im", presentity)),
        timestamp: Some(since),
        ..Tuple::default()
    }
}

fn of_session(presentity: &Mailbox, basic: Basic, since: Timestamp) -> Document {
    let entity = uri::write("pres", presentity);
    let facts = session(presentity, basic, since);
    let mut sheet = Sheet::new(&entity);
    sheet.piece(&tuple(&facts));
    Document {
        text: sheet.finish(),
        entity,
        tuples: vec![facts],
        persons: Vec::new(),
        devices: Vec::new(),
        notes: Vec::new(),
    }
}

/// A document in the making: pieces that follow each other.
pub(super) struct Sheet {
    text: String,
}

impl Sheet {
    /// With its first tag.
    pub(super) fn new(entity: &str) -> Sheet {
        let entity = escaped(entity);
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"{PIDF}\" entity=\"{entity}\">\r\n"
        );
        Sheet { text }
    }

    /// An element whose default namespace is that of RFC 3863.
    pub(super) fn piece(&mut self, element: &str) {
        self.text.push_str("  ");
        self.text.push_str(element);
        self.text.push_str("\r\n");
    }

    /// With its last tag.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</presence>\r\n");
        self.text
    }
}

/// An element from its first tag and its children.
pub(super) fn element(open: &str, name: &str, children: &[String]) -> String {
    let mut out = format!("<{open}>\r\n");
    for child in children {
        out.push_str("    ");
        out.push_str(child);
        out.push_str("\r\n");
    }
    out.push_str("  </");
    out.push_str(name);
    out.push('>');
    out
}

pub(super) fn status(children: &str) -> String {
    if children.is_empty() { "<status/>".to_owned() } else { format!("<status>{children}</status>") }
}

pub(super) fn tuple(tuple: &Tuple) -> String {
    let basic = tuple.basic.map_or(String::new(), |basic| format!("<basic>{}</basic>", basic.word()));
    let mut children = vec![status(&basic)];
    for timed in &tuple.timed {
        let until = timed.until.map_or(String::new(), |until| format!(" until=\"{}\"", until.rfc3339()));
        let mut text = format!("<timed-status xmlns=\"{TIMED}\" from=\"{}\"{until}>", timed.from.rfc3339());
        if let Some(basic) = timed.basic {
            let _ = write!(text, "<basic>{}</basic>", basic.word());
        }
        text.extend(timed.note.iter().map(|one| note("note", one)));
        text.push_str("</timed-status>");
        children.push(text);
    }
    children
        .extend(tuple.devices.iter().map(|id| format!("<deviceID xmlns=\"{DATA_MODEL}\">{}</deviceID>", escaped(id))));
    children.extend(tuple.class.iter().map(|class| rpid("class", class)));
    let input = tuple.user_input.iter().filter(|input| matches!(input.as_str(), "active" | "idle"));
    children.extend(input.map(|input| rpid("user-input", input)));
    if let Some(contact) = &tuple.contact {
        let priority = tuple.priority.map(|one| if one >= 1000 { "1".to_owned() } else { format!("0.{one:03}") });
        let priority = priority.map_or(String::new(), |one| format!(" priority=\"{one}\""));
        children.push(format!("<contact{priority}>{}</contact>", escaped(contact)));
    }
    children.extend(tuple.notes.iter().map(|one| note("note", one)));
    children.extend(tuple.timestamp.iter().map(|time| format!("<timestamp>{}</timestamp>", time.rfc3339())));
    element(&format!("tuple id=\"{}\"", escaped(&tuple.id)), "tuple", &children)
}

fn person(person: &Person) -> String {
    let mut children = Vec::new();
    children.extend(person.activities.iter().map(|one| words("activities", one, ACTIVITIES)));
    children.extend(person.class.iter().map(|class| rpid("class", class)));
    children.extend(person.mood.iter().map(|one| words("mood", one, MOODS)));
    for sphere in &person.sphere {
        let inner = match sphere.value.as_str() {
            word @ ("home" | "work" | "unknown") => format!("<{word}/>"),
            word if xml::is_name(word) => format!("<{word} xmlns=\"{SPHERES}\"/>"),
            // RFC 4745 §7.3 compares words; this is none.
            _ => continue,
        };
        children.push(format!("<sphere xmlns=\"{RPID}\"{}>{inner}</sphere>", interval(sphere)));
    }
    for (name, text) in &person.card {
        if CARD.contains(&name.as_str()) {
            children.push(format!("<{name} xmlns=\"{}\">{}</{name}>", super::CIPID, escaped(text)));
        }
    }
    children.extend(person.notes.iter().map(|one| note("note", one)));
    children.extend(person.timestamp.iter().map(|time| format!("<timestamp>{}</timestamp>", time.rfc3339())));
    element(&format!("person xmlns=\"{DATA_MODEL}\" id=\"{}\"", escaped(&person.id)), "person", &children)
}

fn rpid(name: &str, text: &str) -> String {
    format!("<{name} xmlns=\"{RPID}\">{}</{name}>", escaped(text))
}

fn note(name: &str, note: &Note) -> String {
    let language = note.language.as_ref().map_or(String::new(), |tag| format!(" xml:lang=\"{}\"", escaped(tag)));
    format!("<{name}{language}>{}</{name}>", escaped(&note.text))
}

fn interval<T>(during: &During<T>) -> String {
    let from = during.from.map_or(String::new(), |time| format!(" from=\"{}\"", time.rfc3339()));
    let until = during.until.map_or(String::new(), |time| format!(" until=\"{}\"", time.rfc3339()));
    from + &until
}

fn words(name: &str, during: &During<Words>, known: &str) -> String {
    let mut text = format!("<{name} xmlns=\"{RPID}\"{}>", interval(during));
    text.extend(during.value.notes.iter().map(|one| note("note", one)));
    let words = &during.value.words;
    for word in words {
        match known.split(' ').any(|one| one == word) || (word == "unknown" && words.len() == 1) {
            true => _ = write!(text, "<{word}/>"),
            false => _ = write!(text, "<other>{}</other>", escaped(word)),
        }
    }
    let _ = write!(text, "</{name}>");
    text
}
