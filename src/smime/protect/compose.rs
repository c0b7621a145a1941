//! Fields put inside the protection, and those that stand outside.
//!
//! In: an entity as its author wrote it. Out: the payload to be signed or encrypted, with all fields and the parameter
//! `hp`; then the message around what became of it. Outside an encryption, the confidentiality policy is
//! `hcp_baseline`: Subject becomes `[...]`, Comments and Keywords are left out, all else is seen (RFC 9788 §3.2.1).
//! Trace fields and Bcc are nobody's to sign and are left out. RFC 9788 §5.2.

use super::{ProtectError, is_structural, is_trace};
use crate::limits;
use crate::mime::{Fields, parameter};

/// What stands outside in place of a Subject (RFC 9788 §3.2.1).
const OBSCURED: &str = "[...]";
/// Octets of a line without its CRLF.
const LINE: usize = limits::TEXT_LINE_OCTETS - 2;

/// An entity made ready for protection.
#[derive(Clone, Debug)]
pub struct Prepared {
    payload: Vec<u8>,
    outer: Vec<u8>,
}

impl Prepared {
    /// The part to be signed, or signed and encrypted: a MIME entity with all fields inside.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The message: the outer fields before `protected`, the MIME entity that became of the payload.
    pub fn message(&self, protected: &[u8]) -> Vec<u8> {
        let versioned = Fields::new(protected).flatten().any(|field| field.is("mime-version"));
        let version: &[u8] = if versioned { b"" } else { b"MIME-Version: 1.0\r\n" };
        [&self.outer, version, protected].concat()
    }
}

/// Puts the fields of `entity` inside. `encrypted` says whether the payload will be encrypted (`hp="cipher"`).
pub fn prepare(entity: &[u8], encrypted: bool) -> Result<Prepared, ProtectError> {
    let mut fields = Fields::new(entity);
    let (mut own, mut structural, mut outer, mut seen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut typed = false;
    let mut count = 0;
    while let Some(item) = fields.next() {
        count += 1;
        if count > limits::HEADER_FIELDS || fields.offset() > limits::HEADER_OCTETS {
            return Err(ProtectError::TooLarge);
        }
        let Ok(field) = item else { return Err(ProtectError::NotAField) };
        let text = &entity[field.range.clone()];
        if field.is("content-type") {
            typed = true;
            structural.extend_from_slice(&content_type(field.value, encrypted)?);
        } else if is_structural(field.name) {
            structural.extend_from_slice(text);
        } else if !(is_trace(field.name) || field.is("bcc") || field.is("hp-outer")) {
            own.extend_from_slice(text);
            let Some(shown) = shown(field.name, text, encrypted) else { continue };
            if encrypted {
                seen.extend_from_slice(&hp_outer(field.name, &shown)?);
            }
            outer.extend_from_slice(&shown);
        }
    }
    if !(entity[..fields.offset()].is_empty() || entity[..fields.offset()].ends_with(b"\r\n")) {
        return Err(ProtectError::NotAField);
    }
    if !typed {
        // The default of RFC 2045 §5.2, said aloud to carry the parameter.
        structural.extend_from_slice(&content_type(b" text/plain; charset=us-ascii", encrypted)?);
    }
    let payload = [&own, &seen, &structural, &b"\r\n"[..], &entity[fields.body()..]].concat();
    Ok(Prepared { payload, outer })
}

/// The field with the parameter that says how the fields beside it are meant.
fn content_type(value: &[u8], encrypted: bool) -> Result<Vec<u8>, ProtectError> {
    if parameter(value, "hp").is_some() {
        return Err(ProtectError::Already);
    }
    let value = value.trim_ascii();
    let value = value.strip_suffix(b";").unwrap_or(value);
    let hp: &[u8] = if encrypted { b";\r\n hp=\"cipher\"\r\n" } else { b";\r\n hp=\"clear\"\r\n" };
    Ok([b"Content-Type: ", value, hp].concat())
}

/// The field as it stands outside; `None` where it does not.
fn shown(name: &str, text: &[u8], encrypted: bool) -> Option<Vec<u8>> {
    if encrypted && name.eq_ignore_ascii_case("subject") {
        return Some(format!("{name}: {OBSCURED}\r\n").into_bytes());
    }
    let hidden = ["comments", "keywords"].iter().any(|hidden| name.eq_ignore_ascii_case(hidden));
    (!(encrypted && hidden)).then(|| text.to_vec())
}

/// The record of what stands outside.
fn hp_outer(name: &str, shown: &[u8]) -> Result<Vec<u8>, ProtectError> {
    const PREFIX: &[u8] = b"HP-Outer: ";
    let first = shown.windows(2).position(|end| end == b"\r\n").unwrap_or(shown.len());
    if PREFIX.len() + first <= LINE {
        return Ok([PREFIX, shown].concat());
    }
    // Folded after the field's name where its first line leaves no room.
    let (head, rest) = shown.split_at((name.len() + 1).min(shown.len()));
    if first - head.len() >= LINE || !matches!(rest.first(), Some(b' ' | b'\t')) {
        return Err(ProtectError::LongLine);
    }
    Ok([PREFIX, head, b"\r\n", rest].concat())
}
