//! 2.5 and 5.4: certificates from a domain's own authority, by one command over the session; renewed by itself, revoked with
//! the account, told to whoever wants to encrypt.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use impart::address::Mailbox;
use impart::smime::authority::Request;
use impart::smime::{Certificate, Key, KeyKind};

use crate::clients::Home;
use crate::common::client::{Client, Reply};
use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::device::Device;
use crate::common::openssl::{Authority, Somebody, openssl};
use crate::common::person::Person;
use crate::common::sink::Manner;
use crate::common::tools::{have, said};
use crate::common::wait;
use crate::signed::{check, date, protected};
use crate::world::{World, now};

const ALICE: &str = "alice@a.test";
const BOB: &str = "bob@b.test";
const OPENSSL: &[&str] = &["openssl"];

/// alice@a.test and bob@b.test, each of whose domains has an authority, which everybody believes.
struct Two {
    world: World,
    a: Setup,
    b: Setup,
    alice: Person,
    bob: Person,
    _daemons: Vec<Daemon>,
}

/// The section of a domain's authority, whose pass phrase is in a file.
fn issues(setup: Setup, domain: &str) -> Setup {
    let phrase = setup.directory.join("phrase");
    fs::write(&phrase, "a long phrase\n").expect("the pass phrase");
    setup.with(&format!("[[authority]]\ndomain = {domain:?}\npassphrase_file = {phrase:?}\n"))
}

fn authority(setup: &Setup, domain: &str) -> PathBuf {
    setup.spool().join("ca").join(domain)
}

