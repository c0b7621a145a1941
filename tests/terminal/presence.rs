//! Presence on the screen: who is how, who asks, and the commands that decide.

use crate::common::tools::{have, said};
use crate::people::People;
use crate::tmux::Terminal;

#[test]
fn the_list_of_contacts_lives() {
    if !have("the_list_of_contacts_lives", &["tmux"]) {
        return;
    }
    let people = People::new();
    let alice = Terminal::start(&people.alice, "alice", "chat bob@b.test");
    alice.row("the connection", |row| row.trim_start().starts_with("connected"));
    alice.types("/watch");
    alice.key("Enter");
    // He has not decided, and is not there.
    alice.row("the title", |row| row.contains("bob@b.test, waits to be confirmed"));
    alice.row("the mark in the list", |row| row.starts_with(">bob@b.test ?"));
    // He comes, is asked, and decides.
    let bob = Terminal::start(&people.bob, "bob", "chat");
    bob.row("the question", |row| row.contains("alice@a.test asks to see your presence"));
    bob.row("the mark in the list", |row| row.contains("alice@a.test !"));
    bob.types("/allow ali");
    bob.key("Enter");
    bob.shows("alice@a.test may see all of your presence");
    alice.row("that he is there", |row| row.contains("bob@b.test, open"));
    alice.row("the mark in the list", |row| row.starts_with(">bob@b.test +"));
    bob.types("/status away 2h at lunch");
    bob.key("Enter");
    bob.shows("You are away: at lunch; until ");
    alice.row("that he is away", |row| row.contains("bob@b.test, away, open: at lunch"));
    alice.row("the mark in the list", |row| row.starts_with(">bob@b.test ~"));
    // He leaves; what he said of himself stays.
    bob.key("C-c");
    assert_eq!(bob.ended(), 0);
    alice.row("that he is gone", |row| row.contains("bob@b.test, away, closed: at lunch"));
    alice.row("the mark in the list", |row| row.starts_with(">bob@b.test -"));
    // On a narrow screen there is no list, and still the words.
    alice.resize(50, 12);
    alice.types("/contacts");
    alice.key("Enter");
    alice.shows("bob@b.test: away, closed");
    alice.types("/unwatch");
    alice.key("Enter");
    alice.shows("bob@b.test is watched no more");
    alice.key("C-c");
    assert_eq!(alice.ended(), 0);
}

#[test]
fn presence_line_by_line() {
    if !have("presence_line_by_line", &["tmux"]) {
        return;
    }
    let people = People::new();
    let alice = Terminal::start(&people.alice, "alice", "chat --line");
    let bob = Terminal::start(&people.bob, "bob", "chat --line");
    for terminal in [&alice, &bob] {
        terminal.shows("* connected");
    }
    alice.types("/watch bob@b.test");
    alice.key("Enter");
    alice.shows("* bob@b.test: waits to be confirmed");
    bob.shows("* alice@a.test asks to see your presence; /allow alice@a.test");
    bob.types("/allow alice@a.test");
    bob.key("Enter");
    bob.shows("* alice@a.test may see all of your presence");
    alice.shows("* bob@b.test: open");
    bob.types("/status busy");
    bob.key("Enter");
    bob.shows("* You are busy.");
    alice.shows("* bob@b.test: busy, open");
    bob.types("/watchers");
    bob.key("Enter");
    bob.shows("* alice@a.test watches");
    for terminal in [&alice, &bob] {
        terminal.types("/quit");
        terminal.key("Enter");
        assert_eq!(terminal.ended(), 0);
    }
}

#[test]
fn the_commands_say_what_is_so() {
    let people = People::new();
    assert_eq!(people.alice.done(&["contacts"]), "You watch nobody; `impart watch ADDRESS` asks to.\n");
    assert_eq!(people.alice.done(&["watchers"]), "Nobody watches you.\n");
    assert_eq!(people.alice.done(&["status", "busy", "writing", "--json"]).trim().matches("busy").count(), 1);
    assert_eq!(people.alice.done(&["status"]), "alice@a.test: busy, closed: writing\n");
    let told = people.alice.done(&["block", "b.test"]);
    assert_eq!(told, "b.test sees nothing of your presence, and cannot write to you.\n");
    let refused = people.bob.run(&["watch", "alice@a.test"]);
    assert_eq!(refused.status.code(), Some(77), "{}", said(&refused));
    assert!(said(&refused).contains("they do not show it to you"), "{}", said(&refused));
    people.alice.done(&["allow", "bob@b.test"]);
    assert_eq!(people.bob.done(&["watch", "alice@a.test"]), "alice@a.test: busy, closed: writing\n");
    assert_eq!(people.bob.done(&["fetch", "alice@a.test"]), "alice@a.test: busy, closed: writing\n");
    let rows = people.bob.rows(&["contacts", "--json"]);
    assert_eq!((&rows[0]["who"], &rows[0]["activities"][0]), (&"alice@a.test".into(), &"busy".into()));
    assert_eq!(people.alice.done(&["watchers"]), "bob@b.test watches\n");
    assert_eq!(people.bob.done(&["unwatch", "alice@a.test"]), "alice@a.test is watched no more.\n");
    assert_eq!(people.alice.done(&["status", "auto"]), "You are open while a device of yours is connected.\n");
    assert_eq!(people.alice.done(&["status"]), "alice@a.test: closed\n");
    // What is wrong is said, with what to do.
    for (words, code) in [
        (&["status", "gone"][..], 64),
        (&["status", "away", "--for", "soon"], 64),
        (&["watch", "nobody"], 64),
        (&["allow", "nobody"], 64),
        (&["fetch", "nobody@b.test"], 67),
        (&["unwatch", "carol@c.test"], 65),
    ] {
        let output = people.alice.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        assert!(!output.stderr.is_empty() || code == 67, "{words:?}");
    }
}
