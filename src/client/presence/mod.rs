//! Presence, for a person: say how one is, see how others are, decide who sees what.
//!
//! In: what the person wants. Out: entities of class PRES to its own server, which speaks with other domains; answers, in
//! words. Invariants: what was accepted is on the server's stable storage; a question ends, with an answer or with what to
//! do. RFC 3859 §2, in the entities of our own protocol.
//!
//! | part | |
//! | --- | --- |
//! | [`compose`], [`read`] | entities; pure |
//! | [`view`], [`roster`] | what is known, in words and lists; pure |
//! | `asking` | the connection on which answers come |

mod asking;
pub mod compose;
pub mod read;
pub mod roster;
pub mod view;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::error::ClientError;
use super::submit::now;
use super::{Client, Shared};
use crate::address::{Device, Mailbox};
use crate::envelope::Envelope;
use crate::mime::presence::{Directive, Event, SubscriptionId};
use crate::random;
use crate::reply::EnhancedCode;
use crate::rules::edit::{self, Edited, Who};
use crate::rules::{Handling, RulesError};
use crate::smime::Certificate;
use crate::smtp::client::Fate;
pub use asking::Answers;
pub use compose::Status;
pub use read::Told;
pub use roster::{Change, News, Roster};
pub use view::{Shown, Standing, View, Watcher};

/// How long an answer of one's own server may take.
const OWN: Duration = Duration::from_secs(20);
/// How long an answer of another domain is waited for; it comes later too, to whoever is attached then.
pub const ELSEWHERE: Duration = Duration::from_secs(15);
/// After so long an end is one.
const SETTLED: Duration = Duration::from_secs(2);
/// How often rules are read and changed again that another client changes at the same time.
const ATTEMPTS: usize = 20;
/// Ten years.
const AT_LENGTH: Duration = Duration::from_secs(10 * 365 * 86_400);

fn id() -> Result<SubscriptionId, ClientError> {
    Ok(SubscriptionId::new(random::octets()?))
}

/// What to do with somebody's requests and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Show all, and take messages.
    Allow,
    /// Requests wait for the person's word.
    Confirm,
    /// Show nothing, take nothing.
    Block,
    /// Show that one is closed, whatever is so.
    PoliteBlock,
}

impl Client {
    /// Says how the person is, for so long, or until something else is said.
    pub async fn say_status(&self, status: &Status, time: Option<Duration>) -> Result<(), ClientError> {
        let me = &self.account().address;
        let body = compose::document(me, status, now()).map_err(|error| ClientError::Message(error.to_string()))?;
        let id = compose::STATUS.parse::<Device>().ok();
        let expires = match time {
            _ if status.is_empty() => Some(0),
            // What has no end follows the devices; that one is open without them has one, if far away.
            None if status.open == Some(true) => compose::seconds(Some(AT_LENGTH)),
            time => compose::seconds(time),
        };
        let publish = Directive::Publish { id, expires, event: Event::Presence };
        let body = Some((compose::PIDF, &*body)).filter(|_| !status.is_empty());
        self.shared.tell(me, &publish, body).await
    }

    /// Asks to see somebody's presence from now on, encrypted to the account's key if that is wanted, and waits a while for the
    /// answer.
    pub async fn watch(&self, who: &Mailbox, encrypt: bool) -> Result<View, ClientError> {
        let reader = self.shared.reader(encrypt)?;
        let mut answers = self.shared.answers().await?;
        self.shared.ask_to_watch(who, reader.as_ref()).await?;
        let asked = Instant::now();
        let (standing, signature) = (Standing::Unknown, super::mark::Mark::default());
        let mut last = View { who: who.clone(), standing, reason: None, seq: 0, shown: None, signature };
        // The end of an earlier request is told first; where it is all that is told it is the answer.
        let mut until = asked + ELSEWHERE;
        while let Some(told) = answers.next(until).await? {
            let News::View(view) = told.news else { continue };
            if view.who.key() != who.key() {
                continue;
            }
            last = *view;
            match last.standing {
                Standing::Unknown => until = asked + ELSEWHERE,
                Standing::Terminated => until = until.min(Instant::now() + SETTLED),
                // What was known before is not yet what was asked for.
                Standing::Active if encrypt && !last.signature.encrypted => {}
                Standing::Pending | Standing::Active => break,
            }
        }
        Ok(last)
    }

    /// Asks so; the answer comes to whoever listens.
    pub async fn ask_to_watch(&self, who: &Mailbox) -> Result<(), ClientError> {
        let reader = self.shared.reader(self.account().encrypt_presence)?;
        self.shared.ask_to_watch(who, reader.as_ref()).await
    }

