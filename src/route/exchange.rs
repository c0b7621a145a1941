//! From the answer to an MX question to the mail exchangers in their order (RFC 5321 §5.1), or to why there are none; and what
//! each of them must prove before it gets mail (RFC 7672, RFC 8461 §5).

use std::time::Duration;

use super::decide::is_localhost;
use super::sts::{Mode, Policy};
use super::{Host, TARGETS, Target};
use crate::address::Domain;
use crate::dns::{Answer, Failure, Mx, Security, Tlsa};
use crate::reply::EnhancedCode;

/// The port of SMTP (RFC 5321 §4.5.4.2).
pub const SMTP: u16 = 25;
/// RFC 7505 §4.1: the recipient's domain takes no mail.
const NULL_MX: EnhancedCode = EnhancedCode::new(5, 1, 10);
/// RFC 3463 §3.2: bad destination system address.
const NO_SYSTEM: EnhancedCode = EnhancedCode::new(5, 1, 2);
/// RFC 3463 §3.8, X.7.5, as for a server of IMPP that does not prove itself.
const NOT_PROVEN: EnhancedCode = EnhancedCode::new(4, 7, 5);

/// What DNS says about a domain's mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Its exchangers in the order in which they are to be tried, at least one, and how long that holds.
    Targets(Vec<Target>, Duration),
    /// There is no MX record: the domain itself is the exchanger, if it has an address (RFC 5321 §5.1).
    Implicit(Target),
    /// It takes no mail, and that is final.
    Nowhere {
        /// The status for a receipt.
        status: EnhancedCode,
        /// In words, for whoever wrote.
        reason: String,
    },
    /// Nobody can say now; in words.
    Unknown(String),
}

/// Decides by the answer to the question for MX. `random(n)` gives a uniformly distributed number from 0 to `n` inclusive: it
/// spreads the load over equals. A target is secure when the answer was.
pub fn exchange(answer: Result<Answer<Mx>, Failure>, domain: &Domain, mut random: impl FnMut(u32) -> u32) -> Exchange {
    let of = |host: Domain, secure| Target { host: Host::Name(host), port: SMTP, secure };
    let Answer { mut records, security, ttl } = match answer {
        Ok(answer) => answer,
        Err(Failure::NxDomain { .. }) => {
            return Exchange::Nowhere { status: NO_SYSTEM, reason: format!("the domain {domain} does not exist") };
        }
        Err(failure) if failure.is_absence() => {
            return Exchange::Implicit(of(domain.clone(), failure.is_secure_absence()));
        }
        Err(failure) => return Exchange::Unknown(format!("looking up the mail exchangers of {domain}: {failure}")),
    };
    if records.iter().all(|mx| mx.exchange.is_none()) {
        let reason = format!("{domain} says in DNS that it takes no mail (null MX)");
        return Exchange::Nowhere { status: NULL_MX, reason };
    }
    for last in (1..records.len()).rev() {
        // An answer has few records.
        let other = random(u32::try_from(last).unwrap_or(0)) as usize;
        records.swap(last, other.min(last));
    }
    records.sort_by_key(|mx| mx.preference);
    let mut targets: Vec<Target> = Vec::new();
    // RFC 7505 §3: a null MX among others is a mistake. RFC 6761 §6.3: localhost is this host, and no exchanger of another.
    for host in records.into_iter().filter_map(|mx| mx.exchange).filter(|host| !is_localhost(host)) {
        let target = of(host, security == Security::Secure);
        if targets.len() < TARGETS && !targets.contains(&target) {
            targets.push(target);
        }
    }
    if targets.is_empty() {
        let reason = format!("the MX records of {domain} point to localhost, which is no host of that domain");
        return Exchange::Nowhere { status: NO_SYSTEM, reason };
    }
    Exchange::Targets(targets, ttl)
}

/// What it means that a domain without MX records has no address to be found.
pub fn without_address(failure: &Failure, domain: &Domain) -> Exchange {
    match failure.is_absence() {
        true => {
            let reason = format!("{domain} takes no mail: it has neither an MX record nor an address");
            Exchange::Nowhere { status: NO_SYSTEM, reason }
        }
        false => Exchange::Unknown(format!("looking up the mail exchangers of {domain}: {failure}")),
    }
}

