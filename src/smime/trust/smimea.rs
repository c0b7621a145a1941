//! SMIMEA: certificates in the DNS, for addresses of the domain that publishes them (RFC 8162).
//!
//! In: an address; records that DNSSEC proved; certificates. Out: the name to ask for; which certificates a record means.
//! Invariant: a record counts only for addresses of exactly the domain where it was found. A record of unknown usage,
//! selector or matching type, or with a digest of the wrong length, is passed over (RFC 6698 §4.1).

use aws_lc_rs::digest;

use super::super::Certificate;
use crate::address::{Domain, Mailbox};
use crate::limits;

/// The second label of the owner name (RFC 8162 §3).
const LABEL: &str = "_smimecert";

/// What the record's certificate is (RFC 6698 §2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// 0: the authority that a chain from a configured root must pass.
    AuthorityConstraint,
    /// 1: the certificate that a chain from a configured root must end with.
    SignerConstraint,
    /// 2: an authority, trusted for this domain.
    Authority,
    /// 3: the signer's certificate itself, trusted for this domain.
    Signer,
}

/// One record: its three numbers and its data, as in TLSA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The certificate usage, 0 to 3.
    pub usage: u8,
    /// 0: the certificate; 1: its public key.
    pub selector: u8,
    /// 0: the data itself; 1: its SHA-256; 2: its SHA-512.
    pub matching: u8,
    /// The certificate association data.
    pub data: Vec<u8>,
}

/// Records that DNSSEC proved, and the domain whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The domain.
    pub domain: Domain,
    /// Its records for the address in question, a wildcard's among them.
    pub records: Vec<Record>,
}

/// The owner name for an address, without the final dot (RFC 8162 §3): the local part as it is written, in NFC.
pub fn owner(address: &Mailbox) -> String {
    let hash = digest::digest(&digest::SHA256, address.local().as_bytes());
    let label: String = hash.as_ref()[..28].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{label}.{LABEL}.{}", address.domain())
}

/// The name of a record for every address of a domain.
pub fn wildcard(domain: &Domain) -> String {
    format!("*.{LABEL}.{domain}")
}

impl Record {
    /// The record by which a domain publishes its own authority: the whole certificate, so that a chain is complete
    /// whether or not the signer sends it along (RFC 7671 §5.2.2).
    pub fn authority(certificate: &Certificate) -> Record {
        Record { usage: 2, selector: 0, matching: 0, data: certificate.der().to_vec() }
    }

    /// What it means; `None` where it is not to be used.
    pub fn meaning(&self) -> Option<Usage> {
        let length = match self.matching {
            0 => !self.data.is_empty() && self.data.len() <= limits::CERTIFICATE_OCTETS,
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        if !length || self.selector > 1 {
            return None;
        }
        match self.usage {
            0 => Some(Usage::AuthorityConstraint),
            1 => Some(Usage::SignerConstraint),
            2 => Some(Usage::Authority),
            3 => Some(Usage::Signer),
            _ => None,
        }
    }

    /// Whether its data is that of the certificate.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        let selected = if self.selector == 0 { certificate.der() } else { certificate.spki() };
        match self.matching {
            0 => self.data == selected,
            1 => self.data == digest::digest(&digest::SHA256, selected).as_ref(),
            2 => self.data == digest::digest(&digest::SHA512, selected).as_ref(),
            _ => false,
        }
    }

    /// The certificate, where the record carries a whole one: an authority's, or a signer's to encrypt to.
    pub fn certificate(&self) -> Option<Certificate> {
        let whole = self.meaning().is_some() && self.selector == 0 && self.matching == 0;
        if whole { Certificate::from_der(&self.data).ok() } else { None }
    }

    /// As it stands in a zone: `2 0 0 3082…`.
    pub fn presentation(&self) -> String {
        let data: String = self.data.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("{} {} {} {data}", self.usage, self.selector, self.matching)
    }
}

impl Published {
    /// Whole certificates that are trusted themselves for an address of the domain (RFC 8162 §2, usage 3): to encrypt to.
    pub fn certificates(&self, who: &Mailbox) -> Vec<Certificate> {
        let records = self.for_author(who).into_iter().filter(|(usage, _)| *usage == Usage::Signer);
        records.filter_map(|(_, record)| record.certificate()).collect()
    }

    /// The records that can be used, and what they mean; those of another domain than the author's are none.
    pub(super) fn for_author<'a>(&'a self, author: &Mailbox) -> Vec<(Usage, &'a Record)> {
        if *author.domain() != self.domain {
            return Vec::new();
        }
        let records = self.records.iter().take(limits::SMIMEA_RECORDS);
        records.filter_map(|record| record.meaning().map(|usage| (usage, record))).collect()
    }
}
