//! 2.1, 4.1 and 4.2.1 as people see them: what `impart` writes, and what it shows of what others write.

use std::collections::BTreeSet;
use std::fs;

use mail_parser::{Address, MessageParser, MimeHeaders as _};
use serde_json::Value;

use crate::clients::Home;
use crate::common::client::entity;
use crate::common::daemon::free_address;
use crate::common::person::{Listening, Person, texts};
use crate::common::sink::field;
use crate::common::wait;
use crate::world::{World, check, submit};

/// Bob sends this entity to Alice, from any client.
fn comes(home: &Home, entity: &str) {
    let reply = home.bob().transaction("<bob@a.test> BODY=8BITMIME", &["<alice@a.test>"], entity.as_bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

/// What Alice's client shows of it.
fn shown(client: &Listening, id: &str) -> Value {
    client.wait_for(&[("event", "message"), ("id", id)])
}

fn head(id: &str) -> String {
    format!("From: bob@a.test\r\nTo: alice@a.test\r\nMessage-ID: {id}\r\nMIME-Version: 1.0\r\n")
}

#[test]
fn r2_1_1_a_domain_without_messages() {
    let world = World::new();
    let (a, b) = (world.domain("a.test", "alice"), world.domain("b.test", "bob"));
    let b = b.key("name = \"b.test\"", "im = false");
    let (_a, _b) = (a.start(), b.start());
    let (mut peer, _) = world.peer("a.test", &b);
    let message = entity("alice@a.test", "bob@b.test", "1@a.test", "hello");
    let reply = peer.transaction("<alice@a.test>", &["<bob@b.test>"], &message).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..5]), (550, "5.3.3"), "{reply:?}");
    // The one that has messages needs nothing else.
    assert_eq!(submit(&a, ("alice@a.test", ""), ("alice@a.test", ""), "2@a.test").code, 250);
}

#[test]
fn r4_1_1_a_message_is_an_entity_that_mail_software_reads() {
    let home = Home::new(|setup| setup);
    let bob = home.person("bob@a.test");
    std::fs::write(bob.home.join("a b.txt"), "a file\n").unwrap();
    bob.done(&["send", "alice@a.test", "-m", "grüße\n.\nFrom here", "--attach", "a b.txt"]);
    let octets = home.setup.wait_for("alice@a.test", 1).remove(0);
    let message = MessageParser::default().parse(octets.as_bytes()).expect("an entity");
    let is = |of: Option<&Address<'_>>, name: &str| of.and_then(Address::first).unwrap().address() == Some(name);
    assert!(is(message.from(), "bob@a.test") && is(message.to(), "alice@a.test"), "{octets}");
    assert!(message.date().is_some_and(|date| date.is_valid()), "{octets}");
    check(&octets, "MIME-Version", "1.0");
    assert_eq!(message.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), "grüße\n.\nFrom here");
    let file = message.attachment(0).expect("the file");
    assert_eq!((file.attachment_name(), file.contents()), (Some("a b.txt"), &b"a file\n"[..]));
    assert!(octets.lines().all(|line| line.len() <= 998), "{octets}");
}

#[test]
fn r4_1_3_an_answer_goes_to_who_wrote() {
    let home = Home::new(|setup| setup);
    let (alice, bob) = (home.person("alice@a.test"), home.person("bob@a.test"));
    let asked = bob.done(&["send", "alice@a.test", "-m", "where?"]);
    let id = asked.split_whitespace().last().unwrap().to_owned();
    // A program answers by what it was given, and not to another program.
    let answer = "send --automatic -m here --reply-to-id \"$IMPART_ID\" -- \"$IMPART_FROM\"";
    let script =
        format!("export IMPART=\"$0\"; \"$0\" listen --exec '[ $IMPART_AUTOMATIC = yes ] || \"$IMPART\" {answer}'");
    let _answering = alice.listen_by(&script);
    let answer = bob.rows(&["listen", "--json", "--once"]);
    assert_eq!(texts(&answer), ["here"]);
    let answer = answer.iter().find(|event| event["event"] == "message").unwrap();
    assert_eq!((answer["in_reply_to"].as_str(), answer["from"].as_str()), (Some(&*id), Some("alice@a.test")));
    assert_eq!(answer["automatic"], true);
}

#[test]
fn r4_1_4_a_message_carries_other_means_of_contact() {
    let home = Home::new(|setup| setup);
    let (alice, bob) = (home.person("alice@a.test"), home.person("bob@a.test"));
    let card =
        "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Bob B.\r\nEMAIL:bob@mail.test\r\nTEL;VALUE=uri:tel:+49-30-1\r\nEND:VCARD\r\n";
    fs::write(bob.home.join("bob.vcf"), card).unwrap();
    fs::write(bob.home.join("plan.png"), "not quite a picture").unwrap();
    let files = ["--attach", "bob.vcf", "--attach", "plan.png", "--describe", "", "--describe", "Plan of the house"];
    bob.done(&[&["send", "alice@a.test", "-m", "call me"], &files[..]].concat());
    let event = alice.listen().wait_for(&[("event", "message"), ("text", "call me")]);
    // The address itself is one of mail (RFC 2779 4.1.4).
    assert_eq!(event["from"], "bob@a.test");
    let told: Vec<_> = (0..2).map(|at| &event["attachments"][at]["description"]).collect();
    assert_eq!(told, ["contact: Bob B., bob@mail.test, +49-30-1", "Plan of the house"]);
    assert!(alice.done(&["history", "bob"]).contains("plan.png, image/png, 19 B: Plan of the house"));
}

