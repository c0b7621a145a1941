//! What an administrator wants to know of a certificate file.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::{Decode as _, Encode as _};

use crate::address::Domain;
use crate::timestamp::Timestamp;

/// The server's own certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// DNS names (subjectAltName), lower case, perhaps with a wildcard.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// SHA-256 of the SubjectPublicKeyInfo: the data of a TLSA record `3 1 1` (RFC 6698 §2.1).
    pub key_digest: [u8; 32],
}

/// Reads the first certificate of a PEM file.
///
/// # Errors
/// The fault in words.
pub fn read(chain: &Path) -> Result<Facts, String> {
    let certificate = CertificateDer::from_pem_file(chain).map_err(|error| pem(chain, &error))?;
    facts(&certificate).map_err(|fault| format!("{}: {fault}", chain.display()))
}

fn pem(path: &Path, error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => format!("{}: no PEM block of the kind needed", path.display()),
        rustls::pki_types::pem::Error::Io(error) => format!("{}: {error}", path.display()),
        other => format!("{}: {other:?}", path.display()),
    }
}

fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
    let parsed =
        x509_cert::Certificate::from_der(certificate).map_err(|error| format!("not a certificate: {error}"))?;
    let tbs = parsed.tbs_certificate();
    let key = tbs.subject_public_key_info().to_der().map_err(|error| format!("not a certificate: {error}"))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
    let entity = webpki::EndEntityCert::try_from(certificate).map_err(|error| format!("not usable: {error}"))?;
    let seconds = |time: x509_cert::time::Time| {
        Timestamp::from_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
    };
    Ok(Facts {
        names: entity.valid_dns_names().map(str::to_lowercase).collect(),
        not_before: seconds(tbs.validity().not_before),
        not_after: seconds(tbs.validity().not_after),
        key_digest: digest.as_ref().try_into().map_err(|_| "no digest".to_owned())?,
    })
}

/// Whether the key in the file is that of the certificate.
///
/// # Errors
/// The fault in words.
pub fn check_key(chain: &Path, key: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(chain).map_err(|error| pem(chain, &error))?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| pem(chain, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, &error))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match rustls::sign::CertifiedKey::from_der(certificates, private, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(format!("{} is not the key of {}", key.display(), chain.display()))
        }
        Err(error) => Err(format!("{}: {error}", key.display())),
    }
}

impl Facts {
    /// Whether it names the host or domain, a wildcard standing for one label (RFC 9525 §6.3).
    pub fn covers(&self, domain: &Domain) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => domain.as_str().split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => name == domain.as_str(),
        })
    }

    /// [`Facts::key_digest`] in hexadecimal.
    pub fn key_digest_hex(&self) -> String {
        self.key_digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Files of a certificate for these names, chain first.
    pub fn files(folder: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (chain, key)
    }

    #[test]
    fn names_dates_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = files(folder.path(), &["MX.a.example", "*.b.example"]);
        let facts = read(&chain).unwrap();
        let covers = |name: &str| facts.covers(&Domain::parse(name).unwrap());
        assert!(covers("mx.a.example") && covers("x.b.example"));
        assert!(!covers("a.example") && !covers("b.example") && !covers("x.y.b.example"));
        assert!(facts.not_before < facts.not_after);
        assert_eq!(facts.key_digest_hex().len(), 64);
        check_key(&chain, &key).unwrap();
        let other = tempfile::tempdir().unwrap();
        let (_, other_key) = files(other.path(), &["x.example"]);
        assert!(check_key(&chain, &other_key).unwrap_err().contains("is not the key of"));
        assert!(read(&key).unwrap_err().contains("no PEM block"));
        assert!(read(&folder.path().join("none")).unwrap_err().contains("No such file"));
    }

    #[test]
    fn digest_is_over_the_public_key_as_it_stands() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
        let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
        assert_eq!(facts(made.der()).unwrap().key_digest, expected.as_ref());
    }
}
