//! What the chat is, and what each key and each piece of news does to it. Pure: in an [`Input`], out [`Effect`]s.
//!
//! Invariants: nothing is lost that was written (a text that cannot be sent stays in the line); what is shown is what the
//! history has; no key does two things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::editor::Editor;
use super::order::Order;
use crate::address::Mailbox;
use crate::client::account::Displayed;
use crate::client::cli::{show_change, show_link};
use crate::client::history::{self, Fate, Index, Message};
use crate::client::presence::view::question;
use crate::client::presence::{Change, News, Roster, Status, Treatment, Watcher};
use crate::client::{Incoming, Link, clean, mark};
use crate::rules::edit::Who;
use crate::timestamp::Timestamp;

/// Messages of a conversation that are kept at hand for scrolling; `impart history` has all.
const MESSAGES: usize = 2000;
/// Seconds between two typing notices.
const TYPING_EVERY: i64 = 60;

/// What happens to the chat.
#[derive(Clone, Debug)]
pub enum Input {
    /// A key.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// Something came.
    News(Incoming),
    /// Something is to be said to the person.
    Say(String),
    /// Time passes.
    Tick,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a text, perhaps with a file.
    Send {
        /// To whom.
        to: Vec<Mailbox>,
        /// The message that it answers, where its author wants answers elsewhere.
        answers: Option<String>,
        /// The text.
        text: String,
        /// The file.
        file: Option<String>,
    },
    /// Let somebody know that one types, or no longer.
    Typing {
        /// Whom.
        to: Mailbox,
        /// Whether.
        active: bool,
    },
    /// The conversation has been seen.
    Read(Mailbox),
    /// Tell the authors of these messages that they were displayed; by the person's word, or by the configuration.
    Displayed(Vec<String>, bool),
    /// Save the attachments of a message.
    Save(String),
    /// Say how the person is, for so long.
    Status(Status, Option<Duration>),
    /// Ask to see how somebody is.
    Watch(Mailbox),
    /// See it no more.
    Unwatch(Mailbox),
    /// Decide about somebody.
    Treat(Who, Treatment),
    /// Show what the history has now.
    Refresh,
    /// End.
    Quit,
}

/// Somebody in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The address.
    pub address: Mailbox,
    /// Messages not seen.
    pub unread: usize,
}

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its Message-ID.
    pub id: String,
    /// Whether the person wrote it.
    pub own: bool,
    /// When it was written.
    pub date: Timestamp,
    /// The text, safe, with a line for each attachment.
    pub text: String,
    /// What became of it, if it is the person's.
    pub fates: Vec<Fate>,
    /// Whether its author asks to be told, and was not.
    pub asks: bool,
    /// Whether it has attachments.
    pub files: bool,
    /// How it was protected, in words.
    pub mark: String,
}

/// The chat.
#[derive(Clone, Debug)]
pub struct Model {
    /// Who the person is.
    pub me: Mailbox,
    /// The list, the latest first.
    pub contacts: Vec<Contact>,
    /// With whom the person talks.
    pub current: Option<Mailbox>,
    /// The conversation, oldest first.
    pub entries: Vec<Entry>,
    /// Where the partner wants answers, if elsewhere: to the message with this Message-ID.
    pub elsewhere: Option<(String, Vec<Mailbox>)>,
    /// What is being written.
    pub editor: Editor,
    /// Rows that the conversation is scrolled back by.
    pub scroll: usize,
    /// The connection.
    pub link: Link,
    /// What was said last to the person.
    pub status: String,
    /// How others are, and who asks to see how the person is.
    pub roster: Roster,
    /// Whether the keys are shown.
    pub help: bool,
    /// Now.
    pub now: Timestamp,
    displayed: Displayed,
    tells_typing: bool,
    typing: BTreeMap<String, Timestamp>,
    told_typing: Option<(String, Timestamp)>,
    /// What the person has decided last.
    decided: Option<(Who, Treatment)>,
}

impl Model {
    /// A chat in which nothing has happened.
    pub fn new(me: Mailbox, displayed: Displayed, tells_typing: bool) -> Model {
        Model {
            me,
            contacts: Vec::new(),
            current: None,
            entries: Vec::new(),
            elsewhere: None,
            editor: Editor::default(),
            scroll: 0,
            link: Link::Trouble("connecting".to_owned()),
            status: "/help shows the keys".to_owned(),
            roster: Roster::default(),
            help: false,
            now: Timestamp::default(),
            displayed,
            tells_typing,
            typing: BTreeMap::new(),
            told_typing: None,
            decided: None,
        }
    }

