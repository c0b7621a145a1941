//! All inboxes and attachments: what [`super::Attached`] has behind its lock. Pure; time is passed in.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::inbox::{Inbox, Mask, Phase, Waiting, has_had};
use super::seat::{End, Offer, Place, Seat, SeatId};
use super::{Concluded, Item, Load, Status, Upkeep, Verdict};
use crate::accounts::{Principal, Reads};
use crate::address::{Device, Mailbox};
use crate::limits;
use crate::spool::{Had, Holder, Known, QueueId, State};
use crate::timestamp::Timestamp;

/// Messages that are looked at for one call; the attachment is woken to go on after that.
const SCAN: usize = 4096;
/// How exactly the spool knows when a device was attached last.
const SEEN: Duration = Duration::from_secs(86_400);

#[derive(Debug, Default)]
pub(super) struct Board {
    inboxes: HashMap<Arc<str>, Inbox>,
    seats: HashMap<SeatId, Seat>,
    next: u64,
    restored: bool,
    closing: bool,
    /// Conclusions that are not in the spool yet.
    settling: usize,
    /// There were so many of them that somebody was offered nothing.
    held_up: bool,
    /// What there was to write before anybody could.
    due: Upkeep,
}

impl Board {
    pub fn new(devices: Vec<Known>) -> Board {
        let mut board = Board::default();
        for Known { inbox, holder, seen } in devices {
            let (_, replaced) = board.inbox(&inbox).know(&inbox, &holder, seen);
            board.due.append(replaced);
        }
        board
    }

    fn inbox(&mut self, key: &str) -> &mut Inbox {
        self.inboxes.entry(key.into()).or_default()
    }

    fn tidy(&mut self, key: &str) {
        if self.inboxes.get(key).is_some_and(Inbox::is_empty) {
            self.inboxes.remove(key);
        }
    }

    pub fn arrive(&mut self, key: &str, item: Item, size: u64, state: &State) -> Vec<Had> {
        let inbox = self.inbox(key);
        let (phase, mask, strangers) = inbox.read(state);
        let owed = state.is_owed();
        let known = inbox.change(item, |waiting, _| {
            waiting.held = false;
            // What was concluded and is not written yet is newer than what the spool said.
            if waiting.settling == 0 {
                (waiting.phase, waiting.mask) = (phase, mask);
            }
        });
        if known.is_none() && phase != Phase::Done {
            inbox.put(item, Waiting { size, mask, settling: 0, phase, held: false, doubtful: false });
        }
        for seat in inbox.seats.clone() {
            if let Some(seat) = self.seats.get_mut(&seat) {
                seat.tell(key, item);
            }
        }
        self.tidy(key);
        if owed { strangers.into_iter().map(|holder| has_had(item, holder)).collect() } else { Vec::new() }
    }

    pub fn restored(&mut self) {
        self.restored = true;
        self.seats.values().for_each(|seat| seat.wake.notify_one());
    }

    fn change(&mut self, key: &str, item: Item, change: impl FnOnce(&mut Waiting)) {
        if let Some(inbox) = self.inboxes.get_mut(key) {
            inbox.change(item, |waiting, _| change(waiting));
        }
        self.tidy(key);
    }

    pub fn settled(&mut self, key: &str, item: Item) {
        self.settling = self.settling.saturating_sub(1);
        self.change(key, item, |waiting| waiting.settling = waiting.settling.saturating_sub(1));
        if self.held_up && self.settling <= limits::SETTLING / 2 {
            self.held_up = false;
            self.seats.values().for_each(|seat| seat.wake.notify_one());
        }
    }

    pub fn withdraw(&mut self, key: &str, item: Item) {
        self.change(key, item, |waiting| waiting.phase = Phase::Done);
    }

    pub fn gone(&mut self, key: &str, id: QueueId) {
        let Some(inbox) = self.inboxes.get(key) else { return };
        let all = inbox.items.range(Item { id, index: 0 }..=Item { id, index: u32::MAX }).map(|(item, _)| *item);
        all.collect::<Vec<_>>().into_iter().for_each(|item| self.withdraw(key, item));
    }

