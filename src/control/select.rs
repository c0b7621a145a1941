//! Which messages of the queue a request is about.
//!
//! Pure: a record and the time in, the recipients that are meant out. All criteria that are given must hold. A message
//! is meant as a whole where only its sender, age, state or id is asked for; where a criterion is about recipients
//! (address, domain, reason), only those that it fits are meant.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::{Message, MessageState};
use crate::address::{Domain, Mailbox, ReversePath};
use crate::spool::{QueueId, Record, State};
use crate::timestamp::Timestamp;

/// A selection; without any criterion and without `all` it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Every message: what a request that changes messages must say if it means it.
    #[serde(skip_serializing_if = "is_false")]
    pub all: bool,
    /// One of these messages.
    #[serde(with = "ids_text", skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<QueueId>,
    /// This sender, or this recipient; `<>` is the null sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<AddressMatch>,
    /// The domain of the sender, or of a recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Seconds since the message came, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// Words in the reason for which a recipient waits, its own or that of its destination, in any letter case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MessageState>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// An address that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressMatch {
    /// The null sender.
    Null,
    /// A mailbox; compared by its key.
    Mailbox(Mailbox),
}

impl std::str::FromStr for AddressMatch {
    type Err = crate::address::AddressError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        match bare.unwrap_or(text) {
            "" if bare.is_some() => Ok(AddressMatch::Null),
            other => Mailbox::parse(other).map(AddressMatch::Mailbox),
        }
    }
}

impl std::fmt::Display for AddressMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AddressMatch::Null => f.write_str("<>"),
            AddressMatch::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl Serialize for AddressMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressMatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Queue ids as people see them.