    /// Takes what the history has now.
    pub fn show(&mut self, index: &Index) -> Vec<Effect> {
        let contact = |contact: &crate::client::history::Contact| Contact {
            address: contact.address.clone(),
            unread: contact.unread,
        };
        self.contacts = index.contacts().into_iter().map(contact).collect();
        if self.current.is_none() {
            self.current = self.contacts.first().map(|contact| contact.address.clone());
        }
        let Some(current) = self.current.clone() else {
            self.enlist();
            return Vec::new();
        };
        let conversation = index.conversation(&current);
        let skip = conversation.len().saturating_sub(MESSAGES);
        self.elsewhere = index.answers_elsewhere(&current).map(|(id, to)| (id.to_owned(), to.to_vec()));
        self.entries = conversation[skip..].iter().map(|message| entry(message, index)).collect();
        if !self.contacts.iter().any(|contact| contact.address.key() == current.key()) {
            self.contacts.insert(0, Contact { address: current.clone(), unread: 0 });
        }
        self.enlist();
        let mut effects = Vec::new();
        let shown = self.contacts.iter_mut().find(|contact| contact.address.key() == current.key());
        if let Some(contact) = shown.filter(|contact| contact.unread > 0) {
            contact.unread = 0;
            effects.push(Effect::Read(current));
        }
        let asks = self.asking();
        match self.displayed {
            Displayed::Yes if !asks.is_empty() => effects.push(Effect::Displayed(asks, false)),
            Displayed::Ask if !asks.is_empty() => {
                self.status = "the author asks to be told that you have seen this; /displayed tells".to_owned();
            }
            _ => {}
        }
        effects
    }

    /// Those whom the person watches, and those who ask, stand below those with whom there was talk.
    fn enlist(&mut self) {
        let watched = self.roster.views().map(|view| view.who.clone());
        let asking = self.roster.requests().filter_map(|watcher| watcher.who.clone());
        let mut known: BTreeSet<String> = self.contacts.iter().map(|contact| contact.address.key()).collect();
        let new = watched.chain(asking).filter(|address| known.insert(address.key()));
        let new: Vec<Contact> = new.map(|address| Contact { address, unread: 0 }).collect();
        self.contacts.extend(new);
    }

    /// The first who waits for the person's word.
    pub fn request(&self) -> Option<String> {
        self.roster.requests().next().map(|watcher| question(watcher, "/"))
    }

    fn presence(&mut self, news: &News) {
        // How people are stands in the list; of watchers there is a word, of requests the question.
        let changes = self.roster.take(news);
        // What follows from the person's own decision is no news: the answer to it says so, and stays.
        let is_news = |change: &&Change| match change {
            Change::Watcher(watcher) => !self.has_decided(watcher),
            Change::View(_) => false,
        };
        let told = changes.iter().filter(is_news).next_back();
        match told {
            Some(_) if self.roster.requests().next().is_some() => self.status.clear(),
            Some(change) => self.status = show_change(change, "/"),
            None => {}
        }
        self.enlist();
    }

    /// Whether that is what the person's own decision makes of a watcher.
    fn has_decided(&self, watcher: &Watcher) -> bool {
        let Some((who, (decided, how))) = watcher.who.as_ref().zip(self.decided.as_ref()) else { return false };
        let meant = match decided {
            Who::Mailbox(one) => one.key() == who.key(),
            Who::Domain(domain) => domain == who.domain(),
        };
        let follows = match how {
            Treatment::Allow | Treatment::PoliteBlock => "active",
            Treatment::Confirm => "pending",
            Treatment::Block => "terminated",
        };
        meant && watcher.status == follows
    }

    fn asking(&self) -> Vec<String> {
        self.entries.iter().filter(|entry| entry.asks).map(|entry| entry.id.clone()).collect()
    }

    /// Whether the person with whom one talks is typing.
    pub fn is_typing(&self, who: &Mailbox) -> bool {
        self.typing.get(&who.key()).is_some_and(|until| *until > self.now)
    }

    /// Takes what happens at `now`.
    pub fn update(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        self.now = now;
        match input {
            Input::Key(key) => self.key(key),
            Input::Paste(text) => {
                self.editor.insert(&text);
                self.wrote()
            }
            Input::News(incoming) => self.news(&incoming),
            Input::Say(text) => {
                self.status = clean::line(&text);
                Vec::new()
            }
            Input::Tick => Vec::new(),
        }
    }

