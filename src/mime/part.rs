//! Leaves of an entity: octets in a form that every hop carries, and back.
//!
//! In: octets with their media type, or a part. Out: the part's fields and body, or the octets. Invariant: what is written
//! is read as the same octets, and is US-ASCII in short lines. Fails: a part that has parts, an encoding that is none.
//! RFC 2045 §6, RFC 2387.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::content_type::{Content, content, kind, parameter};
use super::header::{Fields, line_end, unfold};
use crate::limits;

/// Octets, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The media type.
    pub media: &'a str,
    /// The Content-ID without angle brackets, where it has one.
    pub cid: Option<&'a str>,
    /// What is in it.
    pub octets: &'a [u8],
}

impl Part<'_> {
    /// Its MIME fields, the empty line and its body.
    pub fn write(&self) -> String {
        let mut out = format!("Content-Type: {}\r\n", self.media);
        // Writing into a string does not fail.
        if let Some(cid) = self.cid {
            let _ = write!(out, "Content-ID: <{cid}>\r\n");
        }
        match std::str::from_utf8(self.octets).ok().filter(|text| plain(text)) {
            Some(text) => {
                out.push_str("Content-Transfer-Encoding: 7bit\r\n\r\n");
                out.push_str(text);
            }
            None => {
                out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
                for line in self.octets.chunks(57) {
                    BASE64.encode_string(line, &mut out);
                    out.push_str("\r\n");
                }
            }
        }
        out
    }
}

/// Whether a text needs no encoding: lines of US-ASCII that end with CRLF.
fn plain(text: &str) -> bool {
    let line = |line: &str| {
        let line = line.strip_suffix("\r\n");
        line.is_some_and(|line| {
            line.len() <= limits::TEXT_LINE_OCTETS - 2 && line.bytes().all(|octet| matches!(octet, b'\t' | b' '..=b'~'))
        })
    };
    text.split_inclusive('\n').all(line)
}

/// A `multipart/related` with its root first: its MIME fields, the empty line and its body (RFC 2387). The boundary stands
/// in none of the parts.
pub fn related(root: Part<'_>, parts: &[Part<'_>], boundary: &str) -> String {
    let mut out =
        format!("Content-Type: multipart/related; type=\"{}\";\r\n boundary=\"{boundary}\"\r\n\r\n", root.media);
    for part in std::iter::once(&root).chain(parts) {
        let _ = write!(out, "--{boundary}\r\n{}\r\n", part.write());
    }
    let _ = write!(out, "--{boundary}--\r\n");
    out
}

/// A part that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The media type in lower case, without parameters; `text/plain` where it says none.
    pub media: String,
    /// The Content-ID without angle brackets.
    pub cid: Option<String>,
    /// What is in it.
    pub octets: Cow<'a, [u8]>,
}

/// The octets of an entity, or of a part, that has no parts; `None` where it has, or they cannot be decoded.
pub fn leaf(part: &[u8]) -> Option<Leaf<'_>> {
    let mut fields = Fields::new(part);
    let (mut typed, mut encoding, mut cid) = (None, None, None);
    for field in fields.by_ref().flatten() {
        if field.is("content-type") {
            typed = Some(field.value);
        } else if field.is("content-transfer-encoding") {
            encoding = Some(unfold(field.value).to_ascii_lowercase());
        } else if field.is("content-id") {
            cid = Some(unfold(field.value).trim_matches(['<', '>']).to_owned());
        }
    }
    if typed.is_some_and(|value| content(value) != Ok(Content::Leaf)) {
        return None;
    }
    let named = typed.and_then(|value| kind(value.trim_ascii()));
    let media = named.map_or("text/plain".to_owned(), |(kind, subtype, _)| {
        format!("{}/{}", String::from_utf8_lossy(kind), String::from_utf8_lossy(subtype)).to_ascii_lowercase()
    });
    let body = &part[fields.body()..];
    let octets = match encoding.as_deref() {
        None | Some("7bit" | "8bit" | "binary") => Cow::Borrowed(body),
        Some("base64") => {
            let text: Vec<u8> = body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
            Cow::Owned(BASE64.decode(text).ok()?)
        }
        Some("quoted-printable") => Cow::Owned(unquoted(body)?),
        Some(_) => return None,
    };
    Some(Leaf { media, cid, octets })
}

