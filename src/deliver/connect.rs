//! Connecting to a hop: its targets in their order, until one has greeted us, proven itself and answered EHLO.
//!
//! In: a hop. Out: a session that takes transactions, or what each target did. Invariant: nothing is sent to a server that
//! has not met what the hop expects of it, or what its own domain says that it can do. RFC 2782, RFC 3861, RFC 7672 §2.2,
//! RFC 7673 §3, RFC 3207, RFC 8461 §5.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::outcome;
use super::peers::Context;
use super::pool::Start;
use super::tls_counts;
use super::wire::Wire;
use crate::address::Domain;
use crate::dns::{Failure, Security, Tlsa};
use crate::envelope::Class;
use crate::net::{self, Stream};
use crate::reply::EnhancedCode;
use crate::route::exchange::{self, Demand};
use crate::route::tlsrpt::{self, Trouble};
use crate::route::{Exchangers, Hop, Host, MailServer, Target, TlsPolicy};
use crate::smtp::client::{self, Event, Fault, Protection, Session, StartTls};
use crate::tls::{self, Expect, Proof};

/// A connection over which transactions can go.
#[derive(Debug)]
pub(super) struct Connected {
    pub wire: Wire,
    /// None for a socket.
    pub target: Option<Target>,
    /// As in Postfix's logs.
    pub relay: String,
    pub took: Duration,
}

/// What was wrong with a target, or with each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreachable {
    pub status: EnhancedCode,
    pub reason: String,
}

impl Unreachable {
    fn new(status: (u8, u16, u16), reason: String) -> Self {
        Unreachable { status: EnhancedCode::new(status.0, status.1, status.2), reason }
    }
}

/// What a hop asks of its servers.
struct Terms<'a> {
    tls: TlsPolicy,
    socks5: Option<SocketAddr>,
    /// The domain and service that were looked up; none for a configured route.
    peer: Option<(&'a Domain, Class)>,
    /// The mail exchangers of a domain, each of which has terms of its own.
    exchangers: Option<&'a Exchangers>,
    lmtp: bool,
    /// Who does not keep REQUIRETLS is as good as not there, while another may.
    keeps_tls: bool,
}

/// What one server must do.
#[derive(Debug, PartialEq, Eq)]
struct Duty {
    tls: TlsPolicy,
    expect: Expect,
    /// Whether what it proves by a certificate says that it is the right server.
    vouched: bool,
}

impl<'a> Terms<'a> {
    fn new(tls: TlsPolicy) -> Self {
        Terms { tls, socks5: None, peer: None, exchangers: None, lmtp: false, keeps_tls: false }
    }

    fn of(hop: &'a Hop) -> (Self, &'a [Target]) {
        match hop {
            Hop::Peer { domain, class, targets, socks5, keeps_tls } => {
                let peer = Some((domain, *class));
                (Terms { socks5: *socks5, peer, keeps_tls: *keeps_tls, ..Terms::new(TlsPolicy::Required) }, targets)
            }
            Hop::Configured(route) => (Terms { socks5: route.socks5, ..Terms::new(route.tls) }, &route.targets),
            Hop::Mail(mail) => {
                let terms = Terms { lmtp: mail.lmtp, ..Terms::new(mail.tls) };
                match &mail.server {
                    MailServer::Hosts(targets) => (terms, targets),
                    MailServer::Socket(_) => (terms, &[]),
                    MailServer::Exchangers(found) => {
                        let (socks5, keeps_tls) = (found.socks5, found.keeps_tls);
                        (Terms { socks5, exchangers: Some(found), keeps_tls, ..terms }, &found.targets)
                    }
                }
            }
        }
    }

    fn must_prove(&self) -> bool {
        matches!(self.tls, TlsPolicy::Required | TlsPolicy::StartTls) || self.exchangers.is_some()
    }

    fn duty(&self, target: &Target, tlsa: Vec<Tlsa>) -> Result<Duty, Unreachable> {
        match (self.exchangers, &target.host) {
            (Some(exchangers), Host::Name(host)) => exchanger(exchangers, target, host, tlsa),
            _ => Ok(Duty { tls: self.tls, expect: expect(self, target, tlsa)?, vouched: true }),
        }
    }
}

