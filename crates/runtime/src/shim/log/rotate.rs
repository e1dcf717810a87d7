//! Renaming and compressing rotated log files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use linux::process::{CloneArgs, clone_process};

/// Renames the log to `.1`, `.1` to `.2` and so on; of `max_file` files the oldest goes.
pub(super) fn shift(path: &Path, max_file: u32) -> io::Result<()> {
    for extension in ["", ".gz"] {
        remove(&numbered(path, max_file - 1, extension))?;
        for number in (1..max_file - 1).rev() {
            rename(&numbered(path, number, extension), &numbered(path, number + 1, extension))?;
        }
    }
    rename(path, &numbered(path, 1, ""))
}

/// Compresses `.1` in a child process, so that the container's output does not wait for it.
pub(super) fn compress(path: &Path) -> io::Result<()> {
    let plain = numbered(path, 1, "");
    let target = numbered(path, 1, ".gz");
    let temporary = numbered(path, 1, ".tmp");
    clone_process(&CloneArgs::default(), || {
        let done = (|| {
            let mut source = File::open(&plain)?;
            let mut encoder = GzEncoder::new(File::create(&temporary)?, Compression::default());
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?.sync_all()?;
            std::fs::rename(&temporary, &target)?;
            std::fs::remove_file(&plain)
        })();
        i32::from(done.is_err())
    })
    .map(drop)
}

fn numbered(path: &Path, number: u32, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{extension}"));
    PathBuf::from(name)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    absent_is_fine(std::fs::rename(from, to))
}

fn remove(path: &Path) -> io::Result<()> {
    absent_is_fine(std::fs::remove_file(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
