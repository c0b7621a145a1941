//! Files that are replaced as a whole and durably.
//!
//! In: a path and its new content. Out: the file with it. Invariant: whoever reads, also after a crash at any point, finds
//! the old or the new content, whole; when a function returns `Ok`, the new one is there for good. Nothing is written through
//! a symbolic link that stands beside. Fails with what the system says, and then the old content stands.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The directory that a path is in; `.` for a bare name.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The path with more at its end.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces a file that nobody else replaces meanwhile; what is written first stands beside it as `NAME.new`.
pub fn replace(path: &Path, mode: u32, parts: &[&[u8]]) -> io::Result<()> {
    replace_by(path, &with_suffix(path, ".new"), mode, None, parts)
}

/// Replaces a file by way of `beside`, a name in the same directory that nobody else uses. A file made by root is given to
/// `owner`.
pub fn replace_by(
    path: &Path,
    beside: &Path,
    mode: u32,
    owner: Option<&fs::Metadata>,
    parts: &[&[u8]],
) -> io::Result<()> {
    write_beside(beside, mode, owner, parts).and_then(|()| fs::rename(beside, path)).inspect_err(|_| {
        // The first fault is the one to tell; what is left behind is replaced the next time.
        let _ = fs::remove_file(beside);
    })?;
    sync_directory(directory_of(path))
}

fn write_beside(beside: &Path, mode: u32, owner: Option<&fs::Metadata>, parts: &[&[u8]]) -> io::Result<()> {
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    // What is for others to read stays so under the narrow mask of a service.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    owner.map_or(Ok(()), |owner| give(&file, owner))?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

/// Gives a file that root made to the owner of another.
pub fn give(file: &File, owner: &fs::Metadata) -> io::Result<()> {
    match rustix::process::geteuid().is_root() {
        true => std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service runs with UMask=0077; a list of revoked certificates is for everybody.
    #[test]
    fn what_others_are_to_read_is_readable_under_a_narrow_mask() {
        let folder = tempfile::tempdir().unwrap();
        // Each test is a process of its own; the mask is put back for those who run them in one.
        let before = rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o077));
        let written = [("ca.crl", 0o644), ("ca.key", 0o600)].map(|(name, mode)| {
            let path = folder.path().join(name);
            replace(&path, mode, &[b"x"]).unwrap();
            (fs::metadata(path).unwrap().permissions().mode() & 0o777, mode)
        });
        rustix::process::umask(before);
        written.iter().for_each(|(found, mode)| assert_eq!(found, mode));
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        replace(&path, 0o644, &[b"one"]).unwrap();
        replace(&path, 0o600, &[b"two ", b"parts"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two parts");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_through_a_link_beside() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("other"));
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, with_suffix(&path, ".new")).unwrap();
        replace(&path, 0o600, &[b"x"]).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn a_failure_leaves_the_old_and_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        // A directory cannot be replaced by a file.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("b"), "old").unwrap();
        assert!(replace(&path, 0o600, &[b"x"]).is_err());
        assert_eq!(fs::read(path.join("b")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