mod ids_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::spool::QueueId;

    pub fn serialize<S: Serializer>(ids: &[QueueId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(QueueId::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<QueueId>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

impl Selector {
    /// Whether it has no criterion and does not say `all`.
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }

    /// Made ready for many records.
    pub fn matcher(&self, now: Timestamp) -> Matcher {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        Matcher {
            ids,
            address: self.address.as_ref().map(|address| match address {
                AddressMatch::Null => None,
                AddressMatch::Mailbox(mailbox) => Some(mailbox.key()),
            }),
            domain: self.domain.clone(),
            arrived_by: self.older_than.map(|seconds| now.before(Duration::from_secs(seconds))),
            reason: self.reason.as_ref().map(|reason| reason.to_lowercase()),
            state: self.state,
        }
    }
}

/// A [`Selector`] at a point in time.
#[derive(Clone, Debug)]
pub struct Matcher {
    ids: Vec<QueueId>,
    /// The inner `None` is the null sender.
    address: Option<Option<String>>,
    domain: Option<Domain>,
    arrived_by: Option<Timestamp>,
    reason: Option<String>,
    state: Option<MessageState>,
}

impl Matcher {
    /// The only messages that can match, ascending; empty if any can.
    pub fn ids(&self) -> &[QueueId] {
        &self.ids
    }

    /// The indexes of the recipients that are meant, open or kept for further devices; `None` if the message is not. `row`
    /// makes the row in which a person reads why the message waits.
    pub fn recipients(&self, record: &Record, row: impl Fn(&Record) -> Message) -> Option<Vec<usize>> {
        if !self.message(record) {
            return None;
        }
        let row = self.reason.as_ref().map(|_| row(record));
        let shown = |index: usize| row.as_ref()?.recipients.get(index)?.reason.as_deref();
        let kept = record.open().chain(record.owed());
        let mut meant: Vec<usize> = kept.filter(|index| self.recipient(record, *index, shown(*index))).collect();
        meant.sort_unstable();
        if meant.is_empty() { None } else { Some(meant) }
    }

    fn message(&self, record: &Record) -> bool {
        (self.ids.is_empty() || self.ids.binary_search(&record.id).is_ok())
            && self.arrived_by.is_none_or(|time| record.arrived <= time)
            && self.state.is_none_or(|state| MessageState::of(record) == state)
    }

    fn recipient(&self, record: &Record, index: usize, shown: Option<&str>) -> bool {
        let sender = &record.envelope.sender;
        let recipient = &record.envelope.recipients[index].address;
        self.address.as_ref().is_none_or(|address| is_sender(address.as_deref(), sender) || is(address, recipient))
            && self.domain.as_ref().is_none_or(|domain| {
                recipient.domain() == domain || sender.mailbox().is_some_and(|sender| sender.domain() == domain)
            })
            && self.reason.as_ref().is_none_or(|words| {
                let shown = shown.is_some_and(|shown| shown.to_lowercase().contains(words));
                shown && matches!(record.states[index], State::Open(_))
            })
    }
}

fn is_sender(address: Option<&str>, sender: &ReversePath) -> bool {
    match (address, sender) {
        (None, ReversePath::Null) => true,
        (Some(key), ReversePath::Mailbox(mailbox)) => mailbox.key() == key,
        _ => false,
    }
}

fn is(address: &Option<String>, recipient: &Mailbox) -> bool {
    address.as_ref().is_some_and(|key| recipient.key() == *key)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::envelope::{Body, Class, Envelope, Recipient};
    use crate::spool::{Disposition, Origin, Progress};

    /// A message of alice@a.example for bob@b.example (deferred: refused), carol@c.example (open), dave@b.example
    /// (delivered), that came at second 1000.
    pub fn record(id: u64) -> Record {
        let recipient =
            |address: &str| Recipient { address: Mailbox::parse(address).unwrap(), notify: None, original: None };
        let envelope = Envelope {
            class: Class::Im,
            sender: ReversePath::Mailbox(Mailbox::parse("alice@a.example").unwrap()),
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envid: Some("e1".to_owned()),
            deliver_by: None,
            require_tls: false,
            recipients: ["bob@b.example", "carol@c.example", "dave@b.example"].map(recipient).to_vec(),
        };
        let refused = Progress { attempts: 2, last: Some("Connection Refused".to_owned()), ..Progress::default() };
        Record {
            id: QueueId(id),
            envelope: Arc::new(envelope),
            states: vec![State::Open(refused), State::Open(Progress::default()), State::Closed(Disposition::Delivered)],
            origin: Origin::Mail,
            arrived: Timestamp::from_secs(1000),
            expires: Timestamp::from_secs(9000),
            size: 1024,
            held: false,
        }
    }

    fn check(selector: Selector, expected: Option<&[usize]>) {
        let found = selector.matcher(Timestamp::from_secs(2000)).recipients(&record(7), Message::of);
        assert_eq!(found.as_deref(), expected, "{selector:?}");
    }

    fn address(text: &str) -> Selector {
        Selector { address: Some(text.parse().unwrap()), ..Selector::default() }
    }

    #[test]
    fn criteria() {
        check(Selector { all: true, ..Selector::default() }, Some(&[0, 1]));
        check(Selector { ids: vec![QueueId(9), QueueId(7)], ..Selector::default() }, Some(&[0, 1]));
        check(Selector { ids: vec![QueueId(8)], ..Selector::default() }, None);
        check(address("Alice@A.example"), Some(&[0, 1]));
        check(address("<BOB@b.example>"), Some(&[0]));
        check(address("dave@b.example"), None);
        check(address("<>"), None);
        let domain = |name: &str| Selector { domain: Some(Domain::parse(name).unwrap()), ..Selector::default() };
        check(domain("c.example"), Some(&[1]));
        check(domain("a.example"), Some(&[0, 1]));
        check(domain("d.example"), None);
        check(Selector { older_than: Some(1000), ..Selector::default() }, Some(&[0, 1]));
        check(Selector { older_than: Some(1001), ..Selector::default() }, None);
        check(Selector { reason: Some("refused".into()), ..Selector::default() }, Some(&[0]));
        check(Selector { state: Some(MessageState::Deferred), ..Selector::default() }, Some(&[0, 1]));
        check(Selector { state: Some(MessageState::Held), ..Selector::default() }, None);
    }

    #[test]
    fn all_criteria_must_hold() {
        let both = Selector { reason: Some("refused".into()), ..address("carol@c.example") };
        check(both, None);
        let both = Selector { reason: Some("refused".into()), ..address("bob@b.example") };
        check(both, Some(&[0]));
    }

    #[test]
    fn null_senders_and_completed_messages() {
        let mut report = record(1);
        let mut envelope = (*report.envelope).clone();
        envelope.sender = ReversePath::Null;
        report.envelope = Arc::new(envelope);
        let matcher = address("<>").matcher(Timestamp::from_secs(0));
        assert_eq!(matcher.recipients(&report, Message::of), Some(vec![0, 1]));
        report.states.fill(State::Closed(Disposition::Removed));
        assert_eq!(matcher.recipients(&report, Message::of), None);
    }
}
