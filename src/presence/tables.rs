//! What is known of presentities, of who watches them, and of whom the watchers here watch.
//!
//! Compact, for there may be ten millions of them: addresses are numbers, times are seconds. Invariant: a subscription that
//! is linked is in the index, in its presentity's list, and, where its watcher lives here, in that one's.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::State;
use super::index::{Index, Slab};
use super::letter::{self, Content};
use super::names::{NameId, Names};
use super::view::{Composed, View};
use crate::address::Mailbox;
use crate::mime::presence::SubscriptionId;

/// The second after the last: a subscription that needs no refresh.
pub(super) const FOREVER: u32 = u32::MAX;

/// What a subscription or a watch is marked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Who watches has authenticated.
    pub const PROVEN: Marks = Marks(1);
    /// Who watches lives here: there is no wire between.
    pub const HERE: Marks = Marks(2);
    /// The watcher is to have an answer of its own.
    pub const ANSWER: Marks = Marks(4);
    /// It asks once.
    pub const FETCH: Marks = Marks(8);
    /// On its way.
    pub const FLYING: Marks = Marks(16);
    /// Not linked any more; it goes when it is neither queued nor on its way.
    pub const GONE: Marks = Marks(32);
    /// In a destination's line.
    pub const QUEUED: Marks = Marks(64);
    /// Of a watch: it is to be ended at the presentity's server.
    pub const CANCEL: Marks = Marks(128);
    /// Of a subscription: its watcher is told by mail.
    pub const MAIL: Marks = Marks(128);
    /// What of a subscription holds for every answer to it.
    pub const WHOSE: Marks = Marks(Marks::PROVEN.0 | Marks::MAIL.0);

    pub fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    pub fn set(&mut self, mark: Marks, on: bool) {
        if on { self.0 |= mark.0 } else { self.0 &= !mark.0 }
    }

    pub fn with(mut self, mark: Marks, on: bool) -> Marks {
        self.set(mark, on);
        self
    }

    /// Those that are among `marks` too.
    pub fn only(self, marks: Marks) -> Marks {
        Marks(self.0 & marks.0)
    }
}

/// A subscription to a presentity here.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub presentity: NameId,
    pub watcher: NameId,
    pub id: SubscriptionId,
    /// The second in which it is over.
    pub expires: u32,
    /// Since when it is in its state.
    pub since: u32,
    /// The second of its timer; zero: it has none.
    pub timer: u32,
    /// The version that the watcher's server has.
    pub acked: i64,
    /// The version that it should have.
    pub version: i64,
    /// The digest of the view of that version; zero: none.
    pub view: u64,
    pub state: State,
    pub marks: Marks,
}

impl Subscription {
    /// Whether the watcher's server is behind.
    pub fn is_behind(&self) -> bool {
        self.acked < self.version || self.marks.has(Marks::ANSWER)
    }
}

/// A subscription of a watcher here to a presentity elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub watcher: NameId,
    pub presentity: NameId,
    pub id: SubscriptionId,
    /// The second in which the view is out of date.
    pub expires: u32,
    /// The second in which it is asked for again.
    pub refresh: u32,
    pub timer: u32,
    /// The time of the last notification.
    pub seq: u64,
    /// The last view.
    pub view: Option<Arc<Seen>>,
    pub state: State,
    pub marks: Marks,
    /// How often it was asked for in vain.
    pub attempts: u8,
}

/// A view that came from elsewhere: the entity as it came.
#[derive(Debug)]
pub(super) struct Seen {
    pub digest: u64,
    pub entity: bytes::Bytes,
    pub utf8: bool,
    pub eight_bit: bool,
    /// What is in it, found out once, when it is asked for first: one may be large, and is asked for as often as anybody likes.
    pub content: OnceLock<Content>,
}

impl Seen {
    /// What is in it.
    pub fn content(&self) -> &Content {
        self.content.get_or_init(|| letter::content_of(&self.entity))
    }
}

/// What somebody published.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    /// The device or program; empty: the one without a name.
    pub id: Box<str>,
    /// Who published it.
    pub by: NameId,
    /// The second in which it is over.
    pub expires: u32,
    /// When it came.
    pub at: i64,
    /// The document.
    pub text: Box<str>,
    /// The entity, where its author has signed it.
    pub signed: Option<bytes::Bytes>,
}

/// A presentity here.
#[derive(Debug, Default)]
pub(super) struct Presentity {
    /// The time of its last change; grows with each.
    pub version: i64,
    pub publications: Vec<Publication>,
    /// Subscriptions to it.
    pub watchers: Vec<u32>,
    /// How many of them have authenticated and are undecided.
    pub undecided: u32,
    /// How many of them have not authenticated.
    pub unproven: u32,
    /// Attached devices of its owner.
    pub sessions: u32,
    /// Since when its devices are, or are not.
    pub since: i64,
    /// Since when it is known: the time that is shown to whom it blocks politely.
    pub known: i64,
    /// Whether both are written down.
    pub kept: bool,
    /// Its devices were attached when the daemon ended; they are waited for until this second.
    pub lingers: u32,
    /// When its watchers were told of a change last, and whether one waits for a pause to end.
    pub told: i64,
    pub waits: bool,
    /// Its rules depend on the time, and a timer is filed.
    pub timed: bool,
    /// The second of the timer of its publications; zero: it has none.
    pub timer: u32,
    /// What was composed, while it is in use.
    pub hot: Option<Box<Hot>>,
}

