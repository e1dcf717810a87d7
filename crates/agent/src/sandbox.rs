//! A task's sandbox: its directory, its output files, and whose they are.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::identity::User;

/// Files that every sandbox has.
pub(crate) const STDOUT: &str = "stdout";
pub(crate) const STDERR: &str = "stderr";
/// Holds the line that does by hand what the agent did.
pub(crate) const RUN_LINE: &str = "docker_run.txt";

/// Makes the sandbox of a run; one that is there already is taken as it is.
pub(crate) fn create(directory: &Path, user: Option<User>) -> io::Result<()> {
    make(directory, user)?;
    match (directory.parent(), directory.file_name()) {
        (Some(runs), Some(container)) => link(&runs.join("latest"), Path::new(container)),
        _ => Ok(()),
    }
}

/// Makes the sandbox of a container inside of another, and says there of which task it is. The outer
/// sandbox stays the agent's own: a task that could move its directories could make the agent write
/// elsewhere.
pub(crate) fn create_inside(
    outer: &Path,
    own: &str,
    task: &str,
    user: Option<User>,
) -> io::Result<()> {
    create(outer, None)?;
    make(&outer.join("containers").join(own), user)?;
    let tasks = outer.join("tasks");
    fs::create_dir_all(&tasks)?;
    link(&tasks.join(task), &Path::new("../containers").join(own))
}

fn make(directory: &Path, user: Option<User>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for name in [STDOUT, STDERR] {
        let path = directory.join(name);
        File::options().create(true).append(true).open(&path)?;
        own(&path, user)?;
    }
    own(directory, user)
}

/// A link that takes the place of an earlier one.
fn link(path: &Path, target: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let _ = fs::remove_file(&beside); // left by an agent that was killed here
    std::os::unix::fs::symlink(target, &beside)?;
    fs::rename(beside, path)
}

/// A directory below a sandbox for a task to use, made if need be. What leads elsewhere is an error:
/// the tasks that it is shared with may have put links there.
pub(crate) fn shared(sandbox: &Path, below: &str, user: Option<User>) -> io::Result<PathBuf> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open(sandbox, flags, Mode::empty())?;
    let mut path = sandbox.to_owned();
    for part in Path::new(below).components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::other(format!("'{below}' leads out of the sandbox")));
        };
        let made = match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        let opened = rustix::fs::openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        if let Some(user) = user.filter(|_| made) {
            std::os::unix::fs::fchown(&opened, Some(user.uid), Some(user.gid))?;
        }
        path.push(name);
        directory = opened;
    }
    Ok(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_directory_is_made_and_cannot_be_elsewhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = shared(dir.path(), "a/b", None).expect("made");
        assert!(made.is_dir() && made == dir.path().join("a/b"));
        assert_eq!(shared(dir.path(), "a/b", None).expect("found"), made);
        std::os::unix::fs::symlink("/tmp", dir.path().join("a/c")).expect("a link");
        for bad in ["a/c/d", "../x", "/etc"] {
            assert!(shared(dir.path(), bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sandbox_inside_of_another_is_found_by_its_task() {
        let dir = tempfile::tempdir().expect("a directory");
        let outer = dir.path().join("runs/C");
        create_inside(&outer, "D", "T", None).expect("made");
        assert!(outer.join("tasks/T/stdout").is_file());
        assert!(dir.path().join("runs/latest/containers/D/stderr").is_file());
    }
}
