//! Compressed streams: how each kind is told, and how it is read.

use std::io::{self, BufRead, Chain, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::{Error, Result};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// Recognizes compression by the first bytes; a name or media type is only somebody's word.
pub(crate) fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        // A zstd frame may be preceded by a skippable one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Reads the decompressed bytes of a stream, whatever its compression.
///
/// # Errors
/// When the input cannot be read.
pub fn decompressed<R: BufRead>(mut input: R) -> Result<Decompressed<R>> {
    let mut start = Vec::new();
    // Short only at the input's end.
    input.by_ref().take(6).read_to_end(&mut start).map_err(Error::ReadInput)?;
    let compression = detect(&start);
    let input = Cursor::new(start).chain(input);
    Ok(Decompressed(match compression {
        Compression::None => Kind::Plain(input),
        Compression::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(input))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input)
                .map_err(|source| Error::Internal(format!("zstd: {source}")))?;
            Kind::Zstd(Box::new(decoder))
        }
        Compression::Bzip2 => Kind::Bzip2(Box::new(MultiBzDecoder::new(input))),
        // Several streams may follow each other.
        Compression::Xz => Kind::Xz(Box::new(XzReader::new(input, true))),
    }))
}

/// A stream that is decompressed as it is read.
pub struct Decompressed<R: BufRead>(Kind<R>);

/// The bytes that told the compression, and the others.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

enum Kind<R: BufRead> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Whole<R>>>),
    Bzip2(Box<MultiBzDecoder<Whole<R>>>),
    Xz(Box<XzReader<Whole<R>>>),
}

impl<R: BufRead> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(reader) => reader.read(buffer),
            Kind::Gzip(reader) => reader.read(buffer),
            Kind::Zstd(reader) => reader.read(buffer),
            Kind::Bzip2(reader) => reader.read(buffer),
            Kind::Xz(reader) => reader.read(buffer),
        }
    }
}

impl<R: BufRead> std::fmt::Debug for Decompressed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `abc` and a line feed, as bzip2 and xz write it.
    const BZIP2: [u8; 42] = [
        0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0xad, 0x67, 0x55, 0xd6, 0x00,
        0x00, 0x00, 0xc1, 0x00, 0x00, 0x10, 0x38, 0x00, 0x20, 0x00, 0x21, 0x9a, 0x68, 0x33, 0x4d,
        0x13, 0x3c, 0x5d, 0xc9, 0x14, 0xe1, 0x42, 0x42, 0xb5, 0x9d, 0x57, 0x58,
    ];
    const XZ: [u8; 60] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21,
        0x01, 0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x03, 0x61, 0x62, 0x63,
        0x0a, 0x00, 0x87, 0x69, 0x2d, 0x8f, 0x39, 0x33, 0xe9, 0xdb, 0x00, 0x01, 0x1c, 0x04, 0x6f,
        0x2c, 0x9c, 0xc1, 0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompressed(bytes).map_err(io::Error::other)?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn every_kind_is_read_whole() {
        for bytes in [&BZIP2[..], &XZ[..], b"abc\n"] {
            assert_eq!(read(bytes).unwrap(), b"abc\n");
        }
        // One stream after the other is one archive.
        assert_eq!(read(&[BZIP2, BZIP2].concat()).unwrap(), b"abc\nabc\n");
        assert_eq!(read(&[XZ, XZ].concat()).unwrap(), b"abc\nabc\n");
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(b"BZ").unwrap(), b"BZ");
    }

    #[test]
    fn damage_is_an_error() {
        assert!(read(&BZIP2[..30]).is_err());
        assert!(read(&XZ[..40]).is_err());
        let mut changed = XZ;
        changed[30] ^= 1;
        assert!(read(&changed).is_err());
    }
}
