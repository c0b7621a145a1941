//! What is due to watchers who have only mail: for each a box, that is opened when its pause is over.
//!
//! In: who of them is behind, who has asked to watch and has to confirm it. Out: [`Mailing`]s, what each shall be told now, in
//! one for each domain of presentities; words are made of it elsewhere. Invariants: changes wait for
//! [`super::Options::mail_pause`] and come together, the latest of each presentity only; answers do not wait; what
//! came and went in the meantime makes no mail. How it fails: a mail that cannot be handed over is made anew, later.

use std::collections::{HashMap, VecDeque};

use super::due::{Fate, Flight};
use super::engine::{Engine, Facts, refuse};
use super::names::{DomainId, NameId};
use super::tables::Marks;
use super::timers::Timer;
use super::{Refusal, State};
use crate::address::{Domain, Mailbox};
use crate::limits;
use crate::pidf::Document;
use crate::timestamp::Timestamp;

/// What somebody is to be told by mail.
#[derive(Clone, Debug)]
pub struct Mailing {
    /// Names it in the report.
    pub token: u64,
    /// To whom.
    pub watcher: Mailbox,
    /// In the name of this domain, whose presentities it is about.
    pub domain: Domain,
    /// What it says.
    pub contents: Contents,
    /// Now.
    pub now: Timestamp,
    /// Names this mail and no other.
    pub entropy: [u8; 16],
    /// When nobody waits for it any more.
    pub until: Timestamp,
}

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Somebody, perhaps the watcher, has asked to be told of this presentity; the watcher has to say so.
    Confirm(Mailbox),
    /// This is what may be known; at least one.
    Told(Vec<Told>),
}

/// What may be known of a presentity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose presence it is.
    pub presentity: Mailbox,
    /// How the subscription stands.
    pub state: State,
    /// Whether it was asked for once; else changes will follow.
    pub once: bool,
    /// When the subscription ends.
    pub expires: Timestamp,
    /// The view, as a document of RFC 3863, where it is active.
    pub view: Option<String>,
}

/// What is on its way of one subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    number: u32,
    seq: i64,
    view: u64,
    state: State,
}

/// What waits for one watcher.
#[derive(Debug, Default)]
struct Letterbox {
    behind: Vec<u32>,
    /// Presentities, whose names are held.
    confirm: Vec<NameId>,
    /// The second in which it is opened; zero: it is in its domain's line.
    at: u32,
}

/// All boxes.
#[derive(Debug, Default)]
pub(super) struct Mailed {
    /// The names of watchers of whom something is to be confirmed are held.
    boxes: HashMap<NameId, Letterbox>,
    /// Watchers whose boxes are to be opened, by their domains.
    lines: HashMap<DomainId, VecDeque<NameId>>,
    awake: Vec<DomainId>,
    /// What each was told last: it is not said again. Lost with the process.
    said: HashMap<u32, u64>,
    /// Presentities that wait to be confirmed, in all boxes.
    confirmed: usize,
}

impl Mailed {
    pub fn is_awake(&self) -> bool {
        !self.awake.is_empty()
    }

    /// What a subscription was told last is of no account any more.
    pub fn forget(&mut self, number: u32) {
        self.said.remove(&number);
    }
}

impl Engine {
    /// A subscription of somebody who is told by mail is behind; it is marked as queued.
    pub(super) fn queue_mail(&mut self, number: u32) {
        let Some(watcher) = self.tables.subscriptions.get(number).map(|one| one.watcher) else { return };
        self.mailed.boxes.entry(watcher).or_default().behind.push(number);
        self.look_into(watcher);
    }

    /// A subscription is not to be told of any more.
    pub(super) fn unqueue_mail(&mut self, number: u32, watcher: NameId) {
        if let Some(one) = self.mailed.boxes.get_mut(&watcher) {
            one.behind.retain(|other| *other != number);
        }
    }

    /// Somebody has asked to watch: the watcher gets a mail that asks whether it is so.
    pub fn confirm_by_mail(
        &mut self,
        facts: &Facts<'_>,
        watcher: &Mailbox,
        presentity: &Mailbox,
    ) -> Result<(), Refusal> {
        if !facts.rulings.is_presentity(presentity) {
            return Err(refuse(550, (5, 1, 1), format!("{presentity} is no presentity here")));
        }
        if self.mailed.confirmed >= limits::PRESENCE_ANSWERS {
            return Err(refuse(452, (4, 3, 2), "too many answers wait to be given, try again later"));
        }
        let (watcher, presentity) = (self.hold(watcher, facts), self.hold(presentity, facts));
        let one = self.mailed.boxes.entry(watcher).or_default();
        if one.confirm.contains(&presentity) || one.confirm.len() >= limits::MAILED_CONTACTS {
            self.tables.names.release(watcher);
            self.tables.names.release(presentity);
            return Ok(());
        }
        one.confirm.push(presentity);
        self.mailed.confirmed += 1;
        self.look_into(watcher);
        Ok(())
    }

