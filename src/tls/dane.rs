//! DANE: whether TLSA records prove a chain (RFC 6698, RFC 7671, and RFC 7672 §3 as the profile for relays). Pure.
//!
//! In: TLSA records that DNSSEC proved, the chain that a peer showed, and the names that would do. Out: proven, or the
//! [`Fault`]. Records of usage 0 and 1 are unusable here (RFC 7672 §3.1.3), as are unknown selectors, unknown matching
//! types and digests of the wrong length (RFC 6698 §4.1). When no record is usable, TLSA says nothing and PKIX decides
//! (RFC 7673 §4.1).

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::der::{Decode, Encode, Header, SliceReader};
use x509_cert::ext::pkix::BasicConstraints;

use super::chain::{self, Purpose};
use super::{Fault, Names};
use crate::address::Domain;
use crate::dns::Tlsa;

/// The trust anchor that issued the certificate.
pub const DANE_TA: u8 = 2;
/// The certificate itself.
pub const DANE_EE: u8 = 3;
/// The whole certificate.
pub const CERT: u8 = 0;
/// Its public key.
pub const SPKI: u8 = 1;
/// The data is what is selected.
pub const FULL: u8 = 0;
/// The data is its SHA-256.
pub const SHA256: u8 = 1;
/// The data is its SHA-512.
pub const SHA512: u8 = 2;

/// Records looked at; a zone with more is asking for work.
const RECORDS: usize = 64;

/// The records that can be used, those of a weaker digest left out where a stronger one is there for the same usage and
/// selector (RFC 7671 §9).
pub fn usable(records: &[Tlsa]) -> Vec<&Tlsa> {
    let sound: Vec<&Tlsa> = records.iter().take(RECORDS).filter(|record| is_usable(record)).collect();
    let kind = |record: &Tlsa| (record.usage, record.selector);
    let stronger = |weak: &Tlsa| sound.iter().any(|other| kind(other) == kind(weak) && other.matching == SHA512);
    sound.iter().copied().filter(|record| record.matching != SHA256 || !stronger(record)).collect()
}

