//! A presence document, read: from XML to facts.
//!
//! In: the text. Out: the document. Invariants: what has a name that is not known is passed over with all that is in it; an
//! extension with an inner element that must be understood and is not is passed over too (RFC 3863 §4.2.3). Fails: no
//! presence document, a tuple without what it must have, an identifier that stands twice.

use std::collections::HashSet;

use roxmltree::Node;

use super::{
    BOUNDS, Basic, CIPID, DATA_MODEL, Device, Document, During, Note, PIDF, Person, RPID, TIMED, Timed, Tuple, Words,
};
use crate::limits;
use crate::timestamp::Timestamp;
use crate::xml::{self, XmlError, is, text, wrong};

/// Why a presence document, or a list, cannot be read.
pub type Unreadable = XmlError;

impl Document {
    /// Reads the octets of a document.
    pub fn read(octets: &[u8]) -> Result<Document, Unreadable> {
        Document::parse(std::str::from_utf8(octets).map_err(|_| XmlError::Encoding)?)
    }

    /// Reads a document.
    pub fn parse(source: &str) -> Result<Document, Unreadable> {
        let tree = xml::parse(source, BOUNDS)?;
        xml::few_namespaces(&tree, limits::PIDF_NAMESPACES, limits::NAMESPACE_OCTETS)?;
        let root = tree.root_element();
        if !is(root, PIDF, "presence") {
            return Err(wrong(root, format!("a presence document begins with <presence xmlns=\"{PIDF}\">")));
        }
        // Where it is missing, as in the example of RFC 4479 §7, it is about nobody.
        let entity = root.attribute("entity").map(str::trim);
        if entity.is_some_and(|entity| !entity.contains(':')) {
            return Err(wrong(root, "its entity is no URI; write entity=\"pres:user@domain\""));
        }
        let mut reader = Reader { ids: HashSet::new() };
        let mut document = Document {
            text: source.to_owned(),
            entity: entity.unwrap_or_default().to_owned(),
            tuples: Vec::new(),
            persons: Vec::new(),
            devices: Vec::new(),
            notes: Vec::new(),
        };
        for node in root.children().filter(Node::is_element) {
            match (node.tag_name().namespace(), node.tag_name().name()) {
                (Some(PIDF), "tuple") => document.tuples.push(reader.tuple(node)?),
                (Some(PIDF), "note") => document.notes.push(note(node)),
                (Some(DATA_MODEL), "person") => document.persons.push(reader.person(node)?),
                (Some(DATA_MODEL), "device") => document.devices.push(reader.device(node)?),
                (None | Some(""), _) => {
                    return Err(wrong(node, format!("it has no namespace; write xmlns=\"{PIDF}\" in <presence>")));
                }
                _ => {}
            }
        }
        Ok(document)
    }

    /// The tree of the text, which was read before.
    pub(super) fn tree(&self) -> Option<roxmltree::Document<'_>> {
        xml::parse(&self.text, BOUNDS).ok()
    }
}

struct Reader {
    ids: HashSet<String>,
}

impl Reader {
    /// The occurrence identifier, which no other tuple, person or device has.
    fn id(&mut self, node: Node<'_, '_>) -> Result<String, XmlError> {
        let id = node.attribute("id").unwrap_or_default().trim().to_owned();
        if id.is_empty() {
            return Err(wrong(node, "it has no id; give each tuple, person and device another one"));
        }
        if self.ids.len() == limits::PIDF_COMPONENTS {
            let most = limits::PIDF_COMPONENTS;
            return Err(wrong(node, format!("there are more than {most} tuples, persons and devices; publish fewer")));
        }
        if !self.ids.insert(id.clone()) {
            return Err(wrong(
                node,
                format!("the id {id} stands twice; give each tuple, person and device another one"),
            ));
        }
        Ok(id)
    }

    fn tuple(&mut self, node: Node<'_, '_>) -> Result<Tuple, XmlError> {
        let mut tuple = Tuple { id: self.id(node)?, ..Tuple::default() };
        let mut status = None;
        for child in node.children().filter(Node::is_element) {
            match (child.tag_name().namespace(), child.tag_name().name()) {
                (Some(PIDF), "status") if status.replace(child).is_some() => {
                    return Err(wrong(child, "it stands twice in this tuple; join both"));
                }
                (Some(PIDF), "status") => tuple.basic = basic(child)?,
                (Some(PIDF), "contact") if tuple.contact.is_none() => {
                    tuple.contact = Some(text(child)).filter(|uri| !uri.is_empty());
                    tuple.priority = child.attribute("priority").and_then(priority);
                }
                (Some(PIDF), "note") => tuple.notes.push(note(child)),
                (Some(PIDF), "timestamp") => tuple.timestamp = time(&text(child)),
                (Some(TIMED), "timed-status") => tuple.timed.push(timed(child)?),
                (Some(DATA_MODEL), "deviceID") => tuple.devices.push(text(child)),
                (Some(RPID), "class") => tuple.class = Some(text(child)),
                (Some(RPID), "user-input") => tuple.user_input = Some(text(child)),
                _ => {}
            }
        }
        if status.is_none() {
            return Err(wrong(node, "it has no status; write <status><basic>open</basic></status>"));
        }
        Ok(tuple)
    }

