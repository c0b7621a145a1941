//! Composing what a person sends: messages, typing notices, displayed notices.
//!
//! In: a [`Draft`], which has its identifiers already, so that every attempt sends the same octets. Out: an entity and
//! its envelope. Invariants: no line is longer than 998 octets; no value adds a field; what is sent twice is equal.
//! RFC 5322 §3.6, RFC 2045 §6, RFC 2046 §5.1, RFC 2183 §2, RFC 3461 §4, RFC 3994 §3, RFC 8098 §3.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Body, ByMode, Class, DeliverBy, Envelope, Notify, OriginalRecipient, Recipient, Ret};
use crate::limits;
use crate::mime::{phrase, submission};
use crate::random::{self, NoRandomness};
use crate::timestamp::Timestamp;

/// Message-IDs of a References field: the first and the latest (RFC 5322 §3.6.4 has no bound).
const REFERENCES: usize = 10;
/// Seconds for which a typing notice counts unless it is renewed (RFC 3994 §3.2).
pub const TYPING_REFRESH: u32 = 90;
/// How long a typing notice is worth delivering.
const TYPING_WORTH: Duration = Duration::from_secs(60);

/// An attachment as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosure {
    /// Its name, safe as the name of a file.
    pub name: String,
    /// Its media type.
    pub media: String,
    /// What it is, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its octets.
    pub size: u64,
    /// The file of the account's directory that has it (outgoing), or the entity that does (incoming).
    pub file: String,
}

/// A message that is to be sent, with all that must not change from one attempt to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The Message-ID with its angle brackets.
    pub id: String,
    /// The identifier of the envelope, which receipts repeat; nobody can guess it.
    pub envid: String,
    /// When it was written.
    pub date: Timestamp,
    /// The author.
    pub from: Mailbox,
    /// The recipients; at least one.
    pub to: Vec<Mailbox>,
    /// The text, lines separated by `\n`.
    pub text: String,
    /// What goes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Enclosure>,
    /// The Message-ID that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// The Message-IDs of the thread before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Whether a receipt of delivery is asked for.
    #[serde(default)]
    pub receipt: bool,
    /// Whether a displayed notice is asked for.
    #[serde(default)]
    pub displayed: bool,
    /// Whether a program wrote it (RFC 3834 §5).
    #[serde(default)]
    pub automatic: bool,
    /// The file of the account's directory that has the entity as it is sent, where that was signed or encrypted: neither
    /// gives the same octets twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// Whether it is signed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
    /// Whether it is encrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
}

/// A new Message-ID for mail of `from`.
pub fn message_id(from: &Mailbox) -> Result<String, NoRandomness> {
    Ok(submission::message_id(random::octets()?, from.domain()))
}

impl Draft {
    /// The entity. `contents` are the octets of the attachments, in order; `eight_bit`: the server takes them.
    pub fn entity(&self, contents: &[Bytes], eight_bit: bool) -> Bytes {
        let mut out = self.header();
        let text = TextPart::of(&self.text, eight_bit);
        if self.attachments.is_empty() {
            text.write(&mut out);
            return Bytes::from(out);
        }
        // Not of the text: the identifier is random, and no encoding of an attachment has `=_`.
        let boundary = format!("=_{}", self.envid);
        let _ = write!(out, "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n");
        if text.encoding == "8bit" {
            out.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        let _ = write!(out, "\r\n--{boundary}\r\n");
        text.write(&mut out);
        for (enclosure, octets) in self.attachments.iter().zip(contents) {
            let _ = write!(out, "\r\n--{boundary}\r\nContent-Type: {}\r\n", media(&enclosure.media));
            out.push_str("Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n");
            file_name(&enclosure.name, &mut out);
            if !enclosure.description.is_empty() {
                let _ = write!(out, "Content-Description: {}\r\n", phrase(&enclosure.description, 21));
            }
            out.push_str("\r\n");
            base64(octets, &mut out);
        }
        let _ = write!(out, "\r\n--{boundary}--\r\n");
        Bytes::from(out)
    }

    fn header(&self) -> String {
        let mut out = frame(&self.from, &self.to, self.date, &self.id);
        if let Some(id) = &self.in_reply_to {
            let _ = write!(out, "In-Reply-To: {}\r\n", identifier(id));
        }
        let mut thread: Vec<&str> = self.references.iter().map(String::as_str).collect();
        if let Some(id) = self.in_reply_to.as_deref().filter(|id| !thread.contains(id)) {
            thread.push(id);
        }
        if thread.len() > REFERENCES {
            thread.drain(1..=thread.len() - REFERENCES);
        }
        if !thread.is_empty() {
            let ids: Vec<String> = thread.into_iter().map(identifier).collect();
            let _ = write!(out, "References: {}\r\n", ids.join("\r\n "));
        }
        if self.automatic {
            let kind = if self.in_reply_to.is_some() { "auto-replied" } else { "auto-generated" };
            let _ = write!(out, "Auto-Submitted: {kind}\r\n");
        }
        if self.displayed {
            let _ = write!(out, "Disposition-Notification-To: <{}>\r\n", self.from);
        }
        out
    }

    /// The envelope of [`Draft::entity`].
    pub fn envelope(&self, eight_bit: bool) -> Envelope {
        let notify = Notify { success: self.receipt, failure: true, delay: self.receipt };
        Envelope {
            sender: ReversePath::Mailbox(self.from.clone()),
            body: if eight_bit { Body::EightBitMime } else { Body::SevenBit },
            ret: Some(Ret::Hdrs),
            envid: Some(self.envid.clone()),
            ..envelope(&self.from, &self.to, notify)
        }
    }
}

/// What people type is one letter; longer headers come from their addresses alone.
pub(super) fn frame(from: &Mailbox, to: &[Mailbox], date: Timestamp, id: &str) -> String {
    let to: Vec<String> = to.iter().map(|to| format!("<{to}>")).collect();
    format!(
        "From: <{from}>\r\nTo: {}\r\nDate: {}\r\nMessage-ID: {}\r\nMIME-Version: 1.0\r\n",
        to.join(",\r\n "),
        date.rfc5322(),
        identifier(id)
    )
}

/// What others have sent as a Message-ID, without what would add a field.
fn identifier(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_graphic()).take(limits::TEXT_LINE_OCTETS - 100).collect()
}

