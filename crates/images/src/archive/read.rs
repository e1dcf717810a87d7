//! Reading an archive as a stream of entries.
//!
//! Every byte that is not the content of a file (headers, padding, the end) is handed to a
//! [`Recorder`], so that the archive can be rebuilt from the unpacked files.

use std::io::{self, BufRead};

use super::header::{self, Block};
use super::pax::{self, Pax};
use super::sparse::{self, MapLines};
use super::{BLOCK, Entry, EntryKind, Extent, Time};
use crate::{Error, Result};

/// Long names: the kernel takes no path above 4096 bytes.
const MAX_NAME: u64 = 64 << 10;
/// Extended attributes are at most 64 KiB each; an entry with more than a few is hostile.
const MAX_PAX: u64 = 4 << 20;
/// A file of a million pieces is no longer a file.
const MAX_EXTENTS: usize = 1 << 20;

/// Takes the bytes around the files' content.
pub trait Recorder {
    fn raw(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Keeps nothing.
#[derive(Debug)]
pub struct NoRecorder;

impl Recorder for NoRecorder {
    fn raw(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Reads entries one after the other.
#[derive(Debug)]
pub struct ArchiveReader<R, C> {
    input: R,
    pub recorder: C,
    /// Content of the present entry not yet read.
    remaining: u64,
    /// Padding after it.
    padding: u64,
    finished: bool,
}

#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: BufRead, C: Recorder> ArchiveReader<R, C> {
    pub fn new(input: R, recorder: C) -> Self {
        Self { input, recorder, remaining: 0, padding: 0, finished: false }
    }

    /// Returns the next entry, `None` at the end. Content not read is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header_block()? else { return Ok(None) };
            header::verify(&block)?;
            let stored = header::unsigned(header::field(&block, header::SIZE))
                .ok_or_else(|| bad("a header has a bad size"))?;
            match block[header::TYPE] {
                b'L' => extensions.name = Some(until_nul(self.extension(stored, MAX_NAME)?)),
                b'K' => extensions.link = Some(until_nul(self.extension(stored, MAX_NAME)?)),
                b'x' | b'X' => {
                    let bytes = self.extension(stored, MAX_PAX)?;
                    extensions.pax = Some(pax::parse(&bytes, MAX_EXTENTS)?);
                }
                // Global records are about the whole archive; no layer tool gives them a meaning.
                b'g' => drop(self.extension(stored, MAX_PAX)?),
                _ => return self.entry(&block, stored, extensions).map(Some),
            }
        }
    }

    /// Returns the next piece of the entry's content, empty at its end.
    pub fn content(&mut self) -> Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let available = self.input.fill_buf().map_err(read_error)?;
        if available.is_empty() {
            return Err(truncated());
        }
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..length])
    }

    /// Takes `length` bytes of the piece last returned by `content` as read.
    pub fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.remaining -= length as u64;
    }

    /// Reads all of a small entry's content.
    pub fn read_content(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.remaining > limit {
            return Err(bad(&format!(
                "a file of {} bytes where at most {limit} are expected",
                self.remaining
            )));
        }
        let mut bytes = Vec::new();
        loop {
            let piece = self.content()?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(piece);
            let length = piece.len();
            self.consume(length);
        }
    }

    /// Reads to the very end of the stream: padding, and whatever follows the archive.
    pub fn finish(mut self) -> Result<C> {
        self.skip_content()?;
        loop {
            let available = self.input.fill_buf().map_err(read_error)?;
            let length = available.len();
            if length == 0 {
                return Ok(self.recorder);
            }
            self.recorder.raw(available)?;
            self.input.consume(length);
        }
    }

    fn skip_content(&mut self) -> Result<()> {
        let mut left = self.remaining + self.padding;
        while left > 0 {
            let available = self.input.fill_buf().map_err(read_error)?;
            if available.is_empty() {
                // Some writers leave out the padding of the last entry.
                if left <= self.padding {
                    break;
                }
                return Err(truncated());
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(available.len());
            self.recorder.raw(&available[..length])?;
            self.input.consume(length);
            left -= length as u64;
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads one block; `None` at the end of the input before its first byte.
    fn block(&mut self) -> Result<Option<Block>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.input.fill_buf().map_err(read_error)?;
            if available.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(truncated()) };
            }
            let length = available.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&available[..length]);
            self.input.consume(length);
            filled += length;
        }
        self.recorder.raw(&block)?;
        Ok(Some(block))
    }

    /// Reads a header; a block of zeros or the end of the input ends the archive.
    fn header_block(&mut self) -> Result<Option<Block>> {
        if self.finished {
            return Ok(None);
        }
        let block = self.block()?.filter(|block| block.iter().any(|byte| *byte != 0));
        self.finished = block.is_none();
        Ok(block)
    }

    /// Reads the content of an extension header.
    fn extension(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            return Err(bad(&format!("an extension header of {size} bytes, limit {limit}")));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            bytes.extend_from_slice(&self.block()?.ok_or_else(truncated)?);
        }
        bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn entry(&mut self, block: &Block, stored: u64, extensions: Extensions) -> Result<Entry> {
        let pax = extensions.pax.unwrap_or_default();
        let name = pax.path.or(extensions.name).unwrap_or_else(|| full_name(block));
        let name = pax.sparse.name.unwrap_or(name);
        if name.contains(&0) {
            return Err(Error::entry(&name, "the name contains a NUL"));
        }
        let kind = kind(block[header::TYPE], &name)?;
        let mut entry = Entry::new(name, kind);
        let wrong = |name: &[u8], what: &str| Error::entry(name, format!("bad {what}"));
        let id = |value: Option<u32>, at| {
            value.or_else(|| header::unsigned(header::field(block, at))?.try_into().ok())
        };
        entry.link = pax
            .link
            .or(extensions.link)
            .unwrap_or_else(|| header::text(block, header::LINK).to_vec());
        let mode = header::number(header::field(block, header::MODE));
        entry.mode =
            u32::try_from(mode.ok_or_else(|| wrong(&entry.name, "mode"))? & 0o7777).unwrap_or(0);
        entry.uid = id(pax.uid, header::UID).ok_or_else(|| wrong(&entry.name, "uid"))?;
        entry.gid = id(pax.gid, header::GID).ok_or_else(|| wrong(&entry.name, "gid"))?;
        let mtime = header::number(header::field(block, header::MTIME)).map(whole_second);
        entry.mtime = pax.mtime.or(mtime).ok_or_else(|| wrong(&entry.name, "mtime"))?;
        if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            let number = |at| id(None, at).ok_or_else(|| wrong(&entry.name, "device number"));
            entry.device = (number(header::MAJOR)?, number(header::MINOR)?);
        }
        entry.xattrs = pax.xattrs;
        let size = pax.size.unwrap_or(stored);
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(wrong(&entry.name, "size"));
        }
        // Links may carry the size of their target, but never content.
        let has_content = !matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
        self.remaining = if has_content { size } else { 0 };
        self.padding = self.remaining.next_multiple_of(BLOCK as u64) - self.remaining;
        if kind == EntryKind::File {
            (entry.size, entry.payload) = (size, size);
            let map = if block[header::TYPE] == b'S' {
                entry.size = header::unsigned(header::field(block, header::SPARSE_SIZE))
                    .ok_or_else(|| wrong(&entry.name, "sparse size"))?;
                Some(self.old_sparse_map(block)?)
            } else if pax.sparse.map_in_content {
                Some(self.map_in_content()?)
            } else {
                pax.sparse.map
            };
            if let Some(map) = map {
                entry.size = pax.sparse.real_size.unwrap_or(entry.size);
                entry.payload = self.remaining;
                if !sparse::is_sound(&map, entry.size, entry.payload) {
                    return Err(wrong(&entry.name, "map of a sparse file"));
                }
                entry.sparse = Some(map);
            }
        }
        Ok(entry)
    }

    fn old_sparse_map(&mut self, block: &Block) -> Result<Vec<Extent>> {
        let malformed = || bad("a sparse map is malformed");
        let mut map = sparse::from_block(block, header::SPARSE, 4).ok_or_else(malformed)?;
        let mut more = block[header::SPARSE_MORE] != 0;
        while more {
            let block = self.block()?.ok_or_else(truncated)?;
            map.extend(sparse::from_block(&block, 0, 21).ok_or_else(malformed)?);
            if map.len() > MAX_EXTENTS {
                return Err(bad("too many sparse extents"));
            }
            more = block[504] != 0;
        }
        Ok(map)
    }

    fn map_in_content(&mut self) -> Result<Vec<Extent>> {
        let mut lines = MapLines::default();
        loop {
            if self.remaining < lines.used + BLOCK as u64 {
                return Err(bad("a sparse map is truncated"));
            }
            let block = self.block()?.ok_or_else(truncated)?;
            let map = lines.push(&block, MAX_EXTENTS);
            match map.ok_or_else(|| bad("a sparse map is malformed"))? {
                Some(map) => {
                    self.remaining -= lines.used;
                    return Ok(map);
                }
                None if lines.used > 48 * MAX_EXTENTS as u64 => {
                    return Err(bad("a sparse map does not end"));
                }
                None => {}
            }
        }
    }
}

fn bad(problem: &str) -> Error {
    Error::InvalidArchive(problem.to_owned())
}

fn truncated() -> Error {
    bad("it ends in the middle of an entry: truncated")
}

/// A decoder's complaint about its input is the archive's fault, anything else the transport's.
fn read_error(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Error::InvalidArchive(source.to_string())
        }
        _ => Error::ReadInput(source),
    }
}

fn whole_second(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn full_name(block: &Block) -> Vec<u8> {
    let name = header::text(block, header::NAME);
    let prefix = header::text(block, header::PREFIX);
    // Only POSIX headers have a prefix; GNU keeps times and sparse maps in that place.
    if header::field(block, header::MAGIC).starts_with(b"ustar\0") && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

fn kind(flag: u8, name: &[u8]) -> Result<EntryKind> {
    Ok(match flag {
        b'0' | 0 | b'7' if name.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => {
            return Err(Error::entry(name, format!("unknown type {:?}", char::from(other))));
        }
    })
}
