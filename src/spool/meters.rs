//! Numbers about the spool, cheap to keep and to read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::store::StateRow;
use super::{Distributions, Status};
use crate::meter::Histogram;

/// Upper bounds of what a commit may take, in microseconds: from a disk with a cache that keeps its word to one that fails.
const TIMES: [u64; 12] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
/// Upper bounds of the commands that share a commit.
const SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The counters behind [`Status`]. Only the committer writes them.
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
    times: Histogram<12>,
    sizes: Histogram<9>,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            messages: AtomicU64::default(),
            owed: AtomicU64::default(),
            octets: AtomicU64::default(),
            aside: AtomicU64::default(),
            commits: AtomicU64::default(),
            commands: AtomicU64::default(),
            largest: AtomicU64::default(),
            duplicates: AtomicU64::default(),
            syncs: AtomicU64::default(),
            micros: AtomicU64::default(),
            read_only: Mutex::default(),
            times: Histogram::new(TIMES),
            sizes: Histogram::new(SIZES),
        }
    }
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
        self.times.observe(took.as_micros() as u64);
        self.sizes.observe(commands as u64);
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

    /// How commits were spread.
    pub fn distributions(&self) -> Distributions {
        Distributions { times: self.times.read(), sizes: self.sizes.read() }
    }

    /// All others.
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
