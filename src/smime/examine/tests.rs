use super::super::trust::tests::pki::{self, Made, NOW};
use super::super::trust::{Anchors, DOMAIN_LOCAL_PART};
use super::super::verdict::Expiry;
use super::super::{Cipher, EncryptOptions, Form, KeyTransport, SignOptions, encrypt, sign};
use super::*;
use crate::address::Domain;

struct World {
    root: Made,
    alice: Identity,
    bob: Identity,
    trust: Trust,
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn world() -> World {
    let root = pki::root(pki::authority("Root"));
    let alice = root.issue(pki::person("alice@a.example")).identity(&[]);
    let bob = root.issue(pki::person("bob@b.example")).identity(&[]);
    let roots = vec![root.certificate.clone()];
    let trust = Trust::new(&Anchors { roots, ..Anchors::default() }).unwrap();
    World { root, alice, bob, trust }
}

impl World {
    fn judge(&self, entity: &[u8], now: Timestamp, recipients: &[&str]) -> Verdict {
        let recipients: Vec<Mailbox> = recipients.iter().map(|text| mailbox(text)).collect();
        let circumstances = Circumstances {
            now,
            accepted: now,
            recipients: &recipients,
            trust: &self.trust,
            published: None,
            pins: &[],
        };
        examine(entity, std::slice::from_ref(&self.bob), &[]).judge(&circumstances)
    }

    fn bobs(&self, entity: &[u8]) -> Verdict {
        self.judge(entity, NOW, &["bob@b.example"])
    }

