//! The person's keys, and the certificates of others, as files of the account's directory.
//!
//! In: keys and certificates. Out: the same, after any crash. Invariants: a file with a secret key is its owner's alone and
//! never replaced by another key; a certificate of others is replaced only by one that was in use later. Fails with
//! [`KeyError`], which names the file.
//!
//! | in the account's directory | |
//! | --- | --- |
//! | `keys/NAME.key` | a secret key, PKCS #8 in PEM; NAME is made of its public key |
//! | `keys/NAME.csr` | the request for its certificate (RFC 2986) |
//! | `keys/NAME.asked` | when the domain was asked for its certificate last; there where it is the domain's to issue |
//! | `keys/NAME.sought` | when the domain was asked last whether another device has renewed its certificate |
//! | `keys/NAME.pem` | its certificate and those above it |
//! | `keys/NAME.revoked` | its certificate was revoked at its owner's wish |
//! | `keys/NAME.past` | its certificates before that, the latest first: messages are encrypted to them |
//! | `certificates/ADDRESS.pem` | the latest certificate of somebody, behind lines that say when it was in use, and what its owner can decrypt |

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, SanType};

use super::account::directory_name;
use crate::address::Mailbox;
use crate::disk;
use crate::limits;
use crate::smime::authority::Request;
use crate::smime::{Certificate, Cipher, Fault, Identity, Key, KeyKind};
use crate::timestamp::Timestamp;

/// Keys of one account that are looked at.
const KEYS: usize = 100;
/// Earlier certificates of one key that are kept.
const PAST: usize = 20;
/// What stands before the time in a file of a certificate, and before the ciphers.
const IN_USE: &str = "in use at ";
const READS: &str = "reads ";
/// id-on-SmtpUTF8Mailbox (RFC 9598 §3).
const SMTP_UTF8_MAILBOX: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 9];

/// What goes wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// A request cannot be written.
    #[error("the request for a certificate cannot be written: {0}")]
    Request(String),
    /// A key cannot be made.
    #[error("no key can be made: {0}")]
    Make(Fault),
}

impl KeyError {
    /// Whether the system is at fault, and no file's content.
    fn is_of_system(&self) -> bool {
        matches!(self, KeyError::System { source, .. } if source.kind() != std::io::ErrorKind::InvalidData)
    }
}

/// A key of the person's.
#[derive(Clone, Debug)]
pub struct Own {
    /// The name of its files.
    pub name: String,
    /// The key.
    pub key: Key,
    /// Its certificate and those above it; empty until there is one.
    pub chain: Vec<Certificate>,
}

impl Own {
    /// The key with its certificate.
    pub fn identity(&self) -> Option<Identity> {
        Identity::new(self.key.clone(), self.chain.clone()).ok()
    }

    /// Whether messages can be signed with it at that time.
    pub fn can_sign(&self, at: Timestamp) -> bool {
        self.chain.first().is_some_and(|certificate| certificate.may_sign() && is_in_time(certificate, at))
    }
}

/// What is known of somebody's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// It, and those above it.
    pub chain: Vec<Certificate>,
    /// What its owner can decrypt, best first; empty where nothing is said.
    pub ciphers: Vec<Cipher>,
    /// When it was in use last.
    pub seen: Timestamp,
}

impl Known {
    /// As one to encrypt to.
    pub fn reader(self) -> Option<Reader> {
        let certificate = self.chain.into_iter().next()?;
        Some(Reader { certificate, ciphers: self.ciphers })
    }
}

/// Somebody to encrypt to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The certificate.
    pub certificate: Certificate,
    /// What it is known to decrypt; empty where nothing is said.
    pub ciphers: Vec<Cipher>,
}

/// Whether a certificate is in its time.
pub fn is_in_time(certificate: &Certificate, at: Timestamp) -> bool {
    certificate.not_before() <= at && at <= certificate.not_after()
}

/// The store.
#[derive(Clone, Debug)]
pub struct Keys {
    own: PathBuf,
    others: PathBuf,
}

impl Keys {
    /// In an account's directory; nothing is made before something is kept.
    pub fn at(directory: &Path) -> Keys {
        Keys { own: directory.join("keys"), others: directory.join("certificates") }
    }

