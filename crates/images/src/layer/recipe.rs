//! How to rebuild a layer's archive, byte for byte, from its unpacked files.
//!
//! A layer that did not come as a compressed blob (import, commit, load of plain archives) keeps no
//! copy of its content: only the bytes around the files' content are kept, compressed, with a note
//! where each file's content goes. That is a few percent of the layer, costs no compression of the
//! content when the layer is made, and does not depend on any writer's version later.
//!
//! Format: a zstd stream of `magic`, then operations: `0 u32 bytes…` copies the bytes, `1 u32 path… u64
//! number u64 offset u64 length` copies a part of a file. Numbers are little-endian. Content whose file was
//! replaced later in the same archive is found in `replaced/<number of the file>`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::archive::Extent;
use crate::archive::read::Recorder;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"teurcp1\n";
const RAW: u8 = 0;
const CONTENT: u8 = 1;
const LEVEL: i32 = 1;
/// Bytes are collected up to here before an operation is written for them.
const RAW_MAX: usize = 64 << 10;

/// Writes a recipe.
pub(crate) struct RecipeWriter {
    path: PathBuf,
    output: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
}

impl RecipeWriter {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let fail = |source| Error::io("create", path, source);
        let file = File::create(path).map_err(fail)?;
        let mut output =
            zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL).map_err(fail)?;
        output.write_all(MAGIC).map_err(fail)?;
        Ok(Self { path: path.to_owned(), output, raw: Vec::new() })
    }

    /// Notes that the next bytes of the archive are in a file.
    pub(crate) fn content(&mut self, path: &[u8], number: u64, part: Extent) -> Result<()> {
        self.flush_raw()?;
        let path_length = u32::try_from(path.len())
            .map_err(|_| Error::Internal("a path of more than 4 GiB".into()))?;
        let mut operation = vec![CONTENT];
        operation.extend_from_slice(&path_length.to_le_bytes());
        operation.extend_from_slice(path);
        for value in [number, part.offset, part.length] {
            operation.extend_from_slice(&value.to_le_bytes());
        }
        self.write(&operation)
    }

    /// Ends the recipe.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush_raw()?;
        let Self { path, output, .. } = self;
        let fail = |source| Error::io("write", path.clone(), source);
        output.finish().map_err(fail)?.into_inner().map_err(|error| fail(error.into_error()))?;
        Ok(())
    }

    fn flush_raw(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.raw.len()).unwrap_or(u32::MAX);
        let raw = std::mem::take(&mut self.raw);
        self.write(&[RAW])?;
        self.write(&length.to_le_bytes())?;
        self.write(&raw)?;
        self.raw = raw;
        self.raw.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).map_err(|source| Error::io("write", &self.path, source))
    }
}

impl Recorder for RecipeWriter {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(RAW_MAX) {
            if self.raw.len() + piece.len() > RAW_MAX {
                self.flush_raw()?;
            }
            self.raw.extend_from_slice(piece);
        }
        Ok(())
    }
}

/// Rebuilds an archive: a reader of its bytes.
pub(crate) struct RecipeReader {
    operations: zstd::stream::read::Decoder<'static, BufReader<File>>,
    root: OwnedFd,
    replaced: HashSet<u64>,
    replaced_dir: PathBuf,
    source: Source,
}

enum Source {
    Raw(u64),
    File(File, u64),
}

impl RecipeReader {
    /// Opens the recipe of a layer directory (the parent of `diff`).
    pub(crate) fn open(layer: &Path) -> Result<Self> {
        let path = layer.join("recipe");
        let fail = |source| Error::io("open", &path, source);
        let file = File::open(&path).map_err(fail)?;
        let mut operations = zstd::stream::read::Decoder::new(file).map_err(fail)?;
        let mut magic = [0; 8];
        operations.read_exact(&mut magic).map_err(fail)?;
        if &magic != MAGIC {
            return Err(fail(io::Error::from(io::ErrorKind::InvalidData)));
        }
        let diff = layer.join("diff");
        let root = rustix::fs::open(
            &diff,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|source| Error::io("open", &diff, source))?;
        let replaced_dir = layer.join("replaced");
        Ok(Self {
            operations,
            root,
            replaced: replaced_files(&replaced_dir)?,
            replaced_dir,
            source: Source::Raw(0),
        })
    }

    /// Starts the next operation; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let mut code = [0];
        if self.operations.read(&mut code)? == 0 {
            return Ok(false);
        }
        let length = self.number::<4>()?;
        match code[0] {
            RAW => self.source = Source::Raw(length),
            CONTENT if length <= 1 << 16 => {
                let mut path = vec![0; usize::try_from(length).unwrap_or(0)];
                self.operations.read_exact(&mut path)?;
                let number = self.number::<8>()?;
                let (offset, length) = (self.number::<8>()?, self.number::<8>()?);
                let file = seek(self.open_content(&path, number)?, offset)?;
                self.source = Source::File(file, length);
            }
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
        Ok(true)
    }

    fn open_content(&self, path: &[u8], number: u64) -> io::Result<File> {
        if self.replaced.contains(&number) {
            return File::open(self.replaced_dir.join(number.to_string()));
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?.into())
    }

    fn number<const BYTES: usize>(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.operations.read_exact(&mut bytes[..BYTES])?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn seek(mut file: File, offset: u64) -> io::Result<File> {
    if offset > 0 {
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    }
    Ok(file)
}

fn replaced_files(dir: &Path) -> Result<HashSet<u64>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(source) => return Err(Error::io("read", dir, source)),
    };
    let mut numbers = HashSet::new();
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("read", dir, source))?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            numbers.insert(number);
        }
    }
    Ok(numbers)
}

impl Read for RecipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let (input, left): (&mut dyn Read, &mut u64) = match &mut self.source {
                Source::Raw(left) => (&mut self.operations, left),
                Source::File(file, left) => (file, left),
            };
            if *left > 0 {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                let read = input.read(&mut buffer[..length])?;
                if read == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                *left -= read as u64;
                return Ok(read);
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}
