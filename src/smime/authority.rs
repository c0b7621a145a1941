//! A domain's own authority: the certificates and revocation lists that it issues.
//!
//! In: the authority's key, a public key or a request (PKCS#10), an address, times, a serial number drawn by the caller.
//! Out: DER. Invariants: an authority speaks for addresses of its own domain only: its certificate says so by a critical
//! name constraint, and [`Authority::issue`] refuses others. Every certificate is for e-mail and instant messages, and
//! names the address as rfc822Name (or SmtpUTF8Mailbox) and as `im:` URI. Fails: [`Fault`].
//! RFC 5280 §4 and §5, RFC 2986 §4, RFC 9598 §3, RFC 9734 §3.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use zeroize::Zeroizing;

use super::ber::{self, Reader};
use super::signing::Signing;
use super::trust::Names;
use super::{Certificate, Fault, Key, KeyKind, PublicKey, RsaScheme, check, der, oid, pem};
use crate::address::{Domain, Mailbox};
use crate::limits;
use crate::timestamp::Timestamp;

const fn extension_oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const COMMON_NAME: ObjectIdentifier = extension_oid("2.5.4.3");
const BASIC_CONSTRAINTS: ObjectIdentifier = extension_oid("2.5.29.19");
const NAME_CONSTRAINTS: ObjectIdentifier = extension_oid("2.5.29.30");
const SUBJECT_ALT_NAME: ObjectIdentifier = extension_oid("2.5.29.17");
const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = extension_oid("2.5.29.35");
const EXTENDED_KEY_USAGE: ObjectIdentifier = extension_oid("2.5.29.37");
const CRL_NUMBER: ObjectIdentifier = extension_oid("2.5.29.20");
const EMAIL_PROTECTION: ObjectIdentifier = extension_oid("1.3.6.1.5.5.7.3.4");
const IM_URI: ObjectIdentifier = extension_oid("1.3.6.1.5.5.7.3.40");
const EXTENSION_REQUEST: ObjectIdentifier = extension_oid("1.2.840.113549.1.9.14");

// Tags that CMS does not use.
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;

/// From when until when; whole seconds, both within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: Timestamp,
    /// The last.
    pub until: Timestamp,
}

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number, the contents of the INTEGER.
    pub serial: Vec<u8>,
    /// When.
    pub at: Timestamp,
}

/// A revocation list as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Who is on it.
    pub revoked: Vec<Revoked>,
    /// When it was issued.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Option<Timestamp>,
    /// Its number, 0 where it has none.
    pub number: u32,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// DER of the public key, whose secret part signed the request.
    pub spki: Vec<u8>,
    /// The subject alternative name that it asks for, as it came.
    asked: Option<Vec<u8>>,
}

/// An authority that can issue.
#[derive(Clone, Debug)]
pub struct Authority {
    certificate: Certificate,
    key: Arc<dyn Signing>,
}

/// A serial number from 128 random bits: positive, and with as many octets whatever they are (RFC 5280 §4.1.2.2).
pub fn serial(entropy: [u8; 16]) -> Vec<u8> {
    let mut octets = entropy.to_vec();
    octets[0] = (octets[0] & 0x7f) | 0x40;
    octets
}

impl Authority {
    /// Makes a root for one domain.
    pub fn create(
        domain: &Domain,
        name: &str,
        key: impl Into<Arc<dyn Signing>>,
        validity: Validity,
        serial: &[u8],
    ) -> Result<Self, Fault> {
        let key = key.into();
        let subject = common_name(name)?;
        let usage = [0x06]; // keyCertSign, cRLSign
        let permitted = der::sequence(&[&der::element(ber::context_primitive(1), &[domain.as_str().as_bytes()])]);
        let extensions = [
            extension(BASIC_CONSTRAINTS, true, &der::sequence(&[&boolean(true), &der::integer(0)])),
            extension(oid::KEY_USAGE, true, &bits(&usage)),
            extension(NAME_CONSTRAINTS, true, &der::sequence(&[&der::element(ber::context(0), &[&permitted])])),
            extension(oid::SUBJECT_KEY_IDENTIFIER, false, &der::octet_string(&key_identifier(key.spki()))),
        ];
        let contents = Contents { serial, issuer: &subject, validity, subject: &subject, spki: key.spki() };
        let certificate = contents.signed(&extensions, &*key)?;
        Ok(Authority { certificate, key })
    }

