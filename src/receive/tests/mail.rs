//! Mail of anybody, over LMTP and SMTP, and what becomes of it.

use super::*;
use crate::accounts::{Rules, rules};
use crate::bridge::intake::SpamField;
use crate::bridge::outward;
use crate::dns::authority::Conduct;
use crate::policy::identity::mail::{Believed, Examination};
use crate::receive::examine::{Examiner, tests::Post};
use crate::rules::edit;

const SECRET: [u8; 32] = [7; 32];

/// A listener for the mail of a.example and im.a.example; the mail system is mx.a.example.
fn stage() -> Stage {
    stage_with(|accounts| accounts)
}

fn stage_with(change: impl FnOnce(Accounts) -> Accounts) -> Stage {
    examining(change, Examination::Upstream, None)
}

fn examining(
    change: impl FnOnce(Accounts) -> Accounts,
    examination: Examination,
    examiner: Option<Arc<Examiner>>,
) -> Stage {
    let mut stage = Stage::with(Service::Mail, change);
    let domain = |name: &str| Domain::parse(name).unwrap();
    let bridge = bridge::Options {
        domains: HashMap::from([(domain("im.a.example"), domain("a.example"))]),
        believed: Believed { authserv_ids: vec!["mx.a.example".to_owned()], hops: 1, examination },
        examiner,
        spam: SpamField::parse("X-Spam-Flag: YES").into_iter().collect(),
        secret: SECRET,
    };
    let listener = Listener {
        service: Service::Mail,
        senders: Senders::World,
        bridge: Some(Arc::new(bridge)),
        session: session_of(domain("mx.a.example"), Service::Mail),
        tls: None,
        starttls: None,
        clear_auth: true,
    };
    stage.listener = Arc::new(listener);
    stage
}

const PASS: &str = "Authentication-Results: mx.a.example; dmarc=pass header.from=b.example\r\n";
const MAIL: &str = "From: Bob <bob@b.example>\r\nTo: alice@a.example\r\nMessage-ID: <1@b.example>\r\n\r\n\
    Yes.\r\n\r\nOn Mon, 23 Nov 2026, Alice wrote:\r\n> Lunch?\r\n";

async fn lmtp(stage: &Stage) -> Peer {
    let mut peer = stage.connect().await;
    peer.expect("LHLO mx.a.example", "250 ").await;
    peer
}

impl Peer {
    /// The replies to a mail, one for each recipient: refused ones first.
    async fn mail(&mut self, from: &str, to: &[&str], mail: &str) -> Vec<String> {
        self.expect(&format!("MAIL FROM:<{from}>"), "250").await;
        let mut accepted = 0;
        let mut replies = Vec::new();
        for to in to {
            let reply = self.say(&format!("RCPT TO:<{to}>")).await;
            match reply.starts_with("250") {
                true => accepted += 1,
                false => replies.push(reply),
            }
        }
        if accepted == 0 {
            self.expect("RSET", "250").await;
            return replies;
        }
        self.expect("DATA", "354").await;
        self.send(&format!("{mail}.\r\n")).await;
        for _ in 0..accepted {
            replies.push(self.reply().await);
        }
        replies
    }

    async fn one(&mut self, from: &str, to: &str, mail: &str, expected: &str) {
        let replies = self.mail(from, &[to], mail).await;
        assert!(replies.len() == 1 && replies[0].starts_with(expected), "{expected}: {replies:?}\n{mail}");
    }
}

/// All that is in the spool: sender, recipient, entity.
async fn stored(stage: &Stage) -> Vec<[String; 3]> {
    let mut stored = Vec::new();
    for record in stage.context.spool.page(QueueId(0), 100).unwrap() {
        let entity = stage.context.spool.entity(record.id).await.unwrap().unwrap();
        let sender = record.envelope.sender.mailbox().map(ToString::to_string).unwrap_or_default();
        let to = record.envelope.recipients[0].address.to_string();
        stored.push([sender, to, String::from_utf8_lossy(&entity).into_owned()]);
    }
    stored
}

#[tokio::test]
async fn an_answer_is_a_message_for_each_recipient() {
    let stage = stage();
    let mut peer = lmtp(&stage).await;
    let to = ["alice@im.a.example", "nobody@im.a.example", "bob+im@a.example", "eve@c.example"];
    let replies = peer.mail("srs0+x@forward.example", &to, &format!("{PASS}{MAIL}")).await;
    assert!(replies[0].starts_with("550 5.1.1") && replies[1].starts_with("550 5.7.1"), "{replies:?}");
    assert!(replies[2..].iter().all(|reply| reply.starts_with("250 2.0.0")) && replies.len() == 4, "{replies:?}");
    let all = stored(&stage).await;
    assert_eq!(all.iter().map(|[_, to, _]| to.as_str()).collect::<Vec<_>>(), ["alice@a.example", "bob@a.example"]);
    let [sender, _, entity] = &all[0];
    assert_eq!(sender, "bob@b.example");
    assert!(entity.starts_with("Received: from localhost\r\n\tby mx.a.example with LMTP id "), "{entity}");
    let found = "\r\n\tdmarc=pass\r\n\theader.from=b.example\r\nImpart-Bridge: im.a.example; in\r\n";
    assert!(entity.contains(found), "{entity}");
    assert!(entity.contains("\r\n\r\nYes.\r\n") && entity.contains("original.eml"), "{entity}");
    // The same once more is a repetition.
    peer.one("bob@b.example", "alice@im.a.example", &format!("{PASS}{MAIL}"), "250").await;
    assert_eq!(stored(&stage).await.len(), 2);
}

