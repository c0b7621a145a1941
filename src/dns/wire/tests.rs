use super::*;
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, SRV};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn question() -> Question {
    Question::new("MX.b.test", Kind::A).unwrap()
}

fn response(code: ResponseCode) -> Message {
    let mut message = Message::response(7, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(Query::query(name("mx.b.test"), RecordType::A));
    message
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A([192, 0, 2, last].into())))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    Record::from_rdata(name("test"), ttl, RData::SOA(SOA::new(name("ns.test"), name("x.test"), 1, 1, 1, 1, minimum)))
}

fn with(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    let mut message = response(code);
    message.answers = answers;
    message.authorities = authorities;
    message
}

/// `name|name… secure? ttl`, or the failure's words, ttl.
fn show(outcome: Option<Outcome>) -> String {
    let Some(Outcome { result, ttl }) = outcome else { return "ask again".to_owned() };
    let text = match result {
        Ok(answer) => {
            let records: Vec<String> = answer
                .records
                .iter()
                .map(|data| match data {
                    Data::Address(address) => address.to_string(),
                    other => format!("{other:?}"),
                })
                .collect();
            format!("{} {:?}", records.join("|"), answer.security)
        }
        Err(failure) => match &failure {
            Failure::NxDomain { security, .. } | Failure::NoData { security, .. } => format!("{failure} {security:?}"),
            _ => failure.to_string(),
        },
    };
    format!("{text} {}", ttl.as_secs())
}

fn check(message: &Message, expected: &str) {
    assert_eq!(show(Walk::new(question()).take(message, true)), expected);
}

const NO_ERROR: ResponseCode = ResponseCode::NoError;
const NX: ResponseCode = ResponseCode::NXDomain;

#[test]
fn records_and_their_time() {
    check(
        &with(NO_ERROR, vec![a("mx.b.test", 60, 1), a("MX.B.TEST", 30, 2)], vec![]),
        "192.0.2.1|192.0.2.2 Insecure 30",
    );
    check(&with(NO_ERROR, vec![a("mx.b.test", 999_999, 1)], vec![]), "192.0.2.1 Insecure 86400");
    // RFC 2181 §8.
    check(&with(NO_ERROR, vec![a("mx.b.test", 0x8000_0001, 1)], vec![]), "192.0.2.1 Insecure 0");
    check(&with(NO_ERROR, vec![a("mx.b.test", 5, 1), a("mx.b.test", 5, 1)], vec![]), "192.0.2.1 Insecure 5");
    // What somebody adds about other names is not looked at.
    check(
        &with(NO_ERROR, vec![a("evil.test", 5, 9)], vec![soa(5, 5)]),
        "mx.b.test has no A record (NODATA) Insecure 5",
    );
}

#[test]
fn absences() {
    check(&with(NX, vec![], vec![soa(60, 30)]), "the name mx.b.test does not exist (NXDOMAIN) Insecure 30");
    check(&with(NX, vec![], vec![soa(20, 30)]), "the name mx.b.test does not exist (NXDOMAIN) Insecure 20");
    check(&with(NX, vec![], vec![soa(86_400, 86_400)]), "the name mx.b.test does not exist (NXDOMAIN) Insecure 900");
    // RFC 2308 §5: without SOA not cached.
    check(&with(NX, vec![], vec![]), "the name mx.b.test does not exist (NXDOMAIN) Insecure 0");
    check(&with(NO_ERROR, vec![], vec![soa(60, 30)]), "mx.b.test has no A record (NODATA) Insecure 30");
    check(&with(NO_ERROR, vec![], vec![]), "mx.b.test has no A record (NODATA) Insecure 0");
}

