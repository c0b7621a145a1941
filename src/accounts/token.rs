//! Whether a token of OAUTHBEARER is good, and whose it is (RFC 7628 §3.2).
//!
//! In: a token. Out: the name in it, nothing, or a [`Fault`]. Either the token is a JWT (RFC 7519) that is proven by a key of a
//! JWKS file (RFC 7517 §5), with issuer, audience and time; or the authorization server is asked (RFC 7662 §2). Invariant: only
//! signatures by a key pair count, and an algorithm counts only with a key of its kind.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Fault;
use super::file::Fresh;
use super::remote::{Place, QUESTION, connect};
use crate::sasl::Secret;
use crate::tls::Connector;

/// Octets of an answer to an introspection.
const ANSWER: u64 = 64 * 1024;
/// Keys that are tried for a token that names none.
const KEYS: usize = 16;

/// How tokens are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// By what.
    pub by: Judge,
    /// The claim that names the account.
    pub claim: String,
}

/// By what tokens are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judge {
    /// The keys of their issuer.
    Keys {
        /// A JWKS file.
        file: PathBuf,
        /// The claim `iss`.
        issuer: String,
        /// One of the claim `aud`.
        audience: String,
    },
    /// The authorization server.
    Introspection {
        /// Where it is.
        place: Place,
        /// The path of its URL.
        path: String,
        /// As whom we ask.
        client: String,
        /// A file with our secret there.
        secret_file: PathBuf,
        /// One of the member `aud`, where it must be there.
        audience: Option<String>,
    },
}

/// Judges tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    options: Options,
    keys: Fresh<JwkSet>,
    secret: Fresh<Secret>,
}

impl Tokens {
    pub fn new(options: Options) -> Tokens {
        let (keys, secret) = match &options.by {
            Judge::Keys { file, .. } => (file.clone(), PathBuf::new()),
            Judge::Introspection { secret_file, .. } => (PathBuf::new(), secret_file.clone()),
        };
        Tokens { options, keys: Fresh::new(keys, key_set), secret: Fresh::new(secret, secret_text) }
    }

    /// Whose token it is; `None`: it is not good.
    pub async fn judge(&self, token: &Secret, connector: &Connector) -> Result<Option<String>, Fault> {
        let claims = match &self.options.by {
            Judge::Keys { issuer, audience, .. } => proven(token, &*self.keys.get()?, issuer, audience),
            Judge::Introspection { place, path, client, audience, .. } => {
                let secret = self.secret.get()?;
                let asked = introspect(token, place, path, (client, &secret), connector);
                let fault = |what: &str| Fault(format!("the authorization server {}: {what}", place.host));
                let answer = timeout(QUESTION, asked).await.map_err(|_| fault("no answer in time"))?;
                let claims = answer.map_err(|what| fault(&what))?;
                let meant = audience.as_ref().is_none_or(|audience| names(claims.get("aud"), audience));
                (claims.get("active") == Some(&Value::Bool(true)) && meant).then_some(claims)
            }
        };
        let name = claims.and_then(|claims| claims.get(&self.options.claim)?.as_str().map(str::to_owned));
        Ok(name)
    }
}

fn key_set(text: &[u8]) -> Result<JwkSet, String> {
    serde_json::from_slice(text).map_err(|error| format!("not a set of keys (JWKS): {error}"))
}

fn secret_text(text: &[u8]) -> Result<Secret, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err("it is empty; write the secret into it".to_owned()) } else { Ok(Secret::new(text)) }
}

/// `aud` is one string or several (RFC 7519 §4.1.3).
fn names(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// Whether a key is for signatures of this algorithm.
fn suits(key: &Jwk, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
        | (AlgorithmParameters::OctetKeyPair(_), EdDSA) => true,
        (AlgorithmParameters::EllipticCurve(curve), ES256) => curve.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(curve), ES384) => curve.curve == EllipticCurve::P384,
        _ => false,
    };
    kind && !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}

fn proven(token: &Secret, keys: &JwkSet, issuer: &str, audience: &str) -> Option<Map<String, Value>> {
    let header = jsonwebtoken::decode_header(token.reveal()).ok()?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    let named = |key: &&Jwk| header.kid.is_none() || key.common.key_id == header.kid;
    let candidates = keys.keys.iter().filter(|key| suits(key, header.alg)).filter(named).take(KEYS);
    let mut keys = candidates.filter_map(|key| DecodingKey::from_jwk(key).ok());
    keys.find_map(|key| jsonwebtoken::decode::<Map<String, Value>>(token.reveal(), &key, &validation).ok())
        .map(|data| data.claims)
}

/// RFC 7662 §2.1, in one request of HTTP/1.0: the answer ends with the connection.
async fn introspect(
    token: &Secret,
    place: &Place,
    path: &str,
    (client, secret): (&str, &Secret),
    connector: &Connector,
) -> Result<Map<String, Value>, String> {
    let mut stream = connect(place, connector).await.map_err(|fault| fault.to_string())?;
    // RFC 6749 §2.3.1: both are encoded before they are joined.
    let authorization = BASE64.encode(format!("{}:{}", encoded(client), encoded(secret.reveal())));
    let body = format!("token={}&token_type_hint=access_token", encoded(token.reveal()));
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Basic {authorization}\r\nAccept: application/json\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        place.host,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let read = (&mut stream).take(ANSWER).read_to_end(&mut answer).await;
    // Some close TLS without saying so; that the object is whole shows its syntax.
    if answer.is_empty() {
        read.map_err(|error| error.to_string())?;
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("an answer that is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !head.starts_with("HTTP/1.") || status != "200" {
        let status: String = status.chars().filter(char::is_ascii_digit).take(3).collect();
        return Err(format!("HTTP status {status} where 200 was due"));
    }
    let end = body.rfind('}').map_or(body.len(), |at| at + 1);
    let start = body.find('{').unwrap_or(end);
    serde_json::from_str(&body[start..end]).map_err(|_| "an answer that is not a JSON object".to_owned())
}

/// application/x-www-form-urlencoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(octet)),
            octet => out.push_str(&format!("%{octet:02X}")),
        }
    }
    out
}
