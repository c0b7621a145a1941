//! Programs that watch: metrics, readiness, and what `impartctl trace` and `top` show of the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::sink::{Manner, Sink};
use crate::common::{traffic, wait};

/// The answer to a request: status, and what follows the head.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, text.to_owned()))
}

/// A daemon that is watched there.
pub fn watched(setup: Setup) -> (Setup, SocketAddr) {
    let address = free_address();
    (setup.with(&format!("[metrics]\nlisten = \"{address}\"\n")), address)
}

#[test]
fn a_scrape_after_traffic_shows_what_became_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (setup, address) = watched(Setup::new(directory.path()));
    let (_setup, daemon, _sink) = traffic::run(setup);
    let (status, page) = get(address, "/metrics").unwrap();
    assert_eq!(status, 200, "{page}");
    let number = |name: &str| -> f64 {
        let row = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        row.unwrap_or_else(|| panic!("no {name} in:\n{page}")).parse().unwrap()
    };
    assert_eq!(number("impart_accepted_total{class=\"IM\",service=\"mail\"}"), 7.0);
    assert_eq!(number("impart_accepted_total{class=\"PRES\",service=\"mail\"}"), 0.0);
    assert_eq!(number("impart_duplicates_total"), 1.0);
    assert_eq!(number("impart_delivered_total{class=\"IM\",destination=\"route\"}"), 4.0);
    assert_eq!(number("impart_failed_total{class=\"IM\",destination=\"route\"}"), 2.0);
    assert!(number("impart_deferred_total{class=\"IM\",destination=\"route\"}") >= 1.0);
    assert_eq!(number("impart_delivered_total{class=\"IM\",destination=\"peer\"}"), 0.0);
    assert_eq!(number("impart_queue_messages"), 4.0);
    let (waiting, flying) = ("impart_queue_waiting", "impart_queue_in_delivery");
    let route = "{destination=\"route\"}";
    assert_eq!(number(&format!("{waiting}{route}")) + number(&format!("{flying}{route}")), 1.0);
    let age = number("impart_queue_oldest_age_seconds");
    assert!(age > 0.0 && age < 120.0, "{age}");
    let commits = number("impart_commit_seconds_count");
    assert!(commits >= 1.0 && commits == number("impart_commit_size_count"), "{page}");
    assert_eq!(number("impart_commit_seconds_bucket{le=\"+Inf\"}"), commits);
    assert!(number("impart_commit_size_sum") >= commits, "{page}");
    assert!(number("impart_connections_taken_total{service=\"mail\"}") >= 1.0);
    assert_eq!(number("impart_spool_read_only"), 0.0);
    assert!(page.ends_with("# EOF\n") && !page.contains('@') && !page.contains("b.test"), "{page}");
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_that_drains_is_alive_and_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    // It keeps a delivery under way while the daemon ends.
    let say = |line: &str| {
        if line.contains("Message-ID: <slow@") {
            std::thread::sleep(Duration::from_secs(4));
        }
        None
    };
    let sink = Sink::with(Manner { say: Box::new(say), ..Manner::default() });
    let (setup, address) = watched(Setup::new(directory.path()).route(&["b.test"], sink.address));
    let daemon = setup.start();
    assert_eq!(get(address, "/healthz"), Some((200, "alive\n".to_owned())));
    assert_eq!(get(address, "/readyz"), Some((200, "ready\n".to_owned())));
    assert_eq!(get(address, "/elsewhere").map(|(status, _)| status), Some(404));
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let entity = entity("alice@a.test", "r@b.test", "slow@a.test", "slow");
    assert_eq!(client.transaction("<alice@a.test>", &["<r@b.test>"], &entity).unwrap().code, 250);
    wait::until("it is in delivery", || (setup.status("in_delivery") == 1).then_some(()));
    daemon.signal(Signal::TERM);
    let (status, text) =
        wait::until("it is not ready any more", || get(address, "/readyz").filter(|(status, _)| *status != 200));
    assert_eq!((status, text.as_str()), (503, "draining: nothing new is taken\n"));
    assert_eq!(get(address, "/healthz"), Some((200, "alive\n".to_owned())));
    assert!(daemon.end().success(), "{}", setup.log());
    assert_eq!(get(address, "/healthz"), None);
}

#[test]
fn a_message_and_a_person_are_followed_through_log_and_spool() {
    let directory = tempfile::tempdir().unwrap();
    let (setup, daemon, _sink) = traffic::run(Setup::new(directory.path()));
    let log = setup.directory.join("log").display().to_string();
    let trace = |subject: &str| {
        let output = setup.ctl(&["trace", subject, "--log", &log]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let later = trace("later@b.test");
    let id = setup.rows(&["queue", "list", "--address", "later@b.test"])[0]["id"].as_str().unwrap().to_owned();
    for part in
        ["smtpd[", ": client=localhost[127.0.0.1]", "from=<alice@a.test>", "status=deferred (450 4.2.0 not now)"]
    {
        assert!(later.contains(part), "no {part} in {later}");
    }
    assert!(later.lines().filter(|line| line.contains("impartd")).all(|line| line.contains(&id)), "{later}");
    assert!(later.lines().any(|line| line.starts_with(&id)), "the spool has it: {later}");
    // The daemon may have tried again in between.
    assert!(trace(&id).contains("status=deferred (450 4.2.0 not now)"));
    let alice = trace("alice@a.test");
    assert_eq!(alice.matches("status=bounced").count(), 2, "{alice}");
    assert_eq!(alice.matches(": client=").count(), 7, "{alice}");
    assert!(daemon.stop().success());
    let stopped = setup.ctl(&["trace", &id, "--log", &log]);
    assert!(String::from_utf8_lossy(&stopped.stdout).contains("later@b.test"), "also while no daemon runs");
    let none = setup.ctl(&["trace", &id, "--log", "/nowhere/log"]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("/nowhere/log"));
}

#[test]
fn top_shows_the_queue_in_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let (setup, _daemon, _sink) = traffic::run(Setup::new(directory.path()));
    let output = setup.ctl(&["top", "--once", "--interval", "1"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("queue     4 messages, ") && text.contains("in all    7 accepted, 4 delivered, "), "{text}");
    assert!(text.contains("a second  0.0 accepted, 0.0 delivered, "), "{text}");
    assert!(text.lines().any(|line| line.contains("  route c.test: ")), "{text}");
}
