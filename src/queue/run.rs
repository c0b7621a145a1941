//! The loop that gives the schedule its facts and does what it says.
//!
//! In: arrivals from the spool, reports of deliveries, signs of life, commands. Out: work for `deliver`, settlements for the
//! spool. Invariant: a message that is under way for a destination is in [`Run::flights`] until its settlement is written,
//! so it is never offered twice at once, and what is under way is bounded together with what waits for the disk.

mod fallback;
mod parts;

pub use parts::{Command, Options, Parts};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::accounts::{Accounts, Found};
use crate::address::{Domain, Mailbox};
use crate::attached::Concluded;
use crate::clock::Clock;
use crate::deliver::{Deliver, Destination, DeviceAnswer, Job, Outcome, Report, Work};
use crate::envelope::{ByMode, Class};
use crate::queue::complete::{Completer, Completion};
use crate::queue::conclude::{self, Conclusion};
use crate::queue::counters::{Counters, Fate, Group};
use crate::queue::inboxes::Inboxes;
use crate::queue::lanes::{self, Lanes, Thread};
use crate::queue::log;
use crate::queue::look_up::{self, MAILBOXES, goes_to, kept, place, place_of};
use crate::queue::schedule::{Ended, Onward, Resolved, Schedule, Step};
use crate::reply::EnhancedCode;
use crate::route::Table;
use crate::rules::{Handling, Provide};
use crate::spool::{Disposition, Origin, QueueId, Record, Spool, State};
use crate::timestamp::Timestamp;

/// Records kept in memory with their entries; later ones are read again when their turn comes.
const RECORDS_AT_HAND: usize = 10_000;
/// Records read at once when the daemon starts.
const PAGE: usize = 5_000;
/// Messages that are remembered as unanswered.
const UNCERTAIN: usize = 100_000;
/// How often it is looked whether everything is finished, once the queue is to end.
const ENDING_POLL: Duration = Duration::from_millis(50);
/// How long an expiry waits for an attempt that is under way.
const UNDER_WAY_PAUSE: Duration = Duration::from_secs(10);

enum Event {
    Restored(Vec<Arc<Record>>, oneshot::Sender<()>),
    AllRestored,
    /// It is written that the inboxes of these recipients have the message.
    Taken(Arc<Record>, Vec<usize>),
    Resolved(Destination, Resolved),
    Ended(Destination, QueueId, Ended),
    /// These messages become one mail with the first.
    Gathered(QueueId, Vec<QueueId>),
    /// It is written what became of a message that was in the mail of another.
    Stored(QueueId),
}

struct Flight {
    record: Arc<Record>,
    group: Group,
    threads: Box<[Thread]>,
    started: Timestamp,
    /// Messages that become one mail with it, each for one recipient.
    others: Vec<(Arc<Record>, usize)>,
}

struct Run {
    schedule: Schedule,
    flights: HashMap<(QueueId, Destination), Flight>,
    lanes: Lanes,
    /// Messages whose body went to a hop that never answered; a failure says so (RFC 1047). Forgotten by a restart.
    uncertain: HashSet<QueueId>,
    /// Records of new messages, each with the lines that will ask for it. One that is changed is put away for all of them,
    /// and read again from the spool.
    at_hand: HashMap<QueueId, (Arc<Record>, usize)>,
    completer: Completer,
    events: UnboundedSender<Event>,
    options: Options,
    spool: Spool,
    deliver: Arc<dyn Deliver>,
    inboxes: Inboxes,
    look_up: look_up::LookUp,
    accounts: watch::Receiver<Arc<Accounts>>,
    table: watch::Receiver<Arc<Table>>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    started: Timestamp,
    /// Messages that wait for the mail store, each with those that become one mail with it.
    gathers: HashMap<QueueId, Vec<QueueId>>,
    /// Messages that are on their way to the mail store in the mail of another.
    members: HashSet<QueueId>,
    /// Messages that are in the mail store's line, or have been taken from it for an attempt: each once.
    lined: HashSet<QueueId>,
}

