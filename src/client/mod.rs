//! A person's client as a library: an account, what is sent, what comes, and what is kept of both.
//!
//! ```no_run
//! # async fn f() -> Result<(), impart::client::ClientError> {
//! use impart::client::{Account, Client, Incoming, Message};
//! let client = Client::connect(Account::configured(None)?).await?;
//! let mut listener = client.listen()?;
//! client.send(Message::to("bob@b.test".parse().unwrap(), "hello")).await?;
//! while let Some(Incoming::Message(message)) = listener.next().await {
//!     println!("{}: {}", message.from, message.text);
//! }
//! # Ok(()) }
//! ```
//!
//! In: [`Account`], [`Message`]. Out: [`Sent`], [`Incoming`]. Invariants: what was told as sent or received is in the
//! history first; a message is sent under one Message-ID however often it is tried; nothing that others wrote reaches a
//! terminal before [`clean`]. Fails with [`ClientError`], which says what to do.
//!
//! | part | |
//! | --- | --- |
//! | [`compose`], [`read`], [`clean`] | entities and texts; pure |
//! | [`keys`], `protector`, [`mark`] | keys and certificates; signing, encrypting, and what is found of signatures |
//! | [`history`] | what was exchanged, and the outbox |
//! | [`presence`] | how people are, and who sees it |
//! | `enrol` | certificates: asked for, renewed, revoked; those of others |
//! | `link`, `submit`, `attach`, [`listener`] | connections: found, for sending, for receiving, for good |
//! | [`cli`], [`chat`] | the command `impart` |

pub mod account;
mod attach;
pub mod chat;
pub mod clean;
pub mod cli;
pub mod compose;
mod enrol;
mod error;
mod formats;
pub mod history;
pub mod keys;
mod link;
pub mod listener;
pub mod mark;
pub mod presence;
mod protector;
pub mod read;
mod submit;
pub mod terminal;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::address::Mailbox;
use crate::dns::Resolve;
use crate::random;
use crate::smtp::extension::Services;
pub use account::{Account, Password, Server};
pub use enrol::Enrolled;
pub use error::ClientError;
pub use history::{Fate, History, State};
pub use listener::{Incoming, Link, Listener};
pub use read::Received;

use account::Logins;
use compose::Draft;
use history::{HistoryError, Record};
use protector::Protector;
use submit::{Submission, now};

/// How often, and how long each time, another process that empties the outbox is waited for.
const PATIENCE: u32 = 20;
const MOMENT: std::time::Duration = std::time::Duration::from_millis(250);
/// How long a message waits in the outbox: the server would no longer know a second copy of an older one.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);
/// Messages over which the server loses its connection, before the rest is left for another time.
const STUMBLES: u32 = 2;

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The recipients; at least one.
    pub to: Vec<Mailbox>,
    /// The text.
    pub text: String,
    /// Files to go with it.
    pub attachments: Vec<PathBuf>,
    /// What the first of them is in words, the second, and so on.
    pub descriptions: Vec<String>,
    /// The Message-ID of the message that it answers.
    pub reply_to: Option<String>,
    /// Whether a receipt of delivery is asked for. Failures are always told.
    pub receipt: bool,
    /// Whether a displayed notice is asked for.
    pub displayed: bool,
    /// Whether a program wrote it: then no other program answers (RFC 3834 §2).
    pub automatic: bool,
    /// Whether it is signed and encrypted.
    pub protect: Protect,
}

/// How a message is to be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protect {
    /// As is said; what cannot be done is an error.
    Asked {
        /// Signed.
        sign: bool,
        /// Encrypted.
        encrypt: bool,
    },
    /// Signed where there is a key, encrypted where there is a certificate of every recipient too.
    Possible,
}

impl Default for Protect {
    fn default() -> Self {
        Protect::Asked { sign: false, encrypt: false }
    }
}

impl Message {
    /// A text for somebody.
    pub fn to(to: Mailbox, text: impl Into<String>) -> Message {
        Message { to: vec![to], text: text.into(), ..Message::default() }
    }

    /// An answer to a message, to its author or where the author wants it (RFC 5322 §3.6.2).
    pub fn answer(message: &Received, text: impl Into<String>) -> Message {
        let to = match &message.reply_to[..] {
            [] => vec![message.from.clone()],
            elsewhere => elsewhere.to_vec(),
        };
        Message { to, text: text.into(), reply_to: Some(message.id.clone()), ..Message::default() }
    }
}

/// What has become of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its Message-ID.
    pub id: String,
    /// What the server said for each recipient; those that [`State::Waiting`] are tried again with the next connection.
    pub fates: Vec<Fate>,
    /// Why it waits, where there is no connection.
    pub waits: Option<String>,
}

/// What the parts of a client share.
pub(crate) struct Shared {
    account: Arc<Account>,
    credentials: Arc<Logins>,
    history: Arc<Mutex<History>>,
    submission: tokio::sync::Mutex<Submission>,
    protector: Arc<Protector>,
    /// Who is asked what domains publish of certificates; nobody, where the system names no server.
    resolver: Option<Arc<dyn Resolve>>,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Opens the account's history and logs in; what waits in the outbox is sent.
    pub async fn connect(account: Account) -> Result<Client, ClientError> {
        let client = Client::open(account).await?;
        client.shared.submission.lock().await.connect().await?;
        client.flush().await?;
        Ok(client)
    }

