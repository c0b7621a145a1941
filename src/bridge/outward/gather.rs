//! Several short messages of one sender as one mail: whoever was away finds a conversation, not a heap.
//!
//! In: the messages in their order. Out: one mail whose text has each with its time and author, and whose References name
//! them, so that an answer leads back to them. Invariant: the same messages give the same mail. What is signed, encrypted or
//! long, has parts or a subject, or asks whether it is read, goes by itself.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use bytes::Bytes;

use super::{Facts, Mail, Unfit, header, unfit, wrapped};
use crate::envelope::Envelope;
use crate::mime::part::{Part, leaf};
use crate::mime::{self, Fields, signed};

/// Octets of the text of a message that is one of several.
const SHORT: usize = 4 * 1024;
/// Messages that References name: the latest.
const REFERENCES: usize = 20;

/// Fields that a mail of several messages would lose, or say of all of them.
const ALONE: [&str; 3] = ["auto-submitted", "subject", "disposition-notification-to"];

/// Whether a message can be one of several in a mail: a short text that a person wrote.
pub fn is_short(entity: &[u8]) -> bool {
    let alone = Fields::new(entity).flatten().any(|field| ALONE.iter().any(|name| field.is(name)));
    !alone && text(entity).is_some_and(|text| text.len() <= SHORT)
}

/// Who takes part in the conversation of a message that can be one of several; `None` where it goes by itself. Only what
/// has been said among the same people becomes one mail: all of them are named in it.
pub fn conversation(envelope: &Envelope, entity: &[u8]) -> Option<Vec<String>> {
    let said = header::Said::read(entity);
    (is_short(entity) && said.names_all()).then(|| header::keys(&header::participants(envelope, &said)))
}

/// The text of a message that is nothing but text.
fn text(entity: &[u8]) -> Option<String> {
    let described = signed::describe(entity).ok()?;
    let charset = described.parameter("charset").map(|name| name.to_ascii_lowercase());
    if !matches!(charset.as_deref(), None | Some(b"utf-8" | b"us-ascii")) {
        return None;
    }
    let leaf = leaf(entity).filter(|leaf| leaf.media == "text/plain")?;
    String::from_utf8(leaf.octets.into_owned()).ok()
}

/// One mail of all `messages`, the oldest first; `facts` are about the latest of them, and the first recipient.
pub fn gather(facts: &Facts<'_>, messages: &[Bytes]) -> Result<Mail, Unfit> {
    let said = header::Said::read(facts.entity);
    let name = said.name();
    let (mut body, mut identifiers) = (String::new(), Vec::new());
    for message in messages {
        let Some(text) = text(message) else {
            return unfit((5, 6, 1), "a message that is not short text cannot be one of several");
        };
        let field = |name: &str| Fields::new(message).flatten().find(|field| field.is(name)).map(|field| field.value);
        let when = field("date").map(|value| mime::unfold(value).into_owned()).unwrap_or_default();
        let _ = write!(body, "{}{when}, {name}:\r\n", if body.is_empty() { "" } else { "\r\n" });
        text.lines().for_each(|line| body.extend([line, "\r\n"]));
        identifiers.extend(field("message-id").map(|value| mime::unfold(value).into_owned()));
    }
    let hash = digest::digest(&digest::SHA256, identifiers.join(" ").as_bytes());
    let hex: String = hash.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    let known = identifiers.len().saturating_sub(REFERENCES);
    let mut mail = String::new();
    for field in Fields::new(facts.entity).flatten() {
        if ["from", "to", "cc", "date"].iter().any(|name| field.is(name)) {
            mail.push_str(&String::from_utf8_lossy(&facts.entity[field.range]));
        }
    }
    let _ = write!(mail, "Message-ID: <impart.{hex}@{}>\r\n", facts.bridge);
    let root = header::conversation_of(facts, &said);
    let last = identifiers.last().unwrap_or(&root);
    let _ = write!(mail, "In-Reply-To: {last}\r\nReferences: {root}");
    identifiers[known..].iter().for_each(|id| mail.extend(["\r\n ", id]));
    mail.push_str("\r\n");
    mail.push_str("MIME-Version: 1.0\r\n");
    mail.push_str(&Part { media: "text/plain; charset=utf-8", cid: None, octets: body.as_bytes() }.write());
    let entity = header::in_ascii(&Bytes::from(mail));
    let mut mail = header::added(facts, &entity, false).into_bytes();
    mail.extend_from_slice(&entity);
    let entity = Bytes::from(mail);
    Ok(Mail { envelope: wrapped(facts, &entity)?, entity })
}
