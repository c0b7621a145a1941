use std::borrow::Cow;

use super::ber::{Element, Reader};
use super::*;

#[test]
fn elements() {
    let next = |octets: &'static [u8]| Reader::new(octets).next().map(|element| (element.contents, element.raw.len()));
    assert_eq!(next(&[4, 2, 1, 2, 9]), Ok((&[1, 2][..], 4)));
    assert_eq!(next(&[0x30, 0x81, 1, 5]), Ok((&[5][..], 4)));
    assert_eq!(next(&[0x30, 0x80, 4, 1, 7, 0, 0, 9]), Ok((&[4, 1, 7][..], 7)));
    assert_eq!(next(&[0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0]), Ok((&[0x30, 0x80, 0, 0][..], 8)));
    for wrong in [
        &[][..],
        &[4],
        &[4, 1],
        &[4, 0x80, 0, 0],
        &[0x30, 0x85, 0, 0, 0, 0, 1],
        &[0x30, 0xff],
        &[0x1f, 1, 0],
        &[0x30, 0x80, 4, 1],
        &[0x30, 0x80],
        &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 0x80, 4, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(matches!(Reader::new(wrong).next(), Err(Fault::Syntax(_))), "{wrong:?}");
    }
    let deep = [0x30, 0x80].repeat(33);
    assert_eq!(Reader::new(&deep).next(), Err(Fault::TooDeep));
}

#[test]
fn strings_in_pieces() {
    let joined = |octets: &'static [u8]| {
        let element: Element<'static> = Reader::new(octets).next().unwrap();
        element.octets().map(Cow::into_owned)
    };
    assert_eq!(joined(&[4, 2, 1, 2]), Ok(vec![1, 2]));
    assert_eq!(joined(&[0x24, 0x80, 4, 1, 1, 0x24, 4, 4, 2, 2, 3, 4, 1, 4, 0, 0]), Ok(vec![1, 2, 3, 4]));
    assert_eq!(joined(&[0xa0, 3, 4, 1, 9]), Ok(vec![9]));
    assert!(joined(&[0x24, 3, 2, 1, 9]).is_err());
}

#[test]
fn numbers_and_times() {
    for value in [0, 1, 127, 128, 255, 256, 65_537, i32::MAX as u32] {
        assert_eq!(Reader::new(&der::integer(value)).small(), Ok(value));
    }
    for wrong in [&[2, 0][..], &[2, 1, 0x80], &[2, 5, 0, 1, 1, 1, 1]] {
        assert!(Reader::new(wrong).small().is_err());
    }
    for secs in [0, NOW.secs(), 2_524_607_999, 2_524_608_000, 4_000_000_000] {
        let at = Timestamp::from_secs(secs);
        assert_eq!(Reader::new(&der::time(at)).next().unwrap().time(), Ok(at));
    }
    assert_eq!(der::time(NOW), [&[ber::UTC_TIME, 13][..], b"261123080000Z"].concat());
    let check = |tag, text: &[u8]| Reader::new(&der::element(tag, &[text])).next().unwrap().time();
    assert_eq!(check(ber::UTC_TIME, b"491231235959Z"), Ok(Timestamp::from_secs(2_524_607_999)));
    assert_eq!(check(ber::UTC_TIME, b"500101000000Z"), Ok(Timestamp::from_secs(-631_152_000)));
    for wrong in [&b"2611230800Z"[..], b"261123080000", b"261323080000Z", b"26112308+000Z", b"26112308000\xffZ", b""] {
        assert!(check(ber::UTC_TIME, wrong).is_err(), "{wrong:?}");
    }
    assert!(check(ber::GENERALIZED_TIME, b"261123080000Z").is_err());
}

#[test]
fn times_as_they_are_sent() {
    use ::der::Encode;
    for secs in [0, NOW.secs(), 2_524_607_999, 2_524_608_000, 4_000_000_000] {
        let at = Timestamp::from_secs(secs);
        assert_eq!(asn1::time(at).unwrap().to_der().unwrap(), der::time(at));
    }
}

#[test]
fn lengths() {
    for length in [0, 127, 128, 255, 256, 70_000] {
        let octets = vec![5; length];
        let element = der::octet_string(&octets);
        assert_eq!(
            Reader::new(&element).next().map(|found| (found.contents.len(), found.raw.len())),
            Ok((length, element.len()))
        );
    }
    assert_eq!(der::set_of(vec![vec![4, 1, 2], vec![4, 1, 1]]), [0x31, 6, 4, 1, 1, 4, 1, 2]);
}

/// Another reader, which takes nothing but DER, finds in our messages what we put there.
#[test]
fn read_by_another() {
    use ::cms::content_info::ContentInfo;
    use ::der::{Decode, Encode};
    let (bob, carol) = (identity(KeyKind::P256), identity(KeyKind::Rsa));
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::Ed25519] {
        for form in [Form::Detached, Form::Opaque] {
            let entity = sign(PART, &identity(kind), &SignOptions { form, ..SignOptions::new(NOW) }).unwrap();
            let Ok(Layer::Signed(signed)) = open(&entity) else { panic!() };
            let info = ContentInfo::from_der(signed.cms()).unwrap();
            let data: ::cms::signed_data::SignedData = info.content.decode_as().unwrap();
            assert_eq!(data.signer_infos.0.len(), 1);
            assert_eq!(data.encap_content_info.econtent.is_some(), form == Form::Opaque);
            assert_eq!(info.to_der().unwrap(), signed.cms());
        }
    }
    for cipher in Cipher::ALL {
        let options = EncryptOptions { cipher, ..EncryptOptions::default() };
        let entity = encrypt(PART, &[bob.certificate().clone(), carol.certificate().clone()], &options).unwrap();
        let encrypted = encrypted(&entity);
        let info = ContentInfo::from_der(encrypted.cms()).unwrap();
        let recipients = if cipher.is_authenticated() {
            info.content.decode_as::<::cms::authenveloped_data::AuthEnvelopedData>().unwrap().recip_infos
        } else {
            info.content.decode_as::<::cms::enveloped_data::EnvelopedData>().unwrap().recip_infos
        };
        assert_eq!(recipients.0.len(), 2);
        assert_eq!(info.to_der().unwrap(), encrypted.cms());
    }
}
