//! Reading what comes: messages, receipts, displayed notices, typing notices.
//!
//! In: an entity, its envelope sender, the time. Out: [`Content`], in which every text is safe to show. Invariants: the
//! work is linear in the entity; what is kept of it is bounded; an entity that makes no sense is still a message.
//! RFC 5322 §3.6, RFC 2046 §5.1, RFC 3464, RFC 3994 §3, RFC 8098 §3.

use std::borrow::Cow;

use aws_lc_rs::digest;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{
    Address, Encoding, HeaderForm, HeaderName, HeaderValue, Message, MessageParser, MimeHeaders, PartType,
};
use serde::{Deserialize, Serialize};

use super::clean;
use super::compose::Enclosure;
use super::formats;
use super::mark::Mark;
use crate::address::{Mailbox, ReversePath};
use crate::mime::report;
use crate::smime::protect::without_legacy_display;
use crate::timestamp::Timestamp;

/// Characters of a text that are kept; the rest stays in the entity, which is kept beside the history.
pub const TEXT_CHARACTERS: usize = 64 * 1024;
/// Attachments of one message that are listed.
const ATTACHMENTS: usize = 100;
/// Characters of the words about an attachment that are kept.
pub const DESCRIPTION_CHARACTERS: usize = 200;
/// Message-IDs of a thread that are kept.
const REFERENCES: usize = 10;
/// Addresses to which answers go at most.
const REPLY_TO: usize = 10;
/// Octets of a Message-ID that are kept.
const ID_OCTETS: usize = 998;
/// Octets of a notice that are looked at.
const NOTICE_OCTETS: usize = 64 * 1024;
/// How long a typing notice counts without a `refresh` (RFC 3994 §4), and the most that it may say, in seconds.
const REFRESH: (u32, u32) = (120, 600);

/// A message that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The Message-ID; where there is none, one made of the entity's digest.
    pub id: String,
    /// Who sent it.
    pub from: Mailbox,
    /// Where its author wants answers, if elsewhere (RFC 5322 §3.6.2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reply_to: Vec<Mailbox>,
    /// Whom it names as recipients, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// When its author wrote it, as the author says.
    pub date: Timestamp,
    /// When it came.
    pub at: Timestamp,
    /// The text, lines separated by `\n`.
    pub text: String,
    /// What goes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Enclosure>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// The thread before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Whether its author asks to be told when it is displayed.
    #[serde(default)]
    pub wants_displayed: bool,
    /// Whether a program wrote it (RFC 3834 §5); never answered automatically.
    #[serde(default)]
    pub automatic: bool,
    /// How it was protected.
    #[serde(default)]
    pub mark: Mark,
}

/// What a message was displayed to, and by whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displayed {
    /// The Message-ID of ours.
    pub id: String,
    /// Who displayed it.
    pub by: Mailbox,
}

/// Somebody is typing, or has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typing {
    /// Who.
    pub from: Mailbox,
    /// For how many seconds this counts; 0: has stopped.
    pub seconds: u32,
}

/// What an entity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A message.
    Message(Box<Received>),
    /// A receipt of delivery.
    Receipt(Box<report::Report>),
    /// A displayed notice.
    Displayed(Displayed),
    /// A typing notice.
    Typing(Typing),
    /// Nothing for the person: a notice that makes no sense.
    Nothing,
}

/// Reads an entity. The envelope sender is the author; for reports, which have none, it is From. `decrypted`: it came encrypted,
/// so that its texts may begin with fields for readers that do not know protected ones.
pub fn read(entity: &[u8], sender: &ReversePath, decrypted: bool, now: Timestamp) -> Content {
    if let Ok(report) = report::parse(entity) {
        return Content::Receipt(Box::new(report));
    }
    let Some(message) = MessageParser::default().parse(entity) else {
        let from = sender.mailbox().cloned();
        return from.map_or(Content::Nothing, |from| Content::Message(Box::new(unreadable(entity, from, now))));
    };
    let Some(from) = sender.mailbox().cloned().or_else(|| author(&message)) else { return Content::Nothing };
    if is(&message, "application", "im-iscomposing+xml") {
        let body = message.root_part().contents();
        return typing(&body[..body.len().min(NOTICE_OCTETS)])
            .map_or(Content::Nothing, |seconds| Content::Typing(Typing { from, seconds }));
    }
    if is(&message, "multipart", "report") {
        let kind = message.content_type().and_then(|kind| kind.attribute("report-type"));
        if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("disposition-notification")) {
            return notice(&message, entity)
                .map_or(Content::Nothing, |id| Content::Displayed(Displayed { id, by: from }));
        }
        // What no person sent and nobody here can read is not for a person; it is no way round a rule either.
        if *sender == ReversePath::Null {
            return Content::Nothing;
        }
    }
    let whole = is(&message, "message", "cpim") || is(&message, "multipart", "signed");
    let part = message.parts.iter().find(|part| whole && is_part(part, "message", "cpim"));
    let text = part.and_then(|part| formats::cpim(&contents(part, entity), &from));
    let text = text.map_or_else(|| self::text(&message, entity, decrypted), |text| shown(&text));
    Content::Message(Box::new(Received { text, ..received(&message, entity, from, sender, now) }))
}

