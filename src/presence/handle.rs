//! The handle: what other parts say to the engine and ask of it, and what attached clients are to be shown.
//!
//! Here are the lock, the clock and the store. Invariant: rows are handed to the spool under the lock, in the order in which
//! the tables changed; whoever says something hears of success when they are on stable storage.

mod certificate;
mod mail;
mod policy;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};

use super::due::{Fate, Outgoing};
use super::engine::{Engine, Facts, Options, Request, refuse};
use super::feeds::Shown;
use super::letter::{self, Written};
use super::readers;
use super::restore::Restoring;
use super::row::Row;
use super::rulings::Ruled;
use super::{Contact, Refusal, Said, State, Status, Watcher};
use crate::accounts::Accounts;
use crate::address::{Device, Domain, Mailbox};
use crate::clock::Clock;
use crate::limits;
use crate::mime::presence::{Directive, Event, SubscriptionId};
use crate::rules::{Circumstances, Handling};
use crate::spool::{Spool, SpoolError};
use crate::timestamp::Timestamp;
use certificate::Wanted;
pub use certificate::{Certifier, no_authority};

/// The longest sleep of the one who looks at timers.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What the presence of a daemon is made of.
pub struct Parts {
    /// What the administrator decides.
    pub options: Options,
    /// What becomes of a subscription where the presentity has no rules at all.
    pub default: Handling,
    /// Where rows are kept.
    pub spool: Spool,
    /// Who lives here, with their rules.
    pub accounts: watch::Receiver<Arc<Accounts>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The directory of the rules.
    pub rules: PathBuf,
    /// Has the rules read again; returns when they count.
    pub reload: Box<dyn Fn() + Send + Sync>,
    /// Who issues certificates.
    pub certifier: Option<Arc<dyn Certifier>>,
}

struct Shared {
    engine: Mutex<Engine>,
    default: Handling,
    spool: Spool,
    accounts: watch::Receiver<Arc<Accounts>>,
    clock: Arc<dyn Clock>,
    rules: PathBuf,
    reload: Box<dyn Fn() + Send + Sync>,
    certifier: Option<Arc<dyn Certifier>>,
    /// Who may wait for the certifier's keys.
    certifying: Arc<Semaphore>,
    /// Rung when something is due elsewhere.
    work: Notify,
    /// Rung when a timer is sooner than the one that is slept for, which is this.
    timer: Notify,
    until: AtomicI64,
    closing: AtomicBool,
    /// Whether everything is written; and rows that wait for that.
    runs: AtomicBool,
    left: Mutex<Vec<Row>>,
    /// Domains that have shown life lately.
    alive: Mutex<Vec<Domain>>,
}

/// The presence of everybody here. Clones share it.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Rows on their way.
type Writing = Pin<Box<dyn Future<Output = Result<(), SpoolError>> + Send>>;

/// 128 random bits. Without random numbers there would be no TLS either; then identifiers are merely distinct.
fn random(counter: &mut u64) -> [u8; 16] {
    let mut octets = [0; 16];
    if aws_lc_rs::rand::fill(&mut octets).is_err() {
        *counter += 1;
        octets[8..].copy_from_slice(&counter.to_be_bytes());
    }
    octets
}

impl Handle {
    /// With what the store has. Nothing changes by time, and nothing is written but what is waited for, until it runs.
    pub fn new(parts: Parts) -> Result<Handle, SpoolError> {
        let Parts { options, default, spool, accounts, clock, rules, reload, certifier } = parts;
        let mut counter = 0;
        let mut engine = Engine::new(options, Box::new(move || random(&mut counter)));
        let (mut restoring, mut strange) = (Restoring::default(), 0);
        let all = accounts.borrow().clone();
        let ruled = Ruled { accounts: &all, default };
        let facts = Facts { now: clock.now(), rulings: &ruled };
        let damaged = spool.presence(|key, content| {
            strange += u64::from(!engine.restore(&facts, &mut restoring, key, content));
        })?;
        if damaged + strange > 0 {
            tracing::error!("{} rows of presence cannot be read and are left out", damaged + strange);
        }
        engine.restored(&facts, restoring);
        // Until it runs what a start takes out is kept here.
        let left = engine.take_rows();
        let handle = Handle(Arc::new(Shared {
            engine: Mutex::new(engine),
            default,
            spool,
            accounts,
            clock,
            rules,
            reload,
            certifier,
            certifying: Arc::new(Semaphore::new(limits::CERTIFYING)),
            work: Notify::new(),
            timer: Notify::new(),
            until: AtomicI64::new(i64::MAX),
            closing: AtomicBool::new(false),
            runs: AtomicBool::new(false),
            left: Mutex::new(left),
            alive: Mutex::default(),
        }));
        Ok(handle)
    }

