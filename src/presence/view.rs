//! What a presentity shows: its document as composed, and the views of it, each made once for all who may see the same.
//!
//! In: publications, sessions, decisions of the rules. Out: views, as text and as the entity that is the same for all their
//! watchers. Invariant: [`pidf::shown`] makes every view, for notifications, fetches and devices alike. RFC 5025 §3.3.

use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_64;

use super::letter::{Letter, Written};
use super::names::Names;
use super::tables::{FOREVER, Hot, Presentity};
use crate::address::Mailbox;
use crate::mime::presence::{Directive, Event, State};
use crate::pidf::{self, Document, compose};
use crate::rules::{Decision, Handling, Provide};
use crate::timestamp::Timestamp;

/// The document of a presentity.
#[derive(Debug)]
pub(super) struct Composed {
    pub document: Document,
    /// What its publications agree upon (RFC 5025 §3.1.2).
    pub sphere: Option<String>,
}

/// A view.
#[derive(Debug)]
pub(super) struct View {
    handling: Handling,
    provide: Provide,
    /// The time of the view.
    pub seq: i64,
    /// Of the text; never zero.
    pub digest: u64,
    pub text: String,
    written: OnceLock<Written>,
}

impl View {
    /// The entity for all who see this.
    pub fn entity(&self, presentity: &Mailbox, now: Timestamp, entropy: impl FnOnce() -> [u8; 16]) -> &Written {
        self.written.get_or_init(|| {
            let seq = u64::try_from(self.seq).unwrap_or_default();
            let directive =
                Directive::Notify { id: None, seq, state: State::Active, expires: None, event: Event::Presence };
            let body = Some((pidf::MEDIA, self.text.as_str()));
            Letter { from: presentity, to: None, directive: &directive, now, entropy: entropy(), body }.write()
        })
    }
}

/// The publications of a presentity, composed.
pub(super) fn compose(mailbox: &Mailbox, presentity: &Presentity, names: &Names, now: Timestamp) -> Composed {
    let named = presentity.publications.iter().filter_map(|publication| {
        let document = Document::parse(&publication.text).ok()?;
        let by = names.get(publication.by).filter(|by| by.key() != mailbox.key());
        let id = by.map_or(publication.id.to_string(), |by| format!("{by}/{}", publication.id));
        let at = Timestamp::from_millis(publication.at);
        Some((id, document, at, publication.expires != FOREVER))
    });
    let named: Vec<_> = named.collect();
    let publications: Vec<compose::Publication<'_>> = named
        .iter()
        .map(|(id, document, at, lasting)| compose::Publication { id, document, at: *at, lasting: *lasting })
        .collect();
    let since = Timestamp::from_millis(presentity.since);
    let sessions = compose::Sessions { attached: presentity.is_attached(), since };
    let sphere = pidf::sphere(named.iter().map(|(_, document, ..)| document), now).map(str::to_owned);
    let document = compose::merge(mailbox, &publications, sessions).or_else(|fault| {
        tracing::warn!("{mailbox}: what was published for it does not make one document, the newest is shown: {fault}");
        let newest = publications.iter().max_by_key(|one| one.at).copied();
        compose::merge(mailbox, newest.as_slice(), sessions)
    });
    let document = document.unwrap_or_else(|_| Document::closed(mailbox, since));
    Composed { document, sphere }
}

impl Hot {
    /// The view of whoever is handled so; `None`: they see nothing.
    pub fn view(
        &mut self,
        mailbox: &Mailbox,
        (version, polite): (i64, Timestamp),
        decision: &Decision,
    ) -> Option<Arc<View>> {
        let same = |view: &&Arc<View>| {
            view.handling == decision.subscription
                && (view.handling == Handling::PoliteBlock || view.provide == decision.provide)
        };
        if let Some(view) = self.views.iter().find(same) {
            return Some(view.clone());
        }
        let text = pidf::shown(&self.composed.document, mailbox, decision, polite)?.into_text();
        let digest = xxh3_64(text.as_bytes()).max(1);
        let (handling, provide) = (decision.subscription, decision.provide.clone());
        let view = Arc::new(View { handling, provide, seq: version, digest, text, written: OnceLock::new() });
        self.views.push(view.clone());
        Some(view)
    }
}