#[tokio::test]
async fn what_is_left_to_the_mail_system() {
    let stage = stage();
    let mut peer = lmtp(&stage).await;
    let to = "alice@im.a.example";
    peer.one("bob@b.example", to, &format!("Precedence: bulk\r\n{MAIL}"), "550 5.7.1").await;
    peer.one("bob@b.example", to, &format!("Auto-Submitted: auto-replied\r\n{MAIL}"), "550 5.7.1").await;
    peer.one("bob@b.example", to, &format!("X-Spam-Flag: YES\r\n{MAIL}"), "550 5.7.1").await;
    peer.one("bob@b.example", to, &format!("Impart-Bridge: im.a.example; out\r\n{MAIL}"), "554 5.4.6").await;
    peer.one("", to, MAIL, "550 5.7.1").await;
    peer.one("bob@b.example", to, &format!("From: eve@c.example\r\n{MAIL}"), "554 5.6.0").await;
    peer.one("bob@b.example", to, "Subject: nobody's\r\n\r\nx\r\n", "554 5.6.0").await;
    peer.one("bob@b.example", to, &format!("{MAIL}{}", "x\r\n".repeat(4000)), "552 5.3.4").await;
    assert!(stored(&stage).await.is_empty());
}

#[tokio::test]
async fn in_whose_name() {
    let stage = stage();
    let mut peer = lmtp(&stage).await;
    let own = MAIL.replace("bob@b.example", "alice@a.example");
    peer.one("alice@a.example", "bob@a.example", &own, "550 5.7.1").await;
    let proven = PASS.replace("b.example", "a.example");
    peer.one("alice@a.example", "bob@a.example", &format!("{proven}{own}"), "250").await;
    // Forged: it stands below the fields of the mail system.
    let hops = "Received: by mx.a.example; now\r\nReceived: by b.example; before\r\n";
    peer.one("alice@a.example", "bob@a.example", &format!("{hops}{proven}{own}"), "550 5.7.1").await;
    let notice = "From: bob@b.example\r\nMessage-ID: <2@b.example>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n\
         --b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\n\
         Original-Message-ID: <1@a.example>\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n\r\n--b--\r\n";
    peer.one("", "alice@im.a.example", notice, "550 5.7.1").await;
    peer.one("", "alice@im.a.example", &format!("{PASS}{notice}"), "250").await;
    let stored = stored(&stage).await;
    assert_eq!(stored.len(), 2);
    assert!(stored[1][0].is_empty() && stored[1][2].ends_with(notice), "{stored:?}");
}

#[tokio::test]
async fn rules_hold_for_mail() {
    let folder = tempfile::tempdir().unwrap();
    let block = |who: &str| {
        let who = who.parse().unwrap();
        let changed = |old: Option<&str>| Ok(edit::block(old, &who).unwrap().text);
        rules::change(folder.path(), &mailbox("alice@a.example"), changed).unwrap();
    };
    block("bob@b.example");
    let rules = Rules::load(folder.path(), &Rules::default()).unwrap().0;
    let stage = stage_with(|accounts| accounts.with_rules(Arc::new(rules)));
    let mut peer = lmtp(&stage).await;
    peer.one("bob@b.example", "alice@im.a.example", &format!("{PASS}{MAIL}"), "550 5.7.1 this inbox").await;
    // Who claims to be somebody who is blocked is blocked too, proven or not.
    peer.one("other@b.example", "alice@im.a.example", MAIL, "550 5.7.1 this inbox").await;
    let carol = MAIL.replace("bob@", "carol@");
    peer.one("carol@b.example", "alice@im.a.example", &format!("{PASS}{carol}"), "250").await;
    peer.one("bob@b.example", "bob@im.a.example", &format!("{PASS}{MAIL}"), "250").await;
    assert_eq!(stored(&stage).await.len(), 2);
}

#[tokio::test]
async fn one_at_a_time_without_lmtp() {
    let stage = stage();
    let mut peer = stage.connect().await;
    peer.expect("MAIL FROM:<bob@b.example>", "250").await;
    peer.expect("RCPT TO:<alice@im.a.example>", "250").await;
    peer.expect("RCPT TO:<bob@a.example>", "452 4.5.3").await;
    peer.expect("DATA", "354").await;
    peer.send(&format!("{MAIL}.\r\n")).await;
    assert!(peer.reply().await.starts_with("250"));
    assert!(stored(&stage).await[0][2].contains("\r\n\tdmarc=none"));
}

