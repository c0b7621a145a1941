//! One group: what many senders and deliverers want, as one batch.
//!
//! In: commands, in order, and the store as it was before. Out: a batch, the answers and the arrivals that follow when
//! it is written. Invariant: each command sees what the ones before it did; one key is changed once. What comes from
//! accepting and what comes from settling are kept apart, since after a failed write the one is undone (its sender was
//! told so, and keeps the message) and the other done again (a delivery cannot be taken back).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fjall::Slice;
use tokio::sync::oneshot;

use super::dedup::{self, Key, Mark};
use super::error::SpoolError;
use super::known;
use super::record::{Disposition, Had, Known, NewMessage, Origin, Progress, QueueId, Record, Settlement, State};
use super::row::{self, Head};
use super::store::{self, Batch, Change, Fault, StateRow, Store, Table};
use super::{Acceptance, Settled};
use crate::envelope::Envelope;
use crate::timestamp::Timestamp;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SpoolError>>;

/// The answer to a message. It brings what was prepared back to the task that made it, whose thread frees that memory
/// more cheaply than the committer could.
pub(super) type Accepted = (Acceptance, Box<Prepared>);

/// A message as its sender's task prepared it, so that the one committer has little to do.
pub(super) struct Prepared {
    id: Option<QueueId>,
    envelope: Arc<Envelope>,
    origin: Origin,
    arrived: Timestamp,
    expires: Timestamp,
    size: u64,
    row: Vec<u8>,
    entity: Vec<u8>,
    /// Whether a second copy would be known everywhere as one.
    repeatable: bool,
    /// Dedup keys, each with the index of its recipient.
    keys: Vec<(usize, Key)>,
    /// What accepting it causes, each with the index of the recipient that it is about.
    receipts: Vec<(usize, Prepared)>,
}

impl Prepared {
    /// Encodes a message, and the receipts that accepting it causes.
    pub fn with_receipts(message: NewMessage, receipts: Vec<(usize, NewMessage)>) -> Prepared {
        let receipts = receipts.into_iter().map(|(index, receipt)| (index, Prepared::new(receipt))).collect();
        Prepared { receipts, ..Prepared::new(message) }
    }

    /// Encodes a message.
    pub fn new(message: NewMessage) -> Prepared {
        let row = row::record(&message, None);
        let keys = dedup::keys(&message);
        let repeatable = message.repeatable && message.message_id.is_some();
        let NewMessage { id, envelope, entity, origin, arrived, expires, .. } = message;
        let size = entity.len() as u64;
        let entity = row::entity(&entity);
        Prepared { id, envelope, origin, arrived, expires, size, row, entity, repeatable, keys, receipts: Vec::new() }
    }
}

/// A settlement with its receipts prepared.
pub(super) struct Outcome {
    pub id: QueueId,
    pub states: Vec<(usize, State)>,
    pub had: Vec<Had>,
    pub receipts: Vec<Prepared>,
    pub held: Option<bool>,
    pub expires: Option<Timestamp>,
}

impl From<Settlement> for Outcome {
    fn from(settlement: Settlement) -> Self {
        let Settlement { id, states, had, receipts, held, expires } = settlement;
        Outcome { id, states, had, receipts: receipts.into_iter().map(Prepared::new).collect(), held, expires }
    }
}

/// What the committer is asked to do.
pub(super) enum Command {
    /// Take a message.
    Accept(Box<Prepared>, Reply<Accepted>),
    /// Record what became of recipients.
    Settle(Outcome, Reply<Settled>),
    /// Put a record aside that cannot be read.
    PutAside(QueueId, String, Option<Reply<bool>>),
    /// Know devices, or forget them.
    Devices(Vec<Known>, Remember, Reply<()>),
    /// Change rows of presence.
    Presence(PresenceRows, Option<Reply<()>>),
}

/// Rows of presence that change together: keys, with what stands there from now on.
pub(super) type PresenceRows = Vec<(Slice, Change)>;

/// Whether devices are known from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remember {
    Yes,
    No,
}

/// An answer that waits for the batch.
pub(super) enum Answer {
    Accept(Reply<Accepted>, Accepted),
    Settle(Reply<Settled>, Settled),
    PutAside(Reply<bool>, bool),
    Devices(Reply<()>),
    Presence(Reply<()>),
}

