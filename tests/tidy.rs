//! The manner of `src`, checked as an ordinary test: layers, lengths, headers, what must not be left behind.
//!
//! Everything is read as text. Comments, strings and characters are blanked first ([`source::Source`]), so that what is
//! found is code. An exception is a line of a table here, with its reason; one that no longer applies is a fault too.

#[path = "common/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, sources};

/// Lines of a file.
const FILE_LINES: usize = 600;
/// Lines of a function, from its signature to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Imports inside one layer: (module, what it imports, why).
const SAME_LAYER: &[(&str, &str, &str)] = &[
    ("address", "limits", "a bound is a word, and the address is what it bounds"),
    ("envelope", "address", "an envelope is made of addresses"),
    ("envelope", "timestamp", "an envelope's deliver-by is a time"),
    ("xml", "limits", "the attributes of an element have one bound, whatever the document"),
    ("attached", "accounts", "an attachment says who it is and what it may read"),
    ("attached", "spool", "what waits is named by the spool's identifiers, and concluded in its words"),
    ("pidf", "mime", "a list of watchers tells the states and reasons of the Presence field"),
    ("pidf", "rules", "a view is what the rules provide of a document"),
    ("presence", "accounts", "what a watcher sees is what the rules of an account say"),
    ("presence", "spool", "its rows are in the spool's store and its commits"),
    ("bridge", "receipt", "a report of the mail world is told on as a receipt"),
    ("bridge", "route", "a report about mail exchangers tells what was counted of them"),
    ("dns", "net", "a fault of a socket is told in the same words everywhere"),
    ("smtp", "sasl", "a session in which somebody says who they are carries the exchange of SASL"),
    ("tls", "disk", "the certificates that are made replace older ones as a whole"),
    ("tls", "dns", "DANE compares certificates with TLSA records, which are values of dns"),
];

/// Files longer than [`FILE_LINES`]: (path, why).
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions longer than [`FUNCTION_LINES`]: (path, name, why).
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// Lines that may panic outside tests: (path, text on the line, why).
const PANICS: &[(&str, &str, &str)] = &[];

/// Faults that `tests/mutate` makes: each can be made, in the one place that is meant.
#[test]
fn mutations_fit_the_code() {
    #[derive(serde::Deserialize)]
    struct Mutation {
        name: String,
        file: String,
        from: String,
        to: String,
        tests: String,
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/mutations.toml")).unwrap();
    let mut list: BTreeMap<String, Vec<Mutation>> = toml::from_str(&text).unwrap();
    let list = list.remove("mutation").unwrap();
    let names: BTreeSet<&str> = list.iter().map(|one| one.name.as_str()).collect();
    assert!(names.len() == list.len() && list.len() >= 20, "{} names, {} faults", names.len(), list.len());
    for Mutation { name, file, from, to, tests } in &list {
        let code = std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(code.matches(from.as_str()).count(), 1, "{name}: its text in {file}");
        assert!(from != to && tests.contains("test("), "{name}");
    }
}

#[test]
fn modules_import_only_from_lower_layers() {
    let layers = layers();
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    for source in sources("src") {
        let Some(module) = source.module() else { continue };
        let own = *layers.get(module).unwrap_or_else(|| panic!("{}: src/lib.rs gives {module} no layer", source.path));
        for (line, import) in source.imports() {
            let Some(layer) = layers.get(import.as_str()) else { continue };
            let excepted = SAME_LAYER.iter().position(|(from, to, _)| (*from, *to) == (module, import.as_str()));
            match excepted {
                Some(at) if *layer == own => _ = used.insert(at),
                _ if import == module || *layer < own => {}
                _ => faults
                    .push(format!("{}:{line}: {module} (layer {own}) imports {import} (layer {layer})", source.path)),
            }
        }
    }
    stale(&mut faults, SAME_LAYER.iter().map(|(from, to, _)| format!("{from} imports {to}")), &used);
    report(&faults);
}

/// The layer of each module, as `lib.rs` groups its `mod` lines under `// N: …`.
fn layers() -> BTreeMap<String, u32> {
    let text = source::read("src/lib.rs");
    let mut layer = None;
    let mut layers = BTreeMap::new();
    for line in text.lines() {
        if let Some((number, _)) = line.strip_prefix("// ").and_then(|rest| rest.split_once(':')) {
            layer = number.parse().ok().or(layer);
        }
        let declared = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
        if let Some(name) = declared.and_then(|rest| rest.strip_suffix(';')) {
            layers.insert(name.to_owned(), layer.unwrap_or_else(|| panic!("src/lib.rs: `mod {name}` has no layer")));
        }
    }
    assert!(layers.len() > 10, "src/lib.rs: the groups of `mod` lines were not found");
    layers
}

#[test]
fn files_and_functions_are_short() {
    let mut faults = Vec::new();
    let (mut files, mut functions) = (BTreeSet::new(), BTreeSet::new());
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            match LONG_FILES.iter().position(|(path, _)| *path == source.path) {
                Some(at) => _ = files.insert(at),
                None => faults.push(format!("{}: {lines} lines, at most {FILE_LINES}; split it", source.path)),
            }
        }
        for function in source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES) {
            let known = |(path, name, _): &(&str, &str, &str)| (*path, *name) == (&*source.path, &*function.name);
            match LONG_FUNCTIONS.iter().position(known) {
                Some(at) => _ = functions.insert(at),
                None => faults.push(format!(
                    "{}:{}: fn {} has {} lines, at most {FUNCTION_LINES}; split it",
                    source.path, function.line, function.name, function.lines
                )),
            }
        }
    }
    stale(&mut faults, LONG_FILES.iter().map(|(path, _)| (*path).to_owned()), &files);
    stale(&mut faults, LONG_FUNCTIONS.iter().map(|(path, name, _)| format!("{path}: {name}")), &functions);
    report(&faults);
}

