//! Events of Fluentd's forward protocol, mode Message: `[tag, time, record]` in MessagePack.

use super::Entry;
use crate::shim::log::Source;
use crate::shim::protocol::remote::Fluentd;

pub(super) fn message(config: &Fluentd, entry: Entry<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(entry.text.len() + 256);
    message.push(0x93);
    string(config.tag.as_bytes(), &mut message);
    time(entry.time_ns, config.sub_second, &mut message);
    let source: &[u8] = match entry.source {
        Source::Stdout => b"stdout",
        Source::Stderr => b"stderr",
    };
    let mut pairs: Vec<(&[u8], &[u8])> = vec![(b"source", source), (b"log", entry.text)];
    if entry.partial {
        pairs.push((b"partial_message", b"true"));
    }
    pairs.extend(config.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    message.push(0xde);
    message.extend_from_slice(&u16::try_from(pairs.len()).unwrap_or(u16::MAX).to_be_bytes());
    for (name, value) in pairs.iter().take(usize::from(u16::MAX)) {
        string(name, &mut message);
        string(value, &mut message);
    }
    message
}

fn time(time_ns: i64, sub_second: bool, message: &mut Vec<u8>) {
    let seconds = u32::try_from(time_ns.div_euclid(1_000_000_000)).unwrap_or(0);
    if sub_second {
        // EventTime: extension type 0 of eight bytes.
        let nanos = u32::try_from(time_ns.rem_euclid(1_000_000_000)).unwrap_or(0);
        message.extend_from_slice(&[0xd7, 0x00]);
        message.extend_from_slice(&seconds.to_be_bytes());
        message.extend_from_slice(&nanos.to_be_bytes());
    } else {
        message.push(0xce);
        message.extend_from_slice(&seconds.to_be_bytes());
    }
}

fn string(text: &[u8], message: &mut Vec<u8>) {
    // Pieces of a line are 16 KiB at most, so that a length always fits.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    match length {
        0..=31 => message.push(0xa0 | u8::try_from(length).unwrap_or(0)),
        _ => {
            message.push(0xdb);
            message.extend_from_slice(&length.to_be_bytes());
        }
    }
    message.extend_from_slice(text);
}
