//! A real `impartd` with a generated configuration in a directory of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::wait;

/// A port of loopback that is free now, and that the system gives to nobody by itself: below those from which it takes
/// ports for connections, and not the same again. Processes begin far from each other.
pub fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let free = || {
        let at = std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + at % (PORTS.end - PORTS.start)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?.local_addr().ok()
    };
    (0..PORTS.end).find_map(|_| free()).expect("a port on loopback")
}

/// What a daemon is told.
#[derive(Clone)]
pub struct Setup {
    /// Its directory: configuration, spool, log.
    pub directory: PathBuf,
    /// Its name.
    pub host: String,
    /// The mail listener.
    pub mail: SocketAddr,
    /// The relay listener, where there is a certificate.
    pub relay: Option<SocketAddr>,
    /// Sections and keys beside `host`, `spool` and the listeners.
    pub sections: String,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
}

impl Setup {
    /// A daemon `mx.a.test` that serves a.test (alice, bob), takes any sender on its mail listener and has no DNS.
    pub fn new(directory: &Path) -> Setup {
        let sections = "[[domain]]\nname = \"a.test\"\ninboxes = [\"alice\", \"bob\"]\n\
            [dns]\nservers = [\"127.0.0.1:1\"]\nvalidation = \"off\"\n\
            [queue]\nretry = [\"100ms\", \"300ms\", \"1s\"]\n";
        Setup {
            directory: fs::canonicalize(directory).expect("the directory of the daemon"),
            host: "mx.a.test".to_owned(),
            mail: free_address(),
            relay: None,
            sections: sections.to_owned(),
            environment: BTreeMap::new(),
        }
    }

    /// Adds a route in the clear.
    pub fn route(mut self, domains: &[&str], via: SocketAddr) -> Setup {
        let section = format!("[[route]]\ndomains = {domains:?}\nvia = \"{via}\"\ntls = \"none\"\n");
        self.sections.push_str(&section);
        self
    }

    /// Adds lines to the configuration.
    pub fn with(mut self, lines: &str) -> Setup {
        self.sections.push_str(lines);
        self
    }

    /// Adds a line to the first section with this heading.
    pub fn key(mut self, heading: &str, line: &str) -> Setup {
        let at = self.sections.find(heading).expect("the section is there") + heading.len();
        self.sections.insert_str(at, &format!("\n{line}"));
        self
    }

    /// The spool.
    pub fn spool(&self) -> PathBuf {
        self.directory.join("spool")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("impart.toml")
    }

    /// What the daemon wrote to standard error so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut text = format!("host = {:?}\nspool = {:?}\n", self.host, self.spool());
        text.push_str(&format!("[[listen]]\nservice = \"mail\"\naddress = \"{}\"\nsenders = \"any\"\n", self.mail));
        if let Some(relay) = self.relay {
            text.push_str(&format!("[[listen]]\nservice = \"relay\"\naddress = \"{relay}\"\n"));
        }
        text.push_str(&self.sections);
        text
    }

    /// Writes the configuration file.
    pub fn write(&self) {
        fs::write(self.config(), self.text()).expect("the configuration file");
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&self) -> Daemon {
        self.write();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_impartd"));
        command.arg("--config").arg(self.config()).envs(&self.environment).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("the log file"));
        Daemon { child: command.spawn().expect("impartd starts"), setup: self.clone() }
    }

    /// Starts the daemon and waits until it takes mail.
    pub fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        assert!(daemon.ready(), "impartd ended before it was ready:\n{}", self.log());
        daemon
    }

    /// Adds an account; the configuration is written.
    pub fn account(&self, name: &str, password: &str) {
        self.with_password(&["account", "add", name], password);
    }

    /// Runs `impartctl` and gives it a password.
    pub fn with_password(&self, arguments: &[&str], password: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impartctl"));
        command.arg("--config").arg(self.config()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("impartctl starts");
        let mut input = child.stdin.take().expect("a pipe");
        writeln!(input, "{password}").expect("impartctl reads it");
        drop(input);
        let output = child.wait_with_output().expect("impartctl ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `impartctl` on this configuration.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impartctl"));
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command.output().expect("impartctl starts")
    }
}

impl Setup {
    /// What `impartctl --json` prints; nothing while nobody answers.
    pub fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.ctl(&[&["--json"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|row| serde_json::from_str(row).ok()).collect()
    }

    /// The messages that wait for an inbox or a recipient elsewhere, each as its whole entity with bare line feeds.
    pub fn waiting(&self, address: &str) -> Vec<String> {
        let open = |row: &Value| {
            let recipients = row["recipients"].as_array().cloned().unwrap_or_default();
            recipients.iter().any(|recipient| recipient["address"] == address && recipient["state"] == "open")
        };
        let rows = self.rows(&["queue", "list", "--address", address]);
        let ids = rows.iter().filter(|row| open(row)).filter_map(|row| Some(row["id"].as_str()?.to_owned()));
        let entity = |id: String| {
            let rows = self.rows(&["queue", "show", &id, "--body"]);
            rows.iter().find_map(|row| Some(row["text"].as_str()?.to_owned()))
        };
        ids.filter_map(entity).collect()
    }

    /// Waits until `count` messages wait for an address.
    pub fn wait_for(&self, address: &str, count: usize) -> Vec<String> {
        wait::until(&format!("{count} messages for {address} at {}", self.host), || {
            Some(self.waiting(address)).filter(|messages| messages.len() >= count)
        })
    }

    /// A count of `impartctl status`; zero while nobody answers.
    pub fn status(&self, name: &str) -> u64 {
        let rows = self.rows(&["status"]);
        rows.iter().find_map(|row| row.get(name).and_then(Value::as_u64)).unwrap_or_default()
    }

    /// Why a destination is not tried now, as `impartctl status` tells it.
    pub fn reason(&self, destination: &str) -> Option<String> {
        let rows = self.rows(&["status"]);
        let row = rows.iter().find(|row| row.get("name").is_some_and(|name| name == destination))?;
        Some(row.get("reason")?.as_str()?.to_owned())
    }
}

/// A running daemon; killed when it is dropped.
pub struct Daemon {
    child: Child,
    setup: Setup,
}

impl Daemon {
    /// Waits until all listeners answer; false if the process ended first.
    pub fn ready(&mut self) -> bool {
        // The administration's socket is made when all others have been.
        let control = self.setup.spool().join("control.sock");
        wait::until("impartd takes mail", || match self.child.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => UnixStream::connect(&control).ok().map(|_| true),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        wait::until("impartd ends", || self.child.try_wait().ok().flatten())
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        // It may have ended by itself just now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        wait::until("impartd ends after SIGTERM", || self.child.try_wait().ok().flatten())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the daemon is there");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.setup.host, self.setup.log());
        }
    }
}