    pub fn is_quiet(&self) -> bool {
        self.seats.is_empty() && self.settling == 0
    }

    pub fn hold(&mut self, key: &str, item: Item) {
        self.change(key, item, |waiting| waiting.held = true);
    }

    pub fn is_under_way(&self, key: &str, item: Item) -> bool {
        let Some(inbox) = self.inboxes.get(key) else { return false };
        let flying = |id: &SeatId| self.seats.get(id).is_some_and(|seat| seat.is_flying(item));
        inbox.items.get(&item).is_some_and(|waiting| waiting.settling > 0) || inbox.seats.iter().any(flying)
    }

    pub fn take_away(&mut self, key: &str, item: Item) -> bool {
        // Who only gets copies is nobody who fetches it.
        let completes = |place: &Place| *place.key == *key && place.reads > Reads::Copy;
        let fetches = |seat: &SeatId| self.seats.get(seat).is_none_or(|seat| seat.places.iter().any(completes));
        let Some(inbox) = self.inboxes.get_mut(key) else { return false };
        if !self.restored || inbox.seats.iter().any(fetches) {
            return false;
        }
        let free = |waiting: &Waiting| {
            waiting.phase == Phase::Open && !waiting.held && !waiting.doubtful && waiting.settling == 0
        };
        let free = inbox.items.get(&item).is_some_and(free);
        if free {
            inbox.change(item, |waiting, _| waiting.held = true);
        }
        free
    }

    pub fn open(&self, key: &str, most: usize) -> Vec<Item> {
        let items = self.inboxes.get(key).into_iter().flat_map(|inbox| &inbox.items);
        let open = items.filter(|(_, waiting)| waiting.phase == Phase::Open && !waiting.held);
        open.map(|(item, _)| *item).take(most).collect()
    }

    pub fn waiting(&self, inboxes: &[Mailbox]) -> usize {
        let known: usize = inboxes.iter().map(|inbox| self.load(&inbox.key()).open).sum();
        if self.restored { known } else { known.max(1) }
    }

    pub fn load(&self, key: &str) -> Load {
        self.inboxes.get(key).map(|inbox| inbox.load).unwrap_or_default()
    }

    pub fn has_room(&self, key: &str, messages: usize, octets: u64) -> bool {
        let Some(Inbox { load, kept, .. }) = self.inboxes.get(key) else { return messages > 0 && octets > 0 };
        load.messages - kept.messages < messages && load.octets - kept.octets < octets
    }

    pub fn make_room(&mut self, key: &str, messages: usize, octets: u64) -> Vec<(QueueId, Had)> {
        let given_up = self.inboxes.get_mut(key).map(|inbox| inbox.make_room(messages, octets));
        self.tidy(key);
        given_up.unwrap_or_default()
    }

    pub fn status(&self) -> Status {
        let with = self.inboxes.values().filter(|inbox| !inbox.seats.is_empty()).count();
        let devices = self.inboxes.values().map(|inbox| inbox.known().count_ones() as usize).sum();
        Status { attached: self.seats.len(), inboxes: with, devices }
    }

    pub fn revise(&mut self, reads: impl Fn(&Principal, &Mailbox) -> Reads) {
        self.seats.values_mut().for_each(|seat| seat.revise(&reads));
    }

    pub fn revise_one(&mut self, id: SeatId, reads: impl Fn(&Principal, &Mailbox) -> Reads) {
        self.seats.get_mut(&id).into_iter().for_each(|seat| seat.revise(&reads));
    }

    pub fn end_by(&mut self, id: SeatId, why: End) {
        self.seats.get_mut(&id).into_iter().for_each(|seat| seat.end(why));
    }

    pub fn close(&mut self) {
        self.closing = true;
        self.seats.values_mut().for_each(|seat| seat.end(End::Closing));
    }

