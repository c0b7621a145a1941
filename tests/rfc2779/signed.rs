//! 2.5 and 5.4: what is signed and encrypted, through real daemons, with OpenSSL's command as the other side.

use std::fs;
use std::path::Path;

use crate::common::client::{Client, Reply};
use crate::common::daemon::{Daemon, Setup, free_address};
use crate::common::openssl::{Authority, Somebody, crlf};
use crate::common::person::Person;
use crate::common::sink::Manner;
use crate::common::tools::{have, said};
use crate::world::{World, now};

/// alice@a.test and bob@b.test, each with a daemon and the command `impart`; an authority that both domains believe.
struct Two {
    world: World,
    a: Setup,
    b: Setup,
    alice: Person,
    bob: Person,
    authority: Authority,
    _daemons: Vec<Daemon>,
}

impl Two {
    fn new(change: impl Fn(Setup) -> Setup) -> Two {
        let world = World::new();
        let authority = Authority::new(&world.home("authority"));
        let smime = format!("[smime]\nroots = [{:?}]\n", authority.certificate());
        let mut daemons = Vec::new();
        let mut home = |domain: &str, name: &str| {
            let client = free_address();
            let listener = format!("[[listen]]\nservice = \"client\"\naddress = \"{client}\"\n");
            let setup = change(world.domain(domain, name).with(&listener).with(&smime));
            setup.write();
            setup.account(&format!("{name}@{domain}"), "secret");
            daemons.push(setup.start());
            let authorities = world.home("a.test").with_file_name("ca.pem");
            let address = format!("{name}@{domain}");
            let person = Person::new(&address, &setup.directory.join("person"), client, &authorities).log_in("secret");
            (setup, person)
        };
        let ((a, alice), (b, bob)) = (home("a.test", "alice"), home("b.test", "bob"));
        Two { world, a, b, alice, bob, authority, _daemons: daemons }
    }

    /// Both have keys.
    fn enrolled(self) -> Two {
        self.authority.enrol(&self.alice);
        self.authority.enrol(&self.bob);
        self
    }

    /// What waits for bob, as it came in, without what servers have put before it.
    fn waiting(&self, count: usize) -> Vec<Vec<u8>> {
        self.b.wait_for("bob@b.test", count).iter().map(|text| without_trace(text)).collect()
    }

    /// a.test's server, spoken for by the test, hands an entity to b.test for bob.
    fn hand_over(&self, octets: &[u8]) -> Reply {
        self.hand_over_from("alice@a.test", octets)
    }

    fn hand_over_from(&self, sender: &str, octets: &[u8]) -> Reply {
        let (mut peer, _) = self.world.peer("a.test", &self.b);
        peer.transaction(&format!("<{sender}>"), &["<bob@b.test>"], octets).expect("an answer")
    }

    /// The next message that bob's listener prints.
    fn received(&self) -> serde_json::Value {
        let listening = self.bob.listen_by("exec \"$0\" listen --json --once");
        listening.wait_for(&[("event", "message")])
    }
}

/// An entity as the wire has it, from its first field that is no trace.
fn without_trace(text: &str) -> Vec<u8> {
    let mut rest = text;
    while ["Received:", "Authentication-Results:", "Return-Path:"].iter().any(|name| rest.starts_with(name)) {
        let end = rest.match_indices('\n').map(|(at, _)| at + 1).find(|at| !rest[*at..].starts_with([' ', '\t']));
        rest = &rest[end.expect("a field's end")..];
    }
    crlf(rest.as_bytes())
}

fn replaced(octets: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = String::from_utf8(octets.to_vec()).expect("text");
    assert!(text.contains(old), "{old:?} is not in\n{text}");
    text.replacen(old, new, 1).into_bytes()
}

/// The same with the last occurrence, which is inside the signature.
fn replaced_inside(octets: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = String::from_utf8(octets.to_vec()).expect("text");
    let at = text.rfind(old).unwrap_or_else(|| panic!("{old:?} is not in\n{text}"));
    format!("{}{new}{}", &text[..at], &text[at + old.len()..]).into_bytes()
}

pub fn check(reply: &Reply, code: u16, start: &str) {
    assert!(reply.code == code && reply.lines[0].starts_with(start), "{reply:?}");
}

