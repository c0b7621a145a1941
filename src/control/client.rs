//! The administrator's end of the administration protocol.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Call, Fault, LINE_OCTETS, Request, Response, Row, VERSION};

/// How long the daemon may be silent while it works.
const SILENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon runs there.
    #[error("no daemon answers on {}; is impartd running, with this configuration?", .0.display())]
    NotRunning(PathBuf),
    /// The socket may not be used.
    #[error("{}: permission denied; be root, or a member of the group of impartd", .0.display())]
    Forbidden(PathBuf),
    /// The connection broke.
    #[error("the daemon broke off: {0}")]
    Broken(#[from] io::Error),
    /// What came is not of this protocol.
    #[error("the daemon's answer is not understood: {0}; use the impartctl that came with it")]
    Strange(String),
    /// The daemon says no.
    #[error(transparent)]
    Fault(Fault),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl Client {
    /// Connects.
    pub async fn connect(path: &Path) -> Result<Client, ClientError> {
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Client { stream: BufReader::new(stream), last: 0 }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(path.to_owned()),
                io::ErrorKind::PermissionDenied => ClientError::Forbidden(path.to_owned()),
                _ => ClientError::Broken(error),
            }),
        }
    }

    /// Asks; gives each row to `take` as it comes, and returns their count.
    pub async fn call(&mut self, call: Call, mut take: impl FnMut(Row)) -> Result<u64, ClientError> {
        self.last += 1;
        let request = Request { v: VERSION, id: Some(self.last), call };
        let mut line = serde_json::to_vec(&request).map_err(|error| ClientError::Strange(error.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await?;
        loop {
            let response = tokio::time::timeout(SILENCE, self.response()).await.map_err(io::Error::from)??;
            match response {
                Response { error: Some(fault), .. } => return Err(ClientError::Fault(fault)),
                Response { done: Some(count), .. } => return Ok(count),
                Response { row: Some(row), .. } => take(row),
                _ => return Err(ClientError::Strange("a line without row, done or error".to_owned())),
            }
        }
    }

    async fn response(&mut self) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_OCTETS as u64).read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") {
            return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| ClientError::Strange(error.to_string()))
    }
}
