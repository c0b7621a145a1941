//! A signed zone served by Knot: SRV and TLSA that are proven, and answers that are forged.
//!
//! One knotd serves a root of our own, signed, whose key is the relays' trust anchor; below it b.test, with its right DS,
//! and bogus.test, with a wrong one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use impart::address::Mailbox;
use impart::dns::{self, Failure, Options, Security, Validation};
use impart::smime::trust;

use crate::common::client::{Client, entity};
use crate::common::daemon::{Setup, free_address};
use crate::common::tools::{find, have, run, said};
use crate::common::wait;
use crate::names::{Named, certificate};

/// A running knotd; killed when it is dropped.
struct Knot {
    child: Child,
    address: SocketAddr,
    config: String,
}

/// The zones: name without the final dot, and records beside SOA and NS.
type Zones<'a> = &'a [(&'a str, String)];

impl Knot {
    fn start(directory: &Path, zones: Zones<'_>) -> Knot {
        Knot::start_with(directory, zones, "")
    }

    /// `policy` is more of how zones are signed.
    fn start_with(directory: &Path, zones: Zones<'_>, policy: &str) -> Knot {
        let address = free_address();
        let place = directory.display();
        let names: String = zones.iter().map(|(name, _)| format!("  - domain: {name}\n")).collect();
        let config = format!(
            "server:\n    listen: {}@{}\n    rundir: {place}\ndatabase:\n    storage: {place}/keys\n\
             log:\n  - target: stderr\n    any: warning\n\
             policy:\n  - id: signed\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n{policy}\
             template:\n  - id: default\n    storage: {place}\n    zonefile-load: difference-no-serial\n    \
             zonefile-sync: -1\n    journal-content: all\n    dnssec-signing: on\n    dnssec-policy: signed\n\
             zone:\n  - domain: .\n    file: root.zone\n{names}",
            address.ip(),
            address.port()
        );
        let path = directory.join("knot.conf").display().to_string();
        fs::create_dir_all(directory.join("keys")).unwrap();
        fs::write(&path, config).unwrap();
        let mut root = head(".");
        for (name, records) in zones {
            fs::write(directory.join(format!("{name}.zone")), head(&format!("{name}.")) + records).unwrap();
            root.push_str(&format!("{name}. NS ns.{name}.\nns.{name}. A 127.0.0.1\n"));
            root.push_str(&delegation(&path, name));
        }
        fs::write(directory.join("root.zone"), root).unwrap();
        let mut command = Command::new(find("knotd").expect("knotd is installed"));
        command.args(["-c", &path]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let knot = Knot { child: command.spawn().expect("knotd starts"), address, config: path };
        wait::until("knotd answers with signatures", || {
            zones.iter().all(|(name, _)| knot.ask(name, "SOA").contains("RRSIG")).then_some(())
        });
        knot
    }

    fn ask(&self, name: &str, kind: &str) -> String {
        let port = self.address.port().to_string();
        let server = format!("@{}", self.address.ip());
        said(&run("kdig", &["-p", &port, &server, "+dnssec", "+time=1", name, kind], b""))
    }

    /// The root's key, as a trust anchor.
    fn anchor(&self) -> String {
        let output = run("keymgr", &["-c", &self.config, ".", "dnskey"], b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let key = text.split_once("DNSKEY ").unwrap_or_else(|| panic!("{}", said(&output))).1;
        format!(". 300 IN DNSKEY {key}")
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn head(zone: &str) -> String {
    let dot = if zone == "." { "" } else { zone };
    format!(
        "$ORIGIN {zone}\n$TTL 300\n{zone} SOA ns.{dot} hostmaster.{dot} 1 3600 900 604800 60\n\
         {zone} NS ns.{dot}\nns.{dot} A 127.0.0.1\n"
    )
}

/// The DS of a zone whose key is made here; a wrong one for a zone that is to be bogus.
fn delegation(config: &str, zone: &str) -> String {
    if zone.starts_with("bogus") {
        return format!("{zone}. DS 12345 13 2 {}\n", "0".repeat(64));
    }
    let made = run("keymgr", &["-c", config, zone, "generate", "algorithm=13", "ksk=yes", "zsk=yes"], b"");
    assert!(made.status.success(), "{}", said(&made));
    let output = run("keymgr", &["-c", config, zone, "ds"], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find(|line| line.contains(" 13 2 ")).map(|line| format!("{line}\n"));
    found.unwrap_or_else(|| panic!("{}", said(&output)))
}

/// SRV, address and TLSA of the relay of `zone` at `port`, with this certificate.
fn records(port: u16, certificate: &Named) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    let hash: String = digest(&SHA256, &certificate.public).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("_im._impp SRV 0 1 {port} mx\nmx A 127.0.0.1\n_{port}._tcp.mx TLSA 3 1 1 {hash}\n")
}

/// A relay for `domain` that looks names up at `knot` and validates itself.
fn relay(directory: &Path, domain: &str, address: SocketAddr, certificate: &Named) -> Setup {
    let mut setup = Setup::new(directory);
    setup.relay = Some(address);
    setup.host = format!("mx.{domain}");
    setup.sections = format!(
        "[[domain]]\nname = \"{domain}\"\ninboxes = [\"alice\", \"bob\"]\n{}\
         [queue]\nretry = [\"200ms\", \"1s\"]\n[tls]\nroots = []\n",
        certificate.section()
    );
    setup
}

fn section(knot: &Knot, directory: &Path) -> String {
    let anchor = directory.join("anchor");
    fs::write(&anchor, knot.anchor()).unwrap();
    format!("[dns]\nservers = [\"{}\"]\nvalidation = \"in-process\"\ntrust_anchor = {anchor:?}\n", knot.address)
}

#[test]
fn two_relays_find_and_prove_each_other_by_a_signed_zone() {
    if !have("two_relays_find_and_prove_each_other_by_a_signed_zone", &["knotd", "kdig", "keymgr"]) {
        return;
    }
    let [zone, a, b] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (port_a, port_b) = (free_address(), free_address());
    let (cert_a, cert_b) = (certificate(a.path(), "mx.a.test"), certificate(b.path(), "mx.b.test"));
    let (wrong, mut bogus) = (certificate(a.path(), "mx.wrong.test"), records(port_b.port(), &cert_b));
    bogus.push_str("other A 127.0.0.1\n");
    let zones = [
        ("a.test", records(port_a.port(), &cert_a)),
        ("b.test", records(port_b.port(), &cert_b)),
        ("wrong.test", records(port_b.port(), &wrong)),
        ("bogus.test", bogus),
    ];
    let knot = Knot::start(zone.path(), &zones);
    let relay_a = relay(a.path(), "a.test", port_a, &cert_a).with(&section(&knot, zone.path()));
    let relay_b = relay(b.path(), "b.test", port_b, &cert_b).with(&section(&knot, zone.path()));
    let relay_b = relay_b.with("[[domain]]\nname = \"wrong.test\"\ninboxes = [\"bob\"]\n");
    let (daemon_a, daemon_b) = (relay_a.start(), relay_b.start());
    let (mut client, _) = Client::hello(relay_a.mail).unwrap();
    for to in ["bob@b.test", "bob@wrong.test", "bob@bogus.test", "bob@none.test"] {
        let entity = entity("alice@a.test", to, &format!("to-{to}"), "hello");
        let rcpt = format!("<{to}> NOTIFY=SUCCESS,FAILURE");
        let reply = client.transaction("<alice@a.test>", &[&rcpt], &entity).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    // Proven by SRV and TLSA, both ways: b knows a by its certificate.
    wait::until("the message waits in bob's inbox", || queued(&relay_b).contains("bob@b.test").then_some(()));
    wait::until("its receipt waits in alice's", || queued(&relay_a).contains("\"sender\":\"\"").then_some(()));
    // A domain that does not exist fails at once; forged answers and a wrong key are tried again.
    wait::until("the message for the domain that does not exist fails", || {
        (!queued(&relay_a).contains("bob@none.test")).then_some(())
    });
    let reason =
        |destination: &str| wait::until(&format!("{destination} cannot be reached"), || relay_a.reason(destination));
    let (forged, unproven) = (reason("IM bogus.test"), reason("IM wrong.test"));
    assert!(forged.contains("bogus"), "{forged}");
    assert!(unproven.contains("TLSA"), "{unproven}");
    let waiting = queued(&relay_a);
    assert!(waiting.contains("bob@bogus.test") && waiting.contains("bob@wrong.test"), "{waiting}");
    assert!(!queued(&relay_b).contains("bob@wrong.test"));
    assert!(daemon_a.stop().success(), "{}", relay_a.log());
    assert!(daemon_b.stop().success(), "{}", relay_b.log());
}

fn queued(setup: &Setup) -> String {
    String::from_utf8_lossy(&setup.ctl(&["--json", "queue", "list"]).stdout).into_owned()
}

/// What is found for an address in a zone with one SMIMEA record, which stands at `owner`.
fn published(owner: &str, policy: &str) -> Result<(Vec<u8>, Security), Failure> {
    let directory = tempfile::tempdir().unwrap();
    let zone = format!("{owner} SMIMEA 2 0 0 3082aabb\n");
    let knot = Knot::start_with(directory.path(), &[("b.test", zone)], policy);
    let anchor = directory.path().join("anchor");
    fs::write(&anchor, knot.anchor()).unwrap();
    let options = Options {
        servers: vec![knot.address],
        validation: Validation::InProcess,
        trust_anchor: Some(anchor),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let resolver = dns::from_options(options).unwrap();
        let name = trust::owner(&Mailbox::parse("alice@b.test").unwrap());
        let answer = resolver.smimea(&name).await?;
        assert_eq!(answer.records.len(), 1);
        Ok((answer.records[0].data.clone(), answer.security))
    })
}

#[test]
fn certificates_in_a_signed_zone() {
    if !have("certificates_in_a_signed_zone", &["knotd", "kdig", "keymgr"]) {
        return;
    }
    let proven = Ok((vec![0x30, 0x82, 0xaa, 0xbb], Security::Secure));
    let own = trust::owner(&Mailbox::parse("alice@b.test").unwrap());
    assert_eq!(published(&format!("{own}."), ""), proven);
    assert_eq!(published("*._smimecert", "    nsec3: on\n"), proven);
    // With NSEC, validation in this process takes what comes of a wildcard for a forgery; a validating resolver does not.
    let nsec = published("*._smimecert", "");
    assert!(matches!(nsec, Err(Failure::Bogus(_))), "proven now? then the manual is to say so: {nsec:?}");
}