/// A part as another program protects it (RFC 9788), and the message around it when it is signed.
pub fn protected(somebody: &Somebody, fields: &[(&str, &str)], text: &str) -> Vec<u8> {
    let header: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let part = format!("{header}Content-Type: text/plain; charset=us-ascii; hp=\"clear\"\r\n\r\n{text}\r\n");
    [header.as_bytes(), &somebody.sign(part.as_bytes())].concat()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

pub fn date(seconds: i64) -> String {
    impart::timestamp::Timestamp::from_secs(now().secs() + seconds).rfc5322()
}

const OPENSSL: &[&str] = &["openssl"];

#[test]
fn r2_5_1_what_was_altered_is_refused() {
    if !have("r2_5_1_what_was_altered_is_refused", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    two.alice.done(&["send", "bob@b.test", "-m", "pay Carol ten", "--sign"]);
    let original = two.waiting(1).remove(0);
    let altered = [
        replaced_inside(&original, "pay Carol ten", "pay Carol 10k"),
        replaced_inside(&original, "From: <alice@a.test>", "From: <mallory@a.test>"),
        replaced_inside(&original, "Date: ", "Presence: publish\r\nDate: "),
    ];
    for octets in altered {
        check(&two.hand_over(&octets), 554, "5.7.7");
    }
    // Nothing but the signature stands for what is inside: other fields outside are a contradiction.
    check(&two.hand_over(&replaced(&original, "To: <bob@b.test>", "To: <carol@b.test>")), 554, "5.7.7");
    assert_eq!(two.waiting(1).len(), 1);
    let message = two.received();
    assert_eq!((message["text"].as_str(), message["signature"].as_str()), (Some("pay Carol ten"), Some("valid(user)")));
}

#[test]
fn r2_5_2_what_was_recorded_is_not_played_back() {
    if !have("r2_5_2_what_was_recorded_is_not_played_back", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    two.alice.done(&["send", "bob@b.test", "-m", "once", "--sign"]);
    let original = two.waiting(1).remove(0);
    let message = two.received();
    // The same again, and under another Message-ID outside, which nobody has signed.
    let renamed = replaced(&original, "Message-ID: <", "Message-ID: <again-");
    for octets in [&original, &renamed] {
        check(&two.hand_over(octets), 250, "2.0.0");
    }
    // It is accepted and gone: the next message is the next that she writes.
    two.alice.done(&["send", "bob@b.test", "-m", "twice", "--sign"]);
    assert_eq!((message["text"].as_str(), two.received()["text"].as_str()), (Some("once"), Some("twice")));
    let texts: Vec<_> = two.bob.rows(&["history", "alice", "--json"]).iter().map(|row| row["text"].clone()).collect();
    assert_eq!(texts, ["once", "twice"]);
}

#[test]
fn r2_5_2_a_date_that_is_not_now_and_another_recipient() {
    if !have("r2_5_2_a_date_that_is_not_now_and_another_recipient", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup);
    let alice = two.authority.somebody("alice@a.test");
    let (now, old, ahead) = (date(0), date(-8 * 86_400), date(3600));
    let message = |to: &str, date: &str, id: &str| {
        let fields = [("From", "alice@a.test"), ("To", to), ("Date", date), ("Message-ID", id), ("Subject", "s")];
        protected(&alice, &fields, "hello")
    };
    check(&two.hand_over(&message("bob@b.test", &old, "<1@a.test>")), 554, "5.7.7");
    check(&two.hand_over(&message("bob@b.test", &ahead, "<2@a.test>")), 554, "5.7.7");
    check(&two.hand_over(&message("carol@b.test", &now, "<3@a.test>")), 554, "5.7.7");
    check(&two.hand_over(&message("carol@c.test, Bob <bob@b.test>", &now, "<4@a.test>")), 250, "2.0.0");
    assert_eq!(two.waiting(1).len(), 1);
}

#[test]
fn r2_5_3_only_the_recipient_can_read_it() {
    if !have("r2_5_3_only_the_recipient_can_read_it", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    // Before she knows his certificate, nothing leaves.
    let output = two.alice.run(&["send", "bob@b.test", "-m", "a secret of ours", "--encrypt"]);
    assert!(!output.status.success() && said(&output).contains("bob@b.test"), "{}", said(&output));
    assert!(two.alice.done(&["history"]).is_empty());
    // His signed message brings it.
    two.bob.done(&["send", "alice@a.test", "-m", "hello", "--sign"]);
    two.alice.done(&["listen", "--once"]);
    two.alice.done(&["send", "bob@b.test", "-m", "a secret of ours", "--sign", "--encrypt"]);
    let sealed = two.waiting(1).remove(0);
    let mallory = two.authority.somebody("mallory@b.test");
    assert!(mallory.decrypt(&sealed).is_none());
    // Not in the spool of any server either.
    for domain in ["a.test", "b.test"] {
        assert!(!finds(&two.world.home(domain).join("spool"), b"a secret of ours"), "{domain}");
    }
    let message = two.received();
    assert_eq!(message["text"], "a secret of ours");
    assert_eq!((message["signature"].as_str(), message["encrypted"].as_bool()), (Some("valid(user)"), Some(true)));
}

/// Whether a file below a directory has these octets.
fn finds(directory: &Path, octets: &[u8]) -> bool {
    fs::read_dir(directory).expect("a directory").flatten().any(|entry| match entry.path() {
        path if path.is_dir() => finds(&path, octets),
        path => fs::read(path).is_ok_and(|content| content.windows(octets.len()).any(|window| window == octets)),
    })
}

#[test]
fn r2_5_4_signed_and_unsigned_side_by_side() {
    if !have("r2_5_4_signed_and_unsigned_side_by_side", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    two.alice.done(&["send", "bob@b.test", "-m", "plain"]);
    assert_eq!(two.received()["signature"], "unsigned");
    two.alice.done(&["send", "bob@b.test", "-m", "signed", "--sign"]);
    let with_trace = two.b.wait_for("bob@b.test", 1).remove(0);
    assert!(with_trace.contains("smime=pass body.smime-identifier=alice@a.test"), "{with_trace}");
    assert_eq!(two.received()["signature"], "valid(user)");
    assert!(two.bob.done(&["history", "alice"]).contains("[unsigned] alice@a.test: plain"));
    assert!(two.bob.done(&["history", "alice"]).contains("[signed] alice@a.test: signed"));
}

#[test]
fn r2_5_4_an_inbox_may_insist() {
    if !have("r2_5_4_an_inbox_may_insist", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| match setup.host.as_str() {
        "mx.b.test" => setup.key("[smime]", "require = [\"bob@b.test\"]"),
        _ => setup,
    });
    two.authority.enrol(&two.alice);
    let output = two.alice.run(&["send", "bob@b.test", "-m", "plain", "--wait", "30"]);
    assert!(!output.status.success() && said(&output).contains("valid signature"), "{}", said(&output));
    // A signature of somebody whom nobody here believes is none.
    let stranger = Authority::new(&two.world.home("stranger")).somebody("alice@a.test");
    let now = date(0);
    let fields = [("From", "alice@a.test"), ("To", "bob@b.test"), ("Date", now.as_str()), ("Message-ID", "<1@a.test>")];
    check(&two.hand_over(&protected(&stranger, &fields, "hello")), 550, "5.7.1");
    two.alice.done(&["send", "bob@b.test", "-m", "signed", "--sign", "--wait", "30"]);
}

#[test]
fn r5_4_3_bob_can_verify_that_alice_sent_it() {
    if !have("r5_4_3_bob_can_verify_that_alice_sent_it", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    let mallory = two.authority.somebody("mallory@a.test");
    let (now, to) = (date(0), ("To", "bob@b.test"));
    let fields = [("From", "alice@a.test"), to, ("Date", now.as_str()), ("Message-ID", "<1@a.test>")];
    check(&two.hand_over(&protected(&mallory, &fields, "hello")), 250, "2.0.0");
    let forged = two.received();
    assert_eq!(forged["signature"], "wrong sender", "{forged}");
    assert!(forged["protection"].as_str().is_some_and(|words| words.contains("mallory@a.test")), "{forged}");
    let stranger = Authority::new(&two.world.home("stranger")).somebody("alice@a.test");
    let now = date(0);
    let fields = [("From", "alice@a.test"), to, ("Date", now.as_str()), ("Message-ID", "<2@a.test>")];
    check(&two.hand_over(&protected(&stranger, &fields, "hello")), 250, "2.0.0");
    assert_eq!(two.received()["signature"], "untrusted");
    two.alice.done(&["send", "bob@b.test", "-m", "it is me", "--sign"]);
    let genuine = two.received();
    assert_eq!(
        (genuine["signature"].as_str(), genuine["signer"].as_str()),
        (Some("valid(user)"), Some("alice@a.test"))
    );
}

#[test]
fn r5_4_6_every_hop_passes_it_octet_for_octet() {
    if !have("r5_4_6_every_hop_passes_it_octet_for_octet", OPENSSL) {
        return;
    }
    let world = World::new();
    let authority = Authority::new(&world.home("authority"));
    let alice = authority.somebody("alice@a.test");
    // Submitted to a.test's mail listener, relayed by c.test, to hops that know 8-bit text and binary, or neither.
    for keywords in [vec!["PIPELINING", "ENHANCEDSTATUSCODES"], Manner::default().keywords] {
        let sink = world.sink("b.test", Manner { keywords, ..Manner::default() });
        let via = |host: &str, port: u16| format!("[[route]]\ndomains = [\"b.test\"]\nvia = [\"{host}:{port}\"]\n");
        let c = world.domain("c.test", "carol").with(&via("mx.b.test", sink.address.port()));
        let a = world.domain("a.test", "alice").with(&via("mx.c.test", c.relay.expect("a relay").port()));
        let (_a, _c) = (a.start(), c.start());
        let now = date(0);
        // Trailing spaces, a From at the beginning of a line, dots alone, long lines, empty ones at the end.
        let text = format!("From here \r\n.\r\n..\r\n{}\r\n=20\r\n\t\r\n\r\n\r\n", "x".repeat(997));
        let fields = [("From", "alice@a.test"), ("To", "bob@b.test"), ("Date", &now), ("Message-ID", "<1@a.test>")];
        let signed = protected(&alice, &fields, &text);
        let (mut client, _) = Client::hello(a.mail).expect("a connection");
        let stuffed = String::from_utf8(signed.clone()).expect("text").replace("\r\n.", "\r\n..");
        let reply = client.transaction("<alice@a.test>", &["<bob@b.test>"], stuffed.as_bytes()).expect("an answer");
        check(&reply, 250, "2.0.0");
        let arrived = sink.wait("the message", |arrivals| !arrivals.is_empty()).remove(0);
        assert!(arrived.octets.ends_with(&signed), "{}", arrived.entity);
        let verified = authority.verified(&arrived.octets);
        assert!(String::from_utf8_lossy(&verified).contains(&text));
    }
}

#[test]
fn r5_4_8_plain_text_is_always_possible() {
    if !have("r5_4_8_plain_text_is_always_possible", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup);
    two.authority.enrol(&two.alice);
    // Bob believes nobody and has no key: he reads it all the same, and is told what it is worth.
    two.alice.done(&["send", "bob@b.test", "-m", "read me", "--sign"]);
    let message = two.received();
    assert_eq!((message["text"].as_str(), message["signature"].as_str()), (Some("read me"), Some("untrusted")));
    // What he cannot decrypt says so.
    let eve = two.authority.somebody("eve@b.test");
    let now = date(0);
    let header = format!("From: alice@a.test\r\nTo: bob@b.test\r\nDate: {now}\r\nMessage-ID: <9@a.test>\r\n");
    let sealed = Somebody::encrypt(b"Content-Type: text/plain\r\n\r\nfor eve\r\n", &eve.certificate);
    check(&two.hand_over(&[header.as_bytes(), &sealed].concat()), 250, "2.0.0");
    assert_eq!(two.received()["signature"], "undecryptable");
}

#[test]
fn r5_4_9_openssl_reads_what_we_sign_and_encrypt() {
    if !have("r5_4_9_openssl_reads_what_we_sign_and_encrypt", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup);
    two.authority.enrol(&two.alice);
    let bob = two.authority.somebody("bob@b.test");
    let text = "grüße\nFrom the second line \n.\n";
    two.alice.done(&["send", "bob@b.test", "-m", text, "--sign"]);
    let signed = two.waiting(1).remove(0);
    let content = String::from_utf8(two.authority.verified(&signed)).expect("text");
    assert!(content.contains("From: <alice@a.test>") && content.contains("hp=\"clear\""), "{content}");
    two.alice.done(&["key", "import", bob.certificate.to_str().expect("a path")]);
    two.alice.done(&["send", "bob@b.test", "-m", "for your eyes", "--sign", "--encrypt"]);
    let sealed = two.waiting(2).into_iter().find(|octets| *octets != signed).expect("the other");
    let inside = bob.decrypt(&sealed).expect("OpenSSL decrypts it");
    let content = String::from_utf8(two.authority.verified(&inside)).expect("text");
    assert!(content.contains("for your eyes") && content.contains("hp=\"cipher\""), "{content}");
}

#[test]
fn r5_4_9_we_read_what_openssl_signs_and_encrypts() {
    if !have("r5_4_9_we_read_what_openssl_signs_and_encrypts", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    let alice = two.authority.somebody("alice@a.test");
    let now = date(0);
    // A program that knows no header protection.
    let header = format!("From: alice@a.test\r\nTo: bob@b.test\r\nDate: {now}\r\n");
    let part = b"Content-Type: text/plain\r\n\r\nfrom another program\r\n";
    let signed = alice.sign(part);
    let message = [header.as_bytes(), b"Message-ID: <1@a.test>\r\n", &signed].concat();
    check(&two.hand_over(&message), 250, "2.0.0");
    let received = two.received();
    assert_eq!((&received["text"], &received["signature"]), (&"from another program".into(), &"valid(user)".into()));
    assert!(received["protection"].as_str().is_some_and(|words| words.contains("header")), "{received}");
    // Signed, then encrypted to bob's own certificate; the same once more would be played back.
    let signed = alice.sign(b"Content-Type: text/plain\r\n\r\nfor you alone\r\n");
    let certificate = two.world.home("b.test").join("bob.pem");
    two.bob.done(&["key", "export", "--output", certificate.to_str().expect("a path")]);
    let sealed = Somebody::encrypt(&signed, &certificate);
    let message = [header.as_bytes(), b"Message-ID: <2@a.test>\r\n", &sealed].concat();
    check(&two.hand_over(&message), 250, "2.0.0");
    let received = two.received();
    assert_eq!((&received["text"], &received["encrypted"]), (&"for you alone".into(), &true.into()));
}

#[test]
fn r5_4_3_only_what_is_signed_is_shown_as_signed() {
    if !have("r5_4_3_only_what_is_signed_is_shown_as_signed", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    let alice = two.authority.somebody("alice@a.test");
    let signed = String::from_utf8(alice.sign(b"Content-Type: text/plain\r\n\r\ngenuine\r\n")).expect("text");
    let now = date(0);
    let mixed = format!(
        "From: alice@a.test\r\nTo: bob@b.test\r\nDate: {now}\r\nMessage-ID: <1@a.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\nContent-Type: text/plain\r\n\r\nforged\r\n\
         --outer\r\n{signed}\r\n--outer--\r\n"
    );
    check(&two.hand_over(mixed.as_bytes()), 250, "2.0.0");
    let received = two.received();
    assert_eq!(received["signature"], "unsigned", "{received}");
}

#[test]
fn r5_4_2_displayed_notices_are_signed_and_checked() {
    if !have("r5_4_2_displayed_notices_are_signed_and_checked", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    let config = two.bob.home.join("config/impart/config.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, text.replace("displayed = \"no\"", "displayed = \"yes\"")).expect("the configuration");
    let line = two.alice.done(&["send", "bob@b.test", "-m", "seen?", "--displayed", "--sign"]);
    let id = line.split_whitespace().last().expect("the Message-ID").to_owned();
    let listening = two.alice.listen();
    two.bob.done(&["listen", "--once"]);
    listening.wait_for(&[("event", "displayed"), ("id", &id), ("by", "bob@b.test")]);
}

#[test]
fn r2_5_1_a_domains_own_authority_from_its_beginning_to_a_revocation() {
    if !have("r2_5_1_a_domains_own_authority_from_its_beginning_to_a_revocation", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup);
    let a = &two.a;
    let (ca, phrase) = (a.directory.join("authorities"), a.directory.join("phrase"));
    fs::write(&phrase, "a long phrase\n").expect("the pass phrase");
    let files = ["--ca", path(&ca), "--passphrase-file", path(&phrase)];
    let cert = |words: &[&str]| {
        let output = a.ctl(&[&["cert"], words, &files[..]].concat());
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    cert(&["init", "a.test"]);
    let told = two.alice.done(&["key", "new"]);
    let request = told.lines().map(str::trim).find(|line| line.ends_with(".csr")).expect("the request").to_owned();
    cert(&["issue", "alice@a.test", "--request", &request, "--out", path(&a.directory)]);
    let issued = fs::read_dir(&a.directory).expect("the directory").flatten().map(|entry| entry.path());
    let certificate = issued.into_iter().find(|file| file.to_string_lossy().contains("alice")).expect("a certificate");
    two.alice.done(&["key", "import", path(&certificate)]);
    // b.test believes the authority of a.test, and reads its list of what was revoked.
    let (root, list) = (ca.join("a.test/ca.pem"), ca.join("a.test/ca.crl"));
    let config = fs::read_to_string(two.b.config()).expect("the configuration");
    let smime = format!("[smime]\nrevocations = [{list:?}]\nrequire = [\"b.test\"]\nroots = [{root:?}, ");
    fs::write(two.b.config(), config.replace("[smime]\nroots = [", &smime)).expect("the configuration");
    let reload = two.b.ctl(&["reload"]);
    assert!(reload.status.success(), "{}", said(&reload));
    two.alice.done(&["send", "bob@b.test", "-m", "certified", "--sign", "--wait", "30"]);
    cert(&["revoke", "alice@a.test"]);
    let reload = two.b.ctl(&["reload"]);
    assert!(reload.status.success(), "{}", said(&reload));
    let output = two.alice.run(&["send", "bob@b.test", "-m", "revoked", "--sign", "--wait", "30"]);
    assert!(!output.status.success() && said(&output).contains("5.7.1"), "{}", said(&output));
    assert_eq!(two.b.waiting("bob@b.test").len(), 1);
}

#[test]
fn r2_5_1_lists_of_revoked_certificates_are_fetched_where_that_is_allowed() {
    if !have("r2_5_1_lists_of_revoked_certificates_are_fetched_where_that_is_allowed", OPENSSL) {
        return;
    }
    for allowed in ["any", "public", "no"] {
        let two = Two::new(|setup| setup.with(&format!("fetch_crls = \"{allowed}\"\n")));
        let (place, file) = (free_address(), two.authority.file("ca.crl"));
        let alice = two.authority.somebody_with("alice@a.test", &format!("http://{place}/ca.crl"));
        let carol = two.authority.somebody("carol@a.test");
        two.authority.revoke(&alice);
        let listener = std::net::TcpListener::bind(place).expect("a port");
        let list = fs::read(&file).expect("the list");
        let serving = std::thread::spawn(move || serve_once(&listener, &list));
        let mut count = 0;
        let mut finding = |from: &str, signer: &Somebody| {
            count += 1;
            let (now, id) = (date(0), format!("<{count}@a.test>"));
            let fields = [("From", from), ("To", "bob@b.test"), ("Date", now.as_str()), ("Message-ID", id.as_str())];
            check(&two.hand_over_from(from, &protected(signer, &fields, "hello")), 250, "2.0.0");
            let texts = two.b.wait_for("bob@b.test", count);
            let text = texts.iter().find(|text| text.contains(&id)).expect("the message");
            text.lines().find_map(|line| line.trim().strip_prefix("smime=")).expect("a finding").to_owned()
        };
        let mut found = finding("alice@a.test", &alice);
        // The first message waits for the list, but not for ever.
        for _ in 0..20 {
            if allowed == "any" && !found.contains("revoked") {
                found = finding("alice@a.test", &alice);
            }
        }
        let expected = if allowed == "any" { "policy reason=\"the certificate was revoked\"" } else { "pass" };
        assert!(found.starts_with(expected), "{allowed}: {found}\n{}", two.b.log());
        // Her authority's list is one of others too.
        assert!(finding("carol@a.test", &carol).starts_with("pass"), "{allowed}");
        if allowed != "any" {
            assert!(!serving.is_finished(), "nobody was to ask");
            std::net::TcpStream::connect(place).expect("a connection");
        }
        serving.join().expect("the server of the list");
    }
}

/// A web server that has one file, for one request.
fn serve_once(listener: &std::net::TcpListener, file: &[u8]) {
    use std::io::{Read as _, Write as _};
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut request = [0; 1024];
    let length = stream.read(&mut request).unwrap_or_default();
    if request[..length].starts_with(b"GET /ca.crl HTTP/1.0\r\n") {
        stream.write_all(&[b"HTTP/1.0 200 OK\r\n\r\n", file].concat()).expect("an answer");
    }
}

#[test]
fn r2_5_4_an_inbox_insists_on_signatures_of_some() {
    if !have("r2_5_4_an_inbox_insists_on_signatures_of_some", OPENSSL) {
        return;
    }
    let two = Two::new(|setup| setup).enrolled();
    let rules = |words: &[&str]| {
        let output = two.b.ctl(&[&["rules"], words].concat());
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    };
    rules(&["signed", "bob@b.test", "a.test", "yes"]);
    let output = two.alice.run(&["send", "bob@b.test", "-m", "bare", "--wait", "30"]);
    assert!(!output.status.success() && said(&output).contains("with a valid signature"), "{}", said(&output));
    two.alice.done(&["send", "bob@b.test", "-m", "signed", "--sign", "--wait", "30"]);
    rules(&["signed", "bob@b.test", "a.test", "no"]);
    two.alice.done(&["send", "bob@b.test", "-m", "bare again", "--wait", "30"]);
    assert_eq!(two.b.waiting("bob@b.test").len(), 2);
}

#[test]
fn r5_4_2_receipts_are_signed_by_their_domain() {
    if !have("r5_4_2_receipts_are_signed_by_their_domain", OPENSSL) {
        return;
    }
    let world = World::new();
    let authority = Authority::new(&world.home("authority"));
    let domain = authority.somebody("presence@b.test");
    let signer = format!("[[signer]]\ndomain = \"b.test\"\nchain = {:?}\nkey = {:?}\n", domain.certificate, domain.key);
    let smime = format!("[smime]\nroots = [{:?}]\n", authority.certificate());
    let a = world.domain("a.test", "alice").with(&smime);
    let b = world.domain("b.test", "bob").with(&smime).with(&signer);
    let (_a, _b) = (a.start(), b.start());
    let (mut client, _) = Client::hello(a.mail).expect("a connection");
    let text = b"From: alice@a.test\r\nTo: bob@b.test\r\nMessage-ID: <2@a.test>\r\n\r\nhello\r\n";
    let reply = client.transaction("<alice@a.test>", &["<bob@b.test> NOTIFY=SUCCESS,FAILURE"], text);
    check(&reply.expect("an answer"), 250, "2.0.0");
    // He takes it; his domain says so, and signs that.
    let signed = |text: &String| text.contains("body.smime-identifier=presence@b.test");
    let receipts = crate::common::wait::until("a signed receipt", || {
        let all = a.waiting("alice@a.test");
        all.iter().any(signed).then_some(all)
    });
    let receipt = receipts.iter().find(|text| signed(text)).expect("the receipt");
    let content = String::from_utf8(authority.verified(&without_trace(receipt))).expect("text");
    assert!(content.contains("From: <postmaster@b.test>") || content.contains("postmaster@b.test"), "{content}");
    assert!(content.contains("Action: delivered"), "{content}");
    // Altered on the way it is refused, whoever brings it.
    let altered = replaced_inside(&without_trace(receipt), "Action: delivered", "Action: failed");
    let (mut peer, _) = world.peer("b.test", &a);
    let reply = peer.transaction("<>", &["<alice@a.test>"], &altered).expect("an answer");
    check(&reply, 554, "5.7.7");
}
