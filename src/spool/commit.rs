//! The committer: the one thread that writes.
//!
//! In: commands from the [`Inbox`]. Out: answers, and arrivals. It takes all that waits, makes one batch, writes it with
//! one sync and answers all; while it syncs the next group gathers, so there is no timer that delays a lone message.
//! What was accepted is announced as soon as it is written, and can be read: it is on its way while the disk works, and
//! whoever may not have it before it is durable waits for that ([`super::Spool::is_durable`]). Receipts are announced after
//! the sync: made again after a crash they would be others, which nobody could take for second copies.
//!
//! Settlements are answered when they are written, and stand whatever the sync does. Those without receipts need no sync
//! of their own: they are synced with the next group, or when the spool has been idle for [`IDLE_SYNC`]; a crash in
//! between offers a delivered message again, which the next server's dedup drops.
//!
//! How it fails: when a write or a sync fails, what is on the disk is unknown, and the store takes nothing more. Messages
//! of the group are refused, and taken out again when the store is back; settlements are kept and written again. Until
//! then the spool is read-only. The store is opened anew after a pause, when the disk has room, with growing pauses, for
//! ever.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::dedup::Expiry;
use super::error::SpoolError;
use super::group::{Answer, Command, Group, Redo, Tally};
use super::inbox::{Inbox, Taken};
use super::lock::Lock;
use super::meters::Meters;
use super::reclaim::{Reclaim, Room};
use super::record::{QueueId, Record};
use super::store::{Batch, Fault, StateRow, Store};

/// How long a settlement without receipts may be written and not synced.
const IDLE_SYNC: Duration = Duration::from_millis(50);
/// Octets of one batch, about.
const GROUP_OCTETS: usize = 16 << 20;
/// Changes that may be written and not synced.
const UNSYNCED_CHANGES: usize = 10_000;
/// Settlements that are kept while the spool is read-only.
const KEPT_SETTLEMENTS: usize = 100_000;
/// The first pause before the store is opened anew, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a look at the free space is good for.
const DISK_LOOK: Duration = Duration::from_millis(100);

/// Messages that were announced and are not on stable storage.
#[derive(Clone, Debug)]
pub(super) struct Unsure {
    /// Their identifiers, with some between them that may be.
    pub ids: RangeInclusive<QueueId>,
    /// The write has failed; they are to be taken out again.
    pub lost: bool,
}

/// What the committer is made of.
pub(super) struct Committer {
    pub inbox: Arc<Inbox<Command>>,
    pub store: Arc<Store>,
    pub meters: Arc<Meters>,
    pub arrivals: mpsc::UnboundedSender<Arc<Record>>,
    pub withdrawn: mpsc::UnboundedSender<Arc<Record>>,
    pub unsure: watch::Sender<Option<Unsure>>,
    pub expiry: Arc<Expiry>,
    pub disk: Disk,
    pub state: StateRow,
    pub next: Arc<AtomicU64>,
    pub lock: Lock,
    pub done: oneshot::Sender<()>,
}

/// The disk under the spool.
pub(super) struct Disk {
    dir: PathBuf,
    reserve: u64,
    looked: Option<(Instant, Room)>,
}

impl Disk {
    /// With octets that are to stay free.
    pub fn new(dir: PathBuf, reserve: u64) -> Disk {
        Disk { dir, reserve, looked: None }
    }

    fn is_full(&mut self) -> bool {
        self.room().full
    }

    /// Whether less is free than the reserve, at this moment.
    pub fn lacks_room(&self) -> bool {
        self.free().is_some_and(|free| free < self.reserve)
    }

    /// Whether less is free than the reserve; a disk that cannot be asked is not full.
    fn room(&mut self) -> Room {
        let now = Instant::now();
        if let Some((when, room)) = self.looked
            && now.duration_since(when) < DISK_LOOK
        {
            return room;
        }
        let free = self.free().unwrap_or(u64::MAX);
        let room = Room { full: free < self.reserve, free };
        if room.full && self.looked.is_none_or(|(_, before)| !before.full) {
            tracing::error!(dir = %self.dir.display(), reserve = self.reserve, "the disk of the spool is nearly full");
        }
        self.looked = Some((now, room));
        room
    }

