//! Signing and encrypting what goes, examining what comes.
//!
//! In: entities, the person's keys, whom the person believes. Out: [`Sealed`] entities; [`Opened`] ones with their [`Mark`].
//! Invariants: what is to be encrypted is encrypted to everybody or not sent; only what all layers protect is shown with a
//! mark that says so; certificates are learned from valid signatures alone, or, where the person wants it, from the first
//! that is right. RFC 8551, RFC 9788.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;

use super::account::Account;
use super::error::ClientError;
use super::keys::{KeyError, Keys, Known, Reader, is_in_time};
use super::mark::{Mark, Proof};
use super::{Protect, clean};
use crate::address::{Mailbox, ReversePath};
use crate::mime::signed::describe;
use crate::mime::{self, Fields, unfold};
use crate::smime::protect::{Scheme, prepare};
use crate::smime::trust::{Anchors, Distrust, Pin, Presented, Published, Trust};
use crate::smime::{
    Certificate, Cipher, Circumstances, EncryptOptions, Examined, Finding, Form, Identity, SignOptions, Verdict,
    encrypt, examine, sign,
};
use crate::timestamp::Timestamp;
use crate::tls::signers::{self, Revocations};

/// An entity that was signed or encrypted.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The entity, as it goes.
    pub entity: Vec<u8>,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

/// An entity without its protection.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    /// The fields that count, and the part to show.
    pub entity: Cow<'a, [u8]>,
    /// How it was protected.
    pub mark: Mark,
    /// Keys that might have decrypted it, and cannot be read.
    pub damaged: Vec<String>,
}

impl Opened<'_> {
    fn unprotected(entity: &[u8]) -> Opened<'_> {
        Opened { entity: Cow::Borrowed(entity), mark: Mark::default(), damaged: Vec::new() }
    }
}

/// How and when an entity came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The envelope sender.
    pub sender: &'a ReversePath,
    /// The addresses by which it came here.
    pub recipients: &'a [Mailbox],
    /// The time.
    pub now: Timestamp,
}

/// An entity whose layers are off, before anybody is asked about who has signed it.
#[derive(Debug)]
pub struct Unsealed {
    examined: Examined,
    damaged: Vec<KeyError>,
}

impl Unsealed {
    /// The author whose domain may publish something of the signer.
    pub fn author(&self) -> Option<Mailbox> {
        self.examined.author().filter(|_| !self.examined.signers().is_empty())
    }
}

type Load = Box<dyn FnOnce() -> Result<Trust, String> + Send>;

/// Keys, and whom to believe.
pub struct Protector {
    keys: Keys,
    address: Mailbox,
    trust_first: bool,
    /// What domains publish for people of whom no certificate is kept, by their addresses.
    published: Mutex<HashMap<String, Certificate>>,
    trust: LazyLock<Result<Trust, String>, Load>,
}

