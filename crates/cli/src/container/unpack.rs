//! Unpacks what comes out of a container without ever leaving the destination.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

/// How to unpack.
#[derive(Debug)]
pub(crate) struct Options {
    /// Must exist.
    pub(crate) directory: PathBuf,
    /// The first name of every entry, and the one that takes its place.
    pub(crate) rename: Option<(String, String)>,
    /// Whether files get the owners they had.
    pub(crate) owners: bool,
}

/// Unpacks a tar.
///
/// # Errors
/// When the tar is torn, an entry would land outside, or a file cannot be written.
pub(crate) fn unpack(reader: impl Read, options: &Options) -> io::Result<()> {
    let mut archive = Archive::new(reader);
    archive.set_preserve_ownerships(options.owners);
    // Directories get their modes and times when nothing is written into them any more.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = renamed(&entry.path()?, options);
        prepare(&mut entry);
        match entry.header().entry_type() {
            EntryType::Directory => {
                create_directory(&mut entry, &path, options)?;
                directories.push((path, entry.header().mode().ok(), entry.header().mtime().ok()));
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                eprintln!("WARNING: {} is a special file and was left out", path.display());
            }
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Regular
            | EntryType::GNUSparse
            | EntryType::Continuous => {
                unpack_entry(&mut entry, &path, options)?;
            }
            _ => {}
        }
    }
    for (path, mode, mtime) in directories.into_iter().rev() {
        finish_directory(&options.directory.join(path), mode, mtime)?;
    }
    Ok(())
}

fn prepare<R: Read>(entry: &mut Entry<'_, R>) {
    entry.set_preserve_permissions(true);
    entry.set_preserve_mtime(true);
    entry.set_unpack_xattrs(false);
}

/// Replaces the first name, and takes `.` out; `..` is left for the check.
fn renamed(path: &Path, options: &Options) -> PathBuf {
    let Some((old, new)) = &options.rename else { return path.to_owned() };
    let mut parts = path
        .components()
        .filter(|part| !matches!(part, Component::CurDir | Component::RootDir))
        .peekable();
    let replaces_content = matches!(old.as_str(), "." | "" | "/");
    if !replaces_content && parts.peek().is_some_and(|part| part.as_os_str() == old.as_str()) {
        parts.next();
    }
    Path::new(new).join(parts.collect::<PathBuf>())
}

/// Finds the target's directory, which must lie inside of the destination
/// even after every link in it was followed.
fn target(path: &Path, options: &Options) -> io::Result<PathBuf> {
    let outside = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} would leave the destination", path.display()),
        )
    };
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(outside()),
        }
    }
    let full = options.directory.join(&clean);
    let root = options.directory.canonicalize()?;
    let parent = match clean.parent() {
        Some(parent) => options.directory.join(parent),
        None => options.directory.clone(),
    };
    std::fs::create_dir_all(&parent)?;
    if parent.canonicalize()?.starts_with(&root) { Ok(full) } else { Err(outside()) }
}

fn create_directory<R: Read>(
    entry: &mut Entry<'_, R>,
    path: &Path,
    options: &Options,
) -> io::Result<()> {
    let full = target(path, options)?;
    match std::fs::symlink_metadata(&full) {
        Ok(metadata) if metadata.is_dir() => {}
        // A link to a directory is used as one, if it stays inside.
        Ok(metadata) if metadata.is_symlink() && full.is_dir() => {
            target(&path.join("x"), options)?;
        }
        Ok(_) => {
            return Err(io::Error::other(format!(
                "cannot overwrite non-directory {:?} with directory",
                full.display()
            )));
        }
        Err(_) => std::fs::create_dir(&full)?,
    }
    if options.owners {
        let (uid, gid) = (entry.header().uid()?, entry.header().gid()?);
        let id = |id: u64| u32::try_from(id).ok();
        std::os::unix::fs::lchown(&full, id(uid), id(gid))?;
    }
    Ok(())
}

fn unpack_entry<R: Read>(
    entry: &mut Entry<'_, R>,
    path: &Path,
    options: &Options,
) -> io::Result<()> {
    let full = target(path, options)?;
    if std::fs::symlink_metadata(&full).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(io::Error::other(format!(
            "cannot overwrite directory {:?} with non-directory",
            full.display()
        )));
    }
    if entry.header().entry_type() != EntryType::Link {
        return entry.unpack(&full).map(drop);
    }
    let name = entry
        .link_name()?
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "hard link without a target"))?;
    let source = target(&renamed(&name, options), options)?;
    match std::fs::remove_file(&full) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(source, full)
}

fn finish_directory(path: &Path, mode: Option<u32>, mtime: Option<u64>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some(seconds) = mtime {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        std::fs::File::open(path)?.set_times(std::fs::FileTimes::new().set_modified(time))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn tar_of(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o644 });
            header.set_mtime(1000);
            // Names that the builder itself would refuse are what matters here.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name_literal(content).expect("short");
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).expect("append");
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).expect("append");
            }
        }
        builder.into_inner().expect("finish")
    }

    fn into(directory: &Path, rename: Option<(&str, &str)>, tar: &[u8]) -> io::Result<()> {
        let rename = rename.map(|(a, b)| (a.to_owned(), b.to_owned()));
        unpack(tar, &Options { directory: directory.to_owned(), rename, owners: false })
    }

    #[test]
    fn trees_land_under_their_new_name() {
        let dir = tempfile::tempdir().expect("temp dir");
        let tar = tar_of(&[
            ("src/", EntryType::Directory, ""),
            ("src/f", EntryType::Regular, "one"),
            ("src/h", EntryType::Link, "src/f"),
            ("src/l", EntryType::Symlink, "f"),
        ]);
        into(dir.path(), Some(("src", "new")), &tar).expect("unpacks");
        for name in ["f", "h", "l"] {
            assert_eq!(
                std::fs::read_to_string(dir.path().join("new").join(name)).expect("read"),
                "one"
            );
        }
        into(dir.path(), None, &tar).expect("unpacks");
        assert!(dir.path().join("src/f").exists());
    }

    #[test]
    fn hostile_names_stay_out() {
        let parent = tempfile::tempdir().expect("temp dir");
        let dir = parent.path().join("in");
        std::fs::create_dir(&dir).expect("mkdir");
        let attacks = [
            tar_of(&[("../out", EntryType::Regular, "x")]),
            tar_of(&[("a", EntryType::Symlink, ".."), ("a/out", EntryType::Regular, "x")]),
            tar_of(&[("b", EntryType::Symlink, "/"), ("b/out", EntryType::Regular, "x")]),
            tar_of(&[("c", EntryType::Symlink, ".."), ("c/sub/", EntryType::Directory, "")]),
            tar_of(&[("d", EntryType::Link, "../../etc/passwd")]),
        ];
        for tar in attacks {
            assert!(into(&dir, None, &tar).is_err());
        }
        assert_eq!(std::fs::read_dir(parent.path()).expect("list").count(), 1);
        // An absolute name counts from the destination.
        into(&dir, None, &tar_of(&[("/abs", EntryType::Regular, "x")])).expect("unpacks");
        assert!(dir.join("abs").exists());
    }
}
