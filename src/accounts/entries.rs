//! The accounts of this host, from its own file and from a passwd-file.
//!
//! In: the texts of the files. Out: a value that knows each account by the key of its name. Invariant: no two accounts of one
//! name, and no further address that is an account's name or another's address. The file's own mistakes refuse all of
//! it; a line of a passwd-file that is of no use is told of, and the others are taken.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Reads;
use super::file::{Accounts as File, Record};
use super::passwd;
use super::verifiers::{Phc, Verifiers};
use crate::address::{Domain, Mailbox};
use crate::sasl::Secret;
use crate::sasl::scram::{self, Verifier};
use crate::timestamp;

/// When the messages of an account go to the mail store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Never: they wait for its clients.
    Never,
    /// When they have waited for so long.
    After(Duration),
}

impl Fallback {
    /// The time, if they go there.
    pub fn after(self) -> Option<Duration> {
        match self {
            Fallback::Never => None,
            Fallback::After(time) => Some(time),
        }
    }
}

impl FromStr for Fallback {
    type Err = String;

    fn from_str(text: &str) -> Result<Fallback, String> {
        if text == "never" {
            return Ok(Fallback::Never);
        }
        let wrong =
            |fault| format!("\"{}\" is neither \"never\" nor a time such as \"15m\": {fault}", text.escape_debug());
        timestamp::duration(text).map(Fallback::After).map_err(wrong)
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fallback::After(time) = self else { return f.write_str("never") };
        let millis = time.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let whole = units.into_iter().find(|(unit, _)| millis % unit == 0);
        let (unit, name) = whole.unwrap_or((1, "ms"));
        write!(f, "{}{name}", millis / unit)
    }
}

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
    /// When its messages go to the mail store; `None`: as its domain says.
    pub fallback: Option<Fallback>,
    /// Who else reads its inbox, and how.
    pub delegates: Vec<(Mailbox, Reads)>,
    pub(super) verifiers: Verifiers,
}

impl Account {
    /// How the account of this key reads the inbox.
    pub fn delegate(&self, key: &str) -> Reads {
        let found = self.delegates.iter().find(|(mailbox, _)| mailbox.key() == key);
        found.map_or(Reads::No, |(_, reads)| *reads)
    }

    /// Whether it has a password.
    pub fn has_password(&self) -> bool {
        let Verifiers { argon2id, scram, plain, .. } = &self.verifiers;
        argon2id.is_some() || scram.is_some() || plain.is_some()
    }

    /// Whether it has a secret for ODMR.
    pub fn has_odmr(&self) -> bool {
        self.verifiers.odmr.is_some()
    }
}

/// What is wrong in a file of accounts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    /// Not TOML, or not of its form; with line and column.
    #[error("{0}")]
    Form(String),
    /// A value of an account.
    #[error("account {account}: {fault}")]
    Account {
        /// Whose.
        account: String,
        /// What, and what would be right.
        fault: String,
    },
}

/// All accounts, by their keys.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    accounts: HashMap<String, Account>,
    /// Keys of further addresses.
    addresses: HashMap<String, Mailbox>,
    /// An account with a password that is no SCRAM verifier.
    without_scram: bool,
    usual_shape: Option<(u32, usize)>,
}

impl Entries {
    /// From the text of the file of accounts.
    pub fn parse(text: &str) -> Result<Entries, EntriesError> {
        let file = File::parse(text).map_err(EntriesError::Form)?;
        Entries::of(&file.account)
    }

    pub(super) fn of(records: &BTreeMap<String, Record>) -> Result<Entries, EntriesError> {
        let mut entries = Entries::default();
        for (name, record) in records {
            let wrong = |fault: String| EntriesError::Account { account: name.escape_debug().to_string(), fault };
            let account = account(name, record).map_err(wrong)?;
            if let Some(same) = entries.accounts.insert(account.name.key(), account) {
                return Err(wrong(format!("it stands twice, as {} too; take one of them out", same.name)));
            }
        }
        entries.index()?;
        Ok(entries)
    }

    fn index(&mut self) -> Result<(), EntriesError> {
        let mut names: Vec<&Account> = self.accounts.values().collect();
        names.sort_by(|one, other| one.name.cmp(&other.name));
        let mut addresses: HashMap<String, Mailbox> = HashMap::new();
        for account in names {
            for address in &account.addresses {
                let taken = self.accounts.get(&address.key()).map(|other| &other.name);
                if let Some(other) = taken.or(addresses.get(&address.key())) {
                    let fault = format!("the address {address} belongs to {other}; take it out of one of them");
                    return Err(EntriesError::Account { account: account.name.to_string(), fault });
                }
                addresses.insert(address.key(), account.name.clone());
            }
        }
        self.addresses = addresses;
        self.settle();
        Ok(())
    }

