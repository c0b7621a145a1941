use ::der::Decode;

use super::*;
use crate::smime::content::Parameters;

const KINDS: [KeyKind; 4] = [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::X25519];

fn options(cipher: Cipher, transport: KeyTransport) -> EncryptOptions {
    EncryptOptions { cipher, transport }
}

#[test]
fn every_key_cipher_and_transport() {
    let everybody = KINDS.map(identity);
    let eve = made(KeyKind::P256, 9, None);
    for cipher in Cipher::ALL {
        for transport in [KeyTransport::Oaep, KeyTransport::Pkcs1] {
            let recipients = everybody.each_ref().map(|one| one.certificate().clone());
            let entity = encrypt(PART, &recipients, &options(cipher, transport)).unwrap();
            assert!(entity.is_ascii() && entity.split(|b| *b == b'\n').all(|line| line.len() <= 78));
            let encrypted = encrypted(&entity);
            assert_eq!(encrypted.cipher(), Some(cipher));
            for one in &everybody {
                assert_eq!(decrypt(&encrypted, &[eve.clone(), one.clone()]).as_deref(), Ok(PART), "{one:?} {cipher:?}");
            }
            assert_eq!(decrypt(&encrypted, std::slice::from_ref(&eve)), Err(Fault::NotForUs));
            assert_eq!(decrypt(&encrypted, &[]), Err(Fault::NotForUs));
        }
    }
}

#[test]
fn certificates_that_do_not_serve() {
    let check =
        |identity: &Identity| encrypt(PART, &[identity.certificate().clone()], &EncryptOptions::default()).is_ok();
    assert!(!check(&identity(KeyKind::Ed25519)));
    // Digital signature alone; key agreement; key encipherment is for RSA.
    for (bits, expected) in [(0x80, false), (0x88, true), (0x20, false)] {
        assert_eq!(check(&made(KeyKind::P256, 1, Some(bits))), expected, "{bits:x}");
    }
    assert!(!check(&published("bob-sign")));
    assert!(matches!(encrypt(PART, &[], &EncryptOptions::default()), Err(Fault::Certificate(_))));
    let many = vec![identity(KeyKind::P256).certificate().clone(); 2001];
    assert_eq!(encrypt(PART, &many, &EncryptOptions::default()), Err(Fault::TooMany("recipients")));
}

#[test]
fn a_wrong_key_and_a_wrong_content_are_one_fault() {
    let bob = identity(KeyKind::Rsa);
    for transport in [KeyTransport::Oaep, KeyTransport::Pkcs1] {
        let entity = encrypt(PART, &[bob.certificate().clone()], &options(Cipher::Aes256Gcm, transport)).unwrap();
        let whole = encrypted(&entity);
        let key = whole.cms.windows(4).position(|octets| octets == [4, 0x82, 1, 0]).unwrap() + 4;
        for at in [key, key + 100, key + 255, whole.cms.len() - 1, whole.cms.len() - 30] {
            let mut cms = whole.cms.clone();
            cms[at] ^= 1;
            assert_eq!(decrypt(&Encrypted { cms }, std::slice::from_ref(&bob)), Err(Fault::Undecryptable), "{at}");
        }
    }
}

#[test]
fn what_stands_in_for_a_key() {
    let bob = identity(KeyKind::Rsa);
    let algorithm = asn1::with_null(oid::RSA);
    let of = |octets: &[u8], length| transport::decrypt(bob.key(), &algorithm, octets, length).unwrap();
    let once = of(&[7; 256], 32);
    assert_eq!((once.len(), &once), (32, &of(&[7; 256], 32)));
    assert_ne!(once, of(&[8; 256], 32));
    assert_eq!(of(&[], 16).len(), 16);
    // A key of another length than the cipher's is not used.
    let (_, encrypted) = transport::encrypt(bob.certificate().spki(), KeyTransport::Pkcs1, &[1; 16]).unwrap();
    assert_eq!(*of(&encrypted, 16), [1; 16]);
    assert_ne!(of(&encrypted, 32)[..16], [1; 16]);
}

#[test]
fn tags_cut_short() {
    let key = [3; 32];
    let sealed = content::seal(Cipher::Aes256Gcm, &key, PART).unwrap();
    let nonce = asn1::parameters::<asn1::GcmParameters>(&sealed.algorithm).unwrap().nonce;
    let nonce = der::octet_string(nonce.as_bytes());
    let check = |length: Option<u32>, given: usize| -> Result<_, Fault> {
        let parameters = der::sequence(&[&nonce, &length.map_or_else(Vec::new, der::integer)]);
        let algorithm = der::algorithm(oid::AES256_GCM, Some(&parameters));
        let parameters = Parameters::read(&asn1::Algorithm::from_ber(&algorithm).unwrap())?;
        Ok(parameters.unseal(&key, &sealed.octets, &sealed.tag[..given], b""))
    };
    assert_eq!(check(None, 12), Ok(Some(PART.to_vec())));
    assert_eq!(check(Some(13), 13), Ok(Some(PART.to_vec())));
    assert_eq!(check(Some(16), 16), Ok(Some(PART.to_vec())));
    assert_eq!(check(Some(16), 12), Ok(None));
    assert_eq!(check(None, 16), Ok(None));
    assert!(check(Some(8), 8).is_err() && check(Some(17), 16).is_err());
    let mut wrong = sealed.tag[..12].to_vec();
    wrong[11] ^= 1;
    let algorithm = der::algorithm(oid::AES256_GCM, Some(&der::sequence(&[&nonce])));
    let parameters = Parameters::read(&asn1::Algorithm::from_ber(&algorithm).unwrap()).unwrap();
    assert_eq!(parameters.unseal(&key, &sealed.octets, &wrong, b""), None);
}

