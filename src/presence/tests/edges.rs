//! Plays at the edges: pauses, restarts, refusals, those who are removed.

use super::super::certificates::Told;
use super::super::engine::{Engine, Facts};
use super::super::{Author, Fate, State};
use super::net::{Line, Net, id, mailbox, open, publish, subscribe};
use super::told::{lists, opened};
use crate::address::Domain;
use crate::limits;
use crate::mime::presence::{self, Directive, Event, Reason};
use crate::rules::Handling;

const ALICE: &str = "alice@a.test";
const CAROL: &str = "carol@b.test";
const BOB: &str = "bob@b.test";

fn client<'a>(from: &'a str, to: &'a [&'a str], directive: Directive, body: &'a str) -> Line<'a> {
    Line { from, to, directive, body }
}

impl Net {
    fn asks(&mut self, watcher: &str, number: u8) {
        self.a.say(self.now, &client(watcher, &[BOB], subscribe(number), ""), (true, true)).unwrap();
    }

    fn shows(&mut self, note: &str) {
        self.b.say(self.now, &client(BOB, &[BOB], publish(Some(3000)), &open(BOB, note)), (true, true)).unwrap();
    }
}

#[test]
fn a_view_is_told_once_after_a_pause() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, "*", Handling::Allow);
    net.asks(ALICE, 1);
    net.exchange();
    net.pass(1);
    net.shows("one");
    net.exchange();
    // Within the pause: composed for the answer to another, told to her when it is over.
    net.shows("two");
    net.asks("dave@a.test", 2);
    net.exchange();
    net.pass(1);
    assert_eq!(net.a.sees(net.now, ALICE, BOB), "Active open two");
    net.pass(5);
    assert!(net.exchange().is_empty(), "told again and again");
    assert_eq!(net.b.engine.behind, 0);
}

#[test]
fn an_answer_to_one_makes_no_other_behind() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, "*", Handling::Allow);
    net.asks(ALICE, 1);
    net.exchange();
    net.pass(1);
    net.shows("one");
    let domain = Domain::parse("a.test").unwrap();
    let due = net.b.at(net.now, false, |engine, facts| engine.due(facts, &domain));
    // While the view is on its way another one asks.
    net.asks("dave@a.test", 2);
    net.exchange();
    for outgoing in due {
        let fate = net.a.receive(net.now, &outgoing, true);
        net.b.at(net.now, false, |engine, facts| engine.reported(facts, outgoing.token, &[(0, fate)]));
    }
    net.pass(2);
    assert!(net.exchange().is_empty());
    assert_eq!(net.a.sees(net.now, ALICE, BOB), "Active open one");
}

#[test]
fn a_state_without_a_view_keeps_none() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    net.asks(ALICE, 1);
    net.exchange();
    let views = |net: &Net| net.a.store.keys().filter(|key| key.first() == Some(&b'v')).count();
    assert_eq!(views(&net), 1);
    let over = |seq| Directive::Notify {
        id: None,
        seq,
        state: presence::State::Terminated(Some(Reason::Rejected)),
        expires: Some(0),
        event: Event::Presence,
    };
    let later = u64::try_from(net.now.millis()).unwrap() + 1000;
    let body = open(BOB, "x");
    let refused = net.a.say(net.now, &client(BOB, &[ALICE], over(later), &body), (true, false)).unwrap_err();
    assert_eq!(refused.code(), 554);
    let large = "\r\n".repeat(limits::PIDF_OCTETS + limits::HEADER_OCTETS);
    let refused = net.a.say(net.now, &client(BOB, &[ALICE], over(later), &large), (true, false)).unwrap_err();
    assert_eq!(refused.code(), 552);
    net.a.say(net.now, &client(BOB, &[ALICE], over(later), ""), (true, false)).unwrap();
    assert!(net.a.sees(net.now, ALICE, BOB).starts_with("Terminated"));
    assert_eq!(views(&net), 0);
}

