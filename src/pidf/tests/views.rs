use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::pidf::compose::{Sessions, merge};
use crate::rules::{Circumstances, Decision, Handling, Provide, Ruleset, Selection, UserInput, Watcher, decide};

/// A document in which every element has a text of its own: `@` and a number.
const FULL: &str = "<!-- @comment --><?pi @pi?>\
    <tuple id=\"im\" x:a=\"@attribute\"><status><basic>open</basic><x:s>@status-x</x:s></status>\
    <dm:deviceID>@tuple-device</dm:deviceID><r:class>work</r:class><r:privacy><r:text/><x:p>@tuple-privacy</x:p></r:privacy>\
    <r:relationship><r:note>@relationship</r:note><r:self/></r:relationship>\
    <r:service-class><r:note>@service-class</r:note><r:electronic/></r:service-class>\
    <r:status-icon>@tuple-icon</r:status-icon>\
    <r:user-input idle-threshold=\"600\" last-input=\"2026-11-23T11:00:00Z\" x:b=\"@input-x\">idle</r:user-input>\
    <t:timed-status from=\"2027-01-01T00:00:00Z\"><t:note>@timed</t:note></t:timed-status><x:foo>@foo</x:foo>\
    <x:bar>@bar</x:bar><r:activities><r:note>@misplaced</r:note></r:activities>\
    <contact priority=\"0.5\">im:@contact</contact><note>@tuple-note</note>\
    <timestamp>2026-11-23T11:11:11Z</timestamp></tuple>\
    <tuple id=\"sip\"><status><basic>closed</basic></status><contact>sip:bob@B.example</contact></tuple>\
    <note>@note</note>\
    <dm:person id=\"p1\" x:c=\"@person-attribute\"><r:activities><r:note>@activities</r:note><r:away/></r:activities>\
    <r:class>private</r:class><r:mood><r:other>@mood</r:other></r:mood><r:place-is><r:note>@place-is</r:note></r:place-is>\
    <r:place-type><r:other>@place-type</r:other></r:place-type><r:privacy><r:note>@person-privacy</r:note></r:privacy>\
    <r:sphere><x:y>@sphere</x:y></r:sphere><r:status-icon>@person-icon</r:status-icon>\
    <r:time-offset description=\"@offset\">60</r:time-offset><r:service-class><r:note>@odd</r:note></r:service-class>\
    <r:user-input>active</r:user-input><c:card>@card</c:card><x:foo>@person-foo</x:foo><dm:note>@person-note</dm:note>\
    <dm:timestamp>2026-11-23T10:10:10Z</dm:timestamp></dm:person>\
    <dm:device id=\"d1\"><r:class>work</r:class><r:user-input>idle</r:user-input><x:foo>@device-foo</x:foo>\
    <dm:deviceID>urn:@device</dm:deviceID><dm:note>@device-note</dm:note>\
    <dm:timestamp>2026-11-23T09:09:09Z</dm:timestamp></dm:device>\
    <x:top>@top</x:top>";

