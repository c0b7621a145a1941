//! What is particular about the mail system as a hop: what it means that it accepts, and that it gets mails.
//!
//! In: a job and its entity. Out: the mail that [`outward`] makes of it, or the outcome where it does not become one. Thin.

use bytes::Bytes;

use super::outcome::Acceptance;
use super::{Job, Options, Outcome};
use crate::bridge::outward::{self, Facts, Mail, Unfit};
use crate::route::{Hop, MailHop};

/// What it means that this hop accepts.
pub(super) fn accepts(hop: &Hop) -> Acceptance {
    match hop {
        Hop::Mail(hop) if hop.lmtp => Acceptance::Stored,
        Hop::Mail(_) => Acceptance::Mailed,
        Hop::Peer { .. } | Hop::Configured(_) => Acceptance::Taken,
    }
}

/// The mail. The bridge is that of the sender's domain, else of the recipient's, whichever is served here.
pub(super) fn compose(
    options: &Options,
    hop: &MailHop,
    job: &Job,
    entity: &Bytes,
    eight_bit: bool,
) -> Result<Mail, Outcome> {
    let envelope = &*job.envelope;
    let own = envelope.sender.mailbox().and_then(|sender| hop.bridge_of(sender.domain()));
    let recipients = job.recipients.iter().filter_map(|index| envelope.recipients.get(*index));
    let theirs = recipients.into_iter().find_map(|recipient| hop.bridge_of(recipient.address.domain()));
    let facts = Facts {
        bridge: own.or(theirs).unwrap_or(&options.helo),
        own_sender: own.is_some(),
        secret: &options.bridge_secret,
        id: &job.id.to_string(),
        envelope,
        entity,
        eight_bit,
    };
    outward::compose(&facts).map_err(|Unfit { status, reason }| Outcome::Failed { reply: None, status, reason })
}
