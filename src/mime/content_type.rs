//! What a Content-Type field says of a part's structure; parameters other than boundary are passed over.
//!
//! In: the field's value. Out: whether other parts are inside, and where they part. Linear whatever the parameters.
//! RFC 2045 §5.1, RFC 2046 §5.1 and §5.2.

use std::borrow::Cow;

use super::Defect;
use super::author::skip_cfws;

/// The characters of a boundary (RFC 2046 §5.1.1).
const BOUNDARY: usize = 70;

/// What a part is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Anything that has no parts.
    Leaf,
    /// `message/rfc822` or `message/global`.
    Message,
    /// `multipart/…`.
    Multipart {
        /// The boundary, 1 to 70 octets.
        boundary: Cow<'a, [u8]>,
        /// `multipart/digest`: its parts are messages unless they say otherwise (RFC 2046 §5.1.5).
        digest: bool,
    },
}

/// Reads the value of a Content-Type field. A value that cannot be read is that of a leaf (RFC 2045 §5.2).
pub(super) fn content(value: &[u8]) -> Result<Content<'_>, Defect> {
    let value = value.trim_ascii();
    let Some((kind, subtype, parameters)) = kind(value) else { return Ok(Content::Leaf) };
    if kind.eq_ignore_ascii_case(b"message") {
        let message = subtype.eq_ignore_ascii_case(b"rfc822") || subtype.eq_ignore_ascii_case(b"global");
        return Ok(if message { Content::Message } else { Content::Leaf });
    }
    if !kind.eq_ignore_ascii_case(b"multipart") {
        return Ok(Content::Leaf);
    }
    let boundary = boundary(value, parameters)?;
    Ok(Content::Multipart { boundary, digest: subtype.eq_ignore_ascii_case(b"digest") })
}

/// A parameter's value, where the field has it; the first, quotes and escapes removed.
pub fn parameter<'a>(value: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let value = value.trim_ascii();
    let (_, _, at) = kind(value)?;
    Parameters { value, at }.find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, text)| text)
}

/// Type and subtype in any letter case, and where the parameters begin.
pub fn kind(value: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let start = skip_cfws(value, 0)?;
    let slash = token_end(value, start);
    let after = skip_cfws(value, slash)?;
    if value.get(after) != Some(&b'/') {
        return None;
    }
    let second = skip_cfws(value, after + 1)?;
    let end = token_end(value, second);
    Some((&value[start..slash], &value[second..end], end))
}

fn boundary(value: &[u8], at: usize) -> Result<Cow<'_, [u8]>, Defect> {
    let mut found = None;
    for (name, text) in (Parameters { value, at }) {
        let named = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"boundary"));
        if named && (name.get(8) == Some(&b'*') || (name.len() == 8 && found.is_some())) {
            return Err(Defect::SeveralBoundaries);
        }
        if named && name.len() == 8 {
            found = Some(text);
        }
    }
    match found {
        Some(text) if text.len() > BOUNDARY => Err(Defect::LongBoundary),
        Some(Cow::Borrowed(text)) if !text.trim_ascii_end().is_empty() => Ok(Cow::Borrowed(text.trim_ascii_end())),
        Some(Cow::Owned(text)) if !text.trim_ascii_end().is_empty() => Ok(Cow::Owned(text.trim_ascii_end().to_vec())),
        _ => Err(Defect::NoBoundary),
    }
}

/// RFC 2045 §5.1.
fn is_token(octet: u8) -> bool {
    octet > b' ' && octet != 127 && !b"()<>@,;:\\\"/[]?=".contains(&octet)
}

fn token_end(value: &[u8], at: usize) -> usize {
    value[at..].iter().position(|octet| !is_token(*octet)).map_or(value.len(), |length| at + length)
}

