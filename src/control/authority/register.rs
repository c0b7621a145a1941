//! What an authority has issued and revoked, in memory, as its files say it now.
//!
//! In: the files. Out: the certificates of an address. Invariants: what is on the disk when it is asked counts, whoever
//! wrote it; only what is new is read. A file that is no certificate is told of once and left out until it changes:
//! nobody is certified by it. Fails where the system does not let a file be read, and then it is read the next time.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;

use super::AuthorityError;
use super::files::{self, Files, system};
use crate::accounts::file::{Stamp, stamp};
use crate::address::Mailbox;
use crate::smime::Certificate;
use crate::smime::trust::names_of;
use crate::timestamp::Timestamp;

/// The register of one authority.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// The directory of what was issued as it was when it was read.
    seen: Option<Stamp>,
    known: HashSet<OsString>,
    /// Those that are no certificates.
    broken: HashMap<OsString, Option<Stamp>>,
    issued: HashMap<String, Vec<Certificate>>,
    list: Option<Stamp>,
    revoked: HashSet<Vec<u8>>,
}

impl Register {
    /// Reads what is new.
    pub fn refresh(&mut self, files: &Files) -> Result<(), AuthorityError> {
        let list = stamp(&files.list());
        if list != self.list || list.is_none() {
            let read = files::old_list(&files.list())?;
            let revoked = read.map(|list| list.revoked).unwrap_or_default();
            self.revoked = revoked.into_iter().map(|one| one.serial).collect();
            self.list = list;
        }
        let folder = files.issued();
        let seen = stamp(&folder);
        let same = |(name, then): (&OsString, &Option<Stamp>)| stamp(&folder.join(name)) == *then;
        if seen == self.seen && seen.is_some() && self.broken.iter().all(same) {
            return Ok(());
        }
        self.seen = None;
        let mut broken = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(system(&folder))? {
            let entry = entry.map_err(system(&folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            if path.extension().is_none_or(|extension| extension != "pem") || self.known.contains(&name) {
                continue;
            }
            let then = stamp(&path);
            match files::first_certificate(&path) {
                Ok(certificate) => {
                    self.known.insert(name);
                    self.enter(certificate);
                }
                Err(fault @ AuthorityError::System { .. }) => return Err(fault),
                Err(fault) => {
                    if self.broken.get(&name) != Some(&then) {
                        tracing::error!("a certificate that was issued is left out: {fault}");
                    }
                    broken.insert(name, then);
                }
            }
        }
        (self.seen, self.broken) = (seen, broken);
        Ok(())
    }

    /// Files have changed by our own doing: the clock of the file system may not tell.
    pub fn forget_stamps(&mut self) {
        (self.seen, self.list) = (None, None);
    }

    fn enter(&mut self, certificate: Certificate) {
        let names = names_of(&certificate).ok();
        let keys: HashSet<String> = names.iter().flat_map(|names| names.mailboxes().map(Mailbox::key)).collect();
        for key in keys {
            self.issued.entry(key).or_default().push(certificate.clone());
        }
    }

    /// All that an address ever had.
    pub fn all(&self, address: &Mailbox) -> &[Certificate] {
        self.issued.get(&address.key()).map_or(&[], Vec::as_slice)
    }

    /// Those of an address that hold.
    pub fn valid(&self, address: &Mailbox, now: Timestamp) -> impl Iterator<Item = &Certificate> {
        let in_time = move |one: &&Certificate| one.not_before() <= now && now <= one.not_after();
        self.all(address).iter().filter(in_time).filter(|one| !self.is_revoked(one))
    }

    /// Whether it is on the list.
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        self.revoked.contains(certificate.serial())
    }
}
