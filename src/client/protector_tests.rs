use super::*;
use crate::smime::{Key, KeyKind};
use crate::tls::make::{Authority, AuthorityOptions, Leaf};

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// Somebody with a certificate of an authority of its own, in PEM.
fn somebody(address: &str) -> (Identity, String) {
    let authority = Authority::root(&AuthorityOptions::new(address, NOW)).unwrap();
    let made =
        authority.issue(&Leaf { server: false, client: false, ..Leaf::new(&[], NOW) }.with_addresses(&[address]));
    let made = made.unwrap();
    (Identity::from_pem(&made.key_pem, &made.chain_pem, None).unwrap(), authority.pem())
}

/// Bob's, who believes this authority.
fn bob(directory: &Path, authority: Option<&str>, trust_first: bool) -> Protector {
    let file = directory.join("authority.pem");
    std::fs::write(&file, authority.map_or_else(|| somebody("nobody@c.test").1, str::to_owned)).unwrap();
    let account = Account::new(mailbox("bob@b.test"));
    Protector::new(&Account { signer_authorities: Some(file), trust_first, ..account }, directory)
}

fn entity(text: &str, to: &str) -> Vec<u8> {
    format!(
        "From: <alice@a.test>\r\nTo: {to}\r\nDate: {}\r\nMessage-ID: <{text}@a.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n{text}\r\n",
        NOW.rfc5322()
    )
    .into_bytes()
}

fn signed(by: &Identity, text: &str, to: &str) -> Vec<u8> {
    protected(&entity(text, to), Some(by), &[], NOW).unwrap()
}

fn opened(protector: &Protector, entity: &[u8], sender: &str, recipients: &[&str], now: Timestamp) -> Mark {
    let recipients: Vec<Mailbox> = recipients.iter().map(|text| mailbox(text)).collect();
    open(protector, entity, &ReversePath::Mailbox(mailbox(sender)), &recipients, now).unwrap().mark
}

fn open<'a>(
    protector: &Protector,
    entity: &'a [u8],
    sender: &ReversePath,
    recipients: &[Mailbox],
    now: Timestamp,
) -> Result<Opened<'a>, KeyError> {
    Ok(protector.open(entity, protector.unseal(entity)?, None, &Arrival { sender, recipients, now }))
}

/// As one to encrypt to who has told nothing.
fn reader(certificate: &Certificate) -> Reader {
    Reader { certificate: certificate.clone(), ciphers: Vec::new() }
}

fn known(chain: &[Certificate], seen: Timestamp) -> Known {
    Known { chain: chain.to_vec(), ciphers: Vec::new(), seen }
}

const BOB: &[&str] = &["bob@b.test"];

#[test]
fn who_signs_is_who_sends() {
    let folder = tempfile::tempdir().unwrap();
    let (alice, authority) = somebody("alice@a.test");
    let bob = bob(folder.path(), Some(&authority), false);
    let check = |sender: &str, expected: Proof| {
        let mark = opened(&bob, &signed(&alice, "hello", "<bob@b.test>"), sender, BOB, NOW);
        assert_eq!(mark.proof, expected, "{sender}: {mark:?}");
    };
    check("alice@a.test", Proof::User);
    check("ALICE@a.test", Proof::User);
    check("mallory@a.test", Proof::WrongSender);
    assert_eq!(opened(&bob, &entity("plain", "<bob@b.test>"), "alice@a.test", BOB, NOW), Mark::default());
}

#[test]
fn what_is_read_is_what_was_signed() {
    let folder = tempfile::tempdir().unwrap();
    let (alice, authority) = somebody("alice@a.test");
    let bob = bob(folder.path(), Some(&authority), false);
    let sealed = String::from_utf8(signed(&alice, "hello", "<bob@b.test>")).unwrap();
    // A field that stands outside alone is nobody's.
    let more = format!("Subject: forged\r\nReply-To: mallory@c.test\r\n{sealed}");
    let sender = ReversePath::Mailbox(mailbox("alice@a.test"));
    let opened = open(&bob, more.as_bytes(), &sender, &[mailbox("bob@b.test")], NOW).unwrap();
    let text = String::from_utf8(opened.entity.into_owned()).unwrap();
    assert!(opened.mark.is_valid() && text.contains("hello") && !text.contains("mallory"), "{text}");
    assert!(!text.contains("forged") && !text.contains("BEGIN"), "{text}");
}

