//! Whether a peer is the domain for which it sends: gathering the facts, for as long as the judgement needs more.
//!
//! In: what a connection showed (its certificate chain, its address) and a domain. Out: the [`Finding`] of
//! [`crate::policy::identity::judge`]. Bounded: two SRV look-ups, the addresses and the TLSA records of at most
//! [`HOSTS`] hosts, [`Options::timeout`] in all; at most [`REMEMBERED`] findings are kept for a connection, each for a
//! while. It never fails: what DNS could not say becomes [`Finding::Unknown`].
//! RFC 2782, RFC 3861, RFC 7673, RFC 6698.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::time::Instant;

use crate::address::Domain;
use crate::dns::{Answer, Resolve, Security, Srv, Tlsa};
use crate::envelope::Class;
use crate::policy::identity::{
    Claim, Fact, Facts, Finding, HOSTS, Host, Policy, RELAY_PORT, Role, Shown, TlsaFact, judge,
};
use crate::route::service_name;
use crate::tls::chain::{self, Purpose};
use crate::tls::{CertificateDer, Roots, dane};

/// Findings kept for one connection; a relay of many domains has more, and asks again.
pub const REMEMBERED: usize = 64;
/// How long a proof holds at most.
const PROVEN_FOR: Duration = Duration::from_secs(3600);
/// How long a "no" or a "nobody could say" holds: an administrator who mends it should not wait.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// What the administrator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// What counts as proof.
    pub policy: Policy,
    /// How long one finding may take in all.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { policy: Policy::default(), timeout: Duration::from_secs(20) }
    }
}

/// The identity of one connection's peer.
pub struct Identity {
    resolver: Arc<dyn Resolve>,
    roots: Arc<Roots>,
    chain: Vec<CertificateDer<'static>>,
    source: Option<IpAddr>,
    options: Options,
    known: VecDeque<Known>,
}

struct Known {
    domain: Domain,
    role: Role,
    finding: Finding,
    until: Instant,
}

/// A host to look at, with the ports at which it has TLSA records.
struct Candidate {
    host: Host,
    ports: Vec<u16>,
    priority: u16,
}

impl Identity {
    /// `chain` is what the peer showed in the TLS handshake, whose key it has; `source` its address, `None` for a peer
    /// without one (a Unix socket).
    pub fn new(
        resolver: Arc<dyn Resolve>,
        roots: Arc<Roots>,
        chain: Vec<CertificateDer<'static>>,
        source: Option<IpAddr>,
        options: Options,
    ) -> Identity {
        let source = source.map(|address| address.to_canonical());
        Identity { resolver, roots, chain, source, options, known: VecDeque::new() }
    }

    /// Whether the peer is `domain`.
    pub async fn finding(&mut self, domain: &Domain, role: Role) -> Finding {
        let now = Instant::now();
        self.known.retain(|known| known.until > now);
        if let Some(known) = self.known.iter().find(|known| known.role == role && known.domain == *domain) {
            return known.finding.clone();
        }
        let (finding, ttl) = match tokio::time::timeout(self.options.timeout, self.gather(domain, role)).await {
            Ok(found) => found,
            Err(_) => {
                let reason = format!("DNS took longer than {} s", self.options.timeout.as_secs());
                (Finding::Unknown { reason }, REFUSED_FOR)
            }
        };
        if self.known.len() == REMEMBERED {
            self.known.pop_front();
        }
        let holds = if finding.is_proven() { ttl.min(PROVEN_FOR) } else { REFUSED_FOR };
        self.known.push_back(Known { domain: domain.clone(), role, finding: finding.clone(), until: now + holds });
        finding
    }

    /// Asks one question after the other, and stops as soon as the claim is proven.
    async fn gather(&self, domain: &Domain, role: Role) -> (Finding, Duration) {
        let policy = self.options.policy;
        let mut facts = Facts { shown: self.shown(), hosts: Vec::new(), fault: None };
        let finding = judge(&Claim { domain, policy, facts: &facts });
        if finding.is_proven() || (policy == Policy::Certificate && facts.shown == Shown::Nothing) {
            return (finding, PROVEN_FOR);
        }
        let (candidates, fault, ttl) = self.candidates(domain, role).await;
        facts.fault = fault;
        facts.hosts = candidates.iter().map(|candidate| candidate.host.clone()).collect();
        for (at, candidate) in candidates.iter().enumerate() {
            let (address, tlsa) = self.facts(candidate, domain).await;
            facts.hosts[at].address = address;
            facts.hosts[at].tlsa = tlsa;
            let finding = judge(&Claim { domain, policy, facts: &facts });
            if finding.is_proven() {
                return (finding, ttl);
            }
        }
        (judge(&Claim { domain, policy, facts: &facts }), ttl)
    }

