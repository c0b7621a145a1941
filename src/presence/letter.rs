//! Entities of the class PRES: what we write and sign, and the body of what came.
//!
//! In: a directive, addresses, a body. Out: an entity in lines that every IMPP server takes. A body in long lines is
//! encoded; XML is otherwise sent as it is, its line ends as CRLF, which to XML are the same (XML 1.0 §2.11). Invariant: what
//! many are told is signed once, by whoever takes it first. RFC 2387, RFC 8551 §3.5, RFC 9788.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mail_parser::MimeHeaders as _;

use crate::address::Mailbox;
use crate::limits;
use crate::mime::Fields;
use crate::mime::presence::Directive;
use crate::smime::protect::prepare;
use crate::smime::{Certificate, EncryptOptions, Form, Identity, Layer, SignOptions, encrypt, open, sign};
use crate::timestamp::Timestamp;

/// The media type of one certificate (RFC 2585 §4.1).
pub(super) const CERTIFICATE: &str = "application/pkix-cert";
/// The media type of what is encrypted (RFC 8551 §3.2).
pub(super) const ENCRYPTED: &str = "application/pkcs7-mime";
/// Octets of a line of base64 (RFC 2045 §6.8).
const ENCODED_LINE: usize = 76;

/// What an entity is made of.
pub(super) struct Letter<'a> {
    pub from: &'a Mailbox,
    /// `None`: all watchers to whom it goes (RFC 5322 §3.4: an empty group).
    pub to: Option<&'a Mailbox>,
    pub directive: &'a Directive,
    pub now: Timestamp,
    /// For the Message-ID.
    pub entropy: [u8; 16],
    /// Media type and text.
    pub body: Option<(&'a str, &'a str)>,
    /// What the presentity has signed of it: entities that go along as they are.
    pub signed: &'a [Bytes],
}

/// An entity, and what its envelope must say.
#[derive(Clone, Debug)]
pub struct Written {
    /// The octets.
    pub entity: Bytes,
    /// It needs SMTPUTF8.
    pub utf8: bool,
    /// It needs 8BITMIME.
    pub eight_bit: bool,
    /// To what its body is encrypted before it goes.
    reader: Option<Certificate>,
    /// What it is when it is encrypted and signed, for all who have this one; `None`: somebody else has written it.
    seal: Option<Arc<Mutex<Option<Seal>>>>,
}

/// An entity as one signer has signed it.
#[derive(Clone, Debug)]
struct Seal {
    /// The fingerprint of the signer's certificate: what another has signed is no use once that is replaced.
    signer: Option<[u8; 32]>,
    /// `None`: it cannot be signed.
    entity: Option<Bytes>,
}

impl Written {
    /// What somebody else has written.
    pub(super) fn by_others(entity: Bytes, utf8: bool, eight_bit: bool) -> Written {
        Written { entity, utf8, eight_bit, reader: None, seal: None }
    }

    /// The same with a body that is encrypted to this certificate, if there is one, before it goes.
    pub(super) fn for_reader(self, reader: Option<&Certificate>) -> Written {
        match reader {
            Some(reader) => Written { reader: Some(reader.clone()), seal: Some(Arc::default()), ..self },
            None => self,
        }
    }

    /// Whether there is something to do to it before it goes.
    pub(super) fn is_to_be_sealed(&self, signer: Option<&Identity>) -> bool {
        self.seal.is_some() && (signer.is_some() || self.reader.is_some())
    }

