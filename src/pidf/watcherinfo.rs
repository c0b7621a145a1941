//! Who watches: lists of watchers, whole or of what changed.
//!
//! In: the subscriptions to a resource, or a document. Out: the document, or the list; a [`Table`] that follows a row of
//! documents. Invariants: what is written is valid by the schema and read as the same; a document that is not newer changes
//! nothing. Fails: no such document, or one that is greater than its bounds. RFC 3857, RFC 3858.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use roxmltree::Node;

use super::Unreadable;
use crate::address::{Mailbox, uri};
use crate::limits;
use crate::mime::presence::Reason;
use crate::xml::{self, Bounds, escaped, is, text, wrong};

/// The media type.
pub const MEDIA: &str = "application/watcherinfo+xml";
/// The namespace of RFC 3858.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:watcherinfo";
/// The namespace of what we add: how a watcher has proven who it is.
pub const IMPART: &str = "urn:impart:watcherinfo";
/// The URI of who has not authenticated (RFC 3323 has it for SIP).
pub const ANONYMOUS: &str = "pres:anonymous@anonymous.invalid";

const BOUNDS: Bounds = Bounds {
    what: "a list of watchers",
    octets: limits::LIST_OCTETS,
    nodes: limits::LIST_OCTETS / 8,
    depth: limits::PIDF_DEPTH,
};

/// The state of a subscription (RFC 3857 §4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Status {
    /// It waits for the presentity's word.
    Pending,
    /// It is told.
    Active,
    /// It ended while it was pending, and waits for a word all the same.
    Waiting,
    /// It is no more.
    Terminated,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Waiting => "waiting",
            Status::Terminated => "terminated",
        }
    }

    fn of(word: &str) -> Option<Status> {
        [Status::Pending, Status::Active, Status::Waiting, Status::Terminated]
            .into_iter()
            .find(|status| status.word() == word)
    }
}

/// What brought a subscription into its state (RFC 3857 §4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Cause {
    /// It was asked for.
    Subscribe,
    /// It was allowed.
    Approved,
    /// It ended.
    Ended(Reason),
}

impl Cause {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Subscribe => "subscribe",
            Cause::Approved => "approved",
            Cause::Ended(reason) => reason.word(),
        }
    }

    fn of(word: &str) -> Option<Cause> {
        match word {
            "subscribe" => Some(Cause::Subscribe),
            "approved" => Some(Cause::Approved),
            word => Reason::of(word).map(Cause::Ended),
        }
    }
}

/// How a watcher has proven who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Proof {
    /// Not at all.
    #[default]
    None,
    /// Its domain answers for it.
    Domain,
    /// It has signed.
    User,
}

impl Proof {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Proof::None => "none",
            Proof::Domain => "domain",
            Proof::User => "user",
        }
    }
}

/// Somebody who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Of the subscription; unique in the list.
    pub id: String,
    /// A URI; [`ANONYMOUS`] where there is none.
    pub uri: String,
    /// The state.
    pub status: Status,
    /// What brought it about.
    pub cause: Cause,
    /// The name that the watcher gave.
    pub name: Option<String>,
    /// Seconds that the subscription lasts still.
    pub expires: Option<u64>,
    /// Seconds that it has lasted.
    pub lasted: Option<u64>,
    /// How the watcher has proven who it is.
    pub proof: Proof,
}

impl Watcher {
    /// The watcher's mailbox, where it has one.
    pub fn mailbox(&self) -> Option<Mailbox> {
        uri::read(&self.uri, &["pres", "im", "mailto"]).filter(|_| self.uri != ANONYMOUS)
    }

    /// The URI of a watcher.
    pub fn uri_of(watcher: Option<&Mailbox>) -> String {
        watcher.map_or(ANONYMOUS.to_owned(), |watcher| uri::write("pres", watcher))
    }
}

/// The watchers of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Its URI.
    pub resource: String,
    /// What of it is watched: `presence`.
    pub package: String,
    /// Who.
    pub watchers: Vec<Watcher>,
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatcherInfo {
    /// 0 first, then one more with each document of a subscription.
    pub version: u64,
    /// Whether it has all watchers, or those that changed.
    pub full: bool,
    /// One list for each resource.
    pub lists: Vec<List>,
}

