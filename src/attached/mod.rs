//! Who is attached, what waits in each inbox, and what each device has not had.
//!
//! In: messages for inboxes, as the queue learns of them; attachments, which are connections whose roles are reversed. Out:
//! for each attachment a [`Feed`] of what it is to be offered, in order of acceptance, and what follows from each answer
//! ([`Concluded`]), which the queue writes down. Everything is in memory, behind one lock that is held for a few
//! instructions; the spool has what must survive ([`crate::spool::State::Owed`], [`crate::spool::Known`]).
//!
//! Invariants: the first answer that delivers completes a recipient, once; each known device is offered what it has not had
//! until it has answered; a message that waits costs some tens of octets, and no entity is held. An attachment without a
//! device's name has no list: it gets what nobody has had. Fails: never; what is not known (any more) is no news.

mod board;
mod feed;
mod inbox;
mod seat;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accounts::{Principal, Reads};
use crate::address::{Device, Mailbox};
use crate::net::Stream;
use crate::spool::{Had, Known, QueueId, State};
use crate::timestamp::Timestamp;

use board::Board;
pub use feed::{Feed, Joined};
pub use seat::{End, Offer};

/// A connection whose roles have been reversed by ATRN (RFC 2645 §5.2): from here on we are the client.
pub struct Attachment {
    /// The connection; nothing that the other side has sent before the reversal is left in it.
    pub stream: Stream,
    /// Who has authenticated.
    pub principal: Principal,
    /// The inboxes, with what the principal may do there; none of them twice.
    pub inboxes: Vec<(Mailbox, Reads)>,
    /// The device, where it has named itself.
    pub device: Option<Device>,
    /// It is served until nothing waits, and then ended (RFC 2645 §5.2.1).
    pub until_empty: bool,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// What the receiving side counts the connection and the account's clients by; given back when it ends.
    pub place: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("principal", &self.principal)
            .field("inboxes", &self.inboxes)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// What an inbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages, those that are kept for further devices included.
    pub messages: usize,
    /// Octets of their entities.
    pub octets: u64,
    /// Messages that nobody has had.
    pub open: usize,
}

/// A message at a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// The message.
    pub id: QueueId,
    /// The index of the recipient in the envelope.
    pub index: u32,
}

/// What an attachment said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has it.
    Had,
    /// It never wants it (5yz).
    Refused,
    /// Not now (4yz).
    Later,
    /// It was not offered: this connection cannot carry it, another may.
    Left,
}

/// What follows from an answer. What is not [`Concluded::Nothing`] is to be written down; then [`Attached::settled`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concluded {
    /// Nothing that is kept.
    Nothing,
    /// The device has had it.
    Had(Had),
    /// The recipient fails with the device's reply: there is no other device that could take it.
    Fails,
}

/// What is to be written about devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Devices that are known from now on, or were seen.
    pub know: Vec<Known>,
    /// Devices that are forgotten.
    pub forget: Vec<Known>,
    /// Messages that were kept for those: they need not be any more.
    pub had: Vec<(QueueId, Had)>,
}

impl Upkeep {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.know.is_empty() && self.forget.is_empty() && self.had.is_empty()
    }

    fn append(&mut self, mut other: Upkeep) {
        self.know.append(&mut other.know);
        self.forget.append(&mut other.forget);
        self.had.append(&mut other.had);
    }
}

/// How many are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Attachments.
    pub attached: usize,
    /// Inboxes with an attachment.
    pub inboxes: usize,
    /// Devices that are known, attached or not.
    pub devices: usize,
}

/// All inboxes and attachments. Clones share them.
#[derive(Clone, Debug)]
pub struct Attached(Arc<Mutex<Board>>);

