//! A message over which the next hop falls, each time that it is offered.

use std::time::Duration;

use crate::common::client::{Client, entity};
use crate::common::daemon::Setup;
use crate::common::sink::{Manner, Sink};
use crate::common::wait;

/// Submits a message to r@b.test.
fn send(setup: &Setup, from: &str, id: &str) {
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let entity = entity(from, "r@b.test", &format!("{id}@a.test"), id);
    assert_eq!(client.transaction(&format!("<{from}>"), &["<r@b.test>"], &entity).unwrap().code, 250);
}

#[test]
fn a_message_that_kills_the_next_hops_connection_holds_up_no_other_and_its_sender_is_told() {
    let directory = tempfile::tempdir().unwrap();
    // It takes the whole entity and goes without an answer.
    let say = |line: &str| line.contains("Message-ID: <poison@").then(String::new);
    let sink = Sink::with(Manner { say: Box::new(say), ..Manner::default() });
    let setup = Setup::new(directory.path()).route(&["b.test"], sink.address);
    let setup = setup.key("[queue]", "retention = \"20s\"");
    let daemon = setup.start();
    let start = std::time::Instant::now();
    send(&setup, "alice@a.test", "before");
    send(&setup, "alice@a.test", "poison");
    let others: Vec<String> = (0..30).map(|number| format!("behind-{number}")).collect();
    // Of other people: what its own sender writes to the same inbox keeps its order, and waits behind it for a while.
    others.iter().for_each(|id| send(&setup, &format!("{id}@c.test"), id));
    let arrived = sink.wait("all others", |arrivals| arrivals.len() > others.len());
    assert!(start.elapsed() < Duration::from_secs(15), "they waited for it: {:?}", start.elapsed());
    for id in others.iter().map(String::as_str).chain(["before"]) {
        let id = format!("<{id}@a.test>");
        assert_eq!(arrived.iter().filter(|a| a.field("Message-ID").as_ref() == Some(&id)).count(), 1, "{id}");
    }
    // It is tried until its time is over, and its author learns of it.
    let report = wait::until("a failure receipt", || setup.waiting("alice@a.test").pop());
    assert!(report.contains("Action: failed") && report.contains("<poison@a.test>"), "{report}");
    assert!(!sink.arrivals().iter().any(|arrival| arrival.entity.contains("<poison@")));
    wait::until("the queue is empty but for the receipt", || (setup.status("messages") == 1).then_some(()));
    assert!(daemon.stop().success());
}
