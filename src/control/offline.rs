//! The queue of a daemon that does not run: the same requests, done on the spool itself.
//!
//! [`list`] and [`show`] serve the running daemon as well; what changes messages is here only for a spool that
//! nobody else has open.

use std::pin::Pin;

use bytes::Bytes;

use super::protocol::{Call, Changed, Entity, Fault, FaultCode, Message, Row};
use super::select::{Matcher, Selector};
use super::server::{Answer, Handler, Rows};
use crate::clock::Clock;
use crate::spool::{Disposition, NewMessage, Origin, QueueId, Record, Settlement, Spool, State};
use crate::timestamp::Timestamp;

/// Records that are in memory at one time.
const PAGE: usize = 256;

/// A future of the store's; what failed, in words.
pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What is needed of a spool.
pub trait Store: Send + Sync + 'static {
    /// Records from this id on, ascending, at most `limit`; fewer only at the end.
    fn page(&self, from: QueueId, limit: usize) -> Result<Vec<Record>, String>;
    /// One record.
    fn record(&self, id: QueueId) -> Result<Option<Record>, String>;
    /// Its entity.
    fn entity(&self, id: QueueId) -> Stored<'_, Option<Bytes>>;
    /// A change, in one commit.
    fn settle(&self, settlement: Settlement) -> Stored<'_, ()>;
}

impl Store for Spool {
    fn page(&self, from: QueueId, limit: usize) -> Result<Vec<Record>, String> {
        Spool::page(self, from, limit).map_err(|error| error.to_string())
    }
    fn record(&self, id: QueueId) -> Result<Option<Record>, String> {
        Spool::record(self, id).map_err(|error| error.to_string())
    }
    fn entity(&self, id: QueueId) -> Stored<'_, Option<Bytes>> {
        Box::pin(async move { Spool::entity(self, id).await.map_err(|error| error.to_string()) })
    }
    fn settle(&self, settlement: Settlement) -> Stored<'_, ()> {
        Box::pin(async move { Spool::settle(self, settlement).await.map(drop).map_err(|error| error.to_string()) })
    }
}

/// Makes the receipt for recipients that an administrator fails: record, entity, their indexes, the reason, now.
pub type Compose = dyn Fn(&Record, &[u8], &[usize], &str, Timestamp) -> Option<NewMessage> + Send + Sync;

/// The queue on a spool that nobody else has open.
pub struct Offline<S> {
    store: S,
    compose: Box<Compose>,
    clock: Box<dyn Clock>,
}

impl<S: Store> Offline<S> {
    /// On this store.
    pub fn new(store: S, compose: Box<Compose>, clock: Box<dyn Clock>) -> Self {
        Offline { store, compose, clock }
    }

    /// Does what a call wants that changes messages; `row` makes the row in which a person reads why one waits.
    pub async fn change(
        &self,
        call: &Call,
        select: &Selector,
        row: impl Fn(&Record) -> Message,
        rows: &Rows,
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        let matcher = select.matcher(now);
        let mut walk = Walk::new(&matcher);
        while let Some(page) = walk.next(&self.store)? {
            // The receipts of this very call are not what was meant by it.
            let own = |record: &&Record| record.origin == Origin::Own && record.arrived == now;
            for record in page.iter().filter(|record| !own(record)) {
                let Some(meant) = matcher.recipients(record, &row) else { continue };
                let Some((mut settlement, changed)) = Self::settlement(call, record, &meant) else { continue };
                if let Call::Bounce { reason, .. } = call {
                    settlement.receipts = self.receipt(record, &meant, reason.as_deref(), now).await?;
                }
                self.store.settle(settlement).await.map_err(spool)?;
                // A client that has gone does not stop a change that has begun.
                let _ = rows.send(Row::Changed(changed)).await;
            }
        }
        Ok(())
    }

    fn settlement(call: &Call, record: &Record, meant: &[usize]) -> Option<(Settlement, Changed)> {
        let mut settlement = Settlement::new(record.id);
        let addresses = || meant.iter().map(|index| record.envelope.recipients[*index].address.to_string()).collect();
        let close = |how| meant.iter().map(|index| (*index, State::Closed(how))).collect();
        let (what, recipients) = match call {
            Call::Hold { .. } if !record.held => {
                settlement.held = Some(true);
                ("held", Vec::new())
            }
            Call::Release { .. } if record.held => {
                settlement.held = Some(false);
                ("released", Vec::new())
            }
            Call::Retry { .. } => {
                settlement.states = fresh(record, meant);
                ("retried", addresses())
            }
            Call::Remove { .. } => {
                settlement.states = close(Disposition::Removed);
                ("removed", addresses())
            }
            Call::Bounce { .. } => {
                settlement.states = close(Disposition::Failed);
                settlement.states.retain(|(index, _)| record.states[*index].is_open());
                if settlement.states.is_empty() {
                    return None;
                }
                ("bounced", addresses())
            }
            _ => return None,
        };
        Some((settlement, Changed { id: record.id.to_string(), what: what.to_owned(), recipients }))
    }

