//! Whom the daemon believes about signatures.
//!
//! In: the configuration. Out: [`Signatures`]. Invariant: files that are named are read at once, so that a mistake is told
//! when it is made; the system's authorities when the first signed message comes. Fails with the file's name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

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

/// An order for what is read beside other work: what was begun earlier never takes the place of what was begun later.
#[derive(Debug, Default)]
pub struct Turns {
    given: AtomicU64,
    taken: Mutex<u64>,
}

impl Turns {
    /// A turn, later than all before.
    pub fn next(&self) -> u64 {
        self.given.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sets what was read in that turn, unless a later one was faster.
    pub fn take(&self, turn: u64, set: impl FnOnce()) {
        // A number that a panic left is whole.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if turn > *taken {
            *taken = turn;
            set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_earlier_comes_too_late() {
        let (turns, mut seen) = (Turns::default(), Vec::new());
        let all: [u64; 3] = std::array::from_fn(|_| turns.next());
        for turn in [all[1], all[0], all[2]] {
            turns.take(turn, || seen.push(turn));
        }
        assert_eq!(seen, [all[1], all[2]]);
    }
}
