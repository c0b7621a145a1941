//! Entities of class PRES as a person's client writes them, and the document that says how the person is. Pure.
//!
//! In: addresses, a directive, a body. Out: an entity with its envelope; a presence document. Invariant: whatever the person
//! types is text in it, never markup. RFC 3863 §4.1, RFC 4479 §3, RFC 4480 §3.2, RFC 5322 §3.6.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use crate::address::{Mailbox, ReversePath, uri};
use crate::client::clean;
use crate::client::compose::{self, TextPart, frame};
use crate::envelope::{Body, Class, Envelope, Notify};
use crate::mime::presence::{Directive, FIELD};
use crate::pidf::{Basic, Document, During, Note, Person, Tuple, Unreadable, Words};
use crate::random::NoRandomness;
use crate::timestamp::Timestamp;

/// The media type of a presence document.
pub const PIDF: &str = "application/pidf+xml";
/// The media type of rules.
pub const POLICY: &str = "application/auth-policy+xml";
/// The media type of a request for a certificate.
pub const REQUEST: &str = "application/pkcs10";
/// The media type of a certificate.
pub const CERTIFICATE: &str = "application/pkix-cert";
/// The publication of what the person says; any device replaces it.
pub const STATUS: &str = "status";

/// What a person says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether messages are welcome; `None`: as the devices are.
    pub open: Option<bool>,
    /// What the person does, as RFC 4480 §3.2 calls it: `away`, `busy`, …
    pub activity: Option<&'static str>,
    /// A note.
    pub note: Option<String>,
}

impl Status {
    /// Whether nothing is said: what was said before is taken back.
    pub fn is_empty(&self) -> bool {
        *self == Status::default()
    }
}

/// Seconds of `expires`.
pub fn seconds(time: Option<Duration>) -> Option<u32> {
    time.map(|time| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX))
}

/// The presence document that says this.
pub fn document(me: &Mailbox, status: &Status, now: Timestamp) -> Result<String, Unreadable> {
    let tuple = status.open.map(|open| Tuple {
        id: "im".to_owned(),
        basic: Some(if open { Basic::Open } else { Basic::Closed }),
        contact: Some(uri::write("im", me)),
        timestamp: Some(now),
        ..Tuple::default()
    });
    let words = |activity: &str| Words { words: vec![activity.to_owned()], notes: Vec::new() };
    let during = |activity| During { value: words(activity), from: None, until: None };
    let said = status.activity.is_some() || status.note.is_some();
    let person = said.then(|| Person {
        id: "self".to_owned(),
        activities: status.activity.map(during).into_iter().collect(),
        notes: status.note.as_deref().map(|note| Note::from(clean::line(note).as_str())).into_iter().collect(),
        timestamp: Some(now),
        ..Person::default()
    });
    let (tuples, persons) = (tuple.into_iter().collect::<Vec<_>>(), person.into_iter().collect::<Vec<_>>());
    Document::compose(me, &tuples, &[], &persons).map(Document::into_text)
}

/// What an entity has for a body.
#[derive(Clone, Debug)]
enum Content {
    Text(String),
    Octets(Vec<u8>),
}

/// An entity that can be written for any server.
#[derive(Clone, Debug)]
pub struct Entity {
    head: String,
    media: Option<&'static str>,
    body: Content,
    envelope: Envelope,
}

