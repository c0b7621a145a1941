//! Whether a mail becomes a message: a pure decision.
//!
//! In: a mail, its envelope sender, what the administrator says of spam. Out: what it is, or why it is refused, with the reply
//! that leaves it to the mail system. Invariant: what a program sent, what was sent to many, and what has been here before
//! never becomes a message. RFC 3834 §5, RFC 2919 §3, RFC 2369 §3, RFC 5321 §6.3, RFC 3463.

use super::outward;
use crate::address::{Domain, ReversePath};
use crate::limits;
use crate::mime::{self, Field, Fields, report, unfold};
use crate::reply::{EnhancedCode, Reply};

/// Crossings, of any bridges, after which a mail is in a loop.
const CROSSINGS: usize = 5;
/// Octets of a value that are looked at.
const VALUE: usize = 1000;

/// A field by which the mail system says that a mail is spam: its name, and how its value begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpamField {
    /// The name.
    pub name: String,
    /// The beginning of the value, in any letter case.
    pub value: String,
}

impl SpamField {
    /// Reads `X-Spam-Flag: YES`.
    pub fn parse(text: &str) -> Option<SpamField> {
        let (name, value) = text.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let proper = !name.is_empty() && name.bytes().all(|b| (b'!'..=b'~').contains(&b)) && !value.is_empty();
        proper.then(|| SpamField { name: name.to_owned(), value: value.to_lowercase() })
    }

    fn says(&self, field: &Field<'_>) -> bool {
        field.is(&self.name) && value(field).starts_with(&self.value)
    }
}

/// What a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody wrote it.
    Message,
    /// It tells what became of a message on its way (RFC 3464).
    Status,
    /// It tells what became of a message at its reader (RFC 8098).
    Notice,
}

/// Why a mail does not become a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By this field.
    #[error("a program sent this ({0}); such mail is for the mailbox and does not become an instant message")]
    Automatic(String),
    /// By this field.
    #[error("this was sent to many ({0}); such mail is for the mailbox and does not become an instant message")]
    Bulk(String),
    /// By this field.
    #[error("the mail system takes this for spam ({0}); it does not become an instant message")]
    Spam(String),
    /// It has crossed this bridge before.
    #[error("the mail came from here as a message; mail and instant messages are in a loop")]
    Loop,
    /// It has passed [`limits::HOPS`] servers.
    #[error("the mail has passed too many servers; it is in a loop")]
    Hops,
    /// A message has one author.
    #[error("the mail has several authors; write the address of one in From")]
    Authors,
}

impl Refusal {
    /// The reply to the transaction.
    pub fn reply(&self) -> Reply {
        let (code, status) = match self {
            Refusal::Automatic(_) | Refusal::Bulk(_) | Refusal::Spam(_) => (550, EnhancedCode::new(5, 7, 1)),
            Refusal::Loop | Refusal::Hops => (554, EnhancedCode::new(5, 4, 6)),
            Refusal::Authors => (554, EnhancedCode::new(5, 6, 0)),
        };
        Reply::new(code, status, self.to_string())
    }
}

/// Judges a mail that has passed inspection. `ours` tells the domains of this bridge.
pub fn judge(
    mail: &[u8],
    facts: &mime::Facts,
    sender: &ReversePath,
    spam: &[SpamField],
    ours: impl Fn(&Domain) -> bool,
) -> Result<Kind, Refusal> {
    if facts.hops >= limits::HOPS {
        return Err(Refusal::Hops);
    }
    if is_loop(mail, ours) {
        return Err(Refusal::Loop);
    }
    if report::parse(mail).is_ok() {
        return Ok(Kind::Status);
    }
    if report::is_notice(mail) {
        return Ok(Kind::Notice);
    }
    let mut automatic = None;
    for field in Fields::new(mail).flatten() {
        if spam.iter().any(|known| known.says(&field)) {
            return Err(Refusal::Spam(field.name.to_owned()));
        }
        if is_bulk(&field) {
            return Err(Refusal::Bulk(field.name.to_owned()));
        }
        if automatic.is_none() && is_automatic(&field) {
            automatic = Some(field.name.to_owned());
        }
    }
    let robot = || facts.from.iter().chain(sender.mailbox()).any(|author| is_robot(author.local()));
    let unnamed = || (*sender == ReversePath::Null).then(|| "its sender is empty".to_owned());
    let automatic = automatic.or_else(unnamed).or_else(|| robot().then(|| "its sender takes no answers".to_owned()));
    match automatic {
        Some(why) => Err(Refusal::Automatic(why)),
        None if facts.from.len() > 1 => Err(Refusal::Authors),
        None => Ok(Kind::Message),
    }
}

fn is_loop(mail: &[u8], ours: impl Fn(&Domain) -> bool) -> bool {
    let mut crossings = 0;
    let here = Fields::new(mail).flatten().filter(|field| field.is(outward::TRACE)).any(|field| {
        crossings += 1;
        let value = value(&field);
        let domain = value.split(';').next().unwrap_or_default().trim().trim_end_matches('.');
        Domain::parse(domain).is_ok_and(|domain| ours(&domain))
    });
    here || crossings > CROSSINGS
}

/// A field's value in lower case, its beginning.
fn value(field: &Field<'_>) -> String {
    unfold(&field.value[..field.value.len().min(VALUE)]).trim().to_lowercase()
}

