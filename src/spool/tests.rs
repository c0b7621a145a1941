//! The spool as its users see it.

use std::path::Path;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Body, Class, Envelope, Recipient};
use crate::timestamp::Timestamp;

/// A message to some recipients; the entity and its digest are made from the Message-ID.
pub(crate) fn message(message_id: &str, recipients: &[&str]) -> NewMessage {
    let recipient = |text: &&str| Recipient { address: Mailbox::parse(text).unwrap(), notify: None, original: None };
    let envelope = Envelope {
        class: Class::Im,
        sender: ReversePath::Mailbox(Mailbox::parse("alice@a.example").unwrap()),
        body: Body::SevenBit,
        utf8: false,
        ret: None,
        envid: None,
        deliver_by: None,
        require_tls: false,
        recipients: recipients.iter().map(recipient).collect(),
    };
    let mut digest = [0; 32];
    digest[..message_id.len().min(32)].copy_from_slice(&message_id.as_bytes()[..message_id.len().min(32)]);
    NewMessage {
        id: None,
        envelope: Arc::new(envelope),
        entity: Bytes::from(format!("Message-ID: <{message_id}>\r\n\r\nhello\r\n")),
        digest,
        message_id: Some(message_id.to_owned()),
        repeatable: true,
        signed: Vec::new(),
        origin: Origin::Mail,
        arrived: Timestamp::from_secs(1_800_000_000),
        expires: Timestamp::from_secs(1_800_086_400),
    }
}

/// A message to one recipient.
pub(crate) fn one(message_id: &str) -> NewMessage {
    message(message_id, &["bob@b.example"])
}

pub(crate) fn open(dir: &Path) -> (Spool, Opened) {
    Spool::open(dir, Options { cache: 1 << 20, ..Options::default() }).unwrap()
}

pub(crate) fn closing(id: QueueId, index: usize, receipts: Vec<NewMessage>) -> Settlement {
    let states = vec![(index, State::Closed(Disposition::Delivered))];
    Settlement { states, receipts, ..Settlement::new(id) }
}

#[tokio::test]
async fn receipts_of_acceptance_enter_with_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let group = || message("1@a.example", &["bob@b.example", "carol@b.example"]);
    let about = |index| vec![(index, one(&format!("receipt-{index}@a.example")))];
    let first = spool.accept_with(group(), about(1)).await.unwrap();
    assert_eq!(opened.arrivals.recv().await.unwrap().id, first.id);
    let receipt = opened.arrivals.recv().await.unwrap();
    assert!(receipt.id > first.id && ids(&spool) == [first.id.0, receipt.id.0]);
    assert!(spool.accept_with(group(), about(0)).await.unwrap().all_duplicate, "nothing comes of a second copy");
    let more = message("1@a.example", &["bob@b.example", "dave@b.example"]);
    assert_eq!(spool.accept_with(more.clone(), about(0)).await.unwrap().duplicates, 1);
    assert_eq!(ids(&spool).len(), 3, "its group had it before");
}

pub(crate) fn ids(spool: &Spool) -> Vec<u64> {
    spool.page(QueueId(0), 1000).unwrap().iter().map(|record| record.id.0).collect()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_accepted_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let sent = message("1@a.example", &["bob@b.example", "carol@b.example"]);
    let accepted = spool.accept(sent.clone()).await.unwrap();
    assert_eq!(accepted, Acceptance { id: opened.first_new, duplicates: 0, all_duplicate: false });
    let record = spool.record(accepted.id).unwrap().unwrap();
    assert_eq!(record.envelope, sent.envelope);
    assert_eq!(record.open().collect::<Vec<_>>(), [0, 1]);
    assert_eq!((record.arrived, record.expires, record.size), (sent.arrived, sent.expires, sent.entity.len() as u64));
    assert_eq!(spool.entity(accepted.id).await.unwrap(), Some(sent.entity));
    assert_eq!(*opened.arrivals.try_recv().unwrap(), record);
    assert!(opened.arrivals.try_recv().is_err(), "one arrival for one message");
    assert_eq!(spool.record(QueueId(99)), Ok(None));
    assert_eq!(spool.entity(QueueId(99)).await, Ok(None));
}

