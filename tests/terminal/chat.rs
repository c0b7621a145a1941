//! `impart chat`, full-screen and line by line.

use crate::common::tools::have;
use crate::common::wait;
use crate::people::People;
use crate::tmux::Terminal;

/// Both talk with each other, at 80 columns and 24 rows.
fn talk(people: &People) -> (Terminal, Terminal) {
    let alice = Terminal::start(&people.alice, "alice", "chat bob@b.test");
    let bob = Terminal::start(&people.bob, "bob", "chat alice@a.test");
    for terminal in [&alice, &bob] {
        terminal.row("the connection", |row| row.trim_start().starts_with("connected"));
    }
    (alice, bob)
}

#[test]
fn two_people_talk_on_full_screens() {
    if !have("two_people_talk_on_full_screens", &["tmux"]) {
        return;
    }
    let people = People::new();
    let (alice, bob) = talk(&people);
    assert_eq!((alice.is("alternate_on"), alice.screen().lines().count()), ("1".to_owned(), 24));
    alice.types("hello Bob");
    alice.shows("> hello Bob");
    alice.key("Enter");
    bob.shows("hello Bob");
    alice.row("the mark of delivery", |row| row.contains(" me hello Bob ✓✓"));
    // Wide characters, characters of several parts, and marks that join.
    for text in ["写给你 🚀 grüße", "👩\u{200d}🚀 e\u{301} 🇩🇪"] {
        bob.types(text);
        bob.shows(&format!("> {text}"));
        bob.key("Enter");
        alice.shows(&format!("   {text}"));
        bob.row("the mark of delivery", |row| row.contains(&format!(" me {text} ✓✓")));
    }
    // She has written, so she may know that he writes.
    bob.types("hm");
    alice.shows("bob@b.test is typing");
    for _ in 0..2 {
        bob.key("BSpace");
    }
    alice.row("that he no longer does", |row| row.trim_start().starts_with("connected"));
    alice.key("C-c");
    bob.types("/quit");
    bob.key("Enter");
    assert_eq!((alice.ended(), bob.ended()), (0, 0));
    let texts: Vec<_> = people.alice.rows(&["history", "bob", "--json"]);
    assert_eq!(texts.len(), 3, "{texts:?}");
}

#[test]
fn pasted_lines_are_one_message() {
    if !have("pasted_lines_are_one_message", &["tmux"]) {
        return;
    }
    let people = People::new();
    let (alice, bob) = talk(&people);
    alice.paste("first\nsecond\n/quit");
    alice.shows("> first⏎second⏎/quit");
    assert!(people.alice.done(&["history", "bob@b.test"]).is_empty(), "nothing was sent by the end of a line");
    alice.key("Enter");
    bob.shows("first");
    bob.row("the second line below", |row| row.ends_with("       second"));
    let rows = people.alice.rows(&["history", "bob", "--json"]);
    assert_eq!((rows.len(), rows[0]["text"].as_str()), (1, Some("first\nsecond\n/quit")));
    alice.shows("/quit ✓✓");
    alice.key("C-c");
    assert_eq!(alice.ended(), 0);
}

#[test]
fn a_screen_of_another_size_shows_the_same() {
    if !have("a_screen_of_another_size_shows_the_same", &["tmux"]) {
        return;
    }
    let people = People::new();
    let (alice, bob) = talk(&people);
    alice.row("the list of contacts", |row| row.starts_with(">bob@b.test") && row.contains('│'));
    bob.types("写写写写写写写写写写写写写写写写写写写写写写写写写写");
    bob.key("Enter");
    alice.shows("写写");
    alice.resize(40, 12);
    alice.row("no list", |row| row.starts_with(char::is_numeric) && row.contains("写写"));
    alice.types("still here");
    alice.shows("> still here");
    // So small that there is hardly anything; then large again.
    alice.resize(8, 3);
    wait::until("the small screen", || (alice.screen().lines().count() == 3).then_some(()));
    alice.resize(120, 40);
    alice.row("the list of contacts", |row| row.starts_with(">bob@b.test") && row.contains('│'));
    alice.shows("> still here");
    alice.key("Enter");
    bob.shows("still here");
    alice.key("C-c");
    assert_eq!(alice.ended(), 0);
}

#[test]
fn a_message_that_is_refused_says_why_on_the_screen() {
    if !have("a_message_that_is_refused_says_why_on_the_screen", &["tmux"]) {
        return;
    }
    let people = People::new();
    let (alice, _bob) = talk(&people);
    alice.types("/to nobody@b.test");
    alice.key("Enter");
    alice.row("the title", |row| row.contains("nobody@b.test") && row.contains("impart"));
    alice.types("who?");
    alice.key("Enter");
    alice.row("the refusal", |row| row.contains("me who? ✗") && row.contains("5.1.1"));
    alice.key("C-c");
    assert_eq!(alice.ended(), 0);
}

#[test]
fn a_chat_that_is_ended_from_outside_leaves_the_terminal_as_it_was() {
    if !have("a_chat_that_is_ended_from_outside_leaves_the_terminal_as_it_was", &["tmux"]) {
        return;
    }
    let people = People::new();
    let (alice, _bob) = talk(&people);
    let shell = rustix::process::Pid::from_raw(alice.is("pane_pid").parse().unwrap()).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.as_raw_nonzero())).unwrap();
    let chat = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(chat, rustix::process::Signal::TERM).unwrap();
    alice.ended();
}

#[test]
fn two_people_talk_line_by_line() {
    if !have("two_people_talk_line_by_line", &["tmux"]) {
        return;
    }
    let people = People::new();
    let alice = Terminal::start(&people.alice, "alice", "chat --line bob@b.test");
    let bob = Terminal::start(&people.bob, "bob", "chat --line");
    for terminal in [&alice, &bob] {
        terminal.shows("* connected");
        assert_eq!(terminal.is("alternate_on"), "0");
    }
    alice.types("hello 写");
    alice.key("Enter");
    // States are words here.
    alice.shows("* to bob@b.test: delivered");
    bob.shows(" alice@a.test: hello 写");
    bob.shows("* what you write now goes to alice@a.test");
    bob.types("hello yourself");
    bob.key("Enter");
    alice.shows(" bob@b.test: hello yourself");
    assert!(!alice.screen().contains(['✓', '✗', '…']), "{}", alice.screen());
    alice.types("/quit");
    alice.key("Enter");
    bob.key("C-d");
    assert_eq!((alice.ended(), bob.ended()), (0, 0));
}
