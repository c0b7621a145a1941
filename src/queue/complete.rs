//! Writes conclusions down: new states and the receipts that they cause, in one commit.
//!
//! In: a [`Completion`]. Out: a settlement in the spool, and a call when it is there. Invariant: a completion is tried until
//! it is written, so an outcome is never forgotten while the daemon runs; after a crash the message is offered again and the
//! next hop's dedup drops it. Fails: a spool that refuses writes is tried again every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::accounts::Accounts;
use crate::address::Domain;
use crate::clock::Clock;
use crate::envelope::Class;
use crate::limits;
use crate::policy::expand;
use crate::queue::conclude;
use crate::random;
use crate::receipt::{self, About, Action};
use crate::reply::EnhancedCode;
use crate::spool::{Had, NewMessage, Record, Settlement, Spool, SpoolError, State};
use crate::timestamp::Timestamp;

/// Pause before a settlement that was refused is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// What is to be written.
#[derive(Debug)]
pub struct Completion {
    /// The message.
    pub record: Arc<Record>,
    /// New states by index of recipient.
    pub states: Vec<(usize, State)>,
    /// What devices have had.
    pub had: Vec<Had>,
    /// What receipts are due about, as far as the sender wants them.
    pub about: Vec<About>,
    /// A new time of expiry.
    pub expires: Option<Timestamp>,
}

/// Writes completions.
#[derive(Clone)]
pub struct Completer {
    spool: Spool,
    host: Domain,
    accounts: watch::Receiver<Arc<Accounts>>,
    clock: Arc<dyn Clock>,
}

impl Completer {
    /// Receipts come from `host`, and go to whom the accounts name.
    pub fn new(spool: Spool, host: Domain, accounts: watch::Receiver<Arc<Accounts>>, clock: Arc<dyn Clock>) -> Self {
        Completer { spool, host, accounts, clock }
    }

    /// Writes it, and calls `written` when it is.
    pub fn complete(&self, completion: Completion, written: impl FnOnce() + Send + 'static) {
        let completer = self.clone();
        tokio::spawn(async move {
            let Completion { record, states, had, about, expires } = completion;
            let receipts = completer.receipts(&record, about).await;
            let settlement = Settlement { states, had, receipts, expires, ..Settlement::new(record.id) };
            while let Err(fault) = completer.spool.settle(settlement.clone()).await {
                if matches!(fault, SpoolError::Closed) {
                    return;
                }
                tracing::error!("{}: its outcome cannot be written, tried again: {fault}", record.id);
                tokio::time::sleep(PAUSE).await;
            }
            written();
        });
    }

    /// The receipts that the sender wants, one for each kind of action.
    async fn receipts(&self, record: &Record, about: Vec<About>) -> Vec<NewMessage> {
        let wanted: Vec<About> = about.into_iter().filter(|about| is_wanted(record, about)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let entity = match self.spool.entity(record.id).await {
            Ok(Some(entity)) => entity,
            Ok(None) => return Vec::new(),
            Err(fault) => {
                // The receipt matters more than the copy that it would carry.
                tracing::error!("{}: its entity cannot be read for a receipt: {fault}", record.id);
                bytes::Bytes::from_static(b"\r\n")
            }
        };
        let accounts = self.accounts.borrow().clone();
        let mut receipts = Vec::new();
        for action in [Action::Delivered, Action::Relayed, Action::Expanded, Action::Delayed, Action::Failed] {
            let recipients: Vec<About> = wanted.iter().filter(|about| about.action == action).cloned().collect();
            if recipients.is_empty() {
                continue;
            }
            receipts.extend(compose(&self.host, &accounts, record, &entity, &recipients, self.clock.now()));
        }
        receipts
    }
}

fn compose(
    host: &Domain,
    accounts: &Accounts,
    record: &Record,
    entity: &[u8],
    recipients: &[About],
    now: Timestamp,
) -> Option<NewMessage> {
    let message_id_entropy = random::octets().unwrap_or_else(|_| {
        tracing::error!("{}: no random numbers for a receipt; its Message-ID can be guessed", record.id);
        // Rather one that can be guessed than one that comes twice, which the next server would drop.
        let mut octets = [0; 16];
        let (id, time) = octets.split_at_mut(8);
        id.copy_from_slice(&record.id.0.to_be_bytes());
        time.copy_from_slice(&now.millis().to_be_bytes());
        time[0] = recipients.first().map_or(0, |about| about.action as u8);
        octets
    });
    let receipt = receipt::receipt(&receipt::Facts {
        reporting: host,
        // The name in our EHLO: a null sender is held to it.
        from_domain: host,
        envelope: &record.envelope,
        arrived: record.arrived,
        now,
        expires: now.after(limits::LONGEST_STAY),
        entity,
        id: record.id,
        message_id_entropy,
        recipients,
    });
    receipt.map(|receipt| expand::receipt(receipt, accounts))
}

/// The receipt for recipients that an administrator fails; `None` where the sender wants none.
pub fn failure_receipt(
    host: &Domain,
    accounts: &Accounts,
    record: &Record,
    entity: &[u8],
    indexes: &[usize],
    reason: &str,
    now: Timestamp,
) -> Option<NewMessage> {
    // X.7.0: it is the site's decision, and says no more (RFC 3463 §3.8).
    let conclusion = conclude::failure(record, indexes, EnhancedCode::new(5, 7, 0), reason);
    compose(host, accounts, record, entity, &conclusion.about, now)
}

/// Whether the sender asked for it: decided again where the receipt is made; here to spare the reading of the entity.
fn is_wanted(record: &Record, about: &About) -> bool {
    let Some(recipient) = record.envelope.recipients.get(about.index) else { return false };
    let due = receipt::is_due(&record.envelope, recipient.notify, about.action);
    due && record.envelope.sender.mailbox().is_some() && record.envelope.class == Class::Im
}
