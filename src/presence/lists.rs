//! Lists that are shown to their owner alone: who watches, and whom one watches with the views that are known.
//!
//! Out: entities for the owner's devices. RFC 3858, RFC 4662 §5.

use std::sync::Arc;

use super::engine::{Engine, Facts};
use super::feeds::Changed;
use super::letter::{Letter, Written};
use super::names::NameId;
use super::tables::{ContactAt, FOREVER, Marks, Seen, Subscription, is_undecided};
use super::{Contact, State, Watcher, letter};
use crate::address::{Mailbox, uri};
use crate::limits;
use crate::mime::presence::{self, Directive, Event, Reason, SubscriptionId};
use crate::pidf::{self, rlmi, watcherinfo};
use crate::timestamp::Timestamp;

fn seconds(second: u32) -> Timestamp {
    if second == FOREVER { Timestamp::MAX } else { Timestamp::from_secs(second.into()) }
}

impl Engine {
    /// Who watches a presentity here.
    pub fn watchers_of(&self, presentity: NameId) -> Vec<(u32, Watcher)> {
        let Some(one) = self.tables.presentities.get(&presentity) else { return Vec::new() };
        let watcher = |number: &u32| {
            let one = self.tables.subscriptions.get(*number)?;
            let watcher = Watcher {
                watcher: self.tables.names.get(one.watcher)?.clone(),
                proven: one.marks.has(Marks::PROVEN),
                state: one.state,
                since: seconds(one.since),
                expires: seconds(one.expires),
                up_to_date: !one.is_behind(),
            };
            Some((*number, watcher))
        };
        one.watchers.iter().filter_map(watcher).collect()
    }

    /// Whom a watcher here watches, with the views that are known.
    pub fn contacts_of(&mut self, facts: &Facts<'_>, watcher: NameId) -> Vec<Contact> {
        let shown = self.shown_contacts(watcher);
        let mut encrypted = 0;
        let mut contacts = Vec::with_capacity(shown.len());
        for contact in shown {
            contacts.extend(match contact {
                ContactAt::Here(number) => self.known_here(facts, number, &mut encrypted),
                ContactAt::Away(number) => self.known_away(number),
            });
        }
        contacts
    }

    /// One here; of those that are `encrypted` not more than a few, each of which takes a while.
    fn known_here(&mut self, facts: &Facts<'_>, number: u32, encrypted: &mut usize) -> Option<Contact> {
        let presentity = self.tables.subscriptions.get(number)?.presentity;
        let view = self.with_hot(facts, presentity, |engine, mailbox, hot, version| {
            engine.reconsider(facts, mailbox, hot, version, number);
            let one = engine.tables.subscriptions.get(number).filter(|one| one.state == State::Active)?;
            let view = hot.views.iter().find(|view| view.digest == one.view)?;
            let seq = Timestamp::from_millis(view.seq);
            let Some(reader) = engine.readers.get(number).cloned() else {
                return Some((Some(view.text.clone()), None, seq));
            };
            *encrypted += 1;
            let entropy = engine.random();
            let written = (*encrypted <= limits::VIEWS_ENCRYPTED).then(|| view.entity(mailbox, facts.now, || entropy));
            Some((None, written.map(|it| it.for_reader(Some(&reader)).sealed(None, facts.now).entity), seq))
        })?;
        let (view, signed, seen) = view.map_or((None, None, None), |(view, signed, seq)| (view, signed, Some(seq)));
        let one = self.tables.subscriptions.get(number)?;
        Some(Contact {
            presentity: self.tables.names.get(presentity)?.clone(),
            state: one.state,
            expires: seconds(one.expires),
            seen,
            view,
            signed,
        })
    }

