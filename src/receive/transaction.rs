//! What a session asks about a transaction, answered: facts are gathered here, decided in [`crate::policy`].
//!
//! In: MAIL, RCPT, an entity. Out: the reply, or a message on its way into the spool. Invariant: an entity enters the spool
//! with our trace fields, in an envelope that policy accepted; the identity of a peer is asked for once for each domain it
//! speaks for, and for no more than [`DOMAINS`] of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use aws_lc_rs::rand;
use bytes::Bytes;

use crate::address::{Domain, EhloName, ReversePath};
use crate::envelope::Class;
use crate::mime::{self, submission, trace};
use crate::policy::identity::{self, Finding};
use crate::policy::{self, Service};
use crate::receive::connection::{Origin, claimed};
use crate::receive::{Context, Listener, identity as gathering};
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{Mail, Rcpt};
use crate::smtp::server::Transaction;
use crate::spool::{Acceptance, NewMessage, SpoolError};

/// Domains that one connection may speak for.
const DOMAINS: usize = 64;

/// Answers for one connection.
pub struct Judge {
    context: Arc<Context>,
    listener: Arc<Listener>,
    origin: Origin,
    ehlo: Option<EhloName>,
    mail: Option<Mail>,
    findings: HashMap<Domain, Finding>,
}

impl Judge {
    /// For a connection from `origin`.
    pub fn new(context: Arc<Context>, listener: Arc<Listener>, origin: Origin) -> Self {
        Judge { context, listener, origin, ehlo: None, mail: None, findings: HashMap::new() }
    }

    /// EHLO or HELO.
    pub fn hello(&mut self, name: EhloName) {
        self.ehlo = Some(name);
    }

    /// MAIL FROM.
    pub async fn mail(&mut self, mail: Mail) -> Reply {
        let accounts = self.context.accounts.borrow().clone();
        if let Err(refusal) = policy::mail(self.listener.service, &mail, self.listener.any_sender, &accounts) {
            return refusal;
        }
        if self.listener.service == Service::Relay && !self.is_upstream() {
            let finding = self.finding(&mail).await;
            if let Err(refusal) = policy::sender(&finding, mail.class.unwrap_or(Class::Im)) {
                return refusal;
            }
        }
        self.mail = Some(mail);
        Reply::new(250, EnhancedCode::new(2, 1, 0), "sender accepted")
    }

    /// RCPT TO.
    pub fn recipient(&mut self, rcpt: Rcpt) -> Reply {
        let accounts = self.context.accounts.borrow();
        let table = self.context.table.borrow();
        let Some(mail) = &self.mail else {
            return Reply::new(503, EnhancedCode::new(5, 5, 1), "MAIL first");
        };
        let class = mail.class.unwrap_or(Class::Im);
        let relayed = |domain: &Domain| table.relays_for(domain, class);
        match policy::recipient(self.listener.service, mail, &rcpt, &accounts, relayed) {
            Ok(()) => Reply::new(250, EnhancedCode::new(2, 1, 5), "recipient accepted"),
            Err(refusal) => refusal,
        }
    }

    /// An entity, complete. `Ok`: it is on its way into the spool.
    pub fn entity(
        &mut self,
        transaction: Transaction,
    ) -> Result<impl Future<Output = Result<Acceptance, SpoolError>> + Send + use<>, Reply> {
        let Transaction { mail, rcpts, entity, by_data, .. } = transaction;
        let now = self.context.clock.now();
        let entity = self.completed(&mail, entity)?;
        let facts = mime::inspect(&entity, policy::rules(&mail, by_data)).map_err(|defect| defect.reply())?;
        let findings = self.trace_finding(&mail, &entity)?;
        let proven = match &findings {
            Some((domain, Finding::Proven { .. })) => Some(domain),
            _ => None,
        };
        policy::entity(&mail, &facts, proven)?;
        let digest = mime::digest(&entity);
        let id = self.context.spool.reserve();
        let entity = self.stamped(entity, &mail, findings.as_ref(), id);
        let origin = match self.listener.service {
            Service::Relay => crate::spool::Origin::Peer { proven: proven.cloned() },
            Service::Mail => crate::spool::Origin::Mail,
        };
        let terms = policy::Terms {
            now,
            retention: self.context.options.retention,
            envid: (self.listener.service == Service::Mail).then(random_token).transpose()?,
        };
        let (envelope, expires) = policy::envelope(mail, rcpts, terms);
        tracing::info!(
            "{id}: from=<{}>, size={}, nrcpt={}, message-id={}",
            envelope.sender,
            entity.len(),
            envelope.recipients.len(),
            facts.message_id.as_deref().unwrap_or("none"),
        );
        let message = NewMessage {
            id: Some(id),
            envelope: Arc::new(envelope),
            entity,
            digest,
            message_id: facts.message_id,
            origin,
            arrived: now,
            expires,
        };
        self.context.accepted.fetch_add(1, Relaxed);
        Ok(self.context.spool.accept(message))
    }