#[test]
fn nothing_panics_by_unwrap_or_expect_outside_tests() {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources("src") {
        for (number, code) in source.lines_outside_tests() {
            // Parsers have an `expect` of their own; the one that panics takes a text.
            let text = source.text.lines().nth(number - 1).unwrap_or_default();
            let calls = [".unwrap()", ".unwrap_err()"].iter().any(|call| code.contains(call));
            let told =
                [".expect(\"", ".expect(&", ".expect_err(\"", ".expect_err(&"].iter().any(|call| text.contains(call));
            if !(calls || told && code.contains(".expect")) {
                continue;
            }
            match PANICS.iter().position(|(path, part, _)| *path == source.path && text.contains(part)) {
                Some(at) => _ = used.insert(at),
                None => faults.push(format!("{}:{number}: {}", source.path, text.trim())),
            }
        }
    }
    stale(&mut faults, PANICS.iter().map(|(path, part, _)| format!("{path}: {part}")), &used);
    report(&faults);
}

#[test]
fn nothing_is_left_behind() {
    // Put together here, so that this file does not find itself.
    let notes = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let macros = [["todo", "!("], ["unimplemented", "!("], ["dbg", "!("]].map(|halves| halves.concat());
    let mut faults = Vec::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        for (at, (text, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
            let note = notes.iter().any(|word| source::has_word(text, word));
            if note || macros.iter().any(|word| code.contains(word.as_str())) {
                faults.push(format!("{}:{}: {}", source.path, at + 1, text.trim()));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_file_says_what_it_is() {
    // Tests beside a module are described by what they test.
    let beside = |path: &str| path.starts_with("src/") && (path.ends_with("tests.rs") || path.contains("/tests/"));
    let headless = |source: &Source| !source.text.starts_with("//! ") && !beside(&source.path);
    let files = ["src", "tests", "benches"].into_iter().flat_map(sources);
    report(&files.filter(headless).map(|source| format!("{}: no `//!` header", source.path)).collect::<Vec<_>>());
}

/// Adds a fault for each exception that nothing used.
fn stale(faults: &mut Vec<String>, exceptions: impl Iterator<Item = String>, used: &BTreeSet<usize>) {
    let unused = exceptions.enumerate().filter(|(at, _)| !used.contains(at));
    faults.extend(unused.map(|(_, what)| format!("tests/tidy.rs: the exception `{what}` no longer applies")));
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn of(text: &str) -> Source {
    Source { path: "src/x.rs".to_owned(), text: text.to_owned(), code: source::blanked(text) }
}

#[test]
fn what_is_not_code_is_blanked() {
    let check = |text: &str, expected: &str| assert_eq!(source::blanked(text), expected, "{text}");
    check("a // b\nc", "a     \nc");
    check("a /* /* b */ */ c", &format!("a{}c", " ".repeat(15)));
    check("a(\"}\\\"\") b", "a(     ) b");
    check("r#\"}\"# b", "       b");
    check("br\"}\" b", "b     b");
    check("'{' 'x <'a> '\\'' '\\u{1F}' b", &format!("    'x <'a>{}b", " ".repeat(15)));
}

#[test]
fn functions_and_their_lengths() {
    let text = "impl A {\n fn one(a: [u8; 3]) -> B where B: C {\n  {}\n }\n fn two();\n}\nfn three() {}\n";
    let found = of(text).functions();
    let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(found, [("one", 2, 3), ("three", 7, 1)]);
}

#[test]
fn imports_of_groups_and_paths_but_not_of_tests() {
    let text = "use crate::a::B;\nuse crate::{c, d::{E, f}, g};\nfn x() { crate::h::y() }\n";
    let text = format!("{text}#[cfg(test)]\nmod tests {{ use crate::z; }}\n");
    let names: Vec<_> = of(&text).imports().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["a", "c", "d", "g", "h"]);
}
