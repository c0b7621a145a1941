//! Lists of revoked certificates that certificates name, asked for when their signer is believed for the first time.
//!
//! In: places. Out: whether something has changed that makes it worth to judge again. Invariants: a transaction waits for no
//! place longer than [`PATIENCE`], and for none that was asked for before; at most [`limits::LISTS_FETCHED`] places are asked
//! for. Who cannot be asked is as if nobody had named a list.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Whoever fetches; clones are the same.
#[derive(Clone, Debug)]
pub struct Lists {
    asked: Arc<Mutex<HashSet<String>>>,
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
            if self.is_new(&place.uri) && self.wanted.try_send(Wanted { place, told }).is_ok() {
                waiting.push(hears);
            }
        }
        let mut changed = false;
        for hears in waiting {
            changed |= matches!(timeout_at(until, hears).await, Ok(Ok(())));
        }
        changed
    }

    fn is_new(&self, uri: &str) -> bool {
        // A set that a panic left is whole.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.len() < limits::LISTS_FETCHED && asked.insert(uri.to_owned())
    }
}
