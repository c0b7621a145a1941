//! Whether a mail is its author's, by what was found in it and in DNS: the decision. Pure.
//!
//! In: [`Examined`], what SPF, DKIM, DMARC and ARC came to. Out: a [`Verdict`], and the field that tells on it. Invariants:
//! only an aligned pass of DMARC proves an author, seen here or by a sealer who is trusted; what DNS could not say is never
//! a "no". ARC counts from the newest set back, for as long as each is of a trusted sealer: behind anybody else the mail
//! may have been changed. RFC 7208, RFC 6376, RFC 9989 §4.10 and §5.3, RFC 8617 §5.2, RFC 8601.

use std::net::IpAddr;

use super::{AuthenticationResults, By, Finding, results};
use crate::address::{Domain, Mailbox};
use crate::mime::{Fields, unfold};

/// What a check came to, in the words of RFC 8601 §2.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It does not, and its owner is not sure (RFC 7208 §8.5).
    SoftFail,
    /// Nothing can be said.
    Neutral,
    /// There is nothing to check.
    None,
    /// DNS could not say; later it may.
    TempError,
    /// What was published, or written, cannot be understood.
    PermError,
}

impl Outcome {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::SoftFail => "softfail",
            Outcome::Neutral => "neutral",
            Outcome::None => "none",
            Outcome::TempError => "temperror",
            Outcome::PermError => "permerror",
        }
    }
}

/// What the owner of a domain asks for where DMARC fails (RFC 9989 §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    None,
    /// That it is suspected.
    Quarantine,
    /// That it is refused.
    Reject,
}

/// A signature of DKIM, or that of a sealer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What its check came to.
    pub outcome: Outcome,
    /// The domain that has signed.
    pub domain: String,
    /// The name of the key.
    pub selector: String,
}

/// One set of ARC (RFC 8617 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The domain that has sealed it.
    pub sealer: String,
    /// What it has found: the value of ARC-Authentication-Results behind its instance.
    pub results: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// SPF, and the domain it is about; `None` where the address of the client is not known.
    pub spf: Option<(Outcome, String)>,
    /// Signatures of DKIM.
    pub signatures: Vec<Signature>,
    /// DMARC of the author's domain.
    pub dmarc: Outcome,
    /// What that domain asks for.
    pub policy: Policy,
    /// What the chain of ARC came to.
    pub arc: Outcome,
    /// Its sets, the oldest first.
    pub sets: Vec<Set>,
}

impl Examined {
    /// Nothing could be asked.
    pub fn unknown() -> Examined {
        let (dmarc, arc) = (Outcome::TempError, Outcome::None);
        Examined { spf: None, signatures: Vec::new(), dmarc, policy: Policy::None, arc, sets: Vec::new() }
    }
}

/// What is to be done with a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, as its author's or as nobody's; where nobody could say, it is tried again.
    Found(Finding),
    /// The owner of the author's domain does not want it to.
    Refused(Policy),
}

/// Judges a mail whose only author is `author`.
pub fn verdict(examined: &Examined, author: &Mailbox, sealers: &[Domain]) -> Verdict {
    let unproven = |reason: String| Verdict::Found(Finding::Unproven { reason });
    if examined.dmarc == Outcome::Pass {
        return Verdict::Found(Finding::Proven { by: By::Dmarc });
    }
    if sealed(examined, author, sealers) {
        return Verdict::Found(Finding::Proven { by: By::Sealer });
    }
    let trusted = |set: &Set| is_trusted(&set.sealer, sealers);
    let waits = examined.arc == Outcome::TempError && examined.sets.last().is_some_and(trusted);
    match (examined.dmarc, examined.policy) {
        // RFC 9989 §5.3.6: neither passed nor failed.
        (Outcome::TempError, _) => {
            Verdict::Found(Finding::Unknown { reason: format!("DNS could not be asked about {}", author.domain()) })
        }
        _ if waits => Verdict::Found(Finding::Unknown { reason: "DNS could not be asked about its sealer".to_owned() }),
        // RFC 9989 §5.4 wants more than the policy alone: what lists and forwarders break never comes so far (it is left to
        // the mailbox in any case), or has a sealer; and what is refused here is refused as a message, not as mail.
        (Outcome::Fail, policy @ (Policy::Reject | Policy::Quarantine)) => Verdict::Refused(policy),
        (Outcome::Fail, Policy::None) => unproven("no aligned signature, and no aligned pass of SPF".to_owned()),
        (outcome, _) => unproven(format!("{} has no usable record of DMARC ({})", author.domain(), outcome.word())),
    }
}

