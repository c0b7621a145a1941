//! Certificates of signers who were believed, read once: with their addresses and their keys as the primitives want them.
//!
//! In: certificates, when their signer was believed; the octets of one. Out: the one that is kept. Bounded by
//! [`limits::CHAINS_CACHED`] of at most [`limits::REMEMBERED_OCTETS`]: the oldest makes place. Who is not believed is not
//! kept, so that nobody can fill it. Nothing is believed for being kept here.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Certificate, Fault};
use crate::limits;

/// What is kept.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    certificates: HashSet<Certificate>,
    order: VecDeque<Certificate>,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What a panic elsewhere left is whole: at worst one is kept that is never the oldest.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate of these octets: the one that is kept, or as it is read now.
    pub fn certificate(&self, der: &[u8]) -> Result<Certificate, Fault> {
        let kept = self.kept().certificates.get(der).cloned();
        kept.map_or_else(|| Certificate::from_der(der), Ok)
    }

    /// Whether it is kept.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.kept().certificates.contains(certificate)
    }

    /// Keeps the certificate of a signer who was believed.
    pub fn keep(&self, certificate: &Certificate) {
        if certificate.der().len() > limits::REMEMBERED_OCTETS {
            return;
        }
        let mut kept = self.kept();
        if kept.certificates.insert(certificate.clone()) {
            kept.order.push_back(certificate.clone());
        }
        if kept.order.len() > limits::CHAINS_CACHED
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.certificates.remove(&oldest);
        }
    }
}
