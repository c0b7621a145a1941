//! Authorities and certificates of every kind, for tests.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
    date_time_ymd,
};

use super::super::super::{Certificate, Identity, Key};
use crate::timestamp::Timestamp;

/// The time in all tests: 2026-11-18T11:06:40Z.
pub(in crate::smime) const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);
const DAY: u64 = 86_400;

/// A certificate with its key.
pub(in crate::smime) struct Made {
    pub(in crate::smime) certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

/// What a certificate should be, before somebody changes it.
pub(in crate::smime) fn days(params: &mut CertificateParams, from: i64, until: i64) {
    let at = |days: i64| {
        let seconds = NOW.secs() + days * DAY as i64;
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap())
    };
    (params.not_before, params.not_after) = (at(from), at(until));
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    days(&mut params, -10, 100);
    params
}

/// An authority's, for five hundred days before and after.
pub(in crate::smime) fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    days(&mut params, -500, 500);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A person's, for e-mail.
pub(in crate::smime) fn person(address: &str) -> CertificateParams {
    let mut params = params("a person");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    params.subject_alt_names = vec![SanType::Rfc822Name(address.to_owned().try_into().unwrap())];
    params
}

/// Constrains an authority to addresses.
pub(in crate::smime) fn constrain(params: &mut CertificateParams, permitted: &[&str], excluded: &[&str]) {
    let all = |names: &[&str]| names.iter().map(|name| GeneralSubtree::Rfc822Name((*name).to_owned())).collect();
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: all(permitted), excluded_subtrees: all(excluded) });
}

/// A subject alternative name as it stands, DER.
pub(in crate::smime) fn raw_names(params: &mut CertificateParams, names: &[u8]) {
    params.subject_alt_names.clear();
    let length = u8::try_from(names.len()).unwrap();
    assert!(length < 128);
    let content = [&[0x30, length], names].concat();
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], content));
}

/// A root.
pub(in crate::smime) fn root(params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    Made { certificate, params, key }
}

impl Made {
    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A certificate below this one.
    pub(in crate::smime) fn issue(&self, params: CertificateParams) -> Made {
        self.issue_for(params, KeyPair::generate().unwrap())
    }

    /// With a key that is there.
    pub(in crate::smime) fn issue_for(&self, params: CertificateParams, key: KeyPair) -> Made {
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Made { certificate: Certificate::from_der(certificate.der()).unwrap(), params, key }
    }

    /// Its key again.
    pub(in crate::smime) fn same_key(&self) -> KeyPair {
        KeyPair::from_pem(&self.key.serialize_pem()).unwrap()
    }

    /// A revocation list, issued and due so many days from now.
    pub(in crate::smime) fn list(&self, revoked: &[&Certificate], from: i64, until: i64) -> Vec<u8> {
        let mut times = CertificateParams::default();
        days(&mut times, from, until);
        let entry = |certificate: &&Certificate| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(certificate.serial()),
            revocation_time: times.not_before,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: times.not_before,
            next_update: times.not_after,
            crl_number: rcgen::SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    /// To sign and decrypt with, those above it along.
    pub(in crate::smime) fn identity(&self, above: &[&Made]) -> Identity {
        let key = Key::from_pem(&self.key.serialize_pem(), None).unwrap();
        let above = above.iter().map(|made| made.certificate.clone());
        Identity::new(key, std::iter::once(self.certificate.clone()).chain(above).collect()).unwrap()
    }
}
