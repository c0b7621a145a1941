//! What is due elsewhere: for each domain a line of presentities whose watchers there are behind, and of requests.
//!
//! In: who is behind; what became of each transaction. Out: entities with their recipients, made at the moment when they go, so
//! that they carry the latest view. Invariants: a subscription is in one line or on its way, never twice; what a watcher is
//! sent is what the rules say when it is sent; equal views are one entity.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::engine::{Engine, Facts};
use super::letter::{CERTIFICATE, Letter, Written};
use super::mailed::Sent;
use super::names::{DomainId, NameId};
use super::tables::{Marks, Subscription};
use super::view::View;
use super::{Reason, State};
use crate::address::{Domain, Mailbox};
use crate::mime::presence::{self, Directive, Event, SubscriptionId};
use crate::pidf;
use crate::rules::Handling;
use crate::smime::Certificate;
use crate::timestamp::Timestamp;

/// Recipients of one entity.
const TOGETHER: usize = 500;
/// Entities for one recipient each that are made at once.
const WINDOW: usize = 64;

/// One thing that is due at a domain.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Watchers of this presentity are behind.
    Views(NameId),
    /// A subscription of ours is to be made, refreshed or ended.
    Request(u32),
    /// A fetch.
    Fetch(SubscriptionId),
}

#[derive(Debug, Default)]
struct Line {
    work: VecDeque<Work>,
    behind: HashMap<NameId, Vec<u32>>,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Due {
    lines: HashMap<DomainId, Line>,
    /// Domains with something new in their lines.
    awake: Vec<DomainId>,
}

impl Due {
    /// Whether a domain has something new in its line.
    pub fn is_awake(&self) -> bool {
        !self.awake.is_empty()
    }
}

/// What is on its way.
#[derive(Debug)]
pub(super) enum Flight {
    /// A view for all of these, or one watcher's own answer in this state.
    Told { subscriptions: Vec<u32>, seq: i64, view: u64, own: Option<State> },
    /// A request of ours; whether it ends the subscription.
    Request { watch: u32, id: SubscriptionId, cancel: bool },
    /// A fetch.
    Fetch(SubscriptionId),
    /// A mail about these.
    Mailed(Vec<Sent>),
    /// A mail that asks the watcher whether it wants to watch; both names are held.
    Confirm { watcher: NameId, presentity: NameId },
}

/// An entity that is to go to a domain.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Names it in the report.
    pub token: u64,
    /// MAIL FROM, and its author.
    pub sender: Mailbox,
    /// RCPT TO, all of the domain.
    pub recipients: Vec<Mailbox>,
    /// The entity.
    pub written: Written,
    /// When nobody waits for it any more.
    pub until: Timestamp,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its server has it.
    Accepted,
    /// Its server, or the absence of one, refuses it for good.
    Refused,
    /// There is no server, for its people have only mail.
    MailOnly,
    /// To be tried again.
    Later,
}

impl Engine {
    fn line(&mut self, domain: DomainId) -> &mut Line {
        let line = self.due.lines.entry(domain).or_default();
        if line.work.is_empty() {
            self.due.awake.push(domain);
        }
        line
    }

    /// A subscription is behind, and its watcher lives elsewhere, or reads mail.
    pub(super) fn queue_subscription(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get_mut(number) else { return };
        if one.marks.has(Marks::QUEUED) || one.marks.has(Marks::FLYING) {
            return;
        }
        one.marks.set(Marks::QUEUED, true);
        let (presentity, watcher, mail) = (one.presentity, one.watcher, one.marks.has(Marks::MAIL));
        let Some(domain) = self.tables.names.domain_of(watcher) else { return };
        self.behind += 1;
        if mail {
            return self.queue_mail(number);
        }
        let line = self.line(domain);
        let all = line.behind.entry(presentity).or_default();
        if all.is_empty() {
            line.work.push_back(Work::Views(presentity));
        }
        all.push(number);
    }

