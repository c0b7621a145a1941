//! The event `policy`: rules that their owner's clients read and set.
//!
//! In: a document and the version that it takes the place of; a question. Out: files of rules, that are read again before
//! anybody is answered. RFC 4745, RFC 5025.

use super::super::engine::refuse;
use super::super::{Author, Refusal};
use super::Handle;
use crate::accounts::rules;
use crate::address::Mailbox;
use crate::mime::presence::SubscriptionId;
use crate::rules::Ruleset;

impl Handle {
    /// New rules of their owner's, in place of those of a version where one is named.
    pub(super) async fn set_rules(
        &self,
        author: &Author,
        recipients: &[Mailbox],
        (text, seq): (String, Option<u64>),
    ) -> Result<(), Refusal> {
        let owner = author.mailbox.clone();
        if !author.client || recipients.iter().any(|recipient| recipient.key() != owner.key()) {
            return Err(refuse(550, (5, 7, 1), "rules are set by their owner alone, in a session of its own"));
        }
        Ruleset::parse(&text).map_err(|fault| refuse(554, (5, 6, 0), fault.to_string()))?;
        let (directory, of) = (self.0.rules.clone(), owner.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut others = false;
            let written = rules::change(&directory, &of, |old| {
                others = seq.is_some_and(|seq| seq != rules::version(old));
                Ok(if others { old.map(str::to_owned) } else { Some(text) })
            });
            written.map(|_| others)
        });
        match written.await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                let text = "the rules have changed since they were read; read them, and change them again";
                return Err(refuse(450, (4, 5, 0), text));
            }
            Ok(Err(fault)) => {
                tracing::error!("the rules of {owner} cannot be written: {fault}");
                return Err(refuse(452, (4, 3, 1), "the rules cannot be written now, try again later"));
            }
            Err(_) => return Err(refuse(451, (4, 3, 0), "the rules were not written, try again")),
        }
        let handle = self.clone();
        // Files are read.
        let read = tokio::task::spawn_blocking(move || (handle.0.reload)()).await;
        read.map_err(|_| refuse(451, (4, 3, 0), "the rules were written and could not be read again"))?;
        let ((), written) = self.with(true, |engine, facts| engine.rules_changed(facts, &owner));
        match written {
            Some(written) => written.await.map_err(|fault| fault.reply()),
            None => Ok(()),
        }
    }

    /// The rules are shown to their owner's devices.
    pub(super) async fn show_rules(&self, owner: &Mailbox, id: SubscriptionId) -> Result<(), Refusal> {
        let (directory, of) = (self.0.rules.clone(), owner.clone());
        let read = tokio::task::spawn_blocking(move || rules::document(&directory, &of)).await;
        let document = match read {
            Ok(Ok(document)) => document,
            Ok(Err(_)) | Err(_) => return Err(refuse(451, (4, 3, 0), "the rules cannot be read, try again later")),
        };
        self.act(|engine, facts| engine.answer_rules(facts, owner, id, document.as_deref()));
        Ok(())
    }
}