#[test]
fn a_fetch_from_here_leaves_no_subscription_from_here() {
    let mut net = Net::new();
    let fetch = Directive::Fetch { id: id(1), event: Event::Presence };
    net.b.say(net.now, &client(CAROL, &[BOB], fetch, ""), (true, true)).unwrap();
    net.b.crash(net.now, usize::MAX);
    assert_eq!(net.b.sees(net.now, CAROL, BOB), "nothing");
    net.b.say(net.now, &client(CAROL, &[BOB], subscribe(2), ""), (true, true)).unwrap();
    assert_eq!(net.b.sees(net.now, CAROL, BOB), "Pending");
    let own = Domain::parse("b.test").unwrap();
    assert!(net.b.at(net.now, false, |engine, facts| engine.due(facts, &own)).is_empty(), "nothing goes to ourselves");
    net.b.rule(net.now, BOB, CAROL, Handling::Allow);
    assert_eq!(net.b.sees(net.now, CAROL, BOB), "Active closed");
}

#[test]
fn those_who_prove_nothing_are_few_and_leave_nothing() {
    let mut net = Net::new();
    let mut code = 0;
    for number in 0..=limits::UNPROVEN_WATCHERS {
        let from = format!("w{number}@c.test");
        let said = net.b.say(net.now, &client(&from, &[BOB], subscribe(1), ""), (false, false));
        code = said.map_or_else(|reply| reply.code(), |()| 250);
    }
    assert_eq!(code, 452);
    net.asks(ALICE, 1);
    assert!(net.exchange().contains(&"bob>alice pending".to_owned()), "they are in nobody's way");
    net.now = net.now.after(std::time::Duration::from_secs(4000));
    net.b.at(net.now, true, |engine, facts| engine.tick(facts));
    let name = net.b.engine.tables.names.find(&mailbox(BOB)).unwrap();
    assert!(net.b.engine.watchers_of(name).iter().all(|(_, watcher)| watcher.proven));
}

#[test]
fn a_withdrawn_permission_is_told_after_a_restart() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    net.asks(ALICE, 1);
    net.exchange();
    net.b.rule(net.now, BOB, ALICE, Handling::Confirm);
    net.b.crash(net.now, usize::MAX);
    assert_eq!(net.exchange(), ["bob>alice pending"]);
    assert_eq!(net.a.sees(net.now, ALICE, BOB), "Pending");
}

#[test]
fn who_is_removed_is_gone_and_watchers_hear_of_it() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    net.asks(ALICE, 1);
    net.shows("here");
    net.b.say(net.now, &client(BOB, &[ALICE], subscribe(2), ""), (true, true)).unwrap();
    net.exchange();
    net.b.rules.removed.borrow_mut().push(mailbox(BOB).key());
    net.b.at(net.now, true, |engine, facts| engine.drop_removed(facts));
    let log = net.exchange();
    assert!(log.contains(&"bob>alice terminated noresource".to_owned()), "{log:?}");
    assert_eq!((net.b.engine.counts.publications, net.b.engine.tables.watches.len()), (0, 0));
    assert!(net.b.store.is_empty(), "{:?}", net.b.store.keys());
}

#[test]
fn documents_of_delegates() {
    let mut net = Net::new();
    net.b.rules.publish.borrow_mut().push((BOB.to_owned(), CAROL.to_owned()));
    let body = open(BOB, "x");
    let put = client(CAROL, &[BOB], publish(None), &body);
    net.b.say(net.now, &put, (true, true)).unwrap();
    net.b.say(net.now, &client(BOB, &[BOB], publish(Some(0)), ""), (true, true)).unwrap();
    assert_eq!(net.b.engine.counts.publications, 0, "its owner takes back what was published for it");
    net.b.say(net.now, &put, (true, true)).unwrap();
    net.b.rules.publish.borrow_mut().clear();
    net.b.rule(net.now, BOB, CAROL, Handling::Confirm);
    assert_eq!(net.b.engine.counts.publications, 0, "it goes with the permission");
}

#[test]
fn a_dead_domain_keeps_nothing() {
    let mut net = Net::new();
    let domain = Domain::parse("b.test").unwrap();
    net.asks(ALICE, 1);
    let fetch = Directive::Fetch { id: id(7), event: Event::Presence };
    net.a.say(net.now, &client("dave@a.test", &[BOB], fetch, ""), (true, true)).unwrap();
    assert!(net.a.at(net.now, false, |engine, _| engine.is_due(&domain)));
    net.a.say(net.now, &client(ALICE, &[BOB], Directive::Cancel { id: id(1) }, ""), (true, true)).unwrap();
    net.now = net.now.after(std::time::Duration::from_secs(3700));
    net.a.at(net.now, true, |engine, facts| engine.tick(facts));
    assert!(!net.a.at(net.now, true, |engine, _| engine.is_due(&domain)));
    assert_eq!((net.a.engine.tables.watches.len(), net.a.engine.fetches.len()), (0, 0));
    assert_eq!(net.a.engine.tables.names.len(), 0);
    assert!(net.a.store.is_empty());
}

