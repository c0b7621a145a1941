//! The ways to log in, each with the real daemon: nobody sends as somebody whom he has not proven to be.

use std::fs;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use impart::sasl::{Client as Proof, Credentials, Mechanism, Secret};
use impart::tls::make::{self, Leaf};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::clients::Home;
use crate::common::client::Client;
use crate::common::person::Person;
use crate::common::tools::said;
use crate::world::now;

/// Somebody with the command `impart` who has not logged in.
fn stranger(home: &Home, address: &str) -> Person {
    let authorities = home.world.home("a.test").with_file_name("ca.pem");
    Person::new(address, &home.setup.directory.join("strangers").join(address), home.client_port(), &authorities)
}

/// `impart login` in this way.
fn log_in(person: &Person, how: &[&str]) -> Output {
    let words = person.login_by(how);
    person.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// That somebody who is logged in can send and receive.
fn is_at_home(person: &Person, text: &str) {
    person.done(&["send", &person.address, "-m", text]);
    let listening = person.listen();
    listening.wait_for(&[("event", "message"), ("text", text)]);
}

fn is_refused(output: &Output, words: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains(words), "{said}");
}

/// The certificates of two authorities for people, one of which the daemon believes.
#[test]
fn r4_1_2_a_certificate_says_who_somebody_is() {
    let people = make::Authority::root(&make::AuthorityOptions::new("People", now())).unwrap();
    let others = make::Authority::root(&make::AuthorityOptions::new("Others", now())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let believed = directory.path().join("people.pem");
    make::write_pem(&believed, &people.pem()).unwrap();
    let home = Home::new(|setup| setup.with(&format!("[accounts]\nclient_authorities = [{believed:?}]\n")));
    let shown = |authority: &make::Authority, address: &str, name: &str| {
        let leaf = Leaf { server: false, ..Leaf::new(&[], now()).with_addresses(&[address]) };
        let files = authority.issue(&leaf).unwrap().write(directory.path(), name).unwrap();
        [files.chain, files.key].map(|file| file.to_str().unwrap().to_owned())
    };
    let alice = stranger(&home, "alice@a.test");
    let log_in = |[chain, key]: [String; 2]| log_in(&alice, &["--certificate", &chain, "--certificate-key", &key]);
    is_refused(&log_in(shown(&others, "alice@a.test", "others")), "5.7.8");
    is_refused(&log_in(shown(&people, "bob@a.test", "bob")), "5.7.8");
    let output = log_in(shown(&people, "alice@a.test", "alice"));
    assert!(output.status.success(), "{}", said(&output));
    is_at_home(&alice, "by certificate");
}

/// A key of an authorization server, and its public half as that publishes it.
fn issuer() -> (EncodingKey, Value) {
    let key = rcgen::KeyPair::generate().unwrap();
    let point = &key.public_key_raw()[1..];
    let [x, y] = [&point[..32], &point[32..]].map(|number| URL_SAFE_NO_PAD.encode(number));
    let public = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": x, "y": y});
    (EncodingKey::from_ec_der(&key.serialize_der()), public)
}

fn token(key: &EncodingKey, address: &str, seconds: i64) -> String {
    let expires = now().millis() / 1000 + seconds;
    let claims = json!({"iss": "https://login.a.test", "aud": "impart", "email": address, "exp": expires});
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

/// By OAUTHBEARER, with tokens that are judged by the keys of their issuer.
#[test]
fn r4_1_2_a_token_says_who_somebody_is() {
    let (key, public) = issuer();
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("jwks.json");
    fs::write(&keys, json!({ "keys": [public] }).to_string()).unwrap();
    let section = format!("[oauth]\nkeys = {keys:?}\nissuer = \"https://login.a.test\"\naudience = \"impart\"\n");
    let home = Home::new(|setup| setup.with(&section));
    let alice = stranger(&home, "alice@a.test");
    let file = directory.path().join("token");
    let command = format!("cat '{}'", file.display());
    let log_in = |token: String| {
        fs::write(&file, token).unwrap();
        log_in(&alice, &["--token-command", &command])
    };
    is_refused(&log_in(token(&issuer().0, "alice@a.test", 600)), "5.7.8");
    is_refused(&log_in(token(&key, "bob@a.test", 600)), "5.7.8");
    is_refused(&log_in(token(&key, "alice@a.test", -600)), "5.7.8");
    let output = log_in(token(&key, "alice@a.test", 600));
    assert!(output.status.success(), "{}", said(&output));
    is_at_home(&alice, "by token");
}

/// SCRAM-SHA-256-PLUS: what is proven on one connection proves nothing on another (RFC 5929, RFC 9266).
#[test]
fn r4_1_2_a_proof_is_bound_to_its_connection() {
    let home = Home::new(|setup| setup);
    let prove = |of_another: bool| {
        let binding = |stream: &mut rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>| {
            stream.conn.complete_io(&mut stream.sock).unwrap();
            let material = stream.conn.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
            material.unwrap()
        };
        let connect = || home.world.anonymous(home.client_port(), "a.test").unwrap();
        let mut stream = connect();
        let own = binding(&mut stream);
        let binding = if of_another { binding(&mut connect()) } else { own };
        let mut client = Client::over(stream).unwrap();
        let hello = client.say("EHLO laptop.home.test").unwrap();
        let mechanisms = hello.lines.iter().find(|line| line.starts_with("AUTH ")).expect("a login");
        let offered: Vec<Mechanism> = mechanisms.split(' ').filter_map(Mechanism::parse).collect();
        let credentials = Credentials::Password { user: "alice@a.test".to_owned(), password: Secret::new("secret") };
        let mut proof = Proof::new(&offered, credentials, Some(binding)).unwrap();
        assert_eq!(proof.mechanism(), Mechanism::ScramSha256Plus, "{mechanisms}");
        let first = BASE64.encode(proof.initial().unwrap());
        let challenge = client.say(&format!("AUTH SCRAM-SHA-256-PLUS {first}")).unwrap();
        assert_eq!(challenge.code, 334, "{challenge:?}");
        let last = proof.step(&BASE64.decode(&challenge.lines[0]).unwrap()).unwrap();
        let mut answer = client.say(&BASE64.encode(last)).unwrap();
        if answer.code == 334 {
            // The server's own proof, which a client acknowledges with nothing.
            proof.step(&BASE64.decode(&answer.lines[0]).unwrap()).unwrap();
            proof.finish().unwrap();
            answer = client.say("").unwrap();
        }
        answer.code
    };
    assert_eq!((prove(false), prove(true)), (235, 535));
}

/// What a password, a token or a certificate costs an attacker to read: nothing of them is in a log.
#[test]
fn r4_1_2_no_secret_is_in_a_log() {
    let mut home = Home::new(|setup| setup);
    home.person("alice@a.test").done(&["send", "bob@a.test", "-m", "hello"]);
    let bob = stranger(&home, "bob@a.test");
    assert!(!log_in(&bob, &["--password-command", "echo wrong-guess"]).status.success());
    drop(home.daemon().take());
    let log = home.setup.log();
    let encoded = BASE64.encode("\0bob@a.test\0wrong-guess");
    assert!(log.contains("bob@a.test"), "the attempt is told: {log}");
    assert!(!log.contains("wrong-guess") && !log.contains(&encoded), "{log}");
}
