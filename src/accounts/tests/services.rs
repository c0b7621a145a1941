use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::authority::{authority, exchange, options, origin, word};
use super::*;
use crate::net::Host;
use crate::sasl::{Credentials, Mechanism};
use crate::timestamp::Timestamp;
use crate::tls::{Acceptor, Certificates, Connector, Roots, accept, connect, make};

fn connector() -> Option<Connector> {
    let certificates = Certificates::load(Vec::new()).unwrap();
    Some(Connector::new(Arc::new(Roots::none()), certificates, connect::Options::default()))
}

/// A server that reads until `end` comes, tells what it read, and answers it.
async fn server(end: &'static [u8], answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> (Place, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.windows(end.len()).any(|part| part == end) {
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = stream.write_all(&answer(&read)).await;
        }
    });
    (Place { host: Host::Address(address.ip()), port: address.port(), tls: false }, address)
}

fn bound(code: u8) -> Vec<u8> {
    vec![0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, code, 4, 0, 4, 0]
}

#[tokio::test]
async fn a_directory_judges_by_bind() {
    let (place, _) = server(b"pw", |read| {
        let text = String::from_utf8_lossy(read);
        let named = |name: &str| text.contains(&format!("uid={name},dc=a.example"));
        let known = (named("erin") || named("presence")) && text.ends_with("pw");
        bound(if known { 0 } else { 49 })
    })
    .await;
    let ldap = ldap::Options { place, bind_dn: "uid={local},dc={domain}".to_owned() };
    let authority = authority(with_accounts(), Options { ldap: Some(ldap), connector: connector(), ..options() });
    assert_eq!(authority.mechanisms(&origin()), [Mechanism::Plain]);
    let check = async |user: &str, password: &str, expected: &str| {
        let got = exchange(&authority, &origin(), &[Mechanism::Plain], word(user, password)).await;
        assert_eq!(got, expected, "{user} {password}");
    };
    check("erin@a.example", "pw", "erin@a.example").await;
    // The directory knows this one too: what a domain signs with is nobody's name.
    check("presence@a.example", "pw", "535 5.7.8").await;
    check("frank", "pw", "535 5.7.8").await;
    check("alice@a.example", "password", "alice@a.example").await;
    check("erin@b.example", "pw", "535 5.7.8").await;
}

/// A directory behind TLS that takes every bind, with a certificate for `name`; and the authority above it.
async fn encrypted(name: &str) -> (Place, Roots) {
    let now = Timestamp::from(std::time::SystemTime::now());
    let root = make::Authority::root(&make::AuthorityOptions::new("Servers", now)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = root.issue(&make::Leaf::new(&[name], now)).unwrap().write(folder.path(), "server").unwrap();
    let certificates = Certificates::load(vec![files]).unwrap();
    let options = accept::Options { unknown_names: accept::UnknownName::Fallback, ..accept::Options::default() };
    let acceptor = Acceptor::new(certificates, options).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok((mut stream, _)) = acceptor.accept(tcp).await else { continue };
            let mut read = Vec::new();
            while !read.ends_with(b"pw") && stream.read_buf(&mut read).await.unwrap_or(0) > 0 {}
            let _ = stream.write_all(&bound(0)).await;
        }
    });
    let place = Place { host: Host::Name(domain("localhost")), port, tls: true };
    (place, Roots::from_der(std::iter::once(root.certificate())))
}

#[tokio::test]
async fn a_directory_behind_tls_must_be_the_one_that_is_named() {
    for (name, expected) in [("localhost", "erin@a.example"), ("other.example", "454 4.7.0")] {
        let (place, roots) = encrypted(name).await;
        let certificates = Certificates::load(Vec::new()).unwrap();
        let connector = Connector::new(Arc::new(roots), certificates, connect::Options::default());
        let ldap = Some(ldap::Options { place, bind_dn: "uid={local}".to_owned() });
        let authority = authority(with_accounts(), Options { ldap, connector: Some(connector), ..options() });
        let got = exchange(&authority, &origin(), &[Mechanism::Plain], word("erin@a.example", "pw")).await;
        assert_eq!(got, expected, "{name}");
    }
}

#[tokio::test]
async fn a_directory_that_is_ill_is_a_fault() {
    for answer in [bound(51), b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Vec::new()] {
        let (place, _) = server(b"pw", move |_| answer.clone()).await;
        let ldap = ldap::Options { place, bind_dn: "uid={local}".to_owned() };
        let authority = authority(with_accounts(), Options { ldap: Some(ldap), connector: connector(), ..options() });
        let got = exchange(&authority, &origin(), &[Mechanism::Plain], word("erin@a.example", "pw")).await;
        assert_eq!(got, "454 4.7.0");
    }
}

/// A key, and the set that has its public half.
fn key() -> (EcdsaKeyPair, Value) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "x": x, "y": y }] });
    (key, set)
}

