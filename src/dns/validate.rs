//! Validation in this process: every record is proven from a trust anchor down, with the servers as mere messengers.
//!
//! In: a question. Out: its [`Outcome`]; what is not proven to be right or to be unsigned is bogus. An absence counts
//! as proven only with NSEC or NSEC3 that were proven themselves. Known limit: answers made from a wildcard in a zone
//! with NSEC come out bogus, which delays mail but never misleads. RFC 4035 §5.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::{DnsRequestOptions, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::txt::ParseError;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::resolver::{Asking, Source};
use super::wire::{self, Outcome, Question, Walk};
use super::{Failure, SetupError, library};

/// Questions that are answered at once; more wait. Each may need a dozen queries.
const AT_ONCE: usize = 64;

type Handle = DnssecDnsHandle<RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>>;

pub(super) struct Validating {
    handle: Handle,
    timeout: Duration,
    slots: Semaphore,
}

impl Validating {
    pub(super) fn new(
        servers: &[SocketAddr],
        trust_anchor: Option<&Path>,
        timeout: Duration,
    ) -> Result<Validating, SetupError> {
        let anchors = match trust_anchor {
            None => TrustAnchors::default(),
            Some(path) => read_anchors(path)?,
        };
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 1;
        options.edns0 = true;
        options.validate = true;
        options.edns_payload_len = wire::PAYLOAD;
        let config = library::no_tls().map_err(|error| SetupError::Validation(error.to_string()))?;
        let tls = TlsConfig { config };
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config(servers.iter().map(server), context, TokioRuntimeProvider::default());
        let handle = DnssecDnsHandle::with_trust_anchor(RetryDnsHandle::new(pool, 1), Arc::new(anchors));
        Ok(Validating { handle, timeout, slots: Semaphore::new(AT_ONCE) })
    }

    async fn resolve(&self, question: Question) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let timeout = Failure::Timeout(question.text());
        let Ok(Ok(_slot)) = timeout_at(deadline, self.slots.acquire()).await else {
            return Outcome::failed(timeout);
        };
        timeout_at(deadline, self.walk(question)).await.unwrap_or(Outcome::failed(timeout))
    }

    async fn walk(&self, question: Question) -> Outcome {
        let name = question.text();
        let mut walk = Walk::new(question);
        loop {
            let current = walk.current();
            let message = match self.ask_once(&current).await {
                Ok(message) => message,
                Err(failure) => return Outcome::failed(failure),
            };
            if let Some(failure) = wire::refusal(&message, &current) {
                return Outcome::failed(failure);
            }
            let Some(secure) = proof(&message, &current) else {
                return Outcome::failed(Failure::Bogus(name));
            };
            // What the servers claim by AD is of no interest here.
            let mut message = message;
            message.metadata.authentic_data = secure;
            if let Some(outcome) = walk.take(&message, true) {
                return outcome;
            }
        }
    }

    async fn ask_once(&self, question: &Question) -> Result<Message, Failure> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_set_dnssec_ok = true;
        options.edns_payload_len = wire::PAYLOAD;
        let query = Query::query(question.name.clone(), question.kind.record_type());
        let answer = self.handle.lookup(query, options).first_answer().await;
        answer.map(|response| response.into_message()).or_else(|error| failed(error, question))
    }
}

impl Source for Validating {
    fn ask(&self, question: Question) -> Asking<'_> {
        Box::pin(self.resolve(question))
    }
}

pub(super) fn server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections.into())
}

pub(super) fn read_anchors(path: &Path) -> Result<TrustAnchors, SetupError> {
    let broken = |reason: String| SetupError::TrustAnchor { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
    // `TrustAnchors::is_empty` counts the root's keys only; a file may well be for one zone.
    let is_record = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with(';');
    if !text.lines().any(is_record) {
        return Err(broken("there is none in it".to_owned()));
    }
    text.parse().map_err(|error: ParseError| broken(error.to_string()))
}

/// Whether all that a message says about a question is proven, `Some(false)` if it is proven to be unsigned, `None`
/// if it is bogus or its state could not be found out. Whatever else is in the message does not count: an unsigned
/// record of somebody else's must not lower a signed answer to an unsigned one, nor its SOA stand for an absence.
fn proof(message: &Message, question: &Question) -> Option<bool> {
    let (used, end) = used(message, question);
    let mut secure = true;
    for record in &used {
        match record.proof {
            Proof::Secure => {}
            Proof::Insecure => secure = false,
            Proof::Bogus | Proof::Indeterminate => return None,
        }
    }
    let is_soa = |record: &&Record| record.record_type() == RecordType::SOA && record.name.zone_of(end);
    let soa = message.authorities.iter().find(is_soa);
    let positive = used.last().is_some_and(|record| record.record_type() == question.kind.record_type());
    let leads_on = !used.is_empty() && soa.is_none() && message.metadata.response_code == ResponseCode::NoError;
    if positive || leads_on {
        return Some(secure);
    }
    // The handle has checked that they prove this absence.
    let proves_absence = |record: &Record| {
        matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3) && record.proof == Proof::Secure
    };
    if message.authorities.iter().any(proves_absence) {
        return Some(secure);
    }
    // Below an unsigned zone nothing can be proven; with nothing to go by, the handle has looked for that zone itself.
    let unsigned = soa.is_some_and(|soa| soa.proof == Proof::Insecure) || message.authorities.is_empty();
    unsigned.then_some(false)
}

/// The records that lead from the question to its answer, and the name where they end.
fn used<'a>(message: &'a Message, question: &'a Question) -> (Vec<&'a Record>, &'a Name) {
    let (mut used, mut at) = (Vec::new(), &question.name);
    for _ in 0..=wire::CHAIN {
        let here =
            |kind| message.answers.iter().filter(move |record| record.record_type() == kind && &record.name == at);
        let records = used.len();
        used.extend(here(question.kind.record_type()));
        let alias = here(RecordType::CNAME).find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record, &target.0)),
            _ => None,
        });
        match alias {
            Some((record, target)) if used.len() == records => {
                used.push(record);
                at = target;
            }
            _ => break,
        }
    }
    (used, at)
}

fn failed(error: NetError, question: &Question) -> Result<Message, Failure> {
    let name = question.text();
    Err(match error {
        // An absence that is proven to need no proof is as good as any unsigned answer.
        NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. }) => {
            let mut message = response.into_message();
            for record in &mut message.authorities {
                record.proof = Proof::Insecure;
            }
            return Ok(message);
        }
        NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => Failure::Bogus(name),
        NetError::Dns(DnsError::ResponseCode(code)) => Failure::Server { name, code: wire::keyword(code) },
        NetError::Timeout => Failure::Timeout(name),
        NetError::Io(error) => Failure::Unreachable(crate::net::Fault::of(&error).to_string()),
        NetError::NoConnections => Failure::Unreachable("no server accepts a connection".to_owned()),
        other => Failure::Server { name, code: format!("something unusable ({other})") },
    })
}

#[cfg(test)]
mod tests;
