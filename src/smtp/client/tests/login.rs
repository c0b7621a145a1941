//! AUTH and ATRN: plays with PLAIN, and SCRAM against the verifier of our own server.

use super::*;
use crate::sasl::scram::{Binding, ClientFirst, Verifier};
use crate::sasl::{Credentials, SaslError, Secret};
use crate::smtp::turn::{self, Atrn};

fn login(attach: Option<Atrn>, channel_binding: Option<[u8; 32]>) -> Options {
    let credentials = Credentials::Password { user: "alice@a.test".to_owned(), password: Secret::new("secret") };
    Options { login: Some(Login { credentials, channel_binding, attach }), ..options() }
}

fn check(options: Options, script: &str, expected: &[&str]) {
    for piece in [1, 7, 1000] {
        let got = run(options.clone(), Protection::Proven, &[message(1, &["b"], "x\r\n")], script, piece);
        assert_eq!(got, expected, "{script}");
    }
}

const OFFER: &str = "S: 220 b.example\nC: EHLO a.example\nS: 250-b.example\nS: 250 AUTH PLAIN X-NEW\n\
    C: AUTH PLAIN AGFsaWNlQGEudGVzdABzZWNyZXQ=\n";

#[test]
fn transactions_come_behind_auth() {
    let script = format!(
        "{OFFER}S: 235 2.7.0 welcome\nC: MAIL FROM:<x@a.example>\nS: 250 ok\nC: RCPT TO:<b@b.example>\nS: 250 ok\n\
         C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 2.0.0 stored\nQUIT\nC: QUIT\nS: 221 bye\n"
    );
    check(login(None, None), &script, &["1.0 relayed 250 2.0.0 stored", "over"]);
}

#[test]
fn attaching_ends_the_session() {
    let mailbox = |text: &str| Mailbox::parse(text).unwrap();
    let attach = Atrn {
        inboxes: vec![mailbox("alice@a.test"), mailbox("shared@a.test")],
        domains: vec![],
        device: Some("laptop".parse().unwrap()),
    };
    let script = format!(
        "{OFFER}S: 235 2.7.0 welcome\nC: ATRN INBOX=alice@a.test,shared@a.test DEVICE=laptop\nS: 250 2.0.0 turning\n"
    );
    check(login(Some(attach), None), &script, &["turned"]);
    let all = format!("{OFFER}S: 235 2.7.0 welcome\nC: ATRN\nS: 453 5.7.0 You have no mail\n");
    let expected = ["over: it refused to deliver here: 453 5.7.0 You have no mail"];
    check(login(Some(Atrn::default()), None), &all, &expected);
}

#[test]
fn refusals_and_nonsense() {
    let check_refusal = |reply: &str, expected: &str| {
        check(login(None, None), &format!("{OFFER}S: {reply}\n"), &[expected]);
    };
    check_refusal("535 5.7.8 no", "over: it refused the login: 535 5.7.8 no");
    check_refusal("454 4.7.0 later", "over: it refused the login: 454 4.7.0 later");
    check_refusal("421 4.3.2 down", "over: it said: 421 4.3.2 down");
    check_refusal("334 !!", "over: login is not possible: the server's message is malformed");
    let none = "S: 220 b.example\nC: EHLO a.example\nS: 250-b.example\nS: 250 AUTH X-NEW\n";
    let got = run(login(None, None), Protection::Proven, &[], none, 9);
    assert!(got[0].starts_with("over: login is not possible: the server offers no mechanism"), "{got:?}");
    let timeout = run(login(None, None), Protection::Proven, &[], &format!("{OFFER}TIMEOUT\n"), 9);
    assert_eq!(timeout, ["over: timed out while waiting for its answer to AUTH"]);
}

/// SCRAM with a server that knows this password; what the client says at the end.
fn scram(known: &str, lie: bool, binding: Option<[u8; 32]>) -> Vec<String> {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(login(None, binding)), Protection::Proven, now);
    let say = |session: &mut Session, line: String| {
        session.input(&mut BytesMut::from(format!("{line}\r\n").as_bytes()), now);
        let written = String::from_utf8(session.output(now).to_vec()).unwrap();
        session.wrote(written.len(), now);
        written
    };
    say(&mut session, "220 b.example".to_owned());
    let first = say(&mut session, "250-b.example\r\n250 AUTH PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS".to_owned());
    let (verb, initial) = first.trim_end().rsplit_once(' ').unwrap();
    let plus = if binding.is_some() { "AUTH SCRAM-SHA-256-PLUS" } else { "AUTH SCRAM-SHA-256" };
    assert_eq!(verb, plus);
    let bound = Binding { plus: binding.is_some(), offered: true, octets: binding };
    let first = ClientFirst::parse(&turn::decode(initial.as_bytes()).unwrap(), bound).unwrap();
    let verifier = Verifier::new(&Secret::new(known), b"0123456789abcdef", 4096).unwrap();
    let server = first.challenge(verifier, "nonce");
    let response = say(&mut session, format!("334 {}", turn::encode(server.message())));
    let proof = server.verify(&turn::decode(response.trim_end().as_bytes()).unwrap());
    match proof {
        Ok(proof) if !lie => {
            assert_eq!(say(&mut session, format!("334 {}", turn::encode(&proof))), "\r\n");
            say(&mut session, "235 2.7.0 welcome".to_owned());
        }
        // A server that knows nothing, and says yes.
        Ok(_) => _ = say(&mut session, "235 2.7.0 welcome".to_owned()),
        Err(error) => {
            assert_eq!(error, SaslError::Proof);
            say(&mut session, "535 5.7.8 no".to_owned());
        }
    }
    std::iter::from_fn(|| session.poll())
        .flat_map(|event| if event == Event::Ready { vec!["ready".into()] } else { show(event) })
        .collect()
}

#[test]
fn scram_with_and_without_binding() {
    assert_eq!(scram("secret", false, None), ["ready"]);
    assert_eq!(scram("secret", false, Some([7; 32])), ["ready"]);
    assert_eq!(scram("other", false, None), ["over: it refused the login: 535 5.7.8 no"]);
    let lie = "over: login is not possible: the server has not proven itself; do not trust it with messages";
    assert_eq!(scram("secret", true, None), [lie]);
}
