//! Revocation lists that certificates name: where they are, and whether what was found there is one.
//!
//! In: a chain that holds; octets that anybody may have sent. Out: places; until when a list is good. Invariant: a list counts
//! only if the authority whose it says it is has signed it, and only if it is of all of its certificates. RFC 5280 §4.2.1.13
//! and §5.

use certval::compare_names;
use const_oid::AssociatedOid as _;
use der::Decode;
use x509_cert::certificate::Raw;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{CrlDistributionPoints, IssuingDistributionPoint};

use super::super::ber::{self, Reader};
use super::super::{Certificate, Fault, check};
use super::chain::list_octets;
use crate::limits;
use crate::timestamp::Timestamp;

/// Where a list is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListPlace {
    /// The URI, as the certificate names it.
    pub uri: String,
    /// Whose list it is.
    pub issuer: Certificate,
}

/// The places that the certificates of a chain name; `authorities` from the top.
pub(super) fn places(signer: &Certificate, authorities: &[Certificate]) -> Vec<ListPlace> {
    let below = authorities.iter().skip(1).chain([signer]);
    let mut found = Vec::new();
    for (issuer, certificate) in authorities.iter().zip(below).filter(|(issuer, below)| issuer != below) {
        let uris = certificate.parsed().map(|parsed| uris(&parsed)).unwrap_or_default();
        found.extend(uris.into_iter().next().map(|uri| ListPlace { uri, issuer: issuer.clone() }));
    }
    found
}

/// The places of whole lists of the issuer: those for some reasons only, or of another issuer, are passed over.
fn uris(certificate: &x509_cert::Certificate) -> Vec<String> {
    let points = certificate.tbs_certificate().get_extension::<CrlDistributionPoints>();
    let Ok(Some((_, CrlDistributionPoints(points)))) = points else { return Vec::new() };
    let whole = points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
    let names = whole.filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    let http = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) if uri.as_str().starts_with("http:") => Some(uri.to_string()),
        _ => None,
    };
    names.flatten().filter_map(http).take(limits::CERTIFICATE_NAMES).collect()
}

/// Reads a list of that issuer, DER or PEM: its DER, and until when it is good.
pub fn read_list(octets: &[u8], issuer: &Certificate) -> Result<(Vec<u8>, Timestamp), Fault> {
    const NONE: Fault = Fault::Syntax("it is no list of revoked certificates");
    let der = list_octets(octets).ok_or(NONE)?;
    let list = CertificateList::<Raw>::from_der(&der).map_err(|_| NONE)?;
    let mut outer = Reader::only(&der, ber::SEQUENCE)?;
    let (signed, algorithm) = (outer.take(ber::SEQUENCE)?.raw, outer.take(ber::SEQUENCE)?.raw);
    let signature = outer.take(ber::BIT_STRING)?.bits()?;
    check(&issuer.public_key()?, algorithm, signed, signature)?;
    if !compare_names(&list.tbs_cert_list.issuer, issuer.parsed()?.tbs_certificate().subject()) {
        return Err(Fault::Certificate("the list is another authority's"));
    }
    // One of a part of the certificates tells nothing of the others (RFC 5280 §5.2.5).
    let extensions = list.tbs_cert_list.crl_extensions.iter().flatten();
    if extensions.into_iter().any(|extension| extension.extn_id == IssuingDistributionPoint::OID) {
        return Err(Fault::Unsupported("a list of some of the issuer's certificates".to_owned()));
    }
    let until = list.tbs_cert_list.next_update.map(|time| time.to_unix_duration().as_secs());
    let until = until.and_then(|seconds| i64::try_from(seconds).ok());
    let until = until.ok_or(Fault::Syntax("the list does not say until when it is good"))?;
    Ok((der, Timestamp::from_secs(until)))
}