    /// Encrypted, where somebody alone is to read it; signed, if there is something to sign with. What cannot be signed so
    /// that it passes every hop matters more than its signature.
    pub(super) fn sealed(self, signer: Option<&Identity>, now: Timestamp) -> Written {
        let Some(seal) = self.seal.clone().filter(|_| self.is_to_be_sealed(signer)) else { return self };
        let fingerprint = signer.map(|signer| signer.certificate().fingerprint());
        let mut kept = seal.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|seal| seal.signer != fingerprint) {
            *kept = Some(Seal { signer: fingerprint, entity: self.seal_of(signer, now) });
        }
        match kept.as_ref().and_then(|seal| seal.entity.clone()) {
            Some(entity) => Written { entity, utf8: self.utf8, eight_bit: false, reader: None, seal: None },
            None => self,
        }
    }

    fn seal_of(&self, signer: Option<&Identity>, now: Timestamp) -> Option<Bytes> {
        let encrypted = self.reader.as_ref().map(|reader| encrypted(&self.entity, reader));
        let entity = encrypted.as_ref().unwrap_or(&self.entity);
        signer.and_then(|signer| signed(entity, signer, now)).or(encrypted)
    }
}

fn signed(entity: &[u8], signer: &Identity, now: Timestamp) -> Option<Bytes> {
    let prepared = prepare(entity, false).ok()?;
    let header = Fields::new(prepared.payload());
    // Addresses in UTF-8 do not pass every hop in a part that is readable.
    let form = if prepared.payload()[..header.body()].is_ascii() { Form::Detached } else { Form::Opaque };
    let part = sign(prepared.payload(), signer, &SignOptions { form, ..SignOptions::new(now) }).ok()?;
    Some(Bytes::from(prepared.message(&part)))
}

/// With the body and the fields that describe it encrypted; servers act on the other fields. Without a body there is nothing
/// to encrypt; what cannot be encrypted is left out.
fn encrypted(entity: &[u8], reader: &Certificate) -> Bytes {
    let mut fields = Fields::new(entity);
    let (mut outside, mut inside) = (Vec::with_capacity(entity.len() * 2), Vec::with_capacity(entity.len()));
    for field in fields.by_ref().flatten() {
        let describes = field.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        (if describes { &mut inside } else { &mut outside }).extend_from_slice(&entity[field.range.clone()]);
    }
    if inside.is_empty() {
        return Bytes::copy_from_slice(entity);
    }
    inside.extend_from_slice(b"\r\n");
    inside.extend_from_slice(&entity[fields.body()..]);
    let part = encrypt(&inside, std::slice::from_ref(reader), &EncryptOptions::default());
    outside.extend_from_slice(&part.unwrap_or_else(|_| b"\r\n".to_vec()));
    Bytes::from(outside)
}

impl Letter<'_> {
    /// Writes it.
    pub fn write(&self) -> Written {
        let body = self.body.map(|(media, text)| {
            let charset = if media.contains(';') { "" } else { "; charset=utf-8" };
            (format!("{media}{charset}"), transferred(text))
        });
        self.with(body)
    }

    /// Writes it with a body that is no text, in place of its own.
    pub fn write_octets(&self, media: &str, octets: &[u8]) -> Written {
        self.with(Some((media.to_owned(), ("base64", encoded(octets)))))
    }

    /// With this body: its type, its transfer encoding, and it in that.
    fn with(&self, body: Option<(String, (&str, String))>) -> Written {
        let Letter { from, to, directive, now, entropy, signed, .. } = self;
        let to = to.map_or("watchers:;".to_owned(), |to| format!("<{to}>"));
        let id = u128::from_be_bytes(*entropy);
        let mut text = format!(
            "From: <{from}>\r\nTo: {to}\r\nDate: {}\r\nMessage-ID: <{id:032x}@{}>\r\nPresence: {directive}\r\n\
             MIME-Version: 1.0\r\n",
            now.rfc5322(),
            from.domain()
        );
        let utf8 = !text.is_ascii();
        let mut eight_bit = false;
        match body {
            None => text.push_str("\r\n"),
            Some((media, (encoding, octets))) if !signed.is_empty() => {
                let boundary = format!("{id:032x}");
                let kind = media.split(';').next().unwrap_or_default();
                eight_bit = encoding == "8bit";
                text.push_str(&format!(
                    "Content-Type: multipart/related; type=\"{kind}\"; boundary={boundary}\r\n\
                     Content-Transfer-Encoding: {}\r\n\r\n--{boundary}\r\n\
                     Content-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{octets}",
                    if eight_bit { "8bit" } else { "7bit" }
                ));
                for entity in *signed {
                    text.push_str(&format!("\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n\r\n"));
                    // Only what is US-ASCII goes along.
                    text.push_str(&String::from_utf8_lossy(entity));
                }
                text.push_str(&format!("\r\n--{boundary}--\r\n"));
            }
            Some((media, (encoding, octets))) => {
                eight_bit = encoding == "8bit";
                text.push_str(&format!(
                    "Content-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{octets}"
                ));
            }
        }
        Written { entity: Bytes::from(text), utf8, eight_bit, reader: None, seal: Some(Arc::default()) }
    }
}

