//! The terminal as far as a question goes: a secret is asked for without an echo.

use std::io;

use crate::sasl::Secret;

/// Asks the person at the terminal, wherever input and output go.
pub fn ask_secret(question: &str) -> io::Result<Secret> {
    let line = rpassword::prompt_password(question)
        .map_err(|error| io::Error::new(error.kind(), format!("there is no terminal to ask at ({error})")))?;
    if line.is_empty() { Err(io::Error::other("nothing was typed")) } else { Ok(Secret::new(line)) }
}
