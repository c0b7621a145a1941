//! BER as it is read: elements of a known structure, one after the other, in place.
//!
//! In: octets of anybody. Out: [`Element`]s that borrow them, with the raw octets that a signature covers. Invariant:
//! nothing is read beyond the input, no read recurses, each costs time linear in what it passes; indefinite lengths and
//! strings in pieces are understood (S/MIME agents stream them), bounded by [`limits::BER_DEPTH`]. CMS is cut up here
//! and not by `cms`, which encodes again what it reads, fails with one certificate that it does not understand, knows
//! strings in pieces in one form only, and counts nothing; the parts that are left go to its types. Fails:
//! [`Fault::Syntax`], [`Fault::TooDeep`]. RFC 5652 §10.

use std::borrow::Cow;
use std::ops::Range;

use const_oid::ObjectIdentifier;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::Fault;
use crate::limits;
use crate::timestamp::Timestamp;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// The bit of an identifier octet that says that elements are inside.
pub(super) const CONSTRUCTED: u8 = 0x20;

/// The identifier octet of a constructed context-specific element.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The identifier octet of a primitive context-specific element.
pub(super) const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The identifier octet: class, constructed or not, number.
    pub(super) tag: u8,
    /// Without identifier, length and end-of-contents octets.
    pub(super) contents: &'a [u8],
    /// All of it.
    pub(super) raw: &'a [u8],
    /// Its length is written before it, as DER wants.
    pub(super) definite: bool,
}

/// Elements in a row.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// Identifier and length octets: tag, how many octets they take, length of the contents unless indefinite.
fn head(input: &[u8]) -> Result<(u8, usize, Option<usize>), Fault> {
    let (Some(&tag), Some(&first)) = (input.first(), input.get(1)) else {
        return Err(Fault::Syntax("an element is cut short"));
    };
    if tag & 0x1f == 0x1f {
        return Err(Fault::Syntax("an element's tag is not one of CMS"));
    }
    match first {
        0..=0x7f => Ok((tag, 2, Some(usize::from(first)))),
        0x80 if tag & CONSTRUCTED != 0 => Ok((tag, 2, None)),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let octets = input.get(2..2 + count).ok_or(Fault::Syntax("an element is cut short"))?;
            let length = octets.iter().fold(0usize, |length, octet| length << 8 | usize::from(*octet));
            Ok((tag, 2 + count, Some(length)))
        }
        _ => Err(Fault::Syntax("an element's length cannot be")),
    }
}

/// Octets before the end-of-contents octets that belong to the element whose contents `input` begins with.
fn indefinite(input: &[u8]) -> Result<usize, Fault> {
    let mut open = 1;
    let mut at = 0usize;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        if rest.starts_with(&[0, 0]) {
            open -= 1;
            if open == 0 {
                return Ok(at);
            }
            at += 2;
            continue;
        }
        let (_, octets, length) = head(rest)?;
        at = at.saturating_add(octets).saturating_add(length.unwrap_or(0));
        if length.is_none() {
            open += 1;
            if open > limits::BER_DEPTH {
                return Err(Fault::TooDeep);
            }
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Reader { rest: input }
    }

    /// The elements of the one element of that tag that `input` is; nothing may follow it.
    pub(super) fn only(input: &'a [u8], tag: u8) -> Result<Self, Fault> {
        let mut reader = Reader::new(input);
        let inside = reader.take(tag)?.inside();
        reader.end()?;
        Ok(inside)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails where something is left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Syntax("octets follow where nothing may")) }
    }

    /// The next element, whatever it is.
    pub(super) fn next(&mut self) -> Result<Element<'a>, Fault> {
        let (tag, octets, length) = head(self.rest)?;
        let body = &self.rest[octets..];
        let (length, after) = match length {
            Some(length) => (length, 0),
            None => (indefinite(body)?, 2),
        };
        let contents = body.get(..length).ok_or(Fault::Syntax("an element is cut short"))?;
        let (raw, rest) = self.rest.split_at(octets + length + after);
        self.rest = rest;
        Ok(Element { tag, contents, raw, definite: after == 0 })
    }

    /// The next element, which must be of that tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<Element<'a>, Fault> {
        self.optional(tag)?.ok_or(Fault::Syntax("an element is missing or not the one expected"))
    }

    /// The next element if it is of that tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Fault> {
        if self.rest.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// The elements of a SEQUENCE.
    pub(super) fn sequence(&mut self) -> Result<Reader<'a>, Fault> {
        Ok(self.take(SEQUENCE)?.inside())
    }

    /// An OBJECT IDENTIFIER.
    pub(super) fn oid(&mut self) -> Result<ObjectIdentifier, Fault> {
        self.take(OID)?.oid()
    }

    /// An INTEGER that is not negative and small.
    pub(super) fn small(&mut self) -> Result<u32, Fault> {
        self.take(INTEGER)?.small()
    }
}

