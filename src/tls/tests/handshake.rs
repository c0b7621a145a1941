use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::envelope::Class;
use crate::tls::accept::UnknownName;
use crate::tls::make::Leaf;
use crate::tls::{Fault, MinVersion, Names};

fn fails(result: Result<Proof, String>, with: &str) {
    let text = result.unwrap_err();
    assert!(text.contains(with), "{text}");
}

#[tokio::test]
async fn octets_pass_both_ways() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let (client, server) =
        handshake(&acceptor(&[&b]), &connector(roots(&[&ca])), Some("b.example"), pkix(&["b.example"]), None).await;
    let ((mut client, proof), (mut server, peer)) = (client.unwrap(), server.unwrap());
    assert_eq!(proof, Proof::Pkix);
    assert_eq!(peer.sni.as_deref(), Some("b.example"));
    assert!(peer.alpn && peer.chain.is_empty());
    assert_eq!(peer.version, "TLSv1.3");
    assert!(peer.cipher.starts_with("TLS_AES_"), "{}", peer.cipher);
    let exported = match &client {
        TlsStream::Client(stream) => {
            stream.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap()
        }
        TlsStream::Server(_) => panic!("the client is no server"),
    };
    assert_eq!(peer.channel_binding, Some(exported));
    client.write_all(b"EHLO").await.unwrap();
    client.flush().await.unwrap();
    let mut octets = [0; 4];
    server.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"EHLO");
    server.write_all(b"250-").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"250-");
}

#[tokio::test]
async fn pkix_takes_any_of_the_names() {
    let ca = authority("ca");
    let host = made(&ca, &["mx.b.example"]);
    let options = || accept::Options { names: vec![domain("b.example")], ..Default::default() };
    let acceptor = Acceptor::new(loaded(&[&host]), options()).unwrap();
    let expect = pkix(&["b.example", "mx.b.example"]);
    let (client, _) = handshake(&acceptor, &connector(roots(&[&ca])), Some("b.example"), expect, None).await;
    assert_eq!(client.unwrap().1, Proof::Pkix);
}

#[tokio::test]
async fn pkix_faults_name_who_must_act() {
    let (ca, other) = (authority("ca"), authority("other"));
    let b = made(&ca, &["b.example"]);
    fails(
        proof(&b, &other, "b.example", pkix(&["b.example"])).await,
        "issued by \"CN=ca\", which this host does not trust",
    );
    fails(
        proof(&b, &ca, "b.example", pkix(&["c.example"])).await,
        "the certificate of b.example is for b.example, not for c.example; the administrator of b.example must",
    );
    let expired = ca.issue(&Leaf::new(&["b.example"], now()).expired(now())).unwrap();
    fails(proof(&expired, &ca, "b.example", pkix(&["b.example"])).await, "the certificate of b.example expired on 20");
    let mut early = Leaf::new(&["b.example"], now());
    early.not_before = now().after(std::time::Duration::from_secs(86_400));
    fails(proof(&ca.issue(&early).unwrap(), &ca, "b.example", pkix(&["b.example"])).await, "is not valid before");
    let mut client_only = Leaf::new(&["b.example"], now());
    client_only.server = false;
    fails(proof(&ca.issue(&client_only).unwrap(), &ca, "b.example", pkix(&["b.example"])).await, "another purpose");
}

#[tokio::test]
async fn the_server_learns_why_by_an_alert() {
    let (ca, other) = (authority("ca"), authority("other"));
    let b = made(&ca, &["b.example"]);
    let connector = connector(roots(&[&other]));
    let (client, server) = handshake(&acceptor(&[&b]), &connector, Some("b.example"), pkix(&["b.example"]), None).await;
    assert!(matches!(client, Err(TlsError::Certificate { fault: Fault::UnknownIssuer { .. }, .. })));
    assert!(matches!(server, Err(TlsError::Alert(rustls::AlertDescription::UnknownCA))), "{:?}", server.err());
}

#[tokio::test]
async fn the_common_name_does_not_count() {
    let ca = authority("ca");
    let mut leaf = Leaf::new(&["b.example"], now());
    leaf.dns.clear();
    leaf.srv = vec![(Class::Im, domain("b.example"))];
    // The certificate has an SRV-ID and no DNS-ID.
    let made = ca.issue(&leaf).unwrap();
    fails(proof(&made, &ca, "b.example", pkix(&["b.example"])).await, "is for _im.b.example, not for b.example");
}

