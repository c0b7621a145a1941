//! Plays: who says what to whom, and what goes over the wire.

use super::super::State;
use super::net::{Line, Net, Server, id, in_short, mailbox, open, publish, subscribe};
use crate::address::Domain;
use crate::mime::presence::{Directive, Event};
use crate::rules::Handling;

const ALICE: &str = "alice@a.test";
const BOB: &str = "bob@b.test";

fn client<'a>(from: &'a str, to: &'a [&'a str], directive: Directive, body: &'a str) -> Line<'a> {
    Line { from, to, directive, body }
}

impl Net {
    /// Alice watches bob.
    fn watch(&mut self) {
        self.a.say(self.now, &client(ALICE, &[BOB], subscribe(1), ""), (true, true)).unwrap();
    }

    fn publishes(&mut self, note: &str) {
        let body = open(BOB, note);
        self.b.say(self.now, &client(BOB, &[BOB], publish(Some(3000)), &body), (true, true)).unwrap();
    }

    fn rule(&mut self, watcher: &str, handling: Handling) {
        self.b.rule(self.now, BOB, watcher, handling);
    }

    fn sees(&mut self) -> String {
        self.a.sees(self.now, ALICE, BOB)
    }
}

fn code(result: Result<(), crate::reply::Reply>) -> String {
    result.map_or_else(|reply| format!("{} {}", reply.code(), reply.status()), |()| "ok".to_owned())
}

#[test]
fn a_subscription_from_its_request_to_its_end() {
    let mut net = Net::new();
    net.watch();
    assert_eq!(net.sees(), "Asked");
    assert_eq!(net.exchange(), ["alice>bob subscribe", "bob>alice pending"]);
    assert_eq!(net.sees(), "Pending");
    net.rule(ALICE, Handling::Allow);
    assert_eq!(net.exchange(), ["bob>alice active closed"]);
    net.pass(1);
    net.publishes("here");
    assert_eq!(net.exchange(), ["bob>alice active open here"]);
    assert_eq!(net.sees(), "Active open here");
    net.pass(1);
    net.publishes("here");
    assert!(net.exchange().is_empty(), "what has not changed is told to nobody");
    net.rule(ALICE, Handling::PoliteBlock);
    assert_eq!(net.exchange(), ["bob>alice active closed"]);
    net.pass(1);
    net.publishes("secret");
    assert!(net.exchange().is_empty());
    net.rule(ALICE, Handling::Confirm);
    assert_eq!(net.exchange(), ["bob>alice pending"]);
    net.rule(ALICE, Handling::Block);
    assert_eq!(net.exchange(), ["bob>alice terminated rejected"]);
    assert!(net.sees().starts_with("Terminated"), "{}", net.sees());
    net.rule(ALICE, Handling::Allow);
    assert!(net.exchange().is_empty(), "nobody is asked back");
    net.watch();
    assert_eq!(net.exchange(), ["alice>bob subscribe", "bob>alice active open secret"]);
    net.a.say(net.now, &client(ALICE, &[BOB], Directive::Cancel { id: id(9) }, ""), (true, true)).unwrap();
    assert_eq!(net.exchange(), ["alice>bob cancel", "bob>alice terminated timeout"]);
    assert_eq!(net.sees(), "nothing");
    net.publishes("more");
    assert!(net.exchange().is_empty());
    assert_eq!((net.b.engine.tables.subscriptions.len(), net.a.engine.tables.watches.len()), (0, 0));
}

#[test]
fn refreshes_keep_it_and_without_them_it_ends() {
    let mut net = Net::new();
    net.rule(ALICE, Handling::Allow);
    net.publishes("here");
    net.watch();
    net.exchange();
    net.pass(4 * 3600);
    assert_eq!(net.sees(), "Active closed", "the publication has run out, the subscription has not");
    // The watcher's server is gone.
    for _ in 0..80 {
        net.now = net.now.after(std::time::Duration::from_secs(60));
        net.b.at(net.now, false, |engine, facts| engine.tick(facts));
    }
    let domain = Domain::parse("a.test").unwrap();
    let due = net.b.at(net.now, false, |engine, facts| engine.due(facts, &domain));
    assert!(due.len() <= 1, "{due:?}");
    net.pass(7200);
    assert_eq!(net.sees(), "Active closed", "it asked again when it was back");
}

