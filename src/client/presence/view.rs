//! What a person sees of others' presence, and in which words: one line, one mark, one JSON object. Pure.
//!
//! In: what notifications say. Out: [`View`]s and [`Watcher`]s, words for them. Invariant: no text of others is in the words
//! without [`clean`]. RFC 3863 §4.1, RFC 4480 §3.2, RFC 3858 §4.

use std::fmt;

use serde_json::{Value, json};

use crate::address::Mailbox;
use crate::client::clean;
use crate::client::mark::{Mark, Proof};

/// Characters of a note that are shown.
const NOTE_CHARACTERS: usize = 200;
/// Activities that are shown.
const ACTIVITIES: usize = 8;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The request is on its way, or nothing was asked for.
    Unknown,
    /// The other has not decided.
    Pending,
    /// Changes are told.
    Active,
    /// It has ended, or was refused.
    Terminated,
}

impl Standing {
    /// As in JSON.
    pub fn keyword(self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Pending => "pending",
            Standing::Active => "active",
            Standing::Terminated => "terminated",
        }
    }
}

/// How somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether messages are welcome now; `None` where nothing is said of it.
    pub open: Option<bool>,
    /// What the person does: `away`, `busy`, `meeting`, …
    pub activities: Vec<String>,
    /// What the person says of it.
    pub note: Option<String>,
    /// Other ways to reach the person, with what is said of them.
    pub contacts: Vec<(String, Option<bool>)>,
}

impl Shown {
    /// `away, open`; the first word is the one that counts.
    pub fn words(&self) -> String {
        let mut words: Vec<String> = self.activities.iter().take(ACTIVITIES).map(|it| clean::line(it)).collect();
        match self.open {
            Some(true) => words.push("open".to_owned()),
            Some(false) => words.push("closed".to_owned()),
            None if words.is_empty() => words.push("nothing known".to_owned()),
            None => {}
        }
        words.join(", ")
    }

    /// The note, safe and short.
    pub fn note(&self) -> Option<String> {
        let note = self.note.as_deref().map(clean::line)?;
        let mut short: String = note.chars().take(NOTE_CHARACTERS).collect();
        if short.len() < note.len() {
            short.push('…');
        }
        Some(short).filter(|note| !note.trim().is_empty())
    }
}

/// What is known of somebody's presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Who.
    pub who: Mailbox,
    /// The subscription.
    pub standing: Standing,
    /// Why it ended, as the other side says.
    pub reason: Option<String>,
    /// When the view was made, in milliseconds as the other side counts; a newer one takes the place of an older.
    pub seq: u64,
    /// How; `None` where nothing may be shown, or nothing is known any more.
    pub shown: Option<Shown>,
    /// Who has signed that.
    pub signature: Mark,
}

impl View {
    /// In a few words: `away, open: lunch`, `waits to be confirmed`.
    pub fn words(&self) -> String {
        let shown = self.shown.as_ref();
        match (self.standing, shown) {
            (Standing::Active | Standing::Unknown, Some(shown)) => match shown.note() {
                Some(note) => format!("{}: {note}", shown.words()),
                None => shown.words(),
            },
            (Standing::Active, None) => "nothing is known now".to_owned(),
            (Standing::Unknown, None) => "asked; no answer yet".to_owned(),
            (Standing::Pending, _) => "waits to be confirmed".to_owned(),
            (Standing::Terminated, _) => format!("not shown: {}", ended(self.reason.as_deref())),
        }
    }

    /// One character for lists: `+` open, `-` closed, `~` does something else, `?` waits, `x` is not shown.
    pub fn mark(&self) -> char {
        match (self.standing, &self.shown) {
            (Standing::Terminated, _) => 'x',
            (Standing::Pending, _) | (_, None) => '?',
            (_, Some(shown)) => match shown.open {
                Some(false) => '-',
                _ if !shown.activities.is_empty() => '~',
                Some(true) => '+',
                None => '?',
            },
        }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let shown = self.shown.as_ref();
        let word = |open: bool| if open { "open" } else { "closed" };
        let contacts = |shown: &Shown| -> Value {
            let one = |(uri, open): &(String, Option<bool>)| json!({ "contact": uri, "basic": open.map(word) });
            shown.contacts.iter().map(one).collect()
        };
        json!({
            "event": "presence", "who": self.who, "state": self.standing.keyword(), "reason": self.reason,
            "basic": shown.and_then(|shown| shown.open).map(word),
            "activities": shown.map(|shown| shown.activities.clone()).unwrap_or_default(),
            "note": shown.and_then(|shown| shown.note.clone()),
            "contacts": shown.map(contacts).unwrap_or_default(), "seq": self.seq,
            "signature": self.signature.proof, "encrypted": self.signature.encrypted,
        })
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", clean::line(&self.who.to_string()), self.words())?;
        match self.signature.proof {
            // Few domains sign: that one does not is no news.
            Proof::Unsigned if !self.signature.encrypted => Ok(()),
            _ => write!(f, " [{}]", self.signature.words()),
        }
    }
}