#[tokio::test]
async fn a_second_copy_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let first = spool.accept(one("1@a.example")).await.unwrap();
    let again = spool.accept(one("1@a.example")).await.unwrap();
    assert_eq!(again, Acceptance { id: first.id, duplicates: 1, all_duplicate: true });
    assert_eq!(ids(&spool), [first.id.0]);
    spool.settle(closing(first.id, 0, vec![])).await.unwrap();
    assert!(spool.accept(one("1@a.example")).await.unwrap().all_duplicate, "also after the first was delivered");
    assert_eq!(ids(&spool), [] as [u64; 0]);
    let mut later = one("1@a.example");
    later.arrived = later.arrived.after(crate::limits::DEDUP_RETENTION + Duration::from_secs(1));
    assert_eq!(spool.accept(later).await.unwrap().duplicates, 0, "after eight days it is a new message");
    opened.arrivals.try_recv().unwrap();
    opened.arrivals.try_recv().unwrap();
    assert!(opened.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn recipients_are_deduplicated_each() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    spool.accept(one("1@a.example")).await.unwrap();
    let both = message("1@a.example", &["bob@b.example", "carol@b.example", "Carol@b.example"]);
    let accepted = spool.accept(both).await.unwrap();
    assert_eq!((accepted.duplicates, accepted.all_duplicate), (2, false));
    let record = spool.record(accepted.id).unwrap().unwrap();
    assert_eq!(record.states[0], State::Closed(Disposition::Duplicate));
    assert_eq!(record.open().collect::<Vec<_>>(), [1]);
    opened.arrivals.try_recv().unwrap();
    assert_eq!(*opened.arrivals.try_recv().unwrap(), record);
}

#[tokio::test]
async fn duplicates_in_one_group_and_without_message_id() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let (a, b) = tokio::join!(spool.accept(one("1@a.example")), spool.accept(one("1@a.example")));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.id, b.id);
    assert_ne!(a.all_duplicate, b.all_duplicate);
    let mut without = one("2@a.example");
    without.message_id = None;
    let first = spool.accept(without.clone()).await.unwrap();
    assert_ne!(spool.accept(without).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_settlement_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let id = spool.accept(message("1@a.example", &["bob@b.example", "carol@b.example"])).await.unwrap().id;
    opened.arrivals.try_recv().unwrap();
    let receipt = |name: &str| vec![message(name, &["alice@a.example"])];
    let settled = |applied| Ok(Settled { applied });
    assert_eq!(spool.settle(closing(id, 0, receipt("r0"))).await, settled(true));
    assert_eq!(spool.settle(closing(id, 0, receipt("r1"))).await, settled(false), "bob was closed");
    let record = spool.record(id).unwrap().unwrap();
    assert_eq!(record.states[0], State::Closed(Disposition::Delivered));
    assert_eq!(spool.status().messages, 2);
    assert_eq!(spool.settle(closing(id, 1, receipt("r2"))).await, settled(true));
    assert_eq!(spool.record(id).unwrap(), None, "the last recipient takes the message along");
    assert_eq!(spool.entity(id).await.unwrap(), None);
    assert_eq!(spool.settle(closing(id, 1, receipt("r3"))).await, settled(false), "it is gone");
    let arrived: Vec<_> = std::iter::from_fn(|| opened.arrivals.try_recv().ok()).map(|record| record.id.0).collect();
    assert_eq!(arrived, ids(&spool));
    assert_eq!(arrived.len(), 2, "r0 and r2");
    assert_eq!(spool.settle(closing(QueueId(arrived[0]), 7, vec![])).await, settled(false), "no such recipient");
}

#[tokio::test]
async fn two_settlements_in_one_group_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    let receipt = |name: &str| vec![message(name, &["alice@a.example"])];
    let (a, b) = tokio::join!(spool.settle(closing(id, 0, receipt("a"))), spool.settle(closing(id, 0, receipt("b"))));
    assert_ne!(a.unwrap().applied, b.unwrap().applied);
    assert_eq!(spool.status().messages, 1);
}