    /// From now on time passes, and everything is written. Within a tokio runtime, once.
    pub fn run(&self) {
        self.0.runs.store(true, Relaxed);
        self.act(|engine, facts| {
            std::mem::take(&mut *self.0.left.lock().unwrap_or_else(PoisonError::into_inner))
                .into_iter()
                .for_each(|row| engine.write(row));
            engine.drop_removed(facts);
        });
        tokio::spawn(keep_time(Arc::downgrade(&self.0)));
        tokio::spawn(follow_rules(Arc::downgrade(&self.0), self.0.accounts.clone()));
    }

    /// Does something with the engine; the rows go to the spool in order. Out: the result, and who wants to wait for the rows.
    fn with<T>(&self, durable: bool, act: impl FnOnce(&mut Engine, &Facts<'_>) -> T) -> (T, Option<Writing>) {
        let shared = &self.0;
        let accounts = shared.accounts.borrow().clone();
        let ruled = Ruled { accounts: &accounts, default: shared.default };
        let facts = Facts { now: shared.clock.now(), rulings: &ruled };
        // A panic elsewhere leaves the tables usable: what is half done is one subscription's.
        let mut engine = shared.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut engine, &facts);
        let rows = engine.take_rows();
        let wanted = !rows.is_empty() && (durable || shared.runs.load(Relaxed));
        let written = wanted.then(|| -> Writing { Box::pin(shared.spool.put(rows, durable)) });
        let (work, next) = (engine.is_awake(), engine.timers.next());
        // Under the lock: nobody files a timer between what was looked at and what is slept for.
        let sooner = next.is_some_and(|next| next.millis() < shared.until.load(Relaxed));
        drop(engine);
        if work {
            shared.work.notify_one();
        }
        if sooner {
            shared.timer.notify_one();
        }
        (result, written)
    }

