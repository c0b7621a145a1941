//! TLS for both ends: the client verifies nothing (it measures), the sink makes its certificate on the spot.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// The application protocol of IMPP.
const ALPN: &[u8] = b"impp";

/// The name that the client asks for.
pub fn name() -> Result<ServerName<'static>> {
    ServerName::try_from("b.test").map_err(Error::other)
}

/// A client's side, with a certificate of its own where one is given.
pub fn connector(certificate: Option<&Path>, key: Option<&Path>) -> Result<tokio_rustls::TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(Error::other)?.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).map_err(Error::other)?;
            let chain = chain.collect::<std::result::Result<Vec<_>, _>>().map_err(Error::other)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(Error::other)?;
            builder.with_client_auth_cert(chain, key).map_err(Error::other)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config).into())
}

/// A server's side.
pub fn acceptor() -> Result<tokio_rustls::TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["b.test".to_owned()]).map_err(Error::other)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(Error::other)?.with_no_client_auth();
    let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).map_err(Error::other)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config).into())
}

/// Takes every certificate, but checks that the peer has its key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
