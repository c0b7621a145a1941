//! Connecting to a host that has several addresses: they are raced (RFC 8305).
//!
//! In: addresses in the order of preference. Out: the first connection that is made; the others are given up.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::ProxyFault;

/// Addresses of one host that are tried; a host may have more, and they are left aside.
pub const ADDRESSES: usize = 16;

/// How to dial.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The time for all addresses together.
    pub timeout: Duration,
    /// How long one attempt stays alone before the next begins: the Connection Attempt Delay of RFC 8305 §5.
    pub stagger: Duration,
}

impl Default for Options {
    /// 30 seconds in all (a minute is the least that RFC 5321 §4.5.3.2 has for commands; connecting has none); 250 ms.
    fn default() -> Self {
        Options { timeout: Duration::from_secs(30), stagger: Duration::from_millis(250) }
    }
}

/// What became of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The system's error.
    System(io::ErrorKind, String),
    /// No answer within the time for all.
    Timeout(Duration),
    /// The time was over before its turn came.
    NotTried,
}

impl Fault {
    /// Of a system error.
    pub fn of(error: &io::Error) -> Fault {
        let words = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::HostUnreachable => "no route to the host".to_owned(),
            io::ErrorKind::NetworkUnreachable => "no route to its network".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this host has no address to reach it from".to_owned(),
            io::ErrorKind::PermissionDenied => "forbidden by this host's firewall".to_owned(),
            io::ErrorKind::TimedOut => "no answer".to_owned(),
            io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
            io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
            _ => error.to_string(),
        };
        Fault::System(error.kind(), words)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::System(_, words) => f.write_str(words),
            Fault::Timeout(time) => write!(f, "no answer in {time:?}"),
            Fault::NotTried => f.write_str("not tried, the time was over"),
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No address was given.
    #[error("there is no address to connect to")]
    NoAddress,
    /// None of the addresses worked; each with its fault, in the order in which they were to be tried.
    #[error("{}", list(.0))]
    Addresses(Vec<(SocketAddr, Fault)>),
    /// The SOCKS5 proxy, or what it reports.
    #[error("SOCKS5 proxy {proxy}: {fault}")]
    Proxy {
        /// The proxy.
        proxy: SocketAddr,
        /// What it reports or did.
        fault: ProxyFault,
    },
}

fn list(faults: &[(SocketAddr, Fault)]) -> String {
    let each: Vec<String> = faults.iter().map(|(address, fault)| format!("{address}: {fault}")).collect();
    each.join("; ")
}

