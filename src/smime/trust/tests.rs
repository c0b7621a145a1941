use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, OtherNameValue, SanType};

use self::pki::{Made, NOW};
use super::super::pem;
use super::*;
use crate::limits;

pub(in crate::smime) mod pki;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn trust(roots: &[&Made]) -> Trust {
    let roots = roots.iter().map(|made| made.certificate.clone()).collect();
    Trust::new(&Anchors { roots, ..Anchors::default() }).unwrap()
}

/// What `trust` thinks of alice's certificate, with `offered` beside it.
fn judge(trust: &Trust, signer: &Made, offered: &[&Made]) -> Result<Basis, Refusal> {
    let offered: Vec<Certificate> = offered.iter().map(|made| made.certificate.clone()).collect();
    let signer =
        Presented { certificate: &signer.certificate, offered: &offered, lists: &[], signed_at: NOW, now: NOW };
    trust.judge(&signer, &mailbox("alice@a.example"), None, &[])
}

fn distrust(trust: &Trust, signer: &Made, offered: &[&Made]) -> Distrust {
    match judge(trust, signer, offered) {
        Err(Refusal::Distrust(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn broken(trust: &Trust, signer: &Made, offered: &[&Made]) -> String {
    match distrust(trust, signer, offered) {
        Distrust::Chain { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chain_to_a_root() {
    let root = pki::root(pki::authority("Example Root"));
    let middle = root.issue(pki::authority("Middle"));
    let alice = middle.issue(pki::person("alice@a.example"));
    let trust = trust(&[&root]);
    assert_eq!(judge(&trust, &alice, &[&middle]), Ok(Basis::Root("Example Root".to_owned())));
    // The second time from the cache, and then the authority between need not be there.
    assert_eq!(trust.cached_chains(), 1);
    assert_eq!(judge(&trust, &alice, &[]), Ok(Basis::Root("Example Root".to_owned())));
    let fresh = self::trust(&[&root]);
    assert_eq!(distrust(&fresh, &alice, &[]), Distrust::NoChain);
    let with_middle = Anchors {
        roots: vec![root.certificate.clone()],
        intermediates: vec![middle.certificate.clone()],
        ..Anchors::default()
    };
    assert!(judge(&Trust::new(&with_middle).unwrap(), &alice, &[]).is_ok());
    assert_eq!(
        distrust(&self::trust(&[]), &alice, &[&middle, &root]),
        Distrust::NoChain,
        "a root that is only offered"
    );
    assert_eq!(fresh.cached_chains(), 0, "what does not hold is not kept");
}

#[test]
fn a_root_of_the_same_name_with_another_key() {
    let (root, other) = (pki::root(pki::authority("Example Root")), pki::root(pki::authority("Example Root")));
    let alice = other.issue(pki::person("alice@a.example"));
    assert!(broken(&trust(&[&root]), &alice, &[]).contains("signature"));
    assert!(judge(&trust(&[&root, &other]), &alice, &[]).is_ok(), "each of that name is tried");
}

#[test]
fn purposes() {
    let root = pki::root(pki::authority("Root"));
    let trust = trust(&[&root]);
    let with = |purposes: &[ExtendedKeyUsagePurpose]| {
        let mut params = pki::person("alice@a.example");
        params.extended_key_usages = purposes.to_vec();
        root.issue(params)
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, EmailProtection, Other, ServerAuth};
    let im_uri = Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 40]);
    for good in [&[][..], &[EmailProtection], &[im_uri], &[Any], &[ClientAuth, EmailProtection]] {
        assert!(judge(&trust, &with(good), &[]).is_ok(), "{good:?}");
    }
    for bad in [&[ServerAuth][..], &[ClientAuth, ServerAuth]] {
        assert_eq!(distrust(&trust, &with(bad), &[]), Distrust::Purpose, "{bad:?}");
    }
    let mut params = pki::authority("For servers only");
    params.extended_key_usages = vec![ServerAuth];
    let middle = root.issue(params);
    let alice = middle.issue(pki::person("alice@a.example"));
    assert!(broken(&trust, &alice, &[&middle]).contains("purpose"));
    let mut params = pki::person("alice@a.example");
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert_eq!(distrust(&trust, &root.issue(params), &[]), Distrust::KeyUsage);
}

#[test]
fn times() {
    let root = pki::root(pki::authority("Root"));
    let with = |from: i64, until: i64| {
        let mut params = pki::person("alice@a.example");
        pki::days(&mut params, from, until);
        root.issue(params)
    };
    let trust = trust(&[&root]);
    let at = |made: &Made, days: i64| {
        let signed_at = Timestamp::from_secs(NOW.secs() + days * 86_400);
        let signer = Presented { certificate: &made.certificate, offered: &[], lists: &[], signed_at, now: NOW };
        trust.judge(&signer, &mailbox("alice@a.example"), None, &[])
    };
    let expired = with(-30, -2);
    assert_eq!(at(&expired, 0), Err(Refusal::Expiry(Expiry::Over(expired.certificate.not_after()))));
    assert!(at(&expired, -3).is_ok(), "it was valid when the message was signed");
    assert!(at(&expired, 0).is_err(), "the cache minds the time too");
    let early = with(2, 30);
    assert_eq!(at(&early, 0), Err(Refusal::Expiry(Expiry::NotYet(early.certificate.not_before()))));
    let mut params = pki::authority("Old");
    pki::days(&mut params, -900, -600);
    let old = root.issue(params);
    let alice = old.issue(pki::person("alice@a.example"));
    assert!(matches!(judge(&trust, &alice, &[&old]), Err(Refusal::Expiry(Expiry::Over(_)))));
}

#[test]
fn constraints() {
    let check = |permitted: &[&str], excluded: &[&str], name: SanType, holds: bool| {
        let mut params = pki::authority("Constrained");
        pki::constrain(&mut params, permitted, excluded);
        let root = pki::root(pki::authority("Root"));
        let middle = root.issue(params.clone());
        let mut person = pki::person("alice@a.example");
        person.subject_alt_names = vec![name.clone()];
        let below = middle.issue(person.clone());
        let above = trust(&[&root]);
        let constrained = pki::root(params);
        let (at_once, own) = (constrained.issue(person), trust(&[&constrained]));
        for got in [judge(&above, &below, &[&middle]), judge(&own, &at_once, &[])] {
            match (&got, holds) {
                (Ok(_), true) | (Err(Refusal::Distrust(Distrust::Constrained)), false) => {}
                _ => panic!("{permitted:?} {excluded:?} {name:?}: {got:?}"),
            }
        }
    };
    let mail = |text: &str| SanType::Rfc822Name(text.to_owned().try_into().unwrap());
    let uri = |text: &str| SanType::URI(text.to_owned().try_into().unwrap());
    let utf8 =
        |text: &str| SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 9], OtherNameValue::Utf8String(text.to_owned())));
    check(&["a.example"], &[], mail("alice@a.example"), true);
    check(&["a.example"], &[], mail("alice@b.example"), false);
    check(&["a.example"], &[], mail("alice@sub.a.example"), false);
    check(&[".a.example"], &[], mail("alice@sub.a.example"), true);
    check(&[], &["b.example"], mail("alice@a.example"), true);
    check(&[], &["a.example"], mail("alice@a.example"), false);
    check(&["a.example"], &[], utf8("алиса@a.example"), true);
    check(&["b.example"], &[], utf8("алиса@a.example"), false);
    check(&[], &["a.example"], utf8("алиса@a.example"), false);
    check(&[".a.example"], &[], utf8("алиса@a.example"), false);
    check(&["alice@a.example"], &[], utf8("алиса@a.example"), false);
    check(&["a.example"], &[], uri("im:alice@a.example"), true);
    check(&["b.example"], &[], uri("im:alice@a.example"), false);
    check(&[], &["a.example"], uri("im:%61lice@a.example"), false);
}

#[test]
fn lengths_of_paths() {
    let mut params = pki::authority("Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = pki::root(params);
    let middle = root.issue(pki::authority("Middle"));
    let alice = middle.issue(pki::person("alice@a.example"));
    assert!(broken(&trust(&[&root]), &alice, &[&middle]).contains("longer"));
    let bob = root.issue(pki::person("bob@b.example"));
    assert!(judge(&trust(&[&root]), &bob, &[]).is_ok());

    let long = |length: usize| {
        let root = pki::root(pki::authority("Root"));
        let mut all = vec![];
        for at in 0..length {
            let above: &Made = all.last().unwrap_or(&root);
            let next = above.issue(pki::authority(&format!("Number {at}")));
            all.push(next);
        }
        let alice = all.last().unwrap().issue(pki::person("alice@a.example"));
        let offered: Vec<&Made> = all.iter().collect();
        judge(&trust(&[&root]), &alice, &offered)
    };
    assert!(long(limits::CHAIN_LENGTH).is_ok());
    assert!(long(limits::CHAIN_LENGTH + 1).is_err());
}

#[test]
fn loops_end() {
    // Each certifies the other.
    let (one, two) = (pki::root(pki::authority("One")), pki::root(pki::authority("Two")));
    let one_by_two = two.issue_for(pki::authority("One"), one.same_key());
    let two_by_one = one.issue_for(pki::authority("Two"), two.same_key());
    let alice = one.issue(pki::person("alice@a.example"));
    let elsewhere = pki::root(pki::authority("Elsewhere"));
    assert_eq!(distrust(&trust(&[&elsewhere]), &alice, &[&one_by_two, &two_by_one, &one, &two]), Distrust::NoChain);
    assert!(judge(&trust(&[&two]), &alice, &[&one_by_two, &two_by_one, &one]).is_ok());
}

#[test]
fn many_of_one_name_are_not_all_tried() {
    let names: Vec<Made> = (0..16).map(|_| pki::root(pki::authority("Same"))).collect();
    let root = pki::root(pki::authority("Root"));
    let crossed: Vec<Made> = names.iter().map(|made| root.issue_for(pki::authority("Same"), made.same_key())).collect();
    let alice = names[15].issue(pki::person("alice@a.example"));
    let offered: Vec<&Made> = crossed.iter().collect();
    let started = std::time::Instant::now();
    assert!(judge(&trust(&[&root]), &alice, &offered).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn an_end_entity_certifies_nobody() {
    let root = pki::root(pki::authority("Root"));
    let mallory = root.issue(pki::person("mallory@b.example"));
    let mut alice = pki::person("alice@a.example");
    alice.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let alice = mallory.issue(alice);
    assert!(!broken(&trust(&[&root]), &alice, &[&mallory]).is_empty());
    // Nor does one that a domain publishes.
    let published = published("a.example", &[Record::authority(&mallory.certificate)]);
    let signer = Presented { certificate: &alice.certificate, offered: &[], lists: &[], signed_at: NOW, now: NOW };
    let got = trust(&[]).judge(&signer, &mailbox("alice@a.example"), Some(&published), &[]);
    assert!(got.is_err(), "{got:?}");
}

#[test]
fn revocation() {
    let root = pki::root(pki::authority("Root"));
    let middle = root.issue(pki::authority("Middle"));
    let alice = middle.issue(pki::person("alice@a.example"));
    let check = |crls: Vec<Vec<u8>>, require_crls: bool| {
        let anchors = Anchors { roots: vec![root.certificate.clone()], crls, require_crls, ..Anchors::default() };
        judge(&Trust::new(&anchors).unwrap(), &alice, &[&middle])
    };
    let refused = |why: Distrust| Err(Refusal::Distrust(why));
    let unknown = |name: &str| Err(Refusal::Distrust(Distrust::Revocation(name.to_owned())));
    let (good, bad) = (middle.list(&[], -1, 6), middle.list(&[&alice.certificate], -1, 6));
    assert!(check(vec![good.clone()], false).is_ok());
    assert_eq!(check(vec![bad], false), refused(Distrust::Revoked));
    assert_eq!(check(vec![good.clone(), root.list(&[&middle.certificate], -1, 6)], false), refused(Distrust::Revoked));
    assert_eq!(check(vec![middle.list(&[], -10, -3)], false), unknown("Middle"), "out of date");
    assert_eq!(check(vec![middle.list(&[], 3, 10)], false), unknown("Middle"), "of the future");
    let pretender = pki::root(pki::authority("Middle"));
    assert_eq!(check(vec![pretender.list(&[], -1, 6)], false), unknown("Middle"), "of somebody else");
    assert!(check(vec![pretender.list(&[], -1, 6), good.clone()], false).is_ok());
    assert!(check(vec![], true).is_err());
    assert!(check(vec![good.clone()], true).is_err());
    assert!(check(vec![good, root.list(&[], -1, 6)], true).is_ok());
    assert!(Trust::new(&Anchors { crls: vec![b"no list".to_vec()], ..Anchors::default() }).is_err());
}

#[test]
fn lists_that_come_along_only_take_belief_away() {
    let root = pki::root(pki::authority("Root"));
    let middle = root.issue(pki::authority("Middle"));
    let alice = middle.issue(pki::person("alice@a.example"));
    let offered = [middle.certificate.clone()];
    let check = |trust: &Trust, lists: &[Vec<u8>], published: Option<&Published>| {
        let signer = Presented { certificate: &alice.certificate, offered: &offered, lists, signed_at: NOW, now: NOW };
        trust.judge(&signer, &mailbox("alice@a.example"), published, &[])
    };
    let revoked = Err(Refusal::Distrust(Distrust::Revoked));
    let believer = trust(&[&root]);
    // The chain is in the cache from the first time on.
    for _ in 0..2 {
        assert!(check(&believer, &[], None).is_ok());
        assert_eq!(check(&believer, &[middle.list(&[&alice.certificate], -1, 6)], None), revoked);
        let both = [middle.list(&[], -1, 6), root.list(&[&middle.certificate], -1, 6)];
        assert_eq!(check(&believer, &both, None), revoked, "of the authority between");
        assert!(check(&believer, &[middle.list(&[], -1, 6), b"no list".to_vec()], None).is_ok());
    }
    let pretender = pki::root(pki::authority("Middle"));
    assert!(check(&believer, &[pretender.list(&[&alice.certificate], -1, 6)], None).is_ok(), "of somebody else");
    let records = published("a.example", &[Record::authority(&middle.certificate)]);
    assert!(check(&trust(&[]), &[], Some(&records)).is_ok());
    assert_eq!(check(&trust(&[]), &[middle.list(&[&alice.certificate], -1, 6)], Some(&records)), revoked);
    let anchors = Anchors {
        roots: vec![root.certificate.clone()],
        crls: vec![middle.list(&[&alice.certificate], -1, 6)],
        ..Anchors::default()
    };
    assert_eq!(check(&Trust::new(&anchors).unwrap(), &[middle.list(&[], 0, 6)], None), revoked);
}

#[test]
fn lists_that_were_fetched() {
    let (root, other) = (pki::root(pki::authority("Root")), pki::root(pki::authority("Other")));
    let same_name = pki::root(pki::authority("Root"));
    let until = NOW.after(std::time::Duration::from_secs(6 * 86_400));
    let list = root.list(&[], -1, 6);
    let read_list = |octets: &[u8], issuer: &Certificate| read_list(octets, issuer, NOW);
    let since = NOW.before(std::time::Duration::from_secs(86_400));
    assert_eq!(read_list(&list, &root.certificate), Ok(FoundList { der: list.clone(), since, until }));
    let pem = pem::write("X509 CRL", &list);
    assert_eq!(read_list(pem.as_bytes(), &root.certificate).unwrap().der, list);
    assert!(read_list(&list, &same_name.certificate).is_err(), "of another key");
    assert!(read_list(&other.list(&[], -1, 6), &root.certificate).is_err());
    assert!(read_list(b"no list", &root.certificate).is_err());
    let mut altered = list.clone();
    altered[40] ^= 1;
    assert!(read_list(&altered, &root.certificate).is_err());
    assert!(read_list(&list[..list.len() - 1], &root.certificate).is_err());
    assert!(read_list(&root.list(&[], 1, 6), &root.certificate).is_err(), "of tomorrow");
    let middle = root.issue(pki::authority("Middle"));
    let mut certifies = pki::authority("Middle");
    certifies.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certifies = root.issue_for(certifies, middle.same_key());
    assert!(read_list(&middle.list(&[], -1, 6), &middle.certificate).is_ok());
    assert!(read_list(&middle.list(&[], -1, 6), &certifies.certificate).is_err(), "it may not sign lists");
}

#[test]
fn where_lists_are() {
    let point =
        |uris: &[&str]| rcgen::CrlDistributionPoint { uris: uris.iter().map(|uri| (*uri).to_owned()).collect() };
    let root = pki::root(pki::authority("Root"));
    let mut middle = pki::authority("Middle");
    middle.crl_distribution_points = vec![point(&["ldap://x/", "http://root/list"])];
    let middle = root.issue(middle);
    let mut alice = pki::person("alice@a.example");
    alice.crl_distribution_points = vec![point(&["http://middle/one", "http://middle/two"])];
    let alice = middle.issue(alice);
    let trust = trust(&[&root]);
    assert!(trust.lists_of(&alice.certificate).is_empty(), "nobody has believed it yet");
    assert!(judge(&trust, &alice, &[&middle]).is_ok());
    let places = trust.lists_of(&alice.certificate);
    let places: Vec<_> = places.iter().map(|place| (place.uri.as_str(), &place.issuer)).collect();
    assert_eq!(places, [("http://root/list", &root.certificate), ("http://middle/one", &middle.certificate)]);
}

#[test]
fn what_is_cached_holds_no_longer_than_the_list() {
    let root = pki::root(pki::authority("Root"));
    let alice = root.issue(pki::person("alice@a.example"));
    let anchors =
        Anchors { roots: vec![root.certificate.clone()], crls: vec![root.list(&[], -1, 2)], ..Anchors::default() };
    let trust = Trust::new(&anchors).unwrap();
    let at = |days: u64| {
        let now = NOW.after(std::time::Duration::from_secs(days * 86_400));
        let signer = Presented { certificate: &alice.certificate, offered: &[], lists: &[], signed_at: NOW, now };
        trust.judge(&signer, &mailbox("alice@a.example"), None, &[])
    };
    assert!(at(0).is_ok() && at(1).is_ok());
    assert_eq!(at(3), Err(Refusal::Distrust(Distrust::Revocation("Root".to_owned()))));
}

#[test]
fn the_cache_is_bounded() {
    let mut cache = Cache::default();
    let entry = Arc::new(cache::Entry {
        root: String::new(),
        authorities: Vec::new(),
        not_before: NOW,
        not_after: NOW,
        until: Timestamp::MAX,
    });
    let key = |number: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    };
    (0..limits::CHAINS_CACHED + 5).for_each(|number| cache.put(key(number), entry.clone()));
    (0..3).for_each(|_| cache.put(key(limits::CHAINS_CACHED), entry.clone()));
    assert_eq!(cache.len(), limits::CHAINS_CACHED);
    assert!(cache.get(&key(0), NOW, NOW).is_none());
    assert!(cache.get(&key(limits::CHAINS_CACHED), NOW, NOW).is_some());
}

#[test]
fn names() {
    let root = pki::root(pki::authority("Root"));
    let of = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = pki::person("alice@a.example");
        change(&mut params);
        names_of(&root.issue(params).certificate).unwrap().clone()
    };
    let raw = |tag: u8, text: &[u8]| {
        let element = [&[tag, u8::try_from(text.len()).unwrap()], text].concat();
        of(&|params| pki::raw_names(params, &element))
    };
    let alice = mailbox("alice@a.example");
    assert!(of(&|_| ()).names(&alice));
    assert!(of(&|_| ()).names(&mailbox("Alice@A.example")));
    assert!(!of(&|_| ()).names(&mailbox("bob@a.example")));
    assert!(!of(&|params| params.subject_alt_names.clear()).names(&alice));
    assert_eq!(of(&|params| params.subject_alt_names.clear()).first(), None, "no name at all");
    assert!(!raw(0x81, b"alice@a.example\0.mallory.example").names(&alice));
    assert_eq!(raw(0x81, b"alice@a.example\0.mallory.example").first(), None);
    assert_eq!(raw(0x81, b"alice@a.example\0").first(), None);
    assert_eq!(raw(0x81, b"alice").first(), None);
    assert_eq!(raw(0x81, "\u{430}lice@a.example".as_bytes()).first(), None, "an IA5String is US-ASCII");
    assert_eq!(raw(0x82, b"alice@a.example").first(), None, "a DNS name is no address");
    assert!(raw(0x86, b"im:alice@a.example").names(&alice));
    assert!(raw(0x86, b"IM:%61lice%40a.example?x=y").names(&alice));
    assert!(raw(0x86, b"im:al%C3%AFce@a.example").names(&mailbox("alïce@a.example")));
    for none in [&b"mailto:alice@a.example"[..], b"im:alice", b"im:alice%00@a.example", b"im:%4", b"im:%zz@a.example"] {
        assert_eq!(raw(0x86, none).first(), None, "{none:?}");
    }
}

#[test]
fn names_that_look_alike() {
    let utf8 = |text: &str| {
        let mut params = pki::person("alice@a.example");
        let value = OtherNameValue::Utf8String(text.to_owned());
        params.subject_alt_names = vec![SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 9], value))];
        names_of(&pki::root(params).certificate).unwrap().clone()
    };
    // Cyrillic а.
    let look_alike = "\u{430}lice@a.example";
    assert!(!utf8(look_alike).names(&mailbox("alice@a.example")));
    assert!(utf8(look_alike).names(&mailbox(look_alike)));
    assert!(!utf8("Алиса@a.example").names(&mailbox("алиса@a.example")), "octet for octet");
    for none in ["alice@a.example", "алиса@A.example", "алиса@пример.example", "\u{feff}алиса@a.example", "алиса"]
    {
        assert_eq!(utf8(none).first(), None, "{none}: RFC 9598 has no such name");
    }
}

