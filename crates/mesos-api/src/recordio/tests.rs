use proptest::prelude::*;

use super::*;

fn all(decoder: &mut Decoder) -> Vec<Bytes> {
    std::iter::from_fn(|| decoder.next_record().unwrap()).collect()
}

proptest! {
    #[test]
    fn records_survive_any_cut(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..10),
        step in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        for record in &records {
            encode_into(&mut stream, record);
        }
        let mut decoder = Decoder::new(1000);
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            decoder.feed(piece);
            found.extend(all(&mut decoder));
        }
        prop_assert!(decoder.is_between_records());
        prop_assert_eq!(found, records);
    }
}

#[test]
fn a_length_must_be_a_number() {
    for bad in ["x\n", "-1\n", "+1\n", "\n", "1 \n", "99999999999999999999\n"] {
        let mut decoder = Decoder::new(1000);
        decoder.feed(bad.as_bytes());
        assert!(matches!(decoder.next_record(), Err(RecordError::Length(_))), "{bad:?}");
    }
    let mut decoder = Decoder::new(1000);
    decoder.feed(b"abc\nrest");
    assert_eq!(
        decoder.next_record().unwrap_err().to_string(),
        "Failed to decode length 'abc': Failed to convert 'abc' to number"
    );
}

#[test]
fn a_length_without_end_is_refused_early() {
    let mut decoder = Decoder::new(1000);
    decoder.feed(&[b'1'; 21]);
    assert!(decoder.next_record().is_err());
}

#[test]
fn a_record_over_the_limit_is_refused_before_it_comes() {
    let mut decoder = Decoder::new(1000);
    decoder.feed(b"1001\n");
    assert_eq!(decoder.next_record(), Err(RecordError::TooLong { length: 1001, max: 1000 }));
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/recordio");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let mut decoder = Decoder::new(1 << 16);
        decoder.feed(&std::fs::read(entry.unwrap().path()).unwrap());
        while let Ok(Some(_)) = decoder.next_record() {}
    }
}
