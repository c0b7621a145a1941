//! Lists of revoked certificates from the places that certificates name, where the configuration allows it.
//!
//! In: places, each with the authority whose list it is. Out: lists that their authority has signed, and word that they have
//! changed. Invariants: one file at a time, of bounded length, in bounded time; no address of this host or of a network
//! behind it, unless that is allowed; a list is asked for again before it is out of date, and, where that fails, given up
//! when it is: then it is as if there were none. RFC 5280 §4.2.1.13.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::config::FetchLists;
use crate::dns::Resolve;
use crate::limits;
use crate::net::Host;
use crate::net::http::{self, Url, is_public};
use crate::receive::lists::{Lists, Wanted};
use crate::smime::trust::{ListPlace, read_list};
use crate::timestamp::Timestamp;

/// How long one file may take.
const TIME: Duration = Duration::from_secs(10);
/// How often what is due is looked for.
const EVERY: Duration = Duration::from_secs(60);
/// The longest time until a list is asked for again, and the shortest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(6 * 3600), Duration::from_secs(600));

/// What was fetched, for those who believe.
#[derive(Debug)]
pub struct Fetched {
    lists: Lists,
    found: Mutex<Vec<Vec<u8>>>,
}

impl Fetched {
    /// Where lists are asked for.
    pub fn lists(&self) -> Lists {
        self.lists.clone()
    }

    /// The lists.
    pub fn found(&self) -> Vec<Vec<u8>> {
        // What a panic left is whole: it is replaced at once.
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What becomes of a place.
struct Known {
    place: ListPlace,
    /// The list, and until when it is good.
    list: Option<(Vec<u8>, Timestamp)>,
    again: Timestamp,
}

/// Whoever fetches.
struct Fetcher {
    fetched: Arc<Fetched>,
    allowed: FetchLists,
    resolver: Arc<dyn Resolve>,
    clock: Arc<dyn Clock>,
    known: HashMap<String, Known>,
    changed: mpsc::Sender<Option<oneshot::Sender<()>>>,
}

/// Word that the lists have changed; with it, whoever waits for them to be believed.
pub type Changes = mpsc::Receiver<Option<oneshot::Sender<()>>>;

/// Starts to fetch what is asked for.
pub fn start(allowed: FetchLists, resolver: Arc<dyn Resolve>, clock: Arc<dyn Clock>) -> (Arc<Fetched>, Changes) {
    let (sender, wanted) = mpsc::channel(limits::LISTS_FETCHED);
    let (changed, changes) = mpsc::channel(1);
    let fetched = Arc::new(Fetched { lists: Lists::new(sender), found: Mutex::default() });
    let known = HashMap::new();
    let fetcher = Fetcher { fetched: Arc::clone(&fetched), allowed, resolver, clock, known, changed };
    tokio::spawn(fetcher.run(wanted));
    (fetched, changes)
}

impl Fetcher {
    async fn run(mut self, mut wanted: mpsc::Receiver<Wanted>) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (due, told) = tokio::select! {
                Some(Wanted { place, told }) = wanted.recv() => (vec![place], Some(told)),
                _ = tick.tick() => (self.due(), None),
            };
            let mut changed = false;
            for place in due {
                changed |= self.fetch(place).await;
            }
            if !changed {
                continue;
            }
            let lists = self.known.values().filter_map(|known| Some(known.list.as_ref()?.0.clone())).collect();
            *self.fetched.found.lock().unwrap_or_else(PoisonError::into_inner) = lists;
            if self.changed.send(told).await.is_err() {
                return;
            }
        }
    }

    fn due(&self) -> Vec<ListPlace> {
        let now = self.clock.now();
        self.known.values().filter(|known| known.again <= now).map(|known| known.place.clone()).collect()
    }

    /// Fetches a list; whether what is known has changed.
    async fn fetch(&mut self, place: ListPlace) -> bool {
        let found = self.list(&place).await;
        let now = self.clock.now();
        let before = self.known.remove(&place.uri).and_then(|known| known.list);
        let list = match found {
            Ok(found) => Some(found).filter(|(_, until)| *until > now),
            Err(reason) => {
                tracing::warn!("{}: no list of revoked certificates: {reason}", place.uri.escape_debug());
                before.clone().filter(|(_, until)| *until > now)
            }
        };
        let good = list.as_ref().map_or(Duration::ZERO, |(_, until)| until.since(now) / 2);
        let changed = list != before;
        let known = Known { list, again: now.after(good.clamp(AGAIN.1, AGAIN.0)), place };
        self.known.insert(known.place.uri.clone(), known);
        changed
    }

    async fn list(&self, place: &ListPlace) -> Result<(Vec<u8>, Timestamp), String> {
        let url = Url::parse(&place.uri).ok_or("it is no URL of http:")?;
        let addresses: Vec<IpAddr> = match &url.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolver.addresses(name).await.map_err(|failure| failure.to_string())?.records,
        };
        let may = |address: &IpAddr| self.allowed == FetchLists::Any || is_public(*address);
        let addresses: Vec<IpAddr> = addresses.into_iter().filter(may).collect();
        if addresses.is_empty() {
            return Err("its host has no public address; see smime.fetch_crls".to_owned());
        }
        let octets = http::get(&url, &addresses, limits::CRL_OCTETS as u64, TIME).await?;
        let others = self.known.values().filter(|known| known.place.uri != place.uri);
        let others: usize = others.filter_map(|known| Some(known.list.as_ref()?.0.len())).sum();
        if others + octets.len() > limits::LISTS_OCTETS {
            return Err(format!("there is no room: all lists may have {} octets", limits::LISTS_OCTETS));
        }
        read_list(&octets, &place.issuer).map_err(|fault| fault.to_string())
    }
}
