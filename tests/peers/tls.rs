//! OpenSSL's s_client at the relay port: versions, ALPN, the certificate for the name that is asked for.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::common::daemon::{Setup, free_address};
use crate::common::tools::{find, have, run, said};
use crate::names::{Named, certificate};

/// A daemon with a relay listener and certificates for two of its names.
fn relay(directory: &Path) -> (Setup, Named, Named) {
    let one = certificate(directory, "mx.a.test");
    let two = certificate(directory, "mx.other.test");
    let mut setup = Setup::new(directory).with(&one.section()).with(&two.section());
    setup.relay = Some(free_address());
    (setup, one, two)
}

fn arguments<'a>(server: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["s_client", "-connect", server, "-crlf", "-ign_eof", "-alpn", "impp"], rest].concat()
}

/// An s_client that is spoken to line by line; killed when it is dropped.
struct Talk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn start(server: &str, rest: &[&str]) -> Talk {
        let mut command = Command::new(find("openssl").expect("openssl is installed"));
        command.args(arguments(server, rest)).arg("-quiet");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Talk { child, input, output }
    }

    /// Reads lines until one is the last of a reply.
    fn reply(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let octets = self.output.read_line(&mut line).expect("text");
            let last = octets == 0 || line.as_bytes().get(3) == Some(&b' ');
            lines.push(line.trim_end().to_owned());
            if last {
                return lines;
            }
        }
    }

    fn say(&mut self, line: &str) -> Vec<String> {
        writeln!(self.input, "{line}").expect("s_client takes input");
        self.input.flush().expect("s_client takes input");
        self.reply()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn s_client_speaks_with_the_relay_port() {
    if !have("s_client_speaks_with_the_relay_port", &["openssl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (setup, one, _) = relay(directory.path());
    let _daemon = setup.start();
    let server = setup.relay.expect("a relay listener").to_string();
    let trust = one.chain.display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let rest = [version, "-servername", "mx.a.test", "-CAfile", &trust, "-verify_return_error"];
        let mut talk = Talk::start(&server, &rest);
        assert!(talk.reply()[0].starts_with("220 mx.a.test "), "{version}");
        let hello = talk.say("EHLO mx.b.test");
        for keyword in ["IMPP IM", "PIPELINING", "CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN", "DELIVERBY"] {
            assert!(hello.iter().any(|line| line[4..].starts_with(keyword)), "{version}: {keyword} in {hello:?}");
        }
        assert!(hello.iter().any(|line| line == "250-REQUIRETLS" || line == "250 REQUIRETLS"), "{hello:?}");
        assert!(!hello.iter().any(|line| line.ends_with("STARTTLS")), "{hello:?}");
        assert!(talk.say("QUIT")[0].starts_with("221 "), "{version}");
    }
}

#[test]
fn s_client_is_shown_the_certificate_of_the_name_and_no_old_version() {
    if !have("s_client_is_shown_the_certificate_of_the_name_and_no_old_version", &["openssl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (setup, _, _) = relay(directory.path());
    let _daemon = setup.start();
    let server = setup.relay.expect("a relay listener").to_string();
    for name in ["mx.a.test", "mx.other.test"] {
        let output = run("openssl", &arguments(&server, &["-servername", name]), b"QUIT\n");
        let text = said(&output);
        assert!(text.contains(&format!("CN = {name}")) || text.contains(&format!("CN={name}")), "{name}: {text}");
        assert!(text.contains("ALPN protocol: impp"), "{text}");
    }
    let old = arguments(&server, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    let output = run("openssl", &old, b"QUIT\n");
    assert!(!said(&output).contains("220 mx.a.test"), "{}", said(&output));
    let other = ["s_client", "-connect", &server, "-alpn", "http/1.1", "-ign_eof"];
    let output = run("openssl", &other, b"QUIT\n");
    assert!(!said(&output).contains("220 mx.a.test"), "{}", said(&output));
}
