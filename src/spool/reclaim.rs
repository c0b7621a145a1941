//! Disk space of messages that are gone, given back.
//!
//! In: what the committer does, and how full the disk is. Out: a thread that writes out and compacts the tables, and the
//! advice to begin a new journal. The store compacts by itself only while it is written to, so a spool that was emptied
//! and rests would keep the space of what it held: as tables, as files of values, and as a journal of up to 64 MiB.
//!
//! Invariant: at most one thread, at most one run in [`PERIOD`], and only when the directory holds far more than its
//! messages need and the disk has room for writing them out once more. The committer waits for none of it except the
//! change of journals, at rest or when the disk is full. How it fails: with a warning, and the next run tries again; a
//! crash at any point leaves what the store's own recovery knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::store::{Fault, StateRow, Store};

/// How long nothing is asked of a spool that rests.
const REST: Duration = Duration::from_secs(2);
/// Between the starts of two runs.
const PERIOD: Duration = Duration::from_secs(60);
/// Between two looks at the directory.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks whether the run is over.
const POLL: Duration = Duration::from_millis(100);
/// Octets that are never too much: dedup keys and records that are still in the journal, tables of the store's own.
const SLACK: u64 = 16 << 20;
/// Octets of a message besides its entity, amply.
const RECORD_OCTETS: u64 = 1024;
/// Octets of journals that are left alone.
const JOURNAL_KEPT: u64 = 8 << 20;

/// The disk, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Less than the reserve is free.
    pub full: bool,
    /// Octets that are free.
    pub free: u64,
}

/// What goes on.
pub(super) struct Reclaim {
    store: Arc<Store>,
    stop: Arc<AtomicBool>,
    /// Since the last look there may be something to gain.
    changed: bool,
    /// A run is over, and the journal may still hold what it freed.
    journal: bool,
    full: bool,
    touched: Instant,
    looked: Option<Instant>,
    started: Option<Instant>,
    running: Option<JoinHandle<Result<(), Fault>>>,
}

impl Reclaim {
    /// For a store that was just opened, which may hold more than it needs.
    pub fn new(store: Arc<Store>) -> Reclaim {
        let (stop, touched) = (Arc::default(), Instant::now());
        let (looked, started, running) = (None, None, None);
        Reclaim { store, stop, changed: true, journal: false, full: false, touched, looked, started, running }
    }

    /// Something was asked of the spool.
    pub fn touched(&mut self) {
        self.touched = Instant::now();
        self.changed = true;
    }

    /// When [`Reclaim::step`] is to be called again; `None` when only after the spool was touched.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if self.running.is_some() {
            return Some(now + POLL);
        }
        if !self.changed && !self.journal {
            return None;
        }
        let rest = if self.full { now } else { self.touched + REST };
        if self.journal {
            return Some(rest);
        }
        let look = self.looked.map_or(now, |looked| looked + LOOK);
        Some(self.started.map_or(now, |started| started + PERIOD).max(look).max(rest))
    }

    /// Starts a run when one is due; says whether the committer should begin a new journal now.
    pub fn step(&mut self, room: Room, state: &StateRow) -> bool {
        let now = Instant::now();
        self.full = room.full;
        if let Some(job) = self.running.take_if(|job| job.is_finished()) {
            self.over(job);
        }
        if self.due(now).is_none_or(|due| due > now) {
            return false;
        }
        if std::mem::take(&mut self.journal) {
            return self.store.journal_octets() > JOURNAL_KEPT;
        }
        self.looked = Some(now);
        let live = state.octets.saturating_add(state.messages.saturating_mul(RECORD_OCTETS));
        let held = self.store.disk_octets();
        if !is_wasteful(held, live, room.full) {
            // At rest it stays so; a full disk changes without us.
            self.changed = room.full;
        } else if room.free >= live.saturating_add(SLACK) {
            self.start(now, held, live);
        }
        false
    }

    fn start(&mut self, now: Instant, held: u64, live: u64) {
        tracing::info!(held, live, "the spool gives disk space back");
        self.changed = false;
        self.started = Some(now);
        let (store, stop) = (self.store.clone(), self.stop.clone());
        let job = move || store.reclaim(&stop);
        match std::thread::Builder::new().name("spool-reclaim".to_owned()).spawn(job) {
            Ok(job) => self.running = Some(job),
            Err(error) => tracing::warn!(%error, "no thread to give disk space of the spool back; tried again later"),
        }
    }

    fn over(&mut self, job: JoinHandle<Result<(), Fault>>) {
        match job.join().unwrap_or(Err(Fault::Panic)) {
            Ok(()) => self.journal = true,
            Err(fault) => {
                tracing::warn!(%fault, "disk space of the spool could not be given back; tried again later");
                self.changed = true;
            }
        }
    }

    /// Ends the run that is going on, after the step it is at.
    pub fn finish(&mut self) {
        self.stop.store(true, Relaxed);
        // What it could not do the next start does.
        drop(self.running.take().map(JoinHandle::join));
    }
}

/// Whether so much is held for so little.
fn is_wasteful(held: u64, live: u64, full: bool) -> bool {
    let fair = if full { live.saturating_add(live / 4) } else { live.saturating_mul(2) };
    held > fair.saturating_add(SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much() {
        let check = |held: u64, live: u64, full, expected| {
            assert_eq!(is_wasteful(held << 20, live << 20, full), expected, "{held} MiB for {live} MiB, full: {full}");
        };
        check(16, 0, false, false);
        check(17, 0, false, true);
        check(100, 60, false, false);
        check(100, 60, true, true);
        check(90, 60, true, false);
        check(u64::MAX >> 20, u64::MAX >> 20, true, false);
    }
}
