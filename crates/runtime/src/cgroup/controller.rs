//! Reading and writing controller files, with the file and the value in every error.

use std::io::Write;
use std::path::Path;

use super::CgroupError;

/// Writes `value` to `directory/file`.
pub(super) fn write(directory: &Path, file: &str, value: impl ToString) -> Result<(), CgroupError> {
    let path = directory.join(file);
    let value = value.to_string();
    // Opened without O_CREAT: a file that is not there means a kernel without that limit.
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut opened| opened.write_all(value.as_bytes()));
    written.map_err(|source| CgroupError::Write { path, value, source })
}

/// Writes `value` if there is one.
pub(super) fn write_some(
    directory: &Path,
    file: &str,
    value: Option<impl ToString>,
) -> Result<(), CgroupError> {
    value.map_or(Ok(()), |value| write(directory, file, value))
}

/// Reads `directory/file`, trimmed; `None` if there is none or it cannot be read.
pub(super) fn read(directory: &Path, file: &str) -> Option<String> {
    let text = std::fs::read_to_string(directory.join(file)).ok()?;
    Some(text.trim_end().to_owned())
}

/// Reads a file of one number.
pub(super) fn read_number(directory: &Path, file: &str) -> Option<u64> {
    read(directory, file)?.parse().ok()
}

/// Reads the value of `key` in a file of `key value` lines.
pub(super) fn read_key(directory: &Path, file: &str, key: &str) -> Option<u64> {
    let text = read(directory, file)?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key { value.trim().parse().ok() } else { None }
    })
}

/// Negative numbers mean no limit: `max` in v2.
pub(super) fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// The failure to find a controller that a set limit needs.
pub(super) fn missing(controller: &str) -> CgroupError {
    CgroupError::Unsupported(format!("this host has no {controller} controller"))
}
