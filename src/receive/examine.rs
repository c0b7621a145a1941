//! The examination of a mail: SPF, DKIM, DMARC and, of trusted sealers, ARC, with what DNS says.
//!
//! In: a mail, its author, its envelope sender and the client that brought it. Out: [`Examined`], on which
//! [`crate::policy::identity::authorship`] decides. Invariants: bounded in signatures ([`limits::SIGNATURES`]), in the fields
//! that each names, in time ([`limits::EXAMINATION`]) and in examinations at once; what a signature must not leave out (From,
//! RFC 6376 §5.4) and what is too weak (rsa-sha1, RFC 8301) does not count, nor does one of a part of the body. It never
//! fails: what nobody could say in time is [`Outcome::TempError`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mail_auth::arc::Seal;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::headers::Header;
use mail_auth::dkim::{self, DkimError};
use mail_auth::dmarc::{self, verify::DmarcParameters};
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, Error, MessageAuthenticator, SpfOutput, SpfResult,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::address::{Domain, Mailbox};
use crate::limits;
use crate::policy::identity::authorship::{Client, Examined, Outcome, Policy, Set, Signature};

/// Examinations at once; more wait.
const AT_ONCE: usize = 64;
/// Octets of a mail that is looked at beside the work on sockets.
const SMALL: usize = 32 * 1024;
/// Fields that a signature may name.
const FIELDS: usize = 200;
/// Octets of a domain or a selector.
const NAME: usize = 253;

/// Who examines.
pub struct Examiner {
    authenticator: MessageAuthenticator,
    sealers: Vec<Domain>,
    host: Domain,
    slots: Semaphore,
}

impl fmt::Debug for Examiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examiner").field("sealers", &self.sealers).field("host", &self.host).finish_non_exhaustive()
    }
}

/// A mail, and who is said to have written, sent and brought it.
pub(super) struct Case {
    /// Octet for octet as it came.
    pub mail: Bytes,
    /// The only author.
    pub author: Mailbox,
    /// Of the envelope; none where it is null.
    pub sender: Option<Mailbox>,
    /// Who brought it to the mail system, where that is known.
    pub client: Option<Client>,
}

impl Examiner {
    /// One that asks `resolver`, and believes `sealers`; `host` is this host.
    pub fn new(resolver: TokioResolver, sealers: Vec<Domain>, host: Domain) -> Examiner {
        let slots = Semaphore::new(AT_ONCE);
        Examiner { authenticator: MessageAuthenticator(resolver), sealers, host, slots }
    }

    /// Whose seals count.
    pub fn sealers(&self) -> &[Domain] {
        &self.sealers
    }

    /// Examines.
    pub(super) async fn examine(self: &Arc<Self>, case: Case) -> Examined {
        let this = self.clone();
        let examination = async move {
            let Ok(_slot) = this.slots.acquire().await else { return Examined::unknown() };
            if case.mail.len() <= SMALL {
                return this.run(&case).await;
            }
            // Digests of a long mail take a while.
            let (here, worker) = (Handle::current(), this.clone());
            let done =
                tokio::task::spawn_blocking(move || here.block_on(timeout(limits::EXAMINATION, worker.run(&case))));
            done.await.ok().and_then(Result::ok).unwrap_or_else(Examined::unknown)
        };
        timeout(limits::EXAMINATION, examination).await.unwrap_or_else(|_| Examined::unknown())
    }

    async fn run(&self, case: &Case) -> Examined {
        let Some(mut message) = AuthenticatedMessage::parse(&case.mail) else {
            return Examined { dmarc: Outcome::PermError, ..Examined::unknown() };
        };
        // Who is shown as the author is who is examined.
        message.from = vec![case.author.to_string()];
        retain(&mut message.dkim_headers, case.author.domain());
        let dkim = self.authenticator.verify_dkim(&message).await;
        let sender = case.sender.as_ref().map(|sender| sender.domain().to_string());
        let helo = case.client.as_ref().map(|client| client.helo.clone()).unwrap_or_default();
        let (domain, spf) = (sender.unwrap_or(helo), self.spf(case).await);
        let none = SpfOutput::default();
        let dmarc = self.authenticator.verify_dmarc(DmarcParameters {
            message: &message,
            dkim_output: &dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: &domain,
            spf_output: spf.as_ref().unwrap_or(&none),
        });
        let dmarc = dmarc.await;
        let (arc, sets) = self.arc(&message).await;
        Examined {
            spf: spf.map(|output| (of_spf(output.result()), domain)),
            signatures: dkim.iter().filter_map(signature).collect(),
            dmarc: of_dmarc(&dmarc.result()),
            policy: match dmarc.policy() {
                dmarc::Policy::Reject => Policy::Reject,
                dmarc::Policy::Quarantine => Policy::Quarantine,
                dmarc::Policy::None | dmarc::Policy::Unspecified => Policy::None,
            },
            arc,
            sets,
        }
    }

