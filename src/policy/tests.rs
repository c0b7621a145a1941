use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::*;
use crate::accounts::LocalDomain;
use crate::envelope::Body;

fn accounts() -> Accounts {
    let domain = |name: &str| Domain::parse(name).unwrap();
    let inboxes = HashSet::from(["alice@a.example".to_owned()]);
    Accounts::new(HashMap::from([
        (domain("a.example"), LocalDomain { im: true, inboxes, ..LocalDomain::default() }),
        (domain("quiet.example"), LocalDomain::default()),
    ]))
}

fn from(sender: &str) -> Mail {
    let sender =
        if sender.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(Mailbox::parse(sender).unwrap()) };
    Mail::from(sender)
}

fn pres(sender: &str) -> Mail {
    Mail { class: Some(Class::Pres), ..from(sender) }
}

fn to(address: &str) -> Rcpt {
    Rcpt::to(ForwardPath::Mailbox(Mailbox::parse(address).unwrap()))
}

fn code(result: Result<(), Reply>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(reply) => format!("{} {}", reply.code(), reply.status()),
    }
}

#[test]
fn senders_by_listener() {
    let check = |service, mail: &Mail, senders, expected: &str| {
        assert_eq!(code(super::mail(service, mail, senders, &accounts())), expected, "{service:?} {mail:?}");
    };
    check(Service::Relay, &from("bob@b.example"), Senders::Own, "ok");
    check(Service::Relay, &from(""), Senders::Own, "ok");
    check(Service::Relay, &from("alice@a.example"), Senders::Own, "550 5.7.1");
    check(Service::Relay, &pres("bob@b.example"), Senders::Own, "ok");
    check(Service::Relay, &pres(""), Senders::Own, "501 5.5.4");
    check(Service::Mail, &from("alice@a.example"), Senders::Own, "ok");
    check(Service::Mail, &from(""), Senders::Own, "ok");
    check(Service::Mail, &from("bob@b.example"), Senders::Own, "550 5.7.1");
    check(Service::Mail, &from("bob@b.example"), Senders::Any, "ok");
    check(Service::Mail, &from("bob@b.example"), Senders::World, "ok");
    check(Service::Mail, &pres("alice@a.example"), Senders::Any, "550 5.3.3");
}

#[test]
fn identities_by_class() {
    let unproven = Finding::Unproven { reason: "no".into() };
    let unknown = Finding::Unknown { reason: "SERVFAIL".into() };
    assert_eq!(code(sender(&unproven, Class::Im)), "550 5.7.1");
    assert_eq!(code(sender(&unproven, Class::Pres)), "ok");
    assert_eq!(code(sender(&unknown, Class::Im)), "451 4.7.24");
}

#[test]
fn recipients() {
    let relayed = |domain: &Domain| domain.as_str() == "partner.example";
    let check = |service, mail: &Mail, rcpt: &Rcpt, expected: &str| {
        assert_eq!(code(recipient(service, mail, rcpt, &accounts(), relayed)), expected, "{service:?} {rcpt:?}");
    };
    let bob = from("bob@b.example");
    check(Service::Relay, &bob, &to("alice@a.example"), "ok");
    check(Service::Relay, &bob, &Rcpt::to(ForwardPath::Postmaster), "550 5.1.1");
    check(Service::Relay, &bob, &to("nobody@a.example"), "550 5.1.1");
    check(Service::Relay, &bob, &to("alice@quiet.example"), "550 5.3.3");
    check(Service::Relay, &bob, &to("carol@c.example"), "550 5.7.1");
    check(Service::Relay, &bob, &to("carol@partner.example"), "ok");
    check(Service::Mail, &from("alice@a.example"), &to("carol@c.example"), "ok");
    check(Service::Mail, &from("alice@a.example"), &to("nobody@a.example"), "550 5.1.1");
    let never = |address: &str| Rcpt { notify: Some(Notify::NEVER), ..to(address) };
    check(Service::Relay, &pres("bob@b.example"), &to("alice@a.example"), "501 5.5.4");
    check(Service::Relay, &pres("bob@b.example"), &never("alice@a.example"), "550 5.3.3");
}

