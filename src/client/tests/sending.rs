use super::*;
use crate::client::{ClientError, Message, State};

fn to_bob(text: &str) -> Message {
    Message::to(mailbox("bob@b.test"), text)
}

#[tokio::test]
async fn a_server_that_ends_the_session_is_not_the_last() {
    use crate::client::link::{configured, reach};
    use crate::tls::{Connector, Roots, connect};
    let world = World::new().await;
    let account = world.account();
    let roots = Arc::new(Roots::from_files(&[world.directory.path().join("ca.pem")]).unwrap());
    let connector = Connector::new(roots, Certificates::none(), connect::Options::default());
    let server = account.server.clone().unwrap();
    let target = || configured(&account, &server.host, server.port);
    let credentials = account.credentials().await.unwrap();
    world.script().drop_at_once = 3;
    let two = [target(), target()];
    let error = reach(&account, &credentials, None, &connector, &two[..1]).await.err().unwrap();
    assert!(matches!(error, ClientError::Session { .. }), "{error}");
    let error = reach(&account, &credentials, None, &connector, &two).await.err().unwrap();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    world.script().drop_at_once = 1;
    assert!(reach(&account, &credentials, None, &connector, &two).await.is_ok());
}

#[tokio::test]
async fn a_message_goes_and_is_remembered() {
    let world = World::new().await;
    let client = world.client().await;
    let file = world.directory.path().join("a.txt");
    std::fs::write(&file, "attached").unwrap();
    let message = Message { attachments: vec![file], receipt: true, ..to_bob("hello") };
    let sent = client.send(message).await.unwrap();
    assert_eq!((sent.fates[0].state, sent.waits), (State::Sent, None));
    let (sender, envid, entity) = world.script().taken[0].clone();
    assert_eq!(sender, "alice@a.test");
    assert_eq!(envid.unwrap().len(), 32);
    assert!(entity.contains(&format!("Message-ID: {}\r\n", sent.id)) && entity.contains("\r\nhello\r\n"), "{entity}");
    assert!(!entity.contains("127.0.0.1") && entity.contains("filename=\"a.txt\""), "{entity}");
    client.send(to_bob("again")).await.unwrap();
    client.close().await;
    drop(client);
    let history = world.history();
    let texts: Vec<&str> = history.index().messages().map(|message| message.text()).collect();
    assert_eq!(texts, ["hello", "again"]);
}

#[tokio::test]
async fn what_the_server_refuses_is_told() {
    let world = World::new().await;
    let client = world.client().await;
    let mut message = to_bob("hello");
    message.to.extend([mailbox("nobody@b.test"), mailbox("busy@b.test"), mailbox("BOB@b.test")]);
    let sent = client.send(message).await.unwrap();
    let states: Vec<State> = sent.fates.iter().map(|fate| fate.state).collect();
    assert_eq!(states, [State::Sent, State::Failed, State::Waiting]);
    assert!(sent.fates[1].reason.as_ref().unwrap().contains("550 5.1.1 there is no such inbox"));
    client.flush().await.unwrap();
    assert_eq!(world.script().taken.len(), 1, "who has it does not get it again");
}

