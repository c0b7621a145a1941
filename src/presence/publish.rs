//! The presentity's document: publications, sessions, and who is due a new view when it has changed.
//!
//! In: publications, attached devices, time, changed rules. Out: watchers that are behind. Invariant: each watcher's state and
//! view are what the rules say at this moment ([`Engine::reconsider`] is the one place where that is decided); a view that has
//! not changed is told to nobody. RFC 3903 in its sense, RFC 5025 §3.2.1, RFC 6665 §4.2.2.

use super::engine::{Engine, Facts, Request, refuse};
use super::feeds::Item;
use super::letter::ENCRYPTED;
use super::names::NameId;
use super::row::{self, PublicationRow};
use super::tables::{ContactAt, FOREVER, Hot, Marks, Publication};
use super::timers::Timer;
use super::{Author, Reason, Refusal, State, view};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::presence::Directive;
use crate::pidf;
use crate::rules::{Circumstances, Decision, Handling};
use crate::timestamp::Timestamp;

/// How often rules that depend on the time of day are looked at.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

impl Engine {
    /// A publication is made, refreshed or taken back.
    pub(super) fn publish(&mut self, facts: &Facts<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        let Directive::Publish { id, expires, .. } = request.directive else { return Ok(()) };
        let author = request.author;
        let presentity = self.may_put(facts, request)?;
        let id = id.as_ref().map_or("", |id| id.as_str());
        let (name, by) = (self.hold(presentity, facts), self.hold(&author.mailbox, facts));
        let result = match expires {
            Some(0) => {
                self.withdraw(facts, name, by, id);
                Ok(())
            }
            _ => self.put_publication(facts, (name, by), presentity, request, (id, *expires)),
        };
        self.tables.names.release(name);
        self.tables.names.release(by);
        result
    }

    /// For whom it is, if its author may.
    pub(super) fn may_put<'a>(&self, facts: &Facts<'_>, request: &Request<'a>) -> Result<&'a Mailbox, Refusal> {
        let [presentity] = request.recipients else {
            return Err(refuse(554, (5, 5, 3), "a publication is for one presentity; send it to that alone"));
        };
        if !facts.rulings.is_presentity(presentity) {
            return Err(refuse(550, (5, 1, 1), "there is no such presentity here"));
        }
        self.may_publish(facts, presentity, request.author)?;
        Ok(presentity)
    }

    fn may_publish(&self, facts: &Facts<'_>, presentity: &Mailbox, author: &Author) -> Result<(), Refusal> {
        if author.client && author.mailbox.key() == presentity.key() {
            return Ok(());
        }
        let circumstances = Circumstances::from(facts.now);
        if author.proven && facts.rulings.decide(presentity, Some(&author.mailbox), circumstances).publish {
            return Ok(());
        }
        let text = format!("{presentity} is not yours to publish for; its owner can allow it by a rule `publish`");
        Err(refuse(550, (5, 7, 1), text))
    }

