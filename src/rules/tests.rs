mod presence;

use super::edit::{Who, allow, block, let_read};
use super::*;

const CARRIED: &str = "xmlns=\"urn:ietf:params:xml:ns:common-policy\" xmlns:i=\"urn:impart:rules\"";

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn now() -> Timestamp {
    time("2026-11-23T12:00:00Z")
}

fn ruleset(rules: &str) -> String {
    format!("<ruleset {CARRIED}>{rules}</ruleset>")
}

/// One rule with these conditions that allows messages.
fn rule(conditions: &str) -> String {
    let actions = "<actions><i:message>allow</i:message></actions>";
    ruleset(&format!("<rule id=\"a\"><conditions>{conditions}</conditions>{actions}<transformations/></rule>"))
}

fn decided(text: &str, who: &str, now: Timestamp) -> Decision {
    let ruleset = Ruleset::parse(text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    let mailbox = (who != "anonymous").then(|| mailbox(who));
    decide(Some(&ruleset), Watcher { identity: mailbox.as_ref() }, now)
}

#[track_caller]
fn check(text: &str, allowed: &[&str], blocked: &[&str]) {
    for (who, expected) in allowed.iter().map(|who| (who, true)).chain(blocked.iter().map(|who| (who, false))) {
        assert_eq!(decided(text, who, now()).message == Message::Allow, expected, "{who}\n{text}");
    }
}

#[test]
fn signatures() {
    let taken = |conditions: &str, signed: Signed| {
        let ruleset = Ruleset::parse(&rule(conditions)).unwrap();
        let (who, circumstances) = (mailbox("bob@b.example"), Circumstances { signed, ..now().into() });
        decide(Some(&ruleset), Watcher { identity: Some(&who) }, circumstances).message == Message::Allow
    };
    let all = |conditions: &str| {
        [Signed::No, Signed::Domain, Signed::Author, Signed::Unseen].map(|signed| taken(conditions, signed))
    };
    assert_eq!(all("<i:signed/>"), [false, false, true, true]);
    assert_eq!(all("<i:signed by=\"author\"/>"), [false, false, true, true]);
    assert_eq!(all("<i:signed by='domain'/>"), [false, true, true, true]);
    assert_eq!(all("<signed xmlns='urn:x'/>"), [false; 4], "of another namespace");
    assert_eq!(all("<i:signed/><identity><one id='im:carol@b.example'/></identity>"), [false; 4]);
    let fault = Ruleset::parse(&rule("<i:signed by='anybody'/>")).unwrap_err().to_string();
    assert!(fault.contains("<signed>: write by=\"author\""), "{fault}");
    // Watchers and readers sign nothing.
    check(&rule("<i:signed/>"), &[], &["bob@b.example", "anonymous"]);
}

#[test]
fn signed_messages_only() {
    let who: Who = "bob@b.example".parse().unwrap();
    let of_domain: Who = "b.example".parse().unwrap();
    let taken = |text: &str, who: &str, signed: Signed| {
        let (ruleset, who) = (Ruleset::parse(text).unwrap(), mailbox(who));
        decide(Some(&ruleset), Watcher { identity: Some(&who) }, Circumstances { signed, ..now().into() })
    };
    let check = |text: &str, one: &str, expected: [bool; 2]| {
        let got = [Signed::No, Signed::Author].map(|signed| taken(text, one, signed).message == Message::Allow);
        assert_eq!(got, expected, "{one}\n{text}");
    };
    let insists = edit::let_write_signed(None, &who).unwrap().text.unwrap();
    check(&insists, "bob@b.example", [false, true]);
    check(&insists, "carol@b.example", [true, true]);
    assert_eq!(taken(&insists, "bob@b.example", Signed::No).subscription, Handling::Confirm, "as before");
    assert_eq!(edit::let_write_signed(Some(&insists), &who).unwrap().text.unwrap(), insists, "once is enough");
    let both = edit::let_write_signed(Some(&insists), &of_domain).unwrap().text.unwrap();
    check(&both, "bob@b.example", [false, true]);
    check(&both, "carol@b.example", [false, true]);
    check(&both, "dave@c.example", [true, true]);
    let again = allow(Some(&both), &who).unwrap().text.unwrap();
    check(&again, "bob@b.example", [true, true]);
    check(&again, "carol@b.example", [false, true]);
    // What else a rule permits stays.
    let text = rule("<identity><many/></identity>").replace("</actions>", "<i:read>copy</i:read></actions>");
    let text = edit::let_write_signed(Some(&text), &who).unwrap().text.unwrap();
    check(&text, "bob@b.example", [false, true]);
    assert_eq!(taken(&text, "bob@b.example", Signed::No).read, Read::Copy);
    let blocked = block(Some(&text), &who).unwrap().text.unwrap();
    check(&blocked, "bob@b.example", [false, false]);
}

#[test]
fn without_a_document_everybody_sends_and_nobody_reads() {
    let anybody =
        Decision { message: Message::Allow, read: Read::No, subscription: Handling::Confirm, ..Decision::default() };
    assert_eq!(decide(None, Watcher::default(), now()), anybody);
    check(&ruleset(""), &[], &["bob@b.example", "anonymous"]);
}

#[test]
fn identities() {
    let identity = |inner: &str| rule(&format!("<identity>{inner}</identity>"));
    check(
        &identity("<one id=\"im:Bob@B.example\"/><one id=\"MAILTO:carol%2Bx@b.example?subject=x\"/>"),
        &["bob@b.example", "BOB@b.example", "carol+x@b.example"],
        &["bob@c.example", "carol@b.example", "anonymous"],
    );
    // Another scheme is another identity.
    check(&identity("<one id=\"sip:bob@b.example\"/><one id=\"tel:+1-212\"/>"), &[], &["bob@b.example"]);
    check(&identity("<many/>"), &["bob@b.example"], &["anonymous"]);
    check(
        &identity("<many><except domain=\"B.example\"/><except id=\"pres:carol@c.example\"/></many>"),
        &["bob@c.example"],
        &["bob@b.example", "carol@c.example", "anonymous"],
    );
    check(
        &identity("<many domain=\"b%C3%BCcher.example\"><except id=\"im:bob@xn--bcher-kva.example\"/></many>"),
        &["carol@bücher.example", "carol@xn--bcher-kva.example"],
        &["bob@bücher.example", "carol@b.example"],
    );
    check(&identity("<many domain=\"not a domain\"/>"), &[], &["bob@b.example"]);
    check(&identity(""), &[], &["bob@b.example", "anonymous"]);
    // What is not understood is not met, and narrows down.
    check(&identity("<x xmlns=\"urn:x\"/>"), &[], &["bob@b.example"]);
    check(&identity("<one id=\"im:bob@b.example\"><x xmlns=\"urn:x\"/></one>"), &[], &["bob@b.example"]);
    check(&identity("<many><x xmlns=\"urn:x\"/></many>"), &[], &["bob@b.example"]);
}

#[test]
fn other_conditions() {
    check(&rule(""), &["bob@b.example", "anonymous"], &[]);
    check(&ruleset("<rule id=\"a\"><actions><i:message>allow</i:message></actions></rule>"), &["anonymous"], &[]);
    check(&rule("<i:anonymous/>"), &["anonymous"], &["bob@b.example"]);
    check(&rule("<i:anonymous/><identity><many/></identity>"), &[], &["bob@b.example", "anonymous"]);
    check(&rule("<sphere value=\"work\"/>"), &[], &["bob@b.example"]);
    check(&rule("<x xmlns=\"urn:x\"/>"), &[], &["bob@b.example", "anonymous"]);
    let text = rule(
        "<validity><from>2003-08-15T10:20:00.000-05:00</from><until>2003-09-15T10:20:00.000-05:00</until>\
         <from>2026-01-01T00:00:00Z</from><until>2027-01-01T00:00:00Z</until></validity>",
    );
    for (at, expected) in [
        ("2003-08-15T15:19:59Z", Message::Block),
        ("2003-08-15T15:20:00Z", Message::Allow),
        ("2003-09-15T15:19:59Z", Message::Allow),
        ("2003-09-15T15:20:00Z", Message::Block),
        ("2026-06-01T00:00:00Z", Message::Allow),
    ] {
        assert_eq!(decided(&text, "bob@b.example", time(at)).message, expected, "{at}");
    }
}

/// RFC 4745 §7.1.2 and §7.1.3, with actions.
#[test]
fn examples_of_the_rfc() {
    let example = |inner: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\">\n\
             <rule id=\"f3g44r1\"><conditions>{inner}</conditions><actions>\
             <message xmlns=\"urn:impart:rules\">allow</message></actions><transformations/></rule></ruleset>"
        )
    };
    let identity = |inner: &str| example(&format!("<identity>{inner}</identity>"));
    check(
        &identity(
            "<one id=\"sip:alice@example.com\"/><one id=\"tel:+1-212-555-1234\" /><one id=\"mailto:bob@example.net\" />",
        ),
        &["bob@example.net"],
        &["alice@example.net", "anonymous"],
    );
    check(&identity("<many/>"), &["anybody@example.org"], &["anonymous"]);
    check(
        &identity(
            "<many domain=\"example.com\"><except id=\"im:alice@example.com\"/><except id=\"im:bob@example.com\"/></many>",
        ),
        &["carol@example.com"],
        &["alice@example.com", "bob@example.com", "carol@example.org"],
    );
    let except = "<identity><many><except domain=\"example.com\"/><except domain=\"example.org\"/>\
                  <except id=\"im:alice@bad.example.net\"/><except id=\"im:bob@good.example.net\"/>\
                  <except id=\"tel:+1-212-555-1234\" /><except id=\"im:alice@example.com\"/></many></identity>";
    check(
        &example(except),
        &["carol@bad.example.net", "bob@bad.example.net"],
        &["alice@bad.example.net", "bob@good.example.net", "x@example.com", "x@example.org"],
    );
    let validity =
        "<validity><from>2003-12-24T17:00:00+01:00</from><until>2003-12-24T19:00:00+01:00</until></validity>";
    let text = example(&format!("{except}{validity}"));
    assert_eq!(decided(&text, "carol@c.example", time("2003-12-24T17:30:00Z")).message, Message::Allow);
    assert_eq!(decided(&text, "carol@c.example", time("2003-12-24T18:00:00Z")).message, Message::Block);
    check(&example(&format!("<sphere value=\"work\"/>{except}{validity}")), &[], &["carol@c.example"]);
}

