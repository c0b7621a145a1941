//! Presence by mail: whoever has only mail asks at the presence address, confirms, and is told; nobody else can ask for them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::answers::Mail;
use crate::clients::Home;
use crate::common::daemon::free_address;
use crate::common::sink::Arrival;
use crate::common::tools::{have, run, said};
use crate::presence::{ALICE, accepted, document, tell};

const PRESENCE: &str = "presence@im.a.test";

/// `a.test` beside a mail system; Bob of `b.test` has only mail.
struct Play {
    mail: Mail,
    home: Home,
}

impl Play {
    fn new(default: &str) -> Play {
        let mail = Mail::new();
        let presence = format!("[presence]\ndefault = {default:?}\nmail_pause = \"1s\"\n");
        let home = Home::new(|setup| mail.configured(setup).with(&presence));
        Play { mail, home }
    }

    /// A mail of Bob's to the presence address, and the code that it gets.
    fn writes(&self, proven: bool, subject: &str) -> u16 {
        let passed = if proven { "Authentication-Results: mx.a.test; dmarc=pass header.from=b.test\n" } else { "" };
        let mail = format!("{passed}From: Bob <bob@b.test>\nTo: {PRESENCE}\nSubject: {subject}\n\n-- \nBob\n");
        self.mail.hand_in("bob@b.test", PRESENCE, &mail)
    }

    /// Bob watches Alice, and confirms it from what he got; his first mail about her.
    fn watches(&self) -> Arrival {
        assert_eq!(self.writes(true, "subscribe alice@a.test"), 250);
        let asked = self.mail.nth(1);
        assert_eq!(asked.field("Reply-To").as_deref(), Some("<presence@im.a.test>"));
        assert_eq!(asked.field("Auto-Submitted").as_deref(), Some("auto-replied"));
        let subject = asked.field("Subject").unwrap();
        assert!(subject.starts_with("confirm alice@a.test "), "{subject}");
        assert_eq!(self.writes(true, &format!("Re: {subject}")), 250);
        self.mail.nth(2)
    }

    fn publishes(&self, note: &str) {
        accepted(tell(&mut self.home.alice(), ALICE, ALICE, "publish; expires=600", &document(ALICE, note)));
    }

    /// How many watch Alice.
    fn watchers(&self) -> usize {
        self.home.setup.rows(&["presence", "watchers", "alice@a.test"]).len()
    }
}

#[test]
fn r5_1_7_somebody_with_mail_watches_and_is_told() {
    let play = Play::new("allow");
    play.publishes("one");
    let first = play.watches();
    assert_eq!(first.field("Subject").as_deref(), Some("alice@a.test is available"));
    assert!(first.mail.starts_with("<bounce+") && first.rcpts[0].starts_with("<bob@b.test>"), "{first:?}");
    assert!(first.entity.contains("Note: one") && first.entity.contains("application/pidf+xml"), "{}", first.entity);
    assert_eq!(first.field("Chat-Version"), None, "it is no part of a chat");
    play.publishes("two");
    play.publishes("three");
    let next = play.mail.nth(3);
    assert!(next.entity.contains("Note: three") && !next.entity.contains("two"), "{}", next.entity);
    // Whatever unsubscribes for him needs no more than what he was sent.
    let end = next.field("List-Unsubscribe").unwrap();
    let subject = end.split("subject=").nth(1).unwrap().trim_end_matches('>').replace("%20", " ").replace("%40", "@");
    assert_eq!(play.writes(false, &subject), 250);
    assert_eq!(play.mail.nth(4).field("Subject").as_deref(), Some("You are told of alice@a.test no more"));
    assert_eq!(play.watchers(), 0);
}

#[test]
fn r5_1_6_nobody_subscribes_another_or_asks_unproven() {
    let play = Play::new("allow");
    assert_eq!(play.writes(false, "subscribe alice@a.test"), 550, "an author that is not proven is not answered");
    assert_eq!(play.writes(false, "status alice@a.test"), 550);
    assert_eq!(play.writes(true, "confirm alice@a.test 7fffffff-00000000000000000000000000000000"), 550);
    assert_eq!(play.writes(true, "subscribe nobody@a.test"), 550);
    assert_eq!(play.writes(true, "Lunch?"), 554);
    assert_eq!(play.writes(true, "subscribe alice@a.test\nAuto-Submitted: auto-replied"), 550);
    assert_eq!(play.writes(false, "unsubscribe all 00000000000000000000000000000000"), 550);
    assert_eq!(play.watchers(), 0);
    // It takes the answer of whoever reads the mail.
    assert_eq!(play.writes(true, "subscribe alice@a.test"), 250);
    play.mail.nth(1);
    assert_eq!(play.watchers(), 0);
}

