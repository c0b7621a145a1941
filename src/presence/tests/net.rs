//! Domains' engines on virtual time, and what is between them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::engine::{Engine, Facts, Options, Request, Rulings};
use super::super::restore::Restoring;
use super::super::{Author, Fate, Outgoing, Refusal, letter};
use crate::address::{Domain, Mailbox};
use crate::mime::presence::{Directive, Event, SubscriptionId};
use crate::rules::{Circumstances, Decision, Handling, Provide};
use crate::timestamp::Timestamp;

pub fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// The rules of everybody in a domain: what becomes of whom; `*` are those who are not named, `?` anonymous ones.
#[derive(Clone, Default)]
pub struct Rules {
    pub domain: String,
    pub of: Rc<RefCell<HashMap<(String, String), Handling>>>,
    pub publish: Rc<RefCell<Vec<(String, String)>>>,
    pub fetch_only: Rc<RefCell<Vec<(String, String)>>>,
    /// What those see who do not see everything.
    pub provide: Rc<RefCell<HashMap<(String, String), Provide>>>,
    pub removed: Rc<RefCell<Vec<String>>>,
}

impl Rulings for Rules {
    fn decide(&self, presentity: &Mailbox, watcher: Option<&Mailbox>, _: Circumstances<'_>) -> Decision {
        let who = watcher.map_or("?".to_owned(), Mailbox::key);
        let all = self.of.borrow();
        let key = |who: &str| (presentity.key(), who.to_owned());
        let named = all.get(&key(&who)).or_else(|| all.get(&key("*")).filter(|_| watcher.is_some()));
        let own = who == presentity.key();
        let subscription = if own { Handling::Allow } else { named.copied().unwrap_or(Handling::Confirm) };
        let provide = if subscription == Handling::Allow { Provide::everything() } else { Provide::default() };
        let fetch_only = self.fetch_only.borrow().contains(&key(&who));
        let provide = if fetch_only { Provide::everything() } else { provide };
        let provide = self.provide.borrow().get(&key(&who)).cloned().unwrap_or(provide);
        let publish = self.publish.borrow().contains(&key(&who));
        Decision { subscription, provide, publish, fetch_only, ..Decision::default() }
    }

    fn depends_on_time(&self, _: &Mailbox) -> bool {
        false
    }

    fn is_local(&self, domain: &Domain) -> bool {
        domain.as_str() == self.domain
    }

    fn is_presentity(&self, mailbox: &Mailbox) -> bool {
        let removed = self.removed.borrow().contains(&mailbox.key());
        self.is_local(mailbox.domain()) && mailbox.local() != "nobody" && !removed
    }
}

/// A domain.
pub struct Server {
    pub engine: Engine,
    pub rules: Rules,
    /// Rows that would outlast a crash, and those that are written and not synced.
    pub store: BTreeMap<Vec<u8>, Vec<u8>>,
    unsynced: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    seed: u64,
}

fn random(seed: u64) -> super::super::engine::Random {
    let mut state = seed | 1;
    Box::new(move || {
        let mut octets = [0; 16];
        for half in octets.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            half.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
        }
        octets
    })
}

impl Server {
    pub fn new(domain: &str, seed: u64) -> Server {
        let rules = Rules { domain: domain.to_owned(), ..Rules::default() };
        let engine = Engine::new(Options::default(), random(seed));
        Server { engine, rules, store: BTreeMap::new(), unsynced: Vec::new(), seed }
    }