    /// A device that is known again by now is not forgotten, and one that is forgotten by now is not known.
    pub fn again(&mut self, mut upkeep: Upkeep) {
        let is_known =
            |known: &Known| self.inboxes.get(&*known.inbox).is_some_and(|inbox| inbox.find(&known.holder).is_some());
        upkeep.know.retain(is_known);
        upkeep.forget.retain(|known| !is_known(known));
        self.due.append(upkeep);
    }

    pub fn upkeep(&mut self, now: Timestamp) -> Upkeep {
        let mut upkeep = std::mem::take(&mut self.due);
        let (stale, gone) = (now.before(SEEN), now.before(limits::DEVICE_RETENTION));
        for (key, inbox) in &mut self.inboxes {
            for slot in inbox.slots().filter(|slot| slot.attached > 0 && slot.seen < stale) {
                slot.seen = now;
                upkeep.know.push(Known { inbox: key.to_string(), holder: slot.holder.clone(), seen: now });
            }
            upkeep.append(inbox.forget_before(key, gone));
        }
        self.inboxes.retain(|_, inbox| !inbox.is_empty());
        upkeep
    }

    pub fn attach(
        &mut self,
        principal: &Principal,
        inboxes: &[(Mailbox, Reads)],
        device: Option<&Device>,
        now: Timestamp,
    ) -> (SeatId, Arc<Notify>, Upkeep) {
        let id = SeatId(self.next);
        self.next += 1;
        let (mut places, mut upkeep) = (Vec::with_capacity(inboxes.len()), Upkeep::default());
        for (mailbox, reads) in inboxes.iter().filter(|(_, reads)| *reads != Reads::No) {
            let key: Arc<str> = mailbox.key().into();
            let holder = device.map(|device| {
                let own = principal.account.key() == *key;
                Holder::new(device, (!own).then_some(&principal.account))
            });
            let inbox = self.inbox(&key);
            let slot = holder.and_then(|holder| {
                let (slot, replaced) = inbox.know(&key, &holder, Timestamp::from_millis(i64::MIN));
                upkeep.append(replaced);
                let slot = slot?;
                let known = inbox.slot(slot)?;
                known.attached += 1;
                if known.seen < now.before(SEEN) {
                    known.seen = now;
                    upkeep.know.push(Known { inbox: key.to_string(), holder, seen: now });
                }
                Some(slot)
            });
            inbox.seats.push(id);
            places.push(Place { inbox: mailbox.clone(), key, reads: *reads, slot, cursor: None });
        }
        // What could not be written of these inboxes goes before all else.
        let here = |known: &Known| places.iter().any(|place| *place.key == *known.inbox);
        let (due, later) = std::mem::take(&mut self.due.know).into_iter().partition(here);
        self.due.know = later;
        upkeep.append(Upkeep { know: due, ..Upkeep::default() });
        let mut seat = Seat::new(principal.clone(), device.cloned(), places);
        if self.closing {
            seat.end(End::Closing);
        }
        let wake = seat.wake.clone();
        self.seats.insert(id, seat);
        (id, wake, upkeep)
    }

    /// The attachments of its inboxes, where it is of a device.
    fn beside_it(&self, seat: &Seat) -> Vec<SeatId> {
        let inboxes = seat.places.iter().filter_map(|place| self.inboxes.get(&place.key));
        let mut seats: Vec<SeatId> = match seat.device {
            Some(_) => inboxes.flat_map(|inbox| &inbox.seats).copied().collect(),
            None => Vec::new(),
        };
        seats.sort_unstable();
        seats.dedup();
        seats
    }

