//! The line of the log about a message that has come, in Postfix's form: `ID: from=<>, size=, nrcpt=, message-id=`. It is
//! written when the message is in the spool, so that each line is about one that the daemon answers for.

use std::sync::Arc;

use crate::address::Mailbox;
use crate::envelope::Envelope;
use crate::spool::{Acceptance, QueueId};

/// The line about a message that is in the spool.
pub(super) struct Line {
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// Who submitted it.
    pub account: Option<Mailbox>,
    /// Octets of its entity.
    pub size: usize,
    /// As written.
    pub message_id: Option<String>,
}

impl Line {
    /// In the form of Postfix; what was there before is said.
    pub fn log(&self, id: QueueId, acceptance: &Acceptance) {
        let Line { envelope, account, size, message_id } = self;
        let account = account.as_ref().map(|account| format!(", account={account}")).unwrap_or_default();
        let known = match acceptance {
            Acceptance { all_duplicate: true, id, .. } => format!(", dropped: a second copy of {id}"),
            Acceptance { duplicates: 1.., .. } => format!(", {} have it already", acceptance.duplicates),
            _ => String::new(),
        };
        tracing::info!(
            "{id}: from=<{}>{account}, size={size}, nrcpt={}, message-id={}{known}",
            envelope.sender,
            envelope.recipients.len(),
            message_id.as_deref().unwrap_or("none"),
        );
    }
}