    /// Does something at a time; `durable`: the rows are synced before anybody is answered.
    pub fn at<T>(&mut self, now: Timestamp, durable: bool, act: impl FnOnce(&mut Engine, &Facts<'_>) -> T) -> T {
        let rules = self.rules.clone();
        let result = act(&mut self.engine, &Facts { now, rulings: &rules });
        self.unsynced.extend(self.engine.take_rows());
        if durable {
            self.sync(usize::MAX);
        }
        result
    }

    fn sync(&mut self, most: usize) {
        let count = self.unsynced.len().min(most);
        for (key, content) in self.unsynced.drain(..count) {
            match content {
                Some(content) => _ = self.store.insert(key, content),
                None => _ = self.store.remove(&key),
            }
        }
    }

    /// The daemon is killed, and starts again with what was synced: all but the last rows.
    pub fn crash(&mut self, now: Timestamp, kept: usize) {
        self.sync(kept);
        self.unsynced.clear();
        self.seed += 1;
        self.engine = Engine::new(Options::default(), random(self.seed));
        let rows: Vec<_> = self.store.iter().map(|(key, content)| (key.clone(), content.clone())).collect();
        self.at(now, false, |engine, facts| {
            let mut restoring = Restoring::default();
            for (key, content) in &rows {
                assert!(engine.restore(facts, &mut restoring, key, content));
            }
            engine.restored(facts, restoring);
            engine.drop_removed(facts);
        });
    }

    pub fn rule(&mut self, now: Timestamp, presentity: &str, watcher: &str, handling: Handling) {
        self.rules.of.borrow_mut().insert((mailbox(presentity).key(), watcher.to_owned()), handling);
        self.at(now, true, |engine, facts| engine.rules_changed(facts, &mailbox(presentity)));
    }
}

/// What somebody says.
pub struct Line<'a> {
    pub from: &'a str,
    pub to: &'a [&'a str],
    pub directive: Directive,
    pub body: &'a str,
}

pub fn id(number: u8) -> SubscriptionId {
    SubscriptionId::new([number; 16])
}

pub fn subscribe(number: u8) -> Directive {
    Directive::Subscribe { id: id(number), expires: None, event: Event::Presence }
}

pub fn publish(expires: Option<u32>) -> Directive {
    Directive::Publish { id: None, expires, event: Event::Presence }
}

/// A document in which the im service is open, with a note.
pub fn open(presentity: &str, note: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:{presentity}\">\
         <tuple id=\"t\"><status><basic>open</basic></status><contact>im:{presentity}</contact></tuple>\
         <note>{note}</note></presence>"
    )
}

impl Server {
    /// Something said by a client here, or by another domain's server.
    pub fn say(&mut self, now: Timestamp, line: &Line<'_>, (proven, client): (bool, bool)) -> Result<(), Refusal> {
        let author = Author { mailbox: mailbox(line.from), proven, client, by_mail: false };
        let recipients: Vec<_> = line.to.iter().map(|to| mailbox(to)).collect();
        let entity = Bytes::from(format!("From: <{}>\r\nPresence: {}\r\n\r\n{}", line.from, line.directive, line.body));
        let media = "application/pidf+xml";
        self.at(now, true, |engine, facts| {
            let request = Request {
                author: &author,
                recipients: &recipients,
                directive: &line.directive,
                body: (media, line.body),
                entity: &entity,
                signed: false,
                document: None,
                reader: None,
            };
            engine.say(facts, &request)
        })
    }

    /// An entity that another domain's server has sent.
    pub fn receive(&mut self, now: Timestamp, outgoing: &Outgoing, proven: bool) -> Fate {
        let directive = Directive::of(&outgoing.written.entity).unwrap();
        let (media, text) = letter::body_of(&outgoing.written.entity).unwrap();
        let author = Author { mailbox: outgoing.sender.clone(), proven, client: false, by_mail: false };
        let result = self.at(now, true, |engine, facts| {
            let request = Request {
                author: &author,
                recipients: &outgoing.recipients,
                directive: &directive,
                body: (&media, &text),
                entity: &outgoing.written.entity,
                signed: false,
                document: None,
                reader: None,
            };
            engine.say(facts, &request)
        });
        match result {
            Ok(()) => Fate::Accepted,
            Err(reply) if reply.is_permanent() => Fate::Refused,
            Err(_) => Fate::Later,
        }
    }

    /// The state and the view that a watcher here has of somebody.
    pub fn sees(&mut self, now: Timestamp, watcher: &str, presentity: &str) -> String {
        let (watcher, presentity) = (mailbox(watcher), mailbox(presentity));
        let contacts = self.at(now, false, |engine, facts| {
            let name = engine.tables.names.find(&watcher);
            name.map(|name| engine.contacts_of(facts, name)).unwrap_or_default()
        });
        let Some(contact) = contacts.into_iter().find(|contact| contact.presentity.key() == presentity.key()) else {
            return "nothing".to_owned();
        };
        shown(&format!("{:?}", contact.state), contact.view.as_deref())
    }

