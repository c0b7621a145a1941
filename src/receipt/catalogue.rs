//! The sentences of receipts, in the languages in which they can be told.
//!
//! `{time}`, `{host}` and `{id}` stand for what is filled in. A language is added by one more table here.

mod languages;

use crate::mime::report::Action;

/// Why a message was not delivered, as far as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No such address.
    Address,
    /// The domain does not offer the service.
    Service,
    /// No connection, or it broke.
    Unreachable,
    /// Time is over.
    Late,
    /// No room.
    Full,
    /// Too large.
    TooLarge,
    /// No connection that was secure enough.
    Insecure,
    /// Refused by policy.
    Refused,
    /// A form or content that cannot be taken.
    Form,
}

/// What is said of one action.
#[derive(Debug)]
pub(super) struct Words {
    pub subject: &'static str,
    /// Before the list of recipients; has `{time}`, when the message arrived.
    pub before: &'static str,
    /// After the list.
    pub after: &'static str,
}

/// The sentences of one language.
#[derive(Debug)]
pub(super) struct Texts {
    /// Its tag (RFC 5646).
    pub tag: &'static str,
    pub failed: Words,
    pub delayed: Words,
    pub delivered: Words,
    pub relayed: Words,
    pub expanded: Words,
    /// Instead of what is said after a list of delayed ones, when the time is known; has `{time}`.
    pub until: &'static str,
    /// In the order of [`Cause`].
    pub causes: [&'static str; 9],
    /// It may have arrived although no reply came.
    pub uncertain: &'static str,
    /// Before a reply; has `{host}`.
    pub answered: &'static str,
    /// Before a reason in English.
    pub details: &'static str,
    /// The last paragraph; has `{host}` and `{id}`.
    pub footer: &'static str,
}

impl Texts {
    pub fn of(&self, action: Action) -> &Words {
        match action {
            Action::Failed => &self.failed,
            Action::Delayed => &self.delayed,
            Action::Delivered => &self.delivered,
            Action::Relayed => &self.relayed,
            Action::Expanded => &self.expanded,
        }
    }

    pub fn cause(&self, cause: Cause) -> &'static str {
        self.causes[cause as usize]
    }
}

/// The sentences of a language, by its tag; those in English where it is not known, or not one of ours.
pub(super) fn texts(tag: Option<&str>) -> &'static Texts {
    let language = tag.unwrap_or_default().split('-').next().unwrap_or_default();
    let found = languages::ALL.iter().find(|texts| texts.tag.eq_ignore_ascii_case(language));
    found.copied().unwrap_or(&languages::ENGLISH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_by_tag() {
        let check = |tag: Option<&str>, expected: &str| assert_eq!(texts(tag).tag, expected, "{tag:?}");
        check(None, "en");
        check(Some("de-CH"), "de");
        check(Some("ZH-Hans-CN"), "zh");
        check(Some("tlh"), "en");
    }

    #[test]
    fn every_place_is_filled() {
        let count = |text: &str, place: &str| {
            assert_eq!((text.matches(place).count(), text.matches('{').count()), (1, 1), "{text}")
        };
        for texts in languages::ALL {
            for action in [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded] {
                let words = texts.of(action);
                count(words.before, "{time}");
                assert!(!words.subject.is_empty() && !words.subject.contains('{') && !words.after.contains('{'));
            }
            count(texts.until, "{time}");
            count(texts.answered, "{host}");
            assert!(texts.footer.contains("{host}") && texts.footer.contains("{id}"));
            assert!(texts.causes.iter().all(|cause| !cause.is_empty() && !cause.contains('{')));
        }
    }
}
