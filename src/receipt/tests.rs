use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::envelope::DeliverBy;
use crate::mime::report::parse;

const ENTITY: &[u8] = b"Received: from localhost\r\n\tby mx.a.example with ESMTPS id 1;\r\n\t\
    Wed, 18 Nov 2026 11:06:40 +0000\r\nFrom: Alice <alice@a.example>\r\nTo: bob@b.example\r\n\
    Message-ID: <0123@a.example>\r\nDate: Wed, 18 Nov 2026 11:06:39 +0000\r\n\r\nHello Bob\r\n";

fn recipient(address: &str) -> Recipient {
    Recipient { address: address.parse().unwrap(), notify: None, original: None }
}

fn envelope() -> Envelope {
    Envelope {
        class: Class::Im,
        sender: ReversePath::Mailbox("alice@a.example".parse().unwrap()),
        body: Body::SevenBit,
        utf8: false,
        ret: None,
        envid: Some("QQ314159".into()),
        deliver_by: None,
        require_tls: false,
        recipients: vec![recipient("bob@b.example")],
    }
}

fn about(action: Action) -> About {
    let status = match action {
        Action::Failed => EnhancedCode::new(5, 1, 1),
        Action::Delayed => EnhancedCode::new(4, 4, 1),
        _ => EnhancedCode::new(2, 1, 5),
    };
    About::new(0, action, status, "")
}

fn of(envelope: &Envelope, entity: &[u8], recipients: &[About]) -> Option<NewMessage> {
    let (reporting, from_domain) = (Domain::parse("mx.b.example").unwrap(), Domain::parse("b.example").unwrap());
    let now = Timestamp::from_secs(1_795_000_010);
    receipt(&Facts {
        reporting: &reporting,
        from_domain: &from_domain,
        envelope,
        arrived: Timestamp::from_millis(1_795_000_000_123),
        now,
        expires: now.after(std::time::Duration::from_secs(86_400)),
        entity,
        id: QueueId(1),
        message_id_entropy: [0xab; 16],
        recipients,
    })
}

/// Compares with `tests/golden/receipt/NAME.eml`, or writes it if UPDATE is set; and the receipt is well-formed and
/// says what it was told.
fn golden(name: &str, envelope: &Envelope, entity: &[u8], recipients: &[About]) {
    let made = of(envelope, entity, recipients).expect("a receipt is due");
    let rules = Rules { body: made.envelope.body, utf8: made.envelope.utf8 };
    let facts = mime::inspect(&made.entity, rules).unwrap();
    assert!(facts.auto_submitted && !facts.presence);
    assert_eq!(facts.from, ["postmaster@b.example".parse().unwrap()]);
    assert_eq!(facts.message_id, made.message_id);
    let report = parse(&made.entity).unwrap();
    let told: Vec<_> = report.recipients.iter().map(|one| (one.action, one.status)).collect();
    assert_eq!(told, recipients.iter().map(|one| (one.action, one.status)).collect::<Vec<_>>());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/receipt").join(format!("{name}.eml"));
    // Line ends are CRLF on the wire and LF in the file; the text part is shown decoded at the end.
    let shown = format!("{}\n#### text\n{}", String::from_utf8_lossy(&made.entity).replace("\r\n", "\n"), report.text);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, shown).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{} differs; UPDATE=1 rewrites it. Now:\n{shown}", path.display());
}

fn asked() -> Envelope {
    let mut envelope = envelope();
    envelope.recipients[0].notify = Some(Notify { success: true, failure: true, delay: true });
    envelope.recipients[0].original =
        Some(OriginalRecipient { kind: "rfc822".into(), address: "Bob@B.example".into() });
    envelope
}

#[test]
fn failed() {
    let reply = Reply::new(550, EnhancedCode::new(5, 1, 1), "no such inbox\nask the postmaster");
    let remote = Some("mx.b.example[192.0.2.1]:2779".to_owned());
    golden("failed", &asked(), ENTITY, &[About { remote, diagnostic: Some(reply), ..about(Action::Failed) }]);
}

#[test]
fn failed_whole() {
    let envelope = Envelope { ret: Some(Ret::Full), ..asked() };
    let reason = "no reply came within 600 s; see /var/log/impart/log".to_owned();
    let status = EnhancedCode::new(5, 4, 7);
    golden("failed-whole", &envelope, ENTITY, &[About { status, reason, uncertain: true, ..about(Action::Failed) }]);
}

#[test]
fn delayed() {
    let at = Timestamp::from_secs(1_795_003_600);
    let by = DeliverBy { at, mode: ByMode::Notify, trace: false };
    let reason = "b.example: connection refused".to_owned();
    let told = About { retry_until: Some(at), reason, ..about(Action::Delayed) };
    golden("delayed", &Envelope { deliver_by: Some(by), ..envelope() }, ENTITY, &[told]);
}

