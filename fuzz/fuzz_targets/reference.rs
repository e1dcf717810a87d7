//! Any text as an image's name: what is taken is the same when read again.
#![no_main]

use images::Reference;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::parse(text) else { return };
    let shown = reference.canonical();
    let again = Reference::parse(&shown).expect("a canonical name is a name");
    assert_eq!(again.canonical(), shown);
    let _ = reference.familiar_name();
});
