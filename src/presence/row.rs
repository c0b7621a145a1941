//! Rows: what outlasts the daemon.
//!
//! | key | content |
//! | --- | --- |
//! | `k` presentity | since when it is known, and as it is |
//! | `e` presentity 0 watcher 0 proven | the certificate to which a subscription's views are encrypted |
//! | `o` presentity | its devices were attached: version |
//! | `p` presentity 0 author 0 name | a publication |
//! | `s` presentity 0 watcher 0 proven | a subscription to a presentity here |
//! | `v` presentity 0 digest | a view from elsewhere, as an entity |
//! | `w` watcher 0 presentity | a subscription of a watcher here |
//! | `x` watcher 0 presentity | the certificate to which its views are to be encrypted |
//!
//! Addresses in keys are folded ([`Mailbox::key`]), in contents as they were written. In: rows of any content. Out: values, or
//! nothing where a row is not whole or of a later version: it is left out, and the daemon starts. Integers are little-endian.

use super::State;
use crate::address::Mailbox;
use crate::mime::presence::{Reason, SubscriptionId};
use crate::smime::Certificate;

const VERSION: u8 = 1;

/// A row: its key, and what stands there from now on.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

/// A row that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Known { presentity: Mailbox, since: i64, known: i64 },
    Attached { presentity: Mailbox, version: i64 },
    Publication(PublicationRow),
    Subscription(SubscriptionRow),
    View { presentity: String, digest: u64, utf8: bool, eight_bit: bool, entity: Vec<u8> },
    Watch(WatchRow),
    Reader(ReaderRow),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicationRow {
    pub presentity: Mailbox,
    pub by: Mailbox,
    pub id: String,
    pub expires: u32,
    pub at: i64,
    pub text: String,
    /// The entity, where its author has signed it: after a NUL, which no document has.
    pub signed: Option<bytes::Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubscriptionRow {
    pub presentity: Mailbox,
    pub watcher: Mailbox,
    pub proven: bool,
    /// The watcher is told by mail.
    pub mail: bool,
    pub id: SubscriptionId,
    pub state: State,
    pub expires: u32,
    pub since: u32,
    pub acked: i64,
    /// The digest of the view of that version.
    pub view: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchRow {
    pub watcher: Mailbox,
    pub presentity: Mailbox,
    pub id: SubscriptionId,
    pub state: State,
    pub cancelled: bool,
    pub expires: u32,
    pub refresh: u32,
    pub seq: u64,
    pub view: u64,
}

/// To what the views of a subscription, or of a watch of somebody here (`own`), are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReaderRow {
    pub own: bool,
    pub presentity: Mailbox,
    pub watcher: Mailbox,
    pub proven: bool,
    pub certificate: Certificate,
}

fn key(mark: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![mark];
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            key.push(0);
        }
        key.extend_from_slice(part);
    }
    key
}

fn state_octets(state: State) -> [u8; 2] {
    match state {
        State::Asked => [0, 0],
        State::Pending => [1, 0],
        State::Active => [2, 0],
        State::Waiting => [3, 0],
        State::Terminated(reason) => {
            let place = reason.and_then(|reason| Reason::ALL.iter().position(|other| *other == reason));
            [4, place.map_or(0, |place| place as u8 + 1)]
        }
    }
}

fn state_of(octets: [u8; 2]) -> Option<State> {
    Some(match octets {
        [0, _] => State::Asked,
        [1, _] => State::Pending,
        [2, _] => State::Active,
        [3, _] => State::Waiting,
        [4, place] => State::Terminated(usize::from(place).checked_sub(1).and_then(|at| Reason::ALL.get(at).copied())),
        _ => return None,
    })
}

