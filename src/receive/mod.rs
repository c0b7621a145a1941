//! receive

pub mod identity;
