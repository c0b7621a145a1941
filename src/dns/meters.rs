//! What is counted of questions: those that the cache answers, and what the others bring.

use super::{Answer, Failure, Security};
use crate::meter::{Counter, Tally};

/// What a question may bring.
pub const ANSWERS: [&str; 5] = ["secure", "insecure", "absent", "bogus", "failed"];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Meters {
    /// Questions that the cache answered.
    pub remembered: Counter,
    answers: Tally<{ ANSWERS.len() }>,
}

impl Meters {
    /// An answer, or why there is none.
    pub(super) fn answered<R>(&self, result: &Result<Answer<R>, Failure>) {
        self.answers.add(match result {
            Ok(answer) if answer.security == Security::Secure => 0,
            Ok(_) => 1,
            Err(failure) if failure.is_absence() => 2,
            Err(Failure::Bogus(_)) => 3,
            Err(_) => 4,
        });
    }

    /// Questions that were asked, by what they brought.
    pub fn answers(&self) -> [(&'static str, u64); ANSWERS.len()] {
        std::array::from_fn(|place| (ANSWERS[place], self.answers.get(place)))
    }
}
