//! The file of accounts: TOML that a person can read, changed under a lock and replaced at once.
//!
//! In: a path and a change. Out: the changed file. Invariants: whoever reads sees the old or the new whole; of two changes
//! at one time none is lost; the file belongs to whom the old one, or else its directory, belongs, and nobody else reads it.
//! A change that would make the file wrong is not made.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Fault;
use super::entries::{Entries, EntriesError};
use crate::disk;

/// Octets of a file that are read.
const FILE_OCTETS: u64 = 256 * 1024 * 1024;

const HEAD: &str = "# Accounts of Impart, written by impartctl account. Comments are not kept.\n";

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system.
    #[error("{}: {error}", path.display())]
    System {
        /// What could not be had.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What stands in it.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: EntriesError,
    },
    /// The change.
    #[error("{0}")]
    Change(String),
}

/// What stands in the file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Each account by its name.
    #[serde(default)]
    pub account: BTreeMap<String, Record>,
}

/// What stands in the file of one account.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Record {
    /// A PHC string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argon2id: Option<String>,
    /// `iterations$salt$StoredKey$ServerKey`.
    #[serde(rename = "scram-sha-256", skip_serializing_if = "Option::is_none")]
    pub scram_sha_256: Option<String>,
    /// The secret of ODMR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub odmr: Option<String>,
    /// Whether it may not log in.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// Whether it has an instant inbox.
    #[serde(skip_serializing_if = "is_true")]
    pub inbox: bool,
    /// Whether it has a presentity.
    #[serde(skip_serializing_if = "is_true")]
    pub presentity: bool,
    /// Further addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// After how long its messages go to the mail store: a time such as `15m`, or `never`; without it that of its domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Who else reads its inbox: `copy` or `take`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub delegates: BTreeMap<String, String>,
}

impl Default for Record {
    fn default() -> Self {
        Record {
            argon2id: None,
            scram_sha_256: None,
            odmr: None,
            disabled: false,
            inbox: true,
            presentity: true,
            addresses: Vec::new(),
            fallback: None,
            delegates: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("disabled", &self.disabled).finish_non_exhaustive()
    }
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Accounts {
    /// Reads the text; a fault has line and column, and does not show the line: there may be a secret in it.
    pub fn parse(text: &str) -> Result<Accounts, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("line {line}, column {column}: {}", error.message())
        })
    }
}

/// The accounts of the file; none where there is no file.
pub fn load(path: &Path) -> Result<Entries, FileError> {
    let text = read_or_none(path)?;
    Entries::parse(&text).map_err(|error| FileError::Content { path: path.to_owned(), error })
}

/// The text of a file; empty where there is none.
fn read_or_none(path: &Path) -> Result<String, FileError> {
    match read(path) {
        Err(FileError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The text of a file, which is not endless.
pub fn read(path: &Path) -> Result<String, FileError> {
    let system = |error| FileError::System { path: path.to_owned(), error };
    let file = File::open(path).map_err(system)?;
    let mut text = String::new();
    file.take(FILE_OCTETS + 1).read_to_string(&mut text).map_err(system)?;
    if text.len() as u64 > FILE_OCTETS {
        return Err(system(io::Error::new(io::ErrorKind::FileTooLarge, "the file is longer than 256 MiB")));
    }
    Ok(text)
}

/// The state of a file; `None` where there is none.
pub fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|data| stamp_of(&data))
}

pub(super) fn stamp_of(data: &fs::Metadata) -> Stamp {
    (data.mtime(), data.mtime_nsec(), data.ino(), data.size())
}

/// What a file says, read again when it changes.
#[derive(Debug)]
pub(super) struct Fresh<T> {
    path: PathBuf,
    read: fn(&[u8]) -> Result<T, String>,
    last: Mutex<Option<(Stamp, Arc<T>)>>,
}

/// What tells whether a file has changed.
pub type Stamp = (i64, i64, u64, u64);

impl<T> Fresh<T> {
    pub fn new(path: PathBuf, read: fn(&[u8]) -> Result<T, String>) -> Fresh<T> {
        Fresh { path, read, last: Mutex::new(None) }
    }

    /// What it says now.
    pub fn get(&self) -> Result<Arc<T>, Fault> {
        let fault = |what: &dyn std::fmt::Display| Fault(format!("{}: {what}", self.path.display()));
        let now = stamp(&self.path).ok_or_else(|| fault(&"cannot be read"))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamp, value)) = &*last
            && *stamp == now
        {
            return Ok(value.clone());
        }
        let octets = fs::read(&self.path).map_err(|error| fault(&error))?;
        let value = Arc::new((self.read)(&octets).map_err(|error| fault(&error))?);
        *last = Some((now, value.clone()));
        Ok(value)
    }
}

