//! What is accepted and what is refused: pure decisions, facts in, a refusal or nothing out.
//!
//! In: a command or an entity's facts, who the peer is, who lives here. Out: `Ok`, or the reply that refuses. Nothing here
//! asks the disk, DNS or the clock. RFC 5321 §7.8, RFC 6409 §6, RFC 2852 §4, RFC 8689 §4.

pub mod expand;
pub mod identity;
pub mod inbox;
pub mod refused;
pub mod submission;

use crate::accounts::{Accounts, Found, Principal};
use crate::address::{Domain, ForwardPath, Mailbox, ReversePath};
use crate::envelope::{ByMode, Class, DeliverBy, Envelope, Notify, Recipient};
use crate::limits;
use crate::mime;
use crate::policy::identity::Finding;
use crate::reply::{EnhancedCode, Reply};
use crate::smtp::command::{By, Mail, Rcpt};
pub use crate::smtp::server::Service;
use crate::timestamp::Timestamp;

fn refuse(code: u16, enhanced: (u8, u16, u16), text: impl Into<String>) -> Reply {
    Reply::new(code, EnhancedCode::new(enhanced.0, enhanced.1, enhanced.2), text.into())
}

/// Whose messages a mail listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Senders of the domains served here, and the null sender.
    Own,
    /// All: the mail system passes on what it has itself examined.
    Any,
    /// Mail of anybody for people here: it becomes messages.
    World,
}

/// MAIL FROM, before the peer's identity is asked for.
pub fn mail(service: Service, mail: &Mail, senders: Senders, accounts: &Accounts) -> Result<(), Reply> {
    let class = mail.class.unwrap_or(Class::Im);
    if class == Class::Pres && mail.sender == ReversePath::Null {
        return Err(refuse(501, (5, 5, 4), "a presence entity has a sender; write MAIL FROM:<user@domain>"));
    }
    let local = mail.sender.mailbox().is_some_and(|sender| accounts.is_local(sender.domain()));
    match service {
        Service::Mail if class == Class::Pres => {
            Err(refuse(550, (5, 3, 3), "presence is not taken from the mail system"))
        }
        Service::Mail if !local && senders == Senders::Own && mail.sender != ReversePath::Null => Err(refuse(
            550,
            (5, 7, 1),
            "the sender must be an address of a domain of this host; the mail system's own mail is not taken here",
        )),
        // A report is sent by the domain that made it, and nobody but we make ours.
        Service::Relay if local => Err(refuse(
            550,
            (5, 7, 1),
            "the sender's domain lives here and does not send from outside; use your own server to submit",
        )),
        _ => Ok(()),
    }
}

/// MAIL FROM on the relay port, when it is known who the peer is.
pub fn sender(finding: &Finding, class: Class) -> Result<(), Reply> {
    match (finding, class) {
        (Finding::Proven { .. }, _) | (Finding::Unproven { .. }, Class::Pres) => Ok(()),
        (Finding::Unproven { reason }, Class::Im) => {
            Err(refuse(550, (5, 7, 1), format!("this host is not known to send for that domain: {reason}")))
        }
        (Finding::Unknown { reason }, _) => {
            Err(refuse(451, (4, 7, 24), format!("the sender's domain cannot be verified now: {reason}")))
        }
    }
}

/// RCPT TO. `relayed` tells whether a route names a foreign domain as one that we relay for.
pub fn recipient(
    service: Service,
    mail: &Mail,
    rcpt: &Rcpt,
    accounts: &Accounts,
    relayed: impl Fn(&Domain) -> bool,
) -> Result<(), Reply> {
    let class = mail.class.unwrap_or(Class::Im);
    if class == Class::Pres && rcpt.notify != Some(Notify::NEVER) {
        return Err(refuse(501, (5, 5, 4), "a presence entity has no receipts; write NOTIFY=NEVER"));
    }
    // The session has put the postmaster's mailbox in place of the bare word where there is one.
    let ForwardPath::Mailbox(mailbox) = &rcpt.path else {
        return Err(refuse(550, (5, 1, 1), "there is no inbox here, not even the postmaster's"));
    };
    match accounts.find(mailbox, class) {
        // Whether it exists is asked of the mail system where it must be: [`Accounts::exists`].
        Found::Inbox | Found::Elsewhere => Ok(()),
        Found::NoInbox => Err(refuse(550, (5, 1, 1), "there is no such inbox here")),
        Found::NotOffered => Err(refuse(550, (5, 3, 3), format!("{} does not offer this service", mailbox.domain()))),
        Found::Foreign if service.submits() || relayed(mailbox.domain()) => Ok(()),
        Found::Foreign => Err(refuse(550, (5, 7, 1), format!("we do not relay for {}", mailbox.domain()))),
    }
}

