//! Files that are replaced while the daemon runs, and that nobody tells it of.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use impart::tls::make::Leaf;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::common::client::Client;
use crate::common::daemon::Setup;
use crate::common::wait;
use crate::world::{World, now};

/// How often the daemon looks, and some time for a loaded machine.
const SOON: Duration = Duration::from_secs(30 + 30);

/// The certificate that a new connection is shown, by the name that it asks for.
fn shown(world: &World, address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let mut stream = world.anonymous(address, name).expect("a connection");
    // The handshake is made with the first octets.
    let _ = stream.write_all(b"NOOP\r\n").and_then(|()| stream.flush());
    let chain = stream.conn.peer_certificates().expect("a certificate");
    chain[0].clone().into_owned()
}

/// The certificate in a file of a domain.
fn written(world: &World, domain: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(world.home(domain).join("tls.pem")).expect("a certificate")
}

fn setup(world: &World) -> Setup {
    // Two certificates of one host: one is renewed, the renewal of the other goes wrong.
    let second = world.certify("c.test", &Leaf::new(&["c.test"], now()));
    world.domain("b.test", "bob").with(&format!("{second}[[domain]]\nname = \"c.test\"\n"))
}

#[test]
fn renewed_certificates_are_shown_and_broken_ones_are_not() {
    let world = World::new();
    let b = setup(&world);
    let relay = b.relay.expect("a relay listener");
    let daemon = b.start();
    let (first, second) = (written(&world, "b.test"), written(&world, "c.test"));
    assert_eq!(shown(&world, relay, "b.test"), first);
    assert_eq!(shown(&world, relay, "c.test"), second);
    let (mut session, _) = world.peer("b.test", &b);
    // The first look is over when the daemon says that it is ready; what follows is seen by a later one.
    world.certify("b.test", &Leaf::new(&["mx.b.test", "b.test"], now()));
    let renewed = written(&world, "b.test");
    assert_ne!(renewed, first);
    let chain = fs::read_to_string(world.home("c.test").join("tls.pem")).expect("a certificate");
    fs::write(world.home("c.test").join("tls.pem"), &chain[..chain.len() / 2]).expect("half of it");
    let start = Instant::now();
    wait::until("the renewed certificate", || (shown(&world, relay, "b.test") == renewed).then_some(()));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let fault = wait::until("the fault is told", || {
        b.log().lines().find(|line| line.contains("c.test/tls.pem")).map(str::to_owned)
    });
    assert!(fault.contains("the old one stays"), "{fault}");
    assert_eq!(shown(&world, relay, "c.test"), second, "the old one stays");
    // Who was there stays, with the certificate of before.
    assert_eq!(session.say("NOOP").expect("an answer").code, 250);
    assert!(Client::hello(b.mail).is_ok());
    // Once it is mended it is taken, at once when it is asked for.
    world.certify("c.test", &Leaf::new(&["c.test"], now()));
    assert!(b.ctl(&["reload"]).status.success());
    assert_eq!(shown(&world, relay, "c.test"), written(&world, "c.test"));
    assert_eq!(session.say("NOOP").expect("an answer").code, 250);
    assert!(daemon.stop().success());
}
