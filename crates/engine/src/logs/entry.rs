//! One line of a json-file log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::{LogLine, LogSource};

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// Reads a line; `None` for one that no log driver has written, or only half of it.
pub(super) fn parse(line: &[u8]) -> Option<LogLine> {
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let source = match entry.stream.as_ref() {
        "stderr" => LogSource::Stderr,
        "stdout" | "" => LogSource::Stdout,
        _ => return None,
    };
    Some(LogLine {
        source,
        time: entry.time.parse::<Timestamp>().ok()?,
        attributes: entry.attrs,
        message: Bytes::from(entry.log.into_owned()),
    })
}