impl<'a> Element<'a> {
    /// The elements inside.
    pub(super) fn inside(&self) -> Reader<'a> {
        Reader::new(self.contents)
    }

    pub(super) fn is_constructed(&self) -> bool {
        self.tag & CONSTRUCTED != 0
    }

    /// The value of an OBJECT IDENTIFIER.
    pub(super) fn oid(&self) -> Result<ObjectIdentifier, Fault> {
        ObjectIdentifier::from_bytes(self.contents).map_err(|_| Fault::Syntax("an object identifier cannot be read"))
    }

    /// The value of an INTEGER, 0 to 2^31 - 1.
    pub(super) fn small(&self) -> Result<u32, Fault> {
        let octets = self.contents;
        if octets.is_empty() || octets.len() > 4 || octets[0] & 0x80 != 0 {
            return Err(Fault::Syntax("a number is out of range"));
        }
        Ok(octets.iter().fold(0, |value, octet| value << 8 | u32::from(*octet)))
    }

    /// The octets of a BIT STRING of whole octets.
    pub(super) fn bits(&self) -> Result<&'a [u8], Fault> {
        match self.contents.split_first() {
            Some((0, octets)) => Ok(octets),
            _ => Err(Fault::Syntax("a bit string is not of whole octets")),
        }
    }

    /// The octets of an OCTET STRING, universal or with an implicit tag; pieces are joined.
    pub(super) fn octets(&self) -> Result<Cow<'a, [u8]>, Fault> {
        if !self.is_constructed() {
            return Ok(Cow::Borrowed(self.contents));
        }
        let mut joined = Vec::with_capacity(self.contents.len());
        let mut open = vec![self.inside()];
        while let Some(reader) = open.last_mut() {
            if reader.is_empty() {
                open.pop();
                continue;
            }
            let piece = reader.next()?;
            match piece.tag {
                OCTET_STRING => joined.extend_from_slice(piece.contents),
                tag if tag == OCTET_STRING | CONSTRUCTED => {
                    if open.len() >= limits::BER_DEPTH {
                        return Err(Fault::TooDeep);
                    }
                    open.push(piece.inside());
                }
                _ => return Err(Fault::Syntax("a string in pieces has a piece that is not one")),
            }
        }
        Ok(Cow::Owned(joined))
    }

    /// The value of a UTCTime or GeneralizedTime in the form of RFC 5280 §4.1.2.5: UTC, whole seconds.
    pub(super) fn time(&self) -> Result<Timestamp, Fault> {
        let fault = Fault::Syntax("a time cannot be read");
        let digits = self.contents.strip_suffix(b"Z").ok_or(fault.clone())?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(fault);
        }
        let number = |range: Range<usize>| digits[range].iter().fold(0i16, |value, d| value * 10 + i16::from(d - b'0'));
        let (year, rest) = match (self.tag, digits.len()) {
            (UTC_TIME, 12) => (number(0..2) + if number(0..2) < 50 { 2000 } else { 1900 }, 2),
            (GENERALIZED_TIME, 14) => (number(0..4), 4),
            _ => return Err(fault),
        };
        let part = |at: usize| number(rest + at..rest + at + 2) as i8;
        let time = DateTime::new(year, part(0), part(2), part(4), part(6), part(8), 0).map_err(|_| fault.clone())?;
        let time = Offset::UTC.to_timestamp(time).map_err(|_| fault)?;
        Ok(Timestamp::from_secs(time.as_second()))
    }
}
