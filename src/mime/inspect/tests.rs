use proptest::prelude::*;

use super::*;

const SEVEN: Rules = Rules { body: Body::SevenBit, utf8: false };
const EIGHT: Rules = Rules { body: Body::EightBitMime, utf8: true };
const BINARY: Rules = Rules { body: Body::BinaryMime, utf8: true };

fn facts(entity: &str) -> Facts {
    inspect(entity.as_bytes(), EIGHT).unwrap()
}

fn check(entity: &[u8], rules: Rules, expected: Option<Defect>) {
    assert_eq!(inspect(entity, rules).err(), expected, "{:?}", String::from_utf8_lossy(entity));
}

#[test]
fn all_facts() {
    let got = facts(
        "Received: from x by y; z\r\nreceived: again\r\nFrom: Alice\r\n <alice@a.example>\r\n\
         Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <1234@local.machine.example> \r\n\
         Accept-Language: en;q=0.5, de\r\nAuto-Submitted: auto-replied; x=y\r\nPresence: subscribe\r\n\r\nbody\r\n",
    );
    assert_eq!(got.from, ["alice@a.example".parse().unwrap()]);
    assert_eq!(got.message_id.as_deref(), Some("<1234@local.machine.example>"));
    assert_eq!(got.date.unwrap().rfc3339(), "1997-11-21T15:55:06.000Z");
    assert_eq!(got.hops, 2);
    assert!(got.presence && got.auto_submitted && !got.utf8_header && !got.eight_bit_body);
    assert_eq!(got.language.as_deref(), Some("de"));
    assert_eq!(got.parts, 1);
}

#[test]
fn senders() {
    let check = |fields: &str, expected: Sender| {
        assert_eq!(facts(&format!("From: a@b.example\r\n{fields}\r\nbody\r\n")).sender, expected, "{fields}");
    };
    let named = Sender::Named("alice@a.example".parse().unwrap());
    check("", Sender::Absent);
    check("sender: Alice\r\n <alice@a.example>\r\n", named.clone());
    check("Sender: alice@a.example\r\n", named);
    check("Sender: alice@a.example, bob@a.example\r\n", Sender::Unclear);
    check("Sender: alice@a.example\r\nSender: alice@a.example\r\n", Sender::Unclear);
    check("Sender: \r\n", Sender::Unclear);
    check("Sender: somebody\r\n", Sender::Unclear);
}

#[test]
fn few_facts() {
    let got =
        facts("From: a@b.example\r\nDate: yesterday\r\nAuto-Submitted: no (a person)\r\nContent-Language: fr\r\n\r\n");
    assert_eq!((got.message_id, got.date, got.hops), (None, None, 0));
    assert!(!got.presence && !got.auto_submitted);
    assert_eq!(got.language.as_deref(), Some("fr"));
    assert_eq!(facts("From: a@b.example\r\n").header_octets, 19);
    assert_eq!(facts("From: a@b.example\r\n\r\nx").header_octets, 21);
}

#[test]
fn header_defects() {
    let bad = |header: &str, expected| check(format!("{header}\r\n\r\nbody\r\n").as_bytes(), EIGHT, Some(expected));
    bad("Subject: x", Defect::NoFrom);
    bad("From: a@b.example\r\nFROM: c@d.example", Defect::SeveralFrom);
    bad("From: a b", Defect::FromSyntax);
    bad("From: x: a@b.example;", Defect::FromGroup);
    bad("From: a@b.example\r\nMessage-ID: <1@x>\r\nMessage-Id: <2@x>", Defect::Repeated("Message-ID"));
    bad("From: a@b.example\r\nMessage-ID: ", Defect::MessageId);
    bad("From: a@b.example\r\nDate: a\r\nDate: b", Defect::Repeated("Date"));
    bad("From: a@b.example\r\nPresence: a\r\nPresence: b", Defect::Repeated("Presence"));
    bad("From: a@b.example\r\nContent-Type: a/b\r\nContent-Type: a/b", Defect::Repeated("Content-Type"));
    let encoding = "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64";
    bad(&format!("From: a@b.example\r\n{encoding}"), Defect::Repeated("Content-Transfer-Encoding"));
    bad("From: a@b.example\r\nno field", Defect::NotAField);
    bad("From : a@b.example", Defect::NotAField);
    bad(" From: a@b.example", Defect::NotAField);
    bad("From: a@b.example\nSubject: x", Defect::BareLf);
    bad("From: a@b.example\rSubject: x", Defect::BareCr);
    bad("From: a@b.example\r\nX: \0", Defect::Nul);
    bad(&format!("From: a@b.example\r\nX: {}", "x".repeat(1000)), Defect::LongLine);
    bad(&format!("From: a@b.example\r\n{}", "X: y\r\n".repeat(1000)), Defect::TooManyFields);
    bad(&format!("From: a@b.example\r\nX:{}", "\r\n ".repeat(50_000)), Defect::HeaderTooLarge);
    bad(
        &format!("From: a@b.example\r\nMessage-ID: <{}\r\n {}@x>", "x".repeat(600), "x".repeat(600)),
        Defect::MessageId,
    );
    check(b"\r\nFrom: a@b.example\r\n", EIGHT, Some(Defect::NoFrom));
    check(b"", EIGHT, Some(Defect::NoFrom));
    check(b"From: a@b.example", EIGHT, Some(Defect::NotAField));
    // No body part frees the header from its rules.
    check(b"From: a@b.example\nX: y\r\n\r\n", BINARY, Some(Defect::BareLf));
}