#[test]
fn recipients_are_those_of_the_envelope() {
    let folder = tempfile::tempdir().unwrap();
    let (alice, authority) = somebody("alice@a.test");
    let bob = bob(folder.path(), Some(&authority), false);
    let team = signed(&alice, "all", "<team@b.test>");
    assert_eq!(opened(&bob, &team, "alice@a.test", BOB, NOW).proof, Proof::Replayed);
    assert_eq!(opened(&bob, &team, "alice@a.test", &["bob@b.test", "team@b.test"], NOW).proof, Proof::User);
}

#[test]
fn what_waited_for_the_device_is_not_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let (alice, authority) = somebody("alice@a.test");
    let bob = bob(folder.path(), Some(&authority), false);
    let later = NOW.after(std::time::Duration::from_secs(10 * 86_400));
    let message = signed(&alice, "hello", "<bob@b.test>");
    assert_eq!(opened(&bob, &message, "alice@a.test", BOB, later).proof, Proof::Replayed);
    let trace = format!("Received: from x by mx.b.test with ESMTPS id 1;\r\n\t{}\r\n", NOW.rfc5322());
    let received = [trace.as_bytes(), &message].concat();
    assert_eq!(opened(&bob, &received, "alice@a.test", BOB, later).proof, Proof::User);
}

#[test]
fn the_first_certificate_is_believed_where_the_person_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (somebody("alice@a.test").0, somebody("alice@a.test").0);
    // Nobody whom bob believes has the name of her authority.
    let careful = bob(folder.path(), None, false);
    let proof = |bob: &Protector, by: &Identity| {
        opened(bob, &signed(by, "hello", "<bob@b.test>"), "alice@a.test", BOB, NOW).proof
    };
    assert_eq!(proof(&careful, &one), Proof::Untrusted);
    let trusting = bob(folder.path(), None, true);
    assert_eq!(proof(&trusting, &one), Proof::User);
    assert_eq!(proof(&trusting, &other), Proof::Untrusted);
    assert_eq!(proof(&trusting, &one), Proof::User);
    // What is kept and cannot be read was somebody's: nobody takes the place.
    let kept = folder.path().join("certificates/alice@a.test.pem");
    std::fs::write(&kept, "damaged").unwrap();
    assert_eq!(proof(&trusting, &other), Proof::Untrusted);
    assert_eq!(std::fs::read(&kept).unwrap(), b"damaged");
    std::fs::remove_file(&kept).unwrap();
    // Her domain's name is not hers.
    let (domain, _) = somebody("presence@a.test");
    assert_eq!(proof(&trusting, &domain), Proof::Untrusted);
}

#[test]
fn nobody_is_named_by_fields_that_nobody_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let (stranger, _) = somebody("alice@a.test");
    let bob = bob(folder.path(), None, false);
    let check = |entity: Vec<u8>, from: &str, expected: Proof| {
        let forged = String::from_utf8(entity).unwrap().replacen("From: <alice@a.test>", &format!("From: <{from}>"), 1);
        let opened = open(&bob, forged.as_bytes(), &ReversePath::Null, &[mailbox("bob@b.test")], NOW).unwrap();
        assert_eq!(opened.mark.proof, expected, "{:?}", opened.mark);
        assert_eq!(opened.mark.seen, None);
        match crate::client::read::read(&opened.entity, &ReversePath::Null, opened.mark.encrypted, NOW) {
            crate::client::read::Content::Message(message) => {
                assert_eq!((message.from, message.text.as_str()), (mailbox(from), "hello"));
            }
            other => panic!("{other:?}"),
        }
    };
    check(signed(&stranger, "hello", "<bob@b.test>"), "mallory@c.test", Proof::WrongSender);
    check(signed(&stranger, "hello", "<bob@b.test>"), "alice@a.test", Proof::Untrusted);
}

