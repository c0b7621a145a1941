//! The file of a history: lines that are added and never changed.
//!
//! In: lines. Out: lines that are on stable storage when [`Log::append`] returns, and those that other processes have
//! added ([`Log::catch_up`]). Invariants: a line is whole or absent: what a crash or a full disk left of one is cut off
//! before the next; processes take turns by a lock. Fails with the file's name and a remedy; then nothing was added.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::client::clean;

/// The version of the file's form.
pub const VERSION: u32 = 1;

/// Octets that are read at a time.
const PIECE: usize = 256 * 1024;

/// What goes wrong with a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// There is no room.
    #[error("{}: the disk is full; make room (messages wait at the server meanwhile)", .0.display())]
    Full(PathBuf),
    /// A file that is more than an attachment may be.
    #[error("{}: {} is more than the {} of an attachment; send it in parts, or say where it can be had", path.display(),
            clean::size(*size), clean::size(super::ATTACHMENT_OCTETS))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its octets.
        size: u64,
    },
    /// The file is not ours, or of another version.
    #[error("{} is a history of {found}, this impart reads version {VERSION}: use the impart that wrote it, or move the \
             file away to begin a new history", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Of what it is.
        found: String,
    },
    /// Another process receives for this account.
    #[error("another impart (process {process}) is receiving for this account; end it, or use another account")]
    Busy {
        /// Its process id, where it is known.
        process: String,
    },
}

/// Where lines are kept; a test has one whose disk is full.
pub trait Storage: Send {
    /// Octets from an offset on, at most so many; none at the end.
    fn read_from(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>>;
    /// Adds at the end.
    fn append(&mut self, octets: &[u8]) -> io::Result<()>;
    /// Cuts off what is behind a length.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Puts on stable storage what was added.
    fn sync(&mut self) -> io::Result<()>;
    /// Waits until no other process adds.
    fn lock(&mut self) -> io::Result<()>;
    /// Lets others add.
    fn unlock(&mut self);
}

impl Storage for File {
    fn read_from(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        self.seek(SeekFrom::Start(offset))?;
        let mut octets = Vec::new();
        Read::by_ref(self).take(most as u64).read_to_end(&mut octets)?;
        Ok(octets)
    }

    fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        self.write_all(octets)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn lock(&mut self) -> io::Result<()> {
        Ok(rustix::fs::flock(&*self, FlockOperation::LockExclusive)?)
    }

