//! Messages of S/MIME: layers, CMS, certificates and keys of anybody.
#![no_main]

use std::sync::LazyLock;

use impart::policy::identity::signature_results;
use impart::smime::authority::{Request, RevocationList};
use impart::smime::trust::{Anchors, Presented, Trust};
use impart::smime::{Certificate, Circumstances, Identity, Key, Layer, decrypt, examine, open, verify};
use impart::timestamp::Timestamp;
use libfuzzer_sys::fuzz_target;

static BOB: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    let file = |name: &str| std::fs::read_to_string(format!("{}/../golden/smime/{name}", env!("CARGO_MANIFEST_DIR")));
    let one = |name: &str| {
        let part = |kind: &str| file(&format!("rfc9216-{name}.{kind}.pem")).expect("the golden files are there");
        Identity::from_pem(&part("key"), &part("crt"), None).expect("they are read")
    };
    vec![one("bob-encrypt"), one("carlos-encrypt")]
});

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let roots = BOB.iter().map(|one| one.certificate().clone()).collect();
    Trust::new(&Anchors { roots, ..Anchors::default() }).expect("they are read")
});

/// A day on which the golden certificates hold.
const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fuzz_target!(|input: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(input) {
        assert_eq!(certificate.der(), input);
        let _ = (certificate.public_key(), certificate.parsed(), certificate.may_encrypt());
    }
    if let Ok(certificate) = Certificate::from_der(input) {
        let offered = [certificate.clone(), BOB[0].certificate().clone()];
        let signer = Presented { certificate: &certificate, offered: &offered, lists: &[], signed_at: NOW, now: NOW };
        let bob = impart::address::Mailbox::parse("bob@smime.example").expect("an address");
        let _ = TRUST.judge(&signer, &bob, None, &[]);
    }
    let _ = (RevocationList::read(input), Request::read(input));
    let examined = examine(input, &BOB, &[]);
    let circumstances = Circumstances { now: NOW, accepted: NOW, recipients: &[], trust: &TRUST, published: None, pins: &[] };
    assert!(signature_results("a.example", &examined.judge(&circumstances)).is_ascii());
    if let Ok(key) = Key::from_der(input, None) {
        assert_eq!(Key::from_der(key.pkcs8(), None).expect("what was written is read").spki(), key.spki());
    }
    match open(input) {
        Ok(Layer::Signed(signed)) => {
            let certificates: Vec<_> = BOB.iter().map(|one| one.certificate().clone()).collect();
            let _ = verify(&signed, &certificates);
        }
        Ok(Layer::Encrypted(encrypted)) => _ = decrypt(&encrypted, &BOB),
        _ => {}
    }
    assert!(examined.payload().len() <= 2 * input.len());
});
