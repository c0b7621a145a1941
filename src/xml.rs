//! XML within bounds: a tree with the place of each element, and pieces of it that can stand elsewhere.
//!
//! In: a text, and its bounds. Out: a tree; an element's octets with the namespaces that they need; text escaped for a
//! document of ours. Invariants: no DTD, so no entity but the five of XML; nothing longer or deeper than the bounds is given
//! out; octets that are not taken away stay as they are. It fails with the line, the element and what would be right.

use std::borrow::Cow;
use std::ops::Range;

use roxmltree::{Document, Node, ParsingOptions};

use crate::limits;

/// What a document may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What it is called: `a presence document`.
    pub what: &'static str,
    /// Octets.
    pub octets: usize,
    /// Elements and pieces of text, each of which takes many times the octets of the shortest in memory.
    pub nodes: usize,
    /// Elements inside of each other.
    pub depth: usize,
}

/// What is wrong in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Too much.
    #[error("{what} has at most {octets} octets; leave something out")]
    Size {
        /// What it is called.
        what: &'static str,
        /// The bound.
        octets: usize,
    },
    /// Not UTF-8.
    #[error("the document is not in UTF-8; write it in UTF-8")]
    Encoding,
    /// Not XML, or with a DTD.
    #[error("line {line}, column {column}: {fault}")]
    Form {
        /// Counted from 1.
        line: u32,
        /// Counted from 1.
        column: u32,
        /// What.
        fault: String,
    },
    /// An element.
    #[error("line {line}, <{element}>: {fault}")]
    Element {
        /// Counted from 1.
        line: u32,
        /// Its local name.
        element: String,
        /// What, and what would be right.
        fault: String,
    },
}

/// Reads a document.
pub fn parse(text: &str, bounds: Bounds) -> Result<Document<'_>, XmlError> {
    if text.len() > bounds.octets {
        return Err(XmlError::Size { what: bounds.what, octets: bounds.octets });
    }
    if !declared_utf8(text) {
        return Err(XmlError::Encoding);
    }
    let nodes_limit = u32::try_from(bounds.nodes).unwrap_or(u32::MAX);
    let options = ParsingOptions { allow_dtd: false, nodes_limit, ..ParsingOptions::default() };
    if let Some(at) = crowded(text) {
        let line = u32::try_from(text[..at].matches('\n').count()).unwrap_or(u32::MAX).saturating_add(1);
        let fault = format!("an element has more than {} attributes; leave some out", limits::XML_ATTRIBUTES);
        return Err(XmlError::Form { line, column: 1, fault });
    }
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let place = error.pos();
        let fault = match error {
            roxmltree::Error::DtdDetected => format!("{} has no DTD; take <!DOCTYPE> out", bounds.what),
            roxmltree::Error::NodesLimitReached => format!("{} has fewer elements; leave something out", bounds.what),
            other => format!("not well-formed XML: {other}"),
        };
        XmlError::Form { line: place.row, column: place.col, fault }
    })?;
    let deep = |node: &Node<'_, '_>| node.ancestors().take(bounds.depth + 2).count() > bounds.depth + 1;
    if let Some(node) = document.descendants().filter(Node::is_element).find(deep) {
        return Err(wrong(node, format!("elements are nested deeper than {}", bounds.depth)));
    }
    Ok(document)
}

/// Checks that no more namespaces are declared for an element than [`lifted`] may write with each of its children.
pub fn few_namespaces(document: &Document<'_>, most: usize, octets: usize) -> Result<(), XmlError> {
    for node in document.descendants().filter(Node::is_element) {
        if node.namespaces().take(most + 1).count() > most {
            return Err(wrong(node, format!("there are more than {most} namespaces; declare fewer")));
        }
        if node.namespaces().any(|namespace| namespace.uri().len() > octets) {
            return Err(wrong(node, format!("a namespace has more than {octets} octets; choose a shorter one")));
        }
    }
    Ok(())
}

/// Where an element begins that has more attributes than [`limits::XML_ATTRIBUTES`], whose names a parser compares with each
/// other. Linear, and looks at nothing but tags.
pub fn crowded(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(start) = text[at..].find('<').map(|distance| at + distance) {
        let rest = &text[start..];
        let ends = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];
        if let Some((begin, end)) = ends.into_iter().find(|(begin, _)| rest.starts_with(begin)) {
            at = start + begin.len() + rest[begin.len()..].find(end)? + end.len();
            continue;
        }
        let (mut quote, mut attributes, mut length) = (None, 0, rest.len());
        for (place, octet) in rest.bytes().enumerate() {
            match (octet, quote) {
                (b'"' | b'\'', None) => quote = Some(octet),
                (_, Some(open)) if octet == open => quote = None,
                (b'=', None) => attributes += 1,
                (b'>', None) => {
                    length = place;
                    break;
                }
                _ => {}
            }
        }
        if attributes > limits::XML_ATTRIBUTES {
            return Some(start);
        }
        at = start + length;
    }
    None
}