    fn put_publication(
        &mut self,
        facts: &Facts<'_>,
        (name, by): (NameId, NameId),
        presentity: &Mailbox,
        request: &Request<'_>,
        (id, expires): (&str, Option<u32>),
    ) -> Result<(), Refusal> {
        let (author, (media, text)) = (request.author, request.body);
        let known = self.tables.presentities.get(&name);
        let place = known.and_then(|one| one.publications.iter().position(|old| old.by == by && *old.id == *id));
        // What is encrypted has a body that is not read here, not none.
        let refreshed = text.trim().is_empty() && media != ENCRYPTED;
        match (refreshed, place) {
            (true, None) => return Err(refuse(554, (5, 6, 0), "there is no publication of that name to be refreshed")),
            (true, Some(_)) => {}
            (false, _) if media != pidf::MEDIA => {
                return Err(refuse(554, (5, 6, 1), format!("a publication is of the type {}", pidf::MEDIA)));
            }
            (false, _) => {
                if !request.is_about(presentity)? {
                    let text = format!("the document's entity must be pres:{presentity}, to whom it is sent");
                    return Err(refuse(554, (5, 6, 0), text));
                }
            }
        }
        if place.is_none() && known.is_some_and(|one| one.publications.len() >= limits::PUBLICATIONS) {
            return Err(refuse(452, (4, 5, 3), "that presentity has too many publications; take one back"));
        }
        let expires = expires.map_or(FOREVER, |seconds| facts.second().saturating_add(seconds).min(FOREVER - 1));
        let presentity_row = presentity.clone();
        // What would not pass every hop as it is goes along with no view.
        let signed = Some(request.entity.clone())
            .filter(|entity| request.signed && entity.is_ascii() && entity.len() <= limits::SIGNED_OCTETS);
        let one = self.presentity(facts, name);
        let at = facts.now.millis();
        let publication = match place.and_then(|place| one.publications.get_mut(place)) {
            Some(old) => {
                old.expires = expires;
                if !refreshed {
                    (old.at, old.text, old.signed) = (at, text.into(), signed);
                }
                old.clone()
            }
            None => {
                let new = Publication { id: id.into(), by, expires, at, text: text.into(), signed };
                one.publications.push(new.clone());
                self.counts.publications += 1;
                self.tables.names.hold_again(name);
                self.tables.names.hold_again(by);
                new
            }
        };
        let row = PublicationRow {
            presentity: presentity_row,
            by: author.mailbox.clone(),
            id: id.to_owned(),
            expires,
            at: publication.at,
            text: publication.text.into_string(),
            signed: publication.signed,
        };
        self.write(row.write());
        self.keep(name);
        self.file_publications(name);
        self.changed(facts, name);
        Ok(())
    }

    /// Files the timer of the publication that expires first: one for all, however often they are refreshed.
    pub(super) fn file_publications(&mut self, name: NameId) {
        let Some(one) = self.tables.presentities.get_mut(&name) else { return };
        let Some(first) = one.publications.iter().map(|one| one.expires).min() else { return };
        if first != FOREVER && (one.timer == 0 || one.timer > first) {
            one.timer = first;
            self.timers.file(first, Timer::Presentity(name));
        }
    }

    fn withdraw(&mut self, facts: &Facts<'_>, name: NameId, by: NameId, id: &str) {
        let own = self
            .tables
            .presentities
            .get(&name)
            .is_some_and(|one| one.publications.iter().any(|one| one.by == by && *one.id == *id));
        // What others have published for its owner the owner can take back.
        self.drop_publications(facts, name, |one| *one.id == *id && (one.by == by || (by == name && !own)));
    }

    /// Publications of those whom the rules do not let publish any more.
    fn drop_delegates(&mut self, facts: &Facts<'_>, name: NameId) {
        let Some(one) = self.tables.presentities.get(&name) else { return };
        let mut others: Vec<NameId> = one.publications.iter().map(|one| one.by).filter(|by| *by != name).collect();
        others.sort_unstable();
        others.dedup();
        let Some(mailbox) = self.tables.names.get(name) else { return };
        let circumstances = Circumstances::from(facts.now);
        others.retain(|by| {
            let by = self.tables.names.get(*by);
            by.is_some_and(|by| !facts.rulings.decide(mailbox, Some(by), circumstances).publish)
        });
        if !others.is_empty() {
            self.drop_publications(facts, name, |one| others.contains(&one.by));
        }
    }

    /// Somebody who is no presentity here any more: what it published goes, and who watched it is told.
    pub(super) fn drop_presentity(&mut self, facts: &Facts<'_>, name: NameId) {
        self.drop_publications(facts, name, |_| true);
        let watchers = self.tables.presentities.get(&name).map(|one| one.watchers.clone()).unwrap_or_default();
        for number in watchers {
            let state = self.tables.subscriptions.get(number).map(|one| one.state);
            match state {
                None | Some(State::Terminated(_)) => {}
                Some(State::Waiting) => self.end(number),
                Some(_) => self.finish(facts, number, Reason::Noresource),
            }
        }
    }

