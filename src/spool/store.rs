//! The tables on disk: fjall keyspaces, what stands under which key, and atomic batches over all of them.
//!
//! | keyspace | key | row |
//! | --- | --- | --- |
//! | `messages` | `s` | next identifier, number of messages, their octets, how many are kept for further devices only |
//! | | `r` id | a record ([`row`]) |
//! | | `x` id | a record that could not be read, with the reason |
//! | | `d` inbox 0 device | a device that is known: when it was attached last |
//! | `entities` | id | an entity; values above 8 KiB lie in files of their own |
//! | | `m` | nothing; see [`Batch::seal`] |
//! | `dedup` | digest | when it runs out, first copy ([`super::dedup`]) |
//! | `presence` | as [`crate::presence`] says | what it keeps, bound to the key |
//!
//! Identifiers are eight octets, big-endian, so that the order of keys is the order of arrival. Invariant: a batch is
//! written whole or not at all. Fails by fjall's error, after which fjall takes no more writes until it is opened anew.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fjall::compaction::filter::Factory;
use fjall::config::BlockSizePolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode, Slice};

use super::dedup::{Expiry, Filters, Key};
use super::files::{damaged_version, journals, octets_under};
use super::known;
use super::record::{Known, QueueId};
use super::row;
use crate::disk;

/// Entities above this many octets are kept apart from their keys, so that compaction does not copy them.
const SEPARATE_OCTETS: u32 = 8 * 1024;
/// Octets of each keyspace that wait in memory: in proportion to what one message writes, so that all are written out
/// about equally often and none holds journals back.
const MESSAGES_OCTETS: u64 = 16 << 20;
const ENTITIES_OCTETS: u64 = 48 << 20;
const DEDUP_OCTETS: u64 = 8 << 20;
const PRESENCE_OCTETS: u64 = 16 << 20;
/// Octets of journals; what is read at a start.
const JOURNAL_OCTETS: u64 = 64 << 20;
/// Threads that write out and compact.
const WORKERS: usize = 2;
/// The longest wait until what is in memory is written out, and the time between two looks.
const WRITE_OUT: Duration = Duration::from_secs(60);
const WRITE_OUT_POLL: Duration = Duration::from_millis(10);

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    /// Records, the state, and what was set aside.
    Messages,
    /// Entities.
    Entities,
    /// Dedup keys.
    Dedup,
    /// Documents and subscriptions.
    Presence,
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It gets this value.
    Put(Slice),
    /// It goes; there may be earlier versions of it.
    Remove,
    /// It goes, and was written exactly once: row and removal vanish together.
    Forget,
}

/// Changes that are written together: at most one for each key, which whoever fills it sees to.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    changes: Vec<(Table, Slice, Change)>,
    octets: usize,
    forgets_entities: bool,
}

impl Batch {
    /// With room for so many changes.
    pub fn with_capacity(changes: usize) -> Batch {
        Batch { changes: Vec::with_capacity(changes), ..Batch::default() }
    }

    /// Adds a change.
    pub fn add(&mut self, table: Table, key: Slice, change: Change) {
        match &change {
            Change::Put(value) => self.octets += value.len(),
            Change::Forget => self.forgets_entities |= table == Table::Entities,
            Change::Remove => {}
        }
        self.changes.push((table, key, change));
    }

    /// Octets of all values.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Adds the changes of another.
    pub fn append(&mut self, mut other: Batch) {
        self.octets += other.octets;
        self.forgets_entities |= other.forgets_entities;
        self.changes.append(&mut other.changes);
    }

    /// The first changes apart from the rest.
    pub fn split(mut self, at: usize) -> (Batch, Batch) {
        let changes = self.changes.split_off(at);
        let rest = Batch { changes, octets: self.octets, forgets_entities: self.forgets_entities };
        (self, rest)
    }

    /// Every change.
    pub fn into_changes(self) -> Vec<(Table, Slice, Change)> {
        self.changes
    }

    /// Adds the rows that stand for the batch itself. A row and its removal may vanish before they reach a table; the
    /// journal is only given up when the tables hold something as new as its last batch, so each batch that forgets
    /// entities writes one row there that stays.
    pub fn seal(&mut self, state: &StateRow, secret: u64) {
        if self.forgets_entities {
            self.add(Table::Entities, Slice::from("m"), Change::Put(Slice::from("")));
        }
        self.add(Table::Messages, Slice::from("s"), Change::Put(state.write(secret).into()));
    }
}