pub(super) fn envelope(from: &Mailbox, to: &[Mailbox], notify: Notify) -> Envelope {
    let recipient = |address: &Mailbox| {
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        let original = OriginalRecipient { kind: kind.to_owned(), address: address.to_string() };
        Recipient { address: address.clone(), notify: Some(notify), original: Some(original) }
    };
    Envelope {
        class: Class::Im,
        sender: ReversePath::Null,
        body: Body::SevenBit,
        utf8: !from.is_ascii() || !to.iter().all(Mailbox::is_ascii),
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: to.iter().map(recipient).collect(),
    }
}

/// A typing notice (RFC 3994 §3.3): whether a person is typing, for `refresh` seconds unless renewed. It is given up where
/// it cannot be delivered at once, and nobody is told.
pub fn typing(
    from: &Mailbox,
    to: &Mailbox,
    active: bool,
    refresh: u32,
    now: Timestamp,
) -> Result<(Envelope, Bytes), NoRandomness> {
    let mut out = frame(from, std::slice::from_ref(to), now, &message_id(from)?);
    out.push_str("Auto-Submitted: auto-generated\r\nContent-Type: application/im-iscomposing+xml\r\n\r\n");
    let state = if active { "active" } else { "idle" };
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n");
    out.push_str("<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\r\n");
    let _ = write!(out, "<state>{state}</state><contenttype>text/plain</contenttype>");
    if active {
        let _ = write!(out, "<refresh>{refresh}</refresh>");
    }
    out.push_str("\r\n</isComposing>\r\n");
    let by = DeliverBy { at: now.after(TYPING_WORTH), mode: ByMode::Return, trace: false };
    let envelope = Envelope {
        sender: ReversePath::Mailbox(from.clone()),
        deliver_by: Some(by),
        ..envelope(from, std::slice::from_ref(to), Notify::NEVER)
    };
    Ok((envelope, Bytes::from(out)))
}

/// A displayed notice (RFC 8098 §3) about the message `id` of `to`; `asked`: the reader said so for this message.
pub fn displayed(
    from: &Mailbox,
    to: &Mailbox,
    id: &str,
    asked: bool,
    now: Timestamp,
) -> Result<(Envelope, Bytes), NoRandomness> {
    let token = random::token()?;
    let boundary = format!("=_{token}");
    let mut out = frame(from, std::slice::from_ref(to), now, &format!("<{token}@{}>", from.domain()));
    let id = identifier(id);
    let _ = write!(out, "In-Reply-To: {id}\r\nReferences: {id}\r\nAuto-Submitted: auto-replied\r\n");
    out.push_str("Content-Type: multipart/report; report-type=disposition-notification;\r\n");
    let _ = write!(out, " boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\nContent-Type: text/plain\r\n\r\n");
    out.push_str("Your message was displayed. That does not say that it was read or understood.\r\n");
    let _ = write!(out, "\r\n--{boundary}\r\nContent-Type: message/disposition-notification\r\n\r\n");
    let mode = if asked { "MDN-sent-manually" } else { "MDN-sent-automatically" };
    let kind = if from.is_ascii() { "rfc822" } else { "utf-8" };
    let _ = write!(out, "Reporting-UA: {}; impart\r\nFinal-Recipient: {kind};{from}\r\n", from.domain());
    let _ = write!(out, "Original-Message-ID: {id}\r\nDisposition: manual-action/{mode}; displayed\r\n");
    let _ = write!(out, "\r\n--{boundary}--\r\n");
    Ok((envelope(from, std::slice::from_ref(to), Notify::NEVER), Bytes::from(out)))
}