/// The document of a presentity and its views.
#[derive(Debug)]
pub(super) struct Hot {
    pub composed: Composed,
    pub views: Vec<Arc<View>>,
}

impl Presentity {
    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.publications.is_empty() && self.watchers.is_empty() && self.sessions == 0 && self.lingers == 0
    }

    /// Whether a device of its owner is attached, as far as its watchers are told.
    pub fn is_attached(&self) -> bool {
        self.sessions > 0 || self.lingers > 0
    }

    /// The next version: the time, later than any before.
    pub fn next_version(&mut self, now: i64) -> i64 {
        self.version = now.max(self.version + 1);
        self.version
    }
}

/// One whom a watcher here watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ContactAt {
    /// A presentity here: the number of its subscription.
    Here(u32),
    /// One elsewhere: the number of the watch.
    Away(u32),
}

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub names: Names,
    /// Boxed, so that one can be taken out and put back cheaply.
    pub presentities: HashMap<NameId, Box<Presentity>>,
    pub subscriptions: Slab<Subscription>,
    by_pair: Index,
    pub watches: Slab<Watch>,
    by_watch: Index,
    contacts: HashMap<NameId, Vec<ContactAt>>,
    /// Subscriptions of those who are told by mail.
    mailed: HashMap<NameId, Vec<u32>>,
    /// Presentities that are forgotten and whose times are written down.
    pub forgotten: Vec<Mailbox>,
}

fn pair(presentity: NameId, watcher: NameId, proven: bool) -> u64 {
    let number = u64::from(presentity.0) << 32 | u64::from(watcher.0);
    let mixed = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(u64::from(proven));
    mixed ^ (mixed >> 32)
}

impl Tables {
    /// The subscription of a watcher to a presentity here; that of a proven watcher is another than that of one who only
    /// says to be the same.
    pub fn subscription(&self, presentity: NameId, watcher: NameId, proven: bool) -> Option<u32> {
        let is = |number: u32| {
            self.subscriptions.get(number).is_some_and(|one| {
                one.presentity == presentity && one.watcher == watcher && one.marks.has(Marks::PROVEN) == proven
            })
        };
        self.by_pair.find(pair(presentity, watcher, proven), is)
    }

    /// Links a subscription; the presentity is in the table. The names are held by it.
    pub fn link(&mut self, subscription: Subscription) -> u32 {
        let Subscription { presentity, watcher, marks, state, .. } = subscription;
        self.names.hold_again(presentity);
        self.names.hold_again(watcher);
        let number = self.subscriptions.insert(subscription);
        if marks.has(Marks::FETCH) {
            return number;
        }
        let subscriptions = &self.subscriptions;
        let rehash = |number| {
            let one = subscriptions.get(number);
            one.map_or(0, |one| pair(one.presentity, one.watcher, one.marks.has(Marks::PROVEN)))
        };
        self.by_pair.insert(pair(presentity, watcher, marks.has(Marks::PROVEN)), number, rehash);
        let one = self.presentities.entry(presentity).or_default();
        one.watchers.push(number);
        match marks.has(Marks::PROVEN) {
            true => one.undecided += u32::from(is_undecided(state)),
            false => one.unproven += 1,
        }
        if marks.has(Marks::HERE) {
            self.contacts.entry(watcher).or_default().push(ContactAt::Here(number));
        }
        if marks.has(Marks::MAIL) {
            self.mailed.entry(watcher).or_default().push(number);
        }
        number
    }

    /// Changes the state of a subscription.
    pub fn set_state(&mut self, number: u32, state: State, second: u32) {
        let Some(one) = self.subscriptions.get_mut(number) else { return };
        let before = std::mem::replace(&mut one.state, state);
        one.since = second;
        if one.marks.has(Marks::PROVEN)
            && let Some(presentity) = self.presentities.get_mut(&one.presentity)
        {
            presentity.undecided += u32::from(is_undecided(state));
            presentity.undecided = presentity.undecided.saturating_sub(u32::from(is_undecided(before)));
        }
    }

