//! The administration protocol's lines: requests, rows, and the end of an answer.
//!
//! ```text
//! > {"v":1,"id":7,"do":"queue.list","select":{"domain":"b.example"}}
//! < {"v":1,"id":7,"row":{"kind":"message","id":"0000000a1b","size":1024,…}}
//! < {"v":1,"id":7,"done":1}
//! ```
//!
//! An error takes the place of `done`: `{"v":1,"id":7,"error":{"code":"not_found","text":"…"}}`. Members that a reader
//! does not know are ignored in answers and refused in a selection, where ignoring one would widen it.

use serde::{Deserialize, Serialize};

use super::presence::{Ask, Document, Subscription};
use super::select::Selector;
use crate::address::Mailbox;
use crate::envelope::Class;
use crate::spool::{Disposition, Holder, QueueId, Record, State};

/// The version of the protocol; a request of another one is refused.
pub const VERSION: u32 = 1;

/// Octets of one line, its LF included.
pub const LINE_OCTETS: usize = 1024 * 1024;

/// Queue ids as people see them.
pub mod id_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::spool::QueueId;

    /// As text.
    pub fn serialize<S: Serializer>(id: &QueueId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    /// From text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QueueId, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub v: u32,
    /// Comes back with every line of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What to do.
    #[serde(flatten)]
    pub call: Call,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do")]
pub enum Call {
    /// How the daemon fares: one [`Row::Status`], then a [`Row::Destination`] for each destination with work.
    #[serde(rename = "status")]
    Status,
    /// Messages, oldest first: [`Row::Message`].
    #[serde(rename = "queue.list")]
    List {
        /// Which; all if nothing is selected.
        #[serde(default)]
        select: Selector,
        /// How many at most.
        #[serde(default)]
        limit: Option<u64>,
    },
    /// One message: [`Row::Message`], then [`Row::Entity`].
    #[serde(rename = "queue.show")]
    Show {
        /// The message.
        #[serde(with = "id_text")]
        message: QueueId,
        /// The whole entity, not only its header section.
        #[serde(default)]
        body: bool,
    },
    /// Keeps messages from being delivered and from expiring: [`Row::Changed`].
    #[serde(rename = "queue.hold")]
    Hold {
        /// Which.
        select: Selector,
    },
    /// Ends that: [`Row::Changed`].
    #[serde(rename = "queue.release")]
    Release {
        /// Which.
        select: Selector,
    },
    /// Tries at once: [`Row::Changed`].
    #[serde(rename = "queue.retry")]
    Retry {
        /// Which.
        select: Selector,
    },
    /// Fails the selected recipients, with receipts to the senders: [`Row::Changed`].
    #[serde(rename = "queue.bounce")]
    Bounce {
        /// Which.
        select: Selector,
        /// For the receipt.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Takes the selected recipients out, without a word to anybody: [`Row::Changed`].
    #[serde(rename = "queue.remove")]
    Remove {
        /// Which.
        select: Selector,
    },
    /// Reads the configuration and the certificates again: [`Row::Finding`].
    #[serde(rename = "reload")]
    Reload,
    /// What the daemon itself knows to be wrong: [`Row::Finding`].
    #[serde(rename = "check")]
    Check,
    /// Takes nothing more, finishes what is in delivery, ends.
    #[serde(rename = "drain")]
    Drain,
    /// Who watches whom, and what they see.
    #[serde(rename = "presence")]
    Presence(Ask),
    /// Revokes all certificates of these addresses that the daemon's own authorities have issued: [`Row::Changed`].
    #[serde(rename = "certificates.revoke")]
    Revoke {
        /// Whose.
        addresses: Vec<Mailbox>,
    },
    /// An administrator has read or changed something of a person's beside the daemon: a line of the log.
    #[serde(rename = "audit")]
    Audit {
        /// What, such as `rules show alice@a.example`.
        text: String,
    },
}

impl Call {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Status => "status",
            Call::List { .. } => "queue.list",
            Call::Show { .. } => "queue.show",
            Call::Hold { .. } => "queue.hold",
            Call::Release { .. } => "queue.release",
            Call::Retry { .. } => "queue.retry",
            Call::Bounce { .. } => "queue.bounce",
            Call::Remove { .. } => "queue.remove",
            Call::Reload => "reload",
            Call::Check => "check",
            Call::Drain => "drain",
            Call::Presence(_) => "presence",
            Call::Revoke { .. } => "certificates.revoke",
            Call::Audit { .. } => "audit",
        }
    }

    /// The selection of a call that changes messages.
    pub fn changes(&self) -> Option<&Selector> {
        match self {
            Call::Hold { select }
            | Call::Release { select }
            | Call::Retry { select }
            | Call::Bounce { select, .. }
            | Call::Remove { select } => Some(select),
            _ => None,
        }
    }
}

