//! Authorities for signatures of messages, from files or the system's.
//!
//! In: files. Out: [`Trust`]. Invariant: a file that is named is used whole or is a fault; of the system's certificates those
//! that cannot be read are passed over. Fails with [`SignersError`], which names the file.

use std::path::{Path, PathBuf};

use super::roots::{self, RootsError};
use crate::smime::trust::{Anchors, Trust, TrustError};
use crate::smime::{Certificate, Fault};

/// Octets of a list of revoked certificates that are read.
const LIST_OCTETS: u64 = 64 << 20;

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    /// A file of authorities, or the system's.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A certificate in a file.
    #[error("{}: {fault}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// A file of revoked certificates.
    #[error("cannot read the list of revoked certificates in {}: {reason}; name a readable file", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// They cannot be used.
    #[error("authorities for signatures: {0}")]
    Trust(#[from] TrustError),
}

/// Who is believed no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Files of lists of revoked certificates.
    pub files: Vec<PathBuf>,
    /// Lists, DER.
    pub lists: Vec<Vec<u8>>,
}

/// Whom to believe: those of PEM files, or, where none are named, the system's; and who is believed no more.
pub fn trust(files: Option<&[PathBuf]>, revocations: &Revocations) -> Result<Trust, SignersError> {
    let mut anchors = Anchors::default();
    match files {
        None => {
            let all = roots::system()?;
            anchors.roots = all.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        }
        Some(files) => {
            for path in files {
                let all = roots::of_file(path)?;
                if all.is_empty() {
                    return Err(RootsError::Empty(path.clone()).into());
                }
                for der in all {
                    let read = Certificate::from_der(&der);
                    let read = read.map_err(|fault| SignersError::Certificate { path: path.clone(), fault })?;
                    anchors.roots.push(read);
                }
            }
        }
    }
    anchors.crls = revocations.files.iter().map(|path| list(path)).collect::<Result<_, _>>()?;
    anchors.crls.extend(revocations.lists.iter().cloned());
    Ok(Trust::new(&anchors)?)
}

fn list(path: &Path) -> Result<Vec<u8>, SignersError> {
    use std::io::Read as _;
    let fault = |reason: String| SignersError::List { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    let mut octets = Vec::new();
    file.take(LIST_OCTETS + 1).read_to_end(&mut octets).map_err(|error| fault(error.to_string()))?;
    if octets.len() as u64 > LIST_OCTETS { Err(fault("it has more than 64 MiB".to_owned())) } else { Ok(octets) }
}