    fn news(&mut self, incoming: &Incoming) -> Vec<Effect> {
        match incoming {
            Incoming::Message(message) => {
                // What was being typed has come (RFC 3994 §3.2).
                self.typing.remove(&message.from.key());
            }
            Incoming::Typing(typing) => {
                let until = self.now.after(std::time::Duration::from_secs(u64::from(typing.seconds)));
                // Only of known people: others could make the list grow.
                let key = typing.from.key();
                if self.contacts.iter().any(|contact| contact.address.key() == key) {
                    self.typing.insert(key, until);
                }
                return Vec::new();
            }
            Incoming::State(link) => {
                if let Link::Trouble(text) = link {
                    self.status = clean::line(text);
                } else {
                    // What was said of a time without a connection is over.
                    self.status.clear();
                    self.link = link.clone();
                    if !matches!(link, Link::Connected) {
                        self.roster.lost();
                    }
                }
                return Vec::new();
            }
            Incoming::Presence(news) => {
                self.presence(news);
                return Vec::new();
            }
            Incoming::Receipt { .. } | Incoming::Displayed { .. } => {}
        }
        vec![Effect::Refresh]
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        if self.help && !(control && key.code == KeyCode::Char('c')) {
            self.help = false;
            return Vec::new();
        }
        match key.code {
            KeyCode::Char('c') if control => return vec![Effect::Quit],
            KeyCode::Char('d') if control && self.editor.is_empty() => return vec![Effect::Quit],
            KeyCode::Char('n') if control => return self.step(true),
            KeyCode::Char('p') if control => return self.step(false),
            KeyCode::Tab => return self.step(true),
            KeyCode::BackTab => return self.step(false),
            KeyCode::F(1) => self.help = true,
            KeyCode::PageUp => self.scroll += 10,
            KeyCode::PageDown => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Enter if alt => self.editor.insert("\n"),
            KeyCode::Char('j') if control => self.editor.insert("\n"),
            KeyCode::Enter => return self.enter(),
            KeyCode::Char(c) if !control && !alt => {
                self.editor.insert(c.encode_utf8(&mut [0; 4]));
                return self.wrote();
            }
            code => {
                self.edit(code, control);
                return self.wrote();
            }
        }
        Vec::new()
    }

