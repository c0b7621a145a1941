//! The world around the daemon: files, certificates, ports, clock, DNS.
//!
//! In: what the configuration says, and what the system and the resolver answer. Out: findings, each with what to do.
//! Nothing is changed.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::Finding;
use super::publish::Offer;
use super::{certificate, signers};
use crate::address::Domain;
use crate::dns::{Answer, Failure, Resolve, Security, Srv, Tlsa};
use crate::timestamp::Timestamp;

/// Days before the end of a certificate from which a warning is given.
const EXPIRY_DAYS: u64 = 14;
/// Free space of the spool's file system below which a warning is given.
const FREE_OCTETS: u64 = 256 * 1024 * 1024;
/// How long a connection to one of our own ports may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The first second of 2026: an earlier clock is wrong.
const EPOCH: Timestamp = Timestamp::from_secs(1_767_225_600);

/// What is examined.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub file: PathBuf,
    /// The name of the server.
    pub host: Domain,
    /// The domains served.
    pub domains: Vec<Offer>,
    /// Addresses of relays.
    pub relays: Vec<SocketAddr>,
    /// Addresses of other listeners.
    pub others: Vec<SocketAddr>,
    /// Chain and key of each certificate.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// What domains sign with, and who is believed.
    pub signatures: signers::Options,
    /// The spool.
    pub spool: PathBuf,
    /// Whether the daemon runs.
    pub running: bool,
}

/// Files, certificates and clock.
pub fn local(options: &Options, now: Timestamp) -> Vec<Finding> {
    let mut found = vec![clock(now, &options.spool)];
    found.extend(spool(options));
    for (chain, key) in &options.certificates {
        found.extend(certificate(options, chain, key, now));
    }
    found.extend(signers::examine(&options.signatures, now));
    found
}

fn clock(now: Timestamp, spool: &Path) -> Finding {
    let newest = std::fs::metadata(spool).and_then(|data| data.modified()).map(Timestamp::from).unwrap_or(EPOCH);
    let remedy = "set the clock, and keep it with a time service such as systemd-timesyncd or chrony";
    if now < EPOCH {
        return Finding::error("clock", format!("it says {}", now.rfc3339_local()), remedy);
    }
    if newest > now.after(Duration::from_secs(60)) {
        let text = format!("the spool was written at {}, which is in the future", newest.rfc3339_local());
        return Finding::warning("clock", text, remedy);
    }
    Finding::ok("clock", now.rfc3339_local())
}

fn spool(options: &Options) -> Vec<Finding> {
    let path = &options.spool;
    let mut found = Vec::new();
    if path.is_relative() && options.file.starts_with("/etc") {
        let text = format!("{} is relative: it depends on where a program is started", path.display());
        found.push(Finding::warning("spool", text, "set `spool` to an absolute path, such as /var/lib/impart/spool"));
    }
    let data = match std::fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("{} is not there yet; the daemon makes it", path.display());
            found.push(Finding::ok("spool", text));
            return found;
        }
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            found.push(Finding::error("spool", text, "examine it as the user of impartd, or as root"));
            return found;
        }
    };
    if !data.is_dir() {
        let text = format!("{} is not a directory", path.display());
        found.push(Finding::error("spool", text, "move it away, or set `spool` to another path"));
        return found;
    }
    let mode = data.permissions().mode() & 0o777;
    if mode & 0o007 != 0 || mode & 0o020 != 0 {
        let text = format!("{} has mode {mode:04o}: others can read messages", path.display());
        found.push(Finding::warning("spool", text, format!("chmod 0700 {}", path.display())));
    }
    found.push(space(path));
    found
}

fn space(path: &Path) -> Finding {
    let remedy = "make room; below a reserve the daemon takes no more messages";
    match rustix::fs::statvfs(path) {
        Ok(system) => {
            let free = system.f_bavail.saturating_mul(system.f_frsize);
            let text = format!("{}, {} free", path.display(), super::show::size(free));
            if free < FREE_OCTETS { Finding::warning("spool", text, remedy) } else { Finding::ok("spool", text) }
        }
        Err(error) => Finding::warning("spool", format!("{}: {error}", path.display()), remedy),
    }
}

