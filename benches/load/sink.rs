//! The sink: takes every message, counts, and notes how long each was on its way.

use std::cell::{Cell, RefCell};
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::message::{nanoseconds, quantiles, stamp};
use crate::tls;

/// Octets of an entity in which the stamp is looked for.
const HEAD: usize = 4096;
/// Octets read at once, at most.
const READ: usize = 256 * 1024;

/// How to take messages.
#[derive(clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Offer CHUNKING.
    #[arg(long)]
    chunking: bool,
    /// Offer CHUNKING and IMPP.
    #[arg(long)]
    impp: bool,
    /// Offer DSN.
    #[arg(long)]
    dsn: bool,
    /// Speak TLS at once, with a certificate made on the spot.
    #[arg(long)]
    tls: bool,
    /// End when so many messages have come.
    #[arg(long, default_value_t = u64::MAX)]
    expect: u64,
    /// End when for so many seconds nothing has come.
    #[arg(long, default_value_t = 30.0)]
    idle: f64,
}

/// What the connections share.
pub struct Shared {
    expect: u64,
    greeting: Vec<u8>,
    count: Cell<u64>,
    octets: Cell<u64>,
    connections: Cell<u64>,
    first: Cell<Option<u64>>,
    last: Cell<(Instant, u64)>,
    times: RefCell<Vec<u32>>,
    complete: Notify,
}

/// Takes messages until enough have come or nothing comes any more; the line tells what came.
pub async fn run(options: Options) -> Result<serde_json::Value> {
    let acceptor = options.tls.then(tls::acceptor).transpose()?;
    let listener = listen(options.listen)?;
    let shared = Rc::new(Shared::new(ehlo_reply(&options), options.expect));
    println!("{}", serde_json::json!({ "ready": listener.local_addr()?.to_string() }));
    let accepting = async {
        loop {
            serve(shared.clone(), listener.accept().await?.0, acceptor.clone())?;
        }
    };
    tokio::select! {
        fault = accepting => return fault,
        done = shared.done(Duration::from_secs_f64(options.idle)) => done?,
    }
    Ok(shared.report())
}

impl Shared {
    /// Nothing has come yet.
    pub fn new(greeting: Vec<u8>, expect: u64) -> Self {
        Shared {
            expect,
            greeting,
            count: Cell::new(0),
            octets: Cell::new(0),
            connections: Cell::new(0),
            first: Cell::new(None),
            last: Cell::new((Instant::now(), 0)),
            times: RefCell::new(Vec::new()),
            complete: Notify::new(),
        }
    }

    /// Until enough has come, nothing has come for `idle`, or the process is told to end.
    pub async fn done(&self, idle: Duration) -> Result<()> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        loop {
            tokio::select! {
                () = self.complete.notified() => break,
                _ = terminate.recv() => break,
                () = tokio::time::sleep_until((self.last.get().0 + idle).into()) => {
                    if self.last.get().0.elapsed() >= idle { break }
                }
            }
        }
        // The last replies are still to be written.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    /// What has come.
    pub fn report(&self) -> serde_json::Value {
        let mut times = self.times.borrow_mut();
        serde_json::json!({
            "received": self.count.get(),
            "complete": self.expect == u64::MAX || self.count.get() >= self.expect,
            "octets": self.octets.get(),
            "connections": self.connections.get(),
            "first": self.first.get().map(|at| at as f64 / 1e9),
            "last": self.last.get().1 as f64 / 1e9,
            "way_us": quantiles(&mut times),
        })
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

fn ehlo_reply(options: &Options) -> Vec<u8> {
    let mut lines = vec!["sink.test", "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 0"];
    if options.chunking || options.impp {
        lines.push("CHUNKING");
    }
    if options.impp {
        lines.push("IMPP IM PRES");
    }
    if options.dsn {
        lines.push("DSN");
    }
    let last = lines.pop().unwrap_or_default();
    let mut reply: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
    reply.push_str(&format!("250 {last}\r\n"));
    reply.into_bytes()
}

fn serve(shared: Rc<Shared>, stream: TcpStream, acceptor: Option<tokio_rustls::TlsAcceptor>) -> Result<()> {
    stream.set_nodelay(true)?;
    shared.connections.set(shared.connections.get() + 1);
    tokio::task::spawn_local(async move {
        // What goes wrong with one connection is seen by what is at its other end.
        let _ = match acceptor {
            None => talk(&shared, stream).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => talk(&shared, stream).await,
                Err(error) => Err(error),
            },
        };
    });
    Ok(())
}

/// Serves one connection, greeting first, in little memory while nothing comes.
pub async fn talk<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, mut stream: S) -> Result<()> {
    let mut session = Session { shared, phase: Phase::Command, head: Vec::new(), scanned: 0 };
    // Few octets while little comes: there may be ten thousand of these.
    let mut room = 1024;
    let (mut input, mut output) = (Vec::new(), b"220 sink.test ESMTP\r\n".to_vec());
    loop {
        if !output.is_empty() {
            stream.write_all(&output).await?;
            stream.flush().await?;
            output.clear();
        }
        if matches!(session.phase, Phase::Over) {
            return Ok(());
        }
        input.reserve(room);
        match stream.read_buf(&mut input).await? {
            0 => return Ok(()),
            read if read >= room => room = (room * 4).min(READ),
            _ => {}
        }
        let mut taken = 0;
        while let Some(octets) = session.take(&input[taken..], &mut output)? {
            taken += octets;
        }
        input.drain(..taken);
    }
}

