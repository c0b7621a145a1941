//! One inbox: what waits in it, and the devices that have lists.
//!
//! Invariant: `load` counts what `items` holds. A message says by one bit for each device who has had it (while it is open)
//! or for whom it is kept (when it is delivered).

use std::collections::BTreeMap;

use super::seat::SeatId;
use super::{Item, Load, Upkeep};
use crate::limits;
use crate::spool::{Had, Holder, Known, QueueId, State};
use crate::timestamp::Timestamp;

/// A bit for each device.
pub(super) type Mask = u16;
const _: () = assert!(Mask::BITS as usize == limits::DEVICES);

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody has completed it; these devices have had it.
    Open,
    /// It is delivered, and kept for these devices.
    Owed,
    /// Nothing is left to do but to write that down.
    Done,
}

/// A message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub size: u64,
    pub mask: Mask,
    /// Conclusions that are not in the spool yet.
    pub settling: u16,
    pub phase: Phase,
    pub held: bool,
    /// A device was offered it, and its connection ended without an answer: it may have it.
    pub doubtful: bool,
}

impl Waiting {
    fn kept(&self) -> Load {
        if self.phase == Phase::Owed { self.load() } else { Load::default() }
    }

    fn load(&self) -> Load {
        match self.phase {
            Phase::Done => Load::default(),
            phase => {
                let open = usize::from(phase == Phase::Open && !self.held);
                Load { messages: 1, octets: self.size, open }
            }
        }
    }

    /// Whether a device, or an attachment without a name, is to get it.
    pub fn is_for(&self, slot: Option<u8>) -> bool {
        let bit = slot.map_or(0, |slot| 1 << slot);
        match self.phase {
            _ if self.held => false,
            Phase::Open => self.mask & bit == 0,
            Phase::Owed => self.mask & bit != 0,
            Phase::Done => false,
        }
    }
}

/// A device that has a list.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub holder: Holder,
    /// When it was attached last, as the spool knows.
    pub seen: Timestamp,
    /// How many attachments it has.
    pub attached: usize,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub items: BTreeMap<Item, Waiting>,
    slots: Vec<Option<Slot>>,
    pub seats: Vec<SeatId>,
    pub load: Load,
    /// What of that is delivered and kept for further devices.
    pub kept: Load,
}