#[test]
fn aliases() {
    let chain = vec![cname("mx.b.test", 10, "y.test"), cname("y.test", 5, "z.test"), a("z.test", 60, 1)];
    check(&with(NO_ERROR, chain.clone(), vec![]), "192.0.2.1 Insecure 5");
    let mut backwards = chain;
    backwards.reverse();
    check(&with(NO_ERROR, backwards, vec![]), "192.0.2.1 Insecure 5");
    // RFC 6604 §3: the code is about the last name.
    let dangling = vec![cname("mx.b.test", 10, "y.test")];
    check(&with(NX, dangling.clone(), vec![soa(9, 9)]), "the name mx.b.test does not exist (NXDOMAIN) Insecure 9");
    check(&with(NO_ERROR, dangling.clone(), vec![soa(99, 99)]), "mx.b.test has no A record (NODATA) Insecure 10");
    check(&with(NO_ERROR, dangling, vec![]), "ask again");
}

#[test]
fn an_incomplete_chain_is_asked_on() {
    let mut walk = Walk::new(question());
    assert_eq!(walk.take(&with(NO_ERROR, vec![cname("mx.b.test", 10, "y.test")], vec![]), true), None);
    assert_eq!(walk.current(), Question::new("y.test", Kind::A).unwrap());
    assert_eq!(show(walk.take(&with(NO_ERROR, vec![a("y.test", 60, 1)], vec![]), true)), "192.0.2.1 Insecure 10");
}

#[test]
fn loops_and_long_chains_end() {
    let expected = "the resolver answered a loop of CNAME records for mx.b.test 5";
    check(&with(NO_ERROR, vec![cname("mx.b.test", 1, "mx.b.test")], vec![]), expected);
    check(&with(NO_ERROR, vec![cname("mx.b.test", 1, "y.test"), cname("y.test", 1, "MX.b.test")], vec![]), expected);
    let link = |n: usize| match n {
        0 => "mx.b.test".to_owned(),
        n => format!("h{n}.test"),
    };
    let chain = |length: usize| -> Vec<Record> {
        let mut records: Vec<Record> = (0..length).map(|n| cname(&link(n), 60, &link(n + 1))).collect();
        records.push(a(&link(length), 60, 1));
        records
    };
    check(&with(NO_ERROR, chain(CHAIN), vec![]), "192.0.2.1 Insecure 60");
    let expected = "the resolver answered too long a chain of CNAME records for mx.b.test 5";
    check(&with(NO_ERROR, chain(CHAIN + 1), vec![]), expected);
    // One link with each message, as a hostile resolver would.
    let mut walk = Walk::new(question());
    let mut messages = 0;
    let outcome = loop {
        let message = with(NO_ERROR, vec![cname(&link(messages), 60, &link(messages + 1))], vec![]);
        messages += 1;
        if let Some(outcome) = walk.take(&message, true) {
            break outcome;
        }
    };
    assert_eq!(messages, CHAIN + 1);
    assert_eq!(show(Some(outcome)), expected);
}

#[test]
fn every_message_of_the_way_must_be_authentic() {
    let mut first = with(NO_ERROR, vec![cname("mx.b.test", 10, "y.test")], vec![]);
    let mut second = with(NO_ERROR, vec![a("y.test", 10, 1)], vec![]);
    let go = |first: &Message, second: &Message, trusted: [bool; 2]| {
        let mut walk = Walk::new(question());
        walk.take(first, trusted[0]);
        show(walk.take(second, trusted[1]))
    };
    first.metadata.authentic_data = true;
    assert_eq!(go(&first, &second, [true, true]), "192.0.2.1 Insecure 10");
    second.metadata.authentic_data = true;
    assert_eq!(go(&first, &second, [true, true]), "192.0.2.1 Secure 10");
    assert_eq!(go(&first, &second, [true, false]), "192.0.2.1 Insecure 10");
    assert_eq!(go(&first, &second, [false, true]), "192.0.2.1 Insecure 10");
    let mut none = with(NX, vec![], vec![soa(9, 9)]);
    none.metadata.authentic_data = true;
    check(&none, "the name mx.b.test does not exist (NXDOMAIN) Secure 9");
}

