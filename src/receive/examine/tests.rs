//! Mails with signatures and seals, and DNS on loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use mail_auth::{AuthenticationResults, DmarcOutput};

use super::*;
use crate::dns::authority::{Authority, Conduct, Data, Zone};
use crate::dns::{self, Validation};
use crate::policy::identity::Finding;
use crate::policy::identity::authorship::{Verdict, verdict};

const MAIL: &str = "From: Bob <bob@b.example>\r\nTo: alice@a.example\r\nSubject: Lunch\r\n\r\nYes.\r\n";

/// DNS, and keys named `s` for domains in it.
pub(in crate::receive) struct Post {
    pub(in crate::receive) authority: Authority,
    zone: Zone,
    key: Vec<u8>,
}

impl Post {
    /// b.example with a policy, SPF for 192.0.2.1 and a key; the same key for list.example and evil.example.
    pub(in crate::receive) async fn new(policy: &str) -> Post {
        let key = Ed25519Key::generate_pkcs8().unwrap();
        let public = STANDARD.encode(Ed25519Key::from_pkcs8_der(&key).unwrap().public_key());
        let mut zone = Zone::new("example").unwrap();
        let mut text = |name: &str, text: &str| {
            zone.add(name, 60, Data::Txt(text.to_owned())).unwrap();
        };
        text("_dmarc.b.example", policy);
        text("b.example", "v=spf1 ip4:192.0.2.1 -all");
        text("evil.example", "v=spf1 +all");
        for domain in ["b.example", "list.example", "evil.example", "sub.b.example"] {
            text(&format!("s._domainkey.{domain}"), &format!("v=DKIM1; k=ed25519; p={public}"));
        }
        let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), zone.clone()).await.unwrap();
        Post { authority, zone, key }
    }

    pub(in crate::receive) fn examiner(&self) -> Arc<Examiner> {
        let options = dns::Options {
            servers: vec![self.authority.local_addr()],
            validation: Validation::Off,
            timeout: Duration::from_secs(2),
            ..dns::Options::default()
        };
        let domain = |text: &str| Domain::parse(text).unwrap();
        let resolver = dns::library(&options).unwrap();
        Arc::new(Examiner::new(resolver, vec![domain("list.example")], domain("mx.a.example")))
    }

    pub(in crate::receive) fn fail(&mut self, name: &str, conduct: Conduct) {
        self.zone.set_conduct(name, conduct).unwrap();
        self.authority.set_zone(self.zone.clone());
    }

    fn key(&self) -> Ed25519Key {
        Ed25519Key::from_pkcs8_der(&self.key).unwrap()
    }

    /// Signs fields for a domain.
    pub(in crate::receive) fn signed_by(&self, domain: &str, fields: &[&str], mail: &str) -> String {
        let signer = DkimSigner::from_key(self.key()).domain(domain).selector("s").headers(fields.iter().copied());
        let signer = signer.header_canonicalization(Canonicalization::Relaxed);
        signer.sign(mail.as_bytes()).unwrap().to_header() + mail
    }

    pub(in crate::receive) fn signed(&self, mail: &str) -> String {
        self.signed_by("b.example", &["From", "Subject", "To"], mail)
    }

    /// Seals, as `sealer` that has found DMARC passed for b.example.
    async fn sealed(&self, sealer: &str, mail: &str) -> String {
        let message = AuthenticatedMessage::parse(mail.as_bytes()).unwrap();
        let passed = DmarcOutput::default().with_domain("b.example").with_dkim_result(DmarcResult::Pass);
        let results = AuthenticationResults::new("mx.list.example").with_dmarc_result(&passed);
        let chain = self.examiner().authenticator.verify_arc(&message).await;
        let seal = ArcSealer::from_key(self.key()).domain(sealer).selector("s").headers(["From", "Subject", "To"]);
        seal.seal(&message, &results, &chain).unwrap().to_header() + mail
    }
}

fn bob() -> Mailbox {
    Mailbox::parse("bob@b.example").unwrap()
}

async fn examined(post: &Post, mail: &str, sender: &str, client: Option<&str>) -> Examined {
    let client = client.map(|address| Client { address: address.parse().unwrap(), helo: "b.example".to_owned() });
    let mail = Bytes::copy_from_slice(mail.as_bytes());
    post.examiner().examine(Case { mail, author: bob(), sender: Mailbox::parse(sender).ok(), client }).await
}

async fn judged(post: &Post, mail: &str, sender: &str, client: Option<&str>) -> &'static str {
    let examined = examined(post, mail, sender, client).await;
    match verdict(&examined, &bob(), &[Domain::parse("list.example").unwrap()]) {
        Verdict::Found(Finding::Proven { by }) => by.word(),
        Verdict::Found(Finding::Unproven { .. }) => "unproven",
        Verdict::Found(Finding::Unknown { .. }) => "unknown",
        Verdict::Refused(_) => "refused",
    }
}

