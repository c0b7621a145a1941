//! The sections about people: accounts, directory, tokens; and aliases, resolved across the domains.
//!
//! In: the tables. Out: plain data, an alias with all members that are none. A member that is not of a domain served here, a
//! circle, or a group too large is a mistake. Whether a member has an inbox is not known here: accounts are in files of
//! their own.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::build::{Problems, Seen, section};
use super::problem::Problem;
use super::read::Table;
use super::value::AliasEntry;
use super::{Accounts, LocalDomain, keys};
use crate::accounts::{ldap, token};
use crate::address::{Domain, Mailbox};

/// Members of one group, those of the groups in it included.
const MEMBERS: usize = 1000;

/// The sections accounts, ldap and oauth.
pub(super) fn accounts(
    document: &DeTable<'_>,
    spool: &Path,
    domains: &[LocalDomain],
    problems: &mut Problems,
) -> Option<Accounts> {
    let table = Table::single(document, section("accounts"), problems);
    let file = table.value(&keys::ACCOUNTS_FILE, problems);
    let domain = table.get(&keys::ACCOUNTS_DOMAIN, problems);
    let dovecot_auth = table.get(&keys::ACCOUNTS_DOVECOT_AUTH, problems);
    let ldap = ldap(&Table::single(document, section("ldap"), problems), problems);
    if let (Some(_), Some(auth)) = (&ldap, &dovecot_auth) {
        let problem = Problem::new(auth.span(), "`dovecot_auth` and a section [ldap]: only one of them can judge");
        problems.push(problem.hint("let Dovecot ask the directory, or leave `dovecot_auth` out"));
    }
    if let Some(domain) = domain.as_ref().filter(|domain| domains.iter().all(|own| own.name != *domain.get_ref())) {
        let problem = Problem::new(domain.span(), format!("`domain`: {} is not served here", domain.get_ref()));
        problems.push(problem.expected("a domain of a section [[domain]]"));
    }
    let revocations = table.get(&keys::ACCOUNTS_REVOCATIONS, problems);
    let client_authorities = table.value(&keys::ACCOUNTS_AUTHORITIES, problems)?;
    if let Some(lists) = revocations.as_ref().filter(|l| !l.get_ref().is_empty() && client_authorities.is_empty()) {
        let problem = Problem::new(lists.span(), "`client_revocations` means nothing without `client_authorities`");
        problems.push(problem.hint("name the authorities, or leave it out"));
    }
    let file = file.unwrap_or_else(|| spool.join("accounts.toml"));
    let rules = table.value(&keys::ACCOUNTS_RULES, problems);
    Some(Accounts {
        rules: rules.unwrap_or_else(|| file.with_file_name("rules")),
        file,
        domain: domain.map(Spanned::into_inner).or_else(|| domains.first().map(|domain| domain.name.clone())),
        passwd_file: table.value(&keys::ACCOUNTS_PASSWD_FILE, problems),
        dovecot_auth: dovecot_auth.map(Spanned::into_inner),
        dovecot_users: table.value(&keys::ACCOUNTS_DOVECOT_USERS, problems),
        client_authorities,
        client_revocations: revocations?.into_inner(),
        ldap,
        oauth: oauth(&Table::single(document, section("oauth"), problems), problems),
    })
}

fn ldap(table: &Table<'_>, problems: &mut Problems) -> Option<ldap::Options> {
    if !table.is_there() {
        return None;
    }
    let server = table.value(&keys::LDAP_SERVER, problems);
    let bind_dn = table.value(&keys::LDAP_BIND_DN, problems);
    Some(ldap::Options { place: server?.place, bind_dn: bind_dn? })
}

fn oauth(table: &Table<'_>, problems: &mut Problems) -> Option<token::Options> {
    if !table.is_there() {
        return None;
    }
    let keys_file = table.value(&keys::OAUTH_KEYS, problems);
    let issuer = table.value(&keys::OAUTH_ISSUER, problems);
    let audience = table.value(&keys::OAUTH_AUDIENCE, problems);
    let introspection = table.value(&keys::OAUTH_INTROSPECTION, problems);
    let client = table.value(&keys::OAUTH_CLIENT, problems);
    let secret_file = table.value(&keys::OAUTH_SECRET_FILE, problems);
    let claim = table.value(&keys::OAUTH_CLAIM, problems);
    let given = (table.has(&keys::OAUTH_KEYS), table.has(&keys::OAUTH_INTROSPECTION));
    let mut missing = |what: &str| {
        let problem = Problem::new(table.span(), format!("the section [oauth] is not complete: {what}"));
        problems.push(problem.expected("`keys`, `issuer`, `audience`; or `introspection`, `client`, `secret_file`"));
        None
    };
    let by = match (keys_file, introspection) {
        (Some(_), Some(_)) => missing("both `keys` and `introspection` are there")?,
        (Some(file), None) => match (issuer, audience) {
            (Some(issuer), Some(audience)) => token::Judge::Keys { file, issuer, audience },
            _ => missing("`issuer` or `audience` is missing")?,
        },
        (None, Some(url)) => match (client, secret_file) {
            (Some(client), Some(secret_file)) => {
                token::Judge::Introspection { place: url.place, path: url.path, client, secret_file, audience }
            }
            _ => missing("`client` or `secret_file` is missing")?,
        },
        (None, None) if given == (None, None) => missing("there is neither `keys` nor `introspection`")?,
        (None, None) => return None,
    };
    Some(token::Options { by, claim: claim? })
}