    /// The device has said what it takes. An older connection of the same device is ended, unless that takes small messages
    /// only and this one larger ones.
    pub fn ready(&mut self, id: SeatId, limit: Option<u64>) {
        let Some(mut seat) = self.seats.remove(&id) else { return };
        (seat.ready, seat.limit) = (true, limit);
        let (mut floor, mut replaced) = (None, false);
        for other_id in self.beside_it(&seat) {
            let Some(other) = self.seats.get_mut(&other_id).filter(|other| other.ready) else { continue };
            if !other.is_same_device(&seat) {
                continue;
            }
            // Which is the older says the order of their coming, not of their EHLO.
            match (other_id < id, beside(limit, other.limit, other_id < id)) {
                (true, Some(small)) => floor = floor.max(Some(small)),
                (true, None) => other.end(End::Replaced),
                (false, Some(small)) => other.floor = other.floor.max(Some(small)),
                (false, None) => replaced = true,
            }
        }
        seat.floor = floor;
        if replaced {
            seat.end(End::Replaced);
        }
        seat.wake.notify_one();
        self.seats.insert(id, seat);
    }

    pub fn end(&self, id: SeatId) -> Option<End> {
        match self.seats.get(&id) {
            Some(seat) => seat.end,
            None => Some(End::Closing),
        }
    }

    pub fn is_dry(&self, id: SeatId) -> bool {
        self.seats.get(&id).is_some_and(|seat| seat.dry)
    }

    /// Up to `room` messages for an attachment.
    pub fn take(&mut self, id: SeatId, room: usize, now: Instant) -> Vec<Offer> {
        let mut offers = Vec::new();
        let Some(mut seat) = self.seats.remove(&id) else { return offers };
        // A spool that takes nothing for a while must not be owed ever more.
        self.held_up |= self.settling >= limits::SETTLING;
        if self.held_up {
            seat.dry = false;
        } else if self.restored && seat.ready && seat.end.is_none() {
            let mut scan = SCAN;
            while offers.len() < room {
                let Some(offer) = self.next_offer(&mut seat, now, &mut scan) else { break };
                seat.flying.push((offer.item, offer.place));
                offers.push(offer);
            }
            if scan == 0 {
                seat.wake.notify_one();
            }
            seat.dry = scan > 0 && offers.len() < room;
        }
        self.seats.insert(id, seat);
        offers
    }

    fn next_offer(&self, seat: &mut Seat, now: Instant, scan: &mut usize) -> Option<Offer> {
        while let Some((item, place, attempts)) = seat.due(now) {
            if let Some(size) = self.wanted(seat, item, place) {
                return Some(Offer { item, size, place, attempts });
            }
        }
        if !seat.may_go_on(now) {
            return None;
        }
        while let Some(entry @ (item, place)) = seat.first_behind() {
            seat.forget_behind(entry);
            if let Some(size) = self.wanted(seat, item, place) {
                return Some(Offer { item, size, place, attempts: 0 });
            }
        }
        let mut first: Option<Offer> = None;
        for place in 0..seat.places.len() as u32 {
            let found = self.ahead(seat, place, scan);
            first = first.into_iter().chain(found).min_by_key(|offer| offer.item);
        }
        let offer = first?;
        seat.places[offer.place as usize].cursor = Some(offer.item);
        Some(offer)
    }

    /// The size of a message that an attachment is to get now.
    fn wanted(&self, seat: &Seat, item: Item, place: u32) -> Option<u64> {
        let inbox = self.inboxes.get(&seat.places[place as usize].key)?;
        let waiting = inbox.items.get(&item)?;
        let wanted = seat.wants(place, item, waiting) && !self.is_with_sibling(inbox, seat, place, item);
        wanted.then_some(waiting.size)
    }

    /// Whether another connection of the same device has it: if that ends without an answer it comes back.
    fn is_with_sibling(&self, inbox: &Inbox, seat: &Seat, place: u32, item: Item) -> bool {
        let Place { key, slot: Some(slot), .. } = &seat.places[place as usize] else { return false };
        // The seat itself is not on the board at this moment.
        let others = inbox.seats.iter().filter_map(|id| self.seats.get(id));
        let same = |other: &&Seat| other.places.iter().any(|place| place.slot == Some(*slot) && place.key == *key);
        others.filter(|other| !other.flying.is_empty()).filter(same).any(|other| other.is_flying(item))
    }

