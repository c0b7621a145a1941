//! Sending: one connection for submission, and the outbox that goes over it.
//!
//! In: entities with their envelopes; drafts that wait. Out: what the server said for each recipient; records for the
//! history. Invariants: what waits is sent with the identifiers that it was written with, so that a second copy is
//! known as one; after a lost reply the same octets go again. RFC 6409, RFC 1047.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::account::{Account, Logins};
use super::compose::Draft;
use super::error::ClientError;
use super::history::{Record, State};
use super::link;
use crate::clock::{Clock as _, System};
use crate::deliver::wire::Wire;
use crate::envelope::Envelope;
use crate::smtp::client::{Event, Fate, Transaction};
use crate::smtp::extension::Extension;
use crate::timestamp::Timestamp;

/// Attempts for one message, when the connection is lost under it.
const ATTEMPTS: usize = 2;

/// The time of day.
pub(super) fn now() -> Timestamp {
    System::new().now()
}

/// The connection for submission; made when it is needed.
#[derive(Debug)]
pub(super) struct Submission {
    account: Arc<Account>,
    credentials: Arc<Logins>,
    wire: Option<Wire>,
}

impl Submission {
    pub fn new(account: Arc<Account>, credentials: Arc<Logins>) -> Submission {
        Submission { account, credentials, wire: None }
    }

    /// Connects unless that is done, and the server has not gone since.
    pub async fn connect(&mut self) -> Result<&mut Wire, ClientError> {
        if let Some(wire) = &mut self.wire {
            // What the server has said meanwhile is news of its end: nothing else is awaited.
            let silent = tokio::time::timeout(std::time::Duration::from_millis(1), wire.event()).await.is_err();
            if !silent {
                self.wire = None;
            }
        }
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => link::open(&self.account, &self.credentials.next().await?, None).await?,
        };
        Ok(self.wire.insert(wire))
    }

    /// Sends an entity to some recipients of its envelope; `entity` is told whether the server takes 8-bit text.
    pub async fn send(
        &mut self,
        compose: impl Fn(bool) -> (Envelope, Bytes),
        recipients: &[usize],
    ) -> Result<Vec<(usize, Fate)>, ClientError> {
        let mut attempt = 1;
        loop {
            let account = Arc::clone(&self.account);
            let wire = self.connect().await?;
            let eight_bit = wire.session.offer().has(Extension::EightBitMime);
            let (envelope, entity) = compose(eight_bit);
            let recipients = recipients.to_vec();
            let transaction = Transaction { token: 1, envelope: Arc::new(envelope), recipients, entity };
            wire.session.submit(transaction, now(), Instant::now().into_std());
            let (fates, fault) = fates(wire).await;
            let lost = fates.iter().any(|(_, fate)| matches!(fate, Fate::Lost { .. }));
            if fault.is_none() {
                return Ok(fates);
            }
            self.wire = None;
            if !lost {
                return Ok(fates);
            }
            if attempt == ATTEMPTS {
                return Err(link::failed(&account, fault.flatten()));
            }
            attempt += 1;
        }
    }

    /// Ends the connection as the protocol wants it.
    pub async fn close(&mut self) {
        if let Some(wire) = self.wire.take() {
            wire.close().await;
        }
    }
}

/// Until all recipients are told of; the fault, where the session ended.
async fn fates(wire: &mut Wire) -> (Vec<(usize, Fate)>, Option<Option<crate::smtp::client::Fault>>) {
    let mut all = Vec::new();
    loop {
        match wire.event().await {
            Event::Done { fates, .. } => {
                all.extend(fates);
                // A transaction of too many recipients is sent in parts; the last leaves the session idle.
                if wire.session.is_idle() && !wire.session.has_events() {
                    return (all, None);
                }
            }
            Event::Over(fault) => return (all, Some(fault)),
            Event::Ready | Event::Turned | Event::StartTls => {}
        }
    }
}

/// What the server said of a draft's recipients, as records. A refusal for now leaves the message waiting.
pub(super) fn records(draft: &Draft, fates: &[(usize, Fate)], at: Timestamp) -> Vec<Record> {
    let record = |(index, fate): &(usize, Fate)| {
        let to = draft.to.get(*index)?.clone();
        let (state, reason) = match fate {
            Fate::Accepted { .. } => (State::Sent, None),
            Fate::Refused { reply } if reply.is_permanent() => (State::Failed, Some(reply.to_string())),
            Fate::Refused { reply } => (State::Waiting, Some(reply.to_string())),
            Fate::Unfit { status, reason } => (State::Failed, Some(format!("{status} {reason}"))),
            Fate::Lost { .. } => return None,
        };
        Some(Record::State { id: draft.id.clone(), to, state, at, reason })
    };
    fates.iter().filter_map(record).collect()
}