/// What the store remembers of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StateRow {
    /// The next identifier.
    pub next: u64,
    /// Messages.
    pub messages: u64,
    /// Octets of their entities.
    pub octets: u64,
    /// How many of them have no open recipient: they are kept for further devices.
    pub owed: u64,
}

impl StateRow {
    fn write(&self, secret: u64) -> Vec<u8> {
        let numbers = [self.next, self.messages, self.octets, self.owed];
        let mut row = row::plain(numbers.map(u64::to_le_bytes).as_flattened());
        row::bind(&mut row, secret);
        row
    }

    fn read(row: &[u8], secret: u64) -> Option<StateRow> {
        let (numbers, rest) = row::open(row, secret).ok()?.as_chunks::<8>();
        // The fourth came later: before it nothing was kept for devices.
        let ([next, messages, octets, owed @ ..], []) = (numbers, rest) else { return None };
        let number = |octets: &[u8; 8]| u64::from_le_bytes(*octets);
        let owed = match owed {
            [] => 0,
            [owed] => number(owed),
            _ => return None,
        };
        Some(StateRow { next: number(next), messages: number(messages), octets: number(octets), owed })
    }
}

/// Whether it is a state row of the spool with this secret.
pub(super) fn is_state_row(key: &[u8], row: &[u8], secret: u64) -> bool {
    key == b"s" && StateRow::read(row, secret).is_some()
}

/// The key of a record.
pub(super) fn record_key(id: QueueId) -> Slice {
    marked(b'r', id)
}

/// The key of a record that was set aside.
pub(super) fn aside_key(id: QueueId) -> Slice {
    marked(b'x', id)
}

/// The key of an entity.
pub(super) fn entity_key(id: QueueId) -> Slice {
    id.0.to_be_bytes().into()
}

fn marked(mark: u8, id: QueueId) -> Slice {
    let mut key = [mark; 9];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key.into()
}

/// The identifier in the key of a record.
pub(super) fn id_of(key: &[u8]) -> Option<QueueId> {
    key.get(1..)?.try_into().ok().map(|octets| QueueId(u64::from_be_bytes(octets)))
}

struct Tables {
    db: Database,
    messages: Keyspace,
    entities: Keyspace,
    dedup: Keyspace,
    presence: Keyspace,
}

impl Tables {
    fn open(path: &Path, cache: u64, expiry: &Arc<Expiry>) -> fjall::Result<Tables> {
        let filters = Arc::new(Filters(expiry.clone()));
        let db = Database::builder(path)
            .cache_size(cache)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_OCTETS)
            .with_compaction_filter_factories(Arc::new(move |name| {
                (name == "dedup").then(|| filters.clone() as Arc<dyn Factory>)
            }))
            .open()?;
        let plain = |octets| move || KeyspaceCreateOptions::default().max_memtable_size(octets);
        let separate = KvSeparationOptions::default().separation_threshold(SEPARATE_OCTETS);
        let messages = db.keyspace("messages", || {
            plain(MESSAGES_OCTETS)().expect_point_read_hits(true).data_block_size_policy(BlockSizePolicy::all(8 * 1024))
        })?;
        let entities = db.keyspace("entities", || {
            plain(ENTITIES_OCTETS)().expect_point_read_hits(true).with_kv_separation(Some(separate))
        })?;
        let dedup = db.keyspace("dedup", plain(DEDUP_OCTETS))?;
        let presence = db.keyspace("presence", plain(PRESENCE_OCTETS))?;
        // The store syncs what is in the directory of a table that it has made, and not that there is such a directory.
        disk::sync_directory(&path.join("keyspaces"))?;
        Ok(Tables { db, messages, entities, dedup, presence })
    }

    fn of(&self, table: Table) -> &Keyspace {
        match table {
            Table::Messages => &self.messages,
            Table::Entities => &self.entities,
            Table::Dedup => &self.dedup,
            Table::Presence => &self.presence,
        }
    }

    fn all(&self) -> [&Keyspace; 4] {
        [&self.messages, &self.entities, &self.dedup, &self.presence]
    }

    /// Has the workers write out what is in memory. With nothing in memory the store would not look for files that it no
    /// longer needs, so there is a row always: the one of [`Batch::seal`].
    fn write_out(&self) -> fjall::Result<()> {
        self.entities.insert("m", "")?;
        for table in self.all() {
            table.rotate_memtable()?;
        }
        Ok(())
    }
}

