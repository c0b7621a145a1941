//! Documents of presence, lists and the field: what is read can be composed and shown, and shows nothing that it may not.
#![no_main]

use impart::address::Mailbox;
use impart::mime::part;
use impart::mime::presence::Directive;
use impart::pidf::compose::{Publication, Sessions, merge};
use impart::pidf::{Document, rlmi, view, watcherinfo::WatcherInfo};
use impart::rules::{Provide, Selection, UserInput};
use impart::timestamp::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(directive) = Directive::parse(octets) {
        assert_eq!(Directive::parse(directive.to_string().as_bytes()), Ok(directive));
    }
    let _ = part::leaf(octets);
    for part in part::parts(octets).unwrap_or_default() {
        let _ = part::leaf(part);
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(info) = WatcherInfo::parse(text) {
        assert_eq!(WatcherInfo::parse(&info.write()).map(|again| again.lists.len()), Ok(info.lists.len()));
    }
    if let Ok(list) = rlmi::List::parse(text) {
        assert_eq!(rlmi::List::parse(&list.write()).map(|again| again.resources.len()), Ok(list.resources.len()));
    }
    let (Ok(document), Ok(alice)) = (Document::parse(text), Mailbox::parse("alice@a.example")) else { return };
    assert_eq!(view(&document, &Provide::everything()).text(), text);
    assert!(view(&document, &Provide::default()).tuples.is_empty());
    let some = Provide {
        services: Selection::everything(),
        persons: Selection::everything(),
        note: true,
        user_input: UserInput::Thresholds,
        ..Provide::default()
    };
    let seen = view(&document, &some);
    assert!(seen.devices.is_empty() && seen.persons.iter().all(|person| person.activities.is_empty()));
    assert_eq!(view(&seen, &some).text(), seen.text());
    let at = Timestamp::from_secs(1_800_000_000);
    let publications = ["a", "b"].map(|id| Publication { id, document: &document, at, lasting: id == "a" });
    for attached in [true, false] {
        if let Ok(merged) = merge(&alice, &publications, Sessions { attached, since: at }) {
            assert!(merged.is_about(&alice) && merged.tuples.len() >= 2 * document.tuples.len());
            let mut ids: Vec<&String> = merged.tuples.iter().map(|tuple| &tuple.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), merged.tuples.len());
        }
    }
});
