//! TLS: our certificates, the handshakes of both roles, and what a certificate proves.
//!
//! In: files of PEM, a connection, and what is expected of its other end. Out: an encrypted stream, and what was
//! proven. Invariants: a peer that does not meet what is expected of it is never handed out as a stream; a certificate
//! that a client shows is only reported here, and judged by whoever knows its claim.
//!
//! | part | |
//! | --- | --- |
//! | [`certificates`] | our certificates, picked by server name, reloaded when their files change |
//! | [`accept`] | the server's handshake |
//! | [`connect`] | the client's handshake: [`Expect`] in, [`Proof`] out |
//! | [`chain`], [`dane`], [`names`], [`roots`] | what a certificate proves: PKIX, TLSA, names, trust anchors; pure |
//! | [`person`] | which person a client certificate proves |
//! | [`signers`] | authorities for signatures of messages, from files |
//! | [`make`] | certificates made on the spot, for the demo and for tests |
//!
//! TLS 1.2 and 1.3 with the cipher suites of RFC 9325 §4.2, which are all that the library has. ALPN is `impp`
//! (RFC 7301). Neither compression nor renegotiation nor early data exists here (RFC 9325 §3.3, §3.5). Connections
//! that we make are never resumed: each proves its peer anew, so a record or a certificate that was withdrawn counts
//! from the next connection on. It fails by [`TlsError`], which names the fault and who can mend it.

pub mod accept;
mod binding;
pub mod certificates;
pub mod chain;
pub mod connect;
pub mod dane;
mod error;
pub mod make;
pub mod names;
pub mod person;
pub mod roots;
pub mod signers;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use accept::{Acceptor, Peer};
pub use binding::channel_binding;
pub use certificates::{CertificateError, CertificateFiles, Certificates};
pub use connect::{Connector, Expect, Proof};
pub use error::{Fault, TlsError};
pub use names::Names;
pub use roots::Roots;
pub use rustls::pki_types::CertificateDer;
pub use tokio_rustls::TlsStream;

/// The protocol name of ALPN (RFC 7301).
pub const ALPN: &[u8] = b"impp";

/// The oldest version that is spoken (RFC 9325 §3.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        static BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            MinVersion::Tls12 => &BOTH,
            MinVersion::Tls13 => &BOTH[..1],
        }
    }
}

/// The one provider of cryptography.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}

/// The version and the cipher suite of a connection, as registered: `TLSv1.3`, `TLS_AES_256_GCM_SHA384` (RFC 8446
/// §B.4); for logs and for the trace field (RFC 3848 says only that there was TLS).
pub fn session_words(connection: &rustls::CommonState) -> (String, String) {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        _ => "TLS".to_owned(),
    };
    let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    (version, suite.replace("TLS13_", "TLS_"))
}
