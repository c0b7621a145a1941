//! Fan-out: one presentity, many watchers, some changes one after the other; over IMPP or over XMPP.
//!
//! A change is made when every watcher has seen the one before it: what is measured is each change, not how many of them a
//! server leaves out. The note of a change carries a stamp.

use std::cell::{Cell, RefCell};
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;

use crate::message::{nanoseconds, quantiles};
use crate::send::{numbered, open};
use crate::tls;
use crate::wire::Replies;
use crate::xmpp;

/// What precedes a stamp.
const STAMP: &[u8] = b"stamp=";
/// Digits of a stamp.
const DIGITS: usize = 20;
/// How long a change may take to come to everybody.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a device that takes presence alone shows.
const GREETING: &[u8] = b"250-device.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 0\r\n\
                          250-CHUNKING\r\n250 IMPP PRES NOOP=300\r\n";

/// What is spoken.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Kind {
    /// IMPP, over TLS.
    Impp,
    /// XMPP, in the clear.
    Xmpp,
}

/// Who watches whom.
#[derive(clap::Args)]
pub struct Options {
    /// What is spoken.
    #[arg(long, value_enum)]
    kind: Kind,
    /// The presentity with its server, as 127.0.0.2:2780,u0@a.test.
    #[arg(long)]
    presentity: String,
    /// Watchers with their server and their number, as 127.0.0.3:2780,v{}@b.test,500; may be given several times.
    #[arg(long)]
    watchers: Vec<String>,
    /// Everybody's password.
    #[arg(long, default_value = "pw")]
    password: String,
    /// Changes.
    #[arg(long, default_value_t = 50)]
    changes: u64,
    /// Make the accounts first (XMPP, XEP-0077).
    #[arg(long)]
    register: bool,
}

/// What the watchers share.
#[derive(Default)]
struct Shared {
    /// The stamp of the change under way; another one is not counted.
    current: Cell<u64>,
    seen: Cell<usize>,
    times: RefCell<Vec<u32>>,
    news: Notify,
}

impl Shared {
    /// Takes the stamps out of what has come; gives how many octets need not be seen again.
    fn scan(&self, input: &[u8]) -> usize {
        let now = nanoseconds();
        let mut at = 0;
        while let Some(offset) = memchr::memmem::find(&input[at..], STAMP) {
            let digits = at + offset + STAMP.len();
            let Some(stamp) = input.get(digits..digits + DIGITS) else { return at + offset };
            at = digits + DIGITS;
            let stamp: u64 = String::from_utf8_lossy(stamp).parse().unwrap_or_default();
            if stamp == self.current.get() {
                self.times.borrow_mut().push((now.saturating_sub(stamp) / 1000).min(u64::from(u32::MAX)) as u32);
                self.seen.set(self.seen.get() + 1);
                self.news.notify_one();
            }
        }
        at.max(input.len().saturating_sub(STAMP.len()))
    }

    async fn everybody(&self, count: usize) -> Result<()> {
        while self.seen.get() < count {
            if tokio::time::timeout(PATIENCE, self.news.notified()).await.is_err() {
                return Err(Error::other(format!("only {} of {count} watchers saw a change", self.seen.get())));
            }
        }
        Ok(())
    }
}

/// Somebody with an account at a server.
pub struct Person {
    /// Where clients go.
    pub server: SocketAddr,
    /// The address.
    pub address: String,
}

impl Person {
    /// From ADDRESS:PORT,user@domain.
    pub fn parse(text: &str) -> Result<Person> {
        let (server, address) = text.split_once(',').ok_or_else(|| Error::other("ADDRESS:PORT,user@domain"))?;
        Ok(Person { server: server.parse().map_err(Error::other)?, address: address.to_owned() })
    }

    /// One of many.
    pub fn numbered(&self, number: usize) -> Person {
        Person { server: self.server, address: numbered(&self.address, number) }
    }

    fn user(&self) -> (&str, &str) {
        self.address.split_once('@').unwrap_or((&self.address, ""))
    }
}

/// Logs everybody in, has everybody watch, and makes the changes.
pub async fn run(options: Options) -> Result<serde_json::Value> {
    let presentity = Person::parse(&options.presentity)?;
    let mut watchers = Vec::new();
    for group in &options.watchers {
        let (rest, count) = group.rsplit_once(',').ok_or_else(|| Error::other("ADDRESS:PORT,user@domain,COUNT"))?;
        let group = Person::parse(rest)?;
        for number in 0..count.parse().map_err(Error::other)? {
            watchers.push(Person { server: group.server, address: numbered(&group.address, number) });
        }
    }
    let shared = Rc::new(Shared::default());
    let began = Instant::now();
    let mut source = Source::open(&options, &presentity).await?;
    for watcher in &watchers {
        source.admit(&options, watcher, &presentity.address, &shared).await?;
    }
    // The first change has the servers find each other.
    let first = nanoseconds();
    shared.current.set(first);
    source.change(&presentity.address, first).await?;
    shared.everybody(watchers.len()).await?;
    let ready = began.elapsed().as_secs_f64();
    shared.times.borrow_mut().clear();
    let (mut last, started) = (Vec::new(), Instant::now());
    for _ in 0..options.changes {
        let stamp = nanoseconds();
        shared.current.set(stamp);
        shared.seen.set(0);
        source.change(&presentity.address, stamp).await?;
        shared.everybody(watchers.len()).await?;
        last.push(((nanoseconds() - stamp) / 1000).min(u64::from(u32::MAX)) as u32);
    }
    let seconds = started.elapsed().as_secs_f64();
    let notifications = options.changes * watchers.len() as u64;
    Ok(serde_json::json!({
        "notifications": notifications,
        "ready_seconds": ready,
        "seconds": seconds,
        "per_second": notifications as f64 / seconds,
        "way_us": quantiles(&mut shared.times.borrow_mut()),
        "last_us": quantiles(&mut last),
    }))
}

