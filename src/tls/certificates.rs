//! Our certificates: read from PEM files, picked by name, reloaded when the files change.
//!
//! In: pairs of files, in order; the first pair is the default. Out: a certificate with its key for a name, warnings,
//! and [`Change`]s. Invariant: every certificate that is handed out matches its key; a pair that cannot be read after a
//! change is reported once and the old one stays in use. Reading happens where [`Certificates::load`] or
//! [`Certificates::reload_changed`] is called, never during a handshake.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};

use super::{Names, chain, provider};
use crate::address::Domain;
use crate::timestamp::Timestamp;

/// The largest file that is read: a chain has a few KiB.
const FILE_OCTETS: u64 = 1 << 20;
/// How long before its end a certificate's renewal is due.
const RENEWAL_DUE: std::time::Duration = std::time::Duration::from_secs(14 * 86_400);

/// A certificate's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Names that it is used for besides those that are in it.
    pub names: Vec<Domain>,
    /// PEM: the end entity's certificate, then those of the authorities above it.
    pub chain: PathBuf,
    /// PEM: the private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {reason}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file that is too large.
    #[error("{} is larger than 1 MiB; it should hold one certificate chain or key in PEM", .0.display())]
    TooLarge(PathBuf),
    /// Broken PEM.
    #[error("{} is not valid PEM: {reason}; write the file anew", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No certificate.
    #[error("{} has no certificate (BEGIN CERTIFICATE); name the file with the certificate chain", .0.display())]
    NoCertificate(PathBuf),
    /// No key.
    #[error("{} has no private key (BEGIN PRIVATE KEY); name the file with the certificate's key", .0.display())]
    NoKey(PathBuf),
    /// An encrypted key.
    #[error("the private key in {} is encrypted; decrypt it with: openssl pkey -in FILE -out NEWFILE", .0.display())]
    EncryptedKey(PathBuf),
    /// A certificate or key that is not understood.
    #[error(
        "{} cannot be used: {reason}; use an ECDSA (P-256, P-384), Ed25519 or RSA key and an X.509 v3 certificate",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key of another certificate.
    #[error(
        "the key in {} does not belong to the first certificate in {}; name the two files that were made together, \
         the server's own certificate first in the chain", key.display(), chain.display()
    )]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// What is not well about a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Its time is over.
    #[error(
        "the certificate in {} expired on {}; renew it: other servers refuse it unless TLSA records name it",
        chain.display(),
        at.rfc3339()
    )]
    Expired {
        /// The file.
        chain: PathBuf,
        /// The end of its time.
        at: Timestamp,
    },
    /// Its time is nearly over.
    #[error("the certificate in {} expires on {}; renew it", chain.display(), at.rfc3339())]
    ExpiresSoon {
        /// The file.
        chain: PathBuf,
        /// The end of its time.
        at: Timestamp,
    },
    /// Its time has not begun.
    #[error("the certificate in {} is not valid before {}; check this host's clock", chain.display(), from.rfc3339())]
    NotYetValid {
        /// The file.
        chain: PathBuf,
        /// The beginning of its time.
        from: Timestamp,
    },
    /// Every user of this host can read the key.
    #[error("every user of this host can read the private key {}; take that away with: chmod o-rwx FILE", .0.display())]
    KeyReadableByAll(PathBuf),
    /// It names nobody.
    #[error(
        "the certificate in {} has no DNS name in subjectAltName; other servers refuse it unless TLSA records name it",
        .0.display()
    )]
    NoNames(PathBuf),
}

/// What a look at the files has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A changed certificate is in use from now on; [`Certificates::warnings`] tells what is not well about it.
    Reloaded {
        /// The certificate's file.
        chain: PathBuf,
    },
    /// The changed files cannot be used; the old certificate stays.
    Kept {
        /// The certificate's file.
        chain: PathBuf,
        /// Why.
        error: CertificateError,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Reloaded { chain } => write!(f, "the certificate in {} has changed and is in use", chain.display()),
            Change::Kept { chain, error } => {
                write!(
                    f,
                    "the certificate in {} has changed and cannot be used; the old one stays: {error}",
                    chain.display()
                )
            }
        }
    }
}

/// Facts about a certificate in use, for `impartctl check` and `impartctl dns`.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its files.
    pub files: CertificateFiles,
    /// The names in it.
    pub names: Names,
    /// The time in which it is valid, if that can be read.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// The chain.
    pub chain: Vec<CertificateDer<'static>>,
}

