//! Delivery against servers on the loopback interface.

mod sink;

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use self::sink::{Conduct, IMPP, Sink};
use super::*;
use crate::address::{Domain, Mailbox, ReversePath};
use crate::clock::{Clock, System};
use crate::dns::{Answer, Failure, Lookup, Resolve, Security, Srv, Tlsa};
use crate::envelope::{Body, Class, Recipient};
use crate::route::{Configured, Host, Target, TlsPolicy};
use crate::smtp::client::Timeouts;
use crate::spool::{NewMessage, Origin, Spool};
use crate::tls::make::{Authority, AuthorityOptions, Leaf};
use crate::tls::{self, Acceptor, Certificates, Connector, Roots};

/// Names and their addresses; everything else does not exist.
#[derive(Default)]
struct Names {
    addresses: HashMap<&'static str, Result<Vec<IpAddr>, Failure>>,
    tlsa: HashMap<&'static str, Result<Vec<Tlsa>, Failure>>,
    secure: bool,
}

impl Names {
    fn answer<R: Clone>(&self, of: Option<&Result<Vec<R>, Failure>>, name: &str) -> Result<Answer<R>, Failure> {
        let security = if self.secure { Security::Secure } else { Security::Insecure };
        let none = || Err(Failure::NxDomain { name: name.to_owned(), security });
        let records = of.cloned().unwrap_or_else(none)?;
        Ok(Answer { records, security, ttl: Duration::from_secs(60) })
    }
}

impl Resolve for Names {
    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv> {
        Box::pin(async move { Err(Failure::Timeout(name.to_owned())) })
    }
    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, IpAddr> {
        Box::pin(async move { self.answer(self.addresses.get(host.as_str()), host.as_str()) })
    }
    fn tlsa<'a>(&'a self, host: &'a Domain, _port: u16) -> Lookup<'a, Tlsa> {
        Box::pin(async move { self.answer(self.tlsa.get(host.as_str()), host.as_str()) })
    }
}

struct World {
    _directory: tempfile::TempDir,
    spool: Spool,
    peers: Peers,
    reports: mpsc::UnboundedReceiver<Report>,
}

fn now() -> Timestamp {
    System::new().now()
}

fn options() -> Options {
    Options::new(Domain::parse("mx.a.example").unwrap())
}

impl World {
    fn new(options: Options, names: Names, roots: Roots) -> World {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path(), crate::spool::Options::default()).unwrap();
        let connector = Connector::new(Arc::new(roots), Certificates::none(), Default::default());
        let (sender, reports) = mpsc::unbounded_channel();
        let peers =
            Peers::new(options, Arc::new(names), Arc::new(connector), spool.clone(), Arc::new(System::new()), sender);
        World { _directory: directory, spool, peers, reports }
    }

    fn plain() -> World {
        World::new(options(), Names::default(), Roots::none())
    }

    async fn job(&self, recipients: &[&str], entity: &str, lane: u64) -> Job {
        let recipient = |local: &&str| Recipient {
            address: Mailbox::parse(&format!("{local}@b.example")).unwrap(),
            notify: None,
            original: None,
        };
        let envelope = Arc::new(Envelope {
            class: Class::Im,
            sender: ReversePath::Mailbox(Mailbox::parse("alice@a.example").unwrap()),
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: recipients.iter().map(recipient).collect(),
        });
        let now = now();
        let expires = now.after(Duration::from_secs(86_400));
        let message = NewMessage {
            id: None,
            envelope: envelope.clone(),
            entity: Bytes::from(entity.to_owned()),
            digest: [0; 32],
            message_id: None,
            repeatable: true,
            signed: Vec::new(),
            origin: Origin::Mail,
            arrived: now,
            expires,
        };
        let id = self.spool.accept(message).await.unwrap().id;
        let recipients = (0..recipients.len()).collect();
        Job { id, entity: None, envelope, recipients, size: entity.len() as u64, expires, lane, gathered: Vec::new() }
    }

    async fn send(&self, hop: &Hop, entity: &str, lane: u64) -> QueueId {
        let job = self.job(&["bob"], entity, lane).await;
        let id = job.id;
        self.hand_over(hop, job);
        id
    }

    fn hand_over(&self, hop: &Hop, job: Job) {
        let destination: Destination = match hop {
            Hop::Configured(route) => route.name.as_str().into(),
            Hop::Peer { domain, class, .. } => format!("{class} {domain}").into(),
            Hop::Mail(_) => "mail".into(),
        };
        self.peers.send(Work { destination, hop: Arc::new(hop.clone()), job });
    }

    async fn report(&mut self) -> Report {
        self.reports.recv().await.unwrap()
    }

    /// The outcomes of the next report, in words.
    async fn outcomes(&mut self) -> Vec<String> {
        self.report().await.outcomes.into_iter().map(|(index, outcome)| format!("{index} {}", show(outcome))).collect()
    }
}

