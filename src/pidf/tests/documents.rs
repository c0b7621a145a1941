use proptest::prelude::*;

use super::super::compose::{Publication, Sessions, merge};
use super::*;

fn fault(text: &str) -> String {
    Document::parse(text).map(|_| ()).expect_err(text).to_string()
}

#[test]
fn mistakes_say_where_they_are_and_what_would_be_right() {
    let check = |text: &str, expected: &str| {
        let shown = fault(text);
        assert!(shown.contains(expected), "{shown}, not {expected}");
    };
    check("", "not well-formed XML");
    check("<presence>", "not well-formed XML");
    check("<presence entity=\"pres:a@b.c\"/>", "begins with <presence xmlns=\"urn:ietf:params:xml:ns:pidf\">");
    check("<presence xmlns=\"urn:ietf:params:xml:ns:cpim-pidf:1.0\" entity=\"pres:a@b.c\"/>", "begins with <presence");
    check("<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"alice\"/>", "write entity=\"pres:user@domain\"");
    check(&source("\n<tuple><status/></tuple>"), "line 2, <tuple>: it has no id");
    check(&source("<tuple id=\"a\"/>"), "it has no status; write <status>");
    check(&source("<tuple id=\"a\"><status/><status/></tuple>"), "<status>: it stands twice");
    check(&source("<tuple id=\"a\"><status/></tuple><tuple id=\"a\"><status/></tuple>"), "the id a stands twice");
    check(&source("<tuple id=\"a\"><status/></tuple><dm:person id=\"a\"/>"), "<person>: the id a stands twice");
    check(&source("<dm:device/>"), "<device>: it has no id");
    check(&source("<tuple id=\"a\"><status><basic>OPEN</basic></status></tuple>"), "<basic>: write open or closed");
    check(&source("<tuple xmlns=\"\" id=\"a\"><status/></tuple>"), "<tuple>: it has no namespace");
    check(
        &source("<tuple id=\"a\"><status><t:timed-status from=\"x\"/></status></tuple>"),
        "stands in <tuple>, not in",
    );
    check(&source("<tuple id=\"a\"><status/><t:timed-status/></tuple>"), "needs the attribute from");
    let many: String = (0..257).map(|n| format!("<dm:person id=\"p{n}\"/>")).collect();
    check(&source(&many), "more than 256 tuples, persons and devices");
    check(&source(&" ".repeat(65_536)), "a presence document has at most 65536 octets");
    check(&source(&format!("{}{}", "<x:a>".repeat(70), "</x:a>".repeat(70))), "nested deeper than 64");
    check(&source(&"<x:a/>".repeat(9000)), "a presence document has fewer elements");
    let declared: String = (0..60).map(|n| format!(" xmlns:p{n}='urn:p'")).collect();
    check(&source(&format!("<x:a{declared}/>")), "more than 64 namespaces");
    let attributes: String = (0..7000).map(|n| format!(" a{n}=''")).collect();
    check(&source(&format!("<x:a{attributes}/>")), "an element has more than 64 attributes");
    check(&source(&format!("<a xmlns='urn:{}'/>", "x".repeat(1024))), "more than 1024 octets");
    check(&format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{}", source("")), "write it in UTF-8");
    assert_eq!(Document::read(b"<presence>\xff").unwrap_err().to_string(), fault_of_encoding());
}

fn fault_of_encoding() -> String {
    crate::xml::XmlError::Encoding.to_string()
}

#[test]
fn bombs_and_entities_are_refused() {
    let entities: String =
        (1..10).map(|n| format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n - 1).repeat(10))).collect();
    for declaration in [
        format!("<!DOCTYPE presence [<!ENTITY e0 \"lol\">{entities}]>"),
        "<!DOCTYPE presence [<!ENTITY e9 SYSTEM \"file:///etc/passwd\">]>".to_owned(),
        "<!DOCTYPE presence [<!ENTITY % p SYSTEM \"http://b.example/\"> %p;]>".to_owned(),
        "<!DOCTYPE presence SYSTEM \"http://b.example/pidf.dtd\">".to_owned(),
    ] {
        let shown = fault(&format!("{declaration}{}", source("<note>&e9;</note>")));
        assert!(shown.contains("has no DTD; take <!DOCTYPE> out"), "{shown}");
    }
    assert!(fault(&source("<note>&e9;</note>")).contains("not well-formed XML"));
}

