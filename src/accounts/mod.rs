//! Who lives here: domains, inboxes with their rules, accounts, aliases; and who proves to be one of them.
//!
//! In: the configuration, the file of accounts, the mail system's users. Out: answers to "is this address ours, and does it
//! exist", "whose is it", and the [`Principal`] of an authentication. [`Accounts`] is a value: a reload makes a new one.
//! Invariants: `postmaster` exists in every domain (RFC 5321 §4.5.1); unknown, disabled and mistaken look and cost the same.

mod authority;
mod dovecot;
mod edit;
mod entries;
mod exchange;
pub mod file;
pub mod ldap;
mod limit;
mod passwd;
mod remote;
pub mod rules;
pub mod token;
mod verifiers;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use authority::{Authority, Options};
pub use dovecot::Users;
pub use edit::{Change, change, generated};
pub use entries::{Account, Entries, EntriesError, Fallback};
pub use exchange::{Exchange, Step};
pub use remote::Place;
pub use rules::Rules;
pub use verifiers::Stamp;

use crate::address::{Domain, Mailbox};
use crate::envelope::Class;
use crate::rules::{Circumstances, Decision, Handling, Message, Provide, Read, Watcher, decide};
use crate::smime::Identity;
use crate::timestamp::Timestamp;
use crate::tls::CertificateDer;

/// Who has authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The account; its name is an address.
    pub account: Mailbox,
    /// What proved it.
    pub proof: Proof,
}

impl Principal {
    /// An account for which somebody else vouches.
    pub fn vouched(account: Mailbox) -> Principal {
        Principal { account, proof: Proof::Elsewhere }
    }
}

/// What proved an account; it holds as long as that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Its password, as the file of accounts knew it.
    Password(Stamp),
    /// Its secret of ODMR, as the file of accounts knew it.
    Odmr(Stamp),
    /// The word of others: Dovecot, a directory, a token, a certificate. Whether it still holds they say when it is given
    /// anew, [`crate::limits::VOUCHED`] later at the latest.
    Elsewhere,
}

/// Where an authentication comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// 32 octets of the TLS exporter (RFC 9266 §2); `None` without TLS 1.3.
    pub channel_binding: Option<[u8; 32]>,
    /// The certificates that the client has shown, not validated.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether it is a session of ODMR (RFC 2645).
    pub odmr: bool,
}

impl Origin {
    /// Whether nobody in between can read along: TLS, or a socket of this host.
    pub fn is_secure(&self) -> bool {
        self.tls || self.address.is_none()
    }
}

/// One domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalDomain {
    /// Whether instant messages are offered.
    pub im: bool,
    /// Whether presence is offered.
    pub presence: bool,
    /// Keys of the mailboxes that are presentities; `None`: whoever has an inbox, or an account, is one.
    pub presentities: Option<HashSet<String>>,
    /// Keys of the mailboxes ([`Mailbox::key`]) that have an inbox.
    pub inboxes: HashSet<String>,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An inbox here, or an alias ([`Accounts::members`]).
    Inbox,
    /// The domain is ours and has no such inbox.
    NoInbox,
    /// The domain is ours and does not offer this service.
    NotOffered,
    /// The domain is not ours.
    Foreign,
    /// The domain is ours, and the mail system knows its users: [`Accounts::exists`] asks it.
    Elsewhere,
}

/// What a principal may do with an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reads {
    /// Nothing.
    No,
    /// It gets copies; what it acknowledges is not delivered by that.
    Copy,
    /// Its acknowledgement delivers.
    Take,
    /// The inbox is its own.
    Own,
}

impl Reads {
    /// As it stands in the file of accounts: `no`, `copy`, `take`, `own`.
    pub fn keyword(self) -> &'static str {
        match self {
            Reads::No => "no",
            Reads::Copy => "copy",
            Reads::Take => "take",
            Reads::Own => "own",
        }
    }
}

/// Whether an inbox takes messages of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It does.
    Yes,
    /// Its rules do not allow it.
    No,
    /// Its rules cannot be read.
    Untold,
}

