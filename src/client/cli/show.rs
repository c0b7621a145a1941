//! Messages, receipts and states as lines: for people, and as JSON. Pure.

use serde_json::{Value, json};

use crate::client::history::{Fate, Message, State};
use crate::client::presence::view::question;
use crate::client::presence::{Change, News};
use crate::client::read::Received;
use crate::client::{Incoming, Link, clean, mark};
use crate::timestamp::Timestamp;

/// `2026-11-23 12:00` in the host's zone.
pub fn time(at: Timestamp) -> String {
    at.rfc3339_local().get(..16).unwrap_or_default().replace('T', " ")
}

/// A head with the first line of the text; further lines are indented below.
fn block(head: &str, text: &str, files: &[crate::client::compose::Enclosure]) -> String {
    let mut out = head.to_owned();
    for (at, line) in text.lines().enumerate() {
        out.push_str(if at == 0 { " " } else { "\n    " });
        out.push_str(line);
    }
    for file in files {
        let words = if file.description.is_empty() { String::new() } else { format!(": {}", file.description) };
        out.push_str(&format!("\n    [{}, {}, {}{words}]", file.name, file.media, clean::size(file.size)));
    }
    out.push('\n');
    out
}

/// A message of a history.
pub fn message(message: &Message) -> String {
    match message {
        Message::In(received) => self::received(received),
        Message::Out { draft, fates } => {
            let mark = mark::own(draft.signed, draft.encrypted).map(|words| format!(" [{words}]")).unwrap_or_default();
            let to: Vec<String> = draft.to.iter().map(clean::address).collect();
            let head = format!("{}{mark} to {}: ({})", time(draft.date), to.join(", "), self::fates(fates));
            block(&head, &clean::text(&draft.text), &draft.attachments)
        }
    }
}

