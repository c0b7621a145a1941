//! The resolver that the rest sees: a cache in front of a source of answers.
//!
//! Equal questions that are in flight are asked once. A question that was begun is brought to its end, also when
//! whoever asked has gone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::cache::Cache;
use super::meters::Meters;
use super::wire::{Data, Kind, LONGEST, Outcome, Question};
use super::{Answer, Failure, Lookup, Mx, Resolve, Security, Srv, Tlsa};
use crate::address::Domain;

/// Questions in flight, those included that nobody waits for any more; more are not taken.
const IN_FLIGHT: usize = 4096;

/// A question being answered.
pub(super) type Asking<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Whoever can answer, without a cache; bounded in time.
pub(super) trait Source: Send + Sync + 'static {
    fn ask(&self, question: Question) -> Asking<'_>;
}

pub(super) struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn Source>,
    state: Mutex<State>,
    meters: Meters,
}

struct State {
    cache: Cache,
    in_flight: HashMap<Question, watch::Receiver<Option<Outcome>>>,
}

impl Shared {
    /// A panic elsewhere leaves the maps whole: every change is a single call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver {
    pub(super) fn new(source: impl Source, cache_entries: usize) -> Resolver {
        let state = State { cache: Cache::new(cache_entries), in_flight: HashMap::new() };
        Resolver {
            shared: Arc::new(Shared { source: Box::new(source), state: Mutex::new(state), meters: Meters::default() }),
        }
    }

    async fn outcome(&self, question: Question) -> Outcome {
        let mut waiting = match self.look(&question) {
            Ok(outcome) => return outcome,
            Err(waiting) => waiting,
        };
        let outcome = waiting.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Outcome::failed(Failure::Unreachable("the question was given up".to_owned())))
    }

    /// What is cached, or where the answer will appear.
    fn look(&self, question: &Question) -> Result<Outcome, watch::Receiver<Option<Outcome>>> {
        let mut state = self.shared.state();
        if let Some(outcome) = state.cache.get(question, Instant::now()) {
            self.shared.meters.remembered.add();
            return Ok(outcome);
        }
        if let Some(waiting) = state.in_flight.get(question) {
            return Err(waiting.clone());
        }
        if state.in_flight.len() >= IN_FLIGHT {
            return Ok(Outcome::failed(Failure::Unreachable("too many questions wait for an answer".to_owned())));
        }
        let (sender, receiver) = watch::channel(None);
        state.in_flight.insert(question.clone(), receiver.clone());
        let flight = Flight { shared: self.shared.clone(), question: question.clone() };
        tokio::spawn(async move {
            let outcome = flight.shared.source.ask(flight.question.clone()).await;
            flight.shared.meters.answered(&outcome.result);
            flight.shared.state().cache.put(flight.question.clone(), outcome.clone(), Instant::now());
            drop(flight);
            sender.send_replace(Some(outcome));
        });
        Err(receiver)
    }

    async fn typed<R>(&self, name: &str, kind: Kind, pick: fn(Data) -> Option<R>) -> Result<Answer<R>, Failure> {
        let Some(question) = Question::new(name, kind) else {
            // A domain may be so long that its service cannot be named.
            return Err(Failure::NxDomain { name: name.to_owned(), security: Security::Insecure });
        };
        let answer = self.outcome(question).await.result?;
        let records = answer.records.into_iter().filter_map(pick).collect();
        Ok(Answer { records, security: answer.security, ttl: answer.ttl })
    }

    async fn both_addresses(&self, host: &Domain) -> Result<Answer<IpAddr>, Failure> {
        if is_localhost(host) {
            let records = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            return Ok(Answer { records, security: Security::Insecure, ttl: LONGEST });
        }
        let (v6, v4) =
            tokio::join!(self.typed(host.as_str(), Kind::Aaaa, address), self.typed(host.as_str(), Kind::A, address));
        combine(v6, v4)
    }
}

/// A question leaves the list of those in flight however its task ends.
struct Flight {
    shared: Arc<Shared>,
    question: Question,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.state().in_flight.remove(&self.question);
    }
}

fn address(data: Data) -> Option<IpAddr> {
    match data {
        Data::Address(address) => Some(address),
        _ => None,
    }
}