    /// The person's keys, in order of their names.
    pub fn own(&self) -> Result<Vec<Own>, KeyError> {
        self.names()?.into_iter().map(|name| self.read_own(name)).collect()
    }

    fn names(&self) -> Result<Vec<String>, KeyError> {
        let entries = match fs::read_dir(&self.own) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(KeyError::System { path: self.own.clone(), source }),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".key").map(str::to_owned))
            .take(KEYS)
            .collect();
        names.sort();
        Ok(names)
    }

    fn read_own(&self, name: String) -> Result<Own, KeyError> {
        let path = self.file(&name, "key");
        let text = zeroize::Zeroizing::new(read(&path)?.unwrap_or_default());
        let key = Key::from_pem(&text, None).map_err(|fault| KeyError::Content { path, fault })?;
        let path = self.file(&name, "pem");
        let chain = match read(&path)? {
            Some(text) => Certificate::from_pem(&text).map_err(|fault| KeyError::Content { path, fault })?,
            None => Vec::new(),
        };
        Ok(Own { name, key, chain })
    }

    /// The key to sign with: of those whose certificate is in its time, the one with the latest.
    pub fn signer(&self, at: Timestamp) -> Result<Option<Identity>, KeyError> {
        let own = self.own()?;
        let usable = own.iter().filter(|own| own.can_sign(at));
        let latest = usable.max_by_key(|own| own.chain.first().map(Certificate::not_before));
        Ok(latest.and_then(Own::identity))
    }

    /// All keys with a certificate, to decrypt with, also under the certificates that they had before; and what is damaged,
    /// which does not keep the others from reading. Fails where the system does: later it may be otherwise.
    pub fn readers(&self) -> Result<(Vec<Identity>, Vec<KeyError>), KeyError> {
        let (mut readers, mut damaged) = (Vec::new(), Vec::new());
        for name in self.names()? {
            let own = match self.read_own(name) {
                Ok(own) => own,
                Err(error) if error.is_of_system() => return Err(error),
                Err(error) => {
                    damaged.push(error);
                    continue;
                }
            };
            readers.extend(own.identity());
            match self.past(&own.name) {
                Ok(past) => {
                    readers.extend(past.into_iter().filter_map(|one| Identity::new(own.key.clone(), vec![one]).ok()))
                }
                Err(error) if error.is_of_system() => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        Ok((readers, damaged))
    }

    /// The certificates that a key had before, the latest first.
    fn past(&self, name: &str) -> Result<Vec<Certificate>, KeyError> {
        let path = self.file(name, "past");
        let Some(text) = read(&path)? else { return Ok(Vec::new()) };
        Certificate::from_pem(&text).map_err(|fault| KeyError::Content { path, fault })
    }

    /// Makes a key and the request for its certificate; the name of both, and the request in PEM.
    pub fn make(&self, address: &Mailbox, kind: KeyKind) -> Result<(String, String), KeyError> {
        let key = Key::generate(kind).map_err(KeyError::Make)?;
        let request = request(&key, address)?;
        let name = self.keep(&key)?;
        self.write(&self.own, &self.file(&name, "csr"), request.as_bytes())?;
        Ok((name, request))
    }

    /// Keeps a key; the name of its files.
    pub fn keep(&self, key: &Key) -> Result<String, KeyError> {
        let name = name_of(key.spki());
        let path = self.file(&name, "key");
        if !path.exists() {
            self.write(&self.own, &path, key.to_pem().as_bytes())?;
        }
        Ok(name)
    }

    /// Keeps a chain, if its first certificate is one of a key here; the name of that.
    pub fn certify(&self, chain: &[Certificate]) -> Result<Option<String>, KeyError> {
        let Some(first) = chain.first() else { return Ok(None) };
        let name = name_of(first.spki());
        if !self.file(&name, "key").exists() {
            return Ok(None);
        }
        let path = self.file(&name, "pem");
        let before = read(&path)?.and_then(|text| Certificate::from_pem(&text).ok()?.into_iter().next());
        if let Some(before) = before.filter(|before| before != first) {
            self.put_behind(&name, before)?;
        }
        let text: String = chain.iter().map(Certificate::to_pem).collect();
        self.write(&self.own, &self.file(&name, "pem"), text.as_bytes())?;
        Ok(Some(name))
    }

    /// A key's request, in DER; that of a key that came from elsewhere is made now, for that address.
    pub fn request(&self, name: &str, address: &Mailbox) -> Result<Vec<u8>, KeyError> {
        let path = self.request_file(name);
        let text = match read(&path)? {
            Some(text) => text,
            None => request(&self.read_own(name.to_owned())?.key, address)?,
        };
        let der = Request::der(text.as_bytes()).map(Cow::into_owned);
        der.map_err(|fault| KeyError::Content { path, fault })
    }

    /// The domain is asked for a key's certificate now.
    pub fn asked(&self, name: &str, at: Timestamp) -> Result<(), KeyError> {
        self.write(&self.own, &self.file(name, "asked"), format!("{}\n", at.secs()).as_bytes())
    }

    /// The domain is asked now whether another device has renewed a key's certificate.
    pub fn sought(&self, name: &str, at: Timestamp) -> Result<(), KeyError> {
        self.write(&self.own, &self.file(name, "sought"), format!("{}\n", at.secs()).as_bytes())
    }

    /// When that was last.
    pub fn sought_at(&self, name: &str) -> Result<Option<Timestamp>, KeyError> {
        self.time(name, "sought")
    }

    /// A key's certificate is not the domain's to issue.
    pub fn not_asked(&self, name: &str) -> Result<(), KeyError> {
        let path = self.file(name, "asked");
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(KeyError::System { path, source }),
            _ => Ok(()),
        }
    }

    /// Nothing is signed by a key any more. Its certificate stays to decrypt with.
    pub fn retire(&self, own: &Own) -> Result<(), KeyError> {
        let Some(first) = own.chain.first() else { return Ok(()) };
        self.put_behind(&own.name, first.clone())?;
        self.write(&self.own, &self.file(&own.name, "revoked"), b"")?;
        let path = self.file(&own.name, "pem");
        fs::remove_file(&path).map_err(|source| KeyError::System { path, source })?;
        self.not_asked(&own.name)
    }

    /// Whether a key was retired.
    pub fn is_retired(&self, name: &str) -> bool {
        self.file(name, "revoked").exists() && !self.file(name, "pem").exists()
    }

    /// Puts a certificate among those that a key had before.
    fn put_behind(&self, name: &str, before: Certificate) -> Result<(), KeyError> {
        // What is damaged reads nothing.
        let mut past: Vec<Certificate> = self.past(name).unwrap_or_default();
        past.retain(|one| *one != before);
        past.insert(0, before);
        let text: String = past.iter().take(PAST).map(Certificate::to_pem).collect();
        self.write(&self.own, &self.file(name, "past"), text.as_bytes())
    }

    /// When the domain was asked for a key's certificate last; `None`: it is not the domain's to issue.
    pub fn asked_at(&self, name: &str) -> Result<Option<Timestamp>, KeyError> {
        self.time(name, "asked")
    }

    fn time(&self, name: &str, mark: &str) -> Result<Option<Timestamp>, KeyError> {
        let text = read(&self.file(name, mark))?;
        Ok(text.map(|text| Timestamp::from_secs(text.trim().parse().unwrap_or(0))))
    }

    /// A key for whose certificate the domain was asked, in vain so far.
    pub fn waiting(&self) -> Result<Option<String>, KeyError> {
        let waits = |name: &String| {
            let there = |suffix| self.file(name, suffix).exists();
            there("asked") && there("csr") && !there("pem")
        };
        Ok(self.names()?.into_iter().find(waits))
    }

    /// The key with the latest certificate.
    pub fn latest(&self) -> Result<Option<Own>, KeyError> {
        let certified = self.own()?.into_iter().filter(|own| !own.chain.is_empty());
        Ok(certified.max_by_key(|own| own.chain.first().map(Certificate::not_before)))
    }

    /// For the one process that asks for certificates; `None`: another does. It ends with the value.
    pub fn hold(&self) -> Result<Option<fs::File>, KeyError> {
        let failed = |source| KeyError::System { path: self.own.clone(), source };
        let file = match fs::File::open(&self.own) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The file of a key's request.
    pub fn request_file(&self, name: &str) -> PathBuf {
        self.file(name, "csr")
    }

    /// What is known of somebody's certificate.
    pub fn of(&self, who: &Mailbox) -> Result<Option<Known>, KeyError> {
        let path = self.others.join(format!("{}.pem", directory_name(&who.key())));
        let Some(text) = read(&path)? else { return Ok(None) };
        let (mut seen, mut ciphers) = (0, Vec::new());
        for line in text.lines().take_while(|line| !line.starts_with('-')) {
            if let Some(time) = line.strip_prefix(IN_USE) {
                seen = time.parse().unwrap_or(0);
            } else if let Some(names) = line.strip_prefix(READS) {
                ciphers = names.split(' ').filter_map(Cipher::of_word).collect();
            }
        }
        let chain = Certificate::from_pem(&text).map_err(|fault| KeyError::Content { path, fault })?;
        Ok(Some(Known { chain, ciphers, seen: Timestamp::from_secs(seen) }))
    }

    /// Keeps somebody's certificate, unless one that was in use later is known; says whether it is new.
    pub fn learn(&self, who: &Mailbox, found: &Known) -> Result<bool, KeyError> {
        let known = self.of(who).ok().flatten();
        if found.chain.is_empty() || known.as_ref().is_some_and(|known| known.seen > found.seen) {
            return Ok(false);
        }
        let is_new = known.as_ref().is_none_or(|known| known.chain != found.chain);
        if is_new || known.is_some_and(|known| known.ciphers != found.ciphers) {
            let mut text = format!("{IN_USE}{}\n", found.seen.secs());
            if !found.ciphers.is_empty() {
                let words: Vec<&str> = found.ciphers.iter().map(|cipher| cipher.word()).collect();
                text.push_str(&format!("{READS}{}\n", words.join(" ")));
            }
            text.extend(found.chain.iter().take(limits::CMS_CERTIFICATES).map(Certificate::to_pem));
            let path = self.others.join(format!("{}.pem", directory_name(&who.key())));
            self.write(&self.others, &path, text.as_bytes())?;
        }
        Ok(is_new)
    }

    /// Everybody of whom a certificate is known, in order, as the files are called.
    pub fn known(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.others).into_iter().flatten();
        let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".pem")?.to_owned());
        let mut names: Vec<String> = entries.filter_map(|entry| name(entry.ok()?)).collect();
        names.sort();
        names
    }

    fn file(&self, name: &str, suffix: &str) -> PathBuf {
        self.own.join(format!("{name}.{suffix}"))
    }

    fn write(&self, directory: &Path, path: &Path, octets: &[u8]) -> Result<(), KeyError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let written = made.and_then(|()| {
            // Several processes of one person may write at once.
            let beside = disk::with_suffix(path, &format!(".{}", crate::random::token()?));
            disk::replace_by(path, &beside, 0o600, None, &[octets])
        });
        written.map_err(|source| KeyError::System { path: path.to_owned(), source })
    }
}

fn read(path: &Path) -> Result<Option<String>, KeyError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyError::System { path: path.to_owned(), source }),
    }
}

/// 64 bits of the digest of the public key: the same for a key, its request and its certificates.
fn name_of(spki: &[u8]) -> String {
    digest::digest(&digest::SHA256, spki).as_ref()[..8].iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A request for a certificate that names the address (RFC 8550 §3, RFC 9598 §3).
fn request(key: &Key, address: &Mailbox) -> Result<String, KeyError> {
    let failed = |error: rcgen::Error| KeyError::Request(error.to_string());
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let text = address.to_string();
    params.distinguished_name.push(DnType::CommonName, text.as_str());
    let name = match Ia5String::try_from(text.as_str()) {
        Ok(plain) if address.is_ascii() => SanType::Rfc822Name(plain),
        _ => SanType::OtherName((SMTP_UTF8_MAILBOX.to_vec(), rcgen::OtherNameValue::Utf8String(text))),
    };
    params.subject_alt_names = vec![name];
    let pair = rcgen::KeyPair::from_pem(&key.to_pem()).map_err(failed)?;
    params.serialize_request(&pair).and_then(|request| request.pem()).map_err(failed)
}
