//! What a server adds to a message at its submission, and takes out of it; nowhere else.
//!
//! In: an entity, its envelope sender, the time and 128 random bits. Out: the entity with the fields that every message
//! has, and without those that tell of hidden recipients. Invariant: all else stays as it is, Sender among it; fields are
//! added before the first. RFC 6409 §8, RFC 5322 §3.6.3.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{Field, Fields};
use crate::address::{Domain, Mailbox};
use crate::timestamp::Timestamp;

/// What the fields that are added say.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The envelope sender, to be the author of an entity that names none (RFC 6409 §8).
    pub sender: Option<&'a Mailbox>,
    /// The domain in whose name it is submitted; it answers for the uniqueness of a Message-ID.
    pub domain: &'a Domain,
    /// When it was submitted.
    pub now: Timestamp,
    /// 128 random bits.
    pub entropy: [u8; 16],
}

/// A submission with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The entity.
    pub entity: Bytes,
    /// Whether it comes out the same when it is sent again: its Date and Message-ID are its sender's.
    pub repeatable: bool,
}

/// The entity with From, Date and Message-ID where it has none, and MIME-Version where it has a Content-Type without; and
/// without Bcc and Resent-Bcc: whom they name is in the envelope, and nobody else's business. They are never signed: what is
/// signed with the header (RFC 9788 §5.2) has them inside, where they stay.
/// Copies the entity only if something is to be done. One that does not begin with a field is left for
/// [`super::inspect()`] to refuse.
pub fn complete(entity: Bytes, origin: &Origin<'_>) -> Completed {
    let mut found = Found::default();
    for item in Fields::new(&entity) {
        // Nothing may come before what is no field: it would continue ours.
        let Ok(field) = item else { return Completed { entity, repeatable: false } };
        found.take(&field);
    }
    let added = found.missing(origin);
    let repeatable = found.date && found.message_id;
    if added.is_empty() && found.hidden.is_empty() {
        return Completed { entity, repeatable };
    }
    let mut complete = BytesMut::with_capacity(added.len() + entity.len());
    complete.put_slice(added.as_bytes());
    let mut at = 0;
    for hidden in found.hidden {
        complete.put_slice(&entity[at..hidden.start]);
        at = hidden.end;
    }
    complete.put_slice(&entity[at..]);
    Completed { entity: complete.freeze(), repeatable }
}

/// The fields that matter here.
#[derive(Default)]
struct Found {
    from: bool,
    date: bool,
    message_id: bool,
    mime: bool,
    typed: bool,
    /// Where those stand that tell of hidden recipients.
    hidden: Vec<Range<usize>>,
}

impl Found {
    fn take(&mut self, field: &Field<'_>) {
        match field.name.len() {
            3 if field.is("bcc") => self.hidden.push(field.range.clone()),
            4 => {
                self.from |= field.is("from");
                self.date |= field.is("date");
            }
            10 if field.is("resent-bcc") => self.hidden.push(field.range.clone()),
            10 => self.message_id |= field.is("message-id"),
            12 => {
                self.mime |= field.is("mime-version");
                self.typed |= field.is("content-type");
            }
            _ => {}
        }
    }

    fn missing(&self, origin: &Origin<'_>) -> String {
        let mut added = String::new();
        if let (false, Some(sender)) = (self.from, origin.sender) {
            // Writing to a string cannot fail.
            let _ = write!(added, "From: {sender}\r\n");
        }
        if !self.date {
            let _ = write!(added, "Date: {}\r\n", origin.now.rfc5322());
        }
        if !self.message_id {
            let _ = write!(added, "Message-ID: {}\r\n", message_id(origin.entropy, origin.domain));
        }
        if self.typed && !self.mime {
            added.push_str("MIME-Version: 1.0\r\n");
        }
        added
    }
}

/// The entity, which has octets that are not US-ASCII, with what says so where its header says nothing about its content
/// (RFC 6152 §3). What is not UTF-8 has a charset that nobody knows, which is said too.
pub fn label(entity: Bytes) -> Bytes {
    let mut versioned = false;
    let mut fields = Fields::new(&entity);
    for item in fields.by_ref() {
        let Ok(field) = item else { return entity };
        if field.is("content-type") || field.is("content-transfer-encoding") {
            return entity;
        }
        versioned |= field.is("mime-version");
    }
    let body = entity.get(fields.body()..).unwrap_or_default();
    let charset = if std::str::from_utf8(body).is_ok() { "utf-8" } else { "unknown-8bit" };
    let version = if versioned { "" } else { "MIME-Version: 1.0\r\n" };
    let added = format!("{version}Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n");
    Bytes::from([added.as_bytes(), &entity].concat())
}

