//! What a signature proves, in words on the screen and in lines; keys from the command line.

use std::fs;

use crate::common::openssl::Authority;
use crate::common::tools::{have, said};
use crate::people::People;
use crate::tmux::Terminal;

#[test]
fn a_chat_signs_and_encrypts_by_itself_and_says_so() {
    if !have("a_chat_signs_and_encrypts_by_itself_and_says_so", &["tmux", "openssl"]) {
        return;
    }
    let people = People::new();
    people.alice.done(&["send", "bob@b.test", "-m", "before the keys", "--wait", "60"]);
    let authority = Authority::new(&people.a.directory.join("authority"));
    authority.enrol(&people.alice);
    authority.enrol(&people.bob);
    let alice = Terminal::start(&people.alice, "alice", "chat bob@b.test");
    let bob = Terminal::start(&people.bob, "bob", "chat alice@a.test");
    bob.shows("before the keys");
    alice.types("[signed] says nothing here");
    alice.key("Enter");
    bob.row("the mark", |row| row.ends_with("│[signed]"));
    alice.row("the mark of what she wrote", |row| row.ends_with("│[me: signed]"));
    // He has her certificate now, and she has his with this answer.
    bob.types("for you alone");
    bob.key("Enter");
    alice.shows("for you alone");
    alice.row("the mark", |row| row.ends_with("│[signed, encrypted]"));
    alice.types("and back");
    alice.key("Enter");
    bob.shows("and back");
    bob.row("the mark", |row| row.ends_with("│[signed, encrypted]"));
    for terminal in [&alice, &bob] {
        terminal.key("C-c");
        assert_eq!(terminal.ended(), 0);
    }
    let lines = people.bob.done(&["history", "alice"]);
    for mark in [
        "[unsigned] alice@a.test: before",
        "[signed] alice@a.test: [signed] says",
        "[signed, encrypted] alice@a.test: and",
        "[signed, encrypted] to alice@a.test: (delivered) for you alone",
    ] {
        assert!(lines.contains(mark), "{mark} in {lines}");
    }
}

#[test]
fn keys_are_made_taken_shown_and_written() {
    if !have("keys_are_made_taken_shown_and_written", &["openssl"]) {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let people = People::new();
    let (alice, authority) = (&people.alice, Authority::new(&people.a.directory.join("authority")));
    let output = alice.run(&["send", "bob@b.test", "-m", "x", "--sign"]);
    assert!(!output.status.success() && said(&output).contains("impart key new"), "{}", said(&output));
    alice.done(&["key", "new"]);
    assert!(alice.done(&["key", "list"]).contains("waits for its certificate"));
    authority.enrol(alice);
    let list = alice.done(&["key", "list"]);
    assert!(list.contains("alice@a.test: in use until "), "{list}");
    let folder = alice.home.join("data/impart/alice@a.test/keys");
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    // Somebody else's certificate is none for her key, and one to encrypt to.
    let bob = authority.somebody("bob@b.test");
    assert!(alice.done(&["key", "import", bob.certificate.to_str().unwrap()]).contains("bob@b.test is kept"));
    let both = [fs::read_to_string(&bob.key).unwrap(), fs::read_to_string(&bob.certificate).unwrap()].concat();
    let file = alice.home.join("both.pem");
    fs::write(&file, both).unwrap();
    let output = alice.run(&["key", "import", file.to_str().unwrap()]);
    let refused = said(&output);
    assert!(!output.status.success() && refused.contains("is for bob@b.test, not for alice@a.test"), "{refused}");
    // What one program writes, another host takes, encrypted or not.
    let secret = alice.home.join("secret.pem");
    alice.done(&["key", "export", "--secret", "--password-command", "echo pass", "--output", secret.to_str().unwrap()]);
    assert!(fs::read_to_string(&secret).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    let before = alice.done(&["key", "list", "--json"]);
    fs::remove_dir_all(&folder).unwrap();
    alice.done(&["key", "import", secret.to_str().unwrap(), "--password-command", "echo pass"]);
    let after = alice.done(&["key", "list", "--json"]);
    let in_use = |text: &str| text.lines().find(|line| line.contains("in use")).map(str::to_owned);
    assert!(in_use(&before).is_some() && in_use(&before) == in_use(&after), "{before}{after}");
    alice.done(&["send", "bob@b.test", "-m", "x", "--sign", "--wait", "60"]);
}

#[test]
fn a_pkcs12_file_of_another_program_is_taken() {
    if !have("a_pkcs12_file_of_another_program_is_taken", &["openssl"]) {
        return;
    }
    let people = People::new();
    let authority = Authority::new(&people.a.directory.join("authority"));
    let somebody = authority.somebody("alice@a.test");
    let file = people.alice.home.join("alice.p12");
    let path = |path: &std::path::Path| path.display().to_string();
    let (key, certificate, out) = (path(&somebody.key), path(&somebody.certificate), path(&file));
    let arguments = ["pkcs12", "-export", "-inkey", &key, "-in", &certificate, "-out", &out, "-passout", "pass:open"];
    crate::common::openssl::openssl(&arguments, b"");
    let output = people.alice.run(&["key", "import", &out, "--password-command", "echo wrong"]);
    assert!(!output.status.success() && said(&output).contains("pass phrase"), "{}", said(&output));
    people.alice.done(&["key", "import", &out, "--password-command", "echo open"]);
    people.alice.done(&["send", "bob@b.test", "-m", "x", "--sign", "--wait", "60"]);
}
