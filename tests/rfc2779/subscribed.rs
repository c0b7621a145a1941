//! 2.2.1 and 5.1: domains that have never met, and who may end a subscription or refuse one, on the wire.

use crate::clients::Home;
use crate::common::sink::Sink;
use crate::common::wait;
use crate::presence::{
    ALICE, CAROL, accepted, count, document, id, publish, refused, rule, server, subscribe, tell, told,
};
use crate::two::People;

const ERIN: &str = "erin@c.test";

#[test]
fn r2_2_1_two_domains_meet_without_having_known_of_each_other() {
    let people = People::new();
    // Each has nothing but its own configuration and DNS.
    for (setup, other) in [(&people.a, "b.test"), (&people.b, "a.test")] {
        let config = std::fs::read_to_string(setup.config()).expect("the configuration");
        assert!(!config.contains(other), "{config}");
    }
    people.alice.done(&["allow", "bob@b.test"]);
    people.alice.done(&["status", "away", "first contact"]);
    let told = people.bob.done(&["watch", "alice@a.test"]);
    assert!(told.starts_with("alice@a.test: away") && told.contains("first contact"), "{told}");
    people.bob.done(&["send", "alice@a.test", "-m", "hello"]);
    let message = people.a.wait_for("alice@a.test", 1).remove(0);
    assert!(message.contains("Authentication-Results:") && message.contains("impp=pass"), "{message}");
    // He may see whether she is there, so a receipt tells when she has it.
    let listening = people.alice.listen();
    listening.wait_for(&[("event", "message"), ("text", "hello")]);
    people.bob.done(&["send", "alice@a.test", "-m", "hello again", "--wait", "30"]);
}

/// Alice has allowed carol and erin, who watch her.
fn watched(home: &Home, c: &Sink) {
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    rule(home, &[(CAROL, "allow"), (ERIN, "allow")]);
    accepted(subscribe(&mut peer, CAROL, 1));
    accepted(subscribe(&mut peer, ERIN, 2));
    told(c, CAROL, "active view");
    told(c, ERIN, "active view");
}

#[test]
fn r5_1_8_nobody_else_cancels_it() {
    let home = Home::new(|setup| setup);
    let (c, _d) = (server(&home.world, "c.test"), server(&home.world, "d.test"));
    watched(&home, &c);
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let (mut mallory, _) = home.world.peer("d.test", &home.setup);
    let cancel = |number| format!("cancel; id={}", id(number));
    // Whoever knows the identifier: another domain in its own name and in hers, a colleague, one with another identifier.
    accepted(tell(&mut mallory, "mallory@d.test", ALICE, &cancel(1), ""));
    accepted(tell(&mut mallory, CAROL, ALICE, &cancel(1), ""));
    accepted(tell(&mut peer, ERIN, ALICE, &cancel(1), ""));
    accepted(tell(&mut peer, CAROL, ALICE, &cancel(3), ""));
    // A client here in her name, and one with expires=0, which ends what there was.
    refused(tell(&mut home.bob(), CAROL, ALICE, &cancel(1), ""), "550 5.7.1");
    accepted(tell(&mut mallory, CAROL, ALICE, &format!("subscribe; id={}; expires=0", id(1)), ""));
    publish(&home, "still watched");
    told(&c, CAROL, "active view still watched");
    told(&c, ERIN, "active view still watched");
    // She herself does.
    accepted(tell(&mut peer, CAROL, ALICE, &cancel(1), ""));
    told(&c, CAROL, "terminated timeout");
}

