//! Views that are encrypted to a watcher: who asks for it, what goes, what a restart keeps.

use bytes::Bytes;

use super::super::engine::Request;
use super::super::{Author, Fate, Outgoing, Reason, Refusal, letter};
use super::net::{Line, Net, Server, id, in_short, mailbox, open, publish, subscribe};
use crate::address::Domain;
use crate::limits;
use crate::mime::presence::{Directive, Event, State};
use crate::rules::Handling;
use crate::smime::{Certificate, Identity, Layer, decrypt};
use crate::timestamp::Timestamp;

const ALICE: &str = "alice@a.test";
const BOB: &str = "bob@b.test";

/// A key that can be encrypted to; whom it names is asked where requests are read.
fn reader() -> Identity {
    let file = |kind| {
        let path = format!("{}/tests/golden/smime/rfc9216-bob-encrypt.{kind}.pem", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    Identity::from_pem(&file("key"), &file("crt"), None).unwrap()
}

/// Alice's client asks her own server.
fn asks(net: &mut Net, directive: Directive, reader: Option<&Certificate>) {
    let now = net.now;
    said(&mut net.a, now, (ALICE, true), BOB, (&directive, ""), reader).unwrap();
}

fn said(
    server: &mut Server,
    now: Timestamp,
    (from, client): (&str, bool),
    to: &str,
    (directive, media): (&Directive, &str),
    reader: Option<&Certificate>,
) -> Result<(), Refusal> {
    let author = Author { mailbox: mailbox(from), proven: true, client, by_mail: false };
    server.at(now, true, |engine, facts| {
        let request = Request {
            author: &author,
            recipients: &[mailbox(to)],
            directive,
            body: (media, ""),
            entity: &Bytes::new(),
            signed: false,
            document: None,
            reader,
        };
        engine.say(facts, &request)
    })
}

/// What is due from a server at a domain, as it goes: with what is to be encrypted encrypted.
fn due(server: &mut Server, now: Timestamp, at: &str) -> Vec<Outgoing> {
    let domain = Domain::parse(at).unwrap();
    server.at(now, true, |engine, facts| {
        engine.tick(facts);
        let mut due = engine.due(facts, &domain);
        for one in &mut due {
            one.written = one.written.clone().sealed(None, facts.now);
        }
        due
    })
}

fn taken(server: &mut Server, now: Timestamp, one: &Outgoing) {
    server.at(now, true, |engine, facts| engine.reported(facts, one.token, &[(0, Fate::Accepted)]));
}

/// The requests that alice's server makes, taken by bob's; the certificates in them.
fn requests(net: &mut Net) -> Vec<Option<Certificate>> {
    let now = net.now;
    let due = due(&mut net.a, now, "b.test");
    let mut all = Vec::new();
    for one in due {
        let directive = Directive::of(&one.written.entity).unwrap();
        let reader = letter::octets_of(&one.written.entity).filter(|(media, _)| media == letter::CERTIFICATE);
        let reader = reader.map(|(_, octets)| Certificate::from_der(&octets).unwrap());
        said(&mut net.b, now, (ALICE, false), BOB, (&directive, ""), reader.as_ref()).unwrap();
        taken(&mut net.a, now, &one);
        all.push(reader);
    }
    all
}

/// What alice is told, in short, each with a mark where it came encrypted; her server takes it.
fn told(net: &mut Net, key: &Identity) -> Vec<String> {
    let now = net.now;
    let mut all = Vec::new();
    for one in due(&mut net.b, now, "a.test") {
        all.push(read(&one.written.entity, key));
        assert_eq!(net.a.receive(now, &one, true), Fate::Accepted);
        taken(&mut net.b, now, &one);
    }
    all
}

fn read(entity: &[u8], key: &Identity) -> String {
    let Ok(Layer::Encrypted(encrypted)) = crate::smime::open(entity) else { return in_short(entity) };
    assert!(!String::from_utf8_lossy(entity).contains("presence>"));
    let inner = decrypt(&encrypted, std::slice::from_ref(key)).unwrap();
    let directive =
        String::from_utf8_lossy(entity).lines().find(|line| line.starts_with("Presence: ")).unwrap().to_owned();
    let whole = [directive.as_bytes(), b"\r\n", &inner].concat();
    format!("{} encrypted", in_short(&whole))
}

fn says(net: &mut Net, note: &str) {
    let body = open(BOB, note);
    let line = Line { from: BOB, to: &[BOB], directive: publish(Some(30_000)), body: &body };
    net.b.say(net.now, &line, (true, true)).unwrap();
    net.now = net.now.after(std::time::Duration::from_secs(1));
}

#[test]
fn a_watch_is_encrypted_from_its_request_to_its_end() {
    let (mut net, key) = (Net::new(), reader());
    let certificate = key.certificate().clone();
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    asks(&mut net, subscribe(1), Some(&certificate));
    assert_eq!(requests(&mut net), [Some(certificate.clone())]);
    assert_eq!(told(&mut net, &key), ["active closed encrypted"]);
    says(&mut net, "here");
    assert_eq!(told(&mut net, &key), ["active open here encrypted"]);
    // Both servers go down and come back.
    net.a.crash(net.now, usize::MAX);
    net.b.crash(net.now, usize::MAX);
    says(&mut net, "there");
    assert!(told(&mut net, &key).contains(&"active open there encrypted".to_owned()));
    // A refresh by her server asks for the same.
    net.now = net.now.after(std::time::Duration::from_secs(3500));
    assert_eq!(requests(&mut net), [Some(certificate.clone())]);
    assert!(told(&mut net, &key).iter().all(|one| one.ends_with("encrypted")));
    // Asked for again as it was nothing happens; without the certificate it is readable.
    asks(&mut net, subscribe(2), Some(&certificate));
    assert!(requests(&mut net).is_empty());
    asks(&mut net, subscribe(3), None);
    assert_eq!(requests(&mut net), [None]);
    assert_eq!(told(&mut net, &key), ["active open there"]);
    // What is over leaves nothing.
    asks(&mut net, subscribe(4), Some(&certificate));
    requests(&mut net);
    asks(&mut net, Directive::Cancel { id: id(5) }, None);
    requests(&mut net);
    for server in [&net.a, &net.b] {
        let left: Vec<_> = server.store.keys().filter(|key| matches!(key[0], b'e' | b'x')).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_fetch_is_answered_encrypted_and_leaves_nothing() {
    let (mut net, key) = (Net::new(), reader());
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    asks(&mut net, Directive::Fetch { id: id(1), event: Event::Presence }, Some(key.certificate()));
    assert_eq!(requests(&mut net), [Some(key.certificate().clone())]);
    assert_eq!(told(&mut net, &key), ["active closed encrypted"]);
    assert!(net.b.store.keys().chain(net.a.store.keys()).all(|key| !matches!(key[0], b'e' | b'x')));
    // What nobody has asked for encrypted is no view.
    asks(&mut net, subscribe(2), None);
    requests(&mut net);
    let now = net.now;
    let one = due(&mut net.b, now, "a.test").remove(0);
    let sealed = one.written.clone().for_reader(Some(key.certificate())).sealed(None, now);
    assert_eq!(net.a.receive(now, &Outgoing { written: sealed, ..one.clone() }, true), Fate::Refused);
    assert_eq!(net.a.receive(now, &one, true), Fate::Accepted);
}

#[test]
fn others_who_see_the_same_are_told_together_and_readable() {
    let (mut net, key) = (Net::new(), reader());
    let now = net.now;
    for (number, watcher) in ["alice@a.test", "carol@a.test", "dave@a.test"].into_iter().enumerate() {
        net.b.rule(now, BOB, watcher, Handling::Allow);
        let reader = (number == 0).then(|| key.certificate());
        said(&mut net.b, now, (watcher, false), BOB, (&subscribe(number as u8 + 1), ""), reader).unwrap();
    }
    for one in due(&mut net.b, now, "a.test") {
        taken(&mut net.b, now, &one);
    }
    says(&mut net, "here");
    let now = net.now;
    let due = due(&mut net.b, now, "a.test");
    let mut shown: Vec<_> = due
        .iter()
        .map(|one| {
            let to: Vec<_> = one.recipients.iter().map(|to| to.local().to_owned()).collect();
            format!("{}: {}", to.join(","), read(&one.written.entity, &key))
        })
        .collect();
    shown.sort();
    assert_eq!(shown, ["alice: active open here encrypted", "carol,dave: active open here"]);
}

#[test]
fn what_comes_encrypted_is_not_taken_for_an_empty_body() {
    let mut net = Net::new();
    let now = net.now;
    says(&mut net, "here");
    let refused =
        said(&mut net.b, now, (BOB, true), BOB, (&publish(Some(30_000)), letter::ENCRYPTED), None).unwrap_err();
    assert_eq!(refused.code(), 554, "no refresh of what is there");
    asks(&mut net, subscribe(1), None);
    let (seq, state) = (1, State::Terminated(Some(Reason::Rejected)));
    let over = Directive::Notify { id: None, seq, state, expires: Some(0), event: Event::Presence };
    let refused = said(&mut net.a, now, (BOB, false), ALICE, (&over, letter::ENCRYPTED), None).unwrap_err();
    assert_eq!(refused.code(), 554, "an end has no view");
    said(&mut net.a, now, (BOB, false), ALICE, (&over, ""), None).unwrap();
}

/// Both sides refresh with what they have.
#[test]
fn who_is_told_encrypted_is_so_when_there_is_room_for_nobody_else() {
    let (mut net, key) = (Net::new(), reader());
    net.b.rule(net.now, BOB, ALICE, Handling::Allow);
    asks(&mut net, subscribe(1), Some(key.certificate()));
    requests(&mut net);
    for engine in [&mut net.a.engine, &mut net.b.engine] {
        engine.readers.octets += limits::READERS_OCTETS;
    }
    asks(&mut net, subscribe(2), Some(key.certificate()));
    net.now = net.now.after(std::time::Duration::from_secs(3500));
    assert_eq!(requests(&mut net), [Some(key.certificate().clone())]);
    let now = net.now;
    for server in [&mut net.a, &mut net.b] {
        let (carol, to) = (("carol@b.test", true), "dave@b.test");
        let refused = said(server, now, carol, to, (&subscribe(3), ""), Some(key.certificate())).unwrap_err();
        assert_eq!(refused.code(), 452);
    }
}
