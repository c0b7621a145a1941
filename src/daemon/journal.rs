//! Log lines: one for each event. Where standard error is the journal's, each goes to journald itself, with its priority and
//! the program that says it (systemd.journal-fields(7)); elsewhere to standard error, in the form of a syslog file: the
//! local time in RFC 3339, the host, the program, the level.
//!
//! The program is `impartd`, or for the lines that Postfix has too `impartd/smtp` and so on, after the field `program` of the
//! event: by it pflogsumm and its kin know them. Invariant: an event is one line, whatever is in it. Fails: what journald
//! does not take goes to standard error.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::timestamp::Timestamp;

/// The name of the daemon in the log.
const NAME: &str = "impartd";
/// Where journald takes entries.
const JOURNALD: &str = "/run/systemd/journal/socket";

struct Line {
    journald: bool,
    host: String,
    process: u32,
}

/// What an event says: its message, then the other fields with their names.
#[derive(Default)]
struct Said {
    program: Option<String>,
    message: String,
    fields: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "program" => self.program = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }
}

impl Line {
    fn write(&self, out: &mut dyn fmt::Write, level: Level, said: &Said, now: Timestamp) -> fmt::Result {
        let Said { program, message, fields } = said;
        let part = program.as_ref().map(|program| format!("/{program}")).unwrap_or_default();
        // A line feed would begin another line, or another field of the journal's.
        let text = format!("{message}{fields}").replace(['\n', '\r'], " ");
        if self.journald {
            let priority = priority(level);
            return write!(
                out,
                "PRIORITY={priority}\nSYSLOG_IDENTIFIER={NAME}{part}\nSYSLOG_PID={}\nMESSAGE={text}\n",
                self.process
            );
        }
        let word = if level <= Level::WARN { word(level) } else { "" };
        writeln!(out, "{} {} {NAME}{part}[{}]: {word}{text}", now.rfc3339_local(), self.host, self.process)
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let now = Timestamp::from(std::time::SystemTime::now());
        self.write(&mut out, *event.metadata().level(), &said, now)
    }
}

/// The priorities of syslog.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn word(level: Level) -> &'static str {
    if level == Level::ERROR { "error: " } else { "warning: " }
}

/// A line of `program` for whoever started it, on standard error. A reader that has gone is no reason to fail.
pub fn complain(program: &str, text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{program}: {text}");
}

/// Where lines go.
#[derive(Clone)]
enum Sink {
    Journal(Arc<UnixDatagram>),
    Stderr,
}

impl io::Write for Sink {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Journal(socket) if socket.send(octets).is_ok() => Ok(octets.len()),
            _ => io::stderr().write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Sink;

    fn make_writer(&'a self) -> Sink {
        self.clone()
    }
}

/// journald's socket, if standard error is what systemd has connected with the journal ($JOURNAL_STREAM, systemd.exec(5)).
fn journald() -> Option<UnixDatagram> {
    let named = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = rustix::fs::fstat(io::stderr()).ok()?;
    if named != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
        return None;
    }
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(JOURNALD).ok()?;
    Some(socket)
}

/// Starts logging for the process, from `level` up, for our own modules; others' warnings too. A second call changes
/// nothing.
pub fn start(level: &str) {
    let filter = EnvFilter::new(format!("warn,impart={level}"));
    let sink = journald().map_or(Sink::Stderr, |socket| Sink::Journal(Arc::new(socket)));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let line = Line { journald: matches!(sink, Sink::Journal(_)), host, process: std::process::id() };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).event_format(line).with_writer(sink);
    // Fails when there is one already: the demo's and a test's stay.
    let _ = subscriber.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(journald: bool, level: Level, said: &Said) -> String {
        let line = Line { journald, host: "mx".to_owned(), process: 7 };
        let mut text = String::new();
        line.write(&mut text, level, said, Timestamp::from_millis(1_767_225_600_000)).unwrap();
        text
    }

    fn said(program: Option<&str>, message: &str, fields: &str) -> Said {
        Said { program: program.map(str::to_owned), message: message.to_owned(), fields: fields.to_owned() }
    }

    #[test]
    fn lines_of_a_file_have_the_form_of_syslog() {
        let check = |level, said: &Said, expected: &str| {
            let text = line(false, level, said);
            let (time, rest) = text.split_once(' ').unwrap();
            assert!(time.len() >= 20 && time.contains('T'), "{time}");
            assert_eq!(rest, expected);
        };
        check(
            Level::INFO,
            &said(Some("smtp"), "A1: to=<b@b.example>", ""),
            "mx impartd/smtp[7]: A1: to=<b@b.example>\n",
        );
        check(Level::INFO, &said(None, "ready", " held=1"), "mx impartd[7]: ready held=1\n");
        check(Level::ERROR, &said(None, "one\ntwo\r\n", ""), "mx impartd[7]: error: one two  \n");
    }

    #[test]
    fn what_journald_is_told_has_no_further_field() {
        let text = line(true, Level::WARN, &said(Some("smtp"), "A1: x\nPRIORITY=0", ""));
        let expected = "PRIORITY=4\nSYSLOG_IDENTIFIER=impartd/smtp\nSYSLOG_PID=7\nMESSAGE=A1: x PRIORITY=0\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_event_is_one_datagram() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut sink = Sink::Journal(Arc::new(ours));
        sink.write_all(b"MESSAGE=one\n").unwrap();
        let mut octets = [0; 64];
        let length = theirs.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"MESSAGE=one\n");
    }
}