    /// A request of ours is due.
    pub(super) fn queue_watch(&mut self, number: u32) {
        let Some(one) = self.tables.watches.get_mut(number) else { return };
        if one.marks.has(Marks::QUEUED) || one.marks.has(Marks::FLYING) {
            return;
        }
        one.marks.set(Marks::QUEUED, true);
        let presentity = one.presentity;
        let Some(domain) = self.tables.names.domain_of(presentity) else { return };
        self.line(domain).work.push_back(Work::Request(number));
    }

    /// A subscription that goes has no place in a line any more: a domain that is not reached keeps nothing of it.
    pub(super) fn unqueue(&mut self, number: u32) {
        self.mailed.forget(number);
        let Some(one) = self.tables.subscriptions.get_mut(number).filter(|one| one.marks.has(Marks::QUEUED)) else {
            return;
        };
        one.marks.set(Marks::QUEUED, false);
        let (presentity, watcher, mail) = (one.presentity, one.watcher, one.marks.has(Marks::MAIL));
        self.behind = self.behind.saturating_sub(1);
        if mail {
            return self.unqueue_mail(number, watcher);
        }
        let Some(domain) = self.tables.names.domain_of(watcher) else { return };
        let Some(line) = self.due.lines.get_mut(&domain) else { return };
        let Some(all) = line.behind.get_mut(&presentity) else { return };
        all.retain(|other| *other != number);
        if all.is_empty() {
            line.behind.remove(&presentity);
            line.work.retain(|work| !matches!(work, Work::Views(other) if *other == presentity));
        }
    }

    pub(super) fn queue_fetch(&mut self, id: SubscriptionId) {
        let Some(presentity) = self.fetches.get(&id).map(|fetch| fetch.presentity) else { return };
        let Some(domain) = self.tables.names.domain_of(presentity) else { return };
        self.line(domain).work.push_back(Work::Fetch(id));
    }

    /// A fetch that is over has no place in a line any more.
    pub(super) fn unqueue_fetch(&mut self, id: SubscriptionId, presentity: NameId) {
        let domain = self.tables.names.domain_of(presentity);
        if let Some(line) = domain.and_then(|domain| self.due.lines.get_mut(&domain)) {
            line.work.retain(|work| !matches!(work, Work::Fetch(other) if *other == id));
        }
    }

    /// Whether anybody waits for what is due at a domain; what nobody waits for is taken out.
    pub fn is_due(&mut self, domain: &Domain) -> bool {
        let Some(domain) = self.tables.names.domain_id(domain) else { return false };
        let Some(mut line) = self.due.lines.remove(&domain) else { return false };
        let mut gone = Vec::new();
        line.work.retain(|work| match work {
            Work::Views(presentity) => line.behind.contains_key(presentity),
            Work::Fetch(id) => self.fetches.contains_key(id),
            Work::Request(number) => {
                let lives = self.tables.watches.get(*number).is_some_and(|one| !one.marks.has(Marks::GONE));
                gone.extend((!lives).then_some(*number));
                lives
            }
        });
        let any = !line.work.is_empty();
        if any {
            self.due.lines.insert(domain, line);
        }
        for number in gone {
            if let Some(one) = self.tables.watches.get_mut(number) {
                one.marks.set(Marks::QUEUED, false);
            }
            self.tables.settle_watch(number);
        }
        any
    }

    /// Domains in whose lines something is since this was asked last.
    pub fn awake(&mut self) -> Vec<Domain> {
        let awake = std::mem::take(&mut self.due.awake);
        awake.into_iter().filter_map(|domain| self.tables.names.domain(domain).cloned()).collect()
    }

