//! Certificates for tests, each its own authority.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};

/// A certificate on disk.
pub struct Named {
    /// The chain's file.
    pub chain: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The SubjectPublicKeyInfo, DER.
    pub public: Vec<u8>,
}

impl Named {
    /// The section of the configuration.
    pub fn section(&self) -> String {
        format!("[[certificate]]\nchain = {:?}\nkey = {:?}\n", self.chain, self.key)
    }
}

/// Makes a certificate for `name`, signed by itself.
pub fn certificate(directory: &Path, name: &str) -> Named {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let named = Named {
        chain: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
        public: rcgen::PublicKeyData::subject_public_key_info(&key),
    };
    fs::write(&named.chain, made.pem()).unwrap();
    fs::write(&named.key, key.serialize_pem()).unwrap();
    named
}
