//! A message looked at as a whole: its layers, its protected fields, its signer, one verdict.
//!
//! In: an entity and secret keys; then who it is for, the time, whom to trust. Out: [`Examined`], then a [`Verdict`]. The
//! two steps are apart so that between them the DNS can be asked about the author. Invariants: only what all layers
//! protect is ever called protected: what stands beside a protected part belongs to nobody (RFC 9787 §4.5). A signature
//! around an encryption says nothing of the text inside, unless its fields are protected with it: such a signer need
//! not know the text. Fails: never; every fault is a finding.

use aws_lc_rs::digest;

use super::protect::{self, Contradiction, ProtectError, Protected, Scheme};
use super::trust::{Basis, Distrust, Names, Pin, Presented, Published, Refusal, Trust, names_of};
use super::verdict::{AHEAD, Absence, Alteration, Finding, Mismatch, Replay, Verdict, WINDOW};
use super::{Certificate, Fault, Identity, Layer, Memory, Signer, decrypt, open, verify_with};
use crate::address::Mailbox;
use crate::limits;
use crate::mime::{self, Defect, Fields, kind};
use crate::timestamp::Timestamp;

/// A message whose layers are off.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The fields outside.
    header: Vec<u8>,
    /// What the layers protect.
    payload: Vec<u8>,
    /// The innermost signature whose content was reached.
    signed: Option<Result<Vec<Signer>, Fault>>,
    /// What kept the layers from coming off.
    fault: Option<Fault>,
    encrypted: bool,
    layers: usize,
    part_only: bool,
    /// SHA-256 of the outermost encrypted CMS.
    blob: Option<[u8; 32]>,
}

/// What layers are taken off with.
struct Means<'a> {
    identities: &'a [Identity],
    known: &'a [Certificate],
    memory: &'a Memory,
}

/// A valid finding.
struct Found {
    finding: Finding,
    basis: Basis,
    /// Whether the time of the signature is known, and in the window.
    timed: bool,
}

/// What a verdict depends on besides the message.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time now: whoever was revoked meanwhile is not believed.
    pub now: Timestamp,
    /// When it was taken, at which it must not be too old; it may have waited since.
    pub accepted: Timestamp,
    /// The addresses that stand for the recipient: the inbox's, and those by which it was reached. Empty: not asked.
    pub recipients: &'a [Mailbox],
    /// Roots and revocation lists.
    pub trust: &'a Trust,
    /// What the author's domain publishes, proven by DNSSEC.
    pub published: Option<&'a Published>,
    /// Certificates kept for authors.
    pub pins: &'a [Pin],
}

/// Takes the layers off. `known` are certificates of signers who do not send theirs along.
pub fn examine(entity: &[u8], identities: &[Identity], known: &[Certificate]) -> Examined {
    examine_with(entity, identities, known, &Memory::default())
}

/// The same, with certificates that were read before.
pub fn examine_with(entity: &[u8], identities: &[Identity], known: &[Certificate], memory: &Memory) -> Examined {
    let mut fields = Fields::new(entity);
    let count = fields.by_ref().count();
    let header = entity[..fields.body()].to_vec();
    let mut examined = Examined {
        header,
        payload: Vec::new(),
        signed: None,
        fault: None,
        encrypted: false,
        layers: 0,
        part_only: false,
        blob: None,
    };
    let mut content = std::borrow::Cow::Borrowed(entity);
    if count > limits::HEADER_FIELDS {
        examined.fault = Some(Fault::TooMany("header fields"));
    } else {
        let means = Means { identities, known, memory };
        while let Some(inner) = examined.take_off(&content, &means) {
            content = std::borrow::Cow::Owned(inner);
        }
        examined.part_only = examined.layers == 0 && holds_a_protected_part(entity);
    }
    examined.payload = if examined.layers > 0 { with_crlf(content.into_owned()) } else { content.into_owned() };
    examined
}