impl Answer {
    /// The batch is written. A sender that has gone away asks no more.
    pub fn give(self) {
        match self {
            Answer::Accept(reply, accepted) => drop(reply.send(Ok(accepted))),
            Answer::Settle(reply, settled) => drop(reply.send(Ok(settled))),
            Answer::PutAside(reply, found) => drop(reply.send(Ok(found))),
            Answer::Devices(reply) | Answer::Presence(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// It never will be.
    pub fn refuse(self, error: SpoolError) {
        match self {
            Answer::Accept(reply, _) => drop(reply.send(Err(error))),
            Answer::Settle(reply, _) => drop(reply.send(Err(error))),
            Answer::PutAside(reply, _) => drop(reply.send(Err(error))),
            Answer::Devices(reply) | Answer::Presence(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// A record that commands of this group change.
struct Touched {
    /// Whether the row in the store replaced another.
    rewritten: bool,
    /// The row as it will be; `None` when the record goes.
    row: Option<Slice>,
    /// Where a record that goes is put aside to.
    aside: Option<Slice>,
}

/// Messages and octets that a group adds and takes away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub messages: i64,
    pub octets: i64,
    pub owed: i64,
}

impl Tally {
    /// The state with this applied.
    pub fn apply(self, state: &mut StateRow) {
        state.messages = state.messages.saturating_add_signed(self.messages);
        state.octets = state.octets.saturating_add_signed(self.octets);
        state.owed = state.owed.saturating_add_signed(self.owed);
    }
}

/// A group that is being filled.
pub(super) struct Group<'a> {
    store: &'a Store,
    next: &'a AtomicU64,
    seen: HashMap<Key, QueueId>,
    touched: HashMap<QueueId, Touched>,
    /// Keys of devices, and what becomes of their rows.
    devices: HashMap<Slice, Change>,
    /// Keys of presence, and what becomes of their rows.
    presence: HashMap<Slice, Change>,
    /// What accepting changes.
    pub accepts: Batch,
    /// What settling changes.
    pub settles: Batch,
    /// What accepting counts for.
    pub accepted: Tally,
    /// What settling counts for.
    pub settled: Tally,
    /// The answers that are given after the sync, in order.
    pub answers: Vec<Answer>,
    /// The answers that need the writing alone, in order: a settlement that was written stands, whatever the sync does.
    pub written: Vec<Answer>,
    /// Messages that were accepted, and are announced when they are written.
    pub arrivals: Vec<Arc<Record>>,
    /// What else accepting added, and is announced after the sync: receipts, and messages that are not repeatable.
    pub late: Vec<Arc<Record>>,
    /// Receipts that settling caused.
    pub receipts: Vec<Arc<Record>>,
    /// Whether the batch has to be on stable storage before it is answered.
    pub sync: bool,
    /// When the newest message came.
    pub now: Option<Timestamp>,
    /// Recipients that were second copies.
    pub duplicates: u64,
    /// Records put aside.
    pub aside: u64,
}

/// Which of the two batches.
#[derive(Clone, Copy)]
enum Cause {
    Accepting,
    Settling,
}

impl<'a> Group<'a> {
    /// An empty group for about so many commands; messages without a reserved identifier take theirs from `next`.
    pub fn new(store: &'a Store, next: &'a AtomicU64, commands: usize) -> Self {
        Group {
            store,
            next,
            seen: HashMap::with_capacity(commands),
            touched: HashMap::with_capacity(commands),
            devices: HashMap::new(),
            presence: HashMap::new(),
            accepts: Batch::with_capacity(3 * commands + 2),
            settles: Batch::with_capacity(2 * commands),
            accepted: Tally::default(),
            settled: Tally::default(),
            answers: Vec::with_capacity(commands),
            written: Vec::new(),
            arrivals: Vec::new(),
            late: Vec::new(),
            receipts: Vec::new(),
            sync: false,
            now: None,
            duplicates: 0,
            aside: 0,
        }
    }

    /// Octets so far.
    pub fn octets(&self) -> usize {
        self.accepts.octets() + self.settles.octets()
    }

    /// The next identifier.
    pub fn next(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// The identifier of a message that is about to be stored.
    fn id_of(&self, message: &mut Prepared) -> QueueId {
        *message.id.get_or_insert_with(|| QueueId(self.next.fetch_add(1, Relaxed)))
    }

    /// Adds a message.
    pub fn accept(&mut self, mut message: Box<Prepared>, reply: Reply<Accepted>) {
        let id = self.id_of(&mut message);
        let firsts = match self.firsts(&message, id) {
            Ok(firsts) => firsts,
            Err(fault) => return drop(reply.send(Err(SpoolError::Io(fault.to_string())))),
        };
        // Also a second copy is answered after the first is durable, which may be in this very batch.
        self.sync = true;
        let (acceptance, record) = self.store_message(&mut message, &firsts, Cause::Accepting);
        // Where a second copy would not be known as one, it is announced when there will be none.
        let announced = if message.repeatable { &mut self.arrivals } else { &mut self.late };
        announced.extend(record);
        for (index, mut receipt) in std::mem::take(&mut message.receipts) {
            if firsts.get(index).is_none_or(Option::is_none) {
                self.id_of(&mut receipt);
                let (_, record) = self.store_message(&mut receipt, &[], Cause::Accepting);
                self.late.extend(record);
            }
        }
        self.answers.push(Answer::Accept(reply, (acceptance, message)));
    }

    /// For each recipient the first copy, where this is a second one; empty when it is for none.
    fn firsts(&mut self, message: &Prepared, id: QueueId) -> Result<Vec<Option<QueueId>>, Fault> {
        let mut firsts = Vec::new();
        for (at, (index, key)) in message.keys.iter().enumerate() {
            let first = if let Some(first) = self.seen.get(key) {
                Some(*first)
            } else if message.keys[..at].iter().any(|(_, before)| before == key) {
                Some(id)
            } else {
                let mark = self.store.dedup(key)?.as_deref().and_then(Mark::read);
                mark.filter(|mark| mark.counts(message.arrived)).map(|mark| mark.first)
            };
            if first.is_some() {
                firsts.resize(message.envelope.recipients.len(), None);
                firsts[*index] = first;
            }
        }
        Ok(firsts)
    }

    /// The record is there unless every recipient had the message before.
    fn store_message(
        &mut self,
        message: &mut Prepared,
        firsts: &[Option<QueueId>],
        cause: Cause,
    ) -> (Acceptance, Option<Arc<Record>>) {
        self.now = Some(message.arrived);
        let recipients = message.envelope.recipients.len();
        let duplicates = firsts.iter().flatten().count();
        self.duplicates += duplicates as u64;
        if duplicates == recipients
            && let Some(Some(first)) = firsts.first()
        {
            return (Acceptance { id: *first, duplicates, all_duplicate: true }, None);
        }
        let id = self.id_of(message);
        let mut states = vec![State::Open(Progress::default()); recipients];
        for (state, first) in states.iter_mut().zip(firsts) {
            if first.is_some() {
                *state = State::Closed(Disposition::Duplicate);
            }
        }
        if duplicates > 0 {
            message.row = with_states(&message.row, &states);
        }
        row::bind(&mut message.row, id.0);
        row::bind(&mut message.entity, id.0);
        let batch = match cause {
            Cause::Accepting => &mut self.accepts,
            Cause::Settling => &mut self.settles,
        };
        batch.add(Table::Messages, store::record_key(id), Change::Put(Slice::new(&message.row)));
        batch.add(Table::Entities, store::entity_key(id), Change::Put(Slice::new(&message.entity)));
        let mark = Mark::new(message.arrived, id).write();
        let is_first = |index: usize| firsts.get(index).is_none_or(Option::is_none);
        for (_, key) in message.keys.iter().filter(|(index, _)| is_first(*index)) {
            // One change for each key: a recipient who stands there twice is a first copy once only.
            if self.seen.insert(*key, id).is_none() {
                batch.add(Table::Dedup, key.into(), Change::Put(mark.into()));
            }
        }
        let Prepared { arrived, expires, size, .. } = *message;
        let (envelope, origin) = (message.envelope.clone(), message.origin.clone());
        let record = Arc::new(Record { id, envelope, states, origin, arrived, expires, size, held: false });
        let tally = match cause {
            Cause::Accepting => &mut self.accepted,
            Cause::Settling => &mut self.settled,
        };
        tally.messages += 1;
        tally.octets += size as i64;
        (Acceptance { id, duplicates, all_duplicate: false }, Some(record))
    }

    /// Adds a settlement.
    pub fn settle(&mut self, outcome: Outcome, reply: Reply<Settled>) {
        match self.apply(outcome) {
            Ok(applied) => self.written.push(Answer::Settle(reply, Settled { applied })),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn apply(&mut self, outcome: Outcome) -> Result<bool, SpoolError> {
        let Outcome { id, states, had, receipts, held, expires } = outcome;
        let Some((row, was_rewritten)) = self.row(id)? else { return Ok(false) };
        let (mut head, rest) = match Head::read(id, &row) {
            Ok(read) => read,
            Err(error) => {
                let reason = error.to_string();
                self.set_aside(id, &row, was_rewritten, &reason);
                return Err(SpoolError::Corrupt { id, reason });
            }
        };
        let was_owed = head.is_owed();
        let mut settles = false;
        for (index, state) in states {
            settles |= head.states.get_mut(index).is_some_and(|now| now.settle(state));
        }
        for had in had {
            settles |= head.states.get_mut(had.index).is_some_and(|now| now.had(had));
        }
        if !settles && held.is_none() && expires.is_none() {
            return Ok(false);
        }
        head.held = held.unwrap_or(head.held);
        head.expires = expires.unwrap_or(head.expires);
        let rewritten = was_rewritten.unwrap_or(head.rewritten);
        head.rewritten = true;
        let kept = head.states.iter().any(|state| state.is_open() || state.is_owed());
        let row = kept.then(|| Slice::from(head.write(id, rest)));
        self.settled.owed += i64::from(head.is_owed()) - i64::from(was_owed);
        if row.is_none() {
            self.settled.messages -= 1;
            self.settled.octets -= head.size as i64;
        }
        self.touched.insert(id, Touched { rewritten, row, aside: None });
        if settles {
            self.add_receipts(receipts);
        }
        Ok(true)
    }

    fn add_receipts(&mut self, receipts: Vec<Prepared>) {
        for mut receipt in receipts {
            let id = self.id_of(&mut receipt);
            self.sync = true;
            // A look-up that fails makes a receipt a first copy: better told twice than not at all.
            let firsts = self.firsts(&receipt, id).unwrap_or_default();
            let (_, record) = self.store_message(&mut receipt, &firsts, Cause::Settling);
            self.receipts.extend(record);
        }
    }

    /// The row of a record as this group leaves it so far, and whether the one in the store replaced another, where
    /// that is known here.
    fn row(&self, id: QueueId) -> Result<Option<(Slice, Option<bool>)>, SpoolError> {
        if let Some(touched) = self.touched.get(&id) {
            return Ok(touched.row.clone().map(|row| (row, Some(touched.rewritten))));
        }
        let stored = self.store.get(Table::Messages, &store::record_key(id));
        Ok(stored.map_err(|fault| SpoolError::Io(fault.to_string()))?.map(|row| (row, None)))
    }

    /// Puts a record aside; its entity stays where it is.
    pub fn put_aside(&mut self, id: QueueId, reason: &str, reply: Option<Reply<bool>>) {
        let answer = match self.row(id) {
            Ok(Some((row, rewritten))) => {
                self.set_aside(id, &row, rewritten, reason);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        match (reply, answer) {
            (Some(reply), Ok(found)) => self.answers.push(Answer::PutAside(reply, found)),
            (Some(reply), Err(error)) => drop(reply.send(Err(error))),
            (None, _) => {}
        }
    }

    fn set_aside(&mut self, id: QueueId, row: &Slice, rewritten: Option<bool>, reason: &str) {
        tracing::error!(%id, reason, "a message cannot be read and is put aside; see `impartctl queue`");
        self.sync = true;
        self.aside += 1;
        self.settled.messages -= 1;
        self.settled.octets -= self.store.entity_octets(id).unwrap_or(0).saturating_sub(row::HEAD as u64) as i64;
        self.settled.owed -= Head::read(id, row).map_or(0, |(head, _)| i64::from(head.is_owed()));
        let aside = Some(store::aside_row(id, reason, row).into());
        // Of a row that cannot be read nobody knows whether it replaced another.
        self.touched.insert(id, Touched { rewritten: rewritten.unwrap_or(true), row: None, aside });
    }

    /// Knows devices, or forgets them.
    pub fn devices(&mut self, devices: Vec<Known>, remember: Remember, reply: Reply<()>) {
        self.sync = true;
        for Known { inbox, holder, seen } in devices {
            let change = match remember {
                Remember::Yes => Change::Put(known::row(seen)),
                Remember::No => Change::Remove,
            };
            self.devices.insert(known::key(&inbox, &holder), change);
        }
        self.answers.push(Answer::Devices(reply));
    }

    /// Changes rows of presence; with a reply it is synced before that is given.
    pub fn presence(&mut self, rows: PresenceRows, reply: Option<Reply<()>>) {
        self.presence.extend(rows);
        if let Some(reply) = reply {
            self.sync = true;
            self.answers.push(Answer::Presence(reply));
        }
    }

    /// Closes the group: what was touched becomes changes.
    pub fn finish(&mut self) {
        for (key, change) in self.presence.drain() {
            self.settles.add(Table::Presence, key, change);
        }
        for (key, change) in self.devices.drain() {
            self.settles.add(Table::Messages, key, change);
        }
        for (id, touched) in self.touched.drain() {
            let key = store::record_key(id);
            let gone = if touched.rewritten { Change::Remove } else { Change::Forget };
            match (touched.row, touched.aside) {
                (Some(row), _) => self.settles.add(Table::Messages, key, Change::Put(row)),
                (None, Some(aside)) => {
                    self.settles.add(Table::Messages, key, gone);
                    self.settles.add(Table::Messages, store::aside_key(id), Change::Put(aside));
                }
                (None, None) => {
                    self.settles.add(Table::Messages, key, gone.clone());
                    self.settles.add(Table::Entities, store::entity_key(id), gone);
                }
            }
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.accepts.len() + self.settles.len() == 0
    }
}

/// The row of a message that was made with all recipients open, and is not bound yet, with other states.
fn with_states(row: &[u8], states: &[State]) -> Vec<u8> {
    let unbound = QueueId(0);
    match Head::read(unbound, row) {
        Ok((head, rest)) => Head { states: states.to_vec(), ..head }.write(unbound, rest),
        // It was made a moment ago by the same code.
        Err(_) => row.to_vec(),
    }
}

/// What a group that failed leaves to be done when the store is back: later changes of a key replace earlier ones.
#[derive(Default)]
pub(super) struct Redo {
    changes: HashMap<(Table, Slice), Change>,
}

impl Redo {
    /// Undo accepting: nothing of it must stay, whether it reached the disk or not.
    pub fn undo(&mut self, accepts: Batch) {
        for (table, key, _) in accepts.into_changes() {
            self.changes.insert((table, key), Change::Remove);
        }
    }

    /// Do settling again. It may have reached the disk the first time: then rows are replaced.
    pub fn again(&mut self, settles: Batch) {
        for (table, key, change) in settles.into_changes() {
            let change = match change {
                Change::Put(row) if table == Table::Messages && key.first() == Some(&b'r') => {
                    let id = store::id_of(&key).unwrap_or(QueueId(0));
                    Change::Put(row::rewritten(id, &row).map_or(row, Slice::from))
                }
                Change::Forget => Change::Remove,
                other => other,
            };
            self.changes.insert((table, key), change);
        }
    }

    /// Rows of presence that came while the store was down.
    pub fn presence(&mut self, rows: PresenceRows) {
        self.changes.extend(rows.into_iter().map(|(key, change)| ((Table::Presence, key), change)));
    }

    /// As a batch; it can be made again.
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for ((table, key), change) in &self.changes {
            if key.as_ref() != b"s" {
                batch.add(*table, key.clone(), change.clone());
            }
        }
        batch
    }
}
