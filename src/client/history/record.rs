//! The lines of a history file, and what they add up to.
//!
//! In: records, in the order of the file. Out: conversations, the states of our own messages, who has seen what. Pure.
//! Invariants: a message counts once, by author and Message-ID; a state never goes back from what is final.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
    /// Our server, or a receipt, says that it will not be delivered.
    Failed,
    /// A receipt says that it went where there are no receipts.
    Relayed,
    /// A receipt says that it is in the inbox.
    Delivered,
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

    /// Whether it answers that one, directly or not.
    fn follows(&self, id: &str) -> bool {
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

/// Somebody with whom messages were exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The address, as it was written last.
    pub address: Mailbox,
    /// Messages that the person has not seen.
    pub unread: usize,
    /// When the last message came or went.
    pub last: Timestamp,
    /// Up to when the person has seen the conversation.
    read: Timestamp,
    /// Indexes of its messages, in the order in which they came.
    messages: Vec<usize>,
}

/// What the records add up to.
#[derive(Clone, Debug, Default)]
pub struct Index {
    messages: Vec<Message>,
    /// By author and Message-ID.
    seen: HashMap<(String, String), usize>,
    /// Those that nobody who listens has taken over.
    untaken: BTreeSet<usize>,
    own: HashMap<String, usize>,
    envelopes: HashMap<String, usize>,
    contacts: BTreeMap<String, Contact>,
    told: HashSet<(String, String)>,
    /// What tells signatures that came from all others: what is played back under another Message-ID is known by it.
    seals: HashSet<String>,
    revision: u64,
}

impl Index {
    /// Adds what a record says; false where it says nothing new.
    pub fn apply(&mut self, record: Record) -> bool {
        let new = match record {
            Record::Received(received) => self.received(received),
            Record::Written(draft) => self.written(draft),
            Record::State { id, to, state, reason, .. } => self.state(&id, &to, state, reason),
            Record::Read { with, at } => self.read(&with, at),
            Record::Taken { from, id } => self.take(&from, id, true),
            Record::Untaken { from, id } => self.take(&from, id, false),
            Record::Told { to, id } => self.told.insert((to.key(), id)),
        };
        self.revision += u64::from(new);
        new
    }

