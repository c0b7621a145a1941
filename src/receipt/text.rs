//! The text part of a receipt, for people.

use std::fmt::Write as _;

use super::catalogue::{Cause, Texts};
use super::{About, Facts};
use crate::envelope::Recipient;
use crate::mime::report::Action;
use crate::printable;
use crate::reply::{EnhancedCode, Reply};
use crate::timestamp::Timestamp;

/// Characters of a reason or of a line that another server said.
const LINE: usize = 500;
/// Characters of a line.
const COLUMNS: usize = 72;
/// Lines of a reply.
const LINES: usize = 20;

/// The actions in the order in which they are told, the worst first.
const ORDER: [Action; 5] = [Action::Failed, Action::Delayed, Action::Relayed, Action::Expanded, Action::Delivered];

/// The subject: the worst that is told.
pub(super) fn subject(texts: &Texts, due: &[(&Recipient, &About)]) -> &'static str {
    let worst = ORDER.into_iter().find(|action| due.iter().any(|(_, about)| about.action == *action));
    texts.of(worst.unwrap_or(Action::Delivered)).subject
}

/// The text, lines separated by `\n`.
pub(super) fn body(texts: &Texts, facts: &Facts<'_>, due: &[(&Recipient, &About)]) -> String {
    let mut out = String::with_capacity(512);
    for action in ORDER {
        let group: Vec<_> = due.iter().filter(|(_, about)| about.action == action).collect();
        let Some((_, first)) = group.first() else { continue };
        let words = texts.of(action);
        paragraph(&mut out, &words.before.replace("{time}", &time(facts.arrived)));
        for (recipient, about) in &group {
            one(&mut out, texts, recipient, about);
        }
        let after = match first.retry_until {
            Some(until) if action == Action::Delayed => texts.until.replace("{time}", &time(until)),
            _ => words.after.to_owned(),
        };
        paragraph(&mut out, &after);
    }
    let footer = texts.footer.replace("{host}", facts.reporting.as_str()).replace("{id}", &facts.id.to_string());
    paragraph(&mut out, &footer);
    wrapped(out.trim_end())
}

/// With lines of at most [`COLUMNS`] characters where words allow it, the continued ones indented as the first: so text
/// in ASCII needs no encoding.
fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split('\n') {
        let words = line.trim_start_matches(' ');
        let indent = &line[..line.len() - words.len()];
        let mut column = 0;
        for word in words.split(' ') {
            let width = word.chars().count();
            if column == 0 || column + 1 + width > COLUMNS {
                out.push_str(if column == 0 { "" } else { "\n" });
                out.push_str(indent);
                column = indent.len();
            } else {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
        out.push('\n');
    }
    out
}

fn paragraph(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str("\n\n");
}

/// A recipient, and why.
fn one(out: &mut String, texts: &Texts, recipient: &Recipient, about: &About) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "    {}", shown(recipient));
    if matches!(about.action, Action::Failed | Action::Delayed) {
        if let Some(cause) = cause(about.status) {
            let _ = writeln!(out, "        {}", texts.cause(cause));
        }
        if about.uncertain {
            let _ = writeln!(out, "        {}", texts.uncertain);
        }
        if let Some(reply) = &about.diagnostic {
            if let Some(host) = about.remote.as_deref().and_then(host) {
                let _ = writeln!(out, "        {}", texts.answered.replace("{host}", host));
            }
            for line in transcript(reply).lines() {
                let _ = writeln!(out, "            {line}");
            }
        }
        let reason = reason(&about.reason);
        let said = about.diagnostic.as_ref().is_some_and(|reply| reply.to_string().contains(about.reason.trim()));
        if !reason.is_empty() && !said {
            let _ = writeln!(out, "        {} {reason}", texts.details);
        }
    }
    out.push('\n');
}

/// The address that the sender wrote, where it is known; else that of the envelope.
fn shown(recipient: &Recipient) -> String {
    let own = recipient.address.to_string();
    match &recipient.original {
        Some(original) if !original.address.eq_ignore_ascii_case(&own) => {
            format!("{} ({own})", clean(&original.address, LINE))
        }
        _ => own,
    }
}

