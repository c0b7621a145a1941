//! Questions and answers as DNS messages, without I/O.
//!
//! In: octets that somebody sent. Out: records of one type for one name, or a [`Failure`]. Invariant: a message that
//! does not answer the question that was asked gives nothing; a chain of CNAME ends within [`CHAIN`] steps.
//! RFC 1035 §4.1, RFC 2308 §2 and §5, RFC 5452 §9.1, RFC 6604, RFC 6840 §5.7, RFC 6891, RFC 8914 §4.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{Answer, Failure, Mx, Security, Srv, Tlsa};
use crate::address::Domain;

/// CNAME records in a row.
pub(super) const CHAIN: usize = 8;
/// Records of one answer; more are left out.
pub(super) const RECORDS: usize = 64;
/// The longest that an answer is kept.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);
/// The longest that an absence is kept (RFC 2308 §5 allows up to three hours).
pub(super) const LONGEST_ABSENCE: Duration = Duration::from_secs(900);
/// How long a failure is kept, so that a dead server is not hammered (RFC 9520 §3.2: 1 second to 5 minutes).
pub(super) const FAILURE: Duration = Duration::from_secs(5);
/// The UDP payload that is announced (RFC 6891 §6.2.5; no fragmentation).
pub(super) const PAYLOAD: u16 = 1232;

/// The types that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Srv,
    A,
    Aaaa,
    Tlsa,
    Smimea,
    Mx,
    Txt,
}

impl Kind {
    pub(super) fn keyword(self) -> &'static str {
        match self {
            Kind::Srv => "SRV",
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Tlsa => "TLSA",
            Kind::Smimea => "SMIMEA",
            Kind::Mx => "MX",
            Kind::Txt => "TXT",
        }
    }

    pub(super) fn record_type(self) -> RecordType {
        match self {
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Tlsa => RecordType::TLSA,
            Kind::Smimea => RecordType::SMIMEA,
            Kind::Mx => RecordType::MX,
            Kind::Txt => RecordType::TXT,
        }
    }
}

/// A record of one of those types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Srv(Srv),
    Address(IpAddr),
    Tlsa(Tlsa),
    Smimea(Tlsa),
    Mx(Mx),
    /// Its strings, put together.
    Txt(Vec<u8>),
}

impl Data {
    /// About how much memory it takes.
    pub(super) fn octets(&self) -> usize {
        size_of::<Data>()
            + match self {
                Data::Srv(srv) => srv.target.as_ref().map_or(0, |target| target.as_str().len()),
                Data::Address(_) => 0,
                Data::Tlsa(tlsa) | Data::Smimea(tlsa) => tlsa.data.len(),
                Data::Mx(mx) => mx.exchange.as_ref().map_or(0, |host| host.as_str().len()),
                Data::Txt(text) => text.len(),
            }
    }
}

/// A question: the name is in lower case and absolute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: Kind,
}

impl Question {
    /// `None` for what cannot be a name in DNS.
    pub(super) fn new(name: &str, kind: Kind) -> Option<Question> {
        let mut name = Name::from_ascii(name).ok()?.to_lowercase();
        name.set_fqdn(true);
        // RFC 1035 §2.3.4.
        (name.len() <= 255).then_some(Question { name, kind })
    }

    /// The name without the dot at its end.
    pub(super) fn text(&self) -> String {
        shown(&self.name)
    }

    fn is_asked_by(&self, query: &Query) -> bool {
        query.name() == &self.name
            && query.query_type() == self.kind.record_type()
            && query.query_class() == DNSClass::IN
    }
}

fn shown(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => text,
    }
}

/// What came of a question, and how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) result: Result<Answer<Data>, Failure>,
    pub(super) ttl: Duration,
}

impl Outcome {
    pub(super) fn failed(failure: Failure) -> Outcome {
        Outcome { result: Err(failure), ttl: FAILURE }
    }

    pub(super) fn found(records: Vec<Data>, security: Security, ttl: Duration) -> Outcome {
        let ttl = ttl.min(LONGEST);
        Outcome { result: Ok(Answer { records, security, ttl }), ttl }
    }

    pub(super) fn absent(failure: Failure, ttl: Duration) -> Outcome {
        Outcome { result: Err(failure), ttl: ttl.min(LONGEST_ABSENCE) }
    }
}

