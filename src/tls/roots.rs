//! Trust anchors: the system's, or those of files.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};

/// Why there are no trust anchors.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file that cannot be read.
    #[error("cannot read the trust anchors in {}: {reason}; name a readable PEM file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file without a certificate.
    #[error("{} has no certificate (BEGIN CERTIFICATE); name a PEM file with those of authorities", .0.display())]
    Empty(PathBuf),
    /// The system has none.
    #[error("the system has no trust anchors ({0}); install ca-certificates, or name files of trust anchors")]
    NoSystem(String),
}

/// The certificates that the system trusts; at least one.
pub(super) fn system() -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(RootsError::NoSystem(reasons.join("; ")));
    }
    Ok(found.certs)
}

/// The certificates of a PEM file.
pub(super) fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let unreadable = |reason: String| RootsError::Unreadable { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let certificates: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    certificates.map_err(|error| unreadable(error.to_string()))
}

/// The authorities that are trusted to name hosts and domains.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    /// Trusts nobody: only TLSA proves anything.
    pub fn none() -> Roots {
        Roots::default()
    }

    /// The system's. Certificates among them that cannot be read are passed over.
    pub fn system() -> Result<Roots, RootsError> {
        Ok(Roots::from_der(system()?.iter()))
    }

    /// Those of PEM files.
    pub fn from_files<P: AsRef<Path>>(files: &[P]) -> Result<Roots, RootsError> {
        let mut all = Roots::default();
        for file in files {
            let path = file.as_ref();
            let roots = Roots::from_der(of_file(path)?.iter());
            if roots.is_empty() {
                return Err(RootsError::Empty(path.to_owned()));
            }
            all.add(roots);
        }
        Ok(all)
    }

    /// From certificates; those that cannot be read are passed over.
    pub fn from_der<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'a>>) -> Roots {
        let anchors = certificates.filter_map(|der| Some(webpki::anchor_from_trusted_cert(der).ok()?.to_owned()));
        Roots { anchors: anchors.collect() }
    }

    /// Trusts those of `more` too.
    pub fn add(&mut self, more: Roots) {
        self.anchors.extend(more.anchors);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}
