//! `impart history`: what was exchanged, from this host's own store; no connection is made.

use super::{Failure, History, complain, exit, print, show};
use crate::client::history::{Choice, Message};
use crate::client::{Account, clean, history};
use crate::limits;

/// Shows.
pub fn run(account: &Account, shown: &History) -> Result<(), Failure> {
    let mut history = history::History::open(&account.directory()?)?;
    if history.unreadable() > 0 {
        complain(format_args!("{} lines of the history are no records; they are passed over", history.unreadable()));
    }
    if let Some(id) = &shown.save {
        return save(&mut history, id);
    }
    let with = shown.with.as_ref().map(|with| {
        history.partner(with).ok_or_else(|| {
            Failure::new(exit::USAGE, format!("{with:?} is no address, and no name of the history that is only one"))
        })
    });
    let with = with.transpose()?;
    if with.is_none() && shown.search.is_none() {
        contacts(history.index(), shown.json);
        return Ok(());
    }
    let choice = Choice { with: with.clone(), words: shown.search.as_deref().unwrap_or_default(), id: None };
    let number = shown.number.unwrap_or(limits::CLIENT_MESSAGES);
    let past = history.past(&choice, number)?;
    let messages: Vec<&Message> = match &with {
        Some(with) => past.conversation(with),
        None => past.messages().collect(),
    };
    let skip = messages.len().saturating_sub(number);
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

fn save(history: &mut history::History, id: &str) -> Result<(), Failure> {
    let message = history
        .find(id)?
        .ok_or_else(|| Failure::new(exit::DATA, format!("there is no message {id} in the history")))?;
    if message.attachments().is_empty() {
        return Err(Failure::new(exit::DATA, "the message has no attachments"));
    }
    for index in 0..message.attachments().len() {
        let path = history.save(&message, index, std::path::Path::new("."))?;
        print(&format!("{}\n", path.display()));
    }
    Ok(())
}
