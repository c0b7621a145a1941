//! Attached clients: the daemon, the client, or both are killed while messages come.
//!
//! What must hold: each message that was answered 250 is in the history of the client, once; it is shown at most once; and
//! where only the daemon is killed, exactly once. Afterwards nothing waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::person::{Listening, Person};
use crate::common::wait;
use crate::load::Load;
use crate::shim::{Shim, When};
use crate::{Random, names, seed};

/// Kills, unless `IMPART_CRASH_KILLS` says how many.
const KILLS: u64 = 9;

fn kills() -> u64 {
    std::env::var_os("IMPART_CRASH_KILLS").map_or(KILLS, |_| crate::kills())
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Daemon,
    Client,
    Both,
}

/// A daemon, and Alice, whose client is attached to it.
struct Home {
    setup: Setup,
    alice: Person,
    daemon: Option<Daemon>,
    client: Option<Listening>,
    /// What earlier clients have shown.
    shown: Vec<Value>,
    sent: BTreeSet<String>,
    _directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let named = names::certificate(directory.path(), "a.test");
        let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{address}\"\n");
        let setup = Setup::new(directory.path()).with(&named.section()).with(&listener);
        setup.write();
        setup.account("alice@a.test", "secret");
        let daemon = setup.start();
        let alice = Person::new("alice@a.test", &directory.path().join("alice"), address, &named.chain);
        let alice = alice.log_in("secret");
        let client = alice.listen();
        let (shown, sent) = Default::default();
        Home { setup, alice, daemon: Some(daemon), client: Some(client), shown, sent, _directory: directory }
    }

    fn kill(&mut self, what: Killed) {
        if what != Killed::Client
            && let Some(daemon) = self.daemon.take()
        {
            daemon.kill();
        }
        if what != Killed::Daemon
            && let Some(client) = self.client.take()
        {
            self.shown.extend(client.kill());
        }
        if self.daemon.is_none() {
            self.daemon = Some(self.setup.start());
        }
        if self.client.is_none() {
            self.client = Some(self.alice.listen());
        }
    }

    /// The Message-IDs that all clients have shown, in order.
    fn shown(&self) -> Vec<String> {
        let now = self.client.iter().flat_map(Listening::events);
        self.shown.iter().cloned().chain(now).filter_map(|event| id(&event)).collect()
    }

    /// The load meets a kill at a moment that chance names.
    fn meets(&mut self, kill: u64, what: Killed, random: &mut Random) {
        let before = self.shown().len() as u64;
        let load = Load::start_for(self.setup.mail, Some("alice@a.test"), &format!("k{kill}"), 2, 20);
        let due = random.below(36);
        wait::until("messages come", || (self.shown().len() as u64 >= before + due).then_some(()));
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        self.kill(what);
        self.sent.extend(load.finish().into_iter().map(|sent| sent.id));
    }

    /// Waits until the client has all; what it has never shown.
    fn settled(&self) -> usize {
        let mut counts = BTreeMap::new();
        wait::until("the client has all", || {
            counts.clear();
            for row in self.alice.rows(&["history", "s@c.test", "--json"]) {
                *counts.entry(id(&row)?).or_insert(0) += 1;
            }
            (counts.len() >= self.sent.len()).then_some(())
        });
        let had: BTreeSet<String> = counts.keys().cloned().collect();
        assert_eq!(had, self.sent, "what was answered 250, and only that, is in the history");
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "in the history more than once: {twice:?}");
        wait::until("nothing waits", || self.setup.rows(&["queue", "list"]).is_empty().then_some(()));
        let shown = self.shown();
        let distinct: BTreeSet<&String> = shown.iter().collect();
        let times = |id: &String| shown.iter().filter(|other| *other == id).count();
        let again: Vec<_> = distinct.iter().filter(|id| times(id) > 1).collect();
        assert!(again.is_empty(), "shown more than once: {again:?}");
        self.sent.len() - distinct.len()
    }
}

impl Home {
    /// Nobody runs any more; what was shown is remembered.
    fn rest(&mut self) {
        self.shown.extend(self.client.take().map(Listening::kill).into_iter().flatten());
        if let Some(daemon) = self.daemon.take() {
            assert!(daemon.stop().success(), "{}", self.setup.log());
        }
    }

    /// The daemon ends at one of its calls while messages come, or by SIGTERM when all have; the next one goes on. The
    /// number of calls that there were.
    fn ends_at(&mut self, shim: &Shim, round: u64, end: Option<(u64, When)>) -> u64 {
        const SENDERS: (u64, u64) = (2, 3);
        let _ = std::fs::remove_file(self.setup.directory.join("calls"));
        let mut watched = shim.watch(self.setup.clone(), end).spawn();
        let (to, name) = (Some("alice@a.test"), format!("p{round}"));
        let load = Load::start_for(self.setup.mail, to, &name, SENDERS.0, SENDERS.1);
        self.client = Some(self.alice.listen());
        let all = self.sent.len() as u64 + SENDERS.0 * SENDERS.1;
        wait::until("the daemon is killed, or all is shown", || {
            (watched.ended() || self.shown().len() as u64 >= all).then_some(())
        });
        if !watched.ended() {
            watched.signal(rustix::process::Signal::TERM);
        }
        wait::until("the daemon has ended", || watched.ended().then_some(()));
        let calls = shim.count(&self.setup);
        self.daemon = Some(self.setup.start());
        self.sent.extend(load.finish().into_iter().map(|sent| sent.id));
        wait::until("all are shown", || (self.shown().len() >= self.sent.len()).then_some(()));
        assert_eq!(self.settled(), 0, "what is in the history was shown");
        self.rest();
        calls
    }
}

/// The Message-ID of a message that came.
fn id(event: &Value) -> Option<String> {
    let id = event["id"].as_str().filter(|_| event["event"] == "message")?;
    Some(id.trim_matches(['<', '>']).to_owned())
}

#[test]
fn an_attached_client_misses_nothing_when_the_daemon_is_killed() {
    let mut home = Home::new();
    let mut random = Random(seed());
    // Fewer: each time the client waits longer before it connects again.
    for kill in 1..=kills().min(3) {
        home.meets(kill, Killed::Daemon, &mut random);
    }
    wait::until("all are shown", || (home.shown().len() >= home.sent.len()).then_some(()));
    assert_eq!(home.settled(), 0, "what is in the history was shown");
}

#[test]
fn attached_clients_and_daemons_killed_at_random() {
    let mut home = Home::new();
    let mut random = Random(seed());
    for kill in 1..=kills() {
        let what = [Killed::Client, Killed::Both, Killed::Daemon][(kill % 3) as usize];
        home.meets(kill, what, &mut random);
    }
    let unseen = home.settled();
    println!(
        "{} messages over {} kills; {unseen} kept, and the client killed before it showed them",
        home.sent.len(),
        kills()
    );
}

#[test]
fn killed_at_every_write_and_sync_with_a_client_attached() {
    let shim = Shim::build();
    let mut home = Home::new();
    home.rest();
    let points = home.ends_at(&shim, 0, None);
    println!("{points} writes, syncs, renames and removals from a start to an end with a client");
    assert!(points > 10, "the shim sees the spool's system calls");
    let kills = kills().min(points * 3);
    for kill in 1..=kills {
        // Spread evenly; another seed meets a call at another moment.
        let point = 1 + (kill - 1) * points / kills;
        let when = [When::Before, When::Torn, When::After][((kill + seed()) % 3) as usize];
        println!("call {point} of {points}, {when:?}");
        home.ends_at(&shim, kill, Some((point, when)));
    }
    println!("{} messages over {kills} kills, each shown once", home.sent.len());
}