/// The mail system could not be asked: `451 4.3.0`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// All domains and accounts that live here.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    domains: HashMap<Domain, LocalDomain>,
    /// Keys of aliases and groups; their members, without other aliases among them.
    aliases: HashMap<String, Vec<Mailbox>>,
    entries: Entries,
    users: Option<Arc<Users>>,
    /// Others too judge proofs, of accounts that are known to them alone.
    judged_elsewhere: bool,
    rules: Arc<Rules>,
    /// What domains sign with.
    signers: HashMap<Domain, Identity>,
}

impl Accounts {
    /// From the domains.
    pub fn new(domains: HashMap<Domain, LocalDomain>) -> Self {
        Accounts { domains, ..Accounts::default() }
    }

    /// With what domains sign with.
    #[must_use]
    pub fn with_signers(self, signers: HashMap<Domain, Identity>) -> Self {
        Accounts { signers, ..self }
    }

    /// What a domain signs with.
    pub fn signer(&self, domain: &Domain) -> Option<&Identity> {
        self.signers.get(domain)
    }

    /// With these accounts.
    #[must_use]
    pub fn with_entries(self, entries: Entries) -> Self {
        Accounts { entries, ..self }.with_owners()
    }

    /// With these aliases: from the key of an address ([`Mailbox::key`]) to its members, which are no aliases.
    #[must_use]
    pub fn with_aliases(self, aliases: HashMap<String, Vec<Mailbox>>) -> Self {
        Accounts { aliases, ..self }.with_owners()
    }

    /// In the place of members that are further addresses, the accounts whose they are; each once.
    fn with_owners(mut self) -> Self {
        for members in self.aliases.values_mut() {
            let mut seen = HashSet::new();
            members.iter_mut().for_each(|one| *one = self.entries.owner_of(&one.key()).unwrap_or(one).clone());
            members.retain(|member| seen.insert(member.key()));
        }
        self
    }

    /// With the users of the mail system, who are asked for.
    #[must_use]
    pub fn with_users(self, users: Option<Arc<Users>>) -> Self {
        Accounts { users, ..self }
    }

    /// Whether others, a directory say, judge proofs of accounts that are known to them alone.
    #[must_use]
    pub fn with_judges(self, judged_elsewhere: bool) -> Self {
        Accounts { judged_elsewhere, ..self }
    }

    /// With the rules of the inboxes.
    #[must_use]
    pub fn with_rules(self, rules: Arc<Rules>) -> Self {
        Accounts { rules, ..self }
    }

    /// The rules of the inboxes.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// When the messages of an address go to the mail store, where its account says so itself.
    pub fn fallback(&self, mailbox: &Mailbox) -> Option<Fallback> {
        self.entries.fallback(&mailbox.key())
    }

