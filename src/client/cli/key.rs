//! `impart key`: the person's keys and the certificates of others. A connection is made only to ask the domain for
//! certificates, and to have them revoked.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use zeroize::Zeroizing;

use super::{Algorithm, Arguments, Export, Failure, Import, KeyCommand, exit, open, print};
use crate::address::Mailbox;
use crate::client::keys::{KeyError, Keys, Known, Own};
use crate::client::{Account, Enrolled, clean, terminal};
use crate::smime::{Certificate, Fault, Identity, Key, KeyKind, trust};
use crate::timestamp::Timestamp;

/// Octets of a file that is imported.
const FILE_OCTETS: u64 = 1024 * 1024;

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Failure {
        let code = match &error {
            KeyError::System { .. } => exit::IO,
            KeyError::Content { .. } => exit::DATA,
            KeyError::Request(_) | KeyError::Make(_) => exit::SOFTWARE,
        };
        Failure::new(code, error)
    }
}

/// Does what the command says.
pub async fn run(
    arguments: &Arguments,
    account: &Account,
    command: &KeyCommand,
    now: Timestamp,
) -> Result<(), Failure> {
    let keys = Keys::at(&account.directory()?);
    match command {
        KeyCommand::New { algorithm, request } => {
            let name = new(account, &keys, *algorithm)?;
            if *request {
                by_hand(account, &keys, &name);
                return Ok(());
            }
            enrol(arguments, account, &keys, &name).await
        }
        KeyCommand::Renew => renew(arguments, account, &keys).await,
        KeyCommand::Revoke { name, .. } => revoke(arguments, &keys, name.as_deref()).await,
        KeyCommand::Publish { name } => publish(arguments, &keys, name.as_deref(), now).await,
        KeyCommand::Import(import) => self::import(account, &keys, import, now),
        KeyCommand::Export(export) => self::export(&keys, export, now),
        KeyCommand::List { json } => list(&keys, *json, now),
    }
}

fn new(account: &Account, keys: &Keys, algorithm: Algorithm) -> Result<String, Failure> {
    let kind = match algorithm {
        Algorithm::P256 => KeyKind::P256,
        Algorithm::P384 => KeyKind::P384,
        Algorithm::Rsa => KeyKind::Rsa,
        Algorithm::Ed25519 => KeyKind::Ed25519,
    };
    let (name, _) = keys.make(&account.address, kind)?;
    print(&format!("The key {name} was made.\n"));
    if kind == KeyKind::Ed25519 {
        print("Keys of this kind sign; nobody can encrypt to them.\n");
    }
    Ok(name)
}

/// What to do with a request that the domain does not answer by itself.
fn by_hand(account: &Account, keys: &Keys, name: &str) {
    print(&format!(
        "Its request for a certificate is in\n    {}\nGive that file to the administrator of {} \
         (impartctl cert issue), or to another authority; then\n    impart key import CERTIFICATE\n",
        keys.request_file(name).display(),
        account.address.domain()
    ));
}

/// Asks the domain for the certificate. The key and its request stay, whatever comes of it.
async fn enrol(arguments: &Arguments, account: &Account, keys: &Keys, name: &str) -> Result<(), Failure> {
    let asked = async {
        let client = open(arguments).await?;
        let enrolled = client.enrol(name).await;
        client.close().await;
        enrolled.map_err(Failure::from)
    };
    match asked.await {
        Ok(enrolled) => told(account, keys, name, enrolled),
        Err(Failure { code, text }) => {
            let file = keys.request_file(name);
            let text = format!(
                "{text}\nThere is no certificate for the key {name} yet; `impart key renew` asks again. Its request is in {}",
                file.display()
            );
            return Err(Failure::new(code, text));
        }
    }
    Ok(())
}

fn told(account: &Account, keys: &Keys, name: &str, enrolled: Enrolled) {
    match enrolled {
        Enrolled::Certified(until) => print(&format!("It has its certificate, good until {}.\n", day(until))),
        Enrolled::NoAuthority => {
            print(&format!("{} issues no certificates by itself. ", account.address.domain()));
            by_hand(account, keys, name);
        }
    }
}

async fn renew(arguments: &Arguments, account: &Account, keys: &Keys) -> Result<(), Failure> {
    let client = open(arguments).await?;
    let renewed = client.renew().await;
    client.close().await;
    match renewed? {
        Some((name, enrolled)) => {
            print(&format!("The key {name} takes the place of the one before.\n"));
            told(account, keys, &name, enrolled);
            Ok(())
        }
        None => {
            let text = "there is no certificate of your domain's here; impart key new makes a key and asks for one";
            Err(Failure::new(exit::DATA, text))
        }
    }
}