    /// As [`Handle::with`], for whoever waits for nothing.
    fn act<T>(&self, act: impl FnOnce(&mut Engine, &Facts<'_>) -> T) -> T {
        // What is not waited for is written nevertheless.
        let (result, _written) = self.with(false, act);
        result
    }

    /// An entity that came in. Resolves when what it changes is on stable storage, or with the reply that refuses it.
    /// Things said are done in the order in which this is called; the future may be dropped.
    pub fn say(&self, said: Said) -> impl Future<Output = Result<(), Refusal>> + Send + use<> {
        let handle = self.clone();
        let done = self.done(&said);
        async move {
            match done {
                Ok(Done::Written(written)) => match written {
                    Some(written) => written.await.map_err(|fault| fault.reply()),
                    None => Ok(()),
                },
                Ok(Done::Policy(text, seq)) => handle.set_rules(&said.author, &said.recipients, (text, seq)).await,
                Ok(Done::Certificate(wanted)) => handle.certificate(&said, wanted).await,
                Ok(Done::Rules(id)) => handle.show_rules(&said.author.mailbox, id).await,
                Err(refusal) => Err(refusal),
            }
        }
    }

    fn done(&self, said: &Said) -> Result<Done, Refusal> {
        let content = said.content();
        let directive = Directive::of(content).map_err(|fault| refuse(554, (5, 6, 0), fault.to_string()))?;
        if let Some(wanted) = Wanted::of(&directive) {
            return Ok(Done::Certificate(wanted));
        }
        let reader = readers::wanted(&directive, content, &said.author.mailbox)?;
        let body = match directive {
            // It is handed on, and nothing here is decided by it.
            Directive::Notify { event: Event::Certificate, .. } => Some(Default::default()),
            _ if reader.is_some() => Some(Default::default()),
            _ => letter::body_of(content),
        };
        let (media, text) =
            body.ok_or_else(|| refuse(554, (5, 6, 1), "the body must be one part of text in UTF-8; send it so"))?;
        let own = said.recipients.iter().all(|recipient| recipient.key() == said.author.mailbox.key());
        match &directive {
            Directive::Policy { for_: Event::Presence, seq } => return Ok(Done::Policy(text, *seq)),
            Directive::Fetch { id, event: Event::Policy } | Directive::Subscribe { id, event: Event::Policy, .. }
                if own && said.author.client =>
            {
                return Ok(Done::Rules(*id));
            }
            _ => {}
        }
        let mut request = Request {
            author: &said.author,
            recipients: &said.recipients,
            directive: &directive,
            body: (&media, &text),
            entity: &said.entity,
            signed: said.signed.as_ref().is_some_and(|signed| signed.by_author),
            document: None,
            reader: reader.as_ref(),
        };
        let document;
        if request.has_document() {
            // Nobody makes us read a document that is not wanted, and nobody else waits while it is read.
            self.with(false, |engine, facts| engine.admits(facts, &request)).0?;
            document = request.read()?;
            request.document = Some(&document);
        }
        let (result, written) = self.with(true, |engine, facts| engine.say(facts, &request));
        result.map(|()| Done::Written(written))
    }

    /// A device that takes presence is attached for its owner: the owner is OPEN unless published otherwise. The session
    /// ends when the value is dropped; with the last one the owner is CLOSED.
    pub fn session(&self, owner: &Mailbox, device: Option<&Device>) -> Session {
        let name = device.map_or("a device without a name", Device::as_str);
        tracing::debug!("{owner}: {name} is attached for presence");
        self.act(|engine, facts| engine.session_up(facts, owner));
        Session { handle: self.clone(), owner: owner.clone(), pauses: false }
    }

    /// From now on sessions that end are those of a daemon that stops: their owners are not CLOSED for that.
    pub fn close(&self) {
        self.0.closing.store(true, Relaxed);
    }

    /// What an attached device of `watcher`, an inbox's owner, is to be shown: the views it has now, then what changes.
    pub fn feed(&self, watcher: &Mailbox) -> NoticeFeed {
        let wake = Arc::new(Notify::new());
        let id = self.act(|engine, facts| engine.open_feed(facts, watcher, wake.clone()));
        NoticeFeed { handle: self.clone(), id, wake }
    }

    /// Who watches a presentity here.
    pub fn watchers(&self, presentity: &Mailbox) -> Vec<Watcher> {
        self.act(|engine, _| {
            let name = engine.tables.names.find(presentity);
            let watchers = name.map(|name| engine.watchers_of(name)).unwrap_or_default();
            watchers.into_iter().map(|(_, watcher)| watcher).collect()
        })
    }

    /// Whom somebody here watches.
    pub fn contacts(&self, watcher: &Mailbox) -> Vec<Contact> {
        self.act(|engine, facts| {
            let name = engine.tables.names.find(watcher);
            name.map(|name| engine.contacts_of(facts, name)).unwrap_or_default()
        })
    }

    /// The whole document of a presentity here, as composed from what was published.
    pub fn document(&self, presentity: &Mailbox) -> Option<String> {
        self.act(|engine, facts| {
            let name = engine.tables.names.find(presentity)?;
            engine.with_hot(facts, name, |_, _, hot, _| hot.composed.document.text().to_owned())
        })
    }

    /// What a watcher would be shown of a presentity here (`None`: an anonymous one), and how its subscription would stand.
    pub fn view(&self, presentity: &Mailbox, watcher: Option<&Mailbox>) -> (State, Option<String>) {
        self.act(|engine, facts| {
            let name = engine.hold(presentity, facts);
            let seen = engine.with_hot(facts, name, |_, mailbox, hot, version| {
                let sphere = hot.composed.sphere.clone();
                let circumstances =
                    Circumstances { now: facts.now, sphere: sphere.as_deref(), ..Circumstances::default() };
                let decision = facts.rulings.decide(mailbox, watcher, circumstances);
                let state = match decision.subscription {
                    Handling::Block => State::Terminated(Some(super::Reason::Rejected)),
                    Handling::Confirm => State::Pending,
                    Handling::PoliteBlock | Handling::Allow => State::Active,
                };
                (state, hot.view(mailbox, version, &decision).map(|view| view.text.clone()))
            });
            engine.tables.tidy(name);
            engine.tables.names.release(name);
            seen.unwrap_or((State::Pending, None))
        })
    }

    /// Ends a watcher's subscription: it is told so. Tells whether there was one. Resolves when that is on stable storage.
    pub fn remove(&self, presentity: &Mailbox, watcher: &Mailbox) -> impl Future<Output = bool> + Send + use<> {
        let (found, written) = self.with(true, |engine, facts| engine.remove(facts, presentity, watcher));
        async move {
            if let Some(written) = written
                && let Err(fault) = written.await
            {
                tracing::warn!("that a subscription was ended is not written yet: {fault}");
            }
            found
        }
    }

    /// In numbers.
    pub fn status(&self) -> Status {
        let engine = self.0.engine.lock().unwrap_or_else(PoisonError::into_inner);
        Status {
            presentities: engine.tables.presentities.len(),
            publications: engine.counts.publications,
            watchers: engine.tables.subscriptions.len(),
            contacts: engine.tables.watches.len(),
            due: engine.behind,
            notified: engine.counts.notified,
            feeds: engine.feeds.len(),
        }
    }

    /// A domain has shown life: what is due there is tried now.
    pub fn shows_life(&self, domain: &Domain) {
        let mut alive = self.0.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if alive.len() < limits::ALIVE && !alive.contains(domain) {
            alive.push(domain.clone());
            drop(alive);
            self.0.work.notify_one();
        }
    }

    /// Those that have since this was asked last.
    pub fn alive(&self) -> Vec<Domain> {
        std::mem::take(&mut *self.0.alive.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves when something may be due elsewhere that was not before.
    pub async fn work(&self) {
        self.0.work.notified().await;
    }

    /// Domains at which something is due since this was asked last.
    pub fn awake(&self) -> Vec<Domain> {
        self.act(|engine, _| engine.awake())
    }

    /// The first of what is due at a domain; empty when nothing is. Each is answered by [`Handle::reported`].
    pub fn due(&self, domain: &Domain) -> Vec<Outgoing> {
        let mut due = self.act(|engine, facts| engine.due(facts, domain));
        for one in &mut due {
            self.sign(&one.sender, &mut one.written);
        }
        due
    }

    /// Encrypts what somebody alone is to read, and has the domain in whose name it is sign what is told; nobody else waits for
    /// that.
    fn sign(&self, author: &Mailbox, written: &mut Written) {
        let accounts = self.0.accounts.borrow().clone();
        let signer = accounts.signer(author.domain());
        if written.is_to_be_sealed(signer) {
            *written = written.clone().sealed(signer, self.now());
        }
    }

    /// Domains that have notified watchers here.
    pub fn watched(&self) -> Vec<Domain> {
        self.act(|engine, _| engine.watched())
    }

    /// Whether anybody waits for what is due at a domain.
    pub fn is_due(&self, domain: &Domain) -> bool {
        self.act(|engine, _| engine.is_due(domain))
    }

    /// What became of the recipients of an entity, by their places in [`Outgoing::recipients`].
    pub fn reported(&self, token: u64, fates: &[(usize, Fate)]) {
        self.act(|engine, facts| engine.reported(facts, token, fates));
    }
}

/// What is left to do of something said.
enum Done {
    Written(Option<Writing>),
    Policy(String, Option<u64>),
    Certificate(Wanted),
    Rules(SubscriptionId),
}

/// Looks at timers as long as there is somebody who holds the handle.
async fn keep_time(shared: std::sync::Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let handle = Handle(strong);
        let until = &handle.0.until;
        let sleep = handle.act(|engine, facts| {
            let next = engine.tick(facts);
            let sleep = next.map_or(LONGEST_SLEEP, |next| next.since(facts.now)).min(LONGEST_SLEEP);
            until.store(facts.now.after(sleep).millis(), Relaxed);
            sleep
        });
        let sooner = handle.0.clone();
        drop(handle);
        let sooner = async move { sooner.timer.notified().await };
        tokio::select! {
            () = tokio::time::sleep(sleep.max(Duration::from_millis(1))) => {}
            () = sooner => {}
        }
    }
}

/// When who lives here or their rules change, the watchers of those whose rules are others now are looked through.
async fn follow_rules(shared: std::sync::Weak<Shared>, mut accounts: watch::Receiver<Arc<Accounts>>) {
    let mut before = accounts.borrow_and_update().clone();
    while accounts.changed().await.is_ok() {
        let now = accounts.borrow_and_update().clone();
        let Some(strong) = shared.upgrade() else { return };
        Handle(strong).act(|engine, facts| {
            engine.drop_removed(facts);
            engine.revise_if(|mailbox| !now.rules().is_same(before.rules(), mailbox));
        });
        before = now;
    }
}

/// A device's session, as far as presence is concerned.
#[derive(Debug)]
pub struct Session {
    handle: Handle,
    owner: Mailbox,
    /// Its end is for a moment: the device is asked to log in again.
    pub pauses: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.handle.0.closing.load(Relaxed) {
            self.handle.act(|engine, facts| match self.pauses {
                true => engine.session_pauses(facts, &self.owner),
                false => engine.session_down(facts, &self.owner),
            });
        }
    }
}

/// Something to show a device: an entity for one transaction of class PRES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it in answers; never used again.
    pub token: u64,
    /// MAIL FROM: the presentity.
    pub from: Mailbox,
    /// RCPT TO: the watcher.
    pub to: Mailbox,
    /// Whether it needs SMTPUTF8.
    pub utf8: bool,
    /// Whether its body has octets beyond US-ASCII (BODY=8BITMIME).
    pub eight_bit: bool,
    /// The entity; shared by all who are shown the same.
    pub entity: bytes::Bytes,
}

