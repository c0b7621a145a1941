//! 5.2 and 5.3: what watchers are told, that it comes, and by whom it is signed; through real daemons, with OpenSSL's command
//! as the other side.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::clients::Home;
use crate::common::client::Reply;
use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::device::Device;
use crate::common::openssl::{Authority, Somebody};
use crate::common::person::Person;
use crate::common::sink::Sink;
use crate::common::tools::{have, said};
use crate::common::wait;
use crate::presence::{
    ALICE, CAROL, SHOWS, accepted, document, id, publish, refused, rule, server, subscribe, tell, told,
};
use crate::world::{World, now};

const OPENSSL: &[&str] = &["openssl"];

fn signer(domain: &str, somebody: &Somebody) -> String {
    format!("[[signer]]\ndomain = {domain:?}\nchain = {:?}\nkey = {:?}\n", somebody.certificate, somebody.key)
}

#[test]
fn r5_2_2_all_notifications_come_also_when_a_daemon_is_killed_in_between() {
    let mut home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    rule(&home, &[("", "allow")]);
    let watchers: Vec<String> = (0..10).map(|number| format!("w{number}@c.test")).collect();
    {
        let (mut peer, _) = home.world.peer("c.test", &home.setup);
        for (number, watcher) in watchers.iter().enumerate() {
            accepted(subscribe(&mut peer, watcher, number as u32));
        }
    }
    for round in 0..4 {
        let note = format!("change {round}");
        publish(&home, &note);
        // At any moment after it was accepted.
        std::thread::sleep(std::time::Duration::from_millis(round * 7));
        home.kill_and_start();
        watchers.iter().for_each(|watcher| told(&c, watcher, &format!("active view {note}")));
    }
    // Nobody was told an older view after a newer one.
    let seqs = |watcher: &String| -> Vec<u64> {
        let arrivals = c.arrivals();
        let mine = arrivals.iter().filter(|one| one.rcpts.iter().any(|rcpt| rcpt.contains(watcher.as_str())));
        let seq = |field: String| field.split("seq=").nth(1)?.split(';').next()?.trim().parse().ok();
        mine.filter_map(|one| seq(one.field("Presence")?)).collect()
    };
    for watcher in &watchers {
        let seqs = seqs(watcher);
        assert!(seqs.is_sorted(), "{watcher}: {seqs:?}");
    }
}

#[test]
fn r5_2_4_nobody_spoofs_notifications() {
    if !have("r5_2_4_nobody_spoofs_notifications", OPENSSL) {
        return;
    }
    let (world, authority) = with_authority();
    let smime = format!("[smime]\nroots = [{:?}]\n", authority.certificate());
    drop(world);
    let home = Home::new(|setup| setup.with(&smime));
    let (c, _d) = (server(&home.world, "c.test"), server(&home.world, "d.test"));
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let (mut mallory, _) = home.world.peer("d.test", &home.setup);
    accepted(tell(&mut home.alice(), ALICE, CAROL, &format!("subscribe; id={}; event=presence", id(9)), ""));
    c.wait_for("the request", |all| all.iter().any(|one| one.entity.contains("subscribe")));
    // In carol's name by a server that is not hers, whatever it says.
    for directive in ["notify; seq=5; event=presence", "notify; seq=6; state=terminated; reason=rejected"] {
        let body = if directive.contains("terminated") { String::new() } else { document(CAROL, "forged") };
        refused(tell(&mut mallory, CAROL, ALICE, directive, &body), "550 5.7.1");
    }
    // Her domain signs: what is not what it signed is refused, whoever brings it.
    let domain = authority.somebody("presence@c.test");
    let say = |client: &mut crate::common::client::Client, entity: &[u8]| {
        client.transaction("<carol@c.test> IMPP=PRES", &["<alice@a.test> NOTIFY=NEVER"], entity).expect("an answer")
    };
    let genuine = notification(&domain, 1000, "as she is", "<carol@c.test>");
    let text = String::from_utf8(genuine.clone()).expect("text");
    let inside = |old: &str, new: &str| {
        let at = text.rfind(old).expect("the words");
        format!("{}{new}{}", &text[..at], &text[at + old.len()..]).into_bytes()
    };
    let altered = [
        inside("as she is", "as she ain't"),
        inside("seq=1000", "seq=9000"),
        text.replacen("seq=1000", "seq=9000", 1).into_bytes(),
        text.replacen("state=active", "state=pending", 1).into_bytes(),
        notification(&authority.somebody("presence@d.test"), 1001, "as d.test says", "<carol@c.test>"),
    ];
    for entity in &altered {
        refused(say(&mut peer, entity), "554 5.7.7");
    }
    accepted(say(&mut peer, &genuine));
    // It is handed on as it was signed.
    let mut device = Device::showing(home.alice(), "ATRN", SHOWS);
    let shown = device.next_with("250 ok").expect("a notice").entity;
    assert!(shown.as_bytes() == genuine, "{shown}");
    assert!(String::from_utf8_lossy(&authority.verified(shown.as_bytes())).contains("as she is"));
}