/// A line of an answer; exactly one of `row`, `done` and `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`].
    pub v: u32,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// A row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
    /// The end, with the count of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// The end, by an error; rows may have gone before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// The request is not understood.
    Request,
    /// It is of another version.
    Version,
    /// Nothing is selected, by a call that changes messages.
    Selection,
    /// There is no such message.
    NotFound,
    /// The spool cannot do it.
    Spool,
    /// The configuration is wrong.
    Config,
    /// Anything else.
    Failed,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// The kind.
    pub code: FaultCode,
    /// The fault and its remedy.
    pub text: String,
}

impl Fault {
    /// A fault.
    pub fn new(code: FaultCode, text: impl Into<String>) -> Self {
        Fault { code, text: text.into() }
    }
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Row {
    /// How the daemon fares.
    Status(Box<Status>),
    /// A destination with work.
    Destination(Destination),
    /// A message.
    Message(Message),
    /// An entity, or its header section.
    Entity(Entity),
    /// A message that was changed.
    Changed(Changed),
    /// Something that was looked at.
    Finding(Finding),
    /// A subscription.
    Subscription(Subscription),
    /// A presence document.
    Document(Document),
}

/// How the daemon fares. Counts are since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The name of the server.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When it started (RFC 3339).
    pub started: String,
    /// Whether it is ending.
    pub draining: bool,
    /// Why the spool takes nothing, if so.
    pub read_only: Option<String>,
    /// Messages in the spool that are to be delivered.
    pub messages: u64,
    /// Messages that are delivered, and kept for further devices.
    pub owed: u64,
    /// Connections of clients that are attached.
    pub attached: u64,
    /// Inboxes that they are attached to.
    pub attached_inboxes: u64,
    /// Devices that are known, attached or not.
    pub devices: u64,
    /// Octets of the entities of both.
    pub octets: u64,
    /// Messages in delivery at the moment.
    pub in_delivery: u64,
    /// Connections from outside.
    pub connections_in: u64,
    /// Connections to other servers.
    pub connections_out: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Second copies recognised and dropped.
    pub duplicates: u64,
    /// Recipients completed by delivery.
    pub delivered: u64,
    /// Recipients that failed.
    pub failed: u64,
    /// Attempts that were deferred.
    pub deferred: u64,
    /// Presentities with a document or a watcher.
    pub presentities: u64,
    /// Subscriptions to them.
    pub watchers: u64,
    /// Subscriptions of watchers here.
    pub contacts: u64,
    /// Subscriptions whose watcher's server is behind.
    pub notifications_due: u64,
    /// Notifications that were acknowledged.
    pub notified: u64,
}

/// A destination with work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// `IM b.example`, or the name of a route.
    pub name: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Messages in delivery to it.
    pub in_delivery: u64,
    /// When it is tried next (RFC 3339); absent while it works.
    pub next: Option<String>,
    /// Why it is not tried now.
    pub reason: Option<String>,
}

/// The state of a message, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// No attempt has failed: in delivery, or waiting for its turn or for a client.
    Active,
    /// An attempt for at least one open recipient was deferred.
    Deferred,
    /// Held by an administrator.
    Held,
    /// Delivered, and kept for devices that have not had it.
    Owed,
    /// All recipients are completed.
    Done,
}

impl MessageState {
    /// Of a record.
    pub fn of(record: &Record) -> MessageState {
        let deferred = |state: &State| matches!(state, State::Open(progress) if progress.attempts > 0);
        let (open, owed) = (record.open().next().is_some(), record.owed().next().is_some());
        if !open && !owed {
            MessageState::Done
        } else if record.held {
            MessageState::Held
        } else if !open {
            MessageState::Owed
        } else if record.states.iter().any(deferred) {
            MessageState::Deferred
        } else {
            MessageState::Active
        }
    }
}

/// A recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Where it goes.
    pub address: String,
    /// `open`, `owed` (delivered, and kept for further devices), `delivered`, `relayed`, `failed`, `duplicate` or `removed`.
    pub state: String,
    /// Attempts that were deferred.
    #[serde(default)]
    pub attempts: u16,
    /// The last reply or fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its queue id.
    pub id: String,
    /// `IM` or `PRES`.
    pub class: String,
    /// In one word.
    pub state: MessageState,
    /// Octets of the entity.
    pub size: u64,
    /// When it came (RFC 3339, UTC).
    pub arrived: String,
    /// When it fails (RFC 3339, UTC).
    pub expires: String,
    /// The envelope sender; empty for a report.
    pub sender: String,
    /// The sender's identifier of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// When it is tried next (RFC 3339, UTC), where the daemon knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// All recipients, completed ones too.
    pub recipients: Vec<Recipient>,
}

impl Message {
    /// From what the spool keeps.
    pub fn of(record: &Record) -> Message {
        let pairs = record.envelope.recipients.iter().zip(&record.states);
        Message {
            id: record.id.to_string(),
            class: record.envelope.class.to_string(),
            state: MessageState::of(record),
            size: record.size,
            arrived: record.arrived.rfc3339(),
            expires: record.expires.rfc3339(),
            sender: record.envelope.sender.to_string(),
            envid: record.envelope.envid.clone(),
            next: None,
            recipients: pairs.map(|(recipient, state)| Recipient::of(&recipient.address, state)).collect(),
        }
    }

