//! Reads what containers printed: the json-file log that the shim writes.
//!
//! On disk: `ID-json.log`, the generations before it in `.1` (newest) to `.N`, each perhaps
//! compressed as `.gz`. One JSON object a line: `log`, `stream`, `time`, perhaps `attrs`. The
//! shim alone writes and rotates; this module only reads, tolerates torn and foreign lines, and
//! bounds the memory a line can take.

mod chain;
mod cursor;
mod entry;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use jiff::Timestamp;

use cursor::LogCursor;
use watch::LogWatch;

use crate::container::handle::Published;
use crate::{Engine, Error, Result};

/// Which of its two outputs the container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line, or one part of a very long line (then without a newline at its end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it was written to.
    pub source: LogSource,
    /// When the shim read it.
    pub time: Timestamp,
    /// Labels and variables the log options chose.
    pub attributes: BTreeMap<String, String>,
    /// The bytes, with the newline.
    pub message: Bytes,
}

/// Which lines to read.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Lines at or after this time.
    pub since: Option<Timestamp>,
    /// Lines at or before this time.
    pub until: Option<Timestamp>,
    /// Only the last so many lines; `None` is all.
    pub tail: Option<u64>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { stdout: true, stderr: true, since: None, until: None, tail: None }
    }
}

/// Without inotify (the user's instances are used up) the log is looked at this often.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Even with inotify, look this often: an event queue can overflow.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the log at `path`, oldest line first. A missing log is an empty one.
///
/// Without `ended` the stream ends with what was there at its begin. With it the stream follows
/// the log, over rotations, until `ended` resolves (the container has stopped and the shim has
/// written its last line) and the rest is read. Nothing runs while nobody polls the stream.
pub fn read(
    path: &Path,
    options: LogOptions,
    ended: Option<BoxFuture<'static, ()>>,
) -> impl Stream<Item = io::Result<LogLine>> + Send + 'static {
    let state = Reading {
        path: path.to_owned(),
        options,
        ended,
        cursor: None,
        lines: VecDeque::new(),
        watch: None,
        last_round: false,
        finished: false,
    };
    futures_util::stream::unfold(state, |mut state| async move {
        let item = state.next().await.transpose()?;
        state.finished |= item.is_err();
        Some((item, state))
    })
}

/// The log of a container.
pub struct Logs {
    /// Whether the container has a terminal: its lines go out raw, without frames.
    pub tty: bool,
    /// The lines.
    pub lines: BoxStream<'static, io::Result<LogLine>>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("tty", &self.tty).finish_non_exhaustive()
    }
}

impl Engine {
    /// Reads a container's log; with `follow` until it stops. "Engine API ContainerLogs".
    ///
    /// # Errors
    /// NotFound; InvalidParameter for a log driver that cannot be read.
    pub async fn container_logs(
        &self,
        name: &str,
        options: LogOptions,
        follow: Follow,
    ) -> Result<Logs> {
        let container = self.inner.registry.find(name)?;
        let record = container.record();
        if !crate::container::log::is_readable(&record.host_config.log_config) {
            return Err(Error::InvalidParameter(
                "configured logging driver does not support reading".to_owned(),
            ));
        }
        let running = record.state.status.has_process();
        let ended = (follow == Follow::UntilStopped && running).then(|| {
            let mut published = container.watch();
            async move {
                let stopped =
                    |now: &Published| now.removed || !now.record.state.status.has_process();
                // An error: the owner has ended, and nothing will be told any more.
                let _ = published.wait_for(stopped).await;
            }
            .boxed()
        });
        let lines = read(&container.paths.log, options, ended).boxed();
        Ok(Logs { tty: record.config.tty, lines })
    }
}

/// Whether to go on at the end of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// End there.
    #[default]
    No,
    /// Wait for more until the container stops.
    UntilStopped,
}

struct Reading {
    path: PathBuf,
    options: LogOptions,
    ended: Option<BoxFuture<'static, ()>>,
    cursor: Option<LogCursor>,
    lines: VecDeque<LogLine>,
    watch: Option<LogWatch>,
    /// The container has ended, what is there now is all.
    last_round: bool,
    finished: bool,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if self.finished {
                return Ok(None);
            }
            if self.read_batch().await? {
                continue;
            }
            if self.last_round || self.ended.is_none() {
                return Ok(None);
            }
            self.wait().await;
        }
    }

    /// Reads on; false when there is nothing more for now.
    async fn read_batch(&mut self) -> io::Result<bool> {
        let follow = self.ended.is_some();
        if self.cursor.is_none() && follow {
            // Watch first, then read: what is written between is not missed.
            self.watch = LogWatch::new(&self.path).ok();
        }
        let (path, options, cursor) = (self.path.clone(), self.options, self.cursor.take());
        let read = move || {
            let mut cursor = match cursor {
                Some(cursor) => cursor,
                None => LogCursor::open(&path, options, follow)?,
            };
            let batch = cursor.next_batch()?;
            Ok::<_, io::Error>((cursor, batch))
        };
        let (cursor, batch) =
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        self.finished = cursor.is_past_until();
        self.cursor = Some(cursor);
        self.lines = batch.lines.into();
        Ok(batch.more || !self.lines.is_empty())
    }

    async fn wait(&mut self) {
        let Some(ended) = &mut self.ended else { return };
        let interval = if self.watch.is_some() { RECHECK_INTERVAL } else { POLL_INTERVAL };
        let until = self.options.until.map(|until| {
            Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
        });
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => self.last_round = true,
            () = changed => {}
            () = tokio::time::sleep(interval.min(until.unwrap_or(interval))) => {}
        }
        if until == Some(Duration::ZERO) {
            self.last_round = true;
        }
    }
}
