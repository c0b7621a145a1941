//! The bridge outward without a mail system between: mail goes to the mail exchangers of each domain, which are played.
//!
//! Mail exchangers listen on port 25 and policy hosts on port 443, of addresses of loopback that no other test has.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use impart::dns::Tlsa;
use impart::dns::authority::{Conduct, Data};
use impart::tls::make::Leaf;
use rustls::{ServerConnection, StreamOwned};

use crate::clients::Home;
use crate::common::daemon::Setup;
use crate::common::sink::{Manner, Sink};
use crate::common::tools::leave_out;
use crate::common::wait;
use crate::world::{World, check, now, report, reports, submit};

/// An address of loopback that is this test's own.
fn own_address() -> Ipv4Addr {
    static TAKEN: AtomicU32 = AtomicU32::new(1);
    let [_, b, c, d] = (std::process::id() * 16 + TAKEN.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    Ipv4Addr::new(127, b | 0x80, c, d)
}

/// A listener at a port that only some may have.
fn listen(test: &str, address: Ipv4Addr, port: u16) -> Option<TcpListener> {
    match TcpListener::bind((address, port)) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            leave_out(&format!("{test} (port {port} needs root)"));
            None
        }
        Err(error) => panic!("{address}:{port}: {error}"),
    }
}

/// `a.test`, whose mail goes straight to mail exchangers.
fn straight(world: &World) -> Setup {
    through_exchangers(world.domain("a.test", "alice"))
}

fn through_exchangers(a: Setup) -> Setup {
    let mut a = a.with("[bridge]\nvia = \"mx\"\n");
    // The resolver is on this host: what it says of DNSSEC is believed.
    a.sections = a.sections.replace("validation = \"off\"\n", "");
    a.key("name = \"a.test\"", "bridge = \"im.a.test\"")
}

/// Publishes a mail exchanger of `domain`.
fn exchanger(world: &World, domain: &str, preference: u16, host: &str, address: Ipv4Addr) {
    world.publish(|zone| {
        let mx = Data::Mx { preference, host: format!("{host}.") };
        zone.add(&format!("{domain}."), 0, mx).expect("a record");
        zone.add(&format!("{host}."), 0, Data::A(address)).expect("a record");
    });
}

/// What the DNSSEC of the zone `test.` proves from now on.
fn signed(world: &World) {
    world.publish(|zone| _ = zone.set_zone_conduct(Conduct::Authentic));
}

/// DANE-EE(3) of the whole certificate of `domain`.
fn association(world: &World, domain: &str) -> Tlsa {
    Tlsa { usage: 3, selector: 0, matching: 0, data: world.certificate(domain).as_ref().to_vec() }
}

