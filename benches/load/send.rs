//! The generator: sessions that share a number of messages, in one of four manners of speaking.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::ValueEnum;
use impart::sasl::{Client, Credentials, Mechanism, Secret};
use impart::smime::Identity;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::message::{Template, nanoseconds, quantiles, signed};
use crate::tls;
use crate::wire::Replies;

/// Messages that are put into one write at most.
const BATCH: usize = 64;

/// How a session speaks.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Mode {
    /// Each command waits for its reply, as smtp-source does.
    Source,
    /// PIPELINING with DATA (RFC 2920): one round trip for a message.
    Pipelined,
    /// PIPELINING with BDAT after the replies to MAIL and RCPT (RFC 3030).
    Chunking,
    /// Many transactions in flight, as between servers that show IMPP.
    Impp,
}

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// Sessions at once.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// Messages in all.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Octets of an entity, header included.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How to speak.
    #[arg(long, value_enum, default_value_t = Mode::Source)]
    mode: Mode,
    /// Transactions in flight on a session of mode impp.
    #[arg(long, default_value_t = 64)]
    window: usize,
    /// Messages per second in all; without it, as fast as possible.
    #[arg(long)]
    paced: Option<f64>,
    /// The sender; `{}` stands for the number of the session.
    #[arg(long, default_value = "s@a.test")]
    from: String,
    /// The recipient, likewise.
    #[arg(long, default_value = "r@b.test")]
    rcpt: String,
    /// Parameters of MAIL FROM.
    #[arg(long, default_value = "")]
    mail: String,
    /// Parameters of RCPT TO.
    #[arg(long, default_value = "")]
    notify: String,
    /// The name in EHLO.
    #[arg(long, default_value = "load.a.test")]
    helo: String,
    /// Log in as the sender with this password.
    #[arg(long)]
    password: Option<String>,
    /// Speak TLS at once; the server's certificate is not verified.
    #[arg(long)]
    tls: bool,
    /// Certificate chain of this client (PEM), with `--key`.
    #[arg(long, requires = "key")]
    cert: Option<std::path::PathBuf>,
    /// Its private key (PEM).
    #[arg(long)]
    key: Option<std::path::PathBuf>,
    /// Sign each message, before the first is sent: a PEM file with a key and its certificates.
    #[arg(long)]
    sign: Option<std::path::PathBuf>,
}

/// What the sessions share.
struct Shared {
    options: Options,
    next: Cell<u64>,
    started: Instant,
    refused: Cell<u64>,
    times: RefCell<Vec<u32>>,
    first_refusal: RefCell<Option<String>>,
}

