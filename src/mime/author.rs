//! The addresses of From, To and Cc fields, read to the letter.
//!
//! In: the field's value. Out: its addresses. The author decides what is accepted in whose name, so nothing is guessed
//! here: two addresses without a comma, an encoded word in the brackets, an address as an unquoted display name are
//! faults, where readers made for display each find some author, not all the same one.
//! RFC 5322 §3.4 without §4.4, RFC 6532 §3.2.

use super::Defect;
use crate::address::{Domain, Mailbox};

/// Authors of one entity; one in practice.
const MOST: usize = 50;

/// Reads the value of a From field.
pub fn mailboxes(value: &[u8]) -> Result<Vec<Mailbox>, Defect> {
    let text = std::str::from_utf8(value).map_err(|_| Defect::HeaderNotUtf8)?;
    let mut reader = Reader { text, at: 0 };
    let mut found = Vec::new();
    loop {
        if found.len() == MOST {
            return Err(Defect::FromTooMany);
        }
        found.push(reader.mailbox()?);
        match reader.peek() {
            None => return Ok(found),
            Some(b',') => reader.at += 1,
            Some(_) => return Err(Defect::FromSyntax),
        }
    }
}

/// Reads the value of a To or Cc field: as [`mailboxes`], and groups, whose members are among the addresses; a group may
/// be empty (RFC 5322 §3.4). At most [`limits::RECIPIENTS`](crate::limits::RECIPIENTS) addresses.
pub fn recipients(value: &[u8]) -> Result<Vec<Mailbox>, Defect> {
    let text = std::str::from_utf8(value).map_err(|_| Defect::HeaderNotUtf8)?;
    let mut reader = Reader { text, at: 0 };
    let mut found = Vec::new();
    let mut group = false;
    loop {
        if found.len() == crate::limits::RECIPIENTS {
            return Err(Defect::FromTooMany);
        }
        match reader.mailbox() {
            Ok(mailbox) => found.push(mailbox),
            Err(Defect::FromGroup) if !group => {
                reader.expect(b':')?;
                reader.skip_cfws()?;
                group = true;
                if reader.peek() != Some(b';') {
                    continue;
                }
            }
            Err(defect) => return Err(defect),
        }
        if group && reader.peek() == Some(b';') {
            reader.at += 1;
            reader.skip_cfws()?;
            group = false;
        }
        match reader.peek() {
            None if !group => return Ok(found),
            Some(b',') => reader.at += 1,
            _ => return Err(Defect::FromSyntax),
        }
    }
}

