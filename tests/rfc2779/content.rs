//! 4.1 and 5.4.5: what a message says of itself, and what is kept from others.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::common::client::{Client, entity};
use crate::common::sink::{Manner, Sink, field};
use crate::world::{World, ascii, send};

#[test]
fn r4_1_2_sender_and_recipient() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    let lie = entity("mallory@a.test", "bob@b.test", "lie@a.test", "who am I");
    let (mut submission, _) = Client::hello(a.mail).unwrap();
    let reply = submission.transaction("<alice@a.test>", &["<bob@b.test>"], &lie).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.7.1 "), "{reply:?}");
    let (mut peer, _) = world.peer("a.test", &b);
    let reply = peer.transaction("<alice@a.test>", &["<bob@b.test>"], &lie).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..6]), (550, "5.7.1 "), "{reply:?}");
    let missing = b"To: <bob@b.test>\r\nMessage-ID: <m@a.test>\r\n\r\nnobody\r\n";
    let reply = peer.transaction("<alice@a.test>", &["<bob@b.test>"], missing).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..4]), (554, "5.6."), "{reply:?}");
    let reply = peer.transaction("<alice@a.test>", &[], missing).unwrap();
    assert_eq!(reply.code, 503, "{reply:?}");
    assert!(b.waiting("bob@b.test").is_empty());
}

#[test]
fn r4_1_5_eight_bit_text() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    let text = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nfünf Äpfel, 五个苹果";
    let head = "From: <alice@a.test>\r\nTo: <bob@b.test>\r\nMIME-Version: 1.0\r\n";
    let (mut client, _) = Client::hello(a.mail).unwrap();
    let message = format!("{head}{text}\r\n");
    let reply = client.transaction("<alice@a.test> BODY=8BITMIME", &["<bob@b.test>"], message.as_bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    assert!(b.wait_for("bob@b.test", 1)[0].ends_with(&format!("{}\n", text.replace("\r\n", "\n"))));
}

#[test]
fn r4_1_5_binary_through_two_hops() {
    let world = World::new();
    let (a, c) = (world.domain("a.test", "alice"), world.domain("c.test", "carol"));
    let keywords = vec!["PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING", "ENHANCEDSTATUSCODES"];
    let sink = Sink::with(Manner { keywords, ..Manner::default() });
    let hop = c.relay.unwrap().port();
    let a = a.with(&format!("[[route]]\ndomains = [\"b.test\"]\nvia = [\"mx.c.test:{hop}\"]\n"));
    let c = c.route(&["b.test"], sink.address);
    let (_a, _c) = (a.start(), c.start());
    // All octets, bare CR and LF and a lone dot among them.
    let body: Vec<u8> = (0..=255).chain(*b"\r\n.\r\n\n.\n\r\r\0").cycle().take(100_000).collect();
    let head = "From: <alice@a.test>\r\nTo: <bob@b.test>\r\nMIME-Version: 1.0\r\n\
        Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n";
    let (mut client, _) = Client::hello(a.mail).unwrap();
    assert_eq!(client.say("MAIL FROM:<alice@a.test> BODY=BINARYMIME").unwrap().code, 250);
    assert_eq!(client.say("RCPT TO:<bob@b.test>").unwrap().code, 250);
    client.send(format!("BDAT {}\r\n{head}", head.len()).as_bytes()).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    client.send(format!("BDAT {} LAST\r\n", body.len()).as_bytes()).unwrap();
    client.send(&body).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let arrival = sink.wait("the binary message", |all| all.len() == 1).remove(0);
    assert!(arrival.mail.contains("BODY=BINARYMIME"), "{}", arrival.mail);
    assert!(arrival.octets.ends_with(&body) && arrival.entity.matches("Received: ").count() == 2);
    assert_eq!(
        arrival.octets.len() - body.len(),
        arrival.octets.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4
    );
}

#[test]
fn r4_1_6_internationalised_addresses() {
    let world = World::new();
    let (a, b) = (world.domain("straße-あ.test", "élise"), world.domain("bücher.test", "用户"));
    let (_a, _b) = (a.start(), b.start());
    let (from, to) = ("élise@straße-あ.test", "用户@bücher.test");
    let (mut client, _) = Client::hello(a.mail).unwrap();
    let message = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: Grüße\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nContent-Language: de\r\n\r\nüber\r\n"
    );
    let reply = client.transaction(&format!("<{from}>"), &[&format!("<{to}>")], message.as_bytes()).unwrap();
    assert!(reply.code >= 500, "without SMTPUTF8: {reply:?}");
    let mail = format!("<{from}> SMTPUTF8 BODY=8BITMIME");
    let reply = client.transaction(&mail, &[&format!("<{to}> NOTIFY=SUCCESS")], message.as_bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrived = b.wait_for("用户@xn--bcher-kva.test", 1).remove(0);
    for (name, value) in [("From", format!("<{from}>")), ("Subject", "Grüße".into()), ("Content-Language", "de".into())]
    {
        assert_eq!(field(&arrived, name), Some(value), "{arrived}");
    }
    let receipt = a.wait_for(&format!("élise@{}", ascii("straße-あ.test")), 1).remove(0);
    assert!(receipt.contains("message/global-delivery-status") && receipt.contains("utf-8;"), "{receipt}");
}

#[test]
fn r4_1_9_message_ids_are_given_at_submission() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    let (mut client, _) = Client::hello(a.mail).unwrap();
    for _ in 0..20 {
        let same = b"From: <alice@a.test>\r\nTo: <bob@b.test>\r\n\r\nthe same\r\n";
        assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test>"], same).unwrap().code, 250);
    }
    let messages = b.wait_for("bob@b.test", 20);
    let ids: BTreeSet<_> = messages.iter().filter_map(|text| field(text, "Message-ID")).collect();
    assert_eq!(ids.len(), 20, "{ids:?}");
    for id in ids {
        let random = id.strip_prefix('<').and_then(|rest| rest.strip_suffix("@a.test>")).unwrap_or_default();
        assert!(random.len() >= 32 && random.bytes().all(|octet| octet.is_ascii_hexdigit()), "{id}");
    }
    send(&a, "bob@b.test", "own@a.test");
    assert!(b.wait_for("bob@b.test", 21).iter().any(|text| text.contains("<own@a.test>")));
}

#[test]
fn r5_4_5_no_client_address_leaves() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let (_a, _b) = (a.start(), b.start());
    let mut client = world.from_address(Ipv4Addr::new(127, 9, 8, 7), &a);
    assert_eq!(client.say("EHLO alices-telephone.test").unwrap().code, 250);
    let message = entity("alice@a.test", "bob@b.test", "private@a.test", "where am I");
    assert_eq!(client.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap().code, 250);
    let arrived = b.wait_for("bob@b.test", 1).remove(0);
    for secret in ["127.9.8.7", "alices-telephone"] {
        assert!(!arrived.contains(secret), "{arrived}");
    }
    assert!(arrived.contains("Received: from localhost"), "{arrived}");
}
