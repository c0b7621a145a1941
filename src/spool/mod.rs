//! The spool: messages on stable storage, from acceptance until the last recipient is completed.
//!
//! In: messages and settlements, from any number of tasks. Out: an answer to a message when it is durable, to a settlement
//! when it is written; each new record once on a channel; records and entities when asked. Invariant: a message that was
//! answered with success survives any crash; completion of a recipient, the receipt that it causes and the dedup key are
//! one commit.
//!
//! # States of a message
//!
//! | | state | record | entity | dedup keys | |
//! | --- | --- | --- | --- | --- | --- |
//! | S0 | being received | – | – | – | only in the memory of `receive` |
//! | S1 | in a group that is being written | ? | ? | ? | one atomic batch: all of it is there or nothing |
//! | S1a | written, the sync is under way | ? | ? | ? | can be read, and goes to who drops second copies |
//! | S2 | durable, some recipients open | yes | yes | yes | `250` was said; the queue has it |
//! | S3 | some recipients settled | changed | yes | yes | the record says which; receipts are messages of their own in S2 |
//! | S3a | delivered, some devices have not had it | changed | yes | yes | done for its sender; the record names the devices |
//! | S4 | the last recipient settled, the last device has had it | – | – | yes | one batch with the receipts |
//! | S5 | dedup keys run out after 8 days | – | – | – | compaction drops them |
//! | S6 | put aside | moved | yes | yes | it could not be read; `impartctl queue` shows it with the reason |
//!
//! # What recovery does
//!
//! | crash in | found at the start | what happens |
//! | --- | --- | --- |
//! | S0, S1, S1a not on the disk | nothing | the sender had no `250` and sends again; whoever had it drops the second copy |
//! | S1, S1a on the disk, not answered | S2 | it is delivered; the sender sends again, and that copy is dropped by its dedup key |
//! | S2 | S2 | [`Spool::page`] shows it to the queue |
//! | S3 or S4, settled with a receipt, not written | the state before | what was in flight is offered again; the next server drops it, and the receipt is made then |
//! | S3 or S4, settled with a receipt, written | the state after | the receipt is a message in S2: neither lost nor doubled |
//! | S3 or S4, settled without a receipt, not yet synced | before or after | as above; at most 50 ms of settlements |
//!
//! The tables of presence have rows of their own here, in the same commits ([`Spool::put`]); what is in them is
//! [`crate::presence`]'s.
//!
//! Devices are known from before anything is offered to them until they are forgotten, which is a commit of its own. What
//! one has had is a settlement like any other: after a crash it may be offered again what it answered last.
//!
//! A batch that was cut by the crash is not there at all. Damage elsewhere in a journal, a flipped bit, costs at most
//! the batch that it hit (`journal`); damage in a row costs that message, which is put aside. When a write or a sync
//! fails the spool turns read-only, answers `452 4.3.1`, keeps settlements in memory, and opens the store again until
//! that works (`commit`).
//!
//! # Memory
//!
//! The spool holds nothing per message: rows that were not written out yet (bounded, `store`), a cache of blocks
//! ([`Options::cache`]), the group at hand (16 MiB and one message), and what waits for it ([`Options::waiting`]).
//!
//! # Layout of the directory
//!
//! `lock` names the process that has it; `format` says `impart spool 1`; `secret` is for `journal`; `store/` is the database; `damaged-TIME/` is
//! what was set aside at a start. All of it belongs together: copy the whole directory, of a stopped daemon.

mod commit;
mod dedup;
mod error;
mod files;
mod group;
mod inbox;
mod journal;
mod known;
mod lock;
mod meters;
mod reclaim;
pub mod record;
mod row;
mod store;

#[cfg(test)]
mod early_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod reclaim_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use self::commit::{Committer, Disk, Unsure};
use self::dedup::Expiry;
pub use self::error::{OpenError, SpoolError};
use self::group::{Command, Outcome, Prepared, Remember};
use self::inbox::Inbox;
use self::lock::Lock;
use self::meters::Meters;
pub use self::record::*;
pub use self::row::RowError;
use self::store::{Change, Fault, Scanned, Store, Table};
#[cfg(test)]
pub(crate) use self::tests::copy as copy_for_tests;
use crate::disk;
use crate::meter::Distribution;