#[test]
fn requests_that_came_and_went_are_seen_later() {
    let mut net = Net::new();
    net.watch();
    net.exchange();
    net.a.say(net.now, &client(ALICE, &[BOB], Directive::Cancel { id: id(9) }, ""), (true, true)).unwrap();
    net.exchange();
    let name = net.b.engine.tables.names.find(&mailbox(BOB)).unwrap();
    let states: Vec<_> = net.b.engine.watchers_of(name).into_iter().map(|(_, watcher)| watcher.state).collect();
    assert_eq!(states, [State::Waiting]);
    net.b.crash(net.now, usize::MAX);
    let shown = net.b.device(net.now, BOB);
    assert!(shown.iter().any(|line| line == "bob@b.test notify"), "{shown:?}");
    net.rule(ALICE, Handling::Block);
    assert_eq!(net.b.engine.tables.subscriptions.len(), 0);
}

#[test]
fn nobody_else_creates_ends_or_publishes() {
    let mut net = Net::new();
    net.rule("*", Handling::Allow);
    net.watch();
    net.exchange();
    let (now, b) = (net.now, &mut net.b);
    let cancel = |number| Directive::Cancel { id: id(number) };
    // Another domain's server, another id, somebody without proof.
    let ours = {
        let name = b.engine.tables.names.find(&mailbox(BOB)).unwrap();
        b.engine.tables.presentities[&name].watchers[0]
    };
    let id_of_ours = b.engine.tables.subscriptions.get(ours).unwrap().id;
    for (from, directive, proven) in [
        ("mallory@c.test", Directive::Cancel { id: id_of_ours }, true),
        (ALICE, cancel(7), true),
        (ALICE, Directive::Cancel { id: id_of_ours }, false),
    ] {
        assert_eq!(code(b.say(now, &client(from, &[BOB], directive, ""), (proven, false))), "ok");
        assert_eq!(b.engine.tables.subscriptions.get(ours).unwrap().state, State::Active);
    }
    let body = open(BOB, "x");
    let check = |b: &mut Server, from: &str, how, expected: &str| {
        assert_eq!(code(b.say(now, &client(from, &[BOB], publish(None), &body), how)), expected, "{from}");
    };
    check(b, ALICE, (true, false), "550 5.7.1");
    check(b, BOB, (false, false), "550 5.7.1");
    check(b, BOB, (true, false), "550 5.7.1");
    check(b, BOB, (true, true), "ok");
    b.rules.publish.borrow_mut().push((BOB.to_owned(), ALICE.to_owned()));
    check(b, ALICE, (true, false), "ok");
    check(b, ALICE, (false, false), "550 5.7.1");
    let wrong = open(ALICE, "x");
    assert_eq!(code(b.say(now, &client(BOB, &[BOB], publish(None), &wrong), (true, true))), "554 5.6.0");
    assert_eq!(code(b.say(now, &client(BOB, &[BOB], publish(None), "<presence"), (true, true))), "554 5.6.0");
}

