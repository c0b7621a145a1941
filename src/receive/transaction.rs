//! What a session asks about a transaction, answered: facts are gathered here, decided in [`crate::policy`].
//!
//! In: MAIL, RCPT, an entity. Out: the reply, or a message on its way into the spool. Invariant: an entity enters the spool
//! with our trace fields, in an envelope that policy accepted, and what was found about its sender is the same that let MAIL
//! pass.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::accounts::{Accounts, Found};
use crate::address::{Domain, EhloName, ForwardPath, Mailbox, ReversePath};
use crate::attached::Upkeep;
use crate::envelope::{Body, Class, Envelope};
use crate::mime::{self, submission, trace};
use crate::policy::expand::{self, Expansion, expand};
use crate::policy::identity::{self, Finding, Role};
use crate::policy::inbox::{self, Refused, Sifted};
use crate::policy::submission::is_report;
use crate::policy::{self, Reporter, Senders, Service};
use crate::random;
use crate::receipt::{self, About};
use crate::receive::attach::{self, Turn};
use crate::receive::bridge::Crossed;
use crate::receive::connection::{Origin, claimed};
use crate::receive::identity::{Identity, REMEMBERED};
use crate::receive::line::{self, Line};
use crate::receive::login::Login;
use crate::receive::signed::{Signature, refuse_astray};
use crate::receive::upstream::is_upstream;
use crate::receive::{Context, Listener, Options, Upstream};
use crate::reply::{EnhancedCode, Reply};
use crate::rules::Circumstances;
use crate::smtp::command::{Mail, Rcpt};
use crate::smtp::server::Transaction;
use crate::spool::{Acceptance, NewMessage, QueueId, Settlement};
use crate::timestamp::Timestamp;

/// What becomes of an entity in the spool, or in the tables of presence.
pub type Accepted = Pin<Box<dyn Future<Output = Result<Acceptance, Reply>> + Send>>;

/// What a message says of itself, to be held against rules.
struct Said<'a> {
    facts: &'a mime::Facts,
    signature: Option<&'a Signature>,
    /// Nobody knows whether its author is who it says.
    anonymous: bool,
    entity: &'a Bytes,
    id: QueueId,
}

/// A transaction, and what was found about it at the bridge.
pub(super) struct Crossing {
    pub transaction: Transaction,
    /// Fields that tell on it.
    pub results: String,
    /// To the rules its author is nobody.
    pub anonymous: bool,
}

/// An entity on its way into the spool.
pub struct Accepting {
    /// It carries our own trace field.
    pub returned: bool,
    /// To be polled.
    pub future: Accepted,
}

/// Answers for one connection.
pub struct Judge {
    pub(super) context: Arc<Context>,
    pub(super) listener: Arc<Listener>,
    pub(super) origin: Origin,
    pub(super) ehlo: Option<EhloName>,
    pub(super) login: Option<Login>,
    pub(super) turn: Option<Turn>,
    mail: Option<Mail>,
    /// The client speaks LMTP.
    pub(super) lmtp: bool,
    /// A recipient of the transaction was accepted.
    pub(super) has_recipient: bool,
    identity: Identity,
    /// What was found of the sender of the transaction that is open or waits for its entity, by domain.
    findings: HashMap<(Domain, Role), Finding>,
    upstream: bool,
}

impl Judge {
    /// For a connection from `origin`.
    pub fn new(context: Arc<Context>, listener: Arc<Listener>, origin: Origin) -> Self {
        let chain = origin.tls.as_ref().map(|peer| peer.chain.clone()).unwrap_or_default();
        let (resolver, roots) = (context.resolver.clone(), context.roots.clone());
        let identity = Identity::new(resolver, roots, chain, origin.address, context.options.identity.clone());
        let upstream = is_upstream(&context, &origin);
        let login = attach::login(&context, &listener, &origin);
        let findings = HashMap::new();
        Judge {
            context,
            listener,
            origin,
            ehlo: None,
            login,
            turn: None,
            mail: None,
            lmtp: false,
            has_recipient: false,
            identity,
            findings,
            upstream,
        }
    }

    /// KiB that may wait for the disk.
    pub fn waiting(&self) -> &Arc<Semaphore> {
        &self.context.waiting
    }

    /// EHLO, HELO or LHLO.
    pub fn hello(&mut self, name: EhloName, lmtp: bool) {
        (self.ehlo, self.lmtp) = (Some(name), lmtp);
    }

