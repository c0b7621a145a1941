//! Receiving: listeners, connections, transactions; thin drivers around [`crate::smtp::server`] and [`crate::policy`].
//!
//! In: connections. Out: messages in the spool, which tells the queue; signs of life of domains. Invariant: connections are
//! bounded in all and for each address; each is bounded in time and memory. Nothing here knows the queue or who delivers.

mod attach;
pub mod bridge;
pub mod connection;
pub mod examine;
pub mod identity;
pub mod large;
mod line;
pub mod lists;
mod login;
pub mod meters;
mod presence;
mod rates;
mod shares;
pub mod signed;
mod transaction;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::accounts::{Accounts, Authority};
use crate::address::Domain;
use crate::attached::{Attached, Attachment};
use crate::clock::Clock;
use crate::dns::Resolve;
use crate::limits;
use crate::net::{self, Network, Stream};
use crate::policy::refused::Refused;
use crate::policy::{Senders, Service};
use crate::presence::Handle;
use crate::reply::{EnhancedCode, Reply};
use crate::route::Table;
use crate::smtp::server;
use crate::spool::Spool;
use crate::tls::{Acceptor, Peer, Roots};

use connection::Origin;
pub use meters::Meters;
pub use rates::Rates;
use shares::Share;
pub use shares::Shares;

/// What the administrator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// This host's name: trace fields, authserv-id.
    pub host: Domain,
    /// How long a message without DELIVERBY is kept.
    pub retention: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one IPv4 address or one /64 of IPv6; loopback is exempt.
    pub connections_per_address: usize,
    /// What proves a peer.
    pub identity: identity::Options,
    /// Relays whose Authentication-Results are believed.
    pub upstreams: Vec<Upstream>,
    /// Messages that may wait in one inbox.
    pub inbox_messages: usize,
    /// Octets that may wait in one inbox.
    pub inbox_octets: u64,
}

/// A relay whose Authentication-Results are believed, as it shows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// By its address.
    Network(Network),
    /// By a name in its client certificate, for which our trust anchors vouch.
    Name(Domain),
}

/// One listener's part.
pub struct Listener {
    /// What it is for.
    pub service: Service,
    /// Whose messages it takes from the mail system.
    pub senders: Senders,
    /// How mail becomes messages; there with [`Senders::World`] alone.
    pub bridge: Option<Arc<bridge::Options>>,
    /// The session's options.
    pub session: Arc<server::Options>,
    /// Who makes TLS of a connection at once; `None` where it begins in the clear.
    pub tls: Option<Acceptor>,
    /// Who makes TLS of it after STARTTLS.
    pub starttls: Option<Acceptor>,
    /// Whether clients may log in without TLS.
    pub clear_auth: bool,
}

/// What all connections share.
pub struct Context {
    /// Decided by the administrator.
    pub options: Options,
    /// Where messages go.
    pub spool: Spool,
    /// Who lives here.
    pub accounts: watch::Receiver<Arc<Accounts>>,
    /// Who judges what clients say of themselves.
    pub authority: Authority,
    /// What waits in the inboxes here.
    pub attached: Attached,
    /// Who shows what to whom.
    pub presence: Handle,
    /// The clients that each account has attached.
    pub clients: Shares<String>,
    /// Connections whose roles have been reversed go here.
    pub attach: Sender<Attachment>,
    /// What accounts have submitted lately.
    pub rates: Rates,
    /// What other domains have handed in lately; `None`: that is not bounded.
    pub peers: Option<Rates>,
    /// What authors of mail have asked of presence lately.
    pub mailed: Rates,
    /// Whom the administrator keeps out.
    pub refused: watch::Receiver<Arc<Refused>>,
    /// For whom we relay.
    pub table: watch::Receiver<Arc<Table>>,
    /// Who answers what peers claim to be.
    pub resolver: Arc<dyn Resolve>,
    /// Whom their certificates are held against.
    pub roots: Arc<Roots>,
    /// Who is believed about signatures, and who insists on them.
    pub signatures: watch::Receiver<Arc<signed::Signatures>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Domains that have shown life go here.
    pub life: UnboundedSender<Domain>,
    /// The connections there are.
    pub connections: Connections,
    /// Places for large entities that are coming in ([`limits::LARGE_ENTITIES`]).
    pub large: Arc<large::Places>,
    /// KiB of entities that may wait for the disk ([`limits::WAITING_KIBIS`]).
    pub waiting: Arc<Semaphore>,
    /// What is counted.
    pub meters: Meters,
}

