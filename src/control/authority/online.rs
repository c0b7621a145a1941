//! The authorities of the domains for which the daemon issues certificates by itself.
//!
//! In: which domains, where the pass phrases of their keys are; requests of people who have logged in. Out: certificates,
//! revocations, on the disk before they are given out. Invariants: a certificate is issued for an address of who asks,
//! for a key that signed the request and was never revoked, and no more of them than [`limits`] say; asked for the same
//! key again, the same certificate comes back. Fails with the reply that refuses. RFC 2986 §4, RFC 5280 §5.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::brought::Brought;
use super::files::Files;
use super::held::{self, Held};
use super::register::Register;
use super::{AuthorityError, SLACK};
use crate::accounts::file::{Stamp, stamp};
use crate::address::{Domain, Mailbox};
use crate::control::protocol::Finding;
use crate::limits;
use crate::presence::{Certifier, Refusal, no_authority};
use crate::reply::{EnhancedCode, Reply};
use crate::sasl::Secret;
use crate::smime::authority::{Authority, Request, Revoked};
use crate::smime::{Certificate, Fault};
use crate::timestamp::Timestamp;

/// A day, in which so many certificates are issued.
const DAY: Duration = Duration::from_secs(86_400);

/// Where the pass phrase of a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassPhrases {
    /// A file.
    pub file: Option<PathBuf>,
    /// The name of a credential that systemd gives.
    pub credential: String,
}

impl PassPhrases {
    /// The file that has it, as far as there is one.
    pub fn path(&self) -> Option<PathBuf> {
        let credential = || Some(PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(&self.credential));
        self.file.clone().or_else(|| credential().filter(|path| path.exists()))
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// The fault in words.
    pub fn read(path: &std::path::Path) -> Result<Secret, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        match text.lines().next().unwrap_or_default() {
            "" => Err(format!("{}: its first line must be the pass phrase", path.display())),
            line => Ok(Secret::new(line)),
        }
    }
}

/// One authority that issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The domain.
    pub domain: Domain,
    /// The directory of authorities.
    pub directory: PathBuf,
    /// Where the pass phrase is.
    pub pass_phrase: PassPhrases,
    /// How many days a certificate is valid.
    pub days: u32,
}

/// What stamps of the certificate and the key say that they are still those that were read.
type Stamps = [Option<Stamp>; 2];

#[derive(Debug, Default)]
struct State {
    opened: Option<(Authority, Stamps)>,
    /// A pass phrase that did not open it, in words, with the stamps of all that it was tried with.
    failed: Option<(Stamps, Option<Stamp>, String)>,
    /// What was wrong when it was looked after last.
    fault: Option<String>,
}

#[derive(Debug)]
struct One {
    options: Options,
    files: Files,
    /// Locked as long as the key is at work, which may wait for a token.
    state: Mutex<State>,
    /// Locked for a look at it alone.
    register: Mutex<Register>,
}

/// The authorities that issue, and what people have brought of others. Nothing of them is read before it is needed.
#[derive(Debug)]
pub struct Online {
    all: Vec<One>,
    brought: Brought,
}

impl Online {
    /// For these domains.
    pub fn new(all: Vec<Options>, brought: Brought) -> Online {
        let one = |options: Options| {
            let files = Files::of(&options.directory, &options.domain);
            One { options, files, state: Mutex::default(), register: Mutex::default() }
        };
        Online { all: all.into_iter().map(one).collect(), brought }
    }

    fn of(&self, address: &Mailbox) -> Result<&One, Refusal> {
        let one = self.all.iter().find(|one| one.options.domain == *address.domain());
        one.ok_or_else(no_authority)
    }

    /// Writes new revocation lists where it is time; what goes wrong is told, the same only once.
    pub fn keep(&self, now: Timestamp) -> Vec<String> {
        let keep = |one: &One| {
            // A key that is at work is looked after later: its token may hang, and this comes again and again.
            let mut state = match one.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(state)) => state.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            let kept = one.with_state(&mut state, now, |held| held.keep_list());
            let fault = kept.err().map(|fault| fault.to_string());
            let before = std::mem::replace(&mut state.fault, fault.clone());
            Some(format!(
                "the authority of {}: {}",
                one.options.domain,
                fault.filter(|fault| before.as_ref() != Some(fault))?
            ))
        };
        self.all.iter().filter_map(keep).collect()
    }
}

/// Whether the authority can be opened, for [`crate::control::check`].
pub fn finding(options: &Options) -> Finding {
    let subject = format!("certificates of {}", options.domain);
    let one = One {
        options: options.clone(),
        files: Files::of(&options.directory, &options.domain),
        state: Mutex::default(),
        register: Mutex::default(),
    };
    let opened = one.open(&mut State::default()).map(drop);
    match opened {
        Ok(()) => Finding::ok(subject, "the daemon issues them by itself"),
        Err(fault) => {
            let remedy = format!(
                "make the authority with impartctl cert init {}, and let passphrase_file or credential \
                 of its section [[authority]] lead to its pass phrase",
                options.domain
            );
            Finding::error(subject, fault.to_string(), remedy)
        }
    }
}

