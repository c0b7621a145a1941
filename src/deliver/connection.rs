//! One connection at work: it takes jobs from its pool while the session has room, sends them, and reports.
//!
//! Invariant: every job that it took is reported once, or put back into the pool unsent.

use std::collections::{HashSet, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::Connected;
use super::mail;
use super::outcome::{self, Acceptance};
use super::peers::Context;
use super::pool::{BATCH, Finished, Item, Order, Start};
use super::wire::Wire;
use super::{Job, Outcome, Report, Scope};
use crate::envelope::Envelope;
use crate::reply::{EnhancedCode, Reply};
use crate::route::Hop;
use crate::smtp::client::{Event, Fate, Fault, Transaction};
use crate::smtp::extension::Extension;
use crate::timestamp::Timestamp;

/// How long a connection takes new jobs: a changed record, certificate or route counts in the end for busy hops too.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long a report may wait for more while the connection is busy: the queue is woken, and the spool written to, once for
/// all of them.
const GATHER: Duration = Duration::from_millis(2);
/// Reports that wait at most.
const GATHERED: usize = 64;

/// A job under way.
#[derive(Debug)]
struct Flying {
    job: Job,
    bulk: bool,
    /// Recipients, all of which need an outcome.
    expected: usize,
    outcomes: Vec<(usize, Outcome)>,
    started: Instant,
    connecting: Duration,
}

/// A transaction that is to be submitted.
#[derive(Debug)]
struct Pending {
    token: usize,
    recipients: Vec<usize>,
}

pub(super) struct Connection {
    context: Arc<Context>,
    start: Start,
    wire: Wire,
    relay: String,
    target: Option<crate::route::Target>,
    accepts: Acceptance,
    connecting: Duration,
    taken: VecDeque<Item>,
    pending: VecDeque<Pending>,
    flying: Vec<Option<Flying>>,
    free: Vec<usize>,
    finished: Vec<Finished>,
    /// Reports that wait for more, and since when.
    reports: Vec<Report>,
    gathering: Instant,
    /// Jobs that were not sent, and go by another connection.
    back: VecDeque<Item>,
    /// Lanes of which a job was lost: nothing that follows it may overtake it.
    doubtful: HashSet<u64>,
    /// Whether the hop has answered a transaction on this connection.
    progressed: bool,
    over: Option<Option<Fault>>,
    born: Instant,
}

impl Connection {
    pub fn new(context: Arc<Context>, start: Start, connected: Connected) -> Self {
        let accepts = mail::accepts(&start.hop);
        Connection {
            context,
            start,
            wire: connected.wire,
            relay: connected.relay,
            target: connected.target,
            accepts,
            connecting: connected.took,
            taken: VecDeque::new(),
            pending: VecDeque::new(),
            flying: Vec::new(),
            free: Vec::new(),
            finished: Vec::new(),
            reports: Vec::new(),
            gathering: Instant::now(),
            back: VecDeque::new(),
            doubtful: HashSet::new(),
            progressed: false,
            over: None,
            born: Instant::now(),
        }
    }

    /// Serves until the connection ends, and closes it. Whoever calls says to the pools that it is closed.
    pub async fn serve(mut self) {
        let depth = self.wire.session.depth();
        self.context.with(|pools, starts| pools.ready(&self.start.destination, self.start.id, depth, starts));
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut idle_since = Instant::now();
        loop {
            self.take_events();
            let (order, full) = self.turn();
            self.submit().await;
            self.take_events();
            if self.over.is_none() && order == Order::Abort {
                self.wire.session.lost(Fault::Disconnected("this relay is shutting down".to_owned()));
                self.take_events();
            }
            if self.over.is_some() {
                break;
            }
            if full && self.room() > 0 {
                continue;
            }
            if !self.is_idle() {
                idle_since = Instant::now();
            } else if !self.finished.is_empty() {
                // The pool hears of it at once, and may have more.
                continue;
            }
            let over = order == Order::Retire || idle_since.elapsed() >= self.context.options.idle;
            // What it has taken and can no longer send goes by another connection.
            if self.wire.session.is_idle() && self.is_spent() {
                break;
            }
            if self.is_idle() && over {
                if self.part() {
                    break;
                }
                // There is work, if none that it can begin now.
                idle_since = Instant::now();
            }
            if self.is_due() {
                self.tell();
            }
            self.wait(timer.as_mut(), idle_since).await;
        }
        self.leave();
        self.tell();
        self.wire.close().await;
    }

    fn is_idle(&self) -> bool {
        self.wire.session.is_idle() && self.pending.is_empty() && self.flying.len() == self.free.len()
    }

    fn room(&self) -> usize {
        if self.is_spent() { 0 } else { self.wire.session.room().saturating_sub(self.pending.len()) }
    }

    /// Whether it takes no more jobs, by the hop's limits or by its age.
    fn is_spent(&self) -> bool {
        self.wire.session.is_exhausted() || self.born.elapsed() >= LIFETIME
    }

    /// Says what is finished, and takes what there is room for; true when there may be more.
    fn turn(&mut self) -> (Order, bool) {
        let (room, idle) = (self.room(), self.is_idle());
        let me = (&self.start.destination, self.start.id);
        let order =
            self.context.with(|pools, starts| pools.turn(me, &mut self.finished, room, idle, &mut self.taken, starts));
        let full = self.taken.len() >= BATCH;
        let now = Instant::now();
        while let Some(Item { mut job, bulk }) = self.taken.pop_front() {
            let recipients = std::mem::take(&mut job.recipients);
            let (expected, outcomes) = (recipients.len(), Vec::new());
            let flying = Flying { job, bulk, expected, outcomes, started: now, connecting: self.connecting };
            let token = match self.free.pop() {
                Some(token) => token,
                None => {
                    self.flying.push(None);
                    self.flying.len() - 1
                }
            };
            self.flying[token] = Some(flying);
            self.pending.push_back(Pending { token, recipients });
        }
        // Only those that waited for the connection have spent time on it.
        self.connecting = Duration::ZERO;
        (order, full)
    }

    /// Hands transactions to the session while it wants them. Entities are read now and not before.
    async fn submit(&mut self) {
        while self.wire.session.wants() {
            let Some(Pending { token, mut recipients }) = self.pending.pop_front() else { return };
            if matches!(*self.start.hop, Hop::Mail(_)) && recipients.len() > 1 {
                // What the mail system reports comes to an address that is of one recipient alone.
                let rest = recipients.split_off(1);
                self.pending.push_front(Pending { token, recipients: rest });
            }
            let Some(flying) = &self.flying[token] else { continue };
            let wall = self.context.clock.now();
            if flying.job.expires <= wall {
                self.settle(token, recipients, expired());
                continue;
            }
            if let Some(entity) = flying.job.entity.clone() {
                self.offer(token, recipients, entity, wall);
                continue;
            }
            let id = flying.job.id;
            // A hop without IMPP would not know a second copy, as the sender makes one after a crash.
            let all = flying.job.messages();
            if !self.wire.session.offer().has(Extension::Impp) && !mail::are_durable(&self.context.spool, all).await {
                self.settle(token, recipients, not_there("the spool could not keep it"));
                continue;
            }
            if let (Hop::Mail(hop), [_, ..]) = (&*self.start.hop, &flying.job.gathered[..]) {
                let eight_bit = self.wire.session.offer().has(Extension::EightBitMime);
                match mail::gather(&self.context, hop, &flying.job, &recipients, eight_bit).await {
                    Ok(mail) => self.send(token, recipients, Arc::new(mail.envelope), mail.entity, wall),
                    Err(outcome) => self.settle(token, recipients, outcome),
                }
                continue;
            }
            match self.context.spool.entity(id).await {
                Ok(Some(entity)) => self.offer(token, recipients, entity, wall),
                Ok(None) => self.settle(token, recipients, not_there("it is no longer in the spool")),
                Err(error) => self.settle(token, recipients, not_there(&error.to_string())),
            }
        }
    }

    fn offer(&mut self, token: usize, recipients: Vec<usize>, entity: Bytes, wall: Timestamp) {
        let Some(flying) = &self.flying[token] else { return };
        let (mut envelope, mut entity) = (flying.job.envelope.clone(), entity);
        if let Hop::Mail(hop) = &*self.start.hop {
            let eight_bit = self.wire.session.offer().has(Extension::EightBitMime);
            match mail::compose(&self.context.options, hop, (&flying.job, &recipients), &entity, eight_bit) {
                Ok(mail) => (envelope, entity) = (Arc::new(mail.envelope), mail.entity),
                Err(outcome) => return self.settle(token, recipients, outcome),
            }
        }
        self.send(token, recipients, envelope, entity, wall);
    }

    fn send(&mut self, token: usize, recipients: Vec<usize>, envelope: Arc<Envelope>, entity: Bytes, wall: Timestamp) {
        let message = Transaction { token: token as u64, envelope, recipients, entity };
        self.wire.session.submit(message, wall, Instant::now().into_std());
    }

    /// The same outcome for all these recipients.
    fn settle(&mut self, token: usize, recipients: Vec<usize>, outcome: Outcome) {
        let Some(flying) = &mut self.flying[token] else { return };
        flying.outcomes.extend(recipients.into_iter().map(|index| (index, outcome.clone())));
        self.finish(token);
    }

    fn take_events(&mut self) {
        while let Some(event) = self.wire.session.poll() {
            match event {
                Event::Done { token, fates } => self.done(token as usize, fates),
                Event::Over(fault) => self.over = Some(fault),
                Event::StartTls | Event::Ready | Event::Turned => {}
            }
        }
    }

    fn done(&mut self, token: usize, fates: Vec<(usize, Fate)>) {
        let Some(flying) = self.flying.get_mut(token).and_then(Option::as_mut) else { return };
        let answered = fates.iter().any(|(_, fate)| !matches!(fate, Fate::Lost { .. }));
        self.progressed |= answered;
        let unsent = fates.iter().all(|(_, fate)| *fate == Fate::Lost { uncertain: false });
        if unsent && self.progressed && fates.len() == flying.expected && !self.doubtful.contains(&flying.job.lane) {
            return self.put_back(token, fates.into_iter().map(|(index, _)| index).collect());
        }
        // 452 for some beside others that were answered otherwise: too many at once (RFC 5321 §4.5.3.1.10).
        let again = answered && fates.iter().any(|(_, fate)| !is_too_many(fate));
        let mut later = Vec::new();
        for (index, fate) in fates {
            if again && is_too_many(&fate) {
                later.push(index);
                continue;
            }
            if let Fate::Lost { uncertain } = fate {
                self.doubtful.insert(flying.job.lane);
                if let Some(target) = self.target.clone().filter(|_| uncertain) {
                    self.context.with(|pools, _| pools.remember(&self.start.destination, target));
                }
            }
            flying.outcomes.push((index, outcome::of(fate, self.accepts, &self.relay, self.wire.session.fault())));
        }
        if !later.is_empty() {
            self.pending.push_front(Pending { token, recipients: later });
        }
        self.finish(token);
    }

    fn put_back(&mut self, token: usize, recipients: Vec<usize>) {
        if let Some(Flying { mut job, bulk, .. }) = self.flying.get_mut(token).and_then(Option::take) {
            self.free.push(token);
            job.recipients = recipients;
            self.back.push_back(Item { job, bulk });
        }
    }

    /// Reports a job all of whose recipients have an outcome.
    fn finish(&mut self, token: usize) {
        let complete = |flying: &mut Flying| flying.outcomes.len() == flying.expected;
        let Some(flying) = self.flying.get_mut(token).and_then(|slot| slot.take_if(complete)) else { return };
        self.free.push(token);
        self.finished.push(Finished { lane: flying.job.lane, bulk: flying.bulk });
        if self.reports.is_empty() {
            self.gathering = Instant::now();
        }
        self.reports.push(Report {
            id: flying.job.id,
            destination: self.start.destination.clone(),
            relay: self.relay.clone(),
            outcomes: flying.outcomes,
            connecting: flying.connecting,
            transmitting: flying.started.elapsed(),
            device: None,
        });
    }

    /// Whether the reports go now: no more will be there soon.
    fn is_due(&self) -> bool {
        self.is_idle() || self.reports.len() >= GATHERED || self.gathering.elapsed() >= GATHER
    }

    fn tell(&mut self) {
        self.reports.drain(..).for_each(|report| self.context.report(report));
    }

    /// Until something comes from the hop, the pool rings, or a deadline passes.
    async fn wait(&mut self, mut timer: Pin<&mut Sleep>, idle_since: Instant) {
        let idle = idle_since + self.context.options.idle;
        let due = self.wire.session.deadline().map_or(idle, Instant::from_std);
        let due = if self.reports.is_empty() { due } else { due.min(self.gathering + GATHER) };
        // A timer that rings too early costs less than one that is set anew for each message.
        if timer.deadline() > due || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        tokio::select! {
            biased;
            () = self.wire.move_octets() => {}
            () = self.start.wake.notified() => {}
            () = timer => {
                if self.wire.session.deadline().is_some_and(|at| Instant::from_std(at) <= Instant::now()) {
                    self.wire.session.timed_out();
                }
            }
        }
    }

    fn part(&mut self) -> bool {
        self.context.with(|pools, _| pools.part(&self.start.destination, self.start.id))
    }

    /// After the end of the session: what it had not sent goes back, or is reported where that would not be right.
    fn leave(&mut self) {
        let fault = self.over.clone().flatten();
        for Pending { token, recipients } in std::mem::take(&mut self.pending) {
            let Some(flying) = &self.flying[token] else { continue };
            let whole = recipients.len() == flying.expected;
            if whole && self.progressed && !self.doubtful.contains(&flying.job.lane) {
                self.put_back(token, recipients);
            } else {
                self.doubtful.insert(flying.job.lane);
                self.settle(
                    token,
                    recipients,
                    outcome::of(Fate::Lost { uncertain: false }, self.accepts, &self.relay, fault.as_ref()),
                );
            }
        }
        let (start, back) = (&self.start, std::mem::take(&mut self.back));
        let doubtful = |lane: u64| !self.progressed || self.doubtful.contains(&lane);
        let finished = &mut self.finished;
        // The next connection would fare no better: what waits is not offered again at once, as after a failed connect.
        let fruitless = !self.progressed && (fault.is_some() || self.wire.session.is_exhausted());
        let lost = self.context.with(|pools, _| {
            let bulk = pools.is_bulk(&start.destination, start.id);
            let mut lost = pools.leave(&start.destination, start.id, finished, back, doubtful);
            if fruitless {
                lost.extend(pools.give_up(&start.destination, bulk));
            }
            lost
        });
        let outcome = outcome::of(Fate::Lost { uncertain: false }, self.accepts, &self.relay, fault.as_ref());
        for item in lost {
            self.context.report_unsent(&start.destination, item.job, &self.relay, &outcome);
        }
    }
}

/// Whether a recipient was refused only because there were too many before it.
fn is_too_many(fate: &Fate) -> bool {
    let is = |reply: &Reply| {
        reply.code() == 452 && reply.enhanced().is_none_or(|status| (status.subject, status.detail) == (5, 3))
    };
    matches!(fate, Fate::Refused { reply } if is(reply))
}

/// The time of the job was over before it could be sent.
pub(super) fn expired() -> Outcome {
    Outcome::Deferred {
        scope: Scope::Recipient,
        reply: None,
        status: EnhancedCode::new(4, 4, 7),
        reason: "its time was over before the next hop could take it".to_owned(),
        uncertain: false,
    }
}

pub(super) fn not_there(reason: &str) -> Outcome {
    Outcome::Deferred {
        scope: Scope::Recipient,
        reply: None,
        status: EnhancedCode::new(4, 3, 0),
        reason: format!("the message could not be read: {reason}"),
        uncertain: false,
    }
}
