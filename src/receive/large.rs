//! Places for large entities while they come: few at a time, so that memory is bounded however many connections there are.
//!
//! In: octets that a connection holds of an entity. Out: whether it may read on, and until when the entity has to be whole.
//! Invariant: one address has at most its share of the places, and what an entity takes is bounded in time from its first
//! octet: nothing but its end counts. Small entities need no place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits;

/// The places that all connections share.
pub struct Places {
    all: Arc<Semaphore>,
    each: usize,
    patience: Duration,
    by_address: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Places {
    /// So many in all and for each address, and the time that an entity has.
    pub fn new(all: usize, each: usize, patience: Duration) -> Self {
        Places { all: Arc::new(Semaphore::new(all)), each, patience, by_address: Mutex::default() }
    }

    /// The share of an address; gone when nobody has or awaits a place of it.
    fn share(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = by_address.get(&address).and_then(Weak::upgrade) {
            return share;
        }
        by_address.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.each));
        by_address.insert(address, Arc::downgrade(&share));
        share
    }
}

impl Default for Places {
    fn default() -> Self {
        Places::new(limits::LARGE_ENTITIES, limits::LARGE_ENTITIES_PER_ADDRESS, limits::ENTITY_TIMEOUT)
    }
}

/// One connection's part.
pub struct Large {
    places: Arc<Places>,
    /// Its address's share, while it needs a place.
    share: Option<Arc<Semaphore>>,
    address: Option<IpAddr>,
    taken: Option<(Option<OwnedSemaphorePermit>, OwnedSemaphorePermit)>,
    began: Option<Instant>,
}

impl Large {
    /// For a connection from `address`; this host itself has no share.
    pub fn new(places: Arc<Places>, address: Option<IpAddr>) -> Self {
        let address = address.filter(|address| !address.to_canonical().is_loopback()).map(super::network);
        Large { places, share: None, address, taken: None, began: None }
    }

    /// Whether an entity of which `held` octets are here has to wait for a place.
    pub fn waits(&self, held: u64) -> bool {
        held > limits::LARGE_OCTETS && self.taken.is_none()
    }

    /// Takes a place where one is needed and free, gives it back where none is needed; whether to read on.
    pub fn may_go_on(&mut self, held: u64) -> bool {
        if held == 0 {
            self.began = None;
        } else {
            self.began.get_or_insert_with(Instant::now);
        }
        if held <= limits::LARGE_OCTETS {
            (self.taken, self.share) = (None, None);
        } else if self.taken.is_none() {
            self.share = self.share.take().or_else(|| self.address.map(|address| self.places.share(address)));
            let own = self.share.clone().map(Semaphore::try_acquire_owned).transpose();
            self.taken = own.ok().and_then(|own| Some((own, self.places.all.clone().try_acquire_owned().ok()?)));
        }
        !self.waits(held)
    }

    /// Waits for a place: first for one of the address's, so that nobody waits behind those that may have no more.
    pub async fn wait(&mut self) {
        let own = match self.share.clone() {
            Some(share) => share.acquire_owned().await.ok(),
            None => None,
        };
        self.taken = self.places.all.clone().acquire_owned().await.ok().map(|place| (own, place));
    }

    /// An entity is whole; the next one has its own time.
    pub fn entity_ended(&mut self) {
        self.began = None;
    }

    /// The earlier of `end` and when the entity that is coming has to be whole.
    pub fn before(&self, end: Instant) -> Instant {
        self.began.map_or(end, |began| end.min(began + self.places.patience))
    }
}
