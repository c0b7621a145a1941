use super::*;

const KINDS: [KeyKind; 5] = [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::Ed25519, KeyKind::X25519];

#[test]
fn written_and_read() {
    for kind in KINDS {
        let key = identity(kind).key().clone();
        assert_eq!(key.kind(), kind);
        let again = Key::from_pem(&key.to_pem(), None).unwrap();
        assert_eq!((again.kind(), again.spki(), again.pkcs8()), (kind, key.spki(), key.pkcs8()));
        assert_eq!(format!("{key:?}"), format!("Key({kind:?})"));
    }
}

#[test]
fn under_a_pass_phrase() {
    let key = Key::generate(KeyKind::Ed25519).unwrap();
    let text = key.to_encrypted_pem("correct horse").unwrap();
    assert_eq!(Key::from_pem(&text, Some("correct horse")).unwrap().pkcs8(), key.pkcs8());
    assert_eq!(Key::from_pem(&text, Some("wrong")).map(|_| ()), Err(Fault::PassPhrase));
    assert_eq!(Key::from_pem(&text, None).map(|_| ()), Err(Fault::NoPassPhrase));
}

#[test]
fn what_is_no_key() {
    let check =
        |text: &str, expected: Fault| assert_eq!(Key::from_pem(text, None).map(|_| ()), Err(expected), "{text}");
    check("", Fault::Key("there is none in the text"));
    check("-----BEGIN PRIVATE KEY-----\nMA==\n", Fault::Syntax("a PEM block has no end"));
    check("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", Fault::Syntax("a PEM block is not base64"));
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMA==\n-----END RSA PRIVATE KEY-----\n";
    assert!(matches!(Key::from_pem(old, None), Err(Fault::Key(reason)) if reason.contains("openssl pkcs8")));
    let certificate = identity(KeyKind::P256).certificate().to_pem();
    check(&certificate, Fault::Key("there is none in the text"));
}

#[test]
fn identities() {
    let (bob, carol) = (identity(KeyKind::P256), made(KeyKind::P256, 2, None));
    let both = vec![carol.certificate().clone(), bob.certificate().clone()];
    let found = Identity::new(bob.key().clone(), both).unwrap();
    assert_eq!(found.chain(), [bob.certificate().clone(), carol.certificate().clone()]);
    let fault = Identity::new(bob.key().clone(), vec![carol.certificate().clone()]).unwrap_err();
    assert_eq!(fault, Fault::Key("none of the certificates is its own"));
    let text = bob.key().to_pem().to_string() + &bob.certificate().to_pem();
    assert_eq!(Identity::from_pem(&text, &text, None).unwrap().certificate(), bob.certificate());
}

#[test]
fn certificates() {
    let bob = made(KeyKind::P256, 5, Some(0x80));
    let certificate = bob.certificate();
    assert_eq!((certificate.serial(), certificate.key_identifier()), (&[5][..], Some(&[7, 5][..])));
    assert_eq!(certificate.issuer(), certificate.subject());
    assert_eq!(certificate.spki(), bob.key().spki());
    assert_eq!(certificate.not_before(), Timestamp::from_secs(NOW.secs() - 86_400));
    assert_eq!(certificate.not_after(), Timestamp::from_secs(NOW.secs() + 364 * 86_400));
    assert!(certificate.may_sign() && !certificate.may_encrypt());
    assert!(certificate.parsed().is_ok());
    assert_eq!(Certificate::from_pem(&(certificate.to_pem() + &certificate.to_pem())).unwrap().len(), 2);
    assert!(Certificate::from_pem("").is_err());
    // Its own signature, as chains check it.
    let mut outer = ber::Reader::only(certificate.der(), ber::SEQUENCE).unwrap();
    let parts: Vec<_> = (0..3).map(|_| outer.next().unwrap()).collect();
    let value = parts[2].bits().unwrap();
    let key = certificate.public_key().unwrap();
    assert_eq!(check(&key, parts[1].raw, parts[0].raw, value), Ok(()));
    assert!(matches!(check(&key, parts[1].raw, parts[1].raw, value), Err(Fault::Altered(_))));
}

#[test]
fn short_rsa_keys_prove_nothing() {
    let modulus = der::element(ber::INTEGER, &[&[0], &[0xff; 128]]);
    let key = der::sequence(&[&modulus, &der::integer(65_537)]);
    let spki = der::sequence(&[&der::algorithm(oid::RSA, Some(&der::null())), &der::bit_string(&key)]);
    assert_eq!(PublicKey::from_spki(&spki), Err(Fault::Weak("RSA of fewer than 2048 bits")));
}
