//! fetchmail as a client for relay on demand (RFC 2645): it logs in by CRAM-MD5, in the clear on loopback, asks for its
//! turn, and hands what comes on to an SMTP server of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use crate::common::client::{Client, entity};
use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::sink::{Manner, Sink};
use crate::common::tools::{find, have, said};
use crate::common::wait;

/// A daemon with a listener for relay on demand, and alice@a.test, who has a secret for it.
struct Home {
    _directory: tempfile::TempDir,
    setup: Setup,
    odmr: SocketAddr,
    secret: String,
    _daemon: Daemon,
    sink: Sink,
}

impl Home {
    fn new(manner: Manner) -> Home {
        let directory = tempfile::tempdir().unwrap();
        let odmr = free_address();
        let named = crate::names::certificate(directory.path(), "mx.a.test");
        let listener = format!("[[listen]]\nservice = \"odmr\"\naddress = \"{odmr}\"\nclear_auth = true\n");
        let setup = Setup::new(directory.path()).with(&named.section()).with(&listener);
        setup.write();
        setup.account("alice@a.test", "another");
        let output = setup.ctl(&["account", "passwd", "alice@a.test", "--odmr"]);
        assert!(output.status.success(), "{}", said(&output));
        let secret = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let daemon = setup.start();
        Home { _directory: directory, setup, odmr, secret, _daemon: daemon, sink: Sink::with(manner) }
    }

    fn waits(&self, text: &str) {
        let (mut client, _) = Client::hello(self.setup.mail).unwrap();
        let message = entity("bob@a.test", "alice@a.test", &format!("{}@a.test", text.len()), text);
        let message = String::from_utf8(message).unwrap().replace("\r\n.", "\r\n..");
        let reply = client.transaction("<bob@a.test> BODY=8BITMIME", &["<alice@a.test>"], message.as_bytes());
        assert_eq!(reply.unwrap().code, 250);
    }

    /// Runs fetchmail once, for the mail of a.test.
    fn fetch(&self, secret: &str) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fetchmailrc");
        let text = format!(
            "poll 127.0.0.1 protocol ODMR service {} username \"alice@a.test\" password {secret:?} \
             fetchdomains a.test smtphost \"127.0.0.1/{}\"\n",
            self.odmr.port(),
            self.sink.address.port(),
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(find("fetchmail").expect("fetchmail is installed"));
        command.arg("-f").arg(&file).arg("--pidfile").arg(folder.path().join("pid"));
        command.args(["-v", "--nosyslog", "--timeout", "30"]).stdin(Stdio::null());
        command.env("HOME", folder.path()).env("FETCHMAILHOME", folder.path()).env("LC_ALL", "C");
        command.output().expect("fetchmail starts")
    }

    fn nothing_waits(&self) {
        wait::until("the queue is empty", || self.setup.rows(&["queue", "list"]).is_empty().then_some(()));
    }
}

/// Where it was refused: it gives no more than a "query status" for that.
const REFUSED: Option<i32> = Some(128);

#[test]
fn fetchmail_takes_what_waits() {
    if !have("fetchmail_takes_what_waits", &["fetchmail"]) {
        return;
    }
    let home = Home::new(Manner::default());
    let texts = ["one", ".dot\r\n..\r\n.", "grüße, 写, 🚀", &"a long line of words ".repeat(40)];
    texts.iter().for_each(|text| home.waits(text));
    let output = home.fetch(&home.secret);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", said(&output), home.setup.log());
    let arrivals = home.sink.arrivals().clone();
    for text in texts {
        let came = arrivals.iter().filter(|arrival| arrival.entity.ends_with(&format!("\r\n\r\n{text}\r\n")));
        assert_eq!(came.count(), 1, "{text:?} in {arrivals:?}");
    }
    assert!(arrivals.iter().all(|a| a.mail.starts_with("<bob@a.test>") && a.rcpts[0].starts_with("<alice@a.test>")));
    home.nothing_waits();
    let output = home.fetch(&home.secret);
    // Its manual promises the exit code 1 for this, but its relay on demand ends with 0 as well.
    assert!(
        said(&output).contains("fetchmail: You have no mail.") && output.status.code() < REFUSED,
        "{}",
        said(&output)
    );
    assert_eq!(home.sink.arrivals().len(), texts.len());
}

#[test]
fn fetchmail_hands_on_to_a_server_without_extensions() {
    if !have("fetchmail_hands_on_to_a_server_without_extensions", &["fetchmail"]) {
        return;
    }
    let home = Home::new(Manner { keywords: Vec::new(), ..Manner::default() });
    home.waits("plain words");
    let output = home.fetch(&home.secret);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", said(&output), home.setup.log());
    assert!(home.sink.arrivals()[0].entity.ends_with("\r\n\r\nplain words\r\n"));
    home.nothing_waits();
}

#[test]
fn fetchmail_without_the_secret_gets_nothing() {
    if !have("fetchmail_without_the_secret_gets_nothing", &["fetchmail"]) {
        return;
    }
    let home = Home::new(Manner::default());
    home.waits("not for others");
    // The password of the account is not the secret for relay on demand.
    for wrong in ["guess", "another"] {
        let output = home.fetch(wrong);
        assert_eq!(output.status.code(), REFUSED, "{}", said(&output));
        assert!(said(&output).contains("535 5.7.8"), "{}", said(&output));
    }
    assert_eq!((home.sink.arrivals().len(), home.setup.waiting("alice@a.test").len()), (0, 1));
}

#[test]
fn what_the_server_behind_fetchmail_refuses_is_told_to_the_sender() {
    if !have("what_the_server_behind_fetchmail_refuses_is_told_to_the_sender", &["fetchmail"]) {
        return;
    }
    let say = |line: &str| line.contains("\r\n\r\nrefused").then(|| "554 5.6.0 not this".to_owned());
    let home = Home::new(Manner { say: Box::new(say), ..Manner::default() });
    home.waits("refused");
    home.waits("taken");
    let output = home.fetch(&home.secret);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", said(&output), home.setup.log());
    assert_eq!(home.sink.arrivals().len(), 1, "{}", said(&output));
    let receipt = home.setup.wait_for("bob@a.test", 1).remove(0);
    assert!(receipt.contains("\nAction: failed") && receipt.contains("\nStatus: 5.6.0"), "{receipt}");
    assert!(home.setup.waiting("alice@a.test").is_empty());
}
