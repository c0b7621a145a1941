//! The daemon is killed under load, again and again, and an outside checker keeps the account.
//!
//! The checker sends messages until each has been answered 250 (after a broken connection it offers the same message
//! again, as any client would), and is the next hop as well. What must hold, whatever the moment of the kill:
//! 1. every message that was answered 250 arrives;
//! 2. what was completed before a kill is not sent again; what was in flight may come twice, and is counted;
//!    (so too what was handed to the mail system, and each message of a mail that gathers several);
//! 3. every message that asks for it causes exactly one receipt, once second copies are dropped by Message-ID.
//!
//! `IMPART_CRASH_KILLS` is the number of kills of each kind (default: 30, of attached clients 9); `all` is 300, and every
//! point in each of its three moments. `tests/crash/shim.c`
//! numbers the writes, syncs, renames and removals of the daemon in its spool, and kills at a chosen one: before, in the
//! middle, or after. Where the power fails too, all is gone that was not synced, or any part of it (`tests/crash/power.rs`):
//! what was answered 250 must have been synced before.

#[path = "crash/account.rs"]
mod account;
#[path = "crash/attached.rs"]
mod attached;
mod common;
#[path = "crash/load.rs"]
mod load;
#[path = "crash/mailed.rs"]
mod mailed;
#[allow(dead_code)] // Other tests look at the key.
#[path = "peers/names.rs"]
mod names;
#[path = "crash/power.rs"]
mod power;
#[path = "crash/shim.rs"]
mod shim;
#[path = "crash/signed.rs"]
mod signed;

use std::fs;
use std::time::Duration;

use account::Account;
use common::client::Client;
use common::daemon::Setup;
use common::sink::{Manner, Sink};
use common::wait;
use load::Load;
use power::Loss;
use shim::{Shim, When};

/// Kills of each kind.
fn kills() -> u64 {
    match std::env::var("IMPART_CRASH_KILLS") {
        Ok(text) if text == "all" => 300,
        Ok(text) => text.parse().expect("IMPART_CRASH_KILLS is a number, or all"),
        Err(_) => 30,
    }
}

/// Whether no point is left out.
fn every_point() -> bool {
    std::env::var("IMPART_CRASH_KILLS").is_ok_and(|text| text == "all")
}

