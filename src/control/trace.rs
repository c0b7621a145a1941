//! One message, or one person, through the log.
//!
//! In: lines of the log as they were written, from journalctl or from a file. Out: those that are about the subject: of a
//! message all that its identifier begins or that name it; of a person all of the messages that they sent or were to have,
//! and every other line with their address. Invariant: one pass, the order of the log, memory that is bounded: of messages
//! that may yet turn out to be the person's their first lines are kept. Fails: never; what is no line of ours is left out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use super::select::{AddressMatch, Selector};
use crate::address::Mailbox;
use crate::spool::QueueId;

/// Messages whose first lines are kept.
const PENDING: usize = 10_000;
/// Lines of each.
const LINES: usize = 8;
/// Messages that are known to be the person's.
const FOUND: usize = 100_000;
/// Octets of a line that are read.
const LINE: u64 = 64 * 1024;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A message.
    Message(QueueId),
    /// A person.
    Person(Mailbox),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.contains('@') {
            true => text.parse().map(Subject::Person).map_err(|fault| format!("{fault}")),
            false => text.parse().map(Subject::Message).map_err(str::to_owned),
        }
    }
}

impl Subject {
    /// The messages of the spool that it is about.
    pub fn select(&self) -> Selector {
        match self {
            Subject::Message(id) => Selector { ids: vec![*id], ..Selector::default() },
            Subject::Person(mailbox) => {
                Selector { address: Some(AddressMatch::Mailbox(mailbox.clone())), ..Selector::default() }
            }
        }
    }
}

/// Picks the lines.
pub struct Trace {
    /// In small letters.
    wanted: String,
    found: HashSet<QueueId>,
    pending: HashMap<QueueId, Vec<String>>,
    order: VecDeque<QueueId>,
}

impl Trace {
    /// Of a subject.
    pub fn new(subject: &Subject) -> Trace {
        let (wanted, found) = match subject {
            Subject::Message(id) => (id.to_string(), HashSet::from([*id])),
            Subject::Person(mailbox) => (mailbox.to_string(), HashSet::new()),
        };
        Trace { wanted: wanted.to_lowercase(), found, pending: HashMap::new(), order: VecDeque::new() }
    }

    /// The lines that are to be shown now that this one is known.
    pub fn take(&mut self, line: &str) -> Vec<String> {
        let Some(text) = said(line) else { return Vec::new() };
        let id = text.split_once(": ").and_then(|(id, _)| id.parse::<QueueId>().ok());
        let named = mentions(&text.to_lowercase(), &self.wanted);
        let Some(id) = id else { return if named { vec![line.to_owned()] } else { Vec::new() } };
        if self.found.contains(&id) {
            return vec![line.to_owned()];
        }
        if !named {
            // Who it is from, and whom it is for, is not said at once; a delivery may be told before what came.
            self.keep(id, line);
            return Vec::new();
        }
        if self.found.len() < FOUND {
            self.found.insert(id);
        }
        let mut lines = self.pending.remove(&id).unwrap_or_default();
        lines.push(line.to_owned());
        lines
    }

    fn keep(&mut self, id: QueueId, line: &str) {
        let lines = self.pending.entry(id).or_default();
        if lines.is_empty() {
            self.order.push_back(id);
        }
        if lines.len() < LINES {
            lines.push(line.to_owned());
        }
        while self.order.len() > PENDING {
            self.order.pop_front().and_then(|oldest| self.pending.remove(&oldest));
        }
    }
}

/// What a line of the daemon says: what is behind `impartd/smtp[7]: `.
fn said(line: &str) -> Option<&str> {
    let (before, text) = line.split_once("]: ")?;
    let (before, process) = before.rsplit_once('[')?;
    let program = before.rsplit(' ').next()?;
    let ours = program == "impartd" || program.starts_with("impartd/");
    (ours && process.bytes().all(|octet| octet.is_ascii_digit())).then_some(text)
}

/// Whether a text has these words, and not as a part of a longer address.
fn mentions(text: &str, wanted: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || "@.-_+%".contains(c);
    text.match_indices(wanted).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + wanted.len()..]);
        // A sentence may end behind it.
        let after = after.strip_prefix('.').filter(|rest| !rest.starts_with(part)).unwrap_or(after);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

/// The log: a file, standard input for `-`, else what journald has of the unit.
///
/// # Errors
/// Words about what cannot be read, and what to do.
pub fn read(subject: &Subject, log: Option<&Path>, show: impl FnMut(&str)) -> Result<(), String> {
    match log {
        Some(path) if path == Path::new("-") => follow(subject, std::io::stdin().lock(), show),
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
            follow(subject, std::io::BufReader::new(file), show)
        }
        None => journal(subject, show),
    }
}

