//! The engine: every input changes the tables, and says what is to be written, whom to wake, who is due what.
//!
//! Pure: time, random octets and the rules come in. Invariant: what an input has changed is in [`Engine::take_rows`] when it
//! returns, in the order in which it must be written. How it fails: with the reply that refuses, and nothing changed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Refusal;
use super::certificates::Told;
use super::due::{Due, Flight};
use super::feeds::{Feeds, Item};
use super::lists;
use super::mailed::Mailed;
use super::names::{DomainId, NameId};
use super::readers::Readers;
use super::row::{self, Row, SubscriptionRow, WatchRow};
use super::tables::{ContactAt, FOREVER, Marks, Subscription, Tables};
use super::timers::{Timer, Timers};
use super::watch::Fetches;
use crate::accounts::rules;
use crate::address::{Domain, Mailbox};
use crate::mime::presence::{self, Directive, Event, SubscriptionId};
use crate::pidf::{self, Document};
use crate::reply::{EnhancedCode, Reply};
use crate::rules::{Circumstances, Decision};
use crate::smime::Certificate;
use crate::timestamp::Timestamp;

/// What the administrator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a subscription lasts without refresh, at most.
    pub longest: Duration,
    /// At least; who asks for less gets this.
    pub shortest: Duration,
    /// How long the watchers of one presentity are left in peace between two changes; the latest is told after that
    /// (RFC 6446 §5.1 in spirit).
    pub interval: Duration,
    /// How long changes wait for others before they go to somebody by mail.
    pub mail_pause: Duration,
    /// Subscriptions to one presentity.
    pub watchers: usize,
    /// Of them those that are proven and not decided.
    pub undecided: usize,
    /// Presentities that one watcher here watches.
    pub contacts: usize,
    /// How long a request is kept that came and went undecided.
    pub waiting: Duration,
    /// How long devices that were attached when the daemon ended are waited for.
    pub lingering: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            longest: Duration::from_secs(3600),
            shortest: Duration::from_secs(60),
            interval: Duration::from_millis(10),
            mail_pause: Duration::from_secs(600),
            watchers: 20_000,
            undecided: 1_000,
            contacts: 2_000,
            waiting: Duration::from_secs(14 * 86_400),
            lingering: Duration::from_secs(30),
        }
    }
}

/// Who lives here, and what their rules say.
pub trait Rulings {
    /// What is permitted to a watcher; `None`: to an anonymous one.
    fn decide(&self, presentity: &Mailbox, watcher: Option<&Mailbox>, circumstances: Circumstances<'_>) -> Decision;
    /// Whether that may change by the clock alone.
    fn depends_on_time(&self, presentity: &Mailbox) -> bool;
    /// Whether the domain lives here.
    fn is_local(&self, domain: &Domain) -> bool;
    /// Whether the address is a presentity here, as far as that can be told at once.
    fn is_presentity(&self, mailbox: &Mailbox) -> bool;
}

/// What holds while an input is taken.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// The rules.
    pub rulings: &'a dyn Rulings,
}

impl Facts<'_> {
    /// The second of now, as the tables count.
    pub(super) fn second(&self) -> u32 {
        u32::try_from(self.now.secs()).unwrap_or(FOREVER - 1).min(FOREVER - 1)
    }

    /// The second so long after now.
    pub(super) fn after(&self, duration: Duration) -> u32 {
        let seconds = u32::try_from(duration.as_secs()).unwrap_or(FOREVER);
        self.second().saturating_add(seconds).min(FOREVER - 1)
    }
}

/// A presence entity, read.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub author: &'a super::Author,
    pub recipients: &'a [Mailbox],
    pub directive: &'a Directive,
    /// Media type and text, decoded.
    pub body: (&'a str, &'a str),
    pub entity: &'a bytes::Bytes,
    /// Whether the author has signed the entity.
    pub signed: bool,
    /// The text as a document, where it was read before.
    pub document: Option<&'a Document>,
    /// To what the answers are to be encrypted.
    pub reader: Option<&'a Certificate>,
}

