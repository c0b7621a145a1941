//! Presence by mail: what somebody who has only mail asks, and what they are told.
//!
//! In: a mail to the presence address; what is due to a watcher. Out: a [`Command`]; a mail in words with the documents
//! attached. Invariants: nobody is told anything who has not answered from their own mailbox with a token that only
//! they were sent, and it is good for two days; with another token whoever holds it can end what its owner is told, and
//! nothing else. Pure. It fails with a reply that says how to ask. Protocol, section 8; RFC 2369 §3.2, RFC 3834 §3, RFC 3863.

mod compose;
mod words;

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use mail_parser::MessageParser;

use compose::encoded;
pub use compose::{Facts, compose};

use crate::address::{Domain, Mailbox, uri};
use crate::timestamp::Timestamp;

/// The mailbox of a domain that is asked, and that tells.
pub const LOCAL: &str = "presence";
/// How long somebody has to confirm.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2 * 86_400);
/// Octets of a token.
const TOKEN_OCTETS: usize = 16;
/// Octets of a line that may be a command.
const LINE_OCTETS: usize = 1000;

/// Whether a mailbox of a domain here is the one for presence.
pub fn is_ours(local: &str) -> bool {
    local.eq_ignore_ascii_case(LOCAL)
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To be told of every change.
    Subscribe(Mailbox),
    /// To be told once.
    Status(Mailbox),
    /// That it was oneself who asked, with the token.
    Confirm(Mailbox, String),
    /// To be told no more: of one, or of all, where one has a token with it.
    Unsubscribe(Option<Mailbox>, Option<String>),
}

impl Command {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Command::Subscribe(_) => "subscribe",
            Command::Status(_) => "status",
            Command::Confirm(..) => "confirm",
            Command::Unsubscribe(..) => "unsubscribe",
        }
    }
}

/// How it is asked.
pub const USAGE: &str = "write in the subject: subscribe NAME@DOMAIN, status NAME@DOMAIN, unsubscribe NAME@DOMAIN, or \
                         unsubscribe all";

impl Command {
    /// That of a mail: its subject, else the first line of its text.
    pub fn of(mail: &[u8]) -> Option<Command> {
        let message = MessageParser::new().parse(mail)?;
        let subject = message.subject().and_then(Command::read);
        let text =
            || message.body_text(0).and_then(|text| Command::read(text.lines().find(|line| !line.trim().is_empty())?));
        subject.or_else(text)
    }

    /// Reads one line, with whatever mail programs put before it when they answer.
    fn read(line: &str) -> Option<Command> {
        let line = line.get(..line.floor_char_boundary(LINE_OCTETS))?;
        let mut words = line.split_whitespace().skip_while(|word| word.ends_with([':', '\u{ff1a}']));
        let (word, named, token) = (words.next()?.to_ascii_lowercase(), words.next(), words.next().map(str::to_owned));
        if words.next().is_some() {
            return None;
        }
        let mailbox = named
            .map(|text| text.trim_matches(['<', '>']))
            .and_then(|text| uri::read(text, &["pres", "im", "mailto"]).or_else(|| Mailbox::parse(text).ok()));
        match (word.as_str(), mailbox, token) {
            ("subscribe", Some(mailbox), None) => Some(Command::Subscribe(mailbox)),
            ("status", Some(mailbox), None) => Some(Command::Status(mailbox)),
            ("confirm", Some(mailbox), Some(token)) => Some(Command::Confirm(mailbox, token)),
            ("unsubscribe", Some(mailbox), token) => Some(Command::Unsubscribe(Some(mailbox), token)),
            ("unsubscribe", None, token) if named.is_some_and(|word| word.eq_ignore_ascii_case("all")) => {
                Some(Command::Unsubscribe(None, token))
            }
            _ => None,
        }
    }
}

/// Who is asked: the daemon's secret, a watcher, and a domain here.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// What they are made of.
    pub secret: &'a [u8; 32],
    /// Whose they are.
    pub watcher: &'a Mailbox,
    /// Of which domain's presentities.
    pub domain: &'a Domain,
}

impl Tokens<'_> {
    fn tag(&self, what: &str) -> String {
        let text = format!("presence\0{}\0{}\0{what}", self.watcher.key(), self.domain);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.secret), text.as_bytes());
        tag.as_ref()[..TOKEN_OCTETS].iter().map(|octet| format!("{octet:02x}")).collect()
    }

    fn is(&self, what: &str, token: &str) -> bool {
        verify_slices_are_equal(self.tag(what).as_bytes(), token.to_ascii_lowercase().as_bytes()).is_ok()
    }

    /// That the watcher has asked to watch.
    pub fn confirm(&self, presentity: &Mailbox, now: Timestamp) -> String {
        let until = now.after(CONFIRMED_WITHIN).secs();
        format!("{until:x}-{}", self.tag(&format!("confirm\0{}\0{until}", presentity.key())))
    }

    /// Whether that is so.
    pub fn confirms(&self, presentity: &Mailbox, token: &str, now: Timestamp) -> bool {
        let Some((until, tag)) = token.split_once('-') else { return false };
        let Ok(until) = i64::from_str_radix(until, 16) else { return false };
        now.secs() <= until && self.is(&format!("confirm\0{}\0{until}", presentity.key()), tag)
    }

    /// That the watcher wants no more, of one or of all.
    pub fn end(&self, presentity: Option<&Mailbox>) -> String {
        self.tag(&format!("end\0{}", presentity.map(Mailbox::key).unwrap_or_default()))
    }

    /// Whether that is so.
    pub fn ends(&self, presentity: Option<&Mailbox>, token: &str) -> bool {
        self.is(&format!("end\0{}", presentity.map(Mailbox::key).unwrap_or_default()), token)
    }
}

/// What a URL of the field List-Unsubscribe ends (RFC 8058).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What whom is told.
    pub watcher: Mailbox,
    /// Of which domain's presentities.
    pub domain: Domain,
    /// Of this one; `None`: of all.
    pub presentity: Option<Mailbox>,
    /// The token of it.
    pub token: String,
}

impl Ending {
    /// The URL: this one with a query.
    pub fn url(&self, url: &str) -> String {
        let presentity = self.presentity.as_ref().map(Mailbox::to_string).unwrap_or_default();
        let values = [("w", self.watcher.to_string()), ("d", self.domain.to_string()), ("p", presentity)];
        let values: String = values.iter().map(|(name, value)| format!("{name}={}&", encoded(value, false))).collect();
        format!("{url}?{values}t={}", self.token)
    }

    /// Reads a target of that form.
    pub fn of(target: &str) -> Option<Ending> {
        let (_, query) = target.split_once('?')?;
        let value = |wanted: &str| {
            let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == wanted)?;
            uri::percent_decoded(pair.1)
        };
        let mailbox = |text: String| Mailbox::parse(&text).ok();
        Some(Ending {
            watcher: value("w").and_then(mailbox)?,
            domain: Domain::parse(&value("d")?).ok()?,
            presentity: match value("p")? {
                text if text.is_empty() => None,
                text => Some(mailbox(text)?),
            },
            token: value("t")?,
        })
    }
}

#[cfg(test)]
mod tests;
