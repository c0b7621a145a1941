//! What a watcher sees of a document: the one function that makes every view.
//!
//! In: a document, and what the rules provide. Out: a document. Invariants: nothing appears that is not provided, comments and
//! the attributes of tuples, persons and devices among it; what appears is the source's, octet for octet; who is provided
//! everything gets the document itself; a view of a view is the same (unless persons are chosen by a class that is not
//! shown). RFC 5025 §3.3.

use roxmltree::Node;

use super::write::{Sheet, element, status};
use super::{DATA_MODEL, Document, PIDF, RPID};
use crate::address::{Mailbox, uri};
use crate::rules::{Decision, Handling, Provide, Selection, UserInput};
use crate::timestamp::Timestamp;
use crate::xml::{self, escaped, is, text};

/// What is shown to whoever is to be handled so; `None`: nothing, since the subscription is not active. Who is politely
/// blocked sees one im tuple that has been closed since then, whatever the presentity does.
pub fn shown(document: &Document, presentity: &Mailbox, decision: &Decision, since: Timestamp) -> Option<Document> {
    match decision.subscription {
        Handling::Block | Handling::Confirm => None,
        Handling::PoliteBlock => Some(Document::closed(presentity, since)),
        Handling::Allow => Some(view(document, &decision.provide)),
    }
}

/// What is seen of the document.
pub fn view(document: &Document, provide: &Provide) -> Document {
    if provide.is_everything() {
        return document.clone();
    }
    let seen = document.tree().map(|tree| pieces(tree.root_element(), provide));
    // Namespaces that are written again and again could make it greater than a document may be.
    let written = seen.and_then(|pieces| Document::parse(&sheet(document, &pieces)).ok());
    written.unwrap_or_else(|| Document {
        text: sheet(document, &[]),
        entity: document.entity.clone(),
        tuples: Vec::new(),
        persons: Vec::new(),
        devices: Vec::new(),
        notes: Vec::new(),
    })
}

fn sheet(document: &Document, pieces: &[String]) -> String {
    let mut sheet = Sheet::new(&document.entity);
    for piece in pieces {
        sheet.piece(piece);
    }
    sheet.finish()
}

/// A part of a document that is seen or not as a whole (RFC 5025 §3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Component {
    Tuple,
    Person,
    Device,
}

fn component(node: Node<'_, '_>) -> Option<Component> {
    match (node.tag_name().namespace(), node.tag_name().name()) {
        (Some(PIDF), "tuple") => Some(Component::Tuple),
        (Some(DATA_MODEL), "person") => Some(Component::Person),
        (Some(DATA_MODEL), "device") => Some(Component::Device),
        _ => None,
    }
}

/// Tuples, then what is said of the presentity, then the rest: the order of RFC 3863 §4.4.
fn pieces(root: Node<'_, '_>, provide: &Provide) -> Vec<String> {
    let (mut tuples, mut rest) = (Vec::new(), Vec::new());
    // The notes of the presentity are those of the persons that have none of their own (RFC 4479 §5).
    let (mut persons, mut noted) = (0, false);
    for node in root.children().filter(Node::is_element) {
        let Some(component) = component(node) else { continue };
        let selection = match component {
            Component::Tuple => &provide.services,
            Component::Person => &provide.persons,
            Component::Device => &provide.devices,
        };
        let selected = selects(selection, component, node);
        if component == Component::Person {
            persons += 1;
            noted |= selected && !node.children().any(|child| is(child, DATA_MODEL, "note"));
        }
        if selected {
            let pieces = if component == Component::Tuple { &mut tuples } else { &mut rest };
            pieces.push(shown_component(component, node, provide));
        }
    }
    if (provide.note || provide.all_attributes) && (noted || (persons == 0 && provide.persons.all)) {
        let notes = root.children().filter(|child| is(*child, PIDF, "note"));
        tuples.extend(notes.map(|note| xml::lifted(note, PIDF, &[])));
    }
    tuples.extend(rest);
    tuples
}

