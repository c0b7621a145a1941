//! People here who are out of contact: after a while their messages go to the mail store.
//!
//! A message is taken out of reach of their devices for the time of an attempt, and given back where it did not succeed,
//! so that one way has it at a time. Short messages of one sender and one conversation that wait there one after the
//! other become one mail. A mail store that refuses it is no reason to fail: whoever attaches gets it, until its time is
//! over. Lost with the process, after which the attempt is made again: the mail is the same then. Receipts wait for a
//! client: nobody wants a mail about each message.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, Run};
use crate::accounts::Found;
use crate::address::Mailbox;
use crate::attached::Item;
use crate::bridge::outward;
use crate::deliver::{Destination, Outcome, Report, Scope};
use crate::envelope::Class;
use crate::limits;
use crate::queue::conclude::{self, Conclusion};
use crate::queue::counters::Group;
use crate::queue::log;
use crate::queue::look_up::{MAILBOXES, place_of};
use crate::queue::schedule::Ended;
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
        if table.store().is_some() && self.goes_to_store(record.id) {
            return inboxes.clear();
        }
        if record.envelope.sender.mailbox().is_none() {
            return;
        }
        if let Some(after) = inboxes.iter().filter_map(|index| self.patience(record, *index)).min() {
            let back = self.started.after(COME_BACK.min(after));
            self.schedule.mail_at(record.id, record.arrived.after(after).max(back));
        }
    }

    /// After how long a message for somebody here goes to the mail store, where it does: their own time, or their domain's.
    fn patience(&self, record: &Record, index: usize) -> Option<Duration> {
        let (table, class) = (self.table.borrow(), record.envelope.class);
        let address = &record.envelope.recipients[index].address;
        let own = self.accounts.borrow().fallback(address);
        match (own, table.store()) {
            (Some(own), Some(_)) if class == Class::Im => own.after(),
            _ => table.fallback(address.domain(), class),
        }
    }

    /// It is time: finds out what else waits there of the same sender, and what of that becomes one mail with it.
    pub(super) fn fall_back(&mut self, id: QueueId) {
        if self.members.contains(&id) {
            return self.schedule.mail_at(id, self.clock.now().after(AGAIN));
        }
        let now = self.clock.now();
        if self.lined.contains(&id) {
            // It is there once. An attempt that is being made may leave out who is due by now.
            if self.goes_to_store(id) {
                self.schedule.mail_at(id, now.after(AGAIN));
            }
            return;
        }
        let Some(record) = self.current(id).filter(|record| !record.held) else { return };
        if let Some(later) = self.later(&record, now) {
            self.schedule.mail_at(id, later);
        }
        self.lined.insert(id);
        let [index] = self.recipients_for_store(&record, now)[..] else {
            return self.gathered(id, Vec::new());
        };
        // What becomes of a mail by SMTP is reported for one message.
        if !self.table.borrow().store().is_some_and(|store| store.lmtp) {
            return self.gathered(id, Vec::new());
        }
        let waiting = self.inboxes.open(&record.envelope.recipients[index].address, limits::GATHERED);
        let (spool, events) = (self.spool.clone(), self.events.clone());
        tokio::spawn(async move {
            let (mut ids, mut fit) = (Vec::new(), HashSet::new());
            if let Some(said) = conversation(&spool, &record).await {
                for Item { id: other, .. } in waiting {
                    let Some(found) = spool.record(other).ok().flatten() else { continue };
                    if found.envelope.sender != record.envelope.sender {
                        continue;
                    }
                    ids.push(other);
                    let fits = goes_with(&record, index, &found);
                    if fits && conversation(&spool, &found).await.as_ref() == Some(&said) {
                        fit.insert(other);
                    }
                }
            }
            let _ = events.send(Event::Gathered(id, unbroken(id, &ids, |other| fit.contains(&other))));
        });
    }

    /// When the next recipients follow who are not due yet.
    fn later(&self, record: &Record, now: Timestamp) -> Option<Timestamp> {
        let due = record.open().filter_map(|index| Some(record.arrived.after(self.patience(record, index)?)));
        due.filter(|at| *at > now).min()
    }

    /// An attempt with the mail store is over; where nothing of it is to be made again, the message is in its line no more.
    pub(super) fn leaves_line(&mut self, destination: &Destination, id: QueueId, ended: &Ended) {
        if **destination == *MAILBOXES && matches!(ended, Ended::Done | Ended::Unasked) {
            self.lined.remove(&id);
        }
    }

    /// Puts a message into the line of the mail store, with those that become one mail with it.
    pub(super) fn gathered(&mut self, id: QueueId, others: Vec<QueueId>) {
        if !others.is_empty() {
            self.gathers.insert(id, others);
        }
        self.schedule.arrive(&MAILBOXES.into(), id);
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
        let gathered = unbroken(record.id, &ids, |id| {
            let found = self.current(id).filter(|found| goes_with(record, *index, found));
            let Some(found) = found.filter(|_| !self.goes_to_store(id)) else { return false };
            let at = recipient(&found, &record.envelope.recipients[*index].address);
            let at = at.filter(|at| !self.inboxes.take_away(&found, vec![*at]).is_empty());
            others.extend(at.map(|at| (found, at)));
            at.is_some()
        });
        self.members.extend(&gathered);
        (gathered, others)
    }

    /// Whether it is on its way to the mail store, by itself or in the mail of another.
    fn goes_to_store(&self, id: QueueId) -> bool {
        self.members.contains(&id) || self.flights.contains_key(&(id, MAILBOXES.into()))
    }

    /// Whether somebody may have it at this moment.
    pub(super) fn is_under_way(&self, record: &Record) -> bool {
        let table = self.table.borrow();
        record.open().any(|index| {
            let destination = place_of(&table, record.envelope.recipients[index].address.domain(), &record.envelope);
            self.flights.contains_key(&(record.id, destination))
        }) || self.goes_to_store(record.id)
            || self.inboxes.is_under_way(record)
    }

    /// The recipients whose time in the inbox is over.
    pub(super) fn recipients_for_store(&self, record: &Record, now: Timestamp) -> Vec<usize> {
        let (accounts, class) = (self.accounts.borrow(), record.envelope.class);
        let goes = |index: &usize| {
            let address = &record.envelope.recipients[*index].address;
            let here = matches!(accounts.find(address, class), Found::Inbox | Found::Elsewhere);
            here && self.patience(record, *index).is_some_and(|after| record.arrived.after(after) <= now)
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
    pub(super) fn stored(&self, record: &Arc<Record>, report: &Report) -> Conclusion {
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
        let conclusion = conclude::attempt(record, &report);
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
            log::attempt(&record, &report, Group::Store, started, self.clock.now());
            if matches!(outcome, Outcome::Stored { .. }) {
                self.counters.report(record.envelope.class, Group::Store, &report.outcomes);
                let conclusion = self.stored(&record, &report);
                let (events, id) = (self.events.clone(), record.id);
                self.write(&record, conclusion, move || {
                    let _ = events.send(Event::Stored(id));
                });
            } else {
                self.members.remove(&record.id);
                self.offer(&record, &[index]);
                again.push(record.id);
            }
        }
        if !again.is_empty() {
            self.gathers.insert(key.0, again);
        }
    }
}

