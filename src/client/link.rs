//! Connections to the server: found, encrypted, proven, logged in.
//!
//! In: an account, with what it is proven, and whether the roles are to be turned round. Out: a session that is ready, or
//! one that was turned round. Invariant: nothing of the person's is said before the server has proven itself.
//! RFC 2782, RFC 7673 §4, RFC 8305, RFC 9525 §6.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::error::ClientError;
use crate::address::Domain;
use crate::deliver::wire::Wire;
use crate::dns::{Resolve, Security, Srv};
use crate::net::{self, Host, Stream};
use crate::random;
use crate::route;
use crate::sasl::Credentials;
use crate::smtp::client::{self, Event, Fault, Login, Protection, Session, StartTls, Timeouts};
use crate::smtp::turn::Atrn;
use crate::tls::{self, Connector, Expect, Proof, Roots, TlsError};

/// Servers of a domain that are tried.
const SERVERS: usize = 8;

/// How long the server may take: a person is waiting.
fn timeouts() -> Timeouts {
    Timeouts {
        greeting: Duration::from_secs(30),
        command: Duration::from_secs(60),
        data: Duration::from_secs(60),
        block: Duration::from_secs(60),
        end: Duration::from_secs(300),
        quit: Duration::from_secs(2),
        transaction: Duration::from_secs(1800),
        ..Timeouts::default()
    }
}

/// One server.
pub(super) struct Target {
    host: Host,
    port: u16,
    expect: Expect,
}

/// Connects; the session is ready, or was turned round where `attach` asks for it.
pub async fn open(account: &Account, credentials: &Credentials, attach: Option<Atrn>) -> Result<Wire, ClientError> {
    let roots = match &account.authorities {
        Some(file) => Roots::from_files(&[file]),
        None => Roots::system(),
    };
    let roots = Arc::new(roots.map_err(|error| ClientError::Config(error.to_string()))?);
    let certificates = account.certificates().map_err(|error| ClientError::Config(error.to_string()))?;
    let connector = Connector::new(roots, certificates, tls::connect::Options::default());
    let unreachable = |reason: String| ClientError::Unreachable { account: account.address.clone(), reason };
    let targets = match &account.server {
        Some(server) => vec![configured(account, &server.host, server.port)],
        None => {
            let resolver = account.resolver().map_err(|error| unreachable(error.to_string()))?;
            looked_up(account.address.domain(), &*resolver, random::up_to).await.map_err(unreachable)?
        }
    };
    reach(account, credentials, attach, &connector, &targets).await
}

/// The first of these that serves us.
pub(super) async fn reach(
    account: &Account,
    credentials: &Credentials,
    attach: Option<Atrn>,
    connector: &Connector,
    targets: &[Target],
) -> Result<Wire, ClientError> {
    let unreachable = |reason: String| ClientError::Unreachable { account: account.address.clone(), reason };
    let resolver = || account.resolver().map_err(|error| unreachable(error.to_string()));
    let (mut faults, mut ended) = (Vec::new(), None);
    for target in targets {
        let addresses = match &target.host {
            Host::Address(address) => vec![SocketAddr::new(*address, target.port)],
            Host::Name(name) => match resolver()?.addresses(name).await {
                Ok(answer) => answer.records.iter().map(|address| SocketAddr::new(*address, target.port)).collect(),
                Err(failure) => {
                    faults.push(failure.to_string());
                    continue;
                }
            },
        };
        let tcp = match net::dial(&addresses, net::Options::default()).await {
            Ok(tcp) => tcp,
            Err(error) => {
                // The addresses are in it.
                faults.push(match &target.host {
                    Host::Name(name) => format!("{name}: {error}"),
                    Host::Address(_) => error.to_string(),
                });
                continue;
            }
        };
        let domain = account.address.domain();
        let (stream, proof) = match connector.connect(tcp, domain, target.expect.clone(), Some(domain)).await {
            Ok(connected) => connected,
            Err(error @ TlsError::Certificate { .. }) => {
                return Err(ClientError::Certificate { reason: error.to_string() });
            }
            Err(error) => {
                faults.push(format!("{}:{}: {error}", target.host, target.port));
                continue;
            }
        };
        debug_assert_ne!(proof, Proof::None, "an expectation was met");
        let binding = tls::channel_binding(&stream);
        let login = Login { credentials: credentials.clone(), channel_binding: binding, attach: attach.clone() };
        match session(account, Stream::from(stream), login).await {
            // It is full, or about to stop; another may not be.
            Err(ClientError::Session { account, reason }) => {
                faults.push(format!("{}:{}: {reason}", target.host, target.port));
                ended = Some(ClientError::Session { account, reason });
            }
            other => return other,
        }
    }
    Err(ended.filter(|_| faults.len() == 1).unwrap_or_else(|| unreachable(faults.join("; "))))
}