#[tokio::test]
async fn progress_hold_and_expiry_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    let last = Some("450 4.2.0 later".to_owned());
    let progress = Progress { attempts: 3, delay_told: true, last, ..Progress::default() };
    let expires = Timestamp::from_secs(1_900_000_000);
    let states = vec![(0, State::Open(progress.clone()))];
    let change = Settlement { states, held: Some(true), expires: Some(expires), ..Settlement::new(id) };
    assert!(spool.settle(change).await.unwrap().applied);
    spool.close().await;
    drop(spool);
    let (spool, _opened) = open(dir.path());
    let record = spool.record(id).unwrap().unwrap();
    assert_eq!((record.held, record.expires, &record.states[0]), (true, expires, &State::Open(progress)));
    let release = Settlement { held: Some(false), ..Settlement::new(id) };
    assert!(spool.settle(release).await.unwrap().applied);
    assert!(!spool.record(id).unwrap().unwrap().held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let tasks: Vec<_> = (0..2000).map(|n| tokio::spawn(spool.accept(one(&n.to_string())))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let status = spool.status();
    assert_eq!((status.commands, status.messages), (2000, 2000));
    assert!(status.commits < 1000, "{} commits for 2000 messages", status.commits);
    assert_eq!(status.syncs, status.commits);
}

#[tokio::test]
async fn identifiers_are_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    spool.settle(closing(id, 0, vec![])).await.unwrap();
    drop(spool);
    let (spool, opened) = open(dir.path());
    assert!(opened.first_new > id);
    assert_eq!(spool.status().messages, 0);
    assert!(spool.accept(one("1@a.example")).await.unwrap().all_duplicate, "the key outlives message and daemon");
}

#[tokio::test]
async fn a_copy_made_while_it_runs_has_all_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let mut kept = Vec::new();
    for number in 0..50 {
        let id = spool.accept(one(&number.to_string())).await.unwrap().id;
        if number % 2 == 0 {
            spool.settle(closing(id, 0, vec![])).await.unwrap();
        } else {
            kept.push(id.0);
        }
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let (again, opened) = open(crashed.path());
    assert_eq!(ids(&again), kept);
    assert_eq!(again.status().messages, kept.len() as u64);
    assert_eq!(opened.first_new.0, 51);
    assert_eq!(opened.set_aside, []);
}

#[tokio::test]
async fn pages_are_ascending_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    for number in 0..5 {
        spool.accept(one(&number.to_string())).await.unwrap();
    }
    let page = |from, limit| spool.page(QueueId(from), limit).unwrap().iter().map(|r| r.id.0).collect::<Vec<_>>();
    assert_eq!(page(0, 2), [1, 2]);
    assert_eq!(page(3, 2), [3, 4]);
    assert_eq!(page(5, 9), [5]);
    assert_eq!(page(6, 9), [] as [u64; 0]);
}

#[tokio::test]
async fn after_close_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    spool.close().await;
    assert_eq!(spool.accept(one("2@a.example")).await, Err(SpoolError::Closed));
    assert_eq!(spool.settle(closing(id, 0, vec![])).await, Err(SpoolError::Closed));
    let (again, _opened) = open(dir.path());
    assert_eq!(ids(&again), [1]);
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_spool, _opened) = open(dir.path());
    let refused = Spool::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { pid: Some(_), .. }), "{refused}");
}

#[tokio::test]
async fn no_message_is_taken_when_the_reserve_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    drop(spool);
    let (spool, _opened) = Spool::open(dir.path(), Options { reserve: u64::MAX, ..Options::default() }).unwrap();
    let refused = spool.accept(one("2@a.example")).await.unwrap_err();
    assert_eq!(refused, SpoolError::Full);
    assert_eq!(refused.reply().code(), 452);
    assert!(spool.settle(closing(id, 0, vec![])).await.unwrap().applied, "deliveries are recorded");
}