#[test]
fn the_other_actions() {
    golden("delivered", &asked(), ENTITY, &[about(Action::Delivered)]);
    golden("relayed", &asked(), ENTITY, &[about(Action::Relayed)]);
    golden("expanded", &asked(), ENTITY, &[about(Action::Expanded)]);
}

#[test]
fn several_recipients() {
    let mut envelope = asked();
    envelope.recipients.push(recipient("carol@c.example"));
    envelope.recipients.push(recipient("dave@d.example"));
    let carol = About { index: 1, status: EnhancedCode::new(5, 1, 2), ..about(Action::Failed) };
    let dave = About { index: 2, ..about(Action::Delayed) };
    golden("several", &envelope, ENTITY, &[about(Action::Failed), carol, dave]);
}

#[test]
fn utf8() {
    let envelope = Envelope {
        utf8: true,
        body: Body::EightBitMime,
        ret: Some(Ret::Full),
        sender: ReversePath::Mailbox("алиса@пример.example".parse().unwrap()),
        recipients: vec![recipient("боб@b.example")],
        ..envelope()
    };
    let entity = "From: Алиса <алиса@пример.example>\r\nSubject: Привет\r\nAccept-Language: ru\r\n\
        Message-ID: <1@x.example>\r\n\r\nПривет, Боб\r\n";
    let reply = Reply::new(550, EnhancedCode::new(5, 1, 1), "нет такого ящика");
    let told = About { diagnostic: Some(reply), remote: Some("mx.b.example".into()), ..about(Action::Failed) };
    golden("utf8", &envelope, entity.as_bytes(), &[told]);
}

#[test]
fn languages() {
    for tag in ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja", "zh"] {
        let entity = [format!("Accept-Language: {tag}\r\n").as_bytes(), ENTITY].concat();
        let told = About { status: EnhancedCode::new(5, 3, 3), uncertain: true, ..about(Action::Failed) };
        golden(&format!("language-{tag}"), &asked(), &entity, &[told]);
    }
}

fn due(notify: Option<Notify>, action: Action) -> bool {
    let mut envelope = envelope();
    envelope.recipients[0].notify = notify;
    of(&envelope, ENTITY, &[about(action)]).is_some()
}

/// RFC 3461 §5.2.
#[test]
fn when_it_is_due() {
    let only = |name: &str| Some(Notify { success: name == "S", failure: name == "F", delay: name == "D" });
    for (action, absent, wanted) in [
        (Action::Delivered, false, "S"),
        (Action::Expanded, false, "S"),
        (Action::Relayed, false, "S"),
        (Action::Failed, true, "F"),
        (Action::Delayed, true, "D"),
    ] {
        assert_eq!(due(None, action), absent, "{action}");
        assert!(!due(Some(Notify::NEVER), action), "{action}");
        for name in ["S", "F", "D"] {
            assert_eq!(due(only(name), action), name == wanted, "{action} {name}");
        }
    }
}

/// RFC 2852 §4.1.4.
#[test]
fn a_trace_reports_relaying() {
    let relayed = |by: Option<DeliverBy>, notify: Option<Notify>| {
        let mut envelope = Envelope { deliver_by: by, ..envelope() };
        envelope.recipients[0].notify = notify;
        of(&envelope, ENTITY, &[about(Action::Relayed)]).is_some()
    };
    let by = |mode, trace| Some(DeliverBy { at: Timestamp::from_secs(1_795_000_100), mode, trace });
    let failure = Some(Notify { success: false, failure: true, delay: false });
    assert!(relayed(by(ByMode::Return, true), None));
    assert!(relayed(by(ByMode::Return, true), failure));
    assert!(relayed(by(ByMode::Notify, false), None));
    assert!(!relayed(by(ByMode::Return, false), None));
    assert!(!relayed(by(ByMode::Return, true), Some(Notify::NEVER)));
    assert!(!relayed(None, failure));
}

#[test]
fn never_for_these() {
    let told = [about(Action::Failed)];
    assert!(of(&Envelope { sender: ReversePath::Null, ..envelope() }, ENTITY, &told).is_none());
    assert!(of(&Envelope { class: Class::Pres, ..envelope() }, ENTITY, &told).is_none());
    assert!(of(&envelope(), ENTITY, &[]).is_none());
    assert!(of(&envelope(), ENTITY, &[About { index: 7, ..about(Action::Failed) }]).is_none());
}

#[test]
fn only_those_who_are_due_are_named() {
    let mut envelope = envelope();
    envelope.recipients.push(Recipient { notify: Some(Notify::NEVER), ..recipient("carol@c.example") });
    let made = of(&envelope, ENTITY, &[about(Action::Failed), About { index: 1, ..about(Action::Failed) }]).unwrap();
    assert_eq!(parse(&made.entity).unwrap().recipients.len(), 1);
    assert!(!String::from_utf8_lossy(&made.entity).contains("carol"));
}

