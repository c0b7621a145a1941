//! A mail as a message.
//!
//! In: a mail that was found to be somebody's message. Out: the entity that its recipients get. Invariants: what is signed or
//! encrypted stays octet for octet, and so does a mail of which nothing is left out, unless it answers one that has no message
//! of its name; of any other the whole goes with the text
//! that its author wrote. The same mail always becomes the same entity, so that a repetition is known as one. It never fails:
//! what cannot be read goes as it is. RFC 2046 §5.1.3 and §5.2.1, RFC 5322 §3.6, RFC 6532 §3.7.

use std::ops::Range;

use bytes::Bytes;
use mail_parser::{Address, Message, MessageParser, PartType};

use super::answer;
use crate::address::{Domain, Mailbox};
use crate::envelope::Body;
use crate::mime::part::Part;
use crate::mime::signed::describe;
use crate::mime::{self, Field, Fields, Rules};

/// Attachments that are put beside the text; all are in the original.
const ATTACHMENTS: usize = 100;

/// Octets of the name of a message that is looked at; a line has no more.
const REFERENCE: usize = 998;

/// Fields of a mail that are a message's too, beside those that begin with `Chat-`.
const KEPT: [&str; 16] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "Received",
    "Authentication-Results",
    "Disposition-Notification-To",
    "Accept-Language",
    "Importance",
    "Impart-Bridge",
];

/// The entity of a message: `mail`, or the text of its author with the whole. `domain` is that of the bridge, `most` the octets
/// of the largest entity.
pub fn message(mail: &Bytes, domain: &Domain, most: u64) -> Bytes {
    let mut trace = format!("{}: {domain}; in\r\n", super::outward::TRACE);
    if !Fields::new(mail).flatten().any(|field| field.is("Message-ID")) {
        trace.push_str(&format!("Message-ID: <{}@{domain}>\r\n", name(mail)));
    }
    if is_protected(mail) {
        return Bytes::from([trace.as_bytes(), mail].concat());
    }
    let entity = reduced(mail, most).filter(|entity| mime::inspect(entity, RULES).is_ok());
    let entity = entity.as_deref().unwrap_or(mail);
    match answered(entity) {
        Some((range, message)) => {
            let field = format!("In-Reply-To: {message}\r\n");
            Bytes::from([trace.as_bytes(), &entity[..range.start], field.as_bytes(), &entity[range.end..]].concat())
        }
        None => Bytes::from([trace.as_bytes(), entity].concat()),
    }
}

/// Where the entity says what it answers, and what that is, if it says that of a mail which no message is, such as one of
/// several messages: the last of those.
fn answered(entity: &[u8]) -> Option<(Range<usize>, String)> {
    let found = |name: &str| Fields::new(entity).flatten().find(|field| field.is(name));
    let field = found("In-Reply-To")?;
    if !super::outward::is_made(mime::unfold(field.value).trim()) {
        return None;
    }
    let references = found("References")?;
    let references = mime::unfold(references.value);
    let named = |word: &&str| word.starts_with('<') && word.ends_with('>') && word.len() <= REFERENCE;
    let last = references.split_ascii_whitespace().rfind(|word| named(word) && !super::outward::is_made(word))?;
    Some((field.range, last.to_owned()))
}

/// What an entity of ours may be.
pub const RULES: Rules = Rules { body: Body::EightBitMime, utf8: true };

/// 128 bits that name a mail.
fn name(mail: &[u8]) -> String {
    mime::digest(mail).iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}

/// Whether it is for the reader's keys to say what is in it, or who wrote it.
fn is_protected(mail: &[u8]) -> bool {
    describe(mail).is_ok_and(|described| {
        described.is("multipart", "signed")
            || described.is("multipart", "encrypted")
            || described.is("application", "pkcs7-mime")
            || described.is("application", "x-pkcs7-mime")
    })
}

/// The text of the author, the attachments, and the whole; `None` where the mail can go as it is.
fn reduced(mail: &[u8], most: u64) -> Option<Vec<u8>> {
    let message = MessageParser::default().parse(mail)?;
    let text = answer::answer(&message);
    let plain = message.text_body.first().and_then(|id| message.parts.get(*id as usize));
    let is_plain = plain.is_none_or(|part| !matches!(part.body, PartType::Html(_)));
    let misleads = misleads(&message);
    if is_plain && !misleads && text == answer::whole(&message) {
        return None;
    }
    let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(mail.len() + text.len() * 2 + 4096);
    let mut attachments = attachments(mail, &message);
    if attachments.iter().map(|part| part.len() + 64).sum::<usize>() > room {
        attachments.clear();
    }
    Some(composed(mail, &text, &attachments, misleads))
}

