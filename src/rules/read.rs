//! A document of common policy, read: from XML to conditions and actions.
//!
//! In: the text. Out: the rules, and remarks on what will have no effect. Invariants: nothing longer or deeper than
//! [`limits`] is looked at, and no DTD. What is of another namespace is passed over, as a condition it is never met; what is
//! of the namespace of RFC 4745 and not as there is a mistake. RFC 4745 §7, §8 and §13.

use std::collections::HashSet;

use roxmltree::Node;

use super::{
    COMMON, Condition, Decision, Except, Excluded, Handling, IMPART, Kind, Message, Named, PRESENCE, Party, Read, Rule,
    Ruleset, Signed, transform,
};
use crate::address::uri::percent_decoded;
use crate::address::{Domain, Mailbox};
use crate::limits;
use crate::timestamp::Timestamp;
use crate::xml::{self, Bounds};

pub(super) use crate::xml::wrong;

/// What is wrong in a document.
pub use crate::xml::XmlError as RulesError;

const BOUNDS: Bounds = Bounds {
    what: "a document of rules",
    octets: limits::RULES_OCTETS,
    nodes: limits::RULES_OCTETS,
    depth: limits::RULES_DEPTH,
};

/// Reads a document. Out too: remarks on what has no effect, or more than one might think.
pub fn read(text: &str) -> Result<(Ruleset, Vec<String>), RulesError> {
    let document = xml::parse(text, BOUNDS)?;
    let root = document.root_element();
    if !is(root, "ruleset") {
        return Err(wrong(root, format!("a document of rules begins with <ruleset xmlns=\"{COMMON}\">")));
    }
    let mut reader = Reader::default();
    let mut rules = Vec::new();
    for node in root.children().filter(Node::is_element) {
        only(node, &["rule"], "ruleset")?;
        if is(node, "rule") {
            rules.push(reader.rule(node)?);
        }
    }
    Ok((Ruleset { rules }, reader.remarks))
}

pub(super) fn line(node: Node<'_, '_>) -> u32 {
    node.document().text_pos_at(node.range().start).row
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.tag_name().name() == name && node.tag_name().namespace() == Some(COMMON)
}

/// What is of the namespace of RFC 4745 can only be one of these.
fn only(node: Node<'_, '_>, names: &[&str], parent: &str) -> Result<(), RulesError> {
    let known = names.contains(&node.tag_name().name());
    match node.tag_name().namespace() {
        Some(COMMON) if !known => Err(wrong(node, format!("RFC 4745 knows only {} in <{parent}>", names.join(", ")))),
        None | Some("") => Err(wrong(node, format!("it has no namespace; write xmlns=\"{COMMON}\" in <ruleset>"))),
        _ => Ok(()),
    }
}

/// The characters in an element that has nothing else.
pub(super) fn word(node: Node<'_, '_>) -> Result<String, RulesError> {
    if let Some(inner) = node.children().find(Node::is_element) {
        return Err(wrong(inner, format!("<{}> has a word in it, no element", node.tag_name().name())));
    }
    let text: String = node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
    Ok(text.trim().to_owned())
}

#[derive(Default)]
struct Reader {
    ids: HashSet<String>,
    remarks: Vec<String>,
}