#[tokio::test]
async fn a_signature_of_the_authors_domain_proves_it() {
    let post = Post::new("v=DMARC1; p=reject").await;
    let check = async |mail: &str, expected: &str| {
        let got = judged(&post, mail, "bounce@c.example", None).await;
        assert_eq!(got, expected, "{mail}");
    };
    let signed = post.signed(MAIL);
    check(&signed, "dmarc").await;
    check(MAIL, "refused").await;
    check(&signed.replace("Yes.", "No."), "refused").await;
    check(&signed.replace("Lunch", "Money"), "refused").await;
    check(&signed.replace("Bob <", "Rob <"), "refused").await;
    // Of a domain below it, unless the policy is strict; of another; of all fields but the author.
    check(&post.signed_by("sub.b.example", &["From"], MAIL), "dmarc").await;
    check(&post.signed_by("evil.example", &["From"], MAIL), "refused").await;
    check(&post.signed_by("b.example", &["Subject", "To"], MAIL), "refused").await;
    // Behind more signatures than are examined, too.
    let many = (0..20).fold(signed, |mail, _| post.signed_by("evil.example", &["From"], &mail));
    check(&many, "dmarc").await;
    assert_eq!(examined(&post, &many, "", None).await.signatures.len(), limits::SIGNATURES);
    let strict = Post::new("v=DMARC1; p=reject; adkim=s").await;
    assert_eq!(judged(&strict, &strict.signed_by("sub.b.example", &["From"], MAIL), "", None).await, "refused");
    // A long one, whose digest is made elsewhere.
    let long = post.signed(&format!("{MAIL}{}", "x\r\n".repeat(SMALL)));
    check(&long, "dmarc").await;
    check(&long.replace("Yes.", "No."), "refused").await;
}

#[tokio::test]
async fn the_address_of_the_client_proves_it_where_the_sender_is_of_the_domain() {
    let post = Post::new("v=DMARC1; p=none").await;
    let check = async |sender: &str, client: Option<&str>, expected: &str| {
        assert_eq!(judged(&post, MAIL, sender, client).await, expected, "{sender} {client:?}");
    };
    check("x@b.example", Some("192.0.2.1"), "dmarc").await;
    check("x@b.example", Some("192.0.2.2"), "unproven").await;
    check("x@b.example", None, "unproven").await;
    check("x@evil.example", Some("192.0.2.1"), "unproven").await;
    // The null sender is that of EHLO.
    check("", Some("192.0.2.1"), "dmarc").await;
    let found = examined(&post, MAIL, "x@b.example", Some("192.0.2.2")).await;
    assert_eq!(found.spf, Some((Outcome::Fail, "b.example".to_owned())));
}

#[tokio::test]
async fn what_a_domain_asks_for() {
    let check = async |policy: &str, expected: &str| {
        assert_eq!(judged(&Post::new(policy).await, MAIL, "", None).await, expected, "{policy}");
    };
    check("v=DMARC1; p=none", "unproven").await;
    check("v=DMARC1; p=quarantine", "refused").await;
    check("v=DMARC1; p=reject", "refused").await;
    // Where it tests only, one step less (RFC 9989 §4.7).
    check("v=DMARC1; p=quarantine; t=y", "unproven").await;
    check("no record", "unproven").await;
    // Without a record a signature is not held against anything.
    let post = Post::new("no record").await;
    assert_eq!(judged(&post, &post.signed(MAIL), "", None).await, "unproven");
}

#[tokio::test]
async fn a_seal_counts_if_its_sealer_is_trusted() {
    let post = Post::new("v=DMARC1; p=reject").await;
    let check = async |mail: &str, expected: &str| assert_eq!(judged(&post, mail, "", None).await, expected, "{mail}");
    let passed_on = post.signed(MAIL).replace("Subject: ", "Subject: [list] ");
    check(&passed_on, "refused").await;
    let sealed = post.sealed("list.example", &passed_on).await;
    check(&sealed, "arc").await;
    check(&sealed.replace("Yes.", "No."), "refused").await;
    check(&sealed.replace("Bob <", "Rob <"), "refused").await;
    check(&sealed.replace("dmarc=pass", "dmarc=none"), "refused").await;
    let evil = post.sealed("evil.example", &passed_on).await;
    check(&evil, "refused").await;
    check(&post.sealed("list.example", &sealed).await, "arc").await;
    check(&post.sealed("evil.example", &sealed).await, "refused").await;
}

#[tokio::test]
async fn what_dns_cannot_say_is_no_refusal() {
    let mut post = Post::new("v=DMARC1; p=reject").await;
    let signed = post.signed(MAIL);
    let sealed = post.sealed("list.example", MAIL).await;
    for conduct in [Conduct::ServFail, Conduct::Refused, Conduct::Bogus, Conduct::Silent] {
        post.fail("s._domainkey.b.example", conduct);
        assert_eq!(judged(&post, &signed, "", None).await, "unknown", "{conduct:?}");
        // Not asked, so not missed.
        assert_eq!(judged(&post, MAIL, "", None).await, "refused", "{conduct:?}");
        // SPF may do without it.
        assert_eq!(judged(&post, &signed, "x@b.example", Some("192.0.2.1")).await, "dmarc", "{conduct:?}");
    }
    post.fail("s._domainkey.list.example", Conduct::ServFail);
    assert_eq!(judged(&post, &sealed, "", None).await, "unknown");
    post.fail("s._domainkey.b.example", Conduct::Proper);
    post.fail("_dmarc.b.example", Conduct::ServFail);
    assert_eq!(judged(&post, &signed, "", None).await, "unknown");
}

#[tokio::test]
async fn nothing_of_a_mail_makes_it_fall() {
    let post = Post::new("v=DMARC1; p=none").await;
    let bad = [
        "",
        "\r\n",
        "DKIM-Signature: \r\n\r\n",
        "DKIM-Signature: v=1; a=ed25519-sha256; d=; s=; h=; bh=; b=\r\n\r\n",
        "DKIM-Signature: v=1; a=rsa-sha1; d=b.example; s=s; h=from; bh=AAAA; b=AAAA\r\n\r\n",
        "ARC-Seal: i=51; cv=pass; d=list.example; s=s; b=AA\r\nFrom: bob@b.example\r\n\r\n",
        "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=list.example; s=s; b=AA\r\n\r\n",
    ];
    for mail in bad {
        assert_eq!(judged(&post, mail, "", None).await, "unproven", "{mail}");
    }
}
