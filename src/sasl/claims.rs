//! The one-message mechanisms as a server reads them: PLAIN, EXTERNAL, OAUTHBEARER; and CRAM-MD5.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use md5::{Digest as _, Md5};

use super::{SaslError, Secret, scram};

/// The message of PLAIN (RFC 4616 §2).
#[derive(Debug)]
pub struct Plain {
    /// As whom the client wants to act, where it says so.
    pub authorization: Option<String>,
    /// Whom it claims to be.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl Plain {
    /// Reads it.
    pub fn parse(message: &[u8]) -> Result<Plain, SaslError> {
        let malformed = || SaslError::Malformed("PLAIN");
        let text = std::str::from_utf8(message).map_err(|_| malformed())?;
        let mut fields = text.split('\0');
        let (Some(authorization), Some(user), Some(password), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(malformed());
        };
        if user.is_empty() || password.is_empty() {
            return Err(malformed());
        }
        let authorization = (!authorization.is_empty()).then(|| authorization.to_owned());
        Ok(Plain { authorization, user: user.to_owned(), password: Secret::new(password) })
    }
}

/// The message of EXTERNAL (RFC 4422 §A.1): as whom the client wants to act, or nothing.
pub fn external(message: &[u8]) -> Result<Option<String>, SaslError> {
    let text = std::str::from_utf8(message).map_err(|_| SaslError::Malformed("EXTERNAL"))?;
    match text {
        "" => Ok(None),
        text if text.contains('\0') => Err(SaslError::Malformed("EXTERNAL")),
        text => Ok(Some(text.to_owned())),
    }
}

/// The message of OAUTHBEARER (RFC 7628 §3.1).
#[derive(Debug)]
pub struct Bearer {
    /// Whom the client claims to be, where it says so.
    pub user: Option<String>,
    /// The token.
    pub token: Secret,
}

impl Bearer {
    /// Reads it; another scheme than Bearer is malformed.
    pub fn parse(message: &[u8]) -> Result<Bearer, SaslError> {
        let malformed = || SaslError::Malformed("OAUTHBEARER");
        let text = std::str::from_utf8(message).map_err(|_| malformed())?;
        let (header, pairs) = text.split_once('\u{1}').ok_or_else(malformed)?;
        let mut parts = header.split(',');
        let (Some("n" | "y"), Some(name), Some(""), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let user = match name.strip_prefix("a=") {
            Some(name) => Some(scram::unescape(name).ok_or_else(malformed)?),
            None if name.is_empty() => None,
            None => return Err(malformed()),
        };
        let pairs = pairs.strip_suffix("\u{1}\u{1}").ok_or_else(malformed)?;
        let value = pairs.split('\u{1}').find_map(|pair| pair.strip_prefix("auth=")).ok_or_else(malformed)?;
        let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
        let token = token.trim_start_matches(' ');
        let sane = !token.is_empty() && token.bytes().all(|octet| octet.is_ascii_graphic());
        if !scheme.eq_ignore_ascii_case("bearer") || !sane {
            return Err(malformed());
        }
        Ok(Bearer { user, token: Secret::new(token) })
    }
}

/// The challenge that tells of a failure (RFC 7628 §3.2.2); the client answers it with one octet, and then the exchange
/// fails.
pub const BEARER_REFUSED: &[u8] = br#"{"status":"invalid_token"}"#;

/// The client's response to CRAM-MD5 (RFC 2195 §2).
#[derive(Debug)]
pub struct CramResponse {
    /// Whom it claims to be.
    pub user: String,
    digest: [u8; 16],
}

impl CramResponse {
    /// Reads it.
    pub fn parse(message: &[u8]) -> Result<CramResponse, SaslError> {
        let malformed = || SaslError::Malformed("CRAM-MD5");
        let text = std::str::from_utf8(message).map_err(|_| malformed())?;
        let (user, hex) = text.rsplit_once(' ').ok_or_else(malformed)?;
        if user.is_empty() || hex.len() != 32 || !hex.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        let mut digest = [0; 16];
        for (at, octet) in digest.iter_mut().enumerate() {
            *octet = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| malformed())?;
        }
        Ok(CramResponse { user: user.to_owned(), digest })
    }

    /// Whether it answers this challenge with this secret.
    pub fn fits(&self, challenge: &[u8], secret: &Secret) -> bool {
        verify_slices_are_equal(&hmac_md5(secret.reveal().as_bytes(), challenge), &self.digest).is_ok()
    }
}

/// The client's response to a challenge of CRAM-MD5.
pub(super) fn cram_response(user: &str, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
    let digest = hmac_md5(secret.reveal().as_bytes(), challenge);
    let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{user} {hex}").into_bytes()
}

/// RFC 2104 §2, with MD5.
fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|octet| octet ^ with);
    let inner = Md5::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Md5::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