/// RFC 3339, UTC, whole seconds.
fn time(time: Timestamp) -> String {
    let text = time.rfc3339();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// What people are told of a status (RFC 3463 §3).
fn cause(status: EnhancedCode) -> Option<Cause> {
    Some(match (status.subject, status.detail) {
        (1, 1 | 3 | 6) => Cause::Address,
        (1, 2 | 10) | (3, 3) => Cause::Service,
        (2, 2) => Cause::Full,
        (2, 3) | (3, 4) => Cause::TooLarge,
        (4, 7) => Cause::Late,
        (4, 1..=4) => Cause::Unreachable,
        (6, _) => Cause::Form,
        (7, 4 | 5 | 10 | 11 | 30) => Cause::Insecure,
        (7, _) => Cause::Refused,
        _ => return None,
    })
}

/// A reply as it was written, a line each (RFC 3461 §9.2); without what cannot stand in a text.
pub(super) fn transcript(reply: &Reply) -> String {
    let mut octets = Vec::new();
    reply.write(&mut octets);
    let text = String::from_utf8_lossy(&octets);
    let lines: Vec<String> = text.lines().take(LINES).map(|line| clean(line, LINE)).collect();
    lines.join("\n")
}

/// A reason of ours on one line, without paths of this host.
pub(super) fn reason(text: &str) -> String {
    let text = clean(text, LINE);
    let words: Vec<&str> = text.split(' ').map(|word| if is_path(word) { "[...]" } else { word }).collect();
    words.join(" ")
}

/// `/a/b`, also in quotes or brackets.
fn is_path(word: &str) -> bool {
    let word = word.trim_start_matches(['"', '\'', '`', '(', '[', '<', '=']);
    word.strip_prefix('/')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.contains('/'))
}

/// Without characters that are obeyed instead of shown, at most `most` characters.
fn clean(text: &str, most: usize) -> String {
    let mut clean: String =
        text.trim().chars().take(most).map(|c| if printable::obeyed(c).is_some() { ' ' } else { c }).collect();
    if text.trim().chars().nth(most).is_some() {
        clean.push_str("...");
    }
    clean
}

/// The host name of `mx.b.example[192.0.2.1]:2779`; `None` where there is no name.
pub(super) fn host(relay: &str) -> Option<&str> {
    let name = relay.split(['[', ':']).next().unwrap_or_default();
    let proper =
        !name.is_empty() && name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    proper.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |relay: &str, expected: Option<&str>| assert_eq!(host(relay), expected, "{relay}");
        check("mx.b.example[192.0.2.1]:2779", Some("mx.b.example"));
        check("mx.b.example", Some("mx.b.example"));
        check("[192.0.2.1]:2779", None);
        check("/run/impart/lmtp", None);
        check("none\r\nX: y", None);
    }

    #[test]
    fn wrapping() {
        let check = |text: &str, expected: &str| assert_eq!(wrapped(text), expected);
        check("a b\n\n    c  d", "a b\n\n    c  d\n");
        check(
            &format!("  {}", ["abcdefghi"; 8].join(" ")),
            &format!("  {}\n  abcdefghi\n", ["abcdefghi"; 7].join(" ")),
        );
        check(&"x".repeat(100), &format!("{}\n", "x".repeat(100)));
        check("", "\n");
    }

    #[test]
    fn reasons() {
        assert_eq!(
            reason("cannot open /var/spool/impart: \"/etc/x\" (and/or a/b)"),
            "cannot open [...] [...] (and/or a/b)"
        );
        assert_eq!(reason(" a\r\nb\x1b\u{202e}c "), "a  b  c");
        assert_eq!(reason(&"x".repeat(600)).len(), 503);
        assert_eq!(time(Timestamp::from_millis(1_795_000_000_123)), "2026-11-18T11:06:40Z");
    }
}