/// Why a subscription ended (RFC 6665 §4.1.3), in words with what can be done.
pub fn ended(reason: Option<&str>) -> String {
    match reason {
        Some("rejected") => "they do not show it to you".to_owned(),
        Some("noresource") => "there is no presence at that address".to_owned(),
        Some("timeout") => "the request has run out; watch again".to_owned(),
        Some("giveup") => "nobody has decided about the request; watch again".to_owned(),
        Some("probation") => "the server asks to try again later".to_owned(),
        Some("deactivated") => "the server has ended it; watch again".to_owned(),
        Some(other) => clean::line(other),
        None => "it has ended".to_owned(),
    }
}

/// Somebody who watches, or asks to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watcher {
    /// The subscription's name in the list; a later partial list is about it.
    pub id: String,
    /// Who; `None`: somebody who has not proven an address.
    pub who: Option<Mailbox>,
    /// `pending`, `active`, `waiting`, `terminated` (RFC 3857 §4.7.1).
    pub status: String,
    /// What happened last (RFC 3857 §4.7.1).
    pub event: String,
    /// How it is known who that is: `user` (a signature), `domain`, `none`.
    pub proof: String,
}

impl Watcher {
    /// Whether the person is asked for a decision.
    pub fn asks(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "waiting")
    }

    /// The address, in words.
    pub fn name(&self) -> String {
        match &self.who {
            Some(who) => clean::line(&who.to_string()),
            None => "somebody without an address".to_owned(),
        }
    }

    /// In a few words.
    pub fn words(&self) -> String {
        match self.status.as_str() {
            "pending" | "waiting" | "active" if self.who.is_some() && self.proof == "none" => {
                format!("{} (nobody has proven who that is)", Watcher { proof: String::new(), ..self.clone() }.words())
            }
            "pending" => "asks to see your presence".to_owned(),
            "waiting" => "has asked to see your presence, and is not waiting now".to_owned(),
            "active" => "watches".to_owned(),
            "terminated" => "watches no more".to_owned(),
            other => clean::line(other),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "event": "watcher", "who": self.who, "status": self.status, "because": self.event, "proof": self.proof,
        })
    }
}

impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.words())
    }
}

/// What a person is asked about a request, with the commands that decide it; `lead` is what they begin with.
pub fn question(watcher: &Watcher, lead: &str) -> String {
    let who = watcher.name();
    format!("{who} {}; {lead}allow {who}, {lead}polite-block {who} or {lead}block {who}", watcher.words())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(standing: Standing, shown: Option<Shown>) -> View {
        let who = Mailbox::parse("bob@b.test").unwrap();
        View { who, standing, reason: None, seq: 1, shown, signature: Mark::default() }
    }

    fn shown(open: Option<bool>, activities: &[&str], note: Option<&str>) -> Option<Shown> {
        let activities = activities.iter().map(|it| (*it).to_owned()).collect();
        Some(Shown { open, activities, note: note.map(str::to_owned), contacts: Vec::new() })
    }

    #[test]
    fn words_and_marks() {
        let check =
            |view: View, words: &str, mark: char| assert_eq!((view.words().as_str(), view.mark()), (words, mark));
        let active = |shown| view(Standing::Active, shown);
        check(active(shown(Some(true), &[], None)), "open", '+');
        check(active(shown(Some(false), &[], Some("on holiday"))), "closed: on holiday", '-');
        check(active(shown(Some(true), &["away"], Some("lunch"))), "away, open: lunch", '~');
        check(active(shown(Some(false), &["away"], None)), "away, closed", '-');
        check(active(shown(None, &[], None)), "nothing known", '?');
        check(active(None), "nothing is known now", '?');
        check(view(Standing::Pending, None), "waits to be confirmed", '?');
        check(view(Standing::Unknown, None), "asked; no answer yet", '?');
        let refused = View { reason: Some("rejected".to_owned()), ..view(Standing::Terminated, None) };
        check(refused, "not shown: they do not show it to you", 'x');
    }

    #[test]
    fn nothing_in_a_view_commands_the_terminal() {
        let view = view(Standing::Active, shown(Some(true), &["\x1b[2J"], Some("a\nb\u{202e}c\x07")));
        assert_eq!(view.to_string(), "bob@b.test: \u{241b}[2J, open: a b\u{fffd}c\u{2407}");
        let long = Shown { note: Some("x".repeat(1000)), ..Shown::default() };
        assert_eq!(long.note().unwrap().chars().count(), NOTE_CHARACTERS + 1);
        let odd = Watcher { status: "\x1b[2J".into(), ..Watcher::default() };
        assert_eq!(odd.to_string(), "somebody without an address \u{241b}[2J");
    }

    #[test]
    fn requests_are_questions() {
        let who = Mailbox::parse("carol@c.test").ok();
        let one = |status: &str| Watcher { who: who.clone(), status: status.into(), ..Watcher::default() };
        assert!(one("pending").asks() && one("waiting").asks() && !one("active").asks());
        let asked = question(&one("pending"), "/");
        assert!(asked.starts_with("carol@c.test asks to see your presence; /allow carol@c.test"), "{asked}");
        let unproven = Watcher { proof: "none".to_owned(), ..one("active") };
        assert_eq!(unproven.to_string(), "carol@c.test watches (nobody has proven who that is)");
    }
}