/// Counts connections and keeps them within bounds.
pub struct Connections {
    most: usize,
    all: Arc<Semaphore>,
    by_address: Shares<IpAddr>,
}

/// A connection's place; dropped with it.
pub struct Place {
    _all: tokio::sync::OwnedSemaphorePermit,
    _own: Option<Share<IpAddr>>,
}

impl Connections {
    /// Bounds in all and for each address.
    pub fn new(all: usize, per_address: usize) -> Self {
        Connections { most: all, all: Arc::new(Semaphore::new(all)), by_address: Shares::new(per_address) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.most.saturating_sub(self.all.available_permits())
    }

    /// A place for a connection from `address`, if there is one.
    pub fn enter(&self, address: Option<IpAddr>) -> Option<Place> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let own = match address.filter(|address| !address.to_canonical().is_loopback()).map(network) {
            Some(address) => Some(self.by_address.take(address)?),
            None => None,
        };
        Some(Place { _all: permit, _own: own })
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
    }
}

/// Takes connections until `stop` is true.
pub async fn listen(
    socket: net::Listener,
    listener: Arc<Listener>,
    context: Arc<Context>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = connection::stopped(&mut stop) => return,
        };
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                // EMFILE and kin pass when a connection ends; a loop without a pause would only burn the processor.
                tracing::warn!("a connection cannot be taken: {fault}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let address = source.map(|source| source.ip().to_canonical());
        let refused = address.and_then(|address| context.refused.borrow().connection(address).err());
        let place = match refused {
            Some(refusal) => Err(refusal),
            None => context.connections.enter(address).ok_or_else(crowded),
        };
        let place = match place {
            Ok(place) => place,
            Err(refusal) => {
                context.meters.turned_away.add();
                tokio::spawn(turn_away(stream, listener.tls.is_none(), refusal));
                continue;
            }
        };
        context.meters.connect(listener.service);
        let (listener, context, stop) = (listener.clone(), context.clone(), stop.clone());
        tokio::spawn(welcome(stream, address, listener, context, stop, place));
    }
}

fn crowded() -> Reply {
    Reply::new(421, EnhancedCode::new(4, 7, 0), "too many connections, try again later")
}

async fn turn_away(mut stream: Stream, in_clear: bool, refusal: Reply) {
    if in_clear {
        let mut octets = Vec::new();
        refusal.write(&mut octets);
        let _ = timeout(Duration::from_secs(5), stream.write_all(&octets)).await;
    }
}

async fn welcome(
    stream: Stream,
    address: Option<IpAddr>,
    listener: Arc<Listener>,
    context: Arc<Context>,
    stop: watch::Receiver<bool>,
    place: Place,
) {
    let Some(acceptor) = &listener.tls else {
        let origin = Origin { address, tls: None };
        return connection::serve(stream, origin, context, listener, stop, place).await;
    };
    if let Some((stream, peer)) = encrypt(stream, acceptor, &context.meters).await {
        let origin = Origin { address, tls: Some(peer) };
        connection::serve(stream, origin, context, listener.clone(), stop, place).await;
    }
}

/// The handshake on a connection that is in the clear; what goes wrong is logged.
async fn encrypt(stream: Stream, acceptor: &Acceptor, meters: &Meters) -> Option<(Stream, Peer)> {
    let Stream::Tcp(stream) = stream else { return None };
    match timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok((stream, peer))) => {
            meters.encrypted.add();
            return Some((stream.into(), peer));
        }
        Ok(Err(fault)) => tracing::info!("TLS with a peer failed: {fault}"),
        Err(_) => tracing::info!("TLS with a peer failed: no handshake in time"),
    }
    meters.not_encrypted.add();
    None
}

#[cfg(test)]
mod tests;
