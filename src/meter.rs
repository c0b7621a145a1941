//! Counters for whoever watches: cheap where something happens, read whenever somebody asks.
//!
//! In: events. Out: numbers since the start. Invariant: counting is one relaxed addition, without a lock or an allocation;
//! what is read together may be some events apart. Never fails.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters by a small number, such as the variant of an enum.
#[derive(Debug)]
pub struct Tally<const N: usize>([Counter; N]);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Tally([const { Counter(AtomicU64::new(0)) }; N])
    }
}

impl<const N: usize> Tally<N> {
    /// One more at a place; a place that there is not is counted nowhere.
    pub fn add(&self, place: usize) {
        if let Some(counter) = self.0.get(place) {
            counter.add();
        }
    }

    /// How many at a place.
    pub fn get(&self, place: usize) -> u64 {
        self.0.get(place).map_or(0, Counter::get)
    }
}

/// How often a value was within each of some bounds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: [u64; N],
    within: Tally<N>,
    above: Counter,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, ascending, and how many values were within each and above the one before.
    pub buckets: Vec<(u64, u64)>,
    /// All values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl<const N: usize> Histogram<N> {
    /// With these upper bounds, ascending.
    pub const fn new(bounds: [u64; N]) -> Self {
        let within = Tally([const { Counter(AtomicU64::new(0)) }; N]);
        Histogram { bounds, within, above: Counter(AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }

    /// A value.
    pub fn observe(&self, value: u64) {
        match self.bounds.iter().position(|bound| value <= *bound) {
            Some(place) => self.within.add(place),
            None => self.above.add(),
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// All values so far.
    pub fn read(&self) -> Distribution {
        let buckets: Vec<_> =
            self.bounds.iter().enumerate().map(|(place, bound)| (*bound, self.within.get(place))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above.get();
        Distribution { buckets, count, sum: self.sum.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_at_their_bound() {
        let histogram = Histogram::new([10, 100]);
        [0, 10, 11, 100, 101].into_iter().for_each(|value| histogram.observe(value));
        let expected = Distribution { buckets: vec![(10, 2), (100, 2)], count: 5, sum: 222 };
        assert_eq!(histogram.read(), expected);
    }

    #[test]
    fn a_place_that_there_is_not_is_counted_nowhere() {
        let tally = Tally::<2>::default();
        [1, 1, 2].into_iter().for_each(|place| tally.add(place));
        assert_eq!([tally.get(0), tally.get(1), tally.get(2)], [0, 2, 0]);
    }
}
