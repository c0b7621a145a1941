use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::address::Mailbox;
use crate::mime::{Rules, inspect};

fn report() -> Report {
    Report {
        envid: Some("QQ314159".into()),
        reporting: "mx.a.example".into(),
        arrived: Some(Timestamp::from_secs(1_795_000_000)),
        deliver_by: Some(Timestamp::from_secs(1_795_000_060)),
        recipients: vec![Recipient {
            original: Some(OriginalRecipient { kind: "rfc822".into(), address: "Bob@B.example".into() }),
            final_recipient: OriginalRecipient { kind: "rfc822".into(), address: "bob@b.example".into() },
            action: Action::Failed,
            status: EnhancedCode::new(5, 1, 1),
            remote: Some("mx.b.example".into()),
            diagnostic: Some(Diagnostic { kind: "smtp".into(), text: "550 5.1.1 no such inbox".into() }),
            last_attempt: Some(Timestamp::from_secs(1_795_000_001)),
            log_id: Some("0000000001".into()),
            retry_until: None,
        }],
        text: "Not delivered.\n\nBecause.\n".into(),
    }
}

fn composed(report: &Report, utf8: bool, returned: Returned<'_>) -> Bytes {
    let from: Mailbox = "postmaster@a.example".parse().unwrap();
    let frame = Frame {
        name: "Impart",
        from: &from,
        to: &from,
        subject: "Grüße: nicht zugestellt",
        date: Timestamp::from_secs(1_795_000_002),
        message_id: "<1@a.example>",
        in_reply_to: Some("<0@a.example>"),
        language: "de",
        boundary: "report-0123456789abcdef",
        utf8,
    };
    compose(&frame, report, returned)
}

fn text(entity: &Bytes) -> &str {
    std::str::from_utf8(entity).unwrap()
}

#[test]
fn reads_what_it_writes() {
    for text in ["plain\n", "Grüße an alle\n", "Не доставлено\n", "一行\n二行\n"] {
        let report = Report { text: text.into(), ..report() };
        for returned in [Returned::Nothing, Returned::Header(b"A: b\r\n"), Returned::Whole(b"A: b\r\n\r\nc\r\n")] {
            let entity = composed(&report, false, returned);
            assert_eq!(parse(&entity).as_ref(), Ok(&report), "{}", super::tests::text(&entity));
            let rules = Rules { body: crate::envelope::Body::SevenBit, utf8: false };
            inspect(&entity, rules).unwrap();
        }
    }
}

#[test]
fn utf8_addresses() {
    let mut report = report();
    report.recipients[0].original =
        Some(OriginalRecipient { kind: "utf-8".into(), address: "Боб@пример.example".into() });
    report.recipients[0].final_recipient =
        OriginalRecipient { kind: "utf-8".into(), address: "боб@b.example".into() };
    let entity = composed(&report, true, Returned::Nothing);
    assert!(text(&entity).contains("message/global-delivery-status"));
    assert!(text(&entity).contains("Final-Recipient: utf-8; боб@b.example\r\n"));
    assert_eq!(parse(&entity).as_ref(), Ok(&report));
    // RFC 6533 §3: in ASCII where UTF-8 cannot stand.
    let entity = composed(&report, false, Returned::Nothing);
    assert!(entity.is_ascii() && text(&entity).contains("message/delivery-status"));
    assert!(text(&entity).contains("Final-Recipient: utf-8; \\x{431}\\x{43E}\\x{431}@b.example\r\n"));
    assert_eq!(parse(&entity).as_ref(), Ok(&report));
}

#[test]
fn no_injection() {
    let mut report = report();
    report.envid = Some("a\r\nReporting-MTA: dns; evil".into());
    report.recipients[0].diagnostic = Some(Diagnostic {
        kind: "smtp".into(),
        text: "550-a\n\n550 b\r\n\r\nFinal-Recipient: rfc822; x@y\r\nAction: delivered\t\x1b[0m".into(),
    });
    report.recipients[0].remote = Some(format!("x{}", "y".repeat(5000)));
    let entity = composed(&report, false, Returned::Nothing);
    let read = parse(&entity).unwrap();
    assert_eq!(read.recipients.len(), 1);
    assert_eq!(read.recipients[0].action, Action::Failed);
    assert_eq!(read.reporting, "mx.a.example");
    assert!(entity.split(|b| *b == b'\n').all(|line| line.len() <= 999));
    assert!(!text(&entity).contains('\x1b'));
}

#[test]
fn diagnostics_of_several_lines() {
    let mut report = report();
    report.recipients[0].diagnostic =
        Some(Diagnostic { kind: "smtp".into(), text: "550-mailbox unavailable\n550 user has moved".into() });
    let entity = composed(&report, false, Returned::Nothing);
    assert!(text(&entity).contains("Diagnostic-Code: smtp; 550-mailbox unavailable\r\n 550 user has moved\r\n"));
}

#[test]
fn returned_content_is_not_touched() {
    let whole = "From: a@b\r\nSubject: \u{e9}\r\n\r\n=20 x \r\n--report\r\nno end";
    let entity = composed(&report(), true, Returned::Whole(whole.as_bytes()));
    let part = format!(
        "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{whole}\r\n--report-0123456789abcdef--\r\n"
    );
    assert!(text(&entity).ends_with(&part), "{}", text(&entity));
    let entity = composed(&report(), true, Returned::Header(b"From: a@b\r\n"));
    assert!(
        text(&entity).contains(
            "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nFrom: a@b\r\n\r\n--"
        )
    );
}

