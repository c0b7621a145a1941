use proptest::prelude::*;

use super::scram::{Binding, ClientFirst, Verifier};
use super::*;

const UNBOUND: Binding = Binding { plus: false, offered: false, octets: None };
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

fn pencil() -> Verifier {
    let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
    Verifier::new(&Secret::new("pencil"), &salt, 4096).unwrap()
}

fn password(user: &str, password: &str) -> Credentials {
    Credentials::Password { user: user.to_owned(), password: Secret::new(password) }
}

fn client(offered: &[Mechanism], credentials: Credentials, binding: Option<[u8; 32]>) -> Client {
    Client::with_nonce(offered, credentials, binding, NONCE.to_owned()).unwrap()
}

#[test]
fn names() {
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::parse(&mechanism.name().to_lowercase()), Some(mechanism));
    }
    assert_eq!(Mechanism::parse("SCRAM-SHA-1"), None);
}

#[test]
fn the_exchange_of_rfc_7677() {
    let mut client = client(&[Mechanism::ScramSha256], password("user", "pencil"), None);
    let first = client.initial().unwrap();
    assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let first = ClientFirst::parse(&first, UNBOUND).unwrap();
    assert_eq!((&*first.user, &first.authorization), ("user", &None));
    let server = first.challenge(pencil(), SERVER_NONCE);
    let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    assert_eq!(std::str::from_utf8(server.message()), Ok(expected));
    let proof = client.step(server.message()).unwrap();
    let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(std::str::from_utf8(&proof), Ok(expected));
    let last = server.verify(&proof).unwrap();
    assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(client.finish(), Err(SaslError::ServerUnproven));
    assert_eq!(client.step(&last), Ok(Vec::new()));
    assert_eq!(client.finish(), Ok(()));
}

/// The outcome of a whole exchange: the server's, then the client's.
fn exchange(
    offered: &[Mechanism],
    word: &str,
    ours: Option<[u8; 32]>,
    theirs: Binding,
) -> (Result<(), SaslError>, Result<(), SaslError>) {
    let mut client = client(offered, password("a,b=c@a.example", word), ours);
    let plus = client.mechanism() == Mechanism::ScramSha256Plus;
    let server = ClientFirst::parse(&client.initial().unwrap(), Binding { plus, ..theirs }).and_then(|first| {
        assert_eq!(first.user, "a,b=c@a.example");
        let server = first.challenge(pencil(), SERVER_NONCE);
        server.verify(&client.step(server.message())?)
    });
    let told = server.and_then(|last| client.step(&last).map(drop));
    (told, client.finish())
}

#[test]
fn wrong_passwords_and_bindings() {
    let both = [Mechanism::ScramSha256, Mechanism::ScramSha256Plus];
    let one = [Mechanism::ScramSha256];
    let bound = |octet| Binding { plus: false, offered: true, octets: Some([octet; 32]) };
    let unproven = Err(SaslError::ServerUnproven);
    assert_eq!(exchange(&one, "pencil", None, UNBOUND), (Ok(()), Ok(())));
    assert_eq!(exchange(&one, "pencils", None, UNBOUND), (Err(SaslError::Proof), unproven.clone()));
    assert_eq!(exchange(&both, "pencil", Some([7; 32]), bound(7)), (Ok(()), Ok(())));
    assert_eq!(exchange(&both, "pencil", Some([7; 32]), bound(8)), (Err(SaslError::Binding), unproven.clone()));
    // A server that cannot bind: the client says that it could, and both are content.
    assert_eq!(exchange(&one, "pencil", Some([7; 32]), UNBOUND), (Ok(()), Ok(())));
    // Somebody took the offer away.
    assert_eq!(exchange(&one, "pencil", Some([7; 32]), bound(7)), (Err(SaslError::Binding), unproven));
    // A client that cannot bind is none that was lied to.
    assert_eq!(exchange(&one, "pencil", None, bound(7)), (Ok(()), Ok(())));
}

