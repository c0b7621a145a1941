//! What domains sign with, and who is believed about signatures, examined.
//!
//! In: the files that the configuration names. Out: findings, each with what to do. Nothing is changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::Finding;
use crate::address::Domain;
use crate::smime::{Identity, trust};
use crate::timestamp::Timestamp;
use crate::tls::signers;

/// Before the end of a certificate from which a warning is given.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// What is examined.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Each domain that signs, its chain and its key.
    pub signers: Vec<(Domain, PathBuf, PathBuf)>,
    /// Files of authorities; `None`: the system's.
    pub roots: Option<Vec<PathBuf>>,
    /// Lists of revoked certificates.
    pub lists: Vec<PathBuf>,
}

/// The findings.
pub fn examine(options: &Options, now: Timestamp) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        options.signers.iter().map(|(domain, chain, key)| signer(domain, chain, key, now)).collect();
    let revocations = signers::Revocations { files: options.lists.clone(), lists: Vec::new() };
    if let Err(fault) = signers::trust(options.roots.as_deref(), &revocations) {
        let remedy = "set `roots` and `revocations` of [smime] to files that can be read";
        let made: fn(&str, String, &str) -> Finding = match options.roots {
            Some(_) => |subject, text, remedy| Finding::error(subject, text, remedy),
            // Nobody has to use signatures; without authorities no signer is believed.
            None => |subject, text, remedy| Finding::warning(subject, text, remedy),
        };
        found.push(made("signatures", fault.to_string(), remedy));
    }
    found
}

fn signer(domain: &Domain, chain: &Path, key: &Path, now: Timestamp) -> Finding {
    let subject = format!("signer of {domain}");
    let remedy = format!("get a certificate for presence@{domain}: impartctl cert issue presence@{domain}");
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let identity = read(chain).and_then(|chain| Ok((chain, zeroize::Zeroizing::new(read(key)?))));
    let identity = identity.and_then(|(chain_pem, key_pem)| {
        Identity::from_pem(&key_pem, &chain_pem, None).map_err(|fault| format!("{}: {fault}", chain.display()))
    });
    let identity = match identity {
        Ok(identity) => identity,
        Err(fault) => return Finding::error(subject, fault, remedy),
    };
    let certificate = identity.certificate();
    let until = certificate.not_after();
    let text = format!("valid until {}", until.rfc3339_local());
    let wanted = trust::domain_mailbox(domain);
    let named = trust::names_of(certificate).is_ok_and(|names| wanted.is_some_and(|wanted| names.names(&wanted)));
    match () {
        () if !named => Finding::error(subject, format!("its certificate does not name presence@{domain}"), remedy),
        () if until < now => Finding::error(subject, format!("expired at {}", until.rfc3339_local()), remedy),
        () if until.since(now) < SOON => Finding::warning(subject, text, remedy),
        () => Finding::ok(subject, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::Level;
    use crate::tls::make::{Authority, AuthorityOptions, Leaf};

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    #[test]
    fn signers_are_examined() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::root(&AuthorityOptions::new("Test", NOW)).unwrap();
        let check = |leaf: Leaf, level: Level, words: &str| {
            let made = authority.issue(&leaf).unwrap();
            let files = made.write(folder.path(), "signer").unwrap();
            let domain = Domain::parse("a.example").unwrap();
            let found = signer(&domain, &files.chain, &files.key, NOW);
            assert!(found.level == level && found.text.contains(words), "{found:?}");
        };
        let leaf = || Leaf::new(&[], NOW).with_addresses(&["presence@a.example"]);
        check(leaf(), Level::Ok, "valid until");
        check(leaf().expired(NOW), Level::Error, "expired at");
        check(Leaf::new(&[], NOW).with_addresses(&["x@a.example"]), Level::Error, "does not name presence@a.example");
        let roots = Some(vec![folder.path().join("nothing.pem")]);
        let found = examine(&Options { roots, ..Options::default() }, NOW);
        assert!(found.len() == 1 && found[0].level == Level::Error, "{found:?}");
    }
}
