//! The stub: asks recursive resolvers over UDP, and TCP where an answer is too long.
//!
//! In: a question. Out: its [`Outcome`]. Each query has a socket, and so a port, of its own and a random id (RFC 5452
//! §9.2); the kernel passes only what comes from the server that was asked. AD is believed only of servers that the
//! options name trusted: whoever sits on the way to another could set it. RFC 1035 §4.2, RFC 6891 §7, RFC 7766 §8.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::Failure;
use super::resolver::{Asking, Source};
use super::wire::{self, Outcome, Question, Unreadable, Walk};
use crate::random;

/// Questions that are asked at once; more wait.
const AT_ONCE: usize = 256;
/// How long the first round waits for each server; the second waits twice as long.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the list of servers is gone through.
const ROUNDS: u32 = 2;

/// A recursive resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Whether its AD bit is believed.
    pub(super) trusted: bool,
}

pub(super) struct Stub {
    servers: Vec<Server>,
    timeout: Duration,
    patience: Duration,
    /// The server that answered last is asked first.
    preferred: AtomicUsize,
    slots: Semaphore,
}

impl Stub {
    /// `timeout` is for one question with all its servers, rounds and CNAME.
    pub(super) fn new(servers: Vec<Server>, timeout: Duration) -> Stub {
        let slots = Semaphore::new(AT_ONCE);
        Stub { servers, timeout, patience: PATIENCE, preferred: AtomicUsize::new(0), slots }
    }

    async fn resolve(&self, question: Question) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let slot = timeout_at(deadline, self.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            return Outcome::failed(Failure::Timeout(question.text()));
        };
        let mut walk = Walk::new(question);
        loop {
            match self.ask_servers(&walk.current(), deadline).await {
                Err(failure) => return Outcome::failed(failure),
                Ok((message, trusted)) => {
                    if let Some(outcome) = walk.take(&message, trusted) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// The first useful answer. A server that does not answer is asked again in the next round; one that gave an error
    /// is not.
    async fn ask_servers(&self, question: &Question, deadline: Instant) -> Result<(Message, bool), Failure> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut silent: Vec<usize> = (0..self.servers.len()).map(|i| (first + i) % self.servers.len()).collect();
        let mut worst = Failure::Unreachable("no resolver is configured".to_owned());
        for round in 0..ROUNDS {
            let mut still_silent = Vec::new();
            for index in silent {
                let server = self.servers[index];
                let until = deadline.min(Instant::now() + self.patience * 2u32.pow(round));
                let failure = match timeout_at(until, ask(server.address, question)).await {
                    Ok(Ok(message)) => match wire::refusal(&message, question) {
                        None => {
                            self.preferred.store(index, Ordering::Relaxed);
                            return Ok((message, server.trusted));
                        }
                        // Another server that does not validate would show what this one hides.
                        Some(bogus @ Failure::Bogus(_)) => return Err(bogus),
                        Some(failure) => failure,
                    },
                    Ok(Err(fault)) => fault.into_failure(server.address, question),
                    Err(_) => {
                        still_silent.push(index);
                        Failure::Timeout(question.text())
                    }
                };
                worst = telling(worst, failure);
                if Instant::now() >= deadline {
                    return Err(worst);
                }
            }
            silent = still_silent;
        }
        Err(worst)
    }
}

impl Source for Stub {
    fn ask(&self, question: Question) -> Asking<'_> {
        Box::pin(self.resolve(question))
    }
}

/// The failure that says most: what a server said, then its silence, then that it cannot be reached.
fn telling(one: Failure, other: Failure) -> Failure {
    let rank = |failure: &Failure| match failure {
        Failure::Unreachable(_) => 0,
        Failure::Timeout(_) => 1,
        _ => 2,
    };
    if rank(&other) >= rank(&one) { other } else { one }
}

/// What went wrong with one server.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Garbage,
    /// Cut off where there is room for all: what is missing is not known (RFC 2181 §9).
    Truncated,
}

impl Fault {
    fn into_failure(self, server: SocketAddr, question: &Question) -> Failure {
        match self {
            Fault::Io(error) => Failure::Unreachable(format!("{server}: {}", crate::net::Fault::of(&error))),
            Fault::Garbage => {
                Failure::Server { name: question.text(), code: "octets that are no DNS message".to_owned() }
            }
            Fault::Truncated => {
                Failure::Server { name: question.text(), code: "over TCP, and yet cut off (TC),".to_owned() }
            }
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

/// Asks one server; without EDNS if it does not know that, by TCP if the answer is too long.
async fn ask(server: SocketAddr, question: &Question) -> Result<Message, Fault> {
    let message = ask_edns(server, question, true).await?;
    if wire::refuses_edns(&message) { ask_edns(server, question, false).await } else { Ok(message) }
}

async fn ask_edns(server: SocketAddr, question: &Question, edns: bool) -> Result<Message, Fault> {
    let id = random_id()?;
    let octets = wire::query(question, id, edns).ok_or(Fault::Garbage)?;
    let message = ask_udp(server, question, id, &octets).await?;
    if message.metadata.truncation { ask_tcp(server, question, id, &octets).await } else { Ok(message) }
}

fn random_id() -> io::Result<u16> {
    Ok(u16::from_be_bytes(random::octets()?))
}

async fn ask_udp(server: SocketAddr, question: &Question, id: u16, query: &[u8]) -> Result<Message, Fault> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match wire::read(&buffer[..length], id, question) {
            Ok(message) => return Ok(message),
            Err(Unreadable::NotOurs) => {}
            // The rest may be cut off; TCP tells.
            Err(Unreadable::Garbage) if buffer[2] & 0x02 != 0 => return ask_tcp(server, question, id, query).await,
            Err(Unreadable::Garbage) => return Err(Fault::Garbage),
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &Question, id: u16, query: &[u8]) -> Result<Message, Fault> {
    let mut stream = TcpStream::connect(server).await?;
    let _ = stream.set_nodelay(true);
    let length = u16::try_from(query.len()).map_err(|_| Fault::Garbage)?;
    // RFC 7766 §8: length and message in one segment.
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    let message = wire::read(&answer, id, question).map_err(|_| Fault::Garbage)?;
    if message.metadata.truncation { Err(Fault::Truncated) } else { Ok(message) }
}

#[cfg(test)]
mod tests;