/// What an exchanger must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// That one of its TLSA records is about it (RFC 7672 §2.2).
    Tlsa,
    /// A certificate that names it, below a trust anchor of ours (RFC 8461 §4.2).
    Pkix,
    /// Nothing, but it must encrypt: it has TLSA records, and none is usable (RFC 7672 §2.2).
    Encryption,
    /// Nothing: encrypted where it can (RFC 7435 §4).
    Nothing,
}

/// What `host` must prove, or why it must not be used. `tlsa` are its records, proven by DNSSEC along with its address and the
/// MX record, and `usable` how many of them can be used. DANE comes before MTA-STS, which must not weaken it (RFC 8461 §2);
/// which hosts are exchangers at all is what a policy adds.
pub fn demand(host: &Domain, tlsa: &[Tlsa], usable: usize, policy: Option<&Policy>) -> Result<Demand, NotNamed> {
    let enforced = policy.filter(|policy| policy.mode == Mode::Enforce);
    if enforced.is_some_and(|policy| !policy.names(host)) {
        return Err(NotNamed);
    }
    Ok(match (tlsa.is_empty(), usable, enforced) {
        (false, 1.., _) => Demand::Tlsa,
        (_, _, Some(_)) => Demand::Pkix,
        (false, 0, None) => Demand::Encryption,
        (true, _, None) => Demand::Nothing,
    })
}

/// The domain's policy is enforced, and does not name the exchanger (RFC 8461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MTA-STS policy of the domain does not name it")]
pub struct NotNamed;

impl NotNamed {
    /// The status for a receipt.
    pub fn status(self) -> EnhancedCode {
        NOT_PROVEN
    }
}

