//! AUTH and ATRN.

use super::*;

fn client() -> Session {
    with_auth(Service::Client)
}

fn with_auth(service: Service) -> Session {
    let options = Options { service, starttls: false, ..options() };
    let mut session = Session::new(Arc::new(options), true);
    session.offer_mechanisms(vec!["PLAIN", "CRAM-MD5"]);
    session.input(&mut BytesMut::from("EHLO mx.a.example\r\n"));
    assert!(matches!(session.poll(), Some(Event::Hello { esmtp: true, .. })));
    session.output().clear();
    session
}

const RIGHT: &str = "C: AUTH PLAIN cmlnaHQ=
    E: auth PLAIN right
    A: 235 2.7.0 welcome
    S: 235 2.7.0 welcome\n";

fn play_right(script: &str) -> Session {
    play_in(client(), &format!("{RIGHT}{script}"))
}

#[test]
fn what_a_client_is_offered() {
    let options = Options { service: Service::Client, impp_noop: None, ..options() };
    let mut session = Session::new(Arc::new(options), true);
    session.offer_mechanisms(vec!["PLAIN"]);
    play_in(
        session,
        "
        S: 220 mx.b.example ESMTP IMPP
        C: AUTH PLAIN cmlnaHQ=
        S: 503 5.5.1 say EHLO first
        C: EHLO mx.a.example
        E: hello mx.a.example
        S: 250-mx.b.example
        S: 250-PIPELINING
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-SIZE 1000
        S: 250-DSN
        S: 250-ENHANCEDSTATUSCODES
        S: 250-DELIVERBY 5
        S: 250-REQUIRETLS
        S: 250-LIMITS RCPTMAX=3
        S: 250-AUTH PLAIN
        S: 250-ATRN
        S: 250 IMPP IM PRES
        C: HELO mx.a.example
        E: hello mx.a.example without extensions
        S: 250 mx.b.example
        C: AUTH PLAIN cmlnaHQ=
        S: 502 5.5.1 AUTH is not offered here
        ",
    );
}

#[test]
fn nothing_without_authentication() {
    play_in(
        client(),
        "
        C: MAIL FROM:<a@a.example>
        S: 530 5.7.0 authentication required; say AUTH first
        C: ATRN
        S: 530 5.7.0 authentication required; say AUTH first
        C: RCPT TO:<b@b.example>
        S: 503 5.5.1 say MAIL first
        C: BDAT 6 LAST
        C- QUIT\\r\\n
        S: 503 5.5.1 say MAIL first
        C: NOOP
        S: 250 2.0.0 ok
        ",
    );
}

#[test]
fn one_response() {
    let session = play_right(
        "
        C: AUTH PLAIN cmlnaHQ=
        S: 503 5.5.1 authentication has been done
        C: MAIL FROM:<a@a.example> AUTH=e+3Dmc2@a.example
        E: mail <a@a.example>
        A: 250 2.1.0 ok
        S: 250 2.1.0 ok
        C: AUTH PLAIN cmlnaHQ=
        S: 503 5.5.1 a transaction is open; say RSET first
        C: ATRN
        S: 503 5.5.1 a transaction is open; say RSET first
        ",
    );
    assert!(session.is_authenticated());
}

#[test]
fn challenges_and_responses() {
    play_in(
        client(),
        "
        C: AUTH cram-md5
        E: auth CRAM-MD5
        CH: 1@b
        S: 334 MUBi
        C: d3Jvbmc=
        E: response wrong
        A: 535 5.7.8 wrong
        S: 535 5.7.8 wrong
        C: MAIL FROM:<a@a.example>
        S: 530 5.7.0 authentication required; say AUTH first
        C: AUTH PLAIN =
        E: auth PLAIN =
        ",
    );
}

#[test]
fn empty_challenges_and_responses() {
    let mut session = client();
    let said = properties::run(&mut session, b"AUTH PLAIN\r\n");
    assert!(said.ends_with("334 c2F5\r\n"), "{said}");
    let mut stage = Stage::new(session);
    stage.feed(b"\r\n");
    assert_eq!(stage.poll().as_ref().map(summary).as_deref(), Some("response "));
    stage.session.challenge(b"");
    assert!(stage.poll().is_none());
    assert_eq!(stage.written, "334 \r\n");
    assert!(!stage.session.is_idle(), "a response is awaited");
}

#[test]
fn what_is_no_response() {
    play_in(
        client(),
        "
        C: AUTH PLAIN
        E: auth PLAIN
        CH: x
        S: 334 eA==
        C: *
        S: 501 5.0.0 authentication cancelled
        C: *
        S: 500 5.5.1 command not recognised; HELP lists the commands
        C: AUTH PLAIN
        E: auth PLAIN
        CH: x
        S: 334 eA==
        C: QUIT!
        S: 501 5.5.2 the response is not base64; nothing but its alphabet and its padding may stand there
        C: AUTH PLAIN =AAA
        S: 501 5.5.2 the response is not base64; nothing but its alphabet and its padding may stand there
        C: AUTH PLAIN
        E: auth PLAIN
        CH: x
        S: 334 eA==
        C- cm\\nlnaHQ=\\r\\n
        S: 500 5.5.2 a command is printable characters and CRLF; a bare CR, a bare LF or a control character is refused
        C: AUTH LOGIN
        S: 504 5.5.4 that mechanism is not offered here; use one of PLAIN CRAM-MD5
        C: NOOP
        S: 250 2.0.0 ok
        ",
    );
}

