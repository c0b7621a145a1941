//! A certificate: the octets that were signed, and the fields that CMS asks for.
//!
//! In: DER or PEM. Out: [`Certificate`], which keeps the octets as they came; whether it is to be believed is not
//! asked here. Invariant: what is read of it lies where its structure says. Fails: [`Fault::Certificate`],
//! [`Fault::Syntax`]. RFC 5280 §4.1.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use cms::cert::IssuerAndSerialNumber;
use der::asn1::AnyRef;
use der::{Decode, Tag};
use x509_cert::name::Name;

use super::asn1::Algorithm;
use super::ber::{self, Reader};
use super::scheme::{Digest, Means};
use super::trust::Names;
use super::{Fault, PublicKey, oid, pem};
use crate::limits;
use crate::timestamp::Timestamp;

/// A certificate as it came, cheap to copy.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    serial: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    public_key: Range<usize>,
    key_identifier: Option<Range<usize>>,
    not_before: Timestamp,
    not_after: Timestamp,
    usage: Option<u8>,
    fingerprint: OnceLock<[u8; 32]>,
    /// The addresses that it names; `None`: they cannot be read.
    names: OnceLock<Option<Names>>,
    /// Its key, as the first signature wanted it.
    means: OnceLock<Option<Means>>,
}

/// Bits of the key usage extension (RFC 5280 §4.2.1.3), as they stand in its first octet.
const DIGITAL_SIGNATURE: u8 = 0x80;
const CONTENT_COMMITMENT: u8 = 0x40;
const KEY_ENCIPHERMENT: u8 = 0x20;
const KEY_AGREEMENT: u8 = 0x08;

impl Certificate {
    /// Reads the DER of one certificate.
    pub fn from_der(octets: &[u8]) -> Result<Self, Fault> {
        if octets.len() > limits::CERTIFICATE_OCTETS {
            return Err(Fault::Certificate("it is too large"));
        }
        let place = |inner: &[u8]| {
            // Every field borrows from `octets`, so the difference of the addresses is its place.
            let start = (inner.as_ptr() as usize).wrapping_sub(octets.as_ptr() as usize);
            start..start + inner.len()
        };
        let mut outer = Reader::only(octets, ber::SEQUENCE)?;
        let mut tbs = outer.sequence()?;
        tbs.optional(ber::context(0))?;
        let serial = tbs.take(ber::INTEGER)?.contents;
        tbs.take(ber::SEQUENCE)?;
        let issuer = tbs.take(ber::SEQUENCE)?.raw;
        let mut validity = tbs.sequence()?;
        let (not_before, not_after) = (validity.next()?.time()?, validity.next()?.time()?);
        let subject = tbs.take(ber::SEQUENCE)?.raw;
        let public_key = tbs.take(ber::SEQUENCE)?.raw;
        tbs.optional(ber::context_primitive(1))?;
        tbs.optional(ber::context_primitive(2))?;
        let mut inner = Inner {
            der: octets.to_vec(),
            serial: place(serial),
            issuer: place(issuer),
            subject: place(subject),
            public_key: place(public_key),
            key_identifier: None,
            not_before,
            not_after,
            usage: None,
            fingerprint: OnceLock::new(),
            names: OnceLock::new(),
            means: OnceLock::new(),
        };
        if let Some(extensions) = tbs.optional(ber::context(3))? {
            let mut list = Reader::only(extensions.contents, ber::SEQUENCE)?;
            while !list.is_empty() {
                let mut extension = list.sequence()?;
                let name = extension.oid()?;
                extension.optional(ber::BOOLEAN)?;
                let value = extension.take(ber::OCTET_STRING)?.contents;
                if name == oid::SUBJECT_KEY_IDENTIFIER {
                    inner.key_identifier = Some(place(Reader::new(value).take(ber::OCTET_STRING)?.contents));
                } else if name == oid::KEY_USAGE {
                    let bits = Reader::new(value).take(ber::BIT_STRING)?.contents;
                    inner.usage = Some(bits.get(1).copied().unwrap_or(0));
                }
            }
        }
        Ok(Certificate(Arc::new(inner)))
    }