/// Connects to the first target that works. The status of a failure is that of the first target.
pub(super) async fn connect(context: &Context, start: &Start) -> Result<Connected, Unreachable> {
    let began = Instant::now();
    if let Hop::Mail(mail) = &*start.hop
        && let MailServer::Socket(path) = &mail.server
    {
        return socket(context, path, began).await;
    }
    let (terms, targets) = Terms::of(&start.hop);
    let same = |target: &&Target| {
        start.first.as_ref().is_some_and(|first| first.host == target.host && first.port == target.port)
    };
    let first = targets.iter().find(same);
    let others = targets.iter().filter(|target| !same(target));
    let (mut faults, mut without): (Vec<Unreachable>, Option<Connected>) = Default::default();
    for target in first.into_iter().chain(others) {
        match attempt(context, &terms, target).await {
            Ok((wire, relay)) => {
                tracing::debug!(destination = %start.destination, %relay, "connected");
                let keeps = !terms.keeps_tls || wire.session.keeps_tls();
                let connected = Connected { wire, target: Some(target.clone()), relay, took: began.elapsed() };
                if keeps {
                    return Ok(connected);
                }
                without.get_or_insert(connected);
            }
            Err(fault) => {
                let reason = placed(target, &fault.reason);
                tracing::debug!(destination = %start.destination, reason, "not connected");
                faults.push(Unreachable { reason, ..fault });
            }
        }
    }
    // None of them will: the message fails. Where one was not reached, it may be another time.
    if let Some(connected) = without.filter(|_| faults.is_empty()) {
        return Ok(connected);
    }
    let reason = faults.iter().map(|fault| fault.reason.as_str()).collect::<Vec<_>>().join("; ");
    match faults.into_iter().next() {
        Some(first) => Err(Unreachable { reason, ..first }),
        None => Err(Unreachable::new((4, 4, 4), "the route has no server".to_owned())),
    }
}

/// Connects to a mail store on this host.
async fn socket(context: &Context, path: &Path, began: Instant) -> Result<Connected, Unreachable> {
    let at = |reason: String| format!("{}: {reason}", path.display());
    let connecting = timeout(context.options.connect, UnixStream::connect(path));
    let stream = match connecting.await {
        Ok(Ok(stream)) => Stream::from(stream),
        Ok(Err(error)) => return Err(Unreachable::new((4, 4, 1), at(error.to_string()))),
        Err(_) => return Err(Unreachable::new((4, 4, 1), at("no answer".to_owned()))),
    };
    let options = session(context, StartTls::Never, false, true);
    let mut wire = Wire::new(stream, Session::new(options, Protection::Clear, Instant::now().into_std()));
    loop {
        match wire.event().await {
            Event::Ready => break,
            Event::Over(fault) => {
                let reason = fault.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(Unreachable { status: outcome::status(fault.as_ref()), reason: at(reason) });
            }
            Event::StartTls | Event::Done { .. } | Event::Turned => {}
        }
    }
    // The form of Postfix's logs: `mx.a.example[private/dovecot-lmtp]`.
    let relay = format!("{}[{}]", context.options.helo, path.display());
    Ok(Connected { wire, target: None, relay, took: began.elapsed() })
}

/// The session's options.
fn session(context: &Context, starttls: StartTls, helo_fallback: bool, lmtp: bool) -> Arc<client::Options> {
    Arc::new(client::Options {
        helo: context.options.helo.clone(),
        starttls,
        helo_fallback,
        lmtp,
        window: context.options.window,
        timeouts: context.options.timeouts,
        login: None,
    })
}

/// The reason behind the target's name, which dialling an address has said already.
fn placed(target: &Target, reason: &str) -> String {
    let place = match &target.host {
        Host::Address(address) => SocketAddr::new(*address, target.port).to_string(),
        Host::Name(name) => format!("{name}:{}", target.port),
    };
    match reason.strip_prefix(&place) {
        Some(rest) if rest.starts_with(": ") => reason.to_owned(),
        _ => format!("{place}: {reason}"),
    }
}