impl Inbox {
    /// Whether it need not be remembered.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.seats.is_empty() && self.slots.iter().all(Option::is_none)
    }

    /// Changes a message, if it is there; it goes when it is done and written down.
    pub fn change<R>(&mut self, item: Item, change: impl FnOnce(&mut Waiting, Mask) -> R) -> Option<R> {
        let known = self.known();
        let waiting = self.items.get_mut(&item)?;
        let before = [waiting.load(), waiting.kept()];
        let result = change(waiting, known);
        let after = [waiting.load(), waiting.kept()];
        if waiting.phase == Phase::Done && waiting.settling == 0 {
            self.items.remove(&item);
        }
        self.count(before, after);
        Some(result)
    }

    /// Puts a message in, or replaces it.
    pub fn put(&mut self, item: Item, waiting: Waiting) {
        let before = self.items.insert(item, waiting);
        let before = before.map(|before| [before.load(), before.kept()]).unwrap_or_default();
        self.count(before, [waiting.load(), waiting.kept()]);
    }

    fn count(&mut self, before: [Load; 2], after: [Load; 2]) {
        for (at, count) in [&mut self.load, &mut self.kept].into_iter().enumerate() {
            count.messages = count.messages + after[at].messages - before[at].messages;
            count.octets = count.octets + after[at].octets - before[at].octets;
            count.open = count.open + after[at].open - before[at].open;
        }
    }

    /// Gives up what is kept for further devices, the oldest first, while there is more than that; gives what is to be
    /// written.
    pub fn make_room(&mut self, messages: usize, octets: u64) -> Vec<(QueueId, Had)> {
        let mut given_up = Vec::new();
        while self.kept.messages > 0 && (self.load.messages >= messages || self.load.octets >= octets) {
            let Some(item) = self.items.iter().find(|(_, one)| one.phase == Phase::Owed).map(|(item, _)| *item) else {
                break;
            };
            let mask = self.change(item, |waiting, _| {
                waiting.phase = Phase::Done;
                std::mem::take(&mut waiting.mask)
            });
            let holders = self.holders(mask.unwrap_or_default());
            given_up.extend(holders.into_iter().map(|holder| (item.id, has_had(item, holder))));
        }
        given_up
    }

    /// The devices that are known.
    pub fn known(&self) -> Mask {
        let bits = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(|(at, _)| 1 << at);
        bits.fold(0, |mask, bit: Mask| mask | bit)
    }

    pub fn slot(&mut self, at: u8) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(at))?.as_mut()
    }

    pub fn slots(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().flatten()
    }

    /// The devices of a mask.
    pub fn holders(&self, mask: Mask) -> Vec<Holder> {
        let named = self.slots.iter().enumerate().filter(|(at, _)| mask & 1 << at != 0);
        named.filter_map(|(_, slot)| slot.as_ref().map(|slot| slot.holder.clone())).collect()
    }

    /// The place of a device that is known.
    pub fn find(&self, holder: &Holder) -> Option<u8> {
        let is = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.holder == *holder);
        self.slots.iter().position(is).map(|at| at as u8)
    }

    /// Where a message stands that the spool has in this state, and the devices that are not known any more.
    pub fn read(&self, state: &State) -> (Phase, Mask, Vec<Holder>) {
        let (phase, holders) = match state {
            State::Open(progress) => (Phase::Open, &progress.had),
            State::Owed(holders) => (Phase::Owed, holders),
            State::Closed(_) => return (Phase::Done, 0, Vec::new()),
        };
        let (mut mask, mut strangers) = (0, Vec::new());
        for holder in holders {
            match self.find(holder) {
                Some(at) => mask |= 1 << at,
                None => strangers.push(holder.clone()),
            }
        }
        if phase == Phase::Owed && mask == 0 { (Phase::Done, 0, strangers) } else { (phase, mask, strangers) }
    }

    /// Knows a device. `None` when all places are taken by devices that are attached, or that are not for it to put out: then
    /// it is served without a list.
    pub fn know(&mut self, key: &str, holder: &Holder, seen: Timestamp) -> (Option<u8>, Upkeep) {
        let mut upkeep = Upkeep::default();
        if let Some(at) = self.find(holder) {
            return (Some(at), upkeep);
        }
        let slot = Some(Slot { holder: holder.clone(), seen, attached: 0 });
        let free = self.slots.iter().position(Option::is_none);
        let at = match free {
            Some(at) => at,
            None if self.slots.len() < limits::DEVICES => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => match self.longest_away(holder) {
                Some(at) => {
                    upkeep = self.forget(key, at);
                    at
                }
                None => return (None, upkeep),
            },
        };
        self.slots[at] = slot;
        (Some(at as u8), upkeep)
    }

    /// The device that goes for another: the owner's may take any place, a delegate's only one of the same account.
    fn longest_away(&self, newcomer: &Holder) -> Option<usize> {
        let away = self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?)));
        let may_go = |holder: &Holder| newcomer.delegate().is_none() || newcomer.delegate() == holder.delegate();
        away.filter(|(_, slot)| slot.attached == 0 && may_go(&slot.holder))
            .min_by_key(|(_, slot)| slot.seen)
            .map(|(at, _)| at)
    }

    /// Forgets devices that were not attached since then.
    pub fn forget_before(&mut self, key: &str, since: Timestamp) -> Upkeep {
        let mut upkeep = Upkeep::default();
        for at in 0..self.slots.len() {
            if self.slots[at].as_ref().is_some_and(|slot| slot.attached == 0 && slot.seen < since) {
                upkeep.append(self.forget(key, at));
            }
        }
        upkeep
    }

    /// Forgets a device: nothing is kept for it any more.
    fn forget(&mut self, key: &str, at: usize) -> Upkeep {
        let Some(Slot { holder, seen, .. }) = self.slots[at].take() else { return Upkeep::default() };
        let bit: Mask = 1 << at;
        let marked = self.items.iter().filter(|(_, waiting)| waiting.mask & bit != 0).map(|(item, _)| *item);
        let mut upkeep = Upkeep::default();
        for item in marked.collect::<Vec<_>>() {
            let owed = self.change(item, |waiting, _| {
                waiting.mask &= !bit;
                let owed = waiting.phase == Phase::Owed;
                if owed && waiting.mask == 0 {
                    waiting.phase = Phase::Done;
                }
                owed
            });
            if owed == Some(true) {
                upkeep.had.push((item.id, has_had(item, holder.clone())));
            }
        }
        upkeep.forget.push(Known { inbox: key.to_owned(), holder, seen });
        upkeep
    }
}

/// A device has had a message, or does without it.
pub(super) fn has_had(item: Item, holder: Holder) -> Had {
    Had { index: item.index as usize, holder: Some(holder), completes: false, others: Vec::new() }
}
