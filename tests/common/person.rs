//! A person with the command `impart`, whose configuration and history are in a directory of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::tools::said;
use super::wait;

/// A person.
#[derive(Clone, Debug)]
pub struct Person {
    /// The address, which is the account.
    pub address: String,
    /// Where all files of the person are.
    pub home: PathBuf,
    server: SocketAddr,
    authorities: PathBuf,
    device: String,
}

impl Person {
    /// A person who has not logged in yet; the server proves itself by the authorities of this file.
    pub fn new(address: &str, home: &Path, server: SocketAddr, authorities: &Path) -> Person {
        fs::create_dir_all(home).expect("a directory");
        let (home, authorities) = (home.to_owned(), authorities.to_owned());
        Person { address: address.to_owned(), home, server, authorities, device: "desk".to_owned() }
    }

    /// The same person with another device, whose files are in a directory beside.
    pub fn beside(&self, name: &str) -> Person {
        let person = Person::new(&self.address, &self.home.with_file_name(name), self.server, &self.authorities);
        Person { device: name.to_owned(), ..person }
    }

    /// What the environment must say, so that only the person's own files are used.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let place = |name: &str| self.home.join(name).display().to_string();
        let folders = [("HOME", ""), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data")];
        let mut environment: Vec<_> = folders.into_iter().map(|(name, folder)| (name, place(folder))).collect();
        environment.extend([("LC_ALL", "C.UTF-8".to_owned()), ("TZ", "UTC".to_owned())]);
        environment
    }

    /// `impart` with these arguments, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impart"));
        command.args(arguments).env_remove("IMPART_CONFIG").envs(self.environment()).current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `impart` with this on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("impart starts");
        // A command that does not read its input has no use for it.
        let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
        child.wait_with_output().expect("impart ends")
    }

    /// Runs `impart`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    /// Runs `impart`, which must succeed; what it printed.
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "impart {arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The arguments of a login with this password.
    pub fn login(&self, password: &str) -> Vec<String> {
        self.login_by(&["--password-command", &format!("echo {password}")])
    }

    /// The arguments of a login in this way.
    pub fn login_by(&self, how: &[&str]) -> Vec<String> {
        let (server, authorities) = (self.server.to_string(), self.authorities.display().to_string());
        let words = ["login", &self.address, "--device", &self.device, "--server", &server, "--ca", &authorities];
        words.iter().chain(how).map(|word| (*word).to_owned()).collect()
    }

    /// Logs in; the account is remembered.
    pub fn log_in(self, password: &str) -> Person {
        let words = self.login(password);
        self.done(&words.iter().map(String::as_str).collect::<Vec<_>>());
        self
    }

    /// Objects that `impart` prints, one a line.
    pub fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.done(arguments);
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Receives until this is dropped or killed.
    pub fn listen(&self) -> Listening {
        self.listen_by("exec \"$0\" listen --json")
    }

    /// Receives by a script, to which `impart` is `$0`.
    pub fn listen_by(&self, script: &str) -> Listening {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_impart")]).env_remove("IMPART_CONFIG").envs(self.environment());
        shell.current_dir(&self.home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = shell.spawn().expect("the shell starts");
        let output = child.stdout.take().expect("a pipe");
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = events.clone();
        let reader = std::thread::spawn(move || {
            // A killed process may leave half a line.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line);
                kept.lock().expect("no test panicked with it").extend(event.ok());
            }
        });
        Listening { child, events, reader: Some(reader) }
    }
}

/// A running `impart listen --json`.
pub struct Listening {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Listening {
    /// What it has printed so far.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().expect("no test panicked with it").clone()
    }

    /// The texts of the messages that it has printed so far.
    pub fn texts(&self) -> Vec<String> {
        texts(&self.events())
    }

    /// Waits until it has printed an event with these values.
    pub fn wait_for(&self, values: &[(&str, &str)]) -> Value {
        let fits = |event: &Value| values.iter().all(|(key, value)| event[key] == *value);
        wait::until(&format!("{values:?}"), || self.events().into_iter().find(fits))
    }

    /// SIGKILL; all that it has printed.
    pub fn kill(mut self) -> Vec<Value> {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().map(std::thread::JoinHandle::join);
        self.events()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The texts of the messages among these events.
pub fn texts(events: &[Value]) -> Vec<String> {
    let messages = events.iter().filter(|event| event["event"] == "message");
    messages.filter_map(|event| Some(event["text"].as_str()?.trim_end().to_owned())).collect()
}