#[test]
fn r2_3_1_rules_hold_and_what_comes_back_ends_it() {
    let play = Play::new("confirm");
    play.publishes("secret");
    let first = play.watches();
    assert!(first.field("Subject").unwrap().starts_with("alice@a.test has not said yet"), "{first:?}");
    assert!(!first.entity.contains("secret"), "{}", first.entity);
    assert_eq!(play.watchers(), 1);
    let bounce = first.mail.trim_start_matches('<').split('>').next().unwrap();
    let (header, _) = first.entity.split_once("\r\n\r\n").unwrap();
    let report = format!(
        "From: MAILER-DAEMON@mx.test\nTo: <{bounce}>\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIn words.\n\n--b\n\
         Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n\
         Final-Recipient: rfc822; bob@b.test\nAction: failed\nStatus: 5.1.1\n\n--b\n\
         Content-Type: text/rfc822-headers\n\n{}\n\n--b--\n",
        header.replace("\r\n", "\n")
    );
    assert_eq!(play.mail.hand_in("", bounce, &report), 250);
    let rows = play.home.setup.rows(&["presence", "watchers", "alice@a.test"]);
    assert!(
        rows.iter().all(|row| row["state"] == "waiting"),
        "she sees that he asked, and nothing goes there: {rows:?}"
    );
}

/// A request to a listener in the clear, and its answer.
fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn r5_1_7_whoever_is_told_by_mail_ends_it_by_one_click() {
    let (mail, at) = (Mail::new(), free_address());
    let bridge = format!("unsubscribe_url = \"https://im.a.test/end\"\nunsubscribe_listen = \"{at}\"\n");
    let home = Home::new(|setup| {
        let mut setup = mail.configured(setup).with("[presence]\ndefault = \"allow\"\nmail_pause = \"1s\"\n");
        setup.sections = setup.sections.replacen("[bridge]\n", &format!("[bridge]\n{bridge}"), 1);
        setup
    });
    let play = Play { mail, home };
    play.publishes("one");
    let first = play.watches();
    assert_eq!(first.field("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let field = first.field("List-Unsubscribe").expect("the field");
    assert!(field.contains("<mailto:"), "{field}");
    let url = field.split(['<', '>']).nth(1).expect("a URL");
    let target = url.strip_prefix("https://im.a.test").expect("the URL of the configuration");
    // Programs that follow links end nothing.
    let page = http(at, &format!("GET {target} HTTP/1.1\r\nHost: im.a.test\r\n\r\n"));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<form method=\"post\">"), "{page}");
    let post = |target: &str, body: &str| {
        let head = format!("POST {target} HTTP/1.1\r\nHost: im.a.test\r\nContent-Length: {}\r\n\r\n", body.len());
        http(at, &format!("{head}{body}"))
    };
    let click = "List-Unsubscribe=One-Click";
    assert!(post(target, "something=else").starts_with("HTTP/1.1 400"));
    assert!(post(&target.replace("bob", "eve"), click).starts_with("HTTP/1.1 400"), "another's token");
    assert!(post("/end", click).starts_with("HTTP/1.1 400"));
    assert_eq!(play.watchers(), 1);
    assert!(post(target, click).starts_with("HTTP/1.1 200"));
    assert_eq!(play.watchers(), 0);
    // Whoever clicks twice is told the same.
    assert!(post(target, click).starts_with("HTTP/1.1 200"));
}

#[test]
fn r5_1_7_the_one_click_is_encrypted_where_others_reach_it() {
    const NAME: &str = "r5_1_7_the_one_click_is_encrypted_where_others_reach_it";
    if !have(NAME, &["curl"]) {
        return;
    }
    let (mail, port) = (Mail::new(), free_address().port());
    let bridge = format!("unsubscribe_url = \"https://a.test/\"\nunsubscribe_listen = \"0.0.0.0:{port}\"\n");
    let home = Home::new(|setup| {
        let mut setup = mail.configured(setup);
        setup.sections = setup.sections.replacen("[bridge]\n", &format!("[bridge]\n{bridge}"), 1);
        setup
    });
    let authority = home.world.home("a.test").with_file_name("ca.pem");
    let resolve = format!("a.test:{port}:127.0.0.1");
    let url = |scheme: &str| format!("{scheme}://a.test:{port}/end?w=x");
    let curl = |url: &str, more: &[&str]| {
        let ca = authority.display().to_string();
        let words = ["-sS", "--max-time", "20", "--noproxy", "*", "--cacert", &ca, "--resolve", &resolve];
        run("curl", &[&words[..], more, &[url]].concat(), b"")
    };
    let page = curl(&url("https"), &[]);
    assert!(page.status.success() && String::from_utf8_lossy(&page.stdout).contains("<form"), "{}", said(&page));
    let click = curl(&url("https"), &["-w", "%{http_code}", "-d", "List-Unsubscribe=One-Click"]);
    assert!(String::from_utf8_lossy(&click.stdout).ends_with("400"), "{}", said(&click));
    assert!(!curl(&url("http"), &[]).status.success(), "nothing in the clear");
}
