//! A secret key with the certificates that vouch for it.
//!
//! In: keys and certificates, apart or in a PKCS#12 file. Out: [`Identity`]. Invariant: the first certificate is the
//! key's. Fails: a key without its certificate.

use super::{Certificate, Fault, Key, pkcs12};
use crate::limits;

/// Somebody who can sign or decrypt.
#[derive(Clone, Debug)]
pub struct Identity {
    key: Key,
    chain: Vec<Certificate>,
}

impl Identity {
    /// From a key and certificates; the key's own is looked for among them and comes first, the others keep their order.
    pub fn new(key: Key, mut certificates: Vec<Certificate>) -> Result<Self, Fault> {
        if certificates.len() > limits::CMS_CERTIFICATES {
            return Err(Fault::TooMany("certificates"));
        }
        let own = |certificate: &Certificate| certificate.public_key().is_ok_and(|public| key.matches(&public));
        let at = certificates.iter().position(own).ok_or(Fault::Key("none of the certificates is its own"))?;
        certificates[..=at].rotate_right(1);
        Ok(Identity { key, chain: certificates })
    }

    /// From PEM texts, which may be one and the same.
    pub fn from_pem(key: &str, certificates: &str, pass_phrase: Option<&str>) -> Result<Self, Fault> {
        Identity::new(Key::from_pem(key, pass_phrase)?, Certificate::from_pem(certificates)?)
    }

    /// From a PKCS#12 file: one for each key whose certificate is there, in order; often one signs and another decrypts.
    pub fn from_pkcs12(octets: &[u8], pass_phrase: &str) -> Result<Vec<Self>, Fault> {
        let (keys, certificates) = pkcs12::read(octets, pass_phrase)?;
        keys.into_iter().map(|key| Identity::new(key, certificates.clone())).collect()
    }

    /// The secret key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The key's own certificate.
    pub fn certificate(&self) -> &Certificate {
        // `new` lets no other be: the fallback is never taken.
        &self.chain[0]
    }

    /// The key's own certificate, and those that vouch for it.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }
}
