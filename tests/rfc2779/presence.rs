//! Presence on the wire between domains: a real daemon of a.test, and servers of other domains that the test itself speaks
//! for, honest ones and others.

use crate::clients::Home;
use crate::common::client::{Client, Reply};
use crate::common::device::Device;
use crate::common::sink::{Arrival, Manner, Sink};
use crate::common::wait;
use crate::world::World;

pub const SHOWS: &[&str] = &["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "IMPP PRES NOOP=60"];
pub const ALICE: &str = "alice@a.test";
pub const CAROL: &str = "carol@c.test";

pub fn id(number: u32) -> String {
    format!("{number:032x}")
}

pub fn manner(say: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Manner {
    let mut manner = Manner::default();
    manner.keywords.push("IMPP IM PRES");
    Manner { say: Box::new(say), ..manner }
}

/// A server of this domain that takes everything.
pub fn server(world: &World, domain: &str) -> Sink {
    world.sink(domain, manner(|_| None))
}

/// Says something of class PRES.
pub fn tell(client: &mut Client, from: &str, to: &str, directive: &str, body: &str) -> Reply {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let kind = if body.contains("ruleset") { "application/auth-policy+xml" } else { "application/pidf+xml" };
    let entity = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@x.test>\r\n\
         Presence: {directive}\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n{body}\r\n"
    );
    let mail = format!("<{from}> IMPP=PRES");
    client.transaction(&mail, &[&format!("<{to}> NOTIFY=NEVER")], entity.as_bytes()).expect("an answer")
}

#[track_caller]
pub fn accepted(reply: Reply) {
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[track_caller]
pub fn refused(reply: Reply, expected: &str) {
    let found = format!("{} {}", reply.code, reply.lines.first().map_or("", String::as_str));
    assert!(found.starts_with(expected), "{reply:?}");
}

pub fn subscribe(client: &mut Client, from: &str, number: u32) -> Reply {
    tell(client, from, ALICE, &format!("subscribe; id={}; expires=600; event=presence", id(number)), "")
}

pub fn document(of: &str, note: &str) -> String {
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:{of}\"><tuple id=\"t\"><status>\
         <basic>open</basic></status><contact>im:{of}</contact></tuple><note>{note}</note></presence>"
    )
}

/// Rules: what becomes of whom; without a name they are for everybody, anonymous ones too.
pub fn rules(all: &[(&str, &str)]) -> String {
    let rule = |(number, (who, handling)): (usize, &(&str, &str))| {
        let identity = match who.is_empty() {
            true => String::new(),
            false => format!("<identity><one id=\"pres:{who}\"/></identity>"),
        };
        format!(
            "<rule id=\"r{number}\"><conditions>{identity}</conditions>\
             <actions><pr:sub-handling>{handling}</pr:sub-handling></actions><transformations>\
             <pr:provide-services><pr:all-services/></pr:provide-services>\
             <pr:provide-persons><pr:all-persons/></pr:provide-persons>\
             <pr:provide-all-attributes/></transformations></rule>\r\n"
        )
    };
    let all: String = all.iter().enumerate().map(rule).collect();
    format!(
        "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\" xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\">\
         {all}</ruleset>"
    )
}

pub fn rule(home: &Home, all: &[(&str, &str)]) {
    accepted(tell(&mut home.alice(), ALICE, ALICE, "policy; for=presence", &rules(all)));
}

pub fn publish(home: &Home, note: &str) {
    accepted(tell(&mut home.alice(), ALICE, ALICE, "publish; id=desk; expires=600", &document(ALICE, note)));
}

/// What a watcher's server was told, in short: state, whether there is a body, the note.
pub fn in_short(arrival: &Arrival) -> String {
    let field = arrival.field("Presence").unwrap_or_default();
    let word = |name: &str| {
        let found = field.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let note = arrival.entity.split("<note>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
    let body = if arrival.entity.contains("<presence") { "view" } else { "" };
    format!("{} {} {body} {note}", word("state"), word("reason")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until the last that a watcher was told is this.
#[track_caller]
pub fn told(server: &Sink, watcher: &str, expected: &str) {
    let mut last = String::new();
    let found = wait::maybe(|| {
        let arrivals = server.arrivals();
        let mine = arrivals.iter().filter(|one| one.rcpts.iter().any(|rcpt| rcpt.contains(watcher)));
        last = mine.last().map(in_short).unwrap_or_default();
        (last == expected).then_some(())
    });
    found.unwrap_or_else(|| panic!("{watcher} was not told {expected:?}; the last is {last:?}"));
}

pub fn count(server: &Sink) -> usize {
    server.arrivals().len()
}

#[test]
fn r2_1_1_presence_without_messages_and_messages_without_presence() {
    let home = Home::new(|setup| {
        setup
            .with("[[domain]]\nname = \"im.test\"\ninboxes = [\"bob\"]\npresence = false\n")
            .with("[[domain]]\nname = \"pres.test\"\ninboxes = [\"bob\"]\nim = false\n")
    });
    let _c = server(&home.world, "c.test");
    let (mut peer, hello) = home.world.peer("c.test", &home.setup);
    assert!(hello.lines.iter().any(|line| line == "IMPP IM PRES"), "{hello:?}");
    let mut check = |class: &str, notify: &str, to: &str, expected: &str| {
        accepted(peer.say(&format!("MAIL FROM:<carol@c.test> IMPP={class}")).unwrap());
        refused(peer.say(&format!("RCPT TO:<{to}>{notify}")).unwrap(), expected);
        accepted(peer.say("RSET").unwrap());
    };
    check("IM", "", "bob@im.test", "250");
    check("PRES", " NOTIFY=NEVER", "bob@im.test", "550 5.3.3");
    check("IM", "", "bob@pres.test", "550 5.3.3");
    check("PRES", " NOTIFY=NEVER", "bob@pres.test", "250");
    check("PRES", " NOTIFY=NEVER", "nobody@a.test", "550 5.1.1");
}

#[test]
fn r2_3_4_who_else_may_publish() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    rule(&home, &[(CAROL, "allow")]);
    accepted(subscribe(&mut peer, CAROL, 1));
    told(&c, CAROL, "active view");
    let by_bob = |note: &str| {
        let body = document(ALICE, note);
        tell(&mut home.bob(), "bob@a.test", ALICE, "publish; expires=600", &body)
    };
    refused(by_bob("no"), "550 5.7.1");
    refused(tell(&mut peer, CAROL, ALICE, "publish; expires=600", &document(ALICE, "no")), "550 5.7.1");
    let done = home.setup.ctl(&["rules", "publish", ALICE, "bob@a.test", "yes"]);
    assert!(done.status.success(), "{done:?}");
    wait::until("the rule counts", || Some(()).filter(|()| by_bob("in a meeting").code == 250));
    told(&c, CAROL, "active view in a meeting");
}

#[test]
fn r3_1_2_a_document_is_about_whom_it_is_sent_to() {
    let home = Home::new(|setup| setup);
    let mut alice = home.alice();
    let publish = |alice: &mut Client, body: &str| tell(alice, ALICE, ALICE, "publish; expires=600", body);
    refused(publish(&mut alice, &document("bob@a.test", "x")), "554 5.6.0");
    refused(publish(&mut alice, "<presence>"), "554 5.6.0");
    let bomb = "<!DOCTYPE a [<!ENTITY b \"b\">]><presence xmlns=\"urn:ietf:params:xml:ns:pidf\"/>";
    refused(publish(&mut alice, bomb), "554 5.6.0");
    accepted(publish(&mut alice, &document(ALICE, "x")));
}

#[test]
fn r3_1_2_one_answer_holds_for_recipients_here_and_elsewhere() {
    let home = Home::new(|setup| setup);
    let mut alice = home.alice();
    let mut publish = |body: &str| {
        let entity = format!(
            "From: <{ALICE}>\r\nTo: <{ALICE}>, <{CAROL}>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
             Message-ID: <{}@x.test>\r\nPresence: publish; expires=600\r\nMIME-Version: 1.0\r\n\
             Content-Type: application/pidf+xml\r\n\r\n{body}\r\n",
            body.len()
        );
        let rcpts = [ALICE, CAROL].map(|to| format!("<{to}> NOTIFY=NEVER"));
        let rcpts = [rcpts[0].as_str(), rcpts[1].as_str()];
        alice.transaction(&format!("<{ALICE}> IMPP=PRES"), &rcpts, entity.as_bytes()).expect("an answer")
    };
    refused(publish("<presence>"), "554 5.6.0");
    accepted(publish(&document(ALICE, "x")));
}

#[test]
fn r3_2_3_every_watcher_is_told_also_after_a_kill_in_between() {
    let mut home = Home::new(|setup| setup);
    // The watchers' server answers nothing good for a while.
    let closed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let door = closed.clone();
    let c = home.world.sink(
        "c.test",
        manner(move |what| {
            let shut = door.load(std::sync::atomic::Ordering::Relaxed) && what.starts_with("MAIL");
            shut.then(|| "451 4.3.0 later".to_owned())
        }),
    );
    let watchers: Vec<String> = (0..20).map(|number| format!("w{number}@c.test")).collect();
    rule(&home, &[("", "allow")]);
    {
        let (mut peer, _) = home.world.peer("c.test", &home.setup);
        for (number, watcher) in watchers.iter().enumerate() {
            accepted(subscribe(&mut peer, watcher, number as u32));
        }
    }
    publish(&home, "first");
    watchers.iter().for_each(|watcher| told(&c, watcher, "active view first"));
    closed.store(true, std::sync::atomic::Ordering::Relaxed);
    publish(&home, "second");
    publish(&home, "third");
    home.daemon().take().expect("a daemon").kill();
    closed.store(false, std::sync::atomic::Ordering::Relaxed);
    let again = home.setup.start();
    *home.daemon() = Some(again);
    watchers.iter().for_each(|watcher| told(&c, watcher, "active view third"));
    // One entity for all of them.
    let most = c.arrivals().iter().map(|one| one.rcpts.len()).max();
    assert!(most >= Some(10), "{most:?}");
}

#[test]
fn r3_3_1_a_view_is_cached_for_its_watcher_alone() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    let bob = "bob@a.test";
    let ask = |client: &mut Client, from: &str, what: &str| {
        accepted(tell(client, from, CAROL, &format!("{what}; id={}; event=presence", id(7)), ""));
    };
    ask(&mut home.alice(), ALICE, "subscribe");
    ask(&mut home.bob(), bob, "subscribe");
    c.wait_for("both requests", |all| all.len() >= 2);
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let asked = |of: &str| {
        let arrivals = c.arrivals();
        let mine = arrivals.iter().find(|one| one.mail.contains(of)).and_then(|one| one.field("Presence"));
        mine.and_then(|field| Some(field.split("id=").nth(1)?.get(..32)?.to_owned())).expect("a request with an id")
    };
    for (seq, watcher, note) in [(1000, ALICE, "for alice"), (1001, bob, "for bob")] {
        let directive = format!("notify; id={}; seq={seq}; state=active; expires=600; event=presence", asked(watcher));
        accepted(tell(&mut peer, CAROL, watcher, &directive, &document(CAROL, note)));
    }
    let before = count(&c);
    // From the cache: carol's server is not asked. Each has a view of one's own.
    for (client, watcher, note) in [(home.alice(), ALICE, "for alice"), (home.bob(), bob, "for bob")] {
        let mut device = Device::showing(client, "ATRN", SHOWS);
        let shown = device.next_with("250 ok").expect("a notice");
        assert!(shown.entity.contains(note), "{}", shown.entity);
        let other = if watcher == ALICE { home.alice() } else { home.bob() };
        ask(&mut { other }, watcher, "fetch");
        let shown = device.next_with("250 ok").expect("an answer");
        assert!(shown.entity.contains(note), "{}", shown.entity);
    }
    assert_eq!(count(&c), before);
}

#[test]
fn r5_1_3_unauthenticated_watchers_where_they_are_allowed() {
    let home = Home::new(|setup| setup);
    let d = server(&home.world, "d.test");
    let stream = home.world.anonymous(home.setup.relay.unwrap(), &home.setup.host).unwrap();
    let mut peer = Client::over(stream).unwrap();
    accepted(peer.say("EHLO mx.d.test").unwrap());
    accepted(subscribe(&mut peer, "dave@d.test", 1));
    told(&d, "dave@d.test", "pending");
    rule(&home, &[("", "allow")]);
    told(&d, "dave@d.test", "active view");
    publish(&home, "hello");
    told(&d, "dave@d.test", "active view hello");
}

#[test]
fn r5_1_14_unauthenticated_watchers_are_refused_where_rules_name_people() {
    let home = Home::new(|setup| setup);
    let d = server(&home.world, "d.test");
    let stream = home.world.anonymous(home.setup.relay.unwrap(), &home.setup.host).unwrap();
    let mut peer = Client::over(stream).unwrap();
    accepted(peer.say("EHLO mx.d.test").unwrap());
    // Even in the name of somebody who may.
    rule(&home, &[("dave@d.test", "allow")]);
    accepted(subscribe(&mut peer, "dave@d.test", 1));
    told(&d, "dave@d.test", "terminated rejected");
    let (mut proven, _) = home.world.peer("d.test", &home.setup);
    accepted(subscribe(&mut proven, "dave@d.test", 2));
    told(&d, "dave@d.test", "active view");
    // A domain that cannot be answered.
    home.world.certify("e.test", &impart::tls::make::Leaf::new(&["mx.e.test", "e.test"], crate::world::now()));
    let (mut lost, _) = home.world.peer("e.test", &home.setup);
    refused(subscribe(&mut lost, "erin@e.test", 3), "550 5.7.1");
}

#[test]
fn r5_1_5_the_watcher_is_told_of_a_refusal() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    rule(&home, &[("erin@c.test", "allow")]);
    accepted(subscribe(&mut peer, CAROL, 1));
    told(&c, CAROL, "terminated rejected");
    // The refusal is about that one alone.
    accepted(subscribe(&mut peer, "erin@c.test", 2));
    told(&c, "erin@c.test", "active view");
}

#[test]
fn r5_1_6_nobody_subscribes_anybody_else() {
    let home = Home::new(|setup| setup);
    let (c, _d) = (server(&home.world, "c.test"), server(&home.world, "d.test"));
    let (mut peer, _) = home.world.peer("d.test", &home.setup);
    rule(&home, &[(CAROL, "allow")]);
    // mallory's server in carol's name: carol's domain is not proven, so it is an anonymous request, which no rule allows.
    accepted(subscribe(&mut peer, CAROL, 1));
    told(&c, CAROL, "terminated rejected");
    assert!(c.arrivals().iter().all(|one| !one.entity.contains("<presence")));
    let own = "subscribe; id=00000000000000000000000000000002; event=presence";
    refused(tell(&mut peer, "bob@a.test", ALICE, own, ""), "550 5.7.1");
    // bob in alice's name, in a session of his own.
    refused(tell(&mut home.bob(), ALICE, CAROL, own, ""), "550 5.7.1");
}

#[test]
fn r5_1_7_the_watcher_ends_it_at_any_time_and_nobody_else_does() {
    let home = Home::new(|setup| setup);
    let (c, _d) = (server(&home.world, "c.test"), server(&home.world, "d.test"));
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let (mut mallory, _) = home.world.peer("d.test", &home.setup);
    rule(&home, &[(CAROL, "allow")]);
    accepted(subscribe(&mut peer, CAROL, 1));
    told(&c, CAROL, "active view");
    // r5_1_8: by another domain, in another name, with another id.
    let cancel = |number| format!("cancel; id={}", id(number));
    accepted(tell(&mut mallory, "mallory@d.test", ALICE, &cancel(1), ""));
    accepted(tell(&mut mallory, CAROL, ALICE, &cancel(1), ""));
    accepted(tell(&mut peer, "erin@c.test", ALICE, &cancel(1), ""));
    accepted(tell(&mut peer, CAROL, ALICE, &cancel(2), ""));
    publish(&home, "still here");
    told(&c, CAROL, "active view still here");
    accepted(tell(&mut peer, CAROL, ALICE, &cancel(1), ""));
    told(&c, CAROL, "terminated timeout");
    let before = count(&c);
    accepted(tell(&mut peer, CAROL, ALICE, &cancel(1), ""));
    publish(&home, "nobody sees it");
    // What comes after all that would have come before.
    accepted(subscribe(&mut peer, CAROL, 3));
    told(&c, CAROL, "active view nobody sees it");
    assert_eq!(count(&c), before + 1);
}

#[test]
fn r5_1_16_the_presentity_ends_it_and_the_watcher_is_told() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    rule(&home, &[(CAROL, "allow"), ("erin@c.test", "allow")]);
    accepted(subscribe(&mut peer, CAROL, 1));
    accepted(subscribe(&mut peer, "erin@c.test", 2));
    told(&c, CAROL, "active view");
    told(&c, "erin@c.test", "active view");
    // r5_1_9: by the rules, or by a command.
    rule(&home, &[("erin@c.test", "allow")]);
    told(&c, CAROL, "terminated rejected");
    let done = home.setup.ctl(&["presence", "remove", ALICE, "erin@c.test"]);
    assert!(done.status.success(), "{done:?}");
    told(&c, "erin@c.test", "terminated rejected");
}

#[test]
fn r5_2_3_different_views_at_once() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    rule(&home, &[(CAROL, "allow"), ("erin@c.test", "polite-block"), ("frank@c.test", "confirm")]);
    for (number, watcher) in [CAROL, "erin@c.test", "frank@c.test"].into_iter().enumerate() {
        accepted(subscribe(&mut peer, watcher, number as u32));
    }
    publish(&home, "secret");
    told(&c, CAROL, "active view secret");
    told(&c, "erin@c.test", "active view");
    told(&c, "frank@c.test", "pending");
    assert!(c.arrivals().iter().all(|one| !one.entity.contains("secret") || one.rcpts.len() == 1));
}

