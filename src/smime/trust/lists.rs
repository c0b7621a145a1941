//! Revocation lists that certificates name: where they are, and whether what was found there is one.
//!
//! In: a chain that holds; octets that anybody may have sent. Out: places; until when a list is good. Invariant: a list counts
//! only if the authority whose it says it is has signed it, and only if it is of all of its certificates. RFC 5280 §4.2.1.13
//! and §5.

use certval::compare_names;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CERTIFICATE_ISSUER, ID_CE_CRL_NUMBER, ID_CE_CRL_REASONS,
    ID_CE_DELTA_CRL_INDICATOR, ID_CE_FRESHEST_CRL, ID_CE_HOLD_INSTRUCTION_CODE, ID_CE_INVALIDITY_DATE,
    ID_CE_ISSUING_DISTRIBUTION_POINT,
};
use der::Decode;
use x509_cert::certificate::Raw;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{CrlDistributionPoints, KeyUsage};
use x509_cert::time::Time;

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

/// A list that its authority has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundList {
    /// The list, DER.
    pub der: Vec<u8>,
    /// When it was made.
    pub since: Timestamp,
    /// Until when it is good.
    pub until: Timestamp,
}

/// Reads a list of that issuer, DER or PEM. What could not be asked later is no list: it would take belief from all whom the
/// issuer certifies (RFC 5280 §6.3.3).
pub fn read_list(octets: &[u8], issuer: &Certificate, now: Timestamp) -> Result<FoundList, Fault> {
    const NONE: Fault = Fault::Syntax("it is no list of revoked certificates");
    let der = list_octets(octets).ok_or(NONE)?;
    let list = CertificateList::<Raw>::from_der(&der).map_err(|_| NONE)?;
    let mut outer = Reader::only(&der, ber::SEQUENCE)?;
    let (signed, algorithm) = (outer.take(ber::SEQUENCE)?.raw, outer.take(ber::SEQUENCE)?.raw);
    let signature = outer.take(ber::BIT_STRING)?.bits()?;
    check(&issuer.public_key()?, algorithm, signed, signature)?;
    let authority = issuer.parsed()?;
    if !compare_names(&list.tbs_cert_list.issuer, authority.tbs_certificate().subject()) {
        return Err(Fault::Certificate("the list is another authority's"));
    }
    match authority.tbs_certificate().get_extension::<KeyUsage>() {
        Ok(usage) if usage.is_none_or(|(_, usage)| usage.crl_sign()) => {}
        _ => return Err(Fault::Certificate("the authority's key usage does not allow lists")),
    }
    is_whole(&list)?;
    let seconds = |time: Time| i64::try_from(time.to_unix_duration().as_secs()).ok().map(Timestamp::from_secs);
    let since = seconds(list.tbs_cert_list.this_update).filter(|since| *since <= now);
    let since = since.ok_or(Fault::Syntax("the list is of a time to come; is the clock right?"))?;
    let until = list.tbs_cert_list.next_update.and_then(seconds);
    let until = until.ok_or(Fault::Syntax("the list does not say until when it is good"))?;
    Ok(FoundList { der, since, until })
}

/// Whether a list tells of all certificates of its issuer, and of nothing else, in a way that is understood. One of a part of
/// them, or of what has changed, tells nothing of the others (RFC 5280 §5.2.4 and §5.2.5).
fn is_whole(list: &CertificateList<Raw>) -> Result<(), Fault> {
    const PARTS: [ObjectIdentifier; 2] = [ID_CE_ISSUING_DISTRIBUTION_POINT, ID_CE_DELTA_CRL_INDICATOR];
    const KNOWN: [ObjectIdentifier; 3] = [ID_CE_CRL_NUMBER, ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_FRESHEST_CRL];
    const ENTRIES: [ObjectIdentifier; 3] = [ID_CE_CRL_REASONS, ID_CE_INVALIDITY_DATE, ID_CE_HOLD_INSTRUCTION_CODE];
    let list = &list.tbs_cert_list;
    for extension in list.crl_extensions.iter().flatten() {
        if PARTS.contains(&extension.extn_id) {
            return Err(Fault::Unsupported("a list of some of the issuer's certificates".to_owned()));
        }
        if extension.critical && !KNOWN.contains(&extension.extn_id) {
            return Err(Fault::Unsupported(format!("the critical extension {} of a list", extension.extn_id)));
        }
    }
    let entries = list.revoked_certificates.iter().flatten();
    for extension in entries.filter_map(|entry| entry.crl_entry_extensions.as_ref()).flatten() {
        let strange = extension.critical && !ENTRIES.contains(&extension.extn_id);
        if strange || extension.extn_id == ID_CE_CERTIFICATE_ISSUER {
            return Err(Fault::Unsupported(format!("the extension {} of an entry of a list", extension.extn_id)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use der::asn1::OctetString;
    use x509_cert::ext::Extension;

    use super::super::tests::pki;
    use super::*;

    #[test]
    fn lists_that_do_not_tell_of_all() {
        let root = pki::root(pki::authority("Root"));
        let list = CertificateList::<Raw>::from_der(&root.list(&[&root.certificate], -1, 6)).unwrap();
        let check = |extn_id, critical, in_entry: bool, expected| {
            let mut list = list.clone();
            let extension = Extension { extn_id, critical, extn_value: OctetString::new([5, 0]).unwrap() };
            let entries = list.tbs_cert_list.revoked_certificates.as_mut().unwrap();
            let place =
                if in_entry { &mut entries[0].crl_entry_extensions } else { &mut list.tbs_cert_list.crl_extensions };
            place.get_or_insert_default().push(extension);
            assert_eq!(is_whole(&list).is_ok(), expected, "{extn_id} {critical} {in_entry}");
        };
        assert_eq!(is_whole(&list), Ok(()));
        let strange = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.1.1");
        check(ID_CE_DELTA_CRL_INDICATOR, true, false, false);
        check(ID_CE_DELTA_CRL_INDICATOR, false, false, false);
        check(ID_CE_ISSUING_DISTRIBUTION_POINT, true, false, false);
        check(ID_CE_FRESHEST_CRL, true, false, true);
        check(strange, false, false, true);
        check(strange, true, false, false);
        check(strange, false, true, true);
        check(strange, true, true, false);
        check(ID_CE_CRL_REASONS, true, true, true);
        check(ID_CE_CERTIFICATE_ISSUER, false, true, false);
    }
}