struct Parameters<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let semicolon = self.value[self.at..].iter().position(|octet| *octet == b';')?;
            let start = skip_cfws(self.value, self.at + semicolon + 1)?;
            let end = token_end(self.value, start);
            let equals = skip_cfws(self.value, end)?;
            // Not `end`: a comment is read once, whatever is in it.
            self.at = equals;
            if end == start || self.value.get(equals) != Some(&b'=') {
                continue;
            }
            let from = skip_cfws(self.value, equals + 1)?;
            let text = self.text(from)?;
            return Some((&self.value[start..end], text));
        }
    }
}

impl<'a> Parameters<'a> {
    /// A token, or what stands for one up to a semicolon or white space, or a quoted string.
    fn text(&mut self, from: usize) -> Option<Cow<'a, [u8]>> {
        let value = self.value;
        if value.get(from) != Some(&b'"') {
            let ends = |octet: &u8| matches!(octet, b';' | b' ' | b'\t' | b'\r' | b'\n');
            self.at = value[from..].iter().position(ends).map_or(value.len(), |length| from + length);
            return Some(Cow::Borrowed(&value[from..self.at]));
        }
        let inner = &value[from + 1..];
        let plain = inner.iter().position(|octet| matches!(octet, b'"' | b'\\' | b'\r' | b'\n'))?;
        if inner[plain] == b'"' {
            self.at = from + plain + 2;
            return Some(Cow::Borrowed(&inner[..plain]));
        }
        let mut text = Vec::new();
        let mut escaped = false;
        for (index, octet) in inner.iter().enumerate() {
            match octet {
                b'"' if !escaped => {
                    self.at = from + index + 2;
                    return Some(Cow::Owned(text));
                }
                b'\\' if !escaped => escaped = true,
                b'\r' | b'\n' => {}
                octet => {
                    text.push(*octet);
                    escaped = false;
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multipart(boundary: &str) -> Result<Content<'_>, Defect> {
        Ok(Content::Multipart { boundary: Cow::Borrowed(boundary.as_bytes()), digest: false })
    }

    #[test]
    fn contents() {
        let check = |value: &str, expected: Result<Content<'_>, Defect>| {
            assert_eq!(content(value.as_bytes()), expected, "{value}");
        };
        check(" text/plain; charset=utf-8", Ok(Content::Leaf));
        check("", Ok(Content::Leaf));
        check(" multipart", Ok(Content::Leaf));
        check(" Message/RFC822", Ok(Content::Message));
        check(" message/global", Ok(Content::Message));
        check(" message/delivery-status", Ok(Content::Leaf));
        check(" multipart/mixed; boundary=abc", multipart("abc"));
        check(" multipart/mixed; charset=x; BOUNDARY=\"a b;c\"; y=z", multipart("a b;c"));
        check(" multipart/mixed; x=\"; boundary=no\"; boundary=yes", multipart("yes"));
        check(" (c) multipart (c) / (c) mixed (;) ;(c)\r\n boundary (c) = (c) \"abc\"", multipart("abc"));
        check(" multipart/mixed; boundary=\"a\\\"b\\\\\"", multipart("a\"b\\"));
        check(" multipart/mixed; boundary=a=b?c", multipart("a=b?c"));
        check(" multipart/mixed", Err(Defect::NoBoundary));
        check(" multipart/mixed; boundary=\"\"", Err(Defect::NoBoundary));
        check(" multipart/mixed; boundary", Err(Defect::NoBoundary));
        check(" multipart/mixed; boundary=\"abc", Err(Defect::NoBoundary));
        check(" multipart/mixed; boundary=a; boundary=b", Err(Defect::SeveralBoundaries));
        check(" multipart/mixed; boundary*0=a; boundary*1=b", Err(Defect::SeveralBoundaries));
        check(&format!(" multipart/mixed; boundary={}", "x".repeat(70)), multipart(&"x".repeat(70)));
        check(&format!(" multipart/mixed; boundary={}", "x".repeat(71)), Err(Defect::LongBoundary));
    }

    #[test]
    fn parameters() {
        let value = b" multipart/report; report-type=Delivery-Status; boundary=x";
        assert_eq!(parameter(value, "Report-Type").as_deref(), Some(&b"Delivery-Status"[..]));
        assert_eq!(parameter(value, "charset"), None);
    }
}