    /// Something was put into a box: at once, in a second that has begun, it is found out when it is opened.
    fn look_into(&mut self, watcher: NameId) {
        self.timers.file(0, Timer::Mail(watcher));
    }

    /// Something was put into a box, or its pause is over.
    pub(super) fn mail_timer(&mut self, facts: &Facts<'_>, watcher: NameId, filed: u32) {
        let Some(one) = self.mailed.boxes.get_mut(&watcher) else { return };
        let answer = |number: &u32| {
            self.tables.subscriptions.get(*number).is_some_and(|one| {
                one.marks.has(Marks::FETCH) || one.acked == 0 || matches!(one.state, State::Terminated(_))
            })
        };
        let now = !one.confirm.is_empty() || one.behind.iter().any(answer) || self.options.mail_pause.is_zero();
        if filed == 0 && !now {
            if one.at == 0 {
                one.at = facts.after(self.options.mail_pause);
                self.timers.file(one.at, Timer::Mail(watcher));
            }
            return;
        }
        if filed != 0 && filed != one.at {
            return;
        }
        one.at = 0;
        let Some(domain) = self.tables.names.domain_of(watcher) else { return };
        let line = self.mailed.lines.entry(domain).or_default();
        if !line.contains(&watcher) {
            line.push_back(watcher);
        }
        self.mailed.awake.push(domain);
    }

    /// Domains in whose lines mail is since this was asked last.
    pub fn mail_awake(&mut self) -> Vec<Domain> {
        let awake = std::mem::take(&mut self.mailed.awake);
        awake.into_iter().filter_map(|domain| self.tables.names.domain(domain).cloned()).collect()
    }

    /// What the first watcher of a domain is to be told by mail; empty when nobody is.
    pub fn due_by_mail(&mut self, facts: &Facts<'_>, domain: &Domain) -> Vec<Mailing> {
        let Some(domain) = self.tables.names.domain_id(domain) else { return Vec::new() };
        loop {
            let Some(line) = self.mailed.lines.get_mut(&domain) else { return Vec::new() };
            let Some(watcher) = line.pop_front() else {
                self.mailed.lines.remove(&domain);
                return Vec::new();
            };
            let mailings = self.open(facts, watcher);
            if !mailings.is_empty() {
                return mailings;
            }
        }
    }

    /// Takes out what is in a box.
    fn open(&mut self, facts: &Facts<'_>, watcher: NameId) -> Vec<Mailing> {
        let Some(mut one) = self.mailed.boxes.remove(&watcher) else { return Vec::new() };
        let rest = one.behind.split_off(one.behind.len().min(limits::MAILED_TOGETHER));
        if !rest.is_empty() {
            self.mailed.boxes.insert(watcher, Letterbox { behind: rest, ..Letterbox::default() });
            self.look_into(watcher);
        }
        let mut mailings = Vec::new();
        let mut by_domain: Vec<(DomainId, Vec<Told>, Vec<Sent>)> = Vec::new();
        for number in one.behind {
            let Some((domain, told, sent)) = self.tell(facts, number) else { continue };
            match by_domain.iter_mut().find(|(other, ..)| *other == domain) {
                Some((_, all, flying)) => {
                    all.push(told);
                    flying.push(sent);
                }
                None => by_domain.push((domain, vec![told], vec![sent])),
            }
        }
        for (domain, told, sent) in by_domain {
            let flight = Flight::Mailed(sent);
            mailings.extend(self.mailing(facts, (watcher, domain), Contents::Told(told), flight));
        }
        self.mailed.confirmed = self.mailed.confirmed.saturating_sub(one.confirm.len());
        for presentity in one.confirm {
            let flight = Flight::Confirm { watcher, presentity };
            let named = self.tables.names.get(presentity).cloned().zip(self.tables.names.domain_of(presentity));
            let Some((mailbox, domain)) = named else { continue };
            mailings.extend(self.mailing(facts, (watcher, domain), Contents::Confirm(mailbox), flight));
        }
        mailings
    }

    fn mailing(
        &mut self,
        facts: &Facts<'_>,
        (watcher, domain): (NameId, DomainId),
        contents: Contents,
        flight: Flight,
    ) -> Option<Mailing> {
        let watcher = self.tables.names.get(watcher)?.clone();
        let domain = self.tables.names.domain(domain)?.clone();
        let entropy = self.random();
        let (token, until) = self.take_off(facts, flight);
        Some(Mailing { token, watcher, domain, contents, now: facts.now, entropy, until })
    }

