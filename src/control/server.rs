//! The daemon's end of the administration protocol.
//!
//! In: lines of JSON. Out: rows, as fast as the reader takes them. Bounded: connections, octets of a line, the time
//! that a client may be silent or not read. A client that goes away does not stop a change that has begun.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::protocol::{Call, Fault, FaultCode, LINE_OCTETS, Request, Response, Row, VERSION};

/// Connections at one time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// How long a client may be silent before its first request: whoever asks nothing holds no place.
const FIRST: Duration = Duration::from_secs(10);
/// How long a client may be silent between requests.
const IDLE: Duration = Duration::from_secs(60);
/// How long it may take no row.
const STUCK: Duration = Duration::from_secs(60);
/// Rows that are made before the client has taken them.
const ROWS_AHEAD: usize = 256;
/// Permissions of the socket: the daemon's user and group.
const MODE: u32 = 0o660;

/// The client has gone; rows have no reader any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone")]
pub struct Gone;

/// Where a handler puts its rows.
#[derive(Clone, Debug)]
pub struct Rows {
    sender: mpsc::Sender<Row>,
    /// The user that asks, where the system tells.
    asker: Option<u32>,
}

impl Rows {
    /// Rows and their reader; at most `ahead` wait.
    pub fn channel(ahead: usize) -> (Rows, mpsc::Receiver<Row>) {
        let (sender, receiver) = mpsc::channel(ahead);
        (Rows { sender, asker: None }, receiver)
    }

    /// Gives a row; waits while the client is behind. A handler that only lists stops when the client has gone; one
    /// that changes something goes on.
    pub async fn send(&self, row: Row) -> Result<(), Gone> {
        self.sender.send(row).await.map_err(|_| Gone)
    }

    /// Who asks, for the log.
    pub fn asker(&self) -> String {
        self.asker.map_or_else(|| "an administrator".to_owned(), |user| format!("user {user}"))
    }
}

/// What a handler returns.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

/// Whoever does what is asked.
pub trait Handler: Send + Sync + 'static {
    /// Does it, giving rows as they come. A call that changes messages has a selection that is not empty.
    fn call(&self, call: Call, rows: Rows) -> Answer<'_>;
}