impl One {
    fn open<'a>(&self, state: &'a mut State) -> Result<&'a Authority, AuthorityError> {
        let key = self.files.token();
        let key = if key.exists() { key } else { self.files.key() };
        let stamps = [stamp(&self.files.certificate()), stamp(&key)];
        let State { opened, failed, .. } = state;
        if opened.as_ref().is_none_or(|(_, seen)| *seen != stamps) {
            *opened = None;
            let path = self.options.pass_phrase.path().ok_or_else(|| {
                AuthorityError::Refused("there is neither a file nor a credential with the pass phrase".to_owned())
            })?;
            let phrase = stamp(&path);
            // A token locks a PIN that was wrong a few times: what did not open it is not tried twice.
            if let Some((.., fault)) = failed.as_ref().filter(|(seen, with, _)| (seen, with) == (&stamps, &phrase)) {
                return Err(AuthorityError::Refused(fault.clone()));
            }
            let pass_phrase = PassPhrases::read(&path).map_err(AuthorityError::Refused)?;
            let authority = held::open(&self.files, pass_phrase.reveal());
            let lasting = authority.as_ref().err().filter(|fault| is_lasting(fault));
            *failed = lasting.map(|fault| (stamps, phrase, fault.to_string()));
            *opened = Some((authority?, stamps));
        }
        match opened {
            Some((authority, _)) => Ok(authority),
            None => Err(AuthorityError::Refused("it is not open".to_owned())),
        }
    }

    fn lock_register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The register as it is now. Not to be held while the key is at work.
    fn register(&self) -> Result<MutexGuard<'_, Register>, AuthorityError> {
        let mut register = self.lock_register();
        register.refresh(&self.files)?;
        Ok(register)
    }

    /// Does something with the authority, locked.
    fn with<T>(
        &self,
        now: Timestamp,
        act: impl FnOnce(&Held<'_>) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        self.with_state(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), now, act)
    }

    fn with_state<T>(
        &self,
        state: &mut State,
        now: Timestamp,
        act: impl FnOnce(&Held<'_>) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        let authority = self.open(state)?;
        let held = Held::lock(&self.options.domain, &self.files, authority, now, None)?;
        let done = act(&held);
        drop(held);
        if matches!(done, Err(AuthorityError::Signing(_))) {
            // The session with the token may be over, as after its restart: the next who asks begins another.
            state.opened = None;
        }
        done
    }

    fn issue(
        &self,
        address: &Mailbox,
        request: &Request,
        now: Timestamp,
    ) -> Result<Result<Certificate, Refusal>, AuthorityError> {
        self.with(now, |held| {
            let register = self.register()?;
            if let Some(known) = register.valid(address, now).find(|one| one.spki() == request.spki && !one.is_due(now))
            {
                return Ok(Ok(known.clone()));
            }
            if let Err(refusal) = may_issue(&register, address, &request.spki, now) {
                return Ok(Err(refusal));
            }
            drop(register);
            let certificate = held.issue(address, &request.spki, self.options.days)?;
            self.lock_register().forget_stamps();
            held.keep_list()?;
            Ok(Ok(certificate))
        })
    }

    /// How many were revoked now, and whether any of those meant was revoked before.
    fn revoke(
        &self,
        addresses: &[Mailbox],
        only: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(usize, bool), AuthorityError> {
        self.with(now, |held| {
            let register = self.register()?;
            let all = addresses.iter().flat_map(|address| register.all(address));
            let meant = all.filter(|one| only.is_none_or(|only| one.der() == only));
            let (before, rest): (Vec<_>, Vec<_>) = meant.partition(|one| register.is_revoked(one));
            let rest = rest.into_iter().filter(|one| one.not_after() >= now);
            let revoked: Vec<Revoked> = rest.map(|one| Revoked { serial: one.serial().to_vec(), at: now }).collect();
            let before = !before.is_empty();
            drop(register);
            if !revoked.is_empty() {
                held.renew_list(&revoked)?;
                self.lock_register().forget_stamps();
            }
            Ok((revoked.len(), before))
        })
    }
}

/// Whether another attempt with the same files would fail again. A token that is away may come back.
fn is_lasting(fault: &AuthorityError) -> bool {
    matches!(fault, AuthorityError::Pin(_) | AuthorityError::Content { .. })
}

/// Bounds on what one address gets.
fn may_issue(register: &Register, address: &Mailbox, spki: &[u8], now: Timestamp) -> Result<(), Refusal> {
    let all = register.all(address);
    if all.iter().any(|one| one.spki() == spki && register.is_revoked(one)) {
        return Err(refuse(550, (5, 7, 1), "that key was revoked; make another by impart key new"));
    }
    let today = all.iter().filter(|one| one.not_before().after(SLACK).after(DAY) > now).count();
    if today >= limits::ISSUED_IN_A_DAY {
        return Err(refuse(452, (4, 5, 3), "that address has had its certificates of today, try again tomorrow"));
    }
    if register.valid(address, now).count() >= limits::CERTIFICATES_HELD {
        return Err(refuse(452, (4, 5, 3), "that address has too many certificates; revoke one by impart key revoke"));
    }
    Ok(())
}

pub(super) fn refuse(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Refusal {
    Reply::new(code, EnhancedCode::new(class, subject, detail), text.into())
}

fn unreadable(fault: Fault) -> Refusal {
    refuse(554, (5, 6, 0), format!("the request for a certificate is refused: {fault}"))
}

fn broken(domain: &Domain) -> impl FnOnce(AuthorityError) -> Refusal + '_ {
    move |fault| {
        tracing::error!("the authority of {domain} cannot be used: {fault}");
        refuse(451, (4, 3, 0), "the authority cannot be used now, try again later")
    }
}

fn not_kept(fault: AuthorityError) -> Refusal {
    tracing::error!("certificates that people bring cannot be kept: {fault}");
    refuse(451, (4, 3, 0), "the certificate cannot be kept now, try again later")
}

/// The one address that is asked for, among those of who asks.
fn address<'a>(addresses: &'a [Mailbox], request: &Request) -> Result<&'a Mailbox, Refusal> {
    let names = request.names().map_err(unreadable)?;
    let mut wanted = names.mailboxes();
    let Some(first) = wanted.next() else { return addresses.first().ok_or_else(no_authority) };
    if wanted.any(|other| other.key() != first.key()) {
        return Err(refuse(554, (5, 6, 0), "a certificate is for one address; ask for each by a request of its own"));
    }
    let own = addresses.iter().find(|own| own.key() == first.key());
    own.ok_or_else(|| {
        refuse(550, (5, 7, 1), "the request is for an address that is not the account's; ask for your own")
    })
}

