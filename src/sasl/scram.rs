//! SCRAM-SHA-256 and its -PLUS on the server's side (RFC 5802, RFC 7677), and what both sides compute.
//!
//! In: the client's messages and the account's [`Verifier`]. Out: the server's messages, or a [`SaslError`]. An account that
//! does not exist has a [`Verifier::fake`] one: the exchange looks the same and ends in [`SaslError::Proof`].

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{SaslError, Secret, prepare};

/// The only type of channel binding (RFC 9266 §2).
pub const BINDING: &str = "tls-exporter";
/// Iterations of the verifiers that we make: the rule of thumb of RFC 7677 §4, rounded up.
pub const ITERATIONS: u32 = 16_384;
/// The fewest iterations (RFC 7677 §4), and the most that a client is made to compute.
pub const ITERATIONS_TAKEN: std::ops::RangeInclusive<u32> = 4096..=1_000_000;
/// Octets of the salts that we make.
pub const SALT: usize = 16;
/// Octets of a salt that is read.
const LONGEST_SALT: usize = 256;
/// Octets of a client's nonce.
const LONGEST_NONCE: usize = 256;

pub(super) type Key = [u8; digest::SHA256_OUTPUT_LEN];

/// What a server keeps of a password (RFC 5802 §3): it proves the password, and does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Of a password.
    pub fn new(password: &Secret, salt: &[u8], iterations: u32) -> Result<Verifier, SaslError> {
        let salted = salted(password, salt, iterations)?;
        Ok(Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&mac(&salted, b"Client Key")),
            server_key: mac(&salted, b"Server Key"),
        })
    }

    /// Of nobody: always the same for one name, so that asking twice tells nothing, and no password fits it. `like`: the
    /// iterations and the octets of salt that others have.
    pub fn fake(secret: &[u8; 32], name: &str, like: (u32, usize)) -> Verifier {
        let part = |what: &str| mac(secret, format!("{what} {name}").as_bytes());
        let salt = (0..like.1).map(|at| part(&format!("salt {}", at / 32))[at % 32]).collect();
        Verifier { iterations: like.0, salt, stored_key: part("stored"), server_key: part("server") }
    }

    /// Reads `iterations$salt$StoredKey$ServerKey`, with `$` or another separator; all but the first in base64.
    pub fn parse(text: &str, separator: char) -> Option<Verifier> {
        let mut fields = text.split(separator);
        let iterations = fields.next()?.parse().ok().filter(|count| *count > 0 && *count <= *ITERATIONS_TAKEN.end())?;
        let salt = BASE64.decode(fields.next()?).ok()?;
        let key = |field: Option<&str>| Key::try_from(BASE64.decode(field?).ok()?).ok();
        let (stored_key, server_key) = (key(fields.next())?, key(fields.next())?);
        let sane = fields.next().is_none() && (1..=LONGEST_SALT).contains(&salt.len());
        sane.then_some(Verifier { iterations, salt, stored_key, server_key })
    }

    /// Whether it is that of this password; costs its iterations.
    pub fn fits(&self, password: &Secret) -> bool {
        let of = Verifier::new(password, &self.salt, self.iterations);
        of.is_ok_and(|of| verify_slices_are_equal(&of.stored_key, &self.stored_key).is_ok())
    }

    /// The iterations and the octets of salt.
    pub fn shape(&self) -> (u32, usize) {
        (self.iterations, self.salt.len())
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|octets| BASE64.encode(octets));
        write!(f, "{}${salt}${stored}${server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations)", self.iterations)
    }
}

/// The salt of a name, for a verifier that is made anew each time from a password that lies open.
pub fn fixed_salt(name: &str) -> [u8; SALT] {
    let digest = sha256(name.as_bytes());
    std::array::from_fn(|at| digest[at])
}

/// Hi() of RFC 5802 §2.2.
pub(super) fn salted(password: &Secret, salt: &[u8], iterations: u32) -> Result<Key, SaslError> {
    let count = std::num::NonZeroU32::new(iterations).ok_or(SaslError::Iterations(0))?;
    let password = prepare(password.reveal())?;
    let mut key = Key::default();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, salt, password.as_bytes(), &mut key);
    Ok(key)
}

pub(super) fn mac(key: &[u8], octets: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), octets);
    let mut out = Key::default();
    out.copy_from_slice(tag.as_ref());
    out
}

pub(super) fn sha256(octets: &[u8]) -> Key {
    let mut out = Key::default();
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    out
}

