//! How failures are slowed down: by the client's address and by the account.
//!
//! In: who tries, from where, and what came of it. Out: how long an answer is held back, or that nothing is judged for a
//! while. A pure value; the time is handed in. Invariants: what is remembered is bounded; strangers who try do not lock the
//! owner out where the owner was known before.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long a failure counts after the last one.
const MEMORY: Duration = Duration::from_secs(900);
/// Failures of one address, or one IPv6 network of 64 bits, before nothing more is judged.
const PER_ADDRESS: u32 = 50;
/// Failures for one account before it is judged only from where it has succeeded.
const PER_ACCOUNT: u32 = 20;
/// The delay after the first failure; it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// Doublings.
const DOUBLINGS: u32 = 4;
/// Addresses and accounts that are remembered.
const REMEMBERED: usize = 65_536;
/// How long a place is known as that of an account.
const KNOWN: Duration = Duration::from_secs(14 * 86_400);

/// Failures and known places.
#[derive(Debug)]
pub(super) struct Limits {
    keys: RandomState,
    failures: HashMap<u64, (u32, Instant)>,
    known: HashMap<u64, Instant>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { keys: RandomState::new(), failures: HashMap::new(), known: HashMap::new() }
    }
}

/// Why nothing is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Too many failures from there.
    Address,
    /// Too many failures for this account.
    Account,
}

/// The network that counts as one: an IPv4 address, or 64 bits of IPv6. Loopback counts as nobody: a proxy is there.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    match address?.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(IpAddr::V6((u128::from(address) >> 64 << 64).into())),
        v4 => Some(v4),
    }
}

impl Limits {
    fn key(&self, what: impl Hash) -> u64 {
        self.keys.hash_one(what)
    }

    fn count(&self, key: u64, now: Instant) -> u32 {
        let fresh = self.failures.get(&key).filter(|(_, at)| now.saturating_duration_since(*at) < MEMORY);
        fresh.map_or(0, |(count, _)| *count)
    }

    /// Whether an attempt is judged at all.
    pub fn admit(&self, address: Option<IpAddr>, account: Option<&str>, now: Instant) -> Result<(), Closed> {
        let network = network(address);
        if network.is_some_and(|network| self.count(self.key(network), now) >= PER_ADDRESS) {
            return Err(Closed::Address);
        }
        let Some(account) = account else { return Ok(()) };
        let place = self.key((account, network));
        let known = self.known.get(&place).is_some_and(|at| now.saturating_duration_since(*at) < KNOWN);
        if !known && self.count(self.key(account), now) >= PER_ACCOUNT {
            return Err(Closed::Account);
        }
        Ok(())
    }

    /// A failure: how long the answer is held back.
    pub fn failed(&mut self, address: Option<IpAddr>, account: Option<&str>, now: Instant) -> Duration {
        let keys = [network(address).map(|network| self.key(network)), account.map(|account| self.key(account))];
        let mut most = 0;
        for key in keys.into_iter().flatten() {
            let count = self.count(key, now);
            most = most.max(count);
            make_room(&mut self.failures, |(_, at)| *at, MEMORY, now);
            self.failures.insert(key, (count.saturating_add(1), now));
        }
        FIRST * 2_u32.pow(most.min(DOUBLINGS))
    }

    /// A success: the account's failures are forgotten, the place is known. Those of the address stay, so that an account of
    /// one's own does not open the others.
    pub fn succeeded(&mut self, address: Option<IpAddr>, account: &str, now: Instant) {
        let (key, place) = (self.key(account), self.key((account, network(address))));
        self.failures.remove(&key);
        make_room(&mut self.known, |at| *at, KNOWN, now);
        self.known.insert(place, now);
    }
}

/// Keeps the table bounded: what has expired goes, else the oldest of a few.
fn make_room<V>(table: &mut HashMap<u64, V>, at: impl Fn(&V) -> Instant, memory: Duration, now: Instant) {
    if table.len() < REMEMBERED {
        return;
    }
    table.retain(|_, value| now.saturating_duration_since(at(value)) < memory);
    while table.len() >= REMEMBERED {
        let oldest = table.iter().take(16).min_by_key(|(_, value)| at(value)).map(|(key, _)| *key);
        let Some(oldest) = oldest else { break };
        table.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn delays_grow_and_end() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let delays: Vec<u64> = (0..7).map(|_| limits.failed(at("192.0.2.1"), Some("a"), now).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(limits.failed(at("192.0.2.2"), Some("b"), now).as_secs(), 1);
        assert_eq!(limits.failed(at("192.0.2.1"), Some("a"), now + MEMORY).as_secs(), 1);
    }

    #[test]
    fn one_network_is_closed_and_others_are_not() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for count in 0..PER_ADDRESS {
            assert_eq!(limits.admit(at("2001:db8::1"), None, now), Ok(()), "{count}");
            limits.failed(at("2001:db8::1"), Some(&format!("{count}")), now);
        }
        assert_eq!(limits.admit(at("2001:db8::2"), Some("x"), now), Err(Closed::Address));
        limits.succeeded(at("2001:db8::2"), "x", now);
        assert_eq!(limits.admit(at("2001:db8::2"), Some("x"), now), Err(Closed::Address));
        assert_eq!(limits.admit(at("2001:db8:0:1::2"), Some("x"), now), Ok(()));
        assert_eq!(limits.admit(at("2001:db8::2"), Some("x"), now + MEMORY), Ok(()));
        assert_eq!(limits.admit(at("::1"), Some("x"), now), Ok(()));
    }

    #[test]
    fn an_account_stays_open_to_its_owner() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        limits.succeeded(at("192.0.2.9"), "alice", now);
        for count in 0..PER_ACCOUNT {
            limits.failed(at(&format!("198.51.100.{count}")), Some("alice"), now);
        }
        assert_eq!(limits.admit(at("203.0.113.1"), Some("alice"), now), Err(Closed::Account));
        assert_eq!(limits.admit(at("203.0.113.1"), Some("bob"), now), Ok(()));
        assert_eq!(limits.admit(at("192.0.2.9"), Some("alice"), now), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for count in 0..REMEMBERED + 100 {
            limits.failed(None, Some(&count.to_string()), now);
        }
        assert!(limits.failures.len() <= REMEMBERED);
    }
}
