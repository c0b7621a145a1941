//! Aliases and groups: who gets what is sent to them.
//!
//! In: the envelope as it was accepted, and who the members of an address are. Out: the envelope with the members in the
//! place of the address, none of them twice, and the groups of which the sender is to be told. Pure.
//! RFC 3461 §5.2.7.2 and §5.2.7.3.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::accounts::Accounts;
use crate::address::Mailbox;
use crate::envelope::{Body, Envelope, Notify, OriginalRecipient, Recipient};
use crate::mime::{self, Fields};
use crate::smime::protect::prepare;
use crate::smime::{SignOptions, sign};
use crate::spool::NewMessage;

/// An envelope after its aliases and groups were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// The envelope.
    pub envelope: Envelope,
    /// The envelope before, where it was another.
    pub before: Option<Envelope>,
    /// Groups for which a receipt was asked for.
    pub groups: Vec<Group>,
}

/// A group for which a receipt was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its index in the envelope before.
    pub index: usize,
    /// The index in the envelope after of one who stands in its place.
    pub member: usize,
}

/// Replaces what has members. An alias, which has one, hands on what was asked for; a group's members hear nothing of
/// success, which the receipt for the group tells: RFC 3461 §5.2.7.3 case (c).
pub fn expand<'a>(envelope: Envelope, members: impl Fn(&Mailbox) -> Option<&'a [Mailbox]>) -> Expansion {
    let all: Vec<_> = envelope.recipients.iter().map(|recipient| members(&recipient.address)).collect();
    if all.iter().all(Option::is_none) {
        return Expansion { envelope, before: None, groups: Vec::new() };
    }
    let (mut merged, mut groups) = (Merged::default(), Vec::new());
    for (index, (recipient, members)) in envelope.recipients.iter().zip(all).enumerate() {
        match members {
            None | Some([]) => _ = merged.add(recipient.clone()),
            Some([member]) => _ = merged.add(in_place_of(recipient, member, recipient.notify)),
            Some(members) => {
                let notify = recipient.notify.map(|notify| Notify { success: false, ..notify });
                let places = members.iter().map(|member| merged.add(in_place_of(recipient, member, notify)));
                // To the end, so that all of them are added.
                let place = places.fold(None, |first, place| first.or(Some(place)));
                if let (true, Some(member)) = (recipient.notify().success, place) {
                    groups.push(Group { index, member });
                }
            }
        }
    }
    let after = Envelope { recipients: merged.recipients, ..envelope.clone() };
    Expansion { envelope: after, before: Some(envelope), groups }
}

/// A receipt of ours for the members of its recipient: who sends in the name of an alias reads in its own inbox. It is signed
/// where its domain has something to sign with.
#[must_use]
pub fn receipt(receipt: NewMessage, accounts: &Accounts) -> NewMessage {
    let expansion = expand(Envelope::clone(&receipt.envelope), |address| accounts.members(address));
    let mut envelope = expansion.envelope;
    envelope.utf8 |= envelope.recipients.iter().any(|recipient| !recipient.address.is_ascii());
    signed(NewMessage { envelope: Arc::new(envelope), ..receipt }, accounts)
}

/// A receipt signed by the domain in whose name it is, if that has something to sign with. One that would not pass every
/// hop in a signature stays as it is: it matters more than its signature.
fn signed(receipt: NewMessage, accounts: &Accounts) -> NewMessage {
    let from = Fields::new(&receipt.entity).flatten().find(|field| field.is("from"));
    let from = from.and_then(|from| mime::mailboxes(from.value).ok()?.into_iter().next());
    let Some(identity) = from.and_then(|from| accounts.signer(from.domain())) else { return receipt };
    let Ok(prepared) = prepare(&receipt.entity, false) else { return receipt };
    let Ok(part) = sign(prepared.payload(), identity, &SignOptions::new(receipt.arrived)) else { return receipt };
    let entity = Bytes::from(prepared.message(&part));
    if !entity.is_ascii() {
        return receipt;
    }
    let envelope = Envelope { body: Body::SevenBit, ..Envelope::clone(&receipt.envelope) };
    NewMessage { digest: mime::digest(&entity), entity, envelope: Arc::new(envelope), ..receipt }
}

fn in_place_of(recipient: &Recipient, member: &Mailbox, notify: Option<Notify>) -> Recipient {
    let address = &recipient.address;
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    // The name that the sender knows; the reports say whom it stood for beside it, in Final-Recipient (RFC 3464 §2.3.2).
    let named = || OriginalRecipient { kind: kind.to_owned(), address: address.to_string() };
    let original = Some(recipient.original.clone().unwrap_or_else(named));
    Recipient { address: member.clone(), notify, original }
}

