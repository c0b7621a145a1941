//! Chains from a signer to a root: found by us, validated by certval.
//!
//! In: a signer with what came along, roots, lists. Out: a chain that holds, or the first reason why none does.
//! Invariant: no certificate stands twice in a chain, at most [`limits::CHAIN_LENGTH`] authorities are in it, and at most
//! [`limits::CHAINS_TRIED`] chains are validated for a message. RFC 5280 §6.1 and §6.3, RFC 8550 §4.

use certval::{
    CertificationPath, CertificationPathResults, CertificationPathSettings, Error, MemoryCrlSource, PDVCertificate,
    PDVTrustAnchorChoice, PathValidationStatus, PkiEnvironment, TimeOfInterest, check_revocation_local, compare_names,
    enforce_trust_anchor_constraints, validate_path_rfc5280,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_EMAIL_PROTECTION};
use der::asn1::BitString;
use der::{Decode, Encode};
use x509_cert::certificate::Raw;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::super::verdict::Expiry;
use super::super::{Certificate, PublicKey, check, pem};
use super::cache::Entry;
use super::names::Names;
use super::{Anchors, Distrust, Presented, Refusal, TrustError};
use crate::limits;
use crate::timestamp::Timestamp;

/// id-kp-imUri (RFC 9734 §3).
const ID_KP_IM_URI: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.40");

/// A certificate in the forms that are asked for.
struct Link {
    certificate: Certificate,
    parsed: x509_cert::Certificate,
    prepared: PDVCertificate,
}

impl Link {
    fn new(certificate: &Certificate) -> Result<Link, String> {
        let prepared = PDVCertificate::try_from(certificate.der()).map_err(|error| error.to_string())?;
        let parsed = certificate.parsed().map_err(|fault| fault.to_string())?;
        Ok(Link { certificate: certificate.clone(), parsed, prepared })
    }

    fn subject(&self) -> &Name {
        self.parsed.tbs_certificate().subject()
    }

    fn issuer(&self) -> &Name {
        self.parsed.tbs_certificate().issuer()
    }

    fn anchor(&self) -> Result<PDVTrustAnchorChoice, Refusal> {
        PDVTrustAnchorChoice::try_from(self.certificate.der()).map_err(|error| unreadable(error.to_string()))
    }

    /// Whether it may be above others. A root of the first version says nothing about it.
    fn is_authority(&self) -> bool {
        match self.parsed.tbs_certificate().get_extension::<BasicConstraints>() {
            Ok(found) => found.is_none_or(|(_, basic)| basic.ca),
            Err(_) => false,
        }
    }
}

/// Roots, other authorities and lists, prepared.
pub(super) struct Chains {
    roots: Vec<Link>,
    intermediates: Vec<Link>,
    lists: Vec<List>,
    require_lists: bool,
    environment: PkiEnvironment,
    settings: CertificationPathSettings,
}

/// Whose revocation list there is, and until when.
struct List {
    issuer: Name,
    next_update: Option<Timestamp>,
}

/// Work that is left for one question.
struct Budget {
    steps: usize,
    chains: usize,
    refusal: Option<Refusal>,
}

impl Chains {
    pub(super) fn new(anchors: &Anchors) -> Result<Chains, TrustError> {
        if anchors.roots.len() + anchors.intermediates.len() > limits::TRUSTED_CERTIFICATES {
            return Err(TrustError::TooMany("authorities"));
        }
        let links = |list: &[Certificate]| -> Result<Vec<Link>, TrustError> {
            list.iter().map(|one| Link::new(one).map_err(TrustError::Certificate)).collect()
        };
        let source = MemoryCrlSource::new();
        let mut lists = Vec::new();
        for octets in &anchors.crls {
            let der = list_octets(octets).ok_or(TrustError::Crl)?;
            let list = CertificateList::<Raw>::from_der(&der).map_err(|_| TrustError::Crl)?;
            let next_update = list.tbs_cert_list.next_update.map(|time| seconds(time.to_unix_duration()));
            lists.push(List { issuer: list.tbs_cert_list.issuer, next_update });
            if !source.add(&der) {
                return Err(TrustError::Crl);
            }
            if lists.len() > limits::TRUSTED_CERTIFICATES {
                return Err(TrustError::TooMany("revocation lists"));
            }
        }
        Ok(Chains {
            roots: links(&anchors.roots)?,
            intermediates: links(&anchors.intermediates)?,
            lists,
            require_lists: anchors.require_crls,
            environment: environment(source),
            settings: settings(),
        })
    }

