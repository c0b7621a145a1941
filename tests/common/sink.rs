//! A next hop that keeps what it gets, for tests to look at; with CHUNKING, PIPELINING and a say in each reply.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::client::Stream;
use super::wait::PATIENCE;

/// A message that was answered 250.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The argument of MAIL FROM with its parameters.
    pub mail: String,
    /// The arguments of RCPT TO that were answered 250, with their parameters.
    pub rcpts: Vec<String>,
    /// The entity as text.
    pub entity: String,
    /// The entity as it came.
    pub octets: Vec<u8>,
    /// What [`Sink::set_epoch`] said when it came.
    pub epoch: u64,
}

impl Arrival {
    /// The value of the first field of this name in the header, unfolded.
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.entity, name)
    }
}

/// The value of the first field of this name in the first block of fields that has it, unfolded.
pub fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.len() > name.len()
            && line.as_bytes()[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name)
        {
            let more = lines.take_while(|line| line.starts_with([' ', '\t']));
            return Some(
                std::iter::once(&line[name.len() + 1..]).chain(more).map(str::trim).collect::<Vec<_>>().join(" "),
            );
        }
    }
    None
}

/// Decides the reply to a command of `MAIL`, `RCPT` or the end of an entity; `None` accepts, an empty one at the end hangs
/// up without a word.
pub type Say = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How a sink speaks.
pub struct Manner {
    /// EHLO keywords.
    pub keywords: Vec<&'static str>,
    /// Its say in each reply.
    pub say: Say,
    /// It is a mail store: LHLO, and after the entity a reply for each recipient, of which `END` and the argument of RCPT
    /// decides (RFC 2033).
    pub lmtp: bool,
}

impl Default for Manner {
    fn default() -> Self {
        let keywords = vec!["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "SIZE 0"];
        Manner { keywords, say: Box::new(|_| None), lmtp: false }
    }
}

#[derive(Default)]
struct Kept {
    arrivals: Mutex<Vec<Arrival>>,
    came: Condvar,
    epoch: AtomicU64,
}

/// The sink; it listens until the test process ends.
#[derive(Clone)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    kept: Arc<Kept>,
}

impl Sink {
    /// Starts one that accepts everything.
    pub fn start() -> Sink {
        Sink::with(Manner::default())
    }

    /// Starts one.
    pub fn with(manner: Manner) -> Sink {
        Sink::listen(manner, Security::None)
    }

    /// Starts one at this address.
    pub fn at(address: SocketAddr, manner: Manner) -> Sink {
        Sink::serve(TcpListener::bind(address).expect("the address is free"), manner, Security::None)
    }

    /// Starts one that speaks TLS at once.
    pub fn secured(manner: Manner, tls: ServerConfig) -> Sink {
        Sink::listen(manner, Security::AtOnce(Arc::new(tls)))
    }

    /// Starts one behind this listener that takes STARTTLS, if it can.
    pub fn behind(listener: TcpListener, manner: Manner, tls: Option<ServerConfig>) -> Sink {
        Sink::serve(listener, manner, tls.map_or(Security::None, |tls| Security::StartTls(Arc::new(tls))))
    }

    fn listen(manner: Manner, security: Security) -> Sink {
        Sink::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback"), manner, security)
    }