/// RFC 3862 is what the working group made of it: a gateway may send it, inside of MIME.
#[test]
fn r4_1_10_what_is_sent_is_mime_and_cpim_in_it_is_read() {
    let home = Home::new(|setup| setup);
    let alice = home.person("alice@a.test");
    let client = alice.listen();
    let cpim = "Content-Type: Message/CPIM\r\n\r\nFrom: Bob <im:bob@a.test>\r\nTo: <im:alice@a.test>\r\nSubject: noon\r\n\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\nfünf\r\n";
    comes(&home, &format!("{}Content-Transfer-Encoding: 8bit\r\n{cpim}", head("<cpim@a.test>")));
    assert_eq!(shown(&client, "<cpim@a.test>")["text"], "Subject: noon\nfünf");
    alice.done(&["send", "bob@a.test", "-m", "fünf"]);
    let waiting = home.setup.wait_for("bob@a.test", 1);
    let entity = MessageParser::default().parse(&waiting[0]).expect("an entity");
    assert_eq!(entity.header_raw("MIME-Version").map(str::trim), Some("1.0"));
    let kind = entity.content_type().expect("a type");
    assert_eq!((kind.ctype(), kind.subtype(), kind.attribute("charset")), ("text", Some("plain"), Some("utf-8")));
}

#[test]
fn r4_1_5_other_charsets_and_encodings_are_read() {
    let home = Home::new(|setup| setup);
    let alice = home.person("alice@a.test");
    let client = alice.listen();
    let parts = [
        ("text/plain; charset=iso-8859-1", "quoted-printable", "gr=FC=DFe", "grüße"),
        ("text/plain; charset=utf-8", "base64", "5YaZ57uZ5L2gIPCfmoA=", "写给你 🚀"),
        ("text/plain; charset=koi8-r", "base64", "8NLJ18XU", "Привет"),
        ("text/plain; charset=iso-2022-jp", "7bit", "\u{1b}$B4A;z\u{1b}(B", "漢字"),
        ("text/plain; charset=utf-8", "8bit", "fünf 五", "fünf 五"),
        ("text/html; charset=utf-8", "8bit", "<p>f&uuml;nf <b>Äpfel</b></p>", "fünf Äpfel"),
    ];
    for (number, (media, encoding, body, expected)) in parts.into_iter().enumerate() {
        let id = format!("<c{number}@a.test>");
        let kind = format!("Content-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n");
        comes(&home, &format!("{}{kind}\r\n{body}\r\n", head(&id)));
        assert_eq!(shown(&client, &id)["text"].as_str().unwrap().trim(), expected, "{media} {encoding}");
    }
}

#[test]
fn r4_1_6_people_write_in_their_own_alphabets() {
    let world = World::new();
    let client = free_address();
    let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
    let setup = world.domain("bücher.test", "грета").with(&listener);
    setup.write();
    setup.account("грета@bücher.test", "секрет");
    let _daemon = setup.start();
    let authorities = world.home("bücher.test").with_file_name("ca.pem");
    let greta = Person::new("грета@bücher.test", &setup.directory.join("person"), client, &authorities);
    let greta = greta.log_in("секрет");
    greta.done(&["send", "ГРЕТА@bücher.test", "-m", "заметка себе"]);
    let events = greta.rows(&["listen", "--json", "--once"]);
    assert_eq!(texts(&events), ["заметка себе"]);
    let message = events.iter().find(|event| event["event"] == "message").unwrap();
    assert_eq!(message["from"], "грета@xn--bcher-kva.test", "the domain as DNS has it");
}

#[test]
fn r4_1_7_there_is_always_a_text_to_read() {
    let home = Home::new(|setup| setup);
    let client = home.person("alice@a.test").listen();
    let both = "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
        --x\r\nContent-Type: text/html\r\n\r\n<b>rich</b>\r\n--x--\r\n";
    comes(&home, &format!("{}{both}", head("<both@a.test>")));
    let event = shown(&client, "<both@a.test>");
    assert_eq!(event["text"].as_str().unwrap().trim_end(), "plain");
    // A picture is told of in words.
    let picture =
        "Content-Type: image/png; name=\"cat.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n";
    comes(&home, &format!("{}{picture}", head("<picture@a.test>")));
    let event = shown(&client, "<picture@a.test>");
    assert_eq!(
        (&event["attachments"][0]["name"], &event["attachments"][0]["media"]),
        (&"cat.png".into(), &"image/png".into())
    );
}