fn certificate(options: &Options, chain: &Path, key: &Path, now: Timestamp) -> Vec<Finding> {
    let subject = format!("certificate {}", chain.file_name().unwrap_or_default().to_string_lossy());
    let facts = match certificate::read(chain) {
        Ok(facts) => facts,
        Err(fault) => return vec![Finding::error(subject, fault, "set `chain` to a PEM file of the certificate")],
    };
    let mut found = Vec::new();
    if let Err(fault) = certificate::check_key(chain, key) {
        found.push(Finding::error(&subject, fault, "set `key` to the PEM file of its private key"));
    } else if let Some(finding) = key_permissions(&subject, key) {
        found.push(finding);
    }
    found.push(validity(&subject, &facts, now));
    let names = || options.domains.iter().map(|offer| &offer.domain).chain([&options.host]);
    if !names().any(|name| facts.covers(name)) {
        let text = format!("it names {}, and neither the host nor a domain", list(&facts.names));
        let remedy = format!("get one for {}, or publish TLSA records (`impartctl dns`)", options.host);
        found.push(Finding::warning(&subject, text, remedy));
    }
    found
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn validity(subject: &str, facts: &certificate::Facts, now: Timestamp) -> Finding {
    let until = facts.not_after.rfc3339_local();
    if now >= facts.not_after {
        return Finding::error(subject, format!("expired at {until}"), "renew it; the daemon reads it by itself");
    }
    if now < facts.not_before {
        let text = format!("not valid before {}", facts.not_before.rfc3339_local());
        return Finding::error(subject, text, "examine the clock, or wait");
    }
    let text = format!("names {}, valid until {until}", list(&facts.names));
    if facts.not_after.since(now) < Duration::from_secs(EXPIRY_DAYS * 86_400) {
        return Finding::warning(subject, text, "renew it; the daemon reads it by itself");
    }
    Finding::ok(subject, text)
}

fn key_permissions(subject: &str, key: &Path) -> Option<Finding> {
    let data = std::fs::metadata(key).ok()?;
    let mode = data.permissions().mode() & 0o777;
    if mode & 0o007 == 0 && mode & 0o020 == 0 {
        return None;
    }
    let text = format!("{} has mode {mode:04o}, owner {}: others can use the key", key.display(), data.uid());
    Some(Finding::warning(subject, text, format!("chmod 0640 {}", key.display())))
}

/// Ports: the daemon answers there if it runs, and they are free if it does not.
pub async fn ports(options: &Options) -> Vec<Finding> {
    let mut found = Vec::new();
    for address in options.relays.iter().chain(&options.others).filter(|address| address.port() != 0) {
        found.push(if options.running { answers(*address).await } else { free(*address) });
    }
    found
}

async fn answers(address: SocketAddr) -> Finding {
    let subject = format!("port {address}");
    let mut target = address;
    if address.ip().is_unspecified() {
        target.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let remedy = "the configuration is newer than the daemon: restart it";
    match tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(target)).await {
        Ok(Ok(_)) => Finding::ok(subject, "the daemon answers"),
        Ok(Err(error)) => Finding::error(subject, format!("the daemon does not answer: {error}"), remedy),
        Err(_) => Finding::error(subject, "the daemon does not answer in time", remedy),
    }
}

fn free(address: SocketAddr) -> Finding {
    let subject = format!("port {address}");
    match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::ok(subject, "free; impartd is not running"),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::error(
            subject,
            "another program has it",
            format!(
                "find it with `ss -ltnp sport = :{}`; if it is systemd, for impartd.socket, start impartd",
                address.port()
            ),
        ),
        Err(error) => Finding::error(subject, error.to_string(), "set `address` to one of this host"),
    }
}

/// What others find in DNS.
pub async fn dns(options: &Options, resolver: &dyn Resolve) -> Vec<Finding> {
    let mut ports: Vec<u16> = options.relays.iter().map(SocketAddr::port).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut found = Vec::new();
    if options.relays.is_empty() && !options.domains.is_empty() {
        let text = "no relay listener: the servers of other domains cannot reach this one";
        let remedy = "add a section [[listen]] with service = \"relay\", and a certificate";
        found.push(Finding::warning("listen", text, remedy));
    }
    for offer in &options.domains {
        if options.relays.is_empty() {
            break;
        }
        for (service, offered) in offer.services() {
            let name = format!("{service}._impp.{}", offer.domain);
            let answer = resolver.srv(&name).await;
            found.push(service_records(&name, offered && !ports.is_empty(), &answer, &options.host, &ports));
        }
    }
    if ports.is_empty() {
        return found;
    }
    found.push(addresses(&options.host, resolver.addresses(&options.host).await));
    let digests: Vec<[u8; 32]> = options
        .certificates
        .iter()
        .filter_map(|(chain, _)| certificate::read(chain).ok().map(|facts| facts.key_digest))
        .collect();
    for port in ports {
        let name = format!("_{port}._tcp.{}", options.host);
        found.push(keys(&name, &resolver.tlsa(&options.host, port).await, &digests));
    }
    found
}

