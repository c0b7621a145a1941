//! What the rows of the store bring back at a start.
//!
//! In: rows, in any order; then word that there are no more. Out: tables as they were, but for what is derived. Invariant: a
//! row that contradicts another, or is of no use any more, is taken out; who was behind is found out again by
//! [`Engine::revise`], a few presentities at a time.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::State;
use super::engine::{Engine, Facts};
use super::names::NameId;
use super::row::{self, PublicationRow, Read, ReaderRow, SubscriptionRow, WatchRow};
use super::tables::{ContactAt, Marks, Publication, Seen, Subscription, Watch};
use super::timers::Timer;
use crate::address::Mailbox;

/// Rows that wait for others to be understood.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    /// Views by presentity and digest, with their keys.
    views: HashMap<(String, u64), (Vec<u8>, Arc<Seen>)>,
    watches: Vec<WatchRow>,
    readers: Vec<ReaderRow>,
    /// Presentities with the times since when they are as they are, and known.
    known: Vec<(Mailbox, i64, i64)>,
}

impl Engine {
    /// Takes a row; false: it is none.
    pub fn restore(&mut self, facts: &Facts<'_>, restoring: &mut Restoring, key: &[u8], content: &[u8]) -> bool {
        match row::read(key, content) {
            None => return false,
            Some(Read::Known { presentity, since, known }) => restoring.known.push((presentity, since, known)),
            Some(Read::Attached { presentity, version }) => {
                let name = self.hold(&presentity, facts);
                let until = facts.after(self.options.lingering);
                let one = self.presentity(facts, name);
                one.version = one.version.max(version);
                one.lingers = until;
                self.timers.file(until, Timer::Presentity(name));
                // The name is held for as long as it lingers.
            }
            Some(Read::Publication(row)) => self.restore_publication(facts, row),
            Some(Read::Subscription(row)) => self.restore_subscription(facts, row),
            Some(Read::View { presentity, digest, utf8, eight_bit, entity }) => {
                let seen = Arc::new(Seen { digest, utf8, eight_bit, entity: entity.into(), content: OnceLock::new() });
                restoring.views.insert((presentity, digest), (key.to_vec(), seen));
            }
            Some(Read::Watch(row)) => restoring.watches.push(row),
            Some(Read::Reader(row)) => restoring.readers.push(row),
        }
        true
    }

    /// There are no more rows.
    pub fn restored(&mut self, facts: &Facts<'_>, restoring: Restoring) {
        let Restoring { mut views, watches, readers, known } = restoring;
        for (presentity, since, known) in known {
            let name = self.tables.names.find(&presentity);
            match name.and_then(|name| self.tables.presentities.get_mut(&name)) {
                Some(one) => (one.since, one.known, one.kept) = (since, known, true),
                None => self.write(row::known(&presentity, None)),
            }
        }
        for row in watches {
            self.restore_watch(facts, row, &views);
        }
        readers.into_iter().for_each(|row| self.restore_reader(row));
        views.retain(|_, (_, seen)| Arc::strong_count(seen) == 1);
        for (key, _) in views.into_values() {
            self.write((key, None));
        }
        self.revising = self.tables.presentities.keys().copied().collect();
    }

    /// What is left of those who lived here and do so no more: nobody would ever take it back.
    pub fn drop_removed(&mut self, facts: &Facts<'_>) {
        let removed = |name: &NameId| {
            let mailbox = self.tables.names.get(*name);
            mailbox.is_some_and(|one| facts.rulings.is_local(one.domain()) && !facts.rulings.is_presentity(one))
        };
        let presentities: Vec<_> = self.tables.presentities.keys().copied().filter(removed).collect();
        let watchers: Vec<_> = self.tables.watchers().filter(removed).collect();
        presentities.into_iter().for_each(|name| self.drop_presentity(facts, name));
        for watcher in watchers {
            for contact in self.tables.contacts(watcher).to_vec() {
                match contact {
                    ContactAt::Here(number) => self.end(number),
                    ContactAt::Away(number) => self.drop_watch(facts, number),
                }
            }
        }
    }

