//! The client against a server in this process: real TLS, real sessions of ours, accounts that are a constant.

mod listening;
mod published;
mod sending;

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::history::History;
use super::{Account, Client, Password};
use crate::address::{Domain, ForwardPath, Mailbox};
use crate::clock::{Clock as _, System};
use crate::deliver::wire::Wire;
use crate::envelope::{Body, Class, Envelope, Recipient};
use crate::net::{Host, Stream};
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::Secret;
use crate::smtp::client::{self, Fate, Protection, StartTls, Timeouts, Transaction};
use crate::smtp::extension::Services;
use crate::smtp::server::{self, Event, Service};
use crate::timestamp::Timestamp;
use crate::tls::make::{Authority, AuthorityOptions, Leaf, write_pem};
use crate::tls::{Acceptor, Certificates, accept};

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// What the server is to do, and what it has seen.
#[derive(Default)]
struct Script {
    /// Entities that it has, with the envelope's sender and identifier.
    taken: Vec<(String, Option<String>, String)>,
    /// Connections that are to be closed before the greeting.
    drop_at_once: usize,
    /// Connections that are to be closed when an entity has come, instead of answering it.
    drop_after_entity: usize,
    /// The line of the last ATRN: inboxes and device.
    attached: Vec<String>,
    /// What waits for the device: envelope sender and entity.
    waiting: Vec<(String, Bytes)>,
    /// What the device said of each.
    fates: Vec<Fate>,
    /// Whether a reversed connection is left once nothing waits.
    hang_up: bool,
}

struct World {
    directory: TempDir,
    script: Arc<Mutex<Script>>,
    wake: Arc<Notify>,
    port: u16,
    acceptor: Acceptor,
    serving: tokio::task::JoinHandle<()>,
}

