//! Plays: what the server says (`S:`), what the client must then have written (`C:`), and what became of each recipient.

use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::*;

mod against_server;
mod lmtp;
mod login;
mod model;

const HELLO: &str = "S: 220 b.example\nC: EHLO a.example\n";

fn options() -> Options {
    Options {
        helo: Domain::parse("a.example").unwrap(),
        starttls: StartTls::Never,
        helo_fallback: true,
        lmtp: false,
        window: 128,
        timeouts: Timeouts::default(),
        login: None,
    }
}

fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    let recipient = |address: &&str| Recipient {
        address: Mailbox::parse(&format!("{address}@b.example")).unwrap(),
        notify: None,
        original: None,
    };
    Envelope {
        class: Class::Im,
        sender: match sender {
            "" => ReversePath::Null,
            local => ReversePath::Mailbox(Mailbox::parse(&format!("{local}@a.example")).unwrap()),
        },
        body: Body::SevenBit,
        utf8: false,
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: recipients.iter().map(recipient).collect(),
    }
}

fn message(token: u64, recipients: &[&str], entity: &str) -> Transaction {
    Transaction {
        token,
        envelope: Arc::new(envelope("x", recipients)),
        recipients: (0..recipients.len()).collect(),
        entity: Bytes::from(entity.to_owned()),
    }
}

fn with(mut message: Transaction, change: impl FnOnce(&mut Envelope)) -> Transaction {
    change(Arc::make_mut(&mut message.envelope));
    message
}

fn show(event: Event) -> Vec<String> {
    match event {
        Event::StartTls => vec!["tls".to_owned()],
        Event::Ready => vec![],
        Event::Turned => vec!["turned".to_owned()],
        Event::Over(None) => vec!["over".to_owned()],
        Event::Over(Some(fault)) => vec![format!("over: {fault}")],
        Event::Done { token, fates } => fates
            .into_iter()
            .map(|(index, fate)| {
                let fate = match fate {
                    Fate::Accepted { reply, reports: true } => format!("accepted {reply}"),
                    Fate::Accepted { reply, reports: false } => format!("relayed {reply}"),
                    Fate::Refused { reply } => format!("refused {reply}"),
                    Fate::Unfit { status, .. } => format!("unfit {status}"),
                    Fate::Lost { uncertain: true } => "uncertain".to_owned(),
                    Fate::Lost { uncertain: false } => "lost".to_owned(),
                };
                format!("{token}.{index} {fate}")
            })
            .collect(),
    }
}

/// Runs a script, the server's octets in pieces of `piece`. Lines: `S:`, `C:`, `TLS` the handshake is done, `QUIT`, `NOOP`,
/// `LOST`, `TIMEOUT`.
fn run(options: Options, protection: Protection, messages: &[Transaction], script: &str, piece: usize) -> Vec<String> {
    let start = Instant::now();
    let mut session = Session::new(Arc::new(options), protection, start);
    let mut messages = messages.iter().cloned();
    let mut events = Vec::new();
    let (mut input, mut written) = (BytesMut::new(), String::new());
    let mut turn = |session: &mut Session, written: &mut String| {
        loop {
            while session.wants() {
                let Some(message) = messages.next() else { break };
                session.submit(message, Timestamp::from_secs(1000), start);
            }
            let octets = session.output(start).len();
            written.push_str(std::str::from_utf8(session.output(start)).unwrap());
            session.wrote(octets, start);
            while let Some(event) = session.poll() {
                events.extend(show(event));
            }
            if octets == 0 {
                return;
            }
        }
    };
    for line in script.lines() {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("S", text) => {
                assert_eq!(written, "", "before {line}");
                for bytes in format!("{text}\r\n").as_bytes().chunks(piece) {
                    input.extend_from_slice(bytes);
                    session.input(&mut input, start);
                    turn(&mut session, &mut written);
                }
            }
            ("C", text) => {
                let rest = written.strip_prefix(&format!("{text}\r\n"));
                written = rest.unwrap_or_else(|| panic!("expected {text:?}, got {written:?}")).to_owned();
            }
            ("TLS", _) => session.tls_started(Protection::Proven, start),
            ("QUIT", _) => session.quit(start),
            ("NOOP", _) => session.noop(start),
            ("LOST", _) => session.lost(Fault::Disconnected("reset".to_owned())),
            ("TIMEOUT", _) => session.timed_out(),
            _ => panic!("{line}"),
        }
        turn(&mut session, &mut written);
    }
    assert_eq!(written, "", "at the end");
    events
}

