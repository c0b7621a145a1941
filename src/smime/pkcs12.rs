//! PKCS#12: keys and their certificates in a file under a pass phrase.
//!
//! In: the file and its pass phrase. Out: every key and every certificate. Invariant: nothing is believed before its code
//! of integrity is right. Fails: [`Fault::PassPhrase`]; [`Fault::OldFile`] for what is encrypted with RC4 or single DES.
//! RFC 7292 §4.

use aws_lc_rs::{digest, hmac};
use der::Decode;

use super::asn1::Algorithm;
use super::ber::{self, Reader};
use super::pbe::{self, Purpose};
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
                found.bags(&pbes2::decrypt(&algorithm, &encrypted, pass_phrase)?, pass_phrase)?;
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
    let (algorithm, primitive) = match info.sequence()?.oid()? {
        oid::SHA1 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA1_FOR_LEGACY_USE_ONLY),
        oid::SHA256 => (hmac::HMAC_SHA256, &digest::SHA256),
        oid::SHA384 => (hmac::HMAC_SHA384, &digest::SHA384),
        oid::SHA512 => (hmac::HMAC_SHA512, &digest::SHA512),
        other => return Err(Fault::algorithm(other)),
    };
    let value = info.take(ber::OCTET_STRING)?.contents;
    let salt = code.take(ber::OCTET_STRING)?.contents;
    let rounds = if code.is_empty() { 1 } else { code.small()? };
    pbe::check(salt, rounds)?;
    let key = pbe::derive(primitive, Purpose::Integrity, pass_phrase, salt, rounds, primitive.output_len());
    hmac::verify(&hmac::Key::new(algorithm, &key), safe, value).map_err(|_| Fault::PassPhrase)
}
