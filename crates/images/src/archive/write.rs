//! Writing headers: POSIX pax format, the same bytes for the same entry always.
//!
//! A pax record is written only where the plain header cannot hold the value, so most entries take
//! one block. Times keep their nanoseconds.

use super::header::{self, Block};
use super::{BLOCK, Entry, EntryKind, sparse};

/// Returns everything in front of an entry's content: extensions, header, sparse map.
pub fn header(entry: &Entry) -> Vec<u8> {
    let map = entry.sparse.as_deref().map(sparse::to_lines).unwrap_or_default();
    let stored = entry.payload + map.len() as u64;
    let mut block = [0; BLOCK];
    let mut records = Vec::new();
    let mut name = entry.name.clone();
    if entry.sparse.is_some() {
        record(&mut records, "GNU.sparse.major", b"1");
        record(&mut records, "GNU.sparse.minor", b"0");
        record(&mut records, "GNU.sparse.name", &entry.name);
        record(&mut records, "GNU.sparse.realsize", entry.size.to_string().as_bytes());
        name = [b"GNUSparseFile.0/", base_name(&entry.name)].concat();
    }
    if !put_name(&mut block, &name) {
        record(&mut records, "path", &name);
        let cut = name.len().min(100);
        block[..cut].copy_from_slice(&name[..cut]);
    }
    if !put_text(&mut block, header::LINK, &entry.link) {
        record(&mut records, "linkpath", &entry.link);
        block[header::LINK.0..header::LINK.0 + 100].copy_from_slice(&entry.link[..100]);
    }
    header::put_octal(&mut block, header::MODE, entry.mode.into());
    let mut numeric = |key, at, value: u64| {
        if !header::put_octal(&mut block, at, value) {
            record(&mut records, key, value.to_string().as_bytes());
            header::put_octal(&mut block, at, 0);
        }
    };
    numeric("uid", header::UID, entry.uid.into());
    numeric("gid", header::GID, entry.gid.into());
    numeric("size", header::SIZE, stored);
    put_time(&mut block, &mut records, entry);
    for (name, value) in &entry.xattrs {
        let key = [b"SCHILY.xattr.", name.as_slice()].concat();
        record_bytes(&mut records, &key, value);
    }
    block[header::TYPE] = flag(entry.kind);
    if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        header::put_octal(&mut block, header::MAJOR, entry.device.0.into());
        header::put_octal(&mut block, header::MINOR, entry.device.1.into());
    }
    let mut bytes = if records.is_empty() { Vec::new() } else { extension(&records, &name) };
    seal_posix(&mut block);
    bytes.extend_from_slice(&block);
    bytes.extend_from_slice(&map);
    bytes
}

/// Returns the zeros that follow content of this length.
pub fn padding(payload: u64) -> &'static [u8] {
    let over = usize::try_from(payload % BLOCK as u64).unwrap_or(0);
    if over == 0 { &[] } else { &[0; BLOCK][over..] }
}

/// The end of every archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

fn base_name(name: &[u8]) -> &[u8] {
    let start = name.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    &name[start..]
}

fn seal_posix(block: &mut Block) {
    block[header::MAGIC.0..header::MAGIC.0 + 8].copy_from_slice(b"ustar\x0000");
    header::seal(block);
}

fn put_text(block: &mut Block, (start, length): (usize, usize), text: &[u8]) -> bool {
    if text.len() > length {
        return false;
    }
    block[start..start + text.len()].copy_from_slice(text);
    true
}

/// Puts a name into the name field, or splits it at a slash over the prefix field.
fn put_name(block: &mut Block, name: &[u8]) -> bool {
    if !name.is_ascii() {
        return false;
    }
    if put_text(block, header::NAME, name) {
        return true;
    }
    let split = name.iter().enumerate().position(|(index, byte)| {
        *byte == b'/' && index > 0 && index <= header::PREFIX.1 && name.len() - index - 1 <= 100
    });
    match split {
        Some(slash) if slash + 1 < name.len() => {
            put_text(block, header::PREFIX, &name[..slash])
                && put_text(block, header::NAME, &name[slash + 1..])
        }
        _ => false,
    }
}

fn put_time(block: &mut Block, records: &mut Vec<u8>, entry: &Entry) {
    let time = entry.mtime;
    let whole = u64::try_from(time.secs).ok();
    let fits = whole.is_some_and(|secs| header::put_octal(block, header::MTIME, secs));
    if fits && time.nanos == 0 {
        return;
    }
    if !fits {
        header::put_octal(block, header::MTIME, 0);
    }
    let text = if time.secs < 0 && time.nanos > 0 {
        let secs = time.secs + 1;
        let sign = if secs == 0 { "-" } else { "" };
        format!("{sign}{secs}.{:09}", 1_000_000_000 - time.nanos)
    } else {
        format!("{}.{:09}", time.secs, time.nanos)
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    record(records, "mtime", text.as_bytes());
}

fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    record_bytes(records, key.as_bytes(), value);
}

/// Appends `length key=value\n`, where the length counts itself.
fn record_bytes(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn extension(records: &[u8], name: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    let mut label = [b"PaxHeaders.0/", base_name(name)].concat();
    label.truncate(100);
    if !label.is_ascii() {
        label = b"PaxHeaders.0/entry".to_vec();
    }
    block[..label.len()].copy_from_slice(&label);
    header::put_octal(&mut block, header::MODE, 0o644);
    for at in [header::UID, header::GID, header::MTIME] {
        header::put_octal(&mut block, at, 0);
    }
    header::put_octal(&mut block, header::SIZE, records.len() as u64);
    block[header::TYPE] = b'x';
    seal_posix(&mut block);
    let mut bytes = block.to_vec();
    bytes.extend_from_slice(records);
    bytes.extend_from_slice(padding(records.len() as u64));
    bytes
}
