//! Everything quick that must hold before a commit.

use anyhow::Result;

use crate::{run, tidy};

/// Runs fmt, clippy, docs, unit tests and tidy, stopping at the first that fails.
pub(crate) fn run_all() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    run("cargo", &["doc", "--workspace", "--no-deps", "--quiet"])?;
    run("cargo", &["nextest", "run", "--workspace", "--exclude", "e2e"])?;
    tidy::run()
}