/// Writes rows into the store of a closed spool.
fn plant(dir: &Path, rows: &[(Table, fjall::Slice, Option<Vec<u8>>)]) {
    let store = Store::open(&dir.join("store"), 1 << 20, Arc::default(), 1).unwrap();
    let mut batch = store::Batch::default();
    for (table, key, value) in rows {
        let change = value.clone().map_or(store::Change::Remove, |value| store::Change::Put(value.into()));
        batch.add(*table, key.clone(), change);
    }
    store.commit(&batch).and_then(|()| store.sync()).unwrap();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    for number in 0..3 {
        spool.accept(one(&number.to_string())).await.unwrap();
    }
    let row = spool.0.store.get(Table::Messages, &store::record_key(QueueId(2))).unwrap().unwrap();
    drop(spool);
    let mut damaged = row.to_vec();
    damaged[20] ^= 1;
    plant(dir.path(), &[(Table::Messages, store::record_key(QueueId(2)), Some(damaged))]);
    let (spool, _opened) = open(dir.path());
    assert_eq!(ids(&spool), [1, 3]);
    let settled = spool.settle(closing(QueueId(2), 0, vec![])).await;
    assert!(matches!(settled, Err(SpoolError::Corrupt { .. }) | Ok(Settled { applied: false })), "{settled:?}");
    // A commit later the page's note has been followed too.
    spool.accept(one("9")).await.unwrap();
    let aside = spool.set_aside().unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0].0, QueueId(2));
    assert_eq!(spool.record(QueueId(2)), Ok(None));
    assert_eq!((spool.status().set_aside, spool.status().messages), (1, 3));
    drop(spool);
    let (_spool, opened) = open(dir.path());
    assert_eq!(opened.set_aside.len(), 1);
    assert_eq!(opened.set_aside[0].0, QueueId(2).to_string());
}

#[tokio::test]
async fn a_damaged_entity_is_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    let mut row = spool.0.store.get(Table::Entities, &store::entity_key(id)).unwrap().unwrap().to_vec();
    drop(spool);
    *row.last_mut().unwrap() ^= 0x20;
    plant(dir.path(), &[(Table::Entities, store::entity_key(id), Some(row))]);
    let (spool, _opened) = open(dir.path());
    assert!(matches!(spool.entity(id).await, Err(SpoolError::Corrupt { .. })));
    assert!(spool.put_aside(id, "its entity is damaged").await.unwrap());
    assert!(!spool.put_aside(id, "again").await.unwrap());
    assert_eq!(ids(&spool), [] as [u64; 0]);
}

#[tokio::test]
async fn a_lost_state_is_counted_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    for number in 0..3 {
        spool.accept(one(&number.to_string())).await.unwrap();
    }
    let octets = spool.status().octets;
    drop(spool);
    plant(dir.path(), &[(Table::Messages, "s".into(), Some(b"nonsense".to_vec()))]);
    let (spool, opened) = open(dir.path());
    assert_eq!(opened.first_new, QueueId(4));
    assert_eq!((spool.status().messages, spool.status().octets), (3, octets));
}

#[tokio::test]
async fn a_store_that_does_not_open_is_moved_away_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    spool.accept(one("1@a.example")).await.unwrap();
    drop(spool);
    std::fs::write(dir.path().join("store/version"), "nonsense").unwrap();
    let refused = Spool::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    let options = Options { set_aside_damaged: true, ..Options::default() };
    let (spool, opened) = Spool::open(dir.path(), options).unwrap();
    assert_eq!(opened.set_aside.len(), 1, "{:?}", opened.set_aside);
    assert!(Path::new(&opened.set_aside[0].0).join("store/version").exists());
    spool.accept(one("1@a.example")).await.unwrap();
}

/// Writes of this process fail from now on, or no longer: no file may grow or be written (`RLIMIT_FSIZE`).
fn writes_fail(fail: bool) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: if fail { Some(0) } else { maximum }, maximum }).unwrap();
}

/// The limit holds for a whole process, and its signal has to be ignored: the test runs in a process of its own.
fn in_own_process(name: &str, test: impl FnOnce()) {
    if std::env::var_os("IMPART_TEST_ALONE").is_some() {
        return test();
    }
    let script = "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture";
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).arg(program).arg(name).env("IMPART_TEST_ALONE", "1");
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn after_a_failed_write_it_is_read_only_until_the_disk_is_back() {
    in_own_process("spool::tests::after_a_failed_write_it_is_read_only_until_the_disk_is_back", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(fail_and_recover());
    });
}