/// A change of carol's, as another program signs it (RFC 9788).
fn notification(somebody: &Somebody, seq: u32, note: &str, from: &str) -> Vec<u8> {
    let header = format!(
        "From: {from}\r\nTo: watchers:;\r\nDate: {}\r\nMessage-ID: <{seq}.{}@c.test>\r\n\
         Presence: notify; seq={seq}; state=active; event=presence\r\n",
        now().rfc5322(),
        note.len()
    );
    let kind = "Content-Type: application/pidf+xml; charset=utf-8; hp=\"clear\"\r\n\r\n";
    let part = format!("{header}{kind}{}\r\n", document(CAROL, note));
    [header.as_bytes(), &somebody.sign(part.as_bytes())].concat()
}

fn with_authority() -> (World, Authority) {
    let world = World::new();
    let directory = tempfile::tempdir().expect("a directory").keep();
    (world, Authority::new(&directory.join("authority")))
}

/// alice@a.test, whose domain signs, and bob@b.test; both believe the authority, and she has a key.
struct Signing {
    alice: Person,
    bob: Person,
    a: Setup,
    world: World,
    authority: Authority,
    _daemons: Vec<Daemon>,
}

impl Signing {
    fn new() -> Signing {
        let world = World::new();
        let authority = Authority::new(&world.home("authority"));
        let smime = format!("[smime]\nroots = [{:?}]\n", authority.certificate());
        let domain = authority.somebody("presence@a.test");
        let mut daemons = Vec::new();
        let mut home = |name: &str, domain: &str, more: &str| {
            let client = free_address();
            let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
            let setup = world.domain(domain, name).with(&listener).with(&smime).with(more);
            setup.write();
            let address = format!("{name}@{domain}");
            setup.account(&address, "secret");
            daemons.push(setup.start());
            let authorities = world.home("a.test").with_file_name("ca.pem");
            let person = Person::new(&address, &setup.directory.join("person"), client, &authorities).log_in("secret");
            (setup, person)
        };
        let (a, alice) = home("alice", "a.test", &signer("a.test", &domain));
        let (_, bob) = home("bob", "b.test", "");
        authority.enrol(&alice);
        authority.believed_by(&bob);
        Signing { world, authority, a, alice, bob, _daemons: daemons }
    }

    fn says(&self, words: &[&str], expected: &str) {
        let mut last = String::new();
        let found = wait::maybe(|| {
            last = String::from_utf8_lossy(&self.bob.run(words).stdout).into_owned();
            last.contains(expected).then_some(())
        });
        found.unwrap_or_else(|| panic!("{words:?} never said {expected:?}: {last}"));
    }
}

#[test]
fn r5_3_1_a_view_is_signed_by_its_domain_and_by_the_person() {
    if !have("r5_3_1_a_view_is_signed_by_its_domain_and_by_the_person", OPENSSL) {
        return;
    }
    let two = Signing::new();
    two.alice.done(&["allow", "bob@b.test"]);
    // Nothing published: what her domain says of her devices.
    let told = two.bob.done(&["watch", "alice@a.test"]);
    assert_eq!(told, "alice@a.test: closed [signed by the domain]\n");
    // What she has signed is all that is shown.
    two.alice.done(&["status", "open", "here", "--for", "1h"]);
    two.says(&["fetch", "alice@a.test"], "alice@a.test: open: here [signed]\n");
    two.says(&["contacts"], "alice@a.test: open: here [signed]\n");
    // Her domain adds how her devices are.
    two.alice.done(&["status", "away", "lunch"]);
    two.says(&["fetch", "alice@a.test"], "alice@a.test: away, closed: lunch [signed by the domain]\n");
    // In a list as on the wire, also by JSON.
    let row = two.bob.rows(&["contacts", "--json"]).remove(0);
    assert_eq!((row["note"].as_str(), row["signature"].as_str()), (Some("lunch"), Some("valid(domain)")), "{row}");
    // A restart keeps what she has signed.
    two.alice.done(&["status", "open", "again", "--for", "1h"]);
    two.says(&["fetch", "alice@a.test"], "open: again [signed]\n");
    // Whom she blocks politely sees nothing that she has signed.
    two.alice.done(&["polite-block", "bob@b.test"]);
    two.says(&["fetch", "alice@a.test"], "alice@a.test: closed [signed by the domain]\n");
}

