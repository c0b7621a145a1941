//! What attached devices are shown: for each of them, which contacts have something new.
//!
//! In: contacts that changed, devices that come, answer and go. Out: what to show next. Invariants: of a contact that changes
//! while its last notice is unanswered one notice follows, with what is latest then; nothing is composed before it is taken.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::engine::{Engine, Facts};
use super::letter::{Letter, Written};
use super::names::NameId;
use super::tables::{ContactAt, Marks, Seen, Subscription};
use super::{State, due, lists};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::SubscriptionId;
use crate::smime::Certificate;

/// How long an answer is kept for devices that may attach.
const KEPT: std::time::Duration = std::time::Duration::from_secs(60);

/// Something to be shown to a watcher's devices.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The state and view of a contact.
    Contact(ContactAt),
    /// Who watches: those that have changed; all, at first and where it was asked for by this.
    Watchers(Option<SubscriptionId>),
    /// All contacts, asked for by this.
    Contacts(SubscriptionId),
    /// What a presentity's server sent.
    Seen(Mailbox, Arc<Seen>),
    /// What we wrote in the name of a presentity.
    Written(Mailbox, Arc<Written>),
}

/// By what items are told apart: those without are all shown.
type Key = Option<(u8, u32)>;

fn key(item: &Item) -> Key {
    match item {
        Item::Contact(ContactAt::Here(number)) => Some((0, *number)),
        Item::Contact(ContactAt::Away(number)) => Some((1, *number)),
        Item::Watchers(None) => Some((2, 0)),
        _ => None,
    }
}

/// Watchers that have changed, by the numbers of their subscriptions, with who they were and whether that was proven.
pub(super) type Changed = BTreeMap<u32, (NameId, bool, Mailbox)>;

/// What a device knows of who watches its owner (RFC 3858 §4): all, but for those that have changed since.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The version of the last document; greater than before a restart.
    version: u64,
    all: bool,
    changed: Changed,
}

impl Listing {
    fn change(&mut self, number: u32, who: (NameId, bool, Mailbox)) {
        if !self.all {
            return;
        }
        self.changed.insert(number, who);
        // A device that takes nothing is told all again.
        self.all = self.changed.len() <= limits::NOTICES;
        if !self.all {
            self.changed.clear();
        }
    }
}

#[derive(Debug)]
struct Feed {
    watcher: NameId,
    listing: Listing,
    wake: Arc<Notify>,
    due: VecDeque<Item>,
    /// Items that are due or on their way; true: due again when that is answered.
    known: HashMap<(u8, u32), bool>,
    flying: HashMap<u64, Item>,
}

impl Feed {
    fn mark(&mut self, item: Item) {
        if let Some(key) = key(&item) {
            if let Some(again) = self.known.get_mut(&key) {
                // Of one that is due already the latest is shown anyway.
                *again = true;
                return;
            }
            if self.due.len() >= limits::NOTICES {
                return self.wake.notify_one();
            }
            self.known.insert(key, false);
        }
        // Answers to what was asked leave room for what has changed.
        let room = if key(&item).is_some() { limits::NOTICES } else { limits::NOTICES / 4 };
        if self.due.len() < room {
            self.due.push_back(item);
        }
        self.wake.notify_one();
    }
}

/// All devices that are shown presence.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    feeds: HashMap<u64, Feed>,
    of: HashMap<NameId, Vec<u64>>,
    /// Answers for whose devices none is attached, and until when they are kept. The watcher's name is held.
    kept: HashMap<NameId, (u32, Vec<Item>)>,
    next: u64,
}