/// The octets of a query. `edns` adds OPT; the bits DO and AD ask for the AD bit of the answer (RFC 6840 §5.7; some
/// resolvers show it only where DO was set).
pub(super) fn query(question: &Question, id: u16, edns: bool) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.add_query(Query::query(question.name.clone(), question.kind.record_type()));
    if edns {
        let mut opt = Edns::new();
        opt.set_max_payload(PAYLOAD).set_version(0).set_dnssec_ok(true);
        message.set_edns(opt);
    }
    message.to_vec().ok()
}

/// Why octets are not an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not to our question: an old answer, or a forged one. Whoever waits goes on waiting.
    NotOurs,
    /// To our question, as far as can be seen, and broken.
    Garbage,
}

/// Reads an answer to `question` that was asked with `id` (RFC 5452 §9.1).
pub(super) fn read(octets: &[u8], id: u16, question: &Question) -> Result<Message, Unreadable> {
    let is_answer = octets.len() >= 12 && octets[..2] == id.to_be_bytes() && octets[2] & 0x80 != 0;
    if !is_answer {
        return Err(Unreadable::NotOurs);
    }
    let message = Message::from_vec(octets).map_err(|_| Unreadable::Garbage)?;
    match message.queries.as_slice() {
        [query] if question.is_asked_by(query) => Ok(message),
        // A server that did not understand the question need not repeat it.
        [] if matches!(message.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp) => Ok(message),
        _ => Err(Unreadable::NotOurs),
    }
}

/// Why a message that was read is of no use, if it is not.
pub(super) fn refusal(message: &Message, question: &Question) -> Option<Failure> {
    let name = question.text();
    let code = match message.metadata.response_code {
        ResponseCode::NXDomain => return None,
        ResponseCode::NoError if is_referral(message) => "a referral, so it is not a recursive resolver,".to_owned(),
        ResponseCode::NoError => return None,
        ResponseCode::ServFail if is_bogus(message) => return Some(Failure::Bogus(name)),
        other => keyword(other),
    };
    Some(Failure::Server { name, code })
}

/// RFC 2308 §2.2: NS without SOA, from a server that is not the authority.
fn is_referral(message: &Message) -> bool {
    let has = |kind| message.authorities.iter().any(|record| record.record_type() == kind);
    message.answers.is_empty() && !message.metadata.authoritative && has(RecordType::NS) && !has(RecordType::SOA)
}

/// The codes of RFC 8914 §4 and its registry that say that DNSSEC validation failed.
fn is_bogus(message: &Message) -> bool {
    const EXTENDED_ERROR: u16 = 15;
    let options = message.edns.iter().flat_map(|edns| edns.options().get_all(EdnsCode::Unknown(EXTENDED_ERROR)));
    let codes = options.filter_map(|option| match option {
        EdnsOption::Unknown(_, data) => data.first_chunk::<2>().map(|code| u16::from_be_bytes(*code)),
        _ => None,
    });
    let mut codes = codes;
    codes.any(|code| matches!(code, 1 | 2 | 5..=12 | 25 | 27))
}

pub(super) fn keyword(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::BADVERS => "BADVERS".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

/// Whether a server failed because it does not know EDNS (RFC 6891 §7).
pub(super) fn refuses_edns(message: &Message) -> bool {
    matches!(message.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp) && message.edns.is_none()
}

/// The way from a question along CNAME to its records; it takes messages until it has them or knows that there are
/// none.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    question: Question,
    /// Every name of the chain, the last being where it stands.
    names: Vec<Name>,
    ttl: Duration,
    secure: bool,
}

impl Walk {
    pub(super) fn new(question: Question) -> Walk {
        let names = vec![question.name.clone()];
        Walk { question, names, ttl: LONGEST, secure: true }
    }

    /// What must be asked now.
    pub(super) fn current(&self) -> Question {
        Question { name: self.at().clone(), kind: self.question.kind }
    }

    fn at(&self) -> &Name {
        self.names.last().unwrap_or(&self.question.name)
    }

    /// Takes an answer to [`Walk::current`]; `None` asks for another. `trusted`: whether its AD bit is believed.
    pub(super) fn take(&mut self, message: &Message, trusted: bool) -> Option<Outcome> {
        self.secure &= trusted && message.metadata.authentic_data;
        let asked = self.names.len();
        while let Some((target, ttl)) = self.alias(message) {
            if self.names.contains(&target) {
                return Some(self.broken("a loop of CNAME records"));
            }
            if self.names.len() > CHAIN {
                return Some(self.broken("too long a chain of CNAME records"));
            }
            self.ttl = self.ttl.min(ttl);
            self.names.push(target);
        }
        let found: Vec<(Option<Data>, Duration)> = self.records(message);
        if !found.is_empty() {
            return Some(self.found(found));
        }
        let soa = message.authorities.iter().find_map(absence_ttl);
        match message.metadata.response_code {
            ResponseCode::NXDomain => Some(self.absent(true, soa)),
            // The chain leads out of what this server told: ask for its end (RFC 2308 §2.2).
            _ if self.names.len() > asked && soa.is_none() => None,
            _ => Some(self.absent(false, soa)),
        }
    }

