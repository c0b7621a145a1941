//! SASL: how a person proves who it is (RFC 4422). Both sides, without I/O and without a clock.
//!
//! In: the octets of challenges and responses, decoded from base64. Out: the octets of the next one, or what was claimed and
//! whether it is proven. What is known of an account comes from outside. Invariants: comparisons of secrets take the same
//! time whatever differs; a secret is never shown by `Debug`. It fails by [`SaslError`], whose texts tell no secret.
//!
//! The exchanges are our own over aws-lc-rs, not the crate rsasl: there the server's exchange calls back for what it wants
//! to know, which cannot wait for a socket; a failed SCRAM ends like a successful one; and its salt for unknown users has
//! another length than ours.

mod claims;
mod client;
mod prepare;
pub mod scram;
#[cfg(test)]
mod tests;

use std::fmt;

pub use claims::{BEARER_REFUSED, Bearer, CramResponse, Plain, external};
pub use client::{Client, Credentials};
pub use prepare::prepare;

use crate::random::NoRandomness;

/// A mechanism, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// SCRAM-SHA-256-PLUS: bound to the TLS connection (RFC 7677, RFC 9266).
    ScramSha256Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// EXTERNAL: by the certificate that the client showed (RFC 4422 §A).
    External,
    /// OAUTHBEARER: by a token (RFC 7628).
    OAuthBearer,
    /// PLAIN: the password itself (RFC 4616).
    Plain,
    /// CRAM-MD5 (RFC 2195), for ODMR alone, with a secret of its own.
    CramMd5,
}

impl Mechanism {
    /// All, the better first.
    pub const ALL: [Mechanism; 6] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::External,
        Mechanism::OAuthBearer,
        Mechanism::Plain,
        Mechanism::CramMd5,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::External => "EXTERNAL",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::Plain => "PLAIN",
            Mechanism::CramMd5 => "CRAM-MD5",
        }
    }

    /// Reads a name in any letter case; `None` for one that is not known here.
    pub fn parse(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether the client speaks first; then AUTH may carry an initial response (RFC 4954 §4).
    pub fn client_first(self) -> bool {
        self != Mechanism::CramMd5
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A password or token; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// From its text.
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why an exchange cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client: nothing that is offered goes with the credentials.
    #[error("the server offers no mechanism that goes with this kind of credentials ({0})")]
    NoMechanism(String),
    /// What the peer sent is not of the mechanism's form.
    #[error("the {0} message is malformed")]
    Malformed(&'static str),
    /// The name or the password has a character that SASLprep (RFC 4013) forbids.
    #[error("the name or the password has a character that may not stand there")]
    Prohibited,
    /// The channel binding is not that of this connection: somebody is between, or one side binds and the other does not.
    #[error("the exchange is not bound to this TLS connection; somebody may be in between")]
    Binding,
    /// What was claimed is not proven.
    #[error("the proof does not match")]
    Proof,
    /// The client: the server did not prove that it knows the account.
    #[error("the server has not proven itself; do not trust it with messages")]
    ServerUnproven,
    /// The client: the server's number of iterations is outside what is taken.
    #[error("the server asks for {0} iterations; from 4096 to 1000000 are taken")]
    Iterations(u32),
    /// The server said so.
    #[error("the server says: {0}")]
    Server(String),
    /// Nothing is made that somebody could guess.
    #[error("{0}")]
    Randomness(#[from] NoRandomness),
}
