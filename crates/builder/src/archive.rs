//! Archives that ADD unpacks: how they are told, and what may be around them.

use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::Path;

use images::archive::read::{ArchiveReader, NoRecorder};

use crate::Result;

/// Tells whether a file is a tar archive, plain or compressed. Its position is then at its start.
pub(crate) fn is_archive(file: &mut File) -> bool {
    let input = BufReader::with_capacity(128 << 10, &mut *file);
    let found = images::decompressed(input).is_ok_and(|input| {
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
    engine::archive::unpack_into(file, directory)?;
    Ok(())
}
