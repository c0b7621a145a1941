//! The client's side.

use super::{Mechanism, SaslError, Secret};

/// With what a client proves itself.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// By a password: SCRAM, else PLAIN.
    Password {
        /// The account.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// By the certificate that was shown in the TLS handshake: EXTERNAL.
    Certificate {
        /// The account; `None`: the one that the certificate names.
        user: Option<String>,
    },
    /// By a token: OAUTHBEARER.
    Token {
        /// The account.
        user: String,
        /// The token.
        token: Secret,
    },
}

/// An exchange on the client's side.
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
}

impl Client {
    /// Picks the best of the offered mechanisms. `channel_binding`: 32 octets of the TLS exporter (RFC 9266 §2), `None`
    /// without TLS 1.3.
    pub fn new(
        offered: &[Mechanism],
        credentials: Credentials,
        channel_binding: Option<[u8; 32]>,
    ) -> Result<Client, SaslError> {
        let _ = (credentials, channel_binding);
        let mechanism = offered.iter().min().copied().ok_or_else(|| SaslError::NoMechanism(String::new()))?;
        Ok(Client { mechanism })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The initial response.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The response to a challenge.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let _ = challenge;
        Err(SaslError::Malformed("server's"))
    }

    /// To be called on the server's positive reply: whether the server has proven itself (RFC 5802 §3).
    pub fn finish(&self) -> Result<(), SaslError> {
        Err(SaslError::ServerUnproven)
    }
}