#[track_caller]
fn check_with(options: Options, protection: Protection, messages: &[Transaction], script: &str, expected: &[&str]) {
    for piece in [1, 3, usize::MAX] {
        assert_eq!(run(options.clone(), protection, messages, script, piece), expected, "in pieces of {piece}");
    }
}

#[track_caller]
fn check(messages: &[Transaction], script: &str, expected: &[&str]) {
    check_with(options(), Protection::Clear, messages, &format!("{HELLO}{script}"), expected);
}

#[test]
fn a_sign_of_life() {
    check(
        &[],
        "S: 250 b.example\nNOOP\nC: NOOP\nNOOP\nS: 250 ok\nNOOP\nC: NOOP\nQUIT\nS: 500 what\nQUIT\nC: QUIT",
        &[],
    );
    let asks = "S: 250 b.example\nNOOP\nC: NOOP\n";
    check(&[], &format!("{asks}TIMEOUT"), &["over: timed out while waiting for its answer to NOOP"]);
    check(&[], &format!("{asks}S: 421 4.3.2 bye"), &["over: it said: 421 4.3.2 bye"]);
    check(&[], "NOOP\nS: 250 b.example\nS: 250 unasked", &["over: it broke the protocol: a reply to no command"]);
}

#[test]
fn a_sign_of_life_and_a_transaction() {
    let start = Instant::now();
    for (keywords, goes_on) in
        [("", false), ("250-PIPELINING\r\n", false), ("250-PIPELINING\r\n250-CHUNKING\r\n250-IMPP IM\r\n", true)]
    {
        let mut session = Session::new(Arc::new(options()), Protection::Clear, start);
        let feed = |session: &mut Session, text: &str| session.input(&mut BytesMut::from(text), start);
        feed(&mut session, "220 b\r\n");
        session.wrote(session.output.len(), start);
        feed(&mut session, &format!("250-b\r\n{keywords}250 HELP\r\n"));
        session.noop(start);
        assert_eq!(session.output(start), b"NOOP\r\n");
        session.wrote(6, start);
        assert_eq!(session.deadline(), Some(start + Duration::from_secs(20)));
        session.submit(message(1, &["bob"], "hi\r\n"), Timestamp::from_secs(1000), start);
        assert_eq!(!session.output(start).is_empty(), goes_on, "{keywords}");
        feed(&mut session, "250 ok\r\n");
        assert!(!session.output(start).is_empty() && session.fault().is_none());
    }
}

#[test]
fn an_idle_session_holds_no_memory() {
    let start = Instant::now();
    let mut session = Session::new(Arc::new(options()), Protection::Clear, start);
    session.input(&mut BytesMut::from("220 b\r\n"), start);
    session.wrote(session.output.len(), start);
    session.input(&mut BytesMut::from("250 b\r\n"), start);
    while session.poll().is_some() {}
    session.rest();
    assert_eq!((session.output.capacity(), session.flights.capacity(), session.events.capacity()), (0, 0, 0));
}

