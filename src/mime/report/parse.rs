//! Reading a report, whoever wrote it.

use std::borrow::Cow;

use mail_parser::DateTime;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::{Action, Diagnostic, Recipient, Report};
use crate::envelope::OriginalRecipient;
use crate::limits;
use crate::mime::content_type::{self, Content};
use crate::mime::header::{Fields, unfold};
use crate::mime::structure;
use crate::reply::EnhancedCode;
use crate::timestamp::Timestamp;

/// Octets of the text that are kept.
const TEXT: usize = 64 * 1024;
/// Characters of a value that are kept.
const VALUE: usize = 4096;
/// Parts that are looked at.
const PARTS: usize = 8;

/// Why an entity is not a report that can be acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another type than `multipart/report; report-type=delivery-status`.
    #[error("the entity is not a multipart/report of delivery status")]
    NotAReport,
    /// No part is a `message/delivery-status` or `message/global-delivery-status`.
    #[error("the report has no machine-readable part")]
    NoStatus,
    /// RFC 3464 §2.2.2.
    #[error("the report does not name the reporting server")]
    NoReporter,
    /// RFC 3464 §2.3.
    #[error("a recipient of the report lacks a proper Final-Recipient, Action or Status field")]
    Recipient,
    /// RFC 3464 §2.1.
    #[error("the report is about no recipient")]
    NoRecipients,
    /// More than [`limits::RECIPIENTS`] recipients, or [`limits::HEADER_FIELDS`] fields in a group.
    #[error("the report is larger than is read")]
    TooLarge,
}

/// Reads a report.
pub fn parse(entity: &[u8]) -> Result<Report, Unreadable> {
    let parts = parts(entity, b"delivery-status").ok_or(Unreadable::NotAReport)?;
    let status = parts.iter().find(|part| part.is_status()).ok_or(Unreadable::NoStatus)?;
    let mut report = fields(&status.decoded())?;
    report.text = parts.first().filter(|part| part.is_text()).map(Part::text).unwrap_or_default();
    Ok(report)
}

/// Whether an entity is a notice of what became of a message at its reader (RFC 8098 §3): a report of that type, with its
/// machine-readable part.
pub fn is_notice(entity: &[u8]) -> bool {
    let parts = parts(entity, b"disposition-notification").unwrap_or_default();
    parts.iter().any(Part::is_disposition)
}

/// The first parts of a report of this type (RFC 6522 §3); `None`: it is none.
fn parts<'a>(entity: &'a [u8], wanted: &[u8]) -> Option<Vec<Part<'a>>> {
    let top = Part::read(entity);
    let of_type = content_type::parameter(top.kind?, "report-type")?.eq_ignore_ascii_case(wanted);
    match content_type::content(top.kind?) {
        Ok(Content::Multipart { boundary, .. }) if of_type && top.is(b"multipart", &[b"report"]) => {
            Some(structure::split(top.body, &boundary, PARTS).into_iter().map(Part::read).collect())
        }
        _ => None,
    }
}

/// A part of the report.
struct Part<'a> {
    kind: Option<&'a [u8]>,
    encoding: String,
    body: &'a [u8],
}

impl<'a> Part<'a> {
    fn read(part: &'a [u8]) -> Part<'a> {
        let mut fields = Fields::new(part);
        let (mut kind, mut encoding) = (None, String::new());
        for field in fields.by_ref().take(limits::HEADER_FIELDS).flatten() {
            if field.is("content-type") {
                kind.get_or_insert(field.value);
            } else if field.is("content-transfer-encoding") {
                encoding = unfold(field.value).to_ascii_lowercase();
            }
        }
        Part { kind, encoding, body: &part[fields.body()..] }
    }

    fn is(&self, wanted: &[u8], subtypes: &[&[u8]]) -> bool {
        let Some((kind, subtype, _)) = self.kind.and_then(|value| content_type::kind(value.trim_ascii())) else {
            return false;
        };
        kind.eq_ignore_ascii_case(wanted)
            && (subtypes.is_empty() || subtypes.iter().any(|one| subtype.eq_ignore_ascii_case(one)))
    }

    fn is_status(&self) -> bool {
        self.is(b"message", &[b"delivery-status", b"global-delivery-status"])
    }

    fn is_disposition(&self) -> bool {
        self.is(b"message", &[b"disposition-notification", b"global-disposition-notification"])
    }

    fn is_text(&self) -> bool {
        self.kind.is_none() || self.is(b"text", &[])
    }

    fn decoded(&self) -> Cow<'a, [u8]> {
        let decoded = match self.encoding.as_str() {
            "base64" => base64_decode(self.body),
            "quoted-printable" => quoted_printable_decode(self.body),
            _ => None,
        };
        decoded.map_or(Cow::Borrowed(self.body), Cow::Owned)
    }

