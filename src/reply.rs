//! SMTP replies and enhanced status codes, as values.
//!
//! In: a code, an enhanced code and a text; or a complete reply as read from the wire.
//! Out: the octets of the reply. Invariant: a text has no CR, LF or other control character but the `\n` that
//! separates its lines. RFC 5321 §4.2, RFC 2034 §4, RFC 3463 §2.

use std::borrow::Cow;
use std::fmt;

use bytes::BufMut;

/// An enhanced status code `class.subject.detail` (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// Where the condition lies (RFC 3463 §3).
    pub subject: u16,
    /// The condition.
    pub detail: u16,
}

impl EnhancedCode {
    /// `class.subject.detail`.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        EnhancedCode { class, subject, detail }
    }

    /// Reads `2.1.5` (RFC 2034 §4).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = parts.next()?;
        let (subject, detail) = (parts.next()?, parts.next()?);
        let digits = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !matches!(class, "2" | "4" | "5") || !digits(subject) || !digits(detail) || parts.next().is_some() {
            return None;
        }
        Some(EnhancedCode::new(class.parse().ok()?, subject.parse().ok()?, detail.parse().ok()?))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply: three digits, perhaps an enhanced code, and one or more lines of text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code; lines of `text` are separated by `\n`.
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Self {
        Reply { code, enhanced: Some(enhanced), text: clean(text.into()) }
    }

    /// A reply without an enhanced code: greeting, EHLO, HELO, 354 (RFC 2034 §4).
    pub fn bare(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Reply { code, enhanced: None, text: clean(text.into()) }
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced code, where there is one.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// The text without codes, lines separated by `\n`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// 2yz (RFC 5321 §4.2.1).
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced code, or the general one of the reply's class (RFC 3463 §3.1) where it has none.
    pub fn status(&self) -> EnhancedCode {
        let class = if self.is_positive() {
            2
        } else if self.is_transient() {
            4
        } else {
            5
        };
        self.enhanced.unwrap_or(EnhancedCode::new(class, 0, 0))
    }

    /// Appends the octets of the reply.
    pub fn write(&self, out: &mut impl BufMut) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let last = lines.peek().is_none();
            put_decimal(out, self.code, 3);
            out.put_u8(if last { b' ' } else { b'-' });
            if let Some(enhanced) = self.enhanced {
                out.put_u8(b'0' + enhanced.class % 10);
                out.put_u8(b'.');
                put_decimal(out, enhanced.subject, 1);
                out.put_u8(b'.');
                put_decimal(out, enhanced.detail, 1);
                out.put_u8(b' ');
            }
            out.put_slice(line.as_bytes());
            out.put_slice(b"\r\n");
        }
    }
}

/// Appends `number` with at least `least` digits.
fn put_decimal(out: &mut impl BufMut, number: u16, least: usize) {
    let mut digits = [b'0'; 5];
    let mut rest = number;
    let mut first = digits.len();
    while rest > 0 || digits.len() - first < least {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.put_slice(&digits[first..]);
}

/// No text can add a line or a control character to the reply.
fn clean(text: Cow<'static, str>) -> Cow<'static, str> {
    let bad = |c: char| c.is_control() && c != '\n';
    if text.contains(bad) { Cow::Owned(text.replace(bad, "?")) } else { text }
}

impl fmt::Display for Reply {
    /// On one line, for logs and receipts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.split('\n') {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn octets() {
        assert_eq!(wire(&Reply::bare(220, "mx.a.example ESMTP")), "220 mx.a.example ESMTP\r\n");
        let two = Reply::new(550, EnhancedCode::new(5, 1, 1), "no such inbox\nask the postmaster");
        assert_eq!(wire(&two), "550-5.1.1 no such inbox\r\n550 5.1.1 ask the postmaster\r\n");
        assert_eq!(two.to_string(), "550 5.1.1 no such inbox ask the postmaster");
    }

    #[test]
    fn no_injection() {
        assert_eq!(wire(&Reply::bare(250, "a\r\n250 b")), "250-a?\r\n250 250 b\r\n");
    }

    #[test]
    fn enhanced_codes() {
        assert_eq!(EnhancedCode::parse("5.1.10"), Some(EnhancedCode::new(5, 1, 10)));
        for bad in ["3.0.0", "5.1", "5.1.1.1", "5.1234.1", "5..1", "5.1.x", "5.+1.1"] {
            assert_eq!(EnhancedCode::parse(bad), None, "{bad}");
        }
    }
}
