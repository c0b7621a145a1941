//! What each of many has of something bounded: connections of an address, clients of an account.
//!
//! In: a key that asks for one more. Out: a [`Share`], given back when it is dropped. Invariant: a key never has more than
//! it may, however many ask at once, and a key that has none costs nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many each key has.
pub struct Shares<K> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// One of them.
pub struct Share<K: Eq + Hash> {
    key: K,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// So many for each key.
    pub fn new(most: usize) -> Self {
        Shares { most, taken: Arc::default() }
    }

    /// One more for `key`, if it may have one.
    pub fn take(&self, key: K) -> Option<Share<K>> {
        let mut taken = lock(&self.taken);
        let count = taken.get(&key).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        taken.insert(key.clone(), count + 1);
        Some(Share { key, taken: self.taken.clone() })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

fn lock<K>(taken: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_ask_at_once_nobody_has_more_than_it_may() {
        let shares = Shares::new(3);
        let taken: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| shares.take("alice"))).collect();
            asking.into_iter().filter_map(|asking| asking.join().unwrap()).collect()
        });
        assert_eq!(taken.len(), 3);
        assert!(shares.take("bob").is_some(), "another has its own");
        drop(taken);
        assert!(lock(&shares.taken).is_empty());
        assert!(shares.take("alice").is_some());
    }
}