    fn restore_publication(&mut self, facts: &Facts<'_>, row: PublicationRow) {
        let PublicationRow { presentity, by, id, expires, at, text, signed } = row;
        // They are released when the publication goes.
        let (name, by) = (self.hold(&presentity, facts), self.hold(&by, facts));
        self.counts.publications += 1;
        let one = self.presentity(facts, name);
        one.version = one.version.max(at);
        one.known = one.known.min(at);
        one.publications.push(Publication { id: id.into(), by, expires, at, text: text.into(), signed });
        self.file_publications(name);
    }

    fn restore_subscription(&mut self, facts: &Facts<'_>, row: SubscriptionRow) {
        let SubscriptionRow { presentity, watcher, proven, mail, id, state, expires, since, acked, view } = row;
        let (name, watcher) = (self.hold(&presentity, facts), self.hold(&watcher, facts));
        // What a fetch has left is nobody's subscription, wherever it came from.
        let local = self.tables.names.is_local(watcher);
        let here = local && state != State::Waiting;
        // Whether a watcher has heard that its permission was withdrawn is not known; it is told once more.
        // Whoever gets a mail about it gets one.
        let told = acked != 0 && (state == State::Active || (mail && state == State::Pending));
        let marks = Marks::default()
            .with(Marks::PROVEN, proven)
            .with(Marks::MAIL, mail)
            .with(Marks::HERE, here)
            .with(Marks::ANSWER, !here && state != State::Waiting && !told);
        let one = self.presentity(facts, name);
        one.version = one.version.max(acked);
        one.known = one.known.min(i64::from(since) * 1000);
        if self.tables.subscription(name, watcher, proven).is_none() {
            let number = self.tables.link(Subscription {
                presentity: name,
                watcher,
                id,
                expires,
                since,
                timer: 0,
                acked,
                version: acked,
                view,
                state,
                marks,
            });
            self.file(number);
            if marks.has(Marks::ANSWER) {
                self.queue_subscription(number);
            }
        }
        self.tables.names.release(name);
        self.tables.names.release(watcher);
    }

    fn restore_watch(
        &mut self,
        facts: &Facts<'_>,
        row: WatchRow,
        views: &HashMap<(String, u64), (Vec<u8>, Arc<Seen>)>,
    ) {
        let WatchRow { watcher, presentity, id, state, cancelled, expires, refresh, seq, view } = row;
        let seen = views.get(&(presentity.key(), view)).map(|(_, seen)| seen.clone());
        let (watcher, presentity) = (self.hold(&watcher, facts), self.hold(&presentity, facts));
        if self.tables.watch(watcher, presentity).is_none() {
            let marks = Marks::default().with(Marks::CANCEL, cancelled);
            let jitter = self.random_below(60);
            // What should have been refreshed meanwhile is refreshed soon, not all at once.
            let soon = facts.second().saturating_add(1 + jitter);
            let lost = state == State::Active && seen.is_none();
            let refresh = if lost { soon } else { refresh.max(facts.second().min(soon)) };
            let seq = if lost { 0 } else { seq };
            // One whose presentity's server was never heard of is not ended at it for ever.
            let expires = if cancelled && expires == 0 { facts.after(self.options.longest) } else { expires };
            let number = self.tables.link_watch(Watch {
                watcher,
                presentity,
                id,
                expires,
                refresh,
                timer: 0,
                seq,
                view: seen,
                state: if lost { State::Asked } else { state },
                marks,
                attempts: 0,
            });
            if cancelled || state == State::Asked {
                self.queue_watch(number);
            }
            self.file_watch(number);
        }
        self.tables.names.release(watcher);
        self.tables.names.release(presentity);
    }
}
