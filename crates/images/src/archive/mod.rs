//! Tar archives, read and written with what container layers need and nothing trusted.
//!
//! Own code rather than a general crate because three things are needed at once: hard limits on what
//! a header may make us allocate, GNU and pax sparse files, and to know which bytes of the stream are
//! file content, so that a layer's archive can be rebuilt byte for byte from its directory.

pub mod header;
pub mod pax;
pub mod read;
pub mod sparse;
pub mod write;

/// The unit of a tar archive.
pub const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    pub secs: i64,
    pub nanos: u32,
}

/// A run of content of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// One entry, all extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as the archive has it.
    pub name: Vec<u8>,
    pub kind: EntryKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// Size of the file, holes included.
    pub size: u64,
    /// Bytes of content that follow in the archive.
    pub payload: u64,
    /// Where the content goes; `None` means that it is the whole file.
    pub sparse: Option<Vec<Extent>>,
    /// Extended attributes in the archive's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Returns an entry without content and attributes.
    pub fn new(name: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            link: Vec::new(),
            device: (0, 0),
            size: 0,
            payload: 0,
            sparse: None,
            xattrs: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