impl Certifier for Online {
    fn issue(&self, addresses: &[Mailbox], request: &[u8], now: Timestamp) -> Result<Vec<u8>, Refusal> {
        if addresses.iter().all(|address| self.of(address).is_err()) {
            return Err(no_authority());
        }
        let request = Request::read(request).map_err(unreadable)?;
        let address = address(addresses, &request)?;
        let one = self.of(address)?;
        let issued = one.issue(address, &request, now).map_err(broken(&one.options.domain))?;
        let certificate = issued?;
        tracing::info!("a certificate for {address} was issued: {}", super::hexadecimal(certificate.serial()));
        Ok(certificate.der().to_vec())
    }

    fn bring(&self, addresses: &[Mailbox], certificate: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let certificate = Certificate::from_der(certificate)
            .map_err(|fault| refuse(554, (5, 6, 0), format!("the certificate cannot be read: {fault}")))?;
        let address = Brought::examine(&certificate, addresses, now)?;
        self.brought.keep(address, &certificate).map_err(not_kept)?;
        tracing::info!("{address} brought a certificate: {}", super::hexadecimal(certificate.serial()));
        Ok(())
    }

    fn revoke(&self, addresses: &[Mailbox], only: Option<&[u8]>, now: Timestamp) -> Result<usize, Refusal> {
        let mut count = self.brought.withdraw(addresses, only).map_err(not_kept)?;
        if count > 0 {
            tracing::info!("{} told {count} certificates of other authorities no more", addresses[0]);
        }
        let (mut authority, mut known) = (count > 0, count > 0);
        for one in &self.all {
            let own: Vec<Mailbox> =
                addresses.iter().filter(|address| *address.domain() == one.options.domain).cloned().collect();
            if own.is_empty() {
                continue;
            }
            authority = true;
            let (revoked, before) = one.revoke(&own, only, now).map_err(broken(&one.options.domain))?;
            if revoked > 0 {
                tracing::info!("{revoked} certificates of {} were revoked", own[0]);
            }
            count += revoked;
            known |= revoked > 0 || before;
        }
        if !authority {
            return Err(no_authority());
        }
        // Whoever has lost the answer asks again, and is told the same.
        if only.is_some() && !known {
            return Err(refuse(550, (5, 7, 1), "that certificate was not issued here to you, or its time is over"));
        }
        Ok(count)
    }

    fn find(&self, who: &Mailbox, now: Timestamp) -> Result<Option<Vec<u8>>, Refusal> {
        let brought = self.brought.of(who, now).unwrap_or_else(|fault| {
            tracing::error!("a certificate that {who} brought cannot be read: {fault}");
            None
        });
        let register = match self.of(who) {
            Ok(one) => Some(one.register().map_err(broken(&one.options.domain))?),
            Err(_) => None,
        };
        let issued = register.iter().flat_map(|register| register.valid(who, now));
        // The newest that messages can be encrypted to; else the newest that proves signatures.
        let newest = issued.chain(&brought).max_by_key(|one| (one.may_encrypt(), one.not_before()));
        Ok(newest.map(|one| one.der().to_vec()))
    }
}

#[cfg(test)]
mod tests;