    fn edit(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Char('a') if control => self.editor.home(),
            KeyCode::Char('e') if control => self.editor.end(),
            KeyCode::Char('u') if control => self.editor.delete_start(),
            KeyCode::Char('w') if control => self.editor.delete_word(),
            KeyCode::Char('h') if control => self.editor.backspace(),
            KeyCode::Backspace => self.editor.backspace(),
            KeyCode::Delete => self.editor.delete(),
            KeyCode::Left => self.editor.left(),
            KeyCode::Right => self.editor.right(),
            KeyCode::Home => self.editor.home(),
            KeyCode::End => self.editor.end(),
            KeyCode::Up => self.editor.recall(true),
            KeyCode::Down => self.editor.recall(false),
            _ => {}
        }
    }

    /// Whether the partner is to be told that one types: only somebody who has written, not for orders.
    fn wrote(&mut self) -> Vec<Effect> {
        let Some(current) = self.current.clone().filter(|_| self.tells_typing) else { return Vec::new() };
        if !self.entries.iter().any(|entry| !entry.own) {
            return Vec::new();
        }
        let text = self.editor.text();
        let active = !text.is_empty() && Order::parse(&text).is_none();
        let told = self.told_typing.as_ref().filter(|(to, _)| *to == current.key());
        let due = told.is_none_or(|(_, at)| self.now.secs() - at.secs() >= TYPING_EVERY);
        if active && due {
            self.told_typing = Some((current.key(), self.now));
            return vec![Effect::Typing { to: current, active: true }];
        }
        if text.is_empty() && told.is_some() {
            self.told_typing = None;
            return vec![Effect::Typing { to: current, active: false }];
        }
        Vec::new()
    }

    fn step(&mut self, forward: bool) -> Vec<Effect> {
        let count = self.contacts.len();
        if count == 0 {
            return Vec::new();
        }
        let key = self.current.as_ref().map(Mailbox::key);
        let at = self.contacts.iter().position(|contact| Some(contact.address.key()) == key).unwrap_or(0);
        let next = if forward { (at + 1) % count } else { (at + count - 1) % count };
        let next = self.contacts[next].address.clone();
        self.talk_with(next)
    }

    /// Turns to somebody.
    pub fn talk_with(&mut self, who: Mailbox) -> Vec<Effect> {
        self.current = Some(who);
        self.scroll = 0;
        self.entries.clear();
        self.elsewhere = None;
        vec![Effect::Refresh]
    }

    /// To the partner, or where the partner wants answers.
    fn send(&self, to: Mailbox, text: String, file: Option<String>) -> Effect {
        match self.elsewhere.clone() {
            Some((id, to)) => Effect::Send { to, answers: Some(id), text, file },
            None => Effect::Send { to: vec![to], answers: None, text, file },
        }
    }

    fn enter(&mut self) -> Vec<Effect> {
        let text = self.editor.text();
        if text.trim().is_empty() {
            return Vec::new();
        }
        match (Order::parse(&text), self.current.clone()) {
            (Some(order), _) => {
                self.editor.take();
                self.obey(order)
            }
            (None, None) => {
                self.status = "with whom? /to ADDRESS".to_owned();
                Vec::new()
            }
            (None, Some(to)) => {
                let text = self.editor.take();
                self.scroll = 0;
                self.told_typing = None;
                let text = if text.starts_with("//") { text[1..].to_owned() } else { text };
                vec![self.send(to, text, None)]
            }
        }
    }

    /// Does what an order says.
    pub fn obey(&mut self, order: Order) -> Vec<Effect> {
        match order {
            Order::Help => self.help = true,
            Order::Quit => return vec![Effect::Quit],
            Order::To(name) => match self.named(&name) {
                Some(who) => return self.talk_with(who),
                None => self.status = format!("{name:?} is no address, and no contact that is only one"),
            },
            Order::Attach(file, text) => match self.current.clone() {
                Some(to) if !file.is_empty() => return vec![self.send(to, text, Some(file))],
                Some(_) => self.status = "which file? /attach FILE".to_owned(),
                None => self.status = "with whom? /to ADDRESS".to_owned(),
            },
            Order::Save => match self.entries.iter().rev().find(|entry| entry.files) {
                Some(entry) => return vec![Effect::Save(entry.id.clone())],
                None => self.status = "no message here has attachments".to_owned(),
            },
            Order::Displayed => match self.asking() {
                asks if asks.is_empty() => self.status = "nobody here asks to be told".to_owned(),
                asks => return vec![Effect::Displayed(asks, true)],
            },
            Order::Status(status, time) => return vec![Effect::Status(status, time)],
            Order::Watch(name) => return self.about(&name, Effect::Watch),
            Order::Unwatch(name) => {
                let effects = self.about(&name, Effect::Unwatch);
                if let [Effect::Unwatch(who)] = &effects[..] {
                    self.roster.forget(who);
                }
                return effects;
            }
            Order::Treat(how, name) => match self.party(&name) {
                Some(who) => {
                    self.decided = Some((who.clone(), how));
                    return vec![Effect::Treat(who, how)];
                }
                None => self.status = format!("{name:?} is no address or domain, and no contact that is only one"),
            },
            Order::Contacts => self.status = listed(self.roster.views(), "you watch nobody; /watch ADDRESS asks to"),
            Order::Watchers => self.status = listed(self.roster.watchers().iter(), "nobody watches you"),
            Order::Unknown(text) => self.status = text,
        }
        Vec::new()
    }

    /// About somebody that is named; without a name, the person with whom one talks.
    fn about(&mut self, name: &str, effect: fn(Mailbox) -> Effect) -> Vec<Effect> {
        let who = if name.is_empty() { self.current.clone() } else { self.named(name) };
        if who.is_none() {
            self.status = format!("{name:?} is no address, and no contact that is only one");
        }
        who.map(effect).into_iter().collect()
    }

    fn party(&self, name: &str) -> Option<Who> {
        match name.contains(['@', '.']) {
            true => name.parse().ok(),
            false if name.is_empty() => self.current.clone().map(Who::Mailbox),
            false => self.named(name).map(Who::Mailbox),
        }
    }

    fn named(&self, name: &str) -> Option<Mailbox> {
        history::named(name, self.contacts.iter().map(|contact| &contact.address))
    }

    /// The connection in a few words.
    pub fn link_words(&self) -> String {
        show_link(&self.link)
    }
}

fn listed<T: ToString>(list: impl Iterator<Item = T>, nobody: &str) -> String {
    let words: Vec<String> = list.map(|one| one.to_string()).collect();
    if words.is_empty() { nobody.to_owned() } else { words.join("; ") }
}

fn entry(message: &Message, index: &Index) -> Entry {
    let mut text = clean::text(message.text());
    for file in message.attachments() {
        let words =
            if file.description.is_empty() { String::new() } else { format!(": {}", clean::line(&file.description)) };
        let line = format!("[{}, {}{words}]", clean::line(&file.name), clean::size(file.size));
        text = if text.is_empty() { line } else { format!("{text}\n{line}") };
    }
    let (own, fates, asks) = match message {
        Message::Out { fates, .. } => (true, fates.clone(), false),
        Message::In(received) => {
            (false, Vec::new(), received.wants_displayed && !index.has_told(&received.from, &received.id))
        }
    };
    let files = !message.attachments().is_empty();
    let mark = match message {
        Message::Out { draft, .. } => mark::own(draft.signed, draft.encrypted).unwrap_or("unsigned").to_owned(),
        Message::In(received) => received.mark.words(),
    };
    Entry { id: message.id().to_owned(), own, date: message.date(), text, fates, asks, files, mark }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod presence_tests;
#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