fn write_to_bob(a: &Setup, id: &str) {
    let reply = submit(a, ("alice@a.test", ""), ("bob@b.test", " NOTIFY=SUCCESS,FAILURE"), id);
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn wait_for(a: &Setup, what: &str) {
    wait::until(&format!("`{what}` in the log"), || a.log().contains(what).then_some(()));
}

#[test]
fn r4_2_1_straight_to_the_mail_exchangers() {
    let (world, dead, live) = (World::new(), own_address(), own_address());
    let Some(listener) = listen("r4_2_1_straight_to_the_mail_exchangers", live, 25) else { return };
    exchanger(&world, "b.test", 10, "one.b.test", dead);
    exchanger(&world, "b.test", 20, "two.b.test", live);
    // A certificate that names somebody else is no worse than none.
    world.certify("b.test", &Leaf::new(&["other.test"], now()));
    let sink = Sink::behind(listener, Manner::default(), Some(world.server("b.test")));
    let a = straight(&world);
    let _a = a.start();
    write_to_bob(&a, "one@a.test");
    let arrivals = sink.wait("the mail", |all| all.len() == 1);
    assert!(arrivals[0].mail.starts_with("<bounce+") && arrivals[0].mail.contains("@im.a.test>"), "{arrivals:?}");
    assert!(arrivals[0].rcpts[0].starts_with("<bob@b.test>"), "{arrivals:?}");
    check(&report(&a, "relayed"), "Status", "2.0.0");
    assert!(a.log().contains(&format!("relay=two.b.test[{live}]:25")), "the next one is tried");
}

#[test]
fn r4_2_1_without_an_mx_record_the_domain_itself() {
    let (world, address) = (World::new(), own_address());
    let Some(listener) = listen("r4_2_1_without_an_mx_record_the_domain_itself", address, 25) else { return };
    world.publish(|zone| _ = zone.add("b.test.", 0, Data::A(address)).expect("a record"));
    let sink = Sink::behind(listener, Manner::default(), None);
    let a = straight(&world);
    let _a = a.start();
    write_to_bob(&a, "one@a.test");
    sink.wait("the mail", |all| all.len() == 1);
}

#[test]
fn r5_4_1_a_domain_that_takes_no_mail() {
    let world = World::new();
    world.publish(|zone| {
        let null = Data::Mx { preference: 0, host: ".".to_owned() };
        zone.add("b.test.", 0, null).expect("a record");
    });
    let a = straight(&world);
    let _a = a.start();
    write_to_bob(&a, "one@a.test");
    let text = report(&a, "failed");
    check(&text, "Status", "5.1.10");
    assert!(text.contains("b.test says in DNS that it takes no mail (null MX)"), "{text}");
    // The name exists, and has neither an MX record nor an address.
    world.publish(|zone| _ = zone.add("www.c.test.", 0, Data::A(own_address())).expect("a record"));
    assert_eq!(submit(&a, ("alice@a.test", ""), ("carol@c.test", ""), "c@a.test").code, 250);
    wait_for(&a, "c.test takes no mail: it has neither an MX record nor an address");
    assert_eq!(submit(&a, ("alice@a.test", ""), ("dave@d.test", ""), "d@a.test").code, 250);
    wait_for(&a, "the domain d.test does not exist");
    wait::until("three reports", || (reports(&a).len() == 3).then_some(()));
}

#[test]
fn r5_1_6_an_exchanger_proves_itself_by_dane() {
    let (world, address) = (World::new(), own_address());
    let Some(listener) = listen("r5_1_6_an_exchanger_proves_itself_by_dane", address, 25) else { return };
    exchanger(&world, "b.test", 10, "mx.b.test", address);
    signed(&world);
    world.certify("c.test", &Leaf::new(&["mx.b.test"], now()));
    let other = association(&world, "c.test");
    world.certify("b.test", &Leaf::new(&["nobody.test"], now()));
    let own = association(&world, "b.test");
    let publish = |record: Tlsa| {
        world.publish(|zone| {
            zone.remove("_25._tcp.mx.b.test.").expect("a name");
            zone.add("_25._tcp.mx.b.test.", 0, Data::Tlsa(record)).expect("a record");
        });
    };
    publish(other);
    let sink = Sink::behind(listener, Manner::default(), Some(world.server("b.test")));
    let a = straight(&world);
    let _a = a.start();
    write_to_bob(&a, "one@a.test");
    wait_for(&a, "status=deferred");
    assert!(a.log().contains("TLSA"), "{}", a.log());
    assert!(sink.arrivals().is_empty(), "another's certificate");
    publish(own);
    sink.wait("the mail", |all| all.len() == 1);
    report(&a, "relayed");
}

#[test]
fn r5_1_6_an_exchanger_that_should_encrypt_and_does_not() {
    let (world, address) = (World::new(), own_address());
    let Some(listener) = listen("r5_1_6_an_exchanger_that_should_encrypt_and_does_not", address, 25) else { return };
    exchanger(&world, "b.test", 10, "mx.b.test", address);
    signed(&world);
    world.publish(|zone| {
        let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] };
        zone.add("_25._tcp.mx.b.test.", 0, Data::Tlsa(record)).expect("a record");
    });
    let sink = Sink::behind(listener, Manner::default(), None);
    let a = straight(&world);
    let _a = a.start();
    write_to_bob(&a, "one@a.test");
    wait_for(&a, "it does not offer STARTTLS");
    assert!(sink.arrivals().is_empty());
}

