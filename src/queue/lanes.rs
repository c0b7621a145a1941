//! Order: entities of one sender for one recipient go one after the other. Pure, time passed in.
//!
//! In: jobs that are about to go, with a *thread* for each recipient; how they ended. Out: the lane of a job, in which
//! `deliver` keeps order, or until when the job waits. Invariants: jobs under way that share a thread are of one lane; what
//! is deferred holds back later jobs of its threads, never earlier ones, and for [`HOLD_BACK`] at most.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::deliver::Destination;
use crate::envelope::Envelope;
use crate::spool::QueueId;
use crate::timestamp::Timestamp;

/// How long a deferred entity holds back later ones.
const HOLD_BACK: Duration = Duration::from_secs(30);
/// When a job is asked again whose recipients are under way in different lanes.
const CROSSING: Duration = Duration::from_millis(100);
/// Threads that are held back at once; order is not kept for more.
const HELD: usize = 10_000;
/// Jobs that are told when nothing holds them back any more, for each thread.
const WAITING: usize = 100;

/// One sender, one recipient, one destination.
pub type Thread = u64;

/// The threads of recipients, by their indexes.
pub fn threads(destination: &Destination, envelope: &Envelope, recipients: &[usize]) -> Box<[Thread]> {
    let thread = |index: &usize| {
        let mut hasher = DefaultHasher::new();
        (destination, &envelope.sender, &envelope.recipients[*index].address).hash(&mut hasher);
        hasher.finish()
    };
    recipients.iter().map(thread).collect()
}

#[derive(Debug)]
struct Hold {
    by: QueueId,
    until: Timestamp,
    /// Who asked meanwhile, the first [`WAITING`]; others ask again when their time has come.
    waiting: Vec<QueueId>,
}

/// What is under way, and what is held back.
#[derive(Debug, Default)]
pub struct Lanes {
    /// The lane of the jobs that are under way, and how many they are.
    busy: HashMap<Thread, (u64, usize)>,
    held: HashMap<Thread, Hold>,
}

impl Lanes {
    /// The lane in which a job may go, or when it is to be asked again. [`Lanes::leave`] ends it.
    pub fn enter(&mut self, id: QueueId, threads: &[Thread], now: Timestamp) -> Result<u64, Timestamp> {
        let holds = |hold: &Hold| hold.by < id && hold.until > now;
        let until = |thread: &&Thread| self.held.get(*thread).filter(|hold| holds(hold)).map(|hold| hold.until);
        let last = threads.iter().filter(|thread| until(thread).is_some()).max_by_key(until);
        if let Some(hold) = last.and_then(|thread| self.held.get_mut(thread)) {
            if hold.waiting.len() < WAITING {
                hold.waiting.push(id);
            }
            return Err(hold.until);
        }
        let mut lanes = threads.iter().filter_map(|thread| self.busy.get(thread)).map(|(lane, _)| *lane);
        let lane = lanes.next().or(threads.first().copied()).unwrap_or_default();
        if lanes.any(|other| other != lane) {
            // Later ones wait behind it, so that the lanes empty.
            self.hold(id, threads, now);
            return Err(now.after(CROSSING));
        }
        for thread in threads {
            self.busy.entry(*thread).or_insert((lane, 0)).1 += 1;
        }
        Ok(lane)
    }

    /// A job is no longer under way.
    pub fn leave(&mut self, threads: &[Thread]) {
        for thread in threads {
            let Some((_, jobs)) = self.busy.get_mut(thread) else { continue };
            *jobs -= 1;
            if *jobs == 0 {
                self.busy.remove(thread);
            }
        }
    }

    /// Something was deferred: what comes after it waits for a while. Deferred again, it does so no longer.
    pub fn hold(&mut self, id: QueueId, threads: &[Thread], now: Timestamp) {
        if self.held.len() >= HELD {
            self.held.retain(|_, hold| hold.until > now);
        }
        for thread in threads {
            let free = self.held.get(thread).is_none_or(|hold| hold.by != id && hold.until <= now);
            if free && self.held.len() < HELD {
                self.held.insert(*thread, Hold { by: id, until: now.after(HOLD_BACK), waiting: Vec::new() });
            }
        }
    }

