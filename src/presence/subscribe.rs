//! The presentity's side of subscriptions: requests, refreshes, fetches, cancellations, their end.
//!
//! In: what watchers ask, proven or anonymous, from here or elsewhere. Out: subscriptions with their states, and answers that are
//! due. Invariants: a subscription is bound to who asked for it and to its identifier; nobody else creates, refreshes or ends
//! it; each request is answered to that watcher alone. RFC 3856 §6, RFC 6665 §4.2, RFC 3857 §4.7.1.

use std::time::Duration;

use super::engine::{Engine, Facts, Request, refuse};
use super::names::NameId;
use super::tables::{FOREVER, Marks, Subscription};
use super::timers::Timer;
use super::{Author, Reason, Refusal, State};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::{Directive, SubscriptionId};
use crate::rules::Handling;
use crate::smime::Certificate;

/// How long an answer to somebody without a subscription is tried to be given.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

impl Engine {
    /// Subscribe, fetch or cancel, at a presentity here.
    pub(super) fn at_presentity(
        &mut self,
        facts: &Facts<'_>,
        request: &Request<'_>,
        presentity: &Mailbox,
    ) -> Result<(), Refusal> {
        if !facts.rulings.is_presentity(presentity) {
            return Err(refuse(550, (5, 1, 1), format!("{presentity} is no presentity here")));
        }
        let author = request.author;
        let (name, watcher) = (self.hold(presentity, facts), self.hold(&author.mailbox, facts));
        let pair = (name, watcher);
        let result = match request.directive {
            Directive::Subscribe { id, expires: Some(0), .. } => {
                self.cancel(facts, pair, author, *id);
                self.fetch(facts, pair, (author, request.reader), *id)
            }
            Directive::Subscribe { id, expires, .. } => {
                self.subscribe(facts, pair, author, (*id, *expires)).map(|()| self.reads(pair, request))
            }
            Directive::Fetch { id, .. } => self.fetch(facts, pair, (author, request.reader), *id),
            Directive::Cancel { id } => {
                self.cancel(facts, pair, author, *id);
                Ok(())
            }
            Directive::Publish { .. } | Directive::Notify { .. } | Directive::Policy { .. } => Ok(()),
        };
        self.tables.tidy(name);
        self.tables.names.release(name);
        self.tables.names.release(watcher);
        result
    }

    /// Whether the watcher wants what it is told encrypted: what is told for this request is composed after it.
    fn reads(&mut self, (presentity, watcher): (NameId, NameId), request: &Request<'_>) {
        if let Some(number) = self.tables.subscription(presentity, watcher, request.author.proven) {
            self.set_reader(number, request.reader);
        }
    }

    fn subscribe(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        author: &Author,
        (id, expires): (SubscriptionId, Option<u32>),
    ) -> Result<(), Refusal> {
        let known = self.tables.subscription(presentity, watcher, author.proven);
        let handling = self.handling(facts, presentity, watcher, author.proven);
        let here = author.client;
        // What a fetch from here has left is no subscription from here.
        // Nor is one that is told by mail one that is told by a server.
        let is_other =
            |one: &Subscription| (here && !one.marks.has(Marks::HERE)) || one.marks.has(Marks::MAIL) != author.by_mail;
        let other = known.filter(|number| self.tables.subscriptions.get(*number).is_some_and(is_other));
        if let Some(number) = other {
            self.end(number);
        }
        let Some(number) = known.filter(|_| other.is_none()) else {
            return self.begin(facts, (presentity, watcher), author, (id, expires), handling);
        };
        let expires = self.lasts(facts, author, expires);
        let version = self.next_version(facts, presentity);
        let Some(one) = self.tables.subscriptions.get_mut(number) else { return Ok(()) };
        if !author.proven && one.id != id {
            let text = "somebody has subscribed in that name without proof; prove the domain, or wait for its end";
            return Err(refuse(550, (5, 7, 1), text));
        }
        if !here {
            one.id = id;
        }
        (one.expires, one.version) = (expires, version);
        one.marks.set(Marks::ANSWER, true);
        let before = one.state;
        let over = matches!(before, State::Terminated(_) | State::Waiting);
        if over && !(here && handling == Handling::Block) {
            // It is asked for anew.
            one.view = 0;
            self.tables.set_state(number, State::Pending, facts.second());
        }
        self.file(number);
        self.reconsider_one(facts, presentity, number);
        self.write_subscription(number);
        if self.tables.subscriptions.get(number).is_some_and(|one| one.state != before) {
            self.show_watcher(number);
        }
        self.behind(number);
        Ok(())
    }

