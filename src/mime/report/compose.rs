//! Composing a report.
//!
//! lettre encodes what people read: the text part, the Subject. The machine-readable part and the returned content are
//! given to it as they are: it must not encode them again, and adds nothing to them.

use std::borrow::Cow;

use bytes::Bytes;
use lettre::message::header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue, Headers};
use lettre::message::{Body, MultiPart, SinglePart};

use super::{Recipient, Report};
use crate::address::Mailbox;
use crate::envelope::OriginalRecipient;
use crate::limits;
use crate::timestamp::Timestamp;

/// What stands around a report.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Who reports, for people; US-ASCII letters and spaces.
    pub name: &'a str,
    /// The author.
    pub from: &'a Mailbox,
    /// The recipient.
    pub to: &'a Mailbox,
    /// The subject, any language.
    pub subject: &'a str,
    /// When.
    pub date: Timestamp,
    /// The Message-ID, with its angle brackets.
    pub message_id: &'a str,
    /// The Message-ID of the message reported on, with its angle brackets.
    pub in_reply_to: Option<&'a str>,
    /// The language of the text.
    pub language: &'a str,
    /// Up to 70 letters, digits and hyphens that stand nowhere in the parts; random.
    pub boundary: &'a str,
    /// Whether parts may be UTF-8 (RFC 6533): the recipient takes SMTPUTF8.
    pub utf8: bool,
}

/// What comes back of the message reported on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned<'a> {
    /// Nothing.
    Nothing,
    /// Its header section, without the empty line.
    Header(&'a [u8]),
    /// All of it.
    Whole(&'a [u8]),
}

/// The report as an entity. `report.text` is its first part.
pub fn compose(frame: &Frame<'_>, report: &Report, returned: Returned<'_>) -> Bytes {
    let status = status(report, frame.utf8);
    let plain = SinglePart::builder().header(ContentType::TEXT_PLAIN).header(Language(frame.language.to_owned()));
    let boundary = frame.boundary;
    let kind = content_type(&format!("multipart/report; report-type=delivery-status; boundary={boundary}"));
    let status_kind = if status.is_ascii() { "message/delivery-status" } else { "message/global-delivery-status" };
    let text = text_body(&report.text, frame.utf8);
    let eight_bit = [status.as_bytes(), octets(returned), text.as_ref()].iter().any(|part| !part.is_ascii());
    let mut parts = MultiPart::builder()
        .header(kind)
        .header(transfer_encoding(!eight_bit))
        .singlepart(plain.body(text))
        .singlepart(as_it_is(status_kind, status.as_bytes()));
    let header_is_ascii = header(returned).is_ascii();
    match returned {
        Returned::Nothing => {}
        Returned::Header(text) => {
            let kind = if header_is_ascii { "text/rfc822-headers" } else { "message/global-headers" };
            parts = parts.singlepart(as_it_is(kind, text));
        }
        Returned::Whole(text) => {
            let kind = if header_is_ascii { "message/rfc822" } else { "message/global" };
            parts = parts.singlepart(as_it_is(kind, text));
        }
    }
    let mut entity = headers(frame).to_string().into_bytes();
    entity.extend_from_slice(&parts.formatted());
    Bytes::from(entity)
}

/// Encoded unless it is ASCII, or the recipient takes UTF-8 and no line is too long for it.
fn text_body(text: &str, utf8: bool) -> Body {
    if utf8 && !text.is_ascii() && text.split('\n').all(|line| line.len() <= limits::TEXT_LINE_OCTETS - 2) {
        let octets = text.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(octets, ContentTransferEncoding::EightBit);
    }
    Body::new(text.to_owned())
}

fn octets(returned: Returned<'_>) -> &[u8] {
    match returned {
        Returned::Nothing => b"",
        Returned::Header(text) | Returned::Whole(text) => text,
    }
}

fn header(returned: Returned<'_>) -> &[u8] {
    let text = octets(returned);
    let mut fields = crate::mime::Fields::new(text);
    while fields.next().is_some() {}
    &text[..fields.offset()]
}

fn headers(frame: &Frame<'_>) -> Headers {
    let mut headers = Headers::new();
    let mut add = |name: &'static str, value: String| {
        let name = HeaderName::new_from_ascii_str(name);
        headers.insert_raw(HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value));
    };
    add("From", format!("{} <{}>", frame.name, frame.from));
    add("To", format!("<{}>", frame.to));
    add("Date", frame.date.rfc5322());
    add("Message-ID", frame.message_id.to_owned());
    if let Some(id) = frame.in_reply_to {
        add("In-Reply-To", id.to_owned());
        add("References", id.to_owned());
    }
    add("Auto-Submitted", "auto-replied".to_owned());
    add("MIME-Version", "1.0".to_owned());
    let subject = HeaderName::new_from_ascii_str("Subject");
    headers.insert_raw(HeaderValue::new(subject, frame.subject.to_owned()));
    headers
}

