use bytes::Bytes;

use super::*;
use crate::client::compose::{self, Draft};
use crate::random;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn sender() -> ReversePath {
    ReversePath::Mailbox(mailbox("alice@a.test"))
}

fn message(entity: &str) -> Received {
    match read(entity.as_bytes(), &sender(), false, NOW) {
        Content::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

fn draft(text: &str) -> Draft {
    Draft {
        id: compose::message_id(&mailbox("alice@a.test")).unwrap(),
        envid: random::token().unwrap(),
        date: NOW,
        from: mailbox("alice@a.test"),
        to: vec![mailbox("bob@b.test"), mailbox("δ@c.test")],
        text: text.to_owned(),
        attachments: vec![],
        in_reply_to: Some("<9@b>".to_owned()),
        references: vec!["<8@b>".to_owned()],
        receipt: true,
        displayed: true,
        automatic: false,
        sealed: None,
        signed: false,
        encrypted: false,
    }
}

#[test]
fn answers_go_where_their_author_wants_them() {
    let check = |fields: &str, shown: &[&str], to: &[&str]| {
        let got = message(&format!("From: alice@a.test\r\nMessage-ID: <1@a>\r\n{fields}\r\nhi\r\n"));
        assert_eq!(got.reply_to, shown.iter().map(|to| mailbox(to)).collect::<Vec<_>>(), "{fields}");
        let answer = crate::client::Message::answer(&got, "yes");
        assert_eq!(answer.to, to.iter().map(|to| mailbox(to)).collect::<Vec<_>>(), "{fields}");
        assert_eq!(answer.reply_to.as_deref(), Some("<1@a>"));
    };
    check("", &[], &["alice@a.test"]);
    check("Reply-To: Alice@a.test\r\n", &[], &["alice@a.test"]);
    check("Reply-To: Team <team@a.test>\r\n", &["team@a.test"], &["team@a.test"]);
    check(
        "Reply-To: team@a.test, alice@a.test, TEAM@a.test\r\n",
        &["team@a.test", "alice@a.test"],
        &["team@a.test", "alice@a.test"],
    );
    check("Reply-To: nobody\r\n", &[], &["alice@a.test"]);
    let many: Vec<String> = (0..50).map(|number| format!("r{number}@a.test")).collect();
    assert_eq!(message(&format!("Reply-To: {}\r\n\r\nhi\r\n", many.join(", "))).reply_to.len(), 10);
}

#[test]
fn what_we_compose_we_read() {
    for text in ["hello", "two\nlines", "héllo wörld 🚀", &"long é ".repeat(1000), ".\n..\n", ""] {
        for eight_bit in [true, false] {
            let mut draft = draft(text);
            let enclosure = |name: &str| Enclosure {
                name: name.to_owned(),
                media: "text/plain".to_owned(),
                ..Enclosure::default()
            };
            let long = format!("{}.txt", "写".repeat(60));
            draft.attachments = vec![enclosure("a.txt"), enclosure(&long)];
            let contents = [Bytes::from_static(b"one"), Bytes::from_static(b"\0\xff")];
            let entity = draft.entity(&contents, eight_bit);
            let got = message(std::str::from_utf8(&entity).unwrap());
            assert_eq!(got.text, text.trim_end_matches('\n'));
            assert_eq!((&got.id, &got.from, got.date), (&draft.id, &draft.from, draft.date));
            assert_eq!(got.to, ["bob@b.test", "δ@c.test"]);
            assert_eq!((got.in_reply_to.as_deref(), got.references.len()), (Some("<9@b>"), 2));
            assert!(got.wants_displayed && !got.automatic);
            let names: Vec<&str> = got.attachments.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, ["a.txt", &clean::file_name(&long)]);
            assert_eq!(attachment(&entity, 1).unwrap(), b"\0\xff");
            draft.attachments.clear();
            let entity = draft.entity(&[], eight_bit);
            assert_eq!(message(std::str::from_utf8(&entity).unwrap()).text, text.trim_end_matches('\n'));
        }
    }
}

#[test]
fn hostile_texts_are_harmless() {
    let got = message(
        "From: a@a.test\r\nMessage-ID: <1\x1b[2J@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\
         \x1b]0;owned\x07\u{202e}x\r\n--b\r\nContent-Type: image/png\x1b[1m\r\n\
         Content-Disposition: attachment; filename=\"../../.ssh/\x1b[31mauthorized_keys\"\r\n\r\nx\r\n--b--\r\n",
    );
    let shown = format!("{} {} {:?}", got.id, got.text, got.attachments);
    assert!(!shown.contains('\x1b') && !shown.contains('\x07') && !shown.contains('\u{202e}'), "{shown}");
    assert!(!got.attachments[0].name.contains('/'), "{shown}");
}

#[test]
fn html_is_read_as_text() {
    let got = message("From: a@a.test\r\nContent-Type: text/html\r\n\r\n<b>bold</b><script>x()</script> &amp; so\r\n");
    assert!(got.text.contains("bold") && got.text.contains("& so") && !got.text.contains("<b>"), "{}", got.text);
}

#[test]
fn what_cannot_be_read_is_still_a_message() {
    for entity in ["x", "\r\n", "From: a@a.test\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b", "\0\0"] {
        let got = message(entity);
        assert!(got.id.ends_with("@digest.invalid>"), "{got:?}");
    }
    assert_eq!(read(b"x", &ReversePath::Null, false, NOW), Content::Nothing);
    let long = message(&format!("From: a@a.test\r\n\r\n{}", "é".repeat(200_000)));
    assert!(long.text.chars().count() <= TEXT_CHARACTERS);
}

#[test]
fn reports_of_unknown_types_are_no_messages() {
    let entity = b"From: mallory@b.test\r\nContent-Type: multipart/report; report-type=x; boundary=b\r\n\r\n\
                   --b\r\n\r\nhello\r\n--b--\r\n";
    assert_eq!(read(entity, &ReversePath::Null, false, NOW), Content::Nothing);
    assert!(matches!(read(entity, &sender(), false, NOW), Content::Message(_)), "somebody forwards one");
}

#[test]
fn displayed_notices_are_asked_for_by_the_sender_alone() {
    let of =
        |to: &str| message(&format!("From: a@a.test\r\nDisposition-Notification-To: {to}\r\n\r\nx")).wants_displayed;
    assert!(of("<alice@a.test>") && of("Alice <ALICE@a.test>"));
    assert!(!of("eve@e.test") && !of("rubbish") && !of(""));
}

#[test]
fn notices() {
    let (alice, bob) = (mailbox("alice@a.test"), mailbox("bob@b.test"));
    for (active, seconds) in [(true, 90), (false, 0)] {
        let (envelope, entity) = compose::typing(&alice, &bob, active, 90, NOW).unwrap();
        let expected = Content::Typing(Typing { from: alice.clone(), seconds });
        assert_eq!(read(&entity, &envelope.sender, false, NOW), expected);
    }
    let (envelope, entity) = compose::displayed(&bob, &alice, "<1@a.test>", false, NOW).unwrap();
    let expected = Content::Displayed(Displayed { id: "<1@a.test>".to_owned(), by: bob.clone() });
    assert_eq!(read(&entity, &envelope.sender, false, NOW), expected);
    let deleted = String::from_utf8(entity.to_vec()).unwrap().replace("; displayed", "; deleted");
    assert_eq!(read(deleted.as_bytes(), &envelope.sender, false, NOW), Content::Nothing);
}

#[test]
fn typing_documents() {
    let state = |document: &str| typing(document.as_bytes());
    assert_eq!(state("<i:isComposing xmlns:i='x'><i:state >active</i:state></i:isComposing>"), Some(REFRESH.0));
    assert_eq!(state("<isComposing><state>active</state><refresh>99999</refresh>"), Some(REFRESH.1));
    assert_eq!(state("<isComposing><state>idle</state>"), Some(0));
    for rubbish in ["", "<", "<state", "<state>", "</state>active<", "<state>busy</state>", "\u{1}<<<>>>"] {
        assert_eq!(state(rubbish), None, "{rubbish}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "From: a@a.test\r\nMessage-ID: <1@a>\r\nReferences: <0@a> <2@a>\r\nContent-Type: multipart/mixed; \
        boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: \
        quoted-printable\r\n\r\n=E9\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny\r\n--b\r\n\
        Content-Type: message/disposition-notification\r\n\r\nDisposition: x; displayed\r\n--b--\r\n";

    /// Nothing that is kept commands a terminal.
    fn harmless(entity: &[u8]) {
        if let Content::Message(message) = read(entity, &sender(), false, NOW) {
            let names: Vec<&str> = message.attachments.iter().map(|file| file.name.as_str()).collect();
            let whole =
                format!("{}{}{}{}", message.id, message.text.replace('\n', ""), names.concat(), message.to.concat());
            assert!(!whole.chars().any(char::is_control), "{whole:?}");
            for index in 0..message.attachments.len() {
                attachment(entity, index);
            }
        }
    }

    proptest! {
        #[test]
        fn octets(entity in prop::collection::vec(any::<u8>(), 0..400)) {
            harmless(&entity);
        }

        #[test]
        fn changes(at in prop::collection::vec((0..SAMPLE.len(), any::<u8>()), 0..12)) {
            let mut entity = SAMPLE.as_bytes().to_vec();
            for (place, octet) in at {
                entity[place] = octet;
            }
            harmless(&entity);
        }
    }
}

#[test]
fn fields_for_older_readers_are_not_shown() {
    let entity = "From: <alice@a.test>\r\nMIME-Version: 1.0\r\nSubject: plans\r\nHP-Outer: Subject: [...]\r\n\
                  Content-Type: multipart/mixed; boundary=b; hp=\"cipher\"\r\n\r\n--b\r\n\
                  Content-Type: text/plain; hp-legacy-display=\"1\"\r\n\r\nSubject: plans\r\n\r\nnow\r\n--b\r\n\
                  Content-Type: text/html; charset=utf-8; hp-legacy-display=1\r\n\r\n<html><body>\
                  <div class=\"header-protection-legacy-display\"><pre>Subject: plans</pre></div><p>then</p></body>\
                  \r\n--b--\r\n";
    let text = |decrypted| match read(entity.as_bytes(), &sender(), decrypted, NOW) {
        Content::Message(message) => message.text,
        other => panic!("{other:?}"),
    };
    let shown = text(true);
    assert!(shown.contains("now") && shown.contains("then") && !shown.contains("plans"), "{shown}");
    assert_eq!(text(false).matches("Subject: plans").count(), 2, "who encrypts nothing hides nothing");
}

#[test]
fn messages_of_other_systems_are_read() {
    let cpim = "From: Alice <im:alice@a.test>\r\nSubject: soon\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\x1b[2J\r\n";
    let got = message(&format!("From: alice@a.test\r\nContent-Type: Message/CPIM\r\n\r\n{cpim}"));
    assert_eq!(got.text, "Subject: soon\nhi\u{241b}[2J");
    let signed = format!(
        "From: alice@a.test\r\nContent-Type: multipart/signed; boundary=next; micalg=sha1;\r\n protocol=application/pkcs7-signature\r\n\
         \r\n--next\r\nContent-Type: Message/CPIM\r\n\r\n{cpim}--next\r\nContent-Type: application/pkcs7-signature\r\n\r\nx\r\n--next--\r\n"
    );
    assert!(message(&signed).text.starts_with("Subject: soon\nhi"), "{}", message(&signed).text);
    // What is no such message is there as it came.
    let broken = message("From: alice@a.test\r\nContent-Type: message/cpim\r\n\r\nnothing\r\n");
    assert!(broken.text.contains("nothing") || broken.attachments.len() == 1, "{broken:?}");
}

#[test]
fn cards_and_descriptions_are_told() {
    let card = "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Alice A.\r\nEMAIL:alice@a.test\r\nEND:VCARD\r\n";
    let got = message(&format!("From: alice@a.test\r\nContent-Type: text/vcard; charset=utf-8\r\n\r\n{card}"));
    assert_eq!(got.attachments[0].description, "contact: Alice A., alice@a.test");
    let mut draft = draft("my card, and a plan");
    let file = |name: &str, description: &str| Enclosure {
        name: name.to_owned(),
        media: compose::media_of(name).to_owned(),
        description: description.to_owned(),
        ..Enclosure::default()
    };
    draft.attachments =
        vec![file("me.vcf", ""), file("plan.png", "Der Plan des Hauses, mit T\u{fc}ren"), file("x.png", "")];
    let contents = [Bytes::copy_from_slice(card.as_bytes()), Bytes::from_static(b"png"), Bytes::from_static(b"png")];
    let entity = draft.entity(&contents, true);
    let described = std::str::from_utf8(&entity).unwrap();
    assert!(described.contains("\r\nContent-Description: =?utf-8?B?"), "{described}");
    let got = message(described);
    let words: Vec<&str> = got.attachments.iter().map(|file| file.description.as_str()).collect();
    assert_eq!(words, ["contact: Alice A., alice@a.test", "Der Plan des Hauses, mit T\u{fc}ren", ""]);
}
