use proptest::prelude::*;

use super::*;
use crate::smtp::extension::Extension;

fn everything() -> Context {
    let mut offered = Set::EMPTY;
    Extension::ALL.into_iter().for_each(|extension| offered.insert(extension));
    Context { offered, utf8: false }
}

fn mail(line: &str) -> Mail {
    match parse(line.as_bytes(), everything()) {
        Ok(Command::Mail(mail)) => mail,
        other => panic!("{line}: {other:?}"),
    }
}

fn check(line: &str, expected: Result<Command, u16>) {
    let got = parse(line.as_bytes(), everything()).map_err(|error| error.reply().code());
    assert_eq!(got, expected, "{line}");
}

#[test]
fn verbs_in_any_case() {
    check("noop", Ok(Command::Noop));
    check("NoOp anything at all", Ok(Command::Noop));
    check("RSET \t ", Ok(Command::Rset));
    check("sTaRtTlS", Ok(Command::StartTls));
    check("HELP me", Ok(Command::Help));
    check("VRFY alice", Ok(Command::Vrfy));
    check("ehlo A.example", Ok(Command::Ehlo(EhloName::parse("a.example").unwrap())));
    check("LHLO a.example", Ok(Command::Lhlo(EhloName::parse("a.example").unwrap())));
    check("HELO [192.0.2.1]", Ok(Command::Helo(EhloName::parse("[192.0.2.1]").unwrap())));
    for unknown in ["", " NOOP", "NOOPS", "NO", "TURN", "LHLOS a", "ATRNS", "AUTHX PLAIN", "X-YZ"] {
        check(unknown, Err(500));
    }
}

#[test]
fn arguments() {
    for bad in [
        "RSET now",
        "DATA x",
        "QUIT x",
        "STARTTLS x",
        "VRFY",
        "EHLO",
        "EHLO a b",
        "EHLO -a",
        "EHLO δ.example",
        "NOOP δ",
        "MAIL",
        "MAIL FROM",
        "MAIL FROM: <a@b>",
        "MAIL FROM :<a@b>",
        "MAIL FROM:a@b",
        "MAIL FROM:<a@b>SIZE=1",
        "MAIL TO:<a@b>",
        "RCPT FROM:<a@b>",
        "RCPT TO:",
        "MAIL FROM:<a b@c>",
        "MAIL FROM:<a@[192.0.2.1]>",
        "RCPT TO:<>",
        "RCPT TO:<a>",
    ] {
        check(bad, Err(501));
    }
}

#[test]
fn control_characters_and_encodings() {
    let refused: &[&[u8]] = &[
        b"NOOP\0",
        b"NOOP a\tb",
        b"NOOP\r",
        b"MAIL FROM:<a@b>\r",
        b"NOOP \x7f",
        b"NOOP \xff",
        b"MAIL FROM:<\xc3@b> SMTPUTF8",
    ];
    for line in refused {
        let error = parse(line, everything()).unwrap_err();
        assert_eq!(error.reply().status(), EnhancedCode::new(5, 5, 2), "{line:?}");
    }
}

#[test]
fn chunks() {
    check("BDAT 0 LAST", Ok(Command::Bdat { size: 0, marker: Marker::Last }));
    check("bdat 86 last", Ok(Command::Bdat { size: 86, marker: Marker::Last }));
    check("BDAT 18446744073709551615", Ok(Command::Bdat { size: u64::MAX, marker: Marker::More }));
    check("BDAT 1 LATE", Ok(Command::Bdat { size: 1, marker: Marker::Unknown }));
    check("BDAT 1 LAST x", Ok(Command::Bdat { size: 1, marker: Marker::Unknown }));
    for bad in ["BDAT", "BDAT x", "BDAT -1", "BDAT +1", "BDAT 0x10", "BDAT 18446744073709551616", "BDAT LAST"] {
        assert_eq!(parse(bad.as_bytes(), everything()), Err(CommandError::ChunkSize), "{bad}");
        assert!(announces_chunk(bad.as_bytes()));
    }
}

