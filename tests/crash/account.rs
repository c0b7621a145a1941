//! The account of an outside checker: what was answered 250, what arrived, which receipts came.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use crate::common::daemon::Setup;
use crate::common::sink::{Arrival, Sink, field};
use crate::common::wait;
use crate::load::Sent;

/// The account.
#[derive(Default)]
pub struct Account {
    /// What was sent since the queue was empty the last time.
    open: BTreeMap<String, Sent>,
    /// What came of it.
    seen: Seen,
    /// Messages that had arrived when the queue was empty, and those whose receipt had: neither may come again.
    arrived: HashSet<String>,
    told: HashSet<String>,
    /// Arrivals that have been entered.
    entered: usize,
    sent: usize,
    duplicates: usize,
    last_epoch: u64,
}

/// What arrived, by message.
#[derive(Default)]
struct Seen {
    /// The epochs in which each message came.
    messages: BTreeMap<String, Vec<u64>>,
    /// The Message-IDs of the receipts about each message.
    receipts: BTreeMap<String, BTreeSet<String>>,
}

impl Account {
    /// Enters messages that were answered 250.
    pub fn sent(&mut self, messages: Vec<Sent>) {
        self.sent += messages.len();
        self.open.extend(messages.into_iter().map(|message| (message.id.clone(), message)));
    }

    /// Second copies so far, all of them of what was in flight at a kill.
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Waits until everything has arrived and the queue is empty, then checks the account and closes it.
    pub fn settled(&mut self, sink: &Sink, setup: &Setup) {
        let ids = |which: fn(&Sent) -> bool| self.open.values().filter(move |sent| which(sent)).map(|sent| &sent.id);
        let messages: BTreeSet<String> = ids(|sent| !sent.refused).cloned().collect();
        let receipts: BTreeSet<String> = ids(|sent| sent.refused || sent.asked).cloned().collect();
        sink.wait_for("all messages and receipts arrive", |arrivals| {
            self.enter(arrivals);
            let counts = (self.seen.messages.len(), self.seen.receipts.len());
            counts.0 >= messages.len() && counts.1 >= receipts.len()
        });
        wait::until("the queue is empty", || {
            let output = setup.ctl(&["queue", "list", "--json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.success() && !text.contains("\"id\"")).then_some(())
        });
        self.enter(&sink.arrivals());
        let Seen { messages: came, receipts: told } = std::mem::take(&mut self.seen);
        let lost: Vec<_> = messages.iter().filter(|id| !came.contains_key(*id)).collect();
        let untold: Vec<_> = receipts.iter().filter(|id| !told.contains_key(*id)).collect();
        assert!(lost.is_empty() && untold.is_empty(), "lost: {lost:?}; without a receipt: {untold:?}");
        for (id, ids) in &told {
            assert!(receipts.contains(id), "a receipt for {id}, which nobody asked for: {ids:?}");
            assert_eq!(ids.len(), 1, "receipts for {id}: {ids:?}");
        }
        for (id, epochs) in &came {
            assert!(messages.contains(id), "{id} arrived, but was never answered 250, or its recipient was refused");
            let distinct: BTreeSet<_> = epochs.iter().collect();
            // What the sink still reads when the daemon is dead is marked with the next epoch.
            assert!(epochs.len() <= distinct.len() + 1, "{id} came {} times between kills", epochs.len());
            self.duplicates += epochs.len() - 1;
        }
        self.arrived.extend(came.into_keys());
        self.told.extend(told.into_keys());
        self.open.clear();
    }

    /// Enters what has come since the last time.
    fn enter(&mut self, arrivals: &[Arrival]) {
        for arrival in &arrivals[self.entered..] {
            let id = arrival.field("Message-ID").unwrap_or_default().trim_matches(['<', '>']).to_owned();
            self.last_epoch = self.last_epoch.max(arrival.epoch);
            if arrival.mail.starts_with("<>") {
                let about = field(&arrival.entity, "Original-Envelope-Id").unwrap_or_default().replace("+40", "@");
                assert!(!self.told.contains(&about), "the receipt for {about} was completed, and has been sent again");
                self.seen.receipts.entry(about).or_default().insert(id);
            } else {
                for id in messages(arrival, id) {
                    assert!(!self.arrived.contains(&id), "{id} was completed, and has been sent again");
                    self.seen.messages.entry(id).or_default().push(arrival.epoch);
                }
            }
        }
        self.entered = arrivals.len();
    }
}

/// The messages in a mail: itself, or those that it gathers.
fn messages(arrival: &Arrival, id: String) -> Vec<String> {
    if !id.starts_with("impart.") {
        return vec![id];
    }
    let references = arrival.field("References").unwrap_or_default();
    let ids = references.split_whitespace().map(|id| id.trim_matches(['<', '>']).to_owned());
    ids.filter(|id| !id.starts_with("impart.")).collect()
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { sent, duplicates, entered, last_epoch, .. } = self;
        write!(
            f,
            "{sent} messages answered 250, {entered} arrivals with receipts over {last_epoch} kills, {duplicates} second \
             copies of what was in flight; none lost, none completed sent again, each receipt once"
        )
    }
}