    /// Publications whose time is over, and devices that have not come back after a start.
    pub(super) fn expire_publications(&mut self, facts: &Facts<'_>, name: NameId) {
        let second = facts.second();
        if let Some(one) = self.tables.presentities.get_mut(&name)
            && one.timer <= second
        {
            one.timer = 0;
        }
        self.drop_publications(facts, name, |one| one.expires <= second);
        self.file_publications(name);
        if let Some(one) = self.tables.presentities.get_mut(&name)
            && one.lingers != 0
            && one.lingers <= second
        {
            one.lingers = 0;
            self.detached(facts, name);
            self.release_presentity(name, 1);
        }
        if let Some(one) = self.tables.presentities.get_mut(&name)
            && std::mem::take(&mut one.timed)
        {
            self.revise(facts, name);
        }
    }

    fn drop_publications(&mut self, facts: &Facts<'_>, name: NameId, gone: impl Fn(&Publication) -> bool) {
        let Some(one) = self.tables.presentities.get_mut(&name) else { return };
        let (out, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut one.publications).into_iter().partition(gone);
        one.publications = kept;
        if out.is_empty() {
            return;
        }
        let (mailbox, count) = (self.tables.names.get(name).cloned(), out.len());
        for publication in out {
            let by = self.tables.names.get(publication.by);
            if let (Some(mailbox), Some(by)) = (&mailbox, by) {
                self.write((row::publication_key(mailbox, by, &publication.id), None));
            }
            self.counts.publications -= 1;
            self.tables.names.release(publication.by);
        }
        self.changed(facts, name);
        // Each held the name; the table's key is good until here.
        self.release_presentity(name, count);
    }

    fn release_presentity(&mut self, name: NameId, times: usize) {
        self.tables.tidy(name);
        (0..times).for_each(|_| self.tables.names.release(name));
    }

    /// A presentity, known from now on.
    pub(super) fn presentity(&mut self, facts: &Facts<'_>, name: NameId) -> &mut super::tables::Presentity {
        let now = facts.now.millis();
        let one = self.tables.presentities.entry(name).or_default();
        if one.known == 0 {
            (one.known, one.since) = (now, now);
        }
        one
    }

    /// A device that takes presence is attached for the presentity.
    pub fn session_up(&mut self, facts: &Facts<'_>, mailbox: &Mailbox) {
        let name = self.hold(mailbox, facts);
        let now = facts.now.millis();
        let one = self.presentity(facts, name);
        let was = one.is_attached();
        one.sessions += 1;
        if std::mem::take(&mut one.lingers) != 0 {
            // The session holds the name in its place.
            self.tables.names.release(name);
        }
        if was {
            return;
        }
        let one = self.presentity(facts, name);
        (one.since, one.kept) = (now, false);
        let version = one.version;
        self.write(row::attached(mailbox, Some(version)));
        self.keep(name);
        self.changed(facts, name);
    }

    /// It is no more, however it went.
    pub fn session_down(&mut self, facts: &Facts<'_>, mailbox: &Mailbox) {
        let Some(name) = self.tables.names.find(mailbox) else { return };
        let Some(one) = self.tables.presentities.get_mut(&name).filter(|one| one.sessions > 0) else { return };
        one.sessions -= 1;
        if one.sessions == 0 {
            self.detached(facts, name);
        }
        self.release_presentity(name, 1);
    }

