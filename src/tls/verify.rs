//! The verifiers that the TLS library calls: a server's certificate against what is expected of it, and a client's
//! certificate for nothing but the possession of its key.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::chain::{self, Purpose};
use super::{Expect, Fault, Names, Proof, Roots, dane, names, provider};
use crate::address::Domain;
use crate::dns::Tlsa;
use crate::envelope::Class;

/// Judges one server, once; the verdict is left in `verdict` for whoever made it.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) expect: Expect,
    pub(super) roots: Arc<Roots>,
    pub(super) verdict: Arc<OnceLock<Result<Proof, Fault>>>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let verdict = judge(&self.expect, &chain, &self.roots, now);
        let result = match &verdict {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(fault) => Err(fault.to_rustls()),
        };
        // Set once: a handshake has one certificate message.
        let _ = self.verdict.set(verdict);
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a server that showed `chain` is what is expected.
fn judge(expect: &Expect, chain: &[CertificateDer<'_>], roots: &Roots, now: UnixTime) -> Result<Proof, Fault> {
    match expect {
        Expect::Unproven => Ok(Proof::None),
        Expect::Wished { names } => Ok(pkix(names, None, chain, roots, now).unwrap_or(Proof::None)),
        Expect::Pkix { names, srv } => pkix(names, srv.as_ref(), chain, roots, now),
        Expect::Tlsa { records, names } => by_tlsa(records, names, chain, roots, now),
    }
}

fn by_tlsa(
    records: &[Tlsa],
    names: &[Domain],
    chain: &[CertificateDer<'_>],
    roots: &Roots,
    now: UnixTime,
) -> Result<Proof, Fault> {
    let usable = dane::usable(records);
    if usable.is_empty() {
        // RFC 7673 §4.1: with no usable record, PKIX decides as if there were none.
        return pkix(names, None, chain, roots, now);
    }
    dane::prove(&usable, chain, names, Purpose::Server, now).map(|()| Proof::Dane)
}

/// A DNS-ID of one of `names` or the SRV-ID of `srv` will do. RFC 9525 §6.1.1 leaves to local policy which identifiers
/// a client takes, and §6.2 ends the search at the first match: that a certificate has an SRV-ID for the service does
/// not take away what its DNS-ID says. (RFC 6125 §6.4.4 was stricter about the common name alone, which never counts
/// here.)
fn pkix(
    names: &[Domain],
    srv: Option<&(Class, Domain)>,
    chain: &[CertificateDer<'_>],
    roots: &Roots,
    now: UnixTime,
) -> Result<Proof, Fault> {
    let proven: Names = chain::prove_by_roots(chain, roots, Purpose::Server, now)?;
    let by_host = names.iter().any(|name| proven.names_host(name));
    let by_service = srv.is_some_and(|(class, domain)| proven.names_service(*class, domain));
    if by_host || by_service {
        return Ok(Proof::Pkix);
    }
    let service = srv.map(|(class, domain)| names::srv_id(*class, domain));
    Err(Fault::Names {
        expected: names.iter().map(ToString::to_string).chain(service).collect(),
        presented: proven.shown(),
    })
}

/// Takes any certificate that a client shows, or none. The signature proves that the client has its key; what the
/// certificate is worth is judged when the client claims to be somebody.
#[derive(Debug)]
pub(super) struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
