//! Rows: what is written is read, what is damaged is not, and the format stays.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::spool::tests::message;

/// A message that uses every part of the format.
fn full() -> (NewMessage, Vec<State>) {
    let mut message = message("1@a.example", &["bob@b.example", "\"b ob\"@b.example", "δοκιμή@παράδειγμα.δοκιμή"]);
    let envelope = Arc::make_mut(&mut message.envelope);
    envelope.class = Class::Pres;
    envelope.body = Body::BinaryMime;
    envelope.utf8 = true;
    envelope.require_tls = true;
    envelope.ret = Some(Ret::Hdrs);
    envelope.envid = Some("QQ314159".to_owned());
    let at = Timestamp::from_millis(1_800_000_123_456);
    envelope.deliver_by = Some(DeliverBy { at, mode: ByMode::Notify, trace: true });
    envelope.recipients[0].notify = Some(Notify { success: true, failure: false, delay: true });
    envelope.recipients[1].original =
        Some(OriginalRecipient { kind: "utf-8".to_owned(), address: "βοβ@b.example".to_owned() });
    message.origin = Origin::Peer { proven: Some(Domain::parse("a.example").unwrap()) };
    let last = Some("450 4.2.0 é".to_owned());
    let states = vec![
        State::Open(Progress { attempts: 515, delay_told: true, last, ..Progress::default() }),
        State::Open(Progress { delivered_told: true, ..Progress::default() }),
        State::Closed(Disposition::Relayed),
    ];
    (message, states)
}

/// One of each shape.
fn shapes() -> Vec<(&'static str, NewMessage, Option<Vec<State>>)> {
    let simple = message("1@a.example", &["bob@b.example"]);
    let (full, states) = full();
    let mut null = message("2@a.example", &["bob@b.example", "carol@b.example"]);
    Arc::make_mut(&mut null.envelope).sender = ReversePath::Null;
    null.origin = Origin::Own;
    null.expires = Timestamp::MAX;
    let duplicate = Some(vec![State::Closed(Disposition::Duplicate), State::Open(Progress::default())]);
    let mut client = message("3@a.example", &["bob@b.example"]);
    client.origin = Origin::Client { account: Mailbox::parse("\"al ice\"@a.example").unwrap() };
    let had = vec![Holder::read("carol@c.example/desk.1").unwrap()];
    let last = Some("450 4.2.0 full".to_owned());
    let devices = Some(vec![
        State::Owed(vec![Holder::read("phone").unwrap(), Holder::read("carol@c.example/desk.1").unwrap()]),
        State::Open(Progress { attempts: 1, last, had, ..Progress::default() }),
    ]);
    let owed = message("3@a.example", &["bob@b.example", "carol@b.example"]);
    vec![
        ("simple", simple, None),
        ("full", full, Some(states)),
        ("null", null, duplicate),
        ("client", client, None),
        ("devices", owed, devices),
    ]
}

fn check_round_trip(message: &NewMessage, states: Option<&[State]>) {
    let mut row = record(message, states);
    bind(&mut row, 7);
    let read = Reader::default().record(QueueId(7), &row).unwrap();
    let open = vec![State::Open(Progress::default()); message.envelope.recipients.len()];
    assert_eq!(read.id, QueueId(7));
    assert_eq!(read.envelope, message.envelope);
    assert_eq!(read.states, states.map_or(open, <[State]>::to_vec));
    assert_eq!((read.origin, read.arrived, read.expires), (message.origin.clone(), message.arrived, message.expires));
    assert_eq!((read.size, read.held), (message.entity.len() as u64, false));
    let (head, rest) = Head::read(QueueId(7), &row).unwrap();
    assert_eq!(head.write(QueueId(7), rest), row, "the head alone is the same");
    assert_eq!(Reader::default().record(QueueId(8), &row), Err(RowError::Checksum), "under another key");
}

#[test]
fn what_is_written_is_read() {
    for (_, message, states) in shapes() {
        check_round_trip(&message, states.as_deref());
    }
}

