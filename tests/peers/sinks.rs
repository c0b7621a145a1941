//! Programs that receive: smtp-sink, in its moods.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::sink::Sink;
use crate::common::tools::{find, have, root};
use crate::common::wait;

/// A running smtp-sink that writes each message to a file of its own; killed when it is dropped.
struct SmtpSink(Child);

impl SmtpSink {
    fn start(address: SocketAddr, folder: &Path, moods: &[&str]) -> SmtpSink {
        let program = find("smtp-sink").expect("smtp-sink is installed");
        let mut command = Command::new(program);
        if root() {
            // It insists on another user, who must be able to write there.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("the folder");
            command.args(["-u", "nobody"]);
        }
        command.args(moods).arg("-d").arg(folder.join("%Y%m%d%H%M%S.")).arg(address.to_string()).arg("100");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("smtp-sink starts");
        wait::until("smtp-sink listens", || TcpStream::connect(address).ok());
        SmtpSink(child)
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The messages that smtp-sink wrote, once there are `number`.
fn taken(folder: &Path, number: usize) -> Vec<String> {
    wait::until("smtp-sink has the messages", || {
        let files = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| fs::read(entry.path()).ok());
        let texts: Vec<_> = files.map(|octets| String::from_utf8_lossy(&octets).into_owned()).collect();
        let complete = texts.iter().filter(|text| text.contains("the end of it")).count();
        (complete >= number).then_some(texts)
    })
}

fn offer(setup: &Setup, number: usize) {
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    for at in 0..number {
        let entity = entity("s@c.test", "r@b.test", &format!("k{at}@c.test"), ".\r\n..\r\nthe end of it");
        let stuffed = String::from_utf8(entity).unwrap().replace("\r\n.", "\r\n..");
        let reply = client.transaction("<s@c.test>", &["<r@b.test>"], stuffed.as_bytes()).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }
}

fn relay(directory: &Path, b: SocketAddr, c: SocketAddr) -> Setup {
    Setup::new(directory).route(&["b.test"], b).route(&["c.test"], c)
}

#[test]
fn smtp_sink_receives_with_and_without_extensions() {
    if !have("smtp_sink_receives_with_and_without_extensions", &["smtp-sink"]) {
        return;
    }
    // -p: no PIPELINING; -8: no 8BITMIME; -e: HELO only.
    for moods in [&[][..], &["-p"], &["-8", "-E"], &["-e"]] {
        let (directory, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (next, receipts) = (free_address(), Sink::start());
        let _sink = SmtpSink::start(next, folder.path(), moods);
        let setup = relay(directory.path(), next, receipts.address);
        let daemon = setup.start();
        offer(&setup, 5);
        let texts = taken(folder.path(), 5);
        assert!(texts.iter().all(|text| text.contains("\n.\n..\n") || text.contains("\n.\r\n..\r\n")), "{moods:?}");
        assert!(daemon.stop().success(), "{moods:?}: {}", setup.log());
        assert!(receipts.arrivals().is_empty(), "{moods:?}");
    }
}

#[test]
fn smtp_sink_refuses_and_the_sender_is_told() {
    if !have("smtp_sink_refuses_and_the_sender_is_told", &["smtp-sink"]) {
        return;
    }
    for refused in ["MAIL", "RCPT", "DATA", "."] {
        let (directory, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (next, receipts) = (free_address(), Sink::start());
        let _sink = SmtpSink::start(next, folder.path(), &["-f", refused]);
        let setup = relay(directory.path(), next, receipts.address);
        let _daemon = setup.start();
        offer(&setup, 1);
        let arrivals = receipts.wait("a receipt of failure", |arrivals| !arrivals.is_empty());
        assert!(arrivals[0].entity.contains("Action: failed"), "{refused}: {arrivals:?}");
    }
}

#[test]
fn smtp_sink_that_defers_or_hangs_up_gets_it_later() {
    if !have("smtp_sink_that_defers_or_hangs_up_gets_it_later", &["smtp-sink"]) {
        return;
    }
    // -r: soft errors; -q: disconnects.
    for moods in [["-r", "RCPT"], ["-r", "."], ["-q", "RCPT"], ["-q", "DATA"]] {
        let (directory, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (next, receipts) = (free_address(), Sink::start());
        let moody = SmtpSink::start(next, folder.path(), &moods);
        let setup = relay(directory.path(), next, receipts.address);
        let _daemon = setup.start();
        offer(&setup, 1);
        wait::until("an attempt is deferred", || (setup.status("deferred") > 0).then_some(()));
        drop(moody);
        let _sink = SmtpSink::start(next, folder.path(), &[]);
        taken(folder.path(), 1);
    }
}
