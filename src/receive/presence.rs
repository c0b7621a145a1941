//! Entities of the class PRES: who says them, and who of their recipients is presence's own business.
//!
//! In: a transaction whose author is known to be the sender, proven or not. Out: what was said, on its way to stable storage;
//! what is for domains that we relay for goes on as a message does. Invariant: nothing of the class PRES enters the spool for
//! an address here.

use bytes::Bytes;

use super::signed::Signature;
use super::transaction::{Accepted, Judge};
use crate::address::{Domain, ForwardPath, Mailbox};
use crate::envelope::Class;
use crate::mime::presence::Directive;
use crate::mime::trace;
use crate::policy::Service;
use crate::presence::{Author, Said};
use crate::reply::{EnhancedCode, Reply};
use crate::route::{self, Decision, Way};
use crate::smtp::command::{Mail, Rcpt};
use crate::spool::{Acceptance, QueueId};

/// What was said, before anybody knows that it is on stable storage.
pub(super) struct Told(std::pin::Pin<Box<dyn Future<Output = Result<(), Reply>> + Send>>);

impl Told {
    /// That it is on stable storage, or why it is not said.
    pub async fn done(self) -> Result<(), Reply> {
        self.0.await
    }

    /// As the answer to an entity.
    pub fn accepted(self, id: QueueId) -> Accepted {
        Box::pin(async move {
            self.done().await?;
            Ok(Acceptance { id, duplicates: 0, all_duplicate: false })
        })
    }
}

fn refused(text: impl Into<String>) -> Reply {
    Reply::new(550, EnhancedCode::new(5, 7, 1), text.into())
}

impl Judge {
    /// Says what concerns addresses here, or what a client of ours wants of others, and takes those recipients out. What is
    /// left is relayed.
    pub(super) async fn presence(
        &mut self,
        mail: &Mail,
        rcpts: &mut Vec<Rcpt>,
        entity: &Bytes,
        signature: Option<&Signature>,
        proven: bool,
    ) -> Result<Option<Told>, Reply> {
        let directive = Directive::of(entity);
        let directive = directive.map_err(|fault| Reply::new(554, EnhancedCode::new(5, 6, 0), fault.to_string()))?;
        let Some(sender) = mail.sender.mailbox().cloned() else { return Ok(None) };
        let client = self.listener.service == Service::Client;
        if client {
            self.is_account(&sender)?;
        }
        let accounts = self.context.accounts.borrow().clone();
        // A client's publication for somebody elsewhere goes there as it is; for the rest its server acts.
        let acts = client && !matches!(directive, Directive::Publish { .. });
        let mut recipients: Vec<Mailbox> = Vec::new();
        rcpts.retain(|rcpt| match &rcpt.path {
            ForwardPath::Mailbox(mailbox) if acts || accounts.is_local(mailbox.domain()) => {
                if recipients.iter().all(|known| known.key() != mailbox.key()) {
                    recipients.push(mailbox.clone());
                }
                false
            }
            _ => true,
        });
        if recipients.is_empty() {
            return Ok(None);
        }
        if !client && matches!(directive, Directive::Subscribe { .. } | Directive::Fetch { .. }) {
            self.can_be_answered(sender.domain()).await?;
        }
        if let Some(signature) = signature {
            signature.is_of_its_author()?;
        }
        let author = Author { mailbox: sender, proven: proven || client, client, by_mail: false };
        // Where it has come through concerns nobody who is told of it, and the signed entity goes on as it is.
        let (entity, now) = (trace::without(entity), self.context.clock.now());
        let said = Said { author, recipients, entity, signed: signature.map(Signature::content), now };
        Ok(Some(Told(Box::pin(self.context.presence.say(said)))))
    }

    /// Presence is under the account's own address: its aliases have none.
    fn is_account(&self, sender: &Mailbox) -> Result<(), Reply> {
        let account = self.login.as_ref().and_then(|login| login.principal()).map(|principal| &principal.account);
        match account {
            Some(account) if account.key() != sender.key() => {
                Err(refused(format!("presence is under the name of the account; send as {account}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the domain of who asks has a place for answers.
    async fn can_be_answered(&self, domain: &Domain) -> Result<(), Reply> {
        let way = self.context.table.borrow().way(domain, Class::Pres);
        if way != Way::Lookup {
            return Ok(());
        }
        let answer = self.context.resolver.srv(&route::service_name(Class::Pres, domain)).await;
        match route::decide(answer, Class::Pres, domain, |_| 0) {
            Decision::Targets(..) => Ok(()),
            Decision::Refused | Decision::NoService { .. } => {
                let text = format!("{domain} cannot be answered: it has no SRV record at _pres._impp.{domain}");
                Err(refused(text))
            }
            Decision::Unknown { reason, .. } => {
                let text = format!("whether {domain} can be answered is not known now: {reason}");
                Err(Reply::new(451, EnhancedCode::new(4, 4, 3), text))
            }
        }
    }
}