async fn attempt(context: &Context, terms: &Terms<'_>, target: &Target) -> Result<(Wire, String), Unreachable> {
    let (addresses, tlsa) = look_up(context, terms, target).await?;
    let counted = context.options.tls_counts.as_ref().zip(terms.exchangers);
    let policy = counted.map(|(_, found)| tls_counts::policy(found, &tlsa));
    let count = |address: Option<IpAddr>, trouble: Option<Trouble>| {
        if let (Some((counts, found)), Some(policy)) = (counted, policy.clone()) {
            tls_counts::count(counts, context.clock.now(), (found, target), policy, (address, trouble));
        }
    };
    let duty = terms.duty(target, tlsa).inspect_err(|_| count(None, Some(Trouble::Failure)))?;
    let tls = duty.tls;
    let must = duty.expect != Expect::Unproven && !matches!(duty.expect, Expect::Wished { .. });
    let starttls = match tls {
        TlsPolicy::StartTls => StartTls::Must,
        TlsPolicy::Opportunistic => StartTls::IfOffered,
        TlsPolicy::Required | TlsPolicy::None => StartTls::Never,
    };
    let server = Server { context, terms, target, addresses: &addresses, duty };
    // Of several it is not known here which one it was.
    let address = if let [one] = addresses[..] { Some(one.ip()) } else { None };
    match server.open(starttls).await {
        // Encryption that does not work is no reason to wait where none would have done (RFC 7435 §4).
        Err(Setback::Tls(_, trouble)) if tls == TlsPolicy::Opportunistic => {
            count(address, Some(trouble));
            server.open(StartTls::Never).await
        }
        other => {
            let trouble = match &other {
                Ok((wire, _)) => Some(short_of(wire.session.protection(), must, policy.as_ref())),
                Err(Setback::Tls(_, trouble)) => Some(Some(*trouble)),
                Err(Setback::Other(_)) => None,
            };
            trouble.into_iter().for_each(|trouble| count(address, trouble));
            other
        }
    }
    .map_err(|setback| match setback {
        Setback::Tls(fault, _) | Setback::Other(fault) => fault,
    })
}

/// What a session lacks of what its domain says, where it came about all the same.
fn short_of(protection: Protection, must: bool, policy: Option<&tlsrpt::Policy>) -> Option<Trouble> {
    match protection {
        Protection::Clear => Some(Trouble::NoStartTls),
        // A policy that is only tested.
        Protection::Encrypted if !must && policy.is_some_and(|policy| policy.kind == tlsrpt::Kind::Sts) => {
            Some(Trouble::NotTrusted)
        }
        Protection::Encrypted | Protection::Proven => None,
    }
}

/// Addresses of the target and the TLSA records that decide about it. TLSA is asked for only where the address is secure:
/// elsewhere there is none that counts, and some servers fail on the question (RFC 7672 §2.2.2).
async fn look_up(
    context: &Context,
    terms: &Terms<'_>,
    target: &Target,
) -> Result<(Vec<SocketAddr>, Vec<Tlsa>), Unreachable> {
    let name = match &target.host {
        Host::Address(address) => return Ok((vec![SocketAddr::new(*address, target.port)], Vec::new())),
        Host::Name(name) => name,
    };
    let mut addresses = Vec::new();
    if terms.socks5.is_none() {
        let answer = context.resolver.addresses(name).await.map_err(|failure| dns_fault(&failure, ""))?;
        addresses.extend(answer.records.iter().map(|address: &IpAddr| SocketAddr::new(*address, target.port)));
        if answer.security != Security::Secure {
            return Ok((addresses, Vec::new()));
        }
    } else if terms.peer.is_none() && terms.exchangers.is_none() {
        return Ok((addresses, Vec::new()));
    }
    if !terms.must_prove() || !target.secure {
        return Ok((addresses, Vec::new()));
    }
    match context.resolver.tlsa(name, target.port).await {
        Ok(answer) if answer.security == Security::Secure => Ok((addresses, answer.records)),
        Ok(_) => Ok((addresses, Vec::new())),
        Err(failure) if failure.is_absence() => Ok((addresses, Vec::new())),
        Err(failure) => Err(dns_fault(&failure, "TLSA: ")),
    }
}