#[tokio::test]
async fn srv_ids() {
    let ca = authority("ca");
    let services = [(Class::Im, domain("b.example"))];
    let made = ca.issue(&Leaf::new(&["host.example"], now()).with_services(&services)).unwrap();
    let expect = |class| Expect::Pkix { names: vec![domain("b.example")], srv: Some((class, domain("b.example"))) };
    assert_eq!(proof(&made, &ca, "b.example", expect(Class::Im)).await, Ok(Proof::Pkix));
    fails(proof(&made, &ca, "b.example", expect(Class::Pres)).await, "not for b.example, _pres.b.example");
    // RFC 9525 §6.2: a DNS-ID of the domain will do beside an SRV-ID of another service.
    let both = ca.issue(&Leaf::new(&["b.example"], now()).with_services(&services)).unwrap();
    assert_eq!(proof(&both, &ca, "b.example", expect(Class::Pres)).await, Ok(Proof::Pkix));
}

#[tokio::test]
async fn a_constrained_authority_cannot_speak_for_services() {
    let ca = authority("ca");
    let mut options = AuthorityOptions::new("constrained", now());
    options.permitted = vec!["host.example".to_owned()];
    let below = ca.intermediate(&options).unwrap();
    let services = [(Class::Im, domain("b.example"))];
    let made = below.issue(&Leaf::new(&["host.example"], now()).with_services(&services)).unwrap();
    let expect = Expect::Pkix { names: vec![domain("b.example")], srv: Some((Class::Im, domain("b.example"))) };
    fails(proof(&made, &ca, "b.example", expect).await, "is for host.example, not for");
    let options = accept::Options { names: vec![domain("b.example")], ..Default::default() };
    let acceptor = Acceptor::new(loaded(&[&made]), options).unwrap();
    let (client, _) =
        handshake(&acceptor, &connector(roots(&[&ca])), Some("b.example"), pkix(&["host.example"]), None).await;
    assert_eq!(client.unwrap().1, Proof::Pkix);
}

#[tokio::test]
async fn unproven_takes_anything() {
    let (ca, other) = (authority("ca"), authority("other"));
    let expired = ca.issue(&Leaf::new(&["x.example"], now()).expired(now())).unwrap();
    let (client, _) =
        handshake(&acceptor(&[&expired]), &connector(roots(&[&other])), None, Expect::Unproven, None).await;
    assert_eq!(client.unwrap().1, Proof::None);
}

#[tokio::test]
async fn a_client_without_sni_gets_the_first_certificate() {
    let ca = authority("ca");
    let (a, b) = (made(&ca, &["a.example"]), made(&ca, &["b.example"]));
    let connector = connector(roots(&[&ca]));
    let (client, server) = handshake(&acceptor(&[&a, &b]), &connector, None, pkix(&["a.example"]), None).await;
    assert_eq!(client.unwrap().1, Proof::Pkix);
    assert_eq!(server.unwrap().1.sni, None);
}

