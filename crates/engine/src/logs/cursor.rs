//! A place in a log, from the oldest wanted line over rotations to the end of the live file.
//!
//! Synchronous: every call does a bounded amount of file reading. The live file is the one the
//! shim appends to; when its name has moved on to another inode it was rotated, is read to its
//! end once more (the shim does not write to it any more), and its successors follow.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::chain::{FileId, Generation, open_generation};
use super::{LogLine, LogOptions, LogSource, entry, tail};

/// One call of [`LogCursor::next_batch`] reads about this much.
const BATCH_BYTES: usize = 256 << 10;
/// A longer line was not written by the shim, which splits at 16 KiB; it is skipped.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What one call gave.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<LogLine>,
    /// False when the end was reached, for now or for good.
    pub(super) more: bool,
}

#[derive(Debug)]
pub(super) struct LogCursor {
    path: PathBuf,
    options: LogOptions,
    follow: bool,
    /// Generations to read, oldest first.
    waiting: VecDeque<Start>,
    reading: Option<Open>,
    /// After a rotation whose traces are lost: skip what was read already, by time.
    resume_after: Option<Timestamp>,
    last_time: Option<Timestamp>,
    past_until: bool,
}

/// A generation and where to begin in it.
#[derive(Debug)]
struct Start {
    generation: Generation,
    offset: u64,
    skip_lines: u64,
}

struct Open {
    reader: Box<dyn Read + Send>,
    id: FileId,
    /// Bytes consumed, for noticing that the file was truncated in place.
    position: u64,
    skip_lines: u64,
    /// A line whose end has not been read yet.
    partial: Vec<u8>,
    /// The line at hand is too long; drop up to its end.
    discarding: bool,
    /// Nothing more after the end that was there when it was opened.
    bounded: bool,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("id", &self.id).field("position", &self.position).finish()
    }
}

