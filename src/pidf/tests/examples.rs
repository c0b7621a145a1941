use std::path::PathBuf;

use super::*;
use crate::mime::part;
use crate::pidf::watcherinfo::WatcherInfo;
use crate::rules::Ruleset;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/presence")
}

fn example(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// As printed, two of them are not XML: what is wrong, and what stands for it.
const MISPRINTS: [(&str, &str, &str); 2] = [
    ("rfc4482-1.xml", "<c:display-name>Alice Lewis</c:card>", "<c:display-name>Alice Lewis</c:display-name>"),
    ("rfc4662-2.xml", "uri=\"sip:bob@vancouver.example.com\"\">", "uri=\"sip:bob@vancouver.example.com\">"),
];

fn read(name: &str, text: &str) -> Result<(), String> {
    let root = roxmltree::Document::parse(text).map_err(|fault| fault.to_string())?;
    match root.root_element().tag_name().name() {
        "presence" => {
            let document = Document::parse(text).map_err(|fault| fault.to_string())?;
            assert_eq!(document.text(), text, "{name}");
        }
        "watcherinfo" => {
            let info = WatcherInfo::parse(text).map_err(|fault| fault.to_string())?;
            assert_eq!(WatcherInfo::parse(&info.write()), Ok(info), "{name}");
        }
        "list" => {
            let list = rlmi::List::parse(text).map_err(|fault| fault.to_string())?;
            assert_eq!(rlmi::List::parse(&list.write()), Ok(list), "{name}");
        }
        "ruleset" => _ = Ruleset::parse(text).map_err(|fault| fault.to_string())?,
        other => panic!("{name}: <{other}>"),
    }
    Ok(())
}

#[test]
fn every_example_of_the_rfcs_is_read() {
    let mut read_so_far = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".xml") {
            continue;
        }
        let text = example(&name);
        match MISPRINTS.iter().find(|(misprinted, ..)| *misprinted == name) {
            None => read(&name, &text).unwrap_or_else(|fault| panic!("{name}: {fault}")),
            Some((_, printed, meant)) => {
                assert!(text.contains(printed) && read(&name, &text).is_err(), "{name}");
                let mended = text.replace(printed, meant);
                read(&name, &mended).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            }
        }
        read_so_far += 1;
    }
    assert!(read_so_far >= 25, "{read_so_far}");
}

#[test]
fn what_the_examples_say() {
    let document = Document::parse(&example("rfc3863-4.xml")).unwrap();
    let first = &document.tuples[0];
    assert_eq!((first.id.as_str(), first.basic, first.priority), ("bs35r9", Some(Basic::Open), Some(800)));
    assert_eq!(first.contact.as_deref(), Some("im:someone@mobilecarrier.net"));
    assert_eq!(first.notes[1].language.as_deref(), Some("fr"));
    assert_eq!(first.timestamp, Some(time("2001-10-27T16:49:29Z")));
    assert_eq!(document.notes[0].text, "I'll be in Tokyo next week");
    assert!(document.is_about(&mailbox("someone@example.com")) && !document.is_about(&alice()));

    let document = Document::parse(&example("rfc4480-1.xml")).unwrap();
    let person = &document.persons[0];
    assert_eq!(person.class.as_deref(), Some("calendar"));
    assert_eq!(person.activities[0].value.words, ["away"]);
    assert_eq!(person.activities[0].until, Some(time("2005-05-30T12:00:00Z")));
    assert_eq!(person.mood[0].value.words, ["angry", "brooding"]);
    assert_eq!(person.sphere[0].value, "bowling league");
    assert_eq!(document.devices[0].device_id, "urn:device:0003ba4811e3");
    assert_eq!(document.devices[0].user_input.as_deref(), Some("idle"));
    assert_eq!(document.tuples[2].devices, ["urn:x-mac:0003ba4811e3"]);
    assert_eq!(document.person_notes()[0].text, "Scoring 120");

    let document = Document::parse(&example("rfc4480-2.xml")).unwrap();
    assert_eq!(document.persons[0].activities[0].value.words, ["vacation", "breakfast", "reading"]);
    assert_eq!(sphere([&document], now()), Some("home"));

    let document = Document::parse(&example("rfc4481-1.xml")).unwrap();
    let timed = &document.tuples[0].timed[0];
    assert_eq!((timed.from, timed.basic), (time("2005-08-15T15:20:00Z"), Some(Basic::Closed)));

    let document = Document::parse(&example("rfc4482-2.xml")).unwrap();
    assert_eq!(document.persons[0].card[1], ("homepage".into(), "http://example.com/~someone".into()));

    let info = WatcherInfo::parse(&example("rfc3858-1.xml")).unwrap();
    assert!(info.full && info.version == 0 && info.lists[0].watchers.len() == 2);
    assert_eq!(info.lists[0].watchers[1].name.as_deref(), Some("Mr. Subscriber"));
}

#[test]
fn bodies_of_lists_are_read() {
    for (name, whole) in [("rfc4662-1.mime", false), ("rfc4662-2.mime", true), ("rfc4662-3.mime", true)] {
        let entity = example(name).replace('\n', "\r\n");
        let parts = part::parts(entity.as_bytes()).unwrap_or_else(|| panic!("{name}"));
        let leaves: Vec<_> = parts.iter().filter_map(|part| part::leaf(part)).collect();
        assert_eq!(leaves[0].media, rlmi::MEDIA, "{name}");
        if !whole {
            continue;
        }
        let list = rlmi::List::parse(std::str::from_utf8(&leaves[0].octets).unwrap()).unwrap();
        for instance in list.resources.iter().flat_map(|resource| &resource.instances) {
            let part = leaves.iter().find(|leaf| leaf.cid == instance.cid);
            assert!(instance.cid.is_none() || part.is_some() || parts.len() > leaves.len(), "{name}: {instance:?}");
        }
        for leaf in leaves.iter().filter(|leaf| leaf.media == MEDIA) {
            Document::read(&leaf.octets).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        }
    }
}
