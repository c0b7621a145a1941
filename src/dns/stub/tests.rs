//! Against the authority and against servers that misbehave, over loopback.

use super::*;
use crate::dns::authority::{Authority, Conduct, Data, Zone};
use crate::dns::wire::{self as wire, Kind};
use crate::dns::{Resolve as _, Security, Srv, Tlsa};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);

fn zone() -> Zone {
    let mut zone = Zone::new("test").unwrap();
    let srv = Srv { priority: 1, weight: 2, port: 2779, target: Some("mx.b.test".parse().unwrap()) };
    zone.add("_im._impp.b.test", 60, Data::Srv(srv)).unwrap();
    zone.add("mx.b.test", 60, Data::A([192, 0, 2, 1].into())).unwrap();
    zone.add("alias.test", 60, Data::Cname("mx.b.test".into())).unwrap();
    zone.add("away.test", 60, Data::Cname("mx.elsewhere".into())).unwrap();
    for last in 0..200 {
        zone.add("many.test", 60, Data::A([192, 0, 2, last].into())).unwrap();
    }
    let conducts = [
        ("servfail.test", Conduct::ServFail),
        ("bogus.test", Conduct::Bogus),
        ("refused.test", Conduct::Refused),
        ("formerr.test", Conduct::FormErr),
        ("notimp.test", Conduct::NotImp),
        ("silent.test", Conduct::Silent),
        ("secure.test", Conduct::Authentic),
        ("long.test", Conduct::Truncated),
    ];
    for (name, conduct) in conducts {
        zone.add(name, 60, Data::A([192, 0, 2, 7].into())).unwrap();
        zone.set_conduct(name, conduct).unwrap();
    }
    zone.set_conduct("none.secure.test", Conduct::Authentic).unwrap();
    let record = Tlsa { usage: 2, selector: 0, matching: 0, data: vec![0x30; 600] };
    zone.add("x._smimecert.b.test", 60, Data::Smimea(record)).unwrap();
    zone.set_conduct("x._smimecert.b.test", Conduct::Authentic).unwrap();
    zone
}

async fn authority() -> Authority {
    Authority::bind((Ipv4Addr::LOCALHOST, 0).into(), zone()).await.unwrap()
}

fn stub(servers: &[SocketAddr], trusted: bool, timeout: Duration) -> Stub {
    let servers = servers.iter().map(|address| Server { address: *address, trusted }).collect();
    let mut stub = Stub::new(servers, timeout);
    stub.patience = timeout;
    stub
}

async fn ask(stub: &Stub, name: &str, kind: Kind) -> String {
    match stub.ask(Question::new(name, kind).unwrap()).await.result {
        Ok(answer) => format!("{} {:?}", answer.records.len(), answer.security),
        Err(failure) => failure.to_string(),
    }
}

#[tokio::test]
async fn answers() {
    let authority = authority().await;
    authority.set_zone(Zone::new("elsewhere").unwrap().add("mx.elsewhere", 5, Data::A([1; 4].into())).unwrap().clone());
    let stub = stub(&[authority.local_addr()], true, LONG);
    let check = async |name: &str, kind, expected: &str| assert_eq!(ask(&stub, name, kind).await, expected);
    check("_im._impp.b.test", Kind::Srv, "1 Insecure").await;
    check("mx.b.test", Kind::A, "1 Insecure").await;
    check("mx.b.test", Kind::Aaaa, "mx.b.test has no AAAA record (NODATA)").await;
    check("_pres._impp.b.test", Kind::Srv, "the name _pres._impp.b.test does not exist (NXDOMAIN)").await;
    check("alias.test", Kind::A, "1 Insecure").await;
    check("alias.test", Kind::Aaaa, "alias.test has no AAAA record (NODATA)").await;
    check("away.test", Kind::A, "1 Insecure").await;
    check("away.test", Kind::Aaaa, "away.test has no AAAA record (NODATA)").await;
    check("mx.b.other", Kind::A, "the resolver answered REFUSED for mx.b.other").await;
}