/// RFC 5025 §3.3.1.1 to §3.3.1.3.
fn selects(selection: &Selection, component: Component, node: Node<'_, '_>) -> bool {
    if selection.all {
        return true;
    }
    let value = |namespace, name| node.children().find(|child| is(*child, namespace, name)).map(text);
    let class = value(RPID, "class").is_some_and(|class| selection.classes.contains(&class));
    let occurrence = node.attribute("id").is_some_and(|id| selection.occurrences.contains(id.trim()));
    let uri = match component {
        Component::Tuple => value(PIDF, "contact"),
        Component::Person => None,
        Component::Device => value(DATA_MODEL, "deviceID"),
    };
    let named = uri.as_deref().is_some_and(|uri| {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        let equal = |other: &String| uri::key(other) == uri::key(uri);
        scheme.is_some_and(|scheme| selection.schemes.contains(scheme)) || selection.uris.iter().any(equal)
    });
    class || occurrence || named
}

/// The component with the attributes that are seen (RFC 5025 §3.3.2).
fn shown_component(component: Component, node: Node<'_, '_>, provide: &Provide) -> String {
    let own = if component == Component::Tuple { PIDF } else { DATA_MODEL };
    let mut children = Vec::new();
    for child in node.children().filter(Node::is_element) {
        if component == Component::Tuple && is(child, PIDF, "status") {
            let seen = child.children().filter(|inner| inner.is_element() && attribute(component, *inner, provide));
            children.push(status(&seen.map(|inner| xml::lifted(inner, PIDF, &[])).collect::<String>()));
        } else if is(child, RPID, "user-input") && !provide.all_attributes {
            children.extend(user_input(child, provide.user_input, own));
        } else if attribute(component, child, provide) {
            children.push(xml::lifted(child, own, &[]));
        }
    }
    let id = escaped(node.attribute("id").unwrap_or_default());
    match component {
        Component::Tuple => element(&format!("tuple id=\"{id}\""), "tuple", &children),
        Component::Person => element(&format!("person xmlns=\"{DATA_MODEL}\" id=\"{id}\""), "person", &children),
        Component::Device => element(&format!("device xmlns=\"{DATA_MODEL}\" id=\"{id}\""), "device", &children),
    }
}

/// Whether a presence attribute is seen: a child of a tuple, a person or a device, or of a status (RFC 4479 §5).
fn attribute(component: Component, node: Node<'_, '_>, provide: &Provide) -> bool {
    use Component::{Device, Person, Tuple};
    let namespace = node.tag_name().namespace().unwrap_or_default();
    let name = node.tag_name().name();
    let person = component == Person;
    let tuple = component == Tuple;
    provide.all_attributes
        || match (namespace, name) {
            (PIDF, "basic" | "contact" | "timestamp") => tuple,
            (PIDF, "note") => tuple && provide.note,
            (PIDF, "status") => tuple,
            (DATA_MODEL, "timestamp") => !tuple,
            (DATA_MODEL, "note") => !tuple && provide.note,
            (DATA_MODEL, "deviceID") => component == Device || (tuple && provide.device_id),
            (RPID, "service-class") => tuple,
            (RPID, "class") => provide.class,
            (RPID, "activities") => person && provide.activities,
            (RPID, "mood") => person && provide.mood,
            (RPID, "place-is") => person && provide.place_is,
            (RPID, "place-type") => person && provide.place_type,
            (RPID, "privacy") => component != Device && provide.privacy,
            (RPID, "relationship") => tuple && provide.relationship,
            (RPID, "sphere") => person && provide.sphere,
            (RPID, "status-icon") => component != Device && provide.status_icon,
            (RPID, "time-offset") => person && provide.time_offset,
            // In part, and not here.
            (RPID, "user-input") => false,
            (namespace, name) => {
                let permitted = |(one, other): &(String, String)| one == namespace && other == name;
                provide.unknown.iter().any(permitted)
            }
        }
}

/// RFC 5025 §3.3.2.12; the attribute that was `since` in a draft is `last-input` in RFC 4480.
fn user_input(node: Node<'_, '_>, provided: UserInput, default: &str) -> Option<String> {
    let open = match provided {
        UserInput::False => return None,
        UserInput::Full => return Some(xml::lifted(node, default, &[])),
        UserInput::Bare => String::new(),
        UserInput::Thresholds => {
            let threshold = node.attribute("idle-threshold");
            threshold.map_or(String::new(), |one| format!(" idle-threshold=\"{}\"", escaped(one)))
        }
    };
    Some(format!("<user-input xmlns=\"{RPID}\"{open}>{}</user-input>", escaped(&text(node))))
}
