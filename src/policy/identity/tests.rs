use proptest::prelude::*;

use super::*;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn trusted(dns: &[&str]) -> Shown {
    Shown::Trusted(Names::from_parts(dns, &[]))
}

fn untrusted() -> Shown {
    Shown::Untrusted("expired on 2026-01-01".to_owned())
}

fn host(secure: bool, tlsa: TlsaFact, address: Fact) -> Host {
    Host { name: domain("mx.a.example"), secure, tlsa, address }
}

fn facts(shown: Shown, hosts: Vec<Host>) -> Facts {
    Facts { shown, hosts, fault: None }
}

#[derive(Debug, PartialEq)]
enum Is {
    Proven(By),
    Unproven,
    Unknown,
}

fn kind(finding: &Finding) -> Is {
    match finding {
        Finding::Proven { by } => Is::Proven(*by),
        Finding::Unproven { .. } => Is::Unproven,
        Finding::Unknown { .. } => Is::Unknown,
    }
}

fn judged(policy: Policy, facts: &Facts) -> Finding {
    judge(&Claim { domain: &domain("a.example"), policy, facts })
}

/// What is found under policy `Address`, and under policy `Certificate`.
fn check(facts: Facts, address: Is, certificate: Is) {
    assert_eq!(kind(&judged(Policy::Address, &facts)), address, "address: {facts:?}");
    assert_eq!(kind(&judged(Policy::Certificate, &facts)), certificate, "certificate: {facts:?}");
}

fn unknown() -> Fact {
    Fact::Unknown("no answer for mx.a.example in time".to_owned())
}

fn tlsa_unknown() -> TlsaFact {
    TlsaFact::Unknown("the answer for mx.a.example is bogus".to_owned())
}

#[test]
fn a_certificate_of_the_domain() {
    let by = || Is::Proven(By::Certificate);
    check(facts(trusted(&["a.example"]), vec![]), by(), by());
    check(facts(trusted(&["x.example", "A.Example"]), vec![]), by(), by());
    check(facts(trusted(&["*.a.example"]), vec![]), Is::Unproven, Is::Unproven);
    check(facts(trusted(&["*.example"]), vec![]), by(), by());
    check(facts(trusted(&["mx.a.example"]), vec![]), Is::Unproven, Is::Unproven);
    check(facts(untrusted(), vec![]), Is::Unproven, Is::Unproven);
    for srv in ["_im.a.example", "_pres.a.example"] {
        check(facts(Shown::Trusted(Names::from_parts(&[], &[srv])), vec![]), by(), by());
    }
    for srv in ["_im.b.example", "_smtp.a.example", "a.example"] {
        check(facts(Shown::Trusted(Names::from_parts(&[], &[srv])), vec![]), Is::Unproven, Is::Unproven);
    }
}

#[test]
fn a_certificate_of_the_domain_outlives_dns() {
    let mut facts = facts(trusted(&["a.example"]), vec![host(true, TlsaFact::Mismatch, Fact::No)]);
    facts.fault = Some("SERVFAIL".to_owned());
    check(facts, Is::Proven(By::Certificate), Is::Proven(By::Certificate));
}

#[test]
fn tlsa_of_a_secure_host() {
    for shown in [untrusted(), trusted(&["x.example"])] {
        let one = facts(shown.clone(), vec![host(true, TlsaFact::Match, Fact::No)]);
        check(one, Is::Proven(By::Dane), Is::Proven(By::Dane));
        let one = facts(shown, vec![host(true, TlsaFact::Mismatch, Fact::No)]);
        check(one, Is::Unproven, Is::Unproven);
    }
}

#[test]
fn a_certificate_of_a_host() {
    let shown = || trusted(&["mx.a.example"]);
    let one = |secure, tlsa| facts(shown(), vec![host(secure, tlsa, Fact::No)]);
    check(one(true, TlsaFact::None), Is::Proven(By::Certificate), Is::Proven(By::Certificate));
    // RFC 7673 §4.1: the host of an insecure answer does not stand in for the domain, but DNS is what "address" trusts.
    check(one(false, TlsaFact::NotAsked), Is::Proven(By::Host), Is::Unproven);
    // TLSA alone decides where there is one.
    check(one(true, TlsaFact::Mismatch), Is::Unproven, Is::Unproven);
    check(one(true, tlsa_unknown()), Is::Unknown, Is::Unknown);
    // Not yet asked: nothing is concluded.
    check(one(true, TlsaFact::NotAsked), Is::Unproven, Is::Unproven);
    let other = facts(trusted(&["mx.b.example"]), vec![host(true, TlsaFact::None, Fact::No)]);
    check(other, Is::Unproven, Is::Unproven);
    let expired = facts(untrusted(), vec![host(true, TlsaFact::None, Fact::No)]);
    check(expired, Is::Unproven, Is::Unproven);
}

