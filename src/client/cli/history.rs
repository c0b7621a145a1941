//! `impart history`: what was exchanged, from this host's own store; no connection is made.

use super::{Failure, History, complain, exit, print, show};
use crate::client::history::Message;
use crate::client::{Account, clean, history};

/// Shows.
pub fn run(account: &Account, shown: &History) -> Result<(), Failure> {
    let history = history::History::open(&account.directory()?)?;
    if history.unreadable() > 0 {
        complain(format_args!("{} lines of the history are no records; they are passed over", history.unreadable()));
    }
    if let Some(id) = &shown.save {
        return save(&history, id);
    }
    let index = history.index();
    let messages: Vec<&Message> = match (&shown.with, &shown.search) {
        (None, None) => {
            contacts(index, shown.json);
            return Ok(());
        }
        (Some(with), search) => {
            let partner = history.partner(with).ok_or_else(|| {
                Failure::new(
                    exit::USAGE,
                    format!("{with:?} is no address, and no name of the history that is only one"),
                )
            })?;
            let found: Option<Vec<&str>> =
                search.as_deref().map(|words| index.search(words).map(Message::id).collect());
            let fits = |message: &&Message| found.as_ref().is_none_or(|found| found.contains(&message.id()));
            index.conversation(&partner).into_iter().filter(fits).collect()
        }
        (None, Some(words)) => index.search(words).collect(),
    };
    let skip = shown.number.map_or(0, |number| messages.len().saturating_sub(number));
    for message in &messages[skip..] {
        match shown.json {
            true => print(&format!("{}\n", show::message_json(message))),
            false => print(&show::message(message)),
        }
    }
    Ok(())
}

fn contacts(index: &history::Index, json: bool) {
    for contact in index.contacts() {
        let last = contact.last.rfc3339_local();
        if json {
            let line = serde_json::json!({ "address": contact.address, "unread": contact.unread, "last": last });
            print(&format!("{line}\n"));
        } else {
            let unread = if contact.unread > 0 { format!(" ({} unread)", contact.unread) } else { String::new() };
            print(&format!("{} {}{unread}\n", &last[..10.min(last.len())], clean::address(&contact.address)));
        }
    }
}

fn save(history: &history::History, id: &str) -> Result<(), Failure> {
    let message = history
        .index()
        .find(id)
        .ok_or_else(|| Failure::new(exit::DATA, format!("there is no message {id} in the history")))?;
    if message.attachments().is_empty() {
        return Err(Failure::new(exit::DATA, "the message has no attachments"));
    }
    for index in 0..message.attachments().len() {
        let path = history.save(message, index, std::path::Path::new("."))?;
        print(&format!("{}\n", path.display()));
    }
    Ok(())
}
