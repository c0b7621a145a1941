//! From a query's octets to the answer's, without I/O (RFC 1034 §4.3.2).

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{Conduct, Zone};
use crate::dns::wire;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// The answer; `None` where there is none to give.
pub(super) fn answer(zones: &[Zone], query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let Ok(request) = Message::from_vec(query) else {
        return unreadable(query);
    };
    // An answer is never answered (RFC 1035 §7.3 looks at QR first).
    if request.metadata.message_type == MessageType::Response {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(wire::PAYLOAD);
        response.set_edns(edns);
    }
    let refused = |mut response: Message, code| {
        response.metadata.response_code = code;
        response.to_vec().ok()
    };
    if request.metadata.op_code != OpCode::Query {
        return refused(response, ResponseCode::NotImp);
    }
    let [question] = request.queries.as_slice() else {
        return refused(response, ResponseCode::FormErr);
    };
    response.add_query(question.clone());
    if request.version() > 0 {
        // RFC 6891 §6.1.3: BADVERS is 16; its low bits are zero.
        response.edns.get_or_insert_with(Edns::new).set_rcode_high(1);
        return response.to_vec().ok();
    }
    let name = question.name().to_lowercase();
    let Some(zone) = nearest(zones, question, &name) else {
        return refused(response, ResponseCode::Refused);
    };
    match zone.conduct(&name) {
        Conduct::Silent => return None,
        Conduct::ServFail => return refused(response, ResponseCode::ServFail),
        Conduct::Refused => return refused(response, ResponseCode::Refused),
        Conduct::FormErr => return refused(response, ResponseCode::FormErr),
        Conduct::NotImp => return refused(response, ResponseCode::NotImp),
        Conduct::Bogus => {
            if let Some(edns) = &mut response.edns {
                // RFC 8914 §2: option 15, code 6.
                edns.options_mut().insert(EdnsOption::Unknown(15, vec![0, 6]));
            }
            return refused(response, ResponseCode::ServFail);
        }
        Conduct::Truncated if transport == Transport::Udp => return response.truncate().to_vec().ok(),
        Conduct::Truncated | Conduct::Proper => {}
        Conduct::Authentic => response.metadata.authentic_data = true,
    }
    fill(&mut response, zone, name, question.query_type());
    let octets = response.to_vec().ok()?;
    let limit = match transport {
        Transport::Udp => usize::from(request.max_payload().min(wire::PAYLOAD)),
        Transport::Tcp => usize::from(u16::MAX),
    };
    if octets.len() <= limit { Some(octets) } else { response.truncate().to_vec().ok() }
}

/// FORMERR with the id, if there is one and it is a question.
fn unreadable(query: &[u8]) -> Option<Vec<u8>> {
    let head = query.first_chunk::<12>()?;
    let is_question = head[2] & 0x80 == 0;
    let id = u16::from_be_bytes([head[0], head[1]]);
    is_question.then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()).flatten()
}

/// The zone with the longest name that holds the question's; zone transfers and other classes have none.
fn nearest<'a>(zones: &'a [Zone], question: &Query, name: &Name) -> Option<&'a Zone> {
    let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR | RecordType::ANY);
    if transfer || question.query_class() != DNSClass::IN {
        return None;
    }
    let holding = zones.iter().filter(|zone| zone.origin().zone_of(name));
    holding.max_by_key(|zone| zone.origin().num_labels())
}

/// Answer and authority sections; aliases are followed inside the zone.
fn fill(response: &mut Message, zone: &Zone, name: Name, wanted: RecordType) {
    response.metadata.authoritative = true;
    let mut at = name;
    for _ in 0..=wire::CHAIN {
        let Some(records) = records(zone, &at) else {
            response.metadata.response_code = ResponseCode::NXDomain;
            break;
        };
        let mut alias = None;
        for (ttl, data) in records {
            if data.record_type() == wanted {
                response.add_answer(Record::from_rdata(at.clone(), *ttl, data.clone()));
            } else if let RData::CNAME(target) = data {
                response.add_answer(Record::from_rdata(at.clone(), *ttl, data.clone()));
                alias = Some(target.0.to_lowercase());
            }
        }
        match alias {
            Some(target) if zone.origin().zone_of(&target) => at = target,
            // Its end is another's to tell.
            Some(_) => return,
            None if response.answers.iter().any(|record| record.record_type() == wanted) => return,
            None => break,
        }
    }
    // RFC 2308 §3.
    let soa = zone.node(zone.origin()).into_iter().flat_map(|node| &node.records);
    for (ttl, data) in soa.filter(|(_, data)| matches!(data, RData::SOA(_))) {
        response.add_authority(Record::from_rdata(zone.origin().clone(), *ttl, data.clone()));
    }
}

