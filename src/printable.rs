//! Characters that are not shown but obeyed, in one table: by a terminal, or by the layout of text in two directions.
//!
//! In: a character of somebody else. Out: what it would do. Each reader replaces it in its own way: a receipt by a space, the
//! administrator's tool by `?`, the person's client by a picture.

/// What a character does where it should be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obeyed {
    /// It is a control character (C0, DEL, C1); ends of lines and tabulators are among them.
    Control,
    /// It ends a line or a paragraph without being a control character.
    LineEnd,
    /// It turns the direction of the text around it (Unicode Standard Annex 9).
    Direction,
    /// It has no shape of its own; the joiners that scripts and emoji need are not among these.
    Invisible,
}

/// What the character does; `None` for one that is shown.
pub fn obeyed(c: char) -> Option<Obeyed> {
    match c {
        c if c.is_control() => Some(Obeyed::Control),
        '\u{2028}' | '\u{2029}' => Some(Obeyed::LineEnd),
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Some(Obeyed::Direction)
        }
        '\u{200b}'
        | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some(Obeyed::Invisible),
        _ => None,
    }
}

/// The text with `instead` for each such character.
pub fn plain(text: &str, instead: char) -> String {
    text.chars().map(|c| if obeyed(c).is_some() { instead } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed() {
        let check = |c: char, expected: Option<Obeyed>| assert_eq!(obeyed(c), expected, "{c:?}");
        for c in ['\0', '\n', '\t', '\x1b', '\x7f', '\u{85}', '\u{9b}'] {
            check(c, Some(Obeyed::Control));
        }
        check('\u{2028}', Some(Obeyed::LineEnd));
        for c in ['\u{61c}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            check(c, Some(Obeyed::Direction));
        }
        for c in ['\u{200b}', '\u{feff}', '\u{e0041}'] {
            check(c, Some(Obeyed::Invisible));
        }
        // The joiners, a mark that combines, what is wide.
        for c in ['a', 'é', '\u{200c}', '\u{200d}', '\u{301}', '写', '👩'] {
            check(c, None);
        }
    }

    #[test]
    fn plain_texts() {
        assert_eq!(plain("a\x1b[2J\u{202e}b\u{2028}", '?'), "a?[2J?b?");
    }
}
