//! What was answered, for as long as it holds. Pure: the time is passed in.
//!
//! Bounded by entries and by octets; what would expire first gives way. RFC 2308 §5, RFC 9520 §3.2.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::wire::{Outcome, Question};

/// Octets of records for each entry that the cache may have, on average.
const OCTETS_PER_ENTRY: usize = 512;

pub(super) struct Cache {
    entries: usize,
    octets: usize,
    held: usize,
    serial: u64,
    outcomes: HashMap<Question, Entry>,
    /// By the time at which they expire; the serial number keeps equal times apart.
    expiry: BTreeMap<(Instant, u64), Question>,
}

struct Entry {
    outcome: Outcome,
    expires: (Instant, u64),
    octets: usize,
}

impl Cache {
    pub(super) fn new(entries: usize) -> Cache {
        let octets = entries.saturating_mul(OCTETS_PER_ENTRY);
        Cache { entries, octets, held: 0, serial: 0, outcomes: HashMap::new(), expiry: BTreeMap::new() }
    }

    /// What is known now, with what is left of its time to live.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<Outcome> {
        let entry = self.outcomes.get(question)?;
        let left = entry.expires.0.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let mut outcome = entry.outcome.clone();
        outcome.ttl = left;
        if let Ok(answer) = &mut outcome.result {
            answer.ttl = left;
        }
        Some(outcome)
    }

    /// Keeps an outcome, unless its time to live is zero.
    pub(super) fn put(&mut self, question: Question, outcome: Outcome, now: Instant) {
        self.remove(&question);
        let octets = octets(&question, &outcome);
        if outcome.ttl.is_zero() || self.entries == 0 || octets > self.octets {
            return;
        }
        while self.outcomes.len() >= self.entries || self.held + octets > self.octets {
            let Some((_, soonest)) = self.expiry.pop_first() else { break };
            self.remove(&soonest);
        }
        self.serial += 1;
        let expires = (now + outcome.ttl, self.serial);
        self.held += octets;
        self.expiry.insert(expires, question.clone());
        self.outcomes.insert(question, Entry { outcome, expires, octets });
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.outcomes.remove(question) {
            self.held -= entry.octets;
            self.expiry.remove(&entry.expires);
        }
    }
}

fn octets(question: &Question, outcome: &Outcome) -> usize {
    let records = outcome.result.as_ref().map_or(0, |answer| answer.records.iter().map(|data| data.octets()).sum());
    question.name.len() + records
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Data, Kind};
    use super::super::{Failure, Security};
    use super::*;
    use std::time::Duration;

    fn question(name: &str) -> Question {
        Question::new(name, Kind::A).unwrap()
    }

    fn found(last: u8, ttl: u64) -> Outcome {
        let records = vec![Data::Address([127, 0, 0, last].into())];
        Outcome::found(records, Security::Insecure, Duration::from_secs(ttl))
    }

    fn seconds(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_to_live_runs_down() {
        let (mut cache, now) = (Cache::new(10), Instant::now());
        cache.put(question("a.test"), found(1, 60), now);
        let left = |at| cache.get(&question("a.test"), seconds(now, at)).map(|outcome| outcome.result.unwrap().ttl);
        assert_eq!(left(0), Some(Duration::from_secs(60)));
        assert_eq!(left(59), Some(Duration::from_secs(1)));
        assert_eq!(left(60), None);
        assert_eq!(cache.get(&question("b.test"), now), None);
        assert_eq!(cache.get(&Question::new("a.test", Kind::Aaaa).unwrap(), now), None);
    }

    #[test]
    fn nothing_without_time_to_live() {
        let (mut cache, now) = (Cache::new(10), Instant::now());
        cache.put(question("a.test"), found(1, 60), now);
        cache.put(question("a.test"), found(2, 0), now);
        assert_eq!(cache.get(&question("a.test"), now), None);
        assert_eq!(cache.held, 0);
    }

    #[test]
    fn bounds_of_time() {
        let (mut cache, now) = (Cache::new(10), Instant::now());
        cache.put(question("a.test"), found(1, 1_000_000), now);
        assert!(cache.get(&question("a.test"), seconds(now, 86_399)).is_some());
        assert!(cache.get(&question("a.test"), seconds(now, 86_400)).is_none());
        let absence = Failure::NxDomain { name: "b.test".into(), security: Security::Insecure };
        cache.put(question("b.test"), Outcome::absent(absence, Duration::from_secs(86_400)), now);
        assert!(cache.get(&question("b.test"), seconds(now, 899)).is_some());
        assert!(cache.get(&question("b.test"), seconds(now, 900)).is_none());
        cache.put(question("c.test"), Outcome::failed(Failure::Timeout("c.test".into())), now);
        assert!(cache.get(&question("c.test"), seconds(now, 4)).is_some());
        assert!(cache.get(&question("c.test"), seconds(now, 5)).is_none());
    }

    #[test]
    fn what_expires_first_gives_way() {
        let (mut cache, now) = (Cache::new(2), Instant::now());
        cache.put(question("a.test"), found(1, 60), now);
        cache.put(question("b.test"), found(2, 30), now);
        cache.put(question("c.test"), found(3, 30), now);
        let known = |name: &str| cache.get(&question(name), now).is_some();
        assert_eq!([known("a.test"), known("b.test"), known("c.test")], [true, false, true]);
        assert_eq!((cache.outcomes.len(), cache.expiry.len()), (2, 2));
    }

    #[test]
    fn bounded_in_octets() {
        use super::super::Tlsa;
        let (mut cache, now) = (Cache::new(4), Instant::now());
        let big = |octets| {
            let tlsa = Tlsa { usage: 3, selector: 0, matching: 0, data: vec![0; octets] };
            Outcome::found(vec![Data::Tlsa(tlsa)], Security::Secure, Duration::from_secs(60))
        };
        cache.put(question("a.test"), big(1500), now);
        cache.put(question("b.test"), big(1500), now);
        assert!(cache.held <= cache.octets);
        assert!(cache.get(&question("b.test"), now).is_some());
        cache.put(question("c.test"), big(5000), now);
        assert!(cache.get(&question("c.test"), now).is_none());
        assert!(cache.get(&question("b.test"), now).is_some());
    }
}
