//! The policies of domains about their mail exchangers (MTA-STS), fetched and kept on the disk.
//!
//! In: a domain. Out: its policy that holds now, if it has one. [`route::policies`](crate::route::policies) decides; here DNS is
//! asked, the policy host is asked over HTTPS, and what was fetched outlives this process. Fails towards mail: what cannot be
//! fetched is as if it were not there, what cannot be kept is fetched again, and both are told to the administrator. RFC 8461.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::address::Domain;
use crate::clock::Clock;
use crate::dns::Resolve;
use crate::net::{self, Host, http};
use crate::route::policies::{Known, Policies, Step};
use crate::route::sts::{self, Policy};
use crate::tls::{Connector, Expect};
use crate::{disk, limits};

/// The port of HTTPS.
const HTTPS: u16 = 443;

/// Whoever knows policies. Clones share what is known.
#[derive(Clone)]
pub struct Keeper(Arc<Shared>);

struct Shared {
    resolver: Arc<dyn Resolve>,
    connector: Connector,
    socks5: Option<SocketAddr>,
    directory: PathBuf,
    policies: Mutex<Policies>,
    fetching: Semaphore,
}

impl Keeper {
    /// Keeps them in `directory`, and reads what was kept there before. Policy hosts are reached through `socks5`, where
    /// given.
    pub fn new(
        resolver: Arc<dyn Resolve>,
        connector: &Connector,
        directory: PathBuf,
        socks5: Option<SocketAddr>,
    ) -> Keeper {
        let mut policies = Policies::new(limits::POLICIES);
        for (domain, known) in kept(&directory) {
            policies.fetched(domain, known);
        }
        Keeper(Arc::new(Shared {
            resolver,
            connector: connector.without_alpn(),
            socks5,
            directory,
            policies: Mutex::new(policies),
            fetching: Semaphore::new(limits::POLICIES_FETCHING),
        }))
    }

    /// The policy of `domain`.
    pub async fn of(&self, domain: &Domain, clock: &dyn Clock) -> Option<Arc<Policy>> {
        let answer = self.0.resolver.txt(&sts::record_name(domain)).await;
        let records = answer.map(|answer| answer.records).unwrap_or_default();
        let id = sts::policy_id(records.iter().map(Vec::as_slice));
        let step = self.0.policies().step(domain, id, clock.now());
        let id = match step {
            Step::Use(policy) => return policy,
            Step::Fetch(id) => id,
        };
        let fetching = timeout(limits::POLICY_TIMEOUT, self.0.fetch(domain)).await;
        let now = clock.now();
        match fetching.unwrap_or_else(|_| Err(format!("no answer in {} s", limits::POLICY_TIMEOUT.as_secs()))) {
            Ok(policy) => {
                let known = Known { id, fetched: now, policy: Arc::new(policy) };
                tracing::info!(%domain, id = known.id, "the MTA-STS policy was fetched");
                let gone = self.0.policies().fetched(domain.clone(), known.clone());
                self.keep(domain.clone(), known, gone).await;
            }
            Err(reason) => {
                tracing::warn!(%domain, "the MTA-STS policy cannot be fetched: {reason}");
                self.0.policies().failed(domain.clone(), id, now);
            }
        }
        self.0.policies().current(domain, now)
    }

    async fn keep(&self, domain: Domain, known: Known, gone: Vec<Domain>) {
        let directory = self.0.directory.clone();
        let write = move || {
            gone.iter().for_each(|domain| _ = std::fs::remove_file(place(&directory, domain)));
            std::fs::create_dir_all(&directory)?;
            disk::replace(&place(&directory, &domain), 0o644, &[known.text(&domain).as_bytes()])
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                let directory = self.0.directory.display();
                tracing::warn!("the MTA-STS policy cannot be kept in {directory}: {error}; make it writable");
            }
        }
    }
}