impl Shared {
    /// The number of the next message, when its time has come; `None` when there is none.
    async fn take(&self) -> Option<u64> {
        let number = self.next.get();
        if number == self.options.messages {
            return None;
        }
        self.next.set(number + 1);
        if let Some(rate) = self.options.paced {
            let due = self.started + Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        Some(number)
    }

    fn accepted(&self, since: Instant) {
        self.times.borrow_mut().push(since.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
    }

    fn refuse(&self, line: &[u8]) {
        self.refused.set(self.refused.get() + 1);
        let text = || String::from_utf8_lossy(line).trim().to_owned();
        self.first_refusal.borrow_mut().get_or_insert_with(text);
    }
}

/// What one session says.
struct Words {
    from: String,
    rcpt: String,
    template: Template,
}

impl Words {
    fn new(options: &Options, session: usize, signed: Rc<Vec<Vec<u8>>>) -> Self {
        let (from, rcpt) = (numbered(&options.from, session), numbered(&options.rcpt, session));
        let template = Template::new(&from, &rcpt, options.size, signed);
        Words { from, rcpt, template }
    }

    fn envelope(&self, options: &Options, out: &mut Vec<u8>) {
        let Words { from, rcpt, .. } = self;
        let Options { mail, notify, .. } = options;
        let space = |text: &str| if text.is_empty() { "" } else { " " };
        let (after_from, after_rcpt) = (space(mail), space(notify));
        out.extend(format!("MAIL FROM:<{from}>{after_from}{mail}\r\n").as_bytes());
        out.extend(format!("RCPT TO:<{rcpt}>{after_rcpt}{notify}\r\n").as_bytes());
    }
}

/// Sends all messages; the line tells how it went.
pub async fn run(options: Options) -> Result<serde_json::Value> {
    let connector = options.tls.then(|| tls::connector(options.cert.as_deref(), options.key.as_deref())).transpose()?;
    let signed = Rc::new(match &options.sign {
        Some(file) => {
            let text = std::fs::read_to_string(file)?;
            let identity = Identity::from_pem(&text, &text, None).map_err(Error::other)?;
            signed(&identity, &options.from, &options.rcpt, options.size, options.messages)?
        }
        None => Vec::new(),
    });
    let shared = Rc::new(Shared {
        next: Cell::new(0),
        started: Instant::now(),
        refused: Cell::new(0),
        times: RefCell::new(Vec::with_capacity(options.messages.min(50_000_000) as usize)),
        first_refusal: RefCell::new(None),
        options,
    });
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..shared.options.sessions {
        let words = Words::new(&shared.options, number, signed.clone());
        sessions.spawn_local(connect(shared.clone(), words, connector.clone()));
    }
    let mut fault = None;
    while let Some(ended) = sessions.join_next().await {
        fault = ended.map_err(Error::other).and_then(|outcome| outcome).err().or(fault);
    }
    let seconds = shared.started.elapsed().as_secs_f64();
    let mut times = shared.times.borrow_mut();
    let accepted = times.len();
    if let (0, Some(error)) = (accepted, &fault) {
        return Err(Error::other(error.to_string()));
    }
    Ok(serde_json::json!({
        "accepted": accepted,
        "refused": shared.refused.get(),
        "refusal": *shared.first_refusal.borrow(),
        "fault": fault.map(|error| error.to_string()),
        "seconds": seconds,
        "per_second": accepted as f64 / seconds,
        "octets": shared.options.size,
        "latency_us": quantiles(&mut times),
    }))
}

/// The name of a session's user.
pub fn numbered(pattern: &str, session: usize) -> String {
    pattern.replace("{}", &session.to_string())
}

/// Greeting, EHLO, and AUTH SCRAM-SHA-256 where there is a password.
pub async fn open<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    replies: &mut Replies<R>,
    writer: &mut W,
    helo: &str,
    login: Option<(&str, &str)>,
) -> Result<()> {
    replies.good().await?;
    say(writer, format!("EHLO {helo}\r\n").as_bytes()).await?;
    replies.good().await?;
    let Some((user, password)) = login else { return Ok(()) };
    let credentials = Credentials::Password { user: user.to_owned(), password: Secret::new(password) };
    let mut client = Client::new(&[Mechanism::ScramSha256], credentials, None).map_err(Error::other)?;
    let initial = BASE64_STANDARD.encode(client.initial().unwrap_or_default());
    say(writer, format!("AUTH SCRAM-SHA-256 {initial}\r\n").as_bytes()).await?;
    loop {
        let (code, line) = replies.reply().await?;
        if code != 334 {
            return client.finish().map_err(Error::other);
        }
        let challenge = BASE64_STANDARD.decode(line.trim_ascii().get(4..).unwrap_or_default()).map_err(Error::other)?;
        let response = BASE64_STANDARD.encode(client.step(&challenge).map_err(Error::other)?);
        say(writer, format!("{response}\r\n").as_bytes()).await?;
    }
}

async fn connect(shared: Rc<Shared>, words: Words, connector: Option<tokio_rustls::TlsConnector>) -> Result<()> {
    let stream = TcpStream::connect(shared.options.to).await?;
    stream.set_nodelay(true)?;
    match connector {
        None => session(shared, words, stream).await,
        Some(connector) => {
            let stream = connector.connect(tls::name()?, stream).await?;
            session(shared, words, stream).await
        }
    }
}

async fn session<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    shared: Rc<Shared>,
    words: Words,
    stream: S,
) -> Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut replies = Replies::new(reader);
    let login = shared.options.password.as_deref().map(|password| (words.from.as_str(), password));
    open(&mut replies, &mut writer, &shared.options.helo, login).await?;
    match shared.options.mode {
        Mode::Source => one_by_one(&shared, &words, &mut replies, &mut writer).await?,
        Mode::Pipelined | Mode::Chunking => grouped(&shared, &words, &mut replies, &mut writer).await?,
        Mode::Impp => windowed(&shared, &words, &mut replies, &mut writer).await?,
    }
    say(&mut writer, b"QUIT\r\n").await?;
    replies.good().await.map(|_| ())
}

async fn say<W: AsyncWrite + Unpin>(writer: &mut W, octets: &[u8]) -> Result<()> {
    writer.write_all(octets).await?;
    writer.flush().await
}

async fn one_by_one<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    words: &Words,
    replies: &mut Replies<ReadHalf<S>>,
    writer: &mut WriteHalf<S>,
) -> Result<()> {
    let mut envelope = Vec::new();
    words.envelope(&shared.options, &mut envelope);
    let mail = envelope.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut out = Vec::new();
    while let Some(number) = shared.take().await {
        let (since, stamp) = (Instant::now(), nanoseconds());
        for command in [&envelope[..mail], &envelope[mail..], b"DATA\r\n"] {
            say(writer, command).await?;
            replies.good().await?;
        }
        out.clear();
        words.template.write(number, stamp, &mut out);
        out.extend(b".\r\n");
        say(writer, &out).await?;
        replies.good().await?;
        shared.accepted(since);
    }
    Ok(())
}

