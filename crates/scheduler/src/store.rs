//! Where a framework keeps its id between runs, so that the next run takes over its tasks.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use mesos_api::v1::FrameworkId;

use crate::error::{Error, Result};

/// Reads the id; `None` if the file does not exist or is empty.
pub(crate) fn read(path: &Path) -> Result<Option<FrameworkId>> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(FrameworkId::from(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Store { doing: "read", path: path.to_owned(), source }),
    }
}

/// Replaces the id, durably: a half-written one would orphan the framework's tasks.
pub(crate) fn write(path: &Path, id: &FrameworkId) -> Result<()> {
    let act = || {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = folder.join(name);
        let mut file = std::fs::File::create(&fresh)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        std::fs::File::open(&folder)?.sync_all()
    };
    act().map_err(|source| Error::Store { doing: "write", path: path.to_owned(), source })
}

/// Forgets the id of a framework that is no more.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::Store { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_and_a_missing_file_means_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("framework-id");
        assert_eq!(read(&path).expect("missing is fine"), None);
        write(&path, &"m-0001".into()).expect("written");
        write(&path, &"m-0002".into()).expect("replaced");
        assert_eq!(read(&path).expect("read"), Some("m-0002".into()));
        let error = write(&folder.path().join("no/such/folder"), &"x".into());
        assert!(error.expect_err("no folder").to_string().contains("no/such/folder"));
    }
}