#[tokio::test]
async fn reports_become_receipts() {
    let stage = stage();
    let mut peer = lmtp(&stage).await;
    let alice = mailbox("alice@a.example");
    let report = |action: &str| {
        format!(
            "From: MAILER-DAEMON@b.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\
             \r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nOriginal-Envelope-Id: e1\r\n\
             Reporting-MTA: dns; b.example\r\n\r\nFinal-Recipient: rfc822; bob@b.example\r\nAction: {action}\r\n\
             Status: 2.1.5\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: alice@a.example\r\n\
             Message-ID: <1@a.example>\r\n\r\n--b--\r\n"
        )
    };
    let bounce = |envid: &str| {
        format!("bounce+{}@im.a.example", outward::token(&SECRET, &alice, Some(envid), &mailbox("bob@b.example")))
    };
    peer.one("", &bounce("e1"), &report("delivered"), "250").await;
    // Once more, and one about what was never sent from here.
    peer.one("", &bounce("e1"), &report("delivered"), "250").await;
    peer.one("", &bounce("e2"), &report("failed"), "250").await;
    peer.one("", "alice@im.a.example", &report("failed"), "550 5.7.1").await;
    let stored = stored(&stage).await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!((stored[0][0].as_str(), stored[0][1].as_str()), ("", "alice@a.example"));
    assert!(stored[0][2].contains("Action: delivered") && !stored[0][2].contains("failed"), "{}", stored[0][2]);
}

#[tokio::test]
async fn mail_is_examined_here_where_the_mail_system_is_silent() {
    let mut post = Post::new("v=DMARC1; p=reject").await;
    let stage = examining(|accounts| accounts, Examination::Either, Some(post.examiner()));
    let mut peer = lmtp(&stage).await;
    let to = "alice@im.a.example";
    let number = |text: &str| MAIL.replace("<1@", &format!("<{text}@"));
    peer.one("x@c.example", to, &number("1"), "550 5.7.26").await;
    let signed = post.signed(&number("2"));
    peer.one("x@c.example", to, &signed, "250").await;
    peer.one("x@c.example", to, &signed.replace("Yes.", "No."), "550 5.7.26").await;
    // What others claim is not asked about; what the mail system says goes first.
    let forged = PASS.replace("mx.a.example", "mx.c.example");
    peer.one("x@c.example", to, &format!("{forged}{}", number("3")), "550 5.7.26").await;
    peer.one("x@c.example", to, &format!("{PASS}{}", number("4")), "250").await;
    let fail = PASS.replace("dmarc=pass", "dmarc=fail");
    peer.one("x@c.example", to, &format!("{fail}{}", post.signed(&number("5"))), "250").await;
    // By the address of the client, in the topmost field that the mail system writes.
    let from = |address: &str| format!("Received: from b.example (unknown [{address}])\r\n\tby mx.a.example; now\r\n");
    peer.one("x@b.example", to, &format!("{}{}", from("192.0.2.1"), number("6")), "250").await;
    let two = from("192.0.2.9") + &from("192.0.2.1");
    peer.one("x@b.example", to, &format!("{two}{}", number("7")), "550 5.7.26").await;
    // Of a domain that does not exist, nothing is proven and nothing is forbidden.
    let nobodys = number("8").replace("b.example", "c.example");
    peer.one("x@c.example", to, &nobodys, "250").await;
    post.fail("s._domainkey.b.example", Conduct::ServFail);
    let stage_of_another_cache = examining(|accounts| accounts, Examination::Own, Some(post.examiner()));
    let mut other = lmtp(&stage_of_another_cache).await;
    other.one("x@c.example", to, &post.signed(&number("9")), "451 4.7.24").await;
    other.one("x@c.example", to, &format!("{PASS}{}", number("9")), "550 5.7.26").await;
    assert!(stored(&stage_of_another_cache).await.is_empty());
    let stored = stored(&stage).await;
    let told = |number: usize, expected: &str| {
        let entity = stored[number][2].split("\r\n\r\n").next().unwrap_or_default();
        assert!(
            entity.contains(expected) && entity.matches("Authentication-Results: mx.a.example").count() == 1,
            "{entity}"
        );
    };
    assert_eq!(stored.len(), 5);
    told(0, "\tdkim=pass header.d=b.example\r\n\theader.s=s;\r\n\tdmarc=pass\r\n\theader.from=b.example\r\n");
    told(1, "\tdmarc=pass\r\n\theader.from=b.example\r\n");
    told(2, "\tdmarc=none\r\n\treason=");
    told(3, "\tspf=pass smtp.mailfrom=b.example;\r\n\tdmarc=pass\r\n");
    told(4, "\tdmarc=none\r\n\treason=\"c.example has no usable record of DMARC");
}
