//! The time of day, from whoever knows it: the system, or a test.
//!
//! Invariant of [`System`]: its time never jumps because somebody set the clock. It runs on from the time at which the
//! daemon started; a difference from the system's clock is believed, and logged, only after it has stood for
//! [`DOUBT`]: a clock that is wrong for a moment neither expires a queue nor postpones its retries for years.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::timestamp::Timestamp;

/// How long a jump must last before it is believed.
pub const DOUBT: Duration = Duration::from_secs(600);
/// A smaller difference is followed at once: the ordinary work of a time daemon.
pub const TOLERANCE: Duration = Duration::from_secs(2);

/// Whoever knows the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// What is believed of two clocks, of which one only runs and the other can be set.
#[derive(Clone, Copy, Debug)]
struct Belief {
    /// The believed time at the origin of the running clock.
    base: Timestamp,
    /// Since when, on the running clock, the other has been elsewhere.
    doubted_since: Option<Duration>,
}

/// What became of a look at both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Same,
    Doubted,
    Believed,
}

impl Belief {
    /// The time, given what both clocks show.
    fn look(&mut self, running: Duration, shown: Timestamp) -> (Timestamp, Look) {
        let ours = self.base.after(running);
        let apart = ours.since(shown).max(shown.since(ours));
        if apart <= TOLERANCE {
            self.base = shown.before(running);
            self.doubted_since = None;
            return (shown, Look::Same);
        }
        match self.doubted_since {
            None => {
                self.doubted_since = Some(running);
                (ours, Look::Doubted)
            }
            Some(since) if running.saturating_sub(since) >= DOUBT => {
                self.base = shown.before(running);
                self.doubted_since = None;
                (shown, Look::Believed)
            }
            Some(_) => (ours, Look::Same),
        }
    }
}

/// The system's clock, without its jumps.
#[derive(Debug)]
pub struct System {
    origin: Instant,
    belief: Mutex<Belief>,
}

impl System {
    /// Starts with the time that the system shows.
    pub fn new() -> Self {
        let belief = Belief { base: SystemTime::now().into(), doubted_since: None };
        System { origin: Instant::now(), belief: Mutex::new(belief) }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for System {
    fn now(&self) -> Timestamp {
        let (running, shown) = (self.origin.elapsed(), Timestamp::from(SystemTime::now()));
        let mut belief = self.belief.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (now, look) = belief.look(running, shown);
        drop(belief);
        match look {
            Look::Same => {}
            Look::Doubted => tracing::warn!(
                "the system's clock jumped to {}; {} is kept for {} minutes unless it is set right",
                shown.rfc3339(),
                now.rfc3339(),
                DOUBT.as_secs() / 60
            ),
            Look::Believed => {
                tracing::warn!("the system's clock stayed at its new time {}; it is followed now", shown.rfc3339())
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn small_corrections_are_followed() {
        let mut belief = Belief { base: START, doubted_since: None };
        let shown = START.after(secs(11));
        assert_eq!(belief.look(secs(10), shown), (shown, Look::Same));
        assert_eq!(belief.look(secs(20), START.after(secs(22))), (START.after(secs(22)), Look::Same));
    }

    #[test]
    fn a_jump_is_doubted_then_believed() {
        for year in [START.after(secs(31_536_000)), START.before(secs(31_536_000))] {
            let mut belief = Belief { base: START, doubted_since: None };
            assert_eq!(belief.look(secs(10), year.after(secs(10))), (START.after(secs(10)), Look::Doubted));
            assert_eq!(belief.look(secs(500), year.after(secs(500))), (START.after(secs(500)), Look::Same));
            let there = year.after(secs(620));
            assert_eq!(belief.look(secs(620), there), (there, Look::Believed));
            let there = year.after(secs(630));
            assert_eq!(belief.look(secs(630), there), (there, Look::Same));
        }
    }

    #[test]
    fn a_jump_that_is_taken_back_changes_nothing() {
        let mut belief = Belief { base: START, doubted_since: None };
        belief.look(secs(10), START.after(secs(99_999)));
        assert_eq!(belief.look(secs(20), START.after(secs(20))), (START.after(secs(20)), Look::Same));
        assert_eq!(belief.look(secs(700), START.after(secs(99_999))).1, Look::Doubted);
    }
}
