//! Mail of anybody for people here: it becomes messages.
//!
//! In: recipients and mails of a mail listener that is the bridge. Out: a message on its way into the spool like others, a
//! receipt, or the reply that leaves the mail to the mail system. Invariants: nothing is relayed; a recipient has a reply of its
//! own, so nobody is told by mail what the mail system can tell; whose authorship is not proven is anonymous to the rules,
//! and never hears from here. RFC 2033 §4.2, RFC 8601, RFC 3834 §4.

mod presence;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::examine::{Case, Examiner};
use super::transaction::{Accepting, Crossing, Judge, exists, no_such_inbox};
use crate::accounts::Found;
use crate::address::{Domain, ForwardPath, Mailbox, ReversePath};
use crate::bridge::intake::{self, Kind, SpamField};
use crate::bridge::presence::is_ours;
use crate::bridge::{inward, report};
use crate::envelope::{Body, Class, Notify};
use crate::mime;
use crate::policy::expand;
use crate::policy::identity::Finding;
use crate::policy::identity::authorship::{self, Verdict};
use crate::policy::identity::mail::{self as identity, Believed, Examination};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{Mail, Rcpt};
use crate::smtp::server::Transaction;
use crate::spool::{Acceptance, QueueId};

/// What follows a local part when the mail domain itself is shared: `alice+im@a.example`.
const SUFFIX: &str = "+im";
/// Octets of a mail that is looked at beside the work on sockets.
const SMALL: usize = 32 * 1024;

/// What the administrator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mail domains of the bridge, each with the domain whose people they are for.
    pub domains: HashMap<Domain, Domain>,
    /// Who is believed about authors.
    pub believed: Believed,
    /// Who examines mail here, where that is not left to the mail system.
    pub examiner: Option<Arc<Examiner>>,
    /// By which fields the mail system says that a mail is spam.
    pub spam: Vec<SpamField>,
    /// What the tokens of bounce addresses are made of.
    pub secret: [u8; 32],
}

impl Options {
    /// The address of a person that is meant by one of the bridge.
    fn person(&self, mailbox: &Mailbox) -> Mailbox {
        let domain = self.domains.get(mailbox.domain()).unwrap_or(mailbox.domain());
        let local = mailbox.local();
        let bare = local
            .len()
            .checked_sub(SUFFIX.len())
            .filter(|start| local.get(*start..).is_some_and(|end| *start > 0 && end.eq_ignore_ascii_case(SUFFIX)));
        let local = bare.and_then(|start| local.get(..start)).unwrap_or(local);
        Mailbox::new(local, domain.clone()).unwrap_or_else(|_| mailbox.clone())
    }

    /// The mail domain for the people of a domain.
    fn name_of<'a>(&'a self, domain: &'a Domain) -> &'a Domain {
        self.domains.iter().find(|(_, own)| *own == domain).map_or(domain, |(name, _)| name)
    }
}

/// What is found of a mail's author, and the field that tells on it.
struct Authorship {
    finding: Finding,
    results: String,
}

/// What became of a mail.
pub(super) enum Crossed {
    /// It is a message.
    Message(Crossing),
    /// It was a report.
    Report(Accepting),
}

fn refuse(code: u16, status: (u8, u16, u16), text: &'static str) -> Reply {
    Reply::new(code, EnhancedCode::new(status.0, status.1, status.2), text)
}

impl Judge {
    /// RCPT TO of a mail.
    pub(super) async fn recipient_of_mail(&mut self, rcpt: Rcpt, bridge: &Options) -> Reply {
        if self.has_recipient && !self.lmtp {
            return refuse(452, (4, 5, 3), "one recipient at a time, since each has its own answer; or use LMTP");
        }
        match self.takes_mail(&rcpt, bridge).await {
            Ok(()) => {
                self.has_recipient = true;
                Reply::new(250, EnhancedCode::new(2, 1, 5), "recipient accepted")
            }
            Err(refusal) => refusal,
        }
    }

