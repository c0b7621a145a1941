//! Key agreement: from two keys to the key that wraps a content's key.
//!
//! In: a secret key, the other side's public key, the algorithms. Out: a wrapped or unwrapped key. Invariant: a secret
//! that two keys share is used through a derivation only, and wiped. Fails: silently: the caller tells nobody why.
//! RFC 5753 §3.1 and §7.2, RFC 8418, RFC 3394.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap};
use aws_lc_rs::{digest, hkdf};
use const_oid::ObjectIdentifier;
use der::Encode;
use der::asn1::OctetString;
use zeroize::Zeroizing;

use super::asn1::{Algorithm, SharedInfo};
use super::{Fault, oid};

/// How the key that wraps is derived from the shared secret.
#[derive(Clone, Copy)]
enum Derivation {
    /// ANSI X9.63; SHA-1 is no weakness here, and what others still write.
    X963(&'static digest::Algorithm),
    Hkdf(hkdf::Algorithm),
}

impl Derivation {
    fn named(name: ObjectIdentifier) -> Result<Self, Fault> {
        Ok(match name {
            oid::ECDH_SHA1 => Derivation::X963(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            oid::ECDH_SHA256 => Derivation::X963(&digest::SHA256),
            oid::ECDH_SHA384 => Derivation::X963(&digest::SHA384),
            oid::ECDH_SHA512 => Derivation::X963(&digest::SHA512),
            oid::ECDH_HKDF_SHA256 => Derivation::Hkdf(hkdf::HKDF_SHA256),
            oid::ECDH_HKDF_SHA384 => Derivation::Hkdf(hkdf::HKDF_SHA384),
            oid::ECDH_HKDF_SHA512 => Derivation::Hkdf(hkdf::HKDF_SHA512),
            other => return Err(Fault::algorithm(other)),
        })
    }
}

/// How a content's key is agreed on: derivation, wrap, key material of the sender's.
pub(super) struct Agreement<'a> {
    derivation: Derivation,
    wrap: &'a Algorithm,
    /// Octets of the key that wraps.
    octets: usize,
    material: Option<&'a [u8]>,
}

impl<'a> Agreement<'a> {
    pub(super) fn new(name: ObjectIdentifier, wrap: &'a Algorithm, material: Option<&'a [u8]>) -> Result<Self, Fault> {
        let octets = match wrap.oid {
            oid::AES128_WRAP => 16,
            oid::AES256_WRAP => 32,
            other => return Err(Fault::algorithm(other)),
        };
        Ok(Agreement { derivation: Derivation::named(name)?, wrap, octets, material })
    }

    /// Wraps a content's key.
    pub(super) fn wrap(&self, own: &PrivateKey, other: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; key.len() + 8];
        self.wrapping_key(own, other)?.wrap(key, &mut out).ok()?;
        Some(out)
    }

    /// Unwraps a content's key.
    pub(super) fn unwrap(&self, own: &PrivateKey, other: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; wrapped.len().checked_sub(8)?]);
        self.wrapping_key(own, other)?.unwrap(wrapped, &mut out).ok()?;
        Some(out)
    }

    fn wrapping_key(&self, own: &PrivateKey, other: &[u8]) -> Option<AesKek> {
        let other = UnparsedPublicKey::new(own.algorithm(), other);
        let key = agree(own, other, (), |secret| self.derive(secret).ok_or(())).ok()?;
        AesKek::new(if self.octets == 16 { &AES_128 } else { &AES_256 }, &key).ok()
    }

    fn derive(&self, secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        // ECC-CMS-SharedInfo (RFC 5753 §7.2).
        let material = self.material.map(OctetString::new).transpose().ok()?;
        let bits = OctetString::new(u32::try_from(self.octets * 8).ok()?.to_be_bytes()).ok()?;
        let info = SharedInfo { wrap: self.wrap.clone(), material, bits }.to_der().ok()?;
        let mut key = Zeroizing::new(Vec::with_capacity(digest::MAX_OUTPUT_LEN * 2));
        match self.derivation {
            Derivation::X963(algorithm) => {
                for counter in 1u32.. {
                    let mut context = digest::Context::new(algorithm);
                    context.update(secret);
                    context.update(&counter.to_be_bytes());
                    context.update(&info);
                    key.extend_from_slice(context.finish().as_ref());
                    if key.len() >= self.octets {
                        break;
                    }
                }
                key.truncate(self.octets);
            }
            Derivation::Hkdf(algorithm) => {
                let salt = hkdf::Salt::new(algorithm, self.material.unwrap_or_default());
                key.resize(self.octets, 0);
                salt.extract(secret).expand(&[&info], Octets(self.octets)).ok()?.fill(&mut key).ok()?;
            }
        }
        Some(key)
    }
}

struct Octets(usize);

impl hkdf::KeyType for Octets {
    fn len(&self) -> usize {
        self.0
    }
}
