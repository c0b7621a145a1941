//! Certificates of other authorities that people here let be told to who asks for theirs.
//!
//! In: certificates in DER, the addresses of who brings or asks. Out: the one of an address. A file for each address, named
//! after it, in PEM: the latest takes the place of the one before. Invariants: it names the address that it is kept for; what
//! is kept is on the disk before it is answered. Nobody vouches for it here: whoever asks decides whom to believe.
//! Fails with the reply that refuses, or with the file. RFC 6072 §6.4 in its sense.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::AuthorityError;
use super::files::{self, system};
use super::online::refuse;
use crate::accounts::rules::file_name;
use crate::address::Mailbox;
use crate::presence::Refusal;
use crate::smime::Certificate;
use crate::smime::trust::names_of;
use crate::timestamp::Timestamp;

/// Those that are kept in a directory, which is made with the first.
#[derive(Clone, Debug)]
pub struct Brought {
    directory: PathBuf,
}

impl Brought {
    /// In that directory.
    pub fn at(directory: PathBuf) -> Brought {
        Brought { directory }
    }

    fn path(&self, address: &Mailbox) -> PathBuf {
        self.directory.join(file_name(address, ".pem"))
    }

    /// What a certificate must be, to be told as that of one of these addresses; that address.
    pub(super) fn examine<'a>(
        certificate: &Certificate,
        addresses: &'a [Mailbox],
        now: Timestamp,
    ) -> Result<&'a Mailbox, Refusal> {
        let names = names_of(certificate).ok();
        let named = |address: &&Mailbox| names.as_ref().is_some_and(|names| names.names(address));
        let Some(address) = addresses.iter().find(named) else {
            return Err(refuse(550, (5, 7, 1), "the certificate is for no address of the account; give your own"));
        };
        match () {
            () if certificate.not_after() < now => {
                Err(refuse(554, (5, 6, 0), "the certificate has expired; ask its authority for another"))
            }
            () if certificate.not_before() > now => Err(refuse(554, (5, 6, 0), "the certificate is not valid yet")),
            () if !certificate.may_sign() && !certificate.may_encrypt() => {
                Err(refuse(554, (5, 6, 0), "the certificate is neither to sign nor to encrypt messages with"))
            }
            () => Ok(address),
        }
    }

    /// Keeps one for an address.
    pub(super) fn keep(&self, address: &Mailbox, certificate: &Certificate) -> Result<(), AuthorityError> {
        files::make(&self.directory)?;
        let _lock = files::lock(&self.directory)?;
        files::write(&self.path(address), 0o600, certificate.to_pem().as_bytes())
    }

    /// The one of an address, as long as it is in its time.
    pub(super) fn of(&self, address: &Mailbox, now: Timestamp) -> Result<Option<Certificate>, AuthorityError> {
        let found = self.read(address)?;
        Ok(found.filter(|one| one.not_before() <= now && now <= one.not_after()))
    }

    fn read(&self, address: &Mailbox) -> Result<Option<Certificate>, AuthorityError> {
        match files::first_certificate(&self.path(address)) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(AuthorityError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Tells those of these addresses no more; where one is named in DER, that alone. How many there were.
    pub fn withdraw(&self, addresses: &[Mailbox], only: Option<&[u8]>) -> Result<usize, AuthorityError> {
        if !self.directory.exists() {
            return Ok(0);
        }
        let _lock = files::lock(&self.directory)?;
        let mut count = 0;
        for address in addresses {
            let meant = match only {
                None => self.path(address).exists(),
                Some(only) => self.read(address)?.is_some_and(|one| one.der() == only),
            };
            if meant {
                remove(&self.path(address))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn remove(path: &Path) -> Result<(), AuthorityError> {
    fs::remove_file(path)
        .and_then(|()| crate::disk::sync_directory(crate::disk::directory_of(path)))
        .map_err(system(path))
}
