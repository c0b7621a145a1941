//! Chains that were validated, so that the next message of the same signer costs one signature only.
//!
//! In: a signer's certificate and the authority that it was validated against. Out: the chain, while it would be
//! validated again. Bounded by [`limits::CHAINS_CACHED`]: the oldest entry makes place. Only chains that hold are kept, so
//! that nobody can fill the cache without a certificate that is believed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::super::Certificate;
use crate::limits;
use crate::timestamp::Timestamp;

/// A chain that held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name of its root.
    pub(super) root: String,
    /// The authorities, from the root down.
    pub(super) authorities: Vec<Certificate>,
    /// From when all of its certificates are valid.
    pub(super) not_before: Timestamp,
    /// Until when.
    pub(super) not_after: Timestamp,
    /// Until when the revocation lists that were asked are in date.
    pub(super) until: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<[u8; 32], Arc<Entry>>,
    order: VecDeque<[u8; 32]>,
}

impl Cache {
    /// What a chain is kept by; no anchor stands for the configured roots.
    pub(super) fn key(signer: &Certificate, anchor: Option<&Certificate>) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&signer.fingerprint());
        if let Some(anchor) = anchor {
            context.update(&anchor.fingerprint());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }

    /// The chain, where it holds at these times too.
    pub(super) fn get(&self, key: &[u8; 32], signed_at: Timestamp, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key)?;
        let holds = entry.not_before <= signed_at && signed_at <= entry.not_after && now <= entry.until;
        holds.then(|| Arc::clone(entry))
    }

    /// The chain, at whatever time it holds.
    pub(super) fn chain(&self, key: &[u8; 32]) -> Option<Arc<Entry>> {
        self.entries.get(key).cloned()
    }

    pub(super) fn put(&mut self, key: [u8; 32], entry: Arc<Entry>) {
        if self.entries.insert(key, entry).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > limits::CHAINS_CACHED {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
