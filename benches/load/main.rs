//! A load generator and a fast sink for measuring relays.
//!
//! `load send` offers messages over many sessions and tells how many were accepted and how long each took; `load sink`
//! takes whatever comes and tells how many came and how long they were on their way; `load attach` does the same for inboxes
//! to which it logs in; `load presence` has many watch one, `load contacts` each watch many. All run on one thread and do as
//! little as possible, because they share the machine with what they measure. Each prints one line of JSON at its end.

mod attach;
mod contacts;
mod message;
mod presence;
mod send;
mod sink;
mod tls;
mod wire;
mod xmpp;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What to do.
#[derive(Parser)]
#[command(name = "load", about = "Load generator and sink for SMTP and IMPP relays")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Given by `cargo bench`; nothing follows from it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Offer messages.
    Send(send::Options),
    /// Take messages.
    Sink(sink::Options),
    /// Take the messages of inboxes, as their owners' devices.
    Attach(attach::Options),
    /// Send messages from users of one XMPP server to those of another.
    Xmpp(xmpp::Options),
    /// Have many watch one, who changes.
    Presence(presence::Options),
    /// Have each watch many, and all come back at once.
    Contacts(contacts::Options),
}

fn main() -> ExitCode {
    let Some(command) = Arguments::parse().command else {
        println!("load: nothing to do; benches/run uses this program, `load help` tells how");
        return ExitCode::SUCCESS;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let local = tokio::task::LocalSet::new();
    let outcome = match command {
        Command::Send(options) => local.block_on(&runtime, send::run(options)),
        Command::Sink(options) => local.block_on(&runtime, sink::run(options)),
        Command::Attach(options) => local.block_on(&runtime, attach::run(options)),
        Command::Xmpp(options) => local.block_on(&runtime, xmpp::run(options)),
        Command::Presence(options) => local.block_on(&runtime, presence::run(options)),
        Command::Contacts(options) => local.block_on(&runtime, contacts::run(options)),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &std::io::Error) -> ExitCode {
    eprintln!("load: {error}");
    ExitCode::FAILURE
}
