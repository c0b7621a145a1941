//! Plays: `C:` the client's line (CRLF is added), `C-` its octets, `S:` our line, `E:` an event, `A:` the driver's answer,
//! `CH:` his challenge,
//! `T n:` the reply to the transaction of that ticket, `TLS` the handshake is done.
//! Escapes: `\r \n \t \0 \xHH \\`, and `<n*c>` for n times the character c.

mod bounds;
mod identify;
mod lmtp;
mod plays;
mod properties;
mod table;

use super::*;
use crate::envelope::Class;

fn options() -> Options {
    Options {
        greeting_name: Domain::parse("mx.b.example").unwrap(),
        service: Service::Relay,
        starttls: true,
        impp: Services { im: true, pres: true },
        impp_noop: None,
        require_tls: true,
        size: 1000,
        recipients: 3,
        in_flight: 4,
        deliver_by_min: Duration::from_secs(5),
        postmaster: None,
    }
}

fn session(options: Options) -> Session {
    Session::new(Arc::new(options), false)
}

/// One line for an event, all that matters in it.
fn summary(event: &Event) -> String {
    match event {
        Event::Hello { name, esmtp, .. } => format!("hello {name}{}", if *esmtp { "" } else { " without extensions" }),
        Event::StartTls => "starttls".to_owned(),
        Event::Mail(mail) => format!("mail {}", sender_of(mail)),
        Event::Rcpt(rcpt) => format!("rcpt {}", recipient_of(rcpt)),
        Event::Entity(transaction) => {
            let rcpts: Vec<String> = transaction.rcpts.iter().map(recipient_of).collect();
            let by = if transaction.by_data { " by DATA" } else { "" };
            let entity = transaction.entity.escape_ascii();
            format!(
                "entity {} from {} to {}{by}: {entity}",
                transaction.ticket.0,
                sender_of(&transaction.mail),
                rcpts.join(", ")
            )
        }
        Event::Auth { mechanism, initial: None } => format!("auth {mechanism}"),
        Event::Auth { mechanism, initial: Some(initial) } if initial.is_empty() => format!("auth {mechanism} ="),
        Event::Auth { mechanism, initial: Some(initial) } => format!("auth {mechanism} {}", initial.escape_ascii()),
        Event::AuthResponse(response) => format!("response {}", response.escape_ascii()),
        Event::Atrn(atrn) => format!("atrn {}", names_of(atrn)),
        Event::Turn => "turn".to_owned(),
        Event::Close => "close".to_owned(),
    }
}

fn names_of(atrn: &Atrn) -> String {
    if *atrn == Atrn::default() {
        return "all".to_owned();
    }
    let inboxes = atrn.inboxes.iter().map(ToString::to_string);
    let domains = atrn.domains.iter().map(ToString::to_string);
    let device = atrn.device.iter().map(|device| format!("at {device}"));
    inboxes.chain(domains).chain(device).collect::<Vec<_>>().join(" ")
}

fn sender_of(mail: &Mail) -> String {
    let class = mail.class.map_or(String::new(), |class| format!(" {class}"));
    format!("<{}>{class}{}", mail.sender, if mail.utf8 { " utf8" } else { "" })
}

