//! The layer between an image and a container's own: places to mount on, and `/.dockerenv`.
//!
//! Every start needs `/etc/hosts`, `/proc` and the like to exist. Where the image has none they are
//! made here, in a layer of the container that is read-only to it, so that neither `diff` nor
//! `commit` mistakes them for the container's work. Directories that the image has keep its mode and
//! owner, because an upper layer's directory is the one that counts.

use std::io::{ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

const DIRECTORIES: &[&str] = &["dev", "proc", "sys"];
const FILES_IN_ETC: &[&str] = &["hosts", "hostname", "resolv.conf"];

/// Fills the empty directory `to` with what `lowers` (topmost first) lack.
pub(super) fn fill(lowers: &[PathBuf], to: &Path) -> Result<()> {
    if let Some(top) = lowers.first() {
        copy_identity(top, to)?;
    }
    std::fs::write(to.join(".dockerenv"), "")?;
    for directory in DIRECTORIES {
        if find(lowers, directory)?.is_none() {
            std::fs::create_dir(to.join(directory))?;
        }
    }
    let etc = to.join("etc");
    match find(lowers, "etc")? {
        Some(own) if !std::fs::symlink_metadata(&own)?.is_dir() => return Ok(()),
        Some(own) => {
            std::fs::create_dir(&etc)?;
            copy_identity(&own, &etc)?;
        }
        None => std::fs::create_dir(&etc)?,
    }
    for file in FILES_IN_ETC {
        if find(lowers, &format!("etc/{file}"))?.is_none() {
            std::fs::write(etc.join(file), "")?;
        }
    }
    if find(lowers, "etc/mtab")?.is_none() {
        symlink("/proc/mounts", etc.join("mtab"))?;
    }
    Ok(())
}

/// Finds what the image shows under a name; a whiteout hides everything below it.
fn find(lowers: &[PathBuf], name: &str) -> Result<Option<PathBuf>> {
    for lower in lowers {
        let path = lower.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_char_device() && found.rdev() == 0 => {
                return Ok(None);
            }
            Ok(_) => return Ok(Some(path)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Gives a directory the owner and mode of another.
pub(super) fn copy_identity(from: &Path, to: &Path) -> Result<()> {
    let metadata = std::fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    std::fs::set_permissions(to, metadata.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_image_lacks_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(dir.path().join(path)).unwrap();
        make("top/proc");
        make("bottom/etc");
        make("init");
        std::fs::write(dir.path().join("bottom/etc/hosts"), "kept").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.path().join("bottom/etc"), mode).unwrap();
        let init = dir.path().join("init");
        fill(&[dir.path().join("top"), dir.path().join("bottom")], &init).unwrap();
        let mut names: Vec<String> = Vec::new();
        for folder in [init.clone(), init.join("etc")] {
            for entry in std::fs::read_dir(&folder).unwrap() {
                names.push(entry.unwrap().file_name().into_string().unwrap());
            }
        }
        names.sort_unstable();
        assert_eq!(names, [".dockerenv", "dev", "etc", "hostname", "mtab", "resolv.conf", "sys"]);
        assert_eq!(std::fs::metadata(init.join("etc")).unwrap().mode() & 0o777, 0o700);
    }
}
