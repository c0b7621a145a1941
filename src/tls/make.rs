//! Certificates made on the spot, for the demo and for tests; nothing that the world trusts.
//!
//! In: names, times and purposes. Out: chains and keys (ECDSA P-256) in PEM. The chain ends with the root, because a
//! TLSA record of usage DANE-TA needs it there (RFC 7672 §3.1.2).

use std::io;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use x509_cert::der::asn1::Ia5String;
use x509_cert::der::{Any, Encode, Tag};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

use super::CertificateFiles;
use super::names::{ID_ON_DNS_SRV, srv_id};
use crate::address::Domain;
use crate::disk;
use crate::envelope::Class;
use crate::timestamp::Timestamp;

pub use rustls::pki_types::CertificateDer;

/// The last second that a certificate can express (RFC 5280 §4.1.2.5).
const LAST_SECOND: i64 = 253_402_300_799;
/// id-ce-subjectAltName (RFC 5280 §4.2.1.6).
const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct MakeError(String);

fn failed(error: impl std::fmt::Display) -> MakeError {
    MakeError(error.to_string())
}

/// An end entity's certificate that is wanted.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// DNS-IDs; the left-most label may be `*`.
    pub dns: Vec<String>,
    /// SRV-IDs (RFC 4985).
    pub srv: Vec<(Class, Domain)>,
    /// Addresses of people, or URIs.
    pub people: Vec<String>,
    /// The beginning of its time.
    pub not_before: Timestamp,
    /// The end of its time.
    pub not_after: Timestamp,
    /// Extended key usage id-kp-serverAuth.
    pub server: bool,
    /// Extended key usage id-kp-clientAuth; with neither, no restriction.
    pub client: bool,
}

impl Leaf {
    /// For these DNS names, in both roles, for 90 days from an hour before `now`.
    pub fn new(dns: &[&str], now: Timestamp) -> Leaf {
        Leaf {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            srv: Vec::new(),
            people: Vec::new(),
            not_before: now.before(Duration::from_secs(3600)),
            not_after: now.after(Duration::from_secs(90 * 86_400)),
            server: true,
            client: true,
        }
    }

    /// With SRV-IDs besides.
    pub fn with_services(mut self, services: &[(Class, Domain)]) -> Leaf {
        self.srv.extend_from_slice(services);
        self
    }

    /// With addresses of people besides, or URIs.
    pub fn with_addresses(mut self, people: &[&str]) -> Leaf {
        self.people.extend(people.iter().map(|name| (*name).to_owned()));
        self
    }

    /// That expired a day before `now`.
    pub fn expired(mut self, now: Timestamp) -> Leaf {
        self.not_before = now.before(Duration::from_secs(31 * 86_400));
        self.not_after = now.before(Duration::from_secs(86_400));
        self
    }
}

/// An authority that is wanted.
#[derive(Clone, Debug)]
pub struct AuthorityOptions {
    /// Its common name.
    pub name: String,
    /// The beginning of its time.
    pub not_before: Timestamp,
    /// The end of its time.
    pub not_after: Timestamp,
    /// How many authorities may stand between it and an end entity.
    pub path_length: Option<u8>,
    /// The DNS subtrees to which it is constrained; empty: no constraint.
    pub permitted: Vec<String>,
}

impl AuthorityOptions {
    /// For ten years from an hour before `now`, without constraints.
    pub fn new(name: &str, now: Timestamp) -> AuthorityOptions {
        AuthorityOptions {
            name: name.to_owned(),
            not_before: now.before(Duration::from_secs(3600)),
            not_after: now.after(Duration::from_secs(3650 * 86_400)),
            path_length: None,
            permitted: Vec::new(),
        }
    }
}

/// An authority: a root, or one below another.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, then those above it.
    chain: Vec<rcgen::Certificate>,
}

