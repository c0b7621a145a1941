//! The envelope of a message: everything that travels beside the entity (RFC 5598 §4.1).
//!
//! Values only. A relative time of the wire (BY, RFC 2852) is an absolute one here, fixed when the message is accepted.

use std::fmt;

use crate::address::{Mailbox, ReversePath};
use crate::timestamp::Timestamp;

/// The service class of an entity: instant message or presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// An instant message.
    Im,
    /// Presence: an entity with a `Presence` field.
    Pres,
}

impl Class {
    /// The value of the parameter IMPP of MAIL FROM.
    pub fn keyword(self) -> &'static str {
        match self {
            Class::Im => "IM",
            Class::Pres => "PRES",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// The parameter BODY of MAIL FROM (RFC 6152 §3, RFC 3030 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// Lines of 7-bit octets.
    #[default]
    SevenBit,
    /// Lines of octets.
    EightBitMime,
    /// Any octets; never by DATA.
    BinaryMime,
}

/// The parameter RET of MAIL FROM (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// The whole message comes back with a failure.
    Full,
    /// Only its header.
    Hdrs,
}

/// The parameter NOTIFY of RCPT TO (RFC 3461 §4.1); `Notify::NEVER` has no flag set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notify {
    /// A receipt when it was delivered or relayed.
    pub success: bool,
    /// A receipt when it failed.
    pub failure: bool,
    /// A receipt when it is late.
    pub delay: bool,
}

impl Notify {
    /// No receipt of any kind.
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };
    /// What an absent parameter means (RFC 3461 §4.1): failures, and delays at the server's choice.
    pub const DEFAULT: Notify = Notify { success: false, failure: true, delay: true };

    /// The value of the parameter.
    pub fn keyword(self) -> String {
        let names = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let set: Vec<&str> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if set.is_empty() { "NEVER".to_owned() } else { set.join(",") }
    }
}

/// The parameter ORCPT of RCPT TO, decoded (RFC 3461 §4.2, RFC 6533 §3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient {
    /// `rfc822`, `utf-8` or another registered address type.
    pub kind: String,
    /// The address as the sender wrote it, not encoded.
    pub address: String,
}

/// What happens when the time of DELIVERBY has passed (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByMode {
    /// The message fails.
    Return,
    /// The sender is told, and delivery goes on.
    Notify,
}

/// DELIVERBY with an absolute time (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliverBy {
    /// When the time is over.
    pub at: Timestamp,
    /// What happens then.
    pub mode: ByMode,
    /// Whether each relay reports its relaying (`T`).
    pub trace: bool,
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// Where it goes.
    pub address: Mailbox,
    /// Which receipts were asked for; `None` when the parameter was absent.
    pub notify: Option<Notify>,
    /// The address that the sender wrote.
    pub original: Option<OriginalRecipient>,
}

impl Recipient {
    /// The receipts that are due, with the default applied.
    pub fn notify(&self) -> Notify {
        self.notify.unwrap_or(Notify::DEFAULT)
    }
}

/// The envelope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The service.
    pub class: Class,
    /// Where receipts go.
    pub sender: ReversePath,
    /// What the entity's octets may be.
    pub body: Body,
    /// Whether the entity or the addresses need SMTPUTF8 (RFC 6531 §3.4).
    pub utf8: bool,
    /// How much comes back with a failure.
    pub ret: Option<Ret>,
    /// The sender's identifier of the envelope, decoded, at most 100 characters (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// DELIVERBY.
    pub deliver_by: Option<DeliverBy>,
    /// REQUIRETLS (RFC 8689 §4).
    pub require_tls: bool,
    /// At least one.
    pub recipients: Vec<Recipient>,
}