    /// From what is on the disk; fails where the key is another's.
    pub fn open(certificate: Certificate, key: impl Into<Arc<dyn Signing>>) -> Result<Self, Fault> {
        let key = key.into();
        let (own, named) = (PublicKey::from_spki(key.spki())?, certificate.public_key()?);
        if own.kind != named.kind || own.octets != named.octets {
            return Err(Fault::Key("it is not that of the authority's certificate"));
        }
        Ok(Authority { certificate, key })
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key as PEM, encrypted with the pass phrase; one in a token stays there.
    pub fn key_pem(&self, pass_phrase: &str) -> Result<Zeroizing<String>, Fault> {
        self.key.encrypted_pem(pass_phrase)
    }

    /// Issues a certificate for an address of `domain`, which is the authority's. `spki` is the DER of the public key.
    pub fn issue(
        &self,
        domain: &Domain,
        address: &Mailbox,
        spki: &[u8],
        validity: Validity,
        serial: &[u8],
    ) -> Result<Certificate, Fault> {
        if address.domain() != domain {
            return Err(Fault::Certificate("this authority speaks for addresses of its own domain only"));
        }
        let validity = Validity { from: validity.from, until: validity.until.min(self.certificate.not_after()) };
        let kind = PublicKey::from_spki(spki)?.kind;
        let usage = match kind {
            KeyKind::Rsa => 0x80 | 0x20,
            KeyKind::P256 | KeyKind::P384 => 0x80 | 0x08,
            KeyKind::Ed25519 => 0x80,
            KeyKind::X25519 => 0x08,
        };
        let above = self.key_identifier();
        let subject = common_name(&address.to_string())?;
        let extensions = [
            extension(BASIC_CONSTRAINTS, true, &der::sequence(&[])),
            extension(oid::KEY_USAGE, true, &bits(&[usage])),
            extension(EXTENDED_KEY_USAGE, false, &der::sequence(&[&der::oid(EMAIL_PROTECTION), &der::oid(IM_URI)])),
            // It must be obeyed where the subject is empty (RFC 5280 §4.2.1.6).
            extension(SUBJECT_ALT_NAME, subject == der::sequence(&[]), &names(address)),
            extension(oid::SUBJECT_KEY_IDENTIFIER, false, &der::octet_string(&key_identifier(spki))),
            extension(AUTHORITY_KEY_IDENTIFIER, false, &above),
        ];
        let contents = Contents { serial, issuer: self.certificate.subject(), validity, subject: &subject, spki };
        contents.signed(&extensions, &*self.key)
    }

    /// The value of the authority key identifier (RFC 5280 §4.2.1.1).
    fn key_identifier(&self) -> Vec<u8> {
        let own = self.certificate.key_identifier().map_or_else(|| key_identifier(self.key.spki()), <[u8]>::to_vec);
        der::sequence(&[&der::element(ber::context_primitive(0), &[&own])])
    }

    /// Issues a revocation list (RFC 5280 §5); `number` is greater than that of the list before.
    pub fn revocation_list(&self, revoked: &[Revoked], validity: Validity, number: u32) -> Result<Vec<u8>, Fault> {
        let entries: Vec<Vec<u8>> = revoked
            .iter()
            .map(|one| der::sequence(&[&der::element(ber::INTEGER, &[&one.serial]), &der::time(one.at)]))
            .collect();
        // An empty list of entries is left out.
        let entries = if entries.is_empty() { Vec::new() } else { der::sequence(&[&entries.concat()]) };
        let above = self.key_identifier();
        let extensions = der::sequence(&[
            &extension(AUTHORITY_KEY_IDENTIFIER, false, &above),
            &extension(CRL_NUMBER, false, &der::integer(number)),
        ]);
        signed(&*self.key, |algorithm| {
            der::sequence(&[
                &der::integer(1),
                algorithm,
                self.certificate.subject(),
                &der::time(validity.from),
                &der::time(validity.until),
                &entries,
                &der::element(ber::context(0), &[&extensions]),
            ])
        })
    }
}

impl RevocationList {
    /// Reads a list in DER or PEM. Its signature is not checked: this is for lists of one's own.
    pub fn read(octets: &[u8]) -> Result<Self, Fault> {
        let from_pem = match std::str::from_utf8(octets) {
            Ok(text) if text.contains("-----BEGIN") => pem::blocks(text)?.into_iter().next(),
            _ => None,
        };
        let octets = from_pem.as_ref().map_or(octets, |block| &block.der);
        let mut list = Reader::only(octets, ber::SEQUENCE)?.sequence()?;
        list.optional(ber::INTEGER)?;
        list.take(ber::SEQUENCE)?;
        list.take(ber::SEQUENCE)?;
        let this_update = list.next()?.time()?;
        let mut next = if list.is_empty() { None } else { Some(list.next()?) };
        let mut next_update = None;
        if let Some(time) = next.filter(|element| matches!(element.tag, ber::UTC_TIME | ber::GENERALIZED_TIME)) {
            next_update = Some(time.time()?);
            next = if list.is_empty() { None } else { Some(list.next()?) };
        }
        let mut revoked = Vec::new();
        if let Some(entries) = next.filter(|element| element.tag == ber::SEQUENCE) {
            let mut entries = entries.inside();
            while !entries.is_empty() {
                let mut entry = entries.sequence()?;
                let serial = entry.take(ber::INTEGER)?.contents.to_vec();
                revoked.push(Revoked { serial, at: entry.next()?.time()? });
            }
            next = if list.is_empty() { None } else { Some(list.next()?) };
        }
        let number = next.map_or(Ok(None), |extensions| crl_number(extensions.inside()))?.unwrap_or(0);
        Ok(RevocationList { revoked, this_update, next_update, number })
    }
}

fn crl_number(mut extensions: Reader<'_>) -> Result<Option<u32>, Fault> {
    let mut list = extensions.sequence()?;
    while !list.is_empty() {
        let mut extension = list.sequence()?;
        let name = extension.oid()?;
        extension.optional(ber::BOOLEAN)?;
        let value = extension.take(ber::OCTET_STRING)?.contents;
        if name == CRL_NUMBER {
            return Reader::new(value).small().map(Some);
        }
    }
    Ok(None)
}

/// A revocation list as PEM.
pub fn revocation_list_pem(list: &[u8]) -> String {
    pem::write("X509 CRL", list).to_string()
}

impl Request {
    /// Makes a request for an address, signed by the key that is to be certified (RFC 2986 §4); DER.
    pub fn make(key: &Key, address: &Mailbox) -> Result<Vec<u8>, Fault> {
        let subject = common_name(&address.to_string())?;
        let attributes = der::element(ber::context(0), &[]);
        let scheme = RsaScheme::Pkcs1;
        let info = der::sequence(&[&der::integer(0), &subject, key.spki(), &attributes]);
        let signature = key.sign(&info, scheme)?;
        Ok(der::sequence(&[&info, &signature.algorithm, &der::bit_string(&signature.value)]))
    }

