//! What a presentity shows: its document as composed, and the views of it, each made once for all who may see the same.
//!
//! In: publications, sessions, decisions of the rules. Out: views, as text and as the entity that is the same for all their
//! watchers. Invariant: [`pidf::shown`] makes every view, for notifications, fetches and devices alike. RFC 5025 §3.3.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::letter::{Letter, Written};
use super::names::Names;
use super::tables::{FOREVER, Hot, Presentity};
use crate::address::Mailbox;
use crate::limits;
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
    /// Its publications as their authors have signed them, the newest first, as far as there is room.
    pub signed: Vec<Bytes>,
}

/// For how long an entity is told to more watchers: its signed Date must be believed wherever it comes.
const FRESH: Duration = Duration::from_secs(86_400);

/// A view.
#[derive(Debug)]
pub(super) struct View {
    handling: Handling,
    provide: Provide,
    /// The time of the view.
    pub seq: i64,
    /// Of the text, and of whether anything signed goes along; never zero. Views are found again by it, so what one watcher may
    /// have and another may not must differ in it.
    pub digest: u64,
    pub text: String,
    /// What its authors have signed, for those who see everything.
    pub signed: Vec<Bytes>,
    written: Mutex<Option<(Timestamp, Written)>>,
}

impl View {
    /// The entity for all who see this.
    pub fn entity(&self, presentity: &Mailbox, now: Timestamp, entropy: impl FnOnce() -> [u8; 16]) -> Written {
        let mut kept = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, written)) = &*kept
            && now.since(*at) < FRESH
        {
            return written.clone();
        }
        let seq = u64::try_from(self.seq).unwrap_or_default();
        let directive =
            Directive::Notify { id: None, seq, state: State::Active, expires: None, event: Event::Presence };
        let body = Some((pidf::MEDIA, self.text.as_str()));
        let (entropy, signed) = (entropy(), self.signed.as_slice());
        let written = Letter { from: presentity, to: None, directive: &directive, now, entropy, body, signed }.write();
        *kept = Some((now, written.clone()));
        written
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
    Composed { document, sphere, signed: signed(presentity) }
}

/// What the authors have signed.
fn signed(presentity: &Presentity) -> Vec<Bytes> {
    let mut all: Vec<_> =
        presentity.publications.iter().filter_map(|one| Some((one.at, one.signed.as_ref()?))).collect();
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut octets = 0;
    all.retain(|(_, entity)| {
        octets += entity.len();
        octets <= limits::SIGNED_OCTETS
    });
    all.into_iter().map(|(_, entity)| entity.clone()).collect()
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
        let (handling, provide) = (decision.subscription, decision.provide.clone());
        // What is signed shows all that was published.
        let all = handling == Handling::Allow && provide.is_everything();
        let signed = if all { self.composed.signed.clone() } else { Vec::new() };
        let digest = xxh3_64_with_seed(text.as_bytes(), u64::from(!signed.is_empty())).max(1);
        let view = View { handling, provide, seq: version, digest, text, signed, written: Mutex::default() };
        let view = Arc::new(view);
        self.views.push(view.clone());
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_with_and_without_what_is_signed_are_two_views() {
        let (bob, now) = (Mailbox::parse("bob@b.example").unwrap(), Timestamp::from_secs(1_795_000_000));
        let signed = vec![Bytes::from_static(b"signed by bob")];
        let composed = Composed { document: Document::closed(&bob, now), sphere: None, signed: signed.clone() };
        let mut hot = Hot { composed, views: Vec::new() };
        let everything = Decision { provide: Provide::everything(), ..Decision::default() };
        let mut view = |subscription| {
            let decision = Decision { subscription, ..everything.clone() };
            hot.view(&bob, (7, now), &decision).unwrap()
        };
        let (whole, polite) = (view(Handling::Allow), view(Handling::PoliteBlock));
        assert_eq!(whole.text, polite.text);
        assert_eq!((&whole.signed, &polite.signed), (&signed, &Vec::new()));
        assert_ne!(whole.digest, polite.digest);
    }
}
