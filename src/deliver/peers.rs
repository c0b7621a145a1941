//! The handle: work in, reports out; a task for each connection.
//!
//! Jobs lie in [`Pools`] behind one lock that is held for a few instructions and never across an await. The task of a
//! connection takes what it has room for, so a message passes from the queue to the socket with one change of task.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::connect::{Unreachable, connect};
use super::connection::{Connection, expired};
use super::pool::{Bounds, Order, Pools, Start};
use super::tls_counts::TlsCounts;
use super::{Destination, Job, Outcome, Report, Scope, Work};
use crate::address::Domain;
use crate::clock::Clock;
use crate::dns::Resolve;
use crate::meter::Tally;
use crate::reply::EnhancedCode;
use crate::smtp::client::Timeouts;
use crate::spool::Spool;
use crate::tls::Connector;

/// How often jobs that wait are looked through for those whose time is over.
const SWEEP: Duration = Duration::from_millis(500);
/// How long connections may take to end once they are told to end at once.
const ABORT: Duration = Duration::from_secs(2);

/// What comes of TLS with a server: what proved it, or nothing that had to, or no TLS.
pub const HANDSHAKES: [&str; 4] = ["dane", "pkix", "unproven", "failed"];

/// What an administrator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name in EHLO, and of the certificate that we show.
    pub helo: Domain,
    /// Connections to one destination; at least one.
    pub connections_per_destination: usize,
    /// Connections in all; at least one.
    pub connections: usize,
    /// Transactions unanswered on one connection, where the hop shows IMPP.
    pub window: usize,
    /// How long a connection without work is kept.
    pub idle: Duration,
    /// Octets of an entity beyond which it travels on a connection of its own.
    pub bulk_octets: u64,
    /// How long connecting to all addresses of one server may take.
    pub connect: Duration,
    /// How long a server may take.
    pub timeouts: Timeouts,
    /// What the addresses are made with to which the mail system reports ([`crate::bridge::outward::token`]).
    pub bridge_secret: [u8; 32],
    /// Where sessions with mail exchangers are counted, if that is reported.
    pub tls_counts: Option<TlsCounts>,
}

impl Options {
    /// The defaults.
    pub fn new(helo: Domain) -> Self {
        Options {
            helo,
            connections_per_destination: 4,
            connections: 500,
            window: 128,
            idle: Duration::from_secs(30),
            bulk_octets: 256 * 1024,
            connect: Duration::from_secs(30),
            timeouts: Timeouts::default(),
            bridge_secret: [0; 32],
            tls_counts: None,
        }
    }
}

/// What delivery is doing at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections, those that are being made included.
    pub connections: usize,
    /// Destinations with work or connections.
    pub destinations: usize,
}

/// What the tasks share.
pub(super) struct Context {
    pub options: Options,
    pub resolver: Arc<dyn Resolve>,
    pub connector: Arc<Connector>,
    /// For servers of mail: without ALPN.
    pub plain_connector: Connector,
    pub spool: Spool,
    pub clock: Arc<dyn Clock>,
    reports: mpsc::UnboundedSender<Report>,
    /// What came of TLS, as [`HANDSHAKES`] names it.
    pub handshakes: Tally<{ HANDSHAKES.len() }>,
    pools: Mutex<Pools>,
    /// Rung when a connection is closed.
    closed: Notify,
    this: Weak<Context>,
}

impl Context {
    /// Does something with the pools, and makes the connections that this asks for.
    pub fn with<R>(&self, change: impl FnOnce(&mut Pools, &mut Vec<Start>) -> R) -> R {
        let mut starts = Vec::new();
        let result = {
            // A panic elsewhere leaves the pools usable: no invariant spans two calls.
            let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut pools, &mut starts)
        };
        for start in starts {
            if let Some(context) = self.this.upgrade() {
                tokio::spawn(run(context, start));
            }
        }
        result
    }

    /// Whoever no longer listens needs no report.
    pub fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// The same outcome for all recipients of a job that was not sent.
    pub fn report_unsent(&self, destination: &Destination, job: Job, relay: &str, outcome: &Outcome) {
        self.report(Report {
            id: job.id,
            destination: destination.clone(),
            relay: relay.to_owned(),
            outcomes: job.recipients.into_iter().map(|index| (index, outcome.clone())).collect(),
            connecting: Duration::ZERO,
            transmitting: Duration::ZERO,
            device: None,
        });
    }
}

/// A connection from its beginning to its end.
async fn run(context: Arc<Context>, start: Start) {
    let aborted = async {
        loop {
            start.wake.notified().await;
            if context.with(|pools, _| pools.is_aborted()) {
                return;
            }
        }
    };
    let began = Instant::now();
    let connected = tokio::select! {
        connected = connect(&context, &start) => connected,
        () = aborted => Err(shutting_down()),
    };
    let destination = start.destination.clone();
    match connected {
        Ok(connected) => Connection::new(context.clone(), start, connected).serve().await,
        Err(unreachable) => give_up(&context, &start, unreachable, began.elapsed()),
    }
    context.with(|pools, starts| pools.closed(&destination, starts));
    context.closed.notify_waiters();
}

