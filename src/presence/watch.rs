//! The watcher's side: subscriptions of watchers here to presentities elsewhere.
//!
//! In: what clients here want, what presentities' servers notify, time. Out: requests that are due at those servers, views for
//! the clients. Invariants: a notification counts only for a watch that lives, from a proven presentity, with the watch's
//! identifier or none, and if it is newer than the last; a client makes no refreshes, its server does, before the expiry and
//! at a random time. RFC 3856 §6, RFC 6665 §4.1.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::engine::{Engine, Facts, Request, refuse};
use super::feeds::Item;
use super::letter::ENCRYPTED;
use super::names::NameId;
use super::row;
use super::tables::{ContactAt, FOREVER, Marks, Seen, Watch};
use super::timers::Timer;
use super::{Reason, Refusal, State};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::{self, Directive, Event, SubscriptionId};
use crate::pidf;
use crate::smime::Certificate;

/// How long an answer to a request is waited for, at first; doubled with each that comes to nothing.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// The longest pause between two requests that come to nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long the answer to a fetch is waited for.
const FETCHED_WITHIN: Duration = Duration::from_secs(120);

/// A fetch that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub watcher: NameId,
    pub presentity: NameId,
    pub event: Event,
    pub until: u32,
    /// To what the answer is to be encrypted.
    pub reader: Option<Certificate>,
}

/// Fetches under way, by their identifiers.
pub(super) type Fetches = HashMap<SubscriptionId, Fetch>;

/// What a notification says beside its view.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub id: Option<SubscriptionId>,
    pub seq: u64,
    pub state: presence::State,
    pub expires: Option<u32>,
    pub event: &'a Event,
}

impl Engine {
    /// What a client here wants of a presentity elsewhere.
    pub(super) fn watch_elsewhere(
        &mut self,
        facts: &Facts<'_>,
        request: &Request<'_>,
        presentity: &Mailbox,
    ) -> Result<(), Refusal> {
        let (watcher, presentity) = (self.hold(&request.author.mailbox, facts), self.hold(presentity, facts));
        let result = match request.directive {
            Directive::Subscribe { id, expires: Some(0), .. } | Directive::Fetch { id, .. } => {
                self.fetch_elsewhere(facts, (watcher, presentity), (*id, Event::Presence), request.reader)
            }
            Directive::Subscribe { .. } => self.watch(facts, (watcher, presentity), request.reader),
            Directive::Cancel { .. } => {
                self.unwatch(facts, watcher, presentity);
                Ok(())
            }
            Directive::Publish { .. } | Directive::Notify { .. } | Directive::Policy { .. } => Ok(()),
        };
        self.tables.names.release(watcher);
        self.tables.names.release(presentity);
        result
    }

    fn watch(
        &mut self,
        facts: &Facts<'_>,
        (watcher, presentity): (NameId, NameId),
        reader: Option<&Certificate>,
    ) -> Result<(), Refusal> {
        if let Some(number) = self.tables.watch(watcher, presentity) {
            let other = self.set_own_reader(number, reader);
            let over = |one: &Watch| matches!(one.state, State::Terminated(_)) || one.marks.has(Marks::CANCEL);
            if other || self.tables.watches.get(number).is_some_and(over) {
                self.ask_anew(facts, number);
                self.queue_watch(number);
            }
            return Ok(());
        }
        if self.tables.contacts(watcher).len() >= self.options.contacts {
            return Err(refuse(452, (4, 5, 3), "you watch as many as you can; unwatch one"));
        }
        let watch = Watch {
            watcher,
            presentity,
            id: SubscriptionId::new(self.random()),
            expires: 0,
            refresh: facts.after(ANSWERED_WITHIN),
            timer: 0,
            seq: 0,
            view: None,
            state: State::Asked,
            marks: Marks::default(),
            attempts: 0,
        };
        let number = self.tables.link_watch(watch);
        self.set_own_reader(number, reader);
        self.file_watch(number);
        self.write_watch(number);
        self.queue_watch(number);
        self.show(watcher, Item::Contact(ContactAt::Away(number)));
        Ok(())
    }

