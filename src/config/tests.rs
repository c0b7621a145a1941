use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Compares a file with what it should be, or rewrites it under `UPDATE=1`.
fn check_file(path: &Path, expected: &str) {
    if update() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == expected, "{} is not what the code says; UPDATE=1 rewrites it\n{expected}", path.display());
}

fn good(text: &str) -> Config {
    parse(text, Path::new("test.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

const LEAST: &str = "host = \"mx.a.example\"\n[[domain]]\nname = \"A.example\"\n\
                     [[listen]]\nservice = \"mail\"\naddress = \"127.0.0.1:0\"\n";

#[test]
fn bad_configurations_say_what_is_wrong() {
    let folder = root().join("tests/golden/config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 25, "{} files", files.len());
    for file in files {
        let name = file.file_name().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let shown = match parse(&text, Path::new(name)) {
            Ok(_) => panic!("{} is accepted", file.display()),
            Err(errors) => format!("{errors}\n"),
        };
        check_file(&file.with_extension("expected"), &shown);
    }
}

#[test]
fn sample_is_written_from_the_keys_and_valid() {
    let path = root().join("conf/impart.toml");
    check_file(&path, &document::sample());
    let config = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.spool, PathBuf::from("./spool"));
    assert_eq!(config.listeners.len(), 1);
}

#[test]
fn every_example_and_default_of_the_sample_is_valid() {
    // All comment marks before keys and sections are taken away.
    let is_setting = |line: &str| {
        line.starts_with("# [") && line.ends_with(']') || line.strip_prefix("# ").is_some_and(|l| is_assignment(l))
    };
    let lines = document::sample();
    let mut text: Vec<&str> = lines.lines().map(|l| if is_setting(l) { &l[2..] } else { l }).collect();
    // What only means something elsewhere.
    let elsewhere = ["mode", "trust_anchor", "dovecot_auth", "introspection", "client", "secret_file", "clear_auth"];
    text.retain(|line| line.split_once(" =").is_none_or(|(name, _)| !elsewhere.contains(&name)));
    text.retain(|line| *line != "tls = \"starttls\"");
    let config = good(&text.join("\n"));
    assert_eq!((config.routes.len(), config.certificates.len(), config.listeners.len()), (1, 1, 4));
}

fn is_assignment(line: &str) -> bool {
    let Some((name, _)) = line.split_once(" = ") else { return false };
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn key_list_of_the_manual_is_written_from_the_keys() {
    let path = root().join("man/impart.toml.5");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (".\\\" The list below is written from the code.\n", ".\\\" The list ends here.\n");
    let (before, rest) = page.split_once(begin).expect("the mark before the list");
    let (_, after) = rest.split_once(end).expect("the mark after the list");
    check_file(&path, &format!("{before}{begin}{}{end}{after}", document::manual()));
}

#[test]
fn the_least_configuration() {
    let config = good(LEAST);
    assert_eq!(config.control, PathBuf::from("./spool/control.sock"));
    assert_eq!(config.domains[0].inboxes, ["postmaster"]);
    assert_eq!(config.queue.retention, Duration::from_secs(86_400));
    assert_eq!(config.postmaster().unwrap().to_string(), "postmaster@a.example");
    assert!(config.domains[0].im);
    assert_eq!(config.queue.retry.len(), 6);
    assert_eq!(config.limits.message_size, crate::limits::ENTITY_OCTETS);
    assert_eq!(config.limits.recipients, crate::limits::RECIPIENTS);
    assert_eq!(config.limits.in_flight, crate::limits::TRANSACTIONS_IN_FLIGHT);
    assert_eq!(config.limits.attached, crate::limits::ATTACHED);
}

#[test]
fn routes() {
    let config = good(&format!(
        "{LEAST}[queue]\nsocks5 = \"127.0.0.1:9050\"\n\
         [[route]]\ndomains = [\"b.example\", \"*\"]\nvia = [\"mx.b.example:25\", \"[::1]:26\"]\nupstream = true\n\
         [[route]]\nupstream = [\"192.0.2.0/24\"]\n\
         [[route]]\ndomains = [\"b.example\"]\nclass = \"PRES\"\nvia = \"127.0.0.1:1\"\nsocks5 = \"127.0.0.2\"\n",
    ));
    let [first, second, third] = &config.routes[..] else { panic!("three routes") };
    assert_eq!((first.name.as_str(), first.via.len(), first.tls), ("b.example", 2, TlsPolicy::Required));
    assert_eq!(first.socks5, Some("127.0.0.1:9050".parse().unwrap()));
    assert!(matches!(&first.upstream[..], [Upstream::Name(_), Upstream::Network(_)]));
    assert!(second.domains.is_empty() && second.via.is_empty());
    assert_eq!(third.class, Some(Class::Pres));
    assert_eq!(third.socks5, Some("127.0.0.2:1080".parse().unwrap()));
}

#[test]
fn unreadable_files() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml: ") && missing.ends_with("name the configuration file with --config"));
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"# a\n\xff\xfe").unwrap();
    assert!(load(&binary).unwrap_err().to_string().contains("line 2 is not UTF-8"));
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in "[\\[\\]a-z=\"#.,{}0-9 \n\\\\é']{0,80}") {
        let _ = parse(&text, Path::new("x"));
        let _ = parse(&format!("{LEAST}{text}"), Path::new("x")).map_err(|errors| errors.to_string());
    }
}
