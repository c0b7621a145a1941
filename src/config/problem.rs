//! What is wrong with a configuration file, and where.
//!
//! In: the text and spans in it. Out: lines that an administrator can act on, in the order of the file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Mistakes that are shown; the rest are counted.
const SHOWN: usize = 50;
/// Characters of a line that are shown, around the mistake.
const EXCERPT: usize = 200;
/// Characters of a text about a mistake: it may quote the file.
const WORDS: usize = 1000;

/// A mistake by its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Octets of the text that it is about.
    pub span: Range<usize>,
    /// The fault.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// The nearest name, or what to do.
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Problem { span, message: message.into(), expected: None, hint: None }
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A mistake, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text; of a long line at most 200 characters around the mistake.
    pub source: String,
    /// Characters of the line before `source`.
    pub before: usize,
    /// Characters that the mistake is about; at least 1, within the line.
    pub length: usize,
    /// The fault.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// The nearest name, or what to do.
    pub hint: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read.
    #[error("{}: {error}; name the configuration file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file has mistakes.
    #[error("{}", show(path, mistakes))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// At least one, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

/// Places the problems in the text.
pub(super) fn locate(text: &str, mut problems: Vec<Problem>) -> Vec<Mistake> {
    problems.sort_by_key(|problem| problem.span.start);
    problems.dedup();
    problems.into_iter().map(|problem| place(text, problem)).collect()
}

/// Line and column, from 1, of an octet of the text.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The nearest character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn place(text: &str, problem: Problem) -> Mistake {
    let Problem { span, message, expected, hint } = problem;
    let (line, column) = position(text, span.start);
    let whole = text.split('\n').nth(line - 1).unwrap_or_default().trim_end_matches('\r');
    let characters = whole.chars().count();
    let before = (column - 1).saturating_sub(EXCERPT / 2).min(characters.saturating_sub(EXCERPT));
    let source: String = whole.chars().skip(before).take(EXCERPT).collect();
    let spanned = text[floor(text, span.start)..floor(text, span.end.max(span.start))].chars();
    let room = source.chars().count().saturating_sub(column - 1 - before);
    let length = spanned.take_while(|c| *c != '\n').count().min(room).max(1);
    let (message, expected, hint) = (cut(message), expected.map(cut), hint.map(cut));
    Mistake { line, column, source, before, length, message, expected, hint }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(WORDS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn show(path: &Path, mistakes: &[Mistake]) -> String {
    let mut out = String::new();
    for mistake in mistakes.iter().take(SHOWN) {
        out.push_str(&format!("{}:{mistake}\n", path.display()));
    }
    match mistakes.len() {
        1 => out.push_str("1 mistake"),
        n if n > SHOWN => out.push_str(&format!("{n} mistakes, the first {SHOWN} shown")),
        n => out.push_str(&format!("{n} mistakes")),
    }
    out
}

impl fmt::Display for Mistake {
    /// Several lines: place and fault, the text with a caret, what was expected, the nearest name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = number.len().max(4);
        let indent: String = self.source.chars().take(self.column - 1 - self.before).map(blank).collect();
        writeln!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        writeln!(f, "{number:>gutter$} | {}", self.source)?;
        write!(f, "{:>gutter$} | {indent}{}", "", "^".repeat(self.length))?;
        for (word, text) in [("expected", &self.expected), ("help", &self.hint)] {
            if let Some(text) = text {
                write!(f, "\n{:>gutter$} = {word}: {text}", "")?;
            }
        }
        Ok(())
    }
}

/// A tab stays one, so that the caret stands below its character.
fn blank(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

/// The name most like `given`, if it is like it at all.
pub(super) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |name: &str| strsim::jaro_winkler(&given.to_lowercase(), &name.to_lowercase());
    let scored = names.into_iter().map(|name| (score(name), name)).filter(|(score, _)| *score >= 0.75);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let text = "a\nbé x\r\nlast";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 6), (2, 4));
        assert_eq!(position(text, 999), (3, 5));
    }

    #[test]
    fn carets_stay_in_the_line() {
        let mistake = |text: &str, span| locate(text, vec![Problem::new(span, "m")]).remove(0);
        assert_eq!(mistake("key = [\n1,\n2]\n", 6..13).length, 1);
        assert_eq!(mistake("", 0..0).length, 1);
        assert_eq!(mistake("\tx = 1", 1..2).to_string(), "1:2: m\n   1 | \tx = 1\n     | \t^");
    }

    #[test]
    fn long_lines_are_cut_around_the_mistake() {
        let text = format!("{}é{}", "a".repeat(1_000_000), "b".repeat(1_000_000));
        let check = |span, before, source: String, length| {
            let mistake = locate(&text, vec![Problem::new(span, text.clone())]).remove(0);
            assert_eq!((mistake.before, &mistake.source, mistake.length), (before, &source, length));
            assert!(mistake.to_string().len() < 2000);
        };
        check(0..2, 0, "a".repeat(200), 2);
        check(1_000_000..1_000_002, 999_900, format!("{}é{}", "a".repeat(100), "b".repeat(99)), 1);
        check(0..text.len(), 0, "a".repeat(200), 200);
        check(text.len()..text.len(), 1_999_801, "b".repeat(200), 1);
    }

    #[test]
    fn nearest_names() {
        let names = ["retention", "retry", "connections"];
        assert_eq!(nearest("retenton", names), Some("retention"));
        assert_eq!(nearest("Connection", names), Some("connections"));
        assert_eq!(nearest("zzz", names), None);
    }
}
