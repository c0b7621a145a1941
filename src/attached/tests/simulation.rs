//! Seeded: devices come and go, messages arrive, answers come in any order, commits lag behind, the server crashes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use super::{holder, item, join, mailbox, open};
use crate::spool::Disposition;

const DEVICES: [&str; 3] = ["phone", "desk", "tablet"];

struct Random(u64);

impl Random {
    fn roll(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

struct World {
    random: Random,
    attached: Attached,
    /// What the spool holds, and what is to be written to it.
    rows: BTreeMap<Item, State>,
    pending: VecDeque<(Item, Had)>,
    known: Vec<Known>,
    feeds: Vec<(Option<usize>, Feed, Vec<Offer>)>,
    /// How often each device has answered for each message, and who completed it.
    answers: BTreeMap<(usize, Item), usize>,
    completed: BTreeMap<Item, usize>,
    crashed: bool,
    next: u64,
    now: std::time::Instant,
}

fn inbox() -> Mailbox {
    mailbox("alice@a.example")
}

impl World {
    fn new(seed: u64) -> World {
        let known = DEVICES.map(|name| Known { inbox: inbox().key(), holder: holder(name), seen: Timestamp::MAX });
        let attached = Attached::new(known.to_vec());
        attached.restored();
        World {
            random: Random(seed),
            attached,
            rows: BTreeMap::new(),
            pending: VecDeque::new(),
            known: known.to_vec(),
            feeds: Vec::new(),
            answers: BTreeMap::new(),
            completed: BTreeMap::new(),
            crashed: false,
            next: 1,
            now: std::time::Instant::now(),
        }
    }

    fn step(&mut self, crashes: bool) {
        self.now += Duration::from_millis(self.random.roll(2000) as u64);
        match self.random.roll(if crashes { 101 } else { 100 }) {
            0..20 => self.arrive(),
            20..26 => self.attach(),
            26..30 => self.detach(),
            30..55 => self.take(),
            55..80 => self.answer(),
            80..100 => self.commit(),
            _ => self.crash(),
        }
    }

    fn arrive(&mut self) {
        // Identifiers are given out before the commit, so neighbours may change places.
        for id in if self.random.roll(4) == 0 { vec![self.next + 1, self.next] } else { vec![self.next] } {
            self.rows.insert(item(id), open());
            assert!(self.attached.arrive(&inbox(), item(id), 10, &open()).is_empty());
        }
        self.next += 2;
    }

    fn attach(&mut self) {
        let device = Some(self.random.roll(DEVICES.len() + 1)).filter(|at| *at < DEVICES.len());
        // One connection for each device; a second one is another test's.
        if self.feeds.len() < 6 && !self.feeds.iter().any(|(other, ..)| device.is_some() && *other == device) {
            let name = device.map(|at| DEVICES[at]);
            let Joined { feed, upkeep } = join(&self.attached, "alice@a.example", "alice@a.example", Reads::Own, name);
            assert!(upkeep.is_empty());
            feed.ready(None);
            self.feeds.push((device, feed, Vec::new()));
        }
    }

    fn some_feed(&mut self) -> Option<usize> {
        if self.feeds.is_empty() { None } else { Some(self.random.roll(self.feeds.len())) }
    }

    fn detach(&mut self) {
        if let Some(at) = self.some_feed() {
            self.feeds.swap_remove(at);
        }
    }

    fn take(&mut self) {
        let Some(at) = self.some_feed() else { return };
        let room = 1 + self.random.roll(8);
        let offers = self.feeds[at].1.take(room, self.now);
        let mut fresh = offers.iter().filter(|offer| offer.attempts == 0).map(|offer| offer.item.id.0 / 2);
        assert!(fresh.by_ref().is_sorted(), "in order of acceptance: {offers:?}");
        for offer in &offers {
            if let Some(device) = self.feeds[at].0.filter(|_| !self.crashed) {
                assert!(
                    !self.answers.contains_key(&(device, offer.item)),
                    "{offer:?} is offered after it was answered"
                );
            }
        }
        self.feeds[at].2.extend(offers);
    }

    fn answer(&mut self) {
        let Some(at) = self.some_feed() else { return };
        let (device, feed, offers) = &mut self.feeds[at];
        if offers.is_empty() {
            return;
        }
        let offer = offers.swap_remove(self.random.roll(offers.len()));
        if self.random.roll(10) == 0 {
            assert_eq!(feed.answered(&offer, Verdict::Later, self.now), Concluded::Nothing);
            return;
        }
        if let Some(device) = device {
            *self.answers.entry((*device, offer.item)).or_default() += 1;
        }
        match feed.answered(&offer, Verdict::Had, self.now) {
            Concluded::Had(had) => {
                *self.completed.entry(offer.item).or_default() += usize::from(had.completes);
                self.pending.push_back((offer.item, had));
            }
            other => assert_eq!(other, Concluded::Nothing),
        }
    }

    fn commit(&mut self) {
        // Commits of different tasks change places.
        if !self.pending.is_empty() {
            let at = self.random.roll(self.pending.len().min(3));
            let (item, had) = self.pending.remove(at).unwrap();
            if let Some(state) = self.rows.get_mut(&item) {
                state.had(had);
                if *state == State::Closed(Disposition::Delivered) {
                    self.rows.remove(&item);
                }
            }
            self.attached.settled(&inbox(), item);
        }
    }

    fn crash(&mut self) {
        self.crashed = true;
        self.feeds.clear();
        self.pending.clear();
        self.attached = Attached::new(self.known.clone());
        for (item, state) in &self.rows {
            assert!(self.attached.arrive(&inbox(), *item, 10, state).is_empty());
        }
        self.attached.restored();
    }

    /// Everybody attaches and takes everything.
    fn finish(&mut self) {
        self.feeds.clear();
        for device in [Some(0), Some(1), Some(2)] {
            let name = device.map(|at: usize| DEVICES[at]);
            let Joined { feed, .. } = join(&self.attached, "alice@a.example", "alice@a.example", Reads::Own, name);
            feed.ready(None);
            self.feeds.push((device, feed, Vec::new()));
        }
        for _ in 0..self.next * 40 {
            self.now += Duration::from_secs(100);
            self.take();
            self.answer();
            self.commit();
        }
        while !self.pending.is_empty() {
            self.commit();
        }
    }
}

fn run(seed: u64, crashes: bool) {
    let mut world = World::new(seed);
    for _ in 0..600 {
        world.step(crashes);
    }
    let items: Vec<Item> = world.completed.keys().copied().collect();
    world.finish();
    assert_eq!(world.rows, BTreeMap::new(), "seed {seed}: something was not taken by all");
    assert_eq!(world.attached.load(&inbox()), Load::default(), "seed {seed}");
    for item in items {
        for device in 0..DEVICES.len() {
            let times = world.answers.get(&(device, item)).copied().unwrap_or(0);
            assert!(times >= 1, "seed {seed}: {} never had {item:?}", DEVICES[device]);
            assert!(world.crashed || times == 1, "seed {seed}: {} had {item:?} {times} times", DEVICES[device]);
        }
        assert!(world.crashed || world.completed[&item] == 1, "seed {seed}: {item:?} was completed more than once");
    }
}

#[test]
fn every_device_gets_every_message_exactly_once() {
    (1..150).for_each(|seed| run(seed, false));
}

#[test]
fn after_crashes_every_device_has_every_message() {
    (1..150).for_each(|seed| run(seed, true));
}
