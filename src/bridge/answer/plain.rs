//! Plain text as lines with their depth of quotation.
//!
//! In: a text, and what its Content-Type says of flowing. Out: [`Line`]s, at most [`LINES`]. RFC 3676 §4.

use super::{LINES, Line, Mark};

/// How a text flows (RFC 3676 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// `format=flowed`.
    pub flowed: bool,
    /// `delsp=yes`.
    pub delete_space: bool,
}

/// The lines of `text`.
pub(super) fn lines(text: &str, flow: Flow) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut open = false;
    for raw in text.split('\n') {
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        let (quote, mut rest) = depth(raw, flow.flowed);
        if flow.flowed {
            // Space-stuffing.
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        } else if quote > 0 {
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        }
        let soft = flow.flowed && rest.ends_with(' ') && rest != "-- ";
        let kept = if soft && flow.delete_space { &rest[..rest.len() - 1] } else { rest };
        let full = lines.len() >= LINES;
        match lines.last_mut() {
            Some(last) if open && last.quote == quote && rest != "-- " => last.text.push_str(kept),
            _ if full => break,
            _ => lines.push(Line { quote, text: kept.to_owned(), mark: Mark::Plain }),
        }
        open = soft;
    }
    lines
}

/// How often a line is quoted. Spaces between the marks are for people; flowed text has none (RFC 3676 §4.5).
fn depth(line: &str, flowed: bool) -> (u8, &str) {
    let (mut quote, mut rest) = (0u8, line);
    loop {
        let next = if flowed || quote == 0 { rest } else { rest.trim_start_matches(' ') };
        match next.strip_prefix('>') {
            Some(after) if quote < u8::MAX => {
                quote += 1;
                rest = after;
            }
            _ => return (quote, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowing() {
        let check = |text: &str, delete_space: bool, expected: &[(u8, &str)]| {
            let got = lines(text, Flow { flowed: true, delete_space });
            let got: Vec<(u8, &str)> = got.iter().map(|line| (line.quote, line.text.as_str())).collect();
            assert_eq!(got, expected, "{text}");
        };
        check("one \r\ntwo\r\nthree", false, &[(0, "one two"), (0, "three")]);
        check("on \r\ne", true, &[(0, "one")]);
        check(">> a \r\n>> b\r\n> c", false, &[(2, "a b"), (1, "c")]);
        check("a \r\n> b", false, &[(0, "a "), (1, "b")]);
        check(" > not quoted\r\n from", false, &[(0, "> not quoted"), (0, "from")]);
        check("a \r\n-- \r\nme", false, &[(0, "a "), (0, "-- "), (0, "me")]);
    }

    #[test]
    fn depths() {
        assert_eq!(depth("> > a", false), (2, " a"));
        assert_eq!(depth("> > a", true), (1, " > a"));
        assert_eq!(depth(">>> a", false), (3, " a"));
        assert_eq!(depth("a > b", false), (0, "a > b"));
    }
}