/// Runs the queue until `stop` is true and what was under way has been reported, or the grace is over.
pub async fn run(parts: Parts, options: Options, mut stop: watch::Receiver<bool>, grace: Duration) {
    let (events, mut happened) = unbounded_channel();
    let Parts {
        spool,
        mut arrivals,
        mut withdrawn,
        first_new,
        deliver,
        mut reports,
        look_up,
        accounts,
        table,
        clock,
        counters,
        ..
    } = parts;
    let (mut life, mut commands) = (parts.life, parts.commands);
    tokio::spawn(restore(spool.clone(), first_new, events.clone()));
    let seed = u64::try_from(clock.now().millis()).unwrap_or(1);
    let mut run = Run {
        schedule: Schedule::new(options.schedule.clone(), seed),
        flights: HashMap::new(),
        lanes: Lanes::default(),
        uncertain: HashSet::new(),
        at_hand: HashMap::new(),
        completer: Completer::new(spool.clone(), options.host.clone(), accounts.clone(), clock.clone()),
        events,
        options,
        spool,
        deliver,
        inboxes: Inboxes::new(parts.attached),
        look_up,
        accounts,
        table,
        started: clock.now(),
        gathers: HashMap::new(),
        members: HashSet::new(),
        lined: HashSet::new(),
        clock,
        counters,
    };
    let (mut arrived, mut reported, mut done) = (Vec::new(), Vec::new(), Vec::new());
    let mut deadline = None;
    loop {
        if deadline.is_none() {
            run.work();
        } else if run.flights.is_empty() && run.inboxes.is_quiet() {
            return;
        }
        let wake = run.until_wake(deadline);
        tokio::select! {
            count = arrivals.recv_many(&mut arrived, 512) => {
                if count == 0 { return }
                arrived.drain(..).for_each(|record| run.arrive(&record, true));
            }
            Some(record) = withdrawn.recv() => run.take_back(&record, &mut arrivals),
            _ = reports.recv_many(&mut reported, 512) => reported.drain(..).for_each(|report| run.report(&report)),
            _ = happened.recv_many(&mut done, 512) => done.drain(..).for_each(|event| run.happened(event)),
            Some(domain) = life.recv() => run.shows_life(&domain),
            Some(command) = commands.recv() => run.command(command),
            () = tokio::time::sleep(wake) => if deadline.is_some_and(|at| at <= tokio::time::Instant::now()) { return },
            () = async { let _ = stop.wait_for(|stop| *stop).await; }, if deadline.is_none() => {
                deadline = Some(tokio::time::Instant::now() + grace);
            }
        }
    }
}

/// Hands what was in the spool at the start to the loop, a page at a time.
async fn restore(spool: Spool, first_new: QueueId, events: UnboundedSender<Event>) {
    let mut from = QueueId(0);
    loop {
        let reader = spool.clone();
        let page = tokio::task::spawn_blocking(move || reader.page(from, PAGE)).await;
        let records: Vec<Arc<Record>> = match page {
            Ok(Ok(records)) => records.into_iter().take_while(|record| record.id < first_new).map(Arc::new).collect(),
            Ok(Err(fault)) => {
                tracing::error!("the spool cannot be read, tried again in a minute: {fault}");
                tokio::time::sleep(Duration::from_secs(60)).await;
                continue;
            }
            Err(_) => return,
        };
        let Some(last) = records.last().map(|record| record.id) else {
            let _ = events.send(Event::AllRestored);
            return;
        };
        from = QueueId(last.0 + 1);
        let (taken, wait) = oneshot::channel();
        if events.send(Event::Restored(records, taken)).is_err() || wait.await.is_err() {
            return;
        }
    }
}