fn show(outcome: Outcome) -> String {
    match outcome {
        Outcome::Delivered { reply } => format!("delivered {reply}"),
        Outcome::Relayed { reply } => format!("relayed {reply}"),
        Outcome::Stored { reply } => format!("stored {reply}"),
        Outcome::Failed { status, .. } => format!("failed {status}"),
        Outcome::Deferred { scope, status, reason, uncertain, .. } => {
            format!("deferred {scope:?} {status}{} {reason}", if uncertain { " uncertain" } else { "" })
        }
    }
}

fn route(name: &str, ports: &[u16], tls: TlsPolicy) -> Hop {
    let target = |port: &u16| Target { host: Host::Address([127, 0, 0, 1].into()), port: *port, secure: true };
    let targets = ports.iter().map(target).collect();
    Hop::Configured(Arc::new(Configured { name: name.to_owned(), targets, tls, socks5: None }))
}

fn clear(sink: &Sink) -> Hop {
    route("b", &[sink.address.port()], TlsPolicy::None)
}

/// A port of the loopback interface where nobody listens.
async fn dead_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn impp() -> Sink {
    Sink::start(Conduct { shows: IMPP.to_vec(), ..Conduct::default() }).await
}

#[tokio::test]
async fn paced_messages_go_over_one_connection() {
    let (mut world, sink) = (World::plain(), impp().await);
    for round in 0..20 {
        let id = world.send(&clear(&sink), &format!("hi {round}\r\n"), round).await;
        let report = world.report().await;
        assert_eq!(report.id, id);
        assert_eq!(&*report.destination, "b");
        assert_eq!(report.relay, format!("127.0.0.1[127.0.0.1]:{}", sink.address.port()));
        assert_eq!(report.connecting.is_zero(), round > 0);
        let reply = Reply::new(250, EnhancedCode::new(2, 0, 0), "stored");
        assert_eq!(report.outcomes, [(0, Outcome::Delivered { reply })]);
    }
    assert_eq!(sink.connections(), 1);
    assert_eq!(sink.messages()[19], (1, "hi 19\r\n".to_owned()));
    world.peers.close(Duration::from_secs(60)).await;
    assert_eq!(world.peers.status(), Status::default());
}

#[tokio::test]
async fn the_second_server_takes_what_the_first_does_not() {
    let (mut world, sink, dead) = (World::plain(), impp().await, dead_port().await);
    let busy = Sink::start(Conduct { greeting: Some("421 4.3.2 busy"), ..Conduct::default() }).await;
    let ports = [dead, busy.address.port(), sink.address.port()];
    world.send(&route("b", &ports, TlsPolicy::None), "hi\r\n", 1).await;
    assert_eq!(world.outcomes().await, ["0 delivered 250 2.0.0 stored"]);
    world.send(&route("c", &ports[..2], TlsPolicy::None), "hi\r\n", 1).await;
    world.send(&route("c", &ports[..2], TlsPolicy::None), "hi\r\n", 1).await;
    let report = world.report().await;
    assert_eq!(report.relay, "none");
    let words = show(report.outcomes[0].1.clone());
    assert!(words.starts_with(&format!("deferred Destination 4.4.1 127.0.0.1:{dead}: ")), "{words}");
    assert!(words.contains("connection refused"), "{words}");
    assert_eq!(words.matches(&format!("127.0.0.1:{dead}")).count(), 1, "{words}");
    assert!(words.ends_with(&format!("; 127.0.0.1:{}: it said: 421 4.3.2 busy", ports[1])), "{words}");
    world.report().await;
    assert_eq!(world.peers.status().destinations, 1, "c is forgotten, b has its connection");
}

