//! Messages of the Graylog Extended Log Format 1.1, in chunks where a datagram is too small.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Map, Value, json};

use super::{Entry, severity};
use crate::shim::protocol::remote::{Address, Gelf, GelfCompression};

/// What a datagram carries on its way through the internet.
const CHUNK: usize = 1420 - CHUNK_HEADER;
const CHUNK_HEADER: usize = 12;
const MOST_CHUNKS: usize = 128;

/// Tells the chunks of one message from those of others.
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(super) fn messages(config: &Gelf, entry: Entry<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut fields = Map::new();
    fields.insert("version".to_owned(), json!("1.1"));
    fields.insert("host".to_owned(), json!(config.hostname));
    let text = String::from_utf8_lossy(entry.text);
    fields.insert("short_message".to_owned(), json!(text));
    // Milliseconds, as the format has it.
    let seconds = entry.time_ns.div_euclid(1_000_000_000);
    let milliseconds = entry.time_ns.rem_euclid(1_000_000_000) / 1_000_000;
    let time: Value = serde_json::from_str(&format!("{seconds}.{milliseconds:03}"))?;
    fields.insert("timestamp".to_owned(), time);
    fields.insert("level".to_owned(), json!(severity(entry.source)));
    for (name, value) in &config.fields {
        fields.insert(name.clone(), json!(value));
    }
    let mut message = serde_json::to_vec(&fields)?;
    if matches!(config.address, Address::Tcp(_)) {
        message.push(0);
        return Ok(vec![message]);
    }
    let level = Compression::new(config.level);
    let message = match config.compression {
        GelfCompression::None => message,
        GelfCompression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(&message)?;
            encoder.finish()?
        }
        GelfCompression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(&message)?;
            encoder.finish()?
        }
    };
    chunks(message)
}

fn chunks(message: Vec<u8>) -> io::Result<Vec<Vec<u8>>> {
    if message.len() <= CHUNK + CHUNK_HEADER {
        return Ok(vec![message]);
    }
    let pieces = message.chunks(CHUNK);
    let count = u8::try_from(pieces.len()).ok().filter(|count| usize::from(*count) <= MOST_CHUNKS);
    let count = count.ok_or_else(|| io::Error::other("a message is too long for GELF over UDP"))?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = (u64::from(std::process::id()) << 32) | u64::from(number);
    let chunk = |(index, piece): (u8, &[u8])| {
        let mut chunk = Vec::with_capacity(CHUNK_HEADER + piece.len());
        chunk.extend_from_slice(&[0x1e, 0x0f]);
        chunk.extend_from_slice(&id.to_be_bytes());
        chunk.extend_from_slice(&[index, count]);
        chunk.extend_from_slice(piece);
        chunk
    };
    Ok((0..count).zip(pieces).map(chunk).collect())
}
