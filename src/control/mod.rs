//! Administration of the daemon: both ends of its protocol, and what `impartctl` is made of.
//!
//! A request is one line of JSON on a Unix socket, the answer one line for each row and one at the end
//! ([`protocol`]). The daemon gives a [`server::Handler`] to [`server::serve`]; `impartctl` asks through
//! [`client::Client`], and where no daemon runs, [`offline`] does the same work on the spool itself.
//! Invariant: everything a client can make grow is bounded; a request that is not understood changes nothing.

pub mod account;
pub mod authority;
pub mod certificate;
pub mod check;
pub mod cli;
pub mod client;
pub mod mail;
pub mod offline;
pub mod presence;
pub mod protocol;
pub mod publish;
pub mod rules;
pub mod select;
pub mod server;
pub mod show;
pub mod signers;
pub mod top;
pub mod trace;

pub use protocol::{Call, Fault, FaultCode, Finding, Level, Row};
pub use select::Selector;
