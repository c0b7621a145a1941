//! Programs that log in and submit: msmtp, curl, and swaks where it has the modules for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::sink::Sink;
use crate::common::tools::{have, run, said};
use crate::names::certificate;

/// A daemon with a listener for clients, the account alice@a.test, and a sink behind it.
struct Home {
    directory: tempfile::TempDir,
    client: SocketAddr,
    trust: PathBuf,
    setup: Setup,
    _daemon: Daemon,
    sink: Sink,
}

impl Home {
    fn new() -> Home {
        let directory = tempfile::tempdir().unwrap();
        let (sink, client) = (Sink::start(), free_address());
        let named = certificate(directory.path(), "mx.a.test");
        let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
        let setup =
            Setup::new(directory.path()).route(&["b.test"], sink.address).with(&named.section()).with(&listener);
        setup.write();
        setup.account("alice@a.test", "secret");
        let daemon = setup.start();
        Home { directory, client, trust: named.chain, setup, _daemon: daemon, sink }
    }

    /// The message has come, and nothing of the client with it.
    fn arrived(&self, word: &str) {
        let arrivals = self.sink.wait(word, |arrivals| arrivals.iter().any(|a| a.entity.contains(word)));
        let entity = arrivals.iter().find(|a| a.entity.contains(word)).unwrap().entity.clone();
        let received = entity.lines().take(3).collect::<Vec<_>>().join("\n");
        assert!(received.starts_with("Received: from localhost\n\tby mx.a.test with ESMTPSA id "), "{entity}");
        assert!(!entity.contains("laptop.home.test") && !entity.contains("127.0.0.1"), "{entity}");
        assert!(entity.contains("\r\nMessage-ID: ") || entity.contains("\r\nMessage-Id: "), "{entity}");
    }
}

#[test]
fn msmtp_logs_in_and_submits() {
    if !have("msmtp_logs_in_and_submits", &["msmtp"]) {
        return;
    }
    let home = Home::new();
    let (port, trust) =
        (format!("--port={}", home.client.port()), format!("--tls-trust-file={}", home.trust.display()));
    let send = |from: &str, password: &str, text: &str| {
        let (from, password) = (format!("--from={from}"), format!("--passwordeval=echo {password}"));
        let arguments = [
            "--file=/dev/null",
            "--host=127.0.0.1",
            &port,
            "--auth=plain",
            "--user=alice@a.test",
            &password,
            "--tls=on",
            "--tls-starttls=off",
            &trust,
            "--tls-host-override=mx.a.test",
            "--domain=laptop.home.test",
            &from,
            "r@b.test",
        ];
        run("msmtp", &arguments, format!("Subject: x\n\n{text}\n").as_bytes())
    };
    let output = send("alice@a.test", "secret", "by-msmtp");
    assert!(output.status.success(), "{}", said(&output));
    home.arrived("by-msmtp");
    let output = send("alice@a.test", "guess", "never");
    assert!(!output.status.success() && said(&output).contains("535 5.7.8"), "{}", said(&output));
    let output = send("bob@a.test", "secret", "never");
    assert!(!output.status.success() && said(&output).contains("send as alice@a.test"), "{}", said(&output));
}

#[test]
fn curl_logs_in_and_submits() {
    if !have("curl_logs_in_and_submits", &["curl"]) {
        return;
    }
    let home = Home::new();
    let (file, trust) = (home.directory.path().join("entity"), home.trust.display().to_string());
    let url = format!("smtps://mx.a.test:{}/laptop.home.test", home.client.port());
    let resolve = format!("mx.a.test:{}:127.0.0.1", home.client.port());
    // Without a mechanism it takes the best that it knows: SCRAM-SHA-256, or PLAIN.
    for (word, options) in [("by-plain", Some("AUTH=PLAIN")), ("by-its-best", None)] {
        std::fs::write(&file, format!("To: r@b.test\r\n\r\n{word}\r\n")).unwrap();
        let path = file.display().to_string();
        let mut arguments =
            vec!["-sS", &url, "--resolve", &resolve, "--cacert", &trust, "--user", "alice@a.test:secret"];
        arguments.extend(["--mail-from", "alice@a.test", "--mail-rcpt", "r@b.test", "--upload-file", &path]);
        arguments.extend(options.map(|option| ["--login-options", option]).into_iter().flatten());
        let output = run("curl", &arguments, b"");
        assert!(output.status.success(), "{word}: {}\n{}", said(&output), home.setup.log());
        home.arrived(word);
    }
}

#[test]
fn swaks_logs_in_and_submits() {
    if !have("swaks_logs_in_and_submits", &["swaks"]) {
        return;
    }
    let support = said(&run("swaks", &["--support"], b""));
    if support.lines().any(|line| line.contains("TLS") && line.contains("not available")) {
        crate::common::tools::leave_out("swaks_logs_in_and_submits (swaks has no module for TLS)");
        return;
    }
    let home = Home::new();
    let (server, port) = ("127.0.0.1", home.client.port().to_string());
    let login = ["--tls-on-connect", "--auth", "PLAIN", "--auth-user", "alice@a.test", "--auth-password", "secret"];
    let base = ["--server", server, "--port", &port, "--from", "alice@a.test", "--to", "r@b.test"];
    let text = ["--ehlo", "laptop.home.test", "--body", "by-swaks"];
    let output = run("swaks", &[&base[..], &login[..], &text[..]].concat(), b"");
    assert!(output.status.success(), "{}", said(&output));
    home.arrived("by-swaks");
}
