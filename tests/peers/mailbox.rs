//! A Dovecot with mailboxes, and a Postfix before it: messages for people who have only mail, read by IMAP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use impart::address::Mailbox;

use super::bridged;
use super::postfix::Postfix;
use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::nobody::Nobody;
use crate::common::sink::{Sink, field};
use crate::common::tools::{find, have, leave_out, root};
use crate::common::wait;

/// The user whose the mailboxes are.
const OWNER: u32 = 1000;

/// A Dovecot with the mailboxes bob@b.test and full@b.test; stopped when it is dropped.
pub struct Dovecot {
    child: Child,
    directory: PathBuf,
    imap: SocketAddr,
}

impl Dovecot {
    /// Starts it in a directory of its own.
    pub fn start(directory: &Path) -> Dovecot {
        let imap = free_address();
        // Its processes run as users of their own, and must get through the temporary directory.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let mail = directory.join("mail");
        fs::create_dir_all(&mail).unwrap();
        std::os::unix::fs::chown(&mail, Some(OWNER), Some(OWNER)).unwrap();
        let user = |name: &str, more: &str| {
            format!("{name}@b.test:{{PLAIN}}pw:{OWNER}:{OWNER}::{}/{name}::{more}\n", mail.display())
        };
        let users = user("bob", "") + &user("full", "userdb_quota_rule=*:bytes=10");
        fs::write(directory.join("users"), users).unwrap();
        fs::write(directory.join("dovecot.conf"), configuration(directory, imap)).unwrap();
        let mut command = Command::new(find("dovecot").expect("dovecot is installed"));
        command.arg("-F").arg("-c").arg(directory.join("dovecot.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("dovecot starts");
        let dovecot = Dovecot { child, directory: directory.to_owned(), imap };
        wait::until("dovecot listens", || std::os::unix::net::UnixStream::connect(dovecot.lmtp()).ok());
        wait::until("dovecot listens", || TcpStream::connect(imap).ok());
        dovecot
    }

    /// Its LMTP socket.
    pub fn lmtp(&self) -> PathBuf {
        self.directory.join("run/lmtp")
    }

    /// Its socket for authentication.
    pub fn auth(&self) -> PathBuf {
        self.directory.join("run/auth-client")
    }

    /// Where it speaks IMAP.
    pub fn imap(&self) -> SocketAddr {
        self.imap
    }

    /// The mails of an inbox, by IMAP, each with bare line feeds.
    pub fn inbox(&self, user: &str) -> Vec<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.imap).expect("IMAP"));
        stream.get_ref().set_read_timeout(Some(wait::PATIENCE)).unwrap();
        let mut greeting = String::new();
        stream.read_line(&mut greeting).unwrap();
        let mut mails = Vec::new();
        for (tag, command) in [("a", format!("LOGIN {user}@b.test pw")), ("b", "EXAMINE INBOX".to_owned())] {
            assert!(self.say(&mut stream, tag, &command, &mut mails), "{command}");
        }
        // An empty mailbox has no message 1.
        self.say(&mut stream, "c", "FETCH 1:* BODY.PEEK[]", &mut mails);
        mails
    }

    fn say(&self, stream: &mut BufReader<TcpStream>, tag: &str, line: &str, literals: &mut Vec<String>) -> bool {
        stream.get_mut().write_all(format!("{tag} {line}\r\n").as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "IMAP ended: {}", self.log());
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                return rest.starts_with("OK");
            }
            let size = line.trim_end().strip_suffix('}').and_then(|line| line.rsplit_once('{')?.1.parse().ok());
            if let Some(size) = size {
                let mut octets = vec![0; size];
                stream.read_exact(&mut octets).unwrap();
                literals.push(String::from_utf8(octets).unwrap().replace("\r\n", "\n"));
            }
        }
    }

    /// Waits until an inbox has so many mails.
    pub fn wait_for(&self, user: &str, count: usize) -> Vec<String> {
        wait::until(&format!("{count} mails for {user}"), || {
            Some(self.inbox(user)).filter(|mails| mails.len() >= count)
        })
    }

    /// What it has written into its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("dovecot.log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn configuration(directory: &Path, imap: SocketAddr) -> String {
    let (place, port) = (directory.display(), imap.port());
    format!(
        "protocols = lmtp imap\n\
         listen = 127.0.0.1\n\
         ssl = no\n\
         disable_plaintext_auth = no\n\
         base_dir = {place}/run\n\
         log_path = {place}/dovecot.log\n\
         first_valid_uid = {OWNER}\n\
         mail_location = maildir:~/Maildir\n\
         mail_plugins = quota\n\
         plugin {{\n quota = count:User\n quota_vsizes = yes\n}}\n\
         passdb {{\n driver = passwd-file\n args = username_format=%u {place}/users\n}}\n\
         userdb {{\n driver = passwd-file\n args = username_format=%u {place}/users\n}}\n\
         service auth {{\n unix_listener auth-client {{\n  mode = 0666\n }}\n}}\n\
         service lmtp {{\n unix_listener lmtp {{\n  mode = 0666\n }}\n}}\n\
         service imap-login {{\n inet_listener imap {{\n  port = {port}\n }}\n inet_listener imaps {{\n  port = 0\n }}\n}}\n"
    )
}

/// The mail system of b.test: into the mail store, and elsewhere to whom it reports.
fn mail_system(directory: &Path, address: SocketAddr, store: &Path, reports: SocketAddr) -> Postfix {
    let (store, host, port) = (store.display(), reports.ip(), reports.port());
    let main = format!(
        "mynetworks = 127.0.0.0/8\n\
         virtual_mailbox_domains = b.test\n\
         virtual_mailbox_maps = static:all\n\
         virtual_transport = lmtp:unix:{store}\n\
         relayhost = [{host}]:{port}\n\
         smtp_tls_security_level = none\n"
    );
    Postfix::with(directory, address, ("mail", "mail.test"), &main)
}

