//! The container's log in the format of Docker's json-file driver, byte for byte.
//!
//! ```text
//! {"log":"text\n","stream":"stdout","attrs":{…},"time":"2006-01-02T15:04:05.999999999Z"}
//! ```
//! A line longer than 16 KiB is split; its pieces have no `\n`, the last one does. Rotation keeps
//! `<path>.1` (the newest) to `<path>.N`, optionally as `.gz`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::protocol::{LogConfig, LogDriver};
use super::remote::Service;

pub(in crate::shim) mod json;
mod rotate;
#[cfg(test)]
mod tests;

/// The longest piece of a line in one entry.
const PIECE_BYTES: usize = 16 << 10;

/// Writes the log of one container: its lines go to the file, to a service, or to both.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<LogFile>,
    service: Option<Service>,
    stdout: Pending,
    stderr: Pending,
}

/// The file and those rotated.
#[derive(Debug)]
struct LogFile {
    file: File,
    path: PathBuf,
    size: u64,
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
    /// The attributes as JSON with the comma after it, or nothing.
    attrs: Vec<u8>,
    /// Entries not yet in the file.
    entries: Vec<u8>,
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
struct Pending {
    text: Vec<u8>,
    /// When the first piece of a split line was written; every piece has its time.
    split_since: Option<i64>,
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Log {
    /// Opens the log, or gives `None` if there is to be none.
    pub(crate) fn open(config: &LogConfig) -> io::Result<Option<Self>> {
        let file = match config.driver {
            LogDriver::None => None,
            LogDriver::JsonFile => Some(LogFile::open(config)?),
        };
        let service = config.remote.as_ref().map(Service::connect).transpose()?;
        if file.is_none() && service.is_none() {
            return Ok(None);
        }
        let (stdout, stderr) = (Pending::default(), Pending::default());
        Ok(Some(Self { file, service, stdout, stderr }))
    }

    /// Takes output that came at `now_ns`.
    pub(crate) fn write(&mut self, source: Source, bytes: &[u8], now_ns: i64) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PIECE_BYTES - self.pending(source).text.len();
            let window = &rest[..rest.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let pending = self.pending(source);
                    pending.text.extend_from_slice(&window[..end]);
                    let mut text = std::mem::take(&mut pending.text);
                    let time = pending.split_since.take().unwrap_or(now_ns);
                    text.push(b'\n');
                    self.entry(source, &text, time)?;
                    text.clear();
                    self.pending(source).text = text;
                    rest = &rest[end + 1..];
                }
                None => {
                    let pending = self.pending(source);
                    pending.text.extend_from_slice(window);
                    rest = &rest[window.len()..];
                    if pending.text.len() == PIECE_BYTES {
                        self.piece(source, now_ns)?;
                    }
                }
            }
        }
        self.flush()
    }

    /// Writes what is left of a line when its stream has ended, without `\n`.
    pub(crate) fn end(&mut self, source: Source, now_ns: i64) -> io::Result<()> {
        if !self.pending(source).text.is_empty() {
            self.piece(source, now_ns)?;
        }
        self.flush()
    }

    fn pending(&mut self, source: Source) -> &mut Pending {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    fn piece(&mut self, source: Source, now_ns: i64) -> io::Result<()> {
        let pending = self.pending(source);
        let time = *pending.split_since.get_or_insert(now_ns);
        let text = std::mem::take(&mut pending.text);
        self.entry(source, &text, time)
    }

    fn entry(&mut self, source: Source, text: &[u8], time_ns: i64) -> io::Result<()> {
        let written = match &mut self.file {
            Some(file) => file.entry(source, text, time_ns),
            None => Ok(()),
        };
        let sent = match &mut self.service {
            Some(service) => service.send(source, text, time_ns),
            None => Ok(()),
        };
        written.and(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), LogFile::flush)
    }
}

impl LogFile {
    fn open(config: &LogConfig) -> io::Result<Self> {
        let file = open_file(&config.path).map_err(|error| {
            io::Error::new(error.kind(), format!("open {}: {error}", config.path.display()))
        })?;
        let size = file.metadata()?.len();
        Ok(Self {
            file,
            path: config.path.clone(),
            size,
            max_size: config.max_size,
            max_file: config.max_file,
            compress: config.compress,
            attrs: attrs_json(&config.attrs),
            entries: Vec::new(),
        })
    }

    fn entry(&mut self, source: Source, text: &[u8], time_ns: i64) -> io::Result<()> {
        let pending = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        if self.max_size.is_some_and(|max| self.size + pending >= max) {
            self.flush()?;
            self.rotate()?;
        }
        let entries = &mut self.entries;
        entries.extend_from_slice(b"{\"log\":");
        json::write_string(text, entries);
        entries.extend_from_slice(b",\"stream\":\"");
        entries.extend_from_slice(source.name().as_bytes());
        entries.extend_from_slice(b"\",");
        entries.extend_from_slice(&self.attrs);
        entries.extend_from_slice(b"\"time\":\"");
        json::write_time(time_ns, entries);
        entries.extend_from_slice(b"\"}\n");
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.write_all(&self.entries);
        if result.is_ok() {
            self.size += u64::try_from(self.entries.len()).unwrap_or(0);
        }
        // Entries that cannot be written (disk full) are lost; the container goes on.
        self.entries.clear();
        if self.entries.capacity() > 4 * PIECE_BYTES {
            self.entries.shrink_to(PIECE_BYTES);
        }
        result
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_file < 2 {
            self.file.set_len(0)?;
        } else {
            rotate::shift(&self.path, self.max_file)?;
            self.file = open_file(&self.path)?;
            if self.compress {
                rotate::compress(&self.path)?;
            }
        }
        self.size = 0;
        Ok(())
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn attrs_json(attrs: &BTreeMap<String, String>) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in attrs {
        text.extend_from_slice(if text.is_empty() { b"\"attrs\":{" } else { b"," });
        json::write_string(key.as_bytes(), &mut text);
        text.push(b':');
        json::write_string(value.as_bytes(), &mut text);
    }
    if !text.is_empty() {
        text.extend_from_slice(b"},");
    }
    text
}