#[test]
fn a_damaged_key_costs_no_other_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::at(folder.path());
    let authority = Authority::root(&AuthorityOptions::new("CA", NOW)).unwrap();
    let leaf = Leaf { server: false, client: false, ..Leaf::new(&[], NOW) }.with_addresses(&["bob@b.test"]);
    let made = authority.issue(&leaf).unwrap();
    let own = Identity::from_pem(&made.key_pem, &made.chain_pem, None).unwrap();
    keys.keep(own.key()).unwrap();
    let first = renewed(&own, 1);
    keys.certify(&first).unwrap();
    let sealed = protected(&entity("secret", "<bob@b.test>"), None, &[reader(&first[0])], NOW).unwrap();
    let bob = bob(folder.path(), None, false);
    let sender = ReversePath::Mailbox(mailbox("alice@a.test"));
    let open = || open(&bob, &sealed, &sender, &[mailbox("bob@b.test")], NOW);
    std::fs::write(folder.path().join("keys/0.key"), b"\xff").unwrap();
    let opened = open().unwrap();
    assert_eq!((opened.mark.proof, opened.damaged.len()), (Proof::Unsigned, 0));
    // Its certificate is renewed: what was encrypted to the one before is still read.
    let name = keys.certify(&[somebody("bob@b.test").0.chain()[0].clone()]).unwrap();
    assert_eq!(name, None, "of another key");
    let renewed = renewed(&own, 2);
    let name = keys.certify(&renewed).unwrap().unwrap();
    assert_eq!(keys.own().map(|_| ()).is_err(), true, "the damaged one is told where keys are listed");
    assert_eq!(open().unwrap().mark.proof, Proof::Unsigned);
    std::fs::write(folder.path().join(format!("keys/{name}.key")), "no key").unwrap();
    let opened = open().unwrap();
    assert_eq!((opened.mark.proof, opened.damaged.len()), (Proof::Undecryptable, 2));
    // What the system does not give now, it may give later.
    std::fs::remove_file(folder.path().join("keys/0.key")).unwrap();
    std::fs::create_dir(folder.path().join("keys/0.key")).unwrap();
    assert!(open().is_err());
}

/// Another certificate of the same key.
fn renewed(identity: &Identity, serial: u64) -> Vec<Certificate> {
    let pair = rcgen::KeyPair::from_pem(&identity.key().to_pem()).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.serial_number = Some(serial.into());
    params.subject_alt_names = vec![rcgen::SanType::Rfc822Name("bob@b.test".try_into().unwrap())];
    vec![Certificate::from_der(params.self_signed(&pair).unwrap().der()).unwrap()]
}

#[test]
fn nobody_is_left_out_of_what_is_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let bob = bob(folder.path(), None, false);
    let to = [mailbox("alice@a.test"), mailbox("carol@c.test")];
    let asked = Protect::Asked { sign: false, encrypt: true };
    match bob.seal(&entity("x", "<alice@a.test>"), &to, asked, NOW) {
        Err(ClientError::NoCertificate { who }) => assert_eq!(who, to),
        other => panic!("{other:?}"),
    }
    let sign = Protect::Asked { sign: true, encrypt: false };
    assert!(matches!(bob.seal(b"", &to, sign, NOW), Err(ClientError::NoKey { .. })));
    assert!(bob.seal(b"", &to, Protect::Possible, NOW).unwrap().is_none());
}