/// Makes the directory, which is the spool's before its first use; not its parents. It belongs to whom its parent belongs.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().mode(0o700).create(directory)?;
    let parent = disk::directory_of(directory);
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(parent)?;
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        let made = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(directory)?;
        std::os::unix::fs::fchown(&made, Some(owner.uid()), Some(owner.gid()))?;
    }
    disk::sync_directory(parent)
}

/// A directory in which nobody else changes files meanwhile.
pub(super) struct Exclusive {
    directory: PathBuf,
    /// The owner of what will be replaced reads it, not who replaces it.
    owner: fs::Metadata,
    _lock: File,
}

fn system(path: &Path) -> impl Fn(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError::System { path: path.clone(), error }
}

/// A file of our own; root writes through nobody's symbolic link.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

impl Exclusive {
    /// Waits for the lock. What is made belongs to whom `model` belongs, or else the directory.
    pub(super) fn new(directory: &Path, lock: &Path, model: &Path) -> Result<Exclusive, FileError> {
        make(directory).map_err(system(directory))?;
        let owner = fs::metadata(model).or_else(|_| fs::metadata(directory)).map_err(system(directory))?;
        let made = match private().create_new(true).open(lock) {
            Ok(file) => disk::give(&file, &owner).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private().open(lock),
            Err(error) => Err(error),
        };
        let file = made.map_err(system(lock))?;
        file.lock().map_err(system(lock))?;
        Ok(Exclusive { directory: directory.to_owned(), owner, _lock: file })
    }

    /// Puts a new file, of these parts, in the place of the old one.
    pub(super) fn replace(&self, path: &Path, parts: &[&[u8]]) -> Result<(), FileError> {
        let new = disk::with_suffix(path, ".new");
        disk::replace_by(path, &new, 0o600, Some(&self.owner), parts).map_err(system(&new))
    }

    /// Takes a file away.
    pub(super) fn remove(&self, path: &Path) -> Result<(), FileError> {
        let remove = || {
            fs::remove_file(path)?;
            disk::sync_directory(&self.directory)
        };
        remove().map_err(system(path))
    }
}

/// Changes the file: reads it under the lock, has it changed, and puts the new one in its place.
pub fn edit<T>(path: &Path, change: impl FnOnce(&mut Accounts) -> Result<T, String>) -> Result<T, FileError> {
    let exclusive = Exclusive::new(disk::directory_of(path), &disk::with_suffix(path, ".lock"), path)?;
    let mut accounts = Accounts::parse(&read_or_none(path)?)
        .map_err(|fault| FileError::Content { path: path.to_owned(), error: EntriesError::Form(fault) })?;
    let outcome = change(&mut accounts).map_err(FileError::Change)?;
    Entries::of(&accounts.account).map_err(|error| FileError::Content { path: path.to_owned(), error })?;
    let text = toml::to_string(&accounts).map_err(|error| FileError::Change(error.to_string()))?;
    exclusive.replace(path, &[HEAD.as_bytes(), text.as_bytes()])?;
    Ok(outcome)
}