impl std::fmt::Debug for Protector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protector").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Protector {
    /// For an account whose files are in `directory`. Authorities are read when the first signature is examined.
    pub fn new(account: &Account, directory: &Path) -> Protector {
        let files = account.signer_authorities.clone().map(|file| vec![file]);
        let lists = Revocations { files: account.revocations.clone(), lists: Vec::new() };
        let load: Load = Box::new(move || signers::trust(files.as_deref(), &lists).map_err(|fault| fault.to_string()));
        Protector {
            keys: Keys::at(directory),
            address: account.address.clone(),
            trust_first: account.trust_first,
            published: Mutex::default(),
            trust: LazyLock::new(load),
        }
    }

    /// Those to whom it is to be encrypted, and of whom no certificate serves: their domains may publish one.
    pub fn lacking(&self, to: &[Mailbox], protect: Protect, now: Timestamp) -> Result<Vec<Mailbox>, KeyError> {
        let encrypts = match protect {
            Protect::Asked { encrypt, .. } => encrypt,
            Protect::Possible => self.keys.signer(now)?.is_some(),
        };
        if encrypts { self.recipients(to, now).map(|(_, missing)| missing) } else { Ok(Vec::new()) }
    }

    /// Takes what somebody's domain publishes, until it is told again.
    pub fn publish(&self, who: &Mailbox, certificates: Vec<Certificate>) {
        // The record may be a wildcard's.
        let own = certificates.into_iter().find(|certificate| names(certificate, who));
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        match own {
            Some(own) => _ = published.insert(who.key(), own),
            None => _ = published.remove(&who.key()),
        }
    }

    /// Signs and encrypts an entity as it is asked for; `None`: it goes as it is.
    pub fn seal(
        &self,
        entity: &[u8],
        to: &[Mailbox],
        protect: Protect,
        now: Timestamp,
    ) -> Result<Option<Sealed>, ClientError> {
        let (asked_sign, asked_encrypt) = match protect {
            Protect::Asked { sign: false, encrypt: false } => return Ok(None),
            Protect::Asked { sign, encrypt } => (sign, encrypt),
            Protect::Possible => (true, true),
        };
        let signer = self.keys.signer(now)?.filter(|_| asked_sign);
        let mut readers = Vec::new();
        if asked_encrypt {
            let (found, missing) = self.recipients(to, now)?;
            match protect {
                Protect::Asked { .. } if !missing.is_empty() => {
                    return Err(ClientError::NoCertificate { who: missing });
                }
                Protect::Possible if !missing.is_empty() || signer.is_none() => {}
                _ => readers = found,
            }
        }
        match (&signer, protect) {
            (None, Protect::Asked { sign: true, .. }) => {
                return Err(ClientError::NoKey { account: self.address.clone() });
            }
            (None, _) if readers.is_empty() => return Ok(None),
            _ => {}
        }
        let entity = protected(entity, signer.as_ref(), &readers, now)?;
        Ok(Some(Sealed { entity, signed: signer.is_some(), encrypted: !readers.is_empty() }))
    }

    /// Those who are to read it, the person among them, and those of whom no certificate serves.
    fn recipients(&self, to: &[Mailbox], now: Timestamp) -> Result<(Vec<Reader>, Vec<Mailbox>), KeyError> {
        let serves = |reader: &Reader| reader.certificate.may_encrypt() && is_in_time(&reader.certificate, now);
        let own = self.keys.own()?.into_iter().filter_map(|own| own.chain.into_iter().next());
        // What this program reads.
        let own = own.map(|certificate| Reader { certificate, ciphers: Cipher::ALL.to_vec() });
        let own: Vec<Reader> = own.filter(serves).collect();
        let (mut found, mut missing) = (own.clone(), Vec::new());
        for who in to {
            if who.key() == self.address.key() && !own.is_empty() {
                continue;
            }
            let known = self.keys.of(who)?.and_then(Known::reader).filter(serves);
            let published = || {
                let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
                let certificate = published.get(&who.key())?.clone();
                Some(Reader { certificate, ciphers: Vec::new() })
            };
            match known.or_else(|| published().filter(serves)) {
                Some(reader) => found.push(reader),
                None => missing.push(who.clone()),
            }
        }
        Ok((found, missing))
    }

    /// The person's keys, and the certificates of others.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Keeps a certificate that somebody's domain tells, if the person believes whoever vouches for it, or believes the first
    /// of somebody of whom nothing is known.
    pub(super) fn take(&self, who: &Mailbox, certificate: Certificate, now: Timestamp) -> Result<bool, KeyError> {
        if !names(&certificate, who) || !certificate.may_encrypt() || !is_in_time(&certificate, now) {
            return Ok(false);
        }
        let presented = Presented { certificate: &certificate, offered: &[], lists: &[], signed_at: now, now };
        let vouched = self.trust.as_ref().is_ok_and(|trust| trust.judge(&presented, who, None, &[]).is_ok());
        if vouched || (self.trust_first && self.keys.of(who)?.is_none()) {
            return self.keys.learn(who, &Known { chain: vec![certificate], ciphers: Vec::new(), seen: now });
        }
        Ok(false)
    }

    /// Signs a notice, if there is a key; else it stays as it is.
    pub fn sign_notice(&self, entity: Bytes, now: Timestamp) -> Bytes {
        // The notice is worth more than its signature.
        self.signed(&entity, now).unwrap_or(entity)
    }

    /// An entity, signed; `None`: there is no key that signs.
    pub fn signed(&self, entity: &[u8], now: Timestamp) -> Option<Bytes> {
        let signer = self.keys.signer(now).ok().flatten()?;
        protected(entity, Some(&signer), &[], now).ok().map(Bytes::from)
    }

    /// What an entity of class PRES says, and what is proven of it. A `lasting` one was published for longer than a message
    /// is under way; whoever has signed around it says that it holds now.
    pub fn open_presence(&self, entity: &[u8], lasting: bool, now: Timestamp) -> (Vec<u8>, Mark) {
        let date = Fields::new(entity).flatten().find(|field| field.is("date"));
        let date = date.and_then(|date| mime::date(date.value)).filter(|_| lasting);
        let recipients = if lasting { &[][..] } else { std::slice::from_ref(&self.address) };
        let accepted = date.map_or(now, |date| date.min(now));
        // What is only signed can be read without the keys; then nothing of it is proven.
        let Ok(unsealed) = self.unseal(entity) else { return (entity.to_vec(), Mark::default()) };
        let arrival = Arrival { sender: &ReversePath::Null, recipients, now };
        let opened = self.open_accepted(entity, unsealed, None, &arrival, accepted);
        let (entity, mark) = (opened.entity.into_owned(), opened.mark);
        // Of what servers tell the body alone may be encrypted, inside the signature.
        if !describe(&entity).is_ok_and(|it| it.is("application", "pkcs7-mime")) {
            return (entity, mark);
        }
        let Ok(Some(unsealed)) = self.unseal(&entity) else { return (entity, mark) };
        let inner = self.open_accepted(&entity, Some(unsealed), None, &arrival, accepted);
        let mark = match inner.mark.proof {
            Proof::Undecryptable if !mark.is_broken() => inner.mark,
            _ => Mark { encrypted: true, ..mark },
        };
        (inner.entity.into_owned(), mark)
    }

    /// Takes the layers of an entity off; `None`: it has none.
    pub fn unseal(&self, entity: &[u8]) -> Result<Option<Unsealed>, KeyError> {
        let described = describe(entity);
        let may_be = described.as_ref().map_or(true, |it| it.is_multipart() || it.is("application", "pkcs7-mime"));
        if !may_be && !described.is_ok_and(|it| it.is("application", "x-pkcs7-mime")) {
            return Ok(None);
        }
        let (readers, damaged) = self.keys.readers()?;
        Ok(Some(Unsealed { examined: examine(entity, &readers, &[]), damaged }))
    }

    /// Says what the protection of an entity proves, by what its author's domain publishes too. `recipients` are the addresses
    /// by which it came here.
    pub fn open<'a>(
        &self,
        entity: &'a [u8],
        unsealed: Option<Unsealed>,
        published: Option<&Published>,
        arrival: &Arrival<'_>,
    ) -> Opened<'a> {
        self.open_accepted(entity, unsealed, published, arrival, arrival.now)
    }

    /// The same for what was taken at that time at the latest; who is believed is a question of now.
    fn open_accepted<'a>(
        &self,
        entity: &'a [u8],
        unsealed: Option<Unsealed>,
        published: Option<&Published>,
        arrival: &Arrival<'_>,
        accepted: Timestamp,
    ) -> Opened<'a> {
        let Some(Unsealed { examined, mut damaged }) = unsealed else { return Opened::unprotected(entity) };
        let accepted = received_at(entity).unwrap_or(accepted).min(accepted);
        let verdict = self.verdict(&examined, published, arrival, accepted);
        if !matches!(verdict.finding, Finding::Undecryptable(_)) {
            damaged.clear();
        }
        let damaged = damaged.iter().map(ToString::to_string).collect();
        let mark = mark(&verdict, examined.seen_key(&self.address, arrival.sender.mailbox(), &verdict));
        Opened { entity: content(entity, &examined, verdict.is_valid()), mark, damaged }
    }

    fn verdict(
        &self,
        examined: &Examined,
        published: Option<&Published>,
        arrival: &Arrival<'_>,
        accepted: Timestamp,
    ) -> Verdict {
        let Arrival { sender, recipients, now } = *arrival;
        let fallback;
        let trust = match &*self.trust {
            Ok(trust) => trust,
            Err(fault) => match Trust::new(&Anchors::default()) {
                Ok(nobody) => {
                    fallback = nobody;
                    &fallback
                }
                Err(_) => return Verdict::bare(Finding::Untrusted(Distrust::Unreadable(fault.clone()))),
            },
        };
        let author = examined.author();
        let pins = author.iter().filter(|_| self.trust_first).filter_map(|author| self.pin(author)).collect::<Vec<_>>();
        let judge = |pins: &[Pin]| examined.judge(&Circumstances { now, accepted, recipients, trust, published, pins });
        let mut verdict = judge(&pins);
        let unknown = matches!(verdict.finding, Finding::Untrusted(Distrust::NoChain));
        if let (true, true, true, Some(author)) = (self.trust_first, pins.is_empty(), unknown, &author)
            && let Some(signer) = examined.signers().iter().find(|signer| names(&signer.certificate, author))
        {
            let pin = Pin { author: author.clone(), fingerprint: signer.certificate.fingerprint() };
            verdict = judge(&[pin]);
        }
        if let Err(verdict) = of_sender(&verdict, sender) {
            return verdict;
        }
        if let Some(user) = verdict.user() {
            self.learn(examined, user, accepted);
        }
        verdict
    }

    fn pin(&self, author: &Mailbox) -> Option<Pin> {
        let certificate = match self.keys.of(author) {
            Ok(None) => return None,
            Ok(Some(known)) => known.chain.into_iter().next().filter(|certificate| names(certificate, author)),
            Err(_) => None,
        };
        // What cannot be read was the author's once: no other takes its place unseen.
        let fingerprint = certificate.map_or(NOBODYS, |certificate| certificate.fingerprint());
        Some(Pin { author: author.clone(), fingerprint })
    }

    /// Keeps the certificate of somebody who has signed, to encrypt to.
    fn learn(&self, examined: &Examined, user: &Mailbox, now: Timestamp) {
        let Some(signer) = examined.signers().iter().find(|signer| names(&signer.certificate, user)) else { return };
        let mut chain = vec![signer.certificate.clone()];
        chain.extend(signer.others.iter().cloned());
        let known = Known { chain, ciphers: signer.ciphers.clone(), seen: signer.signing_time.unwrap_or(now).min(now) };
        // Without it the next message of this author teaches it again.
        let _ = self.keys.learn(user, &known);
    }
}