    fn shown(&self) -> Shown {
        if self.chain.is_empty() {
            return Shown::Nothing;
        }
        match chain::prove_by_roots(&self.chain, &self.roots, Purpose::Relay, UnixTime::now()) {
            Ok(names) => Shown::Trusted(names),
            Err(fault) => Shown::Untrusted(fault.brief()),
        }
    }

    /// The hosts of both services' SRV records in order of priority, each once; what could not be asked; for how long
    /// that holds.
    async fn candidates(&self, domain: &Domain, role: Role) -> (Vec<Candidate>, Option<String>, Duration) {
        let (im, pres) = (service_name(Class::Im, domain), service_name(Class::Pres, domain));
        let (im, pres) = tokio::join!(self.resolver.srv(&im), self.resolver.srv(&pres));
        let mut all = Vec::new();
        if role == Role::Ehlo {
            add(&mut all, domain.clone(), RELAY_PORT, 0, true);
        }
        let (mut fault, mut ttl) = (None, PROVEN_FOR);
        for answer in [im, pres] {
            match answer {
                Ok(answer) => {
                    ttl = ttl.min(answer.ttl);
                    add_targets(&mut all, answer);
                }
                Err(failure) if failure.is_absence() => {}
                Err(failure) => fault = Some(failure.to_string()),
            }
        }
        all.sort_by_key(|candidate| candidate.priority);
        all.truncate(HOSTS);
        (all, fault, ttl)
    }

    /// The two facts about a host.
    async fn facts(&self, candidate: &Candidate, domain: &Domain) -> (Fact, TlsaFact) {
        let lax = self.options.policy == Policy::Address && self.source.is_some();
        let by_records = !self.chain.is_empty() && candidate.host.secure;
        if !lax && !by_records {
            return (Fact::NotAsked, TlsaFact::NotAsked);
        }
        let addresses = self.resolver.addresses(&candidate.host.name).await;
        let address = match &addresses {
            _ if !lax => Fact::NotAsked,
            Ok(answer) => match self.source {
                Some(source) if answer.records.iter().any(|address| address.to_canonical() == source) => Fact::Yes,
                _ => Fact::No,
            },
            Err(failure) if failure.is_absence() => Fact::No,
            Err(failure) => Fact::Unknown(failure.to_string()),
        };
        let tlsa = match addresses {
            _ if !by_records => TlsaFact::NotAsked,
            // RFC 7672 §2.2.2: below a zone that is not signed TLSA records prove nothing, and are not asked for.
            Ok(Answer { security: Security::Insecure, .. }) => TlsaFact::None,
            Err(failure) if !failure.is_absence() => TlsaFact::Unknown(failure.to_string()),
            _ => self.tlsa(candidate, domain).await,
        };
        (address, tlsa)
    }

    /// What the TLSA records of a host say about the certificate, those of its ports together.
    async fn tlsa(&self, candidate: &Candidate, domain: &Domain) -> TlsaFact {
        let mut records: Vec<Tlsa> = Vec::new();
        for port in &candidate.ports {
            match self.resolver.tlsa(&candidate.host.name, *port).await {
                Ok(Answer { records: found, security: Security::Secure, .. }) => records.extend(found),
                Ok(_) => {}
                Err(failure) if failure.is_absence() => {}
                Err(failure) => return TlsaFact::Unknown(failure.to_string()),
            }
        }
        let usable = dane::usable(&records);
        if usable.is_empty() {
            return TlsaFact::None;
        }
        // RFC 7672 §3.2.2: the host where the records are, and the domain that named it.
        let names = [candidate.host.name.clone(), domain.clone()];
        match dane::prove(&usable, &self.chain, &names, Purpose::Relay, UnixTime::now()) {
            Ok(()) => TlsaFact::Match,
            Err(_) => TlsaFact::Mismatch,
        }
    }
}

fn add_targets(all: &mut Vec<Candidate>, answer: Answer<Srv>) {
    let secure = answer.security == Security::Secure;
    for record in answer.records {
        // RFC 2782: "." says that the service is not offered.
        let Some(target) = record.target else { continue };
        add(all, target, record.port, record.priority, secure);
    }
}

/// A host that both services name is one host.
fn add(all: &mut Vec<Candidate>, name: Domain, port: u16, priority: u16, secure: bool) {
    if let Some(known) = all.iter_mut().find(|known| known.host.name == name) {
        known.host.secure |= secure;
        known.priority = known.priority.min(priority);
        if !known.ports.contains(&port) && known.ports.len() < 2 {
            known.ports.push(port);
        }
        return;
    }
    let host = Host { name, secure, tlsa: TlsaFact::NotAsked, address: Fact::NotAsked };
    all.push(Candidate { host, ports: vec![port], priority });
}