/// Whether the name beside the author's address is another address.
fn misleads(message: &Message<'_>) -> bool {
    let first = message.from().and_then(Address::first);
    let Some((name, address)) = first.and_then(|from| Some((from.name()?, from.address()?))) else { return false };
    let words = name.split(|c: char| c.is_whitespace() || "<>()\"',;:".contains(c));
    let addresses = words.filter(|word| word.contains('@') || word.contains('＠'));
    let other = |word: &str| {
        let word = word.replace('＠', "@");
        Mailbox::parse(&word).is_ok_and(|named| Mailbox::parse(address).map_or(true, |real| real.key() != named.key()))
    };
    addresses.into_iter().any(other)
}

/// The parts that are not the text, each as it was sent.
fn attachments<'a>(mail: &'a [u8], message: &Message<'_>) -> Vec<&'a [u8]> {
    let parts = message.attachments().take(ATTACHMENTS);
    parts.filter_map(|part| mail.get(part.offset_header as usize..part.offset_end as usize)).collect()
}

fn composed(mail: &[u8], text: &str, attachments: &[&[u8]], misleads: bool) -> Vec<u8> {
    let boundary = format!("bridge-{}", name(mail));
    let mut fields = Fields::new(mail);
    let mut out = Vec::with_capacity(mail.len() + text.len() + 2048);
    for field in fields.by_ref().flatten().filter(is_kept) {
        match misleads.then(|| mime::mailboxes(field.value)) {
            Some(Ok(from)) if field.is("From") && from.len() == 1 => {
                out.extend_from_slice(format!("From: <{}>\r\n", from[0]).as_bytes());
            }
            _ => out.extend_from_slice(&mail[field.range]),
        }
    }
    let global = !mail[..fields.offset()].is_ascii();
    let header = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\
         Content-Transfer-Encoding: {}\r\n\r\n--{boundary}\r\n",
        if mail.is_ascii() { "7bit" } else { "8bit" }
    );
    out.extend_from_slice(header.as_bytes());
    let text = text.replace('\n', "\r\n") + "\r\n";
    let part = Part { media: "text/plain; charset=utf-8", cid: None, octets: text.as_bytes() };
    out.extend_from_slice(part.write().as_bytes());
    for attachment in attachments {
        out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        out.extend_from_slice(attachment);
    }
    let whole = format!(
        "\r\n--{boundary}\r\nContent-Type: message/{}\r\nContent-Transfer-Encoding: {}\r\n\
         Content-Description: the whole mail\r\nContent-Disposition: attachment; filename=\"original.eml\"\r\n\r\n",
        if global { "global" } else { "rfc822" },
        if mail.is_ascii() { "7bit" } else { "8bit" }
    );
    out.extend_from_slice(whole.as_bytes());
    out.extend_from_slice(mail);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