#[test]
fn utf8_in_the_header() {
    let text = "From: a@b.example\r\nSubject: h\u{e9}\r\n\r\n".as_bytes();
    check(text, EIGHT, None);
    assert!(inspect(text, EIGHT).unwrap().utf8_header);
    check(text, Rules { utf8: false, ..EIGHT }, Some(Defect::HeaderNeedsUtf8));
    check(b"From: a@b.example\r\nSubject: h\xe9\r\n\r\n", EIGHT, Some(Defect::HeaderNotUtf8));
    check(b"From: a@b.example\r\nSubject: h\xe9\r\n\r\n", SEVEN, Some(Defect::HeaderNotUtf8));
}

#[test]
fn octets_of_the_body() {
    let with = |body: &[u8]| [b"From: a@b.example\r\n\r\n", body].concat();
    check(&with(b"text\r\n"), SEVEN, None);
    check(&with(b"no end"), SEVEN, None);
    check(&with(b"h\xe9\r\n"), SEVEN, Some(Defect::NeedsEightBit));
    check(&with(b"h\xe9\r\n"), EIGHT, None);
    assert!(inspect(&with(b"h\xe9\r\n"), EIGHT).unwrap().eight_bit_body);
    for (body, defect) in [
        (&b"a\nb\r\n"[..], Defect::BareLf),
        (b"a\rb\r\n", Defect::BareCr),
        (b"a\r\n\r", Defect::BareCr),
        (b"\0\r\n", Defect::Nul),
        (&[b'x'; 999], Defect::LongLine),
    ] {
        check(&with(body), SEVEN, Some(defect));
        check(&with(body), EIGHT, Some(defect));
        check(&with(body), BINARY, None);
    }
}

#[test]
fn structures() {
    let with = |kind: &str, body: &str| format!("From: a@b.example\r\nContent-Type: {kind}\r\n\r\n{body}");
    let check = |kind: &str, body: &str, expected| check(with(kind, body).as_bytes(), BINARY, expected);
    check("multipart/mixed", "", Some(Defect::NoBoundary));
    check("multipart/mixed; boundary=a; boundary=b", "", Some(Defect::SeveralBoundaries));
    check(&format!("multipart/mixed; boundary={}", "x".repeat(71)), "", Some(Defect::LongBoundary));
    check("multipart/mixed; boundary=a", &"--a\r\n\r\n".repeat(1000), Some(Defect::TooManyParts));
    check("message/rfc822", &"Content-Type: message/rfc822\r\n\r\n".repeat(32), Some(Defect::TooDeep));
    check(
        "multipart/mixed; boundary=a",
        &format!("--a\r\n{}\r\n", "A: b\r\n".repeat(1001)),
        Some(Defect::TooManyFields),
    );
    check("text/plain", &"--a\r\n\r\n".repeat(1000), None);
    let alternative = with("multipart/alternative; boundary=a", "--a\r\n\r\n1\r\n--a\r\n\r\n2\r\n--a--\r\n");
    assert_eq!(facts(&alternative).parts, 3);
}

/// Fragments of which a hostile entity is made.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"From: a@b.example\r\n".to_vec()),
        Just(b"Content-Type: multipart/mixed; boundary=a\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n\r\n".to_vec()),
        Just(b"--a\r\n".to_vec()),
        Just(b"--a--\r\n".to_vec()),
        Just(b"Date: 31 Feb 99999 99:99:99 +9999 ((\r\n".to_vec()),
        "[ -~\r\n]{0,20}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #[test]
    fn never_panics(fragments in proptest::collection::vec(fragment(), 0..20)) {
        let entity = fragments.concat();
        for rules in [SEVEN, EIGHT, BINARY] {
            if let Ok(facts) = inspect(&entity, rules) {
                prop_assert!(!facts.from.is_empty());
                prop_assert!(facts.header_octets <= entity.len());
            }
        }
    }

    #[test]
    fn dates_never_panic(value in "[0-9A-Za-z:+, ()\\-;]{0,60}") {
        let _ = date(value.as_bytes());
    }
}