/// Recipients, each once.
#[derive(Default)]
struct Merged {
    recipients: Vec<Recipient>,
    places: HashMap<String, usize>,
}

impl Merged {
    /// The place of the recipient. Of one who is there already, more is asked for.
    fn add(&mut self, recipient: Recipient) -> usize {
        let next = self.recipients.len();
        let place = *self.places.entry(recipient.address.key()).or_insert(next);
        match self.recipients.get_mut(place) {
            Some(known) => known.notify = both(known.notify, recipient.notify),
            None => self.recipients.push(recipient),
        }
        place
    }
}

fn both(one: Option<Notify>, other: Option<Notify>) -> Option<Notify> {
    if one == other {
        return one;
    }
    let (one, other) = (one.unwrap_or(Notify::DEFAULT), other.unwrap_or(Notify::DEFAULT));
    Some(Notify {
        success: one.success || other.success,
        failure: one.failure || other.failure,
        delay: one.delay || other.delay,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ReversePath;
    use crate::envelope::{Body, Class};

    fn mailbox(local: &str) -> Mailbox {
        Mailbox::parse(&format!("{local}@a.example")).unwrap()
    }

    /// `name` or `name=NOTIFY` for each recipient.
    fn envelope(recipients: &[&str]) -> Envelope {
        let recipient = |text: &&str| {
            let (name, notify) = text.split_once('=').map_or((*text, None), |(name, notify)| (name, Some(notify)));
            let flags = |notify: &str| Notify {
                success: notify.contains("SUCCESS"),
                failure: notify.contains("FAILURE"),
                delay: notify.contains("DELAY"),
            };
            Recipient { address: mailbox(name), notify: notify.map(flags), original: None }
        };
        Envelope {
            class: Class::Im,
            sender: ReversePath::Null,
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: recipients.iter().map(recipient).collect(),
        }
    }

    fn check(recipients: &[&str], expected: &[&str], groups: &[(usize, usize)]) {
        let (alias, group) = (vec![mailbox("alice")], vec![mailbox("alice"), mailbox("bob"), mailbox("carol")]);
        let members = |address: &Mailbox| match address.local() {
            "al" => Some(alias.as_slice()),
            "all" => Some(group.as_slice()),
            "none" => Some(&[][..]),
            _ => None,
        };
        let expansion = expand(envelope(recipients), members);
        let shown: Vec<String> = expansion.envelope.recipients.iter().map(show).collect();
        assert_eq!(shown, expected);
        let told: Vec<_> = expansion.groups.iter().map(|group| (group.index, group.member)).collect();
        assert_eq!(told, groups);
    }

    fn show(recipient: &Recipient) -> String {
        let notify = recipient.notify.map_or(String::new(), |notify| format!("={}", notify.keyword()));
        let original =
            recipient.original.as_ref().map_or(String::new(), |original| format!(" for {}", original.address));
        format!("{}{notify}{original}", recipient.address.local())
    }

    #[test]
    fn without_aliases_nothing_changes() {
        check(&["alice", "alice=SUCCESS"], &["alice", "alice=SUCCESS"], &[]);
    }

    #[test]
    fn an_alias_hands_on_what_was_asked_for() {
        check(&["al=SUCCESS,DELAY"], &["alice=SUCCESS,DELAY for al@a.example"], &[]);
        check(&["al"], &["alice for al@a.example"], &[]);
        check(&["none=SUCCESS", "al"], &["none=SUCCESS", "alice for al@a.example"], &[]);
    }

    #[test]
    fn a_group_tells_of_itself() {
        let members = |notify: &str| ["alice", "bob", "carol"].map(|name| format!("{name}{notify} for all@a.example"));
        let check = |asked: &str, notify: &str, groups: &[(usize, usize)]| {
            let expected = members(notify);
            check(&[asked], &expected.each_ref().map(String::as_str), groups);
        };
        check("all", "", &[]);
        check("all=FAILURE", "=FAILURE", &[]);
        check("all=SUCCESS,FAILURE", "=FAILURE", &[(0, 0)]);
        check("all=SUCCESS", "=NEVER", &[(0, 0)]);
    }

    #[test]
    fn nobody_gets_it_twice() {
        check(
            &["bob=NEVER", "dave", "all=SUCCESS,FAILURE", "al"],
            &["bob=FAILURE", "dave", "alice=FAILURE,DELAY for all@a.example", "carol=FAILURE for all@a.example"],
            &[(2, 2)],
        );
    }
}
