//! Where the last N lines of a log begin, found from the end.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

const BLOCK_BYTES: u64 = 64 << 10;

/// The result of looking for N lines in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Lines that are there, at most the number asked for.
    pub(super) lines: u64,
    /// Where the first of them begins.
    pub(super) offset: u64,
}

/// Looks at the last `wanted` complete lines of the first `len` bytes.
pub(super) fn of_file(file: &File, len: u64, wanted: u64) -> io::Result<Tail> {
    let mut block = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX)];
    let mut newlines = 0;
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        let size = usize::try_from(end - start).unwrap_or(0);
        file.read_exact_at(&mut block[..size], start)?;
        for (position, _) in block[..size].iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            // The newline that ends the line before the first wanted one.
            if newlines == wanted {
                return Ok(Tail { lines: wanted, offset: start + position as u64 + 1 });
            }
            newlines += 1;
        }
        end = start;
    }
    Ok(Tail { lines: newlines, offset: 0 })
}

/// Counts the lines of a compressed file.
pub(super) fn lines_of_compressed(file: &File) -> io::Result<u64> {
    let mut reader = io::BufReader::with_capacity(
        64 << 10,
        MultiGzDecoder::new(io::BufReader::new(PositionedReader { file, offset: 0 })),
    );
    let mut lines = 0;
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(lines);
        }
        lines += block.iter().filter(|b| **b == b'\n').count() as u64;
        let size = block.len();
        reader.consume(size);
    }
}

/// Reads without moving the file's own position.
struct PositionedReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for PositionedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.file.read_at(buffer, self.offset)?;
        self.offset += size as u64;
        Ok(size)
    }
}
