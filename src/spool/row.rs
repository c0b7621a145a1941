//! The rows of the store as octets.
//!
//! In: a message. Out: its record row and its entity row; and back. Invariant: a row that was cut, changed in any octet,
//! or written by a later version is never taken for a message: each row starts with its format version and a checksum
//! (XXH3, 64 bits) over the rest. Integers are little-endian, counts and lengths LEB128, strings a length and UTF-8.
//!
//! | record row | octets | |
//! | --- | --- | --- |
//! | version | 1 | [`VERSION`] |
//! | checksum | 8 | of all that follows |
//! | flags | 1 | 1 held, 2 the row replaces an earlier one of the same key |
//! | expires, arrived | 8, 8 | milliseconds since 1970 |
//! | size | 8 | octets of the entity |
//! | states | n + … | count, then a tag each; an open recipient with history has it behind its tag, an owed one its devices |
//! | origin | 1 + … | |
//! | envelope | … | |
//!
//! What changes in a message's life stands before what does not, so that a settlement rewrites a row without reading
//! the envelope. An entity row is version, checksum, entity. The identifier is the key and not repeated in the row, but
//! the checksum is bound to it: a row that turns up under another key is not taken for that message.
//! `tests/golden/spool` holds rows of every shape: a change of the format that is not meant fails there.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::record::{Disposition, Holder, NewMessage, Origin, Progress, QueueId, Record, State};
use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, ByMode, Class, DeliverBy, Envelope, Notify, OriginalRecipient, Recipient, Ret};
use crate::timestamp::Timestamp;

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u8 = 1;
/// Version and checksum.
pub(super) const HEAD: usize = 9;
/// Octets of [`Progress::last`] that are kept.
const LAST_OCTETS: usize = 512;

const HELD: u8 = 1;
const REWRITTEN: u8 = 2;

/// Why a row is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It ends too early.
    #[error("the row is cut off")]
    Short,
    /// It was written by another version of this software, or its first octet is damaged.
    #[error("the row has format version {0}, this program reads 1")]
    Version(u8),
    /// The checksum is not that of the content.
    #[error("the checksum does not fit the content")]
    Checksum,
    /// The checksum is right and yet the content makes no sense: a fault of the writer.
    #[error("the row has an invalid {0}")]
    Invalid(&'static str),
}

/// Starts a row: version and room for the checksum.
fn head(capacity: usize) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD + capacity);
    row.push(VERSION);
    row.extend_from_slice(&[0; 8]);
    row
}

/// Puts the checksum into its place. The row is not bound to a key yet.
fn seal(mut row: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&row[HEAD..]);
    row[1..HEAD].copy_from_slice(&checksum.to_le_bytes());
    row
}

/// Binds a row that is not bound to a key, or to a secret: under another one its checksum is wrong. That is done last,
/// by the committer, who alone knows the key; so it is cheap.
pub(super) fn bind(row: &mut [u8], to: u64) {
    if let Some((_, rest)) = row.split_first_mut()
        && let Some((checksum, _)) = rest.split_first_chunk_mut::<8>()
    {
        *checksum = (u64::from_le_bytes(*checksum) ^ spread(to)).to_le_bytes();
    }
}

/// Zero for zero, which is not bound; else each bit of the number in many places.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The content of a row whose version and checksum are right, and which is bound to this key.
pub(super) fn open(row: &[u8], bound: u64) -> Result<&[u8], RowError> {
    let version = *row.first().ok_or(RowError::Short)?;
    if version != VERSION {
        return Err(RowError::Version(version));
    }
    let (head, content) = row.split_at_checked(HEAD).ok_or(RowError::Short)?;
    if head[1..] != (xxh3_64(content) ^ spread(bound)).to_le_bytes() {
        return Err(RowError::Checksum);
    }
    Ok(content)
}

