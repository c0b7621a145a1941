//! What happens between the writing of a group and its sync.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::tests::{closing, copy, ids, message, one, open};
use super::*;

/// Behaves like the disk that a file beside the store describes: one that takes its time, or fails. For tests only.
pub(super) fn pretended_sync(store: &Path) -> Result<(), Fault> {
    let Some(file) = store.parent().map(|dir| dir.join("pretended-sync")) else { return Ok(()) };
    loop {
        match std::fs::read_to_string(&file).as_deref() {
            Ok("slow") => std::thread::sleep(Duration::from_millis(1)),
            Ok("fails") => return Err(Fault::Store(fjall::Error::Io(std::io::ErrorKind::StorageFull.into()))),
            _ => return Ok(()),
        }
    }
}

fn disk_is(dir: &Path, how: &str) {
    // At once: the committer reads it whenever it likes.
    std::fs::write(dir.join("next"), how).unwrap();
    std::fs::rename(dir.join("next"), dir.join("pretended-sync")).unwrap();
}

#[tokio::test]
async fn what_is_written_is_on_its_way_while_the_disk_works() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    disk_is(dir.path(), "slow");
    let accepting = tokio::spawn(spool.accept(one("1@a.example")));
    let record = opened.arrivals.recv().await.unwrap();
    assert_eq!(spool.entity(record.id).await.unwrap(), Some(one("1@a.example").entity));
    assert_eq!(ids(&spool), [record.id.0]);
    let (known, later, id) = (spool.clone(), spool.reserve(), record.id);
    assert!(spool.is_durable(later).await, "another message has nothing to do with it");
    let known = tokio::spawn(async move { known.is_durable(id).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!accepting.is_finished() && !known.is_finished(), "nobody is told before it is durable");
    disk_is(dir.path(), "well");
    assert_eq!(accepting.await.unwrap().unwrap().id, id);
    assert!(known.await.unwrap());
}

#[tokio::test]
async fn a_settlement_is_answered_before_its_sync_and_its_receipt_announced_after() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let id = spool.accept(one("1@a.example")).await.unwrap().id;
    assert_eq!(opened.arrivals.recv().await.unwrap().id, id);
    disk_is(dir.path(), "slow");
    let receipt = message("r@b.example", &["alice@a.example"]);
    assert!(spool.settle(closing(id, 0, vec![receipt])).await.unwrap().applied);
    assert_eq!(spool.status().messages, 1, "the receipt alone");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(opened.arrivals.try_recv().is_err());
    disk_is(dir.path(), "well");
    let receipt = opened.arrivals.recv().await.unwrap();
    assert!(spool.is_durable(receipt.id).await);
    assert_eq!(ids(&spool), [receipt.id.0]);
}

#[tokio::test]
async fn a_sync_that_fails_takes_back_what_was_announced_and_keeps_what_was_settled() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    let first = spool.accept(one("1@a.example")).await.unwrap().id;
    assert_eq!(opened.arrivals.recv().await.unwrap().id, first);
    disk_is(dir.path(), "fails");
    let refused = spool.accept(one("2@a.example")).await.unwrap_err();
    assert!(matches!(refused, SpoolError::ReadOnly(_)), "{refused}");
    let second = opened.arrivals.recv().await.unwrap();
    assert!(!spool.is_durable(second.id).await);
    assert_eq!(opened.withdrawn.recv().await.unwrap().id, second.id);
    assert!(spool.is_durable(first).await);
    let settling =
        tokio::spawn(spool.settle(closing(second.id, 0, vec![message("r@b.example", &["alice@a.example"])])));
    disk_is(dir.path(), "well");
    assert!(!settling.await.unwrap().unwrap().applied, "who was refused gets no receipt");
    assert_eq!(ids(&spool), [first.0]);
    assert!(spool.is_durable(second.id).await && spool.entity(second.id).await.unwrap().is_none(), "it is gone");
    assert_eq!(spool.accept(one("2@a.example")).await.unwrap().duplicates, 0);
}

#[tokio::test]
async fn what_comes_again_as_another_message_is_announced_when_it_is_durable() {
    for message in
        [NewMessage { message_id: None, ..one("1@a.example") }, NewMessage { repeatable: false, ..one("1@a.example") }]
    {
        announced_late(message).await;
    }
}

async fn announced_late(message: NewMessage) {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut opened) = open(dir.path());
    disk_is(dir.path(), "slow");
    let accepting = tokio::spawn(spool.accept(message));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(opened.arrivals.try_recv().is_err() && !accepting.is_finished());
    disk_is(dir.path(), "well");
    let record = opened.arrivals.recv().await.unwrap();
    assert_eq!(accepting.await.unwrap().unwrap().id, record.id);
}

/// The journal in a store that is written to.
fn journal(store: &Path) -> PathBuf {
    let number = files::journals(store).iter().map(|(number, _)| *number).max().expect("a journal");
    store.join(format!("{number}.jnl"))
}

#[tokio::test]
async fn a_group_of_which_any_part_is_missing_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    let first = spool.accept(one("1@a.example")).await.unwrap().id;
    let path = journal(&dir.path().join("store"));
    let before = std::fs::read(&path).unwrap();
    let second = spool.accept(one("2@a.example")).await.unwrap().id;
    let after = std::fs::read(&path).unwrap();
    // As the disk is when the power fails.
    let image = tempfile::tempdir().unwrap();
    copy(dir.path(), image.path());
    drop(spool);
    let differs = |at: &usize| before.get(*at).copied().unwrap_or_default() != after[*at];
    let group = (0..after.len()).find(differs).unwrap()..(0..after.len()).rfind(differs).unwrap() + 1;
    assert!(group.len() > 100, "{group:?}");
    let path = journal(&image.path().join("store"));
    std::fs::remove_file(&path).unwrap();
    // Every length in an item has four octets: one of four cuts goes through each.
    for written in (group.start..group.end).step_by(4).chain([group.end]) {
        let torn = tempfile::tempdir().unwrap();
        copy(image.path(), torn.path());
        let file = std::fs::File::create(torn.path().join(path.strip_prefix(image.path()).unwrap())).unwrap();
        file.write_all_at(&after[..written], 0).unwrap();
        // Its room was taken before: the rest is empty, not short.
        file.set_len(after.len() as u64).unwrap();
        let opened = Spool::open(torn.path(), Options { cache: 1 << 20, ..Options::default() });
        let (spool, _) = opened.unwrap_or_else(|error| panic!("{written} of {group:?}: {error}"));
        let expected = if written == group.end { vec![first.0, second.0] } else { vec![first.0] };
        assert_eq!(ids(&spool), expected, "{written} of {group:?}");
    }
}