/// The fingerprint of no certificate.
const NOBODYS: [u8; 32] = [0; 32];

/// Whether a certificate is somebody's own.
fn names(certificate: &Certificate, who: &Mailbox) -> bool {
    crate::smime::trust::names_of(certificate).is_ok_and(|names| names.names(who))
}

/// Whoever is proven is the one who is shown.
fn of_sender(verdict: &Verdict, sender: &ReversePath) -> Result<(), Verdict> {
    let Some(shown) = sender.mailbox() else { return Ok(()) };
    let same = match (verdict.user(), verdict.domain()) {
        (Some(user), _) => user.key() == shown.key(),
        (_, Some(domain)) => domain == shown.domain(),
        _ => true,
    };
    if same {
        return Ok(());
    }
    let named = verdict.user().map_or_else(String::new, ToString::to_string);
    let mismatch = crate::smime::verdict::Mismatch::Other { named, from: shown.clone() };
    Err(Verdict { finding: Finding::WrongSender(mismatch), basis: None, ..verdict.clone() })
}

/// The entity with its fields inside, signed, then encrypted.
fn protected(
    entity: &[u8],
    signer: Option<&Identity>,
    readers: &[Reader],
    now: Timestamp,
) -> Result<Vec<u8>, ClientError> {
    let fault = |fault: &dyn std::fmt::Display| ClientError::Seal(fault.to_string());
    let prepared = prepare(entity, !readers.is_empty()).map_err(|error| fault(&error))?;
    let mut part = Cow::Borrowed(prepared.payload());
    if let Some(signer) = signer {
        // Addresses in UTF-8 do not pass every hop in a part that is readable.
        let form = if part.is_ascii() { Form::Detached } else { Form::Opaque };
        let options = SignOptions { form, ..SignOptions::new(now) };
        part = Cow::Owned(sign(&part, signer, &options).map_err(|error| fault(&error))?);
    }
    if !readers.is_empty() {
        let certificates: Vec<Certificate> = readers.iter().map(|reader| reader.certificate.clone()).collect();
        let options = EncryptOptions::common(readers.iter().map(|reader| &reader.ciphers[..]));
        part = Cow::Owned(encrypt(&part, &certificates, &options).map_err(|error| fault(&error))?);
    }
    Ok(prepared.message(&part))
}

