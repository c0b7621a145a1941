//! A zone as data: names, their records, and how the authority conducts itself when it is asked for them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SMIMEA, SOA, SRV, TLSA, TXT};
use hickory_proto::rr::{Name, RData};

use crate::dns::{Srv, Tlsa};

/// How long absences may be cached, unless told otherwise.
const ABSENCE_SECONDS: u32 = 60;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A service (RFC 2782).
    Srv(Srv),
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// An alias; the only record at its name (RFC 1034 §3.6.2).
    Cname(String),
    /// A certificate association (RFC 6698).
    Tlsa(Tlsa),
    /// A certificate for messages (RFC 8162).
    Smimea(Tlsa),
    /// A mail exchanger (RFC 5321 §5.1); the host `.` takes no mail (RFC 7505).
    Mx {
        /// Lower is preferred.
        preference: u16,
        /// The host.
        host: String,
    },
    /// One string of text, at most 255 octets.
    Txt(String),
    /// A name server of the zone.
    Ns(String),
}

/// How the authority answers for a name. All but the first two imitate a server, or a resolver, that is in trouble, so
/// that what happens then can be shown and tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    /// As it should.
    #[default]
    Proper,
    /// With the AD bit, as a resolver does that has validated the answer.
    Authentic,
    /// SERVFAIL.
    ServFail,
    /// SERVFAIL with the extended error "DNSSEC Bogus" (RFC 8914 §4.7), as a resolver does that found a forgery.
    Bogus,
    /// REFUSED.
    Refused,
    /// FORMERR.
    FormErr,
    /// NOTIMP.
    NotImp,
    /// Never.
    Silent,
    /// Over UDP cut off, so that TCP must be used; over TCP as it should.
    Truncated,
}

/// What cannot be in a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Not a name of DNS.
    #[error("{0} is not a domain name")]
    Name(String),
    /// Neither the zone's name nor below it.
    #[error("{0} is not in the zone {1}")]
    Outside(String, String),
    /// RFC 1034 §3.6.2.
    #[error("{0} cannot have a CNAME and other records")]
    Alias(String),
    /// A string of more than 255 octets.
    #[error("the text of {0} is longer than 255 octets")]
    Text(String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// With their time to live in seconds.
    pub(super) records: Vec<(u32, RData)>,
    pub(super) conduct: Option<Conduct>,
}

/// A zone. It has an SOA record from the start.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: Name,
    absence: u32,
    conduct: Conduct,
    nodes: BTreeMap<Name, Node>,
}

impl Zone {
    /// An empty zone; `.` is the root.
    pub fn new(origin: &str) -> Result<Zone, ZoneError> {
        let origin = absolute(origin)?;
        let mut zone = Zone { origin, absence: ABSENCE_SECONDS, conduct: Conduct::Proper, nodes: BTreeMap::new() };
        zone.set_absence(ABSENCE_SECONDS);
        Ok(zone)
    }

    /// Adds a record at `name`, which is absolute; `ttl` in seconds.
    pub fn add(&mut self, name: &str, ttl: u32, data: Data) -> Result<&mut Zone, ZoneError> {
        let key = self.key(name)?;
        let data = rdata(name, data)?;
        let node = self.nodes.entry(key).or_default();
        let is_alias = |data: &RData| matches!(data, RData::CNAME(_));
        if !node.records.is_empty() && (is_alias(&data) || node.records.iter().any(|(_, old)| is_alias(old))) {
            return Err(ZoneError::Alias(name.to_owned()));
        }
        node.records.push((ttl, data));
        Ok(self)
    }

    /// Removes all records at `name`; how the authority conducts itself there stays.
    pub fn remove(&mut self, name: &str) -> Result<&mut Zone, ZoneError> {
        let key = self.key(name)?;
        let conduct = self.nodes.remove(&key).and_then(|node| node.conduct);
        if conduct.is_some() {
            self.nodes.insert(key, Node { records: Vec::new(), conduct });
        }
        Ok(self)
    }

    /// How the authority answers for `name`, whether or not the name has records.
    pub fn set_conduct(&mut self, name: &str, conduct: Conduct) -> Result<&mut Zone, ZoneError> {
        let key = self.key(name)?;
        self.nodes.entry(key).or_default().conduct = Some(conduct);
        Ok(self)
    }

    /// How the authority answers for all names that have no conduct of their own.
    pub fn set_zone_conduct(&mut self, conduct: Conduct) -> &mut Zone {
        self.conduct = conduct;
        self
    }