/// Writes a content.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Writer {
        Writer(vec![VERSION])
    }

    fn octets(mut self, octets: &[u8]) -> Self {
        self.0.extend_from_slice(octets);
        self
    }

    /// An address or a name: its length in two octets, which it fits by its own bound.
    fn text(self, text: &str) -> Self {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.octets(&length.to_le_bytes()).octets(text.as_bytes())
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(u16::from_le_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn mailbox(&mut self) -> Option<Mailbox> {
        Mailbox::parse(self.text()?).ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }
}

/// The row of a presentity whose devices are attached.
pub(super) fn attached(presentity: &Mailbox, version: Option<i64>) -> Row {
    let content = version.map(|version| Writer::new().octets(&version.to_le_bytes()).text(&presentity.to_string()).0);
    (key(b'o', &[presentity.key().as_bytes()]), content)
}

/// The row of a presentity's times.
pub(super) fn known(presentity: &Mailbox, times: Option<(i64, i64)>) -> Row {
    let content = times.map(|(since, known)| {
        let times = Writer::new().octets(&since.to_le_bytes()).octets(&known.to_le_bytes());
        times.text(&presentity.to_string()).0
    });
    (key(b'k', &[presentity.key().as_bytes()]), content)
}

/// The key of a publication.
pub(super) fn publication_key(presentity: &Mailbox, by: &Mailbox, id: &str) -> Vec<u8> {
    key(b'p', &[presentity.key().as_bytes(), by.key().as_bytes(), id.as_bytes()])
}

/// The key of a subscription to a presentity here.
pub(super) fn subscription_key(presentity: &Mailbox, watcher: &Mailbox, proven: bool) -> Vec<u8> {
    key(b's', &[presentity.key().as_bytes(), watcher.key().as_bytes(), &[u8::from(proven)]])
}

/// The key of a view.
pub(super) fn view_key(presentity: &Mailbox, digest: u64) -> Vec<u8> {
    key(b'v', &[presentity.key().as_bytes(), &digest.to_be_bytes()])
}

/// The key of a subscription of a watcher here.
pub(super) fn watch_key(watcher: &Mailbox, presentity: &Mailbox) -> Vec<u8> {
    key(b'w', &[watcher.key().as_bytes(), presentity.key().as_bytes()])
}

impl PublicationRow {
    pub fn write(&self) -> Row {
        let content = Writer::new()
            .octets(&self.expires.to_le_bytes())
            .octets(&self.at.to_le_bytes())
            .text(&self.presentity.to_string())
            .text(&self.by.to_string())
            .text(&self.id)
            .octets(self.text.as_bytes())
            .octets(self.signed.as_ref().map_or(&[], |_| &[0]))
            .octets(self.signed.as_deref().unwrap_or_default());
        (publication_key(&self.presentity, &self.by, &self.id), Some(content.0))
    }
}

impl SubscriptionRow {
    pub fn write(&self) -> Row {
        let content = Writer::new()
            .octets(&state_octets(self.state))
            .octets(&[u8::from(self.proven) | u8::from(self.mail) << 1])
            .octets(&self.id.octets())
            .octets(&self.expires.to_le_bytes())
            .octets(&self.since.to_le_bytes())
            .octets(&self.acked.to_le_bytes())
            .octets(&self.view.to_le_bytes())
            .text(&self.presentity.to_string())
            .text(&self.watcher.to_string());
        (subscription_key(&self.presentity, &self.watcher, self.proven), Some(content.0))
    }
}

impl WatchRow {
    pub fn write(&self) -> Row {
        let content = Writer::new()
            .octets(&state_octets(self.state))
            .octets(&[u8::from(self.cancelled)])
            .octets(&self.id.octets())
            .octets(&self.expires.to_le_bytes())
            .octets(&self.refresh.to_le_bytes())
            .octets(&self.seq.to_le_bytes())
            .octets(&self.view.to_le_bytes())
            .text(&self.watcher.to_string())
            .text(&self.presentity.to_string());
        (watch_key(&self.watcher, &self.presentity), Some(content.0))
    }
}

/// The row of a view.
pub(super) fn view(presentity: &Mailbox, digest: u64, (utf8, eight_bit): (bool, bool), entity: &[u8]) -> Row {
    let content = Writer::new().octets(&[u8::from(utf8), u8::from(eight_bit)]).octets(entity);
    (view_key(presentity, digest), Some(content.0))
}

/// The row of the certificate of a subscription.
pub(super) fn reader(
    presentity: &Mailbox,
    (watcher, proven): (&Mailbox, bool),
    certificate: Option<&Certificate>,
) -> Row {
    let parts = [presentity.key(), watcher.key()];
    let key = key(b'e', &[parts[0].as_bytes(), parts[1].as_bytes(), &[u8::from(proven)]]);
    (key, certificate.map(|one| reader_content(presentity, watcher, proven, one)))
}

/// The row of the certificate of a watch.
pub(super) fn own_reader(watcher: &Mailbox, presentity: &Mailbox, certificate: Option<&Certificate>) -> Row {
    let parts = [watcher.key(), presentity.key()];
    let key = key(b'x', &[parts[0].as_bytes(), parts[1].as_bytes()]);
    (key, certificate.map(|one| reader_content(presentity, watcher, true, one)))
}

fn reader_content(presentity: &Mailbox, watcher: &Mailbox, proven: bool, certificate: &Certificate) -> Vec<u8> {
    let names = Writer::new().octets(&[u8::from(proven)]).text(&presentity.to_string()).text(&watcher.to_string());
    names.octets(certificate.der()).0
}

/// Reads a row.
pub(super) fn read(key: &[u8], content: &[u8]) -> Option<Read> {
    let (mark, name) = key.split_first()?;
    let (version, content) = content.split_first()?;
    let mut reader = Reader(content);
    if *version != VERSION {
        return None;
    }
    Some(match mark {
        b'k' => {
            let (since, known) = (reader.i64()?, reader.i64()?);
            Read::Known { presentity: reader.mailbox()?, since, known }
        }
        b'e' | b'x' => Read::Reader(ReaderRow {
            own: *mark == b'x',
            proven: reader.take::<1>()? == [1],
            presentity: reader.mailbox()?,
            watcher: reader.mailbox()?,
            certificate: Certificate::from_der(reader.0).ok()?,
        }),
        b'o' => {
            let version = reader.i64()?;
            Read::Attached { presentity: reader.mailbox()?, version }
        }
        b'p' => {
            let (expires, at) = (reader.u32()?, reader.i64()?);
            let (presentity, by, id) = (reader.mailbox()?, reader.mailbox()?, reader.text()?.to_owned());
            let mut rest = reader.0.splitn(2, |octet| *octet == 0);
            let text = std::str::from_utf8(rest.next()?).ok()?.to_owned();
            let signed = rest.next().map(bytes::Bytes::copy_from_slice);
            Read::Publication(PublicationRow { presentity, by, id, expires, at, text, signed })
        }
        b's' => {
            let (state, [whose]) = (state_of(reader.take()?)?, reader.take()?);
            Read::Subscription(SubscriptionRow {
                state,
                proven: whose & 1 != 0,
                mail: whose & 2 != 0,
                id: SubscriptionId::new(reader.take()?),
                expires: reader.u32()?,
                since: reader.u32()?,
                acked: reader.i64()?,
                view: reader.u64()?,
                presentity: reader.mailbox()?,
                watcher: reader.mailbox()?,
            })
        }
        b'v' => {
            let [utf8, eight_bit] = reader.take()?;
            // The digest may have a NUL of its own.
            let (presentity, digest) = name.split_at_checked(name.len().checked_sub(9)?)?;
            let presentity = std::str::from_utf8(presentity).ok()?.to_owned();
            let digest = u64::from_be_bytes(digest.get(1..)?.try_into().ok()?);
            Read::View { presentity, digest, utf8: utf8 == 1, eight_bit: eight_bit == 1, entity: reader.0.to_vec() }
        }
        b'w' => Read::Watch(WatchRow {
            state: state_of(reader.take()?)?,
            cancelled: reader.take::<1>()? == [1],
            id: SubscriptionId::new(reader.take()?),
            expires: reader.u32()?,
            refresh: reader.u32()?,
            seq: reader.u64()?,
            view: reader.u64()?,
            watcher: reader.mailbox()?,
            presentity: reader.mailbox()?,
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn rows() -> Vec<(Row, Read)> {
        let (alice, bob) = (mailbox("Alice@a.example"), mailbox("\"b o\"@b.example"));
        let publication = PublicationRow {
            presentity: alice.clone(),
            by: bob.clone(),
            id: "phone".to_owned(),
            expires: 7,
            at: 8,
            text: "<presence/>".to_owned(),
            signed: None,
        };
        let id = SubscriptionId::new([9; 16]);
        let subscription = SubscriptionRow {
            presentity: alice.clone(),
            watcher: bob.clone(),
            proven: true,
            mail: true,
            id,
            state: State::Terminated(Some(Reason::Rejected)),
            expires: 1,
            since: 2,
            acked: 3,
            view: 4,
        };
        let watch = WatchRow {
            watcher: alice.clone(),
            presentity: bob.clone(),
            id,
            state: State::Pending,
            cancelled: true,
            expires: 1,
            refresh: 2,
            seq: 3,
            view: 4,
        };
        let seen = Read::View {
            presentity: bob.key(),
            digest: 256,
            utf8: true,
            eight_bit: false,
            entity: b"From: x\r\n".to_vec(),
        };
        let golden = format!("{}/tests/golden/smime/rfc9216-bob-encrypt.crt.pem", env!("CARGO_MANIFEST_DIR"));
        let certificate = Certificate::from_pem(&std::fs::read_to_string(golden).unwrap()).unwrap().remove(0);
        let reads = |own, proven| {
            let (presentity, watcher, certificate) = (alice.clone(), bob.clone(), certificate.clone());
            Read::Reader(ReaderRow { own, presentity, watcher, proven, certificate })
        };
        vec![
            (reader(&alice, (&bob, false), Some(&certificate)), reads(false, false)),
            (own_reader(&bob, &alice, Some(&certificate)), reads(true, true)),
            (known(&alice, Some((6, 5))), Read::Known { presentity: alice.clone(), since: 6, known: 5 }),
            (attached(&alice, Some(5)), Read::Attached { presentity: alice.clone(), version: 5 }),
            (publication.write(), Read::Publication(publication)),
            (subscription.write(), Read::Subscription(subscription)),
            (view(&bob, 256, (true, false), b"From: x\r\n"), seen),
            (watch.write(), Read::Watch(watch)),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for ((key, content), expected) in rows() {
            assert_eq!(read(&key, &content.unwrap()), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_no_row(key in prop::collection::vec(any::<u8>(), 0..40), content in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&key, &content);
        }

        #[test]
        fn a_row_that_was_cut_is_none(which in 0_usize..8, cut in 1_usize..12) {
            let ((key, content), expected) = rows().swap_remove(which);
            let content = content.unwrap();
            let cut = content.len().saturating_sub(cut);
            prop_assert_ne!(read(&key, &content[..cut]), Some(expected));
        }
    }
}