impl Request<'_> {
    /// Whether its body is to be a presence document.
    pub fn has_document(&self) -> bool {
        let wanted = match self.directive {
            Directive::Notify { state, .. } => *state == presence::State::Active,
            Directive::Publish { event, expires, .. } => *event == Event::Presence && *expires != Some(0),
            _ => false,
        };
        wanted && self.body.0 == pidf::MEDIA && !self.body.1.trim().is_empty()
    }

    /// Reads the document.
    pub fn read(&self) -> Result<Document, Refusal> {
        Document::parse(self.body.1).map_err(|fault| refuse(554, (5, 6, 0), fault.to_string()))
    }

    /// Whether its document is about this presentity.
    pub fn is_about(&self, presentity: &Mailbox) -> Result<bool, Refusal> {
        match self.document {
            Some(document) => Ok(document.is_about(presentity)),
            None => Ok(self.read()?.is_about(presentity)),
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub publications: usize,
    pub notified: u64,
}

/// Random octets that nobody guesses.
pub(super) type Random = Box<dyn FnMut() -> [u8; 16] + Send>;

/// The tables and what follows from them.
pub(super) struct Engine {
    pub options: Options,
    pub tables: Tables,
    pub due: Due,
    pub mailed: Mailed,
    pub feeds: Feeds,
    pub timers: Timers,
    pub fetches: Fetches,
    pub flights: HashMap<u64, Flight>,
    pub next_flight: u64,
    /// Subscriptions in the lines of other domains.
    pub behind: usize,
    /// Answers that wait to be given to those without a subscription.
    pub answers: usize,
    /// Those of them that tell of certificates.
    pub enclosed: HashMap<u32, Told>,
    /// To what is encrypted what subscriptions are told, and watches of people here.
    pub readers: Readers,
    pub own_readers: Readers,
    /// Of them those for one domain.
    pub answers_at: HashMap<DomainId, usize>,
    pub counts: Counts,
    /// Presentities whose watchers are looked through after a start, or after a change of many rules.
    pub revising: Vec<NameId>,
    /// Presentities whose composed documents are kept.
    pub hot: Vec<NameId>,
    rows: Vec<Row>,
    random: Random,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("counts", &self.counts).finish_non_exhaustive()
    }
}

