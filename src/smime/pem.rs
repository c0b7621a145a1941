//! PEM: blocks of base64 between lines that name them.
//!
//! In: text with any number of blocks, text of people between them. Out: label and octets of each, wiped when dropped.
//! Fails: a block without its end, or that is not base64. RFC 7468 §2 and §3, which lets a reader be this lax.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Fault;
use crate::limits;

/// One block.
pub(super) struct Block {
    /// What stands between `BEGIN ` and the dashes.
    pub(super) label: String,
    /// A header field of the old form is there (RFC 1421): the octets are encrypted.
    pub(super) old_encryption: bool,
    /// The octets.
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The blocks of `text`, in order.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, Fault> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        if blocks.len() >= limits::CMS_CERTIFICATES {
            return Err(Fault::TooMany("blocks in a PEM text"));
        }
        let end = format!("-----END {label}-----");
        let mut encoded = Zeroizing::new(String::with_capacity(text.len()));
        let mut old_encryption = false;
        loop {
            let line = lines.next().ok_or(Fault::Syntax("a PEM block has no end"))?;
            match line {
                line if line == end => break,
                line if line.contains(':') => old_encryption = true,
                line => encoded.push_str(line),
            }
        }
        let der = match STANDARD.decode(encoded.as_bytes()) {
            Ok(der) => Zeroizing::new(der),
            Err(_) if old_encryption => Zeroizing::default(),
            Err(_) => return Err(Fault::Syntax("a PEM block is not base64")),
        };
        blocks.push(Block { label: label.to_owned(), old_encryption, der });
    }
    Ok(blocks)
}

/// One block of that label.
pub(super) fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / 32 + 2 * label.len() + 40));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for at in (0..encoded.len()).step_by(64) {
        text.push_str(&encoded[at..encoded.len().min(at + 64)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