    /// Of the envelope sender; of the name in EHLO where that is null (RFC 7208 §2.4).
    async fn spf(&self, case: &Case) -> Option<SpfOutput> {
        let client = case.client.as_ref()?;
        let host = self.host.as_str();
        let sender = case.sender.as_ref().map(ToString::to_string);
        let parameters = match &sender {
            Some(sender) => SpfParameters::verify_mail_from(client.address, &client.helo, host, sender),
            None => SpfParameters::verify_ehlo(client.address, &client.helo, host),
        };
        Some(self.authenticator.verify_spf(parameters).await)
    }

    /// The chain, if the last who has sealed it is trusted; nothing else could count.
    async fn arc(&self, message: &AuthenticatedMessage<'_>) -> (Outcome, Vec<Set>) {
        let newest = message.as_headers.iter().map(|seal| &seal.header).max_by_key(|seal| seal.i);
        let trusted = |seal: &Seal| Domain::parse(&seal.d).is_ok_and(|domain| self.sealers.contains(&domain));
        if message.as_headers.len() > limits::SEALS || !newest.is_some_and(trusted) {
            return (Outcome::None, Vec::new());
        }
        let signs_author = |header: &Header<'_, mail_auth::arc::Signature>| names_from(&header.header.h);
        if !message.ams_headers.iter().all(signs_author) {
            return (Outcome::PermError, Vec::new());
        }
        let output = self.authenticator.verify_arc(message).await;
        let sets = output.sets().iter().map(|set| Set {
            sealer: set.seal.header.d.clone(),
            results: behind_instance(&String::from_utf8_lossy(set.results.value)),
        });
        (of_dkim(output.result()), sets.collect())
    }
}

/// Keeps signatures that can prove something, those of the author's domain first, and no more than are examined.
fn retain(signatures: &mut Vec<Header<'_, dkim::Signature>>, author: &Domain) {
    signatures.retain(|Header { header, .. }| {
        let small = header.h.len() <= FIELDS && header.d.len() <= NAME && header.s.len() <= NAME;
        small && header.a != Algorithm::RsaSha1 && names_from(&header.h)
    });
    signatures.sort_by_key(|Header { header, .. }| !is_near(&header.d, author.as_str()));
    signatures.truncate(limits::SIGNATURES);
    for Header { header, .. } in signatures {
        // Nothing is reported, and nobody signs for others: these would only ask DNS for more.
        header.r = false;
        header.atps = None;
    }
}

fn names_from(fields: &[String]) -> bool {
    fields.iter().any(|field| field.trim().eq_ignore_ascii_case("from"))
}

/// Whether one is the other, or below it.
fn is_near(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    let below =
        |name: &str, parent: &str| name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    below(&one, &other) || below(&other, &one)
}

/// What stands behind `i=1;` (RFC 8617 §4.1.1).
fn behind_instance(value: &str) -> String {
    value.split_once(';').map(|(_, rest)| rest.replace(['\r', '\n'], "").trim().to_owned()).unwrap_or_default()
}

fn signature(output: &DkimOutput<'_>) -> Option<Signature> {
    let signature = output.signature()?;
    Some(Signature { outcome: of_dkim(output.result()), domain: signature.d.clone(), selector: signature.s.clone() })
}

fn of_dkim(result: &DkimResult) -> Outcome {
    match result {
        DkimResult::Pass => Outcome::Pass,
        // RFC 8601 §2.7.1: a digest that does not fit is a failure.
        DkimResult::Fail(_) | DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch)) => Outcome::Fail,
        DkimResult::Neutral(_) => Outcome::Neutral,
        DkimResult::PermError(_) => Outcome::PermError,
        DkimResult::TempError(_) => Outcome::TempError,
        DkimResult::None => Outcome::None,
    }
}

fn of_dmarc(result: &DmarcResult) -> Outcome {
    match result {
        DmarcResult::Pass => Outcome::Pass,
        DmarcResult::Fail(_) => Outcome::Fail,
        DmarcResult::TempError(_) => Outcome::TempError,
        DmarcResult::PermError(_) => Outcome::PermError,
        DmarcResult::None => Outcome::None,
    }
}

fn of_spf(result: SpfResult) -> Outcome {
    match result {
        SpfResult::Pass => Outcome::Pass,
        SpfResult::Fail => Outcome::Fail,
        SpfResult::SoftFail => Outcome::SoftFail,
        SpfResult::Neutral => Outcome::Neutral,
        SpfResult::TempError => Outcome::TempError,
        SpfResult::PermError => Outcome::PermError,
        SpfResult::None => Outcome::None,
    }
}

#[cfg(test)]
pub(in crate::receive) mod tests;