#[test]
fn keys_are_files_of_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::at(folder.path());
    assert!(keys.own().unwrap().is_empty());
    let (name, request) = keys.make(&mailbox("bob@b.test"), KeyKind::P256).unwrap();
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{request}");
    let file = folder.path().join(format!("keys/{name}.key"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    let key = Key::from_pem(std::str::from_utf8(&before).unwrap(), None).unwrap();
    assert_eq!(keys.keep(&key).unwrap(), name, "the same key has the same name");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert!(keys.signer(NOW).unwrap().is_none(), "without a certificate it signs nothing");
    let (bob, _) = somebody("bob@b.test");
    assert_eq!(keys.certify(bob.chain()).unwrap(), None, "it is of another key");
    keys.keep(bob.key()).unwrap();
    assert!(keys.certify(bob.chain()).unwrap().is_some() && keys.signer(NOW).unwrap().is_some());
    std::fs::write(&file, "no key").unwrap();
    let error = keys.own().unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
}

#[test]
fn a_later_certificate_replaces_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::at(folder.path());
    let alice = mailbox("alice@a.test");
    let (one, two) = (somebody("alice@a.test").0, somebody("alice@a.test").0);
    assert!(keys.learn(&alice, &known(one.chain(), NOW)).unwrap());
    assert!(!keys.learn(&alice, &known(two.chain(), NOW.before(std::time::Duration::from_secs(1)))).unwrap());
    assert_eq!(keys.of(&alice).unwrap().unwrap().chain[0], *one.certificate());
    assert!(keys.learn(&alice, &known(two.chain(), NOW.after(std::time::Duration::from_secs(1)))).unwrap());
    assert_eq!(keys.of(&mailbox("Alice@a.test")).unwrap().unwrap().chain[0], *two.certificate());
    assert_eq!(keys.known(), ["alice@a.test"]);
}

