//! What people's clients may do: in whose name they send, and for which inboxes they attach.
//!
//! In: who has authenticated, what it asks for, who lives here. Out: `Ok`, or the reply that refuses. A refusal names no
//! address but those that the asker gave or that are its own. RFC 6409 §6.1, RFC 2645 §5.2.1.

use std::collections::HashSet;

use super::refuse;
use crate::accounts::{Accounts, Found, Principal, Reads};
use crate::address::{Domain, Mailbox, ReversePath};
use crate::envelope::Class;
use crate::mime::{Fields, Sender, signed, unfold};
use crate::reply::Reply;
use crate::smtp::command::{Atrn, Mail};
use crate::timestamp::Timestamp;

/// Addresses that a refusal names at most.
const NAMED: usize = 10;

/// MAIL FROM of an account: one of its addresses, or null for a report.
pub fn mail(mail: &Mail, principal: &Principal, accounts: &Accounts) -> Result<(), Reply> {
    if accounts.is_cut_off(principal) {
        return Err(refuse(535, (5, 7, 8), "this account may not log in any more; ask the administrator"));
    }
    match &mail.sender {
        ReversePath::Null if mail.class == Some(Class::Pres) => {
            Err(refuse(501, (5, 5, 4), "a presence entity has a sender; write MAIL FROM:<user@domain>"))
        }
        ReversePath::Mailbox(sender) if !accounts.sends_as(principal, sender) => {
            let own = own_addresses(principal, accounts).join(", ");
            Err(refuse(550, (5, 7, 1), format!("{sender} is not an address of yours; send as {own}")))
        }
        _ => Ok(()),
    }
}

/// The field Sender of a submission: where it stands, it names the one who submits (RFC 6409 §8.1). It is not replaced: it may
/// be signed, and whoever wrote it meant to say something.
pub fn sender(sender: &Sender, principal: &Principal, accounts: &Accounts) -> Result<(), Reply> {
    let named = match sender {
        Sender::Absent => return Ok(()),
        Sender::Named(named) if accounts.sends_as(principal, named) => return Ok(()),
        Sender::Named(named) => format!("Sender names {named}, which is not an address of yours"),
        Sender::Unclear => "Sender does not name one address".to_owned(),
    };
    let own = own_addresses(principal, accounts).join(", ");
    Err(refuse(550, (5, 7, 1), format!("{named}; leave the field out, or write {own}")))
}

fn own_addresses(principal: &Principal, accounts: &Accounts) -> Vec<String> {
    let entry = accounts.entries().get(&principal.account.key());
    let further = entry.iter().flat_map(|account| &account.addresses);
    std::iter::once(&principal.account).chain(further).take(NAMED).map(Mailbox::to_string).collect()
}

/// Whether an entity is a report (RFC 6522 §3): a notification of delivery or of reading, perhaps signed.
pub fn is_report(entity: &[u8]) -> bool {
    const REPORT: &str = "multipart/report";
    let mut types = Fields::new(signed::content(entity)).flatten().filter(|field| field.is("Content-Type"));
    types.next().is_some_and(|field| {
        let value = unfold(field.value);
        let value = value.trim_start();
        let named = value.get(..REPORT.len()).is_some_and(|start| start.eq_ignore_ascii_case(REPORT));
        named && value[REPORT.len()..].trim_start().starts_with([';', '('])
    })
}

