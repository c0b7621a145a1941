//! Signed messages for an inbox here while the daemon is killed: each is taken once, and stays known.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use impart::address::Mailbox;
use impart::smime::authority::{Authority, Validity, serial};
use impart::smime::protect::prepare;
use impart::smime::{Identity, Key, KeyKind, SignOptions, sign};
use impart::timestamp::Timestamp;

use crate::common::client::Client;
use crate::common::daemon::Setup;
use crate::common::wait;
use crate::{Random, seed};

const FROM: &str = "<sender@c.test>";
const TO: &str = "<alice@a.test>";
/// Messages between two kills.
const EACH: u64 = 24;

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// The domain's authority, and an identity that it vouches for: only who is believed proves what was played back.
fn signer() -> (Authority, Identity) {
    let address = Mailbox::parse("sender@c.test").expect("an address");
    let day = std::time::Duration::from_secs(86_400);
    let validity = Validity { from: now().before(day), until: now().after(day) };
    let key = || Key::generate(KeyKind::P256).expect("a key");
    let authority =
        Authority::create(address.domain(), "Test", key(), validity, &serial([1; 16])).expect("an authority");
    let own = key();
    let made = authority.issue(address.domain(), &address, own.spki(), validity, &serial([2; 16]));
    let identity = Identity::new(own, vec![made.expect("a certificate")]).expect("an identity");
    (authority, identity)
}

fn signed(identity: &Identity, number: u64) -> Vec<u8> {
    let date = now().rfc5322();
    let entity = format!(
        "From: {FROM}\r\nTo: {TO}\r\nDate: {date}\r\nMessage-ID: <{number}@c.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain\r\n\r\nhello {number}\r\n"
    );
    let prepared = prepare(entity.as_bytes(), false).expect("a header");
    prepared.message(&sign(prepared.payload(), identity, &SignOptions::new(now())).expect("a signature"))
}

/// Offers a message until it is answered 250.
fn offer(server: SocketAddr, entity: &[u8]) {
    wait::until("a message is taken", || {
        let (mut client, _) = Client::hello(server).ok()?;
        let reply = client.transaction(FROM, &[TO], entity).ok()?;
        assert!(reply.code == 250 || reply.code == 421, "{reply:?}");
        (reply.code == 250).then_some(())
    });
}

fn waiting(setup: &Setup) -> usize {
    setup.rows(&["queue", "list", "--address", "alice@a.test"]).len()
}

#[test]
fn signed_messages_are_taken_once_whenever_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, identity) = signer();
    let root = directory.path().join("root.pem");
    std::fs::write(&root, authority.certificate().to_pem()).expect("a file");
    let setup = Setup::new(directory.path()).with(&format!("[smime]\nroots = [{root:?}]\n"));
    let mut random = Random(seed());
    let mut daemon = setup.start();
    let mut all = Vec::new();
    for kill in 0..crate::kills().min(6) {
        let messages: Vec<Arc<Vec<u8>>> =
            (0..EACH).map(|number| Arc::new(signed(&identity, kill * EACH + number))).collect();
        let senders: Vec<_> = messages
            .chunks(6)
            .map(|some| {
                let (some, server) = (some.to_vec(), setup.mail);
                std::thread::spawn(move || some.iter().for_each(|entity| offer(server, entity)))
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(random.below(120)));
        daemon.kill();
        daemon = setup.start();
        senders.into_iter().for_each(|sender| sender.join().expect("a sender does not fail"));
        all.extend(messages);
    }
    assert_eq!(waiting(&setup), all.len());
    daemon.kill();
    let daemon = setup.start();
    // Under other names, in other envelopes: they are the same signatures.
    for entity in &all {
        let text = String::from_utf8(entity.to_vec()).unwrap().replacen("Message-ID: <", "Message-ID: <again-", 1);
        offer(setup.mail, text.as_bytes());
    }
    assert_eq!(waiting(&setup), all.len(), "none was taken twice");
    assert!(daemon.stop().success(), "{}", setup.log());
}
