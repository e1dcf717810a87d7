//! A task's sandbox: its directory, its output files, and whose they are.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::identity::User;

/// Files that every sandbox has.
pub(crate) const STDOUT: &str = "stdout";
pub(crate) const STDERR: &str = "stderr";
/// Holds the line that does by hand what the agent did.
pub(crate) const RUN_LINE: &str = "docker_run.txt";

/// Makes the sandbox of a run; one that is there already is taken as it is.
pub(crate) fn create(directory: &Path, user: Option<User>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for name in [STDOUT, STDERR] {
        let path = directory.join(name);
        File::options().create(true).append(true).open(&path)?;
        own(&path, user)?;
    }
    own(directory, user)?;
    let (Some(runs), Some(container)) = (directory.parent(), directory.file_name()) else {
        return Ok(());
    };
    let (latest, beside) = (runs.join("latest"), runs.join("latest.new"));
    let _ = fs::remove_file(&beside); // left by an agent that was killed here
    std::os::unix::fs::symlink(container, &beside)?;
    fs::rename(beside, latest)
}

/// Gives a file of the agent's making to the task's user.
pub(crate) fn own(path: &Path, user: Option<User>) -> io::Result<()> {
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}

/// Engines cannot mount a path with a colon: such a sandbox is reached through a link.
pub(crate) fn without_colon(sandbox: &Path, link: &Path) -> io::Result<PathBuf> {
    if !sandbox.as_os_str().to_string_lossy().contains(':') {
        return Ok(sandbox.to_owned());
    }
    if let Some(directory) = link.parent() {
        fs::create_dir_all(directory)?;
    }
    match std::os::unix::fs::symlink(sandbox, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(link.to_owned()),
    }
}
