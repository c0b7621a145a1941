//! A table of numbers that are found by a hash: four octets for each, at most three quarters of the places taken.
//!
//! Whoever has the values says what their hashes are and which is meant. Linear probing; a number that goes leaves a mark
//! behind, which the next rebuilding clears away.

const FREE: u32 = 0;
const GONE: u32 = u32::MAX;

/// The table. Numbers are below `u32::MAX - 1`.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: Vec<u32>,
    taken: usize,
    marks: usize,
}

impl Index {
    /// The number with this hash that `is` the one meant.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.place(hash, is).map(|place| self.places[place] - 1)
    }

    fn place(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut place = hash as usize & mask;
        loop {
            match self.places[place] {
                FREE => return None,
                GONE => {}
                number if is(number - 1) => return Some(place),
                _ => {}
            }
            place = (place + 1) & mask;
        }
    }

    /// Adds a number that is not there; `rehash` gives the hash of any that is.
    pub fn insert(&mut self, hash: u64, number: u32, rehash: impl Fn(u32) -> u64) {
        if (self.taken + self.marks + 1) * 4 > self.places.len() * 3 {
            let places = ((self.taken + 1) * 2).next_power_of_two().max(8);
            let old = std::mem::replace(&mut self.places, vec![FREE; places]);
            self.marks = 0;
            for number in old.into_iter().filter(|number| *number != FREE && *number != GONE) {
                self.put(rehash(number - 1), number);
            }
        }
        self.put(hash, number + 1);
        self.taken += 1;
    }

    fn put(&mut self, hash: u64, number: u32) {
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while self.places[place] != FREE {
            place = (place + 1) & mask;
        }
        self.places[place] = number;
    }

    /// Takes a number out.
    pub fn remove(&mut self, hash: u64, number: u32) {
        if let Some(place) = self.place(hash, |other| other == number) {
            self.places[place] = GONE;
            self.taken -= 1;
            self.marks += 1;
        }
    }
}

/// Values under numbers that are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and names it.
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.values[number as usize] = Some(value);
                number
            }
            None => {
                self.values.push(Some(value));
                // The tables are bounded far below.
                u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX - 2)
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.values.get_mut(number as usize)?.as_mut()
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.values.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(value)
    }

    pub fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    fn hash(number: u32) -> u64 {
        u64::from(number % 7)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in prop::collection::vec((any::<bool>(), 0_u32..40), 0..300)) {
            let (mut index, mut model) = (Index::default(), HashSet::new());
            for (add, number) in steps {
                if add && model.insert(number) {
                    index.insert(hash(number), number, hash);
                } else if !add && model.remove(&number) {
                    index.remove(hash(number), number);
                }
                for number in 0..40 {
                    let found = index.find(hash(number), |other| other == number);
                    prop_assert_eq!(found, model.get(&number).copied());
                }
            }
        }
    }
}
