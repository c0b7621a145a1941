//! Rust source read as text, for the tests that look at the source itself.
//!
//! In: files below a folder of the package. Out: [`Source`], whose `code` has the same lines and columns as its `text`
//! with comments, strings and characters blanked. It is a scanner, not a parser: enough for braces and words.

#![allow(dead_code)] // Each test that includes this file uses its own part of it.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub struct Source {
    /// Relative to the package, with `/`.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// With comments, strings and characters blanked.
    pub code: String,
}

/// A function and where it is.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where `fn` stands, from 1.
    pub line: usize,
    /// From there to the closing brace, both counted.
    pub lines: usize,
}

/// The package's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of one file of the package.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All `.rs` files below `folder`, in order of their paths; build output is passed over.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut found = files(&root().join(folder), "rs");
    found.sort();
    let load = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let text = read(&name);
        Source { code: blanked(&text), path: name, text }
    };
    found.into_iter().map(load).collect()
}

/// All files below `folder` with the extension; `*` takes every file.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(files(&path, extension));
            }
        } else if extension == "*" || path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it.
pub fn has_word(text: &str, word: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    text.match_indices(word)
        .any(|(at, _)| edge(text[..at].chars().next_back()) && edge(text[at + word.len()..].chars().next()))
}

impl Source {
    /// The module of the crate that the file belongs to, by its path below `src/`; none for the programs and `lib.rs`.
    pub fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let name = rest.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "bin").then_some(name)
    }

    /// Modules of the crate that are named outside tests, with the line.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let kept = self.without_tests();
        let mut found = Vec::new();
        for (at, _) in kept.match_indices("crate::") {
            let line = kept[..at].matches('\n').count() + 1;
            let rest = &kept[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group).into_iter().map(|name| (line, name))),
                None => found.push((line, word(rest))),
            }
        }
        found
    }

    /// The lines of code outside tests, numbered from 1.
    pub fn lines_outside_tests(&self) -> Vec<(usize, String)> {
        self.without_tests().lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect()
    }

    /// The code with every item under `#[cfg(test)]` blanked; a file of tests is blank altogether.
    fn without_tests(&self) -> String {
        let blank = |code: &str| code.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect::<String>();
        if self.path.ends_with("tests.rs") || self.path.contains("/tests/") {
            return blank(&self.code);
        }
        let mut code = self.code.clone();
        while let Some(at) = code.find("#[cfg(test)]") {
            let end = item_end(&code, at + "#[cfg(test)]".len());
            let blanked = blank(&code[at..end]);
            code.replace_range(at..end, &blanked);
        }
        code
    }

    /// Every function that has a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let before = self.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let name = word(&self.code[at + 3..]);
            let end = item_end(&self.code, at);
            if !name.is_empty() && self.code[at..end].ends_with('}') {
                let line = self.code[..at].matches('\n').count() + 1;
                let lines = self.code[at..end].matches('\n').count() + 1;
                found.push(Function { name, line, lines });
            }
        }
        found
    }
}

/// The identifier that `text` starts with.
fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of a `use` group, whose opening brace has been taken.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(String::new()),
            c if depth == 0 => heads.last_mut().into_iter().for_each(|head| head.push(c)),
            _ => {}
        }
    }
    heads.iter().map(|head| word(head.trim())).filter(|head| !head.is_empty()).collect()
}

/// Where the item that starts at `from` ends: after the brace that closes its body, or after its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let (mut braces, mut brackets) = (0usize, 0usize);
    for (offset, byte) in code[from..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b'{' => braces += 1,
            b'}' if braces <= 1 => return from + offset + 1,
            b'}' => braces -= 1,
            b';' if braces == 0 && brackets == 0 => return from + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// The same text with comments, strings and characters turned into blanks.
pub fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !word_before(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => character_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Whether the byte before belongs to a word (other than the prefix of a byte string).
fn word_before(bytes: &[u8], at: usize) -> bool {
    let in_word = |at: usize| at.checked_sub(1).is_some_and(|b| bytes[b].is_ascii_alphanumeric() || bytes[b] == b'_');
    in_word(at) && (bytes[at - 1] != b'b' || in_word(at - 1))
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |offset| at + offset)
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let body = at + 1 + hashes;
    if bytes.get(body) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let end = bytes[body + 1..].windows(close.len()).position(|part| part == close);
    Some(end.map_or(bytes.len(), |offset| body + 1 + offset + close.len()))
}

/// A character literal, as opposed to a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    // One character of up to four bytes, then the quote.
    let text = std::str::from_utf8(&bytes[at + 1..bytes.len().min(at + 5)]);
    let length = match text {
        Ok(text) => text.chars().next()?.len_utf8(),
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[at + 1..at + 1 + error.valid_up_to()]).ok()?.chars().next()?.len_utf8()
        }
        Err(_) => return None,
    };
    (bytes.get(at + 1 + length) == Some(&b'\'')).then_some(at + 2 + length)
}
