//! `impartctl cert`: the authority of a domain, on the disk, without the daemon. A daemon that issues by itself, by
//! [`online`], keeps to the same files and the same lock.
//!
//! In: what is wanted, the directory of authorities, the time, a way to ask for the pass phrase. Out: text to print. Each
//! authority is a directory with the domain's name: `ca.pem` its certificate, `ca.key` its key, encrypted (PBES2), or
//! `ca.token` the URI of its key in a token,
//! `ca.crl` its revocation list, `issued/SERIAL.pem` what it issued. Invariants: the key is on the disk encrypted only;
//! what is issued is on the disk before it is printed; a revocation list never loses an entry and its number grows.
//! Whatever needs the key renews the list too. Fails: [`AuthorityError`], and then nothing is changed but what was told.

pub mod brought;
mod files;
mod held;
pub mod online;
mod register;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use files::{Files, content, first_certificate, old_list, read, system};
use held::Held;

use super::cli::{Cert, Certified};
use super::protocol::Finding;
use crate::address::{Domain, Mailbox};
use crate::sasl::Secret;
use crate::smime::authority::{Authority, Request, RevocationList, Revoked, Validity, serial};
use crate::smime::trust::{Record, names_of};
use crate::smime::{Certificate, Fault, Key, KeyKind};
use crate::timestamp::Timestamp;
use crate::token::{TokenError, TokenKey};
use crate::{disk, random};

/// How long an authority's own certificate is valid.
const AUTHORITY_DAYS: u32 = 3650;
/// How long a revocation list is valid: a renewal each week leaves three weeks for mending.
const LIST_DAYS: u32 = 30;
/// How long before its end something is told of.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// How far back a certificate's time begins, for clocks that are slow.
const SLACK: Duration = Duration::from_secs(3600);

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system refused.
    #[error("{}: {error}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// The token of a key refuses its PIN.
    #[error("{0}")]
    Pin(TokenError),
    /// A key that was open does not sign.
    #[error("{0}")]
    Signing(Fault),
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// Where it happens, and when.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory of authorities.
    pub directory: &'a Path,
    /// The domains served here.
    pub served: &'a [Domain],
    /// The time now.
    pub now: Timestamp,
    /// Whether to print JSON.
    pub json: bool,
}

/// What the pass phrase is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassPhrase {
    /// A new key.
    New,
    /// The key that is there.
    Known,
}

/// Does what is wanted; text to print comes back. `ask` gives the pass phrase.
pub fn run(
    wanted: &Cert,
    place: Place<'_>,
    ask: impl FnOnce(&Domain, PassPhrase) -> Result<Secret, String>,
) -> Result<String, AuthorityError> {
    match wanted {
        Cert::Init { domain, name, pkcs11, .. } => init(place, domain, (name.as_deref(), pkcs11.as_deref()), ask),
        Cert::Issue { address, request, out, days, .. } => {
            let opened = Opened::new(place, address.domain(), ask)?;
            let held = opened.held()?;
            let request =
                request.as_deref().map(|path| read(path).and_then(|text| content(path, Request::read(&text))));
            match request.transpose()? {
                Some(request) => {
                    let certificate = held.issue(address, &request.spki, *days)?;
                    held.renew_list(&[])?;
                    opened.give(&certificate, address, None, out.as_deref())
                }
                None => {
                    let key = Key::generate(KeyKind::P256).map_err(refused)?;
                    let out = out.as_deref().unwrap_or(Path::new("."));
                    let path = keep_new(&key, address, out)?;
                    let issued = held.issue(address, key.spki(), *days);
                    let issued = issued.and_then(|certificate| held.renew_list(&[]).map(|_| certificate));
                    // A key without a certificate would only stand in the way of the next.
                    let certificate = issued.inspect_err(|_| _ = fs::remove_file(&path))?;
                    opened.give(&certificate, address, Some(&path), Some(out))
                }
            }
        }
        Cert::Renew { what: Certified::Domain(domain), .. } => Opened::new(place, domain, ask)?.held()?.renew_list(&[]),
        Cert::Renew { what, out, days, .. } => {
            let (domain, old) = place.newest(what)?;
            let opened = Opened::new(place, &domain, ask)?;
            let held = opened.held()?;
            let certificate = held.issue(&old.address, old.certificate.spki(), *days)?;
            held.renew_list(&[])?;
            opened.give(&certificate, &old.address, None, out.as_deref())
        }
        Cert::Revoke { what: Certified::Domain(_), .. } => {
            Err(AuthorityError::Refused("name an address or a serial number to revoke".to_owned()))
        }
        Cert::Revoke { what, .. } => {
            let (domain, found) = place.matching(what)?;
            Opened::new(place, &domain, ask)?.held()?.renew_list(&revocations(&found, place.now))
        }
        Cert::List { domain, .. } => place.list(domain.as_ref()),
    }
}

