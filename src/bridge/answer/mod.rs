//! An answer by mail, reduced to what the person wrote.
//!
//! In: a mail. Out: its text without what was quoted above and below, the lines that say who wrote it, signatures, and what
//! programs add. Answers between quoted lines keep the lines that they answer. A mail that passes on another keeps it.
//! Invariants: whoever wrote something has not sent an empty message: where nothing would be left, the whole text is
//! returned; the work is linear in the text, of which [`TEXT_OCTETS`] and [`LINES`] are looked at. It never fails.
//! RFC 3676, RFC 2046 §5.1.4.

mod html;
mod plain;
mod reduce;
mod words;

use mail_parser::{Message, MessagePart, MimeHeaders, PartType};

use plain::Flow;

/// Octets of a text, or of HTML, that are looked at; what is longer stays whole in the original.
pub const TEXT_OCTETS: usize = 512 * 1024;
/// Lines that are looked at.
const LINES: usize = 10_000;

/// What is known of a line beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    Plain,
    /// A rule between what is new and what is old.
    Divider,
    /// It says who wrote what follows.
    Attribution,
    Signature,
    /// From here on it is the mail that is answered.
    Cut,
    /// From here on it is a mail that is passed on.
    Forward,
}

/// A line of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// How often it is quoted.
    quote: u8,
    text: String,
    mark: Mark,
}

impl Line {
    fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// What the person wrote, lines separated by `\n`; empty only where the mail has no text.
pub fn answer(mail: &Message<'_>) -> String {
    let lines = lines(mail);
    if words::is_forward_subject(mail.subject().unwrap_or_default()) {
        return reduce::whole(&lines);
    }
    reduce::reduce(&lines)
}

/// The whole text, with what was quoted.
pub fn whole(mail: &Message<'_>) -> String {
    reduce::whole(&lines(mail))
}

/// The lines of all parts that are to be read; of alternatives the plain one, unless it says nothing.
fn lines(mail: &Message<'_>) -> Vec<Line> {
    let of = |ids: &[u32]| -> Vec<Line> {
        let parts = ids.iter().filter_map(|id| mail.parts.get(*id as usize));
        parts.flat_map(lines_of).take(LINES).collect()
    };
    let plain = of(&mail.text_body);
    if plain.iter().all(Line::is_blank) { of(&mail.html_body) } else { plain }
}

fn lines_of(part: &MessagePart<'_>) -> Vec<Line> {
    match &part.body {
        PartType::Text(text) => {
            let is = |name: &str, wanted: &str| {
                let value = part.content_type().and_then(|kind| kind.attribute(name));
                value.is_some_and(|value| value.eq_ignore_ascii_case(wanted))
            };
            plain::lines(head(text), Flow { flowed: is("format", "flowed"), delete_space: is("delsp", "yes") })
        }
        PartType::Html(html) => html::lines(head(html)),
        _ => Vec::new(),
    }
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_OCTETS)]
}

#[cfg(test)]
mod tests;
