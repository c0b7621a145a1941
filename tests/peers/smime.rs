//! S/MIME both ways with OpenSSL's `cms` command: each key, each algorithm, files of keys.

use std::path::Path;

use impart::smime::{
    Cipher, EncryptOptions, Fault, Form, Identity, Key, KeyKind, KeyTransport, Layer, RsaScheme, SignOptions, decrypt,
    encrypt, open, sign, verify,
};
use impart::timestamp::Timestamp;

use crate::common::tools::{have, run, said};

const PART: &str = "Content-Type: text/plain\r\n\r\nHello, Bob.\r\nFrom here.\r\n";

/// A directory with keys and certificates that OpenSSL made.
struct Place(tempfile::TempDir);

impl Place {
    /// `None` where OpenSSL is missing.
    fn new(test: &str) -> Option<Place> {
        have(test, &["openssl"]).then(|| Place(tempfile::tempdir().unwrap()))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Runs OpenSSL in the directory; what it prints.
    fn openssl(&self, arguments: &str, input: &[u8]) -> Vec<u8> {
        let output = self.attempt(arguments, input);
        assert!(output.status.success(), "openssl {arguments}: {}", said(&output));
        output.stdout
    }

    fn attempt(&self, arguments: &str, input: &[u8]) -> std::process::Output {
        let place = self.0.path().display().to_string();
        let arguments: Vec<String> = arguments.split(' ').map(|word| word.replace('@', &place)).collect();
        run("openssl", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), input)
    }

    /// A key made with these options of `genpkey`, and its self-signed certificate.
    fn identity(&self, name: &str, options: &str) -> Identity {
        self.openssl(&format!("genpkey {options} -out @/{name}.key"), b"");
        self.openssl(&format!("req -x509 -key @/{name}.key -subj /CN={name} -days 9 -out @/{name}.crt"), b"");
        self.read(name)
    }

    fn read(&self, name: &str) -> Identity {
        let read = |kind| std::fs::read_to_string(Path::new(&self.path(&format!("{name}.{kind}")))).unwrap();
        Identity::from_pem(&read("key"), &read("crt"), None).unwrap()
    }
}

const KEYS: [(&str, &str); 5] = [
    ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
    ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
    ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
    ("pss", "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048"),
    ("ed25519", "-algorithm ED25519"),
];

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

/// With CRLF, as entities come.
fn lines(text: &[u8]) -> Vec<u8> {
    String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "\n").replace('\n', "\r\n").into_bytes()
}

#[test]
fn openssl_verifies_what_we_sign() {
    let Some(place) = Place::new("openssl_verifies_what_we_sign") else { return };
    // OpenSSL 3.0 knows no Ed25519 in CMS.
    for (name, options) in &KEYS[..4] {
        let identity = place.identity(name, options);
        for form in [Form::Detached, Form::Opaque] {
            for rsa in [RsaScheme::Pkcs1, RsaScheme::Pss] {
                let entity =
                    sign(PART.as_bytes(), &identity, &SignOptions { form, rsa, ..SignOptions::new(now()) }).unwrap();
                let got = place.openssl(&format!("cms -verify -CAfile @/{name}.crt -purpose any"), &entity);
                assert_eq!(String::from_utf8_lossy(&got), PART, "{name} {form:?} {rsa:?}");
            }
        }
    }
}

#[test]
fn we_verify_what_openssl_signs() {
    let Some(place) = Place::new("we_verify_what_openssl_signs") else { return };
    place.write("part", PART.as_bytes());
    for (name, options) in KEYS {
        let identity = place.identity(name, options);
        let digests: &[&str] = if name == "ed25519" { &["sha512"] } else { &["sha256", "sha384", "sha512"] };
        for digest in digests {
            for more in [
                "",
                " -nodetach",
                " -keyid",
                " -noattr",
                " -nodetach -indef",
                " -keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:digest",
            ] {
                let fits = match name {
                    "rsa" => true,
                    "pss" => more.contains("pss"),
                    "ed25519" => !more.contains("pss") && more != " -noattr",
                    _ => !more.contains("pss"),
                };
                if !fits {
                    continue;
                }
                let command =
                    format!("cms -sign -in @/part -binary -signer @/{name}.crt -inkey @/{name}.key -md {digest}{more}");
                let output = place.attempt(&command, b"");
                if name == "ed25519" && !output.status.success() {
                    println!("left out: this OpenSSL does not sign CMS with Ed25519");
                    continue;
                }
                assert!(output.status.success(), "{command}: {}", said(&output));
                let entity = lines(&output.stdout);
                let Ok(Layer::Signed(found)) = open(&entity) else { panic!("{command}: {:?}", open(&entity)) };
                let signers = verify(&found, &[]).unwrap_or_else(|fault| panic!("{command}: {fault}"));
                assert_eq!(signers[0].certificate, *identity.certificate());
                assert_eq!(String::from_utf8_lossy(&found.content), PART, "{command}");
            }
        }
    }
}