/// The text part: encoded only where it must be.
pub(super) struct TextPart {
    encoding: &'static str,
    body: String,
}

impl TextPart {
    pub(super) fn of(text: &str, eight_bit: bool) -> TextPart {
        let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
        let plain = |line: &&str| {
            line.len() <= limits::TEXT_LINE_OCTETS - 2
                && (eight_bit || line.is_ascii())
                && !line.chars().any(|c| c.is_ascii_control() && c != '\t')
        };
        let lines = if lines.len() > 1 && lines.last() == Some(&"") { &lines[..lines.len() - 1] } else { &lines[..] };
        let mut body = String::with_capacity(text.len() + 16);
        if lines.iter().all(plain) {
            for line in lines {
                body.push_str(line);
                body.push_str("\r\n");
            }
            let encoding = if body.is_ascii() { "7bit" } else { "8bit" };
            return TextPart { encoding, body };
        }
        for line in lines {
            quoted_printable(line.as_bytes(), &mut body);
            body.push_str("\r\n");
        }
        TextPart { encoding: "quoted-printable", body }
    }

    fn write(&self, out: &mut String) {
        self.write_as("text/plain", out);
    }

    /// As a part of this type.
    pub(super) fn write_as(&self, media: &str, out: &mut String) {
        let _ = write!(out, "Content-Type: {media}; charset=utf-8\r\n");
        let _ = write!(out, "Content-Transfer-Encoding: {}\r\n\r\n{}", self.encoding, self.body);
    }
}

/// One line (RFC 2045 §6.7).
fn quoted_printable(line: &[u8], out: &mut String) {
    let mut column = 0;
    for (at, octet) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
        let width = if plain { 1 } else { 3 };
        // The soft line break takes the 76th column.
        if column + width > 75 {
            out.push_str("=\r\n");
            column = 0;
        }
        if plain {
            out.push(char::from(*octet));
        } else {
            let _ = write!(out, "={octet:02X}");
        }
        column += width;
    }
}

/// Lines of 76 columns (RFC 2045 §6.8).
pub(super) fn base64(octets: &[u8], out: &mut String) {
    out.reserve(octets.len() / 57 * 78 + 80);
    for line in octets.chunks(57) {
        BASE64.encode_string(line, out);
        out.push_str("\r\n");
    }
}

/// A media type, or what is meant where it is none.
fn media(text: &str) -> &str {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-".contains(c);
    let valid = |part: &str| !part.is_empty() && part.len() <= 127 && part.chars().all(token);
    match text.split_once('/') {
        Some((kind, subtype)) if valid(kind) && valid(subtype) && kind != "multipart" && kind != "message" => text,
        _ => "application/octet-stream",
    }
}

/// The parameter `filename`, encoded where it must be (RFC 2231 §4); in pieces, since lines are short.
fn file_name(name: &str, out: &mut String) {
    let plain = name.len() <= 60 && name.chars().all(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'));
    if plain {
        let _ = write!(out, " filename=\"{name}\"\r\n");
        return;
    }
    // No character is divided: some readers decode each piece for itself.
    let mut pieces = vec![String::new()];
    for c in name.chars() {
        let mut encoded = String::new();
        for octet in c.encode_utf8(&mut [0; 4]).bytes() {
            if octet.is_ascii_alphanumeric() || b"-._".contains(&octet) {
                encoded.push(char::from(octet));
            } else {
                let _ = write!(encoded, "%{octet:02X}");
            }
        }
        match pieces.last_mut() {
            Some(last) if last.len() + encoded.len() <= 50 => last.push_str(&encoded),
            _ => pieces.push(encoded),
        }
    }
    let count = pieces.len();
    for (index, piece) in pieces.into_iter().enumerate() {
        let charset = if index == 0 { "utf-8''" } else { "" };
        let end = if index + 1 == count { "" } else { ";" };
        let _ = write!(out, " filename*{index}*={charset}{piece}{end}\r\n");
    }
}

/// The media type that the name of a file suggests.
pub fn media_of(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "txt" | "log" | "md" => "text/plain",
        "vcf" => "text/vcard",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "json" => "application/json",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
