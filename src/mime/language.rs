//! The language in which its author wants to be answered (RFC 3282).

use super::header::{Fields, unfold};

/// The characters of a language tag that is taken up (RFC 5646 §4.4.1).
const LONGEST: usize = 35;

/// The first choice of the entity's Accept-Language, else the first of its Content-Language: a language tag.
pub fn language(entity: &[u8]) -> Option<String> {
    let (mut accept, mut content) = (None, None);
    for field in Fields::new(entity).flatten() {
        if field.is("accept-language") {
            accept = accepted(&unfold(field.value));
        } else if field.is("content-language") {
            content = written(&unfold(field.value));
        }
    }
    accept.or(content)
}

/// The first choice of an Accept-Language field: the greatest `q`, the earliest of equals.
pub(super) fn accepted(value: &str) -> Option<String> {
    let mut best: Option<(u16, &str)> = None;
    for choice in value.split(',').take(64) {
        let mut parts = choice.split(';');
        let Some(tag) = parts.next().and_then(tag) else { continue };
        let weight =
            parts.find_map(|p| p.trim().strip_prefix("q=").or(p.trim().strip_prefix("Q="))).map_or(1000, weight);
        if weight > best.map_or(0, |(most, _)| most) {
            best = Some((weight, tag));
        }
    }
    best.map(|(_, tag)| tag.to_owned())
}

/// The first language of a Content-Language field.
pub(super) fn written(value: &str) -> Option<String> {
    value.split(',').take(64).find_map(tag).map(str::to_owned)
}

fn tag(text: &str) -> Option<&str> {
    // Comments may stand behind (RFC 3282 §2).
    let text = text.split('(').next().unwrap_or_default().trim();
    let proper =
        text.split('-').all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    (proper && text.len() <= LONGEST).then_some(text)
}

/// In thousandths; a malformed weight is none.
fn weight(text: &str) -> u16 {
    let text = text.trim();
    match text.parse::<f32>() {
        Ok(value) if text.len() <= 5 && (0.0..=1.0).contains(&value) => (value * 1000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let check = |value: &str, expected: Option<&str>| assert_eq!(accepted(value).as_deref(), expected, "{value}");
        check("de", Some("de"));
        check("en;q=0.5, de-CH;q=0.9, fr;q=0.9", Some("de-CH"));
        check("*, nl;q=0.1", Some("nl"));
        check("de;q=0, fr;q=0.001", Some("fr"));
        check("de;q=x, fr", Some("fr"));
        check("de;q=0", None);
        check("*", None);
        check("", None);
        check("d\u{2028}e, <script>", None);
        check("abcdefghi, fr", Some("fr"));
        assert_eq!(written(" de (Deutsch), en").as_deref(), Some("de"));
        assert_eq!(written("").as_deref(), None);
    }
}