#[test]
fn lockstep() {
    check(
        &[message(1, &["bob"], "hi\r\n"), message(2, &["bob", "no"], ".\r\n")],
        "S: 250 b.example\nC: MAIL FROM:<x@a.example>\nS: 250 ok\nC: RCPT TO:<bob@b.example>\nS: 250 ok\nC: DATA\n\
         S: 354 go\nC: hi\nC: .\nS: 250 stored\n\
         C: MAIL FROM:<x@a.example>\nS: 250 ok\nC: RCPT TO:<bob@b.example>\nS: 250 ok\nC: RCPT TO:<no@b.example>\n\
         S: 550 5.1.1 who\nC: DATA\nS: 354 go\nC: ..\nC: .\nS: 450 later\nQUIT\nC: QUIT\nS: 221 bye",
        &["1.0 relayed 250 stored", "2.0 refused 450 later", "2.1 refused 550 5.1.1 who", "over"],
    );
}

#[test]
fn lockstep_without_recipients_resets() {
    check(
        &[message(1, &["bob"], "hi\r\n"), message(2, &["bob"], "hi\r\n"), message(3, &["bob"], "hi\r\n")],
        "S: 250 b.example\nC: MAIL FROM:<x@a.example>\nS: 250 ok\nC: RCPT TO:<bob@b.example>\nS: 550 no\nC: RSET\n\
         S: 250 ok\nC: MAIL FROM:<x@a.example>\nS: 451 busy\nC: MAIL FROM:<x@a.example>\nS: 250 ok\n\
         C: RCPT TO:<bob@b.example>\nS: 250 ok\nC: DATA\nS: 554 none",
        &["1.0 refused 550 no", "2.0 refused 451 busy", "3.0 refused 554 none"],
    );
}

#[test]
fn helo_after_a_refused_ehlo() {
    check(
        &[message(1, &["bob"], "hi")],
        "S: 502 what\nC: HELO a.example\nS: 250 b\nC: MAIL FROM:<x@a.example>\nS: 250 ok\nC: RCPT TO:<bob@b.example>\n\
         S: 250 ok\nC: DATA\nS: 354 go\nC: hi\nC: .\nS: 250 stored",
        &["1.0 relayed 250 stored"],
    );
    check(&[], "S: 421 busy", &["over: it said: 421 busy"]);
    let strict = Options { helo_fallback: false, ..options() };
    let script = format!("{HELLO}S: 502 what");
    check_with(strict, Protection::Clear, &[], &script, &["over: it said: 502 what"]);
}

#[test]
fn refused_greeting() {
    check_with(options(), Protection::Clear, &[], "S: 554 no service", &["over: it said: 554 no service"]);
}

const PIPELINED: &str = "S: 250-b.example\nS: 250 PIPELINING\n";

#[test]
fn the_next_transaction_goes_out_with_the_text() {
    check(
        &[message(1, &["bob"], "one\r\n"), message(2, &["bob"], "two\r\n")],
        &format!(
            "{PIPELINED}C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n\
             C: one\nC: .\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\n\
             S: 250 stored\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: two\nC: .\nS: 250 stored"
        ),
        &["1.0 relayed 250 stored", "2.0 relayed 250 stored"],
    );
}

#[test]
fn a_lone_dot_after_354_without_recipients() {
    check(
        &[message(1, &["bob"], "one\r\n"), message(2, &["bob"], "two\r\n")],
        &format!(
            "{PIPELINED}C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\nS: 250 ok\nS: 550 no\nS: 354 go\n\
             C: .\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\nS: 554 none\n\
             S: 250 ok\nS: 550 no\nS: 554 none"
        ),
        &["1.0 refused 550 no", "2.0 refused 550 no"],
    );
    check(
        &[message(1, &["bob"], "one\r\n"), message(2, &["bob"], "two\r\n")],
        &format!(
            "{PIPELINED}C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\nS: 250 ok\nS: 550 no\nS: 503 none\n\
             C: RSET\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\n\
             S: 250 ok\nS: 550 sender\nS: 503 mail\nS: 503 mail"
        ),
        &["1.0 refused 550 no", "2.0 refused 550 sender"],
    );
}