/// Connects to the first of `addresses` that answers (RFC 8305 §5). The families alternate, beginning with that of the
/// first; duplicates and whatever exceeds [`ADDRESSES`] are left out. Dropping the future gives all attempts up.
pub async fn dial(addresses: &[SocketAddr], options: Options) -> Result<TcpStream, DialError> {
    let stream = race(&interleave(addresses), options, TcpStream::connect).await?;
    // An error here means that the connection is gone; the first read will tell.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// RFC 8305 §4: alternate the families, keep the order within each.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut queues = [VecDeque::new(), VecDeque::new()];
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    for address in addresses {
        let queue = &mut queues[usize::from(address.is_ipv6() != first_is_v6)];
        if !queue.contains(address) {
            queue.push_back(*address);
        }
    }
    let [mut one, mut other] = queues;
    let mut order = Vec::new();
    while order.len() < ADDRESSES && !(one.is_empty() && other.is_empty()) {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order.truncate(ADDRESSES);
    order
}

async fn race<C, F, T>(order: &[SocketAddr], options: Options, connect: C) -> Result<T, DialError>
where
    C: Fn(SocketAddr) -> F,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let deadline = Instant::now() + options.timeout;
    let late = Fault::Timeout(options.timeout);
    match order {
        [] => return Err(DialError::NoAddress),
        [only] => {
            // The usual case needs no task of its own.
            let fault = match timeout_at(deadline, connect(*only)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => Fault::of(&error),
                Err(_) => late,
            };
            return Err(DialError::Addresses(vec![(*only, fault)]));
        }
        _ => {}
    }
    let mut faults: Vec<Fault> = vec![Fault::NotTried; order.len()];
    // Dropping the set ends the losers.
    let mut attempts: JoinSet<(usize, io::Result<T>)> = JoinSet::new();
    let mut begun = 0;
    let mut next_start = Instant::now();
    loop {
        if begun < order.len() && (attempts.is_empty() || next_start <= Instant::now()) {
            let (index, attempt) = (begun, connect(order[begun]));
            attempts.spawn(async move { (index, attempt.await) });
            faults[index] = late.clone();
            begun += 1;
            next_start = Instant::now() + options.stagger;
        }
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((index, Err(error)))) => {
                    faults[index] = Fault::of(&error);
                    // RFC 8305 §5: a failure starts the next at once.
                    next_start = Instant::now();
                }
                Some(Err(_)) | None => {}
            },
            () = sleep_until(next_start), if begun < order.len() => {}
            () = sleep_until(deadline) => break,
        }
        if attempts.is_empty() && begun == order.len() {
            break;
        }
    }
    Err(DialError::Addresses(order.iter().copied().zip(faults).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::net::TcpListener;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace().map(|one| one.parse().unwrap()).collect()
    }

    const FOREVER: Duration = Duration::from_secs(3600);
    const AT_ONCE: Options = Options { timeout: FOREVER, stagger: Duration::ZERO };
    const NEVER: Options = Options { timeout: FOREVER, stagger: FOREVER };

    #[test]
    fn families_alternate() {
        let check = |given: &str, expected: &str| assert_eq!(interleave(&addresses(given)), addresses(expected));
        check("", "");
        check("[::1]:1 [::2]:1 1.0.0.1:1 1.0.0.2:1 1.0.0.3:1", "[::1]:1 1.0.0.1:1 [::2]:1 1.0.0.2:1 1.0.0.3:1");
        check("1.0.0.1:1 [::1]:1 1.0.0.2:1", "1.0.0.1:1 [::1]:1 1.0.0.2:1");
        check("1.0.0.1:1 1.0.0.1:1 1.0.0.1:2", "1.0.0.1:1 1.0.0.1:2");
        let many: Vec<SocketAddr> = (1..100).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(interleave(&many), many[..ADDRESSES]);
    }

    #[tokio::test]
    async fn the_second_wins_while_the_first_is_silent_and_the_first_is_given_up() {
        let guard = Arc::new(());
        let held = guard.clone();
        let connect = move |address: SocketAddr| {
            let held = held.clone();
            async move {
                if address.port() == 1 {
                    let _held = held;
                    std::future::pending::<()>().await;
                }
                Ok(address.port())
            }
        };
        let port = race(&addresses("[::1]:1 127.0.0.1:2"), AT_ONCE, connect).await.unwrap();
        assert_eq!(port, 2);
        // The loser's task is gone, and with it the last other owner.
        while Arc::strong_count(&guard) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_failure_starts_the_next_without_waiting() {
        let tried = Arc::new(Mutex::new(Vec::new()));
        let log = tried.clone();
        let connect = move |address: SocketAddr| {
            log.lock().unwrap().push(address.port());
            async move {
                match address.port() {
                    3 => Ok(3),
                    _ => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                }
            }
        };
        let got = race(&addresses("[::1]:1 127.0.0.1:2 [::1]:3 [::1]:4"), NEVER, connect).await;
        assert_eq!(got, Ok(3));
        assert_eq!(*tried.lock().unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn the_error_lists_every_address() {
        let connect = |address: SocketAddr| async move {
            match address.port() {
                1 => Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)),
                _ => Err(io::Error::from(io::ErrorKind::NetworkUnreachable)),
            }
        };
        let error = race(&addresses("192.0.2.1:1 [2001:db8::1]:2"), NEVER, connect).await.unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.1:1: connection refused; [2001:db8::1]:2: no route to its network");
        let none = race(&[], NEVER, connect).await.unwrap_err();
        assert_eq!(none, DialError::NoAddress);
    }

    #[tokio::test]
    async fn the_time_is_for_all_together() {
        let connect = |_| std::future::pending::<io::Result<()>>();
        let options = Options { timeout: Duration::from_millis(1), stagger: FOREVER };
        let error = race(&addresses("192.0.2.1:1 192.0.2.2:1"), options, connect).await.unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.1:1: no answer in 1ms; 192.0.2.2:1: not tried, the time was over");
        let error = race(&addresses("192.0.2.1:1"), options, connect).await.unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.1:1: no answer in 1ms");
    }

    #[tokio::test]
    async fn over_loopback() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let dead = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let stream = dial(&[dead, live], Options::default()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(stream.nodelay().unwrap());
        let error = dial(&[dead], Options::default()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{dead}: connection refused"));
    }
}
