//! Receipts: what the sender of a message is told of what became of it.
//!
//! In: a message, and what became of some of its recipients. Out: a new message with a delivery status notification, or
//! none where none is due. Pure: time and random bits are passed in. Invariant: a receipt has a null sender and
//! NOTIFY=NEVER, so none is ever answered with another; it names no recipient of whom its sender did not ask to hear,
//! and nothing of this host but its name.
//! RFC 3461 §5.2 and §6, RFC 3464, RFC 6533, RFC 2852 §4.1, RFC 8689 §5, RFC 3834 §4.

mod catalogue;
mod original;
mod text;

use std::sync::Arc;

use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, ByMode, Class, Envelope, Notify, OriginalRecipient, Recipient, Ret};
use crate::limits;
use crate::mime::report::{self, Diagnostic, Frame, Report, Returned};
use crate::mime::{self, Rules, submission};
use crate::reply::{EnhancedCode, Reply};
use crate::spool::{NewMessage, Origin, QueueId};
use crate::timestamp::Timestamp;

pub use crate::mime::report::Action;
use original::Original;

/// Octets of a message that comes back whole with a failure; of a longer one only the header does (RFC 3461 §6.2).
const WHOLE: usize = 64 * 1024;

/// What a receipt is about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The name of this server.
    pub reporting: &'a Domain,
    /// The domain of ours in whose name the receipt is: that of the recipient, else of the sender, whichever is local.
    pub from_domain: &'a Domain,
    /// The envelope of the message.
    pub envelope: &'a Envelope,
    /// When the message arrived.
    pub arrived: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// When the receipt fails if it has not been delivered; at most [`limits::LONGEST_STAY`] from now counts.
    pub expires: Timestamp,
    /// The message.
    pub entity: &'a [u8],
    /// Its identifier in the spool.
    pub id: QueueId,
    /// 128 random bits for the receipt's Message-ID.
    pub message_id_entropy: [u8; 16],
    /// What became of the recipients.
    pub recipients: &'a [About],
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its index in the envelope.
    pub index: usize,
    /// What became of it.
    pub action: Action,
    /// Its status.
    pub status: EnhancedCode,
    /// The host name of the server that was spoken to.
    pub remote: Option<String>,
    /// What that server said.
    pub diagnostic: Option<Reply>,
    /// In words, English; empty where nothing is to be added.
    pub reason: String,
    /// Until when it will be tried; for [`Action::Delayed`].
    pub retry_until: Option<Timestamp>,
    /// Whether the message may have arrived although it failed: the body had gone, and no reply came (RFC 1047).
    pub uncertain: bool,
}

impl About {
    /// What is known where no other server took part.
    pub fn new(index: usize, action: Action, status: EnhancedCode, reason: &str) -> About {
        About {
            index,
            action,
            status,
            remote: None,
            diagnostic: None,
            reason: reason.to_owned(),
            retry_until: None,
            uncertain: false,
        }
    }
}

/// The receipt, or `None` where none is due: to a null sender, for presence, or where no recipient's NOTIFY asks for
/// it.
pub fn receipt(facts: &Facts<'_>) -> Option<NewMessage> {
    let ReversePath::Mailbox(sender) = &facts.envelope.sender else { return None };
    if facts.envelope.class == Class::Pres {
        return None;
    }
    let due: Vec<(&Recipient, &About)> = facts
        .recipients
        .iter()
        .filter_map(|about| Some((facts.envelope.recipients.get(about.index)?, about)))
        .filter(|(recipient, about)| is_due(facts.envelope, recipient.notify, about.action))
        .collect();
    if due.is_empty() {
        return None;
    }
    let original = Original::read(facts.entity);
    let from = Mailbox::new("postmaster", facts.from_domain.clone()).ok()?;
    let message_id = submission::message_id(facts.message_id_entropy, facts.from_domain);
    let texts = catalogue::texts(original.language.as_deref());
    let frame = Frame {
        name: "Impart",
        from: &from,
        to: sender,
        subject: text::subject(texts, &due),
        date: facts.now,
        message_id: &message_id,
        in_reply_to: original.message_id.as_deref(),
        language: texts.tag,
        boundary: &format!("report-{:032x}", u128::from_be_bytes(facts.message_id_entropy)),
        utf8: facts.envelope.utf8,
    };
    let report = Report {
        envid: facts.envelope.envid.clone(),
        reporting: facts.reporting.to_string(),
        arrived: Some(facts.arrived),
        deliver_by: facts.envelope.deliver_by.map(|by| by.at),
        recipients: due.iter().map(|(recipient, about)| of_recipient(facts, recipient, about)).collect(),
        text: text::body(texts, facts, &due),
    };
    let failed = due.iter().any(|(_, about)| about.action == Action::Failed);
    let entity = compose(&frame, &report, &original, failed && wants_whole(facts));
    Some(message(facts, sender, entity, message_id))
}

