//! Verifying: who signed, and that nothing was changed since.
//!
//! In: a signed layer, certificates known from elsewhere. Out: the [`Signer`]s whose signatures are right. Invariant:
//! this is arithmetic only: whether a certificate is to be believed, and was valid, is another question. One signature
//! that does not fit spoils the message; one that cannot be judged counts for nothing. Fails: nobody's signature is
//! right, or one is wrong. RFC 5652 §5.4 to §5.6 and §11, RFC 5035 §3, RFC 8419 §3.

use std::borrow::Cow;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use const_oid::ObjectIdentifier;

use super::ber::{self, Element, Reader};
use super::scheme::{Digest, check_with};
use super::signed_data::{SignedData, SignerInfo, elements};
use super::{Certificate, Cipher, Fault, Signed, oid};
use crate::limits;
use crate::timestamp::Timestamp;

/// Certificates of the same name and number that are tried for one signer.
const NAMESAKES: usize = 3;

/// Somebody whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The signer's certificate.
    pub certificate: Certificate,
    /// The other certificates in the message, as material for chains.
    pub others: Vec<Certificate>,
    /// When it was signed, by the signer's word.
    pub signing_time: Option<Timestamp>,
    /// The signer's certificate is bound by the signature (signingCertificateV2).
    pub bound: bool,
    /// What the signer can decrypt, best first; empty where nothing is said.
    pub ciphers: Vec<Cipher>,
    /// SHA-256 of the signed content.
    pub content_digest: [u8; 32],
    /// SHA-256 of the signature's octets.
    pub signature_digest: [u8; 32],
}

/// Verifies every signature; `known` are certificates for signers whose certificate is not in the message.
pub fn verify(signed: &Signed<'_>, known: &[Certificate]) -> Result<Vec<Signer>, Fault> {
    let data = SignedData::read(&signed.cms)?;
    if data.content_type != oid::DATA {
        return Err(Fault::algorithm(data.content_type));
    }
    if data.content.is_some() != (signed.form == super::Form::Opaque) {
        return Err(Fault::Syntax("the content stands beside the signature and inside it"));
    }
    let certificates = data.certificates();
    let mut digests = Digests { content: &signed.content, known: Vec::new() };
    let mut found = Vec::new();
    let mut first = None;
    for info in data.signers()? {
        match signer(&info, &certificates, known, &mut digests) {
            Ok(signer) => found.push(signer),
            Err(fault @ Fault::Altered(_)) => return Err(fault),
            Err(fault) => _ = first.get_or_insert(fault),
        }
    }
    if found.is_empty() { Err(first.unwrap_or(Fault::NoSigner)) } else { Ok(found) }
}

/// The digests of the content, each made once.
struct Digests<'a> {
    content: &'a [u8],
    known: Vec<(Digest, aws_lc_rs::digest::Digest)>,
}

impl Digests<'_> {
    fn get(&mut self, digest: Digest) -> aws_lc_rs::digest::Digest {
        if let Some((_, value)) = self.known.iter().find(|(known, _)| *known == digest) {
            return *value;
        }
        let value = digest.of(self.content);
        self.known.push((digest, value));
        value
    }
}

fn signer(
    info: &SignerInfo<'_>,
    sent: &[Certificate],
    known: &[Certificate],
    digests: &mut Digests<'_>,
) -> Result<Signer, Fault> {
    let digest = info.digest.clone()?;
    let (signed, attributes): (Cow<'_, [u8]>, Attributes) = match &info.attributes {
        Some(attributes) => {
            let read = Attributes::read(attributes)?;
            if verify_slices_are_equal(&read.digest, digests.get(digest).as_ref()).is_err() {
                return Err(Fault::Altered("the content is not what was signed"));
            }
            // What was signed has the tag of a SET (RFC 5652 §5.4).
            let mut octets = attributes.raw.to_vec();
            octets[0] = ber::SET;
            (Cow::Owned(octets), read)
        }
        // Signed attributes of another message, shown as a content without any.
        None if digests.content.first() == Some(&ber::SET) => return Err(Fault::Attribute("message digest")),
        None => (Cow::Borrowed(digests.content), Attributes::default()),
    };
    let mut outcome = Err(Fault::NoCertificate);
    let named = sent.iter().chain(known).filter(|certificate| info.identifier.means(certificate));
    for certificate in named.take(NAMESAKES) {
        if attributes.certificate.as_ref().is_some_and(|bound| !bound.means(certificate)) {
            outcome = Err(Fault::Altered("the certificate is not the one that the signer named"));
            continue;
        }
        let key = certificate.public_key();
        outcome = key.and_then(|key| check_with(&key, info.algorithm, Some(digest), &signed, info.signature));
        if outcome.is_ok() {
            let others = sent.iter().filter(|other| *other != certificate).cloned().collect();
            return Ok(Signer {
                certificate: certificate.clone(),
                others,
                signing_time: attributes.time,
                bound: attributes.certificate.is_some(),
                ciphers: attributes.ciphers,
                content_digest: array(digests.get(Digest::Sha256)),
                signature_digest: array(Digest::Sha256.of(info.signature)),
            });
        }
    }
    Err(outcome.err().unwrap_or(Fault::NoCertificate))
}