/// The transfer encoding of a text (RFC 2045 §6), and the text in it.
pub(super) fn transferred(text: &str) -> (&'static str, String) {
    match in_lines(text) {
        Some(lines) if lines.is_ascii() => ("7bit", lines),
        Some(lines) => ("8bit", lines),
        None => ("base64", encoded(text.as_bytes())),
    }
}

/// The text in lines that end with CRLF; `None` where one is too long (RFC 5322 §2.1.1), or has what no line may have.
fn in_lines(text: &str) -> Option<String> {
    let mut lines = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        if line.len() > limits::TEXT_LINE_OCTETS - 2 || line.contains(['\r', '\0']) {
            return None;
        }
        lines.push_str(line);
        lines.push_str("\r\n");
    }
    Some(lines)
}

fn encoded(octets: &[u8]) -> String {
    let all = STANDARD.encode(octets);
    let mut lines = String::with_capacity(all.len() + all.len() / ENCODED_LINE * 2 + 2);
    for line in all.as_bytes().chunks(ENCODED_LINE) {
        lines.extend(line.iter().copied().map(char::from));
        lines.push_str("\r\n");
    }
    lines
}

/// The body of an entity that is one part, decoded: its media type in lower case, without parameters, and its text.
/// Of parts that belong together the first counts (RFC 2387). `None`: it has another form, or is no UTF-8. Without a
/// body there is an empty text.
pub(super) fn body_of(entity: &[u8]) -> Option<(String, String)> {
    let (media, octets) = octets_of(entity)?;
    // What is encrypted is for somebody else to read.
    let octets = if media == ENCRYPTED { Vec::new() } else { octets };
    Some((media, String::from_utf8(octets).ok()?))
}

/// As [`body_of`], of whatever octets.
pub(super) fn octets_of(entity: &[u8]) -> Option<(String, Vec<u8>)> {
    let message = mail_parser::MessageParser::default().parse(entity)?;
    let mut part = message.parts.first()?;
    if let mail_parser::PartType::Multipart(parts) = &part.body
        && part.content_type().is_some_and(|kind| kind.subtype().is_some_and(|it| it.eq_ignore_ascii_case("related")))
    {
        part = message.parts.get(usize::try_from(*parts.first()?).ok()?)?;
    }
    if part.is_multipart() || part.is_message() {
        return None;
    }
    let content = part.headers.iter().rev().find_map(|header| match (&header.name, &header.value) {
        (mail_parser::HeaderName::ContentType, mail_parser::HeaderValue::ContentType(content)) => Some(content),
        _ => None,
    });
    let media = content.map_or("text/plain".to_owned(), |content| {
        format!("{}/{}", content.ctype(), content.subtype().unwrap_or_default()).to_ascii_lowercase()
    });
    Some((media, part.contents().to_vec()))
}

/// What is in a view that came.
#[derive(Debug)]
pub(super) struct Content {
    /// Its text, whoever has signed it: that was looked at when it came.
    pub text: Option<String>,
    /// Whether somebody has signed it, and it can go along with others as it is.
    pub signed: bool,
    /// Whether it is encrypted to its watcher.
    pub encrypted: bool,
}

