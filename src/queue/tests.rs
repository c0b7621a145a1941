//! The queue, attachments and a real spool together; devices are small servers on the loopback interface.

mod destinations;
mod device;
mod mailboxes;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{self, channel, unbounded_channel};
use tokio::sync::watch;

use self::device::{Conduct, Device};
use super::counters::{Counters, Fate};
use super::run::{Command, Options, Parts, run};
use super::{look_up, schedule};
use crate::accounts::{Accounts, LocalDomain, Principal, Reads};
use crate::address::{Domain, Mailbox, ReversePath};
use crate::attached::{Attached, Attachment};
use crate::clock::Clock;
use crate::deliver::policies::Keeper;
use crate::deliver::{Deliver, DeviceOptions, Devices, Report, Work};
use crate::dns::{Failure, Lookup, Resolve, Srv, Tlsa};
use crate::envelope::{Body, Class, Envelope, Notify, Recipient};
use crate::route::Table;
use crate::spool::{NewMessage, Origin, QueueId, Record, Settlement, Spool, State};
use crate::timestamp::Timestamp;
use crate::tls::{Certificates, Connector, Roots};
use std::net::IpAddr;
use std::sync::Arc;

const START: i64 = 1_800_000_000_000;

struct Nobody;

impl Deliver for Nobody {
    fn send(&self, work: Work) {
        panic!("nothing goes to other domains: {work:?}");
    }
}

impl Resolve for Nobody {
    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv> {
        Box::pin(async move { Err(Failure::Timeout(name.to_owned())) })
    }
    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, IpAddr> {
        Box::pin(async move { Err(Failure::Timeout(host.to_string())) })
    }
    fn tlsa<'a>(&'a self, host: &'a Domain, _port: u16) -> Lookup<'a, Tlsa> {
        Box::pin(async move { Err(Failure::Timeout(host.to_string())) })
    }
}

/// A clock that runs, and can be put forward.
struct Hand(std::time::Instant, AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        let ran = i64::try_from(self.0.elapsed().as_millis()).unwrap();
        Timestamp::from_millis(START + self.1.load(Relaxed) + ran)
    }
}

struct World {
    directory: tempfile::TempDir,
    spool: Spool,
    attached: Attached,
    devices: Devices,
    attach: mpsc::Sender<Attachment>,
    commands: mpsc::Sender<Command>,
    accounts: watch::Sender<Arc<Accounts>>,
    clock: Arc<Hand>,
    stop: watch::Sender<bool>,
    queue: tokio::task::JoinHandle<()>,
    counters: Arc<Counters>,
    _life: mpsc::UnboundedSender<Domain>,
}

fn mailbox(local: &str) -> Mailbox {
    Mailbox::parse(&format!("{local}@a.example")).unwrap()
}

fn accounts(locals: &[&str]) -> Arc<Accounts> {
    let inboxes: HashSet<String> = locals.iter().map(|local| mailbox(local).key()).collect();
    let domain = Domain::parse("a.example").unwrap();
    Arc::new(Accounts::new(HashMap::from([(domain, LocalDomain { im: true, inboxes, ..LocalDomain::default() })])))
}

/// Nobody has a policy about mail exchangers.
fn policies(directory: &std::path::Path) -> Keeper {
    let connector = Connector::new(Arc::new(Roots::none()), Certificates::none(), Default::default());
    Keeper::new(Arc::new(Nobody), &connector, directory.join("mta-sts"), None)
}

impl World {
    fn new() -> World {
        World::with(tempfile::tempdir().unwrap(), |_| {})
    }

    fn with(directory: tempfile::TempDir, change: impl FnOnce(&mut DeviceOptions)) -> World {
        World::wired(directory, change, |_| Arc::new(Nobody), Arc::default())
    }

