//! Decrypting: what is inside an encrypted layer.
//!
//! In: an encrypted layer, identities. Out: the MIME entity inside. Invariant: whatever is wrong inside, the fault is
//! one and the same, and so is the work done. Fails: [`Fault::NotForUs`], [`Fault::Undecryptable`].
//! RFC 5652 §6, RFC 5083, RFC 3218.

use super::{Encrypted, Fault, Identity};

/// Decrypts with the first identity that is a recipient.
pub fn decrypt(_encrypted: &Encrypted, _identities: &[Identity]) -> Result<Vec<u8>, Fault> {
    Err(Fault::NotForUs)
}
