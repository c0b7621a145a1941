//! Changes of a document of rules that a person asks for in a word: block, allow, let read.
//!
//! In: the document, or none. Out: the new one, and what is to be known of it. Invariants: what is not touched stays octet for
//! octet; whoever is not named may afterwards what was allowed before, also where there was no document. Since rules only
//! permit, nobody is blocked by a rule: whoever is to be blocked is taken out of those that permit (RFC 4745 §4).

mod watching;

use std::fmt;
use std::ops::Range;

pub use watching::{let_publish, let_watch, let_write_signed};

use super::{
    COMMON, Condition, Excluded, IMPART, Kind, Message, Name, PRESENCE, Party, Read, Rule, RulesError, Ruleset, read,
};
use crate::address::{AddressError, Domain, Mailbox};

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// One.
    Mailbox(Mailbox),
    /// Everybody of a domain.
    Domain(Domain),
}

impl std::str::FromStr for Who {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Who, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => Domain::parse(domain).map(Who::Domain),
            None if text.contains('@') => Mailbox::parse(text).map(Who::Mailbox),
            None => Domain::parse(text).map(Who::Domain),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Mailbox(mailbox) => mailbox.fmt(f),
            Who::Domain(domain) => domain.fmt(f),
        }
    }
}

/// A document after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The document; `None`: there is none, as before.
    pub text: Option<String>,
    /// What is to be known.
    pub remarks: Vec<String>,
}

/// Takes no message from them any more, and shows them nothing: out of every rule that matches them.
pub fn block(document: Option<&str>, who: &Who) -> Result<Edited, RulesError> {
    let text = document.map_or_else(open, str::to_owned);
    let (ruleset, mut remarks) = read(&text)?;
    let mut patches = Vec::new();
    for rule in ruleset.rules.iter().filter(|rule| rule.may_match(who)) {
        let identities = rule.conditions.iter().filter_map(Condition::parties);
        let before = patches.len();
        for parties in identities {
            take_out(&text, rule, parties, &mut patches, |party| party.touches(who), who);
        }
        if patches.len() == before {
            remarks.push(format!(
                "rule {} has no <identity> and matches everybody: it still permits {who} what it permits; \
                 give it <identity><many/></identity>, and block again",
                rule.id
            ));
        }
    }
    finish(patched(text, patches), remarks)
}

/// Takes messages from them again.
pub fn allow(document: Option<&str>, who: &Who) -> Result<Edited, RulesError> {
    let Some(text) = document else {
        let remarks = vec![format!("there are no rules: messages are taken from {who} as from everybody")];
        return Ok(Edited { text: None, remarks });
    };
    let (ruleset, _) = read(text)?;
    let mut patches = Vec::new();
    // An exception of a rule that lets read is left: more would be permitted than was asked for.
    for rule in ruleset.rules.iter().filter(|rule| rule.permitted.read == Read::No) {
        for party in rule.conditions.iter().filter_map(Condition::parties).flatten() {
            let Kind::Many { except, .. } = &party.kind else { continue };
            let those = except.iter().filter(|one| one.who.is(who));
            patches.extend(those.map(|one| (with_space_before(text, &one.place), String::new())));
        }
    }
    let mut text = patched(text.to_owned(), patches);
    let (ruleset, remarks) = read(&text)?;
    if !ruleset.surely_allows(who) {
        text = appended(text, &ruleset, who, "<i:message>allow</i:message>", "");
    }
    finish(text, remarks)
}

/// Lets somebody read the inbox so, or no more. What the other may send stays as it was.
pub fn let_read(document: Option<&str>, who: &Mailbox, how: Read) -> Result<Edited, RulesError> {
    if document.is_none() && how == Read::No {
        return Ok(Edited { text: None, remarks: vec!["there are no rules: only its owner reads it".to_owned()] });
    }
    let text = document.map_or_else(open, str::to_owned);
    let who = &Who::Mailbox(who.clone());
    let (ruleset, _) = read(&text)?;
    let allowed = ruleset.surely_allows(who);
    let mut patches = Vec::new();
    for rule in ruleset.rules.iter().filter(|rule| rule.permitted.read > Read::No) {
        for parties in rule.conditions.iter().filter_map(Condition::parties) {
            let named = |party: &Party| matches!(party.kind, Kind::One(_)) && party.touches(who);
            take_out(&text, rule, parties, &mut patches, named, who);
        }
    }
    let mut text = patched(text, patches);
    let (ruleset, mut remarks) = read(&text)?;
    for rule in ruleset.rules.iter().filter(|rule| rule.permitted.read > how && rule.may_match(who)) {
        remarks.push(format!("rule {} lets {who} read more; it is not about {who} alone, and stays", rule.id));
    }
    let mut actions = match how {
        Read::No => String::new(),
        Read::Copy => "<i:read>copy</i:read>".to_owned(),
        Read::Take => "<i:read>take</i:read>".to_owned(),
    };
    if allowed && !ruleset.surely_allows(who) {
        actions.push_str("<i:message>allow</i:message>");
    }
    if !actions.is_empty() {
        text = appended(text, &ruleset, who, &actions, "");
    }
    finish(text, remarks)
}

