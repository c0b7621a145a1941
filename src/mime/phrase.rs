//! Text of people in a field.
//!
//! In: text in one line. Out: the value of a field in lines of seven bits. Invariant: a value of several lines goes on in
//! each, and no character is divided. RFC 2047 §2, RFC 5322 §2.2.3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Octets of text in one encoded word: with what is around them, less than the 75 of RFC 2047 §2.
const WORD_OCTETS: usize = 42;
/// Octets of a line of a field that should not be exceeded (RFC 5322 §2.1.1).
const LINE_OCTETS: usize = 78;

/// Text as it is, or in encoded words (RFC 2047 §2); `before` are the octets before it in its line.
pub fn phrase(text: &str, before: usize) -> String {
    if text.is_ascii() && !text.contains("=?") {
        return folded(text, before);
    }
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        let room = if words.len() == 1 { WORD_OCTETS.saturating_sub(before / 2) } else { WORD_OCTETS };
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > room) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let encoded: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64.encode(word))).collect();
    encoded.join("\r\n ")
}

/// Text in lines, cut at spaces (RFC 5322 §2.2.3).
fn folded(text: &str, before: usize) -> String {
    let (mut out, mut column) = (String::with_capacity(text.len() + 8), before);
    for word in text.split_inclusive(' ') {
        if column + word.len() > LINE_OCTETS && column > 1 && out.ends_with(' ') {
            out.pop();
            out.push_str("\r\n ");
            column = 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}
