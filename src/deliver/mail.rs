//! What is particular about the mail system as a hop: what it means that it accepts, and that it gets mails.
//!
//! In: a job and its entity. Out: the mail that [`outward`] makes of it, or the outcome where it does not become one. Thin.

use bytes::Bytes;

use super::connection::not_there;
use super::outcome::Acceptance;
use super::peers::Context;
use super::{Job, Options, Outcome};
use crate::bridge::outward::{self, Facts, Mail, Unfit};
use crate::route::{Hop, MailHop};
use crate::spool::{QueueId, Spool};

/// What it means that this hop accepts.
pub(super) fn accepts(hop: &Hop) -> Acceptance {
    match hop {
        Hop::Mail(hop) if hop.lmtp => Acceptance::Stored,
        Hop::Mail(_) => Acceptance::Mailed,
        Hop::Peer { .. } | Hop::Configured(_) => Acceptance::Taken,
    }
}

/// The mail.
pub(super) fn compose(
    options: &Options,
    hop: &MailHop,
    (job, recipients): (&Job, &[usize]),
    entity: &Bytes,
    eight_bit: bool,
) -> Result<Mail, Outcome> {
    facts(options, hop, job, recipients, |facts| outward::compose(&Facts { entity, eight_bit, ..facts }))
}

/// Whether the spool has all of them for good.
pub(super) async fn are_durable(spool: &Spool, ids: Vec<QueueId>) -> bool {
    for id in ids {
        if !spool.is_durable(id).await {
            return false;
        }
    }
    true
}

/// One mail of all messages that the job names.
pub(super) async fn gather(
    context: &Context,
    hop: &MailHop,
    job: &Job,
    recipients: &[usize],
    eight_bit: bool,
) -> Result<Mail, Outcome> {
    let ids = job.messages();
    let mut messages = Vec::with_capacity(ids.len());
    for id in ids {
        match context.spool.entity(id).await {
            Ok(Some(entity)) => messages.push(entity),
            Ok(None) => return Err(not_there("it is no longer in the spool")),
            Err(error) => return Err(not_there(&error.to_string())),
        }
    }
    let Some(entity) = messages.last() else { return Err(not_there("there is none")) };
    facts(&context.options, hop, job, recipients, |facts| {
        outward::gather(&Facts { entity, eight_bit, ..facts }, &messages)
    })
}

/// Hands over what is known of a job. The bridge is that of the sender's domain, else of the recipient's, whichever is
/// served here.
fn facts(
    options: &Options,
    hop: &MailHop,
    job: &Job,
    recipients: &[usize],
    make: impl FnOnce(Facts<'_>) -> Result<Mail, Unfit>,
) -> Result<Mail, Outcome> {
    let envelope = &*job.envelope;
    let own = envelope.sender.mailbox().and_then(|sender| hop.bridge_of(sender.domain()));
    let Some(recipient) = recipients.first().and_then(|index| envelope.recipients.get(*index)) else {
        return Err(not_there("it has no such recipient"));
    };
    let theirs = hop.bridge_of(recipient.address.domain());
    let facts = Facts {
        bridge: own.or(theirs).unwrap_or(&options.helo),
        own_sender: own.is_some(),
        secret: &options.bridge_secret,
        id: &job.id.to_string(),
        envelope,
        recipient: &recipient.address,
        entity: &Bytes::new(),
        eight_bit: false,
    };
    make(facts).map_err(|Unfit { status, reason }| Outcome::Failed { reply: None, status, reason })
}
