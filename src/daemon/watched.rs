//! What programs that watch are told: `/metrics`, `/healthz`, `/readyz`.
//!
//! In: the parts of the daemon that count. Out: pages. Invariant: whoever asks changes nothing, and waits for no disk but
//! its own. Fails: a part that does not answer is told as zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::metrics::{self, Snapshot};
use super::{DaemonError, handler};
use crate::config::Config;
use crate::control;
use crate::deliver::Peers;
use crate::net;
use crate::net::web::{self, Making, Page, Pages};
use crate::queue::counters::Group;
use crate::queue::schedule::Standing;
use crate::queue::{Command, Counters};
use crate::receive::Context;
use crate::spool::{QueueId, Spool, SpoolError};
use crate::timestamp::Timestamp;

/// How long the queue may take to say how destinations stand.
const PATIENCE: Duration = Duration::from_secs(2);
/// Records that are looked at, for the oldest that is to be delivered, each time that somebody asks.
const LOOKED_AT: usize = 10_000;
/// Of those, at once.
const PAGE: usize = 2_000;
/// Messages that may get into the spool after one whose identifier is higher; less than a page.
const BEING_WRITTEN: u64 = 1_000;
/// The form of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who is told of.
pub(super) struct Watched {
    pub started: Timestamp,
    pub receive: Arc<Context>,
    /// Who delivers messages, and who what is due of presence.
    pub peers: [Arc<Peers>; 2],
    pub counters: Arc<Counters>,
    pub commands: mpsc::Sender<Command>,
    /// True: nothing new is taken.
    pub closed: watch::Receiver<bool>,
    pub oldest: Oldest,
}

/// Where the oldest message is that is to be delivered.
#[derive(Debug, Default)]
pub(super) struct Oldest(AtomicU64);

impl Oldest {
    /// When it came. What is before it is kept for further devices, and is not looked at again.
    fn arrived(&self, spool: &Spool) -> Result<Option<Timestamp>, SpoolError> {
        let (mut from, mut looked_at) = (self.0.load(Relaxed), 0);
        while looked_at < LOOKED_AT {
            let page = spool.page(QueueId(from), PAGE)?;
            if let Some(open) = page.iter().find(|record| record.open().next().is_some()) {
                self.keep(open.id.0);
                return Ok(Some(open.arrived));
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE) else { return Ok(None) };
            from = last.id.0 + 1;
            looked_at += PAGE;
            self.keep(from);
        }
        Ok(None)
    }

    /// Those that are being written have their identifiers already.
    fn keep(&self, id: u64) {
        self.0.fetch_max(id.saturating_sub(BEING_WRITTEN), Relaxed);
    }
}

/// Answers administrators, and programs that watch; what the daemon itself has to do for the former comes out.
pub(super) async fn administer(
    config: &Config,
    parts: handler::Parts,
    notifiers: Arc<Peers>,
    closed: watch::Receiver<bool>,
) -> Result<(JoinHandle<()>, mpsc::Receiver<handler::Request>), DaemonError> {
    let watched = Watched {
        started: parts.receive.clock.now(),
        receive: parts.receive.clone(),
        peers: [parts.peers.clone(), notifiers],
        counters: parts.counters.clone(),
        commands: parts.commands.clone(),
        closed,
        oldest: Oldest::default(),
    };
    let (asked, requests) = mpsc::channel(1);
    let handler = handler::Running::new(config.host.clone(), parts, asked);
    let socket = control::server::bind(&config.control).await;
    let socket = socket.map_err(|fault| DaemonError::Control { path: config.control.clone(), fault })?;
    let pages = config.metrics.map(|address| net::listen(&net::Address::Tcp(address))).transpose()?;
    let watched = async move {
        if let Some(pages) = pages {
            web::serve(pages, Arc::new(watched)).await;
        }
    };
    let administration = async { tokio::join!(control::server::serve(socket, Arc::new(handler)), watched) };
    Ok((tokio::spawn(async { _ = administration.await }), requests))
}

impl Pages for Watched {
    fn page<'a>(&'a self, path: &'a str) -> Making<'a> {
        Box::pin(async move {
            match path {
                "/metrics" => Some(self.metrics().await),
                "/healthz" => Some(Page::plain(200, "alive\n")),
                "/readyz" => Some(self.readiness()),
                _ => None,
            }
        })
    }
}

impl Watched {
    /// Whether whoever sends a message now can have it taken.
    fn readiness(&self) -> Page {
        if *self.closed.borrow() {
            return Page::plain(503, "draining: nothing new is taken\n");
        }
        match self.receive.spool.refuses() {
            Some(why) => Page::plain(503, format!("the spool takes nothing: {why}\n")),
            None => Page::plain(200, "ready\n"),
        }
    }

    async fn metrics(self: &Watched) -> Page {
        let lines = lines(&self.standings().await);
        // The file system may be slow.
        let oldest = tokio::task::block_in_place(|| self.oldest.arrived(&self.receive.spool));
        let oldest = oldest.ok().flatten().map(|arrived| self.receive.clock.now().since(arrived));
        let (receive, dns) = (&self.receive, self.receive.resolver.meters());
        let [accepted, connections] = metrics::services(&receive.meters);
        let page = metrics::page(Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started.millis() as f64 / 1e3,
            spool: receive.spool.status(),
            commits: receive.spool.distributions(),
            oldest: oldest.unwrap_or_default().as_secs_f64(),
            lines,
            attached: receive.attached.status(),
            presence: receive.presence.status(),
            connections_in: receive.connections.count() as u64,
            connections_out: self.peers.iter().map(|peers| peers.status().connections as u64).sum(),
            accepted,
            connections,
            turned_away: receive.meters.turned_away.get(),
            tls: metrics::tls(&receive.meters, self.peers.iter().map(|peers| peers.handshakes())),
            signatures: metrics::by("verdict", receive.meters.signatures()),
            recipients: metrics::recipients(&self.counters),
            answers: metrics::by("answer", dns.map_or_else(metrics::no_answers, |dns| dns.answers())),
            remembered: dns.map_or(0, |dns| dns.remembered.get()),
        });
        match page {
            Ok(text) => Page { status: 200, kind: OPEN_METRICS, text },
            Err(fault) => Page::plain(503, format!("the metrics cannot be written: {fault}\n")),
        }
    }

    async fn standings(&self) -> Vec<Standing> {
        let (answer, standings) = oneshot::channel();
        let asked = async {
            self.commands.send(Command::Standings(answer)).await.ok()?;
            standings.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_default()
    }
}

/// What waits and what is in delivery, by group.
fn lines(standings: &[Standing]) -> Vec<(Group, u64, u64)> {
    let sum = |group: Group| {
        let there = standings.iter().filter(|standing| Group::of(&standing.destination) == group);
        there.fold((group, 0, 0), |(group, waiting, flying), standing| {
            (group, waiting + standing.waiting as u64, flying + standing.in_flight as u64)
        })
    };
    [Group::Peer, Group::Route, Group::Store].map(sum).into()
}