impl Attached {
    /// With the devices that the spool knows. Nothing is offered before [`Attached::restored`].
    pub fn new(devices: Vec<Known>) -> Attached {
        Attached(Arc::new(Mutex::new(Board::new(devices))))
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // A panic elsewhere leaves the board usable: no invariant spans two calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is in the spool for an inbox here, in this state: new, restored, or released by an administrator. Gives
    /// what is to be written where it is kept for devices that are not known any more.
    pub fn arrive(&self, inbox: &Mailbox, item: Item, size: u64, state: &State) -> Vec<Had> {
        self.board().arrive(&inbox.key(), item, size, state)
    }

    /// Everything that was in the spool at the start has arrived: from now on it is offered.
    pub fn restored(&self) {
        self.board().restored();
    }

    /// What was concluded about a message is in the spool.
    pub fn settled(&self, inbox: &Mailbox, item: Item) {
        self.board().settled(&inbox.key(), item);
    }

    /// A message is no longer to be delivered: it has expired or was taken out.
    pub fn withdraw(&self, inbox: &Mailbox, item: Item) {
        self.board().withdraw(&inbox.key(), item);
    }

    /// A message is not in the spool any more.
    pub fn gone(&self, inbox: &Mailbox, id: QueueId) {
        self.board().gone(&inbox.key(), id);
    }

    /// Whether nobody is attached, and all that was concluded is in the spool.
    pub fn is_quiet(&self) -> bool {
        self.board().is_quiet()
    }

    /// An administrator holds a message; [`Attached::arrive`] releases it.
    pub fn hold(&self, inbox: &Mailbox, item: Item) {
        self.board().hold(&inbox.key(), item);
    }

    /// Whether a message has been offered and not answered, or what was answered is not yet in the spool.
    pub fn is_under_way(&self, inbox: &Mailbox, item: Item) -> bool {
        self.board().is_under_way(&inbox.key(), item)
    }

    /// Takes a message out of everybody's reach, to go another way; says whether that may be: nobody is attached to the
    /// inbox, nobody has had the message, or may have it without having answered. [`Attached::arrive`] gives it back.
    pub fn take_away(&self, inbox: &Mailbox, item: Item) -> bool {
        self.board().take_away(&inbox.key(), item)
    }

    /// The oldest messages of an inbox that nobody has had, at most so many.
    pub fn open(&self, inbox: &Mailbox, most: usize) -> Vec<Item> {
        self.board().open(&inbox.key(), most)
    }

    /// How many messages wait in these inboxes that nobody has had; never zero before everything is known.
    pub fn waiting(&self, inboxes: &[Mailbox]) -> usize {
        self.board().waiting(inboxes)
    }

    /// What an inbox holds.
    pub fn load(&self, inbox: &Mailbox) -> Load {
        self.board().load(&inbox.key())
    }

    /// Whether the inbox has room below these bounds, for which what is kept for further devices would give way.
    pub fn has_room(&self, inbox: &Mailbox, messages: usize, octets: u64) -> bool {
        self.board().has_room(&inbox.key(), messages, octets)
    }

    /// Makes room below these bounds where only what is kept for further devices is in the way; gives what is to be written.
    pub fn make_room(&self, inbox: &Mailbox, messages: usize, octets: u64) -> Upkeep {
        Upkeep { had: self.board().make_room(&inbox.key(), messages, octets), ..Upkeep::default() }
    }

    /// How many there are.
    pub fn status(&self) -> Status {
        self.board().status()
    }

    /// The accounts have changed: ends the attachments that may do less now than when they were made.
    pub fn revise(&self, reads: impl Fn(&Principal, &Mailbox) -> Reads) {
        self.board().revise(reads);
    }

    /// Ends all attachments, and those that come.
    pub fn close(&self) {
        self.board().close();
    }

    /// What is due for devices that are attached for long, or have not been for long; about once an hour.
    pub fn upkeep(&self, now: Timestamp) -> Upkeep {
        self.board().upkeep(now)
    }

    /// What could not be written: it is due again.
    pub fn again(&self, upkeep: Upkeep) {
        self.board().again(upkeep);
    }

    /// Joins an attachment to its inboxes; it gets nothing before [`Feed::ready`], and what `upkeep` says must be on
    /// stable storage by then.
    pub fn attach(
        &self,
        principal: &Principal,
        inboxes: &[(Mailbox, Reads)],
        device: Option<&Device>,
        now: Timestamp,
    ) -> Joined {
        let (id, wake, upkeep) = self.board().attach(principal, inboxes, device, now);
        Joined { feed: Feed::new(self.clone(), id, wake), upkeep }
    }
}