    /// Reads every certificate of a PEM text, in order; none is a fault.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, Fault> {
        let blocks = pem::blocks(text)?;
        let named = blocks.iter().filter(|block| matches!(&*block.label, "CERTIFICATE" | "X509 CERTIFICATE"));
        let all = named.map(|block| Certificate::from_der(&block.der)).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() { Err(Fault::Certificate("there is none in the text")) } else { Ok(all) }
    }

    /// The octets.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// As PEM.
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE", self.der()).to_string()
    }

    /// The DER of the issuer's name.
    pub fn issuer(&self) -> &[u8] {
        &self.0.der[self.0.issuer.clone()]
    }

    /// The DER of the subject's name.
    pub fn subject(&self) -> &[u8] {
        &self.0.der[self.0.subject.clone()]
    }

    /// The octets of the serial number, as its INTEGER has them.
    pub fn serial(&self) -> &[u8] {
        &self.0.der[self.0.serial.clone()]
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0.der[self.0.public_key.clone()]
    }

    /// The public key; fails where it is of a kind that is not known, or too short.
    pub fn public_key(&self) -> Result<PublicKey<'_>, Fault> {
        PublicKey::from_spki(self.spki())
    }

    /// Checks a signature of its key; `digest` is that of a SignerInfo, which must not contradict the algorithm. The key is
    /// made ready once.
    pub(super) fn check(
        &self,
        algorithm: &Algorithm,
        digest: Digest,
        message: &[u8],
        value: &[u8],
    ) -> Result<(), Fault> {
        let key = self.public_key()?;
        let ready = self.0.means.get_or_init(|| Means::new(&key, algorithm, Some(digest)).ok()).as_ref();
        match ready.filter(|means| means.fits(algorithm, digest)) {
            Some(means) => means.check(message, value),
            None => Means::new(&key, algorithm, Some(digest))?.check(message, value),
        }
    }

    /// The addresses that it names.
    pub(super) fn addresses(&self) -> Result<&Names, Fault> {
        let names = self.0.names.get_or_init(|| self.parsed().ok().map(|parsed| Names::of(&parsed)));
        names.as_ref().ok_or(Fault::Certificate("it is not DER of RFC 5280"))
    }

    /// The value of the subject key identifier extension.
    pub fn key_identifier(&self) -> Option<&[u8]> {
        self.0.key_identifier.clone().map(|range| &self.0.der[range])
    }

    /// The first moment at which it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last second in which it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether it is time for another one: less than a third of its time is left.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let third = self.not_after().since(self.not_before()) / 3;
        self.not_after() < now.after(third)
    }

    /// Whether its key usage, where it has one, lets its key sign messages (RFC 8550 §4.4.2).
    pub fn may_sign(&self) -> bool {
        self.0.usage.is_none_or(|bits| bits & (DIGITAL_SIGNATURE | CONTENT_COMMITMENT) != 0)
    }

    /// Whether its key is of a kind that messages can be encrypted to, and its key usage lets it.
    pub fn may_encrypt(&self) -> bool {
        let Ok(key) = self.public_key() else { return false };
        let bit = match key.kind {
            super::KeyKind::Rsa if key.only_pss => return false,
            super::KeyKind::Rsa => KEY_ENCIPHERMENT,
            super::KeyKind::Ed25519 => return false,
            _ => KEY_AGREEMENT,
        };
        self.0.usage.is_none_or(|bits| bits & bit != 0)
    }

    /// SHA-256 of the octets.
    pub fn fingerprint(&self) -> [u8; 32] {
        *self.0.fingerprint.get_or_init(|| {
            let mut out = [0; 32];
            out.copy_from_slice(digest::digest(&digest::SHA256, self.der()).as_ref());
            out
        })
    }

    /// What CMS calls it by.
    pub(super) fn names(&self) -> Result<IssuerAndSerialNumber, Fault> {
        let issuer = Name::from_ber(self.issuer());
        let serial_number = AnyRef::new(Tag::Integer, self.serial()).and_then(AnyRef::decode_as);
        let names = issuer.and_then(|issuer| Ok(IssuerAndSerialNumber { issuer, serial_number: serial_number? }));
        names.map_err(|_| Fault::Certificate("its issuer or its serial number is not as RFC 5280 wants them"))
    }

    /// All of its fields, for those who build chains.
    pub fn parsed(&self) -> Result<x509_cert::Certificate, Fault> {
        x509_cert::Certificate::from_der(self.der()).map_err(|_| Fault::Certificate("it is not DER of RFC 5280"))
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

/// By its octets, as it is compared and hashed.
impl Borrow<[u8]> for Certificate {
    fn borrow(&self) -> &[u8] {
        self.der()
    }
}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print: String = self.fingerprint()[..8].iter().map(|octet| format!("{octet:02x}")).collect();
        write!(f, "Certificate({print}…)")
    }
}
