//! Where a destination's servers are: configuration, DNS, and what is remembered of domains.
//!
//! In: a destination. Out: [`Resolved`] for the schedule. The decision is [`route::decide`]'s; here it is asked and put into
//! words. What goes to a domain without IMPP becomes a mail where there is a way into the mail system; else it fails, and
//! presence always does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::address::Domain;
use crate::clock::Clock;
use crate::deliver::Destination;
use crate::dns::Resolve;
use crate::envelope::Class;
use crate::queue::schedule::{Onward, Resolved};
use crate::random;
use crate::reply::EnhancedCode;
use crate::route::{self, Decision, Hop, MailHop, Memory, Table, Way};

/// How long a configured route is good; a reload may change it.
const CONFIGURED: Duration = Duration::from_secs(60);
/// The least time for which an answer is used, so that a time to live of zero does not ask for each message.
const LEAST: Duration = Duration::from_secs(1);
/// How long an absence is used; the resolver's cache knows for how long it holds.
const ABSENCE: Duration = Duration::from_secs(5);
/// The destination of what is for people here who are out of contact: their mail store.
pub const MAILBOXES: &str = "mailboxes";
/// Marks the destinations that are configured routes.
const ROUTE: &str = "route ";

/// The destination that a domain's messages of a class share.
pub fn place(table: &Table, domain: &Domain, class: Class) -> Destination {
    match table.way(domain, class) {
        Way::Configured(hop) => Arc::from(format!("{ROUTE}{}", hop.name)),
        Way::Local | Way::Lookup => Arc::from(format!("{class} {domain}")),
    }
}

/// Whether [`place`] gives this destination, without making it.
pub fn goes_to(table: &Table, domain: &Domain, class: Class, destination: &str) -> bool {
    match table.way(domain, class) {
        Way::Configured(hop) => destination.strip_prefix(ROUTE) == Some(hop.name.as_str()),
        Way::Local | Way::Lookup => {
            let rest = destination.strip_prefix(class.keyword()).and_then(|rest| rest.strip_prefix(' '));
            rest == Some(domain.as_str())
        }
    }
}

/// Whether a destination is a configured route.
pub fn is_route(destination: &str) -> bool {
    destination.starts_with(ROUTE)
}

/// Who asks.
#[derive(Clone)]
pub struct LookUp {
    resolver: Arc<dyn Resolve>,
    memory: Arc<Mutex<Memory>>,
    socks5: Option<SocketAddr>,
}

impl LookUp {
    /// Asks `resolver`; what is found is reached through `socks5`, where given.
    pub fn new(resolver: Arc<dyn Resolve>, socks5: Option<SocketAddr>) -> Self {
        LookUp { resolver, memory: Arc::default(), socks5 }
    }

    /// The domain has offered the service, before this process began.
    pub fn has_offered(&self, domain: &Domain, class: Class) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).seen(domain, class);
    }

    /// Where the destination's servers are.
    pub async fn resolve(&self, table: &Table, destination: &Destination, clock: &dyn Clock) -> Resolved {
        if let Some(name) = destination.strip_prefix(ROUTE) {
            return match table.named(name) {
                Some(hop) => {
                    Resolved::Onward(Onward::Hop(Arc::new(Hop::Configured(hop))), clock.now().after(CONFIGURED))
                }
                None => Resolved::Later(format!("the route {name} was taken out of the configuration")),
            };
        }
        if **destination == *MAILBOXES {
            return match table.store() {
                Some(store) => mail(store, clock.now().after(CONFIGURED)),
                None => Resolved::Later("the way into the mail store was taken out of the configuration".to_owned()),
            };
        }
        let found = destination.split_once(' ').and_then(|(class, domain)| {
            let class = [Class::Im, Class::Pres].into_iter().find(|known| known.keyword() == class)?;
            Some((class, Domain::parse(domain).ok()?))
        });
        match found {
            Some((class, domain)) => self.ask(table, class, domain, clock).await,
            None => Resolved::Later(format!("{destination} is not a destination")),
        }
    }

    async fn ask(&self, table: &Table, class: Class, domain: Domain, clock: &dyn Clock) -> Resolved {
        let name = route::service_name(class, &domain);
        let answer = self.resolver.srv(&name).await;
        let now = clock.now();
        let decision = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let decision = route::decide(answer, class, &domain, random::up_to);
            memory.weigh(decision, class, &domain, now)
        };
        let absence = match decision {
            Decision::Targets(targets, ttl) => {
                let hop = Hop::Peer { domain, class, targets, socks5: self.socks5 };
                return Resolved::Onward(Onward::Hop(Arc::new(hop)), now.after(ttl.max(LEAST)));
            }
            Decision::Unknown { reason, .. } => return Resolved::Later(reason),
            Decision::Refused => refused(class, &domain),
            Decision::NoService { .. } => no_service(class, &domain, &name),
        };
        match table.mail().filter(|_| class == Class::Im) {
            Some(hop) => mail(hop, now.after(ABSENCE)),
            None => nowhere(now.after(ABSENCE), absence),
        }
    }
}

fn mail(hop: &Arc<MailHop>, until: crate::timestamp::Timestamp) -> Resolved {
    Resolved::Onward(Onward::Hop(Arc::new(Hop::Mail(hop.clone()))), until)
}

fn nowhere(until: crate::timestamp::Timestamp, reason: String) -> Resolved {
    // X.1.2, bad destination system address (RFC 3463 §3.2): for this service there is none.
    Resolved::Onward(Onward::Nowhere(EnhancedCode::new(5, 1, 2), Arc::from(reason)), until)
}

fn service(class: Class) -> &'static str {
    match class {
        Class::Im => "instant messages",
        Class::Pres => "presence",
    }
}

fn refused(class: Class, domain: &Domain) -> String {
    format!("{domain} says in DNS that it takes no {}", service(class))
}

fn no_service(class: Class, domain: &Domain, name: &str) -> String {
    format!("{domain} does not take {}: there is no SRV record at {name}; send a mail instead", service(class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Configured, Pattern, Rule, TlsPolicy};

    #[test]
    fn a_place_is_recognised_without_being_made() {
        let hop = Configured { name: "hub".into(), targets: Vec::new(), tls: TlsPolicy::Required, socks5: None };
        let pattern = Pattern::parse(".example").unwrap();
        let table = Table::new([], [Rule { pattern, class: Some(Class::Im), hop: Arc::new(hop) }]);
        let domains = ["a.example", "a.test", "example", "hub"].map(|name| Domain::parse(name).unwrap());
        for one in &domains {
            for class in [Class::Im, Class::Pres] {
                let made = place(&table, one, class);
                for other in &domains {
                    for other_class in [Class::Im, Class::Pres] {
                        let same = place(&table, other, other_class) == made;
                        assert_eq!(goes_to(&table, other, other_class, &made), same, "{other} {other_class} {made}");
                    }
                }
            }
        }
    }
}