    fn encrypted(&self, part: &[u8]) -> Vec<u8> {
        let options = EncryptOptions { cipher: Cipher::Aes256Gcm, transport: KeyTransport::default() };
        encrypt(part, std::slice::from_ref(self.bob.certificate()), &options).unwrap()
    }
}

fn message(from: &str, to: &str, date: Timestamp, more: &str) -> String {
    format!(
        "From: {from}\r\nTo: {to}\r\nDate: {}\r\nMessage-ID: <1@a.example>\r\n{more}MIME-Version: 1.0\r\n\
         Content-Type: text/plain\r\n\r\nHello\r\n",
        date.rfc5322()
    )
}

fn hello() -> String {
    message("alice@a.example", "bob@b.example", NOW, "")
}

fn signed_part(part: &[u8], identity: &Identity) -> Vec<u8> {
    sign(part, identity, &SignOptions::new(NOW)).unwrap()
}

fn signed(message: &str, identity: &Identity) -> Vec<u8> {
    let prepared = protect::prepare(message.as_bytes(), false).unwrap();
    prepared.message(&signed_part(prepared.payload(), identity))
}

fn changed(entity: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(entity.to_vec()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn signed_by_its_author() {
    let world = world();
    let entity = signed(&hello(), &world.alice);
    let verdict = world.bobs(&entity);
    assert_eq!(verdict.finding, Finding::ValidUser(mailbox("alice@a.example")));
    assert_eq!((verdict.scheme, verdict.replay_protected, verdict.encrypted), (Scheme::Clear, true, false));
    assert_eq!(verdict.basis, Some(Basis::Root("Root".to_owned())));
    let examined = examine(&entity, &[], &[]);
    assert!(examined.is_protected() && !examined.is_encrypted());
    assert_eq!(examined.author(), Some(mailbox("alice@a.example")));
    assert!(examined.payload().ends_with(b"\r\n\r\nHello\r\n"));
}

#[test]
fn opaque_too() {
    let world = world();
    let prepared = protect::prepare(hello().as_bytes(), false).unwrap();
    let options = SignOptions { form: Form::Opaque, ..SignOptions::new(NOW) };
    let entity = prepared.message(&sign(prepared.payload(), &world.alice, &options).unwrap());
    assert!(world.bobs(&entity).is_valid());
}

#[test]
fn altered_in_any_octet_of_the_signed_part() {
    let world = world();
    let entity = signed(&hello(), &world.alice);
    let text = String::from_utf8(entity.clone()).unwrap();
    let start = text.find("\r\n--").unwrap();
    let start = start + text[start + 2..].find("\r\n").unwrap() + 4;
    let end = text.find("Hello").unwrap() + 5;
    for at in start..end {
        let mut altered = entity.clone();
        altered[at] ^= 1;
        let verdict = world.bobs(&altered);
        assert!(!verdict.is_valid(), "octet {at}: {verdict}");
    }
    let verdict = world.bobs(&changed(&entity, "Hello", "Hallo"));
    assert!(matches!(verdict.finding, Finding::Altered(Alteration::Content(_))), "{verdict}");
}

#[test]
fn fields_outside_that_contradict() {
    let world = world();
    let entity = signed(&hello(), &world.alice);
    let check = |from: &str, to: &str, expected: Finding| {
        let verdict = world.bobs(&changed(&entity, from, to));
        assert_eq!(verdict.finding, expected);
        assert!(verdict.must_be_refused());
    };
    let wrong = Finding::WrongSender(Mismatch::Contradiction(Contradiction::From));
    check("From: alice@a.example", "From: mallory@b.example", wrong);
    check("To: bob@b.example", "To: carol@a.example", Finding::Altered(Alteration::Field(Contradiction::To)));
    let presence = Finding::Altered(Alteration::Field(Contradiction::Presence));
    check("Date:", "Presence: publish; id=1\r\nDate:", presence);
    let trace = changed(&entity, "From:", "Received: from x by y; today\r\nList-Id: <x>\r\nFrom:");
    assert!(world.bobs(&trace).is_valid(), "what is added on the way does no harm");
}

#[test]
fn somebody_else_signed() {
    let world = world();
    let finding = |identity: &Identity, from: &str| {
        world.bobs(&signed(&message(from, "bob@b.example", NOW, ""), identity)).finding
    };
    assert_eq!(
        finding(&world.bob, "alice@a.example"),
        Finding::WrongSender(Mismatch::Other { named: "bob@b.example".into(), from: mailbox("alice@a.example") })
    );
    assert_eq!(finding(&world.alice, "alice@a.example, bob@b.example"), Finding::WrongSender(Mismatch::SeveralAuthors));
    let mut nameless = pki::person("alice@a.example");
    nameless.subject_alt_names.clear();
    let nameless = world.root.issue(nameless).identity(&[]);
    assert_eq!(finding(&nameless, "alice@a.example"), Finding::WrongSender(Mismatch::NoName));
    let stranger = pki::root(pki::authority("Mallory's")).issue(pki::person("alice@a.example")).identity(&[]);
    assert_eq!(finding(&stranger, "alice@a.example"), Finding::Untrusted(Distrust::NoChain));
}

#[test]
fn the_domain_signed() {
    let world = world();
    let own = format!("{DOMAIN_LOCAL_PART}@a.example");
    let domain = world.root.issue(pki::person(&own)).identity(&[]);
    let a = Domain::parse("a.example").unwrap();
    for from in ["alice@a.example", own.as_str(), "Presence@a.example"] {
        let verdict = world.bobs(&signed(&message(from, "bob@b.example", NOW, ""), &domain));
        assert_eq!(verdict.finding, Finding::ValidDomain(a.clone()));
    }
    let verdict = world.bobs(&signed(&message("bob@b.example", "bob@b.example", NOW, ""), &domain));
    assert!(matches!(verdict.finding, Finding::WrongSender(_)), "of another domain: {verdict}");
}

#[test]
fn windows() {
    let world = world();
    let at = |seconds: i64| {
        let date = Timestamp::from_secs(NOW.secs() + seconds);
        world.bobs(&signed(&message("alice@a.example", "bob@b.example", date, ""), &world.alice)).finding
    };
    assert!(matches!(at(-7 * 86_400), Finding::ValidUser(_)));
    assert_eq!(at(-7 * 86_400 - 1), Finding::Replayed(Replay::TooOld));
    assert!(matches!(at(600), Finding::ValidUser(_)));
    assert_eq!(at(601), Finding::Replayed(Replay::Ahead));
}

#[test]
fn expiry_counts_at_the_time_of_signing() {
    let world = world();
    let mut params = pki::person("alice@a.example");
    pki::days(&mut params, -30, -1);
    let alice = world.root.issue(params).identity(&[]);
    let at = |days: i64| {
        let date = Timestamp::from_secs(NOW.secs() + days * 86_400);
        world.bobs(&signed(&message("alice@a.example", "bob@b.example", date, ""), &alice)).finding
    };
    assert!(matches!(at(-2), Finding::ValidUser(_)));
    assert!(matches!(at(0), Finding::Expired(Expiry::Over(_))));
}

#[test]
fn written_to_others() {
    let world = world();
    let to =
        |to: &str, more: &str| world.bobs(&signed(&message("alice@a.example", to, NOW, more), &world.alice)).finding;
    assert!(matches!(to("carol@a.example, Bob <BOB@b.example>", ""), Finding::ValidUser(_)));
    assert!(matches!(to("carol@a.example", "Cc: bob@b.example\r\n"), Finding::ValidUser(_)));
    assert!(matches!(to("friends: carol@a.example, bob@b.example;", ""), Finding::ValidUser(_)));
    let others = Finding::Replayed(Replay::NotForRecipient(mailbox("bob@b.example")));
    assert_eq!(to("carol@a.example", ""), others);
    assert_eq!(to("undisclosed-recipients:;", ""), others);
    assert!(matches!(to("watchers:;", "Presence: notify; seq=1; event=presence\r\n"), Finding::ValidUser(_)));
    assert_eq!(to("watchers:;", "Presence: publish; id=1\r\n"), others);
    let entity = signed(&message("alice@a.example", "carol@a.example", NOW, ""), &world.alice);
    assert!(world.judge(&entity, NOW, &["bob@b.example", "carol@a.example"]).is_valid(), "reached by an alias");
    assert!(world.judge(&entity, NOW, &[]).is_valid(), "not asked");
}

#[test]
fn a_report_names_nobody() {
    let world = world();
    let report = format!(
        "From: postmaster@a.example\r\nTo: sender:;\r\nDate: {}\r\nMessage-ID: <1@a.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\nfailed\r\n--x--\r\n",
        NOW.rfc5322()
    );
    let domain = world.root.issue(pki::person("presence@a.example")).identity(&[]);
    let verdict = world.bobs(&signed(&report, &domain));
    assert!(matches!(verdict.finding, Finding::ValidDomain(_)), "{verdict}");
}

#[test]
fn without_protected_fields() {
    let world = world();
    let part = b"Content-Type: text/plain\r\n\r\nHello\r\n";
    let inner = signed_part(part, &world.alice);
    let bare = |from: &str| {
        let head = format!("From: {from}\r\nTo: carol@a.example\r\nMIME-Version: 1.0\r\n");
        world.bobs(&[head.as_bytes(), &inner].concat())
    };
    let verdict = bare("alice@a.example");
    assert!(verdict.is_valid() && !verdict.replay_protected);
    assert_eq!(verdict.scheme, Scheme::Unprotected);
    assert!(verdict.to_string().contains("the text only"));
    assert!(matches!(bare("mallory@b.example").finding, Finding::WrongSender(_)));
}

#[test]
fn the_older_wrapping() {
    let world = world();
    let wrapped = format!("Content-Type: message/rfc822\r\n\r\n{}", hello());
    let inner = signed_part(wrapped.as_bytes(), &world.alice);
    let entity = [&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &inner].concat();
    let verdict = world.bobs(&entity);
    assert_eq!((verdict.is_valid(), verdict.scheme), (true, Scheme::Wrapped));
    // Passed on by somebody else: alice's signature says nothing for mallory, bob's own says nothing for alice.
    let verdict = world.bobs(&changed(&entity, "From: alice@a.example", "From: mallory@b.example"));
    assert!(matches!(verdict.finding, Finding::WrongSender(Mismatch::Other { .. })), "{verdict}");
    let by_bob = signed_part(wrapped.as_bytes(), &world.bob);
    let verdict = world.bobs(&[&b"From: bob@b.example\r\nMIME-Version: 1.0\r\n"[..], &by_bob].concat());
    assert_eq!(verdict.finding, Finding::ValidUser(mailbox("bob@b.example")));
    assert_eq!(verdict.scheme, Scheme::Unprotected);
    let examined = examine(&entity, &[], &[]);
    assert_eq!(examined.protected().unwrap().body, hello().as_bytes());
}

#[test]
fn signed_and_encrypted() {
    let world = world();
    let text = message("alice@a.example", "bob@b.example", NOW, "Subject: secret\r\n");
    let prepared = protect::prepare(text.as_bytes(), true).unwrap();
    let entity = prepared.message(&world.encrypted(&signed_part(prepared.payload(), &world.alice)));
    assert!(!String::from_utf8_lossy(&entity).contains("secret"));
    let verdict = world.bobs(&entity);
    assert_eq!((verdict.is_valid(), verdict.encrypted, verdict.scheme), (true, true, Scheme::Cipher));
    let examined = examine(&entity, std::slice::from_ref(&world.bob), &[]);
    let protected = examined.protected().unwrap();
    assert_eq!(protected.field("Subject").unwrap(), Some(&b" secret"[..]));
    // Somebody else, and a server, see that it is encrypted.
    let blind = examine(&entity, std::slice::from_ref(&world.alice), &[]);
    let trust = &world.trust;
    let circumstances = Circumstances { now: NOW, accepted: NOW, recipients: &[], trust, published: None, pins: &[] };
    let verdict = blind.judge(&circumstances);
    assert!(matches!(verdict.finding, Finding::Undecryptable(_)));
    assert!(blind.seen_key(&mailbox("bob@b.example"), None, &verdict).is_some());
}

#[test]
fn what_waited_is_judged_by_the_lists_of_today() {
    let world = world();
    let entity = protect::prepare(hello().as_bytes(), false).unwrap();
    let entity = entity.message(&signed_part(entity.payload(), &world.alice));
    let finding = |revoked: &[&Certificate], accepted: u64, now: u64| {
        // The list is of the second day.
        let (roots, crls) = (vec![world.root.certificate.clone()], vec![world.root.list(revoked, 2, 30)]);
        let trust = Trust::new(&Anchors { roots, crls, ..Anchors::default() }).unwrap();
        let day = |day| NOW.after(std::time::Duration::from_secs(day * 86_400));
        let (now, accepted, trust) = (day(now), day(accepted), &trust);
        let circumstances = Circumstances { now, accepted, recipients: &[], trust, published: None, pins: &[] };
        examine(&entity, &[], &[]).judge(&circumstances).finding
    };
    let valid = Finding::ValidUser(mailbox("alice@a.example"));
    assert_eq!(finding(&[], 1, 3), valid);
    assert_eq!(finding(&[], 1, 20), valid);
    assert!(matches!(finding(&[], 20, 20), Finding::Replayed(_)));
    assert_eq!(finding(&[world.alice.certificate()], 1, 3), Finding::Untrusted(Distrust::Revoked));
}

#[test]
fn encrypted_by_nobody() {
    let world = world();
    let prepared = protect::prepare(hello().as_bytes(), true).unwrap();
    let entity = prepared.message(&world.encrypted(prepared.payload()));
    assert_eq!(world.bobs(&entity).finding, Finding::Unsigned(Absence::EncryptedOnly));
    // Whoever signs what others encrypted has not signed the text.
    let again = signed_part(&world.encrypted(b"Content-Type: text/plain\r\n\r\nof somebody else\r\n"), &world.alice);
    let entity = [&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &again].concat();
    assert_eq!(world.bobs(&entity).finding, Finding::Unsigned(Absence::EncryptedOnly));
}

#[test]
fn presence_is_encrypted_inside_the_signature() {
    let world = world();
    let body = world.encrypted(b"Content-Type: application/pidf+xml\r\n\r\n<presence/>\r\n");
    let head = format!(
        "From: alice@a.example\r\nTo: bob@b.example\r\nDate: {}\r\nMessage-ID: <2@a.example>\r\n\
         Presence: publish; id=1\r\nMIME-Version: 1.0\r\n",
        NOW.rfc5322()
    );
    let entity = signed(&String::from_utf8([head.as_bytes(), &body].concat()).unwrap(), &world.alice);
    let verdict = world.bobs(&entity);
    assert!(verdict.is_valid(), "{verdict}");
    let blind = examine(&entity, &[], &[]);
    assert_eq!(blind.protected().unwrap().presence().unwrap(), "publish; id=1", "servers can act");
}

#[test]
fn only_the_protected_part_is_protected() {
    let world = world();
    let inner = signed(&hello(), &world.alice);
    let mixed = |head: &str| {
        let head = format!(
            "{head}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=zz\r\n\r\n--zz\r\n\r\nPay mallory.\r\n--zz\r\n"
        );
        [head.as_bytes(), &inner, b"\r\n--zz--\r\n"].concat()
    };
    let verdict = world.bobs(&mixed("From: alice@a.example\r\nTo: bob@b.example\r\n"));
    assert_eq!(verdict.finding, Finding::Unsigned(Absence::PartOnly));
    // An encrypted part between others: nothing is decrypted and shown with them (EFAIL).
    let secret = world.encrypted(b"Content-Type: text/html\r\n\r\nsecret\r\n");
    let html =
        b"From: mallory@b.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=zz\r\n\r\n--zz\r\n\
        Content-Type: text/html\r\n\r\n<img src=\"http://mallory.example/\r\n--zz\r\n";
    let entity = [&html[..], &secret, b"\r\n--zz\r\nContent-Type: text/html\r\n\r\n\">\r\n--zz--\r\n"].concat();
    let examined = examine(&entity, std::slice::from_ref(&world.bob), &[]);
    assert!(!examined.is_encrypted() && !examined.is_protected());
    assert!(!String::from_utf8_lossy(examined.payload()).contains("secret"));
    assert_eq!(world.bobs(&entity).finding, Finding::Unsigned(Absence::PartOnly));
    assert_eq!(world.bobs(hello().as_bytes()).finding, Finding::Unsigned(Absence::Plain));
}

#[test]
fn hp_without_a_layer_protects_nothing() {
    let world = world();
    let entity = hello().replace("text/plain", "text/plain; hp=\"clear\"");
    let verdict = world.bobs(entity.as_bytes());
    assert_eq!((verdict.scheme, verdict.finding), (Scheme::Unprotected, Finding::Unsigned(Absence::Plain)));
}

#[test]
fn layers_have_a_bound() {
    let world = world();
    let mut part = b"Content-Type: text/plain\r\n\r\nHello\r\n".to_vec();
    for _ in 0..=limits::SMIME_DEPTH {
        part = signed_part(&part, &world.alice);
    }
    let entity = [&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &part].concat();
    let examined = examine(&entity, &[], &[]);
    assert_eq!(examined.fault, Some(Fault::TooDeep));
}

#[test]
fn keys_of_the_seen_set() {
    let world = world();
    let entity = signed(&hello(), &world.alice);
    let key_of = |entity: &[u8], recipient: &str, sender: &str| {
        let examined = examine(entity, &[], &[]);
        let sender = Mailbox::parse(sender).ok();
        examined.seen_key(&mailbox(recipient), sender.as_ref(), &world.judge(entity, NOW, &[]))
    };
    let key = |entity: &[u8], recipient: &str| key_of(entity, recipient, "alice@a.example");
    let own = key(&entity, "bob@b.example");
    assert!(own.is_some());
    let trace = changed(&entity, "From:", "Received: from x by y; today\r\nFrom:");
    assert_eq!(key(&trace, "BOB@b.example"), own, "what is added on the way makes no other message");
    assert_ne!(key(&entity, "carol@a.example"), own);
    assert_eq!(key(&signed(&hello(), &world.bob), "bob@b.example"), None, "not alice's");
    let bobs = signed(&hello().replace("alice@a.example", "bob@b.example"), &world.bob);
    assert!(key(&bobs, "bob@b.example").is_some_and(|key| Some(key) != own));
    assert_eq!(key(hello().as_bytes(), "bob@b.example"), None);
    // Signed once more by the same author: the same content is the same message.
    assert_eq!(key(&signed(&hello(), &world.alice), "bob@b.example"), own);
    // Somebody else's certificate for her name takes no place.
    let stranger = pki::root(pki::authority("Mallory's")).issue(pki::person("alice@a.example")).identity(&[]);
    assert_eq!(key(&signed(&hello(), &stranger), "bob@b.example"), None);
    // The same words said twice, where nothing signed tells one from the other, are two messages.
    let said = |at: Timestamp| {
        let options = SignOptions::new(at);
        let part = sign(b"Content-Type: text/plain\r\n\r\nyes\r\n", &world.alice, &options).unwrap();
        [&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &part].concat()
    };
    let (one, other) = (said(NOW), said(NOW.before(std::time::Duration::from_secs(60))));
    assert!(key(&one, "bob@b.example").is_some());
    assert_eq!(key(&one, "bob@b.example"), key(&one, "bob@b.example"));
    assert_ne!(key(&one, "bob@b.example"), key(&other, "bob@b.example"));
    // What is encrypted is another message from another sender.
    let blind = [
        b"From: alice@a.example\r\nMIME-Version: 1.0\r\n".to_vec(),
        encrypt(
            b"Content-Type: text/plain\r\n\r\nx",
            std::slice::from_ref(world.alice.certificate()),
            &EncryptOptions::default(),
        )
        .unwrap(),
    ]
    .concat();
    let alices = key_of(&blind, "bob@b.example", "alice@a.example");
    assert!(alices.is_some());
    assert_eq!(key_of(&blind, "bob@b.example", ""), alices, "From where the sender is null");
    assert_ne!(key_of(&blind, "bob@b.example", "mallory@b.example"), alices);
}

#[test]
fn fields_that_contradict_belong_to_nobody() {
    let world = world();
    let contradiction = Finding::WrongSender(Mismatch::Contradiction(Contradiction::From));
    let from_mallory = |entity: &[u8]| {
        let forged = changed(entity, "From: alice@a.example", "From: mallory@b.example");
        assert_eq!(world.bobs(&forged).finding, contradiction);
        assert_eq!(examine(&forged, &[], &[]).outer_author(), Some(mailbox("mallory@b.example")));
    };
    let prepared = protect::prepare(hello().as_bytes(), true).unwrap();
    from_mallory(&prepared.message(&world.encrypted(prepared.payload())));
    from_mallory(&signed(&hello(), &world.alice));
    // Right or wrong, whoever signed.
    from_mallory(&changed(&signed(&hello(), &world.alice), "\r\nHello\r\n", "\r\nHallo\r\n"));
}

#[test]
fn a_signature_around_what_cannot_be_read_proves_nothing() {
    let world = world();
    let secret = encrypt(
        b"Content-Type: text/plain\r\n\r\nx",
        std::slice::from_ref(world.alice.certificate()),
        &EncryptOptions::default(),
    );
    let around = signed_part(&secret.unwrap(), &world.alice);
    let entity = [&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &around].concat();
    let verdict = world.bobs(&entity);
    assert!(matches!(verdict.finding, Finding::Undecryptable(_)), "{verdict}");
    assert!(examine(&entity, &[], &[]).signers().is_empty());
    let damaged = b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=x\r\n\r\nMAA\r\n";
    let entity = [&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &signed_part(damaged, &world.alice)].concat();
    let verdict = world.bobs(&entity);
    assert!(!verdict.is_valid(), "{verdict}");
}

#[test]
fn where_no_date_is_signed_the_time_of_the_signature_counts() {
    let world = world();
    let at = |seconds: i64| {
        let options = SignOptions::new(Timestamp::from_secs(NOW.secs() + seconds));
        let part = sign(b"Content-Type: text/plain\r\n\r\nyes\r\n", &world.alice, &options).unwrap();
        world.bobs(&[&b"From: alice@a.example\r\nMIME-Version: 1.0\r\n"[..], &part].concat())
    };
    assert!(at(0).is_valid() && at(0).timed && !at(0).replay_protected);
    assert!(at(-7 * 86_400).is_valid() && at(600).is_valid());
    assert_eq!(at(-7 * 86_400 - 1).finding, Finding::Replayed(Replay::TooOld));
    assert_eq!(at(601).finding, Finding::Replayed(Replay::Ahead));
}

#[test]
fn damaged_structures_are_findings() {
    let world = world();
    let entity = signed(&hello(), &world.alice);
    for length in (0..entity.len()).step_by(7) {
        assert!(!world.bobs(&entity[..length]).is_valid(), "cut at {length}");
    }
    let prepared = protect::prepare(hello().as_bytes(), true).unwrap();
    let secret = prepared.message(&world.encrypted(&signed_part(prepared.payload(), &world.alice)));
    let start = String::from_utf8_lossy(&secret).find("\r\n\r\n").unwrap() + 4;
    for at in (start..secret.len()).step_by(11) {
        let mut altered = secret.clone();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        // What names a recipient is not part of what is protected: the text is, whatever becomes of the rest.
        let examined = examine(&altered, std::slice::from_ref(&world.bob), &[]);
        assert!(!world.bobs(&altered).is_valid() || examined.payload() == prepared.payload(), "octet {at}");
    }
}

/// The messages of RFC 9788's appendix C: Alice's to Bob, with the keys of RFC 9216.
mod published {
    use super::*;

    fn golden(name: &str) -> String {
        let path = format!("{}/tests/golden/smime/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn check(name: &str, at: &str, scheme: Scheme, subject: &str) -> Verdict {
        let bob =
            Identity::from_pem(&golden("rfc9216-bob-encrypt.key.pem"), &golden("rfc9216-bob-encrypt.crt.pem"), None);
        let roots = Certificate::from_pem(&golden("rfc9216-rsa-ca.crt.pem")).unwrap();
        let trust = Trust::new(&Anchors { roots, ..Anchors::default() }).unwrap();
        let entity = golden(&format!("rfc9788-{name}.eml")).replace('\n', "\r\n");
        let examined = examine(entity.as_bytes(), &[bob.unwrap()], &[]);
        let circumstances = Circumstances {
            now: mime::date(at.as_bytes()).unwrap(),
            accepted: mime::date(at.as_bytes()).unwrap(),
            recipients: &[mailbox("bob@smime.example")],
            trust: &trust,
            published: None,
            pins: &[],
        };
        let verdict = examined.judge(&circumstances);
        assert_eq!(verdict.finding, Finding::ValidUser(mailbox("alice@smime.example")), "{name}");
        assert_eq!(verdict.scheme, scheme, "{name}");
        if scheme != Scheme::Unprotected {
            let protected = examined.protected().unwrap();
            assert_eq!(mime::unfold(protected.field("Subject").unwrap().unwrap()), subject, "{name}");
        }
        verdict
    }

    const DAY: &str = "Sat, 20 Feb 2021 18:00:00 -0500";

    #[test]
    fn signed() {
        for (name, subject) in [("c.2.1", "smime-one-part-hp"), ("c.2.2", "smime-multipart-hp")] {
            let verdict = check(name, DAY, Scheme::Clear, subject);
            assert!(verdict.replay_protected && !verdict.encrypted);
        }
    }

    #[test]
    fn without_header_protection() {
        for name in ["opaque", "multipart", "complex"] {
            assert!(!check(name, DAY, Scheme::Unprotected, "").replay_protected);
        }
        assert!(check("encrypted", DAY, Scheme::Unprotected, "").encrypted);
    }

    #[test]
    fn wrapped() {
        check("c.2.5", DAY, Scheme::Wrapped, "smime-one-part-complex-rfc8551hp");
        check("c.2.6", DAY, Scheme::Wrapped, "smime-multipart-complex-rfc8551hp");
        check("c.3.17", DAY, Scheme::Wrapped, "smime-enc-signed-complex-rfc8551hp-baseline");
    }

    #[test]
    fn encrypted() {
        assert!(check("hp-encrypted", DAY, Scheme::Cipher, "smime-signed-enc-hp-baseline").encrypted);
        assert!(check("c.3.3", DAY, Scheme::Cipher, "smime-signed-enc-hp-shy").encrypted);
    }
}
