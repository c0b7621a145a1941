//! A clock that jumps, by a library that stands before the system's.

use std::fs;

use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::preload::Library;
use crate::common::sink::Sink;
use crate::common::wait;

/// A day, in seconds.
const DAY: i64 = 86_400;

fn set(setup: &Setup, seconds: i64) {
    // In place: the library has the file mapped.
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(setup.directory.join("offset"));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &seconds.to_ne_bytes(), 0).unwrap();
}

/// Submits a message from alice@a.test.
fn send(setup: &Setup, to: &str, id: &str) {
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let entity = entity("alice@a.test", to, &format!("{id}@a.test"), id);
    let reply = client.transaction("<alice@a.test>", &[&format!("<{to}>")], &entity).unwrap();
    assert_eq!(reply.code, 250, "{id}: {reply:?}");
}

fn id_is(arrival: &crate::common::sink::Arrival, id: &str) -> bool {
    arrival.field("Message-ID").is_some_and(|found| found == format!("<{id}@a.test>"))
}

#[test]
fn a_jump_expires_nothing_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let library = Library::build("tests/daemon/clock.c");
    let sink = Sink::start();
    let mut setup = Setup::new(directory.path()).route(&["b.test"], sink.address).route(&["c.test"], free_address());
    library.load_into(&mut setup);
    let offset = setup.directory.join("offset").display().to_string();
    setup.environment.insert("CLOCK_OFFSET".to_owned(), offset);
    set(&setup, 0);
    let daemon = setup.start();
    send(&setup, "bob@a.test", "for-an-inbox");
    send(&setup, "r@c.test", "for-a-dead-hop");
    for (number, jump) in [30 * DAY, -30 * DAY, 400 * 365 * DAY].into_iter().enumerate() {
        set(&setup, jump);
        let id = format!("after-{number}");
        send(&setup, "r@b.test", &id);
        sink.wait("a message after the jump", |arrivals| arrivals.iter().any(|arrival| id_is(arrival, &id)));
        // The other hop is still tried, in the rhythm of before.
        let before = setup.log().matches("status=deferred").count();
        wait::until("another attempt", || (setup.log().matches("status=deferred").count() > before + 1).then_some(()));
        assert_eq!(setup.status("messages"), 2, "nothing has expired and nothing was reported");
    }
    assert!(setup.log().contains("the system's clock jumped to"), "{}", setup.log());
    // A start while the clock is behind: what is in the spool is from the future.
    set(&setup, -2 * DAY);
    assert!(daemon.stop().success());
    let daemon = setup.start();
    assert_eq!(setup.status("messages"), 2);
    send(&setup, "r@b.test", "from-the-past");
    sink.wait("a message", |arrivals| arrivals.iter().any(|arrival| id_is(arrival, "from-the-past")));
    assert_eq!(setup.waiting("bob@a.test").len(), 1);
    let before = setup.log().matches("status=deferred").count();
    wait::until("another attempt", || (setup.log().matches("status=deferred").count() > before).then_some(()));
    let text = String::from_utf8_lossy(&setup.ctl(&["queue", "list"]).stdout).into_owned();
    assert!(text.contains("r@c.test") && text.contains("bob@a.test"), "{text}");
    assert!(daemon.stop().success());
}
