use ::der::Encode;

use super::*;
use crate::smime::scheme::Digest;

const KINDS: [KeyKind; 4] = [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::Ed25519];

#[test]
fn every_key_and_form() {
    for kind in KINDS {
        let bob = identity(kind);
        for form in [Form::Detached, Form::Opaque] {
            for rsa in [RsaScheme::Pkcs1, RsaScheme::Pss] {
                let entity = sign(PART, &bob, &SignOptions { at: NOW, form, rsa }).unwrap();
                assert!(entity.is_ascii() && entity.split(|b| *b == b'\n').all(|line| line.len() <= 998));
                let Ok(Layer::Signed(signed)) = open(&entity) else { panic!("{kind:?} {form:?}") };
                assert_eq!((&*signed.content, signed.form), (PART, form));
                let [signer] = &verify(&signed, &[]).unwrap()[..] else { panic!("{kind:?} {form:?}") };
                assert_eq!(signer.certificate, *bob.certificate());
                assert_eq!((signer.signing_time, signer.bound), (Some(NOW), true));
                assert_eq!(signer.ciphers, Cipher::ALL);
                assert_eq!(signer.content_digest, Digest::Sha256.of(PART).as_ref());
            }
        }
    }
}

#[test]
fn the_part_is_made_clean_first() {
    let part = "Content-Type: text/plain; charset=utf-8\r\n\r\ncaf\u{e9} au lait, Bob\r\n".as_bytes();
    let bob = identity(KeyKind::P256);
    let entity = sign(part, &bob, &SignOptions::new(NOW)).unwrap();
    assert!(entity.is_ascii());
    assert_eq!(verified(&entity).unwrap().len(), 1);
    let fault = sign(b"A: b\n\nbody", &bob, &SignOptions::new(NOW)).unwrap_err();
    assert_eq!(fault, Fault::NotClean(crate::mime::Defect::BareLf));
}

#[test]
fn alterations() {
    let entity = sign(PART, &identity(KeyKind::P256), &SignOptions::new(NOW)).unwrap();
    let text = String::from_utf8(entity).unwrap();
    let altered = |text: String| assert!(matches!(verified(text.as_bytes()), Err(Fault::Altered(_))), "{text}");
    altered(text.replace("Hello, Bob", "Hello, bob"));
    altered(text.replace("Subject: hello", "Subject: hallo"));
    altered(text.replace("Bob.\r\n", "Bob. \r\n"));
    altered(text.replace("Bob.\r\n", "Bob.\r\n\r\n"));
    // The signature of another part.
    let other = sign(b"\r\nother\r\n", &identity(KeyKind::P256), &SignOptions::new(NOW)).unwrap();
    let other = String::from_utf8(other).unwrap();
    let signature = |text: &str| text.split("p7s\r\n\r\n").nth(1).unwrap().split("\r\n--").next().unwrap().to_owned();
    altered(text.replace(&signature(&text), &signature(&other)));
    // What is around the two parts, and the name of the digest, are not signed.
    for same in [text.replace("micalg=sha-256", "micalg=x"), text.clone() + "epilogue\r\n", format!("A: b\r\n{text}")] {
        assert_eq!(verified(same.as_bytes()).unwrap().len(), 1);
    }
}

#[test]
fn whose_certificate_is_not_there() {
    let (bob, eve) = (identity(KeyKind::P256), made(KeyKind::P256, 2, None));
    let attributes = attributes(PART);
    let cms = signed_data(&[signer(&bob, Some(&attributes), None)], &[eve.certificate()]);
    let entity = layer::opaque("signed-data", &cms);
    let Ok(Layer::Signed(signed)) = open(&entity) else { panic!() };
    assert_eq!(verify(&signed, &[]), Err(Fault::NoCertificate));
    let found = verify(&signed, &[bob.certificate().clone()]).unwrap();
    assert_eq!((&found[0].certificate, &found[0].others[..]), (bob.certificate(), &[eve.certificate().clone()][..]));
    // One that has the same name and number is not taken for it.
    let namesake = made(KeyKind::P256, 1, None).certificate().clone();
    assert!(matches!(verify(&signed, std::slice::from_ref(&namesake)), Err(Fault::Altered(_))));
    assert_eq!(verify(&signed, &[namesake, bob.certificate().clone()]).unwrap().len(), 1);
}

