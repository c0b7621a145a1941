use std::time::Instant;

use super::*;

/// Whatever `octets` are, there is a verdict.
fn everything(octets: &[u8], identities: &[Identity]) {
    let _ = Certificate::from_der(octets);
    let _ = Key::from_der(octets, Some("x"));
    let _ = unwrap(octets, identities, &[]);
    for kind in ["signed-data", "enveloped-data"] {
        let _ = unwrap(&layer::opaque(kind, octets), identities, &[]);
    }
}

#[test]
fn octets_flipped_in_a_signed_message() {
    let alice = identity(KeyKind::P256);
    let entity = sign(PART, &alice, &SignOptions::new(NOW)).unwrap();
    let mut spoiled = 0;
    for at in 0..entity.len() {
        let mut other = entity.clone();
        other[at] ^= 1 << (at % 8);
        let Ok(Layer::Signed(signed)) = open(&other) else { continue };
        match verify(&signed, &[]) {
            // What a good verdict says, was signed.
            Ok(signers) => {
                assert_eq!(signed.content, PART, "{at}");
                assert_eq!((signers.len(), signers[0].signing_time), (1, Some(NOW)), "{at}");
                assert_eq!(signers[0].certificate, *alice.certificate(), "{at}");
            }
            Err(_) => spoiled += 1,
        }
    }
    assert!(spoiled > entity.len() / 3, "{spoiled} of {}", entity.len());
}

#[test]
fn octets_flipped_in_the_cms_of_a_signed_message() {
    let alice = identity(KeyKind::Ed25519);
    let entity = sign(PART, &alice, &SignOptions { form: Form::Opaque, ..SignOptions::new(NOW) }).unwrap();
    let Ok(Layer::Signed(signed)) = open(&entity) else { panic!() };
    for at in 0..signed.cms.len() {
        for bit in [0, 3, 7] {
            let mut cms = signed.cms.clone();
            cms[at] ^= 1 << bit;
            let entity = layer::opaque("signed-data", &cms);
            let Ok(Layer::Signed(signed)) = open(&entity) else { continue };
            if let Ok(signers) = verify(&signed, &[]) {
                assert_eq!((&*signed.content, signers[0].signing_time), (PART, Some(NOW)), "{at}");
                assert_eq!(signers[0].certificate, *alice.certificate(), "{at}");
            }
        }
    }
}

#[test]
fn octets_flipped_in_an_encrypted_message() {
    let bob = [identity(KeyKind::P256), identity(KeyKind::Rsa)];
    let certificates = [bob[0].certificate().clone(), bob[1].certificate().clone()];
    for cipher in [Cipher::Aes256Gcm, Cipher::Aes128Cbc] {
        let options = EncryptOptions { cipher, transport: KeyTransport::Pkcs1 };
        let whole = encrypted(&encrypt(PART, &certificates, &options).unwrap());
        for at in (0..whole.cms.len()).step_by(3) {
            let mut cms = whole.cms.clone();
            cms[at] ^= 1 << (at % 8);
            let outcome = decrypt(&Encrypted { cms }, &bob);
            if let (Ok(content), true) = (&outcome, cipher.is_authenticated()) {
                assert_eq!(content, PART, "{at}");
            }
        }
    }
}

#[test]
fn messages_cut_short() {
    let bob = identity(KeyKind::P256);
    let signed = sign(PART, &bob, &SignOptions::new(NOW)).unwrap();
    let encrypted = encrypt(PART, &[bob.certificate().clone()], &EncryptOptions::default()).unwrap();
    let cms = super::encrypted(&encrypted).cms;
    for entity in [&signed, &encrypted] {
        for length in 0..entity.len() - 4 {
            let cut = &entity[..length];
            let whole = unwrap(cut, std::slice::from_ref(&bob), &[]).ok().filter(|found| !found.layers.is_empty());
            if let Some(Unwrapped { layers, .. }) = whole {
                let [Seen::Signed { signers: Err(_), .. }] = &layers[..] else { panic!("{length}: {layers:?}") };
            }
        }
    }
    for length in 0..cms.len() {
        let cut = Encrypted { cms: cms[..length].to_vec() };
        assert!(decrypt(&cut, std::slice::from_ref(&bob)).is_err(), "{length}");
    }
    let key = bob.key().pkcs8().to_vec();
    for length in 0..key.len() {
        assert!(Key::from_der(&key[..length], None).is_err());
    }
    for length in 0..bob.certificate().der().len() {
        assert!(Certificate::from_der(&bob.certificate().der()[..length]).is_err());
    }
}

#[test]
fn huge_and_nested() {
    let start = Instant::now();
    let bob = [identity(KeyKind::P256)];
    let definite = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| der::sequence(&[&inner]));
    let head = |name| [&[ber::SEQUENCE, 0x80][..], &der::oid(name), &[ber::context(0), 0x80]].concat();
    for name in [oid::SIGNED_DATA, oid::ENVELOPED_DATA, oid::AUTH_ENVELOPED_DATA] {
        for filling in
            [[0x30, 0x80], [0x24, 0x80], [0xa0, 0x80], [0x31, 0x00], [0x30, 0x84], [0x00, 0x00], [0x04, 0x00]]
        {
            let mut octets = head(name);
            octets.extend(filling.iter().cycle().take(100_000));
            everything(&octets, &bob);
        }
    }
    everything(&definite(2000), &bob);
    let mut pieces = vec![0x24, 0x80];
    pieces.extend([4, 1, b'x'].repeat(300_000));
    pieces.extend([0, 0]);
    assert_eq!(ber::Reader::new(&pieces).next().and_then(|element| element.octets().map(|o| o.len())), Ok(300_000));
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

#[test]
fn a_text_that_only_says_it_is_protected() {
    let check = |entity: &str| assert!(open(entity.as_bytes()).is_err(), "{entity}");
    let signed = "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\r\n\r\n";
    check(signed);
    check(&signed.replace("; boundary=b", ""));
    check(&format!("{signed}--b\r\n\r\nx\r\n--b\r\nContent-Type: text/plain\r\n\r\ny\r\n--b--\r\n"));
    check(&format!(
        "{signed}--b\r\n\r\nx\r\n--b\r\nContent-Type: application/pkcs7-signature\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n!\r\n--b--\r\n"
    ));
    check("Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    check("Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nMA==\r\n");
    check("Content-Type: application/pkcs7-mime\r\nContent-Type: text/plain\r\n\r\n");
    let plain = |entity: &str| assert!(matches!(open(entity.as_bytes()), Ok(Layer::Plain)), "{entity}");
    plain("");
    plain("Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n");
    plain("Content-Type: text/plain\r\n\r\nContent-Type: application/pkcs7-mime\r\n");
}