    /// The first of what is due at a domain; empty when nothing is.
    pub fn due(&mut self, facts: &Facts<'_>, domain: &Domain) -> Vec<Outgoing> {
        let Some(domain) = self.tables.names.domain_id(domain) else { return Vec::new() };
        loop {
            let Some(line) = self.due.lines.get_mut(&domain) else { return Vec::new() };
            let Some(work) = line.work.pop_front() else {
                self.due.lines.remove(&domain);
                return Vec::new();
            };
            let outgoing = match work {
                Work::Views(presentity) => {
                    let numbers = line.behind.remove(&presentity).unwrap_or_default();
                    self.views(facts, (domain, presentity), numbers)
                }
                Work::Request(number) => self.request(facts, number).into_iter().collect(),
                Work::Fetch(id) => self.fetch_request(facts, id).into_iter().collect(),
            };
            if !outgoing.is_empty() {
                return outgoing;
            }
        }
    }

    /// What one batch has no room for goes to the end of the line.
    fn put_back(&mut self, domain: DomainId, presentity: NameId, rest: Vec<u32>) {
        if rest.is_empty() {
            return;
        }
        let line = self.due.lines.entry(domain).or_default();
        let all = line.behind.entry(presentity).or_default();
        if all.is_empty() {
            line.work.push_back(Work::Views(presentity));
        }
        all.extend(rest);
    }

    fn views(
        &mut self,
        facts: &Facts<'_>,
        (domain, presentity): (DomainId, NameId),
        numbers: Vec<u32>,
    ) -> Vec<Outgoing> {
        let (mut own, mut together): (Vec<u32>, Vec<(Arc<View>, Vec<u32>)>) = Default::default();
        // What is encrypted to one is for nobody else.
        let (mut apart, mut rest): (Vec<(Arc<View>, u32)>, Vec<u32>) = Default::default();
        self.with_hot(facts, presentity, |engine, mailbox, hot, version| {
            for (place, number) in numbers.into_iter().enumerate() {
                if own.len() + apart.len() >= WINDOW || place >= WINDOW * TOGETHER {
                    // Still marked as in the line.
                    rest.push(number);
                    continue;
                }
                let linked = |one: &&Subscription| !one.marks.has(Marks::GONE) && !one.marks.has(Marks::FETCH);
                if engine.tables.subscriptions.get(number).is_some_and(|one| linked(&one)) {
                    // While it waited, rules may have changed by the clock alone. It is still marked as in the line.
                    engine.reconsider(facts, mailbox, hot, version, number);
                }
                let Some(one) = engine.tables.subscriptions.get_mut(number) else { continue };
                let queued = one.marks.has(Marks::QUEUED);
                one.marks.set(Marks::QUEUED, false);
                engine.behind = engine.behind.saturating_sub(usize::from(queued));
                if one.marks.has(Marks::GONE) {
                    engine.tables.settle(number);
                    continue;
                }
                let Some(one) = engine.tables.subscriptions.get_mut(number).filter(|one| one.is_behind()) else {
                    continue;
                };
                if one.marks.has(Marks::ANSWER) || one.state != State::Active {
                    own.push(number);
                    continue;
                }
                let digest = one.view;
                if engine.readers.get(number).is_some() {
                    let view = hot.views.iter().find(|view| view.digest == digest);
                    apart.extend(view.map(|view| (view.clone(), number)));
                    continue;
                }
                match together.iter_mut().find(|(view, _)| view.digest == digest) {
                    Some((_, all)) => all.push(number),
                    None => {
                        let view = hot.views.iter().find(|view| view.digest == digest);
                        together.extend(view.map(|view| (view.clone(), vec![number])));
                    }
                }
            }
        });
        self.put_back(domain, presentity, rest);
        let mut outgoing = Vec::new();
        for (view, numbers) in together {
            for numbers in numbers.chunks(TOGETHER) {
                outgoing.extend(self.change(facts, presentity, &view, numbers));
            }
        }
        outgoing.extend(apart.iter().filter_map(|(view, number)| self.change(facts, presentity, view, &[*number])));
        outgoing.extend(own.into_iter().filter_map(|number| self.own_answer(facts, number)));
        outgoing
    }

