//! Any stream of records, in two pieces: the same as in one.
#![no_main]

use mesos_api::recordio::Decoder;

fn records(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(1 << 16);
    let mut found = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Ok(Some(record)) = decoder.next_record() {
            found.push(record.to_vec());
        }
    }
    found
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (left, right) = bytes.split_at(bytes.len() / 2);
    let whole = records(&[bytes]);
    let halves = records(&[left, right]);
    assert!(halves.starts_with(&whole) || whole.starts_with(&halves));
});