pub(super) fn refuse(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Refusal {
    Reply::new(code, EnhancedCode::new(class, subject, detail), text.into())
}

impl Engine {
    pub fn new(options: Options, random: Random) -> Engine {
        Engine {
            options,
            tables: Tables::default(),
            due: Due::default(),
            mailed: Mailed::default(),
            feeds: Feeds::default(),
            timers: Timers::default(),
            fetches: Fetches::default(),
            flights: HashMap::new(),
            next_flight: 1,
            behind: 0,
            answers: 0,
            enclosed: HashMap::new(),
            readers: Readers::default(),
            own_readers: Readers::default(),
            answers_at: HashMap::new(),
            counts: Counts::default(),
            revising: Vec::new(),
            hot: Vec::new(),
            rows: Vec::new(),
            random,
        }
    }

    /// What was said; the author is who it says, or `proven` is false.
    pub fn say(&mut self, facts: &Facts<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        match request.directive {
            Directive::Notify { .. } => self.notified(facts, request),
            Directive::Publish { event: Event::Presence, .. } => self.publish(facts, request),
            Directive::Subscribe { event: Event::Presence, .. }
            | Directive::Fetch { event: Event::Presence, .. }
            | Directive::Cancel { .. } => self.each_presentity(facts, request),
            Directive::Subscribe { event: Event::Certificate, .. } => {
                Err(refuse(554, (5, 6, 0), "certificates are not watched; fetch them"))
            }
            Directive::Subscribe { id, event, .. } | Directive::Fetch { id, event } => {
                self.own(facts, request, *id, event)
            }
            Directive::Publish { .. } | Directive::Policy { .. } => {
                Err(refuse(554, (5, 6, 0), "nothing of that event can be published here"))
            }
        }
    }

    /// Refuses at once what nobody here has asked for or allowed, whatever its document is.
    pub fn admits(&self, facts: &Facts<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        match request.directive {
            Directive::Notify { .. } => self.may_notify(request).map(|_| ()),
            _ => self.may_put(facts, request).map(|_| ()),
        }
    }

    /// Domains that have notified watchers here.
    pub fn watched(&self) -> Vec<Domain> {
        let watches = self.tables.watches.iter().filter(|one| one.seq > 0);
        let all: HashSet<_> = watches.filter_map(|one| self.tables.names.domain_of(one.presentity)).collect();
        all.into_iter().filter_map(|domain| self.tables.names.domain(domain).cloned()).collect()
    }

    /// Subscribe, fetch and cancel, at each presentity that it is sent to. If all refuse, so do we.
    fn each_presentity(&mut self, facts: &Facts<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        let (mut refused, mut done) = (None, false);
        for presentity in request.recipients {
            let here = facts.rulings.is_local(presentity.domain());
            let result = self.takes_reader(request, presentity).and_then(|()| match (here, request.author.client) {
                (true, _) => self.at_presentity(facts, request, presentity),
                (false, true) => self.watch_elsewhere(facts, request, presentity),
                (false, false) => Err(refuse(550, (5, 7, 1), "we do not relay for that domain")),
            });
            match result {
                Ok(()) => done = true,
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        if done { Ok(()) } else { refused.map_or(Ok(()), Err) }
    }

    /// An event of one's own: who watches, whom one watches. The answer is shown to the author's devices.
    fn own(
        &mut self,
        facts: &Facts<'_>,
        request: &Request<'_>,
        id: SubscriptionId,
        event: &Event,
    ) -> Result<(), Refusal> {
        let author = &request.author.mailbox;
        let own = request.recipients.iter().all(|recipient| recipient.key() == author.key());
        if !own || !request.author.client {
            return Err(refuse(550, (5, 7, 1), format!("the event {event} is told to the presentity itself alone")));
        }
        let name = self.hold(author, facts);
        let result = match event {
            Event::Watchers => Ok(self.answer(facts, name, Item::Watchers(Some(id)))),
            Event::Contacts => Ok(self.answer(facts, name, Item::Contacts(id))),
            _ => Err(refuse(554, (5, 6, 0), format!("the event {event} is not known here"))),
        };
        self.tables.names.release(name);
        result
    }

    /// Whatever is due at this time; a bounded part of what a start or changed rules leave to be looked through. Tells when
    /// there is more to do.
    pub fn tick(&mut self, facts: &Facts<'_>) -> Option<Timestamp> {
        let second = facts.second();
        while let Some((filed, timer)) = self.timers.due(second) {
            match timer {
                Timer::Watcher(number) => self.watcher_timer(facts, number, filed),
                Timer::Contact(number) => self.contact_timer(facts, number, filed),
                Timer::Presentity(name) => self.expire_publications(facts, name),
                Timer::Sweep => self.sweep(facts),
                Timer::Mail(watcher) => self.mail_timer(facts, watcher, filed),
            }
        }
        while let Some(presentity) = self.timers.paused(facts.now) {
            if let Some(one) = self.tables.presentities.get_mut(&presentity) {
                one.waits = false;
            }
            // With a view of this time: who was answered meanwhile has a later one than what is composed.
            self.revise(facts, presentity);
        }
        for _ in 0..REVISED_AT_ONCE {
            let Some(presentity) = self.revising.pop() else { break };
            self.revise(facts, presentity);
        }
        if self.revising.is_empty() { self.timers.next() } else { Some(facts.now) }
    }

    /// The rows that are to be written, in order.
    pub fn take_rows(&mut self) -> Vec<Row> {
        for mailbox in std::mem::take(&mut self.tables.forgotten) {
            let name = self.tables.names.find(&mailbox);
            let again = name.and_then(|name| self.tables.presentities.get(&name)).is_some_and(|one| one.kept);
            if !again {
                self.rows.push(row::known(&mailbox, None));
            }
        }
        std::mem::take(&mut self.rows)
    }

    pub fn write(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn random(&mut self) -> [u8; 16] {
        (self.random)()
    }

    /// From zero up to the number.
    pub fn random_below(&mut self, most: u32) -> u32 {
        let octets = self.random();
        let number = u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]);
        number % most.max(1)
    }

    /// The number of an address, which is held until it is released.
    pub fn hold(&mut self, mailbox: &Mailbox, facts: &Facts<'_>) -> NameId {
        self.tables.names.hold(mailbox, |domain| facts.rulings.is_local(domain))
    }

    /// Writes down since when a presentity is known and as it is, so that it looks the same after a restart.
    pub fn keep(&mut self, name: NameId) {
        if let (Some(one), Some(mailbox)) = (self.tables.presentities.get_mut(&name), self.tables.names.get(name))
            && !std::mem::replace(&mut one.kept, true)
        {
            self.rows.push(row::known(mailbox, Some((one.since, one.known))));
        }
    }

    /// Writes a subscription as it is now.
    pub fn write_subscription(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get(number) else { return };
        if one.marks.has(Marks::FETCH) {
            return;
        }
        let names = &self.tables.names;
        let (Some(presentity), Some(watcher)) = (names.get(one.presentity), names.get(one.watcher)) else { return };
        let (proven, mail) = (one.marks.has(Marks::PROVEN), one.marks.has(Marks::MAIL));
        let Subscription { id, state, expires, since, acked, view, .. } = *one;
        // Of a view that is under way nobody knows whether it comes.
        let view = if one.is_behind() { 0 } else { view };
        let (presentity, watcher) = (presentity.clone(), watcher.clone());
        let name = one.presentity;
        self.keep(name);
        let row = SubscriptionRow { presentity, watcher, proven, mail, id, state, expires, since, acked, view };
        self.rows.push(row.write());
    }

    /// Takes the row of a subscription away.
    pub fn erase_subscription(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get(number) else { return };
        let names = &self.tables.names;
        if let (Some(presentity), Some(watcher)) = (names.get(one.presentity), names.get(one.watcher))
            && !one.marks.has(Marks::FETCH)
        {
            self.rows.push((row::subscription_key(presentity, watcher, one.marks.has(Marks::PROVEN)), None));
        }
    }

    /// Writes a watch as it is now.
    pub fn write_watch(&mut self, number: u32) {
        let Some(one) = self.tables.watches.get(number) else { return };
        let names = &self.tables.names;
        let (Some(watcher), Some(presentity)) = (names.get(one.watcher), names.get(one.presentity)) else { return };
        let (watcher, presentity) = (watcher.clone(), presentity.clone());
        let view = one.view.as_ref().map_or(0, |view| view.digest);
        let cancelled = one.marks.has(Marks::CANCEL);
        let (id, state, expires, refresh, seq) = (one.id, one.state, one.expires, one.refresh, one.seq);
        let row = WatchRow { watcher, presentity, id, state, cancelled, expires, refresh, seq, view };
        self.rows.push(row.write());
    }

    /// Looks through the watchers of those presentities, a few at each tick.
    pub fn revise_if(&mut self, changed: impl Fn(&Mailbox) -> bool) {
        let names = &self.tables.names;
        let is = |name: &&NameId| names.get(**name).is_some_and(&changed);
        let more: Vec<_> = self.tables.presentities.keys().filter(is).copied().collect();
        self.revising.extend(more);
        if !self.revising.is_empty() {
            // At once: a second that has begun.
            self.timers.file(0, Timer::Sweep);
        }
    }

    /// The rules of a presentity, for its own devices.
    pub fn answer_rules(&mut self, facts: &Facts<'_>, owner: &Mailbox, id: SubscriptionId, document: Option<&str>) {
        let name = self.hold(owner, facts);
        let body = document.map(|document| ("application/auth-policy+xml", document));
        let version = (Event::Policy, rules::version(document));
        let (from, written) = lists::own(self, facts, owner.clone(), Some(id), version, body);
        self.answer(facts, name, Item::Written(from, written.into()));
        self.tables.names.release(name);
    }

    /// Whether something is in a line that was not before.
    pub fn is_awake(&self) -> bool {
        self.due.is_awake() || self.mailed.is_awake()
    }

    /// The devices of a watcher here have something new to be shown.
    pub fn show(&mut self, watcher: NameId, item: Item) {
        self.feeds.mark(watcher, item);
    }

    /// Whom a watcher here watches, for its devices: those that are not over.
    pub fn shown_contacts(&self, watcher: NameId) -> Vec<ContactAt> {
        let shown = |contact: &&ContactAt| match contact {
            ContactAt::Here(number) => self.tables.subscriptions.get(*number).is_some(),
            ContactAt::Away(number) => {
                self.tables.watches.get(*number).is_some_and(|one| !one.marks.has(Marks::CANCEL))
            }
        };
        self.tables.contacts(watcher).iter().filter(shown).copied().collect()
    }
}

/// Presentities whose watchers are looked through in one go.
const REVISED_AT_ONCE: usize = 200;