/// Sent to many.
fn is_bulk(field: &Field<'_>) -> bool {
    let lists =
        ["List-Id", "List-Post", "List-Unsubscribe", "List-Subscribe", "List-Help", "List-Owner", "List-Archive"];
    let marks = ["Feedback-ID", "X-CSA-Complaints", "X-Campaign", "X-CampaignID", "X-Mailing-List", "X-BeenThere"];
    lists.iter().chain(&marks).any(|name| field.is(name))
        || (field.is("Precedence") && matches!(value(field).as_str(), "bulk" | "junk" | "list"))
}

/// Sent by a program.
fn is_automatic(field: &Field<'_>) -> bool {
    let marks = ["X-Auto-Response-Suppress", "X-Autoreply", "X-Autorespond", "X-Auto-Reply-From", "X-Autogenerated"];
    if marks.iter().any(|name| field.is(name)) {
        return !matches!(value(field).as_str(), "none" | "no");
    }
    let word = |value: &str| value.split([' ', '\t', ';', '(']).next().unwrap_or_default().to_owned();
    (field.is("Auto-Submitted") && word(&value(field)) != "no")
        || (field.is("Precedence") && matches!(value(field).as_str(), "auto_reply" | "auto-reply"))
        || (field.is("Content-Type") && value(field).starts_with("multipart/report"))
}

/// Whether the mailbox is one of a program.
fn is_robot(local: &str) -> bool {
    let bare: String = local.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    matches!(bare.as_str(), "mailerdaemon" | "noreply" | "donotreply" | "bounces" | "bounce" | "autoreply")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Body;
    use crate::mime::{Rules, inspect};

    fn judged(fields: &str, sender: &str) -> String {
        let mail = format!("{fields}\r\ntext\r\n");
        let facts = inspect(mail.as_bytes(), Rules { body: Body::EightBitMime, utf8: true }).unwrap();
        let sender = match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(sender.parse().unwrap()),
        };
        let fields = ["X-Spam-Flag: YES", "X-Rspamd-Action: add header"];
        let spam: Vec<SpamField> = fields.iter().filter_map(|text| SpamField::parse(text)).collect();
        match judge(mail.as_bytes(), &facts, &sender, &spam, |domain| domain.as_str() == "im.a.example") {
            Ok(kind) => format!("{kind:?}"),
            Err(refusal) => {
                let reply = refusal.reply();
                let name = format!("{refusal:?}");
                format!("{} {}", reply.code(), name.split('(').next().unwrap_or_default())
            }
        }
    }

    #[test]
    fn what_becomes_a_message() {
        let check = |fields: &str, expected: &str| {
            let fields = format!("From: Bob <bob@b.example>\r\n{fields}");
            assert_eq!(judged(&fields, "bob@b.example"), expected, "{fields}");
        };
        check("Subject: hi\r\n", "Message");
        check("Auto-Submitted: no\r\nPrecedence: first-class\r\n", "Message");
        check("Auto-Submitted: auto-replied (vacation)\r\n", "550 Automatic");
        check("auto-submitted: Auto-Generated; owner-email=\"x@b.example\"\r\n", "550 Automatic");
        check("Precedence: bulk\r\n", "550 Bulk");
        check("Precedence: auto_reply\r\n", "550 Automatic");
        check("List-Id: <talk.b.example>\r\n", "550 Bulk");
        check("List-Unsubscribe: <mailto:x@b.example>\r\n", "550 Bulk");
        check("Feedback-ID: 1:2:3\r\n", "550 Bulk");
        check("X-Auto-Response-Suppress: All\r\n", "550 Automatic");
        check("X-Auto-Response-Suppress: None\r\n", "Message");
        check("X-Spam-Flag: yes\r\n", "550 Spam");
        check("X-Spam-Flag: NO\r\n", "Message");
        check("X-Rspamd-Action: add header (7.2)\r\n", "550 Spam");
        check("Impart-Bridge: im.a.example; out; id=1\r\n", "554 Loop");
        check("Impart-Bridge: IM.A.example.\r\n", "554 Loop");
        check("Impart-Bridge: im.b.example; out\r\n", "Message");
        check(&"Impart-Bridge: im.b.example; out\r\n".repeat(6), "554 Loop");
        check(&"Received: by b.example; now\r\n".repeat(100), "554 Hops");
    }

    #[test]
    fn whose_it_is() {
        let check = |from: &str, sender: &str, expected: &str| {
            assert_eq!(judged(&format!("From: {from}\r\n"), sender), expected, "{from} {sender}");
        };
        check("bob@b.example", "", "550 Automatic");
        check("bob@b.example", "bounces@b.example", "550 Automatic");
        check("No-Reply <no-reply@b.example>", "x@b.example", "550 Automatic");
        check("bob@b.example, carol@b.example", "bob@b.example", "554 Authors");
        check("\"alice@a.example\" <mallory@c.example>", "mallory@c.example", "Message");
    }

    #[test]
    fn reports() {
        let report = "From: MAILER-DAEMON@b.example\r\nAuto-Submitted: auto-replied\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nno\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; b.example\r\n\r\n\
             Final-Recipient: rfc822; bob@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n";
        assert_eq!(judged(report, ""), "Status");
        let feedback =
            "From: x@b.example\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n";
        assert_eq!(judged(feedback, "x@b.example"), "550 Automatic");
    }
}
