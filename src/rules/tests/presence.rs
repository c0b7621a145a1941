//! Rules about presence: RFC 5025, and changes of what may be watched.

use proptest::prelude::*;

use super::super::edit::{block, let_publish, let_watch};
use super::*;

fn decided_in(text: &str, who: &str, sphere: Option<&str>) -> Decision {
    let ruleset = Ruleset::parse(text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    let mailbox = (who != "anonymous").then(|| mailbox(who));
    decide(
        Some(&ruleset),
        Watcher { identity: mailbox.as_ref() },
        Circumstances { now: now(), sphere, ..Circumstances::default() },
    )
}

fn presence_rule(id: &str, conditions: &str, actions: &str, transformations: &str) -> String {
    let actions = actions.replace("HANDLE", "p:sub-handling");
    format!(
        "<rule xmlns:p=\"urn:ietf:params:xml:ns:pres-rules\" id=\"{id}\"><conditions>{conditions}</conditions>\
         <actions>{actions}</actions><transformations>{transformations}</transformations></rule>"
    )
}

fn handle(word: &str) -> String {
    format!("<HANDLE>{word}</HANDLE>")
}

#[test]
fn the_highest_handling_wins() {
    let rules = |words: &[&str]| {
        let rule = |(id, word): (usize, &&str)| presence_rule(&format!("r{id}"), "", &handle(word), "");
        ruleset(&words.iter().enumerate().map(rule).collect::<String>())
    };
    for (words, expected) in [
        (&[][..], Handling::Block),
        (&["block"], Handling::Block),
        (&["confirm", "block"], Handling::Confirm),
        (&["polite-block", "confirm"], Handling::PoliteBlock),
        (&["block", "allow", "polite-block"], Handling::Allow),
    ] {
        assert_eq!(decided_in(&rules(words), "bob@b.example", None).subscription, expected, "{words:?}");
    }
    assert_eq!(decide(None, Watcher::default(), now()).subscription, Handling::Confirm);
    assert_eq!(decide(None, Watcher::default(), now()).provide, Provide::default());
}

#[test]
fn a_fetch_may_be_all_that_is_allowed() {
    let text = ruleset(&presence_rule("a", "", "<i:fetch-only>true</i:fetch-only>", ""));
    let decision = decided_in(&text, "bob@b.example", None);
    assert_eq!((decision.subscription, decision.fetch()), (Handling::Block, Handling::Allow));
    let text = ruleset(&presence_rule("a", "", "<i:fetch-only>false</i:fetch-only><HANDLE>confirm</HANDLE>", ""));
    let decision = decided_in(&text, "bob@b.example", None);
    assert_eq!((decision.subscription, decision.fetch()), (Handling::Confirm, Handling::Confirm));
}

/// RFC 4745 §7.3 and §10.3.
#[test]
fn spheres() {
    let text = ruleset(&presence_rule("a", "<sphere value=\" Work  home\"/>", &handle("allow"), ""));
    for (sphere, expected) in [
        (Some("work"), Handling::Allow),
        (Some("HOME"), Handling::Allow),
        (Some("church"), Handling::Block),
        (Some("work home"), Handling::Block),
        (None, Handling::Block),
    ] {
        assert_eq!(decided_in(&text, "bob@b.example", sphere).subscription, expected, "{sphere:?}");
    }
}

#[test]
fn transformations_are_added_up() {
    let one = "<p:provide-devices><p:deviceID>urn:uuid:1</p:deviceID><p:class>biz</p:class></p:provide-devices>\
               <p:provide-mood>true</p:provide-mood><p:provide-user-input>thresholds</p:provide-user-input>\
               <p:provide-unknown-attribute ns=\"urn:x\" name=\"foo\">true</p:provide-unknown-attribute>\
               <p:provide-unknown-attribute ns=\"urn:x\" name=\"bar\">false</p:provide-unknown-attribute>";
    let other = "<p:provide-devices><p:class> home </p:class><p:class>biz</p:class></p:provide-devices>\
                 <p:provide-mood>0</p:provide-mood><p:provide-user-input>bare</p:provide-user-input>\
                 <p:provide-services><p:all-services/></p:provide-services><p:provide-note>1</p:provide-note>";
    let text = ruleset(&(presence_rule("a", "", "", one) + &presence_rule("b", "", "", other)));
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let expected = Provide {
        devices: Selection { classes: set(&["biz", "home"]), uris: set(&["urn:uuid:1"]), ..Selection::default() },
        services: Selection::everything(),
        mood: true,
        note: true,
        user_input: UserInput::Thresholds,
        unknown: [("urn:x".to_owned(), "foo".to_owned())].into(),
        ..Provide::default()
    };
    assert_eq!(decided_in(&text, "bob@b.example", None).provide, expected);
}

#[test]
fn mistakes_in_presence_rules() {
    let check = |actions: &str, transformations: &str, expected: &str| {
        let text = ruleset(&presence_rule("a", "", actions, transformations));
        let shown = Ruleset::parse(&text).expect_err(&text).to_string();
        assert!(shown.contains(expected), "{shown}, not {expected}");
    };
    check("<HANDLE>maybe</HANDLE>", "", "<sub-handling>: write block, confirm, polite-block or allow");
    check("<i:publish>yes</i:publish>", "", "<publish>: write true or false");
    check("", "<p:provide-mood/>", "<provide-mood>: write true or false");
    check("", "<p:provide-user-input>some</p:provide-user-input>", "write false, bare, thresholds or full");
    check("", "<p:provide-all-attributes>false</p:provide-all-attributes>", "it has no value; leave it out");
    check("", "<p:provide-unknown-attribute name=\"a\">1</p:provide-unknown-attribute>", "the attributes name and ns");
    check("", "<p:provide-unknown-attribute ns=\"u\" name=\"a:b\">1</p:provide-unknown-attribute>", "no prefix");
    check("", "<p:provide-persons><p:service-uri>a</p:service-uri></p:provide-persons>", "all-persons, class, occurr");
    check("", "<p:provide-persons><p:class/></p:provide-persons>", "<class>: it has no value");
    let attributes: String = (0..7000).map(|n| format!(" a{n}=''")).collect();
    check(&format!("<x{attributes}/>"), "", "more than 64 attributes");
    let sphere = ruleset(&presence_rule("a", "<sphere/>", "", ""));
    assert!(Ruleset::parse(&sphere).unwrap_err().to_string().contains("needs the attribute value"));
    let text =
        ruleset(&presence_rule("a", "", "<p:new/><i:publish>1</i:publish>", "<p:provide-new/><x xmlns=\"urn:x\"/>"));
    let (_, remarks) = read(&text).unwrap();
    for (remark, expected) in remarks.iter().zip([
        "the action new is not known",
        "the transformation provide-new is not known",
        "the transformation x is not known",
        "lets everybody publish for this presentity",
    ]) {
        assert!(remark.contains(expected), "{remark}, not {expected}");
    }
    assert_eq!(remarks.len(), 4, "{remarks:?}");
}

fn watch(text: Option<&str>, whom: &str, how: Handling) -> String {
    let_watch(text, &who(whom), how).unwrap().text.unwrap()
}

#[test]
fn what_may_be_watched_is_changed() {
    let handled = |text: &str, whom: &str| decided_in(text, whom, None).subscription;
    assert_eq!(let_watch(None, &who("bob@b.example"), Handling::Confirm).unwrap().text, None);
    let text = watch(None, "bob@b.example", Handling::Allow);
    let bob = decided_in(&text, "bob@b.example", None);
    assert_eq!((bob.subscription, bob.provide, bob.message), (Handling::Allow, Provide::everything(), Message::Allow));
    assert_eq!(handled(&text, "carol@b.example"), Handling::Confirm);
    assert_eq!(watch(Some(&text), "bob@b.example", Handling::Allow), text);
    // Down, and the others stay.
    let text = watch(Some(&text), "bob@b.example", Handling::PoliteBlock);
    assert_eq!(handled(&text, "bob@b.example"), Handling::PoliteBlock);
    assert_eq!(decided_in(&text, "bob@b.example", None).message, Message::Allow);
    let text = watch(Some(&text), "b.example", Handling::Block);
    for whom in ["bob@b.example", "carol@b.example"] {
        let decision = decided_in(&text, whom, None);
        assert_eq!((decision.subscription, decision.message), (Handling::Block, Message::Allow), "{whom}\n{text}");
    }
    assert_eq!(handled(&text, "dave@d.example"), Handling::Confirm);
    let text = watch(Some(&text), "b.example", Handling::Allow);
    assert_eq!((handled(&text, "carol@b.example"), handled(&text, "anonymous")), (Handling::Allow, Handling::Confirm));
    // To block is to show nothing as well.
    let text = block(Some(&text), &who("b.example")).unwrap().text.unwrap();
    assert_eq!(decided_in(&text, "bob@b.example", None), Decision::default());
}

#[test]
fn a_change_keeps_conditions_and_the_rest_of_a_rule() {
    let text = "<cp:ruleset xmlns:cp=\"urn:ietf:params:xml:ns:common-policy\" xmlns:p='urn:ietf:params:xml:ns:pres-rules'>\
        <cp:rule id='a'><cp:conditions><cp:identity ><cp:many domain='b.example'><cp:except id='im:eve@b.example'/></cp:many>\
        <cp:one id='im:bob@b.example'/></cp:identity><cp:sphere value='work'/></cp:conditions><cp:actions>\
        <p:sub-handling>allow</p:sub-handling><x:y xmlns:x='urn:x'>&amp;</x:y></cp:actions></cp:rule></cp:ruleset>";
    let edited = watch(Some(text), "bob@b.example", Handling::Confirm);
    assert!(
        edited
            .contains("<cp:except id='im:eve@b.example'/><cp:except id=\"im:bob@b.example\"/></cp:many></cp:identity>")
    );
    assert!(
        edited.contains("<cp:rule id='rule-1'>") && edited.matches("<x:y xmlns:x='urn:x'>&amp;</x:y>").count() == 2
    );
    let handled = |whom: &str, sphere| decided_in(&edited, whom, sphere).subscription;
    assert_eq!(
        (handled("bob@b.example", Some("work")), handled("bob@b.example", None)),
        (Handling::Confirm, Handling::Confirm)
    );
    assert_eq!(
        (handled("carol@b.example", Some("work")), handled("carol@b.example", None)),
        (Handling::Allow, Handling::Block)
    );
    let open = ruleset(&presence_rule("a", "", &handle("allow"), ""));
    let edited = let_watch(Some(&open), &who("bob@b.example"), Handling::Confirm).unwrap();
    assert!(edited.remarks[0].contains("rule a has not exactly one <identity>"), "{:?}", edited.remarks);
}

#[test]
fn delegates_publish() {
    let bob = mailbox("bob@b.example");
    let publish = |text: Option<&str>, may| let_publish(text, &bob, may).unwrap().text;
    assert_eq!(publish(None, false), None);
    let text = publish(None, true).unwrap();
    let decision = decided_in(&text, "bob@b.example", None);
    assert!(decision.publish && decision.message == Message::Allow && decision.subscription == Handling::Confirm);
    assert!(!decided_in(&text, "carol@b.example", None).publish);
    assert_eq!(publish(Some(&text), true).unwrap(), text);
    let text = publish(Some(&text), false).unwrap();
    assert!(!decided_in(&text, "bob@b.example", None).publish);
}

fn any_document() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["bob@b.example", "eve@b.example", "bob@c.example"]);
    let domain = prop::sample::select(vec!["b.example", "c.example"]);
    let except = prop_oneof![
        name.clone().prop_map(|name| format!("<except id='im:{name}'/>")),
        domain.clone().prop_map(|domain| format!("\n <except domain='{domain}'/>")),
    ];
    let excepts = prop::collection::vec(except, 0..3).prop_map(|all| all.concat());
    let party = prop_oneof![
        name.prop_map(|name| format!("<one id='im:{name}'/>")),
        excepts.clone().prop_map(|all| format!("\n    <many>{all}</many>")),
        (domain, excepts).prop_map(|(domain, all)| format!("<many domain='{domain}'>{all}</many >")),
    ];
    let identity = prop::collection::vec(party, 0..4).prop_map(|all| format!("<identity>{}</identity>", all.concat()));
    let rest = prop::sample::select(vec!["", "", "<sphere value='work'/>", "<i:anonymous/>"]);
    let action = |pattern: &'static str| pattern.prop_map(|text: String| text.replace("HANDLE", "p:sub-handling"));
    let actions = action(
        "(<HANDLE>allow</HANDLE>|<HANDLE>confirm</HANDLE>|<HANDLE>polite-block</HANDLE>)?\
         (<i:message>allow</i:message>)?(<i:read>copy</i:read>)?(<i:publish>true</i:publish>)?\
         (<i:fetch-only>true</i:fetch-only>)?",
    );
    let shown = prop::sample::select(vec!["", "<p:provide-mood>true</p:provide-mood>", "<p:provide-all-attributes/>"]);
    prop::collection::vec((identity, rest, actions, shown), 0..4).prop_map(|rules| {
        let rule = |(id, (identity, rest, actions, shown)): (usize, (String, &str, String, &str))| {
            presence_rule(&format!("r{id}"), &(identity + rest), &actions, shown)
        };
        ruleset(&rules.into_iter().enumerate().map(rule).collect::<String>())
    })
}

