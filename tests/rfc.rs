//! Citations: every `RFC N §S` in the source, the tests and the manual names a document and a section that exist.
//!
//! The texts are looked for in `../shared/rfc` (or `IMPART_RFC`); where that folder is not there, nothing is
//! looked up, and the test says so. Deviations from an RFC are kept in `tests/rfc/exceptions.txt`, each
//! with the sentence that it deviates from, which must stand in the text, and the reason.

#[path = "common/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// A citation in a file of the package.
#[derive(Debug, PartialEq, Eq)]
struct Citation {
    rfc: u32,
    /// `4.5.3.1`, `A.1`, or nothing for the document as a whole.
    section: Option<String>,
    line: usize,
}

/// The citations of a text: `RFC 5321 §4.5.3`, `RFC 2920 §3.1 and §3.2`, `RFC 5322`.
fn citations(text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("RFC ") {
            let rest = &line[at + 4..];
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Ok(rfc) = rest[..digits].parse() else { continue };
            let sections = sections_after(&rest[digits..]);
            if sections.is_empty() {
                found.push(Citation { rfc, section: None, line: number + 1 });
            }
            found.extend(sections.into_iter().map(|s| Citation { rfc, section: Some(s), line: number + 1 }));
        }
    }
    found
}

/// The sections that stand right after the number of an RFC, joined by commas and `and`.
fn sections_after(mut rest: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
        let Some(after) = rest.strip_prefix('§') else { return found };
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(after.len());
        let section = after[..end].trim_end_matches('.');
        if section.is_empty() {
            return found;
        }
        found.push(section.to_owned());
        rest = &after[end..];
    }
}

/// The sections of an RFC: what stands as a number at the start of a line, before a title.
fn headings(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let line = line.strip_prefix("Appendix ").or_else(|| line.strip_prefix("APPENDIX ")).unwrap_or(line);
        let (number, title) = line.split_once([' ', ':'])?;
        let number = number.trim_end_matches('.');
        let first = number.split('.').next()?;
        let numbered = first.chars().all(|c| c.is_ascii_digit()) || (first.len() == 1 && first.is_ascii());
        let rest = number.split('.').skip(1).all(|part| part.chars().all(|c| c.is_ascii_digit()) && !part.is_empty());
        (!first.is_empty() && numbered && rest && !title.trim().is_empty()).then(|| number.to_owned())
    };
    // Old documents indent the headings of their sections.
    text.lines().flat_map(|line| [heading(line), heading(line.trim_start())]).flatten().collect()
}

fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("IMPART_RFC").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| source::root().join("../shared/rfc"));
    folder.is_dir().then_some(folder)
}

/// The text of an RFC.
fn text_of(folder: &std::path::Path, rfc: u32) -> Option<String> {
    fs::read_to_string(folder.join(format!("rfc{rfc}.txt"))).ok()
}

/// Every file whose citations count: source, tests, manual pages.
fn cited_files() -> Vec<PathBuf> {
    let root = source::root();
    let mut files = source::files(&root.join("src"), "rs");
    files.extend(source::files(&root.join("tests"), "rs"));
    files.extend(source::files(&root.join("man"), "*"));
    files.retain(|path| !path.ends_with("tests/rfc.rs"));
    files.sort();
    files
}

