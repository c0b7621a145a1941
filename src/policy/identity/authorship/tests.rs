//! The decision about authors, fact by fact.

use super::*;

fn examined(dmarc: Outcome, policy: Policy) -> Examined {
    Examined { dmarc, policy, ..Examined::unknown() }
}

fn bob() -> Mailbox {
    Mailbox::parse("bob@b.example").unwrap()
}

fn judged(examined: &Examined) -> &'static str {
    match verdict(examined, &bob(), &[Domain::parse("list.example").unwrap(), Domain::parse("hop.example").unwrap()]) {
        Verdict::Found(Finding::Proven { by }) => by.word(),
        Verdict::Found(Finding::Unproven { .. }) => "unproven",
        Verdict::Found(Finding::Unknown { .. }) => "unknown",
        Verdict::Refused(Policy::Reject) => "reject",
        Verdict::Refused(_) => "quarantine",
    }
}

#[test]
fn dmarc_decides() {
    let check =
        |dmarc, policy, expected| assert_eq!(judged(&examined(dmarc, policy)), expected, "{dmarc:?} {policy:?}");
    for policy in [Policy::None, Policy::Quarantine, Policy::Reject] {
        check(Outcome::Pass, policy, "dmarc");
        check(Outcome::TempError, policy, "unknown");
        check(Outcome::PermError, policy, "unproven");
        check(Outcome::None, policy, "unproven");
    }
    check(Outcome::Fail, Policy::None, "unproven");
    check(Outcome::Fail, Policy::Quarantine, "quarantine");
    check(Outcome::Fail, Policy::Reject, "reject");
}

#[test]
fn arc_counts_from_the_newest_set_back_while_sealers_are_trusted() {
    let pass = "hop.example; dmarc=pass header.from=b.example";
    let fail = "list.example; dmarc=fail header.from=b.example; arc=pass";
    let check = |arc, sets: &[(&str, &str)], expected| {
        let set = |(sealer, results): &(&str, &str)| Set { sealer: sealer.to_string(), results: results.to_string() };
        let sets = sets.iter().map(set).collect();
        let found = Examined { arc, sets, ..examined(Outcome::Fail, Policy::Reject) };
        assert_eq!(judged(&found), expected, "{found:?}");
    };
    check(Outcome::Pass, &[("list.example", pass)], "arc");
    check(Outcome::Pass, &[("LIST.example", pass)], "arc");
    check(Outcome::Pass, &[("hop.example", pass), ("list.example", fail)], "arc");
    // Nobody's word, nobody's word in between, an older word behind a stranger, a broken chain.
    check(Outcome::Pass, &[("evil.example", pass)], "reject");
    check(Outcome::Pass, &[("evil.example", pass), ("list.example", fail)], "reject");
    check(Outcome::Pass, &[("hop.example", pass), ("evil.example", fail)], "reject");
    check(Outcome::Pass, &[("hop.example", pass), ("evil.example", fail), ("list.example", fail)], "reject");
    check(Outcome::Fail, &[("list.example", pass)], "reject");
    check(Outcome::None, &[], "reject");
    // About somebody else, or about nobody.
    check(Outcome::Pass, &[("list.example", "x; dmarc=pass header.from=c.example")], "reject");
    check(Outcome::Pass, &[("list.example", "x; dmarc=pass")], "reject");
    check(Outcome::Pass, &[("list.example", "x; dkim=pass header.d=b.example")], "reject");
    check(Outcome::Pass, &[("list.example", "(")], "reject");
    // The key of who is trusted cannot be asked for.
    check(Outcome::TempError, &[("list.example", pass)], "unknown");
    check(Outcome::TempError, &[("evil.example", pass)], "reject");
}

#[test]
fn it_is_told_on() {
    let signature =
        |outcome, domain: &str| Signature { outcome, domain: domain.to_owned(), selector: "s 1".to_owned() };
    let found = Examined {
        spf: Some((Outcome::SoftFail, "c.example".to_owned())),
        signatures: vec![signature(Outcome::Pass, "b.example"), signature(Outcome::Neutral, "c\".example")],
        arc: Outcome::Pass,
        sets: vec![Set { sealer: "list.example".to_owned(), results: String::new() }],
        ..examined(Outcome::Fail, Policy::Reject)
    };
    let field = results("mx.a.example", &found, &Finding::Proven { by: By::Sealer }, &bob());
    let expected = "Authentication-Results: mx.a.example;\r\n\tdkim=pass header.d=b.example\r\n\theader.s=\"s 1\";\r\n\t\
         dkim=neutral header.d=\"c\\\".example\"\r\n\theader.s=\"s 1\";\r\n\tspf=softfail smtp.mailfrom=c.example;\r\n\t\
         arc=pass header.d=list.example;\r\n\tdmarc=fail\r\n\treason=\"a trusted sealer has seen it pass\"\r\n\t\
         header.from=b.example\r\n";
    assert_eq!(field, expected);
    let read = AuthenticationResults::parse(&field["Authentication-Results:".len()..]).unwrap();
    assert_eq!(
        read.results.iter().map(|result| result.method.as_str()).collect::<Vec<_>>(),
        ["dkim", "dkim", "spf", "arc", "dmarc"]
    );
}

#[test]
fn who_brought_it() {
    let check = |received: &str, expected: Option<(&str, &str)>| {
        let got = client(format!("Received: {received}\r\n\tby mx.a.example; now\r\n\r\n").as_bytes(), 1);
        let expected =
            expected.map(|(address, helo)| Client { address: address.parse().unwrap(), helo: helo.to_owned() });
        assert_eq!(got, expected, "{received}");
    };
    check("from b.example (mail.b.example [192.0.2.1])", Some(("192.0.2.1", "b.example")));
    check("from b.example (unknown [IPv6:2001:db8::1])\r\n\t(using TLSv1.3)", Some(("2001:db8::1", "b.example")));
    check("from [198.51.100.1] (unknown [192.0.2.1])", Some(("192.0.2.1", "[198.51.100.1]")));
    check("from mail.b.example ([192.0.2.1] helo=b.example)", Some(("192.0.2.1", "b.example")));
    check("from mail.b.example ([192.0.2.1]:2525)", Some(("192.0.2.1", "mail.b.example")));
    check("from [192.0.2.1] (helo=[198.51.100.1])", Some(("192.0.2.1", "[198.51.100.1]")));
    check("from [192.0.2.1] (ident=x helo=b.example)", Some(("192.0.2.1", "b.example")));
    check("from [192.0.2.1]:2525", Some(("192.0.2.1", "[192.0.2.1]:2525")));
    check("from b.example (unknown [::ffff:192.0.2.1])", Some(("192.0.2.1", "b.example")));
    check("from localhost (localhost [127.0.0.1])", None);
    check("from localhost (localhost [::1])", None);
    check("by mx.a.example (Postfix, from userid 1000)", None);
    check("from b.example", None);
    check("from b.example (", None);
    check("from b.example ([192.0.2.1", None);
    check("from", None);
}

#[test]
fn the_mail_system_has_hops_of_its_own() {
    let mail = b"Received: from localhost (localhost [127.0.0.1]) by mx\r\nReceived: from b (b [192.0.2.1]) by mx\r\n\
        Received: from c (c [192.0.2.9]) by b\r\n\r\n";
    let address = |hops| client(mail, hops).map(|client| client.address.to_string());
    assert_eq!(address(0), None);
    assert_eq!(address(1), None);
    assert_eq!(address(2).as_deref(), Some("192.0.2.1"));
    assert_eq!(address(4), None);
}