impl Feeds {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.feeds.len()
    }

    /// All devices of a watcher have something new to be shown.
    pub fn mark(&mut self, watcher: NameId, item: Item) {
        for feed in self.of.get(&watcher).into_iter().flatten() {
            if let Some(feed) = self.feeds.get_mut(feed) {
                feed.mark(item.clone());
            }
        }
    }

    /// Whether anybody is shown what concerns this one.
    pub fn has(&self, watcher: NameId) -> bool {
        self.of.contains_key(&watcher)
    }

    /// One who watches has changed, for the devices of whom it watches.
    pub fn watcher_changed(&mut self, presentity: NameId, number: u32, who: &(NameId, bool, Mailbox)) {
        for feed in self.of.get(&presentity).into_iter().flatten() {
            if let Some(feed) = self.feeds.get_mut(feed) {
                feed.listing.change(number, who.clone());
                feed.mark(Item::Watchers(None));
            }
        }
    }

    /// Forgets what was kept for too long; gives the names that are not held for that any more.
    pub fn sweep(&mut self, second: u32) -> Vec<NameId> {
        let over = self.kept.extract_if(|_, (until, _)| *until <= second);
        over.map(|(watcher, _)| watcher).collect()
    }
}

/// What a device is to be shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub token: u64,
    pub from: Mailbox,
    pub to: Mailbox,
    pub written: Written,
}

impl Engine {
    /// A device of `watcher` is attached: it is shown all views there are, and what changes from now on.
    pub fn open_feed(&mut self, facts: &Facts<'_>, watcher: &Mailbox, wake: Arc<Notify>) -> u64 {
        let name = self.hold(watcher, facts);
        let contacts = self.shown_contacts(name);
        self.feeds.next += 1;
        let id = self.feeds.next;
        let listing = Listing { version: facts.second().into(), ..Listing::default() };
        let (due, known, flying) = (VecDeque::new(), HashMap::new(), HashMap::new());
        let mut feed = Feed { watcher: name, listing, wake, due, known, flying };
        contacts.into_iter().for_each(|contact| feed.mark(Item::Contact(contact)));
        if self.tables.presentities.get(&name).is_some_and(|one| one.undecided + one.unproven > 0) {
            feed.mark(Item::Watchers(None));
        }
        if let Some((_, items)) = self.feeds.kept.remove(&name) {
            items.into_iter().for_each(|item| feed.mark(item));
            self.tables.names.release(name);
        }
        self.feeds.feeds.insert(id, feed);
        self.feeds.of.entry(name).or_default().push(id);
        id
    }

    /// The device is gone.
    pub fn close_feed(&mut self, id: u64) {
        let Some(feed) = self.feeds.feeds.remove(&id) else { return };
        if let Some(all) = self.feeds.of.get_mut(&feed.watcher) {
            all.retain(|other| *other != id);
            if all.is_empty() {
                self.feeds.of.remove(&feed.watcher);
            }
        }
        self.tables.names.release(feed.watcher);
    }

    /// An answer for the devices of a watcher; kept for a while where none is attached.
    pub(super) fn answer(&mut self, facts: &Facts<'_>, watcher: NameId, item: Item) {
        if self.feeds.of.contains_key(&watcher) {
            return self.show(watcher, item);
        }
        let until = facts.after(KEPT);
        if !self.feeds.kept.contains_key(&watcher) {
            if self.feeds.kept.len() >= limits::PRESENCE_ANSWERS {
                return;
            }
            self.tables.names.hold_again(watcher);
        }
        let (kept, items) = self.feeds.kept.entry(watcher).or_insert((until, Vec::new()));
        *kept = until;
        if items.len() < limits::ANSWERS_KEPT {
            items.push(item);
        }
        self.timers.file(until, super::timers::Timer::Sweep);
    }

