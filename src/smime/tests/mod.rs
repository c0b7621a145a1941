mod encryption;
mod hostile;
mod keys;
mod published;
mod remembered;
mod signing;
mod structure;
mod unwrap;

use const_oid::ObjectIdentifier;

use self::unwrap::{Seen, Unwrapped, unwrap};
use super::*;
use crate::timestamp::Timestamp;

/// 2026-11-23T08:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_795_420_800);

const PART: &[u8] = b"Content-Type: text/plain\r\nSubject: hello\r\n\r\nHello, Bob.\r\n";

fn golden(name: &str) -> String {
    let path = format!("{}/tests/golden/smime/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An identity of RFC 9216; RSA keys are slow to make.
fn published(name: &str) -> Identity {
    let file = |kind| golden(&format!("rfc9216-{name}.{kind}.pem"));
    Identity::from_pem(&file("key"), &file("crt"), None).unwrap()
}

fn identity(kind: KeyKind) -> Identity {
    if kind == KeyKind::Rsa { published("bob-encrypt") } else { made(kind, kind as u8 + 1, None) }
}

/// A new key with a certificate of its own, or, where it cannot sign, of another key's.
fn made(kind: KeyKind, serial: u8, usage: Option<u8>) -> Identity {
    let key = Key::generate(kind).unwrap();
    let certificate = certificate(&key, serial, usage);
    Identity::new(key, vec![certificate]).unwrap()
}

fn certificate(key: &Key, serial: u8, usage: Option<u8>) -> Certificate {
    let common_name = ObjectIdentifier::new_unwrap("2.5.4.3");
    let name = der::sequence(&[&der::oid(common_name), &der::element(0x0c, &[b"bob"])]);
    let name = der::sequence(&[&der::element(ber::SET, &[&name])]);
    let time = |days: u64| der::time(Timestamp::from_secs(NOW.secs() + (days as i64 - 1) * 86_400));
    let identifier = der::octet_string(&der::octet_string(&[7, serial]));
    let mut extensions = der::sequence(&[&der::oid(oid::SUBJECT_KEY_IDENTIFIER), &identifier]);
    if let Some(bits) = usage {
        let value = der::octet_string(&der::element(ber::BIT_STRING, &[&[0, bits]]));
        extensions.extend(der::sequence(&[&der::oid(oid::KEY_USAGE), &value]));
    }
    let issuer = if key.kind() == KeyKind::X25519 { &Key::generate(KeyKind::P256).unwrap() } else { key };
    let algorithm = issuer.sign(b"", RsaScheme::Pkcs1).unwrap().algorithm;
    let tbs = der::sequence(&[
        &der::element(ber::context(0), &[&der::integer(2)]),
        &der::integer(u32::from(serial)),
        &algorithm,
        &name,
        &der::sequence(&[&time(0), &time(365)]),
        &name,
        key.spki(),
        &der::element(ber::context(3), &[&der::sequence(&[&extensions])]),
    ]);
    let value = issuer.sign(&tbs, RsaScheme::Pkcs1).unwrap().value;
    Certificate::from_der(&der::sequence(&[&tbs, &algorithm, &der::bit_string(&value)])).unwrap()
}

fn verified(entity: &[u8]) -> Result<Vec<Signer>, Fault> {
    match open(entity)? {
        Layer::Signed(signed) => verify(&signed, &[]),
        other => panic!("{other:?}"),
    }
}

fn encrypted(entity: &[u8]) -> Encrypted {
    match open(entity) {
        Ok(Layer::Encrypted(encrypted)) => encrypted,
        other => panic!("{other:?}"),
    }
}