#[tokio::test]
async fn sni_picks_the_certificate() {
    let ca = authority("ca");
    let (a, b, wild) = (made(&ca, &["a.example"]), made(&ca, &["b.example"]), made(&ca, &["*.c.example"]));
    let acceptor = acceptor(&[&a, &b, &wild]);
    let connector = connector(roots(&[&ca]));
    for (sni, names) in [("a.example", "a.example"), ("b.example", "b.example"), ("im.c.example", "im.c.example")] {
        let (client, _) = handshake(&acceptor, &connector, Some(sni), pkix(&[names]), None).await;
        assert_eq!(client.map(|(_, proof)| proof).map_err(|e| e.to_string()), Ok(Proof::Pkix), "{sni}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused_by_its_alert() {
    let ca = authority("ca");
    let a = made(&ca, &["a.example"]);
    let connector = connector(roots(&[&ca]));
    let (client, server) = handshake(&acceptor(&[&a]), &connector, Some("z.example"), pkix(&["z.example"]), None).await;
    let text = client.unwrap_err().to_string();
    assert!(text.contains("does not serve this domain (unrecognized_name)"), "{text}");
    assert!(matches!(server, Err(TlsError::UnknownName { sni }) if sni == "z.example"));
    let fallback = accept::Options { unknown_names: UnknownName::Fallback, ..Default::default() };
    let acceptor = Acceptor::new(loaded(&[&a]), fallback).unwrap();
    let (client, _) = handshake(&acceptor, &connector, Some("z.example"), pkix(&["a.example"]), None).await;
    assert_eq!(client.unwrap().1, Proof::Pkix);
}

#[tokio::test]
async fn our_certificate_reaches_the_server() {
    let ca = authority("ca");
    let (a, mx, b) = (made(&ca, &["a.example"]), made(&ca, &["mx.example"]), made(&ca, &["b.example"]));
    let acceptor = acceptor(&[&b]);
    let ours = Connector::new(roots(&[&ca]), loaded(&[&mx, &a]), connect::Options::default());
    let shown = async |own: Option<&str>| {
        let (client, server) = handshake(&acceptor, &ours, Some("b.example"), pkix(&["b.example"]), own).await;
        client.unwrap();
        server.unwrap().1.chain
    };
    assert_eq!(shown(Some("a.example")).await, a.chain);
    // No certificate names it: that of this host, the default.
    assert_eq!(shown(Some("other.example")).await, mx.chain);
    assert!(shown(None).await.is_empty());
    assert!(Names::of(&shown(Some("a.example")).await[0]).names_host(&domain("a.example")));
}

#[tokio::test]
async fn a_server_that_does_not_ask_gets_no_certificate() {
    let ca = authority("ca");
    let (a, b) = (made(&ca, &["a.example"]), made(&ca, &["b.example"]));
    let options = accept::Options { ask_client_certificate: false, ..Default::default() };
    let acceptor = Acceptor::new(loaded(&[&b]), options).unwrap();
    let ours = Connector::new(roots(&[&ca]), loaded(&[&a]), connect::Options::default());
    let (_, server) = handshake(&acceptor, &ours, Some("b.example"), pkix(&["b.example"]), Some("a.example")).await;
    assert!(server.unwrap().1.chain.is_empty());
}

#[tokio::test]
async fn a_client_certificate_that_nobody_trusts_is_delivered_too() {
    let (ca, strange) = (authority("ca"), authority("strange"));
    let expired = strange.issue(&Leaf::new(&["a.example"], now()).expired(now())).unwrap();
    let b = made(&ca, &["b.example"]);
    let ours = Connector::new(roots(&[&ca]), loaded(&[&expired]), connect::Options::default());
    let (_, server) =
        handshake(&acceptor(&[&b]), &ours, Some("b.example"), pkix(&["b.example"]), Some("a.example")).await;
    assert_eq!(server.unwrap().1.chain, expired.chain);
}

fn tls12_client(ca: &Authority, alpn: &[&[u8]]) -> tokio_rustls::TlsConnector {
    let mut store = rustls::RootCertStore::empty();
    store.add(ca.certificate().clone()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(crate::tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config).into()
}

#[tokio::test]
async fn a_peer_of_tls_1_2() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let name = || rustls::pki_types::ServerName::try_from("b.example").unwrap();
    let (near, far) = tokio::io::duplex(65536);
    let acceptor = acceptor(&[&b]);
    let (client, server) = tokio::join!(tls12_client(&ca, &[]).connect(name(), near), acceptor.accept(far));
    client.unwrap();
    let peer = server.unwrap().1;
    assert_eq!(peer.version, "TLSv1.2");
    assert!(peer.cipher.starts_with("TLS_ECDHE_"), "{}", peer.cipher);
    assert!(!peer.alpn);

    let options = accept::Options { min_version: MinVersion::Tls13, ..Default::default() };
    let strict = Acceptor::new(loaded(&[&b]), options).unwrap();
    let (near, far) = tokio::io::duplex(65536);
    let (client, server) = tokio::join!(tls12_client(&ca, &[]).connect(name(), near), strict.accept(far));
    assert!(client.is_err());
    assert!(matches!(server, Err(TlsError::Protocol(rustls::Error::PeerIncompatible(_)))));
}

#[tokio::test]
async fn our_client_speaks_tls_1_2() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let key = rustls::pki_types::PrivateKeyDer::try_from(pem_der(&b.key_pem)).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(crate::tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(b.chain.clone(), key)
        .unwrap();
    let (near, far) = tokio::io::duplex(65536);
    let (server, ours) = (tokio_rustls::TlsAcceptor::from(Arc::new(config)), connector(roots(&[&ca])));
    let sni = domain("b.example");
    let (client, _) = tokio::join!(ours.connect(near, &sni, pkix(&["b.example"]), None), server.accept(far));
    assert_eq!(client.unwrap().1, Proof::Pkix);
}

fn pem_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap().secret_der().to_vec()
}

#[tokio::test]
async fn alpn_of_something_else_is_refused() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let acceptor = acceptor(&[&b]);
    for (offered, taken) in [(&[&b"http/1.1"[..]][..], false), (&[&b"smtp"[..], b"impp"][..], true)] {
        let (near, far) = tokio::io::duplex(65536);
        let name = rustls::pki_types::ServerName::try_from("b.example").unwrap();
        let (client, server) = tokio::join!(tls12_client(&ca, offered).connect(name, near), acceptor.accept(far));
        assert_eq!((client.is_ok(), server.is_ok()), (taken, taken));
        if let Err(error) = client {
            assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        }
    }
}

