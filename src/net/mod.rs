//! Sockets: connections out, connections in, and the one type that both are.
//!
//! In: addresses. Out: a [`Stream`] without Nagle's delay, or an error that says in words what each address did.
//! Invariant: whatever this module waits for has an end; a socket that is not returned is closed.
//! RFC 8305 (racing addresses), RFC 1928 (SOCKS5), RFC 9112 (HTTP/1.1).

mod activation;
mod dial;
pub mod http;
mod listen;
mod network;
mod socks5;
mod stream;
pub mod web;

use std::fmt;
use std::net::IpAddr;

pub use activation::Inherited;
pub use dial::{ADDRESSES, DialError, Fault, Options, dial};
pub use listen::{Address, ListenError, Listener, SocketFile, listen};
pub use network::{Network, NetworkError};
pub use socks5::{ProxyFault, socks5};
pub use stream::Stream;

use crate::address::Domain;

/// A host by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// To be looked up.
    Name(Domain),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    /// The name, or the address without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => name.fmt(f),
            Host::Address(address) => address.fmt(f),
        }
    }
}
