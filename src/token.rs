//! Keys in PKCS #11 tokens: smart cards, security modules, SoftHSM.
//!
//! In: a `pkcs11:` URI and the PIN. Out: a key on P-256 that signs. Invariants: the key is made in the token, cannot be read
//! out of it, and is never on a disk; nothing but a URI says which it is. The library of a token is the system's own code
//! within this process, initialized once: that is the one state of the process here. Fails: [`TokenError`].
//! RFC 7512 §2.3.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::sasl::Secret;
use crate::smime::signing::{Signing, p256_signature, p256_spki};
use crate::smime::{Fault, Signature};

/// DER of the object identifier of the curve P-256.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Why a key in a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The URI.
    #[error("{0:?} does not name a key: write pkcs11:token=LABEL;object=KEY?module-path=LIBRARY")]
    Uri(String),
    /// No token has that label.
    #[error("there is no token {0:?}; does its library see it, and may this user use it?")]
    NoToken(String),
    /// The token has no such key.
    #[error("the token has no key {0:?} on P-256")]
    NoKey(String),
    /// It has one already.
    #[error("the token has a key {0:?} already; name another object")]
    Exists(String),
    /// It does not let us in. Each attempt may be one of the few that it allows.
    #[error(
        "the token refuses the PIN: {0}; look at what the file of the pass phrase says, and whether the PIN is locked"
    )]
    Pin(Error),
    /// What the library says.
    #[error("the token: {0}")]
    Library(#[from] Error),
    /// What it gives is no key that we know.
    #[error("the token: {0}")]
    Key(#[from] Fault),
}

/// Which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    module: PathBuf,
    token: String,
    object: String,
}

impl std::str::FromStr for Uri {
    type Err = TokenError;

    /// The attributes token, object and module-path (RFC 7512 §2.3); others are not known here and refused.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = || TokenError::Uri(text.to_owned());
        let rest = text.strip_prefix("pkcs11:").ok_or_else(wrong)?;
        let mut found: HashMap<&str, String> = HashMap::new();
        for attribute in rest.split(['?', ';', '&']) {
            let (name, value) = attribute.split_once('=').ok_or_else(wrong)?;
            let known = ["token", "object", "module-path"].contains(&name);
            let value = decoded(value).filter(|value| known && !value.is_empty()).ok_or_else(wrong)?;
            if found.insert(name, value).is_some() {
                return Err(wrong());
            }
        }
        let mut take = |name| found.remove(name).ok_or_else(wrong);
        Ok(Uri { module: PathBuf::from(take("module-path")?), token: take("token")?, object: take("object")? })
    }
}

/// Percent-decoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let (mut octets, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok().filter(|text| !text.contains(char::is_control))
}

/// A key in a token.
pub struct TokenKey {
    session: Mutex<Session>,
    key: ObjectHandle,
    spki: Vec<u8>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

/// Libraries that were initialized: each can be once in a process.
static LIBRARIES: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

fn library(uri: &Uri) -> Result<Pkcs11, TokenError> {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = libraries.iter().find(|(path, _)| *path == uri.module) {
        return Ok(known.clone());
    }
    let library = Pkcs11::new(&uri.module)?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error.into()),
    }
    libraries.push((uri.module.clone(), library.clone()));
    Ok(library)
}

