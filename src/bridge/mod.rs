//! The bridge to mail: what a message looks like as a mail, and what a mail says as a message. Pure.
//!
//! Out: the entity of a message gets what mail programs need to show a chat as a thread. In: whether a mail becomes a
//! message, and which; the text that its author wrote; of a report, the receipt that it is. Presence both ways, for those
//! who have only mail. Invariants: what is signed passes
//! octet for octet; nothing of a mail is lost: what is left out of the text is in the original, which goes with it.
//! Protocol, section 8.

pub mod answer;
pub mod intake;
pub mod inward;
pub mod outward;
pub mod presence;
pub mod report;
pub mod tlsrpt;