async fn fail_and_recover() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let first = spool.accept(one("1@a.example")).await.unwrap().id;
    let second = spool.accept(message("2@a.example", &["bob@b.example", "carol@b.example"])).await.unwrap().id;
    let _ = (opened.arrivals.try_recv(), opened.arrivals.try_recv());

    writes_fail(true);
    // One group or two: in both the message is refused and the settlement kept.
    let receipt = vec![message("r@b.example", &["alice@a.example"])];
    let settling = tokio::spawn(spool.settle(closing(second, 0, receipt)));
    let refused = spool.accept(one("3@a.example")).await.unwrap_err();
    assert!(matches!(refused, SpoolError::ReadOnly(_)), "{refused}");
    assert_eq!(refused.reply().to_string().split(' ').next(), Some("452"));
    assert!(spool.status().read_only.is_some());
    let refused = spool.accept(one("4@a.example")).await.unwrap_err();
    assert!(matches!(refused, SpoolError::ReadOnly(_)), "{refused}");
    let refused = spool.put(vec![(b"a".to_vec(), Some(b"1".to_vec()))], true).await.unwrap_err();
    assert!(matches!(refused, SpoolError::ReadOnly(_)), "{refused}");
    let later = tokio::spawn(spool.settle(closing(first, 0, vec![])));
    assert!(spool.entity(second).await.unwrap().is_some(), "delivery goes on");
    assert_eq!(ids(&spool), [first.0, second.0]);

    writes_fail(false);
    assert_eq!(settling.await.unwrap(), Ok(Settled { applied: true }));
    assert_eq!(later.await.unwrap(), Ok(Settled { applied: true }));
    assert_eq!(spool.status().read_only, None);
    let receipt = opened.arrivals.recv().await.unwrap();
    assert!(opened.arrivals.try_recv().is_err(), "the receipt and nothing else");
    assert_eq!(ids(&spool), [second.0, receipt.id.0]);
    let third = spool.accept(one("3@a.example")).await.unwrap();
    assert_eq!(third.duplicates, 0, "what was refused left nothing behind");
    assert!(third.id > receipt.id);
    assert!(spool.settle(closing(second, 1, vec![])).await.unwrap().applied);
    drop(spool);
    let (spool, _opened) = open(dir.path());
    assert_eq!(ids(&spool), [receipt.id.0, third.id.0]);
    assert_eq!(spool.status().messages, 2);
    assert_eq!(rows(&spool), "a=1", "rows of presence follow, though who said it was refused");
}

fn rows(spool: &Spool) -> String {
    let (mut all, text) = (Vec::new(), |octets: &[u8]| String::from_utf8_lossy(octets).into_owned());
    assert_eq!(spool.presence(|key, content| all.push(format!("{}={}", text(key), text(content)))).unwrap(), 0);
    all.join(" ")
}

#[tokio::test]
async fn rows_of_presence_are_those_of_the_last_change() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let row = |key: &str, content: Option<&str>| (key.into(), content.map(|content| content.as_bytes().to_vec()));
    drop(spool.put(vec![row("a", Some("1")), row("b", Some("1"))], false));
    spool.put(vec![row("a", None), row("b", Some("2")), row("c", Some(""))], true).await.unwrap();
    assert_eq!(rows(&spool), "b=2 c=");
    drop(spool);
    assert_eq!(rows(&open(dir.path()).0), "b=2 c=");
}

#[tokio::test]
async fn a_changed_record_does_not_come_back_from_an_older_table() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    spool.0.store.flush().unwrap();
    let states = vec![(0, State::Open(Progress { attempts: 1, ..Progress::default() }))];
    spool.settle(Settlement { states, ..Settlement::new(id) }).await.unwrap();
    spool.settle(closing(id, 0, vec![])).await.unwrap();
    for number in 10..20 {
        let other = spool.accept(one(&number.to_string())).await.unwrap().id;
        spool.settle(closing(other, 0, vec![])).await.unwrap();
    }
    spool.0.store.flush().unwrap();
    assert_eq!(ids(&spool), [] as [u64; 0]);
    drop(spool);
    let (spool, _opened) = open(dir.path());
    assert_eq!(ids(&spool), [] as [u64; 0]);
}