fn array(digest: aws_lc_rs::digest::Digest) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(&digest.as_ref()[..32]);
    out
}

/// What the signed attributes say.
#[derive(Default)]
struct Attributes {
    digest: Vec<u8>,
    time: Option<Timestamp>,
    certificate: Option<Bound>,
    ciphers: Vec<Cipher>,
}

/// The certificate that a signingCertificateV2 names.
struct Bound {
    digest: Digest,
    value: Vec<u8>,
}

impl Bound {
    fn means(&self, certificate: &Certificate) -> bool {
        match self.digest {
            Digest::Sha256 => certificate.fingerprint()[..] == self.value,
            other => other.of(certificate.der()).as_ref() == self.value,
        }
    }
}

impl Attributes {
    /// Reads the attributes; those that prove something stand there once, with one value.
    fn read(element: &Element<'_>) -> Result<Self, Fault> {
        if !element.definite {
            return Err(Fault::Syntax("the signed attributes are not DER"));
        }
        let list = elements(element.inside(), limits::CMS_ATTRIBUTES, "signed attributes")?;
        let list = list.iter().map(attribute).collect::<Result<Vec<_>, _>>()?;
        let one = |name, what| single(&list, name, what);
        let kind = one(oid::CONTENT_TYPE, "content type")?.ok_or(Fault::Attribute("content type"))?;
        if kind.tag != ber::OID || kind.oid()? != oid::DATA {
            return Err(Fault::Altered("the signed content type is another"));
        }
        let digest = one(oid::MESSAGE_DIGEST, "message digest")?.ok_or(Fault::Attribute("message digest"))?;
        if digest.tag != ber::OCTET_STRING {
            return Err(Fault::Attribute("message digest"));
        }
        let time = one(oid::SIGNING_TIME, "signing time")?.map(|value| value.time()).transpose()?;
        let certificate = one(oid::SIGNING_CERTIFICATE_V2, "signing certificate")?;
        let certificate = certificate.map(|value| bound(&value)).transpose()?;
        let capabilities = one(oid::CAPABILITIES, "S/MIME capabilities")?;
        let ciphers = capabilities.map_or_else(Vec::new, |value| ciphers(&value).unwrap_or_default());
        Ok(Attributes { digest: digest.contents.to_vec(), time, certificate, ciphers })
    }
}

/// An Attribute: its name and its values.
fn attribute<'a>(element: &Element<'a>) -> Result<(ObjectIdentifier, Reader<'a>), Fault> {
    let mut reader = Reader::only(element.raw, ber::SEQUENCE)?;
    let name = reader.oid()?;
    let values = reader.take(ber::SET)?.inside();
    reader.end()?;
    Ok((name, values))
}

/// The one value of the attribute of that name, if it is there.
fn single<'a>(
    list: &[(ObjectIdentifier, Reader<'a>)],
    name: ObjectIdentifier,
    what: &'static str,
) -> Result<Option<Element<'a>>, Fault> {
    let mut found = list.iter().filter(|(own, _)| *own == name);
    let Some((_, values)) = found.next() else { return Ok(None) };
    let mut values = values.clone();
    let value = values.next().map_err(|_| Fault::Attribute(what))?;
    if found.next().is_some() || !values.is_empty() {
        return Err(Fault::Attribute(what));
    }
    Ok(Some(value))
}

/// The first ESSCertIDv2 of a SigningCertificateV2, which is the signer's (RFC 5035 §3).
fn bound(value: &Element<'_>) -> Result<Bound, Fault> {
    let mut certificate = Reader::only(value.raw, ber::SEQUENCE)?.sequence()?.sequence()?;
    let digest = match certificate.optional(ber::SEQUENCE)? {
        Some(algorithm) => Digest::named(algorithm.inside().oid()?)?,
        None => Digest::Sha256,
    };
    let value = certificate.take(ber::OCTET_STRING)?.contents.to_vec();
    Ok(Bound { digest, value })
}

fn ciphers(value: &Element<'_>) -> Result<Vec<Cipher>, Fault> {
    let list = elements(Reader::only(value.raw, ber::SEQUENCE)?, limits::CMS_ATTRIBUTES, "S/MIME capabilities")?;
    let names = list.iter().filter_map(|element| element.inside().oid().ok());
    Ok(names.filter_map(Cipher::named).collect())
}