#[test]
fn chunks_wait_for_recipients_where_there_is_no_impp() {
    check(
        &[message(1, &["bob", "no"], "one\r\n"), message(2, &["no"], "two\r\n"), message(3, &["bob"], "x\r\n")],
        "S: 250-b.example\nS: 250-CHUNKING\nS: 250-DSN\nS: 250-SIZE 1000\nS: 250 PIPELINING\n\
         C: MAIL FROM:<x@a.example> SIZE=5\nC: RCPT TO:<bob@b.example>\nC: RCPT TO:<no@b.example>\n\
         S: 250 ok\nS: 250 ok\nS: 550 no\nC: BDAT 5 LAST\nC: one\nC: RSET\nC: MAIL FROM:<x@a.example> SIZE=5\n\
         C: RCPT TO:<no@b.example>\nS: 250 2.0.0 stored\nS: 250 ok\nS: 250 ok\nS: 550 no\n\
         C: RSET\nC: MAIL FROM:<x@a.example> SIZE=3\nC: RCPT TO:<bob@b.example>\nS: 250 ok\nS: 250 ok\nS: 250 ok\n\
         C: BDAT 3 LAST\nC: x\nS: 452 4.3.1 full",
        &["1.0 accepted 250 2.0.0 stored", "1.1 refused 550 no", "2.0 refused 550 no", "3.0 refused 452 4.3.1 full"],
    );
}

const IMPP: &str = "S: 250-b.example\nS: 250-PIPELINING\nS: 250-CHUNKING\nS: 250-DSN\nS: 250 IMPP IM PRES\n";

#[test]
fn many_in_flight() {
    let group = |entity: &str| {
        format!(
            "C: RSET\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: BDAT {} LAST\nC: {entity}\n",
            entity.len() + 2
        )
    };
    let replies = "S: 250 ok\nS: 250 ok\nS: 250 ok\n";
    check(
        &[message(1, &["bob"], "one\r\n"), message(2, &["bob"], "two\r\n"), message(3, &["bob"], "three\r\n")],
        &format!(
            "{IMPP}{}{}{}{replies}S: 250 stored 1\nS: 250 ok\nS: 550 sender\nS: 503 no\nS: 503 no\n\
             S: 250 ok\nS: 250 ok\nS: 550 who\nS: 503 no",
            group("one"),
            group("two"),
            group("three")
        ),
        &["1.0 accepted 250 stored 1", "2.0 refused 550 sender", "3.0 refused 550 who"],
    );
    check(
        &[message(1, &["bob"], "one\r\n"), message(2, &["bob"], "two\r\n")],
        &format!("{IMPP}{}{}{replies}S: 250 stored 1\nS: 250 ok\nLOST", group("one"), group("two")),
        &["1.0 accepted 250 stored 1", "2.0 uncertain", "over: the connection was lost: reset"],
    );
    check(
        &[message(1, &["bob"], "one\r\n")],
        &format!("{IMPP}{}{replies}TIMEOUT", group("one")),
        &["1.0 uncertain", "over: timed out while waiting for its answer to the message"],
    );
    check(
        &[message(1, &["bob"], "one\r\n")],
        &format!("{IMPP}{}{replies}S: 421 4.3.2 down", group("one")),
        &["1.0 lost", "over: it said: 421 4.3.2 down"],
    );
    check(
        &[message(1, &["bob"], "one\r\n"), message(2, &["bob"], "two\r\n")],
        &format!("{IMPP}{}{}{replies}S: 421 4.3.2 down", group("one"), group("two")),
        &["1.0 lost", "2.0 lost", "over: it said: 421 4.3.2 down"],
    );
}

#[test]
fn a_refusal_that_has_come_counts_whatever_follows() {
    check(
        &[message(1, &["bob"], "one\r\n")],
        &format!(
            "{IMPP}C: RSET\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: BDAT 5 LAST\nC: one\n\
             S: 250 ok\nS: 250 ok\nS: 550 who\nLOST"
        ),
        &["1.0 refused 550 who", "over: the connection was lost: reset"],
    );
}

