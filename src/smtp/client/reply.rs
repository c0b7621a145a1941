//! Reading replies: octets in, one complete reply at a time out.
//!
//! Invariant: what is not yet complete is bounded in its lines and octets, and no octet is looked at twice. Fails on a
//! line that is no reply, on codes that differ within one reply, and on a bare CR or LF. RFC 5321 §4.2.

use memchr::memchr;

use crate::limits;
use crate::reply::{EnhancedCode, Reply};

/// Octets of one reply.
pub(super) const REPLY_OCTETS: usize = 64 * 1024;

/// A complete reply, still in the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub code: u16,
    lines: &'a [u8],
}

/// Where in the input the reading stands.
#[derive(Debug, Default)]
pub(super) struct Reader {
    scanned: usize,
    line_start: usize,
    lines: usize,
    code: u16,
}

impl Reader {
    /// The octets of the first complete reply of `input` and its code; `None` while it is not complete.
    pub fn next(&mut self, input: &[u8]) -> Result<Option<(u16, usize)>, &'static str> {
        while let Some(found) = memchr(b'\n', &input[self.scanned..]) {
            let end = self.scanned + found + 1;
            let line = &input[self.line_start..end];
            let last = self.line(line)?;
            self.scanned = end;
            self.line_start = end;
            if last {
                let code = self.code;
                *self = Reader::default();
                return Ok(Some((code, end)));
            }
        }
        self.scanned = input.len();
        if input.len() - self.line_start >= limits::REPLY_LINE_OCTETS {
            return Err("a line of a reply is too long");
        }
        if input.len() > REPLY_OCTETS {
            return Err("a reply is too long");
        }
        Ok(None)
    }

    /// Checks one line with its end; true when it is the last one of its reply.
    fn line(&mut self, line: &[u8]) -> Result<bool, &'static str> {
        if line.len() > limits::REPLY_LINE_OCTETS {
            return Err("a line of a reply is too long");
        }
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err("a line of a reply does not end in CRLF") };
        let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
            return Err("a line is not a reply");
        };
        let last = match rest.first() {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err("a line is not a reply"),
        };
        if rest.contains(&b'\r') {
            return Err("a reply has a bare CR");
        }
        let code = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
        if self.lines > 0 && self.code != code {
            return Err("the lines of a reply differ in their codes");
        }
        self.code = code;
        self.lines += 1;
        if self.lines > limits::REPLY_LINES {
            return Err("a reply has too many lines");
        }
        Ok(last)
    }
}

impl<'a> Raw<'a> {
    /// From what [`Reader::next`] found.
    pub fn new(code: u16, lines: &'a [u8]) -> Self {
        Raw { code, lines }
    }

    /// The texts of the lines, without code and line end.
    pub fn texts(self) -> impl Iterator<Item = &'a [u8]> {
        self.lines.split_inclusive(|b| *b == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r\n").unwrap_or(line);
            line.get(4..).unwrap_or_default()
        })
    }

    /// As a value: the enhanced code taken out of each line (RFC 2034 §4), octets that are not UTF-8 replaced.
    pub fn to_reply(self) -> Reply {
        let mut enhanced = None;
        let mut text = String::with_capacity(self.lines.len());
        for (index, line) in self.texts().enumerate() {
            let line = String::from_utf8_lossy(line);
            let (code, rest) = split_enhanced(&line, self.code);
            if index == 0 {
                enhanced = code;
            } else {
                text.push('\n');
            }
            text.push_str(if code.is_some() && code == enhanced { rest } else { &line });
        }
        match enhanced {
            Some(enhanced) => Reply::new(self.code, enhanced, text),
            None => Reply::bare(self.code, text),
        }
    }
}

/// The enhanced code at the start of a line, if its class is that of the reply.
fn split_enhanced(line: &str, code: u16) -> (Option<EnhancedCode>, &str) {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    match EnhancedCode::parse(first) {
        Some(enhanced) if u16::from(enhanced.class) == code / 100 => (Some(enhanced), rest),
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the octets one by one.
    fn check(wire: &str, expected: Result<&str, &str>) {
        let mut reader = Reader::default();
        let mut got = Ok(None);
        for end in 1..=wire.len() {
            got = reader.next(&wire.as_bytes()[..end]);
            match got {
                Ok(None) => {}
                _ => break,
            }
        }
        let got = got.map(|found| {
            let (code, end) = found.expect("complete");
            Raw::new(code, &wire.as_bytes()[..end]).to_reply().to_string()
        });
        assert_eq!(got.as_deref().map_err(|e| *e), expected, "{wire:?}");
        let whole = Reader::default().next(wire.as_bytes()).map(|found| {
            let (code, end) = found.expect("complete");
            Raw::new(code, &wire.as_bytes()[..end]).to_reply().to_string()
        });
        assert_eq!(whole.as_deref().map_err(|e| *e), expected, "{wire:?} at once");
    }

    #[test]
    fn replies() {
        check("250 2.1.0 Ok\r\n", Ok("250 2.1.0 Ok"));
        check("250\r\n", Ok("250 "));
        check("250-\r\n250 \r\n", Ok("250  "));
        check("550-5.1.1 No such\r\n550 5.1.1 inbox\r\n250 next\r\n", Ok("550 5.1.1 No such inbox"));
        check("250 5.1.1 is not its class\r\n", Ok("250 5.1.1 is not its class"));
        check("250-a\r\n250-b\r\n250 c\r\n", Ok("250 a b c"));
        check("450 4.2.0 caf\u{e9}\r\n", Ok("450 4.2.0 caf\u{e9}"));
    }

    #[test]
    fn malformed() {
        check("hello\r\n", Err("a line is not a reply"));
        check("150 no\r\n", Err("a line is not a reply"));
        check("650 no\r\n", Err("a line is not a reply"));
        check("250ok\r\n", Err("a line is not a reply"));
        check("25\r\n", Err("a line is not a reply"));
        check("\r\n", Err("a line is not a reply"));
        check("250 ok\n", Err("a line of a reply does not end in CRLF"));
        check("250 o\rk\r\n", Err("a reply has a bare CR"));
        check("250-a\r\n251 b\r\n", Err("the lines of a reply differ in their codes"));
        check(&format!("250 {}\r\n", "x".repeat(2048)), Err("a line of a reply is too long"));
        check(&format!("{}250 a\r\n", "250-a\r\n".repeat(128)), Err("a reply has too many lines"));
    }

    #[test]
    fn octets_are_bounded() {
        let mut reader = Reader::default();
        let wire = format!("250-{}\r\n", "x".repeat(2000)).repeat(limits::REPLY_LINES - 1);
        assert_eq!(reader.next(wire.as_bytes()), Err("a reply is too long"));
    }

    #[test]
    fn text_that_is_not_utf8_is_replaced() {
        let wire = b"550 5.1.1 \xff\r\n";
        assert_eq!(Raw::new(550, wire).to_reply().text(), "\u{fffd}");
    }
}
