use super::super::{PassPhrase, Place, run};
use super::*;
use crate::control::cli::{Arguments, Command};
use crate::smime::authority::RevocationList;
use crate::smime::signing::Signing;
use crate::smime::{Key, KeyKind};
use clap::Parser as _;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

struct World {
    directory: tempfile::TempDir,
    online: Online,
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn own() -> Vec<Mailbox> {
    vec![mailbox("alice@a.example"), mailbox("al@a.example")]
}

fn later(days: u64) -> Timestamp {
    NOW.after(Duration::from_secs(days * 86_400))
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("phrase");
        std::fs::write(&file, "correct horse\nnot this").unwrap();
        let options = Options {
            domain: Domain::parse("a.example").unwrap(),
            directory: directory.path().join("ca"),
            pass_phrase: PassPhrases { file: Some(file), credential: "impart-ca".to_owned() },
            days: 90,
        };
        let world =
            World { online: Online::new(vec![options], Brought::at(directory.path().join("certificates"))), directory };
        world.ctl(NOW, "init a.example");
        world
    }

    /// `impartctl cert`, which is another process.
    fn ctl(&self, now: Timestamp, line: &str) -> String {
        let arguments = Arguments::try_parse_from(["impartctl", "cert"].into_iter().chain(line.split(' '))).unwrap();
        let Command::Cert(wanted) = arguments.command else { panic!("not cert") };
        let served = [Domain::parse("a.example").unwrap()];
        let directory = self.directory.path().join("ca");
        let place = Place { directory: &directory, served: &served, now, json: false };
        run(&wanted, place, |_, _: PassPhrase| Ok(Secret::new("correct horse"))).unwrap()
    }

    fn list(&self) -> RevocationList {
        RevocationList::read(&std::fs::read(self.directory.path().join("ca/a.example/ca.crl")).unwrap()).unwrap()
    }

    fn issue(&self, now: Timestamp, request: &[u8]) -> Result<Certificate, String> {
        let issued = self.online.issue(&own(), request, now);
        issued.map(|der| Certificate::from_der(&der).unwrap()).map_err(|refusal| refusal.to_string())
    }
}

/// A request as `impart` and other programs make it, for these addresses.
fn request(pair: &rcgen::KeyPair, names: &[rcgen::SanType]) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.subject_alt_names = names.to_vec();
    params.serialize_request(pair).unwrap().der().to_vec()
}

fn named(name: &str) -> rcgen::SanType {
    rcgen::SanType::Rfc822Name(name.try_into().unwrap())
}

fn asked(pair: &rcgen::KeyPair, names: &[&str]) -> Vec<u8> {
    request(pair, &names.iter().map(|name| named(name)).collect::<Vec<_>>())
}

#[test]
fn a_certificate_is_issued_once_for_a_key() {
    let world = World::new();
    let pair = rcgen::KeyPair::generate().unwrap();
    let first = world.issue(NOW, &asked(&pair, &["alice@a.example"])).unwrap();
    assert_eq!(first.not_after(), later(90));
    // Whoever has lost the answer gets the same again; near the end another one.
    assert_eq!(world.issue(later(1), &asked(&pair, &["Alice@a.example"])).unwrap(), first);
    let second = world.issue(later(70), &asked(&pair, &[])).unwrap();
    assert!(second != first && second.spki() == first.spki());
    // impartctl sees both, and the daemon what impartctl does.
    assert_eq!(world.ctl(NOW, "list").lines().count(), 2);
    assert_eq!(world.online.find(&own()[0], later(71)).unwrap().unwrap(), second.der());
    world.ctl(later(71), "revoke alice@a.example");
    assert_eq!(world.online.find(&own()[0], later(71)).unwrap(), None);
    let refused = world.issue(later(71), &asked(&pair, &["alice@a.example"])).unwrap_err();
    assert!(refused.starts_with("550 5.7.1") && refused.contains("was revoked"), "{refused}");
}