    fn wired(
        directory: tempfile::TempDir,
        change: impl FnOnce(&mut DeviceOptions),
        deliver: impl FnOnce(mpsc::UnboundedSender<Report>) -> Arc<dyn Deliver>,
        table: Arc<Table>,
    ) -> World {
        let (spool, opened) = Spool::open(directory.path(), crate::spool::Options::default()).unwrap();
        let clock = Arc::new(Hand(std::time::Instant::now(), AtomicI64::new(0)));
        let attached = Attached::new(opened.devices);
        let (accounts, local) = watch::channel(accounts(&["alice", "bob", "carol"]));
        let (attach, attachments) = channel(8);
        let (reports, reported) = unbounded_channel();
        let deliver = deliver(reports.clone());
        let mut options = DeviceOptions::new(Domain::parse("mx.a.example").unwrap());
        change(&mut options);
        let devices = Devices::new(
            options,
            (attached.clone(), None),
            spool.clone(),
            clock.clone(),
            local.clone(),
            attachments,
            reports,
        );
        let (_life, life) = unbounded_channel();
        let (commands, commanded) = channel(8);
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let parts = Parts {
            spool: spool.clone(),
            arrivals: opened.arrivals,
            withdrawn: opened.withdrawn,
            first_new: opened.first_new,
            deliver,
            reports: reported,
            attached: attached.clone(),
            look_up: look_up::LookUp::new(Arc::new(Nobody), policies(directory.path()), None),
            accounts: local,
            table: watch::channel(table).1,
            clock: clock.clone(),
            life,
            commands: commanded,
            counters: counters.clone(),
        };
        let options = Options {
            host: Domain::parse("mx.a.example").unwrap(),
            schedule: schedule::Options::default(),
            delay_notice: Duration::from_secs(4 * 3600),
        };
        let queue = tokio::spawn(run(parts, options, stopped, Duration::from_secs(5)));
        World { directory, spool, attached, devices, attach, commands, accounts, clock, stop, queue, counters, _life }
    }

    /// Ends everything in order, and starts it again.
    async fn restart(self) -> World {
        let World { directory, spool, devices, stop, queue, .. } = self;
        stop.send_replace(true);
        tokio::join!(devices.close(Duration::from_secs(5)), async { queue.await.unwrap() });
        spool.close().await;
        drop(spool);
        World::with(directory, |_| {})
    }

    /// Stops as if the process was killed.
    async fn crash(self) -> World {
        let World { directory, spool, queue, devices, .. } = self;
        queue.abort();
        devices.close(Duration::ZERO).await;
        let copy = tempfile::tempdir().unwrap();
        crate::spool::copy_for_tests(directory.path(), copy.path());
        drop(spool);
        World::with(copy, |_| {})
    }

    async fn send(&self, to: &[&str], text: &str) -> QueueId {
        self.send_with(to, text, |_| {}).await
    }

    async fn send_with(&self, to: &[&str], text: &str, change: impl FnOnce(&mut Envelope)) -> QueueId {
        let recipient = |local: &&str| Recipient { address: mailbox(local), notify: None, original: None };
        let mut envelope = Envelope {
            class: Class::Im,
            sender: ReversePath::Mailbox(mailbox("carol")),
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: to.iter().map(recipient).collect(),
        };
        change(&mut envelope);
        let arrived = self.clock.now();
        let message = NewMessage {
            id: None,
            envelope: Arc::new(envelope),
            entity: Bytes::from(format!("From: carol@a.example\r\n\r\n{text}\r\n")),
            digest: [0; 32],
            message_id: None,
            repeatable: true,
            signed: Vec::new(),
            origin: Origin::Mail,
            arrived,
            expires: arrived.after(Duration::from_secs(86_400)),
        };
        self.spool.accept(message).await.unwrap().id
    }

    async fn attach_as(
        &self,
        device: &Device,
        account: &str,
        inboxes: &[(&str, Reads)],
        name: Option<&str>,
        until_empty: bool,
    ) {
        let stream = tokio::net::TcpStream::connect(device.address).await.unwrap();
        let attachment = Attachment {
            stream: stream.into(),
            principal: Principal::vouched(mailbox(account)),
            inboxes: inboxes.iter().map(|(local, reads)| (mailbox(local), *reads)).collect(),
            device: name.map(|name| name.parse().unwrap()),
            until_empty,
            tls: true,
            place: Box::new(()),
        };
        self.attach.send(attachment).await.unwrap();
    }

    /// A device of Alice's.
    async fn device(&self, name: &str, conduct: Conduct) -> Device {
        let device = Device::start(conduct).await;
        self.attach_as(&device, "alice", &[("alice", Reads::Own)], Some(name), false).await;
        device
    }

    fn records(&self) -> Vec<Record> {
        self.spool.page(QueueId(0), 1000).unwrap()
    }

    async fn empties(&self) {
        becomes("the spool empties", || self.records().is_empty()).await;
    }
}

