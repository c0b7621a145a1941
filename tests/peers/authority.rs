//! OpenSSL and a domain's own authority: what `impartctl cert` makes is what others can use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::tools::{have, run, said};

/// The authority of a.test, in a directory of its own.
struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let directory = tempfile::tempdir().unwrap();
        let text = "host = \"mx.a.test\"\nspool = \"spool\"\n[[domain]]\nname = \"a.test\"\n\
            [[listen]]\nservice = \"mail\"\naddress = \"127.0.0.1:2525\"\n";
        fs::write(directory.path().join("impart.toml"), text).unwrap();
        fs::write(directory.path().join("phrase"), "correct horse\nsecond line\n").unwrap();
        fs::create_dir(directory.path().join("out")).unwrap();
        let authority = Authority { directory };
        let made = authority.cert(&["init", "a.test"]);
        assert!(made.status.success(), "{}", said(&made));
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn cert(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impartctl"));
        command.arg("--config").arg(self.path("impart.toml")).arg("cert").args(arguments);
        command.arg("--ca").arg(self.path("ca")).arg("--passphrase-file").arg(self.path("phrase"));
        command.current_dir(self.directory.path()).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.cert(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn issue(&self, address: &str) {
        self.done(&["issue", address, "--out", &self.text("out")]);
    }

    /// What OpenSSL thinks of a certificate as a signer of mail, the list asked.
    fn verify(&self, file: &str) -> Output {
        let (ca, crl) = (self.text("ca/a.test/ca.pem"), self.text("ca/a.test/ca.crl"));
        let file = self.text(file);
        run(
            "openssl",
            &["verify", "-x509_strict", "-purpose", "smimesign", "-crl_check", "-CAfile", &ca, "-CRLfile", &crl, &file],
            b"",
        )
    }
}

fn openssl(arguments: &[&str]) -> String {
    let output = run("openssl", arguments, b"");
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn openssl_reads_what_the_authority_makes() {
    if !have("openssl_reads_what_the_authority_makes", &["openssl"]) {
        return;
    }
    let authority = Authority::new();
    let ca = openssl(&["x509", "-in", &authority.text("ca/a.test/ca.pem"), "-noout", "-text"]);
    for text in
        ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "email:a.test", "X509v3 Name Constraints: critical"]
    {
        assert!(ca.contains(text), "{text} is not in {ca}");
    }
    let key = fs::read_to_string(authority.path("ca/a.test/ca.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{key}");
    let opened =
        ["pkey", "-in", &authority.text("ca/a.test/ca.key"), "-passin", "pass:correct horse", "-noout", "-text"];
    assert!(openssl(&opened).contains("P-256"));
    let scheme = openssl(&["asn1parse", "-in", &authority.text("ca/a.test/ca.key")]);
    assert!(
        scheme.contains("PBES2") && scheme.contains("aes-256-cbc") && scheme.contains("hmacWithSHA512"),
        "{scheme}"
    );

    authority.issue("alice@a.test");
    let alice = openssl(&["x509", "-in", &authority.text("out/alice@a.test.pem"), "-noout", "-text"]);
    for text in ["email:alice@a.test", "URI:im:alice@a.test", "E-mail Protection", "Digital Signature", "CA:FALSE"] {
        assert!(alice.contains(text), "{text} is not in {alice}");
    }
    let verified = authority.verify("out/alice@a.test.pem");
    assert!(verified.status.success(), "{}", said(&verified));
    authority.issue("presence@a.test");
    assert!(authority.verify("out/presence@a.test.pem").status.success());
    let crl = openssl(&["crl", "-in", &authority.text("ca/a.test/ca.crl"), "-noout", "-text"]);
    assert!(crl.contains("No Revoked Certificates") && crl.contains("X509v3 CRL Number"), "{crl}");
}

#[test]
fn openssl_sees_who_is_revoked() {
    if !have("openssl_sees_who_is_revoked", &["openssl"]) {
        return;
    }
    let authority = Authority::new();
    authority.issue("alice@a.test");
    authority.issue("bob@a.test");
    authority.done(&["revoke", "alice@a.test"]);
    let revoked = authority.verify("out/alice@a.test.pem");
    assert!(said(&revoked).contains("certificate revoked"), "{}", said(&revoked));
    assert!(authority.verify("out/bob@a.test.pem").status.success());
    let rows = authority.done(&["list"]);
    let state = |address: &str| {
        let row = rows.lines().find(|row| row.ends_with(address)).unwrap_or_else(|| panic!("{address}: {rows}"));
        row.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((state("alice@a.test").as_str(), state("bob@a.test").as_str()), ("revoked", "valid"));
    // The list keeps who is on it when it is renewed, and its number grows.
    authority.done(&["renew", "a.test"]);
    assert!(!authority.verify("out/alice@a.test.pem").status.success());
    let number = openssl(&["crl", "-in", &authority.text("ca/a.test/ca.crl"), "-noout", "-crlnumber"]);
    assert_eq!(number.trim(), "crlNumber=0x05");
    let again = authority.cert(&["revoke", "alice@a.test"]);
    assert_eq!(again.status.code(), Some(65), "{}", said(&again));
}

#[test]
fn a_request_of_openssl_is_certified() {
    if !have("a_request_of_openssl_is_certified", &["openssl"]) {
        return;
    }
    let authority = Authority::new();
    for (kind, name) in [("rsa:2048", "rsa"), ("ed25519", "ed25519"), ("ec", "ec")] {
        let (key, request) = (authority.text(&format!("{name}.key")), authority.text(&format!("{name}.csr")));
        let mut arguments = vec!["req", "-new", "-nodes", "-newkey", kind, "-subj", "/CN=mallory@b.test"];
        if kind == "ec" {
            arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-384"]);
        }
        arguments.extend(["-keyout", &key, "-out", &request]);
        openssl(&arguments);
        let chain = authority.done(&["issue", "carol@a.test", "--request", &request]);
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "its own and the authority's");
        fs::write(authority.path("out/carol.pem"), &chain).unwrap();
        let verified = authority.verify("out/carol.pem");
        assert!(verified.status.success(), "{kind}: {}", said(&verified));
        let names =
            openssl(&["x509", "-in", &authority.text("out/carol.pem"), "-noout", "-ext", "subjectAltName", "-subject"]);
        assert!(names.contains("email:carol@a.test") && !names.contains("mallory"), "{names}");
        let public = openssl(&["x509", "-in", &authority.text("out/carol.pem"), "-noout", "-pubkey"]);
        assert_eq!(public, openssl(&["pkey", "-in", &key, "-pubout"]));
    }
    // The newest again, with the same key and another number.
    let before = openssl(&["x509", "-in", &authority.text("out/carol.pem"), "-noout", "-serial", "-pubkey"]);
    fs::write(authority.path("out/carol.pem"), authority.done(&["renew", "carol@a.test"])).unwrap();
    let after = openssl(&["x509", "-in", &authority.text("out/carol.pem"), "-noout", "-serial", "-pubkey"]);
    let (before, after) = (before.split_once('\n').unwrap(), after.split_once('\n').unwrap());
    assert_ne!(before.0, after.0);
    assert!(authority.verify("out/carol.pem").status.success());
}

#[test]
fn what_is_signed_with_it_is_verified_by_openssl() {
    if !have("what_is_signed_with_it_is_verified_by_openssl", &["openssl"]) {
        return;
    }
    let authority = Authority::new();
    authority.issue("alice@a.test");
    let (cert, key) = (authority.text("out/alice@a.test.pem"), authority.text("out/alice@a.test.key"));
    let signed = authority.text("signed.eml");
    fs::write(authority.path("text"), "Content-Type: text/plain\r\n\r\nHello\r\n").unwrap();
    openssl(&["cms", "-sign", "-in", &authority.text("text"), "-signer", &cert, "-inkey", &key, "-out", &signed]);
    let ca = authority.text("ca/a.test/ca.pem");
    let verified = run("openssl", &["cms", "-verify", "-in", &signed, "-CAfile", &ca, "-purpose", "smimesign"], b"");
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn mistakes_are_told() {
    let authority = Authority::new();
    let fault = |arguments: &[&str], expected: &str| {
        let output = authority.cert(arguments);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{arguments:?}: {}", said(&output));
    };
    fault(&["init", "a.test"], "has an authority already");
    fault(&["init", "b.test"], "not served here");
    fault(&["issue", "alice@b.test"], "has no authority; make one with impartctl cert init b.test");
    fault(&["renew", "alice@a.test"], "no such certificate");
    fault(&["revoke", "00112233445566778899aabbccddeeff"], "no such certificate");
    fs::write(authority.path("phrase"), "wrong\n").unwrap();
    fault(&["issue", "alice@a.test", "--out", &authority.text("out")], "pass phrase is wrong");
    assert!(!exists(&authority.path("out/alice@a.test.key")));
}

fn exists(path: &Path) -> bool {
    path.exists()
}

#[test]
fn the_record_to_publish_is_the_authority() {
    let authority = Authority::new();
    // Where `impartctl dns` looks: beside the file of accounts.
    fs::create_dir_all(authority.path("spool")).unwrap();
    fs::rename(authority.path("ca"), authority.path("spool/ca")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_impartctl"));
    command.arg("--config").arg(authority.path("impart.toml")).arg("dns");
    let output = command.current_dir(authority.directory.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let record = text.lines().find(|line| line.starts_with("*._smimecert.a.test.")).unwrap_or_else(|| panic!("{text}"));
    let data = record.split_whitespace().last().unwrap();
    let pem = fs::read_to_string(authority.path("spool/ca/a.test/ca.pem")).unwrap();
    let certificate = impart::smime::Certificate::from_pem(&pem).unwrap().swap_remove(0);
    let expected: String = certificate.der().iter().map(|octet| format!("{octet:02x}")).collect();
    assert!(record.contains("IN SMIMEA 2 0 0 ") && data == expected, "{record}");
}
