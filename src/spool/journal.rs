//! Damage in the store's journals, found and mended before the store reads them.
//!
//! In: the files `store/N.jnl`, which hold the batches that are not yet in tables. Out: the same files without damage,
//! and what was wrong. The store itself takes a changed octet for the end of the journal, or refuses to open; in both
//! cases all that follows would be lost, though it was acknowledged and is whole. Here:
//!
//! - a batch whose shape is whole and whose checksum is wrong keeps its rows, since each row carries a checksum of its
//!   own, bound to its key; it loses its removals, whose keys carry none: a message may be delivered again, none is lost;
//! - a batch whose shape is broken is left out, up to the next whole batch, and reported;
//! - an end without a whole batch behind it is what a crash leaves: the store cuts it off, and nothing is reported.
//!
//! Behind broken shape the octets may be anybody's message, so a batch is only believed there if it holds the state row,
//! which is bound to the spool's secret. The file as it was goes to `damaged-TIME`. The shape is that of fjall 3
//! (`journal/entry.rs`), and a test compares it with what fjall writes.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::store::is_state_row;
use crate::disk;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";
/// Octets of a start marker.
const START_OCTETS: usize = 13;
/// The value type of a row, as against a removal.
const VALUE: u8 = 0;

/// A batch whose shape is whole.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    /// Each entry between its markers, and whether it is a row.
    entries: Vec<(Range<usize>, bool)>,
    /// Octets with both markers.
    octets: usize,
    /// Whether its checksum is right.
    whole: bool,
    /// Whether it holds a state row of this spool.
    ours: bool,
}

/// Reads a batch at the beginning of `data`.
fn batch(data: &[u8], secret: u64) -> Option<Batch> {
    let (start, _) = data.split_first_chunk::<START_OCTETS>()?;
    if start[0] != START {
        return None;
    }
    let count = u32::from_le_bytes([start[1], start[2], start[3], start[4]]);
    let (mut at, mut ours) = (START_OCTETS, false);
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = entry(data.get(at..)?)?;
        ours |= entry.row.is_some_and(|(key, value)| is_state_row(key, value, secret));
        entries.push((at..at + entry.octets, entry.row.is_some()));
        at += entry.octets;
    }
    let (end, _) = data.get(at..)?.split_first_chunk::<13>()?;
    if end[0] != END || &end[9..] != MAGIC {
        return None;
    }
    let whole = end[1..9] == xxh3_64(&data[START_OCTETS..at]).to_le_bytes();
    Some(Batch { entries, octets: at + end.len(), whole, ours })
}

/// An entry: its length, and key and value where it is a row.
struct Entry<'a> {
    octets: usize,
    row: Option<(&'a [u8], &'a [u8])>,
}

fn entry(data: &[u8]) -> Option<Entry<'_>> {
    match *data.first()? {
        CLEAR => (data.len() >= 9).then_some(Entry { octets: 9, row: None }),
        ITEM => {
            let (head, rest) = data.split_first_chunk::<21>()?;
            let (kind, compression) = (head[1], head[2]);
            if !matches!(kind, 0..=2) || compression != 0 {
                return None;
            }
            let key_octets = usize::from(u16::from_le_bytes([head[11], head[12]]));
            let octets = u32::from_le_bytes([head[13], head[14], head[15], head[16]]);
            let on_disk = u32::from_le_bytes([head[17], head[18], head[19], head[20]]);
            if octets != on_disk || key_octets == 0 {
                return None;
            }
            let (key, rest) = rest.split_at_checked(key_octets)?;
            let value = rest.get(..octets as usize)?;
            let length = head.len() + key.len() + value.len();
            Some(Entry { octets: length, row: (kind == VALUE).then_some((key, value)) })
        }
        _ => None,
    }
}

/// What is wrong with a journal, and what it is to be.
#[derive(Debug, PartialEq, Eq)]
struct Mended {
    data: Vec<u8>,
    faults: Vec<String>,
}

