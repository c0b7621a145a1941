//! Sockets that the service manager has opened before the daemon starts (sd_listen_fds(3)).
//!
//! In: the environment of the process. Out: listeners, by the addresses of the configuration; a socket is told by where it
//! listens, whatever its name is, so that the file with the sockets and the configuration cannot mean two things.
//! Invariant: a socket that nobody asked for is named and closed, so that whoever connects to it is refused instead of
//! waiting for ever. Fails never: what is no such socket is left out, and said.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::{io, net};

use listenfd::ListenFd;

use super::{Address, Listener};

/// A socket that listens already.
#[derive(Debug)]
enum Socket {
    Tcp(net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    /// Where it listens; `None` where no configuration can name that.
    fn place(&self) -> Option<Place> {
        match self {
            Socket::Tcp(socket) => socket.local_addr().ok().map(Place::Tcp),
            Socket::Unix(socket) => Some(Place::Unix(socket.local_addr().ok()?.as_pathname()?.to_owned())),
        }
    }

    fn listener(self) -> io::Result<Listener> {
        match self {
            Socket::Tcp(socket) => Listener::from_tcp(socket),
            Socket::Unix(socket) => Listener::from_unix(socket),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Tcp(net::SocketAddr),
    Unix(PathBuf),
}

impl Place {
    fn is(&self, address: &Address) -> bool {
        match (self, address) {
            (Place::Tcp(place), Address::Tcp(address)) => place == address,
            (Place::Unix(place), Address::Unix(path, _)) => {
                place == path || std::fs::canonicalize(path).is_ok_and(|path| path == *place)
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp(address) => address.fmt(f),
            Place::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What the service manager has opened for us, until it is taken.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Socket)>,
    faults: Vec<String>,
}

impl Inherited {
    /// What the environment tells of. Call it once, before there are other threads: the variables are taken away, so that
    /// no child believes that the sockets are its own.
    pub fn of_the_service_manager() -> Inherited {
        // Which sockets, for which process, with which names; they are closed in children from here on.
        let names: Vec<String> = match sd_notify::listen_fds_with_names() {
            Ok(sockets) => sockets.map(|(_, name)| name).collect(),
            Err(error) => {
                let fault = format!("the sockets of the service manager are left alone: {error}");
                return Inherited { sockets: Vec::new(), faults: vec![fault] };
            }
        };
        if names.is_empty() {
            return Inherited::default();
        }
        let mut given = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for (at, name) in names.into_iter().enumerate() {
            match socket(&mut given, at) {
                Some(socket) => inherited.sockets.push((name, socket)),
                None => inherited.faults.push(format!(
                    "{name}: what the service manager has opened is no socket that takes connections; use ListenStream \
                     with Accept=no"
                )),
            }
        }
        inherited
    }

    /// The socket that listens on `address`, if there is one. Must be called within a runtime.
    pub fn take(&mut self, address: &Address) -> Option<Listener> {
        let fits = |(_, socket): &(String, Socket)| socket.place().is_some_and(|place| place.is(address));
        let (name, socket) = self.sockets.swap_remove(self.sockets.iter().position(fits)?);
        let listener = socket.listener();
        listener.inspect_err(|error| self.faults.push(format!("{name}: the socket cannot be used: {error}"))).ok()
    }

    /// Closes what nobody took, and says what is wrong and what to do.
    pub fn left(self) -> Vec<String> {
        let unclaimed = self.sockets.iter().map(|(name, socket)| match socket.place() {
            Some(place) => format!(
                "{name}: the service manager listens on {place}, for which there is no [[listen]]; add one with this \
                 address, or take it out of the unit"
            ),
            None => format!("{name}: the service manager listens where no [[listen]] can; take it out of the unit"),
        });
        unclaimed.chain(self.faults.iter().cloned()).collect()
    }
}

/// The socket with this number, if it takes connections.
fn socket(given: &mut ListenFd, at: usize) -> Option<Socket> {
    let tcp = given.take_tcp_listener(at).ok().flatten().map(Socket::Tcp);
    let socket = tcp.or_else(|| given.take_unix_listener(at).ok().flatten().map(Socket::Unix))?;
    let listens = match &socket {
        Socket::Tcp(socket) => listens(socket),
        Socket::Unix(socket) => listens(socket),
    };
    listens.then_some(socket)
}

fn listens(socket: impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(sockets: Vec<Socket>) -> Inherited {
        let sockets = sockets.into_iter().enumerate().map(|(at, socket)| (format!("s{at}"), socket)).collect();
        Inherited { sockets, faults: Vec::new() }
    }

    #[tokio::test]
    async fn sockets_are_told_by_their_addresses() {
        let tcp = |host: &str| net::TcpListener::bind((host, 0)).unwrap();
        let (first, second) = (tcp("127.0.0.1"), tcp("127.0.0.1"));
        let (one, two) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut all = inherited(vec![Socket::Tcp(first), Socket::Unix(unix), Socket::Tcp(second)]);
        assert_eq!(all.take(&Address::Tcp(two)).unwrap().local_addr(), Some(two));
        assert!(all.take(&Address::Tcp(two)).is_none());
        // The permissions are the service manager's.
        assert!(matches!(all.take(&Address::Unix(path, 0o600)), Some(Listener::Unix(_, None))));
        let left = all.left();
        assert_eq!(left.len(), 1);
        assert!(left[0].contains(&one.to_string()) && left[0].contains("[[listen]]"), "{left:?}");
        assert!(net::TcpStream::connect(one).is_err(), "it is closed");
    }

    #[tokio::test]
    async fn a_path_is_found_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("run"), directory.path().join("var-run"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let real = std::fs::canonicalize(real).unwrap();
        let unix = std::os::unix::net::UnixListener::bind(real.join("s")).unwrap();
        let mut all = inherited(vec![Socket::Unix(unix)]);
        assert!(all.take(&Address::Unix(directory.path().join("s"), 0o600)).is_none());
        assert!(all.take(&Address::Unix(link.join("s"), 0o600)).is_some());
        assert!(all.left().is_empty());
    }
}