#[tokio::test]
async fn what_nobody_could_say() {
    let authority = authority().await;
    let stub = stub(&[authority.local_addr()], true, LONG);
    let check = async |name: &str, code: &str| {
        let expected = format!("the resolver answered {code} for {name}");
        assert_eq!(ask(&stub, name, Kind::A).await, expected);
    };
    check("servfail.test", "SERVFAIL").await;
    check("refused.test", "REFUSED").await;
    check("formerr.test", "FORMERR").await;
    check("notimp.test", "NOTIMP").await;
    let bogus = "the answer for bogus.test fails DNSSEC validation (bogus)";
    assert_eq!(ask(&stub, "bogus.test", Kind::A).await, bogus);
}

#[tokio::test]
async fn silence_ends() {
    let authority = authority().await;
    let stub = stub(&[authority.local_addr()], true, SHORT);
    assert_eq!(ask(&stub, "silent.test", Kind::A).await, "no answer for silent.test in time");
}

#[tokio::test]
async fn only_a_trusted_servers_ad_bit_counts() {
    let authority = authority().await;
    let trusted = stub(&[authority.local_addr()], true, LONG);
    assert_eq!(ask(&trusted, "secure.test", Kind::A).await, "1 Secure");
    let failure = trusted.ask(Question::new("none.secure.test", Kind::A).unwrap()).await.result.unwrap_err();
    assert!(failure.is_secure_absence());
    let other = stub(&[authority.local_addr()], false, LONG);
    assert_eq!(ask(&other, "secure.test", Kind::A).await, "1 Insecure");
}

#[tokio::test]
async fn long_answers_come_by_tcp() {
    let authority = authority().await;
    let stub = stub(&[authority.local_addr()], true, LONG);
    assert_eq!(ask(&stub, "many.test", Kind::A).await, format!("{} Insecure", wire::RECORDS));
    assert_eq!(ask(&stub, "long.test", Kind::A).await, "1 Insecure");
}

#[tokio::test]
async fn an_answer_that_tcp_cuts_off_says_nothing() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut query).await.unwrap();
        let mut answer = Message::from_vec(&query).unwrap();
        answer.metadata.message_type = MessageType::Response;
        let answer = answer.truncate().to_vec().unwrap();
        stream.write_u16(answer.len() as u16).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let question = Question::new("mx.b.test", Kind::A).unwrap();
    let query = wire::query(&question, 7, true).unwrap();
    let failure = ask_tcp(address, &question, 7, &query).await.unwrap_err().into_failure(address, &question);
    assert_eq!(failure.to_string(), "the resolver answered over TCP, and yet cut off (TC), for mx.b.test");
    assert!(!failure.is_absence());
}

/// A port on which nobody listens.
async fn dead() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn another_server_is_asked() {
    let authority = authority().await;
    let servers = [dead().await, authority.local_addr()];
    let stub = stub(&servers, true, LONG);
    assert_eq!(ask(&stub, "mx.b.test", Kind::A).await, "1 Insecure");
    assert_eq!(stub.preferred.load(Ordering::Relaxed), 1);
    let expected = "the resolver answered SERVFAIL for servfail.test";
    assert_eq!(ask(&stub, "servfail.test", Kind::A).await, expected);
    let nobody = self::stub(&servers[..1], true, LONG);
    let expected = format!("the resolver cannot be reached: {}: connection refused", servers[0]);
    assert_eq!(ask(&nobody, "mx.b.test", Kind::A).await, expected);
}

#[tokio::test]
async fn a_forgery_is_not_asked_of_those_who_do_not_look() {
    let (honest, naive) = (authority().await, authority().await);
    let mut open = Zone::new("test").unwrap();
    open.add("bogus.test", 60, Data::A([192, 0, 2, 66].into())).unwrap();
    naive.set_zone(open);
    let stub = stub(&[honest.local_addr(), naive.local_addr()], true, LONG);
    let bogus = "the answer for bogus.test fails DNSSEC validation (bogus)";
    assert_eq!(ask(&stub, "bogus.test", Kind::A).await, bogus);
    // SERVFAIL alone says nothing about the data: the other may know.
    let mut open = Zone::new("test").unwrap();
    open.add("servfail.test", 60, Data::A([192, 0, 2, 66].into())).unwrap();
    naive.set_zone(open);
    assert_eq!(ask(&stub, "servfail.test", Kind::A).await, "1 Insecure");
}

