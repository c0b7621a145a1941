//! Local domains and configured routes.
//!
//! A local domain is local whatever the routes say. Of the routes the most specific wins: the domain itself, then the
//! longest suffix, then `*`; for equal patterns one for the class before one for all, then the first.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Configured, MailHop};
use crate::address::{AddressError, Domain};
use crate::envelope::Class;

/// Which domains a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `b.example`: that domain.
    Exact(Domain),
    /// `.b.example`: every domain below it, but not itself.
    Below(Domain),
    /// `*`: every domain.
    Any,
}

impl Pattern {
    /// Reads `b.example`, `.b.example` or `*`.
    pub fn parse(text: &str) -> Result<Pattern, AddressError> {
        match (text, text.strip_prefix('.')) {
            ("*", _) => Ok(Pattern::Any),
            (_, Some(suffix)) => Domain::parse(suffix).map(Pattern::Below),
            _ => Domain::parse(text).map(Pattern::Exact),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exact(domain) => domain.fmt(f),
            Pattern::Below(domain) => write!(f, ".{domain}"),
            Pattern::Any => f.write_str("*"),
        }
    }
}

/// A route: what goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The domains.
    pub pattern: Pattern,
    /// The class; `None` is both.
    pub class: Option<Class>,
    /// Where it goes.
    pub hop: Arc<Configured>,
}

/// The way to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is ours.
    Local,
    /// By a route.
    Configured(Arc<Configured>),
    /// By DNS.
    Lookup,
}

/// How mail leaves, for domains that do not offer instant messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailWay {
    /// Through the mail system.
    Hop(Arc<MailHop>),
    /// Straight to the mail exchangers of each domain, with these domains of bridge addresses ([`MailHop::bridges`]).
    Exchangers(Arc<HashMap<Domain, Domain>>),
}

/// Hops for one pattern.
#[derive(Clone, Debug, Default)]
struct Hops {
    im: Option<Arc<Configured>>,
    pres: Option<Arc<Configured>>,
    both: Option<Arc<Configured>>,
}

impl Hops {
    fn add(&mut self, class: Option<Class>, hop: Arc<Configured>) {
        let place = match class {
            Some(Class::Im) => &mut self.im,
            Some(Class::Pres) => &mut self.pres,
            None => &mut self.both,
        };
        place.get_or_insert(hop);
    }

    fn get(&self, class: Class) -> Option<&Arc<Configured>> {
        let own = match class {
            Class::Im => &self.im,
            Class::Pres => &self.pres,
        };
        own.as_ref().or(self.both.as_ref())
    }
}

/// Local domains and routes; looking one up costs a few hashes, however many there are.
#[derive(Clone, Debug, Default)]
pub struct Table {
    local: HashSet<Domain>,
    exact: HashMap<Domain, Hops>,
    /// By suffix, without its leading dot.
    below: HashMap<String, Hops>,
    any: Hops,
    mail: Option<MailWay>,
    store: Option<Arc<MailHop>>,
    /// After how long out of contact people of a domain get mail.
    fallback: HashMap<Domain, Duration>,
}

impl Table {
    /// From the local domains and the routes in the order of the configuration.
    pub fn new(local: impl IntoIterator<Item = Domain>, rules: impl IntoIterator<Item = Rule>) -> Table {
        let mut table = Table { local: local.into_iter().collect(), ..Table::default() };
        for Rule { pattern, class, hop } in rules {
            let hops = match pattern {
                Pattern::Exact(domain) => table.exact.entry(domain).or_default(),
                Pattern::Below(domain) => table.below.entry(domain.as_str().to_owned()).or_default(),
                Pattern::Any => &mut table.any,
            };
            hops.add(class, hop);
        }
        table
    }

    /// With a way by mail for domains that do not offer instant messages.
    #[must_use]
    pub fn with_mail(self, mail: Option<MailWay>) -> Table {
        Table { mail, ..self }
    }

    /// With a way into the mail store for people here who are out of contact, and after how long they are, by domain.
    #[must_use]
    pub fn with_store(self, store: Option<Arc<MailHop>>, fallback: HashMap<Domain, Duration>) -> Table {
        Table { store, fallback, ..self }
    }

    /// The way into the mail store, where there is one.
    pub fn store(&self) -> Option<&Arc<MailHop>> {
        self.store.as_ref()
    }

