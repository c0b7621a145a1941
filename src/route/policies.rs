//! The policies of MTA-STS that are known, and what is to be done about one: to use it, or to fetch it (RFC 8461 §3.3, §5.1).
//!
//! Pure: the time is passed in. Invariant: a policy that holds is used whatever DNS or the policy host say now, until they
//! give another. Bounded; where there is no room, the one that ends first goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::sts::{Mode, Policy};
use crate::address::Domain;
use crate::timestamp::Timestamp;

/// How long after a failure the same policy is not asked for again (RFC 8461 §3.3).
const PAUSE: Duration = Duration::from_secs(300);
/// How old a policy gets before it is fetched again, although it holds (RFC 8461 §3.3: once per day).
const REFRESH: Duration = Duration::from_secs(86_400);
/// The first line of a policy that was kept.
const KEPT: &str = "impart-domain";

/// A policy that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its identifier in DNS at that time.
    pub id: String,
    /// When.
    pub fetched: Timestamp,
    /// What it says.
    pub policy: Arc<Policy>,
}

impl Known {
    /// When it ends.
    pub fn until(&self) -> Timestamp {
        self.fetched.after(self.policy.max_age)
    }

    /// As [`Known::parse`] reads it: a policy with more fields.
    pub fn text(&self, domain: &Domain) -> String {
        let Known { id, fetched, policy } = self;
        format!("{KEPT}: {domain}\nimpart-id: {id}\nimpart-fetched: {}\n{}", fetched.secs(), policy.text())
    }

    /// What was kept of a domain's policy.
    pub fn parse(text: &str) -> Option<(Domain, Known)> {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
        let policy = Arc::new(Policy::parse(text.as_bytes()).ok()?);
        let fetched = Timestamp::from_secs(field("impart-fetched")?.parse().ok()?);
        Some((Domain::parse(&field(KEPT)?).ok()?, Known { id: field("impart-id")?, fetched, policy }))
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go by this policy, or by none.
    Use(Option<Arc<Policy>>),
    /// Fetch it first, and tell [`Policies::fetched`] or [`Policies::failed`].
    Fetch(String),
}

/// By domain.
#[derive(Debug)]
pub struct Policies {
    capacity: usize,
    known: HashMap<Domain, Known>,
    /// Identifiers of policies that could not be had, and when.
    failed: HashMap<Domain, (String, Timestamp)>,
}

impl Policies {
    /// For so many domains.
    pub fn new(capacity: usize) -> Policies {
        Policies { capacity, known: HashMap::new(), failed: HashMap::new() }
    }

    /// What to do before mail for `domain` goes; `id` is what DNS says now, none where it says nothing.
    pub fn step(&self, domain: &Domain, id: Option<String>, now: Timestamp) -> Step {
        let known = self.holding(domain, now);
        let Some(id) = id else { return Step::Use(self.current(domain, now)) };
        let failed = self.failed.get(domain).is_some_and(|(of, at)| *of == id && now.since(*at) < PAUSE);
        let fresh = known
            .is_some_and(|known| known.id == id && now.since(known.fetched) < REFRESH.min(known.policy.max_age / 2));
        if failed || fresh { Step::Use(self.current(domain, now)) } else { Step::Fetch(id) }
    }

    /// The policy that holds.
    pub fn current(&self, domain: &Domain, now: Timestamp) -> Option<Arc<Policy>> {
        let known = self.holding(domain, now).filter(|known| known.policy.mode != Mode::None);
        known.map(|known| known.policy.clone())
    }

    fn holding(&self, domain: &Domain, now: Timestamp) -> Option<&Known> {
        // What was fetched in the future was fetched by another clock.
        self.known.get(domain).filter(|known| known.fetched <= now && now < known.until())
    }

    /// Enters a policy. Returns those whose place it took.
    pub fn fetched(&mut self, domain: Domain, known: Known) -> Vec<Domain> {
        self.failed.remove(&domain);
        self.known.insert(domain.clone(), known);
        let mut gone = Vec::new();
        while self.known.len() > self.capacity {
            let others = self.known.iter().filter(|(of, _)| **of != domain);
            let Some(first) = others.min_by_key(|(_, known)| known.until()).map(|(of, _)| of.clone()) else { break };
            self.known.remove(&first);
            gone.push(first);
        }
        gone
    }

