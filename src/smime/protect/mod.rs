//! Header protection: the fields of a message inside its signature or encryption (RFC 9788).
//!
//! In: an entity to be protected, or the payload that came out of a message's signatures and encryptions. Out: the
//! payload to sign and the fields that stand outside; or the fields that are protected, and where those outside say
//! something else. Invariant: a field outside is never taken for a protected one. Messages by the older wrapping in
//! `message/rfc822` (RFC 9788 §4.10) and those without protected fields are read and named as what they are.
//! Fails: a header section that is none, or too large. RFC 9788, RFC 9787 §1.1.1.

mod compose;
mod read;

pub use compose::{Prepared, prepare};
pub use read::{Contradiction, Protected, read, without_legacy_display};

/// How the header fields of a message are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 9788, `hp="clear"`: its author signed the fields and meant all to be seen on the way.
    Clear,
    /// RFC 9788, `hp="cipher"`: its author encrypted; HP-Outer tells what was seen on the way.
    Cipher,
    /// The older wrapping in `message/rfc822` (RFC 8551 §3.1, RFC 9788 §4.10).
    Wrapped,
    /// Not at all: the fields stand outside only, where anybody on the way may have changed them.
    Unprotected,
}

/// Why a header section cannot be protected, or not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtectError {
    /// A line of the header section is not a field.
    #[error("a line of the header is not a field; write `Name: value`")]
    NotAField,
    /// More than [`limits::HEADER_FIELDS`](crate::limits::HEADER_FIELDS) or
    /// [`limits::HEADER_OCTETS`](crate::limits::HEADER_OCTETS).
    #[error("the header is too large")]
    TooLarge,
    /// The entity's Content-Type already has the parameter `hp`.
    #[error("the fields are protected already; protect the message once")]
    Already,
    /// A line would be longer than 998 octets (RFC 5322 §2.1.1).
    #[error("a field is too long to be repeated within HP-Outer; fold it")]
    LongLine,
}

/// Whether a field is about the structure of the part, not about the message (RFC 9787 §1.1.1).
fn is_structural(name: &str) -> bool {
    name.eq_ignore_ascii_case("mime-version")
        || name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"))
}

/// A field that servers put before a message on its way (RFC 9788 §7): never its author's.
fn is_trace(name: &str) -> bool {
    ["received", "return-path", "authentication-results", "delivered-to"]
        .iter()
        .any(|trace| name.eq_ignore_ascii_case(trace))
}

#[cfg(test)]
mod tests;
