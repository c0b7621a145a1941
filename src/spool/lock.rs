//! The spool's directory: made if it is missing, locked against a second daemon, of a format that this program knows.
//!
//! In: a path. Out: a [`Lock`] that lasts as long as the value. Invariant: two processes never have the same directory;
//! the lock is the kernel's (`flock`), so it cannot outlive its holder, and the file's text is only for people. The file
//! `format` comes last when a spool is made: a directory without it has never accepted a message.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use crate::{disk, random};

/// The name of the file that is locked.
const LOCK: &str = "lock";
/// The name of the file that tells the format.
const FORMAT: &str = "format";
/// What it says.
const FORMAT_TEXT: &str = "impart spool 1\n";
/// The name of the file with the secret.
const SECRET: &str = "secret";

/// A locked directory.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    /// A number that nobody outside knows; see [`super::journal`].
    pub secret: u64,
    /// The directory has no format yet: its store is still to be made, or a crash cut that short.
    pub fresh: bool,
}

impl Lock {
    /// Takes the directory, and makes it when it is missing (not its parents).
    pub fn take(dir: &Path) -> Result<Lock, OpenError> {
        make(dir)?;
        let path = dir.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| fault(dir, &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What the file says is a hint; that it cannot be read changes nothing.
                let _ = file.take(64).read_to_string(&mut holder);
                let pid = holder.trim().parse().ok();
                return Err(OpenError::InUse { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(fault(dir, &path, error)),
        }
        let text = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|error| fault(dir, &path, error))?;
        let fresh = !has_format(dir)?;
        let secret = secret(&dir.join(SECRET)).map_err(|error| fault(dir, &dir.join(SECRET), error))?;
        Ok(Lock { _file: file, secret, fresh })
    }

    /// Says what the directory is, once its store has been made.
    pub fn seal(&mut self, dir: &Path) -> Result<(), OpenError> {
        if self.fresh {
            let path = dir.join(FORMAT);
            disk::replace(&path, 0o644, &[FORMAT_TEXT.as_bytes()]).map_err(|error| fault(dir, &path, error))?;
            self.fresh = false;
        }
        Ok(())
    }
}

fn make(dir: &Path) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(OpenError::NotADirectory { dir: dir.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(fault(dir, dir, error)),
    }
    DirBuilder::new().mode(0o700).create(dir).map_err(|error| fault(dir, dir, error))?;
    let parent = disk::directory_of(dir);
    disk::sync_directory(parent).map_err(|error| fault(dir, parent, error))
}

/// Whether the directory has a format, which then must be ours.
fn has_format(dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(FORMAT);
    match fs::read_to_string(&path) {
        Ok(text) if text == FORMAT_TEXT => Ok(true),
        Ok(text) => Err(OpenError::Format { dir: dir.to_owned(), found: text.trim().chars().take(40).collect() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fault(dir, &path, error)),
    }
}

/// Reads the secret, and makes one where there is none or none that can be read; the store then counts anew.
fn secret(path: &Path) -> std::io::Result<u64> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => String::new(),
        Err(error) => return Err(error),
    };
    if let Ok(secret) = u64::from_str_radix(text.trim(), 16) {
        return Ok(secret);
    }
    // Odd, so that it is not zero, which binds nothing.
    let secret = u64::from_le_bytes(random::octets()?) | 1;
    disk::replace(path, 0o600, &[format!("{secret:016x}\n").as_bytes()])?;
    Ok(secret)
}

fn fault(dir: &Path, path: &Path, error: std::io::Error) -> OpenError {
    let (dir, path): (PathBuf, PathBuf) = (dir.to_owned(), path.to_owned());
    match error.kind() {
        ErrorKind::PermissionDenied => OpenError::Permission { dir, path },
        ErrorKind::NotADirectory => OpenError::NotADirectory { dir },
        _ => OpenError::Io { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let lock = Lock::take(&spool).unwrap();
        let refused = Lock::take(&spool).unwrap_err();
        assert!(matches!(&refused, OpenError::InUse { pid: Some(pid), .. } if *pid == std::process::id()), "{refused}");
        drop(lock);
        Lock::take(&spool).unwrap();
    }

    #[test]
    fn a_later_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FORMAT), "impart spool 2\n").unwrap();
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("impart spool 2"), "{refused}");
    }

    #[test]
    fn the_format_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::take(dir.path()).unwrap();
        assert!(lock.fresh && !dir.path().join(FORMAT).exists());
        lock.seal(dir.path()).unwrap();
        assert!(!lock.fresh);
        assert_eq!(fs::read_to_string(dir.path().join(FORMAT)).unwrap(), FORMAT_TEXT);
        drop(lock);
        assert!(!Lock::take(dir.path()).unwrap().fresh);
    }

    #[test]
    fn a_file_is_not_a_spool() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        fs::write(&path, "").unwrap();
        assert!(matches!(Lock::take(&path), Err(OpenError::NotADirectory { .. })));
        assert!(matches!(Lock::take(&path.join("deeper")), Err(OpenError::NotADirectory { .. })));
        assert!(matches!(Lock::take(&dir.path().join("a/b")), Err(OpenError::Io { .. })));
    }
}
