//! queue
pub mod schedule;
