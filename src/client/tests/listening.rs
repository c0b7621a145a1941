use std::time::Duration;

use super::*;
use crate::client::history::{HistoryError, tests::Disk};
use crate::client::{ClientError, Incoming, Link, Listener, Message, State};

const HELLO: &str = "From: <bob@b.test>\nMessage-ID: <1@b>\n\nhello\n";

async fn next(listener: &mut Listener) -> Incoming {
    tokio::time::timeout(Duration::from_secs(20), listener.next()).await.expect("in time").expect("news")
}

async fn message(listener: &mut Listener) -> String {
    loop {
        if let Incoming::Message(message) = next(listener).await {
            return format!("{}: {}", message.from, message.text);
        }
    }
}

async fn connected(listener: &mut Listener) {
    assert_eq!(next(listener).await, Incoming::State(Link::Connected));
}

fn accepted(fate: &Fate) -> bool {
    matches!(fate, Fate::Accepted { .. })
}

#[tokio::test]
async fn what_waits_and_what_comes_is_told_once() {
    let world = World::new().await;
    world.deliver("bob@b.test", HELLO);
    let client = world.client().await;
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    assert_eq!(message(&mut listener).await, "bob@b.test: hello");
    assert_eq!(world.script().attached, [" Some(Device(\"laptop\"))"]);
    world.deliver("bob@b.test", HELLO);
    world.deliver("bob@b.test", &HELLO.replace("<1@b>", "<2@b>").replace("hello", "more"));
    assert_eq!(message(&mut listener).await, "bob@b.test: more");
    let fates = world.answered(3).await;
    assert!(fates.iter().all(accepted), "{fates:?}");
    assert_eq!(world.history().index().messages().count(), 2);
}

#[tokio::test]
async fn one_process_receives_and_the_second_is_told_which() {
    let world = World::new().await;
    let client = world.client().await;
    let _listener = client.listen().unwrap();
    let other = world.client().await;
    let error = other.listen().unwrap_err();
    assert!(matches!(error, ClientError::History(HistoryError::Busy { .. })));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    other.send(Message::to(mailbox("bob@b.test"), "x")).await.unwrap();
}