/// RFC 4745 §10.2.
#[test]
fn what_is_permitted_is_added_up() {
    let one = |id: &str, actions: &str| {
        format!(
            "<rule id=\"{id}\"><conditions><identity><one id=\"im:bob@b.example\"/></identity></conditions>\
             <actions>{actions}</actions></rule>"
        )
    };
    let text = ruleset(&format!(
        "{}{}{}{}",
        one("a", "<i:message>block</i:message><i:read>take</i:read>"),
        one("b", "<i:message>allow</i:message>"),
        one("c", "<i:read>copy</i:read><s xmlns=\"urn:ietf:params:xml:ns:pres-rules\">allow</s>"),
        one("d", "<i:publish>true</i:publish>"),
    ));
    let expected = Decision { message: Message::Allow, read: Read::Take, publish: true, ..Decision::default() };
    assert_eq!(decided(&text, "bob@b.example", now()), expected);
    assert_eq!(decided(&text, "carol@b.example", now()), Decision::default());
}

#[test]
fn mistakes_say_where_they_are() {
    let check = |text: &str, expected: &str| {
        let shown = Ruleset::parse(text).expect_err(text).to_string();
        assert!(shown.contains(expected), "{shown}, not {expected}");
    };
    check("<ruleset>", "line 1, column 1: not well-formed XML: the root node was opened but never closed");
    check("<a/>", "line 1, <a>: a document of rules begins with <ruleset xmlns=");
    check("<ruleset/>", "line 1, <ruleset>: a document of rules begins");
    check("<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", "has no DTD");
    check(&ruleset("\n<rules/>"), "line 2, <rules>: RFC 4745 knows only rule in <ruleset>");
    check(&ruleset("<rule/>"), "it has no id");
    check(&ruleset("<rule id=\"a\"/>\n<rule id=\"a\"/>"), "line 2, <rule>: another rule has the id a");
    check(&ruleset("<rule id=\"a\"><actions/><actions/></rule>"), "<actions>: it stands twice");
    check(&ruleset("<rule id=\"a\"><action xmlns=\"\"/></rule>"), "<action>: it has no namespace");
    check(&rule("<identity><one/></identity>"), "<one>: its id is no URI; write it as im:user@domain");
    check(&rule("<identity><one id=\"im:bob\"/></identity>"), "<one>: its id: the address has no domain");
    check(&rule("<identity><one id=\"im:b%4\"/></identity>"), "a percent sign without two digits");
    check(&rule("<identity><one id=\"im:a@b.c\" domain=\"b.c\"/></identity>"), "it has no domain; write <many");
    check(&rule("<identity><many><except/></many></identity>"), "<except>: it has either an id or a domain");
    check(&rule("<identity><some/></identity>"), "RFC 4745 knows only one, many in <identity>");
    check(&rule("<validity><from>2026-01-01T00:00:00</from></validity>"), "no time with its distance from UTC");
    check(&rule("<validity><from>2026-01-01T00:00:00Z</from></validity>"), "come in pairs");
    check(&rule("<validity/>"), "come in pairs");
    let action = |text: &str| ruleset(&format!("<rule id=\"a\"><actions>{text}</actions></rule>"));
    check(&action("<i:message>maybe</i:message>"), "<message>: write allow or block");
    check(&action("<i:read><copy/></i:read>"), "has a word in it");
    let deep = format!("{}{}", "<x xmlns=\"urn:x\">".repeat(70), "</x>".repeat(70));
    check(&action(&deep), "nested deeper than 64");
    let nested = format!("{}{}", "<a>".repeat(9000), "</a>".repeat(9000));
    check(&nested, "nested deeper than 64");
    check(&" ".repeat(65_537), "at most 65536 octets");
}

