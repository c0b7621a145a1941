//! Impart: instant messaging and presence for mail installations.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// 0: words
pub mod address;
pub mod envelope;
pub mod limits;
pub mod reply;
pub mod timestamp;

// 1: formats
pub mod mime;

// 2: protocols without I/O
pub mod smtp;

// 3: platform
pub mod clock;
pub mod dns;
pub mod net;
pub mod tls;

// 4: what owns data
pub mod accounts;
pub mod spool;

// 5: decisions
pub mod policy;
pub mod receipt;
pub mod route;

// 6: thin drivers
pub mod deliver;
pub mod receive;

// 7: the queue
pub mod queue;

// 8: configuration and administration
pub mod config;
pub mod control;

// 9: the daemon
pub mod daemon;
pub mod demo;