/// One round trip for a message: its text goes with the envelope of the next.
async fn grouped<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    words: &Words,
    replies: &mut Replies<ReadHalf<S>>,
    writer: &mut WriteHalf<S>,
) -> Result<()> {
    let chunking = shared.options.mode == Mode::Chunking;
    let mut envelope = Vec::new();
    words.envelope(&shared.options, &mut envelope);
    let mut expected = 2;
    if !chunking {
        envelope.extend(b"DATA\r\n");
        expected = 3;
    }
    let mut next = shared.take().await;
    let mut out = Vec::new();
    if next.is_some() {
        say(writer, &envelope).await?;
    }
    while let Some(number) = next {
        for _ in 0..expected {
            replies.good().await?;
        }
        out.clear();
        let since = Instant::now();
        if chunking {
            out.extend(format!("BDAT {} LAST\r\n", words.template.size(number)).as_bytes());
        }
        words.template.write(number, nanoseconds(), &mut out);
        if !chunking {
            out.extend(b".\r\n");
        }
        // A paced sender has nothing to say yet; what is sent must not wait for it.
        let paced = shared.options.paced.is_some();
        if !paced {
            next = shared.take().await;
            next.iter().for_each(|_| out.extend(&envelope));
        }
        say(writer, &out).await?;
        replies.good().await?;
        shared.accepted(since);
        if paced {
            next = shared.take().await;
            if next.is_some() {
                say(writer, &envelope).await?;
            }
        }
    }
    Ok(())
}

/// Up to a window of transactions in flight; the answers are counted as they come.
async fn windowed<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    words: &Words,
    replies: &mut Replies<ReadHalf<S>>,
    writer: &mut WriteHalf<S>,
) -> Result<()> {
    let window = Semaphore::new(shared.options.window);
    let flying = RefCell::new(VecDeque::with_capacity(shared.options.window));
    let done = Cell::new(false);
    let ended = tokio::sync::Notify::new();
    let write = async {
        let outcome = write_groups(shared, words, writer, &window, &flying).await;
        done.set(true);
        ended.notify_one();
        outcome
    };
    let read = async {
        while !(done.get() && flying.borrow().is_empty()) {
            let mut answered = 0;
            while replies_of_one(shared, replies, &flying) {
                answered += 1;
            }
            window.add_permits(answered);
            if answered == 0 {
                tokio::select! {
                    filled = replies.fill() => filled?,
                    () = ended.notified() => {}
                }
            }
        }
        Ok(())
    };
    tokio::try_join!(write, read).map(|_| ())
}

/// RSET, MAIL, RCPT, BDAT: four replies. True when the last of them has come.
fn replies_of_one<R: AsyncRead + Unpin>(
    shared: &Shared,
    replies: &mut Replies<R>,
    flying: &RefCell<VecDeque<(Instant, u8, bool)>>,
) -> bool {
    let mut flying = flying.borrow_mut();
    while let Some((since, seen, refused)) = flying.front_mut() {
        let Some((code, line)) = replies.ready() else { return false };
        *seen += 1;
        if code >= 400 && !*refused {
            *refused = true;
            shared.refuse(line);
        }
        if *seen == 4 {
            if !*refused {
                shared.accepted(*since);
            }
            flying.pop_front();
            return true;
        }
    }
    false
}

async fn write_groups<W: AsyncWrite + Unpin>(
    shared: &Shared,
    words: &Words,
    writer: &mut W,
    window: &Semaphore,
    flying: &RefCell<VecDeque<(Instant, u8, bool)>>,
) -> Result<()> {
    let mut head = b"RSET\r\n".to_vec();
    words.envelope(&shared.options, &mut head);
    let mut out = Vec::with_capacity(BATCH * (head.len() + words.template.size(0)));
    loop {
        window.acquire().await.map_err(Error::other)?.forget();
        let mut more = true;
        out.clear();
        for _ in 0..BATCH {
            let Some(number) = shared.take().await else {
                more = false;
                break;
            };
            flying.borrow_mut().push_back((Instant::now(), 0, false));
            out.extend(&head);
            out.extend(format!("BDAT {} LAST\r\n", words.template.size(number)).as_bytes());
            words.template.write(number, nanoseconds(), &mut out);
            match window.try_acquire() {
                Ok(permit) if shared.options.paced.is_none() => permit.forget(),
                _ => break,
            }
        }
        say(writer, &out).await?;
        if !more {
            return Ok(());
        }
    }
}