/// RFC 6761 §6.3: never asked of DNS.
fn is_localhost(host: &Domain) -> bool {
    host.as_str() == "localhost" || host.as_str().ends_with(".localhost")
}

fn weaker(one: Security, other: Security) -> Security {
    if one == Security::Secure { other } else { one }
}

fn combine(
    v6: Result<Answer<IpAddr>, Failure>,
    v4: Result<Answer<IpAddr>, Failure>,
) -> Result<Answer<IpAddr>, Failure> {
    match (v6, v4) {
        (Ok(mut v6), Ok(v4)) => {
            v6.records.extend(v4.records);
            Ok(Answer { records: v6.records, security: weaker(v6.security, v4.security), ttl: v6.ttl.min(v4.ttl) })
        }
        (Ok(answer), Err(_)) | (Err(_), Ok(answer)) => Ok(answer),
        (Err(v6), Err(v4)) => Err(match (v6, v4) {
            (
                Failure::NoData { name, security: one, .. } | Failure::NxDomain { name, security: one },
                Failure::NoData { security: other, .. },
            )
            | (Failure::NoData { name, security: one, .. }, Failure::NxDomain { security: other, .. }) => {
                Failure::NoData { name, kind: "AAAA or A", security: weaker(one, other) }
            }
            (Failure::NxDomain { name, security: one }, Failure::NxDomain { security: other, .. }) => {
                Failure::NxDomain { name, security: weaker(one, other) }
            }
            // "Nobody could say" is stronger than "there is none", and a forgery is what must be told.
            (bogus @ Failure::Bogus(_), _) | (_, bogus @ Failure::Bogus(_)) => bogus,
            (v6, v4) => {
                if v4.is_absence() {
                    v6
                } else {
                    v4
                }
            }
        }),
    }
}