    /// After how long a message for somebody of this domain goes to the mail store, where it does.
    pub fn fallback(&self, domain: &Domain, class: Class) -> Option<Duration> {
        self.store.as_ref()?;
        self.fallback.get(domain).copied().filter(|_| class == Class::Im)
    }

    /// The way by mail, where there is one.
    pub fn mail(&self) -> Option<&MailWay> {
        self.mail.as_ref()
    }

    /// The route of this name.
    pub fn named(&self, name: &str) -> Option<Arc<Configured>> {
        let hops = self.exact.values().chain(self.below.values()).chain(std::iter::once(&self.any));
        let mut all = hops.flat_map(|hops| [&hops.im, &hops.pres, &hops.both]).flatten();
        all.find(|hop| hop.name == name).cloned()
    }

    /// Whether a route names the domain, itself or by a suffix, so that we relay for it on behalf of others. `*` names
    /// none: that would be an open relay.
    pub fn relays_for(&self, domain: &Domain, class: Class) -> bool {
        !self.is_local(domain) && self.specific(domain, class).is_some()
    }

    /// Whether the domain is ours.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.local.contains(domain)
    }

    /// The way to `domain` for a message of `class`.
    pub fn way(&self, domain: &Domain, class: Class) -> Way {
        if self.is_local(domain) {
            return Way::Local;
        }
        match self.configured(domain, class) {
            Some(hop) => Way::Configured(hop.clone()),
            None => Way::Lookup,
        }
    }

    fn configured(&self, domain: &Domain, class: Class) -> Option<&Arc<Configured>> {
        self.specific(domain, class).or_else(|| self.any.get(class))
    }

    fn specific(&self, domain: &Domain, class: Class) -> Option<&Arc<Configured>> {
        if let Some(hop) = self.exact.get(domain).and_then(|hops| hops.get(class)) {
            return Some(hop);
        }
        let mut rest = domain.as_str();
        if !self.below.is_empty() {
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(hop) = self.below.get(parent).and_then(|hops| hops.get(class)) {
                    return Some(hop);
                }
                rest = parent;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::TlsPolicy;
    use super::*;

    fn rule(pattern: &str, class: Option<Class>, name: &str) -> Rule {
        let hop = Configured { name: name.to_owned(), targets: Vec::new(), tls: TlsPolicy::Required, socks5: None };
        Rule { pattern: Pattern::parse(pattern).unwrap(), class, hop: Arc::new(hop) }
    }

    fn check(table: &Table, domain: &str, class: Class, expected: &str) {
        let way = match table.way(&Domain::parse(domain).unwrap(), class) {
            Way::Local => "local".to_owned(),
            Way::Lookup => "lookup".to_owned(),
            Way::Configured(hop) => hop.name.clone(),
        };
        assert_eq!(way, expected, "{domain} {class}");
    }

    #[test]
    fn the_most_specific_wins() {
        let rules = [
            rule(".example", None, "suffix"),
            rule(".b.example", None, "longer"),
            rule("b.example", None, "exact"),
            rule("b.example", None, "second"),
            rule("local.example", None, "never"),
        ];
        let table = Table::new([Domain::parse("local.example").unwrap()], rules);
        check(&table, "b.example", Class::Im, "exact");
        check(&table, "x.b.example", Class::Im, "longer");
        check(&table, "x.y.b.example", Class::Pres, "longer");
        check(&table, "ab.example", Class::Im, "suffix");
        check(&table, "example", Class::Im, "lookup");
        check(&table, "other.test", Class::Im, "lookup");
        check(&table, "local.example", Class::Im, "local");
        check(&table, "x.local.example", Class::Im, "suffix");
    }

    #[test]
    fn classes_and_a_smart_host() {
        let rules = [
            rule("*", None, "smart"),
            rule("*", Some(Class::Pres), "presence"),
            rule("b.example", Some(Class::Im), "messages"),
        ];
        let table = Table::new([], rules);
        check(&table, "b.example", Class::Im, "messages");
        check(&table, "b.example", Class::Pres, "presence");
        check(&table, "c.example", Class::Im, "smart");
    }

    #[test]
    fn patterns() {
        for text in ["b.example", ".b.example", "*"] {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Pattern::parse("B.Example").unwrap().to_string(), "b.example");
        for text in ["", ".", "*.b.example", "b_.example"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