/// Whether the XML declaration, where there is one, names UTF-8 or a part of it.
fn declared_utf8(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(declaration) = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map(|(inner, _)| inner)
    else {
        return true;
    };
    let Some((_, rest)) = declaration.split_once("encoding") else { return true };
    let name = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    let name = name.trim_start_matches(['"', '\'']).split(['"', '\'']).next().unwrap_or_default();
    name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("us-ascii")
}

/// A fault of an element.
pub fn wrong(node: Node<'_, '_>, fault: impl Into<String>) -> XmlError {
    let line = node.document().text_pos_at(node.range().start).row;
    XmlError::Element { line, element: node.tag_name().name().to_owned(), fault: fault.into() }
}

/// Whether it is that element of that namespace.
pub fn is(node: Node<'_, '_>, namespace: &str, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name && node.tag_name().namespace() == Some(namespace)
}

/// The characters directly in an element, without the white space around them.
pub fn text(node: Node<'_, '_>) -> String {
    let text: String = node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
    text.trim().to_owned()
}

/// A text as it stands in an element or an attribute: US-ASCII without markup. Characters that XML does not know become
/// U+FFFD.
pub fn escaped(text: &str) -> Cow<'_, str> {
    use std::fmt::Write as _;
    let plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '<' | '>' | '&' | '"' | '\'');
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            ' '..='~' => out.push(c),
            '\t' | '\n' | '\r' | '\u{85}'..='\u{fffd}' | '\u{10000}'.. => {
                // Writing into a string does not fail.
                let _ = write!(out, "&#x{:X};", u32::from(c));
            }
            _ => out.push_str("&#xFFFD;"),
        }
    }
    Cow::Owned(out)
}

/// The octets of an element with some of them replaced, and with the namespaces declared and the language told that it has
/// from outside, so that it can stand under an element whose default namespace is `default`, and nothing else declared.
/// The places that are replaced follow each other.
pub fn lifted(node: Node<'_, '_>, default: &str, replaced: &[(Range<usize>, String)]) -> String {
    let source = node.document().input_text();
    let range = node.range();
    let name = source[range.start + 1..range.end].split([' ', '\t', '\r', '\n', '/', '>']).next().unwrap_or_default();
    let after_name = range.start + 1 + name.len();
    let mut kept = String::with_capacity(range.len() + 64);
    kept.push_str(&source[range.start..after_name]);
    let mut at = after_name;
    let mut rest = String::with_capacity(range.len());
    for (place, new) in replaced {
        if place.start >= at && place.end <= range.end {
            rest.push_str(&source[at..place.start]);
            rest.push_str(new);
            at = place.end;
        }
    }
    rest.push_str(&source[at..range.end]);
    let own = declared(&source[after_name..range.end]);
    let outside = node.parent_element();
    let mut wanted: Vec<(&str, &str)> = outside.map_or(Vec::new(), |outside| {
        outside.namespaces().filter_map(|one| one.name().map(|prefix| (prefix, one.uri()))).collect()
    });
    wanted.retain(|(prefix, _)| *prefix != "xml" && !own.contains(prefix));
    wanted.sort_unstable();
    for (prefix, uri) in wanted {
        let used = format!("{prefix}:");
        if name.starts_with(&used) || rest.contains(&used) {
            kept.push_str(&format!(" xmlns:{prefix}=\"{}\"", escaped(uri)));
        }
    }
    let inherited = outside.and_then(|outside| outside.default_namespace()).unwrap_or_default();
    if inherited != default && !own.contains(&"") {
        kept.push_str(&format!(" xmlns=\"{}\"", escaped(inherited)));
    }
    let language = |node: Node<'_, '_>| node.attribute((roxmltree::NS_XML_URI, "lang")).map(str::to_owned);
    if language(node).is_none()
        && let Some(language) = node.ancestors().find_map(language)
    {
        kept.push_str(&format!(" xml:lang=\"{}\"", escaped(&language)));
    }
    kept.push_str(&rest);
    kept
}

