//! The client's side.
//!
//! In: what the server offers, credentials, challenges. Out: responses. Invariant: a password goes out as it is (PLAIN) only
//! where nothing better is offered, and never with SCRAM's proof before the server's channel binding; that the connection is
//! encrypted is the caller's care. A bound exchange is preferred; where we could bind and the server does not offer it, the
//! exchange says so, and a server that did offer it notices who took it away (RFC 5802 §6).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::scram::{self, Key};
use super::{Mechanism, SaslError, Secret, claims, prepare};
use crate::random;

/// With what a client proves itself.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// By a password: SCRAM, else PLAIN; CRAM-MD5 where nothing else is offered.
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
    state: State,
}

#[derive(Debug)]
enum State {
    /// One message says all: PLAIN, EXTERNAL, OAUTHBEARER. Told as the initial response, or after an empty challenge.
    Say(Vec<u8>),
    /// CRAM-MD5, before the challenge.
    Cram { user: String, secret: Secret },
    /// SCRAM, before the first message.
    First(Box<First>),
    /// SCRAM, after it.
    Sent(Box<First>),
    /// SCRAM, after the proof: what the server must show.
    Expect(Key),
    /// Everything is said. SCRAM comes here when the server has proven itself.
    Said,
    /// The token was refused (RFC 7628 §3.2.3).
    Failed(SaslError),
}

#[derive(Debug)]
struct First {
    password: Secret,
    header: String,
    binding: Vec<u8>,
    bare: String,
    nonce: String,
}

impl Client {
    /// Picks the best of the offered mechanisms. `channel_binding`: 32 octets of the TLS exporter (RFC 9266 §2), `None`
    /// without TLS 1.3.
    pub fn new(
        offered: &[Mechanism],
        credentials: Credentials,
        channel_binding: Option<[u8; 32]>,
    ) -> Result<Client, SaslError> {
        let octets: [u8; 18] = random::octets()?;
        Client::with_nonce(offered, credentials, channel_binding, BASE64.encode(octets))
    }

    pub(super) fn with_nonce(
        offered: &[Mechanism],
        credentials: Credentials,
        channel_binding: Option<[u8; 32]>,
        nonce: String,
    ) -> Result<Client, SaslError> {
        let usable: &[Mechanism] = match (&credentials, channel_binding) {
            (Credentials::Password { .. }, Some(_)) => {
                &[Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::CramMd5]
            }
            (Credentials::Password { .. }, None) => &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::CramMd5],
            (Credentials::Certificate { .. }, _) => &[Mechanism::External],
            (Credentials::Token { .. }, _) => &[Mechanism::OAuthBearer],
        };
        let mechanism = usable.iter().copied().find(|mechanism| offered.contains(mechanism));
        let mechanism = mechanism.ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|mechanism| mechanism.name()).collect();
            SaslError::NoMechanism(if names.is_empty() { "none at all".to_owned() } else { names.join(", ") })
        })?;
        let state = match credentials {
            Credentials::Certificate { user } => State::Say(user.unwrap_or_default().into_bytes()),
            Credentials::Token { user, token } => {
                let name = scram::escape(&user);
                State::Say(format!("n,a={name},\u{1}auth=Bearer {}\u{1}\u{1}", token.reveal()).into_bytes())
            }
            Credentials::Password { user, password } => match mechanism {
                Mechanism::Plain => {
                    let (user, password) = (prepare(&user)?, prepare(password.reveal())?);
                    State::Say(format!("\0{user}\0{password}").into_bytes())
                }
                Mechanism::CramMd5 => State::Cram { user, secret: password },
                _ => State::First(Box::new(first(&user, password, mechanism, channel_binding, nonce)?)),
            },
        };
        Ok(Client { mechanism, state })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The initial response; `None` where the server speaks first. To be taken once; a client that sends none gives the
    /// empty challenge to [`Client::step`] instead.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.state, State::Said) {
            State::Say(message) => Some(message),
            State::First(first) => {
                let message = format!("{}{}", first.header, first.bare);
                self.state = State::Sent(first);
                Some(message.into_bytes())
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The response to a challenge. The challenge with the server's proof is answered with nothing.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        if challenge.is_empty()
            && let Some(message) = self.initial()
        {
            return Ok(message);
        }
        match std::mem::replace(&mut self.state, State::Said) {
            State::Cram { user, secret } => Ok(claims::cram_response(&user, &secret, challenge)),
            State::Sent(first) => {
                let (message, expected) = first.prove(challenge)?;
                self.state = State::Expect(expected);
                Ok(message)
            }
            State::Expect(expected) => {
                // Until it is proven, nothing is.
                self.state = State::Expect(expected);
                verify(challenge, &expected)?;
                self.state = State::Said;
                Ok(Vec::new())
            }
            State::Said if self.mechanism == Mechanism::OAuthBearer => {
                let text = String::from_utf8_lossy(challenge).chars().filter(|c| !c.is_control()).take(256).collect();
                self.state = State::Failed(SaslError::Server(text));
                Ok(vec![1])
            }
            other => {
                self.state = other;
                Err(SaslError::Malformed("server's"))
            }
        }
    }

    /// To be called on the server's positive reply: whether the server has proven itself (RFC 5802 §3), where the mechanism
    /// has it do so. After a negative reply it may tell what the server said.
    pub fn finish(&self) -> Result<(), SaslError> {
        match &self.state {
            State::Said => Ok(()),
            State::Failed(error) => Err(error.clone()),
            _ => Err(SaslError::ServerUnproven),
        }
    }
}

