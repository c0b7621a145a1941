//! 2.1 and 2.2: domains of their own, any number of them, that meet without prior acquaintance.

use crate::common::client::{Client, entity};
use crate::common::sink::field;
use crate::common::wait;
use crate::world::{World, check, is, send, submit};

#[test]
fn r2_1_4_two_daemons_without_common_configuration() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    assert!(!a.sections.contains("b.test") && !b.sections.contains("a.test"));
    let (_a, _b) = (a.start(), b.start());
    send(&a, "bob@b.test", "there@a.test");
    check(&b.wait_for("bob@b.test", 1)[0], "Message-ID", "<there@a.test>");
    let reply = submit(&b, ("bob@b.test", ""), ("alice@a.test", ""), "back@b.test");
    assert_eq!(reply.code, 250, "{reply:?}");
    check(&a.wait_for("alice@a.test", 1)[0], "Message-ID", "<back@b.test>");
}

/// Local domains of one daemon.
const DOMAINS: usize = 10_000;
/// One of so many is written to from elsewhere.
const STEP: usize = 1000;

#[test]
fn r2_1_5_many_domains_in_one_daemon() {
    let world = World::new();
    let (a, mut b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let relay = b.relay.expect("a relay listener").port();
    let sections = (0..DOMAINS).map(|n| format!("[[domain]]\nname = \"d{n}.test\"\ninboxes = [\"user{n}\"]\n"));
    b = b.with(&sections.collect::<String>());
    let (_a, _b) = (a.start(), b.start());
    let (mut client, _) = Client::hello(b.mail).unwrap();
    // Each domain has its own inbox, and no other's.
    for first in (0..DOMAINS).step_by(1000) {
        let rcpts: Vec<_> = (first..first + 1000).map(|n| format!("<user{n}@d{n}.test>")).collect();
        let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
        let message = entity("bob@b.test", "all@b.test", &format!("{first}@b.test"), "to all");
        assert_eq!(client.transaction("<bob@b.test>", &rcpts, &message).unwrap().code, 250);
    }
    let reply = client.transaction("<bob@b.test>", &["<user7@d8.test>"], b"").unwrap();
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.1.1 "), "{reply:?}");
    assert_eq!(b.waiting("user7@d7.test").len(), 1);
    // From elsewhere each is found by its own records, which all name one host.
    for n in (0..DOMAINS).step_by(STEP) {
        world.service(&format!("_im._impp.d{n}.test."), Some("mx.b.test"), relay);
    }
    world.certify("b.test", &certificate_of_all());
    assert!(b.ctl(&["reload"]).status.success());
    for n in (0..DOMAINS).step_by(STEP) {
        send(&a, &format!("user{n}@d{n}.test"), &format!("m{n}@a.test"));
    }
    for n in (0..DOMAINS).step_by(STEP) {
        let messages = b.wait_for(&format!("user{n}@d{n}.test"), 2);
        assert!(messages.iter().any(|text| field(text, "Message-ID") == Some(format!("<m{n}@a.test>"))), "{n}");
    }
}

/// The host of many domains proves to be the server of each.
fn certificate_of_all() -> impart::tls::make::Leaf {
    let names: Vec<_> = (0..DOMAINS).step_by(STEP).map(|n| format!("d{n}.test")).collect();
    let names = ["mx.b.test", "b.test"].into_iter().chain(names.iter().map(String::as_str));
    impart::tls::make::Leaf::new(&names.collect::<Vec<_>>(), crate::world::now())
}

#[test]
fn r2_2_1_first_contact() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    send(&a, "bob@b.test", "first@a.test");
    let message = b.wait_for("bob@b.test", 1).remove(0);
    check(&message, "Authentication-Results", "mx.b.test; impp=pass policy.proof=certificate smtp.mailfrom=a.test");
    // RFC 3848: what came encrypted says so.
    assert!(field(&message, "Received").unwrap().contains(" with ESMTPS "), "{message}");
    let way = format!("relay=mx.b.test[127.0.0.1]:{}", b.relay.unwrap().port());
    assert!(a.log().contains(&way), "{}", a.log());
}

