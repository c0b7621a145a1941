//! What the queue tells of messages to those who are attached, in their terms: one item for each recipient.
//!
//! In: records and conclusions. Out: calls of [`Attached`]. Thin; nothing is decided here.

use crate::address::Mailbox;
use crate::attached::{Attached, Item};
use crate::spool::{Had, QueueId, Record, State};

/// The inboxes that live here.
#[derive(Clone, Debug)]
pub struct Inboxes(Attached);

impl Inboxes {
    /// Of these attachments.
    pub fn new(attached: Attached) -> Self {
        Inboxes(attached)
    }

    /// Offers a message for these recipients; gives what is to be written about devices that are known no more.
    pub fn offer(&self, record: &Record, indexes: &[usize]) -> Vec<Had> {
        let each = indexes.iter().filter_map(|index| Some((*index, record.states.get(*index)?)));
        each.flat_map(|(index, state)| self.0.arrive(inbox(record, index), item(record.id, index), record.size, state))
            .collect()
    }

    /// All that was in the spool at the start was offered.
    pub fn restored(&self) {
        self.0.restored();
    }

    /// An administrator holds the message.
    pub fn hold(&self, record: &Record) {
        record.open().chain(record.owed()).for_each(|index| self.0.hold(inbox(record, index), item(record.id, index)));
    }

    /// These recipients are completed.
    pub fn withdraw(&self, record: &Record, states: &[(usize, State)]) {
        for (index, state) in states {
            if matches!(state, State::Closed(_)) {
                self.0.withdraw(inbox(record, *index), item(record.id, *index));
            }
        }
    }

    /// The message is not in the spool any more.
    pub fn gone(&self, id: QueueId, inboxes: &[Mailbox]) {
        inboxes.iter().for_each(|inbox| self.0.gone(inbox, id));
    }

    /// What a device said is written down.
    pub fn settled(&self, record: &Record, settled: Item) {
        self.0.settled(inbox(record, settled.index as usize), settled);
    }

    /// Of these recipients, those whose message nobody is to be offered any more, because it goes another way;
    /// [`Inboxes::offer`] gives it back.
    pub fn take_away(&self, record: &Record, indexes: Vec<usize>) -> Vec<usize> {
        let taken = |index: &usize| self.0.take_away(inbox(record, *index), item(record.id, *index));
        indexes.into_iter().filter(taken).collect()
    }

    /// The oldest messages of an inbox that nobody has had, at most so many.
    pub fn open(&self, inbox: &Mailbox, most: usize) -> Vec<Item> {
        self.0.open(inbox, most)
    }

    /// Whether a device has been offered the message and has not answered.
    pub fn is_under_way(&self, record: &Record) -> bool {
        let kept = || record.open().chain(record.owed());
        kept().any(|index| self.0.is_under_way(inbox(record, index), item(record.id, index)))
    }

    /// Whether nobody is attached and everything that was said is written down.
    pub fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }
}

fn inbox(record: &Record, index: usize) -> &Mailbox {
    &record.envelope.recipients[index].address
}

fn item(id: QueueId, index: usize) -> Item {
    Item { id, index: u32::try_from(index).unwrap_or(u32::MAX) }
}