    /// A watch begins again, under another identifier.
    fn ask_anew(&mut self, facts: &Facts<'_>, number: u32) {
        let id = SubscriptionId::new(self.random());
        self.drop_view(number);
        let Some(one) = self.tables.watches.get_mut(number) else { return };
        one.marks.set(Marks::CANCEL, false);
        (one.id, one.state, one.expires) = (id, State::Asked, 0);
        one.refresh = facts.after(ANSWERED_WITHIN);
        let watcher = one.watcher;
        self.file_watch(number);
        self.write_watch(number);
        self.show(watcher, Item::Contact(ContactAt::Away(number)));
    }

    /// The watcher wants no more of it: the presentity's server is told.
    fn unwatch(&mut self, facts: &Facts<'_>, watcher: NameId, presentity: NameId) {
        if let Some(number) = self.tables.watch(watcher, presentity) {
            self.drop_watch(facts, number);
        }
    }

    /// A watch is to be ended at the presentity's server, while that may know of it.
    pub(super) fn drop_watch(&mut self, facts: &Facts<'_>, number: u32) {
        let over = |one: &Watch| matches!(one.state, State::Terminated(_));
        if self.tables.watches.get(number).is_some_and(over) {
            return self.end_watch(number);
        }
        self.drop_view(number);
        let latest = facts.after(self.options.longest);
        if let Some(one) = self.tables.watches.get_mut(number)
            && !one.marks.has(Marks::CANCEL)
        {
            one.marks.set(Marks::CANCEL, true);
            one.expires = if one.expires == 0 { latest } else { one.expires };
        }
        self.file_watch(number);
        self.write_watch(number);
        self.queue_watch(number);
    }

    /// A watch is over, on this side and on the other.
    pub(super) fn end_watch(&mut self, number: u32) {
        self.drop_view(number);
        self.set_own_reader(number, None);
        let Some(one) = self.tables.watches.get(number) else { return };
        let names = &self.tables.names;
        if let (Some(watcher), Some(presentity)) = (names.get(one.watcher), names.get(one.presentity)) {
            let key = row::watch_key(watcher, presentity);
            self.write((key, None));
        }
        self.tables.unlink_watch(number);
    }

    /// The view of a watch goes, and its row, when no other watch has it.
    fn drop_view(&mut self, number: u32) {
        let Some(one) = self.tables.watches.get_mut(number) else { return };
        let presentity = one.presentity;
        if let Some(view) = one.view.take() {
            self.drop_seen(presentity, &view);
        }
    }

    fn drop_seen(&mut self, presentity: NameId, view: &Arc<Seen>) {
        if Arc::strong_count(view) == 1
            && let Some(presentity) = self.tables.names.get(presentity)
        {
            let key = row::view_key(presentity, view.digest);
            self.write((key, None));
        }
    }

    pub(super) fn fetch_elsewhere(
        &mut self,
        facts: &Facts<'_>,
        (watcher, presentity): (NameId, NameId),
        (id, event): (SubscriptionId, Event),
        reader: Option<&Certificate>,
    ) -> Result<(), Refusal> {
        // What is cached for this watcher is as good as what would come: changes are told at once.
        if event == Event::Presence
            && let Some(number) = self.tables.watch(watcher, presentity)
            && self.tables.watches.get(number).is_some_and(|one| one.state == State::Active && one.view.is_some())
            // One that came readable for anybody is no answer to who wants it encrypted.
            && (reader.is_none() || reader == self.own_readers.get(number))
        {
            self.answer(facts, watcher, Item::Contact(ContactAt::Away(number)));
            return Ok(());
        }
        let own = self.fetches.values().filter(|fetch| fetch.watcher == watcher).take(limits::FETCHES).count();
        if own >= limits::FETCHES || self.fetches.len() >= limits::PRESENCE_ANSWERS || self.fetches.contains_key(&id) {
            return Err(refuse(452, (4, 3, 2), "too many fetches wait for their answers, try again later"));
        }
        let until = facts.after(FETCHED_WITHIN);
        self.tables.names.hold_again(watcher);
        self.tables.names.hold_again(presentity);
        self.fetches.insert(id, Fetch { watcher, presentity, event, until, reader: reader.cloned() });
        self.timers.file(until, Timer::Sweep);
        self.queue_fetch(id);
        Ok(())
    }

