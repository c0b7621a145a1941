//! Presence as people use it: `impart` and real daemons of two domains. Who asks, who decides, who sees what, and what is
//! seen of somebody whose client was killed.

use std::process::Output;

use serde_json::Value;

use crate::common::person::{Listening, Person};
use crate::common::tools::said;
use crate::common::wait;
use crate::two::People;

/// How `who` is by the last that a client was told.
fn last(client: &Listening, who: &str) -> Option<Value> {
    let events = client.events();
    events.into_iter().rev().find(|event| event["event"] == "presence" && event["who"] == who)
}

/// Waits until somebody is so by the last that a client was told.
#[track_caller]
fn becomes(client: &Listening, who: &str, what: &[(&str, &str)]) -> Value {
    let fits = |event: &Value| what.iter().all(|(key, value)| event[key] == *value);
    let found = wait::maybe(|| last(client, who).filter(fits));
    found.unwrap_or_else(|| panic!("{who} never became {what:?}; the last is {:?}", last(client, who)))
}

/// What `fetch`, `contacts` or `watchers` prints.
fn rows(person: &Person, words: &[&str]) -> Vec<Value> {
    let output = person.run(&[words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Waits until a list has this about somebody.
#[track_caller]
fn listed(person: &Person, list: &str, who: &str, key: &str, value: &str) {
    let mut shown = Vec::new();
    let found = wait::maybe(|| {
        shown = rows(person, &[list]);
        shown.iter().any(|row| row["who"] == who && row[key] == value).then_some(())
    });
    found.unwrap_or_else(|| panic!("{list} of {} never showed {who} as {value}: {shown:?}", person.address));
}

fn fetched(person: &Person, who: &str) -> Value {
    rows(person, &["fetch", who]).pop().expect("an answer")
}

#[track_caller]
fn code(output: &Output, expected: i32) {
    assert_eq!(output.status.code(), Some(expected), "{}", said(output));
}

/// Bob watches Alice, who has allowed it; his client, which has the first view.
fn watched(people: &People) -> Listening {
    people.alice.done(&["allow", "bob@b.test"]);
    let watching = people.bob.listen();
    watching.wait_for(&[("state", "connected")]);
    let told = people.bob.done(&["watch", "alice@a.test"]);
    assert!(told.starts_with("alice@a.test: closed"), "{told}");
    becomes(&watching, "alice@a.test", &[("state", "active"), ("basic", "closed")]);
    watching
}

#[test]
fn r2_3_1_the_presentity_decides_who_sees_it() {
    let people = People::new();
    let alice = people.alice.listen();
    alice.wait_for(&[("state", "connected")]);
    let told = people.bob.done(&["watch", "alice@a.test"]);
    assert!(told.contains("waits to be confirmed"), "nobody has decided yet: {told}");
    wait::until("the request", || {
        let asks = |event: &Value| event["event"] == "watchers" && event["list"].to_string().contains("bob@b.test");
        alice.events().into_iter().find(asks)
    });
    let bob = people.bob.listen();
    becomes(&bob, "alice@a.test", &[("state", "pending")]);
    people.alice.done(&["allow", "bob@b.test"]);
    becomes(&bob, "alice@a.test", &[("state", "active"), ("basic", "open")]);
    people.alice.done(&["polite-block", "bob@b.test"]);
    becomes(&bob, "alice@a.test", &[("state", "active"), ("basic", "closed")]);
    people.alice.done(&["confirm", "bob@b.test"]);
    becomes(&bob, "alice@a.test", &[("state", "pending")]);
    people.alice.done(&["block", "bob@b.test"]);
    becomes(&bob, "alice@a.test", &[("state", "terminated"), ("reason", "rejected")]);
    // Who is blocked sends nothing either.
    let output = people.bob.run(&["send", "alice@a.test", "-m", "x", "--wait", "60"]);
    assert!(!output.status.success() && said(&output).contains("5.7.1"), "{}", said(&output));
}

#[test]
fn r2_3_2_who_is_refused_is_told_so() {
    let people = People::new();
    people.alice.done(&["block", "b.test"]);
    let output = people.bob.run(&["watch", "alice@a.test"]);
    code(&output, 77);
    assert!(said(&output).contains("alice@a.test: not shown: they do not show it to you"), "{}", said(&output));
    code(&people.bob.run(&["fetch", "alice@a.test"]), 77);
    // Another of the same domain may, where she says so.
    let carol = people.also("carol@b.test");
    people.alice.done(&["allow", "carol@b.test"]);
    carol.done(&["watch", "alice@a.test"]);
    listed(&people.alice, "watchers", "carol@b.test", "status", "active");
    assert!(
        rows(&people.alice, &["watchers"]).iter().all(|row| row["who"] != "bob@b.test" || row["status"] != "active")
    );
}

#[test]
fn r2_3_3_a_watcher_sees_the_same_by_fetch_and_by_notification() {
    let people = People::new();
    let bob = watched(&people);
    people.alice.done(&["status", "away", "lunch <3 & grüße"]);
    let told = becomes(&bob, "alice@a.test", &[("note", "lunch <3 & grüße")]);
    assert_eq!(told["activities"], serde_json::json!(["away"]));
    let fetched = fetched(&people.bob, "alice@a.test");
    for key in ["state", "basic", "activities", "note", "contacts"] {
        assert_eq!(fetched[key], told[key], "{key}");
    }
    assert_eq!(rows(&people.bob, &["contacts"])[0]["note"], "lunch <3 & grüße", "and in the list");
    // A stranger asks once: no rule is about her, so the request is nothing to show.
    let carol = people.also("carol@b.test");
    let view = rows(&carol, &["fetch", "alice@a.test"]).pop().expect("an answer");
    assert_ne!(view["state"], "active", "{view}");
    assert_eq!((view["basic"].is_null(), view["note"].is_null()), (true, true), "{view}");
}

#[test]
fn r3_2_1_what_is_known_of_somebody_who_is_out_of_contact() {
    let people = People::new();
    people.alice.done(&["allow", "bob@b.test"]);
    people.alice.done(&["status", "closed", "on holiday"]);
    let view = fetched(&people.bob, "alice@a.test");
    assert_eq!(
        (&view["state"], &view["basic"], &view["note"]),
        (&"active".into(), &"closed".into(), &"on holiday".into())
    );
    // The daemon that knows it is killed.
    let mut people = people;
    people.daemons.remove(0).kill();
    let _a = people.a.start();
    let said = wait::maybe(|| rows(&people.bob, &["fetch", "alice@a.test"]).pop());
    assert_eq!(said.expect("an answer")["note"], "on holiday");
    code(&people.bob.run(&["fetch", "nobody@a.test"]), 67);
}

#[test]
fn r3_2_2_a_request_waits_for_whoever_is_out_of_contact() {
    let people = People::new();
    let told = people.bob.done(&["watch", "alice@a.test"]);
    assert!(told.contains("waits to be confirmed"), "{told}");
    listed(&people.bob, "contacts", "alice@a.test", "state", "pending");
    // She comes, and is told.
    let alice = people.alice.listen();
    wait::until("the request", || {
        let asks = |event: &Value| event["event"] == "watchers" && event["list"].to_string().contains("bob@b.test");
        alice.events().into_iter().find(asks)
    });
    people.alice.done(&["allow", "bob@b.test"]);
    let bob = people.bob.listen();
    becomes(&bob, "alice@a.test", &[("state", "active"), ("basic", "open")]);
}

#[test]
fn r3_2_3_every_change_comes_also_to_a_domain_that_was_gone() {
    let mut people = People::new();
    let bob = watched(&people);
    for note in ["one", "two", "three"] {
        people.alice.done(&["status", "busy", note]);
        becomes(&bob, "alice@a.test", &[("note", note)]);
    }
    // His domain is gone while she changes; then hers, before it could tell.
    people.daemons.remove(1).kill();
    people.alice.done(&["status", "away", "while it was gone"]);
    people.daemons.remove(0).kill();
    let (_a, _b) = (people.a.start(), people.b.start());
    becomes(&bob, "alice@a.test", &[("note", "while it was gone")]);
}

#[test]
fn r3_2_5_a_client_that_is_killed_is_out_of_contact() {
    let people = People::new();
    let bob = watched(&people);
    let desk = people.alice.listen();
    becomes(&bob, "alice@a.test", &[("basic", "open")]);
    desk.kill();
    becomes(&bob, "alice@a.test", &[("basic", "closed")]);
    // What she says of herself outlasts her clients, where she says so.
    people.alice.done(&["status", "open", "call me"]);
    becomes(&bob, "alice@a.test", &[("basic", "open"), ("note", "call me")]);
    people.alice.done(&["status", "auto"]);
    let view = becomes(&bob, "alice@a.test", &[("basic", "closed")]);
    assert!(view["note"].is_null(), "{view}");
    people.alice.done(&["status", "away", "for a moment", "--for", "2s"]);
    becomes(&bob, "alice@a.test", &[("note", "for a moment")]);
    let over = wait::maybe(|| last(&bob, "alice@a.test").filter(|event| event["note"].is_null()));
    assert!(over.is_some(), "it is over by itself: {:?}", last(&bob, "alice@a.test"));
}

#[test]
fn r5_1_10_the_watcher_learns_how_a_subscription_stands() {
    let people = People::new();
    assert_eq!(people.bob.done(&["contacts"]), "You watch nobody; `impart watch ADDRESS` asks to.\n");
    people.bob.done(&["watch", "alice@a.test"]);
    listed(&people.bob, "contacts", "alice@a.test", "state", "pending");
    people.alice.done(&["allow", "bob@b.test"]);
    listed(&people.bob, "contacts", "alice@a.test", "state", "active");
    people.alice.done(&["block", "bob@b.test"]);
    wait::until("the end", || {
        let rows = rows(&people.bob, &["contacts"]);
        rows.iter().all(|row| row["state"] != "active").then_some(())
    });
    // A domain without presence says so at once.
    let output = people.bob.run(&["watch", "carol@c.test"]);
    code(&output, 67);
}

#[test]
fn r5_1_11_the_presentity_learns_who_watches_then_and_later() {
    let people = People::new();
    assert_eq!(people.alice.done(&["watchers"]), "Nobody watches you.\n");
    people.bob.done(&["watch", "alice@a.test"]);
    listed(&people.alice, "watchers", "bob@b.test", "status", "pending");
    people.bob.done(&["unwatch", "alice@a.test"]);
    // He has asked and gone: she learns of that too.
    listed(&people.alice, "watchers", "bob@b.test", "status", "waiting");
    people.alice.done(&["allow", "bob@b.test"]);
    people.bob.done(&["watch", "alice@a.test"]);
    listed(&people.alice, "watchers", "bob@b.test", "status", "active");
    people.bob.done(&["unwatch", "alice@a.test"]);
    wait::until("he watches no more", || {
        let rows = rows(&people.alice, &["watchers"]);
        rows.iter().all(|row| row["status"] != "active").then_some(())
    });
    code(&people.bob.run(&["unwatch", "alice@a.test"]), 65);
}

#[test]
fn r5_1_12_the_presentity_learns_that_the_watcher_is_the_one() {
    let people = People::new();
    people.bob.done(&["watch", "alice@a.test"]);
    listed(&people.alice, "watchers", "bob@b.test", "proof", "domain");
    let carol = people.also("carol@a.test");
    carol.done(&["watch", "alice@a.test"]);
    listed(&people.alice, "watchers", "carol@a.test", "status", "pending");
    let told = people.alice.done(&["watchers"]);
    assert!(told.contains("bob@b.test asks to see your presence\n") && !told.contains("proven"), "{told}");
}

#[test]
fn r2_4_1_an_administrator_sees_who_watches_and_is_seen_to() {
    let people = People::new();
    people.alice.done(&["allow", "bob@b.test"]);
    people.alice.done(&["status", "away", "private note"]);
    people.bob.done(&["watch", "alice@a.test"]);
    let rows = people.a.rows(&["presence", "watchers", "alice@a.test"]);
    assert_eq!(
        (&rows[0]["watcher"], &rows[0]["state"], &rows[0]["proven"]),
        (&"bob@b.test".into(), &"active".into(), &true.into())
    );
    let rows = people.b.rows(&["presence", "contacts", "bob@b.test"]);
    assert_eq!((&rows[0]["presentity"], &rows[0]["state"]), (&"alice@a.test".into(), &"active".into()));
    let shown = |words: &[&str]| String::from_utf8_lossy(&people.a.ctl(words).stdout).into_owned();
    assert!(shown(&["presence", "show", "alice@a.test"]).contains("private note"));
    let view = shown(&["presence", "show", "alice@a.test", "--as", "carol@c.test"]);
    assert!(view.contains("pending") && !view.contains("private note"), "{view}");
    assert!(shown(&["status"]).contains("1 watchers"), "{}", shown(&["status"]));
    let gone = people.a.ctl(&["presence", "remove", "alice@a.test", "carol@c.test"]);
    assert!(!gone.status.success() && said(&gone).contains("does not watch"), "{}", said(&gone));
    assert!(people.a.ctl(&["presence", "remove", "alice@a.test", "bob@b.test"]).status.success());
    wait::until("the end", || {
        let rows = people.a.rows(&["presence", "watchers", "alice@a.test"]);
        rows.iter().all(|row| row["state"] != "active").then_some(())
    });
    assert!(people.a.ctl(&["rules", "show", "alice@a.test"]).status.success());
    let log = people.a.log();
    for line in ["presence watchers alice@a.test", "presence show alice@a.test", "rules show alice@a.test"] {
        let audited = log.lines().any(|found| found.contains("audit: user ") && found.contains(line));
        assert!(audited, "{line} in\n{log}");
    }
    assert!(!log.contains("private note"), "no document in the log");
}

#[test]
fn r2_4_1_an_administrator_sees_who_watches_while_the_daemon_is_stopped() {
    let mut people = People::new();
    people.alice.done(&["allow", "bob@b.test"]);
    people.alice.done(&["status", "away", "kept"]);
    people.bob.done(&["watch", "alice@a.test"]);
    listed(&people.bob, "contacts", "alice@a.test", "state", "active");
    people.daemons.remove(0).stop();
    let rows = people.a.rows(&["presence", "watchers", "alice@a.test"]);
    assert_eq!((&rows[0]["watcher"], &rows[0]["state"]), (&"bob@b.test".into(), &"active".into()));
    let shown = people.a.ctl(&["presence", "show", "alice@a.test", "--as", "bob@b.test"]);
    assert!(said(&shown).contains("kept") && said(&shown).contains("impartd is not running"), "{}", said(&shown));
    let stranger = people.a.ctl(&["presence", "show", "alice@a.test", "--as", "carol@c.test"]);
    assert!(!said(&stranger).contains("kept"), "{}", said(&stranger));
    // Looking changes nothing; what is ended is told by the daemon when it runs again.
    assert_eq!(people.a.rows(&["presence", "watchers", "alice@a.test"]).len(), 1);
    let removed = people.a.ctl(&["presence", "remove", "alice@a.test", "bob@b.test"]);
    assert!(removed.status.success(), "{}", said(&removed));
    let _a = people.a.start();
    let ended = || {
        let contacts = rows_of(&people.bob);
        contacts.iter().all(|row| row["state"] != "active").then_some(())
    };
    wait::until("the end", ended);
}

fn rows_of(person: &Person) -> Vec<Value> {
    rows(person, &["contacts"])
}
