//! What systemd is told, by a socket that stands in for it, and the unit.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::client::Client;
use crate::common::daemon::{Setup, free_address};
use crate::common::wait::PATIENCE;
use crate::common::{tools, wait};

/// Where systemd would listen.
struct Manager(UnixDatagram);

impl Manager {
    fn new(setup: &mut Setup) -> Manager {
        let path = setup.directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        setup.environment.insert("NOTIFY_SOCKET".to_owned(), path.display().to_string());
        Manager(socket)
    }

    /// The next datagram as its lines.
    fn told(&self) -> Vec<String> {
        let mut octets = [0; 4096];
        let length = self.0.recv(&mut octets).expect("a word to systemd");
        String::from_utf8_lossy(&octets[..length]).lines().map(str::to_owned).collect()
    }

    /// The next datagram that is no sign of life.
    fn state(&self) -> Vec<String> {
        loop {
            let told = self.told();
            if told != ["WATCHDOG=1"] {
                return told;
            }
        }
    }
}

#[test]
fn start_reload_and_stop_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(directory.path());
    let manager = Manager::new(&mut setup);
    let daemon = setup.start();
    assert_eq!(manager.state(), ["READY=1"]);
    let (start, mut first) = (Instant::now(), None);
    for wrong in [false, true] {
        if wrong {
            std::fs::write(setup.config(), "host = 1\n").unwrap();
        }
        daemon.signal(Signal::HUP);
        let told = manager.state();
        let [reloading, since] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(reloading, "RELOADING=1");
        let since: u64 = since.strip_prefix("MONOTONIC_USEC=").expect("the time").parse().expect("a number");
        let first = *first.get_or_insert(since);
        let passed = start.elapsed().as_micros();
        assert!(since > 0 && since >= first && u128::from(since - first) <= passed, "{first} {since} {passed}");
        // Whether it was taken over or not, it is over.
        assert_eq!(manager.state(), ["READY=1"]);
    }
    daemon.signal(Signal::TERM);
    assert_eq!(manager.state(), ["STOPPING=1"]);
    assert!(daemon.end().success());
}

#[test]
fn a_watchdog_hears_twice_in_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(directory.path());
    let manager = Manager::new(&mut setup);
    setup.environment.insert("WATCHDOG_USEC".to_owned(), "400000".to_owned());
    let daemon = setup.start();
    let start = Instant::now();
    let mut signs = 0;
    while signs < 10 {
        signs += u32::from(manager.told() == ["WATCHDOG=1"]);
    }
    // The first comes at once.
    assert!(start.elapsed() >= Duration::from_millis(9 * 200 - 250), "{:?}", start.elapsed());
    assert!(daemon.stop().success());
}

#[test]
fn without_systemd_nobody_is_told_and_nothing_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(directory.path());
    setup.environment.insert("NOTIFY_SOCKET".to_owned(), "/nonexistent/notify".to_owned());
    let daemon = setup.start();
    daemon.signal(Signal::HUP);
    assert!(setup.ctl(&["reload"]).status.success());
    assert!(daemon.stop().success());
}

/// The value of a key of the unit.
fn unit(key: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/impartd.service")).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{key} is not in the unit")).to_owned()
}

#[test]
fn the_command_line_of_the_unit_is_understood() {
    assert_eq!(unit("Type"), "notify");
    let start = unit("ExecStart");
    let mut words = start.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/impartd"));
    // The file that it names is one by which the daemon can start.
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/impart.toml");
    let words: Vec<&str> = words.collect();
    assert!(words.contains(&"/etc/impart/impart.toml"), "{words:?}");
    let words = words.iter().map(|word| match *word {
        "/etc/impart/impart.toml" => sample.as_os_str(),
        word => word.as_ref(),
    });
    let output = Command::new(env!("CARGO_BIN_EXE_impartd")).args(words).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", tools::said(&output));
}

#[test]
fn systemd_finds_no_fault_with_the_unit() {
    if !tools::have("systemd_finds_no_fault_with_the_unit", &["systemd-analyze"]) {
        return;
    }
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let directory = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(&conf).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".service") || name.ends_with(".socket") {
            // The program is where it was built; systemd looks whether it is there.
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let copy = directory.path().join(&name);
            std::fs::write(&copy, text.replace("/usr/bin/impartd", env!("CARGO_BIN_EXE_impartd"))).unwrap();
            units.push(copy);
        }
    }
    assert_eq!(units.len(), 2);
    for copy in units {
        let output = tools::run("systemd-analyze", &["verify", "--man=no", &copy.display().to_string()], b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("impartd")).collect();
        assert!(output.status.success() && ours.is_empty(), "{}", tools::said(&output));
    }
}

