//! Fields that a mail has beside those of the message, and fields in a form that every mail system takes.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use bytes::Bytes;

use super::{Facts, TRACE};
use crate::address::{Domain, Mailbox};
use crate::envelope::Envelope;
use crate::mime::{self, Fields, phrase};
use crate::smtp::xtext;

/// Characters of a name in a Subject.
const NAME_CHARS: usize = 60;
/// Participants that a Subject names.
const NAMED: usize = 3;

/// What the message says of itself.
#[derive(Default)]
pub(super) struct Said<'a> {
    from: Option<&'a [u8]>,
    others: Vec<&'a [u8]>,
    subject: bool,
    threaded: bool,
    chat_version: bool,
    reply_to: bool,
    automatic: bool,
}

impl<'a> Said<'a> {
    pub(super) fn read(entity: &'a [u8]) -> Self {
        let mut said = Said::default();
        for field in Fields::new(entity).flatten() {
            match field.name.to_ascii_lowercase().as_str() {
                "from" => said.from = Some(field.value),
                "to" | "cc" => said.others.push(field.value),
                "subject" => said.subject = true,
                "references" | "in-reply-to" => said.threaded = true,
                "chat-version" => said.chat_version = true,
                "reply-to" => said.reply_to = true,
                "auto-submitted" => said.automatic = !mime::unfold(field.value).trim().eq_ignore_ascii_case("no"),
                _ => {}
            }
        }
        said
    }

    /// How people know the author.
    pub(super) fn name(&self) -> String {
        let address = || self.author().map(|author| author.to_string());
        self.from.and_then(display_name).or_else(address).unwrap_or_default()
    }

    /// Whether everybody whom it names can be read.
    pub(super) fn names_all(&self) -> bool {
        self.others.iter().all(|value| mime::recipients(value).is_ok())
    }

    fn author(&self) -> Option<Mailbox> {
        mime::mailboxes(self.from?).ok()?.into_iter().next()
    }
}

/// The fields that are put before the entity.
pub(super) fn added(facts: &Facts<'_>, entity: &[u8], protected: bool) -> String {
    let said = Said::read(entity);
    let mut out = format!("{TRACE}: {}; out; id={}", facts.bridge, facts.id);
    if let Some(envid) = &facts.envelope.envid {
        let mut encoded = Vec::new();
        xtext::encode(envid, &mut encoded);
        let _ = write!(out, ";\r\n envid={}", String::from_utf8_lossy(&encoded));
    }
    out.push_str("\r\n");
    // What a program tells is no part of a chat.
    if !said.chat_version && !said.automatic {
        out.push_str("Chat-Version: 1.0\r\n");
    }
    let author = said.author();
    let participants = participants(facts.envelope, &said);
    if !said.subject {
        let _ = write!(out, "Subject: {}\r\n", phrase(&subject(&said, &participants), 9));
    }
    if !said.threaded && !said.automatic {
        let root = conversation(&participants, facts.bridge);
        let _ = write!(out, "In-Reply-To: {root}\r\nReferences: {root}\r\n");
    }
    // What is protected says itself where answers go (protocol, section 8); a reader would not believe it out here.
    let elsewhere = author.filter(|author| author.domain() != facts.bridge);
    if let Some(author) = elsewhere.filter(|_| facts.own_sender && !said.reply_to && !protected)
        && let Ok(at_bridge) = Mailbox::new(author.local(), facts.bridge.clone())
    {
        let name = said.from.and_then(display_name).map(|name| quoted(&name) + " ").unwrap_or_default();
        let _ = write!(out, "Reply-To: {name}<{at_bridge}>\r\n");
    }
    out
}

/// Everybody who takes part, author first, none twice.
pub(super) fn participants(envelope: &Envelope, said: &Said<'_>) -> Vec<Mailbox> {
    let named = said.others.iter().filter_map(|value| mime::recipients(value).ok()).flatten();
    let mut all: Vec<Mailbox> = Vec::new();
    for one in said.author().into_iter().chain(named) {
        if all.iter().all(|known| known.key() != one.key()) {
            all.push(one);
        }
    }
    if all.len() < 2 {
        all.extend(envelope.recipients.iter().map(|recipient| recipient.address.clone()));
    }
    all
}

