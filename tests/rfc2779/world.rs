//! What the domains of a test have in common, and it is only DNS and a certificate authority: no configuration.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use impart::address::Domain;
use impart::dns::Srv;
use impart::dns::authority::{Authority, Data, Zone};
use impart::timestamp::Timestamp;
use impart::tls::make::{self, Leaf};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use crate::common::client::{Client, Reply, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::sink::{Manner, Sink, field};
use crate::common::wait;

/// Now, as certificates count.
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// DNS, an authority, and a directory for all that is made.
pub struct World {
    directory: tempfile::TempDir,
    authority: make::Authority,
    zone: Mutex<Zone>,
    dns: Authority,
    /// The DNS authority answers in it.
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// The zone `test.` without a domain.
    pub fn new() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut zone = Zone::new("test.").expect("a zone");
        zone.set_absence(0);
        let dns = runtime.block_on(Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), zone.clone()));
        let authority = make::Authority::root(&make::AuthorityOptions::new("Test", now())).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        make::write_pem(&directory.path().join("ca.pem"), &authority.pem()).expect("its certificate");
        World { directory, authority, zone: Mutex::new(zone), dns: dns.expect("a name server"), runtime }
    }

    /// Changes the zone.
    pub fn publish(&self, change: impl FnOnce(&mut Zone)) {
        let mut zone = self.zone.lock().expect("the zone");
        change(&mut zone);
        self.dns.set_zone(zone.clone());
    }

    /// Publishes an SRV record without caching; the target `.` where there is no host.
    pub fn service(&self, name: &str, host: Option<&str>, port: u16) {
        let target = host.map(|host| Domain::parse(host).expect("a host name"));
        let srv = Srv { priority: 0, weight: 0, port, target };
        self.publish(|zone| _ = zone.add(name, 0, Data::Srv(srv)).expect("a record"));
    }

    /// Publishes where `domain` takes messages: at `mx.DOMAIN`, on loopback.
    pub fn found_at(&self, domain: &str, relay: SocketAddr) {
        let (ascii, host) = (ascii(domain), host(domain));
        for service in ["_im", "_pres"] {
            self.service(&format!("{service}._impp.{ascii}."), Some(&host), relay.port());
        }
        self.publish(|zone| {
            zone.add(&format!("{host}."), 0, Data::A(Ipv4Addr::LOCALHOST)).expect("a record");
        });
    }

    /// Where the files of a domain are.
    pub fn home(&self, domain: &str) -> PathBuf {
        let home = self.directory.path().join(ascii(domain));
        fs::create_dir_all(&home).expect("a directory");
        home
    }

    /// Writes a certificate, and its key, into the directory of `domain`; in place of an older one.
    pub fn certify(&self, domain: &str, leaf: &Leaf) -> String {
        let files = self.authority.issue(leaf).expect("a certificate").write(&self.home(domain), "tls");
        let files = files.expect("its files");
        format!("[[certificate]]\nchain = {:?}\nkey = {:?}\n", files.chain, files.key)
    }

    /// A domain with an inbox, published, with a certificate for it and its host; not yet started. Peers prove
    /// themselves by certificate: on loopback everybody has the same address.
    pub fn domain(&self, domain: &str, inbox: &str) -> Setup {
        let relay = free_address();
        self.found_at(domain, relay);
        let certificate = self.certify(domain, &Leaf::new(&[&host(domain), &ascii(domain)], now()));
        let roots = self.directory.path().join("ca.pem");
        let sections = format!(
            "[[domain]]\nname = {domain:?}\ninboxes = [{inbox:?}]\n{certificate}\
             [tls]\nroots = [{roots:?}]\n[dns]\nservers = [\"{}\"]\nvalidation = \"off\"\n\
             [queue]\nretry = [\"50ms\", \"200ms\", \"500ms\"]\n[policy]\npeer_identity = \"certificate\"\n",
            self.dns.local_addr(),
        );
        Setup {
            directory: fs::canonicalize(self.home(domain)).expect("the directory"),
            host: host(domain),
            mail: free_address(),
            relay: Some(relay),
            sections,
            environment: Default::default(),
        }
    }

    /// A server of `domain` that keeps what it gets, found by SRV and with a certificate.
    pub fn sink(&self, domain: &str, manner: Manner) -> Sink {
        self.certify(domain, &Leaf::new(&[&host(domain), &ascii(domain)], now()));
        let mut tls = self.server(domain);
        tls.alpn_protocols = vec![b"impp".to_vec()];
        let sink = Sink::secured(manner, tls);
        self.found_at(domain, sink.address);
        sink
    }

    /// A server in TLS, with the certificate of `domain`.
    pub fn server(&self, domain: &str) -> ServerConfig {
        let (chain, key) = self.pair(domain);
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let tls = builder.expect("TLS").with_no_client_auth().with_single_cert(chain, key);
        tls.expect("a certificate with its key")
    }

    /// The certificate of `domain`.
    pub fn certificate(&self, domain: &str) -> CertificateDer<'static> {
        self.pair(domain).0.remove(0)
    }

    /// A connection to a relay port, in TLS, with the certificate of `domain`, asking for the name `sni`.
    pub fn encrypted(
        &self,
        domain: &str,
        server: &Setup,
        sni: &str,
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let (chain, key) = self.pair(domain);
        let config = self.trusting().with_client_auth_cert(chain, key).expect("a certificate with its key");
        encrypt(TcpStream::connect(server.relay.expect("a relay listener"))?, config, sni)
    }

    /// A connection of somebody without a certificate, in TLS.
    pub fn anonymous(
        &self,
        address: SocketAddr,
        sni: &str,
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        encrypt(TcpStream::connect(address)?, self.trusting().with_no_client_auth(), sni)
    }

    /// A client in the clear that has said STARTTLS goes on in TLS.
    pub fn after_starttls(&self, tcp: TcpStream, sni: &str) -> Client {
        let stream = encrypt(tcp, self.trusting().with_no_client_auth(), sni).expect("a connection");
        Client::without_greeting(stream)
    }

    fn trusting(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).expect("the authority");
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        builder.expect("TLS").with_root_certificates(roots)
    }

    /// The server of `domain`, spoken for by the test, at another domain's relay port: EHLO has been answered.
    pub fn peer(&self, domain: &str, server: &Setup) -> (Client, Reply) {
        let stream = self.encrypted(domain, server, &server.host).expect("a connection");
        let mut client = Client::over(stream).expect("a greeting");
        let hello = client.say(&format!("EHLO {}", host(domain))).expect("an answer to EHLO");
        (client, hello)
    }

    /// A connection to a mail listener from another address of loopback.
    pub fn from_address(&self, source: Ipv4Addr, server: &Setup) -> Client {
        Client::over(self.tcp_from(source, server)).expect("a greeting")
    }

    /// What a mail listener says first to whoever comes from there.
    pub fn greeting(&self, source: Ipv4Addr, server: &Setup) -> Reply {
        Client::without_greeting(self.tcp_from(source, server)).reply().expect("a reply")
    }

    fn tcp_from(&self, source: Ipv4Addr, server: &Setup) -> TcpStream {
        let stream = self.runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(server.mail).await?.into_std()
        });
        let stream = stream.expect("a connection");
        stream.set_nonblocking(false).expect("a blocking socket");
        stream
    }

    fn pair(&self, domain: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let home = self.home(domain);
        let chain = CertificateDer::pem_file_iter(home.join("tls.pem")).expect("a certificate");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
        (chain, PrivateKeyDer::from_pem_file(home.join("tls.key")).expect("a key"))
    }
}

