//! How many messages an account may submit, how many another domain may hand in, and how often an author of mail may ask.
//!
//! In: an account or a domain that begins a transaction. Out: whether it may, or how long it has to wait. A minute's or an hour's worth
//! may come at once; then one after the other. Bounded: at most [`limits::RATED_ACCOUNTS`] accounts are remembered, those that have
//! used up nothing are forgotten first; beyond that the most moderate are. Of each one moment in time is kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::reply::{EnhancedCode, Reply};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The rates of all accounts.
#[derive(Debug)]
pub struct Rates {
    /// What one message takes of its time.
    share: Duration,
    /// That time, and the word for it.
    span: (Duration, &'static str),
    most: usize,
    /// Until when each account has used its time up, by the account's key.
    used: Mutex<HashMap<String, Instant>>,
}

impl Rates {
    /// So many messages in a minute; at least one.
    pub fn new(per_minute: usize) -> Rates {
        Rates::within(per_minute, (MINUTE, "a minute"))
    }

    /// So many in an hour; at least one.
    pub fn in_an_hour(most: usize) -> Rates {
        Rates::within(most, (HOUR, "an hour"))
    }

    fn within(most: usize, span: (Duration, &'static str)) -> Rates {
        let most = u32::try_from(most.max(1)).unwrap_or(u32::MAX);
        Rates { share: span.0 / most, span, most: limits::RATED_ACCOUNTS, used: Mutex::default() }
    }

    /// Counts a message of an account; refuses it when there were too many.
    pub fn count(&self, account: &str, now: Instant) -> Result<(), Reply> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= self.most && !used.contains_key(account) {
            forget(&mut used, now);
        }
        let until = used.entry(account.to_owned()).or_insert(now);
        let next = (*until).max(now) + self.share;
        let over = next.saturating_duration_since(now + self.span.0);
        if over > Duration::ZERO {
            let seconds = over.as_secs() + 1;
            let text = format!("too many messages in {}; wait {seconds} s and send again", self.span.1);
            return Err(Reply::new(450, EnhancedCode::new(4, 7, 1), text));
        }
        *until = next;
        Ok(())
    }
}

/// Makes room: those of the past go, else half of all.
fn forget(used: &mut HashMap<String, Instant>, now: Instant) {
    let before = used.len();
    used.retain(|_, until| *until > now);
    if used.len() == before {
        let mut times: Vec<Instant> = used.values().copied().collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        used.retain(|_, until| *until > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_at_once_and_then_one_by_one() {
        let (rates, now) = (Rates::new(60), Instant::now());
        for _ in 0..60 {
            assert_eq!(rates.count("alice@a.example", now), Ok(()));
        }
        let refusal = rates.count("alice@a.example", now).unwrap_err();
        assert_eq!((refusal.code(), refusal.text()), (450, "too many messages in a minute; wait 2 s and send again"));
        assert_eq!(rates.count("bob@a.example", now), Ok(()), "each account has its own");
        let later = now + Duration::from_secs(1);
        assert_eq!(rates.count("alice@a.example", later), Ok(()));
        assert!(rates.count("alice@a.example", later).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut rates, now) = (Rates::new(60), Instant::now());
        rates.most = 10;
        for number in 0..100 {
            for _ in 0..=number % 7 {
                assert_eq!(rates.count(&number.to_string(), now), Ok(()));
            }
            assert!(rates.used.lock().unwrap().len() <= 10);
        }
    }
}