/// A server that sends, for each query, what `answers` makes of it.
async fn server(answers: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            for answer in answers(&Message::from_vec(&buffer[..length]).unwrap()) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    address
}

fn proper(query: &Message, last: u8) -> Message {
    let mut answer = query.clone();
    answer.metadata.message_type = MessageType::Response;
    let name = answer.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, last].into()))));
    answer
}

async fn check_server(timeout: Duration, answers: fn(&Message) -> Vec<Vec<u8>>, expected: &str) {
    let stub = stub(&[server(answers).await], true, timeout);
    assert_eq!(ask(&stub, "mx.b.test", Kind::A).await, expected);
}

#[tokio::test]
async fn answers_to_other_questions_are_passed_over() {
    let forged = |query: &Message| {
        let mut id = proper(query, 66);
        id.metadata.id ^= 1;
        let mut question = proper(query, 66);
        question.queries[0].set_name("evil.test.".parse().unwrap());
        let mut not_an_answer = proper(query, 66);
        not_an_answer.metadata.message_type = MessageType::Query;
        [id, question, not_an_answer].map(|message| message.to_vec().unwrap()).to_vec()
    };
    let stub_forged = stub(&[server(forged).await], true, SHORT);
    assert_eq!(ask(&stub_forged, "mx.b.test", Kind::A).await, "no answer for mx.b.test in time");
    let then_proper = move |query: &Message| {
        let mut all = forged(query);
        all.push(b"?".to_vec());
        all.push(proper(query, 1).to_vec().unwrap());
        all
    };
    let stub = stub(&[server(then_proper).await], true, LONG);
    let outcome = stub.ask(Question::new("mx.b.test", Kind::A).unwrap()).await;
    let answer = outcome.result.unwrap();
    assert_eq!(answer.records, [wire::Data::Address([192, 0, 2, 1].into())]);
    assert_eq!(answer.security, Security::Secure, "the query's AD bit came back");
}

#[tokio::test]
async fn broken_answers_are_a_failure_at_once() {
    let expected = "the resolver answered octets that are no DNS message for mx.b.test";
    let cut = |query: &Message| {
        let octets = proper(query, 1).to_vec().unwrap();
        vec![octets[..octets.len() - 15].to_vec()]
    };
    check_server(LONG, cut, expected).await;
    let loops = |query: &Message| {
        let id = query.metadata.id.to_be_bytes();
        vec![[&id[..], &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]].concat()]
    };
    check_server(LONG, loops, expected).await;
    let noise = |query: &Message| {
        let id = query.metadata.id.to_be_bytes();
        vec![[&id[..], &[0xff, 0, 0xff, 0xff], &[0xee; 40]].concat()]
    };
    // TC may be set in noise; then TCP is tried, where nobody listens.
    let stub = stub(&[server(noise).await], true, LONG);
    assert!(ask(&stub, "mx.b.test", Kind::A).await.ends_with("connection refused"));
}

#[tokio::test]
async fn a_server_without_edns_is_asked_again() {
    let old = |query: &Message| {
        let mut answer = proper(query, 1);
        if query.edns.is_some() {
            answer = Message::response(query.metadata.id, query.metadata.op_code);
            answer.metadata.response_code = ResponseCode::FormErr;
        }
        vec![answer.to_vec().unwrap()]
    };
    check_server(LONG, old, "1 Secure").await;
}

#[tokio::test]
async fn nobody_to_ask() {
    let expected = "the resolver cannot be reached: no resolver is configured";
    assert_eq!(ask(&stub(&[], true, LONG), "mx.b.test", Kind::A).await, expected);
}

#[tokio::test]
async fn certificates_of_addresses() {
    let authority = authority().await;
    let resolver = crate::dns::resolver::Resolver::new(stub(&[authority.local_addr()], true, LONG), 10);
    let answer = resolver.smimea("x._smimecert.b.test").await.unwrap();
    let expected = Tlsa { usage: 2, selector: 0, matching: 0, data: vec![0x30; 600] };
    assert_eq!((answer.records, answer.security), (vec![expected], Security::Secure));
    assert!(resolver.smimea("y._smimecert.b.test").await.unwrap_err().is_absence());
}
