use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::clock::System;
use crate::sasl::{Client, Credentials, Mechanism};
use crate::timestamp::Timestamp;
use crate::tls::make;
use crate::tls::{CertificateDer, Roots};

pub(super) fn options() -> Options {
    Options { domain: Some(domain("a.example")), ..Options::new(domain("mx.a.example")) }
}

pub(super) fn authority(accounts: Accounts, options: Options) -> Authority {
    let (_, receiver) = watch::channel(Arc::new(accounts));
    Authority::new(options, receiver, Arc::new(System::new())).unwrap()
}

pub(super) fn origin() -> Origin {
    Origin { address: Some("192.0.2.1".parse().unwrap()), tls: true, ..Origin::default() }
}

pub(super) fn word(user: &str, password: &str) -> Credentials {
    Credentials::Password { user: user.to_owned(), password: Secret::new(password) }
}

/// A whole exchange: as whom, or the reply's codes; with whether the client believes the server.
pub(super) async fn exchange(
    authority: &Authority,
    origin: &Origin,
    offered: &[Mechanism],
    credentials: Credentials,
) -> String {
    let mut client = Client::new(offered, credentials, origin.channel_binding).unwrap();
    let initial = client.initial();
    let (mut exchange, mut step) = authority.begin(client.mechanism(), initial, origin).await;
    loop {
        match step {
            Step::Challenge(challenge) => match client.step(&challenge) {
                Ok(response) => step = exchange.step(response).await,
                Err(error) => return error.to_string(),
            },
            Step::Done(principal, last) => {
                if let Some(last) = last {
                    assert_eq!(client.step(&last), Ok(Vec::new()));
                }
                assert_eq!(client.finish(), Ok(()));
                return principal.account.to_string();
            }
            Step::Refused(reply) => return format!("{} {}", reply.code(), reply.status()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_offered() {
    let offered = |accounts: Accounts, origin: &Origin| {
        let mechanisms = authority(accounts, options()).mechanisms(origin);
        mechanisms.iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(offered(with_accounts(), &origin()), "SCRAM-SHA-256 PLAIN");
    let bound = Origin { channel_binding: Some([7; 32]), ..origin() };
    assert_eq!(offered(with_accounts(), &bound), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN");
    let clear = Origin { tls: false, ..origin() };
    assert_eq!(offered(with_accounts(), &clear), "SCRAM-SHA-256");
    assert_eq!(offered(with_accounts(), &Origin { odmr: true, ..clear }), "SCRAM-SHA-256 CRAM-MD5");
    // Somebody can only use PLAIN, so that nobody is led to what fails.
    let hash = record("x@a.example", true, "");
    let hash: String = hash.lines().filter(|line| !line.starts_with("scram")).map(|line| format!("{line}\n")).collect();
    let only_hash = bare().with_entries(Entries::parse(&hash).unwrap());
    assert_eq!(offered(only_hash, &bound), "PLAIN");
}

#[tokio::test(start_paused = true)]
async fn passwords_by_each_mechanism() {
    let authority = authority(with_accounts(), options());
    let bound = Origin { channel_binding: Some([7; 32]), ..origin() };
    for mechanism in [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain] {
        let origin = if mechanism == Mechanism::ScramSha256Plus { &bound } else { &origin() };
        let check = async |user: &str, password: &str, expected: &str| {
            let got = exchange(&authority, origin, &[mechanism], word(user, password)).await;
            assert_eq!(got, expected, "{mechanism} {user} {password}");
        };
        check("alice@a.example", "password", "alice@a.example").await;
        check("bob", "password", "bob@a.example").await;
        check("alice@a.example", "Password", "535 5.7.8").await;
        check("nobody@a.example", "password", "535 5.7.8").await;
        check("not an address@", "password", "535 5.7.8").await;
        check("dave@a.example", "password", "535 5.7.8").await;
        // The secret of ODMR is none here.
        check("alice@a.example", "tanstaaftanstaaf", "535 5.7.8").await;
        *authority.limits() = Default::default();
    }
}

#[tokio::test(start_paused = true)]
async fn odmr_has_a_secret_of_its_own() {
    let authority = authority(with_accounts(), options());
    let odmr = Origin { odmr: true, tls: false, ..origin() };
    let check = async |user: &str, password: &str, expected: &str| {
        let got = exchange(&authority, &odmr, &[Mechanism::CramMd5], word(user, password)).await;
        assert_eq!(got, expected, "{user} {password}");
    };
    check("alice@a.example", "tanstaaftanstaaf", "alice@a.example").await;
    check("alice@a.example", "password", "535 5.7.8").await;
    check("bob@a.example", "nobody's", "535 5.7.8").await;
    let (_, step) = authority.begin(Mechanism::CramMd5, Some(b"x".to_vec()), &odmr).await;
    assert!(matches!(step, Step::Refused(reply) if reply.code() == 501));
    let (_, step) = authority.begin(Mechanism::Plain, None, &odmr).await;
    assert!(matches!(step, Step::Refused(reply) if reply.code() == 538));
    let (_, step) = authority.begin(Mechanism::CramMd5, None, &origin()).await;
    assert!(matches!(step, Step::Refused(reply) if reply.code() == 504));
}

#[tokio::test(start_paused = true)]
async fn nobody_acts_as_somebody_else() {
    let authority = authority(with_accounts(), options());
    let plain = async |message: &str| {
        let (_, step) = authority.begin(Mechanism::Plain, Some(message.as_bytes().to_vec()), &origin()).await;
        match step {
            Step::Done(principal, None) => principal.account.to_string(),
            Step::Refused(reply) => reply.code().to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(plain("alice\0alice@a.example\0password").await, "alice@a.example");
    assert_eq!(plain("bob@a.example\0alice@a.example\0password").await, "535");
    assert_eq!(plain("alice@a.example").await, "535");
}

#[tokio::test(start_paused = true)]
async fn unknown_accounts_look_like_wrong_passwords() {
    let authority = authority(with_accounts(), options());
    let first = async |user: &str| {
        let message = format!("n,,n={user},r=x").into_bytes();
        match authority.begin(Mechanism::ScramSha256, Some(message), &origin()).await.1 {
            Step::Challenge(challenge) => {
                let text = String::from_utf8(challenge).unwrap();
                text.split(',').skip(1).map(str::to_owned).collect::<Vec<_>>().join(",")
            }
            other => panic!("{other:?}"),
        }
    };
    let (known, unknown) = (first("alice@a.example").await, first("nobody@a.example").await);
    assert_eq!(known.len(), unknown.len());
    assert_eq!(unknown, first("nobody@a.example").await);
    assert_ne!(unknown, first("nobody2@a.example").await);
    assert_eq!(known.split(",i=").nth(1), unknown.split(",i=").nth(1));
    // Both fail after the same time.
    for user in ["alice@a.example", "nobody@a.example"] {
        let started = Instant::now();
        let got = exchange(&authority, &Origin::default(), &[Mechanism::Plain], word(user, "wrong")).await;
        assert_eq!((got.as_str(), started.elapsed().as_millis() / 1000), ("535 5.7.8", 1), "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_delayed_and_limited() {
    let authority = authority(with_accounts(), options());
    let try_it = async |address: &str, password: &str| {
        let origin = Origin { address: Some(address.parse().unwrap()), ..origin() };
        exchange(&authority, &origin, &[Mechanism::ScramSha256], word("bob@a.example", password)).await
    };
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(try_it("192.0.2.7", "wrong").await, "535 5.7.8");
    }
    assert!(started.elapsed() > Duration::from_secs(250), "{:?}", started.elapsed());
    assert_eq!(try_it("192.0.2.8", "password").await, "454 4.7.0");
    tokio::time::advance(Duration::from_secs(901)).await;
    assert_eq!(try_it("192.0.2.8", "password").await, "bob@a.example");
    for user in 0..50 {
        let name = format!("user{user}@a.example");
        exchange(&authority, &origin(), &[Mechanism::ScramSha256], word(&name, "x")).await;
    }
    assert_eq!(try_it("192.0.2.1", "password").await, "421 4.7.0");
    assert_eq!(try_it("192.0.2.8", "password").await, "bob@a.example");
}

#[tokio::test(start_paused = true)]
async fn what_comes_out_of_order_or_is_garbage_fails() {
    let authority = authority(with_accounts(), options());
    let (mut exchange, step) = authority.begin(Mechanism::ScramSha256, None, &Origin::default()).await;
    assert_eq!(step, Step::Challenge(Vec::new()));
    assert!(matches!(exchange.step(vec![0xff; 9000]).await, Step::Refused(reply) if reply.code() == 535));
    assert!(matches!(exchange.step(Vec::new()).await, Step::Refused(reply) if reply.code() == 535));
}

/// The chain of a client certificate for these names, and the authority's certificate.
fn certificate(names: &[&str], expired: bool) -> (Vec<CertificateDer<'static>>, CertificateDer<'static>) {
    let now = Timestamp::from(std::time::SystemTime::now());
    let root = make::Authority::root(&make::AuthorityOptions::new("People", now)).unwrap();
    let leaf = make::Leaf::new(&[], now).with_addresses(names);
    let made = root.issue(&if expired { leaf.expired(now) } else { leaf }).unwrap();
    (vec![made.certificate().clone()], root.certificate().clone())
}

#[tokio::test(start_paused = true)]
async fn client_certificates() {
    let check = async |names: &[&str], expired: bool, user: Option<&str>, expected: &str| {
        let (chain, root) = certificate(names, expired);
        let authorities = Roots::from_der(std::iter::once(&root));
        let authority = authority(with_accounts(), Options { authorities, ..options() });
        let origin = Origin { chain, ..origin() };
        assert!(authority.mechanisms(&origin).contains(&Mechanism::External));
        let credentials = Credentials::Certificate { user: user.map(str::to_owned) };
        let got = exchange(&authority, &origin, &[Mechanism::External], credentials).await;
        assert_eq!(got, expected, "{names:?} {user:?}");
    };
    check(&["alice@a.example"], false, None, "alice@a.example").await;
    check(&["im:Alice@a.example"], false, Some("alice@a.example"), "alice@a.example").await;
    check(&["x@b.example", "bob@a.example"], false, None, "bob@a.example").await;
    check(&["alice@a.example", "bob@a.example"], false, Some("bob"), "bob@a.example").await;
    check(&["alice@a.example"], false, Some("bob@a.example"), "535 5.7.8").await;
    check(&["alice@a.example"], true, None, "535 5.7.8").await;
    check(&["dave@a.example"], false, None, "535 5.7.8").await;
    check(&["mailto:alice@a.example", "nobody@a.example"], false, None, "535 5.7.8").await;
    // An authority whose names are constrained proves nobody: constraints of addresses are not judged.
    let now = Timestamp::from(std::time::SystemTime::now());
    let permitted = vec!["a.example".to_owned()];
    let bounded = make::AuthorityOptions { permitted, ..make::AuthorityOptions::new("Bounded", now) };
    let bounded = make::Authority::root(&bounded).unwrap();
    let made = bounded.issue(&make::Leaf::new(&[], now).with_addresses(&["alice@a.example"])).unwrap();
    let authorities = Roots::from_der(std::iter::once(bounded.certificate()));
    let by_bounded = authority(with_accounts(), Options { authorities, ..options() });
    let origin_of = |chain| Origin { chain, ..origin() };
    let credentials = Credentials::Certificate { user: None };
    let shown = origin_of(vec![made.certificate().clone()]);
    assert_eq!(exchange(&by_bounded, &shown, &[Mechanism::External], credentials).await, "535 5.7.8");
    // Not below an authority for people.
    let (chain, _) = certificate(&["alice@a.example"], false);
    let (_, other) = certificate(&[], false);
    let authorities = Roots::from_der(std::iter::once(&other));
    let other = authority(with_accounts(), Options { authorities, ..options() });
    let origin = Origin { chain, ..origin() };
    let credentials = Credentials::Certificate { user: None };
    assert_eq!(exchange(&other, &origin, &[Mechanism::External], credentials).await, "535 5.7.8");
    assert!(!authority(with_accounts(), options()).mechanisms(&origin).contains(&Mechanism::External));
}
