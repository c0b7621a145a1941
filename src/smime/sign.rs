//! Signing: a MIME entity goes in, a signed one comes out.
//!
//! In: an entity, an identity, the time. Out: an entity that begins with its Content-Type field; the caller puts the
//! outer header before it. Invariant: what comes out is of lines of at most 998 octets with CRLF, its bodies 7-bit.
//! Fails: an entity that would not survive a hop as it is. RFC 8551 §3.5, RFC 5652 §5, RFC 5035 §3.

use aws_lc_rs::rand;
use const_oid::ObjectIdentifier;

use super::scheme::Digest;
use super::{Certificate, Cipher, Fault, Identity, KeyKind, RsaScheme, ber, der, layer, oid};
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

/// A ContentInfo of SignedData with one signer.
fn signed_data(
    part: &[u8],
    content: Option<&[u8]>,
    digest: Digest,
    identity: &Identity,
    options: &SignOptions,
) -> Result<Vec<u8>, Fault> {
    let own = identity.certificate();
    let attributes = der::in_order(vec![
        attribute(oid::CONTENT_TYPE, &der::oid(oid::DATA)),
        attribute(oid::MESSAGE_DIGEST, &der::octet_string(digest.of(part).as_ref())),
        attribute(oid::SIGNING_TIME, &der::time(options.at)),
        attribute(oid::SIGNING_CERTIFICATE_V2, &signing_certificate(own)),
        attribute(oid::CAPABILITIES, &capabilities()),
    ]);
    // What is signed has the tag of a SET, what is sent the implicit one (RFC 5652 §5.4).
    let signature = identity.key().sign(&der::element(ber::SET, &[&attributes]), options.rsa)?;
    let digest = digest.identifier();
    let signer = der::sequence(&[
        &der::integer(1),
        &der::sequence(&[own.issuer(), &der::element(ber::INTEGER, &[own.serial()])]),
        &digest,
        &der::element(ber::context(0), &[&attributes]),
        &signature.algorithm,
        &der::octet_string(&signature.value),
    ]);
    let inside = content.map_or_else(Vec::new, |octets| der::element(ber::context(0), &[&der::octet_string(octets)]));
    // Whoever believes a root has it: it would only make each message longer.
    let sent = identity.chain().iter().enumerate().filter(|(at, one)| *at == 0 || one.issuer() != one.subject());
    let certificates = der::in_order(sent.map(|(_, certificate)| certificate.der().to_vec()).collect());
    let data = der::sequence(&[
        &der::integer(1),
        &der::set_of(vec![digest]),
        &der::sequence(&[&der::oid(oid::DATA), &inside]),
        &der::element(ber::context(0), &[&certificates]),
        &der::set_of(vec![signer]),
    ]);
    Ok(der::sequence(&[&der::oid(oid::SIGNED_DATA), &der::element(ber::context(0), &[&data])]))
}

pub(super) fn attribute(name: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(name), &der::element(ber::SET, &[value])])
}

/// SigningCertificateV2 with the SHA-256 of the certificate, which is the digest meant where none is named.
pub(super) fn signing_certificate(own: &Certificate) -> Vec<u8> {
    let certificate = der::sequence(&[&der::octet_string(&own.fingerprint())]);
    der::sequence(&[&der::sequence(&[&certificate])])
}

/// What the signer can decrypt, best first (RFC 8551 §2.5.2).
fn capabilities() -> Vec<u8> {
    let ciphers: Vec<u8> = Cipher::ALL.into_iter().flat_map(|cipher| der::algorithm(cipher.oid(), None)).collect();
    der::sequence(&[&ciphers])
}
