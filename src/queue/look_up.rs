//! Where a destination's servers are: configuration, DNS, and what is remembered of domains.
//!
//! In: a destination. Out: [`Resolved`] for the schedule. The decision is [`route::decide`]'s; here it is asked and put into
//! words. What goes to a domain without IMPP becomes a mail where there is a way for mail, and its exchangers are looked up where
//! that is straight to them; else it fails. Presence does not; that its people have only mail is an answer of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::address::Domain;
use crate::clock::Clock;
use crate::deliver::Destination;
use crate::deliver::policies::Keeper;
use crate::dns::Resolve;
use crate::envelope::{Class, Envelope};
use crate::queue::schedule::{Onward, Resolved};
use crate::random;
use crate::reply::EnhancedCode;
use crate::route::exchange::{Exchange, exchange, without_address};
use crate::route::{
    self, Decision, Exchangers, Hop, MailHop, MailServer, MailWay, Memory, Table, Target, TlsPolicy, Way,
};
use crate::timestamp::Timestamp;

/// How long a configured route is good; a reload may change it.
const CONFIGURED: Duration = Duration::from_secs(60);
/// The least time for which an answer is used, so that a time to live of zero does not ask for each message.
const LEAST: Duration = Duration::from_secs(1);
/// How long an absence is used; the resolver's cache knows for how long it holds.
const ABSENCE: Duration = Duration::from_secs(5);
/// The destination of what is for people here who are out of contact: their mail store.
pub const MAILBOXES: &str = "mailboxes";
/// How long the exchangers of a domain are used at most: its policy about them may change.
const EXCHANGERS: Duration = Duration::from_secs(3600);
/// X.1.2, bad destination system address (RFC 3463 §3.2): for this service there is none.
const NO_SERVICE: EnhancedCode = EnhancedCode::new(5, 1, 2);
/// Marks the destinations to which presence goes by mail.
const MAILED: &str = "mail ";
/// Marks the destinations of what must be encrypted all the way, whose servers may be others (RFC 8689 §4.2.1).
const KEEPS_TLS: &str = " requiretls";
/// Marks the destinations that are configured routes.
const ROUTE: &str = "route ";

/// The destination that a domain's messages of a class share.
pub fn place(table: &Table, domain: &Domain, class: Class) -> Destination {
    match table.way(domain, class) {
        Way::Configured(hop) => Arc::from(format!("{ROUTE}{}", hop.name)),
        Way::Local | Way::Lookup => Arc::from(format!("{class} {domain}")),
    }
}

/// The destination of a message, for the recipients of a domain.
pub fn place_of(table: &Table, domain: &Domain, envelope: &Envelope) -> Destination {
    let place = place(table, domain, envelope.class);
    match envelope.require_tls && !is_route(&place) {
        true => kept(&place),
        false => place,
    }
}

/// The destination of what must be encrypted all the way, beside that of all else.
pub fn kept(place: &str) -> Destination {
    Arc::from(format!("{place}{KEEPS_TLS}"))
}

/// The destination that presence for people of a domain shares who have only mail.
pub fn mail_place(domain: &Domain) -> Destination {
    Arc::from(format!("{MAILED}{domain}"))
}

