//! A view in words.

use std::fmt::Write as _;

use crate::address::uri;
use crate::pidf::{Basic, Document, Note};
use crate::presence::{Reason, State, Told};
use crate::printable::plain;
use crate::timestamp::Timestamp;

/// Characters of a note.
const NOTE_CHARS: usize = 500;
/// Notes, activities and services that are told.
const SEVERAL: usize = 10;

/// What is the matter, in one sentence without its end.
pub(super) fn sentence(told: &Told, document: Option<&Document>) -> String {
    let name = &told.presentity;
    match told.state {
        State::Active => match document.and_then(Document::basic) {
            Some(Basic::Open) => format!("{name} is available"),
            Some(Basic::Closed) => format!("{name} is not available"),
            None => format!("{name} says nothing of being available"),
        },
        State::Pending | State::Asked | State::Waiting => {
            format!("{name} has not said yet whether you may know")
        }
        State::Terminated(Some(Reason::Rejected)) => format!("{name} does not tell you"),
        State::Terminated(Some(Reason::Noresource)) => format!("{name} is not there any more"),
        State::Terminated(_) => format!("You are told of {name} no more"),
    }
}

/// All that there is to say of one presentity.
pub(super) fn paragraph(told: &Told, document: Option<&Document>, now: Timestamp) -> String {
    let mut out = format!("{}.\r\n", sentence(told, document));
    if let Some(document) = document.filter(|_| told.state == State::Active) {
        let activities: Vec<String> = document.activities(now).take(SEVERAL).map(shown).collect();
        if !activities.is_empty() {
            let _ = write!(out, "  Activity: {}\r\n", activities.join(", "));
        }
        for Note { text, .. } in document.person_notes().iter().take(SEVERAL) {
            let _ = write!(out, "  Note: {}\r\n", shown(text));
        }
        for tuple in document.tuples.iter().take(SEVERAL) {
            let contact = tuple.contact.as_deref().map(|contact| match uri::read(contact, &["im", "mailto"]) {
                Some(mailbox) if contact.starts_with("im:") => format!("Messages to {mailbox}"),
                Some(mailbox) => format!("Mail to {mailbox}"),
                None => shown(contact),
            });
            let name = contact.unwrap_or_else(|| "Other means".to_owned());
            if let Some(basic) = tuple.basic {
                let _ = write!(out, "  {name}: {}\r\n", basic.word());
            }
            for Note { text, .. } in tuple.notes.iter().take(SEVERAL) {
                let _ = write!(out, "    Note: {}\r\n", shown(text));
            }
        }
    }
    match told.state {
        State::Pending if !told.once => out.push_str("  You will get a mail when that is decided.\r\n"),
        State::Terminated(Some(Reason::Timeout)) => {
            out.push_str("  To be told again, ask again.\r\n");
        }
        _ => {}
    }
    out
}

/// Somebody else's text, on one line.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(NOTE_CHARS).collect();
    plain(text.trim(), ' ')
}
