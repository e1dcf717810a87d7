//! Entries in the native protocol of systemd-journald: a datagram of fields.

use std::io;
use std::path::Path;

use super::link::Link;
use super::{Entry, severity};
use crate::shim::log::json::write_time;
use crate::shim::protocol::remote::Journald;

const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) fn open() -> io::Result<Link> {
    Link::unixgram(Path::new(SOCKET)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("systemd-journald does not listen at {SOCKET}: {error}"),
        )
    })
}

pub(super) fn message(config: &Journald, entry: Entry<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(entry.text.len() + 512);
    field("MESSAGE", entry.text, &mut message);
    field("PRIORITY", severity(entry.source).to_string().as_bytes(), &mut message);
    let mut time = Vec::new();
    write_time(entry.time_ns, &mut time);
    field("SYSLOG_TIMESTAMP", &time, &mut message);
    if entry.partial {
        field("CONTAINER_PARTIAL_MESSAGE", b"true", &mut message);
    }
    for (name, value) in &config.fields {
        field(name, value.as_bytes(), &mut message);
    }
    message
}

/// A value of several lines goes with its length.
fn field(name: &str, value: &[u8], message: &mut Vec<u8>) {
    message.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        message.push(b'\n');
        let length = u64::try_from(value.len()).unwrap_or(0);
        message.extend_from_slice(&length.to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}