#[test]
fn large_entities_go_in_chunks() {
    let entity = "x".repeat(crate::limits::CHUNK_OCTETS + 1) + "\r\n";
    let (one, two) = entity.split_at(crate::limits::CHUNK_OCTETS);
    check(
        &[message(1, &["bob"], &entity)],
        &format!(
            "{IMPP}C: RSET\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: BDAT 65536\nC: {one}BDAT 3 LAST\nC: {}\n\
             S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 more\nS: 250 stored",
            two.trim_end()
        ),
        &["1.0 accepted 250 stored"],
    );
}

#[test]
fn an_empty_entity_is_one_empty_chunk() {
    check(
        &[message(1, &["bob"], "")],
        &format!(
            "{IMPP}C: RSET\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: BDAT 0 LAST\n\
             S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 stored"
        ),
        &["1.0 accepted 250 stored"],
    );
}

#[test]
fn broken_replies() {
    for (said, words) in [
        ("hello", "a line is not a reply"),
        ("250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 more", "a reply to no command"),
        ("354 go", "354 where no data was announced"),
        ("550 no", "RSET was refused"),
    ] {
        let events = run(
            options(),
            Protection::Clear,
            &[message(1, &["bob"], "one\r\n")],
            &format!(
                "{HELLO}{IMPP}C: RSET\nC: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: BDAT 5 LAST\nC: one\nS: {said}"
            ),
            1,
        );
        assert_eq!(events.last().unwrap(), &format!("over: it broke the protocol: {words}"), "{said}");
    }
    check(&[], "S: 250 b.example\nS: 250 x", &["over: it broke the protocol: a reply to no command"]);
    check(&[], "S: 250 b.example\nS: 421 idle", &["over: it said: 421 idle"]);
    check(
        &[message(1, &["bob"], "one\r\n")],
        &format!(
            "{PIPELINED}C: MAIL FROM:<x@a.example>\nC: RCPT TO:<bob@b.example>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok"
        ),
        &["1.0 lost", "over: it broke the protocol: DATA was answered by a code of completion"],
    );
}

#[test]
fn starttls() {
    let must = Options { starttls: StartTls::Must, ..options() };
    let offered = format!("{HELLO}S: 250-b.example\nS: 250 STARTTLS\nC: STARTTLS\n");
    check_with(
        must.clone(),
        Protection::Clear,
        &[],
        &format!("{offered}S: 220 go\nTLS\nC: EHLO a.example\nS: 250-b.example\nS: 250 STARTTLS"),
        &["tls"],
    );
    let refused = ["over: it does not offer STARTTLS, which the route requires"];
    check_with(must.clone(), Protection::Clear, &[], &format!("{offered}S: 454 not now"), &refused);
    check_with(must.clone(), Protection::Clear, &[], &format!("{HELLO}S: 250 b.example"), &refused);
    let may = Options { starttls: StartTls::IfOffered, ..options() };
    check_with(may, Protection::Clear, &[], &format!("{offered}S: 454 not now\nQUIT\nC: QUIT\nS: 221 bye"), &["over"]);
}

#[test]
fn text_after_the_answer_to_starttls_is_an_attack() {
    let must = Options { starttls: StartTls::Must, ..options() };
    let now = Instant::now();
    let mut session = Session::new(Arc::new(must), Protection::Clear, now);
    let mut input = BytesMut::from("220 b\r\n250-b\r\n250 STARTTLS\r\n220 go\r\n250 injected\r\n");
    session.input(&mut input, now);
    let events: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[1], Event::Over(Some(Fault::Protocol(_)))), "{events:?}");
}

