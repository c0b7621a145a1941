//! One attachment: which inboxes it reads, how far, what is under way with it, what it is offered again and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Item;
use super::inbox::Waiting;
use crate::accounts::{Principal, Reads};
use crate::address::{Device, Mailbox};
use crate::spool::QueueId;

/// Seconds of pause after the first, second, … refusal for now; the last repeats.
const RETRY: [u64; 6] = [5, 15, 60, 300, 900, 3600];
/// How long a message that was refused for now holds back those after it: its first pauses, which are shorter.
const HOLD: Duration = Duration::from_secs(30);
/// Messages refused for now; with so many nothing else is offered until one is through.
const RETRIES: usize = 64;

/// The name of an attachment on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SeatId(pub u64);

/// Why an attachment is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The same device is attached by another connection.
    Replaced,
    /// The account may no longer read the inbox, or what proved it is not its any more.
    Revoked,
    /// Those who vouch for the account are to be asked again.
    Renewal,
    /// The server is stopping.
    Closing,
}

/// A message that an attachment is to be offered. Every offer is answered ([`super::Feed::answered`]), or ends with the
/// attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The message and the recipient.
    pub item: Item,
    /// Octets of its entity.
    pub size: u64,
    /// Which of the attachment's inboxes.
    pub(super) place: u32,
    /// Refusals for now on this attachment so far.
    pub(super) attempts: u16,
}

impl Offer {
    /// The message.
    pub fn id(&self) -> QueueId {
        self.item.id
    }

    /// The index of the recipient.
    pub fn index(&self) -> usize {
        self.item.index as usize
    }
}

/// An inbox of an attachment.
#[derive(Debug)]
pub(super) struct Place {
    pub inbox: Mailbox,
    pub key: Arc<str>,
    pub reads: Reads,
    /// The device's bit; `None` without a list.
    pub slot: Option<u8>,
    /// Everything up to here was offered or passed over.
    pub cursor: Option<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    due: Instant,
    item: Item,
    place: u32,
    attempts: u16,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub principal: Principal,
    pub device: Option<Device>,
    pub places: Box<[Place]>,
    /// The device has said what it takes.
    pub ready: bool,
    /// When it asked last, there was nothing for it.
    pub dry: bool,
    /// The largest message that it takes.
    pub limit: Option<u64>,
    /// The largest message that another connection of the same device takes: this one gets what is larger.
    pub floor: Option<u64>,
    /// What came behind the cursor: out of order, or again.
    behind: BTreeSet<(Item, u32)>,
    retries: Vec<Retry>,
    pub flying: Vec<(Item, u32)>,
    held_until: Option<Instant>,
    pub end: Option<End>,
    pub wake: Arc<Notify>,
}

impl Seat {
    pub fn new(principal: Principal, device: Option<Device>, places: Vec<Place>) -> Seat {
        Seat {
            principal,
            device,
            places: places.into(),
            ready: false,
            dry: false,
            limit: None,
            floor: None,
            behind: BTreeSet::new(),
            retries: Vec::new(),
            flying: Vec::new(),
            held_until: None,
            end: None,
            wake: Arc::default(),
        }
    }

    /// Whether both are connections of one device; those without a name are of none.
    pub fn is_same_device(&self, other: &Seat) -> bool {
        self.device.is_some()
            && self.device == other.device
            && self.principal.account.key() == other.principal.account.key()
    }

    /// Whether it was refused for now.
    pub fn is_due_again(&self, item: Item) -> bool {
        self.retries.iter().any(|retry| retry.item == item)
    }

    pub fn is_flying(&self, item: Item) -> bool {
        self.flying.iter().any(|(flying, _)| *flying == item)
    }

    /// Whether it takes a message of this size.
    pub fn fits(&self, size: u64) -> bool {
        self.limit.is_none_or(|limit| size <= limit) && self.floor.is_none_or(|floor| size > floor)
    }

    /// Whether it is to get the message.
    pub fn wants(&self, place: u32, item: Item, waiting: &Waiting) -> bool {
        let slot = self.places[place as usize].slot;
        waiting.is_for(slot) && self.fits(waiting.size) && !self.is_flying(item)
    }

    /// A message has come into one of its inboxes, or has come back.
    pub fn tell(&mut self, key: &str, item: Item) {
        let place = self.places.iter().position(|place| *place.key == *key);
        if let Some(at) = place
            && self.places[at].cursor.is_some_and(|cursor| cursor >= item)
            && !self.is_due_again(item)
        {
            self.behind.insert((item, at as u32));
        }
        self.wake.notify_one();
    }

    /// Whether it may be offered something new now.
    pub fn may_go_on(&self, now: Instant) -> bool {
        self.retries.len() < RETRIES && self.held_until.is_none_or(|until| until <= now)
    }

    /// What was refused for now and is due, the oldest message first.
    pub fn due(&mut self, now: Instant) -> Option<(Item, u32, u16)> {
        let due = self.retries.iter().enumerate().filter(|(_, retry)| retry.due <= now);
        let (at, _) = due.min_by_key(|(_, retry)| retry.item)?;
        let Retry { item, place, attempts, .. } = self.retries.swap_remove(at);
        Some((item, place, attempts))
    }

    /// The first message behind the cursors that is not under way.
    pub fn first_behind(&self) -> Option<(Item, u32)> {
        self.behind.iter().find(|(item, _)| !self.is_flying(*item)).copied()
    }

    pub fn forget_behind(&mut self, entry: (Item, u32)) {
        self.behind.remove(&entry);
    }

    /// It is offered again after a pause, and holds back what comes after it for a while.
    pub fn later(&mut self, offer: &Offer, now: Instant) {
        let pause = Duration::from_secs(RETRY[usize::from(offer.attempts).min(RETRY.len() - 1)]);
        let attempts = offer.attempts.saturating_add(1);
        self.retries.push(Retry { due: now + pause, item: offer.item, place: offer.place, attempts });
        if pause < HOLD {
            self.held_until = self.held_until.max(Some(now + pause));
        }
    }

    /// It could not be read just now: it is offered again soon.
    pub fn soon(&mut self, offer: &Offer, now: Instant) {
        let Offer { item, place, attempts, .. } = *offer;
        let due = now + Duration::from_secs(1);
        self.retries.push(Retry { due, item, place, attempts });
        self.held_until = self.held_until.max(Some(due));
    }

    /// When something is to be offered again.
    pub fn next_due(&self) -> Option<Instant> {
        self.retries.iter().map(|retry| retry.due).min()
    }

    /// Ends it if its account may do less now than when it was made.
    pub fn revise(&mut self, reads: &impl Fn(&Principal, &Mailbox) -> Reads) {
        let principal = &self.principal;
        if self.places.iter().any(|place| reads(principal, &place.inbox) < place.reads) {
            self.end(End::Revoked);
        }
    }

    /// Ends it, if it is not ending.
    pub fn end(&mut self, why: End) {
        self.end.get_or_insert(why);
        self.wake.notify_one();
    }
}
