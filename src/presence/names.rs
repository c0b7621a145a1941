//! Addresses by number: each once, however many subscriptions name it, and its domain once for all its addresses.
//!
//! Invariant: a number stands for one address as long as somebody holds it; what nobody holds is forgotten.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::index::{Index, Slab};
use crate::address::{Domain, Mailbox};

/// The number of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(pub u32);

/// The number of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DomainId(pub u32);

#[derive(Debug)]
struct Name {
    mailbox: Mailbox,
    domain: DomainId,
    holders: u32,
}

#[derive(Debug)]
struct Place {
    domain: Domain,
    local: bool,
    holders: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Slab<Name>,
    index: Index,
    domains: Slab<Place>,
    numbers: HashMap<Domain, DomainId>,
}

impl Names {
    /// The number of an address that somebody holds.
    pub fn find(&self, mailbox: &Mailbox) -> Option<NameId> {
        let key = mailbox.key();
        let is = |number: u32| self.names.get(number).is_some_and(|name| name.mailbox.key() == key);
        self.index.find(xxh3_64(key.as_bytes()), is).map(NameId)
    }

    /// The number of an address, which the caller holds from now on.
    pub fn hold(&mut self, mailbox: &Mailbox, is_local: impl Fn(&Domain) -> bool) -> NameId {
        if let Some(known) = self.find(mailbox) {
            self.hold_again(known);
            return known;
        }
        let domain = match self.numbers.get(mailbox.domain()) {
            Some(known) => *known,
            None => {
                let (domain, local) = (mailbox.domain().clone(), is_local(mailbox.domain()));
                let number = DomainId(self.domains.insert(Place { domain: domain.clone(), local, holders: 0 }));
                self.numbers.insert(domain, number);
                number
            }
        };
        let mut shared = mailbox.clone();
        if let Some(place) = self.domains.get_mut(domain.0) {
            place.holders += 1;
            // The same octets for all addresses of the domain.
            shared = Mailbox::new(mailbox.local(), place.domain.clone()).unwrap_or(shared);
        }
        let hash = xxh3_64(mailbox.key().as_bytes());
        let number = self.names.insert(Name { mailbox: shared, domain, holders: 1 });
        let names = &self.names;
        let rehash = |number| names.get(number).map_or(0, |name| xxh3_64(name.mailbox.key().as_bytes()));
        self.index.insert(hash, number, rehash);
        NameId(number)
    }

    /// One holder more.
    pub fn hold_again(&mut self, name: NameId) {
        if let Some(name) = self.names.get_mut(name.0) {
            name.holders += 1;
        }
    }

    /// One holder less.
    pub fn release(&mut self, number: NameId) {
        let Some(name) = self.names.get_mut(number.0) else { return };
        name.holders -= 1;
        if name.holders > 0 {
            return;
        }
        let Some(name) = self.names.remove(number.0) else { return };
        self.index.remove(xxh3_64(name.mailbox.key().as_bytes()), number.0);
        let Some(place) = self.domains.get_mut(name.domain.0) else { return };
        place.holders -= 1;
        if place.holders == 0
            && let Some(place) = self.domains.remove(name.domain.0)
        {
            self.numbers.remove(&place.domain);
        }
    }

    /// The address. Of a number that nobody holds there is none.
    pub fn get(&self, name: NameId) -> Option<&Mailbox> {
        self.names.get(name.0).map(|name| &name.mailbox)
    }

    /// The domain of an address.
    pub fn domain_of(&self, name: NameId) -> Option<DomainId> {
        self.names.get(name.0).map(|name| name.domain)
    }

    /// Whether the address is one of ours.
    pub fn is_local(&self, name: NameId) -> bool {
        self.domain_of(name).and_then(|domain| self.domains.get(domain.0)).is_some_and(|place| place.local)
    }

    /// A domain.
    pub fn domain(&self, domain: DomainId) -> Option<&Domain> {
        self.domains.get(domain.0).map(|place| &place.domain)
    }

    /// The number of a domain with an address that somebody holds.
    pub fn domain_id(&self, domain: &Domain) -> Option<DomainId> {
        self.numbers.get(domain).copied()
    }

    /// How many addresses there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_there_as_long_as_somebody_holds_it() {
        let mut names = Names::default();
        let local = |domain: &Domain| domain.as_str() == "a.example";
        let alice = names.hold(&mailbox("alice@a.example"), local);
        let bob = names.hold(&mailbox("bob@b.example"), local);
        assert_eq!(names.hold(&mailbox("ALICE@a.example"), local), alice);
        assert!(names.is_local(alice) && !names.is_local(bob));
        names.release(alice);
        assert_eq!(names.find(&mailbox("alice@a.example")), Some(alice));
        names.release(alice);
        assert_eq!((names.find(&mailbox("alice@a.example")), names.get(alice), names.len()), (None, None, 1));
        assert_eq!(names.domain_id(mailbox("x@a.example").domain()), None);
        assert_eq!(names.get(bob).map(Mailbox::to_string).as_deref(), Some("bob@b.example"));
    }
}
