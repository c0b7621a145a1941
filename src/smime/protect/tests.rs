use super::*;
use crate::address::Mailbox;

const MESSAGE: &str = "Received: from x by y; Wed, 18 Nov 2026 11:06:40 +0000\r\n\
    From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nBcc: mallory@b.example\r\n\
    Date: Wed, 18 Nov 2026 11:06:40 +0000\r\nMessage-ID: <1@a.example>\r\nSubject: The Jones\r\n contract\r\n\
    Comments: between us\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 7bit\r\n\r\nHello\r\n";

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn signed_only_has_all_fields_inside_and_outside() {
    let prepared = prepare(MESSAGE.as_bytes(), false).unwrap();
    assert_eq!(
        text(prepared.payload()),
        "From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nDate: Wed, 18 Nov 2026 11:06:40 +0000\r\n\
         Message-ID: <1@a.example>\r\nSubject: The Jones\r\n contract\r\nComments: between us\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8;\r\n hp=\"clear\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nHello\r\n"
    );
    let message = prepared.message(b"Content-Type: multipart/signed; boundary=b\r\n\r\n...");
    assert_eq!(
        text(&message),
        "From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nDate: Wed, 18 Nov 2026 11:06:40 +0000\r\n\
         Message-ID: <1@a.example>\r\nSubject: The Jones\r\n contract\r\nComments: between us\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/signed; boundary=b\r\n\r\n..."
    );
    assert!(!text(&prepared.message(b"MIME-Version: 1.0\r\nX: y\r\n\r\n")).contains("1.0\r\nMIME-Version"));
}

#[test]
fn encrypted_hides_the_subject_and_records_what_is_seen() {
    let prepared = prepare(MESSAGE.as_bytes(), true).unwrap();
    let payload = text(prepared.payload());
    assert!(payload.contains("Subject: The Jones\r\n contract\r\n"), "{payload}");
    assert!(payload.contains("hp=\"cipher\""));
    assert!(
        payload.contains("HP-Outer: Subject: [...]\r\nContent-Type")
            || payload.contains("HP-Outer: Subject: [...]\r\nMIME")
    );
    assert!(payload.contains("HP-Outer: From: Alice <alice@a.example>\r\n"));
    assert!(!payload.contains("HP-Outer: Comments"));
    let message = prepared.message(b"Content-Type: application/pkcs7-mime\r\n\r\nx");
    assert!(
        !text(&message).contains("Jones") && !text(&message).contains("between us") && !text(&message).contains("HP-")
    );
    assert!(text(&message).contains("Subject: [...]\r\n"));

    let read = read(prepared.payload()).unwrap();
    assert_eq!(read.scheme, Scheme::Cipher);
    let inside: Vec<&str> = read.fields.iter().map(|field| field.name).collect();
    assert!(inside.contains(&"Subject") && inside.contains(&"Comments") && !inside.contains(&"HP-Outer"), "{inside:?}");
    assert!(read.contradictions(&message).is_empty());
}

#[test]
fn what_is_prepared_is_read_back() {
    for encrypted in [false, true] {
        let prepared = prepare(MESSAGE.as_bytes(), encrypted).unwrap();
        let read = read(prepared.payload()).unwrap();
        assert_eq!(read.from().unwrap(), [Mailbox::parse("alice@a.example").unwrap()]);
        assert_eq!(read.recipients().unwrap(), [Mailbox::parse("bob@b.example").unwrap()]);
        assert_eq!(read.message_id().unwrap(), "<1@a.example>");
        assert_eq!(read.date().unwrap().secs(), 1_795_000_000);
        assert_eq!(read.presence(), None);
        assert_eq!(read.body, prepared.payload());
    }
}

