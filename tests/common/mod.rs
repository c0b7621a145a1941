//! What tests with real processes share: the daemon, a client that speaks line by line, a sink, and waiting.
//!
//! Everything is on loopback and on ports that the system gives. Nothing sleeps to synchronise: [`wait::until`] and
//! [`sink::Sink::wait`] return when what is waited for has come, and fail with what there is instead when it does not.

#![allow(dead_code)] // Each test binary uses its own part of it.

pub mod client;
pub mod daemon;
pub mod device;
pub mod lossy;
pub mod nobody;
pub mod openssl;
pub mod person;
pub mod preload;
pub mod sink;
pub mod tools;
pub mod traffic;
pub mod wait;
