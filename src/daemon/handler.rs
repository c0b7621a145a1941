//! What administrators ask of the running daemon.
//!
//! Listing and changing messages is [`offline`]'s work on the spool, which is the same whether a daemon runs or not; here the
//! rows are told why they wait and the queue of each change, and the rest is answered from what the daemon knows.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::accounts::Accounts;
use crate::address::{Domain, Mailbox};
use crate::attached::Attached;
use crate::control::Selector;
use crate::control::authority::online::Online;
use crate::control::offline::{self, Compose, Offline};
use crate::control::protocol::{self, Call, Fault, FaultCode, Finding, Row};
use crate::control::server::{Answer, Handler, Rows};
use crate::daemon::presence;
use crate::daemon::waiting::Waiting;
use crate::deliver::Peers;
use crate::envelope::Class;
use crate::presence::{Certifier as _, Handle};
use crate::queue::complete::failure_receipt;
use crate::queue::counters::Fate;
use crate::queue::schedule::Standing;
use crate::queue::{Command, Counters};
use crate::receive::Context;
use crate::spool::{QueueId, Spool};
use crate::timestamp::Timestamp;

/// Rows of a change that are under way to the administrator.
const ROWS_AHEAD: usize = 64;

/// What the daemon itself has to do.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again; what came of it is answered.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Stop.
    Drain,
}

/// What it asks and tells.
pub(super) struct Parts {
    /// To the queue.
    pub commands: mpsc::Sender<Command>,
    /// Who delivers.
    pub peers: Arc<Peers>,
    /// Who issues certificates.
    pub issuers: Arc<Online>,
    /// What the queue counts.
    pub counters: Arc<Counters>,
    /// Receiving.
    pub receive: Arc<Context>,
}

/// Answers administrators.
pub struct Running {
    /// The name of the server.
    pub host: String,
    /// When it started.
    pub started: Timestamp,
    /// The spool.
    pub spool: Spool,
    /// Changes messages.
    pub messages: Offline<Spool>,
    /// To the queue.
    pub commands: mpsc::Sender<Command>,
    /// Who delivers.
    pub peers: Arc<Peers>,
    /// To the daemon.
    pub requests: mpsc::Sender<Request>,
    /// What the queue counts.
    pub counters: Arc<Counters>,
    /// Who is attached.
    pub attached: Attached,
    /// Who shows what to whom.
    pub presence: Handle,
    /// Who issues certificates.
    pub issuers: Arc<Online>,
    /// Receiving.
    pub receive: Arc<Context>,
}

impl Handler for Running {
    fn call(&self, call: Call, rows: Rows) -> Answer<'_> {
        Box::pin(async move {
            match call {
                Call::Status => self.status(&rows).await,
                Call::Check => self.check(&rows).await,
                Call::Reload => self.reload(&rows).await,
                Call::Presence(ask) => presence::answer(&self.presence, ask, &rows).await,
                Call::Audit { text } => {
                    presence::audit(&rows, &text);
                    Ok(())
                }
                Call::Revoke { addresses } => self.revoke(addresses, &rows).await,
                Call::Drain => self.requests.send(Request::Drain).await.map_err(|_| ending()),
                Call::List { select, limit } => {
                    let (waiting, now) = (self.waiting().await, self.receive.clock.now());
                    offline::list(&self.spool, &select, limit, now, |record| waiting.message(record), &rows).await
                }
                Call::Show { message, body } => {
                    let waiting = self.waiting().await;
                    offline::show(&self.spool, message, body, |record| waiting.message(record), &rows).await
                }
                change => match change.changes() {
                    Some(select) => self.change(&change, select, rows).await,
                    None => Err(Fault::new(FaultCode::Failed, "impartd does not do that")),
                },
            }
        })
    }
}

/// The receipt for recipients that an administrator fails.
fn compose(host: Domain, accounts: watch::Receiver<Arc<Accounts>>) -> Box<Compose> {
    Box::new(move |record, entity, indexes, reason, now| {
        failure_receipt(&host, &accounts.borrow(), record, entity, indexes, reason, now)
    })
}

fn ending() -> Fault {
    Fault::new(FaultCode::Failed, "impartd is ending")
}

impl Running {
    /// What the daemon itself has to do for administrators goes to `requests`.
    pub(super) fn new(host: Domain, parts: Parts, requests: mpsc::Sender<Request>) -> Running {
        let Parts { commands, peers, issuers, counters, receive } = parts;
        let (spool, clock) = (receive.spool.clone(), receive.clock.clone());
        Running {
            started: clock.now(),
            messages: Offline::new(spool.clone(), compose(host.clone(), receive.accounts.clone()), Box::new(clock)),
            host: host.to_string(),
            spool,
            commands,
            peers,
            requests,
            counters,
            attached: receive.attached.clone(),
            presence: receive.presence.clone(),
            issuers,
            receive,
        }
    }

