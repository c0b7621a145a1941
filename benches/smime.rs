//! S/MIME: signatures made and verified per second on one core, and what of it the primitive costs.
//!
//! `cargo bench --bench smime [-- SECONDS]`: seconds for each number (default 2). A whole message is signed or verified,
//! from octets to octets: of a signer who was believed before, and, as `first`, of one who was not; the primitive is the
//! same library's signature over the signed attributes alone. Where OpenSSL is installed, its own speed for the same
//! algorithm stands beside it.

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use impart::smime::{
    Cipher, EncryptOptions, Identity, KeyKind, Layer, Memory, RsaScheme, SignOptions, check, decrypt, encrypt, open,
    sign, verify_with,
};
use impart::timestamp::Timestamp;

const PART: &[u8] = b"Content-Type: text/plain; charset=utf-8; hp=\"clear\"\r\nFrom: alice@a.example\r\nTo: bob@b.example\r\n\
    Date: Mon, 23 Nov 2026 08:47:00 +0000\r\nMessage-ID: <0123456789abcdef0123456789abcdef@a.example>\r\nSubject: hello\r\n\r\n\
    Hello, Bob. This is a message of ordinary length for people who chat.\r\n";

/// As long as the signed attributes are.
const ATTRIBUTES: [u8; 300] = [7; 300];

fn main() {
    let seconds: f64 = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(2.0);
    let time = Duration::from_secs_f64(seconds);
    println!("key      what     messages/s  primitive/s  share  openssl/s  share");
    for (name, kind, speed) in [
        ("P-256", KeyKind::P256, "ecdsap256"),
        ("P-384", KeyKind::P384, "ecdsap384"),
        ("Ed25519", KeyKind::Ed25519, "ed25519"),
        ("RSA-2048", KeyKind::Rsa, "rsa2048"),
    ] {
        let identity = identity(kind);
        let now = SignOptions::new(Timestamp::from(std::time::SystemTime::now()));
        let (openssl_sign, openssl_verify) = openssl(speed, time).unwrap_or_default();
        let made = rate(time, || sign(PART, &identity, &now).is_ok());
        let primitive = rate(time, || identity.key().sign(&ATTRIBUTES, RsaScheme::Pkcs1).is_ok());
        line(name, "sign", made, primitive, openssl_sign);
        let entity = sign(PART, &identity, &now).expect("it signs");
        let verifies = |memory: &Memory| match open(&entity) {
            Ok(Layer::Signed(signed)) => verify_with(&signed, &[], memory).is_ok(),
            _ => false,
        };
        let memory = Memory::default();
        let first = rate(time, || verifies(&memory));
        memory.keep(identity.certificate());
        let verified = rate(time, || verifies(&memory));
        let signature = identity.key().sign(&ATTRIBUTES, RsaScheme::Pkcs1).expect("it signs");
        let public = identity.certificate().public_key().expect("a public key");
        let primitive = rate(time, || check(&public, &signature.algorithm, &ATTRIBUTES, &signature.value).is_ok());
        line(name, "verify", verified, primitive, openssl_verify);
        println!("{name:<9}first    {first:>10.0}");
        if identity.certificate().may_encrypt() {
            let to = [identity.certificate().clone()];
            let options = EncryptOptions { cipher: Cipher::Aes256Gcm, ..EncryptOptions::default() };
            let made = rate(time, || encrypt(PART, &to, &options).is_ok());
            let Ok(Layer::Encrypted(encrypted)) = open(&encrypt(PART, &to, &options).expect("it encrypts")) else {
                return;
            };
            let read = rate(time, || decrypt(&encrypted, std::slice::from_ref(&identity)).is_ok());
            println!("{name:<9}encrypt  {made:>10.0}\n{name:<9}decrypt  {read:>10.0}");
        }
    }
}

fn line(name: &str, what: &str, rate: f64, primitive: f64, openssl: f64) {
    let beside = match openssl {
        0.0 => "        -      -".to_owned(),
        _ => format!("{openssl:>9.0}  {:>4.0}%", 100.0 * rate / openssl),
    };
    println!("{name:<9}{what:<9}{rate:>10.0}  {primitive:>11.0}  {:>4.0}%  {beside}", 100.0 * rate / primitive);
}

/// How often a second of the processor's time it succeeds: others may be at work here.
fn rate(time: Duration, mut once: impl FnMut() -> bool) -> f64 {
    let start = worked();
    let mut count = 0u32;
    loop {
        for _ in 0..64 {
            assert!(black_box(once()));
        }
        count += 64;
        let spent = worked().saturating_sub(start);
        if spent >= time {
            return f64::from(count) / spent.as_secs_f64();
        }
    }
}

/// Time that this thread has had of a processor.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells how long a thread ran");
    let nanos = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanos.expect("its first number is nanoseconds"))
}

/// A key and its certificate, self-signed.
fn identity(kind: KeyKind) -> Identity {
    let algorithm = match kind {
        KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyKind::Ed25519 => &rcgen::PKCS_ED25519,
        KeyKind::Rsa => &rcgen::PKCS_RSA_SHA256,
        _ => &rcgen::PKCS_ECDSA_P256_SHA256,
    };
    let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    Identity::from_pem(&key.serialize_pem(), &certificate.pem(), None).expect("an identity")
}

/// Signatures and verifications a second by OpenSSL on one core; nothing where it is not installed.
fn openssl(name: &str, time: Duration) -> Option<(f64, f64)> {
    let seconds = time.as_secs().max(1).to_string();
    let output = Command::new("openssl").args(["speed", "-seconds", &seconds, name]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.lines().last()?.split_whitespace().rev().map(str::parse::<f64>);
    let verified = numbers.next()?.ok()?;
    Some((numbers.next()?.ok()?, verified))
}
