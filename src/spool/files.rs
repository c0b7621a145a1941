//! The files of the store, as the file system sees them.
//!
//! In: a directory. Out: its journals, the room that it takes. What cannot be seen counts nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
