//! `impart listen`: what comes, as lines, as JSON, or as input of a command.

use std::io::ErrorKind;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use super::{Failure, Listen, complain, exit, show, write};
use crate::client::account::Displayed;
use crate::client::{Client, Incoming, Link, Received};

/// Listens until it is told to end, or the server refuses for good.
pub async fn run(client: &Client, listen: &Listen) -> Result<(), Failure> {
    let mut listener = client.listen()?;
    loop {
        let incoming = tokio::select! {
            incoming = listener.next() => incoming,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(incoming) = incoming else { return Err(Failure::new(exit::SOFTWARE, "the listener ended")) };
        let text = match &incoming {
            _ if listen.json => format!("{}\n", show::incoming_json(&incoming)),
            Incoming::State(link) => {
                complain(show::link(link));
                String::new()
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
                    execute(command, message).await;
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

/// Runs the command: the text is its standard input; who and what are in its environment, never in its arguments.
async fn execute(command: &str, message: &Received) {
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped());
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
    match run.await {
        Ok(status) if status.success() => {}
        Ok(status) => complain(format_args!("`{command}`: {status}")),
        Err(error) => complain(format_args!("`{command}`: {error}")),
    }
}
