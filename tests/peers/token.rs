//! SoftHSM: the key of a domain's authority in a token, and OpenSSL, which believes what it signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::tools::{find, have, run, said};

const PROGRAMS: &[&str] = &["softhsm2-util", "openssl"];
const LIBRARIES: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"];

/// A token, whose PIN is in a file, and the configuration of a domain whose daemon issues.
struct Place {
    directory: tempfile::TempDir,
    library: &'static str,
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists()).expect("SoftHSM's library");
        let place = Place { directory, library };
        fs::create_dir(place.path("tokens")).expect("a directory");
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\n", text(&place.path("tokens")));
        fs::write(place.path("softhsm2.conf"), conf).expect("SoftHSM's configuration");
        let phrase = text(&place.path("pin"));
        let config = format!(
            "host = \"mx.a.test\"\nspool = \"spool\"\n[[domain]]\nname = \"a.test\"\n[[listen]]\nservice = \"mail\"\n\
             address = \"127.0.0.1:2525\"\n[smime]\nroots = []\n\
             [[authority]]\ndomain = \"a.test\"\npassphrase_file = {phrase:?}\n"
        );
        fs::write(place.path("impart.toml"), config).expect("the configuration");
        fs::write(phrase, "1234\n").expect("the PIN");
        let label = ["--init-token", "--free", "--label", "Our token", "--pin", "1234", "--so-pin", "5678"];
        let mut util = Command::new(find("softhsm2-util").expect("it is there"));
        let made = util.args(label).env("SOFTHSM2_CONF", place.path("softhsm2.conf")).output().expect("it starts");
        assert!(made.status.success(), "{}", said(&made));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn uri(&self, object: &str) -> String {
        format!("pkcs11:token=Our%20token;object={object}?module-path={}", self.library)
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impartctl"));
        command.arg("--config").arg(self.path("impart.toml")).args(arguments);
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.current_dir(self.directory.path()).output().expect("impartctl starts")
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], words: &str) {
        let output = self.ctl(arguments);
        assert!(!output.status.success() && said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }

    fn verified(&self) -> Output {
        let authority = self.path("spool/ca/a.test");
        let [ca, crl, file] =
            [authority.join("ca.pem"), authority.join("ca.crl"), self.path("alice@a.test.pem")].map(|path| text(&path));
        let purpose = ["verify", "-x509_strict", "-purpose", "smimesign", "-crl_check"];
        run("openssl", &[&purpose[..], &["-CAfile", &ca, "-CRLfile", &crl, &file]].concat(), b"")
    }
}

#[test]
fn the_key_of_an_authority_stays_in_its_token() {
    if !have("the_key_of_an_authority_stays_in_its_token", PROGRAMS) {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("spool")).expect("a directory");
    place.refused(&["cert", "init", "a.test", "--pkcs11", &place.uri("a.test").replace("Our", "Their")], "no token");
    place.refused(&["cert", "init", "a.test", "--pkcs11", "pkcs11:token=x"], "module-path");
    place.done(&["cert", "init", "a.test", "--pkcs11", &place.uri("a.test")]);
    let authority = place.path("spool/ca/a.test");
    assert!(!authority.join("ca.key").exists(), "nothing of the key is on the disk");
    place.done(&["cert", "issue", "alice@a.test", "--out", "."]);
    let verified = place.verified();
    assert!(verified.status.success(), "{}", said(&verified));
    place.done(&["cert", "revoke", "alice@a.test"]);
    let verified = place.verified();
    assert!(!verified.status.success() && said(&verified).contains("revoked"), "{}", said(&verified));
    // The daemon opens it the same way.
    let checked = said(&place.ctl(&["check"]));
    assert!(checked.contains("the daemon issues them by itself"), "{checked}");
    // One key is not two authorities', and who does not know the PIN signs nothing.
    fs::remove_file(authority.join("ca.pem")).expect("the certificate");
    place.refused(&["cert", "init", "a.test", "--pkcs11", &place.uri("a.test")], "has a key");
    place.done(&["cert", "init", "a.test", "--pkcs11", &place.uri("another")]);
    fs::write(place.path("pin"), "4321\n").expect("the PIN");
    place.refused(&["cert", "renew", "a.test"], "PIN");
}
