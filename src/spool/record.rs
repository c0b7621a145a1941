//! What the spool keeps of a message, as values.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::{Domain, Mailbox};
use crate::envelope::Envelope;
use crate::timestamp::Timestamp;

/// The identifier of a message in one spool; never used again, later messages have greater ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub u64);

/// Crockford's base 32, lower case: no letter that is mistaken for a digit, and sortable.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for QueueId {
    /// Ten digits or more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; 13];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[(rest & 31) as usize];
            rest >>= 5;
        }
        let skip = digits.iter().take_while(|digit| **digit == b'0').count().min(3);
        f.write_str(std::str::from_utf8(&digits[skip..]).unwrap_or_default())
    }
}

impl std::str::FromStr for QueueId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a queue id is ten to thirteen letters and digits, as `impartctl queue list` shows them";
        if !(10..=13).contains(&text.len()) {
            return Err(WRONG);
        }
        let mut value: u64 = 0;
        for byte in text.bytes() {
            let digit = DIGITS.iter().position(|d| *d == byte.to_ascii_lowercase()).ok_or(WRONG)?;
            value = value.checked_mul(32).and_then(|v| v.checked_add(digit as u64)).ok_or(WRONG)?;
        }
        Ok(QueueId(value))
    }
}

/// How a message came here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// From another domain's relay.
    Peer {
        /// The domain that the peer proved to be, where it did.
        proven: Option<Domain>,
    },
    /// From the mail system on this host, in the name of one of our domains.
    Mail,
    /// From a client of one of our accounts.
    Client {
        /// The account.
        account: Mailbox,
    },
    /// Made here: a receipt.
    Own,
}

/// A message on its way into the spool.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its identifier, where one was reserved ([`super::Spool::reserve`]); else it gets one.
    pub id: Option<QueueId>,
    /// The envelope.
    pub envelope: Arc<Envelope>,
    /// The entity, its trace fields added.
    pub entity: Bytes,
    /// Digest of the entity without trace fields; part of the dedup key.
    pub digest: [u8; 32],
    /// The Message-ID; part of the dedup key. `None` where the entity has none: then it is not deduplicated.
    pub message_id: Option<String>,
    /// How it came.
    pub origin: Origin,
    /// When.
    pub arrived: Timestamp,
    /// When it fails if it has not been delivered: deliver-by of mode R, else retention.
    pub expires: Timestamp,
}

/// What has been done for a recipient that is not completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Attempts that ended in a deferral.
    pub attempts: u16,
    /// A `delayed` receipt has been issued.
    pub delay_told: bool,
    /// A `delivered` receipt has been issued on acceptance into an inbox (RFC 3461 §5.2.3).
    pub delivered_told: bool,
    /// The last reply or fault, for people.
    pub last: Option<String>,
}

/// How a recipient was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disposition {
    /// Delivered, or handed to a hop that took over the duty to report.
    Delivered,
    /// Handed to a hop without DSN.
    Relayed,
    /// Given up; a receipt was made where one was due.
    Failed,
    /// A second copy of a message that was accepted before.
    Duplicate,
    /// Taken out by an administrator.
    Removed,
}

/// The state of one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Still to be delivered.
    Open(Progress),
    /// Completed.
    Closed(Disposition),
}

/// A message in the spool, without its entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its identifier.
    pub id: QueueId,
    /// The envelope.
    pub envelope: Arc<Envelope>,
    /// One for each recipient of the envelope, in its order.
    pub states: Vec<State>,
    /// How it came.
    pub origin: Origin,
    /// When.
    pub arrived: Timestamp,
    /// When it fails.
    pub expires: Timestamp,
    /// Octets of the entity.
    pub size: u64,
    /// Held by an administrator: not delivered, and does not expire.
    pub held: bool,
}

impl Record {
    /// The indexes of the recipients that are not completed.
    pub fn open(&self) -> impl Iterator<Item = usize> + '_ {
        self.states.iter().enumerate().filter(|(_, state)| matches!(state, State::Open(_))).map(|(index, _)| index)
    }
}

/// What becomes of a message in one commit: new states of some recipients, and the receipts that they cause.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The message.
    pub id: QueueId,
    /// New states by index of recipient. A recipient that is closed stays as it is.
    pub states: Vec<(usize, State)>,
    /// Receipts; they enter the spool in the same commit.
    pub receipts: Vec<NewMessage>,
    /// Hold or release.
    pub held: Option<bool>,
    /// New time of expiry.
    pub expires: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_ids_read_what_they_write() {
        for value in [0, 1, 31, 32, 1 << 50, u64::MAX] {
            let text = QueueId(value).to_string();
            assert!(text.len() >= 10, "{text}");
            assert_eq!(text.parse(), Ok(QueueId(value)));
            assert_eq!(text.to_uppercase().parse(), Ok(QueueId(value)));
        }
        for bad in ["", "short", "0000000000u", "zzzzzzzzzzzzz"] {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }
}
