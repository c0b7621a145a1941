//! Between instant messages and mail: what a message looks like as a mail, and what a mail says as a message.
//!
//! Pure: facts in, value out. Everybody with a mail address is a correspondent; a mail program shows a chat as a thread,
//! and what is signed passes octet for octet. Protocol, section 8.

pub mod outward;