/// What is read: the protected fields with the protected part; where no fields are protected, those outside with it. A From
/// that nobody vouches for is not read: the servers have looked at the one outside.
fn content<'a>(entity: &'a [u8], examined: &Examined, valid: bool) -> Cow<'a, [u8]> {
    match examined.protected() {
        _ if !examined.is_protected() => Cow::Borrowed(entity),
        Ok(protected) if protected.scheme != Scheme::Unprotected && valid => Cow::Owned(protected.body.to_vec()),
        Ok(protected) if protected.scheme != Scheme::Unprotected => {
            let mut fields = Fields::new(protected.body);
            let mut out = Vec::with_capacity(protected.body.len() + 512);
            for field in Fields::new(entity).flatten().filter(|field| field.is("from")) {
                out.extend_from_slice(&entity[field.range.clone()]);
            }
            for field in fields.by_ref().flatten().filter(|field| !field.is("from")) {
                out.extend_from_slice(&protected.body[field.range.clone()]);
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&protected.body[fields.body()..]);
            Cow::Owned(out)
        }
        _ => {
            let mut fields = Fields::new(entity);
            let mut out = Vec::with_capacity(examined.payload().len() + 512);
            for field in fields.by_ref().flatten() {
                let structural = field.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
                if !structural && !field.is("mime-version") {
                    out.extend_from_slice(&entity[field.range.clone()]);
                }
            }
            let version: &[u8] = b"MIME-Version: 1.0\r\n";
            Cow::Owned([&out, version, examined.payload()].concat())
        }
    }
}

