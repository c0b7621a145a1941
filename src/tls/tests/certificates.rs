use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::tls::certificates::{CertificateError, Change, Warning};
use crate::tls::{CertificateFiles, Names};

fn load_error(chain: &[u8], key: &[u8]) -> String {
    let directory = TempDir::new().unwrap();
    let files = CertificateFiles {
        names: Vec::new(),
        chain: directory.path().join("chain.pem"),
        key: directory.path().join("key.pem"),
    };
    std::fs::write(&files.chain, chain).unwrap();
    std::fs::write(&files.key, key).unwrap();
    let text = Certificates::load(vec![files]).unwrap_err().to_string();
    text.replace(&directory.path().display().to_string(), "")
}

fn check_error(chain: &str, key: &str, expected: &str) {
    let text = load_error(chain.as_bytes(), key.as_bytes());
    assert!(text.contains(expected), "{text}");
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let ca = authority("ca");
    let (a, b) = (made(&ca, &["a.example"]), made(&ca, &["b.example"]));
    check_error(&a.chain_pem, &b.key_pem, "the key in /key.pem does not belong to the first certificate in /chain.pem");
    check_error("", &a.key_pem, "/chain.pem has no certificate (BEGIN CERTIFICATE)");
    check_error(&a.key_pem, &a.key_pem, "/chain.pem has no certificate (BEGIN CERTIFICATE)");
    check_error(&a.chain_pem, &a.chain_pem, "/key.pem has no private key (BEGIN PRIVATE KEY)");
    let encrypted = a.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    check_error(&a.chain_pem, &encrypted, "the private key in /key.pem is encrypted");
    let cut = &a.chain_pem[..a.chain_pem.len() / 3];
    check_error(cut, &a.key_pem, "/chain.pem");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check_error(garbage, &a.key_pem, "/chain.pem cannot be used");
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    check_error(&a.chain_pem, garbage, "/key.pem cannot be used");
    check_error(&"x".repeat((1 << 20) + 1), &a.key_pem, "/chain.pem is larger than 1 MiB");
}

#[test]
fn a_file_that_is_not_there() {
    let files =
        CertificateFiles { names: Vec::new(), chain: "/nonexistent/x.pem".into(), key: "/nonexistent/x.key".into() };
    let error = Certificates::load(vec![files]).unwrap_err();
    assert!(matches!(error, CertificateError::Unreadable { .. }));
    assert!(error.to_string().starts_with("cannot read /nonexistent/x.pem: "), "{error}");
}

#[test]
fn warnings() {
    let directory = TempDir::new().unwrap();
    let ca = authority("ca");
    let mut leaf = Leaf::new(&["a.example"], now()).expired(now());
    let files = ca.issue(&leaf).unwrap().write(directory.path(), "a").unwrap();
    assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
    let found = |files: &CertificateFiles| Certificates::load(vec![files.clone()]).unwrap().warnings(now());
    assert!(matches!(found(&files)[..], [Warning::Expired { .. }]), "{:?}", found(&files));

    leaf.not_after = now().after(std::time::Duration::from_secs(86_400));
    let files = ca.issue(&leaf).unwrap().write(directory.path(), "a").unwrap();
    assert!(matches!(found(&files)[..], [Warning::ExpiresSoon { .. }]));

    let files = made(&ca, &["a.example"]).write(directory.path(), "a").unwrap();
    assert_eq!(found(&files), []);
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(found(&files), []);
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(found(&files), [Warning::KeyReadableByAll(files.key.clone())]);

    let files = made(&ca, &[]).write(directory.path(), "a").unwrap();
    assert_eq!(found(&files), [Warning::NoNames(files.chain.clone())]);
}

fn in_use(certificates: &Certificates) -> Vec<String> {
    let first = |names: &Names| names.dns().next().unwrap().to_owned();
    certificates.describe().iter().map(|described| first(&described.names)).collect()
}

#[test]
fn changed_files_are_read_again() {
    let directory = TempDir::new().unwrap();
    let ca = authority("ca");
    let write = |name: &str, file: &str| made(&ca, &[name]).write(directory.path(), file).unwrap();
    let files = vec![write("a.example", "a"), write("b.example", "b")];
    let certificates = Certificates::load(files.clone()).unwrap();
    assert_eq!(certificates.reload_changed(), []);

    write("new.example", "b");
    assert_eq!(certificates.reload_changed(), [Change::Reloaded { chain: files[1].chain.clone() }]);
    assert_eq!(in_use(&certificates), ["a.example", "new.example"]);
    assert!(certificates.names(&domain("new.example")) && !certificates.names(&domain("b.example")));
    assert_eq!(certificates.reload_changed(), []);
}