    /// Takes a subscription out. It goes when it is neither queued nor on its way ([`Tables::settle`]).
    pub fn unlink(&mut self, number: u32) {
        let Some(one) = self.subscriptions.get_mut(number) else { return };
        if one.marks.has(Marks::GONE) {
            return;
        }
        one.marks.set(Marks::GONE, true);
        let Subscription { presentity, watcher, marks, state, .. } = *one;
        if !marks.has(Marks::FETCH) {
            self.by_pair.remove(pair(presentity, watcher, marks.has(Marks::PROVEN)), number);
            if let Some(one) = self.presentities.get_mut(&presentity) {
                if let Some(at) = one.watchers.iter().position(|other| *other == number) {
                    one.watchers.swap_remove(at);
                }
                match marks.has(Marks::PROVEN) {
                    true => one.undecided = one.undecided.saturating_sub(u32::from(is_undecided(state))),
                    false => one.unproven = one.unproven.saturating_sub(1),
                }
            }
            if marks.has(Marks::HERE) {
                self.drop_contact(watcher, ContactAt::Here(number));
            }
            if marks.has(Marks::MAIL)
                && let Some(all) = self.mailed.get_mut(&watcher)
            {
                all.retain(|other| *other != number);
                if all.is_empty() {
                    self.mailed.remove(&watcher);
                }
            }
        }
        self.settle(number);
    }

    /// Lets go of a subscription that is not linked any more, when nothing needs its number.
    pub fn settle(&mut self, number: u32) {
        let gone = |one: &Subscription| {
            one.marks.has(Marks::GONE) && !one.marks.has(Marks::FLYING) && !one.marks.has(Marks::QUEUED)
        };
        if self.subscriptions.get(number).is_some_and(gone)
            && let Some(one) = self.subscriptions.remove(number)
        {
            // While its name is known.
            self.tidy(one.presentity);
            self.names.release(one.presentity);
            self.names.release(one.watcher);
        }
    }

    /// Forgets a presentity of which nothing is known.
    pub fn tidy(&mut self, presentity: NameId) {
        if self.presentities.get(&presentity).is_some_and(|one| one.is_empty())
            && self.presentities.remove(&presentity).is_some_and(|one| one.kept)
        {
            self.forgotten.extend(self.names.get(presentity).cloned());
        }
    }

    fn drop_contact(&mut self, watcher: NameId, contact: ContactAt) {
        if let Some(all) = self.contacts.get_mut(&watcher) {
            all.retain(|other| *other != contact);
            if all.is_empty() {
                self.contacts.remove(&watcher);
            }
        }
    }

    /// The watch of a watcher here.
    pub fn watch(&self, watcher: NameId, presentity: NameId) -> Option<u32> {
        let is = |number: u32| {
            self.watches.get(number).is_some_and(|one| one.watcher == watcher && one.presentity == presentity)
        };
        self.by_watch.find(pair(presentity, watcher, true), is)
    }

    /// Links a watch. The names are held by it.
    pub fn link_watch(&mut self, watch: Watch) -> u32 {
        let Watch { watcher, presentity, .. } = watch;
        self.names.hold_again(presentity);
        self.names.hold_again(watcher);
        let number = self.watches.insert(watch);
        let watches = &self.watches;
        let rehash = |number| watches.get(number).map_or(0, |one| pair(one.presentity, one.watcher, true));
        self.by_watch.insert(pair(presentity, watcher, true), number, rehash);
        self.contacts.entry(watcher).or_default().push(ContactAt::Away(number));
        number
    }

    /// Takes a watch out.
    pub fn unlink_watch(&mut self, number: u32) {
        let Some(one) = self.watches.get_mut(number) else { return };
        if one.marks.has(Marks::GONE) {
            return;
        }
        one.marks.set(Marks::GONE, true);
        one.view = None;
        let (watcher, presentity) = (one.watcher, one.presentity);
        self.by_watch.remove(pair(presentity, watcher, true), number);
        self.drop_contact(watcher, ContactAt::Away(number));
        self.settle_watch(number);
    }

    /// Lets go of a watch that is not linked any more, when nothing needs its number.
    pub fn settle_watch(&mut self, number: u32) {
        let gone =
            |one: &Watch| one.marks.has(Marks::GONE) && !one.marks.has(Marks::FLYING) && !one.marks.has(Marks::QUEUED);
        if self.watches.get(number).is_some_and(gone)
            && let Some(one) = self.watches.remove(number)
        {
            self.names.release(one.presentity);
            self.names.release(one.watcher);
        }
    }

    /// Watchers here.
    pub fn watchers(&self) -> impl Iterator<Item = NameId> {
        self.contacts.keys().copied()
    }

    /// The subscriptions of a watcher who is told by mail.
    pub fn mailed(&self, watcher: NameId) -> &[u32] {
        self.mailed.get(&watcher).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whom a watcher here watches.
    pub fn contacts(&self, watcher: NameId) -> &[ContactAt] {
        self.contacts.get(&watcher).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Whether the presentity has not decided, now or while the watcher was there.
pub(super) fn is_undecided(state: State) -> bool {
    matches!(state, State::Pending | State::Waiting)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_subscription_is_small() {
        assert_eq!(size_of::<Option<super::Subscription>>(), 64);
        assert!(size_of::<Option<super::Watch>>() <= 64);
    }
}
