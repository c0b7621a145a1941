//! What a domain publishes of the certificates of its addresses.
//!
//! In: an address. Out: its SMIMEA records, where DNSSEC proves them. Invariant: where nobody can say, or nobody proves it, it
//! is as if there were nothing: whoever asks is left with the authorities that it believes itself. RFC 8162 §3.

use std::time::Duration;

use tokio::time::timeout;

use super::{Resolve, Security, Tlsa};
use crate::address::Mailbox;
use crate::smime::trust::{Published, Record, owner};

/// Asks the domain of an address, for no longer than this.
pub async fn published(resolver: &dyn Resolve, address: &Mailbox, patience: Duration) -> Option<Published> {
    let name = owner(address);
    let answer = timeout(patience, resolver.smimea(&name)).await.ok()?.ok()?;
    if answer.security != Security::Secure {
        return None;
    }
    let record = |found: Tlsa| {
        let Tlsa { usage, selector, matching, data } = found;
        Record { usage, selector, matching, data }
    };
    Some(Published { domain: address.domain().clone(), records: answer.records.into_iter().map(record).collect() })
}