fn recipient_of(rcpt: &Rcpt) -> String {
    match &rcpt.path {
        crate::address::ForwardPath::Postmaster => "<Postmaster>".to_owned(),
        crate::address::ForwardPath::Mailbox(mailbox) => format!("<{mailbox}>"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (octet, used) = match rest.as_bytes() {
            [b'\\', b'r', ..] => (vec![b'\r'], 2),
            [b'\\', b'n', ..] => (vec![b'\n'], 2),
            [b'\\', b't', ..] => (vec![b'\t'], 2),
            [b'\\', b'0', ..] => (vec![0], 2),
            [b'\\', b'\\', ..] => (vec![b'\\'], 2),
            [b'\\', b'x', ..] => (vec![u8::from_str_radix(&rest[2..4], 16).unwrap()], 4),
            [b'<', digit, ..] if digit.is_ascii_digit() => {
                let (inside, _) = rest[1..].split_once('>').unwrap();
                let (count, what) = inside.split_once('*').unwrap();
                (what.repeat(count.parse().unwrap()).into_bytes(), inside.len() + 2)
            }
            _ => (c.to_string().into_bytes(), c.len_utf8()),
        };
        octets.extend(octet);
        rest = &rest[used..];
    }
    octets
}

fn reply(text: &str) -> Reply {
    let (code, text) = text.split_once(' ').unwrap();
    let code = code.parse().unwrap();
    match text.split_once(' ').and_then(|(status, rest)| Some((EnhancedCode::parse(status)?, rest))) {
        Some((status, rest)) => Reply::new(code, status, rest.to_owned()),
        None => Reply::bare(code, text.to_owned()),
    }
}

/// A session on the stage.
struct Stage {
    session: Session,
    /// Came while a line was awaited.
    pending: Option<Event>,
    written: String,
}

impl Stage {
    fn new(session: Session) -> Stage {
        Stage { session, pending: None, written: String::new() }
    }

    fn feed(&mut self, octets: &[u8]) {
        self.session.input(&mut BytesMut::from(octets));
    }

    fn poll(&mut self) -> Option<Event> {
        let event = self.pending.take().or_else(|| self.session.poll());
        let output = self.session.output().split();
        self.written.push_str(std::str::from_utf8(&output).expect("replies are UTF-8"));
        event
    }

    /// Says nothing more: no line, no event.
    fn expect_silence(&mut self, at: &str) {
        let event = self.poll();
        assert!(event.is_none(), "{at}: unexpected {}", summary(&event.unwrap()));
        assert_eq!(self.written, "", "{at}: unexpected output");
    }

    fn line(&mut self, line: &str) {
        let (kind, text) = line.split_once([' ']).unwrap_or((line, ""));
        match kind {
            "C:" => {
                let mut octets = unescape(text);
                octets.extend(b"\r\n");
                self.feed(&octets);
            }
            "C-" => self.feed(&unescape(text)),
            "S:" => {
                if self.written.is_empty() {
                    self.pending = self.poll();
                }
                let (first, rest) = self.written.split_once("\r\n").unwrap_or((&self.written, ""));
                assert_eq!(first, text, "at {line}");
                self.written = rest.to_owned();
            }
            "E:" => {
                let event = self.poll();
                assert_eq!(event.as_ref().map(summary).as_deref(), Some(text), "at {line}");
            }
            "A:" => self.session.answer(reply(text)),
            "T" => {
                let (ticket, text) = text.split_once(": ").unwrap();
                self.session.complete(Ticket(ticket.parse().unwrap()), reply(text));
            }
            "CH:" => self.session.challenge(&unescape(text)),
            "TLS" => self.session.tls_started(),
            _ => panic!("{line}: not a line of a play"),
        }
    }
}

fn play_in(session: Session, script: &str) -> Session {
    let mut stage = Stage::new(session);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        stage.line(line);
    }
    stage.expect_silence("at the end");
    stage.session
}

/// Plays after greeting and EHLO.
fn play(script: &str) -> Session {
    play_with(options(), script)
}

fn play_with(options: Options, script: &str) -> Session {
    play_in(greeted(options), script)
}

/// A session after EHLO.
fn greeted(options: Options) -> Session {
    let mut session = session(options);
    session.input(&mut BytesMut::from("EHLO mx.a.example\r\n"));
    assert!(matches!(session.poll(), Some(Event::Hello { esmtp: true, .. })));
    session.output().clear();
    session
}

/// A transaction up to its first accepted recipient.
const OPENED: &str = "
    C: MAIL FROM:<a@a.example>
    E: mail <a@a.example>
    A: 250 2.1.0 ok
    S: 250 2.1.0 ok
    C: RCPT TO:<b@b.example>
    E: rcpt <b@b.example>
    A: 250 2.1.5 ok
    S: 250 2.1.5 ok
";

fn play_opened(script: &str) -> Session {
    play(&format!("{OPENED}{script}"))
}