/// The document that says what holds without any: everybody may send; who watches is asked about (RFC 5025 §3.2.1).
fn open() -> String {
    let actions = "<actions><pr:sub-handling>confirm</pr:sub-handling><i:message>allow</i:message></actions>";
    let rule = |id: &str, condition: &str| {
        format!("  <rule id=\"{id}\">\n    <conditions>\n{condition}    </conditions>\n    {actions}\n  </rule>\n")
    };
    let everybody = "      <identity>\n        <many/>\n      </identity>\n";
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ruleset xmlns=\"{COMMON}\" xmlns:pr=\"{PRESENCE}\" xmlns:i=\"{IMPART}\">\n{}{}</ruleset>\n",
        rule("everybody", everybody),
        rule("anonymous", "      <i:anonymous/>\n"),
    )
}

fn finish(text: String, mut remarks: Vec<String>) -> Result<Edited, RulesError> {
    // What was written is read once more: a mistake here would block everybody.
    let (_, said) = read(&text)?;
    remarks.extend(said);
    remarks.dedup();
    Ok(Edited { text: Some(text), remarks })
}

type Patch = (Range<usize>, String);

/// Out of the parties that are wanted; a rule that nobody is left in goes.
fn take_out(
    text: &str,
    rule: &Rule,
    parties: &[Party],
    patches: &mut Vec<Patch>,
    wanted: impl Fn(&Party) -> bool,
    who: &Who,
) {
    let leaves = |party: &&Party| wanted(party) && !party.can_except(who);
    if !parties.is_empty() && parties.iter().filter(leaves).count() == parties.len() {
        patches.push((with_space_before(text, &rule.place), String::new()));
        return;
    }
    for party in parties.iter().filter(|party| wanted(party)) {
        patches.push(match party.can_except(who) {
            true => except(text, &party.place, who),
            false => (with_space_before(text, &party.place), String::new()),
        });
    }
}

/// `<except …/>` as the last child of an element, in the prefix that the element has.
fn except(text: &str, place: &Range<usize>, who: &Who) -> Patch {
    let element = &text[place.clone()];
    let name = element[1..].split(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).next().unwrap_or_default();
    let prefix = name.rsplit_once(':').map_or(String::new(), |(prefix, _)| format!("{prefix}:"));
    let child = match who {
        Who::Mailbox(mailbox) => format!("<{prefix}except id=\"{}\"/>", uri(mailbox)),
        Who::Domain(domain) => format!("<{prefix}except domain=\"{domain}\"/>"),
    };
    append_to(text, place, &child)
}

/// Puts a child at the end of an element, on a line of its own if the element stands on one.
fn append_to(text: &str, place: &Range<usize>, child: &str) -> Patch {
    let element = &text[place.clone()];
    let before = text[..place.start].rsplit('\n').next().unwrap_or_default();
    let indent = before.chars().all(|c| c == ' ' || c == '\t').then(|| format!("\n{before}"));
    let lead = indent.as_ref().map_or(String::new(), |indent| format!("{indent}  "));
    let tail = indent.unwrap_or_default();
    if element.ends_with("/>") {
        let name = element[1..].split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        return (place.end - 2..place.end, format!(">{lead}{child}{tail}</{name}>"));
    }
    let close = place.start + element.rfind("</").unwrap_or(element.len());
    let at = text[..close].trim_end_matches([' ', '\t', '\n', '\r']).len();
    (at..close, format!("{lead}{child}{tail}"))
}

fn with_space_before(text: &str, place: &Range<usize>) -> Range<usize> {
    let before = text[..place.start].trim_end_matches([' ', '\t']);
    let line = before.strip_suffix('\n').map(|rest| rest.strip_suffix('\r').unwrap_or(rest));
    line.map_or(place.start, str::len)..place.end
}