/// What an administrator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Octets of the cache of blocks that were read.
    pub cache: u64,
    /// Octets of the disk that stay free: with less, no message is accepted, so that deliveries can still be recorded.
    pub reserve: u64,
    /// Messages and settlements that wait for a commit at once; who comes later waits before he is let in.
    pub waiting: usize,
    /// Whether a store that does not open is moved away, and an empty one started.
    pub set_aside_damaged: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache: 32 << 20, reserve: 64 << 20, waiting: 4096, set_aside_damaged: false }
    }
}

/// What comes with an open spool.
#[derive(Debug)]
pub struct Opened {
    /// Each record that is new since the start and has an open recipient, once, when it can be read; a message that was
    /// accepted may not be durable by then ([`Spool::is_durable`]), a receipt is.
    pub arrivals: mpsc::UnboundedReceiver<Arc<Record>>,
    /// Each record that was announced and is taken back, since the write failed.
    pub withdrawn: mpsc::UnboundedReceiver<Arc<Record>>,
    /// The identifier of the first new record; smaller ones were there, and [`Spool::page`] shows them.
    pub first_new: QueueId,
    /// The devices that are known.
    pub devices: Vec<Known>,
    /// What was put aside, now or earlier, with the reasons: identifiers of messages, names of files.
    pub set_aside: Vec<(String, String)>,
}

/// What became of an accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Its identifier, or that of the first copy.
    pub id: QueueId,
    /// How many recipients had the message before.
    pub duplicates: usize,
    /// All had, and nothing was stored.
    pub all_duplicate: bool,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// It changed something. If not, the message is gone or its recipients named were closed before, and no receipt
    /// was stored.
    pub applied: bool,
}

/// How commits were spread since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distributions {
    /// What each took, its sync included, in microseconds.
    pub times: Distribution,
    /// The commands that shared each.
    pub sizes: Distribution,
}

/// The spool in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Messages with an open recipient.
    pub messages: u64,
    /// Messages that are delivered, and kept for further devices.
    pub owed: u64,
    /// Octets of the entities of both.
    pub octets: u64,
    /// Records that were put aside.
    pub set_aside: u64,
    /// Why nothing is accepted, when that is so.
    pub read_only: Option<String>,
    /// Groups written since the start.
    pub commits: u64,
    /// Messages and settlements in them.
    pub commands: u64,
    /// The most in one group.
    pub largest_group: u64,
    /// Recipients that were second copies.
    pub duplicates: u64,
    /// Syncs, those of groups and those on their own.
    pub syncs: u64,
    /// Time spent on writing and syncing.
    pub writing: Duration,
}

/// An open spool. Clones are the same spool; the last one to go closes it.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    inbox: Arc<Inbox<Command>>,
    store: Arc<Store>,
    meters: Arc<Meters>,
    next: Arc<AtomicU64>,
    disk: Disk,
    unsure: watch::Receiver<Option<Unsure>>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.inbox.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // So that the directory is free when the last clone is gone. A committer that panicked has said so itself.
        thread.map(JoinHandle::join);
    }
}