    /// Whether it is of the class IM.
    pub fn is_im(&self) -> bool {
        self.class == Class::Im.keyword()
    }
}

impl Recipient {
    fn of(address: &crate::address::Mailbox, state: &State) -> Recipient {
        let (word, attempts, reason) = match state {
            State::Open(progress) => ("open", progress.attempts, progress.last.clone()),
            State::Owed(holders) => ("owed", 0, Some(kept_for(holders))),
            State::Closed(Disposition::Delivered) => ("delivered", 0, None),
            State::Closed(Disposition::Relayed) => ("relayed", 0, None),
            State::Closed(Disposition::Failed) => ("failed", 0, None),
            State::Closed(Disposition::Duplicate) => ("duplicate", 0, None),
            State::Closed(Disposition::Removed) => ("removed", 0, None),
        };
        Recipient { address: address.to_string(), state: word.to_owned(), attempts, reason }
    }
}

/// The devices that have not had it, in words.
fn kept_for(holders: &[Holder]) -> String {
    let names: Vec<&str> = holders.iter().map(Holder::as_str).collect();
    format!("delivered, kept for {}", names.join(", "))
}

/// An entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// The message.
    pub id: String,
    /// Its text; octets that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the text ends before the entity does.
    pub cut: bool,
}

/// Octets of an entity that are shown: escaped six-fold in JSON, they still fit in a line.
pub const SHOWN_OCTETS: usize = 128 * 1024;

impl Entity {
    /// The header section, or all of it, within [`SHOWN_OCTETS`].
    pub fn of(id: QueueId, entity: &[u8], body: bool) -> Entity {
        let header = entity.windows(4).position(|four| four == b"\r\n\r\n").map_or(entity.len(), |at| at + 2);
        let wanted = if body { entity } else { &entity[..header] };
        let shown = &wanted[..wanted.len().min(SHOWN_OCTETS)];
        Entity {
            id: id.to_string(),
            text: String::from_utf8_lossy(shown).replace("\r\n", "\n"),
            cut: shown.len() < wanted.len(),
        }
    }
}

/// A message that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The message.
    pub id: String,
    /// `held`, `released`, `retried`, `bounced` or `removed`.
    pub what: String,
    /// The recipients that it was about; empty if the whole message.
    #[serde(default)]
    pub recipients: Vec<String>,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and something wants attention.
    Warning,
    /// It does not work.
    Error,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave.
    pub level: Level,
    /// What was looked at: `spool`, `dns a.example`, …
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Finding { level: Level::Ok, subject: subject.into(), text: text.into(), remedy: None }
    }

    /// It works, and something wants attention.
    pub fn warning(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { level: Level::Warning, subject: subject.into(), text: text.into(), remedy: Some(remedy.into()) }
    }

    /// It does not work.
    pub fn error(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { level: Level::Error, subject: subject.into(), text: text.into(), remedy: Some(remedy.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Call) {
        let request: Request = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(request.call, expected, "{line}");
        let again = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&again).unwrap(), request, "{again}");
        assert!(again.contains(expected.name()), "{again}");
    }

    #[test]
    fn requests() {
        check(r#"{"v":1,"do":"status"}"#, Call::Status);
        check(r#"{"v":1,"id":3,"do":"drain"}"#, Call::Drain);
        check(r#"{"v":1,"do":"queue.list"}"#, Call::List { select: Selector::default(), limit: None });
        let show = Call::Show { message: QueueId(1), body: true };
        check(r#"{"v":1,"id":7,"do":"queue.show","message":"0000000001","body":true}"#, show);
        let select = Selector { reason: Some("refused".into()), ids: vec![QueueId(2)], ..Selector::default() };
        check(r#"{"v":1,"do":"queue.hold","select":{"ids":["0000000002"],"reason":"refused"}}"#, Call::Hold { select });
    }

    #[test]
    fn a_selection_that_is_not_understood_is_refused() {
        for line in [
            r#"{"v":1,"do":"queue.remove","select":{"domian":"b.example"}}"#,
            r#"{"v":1,"do":"queue.remove"}"#,
            r#"{"v":1,"do":"queue.forget"}"#,
            r#"{"do":"status"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn header_of_an_entity() {
        let entity = Entity::of(QueueId(1), b"From: a\r\nTo: b\r\n\r\nsecret\r\n", false);
        assert_eq!((entity.text.as_str(), entity.cut), ("From: a\nTo: b\n", false));
        assert!(Entity::of(QueueId(1), &vec![b'x'; SHOWN_OCTETS + 1], true).cut);
        let worst = Entity::of(QueueId(1), &vec![1; SHOWN_OCTETS], true);
        assert!(serde_json::to_string(&worst).unwrap().len() < LINE_OCTETS - 1000);
    }
}