fn is_kept(field: &Field<'_>) -> bool {
    KEPT.iter().any(|name| field.is(name)) || field.name.to_ascii_lowercase().starts_with("chat-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(mail: &str, most: u64) -> String {
        let domain = Domain::parse("im.a.example").unwrap();
        let mail = Bytes::copy_from_slice(mail.as_bytes());
        let once = message(&mail, &domain, most);
        assert_eq!(once, message(&mail, &domain, most));
        mime::inspect(&once, RULES).unwrap();
        String::from_utf8(once.to_vec()).unwrap()
    }

    const HEAD: &str = "Received: by b.example; now\r\nDKIM-Signature: v=1\r\nFrom: Bob <bob@b.example>\r\n\
        To: alice@a.example\r\nMessage-ID: <1@b.example>\r\nIn-Reply-To: <0@a.example>\r\n";
    const QUOTED: &str = "Yes.\r\n\r\nOn Mon, 23 Nov 2026, Alice wrote:\r\n> Lunch?\r\n";

    #[test]
    fn a_mail_of_which_nothing_goes_is_as_it_was() {
        for body in ["\r\nYes.\r\n", "Content-Type: multipart/signed; boundary=b; protocol=x\r\n\r\n--b\r\n\r\n> a\r\n"]
        {
            let mail = format!("{HEAD}{body}");
            assert_eq!(made(&mail, 10_000), format!("Impart-Bridge: im.a.example; in\r\n{mail}"));
        }
    }

    #[test]
    fn an_answer_to_several_messages_is_one_to_the_last() {
        let (root, several) =
            (format!("<impart.{}@a.example>", "0".repeat(32)), format!("<impart.{}@a.example>", "1f".repeat(16)));
        let check = |answered: &str, references: &str, expected: &str| {
            let mail = format!(
                "From: bob@b.example\r\nMessage-ID: <1@b.example>\r\nIn-Reply-To: {answered}\r\n{references}\r\nYes.\r\n"
            );
            let made = made(&mail, 10_000);
            assert_eq!(made.lines().find_map(|line| line.strip_prefix("In-Reply-To: ")), Some(expected), "{made}");
            assert!(references.is_empty() || made.contains(references), "{made}");
        };
        let thread = format!("References: {root} <1@a.example>\r\n <2@a.example>\r\n {several}\r\n");
        check(&several, &thread, "<2@a.example>");
        check("<1@a.example>", &thread, "<1@a.example>");
        check("<impart.1@a.example>", &thread, "<impart.1@a.example>");
        check(&several, "", &several);
        check(&several, &format!("References: {root} {several}\r\n"), &several);
        let quoted = QUOTED.replace("Lunch?", "Dinner?");
        let both = made(&format!("From: bob@b.example\r\nIn-Reply-To: {several}\r\n{thread}\r\n{quoted}"), 10_000);
        assert!(
            both.contains("\r\nIn-Reply-To: <2@a.example>\r\n")
                && both.contains(&format!("\r\nIn-Reply-To: {several}\r\n")),
            "the whole is as it was: {both}"
        );
        let signed = "Content-Type: multipart/signed; boundary=b; protocol=x\r\n\r\n--b\r\n\r\na\r\n";
        let signed =
            format!("From: bob@b.example\r\nMessage-ID: <1@b.example>\r\nIn-Reply-To: {several}\r\n{thread}{signed}");
        assert!(made(&signed, 10_000).ends_with(&signed), "what is signed stays");
    }

    #[test]
    fn an_answer_goes_with_the_whole() {
        let mail = format!("{HEAD}\r\n{QUOTED}");
        let made = made(&mail, 10_000);
        let kept = "Impart-Bridge: im.a.example; in\r\nReceived: by b.example; now\r\nFrom: Bob <bob@b.example>\r\n\
             To: alice@a.example\r\nMessage-ID: <1@b.example>\r\nIn-Reply-To: <0@a.example>\r\nMIME-Version: 1.0\r\n";
        assert!(made.starts_with(kept), "{made}");
        let parts = mime::part::parts(made.as_bytes()).unwrap();
        assert_eq!(mime::part::leaf(parts[0]).unwrap().octets, &b"Yes.\r\n"[..]);
        assert!(parts[1].ends_with(mail.as_bytes()), "{made}");
    }

    #[test]
    fn attachments_within_limits() {
        let mail = format!(
            "{HEAD}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\n{QUOTED}\r\n\
             --m\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\nTNEF\r\n\
             --m\r\nContent-Type: text/calendar; method=REQUEST\r\nContent-Disposition: attachment\r\n\r\nCAL\r\n--m--\r\n"
        );
        let all = made(&mail, 100_000);
        let parts = mime::part::parts(all.as_bytes()).unwrap();
        assert_eq!(parts.len(), 4, "{all}");
        assert!(parts[1].ends_with(b"TNEF") && parts[2].ends_with(b"CAL"), "{all}");
        let few = made(&mail, mail.len() as u64);
        assert_eq!(mime::part::parts(few.as_bytes()).unwrap().len(), 2, "{few}");
    }

    #[test]
    fn names_that_mislead() {
        let from = |name: &str| {
            let made = made(&format!("From: {name} <mallory@c.example>\r\n\r\nhi\r\n"), 10_000);
            made.lines().find(|line| line.starts_with("From: ")).unwrap().to_owned()
        };
        assert_eq!(from("\"alice@a.example\""), "From: <mallory@c.example>");
        assert_eq!(from("=?utf-8?q?Alice_=28alice=40a=2Eexample=29?="), "From: <mallory@c.example>");
        assert_eq!(from("Mallory"), "From: Mallory <mallory@c.example>");
        assert_eq!(from("\"mallory@c.example\""), "From: \"mallory@c.example\" <mallory@c.example>");
    }

    #[test]
    fn one_without_a_name_gets_one() {
        let made = made("From: bob@b.example\r\n\r\nhi\r\n", 10_000);
        assert!(made.lines().nth(1).unwrap().starts_with("Message-ID: <") && made.contains("@im.a.example>"), "{made}");
    }
}
