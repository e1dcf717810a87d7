//! Files: durable writes, the lock of a data root, and paths that cannot leave a root.

mod lock;
mod root;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub use lock::{FileLock, LockError};
pub use root::Root;
pub use rustix::fs::{Mode, OFlags};

/// Writes `bytes` to `path` so that after a crash the file holds either the old or the new content.
///
/// A temporary file in the same directory is written, synced and renamed over `path`; then the
/// directory is synced. The file's mode is 0600.
///
/// # Errors
/// Any of the steps; the temporary file is removed again.
pub fn write_durable(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    write_durable_with_mode(path.as_ref(), bytes, 0o600)
}

/// Does what [`write_durable`] does, for a file of the given mode (not subject to the umask).
///
/// # Errors
/// As [`write_durable`].
pub fn write_durable_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path has no file name"))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}.{}", std::process::id(), rustix::thread::gettid()));
    let temporary = parent.join(temporary_name);

    let written = write_synced(&temporary, bytes, mode)
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(parent)?.sync_all());
    if written.is_err() {
        // The name may be gone already when only the last sync failed.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Makes a file that only its owner may read, or closes to others the one that is there. Its first
/// `reserved` bytes get their place on disk now, where the file system can do that: on a full disk
/// they can still be written to.
///
/// # Errors
/// When the file cannot be opened or its mode not be set.
pub fn make_private(path: &Path, reserved: u64) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    // A precaution: what cannot be had now may be there when it is needed.
    let _ = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, reserved);
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}