/// A certificate with its key, as read at one moment.
#[derive(Clone, Debug)]
struct Entry {
    files: CertificateFiles,
    stamp: Stamp,
    key_mode: u32,
    names: Names,
    pair: Arc<CertifiedKey>,
}

/// What tells one state of two files from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp([Option<FileStamp>; 2]);

/// Modification and change time in nanoseconds, size, inode. The change time shows mended permissions.
type FileStamp = (i128, i128, u64, u64);

/// All our certificates.
#[derive(Debug)]
pub struct Certificates {
    entries: RwLock<Arc<[Entry]>>,
    /// The state of the files that was last tried, so that a broken one is reported once.
    tried: Mutex<Vec<Stamp>>,
}

impl Certificates {
    /// None at all: for a client that shows none.
    pub fn none() -> Arc<Certificates> {
        Arc::new(Certificates { entries: RwLock::new(Arc::from([])), tried: Mutex::new(Vec::new()) })
    }

    /// Reads them all; the first is the default. Fails with the first that cannot be used.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Arc<Certificates>, CertificateError> {
        let entries = files.into_iter().map(read).collect::<Result<Vec<Entry>, _>>()?;
        let tried = entries.iter().map(|entry| entry.stamp).collect();
        Ok(Arc::new(Certificates { entries: RwLock::new(entries.into()), tried: Mutex::new(tried) }))
    }

    /// Replaces the list itself, when the configuration has changed. On failure everything stays as it was.
    pub fn replace(&self, files: Vec<CertificateFiles>) -> Result<(), CertificateError> {
        let entries = files.into_iter().map(read).collect::<Result<Vec<Entry>, _>>()?;
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        *tried = entries.iter().map(|entry| entry.stamp).collect();
        self.set(entries);
        Ok(())
    }

    /// Reads again those whose files have changed since they were last tried (mtime, ctime, size, inode). To be called
    /// every 30 s or so, and on SIGHUP. It reads files: a few microseconds when nothing has changed.
    pub fn reload_changed(&self) -> Vec<Change> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries().to_vec();
        let mut changes = Vec::new();
        for (entry, tried) in entries.iter_mut().zip(tried.iter_mut()) {
            let stamp = Stamp::of(&entry.files);
            if stamp == *tried {
                continue;
            }
            *tried = stamp;
            let chain = entry.files.chain.clone();
            match read(entry.files.clone()) {
                Ok(new) => {
                    // Read after the look: what was read is what counts as tried.
                    *tried = new.stamp;
                    *entry = new;
                    changes.push(Change::Reloaded { chain });
                }
                Err(error) => changes.push(Change::Kept { chain, error }),
            }
        }
        if changes.iter().any(|change| matches!(change, Change::Reloaded { .. })) {
            self.set(entries);
        }
        changes
    }

    /// What is not well about those in use.
    pub fn warnings(&self, now: Timestamp) -> Vec<Warning> {
        self.entries().iter().flat_map(|entry| entry.warnings(now)).collect()
    }

    /// Those in use, the default first.
    pub fn describe(&self) -> Vec<Described> {
        let describe = |entry: &Entry| Described {
            files: entry.files.clone(),
            names: entry.names.clone(),
            validity: entry.pair.cert.first().and_then(chain::validity),
            chain: entry.pair.cert.clone(),
        };
        self.entries().iter().map(describe).collect()
    }

    /// Whether one is for `domain`.
    pub fn names(&self, domain: &Domain) -> bool {
        self.entries().iter().any(|entry| entry.is_for(domain))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The first for `name` whose key makes a signature that the client can verify, else the first for it, else the
    /// same among all.
    pub(super) fn for_server(&self, name: Option<&Domain>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let entries = self.entries();
        let named: Vec<&Entry> = match name {
            Some(name) => entries.iter().filter(|entry| entry.is_for(name)).collect(),
            None => Vec::new(),
        };
        let candidates = if named.is_empty() { entries.iter().collect() } else { named };
        let verifiable = candidates.iter().find(|entry| entry.pair.key.choose_scheme(schemes).is_some());
        verifiable.or(candidates.first()).map(|entry| Arc::clone(&entry.pair))
    }

    /// The one to show when we send for `own`: the one that names it, else the default, which names this host.
    pub(super) fn for_client(&self, own: &Domain) -> Option<Arc<CertifiedKey>> {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry.is_for(own)).or(entries.first())?;
        Some(Arc::clone(&entry.pair))
    }

    fn entries(&self) -> Arc<[Entry]> {
        Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, entries: Vec<Entry>) {
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries.into();
    }
}