    fn known_away(&self, number: u32) -> Option<Contact> {
        let one = self.tables.watches.get(number)?;
        let view = one.view.as_ref().filter(|_| one.state == State::Active);
        let text = view.and_then(|view| view.content().text.clone());
        let passes = |view: &&Arc<Seen>| view.content().signed || view.content().encrypted;
        let signed = view.filter(passes).map(|view| view.entity.clone());
        let seq = i64::try_from(one.seq).unwrap_or_default();
        Some(Contact {
            presentity: self.tables.names.get(one.presentity)?.clone(),
            state: one.state,
            expires: seconds(one.expires),
            seen: view.map(|_| Timestamp::from_millis(seq)),
            view: text,
            signed,
        })
    }
}

fn status(state: State) -> (watcherinfo::Status, watcherinfo::Cause) {
    use watcherinfo::{Cause, Status};
    match state {
        State::Pending | State::Asked => (Status::Pending, Cause::Subscribe),
        State::Active => (Status::Active, Cause::Approved),
        State::Waiting => (Status::Waiting, Cause::Ended(Reason::Timeout)),
        State::Terminated(reason) => (Status::Terminated, Cause::Ended(reason.unwrap_or(Reason::Timeout))),
    }
}

/// Leaves in `changed` what one document has room for, first those that wait for a decision; the rest comes out.
pub(super) fn page(engine: &Engine, changed: &mut Changed, room: usize) -> Changed {
    if changed.len() <= room {
        return Changed::new();
    }
    let undecided = |number: &u32| engine.tables.subscriptions.get(*number).is_some_and(|one| is_undecided(one.state));
    let mut order: Vec<u32> = changed.keys().copied().collect();
    order.sort_by_key(|number| !undecided(number));
    order.drain(room..).filter_map(|number| changed.remove_entry(&number)).collect()
}

impl Engine {
    /// Who watches, by number.
    pub(super) fn watchers_by_number(&self, presentity: NameId) -> Changed {
        let Some(one) = self.tables.presentities.get(&presentity) else { return Changed::new() };
        let known = |number: &u32| {
            let one = self.tables.subscriptions.get(*number)?;
            // Whom the rules refuse does not watch.
            let over = matches!(one.state, State::Terminated(_));
            let mailbox = self.tables.names.get(one.watcher).filter(|_| !over)?.clone();
            Some((*number, (one.watcher, one.marks.has(Marks::PROVEN), mailbox)))
        };
        one.watchers.iter().filter_map(known).collect()
    }
}

/// How these watchers stand now: all there are, or those that have changed.
pub(super) fn watchers(
    engine: &mut Engine,
    facts: &Facts<'_>,
    presentity: NameId,
    id: Option<SubscriptionId>,
    (version, full): (u64, bool),
    changed: &Changed,
) -> Option<(Mailbox, Written)> {
    let owner = engine.tables.names.get(presentity)?.clone();
    let listed = changed.iter().map(|(number, (watcher, proven, mailbox))| {
        let same = |one: &&Subscription| {
            (one.presentity, one.watcher, one.marks.has(Marks::PROVEN)) == (presentity, *watcher, *proven)
                && !one.marks.has(Marks::GONE)
        };
        // One whose number is another's now is over.
        let one = engine.tables.subscriptions.get(*number).filter(same);
        let (status, cause) = status(one.map_or(State::Terminated(None), |one| one.state));
        let lives = one.filter(|_| status != watcherinfo::Status::Terminated);
        let remaining = |one: &Subscription| one.expires.saturating_sub(facts.second());
        watcherinfo::Watcher {
            id: format!("w{number}"),
            uri: watcherinfo::Watcher::uri_of(proven.then_some(mailbox)),
            status,
            cause,
            // What it says of itself, and nobody has proven.
            name: (!proven).then(|| mailbox.to_string()),
            expires: lives.filter(|one| one.expires != FOREVER).map(|one| remaining(one).into()),
            lasted: lives.map(|one| facts.second().saturating_sub(one.since).into()),
            proof: if *proven { watcherinfo::Proof::Domain } else { watcherinfo::Proof::None },
        }
    });
    let list = watcherinfo::List {
        resource: uri::write("pres", &owner),
        package: "presence".to_owned(),
        watchers: listed.collect(),
    };
    let text = watcherinfo::WatcherInfo { version, full, lists: vec![list] }.write();
    Some(own(engine, facts, owner, id, (Event::Watchers, time(facts)), Some((watcherinfo::MEDIA, &text))))
}