#[test]
fn what_cannot_be_prepared() {
    let check = |entity: &str, expected: ProtectError| {
        assert_eq!(prepare(entity.as_bytes(), false).unwrap_err(), expected, "{entity}");
    };
    check("no field\r\n\r\n", ProtectError::NotAField);
    check("From: alice@a.example", ProtectError::NotAField);
    check("Content-Type: text/plain; hp=clear\r\n\r\n", ProtectError::Already);
    check(&"A: b\r\n".repeat(1001), ProtectError::TooLarge);
    let long = format!("X: {}\r\n\r\n", "x".repeat(990));
    assert!(prepare(long.as_bytes(), false).is_ok());
    let folded = prepare(long.as_bytes(), true).unwrap();
    assert!(text(folded.payload()).split("\r\n").all(|line| line.len() <= 998));
    assert!(text(folded.payload()).contains("HP-Outer: X:\r\n xxx"));
}

#[test]
fn without_a_content_type_the_default_is_said() {
    let prepared = prepare(b"From: alice@a.example\r\n\r\nHello\r\n", false).unwrap();
    let expected =
        "From: alice@a.example\r\nContent-Type: text/plain; charset=us-ascii;\r\n hp=\"clear\"\r\n\r\nHello\r\n";
    assert_eq!(text(prepared.payload()), expected);
}

fn scheme(payload: &str) -> (Scheme, Vec<String>) {
    let read = read(payload.as_bytes()).unwrap();
    (read.scheme, read.fields.iter().map(|field| field.name.to_owned()).collect())
}

#[test]
fn schemes() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(scheme("From: a@a.example\r\nContent-Type: text/plain\r\n\r\n"), (Scheme::Unprotected, vec![]));
    assert_eq!(
        scheme("From: a@a.example\r\nContent-Type: text/plain; hp=maybe\r\n\r\n"),
        (Scheme::Unprotected, vec![])
    );
    assert_eq!(
        scheme("From: a@a.example\r\nContent-Type: text/plain; HP=\"CLEAR\"\r\nContent-Language: en\r\n\r\n"),
        (Scheme::Clear, names(&["From"]))
    );
    let wrapped = "Content-Type: message/rfc822\r\n\r\nFrom: a@a.example\r\nSubject: x\r\n\r\n";
    assert_eq!(scheme(wrapped), (Scheme::Wrapped, names(&["From", "Subject"])));
    // One that is forwarded and signed itself, and one whose `hp` is not at the root, protect nothing here.
    for inner in [
        "From: a@a.example\r\nContent-Type: multipart/signed; boundary=x\r\n\r\n",
        "From: a@a.example\r\nContent-Type: application/pkcs7-mime\r\n\r\n",
        "From: a@a.example\r\nContent-Type: text/plain; hp=clear\r\n\r\n",
    ] {
        assert_eq!(scheme(&format!("Content-Type: message/rfc822\r\n\r\n{inner}")), (Scheme::Unprotected, vec![]));
    }
    let hidden = "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nFrom: b@b.example\r\n\
                  Content-Type: text/plain; hp=clear\r\n\r\n--x--\r\n";
    assert_eq!(scheme(hidden), (Scheme::Unprotected, vec![]));
}

#[test]
fn contradictions() {
    let payload = b"From: Alice <alice@a.example>\r\nTo: Bob <bob@b.example>, carol@a.example\r\n\
        Presence: subscribe; id=1\r\nContent-Type: text/plain; hp=clear\r\n\r\n";
    let read = read(payload).unwrap();
    let check = |outer: &str, expected: &[Contradiction]| {
        assert_eq!(read.contradictions(outer.as_bytes()), expected, "{outer}")
    };
    let presence = "Presence: subscribe;\r\n id=1\r\n";
    check(&format!("From: ALICE@A.example\r\nTo: carol@a.example,\r\n bob@b.example\r\n{presence}\r\n"), &[]);
    check(&format!("Subject: added on the way\r\n{presence}\r\n"), &[]);
    check(&format!("From: mallory@b.example\r\n{presence}\r\n"), &[Contradiction::From]);
    check(&format!("From: <alice@a.example\r\n{presence}\r\n"), &[Contradiction::From]);
    check(&format!("To: bob@b.example\r\n{presence}\r\n"), &[Contradiction::To]);
    check("From: alice@a.example\r\n\r\n", &[Contradiction::Presence]);
    check("Presence: publish; id=1\r\n\r\n", &[Contradiction::Presence]);
    let none = super::read(b"Content-Type: text/plain; hp=clear\r\n\r\n").unwrap();
    assert_eq!(none.contradictions(b"Presence: publish\r\n\r\n"), [Contradiction::Presence]);
    // Where nothing is protected, nothing is contradicted.
    let none = super::read(b"From: a@a.example\r\n\r\n").unwrap();
    assert!(none.contradictions(b"From: mallory@b.example\r\nPresence: publish\r\n\r\n").is_empty());
}

