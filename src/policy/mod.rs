//! policy

pub mod identity;
