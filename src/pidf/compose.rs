//! Composition: what the publications for a presentity make together.
//!
//! In: publications, and whether a device is attached. Out: one document. Invariants: the same publications make the same
//! octets, in whatever order they are given; identifiers are unique, and the same while the publications are; tuples,
//! persons and foreign elements are those that were published, octet for octet but for an identifier that is taken and a
//! status that no session holds up. Fails: together they are more than a document may be. RFC 3863, RFC 4479 §3.8.
//!
//! Policy: the tuples and devices of all publications; of persons, notes and further elements those of the newest
//! publication that has any. Where no publication tells the state of the im service, the sessions do: one tuple, open while a
//! device is attached.

use std::collections::HashSet;
use std::ops::Range;

use roxmltree::Node;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::write::{SESSION, Sheet, session, tuple};
use super::{Basic, DATA_MODEL, Document, PIDF, Unreadable};
use crate::address::{Mailbox, uri};
use crate::timestamp::Timestamp;
use crate::xml::{self, is, text};

/// A document that somebody published.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Its name, unique among those of the presentity.
    pub id: &'a str,
    /// The document.
    pub document: &'a Document,
    /// When it was taken.
    pub at: Timestamp,
    /// Whether what it says of messages holds while no device is attached; else its im tuples are closed then.
    pub lasting: bool,
}

/// What the devices say by being attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Whether one is that takes presence.
    pub attached: bool,
    /// Since when it is so.
    pub since: Timestamp,
}

/// The document that they make together.
pub fn merge(
    presentity: &Mailbox,
    publications: &[Publication<'_>],
    sessions: Sessions,
) -> Result<Document, Unreadable> {
    let mut order: Vec<&Publication<'_>> = publications.iter().collect();
    order.sort_by_key(|publication| publication.id);
    let trees: Vec<_> = order.iter().map(|one| (*one, one.document.tree())).collect();
    let roots = trees.iter().filter_map(|(one, tree)| tree.as_ref().map(|tree| (*one, tree.root_element())));
    let roots: Vec<(&Publication<'_>, Node<'_, '_>)> = roots.collect();
    let mut ids = HashSet::new();
    let mut pieces = Pieces { presentity: presentity.key(), attached: sessions.attached, ..Pieces::default() };
    let told = roots.iter().any(|(_, root)| root.children().any(|node| pieces.is_im(node)));
    if !told {
        let basic = if sessions.attached { Basic::Open } else { Basic::Closed };
        ids.insert(SESSION.to_owned());
        pieces.tuples.push(tuple(&session(presentity, basic, sessions.since)));
    }
    for (publication, root) in &roots {
        for node in root.children().filter(Node::is_element) {
            if is(node, PIDF, "tuple") || is(node, DATA_MODEL, "device") {
                pieces.take(publication, node, &mut ids);
            }
        }
    }
    let newest = |wanted: &dyn Fn(Node<'_, '_>) -> bool| {
        let having = roots.iter().filter(|(_, root)| root.children().any(wanted));
        having.max_by_key(|(publication, _)| (publication.at, publication.id)).copied()
    };
    let of_person = |node: Node<'_, '_>| is(node, PIDF, "note") || is(node, DATA_MODEL, "person");
    if let Some((publication, root)) = newest(&of_person) {
        for node in root.children().filter(|node| of_person(*node)) {
            pieces.take(publication, node, &mut ids);
        }
    }
    if let Some((publication, root)) = newest(&is_foreign) {
        for node in root.children().filter(|node| is_foreign(*node)) {
            pieces.take(publication, node, &mut ids);
        }
    }
    Document::parse(&pieces.sheet(presentity))
}

/// Whether it is an element that no RFC that is known here puts into `<presence>`.
fn is_foreign(node: Node<'_, '_>) -> bool {
    let known = is(node, DATA_MODEL, "person") || is(node, DATA_MODEL, "device");
    node.is_element() && node.tag_name().namespace() != Some(PIDF) && !known
}

/// What the document is made of, in the order of RFC 3863 §4.4.
#[derive(Default)]
struct Pieces {
    presentity: String,
    attached: bool,
    tuples: Vec<String>,
    notes: Vec<String>,
    rest: Vec<String>,
}

impl Pieces {
    fn take(&mut self, publication: &Publication<'_>, node: Node<'_, '_>, ids: &mut HashSet<String>) {
        let mut patches = Vec::new();
        let component = is(node, PIDF, "tuple") || is(node, DATA_MODEL, "device") || is(node, DATA_MODEL, "person");
        if let Some(attribute) = node.attribute_node("id").filter(|_| component) {
            let id = unique(attribute.value().trim(), publication.id, ids);
            if id != attribute.value() {
                patches.push((attribute.range_value(), id.clone()));
            }
            ids.insert(id);
        }
        if self.is_im(node) && !self.attached && !publication.lasting {
            patches.extend(opened(node).map(|place| (place, Basic::Closed.word().to_owned())));
        }
        patches.sort_by_key(|(place, _)| place.start);
        let piece = xml::lifted(node, PIDF, &patches);
        match node.tag_name().name() {
            "tuple" => self.tuples.push(piece),
            "note" if is(node, PIDF, "note") => self.notes.push(piece),
            _ => self.rest.push(piece),
        }
    }

    /// Whether it is a tuple of the presentity's own im service that tells its state.
    fn is_im(&self, node: Node<'_, '_>) -> bool {
        let child = |parent: Node<'_, '_>, name| parent.children().any(|child| is(child, PIDF, name));
        let contact = node.children().find(|child| is(*child, PIDF, "contact"));
        is(node, PIDF, "tuple")
            && node.children().any(|status| is(status, PIDF, "status") && child(status, "basic"))
            && contact
                .and_then(|contact| uri::read(&text(contact), &["im"]))
                .is_some_and(|im| im.key() == self.presentity)
    }

    fn sheet(&self, presentity: &Mailbox) -> String {
        let mut sheet = Sheet::new(&uri::write("pres", presentity));
        for piece in self.tuples.iter().chain(&self.notes).chain(&self.rest) {
            sheet.piece(piece);
        }
        sheet.finish()
    }
}

/// Where a tuple says `open`.
fn opened<'a>(node: Node<'a, '_>) -> impl Iterator<Item = Range<usize>> + 'a {
    let statuses = node.children().filter(|child| is(*child, PIDF, "status"));
    let basics = statuses.flat_map(|status| status.children().filter(|child| is(*child, PIDF, "basic")));
    let open = basics.filter(|basic| text(*basic) == Basic::Open.word());
    open.filter_map(xml::content)
}

/// An identifier that nobody has: that which it has, or one that follows from the publication's name and itself. It does not
/// tell that name, which is a device's or a delegate's.
fn unique(id: &str, publication: &str, ids: &HashSet<String>) -> String {
    if xml::is_name(id) && !ids.contains(id) {
        return id.to_owned();
    }
    let seed = xxh3_64(publication.as_bytes());
    let digests = (0..).map(|turn| xxh3_64_with_seed(id.as_bytes(), seed.wrapping_add(turn)));
    let free = digests.map(|digest| format!("t{:08x}", digest >> 32)).find(|one| !ids.contains(one));
    free.unwrap_or_default()
}
