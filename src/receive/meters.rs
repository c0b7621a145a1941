//! What is counted of connections and of what comes over them. Invariant: nothing that a peer says makes another number.

use crate::envelope::Class;
use crate::meter::{Counter, Tally};
use crate::policy::Service;
use crate::smime::Verdict;

/// The services, as they are counted.
pub const SERVICES: [Service; 5] = [Service::Relay, Service::Mail, Service::Client, Service::Odmr, Service::Device];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Meters {
    accepted: Tally<10>,
    connections: Tally<5>,
    /// Connections that found no place.
    pub turned_away: Counter,
    /// Handshakes of TLS that succeeded.
    pub encrypted: Counter,
    /// Handshakes of TLS that failed.
    pub not_encrypted: Counter,
    signatures: Tally<{ Verdict::WORDS.len() }>,
}

fn place(service: Service) -> usize {
    SERVICES.iter().position(|known| *known == service).unwrap_or(SERVICES.len())
}

impl Meters {
    /// A message was accepted.
    pub fn accept(&self, service: Service, class: Class) {
        self.accepted.add(class as usize * SERVICES.len() + place(service));
    }

    /// Messages that were accepted.
    pub fn accepted(&self, service: Service, class: Class) -> u64 {
        self.accepted.get(class as usize * SERVICES.len() + place(service))
    }

    /// Messages that were accepted, all of them.
    pub fn all_accepted(&self) -> u64 {
        (0..2 * SERVICES.len()).map(|place| self.accepted.get(place)).sum()
    }

    /// A connection has its place.
    pub fn connect(&self, service: Service) {
        self.connections.add(place(service));
    }

    /// Connections that had a place.
    pub fn connections(&self, service: Service) -> u64 {
        self.connections.get(place(service))
    }

    /// What was found of a signature.
    pub fn examine(&self, verdict: &Verdict) {
        let word = verdict.word();
        self.signatures.add(Verdict::WORDS.iter().position(|known| *known == word).unwrap_or(Verdict::WORDS.len()));
    }

    /// Signatures by the word for what was found.
    pub fn signatures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Verdict::WORDS.into_iter().enumerate().map(|(place, word)| (word, self.signatures.get(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_classes_are_counted_apart() {
        let meters = Meters::default();
        for (times, service) in SERVICES.into_iter().enumerate() {
            (0..times).for_each(|_| meters.accept(service, Class::Im));
            (0..10 + times).for_each(|_| meters.accept(service, Class::Pres));
        }
        for (times, service) in SERVICES.into_iter().enumerate() {
            assert_eq!(meters.accepted(service, Class::Im), times as u64);
            assert_eq!(meters.accepted(service, Class::Pres), 10 + times as u64);
        }
        assert_eq!(meters.all_accepted(), 10 + 60);
    }
}