#[test]
fn two_fields_of_one_name_are_no_field() {
    let read = read(b"From: a@a.example\r\nFrom: b@b.example\r\nContent-Type: text/plain; hp=clear\r\n\r\n").unwrap();
    assert!(read.from().is_err());
    assert!(read.field("From").is_err());
}

#[test]
fn legacy_display_is_not_shown() {
    let marked = b" text/plain; charset=utf-8; hp-legacy-display=\"1\"";
    assert_eq!(without_legacy_display(marked, "Subject: x\r\nCc: y\r\n\r\nHello\r\n"), "Hello\r\n");
    assert_eq!(without_legacy_display(marked, "Subject: x"), "Subject: x");
    assert_eq!(without_legacy_display(b" text/plain", "Subject: x\r\n\r\nHello"), "Subject: x\r\n\r\nHello");
    assert_eq!(without_legacy_display(b" text/csv; hp-legacy-display=1", "a\n\nb"), "a\n\nb");
    let html = |text: &str, expected: &str| {
        assert_eq!(without_legacy_display(b" text/html; hp-legacy-display=1", text), expected);
        assert_eq!(without_legacy_display(b" text/html", text), text);
    };
    let pre = "<div>\n<pre>Subject: x</pre></div>";
    html(&format!("<p>a</p><DIV id=1 class=\"b header-protection-legacy-display\">{pre}</Div>c"), "<p>a</p>c");
    html("<div class=header-protection-legacy-display>x</div>y<div>z</div>", "y<div>z</div>");
    html(
        "<div class='header-protection-legacy-display-not'>x</div>",
        "<div class='header-protection-legacy-display-not'>x</div>",
    );
    html(
        "a<div class='header-protection-legacy-display'>it <b>never ends",
        "a<div class='header-protection-legacy-display'>it <b>never ends",
    );
    html("1 < 2", "1 < 2");
}

/// RFC 9788 §D.1: the message before, the payload and the fields outside; the order of fields is the author's choice.
#[test]
fn the_example_of_rfc_9788() {
    let message = "Date: Wed, 11 Jan 2023 16:08:43 -0500\r\nFrom: Bob <bob@example.net>\r\nTo: Alice <alice@example.net>\r\n\
        Subject: Handling the Jones contract\r\nMessage-ID: <20230111T210843Z.1234@lhp.example>\r\n\
        Content-Type: text/plain; charset=\"us-ascii\"\r\nMIME-Version: 1.0\r\n\r\nPlease review\r\n";
    let prepared = prepare(message.as_bytes(), true).unwrap();
    let mut payload: Vec<&str> = text(prepared.payload()).split_once("\r\n\r\n").unwrap().0.split("\r\n").collect();
    payload.sort_unstable();
    let mut expected = vec![
        "Date: Wed, 11 Jan 2023 16:08:43 -0500",
        "From: Bob <bob@example.net>",
        "To: Alice <alice@example.net>",
        "Subject: Handling the Jones contract",
        "Message-ID: <20230111T210843Z.1234@lhp.example>",
        "Content-Type: text/plain; charset=\"us-ascii\";",
        " hp=\"cipher\"",
        "MIME-Version: 1.0",
        "HP-Outer: Date: Wed, 11 Jan 2023 16:08:43 -0500",
        "HP-Outer: From: Bob <bob@example.net>",
        "HP-Outer: To: Alice <alice@example.net>",
        "HP-Outer: Subject: [...]",
        "HP-Outer: Message-ID: <20230111T210843Z.1234@lhp.example>",
    ];
    expected.sort_unstable();
    assert_eq!(payload, expected);
}
