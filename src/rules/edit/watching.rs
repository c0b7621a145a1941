//! Who may watch, who may publish, and who may write with a signature only: changes of what rules permit to one, or to a domain.
//!
//! To permit more is a rule more. To permit less is to lower what every rule that matches permits: one that is about them
//! alone is changed where it stands; of one that is about others too a copy is made for them, with all of its other
//! conditions, and they are taken out of the first.

use std::ops::Range;

use roxmltree::Node;

use super::{
    COMMON, Condition, Edited, IMPART, Kind, Message, PRESENCE, Party, Patch, Rule, RulesError, Ruleset, Who, appended,
    appended_if, except, finish, open, patched, read, uri, with_space_before,
};
use crate::address::Mailbox;
use crate::rules::{Decision, Handling, Signed};
use crate::xml;

/// What shows everything (RFC 5025 §3.3).
const EVERYTHING: &str = "<transformations xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\">\
    <pr:provide-services><pr:all-services/></pr:provide-services>\
    <pr:provide-persons><pr:all-persons/></pr:provide-persons>\
    <pr:provide-devices><pr:all-devices/></pr:provide-devices>\
    <pr:provide-all-attributes/></transformations>";

/// What becomes of their subscriptions from now on, and of nothing else: `allow` shows them everything, `polite-block` a
/// presentity that is out of contact, `confirm` asks again, `block` refuses. Of a domain, who is excepted by name from a rule
/// for all of it gets no more than before.
pub fn let_watch(document: Option<&str>, who: &Who, how: Handling) -> Result<Edited, RulesError> {
    if document.is_none() && how == Handling::Confirm {
        let remarks = vec![format!("there are no rules: {who} is asked about, as everybody is")];
        return Ok(Edited { text: None, remarks });
    }
    let text = document.map_or_else(open, str::to_owned);
    let too_much = |rule: &Rule| rule.permitted.fetch() > how;
    let lower = |action: Node<'_, '_>| match action.tag_name().name() {
        "sub-handling" if xml::is(action, PRESENCE, "sub-handling") => {
            let least = Handling::ALL.into_iter().find(|handling| handling.word() == xml::text(action))?;
            (least > how).then(|| how.word().to_owned())
        }
        "fetch-only" if xml::is(action, IMPART, "fetch-only") => (how < Handling::Allow).then(|| "false".to_owned()),
        _ => None,
    };
    let (text, remarks) = lowered(text, who, too_much, lower)?;
    let (ruleset, _) = read(&text)?;
    let enough = |permitted: &Decision| match how {
        Handling::Allow => permitted.subscription == how && permitted.provide.is_everything(),
        _ => permitted.subscription >= how,
    };
    let text = match ruleset.surely(who, enough) || how == Handling::Block {
        true => text,
        false => {
            let action = format!("<sub-handling xmlns=\"{PRESENCE}\">{}</sub-handling>", how.word());
            let shown = if how == Handling::Allow { EVERYTHING } else { "" };
            appended(text, &ruleset, who, &action, shown)
        }
    };
    finish(text, remarks)
}

/// Lets somebody publish for the presentity, or no more.
pub fn let_publish(document: Option<&str>, who: &Mailbox, publish: bool) -> Result<Edited, RulesError> {
    if document.is_none() && !publish {
        return Ok(Edited { text: None, remarks: vec!["there are no rules: only its owner publishes".to_owned()] });
    }
    let who = &Who::Mailbox(who.clone());
    let text = document.map_or_else(open, str::to_owned);
    if publish {
        let (ruleset, remarks) = read(&text)?;
        let text = match ruleset.surely(who, |permitted| permitted.publish) {
            true => text,
            false => appended(text, &ruleset, who, "<i:publish>true</i:publish>", ""),
        };
        return finish(text, remarks);
    }
    let lower = |action: Node<'_, '_>| xml::is(action, IMPART, "publish").then(|| "false".to_owned());
    let (text, remarks) = lowered(text, who, |rule| rule.permitted.publish, lower)?;
    finish(text, remarks)
}

/// Takes their messages from now on only if they have signed them, and leaves all else as it was. Who could not write before
/// can with a signature.
pub fn let_write_signed(document: Option<&str>, who: &Who) -> Result<Edited, RulesError> {
    let text = document.map_or_else(open, str::to_owned);
    let insists = |rule: &Rule| rule.conditions.contains(&Condition::Signed(Signed::Author));
    let lower = |action: Node<'_, '_>| xml::is(action, IMPART, "message").then(|| "block".to_owned());
    let too_much = |rule: &Rule| rule.permitted.message == Message::Allow && !insists(rule);
    let (text, remarks) = lowered(text, who, too_much, lower)?;
    let (ruleset, _) = read(&text)?;
    let covers = |condition: &Condition| match condition {
        Condition::Identity(parties) => parties.iter().any(|party| party.covers(who)),
        condition => *condition == Condition::Signed(Signed::Author),
    };
    let is_taken = |rule: &Rule| rule.permitted.message == Message::Allow && rule.conditions.iter().all(covers);
    let text = match ruleset.rules.iter().any(is_taken) {
        true => text,
        false => appended_if(text, &ruleset, who, "\n      <i:signed/>", "<i:message>allow</i:message>", ""),
    };
    finish(text, remarks)
}