#[test]
fn what_has_no_effect_is_remarked_upon() {
    let text = ruleset(
        "<rule id=\"a\"><conditions><i:weather/><identity><one id=\"tel:1\"/><many domain=\"a b\"/>\
         </identity></conditions><actions><i:mesage/></actions></rule>\
         <rule id=\"b\"><actions><i:read>copy</i:read></actions></rule>",
    );
    let (_, remarks) = read(&text).unwrap();
    let expected = [
        "the condition weather cannot be told here",
        "nobody here has a URI with tel:",
        "a b is no domain",
        "the action mesage is not known here",
        "rule b lets everybody here read this inbox",
    ];
    assert_eq!(remarks.len(), expected.len(), "{remarks:?}");
    for (remark, expected) in remarks.iter().zip(expected) {
        assert!(remark.contains(expected), "{remark}, not {expected}");
    }
}

fn who(text: &str) -> Who {
    text.parse().unwrap()
}

#[test]
fn to_block_is_to_leave_out() {
    let text = block(None, &who("bob@b.example")).unwrap().text.unwrap();
    assert!(text.contains("        <many>\n          <except id=\"im:bob@b.example\"/>\n        </many>\n"), "{text}");
    check(&text, &["carol@b.example", "anonymous"], &["bob@b.example"]);
    assert_eq!(block(Some(&text), &who("bob@b.example")).unwrap().text.unwrap(), text);
    let text = block(Some(&text), &who("c.example")).unwrap().text.unwrap();
    check(&text, &["carol@b.example"], &["bob@b.example", "x@c.example"]);
    // And back.
    let text = allow(Some(&text), &who("c.example")).unwrap().text.unwrap();
    let text = allow(Some(&text), &who("Bob@b.example")).unwrap().text.unwrap();
    check(&text, &["bob@b.example", "x@c.example", "anonymous"], &[]);
    assert!(!text.contains("except") && text.matches("<rule").count() == 3, "{text}");
}

