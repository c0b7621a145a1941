//! The encodings of ENVID and ORCPT: xtext (RFC 3461 §4) and the UTF-8 address type (RFC 6533 §3).
//!
//! In: a decoded text, or the value of a parameter. Out: the other. Invariant: what is decoded has no control character,
//! so it can be put into a field of a report; what is encoded is an esmtp-value. Fails with [`XtextError`] on an escape
//! that is not one.

use bytes::BufMut;

use crate::envelope::OriginalRecipient;
use crate::limits;

/// Why a value cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XtextError {
    /// `+` without two upper-case hexadecimal digits, or `\x` without a code point in braces.
    #[error("an escape is neither +HH (RFC 3461) nor \\x{{HH}} (RFC 6533)")]
    Escape,
    /// A character that must be escaped, or that no escape may stand for.
    #[error("it has a character that is not printable")]
    Character,
    /// RFC 3461 §4.2 and §4.4.
    #[error("it is too long")]
    Length,
    /// No address type, or none that is an atom, before the semicolon.
    #[error("it has no address type; write rfc822;address or utf-8;address")]
    AddressType,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The address type of RFC 6533 §3.
pub const UTF8_KIND: &str = "utf-8";

/// Appends `text` as xtext.
pub fn encode(text: &str, out: &mut impl BufMut) {
    for byte in text.bytes() {
        if is_plain(byte) {
            out.put_u8(byte);
        } else {
            out.put_slice(&[b'+', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// `!` to `~` without `+` and `=`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'+' && byte != b'='
}

/// Reads xtext; the result is printable US-ASCII and white space (RFC 3461 §4.2, §4.4).
pub fn decode(value: &str) -> Result<String, XtextError> {
    let mut text = String::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => hex_octet(bytes.next(), bytes.next()).ok_or(XtextError::Escape)?,
            byte if is_plain(byte) => byte,
            _ => return Err(XtextError::Character),
        };
        if !matches!(byte, b'\t' | b' '..=b'~') {
            return Err(XtextError::Character);
        }
        text.push(char::from(byte));
    }
    Ok(text)
}

fn hex_octet(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| HEX.iter().position(|hex| Some(*hex) == byte);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Reads the value of ENVID: at most [`limits::ENVID_CHARS`] characters decoded (RFC 3461 §4.4).
pub fn decode_envid(value: &str) -> Result<String, XtextError> {
    let text = decode(value)?;
    if text.len() > limits::ENVID_CHARS { Err(XtextError::Length) } else { Ok(text) }
}

/// Appends the value of ORCPT. For a server that shows SMTPUTF8 an address of type `utf-8` keeps its characters
/// (utf-8-addr-unitext), for others it is in US-ASCII (utf-8-addr-xtext).
pub fn encode_original(original: &OriginalRecipient, smtputf8: bool, out: &mut impl BufMut) {
    out.put_slice(original.kind.as_bytes());
    out.put_u8(b';');
    if !original.kind.eq_ignore_ascii_case(UTF8_KIND) {
        return encode(&original.address, out);
    }
    for c in original.address.chars() {
        let ascii_escape = c.is_ascii() && (!is_plain(c as u8) || c == '\\');
        if ascii_escape || (!c.is_ascii() && !smtputf8) {
            out.put_slice(format!("\\x{{{:02X}}}", u32::from(c)).as_bytes());
        } else {
            out.put_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Reads the value of ORCPT: at most [`limits::ORCPT_OCTETS`] octets encoded. The address type comes back in lower case.
pub fn decode_original(value: &str) -> Result<OriginalRecipient, XtextError> {
    if value.len() > limits::ORCPT_OCTETS {
        return Err(XtextError::Length);
    }
    let (kind, address) = value.split_once(';').ok_or(XtextError::AddressType)?;
    if kind.is_empty() || !kind.bytes().all(is_atom) {
        return Err(XtextError::AddressType);
    }
    let kind = kind.to_ascii_lowercase();
    let address = if kind == UTF8_KIND { decode_unitext(address)? } else { decode(address)? };
    Ok(OriginalRecipient { kind, address })
}

fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*-/?^_`{|}~".contains(&byte)
}

/// All three forms of RFC 6533 §3. A `+` stands for itself: no form escapes with it.
fn decode_unitext(value: &str) -> Result<String, XtextError> {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix('\\') {
            let (point, tail) = tail.strip_prefix("x{").and_then(|t| t.split_once('}')).ok_or(XtextError::Escape)?;
            text.push(code_point(point).ok_or(XtextError::Escape)?);
            rest = tail;
        } else if c.is_control() || matches!(c, ' ' | '=') {
            return Err(XtextError::Character);
        } else {
            text.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if text.chars().any(char::is_control) { Err(XtextError::Character) } else { Ok(text) }
}

/// HEXPOINT: two to six hexadecimal digits that are a Unicode scalar value.
fn code_point(digits: &str) -> Option<char> {
    if !(2..=6).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str) -> String {
        let mut out = Vec::new();
        encode(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn original(kind: &str, address: &str, smtputf8: bool) -> String {
        let mut out = Vec::new();
        encode_original(&OriginalRecipient { kind: kind.into(), address: address.into() }, smtputf8, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn check(value: &str, expected: Result<&str, XtextError>) {
        let got = decode_original(value).map(|o| format!("{};{}", o.kind, o.address));
        assert_eq!(got, expected.map(str::to_owned), "{value}");
    }

    #[test]
    fn xtext() {
        assert_eq!(encoded("a+b=c d"), "a+2Bb+3Dc+20d");
        assert_eq!(decode("a+2Bb+3Dc+20d"), Ok("a+b=c d".into()));
        assert_eq!(decode(""), Ok(String::new()));
        for bad in ["+", "+2", "+2b", "+zz", "a+2"] {
            assert_eq!(decode(bad), Err(XtextError::Escape), "{bad}");
        }
        for bad in ["a=b", "a b", "+0A", "+00", "+7F", "+C3+A9", "é", "a\u{7f}"] {
            assert_eq!(decode(bad), Err(XtextError::Character), "{bad}");
        }
    }

    #[test]
    fn envid_length_counts_decoded() {
        assert_eq!(decode_envid(&"+2B".repeat(100)), Ok("+".repeat(100)));
        assert_eq!(decode_envid(&"a".repeat(101)), Err(XtextError::Length));
    }

    #[test]
    fn original_recipients_encoded() {
        assert_eq!(original("rfc822", "a+b@c.example", true), "rfc822;a+2Bb@c.example");
        assert_eq!(original("utf-8", "δ+\\ =@é", true), "utf-8;δ\\x{2B}\\x{5C}\\x{20}\\x{3D}@é");
        assert_eq!(original("utf-8", "δé\u{1f600}@c", false), "utf-8;\\x{3B4}\\x{E9}\\x{1F600}@c");
    }

    #[test]
    fn original_recipients_decoded() {
        check("rfc822;a+2Bb@c.example", Ok("rfc822;a+b@c.example"));
        check("RFC822;a@c", Ok("rfc822;a@c"));
        check("UTF-8;\\x{3b4}@c", Ok("utf-8;δ@c"));
        check("utf-8;δ+x@c", Ok("utf-8;δ+x@c"));
        check("x-pager;555", Ok("x-pager;555"));
        check("rfc822;", Ok("rfc822;"));
        check("a@c", Err(XtextError::AddressType));
        check(";a@c", Err(XtextError::AddressType));
        check("a b;c", Err(XtextError::AddressType));
        check("rfc822;é", Err(XtextError::Character));
        check("utf-8;a=b", Err(XtextError::Character));
        check("utf-8;\\x{0A}", Err(XtextError::Character));
        check("utf-8;\\x{D800}", Err(XtextError::Escape));
        check("utf-8;\\x{1}", Err(XtextError::Escape));
        check("utf-8;\\x{1234567}", Err(XtextError::Escape));
        check("utf-8;\\x{+1}", Err(XtextError::Escape));
        check("utf-8;\\x41", Err(XtextError::Escape));
        check("utf-8;a\\", Err(XtextError::Escape));
        check(&format!("rfc822;{}", "a".repeat(494)), Err(XtextError::Length));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in "[ -~]{0,60}", wide in "\\PC{0,30}", smtputf8: bool) {
            prop_assert_eq!(decode(&encoded(&text)), Ok(text.clone()));
            let value = original("utf-8", &wide, smtputf8);
            prop_assert!(smtputf8 || value.is_ascii());
            if value.len() <= limits::ORCPT_OCTETS {
                prop_assert_eq!(decode_original(&value).map(|o| o.address), Ok(wide));
            }
        }

        #[test]
        fn any_text_is_decoded_or_refused(value in "\\PC{0,80}") {
            let _ = decode(&value);
            if let Ok(original) = decode_original(&value) {
                prop_assert!(!original.address.chars().any(char::is_control));
            }
        }
    }
}
