//! Formats of other systems in a message: the text of a CPIM message (RFC 3862), the contact card of a vCard (RFC 6350).
//!
//! In: the octets of a part. Out: words for the person, not yet made safe to show. Invariants: the work is linear, what comes
//! out is bounded, and what makes no sense is `None`: then the part is there as it came.

use std::iter::Peekable;
use std::str::Chars;

use mail_parser::MessageParser;

use super::read;
use crate::address::Mailbox;

/// Lines of a header, or of a card, that are looked at.
const LINES: usize = 200;
/// Characters of one value that are kept.
const VALUE_CHARACTERS: usize = 200;
/// Cards of one part that are told of, and means of contact of one card.
const CARDS: usize = 5;
const MEANS: usize = 8;

/// Whether a media type is that of a contact card.
pub(super) fn is_card(media: &str) -> bool {
    ["text/vcard", "text/x-vcard", "text/directory"].iter().any(|card| media.eq_ignore_ascii_case(card))
}

/// Names and means of contact: `Alice Example, alice@a.test, +49 30 123`.
pub(super) fn card(octets: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(octets);
    let mut cards: Vec<Vec<String>> = Vec::new();
    for line in unfolded(&text).into_iter().take(LINES) {
        let Some((head, value)) = divided(&line) else { continue };
        let name = head.split(';').next().unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or_default().to_ascii_uppercase();
        match name.as_str() {
            "BEGIN" if value.eq_ignore_ascii_case("vcard") && cards.len() < CARDS => cards.push(Vec::new()),
            "BEGIN" => break,
            "FN" | "EMAIL" | "TEL" | "IMPP" | "URL" => {
                let Some(card) = cards.last_mut().filter(|card| card.len() < MEANS) else { continue };
                let value = unescaped(value, &[('n', ' '), ('N', ' ')]);
                let value = value.trim().trim_start_matches("tel:").trim_start_matches("mailto:");
                let value: String = value.chars().take(VALUE_CHARACTERS).collect();
                match name.as_str() {
                    _ if value.is_empty() => {}
                    "FN" => card.insert(0, value),
                    _ => card.push(value),
                }
            }
            _ => {}
        }
    }
    let told: Vec<String> = cards.into_iter().filter(|card| !card.is_empty()).map(|card| card.join(", ")).collect();
    (!told.is_empty()).then(|| format!("contact: {}", told.join("; ")))
}

/// Lines that were folded are one again (RFC 6350 §3.2).
fn unfolded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().take(4 * LINES) {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(more), Some(last)) if last.len() + more.len() <= 4 * VALUE_CHARACTERS => last.push_str(more),
            (Some(_), _) => {}
            (None, _) => lines.push(line.to_owned()),
        }
    }
    lines
}

/// The name with its parameters, and the value; a colon in a quoted parameter divides nothing.
fn divided(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let at = line.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == ':' && !quoted).then_some(at)
    })?;
    Some((&line[..at], &line[at + 1..]))
}

/// A value without its backslashes; these letters have a meaning of their own after one.
fn unescaped(value: &str, letters: &[(char, char)]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('u') if letters.iter().any(|(letter, _)| *letter == 'u') => out.push(numbered(&mut rest)),
            Some(c) => out.push(letters.iter().find(|(letter, _)| *letter == c).map_or(c, |(_, meant)| *meant)),
            None => {}
        }
    }
    out
}

/// The character whose number four hexadecimal digits give (RFC 3862 §2.3).
fn numbered(rest: &mut Peekable<Chars<'_>>) -> char {
    let mut number = 0;
    for _ in 0..4 {
        let Some(digit) = rest.peek().and_then(|c| c.to_digit(16)) else { return '\u{fffd}' };
        number = number * 16 + digit;
        rest.next();
    }
    char::from_u32(number).unwrap_or('\u{fffd}')
}

/// The text of a CPIM message, below what its header says that the person does not see elsewhere: another author than the
/// `sender`, the subject, and what it requires, of which nothing is known here.
pub(super) fn cpim(octets: &[u8], sender: &Mailbox) -> Option<String> {
    let (mut at, mut said) = (0, Vec::new());
    let mut any = false;
    for _ in 0..LINES {
        let end = octets.get(at..)?.iter().position(|octet| *octet == b'\n')? + at;
        let line = String::from_utf8_lossy(octets[at..end].strip_suffix(b"\r").unwrap_or(&octets[at..end]));
        at = end + 1;
        if line.is_empty() {
            if !any {
                return None;
            }
            let content = &octets[at..];
            let inner = MessageParser::default().parse(content)?;
            let text = read::text(&inner, content, false);
            // Text of another kind than mail has.
            let whole = inner.root_part().text_contents().filter(|_| text.is_empty());
            said.push(whole.map_or(text, |whole| whole.replace('\r', "").trim_end().to_owned()));
            return Some(said.join("\n"));
        }
        let (name, value) = line.split_once(':')?;
        any = true;
        // A value may begin with parameters: `Subject:;lang=fr beau temps`.
        let value = match value.strip_prefix(';') {
            Some(parameters) => parameters.split_once(' ').map_or("", |(_, value)| value),
            None => value,
        };
        let value: String = unescaped(value.trim(), &CPIM_ESCAPES).chars().take(VALUE_CHARACTERS).collect();
        match name.trim() {
            "From" if !names(&value, sender) => said.push(format!("From: {value}")),
            "Subject" => said.push(format!("Subject: {value}")),
            "Require" => said.push(format!("(It requires {value}, which is not known here.)")),
            _ => {}
        }
    }
    None
}

