//! Large entities that never come to an end hold their places neither for long nor all of them.

use std::time::Instant;

use super::*;

/// Seventy thousand octets of an entity.
fn much() -> String {
    let line = format!("{}\r\n", "x".repeat(68));
    let header = "From: alice@a.example\r\n\r\n";
    let text = format!("{header}{}", line.repeat(999));
    format!("{text}{}\r\n", "y".repeat(70_000 - text.len() - 2))
}

/// A stage that takes them.
fn roomy() -> Stage {
    let mut stage = Stage::new(Service::Mail);
    let listener = Arc::get_mut(&mut stage.listener).unwrap();
    Arc::get_mut(&mut listener.session).unwrap().size = 100_000;
    stage
}

async fn begin(stage: &Stage, address: &str) -> Peer {
    let mut peer = stage.connect_as(ip(address)).await;
    peer.expect("MAIL FROM:<alice@a.example>", "250").await;
    peer.expect("RCPT TO:<bob@a.example>", "250 2.1.5").await;
    peer
}

#[tokio::test]
async fn noop_is_no_progress_of_an_entity_and_an_address_has_its_share() {
    let stage = roomy();
    let (mut hoarder, mut second) = (begin(&stage, "192.0.2.1").await, begin(&stage, "192.0.2.1").await);
    let mut other = begin(&stage, "192.0.2.2").await;
    let began = Instant::now();
    hoarder.send(&format!("BDAT 70000\r\n{}", much())).await;
    assert!(hoarder.reply().await.starts_with("250"));
    hoarder.expect("NOOP", "250").await;
    second.send(&format!("BDAT 70000\r\n{}NOOP\r\n", much())).await;
    let mut replies = 0;
    while timeout(Duration::from_millis(300), second.reply()).await.is_ok() {
        replies += 1;
    }
    assert!(replies < 2, "the address has its place");
    other.send(&format!("BDAT 70000 LAST\r\n{}", much())).await;
    assert!(other.reply().await.starts_with("250 2.0.0"), "others have theirs");
    loop {
        let reply = hoarder.say("NOOP").await;
        if reply.starts_with("421 4.4.2") {
            break;
        }
        assert!(reply.starts_with("250") && began.elapsed() < Duration::from_secs(10), "{reply}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut third = begin(&stage, "192.0.2.1").await;
    drop(second);
    third.send(&format!("BDAT 70000 LAST\r\n{}", much())).await;
    assert!(third.reply().await.starts_with("250 2.0.0"), "the place is free again");
}

#[tokio::test]
async fn octets_that_drip_are_no_progress_either() {
    let stage = roomy();
    let mut peer = begin(&stage, "192.0.2.1").await;
    let began = Instant::now();
    peer.send(&format!("BDAT 90000\r\n{}", much())).await;
    let closed = loop {
        peer.send("z").await;
        if let Ok(reply) = timeout(Duration::from_millis(50), peer.reply()).await {
            break reply;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it drips for ever");
    };
    assert!(closed.starts_with("421 4.4.2"), "{closed}");
}
