//! Real handshakes and real certificates, over a pipe in memory.

mod certificates;
mod dane;
mod handshake;

use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::DuplexStream;

use super::make::{Authority, AuthorityOptions, Leaf, Made};
use super::{Acceptor, Certificates, Connector, Expect, Peer, Proof, Roots, TlsError, TlsStream, accept, connect};
use crate::address::Domain;
use crate::clock::{Clock, System};
use crate::timestamp::Timestamp;

fn now() -> Timestamp {
    System::new().now()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn authority(name: &str) -> Authority {
    Authority::root(&AuthorityOptions::new(name, now())).unwrap()
}

fn roots(of: &[&Authority]) -> Arc<Roots> {
    Arc::new(Roots::from_der(of.iter().map(|authority| authority.certificate())))
}

/// Writes each certificate and loads them all; the directory is gone afterwards.
fn loaded(made: &[&Made]) -> Arc<Certificates> {
    let directory = TempDir::new().unwrap();
    let write = |(at, made): (usize, &&Made)| made.write(directory.path(), &format!("{at}")).unwrap();
    Certificates::load(made.iter().enumerate().map(write).collect()).unwrap()
}

fn acceptor(made: &[&Made]) -> Acceptor {
    Acceptor::new(loaded(made), accept::Options::default()).unwrap()
}

fn connector(roots: Arc<Roots>) -> Connector {
    Connector::new(roots, Certificates::none(), connect::Options::default())
}

fn pkix(names: &[&str]) -> Expect {
    Expect::Pkix { names: names.iter().map(|name| domain(name)).collect(), srv: None }
}

type Client = Result<(TlsStream<DuplexStream>, Proof), TlsError>;
type Server = Result<(TlsStream<DuplexStream>, Peer), TlsError>;

async fn handshake(
    acceptor: &Acceptor,
    connector: &Connector,
    sni: Option<&str>,
    expect: Expect,
    own: Option<&str>,
) -> (Client, Server) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let sni = sni.map(domain);
    let own = own.map(domain);
    tokio::join!(connector.connect(near, sni.as_ref(), expect, own.as_ref()), acceptor.accept(far))
}

/// One server certificate, one expectation: what is proven, or the error's text.
async fn proof(made: &Made, trusted: &Authority, sni: &str, expect: Expect) -> Result<Proof, String> {
    let (client, _) = handshake(&acceptor(&[made]), &connector(roots(&[trusted])), Some(sni), expect, None).await;
    client.map(|(_, proof)| proof).map_err(|error| error.to_string())
}

fn made(authority: &Authority, names: &[&str]) -> Made {
    authority.issue(&Leaf::new(names, now())).unwrap()
}
