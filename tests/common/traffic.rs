//! Messages of which it is known what becomes of them, for whoever counts them.

use super::client::{Client, entity};
use super::daemon::{Daemon, Setup, free_address};
use super::sink::{Manner, Sink};
use super::wait;

/// A daemon that has had seven messages, one of them twice: three were delivered, one of two recipients at once delivered
/// and refused, one refused, one put off, one is for a server that nobody reaches.
pub fn run(setup: Setup) -> (Setup, Daemon, Sink) {
    let say = |line: &str| match line {
        line if line.contains("<never") => Some("550 5.1.1 there is no such inbox".to_owned()),
        line if line.contains("<later") => Some("450 4.2.0 not now".to_owned()),
        _ => None,
    };
    let sink = Sink::with(Manner { say: Box::new(say), ..Manner::default() });
    let setup = setup.route(&["b.test"], sink.address).route(&["c.test"], free_address());
    let daemon = setup.start();
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let mut send = |id: &str, to: &[&str]| {
        let entity = entity("alice@a.test", "r@b.test", &format!("{id}@a.test"), id);
        assert_eq!(client.transaction("<alice@a.test>", to, &entity).unwrap().code, 250);
    };
    for id in ["one", "two", "three", "three"] {
        send(id, &["<r@b.test>"]);
    }
    send("four", &["<s@b.test>", "<never@b.test>"]);
    send("five", &["<never@b.test>"]);
    send("six", &["<later@b.test>"]);
    send("seven", &["<r@c.test>"]);
    sink.wait("what is not refused", |arrivals| arrivals.len() == 4);
    let settled = || (setup.status("failed") == 2 && setup.status("deferred") > 1).then_some(());
    wait::until("the refusals", settled);
    // Two receipts of failure, and what is put off.
    wait::until("the receipts", || (setup.status("messages") == 4).then_some(()));
    (setup, daemon, sink)
}
