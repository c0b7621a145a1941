//! What the spool keeps of a message, as values.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Device, Domain, Mailbox};
use crate::envelope::Envelope;
use crate::limits;
use crate::timestamp::Timestamp;

/// The identifier of a message in one spool; never used again, later messages have greater ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Whether its sender, sending it again, sends just the same; not where a field that tells it from others was added here.
    pub repeatable: bool,
    /// For each recipient who lives here, what tells what was signed or encrypted from all else, whatever envelope it comes
    /// in: a dedup key of its own. Empty where nothing is protected.
    pub signed: Vec<Option<[u8; 32]>>,
    /// How it came.
    pub origin: Origin,
    /// When.
    pub arrived: Timestamp,
    /// When it fails if it has not been delivered: deliver-by of mode R, else retention.
    pub expires: Timestamp,
}

/// Who has a list of his own of what an inbox has received: a device of the inbox's account by its name, `phone`; one of
/// another account that reads the inbox with that account before it, `bob@b.example/phone`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(Arc<str>);

impl Holder {
    /// A device; `of` is its account, where that is not the inbox's own.
    pub fn new(device: &Device, of: Option<&Mailbox>) -> Holder {
        match of {
            None => Holder(device.as_str().into()),
            Some(account) => Holder(format!("{account}/{device}").into()),
        }
    }

    /// Reads what [`Holder::as_str`] gave; `None` for anything else.
    pub fn read(text: &str) -> Option<Holder> {
        // A device's name has no slash, an account's may have.
        let (account, device) = text.rsplit_once('/').map_or((None, text), |(account, device)| (Some(account), device));
        let valid = Device::parse(device).is_ok() && account.is_none_or(|account| Mailbox::parse(account).is_ok());
        valid.then(|| Holder(text.into()))
    }

    /// The account, where that is not the inbox's own.
    pub fn delegate(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(account, _)| account)
    }

    /// As people see it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device that is known: it has its own list of what an inbox has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The key of the inbox ([`Mailbox::key`]).
    pub inbox: String,
    /// The device.
    pub holder: Holder,
    /// When it was attached last.
    pub seen: Timestamp,
}

/// What has been done for a recipient that is not completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Attempts that ended in a deferral.
    pub attempts: u16,
    /// A `delayed` receipt has been issued.
    pub delay_told: bool,
    /// A `delivered` receipt has been issued on acceptance into an inbox (RFC 3461 §5.2.3).
    pub delivered_told: bool,
    /// The last reply or fault, for people.
    pub last: Option<String>,
    /// Devices that have had it without completing it: copies of delegates, refusals. Only [`Settlement::had`] adds to it.
    pub had: Vec<Holder>,
}

/// How a recipient was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Still to be delivered.
    Open(Progress),
    /// Delivered, and kept for these devices of the inbox, which have not had it.
    Owed(Vec<Holder>),
    /// Completed.
    Closed(Disposition),
}

impl State {
    /// Still to be delivered.
    pub fn is_open(&self) -> bool {
        matches!(self, State::Open(_))
    }

    /// Delivered, and kept for further devices.
    pub fn is_owed(&self) -> bool {
        matches!(self, State::Owed(_))
    }

    /// Takes a new state over. What devices have had stays, a recipient that was delivered can only be given up for the
    /// devices that wait, one that is closed stays as it is; says whether something changed.
    pub(super) fn settle(&mut self, new: State) -> bool {
        match (&mut *self, new) {
            (State::Open(now), State::Open(mut progress)) => {
                progress.had = std::mem::take(&mut now.had);
                *self = State::Open(progress);
            }
            (State::Open(_), new) => *self = new,
            (State::Owed(_), new @ State::Closed(Disposition::Delivered | Disposition::Removed)) => *self = new,
            (State::Owed(_) | State::Closed(_), _) => return false,
        }
        true
    }

    /// Takes over that a device, or an attachment without a name, has had the message; says whether something changed.
    pub(crate) fn had(&mut self, had: Had) -> bool {
        let Had { holder, completes, mut others, .. } = had;
        match self {
            State::Open(progress) if completes => {
                others.retain(|other| Some(other) != holder.as_ref() && !progress.had.contains(other));
                others.truncate(limits::DEVICES);
                *self = if others.is_empty() { State::Closed(Disposition::Delivered) } else { State::Owed(others) };
                true
            }
            State::Open(progress) => {
                let new =
                    holder.filter(|holder| !progress.had.contains(holder) && progress.had.len() < limits::DEVICES);
                let changed = new.is_some();
                progress.had.extend(new);
                changed
            }
            State::Owed(holders) => {
                let before = holders.len();
                holders.retain(|other| Some(other) != holder.as_ref());
                let changed = holders.len() < before;
                if holders.is_empty() {
                    *self = State::Closed(Disposition::Delivered);
                }
                changed
            }
            State::Closed(_) => false,
        }
    }
}

/// A message in the spool, without its entity.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        self.states.iter().enumerate().filter(|(_, state)| state.is_open()).map(|(index, _)| index)
    }

    /// The indexes of the recipients that are delivered, and kept for further devices.
    pub fn owed(&self) -> impl Iterator<Item = usize> + '_ {
        self.states.iter().enumerate().filter(|(_, state)| state.is_owed()).map(|(index, _)| index)
    }
}

/// A device has had a message, by its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Had {
    /// The recipient.
    pub index: usize,
    /// The device; `None` for an attachment without a name, which has no list.
    pub holder: Option<Holder>,
    /// Whether the recipient is delivered by that, if it was open.
    pub completes: bool,
    /// The devices for which it is kept then, as far as they have not had it.
    pub others: Vec<Holder>,
}

/// What becomes of a message in one commit: new states of some recipients, and the receipts that they cause.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The message.
    pub id: QueueId,
    /// New states by index of recipient. A recipient that is closed stays as it is; one that is owed can only be closed, as
    /// delivered or removed.
    pub states: Vec<(usize, State)>,
    /// What devices have had; applied in order to what the spool holds by then, so that of devices that answer at once
    /// one completes the recipient and none loses its copy.
    pub had: Vec<Had>,
    /// Receipts; they enter the spool in the same commit.
    pub receipts: Vec<NewMessage>,
    /// Hold or release.
    pub held: Option<bool>,
    /// New time of expiry.
    pub expires: Option<Timestamp>,
}

impl Settlement {
    /// One that changes nothing yet.
    pub fn new(id: QueueId) -> Settlement {
        Settlement { id, states: Vec::new(), had: Vec::new(), receipts: Vec::new(), held: None, expires: None }
    }
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
