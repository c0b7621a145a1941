//! A Postfix as the mail exchanger of a domain: it is found by MX, and proves itself by DANE.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::SystemTime;

use impart::dns::Tlsa;
use impart::dns::authority::{Authority, Conduct, Data, Zone};
use impart::timestamp::Timestamp;
use impart::tls::make::{self, Leaf};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::common::client::{Client, entity};
use crate::common::daemon::Setup;
use crate::common::sink::Sink;
use crate::common::tools::{have, leave_out, root};
use crate::common::wait;
use crate::postfix::Postfix;

const NAME: &str = "a_postfix_is_found_by_mx_and_proves_itself_by_dane";

/// An address of loopback at which nobody else has port 25.
fn own_address() -> Option<SocketAddr> {
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, b | 0x40, c, d), 25));
    match TcpListener::bind(address) {
        Ok(_) => Some(address),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => panic!("{address}: {error}"),
    }
}

/// The zone `test.`, which DNSSEC proves, with b.test at one address and this record about its certificate.
fn zone(address: SocketAddr, record: Tlsa) -> Zone {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    let mut zone = Zone::new("test.").unwrap();
    zone.set_absence(0).set_zone_conduct(Conduct::Authentic);
    zone.add("b.test.", 0, Data::Mx { preference: 10, host: "mx.b.test.".to_owned() }).unwrap();
    zone.add("mx.b.test.", 0, Data::A(*address.ip())).unwrap();
    zone.add("_25._tcp.mx.b.test.", 0, Data::Tlsa(record)).unwrap();
    zone
}

#[test]
fn a_postfix_is_found_by_mx_and_proves_itself_by_dane() {
    if !have(NAME, &["postfix"]) {
        return;
    }
    let Some(address) = own_address().filter(|_| root()) else {
        return leave_out(&format!("{NAME} (Postfix's daemon and port 25 need root)"));
    };
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = Timestamp::from(SystemTime::now());
    let authority = make::Authority::root(&make::AuthorityOptions::new("Theirs", now)).unwrap();
    let certificate = authority.issue(&Leaf::new(&["mx.b.test"], now)).unwrap();
    let files = certificate.write(theirs.path(), "tls").unwrap();
    let next = Sink::start();
    let (host, port) = (next.address.ip(), next.address.port());
    let main = format!(
        "relay_domains = b.test\nrelay_recipient_maps =\nmynetworks = 127.255.255.255/32\n\
         relayhost = [{host}]:{port}\nsmtp_tls_security_level = none\n\
         smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {}, {}\nsmtpd_tls_received_header = yes\n",
        files.key.display(),
        files.chain.display(),
    );
    let _postfix = Postfix::with(theirs.path(), address, ("mx", "mx.b.test"), &main);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let wrong = Tlsa { usage: 3, selector: 0, matching: 0, data: b"another".to_vec() };
    let right = Tlsa { data: CertificateDer::from_pem_file(&files.chain).unwrap().to_vec(), ..wrong.clone() };
    let dns = runtime.block_on(Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), zone(address, wrong))).unwrap();
    let mut setup = Setup::new(ours.path()).with("[bridge]\nvia = \"mx\"\n");
    let before = "servers = [\"127.0.0.1:1\"]\nvalidation = \"off\"";
    setup.sections = setup.sections.replace(before, &format!("servers = [\"{}\"]", dns.local_addr()));
    let daemon = setup.start();
    let (mut client, _) = Client::hello(setup.mail).unwrap();
    let message = entity("alice@a.test", "bob@b.test", "one@a.test", "Hello Bob.");
    let reply = client.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    wait::until("the wrong record holds it off", || setup.log().contains("status=deferred").then_some(()));
    assert!(next.arrivals().is_empty());
    dns.set_zone(zone(address, right));
    let arrivals = next.wait("the mail, through Postfix", |all| all.len() == 1);
    assert!(arrivals[0].entity.contains("using TLSv1.3"), "{}", arrivals[0].entity);
    assert!(arrivals[0].entity.contains("Hello Bob."), "{}", arrivals[0].entity);
    assert!(daemon.stop().success(), "{}", setup.log());
}