    /// A chain to one of the configured roots.
    pub(super) fn to_roots(&self, signer: &Presented<'_>) -> Result<Entry, Refusal> {
        if self.roots.iter().any(|root| root.certificate == *signer.certificate) {
            self.alone(signer)?;
            return Ok(Entry {
                root: "the configuration".to_owned(),
                authorities: vec![signer.certificate.clone()],
                not_before: signer.certificate.not_before(),
                not_after: signer.certificate.not_after(),
                until: Timestamp::MAX,
            });
        }
        self.search(signer, &self.roots)
    }

    /// A chain to an authority that the author's domain publishes.
    pub(super) fn to_anchor(&self, signer: &Presented<'_>, anchor: &Certificate) -> Result<Entry, Refusal> {
        let link = Link::new(anchor).map_err(unreadable)?;
        if !link.is_authority() {
            return Err(Refusal::Distrust(Distrust::NoChain));
        }
        self.search(signer, std::slice::from_ref(&link))
    }

    /// A certificate that is trusted itself: purpose and time still count.
    pub(super) fn alone(&self, signer: &Presented<'_>) -> Result<(), Refusal> {
        let link = Link::new(signer.certificate).map_err(unreadable)?;
        purpose(&link)?;
        in_time(signer.certificate, signer.signed_at).map_err(Refusal::Expiry)
    }

    fn search(&self, signer: &Presented<'_>, roots: &[Link]) -> Result<Entry, Refusal> {
        let leaf = Link::new(signer.certificate).map_err(unreadable)?;
        purpose(&leaf)?;
        // What cannot be read stands in nobody's chain.
        let offered: Vec<Link> = signer
            .offered
            .iter()
            .take(limits::CHAIN_OFFERED)
            .filter_map(|certificate| Link::new(certificate).ok())
            .collect();
        let mut budget = Budget { steps: limits::CHAIN_STEPS, chains: limits::CHAINS_TRIED, refusal: None };
        let mut path = vec![&leaf];
        let found = self.extend(signer, &mut path, &offered, roots, &mut budget);
        found.ok_or(budget.refusal.unwrap_or(Refusal::Distrust(Distrust::NoChain)))
    }

