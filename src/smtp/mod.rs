//! SMTP without I/O: octets and answers in, octets and events out.
//!
//! [`command`] is the one table of commands, [`extension`] the one of EHLO keywords; [`framing`] finds lines, dots and
//! chunks in what was read; [`server`] is the session that accepts, [`client`] the one
//! that hands over. Nothing here reads a clock or a socket.
//! RFC 5321, RFC 2920, RFC 3030, RFC 3207, RFC 3461 and the other extensions that [`extension::Extension`] lists.

pub mod client;
pub mod command;
pub mod extension;
pub mod framing;
pub mod parameter;
pub mod path;
pub mod server;
pub mod turn;
pub mod xtext;
