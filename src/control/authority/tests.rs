use super::*;
use crate::control::cli::{Arguments, Command};
use clap::Parser as _;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

struct World {
    directory: tempfile::TempDir,
    served: Vec<Domain>,
}

impl World {
    fn new() -> World {
        let served = ["a.example", "b.example"].map(|name| Domain::parse(name).unwrap()).to_vec();
        World { directory: tempfile::tempdir().unwrap(), served }
    }

    fn at(&self, now: Timestamp, line: &str) -> Result<String, String> {
        let arguments = Arguments::try_parse_from(["impartctl", "cert"].into_iter().chain(line.split(' '))).unwrap();
        let Command::Cert(wanted) = arguments.command else { panic!("not cert") };
        let place = Place { directory: self.directory.path(), served: &self.served, now, json: arguments.json };
        run(&wanted, place, |_, _| Ok(Secret::new("correct horse"))).map_err(|error| error.to_string())
    }

    fn ok(&self, line: &str) -> String {
        self.at(NOW, line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn list(&self) -> RevocationList {
        let path = self.directory.path().join("a.example/ca.crl");
        RevocationList::read(&fs::read(path).unwrap()).unwrap()
    }
}

/// A request in a file, for a new key.
fn request(world: &World) -> String {
    let path = world.directory.path().join("request");
    let key = Key::generate(KeyKind::P256).unwrap();
    let request = Request::make(&key, &Mailbox::parse("alice@a.example").unwrap()).unwrap();
    fs::write(&path, request).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_life_of_a_certificate() {
    let world = World::new();
    world.ok("init a.example");
    let chain = world.ok(&format!("issue alice@a.example --request {}", request(&world)));
    let issued = Certificate::from_pem(&chain).unwrap();
    assert_eq!(issued.len(), 2);
    assert_eq!(issued[0].not_after(), NOW.after(Duration::from_secs(365 * 86_400)));
    let renewed = Certificate::from_pem(&world.ok("renew alice@a.example --days 30")).unwrap();
    assert_eq!(renewed[0].spki(), issued[0].spki());
    assert_ne!(renewed[0].serial(), issued[0].serial());
    let serial = hexadecimal(issued[0].serial());
    world.ok(&format!("revoke {serial}"));
    assert_eq!(world.list().revoked, [Revoked { serial: issued[0].serial().to_vec(), at: NOW }]);
    assert!(world.at(NOW, &format!("renew {serial}")).is_err(), "it was revoked");
    world.ok("revoke alice@a.example");
    assert_eq!(world.list().revoked.len(), 2);
    assert_eq!(world.list().number, 5);
    assert_eq!(world.list().next_update, Some(NOW.after(Duration::from_secs(30 * 86_400))));
    assert!(world.at(NOW, "revoke alice@a.example").is_err());
    assert!(world.at(NOW, "revoke a.example").unwrap_err().contains("name an address"));
}

#[test]
fn rows() {
    let world = World::new();
    assert_eq!(world.ok("list"), "");
    world.ok("init a.example");
    world.ok("init b.example --name Bees");
    let request = request(&world);
    world.ok(&format!("issue alice@a.example --days 1 --request {request}"));
    world.ok(&format!("issue presence@b.example --request {request}"));
    let later = NOW.after(Duration::from_secs(2 * 86_400));
    let rows = world.at(later, "list").unwrap();
    let states: Vec<(&str, &str)> = rows
        .lines()
        .map(|row| (row.split_whitespace().nth(1).unwrap(), row.split_whitespace().last().unwrap()))
        .collect();
    assert_eq!(states, [("expired", "alice@a.example"), ("valid", "presence@b.example")]);
    assert_eq!(world.ok("list b.example").lines().count(), 1);
    let object: serde_json::Value = serde_json::from_str(world.ok("list a.example --json").trim()).unwrap();
    assert_eq!((object["state"].as_str(), object["address"].as_str()), (Some("valid"), Some("alice@a.example")));
    assert_eq!(object["until"], "2026-11-19T11:06:40.000Z");
}

#[test]
fn nothing_of_the_key_is_readable_by_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.ok("init a.example");
    let out = world.directory.path().join("out");
    fs::create_dir(&out).unwrap();
    world.ok(&format!("issue alice@a.example --out {}", out.display()));
    for path in [world.directory.path().join("a.example/ca.key"), out.join("alice@a.example.key")] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    let own = fs::read(out.join("alice@a.example.key")).unwrap();
    let again = world.at(NOW, &format!("issue alice@a.example --out {}", out.display())).unwrap_err();
    assert!(again.contains("alice@a.example.key") && again.contains("--out"), "{again}");
    assert_eq!(fs::read(out.join("alice@a.example.key")).unwrap(), own, "never overwritten");
    assert_eq!(world.ok("list a.example").lines().count(), 1, "nothing was issued");
    let key = fs::read_to_string(world.directory.path().join("a.example/ca.key")).unwrap();
    assert!(key.contains("ENCRYPTED"), "{key}");
}

#[test]
fn names_of_files() {
    let name = |text: &str| file_name(&Mailbox::parse(text).unwrap());
    assert_eq!(name("alice@a.example"), "alice@a.example");
    assert_eq!(name("\"../../x y\"@a.example"), "_.._.._x_y_@a.example");
    assert_eq!(name("a/b@a.example"), "a_b@a.example");
    assert_eq!(name("алиса@a.example"), "алиса@a.example");
}

#[test]
fn what_can_be_named() {
    use std::str::FromStr as _;
    assert!(matches!(Certified::from_str("alice@a.example"), Ok(Certified::Address(_))));
    assert!(matches!(Certified::from_str("a.example"), Ok(Certified::Domain(_))));
    assert_eq!(Certified::from_str(&"0a".repeat(16)), Ok(Certified::Serial(vec![10; 16])));
    assert_eq!(Certified::from_str(&["0a"; 16].join(":")), Ok(Certified::Serial(vec![10; 16])));
    assert!(Certified::from_str("no such thing").is_err());
}

#[test]
fn a_damaged_file_is_told() {
    let world = World::new();
    world.ok("init a.example");
    let path = world.directory.path().join("a.example/ca.crl");
    fs::write(&path, "no list").unwrap();
    let fault = world.at(NOW, "renew a.example").unwrap_err();
    assert!(fault.contains("ca.crl"), "{fault}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "no list", "nobody on it is forgotten");
}

#[test]
fn what_check_tells() {
    let world = World::new();
    let at = |days: u64| {
        let now = NOW.after(Duration::from_secs(days * 86_400));
        let place = Place { directory: world.directory.path(), served: &world.served, now, json: false };
        findings(place).into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    assert!(at(0).is_empty());
    world.ok("init a.example");
    world.ok(&format!("issue alice@a.example --days 30 --request {}", request(&world)));
    assert_eq!(at(0), ["1 certificates hold"]);
    assert!(at(20)[0].starts_with("its revocation list is due on"), "{:?}", at(20));
    assert!(at(31)[0].starts_with("its revocation list is out of date"));
    let later = NOW.after(Duration::from_secs(20 * 86_400));
    world.at(later, "renew a.example").unwrap();
    assert!(at(20)[0].starts_with("the certificate of alice@a.example ends on"), "{:?}", at(20));
    world.at(later, "renew alice@a.example").unwrap();
    assert_eq!(at(20), ["2 certificates hold"]);
    assert!(at(3650)[0].starts_with("it ends on"));
}