#[tokio::test]
async fn receipts_count_with_their_envelope_identifier_alone() {
    let world = World::new().await;
    let client = world.client().await;
    // Another process: what it has sent is found in the file.
    let sent = world.client().await.send(Message::to(mailbox("bob@b.test"), "hello")).await.unwrap();
    let envid = world.script().taken[0].1.clone().unwrap();
    let report = |envid: &str, action: &str| {
        format!(
            "From: <presence@b.test>\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\n\
             text\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.b.test\n\
             Original-Envelope-Id: {envid}\n\nFinal-Recipient: rfc822; bob@b.test\nAction: {action}\n\
             Status: 2.0.0\n\n--b--\n"
        )
    };
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    world.deliver("", &report("guessed", "failed"));
    world.answered(1).await;
    world.deliver("", &report(&envid, "delivered"));
    let expected =
        Incoming::Receipt { id: sent.id.clone(), to: mailbox("bob@b.test"), state: State::Delivered, reason: None };
    assert_eq!(next(&mut listener).await, expected);
    let (_, notice) = crate::client::compose::displayed(
        &mailbox("bob@b.test"),
        &mailbox("alice@a.test"),
        &sent.id,
        false,
        Timestamp::from_secs(1),
    )
    .unwrap();
    world.deliver("", &String::from_utf8(notice.to_vec()).unwrap().replace("\r\n", "\n"));
    assert_eq!(next(&mut listener).await, Incoming::Displayed { id: sent.id, by: mailbox("bob@b.test") });
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_the_outbox_goes() {
    let mut world = World::new().await;
    let client = world.client().await;
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    world.stop().await;
    let Incoming::State(Link::Lost { retry, .. }) = next(&mut listener).await else { panic!("not lost") };
    assert!(retry <= Duration::from_secs(2));
    assert!(client.send(Message::to(mailbox("bob@b.test"), "later")).await.unwrap().waits.is_some());
    world.deliver("bob@b.test", HELLO);
    world.start().await;
    let (mut connected, mut message, mut sent) = (false, false, false);
    while !(connected && message && sent) {
        match next(&mut listener).await {
            Incoming::State(Link::Connected) => connected = true,
            Incoming::Message(_) => message = true,
            Incoming::Receipt { state: State::Sent, .. } => sent = true,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_server_that_says_quit_is_returned_to_later() {
    let world = World::new().await;
    world.script().hang_up = true;
    let client = world.client().await;
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    let Incoming::State(Link::Lost { reason, .. }) = next(&mut listener).await else { panic!("not lost") };
    assert!(reason.contains("another program uses this device's name"), "{reason}");
    connected(&mut listener).await;
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_listener() {
    let world = World::new().await;
    let mut account = world.account();
    account.inboxes = vec![mailbox("foreign@a.test")];
    let client = Client::with(account, world.history()).await.unwrap();
    let mut listener = client.listen().unwrap();
    let Incoming::State(Link::Refused(reason)) = next(&mut listener).await else { panic!("not refused") };
    assert!(reason.contains("550 5.7.1 that inbox is not yours") && reason.contains("inboxes"), "{reason}");
    assert_eq!(listener.next().await, None);
}

#[tokio::test]
async fn a_full_disk_leaves_the_message_with_the_server() {
    let world = World::new().await;
    let disk = Disk::with("{\"impart-history\":1}\n", 30);
    let history = History::with(world.directory.path(), Box::new(disk.clone())).unwrap();
    let client = Client::with(world.account(), history).await.unwrap();
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    world.deliver("bob@b.test", HELLO);
    let Incoming::State(Link::Trouble(reason)) = next(&mut listener).await else { panic!("no trouble") };
    assert!(reason.contains("the disk is full; make room"), "{reason}");
    let Fate::Refused { reply } = &world.answered(1).await[0] else { panic!("accepted") };
    assert_eq!(reply.code(), 452);
    disk.grow(100_000);
    world.deliver("bob@b.test", HELLO);
    assert_eq!(message(&mut listener).await, "bob@b.test: hello");
    assert!(accepted(&world.answered(2).await[1]));
}

#[tokio::test]
async fn a_link_without_a_sign_of_life_is_dead() {
    let world = World::new().await;
    let mut account = world.account();
    account.noop = 30;
    let client = Client::with(account, world.history()).await.unwrap();
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    world.deliver("bob@b.test", HELLO);
    message(&mut listener).await;
    world.answered(1).await;
    // Nothing is under way now: time runs to the next timer.
    tokio::time::pause();
    let Some(Incoming::State(Link::Lost { reason, .. })) = listener.next().await else { panic!("not lost") };
    assert_eq!(reason, "no sign of life from the server in 50 s");
}

#[tokio::test]
async fn what_the_history_does_not_take_leaves_no_file() {
    let world = World::new().await;
    let home = world.directory.path().join("home");
    drop(History::open(&home).unwrap());
    let disk = Disk::with("{\"impart-history\":1}\n", 30);
    let history = History::with(&home, Box::new(disk.clone())).unwrap();
    let client = Client::with(world.account(), history).await.unwrap();
    let mut listener = client.listen().unwrap();
    connected(&mut listener).await;
    let files = || std::fs::read_dir(home.join("entities")).unwrap().count();
    let entity = "From: <bob@b.test>\nMessage-ID: <1@b>\nMIME-Version: 1.0\n\
        Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b\nContent-Type: image/png\n\
        Content-Disposition: attachment; filename=a.png\n\nx\n--b--\n";
    for count in 1..=2 {
        world.deliver("bob@b.test", entity);
        world.answered(count).await;
        assert_eq!(files(), 0);
    }
    disk.grow(100_000);
    world.deliver("bob@b.test", entity);
    assert!(accepted(&world.answered(3).await[2]));
    assert_eq!(files(), 1);
}

#[tokio::test]
async fn the_outbox_is_tried_again_while_connected() {
    let world = World::new().await;
    let client = world.client().await;
    client.queue(Message::to(mailbox("bob@b.test"), "soon")).unwrap();
    world.script().drop_after_entity = 2;
    let mut listener = client.listen().unwrap();
    loop {
        match next(&mut listener).await {
            Incoming::Receipt { state: State::Sent, .. } => break,
            Incoming::State(Link::Lost { reason, .. }) => panic!("{reason}"),
            _ => {}
        }
    }
}