async fn becomes(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn has(device: &Device, expected: &[&str]) {
    becomes(&format!("the device has {expected:?}, not {:?}", device.texts()), || {
        device.texts().len() >= expected.len()
    })
    .await;
    assert_eq!(device.texts(), expected);
}

#[tokio::test]
async fn a_message_comes_at_once_and_is_gone() {
    let world = World::new();
    let phone = world.device("phone", Conduct::default()).await;
    becomes("it is attached", || world.attached.status().attached == 1).await;
    world.send(&["alice"], "one").await;
    has(&phone, &["one"]).await;
    world.empties().await;
    assert_eq!(world.counters.sum(Class::Im, Fate::Delivered), 1);
    assert_eq!(phone.envelopes(), ["carol@a.example alice@a.example"]);
}

#[tokio::test]
async fn each_device_has_its_own_list_also_after_a_restart() {
    let world = World::new();
    for text in ["one", "two", "three"] {
        world.send(&["alice"], text).await;
    }
    let phone = world.device("phone", Conduct::default()).await;
    has(&phone, &["one", "two", "three"]).await;
    world.empties().await;
    let desk = world.device("desk", Conduct::default()).await;
    becomes("both are attached", || world.attached.status().attached == 2).await;
    world.send(&["alice"], "four").await;
    has(&desk, &["four"]).await;
    has(&phone, &["one", "two", "three", "four"]).await;
    world.empties().await;

    let mut world = world.restart().await;
    assert!(phone.quits() == 1 && desk.quits() == 1);
    let phone = world.device("phone", Conduct::default()).await;
    world.send(&["alice"], "five").await;
    has(&phone, &["five"]).await;
    becomes("it is kept for the other", || matches!(&world.records()[0].states[0], State::Owed(_))).await;
    assert_eq!((world.spool.status().messages, world.spool.status().owed), (0, 1));
    for _ in 0..2 {
        world = world.crash().await;
        assert_eq!((world.spool.status().messages, world.spool.status().owed), (0, 1));
    }
    let phone = world.device("phone", Conduct::default()).await;
    let desk = world.device("desk", Conduct::default()).await;
    has(&desk, &["five"]).await;
    world.empties().await;
    has(&phone, &[]).await;
}

#[tokio::test]
async fn receipts_are_due_once() {
    let world = World::new();
    world
        .send_with(&["alice"], "please", |envelope| {
            envelope.recipients[0].notify = Some(Notify { success: true, ..Notify::DEFAULT });
        })
        .await;
    becomes("the receipt is there", || world.records().len() == 2).await;
    let phone = world.device("phone", Conduct::default()).await;
    let desk = world.device("desk", Conduct::default()).await;
    has(&phone, &["please"]).await;
    has(&desk, &["please"]).await;
    becomes("only the receipt is left", || world.records().len() == 1).await;
    assert_eq!(world.records()[0].origin, Origin::Own);
    assert!(!phone.transcript().contains("SUCCESS"), "it was told already: {}", phone.transcript());
}

#[tokio::test]
async fn receipts_go_to_the_inbox_that_an_alias_stands_for() {
    let world = World::new();
    let aliases = HashMap::from([(mailbox("al").key(), vec![mailbox("alice")])]);
    world.accounts.send_replace(Arc::new(Accounts::clone(&accounts(&["alice"])).with_aliases(aliases)));
    world.send_with(&["zoe"], "x", |envelope| envelope.sender = ReversePath::Mailbox(mailbox("al"))).await;
    becomes("only the receipt is there", || matches!(&world.records()[..], [one] if one.origin == Origin::Own)).await;
    assert_eq!(world.records()[0].envelope.recipients[0].address, mailbox("alice"));
    let phone = world.device("phone", Conduct::default()).await;
    becomes("alice has it", || phone.texts().len() == 1).await;
    world.empties().await;
}

#[tokio::test]
async fn a_refusal_fails_when_there_is_no_other_device() {
    let world = World::new();
    let phone = world.device("phone", Conduct { refuse: Some(("no", "550 5.7.1 never")), ..Conduct::default() }).await;
    world.send(&["alice"], "no").await;
    becomes("the receipt is there", || world.records().iter().any(|record| record.origin == Origin::Own)).await;
    let receipt = world.records().into_iter().find(|record| record.origin == Origin::Own).unwrap();
    assert_eq!(receipt.envelope.recipients[0].address, mailbox("carol"));
    let entity = world.spool.entity(receipt.id).await.unwrap().unwrap();
    let entity = String::from_utf8_lossy(&entity);
    assert!(entity.contains("5.7.1") && entity.contains("never"), "{entity}");
    assert!(!entity.contains("phone") && !entity.contains("127.0.0.1"), "nothing of the client: {entity}");
    becomes("the message is gone", || world.records().len() == 1).await;
    world.send(&["alice"], "yes").await;
    has(&phone, &["yes"]).await;
}

#[tokio::test]
async fn a_refusal_is_left_to_other_devices() {
    let world = World::new();
    let phone = world.device("phone", Conduct { refuse: Some(("no", "552 5.3.4 big")), ..Conduct::default() }).await;
    becomes("the phone is known", || world.attached.status().devices == 1).await;
    let desk = world.device("desk", Conduct::default()).await;
    becomes("both are known", || world.attached.status().devices == 2).await;
    world.send(&["alice"], "no").await;
    has(&desk, &["no"]).await;
    world.empties().await;
    assert_eq!(phone.texts(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_refusal_for_now_comes_again() {
    let world = World::new();
    let phone = world.device("phone", Conduct { later: 1, ..Conduct::default() }).await;
    world.send(&["alice"], "one").await;
    becomes("it was refused", || world.counters.sum(Class::Im, Fate::Deferred) == 1).await;
    world.send(&["alice"], "two").await;
    has(&phone, &["one", "two"]).await;
    world.empties().await;
}

#[tokio::test]
async fn relay_on_demand_ends_when_nothing_waits() {
    let world = World::new();
    let delegates = "[account.\"bob@a.example\"]\ndelegates = { \"alice@a.example\" = \"take\" }\n";
    let all =
        Accounts::clone(&accounts(&["alice", "bob"])).with_entries(crate::accounts::Entries::parse(delegates).unwrap());
    world.accounts.send_replace(Arc::new(all));
    for text in ["one", "two"] {
        world.send(&["alice", "bob"], text).await;
    }
    becomes("they wait", || world.attached.waiting(&[mailbox("alice"), mailbox("bob")]) == 4).await;
    let device = Device::start(Conduct { shows: &["8BITMIME"], ..Conduct::default() }).await;
    let inboxes = [("alice", Reads::Own), ("bob", Reads::Take)];
    world.attach_as(&device, "alice", &inboxes, None, true).await;
    becomes("it was told that this is all", || device.quits() == 1).await;
    assert_eq!(device.texts(), ["one", "one", "two", "two"]);
    world.empties().await;
    assert_eq!(world.attached.waiting(&[mailbox("alice")]), 0);
    let again = Device::start(Conduct::default()).await;
    world.attach_as(&again, "alice", &inboxes, None, true).await;
    becomes("nothing waits", || again.quits() == 1).await;
}

#[tokio::test]
async fn a_device_that_stops_reading_is_ended_and_holds_up_nobody() {
    let world = World::with(tempfile::tempdir().unwrap(), |options| {
        options.timeouts.block = Duration::from_millis(300);
        options.timeouts.command = Duration::from_millis(300);
    });
    let stuck = world.device("stuck", Conduct { reads_until: Some("EHLO"), ..Conduct::default() }).await;
    let phone = world.device("phone", Conduct::default()).await;
    becomes("both are known", || world.attached.status().devices == 2).await;
    let large = "x".repeat(700_000);
    for _ in 0..12 {
        world.send(&["alice"], &large).await;
    }
    becomes("the other has all", || phone.texts().len() == 12).await;
    becomes("the one is gone", || world.attached.status().attached == 1).await;
    assert_eq!(stuck.texts(), [] as [&str; 0]);
    becomes("they are kept for it", || world.spool.status().owed == 12).await;
}

#[tokio::test]
async fn a_device_that_attaches_again_ends_the_older_connection() {
    let world = World::new();
    let old = world.device("phone", Conduct::default()).await;
    becomes("it is attached", || world.attached.status().attached == 1).await;
    let new = world.device("phone", Conduct::default()).await;
    becomes("the older was told", || old.quits() == 1).await;
    world.send(&["alice"], "one").await;
    has(&new, &["one"]).await;
    world.empties().await;
    assert_eq!(old.texts(), [] as [&str; 0]);
    world.accounts.send_replace(accounts(&["bob"]));
    becomes("whose inbox is gone is ended", || new.quits() == 1).await;
}

#[tokio::test]
async fn what_does_not_fit_waits_for_another_connection() {
    let world = World::new();
    let small = world
        .device("phone", Conduct { shows: &["IMPP IM", "CHUNKING", "PIPELINING", "SIZE 200"], ..Conduct::default() })
        .await;
    let large = "x".repeat(300);
    world.send(&["alice"], "one").await;
    world.send(&["alice"], &large).await;
    world.send_with(&["alice"], "secret", |envelope| envelope.require_tls = true).await;
    world.send_with(&["alice"], "binary", |envelope| envelope.body = Body::BinaryMime).await;
    world.send(&["alice"], "two").await;
    has(&small, &["one", "two"]).await;
    let all = &["IMPP IM", "CHUNKING", "PIPELINING", "BINARYMIME", "REQUIRETLS"];
    let second = world.device("phone", Conduct { shows: all, ..Conduct::default() }).await;
    has(&second, &[&large]).await;
    becomes("what is small is the other connection's", || world.records().len() == 2).await;
    let third =
        world.device("phone", Conduct { shows: &["IMPP IM", "CHUNKING", "PIPELINING"], ..Conduct::default() }).await;
    becomes("older connections are ended", || second.quits() == 1).await;
    drop(third);
    world.attached.close();
    becomes("all are gone", || world.attached.is_quiet()).await;
    assert_eq!(world.records().iter().filter(|record| record.open().count() == 1).count(), 2, "nothing failed");
}

#[tokio::test]
async fn an_administrator_holds_releases_and_removes() {
    let world = World::new();
    let id = world.send(&["alice"], "one").await;
    let two = world.send(&["alice"], "two").await;
    let change = async |id, held| {
        world.spool.settle(Settlement { held: Some(held), ..Settlement::new(id) }).await.unwrap();
        world.commands.send(Command::Changed(id, Vec::new())).await.unwrap();
    };
    change(id, true).await;
    let closed = vec![(0, State::Closed(crate::spool::Disposition::Removed))];
    world.spool.settle(Settlement { states: closed, ..Settlement::new(two) }).await.unwrap();
    world.commands.send(Command::Changed(two, vec![mailbox("alice")])).await.unwrap();
    world.send(&["alice"], "three").await;
    let phone = world.device("phone", Conduct::default()).await;
    has(&phone, &["three"]).await;
    change(id, false).await;
    has(&phone, &["three", "one"]).await;
    world.empties().await;
}

#[tokio::test]
async fn time_runs_out() {
    let world = World::new();
    let phone = world.device("phone", Conduct::default()).await;
    becomes("it is known", || world.attached.status().devices == 1).await;
    world.attach_as(&phone, "alice", &[("alice", Reads::Own)], Some("desk"), false).await;
    becomes("both are known", || world.attached.status().devices == 2).await;
    world.attached.close();
    becomes("both are gone", || world.attached.is_quiet()).await;
    let world = world.restart().await;
    let phone = world.device("phone", Conduct::default()).await;
    world.send(&["alice"], "kept").await;
    world.send(&["bob"], "late").await;
    has(&phone, &["kept"]).await;
    becomes("it is kept", || world.spool.status().owed == 1).await;
    let day = 86_400_000;
    world.clock.1.store(day + 1000, Relaxed);
    world.commands.send(Command::Changed(QueueId(0), Vec::new())).await.unwrap();
    becomes("the one fails, with a receipt", || world.records().iter().any(|record| record.origin == Origin::Own))
        .await;
    assert_eq!(world.spool.status().owed, 1, "the other is kept");
    world.clock.1.store(7 * day + 1000, Relaxed);
    world.commands.send(Command::Changed(QueueId(0), Vec::new())).await.unwrap();
    becomes("until the last day", || world.spool.status().owed == 0).await;
}

#[tokio::test]
async fn an_idle_device_is_asked_for_a_sign_of_life() {
    let world = World::new();
    let phone = world.device("phone", Conduct::default()).await;
    let dead = world.device("dead", Conduct { reads_until: Some("EHLO"), ..Conduct::default() }).await;
    becomes("both have said EHLO", || phone.transcript().contains("EHLO") && dead.transcript().contains("EHLO")).await;
    world.send(&["alice"], "one").await;
    has(&phone, &["one"]).await;
    // What the dead one was offered is waited for by another clock than that of the idle one.
    tokio::time::pause();
    becomes("signs of life", || phone.transcript().matches("NOOP").count() >= 3).await;
    tokio::time::resume();
    becomes("the dead one is gone", || world.attached.status().attached == 1).await;
    world.send(&["alice"], "two").await;
    has(&phone, &["one", "two"]).await;
    becomes("both are kept for the dead one", || world.spool.status().owed == 2).await;
}

#[tokio::test]
async fn whom_others_vouch_for_logs_in_again_after_a_while_and_misses_nothing() {
    let time = Duration::from_millis(300);
    let world = World::with(tempfile::tempdir().unwrap(), |options| {
        assert_eq!(options.vouched, crate::limits::VOUCHED, "an hour, elsewhere");
        options.vouched = time;
    });
    let start = std::time::Instant::now();
    let phone = world.device("phone", Conduct::default()).await;
    world.send(&["alice"], "one").await;
    has(&phone, &["one"]).await;
    becomes("it is sent away in order", || phone.quits() == 1).await;
    assert!(start.elapsed() >= time);
    becomes("it is not attached", || world.attached.status().attached == 0).await;
    world.send(&["alice"], "two").await;
    let again = world.device("phone", Conduct::default()).await;
    has(&again, &["two"]).await;
}
