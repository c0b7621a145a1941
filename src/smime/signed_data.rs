//! The structure of SignedData, read in place, its parts with the types of `cms`.
//!
//! In: a ContentInfo. Out: [`SignedData`] with what its signers say. Invariant: certificates and signed attributes are
//! the octets that came; a certificate that cannot be read is passed over. Fails: [`Fault::Syntax`],
//! [`Fault::TooMany`]. RFC 5652 §5.

use cms::cert::IssuerAndSerialNumber;
use cms::signed_data::SignerIdentifier;
use const_oid::ObjectIdentifier;
use der::asn1::OctetString;
use der::{Decode, Encode};
use x509_cert::serial_number::SerialNumber;

use super::asn1::Algorithm;
use super::ber::{self, Element, Reader};
use super::scheme::Digest;
use super::{Certificate, Fault, Memory, oid};
use crate::limits;

/// Certificates of the same name and number that are tried for one signer.
const NAMESAKES: usize = 3;

/// What SignedData holds.
pub(super) struct SignedData<'a> {
    /// What eContentType says.
    pub(super) content_type: ObjectIdentifier,
    /// The octet string inside, where the form is opaque.
    pub(super) content: Option<Element<'a>>,
    certificates: Vec<Element<'a>>,
    lists: Vec<Element<'a>>,
    signers: Vec<Element<'a>>,
}

/// Who a SignerInfo or a RecipientInfo says its certificate is.
#[derive(Clone, Debug)]
pub(super) enum Identifier {
    /// The DER of the issuer's name, the serial number.
    IssuerSerial(Vec<u8>, SerialNumber),
    /// The subject key identifier.
    Key(OctetString),
}

/// What one signer says.
pub(super) struct SignerInfo<'a> {
    /// The signer's identifier as it came.
    sid: &'a [u8],
    pub(super) digest: Result<Digest, Fault>,
    /// The signed attributes as they came, with their implicit tag.
    pub(super) attributes: Option<Element<'a>>,
    pub(super) algorithm: Algorithm,
    pub(super) signature: &'a [u8],
}

/// The content of a ContentInfo of that type.
pub(super) fn content(cms: &[u8], name: ObjectIdentifier) -> Result<Reader<'_>, Fault> {
    let mut info = Reader::only(cms, ber::SEQUENCE)?;
    if info.oid()? != name {
        return Err(Fault::Syntax("the content is of another type"));
    }
    let explicit = info.take(ber::context(0))?;
    info.end()?;
    Reader::only(explicit.contents, ber::SEQUENCE)
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo.
    pub(super) fn read(cms: &'a [u8]) -> Result<Self, Fault> {
        let mut data = content(cms, oid::SIGNED_DATA)?;
        data.take(ber::INTEGER)?;
        data.take(ber::SET)?;
        let mut inner = data.sequence()?;
        let content_type = inner.oid()?;
        let content = match inner.optional(ber::context(0))? {
            Some(explicit) => Some(octet_string(explicit)?),
            None => None,
        };
        let certificates = match data.optional(ber::context(0))? {
            Some(set) => elements(set.inside(), limits::CMS_CERTIFICATES, "certificates")?,
            None => Vec::new(),
        };
        let lists = match data.optional(ber::context(1))? {
            Some(set) => elements(set.inside(), limits::CMS_LISTS, "revocation lists")?,
            None => Vec::new(),
        };
        let signers = elements(data.take(ber::SET)?.inside(), limits::CMS_SIGNERS, "signers")?;
        data.end()?;
        Ok(SignedData { content_type, content, certificates, lists, signers })
    }

    /// The X.509 certificates that can be read.
    pub(super) fn certificates(&self, memory: &Memory) -> Vec<Certificate> {
        let x509 = self.certificates.iter().filter(|element| element.tag == ber::SEQUENCE);
        x509.filter_map(|element| memory.certificate(element.raw).ok()).collect()
    }

    /// The revocation lists; what is no CRL (RFC 5652 §10.2.1) is passed over.
    pub(super) fn lists(&self) -> Vec<Vec<u8>> {
        self.lists.iter().filter(|element| element.tag == ber::SEQUENCE).map(|element| element.raw.to_vec()).collect()
    }

    /// What the signers say.
    pub(super) fn signers(&self) -> Result<Vec<SignerInfo<'a>>, Fault> {
        self.signers.iter().map(SignerInfo::read).collect()
    }
}

