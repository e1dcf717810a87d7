//! Whose a cgroup is: written on its directory, where it outlives whatever happens to the work
//! directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runtime::cgroup::{Cgroup, Hierarchies};
use rustix::fs::XattrFlags;

/// Holds the work directory of the agent that made the cgroup.
const NAME: &str = "trusted.teu.work_dir";

/// The longest path, in bytes.
const PATH_MAX: usize = 4096;

/// Marks a container's cgroup as that of the agent with this work directory.
///
/// # Errors
/// The kernel keeps marks for whoever has CAP_SYS_ADMIN.
pub(super) fn set(cgroup: &Cgroup, work_dir: &str) -> io::Result<()> {
    let Some(directory) = any_directory(cgroup) else { return Ok(()) };
    Ok(rustix::fs::setxattr(&directory, NAME, work_dir.as_bytes(), XattrFlags::empty())?)
}

/// The containers below `root` with the mark of this work directory, each with all that are inside
/// of it: itself last, and those before that it is around.
pub(super) fn owned(hierarchies: &Hierarchies, root: &Path, work_dir: &str) -> Vec<Vec<String>> {
    let Ok(root) = Cgroup::new(hierarchies.clone(), root) else { return Vec::new() };
    let mut found = Vec::new();
    for (directory, name) in any_directory(&root).iter().flat_map(|root| children(root)) {
        let mut mark = Vec::with_capacity(PATH_MAX);
        let read =
            rustix::fs::getxattr(&directory, NAME, rustix::buffer::spare_capacity(&mut mark));
        if read.is_ok() && mark == work_dir.as_bytes() {
            let mut whole = Vec::new();
            add(&directory, name, &mut whole);
            found.push(whole);
        }
    }
    found
}

fn add(directory: &Path, name: String, found: &mut Vec<String>) {
    for (inner, inner_name) in children(directory) {
        add(&inner, format!("{name}.{inner_name}"), found);
    }
    found.push(name);
}

fn children(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Its directory in one of the hierarchies, always the same one.
fn any_directory(cgroup: &Cgroup) -> Option<PathBuf> {
    let v1 = cgroup.v1_directories().map(|(_, directory)| directory);
    v1.chain(cgroup.unified_directory()).next()
}