/// The words after `@` in a text.
fn told(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().map(str::to_owned);
    text.split('@').skip(1).filter_map(word).filter(|word| word != "a" && word != "B").collect()
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn every() -> Provide {
    Provide {
        services: Selection::everything(),
        persons: Selection::everything(),
        devices: Selection::everything(),
        ..Provide::default()
    }
}

#[track_caller]
fn check(provide: &Provide, expected: &str) {
    let view = view(&document(FULL), provide);
    assert_eq!(told(view.text()), words(expected), "{}", view.text());
}

/// What is told with every component (RFC 5025 §3.3.2).
const ALWAYS: &str = "contact service-class device";

#[test]
fn without_transformations_nothing_is_shown() {
    let view = view(&document(FULL), &Provide::default());
    let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
        <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:alice@a.example\">\r\n</presence>\r\n";
    assert_eq!(view.text(), expected);
    // Attributes alone show nothing either.
    check(&Provide { all_attributes: true, note: true, ..Provide::default() }, "");
}

#[test]
fn everything_is_the_document_itself() {
    let full = document(FULL);
    assert_eq!(view(&full, &Provide::everything()), full);
}

#[test]
fn components_have_what_is_always_told() {
    check(&every(), ALWAYS);
    let shown = view(&document(FULL), &every());
    assert_eq!(shown.tuples[0].basic, Some(Basic::Open));
    assert_eq!((shown.tuples[0].priority, shown.tuples[0].timestamp), (Some(500), Some(time("2026-11-23T11:11:11Z"))));
    assert_eq!(shown.persons[0].timestamp, Some(time("2026-11-23T10:10:10Z")));
    assert_eq!(shown.devices[0].timestamp, Some(time("2026-11-23T09:09:09Z")));
    assert_eq!((shown.tuples[0].user_input.as_ref(), shown.tuples[0].class.as_ref()), (None, None));
}

#[test]
fn each_attribute_has_a_permission_of_its_own() {
    let one = |change: fn(&mut Provide), expected: &str| {
        let mut provide = every();
        change(&mut provide);
        check(&provide, &format!("{ALWAYS} {expected}"));
    };
    one(|provide| provide.activities = true, "activities");
    one(|provide| provide.device_id = true, "tuple-device");
    one(|provide| provide.mood = true, "mood");
    one(|provide| provide.place_is = true, "place-is");
    one(|provide| provide.place_type = true, "place-type");
    one(|provide| provide.privacy = true, "tuple-privacy person-privacy");
    one(|provide| provide.relationship = true, "relationship");
    one(|provide| provide.sphere = true, "sphere");
    one(|provide| provide.status_icon = true, "tuple-icon person-icon");
    one(|provide| provide.time_offset = true, "offset");
    one(|provide| provide.note = true, "tuple-note person-note device-note");
    one(|provide| provide.user_input = UserInput::Full, "input-x");
    one(
        |provide| provide.all_attributes = true,
        "attribute comment pi status-x tuple-device tuple-privacy relationship tuple-icon input-x timed foo bar misplaced \
         tuple-note note person-attribute activities mood place-is place-type person-privacy sphere person-icon offset odd \
         card person-foo person-note device-foo device-note top",
    );
    let mut provide = every();
    provide.class = true;
    let view = view(&document(FULL), &provide);
    assert_eq!(view.tuples[0].class.as_deref(), Some("work"));
    assert_eq!((view.persons[0].class.as_deref(), view.devices[0].class.as_deref()), (Some("private"), Some("work")));
}

#[test]
fn what_no_rfc_names_needs_its_name_and_namespace() {
    let unknown = |namespace: &str, name: &str| {
        let mut provide = every();
        provide.unknown.insert((namespace.to_owned(), name.to_owned()));
        provide
    };
    check(&unknown("urn:x", "foo"), &format!("{ALWAYS} foo person-foo device-foo"));
    check(&unknown("urn:x", "s"), &format!("{ALWAYS} status-x"));
    check(&unknown("urn:x", "top"), ALWAYS);
    check(&unknown("urn:y", "foo"), ALWAYS);
    check(&unknown("urn:ietf:params:xml:ns:pidf:timed-status", "timed-status"), &format!("{ALWAYS} timed"));
    check(&unknown("urn:ietf:params:xml:ns:pidf:cipid", "card"), &format!("{ALWAYS} card"));
    // What has a permission of its own is not unknown (RFC 5025 §3.3.2.14).
    for name in ["activities", "mood", "class", "user-input", "relationship"] {
        check(&unknown("urn:ietf:params:xml:ns:pidf:rpid", name), ALWAYS);
    }
    check(&unknown("urn:ietf:params:xml:ns:pidf", "note"), ALWAYS);
    check(&unknown("urn:ietf:params:xml:ns:pidf:data-model", "deviceID"), ALWAYS);
}

#[test]
fn components_are_chosen() {
    let ids = |provide: &Provide| {
        let view = view(&document(FULL), provide);
        let tuples = view.tuples.iter().map(|tuple| &tuple.id);
        let ids = tuples.chain(view.persons.iter().map(|one| &one.id)).chain(view.devices.iter().map(|one| &one.id));
        ids.cloned().collect::<Vec<_>>().join(" ")
    };
    let set = |text: &str| BTreeSet::from([text.to_owned()]);
    let services = |services| Provide { services, ..Provide::default() };
    assert_eq!(ids(&services(Selection { classes: set("work"), ..Selection::default() })), "im");
    assert_eq!(ids(&services(Selection { classes: set("Work"), ..Selection::default() })), "");
    assert_eq!(ids(&services(Selection { occurrences: set("sip"), ..Selection::default() })), "sip");
    assert_eq!(ids(&services(Selection { uris: set("SIP:bob@b.example"), ..Selection::default() })), "sip");
    assert_eq!(ids(&services(Selection { uris: set("sip:Bob@b.example"), ..Selection::default() })), "");
    assert_eq!(ids(&services(Selection { schemes: set("im"), ..Selection::default() })), "im");
    assert_eq!(ids(&services(Selection { schemes: set("IM"), ..Selection::default() })), "");
    let persons = |persons| Provide { persons, ..Provide::default() };
    assert_eq!(ids(&persons(Selection { classes: set("private"), ..Selection::default() })), "p1");
    assert_eq!(ids(&persons(Selection { occurrences: set("im"), ..Selection::default() })), "");
    let devices = |devices| Provide { devices, ..Provide::default() };
    assert_eq!(ids(&devices(Selection { uris: set("urn:@device"), ..Selection::default() })), "d1");
    assert_eq!(ids(&devices(Selection { classes: set("home"), ..Selection::default() })), "");
    assert_eq!(ids(&every()), "im sip p1 d1");
}

#[test]
fn user_input_by_degrees() {
    let input = |user_input| {
        let view = view(&document(FULL), &Provide { user_input, ..every() });
        let start = view.text().find("user-input").map(|at| at - 1);
        start.map(|at| view.text()[at..].split_inclusive("user-input>").next().unwrap_or_default().to_owned())
    };
    let rpid = "xmlns=\"urn:ietf:params:xml:ns:pidf:rpid\"";
    assert_eq!(input(UserInput::False), None);
    assert_eq!(input(UserInput::Bare), Some(format!("<user-input {rpid}>idle</user-input>")));
    let threshold = format!("<user-input {rpid} idle-threshold=\"600\">idle</user-input>");
    assert_eq!(input(UserInput::Thresholds), Some(threshold));
    let all = input(UserInput::Full).unwrap();
    assert!(all.contains("last-input=\"2026-11-23T11:00:00Z\"") || all.starts_with("r:user"), "{all}");
}

/// RFC 4479 §5: they are those of the persons that have none.
#[test]
fn notes_of_the_presentity_are_notes_of_persons() {
    let shown = |children: &str, persons: Selection| {
        let provide = Provide { persons, note: true, ..Provide::default() };
        told(view(&document(children), &provide).text()).contains("note")
    };
    let named = || Selection { occurrences: BTreeSet::from(["p".to_owned()]), ..Selection::default() };
    assert!(shown("<note>@note</note>", Selection::everything()));
    assert!(!shown("<note>@note</note>", Selection::default()));
    assert!(!shown("<note>@note</note>", named()));
    assert!(shown("<note>@note</note><dm:person id=\"p\"/><dm:person id=\"q\"/>", named()));
    assert!(!shown("<note>@note</note><dm:person id=\"p\"><dm:note/></dm:person><dm:person id=\"q\"/>", named()));
    assert!(!shown("<note>@note</note><dm:person id=\"q\"/>", named()));
}

/// RFC 5025 §6.
#[test]
fn example_of_the_rfc() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/presence/rfc5025-1.xml");
    // Nobody here has a sip: URI; the example is about who has an im: one.
    let rules = std::fs::read_to_string(path).unwrap().replace("id=\"sip:", "id=\"im:");
    let rules = Ruleset::parse(&rules).unwrap();
    let decided = |who: &str| {
        decide(
            Some(&rules),
            Watcher { identity: Some(&mailbox(who)) },
            Circumstances { now: now(), ..Circumstances::default() },
        )
    };
    assert_eq!(decided("other@example.com"), Decision::default());
    let decision = decided("user@example.com");
    assert_eq!((decision.subscription, decision.publish), (Handling::Allow, false));
    let children =
        FULL.replace("xmlns:x=\"urn:x\"", "").replace("<x:foo>", "<foo xmlns=\"urn:vendor-specific:foo-namespace\">");
    let children = children.replace("</x:foo>", "</foo>");
    let view = shown(&document(&children), &alice(), &decision, now()).unwrap();
    assert_eq!(told(view.text()), words("activities person-foo"), "{}", view.text());
    assert_eq!(view.tuples.iter().map(|tuple| tuple.id.as_str()).collect::<Vec<_>>(), ["sip"]);
    assert!(view.devices.is_empty() && view.text().contains(">active</user-input>"));
}

