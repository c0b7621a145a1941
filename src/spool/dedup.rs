//! Second copies: the key of a message at a recipient, how long it counts, and how it goes away.
//!
//! A key is the first 128 bits of SHA-256 over service class, envelope sender, Message-ID, digest of the entity without
//! trace fields, and recipient; 2⁻⁶⁴ is the chance that two of four thousand million messages share one, and no sender can
//! aim at another's. Its row holds the time after which it no longer counts and the identifier of the first copy.
//! What is signed or encrypted has a second key, of its signature and the recipient: whoever plays it back in another
//! envelope, or under another Message-ID, brings a second copy.
//! Nothing scans for old rows: a look-up reads the time, and the store's compaction drops a row a day after it has run
//! out, so twenty million keys cost no removals. The day is for clocks that run ahead for a while and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Factory, ItemAccessor, Verdict};

use super::record::{NewMessage, QueueId};
use crate::limits;
use crate::timestamp::Timestamp;

/// The key of one message at one recipient.
pub(super) type Key = [u8; 16];

/// The keys of a message, each with the index of its recipient; none where it has neither a Message-ID
/// nor a signature.
pub(super) fn keys(message: &NewMessage) -> Vec<(usize, Key)> {
    let mut keys: Vec<(usize, Key)> = by_message_id(message).into_iter().enumerate().collect();
    let recipients = message.envelope.recipients.iter().zip(&message.signed).enumerate();
    keys.extend(
        recipients.filter_map(|(index, (recipient, signed))| Some((index, by_signature((*signed)?, recipient)))),
    );
    keys
}

fn by_signature(signed: [u8; 32], recipient: &crate::envelope::Recipient) -> Key {
    let mut context = Context::new(&SHA256);
    // No class is called so.
    context.update(b"signed");
    context.update(&signed);
    of_recipient(context, recipient)
}

fn of_recipient(mut context: Context, recipient: &crate::envelope::Recipient) -> Key {
    context.update(recipient.address.key().as_bytes());
    let mut key = Key::default();
    key.copy_from_slice(&context.finish().as_ref()[..16]);
    key
}

/// One key for each recipient of a message, in order; none where it has no Message-ID.
fn by_message_id(message: &NewMessage) -> Vec<Key> {
    let Some(message_id) = &message.message_id else {
        return Vec::new();
    };
    let mut common = Context::new(&SHA256);
    common.update(message.envelope.class.keyword().as_bytes());
    let sender = message.envelope.sender.mailbox().map(|mailbox| mailbox.key()).unwrap_or_default();
    // Each part with its length, so that no two messages give the same octets.
    for part in [sender.as_bytes(), message_id.as_bytes()] {
        common.update(&(part.len() as u64).to_le_bytes());
        common.update(part);
    }
    common.update(&message.digest);
    message.envelope.recipients.iter().map(|recipient| of_recipient(common.clone(), recipient)).collect()
}

/// The value of a row: when it runs out, and the first copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    until: u32,
    /// The first copy.
    pub first: QueueId,
}

impl Mark {
    /// For a copy that came now.
    pub fn new(arrived: Timestamp, first: QueueId) -> Mark {
        Mark { until: seconds(arrived.after(limits::DEDUP_RETENTION)), first }
    }

    /// As octets.
    pub fn write(self) -> [u8; 12] {
        let mut row = [0; 12];
        row[..4].copy_from_slice(&self.until.to_le_bytes());
        row[4..].copy_from_slice(&self.first.0.to_le_bytes());
        row
    }

    /// From octets; `None` for what was not written by [`Mark::write`].
    pub fn read(row: &[u8]) -> Option<Mark> {
        let (until, first) = row.split_first_chunk::<4>()?;
        let first = QueueId(u64::from_le_bytes(first.try_into().ok()?));
        Some(Mark { until: u32::from_le_bytes(*until), first })
    }

    /// Whether it still counts.
    pub fn counts(self, now: Timestamp) -> bool {
        seconds(now) <= self.until
    }
}