    fn person(&mut self, node: Node<'_, '_>) -> Result<Person, XmlError> {
        let mut person = Person { id: self.id(node)?, ..Person::default() };
        for child in node.children().filter(|child| child.is_element() && understood(*child)) {
            let name = child.tag_name().name();
            match (child.tag_name().namespace(), name) {
                (Some(DATA_MODEL), "note") => person.notes.push(note(child)),
                (Some(DATA_MODEL), "timestamp") => person.timestamp = time(&text(child)),
                (Some(RPID), "class") => person.class = Some(text(child)),
                (Some(RPID), "activities") => person.activities.push(during(child, words(child))),
                (Some(RPID), "mood") => person.mood.push(during(child, words(child))),
                (Some(RPID), "sphere") => {
                    // RFC 4480 §3.11: a word of its own, or in its examples a text.
                    let word = child.children().find(Node::is_element).map(|word| word.tag_name().name().to_owned());
                    person.sphere.push(during(child, word.unwrap_or_else(|| text(child))));
                }
                (Some(CIPID), _) => person.card.push((name.to_owned(), text(child))),
                _ => {}
            }
        }
        Ok(person)
    }

    fn device(&mut self, node: Node<'_, '_>) -> Result<Device, XmlError> {
        let mut device = Device { id: self.id(node)?, ..Device::default() };
        for child in node.children().filter(Node::is_element) {
            match (child.tag_name().namespace(), child.tag_name().name()) {
                (Some(DATA_MODEL), "deviceID") => device.device_id = text(child),
                (Some(DATA_MODEL), "note") => device.notes.push(note(child)),
                (Some(DATA_MODEL), "timestamp") => device.timestamp = time(&text(child)),
                (Some(RPID), "class") => device.class = Some(text(child)),
                (Some(RPID), "user-input") => device.user_input = Some(text(child)),
                _ => {}
            }
        }
        Ok(device)
    }
}

/// RFC 3863 §4.1.3 and §4.1.4.
fn basic(status: Node<'_, '_>) -> Result<Option<Basic>, XmlError> {
    if let Some(inner) = status.children().find(|child| is(*child, TIMED, "timed-status")) {
        return Err(wrong(inner, "it stands in <tuple>, not in <status> (RFC 4481 §3)"));
    }
    status.children().find(|child| is(*child, PIDF, "basic")).map(open_or_closed).transpose()
}

fn open_or_closed(node: Node<'_, '_>) -> Result<Basic, XmlError> {
    match text(node).as_str() {
        "open" => Ok(Basic::Open),
        "closed" => Ok(Basic::Closed),
        _ => Err(wrong(node, "write open or closed")),
    }
}

/// RFC 4481 §3.
fn timed(node: Node<'_, '_>) -> Result<Timed, XmlError> {
    let from = node.attribute("from").and_then(time);
    let from = from.ok_or_else(|| wrong(node, "it needs the attribute from, a time like 2026-11-23T17:00:00Z"))?;
    let child = |name| node.children().find(|child| is(*child, TIMED, name));
    Ok(Timed {
        from,
        until: node.attribute("until").and_then(time),
        basic: child("basic").map(open_or_closed).transpose()?,
        note: child("note").map(note),
    })
}

/// RFC 3863 §4.1.5: out of range is as good as none.
fn priority(value: &str) -> Option<u16> {
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let thousandths: u16 = format!("{part:0<3}").parse().ok().filter(|_| part.len() <= 3)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn note(node: Node<'_, '_>) -> Note {
    let language = node.ancestors().find_map(|node| node.attribute((roxmltree::NS_XML_URI, "lang")));
    Note { text: text(node), language: language.map(str::to_owned) }
}

fn during<T>(node: Node<'_, '_>, value: T) -> During<T> {
    let at = |name| node.attribute(name).and_then(time);
    During { value, from: at("from"), until: at("until") }
}

/// The words of an enumeration, and its notes (RFC 4480 §3.2).
fn words(node: Node<'_, '_>) -> Words {
    let mut words = Words::default();
    for child in node.children().filter(Node::is_element) {
        match (child.tag_name().namespace(), child.tag_name().name()) {
            (Some(RPID), "note") => words.notes.push(note(child)),
            (Some(RPID), "other") if !text(child).is_empty() => words.words.push(text(child)),
            (_, name) => words.words.push(name.to_owned()),
        }
    }
    words
}

/// RFC 3339.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let time = text.trim().parse::<jiff::Timestamp>().ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

/// Whether all that must be understood in an element is; what is passed over does not count, with all that is in it.
fn understood(node: Node<'_, '_>) -> bool {
    let must = |node: Node<'_, '_>| {
        node.attribute((PIDF, "mustUnderstand")).is_some_and(|value| !matches!(value.trim(), "false" | "0"))
    };
    let known =
        |node: Node<'_, '_>| matches!(node.tag_name().namespace(), Some(PIDF | DATA_MODEL | RPID | TIMED | CIPID));
    node.children().filter(Node::is_element).all(|child| !must(child) || (known(child) && understood(child)))
}
