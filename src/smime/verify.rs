//! Verifying: who signed, and that nothing was changed since.
//!
//! In: a signed layer, certificates known from elsewhere. Out: the [`Signer`]s whose signatures are right. Invariant:
//! this is arithmetic only: whether a certificate is to be believed, and was valid, is another question. One signature
//! that does not fit spoils the message; one that cannot be judged counts for nothing. Fails: nobody's signature is
//! right, or one is wrong. RFC 5652 §5.4 to §5.6 and §11, RFC 5035 §3, RFC 8419 §3.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cms::signed_data::SignedAttributes;
use const_oid::ObjectIdentifier;
use der::Decode;
use der::asn1::{Any, OctetString};
use x509_cert::time::Time;

use super::asn1::{Algorithm, SigningCertificate};
use super::ber::{self, Reader};
use super::scheme::Digest;
use super::signed_data::{SignedData, SignerInfo, elements};
use super::{Certificate, Cipher, Fault, Memory, Signed, oid};
use crate::limits;
use crate::timestamp::Timestamp;

/// Somebody whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The signer's certificate.
    pub certificate: Certificate,
    /// The other certificates in the message, as material for chains.
    pub others: Vec<Certificate>,
    /// The revocation lists in the message, the same for all of its signers.
    pub lists: Arc<[Vec<u8>]>,
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
    verify_with(signed, known, &Memory::default())
}

/// The same, with certificates that were read before.
pub fn verify_with(signed: &Signed<'_>, known: &[Certificate], memory: &Memory) -> Result<Vec<Signer>, Fault> {
    let data = SignedData::read(&signed.cms)?;
    if data.content_type != oid::DATA {
        return Err(Fault::algorithm(data.content_type));
    }
    if data.content.is_some() != (signed.form == super::Form::Opaque) {
        return Err(Fault::Syntax("the content stands beside the signature and inside it"));
    }
    let (certificates, lists) = (data.certificates(memory), Arc::from(data.lists()));
    let mut digests = Digests { content: &signed.content, known: Vec::new() };
    let mut found = Vec::new();
    let mut first = None;
    for info in data.signers()? {
        match signer(&info, &certificates, known, &mut digests) {
            Ok(signer) => found.push(Signer { lists: Arc::clone(&lists), ..signer }),
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
            // What was signed has the tag of a SET (RFC 5652 §5.4).
            let mut octets = attributes.raw.to_vec();
            octets[0] = ber::SET;
            let read = Attributes::read(&octets)?;
            if verify_slices_are_equal(&read.digest, digests.get(digest).as_ref()).is_err() {
                return Err(Fault::Altered("the content is not what was signed"));
            }
            (Cow::Owned(octets), read)
        }
        // Signed attributes of another message, shown as a content without any.
        None if digests.content.first() == Some(&ber::SET) => return Err(Fault::Attribute("message digest")),
        None => (Cow::Borrowed(digests.content), Attributes::default()),
    };
    let mut outcome = Err(Fault::NoCertificate);
    for certificate in info.means(sent.iter().chain(known))? {
        if attributes.certificate.as_ref().is_some_and(|bound| !bound.means(certificate)) {
            outcome = Err(Fault::Altered("the certificate is not the one that the signer named"));
            continue;
        }
        outcome = certificate.check(&info.algorithm, digest, &signed, info.signature);
        if outcome.is_ok() {
            let others = sent.iter().filter(|other| *other != certificate).cloned().collect();
            return Ok(Signer {
                certificate: certificate.clone(),
                others,
                lists: Arc::default(),
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
    /// Reads the attributes from the very octets that were signed; those that prove something stand there once, with
    /// one value.
    fn read(octets: &[u8]) -> Result<Self, Fault> {
        elements(Reader::only(octets, ber::SET)?, limits::CMS_ATTRIBUTES, "signed attributes")?;
        let list = SignedAttributes::from_der(octets)?;
        let one = |name, what| single(&list, name, what);
        let kind = one(oid::CONTENT_TYPE, "content type")?.ok_or(Fault::Attribute("content type"))?;
        if kind.decode_as::<ObjectIdentifier>() != Ok(oid::DATA) {
            return Err(Fault::Altered("the signed content type is another"));
        }
        let digest = one(oid::MESSAGE_DIGEST, "message digest")?.ok_or(Fault::Attribute("message digest"))?;
        let digest: OctetString = digest.decode_as().map_err(|_| Fault::Attribute("message digest"))?;
        let time = one(oid::SIGNING_TIME, "signing time")?.map(Any::decode_as::<Time>).transpose()?;
        let certificate = one(oid::SIGNING_CERTIFICATE_V2, "signing certificate")?.map(bound).transpose()?;
        let capabilities = one(oid::CAPABILITIES, "S/MIME capabilities")?;
        let ciphers = capabilities.and_then(|value| value.decode_as::<Vec<Algorithm>>().ok()).unwrap_or_default();
        let ciphers = ciphers.iter().take(limits::CMS_ATTRIBUTES).filter_map(|one| Cipher::named(one.oid)).collect();
        let time = time.map(|time| Timestamp::from(time.to_system_time()));
        Ok(Attributes { digest: digest.into_bytes().into_vec(), time, certificate, ciphers })
    }
}

/// The one value of the attribute of that name, if it is there.
fn single<'a>(
    list: &'a SignedAttributes,
    name: ObjectIdentifier,
    what: &'static str,
) -> Result<Option<&'a Any>, Fault> {
    let mut found = list.iter().filter(|attribute| attribute.oid == name);
    match (found.next().map(|attribute| attribute.values.as_slice()), found.next()) {
        (None, _) => Ok(None),
        (Some([value]), None) => Ok(Some(value)),
        _ => Err(Fault::Attribute(what)),
    }
}

/// The first ESSCertIDv2 of a SigningCertificateV2, which is the signer's (RFC 5035 §3).
fn bound(value: &Any) -> Result<Bound, Fault> {
    let own = value.decode_as::<SigningCertificate>()?.certificates.into_iter().next();
    let own = own.ok_or(Fault::Attribute("signing certificate"))?;
    let digest = own.digest.map_or(Ok(Digest::Sha256), |algorithm| Digest::named(algorithm.oid))?;
    Ok(Bound { digest, value: own.value.into_bytes().into_vec() })
}