#[test]
fn r5_3_2_notifications_come_from_whom_one_watches_alone() {
    let home = Home::new(|setup| setup);
    let (c, _d) = (server(&home.world, "c.test"), server(&home.world, "d.test"));
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let (mut mallory, _) = home.world.peer("d.test", &home.setup);
    let notify = |seq: u32| format!("notify; seq={seq}; event=presence");
    let view = document(CAROL, "seen");
    refused(tell(&mut peer, CAROL, ALICE, &notify(1), &view), "550 5.7.1");
    let ask = format!("subscribe; id={}; event=presence", id(9));
    accepted(tell(&mut home.alice(), ALICE, CAROL, &ask, ""));
    c.wait_for("the request", |all| all.iter().any(|one| one.entity.contains("subscribe")));
    // r5_2_4: in carol's name, by a server that is not hers; with an id that is not that of the subscription; about another.
    refused(tell(&mut mallory, CAROL, ALICE, &notify(5), &document(CAROL, "forged")), "550 5.7.1");
    let wrong = format!("notify; id={}; seq=6; state=active; expires=60; event=presence", id(1));
    refused(tell(&mut peer, CAROL, ALICE, &wrong, &document(CAROL, "forged")), "550 5.7.1");
    refused(tell(&mut peer, CAROL, ALICE, &notify(7), &document("erin@c.test", "forged")), "554 5.6.0");
    refused(tell(&mut peer, CAROL, "bob@a.test", &notify(8), &view), "550 5.7.1");
    refused(tell(&mut home.bob(), "bob@a.test", ALICE, &notify(9), &document("bob@a.test", "x")), "550 5.7.1");
    accepted(tell(&mut peer, CAROL, ALICE, &notify(10), &view));
    accepted(tell(&mut peer, CAROL, ALICE, &notify(10), &document(CAROL, "repeated")));
    accepted(tell(&mut peer, CAROL, ALICE, &notify(4), &document(CAROL, "old")));
    let mut device = Device::showing(home.alice(), "ATRN", SHOWS);
    let shown = device.next_with("250 ok").expect("a notice");
    assert!(shown.entity.contains("seen") && shown.mail.contains("IMPP=PRES"), "{shown:?}");
}
