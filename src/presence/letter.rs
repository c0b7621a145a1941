//! Entities of the class PRES: what we write, and the body of what came.
//!
//! In: a directive, addresses, a body. Out: an entity in lines that every IMPP server takes. A body in long lines is
//! encoded; XML is otherwise sent as it is, its line ends as CRLF, which to XML are the same (XML 1.0 §2.11).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::Directive;
use crate::timestamp::Timestamp;

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
}

/// An entity, and what its envelope must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The octets.
    pub entity: Bytes,
    /// It needs SMTPUTF8.
    pub utf8: bool,
    /// It needs 8BITMIME.
    pub eight_bit: bool,
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
        let Letter { from, to, directive, now, entropy, .. } = self;
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
            Some((media, (encoding, octets))) => {
                eight_bit = encoding == "8bit";
                text.push_str(&format!(
                    "Content-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{octets}"
                ));
            }
        }
        Written { entity: Bytes::from(text), utf8, eight_bit }
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
/// `None`: it has another form, or is no UTF-8. Without a body there is an empty text.
pub(super) fn body_of(entity: &[u8]) -> Option<(String, String)> {
    let (media, octets) = octets_of(entity)?;
    Some((media, String::from_utf8(octets).ok()?))
}

/// As [`body_of`], of whatever octets.
pub(super) fn octets_of(entity: &[u8]) -> Option<(String, Vec<u8>)> {
    let message = mail_parser::MessageParser::default().parse(entity)?;
    let part = message.parts.first()?;
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
        Letter { from: &bob, to: None, directive: &directive, now, entropy: [1; 16], body }.write()
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