/// The presentity's connection.
enum Source {
    Impp(Box<Submission>),
    Xmpp(tokio::net::tcp::OwnedWriteHalf),
}

impl Source {
    async fn open(options: &Options, who: &Person) -> Result<Source> {
        match options.kind {
            Kind::Impp => {
                let mut submission = Submission::open(who, &options.password).await?;
                let rules = rules();
                submission.tell(&who.address, &who.address, "policy; for=presence", &rules).await?;
                Ok(Source::Impp(Box::new(submission)))
            }
            Kind::Xmpp => {
                let (reader, writer) = jabber(options, who).await?;
                tokio::task::spawn_local(drain(reader));
                Ok(Source::Xmpp(writer))
            }
        }
    }

    /// Somebody begins to watch, and goes on.
    async fn admit(&mut self, options: &Options, who: &Person, presentity: &str, shared: &Rc<Shared>) -> Result<()> {
        match self {
            Source::Impp(_) => {
                let mut submission = Submission::open(who, &options.password).await?;
                let ask = format!("subscribe; id={:032x}; event=presence", nanoseconds());
                submission.tell(&who.address, presentity, &ask, "").await?;
                let Submission { mut replies, mut writer } = submission;
                writer.write_all(format!("ATRN INBOX={}\r\n", who.address).as_bytes()).await?;
                writer.flush().await?;
                replies.good().await?;
                let stream = replies.into_inner().unsplit(writer);
                tokio::task::spawn_local(device(stream, shared.clone()));
            }
            Source::Xmpp(writer) => {
                let (mut reader, mut theirs) = jabber(options, who).await?;
                theirs.write_all(format!("<presence type='subscribe' to='{presentity}'/>").as_bytes()).await?;
                let allow = format!("<presence type='subscribed' to='{}'/>", who.address);
                let (mut input, until) = (Vec::new(), Instant::now() + PATIENCE);
                while memchr::memmem::find(&input, b"subscribed").is_none() {
                    if Instant::now() > until {
                        return Err(Error::other(format!("{} may not watch", who.address)));
                    }
                    // What is said before it was asked for is dropped: said again until it counts.
                    writer.write_all(allow.as_bytes()).await?;
                    let _ = tokio::time::timeout(Duration::from_millis(20), reader.read_buf(&mut input)).await;
                }
                tokio::task::spawn_local(watch(reader, theirs, shared.clone()));
            }
        }
        Ok(())
    }

    async fn change(&mut self, presentity: &str, stamp: u64) -> Result<()> {
        let stamp = format!("{}{stamp:020}", String::from_utf8_lossy(STAMP));
        match self {
            Source::Impp(submission) => {
                let document = format!(
                    "Content-Type: application/pidf+xml\r\n\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
                     entity=\"pres:{presentity}\">\r\n<tuple id=\"a\"><status><basic>open</basic></status>\
                     <contact>im:{presentity}</contact><note>{stamp}</note></tuple></presence>\r\n"
                );
                submission.tell(presentity, presentity, "publish; id=load", &document).await
            }
            Source::Xmpp(writer) => {
                writer
                    .write_all(format!("<presence><show>away</show><status>{stamp}</status></presence>").as_bytes())
                    .await
            }
        }
    }
}

