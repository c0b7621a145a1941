//! The client's handshake: a connection and what is expected of its other end in, an encrypted stream and what was
//! proven out.
//!
//! Invariant: a stream is handed out only when the server met the expectation; nothing is resumed, so nothing proven
//! for one expectation is believed for another. RFC 6066 §3 (SNI), RFC 7301 (ALPN), RFC 7673 §4, RFC 9525 §6.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{DnsName, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, TlsStream};

use super::verify::ServerVerifier;
use super::{ALPN, Certificates, Fault, MinVersion, Roots, TlsError, provider};
use crate::address::Domain;
use crate::dns::Tlsa;
use crate::envelope::Class;

/// What a server must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// That one of the TLSA records is about it (RFC 7672 §3). Where none is usable ([`super::dane::usable`]), as
    /// [`Expect::Pkix`] with the same names (RFC 7673 §4.1).
    Tlsa {
        /// Proven by DNSSEC; at least one.
        records: Vec<Tlsa>,
        /// For DANE-TA: the host where the records are, and the domain (RFC 7672 §3.2.2).
        names: Vec<Domain>,
    },
    /// A certificate below our trust anchors with one of these names (RFC 7673 §4.1).
    Pkix {
        /// The domain; and the target, if the SRV answer is secure.
        names: Vec<Domain>,
        /// The service whose SRV-ID will do as well (RFC 4985 §2).
        srv: Option<(Class, Domain)>,
    },
    /// Nothing: encryption without authentication. Whether it has a certificate as for [`Expect::Pkix`] is found out.
    Wished {
        /// The names of which its certificate may have one.
        names: Vec<Domain>,
    },
    /// Nothing: encryption without authentication.
    Unproven,
}

/// What a server has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A TLSA record is about its certificate.
    Dane,
    /// Its certificate names it, below a trust anchor of ours.
    Pkix,
    /// Nothing.
    None,
}

/// What the administrator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// How long a handshake may take in all.
    pub timeout: Duration,
    /// Whether ALPN `impp` is offered. Servers of mail may refuse a client for a name that they do not know (RFC 7301
    /// §3.2), so it is left out towards hops that are no relays of IMPP.
    pub alpn: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { min_version: MinVersion::default(), timeout: Duration::from_secs(20), alpn: true }
    }
}

/// Makes handshakes in the role of the client.
#[derive(Clone, Debug)]
pub struct Connector {
    roots: Arc<Roots>,
    certificates: Arc<Certificates>,
    options: Options,
}

impl Connector {
    /// `certificates` are those that we show when a server asks for one.
    pub fn new(roots: Arc<Roots>, certificates: Arc<Certificates>, options: Options) -> Connector {
        Connector { roots, certificates, options }
    }

    /// The same for hops that are no relays of IMPP: without ALPN.
    pub fn without_alpn(&self) -> Connector {
        Connector { options: Options { alpn: false, ..self.options.clone() }, ..self.clone() }
    }

    /// Encrypts a connection. `sni` is the domain asked for (`None` for a hop that is an address); `own` the domain
    /// that we send for: if the server asks, the certificate that names it is shown, else the default one; without
    /// `own` none. On failure the connection is closed, after the alert that says why.
    pub async fn connect<'a, IO>(
        &self,
        io: IO,
        sni: impl Into<Option<&'a Domain>>,
        expect: Expect,
        own: Option<&Domain>,
    ) -> Result<(TlsStream<IO>, Proof), TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let sni = sni.into();
        let verdict = Arc::new(OnceLock::new());
        let config = self.config(sni.is_some(), expect, own, Arc::clone(&verdict))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(server_name(sni)?, io);
        let result = match tokio::time::timeout(self.options.timeout, handshake).await {
            Err(_) => return Err(TlsError::Timeout(self.options.timeout)),
            Ok(result) => result,
        };
        match (result, verdict.get()) {
            (Ok(stream), Some(Ok(proof))) => Ok((TlsStream::Client(stream), *proof)),
            (Err(error), Some(Ok(_)) | None) => Err(TlsError::from_io(error)),
            (_, Some(Err(fault))) => {
                let of = sni.map_or_else(|| "the next hop".to_owned(), ToString::to_string);
                Err(TlsError::Certificate { of, fault: fault.clone() })
            }
            // Every cipher suite here has a server certificate; a handshake without one has proven nothing.
            (Ok(_), None) => Err(TlsError::Certificate {
                of: sni.map_or_else(|| "the next hop".to_owned(), ToString::to_string),
                fault: Fault::Invalid("there is none".to_owned()),
            }),
        }
    }

    fn config(
        &self,
        sni: bool,
        expect: Expect,
        own: Option<&Domain>,
        verdict: Arc<OnceLock<Result<super::Proof, Fault>>>,
    ) -> Result<ClientConfig, TlsError> {
        let verifier = ServerVerifier { expect, roots: Arc::clone(&self.roots), verdict };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(self.options.min_version.versions())
            .map_err(TlsError::Protocol)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let shown = own.and_then(|own| self.certificates.for_client(own));
        let mut config = builder.with_client_cert_resolver(Arc::new(OwnCertificate(shown)));
        config.resumption = Resumption::disabled();
        config.enable_sni = sni;
        if self.options.alpn {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(config)
    }
}

fn server_name(sni: Option<&Domain>) -> Result<ServerName<'static>, TlsError> {
    let Some(sni) = sni else {
        // Never sent: an address has no SNI (RFC 6066 §3), and the verifier does not look at it.
        return Ok(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()));
    };
    let name = DnsName::try_from(sni.as_str().to_owned());
    name.map(ServerName::DnsName).map_err(|error| TlsError::Protocol(rustls::Error::General(error.to_string())))
}

/// Shows one certificate, or none.
#[derive(Debug)]
struct OwnCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
