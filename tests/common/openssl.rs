//! OpenSSL's command as an authority, a signer and a reader of S/MIME: what other people's software makes and reads.

use std::fs;
use std::path::{Path, PathBuf};

use super::person::Person;
use super::tools::{run, said};

/// An authority for mail, in a directory of its own.
pub struct Authority {
    directory: PathBuf,
}

/// Runs `openssl`, which must succeed; what it printed.
pub fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = run("openssl", arguments, input);
    assert!(output.status.success(), "openssl {arguments:?}: {}", said(&output));
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

impl Authority {
    /// A new one in a directory, which is made.
    pub fn new(directory: &Path) -> Authority {
        fs::create_dir_all(directory).expect("a directory");
        let authority = Authority { directory: directory.to_owned() };
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        let name =
            ["-subj", "/CN=Authority for mail", "-days", "30", "-keyout", text(&key), "-out", text(&certificate)];
        let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        openssl(
            &[&["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"], &name[..], &usage]
                .concat(),
            b"",
        );
        authority
    }

    /// A file of its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// A certificate for a request, naming that address.
    pub fn certify(&self, request: &Path, address: &str, name: &str) -> PathBuf {
        self.certify_with(request, address, name, "")
    }

    fn certify_with(&self, request: &Path, address: &str, name: &str, more: &str) -> PathBuf {
        let (extensions, certificate) = (self.file(&format!("{name}.ext")), self.file(&format!("{name}.pem")));
        let lines = format!(
            "subjectAltName=email:{address}\nextendedKeyUsage=emailProtection\n\
             keyUsage=digitalSignature,keyAgreement\nbasicConstraints=critical,CA:FALSE\n{more}"
        );
        fs::write(&extensions, lines).expect("the extensions");
        let (ca, key) = (self.certificate(), self.file("ca.key"));
        let files = ["-CA", text(&ca), "-CAkey", text(&key), "-extfile", text(&extensions), "-out", text(&certificate)];
        openssl(&[&["x509", "-req", "-days", "10", "-in", text(request)], &files[..]].concat(), b"");
        certificate
    }

    /// A key and a certificate for an address, made by OpenSSL alone.
    pub fn somebody(&self, address: &str) -> Somebody {
        self.made(address, "")
    }

    /// The same, whose certificate says where a list of revoked ones is.
    pub fn somebody_with(&self, address: &str, list: &str) -> Somebody {
        self.made(address, &format!("crlDistributionPoints=URI:{list}\n"))
    }

    /// Writes `ca.crl`, a list of revoked certificates with this one on it.
    pub fn revoke(&self, somebody: &Somebody) {
        let (settings, index, list) = (self.file("ca.cnf"), self.file("index.txt"), self.file("ca.crl"));
        // Only a list with a number is of the second version, which RFC 5280 §5 wants.
        let number = self.file("number.txt");
        let lines = format!(
            "[ca]\ndefault_ca=this\n[this]\ndatabase={}\ncrlnumber={}\ndefault_md=sha256\ndefault_crl_days=2\n",
            text(&index),
            text(&number)
        );
        fs::write(&settings, lines).expect("the settings");
        fs::write(&index, "").expect("the index");
        fs::write(&number, "01\n").expect("the number");
        let (key, ca) = (self.file("ca.key"), self.certificate());
        let common = ["ca", "-config", text(&settings), "-keyfile", text(&key), "-cert", text(&ca)];
        openssl(&[&common[..], &["-revoke", text(&somebody.certificate)]].concat(), b"");
        openssl(&[&common[..], &["-gencrl", "-out", text(&list)]].concat(), b"");
    }

    fn made(&self, address: &str, more: &str) -> Somebody {
        let (key, request) = (self.file(&format!("{address}.key")), self.file(&format!("{address}.csr")));
        let made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"];
        openssl(&[&["req", "-new", "-keyout", text(&key), "-out", text(&request)], &made[..]].concat(), b"");
        let certificate = self.certify_with(&request, address, address, more);
        Somebody { key, certificate }
    }

    /// Gives a person of `impart` a key and a certificate of it, and has this authority believed.
    pub fn enrol(&self, person: &Person) {
        let told = person.done(&["key", "new"]);
        let request = told.lines().map(str::trim).find(|line| line.ends_with(".csr")).expect("the file of the request");
        let certificate = self.certify(Path::new(request), &person.address, &person.address);
        person.done(&["key", "import", text(&certificate)]);
        self.believed_by(person);
    }

    /// Has a person believe whom this authority names.
    pub fn believed_by(&self, person: &Person) {
        let file = person.home.join("config/impart/config.toml");
        let config = fs::read_to_string(&file).expect("the configuration");
        fs::write(&file, format!("{config}smime-ca = {:?}\n", self.certificate())).expect("the configuration");
    }

    /// What OpenSSL says of a signed entity: the content that was signed.
    pub fn verified(&self, entity: &[u8]) -> Vec<u8> {
        let (input, ca) = (self.file("verify.eml"), self.certificate());
        fs::write(&input, entity).expect("the entity");
        let purpose = ["-purpose", "smimesign", "-CAfile", text(&ca)];
        openssl(&[&["cms", "-verify", "-in", text(&input)], &purpose[..]].concat(), b"")
    }
}

/// Somebody with a key and a certificate in files.
pub struct Somebody {
    /// The key.
    pub key: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
}

impl Somebody {
    /// Signs a part; an entity, with CRLF, that begins with its structural fields.
    pub fn sign(&self, part: &[u8]) -> Vec<u8> {
        let arguments = ["cms", "-sign", "-md", "sha256", "-crlfeol", "-binary", "-signer", text(&self.certificate)];
        crlf(&openssl(&[&arguments[..], &["-inkey", text(&self.key)]].concat(), part))
    }

    /// Encrypts a part to somebody's certificate.
    pub fn encrypt(part: &[u8], certificate: &Path) -> Vec<u8> {
        crlf(&openssl(&["cms", "-encrypt", "-aes256", "-binary", text(certificate)], part))
    }

    /// Decrypts an entity; `None` where OpenSSL cannot.
    pub fn decrypt(&self, entity: &[u8]) -> Option<Vec<u8>> {
        let arguments = ["cms", "-decrypt", "-recip", text(&self.certificate), "-inkey", text(&self.key)];
        let output = run("openssl", &arguments, entity);
        output.status.success().then_some(output.stdout)
    }
}

/// Every end of a line as the wire has it.
pub fn crlf(text: &[u8]) -> Vec<u8> {
    let lines = String::from_utf8_lossy(text).replace("\r\n", "\n");
    lines.replace('\n', "\r\n").into_bytes()
}
