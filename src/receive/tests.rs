mod large_entities;
mod mail;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, channel, unbounded_channel};

use super::*;
use crate::accounts::{Entries, LocalDomain, Options as AuthorityOptions, Principal, Reads, Users};
use crate::address::Mailbox;
use crate::attached::Item;
use crate::clock::System;
use crate::dns::{Lookup, Srv, Tlsa};
use crate::sasl::{self, Credentials, Mechanism, Secret};
use crate::smtp::extension::Services;
use crate::smtp::turn::{decode, encode};
use crate::spool::{Progress, QueueId, State};

/// Nobody is found.
struct NoDns;

impl Resolve for NoDns {
    fn srv<'a>(&'a self, _: &'a str) -> Lookup<'a, Srv> {
        Box::pin(std::future::pending())
    }

    fn addresses<'a>(&'a self, _: &'a Domain) -> Lookup<'a, IpAddr> {
        Box::pin(std::future::pending())
    }

    fn tlsa<'a>(&'a self, _: &'a Domain, _: u16) -> Lookup<'a, Tlsa> {
        Box::pin(std::future::pending())
    }
}

const ACCOUNTS: &str =
    "[account.\"alice@a.example\"]\nodmr = \"secret\"\n[account.\"bob@a.example\"]\nodmr = \"other\"\n";

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// Receiving for a.example, where alice and bob live.
struct Stage {
    context: Arc<Context>,
    listener: Arc<Listener>,
    attachments: Receiver<Attachment>,
    stop: watch::Sender<bool>,
    _life: tokio::sync::mpsc::UnboundedReceiver<Domain>,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new(service: Service) -> Stage {
        Stage::with(service, |accounts| accounts)
    }

    fn with(service: Service, change: impl FnOnce(Accounts) -> Accounts) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path(), crate::spool::Options::default()).unwrap();
        let a = Domain::parse("a.example").unwrap();
        let local = HashMap::from([(a.clone(), LocalDomain { im: true, ..LocalDomain::default() })]);
        let accounts = Accounts::new(local).with_entries(Entries::parse(ACCOUNTS).unwrap());
        let accounts = watch::channel(Arc::new(change(accounts))).1;
        let clock: Arc<dyn Clock> = Arc::new(System::new());
        let host = Domain::parse("mx.a.example").unwrap();
        let options = AuthorityOptions::new(host.clone());
        let (attach, attachments) = channel(1);
        let (life, lives) = unbounded_channel();
        let presence = crate::presence::Handle::new(crate::presence::Parts {
            options: crate::presence::Options::default(),
            default: crate::rules::Handling::Confirm,
            spool: spool.clone(),
            accounts: accounts.clone(),
            clock: clock.clone(),
            rules: directory.path().join("rules"),
            reload: Box::new(|| ()),
            certifier: None,
        });
        presence.as_ref().unwrap().run();
        let context = Context {
            options: options_of(host.clone()),
            spool,
            authority: Authority::new(options, accounts.clone(), clock.clone()).unwrap(),
            accounts,
            attached: Attached::new(Vec::new()),
            presence: presence.unwrap(),
            clients: Shares::new(2),
            attach,
            rates: Rates::new(60),
            peers: None,
            mailed: Rates::in_an_hour(3),
            refused: watch::channel(Arc::default()).1,
            table: watch::channel(Arc::new(Table::new([a], Vec::new()))).1,
            resolver: Arc::new(NoDns),
            roots: Arc::new(Roots::none()),
            signatures: watch::channel(Arc::new(signed::Signatures::none())).1,
            clock,
            life,
            connections: Connections::new(10, 10),
            large: Arc::new(large::Places::new(3, 1, Duration::from_millis(1500))),
            waiting: Arc::new(Semaphore::new(limits::WAITING_KIBIS)),
            meters: Meters::default(),
        };
        context.attached.restored();
        let listener = Listener {
            service,
            senders: crate::policy::Senders::Own,
            bridge: None,
            session: session_of(host, service),
            tls: None,
            starttls: None,
            clear_auth: true,
        };
        let (context, listener, stop) = (Arc::new(context), Arc::new(listener), watch::channel(false).0);
        Stage { context, listener, attachments, stop, _life: lives, _directory: directory }
    }

    /// A connection in the clear, after EHLO.
    async fn connect(&self) -> Peer {
        self.connect_as(None).await
    }

    /// One from this address, as far as it is told.
    async fn connect_as(&self, address: Option<IpAddr>) -> Peer {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (server, _) = socket.accept().await.unwrap();
        let origin = Origin { address, tls: None };
        let place = self.context.connections.enter(None).unwrap();
        let (context, listener) = (self.context.clone(), self.listener.clone());
        tokio::spawn(connection::serve(server.into(), origin, context, listener, self.stop.subscribe(), place));
        let mut peer = Peer(BufReader::new(client));
        assert!(peer.reply().await.starts_with("220 mx.a.example "));
        peer.say("EHLO laptop.example").await;
        peer
    }

    /// A message waits for an inbox.
    fn wait(&self, inbox: &str, number: u64) {
        let item = Item { id: QueueId(number), index: 0 };
        self.context.attached.arrive(&mailbox(inbox), item, 100, &State::Open(Progress::default()));
    }
}