/// Whether it is known that `host` is an exchanger of the domain: by DNSSEC or by its policy (RFC 8689 §4.2.1). What its
/// certificate proves counts for the domain only then.
pub fn is_vouched(target: &Target, policy: Option<&Policy>) -> bool {
    let named = |policy: &Policy| match &target.host {
        Host::Name(host) => policy.mode != Mode::None && policy.names(host),
        Host::Address(_) => false,
    };
    target.secure || policy.is_some_and(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn mx(preference: u16, host: &str) -> Mx {
        Mx { preference, exchange: (host != ".").then(|| domain(host)) }
    }

    fn decided(records: Vec<Mx>, security: Security, seed: u32) -> Exchange {
        let mut state = seed;
        let random = |most: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % (most + 1)
        };
        exchange(Ok(Answer { records, security, ttl: Duration::from_secs(9) }), &domain("b.example"), random)
    }

    fn hosts(exchange: &Exchange) -> Vec<String> {
        match exchange {
            Exchange::Targets(targets, _) => targets.iter().map(|target| target.host.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn preference_decides_and_lot_among_equals() {
        let mut firsts = [0; 2];
        for seed in 0..1000_u32 {
            let records = vec![mx(20, "c.example"), mx(10, "a.example"), mx(10, "b.example"), mx(30, "d.example")];
            let found = hosts(&decided(records, Security::Insecure, seed.wrapping_mul(0x9e37_79b9)));
            assert_eq!(found[2..], ["c.example", "d.example"]);
            firsts[usize::from(found[0] == "b.example")] += 1;
        }
        assert!(firsts.iter().all(|count| *count > 400), "{firsts:?}");
    }

    #[test]
    fn what_dns_proves_is_kept() {
        for (security, secure) in [(Security::Secure, true), (Security::Insecure, false)] {
            let target = Target { host: Host::Name(domain("mx.b.example")), port: 25, secure };
            let expected = Exchange::Targets(vec![target], Duration::from_secs(9));
            assert_eq!(decided(vec![mx(0, "mx.b.example")], security, 1), expected);
        }
    }

    #[test]
    fn no_mail_at_all() {
        let nowhere = |status, reason: &str| Exchange::Nowhere { status, reason: reason.to_owned() };
        let null = nowhere(NULL_MX, "b.example says in DNS that it takes no mail (null MX)");
        assert_eq!(decided(vec![mx(0, ".")], Security::Insecure, 1), null);
        assert_eq!(hosts(&decided(vec![mx(0, "."), mx(9, "a.example")], Security::Insecure, 1)), ["a.example"]);
        let here = "the MX records of b.example point to localhost, which is no host of that domain";
        assert_eq!(decided(vec![mx(0, "localhost")], Security::Insecure, 1), nowhere(NO_SYSTEM, here));
        let (name, security) = ("b.example".to_owned(), Security::Insecure);
        let gone = exchange(Err(Failure::NxDomain { name, security }), &domain("b.example"), |_| 0);
        assert_eq!(gone, nowhere(NO_SYSTEM, "the domain b.example does not exist"));
    }

    #[test]
    fn a_domain_is_its_own_exchanger_where_it_names_none() {
        for (security, secure) in [(Security::Secure, true), (Security::Insecure, false)] {
            let none = Failure::NoData { name: "b.example".to_owned(), kind: "MX", security };
            let target = Target { host: Host::Name(domain("b.example")), port: 25, secure };
            assert_eq!(exchange(Err(none.clone()), &domain("b.example"), |_| 0), Exchange::Implicit(target));
            let nowhere = without_address(&none, &domain("b.example"));
            let said = "b.example takes no mail: it has neither an MX record nor an address";
            assert_eq!(nowhere, Exchange::Nowhere { status: NO_SYSTEM, reason: said.to_owned() });
        }
    }

    #[test]
    fn that_nobody_can_say_is_no_reason_to_fail() {
        for failure in [Failure::Timeout("b.example".to_owned()), Failure::Bogus("b.example".to_owned())] {
            let words = format!("looking up the mail exchangers of b.example: {failure}");
            assert_eq!(without_address(&failure, &domain("b.example")), Exchange::Unknown(words.clone()));
            assert_eq!(exchange(Err(failure), &domain("b.example"), |_| 0), Exchange::Unknown(words));
        }
    }

    #[test]
    fn what_is_demanded() {
        let policy = |mode: &str| {
            let text = format!("version: STSv1\nmode: {mode}\nmax_age: 60\nmx: mx.b.example\n");
            Policy::parse(text.as_bytes()).unwrap()
        };
        let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0; 32] };
        let check = |host: &str, tlsa: usize, usable: usize, mode: Option<&str>, expected: Result<Demand, NotNamed>| {
            let (records, policy) = (vec![record.clone(); tlsa], mode.map(policy));
            assert_eq!(demand(&domain(host), &records, usable, policy.as_ref()), expected, "{host} {tlsa} {mode:?}");
        };
        check("mx.b.example", 0, 0, None, Ok(Demand::Nothing));
        check("mx.b.example", 0, 0, Some("none"), Ok(Demand::Nothing));
        check("mx.b.example", 0, 0, Some("testing"), Ok(Demand::Nothing));
        check("mx.b.example", 0, 0, Some("enforce"), Ok(Demand::Pkix));
        check("mx.b.example", 2, 1, None, Ok(Demand::Tlsa));
        check("mx.b.example", 2, 0, None, Ok(Demand::Encryption));
        check("mx.b.example", 2, 1, Some("enforce"), Ok(Demand::Tlsa));
        check("mx.b.example", 2, 0, Some("enforce"), Ok(Demand::Pkix));
        check("mx.c.example", 0, 0, Some("enforce"), Err(NotNamed));
        check("mx.c.example", 2, 1, Some("enforce"), Err(NotNamed));
        check("mx.c.example", 0, 0, Some("testing"), Ok(Demand::Nothing));
        let vouched = |secure, mode: Option<&str>, host: &str| {
            let target = Target { host: Host::Name(domain(host)), port: 25, secure };
            is_vouched(&target, mode.map(policy).as_ref())
        };
        assert!(vouched(true, None, "mx.b.example") && !vouched(false, None, "mx.b.example"));
        assert!(vouched(false, Some("enforce"), "mx.b.example") && vouched(false, Some("testing"), "mx.b.example"));
        assert!(!vouched(false, Some("testing"), "mx.c.example") && !vouched(false, Some("none"), "mx.b.example"));
    }

    proptest! {
        #[test]
        fn every_host_once_and_never_too_many(given in proptest::collection::vec((0u16..3, 0u8..60), 1..64), seed: u32) {
            let records: Vec<Mx> = given.iter().map(|(preference, n)| mx(*preference, &format!("h{n}"))).collect();
            let mut found = hosts(&decided(records.clone(), Security::Insecure, seed));
            prop_assert!(found.len() <= TARGETS);
            let best = |name: &str| records.iter().filter(|mx| mx.exchange.as_ref().unwrap().as_str() == name).map(|mx| mx.preference).min();
            prop_assert!(found.is_sorted_by_key(|name| best(name)));
            let count = found.len();
            found.sort();
            found.dedup();
            prop_assert_eq!(found.len(), count);
        }
    }
}