#[test]
fn r5_3_1_one_signature_for_all_who_see_the_same() {
    if !have("r5_3_1_one_signature_for_all_who_see_the_same", OPENSSL) {
        return;
    }
    let two = Signing::new();
    let c = server(&two.world, "c.test");
    two.alice.done(&["allow", "carol@c.test"]);
    two.alice.done(&["allow", "erin@c.test"]);
    two.alice.done(&["polite-block", "frank@c.test"]);
    let (mut peer, _) = two.world.peer("c.test", &two.a);
    for (number, watcher) in [CAROL, "erin@c.test", "frank@c.test"].into_iter().enumerate() {
        accepted(subscribe(&mut peer, watcher, number as u32));
    }
    two.alice.done(&["status", "open", "grüße", "--for", "1h"]);
    let change = |watcher: &str| {
        let arrivals = c.arrivals();
        let is = |one: &&crate::common::sink::Arrival| {
            one.entity.contains("To: watchers:;") && one.rcpts.iter().any(|rcpt| rcpt.contains(watcher))
        };
        arrivals.iter().rev().find(is).cloned()
    };
    let carols = wait::until("carol's view", || change(CAROL));
    assert_eq!(carols.rcpts.len(), 2, "erin sees the same");
    let content = two.authority.verified(&carols.octets);
    let content = String::from_utf8(content).expect("text");
    for part in
        ["From: <alice@a.test>", "Presence: notify", "application/pidf+xml", "message/rfc822", "Presence: publish"]
    {
        assert!(content.contains(part), "{part} in\n{content}");
    }
    // The person's own signature is in it whole: another program verifies it.
    let own = content.split("Content-Type: message/rfc822\r\n\r\n").nth(1).expect("what she signed");
    let own = two.authority.verified(own.as_bytes());
    assert!(String::from_utf8_lossy(&own).contains("hp=\"clear\""), "{}", String::from_utf8_lossy(&own));
    for one in c.arrivals().iter() {
        assert!(!two.authority.verified(&one.octets).is_empty());
        if one.rcpts.iter().any(|rcpt| rcpt.contains("frank")) {
            assert!(!one.entity.contains("message/rfc822"), "{}", one.entity);
        }
    }
    assert!(Path::new(&two.a.config()).exists());
}

/// A request with a certificate to which the answers are to be encrypted.
fn ask_encrypted(client: &mut crate::common::client::Client, directive: &str, certificate: &[u8]) -> Reply {
    let body = STANDARD.encode(certificate);
    let body: String =
        body.as_bytes().chunks(76).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect();
    let entity = format!(
        "From: <{CAROL}>\r\nTo: <{ALICE}>\r\nDate: {}\r\nMessage-ID: <{}@c.test>\r\nPresence: {directive}\r\n\
         MIME-Version: 1.0\r\nContent-Type: application/pkix-cert\r\nContent-Transfer-Encoding: base64\r\n\r\n{body}",
        now().rfc5322(),
        now().millis(),
    );
    let mail = format!("<{CAROL}> IMPP=PRES");
    client.transaction(&mail, &[&format!("<{ALICE}> NOTIFY=NEVER")], entity.as_bytes()).expect("an answer")
}

/// DER of a certificate in a file.
fn der(somebody: &Somebody) -> Vec<u8> {
    let text = std::fs::read_to_string(&somebody.certificate).expect("the certificate");
    impart::smime::Certificate::from_pem(&text).expect("a certificate").remove(0).der().to_vec()
}

/// Waits for the latest that carol was told, decrypted by OpenSSL, to have this note; the entity as it came.
fn decrypted(c: &Sink, carol: &Somebody, note: &str) -> String {
    wait::until("an encrypted view", || {
        let arrivals = c.arrivals();
        let last = arrivals.iter().rfind(|one| one.rcpts.iter().any(|rcpt| rcpt.contains(CAROL)))?.entity.clone();
        let text = carol.decrypt(last.as_bytes())?;
        String::from_utf8_lossy(&text).contains(note).then_some(last)
    })
}