    /// MAIL FROM.
    pub async fn mail(&mut self, mail: Mail) -> Reply {
        let accounts = self.context.accounts.borrow().clone();
        let judged = match self.listener.service {
            Service::Client => self.submitter(&mail, &accounts),
            service => policy::mail(service, &mail, self.listener.senders, &accounts),
        };
        let outsider = mail.sender.mailbox().filter(|_| self.listener.service != Service::Client);
        let let_in = || outsider.map_or(Ok(()), |sender| self.context.refused.borrow().sender(sender));
        if let Err(refusal) = judged.and_then(|()| let_in()) {
            return refusal;
        }
        if self.listener.service == Service::Relay && !self.upstream {
            let finding = self.finding(&mail).await;
            let class = mail.class.unwrap_or(Class::Im);
            if let Err(refusal) = policy::sender(&finding, class).and_then(|()| self.rate(&mail, class)) {
                return refusal;
            }
        }
        (self.mail, self.has_recipient) = (Some(mail), false);
        Reply::new(250, EnhancedCode::new(2, 1, 0), "sender accepted")
    }

    /// Whether the domain may hand in another message now. Presence is bounded by its subscriptions.
    fn rate(&self, mail: &Mail, class: Class) -> Result<(), Reply> {
        match (&self.context.peers, self.claim(mail)) {
            (Some(peers), Some((domain, _))) if class == Class::Im => peers.count(domain.as_str(), Instant::now()),
            _ => Ok(()),
        }
    }

    /// Whether the account may send in that name, and now.
    fn submitter(&self, mail: &Mail, accounts: &Accounts) -> Result<(), Reply> {
        let principal = self.principal()?;
        policy::submission::mail(mail, principal, accounts)?;
        self.context.rates.count(&principal.account.key(), Instant::now())
    }

    /// RCPT TO.
    pub async fn recipient(&mut self, rcpt: Rcpt) -> Reply {
        if let Some(bridge) = self.listener.bridge.clone() {
            return self.recipient_of_mail(rcpt, &bridge).await;
        }
        let accounts = self.context.accounts.borrow().clone();
        let Some(mail) = &self.mail else {
            return Reply::new(503, EnhancedCode::new(5, 5, 1), "MAIL first");
        };
        let class = mail.class.unwrap_or(Class::Im);
        let judged = {
            let table = self.context.table.borrow();
            let relayed = |domain: &Domain| table.relays_for(domain, class);
            policy::recipient(self.listener.service, mail, &rcpt, &accounts, relayed)
        };
        let ForwardPath::Mailbox(mailbox) = &rcpt.path else {
            return judged.err().unwrap_or_else(no_such_inbox);
        };
        let found = accounts.find(mailbox, class);
        let judged = match judged {
            Ok(()) if found == Found::Elsewhere => exists(&accounts, mailbox).await,
            judged => judged,
        };
        let here = found != Found::Foreign;
        let ruled = |()| match here && class == Class::Im {
            // Who claims to be the sender has been held to it, or will be by the entity.
            true => inbox::recipient(&mail.sender, mailbox, &accounts, self.context.clock.now()),
            false => Ok(()),
        };
        let room = |()| if here && class == Class::Im { self.room(mailbox, &accounts) } else { Ok(()) };
        match judged.and_then(ruled).and_then(room) {
            Ok(()) => Reply::new(250, EnhancedCode::new(2, 1, 5), "recipient accepted"),
            Err(refusal) => refusal,
        }
    }

    /// Whether the inbox, or one of those that an alias or a group stands for, has room.
    pub(super) fn room(&self, mailbox: &Mailbox, accounts: &Accounts) -> Result<(), Reply> {
        let Options { inbox_messages, inbox_octets, .. } = self.context.options;
        let attached = &self.context.attached;
        let inboxes = match accounts.members(mailbox) {
            Some(members) if !members.is_empty() => members,
            _ => std::slice::from_ref(mailbox),
        };
        let mut full = true;
        for inbox in inboxes.iter().filter(|inbox| attached.has_room(inbox, inbox_messages, inbox_octets)) {
            full = false;
            self.give_up(attached.make_room(inbox, inbox_messages, inbox_octets));
        }
        if full {
            let text = "the inbox is full; try again when its owner has fetched messages";
            return Err(Reply::new(452, EnhancedCode::new(4, 2, 2), text));
        }
        Ok(())
    }

