//! Encryption of a content under its own key.
//!
//! In: octets, a key, a cipher. Out: octets. Invariant: each encryption makes its own nonce, for a key that is used
//! once. Fails: silently: the caller tells nobody why. RFC 5084 §3, RFC 3565 §4, RFC 5652 §6.3.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptingKey, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use der::asn1::OctetString;
use zeroize::Zeroizing;

use super::asn1::{self, Algorithm, GcmParameters};
use super::{Cipher, Fault};

/// Octets of a whole tag of GCM.
const TAG: usize = 16;

/// What comes of encrypting.
pub(super) struct Sealed {
    pub(super) algorithm: Algorithm,
    pub(super) octets: Vec<u8>,
    /// Of GCM, empty else.
    pub(super) tag: Vec<u8>,
}

/// The parameters of an AlgorithmIdentifier of content encryption.
pub(super) struct Parameters {
    pub(super) cipher: Cipher,
    nonce: OctetString,
    tag: usize,
}

/// Random octets, wiped.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Fault> {
    let mut octets = Zeroizing::new([0; N]);
    rand::fill(&mut *octets).map_err(|_| Fault::Random)?;
    Ok(octets)
}

fn gcm(cipher: Cipher, key: &[u8]) -> Option<LessSafeKey> {
    let algorithm = if cipher.key_octets() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
}

fn block(cipher: Cipher, key: &[u8]) -> Option<UnboundCipherKey> {
    UnboundCipherKey::new(if cipher.key_octets() == 16 { &AES_128 } else { &AES_256 }, key).ok()
}

/// Encrypts with a key of the cipher's length.
pub(super) fn seal(cipher: Cipher, key: &[u8], clear: &[u8]) -> Result<Sealed, Fault> {
    let mut octets = Vec::with_capacity(clear.len() + TAG);
    octets.extend_from_slice(clear);
    if cipher.is_authenticated() {
        let nonce = random::<NONCE_LEN>()?;
        let parameters = GcmParameters { nonce: OctetString::new(*nonce)?, tag: TAG as u8 };
        let key = gcm(cipher, key).ok_or(Fault::Random)?;
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut octets);
        let tag = tag.map_err(|_| Fault::Random)?.as_ref().to_vec();
        return Ok(Sealed { algorithm: asn1::with(cipher.oid(), &parameters)?, octets, tag });
    }
    let vector = random::<16>()?;
    let key = block(cipher, key).and_then(|key| PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()).ok_or(Fault::Random)?;
    let context = EncryptionContext::Iv128(FixedLength::from(*vector));
    key.less_safe_encrypt(&mut octets, context).map_err(|_| Fault::Random)?;
    let algorithm = asn1::with(cipher.oid(), &OctetString::new(*vector)?)?;
    Ok(Sealed { algorithm, octets, tag: Vec::new() })
}

impl Parameters {
    /// Reads an AlgorithmIdentifier.
    pub(super) fn read(algorithm: &Algorithm) -> Result<Self, Fault> {
        let cipher = Cipher::named(algorithm.oid).ok_or_else(|| Fault::algorithm(algorithm.oid))?;
        if !cipher.is_authenticated() {
            return Ok(Parameters { cipher, nonce: asn1::parameters(algorithm)?, tag: 0 });
        }
        let GcmParameters { nonce, tag } = asn1::parameters(algorithm)?;
        let tag = usize::from(tag);
        if nonce.as_bytes().len() != NONCE_LEN || !(12..=TAG).contains(&tag) {
            return Err(Fault::Unsupported("AES-GCM with a nonce or a tag of unusual length".to_owned()));
        }
        Ok(Parameters { cipher, nonce, tag })
    }

    /// Decrypts; `tag` and `beside`, which it covers, are for GCM.
    pub(super) fn unseal(&self, key: &[u8], octets: &[u8], tag: &[u8], beside: &[u8]) -> Option<Vec<u8>> {
        if self.cipher.is_authenticated() {
            return self.unseal_gcm(key, octets, tag, beside);
        }
        let context = DecryptionContext::Iv128(FixedLength::from(<[u8; 16]>::try_from(self.nonce.as_bytes()).ok()?));
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(block(self.cipher, key)?).ok()?;
        let mut buffer = octets.to_vec();
        let length = key.decrypt(&mut buffer, context).ok()?.len();
        buffer.truncate(length);
        Some(buffer)
    }

    fn unseal_gcm(&self, key: &[u8], octets: &[u8], tag: &[u8], beside: &[u8]) -> Option<Vec<u8>> {
        if tag.len() != self.tag {
            return None;
        }
        let nonce = <[u8; NONCE_LEN]>::try_from(self.nonce.as_bytes()).ok()?;
        let sealing = gcm(self.cipher, key)?;
        if tag.len() == TAG {
            let mut buffer = [octets, tag].concat();
            let aad = Aad::from(beside);
            let length = sealing.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut buffer).ok()?.len();
            buffer.truncate(length);
            return Some(buffer);
        }
        // The primitive takes whole tags only: GCM is CTR from 2 on (NIST SP 800-38D), and the tag is made again.
        let mut counter = [0; 16];
        counter[..NONCE_LEN].copy_from_slice(&nonce);
        counter[15] = 2;
        let mut buffer = octets.to_vec();
        let stream = DecryptingKey::ctr(block(self.cipher, key)?).ok()?;
        stream.decrypt(&mut buffer, DecryptionContext::Iv128(FixedLength::from(counter))).ok()?;
        let mut again = buffer.clone();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let whole = sealing.seal_in_place_separate_tag(nonce, Aad::from(beside), &mut again).ok()?;
        verify_slices_are_equal(&whole.as_ref()[..self.tag], tag).ok()?;
        Some(buffer)
    }
}
