//! Submits messages as a mail program does, by the product's own client session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::DemoError;
use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::random;
use crate::smtp::client::{Event, Fate, Fault, Options, Protection, Session, StartTls, Timeouts, Transaction};
use crate::timestamp::Timestamp;

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    from: String,
    to: String,
    text: String,
    receipt: bool,
}

impl Letter {
    /// A line of text.
    pub fn new(from: &str, to: &str, text: &str) -> Self {
        Letter { from: from.to_owned(), to: to.to_owned(), text: text.to_owned(), receipt: false }
    }

    /// With NOTIFY=SUCCESS.
    pub fn with_receipt(mut self) -> Self {
        self.receipt = true;
        self
    }

    fn mailbox(text: &str) -> Result<Mailbox, DemoError> {
        Mailbox::parse(text).map_err(|fault| DemoError::Refused(format!("{text}: {fault}")))
    }

    fn envelope(&self) -> Result<Envelope, DemoError> {
        let notify = self.receipt.then_some(Notify { success: true, failure: true, delay: false });
        Ok(Envelope {
            class: Class::Im,
            sender: ReversePath::Mailbox(Self::mailbox(&self.from)?),
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: vec![Recipient { address: Self::mailbox(&self.to)?, notify, original: None }],
        })
    }

    fn entity(&self, message_id: &str) -> Bytes {
        let Letter { from, to, text, .. } = self;
        Bytes::from(format!("From: {from}\r\nTo: {to}\r\nMessage-ID: {message_id}\r\n\r\n{text}.\r\n"))
    }
}

fn message_id() -> String {
    // In a demonstration a predictable identifier harms nobody.
    let token = random::token().unwrap_or_default();
    format!("<{token}@a.test>")
}

/// Sends one message; returns its Message-ID.
pub async fn send(server: SocketAddr, letter: &Letter) -> Result<String, DemoError> {
    let id = message_id();
    deliver(server, letter, vec![letter.entity(&id)]).await?;
    Ok(id)
}

/// Sends `count` messages over one connection.
pub async fn send_many(server: SocketAddr, letter: &Letter, count: usize) -> Result<(), DemoError> {
    let entities = (0..count).map(|_| letter.entity(&message_id())).collect();
    deliver(server, letter, entities).await
}

async fn deliver(server: SocketAddr, letter: &Letter, entities: Vec<Bytes>) -> Result<(), DemoError> {
    let broken = |fault| DemoError::System(format!("the connection to {server}"), fault);
    let mut stream = TcpStream::connect(server).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let helo = Domain::parse("localhost").map_err(|fault| DemoError::Refused(fault.to_string()))?;
    let options = Options {
        helo,
        starttls: StartTls::Never,
        helo_fallback: false,
        lmtp: false,
        window: 256,
        timeouts: Timeouts::default(),
        login: None,
    };
    let mut session = Session::new(Arc::new(options), Protection::Clear, Instant::now());
    let envelope = Arc::new(letter.envelope()?);
    let mut left = entities.len();
    let mut entities = entities.into_iter().enumerate();
    let mut input = BytesMut::new();
    let mut ready = false;
    loop {
        while ready && session.wants() {
            let Some((token, entity)) = entities.next() else { break };
            let transaction =
                Transaction { token: token as u64, envelope: envelope.clone(), recipients: vec![0], entity };
            session.submit(transaction, Timestamp::from(std::time::SystemTime::now()), Instant::now());
        }
        let output = session.output(Instant::now()).to_vec();
        if !output.is_empty() {
            stream.write_all(&output).await.map_err(broken)?;
            session.wrote(output.len(), Instant::now());
        }
        while let Some(event) = session.poll() {
            match event {
                Event::Ready => ready = true,
                Event::Done { fates, .. } => {
                    accepted(&fates)?;
                    left -= 1;
                }
                Event::Over(fault) => return over(left, fault),
                Event::StartTls | Event::Turned => {}
            }
        }
        if left == 0 {
            session.quit(Instant::now());
        }
        if ready && left > 0 && session.wants() && entities.len() > 0 {
            continue;
        }
        let output = session.output(Instant::now()).to_vec();
        if !output.is_empty() {
            stream.write_all(&output).await.map_err(broken)?;
            session.wrote(output.len(), Instant::now());
        }
        if stream.read_buf(&mut input).await.map_err(broken)? == 0 {
            return over(left, None);
        }
        session.input(&mut input, Instant::now());
    }
}

fn accepted(fates: &[(usize, Fate)]) -> Result<(), DemoError> {
    match fates.iter().find(|(_, fate)| !matches!(fate, Fate::Accepted { .. })) {
        None => Ok(()),
        Some((_, fate)) => Err(DemoError::Refused(format!("the message was refused: {fate:?}"))),
    }
}

fn over(left: usize, fault: Option<Fault>) -> Result<(), DemoError> {
    match fault {
        None if left == 0 => Ok(()),
        fault => Err(DemoError::Refused(format!("the server ended the session: {fault:?}"))),
    }
}
