//! Encrypting: a MIME entity goes in, an encrypted one comes out.
//!
//! In: an entity, the certificates of its recipients. Out: an entity of application/pkcs7-mime that begins with its
//! Content-Type field. Invariant: a content's key is made for it and wiped. Fails: a recipient whose certificate does
//! not serve; then nothing is encrypted for anybody. RFC 5652 §6, RFC 5083 §2, RFC 5084, RFC 5753 §3.1, RFC 8551 §3.3.

use aws_lc_rs::agreement::{self, PrivateKey};

use super::agreement::Agreement;
use super::content::{Sealed, random, seal};
use super::{Certificate, Cipher, Fault, KeyKind, PublicKey, ber, der, layer, oid, transport};
use crate::limits;

/// How a content's key is encrypted to an RSA key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyTransport {
    /// OAEP with SHA-256.
    #[default]
    Oaep,
    /// PKCS#1 v1.5, for readers that know nothing else.
    Pkcs1,
}

/// How to encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptOptions {
    /// How the content is encrypted.
    pub cipher: Cipher,
    /// How its key is encrypted to RSA keys.
    pub transport: KeyTransport,
}

/// Encrypts `part`, a MIME entity, to everybody whose certificate is given; the sender's own should be among them.
pub fn encrypt(part: &[u8], recipients: &[Certificate], options: &EncryptOptions) -> Result<Vec<u8>, Fault> {
    if recipients.is_empty() {
        return Err(Fault::Certificate("there is no recipient"));
    }
    if recipients.len() > limits::CMS_RECIPIENTS {
        return Err(Fault::TooMany("recipients"));
    }
    let whole = random::<32>()?;
    let key = &whole[..options.cipher.key_octets()];
    let each = recipients.iter().map(|certificate| recipient(certificate, key, options));
    let infos = each.collect::<Result<Vec<_>, _>>()?;
    let agreed = infos.iter().any(|info| info.first() == Some(&ber::context(1)));
    let Sealed { algorithm, octets, tag } = seal(options.cipher, key, part)?;
    let content = der::element(ber::context_primitive(0), &[&octets]);
    let content = der::sequence(&[&der::oid(oid::DATA), &algorithm, &content]);
    let infos = der::set_of(infos);
    let (name, kind, data) = if options.cipher.is_authenticated() {
        let data = der::sequence(&[&der::integer(0), &infos, &content, &der::octet_string(&tag)]);
        (oid::AUTH_ENVELOPED_DATA, "authEnveloped-data", data)
    } else {
        // Version 2 where anybody's key is agreed on (RFC 5652 §6.1).
        let data = der::sequence(&[&der::integer(if agreed { 2 } else { 0 }), &infos, &content]);
        (oid::ENVELOPED_DATA, "enveloped-data", data)
    };
    let cms = der::sequence(&[&der::oid(name), &der::element(ber::context(0), &[&data])]);
    Ok(layer::opaque(kind, &cms))
}

/// A RecipientInfo.
fn recipient(certificate: &Certificate, key: &[u8], options: &EncryptOptions) -> Result<Vec<u8>, Fault> {
    if !certificate.may_encrypt() {
        return Err(Fault::Certificate("its key usage, or the kind of its key, does not allow to encrypt to it"));
    }
    let public = certificate.public_key()?;
    let names = der::sequence(&[certificate.issuer(), &der::element(ber::INTEGER, &[certificate.serial()])]);
    if public.kind == KeyKind::Rsa {
        let spki = rsa_spki(&public);
        let encrypted = transport::encrypt(&spki, options.transport, key);
        let (algorithm, encrypted) = encrypted.ok_or(Fault::Certificate("its RSA key is not one"))?;
        return Ok(der::sequence(&[&der::integer(0), &names, &algorithm, &der::octet_string(&encrypted)]));
    }
    agreed(&public, &names, key)
}

/// For the library of primitives, which does not know keys for one scheme only.
fn rsa_spki(public: &PublicKey<'_>) -> Vec<u8> {
    der::sequence(&[&der::algorithm(oid::RSA, Some(&der::null())), &der::bit_string(public.octets)])
}

/// A KeyAgreeRecipientInfo, with a key of ours made for it.
fn agreed(public: &PublicKey<'_>, names: &[u8], key: &[u8]) -> Result<Vec<u8>, Fault> {
    let (algorithm, scheme, originator) = match public.kind {
        KeyKind::P384 => {
            (&agreement::ECDH_P384, oid::ECDH_SHA384, der::algorithm(oid::EC_PUBLIC_KEY, Some(&der::oid(oid::P384))))
        }
        KeyKind::X25519 => (&agreement::X25519, oid::ECDH_HKDF_SHA256, der::algorithm(oid::X25519, None)),
        _ => (&agreement::ECDH_P256, oid::ECDH_SHA256, der::algorithm(oid::EC_PUBLIC_KEY, Some(&der::oid(oid::P256)))),
    };
    let wrap = der::algorithm(if key.len() == 16 { oid::AES128_WRAP } else { oid::AES256_WRAP }, None);
    let own = PrivateKey::generate(algorithm).map_err(|_| Fault::Random)?;
    let own_public = own.compute_public_key().map_err(|_| Fault::Random)?;
    let wrapped = Agreement::new(scheme, &wrap, None)?.wrap(&own, public.octets, key);
    let wrapped = wrapped.ok_or(Fault::Certificate("its key is not a point of its curve"))?;
    let originator = der::element(ber::context(1), &[&originator, &der::bit_string(own_public.as_ref())]);
    Ok(der::element(
        ber::context(1),
        &[
            &der::integer(3),
            &der::element(ber::context(0), &[&originator]),
            &der::algorithm(scheme, Some(&wrap)),
            &der::sequence(&[&der::sequence(&[names, &der::octet_string(&wrapped)])]),
        ],
    ))
}