#[test]
fn notifications_that_nobody_asked_for() {
    let mut net = Net::new();
    net.rule(ALICE, Handling::Allow);
    net.watch();
    net.exchange();
    net.publishes("here");
    net.exchange();
    let now = net.now;
    let notify = |seq, id| Directive::Notify {
        id,
        seq,
        state: crate::mime::presence::State::Active,
        expires: None,
        event: Event::Presence,
    };
    let later = u64::try_from(now.millis()).unwrap() + 1000;
    let body = open(BOB, "forged");
    let told = |net: &mut Net, from: &str, to: &str, directive, body: &str, proven| {
        code(net.a.say(now, &client(from, &[to], directive, body), (proven, false)))
    };
    assert_eq!(told(&mut net, BOB, ALICE, notify(later, None), &body, false), "550 5.7.1");
    assert_eq!(told(&mut net, BOB, ALICE, notify(later, Some(id(7))), &body, true), "550 5.7.1");
    assert_eq!(told(&mut net, BOB, "carol@a.test", notify(later, None), &body, true), "550 5.7.1");
    let eve = open("eve@b.test", "forged");
    assert_eq!(told(&mut net, "eve@b.test", ALICE, notify(later, None), &eve, true), "550 5.7.1");
    assert_eq!(told(&mut net, BOB, ALICE, notify(later, None), &eve, true), "554 5.6.0");
    assert_eq!(told(&mut net, BOB, ALICE, notify(5, None), &body, true), "ok", "an old one is dropped");
    assert_eq!(net.sees(), "Active open here");
    assert_eq!(told(&mut net, BOB, ALICE, notify(later, None), &open(BOB, "new"), true), "ok");
    assert_eq!(net.sees(), "Active open new");
}

#[test]
fn fetches_and_anonymous_watchers() {
    let mut net = Net::new();
    net.publishes("here");
    let fetch = |number| Directive::Fetch { id: id(number), event: Event::Presence };
    net.a.say(net.now, &client(ALICE, &[BOB], fetch(1), ""), (true, true)).unwrap();
    assert_eq!(net.exchange(), ["alice>bob fetch", "bob>alice pending"]);
    assert_eq!(net.a.device(net.now, ALICE), ["bob@b.test pending"]);
    net.b.rules.fetch_only.borrow_mut().push((BOB.to_owned(), ALICE.to_owned()));
    net.rule(ALICE, Handling::Block);
    net.a.say(net.now, &client(ALICE, &[BOB], fetch(2), ""), (true, true)).unwrap();
    assert_eq!(net.exchange(), ["alice>bob fetch", "bob>alice active open here"]);
    assert_eq!(net.a.device(net.now, ALICE), ["bob@b.test active open here"]);
    assert_eq!(net.sees(), "nothing");
    // She may look, and not watch.
    net.watch();
    assert_eq!(net.exchange(), ["alice>bob subscribe", "bob>alice terminated rejected"]);
    // Who proves nothing is asked about by the rules for those.
    let dave = "dave@a.test";
    net.b.say(net.now, &client(dave, &[BOB], subscribe(5), ""), (false, false)).unwrap();
    let domain = Domain::parse("a.test").unwrap();
    let due = net.b.at(net.now, false, |engine, facts| engine.due(facts, &domain));
    assert_eq!(due.iter().map(|one| in_short(&one.written.entity)).collect::<Vec<_>>(), ["pending"]);
    net.rule("?", Handling::Block);
    let reports: Vec<_> = due.iter().map(|one| one.token).collect();
    for token in reports {
        net.b.at(net.now, false, |engine, facts| engine.reported(facts, token, &[(0, super::super::Fate::Accepted)]));
    }
    let due = net.b.at(net.now, false, |engine, facts| engine.due(facts, &domain));
    assert_eq!(due.iter().map(|one| in_short(&one.written.entity)).collect::<Vec<_>>(), ["terminated rejected"]);
}

#[test]
fn watchers_and_presentities_of_one_domain() {
    let mut net = Net::new();
    let carol = "carol@b.test";
    net.rule(carol, Handling::Allow);
    net.b.say(net.now, &client(carol, &[BOB], subscribe(1), ""), (true, true)).unwrap();
    assert_eq!(net.b.sees(net.now, carol, BOB), "Active closed");
    net.b.at(net.now, true, |engine, facts| engine.session_up(facts, &mailbox(BOB)));
    assert_eq!(net.b.sees(net.now, carol, BOB), "Active open");
    net.pass(1);
    net.publishes("note");
    assert_eq!(net.b.device(net.now, carol), ["bob@b.test active open note"]);
    net.pass(3001);
    assert_eq!(net.b.sees(net.now, carol, BOB), "Active open");
    // The daemon is killed: the device is waited for.
    net.b.crash(net.now, usize::MAX);
    net.pass(5);
    assert_eq!(net.b.sees(net.now, carol, BOB), "Active open");
    net.pass(60);
    assert_eq!(net.b.sees(net.now, carol, BOB), "Active closed");
    net.rule(carol, Handling::Block);
    assert!(net.b.sees(net.now, carol, BOB).starts_with("Terminated"));
    net.b.say(net.now, &client(carol, &[BOB], Directive::Cancel { id: id(3) }, ""), (true, true)).unwrap();
    assert_eq!(net.b.sees(net.now, carol, BOB), "nothing");
    assert_eq!(net.b.engine.tables.presentities.len(), 0, "nothing is known of anybody any more");
    assert_eq!(net.b.engine.tables.names.len(), 0);
    assert!(net.b.store.is_empty(), "{:?}", net.b.store.keys());
}

