//! Power that fails: what was not synced is gone, whether the system had it or not.
//!
//! In: what `shim.c` kept at each sync (CRASH_DURABLE), and the spool as the kill left it. Out: a spool as a disk might show it
//! afterwards. A file has what it had at its last sync, a directory the names that it had at its own.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::Random;
use crate::common::daemon::Setup;

/// Octets that are looked at together.
const PIECE: usize = 64 * 1024;

/// What of that which was not synced is gone.
pub enum Loss {
    /// All of it.
    All,
    /// Of each file any part of what was added, of each directory the newer names or not.
    Some(Random),
}

/// Where the shim keeps what is durable.
pub fn durable(setup: &Setup) -> PathBuf {
    setup.directory.join("durable")
}

/// Replaces the spool by what is left of it.
pub fn fail(setup: &Setup, loss: &mut Loss) {
    let spool = setup.spool();
    let left = setup.directory.join("left");
    let Ok(about) = fs::metadata(&spool) else { return };
    fs::create_dir(&left).expect("a directory");
    Disk { durable: durable(setup), loss }.directory(about.ino(), &spool, &left);
    fs::remove_dir_all(&spool).expect("the spool goes");
    fs::rename(&left, &spool).expect("what is left of it");
}

struct Disk<'a> {
    durable: PathBuf,
    loss: &'a mut Loss,
}

impl Disk<'_> {
    fn one_of(&mut self, number: usize) -> usize {
        match self.loss {
            Loss::All => 0,
            Loss::Some(random) => random.below(number as u64) as usize,
        }
    }

    fn directory(&mut self, inode: u64, now: &Path, left: &Path) {
        let kept = fs::read_to_string(self.durable.join(format!("{inode}.names"))).unwrap_or_default();
        let names = match self.one_of(2) {
            0 => kept.lines().filter_map(entry).collect(),
            _ => names(now),
        };
        for (is_directory, inode, name) in names {
            let (now, left) = (now.join(&name), left.join(&name));
            match is_directory {
                true => {
                    fs::create_dir(&left).expect("a directory");
                    self.directory(inode, &now, &left);
                }
                false => write(&left, &self.content(inode, &now)).expect("a file"),
            }
        }
    }

    /// What was there at the last sync, and perhaps the beginning of what was written since.
    fn content(&mut self, inode: u64, now: &Path) -> Vec<u8> {
        let mut kept = fs::read(self.durable.join(inode.to_string())).unwrap_or_default();
        let same = fs::metadata(now).is_ok_and(|about| about.ino() == inode);
        let newer = if same { fs::read(now).unwrap_or_default() } else { Vec::new() };
        let Some((first, last)) = differing(&kept, &newer) else { return kept };
        let end = first + self.one_of(last - first + 1);
        if end == first {
            return kept;
        }
        if end > kept.len() {
            kept.resize(end, 0);
        }
        kept[first..end].copy_from_slice(&newer[first..end]);
        kept
    }
}

/// Where the newer content differs: the first place and the one behind the last.
fn differing(kept: &[u8], newer: &[u8]) -> Option<(usize, usize)> {
    let mut places = None;
    for (number, piece) in newer.chunks(PIECE).enumerate() {
        let start = number * PIECE;
        let before = kept.get(start..kept.len().min(start + piece.len())).unwrap_or_default();
        if before == piece {
            continue;
        }
        let differs = |at: &usize| before.get(*at) != Some(&piece[*at]);
        let (first, last) = ((0..piece.len()).find(differs)?, (0..piece.len()).rfind(differs)?);
        places = Some((places.map_or(start + first, |(first, _)| first), start + last + 1));
    }
    places
}

/// Writes a file whose empty parts take no room: journals are long before they are full.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let file = fs::File::create(path)?;
    file.set_len(content.len() as u64)?;
    let empty = [0; PIECE];
    for (number, piece) in content.chunks(PIECE).enumerate().filter(|(_, piece)| **piece != empty[..piece.len()]) {
        file.write_all_at(piece, (number * PIECE) as u64)?;
    }
    Ok(())
}

/// A line of the shim's: whether it is a directory, the inode, the name.
fn entry(line: &str) -> Option<(bool, u64, String)> {
    let mut words = line.splitn(3, ' ');
    let is_directory = words.next()? == "d";
    Some((is_directory, words.next()?.parse().ok()?, words.next()?.to_owned()))
}

/// The files and directories in a directory now.
fn names(directory: &Path) -> Vec<(bool, u64, String)> {
    let entry = |entry: fs::DirEntry| {
        let about = entry.metadata().ok().filter(|about| about.is_dir() || about.is_file())?;
        Some((about.is_dir(), about.ino(), entry.file_name().into_string().ok()?))
    };
    fs::read_dir(directory).into_iter().flatten().flatten().filter_map(entry).collect()
}