    /// A fetch is answered, or will not be.
    pub(super) fn end_fetch(&mut self, id: SubscriptionId) {
        if let Some(fetch) = self.fetches.remove(&id) {
            self.unqueue_fetch(id, fetch.presentity);
            self.tables.names.release(fetch.watcher);
            self.tables.names.release(fetch.presentity);
        }
    }

    /// What was kept for a short while.
    pub(super) fn sweep(&mut self, facts: &Facts<'_>) {
        let second = facts.second();
        let over: Vec<_> = self.fetches.iter().filter(|(_, fetch)| fetch.until <= second).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end_fetch(id));
        for watcher in self.feeds.sweep(second) {
            self.tables.names.release(watcher);
        }
    }

    /// A presentity's server notifies watchers here.
    pub(super) fn notified(&mut self, facts: &Facts<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        let Directive::Notify { id, seq, state, expires, event } = request.directive else { return Ok(()) };
        let presentity = self.may_notify(request)?;
        let (media, text) = request.body;
        if *state == presence::State::Active && *event == Event::Presence {
            if media == ENCRYPTED && self.wants_encrypted(request, presentity) {
                // What it says is for the watcher alone.
            } else if media != pidf::MEDIA {
                return Err(refuse(554, (5, 6, 1), format!("a view is of the type {}", pidf::MEDIA)));
            } else if !request.is_about(&request.author.mailbox)? {
                return Err(refuse(554, (5, 6, 0), "the document's entity must be the author in From"));
            }
        }
        let entity = request.entity;
        let header = entity.len().saturating_sub(text.len());
        let seen = Arc::new(Seen {
            digest: xxh3_64(entity).max(1),
            utf8: !entity[..header.min(entity.len())].is_ascii(),
            eight_bit: !entity.is_ascii(),
            entity: entity.clone(),
            content: OnceLock::new(),
        });
        let said = Said { id: *id, seq: *seq, state: *state, expires: *expires, event };
        self.tables.names.hold_again(presentity);
        let mut taken = false;
        for recipient in request.recipients {
            taken |= self.notified_one(facts, presentity, recipient, said, &seen);
        }
        self.tables.names.release(presentity);
        if taken { Ok(()) } else { Err(unsolicited()) }
    }

    /// Who notifies, if it is a presentity's server and anybody here has asked for it; what is said is not looked at.
    pub(super) fn may_notify(&self, request: &Request<'_>) -> Result<NameId, Refusal> {
        let Directive::Notify { id, state, event, .. } = request.directive else { return Err(unsolicited()) };
        let author = request.author;
        if author.client {
            return Err(refuse(550, (5, 7, 1), "only servers notify; publish, and yours does"));
        }
        if !author.proven {
            let text = "the presentity's domain is not proven; notifications are taken from its own servers alone";
            return Err(refuse(550, (5, 7, 1), text));
        }
        if !matches!(event, Event::Presence | Event::Certificate) {
            return Err(refuse(550, (5, 7, 1), format!("nobody here has asked for the event {event}")));
        }
        // With a view goes what its authors have signed; what is encoded and signed takes more than what it says.
        let signed = if *state == presence::State::Active { 2 * limits::SIGNED_OCTETS } else { 0 };
        if request.entity.len() > 2 * limits::PIDF_OCTETS + limits::HEADER_OCTETS + signed {
            return Err(refuse(552, (5, 3, 4), "a notification is no larger than the largest view; send less"));
        }
        let (media, text) = request.body;
        if *state != presence::State::Active && (media == ENCRYPTED || !text.trim().is_empty()) {
            return Err(refuse(
                554,
                (5, 6, 0),
                "only an active subscription is notified with a view; leave the body out",
            ));
        }
        let presentity = self.tables.names.find(&author.mailbox).ok_or_else(unsolicited)?;
        let fetch = id.as_ref().and_then(|id| self.fetches.get(id)).filter(|fetch| fetch.event == *event);
        let asked = |recipient: &Mailbox| {
            self.tables.names.find(recipient).is_some_and(|watcher| {
                let fetched = |fetch: &Fetch| (fetch.watcher, fetch.presentity) == (watcher, presentity);
                let watches = *event == Event::Presence && self.tables.watch(watcher, presentity).is_some();
                fetch.is_some_and(fetched) || watches
            })
        };
        if request.recipients.iter().any(asked) { Ok(presentity) } else { Err(unsolicited()) }
    }

    /// Whether anybody to whom it is sent has asked for views that are encrypted.
    fn wants_encrypted(&self, request: &Request<'_>, presentity: NameId) -> bool {
        let Directive::Notify { id, .. } = request.directive else { return false };
        let fetched = id.and_then(|id| self.fetches.get(&id)).is_some_and(|fetch| fetch.reader.is_some());
        let watched = |recipient: &Mailbox| {
            let watcher = self.tables.names.find(recipient);
            let number = watcher.and_then(|watcher| self.tables.watch(watcher, presentity));
            number.is_some_and(|number| self.own_readers.get(number).is_some())
        };
        fetched || request.recipients.iter().any(watched)
    }

    /// Whether this watcher has asked for it.
    fn notified_one(
        &mut self,
        facts: &Facts<'_>,
        presentity: NameId,
        recipient: &Mailbox,
        said: Said<'_>,
        seen: &Arc<Seen>,
    ) -> bool {
        let Some(watcher) = self.tables.names.find(recipient) else { return false };
        if let Some(id) = said.id
            && self.fetches.get(&id).is_some_and(|fetch| {
                fetch.watcher == watcher && fetch.presentity == presentity && fetch.event == *said.event
            })
        {
            if let Some(presentity) = self.tables.names.get(presentity).cloned() {
                self.answer(facts, watcher, Item::Seen(presentity, seen.clone()));
            }
            self.end_fetch(id);
            return true;
        }
        if *said.event != Event::Presence {
            return false;
        }
        let Some(number) = self.tables.watch(watcher, presentity) else { return false };
        let Some(one) = self.tables.watches.get(number) else { return false };
        let over = matches!(said.state, presence::State::Terminated(_));
        if one.marks.has(Marks::CANCEL) {
            return over;
        }
        if matches!(one.state, State::Terminated(_)) || said.id.is_some_and(|id| id != one.id) {
            return false;
        }
        if said.seq > one.seq {
            self.take_view(facts, number, said, seen);
        }
        true
    }

    /// A newer notification for a watch.
    pub(super) fn take_view(&mut self, facts: &Facts<'_>, number: u32, said: Said<'_>, seen: &Arc<Seen>) {
        let (second, longest) = (facts.second(), self.options.longest);
        // Between a half and four fifths of its time, so that those that began together do not go on together.
        let lasts = said.expires.map(|seconds| seconds.min(u32::try_from(longest.as_secs()).unwrap_or(FOREVER)).max(1));
        let part = 500 + self.random_below(300);
        let Some(one) = self.tables.watches.get_mut(number) else { return };
        let (watcher, presentity) = (one.watcher, one.presentity);
        one.seq = said.seq;
        one.attempts = 0;
        if let Some(lasts) = lasts {
            one.expires = second.saturating_add(lasts);
            one.refresh = second.saturating_add((u64::from(lasts) * u64::from(part) / 1000) as u32).max(second + 1);
        }
        let (state, again) = match said.state {
            presence::State::Active => (State::Active, None),
            presence::State::Pending => (State::Pending, None),
            presence::State::Terminated(Some(Reason::Deactivated | Reason::Timeout)) => {
                (State::Asked, Some(Duration::from_secs(1 + u64::from(part % 5))))
            }
            presence::State::Terminated(Some(Reason::Probation | Reason::Giveup)) => {
                (State::Asked, Some(LONGEST_PAUSE))
            }
            presence::State::Terminated(reason) => (State::Terminated(reason), None),
        };
        one.state = state;
        // A state without a view has none that could be kept.
        let new = (state == State::Active).then(|| seen.clone());
        let digest = new.as_ref().map(|new| new.digest);
        if let Some(old) = std::mem::replace(&mut one.view, new)
            && Some(old.digest) != digest
        {
            self.drop_seen(presentity, &old);
        }
        if digest.is_some()
            && let Some(presentity) = self.tables.names.get(presentity)
            && Arc::strong_count(seen) == 2
        {
            let row = row::view(presentity, seen.digest, (seen.utf8, seen.eight_bit), &seen.entity);
            self.write(row);
        }
        if let Some(pause) = again {
            self.ask_anew(facts, number);
            if let Some(one) = self.tables.watches.get_mut(number) {
                one.refresh = facts.after(pause);
            }
        }
        self.file_watch(number);
        self.write_watch(number);
        self.show(watcher, Item::Contact(ContactAt::Away(number)));
    }

    /// Files the timer of a watch: its refresh, or the end of its view.
    pub(super) fn file_watch(&mut self, number: u32) {
        let Some(one) = self.tables.watches.get_mut(number) else { return };
        let refresh =
            Some(one.refresh).filter(|_| !matches!(one.state, State::Terminated(_)) && !one.marks.has(Marks::CANCEL));
        let expires = Some(one.expires).filter(|expires| *expires != 0);
        let Some(at) = refresh.into_iter().chain(expires).min() else { return };
        if one.timer == 0 || one.timer > at {
            one.timer = at;
            self.timers.file(at, Timer::Contact(number));
        }
    }

    /// A watch is to be refreshed, or its view is out of date.
    pub(super) fn contact_timer(&mut self, facts: &Facts<'_>, number: u32, filed: u32) {
        let second = facts.second();
        let jitter = self.random_below(30);
        let Some(one) = self.tables.watches.get_mut(number).filter(|one| one.timer == filed) else { return };
        one.timer = 0;
        if one.marks.has(Marks::GONE) {
            return;
        }
        if one.marks.has(Marks::CANCEL) {
            // Its server has not been reached; it has ended the subscription by itself.
            return if one.expires <= second { self.end_watch(number) } else { self.file_watch(number) };
        }
        let watcher = one.watcher;
        let stale = one.expires != 0 && one.expires <= second;
        let refresh = one.refresh <= second && !matches!(one.state, State::Terminated(_));
        if refresh {
            let pause = ANSWERED_WITHIN.saturating_mul(1 << one.attempts.min(6)).min(LONGEST_PAUSE);
            one.attempts = one.attempts.saturating_add(1);
            one.refresh = facts.after(pause).saturating_add(jitter);
        }
        if stale {
            one.expires = 0;
            if !matches!(one.state, State::Terminated(_)) {
                one.state = State::Asked;
            }
            self.drop_view(number);
            self.write_watch(number);
            self.show(watcher, Item::Contact(ContactAt::Away(number)));
        }
        if refresh {
            self.queue_watch(number);
        }
        self.file_watch(number);
    }

    /// The presentity's server has said that it will never do what was asked.
    pub(super) fn watch_refused(&mut self, number: u32, reason: Reason) {
        let Some(one) = self.tables.watches.get(number) else { return };
        if one.marks.has(Marks::CANCEL) {
            return self.end_watch(number);
        }
        let watcher = one.watcher;
        self.drop_view(number);
        if let Some(one) = self.tables.watches.get_mut(number) {
            one.state = State::Terminated(Some(reason));
            one.expires = 0;
        }
        self.write_watch(number);
        self.show(watcher, Item::Contact(ContactAt::Away(number)));
    }
}

fn unsolicited() -> Refusal {
    refuse(550, (5, 7, 1), "nobody here has asked for this; the subscription is over")
}