#[test]
fn all_parameters_of_mail() {
    let line = "MAIL FROM:<a@a.example> SIZE=1024 BODY=BINARYMIME IMPP=PRES SMTPUTF8 ENVID=x+2By RET=HDRS BY=-30;NT REQUIRETLS";
    let expected = Mail {
        class: Some(Class::Pres),
        body: Body::BinaryMime,
        utf8: true,
        size: Some(1024),
        ret: Some(Ret::Hdrs),
        envid: Some("x+y".into()),
        by: Some(By { seconds: -30, mode: ByMode::Notify, trace: true }),
        require_tls: true,
        ..Mail::from(path::reverse("a@a.example").unwrap())
    };
    assert_eq!(mail(line), expected);
    assert_eq!(mail("mail from:<>"), Mail::from(ReversePath::Null));
    assert_eq!(mail("MAIL FROM:<a@a.example>  body=8bitmime  ").body, Body::EightBitMime);
    assert_eq!(mail("MAIL FROM:<> SIZE=99999999999999999999").size, Some(u64::MAX));
}

#[test]
fn parameters_refused() {
    for (parameters, code) in [
        ("SIZE=1 size=2", 501),
        ("SIZE", 501),
        ("SIZE=", 501),
        ("SIZE=-1", 501),
        ("SIZE=1=2", 501),
        ("SMTPUTF8=1", 501),
        ("REQUIRETLS=yes", 501),
        ("BODY=9BIT", 501),
        ("RET=SOME", 501),
        ("ENVID=a+zz", 501),
        ("BY=0;R", 501),
        ("IMPP=SMS", 501),
        ("NOTIFY=NEVER", 555),
        ("AUTH=alice", 501),
        ("=1", 555),
        ("X", 555),
    ] {
        check(&format!("MAIL FROM:<a@a.example> {parameters}"), Err(code));
    }
    for (parameters, code) in
        [("NOTIFY=NEVER,DELAY", 501), ("ORCPT=a@b", 501), ("SIZE=1", 555), ("NOTIFY=NEVER NOTIFY=NEVER", 501)]
    {
        check(&format!("RCPT TO:<a@a.example> {parameters}"), Err(code));
    }
}

#[test]
fn what_is_not_offered_does_not_exist() {
    let check = |line: &str, code| {
        let got = parse(line.as_bytes(), Context::default()).map_err(|error| error.reply().code());
        assert_eq!(got.err(), code, "{line}");
    };
    check("MAIL FROM:<a@a.example>", None);
    check("MAIL FROM:<a@a.example> SIZE=1", Some(555));
    check("MAIL FROM:<a@a.example> REQUIRETLS", Some(555));
    check("MAIL FROM:<a@a.example> AUTH=<>", Some(555));
    check("RCPT TO:<a@a.example> NOTIFY=NEVER", Some(555));
}

#[test]
fn internationalised_addresses() {
    check("MAIL FROM:<δ@a.example>", Err(550));
    check("MAIL FROM:<a@δ.example>", Err(550));
    assert_eq!(mail("MAIL FROM:<δ@δ.example> SMTPUTF8").sender, path::reverse("δ@xn--pxa.example").unwrap());
    check("RCPT TO:<δ@a.example>", Err(553));
    let utf8 = Context { utf8: true, ..everything() };
    assert!(parse("RCPT TO:<δ@a.example> ORCPT=utf-8;δ@a.example".as_bytes(), utf8).is_ok());
}

#[test]
fn recipients() {
    let notify = Notify { success: true, failure: false, delay: true };
    let original = OriginalRecipient { kind: "rfc822".into(), address: "b+c@b.example".into() };
    let expected = Rcpt { path: path::forward("b@b.example").unwrap(), notify: Some(notify), original: Some(original) };
    check("RCPT TO:<b@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@b.example", Ok(Command::Rcpt(expected)));
    check("rcpt to:<POSTMASTER>", Ok(Command::Rcpt(Rcpt::to(ForwardPath::Postmaster))));
    check("RCPT TO:<@x.example:b@b.example>", Ok(Command::Rcpt(Rcpt::to(path::forward("b@b.example").unwrap()))));
}

