//! The configuration file.
#![no_main]

use std::path::Path;

use impart::config::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = parse(text, Path::new("impart.toml")) {
        let shown = errors.to_string();
        assert!(shown.contains("impart.toml"), "{shown}");
    }
});
