//! The package for Debian, in a root that has nothing else: installed, set up, upgraded with messages queued, removed,
//! purged.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::client::{Client, entity};
use crate::common::daemon::free_address;
use crate::common::sink::{Manner, Sink};
use crate::common::{tools, wait};

const MIRROR: &str = "deb.debian.org";

fn ok(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", tools::said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A fresh Debian of the release that this host is, or `None` where there can be none.
struct Debian {
    root: PathBuf,
}

impl Debian {
    fn new(test: &str, directory: &Path) -> Option<Debian> {
        if !tools::have(test, &["mmdebstrap", "dpkg-deb", "dpkg-shlibdeps", "chroot"]) {
            return None;
        }
        if !tools::root() {
            tools::leave_out(&format!("{test} (it needs root)"));
            return None;
        }
        // Whoever works without the network cannot have it.
        if (MIRROR, 80).to_socket_addrs().is_err() {
            tools::leave_out(&format!("{test} ({MIRROR} is out of reach)"));
            return None;
        }
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).expect("Debian's name");
        let root = directory.join("root");
        let mut command = Command::new("mmdebstrap");
        command.args(["--variant=minbase", "--include=systemd,ca-certificates", release]).arg(&root);
        let output = command.arg(format!("http://{MIRROR}/debian")).stdin(Stdio::null()).output().unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            tools::leave_out(&format!("{test} (mmdebstrap: {})", said.lines().last().unwrap_or_default()));
            return None;
        }
        // The daemon's user has to come through to its own directories.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Debian { root })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        ok(self.command(program).args(arguments))
    }

    /// As the daemon's user, whose the spool stays.
    fn ctl(&self, arguments: &[&str]) -> Output {
        let (user, group) = self.user();
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={user}:{group}")).arg("--groups=").arg(&self.root).arg("/usr/bin/impartctl");
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Installs a version, with everything that it depends on.
    fn install(&self, package: &Path) -> String {
        fs::copy(package, self.path("/tmp/impart.deb")).unwrap();
        self.run("apt-get", &["-y", "--no-install-recommends", "install", "/tmp/impart.deb"])
    }

    fn user(&self) -> (String, String) {
        let text = fs::read_to_string(self.path("/etc/passwd")).unwrap();
        let line = text.lines().find(|line| line.starts_with("impart:")).expect("the user impart").to_owned();
        let fields: Vec<&str> = line.split(':').collect();
        (fields[2].to_owned(), fields[3].to_owned())
    }

    /// The daemon as the unit starts it: its command line, its user.
    fn start(&self, mail: SocketAddr) -> Running<'_> {
        let unit = fs::read_to_string(self.path("/usr/lib/systemd/system/impartd.service")).unwrap();
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
        let (user, group) = self.user();
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={user}:{group}")).arg("--groups=").arg(&self.root);
        command.args(start.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("/tmp/log")).unwrap();
        let mut running = Running { child: command.stderr(log).spawn().unwrap(), debian: self };
        wait::until("the installed daemon takes mail", || {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", running.debian.log());
            Client::hello(mail).ok()
        });
        running
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("/tmp/log")).unwrap_or_default()
    }
}

struct Running<'a> {
    child: Child,
    debian: &'a Debian,
}

impl Running<'_> {
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.debian.log());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two versions of the same programs.
fn packages(directory: &Path) -> [PathBuf; 2] {
    let programs = directory.join("programs");
    fs::create_dir(&programs).unwrap();
    for program in [env!("CARGO_BIN_EXE_impartd"), env!("CARGO_BIN_EXE_impartctl"), env!("CARGO_BIN_EXE_impart")] {
        let to = programs.join(Path::new(program).file_name().unwrap());
        // What is for debuggers would be most of it.
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(program).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(program, to).unwrap();
        }
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/debian/build");
    ["0.1.0-1~test1", "0.1.0-1~test2"].map(|version| {
        let mut command = Command::new(&build);
        command.args(["--version", version]).arg("--programs").arg(&programs).arg("--output").arg(directory);
        ok(command.env("IMPART_DEB_COMPRESSION", "none"));
        let made = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
        let mut made = made.filter(|path| path.to_string_lossy().contains(&format!("impart_{version}_")));
        made.next().expect("the package")
    })
}