#[test]
fn a_polite_block_is_a_presentity_out_of_contact() {
    let polite =
        Decision { subscription: Handling::PoliteBlock, provide: Provide::everything(), ..Decision::default() };
    let shown_to = |document: &Document, decision: &Decision| shown(document, &alice(), decision, now());
    let polite_view = shown_to(&document(FULL), &polite).unwrap();
    // Nobody attached, nothing published; whoever is allowed everything, or as much as is always told.
    let away = merge(&alice(), &[], Sessions { attached: false, since: now() }).unwrap();
    for provide in [Provide::everything(), every()] {
        let allowed = Decision { subscription: Handling::Allow, provide, ..Decision::default() };
        assert_eq!(shown_to(&away, &allowed).unwrap().text(), polite_view.text());
    }
    // And who publishes just that.
    let published = Document::compose(&alice(), &polite_view.tuples, &[], &[]).unwrap();
    assert_eq!(published.text(), polite_view.text());
    for subscription in [Handling::Block, Handling::Confirm] {
        let decision = Decision { subscription, provide: Provide::everything(), ..Decision::default() };
        assert_eq!(shown_to(&away, &decision), None);
    }
}

#[test]
fn a_view_that_would_be_too_great_shows_nothing() {
    let namespace = format!("urn:{}", "x".repeat(1000));
    let text = format!(
        "<presence xmlns=\"{PIDF}\" entity=\"pres:alice@a.example\" xmlns:l=\"{namespace}\"><tuple id=\"a\"><status/>\
         {}</tuple></presence>",
        "<l:a/>".repeat(100)
    );
    let document = Document::parse(&text).unwrap();
    let view =
        view(&document, &Provide { all_attributes: true, services: Selection::everything(), ..Provide::default() });
    assert!(view.tuples.is_empty() && view.text().len() < 300, "{}", view.text().len());
}

