//! Protected fields read back.
//!
//! In: the payload that came out of a message's signatures and encryptions, and the fields outside. Out: the fields that
//! its author protected, the part to show, and contradictions. Invariant: `hp` counts at the root of the payload only.
//! RFC 9788 §4.

use std::borrow::Cow;

use super::{ProtectError, Scheme, is_structural};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::{self, Defect, Field, Fields, kind, parameter, unfold};
use crate::timestamp::Timestamp;

/// What came out of a protection.
#[derive(Clone, Debug)]
pub struct Protected<'a> {
    /// How the fields are protected.
    pub scheme: Scheme,
    /// The fields that are protected, in order, without those about the structure; none where the scheme protects none.
    pub fields: Vec<Field<'a>>,
    /// The part to show, with its own header: the payload, or what the older scheme wrapped.
    pub body: &'a [u8],
}

/// A field outside that says something else than the protected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Another author.
    #[error("From outside the signature names somebody else than From inside")]
    From,
    /// Other recipients.
    #[error("To outside the signature names others than To inside")]
    To,
    /// Another meaning for presence, or another class.
    #[error("Presence outside the signature is not Presence inside")]
    Presence,
}

/// Reads the root of a payload. The structure below it is the reader's.
pub fn read(payload: &[u8]) -> Result<Protected<'_>, ProtectError> {
    let (fields, at) = header(payload)?;
    let kind_of = content_type(&fields);
    let hp = kind_of.and_then(|value| parameter(value, "hp"));
    let scheme = match hp.as_deref() {
        Some(hp) if hp.eq_ignore_ascii_case(b"clear") => Scheme::Clear,
        Some(hp) if hp.eq_ignore_ascii_case(b"cipher") => Scheme::Cipher,
        _ => Scheme::Unprotected,
    };
    if scheme != Scheme::Unprotected {
        return Ok(protected(scheme, fields, payload));
    }
    let wraps = kind_of.is_some_and(|value| is_type(value, "message", &["rfc822", "global"])) && hp.is_none();
    if let Some(inner) = wraps.then(|| &payload[at..])
        && let Ok((fields, _)) = header(inner)
        && !content_type(&fields).is_some_and(|value| is_layer(value) || parameter(value, "hp").is_some())
    {
        return Ok(protected(Scheme::Wrapped, fields, inner));
    }
    Ok(Protected { scheme: Scheme::Unprotected, fields: Vec::new(), body: payload })
}

fn protected<'a>(scheme: Scheme, fields: Vec<Field<'a>>, body: &'a [u8]) -> Protected<'a> {
    let own = fields.into_iter().filter(|field| !field.is("hp-outer") && !is_structural(field.name));
    Protected { scheme, fields: own.collect(), body }
}

/// The fields of a header section, and where its body begins.
fn header(part: &[u8]) -> Result<(Vec<Field<'_>>, usize), ProtectError> {
    let mut fields = Fields::new(part);
    let mut found = Vec::new();
    while let Some(item) = fields.next() {
        if found.len() >= limits::HEADER_FIELDS || fields.offset() > limits::HEADER_OCTETS {
            return Err(ProtectError::TooLarge);
        }
        found.push(item.map_err(|_| ProtectError::NotAField)?);
    }
    Ok((found, fields.body()))
}

/// The first Content-Type; a payload with two is read as its first says, by every reader of this crate.
fn content_type<'a>(fields: &[Field<'a>]) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.is("content-type")).map(|field| field.value)
}

fn is_type(value: &[u8], main: &str, subs: &[&str]) -> bool {
    kind(value.trim_ascii()).is_some_and(|(found, sub, _)| {
        found.eq_ignore_ascii_case(main.as_bytes()) && subs.iter().any(|one| sub.eq_ignore_ascii_case(one.as_bytes()))
    })
}

/// Whether a part is a signature or an encryption (RFC 8551 §3.2 and §3.5, RFC 3156).
fn is_layer(value: &[u8]) -> bool {
    is_type(value, "application", &["pkcs7-mime", "x-pkcs7-mime"])
        || is_type(value, "multipart", &["signed", "encrypted"])
}

impl<'a> Protected<'a> {
    /// Whether the fields are protected at all.
    pub fn has_fields(&self) -> bool {
        self.scheme != Scheme::Unprotected
    }

    /// The one field of that name. `Err` where there are several: readers would see different ones.
    pub fn field(&self, name: &'static str) -> Result<Option<&'a [u8]>, Defect> {
        let mut of_name = self.fields.iter().filter(|field| field.is(name));
        let first = of_name.next().map(|field| field.value);
        if of_name.next().is_some() { Err(Defect::Repeated(name)) } else { Ok(first) }
    }

    /// The authors; none where there is no From.
    pub fn from(&self) -> Result<Vec<Mailbox>, Defect> {
        self.field("From")?.map_or(Ok(Vec::new()), mime::mailboxes)
    }

    /// The recipients that To and Cc name; none for `To: watchers:;`.
    pub fn recipients(&self) -> Result<Vec<Mailbox>, Defect> {
        let mut found = self.field("To")?.map_or(Ok(Vec::new()), mime::recipients)?;
        if let Some(value) = self.field("Cc")? {
            found.extend(mime::recipients(value)?);
        }
        Ok(found)
    }

    /// When its author says that it was written.
    pub fn date(&self) -> Option<Timestamp> {
        self.field("Date").ok().flatten().and_then(mime::date)
    }

    /// The Message-ID, with its brackets.
    pub fn message_id(&self) -> Option<Cow<'a, str>> {
        self.field("Message-ID").ok().flatten().map(unfold).filter(|id| !id.is_empty())
    }

