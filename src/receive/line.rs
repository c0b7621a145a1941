//! The lines of the log about a message that has come, in Postfix's form: `ID: client=` and
//! `ID: from=<>, size=, nrcpt=, message-id=`. They are written when the message is in the spool, so that each line is about one that the daemon answers for.

use std::sync::Arc;

use crate::address::{Domain, Mailbox};
use crate::envelope::Envelope;
use crate::receive::connection::Origin;
use crate::spool::{Acceptance, QueueId};

/// Who is at the other end, in Postfix's form: the domain that it has proven, and its address.
pub(super) fn client(origin: &Origin, proven: Option<&Domain>) -> String {
    match (origin.address, proven) {
        (Some(address), Some(domain)) => format!("{domain}[{address}]"),
        (Some(address), None) if address.is_loopback() => format!("localhost[{address}]"),
        (Some(address), None) => format!("unknown[{address}]"),
        (None, _) => "localhost[unix]".to_owned(),
    }
}

/// The line about a message that is in the spool.
pub(super) struct Line {
    /// Who is at the other end, as in Postfix's logs: `b.example[192.0.2.1]`.
    pub client: String,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// Who submitted it.
    pub account: Option<Mailbox>,
    /// Octets of its entity.
    pub size: usize,
    /// As written.
    pub message_id: Option<String>,
    /// What was found of its signature, in a word.
    pub signature: Option<&'static str>,
}

impl Line {
    /// In the form of Postfix; what was there before is said.
    pub fn log(&self, id: QueueId, acceptance: &Acceptance) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let Line { client, envelope, account, size, message_id, signature } = self;
        // What was here before is nothing that has come.
        if !acceptance.all_duplicate {
            let login = account.as_ref().map(|account| format!(", sasl_username={account}")).unwrap_or_default();
            tracing::info!(program = "smtpd", "{id}: client={client}{login}");
        }
        let account = account.as_ref().map(|account| format!(", account={account}")).unwrap_or_default();
        let signature = signature.map(|word| format!(", smime={word}")).unwrap_or_default();
        let known = match acceptance {
            Acceptance { all_duplicate: true, id, .. } => format!(", dropped: a second copy of {id}"),
            Acceptance { duplicates: 1.., .. } => format!(", {} have it already", acceptance.duplicates),
            _ => String::new(),
        };
        tracing::info!(
            program = "qmgr",
            "{id}: from=<{}>{account}, size={size}, nrcpt={}, message-id={}{signature}{known}",
            envelope.sender,
            envelope.recipients.len(),
            message_id.as_deref().unwrap_or("none"),
        );
    }
}
