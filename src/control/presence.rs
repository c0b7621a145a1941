//! What administrators ask about presence, and the rows of the answers; as text, too.
//!
//! Documents are people's own: each answer that has one, and each change, is a line of the daemon's log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::Finding;
use super::show::{self, local, plain};
use crate::address::{Domain, Mailbox};
use crate::rules::Handling;
use crate::timestamp::Timestamp;
use crate::{limits, rules};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Who watches a presentity here: [`super::Row::Subscription`].
    Watchers,
    /// Whom somebody here watches: [`super::Row::Subscription`].
    Contacts,
    /// The document of a presentity here, or what a watcher would be shown of it: [`super::Row::Document`].
    Show,
    /// Ends a watcher's subscription; the watcher is told: [`super::Row::Changed`].
    Remove,
}

/// A question about presence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What.
    pub what: What,
    /// About whom.
    pub address: Mailbox,
    /// The watcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watcher: Option<Mailbox>,
}

/// A subscription, as one of its sides has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Who watches.
    pub watcher: String,
    /// Whether the watcher has proven who it is.
    pub proven: bool,
    /// Who is watched.
    pub presentity: String,
    /// `asked`, `pending`, `active`, `waiting` or `terminated`.
    pub state: String,
    /// Why it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when (RFC 3339, UTC), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it ends unless it is refreshed (RFC 3339, UTC).
    pub expires: String,
    /// Whether the watcher's server has the latest view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date: Option<bool>,
    /// The time of the view that is known (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// A presence document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Whose.
    pub presentity: String,
    /// Whose view; absent for the whole document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watcher: Option<String>,
    /// How the watcher's subscription would stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The document; absent where there is none to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What an administrator has chosen.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// What becomes of a subscription to somebody without rules.
    pub default: Handling,
    /// How long a subscription lasts without refresh: at least, and at most.
    pub lasts: (Duration, Duration),
    /// Between two changes that one presentity's watchers are told of.
    pub interval: Duration,
    /// Subscriptions of one presentity, and those of them that are not decided.
    pub watchers: (usize, usize),
    /// Presentities that one account watches.
    pub contacts: usize,
}

/// What holds for each domain (with messages, with presence) where somebody has no rules, and how much there may be of
/// everything.
pub fn limits(domains: &[(Domain, bool, bool)], chosen: Chosen) -> Vec<Finding> {
    let without = rules::decide(None, rules::Watcher::default(), Timestamp::default());
    let messages = if without.message == rules::Message::Allow { "are taken" } else { "are refused" };
    let of = |(domain, im, presence): &(Domain, bool, bool)| {
        let messages = if *im { messages } else { "are not offered" };
        let watchers = if *presence { chosen.default.word() } else { "presence is not offered" };
        Finding::ok(format!("domain {domain}"), format!("without rules: messages {messages}; watchers: {watchers}"))
    };
    let size = |octets: usize| show::size(octets as u64);
    let most = [
        ("subscriptions of one presentity", chosen.watchers.0.to_string()),
        ("of them not decided", chosen.watchers.1.to_string()),
        ("of them not authenticated", limits::UNPROVEN_WATCHERS.to_string()),
        ("presentities that one account watches", chosen.contacts.to_string()),
        ("a subscription without refresh", format!("{:?} to {:?}", chosen.lasts.0, chosen.lasts.1)),
        ("between two changes that are told", format!("{:?}", chosen.interval)),
        ("a presence document", size(limits::PIDF_OCTETS)),
        ("tuples, persons and devices of a document", limits::PIDF_COMPONENTS.to_string()),
        ("rules of one person", size(limits::RULES_OCTETS)),
        ("rules in all", show::size(limits::RULES_IN_ALL)),
    ];
    let most = most.into_iter().map(|(what, most)| Finding::ok("limit", format!("{what}: {most}")));
    domains.iter().map(of).chain(most).collect()
}