#[tokio::test]
async fn a_server_that_says_421_behind_its_greeting_is_passed_over() {
    let conduct = Conduct { shows: IMPP.to_vec(), parting: Some("421 4.3.2 too many"), ..Conduct::default() };
    let (mut world, busy, good) = (World::plain(), Sink::start(conduct).await, impp().await);
    for number in 0..3 {
        world.send(&clear(&busy), "hi\r\n", number).await;
    }
    for _ in 0..3 {
        let words = world.outcomes().await;
        assert!(words[0].starts_with("0 deferred Destination 4.3.2 "), "{words:?}");
        assert!(words[0].contains("421 4.3.2 too many"), "{words:?}");
    }
    let ports = [busy.address.port(), good.address.port()];
    world.send(&route("c", &ports, TlsPolicy::None), "hi\r\n", 1).await;
    assert_eq!(world.outcomes().await, ["0 delivered 250 2.0.0 stored"]);
    world.peers.close(Duration::from_secs(60)).await;
    assert_eq!(world.peers.status(), Status::default());
}

#[tokio::test]
async fn a_connection_that_fails_without_progress_gives_all_that_waits_back() {
    let conduct = Conduct { no_mail: true, ..Conduct::default() };
    let (mut world, sink) = (World::plain(), Sink::start(conduct).await);
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push(world.job(&["bob"], "hi\r\n", number).await);
    }
    for job in jobs {
        world.hand_over(&clear(&sink), job);
    }
    for _ in 0..5 {
        let words = world.outcomes().await;
        assert!(words[0].starts_with("0 deferred Destination 4.3.2 host 127.0.0.1"), "{words:?}");
    }
    world.peers.close(Duration::from_secs(60)).await;
    assert_eq!(world.peers.status(), Status::default());
    assert_eq!(sink.connections(), 1, "not one for each");
}

#[tokio::test]
async fn jobs_of_a_lane_arrive_in_order() {
    for shows in [vec![], vec!["PIPELINING"], vec!["PIPELINING", "CHUNKING"], IMPP.to_vec()] {
        let mut world = World::plain();
        let sink = Sink::start(Conduct { shows: shows.clone(), ..Conduct::default() }).await;
        for number in 0..200_u64 {
            world.send(&clear(&sink), &format!("{} {number:03}\r\n", number % 5), number % 5).await;
        }
        for _ in 0..200 {
            let outcomes = world.outcomes().await;
            assert!(outcomes[0].contains("250 2.0.0 stored"), "{outcomes:?}");
        }
        let mut messages = sink.messages();
        messages.sort_by_key(|(_, entity)| entity[..1].to_owned());
        let got: Vec<&str> = messages.iter().map(|(_, entity)| entity.as_str()).collect();
        assert!(got.is_sorted(), "{shows:?}: {got:?}");
        assert_eq!(got.len(), 200);
        assert!(sink.most_open() <= 4);
    }
}

#[tokio::test]
async fn chat_passes_bulk() {
    let (mut world, hold) = (World::plain(), Arc::new(Semaphore::new(0)));
    let conduct = Conduct { shows: IMPP.to_vec(), hold: Some(hold.clone()), ..Conduct::default() };
    let sink = Sink::start(conduct).await;
    let large = format!("hold {}\r\n", "x".repeat(400_000));
    let bulk = world.send(&clear(&sink), &large, 1).await;
    let after = world.send(&clear(&sink), "of the same lane\r\n", 1).await;
    let chat = world.send(&clear(&sink), "hi\r\n", 2).await;
    assert_eq!(world.report().await.id, chat, "before the large one is answered");
    hold.add_permits(1);
    assert_eq!(world.report().await.id, bulk);
    assert_eq!(world.report().await.id, after);
    assert_eq!(sink.connections(), 2);
    assert_eq!(sink.messages()[1].1, large);
}

#[tokio::test]
async fn after_a_lost_reply_the_same_server_is_first() {
    let mut world = World::plain();
    let cut = Sink::start(Conduct { shows: IMPP.to_vec(), cut: true, ..Conduct::default() }).await;
    let (good, dead) = (impp().await, dead_port().await);
    world.send(&route("b", &[dead, cut.address.port(), good.address.port()], TlsPolicy::None), "hi\r\n", 1).await;
    let words = world.outcomes().await;
    assert!(words[0].starts_with("0 deferred Destination 4.4.2 uncertain host 127.0.0.1"), "{words:?}");
    let ports = [good.address.port(), cut.address.port()];
    world.send(&route("b", &ports, TlsPolicy::None), "hi\r\n", 1).await;
    assert!(world.outcomes().await[0].contains("uncertain"));
    assert_eq!((cut.connections(), good.connections()), (2, 0));
}