/// Those of these addresses that have certificates which are not revoked.
pub fn certified(place: Place<'_>, addresses: &[Mailbox]) -> Result<Vec<Mailbox>, AuthorityError> {
    let mut found = Vec::new();
    for address in addresses {
        if !Files::of(place.directory, address.domain()).certificate().exists() {
            continue;
        }
        let issued = place.issued(address.domain())?;
        let holds = |one: &Issued| one.revoked.is_none() && one.certificate.not_after() >= place.now;
        let its = |one: &Issued| one.address.key() == address.key() && holds(one);
        if issued.iter().any(its) {
            found.push(address.clone());
        }
    }
    Ok(found)
}

/// The record by which a domain publishes its authority, where it has one: owner name and data.
pub fn published(directory: &Path, domain: &Domain) -> Result<Option<(String, String)>, AuthorityError> {
    let path = directory.join(domain.as_str()).join("ca.pem");
    if !path.exists() {
        return Ok(None);
    }
    let certificate = first_certificate(&path)?;
    Ok(Some((crate::smime::trust::wildcard(domain), Record::authority(&certificate).presentation())))
}

/// How the authorities fare, for [`super::check`].
pub fn findings(place: Place<'_>) -> Vec<Finding> {
    let domains = match place.domains() {
        Ok(domains) => domains,
        Err(fault) => return vec![Finding::error("authority", fault.to_string(), READABLE)],
    };
    let one = |domain: &Domain| {
        let subject = format!("authority of {domain}");
        place.finding(&subject, domain).unwrap_or_else(|fault| Finding::error(&subject, fault.to_string(), READABLE))
    };
    domains.iter().map(one).collect()
}

const READABLE: &str = "let this user read the directory, and mend what is damaged from a copy";

/// One certificate that was issued.
struct Issued {
    address: Mailbox,
    certificate: Certificate,
    revoked: Option<Timestamp>,
}

fn init(
    place: Place<'_>,
    domain: &Domain,
    (name, token): (Option<&str>, Option<&str>),
    ask: impl FnOnce(&Domain, PassPhrase) -> Result<Secret, String>,
) -> Result<String, AuthorityError> {
    if !place.served.contains(domain) {
        let fault = format!("{domain} is not served here; add a section [[domain]] for it first");
        return Err(AuthorityError::Refused(fault));
    }
    let files = Files::of(place.directory, domain);
    let certificate = files.certificate();
    files::make(&files.issued())?;
    // Two at one time would each write a key.
    let lock = files::lock(files.directory())?;
    if certificate.exists() {
        let fault = format!("{domain} has an authority already: {}", certificate.display());
        return Err(AuthorityError::Refused(fault));
    }
    let pass_phrase = ask(domain, PassPhrase::New).map_err(AuthorityError::Refused)?;
    let key = match token {
        Some(uri) => TokenKey::generate(&uri.parse().map_err(refused)?, &pass_phrase).map_err(refused)?.into(),
        None => Arc::from(Key::generate(KeyKind::P256).map_err(refused)?),
    };
    let name = name.map_or_else(|| format!("{domain} messages"), str::to_owned);
    let serial = serial(entropy()?);
    let authority =
        Authority::create(domain, &name, key, validity(place.now, AUTHORITY_DAYS), &serial).map_err(refused)?;
    match token {
        Some(uri) => files::write(&files.token(), 0o600, format!("{uri}\n").as_bytes())?,
        None => {
            let pem = authority.key_pem(pass_phrase.reveal()).map_err(refused)?;
            files::write(&files.key(), 0o600, pem.as_bytes())?;
        }
    }
    let held = Held::lock(domain, &files, &authority, place.now, Some(lock))?;
    let list = held.renew_list(&[])?;
    // Last: from now on there is an authority.
    files::write(&certificate, 0o644, authority.certificate().to_pem().as_bytes())?;
    Ok(format!("{}\n{list}", certificate.display()))
}

/// An authority whose key was opened by an administrator.
struct Opened<'a> {
    place: Place<'a>,
    domain: Domain,
    files: Files,
    authority: Authority,
}

