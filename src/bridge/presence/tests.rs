//! Commands in the forms in which mail programs send them; tokens; mails whole, against `tests/golden/bridge`.

use std::path::Path;

use super::*;
use crate::presence::{Contents, Mailing, Reason, State, Told};

const SECRET: [u8; 32] = [7; 32];

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

#[test]
fn commands() {
    let check = |mail: &str, expected: &str| {
        let found = Command::of(mail.replace('\n', "\r\n").as_bytes());
        let found = found.map_or("none".to_owned(), |command| match command {
            Command::Subscribe(whom) => format!("subscribe {whom}"),
            Command::Status(whom) => format!("status {whom}"),
            Command::Confirm(whom, token) => format!("confirm {whom} {token}"),
            Command::Unsubscribe(whom, token) => {
                let whom = whom.map_or("all".to_owned(), |whom| whom.to_string());
                format!("unsubscribe {whom} {}", token.unwrap_or_default())
            }
        });
        assert_eq!(found.trim_end(), expected, "{mail}");
    };
    check("Subject: subscribe bob@a.example\n\n", "subscribe bob@a.example");
    check("Subject: Subscribe  <bob@a.example>\n\nplease\n", "subscribe bob@a.example");
    check("Subject: STATUS pres:bob@a.example\n\n", "status bob@a.example");
    check("Subject: Re: confirm bob@a.example 1-ab\n\n", "confirm bob@a.example 1-ab");
    check("Subject: AW: RE: confirm bob@a.example\n 1-ab\n\n", "confirm bob@a.example 1-ab");
    check("Subject: =?utf-8?Q?Re:_confirm_bob@a.example_1-ab?=\n\n", "confirm bob@a.example 1-ab");
    check("Subject: unsubscribe all 12\n\n", "unsubscribe all 12");
    check("Subject: unsubscribe bob@a.example\n\n", "unsubscribe bob@a.example");
    check("Subject:\n\n\nsubscribe bob@a.example\nbye\n", "subscribe bob@a.example");
    check("Subject: hello\n\nstatus bob@a.example\n", "status bob@a.example");
    check("Subject: subscribe\n\n", "none");
    check("Subject: subscribe bob\n\n", "none");
    check("Subject: subscribe bob@a.example and more\n\n", "none");
    check("Subject: unsubscribe\n\n", "none");
    check("Subject: Lunch?\n\n> subscribe bob@a.example\n", "none");
    check(&format!("Subject: {}\n\n", "\u{e9}".repeat(3000)), "none");
}

#[test]
fn a_token_is_of_one_watcher_and_good_for_a_while() {
    let (now, domain) = (Timestamp::from_secs(1_795_000_000), Domain::parse("a.example").unwrap());
    let (alice, mallory) = (mailbox("alice@b.example"), mailbox("mallory@b.example"));
    let (bob, carol) = (mailbox("bob@a.example"), mailbox("carol@a.example"));
    let tokens = Tokens { secret: &SECRET, watcher: &alice, domain: &domain };
    let token = tokens.confirm(&bob, now);
    assert!(tokens.confirms(&bob, &token, now) && tokens.confirms(&bob, &token.to_uppercase(), now));
    assert!(!tokens.confirms(&carol, &token, now));
    assert!(!tokens.confirms(&bob, &token, now.after(Duration::from_secs(2 * 86_400 + 1))));
    assert!(!Tokens { watcher: &mallory, ..tokens }.confirms(&bob, &token, now));
    // Later than it was made for.
    let later = format!("{:x}-{}", now.after(Duration::from_secs(1_000_000)).secs(), token.split_once('-').unwrap().1);
    assert!(!tokens.confirms(&bob, &later, now));
    for broken in ["", "-", "x-y", "1-"] {
        assert!(!tokens.confirms(&bob, broken, now));
    }
    let end = tokens.end(Some(&bob));
    assert!(tokens.ends(Some(&bob), &end) && !tokens.ends(Some(&carol), &end) && !tokens.ends(None, &end));
    assert!(!tokens.confirms(&bob, &end, now));
    assert!(!Tokens { secret: &[8; 32], ..tokens }.ends(Some(&bob), &end));
}