    /// It could not be had.
    pub fn failed(&mut self, domain: Domain, id: String, now: Timestamp) {
        if self.failed.len() >= self.capacity {
            self.failed.retain(|_, (_, at)| now.since(*at) < PAUSE);
        }
        // With that many failures within minutes, one more attempt does no harm.
        if self.failed.len() < self.capacity {
            self.failed.insert(domain, (id, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn known(id: &str, mode: &str, max_age: u64, fetched: Timestamp) -> Known {
        let text = format!("version: STSv1\nmode: {mode}\nmax_age: {max_age}\nmx: mx.b.example\n");
        Known { id: id.to_owned(), fetched, policy: Arc::new(Policy::parse(text.as_bytes()).unwrap()) }
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn check(policies: &Policies, id: Option<&str>, seconds: u64, expected: &str) {
        let step = policies.step(&domain("b.example"), id.map(str::to_owned), later(seconds));
        let said = match step {
            Step::Use(Some(_)) => "use".to_owned(),
            Step::Use(None) => "none".to_owned(),
            Step::Fetch(id) => format!("fetch {id}"),
        };
        assert_eq!(said, expected, "{id:?} after {seconds} s");
    }

    #[test]
    fn a_policy_holds_whatever_dns_says_later() {
        let mut policies = Policies::new(9);
        check(&policies, None, 0, "none");
        check(&policies, Some("1"), 0, "fetch 1");
        policies.fetched(domain("b.example"), known("1", "enforce", 604_800, NOW));
        check(&policies, Some("1"), 10, "use");
        check(&policies, None, 604_799, "use");
        check(&policies, None, 604_800, "none");
        check(&policies, Some("2"), 10, "fetch 2");
        // Once a day it is seen whether it is still there.
        check(&policies, Some("1"), 86_400, "fetch 1");
        policies.failed(domain("b.example"), "2".to_owned(), later(10));
        check(&policies, Some("2"), 20, "use");
        check(&policies, Some("3"), 20, "fetch 3");
        check(&policies, Some("2"), 310, "fetch 2");
    }

    #[test]
    fn none_takes_a_policy_back() {
        let mut policies = Policies::new(9);
        policies.fetched(domain("b.example"), known("1", "enforce", 604_800, NOW));
        policies.fetched(domain("b.example"), known("2", "none", 86_400, later(10)));
        check(&policies, Some("2"), 20, "none");
        check(&policies, None, 20, "none");
    }

    #[test]
    fn what_cannot_be_fetched_is_as_if_it_were_not_there() {
        let mut policies = Policies::new(9);
        policies.failed(domain("b.example"), "1".to_owned(), NOW);
        check(&policies, Some("1"), 299, "none");
        check(&policies, Some("1"), 300, "fetch 1");
        policies.fetched(domain("b.example"), known("1", "testing", 0, later(300)));
        check(&policies, Some("1"), 301, "fetch 1");
    }

    #[test]
    fn a_clock_that_was_put_back_is_no_reason_to_believe_for_longer() {
        let mut policies = Policies::new(9);
        policies.fetched(domain("b.example"), known("1", "enforce", 604_800, later(100)));
        check(&policies, Some("1"), 0, "fetch 1");
    }

    #[test]
    fn bounded() {
        let mut policies = Policies::new(2);
        assert!(policies.fetched(domain("a.example"), known("1", "enforce", 200, NOW)).is_empty());
        assert!(policies.fetched(domain("b.example"), known("1", "enforce", 100, NOW)).is_empty());
        assert_eq!(policies.fetched(domain("c.example"), known("1", "enforce", 50, NOW)), [domain("b.example")]);
        for number in 0..5 {
            policies.failed(domain(&format!("d{number}.example")), "1".to_owned(), NOW);
        }
        assert_eq!((policies.known.len(), policies.failed.len()), (2, 2));
        policies.failed(domain("e.example"), "1".to_owned(), later(300));
        assert_eq!(policies.failed.len(), 1);
    }

    #[test]
    fn kept_and_read_again() {
        let kept = known("20260101", "enforce", 604_800, NOW);
        let text = kept.text(&domain("b.example"));
        assert_eq!(Known::parse(&text), Some((domain("b.example"), kept)));
        for line in text.lines().filter(|line| !line.is_empty()) {
            assert_eq!(Known::parse(&text.replace(line, "x: y")), None, "without {line}");
        }
    }
}
