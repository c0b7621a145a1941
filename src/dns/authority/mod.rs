//! A small authoritative server, for a demonstration and for tests: SRV and all else that routing asks for, without a
//! name server installed.
//!
//! In: [`Zone`]s, replaceable at any time. Out: answers over UDP and TCP (RFC 1034 §4.3.2, RFC 6891, RFC 7766). It is
//! no recursive resolver and does no zone transfer; delegations below a zone are not modelled. Bounded: 64 connections,
//! each closed after 10 seconds of silence. How it fails: a message that cannot be understood gets FORMERR or nothing.

mod answer;
mod zone;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use zone::{Conduct, Data, Zone, ZoneError};

use answer::{Transport, answer};

const CONNECTIONS: usize = 64;
const IDLE: Duration = Duration::from_secs(10);
/// How often a free port is looked for that both UDP and TCP can have.
const PORTS: usize = 16;

/// The running server; dropping it ends it.
#[derive(Debug)]
pub struct Authority {
    address: SocketAddr,
    zones: Arc<RwLock<Vec<Zone>>>,
    /// Ends with us.
    _tasks: JoinSet<()>,
}

impl Authority {
    /// Answers questions about `zone` at `address`, over UDP and TCP; with port 0 both have the same free port. Must be
    /// called within a runtime.
    pub async fn bind(address: SocketAddr, zone: Zone) -> io::Result<Authority> {
        let (udp, tcp) = sockets(address).await?;
        let zones = Arc::new(RwLock::new(vec![zone]));
        let address = udp.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, zones.clone()));
        tasks.spawn(serve_tcp(tcp, zones.clone()));
        Ok(Authority { address, zones, _tasks: tasks })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the zone of the same origin, or adds one.
    pub fn set_zone(&self, zone: Zone) {
        let mut zones = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        zones.retain(|old| old.origin() != zone.origin());
        zones.push(zone);
    }
}

async fn sockets(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempt = 1;
    loop {
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 && attempt < PORTS => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn respond(zones: &RwLock<Vec<Zone>>, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    answer(&zones.read().unwrap_or_else(PoisonError::into_inner), query, transport)
}

async fn serve_udp(socket: UdpSocket, zones: Arc<RwLock<Vec<Zone>>>) {
    let mut buffer = vec![0; 4096];
    loop {
        // An error is that of an earlier answer, whose receiver has gone.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = respond(&zones, &buffer[..length], Transport::Udp) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zones: Arc<RwLock<Vec<Zone>>>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let zones = zones.clone();
        connections.spawn(async move {
            // However a connection ends, it ends.
            let _ = serve_connection(stream, &zones).await;
            drop(slot);
        });
    }
}

async fn serve_connection(mut stream: TcpStream, zones: &RwLock<Vec<Zone>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = respond(zones, &query, Transport::Tcp) else { continue };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Failure, Options, Resolve, Srv, Validation, from_options};
    use std::net::Ipv4Addr;

    pub(crate) fn resolver(authority: &Authority, cache_entries: usize) -> Arc<dyn Resolve> {
        from_options(Options { servers: vec![authority.local_addr()], cache_entries, ..Options::default() }).unwrap()
    }

    fn srv(port: u16) -> Srv {
        Srv { priority: 0, weight: 0, port, target: Some("mx.b.test".parse().unwrap()) }
    }

    #[tokio::test]
    async fn a_zone_can_be_replaced() {
        let name = "_im._impp.b.test";
        let mut zone = Zone::new("test").unwrap();
        zone.add(name, 0, Data::Srv(srv(1))).unwrap();
        let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), zone).await.unwrap();
        let resolver = resolver(&authority, 100);
        assert_eq!(resolver.srv(name).await.unwrap().records, [srv(1)]);
        let mut zone = Zone::new("test").unwrap();
        zone.add(name, 0, Data::Srv(srv(2))).unwrap();
        authority.set_zone(zone);
        assert_eq!(resolver.srv(name).await.unwrap().records, [srv(2)]);
        authority.set_zone(Zone::new("other").unwrap());
        assert_eq!(resolver.srv(name).await.unwrap().records, [srv(2)]);
        assert!(matches!(resolver.srv("x.other").await, Err(Failure::NxDomain { .. })));
    }

    #[tokio::test]
    async fn it_ends_with_its_owner() {
        let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), Zone::new("test").unwrap()).await.unwrap();
        let servers = vec![authority.local_addr()];
        drop(authority);
        tokio::task::yield_now().await;
        let options = Options { servers, validation: Validation::Off, ..Options::default() };
        let failure = from_options(options).unwrap().srv("a.test").await.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable(_)), "{failure}");
    }
}
