//! Presence by mail: whoever has only mail asks at the presence address, confirms, and is told; nobody else can ask for them.

use crate::answers::Mail;
use crate::clients::Home;
use crate::common::sink::Arrival;
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
