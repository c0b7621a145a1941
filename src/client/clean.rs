//! Text of others made safe to show: what could move a cursor, colour a screen, turn a line round or name a path.
//!
//! In: any text. Out: text of printable characters, where a character that commands is replaced by its picture or by
//! U+FFFD. Invariant: nothing that a terminal or a bidirectional layout obeys passes.

use crate::address::Mailbox;
use crate::printable;

/// Characters of a file's name that are kept.
const NAME_CHARACTERS: usize = 80;
/// Octets of a file's name that are kept: what file systems take, with room for a number.
const NAME_OCTETS: usize = 200;

/// A text of several lines. Tabulators become spaces, ends of lines are `\n`.
pub fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => clean.push('\n'),
            '\t' => clean.push_str("    "),
            c => clean.push(shown(c)),
        }
    }
    clean
}

/// A text in one line.
pub fn line(text: &str) -> String {
    self::text(text).replace('\n', " ")
}

/// An address in one line, its domain in the letters that people read. Where those are not Latin the form of DNS is there
/// too: letters of several scripts look the same.
pub fn address(mailbox: &Mailbox) -> String {
    let written = line(&mailbox.to_string());
    let domain = mailbox.domain().as_str();
    let read = mailbox.domain().to_unicode();
    let Some(local) = written.strip_suffix(domain).filter(|_| read != domain) else { return written };
    let read_line = line(&read);
    match read.chars().all(is_latin) {
        true => format!("{local}{read_line}"),
        false => format!("{local}{read_line} ({domain})"),
    }
}

/// Letters that are told from others at sight, by whoever reads Latin.
fn is_latin(c: char) -> bool {
    c.is_ascii() || matches!(c, '\u{c0}'..='\u{17f}' if c.is_alphabetic())
}

fn shown(c: char) -> char {
    match c {
        // The picture of the control character.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        c if printable::obeyed(c).is_some() => '\u{fffd}',
        c => c,
    }
}

/// The name of an attachment as a name of a file in a directory: no separator, no leading dot, nothing that commands.
pub fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean = String::new();
    for c in line(last).trim().trim_start_matches('.').chars().take(NAME_CHARACTERS) {
        let c =
            if matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|' | '\u{fffd}') || c.is_control() { '_' } else { c };
        if clean.len() + c.len_utf8() > NAME_OCTETS {
            break;
        }
        clean.push(c);
    }
    let clean = clean.trim().to_owned();
    if clean.is_empty() { "attachment".to_owned() } else { clean }
}

/// Octets for people: `512 B`, `1.4 KiB`, `3.0 MiB`.
pub fn size(octets: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", octets / unit, octets % unit * 10 / unit);
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{} KiB", tenths(1024)),
        _ => format!("{} MiB", tenths(1_048_576)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(text("a\x1b[31mb\x07\r\nc\rd"), "a\u{241b}[31mb\u{2407}\nc\nd");
        assert_eq!(text("\u{9b}31m \u{202e}evil\u{2066} x\u{feff}"), "\u{fffd}31m \u{fffd}evil\u{fffd} x\u{fffd}");
        assert_eq!(text("👩\u{200d}🚀 \u{e01}\u{e33}"), "👩\u{200d}🚀 \u{e01}\u{e33}");
        assert_eq!(line("a\tb\nc"), "a    b c");
    }

    #[test]
    fn domains_are_shown_in_their_letters() {
        for (address, expected) in [
            ("bob@b.test", "bob@b.test"),
            ("bob@xn--bcher-kva.test", "bob@b\u{fc}cher.test"),
            ("bob@xn--80ak6aa92e.test", "bob@\u{430}\u{440}\u{440}\u{4cf}\u{435}.test (xn--80ak6aa92e.test)"),
            ("\"a b\"@xn--bcher-kva.test", "\"a b\"@b\u{fc}cher.test"),
        ] {
            assert_eq!(super::address(&Mailbox::parse(address).unwrap()), expected);
        }
        assert!(!super::address(&Mailbox::parse("a\u{202e}b@b.test").unwrap()).contains('\u{202e}'));
    }

    #[test]
    fn names_of_files_stay_in_their_directory() {
        for (name, expected) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\a.txt", "a.txt"),
            ("..", "attachment"),
            (".bashrc", "bashrc"),
            ("a\x1b]0;x\x07.txt", "a\u{241b}]0;x\u{2407}.txt"),
            ("gpj.\u{202e}exe", "gpj._exe"),
            ("", "attachment"),
            ("a/", "attachment"),
            ("写真 1.png", "写真 1.png"),
        ] {
            assert_eq!(file_name(name), expected, "{name:?}");
        }
        assert!(file_name(&"é".repeat(500)).len() <= NAME_OCTETS);
    }

    #[test]
    fn sizes() {
        assert_eq!([size(5), size(1434), size(3 * 1_048_576)], ["5 B", "1.4 KiB", "3.0 MiB"]);
    }
}
