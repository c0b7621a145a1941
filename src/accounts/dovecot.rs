//! The mail system's accounts, asked over Dovecot's sockets.
//!
//! In: the octets of a SASL exchange, or a name. Out: what Dovecot says, or a [`Fault`]: the socket is not there, silent, or
//! answers something else than was asked. Nothing of the exchange is looked at here. Invariants: every answer is waited for
//! a while and no longer, has a longest line, and carries the number of the question; one connection serves one question.
//! The protocols are Dovecot's "auth-client" and "auth-userdb", version 1.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::{Fault, Origin};
use crate::address::Mailbox;
use crate::random;
use crate::sasl::Mechanism;

/// Octets of a line.
const LINE: u64 = 32 * 1024;
/// Lines of a greeting.
const GREETING_LINES: usize = 128;
/// How long a connection and its greeting may take.
const GREETING: Duration = Duration::from_secs(5);
/// How long an answer to a proof may take; Dovecot itself delays a failure.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an answer to a question for a user may take.
const LOOK_UP: Duration = Duration::from_secs(10);
/// How long it is remembered that a user exists, and that one does not.
const REMEMBERED: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(60));
/// Users that are remembered.
const USERS: usize = 65_536;
/// Questions for users at one time.
const QUESTIONS: usize = 32;
/// How long the list of mechanisms is believed.
const MECHANISMS: Duration = Duration::from_secs(60);

/// A connection that is read by lines.
#[derive(Debug)]
struct Lines(BufReader<UnixStream>);

impl Lines {
    async fn connect(socket: &std::path::Path) -> Result<Lines, Fault> {
        let stream = timeout(GREETING, UnixStream::connect(socket)).await;
        let stream = stream.map_err(|_| silent(GREETING))?;
        let unreachable = |error| Fault(format!("Dovecot's socket {} cannot be reached: {error}", socket.display()));
        Ok(Lines(BufReader::new(stream.map_err(unreachable)?)))
    }

    async fn write(&mut self, text: &str) -> Result<(), Fault> {
        let written = timeout(GREETING, self.0.write_all(text.as_bytes())).await.map_err(|_| silent(GREETING))?;
        written.map_err(|error| Fault(format!("Dovecot's socket takes nothing more: {error}")))
    }

    /// A line's fields; before the deadline.
    async fn read(&mut self, deadline: Instant, limit: Duration) -> Result<Vec<String>, Fault> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.0).take(LINE);
        let read = tokio::time::timeout_at(deadline, bounded.read_until(b'\n', &mut line)).await;
        let count = read.map_err(|_| silent(limit))?.map_err(|error| Fault(format!("Dovecot's socket: {error}")))?;
        if line.pop() != Some(b'\n') {
            let what = if count as u64 == LINE { "has sent a line without end" } else { "was closed" };
            return Err(Fault(format!("Dovecot's socket {what}")));
        }
        let text = String::from_utf8(line).map_err(|_| strange("octets that are not UTF-8"))?;
        Ok(text.split('\t').map(unescape).collect())
    }
}

fn silent(limit: Duration) -> Fault {
    Fault(format!("Dovecot's socket is silent for {limit:?}"))
}

fn strange(what: &str) -> Fault {
    Fault(format!("Dovecot's socket answers what was not asked: {what}"))
}

/// Dovecot writes NUL, SOH, TAB, CR and LF of a field after an SOH.
fn unescape(field: &str) -> String {
    if !field.contains('\u{1}') {
        return field.to_owned();
    }
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\u{1}') {
            (_, true) => out.extend(chars.next().map(|code| match code {
                '0' => '\0',
                '1' => '\u{1}',
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                other => other,
            })),
            (c, false) => out.push(c),
        }
    }
    out
}

/// What Dovecot says in an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A challenge.
    Challenge(Vec<u8>),
    /// Proven to be this user.
    Done(String),
    /// Not proven.
    Refused,
}

/// Dovecot's socket for proofs.
#[derive(Debug)]
pub(super) struct Authentication {
    socket: PathBuf,
    /// What it offers, and when it said so.
    offered: Mutex<Option<(Vec<Mechanism>, Instant)>>,
}

impl Authentication {
    /// By its socket.
    pub fn new(socket: PathBuf) -> Authentication {
        Authentication { socket, offered: Mutex::new(None) }
    }

