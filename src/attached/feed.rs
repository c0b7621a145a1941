//! What one attachment is to be offered, and what it said.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::seat::SeatId;
use super::{Attached, Concluded, End, Offer, Upkeep, Verdict};
use crate::accounts::{Principal, Reads};
use crate::address::Mailbox;
use crate::timestamp::Timestamp;

/// An attachment that has joined its inboxes.
#[derive(Debug)]
pub struct Joined {
    /// What it is to be offered.
    pub feed: Feed,
    /// What is to be written before [`Feed::ready`].
    pub upkeep: Upkeep,
}

/// An attachment's place among the others; dropping it gives the place back.
#[derive(Debug)]
pub struct Feed {
    attached: Attached,
    id: SeatId,
    wake: Arc<Notify>,
}

impl Feed {
    pub(super) fn new(attached: Attached, id: SeatId, wake: Arc<Notify>) -> Feed {
        Feed { attached, id, wake }
    }

    /// The device has said what it takes: messages up to `limit` octets are offered from now on. Another connection of the
    /// same device to the same inbox is ended, unless that takes smaller messages only: then this one gets the larger.
    pub fn ready(&self, limit: Option<u64>) {
        self.attached.board().ready(self.id, limit);
    }

    /// Up to `room` messages that are to be offered now, in order of acceptance.
    pub fn take(&self, room: usize, now: Instant) -> Vec<Offer> {
        self.attached.board().take(self.id, room, now)
    }

    /// Whether the last [`Feed::take`] gave all that there is now. Until everything is known nobody can say so.
    pub fn is_dry(&self) -> bool {
        self.attached.board().is_dry(self.id)
    }

    /// What was said of an offer, and what follows. What is said of an offer that is not this feed's is nothing.
    pub fn answered(&self, offer: &Offer, verdict: Verdict, now: Instant) -> Concluded {
        self.attached.board().answered(self.id, offer, verdict, now)
    }

    /// The message of an offer cannot be had at the moment: it is offered again in a second.
    pub fn soon(&self, offer: &Offer, now: Instant) {
        self.attached.board().soon(self.id, offer, now);
    }

    /// The message of an offer is not in the spool, or not for this inbox any more.
    pub fn vanished(&self, offer: &Offer) {
        self.attached.board().vanished(self.id, offer);
    }

    /// When something is offered again that was refused for now.
    pub fn next_due(&self) -> Option<Instant> {
        self.attached.board().next_due(self.id)
    }

    /// Ends this attachment if it may do less now than when it was made.
    pub fn revise(&self, reads: impl Fn(&Principal, &Mailbox) -> Reads) {
        self.attached.board().revise_one(self.id, reads);
    }

    /// The attachment is to end, if it is not ending.
    pub fn end_by(&self, why: End) {
        self.attached.board().end_by(self.id, why);
    }

    /// Whether the attachment is to end, and why.
    pub fn end(&self) -> Option<End> {
        self.attached.board().end(self.id)
    }

    /// Resolves when there is news: something to offer, or an end.
    pub async fn news(&self) {
        self.wake.notified().await;
    }

    /// The attachment is over; gives what is to be written.
    pub fn leave(self, now: Timestamp) -> Upkeep {
        self.attached.board().leave(self.id, now)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The time matters only to whom is told of it: a device that was attached is seen at the least since then.
        self.attached.board().leave(self.id, Timestamp::from_millis(i64::MIN));
    }
}