#[tokio::test]
async fn without_alpn_nothing_is_offered() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let connector = connector(roots(&[&ca])).without_alpn();
    let (_, server) = handshake(&acceptor(&[&b]), &connector, Some("b.example"), pkix(&["b.example"]), None).await;
    assert!(!server.unwrap().1.alpn);
}

#[tokio::test]
async fn plain_text_is_recognised() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let (mut near, far) = tokio::io::duplex(65536);
    near.write_all(b"EHLO a.example\r\n").await.unwrap();
    let result = acceptor(&[&b]).accept(far).await;
    assert!(matches!(result, Err(TlsError::NotTls)), "{:?}", result.err());

    let (near, mut far) = tokio::io::duplex(65536);
    far.write_all(b"220 mx.b.example ESMTP\r\n").await.unwrap();
    let sni = domain("b.example");
    let result = connector(roots(&[&ca])).connect(near, &sni, Expect::Unproven, None).await;
    assert!(matches!(result, Err(TlsError::NotTls)), "{:?}", result.err());
}

#[tokio::test]
async fn a_connection_that_breaks() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let (near, far) = tokio::io::duplex(65536);
    drop(near);
    let result = acceptor(&[&b]).accept(far).await;
    let error = result.err().unwrap();
    assert!(matches!(error, TlsError::Io(_)), "{error:?}");
    assert_eq!(error.status().to_string(), "4.4.2");
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let timeout = std::time::Duration::ZERO;
    let acceptor = Acceptor::new(loaded(&[&b]), accept::Options { timeout, ..Default::default() }).unwrap();
    let (_near, far) = tokio::io::duplex(65536);
    assert!(matches!(acceptor.accept(far).await, Err(TlsError::Timeout(_))));
    let options = connect::Options { timeout, ..Default::default() };
    let connector = Connector::new(roots(&[&ca]), Certificates::none(), options);
    let (near, _far) = tokio::io::duplex(65536);
    let sni = domain("b.example");
    let error = connector.connect(near, &sni, Expect::Unproven, None).await.err().unwrap();
    assert!(matches!(error, TlsError::Timeout(_)));
}

#[tokio::test]
async fn what_was_proven_for_one_expectation_is_not_believed_for_another() {
    let ca = authority("ca");
    let b = made(&ca, &["b.example"]);
    let (acceptor, connector) = (acceptor(&[&b]), connector(roots(&[&ca])));
    let (client, server) = handshake(&acceptor, &connector, Some("b.example"), Expect::Unproven, None).await;
    let ((mut client, _), (mut server, _)) = (client.unwrap(), server.unwrap());
    // The ticket arrives with the first octets.
    server.write_all(b"220").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
    let (client, _) = handshake(&acceptor, &connector, Some("b.example"), pkix(&["c.example"]), None).await;
    assert!(matches!(client, Err(TlsError::Certificate { fault: Fault::Names { .. }, .. })));
}