    /// A change, for all whose views are equal, or for one alone to whom it is encrypted.
    fn change(&mut self, facts: &Facts<'_>, presentity: NameId, view: &View, numbers: &[u32]) -> Option<Outgoing> {
        let sender = self.tables.names.get(presentity)?.clone();
        let entropy = self.random();
        let reader = numbers.first().and_then(|number| self.readers.get(*number));
        let written = view.entity(&sender, facts.now, || entropy).for_reader(reader);
        let mut recipients = Vec::with_capacity(numbers.len());
        for number in numbers {
            self.write_behind(*number);
            let Some(one) = self.tables.subscriptions.get_mut(*number) else { continue };
            one.marks.set(Marks::FLYING, true);
            let watcher = one.watcher;
            recipients.extend(self.tables.names.get(watcher).cloned());
        }
        let flight = Flight::Told { subscriptions: numbers.to_vec(), seq: view.seq, view: view.digest, own: None };
        Some(self.fly(flight, sender, recipients, written, facts))
    }

    /// Before something goes: after a crash it is not known whether it came.
    fn write_behind(&mut self, number: u32) {
        if self.tables.subscriptions.get(number).is_some_and(|one| !one.marks.has(Marks::FETCH)) {
            self.write_subscription(number);
        }
    }

    /// The answer to one watcher: with its identifier, its state, and the whole view when it is active.
    fn own_answer(&mut self, facts: &Facts<'_>, number: u32) -> Option<Outgoing> {
        let one = self.tables.subscriptions.get(number)?.clone();
        if self.enclosed.contains_key(&number) {
            return self.enclosed_answer(facts, number, &one);
        }
        let (state, view, seq) = self.answer_of(facts, number, &one)?;
        let remaining = one.expires.saturating_sub(facts.second());
        let over = one.marks.has(Marks::FETCH) || matches!(state, State::Terminated(_));
        let expires = if over { 0 } else { remaining };
        let directive = notify(Some(one.id), seq, state, Some(expires));
        let (sender, watcher) =
            (self.tables.names.get(one.presentity)?.clone(), self.tables.names.get(one.watcher)?.clone());
        let (now, entropy, to) = (facts.now, self.random(), Some(&watcher));
        let (body, signed) = body_of(view.as_deref());
        let letter = Letter { from: &sender, to, directive: &directive, now, entropy, body, signed };
        let written = letter.write().for_reader(self.readers.get(number));
        self.write_behind(number);
        if let Some(one) = self.tables.subscriptions.get_mut(number) {
            one.version = one.version.max(seq);
            one.marks.set(Marks::ANSWER, false);
            one.marks.set(Marks::FLYING, true);
        }
        let view = self.tables.subscriptions.get(number).map_or(0, |one| one.view);
        let flight = Flight::Told { subscriptions: vec![number], seq, view, own: Some(state) };
        Some(self.fly(flight, sender, vec![watcher], written, facts))
    }

    /// State, view and time of an answer.
    pub(super) fn answer_of(
        &mut self,
        facts: &Facts<'_>,
        number: u32,
        one: &Subscription,
    ) -> Option<(State, Option<Arc<View>>, i64)> {
        let fetch = one.marks.has(Marks::FETCH);
        let proven = one.marks.has(Marks::PROVEN);
        let told = if fetch && matches!(one.state, State::Terminated(_)) {
            (one.state, None)
        } else {
            self.with_hot(facts, one.presentity, |engine, mailbox, hot, version| {
                let mut decision = engine.ruling(facts, mailbox, hot, one.watcher, proven);
                if fetch {
                    decision.subscription = decision.fetch();
                } else if one.state != State::Active {
                    return (one.state, None);
                }
                let state = match decision.subscription {
                    Handling::Block => State::Terminated(Some(Reason::Rejected)),
                    Handling::Confirm => State::Pending,
                    Handling::PoliteBlock | Handling::Allow => State::Active,
                };
                let view = hot.view(mailbox, version, &decision);
                if let (Some(view), Some(one)) = (&view, engine.tables.subscriptions.get_mut(number))
                    && !fetch
                {
                    one.view = view.digest;
                }
                (state, view)
            })?
        };
        let now = facts.now.millis();
        let seq = match self.tables.presentities.get_mut(&one.presentity) {
            Some(presentity) => {
                presentity.version = now.max(presentity.version + 1);
                presentity.version
            }
            None => now,
        };
        Some((told.0, told.1, seq))
    }