#[test]
fn r5_1_2_what_a_watcher_is_told_is_encrypted_where_it_asks_for_that() {
    if !have("r5_1_2_what_a_watcher_is_told_is_encrypted_where_it_asks_for_that", OPENSSL) {
        return;
    }
    let (_world, authority) = with_authority();
    let mut home = Home::new(|setup| setup);
    let c = server(&home.world, "c.test");
    rule(&home, &[("", "allow")]);
    let (carol, dave) = (authority.somebody(CAROL), authority.somebody("dave@c.test"));
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let ask = format!("subscribe; id={}; expires=600; event=presence", id(1));
    refused(ask_encrypted(&mut peer, &ask, &der(&dave)), "554 5.6.0");
    refused(ask_encrypted(&mut peer, &ask, b"no certificate"), "554 5.6.0");
    refused(ask_encrypted(&mut peer, &ask, &[0x30; 9000]), "554 5.6.0");
    assert!(c.arrivals().is_empty(), "what is refused is no request");
    accepted(ask_encrypted(&mut peer, &ask, &der(&carol)));
    accepted(subscribe(&mut peer, "dave@c.test", 2));
    publish(&home, "gone fishing");
    let entity = decrypted(&c, &carol, "gone fishing");
    // Servers act on what they need; what she does is in none of it.
    assert!(
        entity.contains("Presence: notify; seq=") && entity.contains("Content-Type: application/pkcs7-mime"),
        "{entity}"
    );
    assert!(!entity.contains("fishing") && dave.decrypt(entity.as_bytes()).is_none(), "{entity}");
    told(&c, "dave@c.test", "active view gone fishing");
    // A restart keeps it; a fetch is answered so too.
    home.kill_and_start();
    publish(&home, "back again");
    decrypted(&c, &carol, "back again");
    let (mut peer, _) = home.world.peer("c.test", &home.setup);
    let fetch = format!("fetch; id={}; event=presence", id(3));
    accepted(ask_encrypted(&mut peer, &fetch, &der(&carol)));
    let answer = wait::until("the answer", || {
        c.arrivals().iter().find(|one| one.entity.contains(&id(3))).map(|one| one.entity.clone())
    });
    assert!(String::from_utf8_lossy(&carol.decrypt(answer.as_bytes()).expect("hers")).contains("back again"));
    // Whom she blocks politely is told so in the same way.
    rule(&home, &[(CAROL, "polite-block")]);
    let entity = decrypted(&c, &carol, "closed");
    assert!(entity.contains("state=active"), "{entity}");
    // A request without a certificate takes it back.
    rule(&home, &[("", "allow")]);
    accepted(subscribe(&mut peer, CAROL, 1));
    told(&c, CAROL, "active view back again");
}

#[test]
fn r5_1_2_a_person_has_presence_encrypted_by_one_word() {
    if !have("r5_1_2_a_person_has_presence_encrypted_by_one_word", OPENSSL) {
        return;
    }
    let two = Signing::new();
    two.alice.done(&["allow", "bob@b.test"]);
    let output = two.bob.run(&["watch", "alice@a.test", "--encrypt"]);
    assert!(!output.status.success() && said(&output).contains("impart key new"), "{}", said(&output));
    let config = two.bob.home.join("config/impart/config.toml");
    let believes = std::fs::read(&config).expect("the configuration");
    two.authority.enrol(&two.bob);
    std::fs::write(&config, believes).expect("it believes already");
    assert_eq!(two.bob.done(&["watch", "alice@a.test"]), "alice@a.test: closed [signed by the domain]\n");
    let encrypted = "alice@a.test: closed [signed by the domain, encrypted]\n";
    assert_eq!(two.bob.done(&["watch", "alice@a.test", "--encrypt"]), encrypted);
    assert_eq!(two.bob.done(&["fetch", "alice@a.test", "--encrypt"]), encrypted);
    two.alice.done(&["status", "open", "here", "--for", "1h"]);
    two.says(&["contacts"], "alice@a.test: open: here [signed, encrypted]\n");
    let listening = two.bob.listen();
    two.alice.done(&["status", "away", "lunch"]);
    let view = listening.wait_for(&[("event", "presence"), ("note", "lunch")]);
    assert_eq!(view["encrypted"], true, "{view}");
    drop(listening);
    // Of somebody of the same domain too; in the list as on the wire.
    two.bob.done(&["status", "busy", "--for", "1h"]);
    two.bob.done(&["watch", "bob@b.test", "--encrypt"]);
    two.says(&["contacts"], "bob@b.test: busy, closed [unsigned, encrypted]");
    // Without its key nothing is shown.
    let keys = two.bob.home.join("data/impart/bob@b.test/keys");
    std::fs::rename(&keys, keys.with_extension("away")).expect("the keys");
    two.says(&["contacts"], "alice@a.test: nothing is known now [cannot be decrypted");
}
