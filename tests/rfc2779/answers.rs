//! The bridge inward: whoever has only mail answers, and is answered; what the mail system reports later is a receipt.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use impart::dns::authority::{Conduct, Data};
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::sink::{Arrival, Manner, Sink};
use crate::common::wait;
use crate::world::{World, check, report, reports};

/// A mail system that is played: it takes mail, and hands mail in.
pub struct Mail {
    pub sink: Sink,
    bridge: SocketAddr,
}

impl Mail {
    pub fn new() -> Mail {
        let keywords = vec!["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SIZE 0"];
        let sink = Sink::with(Manner { keywords, say: Box::new(|_| None), lmtp: false });
        Mail { sink, bridge: free_address() }
    }

    /// `a.test`, with this mail system beside it.
    fn beside(&self, world: &World) -> Setup {
        self.configured(world.domain("a.test", "alice"))
    }

    /// The same of a set-up that is there.
    pub fn configured(&self, a: Setup) -> Setup {
        let (sink, bridge) = (self.sink.address, self.bridge);
        let sections = format!(
            "[[listen]]\nservice = \"mail\"\naddress = \"{bridge}\"\nsenders = \"world\"\n\
             [bridge]\nvia = \"smtp:{sink}\"\nauthserv_ids = [\"mx.a.test\"]\n"
        );
        a.with(&sections).key("name = \"a.test\"", "bridge = \"im.a.test\"")
    }

    /// Hands a mail in by LMTP; the code of the reply for its recipient.
    pub fn hand_in(&self, from: &str, to: &str, mail: &str) -> u16 {
        let mut client = Client::connect(self.bridge).unwrap();
        assert_eq!(client.say("LHLO mx.a.test").unwrap().code, 250);
        let mail = mail.replace('\n', "\r\n");
        client.transaction(&format!("<{from}>"), &[&format!("<{to}>")], mail.as_bytes()).unwrap().code
    }

    pub fn nth(&self, number: usize) -> Arrival {
        self.sink.wait("a mail", |all| all.len() >= number).swap_remove(number - 1)
    }
}

fn ask(a: &Setup, id: &str, text: &str) {
    let (mut client, _) = Client::hello(a.mail).unwrap();
    let message = entity("alice@a.test", "bob@b.test", id, text);
    let rcpt = ["<bob@b.test> NOTIFY=SUCCESS,FAILURE"];
    assert_eq!(client.transaction("<alice@a.test> ENVID=envelope-7", &rcpt, &message).unwrap().code, 250);
}

#[test]
fn r5_4_4_whoever_has_only_mail_answers_and_is_answered() {
    let (world, mail) = (World::new(), Mail::new());
    let a = mail.beside(&world);
    let _a = a.start();
    ask(&a, "asked@a.test", "Do you come?");
    let asked = mail.nth(1);
    let (id, to) = (asked.field("Message-ID").unwrap(), asked.field("Reply-To").unwrap());
    let answer = format!(
        "Authentication-Results: mx.a.test; dmarc=pass header.from=b.test\nFrom: Bob <bob@b.test>\nTo: {to}\n\
         Subject: Re: Chat\nMessage-ID: <answer@b.test>\nIn-Reply-To: {id}\nReferences: {id}\n\n\
         Yes, at noon.\n\nOn Mon, 23 Nov 2026 at 12:00, Alice <alice@a.test> wrote:\n> Do you come?\n"
    );
    assert_eq!(mail.hand_in("bob@b.test", to.trim_matches(['<', '>']), &answer), 250);
    let message = wait::until("the answer", || a.waiting("alice@a.test").into_iter().find(|one| one.contains("noon")));
    check(&message, "In-Reply-To", &id);
    check(&message, "Message-ID", "<answer@b.test>");
    assert!(message.contains("\n\tdmarc=pass\n\theader.from=b.test\n"), "{message}");
    let (_, text) = message.split_once("\n\n").unwrap();
    assert!(text.contains("\n\nYes, at noon.\n\n--"), "the text alone: {message}");
    // And back: an answer to a mail user is a mail.
    ask(&a, "again@a.test", "See you.");
    assert!(mail.nth(2).entity.contains("See you."));
    assert_eq!(mail.hand_in("bob@b.test", "alice@im.a.test", &format!("Precedence: list\n{answer}")), 550);
}