fn is(message: &Message<'_>, kind: &str, subtype: &str) -> bool {
    is_part(message.root_part(), kind, subtype)
}

fn is_part(part: &mail_parser::MessagePart<'_>, kind: &str, subtype: &str) -> bool {
    part.content_type().is_some_and(|found| {
        found.ctype().eq_ignore_ascii_case(kind)
            && found.subtype().is_some_and(|found| found.eq_ignore_ascii_case(subtype))
    })
}

fn author(message: &Message<'_>) -> Option<Mailbox> {
    message.from().and_then(Address::first).and_then(|from| from.address()).and_then(|from| Mailbox::parse(from).ok())
}

/// Nothing can be read of it: the person sees what came.
fn unreadable(entity: &[u8], from: Mailbox, now: Timestamp) -> Received {
    let text: String = String::from_utf8_lossy(entity).chars().take(TEXT_CHARACTERS).collect();
    Received {
        id: digest_id(entity),
        from,
        reply_to: Vec::new(),
        to: Vec::new(),
        date: now,
        at: now,
        text: clean::text(&text),
        attachments: Vec::new(),
        in_reply_to: None,
        references: Vec::new(),
        wants_displayed: false,
        automatic: true,
        mark: Mark::default(),
    }
}

fn received(message: &Message<'_>, entity: &[u8], from: Mailbox, sender: &ReversePath, now: Timestamp) -> Received {
    let id = message.message_id().map(bracketed).filter(|id| id.len() > 2).unwrap_or_else(|| digest_id(entity));
    let date = message.date().filter(|date| date.is_valid());
    let mut references = identifiers(message.references());
    if references.len() > REFERENCES {
        references.drain(1..=references.len() - REFERENCES);
    }
    let to = message.to().map(|to| to.iter().filter_map(|to| to.address()).take(100).map(clean::line).collect());
    // RFC 8098 §2.1: a notice to anybody but the sender of the message would be for whoever wants it.
    let asked = message.header_as("Disposition-Notification-To", HeaderForm::Addresses).into_iter().next();
    let asked = asked.as_ref().and_then(HeaderValue::as_address).and_then(Address::first).and_then(|to| to.address());
    let wants_displayed = asked.and_then(|to| Mailbox::parse(to).ok()).is_some_and(|to| to.key() == from.key());
    let program = |value: &str| !value.trim().to_ascii_lowercase().starts_with("no");
    let marked = message.header("Auto-Submitted").and_then(HeaderValue::as_text).is_some_and(program);
    Received {
        id,
        reply_to: reply_to(message, &from),
        to: to.unwrap_or_default(),
        date: date.map_or(now, |date| Timestamp::from_secs(date.to_timestamp())),
        at: now,
        text: String::new(),
        attachments: enclosures(message, entity),
        in_reply_to: identifiers(message.in_reply_to()).into_iter().next(),
        references,
        wants_displayed,
        automatic: marked || *sender == ReversePath::Null,
        mark: Mark::default(),
        from,
    }
}

/// Where answers go; empty where that is to the author alone.
fn reply_to(message: &Message<'_>, from: &Mailbox) -> Vec<Mailbox> {
    let named = message.reply_to().into_iter().flat_map(Address::iter).filter_map(|to| to.address());
    let mut to: Vec<Mailbox> = Vec::new();
    for mailbox in named.filter_map(|to| Mailbox::parse(to).ok()).take(REPLY_TO) {
        if !to.iter().any(|known| known.key() == mailbox.key()) {
            to.push(mailbox);
        }
    }
    if matches!(&to[..], [one] if one.key() == from.key()) { Vec::new() } else { to }
}

/// The parts that are to be read, one after the other; of alternatives the plain one, else HTML without its tags.
pub(super) fn text(message: &Message<'_>, entity: &[u8], decrypted: bool) -> String {
    let mut whole = String::new();
    for part in (0..).map_while(|at| message.text_part(at)) {
        let (PartType::Text(text) | PartType::Html(text)) = &part.body else { continue };
        let header = part.headers.iter().find(|header| header.name == HeaderName::ContentType && decrypted);
        let value = header.and_then(|it| entity.get(it.offset_start as usize..it.offset_end as usize));
        let own = value.map_or(Cow::Borrowed(&**text), |value| without_legacy_display(value, text));
        let shown = if part.is_text_html() { Cow::Owned(html_to_text(&own)) } else { own };
        if !whole.is_empty() {
            whole.push('\n');
        }
        whole.extend(shown.chars().take(TEXT_CHARACTERS.saturating_sub(whole.len())));
    }
    shown(&whole)
}

