//! A directory tree as a tar that depends on nothing but the tree.
//!
//! Entries are sorted, owners are numbers, times are whole seconds and never
//! newer than a given one. Hard links and extended attributes are kept;
//! sockets are left out.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Writes the tree under `root`, without what is below its /dev.
///
/// # Errors
/// When a file cannot be read or the output ends.
pub(crate) fn write_tree(root: &Path, newest: Option<u64>, output: impl Write) -> io::Result<()> {
    let mut tree = Tree::new(root, Path::new(""), output);
    tree.newest = newest;
    tree.skipped = Some(Path::new("dev"));
    tree.directory(Path::new(""))?;
    tree.builder.into_inner()?.flush()
}

/// Writes one file or tree under the name that it is to have.
///
/// # Errors
/// When a file cannot be read or the output ends.
pub(crate) fn write_named(source: &Path, name: &Path, output: impl Write) -> io::Result<()> {
    let mut tree = Tree::new(source, name, output);
    let metadata = std::fs::symlink_metadata(source)?;
    tree.entry(Path::new(""), &metadata)?;
    if metadata.is_dir() {
        tree.directory(Path::new(""))?;
    }
    tree.builder.into_inner()?.flush()
}

/// Appends a symbolic link with its target as it is: `append_link` puts that together anew, name by name,
/// and makes another one of `/` or `./a`.
///
/// # Errors
/// When the output ends.
pub(crate) fn symlink<W: Write>(
    builder: &mut Builder<W>,
    header: &mut Header,
    path: &Path,
    target: &Path,
) -> io::Result<()> {
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    match header.set_link_name_literal(target.as_os_str().as_bytes()) {
        Ok(()) => builder.append_data(header, path, io::empty()),
        // It does not fit, and goes ahead in an entry of its own, as it is.
        Err(_) => builder.append_link(header, path, target),
    }
}

struct Tree<'a, W: Write> {
    root: &'a Path,
    /// Stands in front of every entry's name.
    prefix: &'a Path,
    newest: Option<u64>,
    /// A directory whose content is left out.
    skipped: Option<&'a Path>,
    builder: Builder<W>,
    /// First name of each file with several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'a, W: Write> Tree<'a, W> {
    fn new(root: &'a Path, prefix: &'a Path, output: W) -> Self {
        let builder = Builder::new(output);
        Self { root, prefix, newest: None, skipped: None, builder, links: HashMap::new() }
    }

    fn directory(&mut self, directory: &Path) -> io::Result<()> {
        let mut names: Vec<_> = std::fs::read_dir(self.root.join(directory))?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let path = directory.join(name);
            let metadata = std::fs::symlink_metadata(self.root.join(&path))?;
            self.entry(&path, &metadata)?;
            if metadata.is_dir() && self.skipped != Some(path.as_path()) {
                self.directory(&path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        // Joining an empty path would put a slash behind a file's name.
        let full =
            if path.as_os_str().is_empty() { self.root.to_owned() } else { self.root.join(path) };
        let name = if path.as_os_str().is_empty() {
            self.prefix.to_owned()
        } else {
            self.prefix.join(path)
        };
        let path = name.as_path();
        let kind = metadata.file_type();
        let mut header = self.header(metadata);
        if kind.is_socket() {
            return Ok(());
        }
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key) {
                header.set_entry_type(EntryType::Link);
                return self.builder.append_link(&mut header, path, first);
            }
            self.links.insert(key, path.to_owned());
        }
        self.attributes(&full)?;
        if kind.is_file() {
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.len());
            return self.builder.append_data(&mut header, path, File::open(&full)?);
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(&full)?;
            return symlink(&mut self.builder, &mut header, path, &target);
        }
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            return self.builder.append_data(&mut header, name, io::empty());
        }
        if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        } else {
            header.set_entry_type(if kind.is_block_device() {
                EntryType::Block
            } else {
                EntryType::Char
            });
            header.set_device_major(rustix::fs::major(metadata.rdev()))?;
            header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
        }
        self.builder.append_data(&mut header, path, io::empty())
    }

    fn header(&self, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(u64::from(metadata.uid()));
        header.set_gid(u64::from(metadata.gid()));
        let mtime = u64::try_from(metadata.mtime()).unwrap_or(0);
        header.set_mtime(self.newest.map_or(mtime, |newest| mtime.min(newest)));
        header.set_size(0);
        header
    }

    fn attributes(&mut self, path: &Path) -> io::Result<()> {
        let mut attributes = read_attributes(path)?;
        if attributes.is_empty() {
            return Ok(());
        }
        attributes.sort();
        let records = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(records)
    }
}

/// Reads extended attributes as the records that tars carry them in.
fn read_attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut attributes = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let os_name = OsStr::from_bytes(name);
        let mut value = vec![0_u8; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, os_name, &mut value[..])?;
        value.truncate(length);
        attributes.push((format!("SCHILY.xattr.{}", os_name.to_string_lossy()), value));
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_they_led() {
        let dir = tempfile::tempdir().expect("temp dir");
        let long = format!("./{}", "long/".repeat(40));
        let targets = ["/", "./a//b/", "../..", long.as_str()];
        for (number, target) in targets.iter().enumerate() {
            let link = dir.path().join(number.to_string());
            std::os::unix::fs::symlink(target, link).expect("symlink");
        }
        let mut bytes = Vec::new();
        write_tree(dir.path(), None, &mut bytes).expect("writes");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("entries");
        let seen = entries
            .map(|entry| entry.expect("entry").link_name_bytes().expect("link").into_owned());
        assert_eq!(seen.collect::<Vec<_>>(), targets.map(|target| target.as_bytes().to_vec()));
    }

    #[test]
    fn trees_become_the_same_tar_every_time() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path();
        std::fs::create_dir_all(root.join("etc")).expect("mkdir");
        std::fs::create_dir_all(root.join("dev/pts")).expect("mkdir");
        std::fs::write(root.join("etc/b"), "two").expect("write");
        std::fs::hard_link(root.join("etc/b"), root.join("etc/c")).expect("link");
        std::os::unix::fs::symlink("b", root.join("etc/a")).expect("symlink");
        let tar_of = || {
            let mut bytes = Vec::new();
            write_tree(root, Some(1000), &mut bytes).expect("writes");
            bytes
        };
        let bytes = tar_of();
        assert_eq!(bytes, tar_of());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("entry");
                let header = entry.header();
                assert_eq!(header.mtime().expect("mtime"), 1000);
                format!("{:?} {}", header.entry_type(), entry.path().expect("path").display())
            })
            .collect();
        assert_eq!(
            seen,
            ["Directory dev/", "Directory etc/", "Symlink etc/a", "Regular etc/b", "Link etc/c"]
        );
    }
}
