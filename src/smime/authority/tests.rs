use super::super::trust::{Anchors, Basis, Distrust, Presented, Refusal, Trust, names_of};
use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn days(from: i64, until: i64) -> Validity {
    let at = |days: i64| Timestamp::from_secs(NOW.secs() + days * 86_400);
    Validity { from: at(from), until: at(until) }
}

fn domain() -> Domain {
    Domain::parse("a.example").unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn authority(kind: KeyKind) -> Authority {
    let key = Key::generate(kind).unwrap();
    Authority::create(&domain(), "a.example messages", key, days(-1, 3650), &serial([7; 16])).unwrap()
}

fn judge(authority: &Authority, certificate: &Certificate, author: &str, crls: Vec<Vec<u8>>) -> Result<Basis, Refusal> {
    let roots = vec![authority.certificate().clone()];
    let trust = Trust::new(&Anchors { roots, crls, ..Anchors::default() }).unwrap();
    let signer = Presented { certificate, offered: &[], lists: &[], signed_at: NOW, now: NOW };
    trust.judge(&signer, &mailbox(author), None, &[])
}

#[test]
fn every_kind_of_key_issues_for_every_kind() {
    for above in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::Ed25519] {
        let authority = authority(above);
        for below in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
            let key = Key::generate(below).unwrap();
            let request = Request::make(&key, &mailbox("alice@a.example")).unwrap();
            let request = Request::read(&request).unwrap();
            assert_eq!(request.spki, key.spki());
            let address = mailbox("alice@a.example");
            let issued = authority.issue(&domain(), &address, &request.spki, days(-1, 365), &serial([9; 16])).unwrap();
            let basis = judge(&authority, &issued, "alice@a.example", Vec::new());
            assert_eq!(basis, Ok(Basis::Root("a.example messages".to_owned())), "{above:?} {below:?}");
        }
    }
}

#[test]
fn names_of_every_form() {
    let authority = authority(KeyKind::P256);
    let key = Key::generate(KeyKind::P256).unwrap();
    let long = format!("{}@a.example", "x".repeat(64));
    for address in ["alice@a.example", "алиса@a.example", "\"al ice%\"@a.example", "presence@a.example", &long] {
        let mailbox = mailbox(address);
        let issued = authority.issue(&domain(), &mailbox, key.spki(), days(-1, 1), &serial([9; 16])).unwrap();
        let names = names_of(&issued).unwrap();
        assert_eq!(names.mailboxes().collect::<Vec<_>>(), [&mailbox, &mailbox], "the address, and its URI");
        assert!(judge(&authority, &issued, address, Vec::new()).is_ok(), "{address}");
    }
}

#[test]
fn an_authority_keeps_to_its_domain() {
    let authority = authority(KeyKind::P256);
    let key = Key::generate(KeyKind::P256).unwrap();
    let elsewhere = mailbox("alice@b.example");
    let refused = authority.issue(&domain(), &elsewhere, key.spki(), days(-1, 1), &serial([9; 16]));
    assert!(matches!(refused, Err(Fault::Certificate(_))));
    // One that does it all the same is not believed: its own certificate says so.
    let other = Domain::parse("b.example").unwrap();
    let issued = authority.issue(&other, &elsewhere, key.spki(), days(-1, 1), &serial([9; 16])).unwrap();
    let got = judge(&authority, &issued, "alice@b.example", Vec::new());
    assert_eq!(got, Err(Refusal::Distrust(Distrust::Constrained)));
}

#[test]
fn nothing_outlives_the_authority() {
    let authority = authority(KeyKind::P256);
    let key = Key::generate(KeyKind::P256).unwrap();
    let issued =
        authority.issue(&domain(), &mailbox("x@a.example"), key.spki(), days(0, 9000), &serial([9; 16])).unwrap();
    assert_eq!(issued.not_after(), authority.certificate().not_after());
}

#[test]
fn revocation_lists() {
    let authority = authority(KeyKind::P256);
    let key = Key::generate(KeyKind::P256).unwrap();
    let address = mailbox("alice@a.example");
    let issued = authority.issue(&domain(), &address, key.spki(), days(-1, 365), &serial([9; 16])).unwrap();
    let empty = authority.revocation_list(&[], days(0, 30), 1).unwrap();
    assert!(judge(&authority, &issued, "alice@a.example", vec![empty.clone()]).is_ok());
    let revoked = [Revoked { serial: issued.serial().to_vec(), at: NOW }];
    let list = authority.revocation_list(&revoked, days(0, 30), 300).unwrap();
    let pem = revocation_list_pem(&list);
    let refused = Err(Refusal::Distrust(Distrust::Revoked));
    assert_eq!(judge(&authority, &issued, "alice@a.example", vec![list.clone()]), refused);
    assert_eq!(judge(&authority, &issued, "alice@a.example", vec![pem.clone().into_bytes()]), refused);
    for octets in [list.as_slice(), pem.as_bytes()] {
        let read = RevocationList::read(octets).unwrap();
        assert_eq!((read.revoked.as_slice(), read.number), (&revoked[..], 300));
        assert_eq!((read.this_update, read.next_update), (NOW, Some(days(0, 30).until)));
    }
    let read = RevocationList::read(&empty).unwrap();
    assert_eq!((read.revoked.len(), read.number), (0, 1));
    for length in 0..list.len() {
        let _ = RevocationList::read(&list[..length]);
    }
}

#[test]
fn requests_that_prove_nothing() {
    let key = Key::generate(KeyKind::P256).unwrap();
    let request = Request::make(&key, &mailbox("alice@a.example")).unwrap();
    assert!(Request::read(pem::write("CERTIFICATE REQUEST", &request).as_bytes()).is_ok());
    for at in 0..request.len() {
        let mut altered = request.clone();
        altered[at] ^= 1;
        if let Ok(read) = Request::read(&altered) {
            assert_eq!(read.spki, key.spki(), "octet {at}");
        }
        assert!(Request::read(&request[..at]).is_err());
    }
}

#[test]
fn the_key_is_opened_with_its_pass_phrase() {
    let authority = authority(KeyKind::P256);
    let pem = authority.key_pem("correct horse").unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(Key::from_pem(&pem, Some("wrong")).is_err());
    let key = Key::from_pem(&pem, Some("correct horse")).unwrap();
    assert!(Authority::open(authority.certificate().clone(), key).is_ok());
    let other = Key::generate(KeyKind::P256).unwrap();
    assert!(matches!(Authority::open(authority.certificate().clone(), other), Err(Fault::Key(_))));
}

#[test]
fn serial_numbers() {
    for octet in [0, 0x7f, 0x80, 0xff] {
        let number = serial([octet; 16]);
        assert!(number.len() == 16 && (0x40..0x80).contains(&number[0]));
    }
}