#[test]
fn what_must_be_understood() {
    let person = |inner: &str| {
        let text = format!("<dm:person id=\"p\"><r:activities>{inner}<r:away/></r:activities></dm:person>")
            .replace("MUST", "p:mustUnderstand");
        let text = source(&text).replacen("<presence", "<presence xmlns:p=\"urn:ietf:params:xml:ns:pidf\"", 1);
        Document::parse(&text).unwrap().activities(now()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(person("<x:new/>"), ["new", "away"]);
    assert_eq!(person("<x:new MUST=\"false\"/>"), ["new", "away"]);
    assert_eq!(person("<x:new MUST=\"1\"/>"), [""; 0]);
    assert_eq!(person("<x:new MUST=\"true\"/>"), [""; 0]);
    assert_eq!(person("<r:busy MUST=\"true\"/>"), ["busy", "away"]);
    // Inside of what is passed over it is passed over too.
    assert_eq!(person("<x:new><x:inner MUST=\"1\"/></x:new>"), ["new", "away"]);
    // What is in a status hurts nothing else (RFC 3863 §4.2.3).
    let text = "<tuple id=\"a\"><status><basic>open</basic><x:y p:mustUnderstand=\"1\" \
                xmlns:p=\"urn:ietf:params:xml:ns:pidf\"/></status></tuple>";
    assert_eq!(document(text).basic(), Some(Basic::Open));
}

fn sessions(attached: bool) -> Sessions {
    Sessions { attached, since: now() }
}

fn publication<'a>(id: &'a str, document: &'a Document, at: i64) -> Publication<'a> {
    Publication { id, document, at: Timestamp::from_secs(at), lasting: false }
}

#[test]
fn sessions_alone_open_and_close() {
    let open = merge(&alice(), &[], sessions(true)).unwrap();
    let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
        <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:alice@a.example\">\r\n  \
        <tuple id=\"im\">\r\n    <status><basic>open</basic></status>\r\n    \
        <contact>im:alice@a.example</contact>\r\n    <timestamp>2026-11-23T12:00:00.000Z</timestamp>\r\n  \
        </tuple>\r\n</presence>\r\n";
    assert_eq!(open.text(), expected);
    let closed = merge(&alice(), &[], sessions(false)).unwrap();
    assert_eq!(closed.text(), expected.replace("open", "closed"));
    assert_eq!(closed, Document::closed(&alice(), now()));
    assert_eq!(Document::parse(closed.text()).unwrap(), closed);
}

#[test]
fn publications_are_put_together() {
    let phone = document(
        "<!-- gone --><tuple id=\"a\" ><status ><basic>open</basic></status><x:y z='1'>&amp;</x:y>\
         <contact>im:Alice@a.example</contact></tuple><x:far  b = \"c\"><x:z/></x:far><note>old</note>\
         <dm:device id=\"d\"><dm:deviceID>urn:d</dm:deviceID></dm:device>",
    );
    let desk = Document::parse(
        "<q:presence xmlns:q='urn:ietf:params:xml:ns:pidf' xmlns='urn:m' entity='pres:alice@a.example'>\
         <q:tuple id='a'><q:status/><m/><q:contact>mailto:alice@a.example</q:contact></q:tuple>\
         <dm:person xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' id='p'><m/></dm:person></q:presence>",
    )
    .unwrap();
    let all = [publication("phone", &phone, 1), publication("desk", &desk, 2)];
    let merged = merge(&alice(), &all, sessions(true)).unwrap();
    let expected = [
        // The identifier stays with the publication that comes first by name.
        "  <q:tuple xmlns:q=\"urn:ietf:params:xml:ns:pidf\" xmlns=\"urn:m\" id='a'><q:status/><m/>\
         <q:contact>mailto:alice@a.example</q:contact></q:tuple>\r\n",
        "  <tuple xmlns:x=\"urn:x\" id=\"HASHED\" ><status ><basic>open</basic></status><x:y z='1'>&amp;</x:y>\
         <contact>im:Alice@a.example</contact></tuple>\r\n",
        "  <dm:device xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" id=\"d\"><dm:deviceID>urn:d</dm:deviceID>\
         </dm:device>\r\n",
        "  <dm:person xmlns=\"urn:m\" xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' id='p'><m/></dm:person>\r\n",
        "  <x:far xmlns:x=\"urn:x\"  b = \"c\"><x:z/></x:far>\r\n",
    ];
    let hashed = merged.tuples[1].id.clone();
    assert!(hashed.len() == 9 && !hashed.contains("phone"), "{hashed}");
    for piece in expected.map(|piece| piece.replace("HASHED", &hashed)) {
        assert!(merged.text().contains(&piece), "{}\nwithout\n{piece}", merged.text());
    }
    // The newest that says anything of the person says all of it.
    assert!(!merged.text().contains("old") && !merged.text().contains("gone"), "{}", merged.text());
    let turned = [all[1], all[0]];
    assert_eq!(merge(&alice(), &turned, sessions(true)).unwrap(), merged);
    // Out of contact, what the phone said of messages holds no more; unless it lasts.
    let merged = merge(&alice(), &all, sessions(false)).unwrap();
    assert!(merged.text().contains("<status ><basic>closed</basic></status>"), "{}", merged.text());
    let lasting = [Publication { lasting: true, ..all[0] }, all[1]];
    assert!(merge(&alice(), &lasting, sessions(false)).unwrap().text().contains("<basic>open</basic>"));
    // Who publishes nothing of messages is open by being attached.
    let merged = merge(&alice(), &all[1..], sessions(true)).unwrap();
    assert_eq!((merged.tuples[0].id.as_str(), merged.tuples[0].basic), ("im", Some(Basic::Open)));
}

#[test]
fn strange_forms_of_open_are_closed_too() {
    for open in ["<![CDATA[open]]>", " open\n", "op<!-- -->en", "<!-- \"'> -->&#x6f;pen"] {
        let children = format!(
            "<tuple id=\"a\"><status><basic x:a='>'>{open}</basic></status><contact>im:alice@a.example</contact></tuple>"
        );
        let published = document(&children);
        assert_eq!(published.basic(), Some(Basic::Open), "{open}");
        let merged = merge(&alice(), &[publication("a", &published, 1)], sessions(false)).unwrap();
        assert_eq!(merged.basic(), Some(Basic::Closed), "{}", merged.text());
    }
}

#[test]
fn too_much_together_is_refused() {
    let big = document(&format!("<tuple id=\"a\"><status/><x:y>{}</x:y></tuple>", "y".repeat(40_000)));
    let all = [publication("a", &big, 1), publication("b", &big, 2)];
    assert!(merge(&alice(), &all[..1], sessions(true)).is_ok());
    assert!(merge(&alice(), &all, sessions(true)).unwrap_err().to_string().contains("at most 65536 octets"));
}

#[test]
fn the_sphere_is_what_all_agree_upon() {
    let of = |inner: &str| document(&format!("<dm:person id=\"p\">{inner}</dm:person>"));
    let (work, home) = (of("<r:sphere><r:work/></r:sphere>"), of("<r:sphere><r:home/></r:sphere>"));
    let none = of("");
    let later = of("<r:sphere from='2027-01-01T00:00:00Z'><r:home/></r:sphere>");
    assert_eq!(sphere([&work, &none, &work, &later], now()), Some("work"));
    assert_eq!(sphere([&work, &home], now()), None);
    assert_eq!(sphere([&none], now()), None);
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9<&>\"' é€]{0,12}".prop_map(|text| text.trim().to_owned())
}

fn written() -> impl Strategy<Value = (Vec<Tuple>, Vec<Note>, Vec<Person>)> {
    let basic = prop::option::of(prop::sample::select(vec![Basic::Open, Basic::Closed]));
    let note = || (text(), prop::option::of("[a-z]{2}")).prop_map(|(text, language)| Note { text, language });
    let notes = || prop::collection::vec(note(), 0..3);
    let at = prop::option::of((0i64..2_000_000_000_000).prop_map(Timestamp::from_millis));
    let tuple = (basic, prop::option::of(0u16..=1000), prop::option::of("[a-z]{1,8}"), notes(), at.clone());
    let tuples = prop::collection::vec(tuple, 0..3).prop_map(|tuples| {
        let tuple = |(place, (basic, priority, class, notes, timestamp))| {
            let contact = Some(format!("im:t{place}@a.example"));
            Tuple { id: format!("t{place}"), basic, priority, contact, class, notes, timestamp, ..Tuple::default() }
        };
        tuples.into_iter().enumerate().map(tuple).collect::<Vec<_>>()
    });
    let word = prop::sample::select(vec!["away", "busy", "lunch", "on-the-phone", "making tea", "other words"]);
    let words = (prop::collection::vec(word, 1..3), notes(), at.clone(), at.clone());
    let words = words.prop_map(|(words, notes, from, until)| During {
        value: Words { words: words.into_iter().map(str::to_owned).collect(), notes },
        from,
        until,
    });
    let sphere = prop::sample::select(vec!["work", "home", "unknown", "scouting"]);
    let person = (prop::collection::vec(words, 0..2), prop::option::of(sphere), notes(), at);
    let persons = person.prop_map(|(activities, sphere, notes, timestamp)| {
        let sphere = sphere.into_iter().map(|value| During { value: value.to_owned(), from: None, until: None });
        vec![Person { id: "p".into(), activities, sphere: sphere.collect(), notes, timestamp, ..Person::default() }]
    });
    (tuples, notes(), persons)
}

proptest! {
    #[test]
    fn what_is_written_is_read((tuples, notes, persons) in written()) {
        let document = Document::compose(&alice(), &tuples, &notes, &persons).unwrap();
        prop_assert!(document.text().is_ascii() && !document.text().replace("\r\n", "").contains(['\r', '\n']));
        prop_assert_eq!((&document.tuples, &document.notes, &document.persons), (&tuples, &notes, &persons));
        // Composition of one is what it is.
        let open = tuples.iter().any(|tuple| tuple.basic.is_some());
        let merged = merge(&alice(), &[publication("a", &document, 1)], sessions(true)).unwrap();
        prop_assert_eq!(merged.tuples.len(), tuples.len() + 1, "{} {}", open, merged.text());
        prop_assert_eq!((&merged.notes, &merged.persons), (&notes, &persons));
    }

    #[test]
    fn no_text_is_too_strange(text in "[<>/a-e=\"':&;é \n]{0,60}") {
        let _ = Document::parse(&text);
        let _ = Document::parse(&source(&text));
    }
}