    /// Opens the account's history without a connection; the password is asked for now, if it must be.
    pub async fn open(account: Account) -> Result<Client, ClientError> {
        let history = History::open(&account.directory()?)?;
        Client::with(account, history).await
    }

    /// With a history of the caller's.
    pub async fn with(account: Account, history: History) -> Result<Client, ClientError> {
        let first = account.credentials().await?;
        let protector = Arc::new(Protector::new(&account, history.directory()));
        let resolver = account.resolver().ok();
        let account = Arc::new(account);
        let credentials = Arc::new(Logins::new(Arc::clone(&account), first));
        let submission = tokio::sync::Mutex::new(Submission::new(Arc::clone(&account), Arc::clone(&credentials)));
        let history = Arc::new(Mutex::new(history));
        Ok(Client { shared: Arc::new(Shared { account, credentials, history, submission, protector, resolver }) })
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// The history; not to be held while waiting for anything.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.shared.history()
    }

    /// Logs in, unless that is done; to see whether it works.
    pub async fn check(&self) -> Result<(), ClientError> {
        self.shared.submission.lock().await.connect().await.map(drop)
    }

    /// Sends a message. It is in the outbox before anything else is done; without a connection it waits there, which
    /// [`Sent::waits`] tells. An error is one after which the message was not taken.
    pub async fn send(&self, message: Message) -> Result<Sent, ClientError> {
        self.look_up(&message.to, message.protect).await?;
        let id = self.queue(message)?;
        let waits = self.flush().await.err().map(|error| error.to_string());
        Ok(self.sent(id, waits))
    }

    /// Writes a message into the outbox, for [`Client::flush`] to send; its Message-ID.
    pub fn queue(&self, message: Message) -> Result<String, ClientError> {
        let protect = message.protect;
        let mut draft = self.draft(message)?;
        self.seal(&mut draft, protect)?;
        let id = draft.id.clone();
        self.history().add(vec![Record::Written(draft)])?;
        Ok(id)
    }

    /// Sends what waits in the outbox; what the server said, as far as it is new. Another process that is at it is waited
    /// for, for a moment: it sends this process's messages too.
    pub async fn flush(&self) -> Result<Vec<Incoming>, ClientError> {
        for _ in 0..PATIENCE {
            match self.shared.flush().await {
                Err(ClientError::History(HistoryError::Busy { .. })) => tokio::time::sleep(MOMENT).await,
                flushed => return Ok(flushed?.into_iter().filter_map(attach::incoming).collect()),
            }
        }
        self.history().refresh()?;
        Ok(Vec::new())
    }

    /// What is known of a message of ours.
    pub fn sent(&self, id: String, waits: Option<String>) -> Sent {
        let history = self.history();
        let fates = match history.index().own(&id) {
            Some(history::Message::Out { fates, .. }) => fates.clone(),
            _ => Vec::new(),
        };
        Sent { id, fates, waits }
    }

    /// Signs and encrypts what is asked for, now: what is sent later is what was written.
    fn seal(&self, draft: &mut Draft, protect: Protect) -> Result<(), ClientError> {
        if protect == Protect::default() {
            return Ok(());
        }
        let contents = self.history().contents(draft)?;
        let sealed = self.shared.protector.seal(&draft.entity(&contents, false), &draft.to, protect, draft.date)?;
        if let Some(sealed) = sealed {
            draft.sealed = Some(self.history().seal(&sealed.entity)?);
            (draft.signed, draft.encrypted) = (sealed.signed, sealed.encrypted);
        }
        Ok(())
    }

    fn draft(&self, message: Message) -> Result<Draft, ClientError> {
        if message.to.is_empty() {
            return Err(ClientError::Message("a message needs a recipient".to_owned()));
        }
        let mut to: Vec<Mailbox> = Vec::new();
        for recipient in message.to {
            if !to.iter().any(|known| known.key() == recipient.key()) {
                to.push(recipient);
            }
        }
        let mut history = self.history();
        let words = message.descriptions.iter().map(String::as_str).chain(std::iter::repeat(""));
        let enclosed = message.attachments.iter().zip(words).map(|(path, words)| history.enclose(path, words));
        let attachments = enclosed.collect::<Result<_, _>>()?;
        let before = message.reply_to.as_deref().map(|id| history.find(id)).transpose()?.flatten();
        let references = before.map(|before| before.thread()).unwrap_or_default();
        let from = self.account().address.clone();
        Ok(Draft {
            id: compose::message_id(&from)?,
            envid: random::token()?,
            date: now(),
            from,
            to,
            text: message.text,
            attachments,
            in_reply_to: message.reply_to,
            references,
            receipt: message.receipt,
            displayed: message.displayed,
            automatic: message.automatic,
            sealed: None,
            signed: false,
            encrypted: false,
        })
    }

