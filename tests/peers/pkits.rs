//! NIST's test suite for paths of certificates (PKITS 1.0.1), as Debian's package python3-cryptography-vectors carries it.
//!
//! Each end entity's file says in its name whether its path is valid. All authorities and lists of the suite are
//! configured at once, so that our search has to find the path too. What is expected differs from the suite only where
//! [`EXCEPTIONS`] says why.

use std::fs;
use std::path::{Path, PathBuf};

use impart::address::Mailbox;
use impart::smime::Certificate;
use impart::smime::trust::{Anchors, Presented, Trust};
use impart::timestamp::Timestamp;

use crate::common::tools::leave_out;

const SUITE: &str = "/usr/lib/python3/dist-packages/cryptography_vectors/x509/PKITS_data";

/// 2025-01-01: most certificates of the suite end with 2030.
const AT: Timestamp = Timestamp::from_secs(1_735_689_600);

/// What begins a name, whether we accept it, and why that differs from the suite.
const EXCEPTIONS: &[(&str, bool, &str)] = &[
    ("ValidDSA", false, "DSA is no algorithm of S/MIME 4.0"),
    ("Validpre2000UTCnotBeforeDateTest3", false, "times before 1970 cannot be read"),
    ("ValidIDPwithindirectCRLTest24", false, "a list that speaks for other issuers tells nothing"),
    ("ValidIDPwithindirectCRLTest25", false, "a list that speaks for other issuers tells nothing"),
    ("ValidcRLIssuer", false, "a list that speaks for other issuers tells nothing"),
    ("ValidonlySomeReasons", false, "a list of some reasons tells nothing of the others"),
    ("ValiddistributionPointTest4", false, "a list for a part whose name is relative tells nothing"),
    ("ValiddistributionPointTest5", false, "a list for a part whose name is relative tells nothing"),
    ("ValiddistributionPointTest7", false, "a list for a part whose name is relative tells nothing"),
    ("ValidBasicSelfIssuedNewWithOldTest4", false, "a list signed with a key that is in no path tells nothing"),
    ("ValidBasicSelfIssuedCRLSigningKeyTest6", false, "a list signed with a key that is in no path tells nothing"),
    ("ValidSeparateCertificateandCRLKeysTest19", false, "a list signed with a key that is in no path tells nothing"),
    ("ValiddeltaCRLTest5", false, "delta lists are not read: what the whole list says stands"),
    ("InvaliddeltaCRLTest4", true, "delta lists are not read: what the whole list says stands"),
];

fn suite() -> Option<PathBuf> {
    let found = Path::new(SUITE).is_dir();
    if !found {
        leave_out("PKITS (not installed: python3-cryptography-vectors)");
    }
    found.then(|| PathBuf::from(SUITE))
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    all.sort();
    all
}

fn trust(suite: &Path) -> Trust {
    let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
    for (name, octets) in files(&suite.join("certs")) {
        let Ok(certificate) = Certificate::from_der(&octets) else { continue };
        if name == "TrustAnchorRootCertificate" {
            roots.push(certificate);
        } else if !name.ends_with("EE") {
            intermediates.push(certificate);
        }
    }
    let crls = files(&suite.join("crls")).into_iter().map(|(_, octets)| octets).collect();
    Trust::new(&Anchors { roots, intermediates, crls, require_crls: true }).unwrap()
}

#[test]
fn paths_of_the_suite() {
    let Some(suite) = suite() else { return };
    let trust = trust(&suite);
    let author = Mailbox::parse("alice@a.example").unwrap();
    let (mut faults, mut used, mut tried) = (Vec::new(), vec![false; EXCEPTIONS.len()], 0);
    for (name, octets) in files(&suite.join("certs")) {
        let valid = name.starts_with("Valid");
        if !name.ends_with("EE") || !(valid || name.starts_with("Invalid")) {
            continue;
        }
        tried += 1;
        let judged = Certificate::from_der(&octets).map_err(|fault| fault.to_string()).and_then(|certificate| {
            let signer = Presented { certificate: &certificate, offered: &[], lists: &[], signed_at: AT, now: AT };
            trust.judge(&signer, &author, None, &[]).map_err(|refusal| format!("{refusal:?}"))
        });
        let exception = EXCEPTIONS.iter().position(|(start, ..)| name.starts_with(start));
        let expected = exception.map_or(valid, |at| {
            used[at] |= EXCEPTIONS[at].1 != valid;
            EXCEPTIONS[at].1
        });
        if judged.is_ok() != expected {
            faults.push(format!("{name}: {judged:?}"));
        }
    }
    for (exception, _) in EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used) {
        faults.push(format!("no longer an exception: {exception:?}"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(tried > 200, "{tried} of the suite");
}