/// What one device is to be shown. Dropping it ends that.
#[derive(Debug)]
pub struct NoticeFeed {
    handle: Handle,
    id: u64,
    wake: Arc<Notify>,
}

impl NoticeFeed {
    /// Up to `room` notices that are due now: of each contact the latest only. Each is answered once; one of a contact whose
    /// earlier notice is unanswered waits for that.
    pub fn take(&self, room: usize) -> Vec<Notice> {
        let shown = self.handle.act(|engine, facts| engine.take(facts, self.id, room));
        let notice = |Shown { token, from, to, mut written }| {
            self.handle.sign(&from, &mut written);
            let utf8 = written.utf8 || !from.is_ascii() || !to.is_ascii();
            Notice { token, utf8, from, to, eight_bit: written.eight_bit, entity: written.entity }
        };
        shown.into_iter().map(notice).collect()
    }

    /// Whether there is something to take.
    pub fn waits(&self) -> bool {
        self.handle.act(|engine, _| engine.waits(self.id))
    }

    /// The device has it, or never wants it (250, 5yz).
    pub fn acknowledged(&self, token: u64) {
        self.handle.act(|engine, _| engine.answered(self.id, token, false));
    }

    /// It was not taken now (4yz), or not offered: the latest is due again when the caller asks again, at the earliest after
    /// the pause that it makes itself.
    pub fn again(&self, token: u64) {
        self.handle.act(|engine, _| engine.answered(self.id, token, true));
    }

    /// Resolves when there may be something to take.
    pub async fn news(&self) {
        self.wake.notified().await;
    }
}

impl Drop for NoticeFeed {
    fn drop(&mut self) {
        self.handle.act(|engine, _| engine.close_feed(self.id));
    }
}

/// The time, for callers that have none of their own.
impl Handle {
    /// Now.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}