    /// Writes that messages are not kept for further devices any more; what the spool does not take now is due again.
    fn give_up(&self, upkeep: Upkeep) {
        if upkeep.is_empty() {
            return;
        }
        let (spool, attached) = (self.context.spool.clone(), self.context.attached.clone());
        tokio::spawn(async move {
            for (id, had) in upkeep.had {
                let settled = spool.settle(Settlement { had: vec![had.clone()], ..Settlement::new(id) }).await;
                if let Err(fault) = settled {
                    tracing::warn!("{id}: that it is kept no longer cannot be written, tried again: {fault}");
                    attached.again(Upkeep { had: vec![(id, had)], ..Upkeep::default() });
                }
            }
        });
    }

    /// An entity, complete. `Ok`: the spool takes it when the future is polled.
    pub async fn entity(&mut self, transaction: Transaction) -> Result<Accepting, Reply> {
        match self.listener.bridge.clone() {
            None => self.accept(Crossing { transaction, results: String::new(), anonymous: false }).await,
            Some(bridge) => match self.from_mail(transaction, &bridge).await? {
                Crossed::Message(crossing) => self.accept(crossing).await,
                Crossed::Report(accepting) => Ok(accepting),
            },
        }
    }

    async fn accept(&mut self, crossing: Crossing) -> Result<Accepting, Reply> {
        let Crossing { transaction, results, anonymous } = crossing;
        let Transaction { mut mail, mut rcpts, entity, lmtp, .. } = transaction;
        let now = self.context.clock.now();
        let submission::Completed { entity, repeatable } = self.completed(&mail, entity)?;
        let (entity, facts) = self.inspected(&mut mail, entity)?;
        let finding = self.finding_of(&mail, &entity)?;
        let proven = self.author(&mail, &facts, finding.as_ref()).await;
        let accounts = self.context.accounts.borrow().clone();
        self.fits(&mail, &facts, &entity, proven.as_ref(), &accounts)?;
        let signature = self.signature(&entity, &rcpts, mail.class.unwrap_or(Class::Im), &accounts).await?;
        let returned = facts.hops > 0 && trace::passed(&entity, &self.context.options.host);
        let (digest, id) = (mime::digest(&entity), self.context.spool.reserve());
        let told = match mail.class {
            Some(Class::Pres) => {
                self.presence(&mail, &mut rcpts, &entity, signature.as_ref(), proven.is_some()).await?
            }
            _ => None,
        };
        let results = self.results(finding.as_ref(), signature.as_ref(), results);
        let entity = self.stamped(entity, &mail, lmtp, &results, id);
        let told = match told {
            Some(told) if rcpts.is_empty() => return Ok(Accepting { returned, future: told.accepted(id) }),
            told => told,
        };
        let origin = match self.listener.service {
            Service::Relay => crate::spool::Origin::Peer { proven: proven.clone() },
            Service::Client => crate::spool::Origin::Client { account: self.principal()?.account.clone() },
            _ => crate::spool::Origin::Mail,
        };
        let (envelope, expires) = policy::envelope(mail, rcpts, self.terms(now)?);
        let expansion = expand(envelope, |address| accounts.members(address));
        let said = Said { facts: &facts, signature: signature.as_ref(), anonymous, entity: &entity, id };
        let (envelope, receipts) = self.ruled(expansion, &said, &accounts)?;
        let envelope = Arc::new(envelope);
        let accepted = Line {
            client: line::client(&self.origin, proven.as_ref()),
            envelope: envelope.clone(),
            account: self.principal().ok().map(|principal| principal.account.clone()),
            size: entity.len(),
            message_id: facts.message_id.clone(),
            signature: signature.as_ref().map(|signature| signature.verdict.word()),
        };
        let signed = signature.map(|signature| signature.seen(&envelope, &accounts)).unwrap_or_default();
        let message = NewMessage {
            id: Some(id),
            envelope,
            entity,
            digest,
            message_id: facts.message_id,
            repeatable,
            signed,
            origin,
            arrived: now,
            expires,
        };
        let accepting = self.context.spool.accept_with(message, receipts);
        let future = async move {
            // One answer for all: what was said here is on stable storage too.
            if let Some(told) = told {
                told.done().await?;
            }
            let acceptance = accepting.await.map_err(|fault| fault.reply())?;
            accepted.log(id, &acceptance);
            Ok(acceptance)
        };
        Ok(Accepting { returned, future: Box::pin(future) })
    }