impl LogCursor {
    /// Finds the first wanted line.
    pub(super) fn open(path: &Path, options: LogOptions, follow: bool) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            options,
            follow,
            waiting: starts(path, options.tail)?,
            reading: None,
            resume_after: None,
            last_time: None,
            past_until: false,
        })
    }

    /// Tells that a line after `until` was met: nothing of interest comes any more.
    pub(super) fn is_past_until(&self) -> bool {
        self.past_until
    }

    /// Reads on. An empty batch without `more` means: at the end, for now.
    pub(super) fn next_batch(&mut self) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let mut block = vec![0; 64 << 10];
        let mut budget = BATCH_BYTES;
        while budget > 0 && !self.past_until {
            let Some(open) = &mut self.reading else {
                if self.open_next()? {
                    continue;
                }
                return Ok(batch);
            };
            let size = match open.reader.read(&mut block) {
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A damaged compressed generation: go on with the next one.
                Err(error) if error.raw_os_error().is_none() => 0,
                Err(error) => return Err(error),
            };
            if size == 0 {
                if self.at_end()? {
                    return Ok(batch);
                }
                continue;
            }
            budget = budget.saturating_sub(size);
            open.position += size as u64;
            self.take_lines(&block[..size], &mut batch.lines);
        }
        batch.more = !self.past_until;
        Ok(batch)
    }

    fn open_next(&mut self) -> io::Result<bool> {
        let start = match self.waiting.pop_front() {
            Some(start) => start,
            // A follower of a container that has not written yet.
            None if self.follow => match open_generation(&self.path, 0)? {
                Some(generation) => Start { generation, offset: 0, skip_lines: 0 },
                None => return Ok(false),
            },
            None => return Ok(false),
        };
        let bounded = !self.follow || !self.waiting.is_empty();
        let limit = if bounded { start.generation.len()? } else { u64::MAX };
        let id = start.generation.id;
        let reader =
            start.generation.into_reader(start.offset, limit.saturating_sub(start.offset))?;
        self.reading = Some(Open {
            reader,
            id,
            position: start.offset,
            skip_lines: start.skip_lines,
            partial: Vec::new(),
            discarding: false,
            bounded,
        });
        Ok(true)
    }

    /// Decides what the end of a file means; true: nothing more for now.
    fn at_end(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.reading else { return Ok(true) };
        if open.bounded {
            self.reading = None;
            return Ok(self.waiting.is_empty() && !self.follow);
        }
        match std::fs::metadata(&self.path) {
            Ok(live) if (live.dev(), live.ino()) == open.id => {
                if live.len() >= open.position {
                    return Ok(true);
                }
                // Truncated in place, as is done where only one generation is kept.
                self.reading = None;
                Ok(false)
            }
            Ok(_) => {
                // Rotated: its last lines may have come between our read and the rename, so it
                // is read to its end, which is final now, before its successors.
                open.bounded = true;
                let id = open.id;
                self.queue_successors(id)?;
                Ok(false)
            }
            // Between the rename and the new file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Queues what came after the file `read`; when that cannot be found any more (compressed or
    /// deleted meanwhile), everything later than the last line.
    fn queue_successors(&mut self, read: FileId) -> io::Result<()> {
        let mut newest_first: Vec<Start> = Vec::new();
        let mut found = false;
        for number in 0.. {
            let Some(generation) = open_generation(&self.path, number)? else {
                if number == 0 { continue } else { break }
            };
            if generation.id == read {
                found = true;
                break;
            }
            if newest_first.iter().all(|other| other.generation.id != generation.id) {
                newest_first.push(Start { generation, offset: 0, skip_lines: 0 });
            }
        }
        self.resume_after = if found { None } else { self.last_time };
        self.waiting = newest_first.into_iter().rev().collect();
        Ok(())
    }

    fn take_lines(&mut self, block: &[u8], lines: &mut Vec<LogLine>) {
        let Some(open) = &mut self.reading else { return };
        let mut accepted = Vec::new();
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            let complete = piece.ends_with(b"\n");
            if !open.discarding {
                if open.partial.len() + piece.len() > MAX_LINE_BYTES {
                    open.discarding = true;
                    open.partial = Vec::new();
                } else if complete && open.partial.is_empty() {
                    accepted.extend(counted(&mut open.skip_lines, piece));
                } else {
                    open.partial.extend_from_slice(piece);
                    if complete {
                        accepted.extend(counted(&mut open.skip_lines, &open.partial));
                        open.partial.clear();
                    }
                }
            } else if complete {
                counted(&mut open.skip_lines, b"");
                open.discarding = false;
            }
        }
        for line in accepted {
            if self.wants(&line) {
                lines.push(line);
            }
        }
    }

    fn wants(&mut self, line: &LogLine) -> bool {
        if self.past_until || self.resume_after.is_some_and(|after| line.time <= after) {
            return false;
        }
        self.last_time = Some(line.time);
        if self.options.until.is_some_and(|until| line.time > until) {
            self.past_until = true;
            return false;
        }
        let source = match line.source {
            LogSource::Stdout => self.options.stdout,
            LogSource::Stderr => self.options.stderr,
        };
        source && self.options.since.is_none_or(|since| line.time >= since)
    }
}

/// Parses a line unless it is still to be skipped.
fn counted(skip_lines: &mut u64, line: &[u8]) -> Option<LogLine> {
    if *skip_lines > 0 {
        *skip_lines -= 1;
        return None;
    }
    entry::parse(line)
}

/// Opens as many generations as hold `wanted` lines, oldest first.
fn starts(path: &Path, wanted: Option<u64>) -> io::Result<VecDeque<Start>> {
    let mut starts: VecDeque<Start> = VecDeque::new();
    let mut missing = wanted;
    for number in 0.. {
        let Some(generation) = open_generation(path, number)? else {
            if number == 0 { continue } else { break }
        };
        // A rotation while we open moves the file just opened to the next name.
        if starts.iter().any(|other| other.generation.id == generation.id) {
            continue;
        }
        let mut start = Start { generation, offset: 0, skip_lines: 0 };
        if let Some(missing) = &mut missing {
            let lines = begin(&mut start, *missing)?;
            *missing -= lines;
        }
        starts.push_front(start);
        if missing == Some(0) {
            break;
        }
    }
    Ok(starts)
}

/// Moves the start to the last `wanted` lines and tells how many there are.
fn begin(start: &mut Start, wanted: u64) -> io::Result<u64> {
    if start.generation.is_compressed() {
        // Damaged: whatever can be read of it is counted as nothing and shown.
        let lines = tail::lines_of_compressed(start.generation.file()).unwrap_or(0);
        start.skip_lines = lines.saturating_sub(wanted);
        return Ok(lines.min(wanted));
    }
    let len = start.generation.len()?;
    let tail = tail::of_file(start.generation.file(), len, wanted)?;
    start.offset = tail.offset;
    Ok(tail.lines)
}