    /// A submission gets the fields that every message has.
    fn completed(&self, mail: &Mail, entity: Bytes) -> Result<Bytes, Reply> {
        if self.listener.service == Service::Relay {
            return Ok(entity);
        }
        let sender = mail.sender.mailbox();
        let origin = submission::Origin {
            sender,
            domain: sender.map_or(&self.context.options.host, |sender| sender.domain()),
            now: self.context.clock.now(),
            entropy: entropy()?,
        };
        Ok(submission::complete(entity, &origin))
    }

    /// The domain that the transaction is sent for and what was found about it; `None` for submissions. What an upstream
    /// relay found is in the entity.
    fn trace_finding(&self, mail: &Mail, entity: &[u8]) -> Result<Option<(Domain, Finding)>, Reply> {
        if self.listener.service == Service::Mail {
            return Ok(None);
        }
        let Some(domain) = self.domain_of(mail) else { return Ok(None) };
        let finding = match self.upstream() {
            Some(names) => {
                let finding = identity::upstream(&names, &domain, entity);
                policy::sender(&finding, mail.class.unwrap_or(Class::Im))?;
                Some(finding)
            }
            None => self.findings.get(&domain).cloned(),
        };
        Ok(finding.map(|finding| (domain, finding)))
    }

    fn stamped(
        &self,
        entity: Bytes,
        mail: &Mail,
        finding: Option<&(Domain, Finding)>,
        id: crate::spool::QueueId,
    ) -> Bytes {
        let host = &self.context.options.host;
        let from = match (&self.ehlo, self.listener.service) {
            (Some(name), Service::Relay) => trace::Source::Relay(name),
            _ => trace::Source::Submission,
        };
        let with = trace::Protocol { utf8: mail.utf8, tls: self.origin.tls.is_some(), ..trace::Protocol::default() };
        let hop = trace::Hop { from, by: host, with };
        let mut prepend = trace::received(&hop, self.context.clock.now(), id);
        if let Some((domain, finding)) = finding {
            prepend.push_str(&identity::authentication_results(host, finding, domain));
        }
        trace::stamp(entity, &prepend, host.as_str())
    }

    /// The domain that a transaction is sent for: the sender's, or by RFC 7208 §2.4's example the EHLO name's where the
    /// sender is null.
    fn domain_of(&self, mail: &Mail) -> Option<Domain> {
        match &mail.sender {
            ReversePath::Mailbox(sender) => Some(sender.domain().clone()),
            ReversePath::Null => self.ehlo.as_ref().and_then(claimed).cloned(),
        }
    }

    async fn finding(&mut self, mail: &Mail) -> Finding {
        let Some(domain) = self.domain_of(mail) else {
            return Finding::Unproven { reason: "EHLO gave no domain name".to_owned() };
        };
        if let Some(finding) = self.findings.get(&domain) {
            return finding.clone();
        }
        let finding = gathering::find(&self.context.identity, &self.origin, &domain, mail.sender == ReversePath::Null).await;
        if matches!(finding, Finding::Proven { .. }) {
            let _ = self.context.life.send(domain.clone());
        }
        if self.findings.len() >= DOMAINS {
            self.findings.clear();
        }
        // A fault of DNS may be over at the next attempt.
        if !matches!(finding, Finding::Unknown { .. }) {
            self.findings.insert(domain, finding.clone());
        }
        finding
    }
}

fn entropy() -> Result<[u8; 16], Reply> {
    let mut bytes = [0; 16];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Reply::new(451, EnhancedCode::new(4, 3, 0), "no random numbers at the moment, try again")),
    }
}

/// An identifier that nobody guesses.
fn random_token() -> Result<String, Reply> {
    Ok(entropy()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
