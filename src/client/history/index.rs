//! What the records of a history add up to.
//!
//! In: records, in the order of the file. Out: conversations, the states of our own messages, who has seen what. Pure.
//! Invariants: a message counts once, by author and Message-ID; a state never goes back from what is final. Memory is
//! bounded whatever the length of the history: the latest messages are held ([`limits::CLIENT_MESSAGES`]), and of all others
//! that they were seen ([`limits::CLIENT_REMEMBERED`]); what waits in the outbox is held in any case. What is held no more
//! is in the file, where [`super::History::past`] finds it; of such a message of ours no receipt is told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use aws_lc_rs::digest;

use super::record::{Fate, Message, Record, State};
use crate::address::Mailbox;
use crate::client::compose::Draft;
use crate::client::read::Received;
use crate::limits;
use crate::timestamp::Timestamp;

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
    /// Numbers of its messages that are held, in the order in which they came.
    messages: VecDeque<u64>,
}

/// What stands for something that was there.
type Digest = [u8; 16];

/// What has been there, the latest so many.
#[derive(Clone, Debug, Default)]
struct Remembered {
    all: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl Remembered {
    /// False where it was there already.
    fn add(&mut self, digest: Digest, most: usize) -> bool {
        if !self.all.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

/// Sixteen octets of SHA-256: nobody finds two messages that are one by it.
fn digest(kind: &str, parts: &[&str]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(&kind).chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut short = Digest::default();
    short.copy_from_slice(&context.finish().as_ref()[..16]);
    short
}

fn message(from: &Mailbox, id: &str) -> Digest {
    digest("message", &[&from.key(), id])
}

/// What tells signatures that came from all others: what is played back under another Message-ID is known by it.
fn seal(seal: &str) -> Digest {
    digest("seal", &[seal])
}

/// How much is held.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    messages: usize,
    octets: usize,
    remembered: usize,
}

/// What the records add up to.
#[derive(Clone, Debug)]
pub struct Index {
    bounds: Bounds,
    /// The messages that are held, by the number in the order in which they came.
    messages: BTreeMap<u64, Message>,
    next: u64,
    octets: usize,
    /// Below it nothing is held but what waits.
    floor: u64,
    remembered: Remembered,
    /// The numbers of others' messages that are held.
    others: HashMap<Digest, u64>,
    /// Those that nobody who listens has taken over.
    untaken: BTreeSet<u64>,
    /// Those of ours that wait for a recipient.
    waiting: BTreeSet<u64>,
    /// The contact in whose conversation an answer stands besides those of its recipients.
    elsewhere: HashMap<u64, String>,
    own: HashMap<String, u64>,
    envelopes: HashMap<String, u64>,
    contacts: BTreeMap<String, Contact>,
    revision: u64,
}

impl Default for Index {
    fn default() -> Index {
        Index::bounded(limits::CLIENT_MESSAGES, limits::CLIENT_OCTETS, limits::CLIENT_REMEMBERED)
    }
}

impl Index {
    /// One that holds so many of the latest messages, of so many octets, and remembers so much of the others.
    pub(super) fn bounded(messages: usize, octets: usize, remembered: usize) -> Index {
        Index {
            bounds: Bounds { messages, octets, remembered },
            messages: BTreeMap::new(),
            next: 0,
            octets: 0,
            floor: 0,
            remembered: Remembered::default(),
            others: HashMap::new(),
            untaken: BTreeSet::new(),
            waiting: BTreeSet::new(),
            elsewhere: HashMap::new(),
            own: HashMap::new(),
            envelopes: HashMap::new(),
            contacts: BTreeMap::new(),
            revision: 0,
        }
    }

    /// Adds what a record says; false where it says nothing new.
    pub fn apply(&mut self, record: Record) -> bool {
        let new = match record {
            Record::Received(received) => self.received(received),
            Record::Written(draft) => self.written(draft),
            Record::State { id, to, state, reason, .. } => self.state(&id, &to, state, reason),
            Record::Read { with, at } => self.read(&with, at),
            Record::Taken { from, id } => self.take(&from, &id, true),
            Record::Untaken { from, id } => self.take(&from, &id, false),
            Record::Told { to, id } => self.remember(digest("told", &[&to.key(), &id])),
        };
        self.revision += u64::from(new);
        new
    }

    /// Changes with everything that is new.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn remember(&mut self, digest: Digest) -> bool {
        self.remembered.add(digest, self.bounds.remembered)
    }

    fn received(&mut self, received: Received) -> bool {
        let digest = message(&received.from, &received.id);
        if self.has_seal(received.mark.seen.as_deref()) || !self.remember(digest) {
            return false;
        }
        if let Some(text) = received.mark.seen.as_deref() {
            self.remember(seal(text));
        }
        let number = self.next;
        self.others.insert(digest, number);
        self.untaken.insert(number);
        let (from, at) = (received.from.clone(), received.at);
        let contact = self.contact(&from, at);
        contact.messages.push_back(number);
        contact.unread += usize::from(at > contact.read);
        self.hold(Message::In(received));
        true
    }

    fn written(&mut self, draft: Draft) -> bool {
        if self.own.contains_key(&draft.id) || !self.remember(digest("own", &[&draft.id])) {
            return false;
        }
        let number = self.next;
        self.own.insert(draft.id.clone(), number);
        self.envelopes.insert(draft.envid.clone(), number);
        self.waiting.insert(number);
        for to in &draft.to {
            self.contact(to, draft.date).messages.push_back(number);
        }
        if let Some(author) = self.answered_elsewhere(&draft) {
            self.contact(&author, draft.date).messages.push_back(number);
            self.elsewhere.insert(number, author.key());
        }
        let fate = |to: &Mailbox| Fate { to: to.clone(), state: State::Waiting, reason: None };
        let fates = draft.to.iter().map(fate).collect();
        self.hold(Message::Out { draft, fates });
        true
    }

    /// The author of the message that one of ours answers, where the answer goes to others (RFC 5322 §3.6.2): it stands in
    /// that conversation too.
    fn answered_elsewhere(&self, draft: &Draft) -> Option<Mailbox> {
        let Some(Message::In(answered)) = self.find(draft.in_reply_to.as_deref()?) else { return None };
        let elsewhere = draft.to.iter().all(|to| to.key() != answered.from.key());
        elsewhere.then(|| answered.from.clone())
    }

    fn contact(&mut self, who: &Mailbox, at: Timestamp) -> &mut Contact {
        let contact = self.contacts.entry(who.key()).or_insert_with(|| Contact {
            address: who.clone(),
            unread: 0,
            last: at,
            read: Timestamp::default(),
            messages: VecDeque::new(),
        });
        contact.last = contact.last.max(at);
        contact
    }

    /// Holds one more, and lets the oldest go that do not wait.
    fn hold(&mut self, message: Message) {
        self.octets += message.octets();
        self.messages.insert(self.next, message);
        self.next += 1;
        // Who leaves messages to others for ever does not make them wait for ever.
        while self.untaken.len() > self.bounds.messages {
            self.untaken.pop_first().into_iter().for_each(|number| self.settled(number));
        }
        while self.messages.len() - self.waiting.len() > self.bounds.messages || self.octets > self.bounds.octets {
            let Some(number) = self.messages.range(self.floor..self.next - 1).next().map(|(number, _)| *number) else {
                return;
            };
            self.floor = number + 1;
            if !self.waits(number) {
                self.let_go(number);
            }
        }
    }

    fn waits(&self, number: u64) -> bool {
        self.waiting.contains(&number) || self.untaken.contains(&number)
    }

    fn let_go(&mut self, number: u64) {
        let Some(gone) = self.messages.remove(&number) else { return };
        self.octets -= gone.octets();
        match &gone {
            Message::In(received) => _ = self.others.remove(&message(&received.from, &received.id)),
            Message::Out { draft, .. } => {
                self.own.remove(&draft.id);
                self.envelopes.remove(&draft.envid);
            }
        }
        let many = self.contacts.len() > limits::CLIENT_CONTACTS;
        let keys = gone.partners().iter().map(Mailbox::key).chain(self.elsewhere.remove(&number));
        for key in keys {
            let Some(contact) = self.contacts.get_mut(&key) else { continue };
            // They go in the order in which they came, but for those that waited.
            match contact.messages.front() {
                Some(front) if *front == number => _ = contact.messages.pop_front(),
                _ => contact.messages.retain(|held| *held != number),
            }
            if many && contact.messages.is_empty() {
                self.contacts.remove(&key);
            }
        }
    }

    /// What waited and does not any more is held as long as the others.
    fn settled(&mut self, number: u64) {
        if number < self.floor && !self.waits(number) {
            self.let_go(number);
        }
    }

    fn state(&mut self, id: &str, to: &Mailbox, state: State, reason: Option<String>) -> bool {
        let Some(number) = self.own.get(id).copied() else { return false };
        let Some(Message::Out { fates, .. }) = self.messages.get_mut(&number) else { return false };
        let Some(fate) = fates.iter_mut().find(|fate| fate.to.key() == to.key()) else { return false };
        if state < fate.state || (state == fate.state && reason == fate.reason) {
            return false;
        }
        (fate.state, fate.reason) = (state, reason);
        let goes = fates.iter().all(|fate| fate.state != State::Waiting);
        if goes && self.waiting.remove(&number) {
            self.settled(number);
        }
        true
    }

    fn read(&mut self, with: &Mailbox, at: Timestamp) -> bool {
        let Some(contact) = self.contacts.get_mut(&with.key()) else { return false };
        if at <= contact.read {
            return false;
        }
        contact.read = at;
        let unread = |number: &&u64| matches!(self.messages.get(number), Some(Message::In(message)) if message.at > at);
        contact.unread = contact.messages.iter().filter(unread).count();
        true
    }

    /// Whether that message of that author has been received.
    pub fn has_seen(&self, from: &Mailbox, id: &str) -> bool {
        self.remembered.all.contains(&message(from, id))
    }

    /// Whether what tells a signature from all others has come before.
    pub fn has_seal(&self, text: Option<&str>) -> bool {
        text.is_some_and(|text| self.remembered.all.contains(&seal(text)))
    }

    fn take(&mut self, from: &Mailbox, id: &str, taken: bool) -> bool {
        let Some(number) = self.others.get(&message(from, id)).copied() else { return false };
        if !taken {
            return self.untaken.insert(number);
        }
        let new = self.untaken.remove(&number);
        self.settled(number);
        new
    }

    /// The messages that nobody who listens has taken over, in the order in which they came.
    pub fn untaken(&self) -> impl Iterator<Item = &Received> {
        self.untaken.iter().filter_map(|number| match self.messages.get(number)? {
            Message::In(received) => Some(received),
            Message::Out { .. } => None,
        })
    }

    /// Whether the author was told that it was displayed.
    pub fn has_told(&self, to: &Mailbox, id: &str) -> bool {
        self.remembered.all.contains(&digest("told", &[&to.key(), id]))
    }

    /// The messages that are held, in the order in which they came.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.values()
    }

