//! A task's sandbox: its directory, its output files, and whose they are.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
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

/// Makes the sandbox of a container that the operator API has launched; `containers/<own>` of the
/// sandbox around it leads there.
pub(crate) fn create_beside(
    directory: &Path,
    outer: Option<&Path>,
    user: Option<User>,
) -> io::Result<()> {
    make(directory, user)?;
    let Some((containers, own, name)) = links(directory, outer)? else { return Ok(()) };
    match rustix::fs::symlinkat(Path::new("../..").join(name), containers, own) {
        Err(errno) if errno != rustix::io::Errno::EXIST => Err(errno.into()),
        _ => Ok(()),
    }
}

/// Removes such a sandbox.
pub(crate) fn remove(directory: &Path, outer: Option<&Path>) -> io::Result<()> {
    if let Some((containers, own, _)) = links(directory, outer).ok().flatten() {
        let _ = rustix::fs::unlinkat(containers, own, rustix::fs::AtFlags::empty()); // leads nowhere
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The directory of the links in the sandbox around another, and the link and its target's name.
fn links<'a>(
    directory: &'a Path,
    outer: Option<&Path>,
) -> io::Result<Option<(OwnedFd, &'a str, &'a str)>> {
    let name = directory.file_name().and_then(|name| name.to_str());
    let (Some(outer), Some(name)) = (outer, name) else { return Ok(None) };
    let Some((_, own)) = name.rsplit_once('.') else { return Ok(None) };
    Ok(Some((below(outer, Path::new("containers"), None)?.0, own, name)))
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
pub(crate) fn shared(sandbox: &Path, path: &str, user: Option<User>) -> io::Result<PathBuf> {
    below(sandbox, Path::new(path), user).map(|(_, path)| path)
}

fn below(sandbox: &Path, path: &Path, user: Option<User>) -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open(sandbox, flags, Mode::empty())?;
    let mut whole = sandbox.to_owned();
    for part in path.components() {
        let Component::Normal(name) = part else {
            let why = format!("'{}' leads out of the sandbox", path.display());
            return Err(io::Error::other(why));
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
        whole.push(name);
        directory = opened;
    }
    Ok((directory, whole))
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
    fn a_sandbox_beside_another_is_reached_through_it_and_goes_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let outer = dir.path().join("runs/C");
        fs::create_dir_all(&outer).expect("a sandbox");
        let own = dir.path().join("runs/C.x");
        create_beside(&own, Some(&outer), None).expect("made");
        create_beside(&own, Some(&outer), None).expect("made again");
        assert!(outer.join("containers/x/stdout").is_file());
        remove(&own, Some(&outer)).expect("removed");
        remove(&own, Some(&outer)).expect("there is none");
        assert!(!own.exists() && !outer.join("containers/x").is_symlink());
        // A task that has put something else there gets nothing made elsewhere.
        fs::remove_dir(outer.join("containers")).expect("removed");
        std::os::unix::fs::symlink("/tmp", outer.join("containers")).expect("a link");
        assert!(create_beside(&own, Some(&outer), None).is_err());
        create_beside(&dir.path().join("C"), None, None).expect("made by itself");
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
