//! The terminal as far as a question goes: a secret is asked for without an echo.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions};

use crate::sasl::Secret;

/// Asks the person at the terminal, wherever input and output go. The terminal is as before afterwards, also after a
/// fault.
pub fn ask_secret(question: &str) -> io::Result<Secret> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|error| {
        io::Error::new(error.kind(), "there is no terminal to ask at")
    })?;
    (&terminal).write_all(question.as_bytes())?;
    let before = termios::tcgetattr(&terminal)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    let restored = termios::tcsetattr(&terminal, OptionalActions::Flush, &before);
    (&terminal).write_all(b"\n")?;
    read?;
    restored?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() { Err(io::Error::other("nothing was typed")) } else { Ok(Secret::new(line)) }
}
