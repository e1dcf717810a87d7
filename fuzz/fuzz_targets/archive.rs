//! Any bytes as an archive, compressed or not: memory stays bounded.
#![no_main]

use images::archive::read::{ArchiveReader, NoRecorder};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut reader = ArchiveReader::new(bytes, NoRecorder);
    while let Ok(Some(entry)) = reader.next_entry() {
        let _ = entry.name.len();
        let _ = reader.read_content(1 << 16);
    }
    let _ = reader.finish();
});