#[test]
fn ciphers_and_structures_do_not_mix() {
    let bob = identity(KeyKind::P256);
    for (cipher, other) in [(Cipher::Aes256Gcm, oid::ENVELOPED_DATA), (Cipher::Aes256Cbc, oid::AUTH_ENVELOPED_DATA)] {
        let entity = encrypt(PART, &[bob.certificate().clone()], &options(cipher, KeyTransport::Oaep)).unwrap();
        let whole = encrypted(&entity);
        let mut inner = ber::Reader::only(&whole.cms, ber::SEQUENCE).unwrap();
        inner.oid().unwrap();
        let cms = der::sequence(&[&der::oid(other), inner.next().unwrap().raw]);
        assert!(matches!(decrypt(&Encrypted { cms }, std::slice::from_ref(&bob)), Err(Fault::Syntax(_))));
    }
}

#[test]
fn the_cipher_that_all_read() {
    use Cipher::{Aes128Cbc, Aes128Gcm, Aes256Cbc, Aes256Gcm};
    let check =
        |lists: &[&[Cipher]], expected| assert_eq!(Cipher::common(lists.iter().copied()), expected, "{lists:?}");
    check(&[], Aes256Gcm);
    check(&[&[], &[Aes128Gcm, Aes256Cbc]], Aes128Gcm);
    check(&[&[Aes128Gcm, Aes256Cbc], &[Aes256Cbc, Aes256Gcm]], Aes256Cbc);
    check(&[&[Aes128Gcm], &[Aes256Gcm]], Aes128Cbc);
}

#[test]
fn recipients_that_cannot_be_read() {
    let bob = identity(KeyKind::P256);
    let whole = encrypted(&encrypt(PART, &[bob.certificate().clone()], &EncryptOptions::default()).unwrap());
    let beside = |others: &[Vec<u8>]| {
        let mut data = signed_data::content(&whole.cms, oid::AUTH_ENVELOPED_DATA).unwrap();
        let [version, infos, content, tag] = [(); 4].map(|()| data.next().unwrap());
        let infos = der::element(ber::SET, &[&others.concat(), infos.contents]);
        let data = der::sequence(&[version.raw, &infos, content.raw, tag.raw]);
        let cms = der::sequence(&[&der::oid(oid::AUTH_ENVELOPED_DATA), &der::element(ber::context(0), &[&data])]);
        decrypt(&Encrypted { cms }, std::slice::from_ref(&bob))
    };
    // One with a password, and one whose serial number is longer than any.
    let password = der::element(ber::context(3), &[]);
    let names = der::sequence(&[bob.certificate().issuer(), &der::element(ber::INTEGER, &[&[1; 40]])]);
    let long = der::sequence(&[&der::integer(0), &names, &der::algorithm(oid::RSA, None), &der::octet_string(&[1])]);
    assert_eq!(beside(&[password, long]).as_deref(), Ok(PART));
    let keys = der::sequence(&[&der::sequence(&[]).repeat(2001)]);
    let many = der::element(ber::context(1), &[&der::integer(3), &keys]);
    assert_eq!(beside(&[many]), Err(Fault::TooMany("recipients")));
}

#[test]
fn layers_within_layers() {
    let (alice, bob) = (identity(KeyKind::P256), identity(KeyKind::X25519));
    let signed = sign(PART, &alice, &SignOptions::new(NOW)).unwrap();
    let entity = encrypt(&signed, &[bob.certificate().clone()], &EncryptOptions::default()).unwrap();
    let again = sign(&entity, &alice, &SignOptions::new(NOW)).unwrap();
    let found = unwrap(&again, std::slice::from_ref(&bob), &[]).unwrap();
    assert_eq!(found.content, PART);
    let [Seen::Signed { signers: Ok(outer), .. }, Seen::Encrypted { cipher }, Seen::Signed { signers: Ok(inner), .. }] =
        &found.layers[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((outer.len(), *cipher, inner.len()), (1, Some(Cipher::Aes256Gcm), 1));
    assert_eq!(unwrap(&again, &[], &[]).map(|_| ()), Err(Fault::NotForUs));
    // Parts beside each other are not layers.
    let mixed = [b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n", &entity[..], b"\r\n--m--\r\n"].concat();
    assert_eq!(unwrap(&mixed, &[bob], &[]).unwrap().layers.len(), 0);
    let mut deep = PART.to_vec();
    let options = SignOptions { form: Form::Opaque, ..SignOptions::new(NOW) };
    for layers in 1..=9 {
        deep = sign(&deep, &alice, &options).unwrap();
        assert_eq!(unwrap(&deep, &[], &[]).is_ok(), layers <= 8, "{layers}");
    }
    assert_eq!(unwrap(&deep, &[], &[]).map(|_| ()), Err(Fault::TooDeep));
}