    fn request(&mut self, facts: &Facts<'_>, number: u32) -> Option<Outgoing> {
        let one = self.tables.watches.get_mut(number)?;
        one.marks.set(Marks::QUEUED, false);
        if one.marks.has(Marks::GONE) {
            self.tables.settle_watch(number);
            return None;
        }
        let (id, cancel) = (one.id, one.marks.has(Marks::CANCEL));
        if !cancel && matches!(one.state, State::Terminated(_)) {
            return None;
        }
        one.marks.set(Marks::FLYING, true);
        let (watcher, presentity) = (one.watcher, one.presentity);
        let longest = u32::try_from(self.options.longest.as_secs()).ok();
        let directive = match cancel {
            true => Directive::Cancel { id },
            false => Directive::Subscribe { id, expires: longest, event: Event::Presence },
        };
        let reader = self.own_readers.get(number).filter(|_| !cancel).cloned();
        self.ask(facts, (watcher, presentity), (&directive, reader), Flight::Request { watch: number, id, cancel })
    }

    fn fetch_request(&mut self, facts: &Facts<'_>, id: SubscriptionId) -> Option<Outgoing> {
        let fetch = self.fetches.get(&id)?.clone();
        let directive = Directive::Fetch { id, event: fetch.event };
        self.ask(facts, (fetch.watcher, fetch.presentity), (&directive, fetch.reader), Flight::Fetch(id))
    }

    fn ask(
        &mut self,
        facts: &Facts<'_>,
        (watcher, presentity): (NameId, NameId),
        (directive, reader): (&Directive, Option<Certificate>),
        flight: Flight,
    ) -> Option<Outgoing> {
        let (from, to) = (self.tables.names.get(watcher)?.clone(), self.tables.names.get(presentity)?.clone());
        let entropy = self.random();
        let letter = Letter { from: &from, to: Some(&to), directive, now: facts.now, entropy, body: None, signed: &[] };
        let written = match reader {
            Some(reader) => letter.write_octets(CERTIFICATE, reader.der()),
            None => letter.write(),
        };
        Some(self.fly(flight, from, vec![to], written, facts))
    }

    pub(super) fn fly(
        &mut self,
        flight: Flight,
        sender: Mailbox,
        recipients: Vec<Mailbox>,
        written: Written,
        facts: &Facts<'_>,
    ) -> Outgoing {
        let (token, until) = self.take_off(facts, flight);
        Outgoing { token, sender, recipients, written, until }
    }

    /// Remembers what is on its way: its name, and until when.
    pub(super) fn take_off(&mut self, facts: &Facts<'_>, flight: Flight) -> (u64, Timestamp) {
        let token = self.next_flight;
        self.next_flight += 1;
        self.flights.insert(token, flight);
        (token, facts.now.after(FLIGHT))
    }