#[tokio::test]
async fn what_a_server_did_not_take_goes_by_another_connection() {
    for shows in [vec![], vec!["PIPELINING"], vec!["PIPELINING", "LIMITS MAILMAX=3"], vec!["LIMITS MAILMAX=3"]] {
        let mut world = World::plain();
        let most_messages = (shows.len() < 2).then_some(3);
        let sink = Sink::start(Conduct { shows: shows.clone(), most_messages, ..Conduct::default() }).await;
        for number in 0..20 {
            world.send(&clear(&sink), &format!("{number:03}\r\n"), 1).await;
        }
        for _ in 0..20 {
            assert_eq!(world.outcomes().await, ["0 relayed 250 2.0.0 stored"], "{shows:?}");
        }
        let got = sink.messages();
        assert_eq!((got.len(), sink.connections()), (20, 7), "{shows:?}");
        assert!(got.iter().map(|(_, entity)| entity).is_sorted(), "{got:?}");
    }
}

#[tokio::test]
async fn a_place_is_found_for_every_destination() {
    let options = Options { connections: 1, ..options() };
    let mut world = World::new(options, Names::default(), Roots::none());
    let sink = impp().await;
    let hops: Vec<Hop> = (0..10).map(|n| route(&format!("d{n}"), &[sink.address.port()], TlsPolicy::None)).collect();
    for number in 0..50 {
        world.send(&hops[number % 10], "hi\r\n", 1).await;
    }
    for _ in 0..50 {
        assert_eq!(world.outcomes().await, ["0 delivered 250 2.0.0 stored"]);
    }
    assert_eq!(sink.most_open(), 1);
    assert!(world.peers.status().connections <= 1);
}

#[tokio::test]
async fn recipients_have_outcomes_of_their_own() {
    let mut world = World::plain();
    let conduct = Conduct { shows: IMPP.to_vec(), most_recipients: Some(2), ..Conduct::default() };
    let sink = Sink::start(conduct).await;
    let job = world.job(&["ann", "nobody", "bob", "cid", "dan", "eve"], "hi\r\n", 1).await;
    let id = job.id;
    world.hand_over(&clear(&sink), Job { recipients: vec![0, 1, 2, 3, 5], ..job });
    let report = world.report().await;
    assert_eq!(report.id, id);
    let mut outcomes: Vec<String> =
        report.outcomes.into_iter().map(|(index, outcome)| format!("{index} {}", show(outcome))).collect();
    outcomes.sort();
    let stored = "delivered 250 2.0.0 stored";
    let expected = [(0, stored), (1, "failed 5.1.1"), (2, stored), (3, stored), (5, stored)];
    assert_eq!(outcomes, expected.map(|(index, words)| format!("{index} {words}")));
    assert_eq!(sink.messages().len(), 2, "too many at once: in two transactions");
    assert!(world.reports.try_recv().is_err(), "one report");
}

#[tokio::test]
async fn what_the_spool_does_not_have_is_deferred() {
    let (mut world, sink) = (World::plain(), impp().await);
    let job = world.job(&["bob"], "hi\r\n", 1).await;
    world.hand_over(&clear(&sink), Job { id: QueueId(job.id.0 + 1000), ..job.clone() });
    let reason = "the message could not be read: it is no longer in the spool";
    assert_eq!(world.outcomes().await, [format!("0 deferred Recipient 4.3.0 {reason}")]);
    world.hand_over(&clear(&sink), Job { expires: now(), ..job });
    let reason = "its time was over before the next hop could take it";
    assert_eq!(world.outcomes().await, [format!("0 deferred Recipient 4.4.7 {reason}")]);
}

#[tokio::test]
async fn a_message_that_the_hop_cannot_take_fails() {
    let (mut world, sink) = (World::plain(), Sink::start(Conduct::default()).await);
    let mut job = world.job(&["bob"], "hi\r\n", 1).await;
    Arc::make_mut(&mut job.envelope).class = Class::Pres;
    world.hand_over(&clear(&sink), job);
    assert_eq!(world.outcomes().await, ["0 failed 5.3.3"]);
    world.send(&clear(&sink), "hi\r\n", 1).await;
    assert_eq!(world.outcomes().await, ["0 relayed 250 2.0.0 stored"], "the connection is as good as before");
    assert_eq!(sink.connections(), 1);
}

