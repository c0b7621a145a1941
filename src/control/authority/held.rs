//! An authority whose key is open: what it issues, and its revocation list.
//!
//! In: an opened authority, its files, the time. Out: certificates, lists, on the disk before they are given out.
//! Invariants: the directory is locked as long as this lives, so that two that issue at one time lose no entry; a list
//! never loses an entry, and its number grows.

use std::fs::File;
use std::time::Duration;

use super::files::{self, Files};
use super::{AuthorityError, LIST_DAYS, entropy, hexadecimal, refused, validity};
use crate::address::{Domain, Mailbox};
use crate::sasl::Secret;
use crate::smime::authority::{Authority, Revoked, revocation_list_pem, serial};
use crate::smime::{Certificate, Fault, Key};
use crate::timestamp::Timestamp;
use crate::token::{TokenError, TokenKey};

/// The authority, locked.
pub(super) struct Held<'a> {
    domain: &'a Domain,
    files: &'a Files,
    authority: &'a Authority,
    now: Timestamp,
    _lock: File,
}

/// Reads an authority and decrypts its key, or opens the token that has it, to which the pass phrase is the PIN.
pub(super) fn open(files: &Files, pass_phrase: &str) -> Result<Authority, AuthorityError> {
    let own = files::first_certificate(&files.certificate())?;
    let path = files.token();
    if path.exists() {
        let uri = files::read_text(&path)?.trim().parse().map_err(refused)?;
        let key = TokenKey::open(&uri, &Secret::new(pass_phrase)).map_err(|error| match error {
            TokenError::Pin(_) => AuthorityError::Pin(error),
            other => refused(other),
        })?;
        return files::content(&files.certificate(), Authority::open(own, key));
    }
    let path = files.key();
    let key = files::content(&path, Key::from_pem(&files::read_text(&path)?, Some(pass_phrase)))?;
    files::content(&path, Authority::open(own, key))
}

/// What a token says is told apart: another session with it may sign.
fn signing(fault: Fault) -> AuthorityError {
    match fault {
        Fault::Token(_) => AuthorityError::Signing(fault),
        other => refused(other),
    }
}

impl<'a> Held<'a> {
    /// Locks the authority's directory, unless that is done.
    pub fn lock(
        domain: &'a Domain,
        files: &'a Files,
        authority: &'a Authority,
        now: Timestamp,
        lock: Option<File>,
    ) -> Result<Self, AuthorityError> {
        let lock = lock.map_or_else(|| files::lock(files.directory()), Ok)?;
        Ok(Held { domain, files, authority, now, _lock: lock })
    }

    /// Issues a certificate for a public key, and keeps it.
    pub fn issue(&self, address: &Mailbox, spki: &[u8], days: u32) -> Result<Certificate, AuthorityError> {
        let (validity, serial) = (validity(self.now, days), serial(entropy()?));
        let certificate = self.authority.issue(self.domain, address, spki, validity, &serial).map_err(signing)?;
        let path = self.files.issued().join(format!("{}.pem", hexadecimal(&serial)));
        files::write(&path, 0o644, certificate.to_pem().as_bytes())?;
        Ok(certificate)
    }

    /// Writes a new list with these besides those that are on it.
    pub fn renew_list(&self, more: &[Revoked]) -> Result<String, AuthorityError> {
        let path = self.files.list();
        let old = files::old_list(&path)?;
        let mut revoked = old.as_ref().map(|list| list.revoked.clone()).unwrap_or_default();
        for one in more {
            if revoked.iter().all(|known| known.serial != one.serial) {
                revoked.push(one.clone());
            }
        }
        let number = old.map_or(0, |list| list.number).saturating_add(1);
        let until = validity(self.now, LIST_DAYS);
        let list = self.authority.revocation_list(&revoked, until, number).map_err(signing)?;
        files::write(&path, 0o644, revocation_list_pem(&list).as_bytes())?;
        Ok(format!("{}\n", path.display()))
    }

    /// Writes a new list where half of the time of the old one is over.
    pub fn keep_list(&self) -> Result<(), AuthorityError> {
        let due = files::old_list(&self.files.list())?.and_then(|list| list.next_update).unwrap_or_default();
        let half = Duration::from_secs(u64::from(LIST_DAYS) * 86_400 / 2);
        if due < self.now.after(half) { self.renew_list(&[]).map(drop) } else { Ok(()) }
    }
}
