//! The files of the store, as the file system sees them.
//!
//! In: a directory. Out: its journals, the room that it takes, whether the lists of its tables are whole. What cannot be seen
//! counts nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

/// A list of tables longer than this (octets) is left to the store to judge: its tables fill hundreds of gigabytes.
const VERSION_OCTETS: u64 = 64 << 20;

/// The journals in a directory: numbers, and octets on the disk.
pub(super) fn journals(path: &Path) -> Vec<(u64, u64)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let journal = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_suffix(".jnl")?.parse().ok()?;
        Some((number, entry.metadata().ok()?.blocks() * 512))
    };
    entries.filter_map(journal).collect()
}

/// Octets on the disk of all files below a directory, as far as they can be seen.
pub(super) fn octets_under(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let octets = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => octets_under(&entry.path()),
        // A sparse file counts with what it uses; one that went meanwhile does not count.
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(octets).sum()
}

/// The first list of tables that is not what was written. Each keyspace has a file `current` that says which version of its
/// list holds, `vN`, and that file's sum: N (64 bit), XXH3-128, a kind of sum, little-endian. The store does not compare them
/// (lsm-tree 3.1), and asserts its way through the list, in destructors too, where nobody can catch it. What is not there,
/// or is not of this form, is left to the store: it refuses that as an error.
pub(super) fn damaged_version(path: &Path) -> Option<PathBuf> {
    let keyspaces = fs::read_dir(path.join("keyspaces")).into_iter().flatten().flatten();
    keyspaces.into_iter().find_map(|keyspace| {
        let current = fs::read(keyspace.path().join("current")).ok()?;
        let (number, rest) = current.split_first_chunk::<8>()?;
        let (sum, _) = rest.split_first_chunk::<16>()?;
        let version = keyspace.path().join(format!("v{}", u64::from_le_bytes(*number)));
        if fs::metadata(&version).ok()?.len() > VERSION_OCTETS {
            return None;
        }
        let written = fs::read(&version).ok()?;
        (xxh3_128(&written) != u128::from_le_bytes(*sum)).then_some(version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{OpenError, Options, Spool};

    #[tokio::test]
    async fn a_list_of_tables_with_one_octet_changed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let (spool, _) = Spool::open(dir.path(), Options::default()).unwrap();
        spool.close().await;
        drop(spool);
        assert_eq!(damaged_version(&store), None);
        let version = store.join("keyspaces/1/v0");
        let written = fs::read(&version).expect("a list");
        for octet in 0..written.len() {
            let mut damaged = written.clone();
            damaged[octet] ^= 1;
            fs::write(&version, damaged).unwrap();
            assert_eq!(damaged_version(&store), Some(version.clone()), "octet {octet}");
        }
        fs::write(&version, &written[..written.len() / 2]).unwrap();
        let refused = Spool::open(dir.path(), Options::default()).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("keyspaces/1/v0 is not what was written") && said.contains("backup"), "{said}");
        fs::write(&version, written).unwrap();
        drop(Spool::open(dir.path(), Options::default()).expect("whole again"));
    }
}
