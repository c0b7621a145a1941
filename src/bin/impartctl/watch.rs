//! The commands that look on: `trace` and `top`.

use std::path::Path;
use std::time::Duration;

use impart::config::Config;
use impart::control::Call;
use impart::control::top::{self, TopError};
use impart::control::trace::{self, Subject};

use crate::{Failure, Printer, exit, queue_call};

/// What the log says of it, then what the spool has.
pub async fn trace(
    config: &Config,
    subject: &Subject,
    log: Option<&Path>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let json = printer.json;
    let show = |line: &str| {
        let line = impart::printable::plain(line, '?');
        match json {
            true => printer.text(&format!("{}\n", serde_json::json!({ "kind": "log", "line": line }))),
            false => printer.text(&format!("{line}\n")),
        }
    };
    let read = trace::read(subject, log, show);
    // What the spool has is of use without the log.
    let listed = queue_call(config, Call::List { select: subject.select(), limit: None }, printer).await;
    read.map_err(|fault| Failure::new(exit::IO, fault)).and(listed)
}

/// Until somebody leaves.
pub async fn top(config: &Config, once: bool, seconds: u64, printer: &Printer) -> Result<(), Failure> {
    let watched = top::watch(&config.control, Duration::from_secs(seconds), once, |text| printer.text(text)).await;
    watched.map_err(|error| match error {
        TopError::Client(error) => error.into(),
        TopError::Terminal(error) => Failure::new(exit::IO, error),
    })
}
