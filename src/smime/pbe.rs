//! Encryption under a pass phrase as PKCS#12 had it before PBES2: Triple DES and RC2, which old systems still write.
//!
//! In: an AlgorithmIdentifier, octets, a pass phrase. Out: octets, wiped when dropped; keys for codes of integrity. It is
//! read only, never written: nothing that we keep is as weak. Invariant: at most [`limits::PASS_PHRASE_ROUNDS`] rounds
//! are done, whoever wrote the file. Fails: [`Fault::PassPhrase`], [`Fault::OldFile`]. RFC 7292 §B.2 and §C.

use aws_lc_rs::digest;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, InnerIvInit as _, KeyInit as _};
use const_oid::ObjectIdentifier;
use des::{TdesEde2, TdesEde3};
use rc2::Rc2;
use zeroize::Zeroizing;

use super::asn1::{self, Algorithm, PbeParameters};
use super::{Fault, oid};
use crate::limits;

/// What a key is for, which makes it another one (RFC 7292 §B.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A cipher's key.
    Key = 1,
    /// Its initial vector.
    Vector = 2,
    /// A code of integrity.
    Integrity = 3,
}

/// The ciphers, by their block of eight octets alike.
#[derive(Clone, Copy)]
enum Cipher {
    Tdes3,
    Tdes2,
    /// With so many octets of key, all of whose bits count.
    Rc2(usize),
}

impl Cipher {
    fn named(name: ObjectIdentifier) -> Option<Cipher> {
        match name {
            oid::PBE_TDES3 => Some(Cipher::Tdes3),
            oid::PBE_TDES2 => Some(Cipher::Tdes2),
            oid::PBE_RC2_128 => Some(Cipher::Rc2(16)),
            oid::PBE_RC2_40 => Some(Cipher::Rc2(5)),
            _ => None,
        }
    }

    fn key_octets(self) -> usize {
        match self {
            Cipher::Tdes3 => 24,
            Cipher::Tdes2 => 16,
            Cipher::Rc2(octets) => octets,
        }
    }

    /// Decrypts in place; the octets that are left without the padding.
    fn decrypt<'a>(self, key: &[u8], vector: &[u8], octets: &'a mut [u8]) -> Option<&'a [u8]> {
        macro_rules! with {
            ($cipher:expr) => {
                cbc::Decryptor::inner_iv_slice_init($cipher.ok()?, vector).ok()?.decrypt_padded::<Pkcs7>(octets).ok()
            };
        }
        match self {
            Cipher::Tdes3 => with!(TdesEde3::new_from_slice(key)),
            Cipher::Tdes2 => with!(TdesEde2::new_from_slice(key)),
            // Its key's length in bits is the effective one.
            Cipher::Rc2(_) => with!(Rc2::new_from_slice(key)),
        }
    }
}

/// Decrypts what `algorithm` describes.
pub(super) fn decrypt(algorithm: &Algorithm, encrypted: &[u8], pass_phrase: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let cipher = Cipher::named(algorithm.oid).ok_or(Fault::OldFile)?;
    let PbeParameters { salt, rounds } = asn1::parameters(algorithm)?;
    check(salt.as_bytes(), rounds)?;
    let derive = |purpose, octets| {
        let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        derive(sha1, purpose, pass_phrase, salt.as_bytes(), rounds, octets)
    };
    let (key, vector) = (derive(Purpose::Key, cipher.key_octets()), derive(Purpose::Vector, 8));
    let mut octets = Zeroizing::new(encrypted.to_vec());
    let length = cipher.decrypt(&key, &vector, &mut octets).ok_or(Fault::PassPhrase)?.len();
    octets.truncate(length);
    Ok(octets)
}

/// Whether the derivation asks for no more than it may.
pub(super) fn check(salt: &[u8], rounds: u32) -> Result<(), Fault> {
    if !(1..=limits::PASS_PHRASE_ROUNDS).contains(&rounds) || salt.is_empty() || salt.len() > 1024 {
        return Err(Fault::TooMany("rounds of the pass phrase's derivation"));
    }
    Ok(())
}

/// So many octets made of a pass phrase (RFC 7292 §B.2). Salt and rounds are checked before.
pub(super) fn derive(
    primitive: &'static digest::Algorithm,
    purpose: Purpose,
    pass_phrase: &str,
    salt: &[u8],
    rounds: u32,
    octets: usize,
) -> Zeroizing<Vec<u8>> {
    let block = primitive.block_len();
    let mut text = Zeroizing::new(Vec::with_capacity(pass_phrase.len() * 2 + 2));
    for unit in pass_phrase.encode_utf16().chain([0]) {
        text.extend_from_slice(&unit.to_be_bytes());
    }
    let fill = |octets: &[u8], out: &mut Vec<u8>| {
        let length = octets.len().div_ceil(block) * block;
        out.extend(octets.iter().cycle().take(length));
    };
    // D, then I: salt and text, each repeated to whole blocks.
    let mut input = Zeroizing::new(Vec::with_capacity(block * 3 + salt.len() + text.len()));
    input.extend(std::iter::repeat_n(purpose as u8, block));
    fill(salt, &mut input);
    fill(&text, &mut input);
    let mut out = Zeroizing::new(Vec::with_capacity(octets + primitive.output_len()));
    loop {
        let mut key = Zeroizing::new(digest::digest(primitive, &input).as_ref().to_vec());
        for _ in 1..rounds {
            let next = digest::digest(primitive, &key);
            key.copy_from_slice(next.as_ref());
        }
        out.extend_from_slice(&key);
        if out.len() >= octets {
            out.truncate(octets);
            return out;
        }
        for one in input[block..].chunks_exact_mut(block) {
            add(one, &key);
        }
    }
}

/// Adds `key`, repeated, and 1 to a number of big-endian octets, which may pass over its end.
fn add(number: &mut [u8], key: &[u8]) {
    let mut carry = 1;
    for at in (0..number.len()).rev() {
        let sum = u16::from(number[at]) + u16::from(key[at % key.len()]) + carry;
        number[at] = sum as u8;
        carry = sum >> 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_pass_over_their_end() {
        let check = |number: &[u8], key: &[u8], expected: &[u8]| {
            let mut got = number.to_vec();
            add(&mut got, key);
            assert_eq!(got, expected);
        };
        check(&[0, 0, 0], &[0, 0], &[0, 0, 1]);
        check(&[0, 0, 0], &[1, 2], &[1, 2, 2]);
        check(&[0, 0, 255], &[0, 0], &[0, 1, 0]);
        check(&[255, 255], &[0, 0], &[0, 0]);
        check(&[255, 255], &[255, 255], &[255, 255]);
    }
}
