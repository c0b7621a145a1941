//! Signing: a MIME entity goes in, a signed one comes out.
//!
//! In: an entity, an identity, the time. Out: an entity that begins with its Content-Type field; the caller puts the
//! outer header before it. Invariant: what comes out is of lines of at most 998 octets with CRLF, its bodies 7-bit.
//! Fails: an entity that would not survive a hop as it is. RFC 8551 §3.5, RFC 5652 §5, RFC 5035 §3.

use aws_lc_rs::rand;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    DigestAlgorithmIdentifiers, EncapsulatedContentInfo, SignedAttributes, SignerIdentifier, SignerInfo, SignerInfos,
};
use const_oid::ObjectIdentifier;
use der::asn1::{Any, AnyRef, OctetString, OctetStringRef, SetOfVec};
use der::{Decode, Encode, EncodeValue, Sequence, Tag, Tagged};
use x509_cert::attr::Attribute;

use super::asn1::{self, Algorithm, CertificateIdentifier, SigningCertificate};
use super::scheme::Digest;
use super::{Certificate, Cipher, Fault, Identity, KeyKind, RsaScheme, layer, oid};
use crate::mime::seven_bit;
use crate::timestamp::Timestamp;

/// Where the signed content stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `multipart/signed`: readable by everybody.
    #[default]
    Detached,
    /// `application/pkcs7-mime`: safe from hops that change text.
    Opaque,
}

/// How to sign.
#[derive(Clone, Copy, Debug)]
pub struct SignOptions {
    /// The signing time.
    pub at: Timestamp,
    /// Where the signed content stands.
    pub form: Form,
    /// How an RSA key signs.
    pub rsa: RsaScheme,
}

impl SignOptions {
    /// Detached, and as most readers understand it.
    pub fn new(at: Timestamp) -> Self {
        SignOptions { at, form: Form::default(), rsa: RsaScheme::default() }
    }
}

/// Signs `part`, a MIME entity with the header fields that are to be protected.
pub fn sign(part: &[u8], identity: &Identity, options: &SignOptions) -> Result<Vec<u8>, Fault> {
    let part = seven_bit(part).map_err(Fault::NotClean)?;
    let digest = match identity.key().kind() {
        KeyKind::P384 => Digest::Sha384,
        KeyKind::Ed25519 => Digest::Sha512,
        _ => Digest::Sha256,
    };
    let content = (options.form == Form::Opaque).then_some(&*part);
    let cms = signed_data(&part, content, digest, identity, options)?;
    if options.form == Form::Opaque {
        return Ok(layer::opaque("signed-data", &cms));
    }
    let mut random = [0; 16];
    rand::fill(&mut random).map_err(|_| Fault::Random)?;
    let boundary: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut out = Vec::with_capacity(part.len() + cms.len() * 3 / 2 + 600);
    let head = format!(
        "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n micalg={}; boundary={boundary}\r\n\
         \r\n--{boundary}\r\n",
        digest.micalg()
    );
    let middle = format!(
        "\r\n--{boundary}\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=smime.p7s\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&part);
    out.extend_from_slice(middle.as_bytes());
    layer::base64_lines(&cms, &mut out);
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(out)
}

/// SignedData with certificates as they came: the type of `cms` wants them parsed and encodes them again.
#[derive(Sequence)]
struct SignedData<'a> {
    version: CmsVersion,
    digests: DigestAlgorithmIdentifiers,
    content: EncapsulatedContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true")]
    certificates: SetOfVec<AnyRef<'a>>,
    signers: SignerInfos,
}

/// A ContentInfo of SignedData with one signer.
fn signed_data(
    part: &[u8],
    content: Option<&[u8]>,
    digest: Digest,
    identity: &Identity,
    options: &SignOptions,
) -> Result<Vec<u8>, Fault> {
    let own = identity.certificate();
    let attributes = SignedAttributes::try_from(vec![
        attribute(oid::CONTENT_TYPE, &oid::DATA)?,
        attribute(oid::MESSAGE_DIGEST, &OctetStringRef::new(digest.of(part).as_ref())?)?,
        attribute(oid::SIGNING_TIME, &asn1::time(options.at)?)?,
        attribute(oid::SIGNING_CERTIFICATE_V2, &signing_certificate(own)?)?,
        // What the signer can decrypt, best first (RFC 8551 §2.5.2).
        attribute(oid::CAPABILITIES, &Cipher::ALL.map(|cipher| asn1::plain(cipher.oid())).to_vec())?,
    ])?;
    // What is signed has the tag of a SET, what is sent the implicit one (RFC 5652 §5.4).
    let signature = identity.key().sign(&attributes.to_der()?, options.rsa)?;
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(own.names()?),
        digest_alg: digest.identifier(),
        signed_attrs: Some(attributes),
        signature_algorithm: Algorithm::from_der(&signature.algorithm)?,
        signature: OctetString::new(signature.value)?,
        unsigned_attrs: None,
    };
    let content = content.map(|octets| Any::new(Tag::OctetString, octets)).transpose()?;
    // Whoever believes a root has it: it would only make each message longer.
    let sent = identity.chain().iter().enumerate().filter(|(at, one)| *at == 0 || one.issuer() != one.subject());
    let sent = sent.map(|(_, certificate)| AnyRef::from_der(certificate.der())).collect::<Result<Vec<_>, _>>()?;
    let data = SignedData {
        version: CmsVersion::V1,
        digests: vec![digest.identifier()].try_into()?,
        content: EncapsulatedContentInfo { econtent_type: oid::DATA, econtent: content },
        certificates: sent.try_into()?,
        signers: vec![signer].try_into()?,
    };
    Ok(ContentInfo { content_type: oid::SIGNED_DATA, content: Any::encode_from(&data)? }.to_der()?)
}

fn attribute<T: Tagged + EncodeValue>(name: ObjectIdentifier, value: &T) -> Result<Attribute, Fault> {
    Ok(Attribute { oid: name, values: vec![Any::encode_from(value)?].try_into()? })
}

/// SigningCertificateV2 with the SHA-256 of the certificate, which is the digest meant where none is named.
pub(super) fn signing_certificate(own: &Certificate) -> Result<SigningCertificate, Fault> {
    let value = OctetString::new(own.fingerprint())?;
    let certificates = vec![CertificateIdentifier { digest: None, value, names: None }];
    Ok(SigningCertificate { certificates, policies: None })
}
