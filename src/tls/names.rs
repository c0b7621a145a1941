//! The names in a certificate, and whether they match (RFC 9525, RFC 4985).
//!
//! In: an end-entity certificate in DER. Out: its DNS-IDs and SRV-IDs. The common name and every other identifier are
//! not looked at (RFC 9525 §2). Invariant: names are in lower case; a pattern that RFC 9525 §6.3 calls invalid matches
//! nothing. A certificate that cannot be read has no names.

use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::address::Domain;
use crate::envelope::Class;

/// id-on-dnsSRV (RFC 4985 §2).
pub const ID_ON_DNS_SRV: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.7");

/// Names in a message about them; a certificate may have thousands.
const NAMES_SHOWN: usize = 8;

/// The names of an end-entity certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    dns: Vec<Box<str>>,
    srv: Vec<Box<str>>,
}

impl Names {
    /// Reads the subject alternative names.
    pub fn of(certificate: &CertificateDer<'_>) -> Names {
        let dns = match webpki::EndEntityCert::try_from(certificate) {
            Ok(leaf) => leaf.valid_dns_names().map(lower).collect(),
            Err(_) => Vec::new(),
        };
        Names { dns, srv: srv_ids(certificate).unwrap_or_default() }
    }

    /// From texts, as they would stand in a certificate.
    pub fn from_parts(dns: &[&str], srv: &[&str]) -> Names {
        let all = |names: &[&str]| names.iter().map(|name| lower(name)).collect();
        Names { dns: all(dns), srv: all(srv) }
    }

    /// Whether a DNS-ID matches `reference` (RFC 9525 §6.3).
    pub fn names_host(&self, reference: &Domain) -> bool {
        self.dns.iter().any(|presented| dns_id_matches(presented, reference))
    }

    /// Whether an SRV-ID matches the service `class` of `domain`: `_im.b.example` or `_pres.b.example` (RFC 9525 §6.5,
    /// RFC 4985 §2). Wildcards are not looked for: RFC 4985 has none.
    pub fn names_service(&self, class: Class, domain: &Domain) -> bool {
        let wanted = srv_id(class, domain);
        self.srv.iter().any(|presented| **presented == *wanted)
    }

    /// Without the SRV-IDs: what remains when an authority above is constrained in the names that it may issue, because
    /// a constraint on DNS names does not bind SRV-IDs (RFC 9525 §7.6).
    pub fn without_services(mut self) -> Names {
        self.srv.clear();
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.srv.is_empty()
    }

    /// The DNS-IDs, wildcards included, in the certificate's order.
    pub fn dns(&self) -> impl Iterator<Item = &str> {
        self.dns.iter().map(|name| &**name)
    }

    /// The SRV-IDs.
    pub fn srv(&self) -> impl Iterator<Item = &str> {
        self.srv.iter().map(|name| &**name)
    }

    /// The first few, for a message.
    pub fn shown(&self) -> Vec<String> {
        self.dns().chain(self.srv()).take(NAMES_SHOWN).map(str::to_owned).collect()
    }
}

/// The SRV-ID of a service of a domain (RFC 4985 §2).
pub fn srv_id(class: Class, domain: &Domain) -> String {
    match class {
        Class::Im => format!("_im.{domain}"),
        Class::Pres => format!("_pres.{domain}"),
    }
}

/// RFC 9525 §6.3: labels compared without regard to case; `*` only as the whole left-most label, for exactly one label.
fn dns_id_matches(presented: &str, reference: &Domain) -> bool {
    let presented = presented.strip_suffix('.').unwrap_or(presented);
    match presented.strip_prefix("*.") {
        None => presented == reference.as_str(),
        Some(rest) => match reference.as_str().split_once('.') {
            Some((_, parent)) => !rest.contains('*') && rest == parent,
            None => false,
        },
    }
}

fn lower(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

fn srv_ids(certificate: &CertificateDer<'_>) -> Option<Vec<Box<str>>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let (_, names) = parsed.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let mut found = Vec::new();
    for name in names.0 {
        let GeneralName::OtherName(other) = name else { continue };
        if other.type_id != ID_ON_DNS_SRV {
            continue;
        }
        // RFC 4985 §2: SRVName ::= IA5String; anything else is not one.
        if let Ok(text) = other.value.decode_as::<Ia5StringRef<'_>>() {
            found.push(lower(text.as_str()));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn check(presented: &str, reference: &str, expected: bool) {
        let names = Names::from_parts(&[presented], &[]);
        assert_eq!(names.names_host(&domain(reference)), expected, "{presented} for {reference}");
    }

    #[test]
    fn dns_ids() {
        check("b.example", "b.example", true);
        check("B.Example", "b.example", true);
        check("b.example.", "b.example", true);
        check("b.example", "c.example", false);
        check("b.example", "mx.b.example", false);
        check("mx.b.example", "b.example", false);
    }

    #[test]
    fn internationalised_names_match_as_a_labels() {
        check("xn--bcher-kva.example", "bücher.example", true);
        check("*.xn--bcher-kva.example", "mx.bücher.example", true);
    }

    #[test]
    fn wildcards_match_one_whole_left_most_label() {
        check("*.b.example", "mx.b.example", true);
        check("*.b.example", "b.example", false);
        check("*.b.example", "a.mx.b.example", false);
        for invalid in ["m*.b.example", "*x.b.example", "mx.*.example", "*.*.example", "*"] {
            check(invalid, "mx.b.example", false);
        }
        check("*.example", "example", false);
    }

    #[test]
    fn srv_ids_match_service_and_domain_together() {
        let names = Names::from_parts(&["app.example"], &["_IM.b.example", "_pres.c.example"]);
        assert!(names.names_service(Class::Im, &domain("b.example")));
        assert!(!names.names_service(Class::Pres, &domain("b.example")));
        assert!(names.names_service(Class::Pres, &domain("c.example")));
        assert!(!names.names_service(Class::Im, &domain("app.example")));
        assert!(!names.names_host(&domain("b.example")));
        assert!(!names.without_services().names_service(Class::Im, &domain("b.example")));
    }

    #[test]
    fn srv_ids_have_no_wildcards() {
        let names = Names::from_parts(&[], &["_im.*.example", "_im.*"]);
        assert!(!names.names_service(Class::Im, &domain("b.example")));
    }

    #[test]
    fn garbage_has_no_names() {
        assert!(Names::of(&CertificateDer::from(&b"\x30\x03abc"[..])).is_empty());
    }
}
