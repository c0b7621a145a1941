//! The queue: the only place that sees both ends of a message's way.
//!
//! In: what entered the spool, what became of each attempt. Out: work for `deliver`; when a recipient is completed, the mark
//! in the spool and the receipt that it causes, in one commit. [`schedule`] decides when, purely; [`conclude`] decides what
//! follows from an outcome, purely; [`inboxes`] tells those who are attached; [`lanes`] keeps order; [`run`] is the loop; [`complete`] writes; [`look_up`] asks DNS for a destination; [`notices`] delivers
//! what is due of presence.

pub mod complete;
pub mod conclude;
pub mod counters;
pub mod inboxes;
mod lanes;
pub mod log;
pub mod look_up;
pub mod notices;
pub mod run;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use run::{Command, Options, Parts, run};