#[test]
fn several_signers() {
    let (bob, carol) = (identity(KeyKind::P256), made(KeyKind::Ed25519, 2, None));
    let one = signer(&bob, Some(&attributes(PART)), None);
    let two = signer(&carol, Some(&attributes_with(PART, Digest::Sha512)), None);
    let wrong = signer(&carol, Some(&attributes_with(b"x", Digest::Sha512)), None);
    let unknown = signer(&carol, Some(&attributes_with(PART, Digest::Sha512)), Some(der::algorithm(oid::MGF1, None)));
    let certificates = [bob.certificate(), carol.certificate()];
    let check = |signers: &[Vec<u8>]| verified(&layer::opaque("x", &signed_data(signers, &certificates)));
    assert_eq!(check(&[one.clone(), two.clone()]).unwrap().len(), 2);
    // One that cannot be judged counts for nothing, one that is wrong spoils everything.
    assert_eq!(check(&[one.clone(), unknown.clone()]).unwrap().len(), 1);
    assert_eq!(check(&[unknown]), Err(Fault::Unsupported(oid::MGF1.to_string())));
    assert!(matches!(check(&[one.clone(), wrong]), Err(Fault::Altered(_))));
    assert_eq!(check(&[]), Err(Fault::NoSigner));
    assert_eq!(check(&vec![one; 9]), Err(Fault::TooMany("signers")));
}

#[test]
fn attributes_missing_and_doubled() {
    let bob = identity(KeyKind::P256);
    let all = attributes(PART);
    let check = |attributes: &[Vec<u8>]| {
        let one = signer(&bob, Some(attributes), None);
        verified(&layer::opaque("x", &signed_data(&[one], &[bob.certificate()])))
    };
    assert!(check(&all).is_ok());
    assert_eq!(check(&all[1..]), Err(Fault::Attribute("content type")));
    assert_eq!(check(&all[..1]), Err(Fault::Attribute("message digest")));
    assert_eq!(check(&[&all[..], &all[1..2]].concat()), Err(Fault::Attribute("message digest")));
    let two =
        der::sequence(&[&der::oid(oid::SIGNING_TIME), &der::element(ber::SET, &[&der::time(NOW), &der::time(NOW)])]);
    assert_eq!(check(&[&all[..], &[two]].concat()), Err(Fault::Attribute("signing time")));
    let kind = attribute(oid::CONTENT_TYPE, &der::oid(oid::SIGNED_DATA));
    assert!(matches!(check(&[&[kind], &all[1..]].concat()), Err(Fault::Altered(_))));
    let many: Vec<_> = (0..65).map(|_| all[0].clone()).collect();
    assert_eq!(check(&many), Err(Fault::TooMany("signed attributes")));
    // The certificate that the signer names is another.
    let other = attribute(
        oid::SIGNING_CERTIFICATE_V2,
        &sign::signing_certificate(made(KeyKind::P256, 1, None).certificate()).unwrap().to_der().unwrap(),
    );
    assert!(matches!(check(&[&all[..], &[other]].concat()), Err(Fault::Altered(_))));
    let found = check(&all).unwrap();
    assert_eq!((found[0].signing_time, found[0].bound, &found[0].ciphers[..]), (None, false, &[][..]));
}

#[test]
fn no_attributes_at_all() {
    let bob = identity(KeyKind::P256);
    let certificates = [bob.certificate()];
    let signature = bob.key().sign(PART, RsaScheme::Pkcs1).unwrap();
    let one = signer_info(&bob, &[], &der::algorithm(oid::SHA256, None), &signature.algorithm, &signature.value);
    assert_eq!(verified(&layer::opaque("x", &signed_data(&[one], &certificates))).unwrap().len(), 1);
    // The signed attributes of one message are not the content of another.
    let attributes = der::element(ber::SET, &[&der::in_order(attributes(PART))]);
    let signature = bob.key().sign(&attributes, RsaScheme::Pkcs1).unwrap();
    let one = signer_info(&bob, &[], &der::algorithm(oid::SHA256, None), &signature.algorithm, &signature.value);
    let cms = signed_data_of(&attributes, &[one], &certificates);
    assert_eq!(verified(&layer::opaque("x", &cms)), Err(Fault::Attribute("message digest")));
}