fn journal(subject: &Subject, show: impl FnMut(&str)) -> Result<(), String> {
    const REMEDY: &str = "name the log with --log FILE, or --log - for standard input";
    let mut command = Command::new("journalctl");
    command.args(["--unit=impartd", "--output=short-iso", "--no-pager", "--quiet"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|fault| format!("journalctl cannot be run: {fault}; {REMEDY}"))?;
    if let Some(output) = child.stdout.take() {
        follow(subject, std::io::BufReader::new(output), show)?;
    }
    let status = child.wait().map_err(|fault| fault.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("journalctl failed; {REMEDY}")) }
}

fn follow(subject: &Subject, mut log: impl BufRead, mut show: impl FnMut(&str)) -> Result<(), String> {
    let mut trace = Trace::new(subject);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = std::io::Read::take(&mut log, LINE);
        let count = bounded.read_until(b'\n', &mut line).map_err(|fault| format!("the log cannot be read: {fault}"))?;
        if count == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        trace.take(text.trim_end()).iter().for_each(|line| show(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01T00:00:00+00:00 mx impartd[7]: mx.a.example is ready
2026-01-01T00:00:01+00:00 mx impartd/smtpd[7]: 0000000a1b: client=localhost[127.0.0.1]
2026-01-01T00:00:01+00:00 mx impartd/smtpd[7]: 0000000a1c: client=b.example[192.0.2.1]
2026-01-01T00:00:01+00:00 mx impartd/qmgr[7]: 0000000a1b: from=<alice@a.example>, size=9, nrcpt=1, message-id=<1@a>
2026-01-01T00:00:01+00:00 mx impartd/qmgr[7]: 0000000a1c: from=<bob@b.example>, size=9, nrcpt=1, message-id=<2@b>
2026-01-01T00:00:02+00:00 mx postfix/smtp[8]: 0000000a1b: to=<alice@a.example>, relay=none
2026-01-01T00:00:02+00:00 mx impartd/smtp[7]: 0000000a1b: to=<bob@b.example>, relay=mx.b.example[192.0.2.1]:2779, status=sent
2026-01-01T00:00:02+00:00 mx impartd/local[7]: 0000000a1c: to=<Alice@A.example>, relay=phone, status=sent
2026-01-01T00:00:03+00:00 mx impartd[7]: alice@a.example: phone detached: it said so
2026-01-01T00:00:03+00:00 mx impartd[7]: malice@a.example: phone detached: it said so
2026-01-01T00:00:04+00:00 mx impartd/smtp[7]: 0000000a1e: to=<x@b.example>, relay=mx.b.example[192.0.2.1]:2779, status=sent
2026-01-01T00:00:04+00:00 mx impartd/qmgr[7]: 0000000a1e: from=<carol@a.example>, size=9, nrcpt=1, message-id=<3@a>
2026-01-01T00:00:04+00:00 mx impartd/qmgr[7]: 0000000a1d: from=<x@a.example>, dropped: a second copy of 0000000a1b
";

    fn check(subject: &str, expected: &[usize]) {
        let mut got = Vec::new();
        follow(&subject.parse().unwrap(), LOG.as_bytes(), |line| {
            got.extend(LOG.lines().position(|known| known == line));
        })
        .unwrap();
        assert_eq!(got, expected, "{subject}");
    }

    #[test]
    fn a_message_is_followed() {
        check("0000000a1b", &[1, 3, 6, 12]);
        check("0000000a1c", &[2, 4, 7]);
        check("0000000zzz", &[]);
    }

    #[test]
    fn a_person_is_followed_as_sender_and_as_recipient() {
        check("alice@a.example", &[1, 3, 6, 2, 4, 7, 8]);
        check("BOB@b.example", &[2, 4, 1, 3, 6, 7]);
        check("carol@a.example", &[10, 11]);
        check("e@a.example", &[]);
    }

    #[test]
    fn what_may_yet_be_the_persons_is_bounded() {
        let mut trace = Trace::new(&"alice@a.example".parse().unwrap());
        for number in 0..3 * PENDING as u64 {
            for _ in 0..2 * LINES {
                trace.take(&format!("t mx impartd/smtpd[7]: {}: client=unknown[192.0.2.1]", QueueId(number)));
            }
        }
        assert_eq!((trace.pending.len(), trace.order.len()), (PENDING, PENDING));
        assert!(trace.pending.values().all(|lines| lines.len() == LINES));
    }
}