const PUBLISH: &str = "publish what `impartctl dns` prints";

fn service_records(
    name: &str,
    offered: bool,
    answer: &Result<Answer<Srv>, Failure>,
    host: &Domain,
    ports: &[u16],
) -> Finding {
    let subject = format!("dns {name}");
    let records = match answer {
        Ok(answer) => &answer.records[..],
        Err(failure) if failure.is_absence() => &[],
        Err(failure) => return Finding::error(subject, failure.to_string(), "examine the resolver and the zone"),
    };
    let targets: Vec<_> = records.iter().filter_map(|srv| srv.target.as_ref().map(|host| (host, srv.port))).collect();
    let here = targets.iter().any(|(target, port)| *target == host && ports.contains(port));
    match (offered, here, targets.first()) {
        (true, true, _) => {
            let secure = matches!(answer, Ok(answer) if answer.security == Security::Secure);
            let proof = if secure { "proven by DNSSEC" } else { "not proven by DNSSEC" };
            Finding::ok(subject, format!("points here, {proof}"))
        }
        (true, false, None) => Finding::error(subject, "no record: other domains cannot find this one", PUBLISH),
        (true, false, Some((target, port))) => {
            let text = format!("points at {target}, port {port}, and not at {host}, port {}", ports[0]);
            Finding::error(subject, text, PUBLISH)
        }
        (false, _, None) => Finding::ok(subject, "not offered, as it should be"),
        (false, _, Some((target, port))) => {
            let text = format!("points at {target}, port {port}, but this server does not offer it");
            Finding::warning(subject, text, PUBLISH)
        }
    }
}

fn addresses(host: &Domain, answer: Result<Answer<std::net::IpAddr>, Failure>) -> Finding {
    let subject = format!("dns {host}");
    match answer {
        Ok(answer) => {
            let all: Vec<String> = answer.records.iter().map(ToString::to_string).collect();
            Finding::ok(subject, all.join(", "))
        }
        Err(failure) => {
            Finding::error(subject, failure.to_string(), format!("publish the addresses of this server at {host}"))
        }
    }
}

