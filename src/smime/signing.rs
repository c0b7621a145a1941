//! Who signs for an authority: a key in memory, or one that never leaves its token.
//!
//! In: octets. Out: a signature with its algorithm. For keys that others hold: the structures around what they give.
//! Fails: [`Fault`]. RFC 5480 §2, RFC 3279 §2.2.3.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::ber;
use super::{Fault, Key, PublicKey, RsaScheme, Signature, asn1, der, oid};

/// The octets of a coordinate on P-256.
const COORDINATE: usize = 32;

/// A key that signs.
pub trait Signing: std::fmt::Debug + Send + Sync {
    /// DER of its SubjectPublicKeyInfo.
    fn spki(&self) -> &[u8];

    /// Signs octets.
    fn sign(&self, message: &[u8]) -> Result<Signature, Fault>;

    /// The secret key as PEM, encrypted with the pass phrase; fails where it stays in its token.
    fn encrypted_pem(&self, pass_phrase: &str) -> Result<Zeroizing<String>, Fault>;
}

impl Signing for Key {
    fn spki(&self) -> &[u8] {
        Key::spki(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, Fault> {
        Key::sign(self, message, RsaScheme::Pkcs1)
    }

    fn encrypted_pem(&self, pass_phrase: &str) -> Result<Zeroizing<String>, Fault> {
        self.to_encrypted_pem(pass_phrase)
    }
}

impl From<Key> for Arc<dyn Signing> {
    fn from(key: Key) -> Self {
        Arc::new(key)
    }
}

/// The SubjectPublicKeyInfo of a point on P-256, which is given bare or within an OCTET STRING.
pub fn p256_spki(point: &[u8]) -> Result<Vec<u8>, Fault> {
    let bare = match ber::Reader::only(point, ber::OCTET_STRING) {
        Ok(_) => ber::Reader::new(point).take(ber::OCTET_STRING)?.contents,
        Err(_) => point,
    };
    if bare.len() != 1 + 2 * COORDINATE || bare[0] != 4 {
        return Err(Fault::Key("it is not a point on P-256, uncompressed"));
    }
    let spki = asn1::spki(asn1::with(oid::EC_PUBLIC_KEY, &oid::P256)?, bare)?;
    PublicKey::from_spki(&spki)?;
    Ok(spki)
}

/// A signature of a key on P-256 over a SHA-256 digest, from its two numbers as tokens write them: 32 octets each.
pub fn p256_signature(numbers: &[u8]) -> Result<Signature, Fault> {
    if numbers.len() != 2 * COORDINATE {
        return Err(Fault::Key("its token makes signatures of another form"));
    }
    let number = |octets: &[u8]| {
        let start = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1);
        let sign: &[u8] = if octets[start] & 0x80 != 0 { &[0] } else { &[] };
        der::element(ber::INTEGER, &[sign, &octets[start..]])
    };
    let (r, s) = numbers.split_at(COORDINATE);
    let algorithm = der::sequence(&[&der::oid(oid::SHA256_ECDSA)]);
    Ok(Signature { algorithm, value: der::sequence(&[&number(r), &number(s)]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smime::KeyKind;

    #[test]
    fn a_point_bare_or_not() {
        let key = Key::generate(KeyKind::P256).unwrap();
        let point = PublicKey::from_spki(Key::spki(&key)).unwrap().octets.to_vec();
        assert_eq!(p256_spki(&point).unwrap(), Key::spki(&key));
        assert_eq!(p256_spki(&der::octet_string(&point)).unwrap(), Key::spki(&key));
        assert!(p256_spki(&point[..40]).is_err() && p256_spki(b"").is_err());
    }

    #[test]
    fn numbers_are_shortest() {
        let mut numbers = [0; 64];
        (numbers[31], numbers[32]) = (0x7f, 0x80);
        let value = p256_signature(&numbers).unwrap().value;
        assert_eq!(value[..7], [0x30, 0x26, 0x02, 0x01, 0x7f, 0x02, 0x21]);
        assert_eq!(value[7..9], [0, 0x80]);
        assert_eq!(p256_signature(&[0; 64]).unwrap().value, [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert!(p256_signature(&[0; 63]).is_err());
    }
}
