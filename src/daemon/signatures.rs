//! Whom the daemon believes about signatures.
//!
//! In: the configuration. Out: [`Signatures`]. Invariant: files that are named are read at once, so that a mistake is told
//! when it is made; the system's authorities when the first signed message comes. Fails with the file's name.

use std::sync::LazyLock;

use super::lists::Fetched;
use crate::accounts::file::{Stamp, stamp};
use crate::config::{Config, FetchLists, Roots};
use crate::dns::Validation;
use crate::receive::signed::Signatures;
use crate::smime::Memory;
use crate::smime::trust::Trust;
use crate::tls::signers::{Revocations, SignersError, trust};

/// From the configuration, when it is read `again` with the system's authorities at once: what cannot be read then leaves those
/// that are believed as they were.
pub fn signatures(config: &Config, again: bool, fetched: &Fetched) -> Result<Signatures, SignersError> {
    let fetches = config.smime.fetch_crls != FetchLists::No;
    let (files, require) = (config.smime.revocations.clone(), config.smime.require.clone());
    let lists = Revocations { files, lists: if fetches { fetched.found() } else { Vec::new() } };
    let load: Box<dyn FnOnce() -> Trust + Send> = match &config.smime.roots {
        Roots::Files(files) => {
            let read = trust(Some(files), &lists)?;
            Box::new(move || read)
        }
        Roots::System if again => {
            let read = trust(None, &lists)?;
            Box::new(move || read)
        }
        Roots::System => {
            let nobody = trust(Some(&[]), &lists)?;
            Box::new(move || {
                trust(None, &lists).unwrap_or_else(|fault| {
                    tracing::error!("nobody is believed about signatures of messages: {fault}");
                    nobody
                })
            })
        }
    };
    let asks_dns = config.dns.validation != Validation::Off;
    let lists = fetches.then(|| fetched.lists());
    Ok(Signatures { trust: LazyLock::new(load), memory: Memory::default(), lists, asks_dns, require })
}

/// The lists of revoked certificates as they are now: when one changes, they are read again.
pub fn lists_stamp(config: &Config) -> Vec<Option<Stamp>> {
    config.smime.revocations.iter().map(|path| stamp(path)).collect()
}