/// A forged answer is no silence: who looks into it begins elsewhere.
fn dns_fault(failure: &Failure, about: &str) -> Unreachable {
    let status = if matches!(failure, Failure::Bogus(_)) { (4, 7, 5) } else { (4, 4, 3) };
    Unreachable::new(status, format!("{about}{failure}"))
}

/// What the server must prove: with usable TLSA only that, else a certificate for the domain, or for the target where its
/// name is as good (RFC 7673 §4).
fn expect(terms: &Terms<'_>, target: &Target, tlsa: Vec<Tlsa>) -> Result<Expect, Unreachable> {
    if !terms.must_prove() {
        return Ok(Expect::Unproven);
    }
    let host = match &target.host {
        Host::Name(name) => Some(name.clone()),
        Host::Address(_) => None,
    };
    let domain = terms.peer.map(|(domain, _)| domain.clone());
    let mut names: Vec<Domain> = domain.iter().cloned().collect();
    if target.secure || domain.is_none() {
        names.extend(host.filter(|host| Some(host) != domain.as_ref()));
    }
    if names.is_empty() {
        let reason = "an address cannot prove itself by a certificate; give the route a host name, or tls = \"none\"";
        return Err(Unreachable::new((4, 7, 5), reason.to_owned()));
    }
    if !tls::dane::usable(&tlsa).is_empty() {
        return Ok(Expect::Tlsa { records: tlsa, names });
    }
    let srv = terms.peer.map(|(domain, class)| (class, domain.clone()));
    Ok(Expect::Pkix { names, srv })
}

/// The same for a mail exchanger: what its domain says of it decides. DANE is told the host where the records are and the
/// domain (RFC 7672 §3.2.2), a certificate of MTA-STS names the host (RFC 8461 §4.2).
fn exchanger(found: &Exchangers, target: &Target, host: &Domain, tlsa: Vec<Tlsa>) -> Result<Duty, Unreachable> {
    let policy = found.policy.as_deref();
    let usable = tls::dane::usable(&tlsa).len();
    let demand = exchange::demand(host, &tlsa, usable, policy)
        .map_err(|not_named| Unreachable { status: not_named.status(), reason: not_named.to_string() })?;
    let names = vec![host.clone()];
    let (tls, expect) = match demand {
        Demand::Tlsa => {
            let domain = Some(&found.domain).filter(|domain| *domain != host);
            let names = names.into_iter().chain(domain.cloned()).collect();
            (TlsPolicy::StartTls, Expect::Tlsa { records: tlsa, names })
        }
        Demand::Pkix => (TlsPolicy::StartTls, Expect::Pkix { names, srv: None }),
        Demand::Encryption => (TlsPolicy::StartTls, Expect::Wished { names }),
        Demand::Nothing => (TlsPolicy::Opportunistic, Expect::Wished { names }),
    };
    Ok(Duty { tls, expect, vouched: exchange::is_vouched(target, policy) })
}

enum Setback {
    /// With what is reported of it.
    Tls(Unreachable, Trouble),
    Other(Unreachable),
}

/// One server about to be asked.
struct Server<'a> {
    context: &'a Context,
    terms: &'a Terms<'a>,
    target: &'a Target,
    addresses: &'a [SocketAddr],
    duty: Duty,
}