    fn terms(&self, now: Timestamp) -> Result<policy::Terms, Reply> {
        Ok(policy::Terms {
            now,
            retention: self.context.options.retention,
            envid: self.listener.service.submits().then(random_token).transpose()?,
        })
    }

    /// Whether an entity is one that its sender may send, by whoever vouches for that.
    fn fits(
        &self,
        mail: &Mail,
        facts: &mime::Facts,
        entity: &Bytes,
        proven: Option<&Domain>,
        accounts: &Accounts,
    ) -> Result<(), Reply> {
        let reporter = match (self.listener.service, proven) {
            (Service::Relay, Some(proven)) => Reporter::Domain(proven),
            (Service::Client, _) => Reporter::Account(self.principal()?, accounts),
            (Service::Mail, _) if self.listener.senders != Senders::Own => Reporter::Anybody,
            _ => Reporter::Local(accounts),
        };
        policy::entity(mail, facts, reporter)?;
        if let Reporter::Account(principal, accounts) = reporter {
            policy::submission::sender(&facts.sender, principal, accounts)?;
        }
        if self.listener.service == Service::Client && mail.sender == ReversePath::Null && !is_report(entity) {
            let text = "only reports have a null sender; send in your own name";
            return Err(Reply::new(550, EnhancedCode::new(5, 7, 1), text));
        }
        Ok(())
    }

    /// What the entity says of itself. The mail system hands on octets that are not US-ASCII without saying so, as many of its
    /// clients do: they are labelled, for hops and readers after us (RFC 6152 §3).
    fn inspected(&self, mail: &mut Mail, entity: Bytes) -> Result<(Bytes, mime::Facts), Reply> {
        let (entity, facts) = match mime::inspect(&entity, policy::rules(mail)) {
            Err(mime::Defect::NeedsEightBit) if self.listener.service == Service::Mail => {
                mail.body = Body::EightBitMime;
                let entity = submission::label(entity);
                let facts = mime::inspect(&entity, policy::rules(mail));
                (entity, facts)
            }
            facts => (entity, facts),
        };
        facts.map(|facts| (entity, facts)).map_err(|defect| defect.reply())
    }

    /// The envelope without those whose rules refuse the message, and the receipts for these and for groups, each with the
    /// index of a recipient with whose acceptance it goes.
    fn ruled(
        &self,
        expansion: Expansion,
        &Said { facts, signature, anonymous, entity, id }: &Said<'_>,
        accounts: &Accounts,
    ) -> Result<(Envelope, Vec<(usize, NewMessage)>), Reply> {
        let envelope = &expansion.envelope;
        let exempt = envelope.class == Class::Pres || (!anonymous && inbox::is_exempt(&envelope.sender, entity));
        // Nobody gets round a rule by leaving the sender out.
        let author = envelope.sender.mailbox().or(facts.from.first()).cloned();
        let sifted = match exempt {
            // A report has one recipient: nobody else is there to take it.
            true if signature.is_some_and(Signature::is_astray) => return Err(refuse_astray()),
            true => Sifted { expansion, refused: None },
            false => {
                let signatures = self.context.signatures.borrow().clone();
                let objects = |inbox: &Mailbox| signatures.objection(inbox, signature);
                let signed = signature.map(|signature| signature.signed(author.as_ref())).unwrap_or_default();
                let now = self.context.clock.now();
                let circumstances = Circumstances { now, signed, ..Circumstances::default() };
                // Who may be anybody must be let in as such, and as whom it claims to be.
                let authors = [author.as_ref(), None];
                let authors = if anonymous { &authors[..] } else { &authors[..1] };
                inbox::sift(expansion, authors, objects, accounts, circumstances)?
            }
        };
        let mut receipts = self.expanded(&sifted.expansion, entity, id)?;
        if let Some(refused) = sifted.refused {
            receipts.extend(self.refused(&refused, entity, id)?);
        }
        Ok((sifted.expansion.envelope, receipts))
    }