/// A server that the person named: it proves to be that host, or to serve the domain.
pub(super) fn configured(account: &Account, host: &Host, port: u16) -> Target {
    let mut names = vec![account.address.domain().clone()];
    if let Host::Name(name) = host
        && !names.contains(name)
    {
        names.push(name.clone());
    }
    Target { host: host.clone(), port, expect: Expect::Pkix { names, srv: None } }
}

/// Those of the domain's SRV record (RFC 2782): by priority, and among equals by lot according to their weights.
async fn looked_up(domain: &Domain, resolver: &dyn Resolve, random: fn(u32) -> u32) -> Result<Vec<Target>, String> {
    let name = format!("_impp-client._tcp.{domain}");
    let answer = match resolver.srv(&name).await {
        Ok(answer) => answer,
        Err(failure) if failure.is_absence() => {
            return Err(format!("{domain} names no server for clients (SRV {name}); its administrator can tell it"));
        }
        Err(failure) => return Err(failure.to_string()),
    };
    let secure = answer.security == Security::Secure;
    let mut targets = Vec::new();
    for Srv { port, target, .. } in route::order(answer.records, random).into_iter().take(SERVERS) {
        // RFC 2782: "." among others is a mistake. Nobody listens on port 0.
        let (Some(host), 1..) = (target, port) else { continue };
        let mut names = vec![domain.clone()];
        if secure && host != *domain {
            names.push(host.clone());
        }
        let mut expect = Expect::Pkix { names: names.clone(), srv: None };
        // TLSA decides where it is proven (RFC 7673 §4); elsewhere nobody is asked for it.
        if secure
            && let Ok(found) = resolver.tlsa(&host, port).await
            && found.security == Security::Secure
            && !tls::dane::usable(&found.records).is_empty()
        {
            expect = Expect::Tlsa { records: found.records, names };
        }
        targets.push(Target { host: Host::Name(host), port, expect });
    }
    if targets.is_empty() { Err(format!("{domain} offers no service to clients (SRV .)")) } else { Ok(targets) }
}

/// From the greeting to the end of the login.
async fn session(account: &Account, stream: Stream, login: Login) -> Result<Wire, ClientError> {
    let options = client::Options {
        // Neither the name nor the address of this host is anybody's business.
        helo: account.address.domain().clone(),
        starttls: StartTls::Never,
        helo_fallback: false,
        lmtp: false,
        window: 16,
        timeouts: timeouts(),
        login: Some(login),
    };
    let mut wire = Wire::new(stream, Session::new(Arc::new(options), Protection::Proven, Instant::now().into_std()));
    loop {
        match wire.event().await {
            Event::Ready | Event::Turned => return Ok(wire),
            Event::Over(fault) => return Err(failed(account, fault)),
            Event::StartTls | Event::Done { .. } => {}
        }
    }
}

