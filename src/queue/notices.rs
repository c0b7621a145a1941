//! What is due of presence, delivered: the loop between [`crate::presence`] and `deliver`.
//!
//! In: domains at which something is due, to their servers or as mail to their people; what became of each transaction.
//! Out: work for `deliver`, made at the moment when there is room for it, so that it is the latest. Invariants: what is under way for one domain is bounded; a domain that
//! fails is left alone for a while that grows, and costs its line; nothing is written here, for what is due follows from the
//! tables.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::address::{Domain, Mailbox, ReversePath};
use crate::bridge::presence;
use crate::clock::Clock;
use crate::deliver::{Deliver, Destination, Job, Outcome, Report, Scope, Work};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::presence::{Fate, Handle, Mailing, Outgoing};
use crate::queue::counters::{Counters, Group};
use crate::queue::look_up::{LookUp, mail_place, place};
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
    /// What tokens in mails are made of.
    pub bridge_secret: [u8; 32],
    /// Where mails about presence can be ended by one click, if anywhere.
    pub unsubscribe: Option<String>,
}

/// What has a line: a domain's servers, or its people's mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    domain: Domain,
    mail: bool,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.domain, if self.mail { ", by mail" } else { "" })
    }
}

/// What goes out in one transaction.
struct Letter {
    token: u64,
    envelope: Envelope,
    entity: Bytes,
    until: Timestamp,
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
    lines: HashMap<Place, Line>,
    flights: HashMap<u64, (Place, usize)>,
    alarms: BinaryHeap<Reverse<(Timestamp, Place)>>,
    resolved: UnboundedSender<(Place, Resolved)>,
}

struct Wired {
    presence: Handle,
    deliver: Arc<dyn Deliver>,
    look_up: LookUp,
    table: watch::Receiver<Arc<Table>>,
    clock: Arc<dyn Clock>,
    retry: Vec<Duration>,
    bridge_secret: [u8; 32],
    unsubscribe: Option<String>,
    counters: Arc<Counters>,
}