/// A word of a phrase, or a local part.
enum Word<'a> {
    /// Atoms and dots.
    Atoms(&'a str),
    /// A quoted string without quotes and escapes.
    Quoted(String),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// `mailbox` (RFC 5322 §3.4).
    fn mailbox(&mut self) -> Result<Mailbox, Defect> {
        let mut last = None;
        let mut words = 0;
        loop {
            self.skip_cfws()?;
            match self.peek() {
                Some(b'<') => {
                    self.at += 1;
                    self.skip_cfws()?;
                    let local = self.word()?;
                    self.skip_cfws()?;
                    let mailbox = self.address(local)?;
                    return self.expect(b'>').and_then(|()| self.skip_cfws()).map(|()| mailbox);
                }
                Some(b'@') if words == 1 => return self.address(last.ok_or(Defect::FromSyntax)?),
                Some(b':') => return Err(Defect::FromGroup),
                Some(_) => last = Some(self.word()?),
                None => return Err(Defect::FromSyntax),
            }
            words += 1;
        }
    }

    /// From the `@` on.
    fn address(&mut self, local: Word<'a>) -> Result<Mailbox, Defect> {
        self.expect(b'@')?;
        self.skip_cfws()?;
        let Word::Atoms(domain) = self.word()? else { return Err(Defect::FromSyntax) };
        self.skip_cfws()?;
        let domain = Domain::parse(domain).map_err(|_| Defect::FromSyntax)?;
        let local = match &local {
            Word::Atoms(atoms) if atoms.split('.').any(str::is_empty) => return Err(Defect::FromSyntax),
            // Some readers would decode it, and find another local part.
            Word::Atoms(atoms) if atoms.contains("=?") => return Err(Defect::FromSyntax),
            Word::Atoms(atoms) => atoms,
            Word::Quoted(text) => text.as_str(),
        };
        Mailbox::new(local, domain).map_err(|_| Defect::FromSyntax)
    }

    fn word(&mut self) -> Result<Word<'a>, Defect> {
        if self.peek() == Some(b'"') {
            return self.quoted().map(Word::Quoted);
        }
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !is_atext(c) && c != '.').unwrap_or(rest.len());
        if length == 0 {
            return Err(Defect::FromSyntax);
        }
        self.at += length;
        Ok(Word::Atoms(&rest[..length]))
    }

    fn quoted(&mut self) -> Result<String, Defect> {
        self.at += 1;
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in self.text[self.at..].char_indices() {
            match c {
                '\r' | '\n' if !escaped => {}
                _ if escaped => {
                    text.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(Defect::FromSyntax)
    }

    /// Comments and folding white space (RFC 5322 §3.2.2).
    fn skip_cfws(&mut self) -> Result<(), Defect> {
        self.at = skip_cfws(self.text.as_bytes(), self.at).ok_or(Defect::FromSyntax)?;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, octet: u8) -> Result<(), Defect> {
        if self.peek() != Some(octet) {
            return Err(Defect::FromSyntax);
        }
        self.at += 1;
        Ok(())
    }
}

/// RFC 5322 §3.2.3, RFC 6532 §3.2.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

/// The offset after comments and folding white space; `None` where a comment does not end (RFC 5322 §3.2.2).
pub(super) fn skip_cfws(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    while let Some(octet) = text.get(at) {
        match octet {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => at += 1,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if depth > 0 => {}
            _ => return Some(at),
        }
        at += 1;
    }
    (depth == 0).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(value: &str, expected: Result<&[&str], Defect>) {
        let got = mailboxes(value.as_bytes());
        let got = got.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(got, expected.map(|list| list.iter().map(|s| (*s).to_owned()).collect()), "{value:?}");
    }

    #[test]
    fn authors() {
        check(" alice@a.example", Ok(&["alice@a.example"]));
        check(" Alice <alice@A.example>", Ok(&["alice@a.example"]));
        check(" Dr. Alice B. Clark <alice@a.example> (home)", Ok(&["alice@a.example"]));
        check("\"bob@b.example\" <alice@a.example>", Ok(&["alice@a.example"]));
        check(" \"A, \\\"B\\\"\"\r\n <alice@a.example>", Ok(&["alice@a.example"]));
        check(" <alice@a.example>", Ok(&["alice@a.example"]));
        check(" (c (d)) alice (e) @ (f) a.example (g)", Ok(&["alice@a.example"]));
        check(" =?utf-8?q?bob=40b.example?= <alice@a.example>", Ok(&["alice@a.example"]));
        check(" \"al ice\"@a.example", Ok(&["\"al ice\"@a.example"]));
        check(" Алиса <алиса@пример.example>", Ok(&["алиса@xn--e1afmkfd.example"]));
        check(" a@a.example, B <b@a.example>", Ok(&["a@a.example", "b@a.example"]));
    }

    #[test]
    fn no_author() {
        for value in [
            "",
            " ",
            " Alice",
            " alice@a.example <mallory@b.example>",
            " <alice@a.example> <mallory@b.example>",
            " <alice@a.example> mallory@b.example",
            " alice@a.example bob@b.example",
            " alice@a.example,",
            " , alice@a.example",
            " <=?utf-8?q?x?=alice@a.example>",
            " <alice@a.example",
            " alice@a.example>",
            " alice@a.example (",
            " alice@[192.0.2.1]",
            " al..ice@a.example",
            " <@b.example:alice@a.example>",
            " \"alice@a.example",
            " alice b@a.example",
            " <>",
            " alice@\"a.example\"",
        ] {
            let got = mailboxes(value.as_bytes());
            assert!(matches!(got, Err(Defect::FromSyntax | Defect::FromGroup)), "{value:?} {got:?}");
        }
        check(" undisclosed: ;", Err(Defect::FromGroup));
        check(&vec!["a@a.example"; 51].join(","), Err(Defect::FromTooMany));
        assert_eq!(mailboxes(b" \xff@a.example"), Err(Defect::HeaderNotUtf8));
    }

    #[test]
    fn groups_of_recipients() {
        let check = |value: &str, expected: Option<&[&str]>| {
            let got = recipients(value.as_bytes()).ok();
            let got = got.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(got, expected.map(|list| list.iter().map(|s| (*s).to_owned()).collect()), "{value:?}");
        };
        check(" bob@b.example, Carol <carol@a.example>", Some(&["bob@b.example", "carol@a.example"]));
        check(" watchers:;", Some(&[]));
        check(" watchers : (c) ; (c)", Some(&[]));
        check(
            " friends: bob@b.example, <c@a.example>;, d@a.example",
            Some(&["bob@b.example", "c@a.example", "d@a.example"]),
        );
        check(" a@a.example, friends: bob@b.example;", Some(&["a@a.example", "bob@b.example"]));
        for bad in ["", " x:", " x:;y", " x: a@a.example", " x: y: a@a.example;;", " a@a.example;", " x:;,", " x:,;"] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in "[ a@<>,:;()\"\\\\.é\r\n\\[=?]{0,40}") {
            let _ = mailboxes(value.as_bytes());
            let _ = recipients(value.as_bytes());
        }

        /// What we take for an author, a reader that is made for display takes for the same.
        #[test]
        fn a_second_reader_agrees(
            name in "[A-Za-z ]{0,12}",
            quoted in "[a-z@,<> ]{0,12}",
            local in "[a-z]{1,8}(\\.[a-z]{1,4})?",
            comment in "[a-z@ ]{0,8}",
        ) {
            let value = format!(" {name} \"{quoted}\" <{local}@a.example> ({comment})");
            let ours = mailboxes(value.as_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let line = format!("{value}\r\n");
            let theirs = mail_parser::parsers::MessageStream::new(line.as_bytes()).parse_address();
            let ours = ours[0].to_string();
            let address = theirs.as_address().and_then(|list| list.first()).and_then(|one| one.address.as_deref());
            prop_assert_eq!(address, Some(ours.as_str()));
        }
    }
}