    /// What a device that attaches now is shown, in short, and answers all of.
    pub fn device(&mut self, now: Timestamp, watcher: &str) -> Vec<String> {
        let watcher = mailbox(watcher);
        let feed = self.at(now, false, |engine, facts| engine.open_feed(facts, &watcher, Arc::new(Notify::new())));
        let shown = self.take(now, feed);
        self.at(now, false, |engine, _| engine.close_feed(feed));
        shown
    }

    /// What a device is shown now.
    pub fn take(&mut self, now: Timestamp, feed: u64) -> Vec<String> {
        let all = self.at(now, false, |engine, facts| engine.take(facts, feed, 100));
        let mut told = Vec::new();
        for one in all {
            told.push(format!("{} {}", one.from, in_short(&one.written.entity)));
            self.at(now, false, |engine, _| engine.answered(feed, one.token, false));
        }
        told
    }
}

/// A state and a view in short: `Active open note`.
fn shown(state: &str, view: Option<&str>) -> String {
    let Some(view) = view else { return state.to_owned() };
    let document = crate::pidf::Document::parse(view).unwrap();
    let basic = document.basic().map_or("unknown", |basic| basic.word());
    let note = document.person_notes().first().map_or("", |note| note.text.as_str());
    format!("{state} {basic} {note}").trim_end().to_owned()
}

/// An entity in short.
pub fn in_short(entity: &[u8]) -> String {
    let directive = Directive::of(entity).unwrap();
    let (_, text) = letter::body_of(entity).unwrap();
    match &directive {
        Directive::Notify { state, event: Event::Presence, .. } => {
            let reason = match state {
                crate::mime::presence::State::Terminated(Some(reason)) => format!(" {}", reason.word()),
                _ => String::new(),
            };
            shown(&format!("{}{reason}", state.word()), Some(text.as_str()).filter(|text| !text.is_empty()))
        }
        other => other.word().to_owned(),
    }
}

/// Two domains, a.test and b.test, and a wire that loses nothing unless told to.
pub struct Net {
    pub now: Timestamp,
    pub a: Server,
    pub b: Server,
}

impl Net {
    pub fn new() -> Net {
        let now = Timestamp::from_secs(1_795_000_000);
        Net { now, a: Server::new("a.test", 1), b: Server::new("b.test", 2) }
    }

    pub fn pass(&mut self, seconds: u64) {
        // In steps, so that each timer has its time.
        let step = (seconds / 200).max(1);
        let end = self.now.after(std::time::Duration::from_secs(seconds));
        while self.now < end {
            self.now = self.now.after(std::time::Duration::from_secs(step)).min(end);
            self.exchange();
        }
    }

    /// Lets everything come to rest; what went, in short.
    pub fn exchange(&mut self) -> Vec<String> {
        let mut log = Vec::new();
        let now = self.now;
        for _ in 0..100 {
            let mut quiet = true;
            for forth in [true, false] {
                let (from, to) = if forth { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
                from.at(now, false, |engine, facts| engine.tick(facts));
                let domain = Domain::parse(&to.rules.domain).unwrap();
                for outgoing in from.at(now, false, |engine, facts| engine.due(facts, &domain)) {
                    quiet = false;
                    let to_whom: Vec<_> = outgoing.recipients.iter().map(|one| one.local().to_owned()).collect();
                    let what = in_short(&outgoing.written.entity);
                    log.push(format!("{}>{} {what}", outgoing.sender.local(), to_whom.join(",")));
                    let fate = to.receive(now, &outgoing, true);
                    let fates: Vec<_> = (0..outgoing.recipients.len()).map(|place| (place, fate)).collect();
                    from.at(now, false, |engine, facts| engine.reported(facts, outgoing.token, &fates));
                }
            }
            if quiet {
                break;
            }
        }
        log
    }
}
