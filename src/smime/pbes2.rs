//! Encryption under a pass phrase: PBES2 with PBKDF2 and AES-CBC.
//!
//! In: an AlgorithmIdentifier, octets, a pass phrase. Out: octets, wiped when dropped. Invariant: at most
//! [`limits::PASS_PHRASE_ROUNDS`] rounds are done, whoever wrote the file. Fails: [`Fault::PassPhrase`],
//! [`Fault::Unsupported`]. RFC 8018 §6.2.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512};
use zeroize::Zeroizing;

use super::ber::{self, Reader};
use super::content::{Parameters, random, seal};
use super::{Cipher, Fault, der, oid};
use crate::limits;

/// Rounds for what we write: what OWASP asks for with HMAC-SHA-512.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(209_999);

/// Decrypts what `algorithm`, the DER of an AlgorithmIdentifier, describes.
pub(super) fn decrypt(algorithm: &[u8], encrypted: &[u8], pass_phrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut reader = Reader::only(algorithm, ber::SEQUENCE)?;
    if reader.oid()? != oid::PBES2 {
        return Err(Fault::OldFile);
    }
    let mut parameters = reader.sequence()?;
    let mut derivation = parameters.sequence()?;
    let name = derivation.oid()?;
    if name != oid::PBKDF2 {
        return Err(Fault::algorithm(name));
    }
    let mut derivation = derivation.sequence()?;
    let salt = derivation.take(ber::OCTET_STRING)?.contents;
    let rounds = derivation.small()?;
    derivation.optional(ber::INTEGER)?;
    let function = match derivation.optional(ber::SEQUENCE)? {
        None => PBKDF2_HMAC_SHA1,
        Some(algorithm) => match algorithm.inside().oid()? {
            oid::HMAC_SHA1 => PBKDF2_HMAC_SHA1,
            oid::HMAC_SHA256 => PBKDF2_HMAC_SHA256,
            oid::HMAC_SHA384 => PBKDF2_HMAC_SHA384,
            oid::HMAC_SHA512 => PBKDF2_HMAC_SHA512,
            other => return Err(Fault::algorithm(other)),
        },
    };
    let parameters = Parameters::read(parameters.sequence()?)?;
    if parameters.cipher.is_authenticated() {
        return Err(Fault::Unsupported("AES-GCM under a pass phrase".to_owned()));
    }
    let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= limits::PASS_PHRASE_ROUNDS);
    let rounds = rounds.ok_or(Fault::TooMany("rounds of the pass phrase's derivation"))?;
    let mut key = Zeroizing::new(vec![0; parameters.cipher.key_octets()]);
    pbkdf2::derive(function, rounds, salt, pass_phrase, &mut key);
    parameters.unseal(&key, encrypted, &[], &[]).map(Zeroizing::new).ok_or(Fault::PassPhrase)
}

/// Encrypts; gives the AlgorithmIdentifier and the octets.
pub(super) fn encrypt(clear: &[u8], pass_phrase: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let salt = random::<16>()?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(PBKDF2_HMAC_SHA512, ROUNDS, &*salt, pass_phrase, &mut *key);
    let sealed = seal(Cipher::Aes256Cbc, &*key, clear)?;
    let function = der::algorithm(oid::HMAC_SHA512, Some(&der::null()));
    let derivation = der::sequence(&[&der::octet_string(&*salt), &der::integer(ROUNDS.get()), &function]);
    let derivation = der::algorithm(oid::PBKDF2, Some(&derivation));
    let parameters = der::sequence(&[&derivation, &sealed.algorithm]);
    Ok((der::algorithm(oid::PBES2, Some(&parameters)), sealed.octets))
}