const BUSY: &str = "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
    xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' entity='pres:bob@a.example'>\
    <tuple id='t'><status><basic>open</basic></status><contact>im:bob@a.example</contact></tuple>\
    <dm:person id='p'><rpid:activities><rpid:busy/></rpid:activities><dm:note>In a\nmeeting\u{202e} \u{e9}</dm:note>\
    </dm:person></presence>";

fn told(presentity: &str, state: State, view: Option<&str>) -> Told {
    let expires = Timestamp::from_secs(1_795_100_000);
    Told { presentity: mailbox(presentity), state, once: false, expires, view: view.map(str::to_owned) }
}

/// Compares a mail with `tests/golden/bridge/NAME.eml`, or writes it if UPDATE is set.
fn golden(name: &str, contents: Contents) -> String {
    let mailing = Mailing {
        token: 1,
        watcher: mailbox("alice@b.example"),
        domain: Domain::parse("a.example").unwrap(),
        contents,
        now: Timestamp::from_secs(1_795_000_000),
        entropy: [9; 16],
        until: Timestamp::from_secs(1_795_000_300),
    };
    let bridge = Domain::parse("im.a.example").unwrap();
    let (envelope, mail) =
        compose(&Facts { mailing: &mailing, bridge: &bridge, secret: &SECRET, unsubscribe: None }).unwrap();
    assert_eq!(envelope.sender.to_string(), "presence@a.example");
    let rules = crate::mime::Rules { body: envelope.body, utf8: envelope.utf8 };
    crate::mime::inspect(&mail, rules).unwrap_or_else(|defect| panic!("{name}: {defect}"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/bridge/{name}.eml"));
    let shown = String::from_utf8(mail.to_vec()).unwrap().replace("\r\n", "\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&path).unwrap_or_default(), "{name}");
    shown
}

#[test]
fn mails() {
    let confirm = golden("presence-confirm", Contents::Confirm(mailbox("bob@a.example")));
    // What is asked for can be answered as it is.
    let command = Command::of(confirm.replace("Subject: ", "Subject: Re: ").as_bytes());
    assert!(matches!(command, Some(Command::Confirm(whom, _)) if whom == mailbox("bob@a.example")));
    golden("presence-one", Contents::Told(vec![told("bob@a.example", State::Active, Some(BUSY))]));
    let rejected = State::Terminated(Some(Reason::Rejected));
    let several = vec![
        told("carol@a.example", State::Pending, None),
        told("bob@a.example", State::Active, Some(BUSY)),
        told("dave@a.example", rejected, None),
    ];
    golden("presence-several", Contents::Told(several));
    let over = golden("presence-over", Contents::Told(vec![told("dave@a.example", rejected, None)]));
    assert!(!over.contains("List-Unsubscribe"), "there is nothing to end");
}

#[test]
fn what_ends_by_a_click_is_read_as_it_was_written() {
    for presentity in [None, Some(mailbox("bob@a.example")), Some(mailbox("\"b & o%b\"@a.example"))] {
        let domain = Domain::parse("a.example").unwrap();
        let ending = Ending { watcher: mailbox("o'alice+x@b.example"), domain, presentity, token: "00ff".to_owned() };
        let url = ending.url("https://im.a.example/end");
        assert!(
            url.starts_with("https://im.a.example/end?w=") && url.is_ascii() && !url.contains(['<', '>', ' ']),
            "{url}"
        );
        assert_eq!(Ending::of(url.strip_prefix("https://im.a.example").unwrap()), Some(ending));
    }
    for target in [
        "/end",
        "/end?",
        "/end?w=a@b.example",
        "/end?w=x&d=a.example&p=&t=1",
        "/end?w=a%40b.example&d=a.example&p=%zz&t=1",
    ] {
        assert_eq!(Ending::of(target), None, "{target}");
    }
}