impl Reader {
    fn rule(&mut self, node: Node<'_, '_>) -> Result<Rule, RulesError> {
        let id = node.attribute("id").unwrap_or_default().trim().to_owned();
        if id.is_empty() {
            return Err(wrong(node, "it has no id; give each rule another one"));
        }
        if !self.ids.insert(id.clone()) {
            return Err(wrong(node, format!("another rule has the id {id} too; give each rule another one")));
        }
        let mut rule = Rule { id, place: node.range(), conditions: Vec::new(), permitted: Decision::default() };
        let mut seen = HashSet::new();
        for part in node.children().filter(Node::is_element) {
            only(part, &["conditions", "actions", "transformations"], "rule")?;
            if part.tag_name().namespace() != Some(COMMON) {
                continue;
            }
            if !seen.insert(part.tag_name().name()) {
                return Err(wrong(part, "it stands twice in this rule; join both"));
            }
            for one in part.children().filter(Node::is_element) {
                match part.tag_name().name() {
                    "conditions" => rule.conditions.push(self.condition(one)?),
                    "actions" => self.action(one, &mut rule.permitted)?,
                    _ => transform::take(one, &mut rule.permitted.provide, &mut self.remarks)?,
                }
            }
        }
        let anybody = rule.conditions.iter().all(|one| matches!(one, Condition::Validity(_)));
        if anybody && rule.permitted.publish {
            let text = format!("line {}: rule {} lets everybody publish for this presentity", line(node), rule.id);
            self.remarks.push(text);
        }
        if anybody && rule.permitted.read > Read::No {
            self.remarks.push(format!("line {}: rule {} lets everybody here read this inbox", line(node), rule.id));
        }
        Ok(rule)
    }

    fn action(&mut self, node: Node<'_, '_>, permitted: &mut Decision) -> Result<(), RulesError> {
        match (node.tag_name().namespace(), node.tag_name().name()) {
            (Some(PRESENCE), "sub-handling") => {
                let text = word(node)?;
                let handling = Handling::ALL.into_iter().find(|handling| handling.word() == text);
                let handling = handling.ok_or_else(|| wrong(node, "write block, confirm, polite-block or allow"))?;
                permitted.subscription = permitted.subscription.max(handling);
            }
            (Some(IMPART), "message") => {
                permitted.message = match word(node)?.as_str() {
                    "allow" => Message::Allow,
                    "block" => Message::Block,
                    _ => return Err(wrong(node, "write allow or block")),
                }
            }
            (Some(IMPART), "read") => {
                permitted.read = match word(node)?.as_str() {
                    "copy" => Read::Copy,
                    "take" => Read::Take,
                    _ => return Err(wrong(node, "write copy or take, or leave it out")),
                }
            }
            (Some(IMPART), "publish") => permitted.publish |= transform::boolean(node)?,
            (Some(IMPART), "fetch-only") => permitted.fetch_only |= transform::boolean(node)?,
            (Some(IMPART | PRESENCE), other) => {
                let text = format!("line {}: the action {other} is not known here and has no effect", line(node));
                self.remarks.push(text);
            }
            _ => {}
        }
        Ok(())
    }

    fn condition(&mut self, node: Node<'_, '_>) -> Result<Condition, RulesError> {
        only(node, &["identity", "sphere", "validity"], "conditions")?;
        let name = node.tag_name();
        match (name.namespace(), name.name()) {
            (Some(COMMON), "identity") => self.identity(node),
            (Some(COMMON), "validity") => validity(node),
            (Some(COMMON), "sphere") => {
                let value = node.attribute("value").ok_or_else(|| wrong(node, "it needs the attribute value"))?;
                Ok(Condition::Sphere(value.split_whitespace().map(str::to_lowercase).collect()))
            }
            (Some(IMPART), "anonymous") => Ok(Condition::Anonymous),
            (Some(IMPART), "signed") => match node.attribute("by") {
                None | Some("author") => Ok(Condition::Signed(Signed::Author)),
                Some("domain") => Ok(Condition::Signed(Signed::Domain)),
                Some(_) => Err(wrong(node, "write by=\"author\" or by=\"domain\", or leave it out")),
            },
            (_, other) => {
                let text = format!("line {}: the condition {other} cannot be told here and is never met", line(node));
                self.remarks.push(text);
                Ok(Condition::Never)
            }
        }
    }

    fn identity(&mut self, node: Node<'_, '_>) -> Result<Condition, RulesError> {
        let mut parties = Vec::new();
        for one in node.children().filter(Node::is_element) {
            only(one, &["one", "many"], "identity")?;
            let kind = match one.tag_name().name() {
                _ if one.tag_name().namespace() != Some(COMMON) => Kind::Nobody,
                "one" => self.one(one)?,
                _ => self.many(one)?,
            };
            parties.push(Party { place: one.range(), kind });
        }
        Ok(Condition::Identity(parties))
    }