    async fn receipt(
        &self,
        record: &Record,
        meant: &[usize],
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<NewMessage>, Fault> {
        let entity = self.store.entity(record.id).await.map_err(spool)?.unwrap_or_default();
        let reason = reason.unwrap_or("the administrator of the server ended its delivery");
        Ok((self.compose)(record, &entity, meant, reason, now).into_iter().collect())
    }
}

/// As if never tried, so that the daemon tries at once when it starts.
fn fresh(record: &Record, meant: &[usize]) -> Vec<(usize, State)> {
    let again = |index: &usize| match &record.states[*index] {
        State::Open(progress) if progress.attempts > 0 => {
            let mut progress = progress.clone();
            progress.attempts = 0;
            Some((*index, State::Open(progress)))
        }
        _ => None,
    };
    meant.iter().filter_map(again).collect()
}

impl<S: Store> Handler for Offline<S> {
    fn call(&self, call: Call, rows: Rows) -> Answer<'_> {
        Box::pin(async move {
            match &call {
                Call::List { select, limit } => {
                    list(&self.store, select, *limit, self.clock.now(), Message::of, &rows).await
                }
                Call::Show { message, body } => show(&self.store, *message, *body, Message::of, &rows).await,
                other => match other.changes() {
                    Some(select) => self.change(other, select, Message::of, &rows).await,
                    None => Err(Fault::new(FaultCode::Failed, "impartd is not running")),
                },
            }
        })
    }
}

fn spool(reason: String) -> Fault {
    Fault::new(FaultCode::Spool, format!("spool: {reason}"))
}

/// Pages through a store; straight to the ids, where ids are given.
struct Walk {
    ids: std::collections::VecDeque<QueueId>,
    next: Option<QueueId>,
}

impl Walk {
    fn new(matcher: &Matcher) -> Walk {
        let ids = matcher.ids().iter().copied().collect::<std::collections::VecDeque<_>>();
        let next = if ids.is_empty() { Some(QueueId(0)) } else { None };
        Walk { ids, next }
    }

    fn next(&mut self, store: &impl Store) -> Result<Option<Vec<Record>>, Fault> {
        if let Some(id) = self.ids.pop_front() {
            return Ok(Some(store.record(id).map_err(spool)?.into_iter().collect()));
        }
        let Some(from) = self.next else { return Ok(None) };
        let page = store.page(from, PAGE).map_err(spool)?;
        self.next = page.last().and_then(|last| last.id.0.checked_add(1)).map(QueueId);
        Ok(if page.is_empty() { None } else { Some(page) })
    }
}

/// Rows of the messages that are selected, oldest first, at most `limit`; `row` makes each.
pub async fn list(
    store: &impl Store,
    select: &Selector,
    limit: Option<u64>,
    now: Timestamp,
    row: impl Fn(&Record) -> Message,
    rows: &Rows,
) -> Result<(), Fault> {
    let matcher = select.matcher(now);
    let (mut walk, mut left) = (Walk::new(&matcher), limit.unwrap_or(u64::MAX));
    while let Some(page) = walk.next(store)? {
        for record in page.iter().filter(|record| matcher.recipients(record, &row).is_some()) {
            if left == 0 || rows.send(Row::Message(row(record))).await.is_err() {
                return Ok(());
            }
            left -= 1;
        }
    }
    Ok(())
}

