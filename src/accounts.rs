//! The domains that live here and their inboxes.
//!
//! In: the configuration. Out: answers to "is this address ours, and does it exist". A value: a reload makes a new one.
//! Invariant: `postmaster` exists in every domain (RFC 5321 §4.5.1).

use std::collections::{HashMap, HashSet};

use crate::address::{Domain, Mailbox};
use crate::envelope::Class;

/// One domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalDomain {
    /// Whether instant messages are offered.
    pub im: bool,
    /// Keys of the mailboxes ([`Mailbox::key`]) that have an inbox.
    pub inboxes: HashSet<String>,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An inbox here.
    Inbox,
    /// The domain is ours and has no such inbox.
    NoInbox,
    /// The domain is ours and does not offer this service.
    NotOffered,
    /// The domain is not ours.
    Foreign,
}

/// All domains that live here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    domains: HashMap<Domain, LocalDomain>,
}

impl Accounts {
    /// From the domains.
    pub fn new(domains: HashMap<Domain, LocalDomain>) -> Self {
        Accounts { domains }
    }

    /// Whether the domain lives here.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.domains.contains_key(domain)
    }

    /// The domains, in no particular order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.keys()
    }

    /// Whether any domain offers instant messages.
    pub fn offers_im(&self) -> bool {
        self.domains.values().any(|domain| domain.im)
    }

    /// What is known of an address for a service.
    pub fn find(&self, mailbox: &Mailbox, class: Class) -> Found {
        let Some(domain) = self.domains.get(mailbox.domain()) else { return Found::Foreign };
        if class == Class::Pres || !domain.im {
            return Found::NotOffered;
        }
        let known = mailbox.local().eq_ignore_ascii_case("postmaster") || domain.inboxes.contains(&mailbox.key());
        if known { Found::Inbox } else { Found::NoInbox }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, class: Class, expected: Found) {
        let domain = |name: &str| Domain::parse(name).unwrap();
        let inboxes = HashSet::from(["alice@a.example".to_owned()]);
        let accounts = Accounts::new(HashMap::from([
            (domain("a.example"), LocalDomain { im: true, inboxes }),
            (domain("quiet.example"), LocalDomain::default()),
        ]));
        assert_eq!(accounts.find(&Mailbox::parse(address).unwrap(), class), expected, "{address}");
    }

    #[test]
    fn addresses() {
        check("alice@a.example", Class::Im, Found::Inbox);
        check("ALICE@A.example", Class::Im, Found::Inbox);
        check("PostMaster@a.example", Class::Im, Found::Inbox);
        check("bob@a.example", Class::Im, Found::NoInbox);
        check("alice@a.example", Class::Pres, Found::NotOffered);
        check("alice@quiet.example", Class::Im, Found::NotOffered);
        check("alice@b.example", Class::Im, Found::Foreign);
    }
}