    /// Goes on from the last certificate of `path`, which begins with the signer's.
    fn extend<'a>(
        &'a self,
        signer: &Presented<'_>,
        path: &mut Vec<&'a Link>,
        offered: &'a [Link],
        roots: &'a [Link],
        budget: &mut Budget,
    ) -> Option<Entry> {
        let last = *path.last()?;
        for root in roots.iter().filter(|root| root.is_authority() && compare_names(root.subject(), last.issuer())) {
            budget.chains = budget.chains.checked_sub(1)?;
            match self.validate(signer, root, path) {
                Ok(entry) => return Some(entry),
                Err(refusal) => _ = budget.refusal.get_or_insert(refusal),
            }
        }
        if path.len() > limits::CHAIN_LENGTH {
            return None;
        }
        for next in offered.iter().chain(&self.intermediates) {
            let stands = |list: &[&Link]| list.iter().any(|link| link.certificate == next.certificate);
            if stands(path) || !compare_names(next.subject(), last.issuer()) {
                continue;
            }
            budget.steps = budget.steps.checked_sub(1)?;
            path.push(next);
            let found = self.extend(signer, path, offered, roots, budget);
            path.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// `path` is the signer's certificate and those above it, below the root.
    fn validate(&self, signer: &Presented<'_>, root: &Link, path: &[&Link]) -> Result<Entry, Refusal> {
        let (leaf, above) = path.split_first().ok_or(Refusal::Distrust(Distrust::NoChain))?;
        let name = shown_name(root.subject());
        for link in path.iter().copied().chain([root]) {
            in_time(&link.certificate, signer.signed_at).map_err(Refusal::Expiry)?;
        }
        if path.iter().copied().chain([root]).fold(u8::MAX, |bits, link| bits & purposes(link)) == 0 {
            let why = "an authority in it does not certify for this purpose".to_owned();
            return Err(Refusal::Distrust(Distrust::Chain { root: name, why }));
        }
        let broken = |error: Error| Refusal::Distrust(distrust(&name, error));
        let anchor = root.anchor()?;
        let mut settings = self.settings.clone();
        settings.set_time_of_interest(time(signer.signed_at));
        let settings = enforce_trust_anchor_constraints(&settings, &anchor).map_err(broken)?;
        let intermediates = above.iter().rev().map(|link| link.prepared.clone()).collect();
        let chain = CertificationPath::new(anchor, intermediates, leaf.prepared.clone());
        let mut results = CertificationPathResults::new();
        validate_path_rfc5280(&self.environment, &settings, &chain, &mut results).map_err(broken)?;
        let names = Names::of(&leaf.parsed);
        if !above.iter().copied().chain([root]).all(|authority| names.keep_within(&authority.parsed)) {
            return Err(Refusal::Distrust(Distrust::Constrained));
        }
        let until = self.revocation(signer.now, root, path)?;
        let every = || path.iter().copied().chain([root]).map(|link| &link.certificate);
        Ok(Entry {
            root: name,
            authorities: [root].into_iter().chain(above.iter().rev().copied()).map(|l| l.certificate.clone()).collect(),
            not_before: every().map(Certificate::not_before).max().unwrap_or_default(),
            not_after: every().map(Certificate::not_after).min().unwrap_or_default(),
            until,
        })
    }

    /// Whether any certificate below the root was revoked; until when the answer stands.
    fn revocation(&self, now: Timestamp, root: &Link, path: &[&Link]) -> Result<Timestamp, Refusal> {
        let mut until = Timestamp::MAX;
        for (at, link) in path.iter().enumerate() {
            let lists = || self.lists.iter().filter(|list| compare_names(&list.issuer, link.issuer()));
            let unknown = || Refusal::Distrust(Distrust::Revocation(shown_name(link.issuer())));
            if lists().next().is_none() {
                if self.require_lists {
                    return Err(unknown());
                }
                continue;
            }
            // The issuer itself, else another certificate of the same authority above: after a change of its key, lists
            // are signed with one key only.
            let above = path.iter().skip(at + 1).copied().chain([root]);
            let issuers =
                above.enumerate().filter(|(at, above)| *at == 0 || compare_names(above.subject(), link.issuer()));
            let mut known = false;
            for (_, issuer) in issuers {
                known = known || self.is_good(&self.environment, now, issuer, link)?;
            }
            if !known {
                return Err(unknown());
            }
            let ends = lists().filter_map(|list| list.next_update).filter(|end| *end >= now).min();
            until = until.min(ends.unwrap_or(Timestamp::MAX));
        }
        Ok(until)
    }

    /// Whether a list that came along says that the signer's certificate, or an authority between it and the top of the chain,
    /// was revoked. `authorities` are those of a chain that holds, from the top.
    pub(super) fn revoked_by(&self, signer: &Presented<'_>, authorities: &[Certificate]) -> Result<(), Refusal> {
        if signer.lists.is_empty() {
            return Ok(());
        }
        let source = MemoryCrlSource::new();
        for list in signer.lists {
            // What cannot be read says nothing.
            source.add(list);
        }
        let lists = environment(source);
        let below = authorities.iter().skip(1).chain([signer.certificate]);
        for (issuer, certificate) in authorities.iter().zip(below).filter(|(issuer, below)| issuer != below) {
            let issuer = Link::new(issuer).map_err(unreadable)?;
            self.is_good(&lists, signer.now, &issuer, &Link::new(certificate).map_err(unreadable)?)?;
        }
        Ok(())
    }

    /// Whether the lists of `issuer` say that a certificate is not revoked; false where they do not tell.
    fn is_good(&self, lists: &PkiEnvironment, now: Timestamp, issuer: &Link, link: &Link) -> Result<bool, Refusal> {
        let mut settings = self.settings.clone();
        settings.set_time_of_interest(time(now));
        let step = CertificationPath::new(issuer.anchor()?, Vec::new(), link.prepared.clone());
        let mut results = CertificationPathResults::new();
        match check_revocation_local(lists, &settings, &step, &mut results) {
            Ok(()) => Ok(true),
            Err(Error::PathValidation(
                PathValidationStatus::CertificateRevoked
                | PathValidationStatus::CertificateRevokedEndEntity
                | PathValidationStatus::CertificateRevokedIntermediateCa
                | PathValidationStatus::CertificateOnHold,
            )) => Err(Refusal::Distrust(Distrust::Revoked)),
            Err(_) => Ok(false),
        }
    }
}

/// Our primitives, with these lists.
fn environment(lists: MemoryCrlSource) -> PkiEnvironment {
    let mut environment = PkiEnvironment::new();
    environment.add_verify_signature_message_callback(verify);
    environment.add_crl_source(Box::new(lists));
    environment
}

/// What holds for every chain.
fn settings() -> CertificationPathSettings {
    let mut settings = CertificationPathSettings::new();
    // Which roots there are is our search's to know.
    settings.set_require_ta_store(false);
    settings.set_enforce_trust_anchor_constraints(true);
    settings.set_initial_path_length_constraint(u8::try_from(limits::CHAIN_LENGTH).unwrap_or(u8::MAX));
    settings.set_check_crls(true);
    settings
}

/// What certificates may be for, as bits: e-mail, instant messages.
const MAIL: u8 = 1;
const IM_URI: u8 = 2;

/// What the extended key usage allows of the two: without one, or with "any", both (RFC 8550 §4.4.4). certval is not asked:
/// an "any" below leaves nothing of what is allowed above.
fn purposes(link: &Link) -> u8 {
    match link.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
        Ok(None) => MAIL | IM_URI,
        Ok(Some((_, ExtendedKeyUsage(purposes)))) => purposes.iter().fold(0, |bits, purpose| {
            bits | match *purpose {
                ANY_EXTENDED_KEY_USAGE => MAIL | IM_URI,
                ID_KP_EMAIL_PROTECTION => MAIL,
                ID_KP_IM_URI => IM_URI,
                _ => 0,
            }
        }),
        Err(_) => 0,
    }
}