impl Server<'_> {
    async fn open(&self, starttls: StartTls) -> Result<(Wire, String), Setback> {
        let dialled = match self.terms.socks5 {
            Some(proxy) => net::socks5(proxy, &self.target.host, self.target.port, self.context.options.connect).await,
            None => {
                let options = net::Options { timeout: self.context.options.connect, ..net::Options::default() };
                net::dial(self.addresses, options).await
            }
        };
        let tcp = dialled.map_err(|error| Setback::Other(Unreachable::new((4, 4, 1), error.to_string())))?;
        let relay = self.relay(tcp.peer_addr().ok());
        let (stream, protection) = if self.duty.tls == TlsPolicy::Required {
            self.encrypt(tcp).await?
        } else {
            (Stream::from(tcp), Protection::Clear)
        };
        let options = session(self.context, starttls, self.terms.peer.is_none(), self.terms.lmtp);
        let wire = Wire::new(stream, Session::new(options, protection, Instant::now().into_std()));
        Ok((self.greet(wire).await?, relay))
    }

    /// Up to the answer to EHLO, through STARTTLS where that is asked for.
    async fn greet(&self, mut wire: Wire) -> Result<Wire, Setback> {
        let over = |fault: Option<Fault>| {
            let reason = fault.as_ref().map(ToString::to_string).unwrap_or_default();
            let unreachable = Unreachable { status: outcome::status(fault.as_ref()), reason };
            Err(match fault {
                Some(Fault::NoStartTls) => Setback::Tls(unreachable, Trouble::NoStartTls),
                _ => Setback::Other(unreachable),
            })
        };
        loop {
            match wire.event().await {
                // It may have said 421 in the same breath: then the next target is to be tried.
                Event::Ready => match wire.session.poll() {
                    Some(Event::Over(fault)) => return over(fault),
                    _ => return Ok(wire),
                },
                Event::StartTls => {
                    let Wire { stream, session, .. } = wire;
                    let mut session = session;
                    let Stream::Tcp(tcp) = stream else {
                        let reason = "STARTTLS on a connection that is encrypted already".to_owned();
                        return Err(Setback::Other(Unreachable::new((4, 7, 5), reason)));
                    };
                    let (stream, protection) = self.encrypt(tcp).await?;
                    session.tls_started(protection, Instant::now().into_std());
                    wire = Wire::new(stream, session);
                }
                Event::Over(fault) => return over(fault),
                Event::Done { .. } | Event::Turned => {}
            }
        }
    }

    async fn encrypt(&self, tcp: tokio::net::TcpStream) -> Result<(Stream, Protection), Setback> {
        let own = Some(&self.context.options.helo);
        let host = match &self.target.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        };
        let sni = self.terms.peer.map(|(domain, _)| domain).or(host);
        let expect = self.duty.expect.clone();
        let connecting = if self.duty.tls == TlsPolicy::Required {
            self.context.connector.connect(tcp, sni, expect, own).await
        } else {
            self.context.plain_connector.connect(tcp, sni, expect, own).await
        };
        self.context.handshakes.add(match &connecting {
            Ok((_, Proof::Dane)) => 0,
            Ok((_, Proof::Pkix)) => 1,
            Ok((_, Proof::None)) => 2,
            Err(_) => 3,
        });
        let (stream, proof) = connecting.map_err(|error| {
            let status = EnhancedCode { class: 4, ..error.status() };
            Setback::Tls(Unreachable { status, reason: error.to_string() }, tls_counts::trouble(&error))
        })?;
        let protection = match proof {
            Proof::Dane => Protection::Proven,
            Proof::Pkix if self.duty.vouched => Protection::Proven,
            Proof::Pkix | Proof::None => Protection::Encrypted,
        };
        Ok((Stream::from(stream), protection))
    }

    /// `mx.b.example[192.0.2.1]:2779`; through a proxy the address is not known.
    fn relay(&self, peer: Option<SocketAddr>) -> String {
        match (self.terms.socks5, peer) {
            (None, Some(peer)) => {
                format!("{}[{}]:{}", self.target.host, peer.ip().to_canonical(), self.target.port)
            }
            (Some(proxy), _) => format!("{}[socks5 {proxy}]:{}", self.target.host, self.target.port),
            (None, None) => format!("{}[unknown]:{}", self.target.host, self.target.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::sts::Policy;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn record(usage: u8) -> Tlsa {
        Tlsa { usage, selector: 1, matching: 1, data: vec![0; 32] }
    }

    fn check(tls: TlsPolicy, peer: bool, host: Host, secure: bool, tlsa: Vec<Tlsa>, expected: Result<Expect, &str>) {
        let b = domain("b.example");
        let terms = Terms { peer: peer.then_some((&b, Class::Im)), ..Terms::new(tls) };
        let got = expect(&terms, &Target { host, port: 2779, secure }, tlsa);
        match expected {
            Ok(expected) => assert_eq!(got, Ok(expected)),
            Err(words) => assert!(got.unwrap_err().reason.contains(words)),
        }
    }

    #[test]
    fn places_are_said_once() {
        let check = |host: Host, reason: &str, expected: &str| {
            assert_eq!(placed(&Target { host, port: 9, secure: true }, reason), expected);
        };
        let of = |address: &str| Host::Address(address.parse().unwrap());
        check(of("192.0.2.1"), "192.0.2.1:9: connection refused", "192.0.2.1:9: connection refused");
        check(of("192.0.2.1"), "it said: 421", "192.0.2.1:9: it said: 421");
        check(of("2001:db8::1"), "[2001:db8::1]:9: no answer", "[2001:db8::1]:9: no answer");
        let name = Host::Name(domain("mx.b.example"));
        check(name, "192.0.2.1:9: connection refused", "mx.b.example:9: 192.0.2.1:9: connection refused");
    }

    #[test]
    fn what_a_server_must_prove() {
        let (b, mx) = (domain("b.example"), domain("mx.b.example"));
        let host = || Host::Name(mx.clone());
        let srv = Some((Class::Im, b.clone()));
        let required = TlsPolicy::Required;
        let of = |names: &[&Domain]| names.iter().map(|name| (*name).clone()).collect::<Vec<_>>();
        let pkix = |names: &[&Domain], srv| Ok(Expect::Pkix { names: of(names), srv });
        check(required, true, host(), false, vec![], pkix(&[&b], srv.clone()));
        check(required, true, host(), true, vec![], pkix(&[&b, &mx], srv.clone()));
        check(required, true, host(), true, vec![record(0)], pkix(&[&b, &mx], srv.clone()));
        let tlsa = Expect::Tlsa { records: vec![record(3)], names: of(&[&b, &mx]) };
        check(required, true, host(), true, vec![record(3)], Ok(tlsa));
        check(required, false, host(), true, vec![], pkix(&[&mx], None));
        check(TlsPolicy::StartTls, false, host(), true, vec![], pkix(&[&mx], None));
        check(TlsPolicy::Opportunistic, false, host(), true, vec![record(3)], Ok(Expect::Unproven));
        check(TlsPolicy::None, false, host(), true, vec![], Ok(Expect::Unproven));
        let address = Host::Address("192.0.2.1".parse().unwrap());
        check(required, false, address.clone(), true, vec![], Err("give the route a host name"));
        check(required, true, address, true, vec![], pkix(&[&b], srv));
    }

    #[test]
    fn what_an_exchanger_must_do() {
        let (b, mx) = (domain("b.example"), domain("mx.b.example"));
        let check = |secure: bool,
                     tlsa: Vec<Tlsa>,
                     mode: Option<&str>,
                     tls: TlsPolicy,
                     expect: Expect,
                     vouched: bool| {
            let policy = mode.map(|mode| format!("version: STSv1\nmode: {mode}\nmax_age: 60\nmx: *.b.example\n"));
            let policy = policy.map(|text| Arc::new(Policy::parse(text.as_bytes()).unwrap()));
            let target = Target { host: Host::Name(mx.clone()), port: 25, secure };
            let found =
                Exchangers { domain: b.clone(), targets: vec![target.clone()], policy, socks5: None, keeps_tls: false };
            let terms = Terms { exchangers: Some(&found), ..Terms::new(TlsPolicy::Opportunistic) };
            assert_eq!(terms.duty(&target, tlsa), Ok(Duty { tls, expect, vouched }));
        };
        let (must, may) = (TlsPolicy::StartTls, TlsPolicy::Opportunistic);
        let wished = || Expect::Wished { names: vec![mx.clone()] };
        let pkix = || Expect::Pkix { names: vec![mx.clone()], srv: None };
        let tlsa = || Expect::Tlsa { records: vec![record(3)], names: vec![mx.clone(), b.clone()] };
        check(false, vec![], None, may, wished(), false);
        check(true, vec![], None, may, wished(), true);
        check(false, vec![], Some("testing"), may, wished(), true);
        check(false, vec![], Some("enforce"), must, pkix(), true);
        check(true, vec![record(3)], None, must, tlsa(), true);
        check(true, vec![record(3)], Some("enforce"), must, tlsa(), true);
        check(true, vec![record(0)], None, must, wished(), true);
        check(true, vec![record(0)], Some("enforce"), must, pkix(), true);
    }
}