impl World {
    async fn new() -> World {
        let directory = TempDir::new().unwrap();
        let now = System::new().now();
        let authority = Authority::root(&AuthorityOptions::new("Test", now)).unwrap();
        write_pem(&directory.path().join("ca.pem"), &authority.pem()).unwrap();
        let other = Authority::root(&AuthorityOptions::new("Other", now)).unwrap();
        write_pem(&directory.path().join("other.pem"), &other.pem()).unwrap();
        let files = authority.issue(&Leaf::new(&["a.test"], now)).unwrap().write(directory.path(), "server").unwrap();
        let certificates = Certificates::load(vec![files]).unwrap();
        let acceptor = Acceptor::new(certificates, accept::Options::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (script, wake) = (Arc::new(Mutex::new(Script::default())), Arc::new(Notify::new()));
        let serving = serve(listener, acceptor.clone(), Arc::clone(&script), Arc::clone(&wake));
        World { directory, script, wake, port, acceptor, serving }
    }

    /// The server goes away; connections that it has end.
    async fn stop(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    async fn start(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serving = serve(listener, self.acceptor.clone(), Arc::clone(&self.script), Arc::clone(&self.wake));
    }

    fn account(&self) -> Account {
        let mut account = Account::new(mailbox("alice@a.test"));
        account.server = Some(super::Server { host: Host::Address("127.0.0.1".parse().unwrap()), port: self.port });
        account.authorities = Some(self.directory.path().join("ca.pem"));
        account.password = Password::Given(Secret::new("secret"));
        account.device = Some("laptop".parse().unwrap());
        account
    }

    fn history(&self) -> History {
        History::open(&self.directory.path().join("history")).unwrap()
    }

    async fn client(&self) -> Client {
        Client::with(self.account(), self.history()).await.unwrap()
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Something for the device.
    fn deliver(&self, sender: &str, entity: &str) {
        self.script().waiting.push((sender.to_owned(), Bytes::from(entity.replace('\n', "\r\n"))));
        self.wake.notify_one();
    }

    /// Until the device has answered so many.
    async fn answered(&self, count: usize) -> Vec<Fate> {
        loop {
            let fates = self.script().fates.clone();
            if fates.len() >= count {
                return fates;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

fn serve(
    listener: TcpListener,
    acceptor: Acceptor,
    script: Arc<Mutex<Script>>,
    wake: Arc<Notify>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, script, wake) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&wake));
            connections.spawn(async move {
                if let Some(stream) = submission(tcp, &acceptor, &script).await {
                    device(stream, &script, &wake).await;
                }
            });
        }
    })
}

fn options() -> server::Options {
    server::Options {
        greeting_name: Domain::parse("mx.a.test").unwrap(),
        service: Service::Client,
        starttls: false,
        impp: Services { im: true, pres: false },
        impp_noop: None,
        require_tls: true,
        size: crate::limits::ENTITY_OCTETS,
        recipients: 100,
        in_flight: 16,
        deliver_by_min: std::time::Duration::ZERO,
        postmaster: None,
    }
}

fn ok(text: &'static str) -> Reply {
    Reply::new(250, EnhancedCode::new(2, 1, 0), text)
}

/// PLAIN with the one password, nothing else.
fn login(initial: Option<&[u8]>) -> Reply {
    match initial {
        Some(b"\0alice@a.test\0secret") => Reply::new(235, EnhancedCode::new(2, 7, 0), "welcome"),
        Some(b"\0alice@a.test\0later") => Reply::new(454, EnhancedCode::new(4, 7, 0), "come back"),
        _ => Reply::new(535, EnhancedCode::new(5, 7, 8), "wrong name or password"),
    }
}

/// Serves a client until it attaches; then the stream is the caller's.
async fn submission(tcp: TcpStream, acceptor: &Acceptor, script: &Mutex<Script>) -> Option<Stream> {
    let (mut stream, _) = acceptor.accept(tcp).await.ok()?;
    let left = script.lock().unwrap().drop_at_once.checked_sub(1);
    if let Some(left) = left {
        script.lock().unwrap().drop_at_once = left;
        return None;
    }
    let mut session = server::Session::new(Arc::new(options()), true);
    session.offer_mechanisms(vec!["PLAIN"]);
    let mut input = BytesMut::new();
    loop {
        let mut turned = false;
        while let Some(event) = session.poll() {
            match event {
                Event::Auth { initial, .. } => session.answer(login(initial.as_deref())),
                Event::Mail(_) => session.answer(ok("ok")),
                Event::Rcpt(rcpt) => session.answer(judge(&rcpt.path)),
                Event::Atrn(atrn) if atrn.inboxes.iter().any(|inbox| inbox.local() == "foreign") => {
                    session.answer(Reply::new(550, EnhancedCode::new(5, 7, 1), "that inbox is not yours"));
                }
                Event::Atrn(atrn) => {
                    let inboxes: Vec<String> = atrn.inboxes.iter().map(ToString::to_string).collect();
                    script.lock().unwrap().attached.push(format!("{} {:?}", inboxes.join(","), atrn.device));
                    session.answer(ok("turning round"));
                }
                Event::Entity(transaction) => {
                    let mut script = script.lock().unwrap();
                    let text = String::from_utf8(transaction.entity.to_vec()).unwrap();
                    let envid = transaction.mail.envid.clone();
                    script.taken.push((transaction.mail.sender.to_string(), envid, text));
                    if script.drop_after_entity > 0 {
                        script.drop_after_entity -= 1;
                        return None;
                    }
                    session.complete(transaction.ticket, ok("stored"));
                }
                Event::Turn => turned = true,
                Event::Close => return None,
                _ => {}
            }
        }
        let output = session.output().split();
        stream.write_all(&output).await.ok()?;
        stream.flush().await.ok()?;
        if turned {
            return Some(Stream::from(stream));
        }
        if output.is_empty() {
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
            session.input(&mut input);
        }
    }
}

fn judge(path: &ForwardPath) -> Reply {
    match path {
        ForwardPath::Mailbox(who) if who.local() == "nobody" => {
            Reply::new(550, EnhancedCode::new(5, 1, 1), "there is no such inbox")
        }
        ForwardPath::Mailbox(who) if who.local() == "busy" => Reply::new(450, EnhancedCode::new(4, 2, 1), "later"),
        _ => ok("ok"),
    }
}

/// Delivers what waits, and what comes.
async fn device(stream: Stream, script: &Mutex<Script>, wake: &Notify) {
    let options = client::Options {
        helo: Domain::parse("mx.a.test").unwrap(),
        starttls: StartTls::Never,
        helo_fallback: false,
        lmtp: false,
        window: 4,
        timeouts: Timeouts::default(),
        login: None,
    };
    let session = client::Session::new(Arc::new(options), Protection::Proven, Instant::now().into_std());
    let mut wire = Wire::new(stream, session);
    let mut ready = false;
    loop {
        let next = ready.then(|| take(script)).flatten();
        if let Some((sender, entity)) = next {
            let transaction =
                Transaction { token: 1, envelope: Arc::new(envelope(&sender)), recipients: vec![0], entity };
            wire.session.submit(transaction, Timestamp::from_secs(0), Instant::now().into_std());
        } else if ready && script.lock().unwrap().hang_up {
            return wire.close().await;
        }
        tokio::select! {
            event = wire.event() => match event {
                client::Event::Ready => ready = true,
                client::Event::Done { fates, .. } => {
                    script.lock().unwrap().fates.extend(fates.into_iter().map(|(_, fate)| fate));
                }
                client::Event::Over(_) => return,
                _ => {}
            },
            () = wake.notified() => {}
        }
    }
}

fn envelope(sender: &str) -> Envelope {
    Envelope {
        class: Class::Im,
        sender: match sender {
            "" => crate::address::ReversePath::Null,
            sender => crate::address::ReversePath::Mailbox(mailbox(sender)),
        },
        body: Body::EightBitMime,
        utf8: false,
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: vec![Recipient { address: mailbox("alice@a.test"), notify: None, original: None }],
    }
}

fn take(script: &Mutex<Script>) -> Option<(String, Bytes)> {
    let mut script = script.lock().unwrap();
    if script.waiting.is_empty() { None } else { Some(script.waiting.remove(0)) }
}