    /// The receipts for groups, each with the index of a member (RFC 3461 §5.2.7.3).
    fn expanded(&self, expansion: &Expansion, entity: &Bytes, id: QueueId) -> Result<Vec<(usize, NewMessage)>, Reply> {
        let Some(before) = &expansion.before else { return Ok(Vec::new()) };
        let mut receipts = Vec::new();
        for group in &expansion.groups {
            let about = About::new(group.index, receipt::Action::Expanded, EnhancedCode::new(2, 1, 5), "");
            let receipt = self.receipt(before, &[about], entity, id)?;
            receipts.extend(receipt.map(|receipt| (group.member, receipt)));
        }
        Ok(receipts)
    }

    /// The receipt for members of groups whose rules refuse the message.
    fn refused(&self, refused: &Refused, entity: &Bytes, id: QueueId) -> Result<Option<(usize, NewMessage)>, Reply> {
        let status = EnhancedCode::new(5, 7, 1);
        let failed = |(index, words): &(usize, &str)| About::new(*index, receipt::Action::Failed, status, words);
        let about: Vec<_> = refused.indexes.iter().map(failed).collect();
        let receipt = self.receipt(&refused.envelope, &about, entity, id)?;
        Ok(receipt.map(|receipt| (refused.with, receipt)))
    }

    /// A receipt in the name of the domain of the first recipient that it is about.
    fn receipt(
        &self,
        envelope: &Envelope,
        about: &[receipt::About],
        entity: &Bytes,
        id: QueueId,
    ) -> Result<Option<NewMessage>, Reply> {
        let (now, options) = (self.context.clock.now(), &self.context.options);
        let first = about.first().and_then(|about| envelope.recipients.get(about.index));
        let Some(recipient) = first else { return Ok(None) };
        let receipt = receipt::receipt(&receipt::Facts {
            reporting: &options.host,
            from_domain: recipient.address.domain(),
            envelope,
            arrived: now,
            now,
            expires: now.after(options.retention),
            entity,
            id,
            message_id_entropy: entropy()?,
            recipients: about,
        });
        Ok(receipt.map(|receipt| expand::receipt(receipt, &self.context.accounts.borrow())))
    }

    /// The proven domain in whose name the entity is. A report's author may be in another domain than the host of the
    /// null sender's EHLO; then that domain is what the peer has to prove.
    async fn author(
        &mut self,
        mail: &Mail,
        facts: &mime::Facts,
        finding: Option<&(Domain, Role, Finding)>,
    ) -> Option<Domain> {
        let proven = finding.filter(|(_, _, finding)| finding.is_proven()).map(|(domain, ..)| domain.clone());
        match (&mail.sender, facts.from.as_slice(), &proven) {
            (ReversePath::Null, [from], Some(ehlo)) if from.domain() != ehlo && !self.upstream => {
                let finding = self.identity.finding(from.domain(), Role::Sender).await;
                if finding.is_proven() { Some(from.domain().clone()) } else { proven }
            }
            _ => proven,
        }
    }

    /// A submission gets the fields that every message has.
    fn completed(&self, mail: &Mail, entity: Bytes) -> Result<submission::Completed, Reply> {
        // A mail that comes again must be the same message.
        if self.listener.service == Service::Relay || self.listener.bridge.is_some() {
            return Ok(submission::Completed { entity, repeatable: true });
        }
        let sender = mail.sender.mailbox();
        let domain = self.principal().map_or(&self.context.options.host, |principal| principal.account.domain());
        let origin = submission::Origin {
            sender,
            domain: sender.map_or(domain, Mailbox::domain),
            now: self.context.clock.now(),
            entropy: entropy()?,
        };
        Ok(submission::complete(entity, &origin))
    }

    /// The domain that the transaction is sent for and what was found about it; `None` for submissions. What an upstream
    /// relay found is in the entity.
    fn finding_of(&self, mail: &Mail, entity: &[u8]) -> Result<Option<(Domain, Role, Finding)>, Reply> {
        if self.listener.service != Service::Relay {
            return Ok(None);
        }
        let Some((domain, role)) = self.claim(mail) else { return Ok(None) };
        if !self.upstream {
            let finding = self.findings.get(&(domain.clone(), role)).cloned();
            return Ok(finding.map(|finding| (domain, role, finding)));
        }
        let finding = self.found_upstream(&domain, role, entity);
        policy::sender(&finding, mail.class.unwrap_or(Class::Im))?;
        Ok(Some((domain, role, finding)))
    }