    /// Members of aliases that have no inbox here, as far as that can be told: each with its alias.
    pub fn lost_members(&self) -> impl Iterator<Item = (&str, &Mailbox)> {
        let members =
            self.aliases.iter().flat_map(|(alias, members)| members.iter().map(move |one| (alias.as_str(), one)));
        members.filter(|(_, member)| !matches!(self.find(member, Class::Im), Found::Inbox | Found::Elsewhere))
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

    /// The accounts.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// What is known of an address for a service.
    pub fn find(&self, mailbox: &Mailbox, class: Class) -> Found {
        let Some(domain) = self.domains.get(mailbox.domain()) else { return Found::Foreign };
        let offered = match class {
            Class::Im => domain.im,
            Class::Pres => domain.presence,
        };
        if !offered {
            return Found::NotOffered;
        }
        let key = mailbox.key();
        if class == Class::Pres {
            return self.find_presentity(domain, mailbox, &key);
        }
        let known = mailbox.local().eq_ignore_ascii_case("postmaster")
            || domain.inboxes.contains(&key)
            || self.aliases.contains_key(&key)
            || self.entries.has_inbox(&key);
        match (known, &self.users) {
            (true, _) => Found::Inbox,
            // Of an account of the file it is known that it has none; what a domain signs with is nobody's.
            (false, Some(_)) if self.entries.get(&key).is_none() && !mailbox.is_kept_for_domain() => Found::Elsewhere,
            (false, _) => Found::NoInbox,
        }
    }

    fn find_presentity(&self, domain: &LocalDomain, mailbox: &Mailbox, key: &str) -> Found {
        match (self.entries.get(key), &domain.presentities) {
            (Some(account), _) if account.presentity => Found::Inbox,
            (Some(_), _) => Found::NoInbox,
            (None, Some(named)) if named.contains(key) => Found::Inbox,
            (None, Some(_)) => Found::NoInbox,
            // What others share is nobody's presence.
            (None, None) if self.members(mailbox).is_some() => Found::NoInbox,
            (None, None) if domain.inboxes.contains(key) => Found::Inbox,
            (None, None) if self.users.is_some() && !mailbox.is_kept_for_domain() => Found::Elsewhere,
            (None, None) => Found::NoInbox,
        }
    }

    /// Whether the inbox exists; asks the mail system where [`Accounts::find`] gives [`Found::Elsewhere`].
    pub async fn exists(&self, mailbox: &Mailbox) -> Result<bool, Fault> {
        let found = match self.find(mailbox, Class::Im) {
            Found::NotOffered => self.find(mailbox, Class::Pres),
            found => found,
        };
        match (found, &self.users) {
            (Found::Inbox, _) => Ok(true),
            (Found::Elsewhere, Some(users)) => users.exists(mailbox).await,
            _ => Ok(false),
        }
    }

    /// Whether an account of this name may log in, as far as that can be told without its proof.
    pub(crate) async fn may_log_in(&self, name: &Mailbox) -> Result<bool, Fault> {
        match self.entries.get(&name.key()) {
            Some(account) => Ok(!account.disabled),
            None if self.members(name).is_some() => Ok(false),
            None => self.exists(name).await,
        }
    }

    /// Whether who once logged in may do nothing any more: the account is disabled or has gone, or what proved it is not
    /// its any more. One for which others vouch has not gone as long as they may know it.
    pub fn is_cut_off(&self, principal: &Principal) -> bool {
        let name = &principal.account;
        match (self.entries.get(&name.key()), principal.proof) {
            (Some(account), proof) => account.disabled || !account.verifiers.stand(proof),
            (None, Proof::Password(_) | Proof::Odmr(_)) => true,
            (None, Proof::Elsewhere) => self.has_gone(name),
        }
    }

    /// Whether an account that is in no file is known to nobody.
    fn has_gone(&self, name: &Mailbox) -> bool {
        if name.is_kept_for_domain() {
            return true;
        }
        if self.judged_elsewhere {
            return !self.is_local(name.domain());
        }
        self.members(name).is_some() || !matches!(self.find(name, Class::Im), Found::Inbox | Found::Elsewhere)
    }

    /// Who gets what is sent to an alias (one) or a group (several): local addresses, none of them an alias. `None`: the
    /// address stands for itself.
    pub fn members(&self, mailbox: &Mailbox) -> Option<&[Mailbox]> {
        let key = mailbox.key();
        self.aliases.get(&key).map(Vec::as_slice).or_else(|| self.entries.owner_of(&key).map(std::slice::from_ref))
    }

    /// Whether the principal may send in the name of the address: that of the account, its further addresses, and
    /// aliases whose only member it is.
    pub fn sends_as(&self, principal: &Principal, mailbox: &Mailbox) -> bool {
        let own = principal.account.key();
        if self.is_cut_off(principal) {
            return false;
        }
        mailbox.key() == own || matches!(self.members(mailbox), Some([member]) if member.key() == own)
    }

    /// What the principal may do with the inbox: its own, or as its owner allows, by the account or by rules.
    pub fn reads(&self, principal: &Principal, inbox: &Mailbox, now: Timestamp) -> Reads {
        let (own, key) = (principal.account.key(), inbox.key());
        let found = self.find(inbox, Class::Im);
        if self.is_cut_off(principal) || !matches!(found, Found::Inbox | Found::Elsewhere) {
            return Reads::No;
        }
        if own == key {
            return Reads::Own;
        }
        let configured = self.entries.get(&key).map_or(Reads::No, |account| account.delegate(&own));
        let ruled = match self.rules.of(inbox) {
            rules::Known::Rules(document) => {
                match decide(Some(document), Watcher { identity: Some(&principal.account) }, now).read {
                    Read::No => Reads::No,
                    Read::Copy => Reads::Copy,
                    Read::Take => Reads::Take,
                }
            }
            rules::Known::None | rules::Known::Damaged => Reads::No,
        };
        configured.max(ruled)
    }

    /// Whether the inbox, which no alias stands for, takes messages of whoever has authenticated so; `None`: of anonymous
    /// ones. Its owner's are taken always.
    pub fn takes<'a>(
        &self,
        inbox: &Mailbox,
        from: Option<&Mailbox>,
        circumstances: impl Into<Circumstances<'a>>,
    ) -> Takes {
        let document = match self.rules.of(inbox) {
            _ if from.is_some_and(|from| self.is_of(from, inbox)) => return Takes::Yes,
            rules::Known::Damaged => return Takes::Untold,
            rules::Known::None => None,
            rules::Known::Rules(document) => Some(document),
        };
        match decide(document, Watcher { identity: from }, circumstances).message {
            Message::Allow => Takes::Yes,
            Message::Block => Takes::No,
        }
    }