    /// A message of ours.
    pub fn own(&self, id: &str) -> Option<&Message> {
        self.messages.get(self.own.get(id)?)
    }

    /// The message of ours with that envelope identifier.
    pub fn by_envelope(&self, envid: &str) -> Option<&Draft> {
        match self.messages.get(self.envelopes.get(envid)?)? {
            Message::Out { draft, .. } => Some(draft),
            Message::In(_) => None,
        }
    }

    /// A message that is held by its Message-ID, whoever wrote it; the latest where several claim it.
    pub fn find(&self, id: &str) -> Option<&Message> {
        self.messages().rev().find(|message| message.id() == id)
    }

    /// Messages of ours with a recipient for whom they wait, oldest first.
    pub fn outbox(&self) -> impl Iterator<Item = (&Draft, &[Fate])> {
        self.waiting.iter().filter_map(|number| match self.messages.get(number)? {
            Message::Out { draft, fates } => Some((draft, fates.as_slice())),
            Message::In(_) => None,
        })
    }

    /// Those with whom messages were exchanged, the latest first.
    pub fn contacts(&self) -> Vec<&Contact> {
        let mut contacts: Vec<&Contact> = self.contacts.values().collect();
        contacts.sort_by_key(|contact| std::cmp::Reverse(contact.last));
        contacts
    }

    /// Where the latest message of somebody wants its answer, if elsewhere (RFC 5322 §3.6.2): its Message-ID, and to whom.
    pub fn answers_elsewhere(&self, with: &Mailbox) -> Option<(&str, &[Mailbox])> {
        let latest = self.conversation(with).into_iter().rev().find_map(|message| match message {
            Message::In(received) => Some(received),
            Message::Out { .. } => None,
        })?;
        (!latest.reply_to.is_empty()).then_some((&latest.id, &latest.reply_to))
    }

    /// What was exchanged with somebody, as far as it is held, by date as its authors say; an answer never comes before what
    /// it answers.
    pub fn conversation(&self, with: &Mailbox) -> Vec<&Message> {
        let Some(contact) = self.contacts.get(&with.key()) else { return Vec::new() };
        let mut messages: Vec<&Message> =
            contact.messages.iter().filter_map(|number| self.messages.get(number)).collect();
        messages.sort_by_key(|message| message.date());
        // Dates of one second, or of a clock that is wrong: an answer goes behind. Neighbours are enough for the former.
        for at in 1..messages.len() {
            if messages[at - 1].follows(messages[at].id()) {
                messages.swap(at - 1, at);
            }
        }
        messages
    }
}