#[test]
fn citations_exist() {
    let Some(folder) = folder() else {
        println!("left out: ../shared/rfc is not here, so the sections were not looked up");
        return;
    };
    let elsewhere = elsewhere();
    let mut known: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    for path in cited_files() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(source::root()).unwrap_or(&path).display().to_string();
        for Citation { rfc, section, line } in citations(&text) {
            let Some(section) = section else { continue };
            let sections = known.entry(rfc).or_insert_with(|| {
                let text = text_of(&folder, rfc);
                text.map_or_else(|| elsewhere.get(&rfc).cloned().unwrap_or_default(), |text| headings(&text))
            });
            if !sections.contains(&section) {
                faults.push(format!("{name}:{line}: RFC {rfc} has no section {section}, nor tests/rfc/elsewhere.txt"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The sections of documents whose text is not at hand, as `tests/rfc/elsewhere.txt` lists them.
fn elsewhere() -> BTreeMap<u32, BTreeSet<String>> {
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for line in source::read("tests/rfc/elsewhere.txt").lines().filter(|line| !line.starts_with('#')) {
        for Citation { rfc, section, .. } in citations(line) {
            found.entry(rfc).or_default().extend(section);
        }
    }
    found
}

/// A deviation: document, section, the sentence of the RFC, the reason.
fn exceptions(text: &str) -> Vec<(u32, String, String, String)> {
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    let lines = |block: &str| block.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    blocks.map(lines).filter(|block| !block.trim().is_empty()).map(|block| exception(&block)).collect()
}

fn exception(block: &str) -> (u32, String, String, String) {
    let cited = citations(block).into_iter().next().filter(|citation| citation.section.is_some());
    let cited = cited.unwrap_or_else(|| panic!("an exception starts with `RFC N §S`:\n{block}"));
    let part = |mark: &str, until: &str| {
        let from =
            block.find(mark).unwrap_or_else(|| panic!("an exception has a line `{mark}`:\n{block}")) + mark.len();
        let to = block[from..].find(until).map_or(block.len(), |offset| from + offset);
        squeezed(block[from..to].trim().trim_matches('"'))
    };
    let (quote, reason) = (part("quote:", "\nreason:"), part("reason:", "\u{0}"));
    assert!(!quote.is_empty() && reason.len() > 20, "an exception has a quote and a reason:\n{block}");
    (cited.rfc, cited.section.unwrap_or_default(), quote, reason)
}

/// With every run of blanks, line ends and page breaks as one blank.
fn squeezed(text: &str) -> String {
    let page = |line: &&str| !(line.contains("[Page ") || (line.starts_with("RFC ") && line.len() > 60));
    let lines: Vec<&str> = text.lines().filter(page).collect();
    lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn exceptions_quote_what_they_deviate_from() {
    let exceptions = exceptions(&source::read("tests/rfc/exceptions.txt"));
    assert!(!exceptions.is_empty(), "tests/rfc/exceptions.txt has no exceptions");
    let Some(folder) = folder() else {
        println!("left out: ../shared/rfc is not here, so the quotes were not looked up");
        return;
    };
    for (rfc, section, quote, _) in exceptions {
        let text = text_of(&folder, rfc).unwrap_or_else(|| panic!("RFC {rfc} is not in {}", folder.display()));
        assert!(headings(&text).contains(&section), "RFC {rfc} has no section {section}");
        assert!(squeezed(&text).contains(&quote), "RFC {rfc} does not say: {quote}");
    }
}

#[test]
fn citations_are_found() {
    let check = |text: &str, expected: &[(u32, Option<&str>)]| {
        let found = citations(text);
        let found: Vec<_> = found.iter().map(|c| (c.rfc, c.section.as_deref())).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("as RFC 5321 §4.5.3.1. says", &[(5321, Some("4.5.3.1"))]);
    let three = [(5321, Some("4.1.2")), (5321, Some("4.5.3")), (6531, Some("3.2"))];
    check("RFC 5321 §4.1.2 and §4.5.3, RFC 6531 §3.2", &three);
    check("(RFC 2782, RFC 5280 §A.1)", &[(2782, None), (5280, Some("A.1"))]);
    check("RFC 5321 4.5", &[(5321, None)]);
    check("an RFC that", &[]);
}

#[test]
fn headings_are_found() {
    let text = "1.  Introduction\n\n3.1 The Title\n   4.5.3.1.7.  Indented\nAppendix A.  More\nA.1.  Sub\n1 2\n2.5\n";
    let found = headings(text);
    for section in ["1", "3.1", "4.5.3.1.7", "A", "A.1"] {
        assert!(found.contains(section), "{section}: {found:?}");
    }
    assert!(!found.contains("2.5"));
}

/// The schemas under tests/golden/schemas, and where they are printed.
const SCHEMAS: [(&str, u32); 10] = [
    ("pidf", 3863),
    ("watcherinfo", 3858),
    ("common-schema", 4479),
    ("data-model", 4479),
    ("rpid", 4480),
    ("timed-status", 4481),
    ("cipid", 4482),
    ("rlmi", 4662),
    ("common-policy", 4745),
    ("pres-rules", 5025),
];

#[test]
fn schemas_are_those_that_the_rfcs_print() {
    let Some(folder) = folder() else {
        println!("left out: ../shared/rfc is not here, so the schemas were not compared");
        return;
    };
    for (name, rfc) in SCHEMAS {
        let schema = source::read(&format!("tests/golden/schemas/{name}.xsd"));
        let mut schema = squeezed(&schema[schema.find("<xs:schema").unwrap_or_default()..]);
        // RFC 4480 forgot to include what it takes from RFC 4479.
        if let (Some(from), true) = (schema.find("<!-- Not in RFC 4480"), name == "rpid") {
            let to = schema.find("\"common-schema.xsd\"/> ").expect("the inclusion") + "\"common-schema.xsd\"/> ".len();
            schema.replace_range(from..to, "");
        }
        let text = text_of(&folder, rfc).unwrap_or_else(|| panic!("RFC {rfc} is not in {}", folder.display()));
        assert!(squeezed(&text).contains(&schema), "{name}.xsd is not printed in RFC {rfc}");
    }
}
