//! All layers of a message, from the outside in, for tests that look at each.

use super::super::{Certificate, Cipher, Fault, Identity, Layer, Signer, decrypt, open, verify};
use crate::limits;

/// What was seen of one layer.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A signed layer: whose signatures are right, or what is wrong.
    Signed {
        /// The verified signers.
        signers: Result<Vec<Signer>, Fault>,
    },
    /// A layer that was decrypted.
    Encrypted {
        /// How.
        cipher: Option<Cipher>,
    },
}

/// A message without its layers.
#[derive(Clone, Debug)]
pub struct Unwrapped {
    /// From the outside in.
    pub layers: Vec<Seen>,
    /// The innermost MIME entity.
    pub content: Vec<u8>,
}

/// Takes off every layer.
pub fn unwrap(entity: &[u8], identities: &[Identity], known: &[Certificate]) -> Result<Unwrapped, Fault> {
    let mut layers = Vec::new();
    let mut content = entity.to_vec();
    loop {
        let inner = match open(&content)? {
            Layer::Plain => return Ok(Unwrapped { layers, content }),
            _ if layers.len() >= limits::SMIME_DEPTH => return Err(Fault::TooDeep),
            Layer::Signed(signed) => {
                layers.push(Seen::Signed { signers: verify(&signed, known) });
                signed.content.into_owned()
            }
            Layer::Encrypted(encrypted) => {
                let inner = decrypt(&encrypted, identities)?;
                layers.push(Seen::Encrypted { cipher: encrypted.cipher() });
                inner
            }
        };
        content = inner;
    }
}