/// Looks through a journal; `None` when there is nothing to mend.
fn examine(data: &[u8], secret: u64) -> Option<Mended> {
    let mut mended = Mended { data: Vec::new(), faults: Vec::new() };
    // What is whole is copied late, and never when there is no damage.
    let (mut at, mut copied) = (0, 0);
    while at < data.len() {
        match batch(&data[at..], secret) {
            Some(batch) if batch.whole => at += batch.octets,
            Some(batch) => {
                mended.data.extend_from_slice(&data[copied..at]);
                let kept = keep_rows(&data[at..at + batch.octets], &batch, &mut mended.data);
                let (rows, lost) = (kept, batch.entries.len() - kept);
                mended.faults.push(format!(
                    "octets {at} to {} have a wrong checksum: {rows} rows kept, each with its own, {lost} removals undone",
                    at + batch.octets
                ));
                at += batch.octets;
                copied = at;
            }
            None => {
                let Some(next) = next_of_ours(data, at + 1, secret) else { break };
                mended.data.extend_from_slice(&data[copied..at]);
                mended.faults.push(format!("octets {at} to {next} cannot be read and are left out"));
                at = next;
                copied = at;
            }
        }
    }
    if mended.faults.is_empty() {
        return None;
    }
    mended.data.extend_from_slice(&data[copied..at]);
    Some(mended)
}

/// Writes a batch again with its rows only; says how many.
fn keep_rows(data: &[u8], batch: &Batch, out: &mut Vec<u8>) -> usize {
    let rows: Vec<&Range<usize>> = batch.entries.iter().filter(|(_, row)| *row).map(|(range, _)| range).collect();
    if rows.is_empty() {
        return 0;
    }
    let start = out.len();
    out.extend_from_slice(&data[..START_OCTETS]);
    out[start + 1..start + 5].copy_from_slice(&(rows.len() as u32).to_le_bytes());
    rows.iter().for_each(|range| out.extend_from_slice(&data[(*range).clone()]));
    let checksum = xxh3_64(&out[start + START_OCTETS..]);
    out.push(END);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(MAGIC);
    rows.len()
}

/// Where the next batch begins that is whole and certainly this spool's.
fn next_of_ours(data: &[u8], from: usize, secret: u64) -> Option<usize> {
    let mut at = from;
    loop {
        at += data.get(at..)?.iter().position(|octet| *octet == START)?;
        // An entry must follow; that is asked first, since most octets that look like a start are none.
        let plausible = matches!(data.get(at + START_OCTETS), Some(&(ITEM | CLEAR)));
        if plausible && batch(&data[at..], secret).is_some_and(|batch| batch.whole && batch.ours) {
            return Some(at);
        }
        at += 1;
    }
}

/// Mends the journals of a store; gives the names of those that were damaged, with what was wrong.
pub(super) fn mend(store: &Path, damaged: &Path, secret: u64) -> io::Result<Vec<(String, String)>> {
    let mut reports = Vec::new();
    if !store.exists() {
        return Ok(reports);
    }
    let mut journals: Vec<PathBuf> = fs::read_dir(store)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort();
    for path in journals {
        let Some(mended) = examine(&fs::read(&path)?, secret) else { continue };
        replace(&path, damaged, &mended.data)?;
        let (name, what) = (path.display().to_string(), mended.faults.join("; "));
        tracing::error!(journal = name, kept = %damaged.display(), "the spool's journal was damaged: {what}");
        reports.push((name, what));
    }
    Ok(reports)
}