/// Opens a view that came.
pub(super) fn content_of(entity: &[u8]) -> Content {
    let layer = open(entity);
    let (body, signed) = match &layer {
        Ok(Layer::Signed(signed)) => (body_of(&signed.content), entity.is_ascii()),
        _ => (body_of(entity), false),
    };
    let encrypted = body.as_ref().is_some_and(|(media, _)| media == ENCRYPTED);
    Content { text: body.filter(|_| !encrypted).map(|(_, text)| text), signed, encrypted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::presence::{Event, State};

    fn letter(body: &str) -> Written {
        let (bob, directive) = (
            Mailbox::parse("bob@b.example").unwrap(),
            Directive::Notify { id: None, seq: 7, state: State::Active, expires: None, event: Event::Presence },
        );
        let body = Some(("application/pidf+xml", body));
        let now = Timestamp::from_secs(1_795_000_000);
        Letter { from: &bob, to: None, directive: &directive, now, entropy: [1; 16], body, signed: &[] }.write()
    }

    fn identity(name: &str) -> Identity {
        let file = |kind| {
            let path = format!("{}/tests/golden/smime/rfc9216-{name}.{kind}.pem", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        Identity::from_pem(&file("key"), &file("crt"), None).unwrap()
    }

    #[test]
    fn a_replaced_certificate_signs_again() {
        let (old, new) = (identity("alice-sign"), identity("bob-sign"));
        let (written, now) = (letter("<a/>"), Timestamp::from_secs(1_795_000_000));
        let signed = |signer| written.clone().sealed(Some(signer), now).entity;
        let signers = |entity: &[u8]| {
            let examined = crate::smime::examine(entity, &[], &[]);
            examined.signers().iter().map(|signer| signer.certificate.fingerprint()).collect::<Vec<_>>()
        };
        let first = signed(&old);
        assert_eq!(signed(&old).as_ptr(), first.as_ptr(), "signed once");
        assert_eq!(signers(&first), [old.certificate().fingerprint()]);
        assert_eq!(signers(&signed(&new)), [new.certificate().fingerprint()]);
    }

    #[test]
    fn a_view_that_came_is_opened_once() {
        let signed = letter("<a/>").sealed(Some(&identity("alice-sign")), Timestamp::from_secs(1_795_000_000));
        for (entity, is_signed) in [(letter("<a/>").entity, false), (signed.entity, true)] {
            let content = content_of(&entity);
            assert_eq!((content.text.as_deref(), content.signed), (Some("<a/>\r\n"), is_signed));
            let seen = super::super::tables::Seen {
                digest: 1,
                entity,
                utf8: false,
                eight_bit: false,
                content: std::sync::OnceLock::new(),
            };
            assert!(std::ptr::eq(seen.content(), seen.content()));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = format!("<a>{}</a>", "x".repeat(2000));
        for (body, read, eight_bit) in [
            ("<a/>\n<b/>", "<a/>\r\n<b/>\r\n", false),
            ("<a>\u{e9}</a>\r\n", "<a>\u{e9}</a>\r\n", true),
            (&long, &long, false),
        ] {
            let written = letter(body);
            assert_eq!(written.eight_bit, eight_bit);
            let facts = crate::mime::inspect(
                &written.entity,
                crate::mime::Rules { body: crate::envelope::Body::EightBitMime, utf8: false },
            );
            assert!(facts.unwrap().presence);
            let (media, text) = body_of(&written.entity).unwrap();
            assert_eq!((media.as_str(), text.as_str()), ("application/pidf+xml", read));
        }
    }

    #[test]
    fn other_bodies() {
        assert_eq!(body_of(b"From: <a@a.example>\r\n\r\n").unwrap().1, "");
        let nested = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(body_of(nested), None);
        assert_eq!(body_of(b"Content-Type: application/pidf+xml\r\n\r\n\xff\r\n"), None);
    }
}
