//! The lines of a history file, and the messages that they tell of. What they add up to is the [`super::index`].
//!
//! In: what happened. Out: a line for it, and words for what became of a message. Pure. Invariant: a [`State`] that is further
//! on is greater.

use serde::{Deserialize, Serialize};

use crate::address::Mailbox;
use crate::client::compose::{Draft, Enclosure};
use crate::client::read::Received;
use crate::mime::report::Action;
use crate::timestamp::Timestamp;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// A message came.
    Received(Received),
    /// A message was written; it waits in the outbox until it has another state for each recipient.
    Written(Draft),
    /// What became of a message of ours, for one recipient.
    State {
        /// Its Message-ID.
        id: String,
        /// The recipient.
        to: Mailbox,
        /// What became of it.
        state: State,
        /// When.
        at: Timestamp,
        /// In words, where there is more to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The person has seen a conversation up to a time.
    Read {
        /// With whom.
        with: Mailbox,
        /// Up to when.
        at: Timestamp,
    },
    /// Whoever listens has taken a message over.
    Taken {
        /// The author.
        from: Mailbox,
        /// The author's Message-ID.
        id: String,
    },
    /// It has not.
    Untaken {
        /// The author.
        from: Mailbox,
        /// The author's Message-ID.
        id: String,
    },
    /// A displayed notice was sent.
    Told {
        /// The author.
        to: Mailbox,
        /// The author's Message-ID.
        id: String,
    },
}

/// What has become of a message of ours; a later one of equal or higher rank replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It waits in the outbox.
    Waiting,
    /// Our server has it.
    Sent,
    /// A receipt says that it is late.
    Delayed,
    /// A receipt says that it went to several others.
    Expanded,
    /// A receipt says that it went where there are no receipts.
    Relayed,
    /// A receipt says that it is in the inbox.
    Delivered,
    /// Our server, or a receipt, says that it will not be delivered; also of what was in the inbox and nobody took.
    Failed,
    /// The reader says that it was displayed.
    Displayed,
}

impl State {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Sent => "sent",
            State::Delayed => "delayed",
            State::Expanded => "expanded",
            State::Failed => "failed",
            State::Relayed => "relayed",
            State::Delivered => "delivered",
            State::Displayed => "displayed",
        }
    }

    /// In one or two marks.
    pub fn mark(self) -> &'static str {
        match self {
            State::Waiting => "…",
            State::Sent | State::Delayed | State::Expanded => "✓",
            State::Failed => "✗",
            State::Relayed | State::Delivered => "✓✓",
            State::Displayed => "✓✓ seen",
        }
    }
}

impl From<Action> for State {
    fn from(action: Action) -> State {
        match action {
            Action::Delivered => State::Delivered,
            Action::Delayed => State::Delayed,
            Action::Failed => State::Failed,
            Action::Relayed => State::Relayed,
            Action::Expanded => State::Expanded,
        }
    }
}

/// A recipient of a message of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// Who.
    pub to: Mailbox,
    /// What became of it.
    pub state: State,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A message of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody's.
    In(Received),
    /// Ours.
    Out {
        /// What was written.
        draft: Draft,
        /// What became of it, for each recipient.
        fates: Vec<Fate>,
    },
}

impl Message {
    /// The Message-ID.
    pub fn id(&self) -> &str {
        match self {
            Message::In(received) => &received.id,
            Message::Out { draft, .. } => &draft.id,
        }
    }

    /// When its author wrote it.
    pub fn date(&self) -> Timestamp {
        match self {
            Message::In(received) => received.date,
            Message::Out { draft, .. } => draft.date,
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        match self {
            Message::In(received) => &received.text,
            Message::Out { draft, .. } => &draft.text,
        }
    }

    /// What goes with it.
    pub fn attachments(&self) -> &[Enclosure] {
        match self {
            Message::In(received) => &received.attachments,
            Message::Out { draft, .. } => &draft.attachments,
        }
    }

    /// Those with whom it was exchanged.
    pub fn partners(&self) -> &[Mailbox] {
        match self {
            Message::In(received) => std::slice::from_ref(&received.from),
            Message::Out { draft, .. } => &draft.to,
        }
    }

    /// The Message-IDs before it, the latest last.
    pub fn thread(&self) -> Vec<String> {
        let (references, reply) = self.references();
        let mut thread = references.to_vec();
        thread.extend(reply.filter(|id| !references.iter().any(|known| known == id)).map(str::to_owned));
        thread
    }

    fn references(&self) -> (&[String], Option<&str>) {
        match self {
            Message::In(received) => (&received.references, received.in_reply_to.as_deref()),
            Message::Out { draft, .. } => (&draft.references, draft.in_reply_to.as_deref()),
        }
    }

    /// Whether its text, partners or attachments have these words, which are in small letters.
    pub(super) fn has(&self, words: &[String]) -> bool {
        if words.is_empty() {
            return true;
        }
        let mut whole = self.text().to_lowercase();
        self.partners().iter().for_each(|who| whole.extend([" ", &who.key()]));
        let said = self.attachments().iter().flat_map(|file| [&file.name, &file.description]);
        said.for_each(|said| whole.extend([" ", &said.to_lowercase()]));
        words.iter().all(|word| whole.contains(word))
    }

    /// The message that it answers.
    pub(super) fn answers(&self) -> Option<&str> {
        self.references().1
    }

    /// About how many octets of memory it takes.
    pub(super) fn octets(&self) -> usize {
        let (references, reply) = self.references();
        let threads = references.iter().map(String::len).sum::<usize>() + reply.map_or(0, str::len);
        let files: usize = self
            .attachments()
            .iter()
            .map(|file| file.name.len() + file.media.len() + file.description.len() + file.file.len())
            .sum();
        size_of::<Message>() + self.id().len() + self.text().len() + threads + files
    }

    /// Whether it answers that one, directly or not.
    pub(super) fn follows(&self, id: &str) -> bool {
        let (references, reply) = self.references();
        reply == Some(id) || references.iter().any(|reference| reference == id)
    }
}

/// Whom a name means: an address as it is written, or, without a domain, the one known person whose address begins so. What
/// has a domain is never completed: it could become somebody else's.
pub fn named<'a>(name: &str, known: impl Iterator<Item = &'a Mailbox>) -> Option<Mailbox> {
    let name = name.trim();
    if name.contains('@') || name.is_empty() {
        return Mailbox::parse(name).ok();
    }
    let lower = name.to_lowercase();
    let mut found = known.filter(|known| known.key().starts_with(&lower));
    found.next().filter(|_| found.next().is_none()).cloned()
}
