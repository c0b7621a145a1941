//! Against a signed zone of one name level, whose key is the trust anchor. A real name server with NSEC3, delegations
//! and wildcards is among the tests with peers.

use super::*;
use crate::dns::wire::Kind;
use crate::dns::{Resolve, Security};
use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
use hickory_proto::dnssec::{Algorithm, DnssecSigner, SigningKey};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, RecordSet};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use tokio::net::UdpSocket;

const LONG: Duration = Duration::from_secs(60);
/// How long signatures are valid; RFC 4034 §3.1.5 compares times modulo 2^32 seconds.
const DECADES: Duration = Duration::from_secs(40 * 365 * 86_400);

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

/// Record sets with their signatures, by name and type.
struct Signed {
    signer: DnssecSigner,
    sets: HashMap<(Name, RecordType), Vec<Record>>,
}

impl Signed {
    fn new() -> Signed {
        let pkcs8 = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
        let key = EcdsaSigningKey::from_pkcs8(&pkcs8, Algorithm::ECDSAP256SHA256).unwrap();
        let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
        let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), name("test"), DECADES);
        let mut signed = Signed { signer, sets: HashMap::new() };
        signed.add("test", RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)));
        let soa = SOA::new(name("ns.test"), name("x.test"), 1, 1, 1, 1, 60);
        signed.add("test", RData::SOA(soa));
        let srv = |port| RData::SRV(SRV::new(1, 2, port, name("mx.test")));
        signed.add("_im._impp.test", srv(2779));
        signed.add("mx.test", RData::A(A([192, 0, 2, 1].into())));
        signed.add("forged.test", RData::A(A([192, 0, 2, 1].into())));
        for record in signed.sets.get_mut(&(name("forged.test"), RecordType::A)).unwrap() {
            if let RData::A(a) = &mut record.data {
                *a = A([192, 0, 2, 66].into());
            }
        }
        signed.add("stripped.test", RData::A(A([192, 0, 2, 1].into())));
        let stripped = signed.sets.get_mut(&(name("stripped.test"), RecordType::A)).unwrap();
        stripped.retain(|record| record.record_type() == RecordType::A);
        // mx.test has only an address; nothing is between it and the end of the zone.
        let types = [RecordType::A, RecordType::RRSIG, RecordType::NSEC];
        signed.add("mx.test", RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(name("test"), types))));
        signed
    }

    fn add(&mut self, owner: &str, data: RData) {
        let kind = data.record_type();
        let mut set = RecordSet::new(name(owner), kind, 0);
        set.insert(Record::from_rdata(name(owner), 60, data), 0);
        let inception = rcgen::date_time_ymd(2020, 1, 1);
        let signature = RRSIG::from_rrset(&set, DNSClass::IN, inception, &self.signer).unwrap();
        let mut records: Vec<Record> = set.records_without_rrsigs().cloned().collect();
        records.push(Record::from_rdata(name(owner), 60, RData::DNSSEC(DNSSECRData::RRSIG(signature))));
        self.sets.insert((name(owner), kind), records);
    }

    fn get(&self, owner: &Name, kind: RecordType) -> Vec<Record> {
        self.sets.get(&(owner.to_lowercase(), kind)).cloned().unwrap_or_default()
    }

    fn anchor(&self) -> String {
        let key = self.signer.dnskey();
        format!("test. 60 IN DNSKEY {key}\n")
    }
}

async fn resolver() -> crate::dns::resolver::Resolver {
    let signed = Signed::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signed.anchor()).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
            let question = query.queries[0].clone();
            answer.answers = signed.get(question.name(), question.query_type());
            if answer.answers.is_empty() {
                answer.authorities = signed.get(&name("test"), RecordType::SOA);
                answer.authorities.extend(signed.get(question.name(), RecordType::NSEC));
            }
            let known = signed.sets.keys().any(|(owner, _)| question.name().zone_of(owner));
            if !known {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_query(question);
            // A liar's bit.
            answer.metadata.authentic_data = true;
            answer.edns = query.edns;
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    let source = Validating::new(&[server], Some(file.path()), LONG).unwrap();
    crate::dns::resolver::Resolver::new(source, 100)
}

#[tokio::test]
async fn what_is_signed_is_secure() {
    let resolver = resolver().await;
    let answer = resolver.srv("_im._impp.test").await.unwrap();
    assert_eq!((answer.security, answer.records[0].port), (Security::Secure, 2779));
}