/// Puts new content in a file's place; the old file is kept in another directory. A crash leaves the one or the other.
fn replace(path: &Path, damaged: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(damaged)?;
    let name = path.file_name().unwrap_or_default();
    fs::copy(path, damaged.join(name))?;
    File::open(damaged.join(name))?.sync_all()?;
    disk::sync_directory(damaged)?;
    disk::replace(path, 0o600, &[content])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::store::{Batch as Changes, Change, StateRow, Store, Table, record_key};
    use crate::spool::{QueueId, row};

    const SECRET: u64 = 0x1234_5678_9abc_def1;

    /// A store with a journal of `count` batches, each one record and the removal of the one before.
    fn journal(count: u64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Store::open(&path, 1 << 20, Default::default(), SECRET).unwrap();
        for number in 1..=count {
            let mut changes = Changes::default();
            let mut row = row::plain(&[b'x'; 100]);
            row::bind(&mut row, number);
            changes.add(Table::Messages, record_key(QueueId(number)), Change::Put(row.into()));
            changes.add(Table::Messages, record_key(QueueId(number - 1)), Change::Remove);
            changes.seal(&StateRow { next: number, ..StateRow::default() }, SECRET);
            store.commit(&changes).and_then(|()| store.sync()).unwrap();
        }
        drop(store);
        let path = path.join("0.jnl");
        let data = fs::read(&path).unwrap();
        (dir, path, data)
    }

    /// The batches of a journal, each with where it is.
    fn batches(data: &[u8]) -> Vec<(usize, Batch)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(batch) = batch(&data[at..], SECRET) {
            let octets = batch.octets;
            found.push((at, batch));
            at += octets;
        }
        found
    }

    #[test]
    fn the_shape_is_what_the_store_writes() {
        let (_dir, _, data) = journal(5);
        let found = batches(&data);
        assert!(found.iter().all(|(_, batch)| batch.whole));
        assert_eq!(found.iter().filter(|(_, batch)| batch.ours).count(), 5);
        assert_eq!(examine(&data, SECRET), None, "an undamaged journal, with the room behind it");
        assert!(found.last().unwrap().1.entries.len() >= 3);
    }

    #[test]
    fn a_cut_end_is_no_damage() {
        let (_dir, _, data) = journal(5);
        let (last, batch) = batches(&data).pop().unwrap();
        for cut in [1, 13, 20, 60, batch.octets - 1] {
            assert_eq!(examine(&data[..last + cut], SECRET), None, "cut at {cut}");
        }
    }

    #[test]
    fn any_damaged_octet_in_the_middle_costs_one_batch_at_most() {
        let (_dir, _, data) = journal(5);
        let found = batches(&data);
        let ours: Vec<_> = found.iter().filter(|(_, batch)| batch.ours).collect();
        let (at, hit) = ours[2];
        let rest = &data[..found.last().map(|(at, batch)| at + batch.octets).unwrap()];
        // The sequence number is not under the store's checksum: octets 5 to 12 of the start.
        for octet in (*at..at + 5).chain(at + START_OCTETS..at + hit.octets) {
            let mut damaged = rest.to_vec();
            damaged[octet] ^= 0x10;
            let mended = examine(&damaged, SECRET).unwrap_or_else(|| panic!("octet {octet} unnoticed"));
            assert_eq!(mended.faults.len(), 1, "{:?}", mended.faults);
            let after = batches(&mended.data);
            assert!(after.iter().all(|(_, batch)| batch.whole));
            assert!(after.iter().filter(|(_, batch)| batch.ours).count() >= 4, "octet {octet}: {:?}", mended.faults);
            assert_eq!(examine(&mended.data, SECRET), None);
        }
    }

    #[test]
    fn a_batch_inside_somebodys_message_is_not_believed() {
        let (_dir, _, data) = journal(2);
        let (at, batch) = batches(&data).pop().unwrap();
        let mut torn = data[..at].to_vec();
        torn.extend_from_slice(&data[at..at + 30]);
        torn.extend_from_slice(&data[at..at + batch.octets]);
        assert!(examine(&torn, SECRET).is_some(), "with the secret it is");
        assert_eq!(examine(&torn, SECRET + 1), None);
    }

    #[test]
    fn the_file_is_replaced_and_the_old_one_kept() {
        let (dir, path, mut data) = journal(3);
        let (at, _) = batches(&data)[batches(&data).len() - 2];
        data[at] = 0;
        fs::write(&path, &data).unwrap();
        let damaged = dir.path().join("damaged");
        let reports = mend(path.parent().unwrap(), &damaged, SECRET).unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!(fs::read(damaged.join("0.jnl")).unwrap(), data);
        assert_eq!(mend(path.parent().unwrap(), &damaged, SECRET).unwrap(), []);
        let store = Store::open(path.parent().unwrap(), 1 << 20, Default::default(), SECRET).unwrap();
        assert_eq!(
            store.known_state().unwrap().map(|state| state.next),
            Some(3),
            "what came after the damage is there"
        );
    }
}