impl Resolve for Resolver {
    fn meters(&self) -> Option<&Meters> {
        Some(&self.shared.meters)
    }

    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, Srv> {
        Box::pin(self.typed(name, Kind::Srv, |data| match data {
            Data::Srv(srv) => Some(srv),
            _ => None,
        }))
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, IpAddr> {
        Box::pin(self.both_addresses(host))
    }

    fn tlsa<'a>(&'a self, host: &'a Domain, port: u16) -> Lookup<'a, Tlsa> {
        Box::pin(async move {
            let name = format!("_{port}._tcp.{host}");
            let pick = |data| match data {
                Data::Tlsa(tlsa) => Some(tlsa),
                _ => None,
            };
            self.typed(&name, Kind::Tlsa, pick).await
        })
    }

    fn mx<'a>(&'a self, domain: &'a Domain) -> Lookup<'a, Mx> {
        Box::pin(self.typed(domain.as_str(), Kind::Mx, |data| match data {
            Data::Mx(mx) => Some(mx),
            _ => None,
        }))
    }

    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<u8>> {
        Box::pin(self.typed(name, Kind::Txt, |data| match data {
            Data::Txt(text) => Some(text),
            _ => None,
        }))
    }

    fn smimea<'a>(&'a self, name: &'a str) -> Lookup<'a, Tlsa> {
        Box::pin(self.typed(name, Kind::Smimea, |data| match data {
            Data::Smimea(record) => Some(record),
            _ => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::sync::Semaphore;

    /// Answers by the first label, when it is let.
    struct Counting {
        asked: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    impl Source for Counting {
        fn ask(&self, question: Question) -> Asking<'_> {
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::SeqCst);
                self.gate.acquire().await.unwrap().forget();
                let name = question.text();
                let minute = Duration::from_secs(60);
                let security = Security::Secure;
                match (name.split('.').next().unwrap_or_default(), question.kind) {
                    ("four" | "both", Kind::A) => {
                        Outcome::found(vec![Data::Address([192, 0, 2, 4].into())], security, minute)
                    }
                    ("six" | "both", Kind::Aaaa) => Outcome::found(
                        vec![Data::Address("2001:db8::6".parse().unwrap())],
                        Security::Insecure,
                        minute / 2,
                    ),
                    ("fail", Kind::A) | ("six", Kind::A) => Outcome::failed(Failure::Timeout(name)),
                    ("bogus", Kind::Aaaa) => Outcome::failed(Failure::Bogus(name)),
                    ("panic", _) => panic!("on purpose"),
                    ("gone", _) => Outcome::absent(Failure::NxDomain { name, security }, minute),
                    (_, kind) => Outcome::absent(Failure::NoData { name, kind: kind.keyword(), security }, minute),
                }
            })
        }
    }

    fn counting(open: usize) -> (Arc<Resolver>, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(open)));
        let source = Counting { asked: asked.clone(), gate: gate.clone() };
        (Arc::new(Resolver::new(source, 100)), asked, gate)
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[tokio::test]
    async fn asked_once_and_then_remembered() {
        let (resolver, asked, gate) = counting(0);
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let resolver = resolver.clone();
                tokio::spawn(async move { resolver.srv("_im._impp.gone.test").await })
            })
            .collect();
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(100);
        for task in tasks {
            assert!(task.await.unwrap().unwrap_err().is_absence());
        }
        assert!(resolver.srv("_IM._impp.GONE.test").await.unwrap_err().is_secure_absence());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn whoever_leaves_does_not_end_the_question_for_others() {
        let (resolver, asked, gate) = counting(0);
        let first = resolver.clone();
        let first = tokio::spawn(async move { first.tlsa(&domain("gone.test"), 2779).await });
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        let _ = first.await;
        gate.add_permits(1);
        let failure = resolver.tlsa(&domain("gone.test"), 2779).await.unwrap_err();
        assert_eq!(failure.to_string(), "_2779._tcp.gone.test has no TLSA record (NODATA)");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn bounded() {
        let (resolver, ..) = counting(0);
        let waiting: Vec<_> = (0..IN_FLIGHT)
            .map(|n| resolver.look(&Question::new(&format!("h{n}"), Kind::A).unwrap()).is_err())
            .collect();
        assert!(waiting.iter().all(|waits| *waits));
        let failure = resolver.srv("one.more").await.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable(_)), "{failure}");
    }

    #[tokio::test]
    async fn a_panic_leaves_nothing_behind() {
        let (resolver, _, _) = counting(100);
        for _ in 0..2 {
            let failure = resolver.srv("panic.test").await.unwrap_err();
            assert!(matches!(failure, Failure::Unreachable(_)), "{failure}");
        }
        assert!(resolver.shared.state().in_flight.is_empty());
    }

    #[tokio::test]
    async fn addresses_of_both_families() {
        let (resolver, ..) = counting(100);
        let both = resolver.addresses(&domain("both.test")).await.unwrap();
        assert_eq!(both.records, ["2001:db8::6".parse::<IpAddr>().unwrap(), [192, 0, 2, 4].into()]);
        assert_eq!(both.security, Security::Insecure);
        assert!(both.ttl <= Duration::from_secs(30));
        let four = resolver.addresses(&domain("four.test")).await.unwrap();
        assert_eq!((four.records.len(), four.security), (1, Security::Secure));
        assert_eq!(resolver.addresses(&domain("six.test")).await.unwrap().records.len(), 1);
    }

    #[tokio::test]
    async fn failures_of_both_families() {
        let (resolver, ..) = counting(100);
        let check = async |host: &str, expected: &str| {
            let failure = resolver.addresses(&domain(host)).await.unwrap_err();
            assert_eq!(failure.to_string(), expected);
        };
        check("gone.test", "the name gone.test does not exist (NXDOMAIN)").await;
        check("none.test", "none.test has no AAAA or A record (NODATA)").await;
        check("fail.test", "no answer for fail.test in time").await;
        check("bogus.test", "the answer for bogus.test fails DNSSEC validation (bogus)").await;
    }

    #[tokio::test]
    async fn localhost_is_never_asked_for() {
        let (resolver, asked, _) = counting(0);
        assert_eq!(resolver.addresses(&domain("localhost")).await.unwrap().records.len(), 2);
        assert_eq!(resolver.addresses(&domain("a.localhost")).await.unwrap().records.len(), 2);
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_is_absent() {
        let (resolver, asked, _) = counting(0);
        let long = format!("_im._impp.{}.test", ["a"; 124].join("."));
        assert!(resolver.srv(&long).await.unwrap_err().is_absence());
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
