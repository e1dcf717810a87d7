//! Reading, decompressing, hashing and consuming a layer archive, each in a thread of its own.
//!
//! Chunks travel through bounded channels, so a slow disk holds the download back rather than filling
//! memory, and come back to the reader when used, so that nothing is allocated per chunk.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::compression::decompressed;
use crate::{Digest, Error, Hasher, Result};

const CHUNK: usize = 256 << 10;
const QUEUE: usize = 8;

/// Runs `consume` on the decompressed bytes of `input` and returns its result with the digest and the
/// number of the bytes. What `consume` leaves unread is not hashed.
///
/// # Errors
/// Those of `consume`, and of reading the input.
pub(crate) fn run<T>(
    input: impl Read + Send,
    consume: impl FnOnce(&mut ChunkReader) -> Result<T>,
) -> Result<(T, Hashed)> {
    let input = InputFault(input);
    run_plain(|| decompressed(io::BufReader::with_capacity(CHUNK, input)), consume)
}

/// What went through the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The same for an input that is opened in its own thread and taken as it is.
///
/// # Errors
/// Those of `open` and `consume`, and of reading the input.
pub(crate) fn run_plain<T, R: Read>(
    open: impl FnOnce() -> Result<R> + Send,
    consume: impl FnOnce(&mut ChunkReader) -> Result<T>,
) -> Result<(T, Hashed)> {
    thread::scope(|scope| {
        let (raw, to_hash) = sync_channel(QUEUE);
        let (hashed, to_consume) = sync_channel(QUEUE);
        let (used, recycled) = channel();
        scope.spawn(move || read_chunks(open, &raw, &recycled));
        let hasher = scope.spawn(move || hash_chunks(&to_hash, &hashed));
        let mut reader = ChunkReader { chunks: to_consume, used, chunk: Vec::new(), at: 0 };
        let result = consume(&mut reader);
        // Hanging up makes the threads end when the consumer stopped early.
        drop(reader);
        let hashed = hasher.join().map_err(|_| Error::Internal("hashing panicked".into()))?;
        Ok((result?, hashed))
    })
}

type Chunk = io::Result<Vec<u8>>;

fn read_chunks<R: Read>(
    open: impl FnOnce() -> Result<R>,
    chunks: &SyncSender<Chunk>,
    recycled: &Receiver<Vec<u8>>,
) {
    let mut input = match open() {
        Ok(input) => input,
        Err(error) => {
            let _ = chunks.send(Err(into_io(error))); // The consumer may have gone.
            return;
        }
    };
    loop {
        let mut chunk = recycled.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        let failed = loop {
            match input.read(&mut chunk[filled..]) {
                Ok(0) => break None,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
            if filled == chunk.len() {
                break None;
            }
        };
        chunk.truncate(filled);
        if filled > 0 && chunks.send(Ok(chunk)).is_err() {
            return;
        }
        if let Some(error) = failed {
            let _ = chunks.send(Err(error)); // The consumer may have gone.
            return;
        }
        if filled == 0 {
            return;
        }
    }
}

fn hash_chunks(chunks: &Receiver<Chunk>, hashed: &SyncSender<Chunk>) -> Hashed {
    let mut hasher = Hasher::default();
    let mut size = 0;
    for chunk in chunks {
        if let Ok(bytes) = &chunk {
            hasher.update(bytes);
            size += bytes.len() as u64;
        }
        if hashed.send(chunk).is_err() {
            break;
        }
    }
    Hashed { digest: hasher.finish(), size }
}

/// Gives errors of the transport a kind of their own, apart from those of a decoder.
struct InputFault<R>(R);

impl<R: Read> Read for InputFault<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(error),
        })
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::ReadInput(source) => source,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

/// The consumer's end: the decompressed bytes.
pub(crate) struct ChunkReader {
    chunks: Receiver<Chunk>,
    used: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            let next = match self.chunks.recv() {
                Ok(chunk) => chunk?,
                Err(_) => Vec::new(),
            };
            let used = std::mem::replace(&mut self.chunk, next);
            self.at = 0;
            if used.capacity() > 0 {
                let _ = self.used.send(used); // The reader has ended.
            }
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}
