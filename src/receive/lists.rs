//! Lists of revoked certificates that certificates name, asked for when their signer is believed for the first time.
//!
//! In: places. Out: whether something has changed that makes it worth to judge again. Invariants: a transaction waits for no
//! place longer than [`PATIENCE`], and for none that is known; at most [`limits::LISTS_FETCHED`] places are known, and one that
//! has no list makes room for another. Who cannot be asked is as if nobody had named a list.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::smime::trust::ListPlace;

/// How long a transaction waits for lists.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A place to be asked.
#[derive(Debug)]
pub struct Wanted {
    /// Where, and whose list.
    pub place: ListPlace,
    /// Dropped when there is nothing, told when what is believed has changed.
    pub told: oneshot::Sender<()>,
}

/// Places that were asked for.
#[derive(Debug, Default)]
struct Asked {
    /// With whether they have a list.
    places: HashMap<String, bool>,
    /// That there is no room was said.
    said: bool,
}

/// Whoever fetches; clones are the same.
#[derive(Clone, Debug)]
pub struct Lists {
    asked: Arc<Mutex<Asked>>,
    wanted: mpsc::Sender<Wanted>,
}

impl Lists {
    /// Asks whoever hears of `wanted`.
    pub fn new(wanted: mpsc::Sender<Wanted>) -> Lists {
        Lists { asked: Arc::default(), wanted }
    }

    /// Has lists fetched from those places that were not asked for before; true when what is believed has changed.
    pub async fn ask(&self, places: Vec<ListPlace>) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut waiting = Vec::new();
        for place in places {
            let (told, hears) = oneshot::channel();
            let uri = place.uri.clone();
            if !self.is_new(&uri) {
                continue;
            }
            match self.wanted.try_send(Wanted { place, told }) {
                Ok(()) => waiting.push(hears),
                // The next signer asks.
                Err(_) => _ = self.asked().places.remove(&uri),
            }
        }
        let mut changed = false;
        for hears in waiting {
            changed |= matches!(timeout_at(until, hears).await, Ok(Ok(())));
        }
        changed
    }

    /// Hears whether a place has a list.
    pub fn gave(&self, uri: &str, list: bool) {
        if let Some(gave) = self.asked().places.get_mut(uri) {
            *gave = list;
        }
    }

    /// Whether a place is known still.
    pub fn has(&self, uri: &str) -> bool {
        self.asked().places.contains_key(uri)
    }

    fn is_new(&self, uri: &str) -> bool {
        let mut asked = self.asked();
        if asked.places.contains_key(uri) {
            return false;
        }
        if asked.places.len() >= limits::LISTS_FETCHED {
            let Some(idle) = asked.places.iter().find(|(_, gave)| !**gave).map(|(uri, _)| uri.clone()) else {
                if !std::mem::replace(&mut asked.said, true) {
                    tracing::warn!(
                        "lists of revoked certificates come from {} places; no others are asked",
                        limits::LISTS_FETCHED
                    );
                }
                return false;
            };
            asked.places.remove(&idle);
        }
        asked.places.insert(uri.to_owned(), false);
        true
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // A map that a panic left is whole.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_list_makes_room() {
        let lists = Lists::new(mpsc::channel(1).0);
        for number in 0..limits::LISTS_FETCHED {
            let uri = format!("http://a.example/{number}");
            assert!(lists.is_new(&uri) && !lists.is_new(&uri));
            lists.gave(&uri, number != 7);
        }
        assert!(lists.is_new("http://b.example/"), "another has none");
        assert!(!lists.has("http://a.example/7") && lists.has("http://a.example/8"));
        lists.gave("http://b.example/", true);
        assert!(!lists.is_new("http://c.example/"), "all have lists");
        lists.gave("http://a.example/8", false);
        assert!(lists.is_new("http://c.example/"), "one has none any more");
    }
}