#[test]
fn an_address_of_a_host() {
    for secure in [true, false] {
        for shown in [Shown::Nothing, untrusted(), trusted(&["x.example"])] {
            let tlsa = if secure { TlsaFact::None } else { TlsaFact::NotAsked };
            let one = |address| facts(shown.clone(), vec![host(secure, tlsa.clone(), address)]);
            check(one(Fact::Yes), Is::Proven(By::Address), Is::Unproven);
            check(one(Fact::No), Is::Unproven, Is::Unproven);
            check(one(unknown()), Is::Unknown, Is::Unproven);
        }
    }
}

#[test]
fn an_address_counts_although_records_do_not_match() {
    let one = facts(untrusted(), vec![host(true, TlsaFact::Mismatch, Fact::Yes)]);
    check(one, Is::Proven(By::Address), Is::Unproven);
    let one = facts(untrusted(), vec![host(true, tlsa_unknown(), Fact::Yes)]);
    check(one, Is::Proven(By::Address), Is::Unknown);
}

#[test]
fn one_host_that_proves_it_is_enough_whatever_the_others() {
    let others = [host(true, tlsa_unknown(), unknown()), host(false, TlsaFact::NotAsked, Fact::No)];
    let with = |one: Host| {
        let hosts = others.iter().cloned().chain([one]).collect();
        Facts { shown: untrusted(), hosts, fault: Some("SERVFAIL".to_owned()) }
    };
    check(with(host(true, TlsaFact::Match, Fact::No)), Is::Proven(By::Dane), Is::Proven(By::Dane));
    check(with(host(false, TlsaFact::NotAsked, Fact::Yes)), Is::Proven(By::Address), Is::Unknown);
    check(with(host(false, TlsaFact::NotAsked, Fact::No)), Is::Unknown, Is::Unknown);
}

#[test]
fn the_stronger_proof_is_told() {
    let hosts = vec![host(false, TlsaFact::NotAsked, Fact::Yes), host(true, TlsaFact::Match, Fact::No)];
    check(facts(untrusted(), hosts), Is::Proven(By::Dane), Is::Proven(By::Dane));
}

#[test]
fn a_fault_of_dns_is_no_no() {
    let fault = |shown| Facts { shown, hosts: vec![], fault: Some("SERVFAIL for _im._impp.a.example".to_owned()) };
    check(fault(untrusted()), Is::Unknown, Is::Unknown);
    // Without a certificate nothing that DNS might say helps under the stricter policy.
    check(fault(Shown::Nothing), Is::Unknown, Is::Unproven);
}

#[test]
fn reasons_say_what_would_do() {
    let text = |policy, facts: &Facts| match judged(policy, facts) {
        Finding::Unproven { reason } | Finding::Unknown { reason } => reason,
        Finding::Proven { .. } => panic!("proven"),
    };
    assert_eq!(
        text(Policy::Address, &facts(Shown::Nothing, vec![])),
        "it showed no client certificate, and a.example has no SRV records _im._impp or _pres._impp that name its hosts"
    );
    assert_eq!(
        text(Policy::Address, &facts(trusted(&["x.example"]), vec![host(true, TlsaFact::None, Fact::No)])),
        "its client certificate is for x.example, and its address is none of mx.a.example"
    );
    assert_eq!(
        text(Policy::Certificate, &facts(untrusted(), vec![host(true, TlsaFact::None, Fact::Yes)])),
        "its client certificate is not trusted (expired on 2026-01-01), and one that names a.example or proves to be \
         one of mx.a.example is asked for"
    );
}

#[test]
fn refusals() {
    let a = domain("a.example");
    let text = |finding: Finding| finding.refusal(&a).map(|reply| reply.to_string());
    assert_eq!(text(Finding::Proven { by: By::Dane }), None);
    let unproven = text(Finding::Unproven { reason: "no".to_owned() }).unwrap();
    assert_eq!(unproven, "550 5.7.1 this connection has not proven to be a.example: no");
    let unknown = text(Finding::Unknown { reason: "SERVFAIL".to_owned() }).unwrap();
    assert_eq!(unknown, "451 4.7.24 cannot tell whether this connection is a.example: SERVFAIL");
}

