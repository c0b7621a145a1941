//! The time of day, from whoever knows it: the system, or a test.

use std::time::SystemTime;

use crate::timestamp::Timestamp;

/// Whoever knows the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
