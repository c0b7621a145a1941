//! Mails as common programs write them, in several languages, and what is left of them: `tests/golden/replies`.
//!
//! `NAME.eml` is the mail, `NAME.txt` what the person wrote. `UPDATE=1` writes the second.

use std::fs;
use std::path::{Path, PathBuf};

use mail_parser::MessageParser;
use proptest::prelude::*;

use super::answer;

fn written(mail: &[u8]) -> String {
    answer(&MessageParser::default().parse(mail).unwrap())
}

fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/replies");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut samples: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "eml")).collect();
    samples.sort();
    samples
}

#[test]
fn replies_as_programs_write_them() {
    let samples = samples();
    assert!(samples.len() >= 40, "{} samples", samples.len());
    let mut differ = Vec::new();
    for path in samples {
        let got = written(&fs::read(&path).unwrap()) + "\n";
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &got).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if got != expected {
            differ.push(format!("{}\n--- expected\n{expected}--- got\n{got}", path.display()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn check(text: &str, expected: &str) {
    let mail = format!("From: bob@b.example\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}");
    assert_eq!(written(mail.as_bytes()), expected, "{text}");
}

#[test]
fn nobody_is_silenced() {
    check("-- \nBob", "--\nBob");
    check("> only a quotation\n", "> only a quotation");
    check(
        "-----Original Message-----\nFrom: a\nSent: b\nTo: c\n\nx",
        "-----Original Message-----\nFrom: a\nSent: b\nTo: c\n\nx",
    );
    check(
        "On Mon, 23 Nov 2026 at 12:00, Bob <bob@b.example> wrote:\n> x\n",
        "On Mon, 23 Nov 2026 at 12:00, Bob <bob@b.example> wrote:\n> x",
    );
    check("", "");
}

#[test]
fn what_only_looks_like_it() {
    check("The numbers are:\n1\n2\n3", "The numbers are:\n1\n2\n3");
    check("To: everybody\nBe there at 10:00", "To: everybody\nBe there at 10:00");
    check("a\n-----\nb", "a\n-----\nb");
    check("5 > 3\nand 2 < 3", "5 > 3\nand 2 < 3");
    check("Sent from my window I see the sea\nand you do not", "Sent from my window I see the sea\nand you do not");
}

#[test]
fn answers_between_the_lines() {
    check("> one\n>\n> two\n\n2!\n\n> three\n\n3!\n", "> two\n\n2!\n\n> three\n\n3!");
    check("> one\n\n1!\n\n> two\n", "> one\n\n1!");
    check("> one\n> two\n\nBoth.", "Both.");
    check("Hi,\n> one\nyes\n> two\nno\n-- \nBob\n", "Hi,\n> one\nyes\n> two\nno");
}

proptest! {
    #[test]
    fn what_a_person_writes_above_stays(
        text in "[a-z]{1,20}( [a-z]{1,10}){0,5}[.!?]",
        quoted in proptest::collection::vec("[ -~]{0,60}", 1..20),
    ) {
        let quoted: String = quoted.iter().map(|line| format!("> {line}\r\n")).collect();
        let mail = format!("From: b@b.example\r\n\r\n{text}\r\n\r\nOn Mon, 23 Nov 2026, Bob wrote:\r\n{quoted}");
        prop_assert_eq!(written(mail.as_bytes()), text);
    }

    #[test]
    fn nothing_is_too_strange(
        kind in "(text/plain; format=flowed|text/html|text/plain|multipart/alternative; boundary=b)",
        body in "([ -~äж>:\r\n-]|-- \r\n|<div>|<blockquote>|</div>|<p |>|--b\r\n){0,80}",
    ) {
        let mail = format!("From: b@b.example\r\nContent-Type: {kind}\r\n\r\n{body}");
        let _ = written(mail.as_bytes());
    }
}