    fn one(&mut self, node: Node<'_, '_>) -> Result<Kind, RulesError> {
        if node.has_attribute("domain") {
            return Err(wrong(node, "it has no domain; write <many domain=\"…\"/>"));
        }
        let key = self.uri(node)?;
        // What narrows it down is not understood.
        Ok(if node.children().any(|child| child.is_element()) { Kind::Nobody } else { Kind::One(key) })
    }

    fn many(&mut self, node: Node<'_, '_>) -> Result<Kind, RulesError> {
        let domain = node.attribute("domain").map(|text| self.domain(node, text));
        let (mut except, mut understood) = (Vec::new(), true);
        for one in node.children().filter(Node::is_element) {
            only(one, &["except"], "many")?;
            if one.tag_name().namespace() != Some(COMMON) {
                understood = false;
                continue;
            }
            let who = match (one.has_attribute("id"), one.attribute("domain")) {
                (true, None) => Excluded::One(self.uri(one)?),
                (false, Some(text)) => Excluded::Domain(self.domain(one, text)),
                _ => return Err(wrong(one, "it has either an id or a domain")),
            };
            except.push(Except { place: one.range(), who });
        }
        Ok(if understood { Kind::Many { domain, except } } else { Kind::Nobody })
    }

    /// The mailbox that the id names. RFC 5025 §3.1.1: URIs of different schemes are never equivalent; one mailbox has
    /// all of `im:`, `pres:` and `mailto:`.
    fn uri(&mut self, node: Node<'_, '_>) -> Result<Named<String>, RulesError> {
        let uri = node.attribute("id").unwrap_or_default().trim();
        let Some((scheme, rest)) = uri.split_once(':') else {
            return Err(wrong(node, "its id is no URI; write it as im:user@domain"));
        };
        if !["im", "pres", "mailto"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            let text = format!("line {}: nobody here has a URI with {scheme}:; write im:user@domain", line(node));
            self.remarks.push(text);
            return Ok(None);
        }
        let address = percent_decoded(rest.split('?').next().unwrap_or_default());
        let mailbox = address.ok_or("a percent sign without two digits".to_owned());
        let mailbox = mailbox.and_then(|text| Mailbox::parse(&text).map_err(|fault| fault.to_string()));
        mailbox.map(|mailbox| Some(mailbox.key())).map_err(|fault| wrong(node, format!("its id: {fault}")))
    }

    /// RFC 4745 §7.1.3: what is no domain is equal to none.
    fn domain(&mut self, node: Node<'_, '_>, text: &str) -> Named<Domain> {
        let domain = percent_decoded(text.trim()).and_then(|text| Domain::parse(&text).ok());
        if domain.is_none() {
            self.remarks.push(format!("line {}: {} is no domain", line(node), text.escape_debug()));
        }
        domain
    }
}

/// RFC 4745 §7.4: in pairs.
fn validity(node: Node<'_, '_>) -> Result<Condition, RulesError> {
    let (mut times, mut begun) = (Vec::new(), None);
    for one in node.children().filter(Node::is_element) {
        only(one, &["from", "until"], "validity")?;
        let text = word(one)?;
        let time = text.parse::<jiff::Timestamp>().map_err(|_| {
            wrong(one, "no time with its distance from UTC; write it as 2026-11-23T17:00:00+01:00 or …Z")
        })?;
        let time = Timestamp::from_millis(time.as_millisecond());
        begun = match (one.tag_name().name(), begun) {
            ("from", None) => Some(time),
            ("until", Some(from)) if from < time => {
                times.push((from, time));
                None
            }
            ("until", Some(_)) => return Err(wrong(one, "it is not after its <from>")),
            _ => return Err(wrong(one, "<from> and <until> come in pairs; add the missing one")),
        };
    }
    match begun {
        None if !times.is_empty() => Ok(Condition::Validity(times)),
        _ => Err(wrong(node, "<from> and <until> come in pairs; add the missing one")),
    }
}