    fn unlock(&mut self) {
        // The lock goes with the file at the latest.
        let _ = rustix::fs::flock(&*self, FlockOperation::Unlock);
    }
}

/// Opens the file of a log, or makes it, for its owner alone.
pub fn open(path: &Path) -> Result<File, HistoryError> {
    let fault = |source| HistoryError::System { path: path.to_owned(), source };
    let new = !path.exists();
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(fault)?;
    if new && let Some(directory) = path.parent() {
        // Without this a crash could take the file with all that is in it.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(fault)?;
    }
    Ok(file)
}

/// A log.
pub struct Log {
    path: PathBuf,
    storage: Box<dyn Storage>,
    /// Octets that have been read or written: whole lines.
    length: u64,
    /// Lines that were no records; a person may want to know.
    pub unreadable: usize,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("path", &self.path).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Log {
    /// A log on a storage; gives each line that is there to `take`, which says whether it could read it.
    pub fn new(
        path: &Path,
        storage: Box<dyn Storage>,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Log, HistoryError> {
        let mut log = Log { path: path.to_owned(), storage, length: 0, unreadable: 0 };
        log.locked(|log| {
            let head = format!("{{\"impart-history\":{VERSION}}}\n");
            let octets = log.storage.read_from(0, head.len())?;
            // New, or torn before its first line was whole.
            if octets.len() < head.len() && head.as_bytes().starts_with(&octets) {
                log.storage.truncate(0)?;
                log.write(head.as_bytes())?;
            }
            Ok(())
        })?;
        log.catch_up(take)?;
        if log.length == 0 {
            log.check_version("")?;
        }
        Ok(log)
    }

    /// Reads what has been added since, by whomever. A line that is not whole is left for later.
    pub fn catch_up(&mut self, take: &mut dyn FnMut(&str) -> bool) -> Result<(), HistoryError> {
        let mut rest = Vec::new();
        loop {
            let offset = self.length + rest.len() as u64;
            let octets = self.storage.read_from(offset, PIECE).map_err(|error| self.fault(error))?;
            if octets.is_empty() {
                return Ok(());
            }
            rest.extend(octets);
            let whole = memchr::memrchr(b'\n', &rest).map_or(0, |at| at + 1);
            self.take_lines(&rest[..whole], take)?;
            rest.drain(..whole);
        }
    }

    /// Gives every line of before again, but for the first.
    pub fn again(&mut self, take: &mut dyn FnMut(&str)) -> Result<(), HistoryError> {
        let (mut rest, mut offset, mut head) = (Vec::new(), 0, true);
        while offset < self.length {
            let most = PIECE.min(usize::try_from(self.length - offset).unwrap_or(PIECE));
            let octets = self.storage.read_from(offset, most).map_err(|error| self.fault(error))?;
            if octets.is_empty() {
                return Ok(());
            }
            offset += octets.len() as u64;
            rest.extend(octets);
            let whole = memchr::memrchr(b'\n', &rest).map_or(0, |at| at + 1);
            for line in rest[..whole].split_inclusive(|octet| *octet == b'\n') {
                if !std::mem::take(&mut head) {
                    take(String::from_utf8_lossy(line).trim_end());
                }
            }
            rest.drain(..whole);
        }
        Ok(())
    }

    fn take_lines(&mut self, lines: &[u8], take: &mut dyn FnMut(&str) -> bool) -> Result<(), HistoryError> {
        for line in lines.split_inclusive(|octet| *octet == b'\n') {
            let text = String::from_utf8_lossy(line);
            if self.length == 0 {
                self.check_version(&text)?;
            } else if !take(text.trim_end()) {
                self.unreadable += 1;
            }
            self.length += line.len() as u64;
        }
        Ok(())
    }

    fn check_version(&self, line: &str) -> Result<(), HistoryError> {
        let head: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let found = match head.as_ref().and_then(|head| head.get("impart-history")) {
            Some(version) if version.as_u64() == Some(u64::from(VERSION)) => return Ok(()),
            Some(version) => format!("version {version}"),
            None => "another program".to_owned(),
        };
        Err(HistoryError::Version { path: self.path.clone(), found })
    }

    /// Adds lines, after those of others, all of them or none.
    pub fn append(&mut self, lines: &[String], take: &mut dyn FnMut(&str) -> bool) -> Result<(), HistoryError> {
        self.storage.lock().map_err(|error| self.fault(error))?;
        let result = self.append_locked(lines, take);
        self.storage.unlock();
        result
    }

    fn append_locked(&mut self, lines: &[String], take: &mut dyn FnMut(&str) -> bool) -> Result<(), HistoryError> {
        self.catch_up(take)?;
        // Under the lock nobody is writing: what follows the last whole line is what a crash left.
        self.storage.truncate(self.length).map_err(|error| self.fault(error))?;
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.write(text.as_bytes()).map_err(|error| self.fault(error))?;
        self.length += text.len() as u64;
        Ok(())
    }

    /// Writes and syncs at [`Log::length`]; what could not be written wholly is taken back.
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let length = self.length;
        let result = self.storage.append(octets).and_then(|()| self.storage.sync());
        if result.is_err() {
            // If this fails too, the next one finds a torn line and cuts it off.
            let _ = self.storage.truncate(length);
        }
        result
    }

    fn locked(&mut self, work: impl FnOnce(&mut Log) -> io::Result<()>) -> Result<(), HistoryError> {
        self.storage.lock().map_err(|error| self.fault(error))?;
        let result = work(self);
        self.storage.unlock();
        result.map_err(|error| self.fault(error))
    }

    fn fault(&self, error: io::Error) -> HistoryError {
        fault(&self.path, error)
    }
}

/// In words: a full disk is a case of its own.
pub fn fault(path: &Path, source: io::Error) -> HistoryError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HistoryError::Full(path.to_owned()),
        _ => HistoryError::System { path: path.to_owned(), source },
    }
}
