//! From the answer to an SRV question to the servers in their order (RFC 2782), or to why there are none.

use std::time::Duration;

use super::{Host, Target};
use crate::address::Domain;
use crate::dns::{Answer, Failure, Security, Srv};
use crate::envelope::Class;
use crate::reply::EnhancedCode;

/// Servers of one domain that are tried; it may name more, and they are left aside.
pub const TARGETS: usize = 32;

/// RFC 3463 §3.5, X.4.3: the directory server failed.
const DIRECTORY_FAILURE: EnhancedCode = EnhancedCode::new(4, 4, 3);
/// RFC 3463 §3.5, X.4.4: no way could be found.
pub(super) const UNABLE_TO_ROUTE: EnhancedCode = EnhancedCode::new(4, 4, 4);
/// RFC 3463 §3.8, X.7.5: what is needed to validate is missing or invalid. There is no code for bogus DNSSEC; this is
/// the one that Postfix gives when DANE fails.
const CRYPTOGRAPHIC_FAILURE: EnhancedCode = EnhancedCode::new(4, 7, 5);

/// What DNS says about a domain's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its servers in the order in which they are to be tried, at least one, and how long that holds.
    Targets(Vec<Target>, Duration),
    /// The target `.`: the domain says that it does not offer the service (RFC 2782).
    Refused,
    /// The domain does not speak IMPP.
    NoService {
        /// Whether DNSSEC proves that.
        proven: bool,
    },
    /// Nobody can say now.
    Unknown {
        /// In words.
        reason: String,
        /// The status for a receipt; its class is 4.
        status: EnhancedCode,
    },
}

/// The name whose SRV records are asked for: `_im._impp.b.example` (RFC 3861 §4).
pub fn service_name(class: Class, domain: &Domain) -> String {
    let label = match class {
        Class::Im => "_im",
        Class::Pres => "_pres",
    };
    format!("{label}._impp.{domain}")
}

/// Decides by the answer to [`service_name`]. `random(n)` gives a uniformly distributed number from 0 to `n` inclusive.
/// A target is secure when the answer was, and then its name may stand for the domain in a certificate (RFC 7673 §4.1).
pub fn decide(
    answer: Result<Answer<Srv>, Failure>,
    class: Class,
    domain: &Domain,
    random: impl FnMut(u32) -> u32,
) -> Decision {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return without_answer(failure, class, domain),
    };
    if answer.records.iter().all(|srv| srv.target.is_none()) {
        return Decision::Refused;
    }
    let secure = answer.security == Security::Secure;
    let (mut targets, mut localhost): (Vec<Target>, bool) = (Vec::new(), false);
    for srv in order(answer.records, random) {
        // RFC 2782: "." among others is a mistake. Nobody listens on port 0.
        let (Some(host), 1..) = (srv.target, srv.port) else { continue };
        // RFC 6761 §6.3: that is this host, whose services another domain has nothing to say about.
        if is_localhost(&host) {
            localhost = true;
            continue;
        }
        let target = Target { host: Host::Name(host), port: srv.port, secure };
        if targets.len() < TARGETS && !targets.contains(&target) {
            targets.push(target);
        }
    }
    if targets.is_empty() {
        let name = service_name(class, domain);
        let reason = match localhost {
            true => format!("the SRV records of {name} point to localhost, which is no host of that domain"),
            false => format!("no SRV record of {name} names a port"),
        };
        return Decision::Unknown { reason, status: UNABLE_TO_ROUTE };
    }
    Decision::Targets(targets, answer.ttl)
}

/// `localhost` and what is below it.
pub(super) fn is_localhost(host: &Domain) -> bool {
    host.as_str().rsplit('.').next() == Some("localhost")
}

fn without_answer(failure: Failure, class: Class, domain: &Domain) -> Decision {
    if failure.is_absence() {
        return Decision::NoService { proven: failure.is_secure_absence() };
    }
    let status = match failure {
        Failure::Bogus(_) => CRYPTOGRAPHIC_FAILURE,
        _ => DIRECTORY_FAILURE,
    };
    Decision::Unknown { reason: format!("looking up {} servers of {domain}: {failure}", class.keyword()), status }
}