/// When our own server took it: what waited for this device is not an old message played back.
fn received_at(entity: &[u8]) -> Option<Timestamp> {
    let field = Fields::new(entity).flatten().find(|field| field.is("received"))?;
    let value = unfold(field.value);
    let (_, date) = value.rsplit_once(';')?;
    mime::date(date.as_bytes())
}

fn mark(verdict: &Verdict, seen: Option<[u8; 32]>) -> Mark {
    let proof = match &verdict.finding {
        Finding::ValidUser(_) => Proof::User,
        Finding::ValidDomain(_) => Proof::Domain,
        Finding::Untrusted(_) => Proof::Untrusted,
        Finding::Altered(_) => Proof::Altered,
        Finding::Expired(_) => Proof::Expired,
        Finding::WrongSender(_) => Proof::WrongSender,
        Finding::Replayed(_) => Proof::Replayed,
        Finding::Unsigned(_) => Proof::Unsigned,
        Finding::Undecryptable(_) => Proof::Undecryptable,
    };
    let reason = Some(clean::line(&verdict.reason())).filter(|reason| !reason.is_empty() && proof != Proof::Unsigned);
    let signer = match &verdict.finding {
        Finding::ValidUser(user) => Some(user.to_string()),
        Finding::ValidDomain(domain) => Some(domain.to_string()),
        _ => None,
    };
    Mark {
        proof,
        reason,
        signer: signer.map(|signer| clean::line(&signer)),
        encrypted: verdict.encrypted || proof == Proof::Undecryptable,
        bare_header: verdict.is_valid() && verdict.scheme == Scheme::Unprotected,
        seen: seen.map(|digest| digest.iter().map(|octet| format!("{octet:02x}")).collect()),
    }
}

#[cfg(test)]
#[path = "protector_tests.rs"]
mod tests;
