//! pflogsumm, which sums up the logs of Postfix.

use crate::common::daemon::Setup;
use crate::common::tools::{have, run, said};
use crate::common::traffic;

#[test]
fn pflogsumm_counts_what_the_log_tells() {
    if !have("pflogsumm_counts_what_the_log_tells", &["pflogsumm"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (setup, daemon, _sink) = traffic::run(Setup::new(directory.path()));
    assert!(daemon.stop().success());
    let log = setup.directory.join("log").display().to_string();
    let output = run("pflogsumm", &["--syslog-name=impartd", &log], b"");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = |what: &str| {
        let row = text.lines().find(|line| line.split_whitespace().nth(1) == Some(what));
        let row = row.unwrap_or_else(|| panic!("no {what} in:\n{text}"));
        row.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    // The second copy of a message is nothing that has come.
    assert_eq!((count("received"), count("delivered"), count("deferred"), count("bounced")), (7, 4, 2, 2), "{text}");
    assert_eq!((count("senders"), count("recipients")), (1, 2), "{text}");
    assert!(text.contains("alice@a.test") && text.contains("r@b.test"), "{text}");
    assert!(text.contains("550 5.1.1 there is no such inbox") || text.contains("5.1.1 there is no such"), "{text}");
}
