//! The command parser: one line, under each set of extensions.
#![no_main]

use impart::smtp::command::{Context, announces_chunk, find, parse};
use impart::smtp::extension::{Extension, Set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let _ = announces_chunk(line);
    let _ = find(line);
    let mut all = Set::EMPTY;
    Extension::ALL.into_iter().for_each(|extension| all.insert(extension));
    for utf8 in [false, true] {
        for offered in [Set::EMPTY, all] {
            if let Err(error) = parse(line, Context { offered, utf8 }) {
                assert!(error.reply().is_permanent());
            }
        }
    }
});
