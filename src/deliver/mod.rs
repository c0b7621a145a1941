//! Delivery to the next hop: thin drivers, pooled connections.
//!
//! In: [`Work`], a job and the hop that it goes by. Out: one [`Report`] for each job, on a channel, with one [`Outcome`]
//! for each recipient. [`pool`] decides which connection takes which job, [`connect`] finds a server and has it prove
//! itself, [`connection`] drives one session, [`mail`] makes mails of what goes into the mail system, [`outcome`] puts into words what it said. [`devices`] and [`device`] do the
//! same for attachments, whose connections come from the other side; [`showing`] is what they get of presence.
//! [`policies`] knows what domains say of their mail exchangers, [`tls_counts`] what became of it.
//!
//! Invariants: connections are bounded for each destination and in all; a job that waits holds no entity; jobs of one lane
//! go in order. A hop that fails gives [`Outcome::Deferred`], never a loss. RFC 5321 §4.5.4, RFC 1047.

mod connect;
mod connection;
mod device;
mod devices;
mod mail;
mod outcome;
mod peers;
pub mod policies;
mod pool;
mod showing;
#[cfg(test)]
mod tests;
mod tls_counts;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::attached::{Concluded, Item};
use crate::envelope::Envelope;
use crate::reply::{EnhancedCode, Reply};
use crate::route::Hop;
use crate::spool::{QueueId, Record};
use crate::timestamp::Timestamp;

pub use devices::{DeviceOptions, Devices};
pub use peers::{HANDSHAKES, Options, Peers, Status};
pub use tls_counts::TlsCounts;

/// A destination: whatever shares a pool of connections, a back-off and a place in the round. For a domain found by
/// SRV `IM b.example` or `PRES b.example`, for a configured route its name.
pub type Destination = Arc<str>;

/// A message, or what is left of it, for one destination.
#[derive(Clone, Debug)]
pub struct Job {
    /// The message.
    pub id: QueueId,
    /// Its entity, where that is not in the spool under this identifier.
    pub entity: Option<Bytes>,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// Indexes of the recipients of the envelope that go by this hop; at least one.
    pub recipients: Vec<usize>,
    /// Octets of the entity.
    pub size: u64,
    /// When it fails; attempts end before.
    pub expires: Timestamp,
    /// Jobs of equal lane (one sender, one recipient) go over one connection, in order.
    pub lane: u64,
    /// Messages of the same sender for the same recipient that become one mail with this one; only for a mail system.
    pub gathered: Vec<QueueId>,
}

impl Job {
    /// All messages that go with it, itself among them, in their order.
    pub(crate) fn messages(&self) -> Vec<QueueId> {
        let mut all: Vec<QueueId> = self.gathered.iter().copied().chain([self.id]).collect();
        all.sort_unstable();
        all
    }
}

/// Whether a fault is the message's or the hop's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The hop could not be reached, did not prove itself, or went away: other messages for it will fare the same.
    Destination,
    /// The recipient or the message.
    Recipient,
}

/// What became of one recipient in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted by a hop that shows DSN and has taken over the duty to report.
    Delivered {
        /// Its reply.
        reply: Reply,
    },
    /// Accepted by a hop without DSN.
    Relayed {
        /// Its reply.
        reply: Reply,
    },
    /// Accepted by a mail store: the recipient has it (RFC 2033).
    Stored {
        /// Its reply.
        reply: Reply,
    },
    /// To be tried again.
    Deferred {
        /// Whose fault.
        scope: Scope,
        /// Its reply, where it gave one.
        reply: Option<Reply>,
        /// The status for a receipt.
        status: EnhancedCode,
        /// In words.
        reason: String,
        /// The body had gone and no reply came: the hop may have it (RFC 1047). The same target is tried first.
        uncertain: bool,
    },
    /// Never to be tried again.
    Failed {
        /// Its reply, where it gave one.
        reply: Option<Reply>,
        /// The status for a receipt.
        status: EnhancedCode,
        /// In words.
        reason: String,
    },
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct Report {
    /// The message.
    pub id: QueueId,
    /// The destination that it went to.
    pub destination: Destination,
    /// The server, as in Postfix's logs: `mx.b.example[192.0.2.1]:2779`, or `none`.
    pub relay: String,
    /// One for each recipient of the job.
    pub outcomes: Vec<(usize, Outcome)>,
    /// Time spent on connecting, zero on a connection that was there.
    pub connecting: Duration,
    /// Time from the first octet to the last reply.
    pub transmitting: Duration,
    /// What a device said, where it was one.
    pub device: Option<DeviceAnswer>,
}

/// What a device said of a message, and what follows.
#[derive(Clone, Debug)]
pub struct DeviceAnswer {
    /// The message as it was when it was offered.
    pub record: Arc<Record>,
    /// Which recipient.
    pub item: Item,
    /// What is to be written down.
    pub concluded: Concluded,
}

/// Whoever delivers. A job that is handed over gives exactly one [`Report`], with an outcome for each of its recipients.
pub trait Deliver: Send + Sync {
    /// Takes work; never waits. Whoever gives it bounds how much is under way.
    fn send(&self, work: Work);
}

impl Deliver for Peers {
    fn send(&self, work: Work) {
        Peers::send(self, work);
    }
}

/// Work for a destination.
#[derive(Clone, Debug)]
pub struct Work {
    /// The destination.
    pub destination: Destination,
    /// How to get there; the newest hop given counts for connections made from then on.
    pub hop: Arc<Hop>,
    /// The job.
    pub job: Job,
}