fn octet_string(explicit: Element<'_>) -> Result<Element<'_>, Fault> {
    let mut reader = explicit.inside();
    let element = reader.next()?;
    reader.end()?;
    if element.tag & !ber::CONSTRUCTED == ber::OCTET_STRING {
        Ok(element)
    } else {
        Err(Fault::Syntax("the content is not an octet string"))
    }
}

/// The elements of a set, bounded.
pub(super) fn elements<'a>(mut reader: Reader<'a>, most: usize, what: &'static str) -> Result<Vec<Element<'a>>, Fault> {
    let mut found = Vec::new();
    while !reader.is_empty() {
        if found.len() >= most {
            return Err(Fault::TooMany(what));
        }
        found.push(reader.next()?);
    }
    Ok(found)
}

impl Identifier {
    /// As the structures of CMS have it.
    pub(super) fn new(names: IssuerAndSerialNumber) -> Result<Self, Fault> {
        Ok(Identifier::IssuerSerial(names.issuer.to_der()?, names.serial_number))
    }

    /// Whether it means that certificate.
    pub(super) fn means(&self, certificate: &Certificate) -> bool {
        match self {
            Identifier::IssuerSerial(issuer, serial) => {
                certificate.serial() == serial.as_bytes() && certificate.issuer() == issuer
            }
            Identifier::Key(key) => certificate.key_identifier() == Some(key.as_bytes()),
        }
    }
}

impl<'a> SignerInfo<'a> {
    /// Whose certificate the signature needs, of these.
    pub(super) fn means<'c>(
        &self,
        certificates: impl Iterator<Item = &'c Certificate> + Clone,
    ) -> Result<Vec<&'c Certificate>, Fault> {
        // Nearly always the names are the very octets of the certificate.
        let exact = |one: &&Certificate| self.names_octets_of(one).unwrap_or(false);
        let found: Vec<&Certificate> = certificates.clone().filter(exact).take(NAMESAKES).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let identifier = match SignerIdentifier::from_ber(self.sid)? {
            SignerIdentifier::IssuerAndSerialNumber(names) => Identifier::new(names)?,
            SignerIdentifier::SubjectKeyIdentifier(key) => Identifier::Key(key.0),
        };
        Ok(certificates.filter(|certificate| identifier.means(certificate)).take(NAMESAKES).collect())
    }

    fn names_octets_of(&self, certificate: &Certificate) -> Result<bool, Fault> {
        let mut names = Reader::only(self.sid, ber::SEQUENCE)?;
        let issuer = names.take(ber::SEQUENCE)?.raw;
        Ok(issuer == certificate.issuer() && names.take(ber::INTEGER)?.contents == certificate.serial())
    }

    fn read(element: &Element<'a>) -> Result<Self, Fault> {
        let mut reader = Reader::only(element.raw, ber::SEQUENCE)?;
        reader.take(ber::INTEGER)?;
        let sid = reader.next()?.raw;
        let digest = Algorithm::from_ber(reader.take(ber::SEQUENCE)?.raw)?;
        let attributes = reader.optional(ber::context(0))?;
        let algorithm = Algorithm::from_ber(reader.take(ber::SEQUENCE)?.raw)?;
        let signature = reader.take(ber::OCTET_STRING)?.contents;
        reader.optional(ber::context(1))?;
        reader.end()?;
        Ok(SignerInfo { sid, digest: Digest::named(digest.oid), attributes, algorithm, signature })
    }
}
