//! PKCS#12: keys and their certificates in a file under a pass phrase.
//!
//! In: the file and its pass phrase. Out: every key and every certificate. Invariant: nothing is believed before its code
//! of integrity is right. Fails: [`Fault::PassPhrase`]; [`Fault::Unsupported`] for the encryption of old files.
//! RFC 7292 §4 and §B.2.

use aws_lc_rs::{digest, hmac};
use der::Decode;
use zeroize::Zeroizing;

use super::asn1::Algorithm;
use super::ber::{self, Reader};
use super::signed_data::elements;
use super::{Certificate, Fault, Key, oid, pbes2};
use crate::limits;

/// Keys of one file; each costs a derivation.
const MOST_KEYS: usize = 8;

/// What was found in the bags.
#[derive(Default)]
struct Found {
    keys: Vec<Key>,
    certificates: Vec<Certificate>,
}

/// Reads a file.
pub(super) fn read(octets: &[u8], pass_phrase: &str) -> Result<(Vec<Key>, Vec<Certificate>), Fault> {
    let mut file = Reader::only(octets, ber::SEQUENCE)?;
    file.small()?;
    let mut safe = file.sequence()?;
    if safe.oid()? != oid::DATA {
        return Err(Fault::Unsupported("of a PKCS#12 file under a public key".to_owned()));
    }
    let safe = safe.take(ber::context(0))?.inside().next()?.octets()?;
    let Some(code) = file.optional(ber::SEQUENCE)? else { return Err(Fault::PassPhrase) };
    check_code(code.inside(), &safe, pass_phrase)?;
    let mut found = Found::default();
    let list = Reader::only(&safe, ber::SEQUENCE)?;
    for element in elements(list, limits::CMS_CERTIFICATES, "parts of a PKCS#12 file")? {
        let mut info = element.inside();
        let name = info.oid()?;
        let mut explicit = info.take(ber::context(0))?.inside();
        match name {
            oid::DATA => found.bags(&explicit.next()?.octets()?, pass_phrase)?,
            oid::ENCRYPTED_DATA => {
                let mut data = explicit.sequence()?;
                data.take(ber::INTEGER)?;
                let mut content = data.sequence()?;
                content.oid()?;
                let algorithm = Algorithm::from_ber(content.take(ber::SEQUENCE)?.raw)?;
                let encrypted = content.next()?.octets()?;
                found.bags(&pbes2::decrypt(&algorithm, &encrypted, pass_phrase.as_bytes())?, pass_phrase)?;
            }
            other => return Err(Fault::algorithm(other)),
        }
    }
    if found.keys.is_empty() {
        Err(Fault::Key("there is none in the file"))
    } else {
        Ok((found.keys, found.certificates))
    }
}

impl Found {
    /// Takes up a SafeContents.
    fn bags(&mut self, contents: &[u8], pass_phrase: &str) -> Result<(), Fault> {
        let list = Reader::only(contents, ber::SEQUENCE)?;
        for element in elements(list, limits::CMS_CERTIFICATES, "parts of a PKCS#12 file")? {
            let mut bag = element.inside();
            let name = bag.oid()?;
            let value = bag.take(ber::context(0))?;
            match name {
                oid::KEY_BAG | oid::SHROUDED_KEY_BAG if self.keys.len() < MOST_KEYS => {
                    self.keys.push(Key::from_der(value.contents, Some(pass_phrase))?);
                }
                oid::CERTIFICATE_BAG => {
                    let mut certificate = value.inside().sequence()?;
                    if certificate.oid()? == oid::X509_CERTIFICATE {
                        let octets = certificate.take(ber::context(0))?.inside().next()?.octets()?;
                        self.certificates.push(Certificate::from_der(&octets)?);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Checks the code of integrity over the contents.
fn check_code(mut code: Reader<'_>, safe: &[u8], pass_phrase: &str) -> Result<(), Fault> {
    let mut info = code.sequence()?;
    let (algorithm, primitive, block) = match info.sequence()?.oid()? {
        oid::SHA1 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA1_FOR_LEGACY_USE_ONLY, 64),
        oid::SHA256 => (hmac::HMAC_SHA256, &digest::SHA256, 64),
        oid::SHA384 => (hmac::HMAC_SHA384, &digest::SHA384, 128),
        oid::SHA512 => (hmac::HMAC_SHA512, &digest::SHA512, 128),
        other => return Err(Fault::algorithm(other)),
    };
    let value = info.take(ber::OCTET_STRING)?.contents;
    let salt = code.take(ber::OCTET_STRING)?.contents;
    let rounds = if code.is_empty() { 1 } else { code.small()? };
    if !(1..=limits::PASS_PHRASE_ROUNDS).contains(&rounds) || salt.is_empty() || salt.len() > 1024 {
        return Err(Fault::TooMany("rounds of the pass phrase's derivation"));
    }
    let key = derive(primitive, block, pass_phrase, salt, rounds);
    hmac::verify(&hmac::Key::new(algorithm, &key), safe, value).map_err(|_| Fault::PassPhrase)
}

/// The key of a code of integrity (RFC 7292 §B.2, identifier 3), of the digest's length: one round of its outer loop.
fn derive(
    primitive: &'static digest::Algorithm,
    block: usize,
    pass_phrase: &str,
    salt: &[u8],
    rounds: u32,
) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(pass_phrase.len() * 2 + 2));
    for unit in pass_phrase.encode_utf16().chain([0]) {
        text.extend_from_slice(&unit.to_be_bytes());
    }
    let fill = |octets: &[u8], out: &mut Vec<u8>| {
        let length = octets.len().div_ceil(block) * block;
        out.extend(octets.iter().cycle().take(length));
    };
    let mut input = Zeroizing::new(Vec::with_capacity(block * 3 + salt.len() + text.len() + 2 * block));
    input.extend(std::iter::repeat_n(3u8, block));
    fill(salt, &mut input);
    fill(&text, &mut input);
    let mut key = Zeroizing::new(digest::digest(primitive, &input).as_ref().to_vec());
    for _ in 1..rounds {
        let next = digest::digest(primitive, &key);
        key.copy_from_slice(next.as_ref());
    }
    key
}