#[test]
fn every_row_parses_its_own_name() {
    for (index, entry) in COMMANDS.iter().enumerate() {
        let (found, _) = find(entry.form.as_bytes()).unwrap();
        assert_eq!(found.verb, entry.verb);
        assert!(entry.form.starts_with(entry.name));
        assert!(COMMANDS.iter().skip(index + 1).all(|other| other.verb != entry.verb && other.name != entry.name));
    }
    let all = States::EACH.iter().fold(0, |sum, (state, _)| sum | state.0);
    assert_eq!(all, States::SERVED.or(States::REFUSED).0);
}

/// The line that a client would write.
fn line_of(mail: &Mail) -> String {
    let mut line = format!("MAIL FROM:<{}>", mail.sender);
    let body = match mail.body {
        Body::SevenBit => "7BIT",
        Body::EightBitMime => "8BITMIME",
        Body::BinaryMime => "BINARYMIME",
    };
    line.push_str(&format!(" BODY={body}"));
    mail.size.inspect(|size| line.push_str(&format!(" SIZE={size}")));
    mail.ret.inspect(|ret| line.push_str(if *ret == Ret::Full { " RET=FULL" } else { " RET=HDRS" }));
    if let Some(envid) = &mail.envid {
        let mut value = Vec::new();
        crate::smtp::xtext::encode(envid, &mut value);
        line.push_str(&format!(" ENVID={}", String::from_utf8(value).unwrap()));
    }
    if let Some(by) = mail.by {
        let mode = if by.mode == ByMode::Return { 'R' } else { 'N' };
        line.push_str(&format!(" BY={};{mode}{}", by.seconds, if by.trace { "T" } else { "" }));
    }
    line.push_str(if mail.utf8 { " SMTPUTF8" } else { "" });
    line.push_str(if mail.require_tls { " REQUIRETLS" } else { "" });
    line
}

fn mails() -> impl Strategy<Value = Mail> {
    let by = (1i64..999_999_999, any::<bool>(), any::<bool>()).prop_map(|(seconds, notify, trace)| By {
        seconds: if notify { seconds - 500_000_000 } else { seconds },
        mode: if notify { ByMode::Notify } else { ByMode::Return },
        trace,
    });
    let bodies = prop::sample::select(vec![Body::SevenBit, Body::EightBitMime, Body::BinaryMime]);
    let rets = prop::option::of(prop::sample::select(vec![Ret::Full, Ret::Hdrs]));
    let sender = "[a-z0-9+=_-]{1,20}@[a-z]{1,9}\\.example";
    (
        sender,
        bodies,
        prop::option::of(0u64..1 << 40),
        rets,
        prop::option::of("[ -~]{1,60}"),
        prop::option::of(by),
        any::<(bool, bool)>(),
    )
        .prop_map(|(sender, body, size, ret, envid, by, (utf8, require_tls))| Mail {
            class: None,
            body,
            utf8,
            size,
            ret,
            envid,
            by,
            require_tls,
            sender: path::reverse(&sender).unwrap(),
        })
}

/// What another parser makes of a line.
fn other(line: &str) -> Option<smtp_proto::Request<String>> {
    let line = format!("{line}\r\n");
    smtp_proto::Request::parse(&mut line.as_bytes().iter()).ok().map(smtp_proto::Request::into_owned)
}