impl WatcherInfo {
    /// The document.
    pub fn write(&self) -> String {
        let state = if self.full { "full" } else { "partial" };
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <watcherinfo xmlns=\"{NAMESPACE}\" version=\"{}\" state=\"{state}\">\r\n",
            self.version
        );
        // Writing into a string does not fail.
        for list in &self.lists {
            let (resource, package) = (escaped(&list.resource), escaped(&list.package));
            let _ = write!(out, "  <watcher-list resource=\"{resource}\" package=\"{package}\">\r\n");
            for one in &list.watchers {
                let _ = write!(
                    out,
                    "    <watcher id=\"{}\" status=\"{}\" event=\"{}\"",
                    escaped(&one.id),
                    one.status.word(),
                    one.cause.word()
                );
                if let Some(name) = &one.name {
                    let _ = write!(out, " display-name=\"{}\"", escaped(name));
                }
                if let Some(seconds) = one.expires {
                    let _ = write!(out, " expiration=\"{seconds}\"");
                }
                if let Some(seconds) = one.lasted {
                    let _ = write!(out, " duration-subscribed=\"{seconds}\"");
                }
                let _ = write!(out, ">{}</watcher>\r\n", escaped(&one.uri));
            }
            for one in list.watchers.iter().filter(|one| one.proof != Proof::None) {
                let (id, by) = (escaped(&one.id), one.proof.word());
                let _ = write!(out, "    <authenticated xmlns=\"{IMPART}\" id=\"{id}\" by=\"{by}\"/>\r\n");
            }
            out.push_str("  </watcher-list>\r\n");
        }
        out.push_str("</watcherinfo>\r\n");
        out
    }

    /// Reads a document.
    pub fn parse(source: &str) -> Result<WatcherInfo, Unreadable> {
        let tree = xml::parse(source, BOUNDS)?;
        let root = tree.root_element();
        if !is(root, NAMESPACE, "watcherinfo") {
            return Err(wrong(root, format!("a list of watchers begins with <watcherinfo xmlns=\"{NAMESPACE}\">")));
        }
        let version = root.attribute("version").and_then(|text| text.trim().parse().ok());
        let full = match root.attribute("state") {
            Some("full") => true,
            Some("partial") => false,
            _ => return Err(wrong(root, "its state is neither full nor partial")),
        };
        let version = version.ok_or_else(|| wrong(root, "its version is no number"))?;
        let lists = root.children().filter(|node| is(*node, NAMESPACE, "watcher-list")).map(list);
        Ok(WatcherInfo { version, full, lists: lists.collect::<Result<_, _>>()? })
    }
}

fn list(node: Node<'_, '_>) -> Result<List, Unreadable> {
    let (Some(resource), Some(package)) = (node.attribute("resource"), node.attribute("package")) else {
        return Err(wrong(node, "it needs the attributes resource and package"));
    };
    let mut watchers = Vec::new();
    let mut places = BTreeMap::new();
    for child in node.children().filter(|child| is(*child, NAMESPACE, "watcher")) {
        let watcher = watcher(child)?;
        if places.insert(watcher.id.clone(), watchers.len()).is_some() {
            return Err(wrong(child, format!("the id {} stands twice", watcher.id)));
        }
        watchers.push(watcher);
    }
    for child in node.children().filter(|child| is(*child, IMPART, "authenticated")) {
        let place = child.attribute("id").and_then(|id| places.get(id));
        let proof = [Proof::Domain, Proof::User].into_iter().find(|proof| child.attribute("by") == Some(proof.word()));
        if let (Some(place), Some(proof)) = (place, proof) {
            watchers[*place].proof = proof;
        }
    }
    Ok(List { resource: resource.to_owned(), package: package.to_owned(), watchers })
}

fn watcher(node: Node<'_, '_>) -> Result<Watcher, Unreadable> {
    let seconds = |name| node.attribute(name).and_then(|text| text.trim().parse().ok());
    let status = node.attribute("status").and_then(Status::of);
    let cause = node.attribute("event").and_then(Cause::of);
    Ok(Watcher {
        id: node.attribute("id").ok_or_else(|| wrong(node, "it has no id"))?.to_owned(),
        uri: text(node),
        status: status.ok_or_else(|| wrong(node, "its status is none of RFC 3858 §3"))?,
        cause: cause.ok_or_else(|| wrong(node, "its event is none of RFC 3858 §3"))?,
        name: node.attribute("display-name").map(str::to_owned),
        expires: seconds("expiration"),
        lasted: seconds("duration-subscribed"),
        proof: Proof::None,
    })
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was taken.
    Taken,
    /// It was taken, but some before it are missing: ask for all.
    Gap,
    /// It is old, and was dropped.
    Old,
}

/// Who watches, by the documents so far (RFC 3858 §4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    version: Option<u64>,
    rows: BTreeMap<(String, String), Watcher>,
}

impl Table {
    /// Takes a document.
    pub fn apply(&mut self, document: &WatcherInfo) -> Applied {
        if self.version.is_some_and(|version| document.version <= version) {
            return Applied::Old;
        }
        let next = self.version.is_some_and(|version| document.version == version + 1);
        self.version = Some(document.version);
        if document.full {
            self.rows.clear();
        }
        for list in &document.lists {
            for watcher in &list.watchers {
                let key = (list.resource.clone(), watcher.id.clone());
                match watcher.status {
                    Status::Terminated => _ = self.rows.remove(&key),
                    _ => _ = self.rows.insert(key, watcher.clone()),
                }
            }
        }
        if next || document.full { Applied::Taken } else { Applied::Gap }
    }

    /// Resources with their watchers, by the identifiers of these.
    pub fn watchers(&self) -> impl Iterator<Item = (&str, &Watcher)> {
        self.rows.iter().map(|((resource, _), watcher)| (resource.as_str(), watcher))
    }
}
