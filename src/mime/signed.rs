//! The two parts of a multipart/signed, cut where its delimiters stand.
//!
//! In: the body of an entity and its boundary. Out: the octets of the first part, which are those that were signed, and
//! the second part. Invariant: a delimiter stands at the beginning of a line and alone on it, lines end with CRLF, the
//! CRLF before a delimiter belongs to the delimiter; nothing else is looked at, so that no two readers differ about what
//! was signed. Fails: other than two parts, or no end. RFC 1847 §2.1, RFC 2046 §5.1.1, RFC 8551 §3.5.3.

use std::borrow::Cow;

use super::Defect;
use super::content_type::{kind, parameter};
use super::header::{Fields, line_end, unfold};

/// What the header of an entity, or of a part, says of its body.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    content_type: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    /// The octets after the empty line.
    pub body: &'a [u8],
}

/// Reads the header of an entity or a part. Fails where Content-Type or Content-Transfer-Encoding is there twice: readers
/// would see different bodies.
pub fn describe(entity: &[u8]) -> Result<Described<'_>, Defect> {
    let mut fields = Fields::new(entity);
    let (mut content_type, mut encoding) = (None, None);
    for field in fields.by_ref().flatten() {
        let (known, name) = match () {
            () if field.is("content-type") => (&mut content_type, "Content-Type"),
            () if field.is("content-transfer-encoding") => (&mut encoding, "Content-Transfer-Encoding"),
            () => continue,
        };
        if known.replace(field.value).is_some() {
            return Err(Defect::Repeated(name));
        }
    }
    Ok(Described { content_type, encoding, body: &entity[fields.body()..] })
}

impl<'a> Described<'a> {
    /// Whether its media type is that one; both names in lower case.
    pub fn is(&self, top: &str, subtype: &str) -> bool {
        let found = self.content_type.and_then(|value| kind(value.trim_ascii()));
        found.is_some_and(|(first, second, _)| {
            first.eq_ignore_ascii_case(top.as_bytes()) && second.eq_ignore_ascii_case(subtype.as_bytes())
        })
    }

    /// Whether it has parts.
    pub fn is_multipart(&self) -> bool {
        self.top(b"multipart")
    }

    /// Whether it is text; so is a body of which nothing is said (RFC 2045 §5.2).
    pub fn is_text(&self) -> bool {
        self.content_type.is_none() || self.top(b"text")
    }

    fn top(&self, name: &[u8]) -> bool {
        let found = self.content_type.and_then(|value| kind(value.trim_ascii()));
        found.is_some_and(|(first, _, _)| first.eq_ignore_ascii_case(name))
    }

    /// A parameter of its Content-Type, quotes removed.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        parameter(self.content_type?, name)
    }

    /// Its Content-Transfer-Encoding in lower case; `7bit` where nothing is said (RFC 2045 §6.1).
    pub fn encoding(&self) -> String {
        self.encoding.map_or_else(|| "7bit".to_owned(), |value| unfold(value).to_ascii_lowercase())
    }
}

/// The first and the second part of a multipart/signed with that boundary; `None` where there are not just two.
pub fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut found = [&body[..0]; 2];
    let mut count = 0;
    let mut start = None;
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let line = body[at..end].strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary));
        // Transport padding may follow (RFC 2046 §5.1.1), and nothing else.
        if let Some(rest @ (b"" | b"--")) = line.map(<[u8]>::trim_ascii_end) {
            if let Some(from) = start.replace(end) {
                *found.get_mut(count)? = body[from..at].strip_suffix(b"\r\n")?;
                count += 1;
            }
            if !rest.is_empty() {
                return (count == 2).then_some((found[0], found[1]));
            }
        }
        at = end;
    }
    None
}

/// The part of a `multipart/signed` that was signed; any other entity as it is.
pub fn content(entity: &[u8]) -> &[u8] {
    let Ok(described) = describe(entity) else { return entity };
    let boundary = described.parameter("boundary").filter(|_| described.is("multipart", "signed"));
    boundary.and_then(|boundary| parts(described.body, &boundary)).map_or(entity, |(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<(&str, &str)>) {
        let got = parts(body.as_bytes(), b"b");
        assert_eq!(got, expected.map(|(one, two)| (one.as_bytes(), two.as_bytes())), "{body:?}");
    }

    #[test]
    fn two_parts() {
        check("--b\r\none\r\n--b\r\ntwo\r\n--b--\r\n", Some(("one", "two")));
        check("preamble\r\n--b \t\r\none\r\n\r\n--b\r\ntwo\r\n--b--", Some(("one\r\n", "two")));
        check("--b\r\n\r\n--b\r\n\r\n--b--\r\nepilogue\r\n--b\r\nthree\r\n--b--\r\n", Some(("", "")));
        // What only looks like a delimiter.
        check(
            "--b\r\nx --b\r\n--bb\r\n\n--b\n--b-\r\n--b\r\n2\r\n--b--\r\n",
            Some(("x --b\r\n--bb\r\n\n--b\n--b-", "2")),
        );
    }

    #[test]
    fn anything_else() {
        check("", None);
        check("--b\r\none\r\n--b--\r\n", None);
        check("--b\r\none\r\n--b\r\ntwo\r\n--b\r\nthree\r\n--b--\r\n", None);
        check("--b\r\none\r\n--b\r\ntwo\r\n", None);
        check("--b\r\n--b\r\n--b--\r\n", None);
        check("--b--\r\n--b\r\none\r\n--b\r\ntwo\r\n--b--\r\n", None);
        // No CRLF, no line.
        check("--b\none\n--b\ntwo\n--b--\n", None);
    }

    #[test]
    fn descriptions() {
        let text =
            b"Content-Type: Multipart/Signed; boundary=\"a b\"\r\nContent-Transfer-Encoding:\r\n BASE64\r\n\r\nbody";
        let described = describe(text).unwrap();
        assert!(described.is("multipart", "signed") && !described.is("multipart", "mixed"));
        assert_eq!(described.parameter("Boundary").as_deref(), Some(&b"a b"[..]));
        assert_eq!((described.encoding().as_str(), described.body), ("base64", &b"body"[..]));
        let twice = describe(b"Content-Type: text/plain\r\ncontent-type: text/html\r\n\r\n").unwrap_err();
        assert_eq!(twice, Defect::Repeated("Content-Type"));
        assert!(!describe(b"\r\nbody").unwrap().is("text", "plain"));
    }
}
