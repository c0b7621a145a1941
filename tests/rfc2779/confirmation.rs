//! 4.2.1: the sender learns what became of a message, or that nobody can know.

use crate::common::client::{Client, entity};
use crate::common::sink::{Manner, Sink};
use crate::world::{World, check, report, reports, submit};

const ASKED: &str = " ENVID=envelope-7 RET=HDRS";

fn rcpt(notify: &str) -> String {
    format!(" NOTIFY={notify} ORCPT=rfc822;bob+40home.example")
}

/// What every receipt about the envelope above must say.
fn identified(text: &str, status: &str) {
    check(text, "Original-Envelope-Id", "envelope-7");
    check(text, "Original-Recipient", "rfc822; bob@home.example");
    check(text, "Final-Recipient", "rfc822; bob@b.test");
    check(text, "Status", status);
    assert!(!text.contains("\nsecret text\n"), "RET=HDRS: {text}");
}

fn ask(at: &crate::common::daemon::Setup, notify: &str, by: &str) {
    let (mail, rcpt) = (format!("<alice@a.test>{ASKED}{by}"), format!("<bob@b.test>{}", rcpt(notify)));
    let (mut client, _) = Client::hello(at.mail).unwrap();
    let message = entity("alice@a.test", "bob@b.test", "asked@a.test", "secret text");
    let reply = client.transaction(&mail, &[&rcpt], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn r4_2_1_delivered() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    ask(&a, "SUCCESS,FAILURE", "");
    let text = report(&a, "delivered");
    identified(&text, "2.1.5");
    check(&text, "Reporting-MTA", "dns; mx.b.test");
    check(&text, "From", "Impart <postmaster@mx.b.test>");
    assert!(text.contains("Authentication-Results: mx.a.test;\n\timpp=pass"), "{text}");
    assert_eq!(b.waiting("bob@b.test").len(), 1, "the message itself");
}

#[test]
fn r4_2_1_failed() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "robert"));
    let (_a, _b) = (a.start(), b.start());
    ask(&a, "SUCCESS", "");
    let text = report(&a, "failed");
    identified(&text, "5.1.1");
    check(&text, "Reporting-MTA", "dns; mx.a.test");
    check(&text, "Remote-MTA", "dns; mx.b.test");
    check(&text, "Diagnostic-Code", "smtp; 550 5.1.1 there is no such inbox here");
}

#[test]
fn r4_2_1_delayed_and_then_delivered() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let a = a.key("[queue]", "delay_notice = \"100ms\"");
    let _a = a.start();
    ask(&a, "DELAY,SUCCESS", "");
    let text = report(&a, "delayed");
    identified(&text, "4.4.7");
    assert!(text.contains("\nWill-Retry-Until: "), "{text}");
    let _b = b.start();
    identified(&report(&a, "delivered"), "2.1.5");
    assert_eq!(reports(&a).len(), 2);
}

#[test]
fn r4_2_1_delayed_by_the_senders_time() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let _a = a.start();
    ask(&a, "DELAY", " BY=1;N");
    identified(&report(&a, "delayed"), "4.4.7");
    let _b = b.start();
    assert_eq!(b.wait_for("bob@b.test", 1).len(), 1, "it goes on");
}

#[test]
fn r4_2_1_relayed_to_where_nobody_reports() {
    let world = World::new();
    let (a, sink) = (world.domain("a.test", "alice"), Sink::start());
    let a = a.route(&["b.test"], sink.address);
    let _a = a.start();
    ask(&a, "SUCCESS", "");
    let text = report(&a, "relayed");
    identified(&text, "2.0.0");
    check(&text, "Diagnostic-Code", "smtp; 250 2.0.0 taken");
    assert!(!sink.arrivals()[0].rcpts[0].contains("NOTIFY"), "a hop without DSN gets no parameters");
}

#[test]
fn r4_2_1_a_hop_that_reports_is_handed_the_duty() {
    let world = World::new();
    let keywords = vec!["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN"];
    let sink = Sink::with(Manner { keywords, ..Manner::default() });
    let a = world.domain("a.test", "alice").route(&["b.test"], sink.address);
    let _a = a.start();
    ask(&a, "SUCCESS,DELAY", "");
    let arrival = sink.wait("the message", |all| all.len() == 1).remove(0);
    assert!(arrival.mail.contains("RET=HDRS") && arrival.mail.contains("ENVID=envelope-7"), "{}", arrival.mail);
    for word in ["NOTIFY=SUCCESS", "FAILURE", "DELAY", "ORCPT=rfc822;bob@home.example"] {
        assert!(arrival.rcpts[0].contains(word), "{:?}", arrival.rcpts);
    }
}

#[test]
fn r4_2_1_a_trace_was_asked_for() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    // RFC 2852 §4.1.4.2: each server that hands it on says so.
    ask(&a, "FAILURE", " BY=600;RT");
    identified(&report(&a, "relayed"), "2.0.0");
}

#[test]
fn r4_2_1_silence_when_nothing_was_asked() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    for (to, notify, id) in [("bob@b.test", "", "1@a.test"), ("nobody@b.test", " NOTIFY=NEVER", "2@a.test")] {
        assert_eq!(submit(&a, ("alice@a.test", ""), (to, notify), id).code, 250);
    }
    // What is asked for comes after what was not.
    ask(&a, "SUCCESS", "");
    report(&a, "delivered");
    crate::common::wait::until("nothing waits at a.test", || (a.status("messages") == 1).then_some(()));
    assert_eq!(a.waiting("alice@a.test").len(), 1);
}

#[test]
fn r4_2_1_receipts_keep_to_tls() {
    let world = World::new();
    let keywords = vec!["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "REQUIRETLS"];
    let a = world.sink("a.test", Manner { keywords, ..Manner::default() });
    let b = world.domain("b.test", "bob");
    let _b = b.start();
    let (mut client, _) = world.peer("a.test", &b);
    let mail = format!("<alice@a.test>{} REQUIRETLS", ASKED.replace("HDRS", "FULL"));
    let message = entity("alice@a.test", "bob@b.test", "asked@a.test", "secret text");
    let rcpt = format!("<bob@b.test>{}", rcpt("SUCCESS"));
    assert_eq!(client.transaction(&mail, &[&rcpt], &message).unwrap().code, 250);
    let receipt = a.wait("the receipt", |all| all.len() == 1).remove(0);
    // RFC 8689 §5: it travels as its message did, and holds no more than the header.
    assert!(receipt.mail.starts_with("<>") && receipt.mail.contains(" REQUIRETLS"), "{}", receipt.mail);
    identified(&receipt.entity.replace("\r\n", "\n"), "2.1.5");
}

#[test]
fn r4_2_1_requiretls_does_not_go_where_it_is_not_offered() {
    let world = World::new();
    let keywords = vec!["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN"];
    let d = world.sink("d.test", Manner { keywords, ..Manner::default() });
    let (a, c) = (world.domain("a.test", "alice"), world.domain("c.test", "carol"));
    let port = d.address.port();
    let c = c.with(&format!("[[route]]\ndomains = [\"d.test\"]\nvia = [\"mx.d.test:{port}\"]\n"));
    let (_a, _c) = (a.start(), c.start());
    let (mut client, _) = world.peer("a.test", &c);
    let message = entity("alice@a.test", "dora@d.test", "tls@a.test", "secret text");
    let reply = client.transaction("<alice@a.test> REQUIRETLS", &["<dora@d.test>"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    check(&report(&a, "failed"), "Status", "5.7.30");
    assert!(d.arrivals().is_empty());
}
