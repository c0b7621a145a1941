//! Relays whose word is taken for where messages come from.
//!
//! In: what a connection showed. Out: whether it is one that the administrator has named.

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
        Upstream::Network(network) => origin.address.is_some_and(|address| network.contains(address)),
        Upstream::Name(name) => names.as_ref().is_some_and(|names| names.names_host(name)),
    })
}
