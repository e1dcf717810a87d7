//! What goes over the wire, byte for byte.

use std::collections::BTreeMap;
use std::io::Read;

use super::{Entry, fluentd, gelf, journald, syslog};
use crate::shim::log::Source;
use crate::shim::protocol::remote::{
    Address, Fluentd, Gelf, GelfCompression, Journald, Syslog, SyslogFormat,
};

fn entry(source: Source, text: &[u8]) -> Entry<'_> {
    Entry { source, text, partial: false, time_ns: 1_700_000_000_123_456_789 }
}

#[test]
fn syslog_messages_have_their_form() {
    let message = |format, source| {
        let config = Syslog {
            address: None,
            facility: 3,
            format,
            tag: "ship".to_owned(),
            hostname: "host".to_owned(),
            pid: 7,
        };
        String::from_utf8(syslog::message(&config, entry(source, b"ahoy")).unwrap()).unwrap()
    };
    assert_eq!(
        message(SyslogFormat::Rfc5424, Source::Stdout),
        "<30>1 2023-11-14T22:13:20Z host ship 7 ship - ahoy\n"
    );
    assert_eq!(
        message(SyslogFormat::Rfc5424Micro, Source::Stderr),
        "<27>1 2023-11-14T22:13:20.123456Z host ship 7 ship - ahoy\n"
    );
    let old = message(SyslogFormat::Rfc3164, Source::Stdout);
    // The hour depends on the zone of whoever runs this.
    assert!(old.starts_with("<30>Nov 1") && old.ends_with(":20 host ship[7]: ahoy\n"), "{old}");
    let local = message(SyslogFormat::Local, Source::Stdout);
    assert!(local.ends_with(":20 ship[7]: ahoy\n"), "{local}");
}

#[test]
fn journal_fields_of_several_lines_have_a_length() {
    let fields = BTreeMap::from([("CONTAINER_NAME".to_owned(), "a\nb".to_owned())]);
    let message = journald::message(&Journald { fields }, entry(Source::Stderr, b"ahoy"));
    let wanted = b"MESSAGE=ahoy\nPRIORITY=3\nSYSLOG_TIMESTAMP=2023-11-14T22:13:20.123456789Z\n\
                   CONTAINER_NAME\n\x03\0\0\0\0\0\0\0a\nb\n";
    assert_eq!(message, wanted);
}

#[test]
fn fluentd_events_are_messagepack() {
    let fields = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let address = Address::Tcp("127.0.0.1:1".to_owned());
    let config = Fluentd { address, tag: "t".to_owned(), lazily: false, sub_second: false, fields };
    let message = fluentd::message(&config, entry(Source::Stdout, b"ahoy"));
    let wanted =
        b"\x93\xa1t\xce\x65\x53\xf1\x00\xde\x00\x03\xa6source\xa6stdout\xa3log\xa4ahoy\xa1k\xa1v";
    assert_eq!(message, wanted);
    let message =
        fluentd::message(&Fluentd { sub_second: true, ..config }, entry(Source::Stdout, b""));
    assert!(message.starts_with(b"\x93\xa1t\xd7\0\x65\x53\xf1\x00\x07\x5b\xcd\x15"));
}

#[test]
fn gelf_is_compressed_and_cut_into_chunks() {
    let config = |compression, address| Gelf {
        address,
        compression,
        level: 1,
        hostname: "host".to_owned(),
        fields: BTreeMap::from([("_tag".to_owned(), "t".to_owned())]),
    };
    let udp = Address::Udp("127.0.0.1:1".to_owned());
    let packed =
        gelf::messages(&config(GelfCompression::Gzip, udp.clone()), entry(Source::Stdout, b"ahoy"));
    let packed = packed.unwrap();
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&packed[0][..]).read_to_string(&mut plain).unwrap();
    let told: serde_json::Value = serde_json::from_str(&plain).unwrap();
    assert_eq!(told["short_message"], "ahoy");
    assert_eq!((&told["_tag"], &told["level"]), (&serde_json::json!("t"), &serde_json::json!(6)));
    assert!(plain.contains("\"timestamp\":1700000000.123"), "{plain}");
    let long = vec![b'x'; 5000];
    let chunks = gelf::messages(&config(GelfCompression::None, udp), entry(Source::Stdout, &long));
    let chunks = chunks.unwrap();
    assert_eq!(chunks.len(), 4);
    let whole: Vec<u8> = chunks.iter().flat_map(|chunk| chunk[12..].to_vec()).collect();
    assert!(chunks.iter().all(|chunk| chunk.starts_with(&[0x1e, 0x0f]) && chunk[11] == 4));
    assert!(serde_json::from_slice::<serde_json::Value>(&whole).is_ok());
    let tcp = Address::Tcp("127.0.0.1:1".to_owned());
    let framed = gelf::messages(&config(GelfCompression::None, tcp), entry(Source::Stdout, b"x"));
    assert!(framed.unwrap()[0].ends_with(b"}\0"));
}
