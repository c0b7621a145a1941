//! When each message is tried: pure, time passed in.
//!
//! In: arrivals, ends of attempts, answers about where a destination's servers are, signs of life. Out: [`Step`]s, one at a
//! time, until there is nothing to do before [`Schedule::wake_at`]. Invariants: a destination has at most
//! [`Options::in_flight_per_destination`] jobs under way and all have at most [`Options::in_flight`]; destinations take turns,
//! one job each, so that a long line delays nobody else's; a destination that fails is left alone, its whole line with it,
//! for the time of [`Options::retry`]; a waiting message costs its identifier and its timers, no more.
//! A destination that has taken nothing yet has at most [`Options::untried`] jobs under way: whoever accepts connections
//! and says nothing holds few places.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::deliver::Destination;
use crate::reply::EnhancedCode;
use crate::route::Hop;
use crate::spool::QueueId;
use crate::timestamp::Timestamp;

/// What the administrator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pauses after the first, second, … failure; the last repeats.
    pub retry: Vec<Duration>,
    /// Jobs under way in all.
    pub in_flight: usize,
    /// Jobs under way for one destination.
    pub in_flight_per_destination: usize,
    /// Jobs under way for a destination that has answered none since it last failed.
    pub untried: usize,
    /// Look-ups under way at once.
    pub resolving: usize,
    /// Destinations without work that are remembered.
    pub idle_destinations: usize,
}

impl Default for Options {
    fn default() -> Self {
        let secs = [5, 15, 60, 300, 900, 3600];
        Options {
            retry: secs.into_iter().map(Duration::from_secs).collect(),
            in_flight: 4096,
            in_flight_per_destination: 512,
            untried: 32,
            resolving: 64,
            idle_destinations: 10_000,
        }
    }
}

/// What is to be done now.
#[derive(Clone, Debug)]
pub enum Step {
    /// Find out where the destination's servers are; ends with [`Schedule::resolved`].
    Resolve(Destination),
    /// Try to deliver; ends with [`Schedule::ended`].
    Dispatch(Destination, QueueId, Onward),
    /// The message's time is over.
    Expire(QueueId),
    /// Time to tell the sender that it is late.
    Notice(QueueId),
    /// Nobody has fetched the message from an inbox: time to send it as a mail.
    Mail(QueueId),
}

/// How an attempt ended, as far as the schedule is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is left to do for this destination.
    Done,
    /// The destination was not asked: nothing was left to do, or the time was over, and its timer does the rest.
    Unasked,
    /// The destination is at fault; the message goes back into its line.
    Destination(String),
    /// Recipients were deferred for the `attempts`-th time, this one included.
    Recipients {
        /// Deferrals so far, of the last of them.
        attempts: u16,
        /// Their indexes.
        deferred: Vec<usize>,
    },
}

/// What there is to do with a line.
#[derive(Clone, Debug)]
pub enum Onward {
    /// These servers take it.
    Hop(Arc<Hop>),
    /// Nobody does: each message fails, with this status and for this reason.
    Nowhere(EnhancedCode, Arc<str>),
    /// Nobody does, of presence alone: as [`Onward::Nowhere`], but its people have mail, which can be told of them.
    MailOnly(EnhancedCode, Arc<str>),
}

/// What the look-up of a destination gave.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// An answer, good until then.
    Onward(Onward, Timestamp),
    /// Nobody could say; tried again later.
    Later(String),
}

#[derive(Debug)]
enum Phase {
    Unknown,
    Resolving,
    Ready(Onward, Timestamp),
    Waiting(Timestamp),
}

#[derive(Debug)]
struct Line {
    waiting: VecDeque<QueueId>,
    in_flight: usize,
    phase: Phase,
    failures: u16,
    /// It has answered for a job, and has not failed since.
    proven: bool,
    reason: Option<String>,
    in_ring: bool,
    disordered: bool,
}