fn published(domain: &str, records: &[Record]) -> Published {
    Published { domain: Domain::parse(domain).unwrap(), records: records.to_vec() }
}

#[test]
fn owners() {
    // The example of RFC 8162 §3.
    assert_eq!(
        owner(&mailbox("hugh@example.com")),
        "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com"
    );
    assert_eq!(owner(&mailbox("\"hugh\"@example.com")), owner(&mailbox("hugh@example.com")));
    assert_ne!(owner(&mailbox("Hugh@example.com")), owner(&mailbox("hugh@example.com")));
    assert_eq!(wildcard(&Domain::parse("a.example").unwrap()), "*._smimecert.a.example");
}

#[test]
fn what_a_domain_publishes() {
    use aws_lc_rs::digest::{SHA256, SHA512, digest};
    let (root, other) = (pki::root(pki::authority("Root")), pki::root(pki::authority("Other")));
    let alice = root.issue(pki::person("alice@a.example"));
    let record = |usage: u8, selector: u8, matching: u8, certificate: &Certificate| {
        let selected = if selector == 0 { certificate.der() } else { certificate.spki() };
        let data = match matching {
            1 => digest(&SHA256, selected).as_ref().to_vec(),
            2 => digest(&SHA512, selected).as_ref().to_vec(),
            _ => selected.to_vec(),
        };
        Record { usage, selector, matching, data }
    };
    let signer = Presented { certificate: &alice.certificate, offered: &[], lists: &[], signed_at: NOW, now: NOW };
    let author = mailbox("alice@a.example");
    let by_domain = Ok(Basis::Published(Domain::parse("a.example").unwrap()));
    let nobody = trust(&[]);
    for selector in 0..2 {
        for matching in 0..3 {
            let records = published("a.example", &[record(3, selector, matching, &alice.certificate)]);
            assert_eq!(nobody.judge(&signer, &author, Some(&records), &[]), by_domain);
            let records = published("a.example", &[record(2, selector, matching, &root.certificate)]);
            let offered = [root.certificate.clone()];
            let with_root = Presented { offered: &offered, ..signer };
            assert_eq!(trust(&[]).judge(&with_root, &author, Some(&records), &[]), by_domain);
            let missing = trust(&[]).judge(&signer, &author, Some(&records), &[]);
            assert_eq!(missing.is_ok(), (selector, matching) == (0, 0), "only a whole certificate makes a chain");
        }
    }
    let whole = Record::authority(&root.certificate);
    let elsewhere = published("b.example", std::slice::from_ref(&whole));
    assert!(nobody.judge(&signer, &author, Some(&elsewhere), &[]).is_err(), "of another domain");
    for bad in
        [Record { usage: 4, ..whole.clone() }, Record { selector: 2, ..whole.clone() }, Record { matching: 1, ..whole }]
    {
        assert_eq!(bad.meaning(), None);
        assert!(nobody.judge(&signer, &author, Some(&published("a.example", &[bad])), &[]).is_err());
    }
    // Usages 0 and 1 restrict what roots may vouch for, and add nothing.
    let rooted = trust(&[&root]);
    let judge =
        |trust: &Trust, records: &[Record]| trust.judge(&signer, &author, Some(&published("a.example", records)), &[]);
    assert!(judge(&rooted, &[record(0, 1, 1, &root.certificate)]).is_ok());
    assert!(judge(&rooted, &[record(1, 0, 1, &alice.certificate)]).is_ok());
    assert!(judge(&nobody, &[record(1, 0, 1, &alice.certificate)]).is_err());
    let not_published = Err(Refusal::Distrust(Distrust::NotPublished));
    assert_eq!(judge(&rooted, &[record(0, 0, 1, &other.certificate)]), not_published);
    assert_eq!(judge(&rooted, &[record(1, 0, 1, &other.certificate)]), not_published);
    assert!(judge(&rooted, &[record(0, 0, 1, &other.certificate), record(3, 0, 1, &alice.certificate)]).is_ok());
}