#[test]
fn r5_1_6_what_must_be_encrypted_all_the_way_goes_only_to_who_can() {
    const NAME: &str = "r5_1_6_what_must_be_encrypted_all_the_way_goes_only_to_who_can";
    let (open, closed) = (own_address(), own_address());
    let (Some(open_listener), Some(closed_listener)) = (listen(NAME, open, 25), listen(NAME, closed, 25)) else {
        return;
    };
    let home = Home::new(through_exchangers);
    let world = &home.world;
    signed(world);
    let manner = || Manner { keywords: vec!["8BITMIME", "DSN", "REQUIRETLS"], ..Manner::default() };
    // Both show REQUIRETLS; the one has a certificate that names nobody, the other has a TLSA record too.
    for (domain, address) in [("b.test", open), ("c.test", closed)] {
        exchanger(world, domain, 10, &format!("mx.{domain}"), address);
        world.certify(domain, &Leaf::new(&["nobody.test"], now()));
    }
    let record = association(world, "c.test");
    world.publish(|zone| _ = zone.add("_25._tcp.mx.c.test.", 0, Data::Tlsa(record)).expect("a record"));
    let without = Sink::behind(open_listener, manner(), Some(world.server("b.test")));
    let with = Sink::behind(closed_listener, manner(), Some(world.server("c.test")));
    let write = |to: &str| {
        let message = format!("From: alice@a.test\r\nTo: {to}\r\n\r\nsecret\r\n");
        let rcpt = format!("<{to}> NOTIFY=SUCCESS,FAILURE");
        let reply = home.alice().transaction("<alice@a.test> REQUIRETLS", &[&rcpt], message.as_bytes()).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    };
    write("bob@b.test");
    check(&report(&home.setup, "failed"), "Status", "5.7.30");
    assert!(without.arrivals().is_empty(), "{:?}", without.arrivals());
    write("carol@c.test");
    let arrivals = with.wait("the mail", |all| all.len() == 1);
    assert!(arrivals[0].mail.contains(" REQUIRETLS"), "{arrivals:?}");
}

#[test]
fn r5_1_6_what_the_first_exchanger_does_not_keep_another_may() {
    const NAME: &str = "r5_1_6_what_the_first_exchanger_does_not_keep_another_may";
    let (first, second) = (own_address(), own_address());
    let (Some(first_listener), Some(second_listener)) = (listen(NAME, first, 25), listen(NAME, second, 25)) else {
        return;
    };
    let home = Home::new(through_exchangers);
    let world = &home.world;
    signed(world);
    // Both prove themselves; the second alone shows REQUIRETLS.
    exchanger(world, "b.test", 10, "mx1.b.test", first);
    exchanger(world, "b.test", 20, "mx2.b.test", second);
    world.certify("b.test", &Leaf::new(&["nobody.test"], now()));
    let record = association(world, "b.test");
    world.publish(|zone| {
        for host in ["mx1", "mx2"] {
            zone.add(&format!("_25._tcp.{host}.b.test."), 0, Data::Tlsa(record.clone())).expect("a record");
        }
    });
    let plain = Manner { keywords: vec!["8BITMIME", "DSN"], ..Manner::default() };
    let without = Sink::behind(first_listener, plain, Some(world.server("b.test")));
    let keeps = Manner { keywords: vec!["8BITMIME", "DSN", "REQUIRETLS"], ..Manner::default() };
    let with = Sink::behind(second_listener, keeps, Some(world.server("b.test")));
    let write = |mail: &str| {
        let reply = home.alice().transaction(mail, &["<bob@b.test>"], b"From: alice@a.test\r\n\r\nhello\r\n").unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    };
    write("<alice@a.test> REQUIRETLS");
    let arrivals = with.wait("the mail", |all| all.len() == 1);
    assert!(arrivals[0].mail.contains(" REQUIRETLS") && without.arrivals().is_empty(), "{arrivals:?}");
    // What asks for nothing goes to the first, whose preference is better.
    write("<alice@a.test>");
    without.wait("the mail", |all| all.len() == 1);
    assert_eq!(with.arrivals().len(), 1);
}

