//! Messages as mails, whole, against `tests/golden/bridge`; what does not become one; what must not change.

use std::path::Path;

use super::*;
use crate::envelope::{Class, Recipient};
use crate::mime::{Rules, inspect};

const SECRET: [u8; 32] = [7; 32];

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    let recipient = |address: &&str| Recipient { address: mailbox(address), notify: None, original: None };
    Envelope {
        class: Class::Im,
        sender: if sender.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(sender)) },
        body: Body::EightBitMime,
        utf8: false,
        ret: None,
        envid: Some("4f+2".to_owned()),
        deliver_by: None,
        require_tls: false,
        recipients: recipients.iter().map(recipient).collect(),
    }
}

fn mail_of(envelope: &Envelope, entity: &str, eight_bit: bool) -> Result<Mail, Unfit> {
    let entity = Bytes::copy_from_slice(entity.replace('\n', "\r\n").as_bytes());
    let bridge = domain("im.a.example");
    compose(&Facts {
        bridge: &bridge,
        own_sender: true,
        secret: &SECRET,
        id: "0000000001",
        envelope,
        recipient: &envelope.recipients[0].address,
        entity: &entity,
        eight_bit,
    })
}

fn check(name: &str, recipients: &[&str], entity: &str) -> Mail {
    golden(name, mail_of(&envelope("alice@a.example", recipients), entity, true).unwrap())
}

