//! PKCS#12.
use super::{Certificate, Fault, Key};
pub(super) fn read(_octets: &[u8], _pass_phrase: &str) -> Result<(Key, Vec<Certificate>), Fault> {
    Err(Fault::PassPhrase)
}