#[tokio::test]
async fn forgeries_are_bogus() {
    let resolver = resolver().await;
    for host in ["forged.test", "stripped.test"] {
        let outcome = resolver.addresses(&host.parse().unwrap()).await;
        assert!(matches!(outcome, Err(Failure::Bogus(_))), "{host}: {outcome:?}");
    }
}

#[tokio::test]
async fn absences() {
    let resolver = resolver().await;
    let proven = resolver.srv("mx.test").await.unwrap_err();
    assert!(proven.is_secure_absence(), "{proven:?}");
    // The NXDOMAIN comes without proof, from a zone that signs.
    let unproven = resolver.srv("none.test").await.unwrap_err();
    assert!(matches!(unproven, Failure::Bogus(_)), "{unproven:?}");
}

#[tokio::test]
async fn trust_anchors_must_be_readable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = |path: &Path| Validating::new(&[], Some(path), LONG).err().unwrap().to_string();
    let path = file.path().display().to_string();
    let start = format!("cannot read DNSKEY records from the trust anchor {path}: ");
    assert_eq!(error(file.path()), format!("{start}there is none in it"));
    std::fs::write(file.path(), "test. IN DNSKEY rubbish\n").unwrap();
    assert!(error(file.path()).starts_with(&start));
    assert!(error(Path::new("/nonexistent")).starts_with("cannot read DNSKEY records"));
}

#[tokio::test]
async fn a_dead_server() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = socket.local_addr().unwrap();
    drop(socket);
    let source = Validating::new(&[server], None, Duration::from_millis(100)).unwrap();
    let outcome = source.ask(Question::new("mx.test", Kind::A).unwrap()).await;
    let failure = outcome.result.unwrap_err();
    assert!(!failure.is_absence() && !matches!(failure, Failure::Bogus(_)), "{failure:?}");
}

/// A message about `mx.test A` from records with their proofs.
fn message(answers: &[(&str, RData, Proof)], authorities: &[(&str, RData, Proof)]) -> Message {
    let record = |(owner, data, proof): &(&str, RData, Proof)| {
        let mut record = Record::from_rdata(name(owner), 60, data.clone());
        record.proof = *proof;
        record
    };
    let mut message = Message::response(1, hickory_proto::op::OpCode::Query);
    message.answers = answers.iter().map(record).collect();
    message.authorities = authorities.iter().map(record).collect();
    message
}

#[test]
fn what_does_not_belong_to_the_answer_does_not_count() {
    use Proof::{Bogus, Indeterminate, Insecure, Secure};
    let question = Question::new("mx.test", Kind::A).unwrap();
    let check = |message: &Message, expected| assert_eq!(proof(message, &question), expected, "{message}");
    let a = || RData::A(A([192, 0, 2, 1].into()));
    let cname = |target: &str| RData::CNAME(hickory_proto::rr::rdata::CNAME(name(target)));
    let soa = || RData::SOA(SOA::new(name("ns.test"), name("x.test"), 1, 1, 1, 1, 60));
    let nsec = || RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(name("test"), [RecordType::A])));
    check(&message(&[("mx.test", a(), Secure)], &[]), Some(true));
    check(&message(&[("mx.test", a(), Insecure)], &[]), Some(false));
    check(&message(&[("mx.test", a(), Bogus)], &[]), None);
    check(&message(&[("mx.test", a(), Indeterminate)], &[]), None);
    check(&message(&[("mx.test", a(), Secure), ("evil", a(), Insecure)], &[]), Some(true));
    check(&message(&[("mx.test", a(), Secure), ("evil", a(), Bogus)], &[]), Some(true));
    let chain = |first, second| message(&[("y.test", a(), second), ("mx.test", cname("y.test"), first)], &[]);
    check(&chain(Secure, Secure), Some(true));
    check(&chain(Insecure, Secure), Some(false));
    check(&chain(Secure, Bogus), None);
    check(&message(&[("mx.test", cname("mx.test"), Secure)], &[]), Some(true));
    // Absences.
    check(&message(&[], &[("test", soa(), Secure), ("mx.test", nsec(), Secure)]), Some(true));
    check(&message(&[], &[("test", soa(), Insecure)]), Some(false));
    check(&message(&[], &[("evil", soa(), Insecure)]), None);
    check(&message(&[], &[("test", soa(), Bogus)]), None);
    check(&message(&[], &[]), Some(false));
    let mut dangling = message(&[("mx.test", cname("y.test"), Secure)], &[("evil", soa(), Insecure)]);
    check(&dangling, Some(true));
    dangling.metadata.response_code = ResponseCode::NXDomain;
    check(&dangling, None);
}