    fn alias(&self, message: &Message) -> Option<(Name, Duration)> {
        message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if self.is_here(record) => Some((absolute(&target.0), time_to_live(record))),
            _ => None,
        })
    }

    fn is_here(&self, record: &Record) -> bool {
        record.dns_class == DNSClass::IN && &record.name == self.at()
    }

    fn records(&self, message: &Message) -> Vec<(Option<Data>, Duration)> {
        let wanted = self.question.kind.record_type();
        let here = message.answers.iter().filter(|record| record.record_type() == wanted && self.is_here(record));
        here.take(RECORDS).map(|record| (data(&record.data), time_to_live(record))).collect()
    }

    fn found(&self, found: Vec<(Option<Data>, Duration)>) -> Outcome {
        let ttl = found.iter().map(|(_, ttl)| *ttl).fold(self.ttl, Duration::min);
        let mut records: Vec<Data> = found.into_iter().filter_map(|(data, _)| data).collect();
        dedup(&mut records);
        if records.is_empty() {
            return self.broken("records that cannot be used: their targets are not host names");
        }
        Outcome::found(records, self.security(), ttl)
    }

    fn absent(&self, no_such_name: bool, soa: Option<Duration>) -> Outcome {
        let (name, security) = (self.question.text(), self.security());
        let failure = if no_such_name {
            Failure::NxDomain { name, security }
        } else {
            Failure::NoData { name, kind: self.question.kind.keyword(), security }
        };
        // RFC 2308 §5: without SOA it is not cached.
        Outcome::absent(failure, soa.unwrap_or(Duration::ZERO).min(self.ttl))
    }

    fn broken(&self, what: &str) -> Outcome {
        Outcome::failed(Failure::Server { name: self.question.text(), code: what.to_owned() })
    }

    fn security(&self) -> Security {
        if self.secure { Security::Secure } else { Security::Insecure }
    }
}

fn absolute(name: &Name) -> Name {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name
}

fn dedup(records: &mut Vec<Data>) {
    let mut seen: Vec<Data> = Vec::with_capacity(records.len());
    for record in records.drain(..) {
        if !seen.contains(&record) {
            seen.push(record);
        }
    }
    *records = seen;
}

/// RFC 2181 §8: a value with the highest bit set is zero.
pub(super) fn time_to_live(record: &Record) -> Duration {
    let seconds = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
    Duration::from_secs(u64::from(seconds)).min(LONGEST)
}

/// RFC 2308 §5: the lesser of the SOA's TTL and its MINIMUM.
pub(super) fn absence_ttl(record: &Record) -> Option<Duration> {
    match &record.data {
        RData::SOA(soa) => Some(time_to_live(record).min(Duration::from_secs(u64::from(soa.minimum)))),
        _ => None,
    }
}

/// Our form of a record; `None` for an SRV or MX whose target is no host name, which nobody can connect to.
pub(super) fn data(data: &RData) -> Option<Data> {
    match data {
        RData::SRV(srv) => {
            let target = host(&srv.target)?;
            Some(Data::Srv(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target }))
        }
        RData::A(a) => Some(Data::Address(IpAddr::V4(a.0))),
        RData::AAAA(aaaa) => Some(Data::Address(IpAddr::V6(aaaa.0))),
        RData::TLSA(tlsa) => Some(Data::Tlsa(association(tlsa))),
        RData::SMIMEA(smimea) => Some(Data::Smimea(association(smimea))),
        RData::MX(mx) => Some(Data::Mx(Mx { preference: mx.preference, exchange: host(&mx.exchange)? })),
        RData::TXT(txt) => Some(Data::Txt(txt.txt_data.concat())),
        _ => None,
    }
}

/// `Some(None)` for the root.
fn host(name: &Name) -> Option<Option<Domain>> {
    if name.is_root() { Some(None) } else { Domain::parse(&shown(name)).ok().map(Some) }
}

fn association(record: &TLSA) -> Tlsa {
    Tlsa {
        usage: record.cert_usage.into(),
        selector: record.selector.into(),
        matching: record.matching.into(),
        data: record.cert_data.clone(),
    }
}

#[cfg(test)]
mod tests;