#[test]
fn a_change_leaves_the_rest_as_it_is() {
    let text = "<!-- mine --><cp:ruleset xmlns:cp=\"urn:ietf:params:xml:ns:common-policy\" xmlns:i='urn:impart:rules'>\n\
                <cp:rule  id='a'><cp:conditions><cp:identity><cp:one id='im:bob@b.example'/><cp:many domain='b.example'>\
                <cp:except id='im:eve@b.example'/></cp:many></cp:identity></cp:conditions>\
                <cp:actions><i:message>allow</i:message><x:y xmlns:x='urn:x'>&amp;</x:y></cp:actions></cp:rule>\n\
                <cp:rule id='b'><cp:conditions><cp:identity><cp:one id='im:bob@b.example'/></cp:identity></cp:conditions>\
                </cp:rule>\n<cp:rule id='c'><cp:actions><i:message>block</i:message></cp:actions></cp:rule></cp:ruleset>";
    let edited = block(Some(text), &who("bob@b.example")).unwrap();
    let expected = text
        .replacen("<cp:one id='im:bob@b.example'/>", "", 1)
        .replace("</cp:many>", "<cp:except id=\"im:bob@b.example\"/></cp:many>");
    let at = expected.find("\n<cp:rule id='b'>").unwrap()..expected.find("\n<cp:rule id='c'>").unwrap();
    let expected = format!("{}{}", &expected[..at.start], &expected[at.end..]);
    assert_eq!(edited.text.unwrap(), expected);
    assert!(edited.remarks[0].starts_with("rule c has no <identity> and matches everybody"), "{:?}", edited.remarks);
    let edited = block(Some(text), &who("b.example")).unwrap().text.unwrap();
    assert!(!edited.contains("id='a'") && !edited.contains("id='b'") && edited.contains("id='c'"), "{edited}");
    let edited = allow(Some(text), &who("\"a<b&\"@c.example")).unwrap().text.unwrap();
    assert!(edited.contains("<one id=\"im:%22a%3Cb%26%22@c.example\"/>"), "{edited}");
    check(&edited, &["\"a<b&\"@c.example"], &["c@c.example"]);
    assert!(edited.starts_with(text.trim_end_matches("</cp:ruleset>")), "{edited}");
}