/// What of an attachment was compressed, read.
fn unpacked(entity: &str) -> serde_json::Value {
    let (_, rest) = entity.split_once("Content-Type: application/tlsrpt+gzip").expect("the report");
    let rest = rest.replace("\r\n", "\n");
    let (_, body) = rest.split_once("\n\n").expect("its body");
    let lines: String = body.lines().take_while(|line| !line.starts_with("--")).map(str::trim).collect();
    let octets = STANDARD.decode(lines).expect("base64");
    let mut text = String::new();
    flate2::read::GzDecoder::new(octets.as_slice()).read_to_string(&mut text).expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn r5_1_6_domains_learn_what_became_of_tls() {
    const NAME: &str = "r5_1_6_domains_learn_what_became_of_tls";
    let (world, address, reported) = (World::new(), own_address(), own_address());
    let (Some(listener), Some(reports)) = (listen(NAME, address, 25), listen(NAME, reported, 25)) else { return };
    exchanger(&world, "b.test", 10, "mx.b.test", address);
    exchanger(&world, "c.test", 10, "mx.c.test", reported);
    world.certify("b.test", &Leaf::new(&["nobody.test"], now()));
    signed(&world);
    let (own, mut other) = (association(&world, "b.test"), association(&world, "b.test"));
    *other.data.last_mut().expect("an octet") ^= 1;
    let publish = |record: &Tlsa| {
        world.publish(|zone| {
            zone.remove("_25._tcp.mx.b.test.").expect("a name");
            zone.add("_25._tcp.mx.b.test.", 0, Data::Tlsa(record.clone())).expect("a record");
        });
    };
    publish(&other);
    let sink = Sink::behind(listener, Manner::default(), Some(world.server("b.test")));
    let about = Sink::behind(reports, Manner::default(), None);
    let mut a = straight(&world);
    a.sections = a.sections.replace("via = \"mx\"\n", "via = \"mx\"\ntls_reports = \"postmaster@a.test\"\n");
    let daemon = a.start();
    write_to_bob(&a, "one@a.test");
    wait_for(&a, "status=deferred");
    publish(&own);
    sink.wait("the mail", |all| all.len() == 1);
    daemon.stop();
    // The days go by.
    let file = a.spool().join("tls-reports.json");
    let text = std::fs::read_to_string(&file).expect("the counts");
    let today = now().secs() / 86_400;
    assert!(text.contains(&format!("\"{today}\"")), "{text}");
    std::fs::write(&file, text.replace(&format!("\"{today}\""), &format!("\"{}\"", today - 2))).expect("the counts");
    world.publish(|zone| {
        let record = Data::Txt("v=TLSRPTv1; rua=mailto:tls@c.test".to_owned());
        zone.add("_smtp._tls.b.test.", 0, record).expect("a record");
    });
    let daemon = a.start();
    let report = about.wait("the report", |all| all.len() == 1).remove(0);
    assert!(report.mail.starts_with("<>") && report.rcpts[0].contains("tls@c.test"), "{report:?}");
    let field = |name: &str| report.field(name).unwrap_or_default();
    let (domain, from) = (field("TLS-Report-Domain"), field("From"));
    assert_eq!((domain.trim(), from.trim()), ("b.test", "<postmaster@a.test>"), "{report:?}");
    let said = unpacked(&report.entity);
    let counts = |policy: &serde_json::Value| {
        let count = |name: &str| policy["summary"][name].as_u64().expect("a count");
        (count("total-successful-session-count"), count("total-failure-session-count"))
    };
    let policies = said["policies"].as_array().expect("policies");
    let all: Vec<_> = policies.iter().map(counts).collect();
    assert!(policies.iter().all(|one| one["policy"]["policy-type"] == "tlsa"), "{said:#}");
    assert_eq!(all.iter().map(|one| one.0).sum::<u64>(), 1, "{said:#}");
    assert!(all.iter().any(|one| one.1 >= 1), "{said:#}");
    let troubles: Vec<_> =
        policies.iter().filter_map(|one| one["failure-details"][0]["result-type"].as_str()).collect();
    assert_eq!(troubles, ["tlsa-invalid"]);
    // It was made once; nothing of it is left.
    daemon.stop();
    let left = std::fs::read_to_string(&file).expect("the counts");
    assert!(!left.contains("b.test"), "{left}");
}

/// Serves one policy over HTTPS until the process ends.
fn policy_host(world: &World, listener: TcpListener, policy: &'static str) {
    world.certify("policies.test", &Leaf::new(&["mta-sts.b.test"], now()));
    let tls = Arc::new(world.server("policies.test"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(connection) = ServerConnection::new(tls.clone()) else { continue };
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = Vec::new();
            let mut octet = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut octet).is_ok_and(|length| length > 0) {
                request.push(octet[0]);
            }
            let right = request.starts_with(b"GET /.well-known/mta-sts.txt HTTP/1.0\r\nHost: mta-sts.b.test\r\n");
            let status = if right { "200 OK" } else { "404 Not Found" };
            let length = policy.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
            // As many servers end: without a word of TLS.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(policy.as_bytes()));
            let _ = stream.flush();
        }
    });
}