#[test]
fn unfit_for_the_hop() {
    let check = |shown: &str, protection, message: Transaction, expected: &str| {
        let script = format!("{HELLO}S: 250-b.example\n{shown}S: 250 DSN");
        check_with(options(), protection, &[message], &script, &[expected]);
    };
    let by = |at, mode| Some(DeliverBy { at: Timestamp::from_secs(at), mode, trace: false });
    let plain = message(1, &["bob"], "hi\r\n");
    let clear = Protection::Clear;
    check("", clear, with(plain.clone(), |e| e.class = Class::Pres), "1.0 unfit 5.3.3");
    check("S: 250-IMPP IM\n", clear, with(plain.clone(), |e| e.class = Class::Pres), "1.0 unfit 5.3.3");
    check("S: 250-IMPP PRES\n", clear, plain.clone(), "1.0 unfit 5.3.3");
    check("S: 250-SIZE 3\n", clear, plain.clone(), "1.0 unfit 5.3.4");
    let eight = with(message(1, &["bob"], "h\u{e4}\r\n"), |e| e.body = Body::EightBitMime);
    check("", clear, eight.clone(), "1.0 unfit 5.6.3");
    let binary = with(plain.clone(), |e| e.body = Body::BinaryMime);
    check("S: 250-8BITMIME\nS: 250-CHUNKING\n", clear, binary.clone(), "1.0 unfit 5.6.3");
    check("S: 250-BINARYMIME\n", clear, binary, "1.0 unfit 5.6.3");
    check("S: 250-8BITMIME\n", clear, with(eight, |e| e.utf8 = true), "1.0 unfit 5.6.7");
    check("", clear, with(message(1, &["böb"], "hi\r\n"), |e| e.utf8 = true), "1.0 unfit 5.6.7");
    check("", clear, with(plain.clone(), |e| e.deliver_by = by(1060, ByMode::Return)), "1.0 unfit 5.4.7");
    let late = with(plain.clone(), |e| e.deliver_by = by(1060, ByMode::Return));
    check("S: 250-DELIVERBY 61\n", clear, late.clone(), "1.0 unfit 5.4.7");
    check("S: 250-DELIVERBY\n", clear, with(late, |e| e.deliver_by = by(1000, ByMode::Return)), "1.0 unfit 5.4.7");
    let secret = with(plain, |e| e.require_tls = true);
    check("", Protection::Proven, secret.clone(), "1.0 unfit 5.7.30");
    check("S: 250-REQUIRETLS\n", Protection::Encrypted, secret.clone(), "1.0 unfit 5.7.30");
    check("S: 250-REQUIRETLS\n", clear, secret, "1.0 unfit 5.7.10");
}

/// The commands of one transaction to a hop that shows these extensions.
fn commands(shown: &[&str], message: Transaction) -> String {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(options()), Protection::Proven, now);
    let shown: String = shown.iter().map(|line| format!("250-{line}\r\n")).collect();
    session.input(&mut BytesMut::from(format!("220 b\r\n250-b\r\n{shown}250 PIPELINING\r\n").as_str()), now);
    let greeting = session.output(now).len();
    session.wrote(greeting, now);
    session.submit(message, Timestamp::from_secs(1000), now);
    String::from_utf8(session.output(now).to_vec()).unwrap().replace("DATA\r\n", "")
}

#[test]
fn parameters_only_where_the_hop_offers_them() {
    let all = ["SIZE", "8BITMIME", "SMTPUTF8", "DSN", "DELIVERBY", "REQUIRETLS", "IMPP IM PRES"];
    let message = with(message(1, &["b\u{f6}b"], "hi\r\n"), |e| {
        e.class = Class::Pres;
        e.body = Body::EightBitMime;
        e.utf8 = true;
        e.ret = Some(Ret::Hdrs);
        e.envid = Some("a+b".to_owned());
        e.deliver_by = Some(DeliverBy { at: Timestamp::from_millis(1_060_900), mode: ByMode::Return, trace: true });
        e.require_tls = true;
        e.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
        let kind = "rfc822".to_owned();
        e.recipients[0].original = Some(OriginalRecipient { kind, address: "b=b@c.example".to_owned() });
    });
    assert_eq!(
        commands(&all, message.clone()),
        "MAIL FROM:<x@a.example> BODY=8BITMIME SMTPUTF8 SIZE=4 RET=HDRS ENVID=a+2Bb BY=60;RT REQUIRETLS IMPP=PRES\r\n\
         RCPT TO:<b\u{f6}b@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+3Db@c.example\r\n"
    );
    let less = with(message, |e| {
        e.class = Class::Im;
        e.utf8 = false;
        e.deliver_by = None;
        e.require_tls = false;
        e.sender = ReversePath::Null;
    });
    assert_eq!(commands(&[], less), "MAIL FROM:<>\r\nRCPT TO:<b\u{f6}b@b.example>\r\n");
}