fn encrypt(
    tcp: TcpStream,
    mut config: ClientConfig,
    sni: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    config.alpn_protocols = vec![b"impp".to_vec()];
    let name = ServerName::try_from(sni.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("TLS");
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(wait::PATIENCE))?;
    Ok(StreamOwned::new(connection, tcp))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A domain as DNS has it.
pub fn ascii(domain: &str) -> String {
    Domain::parse(domain).expect("a domain").as_str().to_owned()
}

/// The host of a domain.
pub fn host(domain: &str) -> String {
    format!("mx.{}", ascii(domain))
}

/// Submits a short message; `mail` and `rcpt` are parameters, which start with a space where there are any.
pub fn submit(at: &Setup, from: (&str, &str), to: (&str, &str), id: &str) -> Reply {
    let (mut client, _) = Client::hello(at.mail).expect("a connection");
    let ((from, mail), (to, rcpt)) = (from, to);
    let reply = client.transaction(&format!("<{from}>{mail}"), &[&format!("<{to}>{rcpt}")], &entity(from, to, id, id));
    reply.expect("an answer")
}

/// Submits a short message from alice@a.test without parameters, which must be accepted.
pub fn send(at: &Setup, to: &str, id: &str) {
    let reply = submit(at, ("alice@a.test", ""), (to, ""), id);
    assert_eq!(reply.code, 250, "{reply:?}");
}

/// Waits for a report in alice@a.test's inbox that tells of this action.
pub fn report(at: &Setup, action: &str) -> String {
    wait::until(&format!("a report `{action}`"), || reports(at).into_iter().find(|text| is(text, "Action", action)))
}

/// The reports in alice@a.test's inbox.
pub fn reports(at: &Setup) -> Vec<String> {
    at.waiting("alice@a.test").into_iter().filter(|text| text.contains("report-type=delivery-status")).collect()
}

/// Whether a field has this value.
pub fn is(text: &str, name: &str, value: &str) -> bool {
    field(text, name).is_some_and(|found| found == value)
}

/// Asserts that a field has this value.
pub fn check(text: &str, name: &str, value: &str) {
    assert_eq!(field(text, name).as_deref(), Some(value), "{name} in\n{text}");
}