    async fn takes_mail(&self, rcpt: &Rcpt, bridge: &Options) -> Result<(), Reply> {
        let accounts = self.context.accounts.borrow().clone();
        let ForwardPath::Mailbox(mailbox) = &rcpt.path else { return Err(no_such_inbox()) };
        let ours = accounts.is_local(mailbox.domain()) || bridge.domains.contains_key(mailbox.domain());
        if ours && (report::token(mailbox.local()).is_some() || is_ours(mailbox.local())) {
            return Ok(());
        }
        let person = bridge.person(mailbox);
        match accounts.find(&person, Class::Im) {
            Found::Inbox => {}
            Found::Elsewhere => exists(&accounts, &person).await?,
            Found::NoInbox => return Err(no_such_inbox()),
            Found::NotOffered => return Err(refuse(550, (5, 3, 3), "that domain has no instant messages")),
            Found::Foreign => return Err(refuse(550, (5, 7, 1), "mail is taken for people here only")),
        }
        self.room(&person, &accounts)
    }

    /// A mail, complete, for one recipient.
    pub(super) async fn from_mail(&self, transaction: Transaction, bridge: &Options) -> Result<Crossed, Reply> {
        let Transaction { mail, rcpts, entity, .. } = &transaction;
        let [Rcpt { path: ForwardPath::Mailbox(mailbox), .. }] = &rcpts[..] else { return Err(no_such_inbox()) };
        let facts = mime::inspect(entity, inward::RULES).map_err(|defect| defect.reply())?;
        if let Some(token) = report::token(mailbox.local()) {
            return self.report(entity, token, bridge).await.map(Crossed::Report);
        }
        if is_ours(mailbox.local()) {
            let domain = bridge.domains.get(mailbox.domain()).unwrap_or(mailbox.domain());
            return self.asked_by_mail(&transaction, &facts, domain, bridge).await.map(Crossed::Report);
        }
        let accounts = self.context.accounts.borrow().clone();
        let person = bridge.person(mailbox);
        let ours = |domain: &Domain| accounts.is_local(domain) || bridge.domains.contains_key(domain);
        let left = |refusal: intake::Refusal| {
            tracing::info!("from=<{}>, to=<{mailbox}>: left to the mail system: {refusal}", mail.sender);
            refusal.reply()
        };
        let kind = intake::judge(entity, &facts, &mail.sender, &bridge.spam, ours).map_err(left)?;
        let [from] = &facts.from[..] else { return Err(intake::Refusal::Authors.reply()) };
        let Authorship { finding, results } = self.authorship(entity, from, &mail.sender, bridge).await?;
        let name = bridge.name_of(person.domain());
        let (sender, made) = match kind {
            Kind::Status => return Err(refuse(550, (5, 7, 1), "a report is for the address that it reports to")),
            Kind::Notice if !finding.is_proven() => {
                return Err(refuse(550, (5, 7, 1), "a notice counts only if its author is proven by DMARC"));
            }
            Kind::Notice => (ReversePath::Null, entity.clone()),
            Kind::Message if !finding.is_proven() && ours(from.domain()) => {
                let text = "the author's domain lives here, and the mail system does not say that it is the author";
                return Err(refuse(550, (5, 7, 1), text));
            }
            Kind::Message => {
                let most = self.listener.session.size;
                (ReversePath::Mailbox(from.clone()), reduced(entity.clone(), name.clone(), most).await?)
            }
        };
        let crossing = message(&transaction, sender, person, made, finding.is_proven());
        Ok(Crossed::Message(Crossing { results, anonymous: !finding.is_proven(), ..crossing }))
    }