fn is_trusted(sealer: &str, sealers: &[Domain]) -> bool {
    Domain::parse(sealer).is_ok_and(|sealer| sealers.contains(&sealer))
}

/// Whether a trusted sealer has seen the author proven, and only trusted ones have had the mail since.
fn sealed(examined: &Examined, author: &Mailbox, sealers: &[Domain]) -> bool {
    let trusted = examined.sets.iter().rev().take_while(|set| is_trusted(&set.sealer, sealers));
    examined.arc == Outcome::Pass && trusted.into_iter().any(|set| saw_a_pass(&set.results, author.domain()))
}

fn saw_a_pass(value: &str, domain: &Domain) -> bool {
    let Some(found) = AuthenticationResults::parse(value) else { return false };
    let about = |name: &String, value: &String| name == "header.from" && results::is_of(value, domain);
    found.results.iter().any(|result| {
        (result.method.as_str(), result.result.as_str()) == ("dmarc", "pass")
            && result.properties.iter().any(|(name, value)| about(name, value))
    })
}

/// The whole field that tells on what was found, with its CRLF (RFC 8601 §2.2; RFC 8617 for `arc`).
pub fn results(authserv_id: &str, examined: &Examined, finding: &Finding, author: &Mailbox) -> String {
    let value = results::value;
    let mut field = format!("Authentication-Results: {}", value(authserv_id));
    for Signature { outcome, domain, selector } in &examined.signatures {
        let (domain, selector) = (value(domain), value(selector));
        field.push_str(&format!(";\r\n\tdkim={} header.d={domain}\r\n\theader.s={selector}", outcome.word()));
    }
    if let Some((outcome, domain)) = &examined.spf {
        field.push_str(&format!(";\r\n\tspf={} smtp.mailfrom={}", outcome.word(), value(domain)));
    }
    if let (true, Some(set)) = (examined.arc != Outcome::None, examined.sets.last()) {
        field.push_str(&format!(";\r\n\tarc={} header.d={}", examined.arc.word(), value(&set.sealer)));
    }
    let reason = match finding {
        Finding::Proven { by: By::Sealer } => Some("a trusted sealer has seen it pass"),
        Finding::Proven { .. } => None,
        Finding::Unproven { reason } | Finding::Unknown { reason } => Some(reason.as_str()),
    };
    let reason = reason.map(|reason| format!("\r\n\treason={}", results::reason(reason))).unwrap_or_default();
    field.push_str(&format!(";\r\n\tdmarc={}{reason}", examined.dmarc.word()));
    field.push_str(&format!("\r\n\theader.from={}\r\n", author.domain()));
    field
}

/// The client that has brought a mail to the mail system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The name in EHLO.
    pub helo: String,
}

/// The client of the mail system, by the field Received that it has written: the last of the `hops` that are its own. None
/// where the mail came from its own host.
pub fn client(mail: &[u8], hops: usize) -> Option<Client> {
    let mut received = Fields::new(mail).flatten().filter(|field| field.is("Received"));
    let value = unfold(received.nth(hops.max(1) - 1)?.value);
    let client = from_received(value.trim())?;
    let IpAddr::V4(v4) = client.address.to_canonical() else {
        return Some(client).filter(|client| !client.address.is_loopback());
    };
    (!v4.is_loopback()).then_some(Client { address: v4.into(), ..client })
}

/// `from helo (name [address])` as Postfix writes it, `from name ([address] helo=helo)` and `from [address] (helo=helo)`
/// as Exim does. Neither lets blanks or brackets of the client's stand in another place.
fn from_received(value: &str) -> Option<Client> {
    let mut words = value.split_ascii_whitespace();
    let is_from = words.next()?.eq_ignore_ascii_case("from");
    let (first, second) = (words.next().filter(|_| is_from)?, words.next()?);
    if !second.starts_with('(') {
        return client_of(first, first);
    }
    let inner = value.split_once('(')?.1.split_once(')')?.0;
    let helo = inner.split_ascii_whitespace().find_map(|word| word.strip_prefix("helo=")).unwrap_or(first);
    let mut words = inner.split_ascii_whitespace();
    match (words.next()?, words.next()) {
        (word, _) if word.starts_with('[') => client_of(word, helo),
        (word, _) if word.contains('=') => client_of(first, helo),
        (_, Some(word)) => client_of(word, first),
        _ => None,
    }
}

fn client_of(literal: &str, helo: &str) -> Option<Client> {
    let inner = literal.strip_prefix('[')?.split_once(']')?.0;
    let address = inner.strip_prefix("IPv6:").unwrap_or(inner).parse().ok()?;
    Some(Client { address, helo: helo.to_owned() })
}

#[cfg(test)]
mod tests;
