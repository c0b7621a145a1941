//! The same work for XMPP servers: pairs of users, one of each pair at either server, without TLS.
//!
//! As little of RFC 6120 as the measurement needs: PLAIN, bind, and chat messages that carry a stamp.

use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::message::{nanoseconds, quantiles};

/// What precedes a stamp.
const STAMP: &[u8] = b"stamp=";
/// Octets written at once.
const WRITE: usize = 32 * 1024;

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    /// The senders' server and domain, as 127.0.0.2:5222,a.test; they are u0, u1, …
    #[arg(long)]
    from: String,
    /// The recipients' server and domain; they are v0, v1, …
    #[arg(long)]
    to: String,
    /// Everybody's password.
    #[arg(long, default_value = "pw")]
    password: String,
    /// Pairs of users.
    #[arg(long, default_value_t = 1)]
    pairs: usize,
    /// Messages in all.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Messages per second in all; without it, as fast as possible.
    #[arg(long)]
    paced: Option<f64>,
    /// Octets of a message's body.
    #[arg(long, default_value_t = 100)]
    size: usize,
}

#[derive(Default)]
struct Shared {
    count: Cell<u64>,
    times: RefCell<Vec<u32>>,
    news: Notify,
}

/// Logs everybody in, sends, and waits until all has come.
pub async fn run(options: Options) -> Result<serde_json::Value> {
    let shared = Rc::new(Shared::default());
    let mut senders = Vec::new();
    let domain = options.to.split_once(',').map_or("", |(_, domain)| domain);
    for pair in 0..options.pairs {
        let (reader, _writer) = login(&options.to, &format!("v{pair}"), &options.password).await?;
        tokio::task::spawn_local(receive(reader, _writer, shared.clone()));
        let (reader, writer) = login(&options.from, &format!("u{pair}"), &options.password).await?;
        tokio::task::spawn_local(receive(reader, None, Rc::default()));
        senders.push((writer.ok_or_else(|| Error::other("no writer"))?, format!("v{pair}@{domain}/load")));
    }
    // The first message of each pair has the servers find each other.
    for (writer, to) in &mut senders {
        writer.write_all(&message(to, options.size)).await?;
    }
    wait(&shared, options.pairs as u64).await?;
    shared.count.set(0);
    shared.times.borrow_mut().clear();
    let (started, pairs) = (Instant::now(), options.pairs as u64);
    let mut tasks = tokio::task::JoinSet::new();
    for (pair, (writer, to)) in senders.into_iter().enumerate() {
        let share = options.messages / pairs + u64::from((pair as u64) < options.messages % pairs);
        tasks.spawn_local(send(writer, to, options.size, share, options.paced.map(|rate| rate / pairs as f64)));
    }
    let mut writers = Vec::new();
    while let Some(sent) = tasks.join_next().await {
        writers.push(sent.map_err(Error::other)??);
    }
    wait(&shared, options.messages).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut times = shared.times.borrow_mut();
    Ok(serde_json::json!({
        "received": shared.count.get(),
        "seconds": seconds,
        "per_second": options.messages as f64 / seconds,
        "way_us": quantiles(&mut times),
    }))
}

async fn wait(shared: &Shared, count: u64) -> Result<()> {
    while shared.count.get() < count {
        let news = tokio::time::timeout(Duration::from_secs(30), shared.news.notified());
        if news.await.is_err() {
            return Err(Error::other(format!("only {} of {count} messages came", shared.count.get())));
        }
    }
    Ok(())
}

async fn send(
    mut writer: OwnedWriteHalf,
    to: String,
    size: usize,
    count: u64,
    paced: Option<f64>,
) -> Result<OwnedWriteHalf> {
    let (started, mut out) = (Instant::now(), Vec::new());
    for number in 0..count {
        if let Some(rate) = paced {
            tokio::time::sleep_until((started + Duration::from_secs_f64(number as f64 / rate)).into()).await;
        }
        out.extend(message(&to, size));
        if paced.is_some() || out.len() >= WRITE || number + 1 == count {
            writer.write_all(&out).await?;
            out.clear();
        }
    }
    Ok(writer)
}

