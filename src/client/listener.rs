//! Receiving for good: attached while there is a network, again after each loss.
//!
//! In: an account. Out: [`Incoming`], in order, until the listener is dropped or the server refuses for good. Invariants:
//! what is told as a message is in the history, and is told again by the next listener unless it was taken over; attempts grow apart, with jitter, so that a server that comes back is not
//! overrun by its clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::ClientError;
use super::history::{Hold, Record, State};
use super::presence::News;
use super::read::{Received, Typing};
use super::{Shared, attach, link};
use crate::address::Mailbox;
use crate::random;
use crate::smtp::extension::Services;
use crate::smtp::turn::Atrn;

/// News that may wait for whoever listens; the server waits meanwhile.
const WAITING: usize = 256;
/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How often it is looked whether the certificate is to be renewed.
const RENEWALS: Duration = Duration::from_secs(3600);
/// How often it is looked whether something waits in an outbox that was empty.
const LOOK: Duration = Duration::from_secs(30);
/// A connection that stood so long was a good one.
const GOOD: Duration = Duration::from_secs(60);

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// What comes is told at once.
    Connected,
    /// There is no connection.
    Lost {
        /// Why.
        reason: String,
        /// When the next attempt comes.
        retry: Duration,
    },
    /// The server refuses for good, or the account cannot be used: nothing more comes.
    Refused(String),
    /// Something could not be kept; the server has it still.
    Trouble(String),
}

/// News.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message; it is in the history.
    Message(Box<Received>),
    /// A receipt about a message of ours.
    Receipt {
        /// Its Message-ID.
        id: String,
        /// The recipient.
        to: Mailbox,
        /// What became of it.
        state: State,
        /// In words.
        reason: Option<String>,
    },
    /// A reader has let us know that a message of ours was displayed.
    Displayed {
        /// Its Message-ID.
        id: String,
        /// The reader.
        by: Mailbox,
    },
    /// Somebody types.
    Typing(Typing),
    /// How others are, or who watches.
    Presence(News),
    /// The connection.
    State(Link),
}

/// Receives for an account.
#[derive(Debug)]
pub struct Listener {
    news: mpsc::Receiver<Incoming>,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
    /// The message that was told last, and is not taken over yet.
    told: Option<Record>,
}

impl Listener {
    pub(super) fn start(shared: Arc<Shared>, hold: Hold, services: Services) -> Listener {
        let (sender, news) = mpsc::channel(WAITING);
        let task = tokio::spawn(run(Arc::clone(&shared), sender, hold, services));
        Listener { news, task, shared, told: None }
    }

    /// The next news; `None` when nothing more comes. The message that it gave before is taken over by this call. Dropping
    /// the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.taken();
        let news = self.news.recv().await?;
        if let Incoming::Message(message) = &news {
            self.told = Some(Record::Taken { from: message.from.clone(), id: message.id.clone() });
        }
        Some(news)
    }

    /// The next news, for somebody who waits for something else: no message is taken over.
    pub async fn overhear(&mut self) -> Option<Incoming> {
        self.news.recv().await
    }

    /// The message that came last has been dealt with: no listener tells it again. Where the history cannot be written, one
    /// does.
    pub fn taken(&mut self) {
        if let Some(record) = self.told.take() {
            let _ = self.shared.history().add(vec![record]);
        }
    }
}

