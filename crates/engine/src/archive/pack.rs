//! A file tree as a tar archive.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use images::archive::write::{END, header, padding};
use images::archive::{Entry, EntryKind, Time};
use linux::fs::{Mode, OFlags};
use linux::user_namespace::IdMap;
use rustix::fs::{Dir, FileType, Stat};
use rustix::io::Errno;

use super::path::is_pseudo;

/// Each level holds descriptors and stack; no tool makes deeper trees.
const MAX_DEPTH: usize = 400;

/// Writes `file` under `name`, with everything below it, and the end of the archive.
///
/// `map` tells what owners are called here, if not as in the archive.
pub(super) fn pack(
    file: &OwnedFd,
    name: &[u8],
    map: Option<&IdMap>,
    output: &mut dyn Write,
) -> io::Result<()> {
    let ids = map.map(IdMap::inverted);
    let mut packer = Packer { output, links: HashMap::new(), block: vec![0; 128 << 10], ids };
    packer.any(file, name.to_vec(), 0)?;
    packer.output.write_all(&END)
}

/// Writes everything below the directory `file`, with names relative to it.
pub(super) fn pack_content(file: &OwnedFd, output: &mut dyn Write) -> io::Result<()> {
    let block = vec![0; 128 << 10];
    let mut packer = Packer { output, links: HashMap::new(), block, ids: None };
    packer.content(file, b"", 0)?;
    packer.output.write_all(&END)
}

struct Packer<'a> {
    output: &'a mut dyn Write,
    /// Files with several names: device and inode to the name they are in the archive by.
    links: HashMap<(u64, u64), Vec<u8>>,
    block: Vec<u8>,
    /// From the host's ids to the archive's.
    ids: Option<IdMap>,
}

/// Who the kernel shows as the owner of what has none in a user namespace.
const NOBODY: u32 = 65_534;

impl Packer<'_> {
    /// `file` is a place only (O_PATH), so that looking at it has no effect on a device or pipe.
    fn any(&mut self, file: &OwnedFd, name: Vec<u8>, depth: usize) -> io::Result<()> {
        let stat = rustix::fs::fstat(file)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let Some(entry_kind) = entry_kind(kind) else { return Ok(()) };
        let mut entry = self.entry(name, entry_kind, &stat);
        if kind == FileType::Directory {
            return self.directory(file, entry, depth);
        }
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                return self.output.write_all(&header(&entry));
            }
            self.links.insert(id, entry.name.clone());
        }
        match kind {
            FileType::RegularFile => self.file(file, entry),
            FileType::Symlink => {
                entry.link = rustix::fs::readlinkat(file, c"", Vec::new())?.into_bytes();
                self.output.write_all(&header(&entry))
            }
            _ => {
                if matches!(kind, FileType::BlockDevice | FileType::CharacterDevice) {
                    entry.device =
                        (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                }
                self.output.write_all(&header(&entry))
            }
        }
    }

    fn directory(&mut self, file: &OwnedFd, mut entry: Entry, depth: usize) -> io::Result<()> {
        if !entry.name.ends_with(b"/") {
            entry.name.push(b'/');
        }
        entry.xattrs = attributes(&reopen(file, OFlags::DIRECTORY)?)?;
        self.output.write_all(&header(&entry))?;
        if is_pseudo(file)? {
            return Ok(());
        }
        self.content(file, &entry.name, depth)
    }

    fn content(&mut self, directory: &OwnedFd, prefix: &[u8], depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            let path = String::from_utf8_lossy(prefix).into_owned();
            return Err(io::Error::other(format!("{path} is too deep to be archived")));
        }
        let readable = reopen(directory, OFlags::DIRECTORY)?;
        for child in Dir::read_from(&readable)? {
            let child = child?;
            let child_name = child.file_name();
            if child_name == c"." || child_name == c".." {
                continue;
            }
            let Some(file) = place(directory, child_name)? else { continue };
            let name = [prefix, child_name.to_bytes()].concat();
            // The devices a running container was given are not its own files.
            if name.trim_ascii_start() == b"/dev" || (prefix.is_empty() && name == b"dev") {
                let other =
                    rustix::fs::fstat(&file)?.st_dev != rustix::fs::fstat(directory)?.st_dev;
                if other {
                    let stat = rustix::fs::fstat(&file)?;
                    let name = [&name[..], b"/"].concat();
                    let entry = self.entry(name, EntryKind::Directory, &stat);
                    self.output.write_all(&header(&entry))?;
                    continue;
                }
            }
            self.any(&file, name, depth + 1)?;
        }
        Ok(())
    }

    fn entry(&self, name: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
        let mut entry = entry(name, kind, stat);
        if let Some(ids) = &self.ids {
            entry.uid = ids.outside_uid(entry.uid).unwrap_or(NOBODY);
            entry.gid = ids.outside_gid(entry.gid).unwrap_or(NOBODY);
        }
        entry
    }

    /// Writes exactly as much content as the header says, whatever happens to the file meanwhile.
    fn file(&mut self, place: &OwnedFd, mut entry: Entry) -> io::Result<()> {
        let mut file = File::from(reopen(place, OFlags::empty())?);
        entry.xattrs = attributes(&file)?;
        self.output.write_all(&header(&entry))?;
        let mut left = entry.payload;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.block.len());
            let mut size = file.read(&mut self.block[..wanted])?;
            if size == 0 {
                // It became shorter.
                self.block[..wanted].fill(0);
                size = wanted;
            }
            self.output.write_all(&self.block[..size])?;
            left -= size as u64;
        }
        self.output.write_all(padding(entry.payload))
    }
}

fn entry_kind(kind: FileType) -> Option<EntryKind> {
    Some(match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::Fifo => EntryKind::Fifo,
        // A socket means nothing without the process behind it.
        FileType::Socket | FileType::Unknown => return None,
    })
}

fn entry(name: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
    let mut entry = Entry::new(name, kind);
    entry.mode = stat.st_mode & 0o7777;
    (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    entry.mtime = Time { secs: stat.st_mtime, nanos };
    if kind == EntryKind::File {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.payload = entry.size;
    }
    entry
}

/// Opens a name in a directory as a place; `None` if it is gone.
fn place(directory: &OwnedFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens for reading the very file that a place is.
fn reopen(place: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Reads the attributes that mean something elsewhere.
fn attributes(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0_u8; 64 << 10];
    let size = match rustix::fs::flistxattr(&file, &mut names) {
        Ok(size) => size,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut attributes = Vec::new();
    for name in names[..size].split(|byte| *byte == 0) {
        if !(name.starts_with(b"user.")
            || name == b"security.capability"
            || name.starts_with(b"system.posix_acl_"))
        {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        match rustix::fs::fgetxattr(&file, name, &mut value) {
            Ok(size) => attributes.push((name.to_vec(), value[..size].to_vec())),
            // Gone meanwhile.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(attributes)
}