/// A Message-ID of 128 random bits, with its angle brackets: 32 hexadecimal digits `@` the domain.
pub fn message_id(entropy: [u8; 16], domain: &Domain) -> String {
    format!("<{:032x}@{domain}>", u128::from_be_bytes(entropy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entity: &str, sender: Option<&str>, added: &str) {
        let domain = Domain::parse("a.example").unwrap();
        let sender = sender.map(|text| text.parse().unwrap());
        let now = Timestamp::from_secs(1_795_000_000);
        let origin = Origin { sender: sender.as_ref(), domain: &domain, now, entropy: [0xab; 16] };
        let got = complete(Bytes::copy_from_slice(entity.as_bytes()), &origin);
        assert_eq!(std::str::from_utf8(&got.entity).unwrap(), format!("{added}{entity}"));
        assert!(!got.repeatable || !(added.contains("Date:") || added.contains("Message-ID:")));
    }

    const ALL: &str = "From: alice@a.example\r\nDate: Wed, 18 Nov 2026 11:06:40 +0000\r\n\
        Message-ID: <abababababababababababababababab@a.example>\r\n";

    #[test]
    fn what_is_missing() {
        check("\r\nhello\r\n", Some("alice@a.example"), ALL);
        check("Subject: x\r\n\r\nhello\r\n", Some("alice@a.example"), ALL);
        check(
            "Subject: x\r\nContent-Type: text/plain\r\n\r\nhello\r\n",
            Some("alice@a.example"),
            &format!("{ALL}MIME-Version: 1.0\r\n"),
        );
        check(
            "FROM: b@a.example\r\nDATE: x\r\nMessage-id: <x@y>\r\nMIME-version: 1.0\r\nContent-Type: x\r\n\r\n",
            None,
            "",
        );
        check(
            "From: b@a.example\r\nDate: x\r\n\r\nMessage-ID: body\r\n",
            None,
            "Message-ID: <abababababababababababababababab@a.example>\r\n",
        );
    }

    #[test]
    fn hidden_recipients_are_taken_out() {
        let check = |entity: &str, expected: &str| {
            let domain = Domain::parse("a.example").unwrap();
            let now = Timestamp::from_secs(1_795_000_000);
            let origin = Origin { sender: None, domain: &domain, now, entropy: [0xab; 16] };
            let got = complete(Bytes::copy_from_slice(entity.as_bytes()), &origin);
            assert_eq!(std::str::from_utf8(&got.entity).unwrap(), expected);
            assert!(got.repeatable);
            // Who offers it again offers the same.
            assert_eq!(complete(got.entity.clone(), &origin), got);
        };
        let all = "From: a@a.example\r\nDate: x\r\nMessage-ID: <x@y>\r\n";
        let body = "\r\nBcc: in the text\r\n";
        check(&format!("{all}Bcc: b@a.example\r\n{body}"), &format!("{all}{body}"));
        check(
            &format!("BCC:\r\n b@a.example,\r\n c@a.example\r\n{all}bcc:\r\nResent-Bcc: d@a.example\r\nX: y\r\n{body}"),
            &format!("{all}X: y\r\n{body}"),
        );
        check(&format!("Bcc: b@a.example\r\n{}", &all[all.find("Date").unwrap()..]), &all[all.find("Date").unwrap()..]);
        check(&format!("{all}Bcc-Like: b@a.example\r\n{body}"), &format!("{all}Bcc-Like: b@a.example\r\n{body}"));
        check(&format!("{all}Bcc: b@a.example"), all);
    }

    #[test]
    fn content_that_says_nothing_of_itself_is_labelled() {
        let check = |entity: &[u8], added: &str| {
            let got = label(Bytes::copy_from_slice(entity));
            assert_eq!(got, [added.as_bytes(), entity].concat());
        };
        let labels =
            |charset| format!("Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n");
        check("From: a@a.example\r\n\r\nähm\r\n".as_bytes(), &format!("MIME-Version: 1.0\r\n{}", labels("utf-8")));
        check(b"mime-version: 1.0\r\n\r\n\xe4hm\r\n", &labels("unknown-8bit"));
        check("\r\nähm\r\n".as_bytes(), &format!("MIME-Version: 1.0\r\n{}", labels("utf-8")));
        check("Content-Type: text/html\r\n\r\nähm\r\n".as_bytes(), "");
        check("Content-Transfer-Encoding: 7bit\r\n\r\nähm\r\n".as_bytes(), "");
        check("no field\r\n\r\nähm\r\n".as_bytes(), "");
    }

    #[test]
    fn what_cannot_be_completed() {
        check(" continues\r\nDate: x\r\nMessage-ID: x\r\n\r\n", Some("alice@a.example"), "");
        check("hello\r\n", Some("alice@a.example"), "");
        check("Date: x\r\nMessage-ID: <x@y>\r\n\r\n", None, "");
    }
}