    /// A subscription that was not there.
    fn begin(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        author: &Author,
        (id, expires): (SubscriptionId, Option<u32>),
        handling: Handling,
    ) -> Result<(), Refusal> {
        let rejected = State::Terminated(Some(Reason::Rejected));
        if handling == Handling::Block && !author.client {
            return self.answer_once(facts, (presentity, watcher), (id, author.marks()), rejected).map(drop);
        }
        let undecided = handling == Handling::Confirm && author.proven;
        let full = self.tables.presentities.get(&presentity).is_some_and(|one| {
            one.watchers.len() >= self.options.watchers
                || (undecided && one.undecided as usize >= self.options.undecided)
                || (!author.proven && one.unproven as usize >= limits::UNPROVEN_WATCHERS)
        });
        if full {
            return Err(refuse(452, (4, 5, 3), "that presentity has as many watchers as it can have, try again later"));
        }
        if author.client && self.tables.contacts(watcher).len() >= self.options.contacts {
            return Err(refuse(452, (4, 5, 3), "you watch as many as you can; unwatch one"));
        }
        let version = self.next_version(facts, presentity);
        if author.by_mail && self.tables.mailed(watcher).len() >= limits::MAILED_CONTACTS {
            return Err(refuse(452, (4, 5, 3), "you watch as many as you can by mail; unsubscribe from one"));
        }
        let marks = author.marks().with(Marks::HERE, author.client).with(Marks::ANSWER, true);
        let second = facts.second();
        let expires = self.lasts(facts, author, expires);
        let state = if handling == Handling::Block { rejected } else { State::Pending };
        self.presentity(facts, presentity);
        let number = self.tables.link(Subscription {
            presentity,
            watcher,
            id,
            expires,
            since: second,
            timer: 0,
            acked: 0,
            version,
            view: 0,
            state,
            marks,
        });
        self.file(number);
        self.reconsider_one(facts, presentity, number);
        self.write_subscription(number);
        self.show_watcher(number);
        self.behind(number);
        Ok(())
    }

    /// A version for an answer: later than what anybody was told before.
    fn next_version(&mut self, facts: &Facts<'_>, presentity: NameId) -> i64 {
        let now = facts.now.millis();
        match self.tables.presentities.get_mut(&presentity) {
            Some(one) => {
                // What is composed stays good; its entities are older than the answer, and go to others.
                let version = now.max(one.version + 1);
                one.version = version;
                version
            }
            None => now,
        }
    }

    fn reconsider_one(&mut self, facts: &Facts<'_>, presentity: NameId, number: u32) {
        self.with_hot(facts, presentity, |engine, mailbox, hot, version| {
            engine.reconsider(facts, mailbox, hot, version, number);
        });
    }

    /// What becomes of a subscription, now.
    fn handling(&mut self, facts: &Facts<'_>, presentity: NameId, watcher: NameId, proven: bool) -> Handling {
        let decided = self.with_hot(facts, presentity, |engine, mailbox, hot, _| {
            engine.ruling(facts, mailbox, hot, watcher, proven).subscription
        });
        decided.unwrap_or_default()
    }

    /// Until when it lasts; that of a watcher here needs no refresh.
    fn lasts(&self, facts: &Facts<'_>, author: &Author, wanted: Option<u32>) -> u32 {
        if author.client {
            return FOREVER;
        }
        if author.by_mail {
            return facts.after(limits::MAILED_FOR);
        }
        let wanted = wanted.map_or(self.options.longest, |seconds| Duration::from_secs(seconds.into()));
        facts.after(wanted.min(self.options.longest).max(self.options.shortest))
    }

    /// Files the timer of a subscription, unless it has one that is as soon.
    pub(super) fn file(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get_mut(number) else { return };
        if one.expires != FOREVER && (one.timer == 0 || one.timer > one.expires) {
            one.timer = one.expires;
            self.timers.file(one.expires, Timer::Watcher(number));
        }
    }

