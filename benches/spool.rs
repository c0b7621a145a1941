//! The spool alone: durable accept and settle by many tasks, and what a million queued messages cost.
//!
//! `cargo bench --bench spool [-- SECONDS [QUEUED [TASKS…]]]`: seconds for each number of tasks (default 5), messages to
//! queue (default 1,000,000; 0 leaves that part out), numbers of tasks (default 1, 16, 256). It writes into a directory of its own under `TMPDIR` and removes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use impart::address::{Mailbox, ReversePath};
use impart::envelope::{Body, Class, Envelope, Recipient};
use impart::spool::{Disposition, NewMessage, Options, Origin, QueueId, Settlement, Spool, State};
use impart::timestamp::Timestamp;

const ENTITY: usize = 1024;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let seconds = numbers.first().copied().unwrap_or(5);
    let queued = numbers.get(1).copied().unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("tasks  accepted+settled/s  p50 ms  p99 ms  p999 ms  max ms  CPU µs/message  messages/commit");
    for tasks in numbers.get(2..).filter(|tasks| !tasks.is_empty()).unwrap_or(&[1, 16, 256]).iter().copied() {
        runtime.block_on(churn(tasks, Duration::from_secs(seconds)));
    }
    if queued > 0 {
        runtime.block_on(million(queued));
    }
}

fn message(number: u64) -> NewMessage {
    let mailbox = |text: &str| Mailbox::parse(text).unwrap();
    let recipient =
        Recipient { address: mailbox(&format!("bob{}@b.example", number % 1000)), notify: None, original: None };
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Mailbox(mailbox(&format!("alice{}@a.example", number % 1000))),
        body: Body::SevenBit,
        utf8: false,
        ret: None,
        envid: Some(format!("{number:032x}")),
        deliver_by: None,
        require_tls: false,
        recipients: vec![recipient],
    };
    let mut entity = vec![b'x'; ENTITY];
    entity[..8].copy_from_slice(&number.to_le_bytes());
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    let arrived = Timestamp::from(SystemTime::now());
    NewMessage {
        id: None,
        envelope: Arc::new(envelope),
        entity: Bytes::from(entity),
        digest,
        message_id: Some(format!("{number:032x}@a.example")),
        repeatable: true,
        signed: Vec::new(),
        origin: Origin::Mail,
        arrived,
        expires: arrived.after(Duration::from_secs(86_400)),
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Resident memory in octets.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn churn(tasks: u64, time: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = Spool::open(dir.path(), Options::default()).unwrap();
    tokio::spawn(async move { while opened.arrivals.recv().await.is_some() {} });
    let number = Arc::new(AtomicU64::new(0));
    let (started, before) = (Instant::now(), cpu());
    let mut running = Vec::new();
    for _ in 0..tasks {
        let (spool, number) = (spool.clone(), number.clone());
        running.push(tokio::spawn(async move {
            let mut times = Vec::new();
            let mut settling = None;
            while started.elapsed() < time {
                let message = message(number.fetch_add(1, Ordering::Relaxed));
                let began = Instant::now();
                let id = spool.accept(message).await.unwrap().id;
                times.push(began.elapsed());
                // As in the relay, the next message does not wait until the outcome of the last one is written.
                if let Some(settled) = settling.replace(tokio::spawn(settle(&spool, id))) {
                    settled.await.unwrap();
                }
            }
            if let Some(settled) = settling {
                settled.await.unwrap();
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await.unwrap());
    }
    let (elapsed, used) = (started.elapsed(), cpu() - before);
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    let status = spool.status();
    println!(
        "{tasks:>5}  {:>18.0}  {:>6.2}  {:>6.2}  {:>7.2}  {:>6.1}  {:>14.1}  {:>15.1}",
        times.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        used.as_secs_f64() * 1e6 / times.len() as f64,
        status.commands as f64 / status.commits as f64,
    );
    assert_eq!(status.messages, 0, "everything accepted was settled");
    spool.close().await;
}

fn settle(spool: &Spool, id: QueueId) -> impl Future<Output = ()> + use<> {
    let states = vec![(0, State::Closed(Disposition::Delivered))];
    let settling = spool.settle(Settlement { states, ..Settlement::new(id) });
    async move { assert!(settling.await.unwrap().applied) }
}

async fn million(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let empty = memory();
    let (spool, mut opened) = Spool::open(dir.path(), Options::default()).unwrap();
    tokio::spawn(async move { while opened.arrivals.recv().await.is_some() {} });
    let started = Instant::now();
    let mut running = Vec::new();
    for task in 0..256 {
        let spool = spool.clone();
        running.push(tokio::spawn(async move {
            for number in (task..count).step_by(256) {
                spool.accept(message(number)).await.unwrap();
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
    let took = started.elapsed();
    println!("{count} queued in {:.1} s ({:.0}/s)", took.as_secs_f64(), count as f64 / took.as_secs_f64());
    println!("memory: {} octets per message when queued", (memory() - empty) / count);
    assert_eq!(spool.status().messages, count);
    spool.close().await;
    drop(spool);
    reopen(dir.path(), count, empty).await;
}

async fn reopen(dir: &std::path::Path, count: u64, empty: u64) {
    let started = Instant::now();
    let (spool, opened) = Spool::open(dir, Options::default()).unwrap();
    println!("opened again in {:.2} s", started.elapsed().as_secs_f64());
    spool.accept(message(u64::MAX)).await.unwrap();
    println!("first message accepted after {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let (mut next, mut seen) = (QueueId(0), 0);
    loop {
        let page = spool.page(next, 1000).unwrap();
        seen += page.iter().filter(|record| record.id < opened.first_new).count() as u64;
        let Some(last) = page.last() else { break };
        next = QueueId(last.id.0 + 1);
    }
    let took = started.elapsed();
    println!("paged through in {:.2} s, {:.2} µs each", took.as_secs_f64(), took.as_secs_f64() * 1e6 / seen as f64);
    assert_eq!(seen, count);
    println!("memory: {} octets per message then", memory().saturating_sub(empty) / count);
    let octets: u64 = walk(dir);
    println!("disk: {} octets per message", octets / count);
    spool.close().await;
}

fn walk(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() { walk(&entry.path()) } else { meta.blocks() * 512 }
        })
        .sum()
}
