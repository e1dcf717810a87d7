//! Any text as a `.dockerignore`, asked about paths: the first line is one.
#![no_main]

use dockerignore::{Patterns, matches_path};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (path, rest) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(patterns) = Patterns::parse(rest) {
        let _ = patterns.may_contain(path);
        let _ = patterns.excludes(path);
    }
    let _ = matches_path(rest, path);
});