/// A row of any content under a key of any form.
pub(super) fn bound(content: &[u8], key: &[u8]) -> Vec<u8> {
    let mut row = plain(content);
    bind(&mut row, key_bound(key));
    row
}

/// What a row under a key of any form is bound to.
pub(super) fn key_bound(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// A row of any content, for the store's own rows.
pub(super) fn plain(content: &[u8]) -> Vec<u8> {
    let mut row = head(content.len());
    row.extend_from_slice(content);
    seal(row)
}

/// The row of an entity.
pub(super) fn entity(entity: &[u8]) -> Vec<u8> {
    plain(entity)
}

/// The entity of a row, sharing its memory.
pub(super) fn entity_of<T: AsRef<[u8]> + Send + 'static>(id: QueueId, row: T) -> Result<Bytes, RowError> {
    open(row.as_ref(), id.0)?;
    Ok(Bytes::from_owner(row).slice(HEAD..))
}

/// The row of a new message; its recipients have the states given, all open where there are none.
pub(super) fn record(message: &NewMessage, states: Option<&[State]>) -> Vec<u8> {
    let mut row = head(192 + 64 * message.envelope.recipients.len());
    row.push(0);
    row.extend_from_slice(&message.expires.millis().to_le_bytes());
    row.extend_from_slice(&message.arrived.millis().to_le_bytes());
    row.extend_from_slice(&(message.entity.len() as u64).to_le_bytes());
    match states {
        Some(states) => put_states(&mut row, states),
        None => {
            let count = message.envelope.recipients.len();
            put_count(&mut row, count);
            row.resize(row.len() + count, 0);
        }
    }
    put_origin(&mut row, &message.origin);
    put_envelope(&mut row, &message.envelope);
    seal(row)
}

/// The part of a record row that changes in the message's life.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Held by an administrator.
    pub held: bool,
    /// The row replaces an earlier one of the same key.
    pub rewritten: bool,
    /// When the message fails.
    pub expires: Timestamp,
    /// When it came.
    pub arrived: Timestamp,
    /// Octets of the entity.
    pub size: u64,
    /// One for each recipient.
    pub states: Vec<State>,
}

impl Head {
    /// Reads it, and gives the rest of the row as it is.
    pub fn read(id: QueueId, row: &[u8]) -> Result<(Head, &[u8]), RowError> {
        let mut input = Input(open(row, id.0)?);
        let head = input.head()?;
        Ok((head, input.0))
    }

    /// Whether no recipient is open, and some are kept for further devices.
    pub fn is_owed(&self) -> bool {
        !self.states.iter().any(State::is_open) && self.states.iter().any(State::is_owed)
    }

    /// The row with this head and that rest.
    pub fn write(&self, id: QueueId, rest: &[u8]) -> Vec<u8> {
        let mut row = head(32 + 8 * self.states.len() + rest.len());
        row.push(if self.held { HELD } else { 0 } | if self.rewritten { REWRITTEN } else { 0 });
        row.extend_from_slice(&self.expires.millis().to_le_bytes());
        row.extend_from_slice(&self.arrived.millis().to_le_bytes());
        row.extend_from_slice(&self.size.to_le_bytes());
        put_states(&mut row, &self.states);
        row.extend_from_slice(rest);
        let mut row = seal(row);
        bind(&mut row, id.0);
        row
    }
}

/// The same row, marked as one that replaces another.
pub(super) fn rewritten(id: QueueId, row: &[u8]) -> Result<Vec<u8>, RowError> {
    let (mut head, rest) = Head::read(id, row)?;
    head.rewritten = true;
    Ok(head.write(id, rest))
}

/// Reads record rows; keeps the domains that it saw last, since most messages of a scan name the same few.
#[derive(Default)]
pub(super) struct Reader {
    domains: Vec<Domain>,
    oldest: usize,
}

/// How many domains a [`Reader`] keeps.
const DOMAINS: usize = 8;

