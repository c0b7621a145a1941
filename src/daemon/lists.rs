//! Lists of revoked certificates from the places that certificates name, where the configuration allows it.
//!
//! In: places, each with the authority whose list it is. Out: lists that their authority has signed, and word that they have
//! changed. Invariants: one file at a time, of bounded length, in bounded time; from public addresses and port 80 alone,
//! unless others are allowed; no list takes the place of a newer one, since whoever stands between can play an old one back;
//! a list is asked for again before it is out of date, and, where that fails, given up shortly before it is: then it is as if
//! there were none. RFC 5280 §4.2.1.13.

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
use crate::smime::trust::{FoundList, ListPlace, read_list};
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
    list: Option<FoundList>,
    again: Timestamp,
}

/// Whether a list is good for a while yet: those who believe must be told before it is not.
fn is_good(list: &FoundList, now: Timestamp) -> bool {
    list.until > now.after(EVERY)
}

/// The list that counts from now on: what was found, unless it is out of date or older than what was there before.
fn newer(
    before: Option<FoundList>,
    found: Result<FoundList, String>,
    now: Timestamp,
) -> (Option<FoundList>, Result<(), String>) {
    let before = before.filter(|before| is_good(before, now));
    let why = match (found, &before) {
        (Err(reason), _) => reason,
        (Ok(found), _) if !is_good(&found, now) => "it is out of date".to_owned(),
        (Ok(found), Some(before)) if found.since < before.since => "it is older than the one before".to_owned(),
        (Ok(found), _) => return (Some(found), Ok(())),
    };
    (before, Err(why))
}

/// When a list is asked for again: before those who believe it must do without.
fn again(list: Option<&FoundList>, now: Timestamp) -> Timestamp {
    let Some(list) = list else { return now.after(AGAIN.1) };
    let middle = now.after((list.until.since(now) / 2).clamp(AGAIN.1, AGAIN.0));
    middle.min(list.until.before(EVERY * 2)).max(now.after(EVERY))
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
                // A place that is slow keeps no list of another in use.
                if self.give_up() && !self.tell(None).await {
                    return;
                }
                changed |= self.fetch(place).await;
            }
            if (self.give_up() || changed) && !self.tell(told).await {
                return;
            }
        }
    }

    /// Drops lists that are nearly out of date; whether there were any.
    fn give_up(&mut self) -> bool {
        let now = self.clock.now();
        let over = |known: &&mut Known| known.list.as_ref().is_some_and(|list| !is_good(list, now));
        self.known.values_mut().filter(over).map(|known| known.list = None).count() > 0
    }

    /// Says what there is; false when nobody listens.
    async fn tell(&self, told: Option<oneshot::Sender<()>>) -> bool {
        let lists = self.known.values().filter_map(|known| Some(known.list.as_ref()?.der.clone())).collect();
        *self.fetched.found.lock().unwrap_or_else(PoisonError::into_inner) = lists;
        self.changed.send(told).await.is_ok()
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
        let (list, taken) = newer(before.clone(), found, now);
        if let Err(reason) = taken {
            tracing::warn!("{}: no list of revoked certificates: {reason}", place.uri.escape_debug());
        }
        let changed = list != before;
        self.fetched.lists.gave(&place.uri, list.is_some());
        if self.known.len() >= limits::LISTS_FETCHED {
            // Those that made room for others.
            self.known.retain(|uri, _| self.fetched.lists.has(uri));
        }
        let known = Known { again: again(list.as_ref(), now), list, place };
        self.known.insert(known.place.uri.clone(), known);
        changed
    }

    async fn list(&self, place: &ListPlace) -> Result<FoundList, String> {
        let url = Url::parse(&place.uri).ok_or("it is no URL of http:")?;
        if !may_ask(self.allowed, &url) {
            return Err("its port is not 80; see smime.fetch_crls".to_owned());
        }
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
        let others: usize = others.filter_map(|known| Some(known.list.as_ref()?.der.len())).sum();
        if others + octets.len() > limits::LISTS_OCTETS {
            return Err(format!("there is no room: all lists may have {} octets", limits::LISTS_OCTETS));
        }
        let (issuer, now) = (place.issuer.clone(), self.clock.now());
        // A large one takes a while.
        let read = tokio::task::spawn_blocking(move || read_list(&octets, &issuer, now)).await;
        read.map_err(|fault| fault.to_string())?.map_err(|fault| fault.to_string())
    }
}

/// Whether a port may be asked: on others there are services that expect no strangers, of this host too.
fn may_ask(allowed: FetchLists, url: &Url) -> bool {
    allowed == FetchLists::Any || url.port == 80
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);
    const HOUR: u64 = 3600;

    fn list(name: &str, since: u64, until: u64) -> FoundList {
        let hours = |hours| Duration::from_secs(hours * HOUR);
        let (since, until) = (NOW.before(hours(since)), NOW.after(hours(until)));
        FoundList { der: name.as_bytes().to_vec(), since, until }
    }

    #[test]
    fn no_list_takes_the_place_of_a_newer_one() {
        let check = |before: Option<FoundList>, found: Result<FoundList, String>, expected: Option<&str>| {
            let (list, taken) = newer(before, found.clone(), NOW);
            let shown = list.as_ref().map(|list| String::from_utf8(list.der.clone()).unwrap());
            assert_eq!(shown.as_deref(), expected, "{found:?}");
            assert_eq!(taken.is_ok(), found.ok() == list && list.is_some());
        };
        let (old, new, over) = (list("old", 9, 50), list("new", 2, 40), list("over", 1, 0));
        check(None, Ok(old.clone()), Some("old"));
        check(Some(old.clone()), Ok(new.clone()), Some("new"));
        check(Some(new.clone()), Ok(old.clone()), Some("new"));
        check(Some(new.clone()), Ok(new.clone()), Some("new"));
        check(Some(new.clone()), Ok(over.clone()), Some("new"));
        check(Some(new), Err("no answer".to_owned()), Some("new"));
        check(Some(over.clone()), Ok(old), Some("old"));
        check(Some(over.clone()), Err("no answer".to_owned()), None);
        check(None, Ok(over), None);
    }

    #[test]
    fn lists_are_asked_for_again_in_time() {
        let check = |until: u64, expected: u64| {
            let list = FoundList { until: NOW.after(Duration::from_secs(until)), ..list("a", 1, 0) };
            assert_eq!(again(Some(&list), NOW).since(NOW).as_secs(), expected, "{until}");
        };
        check(100 * HOUR, 6 * HOUR);
        check(2 * HOUR, HOUR);
        check(900, 600);
        check(600, 480);
        check(90, 60);
        assert_eq!(again(None, NOW), NOW.after(AGAIN.1));
    }

    #[test]
    fn other_ports_are_asked_where_that_is_allowed() {
        let url = |text| Url::parse(text).unwrap();
        let (usual, other) = (url("http://a.example/a.crl"), url("http://a.example:8080/a.crl"));
        assert!(may_ask(FetchLists::Public, &usual) && !may_ask(FetchLists::Public, &other));
        assert!(may_ask(FetchLists::Any, &usual) && may_ask(FetchLists::Any, &other));
    }
}