/// Seconds since 1970, which last until 2106.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.secs().max(0)).unwrap_or(u32::MAX)
}

/// Tells the store's compaction which rows have run out.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Milliseconds since 1970; zero until a message has come: then nothing is dropped.
    now: AtomicI64,
}

impl Expiry {
    /// The time has come so far.
    pub fn advance(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::Relaxed);
    }
}

/// How long a row that has run out is kept nevertheless.
const GRACE: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Makes filters for compactions.
pub(super) struct Filters(pub Arc<Expiry>);

impl Factory for Filters {
    fn name(&self) -> &str {
        "dedup-expiry"
    }

    fn make_filter(&self, _: &fjall::compaction::filter::Context) -> Box<dyn CompactionFilter> {
        let now = Timestamp::from_millis(self.0.now.load(Ordering::Relaxed));
        Box::new(Filter { before: now.before(GRACE) })
    }
}

struct Filter {
    before: Timestamp,
}

impl CompactionFilter for Filter {
    fn filter_item(
        &mut self,
        item: ItemAccessor<'_>,
        _: &fjall::compaction::filter::Context,
    ) -> CompactionFilterResult {
        // An older row of the same key has run out earlier, so nothing comes back to life behind a destroyed one.
        let counts = Mark::read(&item.value()?).is_none_or(|mark| mark.counts(self.before));
        Ok(if counts { Verdict::Keep } else { Verdict::Destroy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::message;

    #[test]
    fn every_part_of_the_key_counts() {
        let base = message("1@a.example", &["bob@b.example"]);
        let key = keys(&base)[0];
        let mut same = base.clone();
        same.entity = bytes::Bytes::from_static(b"with another Received field");
        assert_eq!(keys(&same)[0], key, "trace fields are not in the digest");
        let mut other = vec![base.clone(), base.clone(), base.clone()];
        other[0].digest = [1; 32];
        other[1].message_id = Some("2@a.example".to_owned());
        Arc::make_mut(&mut other[2].envelope).class = crate::envelope::Class::Pres;
        for changed in &other {
            assert_ne!(keys(changed)[0], key, "{changed:?}");
        }
        assert_eq!(keys(&message("1@a.example", &["BOB@B.example"]))[0], key, "letter case is no difference");
        let mut without = base.clone();
        without.message_id = None;
        assert!(keys(&without).is_empty());
    }

    #[test]
    fn a_signature_is_known_in_every_envelope() {
        let mut base = message("1@a.example", &["bob@b.example", "carol@b.example"]);
        base.signed = vec![Some([7; 32]), None];
        let all = keys(&base);
        assert_eq!(all.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 0]);
        let mut again = message("2@a.example", &["Bob@b.example"]);
        (again.digest, again.signed) = ([1; 32], vec![Some([7; 32])]);
        Arc::make_mut(&mut again.envelope).sender = crate::address::ReversePath::Null;
        let same: Vec<_> = keys(&again).into_iter().filter(|key| all.contains(key)).collect();
        assert_eq!(same.len(), 1);
        again.signed = vec![Some([8; 32])];
        assert!(keys(&again).iter().all(|key| !all.contains(key)));
        again.message_id = None;
        assert_eq!(keys(&again).len(), 1, "it needs no Message-ID");
    }

    #[test]
    fn marks_count_for_eight_days() {
        let arrived = Timestamp::from_secs(1_800_000_000);
        let mark = Mark::new(arrived, QueueId(77));
        assert_eq!(Mark::read(&mark.write()), Some(mark));
        assert_eq!(Mark::read(&mark.write()[1..]), None);
        assert!(mark.counts(arrived.after(limits::DEDUP_RETENTION)));
        assert!(!mark.counts(Timestamp::from_secs(arrived.secs() + 8 * 86_400 + 1)));
        assert!(Mark::new(Timestamp::MAX, QueueId(1)).counts(Timestamp::MAX));
    }
}