#[test]
fn deliver_by_of_mode_n_where_the_hop_does_not_know_it() {
    let late = with(message(1, &["bob"], "hi\r\n"), |e| {
        e.deliver_by = Some(DeliverBy { at: Timestamp::from_secs(990), mode: ByMode::Notify, trace: false });
    });
    let ask_delay = "MAIL FROM:<x@a.example>\r\nRCPT TO:<bob@b.example> NOTIFY=FAILURE,DELAY\r\n";
    assert_eq!(commands(&["DSN"], late.clone()), ask_delay);
    assert_eq!(commands(&["DELIVERBY 30"], late), "MAIL FROM:<x@a.example> BY=-10;N\r\nRCPT TO:<bob@b.example>\r\n");
}

#[test]
fn limits_of_the_hop() {
    let group = |rcpt: &str| format!("MAIL FROM:<x@a.example>\nC: {rcpt}\nC: DATA\n");
    let shown = "S: 250-b.example\nS: 250-PIPELINING\n";
    let (ann, bob) = (group("RCPT TO:<ann@b.example>"), group("RCPT TO:<bob@b.example>"));
    check(
        &[message(1, &["ann", "bob"], "x\r\n")],
        &format!(
            "{shown}S: 250 LIMITS RCPTMAX=1\nC: {ann}S: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nC: {bob}S: 250 one\n\
             S: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 two"
        ),
        &["1.0 relayed 250 one", "1.1 relayed 250 two"],
    );
    check(
        &[message(1, &["ann", "bob"], "x\r\n"), message(2, &["bob"], "x\r\n")],
        &format!(
            "{shown}S: 250 LIMITS RCPTMAX=1 MAILMAX=1\nC: {ann}S: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 one\n\
             QUIT\nC: QUIT\nS: 221 bye"
        ),
        &["1.0 relayed 250 one", "1.1 lost", "over"],
    );
}

#[test]
fn deadlines() {
    let start = Instant::now();
    let mut session = Session::new(Arc::new(options()), Protection::Clear, start);
    let after = |session: &Session| session.deadline().map(|at| at.duration_since(start).as_secs());
    assert_eq!(after(&session), Some(300), "greeting");
    let at = |seconds| start + Duration::from_secs(seconds);
    session.input(&mut BytesMut::from("220 b\r\n"), at(10));
    session.input(&mut BytesMut::from("250-b\r\n250 PIPELINING\r\n"), at(20));
    assert_eq!(after(&session), Some(200), "EHLO is still to be written");
    let octets = session.output(at(30)).len();
    session.wrote(octets, at(30));
    assert_eq!(after(&session), None, "idle");
    session.submit(message(1, &["bob"], "x\r\n"), Timestamp::from_secs(0), at(100));
    assert_eq!(after(&session), Some(400), "MAIL");
    session.input(&mut BytesMut::from("250 ok\r\n250 ok\r\n"), at(110));
    assert_eq!(after(&session), Some(230), "DATA");
    session.input(&mut BytesMut::from("354 go\r\n"), at(120));
    let octets = session.output(at(120)).len();
    session.wrote(octets, at(3400));
    assert_eq!(after(&session), Some(3700), "the whole transaction");
}
