//! A connection to a service that judges for us: LDAP, or introspection of tokens.

use std::time::Duration;

use super::Fault;
use crate::address::Domain;
use crate::net::{self, Stream};
use crate::tls::{Connector, Expect};

/// How long the whole of a question may take.
pub(super) const QUESTION: Duration = Duration::from_secs(10);

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: net::Host,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken, with a certificate that names the host.
    pub tls: bool,
}

/// Connects; the name is looked up as the system does.
pub(super) async fn connect(place: &Place, connector: &Connector) -> Result<Stream, Fault> {
    let fault = |what: String| Fault(format!("{}: {what}", place.host));
    let addresses = match &place.host {
        net::Host::Address(address) => vec![(*address, place.port).into()],
        net::Host::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), place.port)).await;
            found.map_err(|error| fault(error.to_string()))?.collect()
        }
    };
    let tcp = net::dial(&addresses, net::Options { timeout: QUESTION, ..net::Options::default() }).await;
    let tcp = tcp.map_err(|error| fault(error.to_string()))?;
    if !place.tls {
        return Ok(tcp.into());
    }
    let net::Host::Name(name) = &place.host else {
        return Err(fault("TLS needs the name of the host, not its address".to_owned()));
    };
    let expect = Expect::Pkix { names: vec![name.clone()], srv: None };
    let handshake = connector.without_alpn().connect(tcp, name, expect, None::<&Domain>).await;
    handshake.map(|(stream, _)| stream.into()).map_err(|error| fault(error.to_string()))
}
