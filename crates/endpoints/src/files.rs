//! Files as `/files/*`, `LIST_FILES` and `READ_FILE` show them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use mesos_api::json::Writer;
use mesos_api::v1::{FileInfo, TimeInfo};

/// No answer is longer, but for a download.
pub const LONGEST: u64 = 1 << 20;
/// The length of an answer that asks for none.
pub const USUAL: u64 = 64 << 10;
/// A download gives the whole file, up to this.
pub const DOWNLOAD: u64 = 1 << 30;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    /// Of the whole file.
    pub size: u64,
}

impl Piece {
    /// Reads it, as much of it as there is.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file, and whatever reading says.
    pub fn read(file: &File, offset: u64, length: u64) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "a directory" } else { "what is no file" };
            let text = format!("Cannot read {what}.");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let left = meta.len().saturating_sub(offset).min(length);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(Self { bytes, size: meta.len() })
    }

    /// The answer of `/files/read`: the text from `offset` on, or the size alone.
    pub fn json(&self, offset: Option<u64>) -> String {
        let mut to = Writer::new();
        to.begin_object();
        to.name("data");
        to.string(&String::from_utf8_lossy(&self.bytes));
        to.name("offset");
        to.u64(offset.unwrap_or(self.size));
        to.end_object();
        to.into_string()
    }
}

/// What a query of `/files/read` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// `None` asks for the size alone.
    pub offset: Option<u64>,
    pub length: u64,
}

impl Asked {
    /// Reads the two parameters; -1 is as good as none.
    ///
    /// # Errors
    /// In the words of Mesos.
    pub fn parse(offset: Option<&str>, length: Option<&str>) -> Result<Self, String> {
        let number = |name: &str, text: Option<&str>| match text {
            None | Some("-1") => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(number) => u64::try_from(number)
                    .map(Some)
                    .map_err(|_| format!("Negative {name} provided: {number}.\n")),
                Err(_) => {
                    Err(format!("Failed to parse {name}: Failed to convert '{text}' to number.\n"))
                }
            },
        };
        let offset = number("offset", offset)?;
        let length = number("length", length)?.unwrap_or(USUAL).min(LONGEST);
        Ok(Self { offset, length: if offset.is_some() { length } else { 0 } })
    }
}

/// What a listing says of a file that is shown as `path`.
pub fn info(path: impl Into<String>, meta: &Metadata) -> FileInfo {
    let nanoseconds = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
    FileInfo {
        path: path.into(),
        nlink: i32::try_from(meta.nlink()).ok(),
        size: Some(meta.size()),
        mtime: Some(TimeInfo { nanoseconds }),
        mode: Some(meta.mode()),
        uid: Some(meta.uid().to_string()),
        gid: Some(meta.gid().to_string()),
    }
}

/// The answer of `/files/browse`.
pub fn listing(files: &[FileInfo]) -> String {
    let mut to = Writer::new();
    to.begin_array();
    for file in files {
        to.begin_object();
        for (name, text) in [("gid", file.gid()), ("mode", &*mode_text(file.mode()))] {
            to.name(name);
            to.string(text);
        }
        to.name("mtime");
        to.i64(file.mtime.as_ref().map_or(0, |time| time.nanoseconds / 1_000_000_000));
        to.name("nlink");
        to.i64(file.nlink().into());
        to.name("path");
        to.string(&file.path);
        to.name("size");
        to.u64(file.size());
        to.name("uid");
        to.string(file.uid());
        to.end_object();
    }
    to.end_array();
    to.into_string()
}

/// A mode as `ls -l` writes it.
fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        _ => '-',
    };
    let bits = (0..9).rev().map(|bit| {
        let letter = ['x', 'w', 'r'][bit % 3];
        if mode & (1 << bit) == 0 { '-' } else { letter }
    });
    std::iter::once(kind).chain(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_what_there_is_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        std::fs::write(&path, "hello").expect("a file");
        let file = File::open(&path).expect("opened");
        let read = |offset, length| {
            let piece = Piece::read(&file, offset, length).expect("read");
            (String::from_utf8(piece.bytes).expect("text"), piece.size)
        };
        assert_eq!(read(0, 2), ("he".to_owned(), 5));
        assert_eq!(read(3, 100), ("lo".to_owned(), 5));
        assert_eq!(read(9, 100), (String::new(), 5));
        let directory = File::open(dir.path()).expect("opened");
        let error = Piece::read(&directory, 0, 1).expect_err("no file");
        assert_eq!(error.to_string(), "Cannot read a directory.");
    }

    #[test]
    fn without_an_offset_only_the_size_is_asked_for() {
        let parse = |offset, length| Asked::parse(offset, length);
        assert_eq!(parse(None, Some("5")), Ok(Asked { offset: None, length: 0 }));
        assert_eq!(parse(Some("-1"), None), Ok(Asked { offset: None, length: 0 }));
        assert_eq!(parse(Some("2"), None), Ok(Asked { offset: Some(2), length: USUAL }));
        assert_eq!(parse(Some("2"), Some("-1")), Ok(Asked { offset: Some(2), length: USUAL }));
        let long = parse(Some("0"), Some("99999999999")).expect("a number");
        assert_eq!(long.length, LONGEST);
        for (offset, length, expected) in [
            (Some("-2"), None, "Negative offset provided: -2.\n"),
            (Some("0"), Some("-2"), "Negative length provided: -2.\n"),
            (Some("x"), None, "Failed to parse offset: Failed to convert 'x' to number.\n"),
        ] {
            assert_eq!(parse(offset, length), Err(expected.to_owned()));
        }
        let piece = Piece { bytes: b"a\"b".to_vec(), size: 9 };
        assert_eq!(piece.json(Some(2)), r#"{"data":"a\"b","offset":2}"#);
        assert_eq!(piece.json(None), r#"{"data":"a\"b","offset":9}"#);
    }

    #[test]
    fn modes_are_written_as_ls_writes_them() {
        assert_eq!(mode_text(0o100_644), "-rw-r--r--");
        assert_eq!(mode_text(0o040_755), "drwxr-xr-x");
        assert_eq!(mode_text(0o120_777), "lrwxrwxrwx");
    }
}