fn send(setup: &Setup, to: &str, id: &str) {
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let message = entity("alice@a.test", to, id, "Hello, it is me.");
    let rcpt = format!("<{to}> NOTIFY=SUCCESS,FAILURE");
    let reply = client.transaction("<alice@a.test> ENVID=envelope-7", &[&rcpt], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

pub fn missing(name: &str, programs: &[&str]) -> bool {
    if !have(name, programs) {
        return true;
    }
    if !root() {
        leave_out(&format!("{name} (the mail system's daemons need root)"));
        return true;
    }
    if !Path::new("/usr/lib/dovecot/lmtp").exists() || !Path::new("/usr/lib/dovecot/imap").exists() {
        leave_out(&format!("{name} (not installed: dovecot-lmtpd, dovecot-imapd)"));
        return true;
    }
    false
}

#[test]
fn a_message_is_in_the_imap_mailbox_and_its_sender_knows() {
    if missing("a_message_is_in_the_imap_mailbox_and_its_sender_knows", &["dovecot"]) {
        return;
    }
    let (ours, theirs, nobody) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Nobody::new());
    let dovecot = Dovecot::start(theirs.path());
    let setup = bridged::setup(&nobody, ours.path(), &format!("lmtp:unix:{}", dovecot.lmtp().display()));
    let daemon = setup.start();
    send(&setup, "bob@b.test", "1@a.test");
    let mails = dovecot.wait_for("bob", 1);
    for (name, value) in [
        ("Message-ID", "<1@a.test>"),
        ("From", "<alice@a.test>"),
        ("Reply-To", "<alice@im.a.test>"),
        ("Subject", "Chat with alice@a.test"),
        ("Chat-Version", "1.0"),
        ("Delivered-To", "<bob@b.test>"),
    ] {
        let got = field(&mails[0], name).unwrap_or_default();
        assert_eq!(got.trim_matches(['<', '>']), value.trim_matches(['<', '>']), "{name}: {}", mails[0]);
    }
    assert!(mails[0].contains("\n\nHello, it is me.\n") && !mails[0].contains("127.0.0.1"), "{}", mails[0]);
    let receipt = setup.wait_for("alice@a.test", 1).remove(0);
    assert!(receipt.contains("\nAction: delivered\n"), "{receipt}");
    // A mailbox that is full: the reason comes back in the mail system's words.
    send(&setup, "full@b.test", "2@a.test");
    let receipts = setup.wait_for("alice@a.test", 2);
    let failed = receipts.iter().find(|text| text.contains("\nAction: failed\n")).expect("a failure");
    assert!(failed.contains("5.2.2") && failed.contains("full@b.test"), "{failed}\n{}", dovecot.log());
    send(&setup, "nobody@b.test", "3@a.test");
    let receipts = setup.wait_for("alice@a.test", 3);
    assert!(receipts.iter().any(|text| text.contains("\nStatus: 5.1.1\n")), "{receipts:?}");
    assert!(daemon.stop().success(), "{}", setup.log());
}

#[test]
fn a_postfix_passes_the_mail_on_and_reports_to_the_bridge() {
    if missing("a_postfix_passes_the_mail_on_and_reports_to_the_bridge", &["dovecot", "postfix"]) {
        return;
    }
    let (ours, theirs, between) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (nobody, reports, address) = (Nobody::new(), Sink::start(), free_address());
    let dovecot = Dovecot::start(theirs.path());
    let setup = bridged::setup(&nobody, ours.path(), &format!("smtp:{address}"));
    let _daemon = setup.start();
    // It is down at first; nothing is lost.
    send(&setup, "bob@b.test", "1@a.test");
    wait::until("the attempt that failed", || setup.log().contains("status=deferred").then_some(()));
    assert!(dovecot.inbox("bob").is_empty());
    let _postfix = mail_system(between.path(), address, &dovecot.lmtp(), reports.address);
    assert_eq!(dovecot.wait_for("bob", 1).len(), 1);
    let receipt = setup.wait_for("alice@a.test", 1).remove(0);
    assert!(receipt.contains("\nAction: relayed\n"), "{receipt}");
    send(&setup, "full@b.test", "2@a.test");
    let alice: Mailbox = "alice@a.test".parse().unwrap();
    let came = reports.wait("what became of both", |all| all.len() >= 2);
    for (action, recipient) in [("relayed", "bob@b.test"), ("failed", "full@b.test")] {
        let said = format!("\nAction: {action}\r\n");
        let report = came.iter().find(|one| one.entity.contains(&said)).expect("its report");
        assert!(report.mail.starts_with("<>") && report.rcpts[0].starts_with("<bounce+"), "{report:?}");
        assert!(report.entity.contains(&format!("Original-Recipient: rfc822;{recipient}")), "{report:?}");
        assert!(report.entity.contains("Original-Envelope-Id: envelope-7"), "{report:?}");
        assert!(report.entity.contains("From: <alice@a.test>"), "the header that was returned: {report:?}");
        assert!(report.entity.contains("Impart-Bridge: im.a.test; out;"), "{report:?}");
        // The secret is the spool's; what can be seen from outside is that each recipient has a token of its own.
        let token = report.rcpts[0].trim_start_matches("<bounce+").split('@').next().unwrap_or_default();
        assert_eq!((token.len(), alice.domain().as_str()), (32, "a.test"), "{report:?}");
    }
    assert_ne!(came[0].rcpts[0].split(' ').next(), came[1].rcpts[0].split(' ').next(), "nobody reports of another");
}
