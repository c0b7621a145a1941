//! What somebody who has only mail wants of the presence of people here.
//!
//! In: a mail to the presence address. Out: what presence is told, as by any watcher; or the reply that leaves the mail to the
//! mail system. Invariants: only a proven author is answered, so nobody hears from here who has not written; to watch takes
//! the token that the author alone was sent; whoever has the token of an end needs no proof, for it ends what its owner is
//! told and no more. A report that a mail did not come ends it too. Protocol, section 8; RFC 2369 §3.2.

use tokio::time::Instant;

use super::super::transaction::{Accepting, Judge};
use super::{Options, done, refuse};
use crate::address::{Domain, Mailbox};
use crate::bridge::intake::{self, Kind};
use crate::bridge::presence::{Command, Tokens, USAGE};
use crate::bridge::report::Read;
use crate::mime;
use crate::mime::presence::{Directive, Event, SubscriptionId};
use crate::policy::identity::Finding;
use crate::policy::identity::mail::author;
use crate::presence::{Author, Said};
use crate::random;
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::server::Transaction;

impl Judge {
    /// A mail to the presence address of a domain.
    pub(super) async fn asked_by_mail(
        &self,
        transaction: &Transaction,
        facts: &mime::Facts,
        domain: &Domain,
        bridge: &Options,
    ) -> Result<Accepting, Reply> {
        let (mail, now) = (&transaction.entity, self.context.clock.now());
        let [from] = &facts.from[..] else { return Err(intake::Refusal::Authors.reply()) };
        let command = Command::of(mail);
        let tokens = Tokens { secret: &bridge.secret, watcher: from, domain };
        let done = || done(self.context.spool.reserve());
        // A mail program may do this by itself, and a program of the mail system in its place.
        if let Some(Command::Unsubscribe(whom, Some(token))) = &command
            && tokens.ends(whom.as_ref(), token)
        {
            self.unsubscribe(from, whom.clone(), domain, bridge).await?;
            return Ok(done());
        }
        let accounts = self.context.accounts.borrow().clone();
        let ours = |domain: &Domain| accounts.is_local(domain) || bridge.domains.contains_key(domain);
        let kind = intake::judge(mail, facts, &transaction.mail.sender, &bridge.spam, ours);
        if kind.map_err(|refusal| refusal.reply())? != Kind::Message {
            return Err(refuse(550, (5, 7, 1), "a report is for the address that it reports to"));
        }
        if ours(from.domain()) {
            return Err(refuse(550, (5, 7, 1), "you have presence of your own here; watch with your client"));
        }
        if self.context.table.borrow().mail().is_none() {
            return Err(refuse(550, (5, 3, 3), "nobody is told of presence by mail here"));
        }
        match author(mail, from, &bridge.believed) {
            Finding::Proven { .. } => {}
            Finding::Unknown { reason } => {
                let text = format!("whether you are the author is not known now: {reason}");
                return Err(Reply::new(451, EnhancedCode::new(4, 4, 3), text));
            }
            Finding::Unproven { reason } => {
                let text = format!("whoever asks for presence has to be proven as the author: {reason}");
                return Err(Reply::new(550, EnhancedCode::new(5, 7, 1), text));
            }
        }
        let Some(command) = command else {
            return Err(Reply::new(554, EnhancedCode::new(5, 6, 0), format!("that is nothing to be asked; {USAGE}")));
        };
        self.context.mailed.count(&from.key(), Instant::now())?;
        tracing::info!("from=<{from}>: by mail: {}", command.word());
        let person = |whom: &Mailbox| bridge.person(whom);
        match command {
            Command::Subscribe(whom) => self.context.presence.confirm_by_mail(from, &person(&whom))?,
            Command::Confirm(whom, token) => {
                if !tokens.confirms(&person(&whom), &token, now) {
                    let text = "that is no answer to what you were asked within two days; subscribe again";
                    return Err(refuse(550, (5, 7, 1), text));
                }
                let directive = Directive::Subscribe { id: identifier()?, expires: None, event: Event::Presence };
                self.said_by_mail(from, person(&whom), directive).await?;
            }
            Command::Status(whom) => {
                let directive = Directive::Fetch { id: identifier()?, event: Event::Presence };
                self.said_by_mail(from, person(&whom), directive).await?;
            }
            Command::Unsubscribe(whom, _) => self.unsubscribe(from, whom, domain, bridge).await?,
        }
        Ok(done())
    }

    /// The same as of a watcher elsewhere, by whose domain it would have come.
    async fn said_by_mail(&self, from: &Mailbox, whom: Mailbox, directive: Directive) -> Result<(), Reply> {
        let author = Author { mailbox: from.clone(), proven: true, client: false, by_mail: true };
        let entity = format!("From: <{from}>\r\nTo: <{whom}>\r\nPresence: {directive}\r\n\r\n").into();
        let now = self.context.clock.now();
        self.context.presence.say(Said { author, recipients: vec![whom], entity, signed: None, now }).await
    }

    async fn unsubscribe(
        &self,
        from: &Mailbox,
        whom: Option<Mailbox>,
        domain: &Domain,
        bridge: &Options,
    ) -> Result<(), Reply> {
        match whom {
            Some(whom) => self.said_by_mail(from, bridge.person(&whom), Directive::Cancel { id: identifier()? }).await,
            None => self.context.presence.unsubscribe_by_mail(from, domain).await.map(|_| ()),
        }
    }

    /// A report about a mail that told of presence.
    pub(super) async fn unread(&self, read: &Read<'_>) -> Result<Accepting, Reply> {
        let id = self.context.spool.reserve();
        if read.is_failure() {
            let count = self.context.presence.unsubscribe_by_mail(&read.recipient, read.sender.domain()).await?;
            tracing::info!("{id}: mail does not come to {}, which is told of {count} no more", read.recipient);
        }
        Ok(done(id))
    }
}

fn identifier() -> Result<SubscriptionId, Reply> {
    let refused = |_| refuse(451, (4, 3, 0), "no random numbers at the moment, try again");
    random::octets().map(SubscriptionId::new).map_err(refused)
}