    /// The value of Presence, unfolded.
    pub fn presence(&self) -> Option<Cow<'a, str>> {
        self.field("Presence").ok().flatten().map(unfold)
    }

    /// The fields of `message`, the entity as it came, that contradict protected ones. A field that stands inside alone is
    /// no contradiction: a hop may have taken the other away. One that stands outside alone is, and so is a Presence on
    /// either side alone: it decides the class.
    pub fn contradictions(&self, message: &[u8]) -> Vec<Contradiction> {
        if !self.has_fields() {
            return Vec::new();
        }
        let outside = |name: &str| Fields::new(message).flatten().find(|field| field.is(name)).map(|field| field.value);
        let inside = |name: &'static str| self.field(name).ok().flatten();
        let mut found = Vec::new();
        if let Some(outer) = outside("from")
            && !same(outer, inside("From"), mime::mailboxes)
        {
            found.push(Contradiction::From);
        }
        if let Some(outer) = outside("to")
            && !same(outer, inside("To"), mime::recipients)
        {
            found.push(Contradiction::To);
        }
        let text = |value: Option<&[u8]>| value.map(|value| squeezed(&unfold(value)));
        if text(outside("presence")) != text(inside("Presence")) {
            found.push(Contradiction::Presence);
        }
        found
    }
}

/// Whether two fields name the same addresses (RFC 9788 §4.4.5); where one cannot be read, whether they are written
/// the same.
fn same(outer: &[u8], inner: Option<&[u8]>, addresses: fn(&[u8]) -> Result<Vec<Mailbox>, Defect>) -> bool {
    let Some(inner) = inner else { return false };
    let keys = |value| -> Result<Vec<String>, Defect> {
        let mut keys: Vec<String> = addresses(value)?.iter().map(Mailbox::key).collect();
        keys.sort();
        keys.dedup();
        Ok(keys)
    };
    match (keys(outer), keys(inner)) {
        (Ok(outer), Ok(inner)) => outer == inner,
        _ => squeezed(&unfold(outer)) == squeezed(&unfold(inner)),
    }
}

fn squeezed(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text without the fields that its author repeated in it for readers who know no header protection (RFC 9788 §4.5.3).
/// `value` is the Content-Type of its part, `text` the decoded content of a part inside an encryption.
pub fn without_legacy_display<'t>(value: &[u8], text: &'t str) -> Cow<'t, str> {
    if !parameter(value, "hp-legacy-display").is_some_and(|mark| *mark == *b"1") {
        return Cow::Borrowed(text);
    }
    if is_type(value, "text", &["html"]) {
        return Cow::Owned(without_legacy_elements(text));
    }
    let mut lines = text.split_inclusive('\n').filter(|_| is_type(value, "text", &["plain"]));
    let mut at = 0;
    while let Some(line) = lines.next() {
        at += line.len();
        if line.trim_end_matches(['\r', '\n']).is_empty() {
            return Cow::Borrowed(&text[at..]);
        }
    }
    Cow::Borrowed(text)
}

/// HTML without the elements of that class, and without what is inside them. From one that does not end, all stays: what is
/// left out must be what its author marked.
fn without_legacy_elements(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag, after)) = next_tag(rest) {
        if !is_legacy(tag) {
            out.push_str(&rest[..rest.len() - after.len()]);
            rest = after;
            continue;
        }
        let Some(end) = end_of_div(after) else { break };
        out.push_str(before);
        rest = end;
    }
    out.push_str(rest);
    out
}

/// What stands before the next tag, the tag without its brackets, what stands after it.
fn next_tag(html: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = html.split_once('<')?;
    let (tag, after) = rest.split_once('>')?;
    Some((before, tag, after))
}

fn is_named(tag: &str, name: &str) -> bool {
    tag.split(|c: char| c.is_ascii_whitespace()).next().is_some_and(|found| found.eq_ignore_ascii_case(name))
}

fn is_legacy(tag: &str) -> bool {
    let class = tag.to_ascii_lowercase().split_once("class").and_then(|(_, value)| {
        let value = value.trim_start().strip_prefix('=')?.trim_start();
        let value = match value.strip_prefix(['"', '\'']) {
            Some(quoted) => quoted.split(['"', '\'']).next()?,
            None => value.split_ascii_whitespace().next()?,
        };
        Some(value.to_owned())
    });
    let mark = "header-protection-legacy-display";
    is_named(tag, "div") && class.is_some_and(|class| class.split_ascii_whitespace().any(|word| word == mark))
}

/// What stands behind the end of the element that has begun.
fn end_of_div(mut html: &str) -> Option<&str> {
    let mut depth = 1;
    while let Some((_, tag, after)) = next_tag(html) {
        html = after;
        if is_named(tag, "div") {
            depth += 1;
        } else if is_named(tag, "/div") {
            depth -= 1;
            if depth == 0 {
                return Some(html);
            }
        }
    }
    None
}