#[test]
fn r5_1_6_a_policy_is_enforced_and_outlives_the_process() {
    const NAME: &str = "r5_1_6_a_policy_is_enforced_and_outlives_the_process";
    let (world, good, bad, host) = (World::new(), own_address(), own_address(), own_address());
    let listeners = (listen(NAME, good, 25), listen(NAME, bad, 25), listen(NAME, host, 443));
    let (Some(good_listener), Some(bad_listener), Some(host_listener)) = listeners else { return };
    // The first is no exchanger by the policy, which an attacker who can write in DNS would like it to be.
    exchanger(&world, "b.test", 10, "mx.mallory.test", bad);
    exchanger(&world, "b.test", 20, "mx.b.test", good);
    world.publish(|zone| {
        zone.add("_mta-sts.b.test.", 0, Data::Txt("v=STSv1; id=1;".to_owned())).expect("a record");
        zone.add("mta-sts.b.test.", 0, Data::A(host)).expect("a record");
    });
    policy_host(&world, host_listener, "version: STSv1\r\nmode: enforce\r\nmx: mx.b.test\r\nmax_age: 86400\r\n");
    world.certify("b.test", &Leaf::new(&["mx.b.test"], now()));
    let sink = Sink::behind(good_listener, Manner::default(), Some(world.server("b.test")));
    world.certify("m.test", &Leaf::new(&["mx.mallory.test"], now()));
    let other = Sink::behind(bad_listener, Manner::default(), Some(world.server("m.test")));
    let a = straight(&world);
    let daemon = a.start();
    write_to_bob(&a, "one@a.test");
    sink.wait("the mail", |all| all.len() == 1);
    report(&a, "relayed");
    assert!(a.log().contains("the MTA-STS policy was fetched"), "{}", a.log());
    assert!(daemon.stop().success());
    // DNS no longer says that there is a policy, and names only the other exchanger.
    world.publish(|zone| {
        for name in ["_mta-sts.b.test.", "mta-sts.b.test.", "b.test."] {
            zone.remove(name).expect("a name");
        }
    });
    exchanger(&world, "b.test", 10, "mx.mallory.test", bad);
    let _a = a.start();
    write_to_bob(&a, "two@a.test");
    wait_for(&a, "the MTA-STS policy of the domain does not name it");
    std::thread::sleep(Duration::from_millis(500));
    assert!(other.arrivals().is_empty(), "{:?}", other.arrivals());
}