/// Whether the sender is to be told (RFC 3461 §5.2).
pub fn is_due(envelope: &Envelope, notify: Option<Notify>, action: Action) -> bool {
    let (asked, default) = match action {
        Action::Delivered | Action::Expanded => (notify.map(|n| n.success), false),
        Action::Failed => (notify.map(|n| n.failure), true),
        Action::Delayed => (notify.map(|n| n.delay), true),
        Action::Relayed => {
            // Who asked for a trace, or to be told of lateness, hears where it ends (RFC 2852 §4.1.4).
            let traced = envelope.deliver_by.is_some_and(|by| by.trace || by.mode == ByMode::Notify);
            (notify.map(|n| n.success || (traced && n != Notify::NEVER)), traced)
        }
    };
    asked.unwrap_or(default)
}

/// RFC 3461 §6.2; RFC 8689 §5 forbids it for what must travel by TLS alone.
fn wants_whole(facts: &Facts<'_>) -> bool {
    let envelope = facts.envelope;
    envelope.ret == Some(Ret::Full)
        && !envelope.require_tls
        && envelope.body != Body::BinaryMime
        && facts.entity.len() <= WHOLE
}

fn compose(frame: &Frame<'_>, report: &Report, original: &Original<'_>, whole: bool) -> bytes::Bytes {
    if whole {
        let entity = report::compose(frame, report, Returned::Whole(original.entity));
        // A message at the limits of what is accepted exceeds them inside a report.
        if mime::inspect(&entity, Rules { body: Body::EightBitMime, utf8: true }).is_ok() {
            return entity;
        }
    }
    report::compose(frame, report, Returned::Header(original.header))
}

/// The fields of RFC 3461 §6.3.
fn of_recipient(facts: &Facts<'_>, recipient: &Recipient, about: &About) -> report::Recipient {
    let address = &recipient.address;
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    let remote = about.remote.as_deref().and_then(text::host);
    let said = about.diagnostic.as_ref().map(|reply| Diagnostic { kind: "smtp".into(), text: text::transcript(reply) });
    let ours = || {
        let told = matches!(about.action, Action::Failed | Action::Delayed) && !about.reason.is_empty();
        told.then(|| Diagnostic { kind: "X-Impart".into(), text: text::reason(&about.reason) })
    };
    report::Recipient {
        original: recipient.original.clone(),
        final_recipient: OriginalRecipient { kind: kind.into(), address: address.to_string() },
        action: about.action,
        status: about.status,
        remote: remote.map(str::to_owned),
        diagnostic: said.or_else(ours),
        last_attempt: Some(facts.now),
        log_id: Some(facts.id.to_string()),
        retry_until: about.retry_until.filter(|_| about.action == Action::Delayed),
    }
}

/// The envelope of RFC 3461 §6.1.
fn message(facts: &Facts<'_>, sender: &Mailbox, entity: bytes::Bytes, message_id: String) -> NewMessage {
    let recipient = Recipient { address: sender.clone(), notify: Some(Notify::NEVER), original: None };
    let ascii = entity.is_ascii();
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Null,
        body: if ascii { Body::SevenBit } else { Body::EightBitMime },
        // Header fields of UTF-8 within, if any, are of a message that came with SMTPUTF8 (RFC 6533 §4.5).
        utf8: !sender.is_ascii() || (!ascii && facts.envelope.utf8),
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: facts.envelope.require_tls,
        recipients: vec![recipient],
    };
    NewMessage {
        id: None,
        envelope: Arc::new(envelope),
        digest: mime::digest(&entity),
        entity,
        message_id: Some(message_id),
        repeatable: false,
        signed: Vec::new(),
        origin: Origin::Own,
        arrived: facts.now,
        expires: facts.expires.min(facts.now.after(limits::LONGEST_STAY)),
    }
}

#[cfg(test)]
mod tests;