#[test]
fn one_entity_for_all_who_see_the_same() {
    let mut net = Net::new();
    net.rule("*", Handling::Allow);
    let all: Vec<String> = (0..20).map(|number| format!("w{number}@a.test")).collect();
    for watcher in &all {
        net.a.say(net.now, &client(watcher, &[BOB], subscribe(1), ""), (true, true)).unwrap();
    }
    net.rule("w3@a.test", Handling::PoliteBlock);
    net.exchange();
    net.pass(1);
    net.publishes("here");
    let log = net.exchange();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(!log[0].contains("w3,") && log[0].matches(',').count() == 18, "{log:?}");
    for watcher in &all {
        let expected = if watcher == "w3@a.test" { "Active closed" } else { "Active open here" };
        assert_eq!(net.a.sees(net.now, watcher, BOB), expected);
    }
}

#[test]
fn a_burst_is_one_change() {
    let mut net = Net::new();
    net.rule(ALICE, Handling::Allow);
    net.watch();
    net.exchange();
    net.pass(1);
    for number in 0..50 {
        net.publishes(&format!("n{number}"));
    }
    let log = net.exchange();
    assert_eq!(log, ["bob>alice active open n49"], "nothing was sent meanwhile, and the latest is what is sent");
    for number in 50..60 {
        net.publishes(&format!("n{number}"));
        net.exchange();
    }
    net.pass(1);
    assert_eq!(net.sees(), "Active open n59");
}

#[test]
fn bounds() {
    let mut net = Net::new();
    net.b.engine.options.watchers = 3;
    net.b.engine.options.undecided = 2;
    let asks = |number: u8, net: &mut Net| {
        let from = format!("w{number}@c.test");
        code(net.b.say(net.now, &client(&from, &[BOB], subscribe(number), ""), (true, false)))
    };
    assert_eq!((asks(1, &mut net), asks(2, &mut net)), ("ok".to_owned(), "ok".to_owned()));
    assert_eq!(asks(3, &mut net), "452 4.5.3", "undecided ones are few");
    net.rule("*", Handling::Allow);
    assert_eq!((asks(3, &mut net), asks(4, &mut net)), ("ok".to_owned(), "452 4.5.3".to_owned()));
    net.a.engine.options.contacts = 1;
    net.watch();
    let more = code(net.a.say(net.now, &client(ALICE, &["x@b.test"], subscribe(2), ""), (true, true)));
    assert_eq!(more, "452 4.5.3");
    let nobody = code(net.b.say(net.now, &client("w9@c.test", &["nobody@b.test"], subscribe(9), ""), (true, false)));
    assert_eq!(nobody, "550 5.1.1");
    // A flood of requests and cancellations leaves nothing behind but its answers, which are bounded.
    for number in 0..200_u8 {
        let from = format!("f{}@d.test", number % 10);
        net.b.rule(net.now, BOB, &from, Handling::Block);
        let _ = net.b.say(net.now, &client(&from, &[BOB], subscribe(number), ""), (true, false));
        let cancel = Directive::Cancel { id: id(number) };
        let _ = net.b.say(net.now, &client(&from, &[BOB], cancel, ""), (true, false));
    }
    net.pass(700);
    assert_eq!(net.b.engine.answers, 0);
}