/// Time is virtual from here on: what has to wait waits without waiting.
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let mut world = World::plain();
    let silent = Sink::start(Conduct { silent: true, ..Conduct::default() }).await;
    let job = world.job(&["bob"], "hi\r\n", 1).await;
    tokio::time::pause();
    world.hand_over(&clear(&silent), job);
    let report = world.report().await;
    let at = format!("127.0.0.1:{}", silent.address.port());
    let words = format!("deferred Destination 4.4.2 {at}: timed out while waiting for its greeting");
    assert_eq!(show(report.outcomes[0].1.clone()), words);
    assert!(report.connecting >= Timeouts::default().greeting);
}

#[tokio::test]
async fn a_server_that_never_answers_the_message_is_given_up() {
    let mut world = World::plain();
    let conduct = Conduct { shows: IMPP.to_vec(), hold: Some(Arc::new(Semaphore::new(0))), ..Conduct::default() };
    let sink = Sink::start(conduct).await;
    let job = world.job(&["bob"], "hold\r\n", 1).await;
    tokio::time::pause();
    world.hand_over(&clear(&sink), job);
    let words = world.outcomes().await;
    assert!(words[0].contains("uncertain"), "{words:?}");
    assert!(words[0].contains("timed out while waiting for its answer to the message"), "{words:?}");
}

#[tokio::test]
async fn idle_connections_are_closed_and_destinations_forgotten() {
    let (mut world, sink) = (World::plain(), impp().await);
    world.send(&clear(&sink), "hi\r\n", 1).await;
    world.report().await;
    assert_eq!(world.peers.status(), Status { connections: 1, destinations: 1 });
    tokio::time::pause();
    while world.peers.status() != Status::default() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let job = world.job(&["bob"], "hi\r\n", 1).await;
    world.hand_over(&clear(&sink), job);
    world.report().await;
    assert_eq!(sink.connections(), 2);
}

#[tokio::test]
async fn the_end_comes_after_what_is_under_way_or_in_time() {
    let mut world = World::plain();
    let silent = Sink::start(Conduct { silent: true, ..Conduct::default() }).await;
    let sink = impp().await;
    for number in 0..10 {
        world.send(&route("c", &[sink.address.port()], TlsPolicy::None), "hi\r\n", number).await;
    }
    world.send(&clear(&silent), "hi\r\n", 1).await;
    world.peers.close(Duration::from_millis(200)).await;
    let late = world.job(&["bob"], "hi\r\n", 1).await;
    world.hand_over(&clear(&sink), late);
    let mut words = Vec::new();
    for _ in 0..12 {
        words.extend(world.outcomes().await);
    }
    words.sort();
    assert!(words[..10].iter().chain(&words[11..]).all(|words| !words.is_empty()));
    assert_eq!(words.iter().filter(|words| words.contains("delivered")).count(), 10);
    assert_eq!(words.iter().filter(|words| words.contains("this relay is shutting down")).count(), 2);
    assert_eq!(world.peers.status(), Status::default());
}

