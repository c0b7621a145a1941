//! What is due of presence, delivered: the loop between [`crate::presence`] and `deliver`.
//!
//! In: domains at which something is due, what became of each transaction. Out: work for `deliver`, made at the moment when
//! there is room for it, so that it is the latest. Invariants: what is under way for one domain is bounded; a domain that
//! fails is left alone for a while that grows, and costs its line; nothing is written here, for what is due follows from the
//! tables.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::address::{Domain, ReversePath};
use crate::clock::Clock;
use crate::deliver::{Deliver, Job, Outcome, Report, Scope, Work};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::presence::{Fate, Handle, Outgoing};
use crate::queue::counters::{Counters, Group};
use crate::queue::look_up::{LookUp, place};
use crate::queue::schedule::{Onward, Resolved};
use crate::route::{Hop, Table};
use crate::spool::QueueId;
use crate::timestamp::Timestamp;

/// Transactions under way for one domain.
const WINDOW: usize = 64;
/// Domains that are remembered with nothing due.
const IDLE: usize = 10_000;
/// The pause after one recipient was deferred, at least.
const PAUSE: Duration = Duration::from_secs(1);

/// What the loop is wired to.
pub struct Parts {
    /// Who knows what is due.
    pub presence: Handle,
    /// Who delivers.
    pub deliver: Arc<dyn Deliver>,
    /// What became of it.
    pub reports: UnboundedReceiver<Report>,
    /// Who knows where domains' servers are.
    pub look_up: LookUp,
    /// The configured routes.
    pub table: watch::Receiver<Arc<Table>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Pauses after the first, second, … failure; the last repeats.
    pub retry: Vec<Duration>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

#[derive(Default)]
struct Line {
    /// Where its servers are, until then.
    onward: Option<(Onward, Timestamp)>,
    resolving: bool,
    in_flight: usize,
    failures: usize,
    /// It is left alone until then.
    until: Option<Timestamp>,
    /// Something may be due.
    more: bool,
}

struct Notices {
    parts: Wired,
    lines: HashMap<Domain, Line>,
    flights: HashMap<u64, (Domain, usize)>,
    alarms: BinaryHeap<Reverse<(Timestamp, Domain)>>,
    resolved: UnboundedSender<(Domain, Resolved)>,
}

struct Wired {
    presence: Handle,
    deliver: Arc<dyn Deliver>,
    look_up: LookUp,
    table: watch::Receiver<Arc<Table>>,
    clock: Arc<dyn Clock>,
    retry: Vec<Duration>,
    counters: Arc<Counters>,
}

/// Runs until `stop` is true; what is under way then is given up: it is due again at the next start.
pub async fn run(parts: Parts, mut stop: watch::Receiver<bool>) {
    let Parts { presence, deliver, mut reports, look_up, table, clock, retry, counters } = parts;
    let (resolved, mut answers) = unbounded_channel();
    let handle = presence.clone();
    // An absence that is seen once after a start ends nobody's watch.
    presence.watched().iter().for_each(|domain| look_up.has_offered(domain, Class::Pres));
    let mut notices = Notices {
        parts: Wired { presence, deliver, look_up, table, clock, retry, counters },
        lines: HashMap::new(),
        flights: HashMap::new(),
        alarms: BinaryHeap::new(),
        resolved,
    };
    let mut reported = Vec::new();
    loop {
        for domain in handle.awake() {
            notices.lines.entry(domain.clone()).or_default().more = true;
            notices.go(&domain);
        }
        let wake = notices.until_alarm();
        tokio::select! {
            count = reports.recv_many(&mut reported, 512) => {
                if count == 0 { return }
                reported.drain(..).for_each(|report| notices.report(&report));
            }
            Some((domain, resolved)) = answers.recv() => notices.answered(&domain, resolved),
            () = handle.work() => notices.revive(),
            () = tokio::time::sleep(wake) => notices.ring(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Notices {
    fn until_alarm(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        let now = self.parts.clock.now();
        let wake = self.alarms.peek().map_or(LONGEST, |Reverse((at, _))| at.since(now));
        wake.clamp(Duration::from_millis(1), LONGEST)
    }

    fn ring(&mut self) {
        let now = self.parts.clock.now();
        while self.alarms.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, domain))) = self.alarms.pop() else { break };
            if let Some(line) = self.lines.get_mut(&domain)
                && line.until.is_some_and(|until| until <= now)
            {
                line.until = None;
                self.go(&domain);
            }
        }
    }

    /// Domains that have shown life are tried now.
    fn revive(&mut self) {
        for domain in self.parts.presence.alive() {
            if let Some(line) = self.lines.get_mut(&domain) {
                line.until = None;
                self.go(&domain);
            }
        }
    }

    /// Sends what is due at a domain, as far as there is room.
    fn go(&mut self, domain: &Domain) {
        let now = self.parts.clock.now();
        let Some(line) = self.lines.get_mut(domain) else { return };
        if !line.more || line.until.is_some() || line.resolving || line.in_flight >= WINDOW {
            return;
        }
        let onward = match &line.onward {
            Some((onward, until)) if *until > now => onward.clone(),
            _ => {
                line.resolving = true;
                return self.resolve(domain);
            }
        };
        match onward {
            Onward::Hop(hop) => self.send(domain, &hop),
            Onward::Nowhere(_, reason) => self.give_up(domain, &reason),
        }
    }

    fn resolve(&self, domain: &Domain) {
        let (look_up, clock, answer) = (self.parts.look_up.clone(), self.parts.clock.clone(), self.resolved.clone());
        let (table, domain) = (self.parts.table.borrow().clone(), domain.clone());
        tokio::spawn(async move {
            let destination = place(&table, &domain, Class::Pres);
            let resolved = look_up.resolve(&table, &destination, clock.as_ref()).await;
            let _ = answer.send((domain, resolved));
        });
    }

    fn answered(&mut self, domain: &Domain, resolved: Resolved) {
        let Some(line) = self.lines.get_mut(domain) else { return };
        line.resolving = false;
        match resolved {
            Resolved::Onward(onward, until) => {
                line.onward = Some((onward, until));
                self.go(domain);
            }
            Resolved::Later(reason) => {
                if !self.parts.presence.is_due(domain) {
                    // Nobody waits for it any more. What comes later makes a line of its own.
                    self.lines.remove(domain);
                    return;
                }
                tracing::warn!("PRES {domain}: cannot be looked up, tried again later: {reason}");
                self.pause(domain, true);
            }
        }
    }

    fn send(&mut self, domain: &Domain, hop: &Arc<Hop>) {
        loop {
            let outgoing = self.parts.presence.due(domain);
            let Some(line) = self.lines.get_mut(domain) else { return };
            if outgoing.is_empty() {
                line.more = false;
                return self.tidy(domain);
            }
            line.in_flight += outgoing.len();
            let full = line.in_flight >= WINDOW;
            for one in outgoing {
                self.flights.insert(one.token, (domain.clone(), one.recipients.len()));
                self.parts.deliver.send(self.work(domain, hop, one));
            }
            if full {
                return;
            }
        }
    }

    fn work(&self, domain: &Domain, hop: &Arc<Hop>, outgoing: Outgoing) -> Work {
        let Outgoing { token, sender, recipients, written, until } = outgoing;
        let mut hasher = DefaultHasher::new();
        sender.key().hash(&mut hasher);
        let utf8 = written.utf8 || !sender.is_ascii() || recipients.iter().any(|recipient| !recipient.is_ascii());
        let recipient = |address| Recipient { address, notify: Some(Notify::NEVER), original: None };
        let envelope = Envelope {
            class: Class::Pres,
            sender: ReversePath::Mailbox(sender),
            body: if written.eight_bit { Body::EightBitMime } else { Body::SevenBit },
            utf8,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: recipients.into_iter().map(recipient).collect(),
        };
        let job = Job {
            id: QueueId(token),
            size: written.entity.len() as u64,
            entity: Some(written.entity),
            recipients: (0..envelope.recipients.len()).collect(),
            envelope: Arc::new(envelope),
            expires: until,
            lane: hasher.finish(),
            gathered: Vec::new(),
        };
        let destination = place(&self.parts.table.borrow(), domain, Class::Pres);
        Work { destination, hop: hop.clone(), job }
    }

    /// There is no way to the domain: what is due there comes to nothing.
    fn give_up(&mut self, domain: &Domain, reason: &str) {
        tracing::info!("PRES {domain}: {reason}");
        loop {
            let outgoing = self.parts.presence.due(domain);
            if outgoing.is_empty() {
                break;
            }
            for one in outgoing {
                let fates: Vec<_> = (0..one.recipients.len()).map(|place| (place, Fate::Refused)).collect();
                self.parts.presence.reported(one.token, &fates);
            }
        }
        if let Some(line) = self.lines.get_mut(domain) {
            line.more = false;
        }
        self.tidy(domain);
    }

    fn report(&mut self, report: &Report) {
        let Some((domain, count)) = self.flights.remove(&report.id.0) else { return };
        self.parts.counters.report(Class::Pres, Group::of(&report.destination), &report.outcomes);
        let (mut fates, mut deferred, mut reason) = (Vec::with_capacity(count), None, None);
        for (place, outcome) in &report.outcomes {
            let fate = match outcome {
                Outcome::Delivered { .. } | Outcome::Relayed { .. } | Outcome::Stored { .. } => Fate::Accepted,
                Outcome::Failed { reason: why, .. } => {
                    reason = Some(why);
                    Fate::Refused
                }
                Outcome::Deferred { scope, reason: why, .. } => {
                    deferred = deferred.max(Some(*scope == Scope::Destination));
                    reason = Some(why);
                    Fate::Later
                }
            };
            fates.push((*place, fate));
        }
        if let Some(reason) = reason {
            tracing::info!("PRES {domain}: relay={}, {count} recipients: {reason}", report.relay);
        }
        self.parts.presence.reported(report.id.0, &fates);
        let Some(line) = self.lines.get_mut(&domain) else { return };
        line.in_flight = line.in_flight.saturating_sub(1);
        line.more = true;
        match deferred {
            Some(destination) => self.pause(&domain, destination),
            None => {
                line.failures = 0;
                self.go(&domain);
            }
        }
    }

    /// A domain is left alone for a while; longer where it is at fault itself, once more.
    fn pause(&mut self, domain: &Domain, its_fault: bool) {
        let now = self.parts.clock.now();
        let Some(line) = self.lines.get_mut(domain) else { return };
        if line.until.is_some_and(|until| until > now) {
            return;
        }
        let retry = &self.parts.retry;
        let step = retry.get(line.failures.min(retry.len().saturating_sub(1))).copied().unwrap_or(PAUSE);
        let pause = if its_fault { step } else { retry.first().copied().unwrap_or(PAUSE) };
        line.failures += usize::from(its_fault);
        line.onward = None;
        let until = now.after(pause);
        line.until = Some(until);
        self.alarms.push(Reverse((until, domain.clone())));
    }

    /// A line without work is forgotten when there are many.
    fn tidy(&mut self, domain: &Domain) {
        if self.lines.len() > IDLE
            && self.lines.get(domain).is_some_and(|line| !line.more && line.in_flight == 0 && line.until.is_none())
        {
            self.lines.remove(domain);
        }
    }
}
