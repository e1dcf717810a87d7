//! Any text as a Dockerfile: parsed, planned, its mistakes shown.
#![no_main]

use builder::plan::{Inputs, plan};
use builder::syntax::parse;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(file) => {
            if let Err(found) = plan(&file, &Inputs::default()) {
                let _ = found.render("Dockerfile", text);
            }
            for found in &file.warnings {
                let _ = found.render("Dockerfile", text);
            }
        }
        Err(found) => drop(found.render("Dockerfile", text)),
    }
});