#[test]
fn requests_that_are_refused() {
    let world = World::new();
    let pair = rcgen::KeyPair::generate().unwrap();
    let good = asked(&pair, &["alice@a.example"]);
    let check = |what: &str, request: &[u8], code: &str| {
        let refused = world.issue(NOW, request).map(|_| ()).unwrap_err();
        assert!(refused.starts_with(code), "{what}: {refused}");
    };
    let mut altered = good.clone();
    let at = altered.len() - 8;
    altered[at] ^= 1;
    check("a wrong signature", &altered, "554 5.6.0");
    let mut renamed = good.clone();
    let place = renamed.windows(5).position(|five| five == b"alice").unwrap();
    renamed[place..place + 5].copy_from_slice(b"malic");
    check("altered within", &renamed, "554 5.6.0");
    check("somebody else", &asked(&pair, &["bob@a.example"]), "550 5.7.1");
    check("the domain itself", &asked(&pair, &["presence@a.example"]), "550 5.7.1");
    check("another domain", &asked(&pair, &["alice@b.example"]), "550 5.7.1");
    check("two", &asked(&pair, &["alice@a.example", "al@a.example"]), "554 5.6.0");
    check("a host", &request(&pair, &[rcgen::SanType::DnsName("a.example".try_into().unwrap())]), "554 5.6.0");
    check("nothing", b"", "554 5.6.0");
    check("garbage", &[0x30; 4000], "554 5.6.0");
    check("huge", &vec![0x30; limits::CERTIFICATE_OCTETS + 1], "554 5.6.0");
    for cut in (0..good.len()).step_by(7) {
        check("cut short", &good[..cut], "554 5.6.0");
    }
    assert_eq!(world.ctl(NOW, "list"), "", "nothing was issued");
    // The same key for the two addresses, each by a request of its own.
    assert_eq!(
        world.issue(NOW, &good).unwrap().spki(),
        world.issue(NOW, &asked(&pair, &["al@a.example"])).unwrap().spki()
    );
}

#[test]
fn so_many_a_day_and_at_one_time() {
    let world = World::new();
    let request = || asked(&rcgen::KeyPair::generate().unwrap(), &["alice@a.example"]);
    for _ in 0..limits::ISSUED_IN_A_DAY {
        world.issue(NOW, &request()).unwrap();
    }
    let refused = world.issue(NOW, &request()).unwrap_err();
    assert!(refused.starts_with("452 4.5.3"), "{refused}");
    assert!(
        world.online.issue(&[mailbox("bob@a.example")], &asked(&rcgen::KeyPair::generate().unwrap(), &[]), NOW).is_ok()
    );
    let days = (limits::CERTIFICATES_HELD / limits::ISSUED_IN_A_DAY) as u64;
    for day in 1..days {
        (0..limits::ISSUED_IN_A_DAY).for_each(|_| drop(world.issue(later(day), &request()).unwrap()));
    }
    let refused = world.issue(later(days), &request()).unwrap_err();
    assert!(refused.contains("too many certificates"), "{refused}");
    assert_eq!(world.online.revoke(&own(), None, later(days)).unwrap(), limits::CERTIFICATES_HELD);
    world.issue(later(days), &request()).unwrap();
}

#[test]
fn revocations_are_on_the_list_for_good() {
    let world = World::new();
    let pairs = [(); 3].map(|()| rcgen::KeyPair::generate().unwrap());
    let issued = pairs.each_ref().map(|pair| world.issue(NOW, &asked(pair, &[])).unwrap());
    let theirs = [mailbox("bob@a.example")];
    let bobs = world.online.issue(&theirs, &asked(&pairs[0], &["bob@a.example"]), NOW).unwrap();
    assert!(world.online.revoke(&own(), Some(&bobs), NOW).is_err(), "somebody else's");
    assert_eq!(world.online.revoke(&own(), Some(issued[1].der()), NOW).unwrap(), 1);
    assert_eq!(world.online.revoke(&own(), Some(issued[1].der()), NOW).unwrap(), 0, "the answer was lost");
    assert!(world.online.revoke(&theirs, Some(issued[1].der()), NOW).is_err(), "somebody else's, and revoked");
    // An administrator has added another one meanwhile.
    world.ctl(NOW, &format!("revoke {}", super::super::hexadecimal(issued[0].serial())));
    assert_eq!(world.online.revoke(&own(), None, NOW).unwrap(), 1);
    assert_eq!(world.online.revoke(&own(), None, NOW).unwrap(), 0);
    let list: Vec<Vec<u8>> = world.list().revoked.into_iter().map(|one| one.serial).collect();
    assert_eq!(list, [1, 0, 2].map(|place| issued[place].serial().to_vec()));
    assert!(world.online.find(&theirs[0], NOW).unwrap().is_some());
}

