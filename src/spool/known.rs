//! Rows of devices that are known.
//!
//! In: an inbox, a device, when it was attached last. Out: key and row, and back. A row that is damaged is not read: the
//! device is known again when it attaches.

use fjall::Slice;

use super::record::{Holder, Known};
use super::row;
use crate::timestamp::Timestamp;

/// The key.
pub(super) fn key(inbox: &str, holder: &Holder) -> Slice {
    // Neither has a NUL, so the key can be taken apart again.
    [b"d", inbox.as_bytes(), b"\0", holder.as_str().as_bytes()].concat().into()
}

/// The row.
pub(super) fn row(seen: Timestamp) -> Slice {
    row::plain(&seen.millis().to_le_bytes()).into()
}

/// The device of a key and a row.
pub(super) fn read(key: &[u8], row: &[u8]) -> Option<Known> {
    let (inbox, holder) = std::str::from_utf8(key.get(1..)?).ok()?.split_once('\0')?;
    let seen = Timestamp::from_millis(i64::from_le_bytes(row::open(row, 0).ok()?.try_into().ok()?));
    Some(Known { inbox: inbox.to_owned(), holder: Holder::read(holder)?, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for holder in ["phone", "bob/x@b.example/desk.1"] {
            let holder = Holder::read(holder).unwrap();
            let known = Known { inbox: "alice@a.example".to_owned(), holder, seen: Timestamp::from_millis(77) };
            let (key, row) = (key(&known.inbox, &known.holder), row(known.seen));
            assert_eq!(read(&key, &row).as_ref(), Some(&known));
            let mut damaged = row.to_vec();
            damaged[12] ^= 1;
            assert_eq!(read(&key, &damaged), None);
        }
        assert_eq!(read(b"dalice@a.example", &row(Timestamp::MAX)), None);
    }
}