/// Compares a mail, envelope first, with `tests/golden/bridge/NAME.eml`, or writes it if UPDATE is set.
fn golden(name: &str, mail: Mail) -> Mail {
    let rules = Rules { body: mail.envelope.body, utf8: mail.envelope.utf8 };
    inspect(&mail.entity, rules).unwrap_or_else(|defect| panic!("{name}: {defect}"));
    let mut shown =
        format!("MAIL FROM:<{}> {:?} utf8={}\n", mail.envelope.sender, mail.envelope.body, mail.envelope.utf8);
    for Recipient { address, original, .. } in &mail.envelope.recipients {
        let original = original.as_ref().unwrap();
        shown.push_str(&format!("RCPT TO:<{address}> {};{}\n", original.kind, original.address));
    }
    shown.push_str(&String::from_utf8_lossy(&mail.entity).replace("\r\n", "\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bridge").join(format!("{name}.eml"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{} differs; UPDATE=1 rewrites it. Now:\n{shown}", path.display());
    mail
}

const HEAD: &str = "Received: from localhost\n by mx.a.example with ESMTPSA id 0000000001;\n Wed, 18 Nov 2026 11:06:40 +0000\n\
    From: Alice Clark <alice@a.example>\nTo: <bob@mail.example>\nDate: Wed, 18 Nov 2026 11:06:40 +0000\n\
    Message-ID: <1@a.example>\nMIME-Version: 1.0\n";

const SIGNED: &str = "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\n\n\
    --b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nH=C3=A9 \t\n\
    --b\nContent-Type: application/pkcs7-signature\nContent-Transfer-Encoding: base64\n\nAAAA\n--b--\n";

fn with(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

#[test]
fn mails() {
    check("plain", &["bob@mail.example"], &with("Content-Type: text/plain\n\nHello Bob.\n"));
    let answer =
        "Subject: Re: Lunch\nIn-Reply-To: <0@mail.example>\nReferences: <0@mail.example>\nChat-Version: 1.0\n\nYes.\n";
    check("answer", &["bob@mail.example"], &with(answer));
    check("html", &["bob@mail.example"], &with("Content-Type: text/html; charset=utf-8\n\n<p>Hello <b>Bob</b>.</p>\n"));
    let image = "Content-Type: image/png; name=\"cat.png\"\nContent-Transfer-Encoding: base64\n\
        Content-Disposition: attachment; filename=\"cat.png\"\n\niVBORw0KGgo=\n";
    check("picture", &["bob@mail.example"], &with(image));
    let group = HEAD.replace("<bob@mail.example>", "bob@mail.example, carol@b.example, dave@b.example");
    check("group", &["bob@mail.example"], &format!("{group}\nHello all.\n"));
    let names = HEAD.replace("Alice Clark", "\"Алиса Кларк\"").replace("<bob@", "Ботт Борисович <bob@");
    check(
        "names",
        &["bob@mail.example"],
        &format!("{names}Subject: Обед в полдень, и потом ещё немного поговорим\n\nHello.\n"),
    );
    let address = HEAD.replace("<bob@mail.example>", "<боб@mail.example>");
    check("address", &["боб@mail.example"], &format!("{address}\nHello.\n"));
    check("signed", &["bob@mail.example"], &with(SIGNED));
}

#[test]
fn what_is_protected_stays_octet_for_octet() {
    let eight_bit = SIGNED.replace("quoted-printable", "8bit").replace("H=C3=A9", "Hé");
    let encrypted = "Content-Type: application/pkcs7-mime; smime-type=authEnveloped-data\nSubject: [...]\n\nAAAA\n";
    for rest in [SIGNED, &eight_bit, encrypted] {
        let entity = with(rest);
        let mail = mail_of(&envelope("alice@a.example", &["bob@mail.example"]), &entity, true).unwrap();
        let text = String::from_utf8(mail.entity.to_vec()).unwrap();
        assert!(text.ends_with(&entity.replace('\n', "\r\n")), "{text}");
        assert!(!text.contains("\r\nReply-To:"), "{text}");
        let subjects = text.matches("Subject:").count();
        assert_eq!(subjects, 1, "{text}");
    }
}

#[test]
fn a_mail_system_without_8bitmime_gets_seven_bits() {
    let all = envelope("alice@a.example", &["bob@mail.example"]);
    let mail = mail_of(&all, &with("Content-Type: text/plain; charset=utf-8\n\nHé.\n"), false).unwrap();
    assert!(mail.entity.is_ascii() && mail.envelope.body == Body::SevenBit);
    let mail = mail_of(&all, &with("Content-Type: text/plain; charset=utf-8\n\nHé.\n"), true).unwrap();
    assert!(!mail.entity.is_ascii() && mail.envelope.body == Body::EightBitMime);
    let binary = Envelope { body: Body::BinaryMime, ..all };
    let mail = mail_of(&binary, &with("Content-Type: application/x\nContent-Transfer-Encoding: binary\n\n\0"), true);
    assert_eq!(mail.unwrap().envelope.body, Body::SevenBit);
    assert_eq!(mail_of(&binary, &with(SIGNED), true).unwrap_err().status.to_string(), "5.6.3");
}

#[test]
fn what_does_not_become_a_mail() {
    let check = |sender: &str, rest: &str, expected: &str| {
        let got = mail_of(&envelope(sender, &["bob@mail.example"]), &with(rest), true);
        assert_eq!(got.unwrap_err().status.to_string(), expected, "{rest}");
    };
    check("alice@a.example", "Content-Type: application/im-iscomposing+xml\n\n<x/>\n", "5.6.1");
    check("", "Content-Type: text/plain\n\nI am away.\n", "5.7.1");
    check("alice@a.example", "Impart-Bridge: im.a.example; out; id=1\n\nx\n", "5.4.6");
    check("alice@a.example", &("Impart-Bridge: b.example; out; id=1\n".repeat(5) + "\nx\n"), "5.4.6");
    let in_from_there = with("Impart-Bridge: im.a.example; in\n\nx\n");
    assert!(mail_of(&envelope("carol@mail.example", &["bob@a.example"]), &in_from_there, true).is_ok());
    let report = with("Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nx\n--b--\n");
    let mail = mail_of(&envelope("", &["bob@mail.example"]), &report, true).unwrap();
    assert_eq!(mail.envelope.sender, ReversePath::Null);
}

#[test]
fn the_same_message_gives_the_same_mail_and_each_sender_another_token() {
    let (alice, entity) = (envelope("alice@a.example", &["bob@mail.example"]), with("\nHello.\n"));
    assert_eq!(mail_of(&alice, &entity, true), mail_of(&alice, &entity, true));
    let (one, bob, carol) = (Some("1"), "bob@mail.example", "carol@mail.example");
    let of = |sender: &str, envid, recipient: &str| token(&SECRET, &mailbox(sender), envid, &mailbox(recipient));
    let made = of("alice@a.example", one, bob);
    assert_eq!(made, of("ALICE@A.example", one, "Bob@mail.example"));
    let others = [
        of("bob@a.example", one, bob),
        of("alice@a.example", Some("2"), bob),
        of("alice@a.example", None, bob),
        of("alice@a.example", one, carol),
        token(&[8; 32], &mailbox("alice@a.example"), one, &mailbox(bob)),
    ];
    assert!(!others.contains(&made));
}

#[test]
fn subjects_and_threads_are_those_of_the_conversation() {
    let field = |entity: &str, name: &str| {
        let mail = mail_of(&envelope("alice@a.example", &["bob@mail.example"]), entity, true).unwrap();
        let found = Fields::new(&mail.entity).flatten().find(|field| field.is(name)).unwrap();
        mime::unfold(found.value).into_owned()
    };
    let (one, two) = (with("\nOne.\n"), with("Content-Type: text/plain\n\nTwo.\n").replace("<1@", "<2@"));
    assert_eq!(field(&one, "Subject"), "Chat with Alice Clark");
    assert_eq!(field(&one, "References"), field(&two, "References"));
    let back = with("\nx\n").replace("Alice Clark <alice@a.example>", "<BOB@mail.example>");
    let back = back.replace("To: <bob@mail.example>", "To: <alice@a.example>");
    assert_eq!(field(&one, "References"), field(&back, "References"));
    let other = with("\nx\n").replace("<bob@mail.example>", "<carol@mail.example>");
    assert_ne!(field(&one, "References"), field(&other, "References"));
    // A name that could be taken for somebody else's address is not shown.
    let posing = with("\nx\n").replace("Alice Clark", "\"mallory@b.example\"");
    assert_eq!(field(&posing, "Subject"), "Chat with alice@a.example");
}

#[test]
fn no_name_brings_a_field_with_it() {
    for name in ["=?utf-8?B?eA0KQmNjOiB2QGM=?=", "=?utf-8?Q?x=0D=0ABcc=3A_v=40c?=", "=?utf-8?Q?x=00=07=1B?="] {
        let head = HEAD.replace("To: ", &format!("To: Ü <d@mail.example>, {name} <c@mail.example>,\n "));
        let mail = mail_of(&envelope("alice@a.example", &["bob@mail.example"]), &format!("{head}\nHello.\n"), true);
        let entity = String::from_utf8(mail.unwrap().entity.to_vec()).unwrap();
        let (header, _) = entity.split_once("\r\n\r\n").unwrap();
        assert!(header.contains("<c@mail.example>") && header.is_ascii(), "{header}");
        assert!(header.split("\r\n").all(|line| !line.starts_with("Bcc") && !line.contains(char::is_control)));
    }
}

#[test]
fn answers_go_to_the_bridge() {
    let text = |own_sender, bridge: &str, rest: &str| {
        let entity = Bytes::from(with(rest).replace('\n', "\r\n"));
        let (bridge, envelope) = (domain(bridge), envelope("alice@a.example", &["bob@mail.example"]));
        let facts = Facts {
            bridge: &bridge,
            own_sender,
            secret: &SECRET,
            id: "1",
            envelope: &envelope,
            recipient: &envelope.recipients[0].address,
            entity: &entity,
            eight_bit: true,
        };
        String::from_utf8(compose(&facts).unwrap().entity.to_vec()).unwrap()
    };
    let added = "Reply-To: \"Alice Clark\" <alice@im.a.example>\r\n";
    assert!(text(true, "im.a.example", "\nx\n").contains(added));
    assert!(!text(false, "im.a.example", "\nx\n").contains("\r\nReply-To"));
    assert!(!text(true, "a.example", "\nx\n").contains("\r\nReply-To"));
    assert!(!text(true, "im.a.example", "Reply-To: x@a.example\n\nx\n").contains(added));
}

#[test]
fn several_short_messages_become_one_mail() {
    let one = |number: &str, text: &str| {
        let entity = with(&format!("Content-Type: text/plain; charset=utf-8\n\n{text}\n"));
        Bytes::from(
            entity
                .replace("<1@", &format!("<{number}@"))
                .replace("11:06", &format!("11:0{number}"))
                .replace('\n', "\r\n"),
        )
    };
    let messages = [one("1", "Are you there?"), one("2", "Я жду."), one("3", "Tomorrow, then.")];
    let (bridge, envelope) = (domain("im.a.example"), envelope("alice@a.example", &["bob@mail.example"]));
    let facts = Facts {
        bridge: &bridge,
        own_sender: true,
        secret: &SECRET,
        id: "0000000003",
        envelope: &envelope,
        recipient: &envelope.recipients[0].address,
        entity: &messages[2],
        eight_bit: true,
    };
    golden("gathered", gather(&facts, &messages).unwrap());
    assert_eq!(gather(&facts, &messages), gather(&facts, &messages));
    let signed = Bytes::from(with(SIGNED).replace('\n', "\r\n"));
    assert!(gather(&facts, &[messages[0].clone(), signed]).is_err());
}

#[test]
fn only_what_is_said_among_the_same_people_goes_together() {
    let of = |to: &str, recipients: &[&str]| {
        let entity = format!("{}\nHello.\n", HEAD.replace("To: <bob@mail.example>\n", to)).replace('\n', "\r\n");
        conversation(&envelope("alice@a.example", recipients), entity.as_bytes())
    };
    let private = of("To: bob@mail.example\n", &["bob@mail.example"]);
    assert!(private.is_some() && private == of("To: Bob <bob@mail.example>\n", &["bob@mail.example"]));
    // The spool may have a part of a group's message that is for one recipient.
    let group = of("To: bob@mail.example\nCc: carol@c.example\n", &["bob@mail.example"]);
    assert!(group.is_some() && group != private);
    assert_eq!(group, of("To: carol@c.example, bob@mail.example\n", &["bob@mail.example", "carol@c.example"]));
    assert_ne!(of("", &["bob@mail.example"]), of("", &["bob@mail.example", "carol@c.example"]));
    assert_eq!(of("To: bob@, <\n", &["bob@mail.example"]), None);
}

#[test]
fn what_is_not_short_text_of_a_person_goes_by_itself() {
    let check = |rest: &str, expected: bool| {
        assert_eq!(is_short(with(rest).replace('\n', "\r\n").as_bytes()), expected, "{rest}");
    };
    check("\nHello.\n", true);
    check("Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: base64\n\n0K8=\n", true);
    check("Content-Type: text/plain; charset=koi8-r\n\nHello.\n", false);
    check("Content-Type: text/html\n\nHello.\n", false);
    check(SIGNED, false);
    check("Subject: Lunch at noon\n\n\n", false);
    check("Disposition-Notification-To: alice@a.example\n\nHello.\n", false);
    check("Auto-Submitted: auto-generated\n\nHello.\n", false);
    check(&format!("\n{}\n", "long ".repeat(1000)), false);
}