/// The order of RFC 2782, section "Weight": by priority, and among equals by lot; `random` gives a number from 0 to its
/// argument.
pub fn order(mut records: Vec<Srv>, mut random: impl FnMut(u32) -> u32) -> Vec<Srv> {
    records.sort_by_key(|srv| srv.priority);
    let mut ordered = Vec::with_capacity(records.len());
    for group in records.chunk_by(|one, other| one.priority == other.priority) {
        let mut unordered = group.to_vec();
        shuffle(&mut unordered, &mut random);
        // "all those with weight 0 are placed at the beginning of the list"
        unordered.sort_by_key(|srv| srv.weight != 0);
        while !unordered.is_empty() {
            let sum: u32 = unordered.iter().map(|srv| u32::from(srv.weight)).sum();
            let drawn = random(sum);
            let mut running = 0;
            // "the first in the selected order which is greater than or equal to the random number"
            let chosen = unordered.iter().position(|srv| {
                running += u32::from(srv.weight);
                running >= drawn
            });
            ordered.push(unordered.remove(chosen.unwrap_or(0)));
        }
    }
    ordered
}

/// "in any order": by lot, so that servers that all have weight 0 share the load too.
fn shuffle(records: &mut [Srv], random: &mut impl FnMut(u32) -> u32) {
    for last in (1..records.len()).rev() {
        // An answer has few records.
        let other = random(u32::try_from(last).unwrap_or(0)) as usize;
        records.swap(last, other.min(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A linear congruential generator with a fixed seed (Knuth's MMIX constants), high bits.
    fn lot(seed: u64) -> impl FnMut(u32) -> u32 {
        let mut state = seed;
        move |most| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % (u64::from(most) + 1)) as u32
        }
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 2779, target: (target != ".").then(|| domain(target)) }
    }

    fn answer(records: Vec<Srv>) -> Result<Answer<Srv>, Failure> {
        Ok(Answer { records, security: Security::Insecure, ttl: Duration::from_secs(60) })
    }

    fn decided(answer: Result<Answer<Srv>, Failure>) -> Decision {
        decide(answer, Class::Im, &domain("b.example"), lot(1))
    }

    fn hosts(decision: &Decision) -> Vec<String> {
        match decision {
            Decision::Targets(targets, _) => targets.iter().map(|target| target.host.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names() {
        assert_eq!(service_name(Class::Im, &domain("b.example")), "_im._impp.b.example");
        assert_eq!(service_name(Class::Pres, &domain("b.example")), "_pres._impp.b.example");
    }

    #[test]
    fn priority_before_weight() {
        for seed in 0..100 {
            let records = vec![srv(20, 65535, "c"), srv(10, 0, "b"), srv(30, 5, "d"), srv(5, 1, "a")];
            let decision = decide(answer(records), Class::Im, &domain("b.example"), lot(seed));
            assert_eq!(hosts(&decision), ["a", "b", "c", "d"]);
        }
    }

    /// How often each of the records comes first, of `draws`.
    fn firsts(records: &[Srv], draws: u32) -> Vec<u32> {
        let mut random = lot(42);
        let mut counts = vec![0; records.len()];
        for _ in 0..draws {
            let first = &order(records.to_vec(), &mut random)[0];
            counts[records.iter().position(|srv| srv == first).unwrap()] += 1;
        }
        counts
    }

    /// Pearson's chi-square against expected shares.
    fn chi_square(counts: &[u32], shares: &[f64]) -> f64 {
        let draws = f64::from(counts.iter().sum::<u32>());
        let term = |(count, share): (&u32, &f64)| (f64::from(*count) - draws * share).powi(2) / (draws * share);
        counts.iter().zip(shares).map(term).sum()
    }

    #[test]
    fn weights_are_shares() {
        // To the letter of RFC 2782: 1..=10 of 0..=60 draws a (with 0), 11..=30 b, 31..=60 c, when a is arranged first.
        let records = [srv(0, 10, "a"), srv(0, 20, "b"), srv(0, 30, "c")];
        let counts = firsts(&records, 61_000);
        // The number 0 goes to whichever is arranged first, each a third of the time.
        let share = |weight: f64| (weight + 1.0 / 3.0) / 61.0;
        let distance = chi_square(&counts, &[share(10.0), share(20.0), share(30.0)]);
        // Two degrees of freedom: 13.8 is exceeded once in a thousand.
        assert!(distance < 13.8, "{counts:?} {distance}");
        // Equal shares are told apart.
        assert!(chi_square(&counts, &[1.0 / 3.0; 3]) > 1000.0);
    }

    #[test]
    fn weight_zero_has_a_small_chance() {
        let records = [srv(0, 0, "zero"), srv(0, 9, "nine")];
        let counts = firsts(&records, 50_000);
        let distance = chi_square(&counts, &[0.1, 0.9]);
        assert!(distance < 10.8, "{counts:?} {distance}");
    }

    #[test]
    fn weights_of_zero_share_alike() {
        let records = [srv(0, 0, "a"), srv(0, 0, "b"), srv(0, 0, "c"), srv(0, 0, "d")];
        let counts = firsts(&records, 40_000);
        let distance = chi_square(&counts, &[0.25; 4]);
        assert!(distance < 16.3, "{counts:?} {distance}");
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let many: Vec<Srv> = (0..64).map(|n| srv(1, 65535, &format!("h{n}"))).collect();
        let decision = decided(answer(many));
        assert_eq!(hosts(&decision).len(), TARGETS);
    }

    #[test]
    fn the_root_as_target() {
        assert_eq!(decided(answer(vec![srv(0, 0, ".")])), Decision::Refused);
        assert_eq!(decided(answer(vec![srv(0, 0, "."), srv(5, 0, ".")])), Decision::Refused);
        assert_eq!(hosts(&decided(answer(vec![srv(0, 0, "."), srv(9, 0, "a")]))), ["a"]);
    }

    #[test]
    fn duplicates_and_other_ports() {
        let mut other = srv(1, 0, "a");
        other.port = 1;
        let decision = decided(answer(vec![srv(0, 0, "a"), srv(2, 0, "a"), other]));
        assert_eq!(hosts(&decision), ["a", "a"]);
        let mut zero = srv(0, 0, "a");
        zero.port = 0;
        let expected = "no SRV record of _im._impp.b.example names a port".to_owned();
        assert_eq!(decided(answer(vec![zero])), Decision::Unknown { reason: expected, status: UNABLE_TO_ROUTE });
    }

    #[test]
    fn nobody_names_this_host() {
        for name in ["localhost", "mx.localhost"] {
            let decision = decided(answer(vec![srv(0, 0, name)]));
            assert!(
                matches!(&decision, Decision::Unknown { reason, .. } if reason.contains("localhost")),
                "{decision:?}"
            );
            assert_eq!(hosts(&decided(answer(vec![srv(0, 0, name), srv(1, 0, "a")]))), ["a"]);
        }
        assert_eq!(hosts(&decided(answer(vec![srv(0, 0, "localhost.b.example")]))), ["localhost.b.example"]);
    }

    #[test]
    fn security_and_time_pass_through() {
        for security in [Security::Secure, Security::Insecure] {
            let ttl = Duration::from_secs(7);
            let got = decided(Ok(Answer { records: vec![srv(0, 0, "a")], security, ttl }));
            let secure = security == Security::Secure;
            let target = Target { host: Host::Name(domain("a")), port: 2779, secure };
            assert_eq!(got, Decision::Targets(vec![target], ttl));
        }
    }

    #[test]
    fn absence_is_not_failure() {
        let name = || "_im._impp.b.example".to_owned();
        let none = |security| Failure::NxDomain { name: name(), security };
        assert_eq!(decided(Err(none(Security::Insecure))), Decision::NoService { proven: false });
        assert_eq!(decided(Err(none(Security::Secure))), Decision::NoService { proven: true });
        let no_data = Failure::NoData { name: name(), kind: "SRV", security: Security::Insecure };
        assert_eq!(decided(Err(no_data)), Decision::NoService { proven: false });
        let check = |failure: Failure, expected: &str, words: &str| match decided(Err(failure)) {
            Decision::Unknown { reason, status } => {
                assert_eq!(status.to_string(), expected);
                assert_eq!(reason, format!("looking up IM servers of b.example: {words}"));
            }
            other => panic!("{other:?}"),
        };
        let servfail = Failure::Server { name: name(), code: "SERVFAIL".into() };
        check(servfail, "4.4.3", "the resolver answered SERVFAIL for _im._impp.b.example");
        check(Failure::Timeout(name()), "4.4.3", "no answer for _im._impp.b.example in time");
        check(Failure::Unreachable("x".into()), "4.4.3", "the resolver cannot be reached: x");
        let bogus = "the answer for _im._impp.b.example fails DNSSEC validation (bogus)";
        check(Failure::Bogus(name()), "4.7.5", bogus);
    }

    proptest! {
        #[test]
        fn every_record_once_and_priorities_ascend(
            given in proptest::collection::vec((0u16..4, 0u16..4), 0..20), seed: u64
        ) {
            let records: Vec<Srv> = given.iter().enumerate().map(|(n, (p, w))| srv(*p, *w, &format!("h{n}"))).collect();
            let ordered = order(records.clone(), lot(seed));
            prop_assert!(ordered.is_sorted_by_key(|srv| srv.priority));
            prop_assert_eq!(ordered.len(), records.len());
            prop_assert!(records.iter().all(|srv| ordered.contains(srv)));
        }
    }
}
