//! What both ends of one TLS connection know and nobody else: to it an authentication is bound.

use rustls::{ConnectionCommon, SideData};
use tokio_rustls::TlsStream;

/// The label of the exporter (RFC 9266 §2).
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// 32 octets of `tls-exporter`; `None` below TLS 1.3, where they are not unique to the connection.
pub fn channel_binding<IO>(stream: &TlsStream<IO>) -> Option<[u8; 32]> {
    match stream {
        TlsStream::Client(stream) => exported(stream.get_ref().1),
        TlsStream::Server(stream) => exported(stream.get_ref().1),
    }
}

/// RFC 9266 §2: the label, no context.
pub(super) fn exported<D: SideData>(connection: &ConnectionCommon<D>) -> Option<[u8; 32]> {
    if connection.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material([0; 32], LABEL, Some(b"")).ok()
}
