//! Files that are replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Writes `value` so that a reader sees the old text or the new one. Makes the directory, for root
/// alone, if it is missing. Writers of one path exclude each other.
///
/// # Errors
/// Any of the steps; the temporary file is removed again.
pub fn write_atomically(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = temporary(path)?;
    let written = create(&temporary)
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            serde_json::to_writer(&mut file, value)?;
            file.flush()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What remains is overwritten by the next writer.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Removes the file, if it is there.
///
/// # Errors
/// As unlink(2), but for ENOENT.
pub fn remove_names(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn create(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            open()
        }
        (opened, _) => opened,
    }
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    Ok(path.with_file_name(temporary))
}