    /// A fetch from here of a presentity here: answered at once.
    pub(super) fn fetched_here(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        id: SubscriptionId,
        reader: Option<&Certificate>,
    ) {
        let marks = Marks::default().with(Marks::PROVEN, true).with(Marks::FETCH, true);
        let asked = Subscription {
            presentity,
            watcher,
            id,
            expires: 0,
            since: 0,
            timer: 0,
            acked: 0,
            version: 0,
            view: 0,
            state: State::Active,
            marks,
        };
        let Some((state, view, seq)) = self.answer_of(facts, u32::MAX, &asked) else { return };
        let (Some(from), Some(to)) =
            (self.tables.names.get(presentity).cloned(), self.tables.names.get(watcher).cloned())
        else {
            return;
        };
        let directive = due::notify(Some(id), seq, state, Some(0));
        let (now, entropy, to) = (facts.now, self.random(), Some(&to));
        let (body, signed) = due::body_of(view.as_deref());
        let letter = Letter { from: &from, to, directive: &directive, now, entropy, body, signed };
        let written = Arc::new(letter.write().for_reader(reader));
        self.answer(facts, watcher, Item::Written(from, written));
    }

    /// A fetch elsewhere comes to nothing.
    pub(super) fn fetch_refused(&mut self, facts: &Facts<'_>, id: SubscriptionId) {
        let Some(fetch) = self.fetches.get(&id).cloned() else { return };
        let names = &self.tables.names;
        if let (Some(from), Some(to)) = (names.get(fetch.presentity).cloned(), names.get(fetch.watcher).cloned()) {
            let over = State::Terminated(Some(super::Reason::Noresource));
            let directive = due::notify(Some(id), facts.now.millis(), over, Some(0)).about(fetch.event.clone());
            let entropy = self.random();
            let letter = Letter {
                from: &from,
                to: Some(&to),
                directive: &directive,
                now: facts.now,
                entropy,
                body: None,
                signed: &[],
            };
            let written = Arc::new(letter.write());
            self.answer(facts, fetch.watcher, Item::Written(from, written));
        }
        self.end_fetch(id);
    }

    /// Up to `room` things that a device is to be shown now.
    pub fn take(&mut self, facts: &Facts<'_>, feed: u64, room: usize) -> Vec<Shown> {
        let mut shown = Vec::new();
        while shown.len() < room {
            let Some(one) = self.feeds.feeds.get_mut(&feed) else { break };
            let Some(item) = one.due.pop_front() else { break };
            if let Some(again) = key(&item).and_then(|key| one.known.get_mut(&key)) {
                *again = false;
            }
            let watcher = one.watcher;
            let composed = match &item {
                Item::Watchers(id) => self.compose_watchers(facts, feed, *id),
                _ => self.compose(facts, watcher, &item),
            };
            let Some(to) = self.tables.names.get(watcher).cloned() else { break };
            let token = self.next_flight;
            let Some(one) = self.feeds.feeds.get_mut(&feed) else { break };
            match composed {
                Some((from, written)) => {
                    self.next_flight += 1;
                    one.flying.insert(token, item);
                    shown.push(Shown { token, from, to, written });
                }
                None => drop(key(&item).and_then(|key| one.known.remove(&key))),
            }
        }
        shown
    }

    /// Whether a device has something to be shown.
    pub fn waits(&self, feed: u64) -> bool {
        self.feeds.feeds.get(&feed).is_some_and(|feed| !feed.due.is_empty())
    }

    /// A device has answered; `again`: it did not take it now.
    pub fn answered(&mut self, feed: u64, token: u64, again: bool) {
        let Some(one) = self.feeds.feeds.get_mut(&feed) else { return };
        let Some(item) = one.flying.remove(&token) else { return };
        let changed = key(&item).and_then(|key| one.known.remove(&key)).unwrap_or(false);
        if again && matches!(item, Item::Watchers(_)) {
            one.listing.all = false;
        }
        if changed || again {
            one.mark(item);
        }
    }

