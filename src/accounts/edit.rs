//! What an administrator changes in the file of accounts, whether a daemon runs or not.
//!
//! In: the file and a [`Change`]. Out: what it did, or why it cannot be done. Passwords come in and only verifiers go into the
//! file; the secret of ODMR is made here and stands there in the clear, since CRAM-MD5 needs it so.

use std::path::Path;

use super::file::{self, FileError, Record};
use super::verifiers::{self, Verifiers};
use super::{Fallback, Reads};
use crate::address::Mailbox;
use crate::sasl::Secret;

/// A change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new account.
    Add {
        /// Its password; without, it cannot log in by one.
        password: Option<Secret>,
        /// Whether it has an instant inbox.
        inbox: bool,
        /// Whether it has a presentity.
        presentity: bool,
        /// A secret for ODMR.
        odmr: Option<Secret>,
        /// Further addresses.
        addresses: Vec<Mailbox>,
        /// When its messages go to the mail store; `None`: as its domain says.
        fallback: Option<Fallback>,
        /// Who else reads its inbox.
        delegates: Vec<(Mailbox, Reads)>,
    },
    /// Another password.
    Password(Secret),
    /// Another secret for ODMR; `None`: no more.
    Odmr(Option<Secret>),
    /// It may log in no more; or again.
    Disabled(bool),
    /// When its messages go to the mail store; `None`: as its domain says.
    Fallback(Option<Fallback>),
    /// It is taken out.
    Remove,
}

/// A secret for ODMR, which a program stores.
pub fn generated() -> Result<Secret, FileError> {
    verifiers::generated().map_err(|fault| FileError::Change(fault.to_string()))
}

/// Changes the account in the file.
pub fn change(path: &Path, name: &Mailbox, change: Change) -> Result<(), FileError> {
    // Before the lock: it takes long.
    let verifiers = match &change {
        Change::Add { password: Some(password), .. } | Change::Password(password) => {
            Some(Verifiers::of(password).map_err(|fault| FileError::Change(fault.to_string()))?)
        }
        _ => None,
    };
    file::edit(path, |accounts| {
        let key = name.key();
        let same = |other: &&String| Mailbox::parse(other).is_ok_and(|other| other.key() == key);
        let found = accounts.account.keys().find(same).cloned();
        match (change, found) {
            (Change::Add { .. }, Some(found)) => Err(format!("{found} exists; change it, or remove it first")),
            (Change::Add { inbox, presentity, odmr, addresses, fallback, delegates, .. }, None) => {
                let mut record = Record { inbox, presentity, ..Record::default() };
                record.odmr = odmr.map(|secret| secret.reveal().to_owned());
                record.addresses = addresses.iter().map(Mailbox::to_string).collect();
                record.fallback = fallback.map(|fallback| fallback.to_string());
                record.delegates =
                    delegates.iter().map(|(who, how)| (who.to_string(), how.keyword().to_owned())).collect();
                prove(&mut record, verifiers);
                accounts.account.insert(name.to_string(), record);
                Ok(())
            }
            (_, None) => Err(format!("there is no account {name} in {}", path.display())),
            (Change::Remove, Some(found)) => {
                accounts.account.remove(&found);
                Ok(())
            }
            (change, Some(found)) => {
                let record = accounts.account.entry(found).or_default();
                match change {
                    Change::Odmr(secret) => record.odmr = secret.map(|secret| secret.reveal().to_owned()),
                    Change::Fallback(fallback) => record.fallback = fallback.map(|fallback| fallback.to_string()),
                    Change::Disabled(disabled) => record.disabled = disabled,
                    _ => prove(record, verifiers),
                }
                Ok(())
            }
        }
    })
}

fn prove(record: &mut Record, verifiers: Option<Verifiers>) {
    let Some(Verifiers { argon2id, scram, .. }) = verifiers else { return };
    record.argon2id = argon2id.map(|phc| phc.as_str().to_owned());
    record.scram_sha_256 = scram.map(|verifier| verifier.to_string());
}