impl Reader {
    /// The record of a row.
    pub fn record(&mut self, id: QueueId, row: &[u8]) -> Result<Record, RowError> {
        self.content(id, open(row, id.0)?)
    }

    /// The record of a row's content.
    pub fn content(&mut self, id: QueueId, content: &[u8]) -> Result<Record, RowError> {
        let mut input = Input(content);
        let head = input.head()?;
        let origin = self.origin(&mut input)?;
        let envelope = self.envelope(&mut input)?;
        if !input.0.is_empty() {
            return Err(RowError::Invalid("end"));
        }
        if envelope.recipients.len() != head.states.len() {
            return Err(RowError::Invalid("number of states"));
        }
        Ok(Record {
            id,
            envelope: Arc::new(envelope),
            states: head.states,
            origin,
            arrived: head.arrived,
            expires: head.expires,
            size: head.size,
            held: head.held,
        })
    }

    fn origin(&mut self, input: &mut Input<'_>) -> Result<Origin, RowError> {
        Ok(match input.octet()? {
            0 => Origin::Peer { proven: None },
            1 => Origin::Peer { proven: Some(self.domain(input)?) },
            2 => Origin::Mail,
            3 => Origin::Own,
            4 => Origin::Client { account: self.mailbox(input)? },
            _ => return Err(RowError::Invalid("origin")),
        })
    }

    fn envelope(&mut self, input: &mut Input<'_>) -> Result<Envelope, RowError> {
        let class = match input.octet()? {
            0 => Class::Im,
            1 => Class::Pres,
            _ => return Err(RowError::Invalid("class")),
        };
        let body = match input.octet()? {
            0 => Body::SevenBit,
            1 => Body::EightBitMime,
            2 => Body::BinaryMime,
            _ => return Err(RowError::Invalid("body")),
        };
        let flags = input.octet()?;
        if flags & !0b11 != 0 {
            return Err(RowError::Invalid("flags of the envelope"));
        }
        let ret = match input.octet()? {
            0 => None,
            1 => Some(Ret::Full),
            2 => Some(Ret::Hdrs),
            _ => return Err(RowError::Invalid("RET")),
        };
        let envid = input.option()?.then(|| input.text()).transpose()?.map(str::to_owned);
        let deliver_by = deliver_by(input)?;
        let sender = if input.option()? { ReversePath::Mailbox(self.mailbox(input)?) } else { ReversePath::Null };
        let count = input.count()?;
        // A recipient takes four octets or more, so a count can never ask for more memory than the row is worth.
        if count > input.0.len() / 4 {
            return Err(RowError::Invalid("number of recipients"));
        }
        let recipients = (0..count).map(|_| self.recipient(input)).collect::<Result<_, _>>()?;
        let (utf8, require_tls) = (flags & 1 != 0, flags & 2 != 0);
        Ok(Envelope { class, sender, body, utf8, ret, envid, deliver_by, require_tls, recipients })
    }

    fn recipient(&mut self, input: &mut Input<'_>) -> Result<Recipient, RowError> {
        let address = self.mailbox(input)?;
        let notify = match input.octet()? {
            0xff => None,
            bits @ 0..8 => Some(Notify { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }),
            _ => return Err(RowError::Invalid("NOTIFY")),
        };
        let original = if input.option()? {
            Some(OriginalRecipient { kind: input.text()?.to_owned(), address: input.text()?.to_owned() })
        } else {
            None
        };
        Ok(Recipient { address, notify, original })
    }

    fn mailbox(&mut self, input: &mut Input<'_>) -> Result<Mailbox, RowError> {
        let local = input.text()?;
        let domain = self.domain(input)?;
        Mailbox::new(local, domain).map_err(|_| RowError::Invalid("mailbox"))
    }