fn done(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.ctl(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Two {
    fn new() -> Two {
        let world = World::new();
        let home = |domain: &str, name: &str| {
            let client = free_address();
            let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
            let setup = issues(world.domain(domain, name).with(&listener), domain);
            setup.write();
            setup.account(&format!("{name}@{domain}"), "secret");
            done(&setup, &["cert", "init", domain]);
            (setup, client)
        };
        let ((a, at_a), (b, at_b)) = (home("a.test", "alice"), home("b.test", "bob"));
        let places = [authority(&a, "a.test"), authority(&b, "b.test")];
        let [roots, lists] = ["ca.pem", "ca.crl"].map(|name| places.each_ref().map(|place| place.join(name)));
        let smime = format!("[smime]\nroots = {roots:?}\nrevocations = {lists:?}\n");
        let (a, b) = (a.with(&smime), b.with(&smime));
        let daemons = vec![a.start(), b.start()];
        let pem: String = roots.iter().map(|root| fs::read_to_string(root).expect("an authority")).collect();
        let person = |address: &str, setup: &Setup, client| {
            let authorities = world.home("a.test").with_file_name("ca.pem");
            let person = Person::new(address, &setup.directory.join("person"), client, &authorities).log_in("secret");
            let (file, believed) = (person.home.join("config/impart/config.toml"), person.home.join("believed.pem"));
            fs::write(&believed, &pem).expect("the authorities");
            let config = fs::read_to_string(&file).expect("the configuration");
            fs::write(&file, format!("{config}smime-ca = {believed:?}\n")).expect("the configuration");
            person
        };
        let (alice, bob) = (person(ALICE, &a, at_a), person(BOB, &b, at_b));
        Two { world, a, b, alice, bob, _daemons: daemons }
    }

    fn received(&self, person: &Person) -> serde_json::Value {
        person.listen_by("exec \"$0\" listen --json --once").wait_for(&[("event", "message")])
    }

    /// Alice's key and certificate, in one file that OpenSSL takes.
    fn stolen(&self) -> Somebody {
        let file = self.alice.home.join("stolen.pem");
        self.alice.done(&["key", "export", "--secret", "--output", path(&file)]);
        Somebody { key: file.clone(), certificate: file }
    }

    /// a.test's server, spoken for by the test, hands an entity to b.test for bob.
    fn hand_over(&self, octets: &[u8]) -> Reply {
        let (mut peer, _) = self.world.peer("a.test", &self.b);
        peer.transaction("<alice@a.test>", &["<bob@b.test>"], octets).expect("an answer")
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn keys(person: &Person) -> PathBuf {
    person.home.join(format!("data/impart/{}/keys", person.address))
}

fn files(person: &Person, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(keys(person)).expect("the keys").flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|found| found == suffix)).collect()
}

#[test]
fn r5_4_3_one_command_gives_a_certificate_that_others_believe() {
    let two = Two::new();
    let told = two.alice.done(&["key", "new"]);
    assert!(told.contains("It has its certificate, good until "), "{told}");
    assert!(two.alice.done(&["key", "list"]).contains("alice@a.test: in use until "));
    two.alice.done(&["send", BOB, "-m", "it is me", "--sign"]);
    let kept = two.b.wait_for(BOB, 1).remove(0);
    assert!(kept.contains("smime=pass body.smime-identifier=alice@a.test"), "{kept}");
    let message = two.received(&two.bob);
    assert_eq!((message["signature"].as_str(), message["signer"].as_str()), (Some("valid(user)"), Some(ALICE)));
    // The administrator sees what the daemon has issued, and may go on by hand.
    let listed = done(&two.a, &["cert", "list"]);
    assert!(listed.lines().count() == 1 && listed.contains("valid") && listed.contains(ALICE), "{listed}");
    done(&two.a, &["cert", "renew", "a.test"]);
    two.alice.done(&["key", "new", "--algorithm", "rsa"]);
    assert_eq!(done(&two.a, &["cert", "list"]).lines().count(), 2);
}

#[test]
fn r5_4_3_who_is_removed_signs_no_more() {
    if !have("r5_4_3_who_is_removed_signs_no_more", OPENSSL) {
        return;
    }
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    let stolen = two.stolen();
    let sent = |id: &str| {
        let now = date(0);
        let fields = [("From", ALICE), ("To", BOB), ("Date", now.as_str()), ("Message-ID", id), ("Subject", "s")];
        check(&two.hand_over(&protected(&stolen, &fields, "hello")), 250, "2.0.0");
        let of = |text: &String| text.contains(&format!("Message-ID: {id}"));
        wait::until("the message", || two.b.waiting(BOB).into_iter().find(of))
    };
    assert!(sent("<1@a.test>").contains("smime=pass"));
    done(&two.a, &["account", "remove", ALICE]);
    assert!(done(&two.a, &["cert", "list"]).contains("revoked"));
    assert!(two.a.log().contains("certificates of alice@a.test were revoked"), "by the daemon");
    done(&two.b, &["reload"]);
    let after = sent("<2@a.test>");
    assert!(!after.contains("smime=pass") && after.contains("revoked"), "{after}");
}

#[test]
fn r5_4_3_an_account_is_removed_while_no_daemon_runs() {
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    let Two { a, _daemons: daemons, .. } = two;
    for daemon in daemons {
        daemon.stop();
    }
    // Without the pass phrase neither is done.
    let phrase = a.directory.join("phrase");
    fs::rename(&phrase, a.directory.join("elsewhere")).expect("it is moved");
    let output = a.ctl(&["account", "remove", ALICE]);
    assert!(!output.status.success() && said(&output).contains("--keep-certificates"), "{}", said(&output));
    assert!(done(&a, &["account", "list"]).contains(ALICE));
    done(&a, &["account", "remove", ALICE, "--passphrase-file", path(&a.directory.join("elsewhere"))]);
    assert!(done(&a, &["cert", "list"]).contains("revoked"));
    assert!(!done(&a, &["account", "list"]).contains(ALICE));
}

#[test]
fn r5_2_1_a_certificate_is_fetched_to_encrypt_to() {
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    // Bob has none, and that is told before anything leaves.
    let output = two.alice.run(&["send", BOB, "-m", "a secret", "--sign", "--encrypt"]);
    assert!(!output.status.success() && said(&output).contains("no certificate is known"), "{}", said(&output));
    two.bob.done(&["key", "new"]);
    two.alice.done(&["send", BOB, "-m", "a secret", "--sign", "--encrypt"]);
    let message = two.received(&two.bob);
    assert_eq!((message["text"].as_str(), message["encrypted"].as_bool()), (Some("a secret"), Some(true)));
    // Whoever may not write does not get it either.
    fs::remove_dir_all(two.alice.home.join("data/impart/alice@a.test/certificates")).expect("what she knows");
    two.bob.done(&["block", ALICE]);
    let output = two.alice.run(&["send", BOB, "-m", "another", "--sign", "--encrypt"]);
    assert!(!output.status.success() && said(&output).contains("no certificate is known"), "{}", said(&output));
    // The first of a domain that nobody vouches for is taken only where the person wants that.
    two.bob.done(&["allow", ALICE]);
    let file = two.alice.home.join("config/impart/config.toml");
    let config = fs::read_to_string(&file).expect("the configuration");
    let own = authority(&two.a, "a.test").join("ca.pem");
    fs::write(two.alice.home.join("believed.pem"), fs::read(own).expect("the authority")).expect("its own alone");
    assert!(!two.alice.run(&["send", BOB, "-m", "another", "--encrypt"]).status.success());
    fs::write(&file, config.replace("trust-first = false", "trust-first = true")).expect("the configuration");
    two.alice.done(&["send", BOB, "-m", "another", "--encrypt"]);
}

/// Puts a certificate that is nearly over in the place of the one that a key has.
fn age(person: &Person) -> Certificate {
    let (key, file) = (files(person, "key").remove(0), files(person, "pem").remove(0));
    let issued = Certificate::from_pem(&fs::read_to_string(&file).expect("the certificate")).expect("a certificate");
    let pair = rcgen::KeyPair::from_pem(&fs::read_to_string(key).expect("the key")).expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
    let day = Duration::from_secs(86_400);
    let now = std::time::SystemTime::now();
    (params.not_before, params.not_after) = ((now - 70 * day).into(), (now + 30 * day).into());
    let old = params.self_signed(&pair).expect("a certificate").pem();
    fs::write(&file, old).expect("the certificate");
    fs::write(file.with_extension("asked"), "0\n").expect("the mark");
    issued.into_iter().next().expect("one")
}

#[test]
fn r2_5_1_a_certificate_is_renewed_by_itself() {
    if !have("r2_5_1_a_certificate_is_renewed_by_itself", OPENSSL) {
        return;
    }
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    let before = age(&two.alice);
    // What cannot be renewed is told, and stops nothing.
    let ca = authority(&two.a, "a.test").join("ca.key");
    let key = fs::read(&ca).expect("the key");
    fs::write(&ca, "damaged").expect("the key");
    let output = two.alice.run(&["send", BOB, "-m", "one"]);
    assert!(output.status.success() && said(&output).contains("is not renewed"), "{}", said(&output));
    fs::write(&ca, key).expect("the key");
    // It was tried a moment ago: not with each message.
    assert!(!said(&two.alice.run(&["send", BOB, "-m", "two"])).contains("renewed"));
    let asked = files(&two.alice, "asked");
    asked.iter().for_each(|file| fs::write(file, "0\n").expect("the mark"));
    let listening = two.alice.listen();
    let latest = || Certificate::from_pem(&fs::read_to_string(files(&two.alice, "pem").remove(0)).ok()?).ok()?.pop();
    wait::until("another certificate", || latest().filter(|latest| latest.not_after() >= before.not_after()));
    assert_eq!(files(&two.alice, "key").len(), 1, "of the same key, which other devices may have");
    drop(listening);
    two.alice.done(&["send", BOB, "-m", "three", "--sign"]);
    let kept = wait::until("the message", || two.b.waiting(BOB).into_iter().find(|text| text.contains("three")));
    assert!(kept.contains("smime=pass body.smime-identifier=alice@a.test"), "{kept}");
    // What was encrypted to the key before is still read.
    let certificate = two.alice.home.join("before.pem");
    fs::write(&certificate, before.to_pem()).expect("the certificate");
    fs::write(files(&two.alice, "pem").iter().find(|file| is_of(file, &before)).expect("the key's"), before.to_pem())
        .expect("the certificate");
    let sealed = Somebody::encrypt(b"Content-Type: text/plain\r\n\r\nto the old key\r\n", &certificate);
    let header = format!("From: {BOB}\r\nTo: {ALICE}\r\nDate: {}\r\nMessage-ID: <7@b.test>\r\n", date(0));
    let (mut peer, _) = two.world.peer("b.test", &two.a);
    let message = [header.as_bytes(), &sealed].concat();
    let reply = peer.transaction("<bob@b.test>", &["<alice@a.test>"], &message).expect("an answer");
    check(&reply, 250, "2.0.0");
    assert_eq!(two.received(&two.alice)["text"], "to the old key");
}

#[test]
fn r2_5_1_another_device_takes_the_renewed_certificate() {
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    let file = two.alice.home.join("both.pem");
    two.alice.done(&["key", "export", "--secret", "--output", path(&file)]);
    let second = two.alice.beside("laptop").log_in("secret");
    second.done(&["key", "import", path(&file)]);
    // There it is old; the domain has a newer one of the same key.
    let newer = age(&second);
    let held = files(&second, "pem").remove(0);
    fs::remove_file(held.with_extension("asked")).expect("this device has asked for none");
    second.done(&["send", BOB, "-m", "one", "--sign"]);
    let read = Certificate::from_pem(&fs::read_to_string(&held).expect("the certificate")).expect("a certificate");
    assert_eq!(read[0], newer);
    assert_eq!(files(&second, "key").len(), 1);
}

#[test]
fn r5_2_1_a_certificate_of_another_authority_is_told_to_who_may_write() {
    if !have("r5_2_1_a_certificate_of_another_authority_is_told_to_who_may_write", OPENSSL) {
        return;
    }
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    assert!(!two.bob.run(&["key", "publish"]).status.success(), "there is none");
    let other = Authority::new(&two.bob.home.join("other"));
    let his = other.somebody(BOB);
    let packed = two.bob.home.join("bob.p12");
    let files = ["-inkey", path(&his.key), "-in", path(&his.certificate), "-out", path(&packed)];
    openssl(&[&["pkcs12", "-export", "-legacy", "-passout", "pass:open"], &files[..]].concat(), b"");
    let told = two.bob.done(&["key", "import", path(&packed), "--password-command", "echo open"]);
    assert!(told.contains("impart key publish"), "{told}");
    // Nobody has asked the domain to tell it yet.
    let believed = two.alice.home.join("believed.pem");
    let known = fs::read_to_string(&believed).expect("the authorities");
    fs::write(&believed, known + &fs::read_to_string(other.certificate()).expect("the other"))
        .expect("the authorities");
    assert!(!two.alice.run(&["send", BOB, "-m", "a secret", "--encrypt"]).status.success());
    two.bob.done(&["key", "publish"]);
    two.alice.done(&["send", BOB, "-m", "a secret", "--encrypt"]);
    assert_eq!(two.received(&two.bob)["text"], "a secret");
    // Withdrawn, it is told to nobody; what is known of it is forgotten here.
    fs::remove_dir_all(two.alice.home.join("data/impart/alice@a.test/certificates")).expect("what she knows");
    two.bob.done(&["key", "revoke", "--all"]);
    assert!(!two.alice.run(&["send", BOB, "-m", "a secret", "--encrypt"]).status.success());
    // It goes with the account too.
    two.bob.done(&["key", "publish"]);
    let kept = two.b.spool().join("certificates/bob@b.test.pem");
    assert!(kept.exists());
    done(&two.b, &["account", "remove", BOB, "--passphrase-file", path(&two.b.directory.join("phrase"))]);
    assert!(!kept.exists());
}

fn is_of(file: &Path, certificate: &Certificate) -> bool {
    let read = Certificate::from_pem(&fs::read_to_string(file).expect("a certificate")).expect("a certificate");
    read[0].spki() == certificate.spki()
}

#[test]
fn r5_4_3_a_person_revokes() {
    let two = Two::new();
    two.alice.done(&["key", "new"]);
    let list = two.alice.rows(&["key", "list", "--json"]);
    let name = list[0]["key"].as_str().expect("its name").to_owned();
    assert!(!two.alice.run(&["key", "revoke"]).status.success(), "which?");
    assert!(!two.alice.run(&["key", "revoke", "no-such-key"]).status.success());
    two.alice.done(&["key", "revoke", &name[..6]]);
    assert!(done(&two.a, &["cert", "list"]).contains("revoked"));
    assert_eq!(two.alice.rows(&["key", "list", "--json"])[0]["state"], "revoked");
    assert!(!two.alice.run(&["send", BOB, "-m", "x", "--sign"]).status.success(), "nothing is signed by it");
    two.alice.done(&["key", "new"]);
    two.alice.done(&["send", BOB, "-m", "x", "--sign"]);
    two.alice.done(&["key", "revoke", "--all"]);
    let listed = done(&two.a, &["cert", "list"]);
    assert!(listed.lines().all(|line| line.contains("revoked")), "{listed}");
}

/// A publication with a body of octets.
fn publish(client: &mut Client, to: &str, directive: &str, media: &str, body: &[u8]) -> Reply {
    let lines: Vec<u8> = STANDARD.encode(body).into_bytes();
    let lines: String = lines.chunks(76).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect();
    let entity = format!(
        "From: <{ALICE}>\r\nTo: <{to}>\r\nDate: {}\r\nMessage-ID: <{}@a.test>\r\nPresence: {directive}\r\n\
         MIME-Version: 1.0\r\nContent-Type: {media}\r\nContent-Transfer-Encoding: base64\r\n\r\n{lines}",
        date(0),
        now().millis(),
    );
    client.transaction(&format!("<{ALICE}> IMPP=PRES"), &[&format!("<{to}> NOTIFY=NEVER")], entity.as_bytes()).unwrap()
}

const REQUEST: &str = "application/pkcs10";

#[test]
fn r5_4_3_requests_that_prove_nothing_are_refused() {
    let home = Home::new(|setup| issues(setup, "a.test"));
    let key = Key::generate(KeyKind::P256).expect("a key");
    let request =
        |address: &str| Request::make(&key, &Mailbox::parse(address).expect("an address")).expect("a request");
    let (good, mut client) = (request(ALICE), home.alice());
    let ask = "publish; event=certificate";
    // The authority is not there yet.
    check(&publish(&mut client, ALICE, ask, REQUEST, &good), 451, "4.3.0");
    done(&home.setup, &["cert", "init", "a.test"]);
    let mut altered = good.clone();
    *altered.last_mut().expect("an octet") ^= 1;
    let small = fs::read("tests/golden/requests/rsa-1024.der").expect("a request");
    for (body, code, start) in [
        (&altered, 554, "5.6.0"),
        (&b"garbage".to_vec(), 554, "5.6.0"),
        (&small, 554, "5.6.0"),
        (&vec![0x30; 200_000], 552, "5.3.4"),
    ] {
        check(&publish(&mut client, ALICE, ask, REQUEST, body), code, start);
    }
    check(&publish(&mut client, ALICE, ask, "text/plain", &good), 554, "5.6.1");
    check(&publish(&mut client, "bob@a.test", ask, REQUEST, &good), 550, "5.7.1");
    let other = "publish; event=certificate; expires=0";
    check(&publish(&mut client, ALICE, other, "application/pkix-cert", &good), 550, "5.7.1");
    check(&publish(&mut client, ALICE, ask, "application/pkix-cert", &good), 554, "5.6.0");
    let watch = format!("subscribe; id={:032x}; expires=60; event=certificate", 1);
    check(&publish(&mut client, ALICE, &watch, "text/plain", b""), 554, "5.6.0");
    assert_eq!(done(&home.setup, &["cert", "list"]), "");
    // Another domain asks for nothing here, in whosever name.
    let _server = home.world.sink("c.test", Manner::default());
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let entity =
        format!("From: <carol@c.test>\r\nTo: <{ALICE}>\r\nPresence: {ask}\r\nContent-Type: {REQUEST}\r\n\r\nx\r\n");
    let rcpt = format!("<{ALICE}> NOTIFY=NEVER");
    let reply = peer.transaction("<carol@c.test> IMPP=PRES", &[&rcpt], entity.as_bytes()).expect("an answer");
    check(&reply, 550, "5.7.1");
    // At last a good one: the certificate is told to who is attached.
    check(&publish(&mut client, ALICE, ask, REQUEST, &good), 250, "2.");
    let mut device =
        Device::showing(home.alice(), "ATRN", &["PIPELINING", "CHUNKING", "8BITMIME", "IMPP PRES NOOP=60"]);
    let shown = device.next_with("250 ok").expect("the certificate");
    assert!(shown.entity.contains("state=active") && shown.entity.contains("event=certificate"), "{}", shown.entity);
    assert_eq!(told(&shown.entity).spki(), key.spki());
}

/// The certificate in a notification.
fn told(entity: &str) -> Certificate {
    let (header, body) = entity.split_once("\r\n\r\n").expect("a body");
    assert!(header.contains("Content-Type: application/pkix-cert"), "{header}");
    let octets = STANDARD.decode(body.replace("\r\n", "")).expect("base64");
    Certificate::from_der(&octets).expect("a certificate")
}

#[test]
fn r5_4_8_other_domains_fetch_certificates() {
    let home = Home::new(|setup| issues(setup, "a.test"));
    done(&home.setup, &["cert", "init", "a.test"]);
    let mut manner = Manner::default();
    manner.keywords.push("IMPP IM PRES");
    let server = home.world.sink("c.test", manner);
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let mut fetch = |number: u32| {
        let entity = format!(
            "From: <carol@c.test>\r\nTo: <{ALICE}>\r\nPresence: fetch; id={number:032x}; event=certificate\r\n\r\n"
        );
        let rcpt = format!("<{ALICE}> NOTIFY=NEVER");
        let reply = peer.transaction("<carol@c.test> IMPP=PRES", &[&rcpt], entity.as_bytes()).expect("an answer");
        check(&reply, 250, "2.");
        let answers = |all: &[crate::common::sink::Arrival]| {
            let of = |one: &&crate::common::sink::Arrival| one.entity.contains(&format!("id={number:032x}"));
            all.iter().find(of).map(|one| one.entity.clone())
        };
        wait::until("the answer", || answers(&server.arrivals()))
    };
    let none = fetch(1);
    assert!(none.contains("state=terminated; reason=noresource; expires=0; event=certificate"), "{none}");
    let key = Key::generate(KeyKind::P256).expect("a key");
    let request = Request::make(&key, &Mailbox::parse(ALICE).expect("an address")).expect("a request");
    check(&publish(&mut home.alice(), ALICE, "publish; event=certificate", REQUEST, &request), 250, "2.");
    let some = fetch(2);
    assert!(some.contains("state=active; expires=0; event=certificate"), "{some}");
    assert_eq!(told(&some.replace("\r\n", "\n").replace('\n', "\r\n")).spki(), key.spki());
    done(&home.setup, &["rules", "block", ALICE, "carol@c.test"]);
    let blocked = fetch(3);
    assert!(blocked.contains("state=terminated; reason=rejected; expires=0; event=certificate"), "{blocked}");
}
