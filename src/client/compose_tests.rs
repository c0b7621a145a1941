use super::*;
use crate::mime::{Rules, inspect};

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn draft(text: &str) -> Draft {
    Draft {
        id: "<1@a.test>".to_owned(),
        envid: "e1".to_owned(),
        date: Timestamp::from_secs(1_795_000_000),
        from: mailbox("alice@a.test"),
        to: vec![mailbox("bob@b.test")],
        text: text.to_owned(),
        attachments: vec![],
        in_reply_to: None,
        references: vec![],
        receipt: false,
        displayed: false,
        automatic: false,
        sealed: None,
        signed: false,
        encrypted: false,
    }
}

const FRAME: &str = "From: <alice@a.test>\r\nTo: <bob@b.test>\r\nDate: Wed, 18 Nov 2026 11:06:40 +0000\r\n\
    Message-ID: <1@a.test>\r\nMIME-Version: 1.0\r\n";

fn check(draft: &Draft, contents: &[Bytes], eight_bit: bool, expected: &str) {
    let entity = draft.entity(contents, eight_bit);
    assert_eq!(std::str::from_utf8(&entity).unwrap(), format!("{FRAME}{expected}"));
    sound(draft, &entity, eight_bit);
}

/// Our own server takes it as its envelope announces it.
fn sound(draft: &Draft, entity: &[u8], eight_bit: bool) {
    let envelope = draft.envelope(eight_bit);
    let facts = inspect(entity, Rules { body: envelope.body, utf8: envelope.utf8 }).unwrap();
    assert_eq!(facts.from, [draft.from.clone()]);
    assert_eq!(facts.message_id.as_deref(), Some(draft.id.as_str()));
}

#[test]
fn texts() {
    let kind = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ";
    check(&draft("hello\n.\n"), &[], true, &format!("{kind}7bit\r\n\r\nhello\r\n.\r\n"));
    check(&draft(""), &[], true, &format!("{kind}7bit\r\n\r\n\r\n"));
    check(&draft("héllo"), &[], true, &format!("{kind}8bit\r\n\r\nhéllo\r\n"));
    check(&draft("héllo = "), &[], false, &format!("{kind}quoted-printable\r\n\r\nh=C3=A9llo =3D=20\r\n"));
    check(&draft("a\0b\rc"), &[], true, &format!("{kind}quoted-printable\r\n\r\na=00b=0Dc\r\n"));
    let long = "x".repeat(1000);
    let lines = format!("{}=\r\n", "x".repeat(75)).repeat(13) + &"x".repeat(25);
    check(&draft(&long), &[], true, &format!("{kind}quoted-printable\r\n\r\n{lines}\r\n"));
}

#[test]
fn threads_and_notices() {
    let mut draft = draft("x");
    draft.in_reply_to = Some("<9@b>\r\nX: y".to_owned());
    draft.references = (0..20).map(|at| format!("<{at}@b>")).collect();
    draft.displayed = true;
    let entity = String::from_utf8(draft.entity(&[], true).to_vec()).unwrap();
    assert!(entity.contains("\r\nIn-Reply-To: <9@b>X:y\r\n"), "{entity}");
    assert!(entity.contains("References: <0@b>\r\n <12@b>\r\n"), "{entity}");
    assert!(entity.contains("\r\nDisposition-Notification-To: <alice@a.test>\r\n"), "{entity}");
    sound(&draft, entity.as_bytes(), true);
}

#[test]
fn attachments() {
    let mut draft = draft("see");
    let enclosure =
        |name: &str, media: &str| Enclosure { name: name.to_owned(), media: media.to_owned(), ..Enclosure::default() };
    draft.attachments = vec![enclosure("a.txt", "text/plain"), enclosure("写\".png", "x\r\nY: z")];
    check(
        &draft,
        &[Bytes::from_static(b"hi"), Bytes::from(vec![0; 58])],
        true,
        "Content-Type: multipart/mixed; boundary=\"=_e1\"\r\n\r\n--=_e1\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nsee\r\n\r\n--=_e1\r\n\
         Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n \
         filename=\"a.txt\"\r\n\r\naGk=\r\n\r\n--=_e1\r\nContent-Type: application/octet-stream\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n \
         filename*0*=utf-8''%E5%86%99%22.png\r\n\r\n\
         AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\nAA==\r\n\r\n--=_e1--\r\n",
    );
}

#[test]
fn envelopes() {
    let mut draft = draft("x");
    draft.to = vec![mailbox("bob@b.test"), mailbox("δοκιμή@c.test")];
    draft.receipt = true;
    let envelope = draft.envelope(true);
    assert!(envelope.utf8);
    assert_eq!(envelope.envid.as_deref(), Some("e1"));
    assert_eq!(envelope.recipients[0].notify.unwrap().keyword(), "SUCCESS,FAILURE,DELAY");
    assert_eq!(envelope.recipients[1].original.as_ref().unwrap().kind, "utf-8");
    sound(&draft, &draft.entity(&[], true), true);
}

#[test]
fn notices_are_sound() {
    let (alice, bob) = (mailbox("alice@a.test"), mailbox("bob@b.test"));
    let now = Timestamp::from_secs(1_795_000_000);
    let (envelope, entity) = typing(&alice, &bob, true, 60, now).unwrap();
    assert_eq!(envelope.recipients[0].notify, Some(Notify::NEVER));
    inspect(&entity, Rules { body: envelope.body, utf8: false }).unwrap();
    let (envelope, entity) = displayed(&bob, &alice, "<1@a.test>\r\nX: y", true, now).unwrap();
    assert_eq!(envelope.sender, ReversePath::Null);
    let facts = inspect(&entity, Rules { body: envelope.body, utf8: false }).unwrap();
    assert!(facts.auto_submitted);
    let text = String::from_utf8(entity.to_vec()).unwrap();
    assert!(text.contains("\r\nOriginal-Message-ID: <1@a.test>X:y\r\n"), "{text}");
}
