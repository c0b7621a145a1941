//! `impart` in scripts: what it prints, its exit codes, what waits while there is no server.

use std::fs;
use std::process::Output;
use std::time::SystemTime;

use impart::timestamp::Timestamp;
use impart::tls::make::{self, Authority, AuthorityOptions};
use serde_json::Value;

use crate::common::person::texts;
use crate::common::tools::said;
use crate::common::wait;
use crate::people::People;

/// The exit code must be this.
fn code(output: &Output, expected: i32) -> String {
    assert_eq!(output.status.code(), Some(expected), "{}", said(output));
    said(output)
}

const USAGE: i32 = 64;
const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const NO_USER: i32 = 67;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

#[test]
fn a_message_is_sent_received_and_found_again() {
    let people = People::new();
    let receiving = people.bob.command(&["listen", "--json", "--once"]).spawn().unwrap();
    let text = "hello 写 🚀\n\u{1b}[31mred";
    let output = people.alice.run_with(&["send", "bob@b.test", "--wait", "60"], text);
    let told = code(&output, 0);
    assert!(told.contains("bob@b.test: sent <") && told.contains("\nbob@b.test: delivered"), "{told}");
    let output = receiving.wait_with_output().unwrap();
    code(&output, 0);
    let events: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(texts(&events), ["hello 写 🚀\n\u{241b}[31mred"]);
    let message = events.iter().find(|event| event["event"] == "message").unwrap();
    assert_eq!((&message["from"], &message["automatic"]), (&Value::from("alice@a.test"), &Value::from(false)));
    let id = message["id"].as_str().unwrap();
    assert!(told.contains(id), "{id} in {told}");
    // The answer is in the thread; it is found by a word, and by the start of a name.
    people.bob.done(&["send", "ali", "-m", "What colour?", "--reply-to-id", id]);
    let once = people.alice.rows(&["listen", "--json", "--once"]);
    assert_eq!(texts(&once), ["What colour?"]);
    assert_eq!(once.iter().find(|event| event["event"] == "message").unwrap()["in_reply_to"], id);
    let found = people.alice.rows(&["history", "bob", "--search", "COLOUR", "--json"]);
    assert_eq!((found.len(), &found[0]["text"]), (1, &once.last().unwrap()["text"]));
    let rows = people.alice.rows(&["history", "bob", "--json"]);
    assert_eq!((rows.len(), &rows[0]["fates"][0]["state"]), (2, &Value::from("delivered")));
    assert!(people.alice.done(&["history"]).contains("bob@b.test"));
}

#[test]
fn files_come_as_they_were() {
    let people = People::new();
    let octets: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(people.alice.home.join("grüße.bin"), &octets).unwrap();
    people.alice.done(&["send", "bob@b.test", "-m", "see", "--attach", "grüße.bin"]);
    let events = people.bob.rows(&["listen", "--json", "--once"]);
    let message = events.iter().find(|event| event["event"] == "message").unwrap();
    assert_eq!(message["attachments"][0]["size"], octets.len());
    let path = people.bob.done(&["history", "--save", message["id"].as_str().unwrap()]);
    assert!(path.trim_end().ends_with("grüße.bin"), "{path}");
    assert!(fs::read(people.bob.home.join(path.trim_end())).unwrap() == octets, "another file");
}

