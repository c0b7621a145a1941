//! x
pub mod clean;
pub mod compose;
pub mod history;
pub mod read;
