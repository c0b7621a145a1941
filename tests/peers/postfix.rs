//! A Postfix between two relays: a message goes through it untouched, and its receipt comes back once.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::sink::Sink;
use crate::common::tools::{find, have, leave_out, root};
use crate::common::wait;

/// A Postfix with a configuration, a queue and a log of its own; stopped when it is dropped.
pub struct Postfix {
    config: PathBuf,
    log: PathBuf,
}

impl Postfix {
    fn start(directory: &Path, address: SocketAddr, next: SocketAddr) -> Postfix {
        Postfix::with(directory, address, &main(directory, next))
    }

    /// Starts it with this `main.cf` and one listener.
    pub fn with(directory: &Path, address: SocketAddr, main: &str) -> Postfix {
        let config = directory.join("etc");
        let log = directory.join("mail.log");
        for folder in [&config, &directory.join("queue"), &directory.join("data")] {
            fs::create_dir_all(folder).unwrap();
        }
        open_to_all(directory);
        chown(&directory.join("data"), "postfix");
        fs::write(config.join("master.cf"), master(address)).unwrap();
        fs::write(config.join("main.cf"), main).unwrap();
        let postfix = Postfix { config, log };
        let started = postfix.run("start");
        assert!(started, "postfix start: {}", fs::read_to_string(&postfix.log).unwrap_or_default());
        wait::until("postfix listens", || TcpStream::connect(address).ok());
        postfix
    }

    fn run(&self, word: &str) -> bool {
        let program = find("postfix").expect("postfix is installed");
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).arg(word);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.run("stop");
    }
}

/// Postfix runs as its own user, and must get through the temporary directory.
fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn chown(path: &Path, user: &str) {
    let status = Command::new("chown").arg(user).arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "chown {user} {}", path.display());
}

/// Debian's services, out of their chroot (no files are copied into it), with one listener.
pub fn master(address: SocketAddr) -> String {
    let sample = fs::read_to_string("/etc/postfix/master.cf.proto").expect("Debian's sample of master.cf");
    let service = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["smtp", "inet", ..] => format!("{address} inet n - n - - smtpd"),
            [name, kind, private, unprivileged, "y", ref rest @ ..] if !line.starts_with(['#', ' ']) => {
                format!("{name} {kind} {private} {unprivileged} n {}", rest.join(" "))
            }
            _ => line.to_owned(),
        }
    };
    sample.lines().map(|line| service(line) + "\n").collect()
}

fn main(directory: &Path, next: SocketAddr) -> String {
    let place = directory.display();
    let (host, port) = (next.ip(), next.port());
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {place}/queue\n\
         data_directory = {place}/data\n\
         maillog_file = {place}/mail.log\n\
         maillog_file_prefixes = {place}\n\
         multi_instance_name = postfix-proxy\n\
         syslog_name = postfix-proxy\n\
         myhostname = proxy.test\n\
         mydestination =\n\
         local_recipient_maps =\n\
         alias_maps =\n\
         mynetworks = 127.0.0.0/8\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         relayhost = [{host}]:{port}\n\
         smtp_tls_security_level = none\n\
         smtpd_peername_lookup = no\n"
    )
}

#[test]
fn a_postfix_in_the_middle_passes_messages_and_receipts() {
    const NAME: &str = "a_postfix_in_the_middle_passes_messages_and_receipts";
    if !have(NAME, &["postfix"]) {
        return;
    }
    if !root() {
        return leave_out(&format!("{NAME} (Postfix's daemon needs root)"));
    }
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (proxy, sink) = (free_address(), Sink::start());
    let _postfix = Postfix::start(theirs.path(), proxy, sink.address);
    let setup = Setup::new(ours.path()).route(&["b.test"], proxy).route(&["c.test"], sink.address);
    let daemon = setup.start();
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let text = "signed text stays\r\n as it is: =20 \t\r\n-- \r\nthe end";
    let rcpt = ["<r@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;r@b.test"];
    for number in 0..5 {
        let entity = entity("s@c.test", "r@b.test", &format!("p{number}@c.test"), text);
        let mail = format!("<s@c.test> RET=HDRS ENVID=p{number}");
        let reply = client.transaction(&mail, &rcpt, &entity).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    // Postfix shows DSN, so the duty to report is its own: one `relayed` each, since the sink shows none.
    let arrivals = sink.wait("messages and receipts through Postfix", |arrivals| arrivals.len() >= 10);
    let (receipts, messages): (Vec<_>, Vec<_>) = arrivals.iter().partition(|a| a.mail.starts_with("<>"));
    assert_eq!((messages.len(), receipts.len()), (5, 5), "{arrivals:?}");
    assert!(messages.iter().all(|a| a.entity.contains(text)), "{messages:?}");
    assert!(messages.iter().all(|a| a.entity.contains("by proxy.test (Postfix)")), "{messages:?}");
    for number in 0..5 {
        let about = format!("Original-Envelope-Id: p{number}\r\n");
        let reports = receipts.iter().filter(|a| a.entity.contains(&about)).count();
        assert_eq!(reports, 1, "p{number}: {receipts:?}");
    }
    assert!(daemon.stop().success(), "{}", setup.log());
}