    /// Changes messages, and tells the queue of each.
    async fn change(&self, call: &Call, select: &Selector, rows: Rows) -> Result<(), Fault> {
        let waiting = self.waiting().await;
        let (sender, mut changed) = Rows::channel(ROWS_AHEAD);
        let forward = async {
            while let Some(row) = changed.recv().await {
                if let Row::Changed(change) = &row
                    && let Ok(id) = change.id.parse::<QueueId>()
                {
                    tracing::info!("{id}: {} by an administrator", change.what);
                    let recipients = change.recipients.iter().filter_map(|address| address.parse().ok()).collect();
                    self.commands.send(Command::Changed(id, recipients)).await.map_err(|_| ending())?;
                }
                // A client that has gone does not stop a change that has begun.
                let _ = rows.send(row).await;
            }
            Ok(())
        };
        let change = async {
            let sender = sender;
            self.messages.change(call, select, |record| waiting.message(record), &sender).await
        };
        let (done, told) = tokio::join!(change, forward);
        done.and(told)
    }

    async fn standings(&self) -> Result<Vec<Standing>, Fault> {
        let (answer, standings) = oneshot::channel();
        self.commands.send(Command::Standings(answer)).await.map_err(|_| ending())?;
        standings.await.map_err(|_| ending())
    }

    /// Why messages wait. While the queue is ending it is not asked any more, and the list has what the spool knows.
    async fn waiting(&self) -> Waiting {
        let standings = self.standings().await.unwrap_or_default();
        let (accounts, table) = (self.receive.accounts.borrow().clone(), self.receive.table.borrow().clone());
        Waiting::new(accounts, table, standings)
    }

    async fn status(&self, rows: &Rows) -> Result<(), Fault> {
        let standings = self.standings().await?;
        let (spool, attached, presence) = (self.spool.status(), self.attached.status(), self.presence.status());
        let status = protocol::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            pid: std::process::id(),
            started: self.started.rfc3339(),
            draining: false,
            read_only: spool.read_only,
            messages: spool.messages,
            owed: spool.owed,
            attached: attached.attached as u64,
            attached_inboxes: attached.inboxes as u64,
            devices: attached.devices as u64,
            octets: spool.octets,
            in_delivery: standings.iter().map(|standing| standing.in_flight as u64).sum(),
            connections_in: self.receive.connections.count() as u64,
            connections_out: self.peers.status().connections as u64,
            accepted: self.receive.meters.all_accepted(),
            duplicates: spool.duplicates,
            delivered: self.counters.sum(Class::Im, Fate::Delivered),
            failed: self.counters.sum(Class::Im, Fate::Failed),
            deferred: self.counters.sum(Class::Im, Fate::Deferred),
            presentities: presence.presentities as u64,
            watchers: presence.watchers as u64,
            contacts: presence.contacts as u64,
            notifications_due: presence.due as u64,
            notified: presence.notified,
        };
        if rows.send(Row::Status(Box::new(status))).await.is_err() {
            return Ok(());
        }
        for standing in standings.into_iter().filter(|standing| standing.waiting + standing.in_flight > 0) {
            let row = Row::Destination(protocol::Destination {
                name: standing.destination.to_string(),
                waiting: standing.waiting as u64,
                in_delivery: standing.in_flight as u64,
                next: standing.until.map(Timestamp::rfc3339),
                reason: standing.until.and(standing.reason),
            });
            if rows.send(row).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn check(&self, rows: &Rows) -> Result<(), Fault> {
        let spool = match self.spool.status().read_only {
            None => Finding::ok("spool", "messages are accepted"),
            Some(why) => Finding::error("spool", why, "make room or mend the disk; the spool opens again by itself"),
        };
        let aside = match self.spool.status().set_aside {
            0 => Finding::ok("spool", "no record was put aside"),
            count => Finding::warning(
                "spool",
                format!("{count} records cannot be read and were put aside"),
                "see the log of the start for their names and reasons",
            ),
        };
        for finding in [spool, aside] {
            let _ = rows.send(Row::Finding(finding)).await;
        }
        Ok(())
    }

    async fn revoke(&self, addresses: Vec<Mailbox>, rows: &Rows) -> Result<(), Fault> {
        let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        presence::audit(rows, &format!("certificates revoke {}", all.join(" ")));
        let (issuers, now) = (self.issuers.clone(), self.receive.clock.now());
        let done = tokio::task::spawn_blocking(move || issuers.revoke(&addresses, None, now)).await;
        let done = done.map_err(|_| Fault::new(FaultCode::Failed, "the authority did not finish"))?;
        let count = done.map_err(|refusal| Fault::new(FaultCode::Failed, refusal.to_string()))?;
        if count > 0 {
            let changed =
                protocol::Changed { id: all.join(" "), what: format!("{count} certificates revoked"), recipients: all };
            let _ = rows.send(Row::Changed(changed)).await;
        }
        Ok(())
    }

    async fn reload(&self, rows: &Rows) -> Result<(), Fault> {
        let (answer, told) = oneshot::channel();
        self.requests.send(Request::Reload(answer)).await.map_err(|_| ending())?;
        match told.await.map_err(|_| ending())? {
            Ok(said) => {
                let _ = rows.send(Row::Finding(Finding::ok("configuration", said))).await;
                Ok(())
            }
            Err(fault) => Err(Fault::new(FaultCode::Config, fault)),
        }
    }
}
