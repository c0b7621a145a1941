//! What domains publish of the certificates of their people, asked for by the client itself.

use super::*;
use crate::client::mark::Proof;
use crate::client::{ClientError, Incoming, Message, Protect};
use crate::dns::Tlsa;
use crate::dns::authority::{Authority as Names, Conduct, Data, Zone};
use crate::smime::protect::prepare;
use crate::smime::trust::owner;
use crate::smime::{Identity, SignOptions, sign};

/// Somebody's key, with a certificate of an authority that nobody knows.
fn somebody(address: &str) -> Identity {
    let now = System::new().now();
    let authority = Authority::root(&AuthorityOptions::new("Unknown", now)).unwrap();
    let leaf = Leaf { server: false, client: false, ..Leaf::new(&[], now) }.with_addresses(&[address]);
    let made = authority.issue(&leaf).unwrap();
    Identity::from_pem(&made.key_pem, &made.chain_pem, None).unwrap()
}

fn signed(by: &Identity, from: &str) -> String {
    let now = System::new().now();
    let entity = format!(
        "From: <{from}>\r\nTo: <alice@a.test>\r\nDate: {}\r\nMessage-ID: <1.{from}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain\r\n\r\nhello\r\n",
        now.rfc5322()
    );
    let prepared = prepare(entity.as_bytes(), false).unwrap();
    let part = sign(prepared.payload(), by, &SignOptions::new(now)).unwrap();
    // The world writes CRLF.
    String::from_utf8(prepared.message(&part)).unwrap().replace("\r\n", "\n")
}

/// Puts a certificate into a zone, and how it is answered for.
fn publish(zone: &mut Zone, who: &str, identity: &Identity, conduct: Conduct) {
    let name = owner(&mailbox(who));
    let record = Tlsa { usage: 3, selector: 0, matching: 0, data: identity.certificate().der().to_vec() };
    zone.add(&name, 1, Data::Smimea(record)).unwrap().set_conduct(&name, conduct).unwrap();
}

#[tokio::test]
async fn a_domain_vouches_for_signers_where_dnssec_proves_what_it_publishes() {
    let world = World::new().await;
    let mut zone = Zone::new("b.test").unwrap();
    let mut messages = Vec::new();
    for (who, conduct, expected) in [
        ("unproven@b.test", Conduct::Proper, Proof::Untrusted),
        ("forged@b.test", Conduct::Bogus, Proof::Untrusted),
        ("proven@b.test", Conduct::Authentic, Proof::User),
    ] {
        let identity = somebody(who);
        publish(&mut zone, who, &identity, conduct);
        messages.push((who, signed(&identity, who), expected));
    }
    publish(&mut zone, "other@b.test", &somebody("other@b.test"), Conduct::Authentic);
    messages.push(("other@b.test", signed(&somebody("other@b.test"), "other@b.test"), Proof::Untrusted));
    let names = Names::bind("127.0.0.1:0".parse().unwrap(), zone).await.unwrap();
    let account = Account { dns: vec![names.local_addr()], ..world.account() };
    let client = Client::with(account, world.history()).await.unwrap();
    let mut listener = client.listen().unwrap();
    for (who, entity, expected) in messages {
        world.deliver(who, &entity);
        let mark = async {
            loop {
                if let Some(Incoming::Message(message)) = listener.next().await {
                    return message.mark;
                }
            }
        };
        let mark = tokio::time::timeout(std::time::Duration::from_secs(20), mark).await.expect("in time");
        assert_eq!(mark.proof, expected, "{who}: {mark:?}");
    }
}

#[tokio::test]
async fn a_domain_says_what_to_encrypt_to() {
    let (world, bob) = (World::new().await, somebody("bob@b.test"));
    let zone = |conduct| {
        let mut zone = Zone::new("b.test").unwrap();
        publish(&mut zone, "bob@b.test", &bob, conduct);
        zone
    };
    let names = Names::bind("127.0.0.1:0".parse().unwrap(), zone(Conduct::Proper)).await.unwrap();
    let account = Account { dns: vec![names.local_addr()], ..world.account() };
    let message = || {
        let protect = Protect::Asked { sign: false, encrypt: true };
        Message { protect, ..Message::to(mailbox("bob@b.test"), "secret") }
    };
    let client = Client::with(account.clone(), world.history()).await.unwrap();
    let error = client.send(message()).await.unwrap_err();
    assert!(matches!(&error, ClientError::NoCertificate { who } if *who == [mailbox("bob@b.test")]), "{error}");
    assert!(world.script().taken.is_empty(), "nothing has left");
    names.set_zone(zone(Conduct::Authentic));
    let client = Client::with(account, world.history()).await.unwrap();
    client.send(message()).await.unwrap();
    let entity = world.script().taken[0].2.clone();
    assert!(entity.contains("application/pkcs7-mime") && !entity.contains("secret"), "{entity}");
    let opened = crate::smime::examine(entity.as_bytes(), std::slice::from_ref(&bob), &[]);
    assert!(opened.is_encrypted() && String::from_utf8_lossy(opened.payload()).contains("secret"));
}
