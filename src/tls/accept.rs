//! The server's handshake: a connection in, an encrypted stream and what the client showed out.
//!
//! A client certificate is asked for and never required; the handshake proves only that the client has its key. ALPN is
//! `impp`: a client that offers others alone is refused by `no_application_protocol` (RFC 7301 §3.2), one that offers
//! none is not. A server name for which nothing is configured is refused by `unrecognized_name` (RFC 6066 §3): SNI is
//! the domain that the client looks for, so the refusal says at once what a wrong SRV record or a forgotten domain
//! would otherwise show as a certificate that does not match. Exception to RFC 7672 §8.1, which wants a fallback
//! certificate because a client of mail has several names and sends one of them; here it sends the domain. Where
//! clients of mail connect, [`Options::unknown_names`] is [`UnknownName::Fallback`].

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use super::verify::AnyClient;
use super::{ALPN, CertificateDer, Certificates, MinVersion, TlsError, provider, session_words};
use crate::address::Domain;

/// The alert unrecognized_name, fatal, in a record of its own (RFC 8446 §5.1, §6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What happens to a client that asks for a name that is not served here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// It gets the alert unrecognized_name.
    #[default]
    Refuse,
    /// It gets the first certificate (RFC 7672 §8.1).
    Fallback,
}

/// What the administrator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Whether clients are asked for a certificate.
    pub ask_client_certificate: bool,
    /// Names that are served here besides those in the certificates: the local domains and this host.
    pub names: Vec<Domain>,
    /// What happens to other names.
    pub unknown_names: UnknownName,
    /// How long a handshake may take in all.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            min_version: MinVersion::default(),
            ask_client_certificate: true,
            names: Vec::new(),
            unknown_names: UnknownName::default(),
            timeout: Duration::from_secs(20),
        }
    }
}

/// What a client has shown.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its certificate chain, the end entity first, not validated; empty if it showed none. It has the key of the
    /// first. At most 64 KiB, as every handshake message.
    pub chain: Vec<CertificateDer<'static>>,
    /// The server name that it asked for.
    pub sni: Option<String>,
    /// Whether ALPN `impp` was agreed on.
    pub alpn: bool,
    /// The version: `TLSv1.3`.
    pub version: String,
    /// The cipher suite: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// What an authentication is bound to, so that it is worth nothing on another connection: RFC 9266 §2. `None` before
    /// TLS 1.3, where it is not unique unless more is agreed on.
    pub channel_binding: Option<[u8; 32]>,
}

/// Makes handshakes in the role of the server.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    options: Arc<Options>,
}

impl Acceptor {
    /// Certificates may be reloaded behind it; it shows the new ones.
    pub fn new(certificates: Arc<Certificates>, options: Options) -> Result<Acceptor, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(options.min_version.versions())
            .map_err(TlsError::Protocol)?;
        let builder = if options.ask_client_certificate {
            builder.with_client_cert_verifier(Arc::new(AnyClient))
        } else {
            builder.with_client_cert_verifier(Arc::new(NoClientAuth))
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByServerName(Arc::clone(&certificates))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Tickets are kept by the client: resumption costs no memory here, and their key is rotated (RFC 9325 §3.4).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Protocol)?;
        config.send_tls13_tickets = 1;
        Ok(Acceptor { config: Arc::new(config), certificates, options: Arc::new(options) })
    }

    /// The same for programs that speak HTTP/1.1.
    pub fn for_web(mut self) -> Acceptor {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"http/1.1".to_vec()];
        self
    }

    /// Encrypts a connection. On failure it is closed, after the alert that says why.
    pub async fn accept<IO>(&self, io: IO) -> Result<(TlsStream<IO>, Peer), TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = tokio::time::timeout(self.options.timeout, self.handshake(io));
        handshake.await.unwrap_or(Err(TlsError::Timeout(self.options.timeout)))
    }

    async fn handshake<IO>(&self, io: IO) -> Result<(TlsStream<IO>, Peer), TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(Default::default(), io).await.map_err(TlsError::from_io)?;
        let unknown = start.client_hello().server_name().filter(|name| !self.serves(name)).map(str::to_owned);
        if let Some(sni) = unknown {
            // Whether the client still reads it changes nothing.
            let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = start.io.shutdown().await;
            return Err(TlsError::UnknownName { sni: sni.chars().take(255).collect() });
        }
        let stream = start.into_stream(Arc::clone(&self.config)).await.map_err(TlsError::from_io)?;
        let connection = stream.get_ref().1;
        let (version, cipher) = session_words(connection);
        let chain = connection.peer_certificates().unwrap_or_default();
        let peer = Peer {
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            sni: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().is_some(),
            version,
            cipher,
            channel_binding: super::binding::exported(connection),
        };
        Ok((TlsStream::Server(stream), peer))
    }

    fn serves(&self, name: &str) -> bool {
        self.options.unknown_names == UnknownName::Fallback
            || Domain::parse(name)
                .is_ok_and(|domain| self.options.names.contains(&domain) || self.certificates.names(&domain))
    }
}

/// Picks our certificate by the server name and by the signatures that the client can verify.
#[derive(Debug)]
struct ByServerName(Arc<Certificates>);

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| Domain::parse(name).ok());
        self.0.for_server(name.as_ref(), hello.signature_schemes())
    }
}
