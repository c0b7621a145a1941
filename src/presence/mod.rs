//! Presence: who shows what, who watches whom, and who is due the latest view.
//!
//! In: what people's clients and other domains say (publish, subscribe, fetch, cancel, notify, policy), sessions that begin
//! and end, changed rules, time. Out: rows for the spool's store, durable before anybody is told `250`; what is due for each
//! other domain ([`Due`]); what each attached client is to be shown ([`NoticeFeed`]).
//!
//! Both sides of a subscription live here. The presentity's side has documents, rules' decisions and watchers, each with the
//! version that the watcher's server has acknowledged; the watcher's side has own subscriptions, their state, the last view,
//! and when they are refreshed. Invariant: a notification is derived state and never stored: whoever is behind is due the
//! *latest* view that the rules allow now. So a crash loses none, a burst of changes is one, and a slow domain costs its
//! rows. A watcher here of a presentity here uses both sides without the wire.
//!
//! Everything is in memory behind one lock that is held for a few instructions; the engine does no I/O and asks no clock.
//! RFC 3856, RFC 3857, RFC 3859, RFC 6665 in their sense, not their syntax.

mod certificates;
mod due;
mod engine;
mod feeds;
mod handle;
mod index;
mod letter;
mod lists;
mod mail_only;
mod mailed;
mod names;
mod publish;
mod readers;
mod restore;
mod row;
mod rulings;
mod subscribe;
mod tables;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod watch;

pub use due::{Fate, Outgoing};
pub use engine::Options;
pub use handle::{Certifier, Handle, Notice, NoticeFeed, Parts, Session, no_authority};
pub use letter::Written;
pub use mailed::{Contents, Mailing, Told};

use bytes::Bytes;

use crate::address::Mailbox;
pub use crate::mime::presence::{Event, Reason};
use crate::reply::Reply;
use crate::timestamp::Timestamp;

/// Who says something: the one author of the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The address in From.
    pub mailbox: Mailbox,
    /// Whether it has authenticated: by its session here, or by its domain's server.
    pub proven: bool,
    /// Whether it is a client of ours, rather than another domain's server.
    pub client: bool,
    /// Whether it asks by mail, and is told by mail.
    pub by_mail: bool,
}

/// A presence entity that came in.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who says it.
    pub author: Author,
    /// To whom; none of them twice. Of a client the presentity may live elsewhere.
    pub recipients: Vec<Mailbox>,
    /// The entity, without trace fields.
    pub entity: Bytes,
    /// What was found of its signature, where it has one that was looked at.
    pub signed: Option<Signed>,
    /// When it came.
    pub now: Timestamp,
}

impl Said {
    /// The entity that counts: what is signed, where something is.
    pub fn content(&self) -> &Bytes {
        self.signed.as_ref().map_or(&self.entity, |signed| &signed.content)
    }
}

/// A signature that does not contradict the entity.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What it protects: an entity with the fields that count.
    pub content: Bytes,
    /// Whether it is the author's own, and somebody who is believed says so.
    pub by_author: bool,
}

/// Why it was refused; the reply says what to do.
pub type Refusal = Reply;

/// The state of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Asked for, and not answered yet: on the watcher's side only.
    Asked,
    /// The presentity has not decided (RFC 6665 §4.1.3).
    Pending,
    /// The watcher gets views.
    Active,
    /// It came and went while the presentity had not decided (RFC 3857 §4.7.1).
    Waiting,
    /// It is over, for this reason, where one was given.
    Terminated(Option<Reason>),
}

/// One who watches a presentity here, for people and for watcher information (RFC 3858).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Who; of an anonymous one what it says of itself.
    pub watcher: Mailbox,
    /// Whether it has authenticated.
    pub proven: bool,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// When it is over, unless it is refreshed.
    pub expires: Timestamp,
    /// Whether its server has the latest view.
    pub up_to_date: bool,
}

/// One whom a watcher here watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The presentity.
    pub presentity: Mailbox,
    /// How the subscription stands.
    pub state: State,
    /// When it is over, unless it is refreshed, which its server does by itself.
    pub expires: Timestamp,
    /// The last view, as a document of RFC 3863; `None`: there is none, or it is out of date.
    pub view: Option<String>,
    /// The time of the view.
    pub seen: Option<Timestamp>,
    /// The view as it came from its domain, where that has signed it, or encrypted it to the watcher.
    pub signed: Option<Bytes>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Presentities with a document or a watcher.
    pub presentities: usize,
    /// Publications.
    pub publications: usize,
    /// Subscriptions to presentities here.
    pub watchers: usize,
    /// Subscriptions of watchers here.
    pub contacts: usize,
    /// Subscriptions whose watcher's server is behind.
    pub due: usize,
    /// Notifications that were acknowledged since the start.
    pub notified: u64,
    /// Attached clients that are shown presence.
    pub feeds: usize,
}
