//! People here who are out of contact: after a while their messages go to the mail store.
//!
//! A message is taken out of reach of their devices for the time of an attempt, and given back where it did not succeed, so
//! that one way has it at a time. A mail store that refuses it is no reason to fail: whoever attaches gets it, until its
//! time is over. Lost with the process, after which the attempt is made again: the mail is the same then. Receipts wait
//! for a client: nobody wants a mail about each message.

use std::sync::Arc;
use std::time::Duration;

use super::Run;
use crate::accounts::Found;
use crate::deliver::{Outcome, Report, Scope};
use crate::queue::look_up::MAILBOXES;
use crate::queue::schedule::Entry;
use crate::spool::{QueueId, Record};
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

    /// It is time: puts it into the line of the mail store.
    pub(super) fn fall_back(&mut self, id: QueueId) {
        if !self.flights.contains_key(&(id, MAILBOXES.into())) {
            self.schedule.arrive(&MAILBOXES.into(), Entry { id, record: None });
        }
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

    /// What the mail store has is withdrawn from devices, what it has not is given back to them.
    pub(super) fn stored(&mut self, record: &Arc<Record>, report: &Report) -> Report {
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
        report
    }
}