#[test]
fn delegates() {
    let bob = mailbox("bob@b.example");
    let check = |text: &str, read: Read, message: Message| {
        let decided = decided(text, "bob@b.example", now());
        assert_eq!((decided.message, decided.read), (message, read), "{text}");
    };
    assert_eq!(let_read(None, &bob, Read::No).unwrap().text, None);
    let text = let_read(None, &bob, Read::Take).unwrap().text.unwrap();
    check(&text, Read::Take, Message::Allow);
    let text = let_read(Some(&text), &bob, Read::Copy).unwrap().text.unwrap();
    check(&text, Read::Copy, Message::Allow);
    assert_eq!(text.matches("<one").count(), 1, "{text}");
    let text = let_read(Some(&text), &bob, Read::No).unwrap().text.unwrap();
    check(&text, Read::No, Message::Allow);
    let blocked = block(Some(&text), &who("bob@b.example")).unwrap().text.unwrap();
    let text = let_read(Some(&blocked), &bob, Read::Copy).unwrap().text.unwrap();
    check(&text, Read::Copy, Message::Block);
    // What lets all read does not change what one may send.
    let both = "<rule id=\"a\"><conditions><identity><one id=\"im:bob@b.example\"/></identity></conditions>\
                <actions><i:message>allow</i:message><i:read>copy</i:read></actions></rule>";
    let text = let_read(Some(&ruleset(both)), &bob, Read::No).unwrap().text.unwrap();
    check(&text, Read::No, Message::Allow);
    // Nor does to allow let anybody read.
    let all = "<rule id=\"a\"><conditions><identity><many><except id=\"im:bob@b.example\"/></many></identity></conditions>\
               <actions><i:message>allow</i:message><i:read>copy</i:read></actions></rule>";
    let text = allow(Some(&ruleset(all)), &who("bob@b.example")).unwrap().text.unwrap();
    check(&text, Read::No, Message::Allow);
    let edited = let_read(Some(&text), &mailbox("carol@b.example"), Read::No).unwrap();
    assert!(edited.remarks[0].starts_with("rule a lets carol@b.example read more"), "{:?}", edited.remarks);
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in "[<>/a-e=\"':&;é \n]{0,60}") {
        let _ = read(&text);
        for text in [ruleset(&text), rule(&text), rule(&format!("<identity><many>{text}</many></identity>"))] {
            if read(&text).is_ok() {
                for one in ["bob@b.example", "b.example"] {
                    block(Some(&text), &who(one)).unwrap();
                    allow(Some(&text), &who(one)).unwrap();
                }
                let_read(Some(&text), &mailbox("bob@b.example"), Read::Copy).unwrap();
            }
        }
    }
}