    /// What an upstream relay wrote about the domain: under its own name, or the one in its EHLO.
    fn found_upstream(&self, domain: &Domain, role: Role, entity: &[u8]) -> Finding {
        let all = mime::Fields::new(entity).flatten().filter(|field| field.is("Authentication-Results"));
        let fields: Vec<_> = all.map(|field| mime::unfold(field.value)).collect();
        let fields: Vec<&str> = fields.iter().map(AsRef::as_ref).collect();
        let names = self.context.options.upstreams.iter().filter_map(|upstream| match upstream {
            Upstream::Name(name) => Some(name.as_str()),
            Upstream::Network(_) => None,
        });
        let ehlo = self.ehlo.as_ref().and_then(claimed).map(Domain::as_str);
        let trusted: Vec<&str> = names.chain(ehlo).collect();
        identity::upstream(&fields, &trusted, role, domain)
    }

    /// The fields that tell on what was found; `found`: those that are there already.
    fn results(
        &self,
        finding: Option<&(Domain, Role, Finding)>,
        signature: Option<&Signature>,
        found: String,
    ) -> String {
        let host = self.context.options.host.as_str();
        let mut results = String::new();
        if let Some((domain, role, finding)) = finding {
            results.push_str(&identity::authentication_results(host, finding, *role, domain));
        }
        if let Some(signature) = signature {
            results.push_str(&identity::signature_results(host, &signature.verdict));
        }
        results + &found
    }

    fn stamped(&self, entity: Bytes, mail: &Mail, lmtp: bool, results: &str, id: QueueId) -> Bytes {
        let host = &self.context.options.host;
        let from = match (&self.ehlo, self.listener.service) {
            (Some(name), Service::Relay) => trace::Source::Relay(name),
            _ => trace::Source::Submission,
        };
        let (tls, auth) = (self.origin.tls.is_some(), self.principal().is_ok());
        let with = trace::Protocol { lmtp, utf8: mail.utf8, tls, auth, ..trace::Protocol::default() };
        let hop = trace::Hop { from, by: host, with };
        let prepend = trace::received(&hop, self.context.clock.now(), id) + results;
        trace::stamp(entity, &prepend, host.as_str())
    }

    /// The domain that a transaction is sent for: the sender's, or the one that EHLO claims where the sender is null.
    fn claim(&self, mail: &Mail) -> Option<(Domain, Role)> {
        match &mail.sender {
            ReversePath::Mailbox(sender) => Some((sender.domain().clone(), Role::Sender)),
            ReversePath::Null => Some((self.ehlo.as_ref().and_then(claimed)?.clone(), Role::Ehlo)),
        }
    }

    async fn finding(&mut self, mail: &Mail) -> Finding {
        let Some(claim) = self.claim(mail) else {
            return Finding::Unproven { reason: "EHLO gave no domain name".to_owned() };
        };
        let finding = self.identity.finding(&claim.0, claim.1).await;
        if self.findings.len() >= REMEMBERED {
            self.findings.clear();
        }
        let news = self.findings.insert(claim.clone(), finding.clone()) != Some(finding.clone());
        if news && finding.is_proven() {
            // The queue may have gone when the daemon stops.
            self.context.presence.shows_life(&claim.0);
            let _ = self.context.life.send(claim.0);
        }
        finding
    }
}

pub(super) fn no_such_inbox() -> Reply {
    Reply::new(550, EnhancedCode::new(5, 1, 1), "there is no such inbox here")
}

/// What the mail system says of an address.
pub(super) async fn exists(accounts: &Accounts, mailbox: &Mailbox) -> Result<(), Reply> {
    match accounts.exists(mailbox).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(no_such_inbox()),
        Err(fault) => {
            tracing::warn!("whether {mailbox} exists cannot be told: {fault}");
            let text = "whether that inbox exists cannot be told at the moment, try again later";
            Err(Reply::new(451, EnhancedCode::new(4, 3, 0), text))
        }
    }
}

fn entropy() -> Result<[u8; 16], Reply> {
    let refused = |_| Reply::new(451, EnhancedCode::new(4, 3, 0), "no random numbers at the moment, try again");
    random::octets().map_err(refused)
}

/// An identifier that nobody guesses.
fn random_token() -> Result<String, Reply> {
    Ok(format!("{:032x}", u128::from_be_bytes(entropy()?)))
}
