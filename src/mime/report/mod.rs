//! Delivery status notifications as values: `multipart/report` with `message/delivery-status`.
//!
//! In: a [`Report`] and what stands around it; out: an entity ([`compose()`]). And back ([`parse()`]). Invariant: no
//! value adds a field or a line to what is composed; what is parsed is bounded in number and length.
//! RFC 6522, RFC 3464, RFC 6533; fields of SMTP's own: RFC 3461 §6.3, RFC 2852 §5.

mod compose;
mod parse;

use std::fmt;

use crate::envelope::OriginalRecipient;
use crate::reply::EnhancedCode;
use crate::timestamp::Timestamp;

pub use compose::{Frame, Returned, compose};
pub use parse::{Unreadable, is_notice, parse};

/// What became of a message for one recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// In the recipient's inbox.
    Delivered,
    /// Not yet delivered; attempts go on.
    Delayed,
    /// Given up.
    Failed,
    /// Handed to a server that does not report what becomes of it.
    Relayed,
    /// Handed on to several other recipients.
    Expanded,
}

impl Action {
    /// The value of the field Action.
    pub fn keyword(self) -> &'static str {
        match self {
            Action::Delivered => "delivered",
            Action::Delayed => "delayed",
            Action::Failed => "failed",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }

    fn parse(text: &str) -> Option<Action> {
        let all = [Action::Delivered, Action::Delayed, Action::Failed, Action::Relayed, Action::Expanded];
        all.into_iter().find(|action| action.keyword().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The sender's identifier of the envelope, where it gave one.
    pub envid: Option<String>,
    /// The name of the server that reports.
    pub reporting: String,
    /// When the message came to it; whole seconds.
    pub arrived: Option<Timestamp>,
    /// The time of DELIVERBY (RFC 2852 §5); whole seconds.
    pub deliver_by: Option<Timestamp>,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// The text for people, in UTF-8, lines separated by `\n`.
    pub text: String,
}

/// What a report says of one recipient. Times are in whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address that the sender wrote, where it gave it as ORCPT.
    pub original: Option<OriginalRecipient>,
    /// The address of the envelope, with its type.
    pub final_recipient: OriginalRecipient,
    /// What became of it.
    pub action: Action,
    /// Its status.
    pub status: EnhancedCode,
    /// The server that said so, where another one did.
    pub remote: Option<String>,
    /// What it said.
    pub diagnostic: Option<Diagnostic>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
    /// The reporting server's identifier of the message.
    pub log_id: Option<String>,
    /// Until when it will be tried.
    pub retry_until: Option<Timestamp>,
}

/// A diagnostic code (RFC 3464 §2.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `smtp` for a reply, else a type of the server's own.
    pub kind: String,
    /// Its text, lines separated by `\n`; one line when parsed.
    pub text: String,
}

#[cfg(test)]
mod tests;
