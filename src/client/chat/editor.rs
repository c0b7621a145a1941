//! The line in which a person writes: characters as people see them, wide ones too, and several lines when pasted.
//!
//! In: keys. Out: a text and where the cursor is in it. Pure. Invariant: the cursor stands between characters.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::client::clean;

/// Characters of one message that can be written here.
const CHARACTERS: usize = 20_000;
/// Texts that can be called back.
const REMEMBERED: usize = 100;

/// The line.
#[derive(Clone, Debug, Default)]
pub struct Editor {
    text: Vec<char>,
    cursor: usize,
    /// What was sent before, the latest last.
    before: Vec<String>,
    /// Which of it is shown.
    at: Option<usize>,
}

impl Editor {
    /// The text.
    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts text at the cursor; what would command a terminal is made harmless.
    pub fn insert(&mut self, text: &str) {
        for c in clean::text(text).chars() {
            if self.text.len() < CHARACTERS {
                self.text.insert(self.cursor, c);
                self.cursor += 1;
            }
        }
    }

    /// Takes the text out.
    pub fn take(&mut self) -> String {
        let text = self.text();
        if !text.trim().is_empty() {
            self.before.push(text.clone());
            if self.before.len() > REMEMBERED {
                self.before.remove(0);
            }
        }
        self.text.clear();
        (self.cursor, self.at) = (0, None);
        text
    }

    /// Replaces the text, the cursor behind it.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.cursor = 0;
        self.insert(text);
    }

    /// What was sent before, or after, the one shown.
    pub fn recall(&mut self, back: bool) {
        let last = self.before.len();
        let at = self.at.unwrap_or(last);
        let next = if back { at.checked_sub(1) } else { Some(at + 1) };
        let Some(next) = next.filter(|next| *next <= last) else { return };
        let text = self.before.get(next).cloned().unwrap_or_default();
        self.set(&text);
        self.at = (next < last).then_some(next);
    }

    /// The character before the cursor goes; what joins to it goes with it.
    pub fn backspace(&mut self) {
        while self.cursor > 0 {
            self.cursor -= 1;
            let gone = self.text.remove(self.cursor);
            if !joins(gone) && !self.cursor.checked_sub(1).is_some_and(|at| self.text[at] == JOINER) {
                break;
            }
        }
    }

    /// The character behind the cursor goes.
    pub fn delete(&mut self) {
        if self.cursor < self.text.len() {
            let from = self.cursor;
            self.right();
            self.text.drain(from..self.cursor);
            self.cursor = from;
        }
    }

    /// The word before the cursor goes.
    pub fn delete_word(&mut self) {
        while self.cursor > 0 && self.text[self.cursor - 1].is_whitespace() {
            self.backspace();
        }
        while self.cursor > 0 && !self.text[self.cursor - 1].is_whitespace() {
            self.backspace();
        }
    }

    /// All before the cursor goes.
    pub fn delete_start(&mut self) {
        self.text.drain(..self.cursor);
        self.cursor = 0;
    }

    /// One character to the left.
    pub fn left(&mut self) {
        while self.cursor > 0 {
            self.cursor -= 1;
            let behind_joiner = self.cursor > 0 && self.text[self.cursor - 1] == JOINER;
            if !joins(self.text[self.cursor]) && !behind_joiner {
                break;
            }
        }
    }

    /// One character to the right.
    pub fn right(&mut self) {
        while self.cursor < self.text.len() {
            self.cursor += 1;
            let next = self.text.get(self.cursor);
            if !next.is_some_and(|next| joins(*next)) && self.text[self.cursor - 1] != JOINER {
                break;
            }
        }
    }

    /// To the beginning.
    pub fn home(&mut self) {
        self.cursor = 0;
    }

    /// To the end.
    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// The part that fits into so many columns, with the cursor in it: the text, ends of lines as `⏎`, and the cursor's
    /// column.
    pub fn window(&self, columns: usize) -> (String, usize) {
        let shown = |c: &char| if *c == '\n' { '⏎' } else { *c };
        let before: String = self.text[..self.cursor].iter().map(shown).collect();
        let after: String = self.text[self.cursor..].iter().map(shown).collect();
        let room = columns.saturating_sub(1).max(1);
        let mut start = before.as_str();
        while start.width() > room {
            let mut chars = start.chars();
            chars.next();
            start = chars.as_str();
        }
        let mut window = start.to_owned();
        let column = window.width();
        let mut used = column;
        for c in after.chars() {
            used += c.width().unwrap_or(0);
            if used > columns {
                break;
            }
            window.push(c);
        }
        (whole(&window).to_owned(), column)
    }
}

/// The text without a joiner at its end: a terminal would join whatever it is told to draw next, wherever that stands.
pub(super) fn whole(text: &str) -> &str {
    text.trim_end_matches(JOINER)
}

/// Makes one character of two.
const JOINER: char = '\u{200d}';

/// Whether a character belongs to the one before it: marks, selectors, joiners, tones of skin.
fn joins(c: char) -> bool {
    c == JOINER || (c != '\n' && c.width() == Some(0)) || ('\u{1f3fb}'..='\u{1f3ff}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert(text);
        editor
    }

    #[test]
    fn no_joiner_is_drawn_before_what_it_joins() {
        assert_eq!(of("a👩\u{200d}").window(20), ("a👩".to_owned(), 3));
        assert_eq!(of("a👩\u{200d}🚀").window(20).0, "a👩\u{200d}🚀");
    }

    #[test]
    fn characters_are_what_people_see() {
        let mut editor = of("a👩\u{200d}🚀e\u{301}写");
        for expected in ["a👩\u{200d}🚀e\u{301}", "a👩\u{200d}🚀", "a", "", ""] {
            editor.backspace();
            assert_eq!(editor.text(), expected);
        }
        let mut editor = of("a👩\u{200d}🚀b");
        editor.left();
        editor.left();
        editor.insert("x");
        editor.delete();
        assert_eq!(editor.text(), "axb");
    }

    #[test]
    fn words_and_lines() {
        let mut editor = of("one two  ");
        editor.delete_word();
        assert_eq!(editor.text(), "one ");
        editor.home();
        editor.right();
        editor.delete_start();
        assert_eq!(editor.text(), "ne ");
        editor.end();
        editor.insert("x\r\ny\x1b");
        assert_eq!(editor.text(), "ne x\ny\u{241b}");
        assert_eq!(editor.window(80).0, "ne x⏎y\u{241b}");
    }

    #[test]
    fn what_was_sent_comes_back() {
        let mut editor = of("one");
        assert_eq!(editor.take(), "one");
        editor.insert("two");
        editor.take();
        for (back, expected) in [(true, "two"), (true, "one"), (true, "one"), (false, "two"), (false, ""), (false, "")]
        {
            editor.recall(back);
            assert_eq!(editor.text(), expected);
        }
    }

    #[test]
    fn the_window_follows_the_cursor() {
        let mut editor = of("写写写写写写");
        assert_eq!(editor.window(7), ("写写写".to_owned(), 6));
        editor.home();
        assert_eq!(editor.window(7), ("写写写".to_owned(), 0));
        assert_eq!(of("").window(0), (String::new(), 0));
    }
}
