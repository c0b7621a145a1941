//! Which person a client certificate proves (RFC 5280 §4.2.1.6, RFC 9598 §3): addresses of mail and `im:` URIs.
//!
//! In: the certificates that a client has shown, trust anchors, lists of revoked certificates, the time since 1970. Out: addresses, or the
//! [`Fault`]. Invariants: the certificate is for clients (id-kp-clientAuth, or no restriction); where there are lists, the
//! certificate's issuer must have one that is not out of date. A path with name constraints proves nobody: the library below
//! does not judge those of addresses.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder,
};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::chain::{fault, has_name_constraints};
use super::{Fault, Roots, provider};
use crate::address::Mailbox;

/// Names of one certificate that are looked at.
const NAMES: usize = 64;

/// Lists of revoked certificates (RFC 5280 §5).
#[derive(Debug, Default)]
pub struct Revocations(Vec<CertRevocationList<'static>>);

impl Revocations {
    /// From PEM; a text without a list is a fault.
    pub fn from_pem(pem: &[u8]) -> Result<Revocations, String> {
        let mut lists = Vec::new();
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            let list = list.map_err(|error| error.to_string())?;
            let list = OwnedCertRevocationList::from_der(&list).map_err(|error| error.to_string())?;
            lists.push(CertRevocationList::Owned(list));
        }
        if lists.is_empty() {
            Err("there is no list (BEGIN X509 CRL) in it".to_owned())
        } else {
            Ok(Revocations(lists))
        }
    }
}

/// Validates the path from the first certificate of `chain` to one of `roots`, and tells the addresses that it proves.
pub fn prove_person(
    chain: &[CertificateDer<'_>],
    roots: &Roots,
    revocations: &[Arc<Revocations>],
    now: Duration,
) -> Result<Vec<Mailbox>, Fault> {
    let (first, rest) = chain.split_first().ok_or_else(|| Fault::Invalid("there is none".to_owned()))?;
    let leaf = webpki::EndEntityCert::try_from(first).map_err(|error| fault(&error, first))?;
    let lists: Vec<&CertRevocationList<'_>> = revocations.iter().flat_map(|lists| &lists.0).collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
        builder.with_depth(RevocationCheckDepth::EndEntity).with_expiration_policy(ExpirationPolicy::Enforce).build()
    });
    let now = UnixTime::since_unix_epoch(now);
    let usage = webpki::KeyUsage::client_auth();
    let algorithms = provider().signature_verification_algorithms.all;
    let verified = leaf.verify_for_usage(algorithms, roots.anchors(), rest, now, usage, revocation, None);
    let verified = verified.map_err(|error| fault(&error, first))?;
    let constrained = verified.anchor().name_constraints.is_some()
        || verified.intermediate_certificates().any(|authority| has_name_constraints(&authority.der()));
    if constrained {
        return Err(Fault::Invalid("its authority is constrained in the names that it may issue".to_owned()));
    }
    Ok(addresses(first).unwrap_or_default())
}

/// rfc822Name, and uniformResourceIdentifier of the scheme `im` (RFC 3860 §3).
fn addresses(certificate: &CertificateDer<'_>) -> Option<Vec<Mailbox>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let (_, names) = parsed.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let mailbox = |name: &GeneralName| match name {
        GeneralName::Rfc822Name(address) => Mailbox::parse(address.as_str()).ok(),
        GeneralName::UniformResourceIdentifier(uri) => {
            let (scheme, rest) = uri.as_str().split_once(':')?;
            // What is encoded there is no address that an account here has.
            let plain = scheme.eq_ignore_ascii_case("im") && !rest.contains(['%', '?']);
            plain.then(|| Mailbox::parse(rest).ok()).flatten()
        }
        _ => None,
    };
    Some(names.0.iter().take(NAMES).filter_map(mailbox).collect())
}
