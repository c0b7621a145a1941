//! The handle: what other parts say to the engine and ask of it, and what attached clients are to be shown.

use std::sync::Arc;

use bytes::Bytes;

use super::{Contact, Refusal, Said, State, Status, Watcher};
use crate::address::{Device, Mailbox};

/// The presence of everybody here. Clones share it.
#[derive(Clone, Debug)]
pub struct Handle(Arc<()>);

impl Handle {
    /// An entity that came in. Resolves when what it changes is on stable storage, or with the reply that refuses it.
    /// Things said are done in the order in which this is called; the future may be dropped.
    pub fn say(&self, said: Said) -> impl Future<Output = Result<(), Refusal>> + Send + use<> {
        let _ = said;
        async { Ok(()) }
    }

    /// A device that takes presence is attached for its owner: the owner is OPEN unless published otherwise. The session
    /// ends when the value is dropped; with the last one the owner is CLOSED.
    pub fn session(&self, owner: &Mailbox, device: Option<&Device>) -> Session {
        let _ = (owner, device);
        Session { _handle: self.clone() }
    }

    /// What an attached device of `watcher`, an inbox's owner, is to be shown: the views it has now, then what changes.
    pub fn feed(&self, watcher: &Mailbox) -> NoticeFeed {
        let _ = watcher;
        NoticeFeed { _handle: self.clone() }
    }

    /// Who watches a presentity here.
    pub fn watchers(&self, presentity: &Mailbox) -> Vec<Watcher> {
        let _ = presentity;
        Vec::new()
    }

    /// Whom somebody here watches.
    pub fn contacts(&self, watcher: &Mailbox) -> Vec<Contact> {
        let _ = watcher;
        Vec::new()
    }

    /// The whole document of a presentity here, as composed from what was published.
    pub fn document(&self, presentity: &Mailbox) -> Option<String> {
        let _ = presentity;
        None
    }

    /// What a watcher would be shown of a presentity here (`None`: an anonymous one), and how its subscription would stand.
    pub fn view(&self, presentity: &Mailbox, watcher: Option<&Mailbox>) -> (State, Option<String>) {
        let _ = (presentity, watcher);
        (State::Pending, None)
    }

    /// Ends a watcher's subscription: it is told so. Tells whether there was one. Resolves when that is on stable storage.
    pub fn remove(&self, presentity: &Mailbox, watcher: &Mailbox) -> impl Future<Output = bool> + Send + use<> {
        let _ = (presentity, watcher);
        async { false }
    }

    /// In numbers.
    pub fn status(&self) -> Status {
        Status::default()
    }
}

/// A device's session, as far as presence is concerned.
#[derive(Debug)]
pub struct Session {
    _handle: Handle,
}

/// Something to show a device: an entity for one transaction of class PRES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it in answers; never used again.
    pub token: u64,
    /// MAIL FROM: the presentity.
    pub from: Mailbox,
    /// RCPT TO: the watcher.
    pub to: Mailbox,
    /// Whether it needs SMTPUTF8.
    pub utf8: bool,
    /// Whether its body has octets beyond US-ASCII (BODY=8BITMIME).
    pub eight_bit: bool,
    /// The entity; shared by all who are shown the same.
    pub entity: Bytes,
}

/// What one device is to be shown. Dropping it ends that.
#[derive(Debug)]
pub struct NoticeFeed {
    _handle: Handle,
}

impl NoticeFeed {
    /// Up to `room` notices that are due now: of each contact the latest only. Each is answered once; one of a contact whose
    /// earlier notice is unanswered waits for that.
    pub fn take(&self, room: usize) -> Vec<Notice> {
        let _ = room;
        Vec::new()
    }

    /// Whether there is something to take.
    pub fn waits(&self) -> bool {
        false
    }

    /// The device has it, or never wants it (250, 5yz).
    pub fn acknowledged(&self, token: u64) {
        let _ = token;
    }

    /// It was not taken now (4yz), or not offered: the latest is due again when the caller asks again, at the earliest after
    /// the pause that it makes itself.
    pub fn again(&self, token: u64) {
        let _ = token;
    }

    /// Resolves when there may be something to take.
    pub async fn news(&self) {
        std::future::pending::<()>().await;
    }
}
