//! Delta Chat as the chat program of somebody who has only mail: what is sent from here is a chat there, and what is written there
//! comes here as messages. Its mail system is a Postfix and a Dovecot.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::bridged::Bridged;
use super::mailbox::{Dovecot, missing};
use super::postfix::Postfix;
use crate::common::daemon::free_address;
use crate::common::tools::{have, kept, leave_out};
use crate::common::wait;

/// Where tests/run installs it.
fn python() -> Option<PathBuf> {
    let python = kept("deltachat").join("bin/python");
    python.with_file_name("deltachat-rpc-server").is_file().then_some(python)
}

/// A running Delta Chat.
struct DeltaChat {
    child: Child,
    input: Option<ChildStdin>,
    events: Arc<Mutex<Vec<Value>>>,
    warnings: PathBuf,
}

impl DeltaChat {
    fn start(python: &Path, directory: &Path, address: &str, imap: SocketAddr, smtp: SocketAddr) -> DeltaChat {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/deltachat.py");
        let (ports, warnings) = ([imap.port().to_string(), smtp.port().to_string()], directory.join("warnings"));
        let mut command = Command::new(python);
        command.arg(script).arg(directory.join("accounts")).args([address, "pw"]).args(ports);
        // It finds its server beside the interpreter.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", python.parent().unwrap().display())).env("HOME", directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&warnings).unwrap());
        let mut child = command.spawn().expect("Python starts");
        let output = child.stdout.take().expect("a pipe");
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = events.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                kept.lock().expect("no test panicked with it").extend(serde_json::from_str(&line).ok());
            }
        });
        let input = child.stdin.take();
        let chat = DeltaChat { child, input, events, warnings };
        chat.wait_for(&[("event", "ready")]);
        chat
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it has not been closed");
        writeln!(input, "{line}").expect("it listens");
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().expect("no test panicked with it").clone()
    }

    fn wait_for(&self, values: &[(&str, &str)]) -> Value {
        let fits = |event: &Value| values.iter().all(|(key, value)| event[key] == *value);
        let found = || wait::until(&format!("{values:?}"), || self.events().into_iter().find(fits));
        let warnings = || fs::read_to_string(&self.warnings).unwrap_or_default();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(found))
            .unwrap_or_else(|_| panic!("{values:?} in vain: {:?}\n{}", self.events(), warnings()))
    }
}

impl Drop for DeltaChat {
    fn drop(&mut self) {
        // It ends with its input; its server with it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A mail system for both domains. People of a.test get copies of their mail as messages, as impart-mail(7) says; their mailboxes are of
/// no account here. It finds bob@b.test, who has to log in, to be who he says.
fn main(directory: &Path, bridge: SocketAddr, dovecot: &Dovecot) -> String {
    let (place, lmtp, auth) = (directory.display(), dovecot.lmtp().display().to_string(), dovecot.auth());
    let (host, port) = (bridge.ip(), bridge.port());
    fs::write(directory.join("transport"), format!("im.a.test lmtp:[{host}]:{port}\na.test discard:\n")).unwrap();
    fs::write(directory.join("copies"), "alice@a.test alice@im.a.test\n").unwrap();
    let proven = "PREPEND Authentication-Results: mx.a.test; dmarc=pass header.from=b.test\n";
    fs::write(directory.join("senders"), format!("bob@b.test {proven}")).unwrap();
    format!(
        "mynetworks = 127.0.0.0/8\n\
         relay_domains = im.a.test, a.test\n\
         recipient_bcc_maps = texthash:{place}/copies\n\
         transport_maps = texthash:{place}/transport\n\
         virtual_mailbox_domains = b.test\n\
         virtual_mailbox_maps = static:all\n\
         virtual_transport = lmtp:unix:{lmtp}\n\
         default_transport = error:5.1.1 nobody there\n\
         smtpd_sasl_auth_enable = yes\n\
         smtpd_sasl_type = dovecot\n\
         smtpd_sasl_path = {}\n\
         smtpd_sender_login_maps = inline:{{{{bob@b.test=bob@b.test}}}}\n\
         smtpd_sender_restrictions = reject_sender_login_mismatch, check_sender_access texthash:{place}/senders\n",
        auth.display()
    )
}

#[test]
fn delta_chat_shows_a_chat_and_answers() {
    const NAME: &str = "delta_chat_shows_a_chat_and_answers";
    if missing(NAME, &["dovecot", "postfix"]) || !have(NAME, &["python3"]) {
        return;
    }
    let Some(python) = python() else { return leave_out(&format!("{NAME} (not installed: Delta Chat, of PyPI)")) };
    let directories: [_; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [ours, store, mail, theirs] = directories.each_ref().map(tempfile::TempDir::path);
    let (bridge, smtp) = (free_address(), free_address());
    let dovecot = Dovecot::start(store);
    let postfix = Postfix::with(mail, smtp, ("deltachat", "mx.a.test"), &main(mail, bridge, &dovecot));
    let bridged = Bridged::start(ours, smtp, bridge);
    let Bridged { person, alice, .. } = &bridged;
    let mut bob = DeltaChat::start(&python, theirs, "bob@b.test", dovecot.imap(), smtp);

    // What comes is shown as in a chat: the text and nothing else, for a mail would have its subject before it.
    person.run(&["send", "bob@b.test", "-m", "Lunch at noon?"]);
    let first = bob.wait_for(&[("event", "message"), ("sender", "alice@a.test")]);
    assert_eq!(first["text"], "Lunch at noon?", "{first}\n{}", postfix.said());
    // It asks its person whether it is wanted, before it tells of more.
    bob.say("accept");
    bob.wait_for(&[("event", "accepted")]);
    person.run(&["send", "bob@b.test", "-m", "Grüße 🥕"]);
    let second = bob.wait_for(&[("event", "message"), ("text", "Grüße 🥕")]);
    assert_eq!((&second["chat"], &second["encrypted"]), (&first["chat"], &Value::Bool(false)), "{second}");
    // The answer is one to what came last, and has nothing of it in it.
    bob.say("answer Yes, gladly.");
    let answer = alice.wait_for(&[("event", "message"), ("from", "bob@b.test")]);
    assert_eq!(answer["text"].as_str().map(str::trim_end), Some("Yes, gladly."), "{answer}");
    let sent = person.rows(&["history", "bob@b.test", "--json"]);
    assert!(
        sent.iter().any(|row| row["text"] == "Grüße 🥕" && row["id"] == answer["in_reply_to"]),
        "{sent:?} {answer}"
    );
    // So are those that follow, and one that nobody asked for.
    bob.say("write alice@a.test Where shall we meet?");
    alice.wait_for(&[("event", "message"), ("text", "Where shall we meet?")]);
    person.run(&["send", "bob@b.test", "-m", "At the station."]);
    let third = bob.wait_for(&[("event", "message"), ("text", "At the station.")]);
    assert_eq!(third["chat"], first["chat"], "{:?}", bob.events());
    let failed = bob.events().into_iter().find(|event| event["event"] == "failed");
    assert!(failed.is_none(), "{failed:?}\n{}", postfix.said());
    assert_eq!(alice.texts().len(), 2, "each once: {:?}", alice.texts());
    assert!(bridged.daemon.stop().success(), "{}", bridged.setup.log());
}