fn is_usable(record: &Tlsa) -> bool {
    let length = match record.matching {
        FULL => !record.data.is_empty(),
        SHA256 => record.data.len() == 32,
        SHA512 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && matches!(record.selector, CERT | SPKI) && length
}

/// Whether one of the usable `records` proves `chain`. `names` is what the certificate of DANE-TA must name one of (RFC
/// 7672 §3.2.2); DANE-EE ignores names and validity (RFC 7672 §3.1.1).
pub fn prove(
    records: &[&Tlsa],
    chain: &[CertificateDer<'_>],
    names: &[Domain],
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), Fault> {
    let leaf = chain.first().ok_or(Fault::Tlsa { records: records.len() })?;
    let of_usage = |usage: u8| records.iter().copied().filter(move |record| record.usage == usage);
    if of_usage(DANE_EE).any(|record| matches(record, leaf)) {
        return Ok(());
    }
    let mut failure = Fault::Tlsa { records: records.len() };
    for record in of_usage(DANE_TA) {
        match trust_anchor(record, chain, names, purpose, now) {
            Ok(()) => return Ok(()),
            Err(Some(fault)) => failure = fault,
            Err(None) => {}
        }
    }
    Err(failure)
}

/// Whether the record's data is that of the certificate.
fn matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    match record.selector {
        CERT => data_matches(record, certificate),
        _ => spki(certificate).is_some_and(|spki| data_matches(record, &spki)),
    }
}

fn data_matches(record: &Tlsa, selected: &[u8]) -> bool {
    match record.matching {
        FULL => record.data == selected,
        SHA256 => record.data == digest::digest(&digest::SHA256, selected).as_ref(),
        SHA512 => record.data == digest::digest(&digest::SHA512, selected).as_ref(),
        _ => false,
    }
}

fn spki(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    Some(parsed.subject_public_key_info().as_ref().to_vec())
}

/// A record of usage DANE-TA(2). `Err(None)`: it does not match anything; `Err(Some)`: it does, and the chain is
/// faulty.
fn trust_anchor(
    record: &Tlsa,
    chain: &[CertificateDer<'_>],
    names: &[Domain],
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), Option<Fault>> {
    // An authority is above the leaf; a self-signed leaf is for DANE-EE.
    let shown = chain.iter().skip(1).position(|certificate| matches(record, certificate)).map(|at| &chain[at + 1]);
    let from_dns = CertificateDer::from(record.data.as_slice());
    let anchor = match (shown, record.selector, record.matching) {
        (Some(certificate), ..) => certificate,
        // RFC 7671 §5.2.2: the one kind whose authority need not be in the handshake.
        (None, CERT, FULL) => &from_dns,
        // RFC 7671 §5.2.3: the topmost certificate shown may be signed by the bare key.
        (None, SPKI, FULL) => {
            let Some(issuer) = topmost_issuer(chain) else { return Err(None) };
            let Some(key) = contents(&record.data) else { return Err(None) };
            let bare = TrustAnchor {
                subject: issuer.as_slice().into(),
                subject_public_key_info: key.into(),
                name_constraints: None,
            };
            let proven = chain::prove(chain, &[bare], purpose, now).map_err(|_| None)?;
            return check_names(&proven, names).map_err(Some);
        }
        _ => return Err(None),
    };
    let trusted = webpki::anchor_from_trusted_cert(anchor).map_err(|_| None)?;
    let path = below(chain, &trusted, purpose, now).map_err(Some)?;
    constraints(anchor, path.intermediates, now).map_err(Some)?;
    check_names(&path.names, names).map_err(Some)
}

fn below(
    chain: &[CertificateDer<'_>],
    anchor: &TrustAnchor<'_>,
    purpose: Purpose,
    now: UnixTime,
) -> Result<chain::Path, Fault> {
    let anchors = std::slice::from_ref(anchor);
    match (purpose, chain::path(chain, anchors, webpki::KeyUsage::server_auth(), now)) {
        (Purpose::Relay, Err(Fault::Purpose)) => chain::path(chain, anchors, webpki::KeyUsage::client_auth(), now),
        (_, other) => other,
    }
}

/// What the certificate of the trust anchor itself demands: to be an authority, its time, its path length (RFC 7672
/// §3.1.2).
fn constraints(anchor: &CertificateDer<'_>, intermediates: usize, now: UnixTime) -> Result<(), Fault> {
    let unreadable = || Fault::Invalid("the trust anchor of the TLSA record cannot be read".to_owned());
    let parsed = x509_cert::Certificate::from_der(anchor).map_err(|_| unreadable())?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if let Some((_, at)) = chain::validity(anchor).filter(|(_, at)| at.secs() < now) {
        return Err(Fault::Expired { at });
    }
    let basic = parsed.tbs_certificate().get_extension::<BasicConstraints>().map_err(|_| unreadable())?;
    match basic {
        Some((_, basic)) if basic.ca => match basic.path_len_constraint {
            Some(most) if intermediates > usize::from(most) => {
                Err(Fault::Invalid("the path is longer than its authority allows".to_owned()))
            }
            _ => Ok(()),
        },
        _ => Err(Fault::Invalid("the TLSA record names a certificate that is no authority".to_owned())),
    }
}

fn check_names(proven: &Names, names: &[Domain]) -> Result<(), Fault> {
    if names.iter().any(|name| proven.names_host(name)) {
        return Ok(());
    }
    Err(Fault::Names { expected: names.iter().map(ToString::to_string).collect(), presented: proven.shown() })
}

fn topmost_issuer(chain: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(chain.last()?).ok()?;
    let der = parsed.tbs_certificate().issuer().to_der().ok()?;
    Some(contents(&der)?.to_vec())
}

/// What is inside the outermost element.
fn contents(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let length = usize::try_from(u32::from(header.length())).ok()?;
    der.len().checked_sub(length).map(|start| &der[start..])
}

/// The record to publish for a certificate: DANE-EE(3) SPKI(1) SHA2-256(1), which RFC 7672 §3.1 recommends; it stays
/// the same when a certificate is renewed with the same key.
pub fn record_for(certificate: &CertificateDer<'_>) -> Option<Tlsa> {
    let data = digest::digest(&digest::SHA256, &spki(certificate)?).as_ref().to_vec();
    Some(Tlsa { usage: DANE_EE, selector: SPKI, matching: SHA256, data })
}