    /// Sees somebody's presence no more; `false` where it was not watched.
    pub async fn unwatch(&self, who: &Mailbox) -> Result<bool, ClientError> {
        let known = self.contacts().await?.into_iter().any(|view| view.who.key() == who.key());
        if known {
            self.shared.tell(who, &Directive::Cancel { id: id()? }, None).await?;
        }
        Ok(known)
    }

    /// A connection on which presence is told from now on, without the person's being in contact because of it.
    pub async fn observe(&self) -> Result<Answers, ClientError> {
        self.shared.answers().await
    }

    /// Looks once; what is told is encrypted to the account's key, if that is wanted.
    pub async fn fetch(&self, who: &Mailbox, encrypt: bool) -> Result<View, ClientError> {
        let reader = self.shared.reader(encrypt)?;
        let fits = |told: &Told| matches!(&told.news, News::View(view) if view.who.key() == who.key());
        match self.shared.ask_for(who, Event::Presence, reader.as_ref(), ELSEWHERE, fits).await? {
            News::View(view) => Ok(*view),
            _ => Err(self.shared.silent(who)),
        }
    }

    /// All that the person watches.
    pub async fn contacts(&self) -> Result<Vec<View>, ClientError> {
        match self.shared.ask_own(Event::Contacts, |told| matches!(told.news, News::Contacts(_))).await? {
            News::Contacts(views) => Ok(views),
            _ => Ok(Vec::new()),
        }
    }

    /// Those who watch the person, or ask to.
    pub async fn watchers(&self) -> Result<Vec<Watcher>, ClientError> {
        match self
            .shared
            .ask_own(Event::Watchers, |told| matches!(told.news, News::Watchers { full: true, .. }))
            .await?
        {
            News::Watchers { list, .. } => Ok(list),
            _ => Ok(Vec::new()),
        }
    }

    /// The person's rules as they are stored, and their version.
    pub async fn policy(&self) -> Result<(Option<String>, u64), ClientError> {
        match self.shared.ask_own(Event::Policy, |told| matches!(told.news, News::Policy { .. })).await? {
            News::Policy { text, version } => Ok((text, version)),
            _ => Ok((None, 0)),
        }
    }