fn time(facts: &Facts<'_>) -> u64 {
    u64::try_from(facts.now.millis()).unwrap_or_default()
}

/// An entity of the owner's own events.
pub(super) fn own(
    engine: &mut Engine,
    facts: &Facts<'_>,
    owner: Mailbox,
    id: Option<SubscriptionId>,
    (event, seq): (Event, u64),
    body: Option<(&str, &str)>,
) -> (Mailbox, Written) {
    let directive = Directive::Notify { id, seq, state: presence::State::Active, expires: None, event };
    let entropy = engine.random();
    let letter =
        Letter { from: &owner, to: Some(&owner), directive: &directive, now: facts.now, entropy, body, signed: &[] };
    let written = letter.write();
    (owner, written)
}

/// Whom one watches: the list, and each view that is known as a part of its own (RFC 2387).
pub(super) fn contacts(
    engine: &mut Engine,
    facts: &Facts<'_>,
    watcher: NameId,
    id: SubscriptionId,
) -> Option<(Mailbox, Written)> {
    let owner = engine.tables.names.get(watcher)?.clone();
    let boundary = format!("{:032x}", u128::from_be_bytes(engine.random()));
    let (mut resources, mut parts, mut octets) = (Vec::new(), String::new(), 0);
    for (place, contact) in engine.contacts_of(facts, watcher).into_iter().enumerate() {
        let state = match contact.state {
            State::Active => presence::State::Active,
            State::Pending | State::Asked | State::Waiting => presence::State::Pending,
            State::Terminated(reason) => presence::State::Terminated(reason),
        };
        let any = contact.view.is_some() || contact.signed.is_some();
        let cid = any.then(|| format!("{place}.{boundary}@{}", owner.domain()));
        let part = cid.as_ref().map(|cid| match &contact.signed {
            // With the signature of its domain, or for the watcher alone.
            Some(entity) => {
                let entity = String::from_utf8_lossy(entity);
                format!("\r\n--{boundary}\r\nContent-Type: message/rfc822\r\nContent-ID: <{cid}>\r\n\r\n{entity}")
            }
            None => {
                let (encoding, text) = letter::transferred(contact.view.as_deref().unwrap_or_default());
                format!(
                    "\r\n--{boundary}\r\nContent-Type: {}; charset=utf-8\r\nContent-ID: <{cid}>\r\n\
                     Content-Transfer-Encoding: {encoding}\r\n\r\n{text}",
                    pidf::MEDIA
                )
            }
        });
        let part = part.filter(|part| {
            octets += part.len();
            octets <= limits::LIST_OCTETS
        });
        let cid = cid.filter(|_| part.is_some());
        parts.extend(part);
        // What nobody has answered is no subscription yet (RFC 4662 §5.3).
        let instances = match contact.state {
            State::Asked => Vec::new(),
            _ => vec![rlmi::Instance { id: "1".to_owned(), state, cid }],
        };
        resources.push(rlmi::Resource { uri: uri::write("pres", &contact.presentity), names: Vec::new(), instances });
    }
    let uri = uri::write("pres", &owner);
    let root = rlmi::List { uri, version: 0, full: true, names: Vec::new(), cid: None, resources }.write();
    let (encoding, root) = letter::transferred(&root);
    let body = format!(
        "--{boundary}\r\nContent-Type: {}; charset=utf-8\r\nContent-ID: <root.{boundary}@{}>\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\r\n{root}{parts}\r\n--{boundary}--\r\n",
        rlmi::MEDIA,
        owner.domain()
    );
    let media = format!("multipart/related; type=\"{}\"; boundary=\"{boundary}\"", rlmi::MEDIA);
    Some(own(engine, facts, owner, Some(id), (Event::Contacts, time(facts)), Some((&media, &body))))
}
