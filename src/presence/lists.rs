//! Lists that are shown to their owner alone: who watches, and whom one watches with the views that are known.
//!
//! Out: entities for the owner's devices. RFC 3858, RFC 4662 §5.

use super::engine::{Engine, Facts};
use super::letter::{Letter, Written};
use super::names::NameId;
use super::tables::{ContactAt, FOREVER, Marks};
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
        let mut contacts = Vec::with_capacity(shown.len());
        for contact in shown {
            contacts.extend(match contact {
                ContactAt::Here(number) => self.known_here(facts, number),
                ContactAt::Away(number) => self.known_away(number),
            });
        }
        contacts
    }

    fn known_here(&mut self, facts: &Facts<'_>, number: u32) -> Option<Contact> {
        let presentity = self.tables.subscriptions.get(number)?.presentity;
        let view = self.with_hot(facts, presentity, |engine, mailbox, hot, version| {
            engine.reconsider(facts, mailbox, hot, version, number);
            let one = engine.tables.subscriptions.get(number).filter(|one| one.state == State::Active)?;
            let view = hot.views.iter().find(|view| view.digest == one.view)?;
            Some((view.text.clone(), view.seq))
        })?;
        let one = self.tables.subscriptions.get(number)?;
        Some(Contact {
            presentity: self.tables.names.get(presentity)?.clone(),
            state: one.state,
            expires: seconds(one.expires),
            seen: view.as_ref().map(|(_, seq)| Timestamp::from_millis(*seq)),
            view: view.map(|(text, _)| text),
        })
    }

    fn known_away(&self, number: u32) -> Option<Contact> {
        let one = self.tables.watches.get(number)?;
        let view = one.view.as_ref().filter(|_| one.state == State::Active);
        let text = view.and_then(|view| letter::body_of(&view.entity)).map(|(_, text)| text);
        let seq = i64::try_from(one.seq).unwrap_or_default();
        Some(Contact {
            presentity: self.tables.names.get(one.presentity)?.clone(),
            state: one.state,
            expires: seconds(one.expires),
            seen: text.as_ref().map(|_| Timestamp::from_millis(seq)),
            view: text,
        })
    }
}

fn status(watcher: &Watcher) -> Option<(watcherinfo::Status, watcherinfo::Cause)> {
    use watcherinfo::{Cause, Status};
    Some(match watcher.state {
        State::Pending | State::Asked => (Status::Pending, Cause::Subscribe),
        State::Active => (Status::Active, Cause::Approved),
        State::Waiting => (Status::Waiting, Cause::Ended(Reason::Timeout)),
        State::Terminated(_) => return None,
    })
}

/// Who watches: all of them, or where they are too many those that wait for a decision.
pub(super) fn watchers(
    engine: &mut Engine,
    facts: &Facts<'_>,
    presentity: NameId,
    id: Option<SubscriptionId>,
) -> Option<(Mailbox, Written)> {
    let owner = engine.tables.names.get(presentity)?.clone();
    let mut all = engine.watchers_of(presentity);
    let full = all.len() <= limits::WATCHERS_LISTED;
    if !full {
        all.retain(|(_, watcher)| matches!(watcher.state, State::Pending | State::Waiting));
        all.truncate(limits::WATCHERS_LISTED);
    }
    let listed = all.iter().filter_map(|(number, watcher)| {
        let (status, cause) = status(watcher)?;
        let forever = watcher.expires == Timestamp::MAX;
        Some(watcherinfo::Watcher {
            id: format!("w{number}"),
            uri: watcherinfo::Watcher::uri_of(watcher.proven.then_some(&watcher.watcher)),
            status,
            cause,
            // What it says of itself, and nobody has proven.
            name: (!watcher.proven).then(|| watcher.watcher.to_string()),
            expires: (!forever).then(|| watcher.expires.since(facts.now).as_secs()),
            lasted: Some(facts.now.since(watcher.since).as_secs()),
            proof: if watcher.proven { watcherinfo::Proof::Domain } else { watcherinfo::Proof::None },
        })
    });
    let list = watcherinfo::List {
        resource: uri::write("pres", &owner),
        package: "presence".to_owned(),
        watchers: listed.collect(),
    };
    let version = engine.tables.presentities.get(&presentity).map_or(0, |one| one.list.into());
    let text = watcherinfo::WatcherInfo { version, full, lists: vec![list] }.write();
    Some(own(engine, facts, owner, id, Event::Watchers, Some((watcherinfo::MEDIA, &text))))
}

/// An entity of the owner's own events.
pub(super) fn own(
    engine: &mut Engine,
    facts: &Facts<'_>,
    owner: Mailbox,
    id: Option<SubscriptionId>,
    event: Event,
    body: Option<(&str, &str)>,
) -> (Mailbox, Written) {
    let seq = u64::try_from(facts.now.millis()).unwrap_or_default();
    let directive = Directive::Notify { id, seq, state: presence::State::Active, expires: None, event };
    let entropy = engine.random();
    let letter = Letter { from: &owner, to: Some(&owner), directive: &directive, now: facts.now, entropy, body };
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
        let view = contact.view.filter(|view| {
            octets += view.len();
            octets <= limits::LIST_OCTETS
        });
        let cid = view.as_ref().map(|_| format!("{place}.{boundary}@{}", owner.domain()));
        if let (Some(cid), Some(view)) = (&cid, &view) {
            let (encoding, text) = letter::transferred(view);
            parts.push_str(&format!(
                "\r\n--{boundary}\r\nContent-Type: {}; charset=utf-8\r\nContent-ID: <{cid}>\r\n\
                 Content-Transfer-Encoding: {encoding}\r\n\r\n{text}",
                pidf::MEDIA
            ));
        }
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
    Some(own(engine, facts, owner, Some(id), Event::Contacts, Some((&media, &body))))
}