#[test]
fn r5_1_9_the_watcher_is_told_that_it_was_ended() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    watched(&home, &c);
    // By the presentity's rules: the reason says so, and no view goes with it.
    rule(&home, &[(ERIN, "allow")]);
    told(&c, CAROL, "terminated rejected");
    let end = c.arrivals().iter().rev().find(|one| one.rcpts[0].contains(CAROL)).cloned().expect("the end");
    let field = end.field("Presence").expect("the field");
    assert!(field.contains(&id(1)) && field.contains("expires=0"), "{field}");
    assert!(!end.entity.contains("<presence"), "{}", end.entity);
    // By an administrator's command.
    let done = home.setup.ctl(&["presence", "remove", ALICE, ERIN]);
    assert!(done.status.success(), "{done:?}");
    told(&c, ERIN, "terminated rejected");
    // Because it ran out, which is its watcher's doing; and nothing comes after the end.
    let before = count(&c);
    publish(&home, "nobody sees it");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    rule(&home, &[(CAROL, "allow")]);
    accepted(tell(&mut peer, CAROL, ALICE, &format!("fetch; id={}; event=presence", id(9)), ""));
    told(&c, CAROL, "active view nobody sees it");
    assert_eq!(count(&c), before + 1, "the answer to the fetch alone");
}

#[test]
fn r5_1_13_one_is_refused_and_the_others_are_not() {
    let home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    watched(&home, &c);
    // Everybody of the domain may, but for carol.
    let done = home.setup.ctl(&["rules", "block", ALICE, CAROL]);
    assert!(done.status.success(), "{done:?}");
    told(&c, CAROL, "terminated rejected");
    publish(&home, "not for carol");
    told(&c, ERIN, "active view not for carol");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    for number in 5..8 {
        accepted(subscribe(&mut peer, CAROL, number));
        wait::until("the refusal", || {
            let arrivals = c.arrivals();
            let refused = |one: &&crate::common::sink::Arrival| {
                let field = one.field("Presence").unwrap_or_default();
                field.contains(&id(number)) && field.contains("rejected")
            };
            arrivals.iter().find(refused).map(|_| ())
        });
    }
    // Nothing of it was ever for her.
    let hers: Vec<_> = c.arrivals().iter().filter(|one| one.entity.contains("not for carol")).cloned().collect();
    assert!(!hers.is_empty() && hers.iter().all(|one| one.rcpts.iter().all(|rcpt| !rcpt.contains(CAROL))), "{hers:?}");
    // In the name of another she gets nothing either.
    refused(
        tell(&mut peer, "bob@a.test", ALICE, &format!("subscribe; id={}", id(8)), &document(ALICE, "")),
        "550 5.7.1",
    );
}

#[test]
fn r2_3_1_rules_that_two_clients_change_at_once_lose_nothing() {
    let people = People::new();
    people.alice.done(&["allow", "bob@b.test"]);
    // Each reads, changes and writes; whoever comes second does it again.
    let words = |number: usize| format!("friend{number}@b.test");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let alice = &people.alice;
            scope.spawn(move || alice.done(&[["allow", "polite-block"][number % 2], &words(number)]));
        }
    });
    let rules = String::from_utf8_lossy(&people.a.ctl(&["rules", "show", ALICE]).stdout).into_owned();
    for number in 0..6 {
        assert!(rules.contains(&words(number)), "{} is lost in\n{rules}", words(number));
    }
}

#[test]
fn r2_3_1_rules_take_the_place_of_those_that_were_read() {
    let home = Home::new(|setup| setup);
    let ruleset = |who: &str| crate::presence::rules(&[(who, "allow")]);
    let put = |seq: &str, who: &str| {
        tell(&mut home.alice(), ALICE, ALICE, &format!("policy; for=presence{seq}"), &ruleset(who))
    };
    refused(put("; seq=7", CAROL), "450 4.5.0");
    accepted(put("; seq=0", CAROL));
    refused(put("; seq=0", ERIN), "450 4.5.0");
    let mut device = crate::common::device::Device::showing(home.alice(), "ATRN", crate::presence::SHOWS);
    let ask = format!("fetch; id={}; event=policy", id(1));
    accepted(tell(&mut home.alice(), ALICE, ALICE, &ask, ""));
    let told = loop {
        let delivery = device.next_with("250 ok").expect("an answer");
        if delivery.entity.contains("event=policy") {
            break delivery.entity;
        }
    };
    assert!(told.contains(CAROL) && !told.contains(ERIN), "{told}");
    let seq = told.split("seq=").nth(1).and_then(|rest| rest.split(';').next()).expect("the version");
    accepted(put(&format!("; seq={seq}"), ERIN));
    // Without a version they take the place of whatever is there.
    accepted(put("", CAROL));
}
