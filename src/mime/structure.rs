//! The tree of an entity's parts, walked line by line to bound it.
//!
//! In: an entity and what its Content-Type says. Out: how many parts there are. Invariant: a delimiter stands at the
//! beginning of a line and alone on it; each line is looked at once, whatever the boundaries. Fails: too deep, too many
//! parts, a part's header too large; and in what is not a message within the message, which its author cannot answer
//! for, a multipart whose parts readers would see differently. RFC 2046 §5.1.1.

use std::borrow::Cow;

use super::Defect;
use super::content_type::{Content, content};
use super::header::{Fields, line_end};
use crate::limits;

/// A multipart that is open.
struct Open<'a> {
    boundary: Cow<'a, [u8]>,
    key: u64,
    digest: bool,
    depth: usize,
    quoted: bool,
}

struct Walk<'a> {
    open: Vec<Open<'a>>,
    parts: usize,
    depth: usize,
    /// Inside a message within the message.
    quoted: bool,
}

/// Walks the body of an entity that `top` describes; says how many parts it has.
pub(super) fn walk<'a>(body: &'a [u8], top: Content<'a>) -> Result<usize, Defect> {
    let mut walk = Walk { open: Vec::new(), parts: 1, depth: 0, quoted: false };
    let mut at = walk.enter(body, 0, top)?;
    while at < body.len() && !walk.open.is_empty() {
        let end = line_end(body, at);
        let next = walk.line(&body[at..end]);
        at = end;
        if let Some(digest) = next {
            walk.part()?;
            at = walk.header(body, at, digest)?;
        }
    }
    Ok(walk.parts)
}

impl<'a> Walk<'a> {
    /// Takes up the content whose body begins at `at`; the offset from which lines are read on.
    fn enter(&mut self, body: &'a [u8], at: usize, found: Content<'a>) -> Result<usize, Defect> {
        if found == Content::Leaf {
            return Ok(at);
        }
        self.depth += 1;
        if self.depth > limits::MIME_DEPTH {
            return Err(Defect::TooDeep);
        }
        match found {
            Content::Multipart { boundary, digest } => {
                let key = key(&boundary);
                self.open.push(Open { boundary, key, digest, depth: self.depth, quoted: self.quoted });
                Ok(at)
            }
            _ => {
                self.quoted = true;
                self.part()?;
                self.header(body, at, false)
            }
        }
    }

    fn part(&mut self) -> Result<(), Defect> {
        self.parts += 1;
        if self.parts > limits::MIME_PARTS { Err(Defect::TooManyParts) } else { Ok(()) }
    }

    /// Reads the header of a part. A delimiter in it ends it (RFC 2046 §5.1.1), so a field is never read beyond.
    fn header(&mut self, body: &'a [u8], at: usize, digest: bool) -> Result<usize, Defect> {
        let mut fields = Fields::new(&body[at..]);
        let mut count = 0;
        let mut kind = None;
        loop {
            let before = at + fields.offset();
            if body[before..].starts_with(b"--") && self.is_delimiter(&body[before..line_end(body, before)]) {
                return Ok(before);
            }
            let Some(item) = fields.next() else { break };
            count += 1;
            if count > limits::HEADER_FIELDS {
                return Err(Defect::TooManyFields);
            }
            if fields.offset() > limits::HEADER_OCTETS {
                return Err(Defect::HeaderTooLarge);
            }
            if let Ok(field) = item
                && field.is("content-type")
            {
                if kind.is_some() && !self.quoted {
                    return Err(Defect::Repeated("Content-Type"));
                }
                kind.get_or_insert(field.value);
            }
        }
        let found = match kind.map(content) {
            Some(Err(_)) if self.quoted => Content::Leaf,
            Some(found) => found?,
            None if digest => Content::Message,
            None => Content::Leaf,
        };
        self.enter(body, at + fields.body(), found)
    }

    /// Takes a line; says whether a part begins after it, and whether it is one of a digest.
    fn line(&mut self, line: &[u8]) -> Option<bool> {
        let (index, close) = self.delimiter(line)?;
        self.open.truncate(index + 1);
        let last = self.open.last()?;
        (self.depth, self.quoted) = (last.depth, last.quoted);
        let digest = last.digest;
        if close {
            self.open.pop();
            return None;
        }
        Some(digest)
    }

    fn is_delimiter(&self, line: &[u8]) -> bool {
        self.delimiter(line).is_some()
    }

    /// The multipart whose delimiter this line is, innermost first, and whether it closes it.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let rest = line.strip_prefix(b"--")?.trim_ascii_end();
        let closed = rest.strip_suffix(b"--");
        let (plain, closing) = (key(rest), closed.map(key));
        self.open.iter().enumerate().rev().find_map(|(index, open)| {
            if open.key == plain && *open.boundary == *rest {
                return Some((index, false));
            }
            (Some(open.key) == closing && Some(&*open.boundary) == closed).then_some((index, true))
        })
    }
}

/// Length and first octets of a boundary: unequal keys spare a comparison, for each line with each open multipart.
fn key(boundary: &[u8]) -> u64 {
    let mut octets = [0; 8];
    let length = boundary.len().min(8);
    octets[..length].copy_from_slice(&boundary[..length]);
    u64::from_le_bytes(octets) ^ (boundary.len() as u64).rotate_right(8)
}