fn options_of(host: Domain) -> Options {
    Options {
        host,
        retention: Duration::from_secs(86_400),
        connections: 10,
        connections_per_address: 10,
        identity: identity::Options::default(),
        upstreams: Vec::new(),
        inbox_messages: 2,
        inbox_octets: 1000,
    }
}

fn session_of(greeting_name: Domain, service: Service) -> Arc<server::Options> {
    Arc::new(server::Options {
        greeting_name,
        service,
        starttls: false,
        impp: Services { im: true, pres: false },
        impp_noop: None,
        require_tls: false,
        size: 10_000,
        recipients: 10,
        in_flight: 10,
        deliver_by_min: Duration::from_secs(1),
        postmaster: None,
    })
}

/// The other end.
struct Peer(BufReader<tokio::net::TcpStream>);

impl Peer {
    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the connection was closed");
            if line.as_bytes()[3] == b' ' {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    async fn expect(&mut self, line: &str, expected: &str) {
        let reply = self.say(line).await;
        assert!(reply.starts_with(expected), "{line}: {reply}");
    }

    /// CRAM-MD5, as fetchmail does.
    async fn login(&mut self, user: &str, secret: &str) -> String {
        let credentials = Credentials::Password { user: user.to_owned(), password: Secret::new(secret) };
        let mut client = sasl::Client::new(&[Mechanism::CramMd5], credentials, None).unwrap();
        let challenge = self.say("AUTH CRAM-MD5").await;
        let challenge = decode(challenge.strip_prefix("334 ").unwrap().as_bytes()).unwrap();
        let response = client.step(&challenge).unwrap();
        self.say(&encode(&response)).await
    }
}

#[tokio::test]
async fn relay_on_demand_hands_the_connection_over() {
    let mut stage = Stage::new(Service::Odmr);
    stage.wait("alice@a.example", 1);
    let mut peer = stage.connect().await;
    peer.expect("ATRN", "530 5.7.0").await;
    assert!(peer.login("alice@a.example", "secret").await.starts_with("235 2.7.0"));
    peer.expect("ATRN b.example", "450 4.7.1").await;
    peer.send("ATRN a.example\r\nQUIT\r\n").await;
    assert!(peer.reply().await.starts_with("250 2.0.0"));
    let mut attachment = stage.attachments.recv().await.unwrap();
    assert_eq!(attachment.principal.account, mailbox("alice@a.example"));
    assert_eq!(attachment.inboxes, [(mailbox("alice@a.example"), Reads::Own)]);
    assert!(attachment.until_empty && !attachment.tls && attachment.device.is_none());
    assert_eq!(stage.context.connections.count(), 1, "its place goes with it");
    peer.send("220 laptop\r\n").await;
    let mut line = String::new();
    BufReader::new(&mut attachment.stream).read_line(&mut line).await.unwrap();
    assert_eq!(line, "220 laptop\r\n", "what came before the reversal is dropped");
    drop(attachment);
    assert_eq!(stage.context.connections.count(), 0);
}

#[tokio::test]
async fn no_mail_and_wrong_secrets() {
    let stage = Stage::new(Service::Odmr);
    let mut peer = stage.connect().await;
    assert!(peer.login("alice@a.example", "other").await.starts_with("535 5.7.8"));
    assert!(peer.login("alice@a.example", "secret").await.starts_with("235 2.7.0"));
    peer.expect("ATRN", "453 4.2.0 you have no mail").await;
    stage.stop.send_replace(true);
    assert!(peer.reply().await.starts_with("421 4.3.2"), "an idle connection ends with the daemon");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_log_in_is_not_waited_for() {
    let stage = Stage::new(Service::Odmr);
    let mut peer = stage.connect().await;
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(39)).await;
        peer.expect("NOOP", "250").await;
    }
    assert!(peer.reply().await.starts_with("421 4.4.2"));
    assert!(begun.elapsed() <= limits::LOGIN_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn when_very_many_attach() {
    let mut stage = Stage::new(Service::Odmr);
    stage.wait("alice@a.example", 1);
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut peer = stage.connect().await;
        assert!(peer.login("alice@a.example", "secret").await.starts_with("235 2.7.0"));
        peers.push(peer);
    }
    peers[0].expect("ATRN", "250 2.0.0").await;
    peers[1].expect("ATRN", "450 4.3.2").await;
    stage.attachments.recv().await.unwrap();
    peers[1].expect("ATRN", "250 2.0.0").await;
}

#[tokio::test]
async fn when_the_mail_system_does_not_say_who_exists() {
    let users = Arc::new(Users::new("/nonexistent/dovecot".into()));
    let stage = Stage::with(Service::Mail, |accounts| accounts.with_users(Some(users)));
    let mut peer = stage.connect().await;
    peer.expect("MAIL FROM:<alice@a.example>", "250").await;
    peer.expect("RCPT TO:<carol@a.example>", "451 4.3.0 whether that inbox exists cannot be told").await;
    peer.expect("RCPT TO:<alice@a.example>", "250 2.1.5").await;
}

#[tokio::test]
async fn a_full_inbox() {
    let stage = Stage::new(Service::Mail);
    stage.wait("bob@a.example", 1);
    let mut peer = stage.connect().await;
    peer.expect("AUTH CRAM-MD5", "502 5.5.1").await;
    peer.expect("ATRN", "502 5.5.1").await;
    peer.expect("MAIL FROM:<alice@a.example>", "250").await;
    peer.expect("RCPT TO:<bob@a.example>", "250 2.1.5").await;
    stage.wait("bob@a.example", 2);
    peer.expect("RCPT TO:<bob@a.example>", "452 4.2.2 the inbox is full").await;
    peer.expect("RCPT TO:<alice@a.example>", "250 2.1.5").await;
    peer.expect("RCPT TO:<carol@a.example>", "550 5.1.1").await;
}

#[tokio::test]
async fn what_is_kept_for_a_device_that_is_away_gives_way() {
    let stage = Stage::new(Service::Mail);
    let attached = &stage.context.attached;
    let (alice, phone) = (Principal::vouched(mailbox("alice@a.example")), "phone".parse().unwrap());
    let inboxes = [(alice.account.clone(), Reads::Own)];
    drop(attached.attach(&alice, &inboxes, Some(&phone), stage.context.clock.now()));
    let kept = State::Owed(vec![crate::spool::Holder::new(&phone, None)]);
    for number in 1..=2 {
        attached.arrive(&alice.account, Item { id: QueueId(number), index: 0 }, 100, &kept);
    }
    assert_eq!(attached.load(&alice.account).messages, stage.context.options.inbox_messages);
    let mut peer = stage.connect().await;
    peer.expect("MAIL FROM:<bob@a.example>", "250").await;
    peer.expect("RCPT TO:<alice@a.example>", "250 2.1.5").await;
    assert_eq!(attached.load(&alice.account).messages, 1, "the oldest is kept no longer");
}

#[tokio::test]
async fn octets_that_nobody_announced_are_labelled_where_the_mail_system_submits() {
    let stage = Stage::new(Service::Mail);
    let mut peer = stage.connect().await;
    peer.expect("MAIL FROM:<alice@a.example>", "250").await;
    peer.expect("RCPT TO:<bob@a.example>", "250 2.1.5").await;
    peer.expect("DATA", "354").await;
    peer.expect("From: alice@a.example\r\n\r\ngr\u{fc}n\r\n.", "250 2.0.0").await;
    let id = stage.context.spool.page(QueueId(0), 9).unwrap()[0].id;
    let record = stage.context.spool.record(id).unwrap().unwrap();
    assert_eq!(record.envelope.body, crate::envelope::Body::EightBitMime);
    let entity = stage.context.spool.entity(id).await.unwrap().unwrap();
    let entity = String::from_utf8_lossy(&entity);
    assert!(entity.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{entity}");
    peer.expect("MAIL FROM:<alice@a.example>", "250").await;
    peer.expect("RCPT TO:<bob@a.example>", "250 2.1.5").await;
    peer.expect("DATA", "354").await;
    peer.expect("From: alice@a.example\r\nSubject: gr\u{fc}n\r\n\r\nx\r\n.", "554 5.6.9").await;
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn connections_are_bounded() {
    let connections = Connections::new(4, 2);
    let first = connections.enter(ip("192.0.2.1")).unwrap();
    let _second = connections.enter(ip("::ffff:192.0.2.1")).unwrap();
    assert!(connections.enter(ip("192.0.2.1")).is_none());
    drop(first);
    let _third = connections.enter(ip("192.0.2.1")).unwrap();
    let _four = connections.enter(ip("127.0.0.1")).unwrap();
    let _five = connections.enter(ip("::1")).unwrap();
    assert!(connections.enter(None).is_none(), "four in all");
}

#[test]
fn an_ipv6_network_counts_as_one() {
    let connections = Connections::new(10, 1);
    let _one = connections.enter(ip("2001:db8::1")).unwrap();
    assert!(connections.enter(ip("2001:db8::2")).is_none());
    assert!(connections.enter(ip("2001:db8:0:1::2")).is_some());
}
