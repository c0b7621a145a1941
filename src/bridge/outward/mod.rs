//! An instant message as a mail.
//!
//! In: an entity, its envelope, a recipient, who we are. Out: [`Mail`] for that recipient, behind another sender, to whom the
//! mail system's reports come back; the entity with fields before it. Invariants: what is signed or encrypted stays octet for
//! octet, only fields are put before it; the same message gives the same mail each time, so that a mail store that gets it
//! twice can see that. Fails ([`Unfit`]): what is no message for people, what has been here, what no mail system carries.
//! RFC 3461 §4, RFC 3834 §4, RFC 5322 §3.6.4, RFC 2047, RFC 6152 §3, RFC 6531 §3.4.

mod gather;
mod header;
#[cfg(test)]
mod tests;
mod text;

pub use gather::{conversation, gather, is_short};

use aws_lc_rs::hmac;
use bytes::Bytes;

use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::{Body, Envelope, OriginalRecipient, Ret};
use crate::mime::{self, Fields, signed};
use crate::reply::EnhancedCode;
use crate::smtp::xtext::UTF8_KIND;

/// The trace field of both directions: `a.example; out; id=…; envid=…`.
pub const TRACE: &str = "Impart-Bridge";
/// Trace fields after which a message is going round.
const CROSSINGS: usize = 4;

/// A message and who passes it on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The domain of bridge addresses of whichever of sender and recipient is ours.
    pub bridge: &'a Domain,
    /// Whether the sender is ours, so that an answer can come to the bridge.
    pub own_sender: bool,
    /// Of [`token`].
    pub secret: &'a [u8; 32],
    /// Our identifier of the message.
    pub id: &'a str,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// To which of its recipients it goes.
    pub recipient: &'a Mailbox,
    /// The message.
    pub entity: &'a Bytes,
    /// Whether the next hop takes 8BITMIME.
    pub eight_bit: bool,
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its envelope, for the one recipient; the others are those of the message, in their order.
    pub envelope: Envelope,
    /// The entity.
    pub entity: Bytes,
}

/// Why a message does not become a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The status for a receipt.
    pub status: EnhancedCode,
    /// In words.
    pub reason: String,
}

fn unfit<T>(status: (u8, u16, u16), reason: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit { status: EnhancedCode::new(status.0, status.1, status.2), reason: reason.into() })
}

/// Whether a Message-ID, with its angle brackets, is one that a bridge made of others: of a conversation, or of a mail of several
/// messages. No message has it.
pub fn is_made(id: &str) -> bool {
    let hex = id.strip_prefix("<impart.").and_then(|id| id.split_once('@')).map(|(hex, _)| hex);
    hex.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|octet| octet.is_ascii_hexdigit()))
}

/// What stands in `bounce+…@` the bridge: 32 hexadecimal digits that nobody else can make, of the message's sender, its
/// identifier of the envelope, and one recipient. Whoever gets a report of the mail system back has all of them in it, and
/// needs no register; no recipient can report about another.
pub fn token(secret: &[u8; 32], sender: &Mailbox, envid: Option<&str>, recipient: &Mailbox) -> String {
    let text = format!("bounce\0{}\0{}\0{}", sender.key(), envid.unwrap_or_default(), recipient.key());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    tag.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The mail.
pub fn compose(facts: &Facts<'_>) -> Result<Mail, Unfit> {
    let (envelope, entity) = (facts.envelope, facts.entity);
    let Ok(described) = signed::describe(entity) else {
        return unfit((5, 6, 0), "its header contradicts itself");
    };
    if described.is("application", "im-iscomposing+xml") {
        return unfit((5, 6, 1), "a typing notice is nothing for mail");
    }
    if envelope.sender.mailbox().is_none() && !described.is("multipart", "report") {
        return unfit((5, 7, 1), "what has no sender becomes a mail only if it is a report");
    }
    if goes_round(entity, facts.bridge) {
        return unfit((5, 4, 6), "it has been handed to mail here before");
    }
    let protected = described.is("multipart", "signed")
        || described.is("multipart", "encrypted")
        || described.is("application", "pkcs7-mime")
        || described.is("application", "x-pkcs7-mime");
    let entity = match protected {
        true if envelope.body == Body::BinaryMime => {
            return unfit((5, 6, 3), "it is signed or encrypted as BINARYMIME, which mail does not carry");
        }
        true => entity.clone(),
        false => plain(entity, facts.eight_bit && envelope.body != Body::BinaryMime)?,
    };
    let mut mail = header::added(facts, &entity, protected).into_bytes();
    mail.extend_from_slice(&entity);
    let entity = Bytes::from(mail);
    Ok(Mail { envelope: wrapped(facts, &entity)?, entity })
}

/// What is not protected, in a form that every mail system carries and every mail program shows.
fn plain(entity: &Bytes, eight_bit: bool) -> Result<Bytes, Unfit> {
    let entity = header::in_ascii(entity);
    let entity = text::with_plain_text(entity);
    if eight_bit {
        return Ok(entity);
    }
    match mime::seven_bit(&entity) {
        Ok(std::borrow::Cow::Borrowed(_)) => Ok(entity),
        Ok(std::borrow::Cow::Owned(encoded)) => Ok(Bytes::from(encoded)),
        Err(defect) => unfit((5, 6, 3), format!("it cannot be encoded for mail: {defect}")),
    }
}

/// Whether a trace field says that the message went this way before, or it has crossed too often.
fn goes_round(entity: &[u8], bridge: &Domain) -> bool {
    let mut crossings = 0;
    for field in Fields::new(entity).flatten().filter(|field| field.is(TRACE)) {
        crossings += 1;
        let value = mime::unfold(field.value);
        let mut words = value.split(';').map(str::trim);
        let ours = words.next().is_some_and(|domain| domain.eq_ignore_ascii_case(bridge.as_str()));
        if ours && words.next().is_some_and(|way| way.eq_ignore_ascii_case("out")) {
            return true;
        }
    }
    crossings > CROSSINGS
}

/// The envelope of the mail: what is reported comes to the bridge, and names the recipient as the sender knows it.
fn wrapped(facts: &Facts<'_>, entity: &Bytes) -> Result<Envelope, Unfit> {
    let mut envelope = facts.envelope.clone();
    if let ReversePath::Mailbox(sender) = &envelope.sender {
        let local = format!("bounce+{}", token(facts.secret, sender, envelope.envid.as_deref(), facts.recipient));
        let Ok(bounce) = Mailbox::new(&local, facts.bridge.clone()) else {
            return unfit((5, 3, 5), format!("the bridge {} makes no address", facts.bridge));
        };
        envelope.sender = ReversePath::Mailbox(bounce);
    }
    for recipient in &mut envelope.recipients {
        let address = &recipient.address;
        recipient.original.get_or_insert_with(|| OriginalRecipient {
            kind: if address.is_ascii() { "rfc822" } else { UTF8_KIND }.to_owned(),
            address: address.to_string(),
        });
    }
    // Its header is what tells us whose report it is.
    envelope.ret = Some(Ret::Hdrs);
    envelope.body = if facts.eight_bit && !entity.is_ascii() { Body::EightBitMime } else { Body::SevenBit };
    let (header, _) = entity.split_at(header_end(entity));
    envelope.utf8 = !header.is_ascii() || envelope.recipients.iter().any(|recipient| !recipient.address.is_ascii());
    Ok(envelope)
}

fn header_end(entity: &[u8]) -> usize {
    let mut fields = Fields::new(entity);
    fields.by_ref().for_each(drop);
    fields.body()
}