    /// Who watches, for one device: those that have changed, or all where it was asked for or they are not known. What one
    /// document has no room for follows in the next.
    fn compose_watchers(
        &mut self,
        facts: &Facts<'_>,
        feed: u64,
        id: Option<SubscriptionId>,
    ) -> Option<(Mailbox, Written)> {
        let one = self.feeds.feeds.get_mut(&feed)?;
        let (presentity, full) = (one.watcher, id.is_some() || !one.listing.all);
        one.listing.version += 1;
        let version = one.listing.version;
        let mut changed = std::mem::take(&mut one.listing.changed);
        if full {
            changed = self.watchers_by_number(presentity);
        }
        let room = if id.is_some() { limits::WATCHERS_ANSWERED } else { limits::WATCHERS_LISTED };
        let rest = lists::page(self, &mut changed, room);
        let composed = lists::watchers(self, facts, presentity, id, (version, full), &changed);
        let one = self.feeds.feeds.get_mut(&feed)?;
        one.listing.all = true;
        if !rest.is_empty() {
            one.listing.changed = rest;
            one.mark(Item::Watchers(None));
        }
        composed
    }

    /// The entity, and whose it is; `None`: there is nothing to be shown any more.
    fn compose(&mut self, facts: &Facts<'_>, watcher: NameId, item: &Item) -> Option<(Mailbox, Written)> {
        match item {
            Item::Contact(ContactAt::Here(number)) => self.contact_here(facts, watcher, *number),
            Item::Contact(ContactAt::Away(number)) => self.contact_away(facts, watcher, *number),
            Item::Seen(presentity, seen) => Some((presentity.clone(), written(seen))),
            Item::Written(from, written) => Some((from.clone(), written.as_ref().clone())),
            // Each device has had others.
            Item::Watchers(_) => None,
            Item::Contacts(id) => lists::contacts(self, facts, watcher, *id),
        }
    }

    fn contact_here(&mut self, facts: &Facts<'_>, watcher: NameId, number: u32) -> Option<(Mailbox, Written)> {
        let one = self.tables.subscriptions.get(number)?.clone();
        if one.marks.has(Marks::GONE) || one.watcher != watcher {
            return None;
        }
        let entropy = self.random();
        let shared = self.with_hot(facts, one.presentity, |engine, mailbox, hot, version| {
            engine.reconsider(facts, mailbox, hot, version, number);
            let one = engine.tables.subscriptions.get(number).filter(|one| one.state == State::Active)?;
            let view = hot.views.iter().find(|view| view.digest == one.view)?;
            let reader = engine.readers.get(number);
            Some((mailbox.clone(), view.entity(mailbox, facts.now, || entropy).for_reader(reader)))
        })?;
        if shared.is_some() {
            return shared;
        }
        let one = self.tables.subscriptions.get(number)?.clone();
        self.told_by_us(facts, (one.presentity, watcher), (Some(one.id), one.state, one.version))
    }

    fn contact_away(&mut self, facts: &Facts<'_>, watcher: NameId, number: u32) -> Option<(Mailbox, Written)> {
        let one = self.tables.watches.get(number)?;
        if one.marks.has(Marks::GONE) || one.marks.has(Marks::CANCEL) || one.watcher != watcher {
            return None;
        }
        if let Some(view) = &one.view {
            return Some((self.tables.names.get(one.presentity)?.clone(), written(view)));
        }
        let (presentity, state) = (one.presentity, one.state);
        let seq = i64::try_from(one.seq).unwrap_or_default();
        self.told_by_us(facts, (presentity, watcher), (None, state, seq))
    }

    /// A state without a view.
    fn told_by_us(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        (id, state, seq): (Option<SubscriptionId>, State, i64),
    ) -> Option<(Mailbox, Written)> {
        let (from, to) = (self.tables.names.get(presentity)?.clone(), self.tables.names.get(watcher)?.clone());
        // Of what nobody has answered nothing is known, not even that it is pending.
        let expires = (state == State::Asked).then_some(0);
        let directive = due::notify(id, seq, state, expires);
        let entropy = self.random();
        let letter = Letter {
            from: &from,
            to: Some(&to),
            directive: &directive,
            now: facts.now,
            entropy,
            body: None,
            signed: &[],
        };
        let written = letter.write();
        Some((from, written))
    }
}

fn written(seen: &Seen) -> Written {
    Written::by_others(seen.entity.clone(), seen.utf8, seen.eight_bit)
}