fn document() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let name = prop::sample::select(vec!["bob@b.example", "eve@b.example", "bob@c.example"]);
    let domain = prop::sample::select(vec!["b.example", "c.example"]);
    let except = prop_oneof![
        name.clone().prop_map(|name| format!("<except id='im:{name}'/>")),
        domain.clone().prop_map(|domain| format!("\n  <except domain='{domain}'></except>")),
        Just("<!-- </many> -->".to_owned()),
    ];
    let excepts = prop::collection::vec(except, 0..3).prop_map(|all| all.concat());
    let party = prop_oneof![
        name.prop_map(|name| format!("<one id='im:{name}'/>")),
        excepts.clone().prop_map(|all| format!("\n    <many>{all}</many>")),
        (domain, excepts).prop_map(|(domain, all)| format!("<many domain='{domain}'>{all}</many >")),
        Just("<many/>".to_owned()),
    ];
    let identity = prop::collection::vec(party, 0..4).prop_map(|all| format!("<identity>{}</identity>", all.concat()));
    let condition = prop_oneof![4 => identity, 1 => Just("<i:anonymous/>".to_owned())];
    let actions = "(<i:message>(allow|block)</i:message>)?(<i:read>(copy|take)</i:read>)?";
    let rule = (prop::collection::vec(condition, 0..3), actions);
    prop::collection::vec(rule, 0..4).prop_map(|rules| {
        let rule = |(id, (conditions, actions)): (usize, (Vec<String>, String))| {
            let conditions = conditions.concat();
            format!("\n<rule id='r{id}'><conditions>{conditions}</conditions><actions>{actions}</actions></rule>")
        };
        ruleset(&rules.into_iter().enumerate().map(rule).collect::<String>())
    })
}

proptest::proptest! {
    #[test]
    fn a_change_does_what_was_asked_for_and_no_more(text in document(), domain in proptest::bool::ANY) {
        let watchers = ["bob@b.example", "eve@b.example", "bob@c.example", "x@c.example", "x@d.example", "anonymous"];
        let meant = |who: &str| if domain { who.ends_with("b.example") } else { who == "bob@b.example" };
        let whom = who(if domain { "b.example" } else { "bob@b.example" });
        let old = |who| decided(&text, who, now());
        let blocked = block(Some(&text), &whom).unwrap();
        let allowed = allow(Some(&text), &whom).unwrap().text.unwrap();
        let taking = let_read(Some(&text), &mailbox("bob@b.example"), Read::Take).unwrap().text.unwrap();
        let reading = let_read(Some(&text), &mailbox("bob@b.example"), Read::No).unwrap();
        let open = blocked.remarks.iter().any(|remark| remark.contains("no <identity>"));
        let blocked = blocked.text.unwrap();
        let stopped = reading.text.unwrap();
        for who in watchers {
            let (before, after) = (old(who), decided(&blocked, who, now()));
            if !meant(who) {
                proptest::prop_assert_eq!(&before, &after, "{} {}", who, &blocked);
            } else if !open {
                proptest::prop_assert_eq!(after, Decision::default(), "{} {}", who, &blocked);
            }
            let after = decided(&allowed, who, now());
            proptest::prop_assert_eq!(after.read, before.read, "{} {}", who, &allowed);
            if meant(who) && !domain {
                proptest::prop_assert_eq!(after.message, Message::Allow, "{} {}", who, &allowed);
            }
            if !meant(who) {
                proptest::prop_assert_eq!(after.message, before.message, "{} {}", who, &allowed);
            }
            let (taken, stop) = (decided(&taking, who, now()), decided(&stopped, who, now()));
            proptest::prop_assert_eq!((taken.message, stop.message), (before.message, before.message), "{}", &stopped);
            if who == "bob@b.example" {
                proptest::prop_assert_eq!(taken.read, Read::Take);
                proptest::prop_assert!(stop.read == Read::No || !reading.remarks.is_empty(), "{}", &stopped);
            } else {
                proptest::prop_assert_eq!((taken.read, stop.read), (before.read, before.read));
            }
        }
    }
}
