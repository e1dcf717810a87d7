//! A framework as its users start it: a program with the master's address.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::host::bin_dir;
use crate::wait::eventually;

/// A running program; ended when dropped.
#[derive(Debug)]
pub struct FrameworkProgram {
    child: Child,
    log: PathBuf,
}

impl FrameworkProgram {
    /// Starts it with its output in `dir`.
    pub fn start(mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join("framework.log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Waits until it has printed that.
    pub fn expect(&self, text: &str) -> Result<String> {
        eventually("the framework prints what is expected", || {
            let printed = std::fs::read_to_string(&self.log)?;
            ensure!(printed.contains(text), "no {text:?} in {printed:?}");
            Ok(printed)
        })
    }

    /// Waits until it has ended of its own accord and well, what it still had to say to its
    /// master included; gives what it printed.
    pub fn finish(mut self) -> Result<String> {
        eventually("the framework ends", || {
            let ended = self.child.try_wait()?;
            let printed = std::fs::read_to_string(&self.log)?;
            let status = ended.with_context(|| format!("it runs on: {printed:?}"))?;
            ensure!(status.success(), "{status}: {printed:?}");
            Ok(printed)
        })
    }
}

impl Drop for FrameworkProgram {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let printed = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- framework ---\n{printed}");
        }
        // Either fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has pymesos: made by `scripts/pymesos` beside the binaries, once.
pub fn python_with_pymesos() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace")?;
    let venv = bin_dir().join("pymesos");
    let output = Command::new(root.join("scripts/pymesos")).arg(&venv).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/pymesos ended with {}: {said}", output.status);
    Ok(venv.join("bin/python"))
}

/// A file of `tests/data`.
pub fn test_data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