    /// The DER of a request in PEM; DER stays as it is.
    pub fn der(octets: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
        let from_pem = match std::str::from_utf8(octets) {
            Ok(text) if text.contains("-----BEGIN") => {
                let mut blocks = pem::blocks(text)?.into_iter();
                blocks.find(|block| block.label.ends_with("CERTIFICATE REQUEST"))
            }
            _ => None,
        };
        Ok(from_pem.map_or(Cow::Borrowed(octets), |block| Cow::Owned(block.der.to_vec())))
    }

    /// Reads a request in DER or PEM, and checks that whoever made it has the key. Whom a certificate names is for the
    /// authority to say, whatever is asked for.
    pub fn read(octets: &[u8]) -> Result<Self, Fault> {
        let octets = &*Request::der(octets)?;
        if octets.len() > limits::CERTIFICATE_OCTETS {
            return Err(Fault::Certificate("the request is too large"));
        }
        let mut request = Reader::only(octets, ber::SEQUENCE)?;
        let info = request.take(ber::SEQUENCE)?;
        let algorithm = request.take(ber::SEQUENCE)?.raw;
        let value = request.take(ber::BIT_STRING)?.bits()?;
        let mut fields = info.inside();
        fields.take(ber::INTEGER)?;
        fields.take(ber::SEQUENCE)?;
        let spki = fields.take(ber::SEQUENCE)?.raw;
        let key = PublicKey::from_spki(spki)?;
        // Whoever makes others check larger ones makes them work.
        if key.kind == KeyKind::Rsa && spki.len() > limits::REQUESTED_SPKI_OCTETS {
            return Err(Fault::Key("it has more than 4096 bits; make a smaller one"));
        }
        check(&key, algorithm, info.raw, value)?;
        let asked = fields.optional(ber::context(0))?.map_or(Ok(None), |all| alternative_name(all.inside()))?;
        Ok(Request { spki: spki.to_vec(), asked })
    }

    /// The addresses that it asks for; none where it leaves them to the authority. Fails where it asks for what is none.
    pub fn names(&self) -> Result<Names, Fault> {
        self.asked.as_deref().map_or(Ok(Names::default()), Names::read)
    }
}

/// The subject alternative name among the extensions that are asked for (RFC 2985 §5.4.2).
fn alternative_name(mut attributes: Reader<'_>) -> Result<Option<Vec<u8>>, Fault> {
    while !attributes.is_empty() {
        let mut attribute = attributes.sequence()?;
        if attribute.oid()? != EXTENSION_REQUEST {
            continue;
        }
        let mut extensions = attribute.take(ber::SET)?.inside().sequence()?;
        while !extensions.is_empty() {
            let mut extension = extensions.sequence()?;
            let name = extension.oid()?;
            extension.optional(ber::BOOLEAN)?;
            let value = extension.take(ber::OCTET_STRING)?.contents;
            if name == SUBJECT_ALT_NAME {
                return Ok(Some(value.to_vec()));
            }
        }
    }
    Ok(None)
}

/// What a certificate says besides its extensions.
struct Contents<'a> {
    serial: &'a [u8],
    issuer: &'a [u8],
    validity: Validity,
    subject: &'a [u8],
    spki: &'a [u8],
}

