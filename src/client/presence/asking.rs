//! A connection on which the server answers questions about presence: attached for presence alone, without a device's name.
//!
//! In: an account. Out: [`News`], one for each notice, each answered when it was read. Invariants: no message is taken by it,
//! so nobody is taken to be in contact because of it; it ends with the question.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::read::{self, Told};
use crate::client::account::Account;
use crate::client::attach::options;
use crate::client::error::ClientError;
use crate::client::link;
use crate::client::protector::Protector;
use crate::client::submit::now;
use crate::net::Stream;
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::Credentials;
use crate::smtp::extension::Services;
use crate::smtp::server::{Event, Session};
use crate::smtp::turn::Atrn;

/// What is read at once.
const READ: usize = 16 * 1024;
/// How long the server may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// The connection.
#[derive(Debug)]
pub struct Answers {
    account: Arc<Account>,
    protector: Arc<Protector>,
    stream: Stream,
    session: Session,
    input: BytesMut,
    /// The server has read what this device takes: what is asked from now on is answered here.
    ready: bool,
    told: Vec<Told>,
}

impl Answers {
    /// Attaches.
    pub(super) async fn open(
        account: &Arc<Account>,
        credentials: &Credentials,
        protector: &Arc<Protector>,
    ) -> Result<Answers, ClientError> {
        let atrn = Atrn { inboxes: Vec::new(), domains: Vec::new(), device: None };
        let stream = link::open(account, credentials, Some(atrn)).await?.stream;
        let session = Session::new(Arc::new(options(account, Services { im: false, pres: true })), true);
        let (account, protector, input) = (Arc::clone(account), Arc::clone(protector), BytesMut::new());
        let mut answers = Answers { account, protector, stream, session, input, ready: false, told: Vec::new() };
        let until = Instant::now() + PATIENCE;
        while !answers.ready {
            if !answers.step(until).await? {
                return Err(answers.fault("it does not begin to deliver"));
            }
        }
        Ok(answers)
    }

    fn fault(&self, reason: &str) -> ClientError {
        ClientError::Session { account: self.account.address.clone(), reason: reason.to_owned() }
    }

    /// The next notice; `None` when none came until then.
    pub async fn next(&mut self, until: Instant) -> Result<Option<Told>, ClientError> {
        loop {
            if !self.told.is_empty() {
                return Ok(Some(self.told.remove(0)));
            }
            if !self.step(until).await? {
                return Ok(None);
            }
        }
    }

    /// Does what has come, or waits for more; `false` when nothing came until then.
    async fn step(&mut self, until: Instant) -> Result<bool, ClientError> {
        let (mut over, greeted) = (false, self.ready);
        while let Some(event) = self.session.poll() {
            over |= self.take(event);
        }
        let output = self.session.output().split();
        if !output.is_empty() {
            let written = async {
                self.stream.write_all(&output).await?;
                self.stream.flush().await
            };
            written.await.map_err(|error: std::io::Error| self.fault(&error.to_string()))?;
        }
        if over {
            return Err(self.fault("it ended the session"));
        }
        if !self.told.is_empty() || self.ready != greeted {
            return Ok(true);
        }
        self.input.reserve(READ);
        match timeout_at(until, self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(0)) => Err(self.fault("it closed the connection")),
            Ok(Ok(_)) => {
                self.session.input(&mut self.input);
                Ok(true)
            }
            Ok(Err(error)) => Err(self.fault(&error.to_string())),
            Err(_) => Ok(false),
        }
    }

    /// True when the session is over.
    fn take(&mut self, event: Event) -> bool {
        let ok = |detail| Reply::new(250, EnhancedCode::new(2, 1, detail), "accepted");
        match event {
            Event::Hello { .. } => self.ready = true,
            Event::Mail(_) => self.session.answer(ok(0)),
            Event::Rcpt(_) => self.session.answer(ok(5)),
            Event::Entity(transaction) => {
                let at = now();
                let open = |entity: &[u8], lasting| self.protector.open_presence(entity, lasting, at);
                self.told.extend(read::read(&transaction.entity, at, &open));
                self.session.complete(transaction.ticket, Reply::new(250, EnhancedCode::new(2, 0, 0), "shown"));
            }
            Event::Close | Event::Turn => return true,
            _ => {}
        }
        false
    }
}
