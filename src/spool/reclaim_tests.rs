//! Disk space comes back, as users and the disk see it.

use std::path::Path;

use super::tests::{closing, find, ids, message, one, open};
use super::*;

/// Octets that are free on a disk of the size that a file beside the store names: for tests only.
pub(super) fn pretended_free(dir: &Path) -> Option<u64> {
    let size: u64 = std::fs::read_to_string(dir.join("pretended-size")).ok()?.parse().ok()?;
    Some(size.saturating_sub(used(&dir.join("store"))))
}

fn used(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut files = Vec::new();
    find(dir, &mut files);
    files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

/// So many messages, or as many as are taken until the disk is full; many at once, since each group is one sync.
async fn fill(spool: &Spool, octets: usize, count: u64) -> Vec<QueueId> {
    let mut taken = Vec::new();
    let numbers = (0..count).collect::<Vec<_>>();
    for some in numbers.chunks(256) {
        let accept = |number: &u64| {
            let entity = Bytes::from(vec![b'x'; octets]);
            tokio::spawn(spool.accept(NewMessage { entity, ..one(&format!("{number}.{octets}@a.example")) }))
        };
        let answers = some.iter().map(accept).collect::<Vec<_>>();
        let before = taken.len();
        for answer in answers {
            match answer.await.unwrap() {
                Ok(accepted) => taken.push(accepted.id),
                Err(error) => assert_eq!(error, SpoolError::Full),
            }
        }
        if taken.len() - before < some.len() {
            break;
        }
    }
    taken
}

/// Waits for what must come by itself.
async fn becomes(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !reached().await {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_disk_space_of_removed_messages_comes_back() {
    for octets in [4 << 10, 64 << 10] {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _opened) = open(dir.path());
        let kept = spool.accept(message("kept@a.example", &["bob@b.example"])).await.unwrap().id;
        let filled = fill(&spool, octets, (80 << 20) / octets as u64).await;
        assert!(used(dir.path()) > 60 << 20, "{}", used(dir.path()));
        for id in filled {
            spool.settle(closing(id, 0, vec![])).await.unwrap();
        }
        becomes("the space comes back", async || used(dir.path()) < 20 << 20).await;
        let before = spool.page(QueueId(0), 10).unwrap();
        assert_eq!(before.len(), 1);
        let next = spool.accept(one("next@a.example")).await.unwrap().id;
        spool.close().await;
        drop(spool);
        let (spool, _opened) = open(dir.path());
        assert_eq!(ids(&spool), [kept.0, next.0]);
        assert!(spool.entity(kept).await.unwrap().is_some());
        assert!(spool.accept(one("kept@a.example")).await.unwrap().all_duplicate, "its dedup key is there");
    }
}

#[tokio::test]
async fn a_full_disk_takes_messages_again_when_the_queue_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pretended-size"), (100 << 20).to_string()).unwrap();
    let (spool, _opened) = open(dir.path());
    let mut number = 0;
    let mut all = Vec::new();
    becomes("the disk fills", async || {
        number += 1;
        let taken = fill(&spool, (20 << 10) + number, 500).await;
        let full = taken.len() < 500;
        all.extend(taken);
        full
    })
    .await;
    for id in all {
        spool.settle(closing(id, 0, vec![])).await.unwrap();
    }
    becomes("messages are taken again", async || spool.accept(one("again@a.example")).await.is_ok()).await;
}

#[tokio::test]
async fn a_spool_that_was_left_with_too_much_gives_it_back_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _opened) = open(dir.path());
    for id in fill(&spool, 32 << 10, 1200).await {
        spool.settle(closing(id, 0, vec![])).await.unwrap();
    }
    spool.close().await;
    drop(spool);
    assert!(used(dir.path()) > 30 << 20);
    let (spool, _opened) = open(dir.path());
    becomes("the space comes back", async || used(dir.path()) < 16 << 20).await;
    assert_eq!(spool.status().messages, 0);
}
