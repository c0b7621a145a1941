//! Encrypting: a MIME entity goes in, an encrypted one comes out.
//!
//! In: an entity, the certificates of its recipients. Out: an entity of application/pkcs7-mime that begins with its
//! Content-Type field. Invariant: a content's key is made for it and wiped. Fails: a recipient whose certificate does
//! not serve; then nothing is encrypted for anybody. RFC 5652 §6, RFC 5083 §2, RFC 5084, RFC 5753 §3.1, RFC 8551 §3.3.

use aws_lc_rs::agreement::{self, PrivateKey};
use cms::authenveloped_data::AuthEnvelopedData;
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::enveloped_data::{
    EncryptedContentInfo, EnvelopedData, KeyAgreeRecipientIdentifier, KeyAgreeRecipientInfo, KeyTransRecipientInfo,
    OriginatorIdentifierOrKey, OriginatorPublicKey, RecipientEncryptedKey, RecipientIdentifier, RecipientInfo,
    RecipientInfos,
};
use der::Encode;
use der::asn1::{Any, BitString, OctetString};

use super::agreement::Agreement;
use super::content::{Sealed, random, seal};
use super::{Certificate, Cipher, Fault, KeyKind, PublicKey, asn1, layer, oid, transport};
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

impl EncryptOptions {
    /// What all recipients read, by what each of them has said: [`Cipher::common`]. Who reads no authenticated encryption has
    /// S/MIME 3, where PKCS#1 v1.5 is the one transport of keys that every reader has (RFC 8551 §2.3).
    pub fn common<'a>(capabilities: impl IntoIterator<Item = &'a [Cipher]>) -> EncryptOptions {
        let cipher = Cipher::common(capabilities);
        let transport = if cipher.is_authenticated() { KeyTransport::Oaep } else { KeyTransport::Pkcs1 };
        EncryptOptions { cipher, transport }
    }
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
    let mut infos = each.collect::<Result<Vec<_>, _>>()?;
    // Version 2 where anybody's key is agreed on (RFC 5652 §6.1).
    let agreed = infos.iter().any(|info| matches!(info, RecipientInfo::Kari(_)));
    // In the order of a SET OF, which comparing structures would find more slowly.
    infos.sort_by_cached_key(|info| info.to_der().ok());
    let infos = RecipientInfos::try_from(infos)?;
    let Sealed { algorithm, octets, tag } = seal(options.cipher, key, part)?;
    let content = EncryptedContentInfo {
        content_type: oid::DATA,
        content_enc_alg: algorithm,
        encrypted_content: Some(OctetString::new(octets)?),
    };
    let (name, kind, data) = if options.cipher.is_authenticated() {
        (oid::AUTH_ENVELOPED_DATA, "authEnveloped-data", authenticated(infos, content, tag)?)
    } else {
        let version = if agreed { CmsVersion::V2 } else { CmsVersion::V0 };
        (oid::ENVELOPED_DATA, "enveloped-data", enveloped(version, infos, content)?)
    };
    Ok(layer::opaque(kind, &ContentInfo { content_type: name, content: data }.to_der()?))
}

fn enveloped(version: CmsVersion, infos: RecipientInfos, content: EncryptedContentInfo) -> Result<Any, Fault> {
    Ok(Any::encode_from(&EnvelopedData {
        version,
        originator_info: None,
        recip_infos: infos,
        encrypted_content: content,
        unprotected_attrs: None,
    })?)
}

fn authenticated(infos: RecipientInfos, content: EncryptedContentInfo, tag: Vec<u8>) -> Result<Any, Fault> {
    Ok(Any::encode_from(&AuthEnvelopedData {
        version: CmsVersion::V0,
        originator_info: None,
        recip_infos: infos,
        auth_encrypted_content_info: content,
        auth_attrs: None,
        mac: OctetString::new(tag)?,
        unauth_attrs: None,
    })?)
}

fn recipient(certificate: &Certificate, key: &[u8], options: &EncryptOptions) -> Result<RecipientInfo, Fault> {
    if !certificate.may_encrypt() {
        return Err(Fault::Certificate("its key usage, or the kind of its key, does not allow to encrypt to it"));
    }
    let public = certificate.public_key()?;
    if public.kind != KeyKind::Rsa {
        return agreed(&public, certificate.names()?, key);
    }
    // For the library of primitives, which does not know keys for one scheme only.
    let spki = asn1::spki(asn1::with_null(oid::RSA), public.octets)?;
    let encrypted = transport::encrypt(&spki, options.transport, key);
    let (algorithm, encrypted) = encrypted.ok_or(Fault::Certificate("its RSA key is not one"))?;
    Ok(RecipientInfo::Ktri(KeyTransRecipientInfo {
        version: CmsVersion::V0,
        rid: RecipientIdentifier::IssuerAndSerialNumber(certificate.names()?),
        key_enc_alg: algorithm,
        enc_key: OctetString::new(encrypted)?,
    }))
}

/// For a key on a curve, with a key of ours made for it.
fn agreed(public: &PublicKey<'_>, names: IssuerAndSerialNumber, key: &[u8]) -> Result<RecipientInfo, Fault> {
    let (curve, scheme, originator) = match public.kind {
        KeyKind::P384 => (&agreement::ECDH_P384, oid::ECDH_SHA384, asn1::with(oid::EC_PUBLIC_KEY, &oid::P384)?),
        KeyKind::X25519 => (&agreement::X25519, oid::ECDH_HKDF_SHA256, asn1::plain(oid::X25519)),
        _ => (&agreement::ECDH_P256, oid::ECDH_SHA256, asn1::with(oid::EC_PUBLIC_KEY, &oid::P256)?),
    };
    let wrap = asn1::plain(if key.len() == 16 { oid::AES128_WRAP } else { oid::AES256_WRAP });
    let own = PrivateKey::generate(curve).map_err(|_| Fault::Random)?;
    let own_public = own.compute_public_key().map_err(|_| Fault::Random)?;
    let wrapped = Agreement::new(scheme, &wrap, None)?.wrap(&own, public.octets, key);
    let wrapped = wrapped.ok_or(Fault::Certificate("its key is not a point of its curve"))?;
    Ok(RecipientInfo::Kari(KeyAgreeRecipientInfo {
        version: CmsVersion::V3,
        originator: OriginatorIdentifierOrKey::OriginatorKey(OriginatorPublicKey {
            algorithm: originator,
            public_key: BitString::from_bytes(own_public.as_ref())?,
        }),
        ukm: None,
        key_enc_alg: asn1::with(scheme, &wrap)?,
        recipient_enc_keys: vec![RecipientEncryptedKey {
            rid: KeyAgreeRecipientIdentifier::IssuerAndSerialNumber(names),
            enc_key: OctetString::new(wrapped)?,
        }],
    }))
}
