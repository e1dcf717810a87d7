//! From the engine's log to `stdout` and `stderr` in the sandbox.
//!
//! The files are a copy of the log from its first byte, so that their lengths say how far the copy
//! has come: after a restart of the agent or of the engine that much is skipped, and no line is
//! lost or doubled.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use docker_api::stream::{Decoder, Kind};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::sandbox::{STDERR, STDOUT};

const PAUSE: Duration = Duration::from_secs(1);

/// Copies until the log ends. `ended` says that the container has, so that an engine that is gone
/// is not waited for.
pub(crate) async fn follow(
    engine: &Engine,
    name: &str,
    tty: bool,
    sandbox: &Path,
    ended: &CancellationToken,
) {
    loop {
        let error = match copy(engine, name, tty, sandbox).await {
            Ok(()) => return,
            Err(Stop::Unreadable) => {
                attached(engine, name, tty, sandbox).await;
                return;
            }
            Err(Stop::Broken(error)) => error,
        };
        if ended.is_cancelled() {
            tracing::warn!(container = name, %error, "the rest of the output is not in the sandbox");
            return;
        }
        tracing::debug!(container = name, %error, "output interrupted");
        tokio::time::sleep(PAUSE).await;
    }
}

enum Stop {
    /// The engine keeps no log of this container that it could read.
    Unreadable,
    Broken(String),
}

async fn copy(engine: &Engine, name: &str, tty: bool, sandbox: &Path) -> Result<(), Stop> {
    let broken = |e: &dyn std::fmt::Display| Stop::Broken(e.to_string());
    let mut files = Files::open(sandbox, tty).map_err(|e| broken(&e))?;
    files.skip_what_is_there().map_err(|e| broken(&e))?;
    let mut response = match engine.logs(name).await {
        Ok(response) => response,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) if error.status().is_some() => return Err(Stop::Unreadable),
        Err(error) => return Err(broken(&error)),
    };
    while let Some(bytes) = response.chunk().await.map_err(|e| broken(&e))? {
        files.take(&bytes).map_err(|e| broken(&e))?;
    }
    Ok(())
}

async fn attached(engine: &Engine, name: &str, tty: bool, sandbox: &Path) {
    let run = async {
        let mut files = Files::open(sandbox, tty).map_err(|e| e.to_string())?;
        let mut stream = engine.attach(name).await.map_err(|e| e.to_string())?;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = stream.io.read(&mut buffer).await.map_err(|e| e.to_string())?;
            if read == 0 {
                return Ok::<(), String>(());
            }
            files.take(&buffer[..read]).map_err(|e| e.to_string())?;
        }
    };
    if let Err(error) = run.await {
        tracing::warn!(container = name, %error, "output is not in the sandbox");
    }
}

/// The two files and how much of what comes they have already.
struct Files {
    out: Copy,
    err: Copy,
    /// Without a terminal output comes in frames.
    frames: Option<Decoder>,
}

struct Copy {
    file: File,
    skip: u64,
}

impl Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        self.file.write_all(&bytes[skipped..])
    }
}

impl Files {
    fn open(sandbox: &Path, tty: bool) -> io::Result<Self> {
        let open = |name: &str| {
            let file = File::options().create(true).append(true).open(sandbox.join(name))?;
            Ok::<_, io::Error>(Copy { file, skip: 0 })
        };
        let frames = (!tty).then(Decoder::default);
        Ok(Self { out: open(STDOUT)?, err: open(STDERR)?, frames })
    }

    fn skip_what_is_there(&mut self) -> io::Result<()> {
        for copy in [&mut self.out, &mut self.err] {
            copy.skip = copy.file.metadata()?.len();
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(decoder) = &mut self.frames else {
            return self.out.write(bytes);
        };
        decoder.push(bytes);
        let bad = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        while let Some((kind, piece)) = decoder.next_piece().map_err(bad)? {
            let piece: Bytes = piece;
            match kind {
                Kind::Stderr => self.err.write(&piece)?,
                Kind::Stdin | Kind::Stdout | Kind::System => self.out.write(&piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("short");
        [&[kind, 0, 0, 0][..], &length.to_be_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn a_copy_taken_up_again_neither_loses_nor_doubles() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = [frame(1, "one\n"), frame(2, "err\n"), frame(1, "two\n")].concat();
        for cut in 0..log.len() {
            let mut first = Files::open(dir.path(), false).expect("files");
            first.take(&log[..cut]).expect("written");
            let mut second = Files::open(dir.path(), false).expect("files");
            second.skip_what_is_there().expect("lengths");
            second.take(&log).expect("written");
            let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a file");
            assert_eq!(
                (read(STDOUT).as_str(), read(STDERR).as_str()),
                ("one\ntwo\n", "err\n"),
                "cut {cut}"
            );
            for name in [STDOUT, STDERR] {
                std::fs::remove_file(dir.path().join(name)).expect("a file");
            }
        }
    }
}
