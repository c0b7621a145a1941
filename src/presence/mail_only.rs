//! Presentities whose domain has mail and no presence: what is known of them is that messages for them become mail.
//!
//! In: a watch, or a fetch, whose domain was found to be such a one. Out: a view in which im is closed and mailto is open, as
//! if that domain had notified it. Invariant: it lasts no longer than any other view; then the domain is looked up anew, and
//! whatever it has begun to offer counts. RFC 3863 §4.1, RFC 3859 in its sense.

use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_64;

use super::engine::{Engine, Facts};
use super::feeds::Item;
use super::letter::Letter;
use super::tables::{Marks, Seen};
use super::watch::Said;
use super::{State, due};
use crate::address::Mailbox;
use crate::mime::presence::{self, Event, SubscriptionId};
use crate::pidf::{self, Document};

impl Engine {
    /// Whom a watch is for has only mail.
    pub(super) fn watched_mail_only(&mut self, facts: &Facts<'_>, number: u32) {
        let Some(one) = self.tables.watches.get(number) else { return };
        if one.marks.has(Marks::CANCEL) {
            return self.end_watch(number);
        }
        let (id, presentity, last) = (one.id, one.presentity, one.seq);
        let Some(mailbox) = self.tables.names.get(presentity).cloned() else { return };
        let seen = self.mail_only(facts, &mailbox, None);
        let lasts = u32::try_from(self.options.longest.as_secs()).ok();
        let seq = u64::try_from(facts.now.millis()).unwrap_or_default().max(last + 1);
        let said = Said { id: Some(id), seq, state: presence::State::Active, expires: lasts, event: &Event::Presence };
        self.take_view(facts, number, said, &seen);
    }

    /// Who is asked about once has only mail.
    pub(super) fn fetched_mail_only(&mut self, facts: &Facts<'_>, id: SubscriptionId) {
        let Some(fetch) = self.fetches.get(&id).filter(|fetch| fetch.event == Event::Presence).cloned() else {
            return self.fetch_refused(facts, id);
        };
        if let Some(presentity) = self.tables.names.get(fetch.presentity).cloned() {
            let seen = self.mail_only(facts, &presentity, Some(id));
            self.answer(facts, fetch.watcher, Item::Seen(presentity, seen));
        }
        self.end_fetch(id);
    }

    /// What is to be seen of them.
    fn mail_only(&mut self, facts: &Facts<'_>, presentity: &Mailbox, id: Option<SubscriptionId>) -> Arc<Seen> {
        let directive = due::notify(id, facts.now.millis(), State::Active, id.map(|_| 0));
        let document = Document::mail_only(presentity);
        let written = Letter {
            from: presentity,
            to: None,
            directive: &directive,
            now: facts.now,
            entropy: self.random(),
            body: Some((pidf::MEDIA, document.text())),
            signed: &[],
        };
        let written = written.write();
        Arc::new(Seen {
            digest: xxh3_64(&written.entity).max(1),
            utf8: written.utf8,
            eight_bit: written.eight_bit,
            entity: written.entity,
            content: OnceLock::new(),
        })
    }
}