    fn fetch(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        (author, reader): (&Author, Option<&Certificate>),
        id: SubscriptionId,
    ) -> Result<(), Refusal> {
        let decision = self.with_hot(facts, presentity, |engine, mailbox, hot, _| {
            engine.ruling(facts, mailbox, hot, watcher, author.proven).fetch()
        });
        if decision == Some(Handling::Confirm) {
            self.ask_for(facts, (presentity, watcher), author, id);
        }
        if author.client {
            self.fetched_here(facts, (presentity, watcher), id, reader);
            return Ok(());
        }
        let number = self.answer_once(facts, (presentity, watcher), (id, author.marks()), State::Active)?;
        self.set_reader(number, reader);
        Ok(())
    }

    /// A fetch that the presentity has not decided on: it learns of it, as of a request that came and went.
    fn ask_for(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        author: &Author,
        id: SubscriptionId,
    ) {
        let undecided = self.tables.presentities.get(&presentity).map_or(0, |one| one.undecided as usize);
        if !author.proven {
            // Anybody can say to be anybody: what came and went leaves nothing.
            return;
        }
        if self.tables.subscription(presentity, watcher, author.proven).is_some() || undecided >= self.options.undecided
        {
            return;
        }
        let (second, marks) = (facts.second(), author.marks());
        self.presentity(facts, presentity);
        let number = self.tables.link(Subscription {
            presentity,
            watcher,
            id,
            expires: facts.after(self.options.waiting),
            since: second,
            timer: 0,
            acked: 0,
            version: 0,
            view: 0,
            state: State::Waiting,
            marks,
        });
        self.file(number);
        self.write_subscription(number);
        self.show_watcher(number);
    }

    /// An answer to one watcher elsewhere who has no subscription by it. It is not written down: who does not get it asks
    /// again. Its number.
    pub(super) fn answer_once(
        &mut self,
        facts: &Facts<'_>,
        (presentity, watcher): (NameId, NameId),
        (id, whose): (SubscriptionId, Marks),
        state: State,
    ) -> Result<u32, Refusal> {
        let domain = self.tables.names.domain_of(watcher);
        let there = domain.and_then(|domain| self.answers_at.get(&domain)).copied().unwrap_or_default();
        if self.answers >= limits::PRESENCE_ANSWERS || there >= limits::ANSWERS_AT_DOMAIN {
            return Err(refuse(452, (4, 3, 2), "too many answers wait to be given, try again later"));
        }
        self.answers += 1;
        if let Some(domain) = domain {
            *self.answers_at.entry(domain).or_default() += 1;
        }
        let expires = facts.after(ANSWERED_WITHIN);
        let marks = whose.with(Marks::FETCH, true).with(Marks::ANSWER, true);
        let number = self.tables.link(Subscription {
            presentity,
            watcher,
            id,
            expires,
            since: facts.second(),
            timer: 0,
            acked: 0,
            version: 1,
            view: 0,
            state,
            marks,
        });
        self.file(number);
        self.queue_subscription(number);
        Ok(number)
    }

    /// Ends a subscription on behalf of who asked for it; an identifier that is not known gets nothing.
    fn cancel(&mut self, facts: &Facts<'_>, pair: (NameId, NameId), author: &Author, id: SubscriptionId) {
        let Some(number) = self.tables.subscription(pair.0, pair.1, author.proven) else { return };
        let Some(one) = self.tables.subscriptions.get(number) else { return };
        if author.client {
            return self.end(number);
        }
        let known = author.by_mail == one.marks.has(Marks::MAIL) && (author.by_mail || one.id == id);
        if !known || one.state == State::Waiting {
            return;
        }
        self.over(facts, number, Reason::Timeout);
    }

    /// A watcher elsewhere is told that its subscription is over; a request that was not decided stays for the presentity to
    /// see.
    fn over(&mut self, facts: &Facts<'_>, number: u32, reason: Reason) {
        let Some(one) = self.tables.subscriptions.get(number) else { return };
        let (pair, id, whose) = ((one.presentity, one.watcher), one.id, one.marks.only(Marks::WHOSE));
        // If there is no room for the answer, its end is known by its expiry.
        let _ = self.answer_once(facts, pair, (id, whose), State::Terminated(Some(reason)));
        self.leave(facts, number);
    }