/// The tables, which may be away for a while after a fault.
pub(super) struct Store {
    path: PathBuf,
    cache: u64,
    expiry: Arc<Expiry>,
    secret: u64,
    tables: RwLock<Option<Tables>>,
}

/// Why the tables did not do it.
#[derive(Debug)]
pub(super) enum Fault {
    /// They are not open.
    Away,
    /// The store's own error.
    Store(fjall::Error),
    /// It panicked while it was opened.
    Panic,
    /// This file is not what was written.
    Damaged(PathBuf),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Away => f.write_str("the store is closed after a fault"),
            Fault::Store(fjall::Error::Io(error)) => error.fmt(f),
            Fault::Store(fjall::Error::Poisoned) => f.write_str("an earlier write or sync failed"),
            Fault::Store(error) => write!(f, "{error:?}"),
            Fault::Panic => f.write_str("the store is inconsistent"),
            Fault::Damaged(file) => write!(f, "{} is not what was written", file.display()),
        }
    }
}

impl From<fjall::Error> for Fault {
    fn from(error: fjall::Error) -> Self {
        Fault::Store(error)
    }
}

/// One step of a scan.
pub(super) enum Scanned {
    /// A row under its identifier.
    Row(QueueId, Slice),
    /// Some rows could not be read.
    Gap,
}

impl Store {
    /// Opens the tables in a directory, and makes them where there are none.
    pub fn open(path: &Path, cache: u64, expiry: Arc<Expiry>, secret: u64) -> Result<Store, Fault> {
        let store = Store { path: path.to_owned(), cache, expiry, secret, tables: RwLock::new(None) };
        store.reopen()?;
        Ok(store)
    }

