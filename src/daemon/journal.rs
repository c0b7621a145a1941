//! Log lines: one for each event, on standard error. Under systemd they carry a priority for journald and no time of their
//! own (sd-daemon(3)); elsewhere the local time in RFC 3339 and the level.

use std::fmt;
use std::io::Write as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::timestamp::Timestamp;

struct Line {
    journald: bool,
    process: u32,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        if self.journald {
            write!(out, "<{}>", priority(level))?;
        } else {
            let now = Timestamp::from(std::time::SystemTime::now());
            write!(out, "{} impartd[{}]: ", now.rfc3339_local(), self.process)?;
            if level <= Level::WARN {
                write!(out, "{}: ", word(level))?;
            }
        }
        context.format_fields(out.by_ref(), event)?;
        writeln!(out)
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
    if level == Level::ERROR { "error" } else { "warning" }
}

/// A line of `program` for whoever started it, on standard error. A reader that has gone is no reason to fail.
pub fn complain(program: &str, text: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}

/// Starts logging for the process, from `level` up, for our own modules; others' warnings too. A second call changes
/// nothing.
pub fn start(level: &str) {
    let filter = EnvFilter::new(format!("warn,impart={level}"));
    let line = Line { journald: std::env::var_os("JOURNAL_STREAM").is_some(), process: std::process::id() };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).event_format(line).with_writer(std::io::stderr);
    // Fails when there is one already: the demo's and a test's stay.
    let _ = subscriber.try_init();
}