impl Shared {
    /// A panic elsewhere leaves them whole: every change is a single call.
    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, domain: &Domain) -> Result<Policy, String> {
        let _slot = self.fetching.acquire().await.map_err(|error| error.to_string())?;
        let host = sts::policy_host(domain).ok_or("the name of its host would be too long")?;
        let tcp = match self.socks5 {
            Some(proxy) => net::socks5(proxy, &Host::Name(host.clone()), HTTPS, limits::POLICY_TIMEOUT).await,
            None => {
                let answer = self.resolver.addresses(&host).await.map_err(|failure| failure.to_string())?;
                let places: Vec<_> = answer.records.iter().map(|address| SocketAddr::new(*address, HTTPS)).collect();
                net::dial(&places, net::Options { timeout: limits::POLICY_TIMEOUT, ..net::Options::default() }).await
            }
        };
        let tcp = tcp.map_err(|error| error.to_string())?;
        let expect = Expect::Pkix { names: vec![host.clone()], srv: None };
        let (stream, _) = self.connector.connect(tcp, &host, expect, None).await.map_err(|error| error.to_string())?;
        let content = http::over(stream, host.as_str(), sts::POLICY_PATH, limits::POLICY_OCTETS as u64).await?;
        // RFC 8461 §3.2: what others may put on a web site is not a policy.
        if content.media_type != "text/plain" {
            return Err("it is not text/plain".to_owned());
        }
        Policy::parse(&content.octets).map_err(|fault| fault.to_string())
    }
}

/// The file of a domain's policy. Its name is a digest: a domain may be as long as a name of a file.
fn place(directory: &Path, domain: &Domain) -> PathBuf {
    let sum = digest::digest(&digest::SHA256, domain.as_str().as_bytes());
    let mut name = String::new();
    // Writing to a string does not fail.
    sum.as_ref().iter().for_each(|octet| _ = write!(name, "{octet:02x}"));
    directory.join(name)
}

/// What was kept. A file that is none of ours is passed over.
fn kept(directory: &Path) -> Vec<(Domain, Known)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(limits::POLICIES);
    let read = |entry: std::fs::DirEntry| {
        let small = entry.metadata().ok()?.len() <= 2 * limits::POLICY_OCTETS as u64;
        let text = small.then(|| std::fs::read_to_string(entry.path()).ok()).flatten()?;
        Known::parse(&text)
    };
    entries.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dns::{Answer, Failure, Lookup, Security, Srv, Tlsa};
    use crate::timestamp::Timestamp;
    use crate::tls::{Certificates, Roots, connect};
    use std::net::IpAddr;

    struct Says(Option<&'static str>);

    impl Resolve for Says {
        fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv> {
            Box::pin(async move { Err(Failure::Timeout(name.to_owned())) })
        }
        fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, IpAddr> {
            Box::pin(async move { Err(Failure::Timeout(host.to_string())) })
        }
        fn tlsa<'a>(&'a self, host: &'a Domain, _port: u16) -> Lookup<'a, Tlsa> {
            Box::pin(async move { Err(Failure::Timeout(host.to_string())) })
        }
        fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<u8>> {
            Box::pin(async move {
                let record = self.0.ok_or_else(|| Failure::Timeout(name.to_owned()))?;
                let (records, ttl) = (vec![record.as_bytes().to_vec()], Duration::from_secs(60));
                Ok(Answer { records, security: Security::Insecure, ttl })
            })
        }
    }

    fn keeper(directory: &Path, says: Option<&'static str>) -> Keeper {
        let certificates = Certificates::none();
        let connector = Connector::new(Arc::new(Roots::none()), certificates, connect::Options::default());
        Keeper::new(Arc::new(Says(says)), &connector, directory.to_owned(), None)
    }

    struct At(Timestamp);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    #[tokio::test]
    async fn a_policy_outlives_the_process_and_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("mta-sts");
        let (domain, now) = (Domain::parse("b.example").unwrap(), Timestamp::from_secs(1_800_000_000));
        let policy = Policy::parse(b"version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.b.example\n").unwrap();
        let known = Known { id: "1".to_owned(), fetched: now, policy: Arc::new(policy) };
        let first = keeper(&directory, Some("v=STSv1; id=1"));
        assert_eq!(first.of(&domain, &At(now)).await, None, "its host has no address");
        first.0.policies().fetched(domain.clone(), known.clone());
        first.keep(domain.clone(), known.clone(), Vec::new()).await;
        std::fs::write(directory.join("something else"), "x").unwrap();
        for says in [None, Some("v=STSv1; id=1"), Some("v=STSv1; id=2")] {
            let again = keeper(&directory, says);
            assert_eq!(again.of(&domain, &At(now.after(Duration::from_secs(60)))).await, Some(known.policy.clone()));
            assert_eq!(again.of(&domain, &At(now.after(Duration::from_secs(86_400)))).await, None, "it has ended");
        }
        first.keep(Domain::parse("c.example").unwrap(), known, vec![domain.clone()]).await;
        assert_eq!(keeper(&directory, None).of(&domain, &At(now)).await, None, "its place was taken");
    }
}
