//! The spool.

pub mod record;
pub use record::*;