/// Starts the daemon by a service manager that listens for it; it is started by the first connection.
fn activated(setup: &Setup, sockets: &[String]) -> std::process::Child {
    setup.write();
    let log = std::fs::File::create(setup.directory.join("log")).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    sockets.iter().for_each(|socket| _ = command.arg("-l").arg(socket));
    command.arg(env!("CARGO_BIN_EXE_impartd")).arg("--config").arg(setup.config());
    command.stdin(std::process::Stdio::null()).stderr(log).spawn().unwrap()
}

#[test]
fn sockets_that_systemd_has_opened_are_taken_over_and_others_are_closed() {
    let test = "sockets_that_systemd_has_opened_are_taken_over_and_others_are_closed";
    if !tools::have(test, &["systemd-socket-activate"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (setup, stray) = (Setup::new(directory.path()), free_address());
    let path = directory.path().join("mail.sock").display().to_string();
    let own = free_address();
    let more = |address: &str| format!("[[listen]]\nservice = \"mail\"\naddress = \"{address}\"\nsenders = \"any\"\n");
    let setup = setup.with(&more(&format!("unix:{path}"))).with(&more(&own.to_string()));
    let mut child = activated(&setup, &[stray.to_string(), setup.mail.to_string(), path.clone()]);
    // The first connection waits for the daemon.
    let mut client = wait::until("systemd listens", || Client::connect(setup.mail).ok());
    assert!(client.say("EHLO client.test").unwrap().code == 250, "{}", setup.log());
    let unix = Client::over(std::os::unix::net::UnixStream::connect(&path).unwrap()).unwrap();
    assert_eq!(unix.quit().unwrap().code, 221);
    // What nobody has opened for it, it opens itself.
    wait::until("its own socket", || Client::connect(own).ok());
    assert!(std::net::TcpStream::connect(stray).is_err(), "a socket without a section is closed");
    let said = setup.log();
    assert!(said.contains(&stray.to_string()) && said.contains("for which there is no [[listen]]"), "{said}");
    client.quit().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success(), "{}", setup.log());
    assert!(Path::new(&path).exists(), "the service manager's file stays");
}

/// Who is told to end as soon as it serves anybody, or to read its files again, ends in order.
#[test]
fn signals_at_the_first_moment_are_heard() {
    for signals in [&[Signal::TERM][..], &[Signal::HUP, Signal::INT]] {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup::new(directory.path());
        let daemon = setup.spawn();
        let begun = std::time::Instant::now();
        // At once, not at the next look.
        while std::net::TcpStream::connect(setup.mail).is_err() && begun.elapsed() < wait::PATIENCE {}
        signals.iter().for_each(|signal| daemon.signal(*signal));
        assert!(daemon.end().success(), "{}", setup.log());
    }
}

fn conf(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name).display().to_string()
}

#[test]
fn the_sockets_of_the_unit_are_those_of_the_sample() {
    let sample = std::fs::read_to_string(conf("impart.toml")).unwrap();
    let text = std::fs::read_to_string(conf("impartd.socket")).unwrap();
    let open: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    assert!(!open.is_empty());
    for address in open {
        assert!(sample.contains(&format!("\naddress = \"{address}\"\n")), "{address} is not in conf/impart.toml");
    }
    // Both families of an address are listened on apart.
    assert!(text.contains("BindIPv6Only=ipv6-only"));
}

#[test]
fn the_exposure_of_the_unit_is_low() {
    if !tools::have("the_exposure_of_the_unit_is_low", &["systemd-analyze"]) {
        return;
    }
    let unit = conf("impartd.service");
    let output = tools::run("systemd-analyze", &["security", "--offline=true", "--threshold=20", &unit], b"");
    assert!(output.status.success(), "{}", tools::said(&output));
}

#[test]
fn apparmor_reads_the_profile() {
    if tools::have("apparmor_reads_the_profile", &["apparmor_parser"]) {
        // Read and compiled, neither loaded nor kept.
        let output = tools::run("apparmor_parser", &["-Q", "-K", &conf("impartd.apparmor")], b"");
        assert!(output.status.success(), "{}", tools::said(&output));
    }
}

#[test]
fn logrotate_reads_its_file() {
    if !tools::have("logrotate_reads_its_file", &["logrotate"]) {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("impart");
    std::fs::copy(conf("impart.logrotate"), &copy).unwrap();
    // It obeys no file that others may write.
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = tools::run("logrotate", &["--debug", &copy.display().to_string()], b"");
    let said = tools::said(&output);
    assert!(output.status.success() && !said.contains("error") && said.contains("/var/log/impart/*.log"), "{said}");
}