proptest! {
    #[test]
    fn mail_as_another_parser_reads_it(mail in mails()) {
        let line = line_of(&mail);
        prop_assert_eq!(parse(line.as_bytes(), everything()), Ok(Command::Mail(mail.clone())));
        let Some(smtp_proto::Request::Mail { from }) = other(&line) else { panic!("{line}") };
        prop_assert_eq!(from.address, mail.sender.to_string());
        prop_assert_eq!(from.size as u64, mail.size.unwrap_or(0));
        prop_assert_eq!(from.env_id, mail.envid);
        prop_assert_eq!(from.by, mail.by.map_or(0, |by| by.seconds));
        let flags = [
            (smtp_proto::MAIL_BODY_7BIT, mail.body == Body::SevenBit),
            (smtp_proto::MAIL_BODY_8BITMIME, mail.body == Body::EightBitMime),
            (smtp_proto::MAIL_BODY_BINARYMIME, mail.body == Body::BinaryMime),
            (smtp_proto::MAIL_RET_FULL, mail.ret == Some(Ret::Full)),
            (smtp_proto::MAIL_RET_HDRS, mail.ret == Some(Ret::Hdrs)),
            (smtp_proto::MAIL_SMTPUTF8, mail.utf8),
            (smtp_proto::MAIL_REQUIRETLS, mail.require_tls),
            (smtp_proto::MAIL_BY_NOTIFY, mail.by.is_some_and(|by| by.mode == ByMode::Notify)),
            (smtp_proto::MAIL_BY_RETURN, mail.by.is_some_and(|by| by.mode == ByMode::Return)),
            (smtp_proto::MAIL_BY_TRACE, mail.by.is_some_and(|by| by.trace)),
        ];
        for (flag, set) in flags {
            prop_assert_eq!(from.flags & flag != 0, set, "flag {} of {}", flag, &line);
        }
    }

    #[test]
    fn rcpt_as_another_parser_reads_it(
        address in "[a-z0-9+=_-]{1,20}@[a-z]{1,9}\\.example",
        original in "[!-~]{1,40}",
        (success, failure, delay) in any::<(bool, bool, bool)>(),
    ) {
        let notify = Notify { success, failure, delay };
        let mut value = Vec::new();
        crate::smtp::xtext::encode(&original, &mut value);
        let value = String::from_utf8(value).unwrap();
        let line = format!("RCPT TO:<{address}> NOTIFY={} ORCPT=rfc822;{value}", notify.keyword());
        let Ok(Command::Rcpt(rcpt)) = parse(line.as_bytes(), everything()) else { panic!("{line}") };
        let Some(smtp_proto::Request::Rcpt { to }) = other(&line) else { panic!("{line}") };
        prop_assert_eq!(ForwardPath::Mailbox(crate::address::Mailbox::parse(&to.address).unwrap()), rcpt.path);
        prop_assert_eq!(to.orcpt, rcpt.original.map(|original| original.address));
        prop_assert_eq!(rcpt.notify, Some(notify));
        prop_assert_eq!(to.flags & smtp_proto::RCPT_NOTIFY_SUCCESS != 0, success);
        prop_assert_eq!(to.flags & smtp_proto::RCPT_NOTIFY_NEVER != 0, notify == Notify::NEVER);
    }

    #[test]
    fn chunks_as_another_parser_reads_them(size: u32, last: bool) {
        let line = format!("BDAT {size}{}", if last { " LAST" } else { "" });
        let Some(smtp_proto::Request::Bdat { chunk_size, is_last }) = other(&line) else { panic!("{line}") };
        let marker = if is_last { Marker::Last } else { Marker::More };
        prop_assert_eq!(parse(line.as_bytes(), everything()), Ok(Command::Bdat { size: chunk_size as u64, marker }));
    }

    #[test]
    fn any_line_is_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..200), utf8: bool) {
        let context = Context { utf8, ..everything() };
        if let Err(error) = parse(&line, context) {
            prop_assert!(error.reply().is_permanent());
        }
    }

    #[test]
    fn lines_that_are_nearly_right(line in "(MAIL FROM:|RCPT TO:|BDAT |EHLO )[<]?[a-z@.\"\\\\>:,δ]{0,20}[>]? ?[A-Z=0-9;+,]{0,20}") {
        let _ = parse(line.as_bytes(), everything());
    }
}
