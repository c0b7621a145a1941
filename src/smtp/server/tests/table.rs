//! Every state × every command: the replies, the events and the state after, compared with `tests/golden/smtp/states.txt`.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

const COMMANDS: [&str; 29] = [
    "EHLO mx.a.example\r\n",
    "HELO mx.a.example\r\n",
    "MAIL FROM:<a@a.example>\r\n",
    "MAIL FROM:<a@a.example> BODY=BINARYMIME\r\n",
    "MAIL FROM:<refused@a.example>\r\n",
    "RCPT TO:<b@b.example>\r\n",
    "RCPT TO:<refused@b.example>\r\n",
    "DATA\r\n",
    "DATA\r\nx\r\n.\r\n",
    "BDAT 3\r\nx\r\n",
    "BDAT 3 LAST\r\nx\r\n",
    "BDAT 3 LATE\r\nx\r\n",
    "BDAT x\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN cmlnaHQ=\r\n",
    "AUTH PLAIN d3Jvbmc=\r\n",
    "AUTH LOGIN\r\ncmlnaHQ=\r\n",
    "AUTH LOGIN\r\n*\r\n",
    "AUTH OTHER\r\n",
    "ATRN\r\nNOOP\r\n",
    "ATRN INBOX=refused@a.example\r\n",
    "ATRN a.example,b.example\r\n",
    "VRFY b\r\n",
    "EXPN b\r\n",
    "HELP\r\n",
    "TURN\r\n",
];

/// A session in each state.
fn in_state(name: &str) -> Session {
    match name {
        "start" => session(options()),
        "refused" => Session::refused(Arc::new(options()), &reply("554 5.7.1 no")),
        "ready" => greeted(options()),
        _ => {
            let mut session = greeted(options());
            let script = match name {
                "sender" => "MAIL FROM:<a@a.example>\r\n",
                "recipients" => "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n",
                "chunks" => "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nBDAT 1\r\nx",
                "failed" => "MAIL FROM:<a@a.example>\r\nBDAT 1\r\nx",
                _ => panic!("{name}"),
            };
            properties::run(&mut session, script.as_bytes());
            session
        }
    }
}

fn state_of(session: &Session) -> &'static str {
    let state = session.state.states();
    States::EACH.iter().find(|(each, _)| *each == state).map_or("?", |(_, name)| name)
}

#[test]
fn every_command_in_every_state() {
    let mut table = String::new();
    for (state, name) in States::EACH {
        writeln!(table, "== {name}").unwrap();
        for command in COMMANDS {
            let session = in_state(name);
            assert_eq!(session.state.states(), state);
            row(&mut table, session, command);
        }
    }
    compare("states.txt", &table);
}

#[test]
fn every_command_of_clients() {
    let mut table = String::new();
    for (service, name) in [(Service::Client, "client"), (Service::Odmr, "relay on demand")] {
        for (state, script) in [
            ("start", ""),
            ("ready", "EHLO a.example\r\n"),
            ("authenticated", "EHLO a.example\r\nAUTH PLAIN cmlnaHQ=\r\n"),
            ("sender", "EHLO a.example\r\nAUTH PLAIN cmlnaHQ=\r\nMAIL FROM:<a@a.example>\r\n"),
        ] {
            if (service, state) == (Service::Odmr, "sender") {
                continue;
            }
            writeln!(table, "== {name}, {state}").unwrap();
            for command in COMMANDS {
                let options = Options { service, ..options() };
                let mut session = Session::new(Arc::new(options), true);
                session.offer_mechanisms(vec!["PLAIN", "LOGIN"]);
                properties::run(&mut session, script.as_bytes());
                row(&mut table, session, command);
            }
        }
    }
    compare("clients.txt", &table);
}

fn row(table: &mut String, mut session: Session, command: &str) {
    session.output().clear();
    let said = properties::run(&mut session, command.as_bytes());
    let course = if session.course == Course::Open { String::new() } else { format!(", {:?}", session.course) };
    writeln!(table, "{}", command.escape_default()).unwrap();
    said.lines().for_each(|line| writeln!(table, "    {}", line.trim_end()).unwrap());
    let receiving = if session.is_receiving() { ", receiving" } else { "" };
    writeln!(table, "    -> {}{receiving}{course}", state_of(&session)).unwrap();
}

fn compare(file: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/smtp").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, table).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (index, (got, expected)) in table.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, expected, "line {} of {}; UPDATE=1 rewrites it", index + 1, path.display());
    }
    assert!(table == golden, "{} differs in length; UPDATE=1 rewrites it", path.display());
}
