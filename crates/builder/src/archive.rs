//! Archives that ADD unpacks: how they are told, and what may be around them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use images::archive::read::{ArchiveReader, NoRecorder};

use crate::{Error, Result};

/// Tells whether a file is a tar archive, plain or compressed. Its position is then at its start.
pub(crate) fn is_archive(file: &mut File) -> bool {
    let found = decompressed(&mut *file).is_ok_and(|input| {
        let mut reader = ArchiveReader::new(BufReader::new(input), NoRecorder);
        matches!(reader.next_entry(), Ok(Some(_)))
    });
    file.seek(SeekFrom::Start(0)).is_ok() && found
}

/// Unpacks an archive into a new directory, owners and all.
///
/// # Errors
/// Those of the archive, and of the disk.
pub(crate) fn unpack(file: File, directory: &Path) -> Result<()> {
    Ok(engine::archive::unpack_into(decompressed(file)?, directory)?)
}

fn decompressed<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(128 << 10, input);
    let start = input.fill_buf().map_err(Error::io("read", "archive"))?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        _ => Box::new(input),
    })
}