#[test]
fn targets_of_srv() {
    let question = Question::new("_im._impp.b.test", Kind::Srv).unwrap();
    let srv =
        |target: &str| Record::from_rdata(name("_im._impp.b.test"), 60, RData::SRV(SRV::new(1, 2, 3, name(target))));
    let targets = |records: Vec<Record>| {
        let message = with(NO_ERROR, records, vec![]);
        Walk::new(question.clone()).take(&message, true).unwrap().result.map(|answer| {
            let target = |data: &Data| match data {
                Data::Srv(srv) => srv.target.as_ref().map(ToString::to_string),
                _ => None,
            };
            answer.records.iter().map(target).collect::<Vec<_>>()
        })
    };
    assert_eq!(targets(vec![srv("."), srv("MX.b.test")]), Ok(vec![None, Some("mx.b.test".to_owned())]));
    assert_eq!(targets(vec![srv("under_score.test"), srv("mx.test")]), Ok(vec![Some("mx.test".to_owned())]));
    let failure = targets(vec![srv("under_score.test")]).unwrap_err();
    assert!(!failure.is_absence(), "{failure}");
}

#[test]
fn bounded() {
    let many = (0..200).map(|n| a("mx.b.test", 60, n)).collect();
    let outcome = Walk::new(question()).take(&with(NO_ERROR, many, vec![]), true).unwrap();
    assert_eq!(outcome.result.unwrap().records.len(), RECORDS);
}

#[test]
fn refusals() {
    let code = |code| refusal(&response(code), &question()).map(|failure| failure.to_string());
    let words = |code: &str| Some(format!("the resolver answered {code} for mx.b.test"));
    assert_eq!(code(ResponseCode::ServFail), words("SERVFAIL"));
    assert_eq!(code(ResponseCode::Refused), words("REFUSED"));
    assert_eq!(code(ResponseCode::FormErr), words("FORMERR"));
    assert_eq!(code(ResponseCode::NotImp), words("NOTIMP"));
    assert_eq!(code(ResponseCode::Unknown(77)), words("RCODE77"));
    assert_eq!(code(NO_ERROR), None);
    assert_eq!(code(NX), None);
    let ns = Record::from_rdata(name("test"), 60, RData::NS(NS(name("ns.test"))));
    let referral = with(NO_ERROR, vec![], vec![ns]);
    let expected = words("a referral, so it is not a recursive resolver,");
    assert_eq!(refusal(&referral, &question()).map(|failure| failure.to_string()), expected);
}

#[test]
fn extended_errors() {
    let with_code = |response_code, extended: u16| {
        let mut message = response(response_code);
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Unknown(15, [&extended.to_be_bytes()[..], b"words"].concat()));
        message.set_edns(edns);
        // As it comes from the wire.
        Message::from_vec(&message.to_vec().unwrap()).unwrap()
    };
    let is_bogus = |message: &Message| matches!(refusal(message, &question()), Some(Failure::Bogus(_)));
    for code in [1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 25, 27] {
        assert!(is_bogus(&with_code(ResponseCode::ServFail, code)), "{code}");
    }
    // Network Error, No Reachable Authority, Cached Error.
    for code in [13, 22, 23] {
        assert!(!is_bogus(&with_code(ResponseCode::ServFail, code)), "{code}");
    }
    assert_eq!(refusal(&with_code(NO_ERROR, 6), &question()), None);
}

#[test]
fn only_answers_to_our_question() {
    let read_it = |message: &Message| read(&message.to_vec().unwrap(), 7, &question()).map(|_| ());
    assert_eq!(read_it(&response(NO_ERROR)), Ok(()));
    assert_eq!(read(&response(NO_ERROR).to_vec().unwrap(), 8, &question()), Err(Unreadable::NotOurs));
    let mut query = response(NO_ERROR);
    query.metadata.message_type = MessageType::Query;
    assert_eq!(read_it(&query), Err(Unreadable::NotOurs));
    for (other, kind) in [("mx.c.test", RecordType::A), ("mx.b.test", RecordType::AAAA)] {
        let mut message = response(NO_ERROR);
        message.queries = vec![Query::query(name(other), kind)];
        assert_eq!(read_it(&message), Err(Unreadable::NotOurs));
    }
    let mut message = response(NO_ERROR);
    message.queries.clear();
    assert_eq!(read_it(&message), Err(Unreadable::NotOurs));
    message.metadata.response_code = ResponseCode::FormErr;
    assert_eq!(read_it(&message), Ok(()));
}

