//! A Postfix that hands mail for people here to the bridge, by a transport map and LMTP: answers reach an attached client, reports
//! become receipts, and what is not for a chat is left to the mail system.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::bridged::Bridged;
use super::postfix::Postfix;
use crate::common::client::Client;
use crate::common::daemon::free_address;
use crate::common::tools::{have, leave_out, root};
use crate::common::wait;

/// A mail system in front of an Impart.
struct World {
    postfix: Postfix,
    bridged: Bridged,
    /// Where Postfix takes mail.
    mail: SocketAddr,
    _directories: [tempfile::TempDir; 2],
}

/// What conf/postfix says, with names and places of this test. It finds bob@b.test, and nobody else, to be who he says.
fn main(directory: &Path, bridge: SocketAddr) -> String {
    let place = directory.display();
    let (host, port) = (bridge.ip(), bridge.port());
    fs::write(directory.join("transport"), format!("im.a.test lmtp:[{host}]:{port}\n")).unwrap();
    let proven = "PREPEND Authentication-Results: mx.a.test; dmarc=pass header.from=b.test\n";
    fs::write(directory.join("senders"), format!("bob@b.test {proven}")).unwrap();
    format!(
        "mynetworks = 127.0.0.0/8\n\
         relay_domains = im.a.test\n\
         transport_maps = texthash:{place}/transport\n\
         default_transport = error:5.1.1 nobody there\n\
         smtpd_sender_restrictions = check_sender_access texthash:{place}/senders\n"
    )
}

impl World {
    fn new() -> World {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [ours, theirs] = directories.each_ref().map(tempfile::TempDir::path);
        let (bridge, mail) = (free_address(), free_address());
        let bridged = Bridged::start(ours, mail, bridge);
        let postfix = Postfix::with(theirs, mail, ("bridge", "mx.a.test"), &main(theirs, bridge));
        World { postfix, bridged, mail, _directories: directories }
    }

    /// Hands a mail to Postfix.
    fn mail(&self, from: &str, to: &str, mail: &str) {
        let (mut client, _) = Client::hello(self.mail).unwrap();
        let reply = client.transaction(&format!("<{from}>"), &[&format!("<{to}>")], mail.as_bytes()).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }

    /// Waits until Postfix has said that of a delivery.
    fn said(&self, words: &str) -> String {
        wait::until(words, || {
            let log = self.postfix.said();
            log.lines().find(|line| line.contains("im.a.test") && line.contains(words)).map(str::to_owned)
        })
    }
}

fn missing(name: &str) -> bool {
    if !have(name, &["postfix"]) {
        return true;
    }
    if !root() {
        leave_out(&format!("{name} (Postfix's daemon needs root)"));
        return true;
    }
    false
}

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/replies").join(name);
    fs::read_to_string(path).unwrap().replace("b.example", "b.test").replace("a.example", "a.test")
}

#[test]
fn answers_by_mail_reach_the_client() {
    if missing("answers_by_mail_reach_the_client") {
        return;
    }
    let world = World::new();
    for (name, expected) in [
        ("gmail-en.eml", "Yes, at noon."),
        ("outlook-html-de.eml", "Ja, um zwölf."),
        ("thunderbird-inline.eml", "Hello Alice,\n\n> when do you come?\nAt noon."),
        ("apple-mail.eml", "Yes, at noon."),
        ("nothing-quoted.eml", "Yes, at noon.\nSee you there."),
    ] {
        world.mail("bob@b.test", "alice@im.a.test", &sample(name));
        let id = format!("<{}@b.test>", name.trim_end_matches(".eml"));
        let message = world.bridged.alice.wait_for(&[("event", "message"), ("id", &id)]);
        assert!(message["text"].as_str().unwrap().starts_with(expected), "{message}");
        assert_eq!(
            (&message["from"], &message["in_reply_to"]),
            (&"bob@b.test".into(), &"<1@a.test>".into()),
            "{message}"
        );
    }
    world.said("status=sent (250 2.0.0");
    assert!(world.bridged.daemon.stop().success(), "{}", world.bridged.setup.log());
}

#[test]
fn what_is_not_for_a_chat_is_left_to_the_mail_system() {
    if missing("what_is_not_for_a_chat_is_left_to_the_mail_system") {
        return;
    }
    let world = World::new();
    let sample = sample("nothing-quoted.eml");
    world.mail("bob@b.test", "alice@im.a.test", &format!("List-Id: <talk.b.test>\r\n{sample}"));
    world.said("status=bounced (host 127.0.0.1[127.0.0.1] said: 550 5.7.1 this was sent to many (List-Id)");
    world.mail("bob@b.test", "nobody@im.a.test", &sample);
    world.said("550 5.1.1 there is no such inbox here");
    // In the name of somebody here, with a finding that came with the mail.
    let forged = format!(
        "Authentication-Results: mx.a.test; dmarc=pass header.from=a.test\r\n{}",
        sample.replace("bob@b.test", "alice@a.test")
    );
    world.mail("mallory@c.test", "bob@im.a.test", &forged);
    world.said("550 5.7.1 the author's domain lives here");
    // Somebody else's finding counts for nothing, but messages of anonymous ones are taken where no rule says otherwise.
    let forged =
        forged.replace("a.test", "c.test").replace("alice@c.test", "carol@c.test").replace("@b.test", "@c.test");
    world.mail("carol@c.test", "alice@im.a.test", &forged);
    world.bridged.alice.wait_for(&[("event", "message"), ("from", "carol@c.test")]);
    assert!(world.bridged.alice.texts().len() == 1, "{:?}", world.bridged.alice.texts());
    assert!(world.bridged.daemon.stop().success(), "{}", world.bridged.setup.log());
}

#[test]
fn what_the_mail_system_reports_is_a_receipt() {
    if missing("what_the_mail_system_reports_is_a_receipt") {
        return;
    }
    let world = World::new();
    // Whether it succeeds depends on what has come back when it looks.
    world.bridged.person.run(&["send", "nobody@b.test", "-m", "Are you there?"]);
    let failed = world.bridged.alice.wait_for(&[("event", "receipt"), ("to", "nobody@b.test"), ("state", "failed")]);
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("nobody there")), "{failed}");
    assert!(world.bridged.daemon.stop().success(), "{}", world.bridged.setup.log());
}