fn patched(mut text: String, mut patches: Vec<Patch>) -> String {
    patches.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
    // What stands in an element that goes as a whole goes with it.
    let mut end = 0;
    patches.retain(|(place, _)| {
        let apart = place.start >= end;
        end = end.max(place.end);
        apart
    });
    for (place, new) in patches.into_iter().rev() {
        text.replace_range(place, &new);
    }
    text
}

/// With a rule more, for them alone: its actions, and its transformations where it has some.
fn appended(text: String, ruleset: &Ruleset, who: &Who, actions: &str, shown: &str) -> String {
    appended_if(text, ruleset, who, "", actions, shown)
}

/// The same, under a further condition.
fn appended_if(text: String, ruleset: &Ruleset, who: &Who, condition: &str, actions: &str, shown: &str) -> String {
    let free = |id: &String| ruleset.rules.iter().all(|rule| rule.id != *id);
    let id = (1..=ruleset.rules.len() + 1).map(|number| format!("rule-{number}")).find(free).unwrap_or_default();
    let party = match who {
        Who::Mailbox(mailbox) => format!("<one id=\"{}\"/>", uri(mailbox)),
        Who::Domain(domain) => format!("<many domain=\"{domain}\"/>"),
    };
    let rule = format!(
        "<rule xmlns=\"{COMMON}\" xmlns:i=\"{IMPART}\" id=\"{id}\">\n    \
         <conditions>\n      <identity>\n        {party}\n      </identity>{condition}\n    </conditions>\n    \
         <actions>{actions}</actions>{}\n  </rule>",
        if shown.is_empty() { String::new() } else { format!("\n    {shown}") }
    );
    with_rule(text, &rule)
}

fn with_rule(text: String, rule: &str) -> String {
    let Ok(document) = roxmltree::Document::parse(&text) else { return text };
    let patch = append_to(&text, &document.root_element().range(), rule);
    patched(text.clone(), vec![patch])
}

fn uri(mailbox: &Mailbox) -> String {
    crate::address::uri::write("im", mailbox)
}

impl Condition {
    fn parties(&self) -> Option<&Vec<Party>> {
        match self {
            Condition::Identity(parties) => Some(parties),
            _ => None,
        }
    }
}

impl Rule {
    /// Whether it matches them, or one of them, at some time and under some circumstances.
    fn may_match(&self, who: &Who) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Identity(parties) => parties.iter().any(|party| party.touches(who)),
            Condition::Anonymous => false,
            Condition::Validity(_) | Condition::Sphere(_) | Condition::Signed(_) | Condition::Never => true,
        })
    }
}

impl Ruleset {
    /// Whether messages are taken from them at any time.
    fn surely_allows(&self, who: &Who) -> bool {
        self.surely(who, |permitted| permitted.message == Message::Allow)
    }
}

impl Party {
    /// Whether it is them, or one of them.
    fn touches(&self, who: &Who) -> bool {
        let wanted = match who {
            Who::Mailbox(mailbox) => return self.is(&Name::of(mailbox)),
            Who::Domain(domain) => domain,
        };
        match &self.kind {
            Kind::One(Some(key)) => key.rsplit_once('@').is_some_and(|(_, domain)| domain == wanted.as_str()),
            Kind::Many { domain: Some(domain), except } => {
                domain.as_ref() == Some(wanted) && !except.iter().any(|one| one.who.is(who))
            }
            Kind::Many { domain: None, except } => !except.iter().any(|one| one.who.is(who)),
            _ => false,
        }
    }

    /// Whether it is all of them.
    fn covers(&self, who: &Who) -> bool {
        self.touches(who) && (matches!(who, Who::Mailbox(_)) || matches!(self.kind, Kind::Many { .. }))
    }

    /// Whether they can be taken out of it by an exception; else it is about nobody else.
    fn can_except(&self, who: &Who) -> bool {
        match &self.kind {
            Kind::Many { domain, .. } => domain.is_none() || matches!(who, Who::Mailbox(_)),
            _ => false,
        }
    }
}

impl Excluded {
    fn is(&self, who: &Who) -> bool {
        match (self, who) {
            (Excluded::One(Some(key)), Who::Mailbox(mailbox)) => *key == mailbox.key(),
            (Excluded::Domain(Some(domain)), Who::Domain(wanted)) => domain == wanted,
            _ => false,
        }
    }
}