#[test]
fn many_answers_go_in_batches() {
    let mut net = Net::new();
    for number in 0..200 {
        net.asks(&format!("w{number}@a.test"), 1);
    }
    let domain = Domain::parse("b.test").unwrap();
    for _ in 0..200 {
        for outgoing in net.a.at(net.now, false, |engine, facts| engine.due(facts, &domain)) {
            let fate = net.b.receive(net.now, &outgoing, true);
            net.a.at(net.now, false, |engine, facts| engine.reported(facts, outgoing.token, &[(0, fate)]));
        }
    }
    let domain = Domain::parse("a.test").unwrap();
    let mut sizes = Vec::new();
    loop {
        let due = net.b.at(net.now, false, |engine, facts| engine.due(facts, &domain));
        if due.is_empty() {
            break;
        }
        sizes.push(due.len());
    }
    assert_eq!(sizes, [64, 64, 64, 8]);
}

#[test]
fn a_refresh_is_no_news_to_the_presentity() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    let again = client(ALICE, &[BOB], subscribe(1), "");
    net.b.say(net.now, &again, (true, false)).unwrap();
    let name = net.b.engine.tables.names.find(&mailbox(BOB)).unwrap();
    let feed = opened(&mut net);
    net.b.say(net.now, &client("w1@a.test", &[BOB], subscribe(2), ""), (true, false)).unwrap();
    let first = lists(&mut net, feed).remove(0);
    assert!(first.full && first.version > 1_000_000, "greater than before a restart");
    net.b.say(net.now, &again, (true, false)).unwrap();
    assert!(lists(&mut net, feed).is_empty());
    net.b.say(net.now, &client(ALICE, &[BOB], Directive::Cancel { id: id(1) }, ""), (true, false)).unwrap();
    assert_eq!(lists(&mut net, feed)[0].version, first.version + 1);
    let states: Vec<_> = net.b.engine.watchers_of(name).into_iter().map(|(_, watcher)| watcher.state).collect();
    assert_eq!(states, [State::Pending]);
}

#[test]
fn refreshed_publications_have_one_timer() {
    let mut net = Net::new();
    for _ in 0..100 {
        net.shows("here");
    }
    assert_eq!(net.b.engine.timers.len(), 1);
}

#[test]
fn a_restart_changes_no_view() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    net.b.rule(net.now, BOB, "dave@a.test", Handling::PoliteBlock);
    net.asks(ALICE, 1);
    net.asks("dave@a.test", 2);
    net.b.at(net.now, true, |engine, facts| engine.session_up(facts, &mailbox(BOB)));
    net.exchange();
    net.pass(100);
    net.b.at(net.now, true, |engine, facts| engine.session_down(facts, &mailbox(BOB)));
    net.pass(100);
    net.b.crash(net.now, usize::MAX);
    assert!(net.exchange().is_empty(), "nothing has changed");
}

fn told(number: u8, event: Event) -> Directive {
    let state = presence::State::Terminated(Some(Reason::Noresource));
    Directive::Notify { id: Some(id(number)), seq: 1, state, expires: Some(0), event }
}

#[test]
fn a_certificate_is_told_to_whom_has_asked_for_it_once() {
    let mut net = Net::new();
    let (alice, bob) = (mailbox(ALICE), mailbox(BOB));
    let ask = |engine: &mut Engine, facts: &Facts<'_>| engine.fetch_certificate(facts, &alice, &bob, id(1));
    net.a.at(net.now, false, ask).unwrap();
    assert!(net.a.at(net.now, false, ask).is_err(), "under the same identifier");
    let domain = Domain::parse("b.test").unwrap();
    let due = net.a.at(net.now, false, |engine, facts| engine.due(facts, &domain));
    let asked = Directive::of(&due[0].written.entity).unwrap();
    assert_eq!(asked, Directive::Fetch { id: id(1), event: Event::Certificate });
    let mut answer = |directive: Directive, from: &str, to: &str| {
        net.a.say(net.now, &client(from, &[to], directive, ""), (true, false)).is_ok()
    };
    for (directive, from, to) in [
        (told(1, Event::Presence), BOB, ALICE),
        (told(2, Event::Certificate), BOB, ALICE),
        (told(1, Event::Certificate), CAROL, ALICE),
        (told(1, Event::Certificate), BOB, "dave@a.test"),
        (told(1, Event::Policy), BOB, ALICE),
    ] {
        assert!(!answer(directive.clone(), from, to), "{directive} from {from} to {to}");
    }
    assert!(answer(told(1, Event::Certificate), BOB, ALICE));
    assert!(!answer(told(1, Event::Certificate), BOB, ALICE), "it was answered");
    assert_eq!(net.a.device(net.now, ALICE).len(), 1);
    assert!(net.a.engine.fetches.is_empty());
}

