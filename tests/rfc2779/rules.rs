//! Rules for inboxes: who may send, who else reads, also when nobody is attached.

use crate::clients::Home;
use crate::common::client::{Client, Reply, entity};
use crate::common::device::Device;
use crate::common::wait::until;
use crate::world::{check, is};

/// `impartctl rules`, which must succeed; what it prints.
fn rules(home: &Home, words: &[&str]) -> String {
    let output = home.setup.ctl(&[&["rules"], words].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

fn message(client: &mut Client, from: &str, to: &str, text: &str) -> Reply {
    let message = entity(from, to, &format!("{text}@a.test"), text);
    client.transaction(&format!("<{from}>"), &[&format!("<{to}>")], &message).unwrap()
}

fn to_alice(client: &mut Client, from: &str, text: &str) -> Reply {
    message(client, from, "alice@a.test", text)
}

#[track_caller]
fn refused(reply: &Reply) {
    let shown = (reply.code, reply.lines[0].as_str());
    assert_eq!(shown, (550, "5.7.1 this inbox does not take messages from you"));
}

#[test]
fn r2_3_5_the_owner_says_who_may_send() {
    let home = Home::new(|setup| setup);
    let mut bob = home.bob();
    assert_eq!(to_alice(&mut bob, "bob@a.test", "one").code, 250);
    rules(&home, &["block", "alice@a.test", "bob@a.test"]);
    refused(&to_alice(&mut bob, "bob@a.test", "two"));
    let mut alice = home.alice();
    assert_eq!(to_alice(&mut alice, "alice@a.test", "three").code, 250, "a note to herself");
    rules(&home, &["allow", "alice@a.test", "bob@a.test"]);
    assert_eq!(to_alice(&mut bob, "bob@a.test", "four").code, 250);
    // Nobody but carol.
    let document = home.setup.directory.join("rules.xml");
    let text = "<ruleset xmlns='urn:ietf:params:xml:ns:common-policy'><rule id='a'><conditions><identity>\
                <one id='im:carol@c.test'/></identity></conditions><actions>\
                <message xmlns='urn:impart:rules'>allow</message></actions></rule></ruleset>";
    std::fs::write(&document, text).unwrap();
    rules(&home, &["set", "alice@a.test", &document.display().to_string()]);
    assert_eq!(rules(&home, &["show", "alice@a.test"]), text, "it is kept as it was given");
    refused(&to_alice(&mut bob, "bob@a.test", "five"));
    let (mut mail, _) = Client::hello(home.setup.mail).unwrap();
    assert_eq!(to_alice(&mut mail, "carol@c.test", "six").code, 250);
    std::fs::write(&document, text.replace("</ruleset>", "")).unwrap();
    let output = home.setup.ctl(&["rules", "set", "alice@a.test", &document.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("not well-formed XML"), "{said}");
    refused(&to_alice(&mut bob, "bob@a.test", "seven"));
}

#[test]
fn r5_4_10_a_blocked_domain_does_not_get_in() {
    let home = Home::new(|setup| setup);
    home.world.domain("b.test", "mallory");
    home.world.domain("c.test", "carol");
    rules(&home, &["block", "alice@a.test", "b.test"]);
    let (mut mallory, _) = home.world.peer("b.test", &home.setup);
    refused(&to_alice(&mut mallory, "mallory@b.test", "one"));
    // Without a sender it is the author who counts, and only a report is one.
    let plain = entity("mallory@b.test", "alice@a.test", "2@b.test", "two");
    refused(&mallory.transaction("<>", &["<alice@a.test>"], &plain).unwrap());
    let read = "From: mallory@b.test\r\nContent-Type: multipart/report; boundary=x; report-type=disposition-notification\
                \r\nMessage-ID: <3@b.test>\r\n\r\n--x\r\n\r\nread\r\n--x\r\nContent-Type: message/disposition-notification\r\n\
                \r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n\r\n--x--\r\n";
    let called = read.replace("report-type=disposition-notification", "report-type=x");
    refused(&mallory.transaction("<>", &["<alice@a.test>"], called.as_bytes()).unwrap());
    assert_eq!(mallory.transaction("<>", &["<alice@a.test>"], read.as_bytes()).unwrap().code, 250);
    let (mut carol, _) = home.world.peer("c.test", &home.setup);
    assert_eq!(to_alice(&mut carol, "carol@c.test", "four").code, 250);
    assert_eq!(home.setup.wait_for("alice@a.test", 2).len(), 2);
}

#[test]
fn r5_4_1_whom_a_member_of_a_group_blocks_is_told() {
    let home =
        Home::new(|setup| setup.key("name = \"a.test\"", "aliases = { team = [\"alice\", \"bob\"], al = \"alice\" }"));
    rules(&home, &["block", "alice@a.test", "bob@a.test"]);
    let mut bob = home.bob();
    refused(&message(&mut bob, "bob@a.test", "al@a.test", "one"));
    assert_eq!(message(&mut bob, "bob@a.test", "team@a.test", "two").code, 250);
    let both = home.setup.wait_for("bob@a.test", 2);
    let report = both.iter().find(|text| is(text, "Action", "failed")).expect("a receipt");
    check(report, "Original-Recipient", "rfc822; team@a.test");
    check(report, "Final-Recipient", "rfc822; alice@a.test");
    check(report, "Status", "5.7.1");
    assert!(report.contains("this inbox does not take messages from you"), "{report}");
    assert!(home.setup.waiting("alice@a.test").is_empty());
    // The same once more is dropped, and its receipt with it.
    assert_eq!(message(&mut bob, "bob@a.test", "team@a.test", "two").code, 250);
    assert_eq!(home.setup.waiting("bob@a.test").len(), 2);
}

#[test]
fn r2_3_6_a_delegate_reads_as_the_rules_say() {
    let home = Home::new(|setup| setup);
    const ATRN: &str = "ATRN INBOX=alice@a.test DEVICE=desk";
    let stranger = |home: &Home| {
        let reply = home.bob().say(ATRN).unwrap();
        assert_eq!(
            (reply.code, reply.lines[0].contains("is not an inbox that you may read")),
            (550, true),
            "{reply:?}"
        );
    };
    stranger(&home);
    rules(&home, &["read", "alice@a.test", "bob@a.test", "copy"]);
    let mut copies = Device::attach(home.bob(), ATRN);
    let mut alice = home.alice();
    assert_eq!(to_alice(&mut alice, "alice@a.test", "one").code, 250);
    assert_eq!(copies.text().as_deref(), Some("one"));
    let mut phone = Device::attach(home.alice(), "ATRN DEVICE=phone");
    assert_eq!(phone.text().as_deref(), Some("one"), "a copy delivers nothing");
    drop((phone, copies));
    rules(&home, &["read", "alice@a.test", "bob@a.test", "take"]);
    let mut takes = Device::attach(home.bob(), ATRN);
    assert_eq!(to_alice(&mut alice, "alice@a.test", "two").code, 250);
    assert_eq!(takes.text().as_deref(), Some("two"));
    until("it is delivered", || home.setup.waiting("alice@a.test").is_empty().then_some(()));
    rules(&home, &["read", "alice@a.test", "bob@a.test", "no"]);
    assert_eq!(takes.text(), None, "who may no longer is detached");
    stranger(&home);
}

#[test]
fn r2_3_7_rules_hold_while_nobody_is_attached() {
    let mut home = Home::new(|setup| setup);
    home.world.domain("b.test", "mallory");
    rules(&home, &["block", "alice@a.test", "mallory@b.test"]);
    home.kill_and_start();
    let (mut mallory, _) = home.world.peer("b.test", &home.setup);
    refused(&to_alice(&mut mallory, "mallory@b.test", "one"));
    assert_eq!(to_alice(&mut mallory, "eve@b.test", "two").code, 250);
    // What cannot be read lets nobody in, and says so; nothing is lost.
    let file = home.setup.spool().join("rules/alice@a.test.xml");
    std::fs::write(&file, "<ruleset").unwrap();
    let output = home.setup.ctl(&["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(to_alice(&mut mallory, "eve@b.test", "three").code, 250, "the old rules hold on");
    refused(&to_alice(&mut mallory, "mallory@b.test", "four"));
    home.kill_and_start();
    assert!(home.setup.log().contains("no messages are taken for this inbox"));
    let (mut mallory, _) = home.world.peer("b.test", &home.setup);
    let reply = to_alice(&mut mallory, "eve@b.test", "five");
    assert_eq!((reply.code, reply.lines[0].starts_with("4.3.0")), (451, true), "{reply:?}");
    rules(&home, &["remove", "alice@a.test"]);
    assert_eq!(to_alice(&mut mallory, "mallory@b.test", "six").code, 250);
}