    /// What became of the recipients of an entity, by their places.
    pub fn reported(&mut self, facts: &Facts<'_>, token: u64, fates: &[(usize, Fate)]) {
        let first = fates.first().map_or(Fate::Later, |(_, fate)| *fate);
        match self.flights.remove(&token) {
            None => {}
            Some(Flight::Told { subscriptions, seq, view, own }) => {
                for (place, number) in subscriptions.into_iter().enumerate() {
                    let fate = fates.iter().find(|(at, _)| *at == place).map_or(Fate::Later, |(_, fate)| *fate);
                    self.told(number, (seq, view, own), fate);
                }
            }
            Some(Flight::Request { watch, id, cancel }) => {
                self.requested(facts, watch, (id, cancel), first);
            }
            Some(Flight::Fetch(id)) => match first {
                Fate::Accepted => {}
                Fate::Refused => self.fetch_refused(facts, id),
                Fate::MailOnly => self.fetched_mail_only(facts, id),
                Fate::Later => self.queue_fetch(id),
            },
            Some(Flight::Mailed(sent)) => self.mail_reported(sent, first),
            Some(Flight::Confirm { watcher, presentity }) => self.confirm_reported((watcher, presentity), first),
        }
    }

    pub(super) fn told(&mut self, number: u32, (seq, view, own): (i64, u64, Option<State>), fate: Fate) {
        let Some(one) = self.tables.subscriptions.get_mut(number) else { return };
        one.marks.set(Marks::FLYING, false);
        if one.marks.has(Marks::GONE) {
            return self.tables.settle(number);
        }
        let fetch = one.marks.has(Marks::FETCH);
        match fate {
            Fate::Accepted => {
                one.acked = one.acked.max(seq);
                if own.unwrap_or(State::Active) == one.state && one.view == view {
                    // The version rises with answers to others too; what it has is the latest.
                    one.acked = one.acked.max(one.version);
                }
                self.counts.notified += 1;
                let over = matches!(one.state, State::Terminated(_)) && own == Some(one.state);
                if fetch {
                    return self.forget_answer(number);
                }
                if over {
                    return self.end(number);
                }
                if one.is_behind() {
                    return self.queue_subscription(number);
                }
                self.write_subscription(number);
            }
            // Who asked does not live there, or knows nothing of it.
            Fate::Refused | Fate::MailOnly if fetch => self.forget_answer(number),
            Fate::Refused | Fate::MailOnly => self.end(number),
            Fate::Later => {
                let answer = own.is_some() || one.marks.has(Marks::ANSWER);
                one.marks.set(Marks::ANSWER, answer);
                self.queue_subscription(number);
            }
        }
    }

    fn requested(&mut self, facts: &Facts<'_>, number: u32, (id, cancel): (SubscriptionId, bool), fate: Fate) {
        let Some(one) = self.tables.watches.get_mut(number) else { return };
        one.marks.set(Marks::FLYING, false);
        if one.marks.has(Marks::GONE) {
            return self.tables.settle_watch(number);
        }
        // What was said meanwhile is due; what was answered was about something else.
        if one.marks.has(Marks::CANCEL) != cancel || one.id != id {
            return self.queue_watch(number);
        }
        match fate {
            Fate::Accepted if cancel => self.end_watch(number),
            Fate::Accepted => {}
            Fate::MailOnly => self.watched_mail_only(facts, number),
            Fate::Refused => self.watch_refused(number, Reason::Noresource),
            Fate::Later => self.queue_watch(number),
        }
    }
}

/// What an answer says of a view.
pub(super) fn body_of(view: Option<&View>) -> (Option<(&str, &str)>, &[bytes::Bytes]) {
    (view.map(|view| (pidf::MEDIA, view.text.as_str())), view.map_or(&[], |view| &view.signed))
}

/// How long one attempt may take.
const FLIGHT: std::time::Duration = std::time::Duration::from_secs(300);

/// A notification of the presence of somebody.
pub(super) fn notify(id: Option<SubscriptionId>, seq: i64, state: State, expires: Option<u32>) -> Directive {
    let state = match state {
        State::Active => presence::State::Active,
        State::Pending | State::Asked => presence::State::Pending,
        State::Waiting => presence::State::Terminated(Some(Reason::Timeout)),
        State::Terminated(reason) => presence::State::Terminated(reason),
    };
    let seq = u64::try_from(seq).unwrap_or_default();
    Directive::Notify { id, seq, state, expires, event: Event::Presence }
}