fn first(
    user: &str,
    password: Secret,
    mechanism: Mechanism,
    channel_binding: Option<[u8; 32]>,
    nonce: String,
) -> Result<First, SaslError> {
    let (header, binding) = match channel_binding {
        Some(octets) if mechanism == Mechanism::ScramSha256Plus => (format!("p={},,", scram::BINDING), octets.to_vec()),
        Some(_) => ("y,,".to_owned(), Vec::new()),
        None => ("n,,".to_owned(), Vec::new()),
    };
    let bare = format!("n={},r={nonce}", scram::escape(&prepare(user)?));
    Ok(First { password, header, binding, bare, nonce })
}

impl First {
    /// The server's first message in; the proof out, and what the server must show.
    fn prove(&self, challenge: &[u8]) -> Result<(Vec<u8>, Key), SaslError> {
        let malformed = || SaslError::Malformed("server's first");
        let text = std::str::from_utf8(challenge).map_err(|_| malformed())?;
        let mut fields = text.split(',');
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(malformed)?;
        let salt = fields.next().and_then(|field| BASE64.decode(field.strip_prefix("s=")?).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or_else(malformed)?;
        let iterations = fields.next().and_then(|field| field.strip_prefix("i=")?.parse().ok());
        let iterations: u32 = iterations.ok_or_else(malformed)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) || !scram::is_nonce(nonce) {
            return Err(malformed());
        }
        if !scram::ITERATIONS_TAKEN.contains(&iterations) {
            return Err(SaslError::Iterations(iterations));
        }
        let salted = scram::salted(&self.password, &salt, iterations)?;
        let mut bound = self.header.clone().into_bytes();
        bound.extend(&self.binding);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(bound));
        let auth = format!("{},{text},{without_proof}", self.bare);
        let client_key = scram::mac(&salted, b"Client Key");
        let proof = scram::xor(&client_key, &scram::mac(&scram::sha256(&client_key), auth.as_bytes()));
        let expected = scram::mac(&scram::mac(&salted, b"Server Key"), auth.as_bytes());
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes(), expected))
    }
}

fn verify(challenge: &[u8], expected: &Key) -> Result<(), SaslError> {
    let text = std::str::from_utf8(challenge).map_err(|_| SaslError::ServerUnproven)?;
    if let Some(error) = text.strip_prefix("e=") {
        return Err(SaslError::Server(error.chars().filter(|c| !c.is_control()).take(256).collect()));
    }
    let value = text.split(',').next().and_then(|field| BASE64.decode(field.strip_prefix("v=")?).ok());
    let shown = value.ok_or(SaslError::ServerUnproven)?;
    verify_slices_are_equal(&shown, expected).map_err(|_| SaslError::ServerUnproven)
}