impl<'a> Opened<'a> {
    fn new(
        place: Place<'a>,
        domain: &Domain,
        ask: impl FnOnce(&Domain, PassPhrase) -> Result<Secret, String>,
    ) -> Result<Self, AuthorityError> {
        let files = Files::of(place.directory, domain);
        if !files.certificate().exists() {
            let fault = format!("{domain} has no authority; make one with impartctl cert init {domain}");
            return Err(AuthorityError::Refused(fault));
        }
        let pass_phrase = ask(domain, PassPhrase::Known).map_err(AuthorityError::Refused)?;
        let authority = held::open(&files, pass_phrase.reveal())?;
        Ok(Opened { place, domain: domain.clone(), files, authority })
    }

    fn held(&self) -> Result<Held<'_>, AuthorityError> {
        Held::lock(&self.domain, &self.files, &self.authority, self.place.now, None)
    }

    /// Hands out a certificate with that of the authority: printed, or in a file beside its key.
    fn give(
        &self,
        certificate: &Certificate,
        address: &Mailbox,
        key: Option<&Path>,
        out: Option<&Path>,
    ) -> Result<String, AuthorityError> {
        let chain = format!("{}{}", certificate.to_pem(), self.authority.certificate().to_pem());
        let Some(out) = out else { return Ok(chain) };
        let name = file_name(address);
        let mut text = String::new();
        if let Some(path) = key {
            text.push_str(&format!("{}\n", path.display()));
        }
        let path = out.join(format!("{name}.pem"));
        disk::replace(&path, 0o644, &[chain.as_bytes()]).map_err(system(&path))?;
        text.push_str(&format!("{}\n", path.display()));
        Ok(text)
    }
}

fn revocations(found: &[Issued], at: Timestamp) -> Vec<Revoked> {
    found.iter().map(|one| Revoked { serial: one.certificate.serial().to_vec(), at }).collect()
}