#[test]
fn a_command_runs_for_each_message() {
    let people = People::new();
    let command = "(printf '%s ' \"$IMPART_FROM\"; cat) >>got; exit 3";
    let mut child = people.bob.command(&["listen", "--exec", command]).spawn().unwrap();
    for text in ["one", "; rm -rf \"$HOME\" `false`"] {
        people.alice.done(&["send", "bob@b.test", "-m", text]);
    }
    let expected = "alice@a.test onealice@a.test ; rm -rf \"$HOME\" `false`";
    let got = || fs::read_to_string(people.bob.home.join("got")).unwrap_or_default().replace('\n', "");
    wait::until("both were handed over", || (got() == expected).then_some(()));
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn who_does_not_exist_is_told() {
    let people = People::new();
    // Our own server knows at once; the other one through a receipt, or at once as well.
    code(&people.alice.run(&["send", "nobody@a.test", "-m", "x"]), NO_USER);
    let told = code(&people.alice.run(&["send", "nobody@b.test", "-m", "x", "--wait", "60"]), NO_USER);
    assert!(told.contains("nobody@b.test: failed: ") && told.contains("5.1.1"), "{told}");
    // The others have theirs.
    let output = people.alice.run(&["send", "nobody@a.test", "bob@b.test", "-m", "to both"]);
    assert!(code(&output, NO_USER).contains("bob@b.test: sent"), "{}", said(&output));
    assert_eq!(texts(&people.bob.rows(&["listen", "--json", "--once"])), ["to both"]);
    let told = people.alice.done(&["history", "nobody@b.test"]);
    assert!(told.contains("failed: ") && told.contains("5.1.1"), "{told}");
}

#[test]
fn a_wrong_password_is_no_account() {
    let people = People::new();
    let config = people.alice.home.join("config/impart/config.toml");
    let before = fs::read_to_string(&config).unwrap();
    assert!(!before.contains("\"secret\"") && before.contains("echo secret"), "{before}");
    let words = people.alice.login("guess");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(code(&people.alice.run(&words), PERMISSION).contains("535 5.7.8"));
    assert_eq!(fs::read_to_string(&config).unwrap(), before, "what works stays");
    // One that stopped working.
    fs::write(&config, before.replace("echo secret", "echo guess")).unwrap();
    let told = code(&people.alice.run(&["send", "bob@b.test", "-m", "later"]), PERMISSION);
    assert!(told.contains("waits in the outbox"), "{told}");
    code(&people.alice.run(&["listen"]), PERMISSION);
    fs::write(&config, before.replace("echo secret", "false")).unwrap();
    code(&people.alice.run(&["send", "bob@b.test", "-m", "never written"]), PERMISSION);
    fs::write(&config, before).unwrap();
    people.alice.done(&["send", "bob@b.test", "-m", "now"]);
    let receiving = people.bob.listen();
    receiving.wait_for(&[("text", "later")]);
    receiving.wait_for(&[("text", "now")]);
    assert_eq!(receiving.texts(), ["later", "now"]);
}

#[test]
fn a_message_waits_for_the_server() {
    let mut people = People::new();
    people.daemons.remove(0).kill();
    let told = code(&people.alice.run(&["send", "bob@b.test", "-m", "one"]), TEMPORARY);
    assert!(told.contains("waits in the outbox") && told.contains("do not send it again"), "{told}");
    code(&people.alice.run(&["send", "bob@b.test", "-m", "two"]), TEMPORARY);
    // Who receives reconnects by itself, and what waits goes.
    let connected = people.alice.listen();
    connected.wait_for(&[("event", "connection"), ("state", "lost")]);
    let _a = people.a.start();
    connected.wait_for(&[("event", "connection"), ("state", "connected")]);
    let receiving = people.bob.listen();
    receiving.wait_for(&[("text", "two")]);
    people.alice.done(&["send", "bob@b.test", "-m", "three", "--wait", "60"]);
    receiving.wait_for(&[("text", "three")]);
    assert_eq!(receiving.texts(), ["one", "two", "three"]);
    let states = people.alice.rows(&["history", "bob", "--json"]);
    assert!(states.iter().all(|row| row["fates"][0]["state"] != "waiting"), "{states:?}");
}

#[test]
fn a_server_that_proves_nothing_is_told_nothing() {
    let people = People::new();
    let config = people.alice.home.join("config/impart/config.toml");
    let before = fs::read_to_string(&config).unwrap();
    let ca = before.lines().find(|line| line.starts_with("ca = ")).unwrap();
    let logins = people.a.log().matches("has logged in").count();
    // An authority that has not signed what the server shows.
    let other = people.alice.home.join("other.pem");
    let options = AuthorityOptions::new("Other", Timestamp::from(SystemTime::now()));
    make::write_pem(&other, &Authority::root(&options).unwrap().pem()).unwrap();
    fs::write(&config, before.replace(ca, &format!("ca = {other:?}"))).unwrap();
    let output = people.alice.run(&["send", "bob@b.test", "-m", "secret words"]);
    assert!(!output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("certificate") && said(&output).contains("waits in the outbox"),
        "{}",
        said(&output)
    );
    assert_eq!(people.a.log().matches("has logged in").count(), logins);
    fs::write(&config, before).unwrap();
    people.alice.done(&["send", "bob@b.test", "-m", "more words"]);
    let receiving = people.bob.listen();
    receiving.wait_for(&[("text", "more words")]);
    assert_eq!(receiving.texts(), ["secret words", "more words"]);
}

#[test]
fn who_no_longer_reads_gets_nothing_more() {
    let people = People::new();
    // The reader ends after the first line, which tells of the connection.
    let reading = people.bob.listen_by("\"$0\" listen --json | head -n 1");
    reading.wait_for(&[("state", "connected")]);
    for text in ["one", "two"] {
        people.alice.done(&["send", "bob@b.test", "-m", text, "--wait", "60"]);
    }
    // It ends at what it cannot print; the history has what came, and the server what did not.
    let second = wait::until("another may receive", || {
        let output = people.bob.run(&["history", "alice", "--json"]);
        let rows = String::from_utf8_lossy(&output.stdout).lines().count();
        (rows >= 1).then(|| people.bob.listen())
    });
    second.wait_for(&[("state", "connected")]);
    wait::until("both are in the history", || {
        (people.bob.rows(&["history", "alice", "--json"]).len() == 2).then_some(())
    });
}

#[test]
fn who_receives_notices_that_the_server_went() {
    let mut people = People::new();
    let receiving = people.bob.listen();
    receiving.wait_for(&[("state", "connected")]);
    people.daemons.remove(1).kill();
    receiving.wait_for(&[("state", "lost")]);
    people.alice.done(&["send", "bob@b.test", "-m", "while it was gone"]);
    let _b = people.b.start();
    receiving.wait_for(&[("text", "while it was gone")]);
}

#[test]
fn what_cannot_be_kept_stays_at_the_server() {
    let people = People::new();
    // No file may grow beyond 4 KiB.
    let full = people.bob.listen_by("trap '' XFSZ; ulimit -f 8; exec \"$0\" listen --json");
    full.wait_for(&[("state", "connected")]);
    people.alice.done(&["send", "bob@b.test", "-m", &"long ".repeat(2000)]);
    full.wait_for(&[("state", "trouble")]);
    assert_eq!(texts(&full.kill()).len(), 0, "what is not kept is not shown");
    let receiving = people.bob.listen();
    receiving.wait_for(&[("event", "message")]);
    assert_eq!(receiving.texts(), ["long ".repeat(2000).trim_end()]);
}

#[test]
fn the_second_that_receives_is_told_so() {
    let people = People::new();
    let receiving = people.bob.listen();
    receiving.wait_for(&[("state", "connected")]);
    let output = people.bob.run(&["listen"]);
    assert!(!output.status.success() && said(&output).contains("another"), "{}", said(&output));
    // Sending goes on beside it, and the receipt is found in the common history.
    people.bob.done(&["send", "alice@a.test", "-m", "beside", "--wait", "60"]);
}

#[test]
fn the_author_is_told_that_it_was_displayed_only_where_the_reader_allows() {
    let people = People::new();
    let config = people.bob.home.join("config/impart/config.toml");
    let no = fs::read_to_string(&config).unwrap();
    assert!(no.contains("displayed = \"no\""), "{no}");
    let told = people.alice.listen();
    let ask = |text: &str| {
        let line = people.alice.done(&["send", "bob@b.test", "-m", text, "--displayed"]);
        line.split_whitespace().last().unwrap().to_owned()
    };
    let hidden = ask("hidden");
    people.bob.done(&["listen", "--once"]);
    fs::write(&config, no.replace("displayed = \"no\"", "displayed = \"yes\"")).unwrap();
    let shown = ask("shown");
    people.bob.done(&["listen", "--once"]);
    told.wait_for(&[("event", "displayed"), ("id", &shown), ("by", "bob@b.test")]);
    assert!(!told.events().iter().any(|event| event["event"] == "displayed" && event["id"] == *hidden));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_sent() {
    let people = People::new();
    code(&people.alice.run(&["send"]), USAGE);
    code(&people.alice.run(&["send", "bo", "-m", "x"]), USAGE);
    assert!(
        code(&people.alice.run(&["-a", "eve", "send", "bob@b.test", "-m", "x"]), CONFIG).contains("no account eve")
    );
    let mut child = people.alice.command(&["send", "bob@b.test"]);
    let file = people.alice.home.join("latin");
    fs::write(&file, b"gr\xfc\xdfe").unwrap();
    let output = child.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert!(code(&output, DATA).contains("not UTF-8"));
    code(&people.alice.run(&["send", "bob@b.test", "-m", "x", "--attach", "nowhere"]), NO_INPUT);
    let unknown = ["send", "bob@b.test", "-m", "x", "--reply-to-id", "<nothing@x>"];
    assert!(code(&people.alice.run(&unknown), USAGE).contains("is the Message-ID of no message of the history"));
    code(&people.alice.run(&["history", "--save", "<1@x>"]), DATA);
    assert!(people.alice.done(&["history"]).is_empty(), "nothing was written down");
    let history = people.alice.home.join("data/impart/alice@a.test/history.jsonl");
    let lines = fs::read_to_string(&history).unwrap();
    fs::write(&history, lines.replacen('1', "99", 1)).unwrap();
    code(&people.alice.run(&["send", "bob@b.test", "-m", "x"]), CONFIG);
    assert!(fs::read_to_string(&history).unwrap().contains("99"), "a file of another version stays as it is");
}