fn pass(by: By) -> Finding {
    Finding::Proven { by }
}

#[test]
fn fields_as_written() {
    let a = domain("a.example");
    assert_eq!(
        authentication_results("mx.b.example", &pass(By::Certificate), Role::Sender, &a),
        "Authentication-Results: mx.b.example;\r\n\timpp=pass policy.proof=certificate\r\n\tsmtp.mailfrom=a.example\r\n"
    );
    let unproven = Finding::Unproven { reason: "a \"quoted\" \\ ä\r\nX: y".to_owned() };
    assert_eq!(
        authentication_results("not a token", &unproven, Role::Ehlo, &a),
        "Authentication-Results: \"not a token\";\r\n\timpp=fail\r\n\t\
         reason=\"a \\\"quoted\\\" \\\\ ???X: y\"\r\n\tsmtp.helo=a.example\r\n"
    );
    let unknown = Finding::Unknown { reason: "x".repeat(5000) };
    let field = authentication_results("b", &unknown, Role::Sender, &a);
    assert!(field.contains("impp=temperror") && field.lines().all(|line| line.len() < 998));
}

fn parsed(body: &str) -> Option<(String, Vec<(String, String)>)> {
    let field = AuthenticationResults::parse(body)?;
    Some((field.authserv_id, field.results.into_iter().map(|r| (r.method, r.result)).collect()))
}

fn check_read(body: &str, id: &str, results: &[(&str, &str)]) {
    let results = results.iter().map(|(method, result)| (method.to_string(), result.to_string())).collect();
    assert_eq!(parsed(body), Some((id.to_owned(), results)), "{body}");
}

/// After RFC 8601, appendix B.
#[test]
fn fields_as_read() {
    check_read(" example.org 1; none", "example.org", &[]);
    check_read(" example.com;\r\n spf=pass smtp.mailfrom=example.net", "example.com", &[("spf", "pass")]);
    check_read(
        " example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net",
        "example.com",
        &[("auth", "pass"), ("spf", "pass")],
    );
    check_read(
        " foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy \
         (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
        "foo.example.net",
        &[("dkim", "fail")],
    );
    check_read(
        " \"quoted id\"; IMPP=Pass reason=\"a;b=c(\" smtp.mailfrom=\"a b\"@a.example;",
        "quoted id",
        &[("impp", "pass")],
    );
    check_read(" id; dkim=pass header.i=@example.com header.b=cKzy+w/=", "id", &[("dkim", "pass")]);
}

#[test]
fn what_does_not_parse_is_absent() {
    for bad in [
        "",
        ";",
        "id; (never ends",
        "id; =pass",
        "id; impp",
        "id; impp=",
        "id; impp=pass smtp",
        "id; impp=pass smtp.mailfrom",
        "id; impp=pass reason=\"never ends",
        "id 2; impp=pass",
        "id; impp=pass none",
        "id impp=pass",
        "id; none; impp=pass",
    ] {
        assert_eq!(parsed(bad), None, "{bad}");
    }
    let deep = format!("id {}{}; none", "(".repeat(40), ")".repeat(40));
    assert_eq!(parsed(&deep), None);
    assert_eq!(parsed(&format!("id; {}", "impp=pass; ".repeat(100))), None);
    assert_eq!(parsed(&"x".repeat(results::FIELD_OCTETS + 1)), None);
}

fn check_upstream(fields: &[&str], role: Role, expected: Is) {
    let finding = upstream(fields, &["smart.example"], role, &domain("a.example"));
    assert_eq!(kind(&finding), expected, "{fields:?}: {finding:?}");
}

#[test]
fn an_upstream_relay_is_believed() {
    let pass = "smart.example; impp=pass policy.proof=dane smtp.mailfrom=a.example";
    let by = || Is::Proven(By::Upstream);
    check_upstream(&[pass], Role::Sender, by());
    check_upstream(&["Smart.Example; impp=pass smtp.mailfrom=alice@A.example"], Role::Sender, by());
    check_upstream(&["other.example; impp=fail smtp.mailfrom=a.example", pass], Role::Sender, by());
    check_upstream(&["smart.example; impp=pass smtp.helo=a.example"], Role::Ehlo, by());
    check_upstream(&["smart.example; impp=temperror smtp.mailfrom=a.example"], Role::Sender, Is::Unknown);
}