#[test]
fn a_watched_presentity_tells_no_certificate_unasked() {
    let mut net = Net::new();
    net.asks(ALICE, 1);
    net.exchange();
    let told = net.a.say(net.now, &client(BOB, &[ALICE], told(1, Event::Certificate), ""), (true, false));
    assert!(told.is_err());
    let subscribe = Directive::Subscribe { id: id(3), expires: None, event: Event::Certificate };
    assert_eq!(
        net.b.say(net.now, &client(ALICE, &[BOB], subscribe, ""), (true, false)).unwrap_err().to_string().get(..3),
        Some("554")
    );
}

#[test]
fn answers_about_certificates_are_bounded_and_forgotten() {
    let mut net = Net::new();
    let bob = mailbox(BOB);
    let author = Author { mailbox: mailbox(ALICE), proven: true, client: false, by_mail: false };
    let tell = |engine: &mut Engine, facts: &Facts<'_>, number: u32| {
        let id = presence::SubscriptionId::new(u128::from(number).to_be_bytes());
        engine.tell_certificate(facts, &bob, &author, id, Told::Certificate(vec![7; 900]))
    };
    for number in 0..limits::ANSWERS_AT_DOMAIN as u32 {
        net.b.at(net.now, false, |engine, facts| tell(engine, facts, number)).unwrap();
    }
    let more = net.b.at(net.now, false, |engine, facts| tell(engine, facts, u32::MAX));
    assert_eq!(more.unwrap_err().to_string().get(..3), Some("452"));
    assert_eq!(net.b.engine.enclosed.len(), limits::ANSWERS_AT_DOMAIN);
    // One goes; what nobody takes is forgotten.
    let domain = Domain::parse("a.test").unwrap();
    let due = net.b.at(net.now, false, |engine, facts| engine.due(facts, &domain));
    let text = String::from_utf8(due[0].written.entity.to_vec()).unwrap();
    assert!(text.contains("Content-Type: application/pkix-cert\r\n") && text.contains("BwcH"), "{text}");
    net.b.at(net.now, false, |engine, facts| engine.reported(facts, due[0].token, &[(0, Fate::Accepted)]));
    assert_eq!(net.b.engine.enclosed.len(), limits::ANSWERS_AT_DOMAIN - 1);
    net.pass(700);
    assert!(net.b.engine.enclosed.is_empty() && net.b.engine.answers == 0);
}

#[test]
fn who_logs_in_again_for_a_renewal_is_not_closed_in_between() {
    let mut net = Net::new();
    net.b.rule(net.now, BOB, "*", Handling::Allow);
    net.b.at(net.now, true, |engine, facts| engine.session_up(facts, &mailbox(BOB)));
    net.asks(ALICE, 1);
    net.exchange();
    net.pass(10);
    let before = net.a.sees(net.now, ALICE, BOB);
    net.b.at(net.now, true, |engine, facts| engine.session_pauses(facts, &mailbox(BOB)));
    net.pass(1);
    assert!(net.exchange().is_empty(), "told of a pause");
    net.b.at(net.now, true, |engine, facts| engine.session_up(facts, &mailbox(BOB)));
    net.pass(10);
    assert!(net.exchange().is_empty(), "told of its end");
    net.b.at(net.now, true, |engine, facts| engine.session_pauses(facts, &mailbox(BOB)));
    net.pass(700);
    net.exchange();
    assert_ne!(net.a.sees(net.now, ALICE, BOB), before, "it stayed away");
}