/// A session with the token, logged in.
fn session(uri: &Uri, pin: &Secret) -> Result<Session, TokenError> {
    let library = library(uri)?;
    for slot in library.get_slots_with_token()? {
        if library.get_token_info(slot)?.label().trim_end() != uri.token {
            continue;
        }
        let session = library.open_rw_session(slot)?;
        return match session.login(UserType::User, Some(&AuthPin::new(pin.reveal().to_owned().into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(refused(error)),
        };
    }
    Err(TokenError::NoToken(uri.token.clone()))
}

/// What a login that failed means: it counts against the PIN, unless the token did not get to see it.
fn refused(error: Error) -> TokenError {
    use RvError::{CryptokiNotInitialized, DeviceError, DeviceRemoved, SessionClosed, SessionHandleInvalid};
    match error {
        Error::Pkcs11(
            CryptokiNotInitialized
            | DeviceError
            | DeviceRemoved
            | SessionClosed
            | SessionHandleInvalid
            | RvError::TokenNotPresent,
            _,
        ) => TokenError::Library(error),
        other => TokenError::Pin(other),
    }
}

fn find(session: &Session, uri: &Uri, class: ObjectClass) -> Result<Option<ObjectHandle>, TokenError> {
    let wanted =
        [Attribute::Class(class), Attribute::KeyType(KeyType::EC), Attribute::Label(uri.object.as_bytes().to_vec())];
    Ok(session.find_objects(&wanted)?.into_iter().next())
}

impl TokenKey {
    /// Opens a key that is there.
    pub fn open(uri: &Uri, pin: &Secret) -> Result<TokenKey, TokenError> {
        let session = session(uri, pin)?;
        let missing = || TokenError::NoKey(uri.object.clone());
        let key = find(&session, uri, ObjectClass::PRIVATE_KEY)?.ok_or_else(missing)?;
        let public = find(&session, uri, ObjectClass::PUBLIC_KEY)?.ok_or_else(missing)?;
        let point = session.get_attributes(public, &[AttributeType::EcPoint])?.into_iter().find_map(|one| match one {
            Attribute::EcPoint(point) => Some(point),
            _ => None,
        });
        let spki = p256_spki(&point.ok_or_else(missing)?)?;
        Ok(TokenKey { session: Mutex::new(session), key, spki })
    }

    /// Makes one.
    pub fn generate(uri: &Uri, pin: &Secret) -> Result<TokenKey, TokenError> {
        {
            let session = session(uri, pin)?;
            if find(&session, uri, ObjectClass::PRIVATE_KEY)?.is_some() {
                return Err(TokenError::Exists(uri.object.clone()));
            }
            let named = || [Attribute::Token(true), Attribute::Label(uri.object.as_bytes().to_vec())];
            let public = [Attribute::EcParams(P256.to_vec()), Attribute::Verify(true), Attribute::Private(false)];
            let secret = [
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ];
            let (public, secret) = ([&named()[..], &public].concat(), [&named()[..], &secret].concat());
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &secret)?;
        }
        TokenKey::open(uri, pin)
    }
}

impl From<TokenKey> for Arc<dyn Signing> {
    fn from(key: TokenKey) -> Self {
        Arc::new(key)
    }
}

impl Signing for TokenKey {
    fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, Fault> {
        let digest = digest::digest(&digest::SHA256, message);
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = session.sign(&Mechanism::Ecdsa, self.key, digest.as_ref());
        p256_signature(&numbers.map_err(|error| Fault::Token(error.to_string()))?)
    }

    fn encrypted_pem(&self, _: &str) -> Result<Zeroizing<String>, Fault> {
        Err(Fault::Key("it stays in its token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        let read = |text: &str| text.parse::<Uri>();
        let uri =
            read("pkcs11:token=Our%20token;object=a.example?module-path=/usr/lib/softhsm/libsofthsm2.so").unwrap();
        let module = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
        assert_eq!(uri, Uri { module, token: "Our token".to_owned(), object: "a.example".to_owned() });
        for bad in [
            "",
            "pkcs11:",
            "pkcs11:token=a;object=b",
            "pkcs11:token=a;token=a;object=b?module-path=/x",
            "pkcs11:token=;object=b?module-path=/x",
            "pkcs11:token=%0a;object=b?module-path=/x",
            "pkcs11:token=%zz;object=b?module-path=/x",
            "pkcs11:token=a;serial=1;object=b?module-path=/x",
            "pkcs11:token=a;object=b?module-path=/x&pin-value=1234",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pin_that_is_refused_is_told_from_a_token_that_is_away() {
        use cryptoki::context::Function;
        let is_pin = |error| matches!(refused(Error::Pkcs11(error, Function::Login)), TokenError::Pin(_));
        for error in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinLenRange, RvError::FunctionFailed] {
            assert!(is_pin(error), "{error}");
        }
        for error in [RvError::DeviceRemoved, RvError::TokenNotPresent, RvError::SessionHandleInvalid] {
            assert!(!is_pin(error), "{error}");
        }
    }

    #[test]
    fn a_library_that_is_none() {
        let uri = "pkcs11:token=a;object=b?module-path=/nowhere/lib.so".parse().unwrap();
        let fault = TokenKey::open(&uri, &Secret::new("1234")).unwrap_err();
        assert!(matches!(fault, TokenError::Library(_)), "{fault}");
    }
}