    /// Puts other rules in the place of those of this version; `false` where there are others by now.
    pub async fn set_policy(&self, text: &str, version: u64) -> Result<bool, ClientError> {
        let policy = Directive::Policy { for_: Event::Presence, seq: Some(version) };
        match self.shared.tell(&self.account().address, &policy, Some((compose::POLICY, text))).await {
            Ok(()) => Ok(true),
            Err(ClientError::Refused { reply, .. }) if reply.status() == EnhancedCode::new(4, 5, 0) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Decides about somebody; what is to be known of it. What another client changes meanwhile stays.
    pub async fn treat(&self, who: &Who, how: Treatment) -> Result<Vec<String>, ClientError> {
        for _ in 0..ATTEMPTS {
            if let Some(remarks) = self.try_to_treat(who, how).await? {
                return Ok(remarks);
            }
        }
        Err(ClientError::Rules("other clients change them all the time; try again".to_owned()))
    }

    /// `None`: the rules have changed since they were read.
    async fn try_to_treat(&self, who: &Who, how: Treatment) -> Result<Option<Vec<String>>, ClientError> {
        let (old, version) = self.policy().await?;
        let edited = match how {
            Treatment::Allow => welcome(old.as_deref(), who),
            Treatment::Confirm => edit::let_watch(old.as_deref(), who, Handling::Confirm),
            Treatment::PoliteBlock => edit::let_watch(old.as_deref(), who, Handling::PoliteBlock),
            Treatment::Block => edit::block(old.as_deref(), who),
        };
        let Edited { text, remarks } = edited.map_err(|error| ClientError::Rules(error.to_string()))?;
        match text {
            Some(text) if Some(&text) != old.as_ref() => Ok(self.set_policy(&text, version).await?.then_some(remarks)),
            _ => Ok(Some(remarks)),
        }
    }
}

/// Messages are taken, and everything is shown.
fn welcome(document: Option<&str>, who: &Who) -> Result<Edited, RulesError> {
    // Without any rules messages are taken from everybody.
    let text = match document {
        Some(text) => edit::allow(Some(text), who)?.text,
        None => None,
    };
    edit::let_watch(text.as_deref(), who, Handling::Allow)
}

impl Shared {
    pub(super) async fn answers(&self) -> Result<Answers, ClientError> {
        Answers::open(&self.account, &self.credentials.next().await?, &self.protector).await
    }

    async fn ask_to_watch(&self, who: &Mailbox, reader: Option<&Certificate>) -> Result<(), ClientError> {
        let ask = Directive::Subscribe { id: id()?, expires: None, event: Event::Presence };
        let body = reader.map(|reader| (compose::CERTIFICATE, reader.der()));
        self.tell_octets(who, &ask, body).await
    }

    /// The newest certificate of the account's keys that can be encrypted to, if one is wanted.
    fn reader(&self, wanted: bool) -> Result<Option<Certificate>, ClientError> {
        if !wanted {
            return Ok(None);
        }
        let chains = self.protector.keys().own()?.into_iter().filter_map(|own| own.chain.into_iter().next());
        let newest = chains.filter(Certificate::may_encrypt).max_by_key(Certificate::not_before);
        newest.map(Some).ok_or_else(|| ClientError::NoReader { account: self.account.address.clone() })
    }

    pub(super) fn silent(&self, who: &Mailbox) -> ClientError {
        ClientError::Silent { account: self.account.address.clone(), who: who.clone() }
    }

    /// Submits an entity of class PRES; an answer, where there is one, comes to whoever is attached.
    async fn tell(
        &self,
        to: &Mailbox,
        directive: &Directive,
        body: Option<(&'static str, &str)>,
    ) -> Result<(), ClientError> {
        let at = now();
        let entity = compose::entity(&self.account.address, to, directive, body, at)?;
        // What the person says of itself goes on to those who see all of it.
        let publishes = matches!(directive, Directive::Publish { .. });
        let signed = publishes.then(|| self.protector.signed(&entity.of(false).1, at)).flatten();
        let of = |eight_bit| match &signed {
            Some(octets) => (entity.of(false).0, octets.clone()),
            None => entity.of(eight_bit),
        };
        self.submit(to, of).await
    }

    /// As [`Shared::tell`], with a body that is no text.
    pub(super) async fn tell_octets(
        &self,
        to: &Mailbox,
        directive: &Directive,
        body: Option<(&'static str, &[u8])>,
    ) -> Result<(), ClientError> {
        let entity = compose::entity_of_octets(&self.account.address, to, directive, body, now())?;
        self.submit(to, |eight_bit| entity.of(eight_bit)).await
    }

    async fn submit(&self, to: &Mailbox, of: impl Fn(bool) -> (Envelope, Bytes)) -> Result<(), ClientError> {
        let fates = self.submission.lock().await.send(of, &[0]).await?;
        match fates.into_iter().next().map(|(_, fate)| fate) {
            Some(Fate::Accepted { .. }) => Ok(()),
            Some(Fate::Refused { reply }) => Err(ClientError::Refused { to: to.clone(), reply }),
            Some(Fate::Unfit { reason, .. }) => {
                Err(ClientError::NoPresence { account: self.account.address.clone(), reason })
            }
            Some(Fate::Lost { .. }) | None => Err(ClientError::Session {
                account: self.account.address.clone(),
                reason: "the connection was lost; try again".to_owned(),
            }),
        }
    }

    /// Asks one's own server about oneself.
    async fn ask_own(&self, event: Event, fits: impl Fn(&Told) -> bool) -> Result<News, ClientError> {
        let me = self.account.address.clone();
        self.ask(&me, event, OWN, fits).await
    }

    /// Asks, and waits for the answer that fits.
    pub(super) async fn ask(
        &self,
        who: &Mailbox,
        event: Event,
        patience: Duration,
        fits: impl Fn(&Told) -> bool,
    ) -> Result<News, ClientError> {
        self.ask_for(who, event, None, patience, fits).await
    }

    /// As [`Shared::ask`], to be answered with what is encrypted to a certificate.
    async fn ask_for(
        &self,
        who: &Mailbox,
        event: Event,
        reader: Option<&Certificate>,
        patience: Duration,
        fits: impl Fn(&Told) -> bool,
    ) -> Result<News, ClientError> {
        let mut answers = self.answers().await?;
        let id = id()?;
        let body = reader.map(|reader| (compose::CERTIFICATE, reader.der()));
        self.tell_octets(who, &Directive::Fetch { id, event }, body).await?;
        let until = Instant::now() + patience;
        while let Some(told) = answers.next(until).await? {
            // A view that is shown anyway is as good as the answer; a state without one may be an older one.
            let view = matches!(&told.news, News::View(view) if view.standing != Standing::Active);
            let clear = matches!(&told.news, News::View(view) if reader.is_some() && !view.signature.encrypted);
            if (told.id == Some(id) || !(view || clear)) && fits(&told) {
                return Ok(told.news);
            }
        }
        Err(self.silent(who))
    }
}