    fn domain(&mut self, input: &mut Input<'_>) -> Result<Domain, RowError> {
        let text = input.text()?;
        if let Some(known) = self.domains.iter().find(|domain| domain.as_str() == text) {
            return Ok(known.clone());
        }
        let domain = Domain::parse(text).map_err(|_| RowError::Invalid("domain"))?;
        if self.domains.len() < DOMAINS {
            self.domains.push(domain.clone());
        } else {
            self.domains[self.oldest] = domain.clone();
            self.oldest = (self.oldest + 1) % DOMAINS;
        }
        Ok(domain)
    }
}

fn deliver_by(input: &mut Input<'_>) -> Result<Option<DeliverBy>, RowError> {
    let kind = input.octet()?;
    if kind == 0 {
        return Ok(None);
    }
    if kind > 4 {
        return Err(RowError::Invalid("BY"));
    }
    let mode = if kind <= 2 { ByMode::Return } else { ByMode::Notify };
    Ok(Some(DeliverBy { at: input.time()?, mode, trace: kind % 2 == 0 }))
}

fn put_count(row: &mut Vec<u8>, mut count: usize) {
    while count >= 0x80 {
        row.push(count as u8 | 0x80);
        count >>= 7;
    }
    row.push(count as u8);
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    put_count(row, text.len());
    row.extend_from_slice(text.as_bytes());
}

fn put_mailbox(row: &mut Vec<u8>, mailbox: &Mailbox) {
    put_text(row, mailbox.local());
    put_text(row, mailbox.domain().as_str());
}

fn put_states(row: &mut Vec<u8>, states: &[State]) {
    put_count(row, states.len());
    for state in states {
        match state {
            State::Open(progress) if *progress == Progress::default() => row.push(0),
            State::Open(progress) => put_progress(row, progress),
            State::Owed(holders) => {
                row.push(7);
                put_holders(row, holders);
            }
            State::Closed(disposition) => row.push(match disposition {
                Disposition::Delivered => 2,
                Disposition::Relayed => 3,
                Disposition::Failed => 4,
                Disposition::Duplicate => 5,
                Disposition::Removed => 6,
            }),
        }
    }
}

fn put_progress(row: &mut Vec<u8>, progress: &Progress) {
    row.push(1);
    row.extend_from_slice(&progress.attempts.to_le_bytes());
    let told = if progress.delay_told { 1 } else { 0 } | if progress.delivered_told { 2 } else { 0 };
    let told = told | if progress.last.is_some() { 4 } else { 0 };
    row.push(told | if progress.had.is_empty() { 0 } else { 8 });
    if let Some(last) = &progress.last {
        put_text(row, &last[..last.floor_char_boundary(LAST_OCTETS)]);
    }
    if !progress.had.is_empty() {
        put_holders(row, &progress.had);
    }
}

fn put_holders(row: &mut Vec<u8>, holders: &[Holder]) {
    put_count(row, holders.len());
    holders.iter().for_each(|holder| put_text(row, holder.as_str()));
}

fn put_origin(row: &mut Vec<u8>, origin: &Origin) {
    match origin {
        Origin::Peer { proven: None } => row.push(0),
        Origin::Peer { proven: Some(domain) } => {
            row.push(1);
            put_text(row, domain.as_str());
        }
        Origin::Mail => row.push(2),
        Origin::Own => row.push(3),
        Origin::Client { account } => {
            row.push(4);
            put_mailbox(row, account);
        }
    }
}

