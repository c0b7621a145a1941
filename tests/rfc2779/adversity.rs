//! What goes wrong around a daemon costs nothing else: the spool, certificates, the configuration, DNS.

use std::fs;
use std::process::Command;

use impart::dns::authority::Conduct;
use impart::tls::make::Leaf;
use rustix::process::Signal;

use crate::common::client::Client;
use crate::common::daemon::{Setup, free_address};
use crate::common::wait;
use crate::world::{World, check, now, reports, send};

#[test]
fn r5_4_2_a_spool_has_one_daemon() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let first = a.start();
    let directory = world.home("second");
    let spool = format!("spool = {:?}\n", a.spool());
    let second = Setup { directory, mail: free_address(), relay: Some(free_address()), ..a.clone() };
    second.write();
    let text = fs::read_to_string(second.config()).unwrap();
    let own = format!("spool = {:?}\n", second.spool());
    assert!(text.contains(&own));
    fs::write(second.config(), text.replace(&own, &spool)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_impartd"));
    let output = command.arg("--config").arg(second.config()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = format!("is in use by process {}; stop it first, or ask it with impartctl", first.pid());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(output.status.code(), Some(69), "{said}");
    send(&a, "alice@a.test", "still@a.test");
}

#[test]
fn r5_4_1_a_damaged_record_is_put_aside() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let daemon = a.start();
    for number in 1..=5 {
        send(&a, "alice@a.test", &format!("message-{number}@a.test"));
    }
    daemon.kill();
    let journal = a.spool().join("store/0.jnl");
    let mut octets = fs::read(&journal).unwrap();
    let at = octets.windows(9).position(|window| window == b"message-3").expect("the third message");
    octets[at] ^= 4;
    fs::write(&journal, octets).unwrap();
    let daemon = a.start();
    assert!(a.log().contains("was put aside"), "{}", a.log());
    let left = a.wait_for("alice@a.test", 4);
    for number in [1, 2, 4, 5] {
        assert!(left.iter().any(|text| text.contains(&format!("message-{number}@"))), "{number} in {left:?}");
    }
    send(&a, "alice@a.test", "message-6@a.test");
    a.wait_for("alice@a.test", 5);
    assert!(daemon.stop().success());
}

#[test]
fn r5_4_1_a_truncated_record_is_put_aside() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let daemon = a.start();
    for number in 1..=3 {
        send(&a, "alice@a.test", &format!("message-{number}@a.test"));
    }
    daemon.kill();
    let journal = a.spool().join("store/0.jnl");
    let octets = fs::read(&journal).unwrap();
    let at = octets.windows(9).position(|window| window == b"message-3").expect("the third message");
    fs::write(&journal, &octets[..at + 4]).unwrap();
    let _a = a.start();
    assert_eq!(a.wait_for("alice@a.test", 2).len(), 2);
    send(&a, "alice@a.test", "message-4@a.test");
    assert_eq!(a.wait_for("alice@a.test", 3).len(), 3);
}

#[test]
fn r2_2_1_a_name_that_is_not_served() {
    let world = World::new();
    let (_a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let _b = b.start();
    let stream = world.encrypted("a.test", &b, "mx.other.test").unwrap();
    let fault = Client::over(stream).map(|_| ()).unwrap_err().to_string();
    assert!(fault.contains("UnrecognisedName"), "{fault}");
    for name in ["b.test", "mx.b.test"] {
        let stream = world.encrypted("a.test", &b, name).unwrap();
        assert_eq!(Client::over(stream).unwrap().greeting.code, 220, "{name}");
    }
}

#[test]
fn r5_4_1_an_expired_certificate_is_waited_for() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let names = ["mx.b.test", "b.test"];
    world.certify("b.test", &Leaf::new(&names, now()).expired(now()));
    let (_a, _b) = (a.start(), b.start());
    assert!(b.log().contains("expired on"), "{}", b.log());
    send(&a, "bob@b.test", "patient@a.test");
    let reason = wait::until("a reason to wait", || a.reason("IM b.test"));
    assert!(reason.contains("expired"), "{reason}");
    assert_eq!(a.waiting("bob@b.test").len(), 1);
    world.certify("b.test", &Leaf::new(&names, now()));
    assert!(b.ctl(&["reload"]).status.success());
    check(&b.wait_for("bob@b.test", 1)[0], "Message-ID", "<patient@a.test>");
    assert!(reports(&a).is_empty());
}

#[test]
fn r5_4_1_a_broken_configuration_changes_nothing() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let daemon = a.start();
    let good = fs::read_to_string(a.config()).unwrap();
    fs::write(a.config(), good.replace("inboxes", "inboxs")).unwrap();
    daemon.signal(Signal::HUP);
    wait::until("the mistake is told", || a.log().contains("the old one stays").then_some(()));
    assert!(a.log().contains("inboxes"), "the nearest key: {}", a.log());
    send(&a, "alice@a.test", "1@a.test");
    let output = a.ctl(&["reload"]);
    assert!(!output.status.success());
    fs::write(a.config(), good.replace("[\"alice\"]", "[\"alice\", \"anne\"]")).unwrap();
    daemon.signal(Signal::HUP);
    wait::until("the new configuration", || a.log().contains("the configuration was read again").then_some(()));
    send(&a, "anne@a.test", "2@a.test");
}

#[test]
fn r5_4_1_a_fault_of_dns_is_no_answer() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let conduct = |conduct| world.publish(|zone| _ = zone.set_conduct("_im._impp.b.test.", conduct).unwrap());
    let (_a, _b) = (a.start(), b.start());
    for (number, fault, words) in [(1, Conduct::ServFail, "SERVFAIL"), (2, Conduct::Bogus, "DNSSEC")] {
        // One look-up is used for a second.
        conduct(fault);
        wait::until(&format!("the answer {words}"), || {
            send(&a, "bob@b.test", &format!("{number}-{}@a.test", free_address().port()));
            a.reason("IM b.test").filter(|reason| reason.contains(words))
        });
        assert!(a.status("messages") > 0);
        conduct(Conduct::Proper);
        wait::until("everything has arrived", || (a.status("messages") == 0).then_some(()));
    }
    assert!(reports(&a).is_empty());
    assert_eq!(b.status("messages"), a.status("accepted"));
}