#[test]
fn what_openssl_signs_with_sha1_or_md5_proves_nothing() {
    let Some(place) = Place::new("what_openssl_signs_with_sha1_or_md5_proves_nothing") else { return };
    place.write("part", PART.as_bytes());
    for (name, options) in [KEYS[0], KEYS[2]] {
        place.identity(name, options);
        for (digest, fault) in [("sha1", Fault::Weak("SHA-1")), ("md5", Fault::Weak("MD5"))] {
            let command = format!("cms -sign -in @/part -binary -signer @/{name}.crt -inkey @/{name}.key -md {digest}");
            let output = place.attempt(&command, b"");
            if !output.status.success() {
                continue;
            }
            let entity = lines(&output.stdout);
            let Ok(Layer::Signed(signed)) = open(&entity) else { panic!("{command}") };
            assert_eq!(verify(&signed, &[]), Err(fault));
        }
    }
}

#[test]
fn openssl_decrypts_what_we_encrypt() {
    let Some(place) = Place::new("openssl_decrypts_what_we_encrypt") else { return };
    for (name, options) in &KEYS[..3] {
        let identity = place.identity(name, options);
        for cipher in Cipher::ALL {
            for transport in [KeyTransport::Oaep, KeyTransport::Pkcs1] {
                let options = EncryptOptions { cipher, transport };
                let entity = encrypt(PART.as_bytes(), &[identity.certificate().clone()], &options).unwrap();
                let got = place.openssl(&format!("cms -decrypt -recip @/{name}.crt -inkey @/{name}.key"), &entity);
                assert_eq!(String::from_utf8_lossy(&got), PART, "{name} {options:?}");
            }
        }
    }
}

#[test]
fn we_decrypt_what_openssl_encrypts() {
    let Some(place) = Place::new("we_decrypt_what_openssl_encrypts") else { return };
    place.write("part", PART.as_bytes());
    let oaep = "-keyopt rsa_padding_mode:oaep";
    let sha256 = "-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256";
    for (name, options) in &KEYS[..3] {
        let identity = place.identity(name, options);
        let more: &[&str] = if *name == "rsa" {
            &["", oaep, sha256]
        } else {
            &["", "-keyopt ecdh_kdf_md:sha256", "-keyopt ecdh_kdf_md:sha384", "-aes256-wrap"]
        };
        for cipher in ["aes-128-gcm", "aes-256-gcm", "aes-128-cbc", "aes-256-cbc"] {
            for (more, flags) in more.iter().flat_map(|more| [(more, ""), (more, " -keyid"), (more, " -stream")]) {
                let wrap = if more.contains("wrap") { format!(" {more}") } else { String::new() };
                let more = if more.contains("keyopt") { format!(" {more}") } else { String::new() };
                let command =
                    format!("cms -encrypt -in @/part -binary -{cipher}{flags}{wrap} -recip @/{name}.crt{more}");
                let entity = lines(&place.openssl(&command, b""));
                let Ok(Layer::Encrypted(encrypted)) = open(&entity) else { panic!("{command}") };
                let got = decrypt(&encrypted, std::slice::from_ref(&identity));
                assert_eq!(got.as_deref(), Ok(PART.as_bytes()), "{command}");
            }
        }
    }
}