/// Where a session is.
enum Phase {
    Command,
    Data,
    Chunk { left: usize, last: bool },
    Over,
}

/// One connection's protocol state.
struct Session<'a> {
    shared: &'a Shared,
    phase: Phase,
    /// The beginning of the entity.
    head: Vec<u8>,
    /// Octets of the input in which the end of DATA was not found.
    scanned: usize,
}

impl Session<'_> {
    /// Takes the next command or piece of an entity; `None` when more octets are needed for that.
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Option<usize>> {
        match self.phase {
            Phase::Over => Ok(None),
            Phase::Command => {
                let Some(length) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
                self.command(&input[..length], output)?;
                Ok(Some(length + 1))
            }
            Phase::Data => {
                let Some(end) = self.end_of_data(input) else { return Ok(None) };
                self.keep(&input[..end]);
                self.finish(end, output);
                Ok(Some(end))
            }
            Phase::Chunk { left, last } => {
                if input.is_empty() && left > 0 {
                    return Ok(None);
                }
                let octets = left.min(input.len());
                self.keep(&input[..octets]);
                self.shared.octets.set(self.shared.octets.get() + octets as u64);
                self.phase = Phase::Chunk { left: left - octets, last };
                match (left == octets, last) {
                    (true, true) => self.finish(0, output),
                    (true, false) => {
                        output.extend(b"250 2.0.0 chunk\r\n");
                        self.phase = Phase::Command;
                    }
                    _ => {}
                }
                Ok(Some(octets))
            }
        }
    }

    fn command(&mut self, line: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let verb = line.get(..4).unwrap_or(line);
        if verb.eq_ignore_ascii_case(b"BDAT") {
            let text = std::str::from_utf8(&line[4..]).map_err(Error::other)?;
            let mut words = text.split_whitespace();
            let left = words.next().unwrap_or_default().parse().map_err(Error::other)?;
            self.phase = Phase::Chunk { left, last: words.next().is_some() };
        } else if verb.eq_ignore_ascii_case(b"DATA") {
            output.extend(b"354 go on\r\n");
            self.phase = Phase::Data;
        } else if verb.eq_ignore_ascii_case(b"EHLO") {
            output.extend(&self.shared.greeting);
        } else if verb.eq_ignore_ascii_case(b"QUIT") {
            output.extend(b"221 2.0.0 bye\r\n");
            self.phase = Phase::Over;
        } else {
            output.extend(b"250 2.0.0 ok\r\n");
        }
        Ok(())
    }

    /// The octet after the line that is a dot.
    fn end_of_data(&mut self, input: &[u8]) -> Option<usize> {
        if input.starts_with(b".\r\n") {
            return Some(3);
        }
        let mut at = self.scanned;
        while let Some(offset) = input[at..].iter().position(|byte| *byte == b'.') {
            at += offset;
            if at >= 2 && &input[at - 2..at] == b"\r\n" {
                match input.get(at + 1..at + 3) {
                    Some(b"\r\n") => return Some(at + 3),
                    Some(_) => {}
                    None => {
                        self.scanned = at;
                        return None;
                    }
                }
            }
            at += 1;
        }
        self.scanned = input.len();
        None
    }

    fn keep(&mut self, octets: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len()).min(octets.len());
        self.head.extend_from_slice(&octets[..room]);
    }

    fn finish(&mut self, octets: usize, output: &mut Vec<u8>) {
        let (shared, now) = (self.shared, nanoseconds());
        output.extend(b"250 2.0.0 taken\r\n");
        if let Some(sent) = stamp(&self.head) {
            let way = now.saturating_sub(sent) / 1000;
            shared.times.borrow_mut().push(way.min(u64::from(u32::MAX)) as u32);
        }
        self.head.clear();
        self.scanned = 0;
        self.phase = Phase::Command;
        shared.octets.set(shared.octets.get() + octets as u64);
        shared.first.set(shared.first.get().or(Some(now)));
        shared.last.set((Instant::now(), now));
        shared.count.set(shared.count.get() + 1);
        if shared.count.get() >= shared.expect {
            shared.complete.notify_one();
        }
    }
}