/// Aliases as they stand, of all domains: key, place, and members.
#[derive(Default)]
pub(super) struct Aliases(Vec<Alias>);

struct Alias {
    address: Mailbox,
    span: Range<usize>,
    members: Vec<Spanned<String>>,
}

impl Aliases {
    /// Those of a domain.
    pub fn enter(&mut self, domain: &Domain, entries: Vec<AliasEntry>, seen: &mut Seen<'_>, problems: &mut Problems) {
        for AliasEntry { alias, members } in entries {
            let span = alias.span();
            let Ok(address) = Mailbox::new(alias.get_ref(), domain.clone()) else { continue };
            if address.is_kept_for_domain() {
                let problem = Problem::new(span, format!("`aliases`: {address} signs for the whole domain"));
                problems.push(problem.expected("another name for an alias"));
                continue;
            }
            seen.enter(address.key(), &format!("the address {address}"), span.clone(), problems);
            self.0.push(Alias { address, span, members });
        }
    }

    /// Into the domains, each with its members.
    pub fn resolve(self, domains: &mut [LocalDomain], problems: &mut Problems) {
        let served: HashSet<Domain> = domains.iter().map(|domain| domain.name.clone()).collect();
        let mut direct: HashMap<String, Vec<Mailbox>> = HashMap::new();
        for alias in &self.0 {
            let own = alias.address.domain();
            let member = |text: &Spanned<String>| match member(text.get_ref(), own, &served) {
                Ok(member) => Some(member),
                Err(fault) => {
                    let problem = Problem::new(text.span(), format!("`aliases`: {fault}"));
                    problems.push(problem.expected("a local part, or an address of a domain served here"));
                    None
                }
            };
            direct.insert(alias.address.key(), alias.members.iter().filter_map(member).collect());
        }
        for alias in self.0 {
            match expand(&alias.address, &direct) {
                Ok(members) => {
                    let domain = domains.iter_mut().find(|domain| domain.name == *alias.address.domain());
                    domain.into_iter().for_each(|domain| domain.aliases.push((alias.address.clone(), members.clone())));
                }
                Err(fault) => {
                    problems.push(Problem::new(alias.span, format!("`aliases`: {fault}")).hint("take one of them out"))
                }
            }
        }
    }
}

fn member(text: &str, own: &Domain, served: &HashSet<Domain>) -> Result<Mailbox, String> {
    let member = if text.contains('@') { Mailbox::parse(text) } else { Mailbox::new(text, own.clone()) };
    let shown = text.escape_debug();
    let member = member.map_err(|fault| format!("\"{shown}\": {fault}"))?;
    if served.contains(member.domain()) { Ok(member) } else { Err(format!("{member} is not of a domain served here")) }
}

/// All members that are no aliases, each once, in order. Nobody's patience is tried: each alias is looked at once.
fn expand(alias: &Mailbox, direct: &HashMap<String, Vec<Mailbox>>) -> Result<Vec<Mailbox>, String> {
    let (own, mut seen, mut members) = (alias.key(), HashSet::new(), Vec::new());
    let mut open: Vec<&Mailbox> = direct.get(&own).into_iter().flatten().rev().collect();
    while let Some(member) = open.pop() {
        let key = member.key();
        if key == own {
            return Err(format!("{alias} leads back to itself"));
        }
        if !seen.insert(key.clone()) {
            continue;
        }
        match direct.get(&key) {
            Some(more) => open.extend(more.iter().rev()),
            None => members.push(member.clone()),
        }
        if members.len() > MEMBERS {
            return Err(format!("{alias} has more than {MEMBERS} members"));
        }
    }
    Ok(members)
}

/// The aliases of a table.
pub(super) fn aliases(table: &Table<'_>, problems: &mut Problems) -> Vec<AliasEntry> {
    table.value(&keys::DOMAIN_ALIASES, problems).unwrap_or_default()
}