#[test]
fn r2_2_1_a_stranger_cannot_speak_for_a_domain() {
    let world = World::new();
    let (_a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let _b = b.start();
    world.domain("c.test", "carol");
    let (mut client, _) = world.peer("c.test", &b);
    let reply = client.say("MAIL FROM:<alice@a.test>").unwrap();
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.7.1 "), "{reply:?}");
    let reply = client.say("MAIL FROM:<bob@b.test>").unwrap();
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.7.1 "), "{reply:?}");
    let message = entity("carol@c.test", "bob@b.test", "own@c.test", "mine");
    assert_eq!(client.transaction("<carol@c.test>", &["<bob@b.test>"], &message).unwrap().code, 250);
}

/// The code of the reply to RCPT.
fn rcpt(setup: &crate::common::daemon::Setup, address: &str) -> u16 {
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    assert_eq!(client.say("MAIL FROM:<s@c.test>").unwrap().code, 250);
    client.say(&format!("RCPT TO:<{address}>")).unwrap().code
}

#[test]
fn r2_1_2_an_inbox_needs_no_presentity_and_a_presentity_no_inbox() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    let account = |words: &[&str]| a.ctl(&[&["account"], words].concat());
    // Before the daemon has ever run, and while it runs.
    a.write();
    assert!(account(&["add", "carol@a.test", "--no-password", "--no-presentity"]).status.success());
    let _a = a.start();
    assert_eq!((rcpt(&a, "carol@a.test"), rcpt(&a, "dave@a.test"), rcpt(&a, "erin@a.test")), (250, 550, 550));
    assert!(account(&["add", "dave@a.test", "--no-password", "--no-inbox", "--address", "d@a.test"]).status.success());
    assert!(account(&["add", "erin@a.test", "--no-password", "--address", "e@a.test"]).status.success());
    assert_eq!((rcpt(&a, "dave@a.test"), rcpt(&a, "d@a.test")), (550, 550));
    assert_eq!((rcpt(&a, "erin@a.test"), rcpt(&a, "E@a.test")), (250, 250));
    let has = |name: &str| {
        let rows = a.rows(&["account", "list"]);
        let row = rows.iter().find(|row| row["account"] == name).cloned().unwrap_or_default();
        (row["inbox"].as_bool(), row["presentity"].as_bool())
    };
    assert_eq!(has("carol@a.test"), (Some(true), Some(false)));
    assert_eq!(has("dave@a.test"), (Some(false), Some(true)));
    assert!(account(&["remove", "carol@a.test"]).status.success());
    assert_eq!(rcpt(&a, "carol@a.test"), 550);
    let output = account(&["remove", "carol@a.test"]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    // A file that somebody spoilt takes nothing away.
    let file = a.spool().join("accounts.toml");
    std::fs::write(&file, "[account.\"x\"]\n").unwrap();
    assert!(!a.ctl(&["reload"]).status.success());
    assert_eq!(rcpt(&a, "erin@a.test"), 250);
}

#[test]
fn r2_1_3_one_name_for_both() {
    let world = World::new();
    let a = world.domain("a.test", "alice");
    a.write();
    // Nothing on standard input is no password.
    assert_eq!(a.ctl(&["account", "add", "carol@a.test"]).status.code(), Some(65));
    assert!(a.ctl(&["account", "add", "carol@a.test", "--no-password"]).status.success());
    let rows = a.rows(&["account", "list"]);
    assert_eq!((rows[0]["inbox"].as_bool(), rows[0]["presentity"].as_bool()), (Some(true), Some(true)), "{rows:?}");
}

/// Networks, domains and addresses that the administrator keeps out; changed without a restart (RFC 2779 §2.4.4).
#[test]
fn r2_4_4_who_is_kept_out_is_told_so_until_a_reload_lets_it_in() {
    let world = World::new();
    let (mut a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let open = a.sections.clone();
    let refuse = "refuse = [\"b.test\", \"127.0.0.7\", \"127.0.0.9/32\"]\nexcept = [\"carol@b.test\", \"127.0.0.9\"]";
    a = a.key("[policy]", refuse);
    let (_a, _b) = (a.start(), b.start());
    let try_from = |sender: &str| {
        let (mut peer, _) = world.peer("b.test", &a);
        let reply = peer.say(&format!("MAIL FROM:<{sender}>")).unwrap();
        (reply.code, reply.lines[0].clone())
    };
    assert_eq!(try_from("carol@b.test").0, 250);
    let refusal = "5.7.1 messages from you are not taken here; ask the administrator";
    assert_eq!(try_from("bob@b.test"), (550, refusal.to_owned()));
    // Bob is told by his own server.
    let reply = submit(&b, ("bob@b.test", ""), ("alice@a.test", ""), "kept-out@b.test");
    assert_eq!(reply.code, 250, "{reply:?}");
    let told = || b.waiting("bob@b.test").iter().any(|text| is(text, "Action", "failed") && text.contains("5.7.1"));
    wait::until("the failure", || told().then_some(()));
    let greeting = |source: [u8; 4]| world.greeting(source.into(), &a).code;
    assert_eq!((greeting([127, 0, 0, 7]), greeting([127, 0, 0, 8]), greeting([127, 0, 0, 9])), (554, 220, 220));
    a.sections = open;
    a.write();
    assert!(a.ctl(&["reload"]).status.success());
    let (mut peer, _) = world.peer("b.test", &a);
    assert_eq!(peer.say("MAIL FROM:<bob@b.test>").unwrap().code, 250);
    assert_eq!(world.greeting([127, 0, 0, 7].into(), &a).code, 220);
}

/// What another domain hands in is bounded where the administrator says so; what is too much comes later (RFC 2779 §2.4.4).
#[test]
fn r2_4_4_a_domain_that_hands_in_too_much_comes_later() {
    let world = World::new();
    let a = world.domain("a.test", "alice").with("[limits]\ndomain_messages_per_minute = 2\n");
    let (_b, _c) = (world.domain("b.test", "bob"), world.domain("c.test", "carol"));
    let _a = a.start();
    let code = |domain: &str, sender: &str| {
        let (mut peer, _) = world.peer(domain, &a);
        let reply = peer.say(&format!("MAIL FROM:<{sender}>")).unwrap();
        assert!(
            reply.code == 250 || reply.lines[0].starts_with("4.7.1 too many messages in a minute; wait "),
            "{reply:?}"
        );
        reply.code
    };
    // Its senders and its connections count together; another domain has its own.
    assert_eq!([code("b.test", "bob@b.test"), code("b.test", "eve@b.test")], [250, 250]);
    assert_eq!([code("b.test", "bob@b.test"), code("c.test", "carol@c.test")], [450, 250]);
}