impl Spool {
    /// Opens the spool in a directory, and makes both where they are missing.
    pub fn open(dir: &Path, options: Options) -> Result<(Spool, Opened), OpenError> {
        let mut lock = Lock::take(dir)?;
        let expiry = Arc::new(Expiry::default());
        let (store, mut set_aside) = open_store(dir, &options, &expiry, &lock)?;
        lock.seal(dir)?;
        let unreadable = |fault| damaged(dir, fault);
        let state = store.state(!set_aside.is_empty()).map_err(unreadable)?;
        set_aside.extend(store.aside().map_err(unreadable)?.into_iter().map(|(id, reason)| (id.to_string(), reason)));
        let devices = store.devices().map_err(unreadable)?;
        let (arrivals, opened) = mpsc::unbounded_channel();
        let (taken_back, withdrawn) = mpsc::unbounded_channel();
        let (done, finished) = oneshot::channel();
        let (unsure, watched) = watch::channel(None);
        let (store, meters) = (Arc::new(store), Arc::new(Meters::default()));
        let inbox = Arc::new(Inbox::new(options.waiting));
        meters.holds(&state, set_aside.len() as u64);
        let next = Arc::new(AtomicU64::new(state.next));
        let disk = Disk::new(dir.to_owned(), options.reserve);
        let committer = Committer {
            inbox: inbox.clone(),
            store: store.clone(),
            meters: meters.clone(),
            arrivals,
            withdrawn: taken_back,
            unsure,
            expiry,
            disk,
            state,
            next: next.clone(),
            lock,
            done,
        };
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || committer.run())
            .map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
        let disk = Disk::new(dir.to_owned(), options.reserve);
        let (done, thread) = (Mutex::new(Some(finished)), Mutex::new(Some(thread)));
        let spool = Spool(Arc::new(Inner { inbox, store, meters, next, disk, unsure: watched, done, thread }));
        Ok((spool, Opened { arrivals: opened, withdrawn, first_new: QueueId(state.next), devices, set_aside }))
    }

    /// A secret for another use, by name: the same as long as the spool is, and of no help in guessing the spool's own.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0.store.secret().to_le_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        secret
    }

    /// An identifier for a message that is about to be accepted, so that its trace field can name it. One that is not used
    /// is lost, which harms nobody.
    pub fn reserve(&self) -> QueueId {
        QueueId(self.0.next.fetch_add(1, Relaxed))
    }

    /// Takes a message. Resolves when it, its dedup keys included, is on stable storage, or when it was refused.
    ///
    /// Messages are stored in the order in which their futures are first polled. When the future is dropped the
    /// message may be stored nevertheless.
    pub fn accept(&self, message: NewMessage) -> impl Future<Output = Result<Acceptance, SpoolError>> + Send + use<> {
        self.accept_with(message, Vec::new())
    }

    /// Takes a message, and in the same commit receipts that its acceptance causes, each with the index of a recipient: it
    /// is stored unless that recipient had the message before.
    pub fn accept_with(
        &self,
        message: NewMessage,
        receipts: Vec<(usize, NewMessage)>,
    ) -> impl Future<Output = Result<Acceptance, SpoolError>> + Send + use<> {
        let inner = self.0.clone();
        let message = Box::new(Prepared::with_receipts(message, receipts));
        async move {
            let (reply, answer) = oneshot::channel();
            let sent = inner.inbox.send(Command::Accept(message, reply)).await;
            sent.map_err(|_| SpoolError::Closed)?;
            let answer = answer.await.unwrap_or(Err(SpoolError::Closed));
            answer.map(|(acceptance, _)| acceptance)
        }
    }

    /// Records what became of recipients of a message, and stores the receipts that this causes, in one commit. The
    /// message goes when no recipient is open and none is owed to a device any more.
    ///
    /// It resolves when it is written; with receipts the sync follows at once, without it comes with the next group or
    /// after 50 ms. Written once it is not given up: after a failed sync it is written again. Receipts are stored only if a recipient that it names was open: a settlement that comes
    /// twice counts once. While the spool is read-only it waits.
    pub fn settle(&self, settlement: Settlement) -> impl Future<Output = Result<Settled, SpoolError>> + Send + use<> {
        let inner = self.0.clone();
        let outcome = Outcome::from(settlement);
        async move {
            let (reply, answer) = oneshot::channel();
            let sent = inner.inbox.send(Command::Settle(outcome, reply)).await;
            sent.map_err(|_| SpoolError::Closed)?;
            answer.await.unwrap_or(Err(SpoolError::Closed))
        }
    }

    /// Knows devices from now on, or that they were attached. Resolves when that is on stable storage.
    pub async fn know(&self, devices: Vec<Known>) -> Result<(), SpoolError> {
        self.remember(devices, Remember::Yes).await
    }

    /// Forgets devices. Resolves when that is on stable storage.
    pub async fn forget(&self, devices: Vec<Known>) -> Result<(), SpoolError> {
        self.remember(devices, Remember::No).await
    }

    async fn remember(&self, devices: Vec<Known>, remember: Remember) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.inbox.send(Command::Devices(devices, remember, reply)).await;
        sent.map_err(|_| SpoolError::Closed)?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Changes rows of presence together, `None` takes one away. They are on their way when this returns, in the order of
    /// the calls; with `durable` it resolves when they are on stable storage, else at once, and they are synced with the
    /// next group or after 50 ms. While the spool is read-only it fails, and the rows are written when it has recovered:
    /// whoever holds the tables in memory is ahead of the disk, never beside it.
    pub fn put(
        &self,
        rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        durable: bool,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send + use<> {
        let rows = rows.into_iter().map(|(key, content)| {
            let change = content.map_or(Change::Remove, |content| Change::Put(row::bound(&content, &key).into()));
            (fjall::Slice::from(key), change)
        });
        let (reply, answer) = oneshot::channel();
        let command = Command::Presence(rows.collect(), durable.then_some(reply));
        // Its number is bounded by who asks: connections, and the one that delivers.
        let noted = self.0.inbox.note(command).map_err(|_| SpoolError::Closed);
        async move {
            noted?;
            if durable { answer.await.unwrap_or(Err(SpoolError::Closed)) } else { Ok(()) }
        }
    }

    /// Shows each row of presence, in the order of keys; gives how many are damaged, which are left out. Reads the disk.
    pub fn presence(&self, each: impl FnMut(&[u8], &[u8])) -> Result<u64, SpoolError> {
        self.0.store.presence(each).map_err(unavailable)
    }

    /// The devices that are known. Reads the disk.
    pub fn devices(&self) -> Result<Vec<Known>, SpoolError> {
        self.0.store.devices().map_err(unavailable)
    }

    /// Puts a message aside that cannot be delivered because what the spool holds of it is damaged; says whether it was
    /// there. Its entity stays in the store.
    pub async fn put_aside(&self, id: QueueId, reason: &str) -> Result<bool, SpoolError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.inbox.send(Command::PutAside(id, reason.to_owned(), Some(reply))).await;
        sent.map_err(|_| SpoolError::Closed)?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }

    /// At most `limit` records in ascending order of identifiers, from `from` on. Records that cannot be read are left
    /// out and put aside. Reads the disk; about a microsecond for a record.
    pub fn page(&self, from: QueueId, limit: usize) -> Result<Vec<Record>, SpoolError> {
        let mut records = Vec::with_capacity(limit.min(1024));
        let mut reader = row::Reader::default();
        let mut broken = Vec::new();
        let scan = self.0.store.scan(from, |step| {
            if let Scanned::Row(id, row) = step {
                match reader.record(id, &row) {
                    Ok(record) => records.push(record),
                    Err(error) => broken.push((id, error)),
                }
            }
            records.len() < limit
        });
        for (id, error) in broken {
            // A closed spool leaves it for the next start.
            let _ = self.0.inbox.note(Command::PutAside(id, error.to_string(), None));
        }
        scan.map_err(unavailable)?;
        Ok(records)
    }

    /// One record; `None` when there is none of this identifier (any more).
    pub fn record(&self, id: QueueId) -> Result<Option<Record>, SpoolError> {
        let Some(row) = self.0.store.get(Table::Messages, &store::record_key(id)).map_err(unavailable)? else {
            return Ok(None);
        };
        let record = row::Reader::default().record(id, &row);
        record.map(Some).map_err(|error| SpoolError::Corrupt { id, reason: error.to_string() })
    }

    /// The entity of a message. One that came lately is in memory and not copied; an older one is read from the disk
    /// on the calling thread.
    pub async fn entity(&self, id: QueueId) -> Result<Option<Bytes>, SpoolError> {
        let corrupt = |reason: String| SpoolError::Corrupt { id, reason };
        match self.0.store.get(Table::Entities, &store::entity_key(id)) {
            Ok(None) => Ok(None),
            Ok(Some(row)) => row::entity_of(id, row).map(Some).map_err(|error| corrupt(error.to_string())),
            Err(Fault::Store(fjall::Error::Storage(error))) if !matches!(error, fjall::LsmError::Io(_)) => {
                Err(corrupt(format!("{error:?}")))
            }
            Err(fault) => Err(unavailable(fault)),
        }
    }

    /// Whether a message that was announced is on stable storage, as soon as that is known. Whoever would not know a
    /// second copy gets none before: after a crash the sender, who had no `250`, sends again.
    pub async fn is_durable(&self, id: QueueId) -> bool {
        let is_known = |unsure: &Option<Unsure>| match unsure {
            Some(unsure) => unsure.lost || !unsure.ids.contains(&id),
            None => true,
        };
        let mut watched = self.0.unsure.clone();
        // It fails when the spool is closed.
        let known = watched.wait_for(is_known).await;
        known.is_ok_and(|unsure| unsure.as_ref().is_none_or(|unsure| !unsure.ids.contains(&id)))
    }

    /// What was put aside, with the reasons.
    pub fn set_aside(&self) -> Result<Vec<(QueueId, String)>, SpoolError> {
        self.0.store.aside().map_err(unavailable)
    }

    /// The spool in numbers; costs nothing.
    pub fn status(&self) -> Status {
        self.0.meters.status()
    }

    /// Why it takes no messages at this moment, if so.
    pub fn refuses(&self) -> Option<String> {
        let full = || self.0.disk.lacks_room().then(|| "the disk is nearly full".to_owned());
        self.status().read_only.or_else(full)
    }

    /// How commits were spread.
    pub fn distributions(&self) -> Distributions {
        self.0.meters.distributions()
    }

    /// Finishes what waits, syncs, closes the store and frees the directory. What is asked of the spool after this
    /// fails with [`SpoolError::Closed`].
    pub async fn close(&self) {
        self.0.inbox.close();
        let done = self.0.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            // It is dropped unsent when the committer panicked: then too it is over.
            let _ = done.await;
        }
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Reads the content of a record row, which is what follows its version and checksum: for tests that throw anything at
/// it.
pub fn read_record(id: QueueId, content: &[u8]) -> Result<Record, RowError> {
    row::Reader::default().content(id, content)
}