    /// What is to be said of one subscription; `None`: nothing, after all.
    fn tell(&mut self, facts: &Facts<'_>, number: u32) -> Option<(DomainId, Told, Sent)> {
        let (presentity, marks) = self.tables.subscriptions.get(number).map(|one| (one.presentity, one.marks))?;
        if !marks.has(Marks::GONE) && !marks.has(Marks::FETCH) {
            // While it waited, rules may have changed by the clock alone. It is still marked as queued.
            self.with_hot(facts, presentity, |engine, mailbox, hot, version| {
                engine.reconsider(facts, mailbox, hot, version, number);
            });
        }
        let one = self.tables.subscriptions.get_mut(number)?;
        let queued = one.marks.has(Marks::QUEUED);
        one.marks.set(Marks::QUEUED, false);
        self.behind = self.behind.saturating_sub(usize::from(queued));
        if one.marks.has(Marks::GONE) {
            self.tables.settle(number);
            return None;
        }
        let one = self.tables.subscriptions.get(number).filter(|one| one.is_behind())?.clone();
        let (state, view, seq) = self.answer_of(facts, number, &one)?;
        let text = view.map(|view| view.text.clone());
        let gist = gist(state, text.as_deref(), facts.now);
        let fetch = one.marks.has(Marks::FETCH);
        let asked = fetch || one.acked == 0;
        let mail = self.tables.subscriptions.get_mut(number)?;
        mail.version = mail.version.max(seq);
        mail.marks.set(Marks::ANSWER, false);
        if !asked && self.mailed.said.get(&number) == Some(&gist) {
            // It has come and gone, or it is of no account to people.
            mail.acked = mail.version;
            self.write_subscription(number);
            return None;
        }
        mail.marks.set(Marks::FLYING, true);
        let view = mail.view;
        if !fetch {
            self.mailed.said.insert(number, gist);
            self.write_subscription(number);
        }
        let expires = Timestamp::from_secs(one.expires.into());
        let mailbox = self.tables.names.get(presentity)?.clone();
        let told = Told { presentity: mailbox, state, once: fetch, expires, view: text };
        Some((self.tables.names.domain_of(presentity)?, told, Sent { number, seq, view, state }))
    }

    /// What became of a mail.
    pub(super) fn mail_reported(&mut self, sent: Vec<Sent>, fate: Fate) {
        for Sent { number, seq, view, state } in sent {
            if fate == Fate::Later {
                self.mailed.forget(number);
            }
            self.told(number, (seq, view, Some(state)), fate);
        }
    }

    /// What became of the question whether it was the watcher who asked.
    pub(super) fn confirm_reported(&mut self, (watcher, presentity): (NameId, NameId), fate: Fate) {
        if fate == Fate::Later {
            self.mailed.boxes.entry(watcher).or_default().confirm.push(presentity);
            self.mailed.confirmed += 1;
            return self.look_into(watcher);
        }
        self.tables.names.release(watcher);
        self.tables.names.release(presentity);
    }

    /// Mail for this watcher comes back, or it wants no more: ends all that it is told by mail of presentities of this domain.
    /// Tells how many there were.
    pub fn unsubscribe_by_mail(&mut self, facts: &Facts<'_>, watcher: &Mailbox, domain: &Domain) -> usize {
        let Some(watcher) = self.tables.names.find(watcher) else { return 0 };
        let here = self.tables.names.domain_id(domain);
        let all = self.tables.mailed(watcher).to_vec();
        let mut count = 0;
        for number in all {
            let Some(one) = self.tables.subscriptions.get(number) else { continue };
            if self.tables.names.domain_of(one.presentity) == here && one.state != State::Waiting {
                count += 1;
                self.leave(facts, number);
            }
        }
        count
    }
}

/// What people care about in a view.
fn gist(state: State, view: Option<&str>, now: Timestamp) -> u64 {
    let document = view.and_then(|text| Document::parse(text).ok());
    let said = document.map(|document| {
        let activities: Vec<String> = document.activities(now).map(str::to_owned).collect();
        let notes: Vec<String> = document.person_notes().iter().map(|note| note.text.clone()).collect();
        let services: Vec<_> = document.tuples.iter().map(|tuple| (tuple.basic, tuple.contact.clone())).collect();
        (activities, notes, services)
    });
    xxhash_rust::xxh3::xxh3_64(format!("{state:?} {said:?}").as_bytes())
}
