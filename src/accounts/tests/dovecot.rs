use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

use super::authority::{authority, exchange, options, origin, word};
use super::*;
use crate::sasl::Mechanism;

/// A socket that says what the script says: each line is answered by what stands for the first word that it begins with.
struct Fake {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Fake {
    fn new(greeting: &'static str, script: &'static [(&'static str, &'static str)]) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let _ = write.write_all(greeting.as_bytes()).await;
                    let mut lines = BufReader::new(read).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let answer = script.iter().find(|(begins, _)| line.starts_with(begins));
                        match answer {
                            Some((_, "close")) => return,
                            Some((_, answer)) => _ = write.write_all(answer.as_bytes()).await,
                            None => {}
                        }
                    }
                });
            }
        });
        Fake { _folder: folder, path }
    }
}

const GREETING: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\tmutual-auth\nMECH\tLOGIN\tplaintext\n\
                        SPID\t1\nCUID\t2\nCOOKIE\tabc\nDONE\n";

fn by(socket: &Path) -> Options {
    Options { dovecot: Some(socket.to_owned()), ..options() }
}

/// PLAIN as erin with the password `pw`; `AGVyaW5AYS5leGFtcGxlAHB3` in base64.
async fn plain(greeting: &'static str, script: &'static [(&'static str, &'static str)]) -> String {
    let fake = Fake::new(greeting, script);
    let authority = authority(with_accounts(), by(&fake.path));
    exchange(&authority, &origin(), &[Mechanism::Plain], word("erin@a.example", "pw")).await
}

const AUTH: &str = "AUTH\t1\tPLAIN\tservice=smtp\tsecured\trip=192.0.2.1\tresp=AGVyaW5AYS5leGFtcGxlAHB3";

#[tokio::test]
async fn proofs_are_handed_on() {
    assert_eq!(plain(GREETING, &[(AUTH, "OK\t1\tuser=erin@a.example\n")]).await, "erin@a.example");
    assert_eq!(plain(GREETING, &[(AUTH, "OK\t1\tuser=Erin\tx\n")]).await, "Erin@a.example");
    assert_eq!(plain(GREETING, &[(AUTH, "FAIL\t1\tuser=erin\n")]).await, "535 5.7.8");
}

#[tokio::test]
async fn a_socket_that_lies_or_is_broken_is_a_fault_and_nobody_is_let_in() {
    assert_eq!(plain(GREETING, &[(AUTH, "OK\t2\tuser=erin@a.example\n")]).await, "454 4.7.0");
    assert_eq!(plain(GREETING, &[(AUTH, "OK\t1\n")]).await, "454 4.7.0");
    assert_eq!(plain(GREETING, &[(AUTH, "FAIL\t1\ttemp\n")]).await, "454 4.7.0");
    assert_eq!(plain(GREETING, &[(AUTH, "CONT\t1\t!!!\n")]).await, "454 4.7.0");
    assert_eq!(plain(GREETING, &[(AUTH, "garbage\u{1}\n")]).await, "454 4.7.0");
    assert_eq!(plain(GREETING, &[(AUTH, "close")]).await, "454 4.7.0");
    assert_eq!(plain("VERSION\t2\t0\nDONE\n", &[]).await, "454 4.7.0");
    assert_eq!(plain("HTTP/1.1 400 Bad Request", &[("CPID", "close")]).await, "454 4.7.0");
    // A user of a domain that is not served here, and one who is disabled here.
    assert_eq!(plain(GREETING, &[(AUTH, "OK\t1\tuser=erin@b.example\n")]).await, "535 5.7.8");
    assert_eq!(plain(GREETING, &[(AUTH, "OK\t1\tuser=dave@a.example\n")]).await, "535 5.7.8");
    let nowhere = authority(with_accounts(), by(Path::new("/nowhere/auth-client")));
    assert_eq!(nowhere.mechanisms(&origin()), [Mechanism::Plain]);
    assert_eq!(exchange(&nowhere, &origin(), &[Mechanism::Plain], word("erin@a.example", "pw")).await, "454 4.7.0");
    // Accounts of the file do without it.
    let own = exchange(&nowhere, &origin(), &[Mechanism::Plain], word("alice@a.example", "password")).await;
    assert_eq!(own, "alice@a.example");
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_is_waited_for_no_longer_than_a_while() {
    assert_eq!(plain("", &[]).await, "454 4.7.0");
    assert_eq!(plain(GREETING, &[]).await, "454 4.7.0");
}

#[tokio::test]
async fn mechanisms_are_those_of_dovecot() {
    let fake = Fake::new(GREETING, &[]);
    let authority = authority(with_accounts(), by(&fake.path));
    authority.refresh().await;
    let bound = Origin { channel_binding: Some([7; 32]), ..origin() };
    assert_eq!(authority.mechanisms(&bound), [Mechanism::ScramSha256, Mechanism::Plain]);
}

#[tokio::test]
async fn users_are_looked_up_and_remembered() {
    let greeting = "VERSION\t1\t1\nSPID\t7\n";
    let fake = Fake::new(
        greeting,
        &[
            ("USER\t1\terin@a.example", "USER\t1\terin@a.example\tuid=1000\n"),
            ("USER\t1\tfrank@a.example", "NOTFOUND\t1\n"),
            ("USER\t1\tgrace@a.example", "FAIL\t1\treason=x\n"),
            ("USER\t1\theidi@a.example", "USER\t2\theidi@a.example\n"),
        ],
    );
    let accounts = with_accounts().with_users(Some(std::sync::Arc::new(Users::new(fake.path.clone()))));
    let exists = async |address: &str| accounts.exists(&mailbox(address)).await;
    assert_eq!(exists("erin@a.example").await, Ok(true));
    assert_eq!(exists("frank@a.example").await, Ok(false));
    assert!(exists("grace@a.example").await.is_err() && exists("heidi@a.example").await.is_err());
    assert_eq!(exists("alice@a.example").await, Ok(true));
    assert_eq!(exists("carol@a.example").await, Ok(false));
    assert_eq!(exists("erin@b.example").await, Ok(false));
    assert_eq!(accounts.inboxes_of(&principal("erin@a.example")), [mailbox("erin@a.example")]);
    // What is known needs no socket.
    std::fs::remove_file(&fake.path).unwrap();
    assert_eq!(exists("erin@a.example").await, Ok(true));
    assert_eq!(exists("Frank@a.example").await, Ok(false));
    assert!(exists("ivan@a.example").await.is_err());
    tokio::time::sleep(Duration::from_millis(1)).await;
}