    /// The next message of an inbox that is wanted; moves the cursor up to it.
    fn ahead(&self, seat: &mut Seat, place: u32, scan: &mut usize) -> Option<Offer> {
        let at = place as usize;
        let inbox = self.inboxes.get(&seat.places[at].key)?;
        let from = seat.places[at].cursor.map_or(Bound::Unbounded, Bound::Excluded);
        for (item, waiting) in inbox.items.range((from, Bound::Unbounded)) {
            if *scan == 0 {
                return None;
            }
            let wanted = seat.wants(place, *item, waiting) && !seat.is_due_again(*item);
            if wanted && !self.is_with_sibling(inbox, seat, place, *item) {
                return Some(Offer { item: *item, size: waiting.size, place, attempts: 0 });
            }
            *scan -= 1;
            seat.places[at].cursor = Some(*item);
        }
        None
    }

    pub fn answered(&mut self, id: SeatId, offer: &Offer, verdict: Verdict, now: Instant) -> Concluded {
        let Some(seat) = self.seats.get_mut(&id) else { return Concluded::Nothing };
        seat.flying.retain(|(item, _)| *item != offer.item);
        let place = &seat.places[offer.place as usize];
        let completes = matches!(place.reads, Reads::Own | Reads::Take);
        let (key, slot) = (place.key.clone(), place.slot);
        match verdict {
            Verdict::Left => return Concluded::Nothing,
            Verdict::Later => {
                seat.later(offer, now);
                return Concluded::Nothing;
            }
            Verdict::Had => {}
            // It may have come back meanwhile from an attachment that has ended.
            Verdict::Refused => seat.forget_behind((offer.item, offer.place)),
        }
        let Some(inbox) = self.inboxes.get_mut(&key) else { return Concluded::Nothing };
        let refused = verdict == Verdict::Refused;
        let meant = inbox.change(offer.item, |waiting, known| conclude(waiting, known, slot, completes, refused));
        let concluded = self.word(&key, offer.item, slot, meant.unwrap_or(Meant::Nothing));
        self.settling += usize::from(concluded != Concluded::Nothing);
        concluded
    }

    /// What was concluded, with the names of the devices.
    fn word(&self, key: &str, item: Item, slot: Option<u8>, meant: Meant) -> Concluded {
        let Some(inbox) = self.inboxes.get(key) else { return Concluded::Nothing };
        let holder = slot.and_then(|slot| inbox.holders(1 << slot).pop());
        match (meant, holder) {
            (Meant::Nothing, _) | (Meant::Had, None) => Concluded::Nothing,
            (Meant::Fails, _) => Concluded::Fails,
            (Meant::Had, Some(holder)) => Concluded::Had(has_had(item, holder)),
            (Meant::Completes(others), holder) => {
                let others = inbox.holders(others);
                Concluded::Had(Had { index: item.index as usize, holder, completes: true, others })
            }
        }
    }

