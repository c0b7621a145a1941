//! Entities as octets: what their header says, whether they are well-formed, and what a relay adds.
//!
//! In: the octets of an entity. Out: [`Facts`], a [`Defect`], a digest, or an entity with fields added. Invariant:
//! nothing here repairs an entity: what is not added by RFC 5321 §4.4 or RFC 6409 §8 passes octet for octet, signatures
//! included; [`seven_bit`] is for authors, before anything is signed. All work is linear in the length of the entity, and bounded by [`crate::limits`].
//!
//! RFC 5321 §4.4, RFC 5322, RFC 2045, RFC 2046, RFC 6532.

mod author;
mod content_type;
mod defect;
mod digest;
mod header;
mod inspect;
mod language;
mod octets;
pub mod part;
mod phrase;
pub mod presence;
pub mod report;
mod seven_bit;
pub mod signed;
mod structure;
pub mod submission;
pub mod trace;

pub use author::{mailboxes, recipients};
pub use content_type::{kind, parameter};
pub use defect::Defect;
pub use digest::digest;
pub use header::{Field, Fields, Malformed, unfold};
pub use inspect::{Facts, Rules, Sender, date, inspect};
pub use language::language;
pub use phrase::phrase;
pub use seven_bit::seven_bit;
