//! Those whom a person watches, and those who watch or ask to: what a running client knows of them. Pure.
//!
//! In: [`News`], in any order, some of it twice. Out: what is new in it, for the person. Invariant: a view that is older than
//! the one that is known changes nothing; the work of a client that is attached for years is bounded.

use std::collections::BTreeMap;

use super::view::{Standing, View, Watcher};
use crate::address::Mailbox;
use crate::limits;
use crate::smime::Certificate;

/// What a server tells of presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Of one presentity.
    View(Box<View>),
    /// All that the person watches.
    Contacts(Vec<View>),
    /// Who watches, or asks to; `full`: nobody else does.
    Watchers {
        /// Whether it is the whole list.
        full: bool,
        /// The list.
        list: Vec<Watcher>,
    },
    /// The person's rules as they are stored.
    Policy {
        /// The document; `None`: there is none.
        text: Option<String>,
        /// Its version.
        version: u64,
    },
    /// Somebody's certificate; `None`: there is none, or it is not told.
    Certificate {
        /// Whose.
        who: Mailbox,
        /// It.
        certificate: Option<Certificate>,
    },
}

/// What is new for the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// How somebody is.
    View(View),
    /// Somebody watches, asks to, or no longer does.
    Watcher(Watcher),
}

/// The lists.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    views: BTreeMap<String, View>,
    watchers: Vec<Watcher>,
}

impl Roster {
    /// Those whom the person watches, or did until now, by address.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        self.views.values()
    }

    /// What is known of somebody.
    pub fn of(&self, who: &Mailbox) -> Option<&View> {
        self.views.get(&who.key())
    }

    /// Those who watch, or ask to.
    pub fn watchers(&self) -> &[Watcher] {
        &self.watchers
    }

    /// Those who wait for the person's word.
    pub fn requests(&self) -> impl Iterator<Item = &Watcher> {
        self.watchers.iter().filter(|watcher| watcher.asks())
    }

    /// Somebody is watched no more, by the person's word.
    pub fn forget(&mut self, who: &Mailbox) {
        self.views.remove(&who.key());
    }

    /// There is no connection: what is known may be old. The server tells all of it again.
    pub fn lost(&mut self) {
        for view in self.views.values_mut() {
            view.shown = None;
            view.seq = 0;
        }
    }

    /// Takes news; what was not known before.
    pub fn take(&mut self, news: &News) -> Vec<Change> {
        match news {
            News::View(view) => self.view(view).into_iter().collect(),
            // The time of a list is its own, not that of the views in it: an older one is not told by it.
            News::Contacts(views) => views.iter().filter_map(|view| self.listed(view)).collect(),
            News::Watchers { full, list } => self.list(*full, list),
            News::Policy { .. } | News::Certificate { .. } => Vec::new(),
        }
    }

    fn listed(&mut self, view: &View) -> Option<Change> {
        let seq = self.views.get(&view.who.key()).map_or(0, |known| known.seq);
        let change = self.view(view);
        if let Some(known) = self.views.get_mut(&view.who.key()) {
            known.seq = seq;
        }
        change
    }

    fn view(&mut self, view: &View) -> Option<Change> {
        let key = view.who.key();
        let full = self.views.len() >= limits::CLIENT_CONTACTS;
        match self.views.get_mut(&key) {
            Some(known) if known.seq > view.seq => None,
            Some(known) => {
                let same = (known.standing, &known.shown, &known.reason) == (view.standing, &view.shown, &view.reason);
                known.clone_from(view);
                (!same).then(|| Change::View(view.clone()))
            }
            // It was forgotten here, or never known: its end is nothing new.
            None if view.standing == Standing::Terminated && view.reason.is_none() => None,
            None if full => None,
            None => {
                self.views.insert(key, view.clone());
                Some(Change::View(view.clone()))
            }
        }
    }

    fn list(&mut self, full: bool, list: &[Watcher]) -> Vec<Change> {
        let before = match full {
            true => std::mem::take(&mut self.watchers),
            false => self.watchers.clone(),
        };
        let mut changes = Vec::new();
        for watcher in list.iter().take(limits::CLIENT_CONTACTS) {
            let known = before.iter().find(|known| known.id == watcher.id);
            self.watchers.retain(|known| known.id != watcher.id);
            if watcher.status != "terminated" && self.watchers.len() < limits::CLIENT_CONTACTS {
                self.watchers.push(watcher.clone());
            }
            if known.is_none_or(|known| known.status != watcher.status) {
                changes.push(Change::Watcher(watcher.clone()));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Shown;
    use super::*;

    fn view(who: &str, seq: u64, open: bool) -> News {
        let (who, shown) = (Mailbox::parse(who).unwrap(), Some(Shown { open: Some(open), ..Shown::default() }));
        let (standing, signature) = (Standing::Active, Default::default());
        News::View(Box::new(View { who, standing, reason: None, seq, shown, signature }))
    }

    fn watcher(id: &str, who: &str, status: &str) -> Watcher {
        let who = Mailbox::parse(who).ok();
        Watcher { id: id.to_owned(), who, status: status.to_owned(), ..Watcher::default() }
    }

    #[test]
    fn an_older_view_changes_nothing() {
        let mut roster = Roster::default();
        assert_eq!(roster.take(&view("bob@b.test", 5, true)).len(), 1);
        assert!(roster.take(&view("bob@b.test", 4, false)).is_empty());
        assert!(roster.take(&view("BOB@b.test", 5, true)).is_empty(), "the same once more");
        assert_eq!(roster.take(&view("bob@b.test", 6, false)).len(), 1);
        let bob = Mailbox::parse("bob@b.test").unwrap();
        assert_eq!(roster.of(&bob).unwrap().mark(), '-');
        // Without a connection nothing is known; the server tells it again, under its old number too.
        roster.lost();
        assert_eq!(roster.of(&bob).unwrap().mark(), '?');
        assert_eq!(roster.take(&view("bob@b.test", 6, false)).len(), 1);
        roster.forget(&bob);
        let end = View { standing: Standing::Terminated, ..roster_end(&bob) };
        assert!(roster.take(&News::View(Box::new(end))).is_empty());
        assert!(roster.of(&bob).is_none());
    }

    fn roster_end(who: &Mailbox) -> View {
        let (who, standing, signature) = (who.clone(), Standing::Terminated, Default::default());
        View { who, standing, reason: None, seq: 9, shown: None, signature }
    }

    #[test]
    fn lists_of_watchers_full_and_partial() {
        let mut roster = Roster::default();
        let list = vec![watcher("1", "bob@b.test", "active"), watcher("2", "carol@c.test", "pending")];
        assert_eq!(roster.take(&News::Watchers { full: true, list: list.clone() }).len(), 2);
        assert!(roster.take(&News::Watchers { full: true, list }).is_empty());
        assert_eq!(roster.requests().count(), 1);
        let list = vec![watcher("2", "carol@c.test", "active")];
        assert_eq!(roster.take(&News::Watchers { full: false, list }).len(), 1);
        assert_eq!((roster.requests().count(), roster.watchers().len()), (0, 2));
        let list = vec![watcher("1", "bob@b.test", "terminated")];
        assert_eq!(roster.take(&News::Watchers { full: false, list }).len(), 1);
        assert_eq!(roster.watchers().len(), 1);
        roster.take(&News::Watchers { full: true, list: Vec::new() });
        assert!(roster.watchers().is_empty());
    }
}
