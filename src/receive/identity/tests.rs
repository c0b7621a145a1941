use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::clock::{Clock, System};
use crate::dns::{Failure, Lookup};
use crate::policy::identity::By;
use crate::tls::make::{Authority, AuthorityOptions, Leaf, Made};

type Given<R> = Result<Answer<R>, Failure>;

/// Answers from tables; what is not in them does not exist.
#[derive(Default)]
struct Fake {
    srv: HashMap<String, Given<Srv>>,
    addresses: HashMap<String, Given<IpAddr>>,
    tlsa: HashMap<String, Given<Tlsa>>,
    silent: bool,
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn answer<R: Clone + Send + 'static>(&self, table: &HashMap<String, Given<R>>, name: &str) -> Lookup<'_, R> {
        self.asked.lock().unwrap().push(name.to_owned());
        if self.silent {
            return Box::pin(std::future::pending());
        }
        let absent = Failure::NxDomain { name: name.to_owned(), security: Security::Insecure };
        let given = table.get(name).cloned().unwrap_or(Err(absent));
        Box::pin(async move { given })
    }

    fn with_srv(mut self, name: &str, security: Security, hosts: &[&str]) -> Fake {
        let record = |(at, host): (usize, &&str)| Srv {
            priority: at as u16,
            weight: 0,
            port: 2779,
            target: (*host != ".").then(|| domain(host)),
        };
        let records = hosts.iter().enumerate().map(record).collect();
        self.srv.insert(name.to_owned(), Ok(answer(records, security)));
        self
    }

    fn with_address(mut self, host: &str, security: Security, address: &str) -> Fake {
        self.addresses.insert(host.to_owned(), Ok(answer(vec![address.parse().unwrap()], security)));
        self
    }