    /// With the accounts of a passwd-file after them: one that is here already stays as it is. `domain` is that of names
    /// without one. Out too: what was of no use.
    #[must_use]
    pub fn with_passwd(mut self, text: &str, domain: Option<&Domain>) -> (Entries, Vec<String>) {
        let (accounts, faults) = passwd::parse(text, domain);
        for account in accounts {
            let key = account.name.key();
            if !self.addresses.contains_key(&key) {
                self.accounts.entry(key).or_insert(account);
            }
        }
        self.settle();
        (self, faults)
    }

    /// The account of this key ([`Mailbox::key`]).
    pub fn get(&self, key: &str) -> Option<&Account> {
        self.accounts.get(key)
    }

    /// All, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    pub(super) fn has_inbox(&self, key: &str) -> bool {
        let account = self.addresses.get(key).map(Mailbox::key);
        self.accounts.get(account.as_deref().unwrap_or(key)).is_some_and(|account| account.inbox)
    }

    pub(super) fn fallback(&self, key: &str) -> Option<Fallback> {
        let account = self.addresses.get(key).map(Mailbox::key);
        self.accounts.get(account.as_deref().unwrap_or(key))?.fallback
    }

    pub(super) fn owner_of(&self, key: &str) -> Option<&Mailbox> {
        self.addresses.get(key)
    }

    fn settle(&mut self) {
        let unscrammed = |account: &Account| account.verifiers.scram.is_none() && account.has_password();
        self.without_scram = self.accounts.values().any(unscrammed);
        let mut counts: BTreeMap<(u32, usize), usize> = BTreeMap::new();
        for verifier in self.accounts.values().filter_map(|account| account.verifiers.scram.as_ref()) {
            *counts.entry(verifier.shape()).or_default() += 1;
        }
        self.usual_shape = counts.into_iter().max_by_key(|(_, count)| *count).map(|(shape, _)| shape);
    }

    /// Whether each account with a password can use SCRAM.
    pub(super) fn all_scram(&self) -> bool {
        !self.without_scram
    }

    /// The shape of most SCRAM verifiers, which those of nobody take on.
    pub(super) fn usual_shape(&self) -> (u32, usize) {
        self.usual_shape.unwrap_or((scram::ITERATIONS, scram::SALT))
    }
}

/// A name that an account may have: whoever has the one of its domain could say what the domain says.
pub(super) fn free(name: Mailbox) -> Result<Mailbox, String> {
    match name.is_kept_for_domain() {
        true => Err(format!("{name} is kept for what its whole domain signs; choose another name")),
        false => Ok(name),
    }
}

fn account(name: &str, record: &Record) -> Result<Account, String> {
    let address = |text: &str| Mailbox::parse(text).map_err(|fault| format!("\"{}\": {fault}", text.escape_debug()));
    let argon2id = match &record.argon2id {
        Some(text) => {
            Some(Phc::parse(text).ok_or("`argon2id` is not a PHC string of Argon2id; set the password anew")?)
        }
        None => None,
    };
    let scram = match &record.scram_sha_256 {
        Some(text) => {
            let read = Verifier::parse(text, '$');
            Some(read.ok_or("`scram-sha-256` is not iterations$salt$StoredKey$ServerKey; set the password anew")?)
        }
        None => None,
    };
    let address = |text: &str| free(address(text)?);
    let addresses = record.addresses.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    let fallback = record.fallback.as_deref().map(str::parse).transpose();
    let fallback = fallback.map_err(|fault: String| format!("fallback: {fault}"))?;
    let mut delegates = Vec::new();
    for (who, how) in &record.delegates {
        let reads = match how.as_str() {
            "copy" => Reads::Copy,
            "take" => Reads::Take,
            _ => return Err(format!("delegate {who}: \"{}\" is neither \"copy\" nor \"take\"", how.escape_debug())),
        };
        delegates.push((address(who)?, reads));
    }
    Ok(Account {
        name: address(name)?,
        disabled: record.disabled,
        inbox: record.inbox,
        presentity: record.presentity,
        addresses,
        fallback,
        delegates,
        verifiers: Verifiers { argon2id, scram, plain: None, odmr: record.odmr.clone().map(Secret::from) },
    })
}