async fn revoke(arguments: &Arguments, keys: &Keys, name: Option<&str>) -> Result<(), Failure> {
    let own = keys.own()?;
    let chosen = name.map(|name| own.iter().find(|own| own.name.starts_with(name)));
    let only = match chosen {
        None => None,
        Some(Some(own)) if !own.chain.is_empty() => Some(own),
        Some(_) => {
            let text = "there is no such key with a certificate; impart key list shows them";
            return Err(Failure::new(exit::DATA, text));
        }
    };
    let client = open(arguments).await?;
    let revoked = client.revoke(only).await;
    client.close().await;
    revoked?;
    let text = "Revoked: whoever has the new revocation list believes no signature by it any more, and nobody is told the \
                certificate. What was encrypted to it can still be read here. A certificate of another authority is \
                revoked by that authority.\n";
    print(text);
    Ok(())
}

async fn publish(arguments: &Arguments, keys: &Keys, name: Option<&str>, now: Timestamp) -> Result<(), Failure> {
    let own = keys.own()?;
    let Some(chosen) = chosen(&own, name, now).filter(|own| !own.chain.is_empty()) else {
        let text = "there is no such key with a certificate; impart key list shows them";
        return Err(Failure::new(exit::DATA, text));
    };
    let client = open(arguments).await?;
    let published = client.publish(chosen).await;
    client.close().await;
    published?;
    print(&format!("Whoever may write to you is told the certificate of the key {}.\n", chosen.name));
    Ok(())
}

/// The key whose name begins so; without one, the one that signs.
fn chosen<'a>(own: &'a [Own], name: Option<&str>, now: Timestamp) -> Option<&'a Own> {
    match name {
        Some(name) => own.iter().find(|own| own.name.starts_with(name)),
        None => own
            .iter()
            .filter(|own| own.can_sign(now))
            .max_by_key(|own| own.chain.first().map(Certificate::not_before))
            .or(own.first()),
    }
}

fn import(account: &Account, keys: &Keys, import: &Import, now: Timestamp) -> Result<(), Failure> {
    let octets = read(&import.file)?;
    let fault = |fault: Fault| Failure::new(exit::DATA, format!("{}: {fault}", import.file.display()));
    let text = std::str::from_utf8(&octets).ok().filter(|text| text.contains("-----BEGIN "));
    let Some(text) = text else {
        if let Ok(certificate) = Certificate::from_der(&octets) {
            return certificates(account, keys, &[certificate], now);
        }
        let all = Identity::from_pkcs12(&octets, &pass_phrase(import)?).map_err(fault)?;
        return all.iter().try_for_each(|one| take(account, keys, one.key(), one.chain(), now));
    };
    let chain = match Certificate::from_pem(text) {
        Ok(chain) => chain,
        Err(_) if text.contains("PRIVATE KEY") => Vec::new(),
        Err(error) => return Err(fault(error)),
    };
    if !text.contains("PRIVATE KEY-----") {
        return certificates(account, keys, &chain, now);
    }
    let key = match Key::from_pem(text, None) {
        Err(Fault::NoPassPhrase) => Key::from_pem(text, Some(&pass_phrase(import)?)),
        read => read,
    };
    take(account, keys, &key.map_err(fault)?, &chain, now)
}

/// A key of the person's, with or without its certificate.
fn take(account: &Account, keys: &Keys, key: &Key, chain: &[Certificate], now: Timestamp) -> Result<(), Failure> {
    if let Some(first) = chain.first() {
        if key.spki() != first.spki() {
            return Err(Failure::new(exit::DATA, "the certificate is of another key; put the key's own one first"));
        }
        check(account, first, now)?;
    }
    let name = keys.keep(key)?;
    print(&format!("The key {name} is kept.\n"));
    if chain.is_empty() {
        print("It has no certificate yet: import that too.\n");
        return Ok(());
    }
    certificates(account, keys, chain, now)
}

/// Certificates: of a key here, or somebody else's.
fn certificates(account: &Account, keys: &Keys, chain: &[Certificate], now: Timestamp) -> Result<(), Failure> {
    let Some(first) = chain.first() else { return Err(Failure::new(exit::DATA, "there is no certificate in it")) };
    if keys.own()?.iter().any(|own| own.key.spki() == first.spki()) {
        check(account, first, now)?;
        let name = keys.certify(chain)?.unwrap_or_default();
        print(&format!("The key {name} has its certificate, good until {}.\n", day(first.not_after())));
        if keys.asked_at(&name)?.is_none() {
            print("impart key publish lets others ask your domain for it, to encrypt to you.\n");
        }
        return Ok(());
    }
    let names = names_of(first);
    if names.is_empty() {
        return Err(Failure::new(exit::DATA, "the certificate names nobody, and is not of a key that is here"));
    }
    for who in names {
        keys.learn(&who, &Known { chain: chain.to_vec(), ciphers: Vec::new(), seen: now })?;
        print(&format!("The certificate of {} is kept.\n", clean::line(&who.to_string())));
    }
    Ok(())
}

