//! DER of structures that no crate of ours composes: small functions that nest.
//!
//! In: values. Out: their encodings. For the certificates, lists and requests of [`super::authority`], which x509-cert
//! makes only with primitives of its own, and for tests, where structures are wrong on purpose; all else is composed
//! with the types of `cms` and `der`. Invariant: what is written is DER (RFC 5652 §10): shortest lengths, sets in order.

use const_oid::ObjectIdentifier;

use super::ber;
use crate::timestamp::Timestamp;

/// An element of that tag with `parts` as its contents.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let octets = &octets[octets.iter().position(|octet| *octet != 0).unwrap_or(0)..];
        out.push(0x80 | octets.len() as u8);
        out.extend_from_slice(octets);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(ber::SEQUENCE, parts)
}

/// The contents of a SET OF, in DER's order.
pub(super) fn in_order(mut elements: Vec<Vec<u8>>) -> Vec<u8> {
    elements.sort();
    elements.concat()
}

pub(super) fn set_of(elements: Vec<Vec<u8>>) -> Vec<u8> {
    element(ber::SET, &[&in_order(elements)])
}

pub(super) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    element(ber::OID, &[oid.as_bytes()])
}

pub(super) fn octet_string(octets: &[u8]) -> Vec<u8> {
    element(ber::OCTET_STRING, &[octets])
}

pub(super) fn bit_string(octets: &[u8]) -> Vec<u8> {
    element(ber::BIT_STRING, &[&[0], octets])
}

#[cfg(test)]
pub(super) fn null() -> Vec<u8> {
    element(5, &[])
}

/// An INTEGER, not negative.
pub(super) fn integer(value: u32) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let start = octets.iter().position(|octet| *octet != 0).unwrap_or(3);
    let sign: &[u8] = if octets[start] & 0x80 != 0 { &[0] } else { &[] };
    element(ber::INTEGER, &[sign, &octets[start..]])
}

/// An AlgorithmIdentifier.
#[cfg(test)]
pub(super) fn algorithm(name: ObjectIdentifier, parameters: Option<&[u8]>) -> Vec<u8> {
    sequence(&[&oid(name), parameters.unwrap_or_default()])
}

/// A Time: UTCTime through 2049, GeneralizedTime after (RFC 5652 §11.3).
pub(super) fn time(at: Timestamp) -> Vec<u8> {
    let at = jiff::Timestamp::from_second(at.secs()).unwrap_or(jiff::Timestamp::MAX).to_zoned(jiff::tz::TimeZone::UTC);
    if (1950..2050).contains(&at.year()) {
        element(ber::UTC_TIME, &[at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()])
    } else {
        element(ber::GENERALIZED_TIME, &[at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()])
    }
}
