//! Relays whose word is taken for where messages come from.
//!
//! In: what a connection showed. Out: whether it is one that the administrator has named.

use std::net::IpAddr;

use rustls::pki_types::UnixTime;

use super::connection::Origin;
use super::{Context, Upstream};
use crate::tls::chain::{self, Purpose};

/// Whether the peer is a relay whose word is taken for where messages come from.
pub(super) fn is_upstream(context: &Context, origin: &Origin) -> bool {
    if context.options.upstreams.is_empty() {
        return false;
    }
    let shown = origin.tls.as_ref().filter(|peer| !peer.chain.is_empty());
    let names =
        shown.and_then(|peer| chain::prove_by_roots(&peer.chain, &context.roots, Purpose::Relay, UnixTime::now()).ok());
    context.options.upstreams.iter().any(|upstream| match upstream {
        Upstream::Network(network, bits) => origin.address.is_some_and(|address| within(address, *network, *bits)),
        Upstream::Name(name) => names.as_ref().is_some_and(|names| names.names_host(name)),
    })
}

/// Whether an address is in a network.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shifted = |value: u128, width: u8| value.checked_shr(u32::from(width.saturating_sub(bits))).unwrap_or(0);
    match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            shifted(u128::from(one.to_bits()), 32) == shifted(u128::from(other.to_bits()), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => shifted(one.to_bits(), 128) == shifted(other.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, bits, address: &str, expected| {
            let got = within(address.parse().unwrap(), network.parse().unwrap(), bits);
            assert_eq!(got, expected, "{address} in {network}/{bits}");
        };
        check("192.0.2.0", 24, "192.0.2.200", true);
        check("192.0.2.0", 24, "::ffff:192.0.2.1", true);
        check("192.0.2.0", 24, "192.0.3.1", false);
        check("0.0.0.0", 0, "203.0.113.1", true);
        check("0.0.0.0", 0, "2001:db8::1", false);
        check("2001:db8::", 32, "2001:db8:1::1", true);
        check("2001:db8::1", 128, "2001:db8::2", false);
        check("::", 0, "2001:db8::2", true);
    }
}
