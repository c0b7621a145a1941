//! Whether an entity is well-formed, and what its header says.
//!
//! In: the octets of an entity and what its envelope allows. Out: [`Facts`]. Fails: the first [`Defect`], which has its
//! reply. RFC 5322 §3.6, RFC 6152, RFC 6531 §3.2, RFC 2046 §5.1.

use mail_parser::DateTime;

use super::content_type::{Content, content};
use super::header::{Fields, unfold};
use super::{Defect, author, language, octets, structure};
use crate::address::Mailbox;
use crate::envelope::Body;
use crate::limits;
use crate::timestamp::Timestamp;

/// The octets of a Message-ID that are taken up: those of a line.
const MESSAGE_ID: usize = limits::TEXT_LINE_OCTETS - 2;

/// What the envelope allows the entity to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The parameter BODY.
    pub body: Body,
    /// The parameter SMTPUTF8.
    pub utf8: bool,
}

/// Who an entity says transmitted it for its author (RFC 5322 §3.6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nobody else: there is no such field.
    Absent,
    /// The one whom the one field Sender names.
    Named(Mailbox),
    /// There are several, or one that names nobody.
    Unclear,
}

/// What an entity says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The addresses of the one From field; at least one.
    pub from: Vec<Mailbox>,
    /// Who transmitted it.
    pub sender: Sender,
    /// The Message-ID as written, with its angle brackets.
    pub message_id: Option<String>,
    /// The Date, where it can be read.
    pub date: Option<Timestamp>,
    /// Received fields: relays passed so far (RFC 5321 §6.3).
    pub hops: usize,
    /// Whether there is a Presence field, which makes the class PRES.
    pub presence: bool,
    /// Whether the body has octets that are not US-ASCII; always false for BINARYMIME, whose body is not looked at.
    pub eight_bit_body: bool,
    /// Whether the header has characters that are not US-ASCII.
    pub utf8_header: bool,
    /// The first choice of Accept-Language, else the first of Content-Language: a language tag, at most 35 characters.
    pub language: Option<String>,
    /// Octets of the header section with the empty line that ends it.
    pub header_octets: usize,
    /// Whether a program wrote it: Auto-Submitted with another value than `no` (RFC 3834 §5).
    pub auto_submitted: bool,
    /// Parts in all, itself included.
    pub parts: usize,
}

/// Looks at an entity. Linear in its length; all bounds of [`limits`] hold for what it accepts.
pub fn inspect(entity: &[u8], rules: Rules) -> Result<Facts, Defect> {
    let mut fields = Fields::new(entity);
    let mut seen = Seen::default();
    let mut count = 0;
    let mut malformed = false;
    while let Some(item) = fields.next() {
        count += 1;
        if fields.offset() > limits::HEADER_OCTETS {
            return Err(Defect::HeaderTooLarge);
        }
        if count > limits::HEADER_FIELDS {
            return Err(Defect::TooManyFields);
        }
        match item {
            Ok(field) => seen.take(field.name, field.value)?,
            // Judged after the octets: a bare LF says more about it.
            Err(_) => malformed = true,
        }
    }
    let (header, body) = entity.split_at(fields.body());
    let utf8_header = octets::lines(header)?;
    if malformed || !(header.is_empty() || header.ends_with(b"\r\n")) {
        return Err(Defect::NotAField);
    }
    if utf8_header {
        std::str::from_utf8(header).map_err(|_| Defect::HeaderNotUtf8)?;
        if !rules.utf8 {
            return Err(Defect::HeaderNeedsUtf8);
        }
    }
    let eight_bit_body = rules.body != Body::BinaryMime && octets::lines(body)?;
    if eight_bit_body && rules.body == Body::SevenBit {
        return Err(Defect::NeedsEightBit);
    }
    let top = seen.content_type.map_or(Ok(Content::Leaf), content)?;
    let parts = if top == Content::Leaf { 1 } else { structure::walk(body, top)? };
    seen.facts(header.len(), utf8_header, eight_bit_body, parts)
}

/// The values of the fields that matter.
#[derive(Default)]
struct Seen<'a> {
    from: Option<&'a [u8]>,
    senders: Vec<&'a [u8]>,
    message_id: Option<&'a [u8]>,
    date: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    accept_language: Option<&'a [u8]>,
    content_language: Option<&'a [u8]>,
    auto_submitted: Option<&'a [u8]>,
    presence: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    hops: usize,
}

impl<'a> Seen<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Defect> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        // By length first: most fields are none of these.
        match name.len() {
            4 if is("from") => once(&mut self.from, value, Defect::SeveralFrom)?,
            4 if is("date") => once(&mut self.date, value, Defect::Repeated("Date"))?,
            // Others pass messages with several on; those who answer for one ask for one.
            6 if is("sender") && self.senders.len() < 2 => self.senders.push(value),
            8 if is("received") => self.hops += 1,
            8 if is("presence") => once(&mut self.presence, value, Defect::Repeated("Presence"))?,
            10 if is("message-id") => once(&mut self.message_id, value, Defect::Repeated("Message-ID"))?,
            12 if is("content-type") => once(&mut self.content_type, value, Defect::Repeated("Content-Type"))?,
            14 if is("auto-submitted") => self.auto_submitted = Some(value),
            15 if is("accept-language") => self.accept_language = Some(value),
            16 if is("content-language") => self.content_language = Some(value),
            25 if is("content-transfer-encoding") => {
                once(&mut self.transfer_encoding, value, Defect::Repeated("Content-Transfer-Encoding"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn facts(
        self,
        header_octets: usize,
        utf8_header: bool,
        eight_bit_body: bool,
        parts: usize,
    ) -> Result<Facts, Defect> {
        let from = author::mailboxes(self.from.ok_or(Defect::NoFrom)?)?;
        let message_id = match self.message_id.map(unfold) {
            Some(id) if id.is_empty() || id.len() > MESSAGE_ID => return Err(Defect::MessageId),
            id => id.map(std::borrow::Cow::into_owned),
        };
        let accepted = self.accept_language.and_then(|value| language::accepted(&unfold(value)));
        let language = accepted.or_else(|| self.content_language.and_then(|value| language::written(&unfold(value))));
        let auto_submitted = self.auto_submitted.is_some_and(|value| {
            let value = unfold(value);
            let word = value.split([' ', '\t', ';', '(']).next().unwrap_or_default();
            !word.eq_ignore_ascii_case("no")
        });
        Ok(Facts {
            from,
            sender: sender(&self.senders),
            message_id,
            date: self.date.and_then(date),
            hops: self.hops,
            presence: self.presence.is_some(),
            eight_bit_body,
            utf8_header,
            language,
            header_octets,
            auto_submitted,
            parts,
        })
    }
}

fn sender(fields: &[&[u8]]) -> Sender {
    match fields {
        [] => Sender::Absent,
        [value] => match author::mailboxes(value).as_deref() {
            Ok([sender]) => Sender::Named(sender.clone()),
            _ => Sender::Unclear,
        },
        _ => Sender::Unclear,
    }
}

fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], defect: Defect) -> Result<(), Defect> {
    if slot.replace(value).is_some() { Err(defect) } else { Ok(()) }
}

/// RFC 5322 §3.3, with its obsolete forms; a date that is none is as good as absent.
pub fn date(value: &[u8]) -> Option<Timestamp> {
    let date = DateTime::parse_rfc822(&unfold(value))?;
    date.is_valid().then(|| Timestamp::from_secs(date.to_timestamp()))
}

#[cfg(test)]
mod tests;