fn content_type(text: &str) -> ContentType {
    // What is given here is a media type; the fallback is what a reader makes of one that is none (RFC 2045 §5.2).
    ContentType::parse(text).unwrap_or(ContentType::TEXT_PLAIN)
}

fn transfer_encoding(ascii: bool) -> ContentTransferEncoding {
    if ascii { ContentTransferEncoding::SevenBit } else { ContentTransferEncoding::EightBit }
}

fn as_it_is(kind: &str, text: &[u8]) -> SinglePart {
    let body = Body::dangerous_pre_encoded(text.to_vec(), transfer_encoding(text.is_ascii()));
    SinglePart::builder().header(content_type(kind)).body(body)
}

/// Content-Language (RFC 3282).
#[derive(Clone)]
struct Language(String);

impl Header for Language {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Content-Language")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Language(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

/// The machine-readable part (RFC 3464 §2.1; RFC 6533 §4.1 if `utf8`).
fn status(report: &Report, utf8: bool) -> String {
    let mut out = Fields { text: String::with_capacity(512), utf8 };
    if let Some(envid) = &report.envid {
        out.add("Original-Envelope-Id", envid);
    }
    out.add("Reporting-MTA", &format!("dns; {}", report.reporting));
    out.date("Arrival-Date", report.arrived);
    out.date("Deliver-By-Date", report.deliver_by);
    for recipient in &report.recipients {
        out.text.push_str("\r\n");
        out.recipient(recipient);
    }
    out.text
}

struct Fields {
    text: String,
    utf8: bool,
}

impl Fields {
    fn recipient(&mut self, recipient: &Recipient) {
        if let Some(original) = &recipient.original {
            self.address("Original-Recipient", original);
        }
        self.address("Final-Recipient", &recipient.final_recipient);
        self.add("Action", recipient.action.keyword());
        self.add("Status", &recipient.status.to_string());
        if let Some(remote) = &recipient.remote {
            self.add("Remote-MTA", &format!("dns; {remote}"));
        }
        if let Some(diagnostic) = &recipient.diagnostic {
            self.add("Diagnostic-Code", &format!("{}; {}", diagnostic.kind, diagnostic.text));
        }
        self.date("Last-Attempt-Date", recipient.last_attempt);
        if let Some(id) = &recipient.log_id {
            self.add("Final-Log-ID", id);
        }
        self.date("Will-Retry-Until", recipient.retry_until);
    }

    /// An address with its type. One of UTF-8 where UTF-8 cannot stand is written in ASCII (RFC 6533 §3,
    /// utf-8-addr-xtext).
    fn address(&mut self, name: &str, address: &OriginalRecipient) {
        let text = &address.address;
        let utf8 = !text.is_ascii() || address.kind.eq_ignore_ascii_case("utf-8");
        let kind = if utf8 && address.kind.eq_ignore_ascii_case("rfc822") { "utf-8" } else { &address.kind };
        let text = if utf8 && !self.utf8 { Cow::Owned(xtext(text)) } else { Cow::Borrowed(text.as_str()) };
        self.add(name, &format!("{kind}; {text}"));
    }

    fn date(&mut self, name: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.add(name, &time.rfc5322());
        }
    }

    /// Adds a field: control characters become spaces, characters that cannot stand become `?`, lines of `value` begin
    /// with a space from the second on (RFC 3461 §9.2), and none is longer than RFC 5322 §2.1.1 allows.
    fn add(&mut self, name: &str, value: &str) {
        const LINE: usize = 900;
        const LINES: usize = 100;
        self.text.push_str(name);
        self.text.push(':');
        let mut first = true;
        for line in value.split('\n').take(LINES) {
            let line: String = line.chars().map(|c| self.proper(c)).collect();
            let mut rest = line.trim();
            if rest.is_empty() {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.text.push_str("\r\n");
            }
            while rest.len() > LINE {
                let (head, tail) = rest.split_at(rest.floor_char_boundary(LINE));
                self.text.push(' ');
                self.text.push_str(head);
                self.text.push_str("\r\n");
                rest = tail;
            }
            self.text.push(' ');
            self.text.push_str(rest);
        }
        self.text.push_str("\r\n");
    }

    fn proper(&self, c: char) -> char {
        match c {
            c if c.is_control() => ' ',
            c if c.is_ascii() || self.utf8 => c,
            _ => '?',
        }
    }
}

/// RFC 6533 §3: `\x{…}` for what is not printable US-ASCII, and for space, `\`, `+` and `=`.
fn xtext(address: &str) -> String {
    let mut text = String::with_capacity(address.len().min(limits::ORCPT_OCTETS) * 2);
    for c in address.chars() {
        match c {
            '\\' | '+' | '=' => text.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
            '!'..='~' => text.push(c),
            c => text.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    text
}
