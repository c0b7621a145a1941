//! SASLprep (RFC 4013): two ways to type one password are one password.

use std::borrow::Cow;

use super::SaslError;

/// Octets of a name, a password or a token that are looked at; the line of an answer bounds them before (RFC 4954 §4).
const LONGEST: usize = 8192;

/// The prepared form. What it makes empty is refused (RFC 4616 §2).
pub fn prepare(text: &str) -> Result<Cow<'_, str>, SaslError> {
    if text.len() > LONGEST {
        return Err(SaslError::Prohibited);
    }
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => Ok(prepared),
        _ => Err(SaslError::Prohibited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_4013() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(prepare(text).ok().as_deref(), expected, "{text:?}");
        };
        check("I\u{ad}X", Some("IX"));
        check("user", Some("user"));
        check("USER", Some("USER"));
        check("\u{aa}", Some("a"));
        check("\u{2168}", Some("IX"));
        check("\u{7}", None);
        check("\u{627}1", None);
        check("", None);
        check("a\u{a0}b", Some("a b"));
    }
}