#[test]
fn the_format_is_the_one_of_the_golden_files() {
    for (name, message, states) in shapes() {
        let mut row = record(&message, states.as_deref());
        bind(&mut row, 1);
        let mut hex = String::new();
        for line in row.chunks(32) {
            line.iter().for_each(|octet| write!(hex, "{octet:02x}").unwrap());
            hex.push('\n');
        }
        let path = format!("{}/tests/golden/spool/record-{name}.hex", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &hex).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(hex, golden, "{path}: if the format is meant to change, so is VERSION; UPDATE=1 rewrites the file");
    }
}

#[test]
fn every_damaged_octet_is_noticed() {
    for (name, message, states) in shapes() {
        let mut row = record(&message, states.as_deref());
        bind(&mut row, 1);
        for at in 0..row.len() {
            for bit in 0..8 {
                let mut damaged = row.clone();
                damaged[at] ^= 1 << bit;
                assert!(Reader::default().record(QueueId(1), &damaged).is_err(), "{name}: octet {at} bit {bit}");
                assert!(Head::read(QueueId(1), &damaged).is_err(), "{name}: octet {at} bit {bit}");
            }
            assert!(Reader::default().record(QueueId(1), &row[..at]).is_err(), "{name}: cut at {at}");
        }
    }
}

#[test]
fn an_entity_shares_the_memory_of_its_row() {
    let mut row = entity(b"hello");
    bind(&mut row, 1);
    let row = Bytes::from(row);
    let read = entity_of(QueueId(1), row.clone()).unwrap();
    assert_eq!(read, "hello");
    assert_eq!(read.as_ptr(), row[HEAD..].as_ptr());
    let mut damaged = row.to_vec();
    damaged[10] ^= 1;
    assert_eq!(entity_of(QueueId(1), damaged), Err(RowError::Checksum));
    assert_eq!(entity_of(QueueId(1), vec![2; 20]), Err(RowError::Version(2)));
    assert_eq!(entity_of(QueueId(1), vec![1; 5]), Err(RowError::Short));
}

#[test]
fn a_rewritten_row_says_so_and_is_the_same_record() {
    let (message, states) = full();
    let mut row = record(&message, Some(&states));
    bind(&mut row, 1);
    let marked = rewritten(QueueId(1), &row).unwrap();
    assert!(Head::read(QueueId(1), &marked).unwrap().0.rewritten);
    let read = |row: &[u8]| Reader::default().record(QueueId(1), row).unwrap();
    assert_eq!(read(&row), read(&marked));
}

#[test]
fn long_remarks_are_cut_between_characters() {
    let (message, mut states) = full();
    let last = Some("é".repeat(LAST_OCTETS));
    states[0] = State::Open(Progress { last, ..Progress::default() });
    let row = record(&message, Some(&states));
    let read = Reader::default().record(QueueId(0), &row).unwrap();
    let State::Open(progress) = &read.states[0] else { panic!("open") };
    assert_eq!(progress.last.as_ref().unwrap().len(), LAST_OCTETS);
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(mut content in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Reader::default().content(QueueId(1), &content);
        // A plausible beginning leads further in.
        let row = record(&shapes()[1].1, None);
        let cut = content.len().min(row.len() - HEAD);
        content[..cut].copy_from_slice(&row[HEAD..HEAD + cut]);
        let _ = Reader::default().content(QueueId(1), &content);
    }

    #[test]
    fn a_changed_octet_with_a_right_checksum_never_panics(at in 0_usize..400, value: u8) {
        let (message, states) = full();
        let mut content = record(&message, Some(&states))[HEAD..].to_vec();
        let at = at % content.len();
        content[at] = value;
        let _ = Reader::default().content(QueueId(1), &content);
    }

    #[test]
    fn many_recipients(count in 1_usize..300, expires: i64, attempts: u16) {
        let names: Vec<String> = (0..count).map(|n| format!("user{n}@d{}.example", n % 20)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut message = message("1@a.example", &names);
        message.expires = Timestamp::from_millis(expires);
        let progress = Progress { attempts, ..Progress::default() };
        check_round_trip(&message, Some(&vec![State::Open(progress); count]));
    }
}