/// A certificate that says nothing of the account would sign in vain.
fn check(account: &Account, certificate: &Certificate, now: Timestamp) -> Result<(), Failure> {
    let names = names_of(certificate);
    if !names.iter().any(|name| name.key() == account.address.key()) {
        let named: Vec<String> = names.iter().map(|name| clean::line(&name.to_string())).collect();
        let named = if named.is_empty() { "nobody".to_owned() } else { named.join(", ") };
        let text = format!("the certificate is for {named}, not for {}; ask for another", account.address);
        return Err(Failure::new(exit::DATA, text));
    }
    if certificate.not_after() < now {
        let text = format!("the certificate expired on {}; ask for a new one", day(certificate.not_after()));
        return Err(Failure::new(exit::DATA, text));
    }
    Ok(())
}

fn export(keys: &Keys, export: &Export, now: Timestamp) -> Result<(), Failure> {
    let own = keys.own()?;
    let Some(own) = chosen(&own, export.name.as_deref(), now) else {
        return Err(Failure::new(exit::DATA, "there is no such key; impart key list shows them"));
    };
    let mut text = Zeroizing::new(String::new());
    if export.secret {
        let key = match &export.password_command {
            Some(_) => own.key.to_encrypted_pem(&command(export.password_command.as_deref())?),
            None => Ok(own.key.to_pem()),
        };
        text.push_str(&key.map_err(|fault| Failure::new(exit::SOFTWARE, fault))?);
    } else if own.chain.is_empty() {
        return Err(Failure::new(exit::DATA, format!("the key {} has no certificate yet", own.name)));
    }
    own.chain.iter().for_each(|certificate| text.push_str(&certificate.to_pem()));
    let Some(file) = &export.output else {
        print(&text);
        return Ok(());
    };
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Failure::new(exit::IO, format!("{}: {error}", file.display())))
}

fn list(keys: &Keys, json: bool, now: Timestamp) -> Result<(), Failure> {
    for own in keys.own()? {
        let state = if keys.is_retired(&own.name) { "revoked" } else { state(&own, now) };
        let names: Vec<String> = own.chain.first().map(names_of).unwrap_or_default().iter().map(shown).collect();
        let until = own.chain.first().map(|certificate| day(certificate.not_after()));
        if json {
            let line = json!({ "key": own.name, "kind": kind(own.key.kind()), "state": state, "names": names, "until": until });
            print(&format!("{line}\n"));
        } else {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
            print(&format!("key {} {}{names}: {state}{until}\n", own.name, kind(own.key.kind())));
        }
    }
    for name in keys.known() {
        let who = Mailbox::parse(&name);
        let Some(known) = who.ok().map(|who| keys.of(&who)).transpose()?.flatten() else { continue };
        let Some(first) = known.chain.first() else { continue };
        let (until, can) = (day(first.not_after()), first.may_encrypt());
        if json {
            print(&format!("{}\n", json!({ "certificate": name, "until": until, "encrypts": can })));
        } else {
            let can = if can { "" } else { ", not to encrypt to" };
            print(&format!("certificate of {} until {until}{can}\n", clean::line(&name)));
        }
    }
    Ok(())
}

fn names_of(certificate: &Certificate) -> Vec<Mailbox> {
    trust::names_of(certificate).map(|names| names.mailboxes().cloned().collect()).unwrap_or_default()
}

fn shown(name: &Mailbox) -> String {
    clean::line(&name.to_string())
}

fn state(own: &Own, now: Timestamp) -> &'static str {
    match own.chain.first() {
        None => "waits for its certificate",
        Some(certificate) if certificate.not_after() < now => "expired",
        Some(certificate) if certificate.not_before() > now => "not yet valid",
        Some(_) => "in use",
    }
}

fn kind(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::P256 => "p256",
        KeyKind::P384 => "p384",
        KeyKind::Rsa => "rsa",
        KeyKind::Ed25519 => "ed25519",
        KeyKind::X25519 => "x25519",
    }
}

fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read as _;
    let fault = |error: std::io::Error| Failure::new(exit::NO_INPUT, format!("{}: {error}", file.display()));
    let mut octets = Zeroizing::new(Vec::new());
    let opened = std::fs::File::open(file).map_err(fault)?;
    opened.take(FILE_OCTETS + 1).read_to_end(&mut octets).map_err(fault)?;
    if octets.len() as u64 > FILE_OCTETS {
        return Err(Failure::new(exit::DATA, format!("{}: more than 1 MiB", file.display())));
    }
    Ok(octets)
}

fn pass_phrase(import: &Import) -> Result<Zeroizing<String>, Failure> {
    if import.password_command.is_some() {
        return command(import.password_command.as_deref());
    }
    let question = format!("Pass phrase of {}: ", import.file.display());
    let secret = terminal::ask_secret(&question)
        .map_err(|error| Failure::new(exit::PERMISSION, format!("{error}; use --password-command")))?;
    Ok(Zeroizing::new(secret.reveal().to_owned()))
}

/// The first line of what a command writes.
fn command(command: Option<&str>) -> Result<Zeroizing<String>, Failure> {
    let command = command.unwrap_or_default();
    let failed = |text: String| Failure::new(exit::PERMISSION, format!("`{command}`: {text}"));
    let output = Command::new("/bin/sh").arg("-c").arg(command).stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = Zeroizing::new(String::from_utf8_lossy(&output.stdout).into_owned());
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}