#[test]
fn but_only_what_it_says_itself_about_this_domain() {
    let pass = "smart.example; impp=pass smtp.mailfrom=a.example";
    check_upstream(&[], Role::Sender, Is::Unproven);
    check_upstream(&["evil.example; impp=pass smtp.mailfrom=a.example"], Role::Sender, Is::Unproven);
    check_upstream(&["smart.example; impp=pass smtp.mailfrom=b.example"], Role::Sender, Is::Unproven);
    check_upstream(&["smart.example; impp=pass smtp.mailfrom=a.example.evil"], Role::Sender, Is::Unproven);
    check_upstream(&["smart.example; impp=pass header.from=a.example"], Role::Sender, Is::Unproven);
    check_upstream(&["smart.example; spf=pass smtp.mailfrom=a.example"], Role::Sender, Is::Unproven);
    check_upstream(&["smart.example; impp=fail smtp.mailfrom=a.example"], Role::Sender, Is::Unproven);
    check_upstream(&[pass], Role::Ehlo, Is::Unproven);
    // The topmost of its fields decides; one below came from elsewhere.
    check_upstream(&["smart.example; impp=fail smtp.mailfrom=a.example", pass], Role::Sender, Is::Unproven);
    check_upstream(&["smart.example; none", pass], Role::Sender, Is::Unproven);
}

proptest! {
    #[test]
    fn what_is_written_is_read(id in "[ -~]{1,40}", reason in "\\PC{0,200}", ehlo: bool) {
        let a = domain("a.example");
        let role = if ehlo { Role::Ehlo } else { Role::Sender };
        for finding in [pass(By::Address), Finding::Unproven { reason: reason.clone() }, Finding::Unknown { reason }] {
            let field = authentication_results(&id, &finding, role, &a);
            let body = field.strip_prefix("Authentication-Results:").unwrap().strip_suffix("\r\n").unwrap();
            let read = upstream(&[body], &[&id], role, &a);
            match finding {
                Finding::Proven { .. } => prop_assert_eq!(kind(&read), Is::Proven(By::Upstream)),
                other => prop_assert_eq!(kind(&read), kind(&other)),
            }
        }
    }

    #[test]
    fn no_field_harms(body in "\\PC{0,300}|[ -~\r\n\t]{0,300}|[a-z=;.()\"\\\\/ 1]{0,100}") {
        let _ = AuthenticationResults::parse(&body);
    }
}

#[test]
fn what_is_written_of_signatures() {
    use crate::address::Mailbox;
    use crate::smime::verdict::{Absence, Alteration, Replay};
    use crate::smime::{Finding, Verdict};
    let check = |finding: Finding, expected: &str| {
        let field = signature_results("mx.a.example", &Verdict::bare(finding));
        assert_eq!(field, format!("Authentication-Results: mx.a.example;\r\n\t{expected}\r\n"));
    };
    let user = |text: &str| Finding::ValidUser(Mailbox::parse(text).unwrap());
    let altered = |text: &str| Finding::Altered(Alteration::Content(text.to_owned()));
    check(user("alice@a.example"), "smime=pass body.smime-identifier=alice@a.example");
    check(user("\"al ice\"@a.example"), "smime=pass body.smime-identifier=\"\\\"al ice\\\"@a.example\"");
    let domain = Finding::ValidDomain(Domain::parse("a.example").unwrap());
    check(domain, "smime=pass body.smime-identifier=presence@a.example");
    check(Finding::Unsigned(Absence::Plain), "smime=none reason=\"nobody signed it\"");
    check(Finding::Replayed(Replay::TooOld), "smime=policy reason=\"it was signed more than 7 days ago\"");
    check(altered("bad \"x\"\r\n\u{e9}"), "smime=fail reason=\"bad \\\"x\\\"???\"");
    check(Finding::Undecryptable("no key".to_owned()), "smime=neutral reason=\"no key\"");
    let long = signature_results("a.example", &Verdict::bare(altered(&"\"".repeat(5000))));
    assert!(long.lines().all(|line| line.len() <= 998), "RFC 5322 §2.1.1");
}