impl Line {
    fn new() -> Self {
        Line {
            waiting: VecDeque::new(),
            in_flight: 0,
            phase: Phase::Unknown,
            failures: 0,
            proven: false,
            reason: None,
            in_ring: false,
            disordered: false,
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0 && !matches!(self.phase, Phase::Resolving | Phase::Waiting(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Expire(QueueId),
    Notice(QueueId),
    Mail(QueueId),
    Retry(Destination, QueueId),
    Line(Destination),
}

/// How a destination stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The destination.
    pub destination: Destination,
    /// Messages in its line, those under way not counted.
    pub waiting: usize,
    /// Jobs under way.
    pub in_flight: usize,
    /// Failures in a row.
    pub failures: u16,
    /// When it is tried again, where it is left alone.
    pub until: Option<Timestamp>,
    /// The last fault.
    pub reason: Option<String>,
}

/// The schedule.
#[derive(Debug)]
pub struct Schedule {
    options: Options,
    lines: HashMap<Destination, Line>,
    ring: VecDeque<Destination>,
    unresolved: VecDeque<Destination>,
    timers: BinaryHeap<Reverse<(Timestamp, Timer)>>,
    in_flight: usize,
    resolving: usize,
    random: u64,
}

impl Schedule {
    /// An empty schedule; `seed` is for the jitter.
    pub fn new(options: Options, seed: u64) -> Self {
        Schedule {
            options,
            lines: HashMap::new(),
            ring: VecDeque::new(),
            unresolved: VecDeque::new(),
            timers: BinaryHeap::new(),
            in_flight: 0,
            resolving: 0,
            random: seed | 1,
        }
    }

    /// Jobs under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Puts a message at the end of a destination's line.
    pub fn arrive(&mut self, destination: &Destination, id: QueueId) {
        let line = self.line(destination);
        if line.waiting.back().is_some_and(|last| *last > id) {
            line.disordered = true;
        }
        line.waiting.push_back(id);
        self.rouse(destination);
    }

    /// Asks for [`Step::Expire`] at `at`.
    pub fn expire_at(&mut self, id: QueueId, at: Timestamp) {
        self.timers.push(Reverse((at, Timer::Expire(id))));
    }

    /// Asks for [`Step::Notice`] at `at`.
    pub fn notice_at(&mut self, id: QueueId, at: Timestamp) {
        self.timers.push(Reverse((at, Timer::Notice(id))));
    }

    /// Asks for [`Step::Mail`] at `at`.
    pub fn mail_at(&mut self, id: QueueId, at: Timestamp) {
        self.timers.push(Reverse((at, Timer::Mail(id))));
    }

    /// The next thing to do, if there is one now.
    pub fn next(&mut self, now: Timestamp) -> Option<Step> {
        if let Some(step) = self.due_timer(now) {
            return Some(step);
        }
        if let Some(destination) = self.next_unresolved() {
            return Some(Step::Resolve(destination));
        }
        self.next_dispatch(now)
    }

    /// When [`Schedule::next`] has to be asked again though nothing happened.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Says where a destination's servers are.
    pub fn resolved(&mut self, destination: &Destination, resolved: Resolved, now: Timestamp) {
        self.resolving = self.resolving.saturating_sub(1);
        let line = self.line(destination);
        match resolved {
            Resolved::Onward(onward, until) => {
                line.phase = Phase::Ready(onward, until);
                if std::mem::take(&mut line.disordered) {
                    line.waiting.make_contiguous().sort_unstable();
                }
                self.rouse(destination);
                self.forget_if_idle(destination);
            }
            Resolved::Later(reason) => self.back_off(destination, reason, now),
        }
    }

    /// Says how the attempt to deliver a message ended.
    pub fn ended(&mut self, destination: &Destination, id: QueueId, ended: Ended, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let line = self.line(destination);
        line.in_flight = line.in_flight.saturating_sub(1);
        match ended {
            Ended::Done => {
                line.failures = 0;
                line.proven = true;
            }
            Ended::Unasked => {}
            Ended::Destination(reason) => {
                line.waiting.push_front(id);
                line.disordered = true;
                line.proven = false;
                if !matches!(line.phase, Phase::Waiting(_)) {
                    self.back_off(destination, reason, now);
                }
            }
            Ended::Recipients { attempts, .. } => {
                line.failures = 0;
                line.proven = true;
                let pause = self.pause(attempts.saturating_sub(1));
                self.timers.push(Reverse((now.after(pause), Timer::Retry(destination.clone(), id))));
            }
        }
        self.rouse(destination);
        self.forget_if_idle(destination);
    }

    /// Takes back a [`Step::Dispatch`] that cannot be done before `at`.
    pub fn postpone(&mut self, destination: &Destination, id: QueueId, at: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let line = self.line(destination);
        line.in_flight = line.in_flight.saturating_sub(1);
        self.timers.push(Reverse((at, Timer::Retry(destination.clone(), id))));
        self.rouse(destination);
        self.forget_if_idle(destination);
    }

    /// A message that waited by itself is in the line again.
    pub fn again(&mut self, destination: &Destination, id: QueueId) {
        let line = self.line(destination);
        line.waiting.push_front(id);
        line.disordered = true;
        self.rouse(destination);
    }

    /// A sign of life of a destination, or an administrator's wish: it is tried at once.
    pub fn wake(&mut self, destination: &Destination) {
        let Some(line) = self.lines.get_mut(destination) else { return };
        if matches!(line.phase, Phase::Waiting(_)) {
            line.phase = Phase::Unknown;
            self.rouse(destination);
        }
    }

    /// The destinations that are left alone for their failures.
    pub fn waiting_destinations(&self) -> impl Iterator<Item = &Destination> {
        self.lines
            .iter()
            .filter(|(_, line)| matches!(line.phase, Phase::Waiting(_)))
            .map(|(destination, _)| destination)
    }

    /// How every destination stands.
    pub fn standings(&self) -> Vec<Standing> {
        self.lines.iter().map(|(destination, line)| self.standing(destination, line)).collect()
    }

    /// How one destination stands.
    pub fn standing_of(&self, destination: &Destination) -> Option<Standing> {
        self.lines.get(destination).map(|line| self.standing(destination, line))
    }

    fn standing(&self, destination: &Destination, line: &Line) -> Standing {
        Standing {
            destination: destination.clone(),
            waiting: line.waiting.len(),
            in_flight: line.in_flight,
            failures: line.failures,
            until: if let Phase::Waiting(until) = line.phase { Some(until) } else { None },
            reason: line.reason.clone(),
        }
    }

    fn line(&mut self, destination: &Destination) -> &mut Line {
        self.lines.entry(destination.clone()).or_insert_with(Line::new)
    }

    /// Puts a destination that has work where the work is taken from.
    fn rouse(&mut self, destination: &Destination) {
        let Some(line) = self.lines.get_mut(destination) else { return };
        let each = self.options.in_flight_per_destination;
        let limit = if line.proven { each } else { each.min(self.options.untried) };
        if line.waiting.is_empty() {
            return;
        }
        match line.phase {
            Phase::Unknown => {
                line.phase = Phase::Resolving;
                self.unresolved.push_back(destination.clone());
            }
            Phase::Ready(..) if !line.in_ring && line.in_flight < limit => {
                line.in_ring = true;
                self.ring.push_back(destination.clone());
            }
            _ => {}
        }
    }

    fn forget_if_idle(&mut self, destination: &Destination) {
        if self.lines.len() <= self.options.idle_destinations {
            return;
        }
        if self.lines.get(destination).is_some_and(|line| line.is_idle() && !line.in_ring) {
            self.lines.remove(destination);
        }
    }

    fn back_off(&mut self, destination: &Destination, reason: String, now: Timestamp) {
        let failures = self.line(destination).failures;
        let until = now.after(self.pause(failures));
        let line = self.line(destination);
        line.failures = failures.saturating_add(1);
        line.reason = Some(reason);
        line.phase = Phase::Waiting(until);
        self.timers.push(Reverse((until, Timer::Line(destination.clone()))));
    }

    /// The pause after `failures` earlier failures, with up to a tenth of jitter.
    fn pause(&mut self, failures: u16) -> Duration {
        let retry = &self.options.retry;
        let pause = retry.get(usize::from(failures)).or(retry.last()).copied().unwrap_or(Duration::from_secs(60));
        // xorshift64: spreads retries, decides nothing else.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        pause + pause / 10 * u32::try_from(self.random % 1024).unwrap_or(0) / 1024
    }

    fn due_timer(&mut self, now: Timestamp) -> Option<Step> {
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, timer))) = self.timers.pop() else { break };
            match timer {
                Timer::Expire(id) => return Some(Step::Expire(id)),
                Timer::Notice(id) => return Some(Step::Notice(id)),
                Timer::Mail(id) => return Some(Step::Mail(id)),
                Timer::Retry(destination, id) => {
                    self.again(&destination, id);
                }
                Timer::Line(destination) => {
                    let due = |line: &Line| matches!(line.phase, Phase::Waiting(until) if until <= now);
                    if self.lines.get(&destination).is_some_and(due) {
                        self.line(&destination).phase = Phase::Unknown;
                        self.rouse(&destination);
                        self.forget_if_idle(&destination);
                    }
                }
            }
        }
        None
    }

    fn next_unresolved(&mut self) -> Option<Destination> {
        if self.resolving >= self.options.resolving {
            return None;
        }
        let destination = self.unresolved.pop_front()?;
        self.resolving += 1;
        Some(destination)
    }

    fn next_dispatch(&mut self, now: Timestamp) -> Option<Step> {
        while self.in_flight < self.options.in_flight {
            let destination = self.ring.pop_front()?;
            let Some(line) = self.lines.get_mut(&destination) else { continue };
            line.in_ring = false;
            let Phase::Ready(onward, until) = &line.phase else { continue };
            if *until <= now {
                line.phase = Phase::Unknown;
                self.rouse(&destination);
                match self.next_unresolved() {
                    Some(destination) => return Some(Step::Resolve(destination)),
                    None => continue,
                }
            }
            let onward = onward.clone();
            let Some(id) = line.waiting.pop_front() else { continue };
            line.in_flight += 1;
            self.in_flight += 1;
            self.rouse(&destination);
            return Some(Step::Dispatch(destination, id, onward));
        }
        None
    }
}

#[cfg(test)]
mod tests;