/// The parts of one multipart body, each with its header; at most `most`. The last need not be closed.
pub(super) fn split<'a>(body: &'a [u8], boundary: &[u8], most: usize) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at < body.len() && parts.len() < most {
        let end = line_end(body, at);
        let delimiter = body[at..end].strip_prefix(b"--").and_then(|rest| rest.trim_ascii_end().strip_prefix(boundary));
        if let Some(rest @ (b"" | b"--")) = delimiter {
            if let Some(from) = start {
                let part: &[u8] = &body[from..at.max(from)];
                // The CRLF before a delimiter belongs to the delimiter.
                parts.push(part.strip_suffix(b"\r\n").unwrap_or(part));
            }
            start = rest.is_empty().then_some(end);
            if !rest.is_empty() {
                break;
            }
        }
        at = end;
    }
    if let Some(from) = start
        && parts.len() < most
    {
        parts.push(&body[from..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, body: &str, expected: Result<usize, Defect>) {
        assert_eq!(content(value.as_bytes()).and_then(|top| walk(body.as_bytes(), top)), expected, "{body}");
    }

    #[test]
    fn parts() {
        let mixed = "multipart/mixed; boundary=a";
        check("text/plain", "--a\r\n", Ok(1));
        check(mixed, "pre\r\n--a\r\n\r\none\r\n--a\r\n\r\ntwo\r\n--a--\r\npost\r\n--a\r\n", Ok(3));
        check(mixed, "--a \t\r\n\r\none", Ok(2));
        check(mixed, "x --a\r\n --a\r\n--ab\r\n--a x\r\n--A\r\n\n--a\r\n", Ok(1));
        check(mixed, "", Ok(1));
        let inner = "--a\r\nContent-Type: multipart/mixed;\r\n boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n";
        check(mixed, &format!("{inner}--b--\r\n--a\r\n\r\n"), Ok(5));
        // The outer delimiter ends the inner multipart.
        check(mixed, &format!("{inner}--a\r\n\r\n--b\r\n--a--\r\n--b\r\n"), Ok(5));
        check(
            "message/rfc822",
            "From: a@b\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n--a\r\n\r\n",
            Ok(4),
        );
        check("multipart/digest; boundary=a", "--a\r\n\r\nContent-Type: text/plain\r\n\r\n--a--\r\n", Ok(3));
        // A header that a delimiter ends.
        check(mixed, "--a\r\nContent-Type: multipart/mixed; boundary=b\r\n--a\r\n\r\n--b\r\n", Ok(3));
    }

    #[test]
    fn faults() {
        let mixed = "multipart/mixed; boundary=a";
        check(mixed, &"--a\r\n\r\n".repeat(999), Ok(1000));
        check(mixed, &"--a\r\n\r\n".repeat(1000), Err(Defect::TooManyParts));
        check(mixed, "--a\r\nContent-Type: multipart/mixed\r\n\r\n", Err(Defect::NoBoundary));
        let twice = "Content-Type: text/plain\r\n".repeat(2);
        check(mixed, &format!("--a\r\n{twice}\r\n"), Err(Defect::Repeated("Content-Type")));
        check(mixed, &format!("--a\r\n{}\r\n", "A: b\r\n".repeat(1001)), Err(Defect::TooManyFields));
        let long = format!("A: {}\r\n", "b\r\n ".repeat(50_000));
        check(mixed, &format!("--a\r\n{long}\r\n"), Err(Defect::HeaderTooLarge));
        // A message within the message is not its author's.
        check("message/rfc822", &format!("{twice}\r\n"), Ok(2));
        check("message/rfc822", "Content-Type: multipart/mixed\r\n\r\n", Ok(2));
        check("message/rfc822", &"Content-Type: message/rfc822\r\n\r\n".repeat(31), Ok(33));
        check("message/rfc822", &"Content-Type: message/rfc822\r\n\r\n".repeat(32), Err(Defect::TooDeep));
    }

    #[test]
    fn depth_of_multiparts() {
        let nested = |levels: usize| -> String {
            (1..levels)
                .map(|n| format!("--b{}\r\nContent-Type: multipart/mixed; boundary=b{n}\r\n\r\n", n - 1))
                .collect()
        };
        check("multipart/mixed; boundary=b0", &nested(32), Ok(32));
        check("multipart/mixed; boundary=b0", &nested(33), Err(Defect::TooDeep));
        // Side by side they do not add up.
        let beside = "--b0\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n--c--\r\n".repeat(40);
        check("multipart/mixed; boundary=b0", &beside, Ok(81));
    }

    #[test]
    fn splitting() {
        let split = |body: &'static str| {
            split(body.as_bytes(), b"a", 3).into_iter().map(|p| std::str::from_utf8(p).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(split("x\r\n--a\r\n1\r\n--a\r\n2\r\n--a--\r\n--a\r\n3"), ["1", "2"]);
        assert_eq!(split("--a\r\n1\r\n--ab\r\n"), ["1\r\n--ab\r\n"]);
        assert_eq!(split("--a\r\n--a\r\n--a\r\n--a\r\n--a\r\n"), ["", "", ""]);
        assert!(split("--a--\r\n--a\r\n").is_empty());
        assert!(split("").is_empty());
    }
}
