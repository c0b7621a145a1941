//! A spool with messages, whose files are damaged: it opens or says why not, and a message is whole or put aside.
#![no_main]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use impart::address::{Domain, Mailbox, ReversePath};
use impart::envelope::{Body, Class, Envelope, Recipient};
use impart::spool::{NewMessage, Options, Origin, QueueId, Spool};
use impart::timestamp::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damage: &[u8]| {
    static SOUND: OnceLock<tempfile::TempDir> = OnceLock::new();
    let sound = SOUND.get_or_init(make);
    let copy = tempfile::tempdir().expect("a directory");
    let mut paths = Vec::new();
    copy_all(sound.path(), copy.path(), &mut paths);
    paths.sort();
    // Each five octets: a file, a place in it, what is put there; or a place where it is cut.
    for hit in damage.chunks_exact(5) {
        let path = &paths[usize::from(hit[0]) % paths.len()];
        let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("the file");
        let length = file.metadata().expect("its length").len();
        let place = u64::from(u16::from_le_bytes([hit[1], hit[2]])) % (length + 1);
        if place < length && hit[3] < 192 {
            let mut octet = [0];
            file.read_exact_at(&mut octet, place).expect("an octet");
            file.write_all_at(&[octet[0] ^ hit[4]], place).expect("another");
        } else {
            file.set_len(place).expect("a shorter file");
        }
    }
    runtime().block_on(async {
        if let Ok((spool, _)) = Spool::open(copy.path(), Options::default()) {
            for record in spool.page(QueueId(0), 100).unwrap_or_default() {
                if let Ok(Some(found)) = spool.entity(record.id).await {
                    assert_eq!(found, entity(), "a message came back changed");
                }
            }
            spool.close().await;
        }
    });
});

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

fn entity() -> Bytes {
    Bytes::from(format!("From: a@a.test\r\n\r\n{}\r\n", "x".repeat(300)))
}

fn make() -> tempfile::TempDir {
    // The store asserts its own invariants on files that are damaged, and the spool catches that; the fuzzer's hook would
    // end the process there. What nobody catches ends it all the same.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let directory = tempfile::tempdir().expect("a directory");
    let mailbox = |local: &str| Mailbox::new(local, Domain::parse("a.test").expect("a domain")).expect("a mailbox");
    runtime().block_on(async {
        let (spool, _) = Spool::open(directory.path(), Options::default()).expect("a new spool");
        for number in 0..5 {
            let recipient = Recipient { address: mailbox("b"), notify: None, original: None };
            let envelope = Envelope {
                class: Class::Im,
                sender: ReversePath::Mailbox(mailbox("a")),
                body: Body::SevenBit,
                utf8: false,
                ret: None,
                envid: None,
                deliver_by: None,
                require_tls: false,
                recipients: vec![recipient],
            };
            let message = NewMessage {
                id: None,
                envelope: Arc::new(envelope),
                entity: entity(),
                digest: [number as u8; 32],
                message_id: Some(format!("<{number}@a.test>")),
                repeatable: true,
                signed: Vec::new(),
                origin: Origin::Mail,
                arrived: Timestamp::from_secs(1_800_000_000),
                expires: Timestamp::from_secs(1_800_086_400),
            };
            spool.accept(message).await.expect("accepted");
        }
        spool.close().await;
    });
    // A journal has its whole length before it has a content: what is empty would take all the time.
    let journal = directory.path().join("store/0.jnl");
    let octets = fs::read(&journal).expect("the journal");
    let length = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at as u64 + 1);
    fs::OpenOptions::new().write(true).open(journal).and_then(|file| file.set_len(length)).expect("a shorter journal");
    directory
}

fn copy_all(from: &Path, to: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(from).expect("the spool").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("a directory");
            copy_all(&entry.path(), &target, paths);
        } else {
            fs::copy(entry.path(), &target).expect("a file");
            paths.push(target);
        }
    }
}
