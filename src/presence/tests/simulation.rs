//! The seeded simulation: domains on virtual time, a wire that loses, doubles and delays, daemons that are killed.
//!
//! What must hold for any seed: nobody ever has a view of which they were never allowed to see; when all is quiet, every
//! watcher has the latest view that they may see, and none where they may see none; and soon, not by a refresh, whoever
//! has a view has the latest.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::net::{Line, Server, id, in_short, open, publish, subscribe};
use crate::address::Domain;
use crate::mime::presence::Directive;
use crate::presence::{Fate, Outgoing};
use crate::rules::Handling;
use crate::timestamp::Timestamp;

const DOMAINS: [&str; 3] = ["a.test", "b.test", "c.test"];
const PEOPLE: usize = 3;
const STEPS: usize = 400;

/// An entity on its way, or the word about it on the way back.
struct Flying {
    at: Timestamp,
    from: usize,
    to: usize,
    /// How often the sender had been killed when it went.
    life: u32,
    outgoing: Outgoing,
    /// Whether the sender hears of it.
    heard: bool,
}

struct World {
    seed: u64,
    now: Timestamp,
    servers: Vec<Server>,
    lives: Vec<u32>,
    flying: Vec<Flying>,
    /// A domain that has failed another is left alone until then.
    pauses: HashMap<(usize, usize), Timestamp>,
    /// What each presentity shows now, and whether it lasts.
    notes: HashMap<String, String>,
    rules: HashMap<(String, String), Handling>,
    watched: HashSet<(String, String)>,
    /// The notes that a watcher has been allowed to see at some time.
    allowed: HashMap<(String, String), HashSet<String>>,
    lossy: bool,
    numbers: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let servers = DOMAINS.iter().enumerate().map(|(at, domain)| Server::new(domain, seed * 10 + at as u64 + 1));
        World {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: Timestamp::from_secs(1_795_000_000),
            servers: servers.collect(),
            lives: vec![0; DOMAINS.len()],
            flying: Vec::new(),
            pauses: HashMap::new(),
            notes: HashMap::new(),
            rules: HashMap::new(),
            watched: HashSet::new(),
            allowed: HashMap::new(),
            lossy: true,
            numbers: 0,
        }
    }

    fn random(&mut self, most: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 20) as usize % most
    }

    fn person(&mut self) -> (usize, String) {
        let (domain, number) = (self.random(DOMAINS.len()), self.random(PEOPLE));
        (domain, format!("p{number}@{}", DOMAINS[domain]))
    }

    fn rule_of(&self, presentity: &str, watcher: &str) -> Handling {
        if presentity == watcher {
            return Handling::Allow;
        }
        self.rules.get(&(presentity.to_owned(), watcher.to_owned())).copied().unwrap_or(Handling::Confirm)
    }

    /// Whoever may see what is shown now has been allowed to.
    fn note_allowed(&mut self, presentity: &str) {
        let note = self.notes.get(presentity).cloned().unwrap_or_default();
        for domain in DOMAINS {
            for number in 0..PEOPLE {
                let watcher = format!("p{number}@{domain}");
                if self.rule_of(presentity, &watcher) == Handling::Allow {
                    self.allowed.entry((presentity.to_owned(), watcher)).or_default().insert(note.clone());
                }
            }
        }
    }

    fn say(&mut self, at: usize, from: &str, to: &str, directive: Directive, body: &str) {
        let line = Line { from, to: &[to], directive, body };
        let now = self.now;
        self.servers[at].say(now, &line, (true, true)).unwrap();
    }

    fn something(&mut self) {
        match self.random(20) {
            0..=5 => {
                let (at, who) = self.person();
                self.numbers += 1;
                let note = format!("n{}", self.numbers);
                self.notes.insert(who.clone(), note.clone());
                self.note_allowed(&who);
                self.say(at, &who, &who, publish(None), &open(&who, &note));
            }
            6..=9 => {
                let ((at, presentity), (_, watcher)) = (self.person(), self.person());
                let handling = Handling::ALL[self.random(4)];
                self.rules.insert((presentity.clone(), watcher.clone()), handling);
                self.note_allowed(&presentity);
                let now = self.now;
                self.servers[at].rule(now, &presentity, &watcher, handling);
            }
            10..=14 => {
                let ((at, watcher), (_, presentity)) = (self.person(), self.person());
                self.watched.insert((watcher.clone(), presentity.clone()));
                self.say(at, &watcher, &presentity, subscribe(1), "");
            }
            15 => {
                let ((at, watcher), (_, presentity)) = (self.person(), self.person());
                self.watched.remove(&(watcher.clone(), presentity.clone()));
                self.say(at, &watcher, &presentity, Directive::Cancel { id: id(1) }, "");
            }
            16 if self.lossy => {
                let (at, kept) = (self.random(DOMAINS.len()), self.random(30));
                self.lives[at] += 1;
                let now = self.now;
                self.servers[at].crash(now, kept);
            }
            _ => {}
        }
    }

    /// What is due goes, as far as the wire lets it.
    fn send(&mut self) {
        let now = self.now;
        for from in 0..DOMAINS.len() {
            self.servers[from].at(now, false, |engine, facts| engine.tick(facts));
            for to in (0..DOMAINS.len()).filter(|to| *to != from) {
                if self.pauses.get(&(from, to)).is_some_and(|until| *until > now) {
                    continue;
                }
                let domain = Domain::parse(DOMAINS[to]).unwrap();
                for outgoing in self.servers[from].at(now, false, |engine, facts| engine.due(facts, &domain)) {
                    self.launch(from, to, outgoing);
                }
            }
        }
    }

    fn launch(&mut self, from: usize, to: usize, outgoing: Outgoing) {
        let fate = if self.lossy { self.random(10) } else { 9 };
        let delay = |world: &mut World| Duration::from_millis(world.random(3000) as u64);
        let (life, at) = (self.lives[from], self.now.after(delay(self)));
        match fate {
            // It does not arrive, and the sender knows after a while.
            0 => self.lost(from, to, &outgoing),
            // The reply does not arrive: the sender takes it for lost.
            1 => {
                self.lost(from, to, &outgoing);
                self.flying.push(Flying { at, from, to, life, outgoing, heard: false });
            }
            // It comes twice.
            2 => {
                let again = self.now.after(delay(self));
                self.flying.push(Flying { at: again, from, to, life, outgoing: outgoing.clone(), heard: false });
                self.flying.push(Flying { at, from, to, life, outgoing, heard: true });
            }
            _ => self.flying.push(Flying { at, from, to, life, outgoing, heard: true }),
        }
    }

    fn lost(&mut self, from: usize, to: usize, outgoing: &Outgoing) {
        let now = self.now;
        self.pauses.insert((from, to), now.after(Duration::from_secs(2)));
        let fates: Vec<_> = (0..outgoing.recipients.len()).map(|place| (place, Fate::Later)).collect();
        self.servers[from].at(now, false, |engine, facts| engine.reported(facts, outgoing.token, &fates));
    }

    fn arrive(&mut self) {
        let now = self.now;
        let due: Vec<Flying> = self.flying.extract_if(.., |flying| flying.at <= now).collect();
        for flying in due {
            self.may_be_seen(&flying.outgoing);
            let fate = self.servers[flying.to].receive(now, &flying.outgoing, true);
            if flying.heard && flying.life == self.lives[flying.from] {
                let fates: Vec<_> = (0..flying.outgoing.recipients.len()).map(|place| (place, fate)).collect();
                let token = flying.outgoing.token;
                self.servers[flying.from].at(now, false, |engine, facts| engine.reported(facts, token, &fates));
            }
        }
    }

    /// No entity carries what its recipients were never allowed to see.
    fn may_be_seen(&self, outgoing: &Outgoing) {
        let shown = in_short(&outgoing.written.entity);
        let Some(note) = shown.split(' ').find(|word| word.starts_with('n') && word.len() > 1) else { return };
        for recipient in &outgoing.recipients {
            let pair = (outgoing.sender.to_string(), recipient.to_string());
            let may = self.allowed.get(&pair).is_some_and(|notes| notes.contains(note));
            assert!(may, "{} was shown {note} of {}, which is not for them", recipient, outgoing.sender);
        }
    }

    fn step(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.arrive();
        self.send();
    }

    fn everybody() -> impl Iterator<Item = (usize, String)> {
        let people =
            (0..PEOPLE).flat_map(|number| DOMAINS.iter().enumerate().map(move |(at, domain)| (at, number, domain)));
        people.map(|(at, number, domain)| (at, format!("p{number}@{domain}")))
    }

    fn kill_all(&mut self) {
        let now = self.now;
        for at in 0..DOMAINS.len() {
            self.lives[at] += 1;
            self.servers[at].crash(now, usize::MAX);
        }
        self.now = now.after(Duration::from_secs(1));
    }

    /// Everybody says a last word, which is lost on its way, and all daemons are killed.
    fn last_words(&mut self) {
        for (at, who) in World::everybody() {
            self.numbers += 1;
            let note = format!("n{}", self.numbers);
            self.notes.insert(who.clone(), note.clone());
            self.note_allowed(&who);
            self.say(at, &who, &who, publish(None), &open(&who, &note));
        }
        self.send();
        self.flying.clear();
        self.kill_all();
    }

    /// Whoever is allowed is blocked politely; that comes, but the daemons are killed before they hear of it; and all is as
    /// it was.
    fn change_of_mind(&mut self) {
        let allowed: Vec<_> =
            self.rules.iter().filter(|(_, how)| **how == Handling::Allow).map(|(pair, _)| pair.clone()).collect();
        let rule = |world: &mut World, how: Handling| {
            let now = world.now;
            for (presentity, watcher) in &allowed {
                let at = DOMAINS.iter().position(|domain| presentity.ends_with(domain)).unwrap();
                world.servers[at].rule(now, presentity, watcher, how);
            }
        };
        rule(self, Handling::PoliteBlock);
        self.send();
        self.kill_all();
        rule(self, Handling::Allow);
    }

    /// What everybody sees a short while after the wire has mended: long before anything is refreshed.
    fn check_soon(&mut self, seed: u64) {
        self.lossy = false;
        for _ in 0..90 {
            self.step(Duration::from_secs(2));
        }
        let now = self.now;
        // What everybody has is not told again.
        assert!(self.flying.is_empty(), "seed {seed}: {} entities are still on their way", self.flying.len());
        assert!(self.servers.iter().all(|server| server.engine.behind == 0), "seed {seed}: somebody is behind");
        let watched: Vec<_> = self.watched.iter().cloned().collect();
        for (watcher, presentity) in watched {
            let at = DOMAINS.iter().position(|domain| watcher.ends_with(domain)).unwrap();
            let sees = self.servers[at].sees(now, &watcher, &presentity);
            let note = self.notes.get(&presentity).map(|note| format!(" {note}")).unwrap_or_default();
            assert_ne!(sees, "nothing", "seed {seed}: {watcher} of {presentity} is forgotten");
            // Whoever sees anything sees the latest, and nobody anything that they may not see now.
            match self.rule_of(&presentity, &watcher) {
                Handling::Allow if sees.starts_with("Active") => {
                    assert_eq!(sees, format!("Active closed{note}"), "seed {seed}: {watcher} of {presentity}, soon");
                }
                Handling::PoliteBlock if sees.starts_with("Active") => {
                    assert_eq!(sees, "Active closed", "seed {seed}: {watcher} of {presentity}, soon");
                }
                Handling::Block | Handling::Confirm => {
                    assert!(!sees.starts_with("Active"), "seed {seed}: {watcher} of {presentity}, soon: {sees}");
                }
                _ => {}
            }
        }
    }

    /// Everybody watches whom they want to; then all is quiet for a while.
    fn settle(&mut self) {
        let watched: Vec<_> = self.watched.iter().cloned().collect();
        for _ in 0..200 {
            self.step(Duration::from_secs(40));
        }
        // Whoever was refused before the rules were changed asks again, as people do.
        for (watcher, presentity) in watched {
            let at = DOMAINS.iter().position(|domain| watcher.ends_with(domain)).unwrap();
            self.say(at, &watcher, &presentity, subscribe(1), "");
        }
        for _ in 0..400 {
            self.step(Duration::from_secs(20));
        }
    }

    fn check(&mut self, seed: u64) {
        let now = self.now;
        for (at, domain) in DOMAINS.iter().enumerate() {
            for (number, other) in (0..PEOPLE).flat_map(|number| DOMAINS.map(|other| (number, other))) {
                for local in 0..PEOPLE {
                    let (watcher, presentity) = (format!("p{number}@{domain}"), format!("p{local}@{other}"));
                    let sees = self.servers[at].sees(now, &watcher, &presentity);
                    let expected = if self.watched.contains(&(watcher.clone(), presentity.clone())) {
                        match self.rule_of(&presentity, &watcher) {
                            Handling::Block => "Terminated(Some(Rejected))".to_owned(),
                            Handling::Confirm => "Pending".to_owned(),
                            Handling::PoliteBlock => "Active closed".to_owned(),
                            // What was published to last is open only while a device is attached.
                            Handling::Allow => match self.notes.get(&presentity) {
                                Some(note) => format!("Active closed {note}"),
                                None => "Active closed".to_owned(),
                            },
                        }
                    } else {
                        "nothing".to_owned()
                    };
                    assert_eq!(sees, expected, "seed {seed}: {watcher} of {presentity}");
                }
            }
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.something();
        let time = Duration::from_millis(world.random(4000) as u64);
        world.step(time);
    }
    world.check_soon(seed);
    world.last_words();
    world.check_soon(seed);
    world.change_of_mind();
    world.check_soon(seed);
    world.settle();
    world.check(seed);
}

#[test]
fn every_watcher_ends_with_the_latest_view_that_it_may_see() {
    let seeds = std::env::var("IMPART_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let first = std::env::var("IMPART_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        run(seed);
    }
}
