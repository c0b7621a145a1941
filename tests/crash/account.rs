//! The account of an outside checker: what was answered 250, what arrived, which receipts came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::common::daemon::Setup;
use crate::common::sink::{Arrival, Sink, field};
use crate::common::wait;
use crate::load::Sent;

/// The account.
#[derive(Default)]
pub struct Account {
    sent: BTreeMap<String, Sent>,
    /// Arrivals that had been seen when the queue was empty: none of their messages may come again.
    closed: usize,
    duplicates: usize,
    kills_seen: u64,
}

impl Account {
    /// Enters messages that were answered 250.
    pub fn sent(&mut self, messages: Vec<Sent>) {
        self.sent.extend(messages.into_iter().map(|message| (message.id.clone(), message)));
    }

    /// Second copies so far, all of them of what was in flight at a kill.
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Waits until everything has arrived and the queue is empty, then checks the account.
    pub fn settled(&mut self, sink: &Sink, setup: &Setup) {
        let (messages, receipts) = self.due();
        sink.wait("all messages and receipts arrive", |arrivals| {
            let seen = Seen::of(arrivals);
            messages.iter().all(|id| seen.messages.contains_key(id))
                && receipts.iter().all(|id| seen.receipts.contains_key(id))
        });
        wait::until("the queue is empty", || {
            let output = setup.ctl(&["queue", "list", "--json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.success() && !text.contains("\"id\"")).then_some(())
        });
        let arrivals = sink.arrivals();
        let seen = Seen::of(&arrivals);
        let earlier = Seen::of(&arrivals[..self.closed]);
        let later = Seen::of(&arrivals[self.closed..]);
        for id in later.messages.keys() {
            assert!(!earlier.messages.contains_key(id), "{id} was completed, and has been sent again");
        }
        for id in seen.messages.keys() {
            assert!(messages.contains(id), "{id} arrived, but was never answered 250, or its recipient was refused");
        }
        for (id, ids) in &seen.receipts {
            assert!(receipts.contains(id), "a receipt for {id}, which nobody asked for: {ids:?}");
            assert_eq!(ids.len(), 1, "receipts for {id}: {ids:?}");
        }
        self.duplicates = seen.messages.values().map(|epochs| epochs.len() - 1).sum();
        for (id, epochs) in &seen.messages {
            let distinct: BTreeSet<_> = epochs.iter().collect();
            self.kills_seen = self.kills_seen.max(epochs.iter().copied().max().unwrap_or_default());
            assert!(epochs.len() <= distinct.len() + 1, "{id} came {} times between kills", epochs.len());
        }
        self.closed = arrivals.len();
    }

    /// The messages that must arrive, and those that must cause a receipt.
    fn due(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let ids = |which: fn(&Sent) -> bool| self.sent.values().filter(move |sent| which(sent)).map(|sent| &sent.id);
        let messages = ids(|sent| !sent.refused).cloned().collect();
        (messages, ids(|sent| sent.refused || sent.asked).cloned().collect())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { sent, duplicates, closed, kills_seen, .. } = self;
        write!(
            f,
            "{} messages answered 250, {closed} arrivals with receipts over {kills_seen} kills, {duplicates} second \
             copies of what was in flight; none lost, none completed sent again, each receipt once",
            sent.len()
        )
    }
}

/// What arrived, by message.
#[derive(Default)]
struct Seen {
    /// The epochs in which each message came.
    messages: BTreeMap<String, Vec<u64>>,
    /// The Message-IDs of the receipts about each message.
    receipts: BTreeMap<String, BTreeSet<String>>,
}

impl Seen {
    fn of(arrivals: &[Arrival]) -> Seen {
        let mut seen = Seen::default();
        for arrival in arrivals {
            let id = arrival.field("Message-ID").unwrap_or_default().trim_matches(['<', '>']).to_owned();
            if arrival.mail.starts_with("<>") {
                let about = field(&arrival.entity, "Original-Envelope-Id").unwrap_or_default().replace("+40", "@");
                seen.receipts.entry(about).or_default().insert(id);
            } else {
                seen.messages.entry(id).or_default().push(arrival.epoch);
            }
        }
        seen
    }
}