    /// How long absences may be cached, in seconds: TTL and MINIMUM of the SOA (RFC 2308 §5).
    pub fn set_absence(&mut self, seconds: u32) -> &mut Zone {
        self.absence = seconds;
        let node = self.nodes.entry(self.origin.clone()).or_default();
        node.records.retain(|(_, data)| !matches!(data, RData::SOA(_)));
        let host = |label: &str| self.origin.prepend_label(label).unwrap_or_else(|_| self.origin.clone());
        let soa = SOA::new(host("ns"), host("hostmaster"), 1, 3600, 600, 604_800, seconds);
        node.records.push((seconds, RData::SOA(soa)));
        self
    }

    /// Its name.
    pub(super) fn origin(&self) -> &Name {
        &self.origin
    }

    pub(super) fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// RFC 4592 §2.2.2: a name exists if it has records, or if a name below it has.
    pub(super) fn exists(&self, name: &Name) -> bool {
        let occupied = |node: &Node| !node.records.is_empty();
        self.nodes.get(name).is_some_and(occupied)
            || self.nodes.iter().any(|(below, node)| occupied(node) && name.zone_of(below))
    }

    pub(super) fn conduct(&self, name: &Name) -> Conduct {
        self.nodes.get(name).and_then(|node| node.conduct).unwrap_or(self.conduct)
    }

    fn key(&self, name: &str) -> Result<Name, ZoneError> {
        let key = absolute(name)?;
        if self.origin.zone_of(&key) {
            Ok(key)
        } else {
            Err(ZoneError::Outside(name.to_owned(), self.origin.to_ascii()))
        }
    }
}

fn absolute(text: &str) -> Result<Name, ZoneError> {
    let mut name = Name::from_ascii(text).map_err(|_| ZoneError::Name(text.to_owned()))?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

fn rdata(name: &str, data: Data) -> Result<RData, ZoneError> {
    Ok(match data {
        Data::Srv(srv) => {
            let target = srv.target.map_or(Ok(Name::root()), |target| absolute(target.as_str()))?;
            RData::SRV(SRV::new(srv.priority, srv.weight, srv.port, target))
        }
        Data::A(address) => RData::A(A(address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(address)),
        Data::Cname(target) => RData::CNAME(CNAME(absolute(&target)?)),
        Data::Tlsa(tlsa) => {
            RData::TLSA(TLSA::new(tlsa.usage.into(), tlsa.selector.into(), tlsa.matching.into(), tlsa.data))
        }
        Data::Smimea(record) => {
            RData::SMIMEA(SMIMEA::new(record.usage.into(), record.selector.into(), record.matching.into(), record.data))
        }
        Data::Mx { preference, host } => RData::MX(MX::new(preference, absolute(&host)?)),
        Data::Txt(text) if text.len() > 255 => return Err(ZoneError::Text(name.to_owned())),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text])),
        Data::Ns(host) => RData::NS(NS(absolute(&host)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_in_a_zone() {
        let mut zone = Zone::new("a.test").unwrap();
        let one = || Data::A([192, 0, 2, 1].into());
        let check = |got: Result<&mut Zone, ZoneError>, expected: &str| {
            assert_eq!(got.map(|_| ()).unwrap_err().to_string(), expected);
        };
        check(zone.add("b.test", 1, one()), "b.test is not in the zone a.test.");
        check(zone.add("x..a.test", 1, one()), "x..a.test is not a domain name");
        zone.add("x.a.test", 1, one()).unwrap();
        check(
            zone.add("X.a.test", 1, Data::Cname("y.a.test".into())),
            "X.a.test cannot have a CNAME and other records",
        );
        zone.add("y.a.test", 1, Data::Cname("x.a.test".into())).unwrap();
        check(zone.add("y.a.test", 1, one()), "y.a.test cannot have a CNAME and other records");
        check(zone.add("t.a.test", 1, Data::Txt("x".repeat(256))), "the text of t.a.test is longer than 255 octets");
    }

    #[test]
    fn names_between() {
        let mut zone = Zone::new("test").unwrap();
        zone.add("_im._impp.b.test", 1, Data::Txt("x".into())).unwrap();
        let exists = |zone: &Zone, name: &str| zone.exists(&absolute(name).unwrap());
        assert!(exists(&zone, "test") && exists(&zone, "_impp.b.test") && exists(&zone, "b.test"));
        assert!(!exists(&zone, "x.b.test"));
        zone.remove("_im._impp.b.test").unwrap();
        assert!(!exists(&zone, "b.test"));
    }
}