impl Listener {
    /// The message that came last has not been dealt with: the next listener tells it again.
    pub fn leave(&mut self) {
        self.told = None;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, news: mpsc::Sender<Incoming>, _hold: Hold, services: Services) {
    let account = &shared.account;
    let untaken: Vec<Received> = shared.history().index().untaken().cloned().collect();
    for received in untaken {
        if news.send(Incoming::Message(Box::new(received))).await.is_err() {
            return;
        }
    }
    let (mut failures, mut stood) = (0, false);
    loop {
        let inboxes = match account.inboxes.is_empty() {
            true => Vec::new(),
            false => std::iter::once(&account.address).chain(&account.inboxes).cloned().collect(),
        };
        let atrn = Atrn { inboxes, domains: Vec::new(), device: account.device.clone() };
        let began = Instant::now();
        let opened = match shared.credentials.next().await {
            Ok(credentials) => link::open(account, &credentials, Some(atrn)).await,
            Err(error) => Err(error),
        };
        let reason = match opened {
            Ok(wire) => {
                stood = true;
                if news.send(Incoming::State(Link::Connected)).await.is_err() {
                    return;
                }
                // What waits in the outbox goes too; it is told by its records.
                let outbox = {
                    let (shared, news) = (Arc::clone(&shared), news.clone());
                    tokio::spawn(async move { keep_outbox(&shared, &news).await })
                };
                let renewal = {
                    let (shared, news) = (Arc::clone(&shared), news.clone());
                    tokio::spawn(async move { keep_certificate(&shared, &news).await })
                };
                let reason = attach::serve(wire.stream, services, &shared, &news).await;
                outbox.abort();
                renewal.abort();
                reason
            }
            Err(error) if error.is_transient() => error.to_string(),
            // A command that has answered before may want the network that is away.
            Err(error @ ClientError::Password { .. }) if stood => error.to_string(),
            Err(error) => {
                let _ = news.send(Incoming::State(Link::Refused(error.to_string()))).await;
                return;
            }
        };
        failures = if began.elapsed() >= GOOD { 0 } else { failures + 1 };
        let retry = pause(failures, random::octets::<1>().map_or(0, |octets| octets[0]));
        if news.send(Incoming::State(Link::Lost { reason, retry })).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(retry) => {}
            () = news.closed() => return,
        }
    }
}

/// Sends what waits now, and again, at growing pauses, while something waits.
async fn keep_outbox(shared: &Shared, news: &mpsc::Sender<Incoming>) {
    let mut attempts = 0;
    loop {
        empty_outbox(shared, news).await;
        let waits = shared.history().index().outbox().next().is_some();
        attempts = if waits { attempts + 1 } else { 0 };
        let chance = random::octets::<1>().map_or(0, |octets| octets[0]);
        tokio::time::sleep(if waits { pause(attempts, chance) } else { LOOK }).await;
    }
}

async fn empty_outbox(shared: &Shared, news: &mpsc::Sender<Incoming>) {
    match shared.flush().await {
        Ok(records) => {
            for incoming in records.into_iter().filter_map(attach::incoming) {
                if news.send(incoming).await.is_err() {
                    return;
                }
            }
        }
        // Another process empties it, or the connection for submission failed: the next occasion will do.
        Err(ClientError::History(_)) => {}
        Err(error) => _ = news.send(Incoming::State(Link::Trouble(error.to_string()))).await,
    }
}

/// Renews the certificate when it is time, as long as there is a connection.
async fn keep_certificate(shared: &Shared, news: &mpsc::Sender<Incoming>) {
    loop {
        if let Err(error) = shared.renew_if_due().await {
            let text = format!("the certificate is not renewed, that is tried again: {error}");
            if news.send(Incoming::State(Link::Trouble(text))).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(RENEWALS).await;
    }
}

/// The pause after so many failures in a row: doubled each time, and a quarter more or less by chance.
fn pause(failures: u32, chance: u8) -> Duration {
    let doubled = PAUSES.0.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSES.1);
    let quarter = doubled / 4;
    doubled - quarter + quarter.mul_f64(2.0 * f64::from(chance) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_apart() {
        let secs = |failures, chance| pause(failures, chance).as_secs_f64();
        assert!((secs(0, 0) - 0.75).abs() < 0.01 && (secs(0, 255) - 1.25).abs() < 0.01);
        assert!((secs(1, 128) - 1.0).abs() < 0.01 && (secs(4, 128) - 8.0).abs() < 0.1);
        for failures in 0..200 {
            assert!(pause(failures, 255) <= Duration::from_secs(375), "{failures}");
        }
    }
}
