//! S/MIME: messages signed, verified, encrypted, decrypted; the keys and certificates for it.
//!
//! In: MIME entities with CRLF, keys, certificates, the time. Out: entities, and what a signature proves. The path of a
//! message that came: [`open`] says what layer it is, [`verify()`] who signed, [`decrypt`] what is inside; [`examine()`]
//! does all three, layer by layer. Of one that goes: [`sign()`], then [`encrypt()`].
//!
//! Invariants: no I/O, no clock. Every primitive is aws-lc-rs's, but for the ciphers of old files of keys. What was signed
//! is the octets of the line-anchored part ([`crate::mime::signed`]), certificates and signed attributes are taken as they
//! came and never encoded again. Only the
//! outermost chain of layers counts: a part beside an encrypted part is never shown as protected. [`Examined::judge`] says
//! what to think of a message as a whole: [`Verdict`]. Fields are put inside and read back by
//! [`protect`], certificates are believed by [`trust`]. Fails: [`Fault`]; hostile input gives one, never a panic, and
//! costs time linear in its length, within [`crate::limits`].
//!
//! Structures are composed with the types of `cms` and, where it has none, with our own over `der`. What came is first
//! cut up in place by our own reader of BER, which bounds depth and counts, keeps what must stay raw and joins strings in
//! pieces; algorithms, attributes, signers' and recipients' identifiers and recipients are then read with those types.
//!
//! RFC 8551, RFC 5652, RFC 5083, RFC 5084, RFC 8591.

mod agreement;
mod asn1;
pub mod authority;
mod ber;
mod certificate;
mod cipher;
mod content;
mod decrypt;
mod der;
mod encrypt;
mod examine;
mod fault;
mod identity;
mod key;
mod layer;
mod memory;
mod oid;
mod pbe;
mod pbes2;
mod pem;
mod pkcs12;
pub mod protect;
mod scheme;
mod sign;
mod signed_data;
pub mod signing;
mod transport;
pub mod trust;
pub mod verdict;
mod verify;

pub use certificate::Certificate;
pub use cipher::Cipher;
pub use decrypt::decrypt;
pub use encrypt::{EncryptOptions, KeyTransport, encrypt};
pub use examine::{Circumstances, Examined, examine, examine_with};
pub use fault::Fault;
pub use identity::Identity;
pub use key::{Key, KeyKind, PublicKey, RsaScheme, Signature};
pub use layer::{Encrypted, Layer, Signed, open};
pub use memory::Memory;
pub use scheme::check;
pub use sign::{Form, SignOptions, sign};
pub use verdict::{Finding, Verdict};
pub use verify::{Signer, verify, verify_with};

#[cfg(test)]
mod tests;
