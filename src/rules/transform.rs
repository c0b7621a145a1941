//! The transformations of a rule, read.
//!
//! In: a child of `<transformations>`. Out: it is added to what the rule provides. Invariant: what is not understood provides
//! nothing. Fails: a value that RFC 5025 §7 does not know. RFC 5025 §3.3.

use std::collections::BTreeSet;

use roxmltree::Node;

use super::read::{line, word, wrong};
use super::{PRESENCE, Provide, RulesError, Selection, UserInput};

/// Adds what one transformation provides; remarks on what has no effect.
pub(super) fn take(node: Node<'_, '_>, provide: &mut Provide, remarks: &mut Vec<String>) -> Result<(), RulesError> {
    let name = node.tag_name().name();
    let mut ignored = |what: &str| {
        remarks.push(format!("line {}: the transformation {what} is not known here and has no effect", line(node)));
    };
    if node.tag_name().namespace() != Some(PRESENCE) {
        ignored(name);
        return Ok(());
    }
    match name {
        "provide-services" => {
            let names = ["all-services", "class", "occurrence-id", "service-uri", "service-uri-scheme"];
            select(node, &mut provide.services, &names)
        }
        "provide-persons" => select(node, &mut provide.persons, &["all-persons", "class", "occurrence-id"]),
        "provide-devices" => select(node, &mut provide.devices, &["all-devices", "class", "occurrence-id", "deviceID"]),
        "provide-user-input" => {
            let value = match word(node)?.as_str() {
                "false" => UserInput::False,
                "bare" => UserInput::Bare,
                "thresholds" => UserInput::Thresholds,
                "full" => UserInput::Full,
                _ => return Err(wrong(node, "write false, bare, thresholds or full")),
            };
            provide.user_input = provide.user_input.max(value);
            Ok(())
        }
        "provide-all-attributes" => {
            // RFC 5025 §7: it has no content. One that says false was not meant.
            if !word(node)?.is_empty() {
                return Err(wrong(node, "it has no value; leave it out where not all is meant"));
            }
            provide.all_attributes = true;
            Ok(())
        }
        "provide-unknown-attribute" => {
            let (Some(name), Some(namespace)) = (node.attribute("name"), node.attribute("ns")) else {
                return Err(wrong(node, "it needs the attributes name and ns"));
            };
            if name.contains(':') {
                return Err(wrong(node, "its name has no prefix; the namespace is in ns (RFC 5025 §3.3.2.14)"));
            }
            if boolean(node)? {
                provide.unknown.insert((namespace.trim().to_owned(), name.trim().to_owned()));
            }
            Ok(())
        }
        _ => {
            let flag = provide.flags().into_iter().find(|(known, _)| *known == name);
            match flag {
                Some((_, flag)) => *flag |= boolean(node)?,
                None => ignored(name),
            }
            Ok(())
        }
    }
}

/// What `xs:boolean` knows.
pub(super) fn boolean(node: Node<'_, '_>) -> Result<bool, RulesError> {
    match word(node)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(node, "write true or false")),
    }
}

/// A set of identifiers, the first of `names` being all.
fn select(node: Node<'_, '_>, selection: &mut Selection, names: &[&str]) -> Result<(), RulesError> {
    for one in node.children().filter(Node::is_element) {
        if one.tag_name().namespace() != Some(PRESENCE) {
            continue;
        }
        let name = one.tag_name().name();
        if !names.contains(&name) {
            let parent = node.tag_name().name();
            return Err(wrong(one, format!("RFC 5025 knows only {} in <{parent}>", names.join(", "))));
        }
        let set: &mut BTreeSet<String> = match name {
            "class" => &mut selection.classes,
            "occurrence-id" => &mut selection.occurrences,
            "service-uri-scheme" => &mut selection.schemes,
            "service-uri" | "deviceID" => &mut selection.uris,
            _ => {
                selection.all = true;
                continue;
            }
        };
        let value = word(one)?;
        if value.is_empty() {
            return Err(wrong(one, "it has no value"));
        }
        set.insert(value);
    }
    Ok(())
}