    /// It ends for a moment: whoever it is of is asked to log in again. Nobody is told, unless it stays away.
    pub fn session_pauses(&mut self, facts: &Facts<'_>, mailbox: &Mailbox) {
        let until = facts.after(self.options.lingering);
        let Some(name) = self.tables.names.find(mailbox) else { return };
        match self.tables.presentities.get_mut(&name) {
            // The name is held for as long as it lingers.
            Some(one) if one.sessions == 1 && one.lingers == 0 => {
                (one.sessions, one.lingers) = (0, until);
                self.timers.file(until, Timer::Presentity(name));
            }
            _ => self.session_down(facts, mailbox),
        }
    }

    fn detached(&mut self, facts: &Facts<'_>, name: NameId) {
        let one = self.presentity(facts, name);
        (one.since, one.kept) = (facts.now.millis(), false);
        self.keep(name);
        if let Some(mailbox) = self.tables.names.get(name).cloned() {
            self.write(row::attached(&mailbox, None));
        }
        self.changed(facts, name);
    }

    /// The document has changed: its watchers are told now, or when the pause since the last change is over.
    pub(super) fn changed(&mut self, facts: &Facts<'_>, name: NameId) {
        let interval = self.options.interval;
        let Some(one) = self.tables.presentities.get_mut(&name) else { return };
        one.hot = None;
        one.next_version(facts.now.millis());
        let until = Timestamp::from_millis(one.told).after(interval);
        if until <= facts.now || one.watchers.is_empty() {
            return self.tell_watchers(facts, name);
        }
        if !one.waits {
            one.waits = true;
            self.timers.pause(until, name);
        }
    }

    /// The rules may have changed: looks through the watchers.
    pub fn revise(&mut self, facts: &Facts<'_>, name: NameId) {
        self.drop_delegates(facts, name);
        if let Some(one) = self.tables.presentities.get_mut(&name) {
            one.hot = None;
            one.next_version(facts.now.millis());
            self.tell_watchers(facts, name);
        }
    }

    /// The rules of this presentity have changed.
    pub fn rules_changed(&mut self, facts: &Facts<'_>, mailbox: &Mailbox) {
        if let Some(name) = self.tables.names.find(mailbox) {
            self.revise(facts, name);
        }
    }

    /// Says of each watcher what is due now.
    pub(super) fn tell_watchers(&mut self, facts: &Facts<'_>, name: NameId) {
        let Some(one) = self.tables.presentities.get_mut(&name) else { return };
        one.told = facts.now.millis();
        let watchers = one.watchers.clone();
        if watchers.is_empty() {
            return;
        }
        let timed = self.with_hot(facts, name, |engine, mailbox, hot, version| {
            for number in watchers {
                engine.reconsider(facts, mailbox, hot, version, number);
            }
            facts.rulings.depends_on_time(mailbox)
        });
        if let Some(one) = self.tables.presentities.get_mut(&name)
            && timed == Some(true)
            && !std::mem::replace(&mut one.timed, true)
        {
            self.timers.file(facts.after(LOOK_AGAIN), Timer::Presentity(name));
        }
    }

    /// Does something with the composed document of a presentity.
    pub(super) fn with_hot<T>(
        &mut self,
        facts: &Facts<'_>,
        name: NameId,
        act: impl FnOnce(&mut Engine, &Mailbox, &mut Hot, (i64, Timestamp)) -> T,
    ) -> Option<T> {
        let mailbox = self.tables.names.get(name)?.clone();
        let one = self.presentity(facts, name);
        let (hot, version) = (one.hot.take(), (one.version, Timestamp::from_millis(one.known)));
        let mut hot = match hot {
            Some(hot) => hot,
            None => {
                self.cool();
                let one = self.tables.presentities.get(&name)?;
                let composed = view::compose(&mailbox, one, &self.tables.names, facts.now);
                self.hot.push(name);
                Box::new(Hot { composed, views: Vec::new() })
            }
        };
        let result = act(self, &mailbox, &mut hot, version);
        if let Some(one) = self.tables.presentities.get_mut(&name)
            && one.version == version.0
        {
            one.hot = Some(hot);
        }
        self.tables.tidy(name);
        Some(result)
    }