#[test]
fn broken_messages() {
    let whole = with(NO_ERROR, vec![a("mx.b.test", 60, 1)], vec![]).to_vec().unwrap();
    for length in 0..12 {
        assert_eq!(read(&whole[..length], 7, &question()), Err(Unreadable::NotOurs));
    }
    for length in 12..whole.len() {
        assert_eq!(read(&whole[..length], 7, &question()), Err(Unreadable::Garbage), "{length}");
    }
    // A name that points to itself, and two that point to each other (RFC 1035 §4.1.4).
    let head = [0, 7, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let itself = [&head[..], &[0xc0, 12, 0, 1, 0, 1]].concat();
    assert_eq!(read(&itself, 7, &question()), Err(Unreadable::Garbage));
    let each_other = [&head[..], &[0xc0, 14, 0xc0, 12, 0, 1, 0, 1]].concat();
    assert_eq!(read(&each_other, 7, &question()), Err(Unreadable::Garbage));
}

#[test]
fn queries() {
    let message = Message::from_vec(&query(&question(), 77, true).unwrap()).unwrap();
    assert_eq!(message.metadata.id, 77);
    assert!(message.metadata.recursion_desired && message.metadata.authentic_data);
    assert!(!message.metadata.checking_disabled);
    let edns = message.edns.unwrap();
    assert!(edns.flags().dnssec_ok);
    assert_eq!(edns.max_payload(), PAYLOAD);
    assert!(Message::from_vec(&query(&question(), 77, false).unwrap()).unwrap().edns.is_none());
}

#[test]
fn names_that_cannot_be() {
    assert_eq!(Question::new(&["a"; 128].join("."), Kind::A), None);
    assert_eq!(Question::new(&"a".repeat(64), Kind::A), None);
    assert!(Question::new(&["a"; 127].join("."), Kind::A).is_some());
}

proptest! {
    #[test]
    fn any_octets_are_read_without_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        if octets.len() > 2 {
            octets[..2].copy_from_slice(&7u16.to_be_bytes());
            octets[2] |= 0x80;
        }
        if let Ok(message) = read(&octets, 7, &question()) {
            let _ = refusal(&message, &question());
            let _ = Walk::new(question()).take(&message, true);
        }
    }

    #[test]
    fn a_damaged_answer_is_read_without_panic(at in 12usize..60, with_octet: u8) {
        let answers = vec![cname("mx.b.test", 60, "y.test"), a("y.test", 60, 1)];
        let mut octets = with(NO_ERROR, answers, vec![soa(1, 1)]).to_vec().unwrap();
        let place = at % octets.len();
        octets[place] = with_octet;
        if let Ok(message) = read(&octets, 7, &question()) {
            let _ = Walk::new(question()).take(&message, true);
        }
    }
}

#[test]
fn exchangers_and_texts() {
    use hickory_proto::rr::rdata::{MX, TXT};
    let mx = |host: Name| data(&RData::MX(MX::new(10, host)));
    let exchange = |exchange| Some(Data::Mx(Mx { preference: 10, exchange }));
    assert_eq!(mx(name("MX.b.test").to_lowercase()), exchange(Some(Domain::parse("mx.b.test").unwrap())));
    assert_eq!(mx(Name::root()), exchange(None));
    assert_eq!(mx(name("m_x.b.test")), None, "no host name");
    let txt = TXT::new(vec!["v=STSv1; ".to_owned(), "id=1".to_owned()]);
    assert_eq!(data(&RData::TXT(txt)), Some(Data::Txt(b"v=STSv1; id=1".to_vec())));
}
