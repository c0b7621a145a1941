//! The sections about signatures. In: the tables. Out: plain data; whoever insists, and whoever signs, is served here.

use toml::Spanned;
use toml::de::DeTable;

use super::build::{Problems, Seen, section};
use super::problem::Problem;
use super::read::Table;
use super::{Issuer, LocalDomain, Signer, Smime, keys};
use crate::address::Domain;
use crate::rules::edit::Who;

/// The section smime.
pub(super) fn smime(table: &Table<'_>, domains: &[LocalDomain], problems: &mut Problems) -> Option<Smime> {
    let roots = table.value(&keys::SMIME_ROOTS, problems);
    let revocations = table.value(&keys::SMIME_REVOCATIONS, problems);
    let require = table.value(&keys::SMIME_REQUIRE, problems);
    let fetch_crls = table.value(&keys::SMIME_FETCH_CRLS, problems);
    let authorities = table.value(&keys::SMIME_AUTHORITIES, problems);
    for who in require.iter().flatten() {
        let domain = match who.get_ref() {
            Who::Domain(domain) => domain,
            Who::Mailbox(mailbox) => mailbox.domain(),
        };
        served("require", domain, who.span(), domains, problems);
    }
    let require = require?.into_iter().map(Spanned::into_inner).collect();
    Some(Smime { roots: roots?, revocations: revocations?, require, fetch_crls: fetch_crls?, authorities })
}

/// The sections signer.
pub(super) fn signers(
    text: &str,
    document: &DeTable<'_>,
    domains: &[LocalDomain],
    problems: &mut Problems,
) -> Vec<Signer> {
    let mut seen = Seen::new(text);
    let tables = Table::repeated(document, section("signer"), problems);
    let mut signer = |table: &Table<'_>| {
        let domain = table.get(&keys::SIGNER_DOMAIN, problems);
        let chain = table.value(&keys::SIGNER_CHAIN, problems);
        let key = table.value(&keys::SIGNER_KEY, problems);
        let domain = domain?;
        served("domain", domain.get_ref(), domain.span(), domains, problems);
        seen.enter(domain.get_ref().to_string(), "the signer of the domain", domain.span(), problems);
        Some(Signer { domain: domain.into_inner(), chain: chain?, key: key? })
    };
    tables.iter().filter_map(&mut signer).collect()
}

/// The sections authority.
pub(super) fn issuers(
    text: &str,
    document: &DeTable<'_>,
    domains: &[LocalDomain],
    problems: &mut Problems,
) -> Vec<Issuer> {
    let mut seen = Seen::new(text);
    let tables = Table::repeated(document, section("authority"), problems);
    let mut issuer = |table: &Table<'_>| {
        let domain = table.get(&keys::AUTHORITY_DOMAIN, problems);
        let passphrase_file = table.value(&keys::AUTHORITY_PASSPHRASE_FILE, problems);
        let credential = table.value(&keys::AUTHORITY_CREDENTIAL, problems);
        let days = table.value(&keys::AUTHORITY_DAYS, problems);
        let domain = domain?;
        served("domain", domain.get_ref(), domain.span(), domains, problems);
        seen.enter(domain.get_ref().to_string(), "the authority of the domain", domain.span(), problems);
        Some(Issuer {
            domain: domain.into_inner(),
            passphrase_file,
            credential: credential?,
            days: u32::try_from(days?).ok()?,
        })
    };
    tables.iter().filter_map(&mut issuer).collect()
}

fn served(key: &str, domain: &Domain, span: std::ops::Range<usize>, domains: &[LocalDomain], problems: &mut Problems) {
    if domains.iter().all(|own| own.name != *domain) {
        let problem = Problem::new(span, format!("`{key}`: {domain} is not served here"));
        problems.push(problem.expected("a domain of a section [[domain]], or an address in one"));
    }
}