/// In whose name a null sender may report.
#[derive(Clone, Copy, Debug)]
pub enum Reporter<'a> {
    /// That of the domain that the peer proved to be.
    Domain(&'a Domain),
    /// Those of the domains that live here.
    Local(&'a Accounts),
    /// Whoever the mail system has examined.
    Anybody,
    /// One who has authenticated, in a report.
    Account(&'a Principal, &'a Accounts),
}

/// The entity against its envelope.
pub fn entity(mail: &Mail, facts: &mime::Facts, reporter: Reporter<'_>) -> Result<(), Reply> {
    let class = mail.class.unwrap_or(Class::Im);
    if facts.presence != (class == Class::Pres) {
        let text = "the field Presence and the class of the transaction contradict each other; \
                    presence travels with IMPP=PRES, messages without";
        return Err(refuse(554, (5, 6, 0), text));
    }
    if facts.hops >= limits::HOPS {
        return Err(refuse(554, (5, 4, 6), "the message has passed too many servers; it is in a loop"));
    }
    let author = |wanted: &dyn Fn(&Mailbox) -> bool| facts.from.len() == 1 && facts.from.iter().all(wanted);
    let agrees = match (&mail.sender, reporter) {
        (ReversePath::Mailbox(sender), _) => author(&|from: &Mailbox| from.key() == sender.key()),
        (ReversePath::Null, Reporter::Domain(proven)) => author(&|from: &Mailbox| from.domain() == proven),
        (ReversePath::Null, Reporter::Local(accounts)) => author(&|from: &Mailbox| accounts.is_local(from.domain())),
        (ReversePath::Null, Reporter::Account(principal, accounts)) => {
            author(&|from: &Mailbox| accounts.sends_as(principal, from))
        }
        (ReversePath::Null, Reporter::Anybody) => true,
    };
    if !agrees {
        return Err(refuse(
            550,
            (5, 7, 1),
            "the author in From is not the sender of the transaction; send in your own name",
        ));
    }
    Ok(())
}

/// What of a transaction depends on where it came in.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Now.
    pub now: Timestamp,
    /// How long a message without DELIVERBY is kept.
    pub retention: std::time::Duration,
    /// An ENVID for a submission that has none (RFC 3461 §4.4); `None` on the relay port.
    pub envid: Option<String>,
}

/// The envelope of an accepted transaction, and when it expires.
pub fn envelope(mail: Mail, rcpts: Vec<Rcpt>, terms: Terms) -> (Envelope, Timestamp) {
    let submitted = terms.envid.is_some();
    let recipient = |rcpt: Rcpt| {
        let ForwardPath::Mailbox(address) = rcpt.path else { return None };
        let mut notify = rcpt.notify;
        if submitted {
            // Nobody misses a failure who did not ask to.
            notify =
                notify.map(|notify| if notify == Notify::NEVER { notify } else { Notify { failure: true, ..notify } });
        }
        Some(Recipient { address, notify, original: rcpt.original })
    };
    let deliver_by = mail.by.map(|by| absolute(by, terms.now));
    let longest = terms.now.after(limits::LONGEST_STAY);
    let retained = terms.now.after(terms.retention);
    let expires = match deliver_by {
        Some(DeliverBy { at, mode: ByMode::Return, .. }) => at,
        Some(DeliverBy { at, mode: ByMode::Notify, .. }) => at.max(retained),
        None => retained,
    };
    let envelope = Envelope {
        class: mail.class.unwrap_or(Class::Im),
        sender: mail.sender,
        body: mail.body,
        utf8: mail.utf8,
        ret: mail.ret,
        envid: mail.envid.or(terms.envid),
        deliver_by,
        require_tls: mail.require_tls,
        recipients: rcpts.into_iter().filter_map(recipient).collect(),
    };
    (envelope, expires.min(longest))
}

fn absolute(by: By, now: Timestamp) -> DeliverBy {
    let millis = by.seconds.saturating_mul(1000);
    DeliverBy { at: Timestamp::from_millis(now.millis().saturating_add(millis)), mode: by.mode, trace: by.trace }
}

/// What the entity may hold, for [`mime::inspect`].
pub fn rules(mail: &Mail) -> mime::Rules {
    mime::Rules { body: mail.body, utf8: mail.utf8 }
}

#[cfg(test)]
mod tests;