impl Authority {
    /// A root.
    pub fn root(options: &AuthorityOptions) -> Result<Authority, MakeError> {
        let params = authority_params(options)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Authority { issuer: Issuer::new(params, key), chain: vec![certificate] })
    }

    /// An authority below this one.
    pub fn intermediate(&self, options: &AuthorityOptions) -> Result<Authority, MakeError> {
        let params = authority_params(options)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let chain = std::iter::once(certificate).chain(self.chain.iter().cloned()).collect();
        Ok(Authority { issuer: Issuer::new(params, key), chain })
    }

    /// An end entity's certificate with a new key.
    pub fn issue(&self, leaf: &Leaf) -> Result<Made, MakeError> {
        let params = leaf_params(leaf)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let chain: Vec<_> = std::iter::once(certificate).chain(self.chain.iter().cloned()).collect();
        Ok(Made {
            chain_pem: chain.iter().map(rcgen::Certificate::pem).collect(),
            chain: chain.iter().map(|certificate| certificate.der().clone()).collect(),
            key_pem: key.serialize_pem(),
        })
    }

    /// A list of revoked certificates, in PEM, good for a week.
    pub fn revoke(&self, certificates: &[&CertificateDer<'_>], now: Timestamp) -> Result<String, MakeError> {
        use x509_cert::der::Decode as _;
        let time = |at: Timestamp| date_time_ymd(1970, 1, 1) + since_epoch(at);
        let mut revoked_certs = Vec::new();
        for certificate in certificates {
            let parsed = x509_cert::Certificate::from_der(certificate).map_err(failed)?;
            let serial = parsed.tbs_certificate().serial_number().as_bytes();
            revoked_certs.push(rcgen::RevokedCertParams {
                serial_number: rcgen::SerialNumber::from_slice(serial),
                revocation_time: time(now),
                reason_code: None,
                invalidity_date: None,
            });
        }
        let params = rcgen::CertificateRevocationListParams {
            this_update: time(now.before(Duration::from_secs(3600))),
            next_update: time(now.after(Duration::from_secs(7 * 86_400))),
            crl_number: rcgen::SerialNumber::from(u64::try_from(now.secs()).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).map_err(failed)?.pem().map_err(failed)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.chain[0].der()
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        self.chain[0].pem()
    }
}

/// A certificate with its key.
pub struct Made {
    /// The end entity's, then those above it, the root included.
    pub chain: Vec<CertificateDer<'static>>,
    /// The same in PEM.
    pub chain_pem: String,
    /// The private key, PKCS #8 in PEM.
    pub key_pem: String,
}

impl Made {
    /// The end entity's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Writes `NAME.pem` and `NAME.key` into `directory`, the key readable by its owner alone. Each file replaces an
    /// older one in one step.
    pub fn write(&self, directory: &Path, name: &str) -> io::Result<CertificateFiles> {
        let (chain, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        disk::replace(&key, 0o600, &[self.key_pem.as_bytes()])?;
        disk::replace(&chain, 0o644, &[self.chain_pem.as_bytes()])?;
        Ok(CertificateFiles { names: Vec::new(), chain, key })
    }
}

/// Writes a certificate of an authority for others to trust.
pub fn write_pem(path: &Path, pem: &str) -> io::Result<()> {
    disk::replace(path, 0o644, &[pem.as_bytes()])
}

fn authority_params(options: &AuthorityOptions) -> Result<CertificateParams, MakeError> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, options.name.as_str());
    params.is_ca = IsCa::Ca(match options.path_length {
        Some(most) => BasicConstraints::Constrained(most),
        None => BasicConstraints::Unconstrained,
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(options.not_before);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(options.not_after);
    if !options.permitted.is_empty() {
        let permitted_subtrees = options.permitted.iter().cloned().map(GeneralSubtree::DnsName).collect();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    }
    Ok(params)
}

fn leaf_params(leaf: &Leaf) -> Result<CertificateParams, MakeError> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = leaf.dns.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if !leaf.people.is_empty() {
        // To be written to in secret.
        params.key_usages.push(KeyUsagePurpose::KeyAgreement);
    }
    params.use_authority_key_identifier_extension = true;
    let purposes =
        [(leaf.server, ExtendedKeyUsagePurpose::ServerAuth), (leaf.client, ExtendedKeyUsagePurpose::ClientAuth)];
    params.extended_key_usages = purposes.into_iter().filter(|(on, _)| *on).map(|(_, purpose)| purpose).collect();
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(leaf.not_before);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(leaf.not_after);
    if !leaf.dns.is_empty() || !leaf.srv.is_empty() || !leaf.people.is_empty() {
        params.custom_extensions.push(subject_alt_names(leaf)?);
    }
    Ok(params)
}

/// Built here: the library writes an other name only as UTF8String, and an SRV-ID is an IA5String (RFC 4985 §2).
fn subject_alt_names(leaf: &Leaf) -> Result<CustomExtension, MakeError> {
    let mut names = Vec::new();
    for name in &leaf.dns {
        names.push(GeneralName::DnsName(Ia5String::new(name).map_err(failed)?));
    }
    for (class, domain) in &leaf.srv {
        let value = Any::new(Tag::Ia5String, srv_id(*class, domain).into_bytes()).map_err(failed)?;
        names.push(GeneralName::OtherName(OtherName { type_id: ID_ON_DNS_SRV, value }));
    }
    for name in &leaf.people {
        let text = Ia5String::new(name).map_err(failed)?;
        let uri = name.contains(':');
        names.push(if uri { GeneralName::UniformResourceIdentifier(text) } else { GeneralName::Rfc822Name(text) });
    }
    let content = SubjectAltName(names).to_der().map_err(failed)?;
    Ok(CustomExtension::from_oid_content(&SUBJECT_ALT_NAME, content))
}

/// Since the epoch, within what a certificate can express.
fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.secs().clamp(0, LAST_SECOND)).unwrap_or(0))
}
