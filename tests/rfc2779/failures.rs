//! 5.4.1: whoever sends hears of it when a message was not delivered, whatever the reason.

use impart::tls::make::Leaf;

use crate::common::client::entity;
use crate::common::daemon::Setup;
use crate::common::sink::{Manner, Sink, field};
use crate::common::wait;
use crate::world::{World, check, now, report, reports, send, submit};

/// Sends to bob@b.test and expects the one report of failure, with this status and these words.
fn fails(a: &Setup, mail: &str, status: &str, words: &str) {
    let reply = submit(a, ("alice@a.test", mail), ("bob@b.test", ""), "lost@a.test");
    assert_eq!(reply.code, 250, "{reply:?}");
    told(a, status, words);
}

fn told(a: &Setup, status: &str, words: &str) {
    let text = report(a, "failed");
    check(&text, "Status", status);
    assert!(text.contains("<lost@a.test>"), "the message's own header: {text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(words), "{words:?} in {text}");
    wait::until("only the report is left", || (a.status("messages") == 1).then_some(()));
    assert_eq!(reports(a).len(), 1);
}

/// An `a.test` that runs, beside a `b.test` that does not.
fn pair(world: &World) -> (Setup, Setup) {
    (world.domain("a.test", "alice"), world.domain("b.test", "bob"))
}

#[test]
fn r5_4_1_unknown_inbox() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "robert"));
    let (_a, _b) = (a.start(), b.start());
    fails(&a, "", "5.1.1", "there is no such inbox here");
}

#[test]
fn r5_4_1_unknown_inbox_at_home_is_told_at_once() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let _a = a.start();
    let reply = submit(&a, ("alice@a.test", ""), ("nobody@a.test", ""), "lost@a.test");
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.1.1 "), "{reply:?}");
}

#[test]
fn r5_4_1_domain_without_impp() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let _a = a.start();
    fails(&a, "", "5.1.2", "b.test does not take instant messages: there is no SRV record at _im._impp.b.test");
}

#[test]
fn r5_4_1_domain_that_wants_no_messages() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    world.service("_im._impp.b.test.", None, 0);
    let _a = a.start();
    fails(&a, "", "5.1.2", "b.test says in DNS that it takes no instant messages");
}

#[test]
fn r5_4_1_time_that_the_sender_gave_is_over() {
    let world = World::new();
    let (a, _b) = pair(&world);
    let _a = a.start();
    fails(&a, " BY=1;R", "5.4.7", "could not be delivered in the time that was given");
}

#[test]
fn r5_4_1_time_that_the_sender_gave_is_too_short() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let _a = a.start();
    let reply = submit(&a, ("alice@a.test", " BY=0;R"), ("bob@b.test", ""), "lost@a.test");
    assert!((500..560).contains(&reply.code), "{reply:?}");
}

#[test]
fn r5_4_1_time_that_messages_are_kept_is_over() {
    let world = World::new();
    let (a, _b) = pair(&world);
    let a = a.key("[queue]", "retention = \"1s\"");
    let _a = a.start();
    fails(&a, "", "5.4.7", "could not be delivered in the time that messages are kept");
}

#[test]
fn r5_4_1_nobody_fetches_it() {
    let world = World::new();
    let (a, b) = pair(&world);
    let b = b.key("[queue]", "retention = \"1s\"");
    let (_a, _b) = (a.start(), b.start());
    fails(&a, "", "5.4.7", "could not be delivered in the time that messages are kept");
}

#[test]
fn r5_4_1_refused_by_policy() {
    let world = World::new();
    let (a, b) = pair(&world);
    // Its certificate names another domain: it cannot show that it is a.test.
    let (_a, _b) = (a.start(), b.start());
    world.certify("a.test", &Leaf::new(&["mx.elsewhere.test"], now()));
    assert!(a.ctl(&["reload"]).status.success());
    send(&a, "bob@b.test", "lost@a.test");
    wait::until("b.test's refusal", || a.log().contains("dsn=5.7.1, status=bounced").then_some(()));
    told(&a, "5.7.1", "not known to send for that domain");
}

#[test]
fn r5_4_1_refused_after_the_data() {
    let world = World::new();
    let say = |text: &str| text.contains("lost@a.test\u{3e}\r\n").then(|| "554 5.6.0 not like this".to_owned());
    let sink = Sink::with(Manner { say: Box::new(say), ..Manner::default() });
    let a = world.domain("a.test", "alice").route(&["b.test"], sink.address);
    let _a = a.start();
    fails(&a, "", "5.6.0", "not like this");
}

#[test]
fn r5_4_1_too_large_for_the_next_hop() {
    let world = World::new();
    let sink = Sink::with(Manner { keywords: vec!["PIPELINING", "SIZE 100"], ..Manner::default() });
    let a = world.domain("a.test", "alice").route(&["b.test"], sink.address);
    let _a = a.start();
    fails(&a, "", "5.3.4", "takes at most 100 octets");
}

#[test]
fn r5_4_1_server_that_proves_nothing() {
    let world = World::new();
    let (a, b) = pair(&world);
    world.certify("b.test", &Leaf::new(&["mx.elsewhere.test"], now()));
    let (_a, _b) = (a.start(), b.start());
    let reply = submit(&a, ("alice@a.test", " BY=3;R"), ("bob@b.test", ""), "lost@a.test");
    assert_eq!(reply.code, 250, "{reply:?}");
    let reason = wait::until("a reason to wait", || a.reason("IM b.test"));
    assert!(reason.contains("mx.elsewhere.test"), "{reason}");
    assert!(reports(&a).is_empty(), "it waits first");
    told(&a, "5.4.7", "mx.elsewhere.test");
    assert!(b.waiting("bob@b.test").is_empty());
}

#[test]
fn r5_4_1_an_administrator_gives_up() {
    let world = World::new();
    let (a, _b) = pair(&world);
    let _a = a.start();
    send(&a, "bob@b.test", "lost@a.test");
    assert!(a.ctl(&["queue", "bounce", "--all", "--because", "the link is down for good"]).status.success());
    told(&a, "5.7.0", "the link is down for good");
}

#[test]
fn r5_4_1_some_of_many_recipients() {
    let world = World::new();
    let (a, b) = pair(&world);
    let (_a, _b) = (a.start(), b.start());
    let (mut client, _) = crate::common::client::Client::hello(a.mail).unwrap();
    let rcpts = ["<bob@b.test>", "<nobody@b.test>", "<carol@c.test>", "<neither@b.test>"];
    let message = entity("alice@a.test", "bob@b.test", "lost@a.test", "to some");
    assert_eq!(client.transaction("<alice@a.test>", &rcpts, &message).unwrap().code, 250);
    let failed = wait::until("three recipients that failed", || {
        let all = reports(&a).concat();
        (all.matches("\nAction: failed\n").count() == 3).then_some(all)
    });
    for address in ["nobody@b.test", "neither@b.test", "carol@c.test"] {
        assert!(failed.contains(&format!("Final-Recipient: rfc822; {address}")), "{failed}");
    }
    assert_eq!(b.waiting("bob@b.test").len(), 1);
    assert_eq!(field(&failed, "Auto-Submitted").as_deref(), Some("auto-replied"));
}
