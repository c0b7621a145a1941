//! `impart chat`: talking, full-screen or line by line.
//!
//! In: keys, lines, news. Out: a screen, or lines; messages sent. [`model`] and [`view`] are pure: what a key does and what
//! the screen shows is decided there. [`screen`] and [`line`] are the drivers. Invariant: however it ends, the terminal is
//! as it was before.

pub mod editor;
mod line;
pub mod model;
pub mod order;
mod screen;
pub mod view;

use std::io::IsTerminal as _;

use super::Client;
use super::cli::{Failure, exit};
use crate::address::Mailbox;

/// Talks until the person leaves. Without a terminal on both sides it is line by line.
pub async fn run(client: Client, with: Option<&str>, by_line: bool) -> Result<(), Failure> {
    let with: Option<Mailbox> = match with {
        Some(name) => Some(client.history().partner(name).ok_or_else(|| {
            Failure::new(exit::USAGE, format!("{name:?} is no address, and no name of the history that is only one"))
        })?),
        None => None,
    };
    let listener = client.listen()?;
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let full = !by_line && !dumb && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let result = match full {
        true => screen::run(&client, listener, with).await,
        false => line::run(&client, listener, with).await,
    };
    client.close().await;
    result
}