    /// What was deferred is through: the jobs that may ask again now.
    pub fn release<'a>(&mut self, id: QueueId, threads: impl Iterator<Item = &'a Thread>) -> Vec<QueueId> {
        let mut waiting = Vec::new();
        for thread in threads {
            if self.held.get(thread).is_some_and(|hold| hold.by == id) {
                waiting.extend(self.held.remove(thread).into_iter().flat_map(|hold| hold.waiting));
            }
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn what_shares_a_recipient_shares_a_lane() {
        let mut lanes = Lanes::default();
        let (alice, bob, carol) = (1, 2, 3);
        assert_eq!(lanes.enter(QueueId(1), &[alice, bob], at(0)), Ok(alice));
        assert_eq!(lanes.enter(QueueId(2), &[bob], at(0)), Ok(alice), "behind the first");
        assert_eq!(lanes.enter(QueueId(3), &[carol], at(0)), Ok(carol));
        lanes.leave(&[alice, bob]);
        assert_eq!(lanes.enter(QueueId(4), &[carol, alice], at(0)), Ok(carol), "nothing for alice is under way");
        assert_eq!(lanes.enter(QueueId(5), &[bob], at(0)), Ok(alice), "something for bob still is");
        lanes.leave(&[bob]);
        lanes.leave(&[bob]);
        assert_eq!(lanes.enter(QueueId(6), &[bob], at(0)), Ok(bob));
    }

    #[test]
    fn a_job_whose_recipients_are_in_two_lanes_waits_and_later_ones_behind_it() {
        let mut lanes = Lanes::default();
        let (alice, bob) = (1, 2);
        lanes.enter(QueueId(1), &[alice], at(0)).unwrap();
        lanes.enter(QueueId(2), &[bob], at(0)).unwrap();
        assert_eq!(lanes.enter(QueueId(3), &[alice, bob], at(0)), Err(at(100)));
        assert_eq!(lanes.enter(QueueId(4), &[bob], at(0)), Err(at(30_000)));
        lanes.leave(&[alice]);
        assert_eq!(lanes.enter(QueueId(3), &[alice, bob], at(100)), Ok(bob));
        lanes.release(QueueId(3), [alice, bob].iter());
        assert_eq!(lanes.enter(QueueId(4), &[bob], at(101)), Ok(bob));
    }

    #[test]
    fn what_is_deferred_holds_back_what_comes_after_it_for_a_while() {
        let mut lanes = Lanes::default();
        lanes.hold(QueueId(2), &[7], at(0));
        assert_eq!(lanes.enter(QueueId(3), &[7], at(29_999)), Err(at(30_000)));
        assert_eq!(lanes.enter(QueueId(3), &[8], at(1)), Ok(8), "another recipient");
        for before in [1, 2] {
            assert_eq!(lanes.enter(QueueId(before), &[7], at(1)), Ok(7), "not itself, nor what came before it");
            lanes.leave(&[7]);
        }
        lanes.hold(QueueId(2), &[7], at(25_000));
        assert_eq!(lanes.enter(QueueId(3), &[7], at(30_000)), Ok(7), "not longer when deferred again");
        lanes.leave(&[7]);
        lanes.hold(QueueId(3), &[7], at(30_000));
        assert_eq!(
            lanes.enter(QueueId(4), &[7], at(30_001)),
            Err(at(60_000)),
            "the next one deferred holds in its turn"
        );
        assert!(lanes.release(QueueId(2), [7].iter()).is_empty());
        assert!(lanes.enter(QueueId(4), &[7], at(30_001)).is_err(), "that of another");
        assert_eq!(lanes.release(QueueId(3), [7].iter()), [QueueId(4), QueueId(4)], "asked twice");
        assert_eq!(lanes.enter(QueueId(4), &[7], at(30_001)), Ok(7));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut lanes = Lanes::default();
        let many: Vec<Thread> = (0..HELD as u64 + 5).collect();
        lanes.hold(QueueId(1), &many, at(0));
        assert_eq!(lanes.held.len(), HELD);
        lanes.hold(QueueId(2), &[u64::MAX], at(30_000));
        assert_eq!(lanes.held.len(), 1);
    }
}