/// Ends of lines as CRLF, for reading: what is inside a layer is what its author signed, and some sign LF alone.
fn with_crlf(octets: Vec<u8>) -> Vec<u8> {
    let bare = |at: usize| octets[at] == b'\n' && (at == 0 || octets[at - 1] != b'\r');
    let count = memchr::memchr_iter(b'\n', &octets).filter(|at| bare(*at)).count();
    if count == 0 {
        return octets;
    }
    let mut out = Vec::with_capacity(octets.len() + count);
    for (at, octet) in octets.iter().enumerate() {
        if bare(at) {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    out
}

impl Examined {
    /// Takes one layer off; `None` where there is no more, or none that can be.
    fn take_off(&mut self, content: &[u8], means: &Means<'_>) -> Option<Vec<u8>> {
        if self.signed.is_some() && protect::read(content).is_ok_and(|read| is_root(read.scheme)) {
            // Its author put the fields here: what may be encrypted inside is the body.
            return None;
        }
        let layer = match open(content) {
            Ok(layer) => layer,
            Err(fault) => {
                self.signed = None;
                self.fault = Some(fault);
                return None;
            }
        };
        if !matches!(layer, Layer::Plain) && self.layers >= limits::SMIME_DEPTH {
            self.fault = Some(Fault::TooDeep);
            return None;
        }
        self.layers += usize::from(!matches!(layer, Layer::Plain));
        match layer {
            Layer::Plain => None,
            Layer::Signed(signed) => {
                self.signed = Some(verify_with(&signed, means.known, means.memory));
                Some(signed.content.into_owned())
            }
            Layer::Encrypted(encrypted) => {
                self.blob.get_or_insert_with(|| sha256(&[encrypted.cms()]));
                match decrypt(&encrypted, means.identities) {
                    Ok(inner) => {
                        self.encrypted = true;
                        self.signed = None;
                        Some(inner)
                    }
                    Err(fault) => {
                        // Whoever signed around it need not know the text.
                        self.signed = None;
                        self.fault = Some(fault);
                        None
                    }
                }
            }
        }
    }

    /// What the layers protect, with the fields that are protected with it, lines ended with CRLF; of a message without
    /// layers, the message as it is.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The protected fields, and the part to show.
    pub fn protected(&self) -> Result<Protected<'_>, ProtectError> {
        let protected = protect::read(&self.payload)?;
        // A parameter `hp` outside of any layer is anybody's (RFC 9788 §4.1). And a signed message of another author is
        // not the older wrapping, but one that is passed on: its fields are not those of this message.
        let passed_on = || {
            protected.scheme == Scheme::Wrapped && protected.contradictions(&self.header).contains(&Contradiction::From)
        };
        if self.layers == 0 || passed_on() {
            return Ok(Protected { scheme: Scheme::Unprotected, fields: Vec::new(), body: &self.payload });
        }
        Ok(protected)
    }

    /// Whether it came encrypted, and is decrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether there is any layer of S/MIME around the whole.
    pub fn is_protected(&self) -> bool {
        self.layers > 0
    }

    /// Those whose signatures are right, whoever they are.
    pub fn signers(&self) -> &[Signer] {
        match &self.signed {
            Some(Ok(signers)) => signers,
            _ => &[],
        }
    }

    /// The author, by the protected From, or by the one outside where none is protected.
    pub fn author(&self) -> Option<Mailbox> {
        let protected = self.protected().ok()?;
        self.authors(&protected).ok()?.into_iter().next()
    }

    fn authors(&self, protected: &Protected<'_>) -> Result<Vec<Mailbox>, Defect> {
        if protected.has_fields() {
            return protected.from();
        }
        self.outer_authors()
    }

    fn outer_authors(&self) -> Result<Vec<Mailbox>, Defect> {
        let mut from = Fields::new(&self.header).flatten().filter(|field| field.is("from"));
        match (from.next(), from.next()) {
            (Some(field), None) => mime::mailboxes(field.value),
            (Some(_), Some(_)) => Err(Defect::SeveralFrom),
            (None, _) => Ok(Vec::new()),
        }
    }

    /// The one author whom From outside names, whoever protects what is inside.
    pub fn outer_author(&self) -> Option<Mailbox> {
        self.outer_authors().ok().filter(|authors| authors.len() == 1)?.pop()
    }

    /// What a seen-set keeps to know the message again. Of a valid one: a digest of the recipient, the signer's key, and what
    /// was signed; where neither Message-ID nor Date is signed the signature instead, since a text may be said twice. Of
    /// what is encrypted and proves no author: of the recipient, the sender, and what is encrypted, so that nobody takes the
    /// place of a message by sending it first. `None` for all else: it proves nothing, and is known by its Message-ID.
    pub fn seen_key(&self, recipient: &Mailbox, sender: Option<&Mailbox>, verdict: &Verdict) -> Option<[u8; 32]> {
        let recipient = sha256(&[recipient.key().as_bytes()]);
        if verdict.is_valid() {
            let author = self.author()?;
            // Whoever repeats a message may add signatures of their own: they do not make it another.
            let (signer, _) = speaking(self.signers(), &author).ok()?;
            let what = if verdict.replay_protected { &signer.content_digest } else { &signer.signature_digest };
            return Some(sha256(&[&recipient, &sha256(&[signer.certificate.spki()]), what]));
        }
        let blob = self.blob?;
        let sender = sender.cloned().or_else(|| self.outer_author()).map(|sender| sender.key()).unwrap_or_default();
        Some(sha256(&[&recipient, &sha256(&[sender.as_bytes()]), &blob]))
    }

    /// The verdict.
    pub fn judge(&self, circumstances: &Circumstances<'_>) -> Verdict {
        let protected = match self.protected() {
            Ok(protected) => protected,
            Err(error) => return Verdict::bare(altered_header(error)),
        };
        let dated = protected.date().is_some() && protected.message_id().is_some();
        let (finding, basis, timed) = match self.find(&protected, circumstances) {
            Ok(Found { finding, basis, timed }) => (finding, Some(basis), timed),
            Err(finding) => (finding, None, false),
        };
        let proven = basis.is_some();
        Verdict {
            finding,
            scheme: protected.scheme,
            encrypted: self.encrypted,
            basis,
            replay_protected: proven && dated,
            timed,
        }
    }

    /// Whether the protected To and Cc name one of these, or nobody where nobody needs to be named.
    pub fn is_written_to(&self, recipients: &[Mailbox]) -> Result<(), Finding> {
        meant_for(&self.protected().map_err(altered_header)?, recipients)
    }

    /// Whether what is protected is a report of what became of a message.
    pub fn is_report(&self) -> bool {
        self.protected().is_ok_and(|protected| is_report(protected.body))
    }

    fn find(&self, protected: &Protected<'_>, circumstances: &Circumstances<'_>) -> Result<Found, Finding> {
        // Whoever signed or did not: fields inside that contradict those outside belong to nobody.
        contradiction(protected, &self.header)?;
        let signers = self.right_signers()?;
        let author = self.one_author(protected)?;
        let (signer, names) = speaking(signers, &author)?;
        // Where no Date is signed, the time of the signature is.
        let signed_at = protected.date().or(signer.signing_time);
        in_window(signed_at, circumstances.accepted)?;
        meant_for(protected, circumstances.recipients)?;
        let presented = Presented {
            certificate: &signer.certificate,
            offered: &signer.others,
            lists: &signer.lists,
            signed_at: signed_at.unwrap_or(circumstances.accepted),
            now: circumstances.now,
        };
        let basis = circumstances.trust.judge(&presented, &author, circumstances.published, circumstances.pins);
        let basis = basis.map_err(|refusal| match refusal {
            Refusal::Distrust(why) => Finding::Untrusted(why),
            Refusal::Expiry(why) => Finding::Expired(why),
        })?;
        let stands_for_domain =
            super::trust::domain_mailbox(author.domain()).is_some_and(|it| it.key() == author.key());
        let finding = if names.names(&author) && !stands_for_domain {
            Finding::ValidUser(author)
        } else {
            Finding::ValidDomain(author.domain().clone())
        };
        Ok(Found { finding, basis, timed: signed_at.is_some() })
    }

    fn right_signers(&self) -> Result<&[Signer], Finding> {
        match (&self.signed, &self.fault) {
            (Some(Ok(signers)), _) => Ok(signers),
            (Some(Err(fault)), _) => Err(wrong(fault)),
            (None, Some(fault)) if self.blob.is_some() => Err(Finding::Undecryptable(fault.to_string())),
            (None, Some(fault)) => Err(wrong(fault)),
            (None, None) if self.encrypted => Err(Finding::Unsigned(Absence::EncryptedOnly)),
            (None, None) if self.part_only => Err(Finding::Unsigned(Absence::PartOnly)),
            (None, None) => Err(Finding::Unsigned(Absence::Plain)),
        }
    }

    fn one_author(&self, protected: &Protected<'_>) -> Result<Mailbox, Finding> {
        let mut authors = self.authors(protected).map_err(altered_header)?;
        match (authors.pop(), authors.is_empty()) {
            (Some(author), true) => Ok(author),
            (Some(_), false) => Err(Finding::WrongSender(Mismatch::SeveralAuthors)),
            (None, _) => Err(Finding::WrongSender(Mismatch::NoAuthor)),
        }
    }
}

fn is_root(scheme: Scheme) -> bool {
    matches!(scheme, Scheme::Clear | Scheme::Cipher)
}

/// What a fault of a signature is to the reader.
fn wrong(fault: &Fault) -> Finding {
    match fault {
        Fault::Weak(_) | Fault::Unsupported(_) | Fault::NoCertificate | Fault::Certificate(_) | Fault::Key(_) => {
            Finding::Untrusted(Distrust::Unreadable(fault.to_string()))
        }
        Fault::NoSigner => Finding::Unsigned(Absence::Plain),
        other => Finding::Altered(Alteration::Content(other.to_string())),
    }
}

fn altered_header(why: impl ToString) -> Finding {
    Finding::Altered(Alteration::Header(why.to_string()))
}

fn contradiction(protected: &Protected<'_>, header: &[u8]) -> Result<(), Finding> {
    match protected.contradictions(header).first() {
        None => Ok(()),
        Some(Contradiction::From) => Err(Finding::WrongSender(Mismatch::Contradiction(Contradiction::From))),
        Some(other) => Err(Finding::Altered(Alteration::Field(*other))),
    }
}

/// Whether a certificate speaks for an author: by the author's name, or by the name of the author's domain.
fn speaks(names: &Names, author: &Mailbox) -> bool {
    names.names(author) || super::trust::domain_mailbox(author.domain()).is_some_and(|domain| names.names(&domain))
}

/// The signer who speaks for the author, the author's own certificate first.
fn speaking<'a>(signers: &'a [Signer], author: &Mailbox) -> Result<(&'a Signer, &'a Names), Finding> {
    let named = |signer: &'a Signer| names_of(&signer.certificate).ok().map(|names| (signer, names));
    let all: Vec<(&Signer, &Names)> = signers.iter().filter_map(named).collect();
    let own = all.iter().find(|(_, names)| names.names(author));
    if let Some((signer, names)) = own.or_else(|| all.iter().find(|(_, names)| speaks(names, author))) {
        return Ok((signer, names));
    }
    let shown = all.iter().find_map(|(_, names)| names.first());
    Err(Finding::WrongSender(match shown {
        Some(named) => Mismatch::Other { named: named.to_string(), from: author.clone() },
        None => Mismatch::NoName,
    }))
}