    fn free(&self) -> Option<u64> {
        #[cfg(test)]
        if let Some(free) = super::reclaim_tests::pretended_free(&self.dir) {
            return Some(free);
        }
        let stat = rustix::fs::statvfs(&self.dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// What is written and not yet synced.
#[derive(Default)]
struct Unsynced {
    batches: VecDeque<Batch>,
    changes: usize,
    since: Option<Instant>,
}

/// What waits while the store is down.
struct Down {
    reason: String,
    redo: Redo,
    tally: Tally,
    answers: Vec<Answer>,
    receipts: Vec<Arc<Record>>,
    waiting: Vec<Command>,
    pause: Duration,
    next_try: Instant,
}

/// The committer at work.
struct Work {
    inbox: Arc<Inbox<Command>>,
    store: Arc<Store>,
    meters: Arc<Meters>,
    arrivals: mpsc::UnboundedSender<Arc<Record>>,
    withdrawn: mpsc::UnboundedSender<Arc<Record>>,
    unsure: watch::Sender<Option<Unsure>>,
    expiry: Arc<Expiry>,
    disk: Disk,
    state: StateRow,
    /// The next identifier that nobody has.
    next: Arc<AtomicU64>,
    unsynced: Unsynced,
    down: Option<Box<Down>>,
    reclaim: Reclaim,
}

impl Committer {
    /// Works until the inbox is closed and empty; then closes the store and gives up the lock.
    pub fn run(self) {
        let Committer { inbox, store, meters, arrivals, withdrawn, unsure, expiry, disk, state, next, lock, done } =
            self;
        let (unsynced, down) = (Unsynced::default(), None);
        let reclaim = Reclaim::new(store.clone());
        let mut work = Work {
            inbox,
            store,
            meters,
            arrivals,
            withdrawn,
            unsure,
            expiry,
            disk,
            state,
            next,
            unsynced,
            down,
            reclaim,
        };
        work.run();
        work.reclaim.finish();
        work.store.close();
        drop(lock);
        // Nobody waits for it when the spool was dropped.
        let _ = done.send(());
    }
}

impl Work {
    fn run(&mut self) {
        let mut taken = Vec::new();
        loop {
            let until = match &self.down {
                Some(down) => Some(down.next_try),
                None => {
                    let sync = self.unsynced.since.map(|since| since + IDLE_SYNC);
                    sync.into_iter().chain(self.reclaim.due(Instant::now())).min()
                }
            };
            match self.inbox.take(&mut taken, until) {
                Taken::Some => self.commands(&mut taken),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            self.when_due();
        }
        if let Some(down) = self.down.take() {
            let error = SpoolError::ReadOnly(down.reason);
            down.answers.into_iter().for_each(|answer| answer.refuse(error.clone()));
            down.waiting.into_iter().for_each(|command| refuse(command, error.clone()));
        } else if let Err(fault) = self.store.sync() {
            tracing::error!(%fault, "the last sync of the spool failed; what was settled last may be delivered again");
        }
    }

    /// The sync of what was written, or the attempt to open the store again.
    fn when_due(&mut self) {
        let now = Instant::now();
        if let Some(down) = self.down.take_if(|down| down.next_try <= now) {
            self.recover(down);
        } else if self.down.is_none() && self.unsynced.since.is_some_and(|since| since + IDLE_SYNC <= now) {
            self.sync();
        }
        if self.down.is_none() && self.reclaim.step(self.disk.room(), &self.state) {
            self.new_journal();
        }
    }

    /// Changes to a new journal, so that the old one can go.
    fn new_journal(&mut self) {
        self.sync();
        if self.down.is_none()
            && let Err(fault) = self.store.new_journal()
        {
            self.go_down(&fault, Redo::default(), None);
        }
    }

    fn commands(&mut self, taken: &mut Vec<Command>) {
        self.reclaim.touched();
        let mut commands = taken.drain(..);
        while self.down.is_none() && commands.len() > 0 {
            self.group(&mut commands);
        }
        for command in commands {
            self.keep_or_refuse(command);
        }
    }

    /// Fills one group and writes it.
    fn group(&mut self, commands: &mut impl ExactSizeIterator<Item = Command>) {
        let (store, next) = (self.store.clone(), self.next.clone());
        let mut group = Group::new(&store, &next, commands.len());
        let mut count = 0;
        for command in commands {
            match command {
                Command::Accept(_, reply) if self.disk.is_full() => drop(reply.send(Err(SpoolError::Full))),
                Command::Accept(message, reply) => group.accept(message, reply),
                Command::Settle(outcome, reply) => group.settle(outcome, reply),
                Command::PutAside(id, reason, reply) => group.put_aside(id, &reason, reply),
                Command::Devices(devices, remember, reply) => group.devices(devices, remember, reply),
                Command::Presence(rows, reply) => group.presence(rows, reply),
            }
            count += 1;
            if group.octets() >= GROUP_OCTETS {
                break;
            }
        }
        group.finish();
        self.write(group, count);
    }

    fn write(&mut self, mut group: Group<'_>, count: usize) {
        if let Some(now) = group.now {
            self.expiry.advance(now);
        }
        self.meters.duplicates(group.duplicates);
        if group.is_empty() {
            return group.written.into_iter().chain(group.answers).for_each(Answer::give);
        }
        let mut state = StateRow { next: group.next(), ..self.state };
        group.accepted.apply(&mut state);
        group.settled.apply(&mut state);
        let mut batch = std::mem::take(&mut group.accepts);
        let accepts = batch.len();
        batch.append(std::mem::take(&mut group.settles));
        batch.seal(&state, self.store.secret());
        let sync = group.sync || self.unsynced.changes + batch.len() > UNSYNCED_CHANGES;
        let started = Instant::now();
        match self.write_and_announce(&batch, sync, &state, &mut group) {
            Ok(()) => {
                self.state = state;
                self.meters.group(count, started.elapsed(), sync);
                if sync {
                    self.unsynced = Unsynced::default();
                } else {
                    self.unsynced.changes += batch.len();
                    self.unsynced.batches.push_back(batch);
                    self.unsynced.since.get_or_insert(started);
                }
                announce(&self.arrivals, group.late);
                announce(&self.arrivals, group.receipts);
                group.answers.into_iter().for_each(Answer::give);
            }
            Err(fault) => {
                let (accepts, settles) = batch.split(accepts);
                let mut redo = Redo::default();
                redo.undo(accepts);
                self.meters.holds(&self.state, 0);
                announce(&self.withdrawn, group.arrivals);
                self.go_down(&fault, redo, Some(settles));
                self.keep(group.settled, group.receipts, group.written.into_iter().chain(group.answers));
            }
        }
    }

    /// Writes a batch; what was accepted is announced, and settlements are answered, between the writing and the sync.
    fn write_and_announce(
        &self,
        batch: &Batch,
        sync: bool,
        state: &StateRow,
        group: &mut Group<'_>,
    ) -> Result<(), Fault> {
        self.store.commit(batch)?;
        self.meters.holds(state, group.aside);
        let ids = || group.arrivals.iter().map(|record| record.id);
        if let Some((first, last)) = ids().min().zip(ids().max()) {
            self.unsure.send_replace(Some(Unsure { ids: first..=last, lost: false }));
        }
        announce(&self.arrivals, group.arrivals.iter().cloned());
        group.written.drain(..).for_each(Answer::give);
        if sync {
            self.store.sync()?;
            self.unsure.send_if_modified(|unsure| unsure.take().is_some());
        }
        Ok(())
    }

    /// What stands or falls with settlements waits; senders are refused.
    fn keep(&mut self, tally: Tally, receipts: Vec<Arc<Record>>, answers: impl Iterator<Item = Answer>) {
        let Some(down) = &mut self.down else { return };
        down.tally = tally;
        down.receipts = receipts;
        for answer in answers {
            match answer {
                // Its rows are written later all the same: whoever says it again changes nothing.
                Answer::Accept(..) | Answer::Presence(_) => answer.refuse(SpoolError::ReadOnly(down.reason.clone())),
                answer => down.answers.push(answer),
            }
        }
    }

    fn sync(&mut self) {
        let started = Instant::now();
        match self.store.sync() {
            Ok(()) => {
                self.unsynced = Unsynced::default();
                self.meters.synced(started.elapsed());
            }
            Err(fault) => self.go_down(&fault, Redo::default(), None),
        }
    }

    fn go_down(&mut self, fault: &Fault, mut redo: Redo, settles: Option<Batch>) {
        let reason = fault.to_string();
        tracing::error!(%reason, "a write to the spool failed; it takes no messages until it has recovered");
        for batch in std::mem::take(&mut self.unsynced).batches.into_iter().chain(settles) {
            redo.again(batch);
        }
        self.meters.read_only(Some(reason.clone()));
        self.unsure.send_if_modified(|unsure| {
            unsure.as_mut().is_some_and(|unsure| !std::mem::replace(&mut unsure.lost, true))
        });
        self.down = Some(Box::new(Down {
            reason,
            redo,
            tally: Tally::default(),
            answers: Vec::new(),
            receipts: Vec::new(),
            waiting: Vec::new(),
            pause: PAUSE,
            next_try: Instant::now() + PAUSE,
        }));
    }

    fn keep_or_refuse(&mut self, command: Command) {
        let Some(down) = &mut self.down else { return };
        match command {
            Command::Settle(..) if down.waiting.len() < KEPT_SETTLEMENTS => down.waiting.push(command),
            Command::Presence(rows, reply) => {
                // The tables of presence are in memory and have changed: the rows follow when they can.
                down.redo.presence(rows);
                if let Some(reply) = reply {
                    drop(reply.send(Err(SpoolError::ReadOnly(down.reason.clone()))));
                }
            }
            command => refuse(command, SpoolError::ReadOnly(down.reason.clone())),
        }
    }

    /// Opens the store again, and writes what the fault left undone.
    fn recover(&mut self, mut down: Box<Down>) {
        if let Err(reason) = self.try_recover(&down) {
            down.pause = (down.pause * 2).min(LONGEST_PAUSE);
            down.next_try = Instant::now() + down.pause;
            tracing::error!(%reason, seconds = down.pause.as_secs(), "the spool is still read-only; it tries again");
            self.meters.read_only(Some(reason.clone()));
            down.reason = reason;
            self.down = Some(down);
            return;
        }
        tracing::warn!("the spool has recovered and takes messages again");
        self.meters.read_only(None);
        self.meters.holds(&self.state, 0);
        announce(&self.arrivals, down.receipts);
        down.answers.into_iter().for_each(Answer::give);
        self.commands(&mut down.waiting);
    }

    fn try_recover(&mut self, down: &Down) -> Result<(), String> {
        self.disk.looked = None;
        if self.disk.is_full() {
            return Err("the disk has less free space than the reserve".to_owned());
        }
        self.store.reopen().map_err(|fault| fault.to_string())?;
        let mut state = StateRow { next: self.next.load(Relaxed), ..self.state };
        down.tally.apply(&mut state);
        let mut batch = down.redo.batch();
        batch.seal(&state, self.store.secret());
        self.store.commit(&batch).and_then(|()| self.store.sync()).map_err(|fault| fault.to_string())?;
        self.unsure.send_replace(None);
        self.state = state;
        Ok(())
    }
}

fn refuse(command: Command, error: SpoolError) {
    match command {
        Command::Accept(_, reply) => drop(reply.send(Err(error))),
        Command::Settle(_, reply) => drop(reply.send(Err(error))),
        Command::PutAside(_, _, Some(reply)) => drop(reply.send(Err(error))),
        Command::PutAside(_, _, None) => {}
        Command::Devices(_, _, reply) | Command::Presence(_, Some(reply)) => drop(reply.send(Err(error))),
        Command::Presence(_, None) => {}
    }
}

fn announce(arrivals: &mpsc::UnboundedSender<Arc<Record>>, records: impl IntoIterator<Item = Arc<Record>>) {
    for record in records {
        // An administrator's program does not listen.
        let _ = arrivals.send(record);
    }
}
