use aws_lc_rs::digest;
use rustls::pki_types::UnixTime;

use super::*;
use crate::dns::Tlsa;
use crate::tls::chain::Purpose;
use crate::tls::dane::{CERT, DANE_EE, DANE_TA, FULL, SHA256, SHA512, SPKI, prove, record_for, usable};
use crate::tls::{CertificateDer, Fault};

fn spki(certificate: &CertificateDer<'_>) -> Vec<u8> {
    webpki::EndEntityCert::try_from(certificate).unwrap().subject_public_key_info().as_ref().to_vec()
}

fn record(usage: u8, selector: u8, matching: u8, of: &CertificateDer<'_>) -> Tlsa {
    let selected = if selector == CERT { of.to_vec() } else { spki(of) };
    let data = match matching {
        FULL => selected,
        SHA256 => digest::digest(&digest::SHA256, &selected).as_ref().to_vec(),
        _ => digest::digest(&digest::SHA512, &selected).as_ref().to_vec(),
    };
    Tlsa { usage, selector, matching, data }
}

fn tlsa(records: Vec<Tlsa>, names: &[&str]) -> Expect {
    Expect::Tlsa { records, names: names.iter().map(|name| domain(name)).collect() }
}

fn check(records: &[Tlsa], chain: &[CertificateDer<'_>], names: &[&str], expected: Result<(), &str>) {
    let names: Vec<Domain> = names.iter().map(|name| domain(name)).collect();
    let result = prove(&usable(records), chain, &names, Purpose::Server, UnixTime::now());
    let words = result.map_err(|fault| match fault {
        Fault::Tlsa { .. } => "no match",
        Fault::Names { .. } => "names",
        Fault::Expired { .. } => "expired",
        Fault::Invalid(_) => "invalid",
        _ => "other",
    });
    assert_eq!(words, expected, "{records:?}");
}

#[test]
fn every_selector_and_matching_type() {
    let (ca, other) = (authority("ca"), authority("other"));
    let (leaf, wrong) = (made(&ca, &["mx.b.example"]), made(&other, &["mx.b.example"]));
    for selector in [CERT, SPKI] {
        for matching in [FULL, SHA256, SHA512] {
            let ee = |made: &Made| [record(DANE_EE, selector, matching, made.certificate())];
            check(&ee(&leaf), &leaf.chain, &[], Ok(()));
            check(&ee(&wrong), &leaf.chain, &["mx.b.example"], Err("no match"));
            let ta = |authority: &Authority| [record(DANE_TA, selector, matching, authority.certificate())];
            check(&ta(&ca), &leaf.chain, &["mx.b.example"], Ok(()));
            check(&ta(&ca), &leaf.chain, &["c.example"], Err("names"));
            let result = if (selector, matching) == (CERT, FULL) { "other" } else { "no match" };
            check(&ta(&other), &leaf.chain, &["mx.b.example"], Err(result));
        }
    }
}

#[test]
fn dane_ee_ignores_time_and_names() {
    let ca = authority("ca");
    let expired = ca.issue(&Leaf::new(&["x.example"], now()).expired(now())).unwrap();
    check(&[record(DANE_EE, SPKI, SHA256, expired.certificate())], &expired.chain, &["b.example"], Ok(()));
    let alone = &expired.chain[..1];
    check(&[record(DANE_EE, SPKI, SHA256, expired.certificate())], alone, &["b.example"], Ok(()));
    check(&[record_for(expired.certificate()).unwrap()], alone, &[], Ok(()));
}

#[test]
fn dane_ta_wants_time_and_names() {
    let ca = authority("ca");
    let expired = ca.issue(&Leaf::new(&["b.example"], now()).expired(now())).unwrap();
    check(&[record(DANE_TA, CERT, SHA256, ca.certificate())], &expired.chain, &["b.example"], Err("expired"));
    let wild = made(&ca, &["*.b.example"]);
    check(&[record(DANE_TA, CERT, SHA256, ca.certificate())], &wild.chain, &["b.example", "mx.b.example"], Ok(()));
}

#[test]
fn dane_ta_takes_an_intermediate() {
    let ca = authority("ca");
    let below = ca.intermediate(&AuthorityOptions::new("below", now())).unwrap();
    let leaf = made(&below, &["b.example"]);
    for anchor in [below.certificate(), ca.certificate()] {
        check(&[record(DANE_TA, CERT, SHA256, anchor)], &leaf.chain, &["b.example"], Ok(()));
        check(&[record(DANE_TA, SPKI, SHA512, anchor)], &leaf.chain, &["b.example"], Ok(()));
    }
}

#[test]
fn an_authority_that_is_not_shown() {
    let ca = authority("ca");
    let leaf = made(&ca, &["b.example"]);
    let alone = &leaf.chain[..1];
    // RFC 7671 §5.2.2 and §5.2.3: the record itself has the authority, or its key.
    check(&[record(DANE_TA, CERT, FULL, ca.certificate())], alone, &["b.example"], Ok(()));
    check(&[record(DANE_TA, SPKI, FULL, ca.certificate())], alone, &["b.example"], Ok(()));
    check(&[record(DANE_TA, SPKI, FULL, ca.certificate())], alone, &["c.example"], Err("names"));
    check(&[record(DANE_TA, CERT, SHA256, ca.certificate())], alone, &["b.example"], Err("no match"));
    let other = authority("ca");
    check(&[record(DANE_TA, SPKI, FULL, other.certificate())], alone, &["b.example"], Err("no match"));
}

#[test]
fn constraints_of_the_authority_hold() {
    let mut options = AuthorityOptions::new("short", now());
    options.path_length = Some(0);
    let short = Authority::root(&options).unwrap();
    let direct = made(&short, &["b.example"]);
    let anchor = [record(DANE_TA, CERT, SHA256, short.certificate())];
    check(&anchor, &direct.chain, &["b.example"], Ok(()));
    let below = short.intermediate(&AuthorityOptions::new("below", now())).unwrap();
    check(&anchor, &made(&below, &["b.example"]).chain, &["b.example"], Err("invalid"));

    let mut options = AuthorityOptions::new("old", now());
    options.not_after = now().before(std::time::Duration::from_secs(60));
    let old = Authority::root(&options).unwrap();
    let anchor = [record(DANE_TA, CERT, SHA256, old.certificate())];
    check(&anchor, &made(&old, &["b.example"]).chain, &["b.example"], Err("expired"));
}

#[test]
fn an_end_entity_is_no_authority() {
    let ca = authority("ca");
    let (victim, leaf) = (made(&ca, &["evil.example"]), made(&ca, &["b.example"]));
    let chain = [leaf.chain[0].clone(), victim.chain[0].clone()];
    let result = prove(
        &usable(&[record(DANE_TA, CERT, SHA256, victim.certificate())]),
        &chain,
        &[domain("b.example")],
        Purpose::Server,
        UnixTime::now(),
    );
    assert!(result.is_err());
}

#[test]
fn unusable_records() {
    let ca = authority("ca");
    let leaf = made(&ca, &["b.example"]);
    let good = record(DANE_EE, SPKI, SHA256, leaf.certificate());
    let unusable = [
        Tlsa { usage: 0, ..good.clone() },
        Tlsa { usage: 1, ..good.clone() },
        Tlsa { usage: 4, ..good.clone() },
        Tlsa { selector: 2, ..good.clone() },
        Tlsa { matching: 3, ..good.clone() },
        Tlsa { matching: SHA512, ..good.clone() },
        Tlsa { data: good.data[1..].to_vec(), ..good.clone() },
        Tlsa { matching: FULL, data: Vec::new(), ..good.clone() },
    ];
    for record in &unusable {
        assert!(usable(std::slice::from_ref(record)).is_empty(), "{record:?}");
    }
    assert_eq!(usable(std::slice::from_ref(&good)), [&good]);
}

#[test]
fn the_stronger_digest_decides() {
    let (ca, other) = (authority("ca"), authority("other"));
    let (leaf, wrong) = (made(&ca, &["b.example"]), made(&other, &["b.example"]));
    let weak = record(DANE_EE, SPKI, SHA256, leaf.certificate());
    let strong = record(DANE_EE, SPKI, SHA512, wrong.certificate());
    check(&[weak.clone(), strong.clone()], &leaf.chain, &[], Err("no match"));
    // Of another selector they do not compete.
    let elsewhere = record(DANE_EE, CERT, SHA512, wrong.certificate());
    check(&[weak, elsewhere], &leaf.chain, &[], Ok(()));
}

#[tokio::test]
async fn handshakes() {
    let (ca, other) = (authority("ca"), authority("other"));
    let b = ca.issue(&Leaf::new(&["b.example"], now()).expired(now())).unwrap();
    let right = record(DANE_EE, SPKI, SHA256, b.certificate());
    let wrong = record(DANE_EE, SPKI, SHA256, made(&ca, &["b.example"]).certificate());
    assert_eq!(proof(&b, &other, "b.example", tlsa(vec![right.clone()], &["c.example"])).await, Ok(Proof::Dane));
    assert_eq!(proof(&b, &other, "b.example", tlsa(vec![wrong.clone(), right], &["b.example"])).await, Ok(Proof::Dane));
    let text = proof(&b, &ca, "b.example", tlsa(vec![wrong], &["b.example"])).await.unwrap_err();
    assert!(text.contains("matches none of the 1 usable TLSA records"), "{text}");
}

#[tokio::test]
async fn without_a_usable_record_pkix_decides() {
    let (ca, other) = (authority("ca"), authority("other"));
    let b = made(&ca, &["b.example"]);
    let records = || vec![Tlsa { usage: 1, ..record(DANE_EE, SPKI, SHA256, b.certificate()) }];
    assert_eq!(proof(&b, &ca, "b.example", tlsa(records(), &["b.example"])).await, Ok(Proof::Pkix));
    assert!(proof(&b, &other, "b.example", tlsa(records(), &["b.example"])).await.is_err());
}