#[test]
fn what_somebody_can_decrypt_is_learned_and_used() {
    use crate::smime::Layer;
    let folder = tempfile::tempdir().unwrap();
    let (alice, authority) = somebody("alice@a.test");
    let bob = bob(folder.path(), Some(&authority), false);
    let hers = mailbox("alice@a.test");
    let cipher_to_alice = || {
        let asked = Protect::Asked { sign: false, encrypt: true };
        let sealed =
            bob.seal(&entity("x", "<alice@a.test>"), std::slice::from_ref(&hers), asked, NOW).unwrap().unwrap();
        match crate::smime::open(&sealed.entity).unwrap() {
            Layer::Encrypted(encrypted) => encrypted.cipher(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(opened(&bob, &signed(&alice, "hello", "<bob@b.test>"), "alice@a.test", BOB, NOW).proof, Proof::User);
    assert_eq!(bob.keys.of(&hers).unwrap().unwrap().ciphers, Cipher::ALL, "what this program reads");
    assert_eq!(cipher_to_alice(), Some(Cipher::Aes256Gcm));
    // Another program of hers signs later.
    let later = NOW.after(std::time::Duration::from_secs(1));
    let known = bob.keys.of(&hers).unwrap().unwrap();
    let older = Known { ciphers: vec![Cipher::Aes256Cbc, Cipher::Aes128Cbc], seen: later, ..known.clone() };
    assert!(!bob.keys.learn(&hers, &older).unwrap(), "the certificate is not new");
    assert_eq!(bob.keys.of(&hers).unwrap().unwrap(), older);
    assert_eq!(cipher_to_alice(), Some(Cipher::Aes256Cbc));
    // Who is asked to read it too, and has said nothing, does not raise it.
    bob.publish(&mailbox("carol@c.test"), vec![somebody("carol@c.test").0.certificate().clone()]);
    assert_eq!(cipher_to_alice(), Some(Cipher::Aes256Cbc));
}

#[test]
fn what_a_domain_publishes_vouches_for_signers_and_serves_to_encrypt() {
    use crate::smime::trust::Record;
    let folder = tempfile::tempdir().unwrap();
    let (alice, _) = somebody("alice@a.test");
    let bob = bob(folder.path(), None, false);
    let whole = Record { usage: 3, selector: 0, matching: 0, data: alice.certificate().der().to_vec() };
    let published = Published { domain: mailbox("alice@a.test").domain().clone(), records: vec![whole] };
    let message = signed(&alice, "hello", "<bob@b.test>");
    let sender = ReversePath::Mailbox(mailbox("alice@a.test"));
    let recipients = [mailbox("bob@b.test")];
    let proof = |published: Option<&Published>| {
        let unsealed = bob.unseal(&message).unwrap();
        assert_eq!(unsealed.as_ref().unwrap().author(), Some(mailbox("alice@a.test")));
        let arrival = Arrival { sender: &sender, recipients: &recipients, now: NOW };
        bob.open(&message, unsealed, published, &arrival).mark.proof
    };
    assert_eq!(proof(None), Proof::Untrusted);
    // Nobody has signed yet, and her domain says what to encrypt to; a wildcard's certificate of another does not.
    let to = [mailbox("alice@a.test")];
    let asked = Protect::Asked { sign: false, encrypt: true };
    let seal = || bob.seal(&entity("x", "<alice@a.test>"), &to, asked, NOW).map(|sealed| sealed.unwrap().encrypted);
    assert_eq!(bob.lacking(&to, asked, NOW).unwrap(), to);
    assert!(
        bob.lacking(&to, Protect::Possible, NOW).unwrap().is_empty(),
        "without a key nothing is encrypted by itself"
    );
    assert!(matches!(seal(), Err(ClientError::NoCertificate { .. })));
    bob.publish(&to[0], vec![somebody("bob@b.test").0.certificate().clone()]);
    assert!(matches!(seal(), Err(ClientError::NoCertificate { .. })));
    bob.publish(&to[0], published.certificates(&to[0]));
    assert!(seal().unwrap());
    bob.publish(&to[0], Vec::new());
    assert!(matches!(seal(), Err(ClientError::NoCertificate { .. })), "it is published no more");
    assert_eq!(proof(Some(&published)), Proof::User);
    assert!(seal().unwrap(), "learned from what she signed");
}

#[test]
fn who_was_revoked_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::root(&AuthorityOptions::new("CA", NOW)).unwrap();
    let leaf = Leaf { server: false, client: false, ..Leaf::new(&[], NOW) }.with_addresses(&["alice@a.test"]);
    let made = authority.issue(&leaf).unwrap();
    let alice = Identity::from_pem(&made.key_pem, &made.chain_pem, None).unwrap();
    let (file, list) = (folder.path().join("authority.pem"), folder.path().join("list.crl"));
    std::fs::write(&file, authority.pem()).unwrap();
    let check = |revoked: &[&_], expected: Proof| {
        std::fs::write(&list, authority.revoke(revoked, NOW).unwrap()).unwrap();
        let account = Account::new(mailbox("bob@b.test"));
        let (signer_authorities, revocations) = (Some(file.clone()), vec![list.clone()]);
        let bob = Protector::new(&Account { signer_authorities, revocations, ..account }, folder.path());
        let mark = opened(&bob, &signed(&alice, "hello", "<bob@b.test>"), "alice@a.test", BOB, NOW);
        assert_eq!(mark.proof, expected, "{mark:?}");
    };
    check(&[], Proof::User);
    check(&[made.certificate()], Proof::Untrusted);
}

#[test]
fn what_waited_keeps_its_mark_when_a_newer_list_comes() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::root(&AuthorityOptions::new("CA", NOW)).unwrap();
    let leaf = Leaf { server: false, client: false, ..Leaf::new(&[], NOW) }.with_addresses(&["alice@a.test"]);
    let made = authority.issue(&leaf).unwrap();
    let alice = Identity::from_pem(&made.key_pem, &made.chain_pem, None).unwrap();
    let (file, list) = (folder.path().join("authority.pem"), folder.path().join("list.crl"));
    std::fs::write(&file, authority.pem()).unwrap();
    let days = |days: u64| NOW.after(std::time::Duration::from_secs(days * 86_400));
    let trace = format!("Received: from x by mx.b.test with ESMTPS id 1;\r\n\t{}\r\n", NOW.rfc5322());
    let received = [trace.into_bytes(), signed(&alice, "hello", "<bob@b.test>")].concat();
    let check = |revoked: &[&_], expected: Proof| {
        std::fs::write(&list, authority.revoke(revoked, days(1)).unwrap()).unwrap();
        let account = Account::new(mailbox("bob@b.test"));
        let (signer_authorities, revocations) = (Some(file.clone()), vec![list.clone()]);
        let bob = Protector::new(&Account { signer_authorities, revocations, ..account }, folder.path());
        let mark = opened(&bob, &received, "alice@a.test", BOB, days(2));
        assert_eq!(mark.proof, expected, "{mark:?}");
        let (_, mark) = bob.open_presence(&signed(&alice, "hello", "<bob@b.test>"), true, days(2));
        assert_eq!(mark.proof, expected, "a publication that lasts: {mark:?}");
    };
    check(&[], Proof::User);
    check(&[made.certificate()], Proof::Untrusted);
}