/// RFC 3464 appendix E.1, shortened; comments, folds and letter case as others write them.
#[test]
fn reports_of_others() {
    let entity = "Date: Thu, 7 Jul 1994 17:16:05 -0400\r\nFrom: Mail Delivery Subsystem <MAILER-DAEMON@CS.UTK.EDU>\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\
        \tboundary=\"RAA14128.773615765/CS.UTK.EDU\"\r\n\r\n--RAA14128.773615765/CS.UTK.EDU\r\n\r\n\
        The original message was received at Sat, 2 Jul 1994 17:10:28 -0400\r\n\
        --RAA14128.773615765/CS.UTK.EDU\r\ncontent-type: message/delivery-status\r\n\r\n\
        Reporting-MTA: dns; cs.utk.edu\r\n\r\n\r\n\
        Original-Recipient: rfc822;louisl@larry.slip.umd.edu\r\nFinal-Recipient: rfc822;louisl@larry.slip.umd.edu\r\n\
        Action: Failed (no more)\r\nStatus: 4.0.0 (other)\r\n\
        Diagnostic-Code: smtp; 426 connection\r\n  timed out\r\nLast-Attempt-Date: Thu, 7 Jul 1994 17:15:49 -0400\r\n\
        X-Other: y\r\n\r\n\
        --RAA14128.773615765/CS.UTK.EDU\r\ncontent-type: message/rfc822\r\n\r\n[original message goes here]\r\n\
        --RAA14128.773615765/CS.UTK.EDU--\r\n";
    let read = parse(entity.as_bytes()).unwrap();
    assert_eq!((read.reporting.as_str(), read.envid, read.arrived), ("cs.utk.edu", None, None));
    let [one] = &read.recipients[..] else { panic!("{:?}", read.recipients) };
    assert_eq!((one.action, one.status), (Action::Failed, EnhancedCode::new(4, 0, 0)));
    assert_eq!(one.diagnostic.as_ref().unwrap().text, "426 connection  timed out");
    assert_eq!(one.last_attempt.unwrap().rfc3339(), "1994-07-07T21:15:49.000Z");
    assert_eq!(read.text, "The original message was received at Sat, 2 Jul 1994 17:10:28 -0400");
}

#[test]
fn what_is_no_report() {
    let whole = composed(&report(), false, Returned::Nothing);
    let check = |from: &str, to: &str, expected| {
        let changed = text(&whole).replace(from, to);
        assert_ne!(changed, text(&whole));
        assert_eq!(parse(changed.as_bytes()).err(), Some(expected), "{to}");
    };
    check("multipart/report", "multipart/mixed", Unreadable::NotAReport);
    check("report-type=delivery-status", "report-type=other", Unreadable::NotAReport);
    check("message/delivery-status", "message/other", Unreadable::NoStatus);
    check("Reporting-MTA: dns; ", "Reporting-MTA: ", Unreadable::NoReporter);
    check("Action: failed", "Action: lost", Unreadable::Recipient);
    check("Status: 5.1.1", "Status: 550", Unreadable::Recipient);
    check("Final-Recipient: ", "X: ", Unreadable::Recipient);
    assert_eq!(parse(b"").err(), Some(Unreadable::NotAReport));
    let none = Report { recipients: Vec::new(), ..report() };
    assert_eq!(parse(&composed(&none, false, Returned::Nothing)).err(), Some(Unreadable::NoRecipients));
    let many = Report { recipients: vec![report().recipients[0].clone(); 1001], ..report() };
    assert_eq!(parse(&composed(&many, false, Returned::Nothing)).err(), Some(Unreadable::TooLarge));
}

/// Lines of which a hostile report is made.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("--b\r\n".to_owned()),
        Just("\r\n".to_owned()),
        "Content-Type: (text/plain; charset=x|message/delivery-status)\r\n",
        "Content-Transfer-Encoding: (base64|quoted-printable)\r\n",
        "Final-Recipient: utf-8;\\\\x\\{[0-9A-F]{0,7}\\}\r\n",
        "Reporting-MTA: dns; x\r\n",
        "[ -~\r\né]{0,10}",
    ]
}

proptest! {
    #[test]
    fn never_panics(lines in proptest::collection::vec(line(), 0..16)) {
        let kind = "Content-Type: multipart/report; report-type=delivery-status; boundary=b";
        let _ = parse(format!("{kind}\r\n\r\n--b\r\n{}", lines.concat()).as_bytes());
    }

    #[test]
    fn values_come_back(
        envid in "[!-~]{1,30}",
        diagnostic in "[!-~]([ -~é]{0,2000}[!-~])?",
        local in "[a-zа-я+=\\\\]{1,10}",
    ) {
        let mut report = report();
        report.envid = Some(envid);
        report.recipients[0].original = Some(OriginalRecipient { kind: "utf-8".into(), address: local });
        let entity = composed(&report, false, Returned::Nothing);
        prop_assert_eq!(parse(&entity), Ok(report.clone()));
        report.recipients[0].diagnostic = Some(Diagnostic { kind: "smtp".into(), text: diagnostic });
        let entity = composed(&report, true, Returned::Nothing);
        let read = parse(&entity).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(read.recipients.len(), 1);
    }
}