#[tokio::test]
async fn a_wrong_password_says_what_to_do() {
    let world = World::new().await;
    for (password, words, transient) in [
        ("wrong", "535 5.7.8 wrong name or password; `impart login alice@a.test` takes another password", false),
        ("later", "454 4.7.0 come back", true),
    ] {
        let mut account = world.account();
        account.password = Password::Given(Secret::new(password));
        let client = Client::with(account, world.history()).await.unwrap();
        let error = client.check().await.unwrap_err();
        assert!(matches!(error, ClientError::Login { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.is_transient(), transient);
        let sent = client.send(to_bob("hello")).await.unwrap();
        assert!(sent.waits.unwrap().contains(words), "nothing is lost");
    }
    assert!(world.script().taken.is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_prove_itself_hears_nothing() {
    let world = World::new().await;
    let mut account = world.account();
    account.authorities = Some(world.directory.path().join("other.pem"));
    let client = Client::with(account, world.history()).await.unwrap();
    let error = client.check().await.unwrap_err();
    assert!(matches!(error, ClientError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("does not trust") && error.to_string().contains("--ca"), "{error}");
    let mut account = world.account();
    account.address = mailbox("alice@other.test");
    let client = Client::with(account, world.history()).await.unwrap();
    let error = client.check().await.unwrap_err().to_string();
    assert!(error.contains("it does not serve this domain"), "{error}");
}

#[tokio::test]
async fn offline_messages_wait_and_go_once() {
    let mut world = World::new().await;
    world.stop().await;
    let client = world.client().await;
    let sent = client.send(to_bob("patience")).await.unwrap();
    assert_eq!(sent.fates[0].state, State::Waiting);
    let waits = sent.waits.unwrap();
    assert!(waits.contains("connection refused") && waits.contains("check the network"), "{waits}");
    drop(client);
    world.start().await;
    let client = Client::with(world.account(), world.history()).await.unwrap();
    assert_eq!(client.flush().await.unwrap().len(), 1);
    assert!(client.flush().await.unwrap().is_empty());
    let taken = world.script().taken.clone();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].2.contains(&sent.id), "under the identifier that it was written with");
}

#[tokio::test]
async fn after_a_lost_reply_the_same_octets_go_again() {
    let world = World::new().await;
    world.script().drop_after_entity = 1;
    let client = world.client().await;
    let sent = client.send(to_bob("hello")).await.unwrap();
    assert_eq!(sent.fates[0].state, State::Sent);
    let taken = world.script().taken.clone();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0], taken[1]);
}

#[tokio::test]
async fn a_connection_that_went_away_is_made_anew() {
    let mut world = World::new().await;
    let client = world.client().await;
    client.send(to_bob("one")).await.unwrap();
    world.stop().await;
    world.start().await;
    let sent = client.send(to_bob("two")).await.unwrap();
    assert_eq!(sent.fates[0].state, State::Sent);
    assert_eq!(world.script().taken.len(), 2);
}

#[tokio::test]
async fn notices_are_sent() {
    let world = World::new().await;
    let client = world.client().await;
    client.typing(&mailbox("bob@b.test"), true).await.unwrap();
    let entity = b"From: <bob@b.test>\r\nMessage-ID: <1@b>\r\nDisposition-Notification-To: <bob@b.test>\r\n\r\nx\r\n";
    let sender = crate::address::ReversePath::Mailbox(mailbox("bob@b.test"));
    let content = crate::client::read::read(entity, &sender, false, Timestamp::from_secs(1));
    let crate::client::read::Content::Message(message) = content else { panic!("no message") };
    client.displayed(&message, true).await.unwrap();
    client.displayed(&message, true).await.unwrap();
    let taken = world.script().taken.clone();
    assert_eq!(taken.len(), 2, "a notice goes once");
    assert!(taken[0].2.contains("<state>active</state>"));
    assert_eq!(taken[1].0, "");
    assert!(taken[1].2.contains("Original-Message-ID: <1@b>"));
}

#[tokio::test]
async fn a_message_over_which_the_server_stumbles_does_not_hold_up_the_others() {
    let world = World::new().await;
    world.script().drop_after_entity = 2;
    let client = world.client().await;
    let first = client.queue(to_bob("stumble")).unwrap();
    let second = client.queue(to_bob("go on")).unwrap();
    let error = client.flush().await.unwrap_err();
    assert!(matches!(error, ClientError::Session { .. }), "{error}");
    assert_eq!(client.sent(first.clone(), None).fates[0].state, State::Waiting);
    assert_eq!(client.sent(second, None).fates[0].state, State::Sent);
    client.flush().await.unwrap();
    assert_eq!(client.sent(first, None).fates[0].state, State::Sent);
}

#[tokio::test]
async fn what_waited_for_a_week_is_given_up() {
    let world = World::new().await;
    let client = world.client().await;
    let id = client.queue(to_bob("old")).unwrap();
    let Some(crate::client::history::Message::Out { draft, .. }) = client.history().index().own(&id).cloned() else {
        panic!("not there")
    };
    let date = Timestamp::from_secs(draft.date.secs() - 8 * 86_400);
    let old = crate::client::compose::Draft { id: "<old@a.test>".to_owned(), envid: "old".to_owned(), date, ..draft };
    client.history().add(vec![crate::client::history::Record::Written(old)]).unwrap();
    client.flush().await.unwrap();
    let fate = client.sent("<old@a.test>".to_owned(), None).fates[0].clone();
    assert_eq!((fate.state, fate.reason.as_deref()), (State::Failed, Some("it waited too long for a connection")));
    assert_eq!(world.script().taken.len(), 1);
}

#[tokio::test]
async fn a_command_is_asked_again_before_each_login() {
    let world = World::new().await;
    let asked = world.directory.path().join("asked");
    let mut account = world.account();
    account.password = Password::Command(format!("echo once >> {}; echo secret", asked.display()));
    let client = Client::with(account, world.history()).await.unwrap();
    for logins in 1..=3 {
        client.check().await.unwrap();
        client.close().await;
        assert_eq!(std::fs::read_to_string(&asked).unwrap().lines().count(), logins);
    }
}
