//! When something is to be looked at again: seconds for what expires, milliseconds for what waits for a pause.
//!
//! A timer is not taken back: who is looked at too early says so, and is filed again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::names::NameId;
use crate::timestamp::Timestamp;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A subscription to a presentity here.
    Watcher(u32),
    /// A subscription of a watcher here.
    Contact(u32),
    /// A presentity: a publication expires.
    Presentity(NameId),
    /// What is kept for a short while: fetches and answers.
    Sweep,
    /// What is to be told by mail to a watcher.
    Mail(NameId),
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    seconds: BTreeMap<u32, Vec<Timer>>,
    pauses: BinaryHeap<Reverse<(i64, NameId)>>,
}

impl Timers {
    /// Files one.
    pub fn file(&mut self, second: u32, timer: Timer) {
        self.seconds.entry(second).or_default().push(timer);
    }

    /// Files the end of a presentity's pause.
    pub fn pause(&mut self, until: Timestamp, presentity: NameId) {
        self.pauses.push(Reverse((until.millis(), presentity)));
    }

    /// One whose second has begun, with that second.
    pub fn due(&mut self, now: u32) -> Option<(u32, Timer)> {
        let mut first = self.seconds.first_entry().filter(|first| *first.key() <= now)?;
        let second = *first.key();
        let timer = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        timer.map(|timer| (second, timer))
    }

    /// A presentity whose pause is over.
    pub fn paused(&mut self, now: Timestamp) -> Option<NameId> {
        let Reverse((until, presentity)) = *self.pauses.peek()?;
        (until <= now.millis()).then(|| {
            self.pauses.pop();
            presentity
        })
    }

    /// How many are filed by seconds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.seconds.values().map(Vec::len).sum()
    }

    /// When there is something to look at.
    pub fn next(&self) -> Option<Timestamp> {
        let second = self.seconds.keys().next().map(|second| Timestamp::from_secs(i64::from(*second)));
        let pause = self.pauses.peek().map(|Reverse((until, _))| Timestamp::from_millis(*until));
        second.into_iter().chain(pause).min()
    }
}