    fn text(&self) -> String {
        let octets = self.decoded();
        let octets = &octets[..octets.len().min(TEXT)];
        let charset = self.kind.and_then(|value| content_type::parameter(value, "charset"));
        let text = match charset.and_then(|name| charset_decoder(&name)) {
            Some(decode) => decode(octets),
            None => String::from_utf8_lossy(octets).into_owned(),
        };
        text.replace("\r\n", "\n")
    }
}

/// The groups of fields of the machine-readable part (RFC 3464 §2.1).
fn fields(status: &[u8]) -> Result<Report, Unreadable> {
    let mut rest = status;
    let mut groups = Vec::new();
    while !rest.is_empty() {
        let mut fields = Fields::new(rest);
        let mut group = Vec::new();
        for field in fields.by_ref().flatten() {
            let value: String = unfold(field.value).chars().filter(|c| !c.is_control()).take(VALUE).collect();
            group.push((field.name, value));
            if group.len() > limits::HEADER_FIELDS {
                return Err(Unreadable::TooLarge);
            }
        }
        rest = &rest[fields.body()..];
        if !group.is_empty() {
            groups.push(group);
        }
        if groups.len() > limits::RECIPIENTS + 1 {
            return Err(Unreadable::TooLarge);
        }
    }
    let mut groups = groups.into_iter().map(Group);
    let message = groups.next().ok_or(Unreadable::NoReporter)?;
    let reporting = message.typed("reporting-mta").ok_or(Unreadable::NoReporter)?.1;
    let recipients: Vec<Recipient> = groups.map(|group| group.recipient()).collect::<Result<_, _>>()?;
    if recipients.is_empty() {
        return Err(Unreadable::NoRecipients);
    }
    let envid = message.get("original-envelope-id").map(str::to_owned);
    let (arrived, deliver_by) = (message.date("arrival-date"), message.date("deliver-by-date"));
    Ok(Report { envid, reporting, arrived, deliver_by, recipients, text: String::new() })
}

struct Group<'a>(Vec<(&'a str, String)>);

impl Group<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `type; value` (RFC 3464 §2.1.2).
    fn typed(&self, name: &str) -> Option<(String, String)> {
        let (kind, value) = self.get(name)?.split_once(';')?;
        let (kind, value) = (kind.trim(), value.trim());
        (!kind.is_empty() && !value.is_empty()).then(|| (kind.to_ascii_lowercase(), value.to_owned()))
    }

    /// A value without the comment that may follow it.
    fn word(&self, name: &str) -> Option<&str> {
        self.get(name)?.split([' ', '\t', '(']).next()
    }

    fn date(&self, name: &str) -> Option<Timestamp> {
        let date = DateTime::parse_rfc822(self.get(name)?)?;
        date.is_valid().then(|| Timestamp::from_secs(date.to_timestamp()))
    }

    fn address(&self, name: &str) -> Option<OriginalRecipient> {
        let (kind, address) = self.typed(name)?;
        let address = if kind == "utf-8" { unitext(&address) } else { address };
        Some(OriginalRecipient { kind, address })
    }

    fn recipient(&self) -> Result<Recipient, Unreadable> {
        Ok(Recipient {
            original: self.address("original-recipient"),
            final_recipient: self.address("final-recipient").ok_or(Unreadable::Recipient)?,
            action: self.word("action").and_then(Action::parse).ok_or(Unreadable::Recipient)?,
            status: self.word("status").and_then(EnhancedCode::parse).ok_or(Unreadable::Recipient)?,
            remote: self.typed("remote-mta").map(|(_, name)| name),
            diagnostic: self.typed("diagnostic-code").map(|(kind, text)| Diagnostic { kind, text }),
            last_attempt: self.date("last-attempt-date"),
            log_id: self.get("final-log-id").map(str::to_owned),
            retry_until: self.date("will-retry-until"),
        })
    }
}

/// Undoes `\x{…}` (RFC 6533 §3); text that is not well-formed stays as it is.
fn unitext(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        let decoded = after.split_once('}').and_then(|(point, tail)| {
            let point = (2..=6).contains(&point.len()).then(|| u32::from_str_radix(point, 16).ok()).flatten()?;
            Some((char::from_u32(point).filter(|c| !c.is_control())?, tail))
        });
        let Some((c, tail)) = decoded else { return text.to_owned() };
        plain.push_str(before);
        plain.push(c);
        rest = tail;
    }
    plain.push_str(rest);
    plain
}
