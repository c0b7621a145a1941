//! The accounts of the file.

use std::collections::HashMap;

use super::Reads;
use crate::address::Mailbox;

/// One account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: Mailbox,
    /// Whether it may not log in.
    pub disabled: bool,
    /// Whether it has an instant inbox.
    pub inbox: bool,
    /// Whether it has a presentity.
    pub presentity: bool,
    /// Further addresses: messages to them come to its inbox, and it may send in their name.
    pub addresses: Vec<Mailbox>,
    /// Who else reads its inbox, and how.
    pub delegates: Vec<(Mailbox, Reads)>,
}

impl Account {
    /// How the account of this key reads the inbox.
    pub fn delegate(&self, key: &str) -> Reads {
        let found = self.delegates.iter().find(|(mailbox, _)| mailbox.key() == key);
        found.map_or(Reads::No, |(_, reads)| *reads)
    }
}

/// All accounts, by their keys.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    accounts: HashMap<String, Account>,
    /// Keys of further addresses.
    addresses: HashMap<String, Mailbox>,
}

impl Entries {
    /// The account of this key.
    pub fn get(&self, key: &str) -> Option<&Account> {
        self.accounts.get(key)
    }

    pub(super) fn has_inbox(&self, key: &str) -> bool {
        let account = self.addresses.get(key).map(Mailbox::key);
        self.accounts.get(account.as_deref().unwrap_or(key)).is_some_and(|account| account.inbox)
    }

    pub(super) fn owner_of(&self, key: &str) -> Option<&Mailbox> {
        self.addresses.get(key)
    }
}
