//! Programs that send: smtp-source, swaks, msmtp, curl.

use crate::common::daemon::{Daemon, Setup};
use crate::common::sink::Sink;
use crate::common::tools::{have, run, said};

/// A daemon with a sink behind it.
fn relay() -> (tempfile::TempDir, Setup, Daemon, Sink) {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let setup = Setup::new(directory.path()).route(&["b.test", "c.test"], sink.address);
    let daemon = setup.start();
    (directory, setup, daemon, sink)
}

#[test]
fn smtp_source_sends_over_many_sessions() {
    if !have("smtp_source_sends_over_many_sessions", &["smtp-source"]) {
        return;
    }
    let (_directory, setup, daemon, sink) = relay();
    let server = setup.mail.to_string();
    for (keep, sessions) in [(true, "10"), (false, "3")] {
        let mut arguments = vec!["-s", sessions, "-m", "60", "-l", "1024", "-f", "s@a.test", "-t", "r@b.test"];
        arguments.extend(keep.then_some("-d"));
        arguments.push(&server);
        let output = run("smtp-source", &arguments, b"");
        assert!(output.status.success(), "{}", said(&output));
    }
    let arrivals = sink.wait("120 messages of smtp-source", |arrivals| arrivals.len() >= 120);
    assert_eq!(arrivals.len(), 120);
    assert!(arrivals.iter().all(|a| a.mail.starts_with("<s@a.test>") && a.field("Received").is_some()));
    assert!(daemon.stop().success(), "{}", setup.log());
}

#[test]
fn swaks_sends_with_and_without_pipelining() {
    if !have("swaks_sends_with_and_without_pipelining", &["swaks"]) {
        return;
    }
    let (_directory, setup, _daemon, sink) = relay();
    let server = setup.mail.to_string();
    let base = ["--server", &server, "--from", "alice@a.test", "--to", "r@b.test", "--ehlo", "client.a.test"];
    for pipeline in [false, true] {
        let mut arguments = [&base[..], &["--body", ".hello"]].concat();
        arguments.extend(pipeline.then_some("--pipeline"));
        let output = run("swaks", &arguments, b"");
        assert!(output.status.success(), "{}", said(&output));
    }
    let arrivals = sink.wait("two messages of swaks", |arrivals| arrivals.len() >= 2);
    assert!(arrivals.iter().all(|a| a.entity.contains("\r\n.hello\r\n")), "{arrivals:?}");
}

#[test]
fn octets_that_swaks_does_not_announce_are_labelled() {
    if !have("octets_that_swaks_does_not_announce_are_labelled", &["swaks"]) {
        return;
    }
    let (_directory, setup, _daemon, sink) = relay();
    let server = setup.mail.to_string();
    let base = ["--server", &server, "--from", "alice@a.test", "--to", "r@b.test", "--ehlo", "client.a.test"];
    let output = run("swaks", &[&base[..], &["--body", "grüße"]].concat(), b"");
    assert!(output.status.success(), "{}", said(&output));
    let arrivals = sink.wait("the message of swaks", |arrivals| !arrivals.is_empty());
    assert!(arrivals[0].mail.contains("BODY=8BITMIME"), "{arrivals:?}");
    assert_eq!(arrivals[0].field("Content-Type").as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(arrivals[0].field("Content-Transfer-Encoding").as_deref(), Some("8bit"));
}

#[test]
fn swaks_is_told_of_an_unknown_inbox() {
    if !have("swaks_is_told_of_an_unknown_inbox", &["swaks"]) {
        return;
    }
    let (_directory, setup, _daemon, _sink) = relay();
    let server = setup.mail.to_string();
    let output = run("swaks", &["--server", &server, "--from", "alice@a.test", "--to", "nobody@a.test"], b"");
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("550 5.1.1"), "{}", said(&output));
}

#[test]
fn msmtp_asks_for_a_receipt() {
    if !have("msmtp_asks_for_a_receipt", &["msmtp"]) {
        return;
    }
    let (_directory, setup, _daemon, sink) = relay();
    let port = format!("--port={}", setup.mail.port());
    let arguments = [
        "--file=/dev/null",
        "--host=127.0.0.1",
        &port,
        "--auth=off",
        "--tls=off",
        "--domain=client.c.test",
        "--from=s@c.test",
        "--dsn-notify=success,failure",
        "--dsn-return=hdrs",
        "r@b.test",
    ];
    let entity = b"From: s@c.test\nTo: r@b.test\nSubject: x\nMessage-ID: <msmtp@c.test>\n\n.leading dot\nhello\n";
    let output = run("msmtp", &arguments, entity);
    assert!(output.status.success(), "{}", said(&output));
    let arrivals = sink.wait("the message and its receipt", |arrivals| arrivals.len() >= 2);
    let message = arrivals.iter().find(|a| a.mail.starts_with("<s@c.test>")).expect("the message");
    assert!(message.entity.contains("\r\n.leading dot\r\n"), "{message:?}");
    let receipt = arrivals.iter().find(|a| a.mail.starts_with("<>")).expect("the receipt");
    assert!(receipt.entity.contains("Action: relayed"), "{receipt:?}");
    assert!(receipt.rcpts[0].starts_with("<s@c.test>"), "{receipt:?}");
}

#[test]
fn curl_sends() {
    if !have("curl_sends", &["curl"]) {
        return;
    }
    let (directory, setup, _daemon, sink) = relay();
    let file = directory.path().join("entity");
    std::fs::write(&file, "From: alice@a.test\r\nTo: r@b.test\r\nMessage-ID: <curl@a.test>\r\n\r\nhello\r\n").unwrap();
    let url = format!("smtp://{}/client.a.test", setup.mail);
    let file = file.display().to_string();
    let arguments = ["-sS", &url, "--mail-from", "alice@a.test", "--mail-rcpt", "r@b.test", "--upload-file", &file];
    let output = run("curl", &arguments, b"");
    assert!(output.status.success(), "{}", said(&output));
    sink.wait("the message of curl", |arrivals| arrivals.iter().any(|a| a.entity.ends_with("hello\r\n")));
}
