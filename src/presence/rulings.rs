//! The rules of those who live here, as the engine asks them.

use super::engine::Rulings;
use crate::accounts::Accounts;
use crate::accounts::rules::Known;
use crate::address::{Domain, Mailbox};
use crate::rules::{Circumstances, Decision, Handling};

/// The accounts, with the domain's default for presentities without rules.
pub(super) struct Ruled<'a> {
    pub accounts: &'a Accounts,
    pub default: Handling,
}

impl Rulings for Ruled<'_> {
    fn decide(&self, presentity: &Mailbox, watcher: Option<&Mailbox>, circumstances: Circumstances<'_>) -> Decision {
        self.accounts.watches(presentity, watcher, circumstances, self.default)
    }

    fn depends_on_time(&self, presentity: &Mailbox) -> bool {
        matches!(self.accounts.rules().of(presentity), Known::Rules(rules) if rules.depends_on_time())
    }

    fn is_local(&self, domain: &Domain) -> bool {
        self.accounts.is_local(domain)
    }

    fn is_presentity(&self, mailbox: &Mailbox) -> bool {
        self.accounts.is_presentity(mailbox)
    }
}
