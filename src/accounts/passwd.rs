//! A passwd-file as Dovecot reads it: `user:{SCHEME}password:uid:gid:gecos:home:shell:extra`.
//!
//! In: the text. Out: accounts, and what was of no use. Schemes: ARGON2ID, SCRAM-SHA-256, PLAIN. An account of another
//! scheme exists, so that it gets messages, and cannot log in.

use super::entries::{Account, free};
use super::verifiers::{Phc, Verifiers};
use crate::address::{Domain, Mailbox};
use crate::sasl::Secret;
use crate::sasl::scram::{self, Verifier};

/// Faults that are told; the rest is counted.
const FAULTS: usize = 20;

/// The accounts, and what is said of the rest.
pub(super) fn parse(text: &str, domain: Option<&Domain>) -> (Vec<Account>, Vec<String>) {
    let (mut accounts, mut faults, mut untold) = (Vec::new(), Vec::new(), 0);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (account, fault) = entry(line, domain);
        accounts.extend(account);
        match fault {
            Some(fault) if faults.len() < FAULTS => faults.push(format!("line {}: {fault}", number + 1)),
            Some(_) => untold += 1,
            None => {}
        }
    }
    if untold > 0 {
        faults.push(format!("and {untold} more"));
    }
    (accounts, faults)
}

fn entry(line: &str, domain: Option<&Domain>) -> (Option<Account>, Option<String>) {
    let mut fields = line.split(':');
    let user = fields.next().unwrap_or_default();
    let password = fields.next().unwrap_or_default();
    let extra = fields.nth(5).unwrap_or_default();
    let name = match (user.contains('@'), domain) {
        (false, Some(domain)) => Mailbox::new(user, domain.clone()),
        _ => Mailbox::parse(user),
    };
    let name = match name {
        Ok(name) => name,
        Err(fault) => return (None, Some(format!("the user \"{}\": {fault}", user.escape_debug()))),
    };
    let name = match free(name) {
        Ok(name) => name,
        Err(fault) => return (None, Some(fault)),
    };
    let (verifiers, fault) = match verifiers(&name, password) {
        Ok(verifiers) => (verifiers, None),
        Err(fault) => (Verifiers::default(), Some(format!("{name} cannot log in: {fault}"))),
    };
    let disabled = extra.split_whitespace().any(|word| word == "nologin" || word.starts_with("nologin="));
    let account = Account {
        name,
        disabled,
        inbox: true,
        presentity: true,
        addresses: Vec::new(),
        fallback: None,
        delegates: Vec::new(),
        verifiers,
    };
    (Some(account), fault)
}

fn verifiers(name: &Mailbox, field: &str) -> Result<Verifiers, String> {
    const REMEDY: &str = "give it one of {ARGON2ID}, {SCRAM-SHA-256}, {PLAIN}";
    if field.is_empty() {
        return Ok(Verifiers::default());
    }
    let scheme = field.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let (scheme, value) = scheme.ok_or_else(|| format!("its password has no scheme; {REMEDY}"))?;
    let none = Verifiers::default();
    match scheme.to_ascii_uppercase().as_str() {
        "ARGON2ID" => {
            let phc = Phc::parse(value).ok_or("what follows {ARGON2ID} is not a PHC string")?;
            Ok(Verifiers { argon2id: Some(phc), ..none })
        }
        "SCRAM-SHA-256" => {
            let scram = Verifier::parse(value, ',').ok_or("what follows {SCRAM-SHA-256} is malformed")?;
            Ok(Verifiers { scram: Some(scram), ..none })
        }
        "PLAIN" => {
            // The salt is the name, so that each reading gives the same, and the fewest iterations: the password lies open.
            let (password, iterations) = (Secret::new(value), *scram::ITERATIONS_TAKEN.start());
            let salt = scram::fixed_salt(&name.key());
            let scram = Verifier::new(&password, &salt, iterations).map_err(|fault| fault.to_string())?;
            Ok(Verifiers { plain: Some(password), scram: Some(scram), ..none })
        }
        other => Err(format!("the scheme {{{}}} is not known here; {REMEDY}", other.escape_debug())),
    }
}