impl Place<'_> {
    /// The domains that have an authority, in order.
    fn domains(&self) -> Result<Vec<Domain>, AuthorityError> {
        let mut found = Vec::new();
        match fs::read_dir(self.directory) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(system(self.directory))?;
                    let domain = entry.file_name().to_str().and_then(|name| Domain::parse(name).ok());
                    found.extend(domain.filter(|_| entry.path().join("ca.pem").exists()));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(system(self.directory)(error)),
        }
        found.sort();
        Ok(found)
    }

    /// What a domain's authority issued, oldest first.
    fn issued(&self, domain: &Domain) -> Result<Vec<Issued>, AuthorityError> {
        let directory = self.directory.join(domain.as_str());
        let list = old_list(&directory.join("ca.crl"))?;
        let folder = directory.join("issued");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(system(&folder))? {
            let path = entry.map_err(system(&folder))?.path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                continue;
            }
            let certificate = first_certificate(&path)?;
            let address = names_of(&certificate).ok().and_then(|names| names.first().cloned());
            let Some(address) = address else {
                return Err(AuthorityError::Content { path, fault: Fault::Certificate("it names no address") });
            };
            let on_list = |list: &RevocationList| {
                list.revoked.iter().find(|one| one.serial == certificate.serial()).map(|one| one.at)
            };
            let revoked = list.as_ref().and_then(on_list);
            found.push(Issued { address, certificate, revoked });
        }
        found.sort_by_key(|one| (one.certificate.not_before(), one.certificate.serial().to_vec()));
        Ok(found)
    }

    /// The certificates that are meant and not revoked.
    fn matching(&self, what: &Certified) -> Result<(Domain, Vec<Issued>), AuthorityError> {
        let domains = match what {
            Certified::Address(address) => vec![address.domain().clone()],
            Certified::Domain(domain) => vec![domain.clone()],
            Certified::Serial(_) => self.domains()?,
        };
        for domain in domains {
            if !self.directory.join(domain.as_str()).join("ca.pem").exists() {
                continue;
            }
            let mut issued = self.issued(&domain)?;
            issued.retain(|one| {
                let meant = match what {
                    Certified::Address(address) => one.address.key() == address.key(),
                    Certified::Serial(serial) => one.certificate.serial() == serial,
                    Certified::Domain(_) => true,
                };
                meant && one.revoked.is_none()
            });
            if !issued.is_empty() {
                return Ok((domain, issued));
            }
        }
        Err(AuthorityError::Refused("no such certificate was issued here, or it was revoked before".to_owned()))
    }

    fn newest(&self, what: &Certified) -> Result<(Domain, Issued), AuthorityError> {
        let (domain, mut issued) = self.matching(what)?;
        match issued.pop() {
            Some(newest) => Ok((domain, newest)),
            None => Err(AuthorityError::Refused("no such certificate was issued here".to_owned())),
        }
    }

    fn list(&self, only: Option<&Domain>) -> Result<String, AuthorityError> {
        let mut text = String::new();
        for domain in self.domains()?.iter().filter(|domain| only.is_none_or(|only| only == *domain)) {
            for one in self.issued(domain)? {
                text.push_str(&self.row(&one));
            }
        }
        Ok(text)
    }

    /// The first thing that needs doing.
    fn finding(&self, subject: &str, domain: &Domain) -> Result<Finding, AuthorityError> {
        let directory = self.directory.join(domain.as_str());
        let own = first_certificate(&directory.join("ca.pem"))?;
        let due = old_list(&directory.join("ca.crl"))?.and_then(|list| list.next_update).unwrap_or_default();
        let soon = self.now.after(SOON);
        let issued = self.issued(domain)?;
        let live = |one: &&Issued| one.revoked.is_none() && one.certificate.not_after() >= self.now;
        let renew = format!("impartctl cert renew {domain}");
        Ok(if own.not_after() < soon {
            let end = own.not_after().rfc3339_local();
            Finding::error(
                subject,
                format!("it ends on {end}"),
                "make a new one in another directory, and publish both",
            )
        } else if due < self.now {
            Finding::error(subject, "its revocation list is out of date: nobody with the list believes it", renew)
        } else if due < soon {
            Finding::warning(subject, format!("its revocation list is due on {}", due.rfc3339_local()), renew)
        } else if let Some(one) = issued.iter().filter(live).find(|one| self.is_last_and_ends(one, &issued, soon)) {
            let end = one.certificate.not_after().rfc3339_local();
            let fault = format!("the certificate of {} ends on {end}", one.address);
            Finding::warning(subject, fault, format!("impartctl cert renew {}", one.address))
        } else {
            Finding::ok(subject, format!("{} certificates hold", issued.iter().filter(live).count()))
        })
    }

    /// Whether nothing newer was issued for the address.
    fn is_last_and_ends(&self, one: &Issued, all: &[Issued], soon: Timestamp) -> bool {
        let later = |other: &Issued| {
            other.revoked.is_none()
                && other.address.key() == one.address.key()
                && other.certificate.not_after() > one.certificate.not_after()
        };
        one.certificate.not_after() < soon && !all.iter().any(later)
    }

    fn row(&self, one: &Issued) -> String {
        let serial = hexadecimal(one.certificate.serial());
        let until = one.certificate.not_after();
        let state = match one.revoked {
            Some(_) => "revoked",
            None if until < self.now => "expired",
            None => "valid",
        };
        if self.json {
            let object = json!({
                "serial": serial,
                "address": one.address.to_string(),
                "from": one.certificate.not_before().rfc3339(),
                "until": until.rfc3339(),
                "state": state,
                "revoked": one.revoked.map(Timestamp::rfc3339),
            });
            return format!("{object}\n");
        }
        format!("{serial}  {state:<7}  until {}  {}\n", until.rfc3339_local(), one.address)
    }
}

/// A new secret key in a file of its own; one that is there may be the only copy of another.
fn keep_new(key: &Key, address: &Mailbox, out: &Path) -> Result<PathBuf, AuthorityError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = out.join(format!("{}.key", file_name(address)));
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let fault = format!("{} is a key already; name another directory with --out", path.display());
            return Err(AuthorityError::Refused(fault));
        }
        file => file.map_err(system(&path))?,
    };
    let written = file.write_all(key.to_pem().as_bytes()).and_then(|()| file.sync_all());
    written.inspect_err(|_| _ = fs::remove_file(&path)).map_err(system(&path))?;
    Ok(path)
}

/// A name for files: the address, with an underscore for what a path or a shell would take for something else.
fn file_name(address: &Mailbox) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@._-+".contains(c);
    let name: String = address.to_string().chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn validity(now: Timestamp, days: u32) -> Validity {
    Validity { from: now.before(SLACK), until: now.after(Duration::from_secs(u64::from(days) * 86_400)) }
}

fn entropy() -> Result<[u8; 16], AuthorityError> {
    random::octets().map_err(refused)
}

fn refused(fault: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Refused(fault.to_string())
}

#[cfg(test)]
mod tests;