fn send(mail: SocketAddr, to: &str, id: &str) {
    let (mut client, _) = Client::hello(mail).unwrap();
    let entity = entity("alice@a.test", to, &format!("{id}@a.test"), id);
    let reply = client.transaction("<alice@a.test>", &[&format!("<{to}>")], &entity).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

/// What the README and the package's own words ask for: two names. The port is another one, since tests run beside each
/// other; one domain is reached by a route, since there is no DNS.
fn configure(debian: &Debian, mail: SocketAddr, peer: SocketAddr) {
    let path = debian.path("/etc/impart/impart.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    for (old, new) in [
        ("\nhost = \"mx.a.example\"\n", "\nhost = \"mx.a.test\"\n".to_owned()),
        ("\nname = \"a.example\"\n", "\nname = \"a.test\"\n".to_owned()),
        ("\naddress = \"127.0.0.1:2525\"\n", format!("\naddress = \"{mail}\"\n")),
    ] {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text = text.replace(old, &new);
    }
    text.push_str(&format!("\n[[route]]\ndomains = [\"b.test\"]\nvia = \"{peer}\"\ntls = \"none\"\n"));
    fs::write(path, text).unwrap();
}

fn installed_files_are_what_they_should_be(debian: &Debian) {
    let mode = |path: &str| fs::metadata(debian.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("/etc/impart/impart.toml"), 0o640);
    assert_eq!(mode("/var/lib/impart"), 0o700);
    assert_eq!(mode("/etc/impart/tls"), 0o750);
    let (user, group) = debian.user();
    assert_eq!(fs::metadata(debian.path("/var/lib/impart")).unwrap().uid().to_string(), user);
    assert_eq!(fs::metadata(debian.path("/etc/impart/impart.toml")).unwrap().gid().to_string(), group);
    assert!(debian.path("/etc/systemd/system/multi-user.target.wants/impartd.service").is_symlink(), "it is enabled");
    assert!(!debian.path("/etc/systemd/system/sockets.target.wants/impartd.socket").is_symlink());
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("man")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("/usr/share/man/man{}/{name}.gz", name.rsplit('.').next().unwrap());
        // A root without documentation leaves it out.
        let listed = debian.run("dpkg", &["-L", "impart"]);
        assert!(listed.lines().any(|line| line == path), "{path} is not in the package");
    }
}

#[test]
fn a_fresh_debian_installs_runs_upgrades_removes_and_purges_the_package() {
    let directory = tempfile::tempdir().unwrap();
    let test = "a_fresh_debian_installs_runs_upgrades_removes_and_purges_the_package";
    let Some(debian) = Debian::new(test, directory.path()) else { return };
    let [first, second] = packages(directory.path());
    let said = debian.install(&first);
    assert!(said.contains("/etc/impart/impart.toml") && said.contains("impartctl check"), "{said}");
    installed_files_are_what_they_should_be(&debian);

    let (mail, peer, nobody) = (free_address(), Sink::start(), free_address());
    configure(&debian, mail, peer.address);
    let checked = debian.ctl(&["check"]);
    let said = tools::said(&checked);
    assert!(said.contains("impartd is not running") && !said.contains("host = "), "{said}");
    let running = debian.start(mail);
    send(mail, "carol@b.test", "through");
    peer.wait("the message at the other domain", |arrivals| arrivals.len() == 1);
    // One waits for its recipient's client.
    send(mail, "bob@a.test", "inbox");
    running.stop();

    // One waits for a server that is not there, as the upgrade comes.
    configure_peer(&debian, peer.address, nobody);
    let running = debian.start(mail);
    send(mail, "carol@b.test", "waits");
    running.stop();
    let before = fs::read(debian.path("/etc/impart/impart.toml")).unwrap();
    debian.install(&second);
    assert_eq!(fs::read(debian.path("/etc/impart/impart.toml")).unwrap(), before, "what was set stays");
    assert!(debian.run("dpkg-query", &["-W", "impart"]).contains("test2"));
    let listed = tools::said(&debian.ctl(&["queue", "list"]));
    assert!(listed.contains("bob@a.test") && listed.contains("carol@b.test"), "{listed}");
    let late = Sink::at(nobody, Manner::default());
    let running = debian.start(mail);
    late.wait("the message that waited", |arrivals| arrivals.iter().any(|one| one.entity.contains("<waits@a.test>")));
    let listed = wait::until("one message is left", || {
        let listed = tools::said(&debian.ctl(&["queue", "list"]));
        (!listed.contains("carol@b.test")).then_some(listed)
    });
    assert!(listed.contains("bob@a.test"), "{listed}");
    running.stop();

    debian.run("dpkg", &["--remove", "impart"]);
    assert!(!debian.path("/usr/bin/impartd").exists());
    assert!(debian.path("/etc/impart/impart.toml").exists() && debian.path("/var/lib/impart/spool/format").exists());
    debian.run("dpkg", &["--purge", "impart"]);
    for gone in ["/etc/impart", "/var/lib/impart", "/etc/apparmor.d/usr.bin.impartd", "/etc/logrotate.d/impart"] {
        assert!(!debian.path(gone).exists(), "{gone} is left after the purge");
    }
    let enabled = debian.path("/etc/systemd/system/multi-user.target.wants/impartd.service");
    assert!(!enabled.is_symlink() && !debian.path("/etc/systemd/system/impartd.service").is_symlink());
}

fn configure_peer(debian: &Debian, old: SocketAddr, new: SocketAddr) {
    let path = debian.path("/etc/impart/impart.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace(&format!("via = \"{old}\""), &format!("via = \"{new}\""))).unwrap();
}
