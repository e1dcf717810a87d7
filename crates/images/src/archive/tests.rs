//! Archives written here are read back as they were; foreign and hostile ones are judged.

use std::io::Write;

use super::read::{ArchiveReader, NoRecorder};
use super::*;
use crate::{Error, Result};

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = ArchiveReader::new(bytes, NoRecorder);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let content = reader.read_content(1 << 20)?;
        entries.push((entry, content));
    }
    reader.finish()?;
    Ok(entries)
}

fn write_one(entry: &Entry, content: &[u8]) -> Vec<u8> {
    let mut bytes = write::header(entry);
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(write::padding(content.len() as u64));
    bytes
}

fn file(name: &str, content: &[u8]) -> Entry {
    let mut entry = Entry::new(name, EntryKind::File);
    entry.mode = 0o4755;
    (entry.size, entry.payload) = (content.len() as u64, content.len() as u64);
    entry
}

#[track_caller]
fn round_trip(entry: Entry, content: &[u8]) {
    let mut bytes = write_one(&entry, content);
    bytes.extend_from_slice(&write::END);
    assert_eq!(read_all(&bytes).unwrap(), [(entry, content.to_vec())]);
}

#[test]
fn entries_come_back_as_written() {
    round_trip(file("a", b"content"), b"content");
    round_trip(file(&format!("{}/{}", "d".repeat(120), "f".repeat(90)), b""), b"");
    round_trip(file(&format!("{}f", "long/".repeat(200)), b"x"), b"x");
    round_trip(file("ümlaut", b"x"), b"x");
    let mut entry = file("big ids", b"");
    (entry.uid, entry.gid) = (4_000_000_000, 3_000_000);
    entry.mtime = Time { secs: 1_700_000_000, nanos: 120_000_000 };
    entry.xattrs = vec![(b"user.x".to_vec(), b"a\0=\n".to_vec())];
    round_trip(entry.clone(), b"");
    entry.mtime = Time { secs: -2, nanos: 250_000_000 };
    round_trip(entry.clone(), b"");
    entry.mtime = Time { secs: 1 << 40, nanos: 0 };
    round_trip(entry, b"");
    let mut link = Entry::new("link", EntryKind::Symlink);
    link.link = "target/".repeat(40).into_bytes();
    round_trip(link, b"");
    let mut device = Entry::new("dev", EntryKind::CharDevice);
    device.device = (1, 3);
    round_trip(device, b"");
    let mut sparse = file("sparse", b"ab");
    sparse.size = 1 << 50;
    sparse.sparse =
        Some(vec![Extent { offset: 512, length: 1 }, Extent { offset: (1 << 50) - 1, length: 1 }]);
    round_trip(sparse, b"ab");
}

#[test]
fn gnu_tar_reads_what_is_written() {
    let mut entry = file(&"deep/".repeat(60), b"hello");
    entry.name.extend_from_slice("é".as_bytes());
    entry.mtime = Time { secs: 1_000_000_000, nanos: 500_000_000 };
    let mut bytes = write_one(&entry, b"hello");
    bytes.extend_from_slice(&write::END);
    let mut tar = std::process::Command::new("tar")
        .args(["-xO"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = tar.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"hello");
}

#[test]
fn damaged_archives_are_refused() {
    let bytes = write_one(&file("a", b"content"), b"content");
    for (damaged, expected) in [
        (bytes[..300].to_vec(), "truncated"),
        (bytes[..514].to_vec(), "truncated"),
        (b"not a tar".repeat(100), "checksum"),
    ] {
        let error = read_all(&damaged).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // No end marker is fine, and so is a missing last padding.
    assert_eq!(read_all(&bytes[..519]).unwrap().len(), 1);
}

#[test]
fn headers_cannot_make_us_allocate() {
    let mut huge = Entry::new("x", EntryKind::File);
    huge.payload = 1 << 32;
    let mut bytes = write::header(&huge);
    for flag in [b'L', b'K', b'x', b'g'] {
        let mut block: header::Block = bytes[bytes.len() - BLOCK..].try_into().unwrap();
        block[header::TYPE] = flag;
        header::seal(&mut block);
        bytes = block.to_vec();
        let error = read_all(&bytes).unwrap_err();
        assert!(matches!(error, Error::InvalidArchive(_)), "{error}");
    }
}

#[test]
fn numbers_are_read_in_all_notations() {
    assert_eq!(header::number(b"0000644\0"), Some(0o644));
    assert_eq!(header::number(b"   644 \0"), Some(0o644));
    assert_eq!(header::number(b"\0\0\0\0"), Some(0));
    assert_eq!(header::number(&[0x80, 0, 0, 1, 0]), Some(256));
    assert_eq!(header::number(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
    assert_eq!(header::number(b"9"), None);
    assert_eq!(header::number(b"12x"), None);
    assert_eq!(header::number(&[0x80 | 0x3f; 12]), None);
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/archive");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let mut reader = ArchiveReader::new(bytes.as_slice(), NoRecorder);
        while let Ok(Some(_)) = reader.next_entry() {
            let _ = reader.read_content(1 << 16);
        }
        let _ = reader.finish();
    }
}
