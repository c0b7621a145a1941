//! Listening, and accepting without ever giving up.
//!
//! In: a TCP address, the path of a Unix socket, or a socket that was opened for us. Out: connections.
//! Invariant: a path that somebody listens on, or that is not a socket, is never removed.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use super::Stream;
use super::stream::canonical;

/// Connections that wait for us to accept them.
const BACKLOG: u32 = 1024;
/// How long accepting rests when the process or the system is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address; port 0 lets the system choose. `[::]` is IPv6 only: name `0.0.0.0` beside it.
    Tcp(SocketAddr),
    /// The path of a Unix socket and its permissions, such as `0o660`.
    Unix(PathBuf, u32),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path, _) => path.display().fmt(f),
        }
    }
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it.
    #[error("{0} is in use by another process; stop it or choose another address")]
    InUse(String),
    /// Something at the path is not a socket.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(String),
    /// The system refuses.
    #[error("cannot listen on {address}: {error}")]
    System {
        /// The address.
        address: String,
        /// Its error.
        error: io::Error,
    },
}

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener, Option<SocketFile>),
}

/// Listens on `address`. A socket file on which nobody listens any more is replaced. Must be called within a runtime.
pub fn listen(address: &Address) -> Result<Listener, ListenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address.to_string()),
        _ => ListenError::System { address: address.to_string(), error },
    };
    match address {
        Address::Tcp(socket) => listen_tcp(*socket).map(Listener::Tcp).map_err(failed),
        Address::Unix(path, mode) => {
            remove_stale(path)?;
            let (listener, file) = listen_unix(path, *mode).map_err(failed)?;
            Ok(Listener::Unix(listener, Some(file)))
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn listen_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile::of(path)?;
    // Nobody can connect before listen, so the permissions are never wider than asked for.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok((socket.listen(BACKLOG)?, file))
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let shown = || path.display().to_string();
    let failed = |error| ListenError::System { address: shown(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(ListenError::NotASocket(shown())),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(error)),
        // Connected, or its backlog is full: somebody is there.
        Ok(_) | Err(_) => Err(ListenError::InUse(shown())),
    }
}

impl Listener {
    /// Takes over a TCP socket that listens already: from the service manager, or from a test.
    pub fn from_tcp(socket: std::net::TcpListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener::Tcp(TcpListener::from_std(socket)?))
    }

    /// Takes over a Unix socket that listens already; its file stays when we leave.
    pub fn from_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener::Unix(UnixListener::from_std(socket)?, None))
    }

    /// The address that was bound; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok().map(canonical),
            Listener::Unix(..) => None,
        }
    }

    /// The next connection, with the peer's address unless it is a Unix socket. Connections that ended before they
    /// were accepted are passed over; when descriptors or memory run out it says so, pauses and goes on. An error is
    /// the listener's own and final. Safe to cancel.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let mut said = false;
        loop {
            let error = match self.accept_one().await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            match Trouble::of(&error) {
                Trouble::Connection => {}
                Trouble::Exhausted => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(
                            "cannot accept connections for now: {error}; raise LimitNOFILE or lower connection limits"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Trouble::Listener => return Err(error),
            }
        }
    }

    async fn accept_one(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An error here means that the connection is gone; the first read will tell.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(canonical(peer))))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

/// Whose trouble an error of accept is (accept(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The connection's, which is gone.
    Connection,
    /// Nobody's in particular: it passes.
    Exhausted,
    /// The listening socket's.
    Listener,
}

impl Trouble {
    fn of(error: &io::Error) -> Trouble {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Trouble::Exhausted,
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT) | None => {
                Trouble::Listener
            }
            // Linux passes the new connection's network errors on.
            Some(_) => Trouble::Connection,
        }
    }
}

/// The file of a Unix socket, removed with its listener if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        let found = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if same {
            // What cannot be removed now is found stale by the next listener.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Options, dial};
    use rustix::io::Errno;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    fn loopback() -> Address {
        Address::Tcp("127.0.0.1:0".parse().unwrap())
    }

    #[tokio::test]
    async fn tcp() {
        let listener = listen(&loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = dial(&[address], Options::default()).await.unwrap();
        let (mut server, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, Some(client.local_addr().unwrap()));
        assert_eq!(server.peer_addr(), peer);
        let Stream::Tcp(tcp) = &server else { panic!("not TCP") };
        assert!(tcp.nodelay().unwrap());
        client.write_all(b"hi").await.unwrap();
        let mut got = [0; 2];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hi");
        let error = listen(&Address::Tcp(address)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} is in use by another process; stop it or choose another address")
        );
    }

    #[tokio::test]
    async fn unix_with_mode_and_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mail.sock");
        let address = Address::Unix(path.clone(), 0o620);
        let listener = listen(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        let _client = UnixStream::connect(&path).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        assert!(matches!(server, Stream::Unix(_)));
        assert_eq!(peer, None);
        assert!(matches!(listen(&address), Err(ListenError::InUse(_))));
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = listen(&Address::Unix(path, 0o600)).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(listen(&Address::Unix(file.clone(), 0o600)), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let nowhere = Address::Unix(dir.path().join("no/such"), 0o600);
        assert!(matches!(listen(&nowhere), Err(ListenError::System { .. })));
    }

    #[tokio::test]
    async fn a_successors_socket_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = listen(&Address::Unix(path.clone(), 0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        let second = listen(&Address::Unix(path.clone(), 0o600)).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn sockets_opened_by_others() {
        let tcp = Listener::from_tcp(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let _client = dial(&[tcp.local_addr().unwrap()], Options::default()).await.unwrap();
        tcp.accept().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let unix = Listener::from_unix(std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
        let _client = UnixStream::connect(&path).await.unwrap();
        unix.accept().await.unwrap();
        drop(unix);
        assert!(path.exists());
    }

    #[test]
    fn whose_trouble() {
        let of = |errno: Errno| Trouble::of(&io::Error::from(errno));
        assert_eq!(of(Errno::MFILE), Trouble::Exhausted);
        assert_eq!(of(Errno::NFILE), Trouble::Exhausted);
        assert_eq!(of(Errno::CONNABORTED), Trouble::Connection);
        assert_eq!(of(Errno::HOSTUNREACH), Trouble::Connection);
        assert_eq!(of(Errno::BADF), Trouble::Listener);
    }
}
