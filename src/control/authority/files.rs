//! The files of an authority, read and written so that the daemon and administrators do not come into each other's way.
//!
//! In: paths. Out: what stands in the files. Invariants: whoever changes anything holds the lock of the authority's
//! directory; what is written takes the place of the old as a whole, and belongs to whom the directory belongs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::AuthorityError;
use crate::smime::authority::RevocationList;
use crate::smime::{Certificate, Fault};
use crate::{disk, limits};

pub(super) fn old_list(path: &Path) -> Result<Option<RevocationList>, AuthorityError> {
    if !path.exists() {
        return Ok(None);
    }
    let octets = read(path)?;
    content(path, RevocationList::read(&octets)).map(Some)
}

pub(super) fn first_certificate(path: &Path) -> Result<Certificate, AuthorityError> {
    let mut all = content(path, Certificate::from_pem(&read_text(path)?))?;
    // A text without a certificate is a fault of its own.
    Ok(all.swap_remove(0))
}

pub(super) fn lock(directory: &Path) -> Result<File, AuthorityError> {
    let file = File::open(directory).map_err(system(directory))?;
    file.lock().map_err(system(directory))?;
    Ok(file)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuthorityError> {
    use std::io::Read as _;
    let most = u64::try_from(limits::CRL_OCTETS).unwrap_or(u64::MAX);
    let mut octets = Vec::new();
    let file = File::open(path).map_err(system(path))?;
    file.take(most).read_to_end(&mut octets).map_err(system(path))?;
    Ok(octets)
}

pub(super) fn read_text(path: &Path) -> Result<String, AuthorityError> {
    String::from_utf8(read(path)?)
        .map_err(|_| AuthorityError::Content { path: path.to_owned(), fault: Fault::Syntax("it is not a PEM text") })
}

pub(super) fn write(path: &Path, mode: u32, octets: &[u8]) -> Result<(), AuthorityError> {
    let owner = fs::metadata(disk::directory_of(path)).map_err(system(path))?;
    disk::replace_by(path, &disk::with_suffix(path, ".new"), mode, Some(&owner), &[octets]).map_err(system(path))
}

pub(super) fn content<T>(path: &Path, result: Result<T, Fault>) -> Result<T, AuthorityError> {
    result.map_err(|fault| AuthorityError::Content { path: path.to_owned(), fault })
}

pub(super) fn system(path: &Path) -> impl FnOnce(std::io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |error| AuthorityError::System { path, error }
}

/// Makes a directory, its parents too; what root makes is given to whom the parent belongs.
pub(super) fn make(directory: &Path) -> Result<(), AuthorityError> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = disk::directory_of(directory);
    make(parent)?;
    let made = fs::create_dir(directory).and_then(|()| disk::give(&File::open(directory)?, &fs::metadata(parent)?));
    made.map_err(system(directory))
}

/// Where an authority has its files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// Below the directory of authorities.
    pub fn of(authorities: &Path, domain: &crate::address::Domain) -> Files {
        Files { directory: authorities.join(domain.as_str()) }
    }

    /// Its directory, which is what is locked.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Its key, encrypted.
    pub fn key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// Which key of a token is its key, where it is in one.
    pub fn token(&self) -> PathBuf {
        self.directory.join("ca.token")
    }

    /// Its revocation list.
    pub fn list(&self) -> PathBuf {
        self.directory.join("ca.crl")
    }

    /// What it has issued.
    pub fn issued(&self) -> PathBuf {
        self.directory.join("issued")
    }
}