/// The prefixes that a start tag declares, from after its name on; the empty one is the default namespace.
fn declared(tag: &str) -> Vec<&str> {
    let mut prefixes = Vec::new();
    let mut rest = tag;
    loop {
        rest = rest.trim_start();
        if rest.starts_with(['>', '/']) || rest.is_empty() {
            return prefixes;
        }
        let Some((name, after)) = rest.split_once('=') else { return prefixes };
        let after = after.trim_start();
        let Some(quote) = after.chars().next() else { return prefixes };
        let Some((_, after)) = after[quote.len_utf8()..].split_once(quote) else { return prefixes };
        match name.trim_end() {
            "xmlns" => prefixes.push(""),
            name => prefixes.extend(name.strip_prefix("xmlns:")),
        }
        rest = after;
    }
}

/// Where an element's content stands; `None` where it is an empty tag.
pub fn content(node: Node<'_, '_>) -> Option<Range<usize>> {
    let range = node.range();
    let element = &node.document().input_text()[range.clone()];
    let mut quote = None;
    let end = element.bytes().position(|octet| {
        match (octet, quote) {
            (b'"' | b'\'', None) => quote = Some(octet),
            (_, Some(open)) if octet == open => quote = None,
            _ => {}
        }
        octet == b'>' && quote.is_none()
    })?;
    let close = element.rfind("</")?;
    (close > end).then(|| range.start + end + 1..range.start + close)
}

/// Whether it can be an identifier, or an element's name without a prefix: a name in US-ASCII without a colon.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { what: "a document", octets: 65_536, nodes: 8192, depth: 16 };

    fn fault(text: &str) -> String {
        parse(text, BOUNDS).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn bounds() {
        assert!(parse("<?xml version='1.0' encoding='utf-8'?><a/>", BOUNDS).is_ok());
        assert!(parse("<?xml version='1.0' encoding = \"US-ASCII\" ?><a/>", BOUNDS).is_ok());
        assert!(fault("<?xml version='1.0' encoding='utf-16'?><a/>").contains("write it in UTF-8"));
        assert!(fault("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>").contains("a document has no DTD"));
        assert!(fault("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>").contains("a document has no DTD"));
        assert!(fault("<a>&b;</a>").contains("not well-formed"));
        assert!(fault(&" ".repeat(65_537)).contains("at most 65536 octets"));
        assert!(fault(&format!("{}{}", "<a>".repeat(3000), "</a>".repeat(3000))).contains("nested deeper than 16"));
        let namespaces: String = (0..4000).map(|n| format!("<a xmlns:p{n}='u'>")).collect();
        let _ = parse(&namespaces, BOUNDS);
        let attributes = |number: usize| (0..number).map(|n| format!(" a{n}='>='")).collect::<String>();
        assert!(parse(&format!("<a{}/>", attributes(64)), BOUNDS).is_ok());
        let crowd = format!("<?p{0}?><!--<a{0}/>-->\n<a><b{0}/><![CDATA[<c{0}]]></a>", attributes(65));
        assert!(fault(&crowd).contains("line 2, column 1: an element has more than 64 attributes"));
        assert!(
            parse(&crowd.replacen(" a64='>='/></a>", "", 1).replace(&format!("<b{}/>", attributes(65)), ""), BOUNDS)
                .is_ok()
        );
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("plain text"), "plain text");
        assert_eq!(escaped("<a b=\"c'\">&\r\n\u{e9}\u{1f600}\u{1}\u{ffff}"), {
            "&lt;a b=&quot;c&apos;&quot;&gt;&amp;&#xD;&#xA;&#xE9;&#x1F600;&#xFFFD;&#xFFFD;"
        });
    }

    #[test]
    fn an_element_takes_its_namespaces_along() {
        let text = "<r:a xmlns:r='urn:r' xmlns:s=\"urn:s&amp;\" xmlns='urn:d'><b s:c='1'><d/><r:e xmlns:r='urn:x'/></b><r:f/></r:a>";
        let document = parse(text, BOUNDS).unwrap();
        let mut children = document.root_element().children();
        let first = children.next().unwrap();
        let cut = first.first_child().unwrap().range();
        assert_eq!(
            lifted(first, "urn:o", &[]),
            "<b xmlns:r=\"urn:r\" xmlns:s=\"urn:s&amp;\" xmlns=\"urn:d\" s:c='1'><d/><r:e xmlns:r='urn:x'/></b>"
        );
        assert_eq!(
            lifted(first, "urn:d", &[(cut, String::new())]),
            "<b xmlns:r=\"urn:r\" xmlns:s=\"urn:s&amp;\" s:c='1'><r:e xmlns:r='urn:x'/></b>"
        );
        assert_eq!(lifted(children.next().unwrap(), "urn:d", &[]), "<r:f xmlns:r=\"urn:r\"/>");
        let none = parse("<a><b/></a>", BOUNDS).unwrap();
        assert_eq!(lifted(none.root_element().first_child().unwrap(), "urn:d", &[]), "<b xmlns=\"\"/>");
    }
}