#[tokio::test]
async fn a_flipped_bit_in_the_journal_costs_no_other_message() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    for number in 1..=5 {
        spool.accept(one(&format!("message-{number}"))).await.unwrap();
    }
    spool.settle(closing(QueueId(1), 0, vec![])).await.unwrap();
    drop(spool);
    let journal = dir.path().join("store/0.jnl");
    let whole = std::fs::read(&journal).unwrap();
    let third = whole.windows(9).position(|window| window == b"message-3").unwrap();
    let frame = whole[..third].windows(4).rposition(|window| window == b"FJL\x03").unwrap() + 5;
    for (octet, name) in [(third, "in a value"), (frame, "in the frame")] {
        let mut damaged = whole.clone();
        damaged[octet] ^= 4;
        std::fs::write(&journal, &damaged).unwrap();
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let (spool, opened) = open(copied.path());
        let mut held = Vec::new();
        for id in ids(&spool) {
            if spool.entity(QueueId(id)).await.is_ok() {
                held.push(id);
            }
        }
        assert_eq!(held, [2, 4, 5], "{name}");
        assert_eq!(opened.set_aside.len(), 1, "{name}: {:?}", opened.set_aside);
        assert_eq!(opened.first_new, QueueId(6), "{name}");
        assert_eq!(spool.status().messages, ids(&spool).len() as u64, "{name}");
        assert_eq!(spool.accept(one("message-6")).await.unwrap().id, QueueId(6));
        drop(spool);
        let (spool, opened) = open(copied.path());
        assert_eq!(opened.set_aside, [], "{name}: mended once");
        assert!(ids(&spool).ends_with(&[4, 5, 6]));
    }
}

#[tokio::test]
async fn dedup_keys_that_have_run_out_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let old = one("1@a.example");
    let key = dedup::keys(&old)[0].1;
    spool.accept(old.clone()).await.unwrap();
    let mut recent = one("2@a.example");
    recent.arrived = old.arrived.after(Duration::from_secs(8 * 86_400 + 3600));
    spool.accept(recent.clone()).await.unwrap();
    spool.0.store.flush().unwrap();
    assert!(spool.0.store.dedup(&key).unwrap().is_some(), "it has run out, but less than a day ago");
    recent.message_id = Some("3@a.example".to_owned());
    recent.arrived = old.arrived.after(Duration::from_secs(10 * 86_400));
    spool.accept(recent.clone()).await.unwrap();
    spool.0.store.flush().unwrap();
    assert_eq!(spool.0.store.dedup(&key).unwrap(), None);
    assert!(spool.0.store.dedup(&dedup::keys(&recent)[0].1).unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_table_hides_no_more_than_a_block() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let accepts: Vec<_> = (0..500).map(|number| tokio::spawn(spool.accept(one(&number.to_string())))).collect();
    for accept in accepts {
        accept.await.unwrap().unwrap();
    }
    spool.0.store.flush().unwrap();
    drop(spool);
    let mut tables = Vec::new();
    find(&dir.path().join("store/keyspaces"), &mut tables);
    let marker = b"alice\x09a.example";
    let table = tables.iter().find(|path| {
        let data = std::fs::read(path).unwrap();
        path.parent().unwrap().ends_with("tables") && data.windows(marker.len()).any(|window| window == marker)
    });
    let table = table.expect("the table of records");
    let mut data = std::fs::read(table).unwrap();
    data[20_000] ^= 1;
    std::fs::write(table, &data).unwrap();
    let (spool, _opened) = open(dir.path());
    let read = ids(&spool);
    assert!((300..500).contains(&read.len()), "{} of 500", read.len());
    assert!(read.contains(&1) && read.contains(&500), "before and behind the damage");
}

pub(crate) fn find(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { find(&path, files) } else { files.push(path) }
    }
}