/// The acceptance window: seven days after the signed time, ten minutes before it.
fn in_window(signed_at: Option<Timestamp>, now: Timestamp) -> Result<(), Finding> {
    match signed_at {
        Some(date) if date > now.after(AHEAD) => Err(Finding::Replayed(Replay::Ahead)),
        Some(date) if now > date.after(WINDOW) => Err(Finding::Replayed(Replay::TooOld)),
        _ => Ok(()),
    }
}

/// Whether the protected To and Cc name the recipient; an empty group does for a change of presence and for a report.
fn meant_for(protected: &Protected<'_>, recipients: &[Mailbox]) -> Result<(), Finding> {
    let Some(first) = recipients.first().filter(|_| protected.has_fields()) else { return Ok(()) };
    let named = protected.recipients().map_err(altered_header)?;
    let keys: Vec<String> = recipients.iter().map(Mailbox::key).collect();
    if named.iter().any(|mailbox| keys.contains(&mailbox.key())) {
        return Ok(());
    }
    let empty_group = named.is_empty() && protected.field("To").is_ok_and(|to| to.is_some());
    let notify = protected.presence().is_some_and(|value| {
        value.split(';').next().is_some_and(|directive| directive.trim().eq_ignore_ascii_case("notify"))
    });
    if empty_group && (notify || is_report(protected.body)) {
        return Ok(());
    }
    Err(Finding::Replayed(Replay::NotForRecipient(first.clone())))
}

fn is_report(body: &[u8]) -> bool {
    content_type(body)
        .and_then(kind)
        .is_some_and(|(main, sub, _)| main.eq_ignore_ascii_case(b"multipart") && sub.eq_ignore_ascii_case(b"report"))
}

fn content_type(entity: &[u8]) -> Option<&[u8]> {
    Fields::new(entity).flatten().find(|field| field.is("content-type")).map(|field| field.value.trim_ascii())
}

/// Whether a part of a multipart claims to be S/MIME. Lines are enough for a remark that vouches for nothing.
fn holds_a_protected_part(entity: &[u8]) -> bool {
    let multipart =
        content_type(entity).and_then(kind).is_some_and(|(main, ..)| main.eq_ignore_ascii_case(b"multipart"));
    multipart
        && entity.split(|octet| *octet == b'\n').skip(1).any(|line| {
            let line = line[..line.len().min(200)].to_ascii_lowercase();
            line.starts_with(b"content-type:") && line.windows(6).any(|word| word == b"/pkcs7" || word == b"-pkcs7")
        })
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests;