pub(super) fn xor(one: &Key, other: &Key) -> Key {
    std::array::from_fn(|at| one[at] ^ other[at])
}

/// What the server knows of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Whether the client chose -PLUS.
    pub plus: bool,
    /// Whether -PLUS was offered to it.
    pub offered: bool,
    /// The octets of the exporter.
    pub octets: Option<[u8; 32]>,
}

/// The client's first message.
#[derive(Debug)]
pub struct ClientFirst {
    /// Whom it claims to be.
    pub user: String,
    /// As whom it wants to act, where it says so.
    pub authorization: Option<String>,
    /// What `c=` must carry: the header, and the binding if there is one.
    bound: Vec<u8>,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads it. A client that could bind and believes that we cannot, though we offered to, was lied to by somebody in
    /// between (RFC 5802 §6).
    pub fn parse(message: &[u8], binding: Binding) -> Result<ClientFirst, SaslError> {
        let malformed = || SaslError::Malformed("client's first");
        let text = std::str::from_utf8(message).map_err(|_| malformed())?;
        let (flag, rest) = text.split_once(',').ok_or_else(malformed)?;
        let (authorization, bare) = rest.split_once(',').ok_or_else(malformed)?;
        let header = &text[..text.len() - bare.len()];
        let mut bound = header.as_bytes().to_vec();
        match (flag, binding.plus) {
            ("n", false) => {}
            ("y", false) if !binding.offered => {}
            ("y", _) => return Err(SaslError::Binding),
            (flag, true) if flag.strip_prefix("p=") == Some(BINDING) => {
                bound.extend(binding.octets.ok_or(SaslError::Binding)?);
            }
            (flag, _) if flag == "n" || flag.starts_with("p=") => return Err(SaslError::Binding),
            _ => return Err(malformed()),
        }
        let authorization = match authorization.strip_prefix("a=") {
            Some(name) => Some(unescape(name).ok_or_else(malformed)?),
            None if authorization.is_empty() => None,
            None => return Err(malformed()),
        };
        // An extension that must be understood, `m=`, stands before the name and fails here.
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|field| unescape(field.strip_prefix("n=")?)).ok_or_else(malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).filter(|nonce| is_nonce(nonce));
        let nonce = nonce.ok_or_else(malformed)?.to_owned();
        Ok(ClientFirst { user, authorization, bound, bare: bare.to_owned(), nonce })
    }

    /// The server's answer; `nonce`: printable, without a comma, fresh.
    pub fn challenge(self, verifier: Verifier, nonce: &str) -> ServerFirst {
        let nonce = self.nonce + nonce;
        let message = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        ServerFirst { bound: self.bound, auth: format!("{},{message}", self.bare), nonce, message, verifier }
    }
}

/// The exchange after the server's first message.
#[derive(Debug)]
pub struct ServerFirst {
    bound: Vec<u8>,
    auth: String,
    nonce: String,
    message: String,
    verifier: Verifier,
}

impl ServerFirst {
    /// The message.
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// The client's final message in, the server's proof out.
    pub fn verify(&self, message: &[u8]) -> Result<Vec<u8>, SaslError> {
        let malformed = || SaslError::Malformed("client's final");
        let text = std::str::from_utf8(message).map_err(|_| malformed())?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut fields = without_proof.split(',');
        let bound = fields.next().and_then(|field| BASE64.decode(field.strip_prefix("c=")?).ok());
        let bound = bound.ok_or_else(malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(malformed)?;
        let proof: Key = BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or_else(malformed)?;
        if bound != self.bound {
            return Err(SaslError::Binding);
        }
        if nonce != self.nonce {
            return Err(malformed());
        }
        let auth = format!("{},{without_proof}", self.auth);
        let client_key = xor(&proof, &mac(&self.verifier.stored_key, auth.as_bytes()));
        verify_slices_are_equal(&sha256(&client_key), &self.verifier.stored_key).map_err(|_| SaslError::Proof)?;
        let signature = mac(&self.verifier.server_key, auth.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

/// Printable, without a comma (RFC 5802 §7), not endless.
pub(super) fn is_nonce(nonce: &str) -> bool {
    (1..=LONGEST_NONCE).contains(&nonce.len()) && nonce.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

/// A saslname (RFC 5802 §5.1).
pub(super) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

pub(super) fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        let code = after.get(..2)?;
        out.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = &after[2..];
    }
    out.push_str(rest);
    (!out.is_empty()).then_some(out)
}
