//! The structures that `cms` has no types for: parameters of algorithms, attributes of S/MIME, keys at rest.
//!
//! In: values. Out: types that the crate `der` encodes and reads, and identifiers of algorithms made of them.
//! Invariant: what is written is DER (RFC 5652 §10). Fails: as [`Fault`] says of the errors of `der`. RFC 4055,
//! RFC 5084 §3.2, RFC 5035 §3, RFC 5753 §7.2, RFC 8018 §6.2, RFC 5958 §2.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::asn1::{Any, BitStringRef, OctetString, OctetStringRef};
use der::{Choice, DateTime, DecodeValue, Encode, EncodeValue, EncodingRules, Sequence, Tagged};
pub(super) use x509_cert::spki::AlgorithmIdentifierOwned as Algorithm;
use x509_cert::spki::SubjectPublicKeyInfo;
use x509_cert::time::Time;

use super::Fault;
use crate::timestamp::Timestamp;

/// An algorithm without parameters.
pub(super) fn plain(name: ObjectIdentifier) -> Algorithm {
    Algorithm { oid: name, parameters: None }
}

/// An algorithm with the parameter NULL, as those of RSA have it.
pub(super) fn with_null(name: ObjectIdentifier) -> Algorithm {
    Algorithm { oid: name, parameters: Some(Any::null()) }
}

/// An algorithm with parameters.
pub(super) fn with<T: Tagged + EncodeValue>(name: ObjectIdentifier, parameters: &T) -> Result<Algorithm, Fault> {
    Ok(Algorithm { oid: name, parameters: Some(Any::encode_from(parameters)?) })
}

/// The parameters of an algorithm, as the type that they should be of.
pub(super) fn parameters<'a, T>(algorithm: &'a Algorithm) -> Result<T, Fault>
where
    T: Choice<'a> + DecodeValue<'a, Error = der::Error>,
{
    let parameters = algorithm.parameters.as_ref().ok_or(Fault::Syntax("an algorithm's parameters are missing"))?;
    Ok(parameters.decode_as_encoding(EncodingRules::Ber)?)
}

/// A Time: UTCTime through 2049, GeneralizedTime after (RFC 5652 §11.3).
pub(super) fn time(at: Timestamp) -> Result<Time, Fault> {
    Ok(DateTime::from_unix_duration(Duration::from_secs(at.secs().max(0).unsigned_abs()))?.into())
}

/// DER of a SubjectPublicKeyInfo.
pub(super) fn spki(algorithm: Algorithm, octets: &[u8]) -> Result<Vec<u8>, Fault> {
    let subject_public_key = BitStringRef::from_bytes(octets)?;
    Ok(SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der()?)
}

/// Of AES-GCM.
#[derive(Sequence)]
pub(super) struct GcmParameters {
    pub(super) nonce: OctetString,
    #[asn1(default = "gcm_tag")]
    pub(super) tag: u8,
}

fn gcm_tag() -> u8 {
    12
}

/// Of RSASSA-PSS; what is missing means SHA-1 and 20 octets.
#[derive(Sequence)]
pub(super) struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) digest: Option<Algorithm>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) mask: Option<Algorithm>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) salt: Option<u32>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) trailer: Option<u32>,
}

/// Of RSAES-OAEP; what is missing means SHA-1 and no label.
#[derive(Sequence)]
pub(super) struct OaepParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) digest: Option<Algorithm>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) mask: Option<Algorithm>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) label: Option<Algorithm>,
}

/// ECC-CMS-SharedInfo.
#[derive(Sequence)]
pub(super) struct SharedInfo {
    pub(super) wrap: Algorithm,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) material: Option<OctetString>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    pub(super) bits: OctetString,
}

/// SigningCertificateV2.
#[derive(Sequence)]
pub(super) struct SigningCertificate {
    pub(super) certificates: Vec<CertificateIdentifier>,
    pub(super) policies: Option<Any>,
}

/// ESSCertIDv2; SHA-256 where no digest is named.
#[derive(Sequence)]
pub(super) struct CertificateIdentifier {
    pub(super) digest: Option<Algorithm>,
    pub(super) value: OctetString,
    pub(super) names: Option<Any>,
}

/// PrivateKeyInfo; borrowed, so that no copy of the key is left.
#[derive(Sequence)]
pub(super) struct PrivateKeyInfo<'a> {
    pub(super) version: u8,
    pub(super) algorithm: Algorithm,
    pub(super) key: &'a OctetStringRef,
}

/// EncryptedPrivateKeyInfo.
#[derive(Sequence)]
pub(super) struct EncryptedKeyInfo {
    pub(super) algorithm: Algorithm,
    pub(super) key: OctetString,
}

/// Of PBES2.
#[derive(Sequence)]
pub(super) struct Pbes2Parameters {
    pub(super) derivation: Algorithm,
    pub(super) cipher: Algorithm,
}

/// Of PBKDF2; HMAC-SHA-1 where no function is named.
#[derive(Sequence)]
pub(super) struct Pbkdf2Parameters {
    pub(super) salt: OctetString,
    pub(super) rounds: u32,
    pub(super) key_octets: Option<u32>,
    pub(super) function: Option<Algorithm>,
}

/// Of the schemes of PKCS#12.
#[derive(Sequence)]
pub(super) struct PbeParameters {
    pub(super) salt: OctetString,
    pub(super) rounds: u32,
}
