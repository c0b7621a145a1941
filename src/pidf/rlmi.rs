//! One's own subscriptions: a list, with the views that are known as further parts of the body.
//!
//! In: the resources, their states and views. Out: the root document and the body around it; and back. Invariants: what is
//! written is valid by the schema and read as the same; a `cid` names a part of the same body. Fails: no such document,
//! or one that is greater than its bounds. RFC 4662 §5, RFC 2387.

use std::fmt::Write as _;

use roxmltree::Node;

use super::{Note, Unreadable};
use crate::limits;
use crate::mime::presence::{Reason, State};
use crate::xml::{self, Bounds, escaped, is, text, wrong};

/// The media type of the root.
pub const MEDIA: &str = "application/rlmi+xml";
/// The namespace of RFC 4662.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:rlmi";

const BOUNDS: Bounds = Bounds {
    what: "a list of subscriptions",
    octets: limits::LIST_OCTETS,
    nodes: limits::LIST_OCTETS / 8,
    depth: limits::PIDF_DEPTH,
};

/// One subscription to a resource (RFC 4662 §5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Unique for the resource.
    pub id: String,
    /// The state.
    pub state: State,
    /// The part with the view: its Content-ID without angle brackets.
    pub cid: Option<String>,
}

/// Something that is watched (RFC 4662 §5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Its URI.
    pub uri: String,
    /// Its names, for people.
    pub names: Vec<Note>,
    /// The subscriptions to it.
    pub instances: Vec<Instance>,
}

/// A list (RFC 4662 §5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Its URI.
    pub uri: String,
    /// 0 first, then one more with each document of a subscription.
    pub version: u32,
    /// Whether it has all resources, or those that changed.
    pub full: bool,
    /// Its names, for people.
    pub names: Vec<Note>,
    /// The part with what the list says as a whole.
    pub cid: Option<String>,
    /// What is watched.
    pub resources: Vec<Resource>,
}

impl List {
    /// The root document.
    pub fn write(&self) -> String {
        let cid = self.cid.as_ref().map_or(String::new(), |cid| format!(" cid=\"{}\"", escaped(cid)));
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <list xmlns=\"{NAMESPACE}\" uri=\"{}\" version=\"{}\" fullState=\"{}\"{cid}>\r\n",
            escaped(&self.uri),
            self.version,
            self.full
        );
        names(&mut out, "  ", &self.names);
        // Writing into a string does not fail.
        for resource in &self.resources {
            let _ = write!(out, "  <resource uri=\"{}\">\r\n", escaped(&resource.uri));
            names(&mut out, "    ", &resource.names);
            for one in &resource.instances {
                let _ = write!(out, "    <instance id=\"{}\" state=\"{}\"", escaped(&one.id), one.state.word());
                if let State::Terminated(reason) = one.state {
                    // RFC 4662 §5.5: there must be one.
                    let _ = write!(out, " reason=\"{}\"", reason.map_or("noresource", Reason::word));
                }
                if let Some(cid) = &one.cid {
                    let _ = write!(out, " cid=\"{}\"", escaped(cid));
                }
                out.push_str("/>\r\n");
            }
            out.push_str("  </resource>\r\n");
        }
        out.push_str("</list>\r\n");
        out
    }

    /// Reads a root document.
    pub fn parse(source: &str) -> Result<List, Unreadable> {
        let tree = xml::parse(source, BOUNDS)?;
        let root = tree.root_element();
        if !is(root, NAMESPACE, "list") {
            return Err(wrong(root, format!("a list of subscriptions begins with <list xmlns=\"{NAMESPACE}\">")));
        }
        let needed = |name: &str| root.attribute(name).ok_or_else(|| wrong(root, format!("it has no {name}")));
        let version = needed("version")?.trim().parse().map_err(|_| wrong(root, "its version is no number"))?;
        let full = match needed("fullState")?.trim() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(wrong(root, "its fullState is neither true nor false")),
        };
        let resources = root.children().filter(|node| is(*node, NAMESPACE, "resource")).map(resource);
        Ok(List {
            uri: needed("uri")?.to_owned(),
            version,
            full,
            names: read_names(root),
            cid: root.attribute("cid").map(str::to_owned),
            resources: resources.collect::<Result<_, _>>()?,
        })
    }
}

fn names(out: &mut String, indent: &str, names: &[Note]) {
    for name in names {
        let language = name.language.as_ref().map_or(String::new(), |tag| format!(" xml:lang=\"{}\"", escaped(tag)));
        let _ = write!(out, "{indent}<name{language}>{}</name>\r\n", escaped(&name.text));
    }
}

fn read_names(node: Node<'_, '_>) -> Vec<Note> {
    let names = node.children().filter(|child| is(*child, NAMESPACE, "name"));
    let language = |name: Node<'_, '_>| name.attribute((roxmltree::NS_XML_URI, "lang")).map(str::to_owned);
    names.map(|name| Note { text: text(name), language: language(name) }).collect()
}

fn resource(node: Node<'_, '_>) -> Result<Resource, Unreadable> {
    let uri = node.attribute("uri").ok_or_else(|| wrong(node, "it has no uri"))?;
    let instances = node.children().filter(|child| is(*child, NAMESPACE, "instance")).map(|child| {
        let reason = child.attribute("reason").and_then(Reason::of);
        let state = match child.attribute("state") {
            Some("active") => State::Active,
            Some("pending") => State::Pending,
            Some("terminated") => State::Terminated(reason),
            _ => return Err(wrong(child, "its state is none of RFC 4662 §5.5")),
        };
        let id = child.attribute("id").ok_or_else(|| wrong(child, "it has no id"))?.to_owned();
        Ok(Instance { id, state, cid: child.attribute("cid").map(str::to_owned) })
    });
    Ok(Resource { uri: uri.to_owned(), names: read_names(node), instances: instances.collect::<Result<_, _>>()? })
}