#[test]
fn malformed_first_messages() {
    let check = |message: &str, expected: Result<&str, SaslError>| {
        let parsed = ClientFirst::parse(message.as_bytes(), UNBOUND).map(|first| first.user);
        assert_eq!(parsed, expected.map(str::to_owned), "{message}");
    };
    let malformed = || Err(SaslError::Malformed("client's first"));
    check("n,a=b,n=u=2C=3D,r=x", Ok("u,="));
    check("n,,n=u,r=x,future=1", Ok("u"));
    check("p=tls-exporter,,n=u,r=x", Err(SaslError::Binding));
    for bad in [
        "",
        "n",
        "n,,",
        "n,,n=,r=x",
        "n,,n=u",
        "n,,n=u,r=",
        "n,,m=1,n=u,r=x",
        "n,,n=a=b,r=x",
        "x,,n=u,r=x",
        "n,b,n=u,r=x",
    ] {
        check(bad, malformed());
    }
    let plus = Binding { plus: true, offered: true, octets: Some([0; 32]) };
    for flag in ["n", "y", "p=tls-unique"] {
        let parsed = ClientFirst::parse(format!("{flag},,n=u,r=x").as_bytes(), plus);
        assert_eq!(parsed.map(|first| first.user), Err(SaslError::Binding), "{flag}");
    }
}

#[test]
fn a_server_that_lies_is_noticed() {
    let check = |challenge: &str, expected: SaslError| {
        let mut client = client(&[Mechanism::ScramSha256], password("user", "pencil"), None);
        client.initial();
        assert_eq!(client.step(challenge.as_bytes()), Err(expected), "{challenge}");
    };
    let malformed = || SaslError::Malformed("server's first");
    check("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", malformed());
    check("r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", malformed());
    check("r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", malformed());
    check("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1", SaslError::Iterations(1));
    check("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4000000000", SaslError::Iterations(4_000_000_000));
    let mut client = client(&[Mechanism::ScramSha256], password("user", "pencil"), None);
    client.initial();
    client.step(b"r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096").unwrap();
    assert_eq!(client.step(b"v=AAAA"), Err(SaslError::ServerUnproven));
    assert_eq!(client.finish(), Err(SaslError::ServerUnproven));
    assert_eq!(client.step(b"e=other-error"), Err(SaslError::Server("other-error".to_owned())));
}

#[test]
fn verifiers_are_written_and_read() {
    let verifier = pencil();
    let text = verifier.to_string();
    assert_eq!(Verifier::parse(&text, '$'), Some(verifier.clone()));
    assert_eq!(Verifier::parse(&text.replace('$', ","), ','), Some(verifier.clone()));
    assert!(verifier.fits(&Secret::new("pencil")) && !verifier.fits(&Secret::new("pen")));
    for bad in ["", "4096", "4096$W22Z$AAAA$AAAA", "0$W22Z", &format!("{text}$")] {
        assert_eq!(Verifier::parse(bad, '$'), None, "{bad}");
    }
    let fake = |name| Verifier::fake(&[1; 32], name, (4096, 16));
    assert_eq!(fake("a"), fake("a"));
    assert_ne!(fake("a"), fake("b"));
    assert_eq!(fake("a").shape(), verifier.shape());
    assert_eq!(format!("{verifier:?} {:?}", Secret::new("x")), "Verifier(4096 iterations) Secret(..)");
}

#[test]
fn plain() {
    let check = |message: &str, expected: Option<(Option<&str>, &str, &str)>| {
        let plain = Plain::parse(message.as_bytes()).ok();
        let got = plain.as_ref().map(|p| (p.authorization.as_deref(), &*p.user, p.password.reveal()));
        assert_eq!(got, expected, "{message:?}");
    };
    // The examples of RFC 4616.
    check("\0tim\0tanstaaftanstaaf", Some((None, "tim", "tanstaaftanstaaf")));
    check("Ursel\0Kurt\0xipj3plmq", Some((Some("Ursel"), "Kurt", "xipj3plmq")));
    for bad in ["", "\0\0", "\0tim\0", "tim\0x", "\0tim\0x\0y"] {
        check(bad, None);
    }
    let mut client = client(&[Mechanism::Plain], password("tim", "tanstaaftanstaaf"), None);
    assert_eq!(client.step(b"").unwrap(), b"\0tim\0tanstaaftanstaaf");
    assert_eq!(client.finish(), Ok(()));
}

