//! The presence format: rows 3.1.1 to 3.1.6, and what rules make of it, without a daemon.

use impart::address::Mailbox;
use impart::pidf::compose::{Publication, Sessions, merge};
use impart::pidf::{Basic, Document, view};
use impart::rules::edit::{let_publish, let_watch};
use impart::rules::{Circumstances, Decision, Handling, Ruleset, Watcher, decide};
use impart::timestamp::Timestamp;

fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/presence").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_795_000_000)
}

/// What a server makes of one publication.
fn composed(document: &Document, presentity: &str) -> Document {
    let publication = Publication { id: "phone", document, at: now(), lasting: true };
    let sessions = Sessions { attached: false, since: now() };
    merge(&mailbox(presentity), &[publication], sessions).unwrap_or_else(|fault| panic!("{fault}"))
}

fn decided(rules: &str, who: &str) -> Decision {
    let rules = Ruleset::parse(rules).unwrap_or_else(|fault| panic!("{fault}\n{rules}"));
    decide(
        Some(&rules),
        Watcher { identity: Some(&mailbox(who)) },
        Circumstances { now: now(), ..Circumstances::default() },
    )
}

#[test]
fn r3_1_1_the_examples_of_pidf_are_read_and_kept() {
    for number in 1..=6 {
        let text = example(&format!("rfc3863-{number}.xml"));
        let document = Document::parse(&text).unwrap_or_else(|fault| panic!("{number}: {fault}"));
        assert_eq!(document.text(), text);
        assert_eq!(document.basic(), Some(Basic::Open), "{number}");
        let composed = composed(&document, "someone@example.com");
        for tuple in &document.tuples {
            assert!(composed.tuples.contains(tuple), "{number}: {tuple:?}\n{}", composed.text());
        }
    }
}

#[test]
fn r3_1_2_a_document_says_whom_it_is_about() {
    let document = Document::parse(&example("rfc3863-4.xml")).expect("a document");
    assert!(document.is_about(&mailbox("Someone@EXAMPLE.com")));
    assert!(!document.is_about(&mailbox("someone@example.org")));
    assert!(composed(&document, "alice@a.example").is_about(&mailbox("alice@a.example")));
}

#[test]
fn r3_1_3_contacts_and_cards_are_seen() {
    let document = Document::parse(&example("rfc4482-2.xml")).expect("a document");
    let composed = composed(&document, "someone@example.com");
    let seen = view(&composed, &impart::rules::Provide::everything());
    let best = seen.tuples.iter().max_by_key(|tuple| tuple.priority).expect("a tuple");
    assert_eq!(best.contact.as_deref(), Some("im:someone@mobile.example.net"));
    let card = &seen.persons[0].card[0];
    assert_eq!((card.0.as_str(), card.1.as_str()), ("card", "http://example.com/~someone/card.vcd"));
}

#[test]
fn r3_1_4_extensions_survive_and_harm_nothing() {
    for (name, kept) in [
        ("rfc3863-4.xml", &["<im:im>busy</im:im>", "<myex:location>home</myex:location>"][..]),
        (
            "rfc3863-5.xml",
            &[">Extended value in tuple</myex:mytupletag>", ">My extended presentity information</myex:"],
        ),
        ("rfc3863-6.xml", &["<myex:ex1 impp:mustUnderstand=\"1\">val1</myex:ex1>", "<myex:ex2>val2</myex:ex2>"]),
    ] {
        let composed = composed(&Document::parse(&example(name)).expect("a document"), "someone@example.com");
        for piece in kept {
            assert!(composed.text().contains(piece), "{name}: {piece}\n{}", composed.text());
        }
        assert_eq!(composed.basic(), Some(Basic::Open), "{name}");
        assert_eq!(Document::parse(composed.text()), Ok(composed.clone()), "{name}");
    }
}

#[test]
fn r3_1_5_extensions_have_a_register() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("man/impart-protocol.7");
    let page = std::fs::read_to_string(path).expect("the manual");
    let register = page.split(".Sh EXTENSION").nth(1).and_then(|rest| rest.split("\n.Sh ").next()).expect("a section");
    for namespace in ["urn:impart:rules", "urn:impart:watcherinfo", "urn:impart:sphere"] {
        assert!(register.contains(&format!("XML namespace Ta {namespace} Ta")), "{namespace}");
    }
}

#[test]
fn r3_1_6_what_the_server_says_is_pidf() {
    let document = Document::closed(&mailbox("alice@a.example"), now());
    let root = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:alice@a.example\">";
    assert!(document.text().contains(root), "{}", document.text());
    assert_eq!(impart::pidf::MEDIA, "application/pidf+xml");
}

#[test]
fn r2_3_4_rules_say_who_publishes() {
    let bob = mailbox("bob@b.example");
    let rules = let_publish(None, &bob, true).expect("rules").text.expect("a document");
    assert!(decided(&rules, "bob@b.example").publish && !decided(&rules, "carol@b.example").publish);
    let rules = let_publish(Some(&rules), &bob, false).expect("rules").text.expect("a document");
    assert!(!decided(&rules, "bob@b.example").publish);
}

#[test]
fn r5_2_3_two_watchers_see_two_things() {
    let who = |text: &str| text.parse().expect("an address");
    let rules = let_watch(None, &who("bob@b.example"), Handling::Allow).expect("rules").text.expect("a document");
    let least = "<rule id=\"least\"><conditions><identity><one id=\"im:carol@b.example\"/></identity></conditions><actions>\
        <sub-handling xmlns=\"urn:ietf:params:xml:ns:pres-rules\">allow</sub-handling></actions><transformations \
        xmlns:p=\"urn:ietf:params:xml:ns:pres-rules\"><p:provide-services><p:service-uri-scheme>im</p:service-uri-scheme>\
        </p:provide-services></transformations></rule></ruleset>";
    let rules = rules.replace("</ruleset>", least);
    let composed = composed(&Document::parse(&example("rfc4480-1.xml")).expect("a document"), "someone@example.com");
    let seen = |watcher| view(&composed, &decided(&rules, watcher).provide);
    assert_eq!(seen("bob@b.example"), composed);
    let carol = seen("carol@b.example");
    let contacts: Vec<_> = carol.tuples.iter().filter_map(|tuple| tuple.contact.as_deref()).collect();
    assert!(contacts.iter().all(|contact| contact.starts_with("im:")) && carol.persons.is_empty(), "{contacts:?}");
    assert!(!carol.text().contains("Far away") && !carol.text().contains("Disturb"), "{}", carol.text());
    // Whoever is still to be asked about sees nothing, since nothing is provided.
    assert!(seen("dave@d.example").tuples.is_empty());
}