/// The records of a name, those of a wildcard where it has none; `None` if it does not exist (RFC 4592 §3.3.1).
fn records<'a>(zone: &'a Zone, name: &Name) -> Option<&'a [(u32, RData)]> {
    if zone.exists(name) {
        return Some(zone.node(name).map_or(&[], |node| &node.records));
    }
    let mut encloser = name.base_name();
    while !zone.exists(&encloser) && zone.origin().zone_of(&encloser) && &encloser != zone.origin() {
        encloser = encloser.base_name();
    }
    let wildcard = zone.node(&encloser.prepend_label("*").ok()?)?;
    (!wildcard.records.is_empty()).then_some(&wildcard.records)
}

#[cfg(test)]
mod tests {
    use super::super::zone::Data;
    use super::*;

    fn zone() -> Zone {
        let mut zone = Zone::new("test").unwrap();
        let one = || Data::A([192, 0, 2, 1].into());
        zone.add("mx.b.test", 60, one()).unwrap();
        zone.add("alias.test", 60, Data::Cname("MX.b.test".into())).unwrap();
        zone.add("out.test", 60, Data::Cname("mx.example".into())).unwrap();
        zone.add("dangling.test", 60, Data::Cname("none.test".into())).unwrap();
        zone.add("loop.test", 60, Data::Cname("loop.test".into())).unwrap();
        zone.add("*.wild.test", 60, one()).unwrap();
        for last in 0..200 {
            zone.add("many.test", 60, Data::A([192, 0, 2, last].into())).unwrap();
        }
        zone
    }

    fn ask(name: &str, kind: RecordType, edns: bool, transport: Transport) -> Message {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
        if edns {
            query.set_edns(Edns::new());
        }
        let octets = answer(&[zone(), Zone::new(".").unwrap()], &query.to_vec().unwrap(), transport).unwrap();
        Message::from_vec(&octets).unwrap()
    }

    /// Code, answers and authorities in short.
    fn check(name: &str, kind: RecordType, code: ResponseCode, answers: &[RecordType], authorities: &[RecordType]) {
        let message = ask(name, kind, true, Transport::Udp);
        let kinds = |records: &[Record]| records.iter().map(Record::record_type).collect::<Vec<_>>();
        assert_eq!(message.metadata.response_code, code, "{name}");
        assert_eq!(kinds(&message.answers), answers, "{name}");
        assert_eq!(kinds(&message.authorities), authorities, "{name}");
        assert!(message.metadata.authoritative && message.edns.is_some());
    }

    #[test]
    fn answers() {
        use RecordType::{A, AAAA, CNAME, SOA};
        use ResponseCode::{NXDomain, NoError};
        check("mx.b.test", A, NoError, &[A], &[]);
        check("MX.B.TEST", A, NoError, &[A], &[]);
        check("mx.b.test", AAAA, NoError, &[], &[SOA]);
        check("b.test", A, NoError, &[], &[SOA]);
        check("none.test", A, NXDomain, &[], &[SOA]);
        check("alias.test", A, NoError, &[CNAME, A], &[]);
        check("alias.test", AAAA, NoError, &[CNAME], &[SOA]);
        check("alias.test", CNAME, NoError, &[CNAME], &[]);
        check("out.test", A, NoError, &[CNAME], &[]);
        check("dangling.test", A, NXDomain, &[CNAME], &[SOA]);
        check("x.y.wild.test", A, NoError, &[A], &[]);
        check("test", SOA, NoError, &[SOA], &[]);
    }

    #[test]
    fn a_loop_ends() {
        let message = ask("loop.test", RecordType::A, true, Transport::Tcp);
        assert!(message.answers.len() <= wire::CHAIN + 1);
    }

    #[test]
    fn too_much_for_udp() {
        let udp = ask("many.test", RecordType::A, false, Transport::Udp);
        assert!(udp.metadata.truncation && udp.answers.is_empty());
        let tcp = ask("many.test", RecordType::A, false, Transport::Tcp);
        assert_eq!((tcp.metadata.truncation, tcp.answers.len()), (false, 200));
    }

    #[test]
    fn refusals() {
        assert_eq!(ask("test", RecordType::AXFR, true, Transport::Tcp).metadata.response_code, ResponseCode::Refused);
        let alone = [Zone::new("test").unwrap()];
        let code = |octets: &[u8]| {
            answer(&alone, octets, Transport::Udp)
                .map(|octets| Message::from_vec(&octets).unwrap().metadata.response_code)
        };
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        assert_eq!(code(&query.to_vec().unwrap()), Some(ResponseCode::FormErr));
        query.add_query(Query::query(Name::from_ascii("mx.example.").unwrap(), RecordType::A));
        assert_eq!(code(&query.to_vec().unwrap()), Some(ResponseCode::Refused));
        let octets = query.to_vec().unwrap();
        assert_eq!(code(&octets[..octets.len() - 3]), Some(ResponseCode::FormErr));
        assert_eq!(code(&octets[..11]), None);
        query.metadata.message_type = MessageType::Response;
        assert_eq!(code(&query.to_vec().unwrap()), None);
    }
}