/// One message, as `row` makes it, and its entity.
pub async fn show(
    store: &impl Store,
    id: QueueId,
    body: bool,
    row: impl Fn(&Record) -> Message,
    rows: &Rows,
) -> Result<(), Fault> {
    let Some(record) = store.record(id).map_err(spool)? else {
        return Err(Fault::new(FaultCode::NotFound, format!("there is no message {id} in the queue")));
    };
    let entity = store.entity(id).await.map_err(spool)?;
    // A client that has gone wants nothing more.
    if rows.send(Row::Message(row(&record))).await.is_ok()
        && let Some(entity) = entity
    {
        let _ = rows.send(Row::Entity(Entity::of(id, &entity, body))).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::super::select::tests::record;
    use super::*;

    /// A store in memory; settles what it is told.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<BTreeMap<QueueId, Record>>>, Arc<Mutex<usize>>);

    impl Store for Memory {
        fn page(&self, from: QueueId, limit: usize) -> Result<Vec<Record>, String> {
            Ok(self.0.lock().unwrap().range(from..).take(limit).map(|(_, record)| record.clone()).collect())
        }
        fn record(&self, id: QueueId) -> Result<Option<Record>, String> {
            Ok(self.0.lock().unwrap().get(&id).cloned())
        }
        fn entity(&self, _: QueueId) -> Stored<'_, Option<Bytes>> {
            Box::pin(async { Ok(Some(Bytes::from_static(b"Subject: x\r\n\r\nbody\r\n"))) })
        }
        fn settle(&self, settlement: Settlement) -> Stored<'_, ()> {
            let mut records = self.0.lock().unwrap();
            *self.1.lock().unwrap() += settlement.receipts.len();
            for receipt in &settlement.receipts {
                let id = QueueId(records.keys().last().map_or(1, |last| last.0 + 1));
                let receipt = Record { origin: receipt.origin.clone(), arrived: receipt.arrived, ..record(id.0) };
                records.insert(id, receipt);
            }
            if let Some(record) = records.get_mut(&settlement.id) {
                settlement.states.into_iter().for_each(|(index, state)| record.states[index] = state);
                record.held = settlement.held.unwrap_or(record.held);
            }
            Box::pin(async { Ok(()) })
        }
    }

    fn offline(count: u64) -> (Memory, Offline<Memory>) {
        let memory = Memory::default();
        (1..=count).for_each(|id| {
            memory.0.lock().unwrap().insert(QueueId(id), record(id));
        });
        let compose = |record: &Record, _: &[u8], _: &[usize], _: &str, now| {
            Some(NewMessage {
                id: None,
                envelope: Arc::clone(&record.envelope),
                entity: Bytes::new(),
                digest: [0; 32],
                message_id: None,
                repeatable: false,
                signed: Vec::new(),
                origin: crate::spool::Origin::Own,
                arrived: now,
                expires: now,
            })
        };
        (memory.clone(), Offline::new(memory, Box::new(compose), Box::new(crate::clock::System::new())))
    }

    async fn ask(offline: &Offline<Memory>, call: Call) -> Result<Vec<Row>, Fault> {
        let (rows, mut receiver) = Rows::channel(10_000);
        offline.call(call, rows).await?;
        let mut all = Vec::new();
        while let Some(row) = receiver.recv().await {
            all.push(row);
        }
        Ok(all)
    }

    fn all() -> Selector {
        Selector { all: true, ..Selector::default() }
    }

    fn domain(name: &str) -> Selector {
        Selector { domain: Some(crate::address::Domain::parse(name).unwrap()), ..Selector::default() }
    }

    #[tokio::test]
    async fn lists_by_pages() {
        let (_, offline) = offline(1000);
        let list = |limit| Call::List { select: Selector::default(), limit };
        assert_eq!(ask(&offline, list(None)).await.unwrap().len(), 1000);
        assert_eq!(ask(&offline, list(Some(300))).await.unwrap().len(), 300);
        let ids = Selector { ids: vec![QueueId(5), QueueId(5000), QueueId(7)], ..Selector::default() };
        let rows = ask(&offline, Call::List { select: ids, limit: None }).await.unwrap();
        assert_eq!(rows.len(), 2);
    }

    #[tokio::test]
    async fn shows() {
        let (_, offline) = offline(1);
        let rows = ask(&offline, Call::Show { message: QueueId(1), body: false }).await.unwrap();
        assert!(matches!(&rows[..], [Row::Message(_), Row::Entity(entity)] if entity.text == "Subject: x\n"));
        let fault = ask(&offline, Call::Show { message: QueueId(2), body: false }).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::NotFound);
    }

    #[tokio::test]
    async fn changes() {
        let (memory, offline) = offline(3);
        assert_eq!(ask(&offline, Call::Hold { select: all() }).await.unwrap().len(), 3);
        assert!(memory.record(QueueId(2)).unwrap().unwrap().held);
        assert!(ask(&offline, Call::Hold { select: all() }).await.unwrap().is_empty(), "held already");
        assert_eq!(ask(&offline, Call::Release { select: all() }).await.unwrap().len(), 3);
        ask(&offline, Call::Retry { select: all() }).await.unwrap();
        assert!(matches!(&memory.record(QueueId(1)).unwrap().unwrap().states[0], State::Open(p) if p.attempts == 0));
        let rows = ask(&offline, Call::Remove { select: domain("b.example") }).await.unwrap();
        assert!(matches!(&rows[0], Row::Changed(changed) if changed.recipients == ["bob@b.example"]));
        let rows = ask(&offline, Call::Bounce { select: all(), reason: None }).await.unwrap();
        assert!(matches!(&rows[2], Row::Changed(changed) if changed.recipients == ["carol@c.example"]));
        assert_eq!(rows.len(), 3, "the receipts stay");
        assert_eq!(*memory.1.lock().unwrap(), 3, "a receipt for each message");
        assert_eq!(ask(&offline, Call::List { select: all(), limit: None }).await.unwrap().len(), 3);
        assert!(ask(&offline, Call::Reload).await.is_err());
    }
}