/// Everybody may see everything.
fn rules() -> String {
    "Content-Type: application/auth-policy+xml\r\n\r\n<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\" \
     xmlns:p=\"urn:ietf:params:xml:ns:pres-rules\">\r\n<rule id=\"a\"><conditions><identity><many/></identity></conditions>\
     <actions><p:sub-handling>allow</p:sub-handling></actions><transformations><p:provide-services><p:all-services/>\
     </p:provide-services>\r\n<p:provide-persons><p:all-persons/></p:provide-persons><p:provide-devices><p:all-devices/>\
     </p:provide-devices><p:provide-all-attributes/></transformations></rule></ruleset>\r\n"
        .to_owned()
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection on which somebody submits.
pub struct Submission {
    /// What the server says.
    pub replies: Replies<tokio::io::ReadHalf<Tls>>,
    /// What it is told.
    pub writer: tokio::io::WriteHalf<Tls>,
}

impl Submission {
    /// Logged in.
    pub async fn open(who: &Person, password: &str) -> Result<Submission> {
        let stream = TcpStream::connect(who.server).await?;
        stream.set_nodelay(true)?;
        let stream = tls::connector(None, None)?.connect(tls::name()?, stream).await?;
        let (reader, mut writer) = tokio::io::split(stream);
        let mut replies = Replies::new(reader);
        open(&mut replies, &mut writer, "load.test", Some((&who.address, password))).await?;
        Ok(Submission { replies, writer })
    }

    /// An entity of class PRES; `rest` is its further header and its body.
    async fn tell(&mut self, from: &str, to: &str, directive: &str, rest: &str) -> Result<()> {
        self.say(from, &[to.to_owned()], directive, rest).await
    }

    /// The same to several, without a body.
    pub async fn tell_all(&mut self, from: &str, to: &[String], directive: &str) -> Result<()> {
        self.say(from, to, directive, "").await
    }

    async fn say(&mut self, from: &str, to: &[String], directive: &str, rest: &str) -> Result<()> {
        let named = to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(",\r\n ");
        let entity = format!(
            "From: <{from}>\r\nTo: {named}\r\nDate: {}\r\nMessage-ID: <{:x}.load@load.test>\r\nMIME-Version: 1.0\r\n\
             Presence: {directive}\r\n{}",
            jiff::Zoned::now().strftime("%a, %d %b %Y %H:%M:%S %z"),
            nanoseconds(),
            if rest.is_empty() { "\r\n" } else { rest }
        );
        let group = format!(
            "RSET\r\nMAIL FROM:<{from}> IMPP=PRES\r\n{}BDAT {} LAST\r\n{entity}",
            to.iter().map(|to| format!("RCPT TO:<{to}> NOTIFY=NEVER\r\n")).collect::<String>(),
            entity.len()
        );
        self.writer.write_all(group.as_bytes()).await?;
        self.writer.flush().await?;
        for _ in 0..3 + to.len() {
            self.replies.good().await?;
        }
        Ok(())
    }
}

/// The device's side of a reversed connection: whatever comes is taken, and looked at for stamps.
async fn device<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: Rc<Shared>) {
    take(stream, |chunk| {
        shared.scan(chunk);
        false
    })
    .await;
}

/// The same until so many views have come.
pub async fn attached<S: AsyncRead + AsyncWrite + Unpin>(stream: S, views: usize) -> Result<()> {
    let (seen, mut left) = (Cell::new(false), views);
    take(stream, |chunk| {
        left -= usize::from(memchr::memmem::find(chunk, b"<presence").is_some()).min(left);
        seen.set(left == 0);
        left == 0
    })
    .await;
    if seen.get() { Ok(()) } else { Err(Error::other("the server has ended the session")) }
}

/// Whatever comes is taken, until `enough` says so of a chunk.
async fn take<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut enough: impl FnMut(&[u8]) -> bool) {
    let (mut input, mut output) = (Vec::new(), b"220 device ready\r\n".to_vec());
    let mut chunk = 0;
    loop {
        let written = async {
            stream.write_all(&output).await?;
            stream.flush().await
        };
        if written.await.is_err() {
            return;
        }
        output.clear();
        if !matches!(stream.read_buf(&mut input).await, Ok(octets) if octets > 0) {
            return;
        }
        let mut at = 0;
        loop {
            if chunk > 0 {
                if input.len() - at < chunk {
                    break;
                }
                if enough(&input[at..at + chunk]) {
                    return;
                }
                at += chunk;
                chunk = 0;
                output.extend(b"250 2.0.0 taken\r\n");
            }
            let Some(end) = memchr::memchr(b'\n', &input[at..]) else { break };
            let line = &input[at..at + end];
            at += end + 1;
            match line.get(..4).unwrap_or_default() {
                b"BDAT" => {
                    let text = String::from_utf8_lossy(&line[4..]).into_owned();
                    chunk = text.split_whitespace().next().and_then(|octets| octets.parse().ok()).unwrap_or(0);
                }
                b"EHLO" => output.extend(GREETING),
                _ => output.extend(b"250 2.0.0 ok\r\n"),
            }
        }
        input.drain(..at);
    }
}

/// Logs in to an XMPP server, after making the account where that is asked for.
async fn jabber(options: &Options, who: &Person) -> Result<(OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf)> {
    let (user, domain) = who.user();
    let server = format!("{},{domain}", who.server);
    if options.register {
        xmpp::register(&server, user, &options.password).await?;
    }
    let (reader, writer) = xmpp::login(&server, user, &options.password).await?;
    Ok((reader, writer.ok_or_else(|| Error::other("no writer"))?))
}

async fn watch(mut reader: OwnedReadHalf, _writer: tokio::net::tcp::OwnedWriteHalf, shared: Rc<Shared>) {
    let mut input = Vec::new();
    while matches!(reader.read_buf(&mut input).await, Ok(octets) if octets > 0) {
        let taken = shared.scan(&input);
        input.drain(..taken);
    }
}

async fn drain(mut reader: OwnedReadHalf) {
    let mut input = Vec::new();
    while matches!(reader.read_buf(&mut input).await, Ok(octets) if octets > 0) {
        input.clear();
    }
}
