//! People here who are out of contact: after a while their messages go to the mail store.
//!
//! A message is taken out of reach of their devices for the time of an attempt, and given back where it did not succeed, so
//! that one way has it at a time. Short messages of one sender that wait there become one mail. A mail store that refuses it is no reason to fail: whoever attaches gets it, until its
//! time is over. Lost with the process, after which the attempt is made again: the mail is the same then. Receipts wait
//! for a client: nobody wants a mail about each message.

use std::sync::Arc;
use std::time::Duration;

use super::{Event, Run};
use crate::accounts::Found;
use crate::address::Mailbox;
use crate::attached::Item;
use crate::bridge::outward;
use crate::deliver::{Destination, Outcome, Report, Scope};
use crate::limits;
use crate::queue::conclude::{self, Conclusion};
use crate::queue::log;
use crate::queue::look_up::MAILBOXES;
use crate::queue::schedule::Entry;
use crate::spool::{QueueId, Record, Spool};
use crate::timestamp::Timestamp;

/// How long devices have to come back after a start before anything goes to the mail store.
const COME_BACK: Duration = Duration::from_secs(120);
/// When it is tried again after somebody was there.
const AGAIN: Duration = Duration::from_secs(60);

impl Run {
    /// Sets the time at which the message goes to the mail store, if it does. What is on its way there is not for devices.
    pub(super) fn plan_fallback(&mut self, record: &Record, inboxes: &mut Vec<usize>) {
        let table = self.table.borrow().clone();
        if table.store().is_some() && self.flights.contains_key(&(record.id, MAILBOXES.into())) {
            return inboxes.clear();
        }
        if record.envelope.sender.mailbox().is_none() {
            return;
        }
        let after = inboxes.iter().filter_map(|index| {
            let address = &record.envelope.recipients[*index].address;
            table.fallback(address.domain(), record.envelope.class)
        });
        if let Some(after) = after.min() {
            let back = self.started.after(COME_BACK.min(after));
            self.schedule.mail_at(record.id, record.arrived.after(after).max(back));
        }
    }

    /// It is time: finds out what else waits there of the same sender, and what of that becomes one mail with it.
    pub(super) fn fall_back(&mut self, id: QueueId) {
        if self.flights.contains_key(&(id, MAILBOXES.into())) {
            return;
        }
        let Some(record) = self.current(Entry { id, record: None }).filter(|record| !record.held) else { return };
        let [index] = self.recipients_for_store(&record, self.clock.now())[..] else {
            return self.gathered(id, Vec::new());
        };
        // What becomes of a mail by SMTP is reported for one message.
        if !self.table.borrow().store().is_some_and(|store| store.lmtp) {
            return self.gathered(id, Vec::new());
        }
        let waiting = self.inboxes.open(&record.envelope.recipients[index].address, limits::GATHERED);
        let (spool, events) = (self.spool.clone(), self.events.clone());
        tokio::spawn(async move {
            let mut others = Vec::new();
            if is_short(&spool, &record).await {
                for Item { id: other, .. } in waiting.into_iter().filter(|item| item.id != id) {
                    let found = spool.record(other).ok().flatten().filter(|other| goes_with(&record, index, other));
                    if let Some(found) = found
                        && is_short(&spool, &found).await
                    {
                        others.push(other);
                    }
                }
            }
            let _ = events.send(Event::Gathered(id, others));
        });
    }

    /// Puts a message into the line of the mail store, with those that become one mail with it.
    pub(super) fn gathered(&mut self, id: QueueId, others: Vec<QueueId>) {
        if !others.is_empty() {
            self.gathers.insert(id, others);
        }
        self.schedule.arrive(&MAILBOXES.into(), Entry { id, record: None });
    }

    /// What goes with a message that is about to be offered to the mail store: as far as no device has it, or may have it.
    pub(super) fn with_it(
        &mut self,
        record: &Record,
        destination: &Destination,
        recipients: &[usize],
    ) -> (Vec<QueueId>, Vec<(Arc<Record>, usize)>) {
        let mut others = Vec::new();
        let ids = if **destination == *MAILBOXES { self.gathers.remove(&record.id) } else { None };
        let (Some(ids), [index]) = (ids, recipients) else { return (Vec::new(), others) };
        for id in ids {
            let found = self.current(Entry { id, record: None }).filter(|found| goes_with(record, *index, found));
            let Some(found) = found.filter(|_| !self.flights.contains_key(&(id, destination.clone()))) else {
                continue;
            };
            let at = recipient(&found, &record.envelope.recipients[*index].address);
            if let Some(at) = at.filter(|at| !self.inboxes.take_away(&found, vec![*at]).is_empty()) {
                others.push((found, at));
            }
        }
        (others.iter().map(|(other, _)| other.id).collect(), others)
    }

