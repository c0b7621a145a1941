//! The header section as fields, without copies.
//!
//! In: the octets of an entity, or of a body part. Out: its fields in order, each with its place. Invariant: the ranges
//! of fields and malformed lines follow each other without a gap and end where the header section ends. A line ends
//! with CRLF and with nothing else. Fails: a line that is not a field is an item of its own, for the caller to judge.
//! RFC 5322 §2.2.

use std::borrow::Cow;
use std::ops::Range;

/// A field of a header section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as written: at least one printable US-ASCII character, none of them a colon.
    pub name: &'a str,
    /// What follows the colon, folded as written, without the last CRLF.
    pub value: &'a [u8],
    /// Where the field stands in the entity, from its name to its last CRLF.
    pub range: Range<usize>,
}

impl Field<'_> {
    /// Whether this is the field of that name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A line, with the lines that continue it, that is not a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it stands.
    pub range: Range<usize>,
}

/// The fields of a header section, one after the other.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    entity: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `entity`, which begins with its header section.
    pub fn new(entity: &'a [u8]) -> Self {
        Fields { entity, at: 0 }
    }

    /// Octets of the header section that have been read; after the last field, its whole length without the empty line.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Where the body begins; to be asked after the last field. The end of the entity where there is no body.
    pub fn body(&self) -> usize {
        if self.entity[self.at..].starts_with(b"\r\n") { self.at + 2 } else { self.at }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = &self.entity[start..];
        if rest.is_empty() || rest.starts_with(b"\r\n") {
            return None;
        }
        let mut end = line_end(self.entity, start);
        while matches!(self.entity.get(end), Some(b' ' | b'\t')) {
            end = line_end(self.entity, end);
        }
        self.at = end;
        let text = &self.entity[start..end];
        let malformed = Malformed { range: start..end };
        let Some(colon) = text.iter().position(|b| !(b'!'..=b'~').contains(b) || *b == b':') else {
            return Some(Err(malformed));
        };
        if colon == 0 || text[colon] != b':' {
            return Some(Err(malformed));
        }
        let Ok(name) = std::str::from_utf8(&text[..colon]) else { return Some(Err(malformed)) };
        let value = &text[colon + 1..];
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        Some(Ok(Field { name, value, range: start..end }))
    }
}

/// The offset after the CRLF that ends the line at `from`; the end of `text` where none does.
pub(super) fn line_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(distance) = memchr::memchr(b'\n', &text[at..]) {
        at += distance + 1;
        if at >= from + 2 && text[at - 2] == b'\r' {
            return at;
        }
    }
    text.len()
}

/// A field's value without its folds and the white space around it (RFC 5322 §2.2.3). Octets that are not UTF-8 become
/// U+FFFD.
pub fn unfold(value: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(value.trim_ascii());
    if text.contains(['\r', '\n']) { Cow::Owned(text.replace("\r\n", "").replace(['\r', '\n'], " ")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entity: &str, expected: &[(&str, &str)], body: &str) {
        let mut fields = Fields::new(entity.as_bytes());
        let mut got = Vec::new();
        let mut at = 0;
        for item in fields.by_ref() {
            let (pair, range) = match item {
                Ok(field) => ((field.name.to_owned(), unfold(field.value).into_owned()), field.range),
                Err(bad) => (("".to_owned(), entity[bad.range.clone()].to_owned()), bad.range),
            };
            assert_eq!(range.start, at);
            at = range.end;
            got.push(pair);
        }
        assert_eq!(at, fields.offset());
        let got: Vec<(&str, &str)> = got.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(got, expected, "{entity:?}");
        assert_eq!(&entity[fields.body()..], body);
    }

    #[test]
    fn fields() {
        check("A: 1\r\nB:2\r\n\r\nbody\r\n", &[("A", "1"), ("B", "2")], "body\r\n");
        check("A: 1\r\n 2\r\n\t3\r\n\r\n", &[("A", "1 2\t3")], "");
        check("A: 1\r\n", &[("A", "1")], "");
        check("A: 1", &[("A", "1")], "");
        check("", &[], "");
        check("\r\nbody", &[], "body");
        check("A:\r\n\r\n\r\n", &[("A", "")], "\r\n");
    }

    #[test]
    fn what_is_not_a_field() {
        check("no colon\r\nA: 1\r\n\r\nx", &[("", "no colon\r\n"), ("A", "1")], "x");
        check(" A: 1\r\n\r\nx", &[("", " A: 1\r\n")], "x");
        check("A : 1\r\n\r\nx", &[("", "A : 1\r\n")], "x");
        check(": 1\r\n\r\nx", &[("", ": 1\r\n")], "x");
        check("é: 1\r\n\r\nx", &[("", "é: 1\r\n")], "x");
    }

    #[test]
    fn only_crlf_ends_a_line() {
        check("A: 1\nB: 2\r\n\r\nx", &[("A", "1 B: 2")], "x");
        check("A: 1\rB: 2\r\n\r\nx", &[("A", "1 B: 2")], "x");
        check("A: 1\r\n\nB: 2\r\n\r\nx", &[("A", "1"), ("", "\nB: 2\r\n")], "x");
    }

    #[test]
    fn ends_of_lines() {
        assert_eq!(line_end(b"\n\r\nx", 0), 3);
        assert_eq!(line_end(b"a\r\nb\r\n", 2), 6);
    }
}