    /// Whether the address is the inbox's, or only stands for it.
    fn is_of(&self, address: &Mailbox, inbox: &Mailbox) -> bool {
        let key = inbox.key();
        address.key() == key || matches!(self.members(address), Some([member]) if member.key() == key)
    }

    /// Whether the address is a presentity here, or may be one that the mail system knows.
    pub fn is_presentity(&self, mailbox: &Mailbox) -> bool {
        matches!(self.find(mailbox, Class::Pres), Found::Inbox | Found::Elsewhere)
    }

    /// Whether any domain offers presence.
    pub fn offers_presence(&self) -> bool {
        self.domains.values().any(|domain| domain.presence)
    }

    /// What whoever watches the presentity may see, or publish for it; `None`: an anonymous one. Without any rules
    /// `default` is what becomes of a subscription. Its owner sees all; damaged rules show nothing to others.
    pub fn watches(
        &self,
        presentity: &Mailbox,
        watcher: Option<&Mailbox>,
        circumstances: Circumstances<'_>,
        default: Handling,
    ) -> Decision {
        let everything = || Provide::everything();
        if watcher.is_some_and(|watcher| self.is_of(watcher, presentity)) {
            return Decision {
                publish: true,
                subscription: Handling::Allow,
                provide: everything(),
                ..Decision::default()
            };
        }
        match self.rules.of(presentity) {
            rules::Known::Damaged => Decision { subscription: Handling::Confirm, ..Decision::default() },
            rules::Known::None if default == Handling::Allow && watcher.is_none() => {
                // Nobody knows whom that would allow.
                Decision { subscription: Handling::Confirm, ..Decision::default() }
            }
            rules::Known::None if default == Handling::Allow => {
                Decision { subscription: default, provide: everything(), ..Decision::default() }
            }
            rules::Known::None => Decision { subscription: default, ..Decision::default() },
            rules::Known::Rules(document) => decide(Some(document), Watcher { identity: watcher }, circumstances),
        }
    }

    /// The inboxes that the principal owns.
    pub fn inboxes_of(&self, principal: &Principal) -> Vec<Mailbox> {
        let account = &principal.account;
        let found = matches!(self.find(account, Class::Im), Found::Inbox | Found::Elsewhere);
        if found && !self.is_cut_off(principal) && self.members(account).is_none() {
            vec![account.clone()]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