/// The inboxes of ATRN on the port for clients: those named, if the principal may read each; all its own where none is.
/// An alias names the inbox that it stands for.
pub fn attach(
    atrn: &Atrn,
    principal: &Principal,
    accounts: &Accounts,
    now: Timestamp,
) -> Result<Vec<(Mailbox, Reads)>, Reply> {
    let named = if atrn.inboxes.is_empty() { accounts.inboxes_of(principal) } else { atrn.inboxes.clone() };
    // Who has a presentity and no inbox attaches for presence alone.
    let presentity = matches!(accounts.find(&principal.account, Class::Pres), Found::Inbox | Found::Elsewhere);
    if named.is_empty() && !(presentity && !accounts.is_cut_off(principal)) {
        return Err(refuse(550, (5, 7, 1), "this account has no inbox; name one with INBOX="));
    }
    let (mut inboxes, mut seen) = (Vec::with_capacity(named.len()), HashSet::new());
    for name in named {
        let inbox = match accounts.members(&name) {
            Some([inbox]) => inbox.clone(),
            _ => name.clone(),
        };
        match accounts.reads(principal, &inbox, now) {
            Reads::No => {
                let text = format!("{name} is not an inbox that you may read; its owner can allow it");
                return Err(refuse(550, (5, 7, 1), text));
            }
            reads if seen.insert(inbox.key()) => inboxes.push((inbox, reads)),
            _ => {}
        }
    }
    Ok(inboxes)
}