fn selection() -> impl Strategy<Value = Selection> {
    let some = |words: &'static [&'static str]| {
        prop::collection::btree_set(prop::sample::select(words.to_vec()).prop_map(str::to_owned), 0..2)
    };
    let uris = some(&["im:@contact", "sip:bob@b.example", "urn:@device"]);
    let sets = (some(&["work", "private"]), some(&["im", "p1", "d1"]), uris, some(&["im", "sip"]));
    (prop::bool::weighted(0.3), sets).prop_map(|(all, (classes, occurrences, uris, schemes))| Selection {
        all,
        classes,
        occurrences,
        uris,
        schemes,
    })
}

fn provide() -> impl Strategy<Value = Provide> {
    let unknown =
        prop::sample::select(vec!["foo", "bar", "s", "top"]).prop_map(|name| ("urn:x".to_owned(), name.to_owned()));
    let input = prop::sample::select(vec![UserInput::False, UserInput::Bare, UserInput::Thresholds, UserInput::Full]);
    let rest = (prop::collection::vec(any::<bool>(), 12), input, prop::collection::btree_set(unknown, 0..3));
    (selection(), selection(), selection(), rest, prop::bool::weighted(0.1)).prop_map(
        |(services, persons, devices, (flags, user_input, unknown), all_attributes)| Provide {
            services,
            persons,
            devices,
            activities: flags[0],
            class: flags[1],
            device_id: flags[2],
            mood: flags[3],
            place_is: flags[4],
            place_type: flags[5],
            privacy: flags[6],
            relationship: flags[7],
            sphere: flags[8],
            status_icon: flags[9],
            time_offset: flags[10],
            user_input,
            note: flags[11],
            unknown,
            all_attributes,
        },
    )
}