#[test]
fn the_list_is_kept_in_date_and_faults_are_told() {
    let world = World::new();
    let first = world.list();
    assert!(world.online.keep(later(14)).is_empty());
    assert_eq!(world.list(), first, "not before half of its time is over");
    assert!(world.online.keep(later(16)).is_empty());
    assert_eq!((world.list().number, world.list().next_update), (first.number + 1, Some(later(46))));
    std::fs::write(world.directory.path().join("phrase"), "wrong\n").unwrap();
    // The key is open; another daemon does not get there.
    assert!(world.online.keep(later(17)).is_empty());
    let again = Online::new(vec![world.online.all[0].options.clone()], world.online.brought.clone());
    let faults = again.keep(later(17));
    assert!(faults.len() == 1 && faults[0].contains("ca.key"), "{faults:?}");
    assert!(again.keep(later(17)).is_empty(), "told already");
    assert!(
        again
            .issue(&own(), &asked(&rcgen::KeyPair::generate().unwrap(), &[]), NOW)
            .unwrap_err()
            .to_string()
            .starts_with("451")
    );
    assert_eq!(finding(&world.online.all[0].options).level, crate::control::protocol::Level::Error);
}

#[test]
fn a_pass_phrase_that_is_wrong_is_not_tried_again() {
    let world = World::new();
    let path = world.directory.path().join("phrase");
    // The same stamp each time: whether it is read again shows.
    let write = |text: &str, seconds: u64| {
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    let request = asked(&rcgen::KeyPair::generate().unwrap(), &[]);
    write("correct mouse\n", 1);
    assert!(world.issue(NOW, &request).unwrap_err().starts_with("451"));
    write("correct horse\n", 1);
    assert!(world.issue(NOW, &request).unwrap_err().starts_with("451"));
    assert!(world.online.keep(NOW)[0].contains("ca.key"), "what it was is still known");
    write("correct horse\n", 2);
    world.issue(NOW, &request).unwrap();
}

/// A key in a token that was started anew.
#[derive(Debug)]
struct Lost(Vec<u8>);

impl Signing for Lost {
    fn spki(&self) -> &[u8] {
        &self.0
    }

    fn sign(&self, _: &[u8]) -> Result<crate::smime::Signature, Fault> {
        Err(Fault::Token("its session is over".to_owned()))
    }

    fn encrypted_pem(&self, _: &str) -> Result<zeroize::Zeroizing<String>, Fault> {
        Err(Fault::Key("it stays in its token"))
    }
}

#[test]
fn a_session_with_a_token_that_is_over_is_begun_anew() {
    let world = World::new();
    let request = asked(&rcgen::KeyPair::generate().unwrap(), &[]);
    world.issue(NOW, &request).unwrap();
    {
        let mut state = world.online.all[0].state.lock().unwrap();
        let (authority, stamps) = state.opened.take().unwrap();
        let own = authority.certificate().clone();
        let lost: Arc<dyn Signing> = Arc::new(Lost(own.spki().to_vec()));
        state.opened = Some((Authority::open(own, lost).unwrap(), stamps));
    }
    let other = asked(&rcgen::KeyPair::generate().unwrap(), &[]);
    assert!(world.issue(NOW, &other).unwrap_err().starts_with("451"));
    world.issue(NOW, &other).unwrap();
}

#[test]
fn what_is_issued_is_read_once_it_can_be() {
    let world = World::new();
    let issued = world.issue(NOW, &asked(&rcgen::KeyPair::generate().unwrap(), &[])).unwrap();
    let folder = world.directory.path().join("ca/a.example/issued");
    let path = folder.join(format!("{}.pem", super::super::hexadecimal(issued.serial())));
    let text = std::fs::read(&path).unwrap();
    let another = Online::new(vec![world.online.all[0].options.clone()], world.online.brought.clone());
    let find = |online: &Online| online.find(&own()[0], NOW).map(|found| found.is_some()).map_err(|_| ());
    // A directory cannot be read as a file, whoever reads.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!([find(&another), find(&another)], [Err(()), Err(())]);
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "no certificate").unwrap();
    assert_eq!([find(&another), find(&another)], [Ok(false), Ok(false)]);
    std::fs::write(&path, text).unwrap();
    assert_eq!(find(&another), Ok(true));
}