/// The inboxes of ATRN on the port for relay on demand: the principal's own in the domains named, in all where none is.
/// `waiting` tells how many messages wait in them.
pub fn on_demand(
    atrn: &Atrn,
    principal: &Principal,
    accounts: &Accounts,
    waiting: impl FnOnce(&[Mailbox]) -> usize,
) -> Result<Vec<(Mailbox, Reads)>, Reply> {
    let mut inboxes = accounts.inboxes_of(principal);
    let owned = |domain: &&Domain| inboxes.iter().any(|inbox| inbox.domain() == *domain);
    if let Some(foreign) = atrn.domains.iter().find(|domain| !owned(domain)) {
        let text = format!("you have no inbox in {foreign}; ask for domains of yours, or for none to get all");
        return Err(refuse(450, (4, 7, 1), text));
    }
    inboxes.retain(|inbox| atrn.domains.is_empty() || atrn.domains.contains(inbox.domain()));
    if inboxes.is_empty() {
        return Err(refuse(450, (4, 7, 1), "this account has no inbox"));
    }
    if waiting(&inboxes) == 0 {
        return Err(refuse(453, (4, 2, 0), "you have no mail"));
    }
    Ok(inboxes.into_iter().map(|inbox| (inbox, Reads::Own)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::accounts::LocalDomain;
    use crate::address::Device;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn accounts() -> Accounts {
        let inboxes = ["alice@a.example", "bob@a.example"].map(str::to_owned).into();
        let domain = (Domain::parse("a.example").unwrap(), LocalDomain { im: true, inboxes, ..LocalDomain::default() });
        let aliases = [
            ("al@a.example".to_owned(), vec![mailbox("alice@a.example")]),
            ("all@a.example".to_owned(), vec![mailbox("alice@a.example"), mailbox("bob@a.example")]),
        ];
        Accounts::new(HashMap::from([domain])).with_aliases(aliases.into())
    }

    fn alice() -> Principal {
        Principal::vouched(mailbox("alice@a.example"))
    }

    fn code<T>(result: Result<T, Reply>) -> String {
        result.map_or_else(|reply| format!("{} {} {}", reply.code(), reply.status(), reply.text()), |_| "ok".to_owned())
    }

    #[test]
    fn senders() {
        let check = |sender: ReversePath, expected: &str| {
            assert_eq!(code(mail(&Mail::from(sender), &alice(), &accounts())), expected);
        };
        let from = |text: &str| ReversePath::Mailbox(mailbox(text));
        check(from("ALICE@a.example"), "ok");
        check(from("al@a.example"), "ok");
        check(ReversePath::Null, "ok");
        for other in ["bob@a.example", "all@a.example", "alice@b.example"] {
            let refusal = format!("550 5.7.1 {other} is not an address of yours; send as alice@a.example");
            check(from(other), &refusal);
        }
        let pres = Mail { class: Some(Class::Pres), ..Mail::from(ReversePath::Null) };
        assert!(code(mail(&pres, &alice(), &accounts())).starts_with("501"));
    }

    #[test]
    fn the_field_sender() {
        let check = |named: Sender, expected: &str| {
            assert_eq!(code(sender(&named, &alice(), &accounts())), expected);
        };
        let named = |text: &str| Sender::Named(mailbox(text));
        check(Sender::Absent, "ok");
        check(named("Alice@a.example"), "ok");
        check(named("al@a.example"), "ok");
        for other in ["bob@a.example", "all@a.example", "alice@b.example"] {
            let text = format!("Sender names {other}, which is not an address of yours");
            check(named(other), &format!("550 5.7.1 {text}; leave the field out, or write alice@a.example"));
        }
        let text = "Sender does not name one address; leave the field out, or write alice@a.example";
        check(Sender::Unclear, &format!("550 5.7.1 {text}"));
    }

    #[test]
    fn accounts_that_were_disabled_or_removed() {
        let entries = crate::accounts::Entries::parse("[account.\"alice@a.example\"]\ndisabled = true\n").unwrap();
        let disabled = accounts().with_entries(entries);
        for sender in [ReversePath::Null, ReversePath::Mailbox(mailbox("alice@a.example"))] {
            assert!(code(mail(&Mail::from(sender.clone()), &alice(), &disabled)).starts_with("535 5.7.8"));
            let removed = Principal::vouched(mailbox("carol@a.example"));
            assert!(code(mail(&Mail::from(sender), &removed, &accounts())).starts_with("535 5.7.8"));
        }
        assert!(code(attach(&Atrn::default(), &alice(), &disabled, Timestamp::default())).starts_with("550 5.7.1"));
    }

    #[test]
    fn reports() {
        let check = |header: &str, expected| assert_eq!(is_report(header.as_bytes()), expected, "{header}");
        check("From: a@b\r\nContent-Type: Multipart/Report; report-type=x\r\n\r\n", true);
        check("Content-Type:\r\n multipart/report ;report-type=x\r\n\r\n", true);
        check("Content-Type: multipart/reports; x=y\r\n\r\n", false);
        check("Content-Type: text/plain; x=\"multipart/report;\"\r\n\r\n", false);
        check("\r\nContent-Type: multipart/report; x=y\r\n", false);
    }

    #[test]
    fn inboxes_of_clients() {
        let check = |names: &[&str], expected: &str| {
            let inboxes = names.iter().map(|name| mailbox(name)).collect();
            let atrn = Atrn { inboxes, device: Device::parse("phone").ok(), ..Atrn::default() };
            let got = attach(&atrn, &alice(), &accounts(), Timestamp::default());
            let shown =
                got.map(|all| all.iter().map(|(inbox, reads)| format!("{inbox} {reads:?}")).collect::<Vec<_>>());
            assert_eq!(shown.map_or_else(|reply| reply.text().to_owned(), |all| all.join(", ")), expected);
        };
        check(&[], "alice@a.example Own");
        check(&["alice@a.example", "Alice@a.example"], "alice@a.example Own");
        check(&["al@a.example", "alice@a.example"], "alice@a.example Own");
        check(&["all@a.example"], "all@a.example is not an inbox that you may read; its owner can allow it");
        check(&["bob@a.example"], "bob@a.example is not an inbox that you may read; its owner can allow it");
        check(&["who@a.example"], "who@a.example is not an inbox that you may read; its owner can allow it");
    }

    #[test]
    fn domains_of_relay_on_demand() {
        let check = |names: &[&str], waiting: usize, expected: &str| {
            let domains = names.iter().map(|name| Domain::parse(name).unwrap()).collect();
            let atrn = Atrn { domains, ..Atrn::default() };
            let got = code(on_demand(&atrn, &alice(), &accounts(), |_| waiting));
            assert!(got.starts_with(expected), "{got}");
        };
        check(&[], 1, "ok");
        check(&["a.example"], 1, "ok");
        check(&["a.example"], 0, "453 4.2.0 you have no mail");
        check(&["a.example", "b.example"], 1, "450 4.7.1 you have no inbox in b.example");
    }
}