#[test]
fn a_broken_new_file_is_reported_once_and_the_old_one_stays() {
    let directory = TempDir::new().unwrap();
    let ca = authority("ca");
    let files = made(&ca, &["a.example"]).write(directory.path(), "a").unwrap();
    let certificates = Certificates::load(vec![files.clone()]).unwrap();
    let replace = |path: &Path, text: &str| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // As a tool does that writes one file after the other.
    let next = made(&ca, &["next.example"]);
    replace(&files.chain, &next.chain_pem);
    let changes = certificates.reload_changed();
    assert!(matches!(&changes[..], [Change::Kept { error: CertificateError::Mismatch { .. }, .. }]), "{changes:?}");
    assert_eq!(certificates.reload_changed(), []);
    assert_eq!(in_use(&certificates), ["a.example"]);
    replace(&files.key, &next.key_pem);
    assert!(matches!(certificates.reload_changed()[..], [Change::Reloaded { .. }]));
    assert_eq!(in_use(&certificates), ["next.example"]);

    std::fs::remove_file(&files.key).unwrap();
    assert!(matches!(
        certificates.reload_changed()[..],
        [Change::Kept { error: CertificateError::Unreadable { .. }, .. }]
    ));
    assert_eq!(certificates.reload_changed(), []);
    assert_eq!(in_use(&certificates), ["next.example"]);
}

#[test]
fn the_list_is_replaced_as_a_whole_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let ca = authority("ca");
    let a = made(&ca, &["a.example"]).write(directory.path(), "a").unwrap();
    let b = made(&ca, &["b.example"]).write(directory.path(), "b").unwrap();
    let certificates = Certificates::load(vec![a.clone()]).unwrap();
    let missing = CertificateFiles { chain: directory.path().join("none"), ..b.clone() };
    assert!(certificates.replace(vec![b.clone(), missing]).is_err());
    assert_eq!(in_use(&certificates), ["a.example"]);
    certificates.replace(vec![b, a]).unwrap();
    assert_eq!(in_use(&certificates), ["b.example", "a.example"]);
    assert_eq!(certificates.reload_changed(), []);
}

#[tokio::test]
async fn an_acceptor_shows_the_reloaded_certificate() {
    let directory = TempDir::new().unwrap();
    let ca = authority("ca");
    let files = made(&ca, &["a.example"]).write(directory.path(), "a").unwrap();
    let certificates = Certificates::load(vec![files]).unwrap();
    let acceptor = Acceptor::new(Arc::clone(&certificates), accept::Options::default()).unwrap();
    made(&ca, &["b.example"]).write(directory.path(), "a").unwrap();
    assert_eq!(certificates.reload_changed().len(), 1);
    let (client, _) =
        handshake(&acceptor, &connector(roots(&[&ca])), Some("b.example"), pkix(&["b.example"]), None).await;
    assert_eq!(client.unwrap().1, Proof::Pkix);
}

#[test]
fn names_given_by_configuration_count() {
    let directory = TempDir::new().unwrap();
    let ca = authority("ca");
    let mut files = made(&ca, &["a.example"]).write(directory.path(), "a").unwrap();
    files.names = vec![domain("other.example")];
    let certificates = Certificates::load(vec![files]).unwrap();
    assert!(certificates.names(&domain("other.example")));
    assert!(!certificates.names(&domain("third.example")));
}

#[test]
fn roots_of_files() {
    let directory = TempDir::new().unwrap();
    let (one, two) = (authority("one"), authority("two"));
    let path = directory.path().join("roots.pem");
    crate::tls::make::write_pem(&path, &format!("{}{}", one.pem(), two.pem())).unwrap();
    assert_eq!(Roots::from_files(&[&path]).unwrap().len(), 2);
    std::fs::write(&path, "nothing").unwrap();
    let text = Roots::from_files(&[&path]).unwrap_err().to_string();
    assert!(text.contains("has no certificate (BEGIN CERTIFICATE)"), "{text}");
    let text = Roots::from_files(&["/nonexistent"]).unwrap_err().to_string();
    assert!(text.contains("cannot read the trust anchors in /nonexistent"), "{text}");
    assert!(Roots::none().is_empty());
}