#[test]
fn a_key_that_hangs_keeps_nobody_from_looking() {
    let world = World::new();
    world.issue(NOW, &asked(&rcgen::KeyPair::generate().unwrap(), &[])).unwrap();
    let online = Arc::new(Online::new(vec![world.online.all[0].options.clone()], world.online.brought.clone()));
    let _at_work = online.all[0].state.lock().unwrap();
    let (done, told) = std::sync::mpsc::channel();
    let theirs = online.clone();
    std::thread::spawn(move || {
        let found = theirs.find(&own()[0], NOW).unwrap().is_some();
        done.send((found, theirs.keep(later(20)))).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok((true, Vec::new())));
}

#[test]
fn other_domains_have_no_authority() {
    let world = World::new();
    let pair = rcgen::KeyPair::generate().unwrap();
    let elsewhere = [mailbox("bob@b.example")];
    let refused = world.online.issue(&elsewhere, &asked(&pair, &[]), NOW).unwrap_err().to_string();
    assert!(refused.starts_with("550 5.3.3"), "{refused}");
    assert!(world.online.revoke(&elsewhere, None, NOW).unwrap_err().to_string().starts_with("550 5.3.3"));
    assert_eq!(world.online.find(&elsewhere[0], NOW).unwrap(), None);
}

#[test]
fn small_and_large_rsa_keys() {
    let world = World::new();
    let request = |bits: &str| std::fs::read(format!("tests/golden/requests/rsa-{bits}.der")).unwrap();
    for (bits, words) in [("1024", "554 5.6.0"), ("8192", "more than 4096 bits")] {
        let refused = world.issue(NOW, &request(bits)).unwrap_err();
        assert!(refused.contains(words), "{bits}: {refused}");
    }
    let key = Key::generate(KeyKind::Rsa).unwrap();
    let good = Request::make(&key, &own()[0]).unwrap();
    assert!(world.issue(NOW, &good).unwrap().may_encrypt());
}

/// A certificate of another authority, for so many days from now.
fn of_another(address: &str, days: u64) -> Certificate {
    use crate::tls::make::{Authority, AuthorityOptions, Leaf};
    let other = Authority::root(&AuthorityOptions::new("Another", NOW)).unwrap();
    let leaf = Leaf { server: false, client: false, ..Leaf::new(&[], NOW) }.with_addresses(&[address]);
    let leaf = if days == 0 { leaf.expired(NOW) } else { leaf };
    Certificate::from_pem(&other.issue(&leaf).unwrap().chain_pem).unwrap().remove(0)
}

#[test]
fn what_people_bring_is_told_until_they_withdraw_it() {
    let world = World::new();
    let (alice, al) = (mailbox("alice@a.example"), mailbox("al@a.example"));
    let found = |who: &Mailbox| world.online.find(who, NOW).unwrap();
    let brought = of_another("al@a.example", 9);
    let code = |result: Result<(), Refusal>| result.unwrap_err().to_string();
    let bring = |der: &[u8]| world.online.bring(&own(), der, NOW);
    for (der, expected) in [
        (of_another("bob@a.example", 9).der(), "550 5.7.1"),
        (of_another("al@a.example", 0).der(), "554 5.6.0"),
        (b"garbage".as_slice(), "554 5.6.0"),
    ] {
        let refused = code(bring(der));
        assert!(refused.starts_with(expected), "{refused}");
    }
    assert!(
        code(world.online.bring(&own(), brought.der(), NOW.before(Duration::from_secs(30 * 86_400))))
            .starts_with("554")
    );
    assert_eq!(
        world.online.revoke(&own(), Some(brought.der()), NOW).map_err(|refusal| refusal.to_string()[..9].to_owned()),
        Err("550 5.7.1".to_owned())
    );
    bring(brought.der()).unwrap();
    assert_eq!(
        (found(&al).as_deref(), found(&alice)),
        (Some(brought.der()), None),
        "told for the address that it names"
    );
    assert_eq!(world.online.find(&al, brought.not_after().after(Duration::from_secs(1))).unwrap(), None);
    // What is damaged keeps nobody from the rest.
    let file = world.directory.path().join("certificates/al@a.example.pem");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, "damaged").unwrap();
    assert_eq!(found(&al), None);
    std::fs::write(&file, text).unwrap();
    // One of another domain's person, which has no authority here.
    let carol = [mailbox("carol@c.example")];
    let hers = of_another("carol@c.example", 9);
    assert!(world.online.revoke(&carol, None, NOW).is_err(), "there is nothing to revoke, and nobody to do it");
    world.online.bring(&carol, hers.der(), NOW).unwrap();
    assert_eq!(found(&carol[0]).as_deref(), Some(hers.der()));
    assert_eq!(world.online.revoke(&carol, Some(hers.der()), NOW).unwrap(), 1);
    assert_eq!(found(&carol[0]), None);
    assert_eq!(world.online.revoke(&own(), None, NOW).unwrap(), 1);
    assert_eq!(found(&al), None);
}