impl Run {
    fn until_wake(&self, deadline: Option<tokio::time::Instant>) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        if let Some(deadline) = deadline {
            return deadline.saturating_duration_since(tokio::time::Instant::now()).min(ENDING_POLL);
        }
        let wake = self.schedule.wake_at().map_or(LONGEST, |at| at.since(self.clock.now()));
        wake.clamp(Duration::from_millis(1), LONGEST)
    }

    /// Does all that is to be done now.
    fn work(&mut self) {
        let now = self.clock.now();
        while let Some(step) = self.schedule.next(now) {
            match step {
                Step::Resolve(destination) => self.resolve(destination),
                Step::Dispatch(destination, id, onward) => self.dispatch(destination, id, onward, now),
                Step::Expire(id) => self.expire(id, now),
                Step::Notice(id) => self.notice(id),
                Step::Mail(id) => self.fall_back(id),
            }
        }
    }

    /// A message that is in the spool: set its timers, put it into the lines that its recipients need.
    fn arrive(&mut self, record: &Arc<Record>, new: bool) {
        if record.held {
            return;
        }
        let id = record.id;
        self.schedule.expire_at(id, record.expires);
        let by = record.envelope.deliver_by.filter(|by| by.mode == ByMode::Notify);
        let notice = record.arrived.after(self.options.delay_notice);
        let notice = by.map_or(notice, |by| by.at.min(notice));
        if notice < record.expires && record.open().next().is_some() {
            self.schedule.notice_at(id, notice);
        }
        let (mut inboxes, mut strangers) = (Vec::new(), Vec::new());
        let mut destinations: Vec<Destination> = Vec::new();
        for index in record.open() {
            let address = &record.envelope.recipients[index].address;
            match self.accounts.borrow().find(address, record.envelope.class) {
                Found::Inbox | Found::Elsewhere => inboxes.push(index),
                Found::NoInbox | Found::NotOffered => strangers.push(index),
                Found::Foreign => {
                    let destination = place_of(&self.table.borrow(), address.domain(), &record.envelope);
                    if !destinations.contains(&destination) {
                        destinations.push(destination);
                    }
                }
            }
        }
        if new && !destinations.is_empty() && self.at_hand.len() < RECORDS_AT_HAND {
            self.at_hand.insert(id, (record.clone(), destinations.len()));
        }
        destinations.iter().for_each(|destination| self.schedule.arrive(destination, id));
        self.plan_fallback(record, &mut inboxes);
        self.take_in(record, inboxes);
        self.offer(record, &record.owed().collect::<Vec<_>>());
        if !strangers.is_empty() {
            let conclusion =
                conclude::failure(record, &strangers, EnhancedCode::new(5, 1, 1), "there is no such inbox here");
            self.failed(record, &conclusion, self.clock.now());
            self.complete(record, conclusion, None);
        }
    }

    /// Recipients failed without an attempt.
    fn failed(&self, record: &Record, conclusion: &Conclusion, now: Timestamp) {
        log::failed(record, conclusion, now);
        let failed = conclusion.states.iter().filter(|(_, state)| matches!(state, State::Closed(Disposition::Failed)));
        failed.for_each(|_| self.counters.count(record.envelope.class, Group::Nowhere, Fate::Failed));
    }

    /// A message that the spool could not keep: whoever is to have it does not wait for it. Its sender was refused.
    fn take_back(&mut self, record: &Record, arrivals: &mut UnboundedReceiver<Arc<Record>>) {
        // It has arrived before.
        while let Ok(arrived) = arrivals.try_recv() {
            self.arrive(&arrived, true);
        }
        let recipients: Vec<Mailbox> = record.envelope.recipients.iter().map(|to| to.address.clone()).collect();
        self.inboxes.gone(record.id, &recipients);
    }

    /// A message for inboxes here: first what its sender is told of that is written, then it is offered.
    fn take_in(&mut self, record: &Arc<Record>, mut indexes: Vec<usize>) {
        let told: Vec<usize> = indexes.iter().copied().filter(|index| !self.sees(record, *index)).collect();
        let conclusion = conclude::inbox(record, &told);
        let told: Vec<usize> = conclusion.states.iter().map(|(index, _)| *index).collect();
        indexes.retain(|index| !told.contains(index));
        self.offer(record, &indexes);
        if !told.is_empty() {
            let (events, taken) = (self.events.clone(), record.clone());
            self.write(record, conclusion, move || {
                let _ = events.send(Event::Taken(taken, told));
            });
        }
    }

    /// Whether the sender may see whether this recipient is there anyway: only then may a receipt tell when a device has it.
    fn sees(&self, record: &Record, index: usize) -> bool {
        let known = matches!(record.origin, Origin::Client { .. } | Origin::Peer { proven: Some(_) });
        let recipient = &record.envelope.recipients[index];
        let Some(sender) = record.envelope.sender.mailbox().filter(|_| known && recipient.notify().success) else {
            return false;
        };
        let (accounts, now) = (self.accounts.borrow(), self.clock.now());
        // Where there are no rules nobody has been let in by name.
        let decision = accounts.watches(&recipient.address, Some(sender), now.into(), Handling::Confirm);
        decision.subscription == Handling::Allow && decision.provide == Provide::everything()
    }

    fn offer(&self, record: &Arc<Record>, indexes: &[usize]) {
        let strangers = self.inboxes.offer(record, indexes);
        if !strangers.is_empty() {
            self.write(record, Conclusion::had(strangers), || ());
        }
    }

    /// Has a conclusion written, and calls `written` when it is.
    fn write(&self, record: &Arc<Record>, conclusion: Conclusion, written: impl FnOnce() + Send + 'static) {
        let Conclusion { states, had, about, expires, .. } = conclusion;
        self.completer.complete(Completion { record: record.clone(), states, had, about, expires }, written);
    }

    fn resolve(&self, destination: Destination) {
        let (look_up, events, clock) = (self.look_up.clone(), self.events.clone(), self.clock.clone());
        let table = self.table.borrow().clone();
        tokio::spawn(async move {
            let resolved = look_up.resolve(&table, &destination, clock.as_ref()).await;
            let _ = events.send(Event::Resolved(destination, resolved));
        });
    }

    fn dispatch(&mut self, destination: Destination, id: QueueId, onward: Onward, now: Timestamp) {
        let at_hand = self.take_at_hand(id);
        let key = (id, destination);
        let destination = key.1.clone();
        if self.flights.contains_key(&key) {
            return self.schedule.ended(&destination, id, Ended::Unasked, now);
        }
        let record = at_hand.or_else(|| self.current(id));
        let Some(record) = record.filter(|record| !record.held) else {
            return self.unasked(&destination, id, now);
        };
        let to_store = *destination == *MAILBOXES;
        let mut recipients = match to_store {
            true => self.recipients_for_store(&record, now),
            false => self.recipients_for(&record, &destination),
        };
        let threads = lanes::threads(&destination, &record.envelope, &recipients);
        let lane = match self.lanes.enter(id, &threads, now) {
            Ok(lane) => lane,
            Err(until) => return self.schedule.postpone(&destination, id, until),
        };
        if to_store {
            recipients = self.take_away(&record, recipients, now);
        }
        if recipients.is_empty() {
            self.lanes.leave(&threads);
            return self.unasked(&destination, id, now);
        }
        match onward {
            Onward::Hop(hop) => {
                let (envelope, size, expires) = (record.envelope.clone(), record.size, record.expires);
                let (gathered, others) = self.with_it(&record, &key.1, &recipients);
                let job = Job { id, entity: None, envelope, recipients, size, expires, lane, gathered };
                let group = Group::through(&destination, &hop);
                self.flights.insert(key, Flight { record, group, threads, started: now, others });
                self.deliver.send(Work { destination, hop, job });
            }
            Onward::Nowhere(status, reason) | Onward::MailOnly(status, reason) => {
                let conclusion = conclude::failure(&record, &recipients, status, &reason);
                self.failed(&record, &conclusion, now);
                let (group, others) = (Group::Nowhere, Vec::new());
                self.flights.insert(key, Flight { record: record.clone(), group, threads, started: now, others });
                self.complete(&record, conclusion, Some(destination));
            }
        }
    }

    /// Nothing is to be done for a message that the schedule gave out.
    fn unasked(&mut self, destination: &Destination, id: QueueId, now: Timestamp) {
        self.gathers.remove(&id);
        self.leaves_line(destination, id, &Ended::Unasked);
        self.schedule.ended(destination, id, Ended::Unasked, now);
    }

    /// The record of a new message, for one of the lines that it is in.
    fn take_at_hand(&mut self, id: QueueId) -> Option<Arc<Record>> {
        let (record, lines) = self.at_hand.get_mut(&id)?;
        *lines -= 1;
        let (record, last) = (record.clone(), *lines == 0);
        if last {
            self.at_hand.remove(&id);
        }
        Some(record)
    }

    /// The record as it is now; `None` when the message is gone or cannot be read.
    fn current(&self, id: QueueId) -> Option<Arc<Record>> {
        match self.spool.record(id) {
            Ok(record) => record.map(Arc::new),
            Err(fault) => {
                tracing::error!("{id}: its record cannot be read: {fault}");
                None
            }
        }
    }

    fn recipients_for(&self, record: &Record, destination: &Destination) -> Vec<usize> {
        let (accounts, table) = (self.accounts.borrow(), self.table.borrow());
        let class = record.envelope.class;
        let goes_there = |index: &usize| {
            let address = &record.envelope.recipients[*index].address;
            accounts.find(address, class) == Found::Foreign
                && goes_to(&table, address.domain(), &record.envelope, destination)
        };
        record.open().filter(goes_there).collect()
    }

    fn report(&mut self, report: &Report) {
        if let Some(answer) = &report.device {
            return self.answered(report, answer);
        }
        let key = (report.id, report.destination.clone());
        let Some(flight) = self.flights.get(&key) else { return };
        let (record, group, started) = (flight.record.clone(), flight.group, flight.started);
        self.counters.report(record.envelope.class, group, &report.outcomes);
        let unanswered = |(_, outcome): &(usize, Outcome)| matches!(outcome, Outcome::Deferred { uncertain: true, .. });
        if report.outcomes.iter().any(unanswered) && self.uncertain.len() < UNCERTAIN {
            self.uncertain.insert(report.id);
        }
        log::attempt(&record, report, group, started, self.clock.now());
        let mut conclusion = conclude::attempt(&record, report);
        if *key.1 == *MAILBOXES {
            conclusion = self.stored(&record, report);
            self.stored_with_it(&key, report, started);
        }
        self.complete(&record, conclusion, Some(key.1));
    }

    /// A device has said something of a message.
    fn answered(&self, report: &Report, answer: &DeviceAnswer) {
        let DeviceAnswer { record, item, concluded } = answer;
        let now = self.clock.now();
        if matches!(concluded, Concluded::Had(had) if !had.completes) {
            log::copy(record, report);
        } else {
            log::attempt(record, report, Group::Device, now.before(report.transmitting), now);
            self.counters.report(record.envelope.class, Group::Device, &report.outcomes);
        }
        let Some((index, outcome)) = report.outcomes.first() else { return };
        if *concluded != Concluded::Nothing {
            let conclusion = conclude::device(record, *index, outcome, concluded);
            let (inboxes, settled, item) = (self.inboxes.clone(), record.clone(), *item);
            self.write(record, conclusion, move || inboxes.settled(&settled, item));
        }
    }

    /// Has a conclusion written; its flight, if it is one, ends when it is.
    fn complete(&mut self, record: &Arc<Record>, conclusion: Conclusion, flight: Option<Destination>) {
        let (id, ended) = (record.id, conclusion.ended.clone());
        if conclusion.states.is_empty() {
            if let Some(destination) = flight {
                self.happened(Event::Ended(destination, id, ended));
            }
            return;
        }
        let events = self.events.clone();
        self.write(record, conclusion, move || {
            if let Some(destination) = flight {
                let _ = events.send(Event::Ended(destination, id, ended));
            }
        });
    }

    /// An attempt is over, and what it came to is written.
    fn landed(&mut self, destination: &Destination, flight: &Flight, id: QueueId, ended: &Ended, now: Timestamp) {
        if flight.record.expires <= now {
            // Its expiry has waited for this.
            self.schedule.expire_at(id, now);
        }
        self.lanes.leave(&flight.threads);
        let deferred = match ended {
            Ended::Done => &[],
            Ended::Recipients { deferred, .. } => &**deferred,
            Ended::Unasked | Ended::Destination(_) => return,
        };
        let deferred = lanes::threads(destination, &flight.record.envelope, deferred);
        let through = flight.threads.iter().filter(|thread| !deferred.contains(thread));
        for waiting in self.lanes.release(id, through) {
            self.schedule.again(destination, waiting);
        }
        self.lanes.hold(id, &deferred, now);
    }

    fn happened(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Restored(records, taken) => {
                records.iter().for_each(|record| self.arrive(record, false));
                let _ = taken.send(());
            }
            Event::AllRestored => self.inboxes.restored(),
            Event::Taken(record, indexes) => self.offer(&record, &indexes),
            Event::Gathered(id, others) => self.gathered(id, others),
            Event::Stored(id) => {
                self.members.remove(&id);
            }
            Event::Resolved(destination, resolved) => {
                if let Resolved::Later(reason) = &resolved {
                    tracing::warn!("{destination}: cannot be looked up, tried again later: {reason}");
                }
                self.schedule.resolved(&destination, resolved, now);
            }
            Event::Ended(destination, id, ended) => {
                if let Some(flight) = self.flights.remove(&(id, destination.clone())) {
                    self.landed(&destination, &flight, id, &ended, now);
                }
                if ended == Ended::Done {
                    self.uncertain.remove(&id);
                }
                self.leaves_line(&destination, id, &ended);
                self.schedule.ended(&destination, id, ended, now);
            }
        }
    }

    fn expire(&mut self, id: QueueId, now: Timestamp) {
        let Some(record) = self.current(id).filter(|record| !record.held) else { return };
        if record.expires > now {
            return self.schedule.expire_at(id, record.expires);
        }
        if self.is_under_way(&record) {
            return self.schedule.expire_at(id, now.after(UNDER_WAY_PAUSE));
        }
        self.at_hand.remove(&id);
        let uncertain = self.uncertain.remove(&id);
        let mut conclusion = conclude::expiry(&record, now, |index| self.fault(&record, index));
        conclusion.about.iter_mut().for_each(|about| about.uncertain = uncertain);
        self.failed(&record, &conclusion, now);
        self.inboxes.withdraw(&record, &conclusion.states);
        if record.owed().next().is_some() && conclude::last_day(&record) > now {
            self.schedule.expire_at(id, conclude::last_day(&record));
        }
        self.complete(&record, conclusion, None);
    }

    /// Why the destination of a recipient is not reached at the moment.
    fn fault(&self, record: &Record, index: usize) -> Option<String> {
        let domain = record.envelope.recipients[index].address.domain();
        let destination = place_of(&self.table.borrow(), domain, &record.envelope);
        let standing = self.schedule.standing_of(&destination)?;
        standing.reason.filter(|_| standing.failures > 0)
    }

    fn notice(&mut self, id: QueueId) {
        let Some(record) = self.current(id).filter(|record| !record.held) else { return };
        self.at_hand.remove(&id);
        let conclusion = conclude::delay(&record, |index| self.fault(&record, index));
        self.complete(&record, conclusion, None);
    }

    fn shows_life(&mut self, domain: &Domain) {
        for class in [Class::Im, Class::Pres] {
            let destination = place(&self.table.borrow(), domain, class);
            self.schedule.wake(&destination);
            self.schedule.wake(&kept(&destination));
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Standings(answer) => {
                let _ = answer.send(self.schedule.standings());
            }
            Command::Changed(id, recipients) => {
                self.at_hand.remove(&id);
                let Some(record) = self.current(id) else {
                    return self.inboxes.gone(id, &recipients);
                };
                let states: Vec<_> = record.states.iter().cloned().enumerate().collect();
                self.inboxes.withdraw(&record, &states);
                if record.held {
                    return self.inboxes.hold(&record);
                }
                for index in record.open() {
                    let domain = record.envelope.recipients[index].address.domain();
                    let destination = place_of(&self.table.borrow(), domain, &record.envelope);
                    self.schedule.wake(&destination);
                }
                self.arrive(&record, false);
            }
        }
    }
}