#[test]
fn files_of_keys_that_openssl_writes() {
    let Some(place) = Place::new("files_of_keys_that_openssl_writes") else { return };
    for (name, options) in KEYS {
        let identity = place.identity(name, options);
        let public = identity.certificate().public_key().unwrap();
        let file = format!("-inkey @/{name}.key -in @/{name}.crt -out @/{name}.p12 -passout pass:horse");
        for more in [
            "",
            " -macalg sha512",
            " -certpbe AES-128-CBC -keypbe AES-128-CBC",
            " -legacy",
            " -legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-2DES -iter 3 -maciter",
            " -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1",
            " -legacy -certpbe PBE-SHA1-RC4-128",
            " -nomac",
        ] {
            place.openssl(&format!("pkcs12 -export {file}{more}"), b"");
            let octets = std::fs::read(place.path(&format!("{name}.p12"))).unwrap();
            let found = Identity::from_pkcs12(&octets, "horse");
            let refused = match more {
                " -nomac" => Some(Fault::PassPhrase),
                " -legacy -certpbe PBE-SHA1-RC4-128" => Some(Fault::OldFile),
                _ => None,
            };
            if let Some(fault) = refused {
                assert_eq!(found.map(|_| ()), Err(fault), "{more}");
                continue;
            }
            assert_eq!(found.unwrap()[0].certificate(), identity.certificate(), "{name}{more}");
            assert_eq!(Identity::from_pkcs12(&octets, "mule").map(|_| ()), Err(Fault::PassPhrase));
        }
        for command in [
            format!("pkcs8 -topk8 -in @/{name}.key -passout pass:horse"),
            format!("pkcs8 -topk8 -in @/{name}.key -v1 PBE-SHA1-3DES -passout pass:horse"),
            format!("pkcs8 -topk8 -in @/{name}.key -nocrypt"),
            format!("pkey -in @/{name}.key -traditional"),
        ] {
            if command.contains("traditional") && matches!(name, "pss" | "ed25519") {
                continue;
            }
            let text = place.openssl(&command, b"");
            let key = Key::from_pem(&String::from_utf8(text).unwrap(), Some("horse")).unwrap();
            assert!(key.matches(&public), "{command}");
        }
    }
}

#[test]
fn openssl_reads_the_keys_that_we_write() {
    let Some(place) = Place::new("openssl_reads_the_keys_that_we_write") else { return };
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa, KeyKind::Ed25519, KeyKind::X25519] {
        let key = Key::generate(kind).unwrap();
        let encrypted = (kind == KeyKind::P256).then(|| key.to_encrypted_pem("horse").unwrap());
        for text in encrypted.into_iter().chain([key.to_pem()]) {
            place.write("key", text.as_bytes());
            let public = place.openssl("pkey -in @/key -passin pass:horse -pubout -outform DER", b"");
            assert_eq!(public, key.spki(), "{kind:?}");
        }
    }
}

/// OpenSSL 3.0 knows Ed25519, but not in CMS: it is given the octets that were signed.
#[test]
fn openssl_verifies_what_we_sign_with_ed25519() {
    let Some(place) = Place::new("openssl_verifies_what_we_sign_with_ed25519") else { return };
    let identity = place.identity("ed25519", KEYS[4].1);
    let entity = sign(PART.as_bytes(), &identity, &SignOptions::new(now())).unwrap();
    let Ok(Layer::Signed(signed)) = open(&entity) else { panic!() };
    let cms = signed.cms();
    place.write("cms", cms);
    let listing = String::from_utf8(place.openssl("asn1parse -inform DER -in @/cms", b"")).unwrap();
    let line = listing.lines().find(|line| line.contains(":d=5 ") && line.contains("cont [ 0 ]")).unwrap();
    let number = |after: &str| {
        let rest = line.split(after).nth(1).unwrap().trim_start();
        rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse::<usize>().unwrap()
    };
    let start: usize = line.trim_start().split(':').next().unwrap().parse().unwrap();
    let mut attributes = cms[start..start + number("hl=") + number(" l=")].to_vec();
    attributes[0] = 0x31;
    place.write("attributes", &attributes);
    place.write("signature", &cms[cms.len() - 64..]);
    let command = "pkeyutl -verify -rawin -in @/attributes -sigfile @/signature -inkey @/ed25519.key";
    let said = place.openssl(command, b"");
    assert!(String::from_utf8_lossy(&said).contains("Verified Successfully"));
}