/// Makes the socket, in the place of one that a dead daemon left behind.
///
/// # Errors
/// `AddrInUse` if a daemon answers there, `AlreadyExists` if there is something else than a socket, which is left as it
/// is; else what the system says.
pub async fn bind(path: &Path) -> io::Result<UnixListener> {
    only_a_socket(path)?;
    if UnixStream::connect(path).await.is_ok() {
        let text = format!("{}: another daemon answers there; end it first", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    // Nobody can connect before the permissions are set: the name comes last.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    only_a_socket(fresh)?;
    match std::fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(fresh)?;
    let permissions = std::fs::Permissions::from_mode(MODE);
    let named = std::fs::set_permissions(fresh, permissions).and_then(|()| std::fs::rename(fresh, path));
    if let Err(error) = named {
        // The first fault is the one to tell.
        let _ = std::fs::remove_file(fresh);
        return Err(error);
    }
    Ok(listener)
}

/// What is not a socket is somebody's, and is neither removed nor written over.
fn only_a_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let text = format!("{} exists and is not a socket; name another path or move it away", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Serves until it is dropped; connections end with it.
pub async fn serve(listener: UnixListener, handler: Arc<dyn Handler>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let handler = Arc::clone(&handler);
                tasks.spawn(async move {
                    connection(stream, &*handler).await;
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: they come back when somebody closes some.
            Err(error) => {
                tracing::warn!("control: accept: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, handler: &dyn Handler) {
    let asker = stream.peer_cred().ok().map(|peer| peer.uid());
    let (reader, writer) = stream.into_split();
    let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
    let mut line = Vec::new();
    let mut patience = FIRST;
    loop {
        line.clear();
        match tokio::time::timeout(patience, read_line(&mut reader, &mut line)).await {
            Ok(Ok(true)) => {}
            Ok(Err(fault)) => {
                let _ = finish(&mut writer, None, Err(fault)).await;
                return;
            }
            Ok(Ok(false)) | Err(_) => return,
        }
        patience = IDLE;
        let answered = match understand(&line) {
            Ok(request) => answer((request, asker), handler, &mut writer).await,
            Err((id, fault)) => finish(&mut writer, id, Err(fault)).await,
        };
        if answered.is_err() {
            return;
        }
    }
}

/// A line without its end; `false` at the end of input.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> Result<bool, Fault> {
    let mut bounded = reader.take(LINE_OCTETS as u64);
    let read = bounded.read_until(b'\n', line).await;
    match read {
        Ok(0) | Err(_) => Ok(false),
        Ok(_) if line.ends_with(b"\n") => {
            line.pop();
            Ok(true)
        }
        Ok(octets) if octets == LINE_OCTETS => {
            Err(Fault::new(FaultCode::Request, "the line is longer than 1 MiB; select less at a time"))
        }
        Ok(_) => Ok(false),
    }
}

fn understand(line: &[u8]) -> Result<Request, (Option<u64>, Fault)> {
    let value: serde_json::Value = serde_json::from_slice(line)
        .map_err(|error| (None, Fault::new(FaultCode::Request, format!("the request is not JSON: {error}"))))?;
    let id = value.get("id").and_then(serde_json::Value::as_u64);
    let version = value.get("v").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        let text = format!("this daemon speaks version {VERSION}; use the impartctl that came with it");
        return Err((id, Fault::new(FaultCode::Version, text)));
    }
    let request: Request = serde_json::from_value(value)
        .map_err(|error| (id, Fault::new(FaultCode::Request, format!("the request is not understood: {error}"))))?;
    if request.call.changes().is_some_and(super::Selector::is_empty) {
        let text = "nothing is selected; name messages, or say all";
        return Err((id, Fault::new(FaultCode::Selection, text)));
    }
    Ok(request)
}

async fn answer(
    (request, asker): (Request, Option<u32>),
    handler: &dyn Handler,
    writer: &mut BufWriter<OwnedWriteHalf>,
) -> io::Result<()> {
    let (rows, receiver) = Rows::channel(ROWS_AHEAD);
    let rows = Rows { asker, ..rows };
    let (outcome, written) =
        tokio::join!(handler.call(request.call, rows), write_rows(receiver, request.id, &mut *writer));
    let count = written?;
    finish(writer, request.id, outcome.map(|()| count)).await
}

/// Writes rows until the handler has no more, or the client takes none. Dropping the receiver tells the handler.
async fn write_rows(
    mut rows: mpsc::Receiver<Row>,
    id: Option<u64>,
    writer: &mut BufWriter<OwnedWriteHalf>,
) -> io::Result<u64> {
    let mut count = 0;
    while let Some(row) = rows.recv().await {
        write(writer, &Response { v: VERSION, id, row: Some(row), done: None, error: None }).await?;
        if rows.is_empty() {
            flush(writer).await?;
        }
        count += 1;
    }
    Ok(count)
}

async fn finish(
    writer: &mut BufWriter<OwnedWriteHalf>,
    id: Option<u64>,
    outcome: Result<u64, Fault>,
) -> io::Result<()> {
    let (done, error) = match outcome {
        Ok(count) => (Some(count), None),
        Err(fault) => (None, Some(fault)),
    };
    write(writer, &Response { v: VERSION, id, row: None, done, error }).await?;
    flush(writer).await
}

async fn write(writer: &mut BufWriter<OwnedWriteHalf>, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    tokio::time::timeout(STUCK, writer.write_all(&line)).await?
}

async fn flush(writer: &mut BufWriter<OwnedWriteHalf>) -> io::Result<()> {
    tokio::time::timeout(STUCK, writer.flush()).await?
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, ClientError};
    use super::super::protocol::Finding;
    use super::*;

    /// Answers `status` with many rows, `reload` with a fault.
    struct Many;

    impl Handler for Many {
        fn call(&self, call: Call, rows: Rows) -> Answer<'_> {
            Box::pin(async move {
                match call {
                    Call::Status => {
                        for number in 0..1000 {
                            let row = Row::Finding(Finding::ok(number.to_string(), "é"));
                            rows.send(row).await.map_err(|gone| Fault::new(FaultCode::Failed, gone.to_string()))?;
                        }
                        Ok(())
                    }
                    _ => Err(Fault::new(FaultCode::Config, "line 3")),
                }
            })
        }
    }

    async fn started() -> (tempfile::TempDir, std::path::PathBuf, tokio::task::JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = bind(&path).await.unwrap();
        let task = tokio::spawn(serve(listener, Arc::new(Many)));
        (folder, path, task)
    }

    #[tokio::test]
    async fn rows_and_faults() {
        let (_folder, path, _task) = started().await;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let mut client = Client::connect(&path).await.unwrap();
        let mut seen = 0;
        let count = client.call(Call::Status, |_| seen += 1).await.unwrap();
        assert_eq!((count, seen), (1000, 1000));
        let fault = client.call(Call::Reload, |_| ()).await.unwrap_err();
        assert!(matches!(fault, ClientError::Fault(fault) if fault.text == "line 3"), "then another request");
        let empty = Call::Remove { select: super::super::Selector::default() };
        let fault = client.call(empty, |_| ()).await.unwrap_err();
        assert!(matches!(fault, ClientError::Fault(fault) if fault.code == FaultCode::Selection));
    }

    async fn raw(line: &[u8]) -> String {
        let (_folder, path, _task) = started().await;
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // The server may close before it has read all.
        let _ = stream.write_all(line).await;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn bad_requests() {
        let check = async |line: &[u8], expected: &str| {
            let answer = raw(line).await;
            assert!(answer.contains(expected), "{answer}");
        };
        check(b"hello\n", "\"code\":\"request\"").await;
        check(b"\xff\n", "\"code\":\"request\"").await;
        check(b"{\"v\":2,\"id\":5,\"do\":\"status\"}\n", "\"id\":5,\"error\":{\"code\":\"version\"").await;
        check(b"{\"v\":1,\"id\":5,\"do\":\"fly\"}\n", "unknown variant `fly`").await;
        check(&vec![b' '; LINE_OCTETS + 1], "longer than 1 MiB").await;
    }

    #[tokio::test]
    async fn a_socket_that_is_left_behind_is_replaced_and_a_live_one_is_not() {
        let (_folder, path, task) = started().await;
        assert_eq!(bind(&path).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        bind(&path).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let check = async |path: &Path| {
            let error = bind(path).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert!(error.to_string().contains("exists and is not a socket; name another path"), "{error}");
        };
        let file = folder.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        check(&file).await;
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
        assert!(!folder.path().join("precious.new").exists());
        check(folder.path()).await;
        let (fresh, path) = (folder.path().join("control.new"), folder.path().join("control"));
        std::fs::write(&fresh, "x").unwrap();
        check(&path).await;
        assert_eq!(std::fs::read(&fresh).unwrap(), b"x");
    }

    #[tokio::test]
    async fn who_asks_nothing_loses_the_place() {
        let (_folder, path, _task) = started().await;
        let mut silent = UnixStream::connect(&path).await.unwrap();
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        assert_eq!(silent.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(began.elapsed() < IDLE, "the clock is the test's: it passes when nothing else is to do");
    }
}