    /// As [`Engine::over`], and nobody is told.
    pub(super) fn leave(&mut self, facts: &Facts<'_>, number: u32) {
        let Some(one) = self.tables.subscriptions.get(number) else { return };
        if one.state != State::Pending || !one.marks.has(Marks::PROVEN) {
            return self.end(number);
        }
        let until = facts.after(self.options.waiting);
        self.tables.set_state(number, State::Waiting, facts.second());
        if let Some(one) = self.tables.subscriptions.get_mut(number) {
            one.expires = until;
            one.version = one.acked;
            one.marks.set(Marks::ANSWER, false);
        }
        self.file(number);
        self.write_subscription(number);
        self.show_watcher(number);
    }

    /// The presentity, or an administrator, ends a subscription: its watcher is told. Tells whether there was one.
    pub fn remove(&mut self, facts: &Facts<'_>, presentity: &Mailbox, watcher: &Mailbox) -> bool {
        let names = &self.tables.names;
        let (Some(presentity), Some(watcher)) = (names.find(presentity), names.find(watcher)) else { return false };
        let mut found = false;
        for proven in [true, false] {
            let Some(number) = self.tables.subscription(presentity, watcher, proven) else { continue };
            let Some(one) = self.tables.subscriptions.get(number) else { continue };
            let (here, state) = (one.marks.has(Marks::HERE), one.state);
            found |= !matches!(state, State::Terminated(_));
            if state == State::Waiting {
                self.end(number);
                continue;
            }
            // The rules do not bring it back by themselves; a server elsewhere does not ask again.
            self.finish(facts, number, if here { Reason::Deactivated } else { Reason::Rejected });
        }
        found
    }

    /// A subscription is over, and its watcher is told why.
    pub(super) fn finish(&mut self, facts: &Facts<'_>, number: u32, reason: Reason) {
        let Some(presentity) = self.tables.subscriptions.get(number).map(|one| one.presentity) else { return };
        let version = self.next_version(facts, presentity);
        self.tables.set_state(number, State::Terminated(Some(reason)), facts.second());
        if let Some(one) = self.tables.subscriptions.get_mut(number) {
            (one.version, one.view) = (version, 0);
            one.marks.set(Marks::ANSWER, true);
        }
        self.write_subscription(number);
        self.show_watcher(number);
        self.behind(number);
    }

    /// The time of a subscription may be over.
    pub(super) fn watcher_timer(&mut self, facts: &Facts<'_>, number: u32, filed: u32) {
        let Some(one) = self.tables.subscriptions.get_mut(number).filter(|one| one.timer == filed) else { return };
        one.timer = 0;
        if one.marks.has(Marks::GONE) {
            return;
        }
        if one.expires > facts.second() {
            return self.file(number);
        }
        let (state, fetch) = (one.state, one.marks.has(Marks::FETCH));
        match state {
            _ if fetch => self.forget_answer(number),
            State::Pending | State::Active | State::Asked => self.over(facts, number, Reason::Timeout),
            State::Waiting | State::Terminated(_) => self.end(number),
        }
    }

    /// An answer has been given, or cannot be.
    pub(super) fn forget_answer(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get(number) else { return };
        if !one.marks.has(Marks::GONE) {
            self.answers = self.answers.saturating_sub(1);
            if let Some(domain) = self.tables.names.domain_of(one.watcher)
                && let Some(count) = self.answers_at.get_mut(&domain)
            {
                *count -= 1;
                if *count == 0 {
                    self.answers_at.remove(&domain);
                }
            }
            self.enclosed.remove(&number);
            self.readers.set(number, None);
            self.unqueue(number);
            self.tables.unlink(number);
        }
    }

    /// The presentity's devices are shown what became of a watcher.
    pub(super) fn show_watcher(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get(number).filter(|one| !one.marks.has(Marks::FETCH)) else {
            return;
        };
        let (presentity, watcher, proven) = (one.presentity, one.watcher, one.marks.has(Marks::PROVEN));
        if self.feeds.has(presentity)
            && let Some(mailbox) = self.tables.names.get(watcher).cloned()
        {
            self.feeds.watcher_changed(presentity, number, &(watcher, proven, mailbox));
        }
    }
}

impl Author {
    /// Those of what it asks for.
    pub(super) fn marks(&self) -> Marks {
        Marks::default().with(Marks::PROVEN, self.proven).with(Marks::MAIL, self.by_mail)
    }
}