/// Lowers what the rules that match permit to them; `lower` gives an action's new word, where it has one.
fn lowered(
    text: String,
    who: &Who,
    too_much: impl Fn(&Rule) -> bool,
    lower: impl Fn(Node<'_, '_>) -> Option<String>,
) -> Result<(String, Vec<String>), RulesError> {
    let (ruleset, mut remarks) = read(&text)?;
    let Ok(document) = roxmltree::Document::parse(&text) else { return Ok((text, remarks)) };
    let root = document.root_element();
    let (mut patches, mut copies) = (Vec::new(), Vec::new());
    for rule in ruleset.rules.iter().filter(|rule| too_much(rule) && rule.may_match(who)) {
        let Some(node) = root.children().find(|node| node.range() == rule.place) else { continue };
        let mut identities = rule.conditions.iter().filter_map(Condition::parties);
        let (Some(parties), None) = (identities.next(), identities.next()) else {
            remarks.push(format!(
                "rule {} has not exactly one <identity>: it still permits {who} what it permits; \
                 give it <identity><many/></identity>, and try again",
                rule.id
            ));
            continue;
        };
        let actions = words(node, &lower);
        if parties.iter().all(|party| party.is_within(who)) {
            patches.extend(actions);
            continue;
        }
        copies.extend(copy(node, rule, parties, who, actions));
        for party in parties.iter().filter(|party| party.touches(who)) {
            patches.push(match party.is_within(who) {
                true => (with_space_before(&text, &party.place), String::new()),
                false => except(&text, &party.place, who),
            });
        }
    }
    let mut ids: Vec<String> = ruleset.rules.iter().map(|rule| rule.id.clone()).collect();
    let mut text = patched(text.clone(), patches);
    for one in copies {
        let id = (1..).map(|number| format!("rule-{number}")).find(|id| !ids.contains(id)).unwrap_or_default();
        text = super::with_rule(text, &one.replacen(PLACEHOLDER, &id, 1));
        ids.push(id);
    }
    Ok((text, remarks))
}

/// Stands for the copy's identifier until it has one: no character of it can be in a document.
const PLACEHOLDER: &str = "\u{0}";

/// The new words of the actions of a rule.
fn words(rule: Node<'_, '_>, lower: impl Fn(Node<'_, '_>) -> Option<String>) -> Vec<Patch> {
    let actions = rule.children().filter(|child| xml::is(*child, COMMON, "actions"));
    let actions = actions.flat_map(|actions| actions.children().filter(Node::is_element));
    actions.filter_map(|action| Some((xml::content(action)?, lower(action)?))).collect()
}

/// The rule for them alone.
fn copy(node: Node<'_, '_>, rule: &Rule, parties: &[Party], who: &Who, actions: Vec<Patch>) -> Option<String> {
    let source = node.document().input_text();
    let mut inner = String::new();
    let touching = parties.iter().filter(|party| party.touches(who));
    match who {
        Who::Mailbox(mailbox) => inner = format!("<one xmlns=\"{COMMON}\" id=\"{}\"/>", uri(mailbox)),
        Who::Domain(domain) => {
            for party in touching {
                let Kind::Many { except, .. } = &party.kind else {
                    inner.push_str(&source[party.place.clone()]);
                    continue;
                };
                inner.push_str(&format!("<many xmlns=\"{COMMON}\" domain=\"{domain}\">"));
                except.iter().for_each(|one| inner.push_str(&source[one.place.clone()]));
                inner.push_str("</many>");
            }
        }
    }
    let conditions = node.children().find(|child| xml::is(*child, COMMON, "conditions"))?;
    let identity = conditions.children().find(|child| xml::is(*child, COMMON, "identity"))?;
    let mut patches = actions;
    patches.push((node.attribute_node("id")?.range_value(), PLACEHOLDER.to_owned()));
    patches.push((xml::content(identity)?, inner));
    let moved = |place: Range<usize>| place.start - rule.place.start..place.end - rule.place.start;
    let patches = patches.into_iter().map(|(place, new)| (moved(place), new)).collect();
    Some(patched(source[rule.place.clone()].to_owned(), patches))
}

impl Ruleset {
    /// Whether one rule permits them as much at any time.
    pub(super) fn surely(&self, who: &Who, enough: impl Fn(&Decision) -> bool) -> bool {
        let sure = |condition: &Condition| match condition {
            Condition::Identity(parties) => parties.iter().any(|party| party.covers(who)),
            _ => false,
        };
        self.rules.iter().any(|rule| enough(&rule.permitted) && rule.conditions.iter().all(sure))
    }
}

impl Party {
    /// Whether it is about nobody but them.
    fn is_within(&self, who: &Who) -> bool {
        self.touches(who) && !self.can_except(who)
    }
}
