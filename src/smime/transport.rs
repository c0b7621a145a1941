//! Key transport: a content's key encrypted to an RSA key.
//!
//! In: RSA keys, AlgorithmIdentifiers. Out: an encrypted key, or a decrypted one. Invariant: decrypting always gives a
//! key of the length asked for: where the padding is wrong, one that only the owner of the secret key could foretell,
//! so that nobody learns from the answer whether the padding was right. Fails: an algorithm that is not known, which
//! everybody can see. RFC 8017 §7, RFC 3218 §2.3, RFC 3560.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use zeroize::Zeroizing;

use super::asn1::{self, Algorithm, OaepParameters};
use super::scheme::{Digest, mask, mask_digest};
use super::{Fault, Key, KeyTransport, oid};

enum Padding {
    Oaep(&'static OaepAlgorithm),
    Pkcs1,
}

impl Padding {
    fn read(algorithm: &Algorithm) -> Result<Self, Fault> {
        match algorithm.oid {
            oid::RSA => Ok(Padding::Pkcs1),
            oid::RSA_OAEP => oaep(algorithm).map(Padding::Oaep),
            other => Err(Fault::algorithm(other)),
        }
    }
}

/// RSAES-OAEP-params: the same digest twice, no label; SHA-1 where nothing is said, which is no weakness here.
fn oaep(algorithm: &Algorithm) -> Result<&'static OaepAlgorithm, Fault> {
    let different = || Fault::Unsupported("RSA-OAEP with two different digests, or a label".to_owned());
    if algorithm.parameters.is_none() {
        return Ok(&OAEP_SHA1_MGF1SHA1);
    }
    let OaepParameters { digest, mask, label } = asn1::parameters(algorithm)?;
    if label.is_some() {
        return Err(different());
    }
    let digest = match digest.map(|digest| Digest::named(digest.oid)) {
        None | Some(Err(Fault::Weak(_))) => None,
        Some(read) => Some(read?),
    };
    match (digest, mask) {
        (Some(digest), Some(mask)) => {
            mask_digest(&mask, digest)?;
            Ok(match digest {
                Digest::Sha256 => &OAEP_SHA256_MGF1SHA256,
                Digest::Sha384 => &OAEP_SHA384_MGF1SHA384,
                Digest::Sha512 => &OAEP_SHA512_MGF1SHA512,
            })
        }
        (None, None) => Ok(&OAEP_SHA1_MGF1SHA1),
        _ => Err(different()),
    }
}

/// Encrypts a content's key to an RSA key; gives the AlgorithmIdentifier too.
pub(super) fn encrypt(spki: &[u8], how: KeyTransport, key: &[u8]) -> Option<(Algorithm, Vec<u8>)> {
    let public = PublicEncryptingKey::from_der(spki).ok()?;
    let mut out = vec![0; public.key_size_bytes()];
    match how {
        KeyTransport::Oaep => {
            let public = OaepPublicEncryptingKey::new(public).ok()?;
            public.encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut out, None).ok()?;
            let digest = asn1::with_null(oid::SHA256);
            let mask = mask(&digest).ok()?;
            let parameters = OaepParameters { digest: Some(digest), mask: Some(mask), label: None };
            Some((asn1::with(oid::RSA_OAEP, &parameters).ok()?, out))
        }
        KeyTransport::Pkcs1 => {
            Pkcs1PublicEncryptingKey::new(public).ok()?.encrypt(key, &mut out).ok()?;
            Some((asn1::with_null(oid::RSA), out))
        }
    }
}

/// Decrypts a content's key of that many octets.
pub(super) fn decrypt(
    key: &Key,
    algorithm: &Algorithm,
    encrypted: &[u8],
    octets: usize,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let padding = Padding::read(algorithm)?;
    let mut chosen = substitute(key, encrypted, octets);
    let mut clear = Zeroizing::new(vec![0; 1024.max(encrypted.len())]);
    let length = key.transport().and_then(|secret| decrypted(secret, &padding, encrypted, &mut clear));
    // Taken without a branch: a wrong key fails where a wrong content does.
    let right = 0u8.wrapping_sub(u8::from(length == Some(octets)));
    for (to, from) in chosen.iter_mut().zip(clear.iter()) {
        *to = (*from & right) | (*to & !right);
    }
    Ok(chosen)
}

fn decrypted(secret: PrivateDecryptingKey, padding: &Padding, encrypted: &[u8], clear: &mut [u8]) -> Option<usize> {
    match padding {
        Padding::Oaep(algorithm) => {
            let secret = OaepPrivateDecryptingKey::new(secret).ok()?;
            secret.decrypt(algorithm, encrypted, clear, None).ok().map(|clear| clear.len())
        }
        Padding::Pkcs1 => {
            let secret = Pkcs1PrivateDecryptingKey::new(secret).ok()?;
            secret.decrypt(encrypted, clear).ok().map(|clear| clear.len())
        }
    }
}

/// The key that stands in for one that cannot be decrypted: the same each time for the same octets.
fn substitute(key: &Key, encrypted: &[u8], octets: usize) -> Zeroizing<Vec<u8>> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key.pkcs8()), encrypted);
    Zeroizing::new(tag.as_ref()[..octets.min(tag.as_ref().len())].to_vec())
}