/// Whether the signer's own certificate is for one of the two.
fn purpose(leaf: &Link) -> Result<(), Refusal> {
    if purposes(leaf) != 0 { Ok(()) } else { Err(Refusal::Distrust(Distrust::Purpose)) }
}

/// Whether the certificate is valid at a time (RFC 5280 §4.1.2.5).
pub(super) fn in_time(certificate: &Certificate, at: Timestamp) -> Result<(), Expiry> {
    if at < certificate.not_before() {
        return Err(Expiry::NotYet(certificate.not_before()));
    }
    // The last second is within.
    if at.secs() > certificate.not_after().secs() {
        return Err(Expiry::Over(certificate.not_after()));
    }
    Ok(())
}

/// Checks one signature with our primitives.
fn verify(
    _: &PkiEnvironment,
    message: &[u8],
    signature: &BitString,
    algorithm: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKeyInfoOwned,
) -> certval::Result<()> {
    let failed = |_| Error::PathValidation(PathValidationStatus::SignatureVerificationFailure);
    let (algorithm, key) = (algorithm.to_der()?, key.to_der()?);
    let value = signature.as_bytes().ok_or(Error::Unrecognized)?;
    let key = PublicKey::from_spki(&key).map_err(failed)?;
    check(&key, &algorithm, message, value).map_err(failed)
}

fn distrust(root: &str, error: Error) -> Distrust {
    use PathValidationStatus as Status;
    let why = match error {
        Error::PathValidation(Status::NameConstraintsViolation) => return Distrust::Constrained,
        Error::PathValidation(Status::SignatureVerificationFailure) => {
            "a certificate's signature does not hold, or is of a kind that is too weak"
        }
        Error::PathValidation(Status::InvalidPathLength) => "the chain is longer than an authority allows",
        Error::PathValidation(Status::InvalidBasicConstraints | Status::MissingBasicConstraints) => {
            "a certificate in the chain is no authority's"
        }
        Error::PathValidation(Status::InvalidKeyUsage) => "an authority's key usage does not allow it",
        Error::PathValidation(Status::NameChainingFailure) => "the names do not chain",
        Error::PathValidation(Status::UnprocessedCriticalExtension) => "it demands something unknown",
        Error::PathValidation(Status::NullPolicySet | Status::InvalidPolicyMapping) => "its policies do not fit",
        _ => "a certificate is not well-formed",
    };
    Distrust::Chain { root: root.to_owned(), why: why.to_owned() }
}

fn unreadable(why: String) -> Refusal {
    Refusal::Distrust(Distrust::Unreadable(why))
}

fn time(at: Timestamp) -> TimeOfInterest {
    // Second 0 would mean "any time"; no certificate of ours is that old.
    let seconds = u64::try_from(at.secs()).unwrap_or(1).clamp(1, 253_402_300_799);
    TimeOfInterest::from_unix_secs(seconds).unwrap_or_else(|_| TimeOfInterest::disabled())
}

fn seconds(since_epoch: std::time::Duration) -> Timestamp {
    Timestamp::from_secs(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

/// A revocation list's DER, from DER or PEM.
pub(super) fn list_octets(octets: &[u8]) -> Option<Vec<u8>> {
    let Some(text) = std::str::from_utf8(octets).ok().filter(|text| text.contains("-----BEGIN")) else {
        return Some(octets.to_vec());
    };
    let blocks = pem::blocks(text).ok()?;
    blocks.iter().find(|block| block.label == "X509 CRL").map(|block| block.der.to_vec())
}

/// A name in short, for people: the common name, else the organisation, else all of it.
fn shown_name(name: &Name) -> String {
    let text = name.to_string();
    let part = |key: &str| {
        // RFC 4514 escapes a comma with a backslash; such a name is shown whole.
        text.split(',').find_map(|part| part.trim().strip_prefix(key)).filter(|part| !part.ends_with('\\'))
    };
    let short = part("CN=").or_else(|| part("O=")).unwrap_or(&text);
    short.chars().filter(|c| !c.is_control()).take(limits::NAME_CHARS).collect()
}
