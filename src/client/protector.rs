//! Signing and encrypting what goes, examining what comes.
//!
//! In: entities, the person's keys, whom the person believes. Out: [`Sealed`] entities; [`Opened`] ones with their [`Mark`].
//! Invariants: what is to be encrypted is encrypted to everybody or not sent; only what all layers protect is shown with a
//! mark that says so; certificates are learned from valid signatures alone, or, where the person wants it, from the first
//! that is right. RFC 8551, RFC 9788.

use std::borrow::Cow;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;

use super::account::Account;
use super::error::ClientError;
use super::keys::{KeyError, Keys, is_in_time};
use super::mark::{Mark, Proof};
use super::{Protect, clean};
use crate::address::{Mailbox, ReversePath};
use crate::mime::signed::describe;
use crate::mime::{self, Fields, unfold};
use crate::smime::protect::{Scheme, prepare};
use crate::smime::trust::{Anchors, Distrust, Pin, Trust};
use crate::smime::{
    Certificate, Circumstances, EncryptOptions, Examined, Finding, Form, Identity, SignOptions, Verdict, encrypt,
    examine, sign,
};
use crate::timestamp::Timestamp;
use crate::tls::signers;

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

type Load = Box<dyn FnOnce() -> Result<Trust, String> + Send>;

/// Keys, and whom to believe.
pub struct Protector {
    keys: Keys,
    address: Mailbox,
    trust_first: bool,
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
        let load: Load = Box::new(move || signers::trust(files.as_deref(), &[]).map_err(|fault| fault.to_string()));
        Protector {
            keys: Keys::at(directory),
            address: account.address.clone(),
            trust_first: account.trust_first,
            trust: LazyLock::new(load),
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
        let mut certificates = Vec::new();
        if asked_encrypt {
            let (found, missing) = self.certificates(to, now)?;
            match protect {
                Protect::Asked { .. } if !missing.is_empty() => {
                    return Err(ClientError::NoCertificate { who: missing });
                }
                Protect::Possible if !missing.is_empty() || signer.is_none() => {}
                _ => certificates = found,
            }
        }
        match (&signer, protect) {
            (None, Protect::Asked { sign: true, .. }) => {
                return Err(ClientError::NoKey { account: self.address.clone() });
            }
            (None, _) if certificates.is_empty() => return Ok(None),
            _ => {}
        }
        let entity = protected(entity, signer.as_ref(), &certificates, now)?;
        Ok(Some(Sealed { entity, signed: signer.is_some(), encrypted: !certificates.is_empty() }))
    }

    /// The certificates to encrypt to, the person's own among them, and those of whom none serves.
    fn certificates(&self, to: &[Mailbox], now: Timestamp) -> Result<(Vec<Certificate>, Vec<Mailbox>), KeyError> {
        let serves = |certificate: &Certificate| certificate.may_encrypt() && is_in_time(certificate, now);
        let own = self.keys.own()?;
        let own: Vec<Certificate> =
            own.iter().filter_map(|own| own.chain.first().cloned()).filter(|certificate| serves(certificate)).collect();
        let (mut found, mut missing) = (own.clone(), Vec::new());
        for who in to {
            if who.key() == self.address.key() && !own.is_empty() {
                continue;
            }
            let known = self.keys.of(who)?.and_then(|(chain, _)| chain.into_iter().next());
            match known.filter(|certificate| serves(certificate)) {
                Some(certificate) => found.push(certificate),
                None => missing.push(who.clone()),
            }
        }
        Ok((found, missing))
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
        match self.open(entity, &ReversePath::Null, recipients, date.map_or(now, |date| date.min(now))) {
            Ok(opened) => (opened.entity.into_owned(), opened.mark),
            // What is only signed can be read without the keys; then nothing of it is proven.
            Err(_) => (entity.to_vec(), Mark::default()),
        }
    }

    /// Takes the protection of an entity off, and says what it proves. `recipients` are the addresses by which it came here.
    pub fn open<'a>(
        &self,
        entity: &'a [u8],
        sender: &ReversePath,
        recipients: &[Mailbox],
        now: Timestamp,
    ) -> Result<Opened<'a>, KeyError> {
        let described = describe(entity);
        let may_be = described.as_ref().map_or(true, |it| it.is_multipart() || it.is("application", "pkcs7-mime"));
        if !may_be && !described.is_ok_and(|it| it.is("application", "x-pkcs7-mime")) {
            return Ok(Opened { entity: Cow::Borrowed(entity), mark: Mark::default(), damaged: Vec::new() });
        }
        let (readers, mut damaged) = self.keys.readers()?;
        let examined = examine(entity, &readers, &[]);
        let verdict = self.verdict(&examined, sender, recipients, received_at(entity).unwrap_or(now).min(now));
        if !matches!(verdict.finding, Finding::Undecryptable(_)) {
            damaged.clear();
        }
        let damaged = damaged.iter().map(ToString::to_string).collect();
        let mark = mark(&verdict, examined.seen_key(&self.address, sender.mailbox(), &verdict));
        Ok(Opened { entity: content(entity, &examined, verdict.is_valid()), mark, damaged })
    }

    fn verdict(&self, examined: &Examined, sender: &ReversePath, recipients: &[Mailbox], now: Timestamp) -> Verdict {
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
        let judge = |pins: &[Pin]| examined.judge(&Circumstances { now, recipients, trust, published: None, pins });
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
            self.learn(examined, user, now);
        }
        verdict
    }

    fn pin(&self, author: &Mailbox) -> Option<Pin> {
        let certificate = match self.keys.of(author) {
            Ok(None) => return None,
            Ok(Some((chain, _))) => chain.into_iter().next().filter(|certificate| names(certificate, author)),
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
        // Without it the next message of this author teaches it again.
        let _ = self.keys.learn(user, &chain, signer.signing_time.unwrap_or(now).min(now));
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
    certificates: &[Certificate],
    now: Timestamp,
) -> Result<Vec<u8>, ClientError> {
    let fault = |fault: &dyn std::fmt::Display| ClientError::Seal(fault.to_string());
    let prepared = prepare(entity, !certificates.is_empty()).map_err(|error| fault(&error))?;
    let mut part = Cow::Borrowed(prepared.payload());
    if let Some(signer) = signer {
        // Addresses in UTF-8 do not pass every hop in a part that is readable.
        let form = if part.is_ascii() { Form::Detached } else { Form::Opaque };
        let options = SignOptions { form, ..SignOptions::new(now) };
        part = Cow::Owned(sign(&part, signer, &options).map_err(|error| fault(&error))?);
    }
    if !certificates.is_empty() {
        part = Cow::Owned(encrypt(&part, certificates, &EncryptOptions::default()).map_err(|error| fault(&error))?);
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
