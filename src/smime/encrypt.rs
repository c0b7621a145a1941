//! Encrypting: a MIME entity goes in, an encrypted one comes out.
//!
//! In: an entity, the certificates of its recipients. Out: an entity of application/pkcs7-mime that begins with its
//! Content-Type field. Invariant: every key of a content is used once. Fails: a recipient whose certificate does not
//! serve. RFC 5652 §6, RFC 5083, RFC 5084, RFC 8551 §3.3 and §3.4.

use super::{Certificate, Cipher, Fault};

/// How a content's key is encrypted to an RSA key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyTransport {
    /// OAEP with SHA-256.
    #[default]
    Oaep,
    /// PKCS#1 v1.5, for readers that know nothing else.
    Pkcs1,
}

/// How to encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptOptions {
    /// How the content is encrypted.
    pub cipher: Cipher,
    /// How its key is encrypted to RSA keys.
    pub transport: KeyTransport,
}

/// Encrypts `part`, a MIME entity, to everybody whose certificate is given; the sender's own should be among them.
pub fn encrypt(_part: &[u8], _recipients: &[Certificate], _options: &EncryptOptions) -> Result<Vec<u8>, Fault> {
    Err(Fault::Unsupported("encryption".to_owned()))
}
