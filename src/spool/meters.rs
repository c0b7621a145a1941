//! Numbers about the spool, cheap to keep and to read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Status;
use super::store::StateRow;

/// The counters behind [`Status`]. Only the committer writes them.
#[derive(Default)]
pub(super) struct Meters {
    messages: AtomicU64,
    owed: AtomicU64,
    octets: AtomicU64,
    aside: AtomicU64,
    commits: AtomicU64,
    commands: AtomicU64,
    largest: AtomicU64,
    duplicates: AtomicU64,
    syncs: AtomicU64,
    micros: AtomicU64,
    read_only: Mutex<Option<String>>,
}

impl Meters {
    /// What the store holds, and how many more were put aside.
    pub fn holds(&self, state: &StateRow, aside: u64) {
        self.messages.store(state.messages.saturating_sub(state.owed), Relaxed);
        self.owed.store(state.owed, Relaxed);
        self.octets.store(state.octets, Relaxed);
        self.aside.fetch_add(aside, Relaxed);
    }

    /// A group was written.
    pub fn group(&self, commands: usize, took: Duration, synced: bool) {
        self.commits.fetch_add(1, Relaxed);
        self.commands.fetch_add(commands as u64, Relaxed);
        self.largest.fetch_max(commands as u64, Relaxed);
        if synced {
            self.syncs.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// A sync without a group.
    pub fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// So many recipients were second copies.
    pub fn duplicates(&self, count: u64) {
        self.duplicates.fetch_add(count, Relaxed);
    }

    /// The spool went read-only, or came back.
    pub fn read_only(&self, reason: Option<String>) {
        *self.read_only.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// All of them.
    pub fn status(&self) -> Status {
        Status {
            messages: self.messages.load(Relaxed),
            owed: self.owed.load(Relaxed),
            octets: self.octets.load(Relaxed),
            set_aside: self.aside.load(Relaxed),
            read_only: self.read_only.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            commits: self.commits.load(Relaxed),
            commands: self.commands.load(Relaxed),
            largest_group: self.largest.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            writing: Duration::from_micros(self.micros.load(Relaxed)),
        }
    }
}