#[test]
fn pins() {
    let alice = pki::root(pki::authority("Nobody")).issue(pki::person("alice@a.example"));
    let other = pki::root(pki::authority("Nobody")).issue(pki::person("alice@a.example"));
    let author = mailbox("alice@a.example");
    let signer = Presented { certificate: &alice.certificate, offered: &[], lists: &[], signed_at: NOW, now: NOW };
    let pin = |made: &Made| Pin { author: author.clone(), fingerprint: made.certificate.fingerprint() };
    let judge = |pins: &[Pin]| trust(&[]).judge(&signer, &author, None, pins);
    assert_eq!(judge(&[]), Err(Refusal::Distrust(Distrust::NoChain)));
    assert_eq!(judge(&[pin(&alice)]), Ok(Basis::Pinned));
    assert_eq!(judge(&[pin(&other)]), Err(Refusal::Distrust(Distrust::NotPinned)));
    assert_eq!(judge(&[pin(&other), pin(&alice)]), Ok(Basis::Pinned));
    let somebody = Pin { author: mailbox("bob@b.example"), ..pin(&alice) };
    assert_eq!(judge(&[somebody]), Err(Refusal::Distrust(Distrust::NoChain)));
}

#[test]
fn a_root_that_is_the_signer() {
    let alice = pki::root(pki::person("alice@a.example"));
    assert!(judge(&trust(&[&alice]), &alice, &[]).is_ok());
    assert_eq!(distrust(&trust(&[]), &alice, &[&alice]), Distrust::NoChain);
}