    /// Closes the tables and opens them again.
    pub fn reopen(&self) -> Result<(), Fault> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        drop(tables.take());
        *tables = Some(self.open_tables()?);
        Ok(())
    }

    fn open_tables(&self) -> Result<Tables, Fault> {
        damaged_version(&self.path).map_or(Ok(()), |version| Err(Fault::Damaged(version)))?;
        let open = || Tables::open(&self.path, self.cache, &self.expiry);
        // It asserts its own invariants on files that may be damaged.
        Ok(catch_unwind(AssertUnwindSafe(open)).map_err(|_| Fault::Panic)??)
    }

    /// Begins a new journal. The store does so only at 64 MiB, and offers no way to ask for it: so an empty file with the
    /// next number is put where it looks when it opens, which is what its own change of journals leaves in a crash. It
    /// then takes the old ones for complete, and removes them when all that they hold is in tables.
    pub fn new_journal(&self) -> Result<(), Fault> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        drop(tables.take());
        let next = journals(&self.path).iter().map(|(number, _)| number.saturating_add(1)).max();
        if let Some(next) = next {
            let made = File::create_new(self.path.join(format!("{next}.jnl")))
                .and_then(|file| file.sync_all())
                .and_then(|()| disk::sync_directory(&self.path));
            if let Err(error) = made {
                tracing::warn!(%error, "no new journal for the spool; it keeps the old one");
            }
        }
        let opened = tables.insert(self.open_tables()?);
        // Only now does it look which journals are needed.
        opened.write_out()?;
        Ok(())
    }

    /// Gives back the disk space of rows that are gone. Takes as long as copying all records and small entities; reads
    /// and commits go on meanwhile.
    pub fn reclaim(&self, stop: &AtomicBool) -> Result<(), Fault> {
        self.write_out(stop)?;
        self.with(|tables| Ok(tables.messages.major_compact()?))?;
        // A file of values goes with the compaction after the one that emptied it, and old files of either kind when the
        // next memory has been written out.
        for _ in 0..2 {
            self.with(|tables| Ok(tables.entities.major_compact()?))?;
            self.write_out(stop)?;
        }
        Ok(())
    }

    fn write_out(&self, stop: &AtomicBool) -> Result<(), Fault> {
        let until = Instant::now() + WRITE_OUT;
        self.with(|tables| Ok(tables.write_out()?))?;
        while self.with(|tables| Ok(tables.all().iter().any(|table| table.sealed_memtable_count() > 0)))? {
            if stop.load(Relaxed) || Instant::now() > until {
                return Err(Fault::Away);
            }
            std::thread::sleep(WRITE_OUT_POLL);
        }
        Ok(())
    }

    /// Octets of the disk that are used for messages, waiting or gone: all but the tables of dedup keys.
    pub fn disk_octets(&self) -> u64 {
        let dedup = self.with(|tables| Ok(tables.dedup.disk_space())).unwrap_or(0);
        octets_under(&self.path).saturating_sub(dedup)
    }

    /// Octets of the disk that journals use.
    pub fn journal_octets(&self) -> u64 {
        journals(&self.path).iter().map(|(_, octets)| octets).sum()
    }

    /// Closes the tables.
    pub fn close(&self) {
        drop(self.tables.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn with<T>(&self, act: impl FnOnce(&Tables) -> Result<T, Fault>) -> Result<T, Fault> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        act(tables.as_ref().ok_or(Fault::Away)?)
    }

    /// What state rows are bound to.
    pub fn secret(&self) -> u64 {
        self.secret
    }

    /// Writes a batch: the operating system has it when this returns, and whoever reads meets it.
    pub fn commit(&self, batch: &Batch) -> Result<(), Fault> {
        self.with(|tables| {
            let write = OwnedWriteBatch::with_capacity(tables.db.clone(), batch.len());
            let mut write = write.durability(Some(PersistMode::Buffer));
            for (table, key, change) in &batch.changes {
                let keyspace = tables.of(*table);
                match change {
                    Change::Put(value) => write.insert(keyspace, key.clone(), value.clone()),
                    Change::Remove => write.remove(keyspace, key.clone()),
                    Change::Forget => write.remove_weak(keyspace, key.clone()),
                }
            }
            Ok(write.commit()?)
        })
    }

    /// Puts what was written before on stable storage.
    pub fn sync(&self) -> Result<(), Fault> {
        #[cfg(test)]
        super::early_tests::pretended_sync(&self.path)?;
        self.with(|tables| Ok(tables.db.persist(PersistMode::SyncData)?))
    }

    /// Writes what is in memory into tables and compacts them, so that tests meet rows there.
    #[cfg(test)]
    pub fn flush(&self) -> Result<(), Fault> {
        self.with(|tables| {
            for keyspace in tables.all() {
                keyspace.rotate_memtable_and_wait()?;
                keyspace.major_compact()?;
            }
            Ok(())
        })
    }

    /// The row under a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, Fault> {
        self.with(|tables| Ok(tables.of(table).get(key)?))
    }

    /// The row of a dedup key.
    pub fn dedup(&self, key: &Key) -> Result<Option<Slice>, Fault> {
        self.get(Table::Dedup, key)
    }

    /// Shows the rows of presence in the order of their keys; those that are damaged are left out and counted.
    pub fn presence(&self, mut each: impl FnMut(&[u8], &[u8])) -> Result<u64, Fault> {
        self.with(|tables| {
            let mut damaged = 0;
            for entry in tables.presence.iter() {
                let (key, value) = entry.into_inner()?;
                match row::open(&value, row::key_bound(&key)) {
                    Ok(content) => each(&key, content),
                    Err(_) => damaged += 1,
                }
            }
            Ok(damaged)
        })
    }

    /// Octets of the entity's row, without reading it.
    pub fn entity_octets(&self, id: QueueId) -> Result<u64, Fault> {
        self.with(|tables| Ok(tables.entities.size_of(entity_key(id))?.unwrap_or(0).into()))
    }

    /// What the store remembers of itself.
    pub fn known_state(&self) -> Result<Option<StateRow>, Fault> {
        let row = self.get(Table::Messages, b"s")?;
        Ok(row.and_then(|row| StateRow::read(&row, self.secret)))
    }

    /// What the store holds, counted anew where it does not remember that, or not rightly.
    pub fn state(&self, count: bool) -> Result<StateRow, Fault> {
        let known = self.known_state()?;
        if let Some(state) = known.filter(|_| !count) {
            return Ok(state);
        }
        let mut state = StateRow { next: known.map_or(1, |state| state.next), ..StateRow::default() };
        self.scan(QueueId(0), |step| {
            if let Scanned::Row(id, row) = step {
                state.messages += 1;
                if let Ok((head, _)) = row::Head::read(id, &row) {
                    state.octets += head.size;
                    state.owed += u64::from(head.is_owed());
                }
                state.next = state.next.max(id.0 + 1);
            }
            true
        })?;
        let aside = self.aside()?;
        state.next = aside.iter().fold(state.next, |next, (id, _)| next.max(id.0 + 1));
        Ok(state)
    }

    /// What was set aside, with the reasons.
    pub fn aside(&self) -> Result<Vec<(QueueId, String)>, Fault> {
        self.with(|tables| {
            let mut found = Vec::new();
            for entry in tables.messages.prefix("x") {
                let (key, value) = entry.into_inner()?;
                let Some(id) = id_of(&key) else { continue };
                let reason = aside_reason(id, &value).unwrap_or("its reason is damaged too");
                found.push((id, reason.to_owned()));
            }
            Ok(found)
        })
    }

    /// The devices that are known. One whose row cannot be read is left out: it is known again when it attaches.
    pub fn devices(&self) -> Result<Vec<Known>, Fault> {
        self.with(|tables| {
            let mut found = Vec::new();
            for entry in tables.messages.prefix("d") {
                let (key, value) = entry.into_inner()?;
                found.extend(known::read(&key, &value));
            }
            Ok(found)
        })
    }

    /// Shows records in ascending order, from an identifier on, until `each` wants no more.
    pub fn scan(&self, from: QueueId, mut each: impl FnMut(Scanned) -> bool) -> Result<(), Fault> {
        self.with(|tables| {
            let mut next = from;
            loop {
                let mut unreadable = None;
                for entry in tables.messages.range(record_key(next)..=record_key(QueueId(u64::MAX))) {
                    match entry.into_inner() {
                        Ok((key, value)) => {
                            let Some(id) = id_of(&key) else { continue };
                            next = QueueId(id.0.saturating_add(1));
                            if !each(Scanned::Row(id, value)) {
                                return Ok(());
                            }
                        }
                        Err(error) => {
                            unreadable = Some(error);
                            break;
                        }
                    }
                }
                let Some(error) = unreadable else { return Ok(()) };
                let end = tables.readable_after(next);
                tracing::error!(from = %next, to = %end, %error, "records of the spool cannot be read");
                if !each(Scanned::Gap) || end.0 == u64::MAX {
                    return Ok(());
                }
                next = end;
            }
        })
    }
}

