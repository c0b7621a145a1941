//! Disks that are full or cannot be written to: a real file system of its own for the spool, mounted where nobody else
//! sees it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::common::client::{Client, Reply, entity};
use crate::common::daemon::Setup;
use crate::common::sink::Sink;
use crate::common::{tools, wait};
use crate::watched::{get, watched};

/// A daemon whose spool is a small file system in memory.
struct Apart {
    setup: Setup,
    child: Child,
}

/// Says how to get a mount of one's own; nothing where the system does not let us.
fn apart(test: &str) -> Option<&'static str> {
    if !tools::have(test, &["unshare", "mount"]) {
        return None;
    }
    let may = |options: &str| {
        let output = Command::new("unshare").args([options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let way = ["-m", "-rm"].into_iter().find(|options| may(options));
    if way.is_none() {
        tools::leave_out(&format!("{test} (the system lets nobody mount anything here)"));
    }
    way
}

impl Apart {
    /// Starts the daemon; `then` is done to the mount before.
    fn start(way: &str, setup: &Setup, then: &str) -> Apart {
        setup.write();
        fs::create_dir_all(setup.spool()).unwrap();
        // What the test asks it has to reach from outside.
        let text = fs::read_to_string(setup.config()).unwrap();
        let control = setup.directory.join("control.sock");
        fs::write(setup.config(), format!("control = {control:?}\n{text}")).unwrap();
        let script = format!("mount -t tmpfs -o size=160m tmpfs \"$1\" && {then} exec \"$2\" --config \"$3\"");
        let log = fs::OpenOptions::new().create(true).append(true).open(setup.directory.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args([way, "sh", "-c", &script, "sh"]);
        command.arg(setup.spool()).arg(env!("CARGO_BIN_EXE_impartd")).arg(setup.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Apart { setup: setup.clone(), child: command.spawn().unwrap() }
    }

    fn ready(self) -> Apart {
        let control = self.setup.directory.join("control.sock");
        wait::until("impartd is ready", || UnixStream::connect(&control).ok());
        self
    }

    fn end(mut self) -> ExitStatus {
        wait::until("impartd ends", || self.child.try_wait().ok().flatten())
    }

    /// A file on the same disk, from outside.
    fn filler(&self) -> PathBuf {
        let inside = self.setup.spool().join("filler");
        PathBuf::from(format!("/proc/{}/root{}", self.child.id(), inside.display()))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(setup: &Setup, id: &str) -> Reply {
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let entity = entity("alice@a.test", "r@b.test", &format!("{id}@a.test"), id);
    client.transaction("<alice@a.test>", &["<r@b.test>"], &entity).unwrap()
}

#[test]
fn a_full_disk_refuses_for_now_and_recovers_by_itself() {
    let Some(way) = apart("a_full_disk_refuses_for_now_and_recovers_by_itself") else { return };
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let (setup, watched) = watched(Setup::new(directory.path()).route(&["b.test"], sink.address));
    let daemon = Apart::start(way, &setup, "").ready();
    let readiness = || get(watched, "/readyz").unwrap_or_default();
    assert_eq!(send(&setup, "before").code, 250);
    assert_eq!(readiness(), (200, "ready\n".to_owned()));
    sink.wait("the first", |arrivals| arrivals.len() == 1);
    // To the last octet.
    let mut filler = fs::File::create(daemon.filler()).unwrap();
    let full = (0..).find_map(|_| std::io::Write::write_all(&mut filler, &[0; 1 << 16]).err()).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let refused = wait::until("a refusal", || Some(send(&setup, "meanwhile")).filter(|reply| reply.code != 250));
    assert_eq!((refused.code, &refused.lines[0][..6]), (452, "4.3.1 "), "{refused:?}");
    let (status, why) = readiness();
    assert!(status == 503 && why.starts_with("the spool takes nothing: "), "{status} {why}");
    assert!(setup.log().contains("nearly full") || setup.log().contains("read-only"), "{}", setup.log());
    assert!(setup.ctl(&["status"]).status.success(), "it is there and says how it is");
    drop(filler);
    fs::remove_file(daemon.filler()).unwrap();
    wait::until("it takes messages again", || (send(&setup, "after").code == 250).then_some(()));
    assert_eq!(readiness().0, 200);
    let arrived = sink.wait("the last", |arrivals| arrivals.iter().any(|arrival| arrival.entity.contains("<after@")));
    let times = |id: &str| arrived.iter().filter(|arrival| arrival.entity.contains(&format!("<{id}@"))).count();
    assert_eq!((times("before"), times("after")), (1, 1));
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon.child), rustix::process::Signal::TERM)
        .unwrap();
    assert!(daemon.end().success(), "{}", setup.log());
}

#[test]
fn a_disk_that_cannot_be_written_to_is_named_at_the_start() {
    let Some(way) = apart("a_disk_that_cannot_be_written_to_is_named_at_the_start") else { return };
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    let daemon = Apart::start(way, &setup, "mount -o remount,ro \"$1\" &&");
    let status = daemon.end();
    assert_eq!(status.code(), Some(69), "{}", setup.log());
    let log = setup.log();
    assert!(log.contains(&format!("{}", setup.spool().display())) && log.contains("Read-only file system"), "{log}");
    assert!(log.contains("see that the disk is there, writable and not full"), "{log}");
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named() {
    let Some(way) = apart("a_disk_that_is_full_at_the_start_is_named") else { return };
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    let fill = "{ head -c 200m /dev/zero > \"$1/filler\" 2>/dev/null; true; } &&";
    let daemon = Apart::start(way, &setup, fill);
    let status = daemon.end();
    let log = setup.log();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(log.contains("No space left on device"), "{log}");
}
