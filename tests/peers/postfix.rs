//! A Postfix between two relays: a message goes through it untouched, and its receipt comes back once.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::names::certificate;
use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::person::Person;
use crate::common::tools::{find, have, leave_out, root};
use crate::common::wait;

/// A Postfix with a configuration, a queue and a log of its own; stopped when it is dropped.
pub struct Postfix {
    config: PathBuf,
    log: PathBuf,
}

impl Postfix {
    fn start(directory: &Path, address: SocketAddr, hops: [(&str, SocketAddr); 2]) -> Postfix {
        Postfix::with(directory, address, ("proxy", "proxy.test"), &main(directory, hops))
    }

    /// Starts an instance of that name, on that host, with one listener; it serves no domain unless `main.cf` goes on so.
    pub fn with(directory: &Path, address: SocketAddr, (name, host): (&str, &str), main: &str) -> Postfix {
        let config = directory.join("etc");
        let log = directory.join("mail.log");
        for folder in [&config, &directory.join("queue"), &directory.join("data")] {
            fs::create_dir_all(folder).unwrap();
        }
        open_to_all(directory);
        chown(&directory.join("data"), "postfix");
        fs::write(config.join("master.cf"), master(address)).unwrap();
        let place = directory.display();
        let start = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {place}/queue\n\
             data_directory = {place}/data\n\
             maillog_file = {place}/mail.log\n\
             maillog_file_prefixes = {place}\n\
             multi_instance_name = postfix-{name}\n\
             syslog_name = postfix-{name}\n\
             myhostname = {host}\n\
             mydestination =\n\
             alias_maps =\n\
             inet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\n\
             smtpd_peername_lookup = no\n"
        );
        fs::write(config.join("main.cf"), start + main).unwrap();
        let postfix = Postfix { config, log };
        let started = postfix.run("start");
        assert!(started, "postfix start: {}", fs::read_to_string(&postfix.log).unwrap_or_default());
        wait::until("postfix listens", || TcpStream::connect(address).ok());
        postfix
    }

    /// What it has written into its log.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
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

fn chown(path: &Path, user: &str) {
    let status = Command::new("chown").arg(user).arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "chown {user} {}", path.display());
}

/// Debian's services, out of their chroot (no files are copied into it), with one listener.
fn master(address: SocketAddr) -> String {
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

fn main(directory: &Path, hops: [(&str, SocketAddr); 2]) -> String {
    let place = directory.display();
    let hop = |(domain, to): (&str, SocketAddr)| format!("{domain} smtp:[{}]:{}\n", to.ip(), to.port());
    fs::write(directory.join("transport"), hops.map(hop).concat()).unwrap();
    format!(
        "local_recipient_maps =\n\
         mynetworks = 127.0.0.0/8\n\
         transport_maps = texthash:{place}/transport\n\
         smtp_tls_security_level = none\n"
    )
}

/// A relay for b.test, where r has a client attached; what is not for b.test goes to the Postfix.
fn far(directory: &Path, proxy: SocketAddr) -> (Setup, SocketAddr, PathBuf) {
    let named = certificate(directory, "b.test");
    let client = free_address();
    let mut setup = Setup::new(directory).route(&["*"], proxy).with(&named.section());
    setup = setup.with(&format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n"));
    setup.host = "mx.b.test".to_owned();
    setup.sections = setup.sections.replace("name = \"a.test\"\ninboxes = [\"alice\", \"bob\"]", "name = \"b.test\"");
    setup.write();
    setup.account("r@b.test", "secret");
    (setup, client, named.chain)
}

#[test]
fn a_postfix_between_two_relays_passes_messages_and_receipts() {
    const NAME: &str = "a_postfix_between_two_relays_passes_messages_and_receipts";
    if !have(NAME, &["postfix"]) {
        return;
    }
    if !root() {
        return leave_out(&format!("{NAME} (Postfix's daemon needs root)"));
    }
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [ours, theirs, between] = directories.each_ref().map(tempfile::TempDir::path);
    let proxy = free_address();
    let near = Setup::new(ours).route(&["*"], proxy);
    let (far, client, chain) = far(theirs, proxy);
    let (near_daemon, far_daemon) = (near.start(), far.start());
    let _postfix = Postfix::start(between, proxy, [("a.test", near.mail), ("b.test", far.mail)]);
    let person = Person::new("r@b.test", &theirs.join("r"), client, &chain).log_in("secret");

    let (mut client, _) = Client::hello(near.mail).unwrap();
    let text = "signed text stays\r\n as it is: =20 \t\r\n-- \r\nthe end";
    for (number, to) in ["r", "r", "r", "nobody"].into_iter().enumerate() {
        let entity = entity("alice@a.test", &format!("{to}@b.test"), &format!("p{number}@a.test"), text);
        let mail = format!("<alice@a.test> RET=HDRS ENVID=p{number}");
        let rcpt = format!("<{to}@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{to}@b.test");
        let reply = client.transaction(&mail, &[&rcpt], &entity).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    for message in far.wait_for("r@b.test", 3) {
        assert!(message.contains(&text.replace("\r\n", "\n")), "{message}");
        assert!(message.contains("by proxy.test (Postfix)"), "{message}");
    }
    let r = person.listen();
    for number in 0..3 {
        r.wait_for(&[("event", "message"), ("id", &format!("<p{number}@a.test>"))]);
    }
    // Both relays and Postfix show DSN: the inbox's relay reports the delivery, Postfix what it could not hand over.
    let receipts = near.wait_for("alice@a.test", 4);
    assert_eq!(receipts.len(), 4, "{receipts:?}");
    for (number, (action, reporter)) in
        [("delivered", "mx.b.test"); 3].into_iter().chain([("failed", "proxy.test")]).enumerate()
    {
        let about = format!("Original-Envelope-Id: p{number}\n");
        let of_it: Vec<_> = receipts.iter().filter(|receipt| receipt.contains(&about)).collect();
        assert_eq!(of_it.len(), 1, "p{number}: {receipts:?}");
        for line in [format!("Action: {action}\n"), format!("Reporting-MTA: dns; {reporter}\n"), "(Postfix)".to_owned()]
        {
            assert!(of_it[0].contains(&line), "p{number}, {line}: {}", of_it[0]);
        }
    }
    assert_eq!(r.texts().len(), 3, "each once");
    assert!(near_daemon.stop().success(), "{}", near.log());
    assert!(far_daemon.stop().success(), "{}", far.log());
}