/// The identifier of the conversation of a message.
pub(super) fn conversation_of(facts: &Facts<'_>, said: &Said<'_>) -> String {
    conversation(&participants(facts.envelope, said), facts.bridge)
}

/// The Message-ID that no message has and all of a conversation refer to, with its angle brackets: mail programs put what
/// refers to it into one thread.
fn conversation(participants: &[Mailbox], bridge: &Domain) -> String {
    let text = format!("conversation\0{}", keys(participants).join("\0"));
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = hash.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("<impart.{hex}@{bridge}>")
}

/// Who takes part, in one order.
pub(super) fn keys(participants: &[Mailbox]) -> Vec<String> {
    let mut keys: Vec<String> = participants.iter().map(Mailbox::key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The same for each message of an author in a conversation.
fn subject(said: &Said<'_>, participants: &[Mailbox]) -> String {
    if participants.len() <= 2 {
        return format!("Chat with {}", said.name());
    }
    let mut names: Vec<String> = participants.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("Chat of {}{others}", names.join(", "))
}

/// The name in a From field, decoded; none where it could be taken for an address.
fn display_name(value: &[u8]) -> Option<String> {
    let line = [value, b"\r\n"].concat();
    let parsed = mail_parser::parsers::MessageStream::new(&line).parse_address();
    let name: String = match parsed {
        mail_parser::HeaderValue::Address(address) => address.first()?.name.as_deref()?.to_owned(),
        _ => return None,
    };
    clean(&name).filter(|name| !name.contains('@')).map(|name| name.chars().take(NAME_CHARS).collect())
}

/// A decoded name in one line: an encoded word can have anything in it, ends of lines and so fields too. None where
/// nothing remains, or characters are in it that nobody sees.
fn clean(name: &str) -> Option<String> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// A name as a phrase (RFC 5322 §3.2.5).
fn quoted(name: &str) -> String {
    if !name.is_ascii() {
        return phrase(name, 10);
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The entity with names and subjects in encoded words, where all that is not US-ASCII in its header is such: no mail
/// system on the way needs to know SMTPUTF8 then. An address that is not US-ASCII stays, and so does what is with it.
pub(super) fn in_ascii(entity: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(entity.len() + 256);
    let mut fields = Fields::new(entity);
    let mut changed = false;
    for field in fields.by_ref().flatten() {
        let octets = &entity[field.range.clone()];
        if octets.is_ascii() {
            out.extend_from_slice(octets);
            continue;
        }
        let value = mime::unfold(field.value);
        let encoded = match field.name.to_ascii_lowercase().as_str() {
            "subject" | "comments" | "organization" => Some(phrase(&value, field.name.len() + 2)),
            "from" | "to" | "cc" | "reply-to" | "sender" => names_in_ascii(&value),
            _ => None,
        };
        match encoded {
            Some(encoded) => {
                let _ = std::io::Write::write_fmt(&mut out, format_args!("{}: {encoded}\r\n", field.name));
                changed = true;
            }
            None => return entity.clone(),
        }
    }
    if !changed {
        return entity.clone();
    }
    out.extend_from_slice(&entity[fields.offset()..]);
    Bytes::from(out)
}

/// Addresses with their names in encoded words; `None` where an address needs SMTPUTF8, or nobody can say.
fn names_in_ascii(value: &str) -> Option<String> {
    let line = format!("{value}\r\n");
    let mail_parser::HeaderValue::Address(parsed) =
        mail_parser::parsers::MessageStream::new(line.as_bytes()).parse_address()
    else {
        return None;
    };
    let mail_parser::Address::List(list) = parsed else { return None };
    // The strict reader has the say in who it is.
    let addresses = mime::recipients(value.as_bytes()).ok()?;
    if addresses.len() != list.len() || addresses.iter().any(|address| !address.is_ascii()) {
        return None;
    }
    let both = addresses.iter().zip(&list).map(|(address, shown)| match shown.name.as_deref().and_then(clean) {
        Some(name) => format!("{}\r\n <{address}>", quoted(&name)),
        None => format!("<{address}>"),
    });
    Some(both.collect::<Vec<_>>().join(",\r\n "))
}