#[test]
fn the_exchange_of_rfc_2195() {
    let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
    let response = b"tim b913a602c7eda7a495b4e6e7334d3890";
    let mut client = client(&[Mechanism::CramMd5], password("tim", "tanstaaftanstaaf"), None);
    assert_eq!(client.initial(), None);
    assert_eq!(client.step(challenge).unwrap(), response);
    let parsed = CramResponse::parse(response).unwrap();
    assert_eq!(parsed.user, "tim");
    assert!(parsed.fits(challenge, &Secret::new("tanstaaftanstaaf")));
    assert!(
        !parsed.fits(challenge, &Secret::new("tanstaaf")) && !parsed.fits(b"<x>", &Secret::new("tanstaaftanstaaf"))
    );
    assert!(
        CramResponse::parse(b"tim b913").is_err() && CramResponse::parse("tim éééééééééééééééé".as_bytes()).is_err()
    );
    // A key longer than a block (RFC 2202, case 6).
    let long = Secret::new("k".repeat(80));
    assert!(!parsed.fits(challenge, &long));
}

#[test]
fn the_exchanges_of_rfc_7628() {
    let token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
    let message =
        format!("n,a=user@example.com,\u{1}host=server.example.com\u{1}port=587\u{1}auth=Bearer {token}\u{1}\u{1}");
    let bearer = Bearer::parse(message.as_bytes()).unwrap();
    assert_eq!((bearer.user.as_deref(), bearer.token.reveal()), (Some("user@example.com"), token));
    for bad in [
        "",
        "n,,\u{1}",
        "n,,\u{1}auth=\u{1}\u{1}",
        "n,,\u{1}auth=Basic x\u{1}\u{1}",
        "p=x,,\u{1}auth=Bearer x\u{1}\u{1}",
    ] {
        assert!(Bearer::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let credentials = Credentials::Token { user: "user@example.com".to_owned(), token: Secret::new(token) };
    let mut client = client(&[Mechanism::OAuthBearer], credentials, None);
    let bearer = Bearer::parse(&client.initial().unwrap()).unwrap();
    assert_eq!((bearer.user.as_deref(), bearer.token.reveal()), (Some("user@example.com"), token));
    assert_eq!(client.step(BEARER_REFUSED).unwrap(), [1]);
    assert_eq!(client.finish(), Err(SaslError::Server("{\"status\":\"invalid_token\"}".to_owned())));
}

#[test]
fn external_names_nobody_or_somebody() {
    assert_eq!(external(b""), Ok(None));
    assert_eq!(external(b"a@a.example"), Ok(Some("a@a.example".to_owned())));
    assert!(external(b"a\0").is_err());
    let mut client = client(&[Mechanism::External], Credentials::Certificate { user: None }, None);
    assert_eq!(client.initial(), Some(Vec::new()));
}

#[test]
fn the_best_of_what_goes_with_the_credentials() {
    let check = |offered: &[Mechanism], credentials: Credentials, expected: Option<Mechanism>| {
        let picked = Client::new(offered, credentials, Some([0; 32])).ok().map(|client| client.mechanism());
        assert_eq!(picked, expected);
    };
    check(&Mechanism::ALL, password("u", "p"), Some(Mechanism::ScramSha256Plus));
    check(&[Mechanism::CramMd5, Mechanism::Plain], password("u", "p"), Some(Mechanism::Plain));
    check(&[Mechanism::External], password("u", "p"), None);
    check(&Mechanism::ALL, Credentials::Certificate { user: None }, Some(Mechanism::External));
    check(&[], password("u", "p"), None);
}

proptest! {
    #[test]
    fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..200), text in "[nyp=,a-z\u{0}\u{1} ]{0,60}") {
        for message in [&octets[..], text.as_bytes()] {
            let _ = ClientFirst::parse(message, UNBOUND);
            let _ = Plain::parse(message);
            let _ = Bearer::parse(message);
            let _ = CramResponse::parse(message);
            let _ = external(message);
            let mut client = client(&[Mechanism::ScramSha256], password("u", "p"), None);
            client.initial();
            let _ = client.step(message);
        }
    }
}