#[test]
fn r4_2_1_what_the_mail_system_reports_later() {
    let (world, mail) = (World::new(), Mail::new());
    let a = mail.beside(&world);
    let _a = a.start();
    ask(&a, "asked@a.test", "Do you come?");
    let asked = mail.nth(1);
    report(&a, "relayed");
    let bounce = asked.mail.trim_start_matches('<').split('>').next().unwrap();
    let (header, _) = asked.entity.split_once("\r\n\r\n").unwrap();
    let said = |action: &str, status: &str| {
        format!(
            "From: MAILER-DAEMON@mx.test\nTo: <{bounce}>\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIn words.\n\n--b\n\
             Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n\
             Final-Recipient: rfc822; bob@store.test\nOriginal-Recipient: rfc822;bob@b.test\n\
             Action: {action}\nStatus: {status}\n\n--b\nContent-Type: text/rfc822-headers\n\n{}\n\n--b--\n",
            header.replace("\r\n", "\n")
        )
    };
    assert_eq!(mail.hand_in("", bounce, &said("delivered", "2.0.0")), 250);
    let told = report(&a, "delivered");
    check(&told, "Original-Envelope-Id", "envelope-7");
    assert!(told.contains("bob@b.test"), "{told}");
    assert_eq!(mail.hand_in("", bounce, &said("failed", "5.2.2")), 250);
    check(&report(&a, "failed"), "Status", "5.2.2");
    // A report about what was never sent is taken, and nobody hears of it.
    let other = bounce.replacen("bounce+", "bounce+0", 1);
    let other = format!("{}{}", &other[..other.find('@').unwrap() - 1], &other[other.find('@').unwrap()..]);
    assert_eq!(mail.hand_in("", &other, &said("failed", "5.1.1")), 250);
    assert_eq!(mail.hand_in("", bounce, &said("failed", "5.2.2")), 250, "once more");
    let all = reports(&a).len();
    assert_eq!(all, 3, "relayed, delivered, failed");
}

#[test]
fn r5_1_6_whoever_signs_by_dkim_is_known_without_a_milter() {
    let (world, mail) = (World::new(), Mail::new());
    let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
    let key = || Ed25519Key::from_pkcs8_der(&pkcs8).unwrap();
    let public = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key().public_key()));
    world.publish(|zone| {
        zone.add("s._domainkey.c.test.", 0, Data::Txt(public.clone())).unwrap();
        zone.add("_dmarc.c.test.", 0, Data::Txt("v=DMARC1; p=reject".to_owned())).unwrap();
    });
    let a = mail.beside(&world).key("[bridge]", "examination = \"either\"");
    let _a = a.start();
    let signed = |id: &str| {
        let mail =
            format!("From: carol@c.test\r\nTo: alice@im.a.test\r\nMessage-ID: <{id}@c.test>\r\n\r\nIs it {id}?\r\n");
        let signer = DkimSigner::from_key(key()).domain("c.test").selector("s").headers(["From", "To", "Message-ID"]);
        let field = signer.sign(mail.as_bytes()).unwrap().to_header();
        format!("Received: from c.test (c.test [192.0.2.1]) by mx.a.test; now\r\n{field}{mail}").replace("\r\n", "\n")
    };
    let hand_in = |mail_text: &str| mail.hand_in("carol@c.test", "alice@im.a.test", mail_text);
    assert_eq!(hand_in(&signed("noon")), 250);
    let message = wait::until("the mail", || a.waiting("alice@a.test").into_iter().find(|one| one.contains("noon")));
    assert!(message.contains("\tdkim=pass header.d=c.test\n\theader.s=s;\n\tspf=none"), "{message}");
    assert!(message.contains("\tdmarc=pass\n\theader.from=c.test\n"), "{message}");
    assert_eq!(hand_in(&signed("one").replace("Is it one?", "Send money.")), 550, "altered on its way");
    world.publish(|zone| _ = zone.set_conduct("s._domainkey.c.test.", Conduct::ServFail).unwrap());
    assert_eq!(hand_in(&signed("two")), 451, "the mail system keeps it");
    world.publish(|zone| _ = zone.set_conduct("s._domainkey.c.test.", Conduct::Proper).unwrap());
    wait::until("DNS to be asked again", || (hand_in(&signed("two")) == 250).then_some(()));
}