/// What may be told, component by component and word by word, from the text of RFC 5025 §3.3 and not from the code.
fn permitted(provide: &Provide) -> BTreeSet<String> {
    let chosen = |one: &Selection, class: &str, id: &str, uri: &str, scheme: &str| {
        one.all
            || one.classes.contains(class)
            || one.occurrences.contains(id)
            || one.uris.contains(uri)
            || one.schemes.contains(scheme)
    };
    let foo = provide.unknown.contains(&("urn:x".into(), "foo".into()));
    let unknown = |name: &str| provide.unknown.contains(&("urn:x".into(), name.into()));
    let mut all = BTreeSet::new();
    let mut add = |when: bool, word: &str| {
        if when || provide.all_attributes {
            all.insert(word.to_owned());
        }
    };
    if chosen(&provide.services, "work", "im", "im:@contact", "im") {
        for (when, word) in [
            (true, "contact"),
            (true, "service-class"),
            (provide.device_id, "tuple-device"),
            (provide.privacy, "tuple-privacy"),
            (provide.relationship, "relationship"),
            (provide.status_icon, "tuple-icon"),
            (provide.user_input == UserInput::Full, "input-x"),
            (provide.note, "tuple-note"),
            (foo, "foo"),
            (unknown("bar"), "bar"),
            (unknown("s"), "status-x"),
            (false, "timed"),
            (false, "misplaced"),
        ] {
            add(when, word);
        }
    }
    if provide.persons.all || provide.persons.classes.contains("private") || provide.persons.occurrences.contains("p1")
    {
        for (when, word) in [
            (provide.activities, "activities"),
            (provide.mood, "mood"),
            (provide.place_is, "place-is"),
            (provide.place_type, "place-type"),
            (provide.privacy, "person-privacy"),
            (provide.sphere, "sphere"),
            (provide.status_icon, "person-icon"),
            (provide.time_offset, "offset"),
            (provide.note, "person-note"),
            (foo, "person-foo"),
            (false, "card"),
            (false, "odd"),
        ] {
            add(when, word);
        }
    }
    let devices = &provide.devices;
    if devices.all
        || devices.classes.contains("work")
        || devices.occurrences.contains("d1")
        || devices.uris.contains("urn:@device")
    {
        for (when, word) in [(true, "device"), (provide.note, "device-note"), (foo, "device-foo")] {
            add(when, word);
        }
    }
    if provide.is_everything() {
        all.extend(words("attribute comment pi note person-attribute top"));
    }
    all
}

proptest! {
    #[test]
    fn nothing_appears_that_is_not_provided_and_all_that_is(provide in provide()) {
        let shown = view(&document(FULL), &provide);
        prop_assert_eq!(told(shown.text()), permitted(&provide), "{}", shown.text());
        let again = Document::parse(shown.text()).unwrap();
        prop_assert_eq!(&again, &shown);
        // D = F(D), RFC 5025 §4, but where a class chooses that is not shown.
        let by_class = |one: &Selection| !one.classes.is_empty();
        if provide.class || ![&provide.services, &provide.persons, &provide.devices].into_iter().any(by_class) {
            let twice = view(&shown, &provide);
            prop_assert_eq!(twice.text(), shown.text());
        }
    }

    #[test]
    fn more_rules_show_more(one in provide(), other in provide()) {
        let mut both = one.clone();
        both.add(&other);
        let full = document(FULL);
        let shown = |provide| told(view(&full, provide).text());
        let (all, mine) = (shown(&both), shown(&one));
        prop_assert!(mine.is_subset(&all), "{:?} {:?}", mine, all);
        let mut turned = other.clone();
        turned.add(&one);
        prop_assert_eq!(turned, both);
    }
}