    /// A message that was taken over could not be dealt with: the next listener tells it again.
    pub fn untake(&self, message: &Received) -> Result<(), ClientError> {
        let record = Record::Untaken { from: message.from.clone(), id: message.id.clone() };
        self.history().add(vec![record])?;
        Ok(())
    }

    /// Receives, as the one process that does for this account. While it does, the person is in contact: OPEN for others,
    /// unless the person says otherwise.
    pub fn listen(&self) -> Result<Listener, ClientError> {
        self.receive(Services { im: true, pres: true })
    }

    /// Receives for a moment, which makes nobody OPEN.
    pub fn look(&self) -> Result<Listener, ClientError> {
        self.receive(Services { im: true, pres: false })
    }

    fn receive(&self, services: Services) -> Result<Listener, ClientError> {
        let hold = self.history().receive()?;
        Ok(Listener::start(Arc::clone(&self.shared), hold, services))
    }

    /// Lets somebody know that one types, or has stopped. It is not kept, and not told if it fails.
    pub async fn typing(&self, to: &Mailbox, active: bool) -> Result<(), ClientError> {
        let from = self.account().address.clone();
        let (envelope, entity) = compose::typing(&from, to, active, compose::TYPING_REFRESH, now())?;
        let mut submission = self.shared.submission.lock().await;
        submission.send(|_| (envelope.clone(), entity.clone()), &[0]).await.map(drop)
    }

    /// Lets the author know that a message was displayed, once; `asked`: the reader said so for this message.
    pub async fn displayed(&self, message: &Received, asked: bool) -> Result<(), ClientError> {
        if !message.wants_displayed || self.history().index().has_told(&message.from, &message.id) {
            return Ok(());
        }
        let from = self.account().address.clone();
        let (envelope, entity) = compose::displayed(&from, &message.from, &message.id, asked, now())?;
        let entity = self.shared.protector.sign_notice(entity, now());
        // Written first: a notice too few is better than one too many.
        let told = Record::Told { to: message.from.clone(), id: message.id.clone() };
        self.history().add(vec![told])?;
        let mut submission = self.shared.submission.lock().await;
        submission.send(|_| (envelope.clone(), entity.clone()), &[0]).await.map(drop)
    }

    /// The person has seen a conversation up to now.
    pub fn read(&self, with: &Mailbox) -> Result<(), ClientError> {
        let record = Record::Read { with: with.clone(), at: now() };
        self.history().add(vec![record])?;
        Ok(())
    }

    /// Ends the connection for submission as the protocol wants it.
    pub async fn close(&self) {
        self.shared.submission.lock().await.close().await;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        // A panic while it was held left whole records behind, as a crash would have.
        self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends what waits; the records that were new. Another process that is at it is [`HistoryError::Busy`].
    async fn flush(&self) -> Result<Vec<Record>, ClientError> {
        let mut submission = self.submission.lock().await;
        let (_hold, waiting) = {
            let mut history = self.history();
            let hold = history.outbox()?;
            history.refresh()?;
            let wait = |fates: &[Fate]| {
                let waiting = fates.iter().enumerate().filter(|(_, fate)| fate.state == State::Waiting);
                waiting.map(|(index, _)| index).collect::<Vec<_>>()
            };
            let waiting: Vec<_> = history.index().outbox().map(|(draft, fates)| (draft.clone(), wait(fates))).collect();
            (hold, waiting)
        };
        let (mut new, mut fault, mut failures) = (Vec::new(), None, 0);
        for (draft, recipients) in waiting {
            if now().since(draft.date) > LONGEST_WAIT {
                new.extend(self.give_up(&draft, &recipients, "it waited too long for a connection")?);
                continue;
            }
            // Not in the match: the history would stay locked in its arms.
            let contents = {
                let history = self.history();
                history.sealed(&draft).and_then(|sealed| Ok((sealed, history.contents(&draft)?)))
            };
            let (sealed, contents) = match contents {
                Ok(contents) => contents,
                Err(error) => {
                    new.extend(self.give_up(&draft, &recipients, &error.to_string())?);
                    continue;
                }
            };
            let compose = |eight_bit| match &sealed {
                Some(entity) => (draft.envelope(false), entity.clone()),
                None => (draft.envelope(eight_bit), draft.entity(&contents, eight_bit)),
            };
            match submission.send(compose, &recipients).await {
                Ok(fates) => new.extend(self.history().add(submit::records(&draft, &fates, now()))?),
                // A message over which the server stumbles does not hold up the others.
                Err(error @ ClientError::Session { .. }) if failures < STUMBLES => {
                    failures += 1;
                    fault.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        fault.map_or(Ok(new), Err)
    }

    /// The message will never be sent as it was written.
    fn give_up(&self, draft: &Draft, recipients: &[usize], reason: &str) -> Result<Vec<Record>, HistoryError> {
        let failed = |index: &usize| Record::State {
            id: draft.id.clone(),
            to: draft.to[*index].clone(),
            state: State::Failed,
            at: now(),
            reason: Some(reason.to_owned()),
        };
        self.history().add(recipients.iter().map(failed).collect())
    }
}