/// What makes a run differ from another one, and like itself: `IMPART_CRASH_SEED` (default: 1).
fn seed() -> u64 {
    std::env::var("IMPART_CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A sink that refuses the recipient `nobody`, so that failures are on the way as well.
fn next_hop() -> Sink {
    let say = |line: &str| (line.starts_with("RCPT TO:<nobody@")).then(|| "550 5.1.1 no such user".to_owned());
    Sink::with(Manner { say: Box::new(say), ..Manner::default() })
}

fn setup(directory: &std::path::Path, sink: &Sink) -> Setup {
    Setup::new(directory).route(&["b.test", "c.test"], sink.address)
}

/// Numbers that look random and can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

#[test]
fn killed_at_random_times() {
    let directory = tempfile::tempdir().unwrap();
    let sink = next_hop();
    let setup = setup(directory.path(), &sink);
    println!("seed {}", seed());
    let start = std::time::Instant::now();
    let mut random = Random(seed());
    let mut account = Account::default();
    let mut daemon = setup.start();
    for kill in 1..=kills() {
        // To be seen with --no-capture while hundreds of them take their time.
        eprintln!("kill {kill} of {}, {:?} from the start", kills(), start.elapsed());
        let load = Load::start(setup.mail, &format!("r{kill}"), 4, 40);
        // Every third time the queue is empty when the kill comes: then nothing at all may come again.
        if kill % 3 == 0 {
            account.sent(load.finish());
            account.settled(&sink, &setup);
            daemon.kill();
            sink.set_epoch(kill);
            daemon = setup.start();
            continue;
        }
        let due = random.below(160);
        wait::until("load is on its way", || (load.answered() >= due).then_some(()));
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        daemon.kill();
        sink.set_epoch(kill);
        daemon = setup.start();
        account.sent(load.finish());
    }
    account.settled(&sink, &setup);
    println!("{account}");
    assert!(daemon.stop().success(), "{}", setup.log());
}

#[test]
fn killed_at_every_write_and_sync() {
    at_points("killed", |kill, kills, points| (point_of(kill, kills, points.all), None));
}

#[test]
fn the_power_fails_at_every_write_and_sync() {
    at_points("without power", |kill, kills, points| {
        // Two of three come when there is something to lose.
        let point = match kill % 3 {
            0 => 1 + points.all * kill / kills,
            _ => 1 + points.ready + (points.all - points.ready) * kill / kills,
        };
        let loss = match kill % 2 {
            0 => Loss::All,
            _ => Loss::Some(Random(seed().wrapping_add(kill))),
        };
        (point, Some(loss))
    });
}

/// Calls of the scenario.
struct Points {
    /// Until the daemon was ready.
    ready: u64,
    /// In all.
    all: u64,
}

/// Ends the daemon at points of the scenario; `choose` says which, and what else is lost there.
fn at_points(what: &str, choose: impl Fn(u64, u64, &Points) -> (u64, Option<Loss>)) {
    let shim = Shim::build();
    let points = count_points(&shim);
    println!("{} writes, syncs, renames and removals in the scenario", points.all);
    assert!(points.all > 10, "the shim sees the spool's system calls");
    let kills = if every_point() { points.all * 3 } else { kills().min(points.all * 3) };
    let mut duplicates = 0;
    let mut failed = Vec::new();
    for kill in 0..kills {
        let (chosen, loss) = choose(kill, kills, &points);
        let point = if every_point() { 1 + kill / 3 } else { chosen };
        let when = [When::Before, When::Torn, When::After][((kill + seed()) % 3) as usize];
        eprintln!("{what} at call {point} of {}, {when:?}: {kill} of {kills}", points.all);
        // All points are tried, so that one look shows where it is wrong.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kill_at(&shim, point, when, loss))) {
            Ok(copies) => duplicates += copies,
            Err(_) => failed.push(format!("call {point}, {when:?}")),
        }
    }
    println!("{what} {kills} times, {duplicates} second copies of what was in flight");
    assert!(failed.is_empty(), "{} of {kills} kills: {}", failed.len(), failed.join("; "));
}

/// The call at which a kill comes. Half of the kills are at the first calls, one after the other, where the spool is
/// made; the rest is spread evenly. Another seed meets a call at
/// another moment: before it, in the middle, or after it.
fn point_of(kill: u64, kills: u64, points: u64) -> u64 {
    let first = (kills / 2).min(points / 2);
    match kill.checked_sub(first) {
        None => 1 + kill,
        Some(later) => 1 + first + later * (points - first) / (kills - first),
    }
}

/// The number of calls in the scenario, from a run that nothing disturbs.
fn count_points(shim: &Shim) -> Points {
    let directory = tempfile::tempdir().unwrap();
    let sink = next_hop();
    let setup = shim.watch(setup(directory.path(), &sink), None);
    let daemon = setup.start();
    let ready = shim.count(&setup);
    let mut account = Account::default();
    account.sent(Load::start(setup.mail, "p", 2, 6).finish());
    account.settled(&sink, &setup);
    daemon.stop();
    Points { ready, all: shim.count(&setup) }
}

fn kill_at(shim: &Shim, point: u64, when: When, loss: Option<Loss>) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let sink = next_hop();
    let plain = setup(directory.path(), &sink);
    let mut first = shim.watch(plain.clone(), Some((point, when))).spawn();
    let mut account = Account::default();
    let load = if first.ready() { Some(Load::start(plain.mail, "p", 2, 6)) } else { None };
    // The last points are in the shutdown.
    wait::until("the daemon is killed, or all is sent", || {
        let over = load.as_ref().is_none_or(|load| load.answered() >= 12) && sink_has(&sink, 12);
        (first.ended() || over).then_some(())
    });
    if !first.ended() {
        first.signal(rustix::process::Signal::TERM);
    }
    wait::until("the daemon has ended", || first.ended().then_some(()));
    if let Some(mut loss) = loss {
        power::fail(&plain, &mut loss);
    }
    sink.set_epoch(1);
    let daemon = plain.start();
    let load = load.unwrap_or_else(|| Load::start(plain.mail, "p", 2, 6));
    account.sent(load.finish());
    account.settled(&sink, &plain);
    assert!(daemon.stop().success(), "{}", plain.log());
    account.duplicates()
}

