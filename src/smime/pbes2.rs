//! Encryption under a pass phrase.
use super::Fault;
use zeroize::Zeroizing;
pub(super) fn decrypt(_algorithm: &[u8], _encrypted: &[u8], _pass_phrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    Err(Fault::PassPhrase)
}
pub(super) fn encrypt(_clear: &[u8], _pass_phrase: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    Err(Fault::Random)
}
