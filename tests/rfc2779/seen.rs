//! What presence entities have in them, octet by octet: what a politely blocked watcher gets, what nobody learns. And a
//! device whose cable was pulled.

use std::time::{Duration, Instant};

use crate::clients::Home;
use crate::common::client::{Client, Reply, entity};
use crate::common::device::{Delivery, Device};
use crate::common::lossy::Lossy;
use crate::common::person::Person;
use crate::common::wait;

const SHOWS: &[&str] = &["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "IMPP PRES NOOP=30"];
const BOTH: &[&str] = &["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "IMPP IM PRES NOOP=30"];

/// An entity of class PRES, accepted.
#[track_caller]
fn tell(client: &mut Client, from: &str, to: &str, directive: &str, body: &str) {
    let reply = say(client, from, to, directive, body);
    assert_eq!(reply.code, 250, "{directive}: {reply:?}");
}

/// An entity of class PRES, and what is said of it.
fn say(client: &mut Client, from: &str, to: &str, directive: &str, body: &str) -> Reply {
    let number = Instant::now().elapsed().as_nanos() ^ u128::from(std::process::id());
    let id = format!("{number}-{}-{directive}", body.len()).replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let entity = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{id}@a.test>\r\n\
         MIME-Version: 1.0\r\nPresence: {directive}\r\n{body}\r\n"
    );
    let mail = format!("<{from}> IMPP=PRES BODY=8BITMIME");
    client.transaction(&mail, &[&format!("<{to}> NOTIFY=NEVER")], entity.as_bytes()).expect("an answer")
}

fn id(number: u32) -> String {
    format!("{number:032x}")
}

/// A presence document of alice's with one tuple.
fn document(basic: &str, note: &str) -> String {
    format!(
        "Content-Type: application/pidf+xml\r\n\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         entity=\"pres:alice@a.test\"><tuple id=\"a\"><status><basic>{basic}</basic></status>\
         <contact>im:alice@a.test</contact><note>{note}</note></tuple></presence>"
    )
}

/// `impartctl rules`, which must succeed.
fn rules(home: &Home, words: &[&str]) {
    let output = home.setup.ctl(&[&["rules"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The next notice that has these words.
#[track_caller]
fn notice(device: &mut Device, words: &str) -> Delivery {
    loop {
        let delivery = device.next_with("250 ok").unwrap_or_else(|| panic!("no notice with {words}"));
        if delivery.entity.contains(words) {
            return delivery;
        }
    }
}

/// A device of bob's that takes presence only.
fn bobs(home: &Home) -> Device {
    Device::showing(home.bob(), "ATRN", SHOWS)
}

/// The next notice of this presentity that answers this question.
fn answer(device: &mut Device, id: &str) -> Delivery {
    loop {
        let delivery = device.next_with("250 ok").expect("a notice");
        if delivery.entity.contains(id) {
            return delivery;
        }
    }
}

/// Without what differs each time: times, identifiers, and the address, of which both have as many octets.
fn normal(entity: &str, name: &str) -> String {
    let mut out = String::new();
    for line in entity.replace(name, "NAME").lines() {
        let varies = ["Date:", "Message-ID:", "Received:"].iter().any(|field| line.starts_with(field));
        let digits = |c: char| if c.is_ascii_hexdigit() { '0' } else { c };
        match varies || line.starts_with("Presence:") || line.contains("timestamp") {
            true => out.extend(line.chars().map(digits)),
            false => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[test]
fn r5_1_15_polite_blocking_cannot_be_told_from_somebody_who_is_closed() {
    let home = Home::new(|setup| setup);
    home.setup.account("carla@a.test", "secret");
    // Carla is closed, and says so to everybody who asks; Alice is open, and blocks Bob politely.
    for (owner, verb) in [("carla@a.test", "allow"), ("alice@a.test", "polite-block")] {
        let output = home.setup.ctl(&["rules", "watch", owner, "bob@a.test", verb]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let _alice = std::thread::spawn({
        let mut device = Device::showing(home.alice(), "ATRN INBOX=alice@a.test DEVICE=desk", BOTH);
        move || while device.next_with("250 ok").is_some() {}
    });
    wait::until("she is attached", || (home.setup.status("attached") == 1).then_some(()));
    let (mut bob, mut device) = (home.bob(), bobs(&home));
    let mut ask = |number: u32, who: &str, word: &str| {
        let began = Instant::now();
        tell(&mut bob, "bob@a.test", who, &format!("{word}; id={}; event=presence", id(number)), "");
        let delivery = answer(&mut device, &id(number));
        (began.elapsed(), delivery)
    };
    let mut times: [Vec<Duration>; 2] = Default::default();
    let mut seen: [Option<String>; 2] = Default::default();
    for round in 0..160 {
        // In pairs, each of the two first as often as second: what else the machine does meets both alike.
        for at in [round % 2, (round + 1) % 2] {
            let name = ["alice", "carla"][at];
            let (time, delivery) = ask(2 * round as u32 + at as u32 + 1, &format!("{name}@a.test"), "fetch");
            times[at].push(time);
            let shown = (delivery.mail.replace(name, "NAME"), normal(&delivery.entity, name));
            let shown = format!("{}\n{}\n{}", delivery.entity.len(), shown.0, shown.1);
            let before = seen[at].get_or_insert_with(|| shown.clone());
            assert_eq!(*before, shown, "always the same");
        }
    }
    // The same distribution: as far apart as two halves of one are.
    let [polite, closed] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    assert!((0.5..2.0).contains(&(polite / closed)), "{polite} s and {closed} s");
    assert_eq!(seen[0], seen[1], "byte for byte, and of one size");
    assert!(seen[0].as_ref().is_some_and(|text| text.contains("<basic>closed</basic>") && !text.contains("note>")));
}

#[test]
fn r5_1_17_nobody_learns_an_address_of_the_network() {
    let home = Home::new(|setup| setup);
    let output = home.setup.ctl(&["rules", "watch", "alice@a.test", "bob@a.test", "allow"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut alice = home.alice();
    let document = "Content-Type: application/pidf+xml\r\n\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
                    entity=\"pres:alice@a.test\"><tuple id=\"a\"><status><basic>open</basic></status>\
                    <contact>im:alice@a.test</contact></tuple></presence>";
    tell(&mut alice, "alice@a.test", "alice@a.test", "publish; id=phone; expires=600", document);
    let (mut bob, mut device) = (home.bob(), bobs(&home));
    tell(&mut bob, "bob@a.test", "alice@a.test", &format!("subscribe; id={}; event=presence", id(1)), "");
    let notice = loop {
        let delivery = device.next_with("250 ok").expect("a notice");
        if delivery.entity.contains("<basic>open") {
            break delivery;
        }
    };
    // And the other way: what she learns of him.
    let mut hers = Device::showing(home.alice(), "ATRN", SHOWS);
    tell(&mut alice, "alice@a.test", "alice@a.test", &format!("fetch; id={}; event=watchers", id(2)), "");
    let watchers = answer(&mut hers, &id(2));
    assert!(watchers.entity.contains("bob@a.test"), "{}", watchers.entity);
    for delivery in [notice, watchers] {
        let shown = format!("{}\n{}\n{}", delivery.mail, delivery.rcpt, delivery.entity);
        assert!(!shown.contains("127.0.0.1") && !shown.contains("laptop"), "{shown}");
        assert!(!shown.contains("Received: from") || shown.contains("Received: from localhost"), "{shown}");
    }
}

#[test]
fn r3_2_4_a_device_whose_packets_are_lost_is_out_of_contact() {
    let home = Home::new(|setup| setup);
    let output = home.setup.ctl(&["rules", "watch", "alice@a.test", "bob@a.test", "allow"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut bob, mut device) = (home.bob(), bobs(&home));
    tell(&mut bob, "bob@a.test", "alice@a.test", &format!("subscribe; id={}; event=presence", id(1)), "");
    let mut until = |basic: &str| {
        let words = format!("<basic>{basic}</basic>");
        loop {
            if device.next_with("250 ok").expect("a notice").entity.contains(&words) {
                return;
            }
        }
    };
    until("closed");
    // It answers EHLO, then nothing: as if the cable had been pulled. The connection stays as it is.
    let mut phone = Device::showing(home.alice(), "ATRN INBOX=alice@a.test DEVICE=phone", BOTH);
    phone.greeted();
    until("open");
    let began = Instant::now();
    until("closed");
    assert!(began.elapsed() < Duration::from_secs(55), "NOOP after 30 s, no answer in 20: {:?}", began.elapsed());
    drop(phone);
}

#[test]
fn r3_2_4_a_client_on_whose_way_all_packets_are_dropped_is_out_of_contact() {
    let home = Home::new(|setup| setup);
    let output = home.setup.ctl(&["rules", "watch", "alice@a.test", "bob@a.test", "allow"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (bob, way) = (home.person("bob@a.test"), Lossy::to(home.client_port()));
    let alice = Person::new(
        "alice@a.test",
        &home.setup.directory.join("far away"),
        way.address,
        &home.world.home("a.test").with_file_name("ca.pem"),
    )
    .log_in("secret");
    let file = alice.home.join("config/impart/config.toml");
    let config = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, format!("{config}noop = 30\n")).expect("the configuration");
    let (watching, hers) = (bob.listen(), alice.listen());
    bob.done(&["watch", "alice@a.test"]);
    let becomes = |basic: &str, within: Duration| {
        let began = Instant::now();
        while began.elapsed() < within {
            let events = watching.events();
            let last = events.iter().rev().find(|event| event["who"] == "alice@a.test");
            if last.is_some_and(|event| event["basic"] == basic) {
                return began.elapsed();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("she is not {basic}: {:?}", watching.events());
    };
    becomes("open", Duration::from_secs(30));
    way.cut();
    let took = becomes("closed", Duration::from_secs(70));
    assert!(took > Duration::from_secs(15), "nobody has told the server: {took:?}");
    // Her own client knows it too.
    let lost = |event: &serde_json::Value| event["event"] == "connection" && event["state"] != "connected";
    let knows = || hers.events().into_iter().rev().take_while(|event| event["state"] != "connected").find(lost);
    wait::until("her client knows", knows);
    // A message waits for her: the server has it, and says so.
    let sent = bob.run(&["send", "alice@a.test", "-m", "are you there?"]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(home.setup.wait_for("alice@a.test", 1).len(), 1);
}

#[test]
fn r2_1_1_presence_without_messages_and_messages_without_presence() {
    let home = Home::new(|setup| setup.key("name = \"a.test\"", "im = false"));
    rules(&home, &["watch", "alice@a.test", "bob@a.test", "allow"]);
    // Whoever has no inbox attaches for presence alone.
    let (mut alice, mut bob, mut device) = (home.alice(), home.bob(), bobs(&home));
    tell(&mut bob, "bob@a.test", "alice@a.test", &format!("subscribe; id={}; event=presence", id(1)), "");
    tell(&mut alice, "alice@a.test", "alice@a.test", "publish; id=phone", &document("closed", "no messages here"));
    notice(&mut device, "no messages here");
    let message = entity("bob@a.test", "alice@a.test", "1@a.test", "hello");
    let reply = bob.transaction("<bob@a.test>", &["<alice@a.test>"], &message).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..5]), (550, "5.3.3"), "{reply:?}");
    let home = Home::new(|setup| setup.key("name = \"a.test\"", "presence = false"));
    let mut bob = home.bob();
    let ask = format!("subscribe; id={}; event=presence", id(1));
    let reply = say(&mut bob, "bob@a.test", "alice@a.test", &ask, "");
    assert_eq!((reply.code, &reply.lines[0][..5]), (550, "5.3.3"), "{reply:?}");
    let reply = bob.transaction("<bob@a.test>", &["<alice@a.test>"], &message).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn r2_1_2_a_presentity_without_an_inbox_is_watched_and_an_inbox_without_one_is_not() {
    let home = Home::new(|setup| setup);
    home.setup.account_with("dave@a.test", "secret", &["--no-inbox"]);
    home.setup.account_with("erin@a.test", "secret", &["--no-presentity"]);
    let dave = home.person("dave@a.test");
    let bob = home.person("bob@a.test");
    dave.done(&["allow", "bob@a.test"]);
    dave.done(&["status", "away", "no inbox here"]);
    assert_eq!(bob.done(&["watch", "dave@a.test"]), "dave@a.test: away, closed: no inbox here\n");
    assert_eq!(dave.done(&["watchers"]), "bob@a.test watches\n");
    assert!(!bob.run(&["send", "dave@a.test", "-m", "x"]).status.success());
    let refused = bob.run(&["watch", "erin@a.test"]);
    assert_eq!(refused.status.code(), Some(67), "{refused:?}");
    bob.done(&["send", "erin@a.test", "-m", "x"]);
}

#[test]
fn r2_3_4_whom_the_owner_lets_publishes_and_nobody_else() {
    let home = Home::new(|setup| setup);
    home.setup.account("carol@a.test", "secret");
    for who in ["bob@a.test", "carol@a.test"] {
        rules(&home, &["watch", "alice@a.test", who, "allow"]);
    }
    rules(&home, &["publish", "alice@a.test", "bob@a.test", "yes"]);
    let (mut bob, mut carol, mut device) = (home.bob(), home.client_of("carol@a.test"), bobs(&home));
    tell(&mut bob, "bob@a.test", "alice@a.test", &format!("subscribe; id={}; event=presence", id(1)), "");
    let publish = "publish; id=desk; expires=600";
    tell(&mut bob, "bob@a.test", "alice@a.test", publish, &document("open", "bob says so"));
    notice(&mut device, "bob says so");
    let reply = say(&mut carol, "carol@a.test", "alice@a.test", publish, &document("open", "carol says so"));
    assert_eq!((reply.code, &reply.lines[0][..5]), (550, "5.7.1"), "{reply:?}");
    rules(&home, &["publish", "alice@a.test", "bob@a.test", "no"]);
    let reply = say(&mut bob, "bob@a.test", "alice@a.test", publish, &document("open", "once more"));
    assert_eq!((reply.code, &reply.lines[0][..5]), (550, "5.7.1"), "{reply:?}");
    // Nor may anybody change the rules of another.
    let rules =
        "Content-Type: application/auth-policy+xml\r\n\r\n<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\"/>";
    let reply = say(&mut bob, "bob@a.test", "alice@a.test", "policy; for=presence", rules);
    assert_eq!(reply.code, 550, "{reply:?}");
}
