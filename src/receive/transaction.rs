//! What a session asks about a transaction, answered: facts are gathered here, decided in [`crate::policy`].
//!
//! In: MAIL, RCPT, an entity. Out: the reply, or a message on its way into the spool. Invariant: an entity enters the spool
//! with our trace fields, in an envelope that policy accepted, and what was found about its sender is the same that let MAIL
//! pass.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::UnixTime;
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
use crate::policy::{self, Reporter, Service};
use crate::random;
use crate::receipt;
use crate::receive::attach::{self, Turn};
use crate::receive::connection::{Origin, claimed};
use crate::receive::identity::{Identity, REMEMBERED};
use crate::receive::line::Line;
use crate::receive::login::Login;
use crate::receive::signed::{Signature, refuse_astray};
use crate::receive::{Context, Listener, Options, Upstream};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{Mail, Rcpt};
use crate::smtp::server::Transaction;
use crate::spool::{Acceptance, NewMessage, QueueId, Settlement};
use crate::tls::chain::{self, Purpose};

/// What becomes of an entity in the spool, or in the tables of presence.
pub type Accepted = Pin<Box<dyn Future<Output = Result<Acceptance, Reply>> + Send>>;

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
        Judge { context, listener, origin, ehlo: None, login, turn: None, mail: None, identity, findings, upstream }
    }

    /// KiB that may wait for the disk.
    pub fn waiting(&self) -> &Arc<Semaphore> {
        &self.context.waiting
    }

    /// EHLO or HELO.
    pub fn hello(&mut self, name: EhloName) {
        self.ehlo = Some(name);
    }

    /// MAIL FROM.
    pub async fn mail(&mut self, mail: Mail) -> Reply {
        let accounts = self.context.accounts.borrow().clone();
        let judged = match self.listener.service {
            Service::Client => self.submitter(&mail, &accounts),
            service => policy::mail(service, &mail, self.listener.any_sender, &accounts),
        };
        if let Err(refusal) = judged {
            return refusal;
        }
        if self.listener.service == Service::Relay && !self.upstream {
            let finding = self.finding(&mail).await;
            if let Err(refusal) = policy::sender(&finding, mail.class.unwrap_or(Class::Im)) {
                return refusal;
            }
        }
        self.mail = Some(mail);
        Reply::new(250, EnhancedCode::new(2, 1, 0), "sender accepted")
    }

    /// Whether the account may send in that name, and now.
    fn submitter(&self, mail: &Mail, accounts: &Accounts) -> Result<(), Reply> {
        let principal = self.principal()?;
        policy::submission::mail(mail, principal, accounts)?;
        self.context.rates.count(&principal.account.key(), Instant::now())
    }

    /// RCPT TO.
    pub async fn recipient(&mut self, rcpt: Rcpt) -> Reply {
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
    fn room(&self, mailbox: &Mailbox, accounts: &Accounts) -> Result<(), Reply> {
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
        let Transaction { mut mail, mut rcpts, entity, .. } = transaction;
        let now = self.context.clock.now();
        let entity = self.completed(&mail, entity)?;
        let (entity, facts) = self.inspected(&mut mail, entity)?;
        let finding = self.finding_of(&mail, &entity)?;
        let proven = self.author(&mail, &facts, finding.as_ref()).await;
        let accounts = self.context.accounts.borrow().clone();
        self.fits(&mail, &facts, &entity, proven.as_ref(), &accounts)?;
        let signature = self.signature(&entity, &rcpts, mail.class.unwrap_or(Class::Im), &accounts).await?;
        let returned = facts.hops > 0 && trace::passed(&entity, &self.context.options.host);
        let digest = mime::digest(&entity);
        let id = self.context.spool.reserve();
        let told = match mail.class {
            Some(Class::Pres) => {
                self.presence(&mail, &mut rcpts, &entity, signature.as_ref(), proven.is_some()).await?
            }
            _ => None,
        };
        let entity = self.stamped(entity, &mail, finding.as_ref(), signature.as_ref(), id);
        let told = match told {
            Some(told) if rcpts.is_empty() => return Ok(Accepting { returned, future: told.accepted(id) }),
            told => told,
        };
        let origin = match self.listener.service {
            Service::Relay => crate::spool::Origin::Peer { proven },
            Service::Client => crate::spool::Origin::Client { account: self.principal()?.account.clone() },
            _ => crate::spool::Origin::Mail,
        };
        let terms = policy::Terms {
            now,
            retention: self.context.options.retention,
            envid: self.listener.service.submits().then(random_token).transpose()?,
        };
        let (envelope, expires) = policy::envelope(mail, rcpts, terms);
        let expansion = expand(envelope, |address| accounts.members(address));
        let (envelope, receipts) = self.ruled(expansion, &facts, signature.as_ref(), &entity, id, &accounts)?;
        let envelope = Arc::new(envelope);
        let accepted = Line {
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
            (Service::Mail, _) if self.listener.any_sender => Reporter::Anybody,
            _ => Reporter::Local(accounts),
        };
        policy::entity(mail, facts, reporter)?;
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
        facts: &mime::Facts,
        signature: Option<&Signature>,
        entity: &Bytes,
        id: QueueId,
        accounts: &Accounts,
    ) -> Result<(Envelope, Vec<(usize, NewMessage)>), Reply> {
        let envelope = &expansion.envelope;
        let exempt = envelope.class == Class::Pres || inbox::is_exempt(&envelope.sender, entity);
        // Nobody gets round a rule by leaving the sender out.
        let author = envelope.sender.mailbox().or(facts.from.first()).cloned();
        let sifted = match exempt {
            // A report has one recipient: nobody else is there to take it.
            true if signature.is_some_and(Signature::is_astray) => return Err(refuse_astray()),
            true => Sifted { expansion, refused: None },
            false => {
                let signatures = self.context.signatures.borrow().clone();
                let objects = |inbox: &Mailbox| signatures.objection(inbox, signature);
                inbox::sift(expansion, author.as_ref(), objects, accounts, self.context.clock.now())?
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
            let about = about(group.index, receipt::Action::Expanded, EnhancedCode::new(2, 1, 5), "");
            let receipt = self.receipt(before, &[about], entity, id)?;
            receipts.extend(receipt.map(|receipt| (group.member, receipt)));
        }
        Ok(receipts)
    }

    /// The receipt for members of groups whose rules refuse the message.
    fn refused(&self, refused: &Refused, entity: &Bytes, id: QueueId) -> Result<Option<(usize, NewMessage)>, Reply> {
        let failed =
            |(index, words): &(usize, &str)| about(*index, receipt::Action::Failed, EnhancedCode::new(5, 7, 1), words);
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
    fn completed(&self, mail: &Mail, entity: Bytes) -> Result<Bytes, Reply> {
        if self.listener.service == Service::Relay {
            return Ok(entity);
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
            Upstream::Network(..) => None,
        });
        let ehlo = self.ehlo.as_ref().and_then(claimed).map(Domain::as_str);
        let trusted: Vec<&str> = names.chain(ehlo).collect();
        identity::upstream(&fields, &trusted, role, domain)
    }

    fn stamped(
        &self,
        entity: Bytes,
        mail: &Mail,
        finding: Option<&(Domain, Role, Finding)>,
        signature: Option<&Signature>,
        id: QueueId,
    ) -> Bytes {
        let host = &self.context.options.host;
        let from = match (&self.ehlo, self.listener.service) {
            (Some(name), Service::Relay) => trace::Source::Relay(name),
            _ => trace::Source::Submission,
        };
        let (tls, auth) = (self.origin.tls.is_some(), self.principal().is_ok());
        let with = trace::Protocol { utf8: mail.utf8, tls, auth, ..trace::Protocol::default() };
        let hop = trace::Hop { from, by: host, with };
        let mut prepend = trace::received(&hop, self.context.clock.now(), id);
        if let Some((domain, role, finding)) = finding {
            prepend.push_str(&identity::authentication_results(host.as_str(), finding, *role, domain));
        }
        if let Some(signature) = signature {
            prepend.push_str(&identity::signature_results(host.as_str(), &signature.verdict));
        }
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

/// Whether the peer is a relay whose word is taken for where messages come from.
fn is_upstream(context: &Context, origin: &Origin) -> bool {
    if context.options.upstreams.is_empty() {
        return false;
    }
    let shown = origin.tls.as_ref().filter(|peer| !peer.chain.is_empty());
    let names =
        shown.and_then(|peer| chain::prove_by_roots(&peer.chain, &context.roots, Purpose::Relay, UnixTime::now()).ok());
    context.options.upstreams.iter().any(|upstream| match upstream {
        Upstream::Network(network, bits) => origin.address.is_some_and(|address| within(address, *network, *bits)),
        Upstream::Name(name) => names.as_ref().is_some_and(|names| names.names_host(name)),
    })
}

/// Whether an address is in a network.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shifted = |value: u128, width: u8| value.checked_shr(u32::from(width.saturating_sub(bits))).unwrap_or(0);
    match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            shifted(u128::from(one.to_bits()), 32) == shifted(u128::from(other.to_bits()), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => shifted(one.to_bits(), 128) == shifted(other.to_bits(), 128),
        _ => false,
    }
}

fn about(index: usize, action: receipt::Action, status: EnhancedCode, reason: &str) -> receipt::About {
    receipt::About {
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

fn no_such_inbox() -> Reply {
    Reply::new(550, EnhancedCode::new(5, 1, 1), "there is no such inbox here")
}

/// What the mail system says of an address.
async fn exists(accounts: &Accounts, mailbox: &Mailbox) -> Result<(), Reply> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, bits, address: &str, expected| {
            let got = within(address.parse().unwrap(), network.parse().unwrap(), bits);
            assert_eq!(got, expected, "{address} in {network}/{bits}");
        };
        check("192.0.2.0", 24, "192.0.2.200", true);
        check("192.0.2.0", 24, "::ffff:192.0.2.1", true);
        check("192.0.2.0", 24, "192.0.3.1", false);
        check("0.0.0.0", 0, "203.0.113.1", true);
        check("0.0.0.0", 0, "2001:db8::1", false);
        check("2001:db8::", 32, "2001:db8:1::1", true);
        check("2001:db8::1", 128, "2001:db8::2", false);
        check("::", 0, "2001:db8::2", true);
    }
}