/// An entity of class PRES. It keeps its Message-ID however often it is sent.
pub fn entity(
    from: &Mailbox,
    to: &Mailbox,
    directive: &Directive,
    body: Option<(&'static str, &str)>,
    now: Timestamp,
) -> Result<Entity, NoRandomness> {
    let (media, body) = body.map_or((None, ""), |(media, body)| (Some(media), body));
    with(from, to, directive, (media, Content::Text(body.to_owned())), now)
}

/// As [`entity`], with a body that is no text.
pub fn entity_of_octets(
    from: &Mailbox,
    to: &Mailbox,
    directive: &Directive,
    body: Option<(&'static str, &[u8])>,
    now: Timestamp,
) -> Result<Entity, NoRandomness> {
    let (media, octets) = body.map_or((None, &[][..]), |(media, octets)| (Some(media), octets));
    with(from, to, directive, (media, Content::Octets(octets.to_vec())), now)
}

fn with(
    from: &Mailbox,
    to: &Mailbox,
    directive: &Directive,
    (media, body): (Option<&'static str>, Content),
    now: Timestamp,
) -> Result<Entity, NoRandomness> {
    let mut head = frame(from, std::slice::from_ref(to), now, &compose::message_id(from)?);
    let _ = write!(head, "{FIELD}: {directive}\r\n");
    let envelope = Envelope {
        class: Class::Pres,
        sender: ReversePath::Mailbox(from.clone()),
        ..compose::envelope(from, std::slice::from_ref(to), Notify::NEVER)
    };
    Ok(Entity { head, media, body, envelope })
}

impl Entity {
    /// For a server that takes 8-bit text, or does not.
    pub fn of(&self, eight_bit: bool) -> (Envelope, Bytes) {
        let mut out = self.head.clone();
        match (self.media, &self.body) {
            (Some(media), Content::Text(text)) => TextPart::of(text, eight_bit).write_as(media, &mut out),
            (Some(media), Content::Octets(octets)) => {
                let _ = write!(out, "Content-Type: {media}\r\nContent-Transfer-Encoding: base64\r\n\r\n");
                compose::base64(octets, &mut out);
            }
            (None, _) => out.push_str("\r\n"),
        }
        let body = if eight_bit { Body::EightBitMime } else { Body::SevenBit };
        (Envelope { body, ..self.envelope.clone() }, Bytes::from(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::presence::{Event, SubscriptionId};

    fn alice() -> Mailbox {
        Mailbox::parse("alice@a.test").unwrap()
    }

    #[test]
    fn a_note_is_text() {
        let status = Status { open: Some(true), activity: Some("away"), note: Some("a<b> & \"c\"\n\u{1}d".to_owned()) };
        let text = document(&alice(), &status, Timestamp::from_secs(0)).unwrap();
        let read = Document::parse(&text).unwrap();
        assert!(read.is_about(&alice()) && read.basic() == Some(Basic::Open), "{text}");
        assert_eq!(read.person_notes()[0].text, "a<b> & \"c\" \u{2401}d");
        assert_eq!(read.activities(Timestamp::from_secs(0)).collect::<Vec<_>>(), ["away"]);
    }

    #[test]
    fn what_is_not_said_is_not_in_it() {
        let busy = Status { activity: Some("busy"), ..Status::default() };
        let read = Document::parse(&document(&alice(), &busy, Timestamp::from_secs(0)).unwrap()).unwrap();
        assert!(read.tuples.is_empty() && read.person_notes().is_empty());
        assert!(Status::default().is_empty() && !busy.is_empty());
    }

    #[test]
    fn entities() {
        let (alice, bob) = (alice(), Mailbox::parse("bob@b.test").unwrap());
        let ask = Directive::Fetch { id: SubscriptionId::new([1; 16]), event: Event::Presence };
        let entity = entity(&alice, &bob, &ask, None, Timestamp::from_secs(0)).unwrap();
        let (envelope, octets) = entity.of(true);
        assert_eq!((envelope.class, envelope.recipients[0].notify), (Class::Pres, Some(Notify::NEVER)));
        let text = String::from_utf8(octets.to_vec()).unwrap();
        assert!(text.ends_with("\r\nPresence: fetch; id=01010101010101010101010101010101; event=presence\r\n\r\n"));
        assert_eq!(Directive::of(text.as_bytes()).unwrap(), ask);
        assert_eq!(entity.of(true).1, octets, "the same each time");
    }

    #[test]
    fn a_body_is_encoded_where_it_must_be() {
        let body = "<note>grüße</note>\n".to_owned();
        let publish = Directive::Publish { id: STATUS.parse().ok(), expires: Some(60), event: Event::Presence };
        let entity = entity(&alice(), &alice(), &publish, Some((PIDF, &body)), Timestamp::from_secs(0)).unwrap();
        let text = |eight_bit| String::from_utf8(entity.of(eight_bit).1.to_vec()).unwrap();
        assert!(text(true).contains("\r\nContent-Type: application/pidf+xml; charset=utf-8\r\n"));
        assert!(text(true).contains("8bit") && text(true).contains("grüße"));
        assert!(text(false).contains("quoted-printable") && text(false).contains("gr=C3=BC=C3=9Fe"));
        assert_eq!(seconds(Some(Duration::from_millis(5))), Some(1));
    }
}
