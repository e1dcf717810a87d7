//! The records of pax extended headers.

use super::{Extent, Time};
use crate::{Error, Result};

/// What pax records say about the next entry.
#[derive(Debug, Default)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: PaxSparse,
}

/// The three generations of GNU's sparse records.
#[derive(Debug, Default)]
pub struct PaxSparse {
    /// Records of generation 0.0 and 0.1.
    pub map: Option<Vec<Extent>>,
    /// Generation 1.0: the map is in front of the content.
    pub map_in_content: bool,
    pub real_size: Option<u64>,
    pub name: Option<Vec<u8>>,
    offset: Option<u64>,
}

/// Reads all records of one header.
pub fn parse(mut bytes: &[u8], limit: usize) -> Result<Pax> {
    let mut pax = Pax::default();
    while !bytes.is_empty() {
        // A padded header ends in NULs with some writers.
        if bytes[0] == 0 {
            break;
        }
        let (key, value, rest) = record(bytes).ok_or_else(|| bad("a record is malformed"))?;
        apply(&mut pax, key, value, limit)?;
        bytes = rest;
    }
    Ok(pax)
}

fn bad(problem: &str) -> Error {
    Error::InvalidArchive(format!("pax header: {problem}"))
}

/// Splits off one `length key=value\n`.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length > bytes.len() || length < space + 3 || bytes[length - 1] != b'\n' {
        return None;
    }
    let body = &bytes[space + 1..length - 1];
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn apply(pax: &mut Pax, key: &[u8], value: &[u8], limit: usize) -> Result<()> {
    let wrong = || bad(&format!("{} has a bad value", String::from_utf8_lossy(key)));
    let id = || decimal(value).and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong);
    // An empty value takes the record back.
    if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
        return Ok(());
    }
    match key {
        b"path" => pax.path = Some(value.to_vec()),
        b"linkpath" => pax.link = Some(value.to_vec()),
        b"size" => pax.size = Some(decimal(value).ok_or_else(wrong)?),
        b"uid" => pax.uid = Some(id()?),
        b"gid" => pax.gid = Some(id()?),
        b"mtime" => pax.mtime = Some(time(value).ok_or_else(wrong)?),
        b"GNU.sparse.name" => pax.sparse.name = Some(value.to_vec()),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
            pax.sparse.real_size = Some(decimal(value).ok_or_else(wrong)?);
        }
        b"GNU.sparse.major" => match value {
            b"0" => {}
            b"1" => pax.sparse.map_in_content = true,
            _ => return Err(wrong()),
        },
        b"GNU.sparse.offset" => pax.sparse.offset = Some(decimal(value).ok_or_else(wrong)?),
        b"GNU.sparse.numbytes" => {
            let length = decimal(value).ok_or_else(wrong)?;
            let offset = pax.sparse.offset.take().ok_or_else(wrong)?;
            let map = pax.sparse.map.get_or_insert_default();
            if map.len() >= limit {
                return Err(bad("too many sparse extents"));
            }
            map.push(Extent { offset, length });
        }
        b"GNU.sparse.map" => pax.sparse.map = Some(map(value).ok_or_else(wrong)?),
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                pax.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

fn map(text: &[u8]) -> Option<Vec<Extent>> {
    let mut numbers = text.split(|b| *b == b',').map(decimal);
    let mut extents = Vec::new();
    while let Some(offset) = numbers.next() {
        extents.push(Extent { offset: offset?, length: numbers.next()?? });
    }
    Some(extents)
}

/// Reads seconds with any number of decimals; negative times count down from the second.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = decimals.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some(Time { secs: secs.checked_sub(1)?, nanos: 1_000_000_000 - nanos });
    }
    Some(Time { secs, nanos })
}
