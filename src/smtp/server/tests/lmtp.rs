//! LMTP: a reply for each recipient (RFC 2033).

use super::*;

fn mail_system() -> Session {
    let mut session = session(Options { service: Service::Mail, ..options() });
    session.output().clear();
    session
}

fn said(session: &mut Session) -> String {
    String::from_utf8(session.output().split().to_vec()).unwrap()
}

#[test]
fn only_the_mail_system_says_lhlo() {
    for service in [Service::Relay, Service::Client, Service::Odmr] {
        let mut session = session(Options { service, ..options() });
        session.output().clear();
        let said = properties::run(&mut session, b"LHLO mx.a.example\r\n");
        assert!(said.starts_with("500 5.5.1"), "{said}");
    }
}

#[test]
fn a_reply_for_each_recipient() {
    let mut session = mail_system();
    let script =
        b"LHLO mx.a.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<refused@b.example>\r\n\
        RCPT TO:<c@b.example>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n";
    session.input(&mut BytesMut::from(&script[..]));
    let mut tickets = Vec::new();
    while let Some(event) = session.poll() {
        match event {
            Event::Mail(_) => session.answer(reply("250 2.1.0 ok")),
            Event::Rcpt(rcpt) if format!("{rcpt:?}").contains("refused") => session.answer(reply("550 5.1.1 no")),
            Event::Rcpt(_) => session.answer(reply("250 2.1.5 ok")),
            Event::Entity(transaction) => {
                assert!(transaction.lmtp && transaction.rcpts.len() == 1 && &transaction.entity[..] == b"x\r\n");
                tickets.push(transaction.ticket);
            }
            _ => {}
        }
    }
    let before = said(&mut session);
    assert!(
        !before.contains("CHUNKING") && !before.contains("BINARYMIME") && before.contains("PIPELINING"),
        "{before}"
    );
    assert_eq!(tickets.len(), 2);
    session.complete(tickets[1], reply("452 4.2.2 full"));
    session.complete(tickets[0], reply("250 2.0.0 taken"));
    assert_eq!(said(&mut session), "250 2.0.0 taken\r\n452 4.2.2 full\r\n250 2.0.0 ok\r\n");
}

#[test]
fn nobody_to_reply_for() {
    let mut session = mail_system();
    let said = properties::run(
        &mut session,
        b"LHLO mx.a.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<refused@b.example>\r\nDATA\r\n",
    );
    assert!(said.contains("503 5.5.1"), "{said}");
}

#[test]
fn what_is_too_large_is_refused_for_each() {
    let mut session = session(Options { service: Service::Mail, size: 10, ..options() });
    let script =
        b"LHLO mx.a.example\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\n\
        0123456789\r\n.\r\n";
    let said = properties::run(&mut session, script);
    assert_eq!(said.matches("552 5.3.4").count(), 2, "{said}");
}