    /// What it offered when it was last asked; before that, and while it cannot be reached, PLAIN.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.as_ref().map_or_else(|| vec![Mechanism::Plain], |(mechanisms, _)| mechanisms.clone())
    }

    /// Asks anew what it offers, unless that was done a short time ago.
    pub async fn refresh(&self) {
        let known = self.offered.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, at)| *at);
        if known.is_none_or(|at| at.elapsed() > MECHANISMS)
            && let Err(fault) = self.greet().await
        {
            tracing::warn!("{fault}");
        }
    }

    async fn greet(&self) -> Result<Lines, Fault> {
        let mut lines = Lines::connect(&self.socket).await?;
        // Dovecot tells clients apart by this number; that of the process would be the same for all of ours.
        let number = u32::from_be_bytes(random::octets().map_err(|fault| Fault(fault.to_string()))?) >> 1;
        lines.write(&format!("VERSION\t1\t2\nCPID\t{}\n", number.max(2))).await?;
        let deadline = Instant::now() + GREETING;
        let mut mechanisms = Vec::new();
        for _ in 0..GREETING_LINES {
            let fields = lines.read(deadline, GREETING).await?;
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            match fields[..] {
                ["VERSION", "1", ..] => {}
                ["VERSION", ..] => return Err(strange("a protocol other than version 1")),
                ["MECH", name, ..] => mechanisms.extend(Mechanism::parse(name)),
                ["DONE", ..] => {
                    let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
                    *offered = Some((mechanisms, Instant::now()));
                    return Ok(lines);
                }
                _ => {}
            }
        }
        Err(strange("a greeting without end"))
    }

    /// Begins an exchange with the client's first message.
    pub async fn begin(
        &self,
        mechanism: Mechanism,
        initial: &[u8],
        origin: &Origin,
    ) -> Result<(Session, Answer), Fault> {
        let mut session = Session { lines: self.greet().await? };
        let secured = if origin.is_secure() { "\tsecured" } else { "" };
        let client = origin.address.map(|address| format!("\trip={address}")).unwrap_or_default();
        let response = BASE64.encode(initial);
        session.lines.write(&format!("AUTH\t1\t{mechanism}\tservice=smtp{secured}{client}\tresp={response}\n")).await?;
        let answer = session.read().await?;
        Ok((session, answer))
    }
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Session {
    lines: Lines,
}

impl Session {
    /// The client's answer to a challenge.
    pub async fn answer(&mut self, response: &[u8]) -> Result<Answer, Fault> {
        self.lines.write(&format!("CONT\t1\t{}\n", BASE64.encode(response))).await?;
        self.read().await
    }

    async fn read(&mut self) -> Result<Answer, Fault> {
        let fields = self.lines.read(Instant::now() + ANSWER, ANSWER).await?;
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        match fields[..] {
            ["CONT", "1", challenge] => {
                let octets = BASE64.decode(challenge).map_err(|_| strange("a challenge that is not base64"))?;
                Ok(Answer::Challenge(octets))
            }
            // The password is right and the user may not log in all the same.
            ["OK", "1", ref more @ ..]
                if more.iter().any(|field| *field == "nologin" || field.starts_with("nologin=")) =>
            {
                Ok(Answer::Refused)
            }
            ["OK", "1", ref more @ ..] => {
                let user = more.iter().find_map(|field| field.strip_prefix("user="));
                user.map(|user| Answer::Done(user.to_owned())).ok_or_else(|| strange("a success without a user"))
            }
            ["FAIL", "1", ref more @ ..] if more.contains(&"temp") => {
                Err(Fault("Dovecot cannot judge now; see its log".to_owned()))
            }
            ["FAIL", "1", ..] => Ok(Answer::Refused),
            _ => Err(strange("neither CONT, OK nor FAIL with our number")),
        }
    }
}

/// Dovecot's socket for users.
#[derive(Debug)]
pub struct Users {
    socket: PathBuf,
    known: Mutex<HashMap<String, (bool, Instant)>>,
    questions: Semaphore,
}

impl Users {
    /// By its socket.
    pub fn new(socket: PathBuf) -> Users {
        Users { socket, known: Mutex::new(HashMap::new()), questions: Semaphore::new(QUESTIONS) }
    }

    /// Whether there is a user of this name.
    pub async fn exists(&self, mailbox: &Mailbox) -> Result<bool, Fault> {
        let key = mailbox.key();
        let now = Instant::now();
        if let Some((exists, until)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && *until > now
        {
            return Ok(*exists);
        }
        let exists = self.ask(mailbox).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= USERS {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() < USERS {
            known.insert(key, (exists, now + if exists { REMEMBERED.0 } else { REMEMBERED.1 }));
        }
        Ok(exists)
    }

    async fn ask(&self, mailbox: &Mailbox) -> Result<bool, Fault> {
        let busy = || Fault("too many questions for users wait for Dovecot".to_owned());
        let permit = timeout(LOOK_UP, self.questions.acquire()).await.map_err(|_| busy())?;
        let _permit = permit.map_err(|_| busy())?;
        let mut lines = Lines::connect(&self.socket).await?;
        // A mailbox has no control characters, so nothing in it needs Dovecot's escapes.
        let name = format!("{}@{}", mailbox.local(), mailbox.domain());
        lines.write(&format!("VERSION\t1\t0\nUSER\t1\t{name}\tservice=lmtp\n")).await?;
        let deadline = Instant::now() + LOOK_UP;
        for _ in 0..GREETING_LINES {
            let fields = lines.read(deadline, LOOK_UP).await?;
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            match fields[..] {
                ["USER", "1", ..] => return Ok(true),
                ["NOTFOUND", "1", ..] => return Ok(false),
                ["FAIL", "1", ..] => return Err(Fault("Dovecot cannot look up users now; see its log".to_owned())),
                ["VERSION", "1", ..] | ["SPID", ..] => {}
                ["VERSION", ..] => return Err(strange("a protocol other than version 1")),
                _ => return Err(strange("neither USER nor NOTFOUND with our number")),
            }
        }
        Err(strange("a greeting without end"))
    }
}