/// RFC 2045 §6.7.
fn unquoted(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let (line, ended) = match body[at..end].strip_suffix(b"\r\n") {
            Some(line) => (line, true),
            None => (&body[at..end], false),
        };
        let mut rest = line.trim_ascii_end();
        let soft = rest.ends_with(b"=");
        rest = rest.strip_suffix(b"=").unwrap_or(rest);
        while let [first, after @ ..] = rest {
            if *first != b'=' {
                out.push(*first);
                rest = after;
                continue;
            }
            let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = &after[2..];
        }
        if ended && !soft {
            out.extend_from_slice(b"\r\n");
        }
        at = end;
    }
    Some(out)
}

/// The parts of a multipart entity, each with its fields; `None` where it is none. A delimiter stands at the beginning of a
/// line and alone on it (RFC 2046 §5.1.1).
pub fn parts(entity: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Fields::new(entity);
    let typed = fields.by_ref().flatten().filter(|field| field.is("content-type")).last()?;
    if !matches!(content(typed.value), Ok(Content::Multipart { .. })) {
        return None;
    }
    let boundary = parameter(typed.value, "boundary")?;
    let (mut found, mut start) = (Vec::new(), None);
    let mut at = fields.body();
    while at < entity.len() {
        let end = line_end(entity, at);
        let line = entity[at..end].trim_ascii_end();
        let delimiter = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(&*boundary));
        if let Some(tail) = delimiter.filter(|tail| matches!(*tail, b"" | b"--")) {
            if let Some(start) = start {
                let part: &[u8] = entity.get(start..at).unwrap_or_default();
                found.push(part.strip_suffix(b"\r\n").unwrap_or(part));
            }
            if found.len() > limits::MIME_PARTS {
                return None;
            }
            start = Some(end);
            if tail == b"--" {
                return Some(found);
            }
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_read() {
        let check = |entity: &str, media: &str, octets: &[u8]| {
            let leaf = leaf(entity.as_bytes()).unwrap();
            assert_eq!((leaf.media.as_str(), &*leaf.octets), (media, octets), "{entity}");
        };
        check("Content-Type: Application/PIDF+xml; charset=utf-8\r\n\r\n<a/>\r\n", "application/pidf+xml", b"<a/>\r\n");
        check("\r\nhi", "text/plain", b"hi");
        check("Content-Transfer-Encoding: BASE64\r\n\r\nPGEv\r\nPg==\r\n", "text/plain", b"<a/>");
        check("Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\nb=3D=0A \r\nc", "text/plain", b"ab=\n\r\nc");
        for bad in [
            "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a--\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\n*\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n=4\r\n",
            "Content-Transfer-Encoding: uuencode\r\n\r\n",
        ] {
            assert_eq!(leaf(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn related_parts() {
        let root = Part { media: "application/rlmi+xml", cid: Some("root@a.example"), octets: b"<list/>\r\n" };
        let view = Part { media: "application/pidf+xml", cid: Some("1@a.example"), octets: b"<presence/>\n--b\n" };
        let entity = related(root, &[view], "b");
        let parts = parts(entity.as_bytes()).unwrap();
        assert_eq!(parts.len(), 2);
        for (part, expected) in parts.iter().zip([root, view]) {
            let leaf = leaf(part).unwrap();
            assert_eq!((leaf.media.as_str(), leaf.cid.as_deref()), (expected.media, expected.cid));
            assert_eq!(&*leaf.octets, expected.octets);
        }
        assert_eq!(super::parts(b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\n\r\nx\r\n"), None);
        assert_eq!(super::parts(b"\r\n--b\r\n"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let written = Part { media: "application/pidf+xml", cid: None, octets: &octets }.write();
            prop_assert!(written.is_ascii() && written.lines().all(|line| line.len() <= 998));
            prop_assert_eq!(&*leaf(written.as_bytes()).unwrap().octets, &octets[..]);
        }
        #[test]
        fn nothing_is_too_strange(text in "(Content-Type: multipart/x; boundary=b\r\n)?[ -~\r\n]{0,30}(\r\n--b-?-?)*[=\r\n -~]{0,30}") {
            let _ = (leaf(text.as_bytes()), parts(text.as_bytes()));
        }
    }
}
