//! Which domains have spoken IMPP: for those, that their SRV records are gone must be seen twice, an hour apart, so
//! that a slip in a zone does not turn messages into mail.
//!
//! Pure: the time is passed in. Bounded; what was longest unused is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Decision;
use super::decide::UNABLE_TO_ROUTE;
use crate::address::Domain;
use crate::envelope::Class;
use crate::timestamp::Timestamp;

/// Domains and services that are remembered, unless told otherwise.
const ENTRIES: usize = 100_000;
/// How far apart the two sightings are.
const APART: Duration = Duration::from_secs(3600);

type Key = (Domain, Class);

/// Remembers by domain and service: a domain may offer one and not the other.
#[derive(Debug)]
pub struct Memory {
    capacity: usize,
    serial: u64,
    known: HashMap<Key, Entry>,
    /// By last use.
    used: BTreeMap<u64, Key>,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    /// When it was first found missing.
    missing: Option<Timestamp>,
}

impl Default for Memory {
    /// For 100,000 services, at most about 20 MB.
    fn default() -> Self {
        Memory::new(ENTRIES)
    }
}

impl Memory {
    /// For at most `capacity` services.
    pub fn new(capacity: usize) -> Memory {
        Memory { capacity, serial: 0, known: HashMap::new(), used: BTreeMap::new() }
    }

    /// The domain's SRV records were found, or it was met speaking IMPP.
    pub fn seen(&mut self, domain: &Domain, class: Class) {
        self.touch((domain.clone(), class), None);
        while self.known.len() > self.capacity {
            let Some((_, oldest)) = self.used.pop_first() else { break };
            self.known.remove(&oldest);
        }
    }

    /// The domain's SRV records were found missing: whether that is to be believed. It is where the service was never
    /// known; otherwise from the second time on that is an hour or more after the first.
    pub fn vanished(&mut self, domain: &Domain, class: Class, now: Timestamp) -> bool {
        let key = (domain.clone(), class);
        let Some(entry) = self.known.get(&key) else { return true };
        let first = match entry.missing {
            // A clock that was set back begins anew.
            Some(first) if first <= now => first,
            _ => now,
        };
        if now.since(first) >= APART {
            let used = entry.used;
            self.used.remove(&used);
            self.known.remove(&key);
            return true;
        }
        self.touch(key, Some(first));
        false
    }

    /// What of a decision can be acted upon: remembers targets, and makes of an absence that is not yet believed an
    /// [`Decision::Unknown`].
    pub fn weigh(&mut self, decision: Decision, class: Class, domain: &Domain, now: Timestamp) -> Decision {
        match decision {
            Decision::Targets(..) => self.seen(domain, class),
            Decision::NoService { .. } if !self.vanished(domain, class, now) => {
                let reason = format!(
                    "{domain} had {class} servers; that it has none any more must be seen twice, an hour apart"
                );
                return Decision::Unknown { reason, status: UNABLE_TO_ROUTE };
            }
            _ => {}
        }
        decision
    }

    fn touch(&mut self, key: Key, missing: Option<Timestamp>) {
        self.serial += 1;
        let entry = Entry { used: self.serial, missing };
        if let Some(old) = self.known.insert(key.clone(), entry) {
            self.used.remove(&old.used);
        }
        self.used.insert(self.serial, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::EnhancedCode;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn twice_an_hour_apart() {
        let (mut memory, b) = (Memory::default(), domain("b.example"));
        assert!(memory.vanished(&b, Class::Im, at(0)));
        memory.seen(&b, Class::Im);
        assert!(memory.vanished(&b, Class::Pres, at(1)));
        assert!(!memory.vanished(&b, Class::Im, at(10)));
        assert!(!memory.vanished(&b, Class::Im, at(10 + 3599)));
        assert!(memory.vanished(&b, Class::Im, at(10 + 3600)));
        assert!(memory.vanished(&b, Class::Im, at(10 + 3601)));
    }

    #[test]
    fn being_seen_again_begins_anew() {
        let (mut memory, b) = (Memory::default(), domain("b.example"));
        memory.seen(&b, Class::Im);
        assert!(!memory.vanished(&b, Class::Im, at(10)));
        memory.seen(&b, Class::Im);
        assert!(!memory.vanished(&b, Class::Im, at(4000)));
        assert!(memory.vanished(&b, Class::Im, at(7600)));
    }

    #[test]
    fn a_clock_that_was_set_back() {
        let (mut memory, b) = (Memory::default(), domain("b.example"));
        memory.seen(&b, Class::Im);
        assert!(!memory.vanished(&b, Class::Im, at(1_000_000)));
        assert!(!memory.vanished(&b, Class::Im, at(100)));
        assert!(memory.vanished(&b, Class::Im, at(3700)));
    }

    #[test]
    fn bounded() {
        let mut memory = Memory::new(2);
        let names = [domain("a"), domain("b"), domain("c")];
        memory.seen(&names[0], Class::Im);
        memory.seen(&names[1], Class::Im);
        memory.seen(&names[0], Class::Im);
        memory.seen(&names[2], Class::Im);
        assert_eq!(names.each_ref().map(|name| memory.vanished(name, Class::Im, at(3))), [false, true, false]);
        assert_eq!((memory.known.len(), memory.used.len()), (2, 2));
    }

    #[test]
    fn decisions() {
        let (mut memory, b) = (Memory::default(), domain("b.example"));
        let targets = || Decision::Targets(Vec::new(), Duration::ZERO);
        let none = || Decision::NoService { proven: true };
        assert_eq!(memory.weigh(none(), Class::Im, &b, at(0)), none());
        assert_eq!(memory.weigh(targets(), Class::Im, &b, at(1)), targets());
        let Decision::Unknown { reason, status } = memory.weigh(none(), Class::Im, &b, at(2)) else { panic!() };
        assert_eq!(status, EnhancedCode::new(4, 4, 4));
        assert_eq!(reason, "b.example had IM servers; that it has none any more must be seen twice, an hour apart");
        // What the domain itself says is believed at once.
        assert_eq!(memory.weigh(Decision::Refused, Class::Im, &b, at(3)), Decision::Refused);
        assert_eq!(memory.weigh(none(), Class::Im, &b, at(3602)), none());
    }
}