/// What follows a backslash in a header of CPIM and is not itself (RFC 3862 §2.3); a text in one line has no other line.
const CPIM_ESCAPES: [(char, char); 6] = [('b', ' '), ('t', ' '), ('n', ' '), ('r', ' '), ('f', ' '), ('u', 'u')];

/// Whether `Name <im:alice@a.test>` names this mailbox.
fn names(value: &str, mailbox: &Mailbox) -> bool {
    let uri = value.rsplit_once('<').map_or(value, |(_, uri)| uri.trim_end().trim_end_matches('>'));
    let address = uri.trim().split_once(':').map_or(uri, |(_, address)| address);
    Mailbox::parse(address.trim()).is_ok_and(|named| named.key() == mailbox.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Mailbox {
        Mailbox::parse("piglet@100akerwood.com").unwrap()
    }

    /// RFC 3862 §5.1, without the marks before its lines.
    const EXAMPLE: &str = "From: MR SANDERS <im:piglet@100akerwood.com>\r\nTo: Depressed Donkey <im:eeyore@100akerwood.com>\r\n\
        DateTime: 2000-12-13T13:40:00-08:00\r\nSubject: the weather will be fine today\r\n\
        Subject:;lang=fr beau temps prevu pour aujourd'hui\r\nNS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n\
        Require: MyFeatures.VitalMessageOption\r\nMyFeatures.VitalMessageOption: Confirmation-requested\r\n\
        MyFeatures.WackyMessageOption: Use-silly-font\r\n\r\nContent-type: text/xml; charset=utf-8\r\n\
        Content-ID: <1234567890@foo.com>\r\n\r\n<body>\r\nHere is the text of my message.\r\n</body>\r\n";

    #[test]
    fn the_example_of_the_rfc() {
        let expected = "Subject: the weather will be fine today\nSubject: beau temps prevu pour aujourd'hui\n\
            (It requires MyFeatures.VitalMessageOption, which is not known here.)\n<body>\nHere is the text of my message.\n</body>";
        assert_eq!(cpim(EXAMPLE.as_bytes(), &sender()).as_deref(), Some(expected));
        // An author who did not send it is shown.
        let other = Mailbox::parse("eeyore@100akerwood.com").unwrap();
        let text = cpim(EXAMPLE.as_bytes(), &other).unwrap();
        assert!(text.starts_with("From: MR SANDERS <im:piglet@100akerwood.com>\nSubject: "), "{text}");
        // Cut anywhere it is no surprise.
        for end in 0..EXAMPLE.len() {
            let _ = cpim(&EXAMPLE.as_bytes()[..end], &sender());
        }
        assert_eq!(cpim(b"\r\n\r\nx", &sender()), None);
        assert_eq!(cpim(b"no header\r\n\r\nx", &sender()), None);
    }

    #[test]
    fn escapes() {
        let text =
            cpim(b"Subject: caf\\u00e9 \\\\ a\\tb \\uZZ\n\nContent-Type: text/plain\n\nhi\n", &sender()).unwrap();
        assert_eq!(text, "Subject: caf\u{e9} \\ a b \u{fffd}ZZ\nhi");
    }

    #[test]
    fn cards() {
        let told = |text: &str| card(text.as_bytes());
        let alice = "BEGIN:VCARD\r\nVERSION:4.0\r\nitem1.EMAIL;TYPE=\"work:x\":alice@a.test\r\nFN:Alice\\, the\r\n  First\r\n\
            TEL;VALUE=uri:tel:+49-30-123\r\nIMPP:im:alice@a.test\r\nNOTE:nothing\r\nEND:VCARD\r\n";
        let expected = "contact: Alice, the First, alice@a.test, +49-30-123, im:alice@a.test";
        assert_eq!(told(alice).as_deref(), Some(expected));
        assert_eq!(told(&alice.repeat(20)).unwrap().matches("Alice").count(), CARDS);
        assert_eq!(told("FN:nobody\r\n"), None);
        assert_eq!(told("BEGIN:VCARD\r\nEND:VCARD\r\n"), None);
        assert!(told(&format!("BEGIN:VCARD\r\nFN:{}", "x".repeat(1 << 20))).unwrap().len() < 300);
        assert_eq!(
            told(&format!("BEGIN:VCARD\r\n{}", "EMAIL:a@b\r\n".repeat(5000))).unwrap().matches("a@b").count(),
            MEANS
        );
    }
}
