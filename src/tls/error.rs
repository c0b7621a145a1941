//! What can be wrong with a handshake or a certificate, in words that name the fault and who can mend it.

use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::printable;
use crate::reply::EnhancedCode;
use crate::timestamp::Timestamp;

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its time, or that of an authority between it and the trust anchor, is over.
    Expired {
        /// The end of its time.
        at: Timestamp,
    },
    /// Its time has not begun.
    NotYetValid {
        /// The beginning of its time.
        from: Timestamp,
    },
    /// None of its names is one of those expected.
    Names {
        /// What would have done.
        expected: Vec<String>,
        /// What it has; at most a few.
        presented: Vec<String>,
    },
    /// No trust anchor stands above it.
    UnknownIssuer {
        /// Who signed it, as it says itself.
        issuer: String,
    },
    /// It is made for something else (extended key usage).
    Purpose,
    /// No usable TLSA record matches it.
    Tlsa {
        /// How many usable records there are.
        records: usize,
    },
    /// It cannot be read, or breaks RFC 5280 otherwise.
    Invalid(String),
}

impl Fault {
    /// In words: the fault, and who must act. `of` is whose certificate it is.
    pub fn describe(&self, of: &str) -> String {
        match self {
            Fault::Expired { at } => {
                format!("the certificate of {of} expired on {}; the administrator of {of} must renew it", at.rfc3339())
            }
            Fault::NotYetValid { from } => format!(
                "the certificate of {of} is not valid before {}; check the clock here, else its administrator must act",
                from.rfc3339()
            ),
            Fault::Names { expected, presented } => format!(
                "the certificate of {of} is for {}, not for {}; the administrator of {of} must install another",
                list(presented),
                list(expected)
            ),
            Fault::UnknownIssuer { issuer } => format!(
                "the certificate of {of} was issued by {issuer}, which this host does not trust, or the chain lacks an \
                 intermediate certificate; the administrator of {of} must send the whole chain, or add the authority \
                 here"
            ),
            Fault::Purpose => {
                format!(
                    "the certificate of {of} is made for another purpose; the administrator of {of} must replace it"
                )
            }
            Fault::Tlsa { records } => format!(
                "the certificate of {of} matches none of the {records} usable TLSA records; the administrator of {of} \
                 must correct the records or the certificate"
            ),
            Fault::Invalid(what) => {
                format!("the certificate of {of} is invalid ({what}); the administrator of {of} must replace it")
            }
        }
    }

    /// In a few words, for a reason within a sentence.
    pub fn brief(&self) -> String {
        match self {
            Fault::Expired { at } => format!("expired on {}", at.rfc3339()),
            Fault::NotYetValid { from } => format!("not valid before {}", from.rfc3339()),
            Fault::Names { .. } => "for other names".to_owned(),
            Fault::UnknownIssuer { issuer } => format!("issued by {issuer}, which is not trusted here"),
            Fault::Purpose => "made for another purpose".to_owned(),
            Fault::Tlsa { .. } => "matches no TLSA record".to_owned(),
            Fault::Invalid(what) => format!("invalid: {what}"),
        }
    }

    /// What the alert to the peer is made of.
    pub(super) fn to_rustls(&self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Fault::Expired { .. } => CertificateError::Expired,
            Fault::NotYetValid { .. } => CertificateError::NotValidYet,
            Fault::Names { .. } => CertificateError::NotValidForName,
            Fault::UnknownIssuer { .. } => CertificateError::UnknownIssuer,
            Fault::Purpose => CertificateError::InvalidPurpose,
            Fault::Tlsa { .. } => CertificateError::ApplicationVerificationFailure,
            Fault::Invalid(_) => CertificateError::BadEncoding,
        })
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") }
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server did not prove to be what was expected.
    #[error("{}", fault.describe(of))]
    Certificate {
        /// Whose certificate: the domain that was asked for.
        of: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The client asked for a name that is not served here.
    #[error(
        "the client asked for {sni}, which is not served here (alert unrecognized_name); add the domain, or correct \
         its SRV records"
    )]
    UnknownName {
        /// The server name that it sent.
        sni: String,
    },
    /// The first octets are not those of TLS.
    #[error("the peer speaks no TLS on a port where TLS starts at once")]
    NotTls,
    /// The peer ended the handshake by an alert.
    #[error("the peer refused the handshake: {}", alert_words(*.0))]
    Alert(AlertDescription),
    /// The handshake broke the protocol, or there is no version or cipher suite in common.
    #[error("the TLS handshake failed: {0}")]
    Protocol(rustls::Error),
    /// The connection broke in the middle of the handshake.
    #[error("the connection broke during the TLS handshake: {0}")]
    Io(io::Error),
    /// The handshake was not over in time.
    #[error("the TLS handshake took longer than {} s", .0.as_secs())]
    Timeout(std::time::Duration),
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnrecognisedName => {
            "it does not serve this domain (unrecognized_name); its administrator must add the domain, or the domain's \
             SRV records are wrong"
                .to_owned()
        }
        AlertDescription::NoApplicationProtocol => {
            "it does not speak IMPP on this port (no_application_protocol); the SRV record or the route names \
             the wrong port"
                .to_owned()
        }
        AlertDescription::ProtocolVersion => "it has no TLS version in common with us (protocol_version)".to_owned(),
        other => format!("alert {other:?}"),
    }
}

impl TlsError {
    /// The status of a message that is deferred for it: 4.7.5 for cryptography (RFC 3463 §3.8), 4.4.2 for a connection
    /// that broke (RFC 3463 §3.5).
    pub fn status(&self) -> EnhancedCode {
        match self {
            TlsError::Io(_) | TlsError::Timeout(_) => EnhancedCode::new(4, 4, 2),
            _ => EnhancedCode::new(4, 7, 5),
        }
    }

    /// Sorts out what the library reports as an error of the connection.
    pub(super) fn from_io(error: io::Error) -> TlsError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
        match inner {
            Some(rustls::Error::AlertReceived(alert)) => TlsError::Alert(alert),
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => TlsError::NotTls,
            Some(other) => TlsError::Protocol(other),
            None => TlsError::Io(error),
        }
    }
}

/// Text from a certificate, fit for a log line: bounded, no control characters.
pub(super) fn clean(text: &str) -> String {
    text.chars().take(200).map(|c| if printable::obeyed(c).is_some() { '?' } else { c }).collect()
}
