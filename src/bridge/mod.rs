//! The bridge to mail: what a mail becomes. Pure.
//!
//! In: a mail. Out: the text that its author wrote. Invariant: nothing of a mail is lost here: what is left out of
//! the text is in the original, which goes with it.

pub mod answer;