/// Whether [`place_of`] gives this destination, without making it.
pub fn goes_to(table: &Table, domain: &Domain, envelope: &Envelope, destination: &str) -> bool {
    let class = envelope.class;
    match table.way(domain, class) {
        Way::Configured(hop) => destination.strip_prefix(ROUTE) == Some(hop.name.as_str()),
        Way::Local | Way::Lookup => {
            let rest = destination.strip_prefix(class.keyword()).and_then(|rest| rest.strip_prefix(' '));
            let rest = match envelope.require_tls {
                true => rest.and_then(|rest| rest.strip_suffix(KEEPS_TLS)),
                false => rest,
            };
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
    policies: Keeper,
    socks5: Option<SocketAddr>,
}

impl LookUp {
    /// Asks `resolver`, and `policies` about mail exchangers; what is found is reached through `socks5`, where given.
    pub fn new(resolver: Arc<dyn Resolve>, policies: Keeper, socks5: Option<SocketAddr>) -> Self {
        LookUp { resolver, memory: Arc::default(), policies, socks5 }
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
        if let Some(domain) = destination.strip_prefix(MAILED).and_then(|domain| Domain::parse(domain).ok()) {
            return match table.mail() {
                Some(way) => self.by_mail(way, (domain, false), CONFIGURED, clock).await,
                None => Resolved::Later("the way into the mail system was taken out of the configuration".to_owned()),
            };
        }
        let place = destination.strip_suffix(KEEPS_TLS);
        let keeps_tls = place.is_some();
        let found = place.unwrap_or(destination).split_once(' ').and_then(|(class, domain)| {
            let class = [Class::Im, Class::Pres].into_iter().find(|known| known.keyword() == class)?;
            Some((class, Domain::parse(domain).ok()?))
        });
        match found {
            Some((class, domain)) => self.ask(table, (class, domain, keeps_tls), clock).await,
            None => Resolved::Later(format!("{destination} is not a destination")),
        }
    }

    async fn ask(
        &self,
        table: &Table,
        (class, domain, keeps_tls): (Class, Domain, bool),
        clock: &dyn Clock,
    ) -> Resolved {
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
                let hop = Hop::Peer { domain, class, targets, socks5: self.socks5, keeps_tls };
                return Resolved::Onward(Onward::Hop(Arc::new(hop)), now.after(ttl.max(LEAST)));
            }
            Decision::Unknown { reason, .. } => return Resolved::Later(reason),
            Decision::Refused => refused(class, &domain),
            Decision::NoService { .. } if class == Class::Pres && table.mail().is_some() => {
                let reason = no_service(class, &domain, &name);
                return Resolved::Onward(Onward::MailOnly(NO_SERVICE, Arc::from(reason)), now.after(ABSENCE));
            }
            Decision::NoService { .. } => no_service(class, &domain, &name),
        };
        match table.mail().filter(|_| class == Class::Im) {
            Some(way) => self.by_mail(way, (domain, keeps_tls), ABSENCE, clock).await,
            None => nowhere(now.after(ABSENCE), NO_SERVICE, absence),
        }
    }

    /// As a mail for people of a domain; a way that is configured holds for `lasting`.
    async fn by_mail(
        &self,
        way: &MailWay,
        (domain, keeps_tls): (Domain, bool),
        lasting: Duration,
        clock: &dyn Clock,
    ) -> Resolved {
        match way {
            MailWay::Hop(hop) => mail(hop, clock.now().after(lasting)),
            MailWay::Exchangers(bridges) => self.exchangers((domain, keeps_tls), bridges, clock).await,
        }
    }

    /// Straight to the mail exchangers of a domain.
    async fn exchangers(
        &self,
        (domain, keeps_tls): (Domain, bool),
        bridges: &Arc<HashMap<Domain, Domain>>,
        clock: &dyn Clock,
    ) -> Resolved {
        let mut found = exchange(self.resolver.mx(&domain).await, &domain, random::up_to);
        if let Exchange::Implicit(target) = found {
            found = self.implicit(&domain, target).await;
        }
        let (targets, ttl) = match found {
            Exchange::Targets(targets, ttl) => (targets, ttl),
            Exchange::Implicit(target) => (vec![target], ABSENCE),
            Exchange::Nowhere { status, reason } => return nowhere(clock.now().after(ABSENCE), status, reason),
            Exchange::Unknown(reason) => return Resolved::Later(reason),
        };
        let policy = self.policies.of(&domain, clock).await;
        let server = MailServer::Exchangers(Exchangers { domain, targets, policy, socks5: self.socks5, keeps_tls });
        let hop = MailHop { server, lmtp: false, tls: TlsPolicy::Opportunistic, bridges: bridges.clone() };
        mail(&Arc::new(hop), clock.now().after(ttl.clamp(LEAST, EXCHANGERS)))
    }

    /// A domain that names no exchanger is its own if it has an address; behind a proxy that is for the proxy to know.
    async fn implicit(&self, domain: &Domain, target: Target) -> Exchange {
        match self.socks5 {
            Some(_) => Exchange::Implicit(target),
            None => match self.resolver.addresses(domain).await {
                Ok(_) => Exchange::Implicit(target),
                Err(failure) => without_address(&failure, domain),
            },
        }
    }
}

fn mail(hop: &Arc<MailHop>, until: Timestamp) -> Resolved {
    Resolved::Onward(Onward::Hop(Arc::new(Hop::Mail(hop.clone()))), until)
}

fn nowhere(until: Timestamp, status: EnhancedCode, reason: String) -> Resolved {
    Resolved::Onward(Onward::Nowhere(status, Arc::from(reason)), until)
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
        let of = |class| Envelope {
            class,
            sender: crate::address::ReversePath::Null,
            body: crate::envelope::Body::SevenBit,
            utf8: false,
            ret: None,
            envid: None,
            deliver_by: None,
            require_tls: false,
            recipients: Vec::new(),
        };
        let hop = Configured { name: "hub".into(), targets: Vec::new(), tls: TlsPolicy::Required, socks5: None };
        let pattern = Pattern::parse(".example").unwrap();
        let table = Table::new([], [Rule { pattern, class: Some(Class::Im), hop: Arc::new(hop) }]);
        let domains = ["a.example", "a.test", "example", "hub"].map(|name| Domain::parse(name).unwrap());
        for one in &domains {
            for class in [Class::Im, Class::Pres] {
                let made = place_of(&table, one, &of(class));
                for other in &domains {
                    for other_class in [Class::Im, Class::Pres] {
                        for require_tls in [false, true] {
                            let envelope = Envelope { require_tls, ..of(other_class) };
                            let same = place_of(&table, other, &envelope) == made;
                            assert_eq!(goes_to(&table, other, &envelope, &made), same, "{other} {other_class} {made}");
                        }
                    }
                }
            }
        }
    }
}