impl Tables {
    /// The first identifier after one that cannot be read from which a scan goes on: by steps that double, then halve.
    fn readable_after(&self, bad: QueueId) -> QueueId {
        let end = record_key(QueueId(u64::MAX));
        let readable = |id: u64| match self.messages.range(record_key(QueueId(id))..=end.clone()).next() {
            None => true,
            Some(entry) => entry.into_inner().is_ok(),
        };
        let (mut low, mut step) = (bad.0, 1_u64);
        let mut high = loop {
            let probe = bad.0.saturating_add(step);
            if probe == u64::MAX || readable(probe) {
                break probe;
            }
            low = probe;
            step = step.saturating_mul(2);
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if readable(middle) { high = middle } else { low = middle }
        }
        QueueId(high)
    }
}

/// The row of something set aside.
pub(super) fn aside_row(id: QueueId, reason: &str, raw: &[u8]) -> Vec<u8> {
    let mut content = (reason.len() as u32).to_le_bytes().to_vec();
    content.extend_from_slice(reason.as_bytes());
    content.extend_from_slice(raw);
    let mut row = row::plain(&content);
    row::bind(&mut row, id.0);
    row
}

fn aside_reason(id: QueueId, row: &[u8]) -> Option<&str> {
    let (length, rest) = row::open(row, id.0).ok()?.split_first_chunk::<4>()?;
    std::str::from_utf8(rest.get(..u32::from_le_bytes(*length) as usize)?).ok()
}