#[test]
fn r4_1_8_unknown_fields_and_parameters_are_kept() {
    let home = Home::new(|setup| setup);
    let odd = "X-Future: a;\r\n\tb=\"c\"\r\nContent-Type: text/plain; charset=us-ascii; x-new=1\r\n\r\nhello\r\n";
    comes(&home, &format!("{}{odd}", head("<odd@a.test>")));
    let kept = home.setup.wait_for("alice@a.test", 1).remove(0);
    assert!(kept.ends_with(&odd.replace("\r\n", "\n")), "{kept}");
    let client = home.person("alice@a.test").listen();
    assert_eq!(shown(&client, "<odd@a.test>")["text"], "hello");
}

#[test]
fn r4_1_9_every_message_of_a_client_has_its_own_identifier() {
    let home = Home::new(|setup| setup);
    let bob = home.person("bob@a.test");
    (0..3).for_each(|_| drop(bob.done(&["send", "alice@a.test", "-m", "the same"])));
    let came = home.setup.wait_for("alice@a.test", 3);
    let ids: BTreeSet<String> = came.iter().filter_map(|text| field(text, "Message-ID")).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().all(|id| id.ends_with("@a.test>") && id.len() >= "<@a.test>".len() + 22), "{ids:?}");
}

#[test]
fn r4_1_9_the_same_message_is_shown_once() {
    let home = Home::new(|setup| setup);
    let alice = home.person("alice@a.test");
    let client = alice.listen();
    // One identifier, and other octets: not a second copy for the server, but for the person.
    comes(&home, &format!("{}\r\nfirst\r\n", head("<one@a.test>")));
    shown(&client, "<one@a.test>");
    comes(&home, &format!("{}X-Way: another\r\n\r\nfirst\r\n", head("<one@a.test>")));
    comes(&home, &format!("{}\r\nlast\r\n", head("<two@a.test>")));
    shown(&client, "<two@a.test>");
    assert_eq!(client.texts(), ["first", "last"]);
    assert_eq!(alice.rows(&["history", "bob", "--json"]).len(), 2);
}

#[test]
fn r4_2_1_the_sender_sees_what_became_of_each() {
    let home = Home::new(|setup| setup.key("name = \"a.test\"", "aliases = { team = [\"alice\", \"bob\"] }"));
    let bob = home.person("bob@a.test");
    let output = bob.run(&["send", "alice@a.test", "nobody@a.test", "team@a.test", "-m", "hello", "--wait", "60"]);
    assert_eq!(output.status.code(), Some(67), "{output:?}");
    let fates = || {
        let rows = bob.rows(&["history", "alice", "--json"]);
        let row = rows.iter().find(|row| row["event"] == "sent").cloned().unwrap_or_default();
        row["fates"].as_array().cloned().unwrap_or_default()
    };
    let state = |to: &str| fates().iter().find(|fate| fate["to"] == to).map(|fate| fate["state"].clone());
    for (to, expected) in [("alice@a.test", "delivered"), ("nobody@a.test", "failed"), ("team@a.test", "expanded")] {
        assert_eq!(state(to), Some(Value::from(expected)), "{to}");
    }
    // A receipt for the group is all that comes of it: nobody waits for more.
    bob.done(&["send", "team@a.test", "-m", "hello again", "--wait", "60"]);
    let failed = fates().into_iter().find(|fate| fate["to"] == "nobody@a.test").unwrap();
    assert!(failed["reason"].as_str().unwrap().contains("5.1.1"), "{failed}");
}

/// Who may see whether somebody is there hears when a device has it; to all others the server is the mailbox
/// (RFC 3461 §5.2.3), so that they do not learn it from receipts.
#[test]
fn r4_2_1_a_receipt_tells_no_more_of_presence_than_the_rules() {
    let home = Home::new(|setup| setup);
    let (alice, bob) = (home.person("alice@a.test"), home.person("bob@a.test"));
    let _listening = alice.listen();
    let state = |text: &str| {
        let rows = alice.rows(&["history", "bob", "--json"]);
        let row = rows.into_iter().find(|row| row["text"] == text).expect("the message");
        row["fates"][0]["state"].as_str().expect("a state").to_owned()
    };
    alice.done(&["send", "bob@a.test", "-m", "to a stranger", "--receipt"]);
    wait::until("the server says that it has it", || (state("to a stranger") == "delivered").then_some(()));
    bob.done(&["allow", "alice@a.test"]);
    alice.done(&["send", "bob@a.test", "-m", "to a friend", "--receipt"]);
    home.setup.wait_for("bob@a.test", 2);
    assert_ne!(state("to a friend"), "delivered");
    bob.rows(&["listen", "--json", "--once"]);
    wait::until("his device has it", || (state("to a friend") == "delivered").then_some(()));
}