fn put_envelope(row: &mut Vec<u8>, envelope: &Envelope) {
    row.push(match envelope.class {
        Class::Im => 0,
        Class::Pres => 1,
    });
    row.push(match envelope.body {
        Body::SevenBit => 0,
        Body::EightBitMime => 1,
        Body::BinaryMime => 2,
    });
    row.push(u8::from(envelope.utf8) | u8::from(envelope.require_tls) << 1);
    row.push(match envelope.ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Hdrs) => 2,
    });
    row.push(u8::from(envelope.envid.is_some()));
    if let Some(envid) = &envelope.envid {
        put_text(row, envid);
    }
    match &envelope.deliver_by {
        None => row.push(0),
        Some(by) => {
            let mode = match by.mode {
                ByMode::Return => 1,
                ByMode::Notify => 3,
            };
            row.push(mode + u8::from(by.trace));
            row.extend_from_slice(&by.at.millis().to_le_bytes());
        }
    }
    row.push(u8::from(envelope.sender.mailbox().is_some()));
    if let Some(mailbox) = envelope.sender.mailbox() {
        put_mailbox(row, mailbox);
    }
    put_count(row, envelope.recipients.len());
    for recipient in &envelope.recipients {
        put_mailbox(row, &recipient.address);
        row.push(recipient.notify.map_or(0xff, |notify| {
            u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2
        }));
        row.push(u8::from(recipient.original.is_some()));
        if let Some(original) = &recipient.original {
            put_text(row, &original.kind);
            put_text(row, &original.address);
        }
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RowError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(RowError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(RowError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn octet(&mut self) -> Result<u8, RowError> {
        let [octet] = self.array()?;
        Ok(octet)
    }

    fn option(&mut self) -> Result<bool, RowError> {
        match self.octet()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RowError::Invalid("option")),
        }
    }

    fn time(&mut self) -> Result<Timestamp, RowError> {
        Ok(Timestamp::from_millis(i64::from_le_bytes(self.array()?)))
    }

    fn count(&mut self) -> Result<usize, RowError> {
        let mut count = 0;
        for shift in [0, 7, 14, 21, 28] {
            let octet = self.octet()?;
            count |= usize::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(count);
            }
        }
        Err(RowError::Invalid("count"))
    }

    fn text(&mut self) -> Result<&'a str, RowError> {
        let count = self.count()?;
        std::str::from_utf8(self.take(count)?).map_err(|_| RowError::Invalid("text"))
    }

    fn head(&mut self) -> Result<Head, RowError> {
        let flags = self.octet()?;
        if flags & !(HELD | REWRITTEN) != 0 {
            return Err(RowError::Invalid("flags"));
        }
        let (expires, arrived) = (self.time()?, self.time()?);
        let size = u64::from_le_bytes(self.array()?);
        let count = self.count()?;
        if count > self.0.len() {
            return Err(RowError::Invalid("number of states"));
        }
        let states = (0..count).map(|_| self.state()).collect::<Result<_, _>>()?;
        Ok(Head { held: flags & HELD != 0, rewritten: flags & REWRITTEN != 0, expires, arrived, size, states })
    }

    fn state(&mut self) -> Result<State, RowError> {
        let disposition = match self.octet()? {
            0 => return Ok(State::Open(Progress::default())),
            1 => return Ok(State::Open(self.progress()?)),
            2 => Disposition::Delivered,
            3 => Disposition::Relayed,
            4 => Disposition::Failed,
            5 => Disposition::Duplicate,
            6 => Disposition::Removed,
            7 => return Ok(State::Owed(self.holders()?)),
            _ => return Err(RowError::Invalid("state")),
        };
        Ok(State::Closed(disposition))
    }

    fn progress(&mut self) -> Result<Progress, RowError> {
        let attempts = u16::from_le_bytes(self.array()?);
        let told = self.octet()?;
        if told > 15 {
            return Err(RowError::Invalid("progress"));
        }
        let last = if told & 4 != 0 { Some(self.text()?.to_owned()) } else { None };
        let had = if told & 8 != 0 { self.holders()? } else { Vec::new() };
        Ok(Progress { attempts, delay_told: told & 1 != 0, delivered_told: told & 2 != 0, last, had })
    }

    fn holders(&mut self) -> Result<Vec<Holder>, RowError> {
        let count = self.count()?;
        // None are not written, and each takes two octets or more.
        if count == 0 || count > self.0.len() / 2 {
            return Err(RowError::Invalid("number of devices"));
        }
        (0..count).map(|_| Holder::read(self.text()?).ok_or(RowError::Invalid("device"))).collect()
    }
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
