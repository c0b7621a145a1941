//! `impart send`: one message, and what became of it.

use std::io::Read as _;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{Failure, Send, complain, exit, print, show};
use crate::address::Mailbox;
use crate::client::clean;
use crate::client::history::State;
use crate::client::{Client, ClientError, Fate, Message, Protect, Sent};

/// Octets of a text from standard input.
const TEXT_OCTETS: u64 = 1024 * 1024;
/// How often the history is looked at, where another process receives.
const LOOK: Duration = Duration::from_millis(200);

/// Sends.
pub async fn run(client: &Client, send: &Send) -> Result<(), Failure> {
    let to = send.to.iter().map(|name| recipient(client, name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(id) = &send.reply_to_id {
        answered(client, id)?;
    }
    if send.describe.len() > send.attach.len() {
        let (said, files) = (send.describe.len(), send.attach.len());
        return Err(Failure::new(
            exit::USAGE,
            format!("{said} times --describe for {files} files; say it once for each"),
        ));
    }
    let message = Message {
        to,
        text: text(send)?,
        attachments: send.attach.clone(),
        descriptions: send.describe.clone(),
        reply_to: send.reply_to_id.clone(),
        receipt: send.receipt || send.wait.is_some(),
        displayed: send.displayed,
        automatic: send.automatic,
        protect: Protect::Asked { sign: send.sign, encrypt: send.encrypt },
    };
    for file in &message.attachments {
        // Before it is opened: a pipe would wait for its writer.
        let opened = std::fs::metadata(file).and_then(|metadata| match metadata.is_file() {
            true => std::fs::File::open(file),
            false => Err(std::io::Error::other("not a regular file")),
        });
        opened.map_err(|error| Failure::new(exit::NO_INPUT, format!("{}: {error}", file.display())))?;
    }
    client.look_up(&message.to, message.protect).await?;
    let id = client.queue(message)?;
    let fault = client.flush().await.err();
    let sent = client.sent(id, None);
    let told: Vec<State> = sent.fates.iter().map(|fate| fate.state).collect();
    tell(&sent);
    if let Some(error) = fault {
        complain("the message waits in the outbox, and goes with the next connection of impart; do not send it again");
        return Err(outbox(error));
    }
    let sent = match send.wait {
        Some(seconds) => wait(client, sent, told, Duration::from_secs(seconds)).await?,
        None => sent,
    };
    if let Err(error) = client.renew_if_due().await {
        complain(format_args!("the certificate is not renewed, that is tried again: {error}"));
    }
    client.close().await;
    verdict(&sent.fates, send.wait.is_some())
}

/// What keeps a message in the outbox that is in it.
fn outbox(error: ClientError) -> Failure {
    let full = matches!(error, ClientError::History(_));
    let failure = Failure::from(error);
    Failure { code: if full { exit::TEMPORARY } else { failure.code }, ..failure }
}

fn recipient(client: &Client, name: &str) -> Result<Mailbox, Failure> {
    client.history().partner(name).ok_or_else(|| {
        Failure::new(
            exit::USAGE,
            format!("{name:?} is no address, and no name of the history that is only one; write user@domain"),
        )
    })
}

/// What is answered is known: a slip of the pen would be sent, and found by nobody.
fn answered(client: &Client, id: &str) -> Result<(), Failure> {
    if client.history().find(id)?.is_some() {
        return Ok(());
    }
    let text = format!("{id:?} is the Message-ID of no message of the history; impart history --json shows them");
    Err(Failure::new(exit::USAGE, text))
}

fn text(send: &Send) -> Result<String, Failure> {
    if let Some(text) = &send.message {
        return Ok(text.clone());
    }
    let mut octets = Vec::new();
    let read = std::io::stdin().lock().take(TEXT_OCTETS + 1).read_to_end(&mut octets);
    read.map_err(|error| Failure::new(exit::NO_INPUT, format!("standard input: {error}")))?;
    if octets.len() as u64 > TEXT_OCTETS {
        return Err(Failure::new(exit::DATA, "standard input: more than 1 MiB of text; send it with --attach"));
    }
    String::from_utf8(octets)
        .map_err(|_| Failure::new(exit::DATA, "standard input is not UTF-8 text; send it with --attach"))
}

fn tell(sent: &Sent) {
    for fate in &sent.fates {
        print(&format!(
            "{}: {} {}\n",
            clean::address(&fate.to),
            show::with_reason(fate.state, fate.reason.as_deref()),
            sent.id
        ));
    }
}

/// Waits for the receipts: receives for the account itself, or, where another process does, looks at the history.
async fn wait(client: &Client, mut sent: Sent, mut told: Vec<State>, time: Duration) -> Result<Sent, Failure> {
    let until = Instant::now() + time;
    let mut listener = client.look().ok();
    while !sent.fates.iter().all(|fate| is_final(fate.state)) && Instant::now() < until {
        let ended = match &mut listener {
            Some(listener) => matches!(timeout_at(until, listener.overhear()).await, Ok(None)),
            None => {
                sleep(LOOK).await;
                client.history().refresh()?;
                false
            }
        };
        sent = client.sent(sent.id, None);
        for (fate, told) in sent.fates.iter().zip(&mut told) {
            if fate.state != *told {
                *told = fate.state;
                print(&format!(
                    "{}: {}\n",
                    clean::address(&fate.to),
                    show::with_reason(fate.state, fate.reason.as_deref())
                ));
            }
        }
        if ended {
            break;
        }
    }
    Ok(sent)
}

/// Whether no receipt of success follows; for a group the one that says so is the last (RFC 3461 §5.2.7.3).
fn is_final(state: State) -> bool {
    matches!(state, State::Failed | State::Delivered | State::Displayed | State::Relayed | State::Expanded)
}

/// The code: the worst of what became of it.
fn verdict(fates: &[Fate], waited: bool) -> Result<(), Failure> {
    let failed = fates.iter().find(|fate| fate.state == State::Failed);
    if let Some(fate) = failed {
        let reason = fate.reason.as_deref().unwrap_or_default();
        let has = |codes: &[&str]| codes.iter().any(|code| reason.split(' ').any(|word| word == *code));
        let code = if has(&["5.1.1", "5.1.2", "5.1.10"]) {
            exit::NO_USER
        } else if has(&["5.7.1", "5.7.0", "5.7.8"]) {
            exit::PERMISSION
        } else {
            exit::UNAVAILABLE
        };
        return Err(Failure::new(code, format!("not delivered to {}", fate.to)));
    }
    if fates.iter().any(|fate| fate.state == State::Waiting) {
        return Err(Failure::new(exit::TEMPORARY, "the message waits in the outbox; do not send it again"));
    }
    if waited && !fates.iter().all(|fate| is_final(fate.state)) {
        return Err(Failure::new(exit::TEMPORARY, "sent; there is no receipt yet"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_outbox_is_not_sent_again() {
        use crate::client::history::HistoryError;
        assert_eq!(outbox(HistoryError::Full("x".into()).into()).code, exit::TEMPORARY);
        let unreachable = ClientError::Unreachable { account: "a@a.test".parse().unwrap(), reason: String::new() };
        assert_eq!(outbox(unreachable).code, exit::TEMPORARY);
    }

    #[test]
    fn verdicts() {
        let check = |states: &[(State, &str)], waited: bool, expected: Option<u8>| {
            let fate = |(state, reason): &(State, &str)| Fate {
                to: Mailbox::parse("b@b.test").unwrap(),
                state: *state,
                reason: Some((*reason).to_owned()),
            };
            let fates: Vec<Fate> = states.iter().map(fate).collect();
            assert_eq!(verdict(&fates, waited).err().map(|failure| failure.code), expected, "{states:?}");
        };
        check(&[(State::Sent, "")], false, None);
        check(&[(State::Sent, "")], true, Some(exit::TEMPORARY));
        check(&[(State::Delivered, ""), (State::Expanded, "")], true, None);
        check(&[(State::Waiting, "")], false, Some(exit::TEMPORARY));
        check(&[(State::Sent, ""), (State::Failed, "550 5.1.1 no such inbox")], false, Some(exit::NO_USER));
        check(&[(State::Failed, "550 5.7.1 blocked")], false, Some(exit::PERMISSION));
        check(&[(State::Failed, "552 5.3.4 too large")], false, Some(exit::UNAVAILABLE));
    }
}