fn facts(entity: &str) -> mime::Facts {
    let rules = mime::Rules { body: Body::SevenBit, utf8: false };
    mime::inspect(entity.as_bytes(), rules).unwrap()
}

#[test]
fn entities_against_their_envelopes() {
    let check = |mail: &Mail, entity: &str, proven: Option<&str>, expected: &str| {
        let (proven, accounts) = (proven.map(|domain| Domain::parse(domain).unwrap()), accounts());
        let reporter = proven.as_ref().map_or(Reporter::Local(&accounts), Reporter::Domain);
        assert_eq!(code(super::entity(mail, &facts(entity), reporter)), expected, "{entity}");
    };
    let bob = from("bob@b.example");
    check(&bob, "From: Bob <BOB@b.example>\r\n\r\nhi\r\n", None, "ok");
    check(&bob, "From: eve@b.example\r\n\r\nhi\r\n", None, "550 5.7.1");
    check(&bob, "From: bob@b.example, eve@b.example\r\n\r\nhi\r\n", None, "550 5.7.1");
    check(&bob, "From: bob@b.example\r\nPresence: notify\r\n\r\nhi\r\n", None, "554 5.6.0");
    check(&pres("bob@b.example"), "From: bob@b.example\r\n\r\nhi\r\n", None, "554 5.6.0");
    check(&from(""), "From: postmaster@mx.b.example\r\n\r\nhi\r\n", Some("mx.b.example"), "ok");
    check(&from(""), "From: alice@a.example\r\n\r\nhi\r\n", None, "ok");
    check(&from(""), "From: ceo@bank.example\r\n\r\nhi\r\n", None, "550 5.7.1");
    check(&from(""), "From: postmaster@c.example\r\n\r\nhi\r\n", Some("mx.b.example"), "550 5.7.1");
    let looped = format!("{}From: bob@b.example\r\n\r\nhi\r\n", "Received: by x.example;\r\n".repeat(100));
    check(&bob, &looped, None, "554 5.4.6");
}

fn terms(envid: Option<&str>) -> Terms {
    Terms { now: Timestamp::from_secs(1000), retention: Duration::from_secs(86_400), envid: envid.map(str::to_owned) }
}

#[test]
fn times_become_absolute() {
    let expires = |by: Option<By>| super::envelope(Mail { by, ..from("bob@b.example") }, vec![], terms(None)).1.secs();
    let by = |seconds, mode| Some(By { seconds, mode, trace: false });
    assert_eq!(expires(None), 87_400);
    assert_eq!(expires(by(60, ByMode::Return)), 1060);
    assert_eq!(expires(by(60, ByMode::Notify)), 87_400);
    assert_eq!(expires(by(200_000, ByMode::Notify)), 201_000);
    assert_eq!(expires(by(999_999_999, ByMode::Return)), 1000 + 7 * 86_400);
}

#[test]
fn a_submission_gets_an_envid_and_failures() {
    let rcpts = || {
        let success = Notify { success: true, failure: false, delay: false };
        vec![
            Rcpt { notify: Some(success), ..to("bob@b.example") },
            Rcpt { notify: Some(Notify::NEVER), ..to("bob@b.example") },
            to("postmaster@a.example"),
        ]
    };
    let (submitted, _) = super::envelope(from("alice@a.example"), rcpts(), terms(Some("made")));
    assert_eq!(submitted.envid.as_deref(), Some("made"));
    assert_eq!(submitted.recipients[0].notify().keyword(), "SUCCESS,FAILURE");
    assert_eq!(submitted.recipients[1].notify().keyword(), "NEVER");
    assert_eq!(submitted.recipients[2].address.to_string(), "postmaster@a.example");
    let (relayed, _) = super::envelope(from("alice@a.example"), rcpts(), terms(None));
    assert_eq!(relayed.envid, None);
    assert_eq!(relayed.recipients[0].notify().keyword(), "SUCCESS");
    let mail = Mail { envid: Some("mine".into()), ..from("alice@a.example") };
    assert_eq!(super::envelope(mail, vec![], terms(Some("made"))).0.envid.as_deref(), Some("mine"));
}