    pub fn soon(&mut self, id: SeatId, offer: &Offer, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.flying.retain(|(item, _)| *item != offer.item);
            seat.soon(offer, now);
        }
    }

    /// What an offer named is not in the spool any more.
    pub fn vanished(&mut self, id: SeatId, offer: &Offer) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.flying.retain(|(item, _)| *item != offer.item);
        let key = seat.places[offer.place as usize].key.clone();
        self.change(&key, offer.item, |waiting| waiting.phase = Phase::Done);
    }

    pub fn next_due(&self, id: SeatId) -> Option<Instant> {
        self.seats.get(&id)?.next_due()
    }

    /// An attachment is over; what it was offered and has not answered goes to other connections of its device.
    pub fn leave(&mut self, id: SeatId, now: Timestamp) -> Upkeep {
        let mut upkeep = Upkeep::default();
        let Some(seat) = self.seats.remove(&id) else { return upkeep };
        for (at, place) in seat.places.iter().enumerate() {
            let Some(inbox) = self.inboxes.get_mut(&place.key) else { continue };
            inbox.seats.retain(|other| *other != id);
            if let Some(slot) = place.slot.and_then(|slot| inbox.slot(slot)) {
                slot.attached = slot.attached.saturating_sub(1);
                if slot.seen < now.before(SEEN) {
                    slot.seen = now;
                    upkeep.know.push(Known { inbox: place.key.to_string(), holder: slot.holder.clone(), seen: now });
                }
            }
            let back = seat.flying.iter().filter(|(_, of)| *of == at as u32).map(|(item, _)| *item);
            let back: Vec<Item> = back.collect();
            for item in back.iter().filter(|_| place.reads > Reads::Copy) {
                inbox.change(*item, |waiting, _| waiting.doubtful = true);
            }
            for (item, other) in back.into_iter().flat_map(|item| inbox.seats.iter().map(move |other| (item, *other))) {
                if let Some(other) = self.seats.get_mut(&other) {
                    other.tell(&place.key, item);
                }
            }
        }
        self.lower_floors(&seat);
        seat.places.iter().for_each(|place| self.tidy(&place.key));
        upkeep
    }

    /// What only a connection that is over took, the others of its device take now; what they have passed over for it they
    /// look at again.
    fn lower_floors(&mut self, gone: &Seat) {
        for id in self.beside_it(gone) {
            let Some(seat) = self.seats.get(&id).filter(|seat| seat.is_same_device(gone)) else { continue };
            let older = self.beside_it(seat).into_iter().filter(|other| *other < id);
            let older = older.filter_map(|other| self.seats.get(&other)).filter(|other| other.ready);
            let older = older.filter(|other| other.is_same_device(seat));
            let floor = older.filter_map(|other| beside(seat.limit, other.limit, true)).max();
            if let Some(seat) = self.seats.get_mut(&id).filter(|seat| floor < seat.floor) {
                seat.floor = floor;
                seat.places.iter_mut().for_each(|place| place.cursor = None);
                seat.wake.notify_one();
            }
        }
    }
}

/// The largest message that the older of two connections of one device takes, if the younger takes larger ones: then both
/// stay.
fn beside(limit: Option<u64>, other: Option<u64>, other_is_older: bool) -> Option<u64> {
    let (older, younger) = if other_is_older { (other, limit) } else { (limit, other) };
    older.filter(|small| younger.is_none_or(|limit| limit > *small))
}

/// What an answer means, by bits.
enum Meant {
    Nothing,
    /// The device has had it.
    Had,
    /// The recipient is delivered; these devices have not had it.
    Completes(Mask),
    Fails,
}

/// What an answer means: `completes` if the attachment's acknowledgement delivers.
fn conclude(waiting: &mut Waiting, known: Mask, slot: Option<u8>, completes: bool, refused: bool) -> Meant {
    let bit: Mask = slot.map_or(0, |slot| 1 << slot);
    let others = known & !waiting.mask & !bit;
    waiting.doubtful &= !completes;
    let meant = match waiting.phase {
        Phase::Open if refused && completes && others == 0 => {
            waiting.phase = Phase::Done;
            Meant::Fails
        }
        Phase::Open if completes && !refused => {
            waiting.mask = others;
            waiting.phase = if others == 0 { Phase::Done } else { Phase::Owed };
            Meant::Completes(others)
        }
        Phase::Open if slot.is_some() => {
            waiting.mask |= bit;
            Meant::Had
        }
        Phase::Owed if waiting.mask & bit != 0 => {
            waiting.mask &= !bit;
            if waiting.mask == 0 {
                waiting.phase = Phase::Done;
            }
            Meant::Had
        }
        // What an attachment without a name refuses is left to the devices that have not had it.
        Phase::Open | Phase::Owed | Phase::Done => return Meant::Nothing,
    };
    waiting.settling = waiting.settling.saturating_add(1);
    meant
}
