//! Any word with variables in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lookup = |name: &str| (name.len() % 2 == 1).then(|| name.repeat(3));
    for escape in ['\\', '`'] {
        let _ = builder::expand::word(text, escape, &lookup);
        let _ = builder::expand::text(text, escape, &lookup);
    }
});