    /// Composed documents are kept for a bounded number of presentities.
    fn cool(&mut self) {
        if self.hot.len() >= limits::COMPOSED {
            for name in std::mem::take(&mut self.hot) {
                if let Some(one) = self.tables.presentities.get_mut(&name) {
                    one.hot = None;
                }
            }
        }
    }

    /// What the rules say of one who watches, now.
    pub(super) fn ruling(
        &self,
        facts: &Facts<'_>,
        mailbox: &Mailbox,
        hot: &Hot,
        watcher: NameId,
        proven: bool,
    ) -> Decision {
        let identity = self.tables.names.get(watcher).filter(|_| proven);
        let circumstances =
            Circumstances { now: facts.now, sphere: hot.composed.sphere.as_deref(), ..Circumstances::default() };
        facts.rulings.decide(mailbox, identity, circumstances)
    }

    /// Brings one subscription to what the rules say now; whoever is behind by that is due.
    pub(super) fn reconsider(
        &mut self,
        facts: &Facts<'_>,
        mailbox: &Mailbox,
        hot: &mut Hot,
        version: (i64, Timestamp),
        number: u32,
    ) {
        let Some(one) = self.tables.subscriptions.get(number).filter(|one| !one.marks.has(Marks::GONE)) else { return };
        let (state, here, watcher) = (one.state, one.marks.has(Marks::HERE), one.watcher);
        // One that was ended stays so until it is asked for again; only what the rules refused they may allow here.
        if matches!(state, State::Terminated(reason) if !here || reason != Some(Reason::Rejected)) {
            return;
        }
        let decision = self.ruling(facts, mailbox, hot, watcher, one.marks.has(Marks::PROVEN));
        let target = match decision.subscription {
            Handling::Block => State::Terminated(Some(Reason::Rejected)),
            Handling::Confirm => State::Pending,
            Handling::PoliteBlock | Handling::Allow => State::Active,
        };
        let (digest, seq) = match target {
            State::Active => hot.view(mailbox, version, &decision).map_or((0, 0), |view| (view.digest, view.seq)),
            _ => (0, i64::MAX),
        };
        match (state, target) {
            (State::Waiting, State::Pending) => {}
            (State::Waiting, _) => self.end(number),
            (old, new) if old == new && digest == self.tables.subscriptions.get(number).map_or(0, |one| one.view) => {}
            (old, new) => {
                let Some(one) = self.tables.subscriptions.get_mut(number) else { return };
                (one.version, one.view) = (version.0, digest);
                // A view that is older than an answer it has would be dropped there: it gets one of its own.
                let stale = !here && seq <= one.acked;
                one.marks.set(Marks::ANSWER, stale || one.marks.has(Marks::ANSWER));
                if old != new {
                    one.marks.set(Marks::ANSWER, new != State::Active || one.marks.has(Marks::ANSWER));
                    self.tables.set_state(number, new, facts.second());
                    self.write_subscription(number);
                    self.show_watcher(number);
                }
                self.behind(number);
            }
        }
    }

    /// A subscription has something new to be told.
    pub(super) fn behind(&mut self, number: u32) {
        let Some(one) = self.tables.subscriptions.get_mut(number) else { return };
        if !one.marks.has(Marks::HERE) {
            return self.queue_subscription(number);
        }
        one.acked = one.version;
        one.marks.set(Marks::ANSWER, false);
        let watcher = one.watcher;
        self.counts.notified += 1;
        self.show(watcher, Item::Contact(ContactAt::Here(number)));
    }

    /// A subscription is over, and nobody is told.
    pub(super) fn end(&mut self, number: u32) {
        self.show_watcher(number);
        self.unqueue(number);
        // While its names are known.
        self.set_reader(number, None);
        self.erase_subscription(number);
        self.tables.unlink(number);
    }
}