fn shown(text: &str) -> String {
    clean::text(text).trim_end_matches('\n').to_owned()
}

fn enclosures(message: &Message<'_>, entity: &[u8]) -> Vec<Enclosure> {
    let enclosure = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type();
        let media = kind.map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
        let name = part.attachment_name().map(str::to_owned).unwrap_or_else(|| match &part.body {
            PartType::Message(_) => "message.eml".to_owned(),
            _ => "attachment".to_owned(),
        });
        let media = clean::line(&media.unwrap_or_default()).to_ascii_lowercase();
        let octets = contents(part, entity);
        let said = part.content_description().map(str::to_owned).filter(|said| !said.trim().is_empty());
        let said = said.or_else(|| formats::is_card(&media).then(|| formats::card(&octets)).flatten());
        Enclosure {
            name: clean::file_name(&name),
            media,
            description: clean::line(said.unwrap_or_default().trim()).chars().take(DESCRIPTION_CHARACTERS).collect(),
            size: octets.len() as u64,
            file: String::new(),
        }
    };
    message.attachments().take(ATTACHMENTS).map(enclosure).collect()
}

/// The octets of a part, its transfer encoding undone and nothing else.
fn contents<'a>(part: &mail_parser::MessagePart<'_>, entity: &'a [u8]) -> Cow<'a, [u8]> {
    let body = entity.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default();
    let decoded = match part.encoding {
        Encoding::Base64 => base64_decode(body),
        Encoding::QuotedPrintable => quoted_printable_decode(body),
        Encoding::None => None,
    };
    decoded.map_or(Cow::Borrowed(body), Cow::Owned)
}

/// The octets of the attachment `index` of an entity, counted as [`Received::attachments`] counts.
pub fn attachment(entity: &[u8], index: usize) -> Option<Vec<u8>> {
    let message = MessageParser::default().parse(entity)?;
    let part = message.attachments().take(ATTACHMENTS).nth(index)?;
    Some(contents(part, entity).into_owned())
}

fn bracketed(id: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>')).take(ID_OCTETS).collect();
    format!("<{id}>")
}

fn digest_id(entity: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, entity);
    let hex: String = digest.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("<{hex}@digest.invalid>")
}

fn identifiers(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::Text(id) => vec![bracketed(id)],
        HeaderValue::TextList(ids) => ids.iter().map(|id| bracketed(id)).collect(),
        _ => Vec::new(),
    }
}

/// RFC 3994 §3.3: the seconds that it counts for. The document is too small to want a parser: two elements are looked for.
fn typing(document: &[u8]) -> Option<u32> {
    let document = String::from_utf8_lossy(document);
    match element(&document, "state")?.trim() {
        "active" => {
            let said = element(&document, "refresh").and_then(|text| text.trim().parse().ok());
            Some(said.unwrap_or(REFRESH.0).clamp(1, REFRESH.1))
        }
        "idle" => Some(0),
        _ => None,
    }
}

/// The text of the first element of that name, whatever its prefix.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = document;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, text) = after.split_once('>')?;
        let full = tag.split_ascii_whitespace().next().unwrap_or_default();
        if full.rsplit(':').next() == Some(name) && !full.starts_with(['/', '!', '?']) {
            return text.split_once('<').map(|(text, _)| text);
        }
        rest = text;
    }
    None
}

/// RFC 8098 §3.1: the Message-ID, if the notice says `displayed`.
fn notice(message: &Message<'_>, entity: &[u8]) -> Option<String> {
    let part = message.parts.iter().find(|part| {
        part.content_type().is_some_and(|kind| {
            let subtype = kind.subtype().unwrap_or_default();
            kind.ctype().eq_ignore_ascii_case("message")
                && (subtype.eq_ignore_ascii_case("disposition-notification")
                    || subtype.eq_ignore_ascii_case("global-disposition-notification"))
        })
    })?;
    let fields = contents(part, entity);
    let fields = String::from_utf8_lossy(&fields[..fields.len().min(NOTICE_OCTETS)]).into_owned();
    let field = |name: &str| {
        fields.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let disposition = field("Disposition")?.to_ascii_lowercase();
    let kind = disposition.split(';').nth(1)?.split('/').next()?.trim().to_owned();
    (kind == "displayed").then(|| field("Original-Message-ID").map(|id| bracketed(&id))).flatten()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