/// An authority, and an acceptor with its certificate for these names.
fn certified(names: &[&str]) -> (Roots, Acceptor, Tlsa) {
    let now = now();
    let authority = Authority::root(&AuthorityOptions::new("test", now)).unwrap();
    let made = authority.issue(&Leaf::new(names, now)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::load(vec![made.write(directory.path(), "b").unwrap()]).unwrap();
    let options =
        tls::accept::Options { unknown_names: tls::accept::UnknownName::Fallback, ..tls::accept::Options::default() };
    let record = tls::dane::record_for(made.certificate()).unwrap();
    let roots = Roots::from_der([authority.certificate()].into_iter());
    (roots, Acceptor::new(certificates, options).unwrap(), record)
}

fn peer(sink: &Sink, secure: bool) -> Hop {
    let host = Host::Name(Domain::parse("mx.b.example").unwrap());
    let targets = vec![Target { host, port: sink.address.port(), secure }];
    Hop::Peer { domain: Domain::parse("b.example").unwrap(), class: Class::Im, targets, socks5: None, keeps_tls: false }
}

fn loopback(secure: bool, tlsa: Result<Vec<Tlsa>, Failure>) -> Names {
    let addresses = HashMap::from([("mx.b.example", Ok(vec![IpAddr::from([127, 0, 0, 1])]))]);
    Names { addresses, tlsa: HashMap::from([("mx.b.example", tlsa)]), secure }
}

/// One message to a peer with a certificate for `name`.
async fn to_peer(
    name: &str,
    trusted: bool,
    secure: bool,
    tlsa: impl FnOnce(Tlsa) -> Result<Vec<Tlsa>, Failure>,
) -> String {
    let (roots, acceptor, record) = certified(&[name]);
    let sink = Sink::start(Conduct { shows: IMPP.to_vec(), tls: Some(acceptor), ..Conduct::default() }).await;
    let roots = if trusted { roots } else { Roots::none() };
    let mut world = World::new(options(), loopback(secure, tlsa(record)), roots);
    world.send(&peer(&sink, secure), "hi\r\n", 1).await;
    world.outcomes().await.remove(0)
}

#[tokio::test]
async fn peers_prove_themselves() {
    let none = |_| Err(Failure::NoData { name: "x".to_owned(), kind: "TLSA", security: Security::Secure });
    let stored = "0 delivered 250 2.0.0 stored";
    assert_eq!(to_peer("b.example", true, false, none).await, stored);
    assert_eq!(to_peer("mx.b.example", true, true, none).await, stored, "the SRV answer is secure");
    let refused = to_peer("mx.b.example", true, false, none).await;
    assert!(refused.starts_with("0 deferred Destination 4.7."), "{refused}");
    let refused = to_peer("b.example", false, false, none).await;
    assert!(refused.starts_with("0 deferred Destination 4.7."), "{refused}");
    assert_eq!(to_peer("other.example", false, true, |record| Ok(vec![record])).await, stored, "TLSA decides");
    let other = |record: Tlsa| Ok(vec![Tlsa { data: vec![0; 32], ..record }]);
    let refused = to_peer("b.example", true, true, other).await;
    assert!(refused.starts_with("0 deferred Destination 4.7."), "{refused}");
    let refused = to_peer("b.example", true, true, |_| Err(Failure::Bogus("x".to_owned()))).await;
    assert!(refused.starts_with("0 deferred Destination 4.7.5 mx.b.example:"), "{refused}");
    assert!(refused.contains("bogus"), "{refused}");
}

#[tokio::test]
async fn starttls_to_routes() {
    let (roots, acceptor, _) = certified(&["mx.b.example"]);
    let shows = [&IMPP[..], &["STARTTLS"]].concat();
    let sink = Sink::start(Conduct { shows, tls: Some(acceptor), ..Conduct::default() }).await;
    let mut world = World::new(options(), loopback(false, Ok(vec![])), roots);
    let host = Host::Name(Domain::parse("mx.b.example").unwrap());
    let to = |tls, name: &str| {
        let target = Target { host: host.clone(), port: sink.address.port(), secure: true };
        Hop::Configured(Arc::new(Configured { name: name.to_owned(), targets: vec![target], tls, socks5: None }))
    };
    world.send(&to(TlsPolicy::StartTls, "one"), "hi\r\n", 1).await;
    assert_eq!(world.outcomes().await, ["0 delivered 250 2.0.0 stored"]);
    world.send(&to(TlsPolicy::Opportunistic, "two"), "hi\r\n", 1).await;
    assert_eq!(world.outcomes().await, ["0 delivered 250 2.0.0 stored"]);
    let clear = impp().await;
    let target = Target { host: host.clone(), port: clear.address.port(), secure: true };
    let name = "three".to_owned();
    let route = Configured { name, targets: vec![target], tls: TlsPolicy::StartTls, socks5: None };
    world.send(&Hop::Configured(Arc::new(route)), "hi\r\n", 1).await;
    let words = world.outcomes().await;
    assert!(words[0].contains("4.7.10") && words[0].contains("it does not offer STARTTLS"), "{words:?}");
}

#[tokio::test]
async fn names_that_nobody_knows() {
    let mut world = World::plain();
    let sink = impp().await;
    world.send(&peer(&sink, false), "hi\r\n", 1).await;
    let words = world.outcomes().await;
    assert!(words[0].starts_with("0 deferred Destination 4.4.3 mx.b.example:"), "{words:?}");
    assert!(words[0].contains("NXDOMAIN"), "{words:?}");
}