    /// Another listener, of another manner, whose arrivals are kept with those of this one.
    pub fn beside(&self, manner: Manner) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        Sink::keep(listener, manner, Security::None, self.kept.clone()).address
    }

    fn serve(listener: TcpListener, manner: Manner, security: Security) -> Sink {
        Sink::keep(listener, manner, security, Arc::default())
    }

    fn keep(listener: TcpListener, manner: Manner, security: Security, kept: Arc<Kept>) -> Sink {
        let sink = Sink { address: listener.local_addr().expect("its address"), kept };
        let (kept, manner) = (sink.kept.clone(), Arc::new(manner));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, manner, security) = (kept.clone(), manner.clone(), security.clone());
                // A connection that breaks is the other side's business.
                std::thread::spawn(move || _ = serve(stream, security, &kept, &manner));
            }
        });
        sink
    }

    /// What later arrivals are marked with.
    pub fn set_epoch(&self, epoch: u64) {
        self.kept.epoch.store(epoch, Ordering::SeqCst);
    }

    /// All that has come.
    pub fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.kept.arrivals.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until what has come satisfies `enough`, and returns it; panics when it does not in time.
    pub fn wait(&self, what: &str, enough: impl FnMut(&[Arrival]) -> bool) -> Vec<Arrival> {
        self.wait_for(what, enough);
        self.arrivals().clone()
    }

    /// As [`Sink::wait`], for those who look at arrivals as they come.
    pub fn wait_for(&self, what: &str, mut enough: impl FnMut(&[Arrival]) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut arrivals = self.arrivals();
        while !enough(&arrivals) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} in vain: {what}; {} messages came", arrivals.len());
            arrivals = match self.kept.came.wait_timeout(arrivals, left) {
                Ok((arrivals, _)) => arrivals,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// How a connection is encrypted.
#[derive(Clone)]
enum Security {
    None,
    AtOnce(Arc<ServerConfig>),
    StartTls(Arc<ServerConfig>),
}

impl Security {
    fn encrypt(tls: &Arc<ServerConfig>, stream: impl Stream + 'static) -> Result<Box<dyn Stream>> {
        let connection = ServerConnection::new(tls.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

struct Session<'a> {
    starttls: bool,
    reader: BufReader<Box<dyn Stream>>,
    out: Vec<u8>,
    kept: &'a Kept,
    manner: &'a Manner,
    mail: String,
    rcpts: Vec<String>,
    chunks: Vec<u8>,
}

fn serve(stream: TcpStream, mut security: Security, kept: &Kept, manner: &Manner) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match &security {
        Security::AtOnce(tls) => Security::encrypt(tls, stream)?,
        Security::StartTls(_) | Security::None => Box::new(stream),
    };
    let starttls = matches!(security, Security::StartTls(_));
    let (mail, rcpts, chunks) = Default::default();
    let reader = BufReader::new(stream);
    let mut session = Session { starttls, reader, out: Vec::new(), kept, manner, mail, rcpts, chunks };
    session.reply("220 sink.test ESMTP");
    let mut line = Vec::new();
    loop {
        // Replies go out when nothing more of a pipelined group is at hand.
        if session.reader.buffer().is_empty() {
            let out = std::mem::take(&mut session.out);
            session.reader.get_mut().write_all(&out)?;
            session.reader.get_mut().flush()?;
        }
        line.clear();
        if session.reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let (Security::StartTls(tls), "STARTTLS") = (&security, text.as_str()) {
            session.reader.get_mut().write_all(b"220 2.0.0 go on\r\n")?;
            session.reader.get_mut().flush()?;
            session.reader = BufReader::new(Security::encrypt(tls, session.reader.into_inner())?);
            (session.starttls, security) = (false, Security::None);
            continue;
        }
        if session.command(&text)? {
            let out = std::mem::take(&mut session.out);
            return session.reader.get_mut().write_all(&out);
        }
    }
}

impl Session<'_> {
    fn reply(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Answers a command; true when it was QUIT.
    fn command(&mut self, line: &str) -> Result<bool> {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" if self.manner.lmtp => self.reply("500 5.5.1 this is LMTP"),
            "EHLO" | "LHLO" => {
                let mut keywords = self.manner.keywords.clone();
                keywords.extend(self.starttls.then_some("STARTTLS"));
                self.reply(if keywords.is_empty() { "250 sink.test" } else { "250-sink.test" });
                for (at, keyword) in keywords.iter().enumerate() {
                    let mark = if at + 1 == keywords.len() { ' ' } else { '-' };
                    self.reply(&format!("250{mark}{keyword}"));
                }
            }
            "MAIL" | "RCPT" => self.envelope(&verb, line),
            "DATA" if self.rcpts.is_empty() => self.reply("503 5.5.1 no recipient"),
            "DATA" => self.data()?,
            "BDAT" => self.chunk(line)?,
            "RSET" => {
                self.reset();
                self.reply("250 2.0.0 reset");
            }
            "QUIT" => {
                self.reply("221 2.0.0 bye");
                return Ok(true);
            }
            _ => self.reply("250 2.0.0 ok"),
        }
        Ok(false)
    }

    fn reset(&mut self) {
        self.mail.clear();
        self.rcpts.clear();
        self.chunks.clear();
    }

    fn envelope(&mut self, verb: &str, line: &str) {
        if let Some(refusal) = (self.manner.say)(line) {
            return self.reply(&refusal);
        }
        let argument = line.split_once(':').map_or("", |(_, argument)| argument.trim()).to_owned();
        if verb == "MAIL" {
            self.reset();
            self.mail = argument;
        } else {
            self.rcpts.push(argument);
        }
        self.reply("250 2.1.0 ok");
    }

    fn data(&mut self) -> Result<()> {
        self.reply("354 go on");
        let out = std::mem::take(&mut self.out);
        self.reader.get_mut().write_all(&out)?;
        let mut entity = Vec::new();
        loop {
            let start = entity.len();
            if self.reader.read_until(b'\n', &mut entity)? == 0 {
                return Ok(());
            }
            if &entity[start..] == b".\r\n" {
                entity.truncate(start);
                break;
            }
            if entity[start] == b'.' {
                entity.remove(start);
            }
        }
        self.finish(entity)
    }

    fn chunk(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace().skip(1);
        let size: usize = words.next().and_then(|size| size.parse().ok()).unwrap_or_default();
        let mut octets = vec![0; size];
        self.reader.read_exact(&mut octets)?;
        self.chunks.extend(octets);
        if self.rcpts.is_empty() {
            self.reply("503 5.5.1 no recipient");
        } else if words.next().is_some() {
            let entity = std::mem::take(&mut self.chunks);
            self.finish(entity)?;
        } else {
            self.reply("250 2.0.0 chunk");
        }
        Ok(())
    }

    /// Keeps the entity first and answers then: what was answered has been kept.
    fn finish(&mut self, octets: Vec<u8>) -> Result<()> {
        let entity = String::from_utf8_lossy(&octets).into_owned();
        if let Some(refusal) = (self.manner.say)(&entity) {
            if refusal.is_empty() {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            self.reset();
            self.reply(&refusal);
            return Ok(());
        }
        let (mail, mut rcpts) = (std::mem::take(&mut self.mail), std::mem::take(&mut self.rcpts));
        let mut replies = vec!["250 2.0.0 taken".to_owned()];
        if self.manner.lmtp {
            let refusals: Vec<_> = rcpts.iter().map(|rcpt| (self.manner.say)(&format!("END {rcpt}"))).collect();
            let mut refused = refusals.iter();
            rcpts.retain(|_| refused.next().is_some_and(Option::is_none));
            replies = refusals.into_iter().map(|refusal| refusal.unwrap_or("250 2.0.0 stored".to_owned())).collect();
            if rcpts.is_empty() {
                replies.iter().for_each(|reply| self.reply(reply));
                return Ok(());
            }
        }
        let epoch = self.kept.epoch.load(Ordering::SeqCst);
        let mut arrivals = self.kept.arrivals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        arrivals.push(Arrival { mail, rcpts, entity, octets, epoch });
        drop(arrivals);
        self.kept.came.notify_all();
        replies.iter().for_each(|reply| self.reply(reply));
        Ok(())
    }
}
