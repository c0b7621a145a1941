//! What the administrator sees of an answer.

use impart::control::{Level, Row, show};

/// Prints rows as text or as JSON. A reader that has gone ends the program quietly.
#[derive(Default)]
pub struct Printer {
    /// One object of JSON a line.
    pub json: bool,
    /// Columns of the queue have names, and a sum.
    pub heading: bool,
    /// Messages are shown with everything.
    pub detailed: bool,
    messages: u64,
    octets: u64,
    /// The worst finding so far.
    pub worst: Option<Level>,
}

impl Printer {
    /// Nothing is printed yet.
    pub fn new(json: bool) -> Printer {
        Printer { json, ..Printer::default() }
    }

    /// As it is.
    pub fn text(&self, text: &str) {
        use std::io::Write as _;
        if std::io::stdout().write_all(text.as_bytes()).is_err() {
            std::process::exit(0);
        }
    }

    /// A row, as text or as JSON.
    pub fn row(&mut self, row: &Row) {
        match row {
            Row::Message(message) => {
                self.messages += 1;
                self.octets += message.size;
            }
            Row::Finding(finding) => self.worst = self.worst.max(Some(finding.level)),
            _ => {}
        }
        if self.json {
            return self.text(&format!("{}\n", serde_json::to_string(row).unwrap_or_default()));
        }
        if self.heading && self.messages == 1 {
            self.text(&format!("{}\n", show::QUEUE_HEADING));
        }
        match row {
            Row::Message(message) if self.detailed => self.text(&show::detail(message)),
            other => self.text(&show::row(other)),
        }
    }

    /// The sum, when the rows are over.
    pub fn total(&self) {
        if self.heading && !self.json {
            let text = match self.messages {
                0 => "No messages.".to_owned(),
                count => format!("{count} messages, {}", show::size(self.octets)),
            };
            self.text(&format!("{text}\n"));
        }
    }
}