fn message(to: &str, size: usize) -> Vec<u8> {
    let stamp = format!("{}{:020} ", String::from_utf8_lossy(STAMP), nanoseconds());
    let rest = "x".repeat(size.saturating_sub(stamp.len()));
    format!("<message to='{to}' type='chat'><body>{stamp}{rest}</body></message>").into_bytes()
}

/// Counts the stamps that come. Keeps the writer: the connection lives as long as both halves.
async fn receive(mut reader: OwnedReadHalf, writer: Option<OwnedWriteHalf>, shared: Rc<Shared>) {
    let mut input = Vec::new();
    while matches!(reader.read_buf(&mut input).await, Ok(octets) if octets > 0) {
        let now = nanoseconds();
        let mut taken = input.len().saturating_sub(STAMP.len() + 20);
        let mut at = 0;
        while let Some(offset) = find(&input[at..], STAMP) {
            let digits = at + offset + STAMP.len();
            let Some(stamp) = input.get(digits..digits + 20) else {
                taken = at + offset;
                break;
            };
            let sent: u64 = String::from_utf8_lossy(stamp).parse().unwrap_or(now);
            let way = now.saturating_sub(sent) / 1000;
            shared.times.borrow_mut().push(way.min(u64::from(u32::MAX)) as u32);
            shared.count.set(shared.count.get() + 1);
            at = digits + 20;
            taken = taken.max(at);
        }
        shared.news.notify_one();
        input.drain(..taken.min(input.len()));
    }
    drop(writer);
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

/// Makes an account (XEP-0077).
pub async fn register(server: &str, user: &str, password: &str) -> Result<()> {
    let (address, domain) = server.split_once(',').ok_or_else(|| Error::other("a server is ADDRESS:PORT,DOMAIN"))?;
    let stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.into_split();
    let query = format!(
        "<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>{user}</username>\
         <password>{password}</password></query></iq>"
    );
    for (words, awaited) in [(header(domain), "</stream:features>"), (query, "</iq>")] {
        writer.write_all(words.as_bytes()).await?;
        let mut input = Vec::new();
        // A server may answer without content.
        while find(&input, awaited.as_bytes()).is_none() && find(&input, b"type='result'").is_none() {
            if reader.read_buf(&mut input).await? == 0 {
                return Err(Error::other(String::from_utf8_lossy(&input).into_owned()));
            }
        }
        // That it is there already is as good.
        if find(&input, b"<error").is_some() && find(&input, b"conflict").is_none() {
            return Err(Error::other(String::from_utf8_lossy(&input).into_owned()));
        }
    }
    Ok(())
}

fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// Connects, authenticates, binds, and is present.
pub async fn login(server: &str, user: &str, password: &str) -> Result<(OwnedReadHalf, Option<OwnedWriteHalf>)> {
    let (address, domain) = server.split_once(',').ok_or_else(|| Error::other("a server is ADDRESS:PORT,DOMAIN"))?;
    let address: SocketAddr = address.parse().map_err(Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let header = header(domain);
    let response = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    let steps = [
        (header.clone(), "</stream:features>"),
        (format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{response}</auth>"), "<success"),
        (header, "</stream:features>"),
        (
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind></iq>"
                .to_owned(),
            "</iq>",
        ),
        ("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>".to_owned(), "<presence"),
    ];
    for (words, awaited) in steps {
        writer.write_all(words.as_bytes()).await?;
        let mut input = Vec::new();
        while find(&input, awaited.as_bytes()).is_none() {
            let failed = find(&input, b"<failure").is_some() || find(&input, b"stream:error").is_some();
            if failed || reader.read_buf(&mut input).await? == 0 {
                let said = String::from_utf8_lossy(&input).into_owned();
                return Err(Error::new(ErrorKind::InvalidData, format!("{user} at {server}: {said}")));
            }
        }
    }
    Ok((reader, Some(writer)))
}