impl Entry {
    fn is_for(&self, domain: &Domain) -> bool {
        self.files.names.contains(domain) || self.names.names_host(domain) || self.serves_domain(domain)
    }

    fn serves_domain(&self, domain: &Domain) -> bool {
        use crate::envelope::Class;
        [Class::Im, Class::Pres].iter().any(|class| self.names.names_service(*class, domain))
    }

    fn warnings(&self, now: Timestamp) -> Vec<Warning> {
        let path = || self.files.chain.clone();
        let mut found = Vec::new();
        match self.pair.cert.first().and_then(chain::validity) {
            Some((_, at)) if at < now => found.push(Warning::Expired { chain: path(), at }),
            Some((from, _)) if from > now => found.push(Warning::NotYetValid { chain: path(), from }),
            Some((_, at)) if at < now.after(RENEWAL_DUE) => found.push(Warning::ExpiresSoon { chain: path(), at }),
            _ => {}
        }
        if self.key_mode & 0o007 != 0 {
            found.push(Warning::KeyReadableByAll(self.files.key.clone()));
        }
        if self.names.is_empty() {
            found.push(Warning::NoNames(path()));
        }
        found
    }
}

impl Stamp {
    fn of(files: &CertificateFiles) -> Stamp {
        Stamp([&files.chain, &files.key].map(|path| file_stamp(path)))
    }
}

fn file_stamp(path: &Path) -> Option<FileStamp> {
    let meta = std::fs::metadata(path).ok()?;
    let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
    Some((nanos(meta.mtime(), meta.mtime_nsec()), nanos(meta.ctime(), meta.ctime_nsec()), meta.size(), meta.ino()))
}

/// Reads a pair of files. The stamp is taken before, so that a change in between is seen next time.
fn read(files: CertificateFiles) -> Result<Entry, CertificateError> {
    let stamp = Stamp::of(&files);
    let chain = read_chain(&files.chain)?;
    let (key, key_mode) = read_key(&files.key)?;
    let unusable = |path: &Path, reason: String| CertificateError::Unusable { path: path.to_owned(), reason };
    let key = provider().key_provider.load_private_key(key).map_err(|e| unusable(&files.key, e.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        // Unknown: the library cannot tell the key's public half.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(CertificateError::Mismatch { chain: files.chain, key: files.key });
        }
        Err(error) => return Err(unusable(&files.chain, error.to_string())),
    }
    let names = pair.cert.first().map(Names::of).unwrap_or_default();
    Ok(Entry { files, stamp, key_mode, names, pair: Arc::new(pair) })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let (text, _) = read_bounded(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| CertificateError::Pem { path: path.to_owned(), reason: error.to_string() })?;
    if chain.is_empty() { Err(CertificateError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<(PrivateKeyDer<'static>, u32), CertificateError> {
    let (text, mode) = read_bounded(path)?;
    let encrypted = |label: &[u8]| text.windows(label.len()).any(|window| window == label);
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) if !encrypted(b"Proc-Type: 4,ENCRYPTED") => Ok((key, mode)),
        Ok(_) => Err(CertificateError::EncryptedKey(path.to_owned())),
        Err(_) if encrypted(b"BEGIN ENCRYPTED PRIVATE KEY") || encrypted(b"Proc-Type: 4,ENCRYPTED") => {
            Err(CertificateError::EncryptedKey(path.to_owned()))
        }
        Err(pem::Error::NoItemsFound) => Err(CertificateError::NoKey(path.to_owned())),
        Err(error) => Err(CertificateError::Pem { path: path.to_owned(), reason: error.to_string() }),
    }
}

/// The file's octets and mode.
fn read_bounded(path: &Path) -> Result<(Vec<u8>, u32), CertificateError> {
    use std::io::Read;
    let unreadable =
        |error: std::io::Error| CertificateError::Unreadable { path: path.to_owned(), reason: error.to_string() };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    let mut text = Vec::new();
    file.take(FILE_OCTETS + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_OCTETS {
        return Err(CertificateError::TooLarge(path.to_owned()));
    }
    Ok((text, mode))
}