    /// Whether a mail is its author's: what the mail system has found, or what is found here.
    async fn authorship(
        &self,
        mail: &Bytes,
        from: &Mailbox,
        sender: &ReversePath,
        bridge: &Options,
    ) -> Result<Authorship, Reply> {
        let host = self.context.options.host.as_str();
        let told = match bridge.believed.examination {
            Examination::Own => None,
            Examination::Either | Examination::Upstream => identity::told(mail, from, &bridge.believed).ok(),
        };
        let decided = told.filter(|finding| !matches!(finding, Finding::Unknown { .. }));
        let (None, Some(examiner)) = (&decided, &bridge.examiner) else {
            let finding = decided.unwrap_or_else(|| identity::author(mail, from, &bridge.believed));
            let results = identity::mail_results(host, &finding, from);
            return Ok(Authorship { finding, results });
        };
        let client = authorship::client(mail, bridge.believed.hops);
        let sender = sender.mailbox().cloned();
        let examined = examiner.examine(Case { mail: mail.clone(), author: from.clone(), sender, client }).await;
        match authorship::verdict(&examined, from, examiner.sealers()) {
            // The mail system keeps it and tries again; RFC 7372 §3.2 as for peers.
            Verdict::Found(Finding::Unknown { reason }) => {
                let text = format!("cannot tell now whether {from} has written this: {reason}");
                Err(Reply::new(451, EnhancedCode::new(4, 7, 24), text))
            }
            Verdict::Found(finding) => {
                let results = authorship::results(host, &examined, &finding, from);
                Ok(Authorship { finding, results })
            }
            // RFC 7372 §3.4.
            Verdict::Refused(_) => {
                let domain = from.domain();
                tracing::info!("from=<{from}>: left to the mail system: DMARC fails, by the policy of {domain}");
                let text = format!("not proven to be of {domain}, which asks by DMARC not to take such mail");
                Err(Reply::new(550, EnhancedCode::new(5, 7, 26), text))
            }
        }
    }

    /// A report about a message that went out as mail.
    async fn report(&self, entity: &Bytes, token: &str, bridge: &Options) -> Result<Accepting, Reply> {
        let (now, options) = (self.context.clock.now(), &self.context.options);
        let id = self.context.spool.reserve();
        let around = report::Circumstances { host: &options.host, now, expires: now.after(options.retention), id };
        let read = report::read(entity, token, &bridge.secret);
        if let Some(read) = read.as_ref().filter(|read| is_ours(read.sender.local())) {
            return self.unread(read).await;
        }
        let Some(receipt) = read.and_then(|read| report::receipt(&read, &around)) else {
            tracing::info!("{id}: a report about no message of ours is dropped");
            return Ok(done(id));
        };
        let receipt = expand::receipt(receipt, &self.context.accounts.borrow());
        let accepting = self.context.spool.accept(receipt);
        let future = Box::pin(async move { accepting.await.map_err(|fault| fault.reply()) });
        Ok(Accepting { returned: false, future })
    }
}

/// What is done, and leaves nothing in the spool.
fn done(id: QueueId) -> Accepting {
    let done = Acceptance { id, duplicates: 0, all_duplicate: false };
    Accepting { returned: false, future: Box::pin(async move { Ok(done) }) }
}

/// The entity of a message, made on a thread of its own where that takes a while.
async fn reduced(mail: Bytes, name: Domain, most: u64) -> Result<Bytes, Reply> {
    if mail.len() <= SMALL {
        return Ok(inward::message(&mail, &name, most));
    }
    let made = tokio::task::spawn_blocking(move || inward::message(&mail, &name, most)).await;
    made.map_err(|_| refuse(451, (4, 3, 0), "the mail cannot be looked at now, try again later"))
}

/// The transaction as which a mail goes on.
fn message(was: &Transaction, sender: ReversePath, person: Mailbox, entity: Bytes, proven: bool) -> Crossing {
    let rcpts = was.rcpts.iter().map(|rcpt| Rcpt {
        path: ForwardPath::Mailbox(person.clone()),
        // Who may not be the author is not told anything.
        notify: if proven { rcpt.notify } else { Some(Notify::NEVER) },
        original: rcpt.original.clone(),
    });
    let header = mime::Fields::new(&entity).flatten().all(|field| entity[field.range].is_ascii());
    let utf8 = !header || sender.mailbox().is_some_and(|sender| !sender.is_ascii()) || !person.is_ascii();
    let mail = Mail { class: None, body: Body::EightBitMime, utf8, size: None, sender, ..was.mail.clone() };
    let Transaction { ticket, by_data, lmtp, .. } = *was;
    let transaction = Transaction { ticket, mail, rcpts: rcpts.collect(), entity, by_data, lmtp };
    Crossing { transaction, results: String::new(), anonymous: false }
}
