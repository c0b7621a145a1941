//! Documents of rules: whatever is read can be changed, and what is changed does what was asked for.
#![no_main]

use impart::address::Mailbox;
use impart::rules::{Handling, Message, Read, Ruleset, Watcher, decide, edit};
use impart::timestamp::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (Ok(_), Ok(bob)) = (Ruleset::parse(text), Mailbox::parse("bob@b.example")) else { return };
    let decision = |text: &str| {
        let ruleset = Ruleset::parse(text).expect("what was written is read");
        decide(Some(&ruleset), Watcher { identity: Some(&bob) }, Timestamp::from_secs(1_800_000_000))
    };
    let who = edit::Who::Mailbox(bob.clone());
    let edited = |edited: Result<edit::Edited, _>| edited.ok().and_then(|edited| edited.text);
    if let Some(text) = edited(edit::allow(Some(text), &who)) {
        assert_eq!(decision(&text).message, Message::Allow);
    }
    if let Some(text) = edited(edit::let_read(Some(text), &bob, Read::Take)) {
        assert_eq!(decision(&text).read, Read::Take);
    }
    if let Ok(edit::Edited { text: Some(text), remarks }) = edit::block(Some(text), &who) {
        assert!(!remarks.is_empty() || decision(&text).message == Message::Block);
    }
    for how in Handling::ALL {
        let Ok(edit::Edited { text: Some(text), remarks }) = edit::let_watch(Some(text), &who, how) else { continue };
        let decision = decision(&text);
        let left = remarks.iter().any(|remark| remark.contains("not exactly one <identity>"));
        assert!(left || (decision.subscription, decision.fetch()) == (how, how));
        assert!(how != Handling::Allow || decision.provide.is_everything());
    }
    for publish in [true, false] {
        let Ok(edit::Edited { text: Some(text), remarks }) = edit::let_publish(Some(text), &bob, publish) else { continue };
        let left = remarks.iter().any(|remark| remark.contains("not exactly one <identity>"));
        assert!(left || decision(&text).publish == publish);
    }
});