fn sink_has(sink: &Sink, messages: usize) -> bool {
    sink.arrivals().len() >= messages
}

#[test]
fn a_write_that_fails_is_told_and_nothing_is_lost() {
    let shim = Shim::build();
    for error in ["EIO", "ENOSPC", "EROFS"] {
        let directory = tempfile::tempdir().unwrap();
        let sink = next_hop();
        let setup = shim.watch(setup(directory.path(), &sink), None);
        let daemon = setup.start();
        let mut account = Account::default();
        account.sent(Load::start(setup.mail, &format!("before-{error}"), 2, 10).finish());
        shim.fail(&setup, Some(error));
        let refused = wait::until("a message is refused with 452", || {
            let (mut client, _) = Client::hello(setup.mail).ok()?;
            let entity = common::client::entity("s@c.test", "r@b.test", &format!("{error}@c.test"), "x");
            let reply = client.transaction("<s@c.test>", &["<r@b.test>"], &entity).ok()?;
            (reply.code == 452).then_some(reply)
        });
        assert!(refused.lines[0].starts_with("4.3.1 "), "{refused:?}");
        // The log has a line for what is in the spool, and for nothing else.
        let line = |id: &str| setup.log().lines().any(|line| line.contains(": from=<") && line.contains(id));
        assert!(line(&format!("message-id=<before-{error}-")), "{}", setup.log());
        assert!(!line(&format!("message-id=<{error}@c.test>")), "{}", setup.log());
        shim.fail(&setup, None);
        account.sent(Load::start(setup.mail, &format!("after-{error}"), 2, 10).finish());
        account.settled(&sink, &setup);
        assert!(daemon.stop().success(), "{}", setup.log());
        let refused = sink.arrivals().iter().any(|a| a.field("Message-ID") == Some(format!("<{error}@c.test>")));
        assert!(!refused, "a message that was refused has arrived");
    }
}

#[test]
fn a_damaged_spool_is_told_and_does_not_stop_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let sink = next_hop();
    let setup = setup(directory.path(), &sink);
    let daemon = setup.start();
    let mut account = Account::default();
    account.sent(Load::start(setup.mail, "d", 2, 10).finish());
    account.settled(&sink, &setup);
    daemon.kill();
    let mut files = Vec::new();
    collect(&setup.spool(), &mut files);
    let largest = files.into_iter().max_by_key(|(size, _)| *size).expect("the spool has files").1;
    let mut octets = fs::read(&largest).unwrap();
    let middle = octets.len().min(4096) / 2;
    octets[middle] ^= 0x55;
    fs::write(&largest, octets).unwrap();
    let daemon = setup.start();
    account.sent(Load::start(setup.mail, "e", 2, 10).finish());
    sink.wait("messages after the damage", |arrivals| {
        arrivals.iter().filter(|a| a.field("Message-ID").is_some_and(|id| id.starts_with("<e-"))).count() >= 10
    });
    assert!(daemon.stop().success(), "{}", setup.log());
}

fn collect(folder: &std::path::Path, files: &mut Vec<(u64, std::path::PathBuf)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(about) if about.is_dir() => collect(&entry.path(), files),
            Ok(about) if about.is_file() => files.push((about.len(), entry.path())),
            _ => {}
        }
    }
}