#[test]
fn long_lines_in_the_exchange_only() {
    let most = limits::AUTH_LINE_OCTETS - 2;
    let long = "A".repeat(most / 4 * 4);
    let check = |octets: String, expected: &str| {
        let mut session = client();
        let said = properties::run(&mut session, octets.as_bytes());
        assert!(said.contains(expected), "{expected} is not in {said}");
        assert!(said.ends_with("250 2.0.0 ok\r\n"), "{said}");
    };
    check(format!("AUTH PLAIN\r\n{long}\r\nNOOP\r\n"), "535 5.7.8 wrong");
    check(format!("AUTH PLAIN\r\n{long}AAAA\r\nNOOP\r\n"), "500 5.5.6 the line is longer than 12288 octets");
    check(format!("AUTH PLAIN {}\r\nNOOP\r\n", &long[12..]), "535 5.7.8 wrong");
    check(format!("AUTH PLAIN {long}\r\nNOOP\r\n"), "500 5.5.6 the line is longer than 12288 octets");
    check(format!("VRFY {long}\r\nNOOP\r\n"), "500 5.5.2 the command line is longer than 2048 octets");
    let said = properties::run(&mut greeted(options()), format!("AUTH PLAIN {long}\r\n").as_bytes());
    assert!(said.starts_with("500 5.5.2 the command line is longer than 2048 octets"), "not where it is not offered");
}

#[test]
fn cancelling_for_ever() {
    let once = b"AUTH PLAIN\r\n*\r\n".repeat(limits::BAD_COMMANDS);
    let said = properties::run(&mut client(), &once);
    assert_eq!(said.matches("501 5.0.0").count(), limits::BAD_COMMANDS - 1);
    assert!(said.contains("421 4.7.0") && said.contains("event close"), "{said}");
}

#[test]
fn the_roles_are_reversed_when_the_replies_are_out() {
    let script = format!(
        "{OPENED}
        C: BDAT 2 LAST
        C- \\r\\n
        C: ATRN INBOX=alice@a.example,bob@a.example DEVICE=phone
        C: NOOP
        E: entity 0 from <a@a.example> to <b@b.example>: \\r\\n
        E: atrn alice@a.example bob@a.example at phone
        A: 250 2.0.0 turning
        T 0: 250 2.0.0 queued
        E: turn
        S: 250 2.0.0 queued
        S: 250 2.0.0 turning
        C: 220 phone
        "
    );
    let session = play_right(&script);
    assert!(!session.wants_input() && !session.is_closing());
}

#[test]
fn no_reversal_after_a_refusal() {
    play_right(
        "
        C: ATRN INBOX=carol@a.example
        E: atrn carol@a.example
        A: 550 5.7.1 not yours
        S: 550 5.7.1 not yours
        C: ATRN a.example
        S: 501 5.5.4 write: ATRN INBOX=address,address DEVICE=name
        C: ATRN DEVICE=a/b
        S: 501 5.1.3 a device's name is 1 to 64 letters, digits, dots, underscores and hyphens
        C: NOOP
        S: 250 2.0.0 ok
        ",
    );
}

#[test]
fn relay_on_demand() {
    play_in(
        with_auth(Service::Odmr),
        &format!(
            "
        C: ATRN a.example
        S: 530 5.7.0 authentication required; say AUTH first
        C: MAIL FROM:<a@a.example>
        S: 502 5.5.1 no messages are taken on this port; submit them on the port for clients
        {RIGHT}
        C: MAIL FROM:<a@a.example>
        S: 502 5.5.1 no messages are taken on this port; submit them on the port for clients
        C: ATRN INBOX=alice@a.example
        S: 501 5.5.4 write: ATRN domain,domain
        C: ATRN a.example,b.example
        E: atrn a.example b.example
        A: 453 4.7.0 you have no mail
        S: 453 4.7.0 you have no mail
        C: ATRN
        E: atrn all
        A: 250 2.0.0 now
        E: turn
        S: 250 2.0.0 now
        "
        ),
    );
}

#[test]
fn nobody_else_turns() {
    play("C: ATRN\nS: 502 5.5.1 ATRN is not offered here\nC: AUTH PLAIN\nS: 502 5.5.1 AUTH is not offered here");
}

#[test]
fn a_device_says_when_it_wants_a_sign_of_life() {
    let options = Options { service: Service::Device, impp_noop: Some(300), ..options() };
    let mut session = Session::new(Arc::new(options), true);
    let said = properties::run(&mut session, b"EHLO mx.a.example\r\nMAIL FROM:<a@a.example>\r\n");
    assert!(said.contains("\n250 IMPP IM PRES NOOP=300\r\n250 2.1.0 sender ok\r\n"), "{said}");
}

proptest::proptest! {
    #[test]
    fn cuts_change_nothing(cut in 0usize..140) {
        let text = b"AUTH PLAIN\r\nd3Jvbmc=\r\nAUTH PLAIN d3Jvbmc=\r\nAUTH CRAM-MD5\r\n*\r\nAUTH PLAIN cmlnaHQ=\r\nNOOP\r\nATRN DEVICE=x\r\nQUIT\r\n";
        let whole = properties::run(&mut client(), text);
        assert!(whole.ends_with("250 2.0.0 turning\r\n"), "{whole}");
        let cut = cut.min(text.len());
        let pieces = [&text[..cut], &text[cut..]];
        proptest::prop_assert_eq!(properties::run_in_pieces(&mut client(), pieces), whole);
    }
}
