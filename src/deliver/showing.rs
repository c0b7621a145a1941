//! What an attached device is shown of presence, beside its messages.
//!
//! In: the notices of its owner, of each contact the latest. Out: transactions of class PRES, a few at a time. Invariants: a
//! notice is answered or given back, so what was not answered is shown again to whoever attaches next; no message waits
//! behind more than [`NOTICES`] of them, and one may always go, however many messages there are.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::accounts::Principal;
use crate::address::{Device, ReversePath};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::presence::{Handle, Notice, NoticeFeed, Session};
use crate::smtp::client::Fate;

/// Notices unanswered at a time.
pub(super) const NOTICES: usize = 16;
/// After a refusal for now, nothing is shown for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// A device that takes presence.
pub(super) struct Showing {
    feed: NoticeFeed,
    /// While it takes messages too, its owner is in contact.
    session: Option<Session>,
    /// The token of the transaction, the token of the notice.
    flying: HashMap<u64, u64>,
    held_until: Option<Instant>,
}

impl Showing {
    /// `messages`: it takes those too, and its owner's among them. That is what being OPEN says.
    pub fn begin(handle: &Handle, principal: &Principal, device: Option<&Device>, messages: bool) -> Showing {
        let owner = &principal.account;
        let session = messages.then(|| handle.session(owner, device));
        Showing { feed: handle.feed(owner), session, flying: HashMap::new(), held_until: None }
    }

    /// The attachment ends so that the device logs in again.
    pub fn pause(&mut self) {
        self.session.as_mut().into_iter().for_each(|session| session.pauses = true);
    }

    /// The next notice to send as the transaction `token`, while fewer than `most` are unanswered.
    pub fn next(&mut self, token: u64, most: usize, now: Instant) -> Option<Notice> {
        if self.flying.len() >= most || self.held_until.is_some_and(|until| until > now) {
            return None;
        }
        self.held_until = None;
        let notice = self.feed.take(1).pop()?;
        self.flying.insert(token, notice.token);
        Some(notice)
    }

    /// What the device said; `false` where the transaction was no notice. What it never wants is not shown again.
    pub fn answered(&mut self, token: u64, fate: &Fate, now: Instant) -> bool {
        let Some(notice) = self.flying.remove(&token) else { return false };
        match fate {
            Fate::Refused { reply } if !reply.is_permanent() => {
                self.held_until = Some(now + PAUSE);
                self.feed.again(notice);
            }
            // Its end gives everything back.
            Fate::Lost { .. } => self.feed.again(notice),
            Fate::Accepted { .. } | Fate::Refused { .. } | Fate::Unfit { .. } => self.feed.acknowledged(notice),
        }
        true
    }

    /// When something is to be shown that waits for the end of a pause.
    pub fn next_due(&self) -> Option<Instant> {
        self.held_until.filter(|_| self.feed.waits())
    }

    /// Gives back the memory that an idle device does not need.
    pub fn rest(&mut self) {
        if self.flying.is_empty() {
            self.flying = HashMap::new();
        }
    }
}

/// Resolves when there may be something to show; never where nothing is shown.
pub(super) async fn news(showing: Option<&Showing>) {
    match showing {
        Some(showing) => showing.feed.news().await,
        None => std::future::pending().await,
    }
}

/// The envelope of a notice. Nobody reports about it: the latest state is told until it is acknowledged.
pub(super) fn envelope(notice: &Notice) -> Envelope {
    Envelope {
        class: Class::Pres,
        sender: ReversePath::Mailbox(notice.from.clone()),
        body: if notice.eight_bit { Body::EightBitMime } else { Body::SevenBit },
        utf8: notice.utf8,
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: vec![Recipient { address: notice.to.clone(), notify: Some(Notify::NEVER), original: None }],
    }
}
