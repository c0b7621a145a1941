//! The bridge to mail: what a mail becomes. Pure.
//!
//! In: a mail. Out: whether it becomes a message, and which; the text that its author wrote; of a report, the receipt
//! that it is. Invariant: nothing of a mail is lost here: what is left out of the text is in the original, which goes
//! with it. Protocol, section 8.

pub mod answer;
pub mod intake;
pub mod inward;
pub mod report;
