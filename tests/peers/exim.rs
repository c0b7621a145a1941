//! An Exim as the mail system, with the router and the transport of conf/exim: mail of the bridge goes out through it, and answers come
//! in.
//!
//! Its package and Postfix's keep each other away, so tests/run unpacks it into a folder. It insists on its user, who is in
//! a /etc/passwd of its own name space for files.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::bridged::Bridged;
use crate::common::client::Client;
use crate::common::daemon::free_address;
use crate::common::sink::{Arrival, Sink};
use crate::common::tools::{find, have, kept, leave_out, root};
use crate::common::wait;

/// The user that its program was made for.
const USER: &str = "Debian-exim";
/// Who that is in these tests: nobody else here.
const OWNER: u32 = 64_001;

fn program() -> Option<PathBuf> {
    Some(kept("exim").join("usr/sbin/exim4")).filter(|program| program.is_file())
}

/// A running Exim; stopped when it is dropped.
struct Exim {
    child: Child,
    directory: PathBuf,
}

impl Exim {
    fn start(program: &Path, directory: &Path, address: SocketAddr, configuration: &str) -> Exim {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["spool", "log"] {
            fs::create_dir_all(directory.join(folder)).unwrap();
            chown(directory.join(folder), Some(OWNER), Some(OWNER)).unwrap();
        }
        for (name, line) in
            [("passwd", format!("{USER}:x:{OWNER}:{OWNER}::/:/bin/false\n")), ("group", format!("{USER}:x:{OWNER}:\n"))]
        {
            let known = fs::read_to_string(Path::new("/etc").join(name)).unwrap();
            let others: String =
                known.lines().filter(|line| !line.starts_with(USER)).map(|line| format!("{line}\n")).collect();
            fs::write(directory.join(name), others + &line).unwrap();
        }
        // Its own user, who cannot look into root's home, starts it again for each delivery. That needs nobody else's rights here.
        let copy = directory.join("exim4");
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        let own = format!("exim_path = {}\ndeliver_drop_privilege\n", copy.display());
        fs::write(directory.join("exim.conf"), own + configuration).unwrap();
        let script = "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/group\" /etc/group &&
            exec \"$1/exim4\" -C \"$1/exim.conf\" -bdf -q1s";
        let mut command = Command::new(find("unshare").expect("unshare is there"));
        command
            .args(["--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"])
            .arg(directory)
            .arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(directory.join("errors")).unwrap());
        let mut exim = Exim { child: command.spawn().expect("unshare starts"), directory: directory.to_owned() };
        wait::until("exim listens, or ends", || {
            (TcpStream::connect(address).is_ok() || exim.child.try_wait().is_ok_and(|status| status.is_some()))
                .then_some(())
        });
        assert!(exim.child.try_wait().unwrap().is_none(), "{}", exim.said());
        exim
    }

    /// What it has said.
    fn said(&self) -> String {
        ["errors", "log/mainlog", "log/paniclog"]
            .map(|name| fs::read_to_string(self.directory.join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of Exim:\n{}", self.said());
        }
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// What conf/exim/impart has for a place: what follows the line that names it, up to the next comment of more than a line's end.
fn piece(place: &str) -> String {
    let sample = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/exim/impart")).unwrap();
    let from = sample.find(&format!("# Below \"begin {place}\"")).expect("the piece is there");
    let lines = sample[from..].lines().skip_while(|line| line.starts_with('#'));
    lines.take_while(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// An Exim for im.a.test, whose other mail goes to a next hop. It finds bob@b.test, and nobody else, to be who he says, and
/// writes what it finds where conf/exim says.
fn configuration(directory: &Path, address: SocketAddr, bridge: SocketAddr, next: SocketAddr) -> String {
    let place = directory.display();
    let routers = piece("routers").replace("im.a.example", "im.a.test");
    let transports = piece("transports").replace("2424", &bridge.port().to_string());
    assert!(
        routers.contains("im.a.test") && transports.contains(&format!("port = {}\n", bridge.port())),
        "{transports}"
    );
    format!(
        "primary_hostname = mx.a.test\nspool_directory = {place}/spool\nlog_file_path = {place}/log/%slog\n\
         pid_file_path = {place}/exim.pid\ndaemon_smtp_ports = {}\nlocal_interfaces = 127.0.0.1\n\
         domainlist relay_to_domains = im.a.test\nhost_lookup =\ntls_advertise_hosts =\ndsn_advertise_hosts = *\n\
         smtputf8_advertise_hosts = *\nkeep_environment =\nadd_environment =\nexim_user = {USER}\n\
         acl_smtp_rcpt = accept\nacl_smtp_data = found\n\
         begin acl\nfound:\n\
         \x20 warn add_header = :at_start:${{authresults{{$primary_hostname}}}}\n\
         \x20 warn senders = bob@b.test\n\
         \x20   add_header = :at_start:Authentication-Results: mx.a.test; dmarc=pass header.from=b.test\n\
         \x20 accept\n\
         begin routers\n{routers}\n\
         b:\n  driver = manualroute\n  domains = b.test\n  local_parts = ! nobody\n  route_list = * 127.0.0.1 byname\n\
         \x20 self = send\n  transport = next\n\
         begin transports\n{transports}\n\
         next:\n  driver = smtp\n  port = {}\n  allow_localhost\n  hosts_avoid_tls = *\n\
         begin retry\n* * F,2h,1s\n",
        address.port(),
        next.port()
    )
}

/// An Exim between an Impart and a next hop.
struct World {
    exim: Exim,
    bridged: Bridged,
    /// Where Exim takes mail.
    mail: SocketAddr,
    next: Sink,
    _directories: [tempfile::TempDir; 2],
}

impl World {
    fn new(program: &Path) -> World {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [ours, theirs] = directories.each_ref().map(tempfile::TempDir::path);
        let (next, bridge, mail) = (Sink::start(), free_address(), free_address());
        let exim = Exim::start(program, theirs, mail, &configuration(theirs, mail, bridge, next.address));
        let bridged = Bridged::start(ours, mail, bridge);
        World { exim, bridged, mail, next, _directories: directories }
    }

    /// Hands Exim an answer to what went out.
    fn answer(&self, out: &Arrival, (sender, from): (&str, &str), id: &str, more: &str) {
        let field = |name: &str| out.field(name).unwrap_or_default();
        let (subject, to, about, thread) =
            (field("Subject"), field("Reply-To"), field("Message-ID"), field("References"));
        let mail = format!(
            "{more}From: Bob <{from}>\r\nTo: {to}\r\nSubject: Re: {subject}\r\nMessage-ID: <{id}>\r\n\
             Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nIn-Reply-To: {about}\r\nReferences: {thread} {about}\r\n\r\n\
             Yes, at noon.\r\n\r\nOn Tue, 24 Nov 2026, Alice wrote:\r\n> Lunch at noon?\r\n"
        );
        let (mut client, _) = Client::hello(self.mail).unwrap();
        let reply = client.transaction(&format!("<{sender}>"), &["<alice@im.a.test>"], mail.as_bytes()).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }
}

#[test]
fn an_exim_passes_mail_out_and_answers_in() {
    const NAME: &str = "an_exim_passes_mail_out_and_answers_in";
    if !have(NAME, &["unshare"]) {
        return;
    }
    let Some(program) = program() else {
        return leave_out(&format!("{NAME} (not there: Exim, which tests/run unpacks)"));
    };
    if !root() {
        return leave_out(&format!("{NAME} (Exim's daemon needs root)"));
    }
    let world = World::new(&program);
    let World { exim, next, bridged: Bridged { person, alice, .. }, .. } = &world;

    // Out: a mail that asks for answers at the bridge.
    person.run(&["send", "bob@b.test", "-m", "Lunch at noon?"]);
    let out = next.wait("the mail, through Exim", |all| all.len() == 1).remove(0);
    let field = |name: &str| out.field(name).unwrap_or_default();
    assert_eq!(
        (field("Chat-Version"), field("Reply-To")),
        ("1.0".into(), "<alice@im.a.test>".into()),
        "{}",
        out.entity
    );
    assert!(out.entity.contains("\r\n\r\nLunch at noon?\r\n"), "{}\n{}", out.entity, exim.said());
    assert!(out.mail.starts_with("<bounce+") && out.mail.contains("@im.a.test>"), "{}", out.mail);

    // In: the answer, proven by what stands above the findings that came with it.
    world.answer(&out, ("bob@b.test", "bob@b.test"), "answer@b.test", "");
    let came = alice.wait_for(&[("event", "message"), ("id", "<answer@b.test>")]);
    let text = came["text"].as_str().unwrap();
    assert!(text.starts_with("Yes, at noon.") && !text.contains("Lunch"), "{came}");
    assert_eq!((&came["from"], &came["in_reply_to"]), (&"bob@b.test".into(), &field("Message-ID").into()), "{came}");

    // Whoever writes the finding himself is nobody: in the name of somebody here it is refused, and Exim tells him so.
    let forged = "Authentication-Results: mx.a.test; dmarc=pass header.from=a.test\r\n";
    world.answer(&out, ("mallory@b.test", "alice@a.test"), "forged@b.test", forged);
    let bounce = next.wait("the refusal", |all| all.len() == 2).remove(1);
    assert!(bounce.rcpts[0].starts_with("<mallory@b.test>"), "{bounce:?}");
    assert!(bounce.entity.contains("550 5.7.1 the author's domain lives here"), "{}", bounce.entity);

    // What Exim cannot pass on it reports to the bridge, and it is a receipt.
    person.run(&["send", "nobody@b.test", "-m", "Are you there?"]);
    alice.wait_for(&[("event", "receipt"), ("to", "nobody@b.test"), ("state", "failed")]);
    assert_eq!(alice.texts().len(), 1, "{:?}\n{}", alice.texts(), exim.said());
    assert!(world.bridged.daemon.stop().success(), "{}", world.bridged.setup.log());
}