impl Contents<'_> {
    fn signed(&self, extensions: &[Vec<u8>], key: &dyn Signing) -> Result<Certificate, Fault> {
        let octets = signed(key, |algorithm| {
            der::sequence(&[
                &der::element(ber::context(0), &[&der::integer(2)]),
                &der::element(ber::INTEGER, &[self.serial]),
                algorithm,
                self.issuer,
                &der::sequence(&[&der::time(self.validity.from), &der::time(self.validity.until)]),
                self.subject,
                self.spki,
                &der::element(ber::context(3), &[&der::sequence(&[&extensions.concat()])]),
            ])
        })?;
        Certificate::from_der(&octets)
    }
}

/// SIGNED of RFC 5280 §4.1.1: what `contents` makes, knowing the algorithm that it must name.
fn signed(key: &dyn Signing, contents: impl Fn(&[u8]) -> Vec<u8>) -> Result<Vec<u8>, Fault> {
    // The algorithm depends on the kind of key only: a first signature tells it.
    let algorithm = key.sign(&[])?.algorithm;
    let contents = contents(&algorithm);
    let signature = key.sign(&contents)?;
    Ok(der::sequence(&[&contents, &signature.algorithm, &der::bit_string(&signature.value)]))
}

fn extension(name: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { boolean(true) } else { Vec::new() };
    der::sequence(&[&der::oid(name), &critical, &der::octet_string(value)])
}

fn boolean(value: bool) -> Vec<u8> {
    der::element(ber::BOOLEAN, &[&[if value { 0xff } else { 0 }]])
}

/// A named bit list in DER: without the bits that are zero at its end.
fn bits(octets: &[u8; 1]) -> Vec<u8> {
    let unused = octets[0].trailing_zeros().min(7) as u8;
    der::element(ber::BIT_STRING, &[&[unused], octets])
}

/// A name of one common name, PrintableString where its characters allow.
fn common_name(text: &str) -> Result<Vec<u8>, Fault> {
    if text.is_empty() || text.chars().count() > 64 {
        // ub-common-name (RFC 5280 §A.1); an address that is longer stands in the alternative name alone.
        return if text.contains('@') {
            Ok(der::sequence(&[]))
        } else {
            Err(Fault::Certificate("its name is too long"))
        };
    }
    let printable = text.bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b));
    let value = der::element(if printable { PRINTABLE_STRING } else { UTF8_STRING }, &[text.as_bytes()]);
    Ok(der::sequence(&[&der::set_of(vec![der::sequence(&[&der::oid(COMMON_NAME), &value])])]))
}

/// GeneralNames: the address, and its `im:` URI.
fn names(address: &Mailbox) -> Vec<u8> {
    let text = address.to_string();
    let mailbox = if address.is_ascii() {
        der::element(ber::context_primitive(1), &[text.as_bytes()])
    } else {
        let value = der::element(ber::context(0), &[&der::element(UTF8_STRING, &[text.as_bytes()])]);
        der::element(ber::context(0), &[&der::oid(super::trust::SMTP_UTF8_MAILBOX), &value])
    };
    let uri = im_uri(address);
    der::sequence(&[&mailbox, &der::element(ber::context_primitive(6), &[uri.as_bytes()])])
}

/// `im:` and the address, percent-encoded where a URI wants it (RFC 3986 §2.1, RFC 6068 §2).
fn im_uri(address: &Mailbox) -> String {
    let mut uri = String::from("im:");
    let text = address.to_string();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~@!$'*+".contains(&octet) {
            uri.push(char::from(octet));
        } else {
            uri.push_str(&format!("%{octet:02X}"));
        }
    }
    uri
}

/// RFC 5280 §4.2.1.2, by SHA-256 cut to 160 bits as RFC 7093 §2 has it.
fn key_identifier(spki: &[u8]) -> Vec<u8> {
    let key = PublicKey::from_spki(spki).map(|key| key.octets).unwrap_or(spki);
    digest::digest(&digest::SHA256, key).as_ref()[..20].to_vec()
}

#[cfg(test)]
mod tests;