#[test]
fn weak_digests() {
    let bob = identity(KeyKind::P256);
    let check = |digest, algorithm| {
        let one = signer_info(
            &bob,
            &der::in_order(attributes(PART)),
            &der::algorithm(digest, None),
            &der::algorithm(algorithm, None),
            &[],
        );
        verified(&layer::opaque("x", &signed_data(&[one], &[bob.certificate()])))
    };
    assert_eq!(check(oid::SHA1, oid::SHA256_ECDSA), Err(Fault::Weak("SHA-1")));
    assert_eq!(check(oid::MD5, oid::SHA256_ECDSA), Err(Fault::Weak("MD5")));
    assert_eq!(check(oid::SHA256, oid::SHA1_ECDSA), Err(Fault::Weak("SHA-1")));
    assert_eq!(check(oid::SHA256, oid::SHA1_RSA), Err(Fault::Weak("SHA-1")));
    assert_eq!(check(oid::SHA256, oid::MD5_RSA), Err(Fault::Weak("MD5")));
    // PSS with what it means where nothing is said.
    let parameters = der::sequence(&[&der::oid(oid::RSA_PSS), &der::sequence(&[])]);
    assert_eq!(
        scheme::check(&bob.certificate().public_key().unwrap(), &parameters, b"", b""),
        Err(Fault::Weak("SHA-1"))
    );
    assert!(matches!(check(oid::SHA384, oid::SHA256_ECDSA), Err(Fault::Altered(_))));
    assert!(matches!(check(oid::SHA256, oid::SHA384_ECDSA), Err(Fault::Syntax(_))));
    assert!(matches!(check(oid::SHA256, oid::SHA256_RSA), Err(Fault::Syntax(_))));
}

fn attribute(name: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(name), &der::element(ber::SET, &[value])])
}

/// Content type and message digest.
fn attributes(part: &[u8]) -> Vec<Vec<u8>> {
    attributes_with(part, Digest::Sha256)
}

fn attributes_with(part: &[u8], digest: Digest) -> Vec<Vec<u8>> {
    vec![
        attribute(oid::CONTENT_TYPE, &der::oid(oid::DATA)),
        attribute(oid::MESSAGE_DIGEST, &der::octet_string(digest.of(part).as_ref())),
    ]
}

/// A SignerInfo that signs these attributes, with another name of the algorithm if one is given.
fn signer(of: &Identity, attributes: Option<&[Vec<u8>]>, algorithm: Option<Vec<u8>>) -> Vec<u8> {
    let attributes = der::in_order(attributes.unwrap_or_default().to_vec());
    let signature = of.key().sign(&der::element(ber::SET, &[&attributes]), RsaScheme::Pkcs1).unwrap();
    let digest = if of.key().kind() == KeyKind::Ed25519 { oid::SHA512 } else { oid::SHA256 };
    let algorithm = algorithm.unwrap_or(signature.algorithm);
    signer_info(of, &attributes, &der::algorithm(digest, None), &algorithm, &signature.value)
}

fn signer_info(of: &Identity, attributes: &[u8], digest: &[u8], algorithm: &[u8], value: &[u8]) -> Vec<u8> {
    let own = of.certificate();
    let attributes = if attributes.is_empty() { Vec::new() } else { der::element(ber::context(0), &[attributes]) };
    der::sequence(&[
        &der::integer(1),
        &der::sequence(&[own.issuer(), &der::element(ber::INTEGER, &[own.serial()])]),
        digest,
        &attributes,
        algorithm,
        &der::octet_string(value),
    ])
}

fn signed_data(signers: &[Vec<u8>], certificates: &[&Certificate]) -> Vec<u8> {
    signed_data_of(PART, signers, certificates)
}

fn signed_data_of(content: &[u8], signers: &[Vec<u8>], certificates: &[&Certificate]) -> Vec<u8> {
    let certificates: Vec<u8> = certificates.iter().flat_map(|certificate| certificate.der().to_vec()).collect();
    let data = der::sequence(&[
        &der::integer(1),
        &der::set_of(vec![]),
        &der::sequence(&[&der::oid(oid::DATA), &der::element(ber::context(0), &[&der::octet_string(content)])]),
        &der::element(ber::context(0), &[&certificates]),
        &der::element(ber::SET, &[&signers.concat()]),
    ]);
    der::sequence(&[&der::oid(oid::SIGNED_DATA), &der::element(ber::context(0), &[&data])])
}
