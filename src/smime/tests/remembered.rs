use ::der::Decode;

use super::*;

/// The same certificate with other octets at its end: another one, which reads alike.
fn another(certificate: &Certificate, number: u32) -> Certificate {
    let mut der = certificate.der().to_vec();
    let end = der.len() - 4;
    der[end..].copy_from_slice(&number.to_be_bytes());
    Certificate::from_der(&der).unwrap()
}

#[test]
fn what_is_remembered_verifies_as_what_is_read() {
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::Ed25519] {
        let (bob, memory) = (identity(kind), Memory::default());
        memory.keep(bob.certificate());
        assert!(memory.has(bob.certificate()));
        // One key with several schemes.
        for rsa in [RsaScheme::Pkcs1, RsaScheme::Pss, RsaScheme::Pkcs1] {
            let entity = sign(PART, &bob, &SignOptions { rsa, ..SignOptions::new(NOW) }).unwrap();
            let Ok(Layer::Signed(signed)) = open(&entity) else { panic!("{kind:?}") };
            assert_eq!(verify_with(&signed, &[], &memory), verify(&signed, &[]), "{kind:?} {rsa:?}");
            let text = String::from_utf8(entity).unwrap().replace("Hello", "Hallo");
            let Ok(Layer::Signed(altered)) = open(text.as_bytes()) else { panic!("{kind:?}") };
            assert!(matches!(verify_with(&altered, &[], &memory), Err(Fault::Altered(_))), "{kind:?} {rsa:?}");
        }
        // A signature of the same shape that is another's.
        let message = bob.key().sign(b"another", RsaScheme::Pkcs1).unwrap();
        let algorithm = asn1::Algorithm::from_der(&message.algorithm).unwrap();
        let digest = if kind == KeyKind::P384 { scheme::Digest::Sha384 } else { scheme::Digest::Sha256 };
        let check = |text: &[u8]| bob.certificate().check(&algorithm, digest, text, &message.value);
        assert!(check(b"another").is_ok() && check(b"a third").is_err(), "{kind:?}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let (first, memory) = (identity(KeyKind::P256).certificate().clone(), Memory::default());
    for number in 0..u32::try_from(crate::limits::CHAINS_CACHED).unwrap() {
        memory.keep(&another(&first, number));
        memory.keep(&another(&first, number));
    }
    assert!(memory.has(&another(&first, 0)));
    memory.keep(&first);
    assert!(memory.has(&first) && !memory.has(&another(&first, 0)) && memory.has(&another(&first, 1)));
    assert_eq!(memory.certificate(first.der()), Ok(first.clone()));
    assert_eq!(memory.certificate(another(&first, 0).der()), Ok(another(&first, 0)), "read again");
    assert!(memory.certificate(b"none").is_err());
}