/// `WATCHER -> PRESENTITY active, since …, until …`, in columns.
pub(super) fn subscription(row: &Subscription) -> String {
    let mut watcher = plain(&row.watcher);
    if !row.proven {
        watcher.push_str(" (not proven)");
    }
    let reason = row.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
    let state = format!("{}{reason}", plain(&row.state));
    let mut line = format!("{watcher:<28} -> {:<28} {state:<10}", plain(&row.presentity));
    if let Some(since) = &row.since {
        line.push_str(&format!(" since {}", local(since)));
    }
    line.push_str(&format!(" until {}", local(&row.expires)));
    if let Some(seen) = &row.seen {
        line.push_str(&format!(", view of {}", local(seen)));
    }
    if row.up_to_date == Some(false) {
        line.push_str(", behind");
    }
    line.push('\n');
    line
}

/// The document, behind a line about the view.
pub(super) fn document(row: &Document) -> String {
    let head = match (&row.watcher, &row.state) {
        (Some(watcher), Some(state)) => {
            format!("{} sees of {}: {}\n", plain(watcher), plain(&row.presentity), plain(state))
        }
        _ => String::new(),
    };
    let text: String = match &row.text {
        Some(text) => text.lines().map(|line| format!("{}\n", plain(line))).collect(),
        None if head.is_empty() => format!("{}: nothing is known\n", plain(&row.presentity)),
        None => String::new(),
    };
    head + &text
}

#[cfg(test)]
mod tests {
    use super::super::{Call, Row, protocol::Request};
    use super::*;

    #[test]
    fn questions() {
        let line = r#"{"v":1,"do":"presence","what":"show","address":"alice@a.example","watcher":"bob@b.example"}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        let Call::Presence(ask) = &request.call else { panic!("{request:?}") };
        assert_eq!((ask.what, ask.watcher.is_some()), (What::Show, true));
        let again = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&again).unwrap(), request);
        assert!(serde_json::from_str::<Request>(r#"{"v":1,"do":"presence","what":"watchers"}"#).is_err());
    }

    #[test]
    fn what_holds_is_said() {
        let seconds = Duration::from_secs;
        let chosen = Chosen {
            default: Handling::Confirm,
            lasts: (seconds(60), seconds(3600)),
            interval: seconds(1),
            watchers: (20_000, 1000),
            contacts: 2000,
        };
        let domains = [("a.example", true, true), ("b.example", false, false)];
        let domains = domains.map(|(name, im, presence)| (Domain::parse(name).unwrap(), im, presence));
        let lines: Vec<String> = limits(&domains, chosen).into_iter().map(|one| one.text).collect();
        assert_eq!(lines[0], "without rules: messages are taken; watchers: confirm");
        assert_eq!(lines[1], "without rules: messages are not offered; watchers: presence is not offered");
        assert!(lines.contains(&"presentities that one account watches: 2000".to_owned()), "{lines:?}");
    }

    #[test]
    fn rows() {
        let row = Subscription {
            watcher: "bob@b.example".to_owned(),
            proven: false,
            presentity: "alice@a.example".to_owned(),
            state: "terminated".to_owned(),
            reason: Some("rejected".to_owned()),
            since: None,
            expires: "x\x1b".to_owned(),
            up_to_date: Some(false),
            seen: None,
        };
        let text = show::row(&Row::Subscription(row));
        assert!(text.starts_with("bob@b.example (not proven)   -> alice@a.example "), "{text}");
        assert!(text.ends_with("terminated (rejected) until x?, behind\n"), "{text}");
        let mut row = Document {
            presentity: "alice@a.example".to_owned(),
            watcher: None,
            state: None,
            text: Some("<a>\r\n\x1b</a>".to_owned()),
        };
        assert_eq!(document(&row), "<a>\n?</a>\n");
        row.text = None;
        assert_eq!(document(&row), "alice@a.example: nothing is known\n");
        (row.watcher, row.state) = (Some("bob@b.example".to_owned()), Some("pending".to_owned()));
        assert_eq!(document(&row), "bob@b.example sees of alice@a.example: pending\n");
    }
}