    /// The recipients whose time in the inbox is over.
    pub(super) fn recipients_for_store(&self, record: &Record, now: Timestamp) -> Vec<usize> {
        let (accounts, table, class) = (self.accounts.borrow(), self.table.borrow(), record.envelope.class);
        let goes = |index: &usize| {
            let address = &record.envelope.recipients[*index].address;
            let here = matches!(accounts.find(address, class), Found::Inbox | Found::Elsewhere);
            let after = table.fallback(address.domain(), class);
            here && after.is_some_and(|after| record.arrived.after(after) <= now)
        };
        record.open().filter(goes).collect()
    }

    /// Of those the ones that no device has, or may have; they are out of reach of devices now. Where there is somebody it
    /// is tried again.
    pub(super) fn take_away(&mut self, record: &Record, recipients: Vec<usize>, now: Timestamp) -> Vec<usize> {
        let wanted = recipients.len();
        let taken = self.inboxes.take_away(record, recipients);
        if taken.len() < wanted {
            self.schedule.mail_at(record.id, now.after(AGAIN));
        }
        taken
    }

    /// What follows from the mail store's answer: what it has is withdrawn from devices, what it has not is given back.
    pub(super) fn stored(&self, record: &Arc<Record>, report: &Report, lane: u64) -> Conclusion {
        let mut report = report.clone();
        let mut back = Vec::new();
        for (index, outcome) in &mut report.outcomes {
            if let Outcome::Failed { reply, status, reason } = outcome {
                let (reply, status, reason) = (reply.take(), *status, std::mem::take(reason));
                *outcome = Outcome::Deferred { scope: Scope::Recipient, reply, status, reason, uncertain: false };
            }
            if matches!(outcome, Outcome::Deferred { .. }) {
                back.push(*index);
            }
        }
        self.offer(record, &back);
        let conclusion = conclude::attempt(record, &report, lane);
        self.inboxes.withdraw(record, &conclusion.states);
        conclusion
    }

    /// The same for the messages that were in the same mail; they are gathered again when it is tried again.
    pub(super) fn stored_with_it(&mut self, key: &(QueueId, Destination), report: &Report, started: Timestamp) {
        let others = self.flights.get_mut(key).map(|flight| std::mem::take(&mut flight.others)).unwrap_or_default();
        let Some((_, outcome)) = report.outcomes.first() else { return };
        let mut again = Vec::new();
        for (record, index) in others {
            let report = Report { id: record.id, outcomes: vec![(index, outcome.clone())], ..report.clone() };
            log::attempt(&record, &report, started, self.clock.now());
            if matches!(outcome, Outcome::Stored { .. }) {
                self.counters.count(&report.outcomes);
                let conclusion = self.stored(&record, &report, 0);
                self.complete(&record, conclusion, None);
            } else {
                self.offer(&record, &[index]);
                again.push(record.id);
            }
        }
        if !again.is_empty() {
            self.gathers.insert(key.0, again);
        }
    }
}

/// Whether a message waits for the same recipient, is of the same sender, and no one else is among its recipients.
fn goes_with(record: &Record, index: usize, other: &Record) -> bool {
    let address = &record.envelope.recipients[index].address;
    let same = record.envelope.sender == other.envelope.sender && record.envelope.class == other.envelope.class;
    same && !other.held && !other.envelope.require_tls && recipient(other, address).is_some()
}

/// The index at which a message is open for a recipient.
fn recipient(record: &Record, address: &Mailbox) -> Option<usize> {
    record.open().find(|index| record.envelope.recipients[*index].address.key() == address.key())
}

async fn is_short(spool: &Spool, record: &Record) -> bool {
    let small = record.size <= limits::TEXT_LINE_OCTETS as u64 * 16 && !record.envelope.require_tls;
    small && matches!(spool.entity(record.id).await, Ok(Some(entity)) if outward::is_short(&entity))
}