fn token(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn by_token(authority: &Authority, user: &str, token: &str) -> String {
    let credentials = Credentials::Token { user: user.to_owned(), token: Secret::new(token) };
    exchange(authority, &origin(), &[Mechanism::OAuthBearer], credentials).await
}

fn by_keys(file: &Path) -> Options {
    let by = token::Judge::Keys { file: file.to_owned(), issuer: "https://login".into(), audience: "impart".into() };
    let tokens = Some(token::Options { by, claim: "email".to_owned() });
    Options { tokens, connector: connector(), ..options() }
}

#[tokio::test(start_paused = true)]
async fn tokens_by_the_keys_of_their_issuer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let ((key, set), (other, _)) = (key(), key());
    std::fs::write(&file, set.to_string()).unwrap();
    let authority = authority(with_accounts(), by_keys(&file));
    let now = Timestamp::from(std::time::SystemTime::now()).secs();
    let header = json!({ "alg": "ES256", "kid": "1" });
    let good = json!({ "iss": "https://login", "aud": ["x", "impart"], "exp": now + 600, "email": "alice@a.example" });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let check = async |user: &str, token: String, expected: &str| {
        assert_eq!(by_token(&authority, user, &token).await, expected, "{user}");
        *authority.limits() = Default::default();
    };
    check("alice@a.example", token(&key, &header, &good), "alice@a.example").await;
    check("bob@a.example", token(&key, &header, &good), "535 5.7.8").await;
    check("alice@a.example", token(&other, &header, &good), "535 5.7.8").await;
    for claims in [
        with("exp", json!(now - 600)),
        with("iss", json!("https://other")),
        with("aud", json!("other")),
        with("nbf", json!(now + 600)),
        with("email", json!(7)),
    ] {
        check("alice@a.example", token(&key, &header, &claims), "535 5.7.8").await;
    }
    check("dave@a.example", token(&key, &header, &with("email", json!("dave@a.example"))), "535 5.7.8").await;
    // Not signed, and "signed" by what is public.
    let none = token(&key, &json!({ "alg": "none" }), &good);
    check("alice@a.example", none, "535 5.7.8").await;
    check("alice@a.example", token(&key, &json!({ "alg": "HS256", "kid": "1" }), &good), "535 5.7.8").await;
    check("alice@a.example", "garbage".to_owned(), "535 5.7.8").await;
    std::fs::write(&file, "no keys").unwrap();
    check("alice@a.example", token(&key, &header, &good), "454 4.7.0").await;
}

#[tokio::test]
async fn tokens_by_introspection() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "s p\n").unwrap();
    let (place, _) = server(b"&token_type_hint=access_token", |read| {
        let text = String::from_utf8_lossy(read);
        // impart:s%20p
        let known = text.starts_with("POST /introspect HTTP/1.0\r\n") && text.contains("Basic aW1wYXJ0OnMlMjBw\r\n");
        let object = match (known, text.contains("token=good%2B1&"), text.contains("token=broken&")) {
            (true, true, _) => json!({ "active": true, "email": "alice@a.example", "aud": "impart" }),
            (true, _, true) => return b"HTTP/1.1 500 Oh\r\n\r\n{}".to_vec(),
            (true, ..) => json!({ "active": false, "email": "alice@a.example", "aud": "impart" }),
            _ => json!({}),
        };
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{object}").into_bytes()
    })
    .await;
    let by = token::Judge::Introspection {
        place,
        path: "/introspect".to_owned(),
        client: "impart".to_owned(),
        secret_file,
        audience: Some("impart".to_owned()),
    };
    let tokens = Some(token::Options { by, claim: "email".to_owned() });
    let authority = authority(with_accounts(), Options { tokens, connector: connector(), ..options() });
    assert_eq!(by_token(&authority, "alice@a.example", "good+1").await, "alice@a.example");
    assert_eq!(by_token(&authority, "alice@a.example", "bad").await, "535 5.7.8");
    assert_eq!(by_token(&authority, "bob@a.example", "good+1").await, "535 5.7.8");
    assert_eq!(by_token(&authority, "alice@a.example", "broken").await, "454 4.7.0");
}

#[tokio::test(start_paused = true)]
async fn revoked_client_certificates() {
    let now = Timestamp::from(std::time::SystemTime::now());
    let root = make::Authority::root(&make::AuthorityOptions::new("People", now)).unwrap();
    let issue = |name: &str| root.issue(&make::Leaf::new(&[], now).with_addresses(&[name])).unwrap();
    let (alice, bob) = (issue("alice@a.example"), issue("bob@a.example"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.crl");
    std::fs::write(&file, root.revoke(&[bob.certificate()], now).unwrap()).unwrap();
    let authorities = Roots::from_der(std::iter::once(root.certificate()));
    let revocations = vec![file.clone()];
    let authority = authority(with_accounts(), Options { authorities, revocations, ..options() });
    let check = async |made: &make::Made, expected: &str| {
        let origin = Origin { chain: vec![made.certificate().clone()], ..origin() };
        let credentials = Credentials::Certificate { user: None };
        assert_eq!(exchange(&authority, &origin, &[Mechanism::External], credentials).await, expected);
    };
    check(&alice, "alice@a.example").await;
    check(&bob, "535 5.7.8").await;
    std::fs::write(&file, root.revoke(&[], now.before(std::time::Duration::from_secs(30 * 86_400))).unwrap()).unwrap();
    check(&alice, "535 5.7.8").await;
    std::fs::write(&file, "garbage").unwrap();
    check(&alice, "454 4.7.0").await;
}
