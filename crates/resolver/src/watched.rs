//! Files that others replace: read once, and again when they are others.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What a file says, as of the last look.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    path: PathBuf,
    stamp: Option<Stamp>,
    pub(crate) value: T,
}

/// Tells two contents of a path apart: whoever replaces a file makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    device: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            device: metadata.dev(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl<T: Default> Watched<T> {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, value: T::default() }
    }

    /// Looks again and tells whether the value is another. A file that is gone says what no file
    /// says; one that cannot be read or understood leaves what the last one said.
    pub(crate) fn refresh(&mut self, parse: impl FnOnce(&[u8]) -> Option<T>) -> bool {
        let stamp = match std::fs::metadata(&self.path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let was_there = self.stamp.take().is_some();
                if was_there {
                    self.value = T::default();
                }
                return was_there;
            }
            Err(_) => return false,
        };
        if self.stamp == Some(stamp) {
            return false;
        }
        let Ok(bytes) = std::fs::read(&self.path) else { return false };
        // Not again before it is replaced, whether it makes sense or not.
        self.stamp = Some(stamp);
        match parse(&bytes) {
            Some(value) => {
                self.value = value;
                true
            }
            None => {
                eprintln!("resolver: {} makes no sense", self.path.display());
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_only_when_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut watched = Watched::<String>::new(path.clone());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        assert!(!watched.refresh(text));
        crate::write_atomically(&path, &1).unwrap();
        assert!(watched.refresh(text));
        assert!(!watched.refresh(|_| panic!("read twice")));
        crate::write_atomically(&path, &2).unwrap();
        assert!(!watched.refresh(|_| None));
        assert_eq!(watched.value, "1");
        crate::write_atomically(&path, &3).unwrap();
        assert!(watched.refresh(text));
        assert_eq!(watched.value, "3");
        std::fs::remove_file(&path).unwrap();
        assert!(watched.refresh(text) && watched.value.is_empty());
        assert!(!watched.refresh(text));
    }
}