proptest! {
    #[test]
    fn watching_is_changed_for_them_alone(
        text in any_document(),
        domain in any::<bool>(),
        how in prop::sample::select(Handling::ALL.to_vec()),
        sphere in prop::sample::select(vec![None, Some("work")]),
    ) {
        let watchers = ["bob@b.example", "eve@b.example", "y@b.example", "bob@c.example", "x@d.example", "anonymous"];
        let meant = |who: &str| if domain { who.ends_with("b.example") } else { who == "bob@b.example" };
        let whom = who(if domain { "b.example" } else { "bob@b.example" });
        let edited = let_watch(Some(&text), &whom, how).unwrap();
        prop_assert!(edited.remarks.iter().all(|remark| !remark.contains("exactly one")), "{:?}", edited.remarks);
        let edited = edited.text.unwrap();
        let unpublished = let_publish(Some(&text), &mailbox("bob@b.example"), false).unwrap().text.unwrap();
        let published = let_publish(Some(&text), &mailbox("bob@b.example"), true).unwrap().text.unwrap();
        for who in watchers {
            let (before, after) = (decided_in(&text, who, sphere), decided_in(&edited, who, sphere));
            if meant(who) {
                // Who is excepted by name from a rule for all of the domain stays so.
                let named = domain && who != "y@b.example" && after.fetch() < how;
                prop_assert!(named || (after.subscription, after.fetch()) == (how, how), "{} {}", who, &edited);
                let rest = |one: &Decision| (one.message, one.read, one.publish);
                prop_assert_eq!(rest(&after), rest(&before), "{} {}", who, &edited);
                prop_assert!(named || how != Handling::Allow || after.provide.is_everything());
            } else {
                prop_assert_eq!(&before, &after, "{} {}", who, &edited);
            }
            let bob = who == "bob@b.example";
            let may = |text: &str| decided_in(text, who, sphere);
            let expected = Decision { publish: before.publish && !bob, ..before.clone() };
            prop_assert_eq!(may(&unpublished), expected, "{} {}", who, &unpublished);
            let expected = Decision { publish: before.publish || bob, ..before };
            prop_assert_eq!(may(&published), expected, "{} {}", who, &published);
        }
    }
}
