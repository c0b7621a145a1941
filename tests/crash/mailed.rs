//! The hand-over to the mail system and to the mail store while the daemon is killed: nothing is lost, and only what was in flight may
//! come twice, which SMTP and LMTP cannot exclude (RFC 1047).

use std::time::Duration;

use crate::account::Account;
use crate::common::daemon::Setup;
use crate::common::nobody::Nobody;
use crate::common::sink::{Manner, Sink};
use crate::common::wait;
use crate::load::Load;
use crate::shim::{Shim, When};
use crate::{Random, every_point, kills, seed};

/// How messages leave as mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To others, through a mail system.
    Smtp,
    /// To others, into a mail store.
    Lmtp,
    /// To somebody here who is out of contact, into a mail store, several in one mail.
    Fallback,
}

impl Way {
    /// To whom all goes, where that is somebody here.
    fn recipient(self) -> Option<&'static str> {
        (self == Way::Fallback).then_some("alice@a.test")
    }
}

/// A daemon whose mail goes to the sink, and so do its receipts, by a route.
fn setup(directory: &std::path::Path, way: Way, sink: &Sink, nobody: &Nobody) -> Setup {
    let refuse = |line: &str| line.starts_with("RCPT TO:<nobody@").then(|| "550 5.1.1 no such user".to_owned());
    let store = || sink.beside(Manner { lmtp: true, say: Box::new(refuse), ..Manner::default() });
    let setup = nobody.asked_by(Setup::new(directory).route(&["c.test"], sink.address));
    match way {
        Way::Smtp => setup.with(&format!("[bridge]\nvia = \"smtp:{}\"\n", sink.address)),
        Way::Lmtp => setup.with(&format!("[bridge]\nvia = \"lmtp:{}\"\n", store())),
        Way::Fallback => {
            let setup = setup.with(&format!("[bridge]\nstore = \"lmtp:{}\"\n", store()));
            setup.key("[[domain]]", "fallback = \"50ms\"")
        }
    }
}

#[test]
fn killed_at_random_times_while_mail_is_handed_over() {
    for way in [Way::Smtp, Way::Lmtp, Way::Fallback] {
        let (directory, sink, nobody) = (tempfile::tempdir().unwrap(), crate::next_hop(), Nobody::new());
        let setup = setup(directory.path(), way, &sink, &nobody);
        let mut random = Random(seed());
        let mut account = Account::default();
        let mut daemon = setup.start();
        let kills = kills().div_ceil(3);
        for kill in 1..=kills {
            eprintln!("{way:?}: kill {kill} of {kills}");
            // A mail of several names twenty at most.
            let (senders, each) = if way == Way::Fallback { (2, 3) } else { (3, 12) };
            let load = Load::start_for(setup.mail, way.recipient(), &format!("m{kill}"), senders, each);
            // Every third time all is done when the kill comes: then nothing at all may come again.
            if kill % 3 == 0 {
                account.sent(load.finish());
                account.settled(&sink, &setup);
            } else {
                let due = random.below(senders * each);
                wait::until("load is on its way", || (load.answered() >= due).then_some(()));
                std::thread::sleep(Duration::from_micros(random.below(30_000)));
                daemon.kill();
                sink.set_epoch(kill);
                daemon = setup.start();
                account.sent(load.finish());
                continue;
            }
            daemon.kill();
            sink.set_epoch(kill);
            daemon = setup.start();
        }
        account.settled(&sink, &setup);
        println!("{way:?}: {account}");
        assert!(daemon.stop().success(), "{}", setup.log());
    }
}

#[test]
fn killed_at_every_write_and_sync_while_mail_is_handed_over() {
    let shim = Shim::build();
    for way in [Way::Lmtp, Way::Fallback] {
        let (ready, all) = count_points(&shim, way);
        assert!(all > ready, "mail is seen in the spool: {ready} {all}");
        let kills = if every_point() { (all - ready) * 3 } else { kills().div_ceil(2).min((all - ready) * 3) };
        let (mut failed, mut duplicates) = (Vec::new(), 0);
        for kill in 0..kills {
            let point = 1 + ready + kill * (all - ready) / kills;
            let when = [When::Before, When::Torn, When::After][((kill + seed()) % 3) as usize];
            eprintln!("{way:?}: killed at call {point} of {all}, {when:?}");
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kill_at(&shim, way, point, when))) {
                Ok(copies) => duplicates += copies,
                Err(_) => failed.push(format!("call {point}, {when:?}")),
            }
        }
        println!("{way:?}: killed {kills} times, {duplicates} second copies of what was in flight");
        assert!(failed.is_empty(), "{way:?}: {} of {kills} kills: {}", failed.len(), failed.join("; "));
    }
}

/// The calls of the scenario until the daemon is ready, and in all.
fn count_points(shim: &Shim, way: Way) -> (u64, u64) {
    let (directory, sink, nobody) = (tempfile::tempdir().unwrap(), crate::next_hop(), Nobody::new());
    let setup = shim.watch(setup(directory.path(), way, &sink, &nobody), None);
    let daemon = setup.start();
    let ready = shim.count(&setup);
    let mut account = Account::default();
    account.sent(Load::start_for(setup.mail, way.recipient(), "p", 2, 6).finish());
    account.settled(&sink, &setup);
    daemon.stop();
    (ready, shim.count(&setup))
}

fn kill_at(shim: &Shim, way: Way, point: u64, when: When) -> usize {
    let (directory, sink, nobody) = (tempfile::tempdir().unwrap(), crate::next_hop(), Nobody::new());
    let plain = setup(directory.path(), way, &sink, &nobody);
    let mut first = shim.watch(plain.clone(), Some((point, when))).spawn();
    let mut account = Account::default();
    assert!(first.ready(), "the point is after its start");
    let load = Load::start_for(plain.mail, way.recipient(), "p", 2, 6);
    wait::until("the daemon is killed, or all is there", || {
        let queued = || plain.ctl(&["queue", "list", "--json"]);
        let idle = || load.answered() >= 12 && !String::from_utf8_lossy(&queued().stdout).contains("\"id\"");
        (first.ended() || idle()).then_some(())
    });
    if !first.ended() {
        first.signal(rustix::process::Signal::TERM);
    }
    wait::until("the daemon has ended", || first.ended().then_some(()));
    sink.set_epoch(1);
    let daemon = plain.start();
    account.sent(load.finish());
    account.settled(&sink, &plain);
    assert!(daemon.stop().success(), "{}", plain.log());
    account.duplicates()
}
