//! The memory of the event bus on disk: JSON lines in `PATH`, the generation before in `PATH.1`.
//!
//! Lines are appended without fsync: an event is news, not state, and losing the last ones in a
//! power cut loses nothing a container depends on. A torn last line is skipped on reading.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Event;

/// At this size the journal becomes `.1` and a new one begins.
const ROTATE_BYTES: u64 = 4 << 20;
/// A longer line was not written by us.
const LINE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    /// A failed write was reported already; do not report each one.
    reported: bool,
}

impl Journal {
    /// Reads the newest `keep` events and opens the journal for appending.
    pub(super) fn open(path: &Path, keep: usize) -> (VecDeque<Event>, Option<Self>) {
        let mut events = VecDeque::new();
        for path in [&older(path), path] {
            match read(path, keep, &mut events) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "event journal unreadable");
                }
                _ => {}
            }
        }
        match append_to(path) {
            Ok((file, size_bytes)) => {
                let path = path.to_owned();
                (events, Some(Self { path, file, size_bytes, reported: false }))
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "event journal not writable");
                (events, None)
            }
        }
    }

    pub(super) fn append(&mut self, event: &Event) {
        match self.try_append(event) {
            Ok(()) => self.reported = false,
            Err(error) if !self.reported => {
                tracing::warn!(path = %self.path.display(), %error, "event not journaled");
                self.reported = true;
            }
            Err(_) => {}
        }
    }

    fn try_append(&mut self, event: &Event) -> io::Result<()> {
        if self.size_bytes >= ROTATE_BYTES {
            std::fs::rename(&self.path, older(&self.path))?;
            (self.file, self.size_bytes) = append_to(&self.path)?;
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.size_bytes += line.len() as u64;
        Ok(())
    }
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let mut file =
        OpenOptions::new().append(true).create(true).read(true).mode(0o600).open(path)?;
    let size_bytes = file.metadata()?.len();
    if size_bytes > 0 {
        // A line torn by a crash must not swallow the next event.
        use std::io::{Seek, SeekFrom};
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok((file, size_bytes))
}

fn read(path: &Path, keep: usize, events: &mut VecDeque<Event>) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(event) = serde_json::from_slice(&line) {
            if events.len() == keep {
                events.pop_front();
            }
            events.push_back(event);
        }
    }
}