/// A session's end, in the client's words.
pub(super) fn failed(account: &Account, fault: Option<Fault>) -> ClientError {
    let address = account.address.clone();
    match fault {
        Some(Fault::NotAuthenticated(reply)) => ClientError::Login { account: address, reply },
        Some(Fault::Login(error)) => ClientError::Sasl { account: address, error },
        Some(Fault::NotAttached(reply)) => ClientError::NotAttached { account: address, reply },
        Some(fault) => ClientError::Session { account: address, reason: fault.to_string() },
        None => ClientError::Session { account: address, reason: "it ended the session".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Failure, Lookup, Tlsa};

    /// A zone of one SRV answer; TLSA where it is secure.
    struct Zone(Result<Vec<Srv>, Failure>, Security);

    impl Zone {
        fn answer<R>(&self, records: Vec<R>) -> Answer<R> {
            Answer { records, security: self.1, ttl: Duration::ZERO }
        }
    }

    impl Resolve for Zone {
        fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv> {
            assert_eq!(name, "_impp-client._tcp.a.test");
            Box::pin(async { self.0.clone().map(|records| self.answer(records)) })
        }

        fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, std::net::IpAddr> {
            Box::pin(async { Err(Failure::Timeout(host.to_string())) })
        }

        fn tlsa<'a>(&'a self, host: &'a Domain, port: u16) -> Lookup<'a, Tlsa> {
            assert!(self.1 == Security::Secure, "nobody is asked for what would not count");
            let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0; 32] };
            let found = port == 2 && host.as_str() == "mx2.a.test";
            Box::pin(
                async move { if found { Ok(self.answer(vec![record])) } else { Err(Failure::Timeout(String::new())) } },
            )
        }
    }

    fn srv(priority: u16, weight: u16, port: u16, target: Option<&str>) -> Srv {
        Srv { priority, weight, port, target: target.map(|name| Domain::parse(name).unwrap()) }
    }

    async fn targets(zone: Zone) -> Result<Vec<String>, String> {
        let targets = looked_up(&Domain::parse("a.test").unwrap(), &zone, |most| most).await?;
        let show = |target: Target| match target.expect {
            Expect::Pkix { names, .. } => format!("{}:{} {names:?}", target.host, target.port),
            Expect::Tlsa { .. } => format!("{}:{} TLSA", target.host, target.port),
            Expect::Unproven | Expect::Wished { .. } => "nobody".to_owned(),
        };
        Ok(targets.into_iter().map(show).collect())
    }

    #[tokio::test]
    async fn servers_that_dns_names() {
        let records = || {
            vec![
                srv(20, 0, 3, Some("mx3.a.test")),
                srv(10, 1, 1, Some("mx1.a.test")),
                srv(10, 9, 2, Some("mx2.a.test")),
            ]
        };
        let plain = targets(Zone(Ok(records()), Security::Insecure)).await.unwrap();
        let only = "[Domain(a.test)]";
        assert_eq!(
            plain,
            [format!("mx2.a.test:2 {only}"), format!("mx1.a.test:1 {only}"), format!("mx3.a.test:3 {only}")]
        );
        let secure = targets(Zone(Ok(records()), Security::Secure)).await.unwrap();
        assert_eq!(secure[..2], ["mx2.a.test:2 TLSA", "mx1.a.test:1 [Domain(a.test), Domain(mx1.a.test)]"]);
        let none = targets(Zone(Ok(vec![srv(0, 0, 0, None)]), Security::Secure)).await.unwrap_err();
        assert!(none.contains("offers no service to clients"), "{none}");
        let absent = Failure::NoData { name: "x".to_owned(), kind: "SRV", security: Security::Insecure };
        let absent = targets(Zone(Err(absent), Security::Insecure)).await.unwrap_err();
        assert!(absent.contains("names no server for clients (SRV _impp-client._tcp.a.test)"), "{absent}");
        let broken = targets(Zone(Err(Failure::Timeout("x".to_owned())), Security::Insecure)).await.unwrap_err();
        assert!(broken.contains("no answer for x"), "{broken}");
    }
}