    /// Changes with everything that is new.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn received(&mut self, received: Received) -> bool {
        let index = self.messages.len();
        match self.seen.entry((received.from.key(), received.id.clone())) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(_) if received.mark.seen.as_ref().is_some_and(|seal| self.seals.contains(seal)) => {
                return false;
            }
            Entry::Vacant(place) => _ = place.insert(index),
        }
        self.seals.extend(received.mark.seen.clone());
        self.untaken.insert(index);
        let (from, at) = (received.from.clone(), received.at);
        self.messages.push(Message::In(received));
        let contact = self.contact(&from, at);
        contact.messages.push(index);
        contact.unread += usize::from(at > contact.read);
        true
    }

    fn written(&mut self, draft: Draft) -> bool {
        if self.own.contains_key(&draft.id) {
            return false;
        }
        let index = self.messages.len();
        self.own.insert(draft.id.clone(), index);
        self.envelopes.insert(draft.envid.clone(), index);
        for to in &draft.to {
            self.contact(to, draft.date).messages.push(index);
        }
        let fate = |to: &Mailbox| Fate { to: to.clone(), state: State::Waiting, reason: None };
        let fates = draft.to.iter().map(fate).collect();
        self.messages.push(Message::Out { draft, fates });
        true
    }

    fn contact(&mut self, who: &Mailbox, at: Timestamp) -> &mut Contact {
        let contact = self.contacts.entry(who.key()).or_insert_with(|| Contact {
            address: who.clone(),
            unread: 0,
            last: at,
            read: Timestamp::default(),
            messages: Vec::new(),
        });
        contact.last = contact.last.max(at);
        contact
    }

    fn state(&mut self, id: &str, to: &Mailbox, state: State, reason: Option<String>) -> bool {
        let Some(Message::Out { fates, .. }) = self.own.get(id).and_then(|at| self.messages.get_mut(*at)) else {
            return false;
        };
        let Some(fate) = fates.iter_mut().find(|fate| fate.to.key() == to.key()) else { return false };
        if state < fate.state || (state == fate.state && reason == fate.reason) {
            return false;
        }
        (fate.state, fate.reason) = (state, reason);
        true
    }

    fn read(&mut self, with: &Mailbox, at: Timestamp) -> bool {
        let Some(contact) = self.contacts.get_mut(&with.key()) else { return false };
        if at <= contact.read {
            return false;
        }
        contact.read = at;
        let unread = |index: &&usize| matches!(&self.messages[**index], Message::In(message) if message.at > at);
        contact.unread = contact.messages.iter().filter(unread).count();
        true
    }

    /// Whether that message of that author has been received.
    pub fn has_seen(&self, from: &Mailbox, id: &str) -> bool {
        self.seen.contains_key(&(from.key(), id.to_owned()))
    }

    /// Whether what tells a signature from all others has come before.
    pub fn has_seal(&self, seal: Option<&str>) -> bool {
        seal.is_some_and(|seal| self.seals.contains(seal))
    }

    fn take(&mut self, from: &Mailbox, id: String, taken: bool) -> bool {
        let Some(index) = self.seen.get(&(from.key(), id)) else { return false };
        if taken { self.untaken.remove(index) } else { self.untaken.insert(*index) }
    }

    /// The messages that nobody who listens has taken over, in the order in which they came.
    pub fn untaken(&self) -> impl Iterator<Item = &Received> {
        self.untaken.iter().filter_map(|index| match &self.messages[*index] {
            Message::In(received) => Some(received),
            Message::Out { .. } => None,
        })
    }

    /// Whether the author was told that it was displayed.
    pub fn has_told(&self, to: &Mailbox, id: &str) -> bool {
        self.told.contains(&(to.key(), id.to_owned()))
    }

    /// All messages, in the order in which they came.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// A message of ours.
    pub fn own(&self, id: &str) -> Option<&Message> {
        self.own.get(id).and_then(|at| self.messages.get(*at))
    }

    /// The message of ours with that envelope identifier.
    pub fn by_envelope(&self, envid: &str) -> Option<&Draft> {
        match self.messages.get(*self.envelopes.get(envid)?)? {
            Message::Out { draft, .. } => Some(draft),
            Message::In(_) => None,
        }
    }

    /// A message by its Message-ID, whoever wrote it; the latest where several claim it.
    pub fn find(&self, id: &str) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.id() == id)
    }

    /// Messages of ours with a recipient for whom they wait, oldest first.
    pub fn outbox(&self) -> impl Iterator<Item = (&Draft, &[Fate])> {
        self.messages.iter().filter_map(|message| match message {
            Message::Out { draft, fates } if fates.iter().any(|fate| fate.state == State::Waiting) => {
                Some((draft, fates.as_slice()))
            }
            _ => None,
        })
    }

    /// Those with whom messages were exchanged, the latest first.
    pub fn contacts(&self) -> Vec<&Contact> {
        let mut contacts: Vec<&Contact> = self.contacts.values().collect();
        contacts.sort_by_key(|contact| std::cmp::Reverse(contact.last));
        contacts
    }

    /// What was exchanged with somebody, by date as its authors say; an answer never comes before what it answers.
    pub fn conversation(&self, with: &Mailbox) -> Vec<&Message> {
        let Some(contact) = self.contacts.get(&with.key()) else { return Vec::new() };
        let mut messages: Vec<&Message> = contact.messages.iter().map(|index| &self.messages[*index]).collect();
        messages.sort_by_key(|message| message.date());
        // Dates of one second, or of a clock that is wrong: an answer goes behind. Neighbours are enough for the former.
        for at in 1..messages.len() {
            if messages[at - 1].follows(messages[at].id()) {
                messages.swap(at - 1, at);
            }
        }
        messages
    }

    /// Messages whose text, partners or attachments have these words, in any letter case.
    pub fn search<'a>(&'a self, words: &str) -> impl Iterator<Item = &'a Message> + use<'a> {
        let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        self.messages.iter().filter(move |message| {
            let mut whole = message.text().to_lowercase();
            message.partners().iter().for_each(|who| whole.extend([" ", &who.key()]));
            message.attachments().iter().for_each(|file| whole.extend([" ", &file.name.to_lowercase()]));
            words.iter().all(|word| whole.contains(word))
        })
    }
}