/// What became of a message; one word where it is the same for all.
pub fn fates(fates: &[Fate]) -> String {
    match fates.first() {
        Some(first) if fates.iter().all(|fate| fate.state == first.state && fate.reason == first.reason) => {
            with_reason(first.state, first.reason.as_deref())
        }
        _ => {
            let each = fates.iter().map(|fate| {
                format!("{} {}", clean::address(&fate.to), with_reason(fate.state, fate.reason.as_deref()))
            });
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// `failed: 550 5.1.1 …`.
pub fn with_reason(state: State, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{}: {}", state.word(), clean::line(reason)),
        None => state.word().to_owned(),
    }
}

/// A message that has come.
pub fn received(received: &Received) -> String {
    let elsewhere: Vec<String> = received.reply_to.iter().map(clean::address).collect();
    let answers = if elsewhere.is_empty() { String::new() } else { format!(" (answers to {})", elsewhere.join(", ")) };
    let (mark, from) = (received.mark.words(), clean::address(&received.from));
    let head = format!("{} [{mark}] {from}{answers}:", time(received.date));
    block(&head, &received.text, &received.attachments)
}

/// News, for people; nothing where there is nothing to say.
pub fn incoming(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Message(message) => received(message),
        Incoming::Receipt { to, state: State::Sent, .. } => format!("* to {}: sent\n", clean::address(to)),
        Incoming::Receipt { id, to, state, reason } => {
            let said = with_reason(*state, reason.as_deref());
            format!("* to {}: {said} {}\n", clean::address(to), clean::line(id))
        }
        Incoming::Displayed { id, by } => {
            format!("* to {}: displayed {}\n", clean::address(by), clean::line(id))
        }
        Incoming::Typing(typing) if typing.seconds > 0 => {
            format!("* {} is typing\n", clean::address(&typing.from))
        }
        Incoming::Typing(_) => String::new(),
        Incoming::Presence(news) => presence(news).iter().map(|line| format!("* {line}\n")).collect(),
        Incoming::State(link) => format!("* {}\n", self::link(link)),
    }
}

/// Each thing that is told of presence.
fn presence(news: &News) -> Vec<String> {
    match news {
        News::View(view) => vec![view.to_string()],
        News::Contacts(views) => views.iter().map(ToString::to_string).collect(),
        News::Watchers { list, .. } => list.iter().map(ToString::to_string).collect(),
        News::Policy { .. } | News::Certificate { .. } => Vec::new(),
    }
}

/// A change, in words; a request with the commands that decide it, which begin with `lead`.
pub fn change(change: &Change, lead: &str) -> String {
    match change {
        Change::View(view) => view.to_string(),
        Change::Watcher(watcher) if watcher.asks() => question(watcher, lead),
        Change::Watcher(watcher) => watcher.to_string(),
    }
}

/// The connection, in words.
pub fn link(link: &Link) -> String {
    match link {
        Link::Connected => "connected".to_owned(),
        Link::Lost { reason, retry } => {
            format!("not connected: {}; next attempt in {} s", clean::line(reason), retry.as_secs().max(1))
        }
        Link::Refused(reason) | Link::Trouble(reason) => clean::line(reason),
    }
}

/// News as JSON.
pub fn incoming_json(incoming: &Incoming) -> Value {
    match incoming {
        Incoming::Message(received) => received_json(received),
        Incoming::Receipt { id, to, state, reason } => {
            json!({ "event": "receipt", "id": id, "to": to, "state": state, "reason": reason })
        }
        Incoming::Displayed { id, by } => json!({ "event": "displayed", "id": id, "by": by }),
        Incoming::Typing(typing) => json!({ "event": "typing", "from": typing.from, "seconds": typing.seconds }),
        Incoming::Presence(news) => presence_json(news),
        Incoming::State(link) => {
            let state = match link {
                Link::Connected => "connected",
                Link::Lost { .. } => "lost",
                Link::Refused(_) => "refused",
                Link::Trouble(_) => "trouble",
            };
            json!({ "event": "connection", "state": state, "text": self::link(link) })
        }
    }
}

fn presence_json(news: &News) -> Value {
    match news {
        News::View(view) => view.json(),
        News::Contacts(views) => {
            json!({ "event": "contacts", "list": views.iter().map(|view| view.json()).collect::<Value>() })
        }
        News::Watchers { full, list } => {
            let list: Value = list.iter().map(|watcher| watcher.json()).collect();
            json!({ "event": "watchers", "full": full, "list": list })
        }
        News::Policy { text, .. } => json!({ "event": "policy", "text": text }),
        News::Certificate { who, certificate } => {
            let until = certificate.as_ref().map(|certificate| certificate.not_after().rfc3339());
            json!({ "event": "certificate", "who": who, "until": until })
        }
    }
}

fn received_json(received: &Received) -> Value {
    json!({
        "event": "message", "id": received.id, "from": received.from, "reply_to": received.reply_to, "to": received.to,
        "date": received.date.rfc3339(), "at": received.at.rfc3339(), "text": received.text,
        "attachments": files_json(&received.attachments), "in_reply_to": received.in_reply_to,
        "automatic": received.automatic, "wants_displayed": received.wants_displayed,
        "signature": received.mark.proof, "signer": received.mark.signer, "encrypted": received.mark.encrypted,
        "protection": received.mark.words(),
    })
}

fn files_json(files: &[crate::client::compose::Enclosure]) -> Value {
    let file = |file: &crate::client::compose::Enclosure| json!({ "name": file.name, "media": file.media, "size": file.size, "description": file.description });
    files.iter().map(file).collect()
}

/// A message of a history, as JSON.
pub fn message_json(message: &Message) -> Value {
    match message {
        Message::In(received) => received_json(received),
        Message::Out { draft, fates } => json!({
            "event": "sent", "id": draft.id, "to": draft.to, "date": draft.date.rfc3339(), "text": draft.text,
            "attachments": files_json(&draft.attachments), "in_reply_to": draft.in_reply_to, "fates": fates,
            "signed": draft.signed, "encrypted": draft.encrypted,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Mailbox, ReversePath};
    use crate::client::read::{self, Content};

    #[test]
    fn nothing_in_a_line_commands_the_terminal() {
        let sender = ReversePath::Mailbox(Mailbox::parse("\u{202e}eve@e.test").unwrap());
        let entity = b"From: x@x\r\nMessage-ID: <\x1b[2J>\r\n\r\none\x1b[31m\r\ntwo\r\n";
        let Content::Message(message) = read::read(entity, &sender, false, Timestamp::from_secs(0)) else {
            panic!("none")
        };
        let shown = incoming(&Incoming::Message(message));
        assert!(shown.ends_with("\u{fffd}eve@e.test: one\u{241b}[31m\n    two\n"), "{shown}");
        let link = Link::Lost { reason: "it said: \x1b[2J\nx".to_owned(), retry: std::time::Duration::ZERO };
        let text = incoming(&Incoming::State(link));
        assert_eq!(text, "* not connected: it said: \u{241b}[2J x; next attempt in 1 s\n");
    }

    #[test]
    fn states_of_one_and_of_several() {
        let fate = |to: &str, state| Fate { to: Mailbox::parse(to).unwrap(), state, reason: None };
        assert_eq!(fates(&[fate("a@a.test", State::Sent), fate("b@b.test", State::Sent)]), "sent");
        let two = [fate("a@a.test", State::Sent), fate("b@b.test", State::Delivered)];
        assert_eq!(fates(&two), "a@a.test sent, b@b.test delivered");
    }
}