#[test]
fn the_envelope() {
    let made = of(&envelope(), ENTITY, &[about(Action::Failed)]).unwrap();
    let got = &*made.envelope;
    assert_eq!((&got.sender, got.class, got.body), (&ReversePath::Null, Class::Im, Body::SevenBit));
    assert_eq!((got.utf8, got.ret, &got.envid, got.require_tls), (false, None, &None, false));
    let notify = Some(Notify::NEVER);
    assert_eq!(got.recipients, [Recipient { notify, ..recipient("alice@a.example") }]);
    assert_eq!((made.origin, made.digest), (Origin::Own, mime::digest(&made.entity)));
    assert_eq!(made.expires, made.arrived.after(std::time::Duration::from_secs(86_400)));
}

/// RFC 8689 §5.
#[test]
fn require_tls_is_kept_and_content_is_not() {
    let envelope = Envelope { require_tls: true, ret: Some(Ret::Full), ..envelope() };
    let made = of(&envelope, ENTITY, &[about(Action::Failed)]).unwrap();
    assert!(made.envelope.require_tls);
    assert!(!String::from_utf8_lossy(&made.entity).contains("Hello Bob"));
}

#[test]
fn content_comes_back_only_with_a_failure_and_if_small() {
    let has = |envelope: &Envelope, entity: &[u8], action| {
        let made = of(envelope, entity, &[about(action)]).unwrap();
        String::from_utf8_lossy(&made.entity).contains("Hello Bob")
    };
    let full = Envelope { ret: Some(Ret::Full), ..asked() };
    assert!(has(&full, ENTITY, Action::Failed));
    assert!(!has(&full, ENTITY, Action::Delivered));
    assert!(!has(&asked(), ENTITY, Action::Failed));
    assert!(!has(&Envelope { ret: Some(Ret::Hdrs), ..asked() }, ENTITY, Action::Failed));
    assert!(!has(&Envelope { body: Body::BinaryMime, ..full.clone() }, ENTITY, Action::Failed));
    let large = [ENTITY, b"0123456\r\n".repeat(8000).as_slice()].concat();
    assert!(!has(&full, &large, Action::Failed));
    // At the limit of nesting, only the header comes back.
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(31);
    let deep = [b"From: a@a.example\r\n", nested.as_bytes(), b"X: Hello Bob\r\n"].concat();
    mime::inspect(&deep, Rules { body: Body::SevenBit, utf8: false }).unwrap();
    assert!(!has(&full, &deep, Action::Failed));
}

#[test]
fn nothing_is_injected() {
    let reason = "x\r\n\r\n--report-abababababababababababababababab\r\nBcc: y\u{202e}".to_owned();
    let mut envelope = asked();
    envelope.envid = Some("a\r\nAction: delivered".into());
    envelope.recipients[0].original =
        Some(OriginalRecipient { kind: "rfc822".into(), address: "a\r\n\r\nFinal-Recipient: rfc822; x@y".into() });
    let entity = b"From: a@b.example\r\nMessage-ID: <x>\r\n Bcc: <y@z>\r\n\r\n";
    let remote = Some("mx\r\nX: y".to_owned());
    let made = of(&envelope, entity, &[About { reason, remote, ..about(Action::Failed) }]).unwrap();
    let report = parse(&made.entity).unwrap();
    assert_eq!(report.recipients.len(), 1);
    assert_eq!((report.recipients[0].action, &report.recipients[0].remote), (Action::Failed, &None));
    let text = String::from_utf8_lossy(&made.entity).into_owned();
    assert!(!text.contains("In-Reply-To") && !text.contains("\r\nBcc") && !text.contains("\r\nX: y"));
    assert_eq!(text.lines().filter(|line| line.starts_with("--report-")).count(), 4);
}

proptest! {
    #[test]
    fn any_text_makes_a_proper_receipt(
        reason in ".{0,80}",
        reply in "(?s).{0,200}",
        kind in "[a-z-]{1,9}",
        original in "(?s).{1,60}",
        language in "[a-z]{2}",
        utf8: bool,
    ) {
        let mut envelope = Envelope { utf8, ..asked() };
        envelope.recipients[0].original = Some(OriginalRecipient { kind, address: original });
        let entity = [format!("Accept-Language: {language}\r\n").as_bytes(), ENTITY].concat();
        let diagnostic = Some(Reply::new(550, EnhancedCode::new(5, 0, 0), reply));
        let made = of(&envelope, &entity, &[About { reason, diagnostic, ..about(Action::Failed) }]);
        let made = made.ok_or(TestCaseError::fail("none"))?;
        let rules = Rules { body: made.envelope.body, utf8: made.envelope.utf8 };
        prop_assert!(mime::inspect(&made.entity, rules).is_ok());
        let report = parse(&made.entity).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(report.recipients.len(), 1);
        prop_assert_eq!(report.recipients[0].action, Action::Failed);
    }
}
