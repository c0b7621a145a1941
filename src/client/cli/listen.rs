//! `impart listen`: what comes, as lines, as JSON, or as input of a command.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Listen, complain, exit, show, write};
use crate::client::account::Displayed;
use crate::client::presence::Roster;
use crate::client::{Client, Incoming, Link, Received};

/// Listens until it is told to end, or the server refuses for good.
pub async fn run(client: &Client, listen: &Listen) -> Result<(), Failure> {
    // One for all: a signal that comes while nobody waits for it is not lost.
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt = interrupt.map_err(|error| Failure::new(exit::SOFTWARE, format!("signals: {error}")))?;
    let mut listener = client.listen()?;
    let mut roster = Roster::default();
    loop {
        let incoming = tokio::select! {
            incoming = listener.next() => incoming,
            _ = interrupt.recv() => return Ok(()),
        };
        let Some(incoming) = incoming else { return Err(Failure::new(exit::SOFTWARE, "the listener ended")) };
        let text = match &incoming {
            _ if listen.json => format!("{}\n", show::incoming_json(&incoming)),
            Incoming::State(link) => {
                complain(show::link(link));
                String::new()
            }
            // The server tells all of it with each connection: what is known is not printed again.
            Incoming::Presence(news) => {
                roster.take(news).iter().map(|one| format!("* {}\n", show::change(one, "impart "))).collect()
            }
            _ => show::incoming(&incoming),
        };
        // Whatever ends this program, nothing is printed twice; but a command that was not run to its end is run again.
        if listen.exec.is_none() {
            listener.taken();
        }
        if let Err(error) = write(&text) {
            if let Incoming::Message(message) = &incoming {
                client.untake(message)?;
            }
            return match error.kind() {
                ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::new(exit::IO, format!("standard output: {error}"))),
            };
        }
        match &incoming {
            Incoming::State(Link::Refused(_)) => return Err(Failure::new(exit::PERMISSION, "")),
            Incoming::Message(message) => {
                if let Some(command) = &listen.exec {
                    let executed = execute(command, message, async { _ = interrupt.recv().await }).await;
                    if executed != Executed::Done {
                        listener.leave();
                    }
                    match executed {
                        Executed::Done => {}
                        Executed::Interrupted => return Ok(()),
                        Executed::Killed if listen.once => return Err(again()),
                        Executed::Killed => continue,
                    }
                }
                // A message that a person sees on this terminal is displayed; one that a program takes is not.
                if client.account().displayed == Displayed::Yes
                    && listen.exec.is_none()
                    && !listen.json
                    && let Err(error) = client.displayed(message, false).await
                {
                    complain(format_args!("the displayed notice was not sent: {error}"));
                }
                listener.taken();
                if listen.once {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

fn again() -> Failure {
    Failure::new(exit::TEMPORARY, "the command was killed; the message comes again with the next start")
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Executed {
    /// By itself.
    Done,
    /// By a signal.
    Killed,
    /// This program is to end.
    Interrupted,
}

/// Runs the command: the text is its standard input; who and what are in its environment, never in its arguments.
async fn execute(command: &str, message: &Received, interrupted: impl Future<Output = ()>) -> Executed {
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped()).kill_on_drop(true);
    shell.env("IMPART_FROM", message.from.to_string()).env("IMPART_ID", &message.id);
    let answers: Vec<String> = match &message.reply_to[..] {
        [] => vec![message.from.to_string()],
        elsewhere => elsewhere.iter().map(ToString::to_string).collect(),
    };
    shell.env("IMPART_REPLY_TO", answers.join(" "));
    shell.env("IMPART_DATE", message.date.rfc3339());
    shell.env("IMPART_AUTOMATIC", if message.automatic { "yes" } else { "no" });
    let run = async {
        let mut child = shell.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read its input is within its rights.
            let _ = input.write_all(message.text.as_bytes()).await;
        }
        child.wait().await
    };
    let status = tokio::select! {
        biased;
        () = interrupted => return Executed::Interrupted,
        status = run => status,
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => {
            complain(format_args!("`{command}`: {status}"));
            // The shell says so of what it ran by a code.
            if status.signal().is_some() || status.code().is_some_and(|code| (129..=192).contains(&code)) {
                return Executed::Killed;
            }
        }
        Err(error) => complain(format_args!("`{command}`: {error}")),
    }
    Executed::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::history::tests::received;

    #[tokio::test]
    async fn a_command_that_did_not_end_by_itself_has_not_taken_the_message() {
        let message = received("bob@b.test", "<1@b>", 1, "hi");
        let never = std::future::pending;
        assert_eq!(execute("exit 3", &message, never()).await, Executed::Done);
        assert_eq!(execute("kill -9 $$", &message, never()).await, Executed::Killed);
        assert_eq!(execute("sh -c 'kill -INT $$'; exit $?", &message, never()).await, Executed::Killed);
        assert_eq!(execute("sleep 100", &message, std::future::ready(())).await, Executed::Interrupted);
    }
}
