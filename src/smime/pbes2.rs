//! Encryption under a pass phrase: PBES2 with PBKDF2 and AES-CBC; what is older is read by [`super::pbe`].
//!
//! In: an AlgorithmIdentifier, octets, a pass phrase. Out: octets, wiped when dropped. Invariant: at most
//! [`limits::PASS_PHRASE_ROUNDS`] rounds are done, whoever wrote the file. Fails: [`Fault::PassPhrase`],
//! [`Fault::Unsupported`]. RFC 8018 §6.2.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512};
use der::asn1::OctetString;
use zeroize::Zeroizing;

use super::asn1::{self, Algorithm, Pbes2Parameters, Pbkdf2Parameters};
use super::content::{Parameters, random, seal};
use super::{Cipher, Fault, oid, pbe};
use crate::limits;

/// Rounds for what we write: what OWASP asks for with HMAC-SHA-512.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(209_999);

/// Decrypts what `algorithm` describes.
pub(super) fn decrypt(algorithm: &Algorithm, encrypted: &[u8], pass_phrase: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if algorithm.oid != oid::PBES2 {
        return pbe::decrypt(algorithm, encrypted, pass_phrase);
    }
    let Pbes2Parameters { derivation, cipher } = asn1::parameters(algorithm)?;
    if derivation.oid != oid::PBKDF2 {
        return Err(Fault::algorithm(derivation.oid));
    }
    let Pbkdf2Parameters { salt, rounds, function, .. } = asn1::parameters(&derivation)?;
    let function = match function.map(|function| function.oid) {
        None | Some(oid::HMAC_SHA1) => PBKDF2_HMAC_SHA1,
        Some(oid::HMAC_SHA256) => PBKDF2_HMAC_SHA256,
        Some(oid::HMAC_SHA384) => PBKDF2_HMAC_SHA384,
        Some(oid::HMAC_SHA512) => PBKDF2_HMAC_SHA512,
        Some(other) => return Err(Fault::algorithm(other)),
    };
    let parameters = Parameters::read(&cipher)?;
    if parameters.cipher.is_authenticated() {
        return Err(Fault::Unsupported("AES-GCM under a pass phrase".to_owned()));
    }
    let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= limits::PASS_PHRASE_ROUNDS);
    let rounds = rounds.ok_or(Fault::TooMany("rounds of the pass phrase's derivation"))?;
    let mut key = Zeroizing::new(vec![0; parameters.cipher.key_octets()]);
    pbkdf2::derive(function, rounds, salt.as_bytes(), pass_phrase.as_bytes(), &mut key);
    parameters.unseal(&key, encrypted, &[], &[]).map(Zeroizing::new).ok_or(Fault::PassPhrase)
}

/// Encrypts; gives the AlgorithmIdentifier and the octets.
pub(super) fn encrypt(clear: &[u8], pass_phrase: &[u8]) -> Result<(Algorithm, Vec<u8>), Fault> {
    let salt = random::<16>()?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(PBKDF2_HMAC_SHA512, ROUNDS, &*salt, pass_phrase, &mut *key);
    let sealed = seal(Cipher::Aes256Cbc, &*key, clear)?;
    let derivation = Pbkdf2Parameters {
        salt: OctetString::new(*salt)?,
        rounds: ROUNDS.get(),
        key_octets: None,
        function: Some(asn1::with_null(oid::HMAC_SHA512)),
    };
    let derivation = asn1::with(oid::PBKDF2, &derivation)?;
    let parameters = Pbes2Parameters { derivation, cipher: sealed.algorithm };
    Ok((asn1::with(oid::PBES2, &parameters)?, sealed.octets))
}
