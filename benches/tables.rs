//! The tables of presence: memory, changes, and the start, with many presentities that ten watchers elsewhere have each.
//!
//! `cargo bench --bench tables -- DIRECTORY PRESENTITIES`: makes them in a spool in the directory, then prints a line of
//! JSON: resident octets that they take, how long a change takes from what is said until all that is due of it is there
//! (without the disk), and how long a start takes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use impart::accounts::{Accounts, LocalDomain};
use impart::address::{Domain, Mailbox};
use impart::clock::{Clock, System};
use impart::presence::{Author, Fate, Handle, Options, Parts, Said};
use impart::rules::Handling;
use impart::spool::{self, Spool};
use tokio::sync::watch;

/// Watchers of each presentity.
const EACH: usize = 10;
/// Presentities that one entity subscribes to.
const TOGETHER: usize = 500;
/// Changes that are measured.
const CHANGES: usize = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (Some(directory), Some(count)) = (arguments.first(), arguments.get(1).and_then(|text| text.parse().ok()))
    else {
        println!("tables: nothing to do; say a directory and a number of presentities");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(directory, count));
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).expect("an address")
}

/// Resident octets of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn open(directory: &str, accounts: &watch::Receiver<Arc<Accounts>>) -> (Spool, Handle) {
    let directory = std::path::Path::new(directory);
    let (spool, opened) = Spool::open(&directory.join("spool"), spool::Options::default()).expect("a spool");
    drop(opened);
    let handle = Handle::new(Parts {
        options: Options { interval: Duration::ZERO, undecided: 1_000_000, ..Options::default() },
        default: Handling::Allow,
        spool: spool.clone(),
        accounts: accounts.clone(),
        clock: Arc::new(System::new()),
        rules: directory.join("rules"),
        certifier: None,
        reload: Box::new(|| {}),
    });
    let handle = handle.expect("the tables");
    handle.run();
    (spool, handle)
}

/// Something that a watcher elsewhere or a client here says.
fn said(from: &str, to: Vec<Mailbox>, client: bool, rest: &str) -> Said {
    let entity = Bytes::from(format!("From: <{from}>\r\nMIME-Version: 1.0\r\nPresence: {rest}"));
    let author = Author { mailbox: mailbox(from), proven: true, client, by_mail: false };
    Said { author, recipients: to, entity, signed: None, now: System::new().now() }
}

/// Everything that is due elsewhere goes, and is taken.
fn drain(handle: &Handle, elsewhere: &Domain) -> usize {
    let mut told = 0;
    loop {
        let due = handle.due(elsewhere);
        if due.is_empty() {
            return told;
        }
        for one in due {
            told += one.recipients.len();
            let fates: Vec<_> = (0..one.recipients.len()).map(|place| (place, Fate::Accepted)).collect();
            handle.reported(one.token, &fates);
        }
    }
}

async fn run(directory: &str, count: usize) {
    let here = Domain::parse("a.test").expect("a domain");
    let elsewhere = Domain::parse("w.test").expect("a domain");
    let presentity = |number: usize| mailbox(&format!("p{number}@a.test"));
    let inboxes: HashSet<String> = (0..count).map(|number| presentity(number).key()).collect();
    let domain = LocalDomain { im: true, inboxes, presence: true, presentities: None };
    let accounts = Arc::new(Accounts::new(HashMap::from([(here, domain)])));
    let (_keep, accounts) = watch::channel(accounts);
    let (spool, handle) = open(directory, &accounts);
    let before = resident();
    // Each presentity has ten watchers, each watcher ten presentities.
    for first in (0..count).step_by(TOGETHER) {
        let group: Vec<Mailbox> = (first..(first + TOGETHER).min(count)).map(presentity).collect();
        for watcher in 0..EACH {
            let from = format!("w{}@w.test", first / TOGETHER * EACH + watcher);
            let id = (first * EACH + watcher) as u128 + 1;
            let ask = format!("subscribe; id={id:032x}; expires=3600; event=presence\r\n\r\n");
            handle.say(said(&from, group.clone(), false, &ask)).await.expect("it is taken");
        }
        drain(&handle, &elsewhere);
    }
    let memory = resident().saturating_sub(before);
    let mut times = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        // All over the tables.
        let who = format!("p{}@a.test", change.wrapping_mul(7919) % count);
        let document = format!(
            "publish; id=load\r\nContent-Type: application/pidf+xml\r\n\r\n<presence \
             xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:{who}\"><tuple id=\"a\"><status><basic>open</basic>\
             </status><contact>im:{who}</contact><note>change {change}</note></tuple></presence>\r\n"
        );
        let said = said(&who, vec![mailbox(&who)], true, &document);
        let began = Instant::now();
        let written = handle.say(said);
        let told = drain(&handle, &elsewhere);
        times.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        assert_eq!(told, EACH, "all are told");
        written.await.expect("it is taken");
    }
    times.sort_unstable();
    let status = handle.status();
    drop(handle);
    spool.close().await;
    let began = Instant::now();
    let (spool, handle) = open(directory, &accounts);
    let start = began.elapsed().as_secs_f64();
    assert_eq!(handle.status().watchers, status.watchers, "a start keeps them");
    spool.close().await;
    println!(
        "{{\"presentities\": {}, \"subscriptions\": {}, \"memory_octets\": {memory}, \"change_us\": {{\"p50\": {}, \
         \"p99\": {}}}, \"start_seconds\": {start:.3}}}",
        status.presentities,
        status.watchers,
        times[CHANGES / 2],
        times[CHANGES * 99 / 100]
    );
}
