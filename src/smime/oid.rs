//! The object identifiers of CMS, PKCS#8 and PKCS#12 that are understood here.

use const_oid::ObjectIdentifier;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

// Contents (RFC 5652, RFC 5083).
pub(super) const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
pub(super) const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
pub(super) const ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.3");
pub(super) const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");
pub(super) const AUTH_ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.23");
pub(super) const COMPRESSED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.9");

// Attributes (RFC 5652 §11, RFC 5035, RFC 8551 §2.5).
pub(super) const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
pub(super) const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
pub(super) const SIGNING_TIME: ObjectIdentifier = oid("1.2.840.113549.1.9.5");
pub(super) const CAPABILITIES: ObjectIdentifier = oid("1.2.840.113549.1.9.15");
pub(super) const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");

// Digests.
pub(super) const MD5: ObjectIdentifier = oid("1.2.840.113549.2.5");
pub(super) const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");
pub(super) const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
pub(super) const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
pub(super) const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");

// Keys and signatures.
pub(super) const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
pub(super) const MD5_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.4");
pub(super) const SHA1_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.5");
pub(super) const RSA_OAEP: ObjectIdentifier = oid("1.2.840.113549.1.1.7");
pub(super) const MGF1: ObjectIdentifier = oid("1.2.840.113549.1.1.8");
pub(super) const RSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");
pub(super) const SHA256_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
pub(super) const SHA384_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
pub(super) const SHA512_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
pub(super) const EC_PUBLIC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");
pub(super) const P256: ObjectIdentifier = oid("1.2.840.10045.3.1.7");
pub(super) const P384: ObjectIdentifier = oid("1.3.132.0.34");
pub(super) const SHA1_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.1");
pub(super) const SHA256_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
pub(super) const SHA384_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
pub(super) const SHA512_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
pub(super) const ED25519: ObjectIdentifier = oid("1.3.101.112");
pub(super) const X25519: ObjectIdentifier = oid("1.3.101.110");

// Content encryption, key wrap, key agreement (RFC 3565, RFC 5084, RFC 5753, RFC 8418).
pub(super) const AES128_WRAP: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.5");
pub(super) const AES256_WRAP: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.45");
pub(super) const AES128_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.2");
pub(super) const AES128_GCM: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.6");
pub(super) const AES256_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.42");
pub(super) const AES256_GCM: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.46");
pub(super) const ECDH_SHA1: ObjectIdentifier = oid("1.3.133.16.840.63.0.2");
pub(super) const ECDH_SHA256: ObjectIdentifier = oid("1.3.132.1.11.1");
pub(super) const ECDH_SHA384: ObjectIdentifier = oid("1.3.132.1.11.2");
pub(super) const ECDH_SHA512: ObjectIdentifier = oid("1.3.132.1.11.3");
pub(super) const ECDH_HKDF_SHA256: ObjectIdentifier = oid("1.2.840.113549.1.9.16.3.19");
pub(super) const ECDH_HKDF_SHA384: ObjectIdentifier = oid("1.2.840.113549.1.9.16.3.20");
pub(super) const ECDH_HKDF_SHA512: ObjectIdentifier = oid("1.2.840.113549.1.9.16.3.21");

// Keys at rest (RFC 8018, RFC 7292).
pub(super) const PBES2: ObjectIdentifier = oid("1.2.840.113549.1.5.13");
pub(super) const PBKDF2: ObjectIdentifier = oid("1.2.840.113549.1.5.12");
pub(super) const HMAC_SHA1: ObjectIdentifier = oid("1.2.840.113549.2.7");
pub(super) const HMAC_SHA256: ObjectIdentifier = oid("1.2.840.113549.2.9");
pub(super) const HMAC_SHA384: ObjectIdentifier = oid("1.2.840.113549.2.10");
pub(super) const HMAC_SHA512: ObjectIdentifier = oid("1.2.840.113549.2.11");
pub(super) const PBE_TDES3: ObjectIdentifier = oid("1.2.840.113549.1.12.1.3");
pub(super) const PBE_TDES2: ObjectIdentifier = oid("1.2.840.113549.1.12.1.4");
pub(super) const PBE_RC2_128: ObjectIdentifier = oid("1.2.840.113549.1.12.1.5");
pub(super) const PBE_RC2_40: ObjectIdentifier = oid("1.2.840.113549.1.12.1.6");
pub(super) const KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.1");
pub(super) const SHROUDED_KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.2");
pub(super) const CERTIFICATE_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.3");
pub(super) const X509_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.22.1");

// Certificates (RFC 5280).
pub(super) const KEY_USAGE: ObjectIdentifier = oid("2.5.29.15");
pub(super) const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = oid("2.5.29.14");