fn keys(name: &str, answer: &Result<Answer<Tlsa>, Failure>, digests: &[[u8; 32]]) -> Finding {
    let subject = format!("dns {name}");
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) if failure.is_absence() => {
            return Finding::ok(subject, "no TLSA record: certificate authorities decide");
        }
        Err(failure) => {
            let text = format!("{failure}; senders that ask for it pass this server by");
            return Finding::error(subject, text, "examine the zone");
        }
    };
    let ours = |tlsa: &Tlsa| digests.iter().any(|digest| tlsa.data == digest);
    let comparable = |tlsa: &&Tlsa| (tlsa.selector, tlsa.matching) == (1, 1);
    if answer.security == Security::Insecure {
        let text = "TLSA records without DNSSEC: nobody may believe them";
        return Finding::warning(subject, text, "sign the zone, or examine `validation` in the section dns");
    }
    match (answer.records.iter().any(ours), answer.records.iter().any(|tlsa| comparable(&tlsa))) {
        (true, _) => Finding::ok(subject, "names a key of this server, proven by DNSSEC"),
        (false, true) => {
            let text = "the TLSA records name other keys: senders refuse to deliver";
            Finding::error(subject, text, PUBLISH)
        }
        (false, false) => {
            let text = "TLSA records of a kind that is not compared here";
            Finding::warning(subject, text, "records 3 1 1 are recommended (RFC 7672)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::files;
    use super::super::protocol::Level;
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn options(folder: &Path) -> Options {
        Options {
            file: PathBuf::from("/etc/impart/impart.toml"),
            host: domain("mx.a.example"),
            domains: vec![Offer { domain: domain("a.example"), im: true, presence: false }],
            relays: vec!["127.0.0.1:0".parse().unwrap()],
            others: Vec::new(),
            certificates: Vec::new(),
            signatures: signers::Options { roots: Some(Vec::new()), ..signers::Options::default() },
            spool: folder.join("spool"),
            running: false,
        }
    }

    fn check(found: &[Finding], level: Level, words: &str) {
        let has = found.iter().any(|finding| finding.level == level && finding.text.contains(words));
        assert!(has, "no {level:?} with {words:?} in {found:#?}");
    }

    #[test]
    fn files_and_their_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        let now = Timestamp::from(std::time::SystemTime::now());
        check(&local(&options, now), Level::Ok, "is not there yet");
        std::fs::create_dir(&options.spool).unwrap();
        std::fs::set_permissions(&options.spool, std::fs::Permissions::from_mode(0o755)).unwrap();
        check(&local(&options, now), Level::Warning, "has mode 0755");
        check(&local(&options, now), Level::Ok, " free");
        check(&local(&options, Timestamp::from_secs(0)), Level::Error, "it says 1970");
        check(&local(&options, EPOCH), Level::Warning, "in the future");
        options.spool = folder.path().join("file");
        std::fs::write(&options.spool, "").unwrap();
        check(&local(&options, now), Level::Error, "not a directory");
        options.spool = PathBuf::from("spool-that-is-not-there");
        check(&local(&options, now), Level::Warning, "is relative");
    }

    #[test]
    fn certificates() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        let now = Timestamp::from(std::time::SystemTime::now());
        let (chain, key) = files(folder.path(), &["mx.a.example"]);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        options.certificates = vec![(chain.clone(), key.clone())];
        check(&local(&options, now), Level::Ok, "names mx.a.example, valid until");
        check(&local(&options, now), Level::Warning, "has mode 0644");
        let late = certificate::read(&chain).unwrap().not_after;
        check(&local(&options, late), Level::Error, "expired at");
        check(&local(&options, late.before(Duration::from_secs(86_400))), Level::Warning, "valid until");
        options.host = domain("mx.b.example");
        check(&local(&options, now), Level::Warning, "neither the host nor a domain");
        options.certificates = vec![(key.clone(), key)];
        check(&local(&options, now), Level::Error, "no PEM block");
    }

    #[tokio::test]
    async fn ports_are_free_or_answered() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        options.others = vec![taken.local_addr().unwrap()];
        check(&ports(&options).await, Level::Error, "another program has it");
        options.running = true;
        check(&ports(&options).await, Level::Ok, "the daemon answers");
        drop(taken);
        check(&ports(&options).await, Level::Error, "does not answer");
    }

    fn answer<R>(records: Vec<R>, security: Security) -> Result<Answer<R>, Failure> {
        Ok(Answer { records, security, ttl: Duration::from_secs(60) })
    }

    #[test]
    fn services_in_dns() {
        let none = || Err(Failure::NoData { name: "n".into(), kind: "SRV", security: Security::Insecure });
        let at = |target: Option<&str>, port| {
            let srv = Srv { priority: 0, weight: 1, port, target: target.map(domain) };
            answer(vec![srv], Security::Secure)
        };
        let check = |offered, answer: Result<Answer<Srv>, Failure>, level, words| {
            let found = service_records("_im._impp.a.example", offered, &answer, &domain("mx.a.example"), &[2779]);
            super::tests::check(&[found], level, words);
        };
        check(true, at(Some("mx.a.example"), 2779), Level::Ok, "points here, proven");
        check(true, at(Some("mx.a.example"), 25), Level::Error, "points at mx.a.example, port 25");
        check(true, at(None, 0), Level::Error, "cannot find");
        check(true, none(), Level::Error, "cannot find");
        check(true, Err(Failure::Timeout("n".into())), Level::Error, "no answer");
        check(false, none(), Level::Ok, "not offered");
        check(false, at(None, 0), Level::Ok, "not offered");
        check(false, at(Some("mx.a.example"), 2779), Level::Warning, "does not offer it");
    }

    #[test]
    fn keys_in_dns() {
        let tlsa = |data: u8| Tlsa { usage: 3, selector: 1, matching: 1, data: vec![data; 32] };
        let check = |answer, level, words| {
            super::tests::check(&[keys("_2779._tcp.mx.a.example", &answer, &[[7; 32]])], level, words);
        };
        check(answer(vec![tlsa(1), tlsa(7)], Security::Secure), Level::Ok, "names a key of this server");
        check(answer(vec![tlsa(1)], Security::Secure), Level::Error, "name other keys");
        check(answer(vec![tlsa(7)], Security::Insecure), Level::Warning, "without DNSSEC");
        let none = Failure::NxDomain { name: "n".into(), security: Security::Insecure };
        check(Err(none), Level::Ok, "no TLSA record");
        check(Err(Failure::Bogus("n".into())), Level::Error, "pass this server by");
    }
}