fn unavailable(fault: Fault) -> SpoolError {
    match fault {
        Fault::Away => SpoolError::ReadOnly(fault.to_string()),
        fault => SpoolError::Io(fault.to_string()),
    }
}

type SetAside = Vec<(String, String)>;

/// Opens the store, mends its journals, and moves it away when that does not help and is allowed.
fn open_store(
    dir: &Path,
    options: &Options,
    expiry: &Arc<Expiry>,
    lock: &Lock,
) -> Result<(Store, SetAside), OpenError> {
    let (path, secret) = (dir.join("store"), lock.secret);
    let mut set_aside = SetAside::new();
    let mended = journal::mend(&path, &damaged_dir(dir), secret);
    set_aside.extend(mended.map_err(|error| OpenError::Io { path: path.clone(), error })?);
    let fault = match Store::open(&path, options.cache, expiry.clone(), secret) {
        Ok(store) => return Ok((store, set_aside)),
        Err(fault) => fault,
    };
    if lock.fresh && path.exists() {
        // A crash cut the making of the store short. Nothing was accepted into it, but it is moved, not deleted.
        let target = damaged_dir(dir);
        let moved = std::fs::create_dir_all(&target).and_then(|()| std::fs::rename(&path, target.join("store")));
        moved.map_err(|error| OpenError::Io { path: target.clone(), error })?;
        tracing::warn!("the store was not finished when it was made ({fault}); it is made anew");
        let store = Store::open(&path, options.cache, expiry.clone(), secret).map_err(|fault| damaged(dir, fault))?;
        return Ok((store, set_aside));
    }
    let refused = damaged(dir, fault);
    let OpenError::Damaged { reason, .. } = &refused else { return Err(refused) };
    if !options.set_aside_damaged {
        return Err(refused);
    }
    let target = damaged_dir(dir);
    let moved = std::fs::create_dir_all(&target)
        .and_then(|()| std::fs::rename(&path, target.join("store")))
        .and_then(|()| disk::sync_directory(dir));
    moved.map_err(|error| OpenError::Io { path: target.clone(), error })?;
    tracing::error!(to = %target.display(), reason, "the store of the spool is damaged; it was moved, an empty one is used");
    set_aside.push((target.display().to_string(), reason.clone()));
    let store = Store::open(&path, options.cache, expiry.clone(), secret).map_err(|fault| damaged(dir, fault))?;
    Ok((store, set_aside))
}

/// Where what is damaged goes.
fn damaged_dir(dir: &Path) -> PathBuf {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    dir.join(format!("damaged-{now}"))
}

/// A fault of the disk is told from damage to what it holds.
fn damaged(dir: &Path, fault: Fault) -> OpenError {
    use std::io::ErrorKind;
    let dir = dir.to_owned();
    match fault {
        Fault::Store(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)))
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            let path = dir.join("store");
            match error.kind() {
                ErrorKind::PermissionDenied => OpenError::Permission { dir, path },
                _ => OpenError::Io { path, error },
            }
        }
        Fault::Store(fjall::Error::Locked) => OpenError::InUse { dir, pid: None },
        fault => OpenError::Damaged { dir, reason: fault.to_string() },
    }
}