    fn with_tlsa(mut self, name: &str, security: Security, record: Tlsa) -> Fake {
        self.tlsa.insert(name.to_owned(), Ok(answer(vec![record], security)));
        self
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer<R>(records: Vec<R>, security: Security) -> Answer<R> {
    Answer { records, security, ttl: Duration::from_secs(300) }
}

impl Resolve for Fake {
    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv> {
        self.answer(&self.srv, name)
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, IpAddr> {
        self.answer(&self.addresses, host.as_str())
    }

    fn tlsa<'a>(&'a self, host: &'a Domain, port: u16) -> Lookup<'a, Tlsa> {
        self.answer(&self.tlsa, &format!("_{port}._tcp.{host}"))
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn authority() -> Authority {
    Authority::root(&AuthorityOptions::new("ca", System::new().now())).unwrap()
}

fn made(authority: &Authority, names: &[&str]) -> Made {
    authority.issue(&Leaf::new(names, System::new().now())).unwrap()
}

struct Case {
    fake: Arc<Fake>,
    roots: Arc<Roots>,
    chain: Vec<CertificateDer<'static>>,
    source: &'static str,
    options: Options,
}

impl Case {
    fn new(fake: Fake) -> Case {
        let (roots, options) = (Arc::new(Roots::none()), Options::default());
        Case { fake: Arc::new(fake), roots, chain: Vec::new(), source: "192.0.2.1", options }
    }

    fn shows(mut self, made: &Made) -> Case {
        self.chain = made.chain.clone();
        self
    }

    fn trusts(mut self, authority: &Authority) -> Case {
        self.roots = Arc::new(Roots::from_der(std::iter::once(authority.certificate())));
        self
    }

    fn strict(mut self) -> Case {
        self.options.policy = Policy::Certificate;
        self
    }

    fn identity(&self) -> Identity {
        let source = Some(self.source.parse().unwrap());
        let resolver: Arc<dyn Resolve> = self.fake.clone();
        Identity::new(resolver, self.roots.clone(), self.chain.clone(), source, self.options.clone())
    }

    async fn check(&self, role: Role, claimed: &str, expected: &str) {
        let finding = self.identity().finding(&domain(claimed), role).await;
        let found = match &finding {
            Finding::Proven { by } => by.word(),
            Finding::Unproven { .. } => "unproven",
            Finding::Unknown { .. } => "unknown",
        };
        assert_eq!(found, expected, "{finding:?}, asked {:?}", self.fake.asked());
    }
}

const SECURE: Security = Security::Secure;
const INSECURE: Security = Security::Insecure;
const IM: &str = "_im._impp.a.example";
const PRES: &str = "_pres._impp.a.example";

#[tokio::test]
async fn a_certificate_of_the_domain_needs_no_dns() {
    let ca = authority();
    let case = Case::new(Fake::default()).shows(&made(&ca, &["a.example"])).trusts(&ca);
    case.check(Role::Sender, "a.example", "certificate").await;
    assert!(case.fake.asked().is_empty());
    case.check(Role::Sender, "b.example", "unproven").await;
}

#[tokio::test]
async fn either_purpose_of_a_certificate_will_do() {
    let ca = authority();
    for (server, client, expected) in
        [(true, false, "certificate"), (false, true, "certificate"), (false, false, "certificate")]
    {
        let leaf = Leaf { server, client, ..Leaf::new(&["a.example"], System::new().now()) };
        let case = Case::new(Fake::default()).shows(&ca.issue(&leaf).unwrap()).trusts(&ca);
        case.check(Role::Sender, "a.example", expected).await;
    }
}

#[tokio::test]
async fn an_address_of_either_service() {
    for name in [IM, PRES] {
        let fake = || Fake::default().with_srv(name, INSECURE, &["mx.a.example"]);
        let here = || Case::new(fake().with_address("mx.a.example", INSECURE, "192.0.2.1"));
        here().check(Role::Sender, "a.example", "address").await;
        here().strict().check(Role::Sender, "a.example", "unproven").await;
        let elsewhere = Case::new(fake().with_address("mx.a.example", INSECURE, "192.0.2.2"));
        elsewhere.check(Role::Sender, "a.example", "unproven").await;
        Case::new(fake()).check(Role::Sender, "a.example", "unproven").await;
    }
}

#[tokio::test]
async fn a_mapped_address_is_the_address() {
    let fake =
        Fake::default().with_srv(IM, INSECURE, &["mx.a.example"]).with_address("mx.a.example", INSECURE, "192.0.2.1");
    let case = Case { source: "::ffff:192.0.2.1", ..Case::new(fake) };
    case.check(Role::Sender, "a.example", "address").await;
}

#[tokio::test]
async fn a_certificate_of_a_host() {
    let ca = authority();
    let host = made(&ca, &["mx.a.example"]);
    let case = |security| {
        let fake = Fake::default().with_srv(IM, security, &["mx.a.example"]).with_address(
            "mx.a.example",
            INSECURE,
            "198.51.100.1",
        );
        Case::new(fake).shows(&host).trusts(&ca)
    };
    case(SECURE).check(Role::Sender, "a.example", "certificate").await;
    case(SECURE).strict().check(Role::Sender, "a.example", "certificate").await;
    case(INSECURE).check(Role::Sender, "a.example", "host").await;
    case(INSECURE).strict().check(Role::Sender, "a.example", "unproven").await;
}

#[tokio::test]
async fn tlsa_of_a_host() {
    let (ca, other) = (authority(), authority());
    let (shown, wrong) = (made(&ca, &["x.example"]), made(&ca, &["mx.a.example"]));
    let record = |made: &Made| dane::record_for(made.certificate()).unwrap();
    let case = |srv, address, tlsa, record| {
        let fake = Fake::default()
            .with_srv(IM, srv, &["mx.a.example"])
            .with_address("mx.a.example", address, "198.51.100.1")
            .with_tlsa("_2779._tcp.mx.a.example", tlsa, record);
        Case::new(fake).shows(&shown).trusts(&other)
    };
    case(SECURE, SECURE, SECURE, record(&shown)).check(Role::Sender, "a.example", "dane").await;
    case(SECURE, SECURE, SECURE, record(&shown)).strict().check(Role::Sender, "a.example", "dane").await;
    case(SECURE, SECURE, SECURE, record(&wrong)).check(Role::Sender, "a.example", "unproven").await;
    for (srv, address, tlsa) in [(INSECURE, SECURE, SECURE), (SECURE, INSECURE, SECURE), (SECURE, SECURE, INSECURE)] {
        case(srv, address, tlsa, record(&shown)).check(Role::Sender, "a.example", "unproven").await;
    }
    let asked = case(INSECURE, SECURE, SECURE, record(&shown));
    asked.check(Role::Sender, "a.example", "unproven").await;
    assert!(!asked.fake.asked().iter().any(|name| name.starts_with('_') && name.contains("_tcp")));
}

#[tokio::test]
async fn dane_ta_may_name_the_domain_or_the_host() {
    let (ca, other) = (authority(), authority());
    let data = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ca.certificate()).as_ref().to_vec();
    let record = Tlsa { usage: 2, selector: 0, matching: 1, data };
    for (name, expected) in [("mx.a.example", "dane"), ("a.example", "dane"), ("x.example", "unproven")] {
        let fake = Fake::default()
            .with_srv(IM, SECURE, &["mx.a.example"])
            .with_address("mx.a.example", SECURE, "198.51.100.1")
            .with_tlsa("_2779._tcp.mx.a.example", SECURE, record.clone());
        Case::new(fake).shows(&made(&ca, &[name])).trusts(&other).check(Role::Sender, "a.example", expected).await;
    }
}

fn fault() -> Failure {
    Failure::Timeout("a.example".to_owned())
}

#[tokio::test]
async fn faults_of_dns() {
    let ca = authority();
    let shown = made(&ca, &["x.example"]);
    let broken = |name: &str| {
        let mut fake = Fake::default();
        fake.srv.insert(name.to_owned(), Err(fault()));
        fake
    };
    for name in [IM, PRES] {
        Case::new(broken(name)).check(Role::Sender, "a.example", "unknown").await;
        Case::new(broken(name)).strict().check(Role::Sender, "a.example", "unproven").await;
        Case::new(broken(name)).strict().shows(&shown).check(Role::Sender, "a.example", "unknown").await;
    }
    // The other service proves it all the same.
    let fake =
        broken(PRES).with_srv(IM, INSECURE, &["mx.a.example"]).with_address("mx.a.example", INSECURE, "192.0.2.1");
    Case::new(fake).check(Role::Sender, "a.example", "address").await;

    let mut fake = Fake::default().with_srv(IM, SECURE, &["mx.a.example", "mx2.a.example"]);
    fake.addresses.insert("mx.a.example".to_owned(), Err(fault()));
    let with_second = |address| {
        let copy = Fake { srv: fake.srv.clone(), addresses: fake.addresses.clone(), ..Fake::default() };
        copy.with_address("mx2.a.example", INSECURE, address)
    };
    Case::new(with_second("192.0.2.1")).check(Role::Sender, "a.example", "address").await;
    Case::new(with_second("192.0.2.2")).check(Role::Sender, "a.example", "unknown").await;

    let mut fake =
        Fake::default().with_srv(IM, SECURE, &["mx.a.example"]).with_address("mx.a.example", SECURE, "192.0.2.9");
    fake.tlsa.insert("_2779._tcp.mx.a.example".to_owned(), Err(Failure::Bogus("mx.a.example".to_owned())));
    Case::new(fake).shows(&shown).trusts(&ca).check(Role::Sender, "a.example", "unknown").await;
}

#[tokio::test]
async fn a_silent_resolver_is_given_up() {
    let mut case = Case::new(Fake { silent: true, ..Fake::default() });
    case.options.timeout = Duration::ZERO;
    case.check(Role::Sender, "a.example", "unknown").await;
}

#[tokio::test]
async fn look_ups_are_bounded() {
    let names: Vec<String> = (0..40).map(|n| format!("mx{n}.a.example")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fake = Fake::default().with_srv(IM, SECURE, &hosts).with_srv(PRES, SECURE, &hosts);
    for host in &hosts {
        fake = fake.with_address(host, SECURE, "198.51.100.1");
    }
    let ca = authority();
    let case = Case::new(fake).shows(&made(&ca, &["x.example"])).trusts(&ca);
    case.check(Role::Sender, "a.example", "unproven").await;
    // Two SRV, and for each host its addresses and its TLSA records at the one port.
    assert_eq!(case.fake.asked().len(), 2 + 2 * HOSTS);
    assert!(case.fake.asked().contains(&"mx0.a.example".to_owned()));
    assert!(!case.fake.asked().contains(&"mx20.a.example".to_owned()));
}

#[tokio::test]
async fn a_service_that_is_not_offered_names_no_host() {
    let case = Case::new(Fake::default().with_srv(IM, SECURE, &["."]));
    case.check(Role::Sender, "a.example", "unproven").await;
    assert_eq!(case.fake.asked().len(), 2);
}

#[tokio::test]
async fn ehlo_is_also_a_host() {
    let ca = authority();
    let fake = || Fake::default().with_address("mx.a.example", INSECURE, "192.0.2.1");
    Case::new(fake()).check(Role::Ehlo, "mx.a.example", "address").await;
    // In MAIL FROM the same name is a domain, and needs SRV records.
    Case::new(fake()).check(Role::Sender, "mx.a.example", "unproven").await;
    Case::new(fake()).strict().check(Role::Ehlo, "mx.a.example", "unproven").await;
    let shown = made(&ca, &["mx.a.example"]);
    Case::new(Fake::default())
        .strict()
        .shows(&shown)
        .trusts(&ca)
        .check(Role::Ehlo, "mx.a.example", "certificate")
        .await;
    let fake = Fake::default().with_address("mx.a.example", SECURE, "198.51.100.1").with_tlsa(
        "_2779._tcp.mx.a.example",
        SECURE,
        dane::record_for(shown.certificate()).unwrap(),
    );
    Case::new(fake).strict().shows(&shown).check(Role::Ehlo, "mx.a.example", "dane").await;
    // A domain in EHLO is proven by its SRV as in MAIL FROM.
    let fake =
        Fake::default().with_srv(IM, INSECURE, &["mx.a.example"]).with_address("mx.a.example", INSECURE, "192.0.2.1");
    Case::new(fake).check(Role::Ehlo, "a.example", "address").await;
}

#[tokio::test]
async fn findings_are_remembered_for_the_connection() {
    let fake =
        Fake::default().with_srv(IM, INSECURE, &["mx.a.example"]).with_address("mx.a.example", INSECURE, "192.0.2.1");
    let case = Case::new(fake);
    let mut identity = case.identity();
    for _ in 0..3 {
        let finding = identity.finding(&domain("a.example"), Role::Sender).await;
        assert_eq!(finding, Finding::Proven { by: By::Address });
    }
    assert_eq!(case.fake.asked().len(), 3);
    for n in 0..2 * REMEMBERED {
        identity.finding(&domain(&format!("d{n}.example")), Role::Sender).await;
    }
    assert_eq!(identity.known.len(), REMEMBERED);
}