/// Runs until `stop` is true; what is under way then is given up: it is due again at the next start.
pub async fn run(parts: Parts, mut stop: watch::Receiver<bool>) {
    let Parts { presence, deliver, mut reports, look_up, table, clock, retry, counters, bridge_secret, unsubscribe } =
        parts;
    let (resolved, mut answers) = unbounded_channel();
    let handle = presence.clone();
    // An absence that is seen once after a start ends nobody's watch.
    presence.watched().iter().for_each(|domain| look_up.has_offered(domain, Class::Pres));
    let mut notices = Notices {
        parts: Wired { presence, deliver, look_up, table, clock, retry, counters, bridge_secret, unsubscribe },
        lines: HashMap::new(),
        flights: HashMap::new(),
        alarms: BinaryHeap::new(),
        resolved,
    };
    let mut reported = Vec::new();
    loop {
        let mail = handle.mail_awake().into_iter().map(|domain| Place { domain, mail: true });
        for place in handle.awake().into_iter().map(|domain| Place { domain, mail: false }).chain(mail) {
            notices.lines.entry(place.clone()).or_default().more = true;
            notices.go(&place);
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
            let Some(Reverse((_, to))) = self.alarms.pop() else { break };
            if let Some(line) = self.lines.get_mut(&to)
                && line.until.is_some_and(|until| until <= now)
            {
                line.until = None;
                self.go(&to);
            }
        }
    }

    /// Domains that have shown life are tried now.
    fn revive(&mut self) {
        for domain in self.parts.presence.alive() {
            let to = Place { domain, mail: false };
            if let Some(line) = self.lines.get_mut(&to) {
                line.until = None;
                self.go(&to);
            }
        }
    }

    /// Sends what is due at a domain, as far as there is room.
    fn go(&mut self, to: &Place) {
        let now = self.parts.clock.now();
        let Some(line) = self.lines.get_mut(to) else { return };
        if !line.more || line.until.is_some() || line.resolving || line.in_flight >= WINDOW {
            return;
        }
        let onward = match &line.onward {
            Some((onward, until)) if *until > now => onward.clone(),
            _ => {
                line.resolving = true;
                return self.resolve(to);
            }
        };
        match onward {
            Onward::Hop(hop) => self.send(to, &hop),
            Onward::Nowhere(_, reason) => self.give_up(to, &reason, Fate::Refused),
            Onward::MailOnly(_, reason) => self.give_up(to, &reason, Fate::MailOnly),
        }
    }

    fn resolve(&self, to: &Place) {
        let (look_up, clock, answer) = (self.parts.look_up.clone(), self.parts.clock.clone(), self.resolved.clone());
        let (table, to) = (self.parts.table.borrow().clone(), to.clone());
        tokio::spawn(async move {
            let destination = destination(&table, &to);
            let resolved = look_up.resolve(&table, &destination, clock.as_ref()).await;
            let _ = answer.send((to, resolved));
        });
    }

    fn answered(&mut self, to: &Place, resolved: Resolved) {
        let Some(line) = self.lines.get_mut(to) else { return };
        line.resolving = false;
        match resolved {
            Resolved::Onward(onward, until) => {
                line.onward = Some((onward, until));
                self.go(to);
            }
            Resolved::Later(reason) => {
                if !to.mail && !self.parts.presence.is_due(&to.domain) {
                    // Nobody waits for it any more. What comes later makes a line of its own.
                    self.lines.remove(to);
                    return;
                }
                tracing::warn!("PRES {to}: cannot be looked up, tried again later: {reason}");
                self.pause(to, true);
            }
        }
    }

    fn send(&mut self, to: &Place, hop: &Arc<Hop>) {
        loop {
            let outgoing = self.due(to, hop);
            let Some(line) = self.lines.get_mut(to) else { return };
            if outgoing.is_empty() {
                line.more = false;
                return self.tidy(to);
            }
            line.in_flight += outgoing.len();
            let full = line.in_flight >= WINDOW;
            for one in outgoing {
                self.flights.insert(one.token, (to.clone(), one.envelope.recipients.len()));
                self.parts.deliver.send(self.work(to, hop, one));
            }
            if full {
                return;
            }
        }
    }

    /// The first of what is due, written.
    fn due(&self, to: &Place, hop: &Hop) -> Vec<Letter> {
        if !to.mail {
            return self.parts.presence.due(&to.domain).into_iter().map(letter).collect();
        }
        loop {
            let due = self.parts.presence.due_by_mail(&to.domain);
            if due.is_empty() {
                return Vec::new();
            }
            let written: Vec<_> = due.into_iter().filter_map(|mailing| self.mail(mailing, hop)).collect();
            if !written.is_empty() {
                return written;
            }
        }
    }

    /// A mail about presence; it goes the way of the mails that messages become.
    fn mail(&self, mailing: Mailing, hop: &Hop) -> Option<Letter> {
        let bridge = match hop {
            Hop::Mail(hop) => hop.bridge_of(&mailing.domain),
            Hop::Peer { .. } | Hop::Configured(_) => None,
        };
        let facts = presence::Facts {
            mailing: &mailing,
            bridge: bridge.unwrap_or(&mailing.domain),
            secret: &self.parts.bridge_secret,
            unsubscribe: self.parts.unsubscribe.as_deref(),
        };
        let written = presence::compose(&facts);
        if written.is_none() {
            tracing::error!("PRES {}: makes no address for presence", mailing.domain);
            self.parts.presence.reported(mailing.token, &[(0, Fate::Refused)]);
        }
        let (envelope, entity) = written?;
        Some(Letter { token: mailing.token, envelope, entity, until: mailing.until })
    }

    fn work(&self, to: &Place, hop: &Arc<Hop>, letter: Letter) -> Work {
        let Letter { token, envelope, entity, until } = letter;
        let mut hasher = DefaultHasher::new();
        envelope.sender.mailbox().map(Mailbox::key).hash(&mut hasher);
        let job = Job {
            id: QueueId(token),
            size: entity.len() as u64,
            entity: Some(entity),
            recipients: (0..envelope.recipients.len()).collect(),
            envelope: Arc::new(envelope),
            expires: until,
            lane: hasher.finish(),
            gathered: Vec::new(),
        };
        Work { destination: destination(&self.parts.table.borrow(), to), hop: hop.clone(), job }
    }

    /// There is no way to the domain: what is due there comes to nothing.
    fn give_up(&mut self, to: &Place, reason: &str, fate: Fate) {
        tracing::info!("PRES {to}: {reason}");
        loop {
            let outgoing = self.parts.presence.due(&to.domain);
            if outgoing.is_empty() {
                break;
            }
            for one in outgoing {
                let fates: Vec<_> = (0..one.recipients.len()).map(|place| (place, fate)).collect();
                self.parts.presence.reported(one.token, &fates);
            }
        }
        if let Some(line) = self.lines.get_mut(to) {
            line.more = false;
        }
        self.tidy(to);
    }

    fn report(&mut self, report: &Report) {
        let Some((to, count)) = self.flights.remove(&report.id.0) else { return };
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
            tracing::info!("PRES {to}: relay={}, {count} recipients: {reason}", report.relay);
        }
        self.parts.presence.reported(report.id.0, &fates);
        let Some(line) = self.lines.get_mut(&to) else { return };
        line.in_flight = line.in_flight.saturating_sub(1);
        line.more = true;
        match deferred {
            Some(destination) => self.pause(&to, destination),
            None => {
                line.failures = 0;
                self.go(&to);
            }
        }
    }

    /// A domain is left alone for a while; longer where it is at fault itself, once more.
    fn pause(&mut self, to: &Place, its_fault: bool) {
        let now = self.parts.clock.now();
        let Some(line) = self.lines.get_mut(to) else { return };
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
        self.alarms.push(Reverse((until, to.clone())));
    }

    /// A line without work is forgotten when there are many.
    fn tidy(&mut self, to: &Place) {
        if self.lines.len() > IDLE
            && self.lines.get(to).is_some_and(|line| !line.more && line.in_flight == 0 && line.until.is_none())
        {
            self.lines.remove(to);
        }
    }
}

fn destination(table: &Table, to: &Place) -> Destination {
    if to.mail { mail_place(&to.domain) } else { place(table, &to.domain, Class::Pres) }
}

/// What goes to another domain's servers.
fn letter(outgoing: Outgoing) -> Letter {
    let Outgoing { token, sender, recipients, written, until } = outgoing;
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
    Letter { token, envelope, entity: written.entity, until }
}