fn shutting_down() -> Unreachable {
    Unreachable { status: EnhancedCode::new(4, 3, 2), reason: "this relay is shutting down".to_owned() }
}

/// No server could be used: what waits for this connection comes back, unless another connection takes it.
fn give_up(context: &Context, start: &Start, unreachable: Unreachable, took: Duration) {
    let items = context.with(|pools, _| {
        let bulk = pools.is_bulk(&start.destination, start.id);
        pools.leave(&start.destination, start.id, &mut Vec::new(), Default::default(), |_| false);
        pools.give_up(&start.destination, bulk)
    });
    let Unreachable { status, reason } = unreachable;
    let outcome = Outcome::Deferred { scope: Scope::Destination, reply: None, status, reason, uncertain: false };
    for item in items {
        context.report(Report {
            id: item.job.id,
            destination: start.destination.clone(),
            relay: "none".to_owned(),
            outcomes: item.job.recipients.into_iter().map(|index| (index, outcome.clone())).collect(),
            connecting: took,
            transmitting: Duration::ZERO,
            device: None,
        });
    }
}

/// Connections to next hops. Clones share them.
#[derive(Clone)]
pub struct Peers(Arc<Context>);

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Peers {
    /// Within a tokio runtime. Reports go to `reports`, exactly one for each job.
    pub fn new(
        options: Options,
        resolver: Arc<dyn Resolve>,
        connector: Arc<Connector>,
        spool: Spool,
        clock: Arc<dyn Clock>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Peers {
        let bounds = Bounds {
            per_destination: options.connections_per_destination.max(1),
            in_all: options.connections.max(1),
            bulk_octets: options.bulk_octets,
        };
        let context = Arc::new_cyclic(|this| Context {
            options,
            resolver,
            plain_connector: connector.without_alpn(),
            connector,
            spool,
            clock,
            reports,
            handshakes: Tally::default(),
            pools: Mutex::new(Pools::new(bounds)),
            closed: Notify::new(),
            this: this.clone(),
        });
        tokio::spawn(sweep(Arc::downgrade(&context)));
        Peers(context)
    }

    /// Takes work. Never blocks: whoever sends bounds what is under way.
    pub fn send(&self, work: Work) {
        if let Err(work) = self.0.with(|pools, starts| pools.add(work, starts)) {
            let Unreachable { status, reason } = shutting_down();
            let scope = Scope::Recipient;
            let outcome = Outcome::Deferred { scope, reply: None, status, reason, uncertain: false };
            self.0.report_unsent(&work.destination, work.job, "none", &outcome);
        }
    }

    /// What came of TLS, by its name in [`HANDSHAKES`].
    pub fn handshakes(&self) -> [(&'static str, u64); HANDSHAKES.len()] {
        std::array::from_fn(|place| (HANDSHAKES[place], self.0.handshakes.get(place)))
    }

    /// What is going on.
    pub fn status(&self) -> Status {
        let (connections, destinations) = self.0.with(|pools, _| pools.count());
        Status { connections, destinations }
    }

    /// Takes no more work, sends what there is, and ends the connections; what is not done within `patience` is
    /// reported as deferred. Resolves when every job has its report.
    pub async fn close(&self, patience: Duration) {
        self.0.with(|pools, _| pools.end(Order::Retire));
        self.all_closed(Instant::now() + patience).await;
        self.0.with(|pools, _| pools.end(Order::Abort));
        self.all_closed(Instant::now() + ABORT).await;
        let Unreachable { status, reason } = shutting_down();
        let outcome = Outcome::Deferred { scope: Scope::Recipient, reply: None, status, reason, uncertain: false };
        for (destination, item) in self.0.with(|pools, _| pools.drain()) {
            self.0.report_unsent(&destination, item.job, "none", &outcome);
        }
    }

    async fn all_closed(&self, deadline: Instant) {
        loop {
            let closed = self.0.closed.notified();
            // Connections may come and go without a pause; the deadline holds all the same.
            if self.status().connections == 0 || Instant::now() >= deadline {
                return;
            }
            let _ = tokio::time::timeout_at(deadline, closed).await;
        }
    }
}

/// Reports jobs that waited until their time was over.
async fn sweep(context: Weak<Context>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(context) = context.upgrade() else { return };
        for (destination, item) in context.with(|pools, _| pools.expire(context.clock.now())) {
            context.report_unsent(&destination, item.job, "none", &expired());
        }
    }
}