/// Those of `ids` that fit, as far as none between them and the first does not: what comes after it would come before it.
fn unbroken(first: QueueId, ids: &[QueueId], mut fits: impl FnMut(QueueId) -> bool) -> Vec<QueueId> {
    let mut before: Vec<QueueId> = ids.iter().copied().filter(|id| *id < first).collect();
    let mut after: Vec<QueueId> = ids.iter().copied().filter(|id| *id > first).collect();
    before.sort_unstable();
    before.reverse();
    after.sort_unstable();
    let mut all: Vec<QueueId> = before.into_iter().take_while(|id| fits(*id)).collect();
    all.extend(after.into_iter().take_while(|id| fits(*id)));
    all.sort_unstable();
    all
}

/// Whether a message waits for the same recipient and is of the same sender.
fn goes_with(record: &Record, index: usize, other: &Record) -> bool {
    let address = &record.envelope.recipients[index].address;
    let same = record.envelope.sender == other.envelope.sender && record.envelope.class == other.envelope.class;
    same && !other.held && !other.envelope.require_tls && recipient(other, address).is_some()
}

/// The index at which a message is open for a recipient.
fn recipient(record: &Record, address: &Mailbox) -> Option<usize> {
    record.open().find(|index| record.envelope.recipients[*index].address.key() == address.key())
}

/// Who takes part in the conversation of a message that can be one of several.
async fn conversation(spool: &Spool, record: &Record) -> Option<Vec<String>> {
    if record.size > limits::TEXT_LINE_OCTETS as u64 * 16 || record.envelope.require_tls {
        return None;
    }
    let entity = spool.entity(record.id).await.ok().flatten()?;
    outward::conversation(&record.envelope, &entity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_leaves_nothing_out_on_its_way() {
        let check = |first: u64, fit: &[u64], expected: &[u64]| {
            let ids: Vec<QueueId> = (1..=6).map(QueueId).collect();
            let all = unbroken(QueueId(first), &ids, |id| fit.contains(&id.0));
            assert_eq!(all, expected.iter().copied().map(QueueId).collect::<Vec<_>>(), "{first} {fit:?}");
        };
        check(1, &[2, 3, 4, 5, 6], &[2, 3, 4, 5, 6]);
        check(1, &[2, 4, 5], &[2]);
        check(1, &[3], &[]);
        check(4, &[1, 3, 5], &[3, 5]);
        check(4, &[1, 2, 6], &[]);
    }
}
