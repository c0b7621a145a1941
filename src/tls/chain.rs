//! Path validation: which names a chain proves, below which trust anchors (RFC 5280 §6). Pure.
//!
//! In: the certificates that a peer showed, trust anchors, a purpose and the time. Out: the names that they prove, or
//! the [`Fault`]. Revocation is not looked at: there is no list that could be had in time. Names are not compared here.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::NameConstraints;

use super::error::clean;
use super::{Fault, Names, provider};
use crate::timestamp::Timestamp;

/// What a certificate is used for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server's: id-kp-serverAuth, or no restriction.
    Server,
    /// A relay's that connects to us: id-kp-clientAuth or id-kp-serverAuth, or no restriction. One certificate serves a
    /// relay in both roles, and public authorities cease to issue the former.
    Relay,
}

/// Validates the path from the first certificate of `chain` to one of `anchors`, and tells the names that it proves.
pub fn prove(
    chain: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    purpose: Purpose,
    now: UnixTime,
) -> Result<Names, Fault> {
    match purpose {
        Purpose::Server => path(chain, anchors, webpki::KeyUsage::server_auth(), now).map(|path| path.names),
        Purpose::Relay => {
            let first = path(chain, anchors, webpki::KeyUsage::client_auth(), now);
            match first {
                Err(Fault::Purpose) => path(chain, anchors, webpki::KeyUsage::server_auth(), now),
                other => other,
            }
            .map(|path| path.names)
        }
    }
}

/// [`prove`] below the given roots.
pub fn prove_by_roots(
    chain: &[CertificateDer<'_>],
    roots: &super::Roots,
    purpose: Purpose,
    now: UnixTime,
) -> Result<Names, Fault> {
    prove(chain, roots.anchors(), purpose, now)
}

pub(super) struct Path {
    pub(super) names: Names,
    /// Authorities between the anchor and the end entity.
    pub(super) intermediates: usize,
}

pub(super) fn path(
    chain: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    usage: webpki::KeyUsage,
    now: UnixTime,
) -> Result<Path, Fault> {
    let (first, rest) = chain.split_first().ok_or_else(|| Fault::Invalid("there is none".to_owned()))?;
    let leaf = webpki::EndEntityCert::try_from(first).map_err(|error| fault(&error, first))?;
    let algorithms = provider().signature_verification_algorithms.all;
    let verified = leaf
        .verify_for_usage(algorithms, anchors, rest, now, usage, None, None)
        .map_err(|error| fault(&error, first))?;
    let mut names = Names::of(first);
    let mut intermediates = 0;
    let mut constrained = verified.anchor().name_constraints.is_some();
    for authority in verified.intermediate_certificates() {
        intermediates += 1;
        constrained = constrained || has_name_constraints(&authority.der());
    }
    if constrained {
        names = names.without_services();
    }
    Ok(Path { names, intermediates })
}

/// Whether it has name constraints; one that cannot be read counts as such.
pub(super) fn has_name_constraints(der: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = x509_cert::Certificate::from_der(der) else { return true };
    !matches!(parsed.tbs_certificate().get_extension::<NameConstraints>(), Ok(None))
}

pub(super) fn fault(error: &webpki::Error, leaf: &CertificateDer<'_>) -> Fault {
    match error {
        webpki::Error::CertExpired { not_after, .. } => Fault::Expired { at: time(*not_after) },
        webpki::Error::CertNotValidYet { not_before, .. } => Fault::NotYetValid { from: time(*not_before) },
        webpki::Error::UnknownIssuer => Fault::UnknownIssuer { issuer: issuer(leaf) },
        webpki::Error::RequiredEkuNotFoundContext(_) => Fault::Purpose,
        other => Fault::Invalid(clean(&other.to_string())),
    }
}

/// Seconds of the Unix epoch as a point of time.
fn time(time: UnixTime) -> Timestamp {
    Timestamp::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn issuer(leaf: &CertificateDer<'_>) -> String {
    match x509_cert::Certificate::from_der(leaf) {
        Ok(parsed) => format!("\"{}\"", clean(&parsed.tbs_certificate().issuer().to_string())),
        Err(_) => "somebody".to_owned(),
    }
}

/// The time in which a certificate is valid: not before, not after (RFC 5280 §4.1.2.5).
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let validity = parsed.tbs_certificate().validity();
    Some((validity.not_before.to_system_time().into(), validity.not_after.to_system_time().into()))
}
