use super::*;

/// The messages of RFC 9788's appendix, signed by Alice of RFC 9216 or encrypted to Bob.
fn message(name: &str) -> Vec<u8> {
    golden(&format!("rfc9788-{name}.eml")).replace('\n', "\r\n").into_bytes()
}

#[test]
fn signed_messages() {
    let alice = published("alice-sign");
    for name in ["multipart", "opaque", "complex"] {
        let entity = message(name);
        let found = unwrap(&entity, &[], &[]).unwrap();
        let [Seen::Signed { signers: Ok(signers), .. }] = &found.layers[..] else { panic!("{name}: {found:?}") };
        assert_eq!((signers.len(), &signers[0].certificate), (1, alice.certificate()), "{name}");
        assert!(signers[0].signing_time.is_some() && !signers[0].others.is_empty());
        assert!(found.content.starts_with(b"MIME-Version: 1.0\r\n"), "{name}");
    }
}

#[test]
fn encrypted_messages() {
    let (alice, bob) = (published("alice-encrypt"), published("bob-encrypt"));
    for name in ["encrypted", "hp-encrypted"] {
        for reader in [&alice, &bob] {
            let found = unwrap(&message(name), std::slice::from_ref(reader), &[]).unwrap();
            let [Seen::Encrypted { cipher: Some(_) }, Seen::Signed { signers: Ok(signers), .. }] = &found.layers[..]
            else {
                panic!("{name}: {found:?}")
            };
            assert_eq!(signers[0].certificate, *published("alice-sign").certificate());
        }
        let fault = unwrap(&message(name), &[published("carlos-encrypt")], &[]).map(|_| ()).unwrap_err();
        assert_eq!(fault, Fault::NotForUs);
    }
}

#[test]
fn keys_and_certificates() {
    for (name, kind) in [
        ("alice-sign", KeyKind::Rsa),
        ("bob-encrypt", KeyKind::Rsa),
        ("carlos-sign", KeyKind::Ed25519),
        ("carlos-encrypt", KeyKind::X25519),
        ("dana-encrypt", KeyKind::X25519),
    ] {
        let identity = published(name);
        assert_eq!(identity.key().kind(), kind);
        assert_eq!(identity.certificate().may_encrypt(), name.ends_with("encrypt"), "{name}");
        assert!(identity.certificate().parsed().is_ok());
        let part = b"\r\nhello\r\n";
        if identity.certificate().may_encrypt() {
            let entity = encrypt(part, &[identity.certificate().clone()], &EncryptOptions::default()).unwrap();
            assert_eq!(decrypt(&encrypted(&entity), &[identity]).unwrap(), part);
        } else {
            assert_eq!(verified(&sign(part, &identity, &SignOptions::new(NOW)).unwrap()).unwrap().len(), 1);
        }
    }
    let authority = Certificate::from_pem(&golden("rfc9216-ed25519-ca.crt.pem")).unwrap();
    let carlos = published("carlos-sign");
    assert_eq!(carlos.certificate().issuer(), authority[0].subject());
}

/// Its key is under Triple DES, its certificates under RC2 with 40 bits.
#[test]
fn a_pkcs12_file_of_old() {
    let blocks = pem::blocks(&golden("rfc9216-carlos.p12.pem")).unwrap();
    let found = Identity::from_pkcs12(&blocks[0].der, "carlos").unwrap();
    let mut kinds: Vec<_> = found.iter().map(|one| (one.key().kind(), one.certificate().clone())).collect();
    kinds.sort_by_key(|(kind, _)| *kind != KeyKind::Ed25519);
    let expected = ["carlos-sign", "carlos-encrypt"].map(published);
    assert_eq!(kinds, expected.map(|one| (one.key().kind(), one.certificate().clone())));
    assert_eq!(Identity::from_pkcs12(&blocks[0].der, "wrong").map(|_| ()), Err(Fault::PassPhrase));
}
