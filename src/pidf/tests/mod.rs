mod documents;
mod examples;
mod lists;
mod views;

use super::*;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn alice() -> Mailbox {
    mailbox("alice@a.example")
}

fn time(text: &str) -> Timestamp {
    super::read::time(text).unwrap_or_else(|| panic!("{text} is no time"))
}

fn now() -> Timestamp {
    time("2026-11-23T12:00:00Z")
}

const NAMESPACES: &str = "xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
    xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" xmlns:c=\"urn:ietf:params:xml:ns:pidf:cipid\" xmlns:x=\"urn:x\" \
    xmlns:t=\"urn:ietf:params:xml:ns:pidf:timed-status\"";

/// A document about alice with these children.
fn source(children: &str) -> String {
    format!("<presence {NAMESPACES} entity=\"pres:alice@a.example\">{children}</presence>")
}

fn document(children: &str) -> Document {
    let source = source(children);
    Document::parse(&source).unwrap_or_else(|fault| panic!("{fault}\n{source}"))
}
